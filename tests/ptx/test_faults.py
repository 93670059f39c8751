"""What the PTX interpreter must catch, each fault once, with the line that is at fault."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from .interpreter import (
    BarrierError,
    DivergenceError,
    MisalignedError,
    OutOfBoundsError,
    PtxError,
    RaceError,
    ReadOnlyError,
    UnsupportedError,
    run_ptx,
)
from .programs import REVERSE, SHARED, TO_TILE, element, program, run, store


def line_of(text: str, body: str, **options: Any) -> int:
    """Where a test's instruction stands in the PTX."""
    return program(body, **options).split(text)[0].count("\n") + 1


def test_an_access_past_the_end_is_caught_and_located() -> None:
    body = element(0) + "ld.global.u32 %r3, [%d9];\n"
    with pytest.raises(OutOfBoundsError) as caught:
        run(body, np.zeros(40, np.uint32), block=64)
    text = str(caught.value)
    assert "argument 0 has 160 bytes, access of 4 at 160 by thread 40 of block 0" in text
    assert f"line {line_of('ld.global', body)}: ld.global.u32 %r3, [%d9]" in text


def test_an_access_before_the_start_never_lands_in_another_array() -> None:
    body = "st.global.u32 [%d1+-4], %r0;\n"
    with pytest.raises(OutOfBoundsError, match="argument 1 has 128 bytes, access of 4 at -4"):
        run(body, np.zeros(32, np.uint32), np.zeros(32, np.uint32))


def test_an_address_of_nothing() -> None:
    with pytest.raises(OutOfBoundsError, match="no array at address 0x10"):
        run("mov.u64 %d3, 16; ld.global.u32 %r3, [%d3];\n", np.zeros(1, np.uint32))


def test_a_vector_access_must_be_aligned() -> None:
    body = element(0) + "ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%d9];\n"
    with pytest.raises(MisalignedError, match="access of 16 bytes at 4 by thread 1 of block 0"):
        run(body, np.zeros(64, np.float32))


def test_read_only_arrays_stay_as_they_are() -> None:
    x = np.zeros(32, np.uint32)
    x.flags.writeable = False
    with pytest.raises(ReadOnlyError, match="argument 0 is read-only"):
        run(store("%r0"), x)
    body = element(0) + "ld.global.nc.u32 %r3, [%d9]; st.global.u32 [%d9], %r3;\n"
    with pytest.raises(ReadOnlyError, match=r"read with ld.global.nc and written"):
        run(body, np.zeros(32, np.uint32))


DIVERGENT = {
    "gone": "setp.gt.u32 %p1, %r0, 15; @%p1 ret; shfl.sync.bfly.b32 %r3, %r0, 1, 31, -1;\n",
    "branch": """setp.gt.u32 %p1, %r0, 15; @%p1 bra $other;
        shfl.sync.bfly.b32 %r3, %r0, 1, 31, -1; bra.uni $end;
        $other: shfl.sync.bfly.b32 %r3, %r0, 1, 31, -1; $end: mov.u32 %r4, 0;\n""",
    "guard": "setp.gt.u32 %p1, %r0, 15; @%p1 shfl.sync.bfly.b32 %r3, %r0, 1, 31, -1;\n",
    "barrier": """setp.gt.u32 %p1, %r0, 15; @%p1 bra $other;
        shfl.sync.bfly.b32 %r3, %r0, 1, 31, -1; $other: bar.sync 0;\n""",
    "outside": "shfl.sync.bfly.b32 %r3, %r0, 1, 31, 1;\n",
    "source": """setp.gt.u32 %p1, %r0, 15; @%p1 bra $end;
        shfl.sync.bfly.b32 %r3, %r0, 16, 31, 65535; $end: mov.u32 %r4, 0;\n""",
}


@pytest.mark.parametrize("case", DIVERGENT)
def test_a_divergent_shuffle_is_caught(case: str) -> None:
    with pytest.raises(DivergenceError, match=r"line \d+: .*shfl.sync"):
        run(DIVERGENT[case], np.zeros(1, np.uint32))


def test_half_a_warp_may_shuffle_when_the_mask_says_so() -> None:
    body = "setp.gt.u32 %p1, %r0, 15; @%p1 ret; shfl.sync.bfly.b32 %r3, %r0, 1, 31, 65535;\n"
    out = np.zeros(16, np.uint32)
    run(body + store("%r3"), out)
    np.testing.assert_array_equal(out, np.arange(16) ^ 1)


