"""The direct LLVM form and the Numba form of a kernel agree, for every lowered op.

Integers agree in every bit; floats up to what `contract` and the order of a sum leave open.
"""

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
def test_both_ways_agree(op: Op, sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    f = sample_function(op, sample, symbolic=True)
    args = flat_args(op, sample)
    if op.grad is not None and sample.grad:
        rng = np.random.default_rng(1)
        outs = [r for r in results(f, args, "", monkeypatch) if r.dtype.kind == "f"]
        args += [rng.normal(size=r.shape).astype(r.dtype) for r in outs]
        f = vjp(f)
    ways = (results(f, args, way, monkeypatch) for way in ("", "numba"))
    for a, b in zip(*ways, strict=True):
        if a.dtype.kind == "f":
            tol = {2: 2e-3, 4: 1e-6, 8: 1e-14}[a.dtype.itemsize]
            np.testing.assert_allclose(a, b, rtol=tol, atol=tol)
        else:
            assert a.tobytes() == b.tobytes()
