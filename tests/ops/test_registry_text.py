"""Every op record, alone and with its reverse pass: verifiers accept it, its text round-trips."""

from __future__ import annotations

import pytest

import staticgraph.ops  # noqa: F401
from staticgraph.errors import ParseError
from staticgraph.ir.compare import difference
from staticgraph.ir.compare_program import program_difference
from staticgraph.ir.function import Function
from staticgraph.ir.op import Op, Sample, registered
from staticgraph.ir.parse import parse_function, parse_kernel
from staticgraph.ir.parse_program import parse_program
from staticgraph.ir.program import Program
from staticgraph.ir.verify import verify_function, verify_program
from staticgraph.passes.autodiff import vjp
from staticgraph.passes.cleanup import Decompose, Fold, Prune, Share
from staticgraph.passes.lower import Lower
from staticgraph.passes.simplify import Simplify
from tests.ops.harness import sample_function

CASES = [
    pytest.param(op, s, id=f"{op.name}-{i}")
    for op in registered()
    for i, s in enumerate(op.samples)
]


CLEANUP = (Decompose(), Fold(), Simplify(), Share(), Prune())


def functions(op: Op, sample: Sample) -> list[Function]:
    """The sample as a function, with known and with symbolic sizes, and the reverse of each."""
    out = [sample_function(op, sample, symbolic) for symbolic in (False, True)]
    if op.grad is not None and sample.grad:
        out += [vjp(f) for f in out]
    return out


@pytest.mark.parametrize(("op", "sample"), CASES)
def test_functions_of_one_op_verify_and_round_trip(op: Op, sample: Sample) -> None:
    for f in functions(op, sample):
        verify_function(f)
        text = str(f)
        if "<python " in text:
            with pytest.raises(ParseError, match="Python object has no text form"):
                parse_function(text)
            continue
        again = parse_function(text)
        assert str(again) == text
        assert difference(f, again) is None
        verify_function(again)


@pytest.mark.parametrize(("op", "sample"), CASES)
def test_programs_of_one_op_verify_and_round_trip(op: Op, sample: Sample) -> None:
    for f in functions(op, sample):
        if any(v.type.shape is None for n in f.nodes for v in n.outputs):
            continue  # a symbolic size decides the rank: such a function is specialised first
        for optimize in (True, False):
            g = f
            for p in CLEANUP if optimize else CLEANUP[:1]:
                g = p(g)
                verify_function(g)
            check_program(Lower(optimize)(g))


def check_program(program: Program) -> None:
    """A program and its kernels verify, and their text means the same."""
    verify_program(program)
    text = str(program)
    if "<python " in text:
        with pytest.raises(ParseError, match="Python object has no text form"):
            parse_program(text)
        return
    again = parse_program(text)
    assert str(again) == text
    assert program_difference(program, again) is None
    verify_program(again)
    for k in program.kernels():
        assert parse_kernel(str(k)) == k