def test_barriers_must_be_reached_together() -> None:
    apart = """setp.gt.u32 %p1, %r0, 31; @%p1 bra $other;
        bar.sync 0; bra.uni $end; $other: bar.sync 0; $end: mov.u32 %r4, 0;\n"""
    with pytest.raises(BarrierError, match="wait at different barriers: line"):
        run(apart, np.zeros(1, np.uint32), block=64)
    run(apart, np.zeros(1, np.uint32), block=64, strict=False)  # whole warps: hardware allows it
    torn = apart.replace("31;", "15;")
    with pytest.raises(BarrierError, match="wait at different barriers"):
        run(torn, np.zeros(1, np.uint32), block=64, strict=False)
    left = "setp.gt.u32 %p1, %r0, 31; @%p1 ret; bar.sync 0;\n"
    with pytest.raises(BarrierError, match="thread 32 of block 0 left before the barrier, line"):
        run(left, np.zeros(1, np.uint32), block=64)
    run(left, np.zeros(1, np.uint32), block=64, strict=False)


def test_a_missing_barrier_is_a_race() -> None:
    body = REVERSE.replace("bar.sync 0;", "") + store("%r7")
    out = np.zeros(64, np.uint32)
    with pytest.raises(RaceError, match=r"race: .* thread 63 of block 0, then .* ld.shared.u32"):
        run(body, out, block=64, module=SHARED)
    run(body, out, block=64, module=SHARED, strict=False)


def test_reading_then_overwriting_needs_a_barrier_too() -> None:
    again = REVERSE + "{between}; st.shared.u32 [%d6], %r7;\n"
    out = np.zeros(64, np.uint32)
    with pytest.raises(RaceError, match=r"read, then written.*st.shared"):
        run(again.format(between="mov.u32 %r9, 0"), out, block=64, module=SHARED)
    run(again.format(between="bar.sync 0"), out, block=64, module=SHARED)


def test_two_threads_writing_one_place_is_a_race() -> None:
    with pytest.raises(RaceError, match="written twice at once"):
        run("mov.u64 %d6, tile; st.shared.u32 [%d6], %r0;\n", np.zeros(1, np.uint32), module=SHARED)


def test_a_warp_is_ordered_by_its_own_barrier() -> None:
    body = REVERSE.replace("63", "31").replace("bar.sync 0", "{}") + store("%r7")
    out = np.zeros(32, np.uint32)
    with pytest.raises(RaceError):
        run(body.replace("{}", "mov.u32 %r9, 0"), out, module=SHARED)
    run(body.replace("{}", "bar.warp.sync -1"), out, module=SHARED)
    np.testing.assert_array_equal(out, np.arange(32)[::-1])


def test_blocks_are_never_ordered() -> None:
    body = "mov.u32 %r3, %tid.x;\n" + element(0, 4, "%r3") + "st.global.u32 [%d9], %r0;\n"
    run(body, np.zeros(32, np.uint32), grid=1)
    with pytest.raises(RaceError, match="thread 0 of block 1"):
        run(body, np.zeros(32, np.uint32), grid=2)
    shifted = element(0) + "st.global.u32 [%d9], %r0; bar.sync 0; ld.global.u32 %r3, [%d9+4];\n"
    run(shifted, np.zeros(65, np.uint32), grid=1)
    with pytest.raises(RaceError, match="written, then read, without a barrier"):
        run(shifted, np.zeros(65, np.uint32), grid=2)


def test_shared_memory_starts_as_nan() -> None:
    out = np.zeros(32, np.float32)
    run(TO_TILE + "ld.shared.f32 %f1, [%d6];\n" + store("%f1", "f32"), out, module=SHARED)
    assert np.isnan(out).all()


def test_what_is_not_known_is_refused_with_its_line() -> None:
    body = "mov.u32 %r3, 0;\ntex.2d.v4.f32.s32 {%f1, %f2, %f3, %f4}, [image, {%r1, %r2}];\n"
    with pytest.raises(UnsupportedError, match=rf"line {line_of('tex.', body)}: tex"):
        run(body, np.zeros(1, np.uint32))
    with pytest.raises(UnsupportedError, match="%nothing"):
        run("add.u32 %r3, %nothing, 1;\n", np.zeros(1, np.uint32))


def test_a_kernel_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    from . import interpreter

    monkeypatch.setattr(interpreter, "STEP_LIMIT", 1000)
    with pytest.raises(PtxError, match="no end after 1000 steps"):
        run("$again: bra.uni $again;\n", np.zeros(1, np.uint32))


def test_arguments_are_checked() -> None:
    ptx = program(store("%r0"), "u64 f32")
    out = np.zeros(32, np.uint32)
    with pytest.raises(ValueError, match="takes 2 arguments, not 1"):
        run_ptx(ptx, "k", 1, 32, [out])
    with pytest.raises(ValueError, match="argument 1 of k is a f32"):
        run_ptx(ptx, "k", 1, 32, [out, np.float64(1)])
    with pytest.raises(ValueError, match="no kernel 'j'"):
        run_ptx(ptx, "j", 1, 32, [out])
    with pytest.raises(ValueError, match="argument 0 is not contiguous"):
        run_ptx(ptx, "k", 1, 32, [np.zeros(64, np.uint32)[::2], np.float32(1)])
