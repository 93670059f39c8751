"""Every op record compiled: unoptimised = oracle = optimised; gradients; sizes open or fixed."""

from __future__ import annotations

import numpy as np
import pytest

import staticgraph.ops  # noqa: F401
from staticgraph.ir.evaluate import evaluate
from staticgraph.ir.function import Function
from staticgraph.ir.op import Op, Sample, registered
from staticgraph.passes.autodiff import vjp
from staticgraph.runtime.compile import compile_function
from staticgraph.runtime.store import Store
from tests.ops.harness import flat_args, sample_function

CASES = [
    pytest.param(op, s, id=f"{op.name}-{i}")
    for op in registered()
    for i, s in enumerate(op.samples)
    if op.effect == "pure"
]
DIFFERENTIABLE = [c for c in CASES if c.values[1].grad and c.values[0].grad is not None]

TOLERANCE = {"float64": 1e-9, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


def assert_close(got: object, want: np.ndarray, rtol: float | None) -> None:
    got = np.asarray(got)
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    if want.dtype.name not in TOLERANCE and want.dtype.kind != "c":
        np.testing.assert_array_equal(got, want)
        return
    tol = rtol or TOLERANCE.get(want.dtype.name, 1e-5)
    wide = np.complex128 if want.dtype.kind == "c" else np.float64
    np.testing.assert_allclose(got.astype(wide), want.astype(wide), rtol=tol, atol=tol)


def check(f: Function, args: list[np.ndarray], optimize: bool, rtol: float | None) -> None:
    want, _ = evaluate(f, args)
    exe = compile_function(f, optimize)
    assert not exe.reference
    for _ in range(2):  # the second run must not see what the first left behind
        got = exe.run([np.array(a) for a in args], Store())
        for g, w in zip(got, want, strict=True):
            assert_close(g, w, rtol)


@pytest.mark.parametrize(("op", "sample"), CASES)
def test_compiled_is_the_oracle(op: Op, sample: Sample) -> None:
    args = flat_args(op, sample)
    check(sample_function(op, sample, symbolic=True), args, True, sample.rtol)
    check(sample_function(op, sample), args, False, sample.rtol)


@pytest.mark.parametrize(("op", "sample"), DIFFERENTIABLE)
def test_compiled_gradient_is_the_oracle(op: Op, sample: Sample) -> None:
    f = sample_function(op, sample, symbolic=True)
    args = flat_args(op, sample)
    rng = np.random.default_rng(0)
    cotangents = [
        rng.normal(size=r.shape).astype(r.dtype)
        for r, v in zip(evaluate(f, args)[0], f.results, strict=True)
        if v.dtype.is_differentiable
    ]
    check(vjp(f), [*args, *cotangents], True, sample.rtol and 10 * sample.rtol)
