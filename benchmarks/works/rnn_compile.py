"""From the start of a process to the end of the first train step of a recurrent network.

The Elman network whose loop is a part of the graph.  Each round is a process of its own.  Cold:
nothing has been compiled before, every round with empty caches.  Warm: the same process has run
once before.
"""

from __future__ import annotations

from typing import Any

from benchmarks.case import Case, Params, Target
from benchmarks.works.first_step import start

VARIANTS: dict[str, dict[str, Any]] = {
    state: {"work": "elman_rnn", "of": "100x32x64", "cold": state == "cold"}
    for state in ("warm", "cold")
}
ROUNDS = 3
UNIT = "process"
TARGETS = (
    Target("seconds", 0.3, variants=("warm",)),
    Target("fact", 0, "numba", ("warm",)),
    Target("faster", 1.0, "jax", ("cold",)),
)


def staticgraph(p: Params) -> Case:
    return start(p, "staticgraph")


def torch(p: Params) -> Case:
    return start(p, "torch")


def jax(p: Params) -> Case:
    return start(p, "jax")


def tf1(p: Params) -> Case:
    return start(p, "tf1")
