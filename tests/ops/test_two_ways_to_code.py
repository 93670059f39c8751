"""The direct LLVM form and the Numba form of a kernel give the same bits, for every lowered op."""

from __future__ import annotations

import numpy as np
import pytest

import staticgraph.ops  # noqa: F401
from staticgraph.ir.op import Op, Sample, registered
from staticgraph.passes.autodiff import vjp
from staticgraph.runtime.compile import compile_function
from staticgraph.runtime.store import Store
from tests.ops.harness import flat_args, sample_function

CASES = [
    pytest.param(op, op.samples[0], id=op.name)
    for op in registered()
    if op.samples and op.effect == "pure" and (op.lower is not None or op.decompose is not None)
]


def results(f, args, way: str, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    monkeypatch.setenv("STATICGRAPH_CODEGEN", way)
    exe = compile_function(f)
    assert not exe.reference
    return [np.asarray(r) for r in exe.run(args, Store())]


@pytest.mark.parametrize(("op", "sample"), CASES)
def test_both_ways_give_the_same_bits(op: Op, sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    f = sample_function(op, sample, symbolic=True)
    args = flat_args(op, sample)
    if op.grad is not None and sample.grad:
        shapes = [np.asarray(r) for r in results(f, args, "", monkeypatch)]
        rng = np.random.default_rng(1)
        f, args = vjp(f), [*args, *(rng.normal(size=r.shape).astype(r.dtype) for r in shapes
                                    if r.dtype.kind == "f")]
    for a, b in zip(results(f, args, "", monkeypatch), results(f, args, "numba", monkeypatch), strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("n", [0, 1, 5, 31, 4097, 70000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_reductions_add_in_the_same_order(n: int, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from staticgraph.ir.op import lookup

    x = np.random.default_rng(0).normal(size=(3, n)).astype(dtype)
    for name, axis in (("Sum", (0, 1)), ("Sum", (1,)), ("Sum", (0,)), ("Prod", (1,)), ("Max", (1,))):
        f = sample_function(lookup(name), Sample((x,), {"reduction_indices": axis}), symbolic=True)
        a = results(f, [x], "", monkeypatch)[0]
        b = results(f, [x], "numba", monkeypatch)[0]
        assert a.tobytes() == b.tobytes()
