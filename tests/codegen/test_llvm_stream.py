"""Arrays that are written past the caches hold what they would hold otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from staticgraph.codegen import native
from staticgraph.codegen.cpu import kernel_source
from staticgraph.codegen.llvm import kernel_ir
from staticgraph.ir.kept import kept_rows
from staticgraph.ir.kernel import Kernel
from staticgraph.ir.parse_kernel import parse_kernel
from tests.codegen.kernels import arguments, call

FLAT = """\
kernel flat(a0: {mode}mut {t}*, a1: {t}*) parallel p {{
  x: {t} = a1[p]
  a0[p] = add(mul(x, x), x)
}}"""
ROW = """\
kernel row(a0: {mode}mut f32*, a1: f32*, a2: {mode}mut f32*) parallel p {{
  var s: f32 = sum()
  for r in 0:i64 .. {n}:i64 {{
    x: f32 = a1[add(mul(p, {n}:i64), r)]
    a0[add(mul(p, {n}:i64), r)] = mul(x, x)
    s sum= x
  }}
  for r in 0:i64 .. {n}:i64 {{
    a2[add(mul(p, {n}:i64), r)] = sub(a1[add(mul(p, {n}:i64), r)], s)
  }}
}}"""
OPEN = """\
kernel row(a0: {mode}mut f32*, a1: f32*, s2: size 0) parallel p {{
  for r in 1:i64 .. s2 {{
    a0[add(mul(p, s2), r)] = neg(a1[add(mul(p, s2), r)])
  }}
}}"""
GUARD = 7.0
_serial = iter(range(1000))


def kernel(text: str, mode: str, **names: object) -> Kernel:
    return parse_kernel(text.format(mode=mode, **names))


def address(k: Kernel) -> int:
    symbol = f"stream_test_{next(_serial)}"
    return native.load_object(native.compile_ir(kernel_ir(k), symbol), symbol)


def room(n: int, dtype: str, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """An array that begins `shift` elements behind the boundary of a line, and what it lies in."""
    whole = np.full(n + 256, GUARD, dtype)
    first = (-whole.ctypes.data % 64) // whole.itemsize + 32 + shift
    return whole[first : first + n], whole


def is_streamed(k: Kernel) -> bool:
    return "nontemporal" in kernel_ir(k)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int32", "int64"])
@pytest.mark.parametrize("shift", [0, 1, 7])
def test_every_element_is_written_once_and_no_other(dtype: str, shift: int) -> None:
    short = {"float32": "f32", "float64": "f64", "int8": "i8", "int32": "i32", "int64": "i64"}
    k = kernel(FLAT, "stream ", t=short[dtype])
    assert is_streamed(k) and not is_streamed(kernel(FLAT, "", t=short[dtype]))
    function = address(k)
    rng = np.random.default_rng(shift)
    for lo, hi in ((0, 1), (0, 15), (3, 64), (1, 1000), (64, 1024), (5, 5), (9, 2)):
        x = rng.integers(-9, 9, 1024).astype(dtype)
        y, whole = room(1024, dtype, shift)
        want = y.copy()
        want[lo:hi] = (x * x + x)[lo:hi]
        assert call(function, arguments(y, x), lo, hi) == 0
        np.testing.assert_array_equal(y, want)
        assert np.count_nonzero(whole != GUARD) <= max(0, hi - lo)


@pytest.mark.parametrize("n", [128, 200, 333, 1000, 4096])
@pytest.mark.parametrize("shift", [0, 3])
def test_rows_that_end_within_a_line(n: int, shift: int) -> None:
    rows = 5
    x = np.random.default_rng(n).normal(size=(rows, n)).astype("f4")
    results = []
    for mode in ("", "stream "):
        k = kernel(ROW, mode, n=n)
        assert is_streamed(k) == (mode != "")
        y, around = room(rows * n, "f4", shift)
        z, beside = room(rows * n, "f4", shift)
        assert call(address(k), arguments(y, x, z), 1, rows) == 0
        assert np.all(y[:n] == GUARD) and np.all(z[:n] == GUARD)
        results.append((around, beside))
    (y1, z1), (y2, z2) = results
    assert np.sort(y1).tobytes() == np.sort(y2).tobytes()  # the same values, and the same guards
    assert np.sort(z1).tobytes() == np.sort(z2).tobytes()
    y, _ = room(rows * n, "f4", shift)
    z, _ = room(rows * n, "f4", shift)
    call(address(kernel(ROW, "stream ", n=n)), arguments(y, x, z), 0, rows)
    np.testing.assert_array_equal(y.reshape(rows, n), x * x)
    total = x.astype("f8").sum(1, keepdims=True)
    np.testing.assert_allclose(z.reshape(rows, n), x - total, rtol=1e-4, atol=1e-3)


def test_loops_without_a_known_end() -> None:
    k = kernel(OPEN, "stream ")
    assert is_streamed(k)
    for n in (0, 1, 2, 65, 1000):
        x = np.arange(3.0 * max(n, 1), dtype="f4")
        y, _ = room(3 * max(n, 1), "f4", 1)
        assert call(address(k), arguments(y, x, n), 0, 3) == 0
        want = -x.reshape(3, -1)
        want[:, 0] = GUARD
        if n:
            np.testing.assert_array_equal(y.reshape(3, -1), want)
        else:
            assert np.all(y == GUARD)


@pytest.mark.parametrize(
    "body",
    [
        "a0[p] = add(a0[p], a1[p])",  # it reads what it writes
        "a0[mul(p, 2:i64)] = a1[p]",  # not one after the other
        "a0[p] = a1[p]\na0[add(p, 1:i64)] = a1[p]",  # twice
        "i: i64 = cast.i64(a1[p])\na0[add(i, p)] = a1[p]",  # where the data say
    ],
)
def test_other_stores_are_left_as_they_are(body: str) -> None:
    text = f"kernel flat(a0: stream mut f32*, a1: f32*) parallel p {{\n{body}\n}}"
    assert not is_streamed(parse_kernel(text))


SUM = """\
kernel row(a0: {mode}mut f32*, a1: f32*) parallel p {{
  var s: f32 = sum()
  for r in 0:i64 .. 999:i64 {{
    a0[add(mul(p, 999:i64), r)] = a1[r]
    {more}
  }}
}}"""


def test_a_sum_is_not_divided_for_it() -> None:
    assert is_streamed(kernel(SUM, "stream ", more=""))
    assert not is_streamed(kernel(SUM, "stream ", more="s sum= a1[r]"))


TWICE = """\
kernel row(a0: {mode}mut f32*, a1: f32*) parallel p {{
  for q in 0:i64 .. 2:i64 {{
    var s: f32 = sum()
    for r in {start}:i64 .. {stop}:i64 {{
      x: f32 = exp(a1[add(mul(add(mul(p, 2:i64), q), {n}:i64), r)])
      a0[add(mul(add(mul(p, 2:i64), q), {n}:i64), r)] = x
      s sum= x
    }}
    for r in {start}:i64 .. {stop}:i64 {{
      y: f32 = a0[add(mul(add(mul(p, 2:i64), q), {n}:i64), r)]
      a0[add(mul(add(mul(p, 2:i64), q), {n}:i64), r)] = {last}
      {more}
    }}
  }}
}}"""


@pytest.mark.parametrize("n", [200, 333, 1000, 4096])
@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("more", ["", "s sum= y"])  # the latter is not streamed
def test_a_row_that_is_written_twice_is_kept_between(n: int, shift: int, more: str) -> None:
    rows, start, stop = 6, 2, n - 1
    x = np.random.default_rng(n).normal(size=(rows, n)).astype("f4")
    out = []
    for mode in ("", "stream "):
        k = kernel(TWICE, mode, n=n, start=start, stop=stop, last="div(y, s)", more=more)
        assert is_streamed(k) == (mode != "" and not more)
        y, around = room(rows * n, "f4", shift)
        assert call(address(k), arguments(y, x), 0, rows // 2) == 0
        assert np.count_nonzero(around != GUARD) == rows * (stop - start)
        out.append(y.copy())
    assert out[0].tobytes() == out[1].tobytes()
    if not more:
        e = np.exp(x[:, start:stop].astype("f8"))
        want = e / e.sum(1, keepdims=True)
        np.testing.assert_allclose(out[1].reshape(rows, n)[:, start:stop], want, rtol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        ("      x: f32 = exp(a1", "      z: f32 = a0[r]\n      x: f32 = exp(a1"),  # read first
        ("y: f32 = a0[add(mul(add(mul(p, 2:i64), q), 1000:i64), r)]", "y: f32 = a0[r]"),
        ("    for r in 1:i64 .. 900:i64 {\n      y", "    for r in 1:i64 .. 899:i64 {\n      y"),
        ("y: f32 = a0", "a0[r] = 1.0:f32\n      y: f32 = a0"),
        (" = div(y, s)", " = div(y, s)\n      z: f32 = a0[r]"),
        ("    var s: f32 = sum()", "    var s: f32 = sum()\n    t: f32 = a0[q]"),
    ],
)  # fmt: skip
def test_a_row_that_may_be_read_from_memory_is_in_memory(change: tuple[str, str]) -> None:
    text = TWICE.format(mode="stream ", n=1000, start=1, stop=900, last="div(y, s)", more="")
    assert kept_rows(parse_kernel(text)) and is_streamed(parse_kernel(text))
    assert text.count(change[0]) == 1
    other = parse_kernel(text.replace(*change))
    assert not kept_rows(other) and not is_streamed(other)


def test_a_long_row_is_not_kept() -> None:
    long = kernel(TWICE, "stream ", n=5000, start=0, stop=5000, last="y", more="")
    assert not kept_rows(long) and not is_streamed(long)


def test_an_index_that_is_out_of_range_is_told_wherever_it_stands() -> None:
    text = """\
kernel flat(a0: stream mut f32*, a1: i64*, a2: f32*) parallel p {
  x: i64 = a1[p]
  t: i64 = check_index(x, 10:i64)
  a0[p] = a2[t]
}"""
    function = address(parse_kernel(text))
    for bad in (3, 70, 199):
        index, y = np.full(200, 4), room(200, "f4", 0)[0]
        index[bad] = 10 + bad
        args = arguments(y, index, np.arange(10, dtype="f4"), 0, 0)
        assert call(function, args, 0, 200) == 1
        assert args[3:].tolist() == [10 + bad, 10]
        assert y[0] == 4


def test_short_rows_are_not_worth_it() -> None:
    assert not is_streamed(kernel(ROW, "stream ", n=16))


def test_the_mark_is_a_part_of_the_text_and_of_the_key() -> None:
    k = kernel(FLAT, "stream ", t="f32")
    assert parse_kernel(str(k)) == k and "a0: stream mut f32*" in str(k)
    assert kernel_source(k) != kernel_source(kernel(FLAT, "", t="f32"))
