"""A random program gives the same numbers on the oracle, on the slow machine and compiled."""

from __future__ import annotations

import contextlib
from unittest import mock

import numpy as np
from hypothesis import HealthCheck, given, settings

from staticgraph.ir.evaluate import evaluate
from staticgraph.ir.verify import verify_function
from staticgraph.passes import kernel_writer, schedule
from staticgraph.passes.pipeline import run_pipeline
from staticgraph.runtime.compile import compile_function
from staticgraph.runtime.store import Store
from tests.properties.machine import run_program
from tests.properties.programs import Case, cases

COMMON = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ],
)


def assert_agree(case: Case, got: list[np.ndarray], want: list[np.ndarray]) -> None:
    for t, bound, g, w in zip(case.fetches, case.bounds, got, want, strict=True):
        g = np.asarray(g)
        assert (g.dtype, g.shape) == (w.dtype, w.shape), t.name
        if w.dtype.kind != "f":
            np.testing.assert_array_equal(g, w, err_msg=t.name)
            continue
        eps = float(np.finfo(w.dtype).eps)
        exact = case.exact and bound < 1e4
        scale = float(np.max(np.abs(w), initial=1.0, where=np.isfinite(w)))
        tol = 0.0 if exact else eps * 1e4 * max(scale, bound)
        np.testing.assert_allclose(g, w, rtol=tol and eps * 1e4, atol=tol, err_msg=t.name)


def check_on_machine(case: Case) -> None:
    """Unoptimised and optimised programs, statement by statement, against the oracle."""
    f = case.function()
    args = case.arguments()
    want, _ = evaluate(f, args)
    for optimize in (False, True):
        done = run_pipeline(f, optimize, verify=verify_function)
        assert done.program is not None
        for planned in (False, True):
            got, _ = run_program(done.program, args, planned)
            assert_agree(case, got, want)


@given(cases(exact=True))
@settings(COMMON, max_examples=150)
def test_whole_number_programs_are_exact_on_the_slow_machine(case: Case) -> None:
    check_on_machine(case)


@given(cases(exact=False))
@settings(COMMON, max_examples=150)
def test_smooth_programs_agree_on_the_slow_machine(case: Case) -> None:
    check_on_machine(case)


@given(cases(exact=True))
@settings(COMMON, max_examples=100)
def test_programs_are_exact_where_every_loop_is_blocked(case: Case) -> None:
    small_blocks = {"BLOCK": 4, "CHUNK": 3, "CHUNKED": 4, "COLUMNS": 2, "ROWS": 2, "RECOMPUTE": 0}
    with contextlib.ExitStack() as stack:
        for module in (schedule, kernel_writer):
            here = {k: v for k, v in small_blocks.items() if hasattr(module, k)}
            stack.enter_context(mock.patch.multiple(module, **here))
        check_on_machine(case)


def check_compiled(case: Case) -> None:
    f = case.function()
    args = case.arguments()
    want, _ = evaluate(f, args)
    for optimize in (False, True):
        exe = compile_function(f, optimize)
        assert not exe.reference
        for _ in range(2):
            assert_agree(case, exe.run([np.array(a) for a in args], Store()), want)


@given(cases(exact=True, ops=10))
@settings(COMMON, max_examples=15)
def test_whole_number_programs_are_exact_compiled(case: Case) -> None:
    check_compiled(case)


@given(cases(exact=False, ops=10))
@settings(COMMON, max_examples=15)
def test_smooth_programs_agree_compiled(case: Case) -> None:
    check_compiled(case)
