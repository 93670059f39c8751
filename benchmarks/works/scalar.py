"""Scalar graph: a·b + 1, one call.

What is timed is the way into the runtime and out of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Params, Target

VARIANTS: dict[str, dict[str, Any]] = {
    "make_callable": {"run": False},
    "Session.run": {"run": True},
}
TARGETS = (
    Target("faster", 4.0, "pytensor", ("make_callable",)),
    Target("faster", 4.0, "jax", ("make_callable",)),
    Target("faster", 2.5, "pytensor", ("Session.run",)),
    Target("faster", 2.5, "jax", ("Session.run",)),
    Target("faster", 80.0, "tf1", ("Session.run",)),
)
UNIT = "call"
A, B = np.float32(3.0), np.float32(4.0)


def graph(tf: Any, p: Params) -> tuple[Any, Case]:
    """The program for a TensorFlow 1 front."""
    a = tf.placeholder(tf.float32, [])
    b = tf.placeholder(tf.float32, [])
    y = a * b + 1.0
    sess = tf.Session()
    if p.run:
        feed = {a: A, b: B}
        return sess, Case(lambda: sess.run(y, feed), lambda: [sess.run(y, feed)])
    call = sess.make_callable(y, [a, b])
    return sess, Case(lambda: call(A, B), lambda: [call(A, B)])


def staticgraph(p: Params) -> Case:
    import staticgraph as tf
    from benchmarks import ours

    sess, case = graph(tf, p)
    case.facts = lambda: ours.facts(sess)
    return case


def tf1(p: Params) -> Case:
    import tensorflow.compat.v1 as tf

    tf.disable_v2_behavior()
    return graph(tf, p)[1]


def floor(p: Params) -> Case:
    """The expression on numpy scalars"""
    one = np.float32(1.0)
    return Case(lambda: A * B + one, lambda: [A * B + one])


def torch(p: Params) -> Case:
    import torch

    a, b = torch.tensor(3.0), torch.tensor(4.0)
    return Case(lambda: a * b + 1.0, lambda: [(a * b + 1.0).item()])


def jax(p: Params) -> Case:
    import jax

    f = jax.jit(lambda a, b: a * b + 1.0)
    return Case(lambda: f(A, B).block_until_ready(), lambda: [float(f(A, B))])


def pytensor(p: Params) -> Case:
    import pytensor
    import pytensor.tensor as pt

    a, b = pt.fscalar(), pt.fscalar()
    f = pytensor.function([a, b], a * b + np.float32(1.0))
    return Case(lambda: f(A, B), lambda: [f(A, B)])
