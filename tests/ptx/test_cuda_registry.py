"""Every lowered op's kernels on the GPU's terms: its own samples, through PTX, against NumPy.

By default each op has one of its samples run, with sizes known only at run time; ``--all-cuda``
runs all, for known sizes too.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="the optional extra staticgraph[cuda] is not installed")

import staticgraph.ops  # noqa: F401  (fills the registry)
from staticgraph.ir.evaluate import evaluate
from staticgraph.ir.op import Op, Sample, registered
from staticgraph.ir.program import Launch
from tests.ops.harness import flat_args, sample_function

from .cases import compiled
from .launches import code_of, run_program

SINGLE = {"float32", "int32", "bool"}
SLOW_PATH = {"Sin", "Cos", "Tan"}  # reduce large angles in memory and in double precision
SPILLING = {("Lgamma", "float64")}
TOLERANCE = {"float32": 2e-5, "float64": 1e-10, "float16": 2e-3, "bfloat16": 2e-2}


def is_single(op: Op, sample: Sample) -> bool:
    """Whether the sample stays within the element types that the GPU is fast at."""
    return all(a.dtype.name in SINGLE for a in flat_args(op, sample))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One set of parameters for each op, sample and kind of sizes, or one for each op."""
    every = metafunc.config.getoption("--all-cuda")
    cases = []
    for op in registered():
        if op.lower is None:
            continue
        preferred = [i for i, s in enumerate(op.samples) if is_single(op, s)] or [0]
        for i, sample in enumerate(op.samples):
            for symbolic in (True, False):
                if every or (symbolic and i == preferred[-1]):
                    name = f"{op.name}-{i}-{'symbolic' if symbolic else 'known'}"
                    cases.append(pytest.param(op, sample, symbolic, id=name))
    metafunc.parametrize(("op", "sample", "symbolic"), cases)


def test_an_op_on_the_gpu(op: Op, sample: Sample, symbolic: bool) -> None:
    args = flat_args(op, sample)
    f = sample_function(op, sample, symbolic=symbolic)
    program = compiled(f)
    if not all(isinstance(step, Launch) for step in program.steps):
        pytest.skip("not all of it is a kernel: a result of unknown rank, or a constant")
    types = {v.dtype.name for v in (*(p.value for p in f.params), *f.results)}
    for kernel in program.kernels():
        code = code_of(kernel)[1]
        if (op.name, args[0].dtype.name if args else "") not in SPILLING:
            assert code.spills == 0
        if "float64" not in types and op.name not in SLOW_PATH:
            assert not re.search(r"\.f64", code.ptx)
            assert code.stack_bytes == 0
    for have, want in zip(run_program(program, args), evaluate(f, args)[0], strict=True):
        assert (have.dtype, have.shape) == (want.dtype, want.shape)
        tolerance = max(sample.rtol or 0, TOLERANCE.get(want.dtype.name, 0))
        if want.dtype.name in ("float16", "bfloat16"):
            have, want = have.astype(np.float32), want.astype(np.float32)
        np.testing.assert_allclose(have, want, rtol=tolerance, atol=tolerance)
