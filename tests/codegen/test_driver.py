"""The walk over a plan's steps."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from staticgraph.codegen.cache import compiled_count, kernel_address, kernel_addresses
from staticgraph.codegen.driver import CLOCK, SOURCE, STEP_WORDS, bound, driver, timed, timed_source
from tests.codegen.kernels import arguments, finish, python, scale

STATUS = "def kernel(args, lo, hi):\n    args[1] = args[1] + 1\n    return args[0]\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATICGRAPH_CACHE", str(tmp_path / "kernels"))


class Plan:
    """Steps with a table of their own."""

    def __init__(self, *steps: tuple[int, Any, int, int]) -> None:
        self.keep = steps
        rows = [(f, args.ctypes.data, lo, hi) for f, args, lo, hi in steps]
        self.table = np.array(rows, np.int64).reshape(len(rows), STEP_WORDS)
        self.failed = np.full(1, -1, np.int64)

    def run(self, first: int = 0, last: int | None = None) -> int:
        last = len(self.keep) if last is None else last
        return driver()(self.table.ctypes.data, first, last, self.failed.ctypes.data)


def test_runs_steps_in_order() -> None:
    double, triple = kernel_addresses([scale(2.0), scale(3.0)])
    x, y, z = (np.arange(20, dtype=np.float32) + i for i in range(3))
    plan = Plan((double, arguments(x, y), 0, 20), (triple, arguments(y, z), 5, 15))
    assert plan.run() == 0
    assert np.array_equal(y, x * 2)
    assert np.array_equal(z[5:15], x[5:15] * 6)
    assert np.array_equal(z[:5], np.arange(5) + 2)
    assert plan.failed[0] == 2  # the step after the last


def test_runs_a_part() -> None:
    status = kernel_address(STATUS)
    blocks = [arguments(0, 0) for _ in range(5)]
    plan = Plan(*[(status, b, 0, 1) for b in blocks])
    assert plan.run(1, 3) == 0
    assert [int(b[1]) for b in blocks] == [0, 1, 1, 0, 0]


@pytest.mark.parametrize(("first", "last"), [(0, 0), (2, 2), (3, 1)])
def test_nothing_to_run(first: int, last: int) -> None:
    plan = Plan()
    assert plan.run(first, last) == 0


def test_stops_at_the_first_failure() -> None:
    status = kernel_address(STATUS)
    blocks = [arguments(s, 0) for s in (0, 0, 42, 0, 43)]
    plan = Plan(*[(status, b, 0, 1) for b in blocks])
    assert plan.run() == 42
    assert plan.failed[0] == 2
    assert [int(b[1]) for b in blocks] == [1, 1, 1, 0, 0]
    blocks[2][0] = -5
    assert plan.run(1) == -5
    assert plan.failed[0] == 2


def test_bound_steps() -> None:
    status = kernel_address(STATUS)
    block = arguments(0, 0)
    plan = Plan((status, block, 0, 1), (status, block, 0, 1))
    run = bound(plan.table.ctypes.data, 0, 2, plan.failed.ctypes.data)
    assert run() == 0
    assert run() == 0
    assert block[1] == 4
    block[0] = 9
    assert run() == 9
    assert plan.failed[0] == 0


def test_a_walk_with_a_clock() -> None:
    status = kernel_address(STATUS)
    blocks = [arguments(s, 0) for s in (0, 0, 0, 42, 0)]
    plan = Plan(*[(status, b, 0, 1) for b in blocks])
    times = np.zeros((5, 2), np.int64)
    where = (plan.table.ctypes.data, plan.failed.ctypes.data, times.ctypes.data)
    start = time.clock_gettime_ns(CLOCK)
    assert timed()(where[0], 1, 3, where[1], where[2]) == 0
    assert plan.failed[0] == 3
    end = time.clock_gettime_ns(CLOCK)
    assert [int(b[1]) for b in blocks] == [0, 1, 1, 0, 0]
    assert times[[0, 3, 4]].tolist() == [[0, 0]] * 3
    assert times[2, 0] == times[1, 1]
    assert start <= times[1, 0] <= times[1, 1] <= times[2, 1] <= end
    assert timed()(where[0], 2, 5, where[1], where[2]) == 42
    assert plan.failed[0] == 3
    assert times[3, 1] >= times[3, 0] == times[2, 1] > 0
    assert times[4].tolist() == [0, 0]
    assert timed()(where[0], 3, 3, where[1], where[2]) == 0


def test_the_plain_walk_knows_of_no_clock() -> None:
    assert "clock" not in SOURCE
    assert "clock" in timed_source()


def test_the_driver_is_not_counted_as_a_kernel() -> None:
    before = compiled_count()
    driver()
    assert compiled_count() == before


def test_runs_without_the_gil() -> None:
    source = (
        "def kernel(args, lo, hi):\n"
        "    a0 = ptr_i64(args[0])\n"
        "    for p in range(lo, hi):\n"
        "        if a0[0] != 0:\n"
        "            return 0\n"
        "        a0[1] = a0[1] * 3 + p\n"
        "    return 0\n"
    )
    flag = np.zeros(2, np.int64)
    plan = Plan((kernel_address(source), arguments(flag), 0, 1 << 20))
    many = Plan(*plan.keep * 2000)
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(many.run()))
    thread.start()
    alive = thread.is_alive()  # the interpreter goes on while the steps run
    flag[0] = 1
    thread.join(30)
    assert alive
    assert len(results) == 1


def test_needs_no_numba(tmp_path: Any) -> None:
    code = (
        "import sys; from staticgraph.codegen import driver, product_source\n"
        "driver.driver(); product_source.product_address('f32', 'tiles')\n"
        "assert not {'numba', 'scipy.linalg'} & set(sys.modules)"
    )
    finish(python(code, cache=tmp_path / "fresh"))
