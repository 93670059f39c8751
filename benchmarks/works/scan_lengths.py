"""The first train step with a number of steps that has not come before.

The Elman network whose loop is a part of the graph, after a step with 5 letters; each round takes
one more than the last.  Whoever compiles for a length compiles here.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np

from benchmarks.case import Case, Params, Target
from benchmarks.works import elman_rnn

VARIANTS: dict[str, dict[str, Any]] = {
    f"{steps:,}": {
        "steps": steps, "n": 32, "inputs": 32, "units": 64, "rate": 1e-3, "form": "scan",
        "quick": {"steps": min(steps, 100)},
    }
    for steps in (10, 100, 1000, 10_000)
}  # fmt: skip
UNIT = "first step"
ROUNDS = 5
TARGETS = (Target("fact", 0, "new_code"), Target("faster", 1.0, "best"))
clock = time.perf_counter


def sequences(p: Params) -> Any:
    """Sequences of p.steps letters, of p.steps + 1, and so on."""
    rng = np.random.RandomState(0)
    for steps in itertools.count(p.steps):
        yield rng.randn(steps, p.n, p.inputs).astype(np.float32)


def short(p: Params) -> Params:
    return Params(**(vars(p) | {"steps": 5}))


def timed(p: Params, step: Any) -> Any:
    """One round: `step` on a sequence of another length."""
    xs = sequences(p)

    def once() -> float:
        x = next(xs)
        start = clock()
        step(x)
        return clock() - start

    return once


def staticgraph(p: Params) -> Case:
    import staticgraph as tf
    from benchmarks import ours

    sess, case = elman_rnn.graph(tf, short(p))
    case.step()
    seen = {"new_code": 0}
    again: list[float] = []

    def step(x: Any) -> None:
        seen["new_code"] += ours.new_code(lambda: case.step(x))

    once, others = timed(p, step), sequences(p)

    def both() -> float:
        first = once()
        x = next(others)
        start = clock()
        case.step(x)
        again.append(first - (clock() - start))
        return first

    return Case(both, facts=lambda: ours.facts(sess) | seen | {"plan_s": min(again)}, timed=True)


def tf1(p: Params) -> Case:
    import tensorflow.compat.v1 as tf

    tf.disable_v2_behavior()
    _, case = elman_rnn.graph(tf, short(p))
    case.step()
    return Case(timed(p, case.step), timed=True)


def torch(p: Params) -> Case:
    case = elman_rnn.torch(short(p))
    case.step()
    return Case(timed(p, lambda x: case.step(_tensor(x))), timed=True)


def _tensor(x: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(x)


def torch_layer(p: Params) -> Case:
    case = elman_rnn.torch_layer(short(p))
    case.step()
    return Case(timed(p, lambda x: case.step(_tensor(x))), timed=True)


def jax(p: Params) -> Case:
    case = elman_rnn.jax(short(p))
    case.step()
    return Case(timed(p, case.step), timed=True)
