"""Random loops mean the same after every pass, as text, on the slow machine and compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings

from staticgraph.ir.compare import difference
from staticgraph.ir.compare_program import program_difference
from staticgraph.ir.evaluate import evaluate
from staticgraph.ir.function import Function
from staticgraph.ir.parse import parse_function
from staticgraph.ir.parse_program import parse_program
from staticgraph.ir.program import Program
from staticgraph.passes.pipeline import run_pipeline
from staticgraph.runtime.compile import compile_function
from staticgraph.runtime.store import Store
from tests.properties.loop_programs import loop_cases
from tests.properties.machine import run_program
from tests.properties.programs import Case
from tests.properties.test_programs import COMMON, assert_agree


def check_passes(case: Case) -> None:
    """Verify and evaluate the function after each pass, and read its text back."""
    f = case.function()
    args = case.arguments()
    want, _ = evaluate(f, args)
    for optimize in (False, True):
        stages: list[tuple[str, Any]] = []
        run_pipeline(
            f, optimize, verify=True, observe=lambda name, ir, _, s=stages: s.append((name, ir))
        )
        previous = None
        for name, ir in stages:
            if isinstance(ir, Function) and ir is not previous:
                assert_agree(case, evaluate(ir, args)[0], want)
                again = parse_function(str(ir))
                assert (name, difference(ir, again)) == (name, None)
                previous = ir
            elif isinstance(ir, Program):
                assert program_difference(ir, parse_program(str(ir))) is None
                for planned in (False, True):
                    assert_agree(case, run_program(ir, args, planned)[0], want)


@given(loop_cases(exact=True))
@settings(COMMON, max_examples=30)
def test_whole_number_loops_are_exact_after_every_pass(case: Case) -> None:
    check_passes(case)


@given(loop_cases(exact=False))
@settings(COMMON, max_examples=30)
def test_smooth_loops_agree_after_every_pass(case: Case) -> None:
    check_passes(case)


@given(loop_cases(exact=False))
@settings(COMMON, max_examples=25)
def test_loops_agree_compiled(case: Case) -> None:
    f = case.function()
    args = case.arguments()
    want, _ = evaluate(f, args)
    for optimize in (False, True):
        exe = compile_function(f, optimize)
        assert not exe.reference
        for _ in range(2):
            assert_agree(case, exe.run([np.array(a) for a in args], Store()), want)
