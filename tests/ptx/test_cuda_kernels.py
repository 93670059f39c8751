"""Kernels of real functions on the GPU's terms: compiled offline, interpreted, against NumPy."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="the optional extra staticgraph[cuda] is not installed")

from staticgraph.codegen.cuda import compile_cuda, cuda_kernel
from staticgraph.ir import dtypes
from staticgraph.ir.evaluate import evaluate
from staticgraph.ir.program import Launch

from .cases import CASES, F32, Case, N, compiled, function, op
from .interpreter import RaceError, run_ptx
from .kernels import check_budget
from .launches import FailedCheckError, code_of, run_program

SIZES = (0, 1, 3, 4, 5, 17, 1000)
SHAPES = [*((n, m) for n in (0, 1, 7) for m in SIZES[1:]), (300, 3), (3, 0)]
VECTORS = [k for k, c in CASES.items() if c.shapes[0] == (N,)]
APART = ("gather", "softmax_8192")
MATRICES = [k for k, c in CASES.items() if len(c.shapes[0]) == 2 and k not in APART]


def arguments(case: Case, n: int, m: int, k: int = 6) -> list[np.ndarray]:
    """Arrays for a case, a NaN and equal extremes among them."""
    rng = np.random.default_rng(n * 1009 + m)
    sizes = {"n": n, "m": m, "k": k}
    out = []
    for i, shape in enumerate(case.shapes):
        concrete = tuple(d if isinstance(d, int) else sizes[str(d)] for d in shape)
        if (case.dtypes[i] if case.dtypes else F32) is F32:
            out.append(rng.standard_normal(concrete).astype(np.float32))
        else:
            out.append(rng.integers(0, max(n, 1), concrete).astype(np.int32))
    if case.gradient:
        out.append(rng.standard_normal(out[0].shape).astype(np.float32))
    return out


def compare(name: str, args: list[np.ndarray], **options: Any) -> list[np.ndarray]:
    f = function(CASES[name])
    want = evaluate(f, args)[0]
    have = run_program(compiled(f), args, **options)
    for h, w in zip(have, want, strict=True):
        assert h.dtype == w.dtype
        tolerance = 2e-5 if w.dtype.kind == "f" else 0
        np.testing.assert_allclose(h, w, rtol=tolerance, atol=tolerance)
    return have


@pytest.mark.parametrize("name", CASES)
def test_the_budget_holds(name: str) -> None:
    program = compiled(function(CASES[name]))
    assert program.steps and all(isinstance(s, Launch) for s in program.steps)
    codes = [code_of(kernel)[1] for kernel in program.kernels()]
    for code in codes:
        check_budget(code)
        assert not re.search(r"^\s*(atom|red)\.", code.ptx, re.MULTILINE)
    wide = any(re.search(r"ld\.global(\.nc)?\.v4\.[fbus]32", code.ptx) for code in codes)
    assert wide == CASES[name].lanes


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name: str, n: int) -> None:
    compare(name, arguments(CASES[name], n, 0))


@pytest.mark.parametrize(("n", "m"), SHAPES)
@pytest.mark.parametrize("name", MATRICES)
def test_matrices(name: str, n: int, m: int) -> None:
    if m == 0 and name in ("argmax", "column_maximum", "softmax", "layer_norm"):
        return  # nothing to compare: argmax refuses, the others have no elements
    if isinstance(CASES[name].shapes[0][1], int) and m != 3:
        return
    compare(name, arguments(CASES[name], n, m))


def test_a_reduction_of_several_chunks_and_one_below_the_threshold() -> None:
    for n in (8191, 8192, 8193, 20_001):
        compare("mean_of_squares", arguments(CASES["mean_of_squares"], n, 0), blocks=2)
    compare("mean_of_squares_1000", arguments(CASES["mean_of_squares_1000"], 0, 0))
    assert len(compiled(function(CASES["mean_of_squares"])).steps) == 2
    assert len(compiled(function(CASES["mean_of_squares_1000"])).steps) == 1


def test_rows_longer_than_a_block_of_a_sum() -> None:
    for name in ("softmax", "layer_norm", "softmax_8192"):
        compare(name, arguments(CASES[name], 2, 4099))


@pytest.mark.parametrize(("n", "m", "k"), [(0, 2, 3), (3, 0, 2), (3, 4, 1), (20, 3, 31)])
def test_a_nest_of_loops_over_a_row(n: int, m: int, k: int) -> None:
    compare("nest", arguments(CASES["nest"], n, m, k))


def test_columns_of_several_blocks() -> None:
    compare("column_sum", arguments(CASES["column_sum"], 300, 700))


def test_flat_kernels_take_several_turns() -> None:
    compare("chain", arguments(CASES["chain"], 5003, 0), blocks=1)


def test_the_first_of_equal_extremes_and_of_nans() -> None:
    x = np.zeros((6, 600), np.float32)
    x[1, [599, 300, 301]] = 2
    x[2, [400, 20]] = np.nan
    x[2, 5] = np.inf
    x[3] = -np.inf
    x[4, 1:] = -np.inf
    x[5] = np.nan
    (out,) = compare("argmax", [x])
    np.testing.assert_array_equal(out, [0, 300, 20, 0, 0, 0])
    x[1, [40, 33, 34]] = 2
    (out,) = compare("argmax_64", [np.ascontiguousarray(x[:, :64])])
    np.testing.assert_array_equal(out, [0, 33, 20, 0, 0, 0])


def test_nan_goes_through_maxima() -> None:
    x = np.random.default_rng(0).standard_normal((20, 40)).astype(np.float32)
    x[3, 7] = np.nan
    (out,) = compare("column_maximum", [x])
    assert np.isnan(out[7])
    assert np.isnan(compare("softmax", [x])[0][3]).all()


@pytest.mark.parametrize("m", [1, 5, 300])
def test_gather(m: int) -> None:
    compare("gather", arguments(CASES["gather"], 9, m))


@pytest.mark.parametrize("index", [9, -1, 1000, -(2**31)])
def test_an_index_out_of_bounds_is_reported_and_nothing_else_is_touched(index: int) -> None:
    x, i = arguments(CASES["gather"], 9, 40)
    i[4] = index
    with pytest.raises(FailedCheckError) as e:
        run_program(compiled(function(CASES["gather"])), [x, i])
    assert e.value.args == (1, index, 9)


def test_of_several_bad_indices_one_is_reported() -> None:
    x, i = arguments(CASES["gather"], 9, 40)
    i[:] = [0, 11, 1, 12, 13, 2]
    with pytest.raises(FailedCheckError) as e:  # not strict: the reports race, each is one store
        run_program(compiled(function(CASES["gather"])), [x, i], strict=False)
    site, index, bound = e.value.args
    assert (site, bound) == (1, 9) and index in (11, 12, 13)


def test_results_do_not_depend_on_the_number_of_blocks() -> None:
    args = arguments(CASES["layer_norm"], 7, 1000)
    one, other = (compare("layer_norm", args, blocks=b)[0] for b in (1, 7))
    np.testing.assert_array_equal(one, other)


def test_without_its_guard_a_store_of_a_row_is_a_race() -> None:
    (kernel,) = compiled(function(CASES["mean_of_squares_1000"])).kernels()
    printed = cuda_kernel(kernel)
    bare = printed.source.replace("if thread == 0:", "if True:")
    assert bare != printed.source
    code = compile_cuda(dataclasses.replace(printed, source=bare))
    x, out = np.ones(1000, np.float32), np.zeros((), np.float32)
    with pytest.raises(RaceError):
        run_ptx(code.ptx, code.name, 1, printed.launch.block, [x, out, np.int64(1)])


def test_half_precision_in_memory() -> None:
    """bfloat16 and float16 round as the oracle's types do, NaN and ties included."""
    bits = np.array([0, 0x3F808000, 0x3F818000, 0x7F7FFFFF, 0x7F800001, 0xFF800000], np.uint32)
    x = np.concatenate([bits.view(np.float32), np.linspace(-9, 9, 40, dtype=np.float32)])
    for half in (dtypes.float16, dtypes.bfloat16):
        case = Case(((N,),), lambda v, d=half: op("Cast", op("Cast", v, DstT=d), DstT=F32))
        two = Case(((N,),), lambda v, d=half: op("Cast", v, DstT=d))
        back = Case(((N,),), lambda v: op("Cast", v, DstT=F32), dtypes=(half,))
        f, g, h = function(case), function(two), function(back)
        (want,) = evaluate(f, [x])[0]
        np.testing.assert_array_equal(run_program(compiled(f), [x])[0], want)
        (middle,) = run_program(compiled(g), [x])
        np.testing.assert_array_equal(run_program(compiled(h), [middle])[0], want)
