"""Sums and means of columns.

Both in one run; a loop over columns would walk memory the wrong way.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Params, Target, Traffic

VARIANTS: dict[str, dict[str, Any]] = {"4096x4096": {"n": 4096, "quick": {"n": 1024}}}
TARGETS = (Target("faster", 2.0, "best"), Target("bandwidth", 0.6))
UNIT = "run"


def traffic(p: Params) -> Traffic:
    """The matrix is read once."""
    return Traffic(bytes=4.0 * p.n * p.n)


def data(p: Params) -> np.ndarray:
    return np.random.RandomState(0).rand(p.n, p.n).astype(np.float32)


def _numbers(pair: Any) -> list[float]:
    return [float(v) for a in pair for v in (a[0], a[1], a[-1])]


def graph(tf: Any, p: Params) -> tuple[Any, Case]:
    """The program for a TensorFlow 1 front."""
    start = tf.placeholder(tf.float32, [p.n, p.n])
    x = tf.Variable(start)
    fetches = [tf.reduce_sum(x, axis=0), tf.reduce_mean(x, axis=0)]
    sess = tf.Session()
    sess.run(tf.global_variables_initializer(), {start: data(p)})
    return sess, Case(lambda: sess.run(fetches), lambda: _numbers(sess.run(fetches)))


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
    """numpy's sum over the first axis, and a division"""
    x, n = data(p), np.float32(p.n)

    def step() -> Any:
        total = x.sum(axis=0)
        return total, total / n

    return Case(step, lambda: _numbers(step()))


def torch(p: Params) -> Case:
    import torch

    x = torch.from_numpy(data(p))
    return Case(lambda: (x.sum(0), x.mean(0)), lambda: _numbers((x.sum(0), x.mean(0))))


def torch_compile(p: Params) -> Case:
    import torch

    x = torch.from_numpy(data(p))
    f = torch.compile(lambda x: (x.sum(0), x.mean(0)))
    return Case(lambda: f(x), lambda: _numbers(f(x)))


def jax(p: Params) -> Case:
    import jax
    import jax.numpy as jnp

    x = jnp.asarray(data(p))
    f = jax.jit(lambda x: (x.sum(0), x.mean(0)))
    return Case(lambda: jax.block_until_ready(f(x)), lambda: _numbers(f(x)))


def pytensor(p: Params) -> Case:
    import pytensor
    import pytensor.tensor as pt

    x = pytensor.shared(data(p))
    f = pytensor.function([], [pt.sum(x, axis=0), pt.mean(x, axis=0, dtype="float32")])
    return Case(f, lambda: _numbers(f()))
