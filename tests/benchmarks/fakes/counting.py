"""Counting, a call.

More about counting.
"""

from __future__ import annotations

from benchmarks.case import Case, NotYet, Params, Target, Traffic

VARIANTS = {"few": {"n": 100, "quick": {"n": 10}}, "many": {"n": 1000}}
TARGETS = (Target("faster", 0.0, "slow"), Target("fact", 5, "count"), Target("bandwidth", 2.0))


def traffic(p: Params) -> Traffic:
    return Traffic(bytes=8.0 * p.n, flops=2.0 * p.n)


def staticgraph(p: Params) -> Case:
    return Case(lambda: sum(range(p.n)), lambda: [p.n, 1.0], lambda: {"count": 3})


def floor(p: Params) -> Case:
    """Nothing at all"""
    return Case(lambda: None)


def slow(p: Params) -> Case:
    return Case(lambda: sum(range(3 * p.n)), lambda: [p.n, 1.0])


def different(p: Params) -> Case:
    return Case(lambda: None, lambda: [p.n, 2.0])


def timed(p: Params) -> Case:
    return Case(lambda: 0.5, units=2, timed=True)


def later(p: Params) -> Case:
    raise NotYet("no counting yet")


def broken(p: Params) -> Case:
    raise RuntimeError("it broke\nbadly")


def noisy(p: Params) -> Case:
    print("this is not an answer")
    return Case(lambda: print("nor is this"))


def dying(p: Params) -> Case:
    import os
    import sys

    print("last words", file=sys.stderr, flush=True)
    os._exit(3)


def failing(p: Params) -> Case:
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        if count > 2:
            raise ValueError("no more")

    return Case(step)


def hanging(p: Params) -> Case:
    import time

    time.sleep(1000)
    raise AssertionError
