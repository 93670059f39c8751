"""Library kernels read as LLVM IR do the same, to the bit, as Numba makes of their text."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest

from staticgraph.codegen import conv_source, library_source, native, philox_source
from staticgraph.codegen.cache import kernel_address, symbol_of
from staticgraph.codegen.llvm_source import source_ir
from staticgraph.ir import dtypes

Run = Callable[[int, int, int], int]
SIGNATURE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
I32, I64, F32, F64 = dtypes.int32, dtypes.int64, dtypes.float32, dtypes.float64


@cache
def both(source: str) -> tuple[Run, Run]:
    """The native function of a text, made by each of the two ways."""
    symbol = "direct_" + symbol_of(source)
    direct = native.load_object(native.compile_ir(source_ir(source), symbol), symbol)
    return SIGNATURE(direct), SIGNATURE(kernel_address(source))


def words(*items: np.ndarray | int) -> np.ndarray:
    """An argument block."""
    return np.array([a.ctypes.data if isinstance(a, np.ndarray) else a for a in items], np.int64)


def pieces(n: int) -> Iterator[tuple[int, int]]:
    """A range in uneven parts."""
    at = [0, n // 3, n // 3 + 1, n]
    return itertools.pairwise(at)


def agree(source: str, out: np.ndarray, block: Callable[[np.ndarray], np.ndarray], n: int) -> None:
    """Both ways write the same into copies of `out`, which they do not leave as it is."""
    results = []
    for run in both(source):
        mine = out.copy()
        args = block(mine)
        for lo, hi in pieces(n):
            assert run(args.ctypes.data, lo, hi) == 0
        results.append(mine)
    assert results[0].tobytes() == results[1].tobytes()
    assert results[0].tobytes() != out.tobytes()


@pytest.mark.parametrize("key", philox_source.SOURCES, ids="-".join)
def test_draws(key: tuple[str, str]) -> None:
    n = 4 * 203 + 3
    out = np.zeros(n, key[1])
    agree(
        philox_source.SOURCES[key], out,
        lambda mine: words(mine, n, 12345, -678, 2**63 - 100, 9, -7, 1000),
        philox_source.groups(n),
    )  # fmt: skip


def test_a_draw_from_an_empty_range_is_its_lower_end() -> None:
    for run in both(philox_source.SOURCES["RandomUniformInt", "int64"]):
        out = np.ones(8, np.int64)
        run(words(out, 8, 1, 2, 3, 4, -7, 0).ctypes.data, 0, 2)
        np.testing.assert_array_equal(out, -7)


SCATTERS = [("add", F32, I32), ("div", F32, I64), ("min", F32, I32), ("update", F32, I32)]
SCATTERS += [("mul", dtypes.uint8, I64), ("div", dtypes.int16, I32), ("max", dtypes.uint32, I32)]


@pytest.mark.parametrize(("kind", "dtype", "index"), SCATTERS)
def test_scatters(kind: str, dtype: dtypes.DType, index: dtypes.DType) -> None:
    m, r, s, n = 2, 7, 300, 9
    rng = np.random.default_rng(0)
    out = (rng.normal(size=(m, r, s)) * 50).astype(dtype.np)
    new = (rng.normal(size=(m, n, s)) * 50).astype(dtype.np)
    new[0, 0, :5] = 0
    at = np.array([0, 3, 3, -1, 6, 6, 6, 2, 0], index.np)
    k = library_source.blocks(s)
    source = library_source.scatter(kind, dtype, index)
    agree(source, out, lambda mine: words(mine, at, new, m, r, s, n, k), m * k)


@pytest.mark.parametrize("index", [I32, I64])
@pytest.mark.parametrize("skip", [0, 1])
def test_checks_of_indices(index: dtypes.DType, skip: int) -> None:
    source = library_source.index_check(index)
    for bad, found in ((5, True), (9, True), (-1, not skip), (4, False)):
        at = np.array([0, 4, bad, 1, 99], index.np)
        for run in both(source):
            block = words(at, 5, skip, 0, 0)
            assert run(block.ctypes.data, 0, 4) == (library_source.BAD_INDEX if found else 0)
            assert block[3:].tolist() == ([bad, 5] if found else [0, 0])


CUMULATIVE = [("Cumprod", dtypes.uint8), ("Cumsum", F32), ("CumulativeLogsumexp", F64)]


@pytest.mark.parametrize(("op", "dtype"), CUMULATIVE)
def test_cumulative_operations(op: str, dtype: dtypes.DType) -> None:
    rng = np.random.default_rng(0)
    source = library_source.cumulative(op, dtype)
    for outer, n, inner in ((3, 5, 300), (19, 6, 1)):
        x = (rng.normal(size=(outer, n, inner)) * 3).astype(dtype.np)
        k = library_source.blocks(inner)
        for reverse, exclusive in ((0, 0), (1, 0), (0, 1), (1, 1)):
            out = np.full_like(x, 77)
            agree(
                source, out,
                lambda mine, x=x, n=n, inner=inner, k=k, f=(reverse, exclusive): words(
                    mine, x, n, inner, k, *f
                ),
                outer * k,
            )  # fmt: skip


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_windows(dilation: int, channels: int) -> None:
    rng = np.random.default_rng(0)
    size, kernel, out, before = (1, 7, 9), (1, 3, 2), (1, 4, 5), (0, 1, 1)
    image = rng.normal(size=(2, *size, channels)).astype("f4")
    for first, shift in ((0, (0, 1, 2)), (1, (0, -1, 0))):
        framed = np.full((2 - first, 1, 10, 12, channels), 7, "f4")
        block = (first, *framed.shape[1:4], *size, channels, *shift)
        agree(
            conv_source.frame(F32), framed,
            lambda mine, block=block: words(mine, image, *block), (2 - first) * 10,
        )  # fmt: skip
    lines = 2 * out[0] * out[1]
    row = int(np.prod(kernel)) * channels
    windows = rng.normal(size=(lines * out[2], row)).astype("f4")
    geometry = (0, lines, 0, *out, *kernel, *size, channels, 1, 2, 2, 1, 1, dilation, *before)
    agree(
        conv_source.back(F32), image,
        lambda mine: words(mine, windows, *geometry), 2 * size[0] * size[1],
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [dtypes.bool_, dtypes.float16, F32, dtypes.complex64])
def test_copies_and_clearing(dtype: dtypes.DType) -> None:
    x = np.frombuffer(np.random.default_rng(0).bytes(101 * dtype.size), np.uint8)
    agree(library_source.copy(dtype), np.zeros_like(x), lambda mine: words(x, mine), 101)
    agree(conv_source.zero(F32), x, lambda mine: words(mine), len(x) // 4)


@pytest.mark.parametrize("line", ["x = lo @ hi", "x: int = 1", "del lo", "x = [1]", "x = ~lo",
                                  "x = np.uint64(1) + 1", "x = np.float32(1.0) + 1"])  # fmt: skip
def test_what_is_not_understood_is_refused(line: str) -> None:
    with pytest.raises(TypeError):
        source_ir(f"def kernel(args, lo, hi):\n    {line}\n    return 0\n")
