"""Loops for tests of passes: closing, what is left of them, and that they mean the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

import staticgraph as tf
from staticgraph.ir.evaluate import evaluate
from staticgraph.ir.function import Function, Node, bodies
from staticgraph.ir.program import Program


def staged(fetches: Any, feed: Mapping[Any, Any], stage: str | None = None) -> Function:
    """The function of some fetches after a stage or all; it gives what it gave when closed.

    Args:
      feed: values of what is fed, and of variables by their names.
    """
    made = tf.stages(fetches, [t for t in feed if not isinstance(t, str)], stop_after=stage)
    values = {t if isinstance(t, str) else t.name: a for t, a in feed.items()}
    want, got = (
        evaluate(f, [np.asarray(values[p.name], p.value.dtype.np) for p in f.params])
        for f in (made.closed, made.function)
    )
    assert list(want[1]) == list(got[1])
    for a, b in zip([*want[0], *want[1].values()], [*got[0], *got[1].values()], strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)
    return made.function


def loops(f: Function) -> list[Node]:
    """The loops of a function, without those within them."""
    return [n for n in f.nodes if n.op.library == "loop"]


def body(n: Node) -> Function:
    """The body of a loop."""
    out: Function = n.attrs["body"]
    return out


def ops(f: Function) -> Counter[str]:
    """How often each op stands in a function, without what is in its loops and branches."""
    return Counter(n.op.name for n in f.nodes)


def ops_within(f: Function) -> Counter[str]:
    """How often each op stands in the loops and branches of a function, at any depth."""
    out: Counter[str] = Counter()
    for n in f.nodes:
        for inner in bodies(n):
            out += ops(inner) + ops_within(inner)
    return out


def steps(p: Program) -> Counter[str]:
    """How often each kind of step stands in a program, loops' bodies included."""
    return Counter(type(s).__name__ for s in p.every_step())


__all__ = ["body", "loops", "ops", "ops_within", "staged", "steps"]
