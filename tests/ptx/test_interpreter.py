"""The PTX interpreter on small programs written by hand: each feature once."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from .interpreter import OutOfBoundsError
from .programs import REVERSE, SHARED, TO_TILE, element, run, store


def compute(instructions: str, *inputs: np.ndarray, result: Any = np.uint32) -> np.ndarray:
    """Apply instructions to %x0, %x1, ... and return %y."""
    out = np.zeros(len(inputs[0]), result)
    names = {"f": "f", "i": "s", "u": "u"}
    loads = ""
    for i, x in enumerate([*inputs, out]):
        kind = f"{names[x.dtype.kind]}{8 * x.dtype.itemsize}"
        register = f"%x{i}" if x is not out else "%y"
        bits = {1: 2}.get(x.dtype.itemsize, x.dtype.itemsize) * 8
        held = kind if kind[0] == "f" and bits > 16 else f"b{bits}"
        loads += f".reg .{held} {register};\n"
        if x is not out:
            loads += element(i, x.dtype.itemsize) + f"ld.global.{kind} {register}, [%d9];\n"
    body = loads + instructions + store("%y", kind, len(inputs))
    run(body, *inputs, out, block=len(out))
    return out


# --- threads and control flow -------------------------------------------------------------------


def test_threads_know_their_place_in_two_dimensions() -> None:
    body = """
    mov.u32 %r1, %tid.x; mov.u32 %r2, %tid.y; mov.u32 %r3, %ntid.x; mov.u32 %r4, %ntid.y;
    mov.u32 %r5, %ctaid.x; mov.u32 %r6, %ctaid.y; mov.u32 %r7, %nctaid.x;
    mad.lo.u32 %r8, %r6, %r4, %r2;      // row
    mad.lo.u32 %r9, %r5, %r3, %r1;      // column
    mul.lo.u32 %r10, %r7, %r3;          // width
    mad.lo.u32 %r0, %r8, %r10, %r9;
    """
    out = np.zeros((8, 24), np.uint32)
    run(body + store("%r0"), out, grid=(3, 2), block=(8, 4))
    np.testing.assert_array_equal(out.ravel(), np.arange(192))


def test_each_thread_loops_as_often_as_it_needs() -> None:
    body = """
    mov.u32 %r3, 0; mov.u32 %r4, 0;
$loop:
    setp.ge.u32 %p1, %r3, %r0;
    @%p1 bra $done;
    add.u32 %r4, %r4, %r3;
    add.u32 %r3, %r3, 1;
    bra.uni $loop;
$done:
    """
    out = np.zeros(64, np.uint32)
    run(body + store("%r4"), out, grid=2)
    n = np.arange(64)
    np.testing.assert_array_equal(out, n * (n - 1) // 2)


def test_a_guard_masks_one_instruction_and_an_exit_one_thread() -> None:
    body = """
    and.b32 %r3, %r0, 1; setp.eq.u32 %p1, %r3, 1;
    mov.u32 %r4, 7;
    @%p1 mov.u32 %r4, 9;
    setp.gt.u32 %p2, %r0, 20;
    @%p2 ret;
    """
    out = np.zeros(32, np.uint32)
    run(body + store("%r4"), out)
    expected = np.where(np.arange(32) > 20, 0, np.where(np.arange(32) % 2, 9, 7))
    np.testing.assert_array_equal(out, expected)


def test_registers_of_a_scope_hide_those_outside() -> None:
    body = """
    mov.u32 %r3, 5;
    { .reg .b64 %r3; mov.u64 %r3, 99; }
    """
    out = np.zeros(32, np.uint32)
    run(body + store("%r3"), out)
    assert (out == 5).all()


def test_a_call_runs_the_function() -> None:
    module = """
    .func (.param .b32 result) twice_plus(.param .b32 twice_plus_0, .param .b32 twice_plus_1);
    .func (.param .b32 result) twice_plus(.param .b32 twice_plus_0, .param .b32 twice_plus_1)
    {
    .reg .pred %p<2>; .reg .b32 %r<5>;
    ld.param.b32 %r1, [twice_plus_0]; ld.param.b32 %r2, [twice_plus_1];
    setp.lt.u32 %p1, %r1, 4;
    @%p1 bra $small;
    shl.b32 %r1, %r1, 1;
$small:
    add.u32 %r3, %r1, %r2;
    st.param.b32 [result+0], %r3;
    ret;
    }
    """
    body = """
    { .param .b32 a; .param .b32 b; .param .b32 c;
    st.param.b32 [a+0], %r0; st.param.b32 [b+0], 100;
    call.uni (c), twice_plus, (a, b);
    ld.param.b32 %r5, [c+0]; }
    """
    out = np.zeros(32, np.uint32)
    run(body + store("%r5"), out, module=module)
    n = np.arange(32)
    np.testing.assert_array_equal(out, np.where(n < 4, n, 2 * n) + 100)


# --- memory -------------------------------------------------------------------------------------


def test_four_floats_in_one_access() -> None:
    x, y = np.arange(128, dtype=np.float32), np.zeros(128, np.float32)
    body = element(0, 16) + "ld.global.nc.v4.f32 {%f1, %f2, %f3, %f4}, [%d9];\n"
    body += element(1, 16) + "st.global.v4.f32 [%d9], {%f4, %f3, %f2, %f1};\n"
    run(body, x, y)
    np.testing.assert_array_equal(y.reshape(-1, 4), x.reshape(-1, 4)[:, ::-1])


def test_bytes_are_extended_by_their_sign() -> None:
    x = np.arange(-16, 16).astype(np.int8)
    y, z = np.zeros(32, np.int32), np.zeros(32, np.uint32)
    body = element(0, 1) + "ld.global.s8 %h1, [%d9]; ld.global.u8 %h2, [%d9];\n"
    body += "cvt.s32.s8 %r3, %h1; cvt.u32.u16 %r4, %h2;\n"
    run(body + store("%r3", "u32", 1) + store("%r4", "u32", 2), x, y, z)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(z, x.view(np.uint8))


def test_threads_of_a_block_exchange_through_shared_memory() -> None:
    out = np.zeros(128, np.uint32)
    run(REVERSE + store("%r7"), out, grid=2, block=64, module=SHARED)
    np.testing.assert_array_equal(out.reshape(2, 64), np.arange(128).reshape(2, 64)[:, ::-1])


def test_dynamic_shared_memory_has_the_size_of_the_launch() -> None:
    module = ".extern .shared .align 16 .b8 tile[];"
    out = np.zeros(64, np.uint32)
    run(REVERSE + store("%r7"), out, block=64, module=module, shared_bytes=256)
    np.testing.assert_array_equal(out, np.arange(64)[::-1])
    with pytest.raises(OutOfBoundsError, match="shared memory has 128 bytes"):
        run(REVERSE + store("%r7"), out, block=64, module=module, shared_bytes=128)


def test_local_memory_is_of_each_thread_and_generic_addresses_reach_it() -> None:
    body = """
    .local .align 8 .b8 depot[8];
    mov.u64 %d4, depot; cvta.local.u64 %d5, %d4;
    st.local.u32 [%d4+4], %r0;
    ld.u32 %r3, [%d5+4];
    """
    out = np.zeros(32, np.uint32)
    run(body + store("%r3"), out)
    np.testing.assert_array_equal(out, np.arange(32))


def test_shared_memory_through_generic_addresses() -> None:
    body = TO_TILE + "cvta.shared.u64 %d7, %d6; st.u32 [%d7], %r0; ld.shared.u32 %r3, [%d6];\n"
    out = np.zeros(32, np.uint32)
    run(body + store("%r3"), out, module=SHARED)
    np.testing.assert_array_equal(out, np.arange(32))


def test_tables_of_the_module() -> None:
    module = (
        ".global .align 4 .b8 table[8] = {1, 0, 0, 0, 0, 1, 0, 0};\n.const .align 4 .u32 c = 7;"
    )
    body = "mov.u64 %d4, table; ld.global.nc.u32 %r3, [%d4]; ld.global.u32 %r4, [%d4+4];\n"
    body += "ld.const.u32 %r5, [c]; add.u32 %r3, %r3, %r4; add.u32 %r3, %r3, %r5;\n"
    out = np.zeros(32, np.uint32)
    run(body + store("%r3"), out, module=module)
    assert (out == 1 + 256 + 7).all()


def test_atomics_see_one_another() -> None:
    total, last = np.zeros(1, np.uint32), np.array([50], np.uint32)
    lowest, winner = np.array([1000], np.int32), np.zeros(1, np.uint32)
    ticket = np.zeros(64, np.uint32)
    body = "atom.global.add.u32 %r3, [%d0], 1; red.global.max.u32 [%d1], %r0;\n"
    body += "atom.global.min.s32 %r4, [%d2], %r0; add.u32 %r5, %r0, 1;\n"
    body += "atom.global.cas.b32 %r6, [%d3], 0, %r5;\n"
    run(body + store("%r3", "u32", 4), total, last, lowest, winner, ticket, grid=2)
    assert (total[0], last[0], lowest[0], winner[0]) == (64, 63, 0, 1)
    np.testing.assert_array_equal(np.sort(ticket), np.arange(64))


# --- warps --------------------------------------------------------------------------------------

LANES = np.arange(64) % 32
SHUFFLES = {
    "bfly.b32 %r3|%p1, %r0, 5, 31": LANES ^ 5,
    "down.b32 %r3|%p1, %r0, 4, 31": np.minimum(LANES + 4, np.where(LANES < 28, 63, LANES)),
    "up.b32 %r3, %r0, 3, 0": np.where(LANES < 3, LANES, LANES - 3),
    "idx.b32 %r3, %r0, 9, 31": np.full(64, 9),
    "down.b32 %r3, %r0, 1, 6175": np.where(LANES % 8 == 7, LANES, LANES + 1),  # segments of 8
}


@pytest.mark.parametrize("instruction", SHUFFLES)
def test_shuffle(instruction: str) -> None:
    out = np.zeros(64, np.uint32)
    run(f"shfl.sync.{instruction}, -1;\n" + store("%r3"), out, block=64)
    np.testing.assert_array_equal(out, SHUFFLES[instruction] + np.arange(64) // 32 * 32)


def test_a_shuffle_waits_for_its_warp() -> None:
    # Odd threads come to the shuffle by the longer way, over a label that stands after it.
    body = """
    and.b32 %r3, %r0, 1; setp.eq.u32 %p1, %r3, 1; mov.u32 %r4, %r0;
    @%p1 bra $odd;
$join:
    shfl.sync.bfly.b32 %r5, %r4, 1, 31, -1;
    bra.uni $end;
$odd:
    add.u32 %r4, %r4, 100;
    bra.uni $join;
$end:
    """
    out = np.zeros(64, np.uint32)
    run(body + store("%r5"), out, grid=2)
    n = np.arange(64)
    np.testing.assert_array_equal(out, np.where(n % 2, n - 1, n + 101))


def test_votes() -> None:
    body = "setp.gt.u32 %p1, %r0, 29; vote.sync.ballot.b32 %r3, %p1, -1;\n"
    body += "vote.sync.any.pred %p2, %p1, -1; vote.sync.all.pred %p3, %p1, -1;\n"
    body += "selp.u32 %r4, 16, 0, %p2; selp.u32 %r5, 32, 0, %p3; activemask.b32 %r6;\n"
    body += (
        "or.b32 %r3, %r3, %r4; or.b32 %r3, %r3, %r5; xor.b32 %r6, %r6, -1; or.b32 %r3, %r3, %r6;"
    )
    out = np.zeros(32, np.uint32)
    run(body + store("%r3"), out)
    assert (out == (3 << 30) + 16).all()


# --- arithmetic ---------------------------------------------------------------------------------

A = np.array([0, 1, 7, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x12345678, 0xF0F0F0F0], np.uint32)
B = np.array([3, 2, 0xFFFFFFFE, 5, 0xFFFFFFFF, 33, 4, 9], np.uint32)
SA, SB = A.view(np.int32), B.view(np.int32)
INTEGERS: dict[str, Any] = {
    "add.u32": (A + B),
    "mul.lo.u32": A * B,
    "mul.hi.u32": (A.astype(np.uint64) * B >> np.uint64(32)),
    "mul.hi.s32": (SA.astype(np.int64) * SB >> 32),
    "div.s32": [int(Fraction(int(x), int(y))) for x, y in zip(SA, SB, strict=True)],
    "rem.u32": A % B,
    "min.s32": np.minimum(SA, SB),
    "max.u32": np.maximum(A, B),
    "shl.b32": [int(x) << int(n) if n < 32 else 0 for x, n in zip(A, B, strict=True)],
    "shr.s32": [int(x) >> min(int(n), 31) for x, n in zip(SA, B, strict=True)],
    "xor.b32": A ^ B,
}


@pytest.mark.parametrize("op", INTEGERS)
def test_integer_operation(op: str) -> None:
    expected = np.array([int(v) % (1 << 32) for v in INTEGERS[op]], np.uint32)
    np.testing.assert_array_equal(compute(f"{op} %y, %x0, %x1;\n", A, B), expected)


BITS: dict[str, Any] = {
    "popc.b32 %y, %x0;": lambda x: bin(x).count("1"),
    "clz.b32 %y, %x0;": lambda x: 32 - x.bit_length(),
    "brev.b32 %y, %x0;": lambda x: int(f"{x:032b}"[::-1], 2),
    "bfind.u32 %y, %x0;": lambda x: (x.bit_length() - 1) % (1 << 32),
    "bfe.u32 %y, %x0, 4, 9;": lambda x: x >> 4 & 511,
    "bfe.s32 %y, %x0, 28, 4;": lambda x: ((x >> 28) - (16 if x >> 31 else 0)) % (1 << 32),
    "bfi.b32 %y, %x0, -1, 8, 8;": lambda x: 0xFFFF00FF | (x & 255) << 8,
    "prmt.b32 %y, %x0, 0, 291;": lambda x: int.from_bytes(x.to_bytes(4, "big"), "little"),
    "shf.l.wrap.b32 %y, %x0, %x0, 8;": lambda x: (x << 8 | x >> 24) % (1 << 32),
    "lop3.b32 %y, %x0, 255, 3855, 232;": lambda x: x & 255 | x & 3855 | 255 & 3855,
    "not.b32 %y, %x0;": lambda x: x ^ 0xFFFFFFFF,
    "neg.s32 %y, %x0;": lambda x: -x % (1 << 32),
    "abs.s32 %y, %x0;": lambda x: abs(x - (1 << 32 if x >> 31 else 0)) % (1 << 32),
    "set.lt.u32.u32 %y, %x0, 8;": lambda x: 0xFFFFFFFF if x < 8 else 0,
}


@pytest.mark.parametrize("instruction", BITS)
def test_bit_operation(instruction: str) -> None:
    expected = np.array([BITS[instruction](int(x)) for x in A], np.uint32)
    np.testing.assert_array_equal(compute(instruction, A), expected)


def test_wide_words() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 1 << 63, (2, 64), np.uint64) * np.uint64(2) + np.uint64(1)
    high = compute("mul.hi.u64 %y, %x0, %x1;\n", x, y, result=np.uint64)
    assert [int(h) for h in high] == [int(a) * int(b) >> 64 for a, b in zip(x, y, strict=True)]
    words = """
    { .reg .u32 a, b, c, d, e, f; mov.b64 {a, b}, %x0; mov.b64 {c, d}, %x1;
    add.cc.u32 e, a, c; addc.u32 f, b, d; sub.cc.u32 e, e, c; subc.u32 f, f, 0;
    mov.b64 %y, {e, f}; }
    """
    expected = x + (y & ~np.uint64(0xFFFFFFFF))
    np.testing.assert_array_equal(compute(words, x, y, result=np.uint64), expected)


def nearest(value: Fraction) -> np.float32:
    """The float32 nearest to an exact value, ties to even."""
    near = np.float32(float(value))
    around = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    return min(around, key=lambda c: (abs(Fraction(float(c)) - value), int(c.view(np.uint32)) & 1))


def test_fma_rounds_once() -> None:
    rng = np.random.default_rng(1)
    x, y = (1 + rng.integers(0, 1 << 23, (2, 200)) * 2.0**-23).astype(np.float32)
    z = np.ldexp(rng.choice([-1, 1], 200) * (1 + rng.random(200)), -24 * rng.integers(0, 3, 200))
    z = z.astype(np.float32)
    exact = [
        Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
        for a, b, c in zip(x, y, z, strict=True)
    ]
    got = compute("fma.rn.f32 %y, %x0, %x1, %x2;\n", x, y, z, result=np.float32)
    np.testing.assert_array_equal(got, [nearest(e) for e in exact])
    down = compute("fma.rm.f32 %y, %x0, %x1, %x2;\n", x, y, z, result=np.float32)
    up = compute("fma.rp.f32 %y, %x0, %x1, %x2;\n", x, y, z, result=np.float32)
    for low, high, e in zip(down, up, exact, strict=True):
        assert Fraction(float(low)) <= e <= Fraction(float(high))
        assert low == high or np.nextafter(low, np.float32(9)) == high


F = np.array([0.5, 1.5, -2.5, 300.0, -1.0, 3e9, np.nan, np.inf], np.float32)
CONVERSIONS: dict[str, Any] = {
    "cvt.rni.s32.f32": [0, 2, -2, 300, -1, 2**31 - 1, 0, 2**31 - 1],
    "cvt.rzi.s32.f32": [0, 1, -2, 300, -1, 2**31 - 1, 0, 2**31 - 1],
    "cvt.rmi.s32.f32": [0, 1, -3, 300, -1, 2**31 - 1, 0, 2**31 - 1],
    "cvt.rzi.u32.f32": [0, 1, 0, 300, 0, 3_000_000_000, 0, 2**32 - 1],
}


@pytest.mark.parametrize("op", CONVERSIONS)
def test_floats_to_integers_saturate(op: str) -> None:
    kind = np.int32 if "s32" in op else np.uint32
    got = compute(f"{op} %y, %x0;\n", F, result=kind)
    np.testing.assert_array_equal(got, np.array(CONVERSIONS[op], kind))


def test_other_conversions() -> None:
    x = np.array([1.0, 0.1, 65504.0, 1e-8, -3.14159, np.nan], np.float32)
    half = compute("cvt.rn.f16.f32 %y, %x0;\n", x, result=np.float16)
    np.testing.assert_array_equal(half, x.astype(np.float16))
    back = compute("cvt.f32.f16 %y, %x0;\n", half, result=np.float32)
    np.testing.assert_array_equal(back, half.astype(np.float32))
    brain = compute("cvt.rn.bf16.f32 %h1, %x0; cvt.f32.bf16 %y, %h1;\n", x, result=np.float32)
    np.testing.assert_allclose(brain, x, rtol=2**-8)
    assert not (brain.view(np.uint32) & 0xFFFF)[:-1].any()
    small = np.array([1e-40, -1e-40, 2.0], np.float32)
    flushed = compute("mul.ftz.f32 %y, %x0, 0f3F800000;\n", small, result=np.float32)
    np.testing.assert_array_equal(flushed, [0, 0, 2])
    clipped = compute("cvt.sat.f32.f32 %y, %x0;\n", x, result=np.float32)
    np.testing.assert_array_equal(clipped, np.nan_to_num(np.clip(x, 0, 1)))


def test_nan_in_comparisons_minimum_and_maximum() -> None:
    x, y = np.array([1, 2, np.nan], np.float32), np.array([2, np.nan, 2], np.float32)
    flag = "selp.u32 %y, 1, 0, %p1;\n"
    for op, expected in {
        "lt": [1, 0, 0],
        "ltu": [1, 1, 1],
        "ne": [1, 0, 0],
        "nan": [0, 1, 1],
    }.items():
        got = compute(f"setp.{op}.f32 %p1, %x0, %x1;\n{flag}", x, y)
        np.testing.assert_array_equal(got, expected, err_msg=op)
    largest = compute("max.f32 %y, %x0, %x1;\n", x, y, result=np.float32)
    np.testing.assert_array_equal(largest, [2, 2, 2])
    largest = compute("max.NaN.f32 %y, %x0, %x1;\n", x, y, result=np.float32)
    np.testing.assert_array_equal(largest, [2, np.nan, np.nan])
    both = "setp.lt.and.f32 %p1|%p2, %x0, 0f40400000, %p3;\nselp.u32 %y, 1, 0, %p2;\n"
    both = "setp.gt.f32 %p3, %x0, 0f3FC00000;\n" + both
    np.testing.assert_array_equal(compute(both, x), [0, 0, 0])
