"""Cubic fit of 2000 points, one run a step.

Gradients are written by hand, as in the program that is fitted with numpy and tensors.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks.case import Case, Params, Target, Traffic

VARIANTS: dict[str, dict[str, Any]] = {"2000": {"n": 2000, "rate": 1e-6}}
TARGETS = (
    Target("faster", 50.0, "torch"),
    Target("faster", 4.0, "pytensor"),
    Target("faster", 100.0, "tf1"),
    Target("fact", 2, "steps"),
    Target("memory", 1.0, "best"),
)
START = (0.1, -0.2, 0.3, -0.05)


def traffic(p: Params) -> Traffic:
    """Everything stays in the cache; some 20 operations a point."""
    return Traffic(flops=20.0 * p.n)


def points(n: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.linspace(-math.pi, math.pi, n, dtype=np.float32)
    return x, np.sin(x)


def graph(tf: Any, p: Params) -> tuple[Any, Case]:
    """The program for a TensorFlow 1 front."""
    x = tf.placeholder(tf.float32, [None])
    y = tf.placeholder(tf.float32, [None])
    a, b, c, d = (tf.Variable(np.float32(v)) for v in START)
    y_pred = a + b * x + c * x**2 + d * x**3
    loss = tf.reduce_sum(tf.square(y_pred - y))
    g = 2.0 * (y_pred - y)
    step = tf.group(
        a.assign_sub(p.rate * tf.reduce_sum(g)),
        b.assign_sub(p.rate * tf.reduce_sum(g * x)),
        c.assign_sub(p.rate * tf.reduce_sum(g * x**2)),
        d.assign_sub(p.rate * tf.reduce_sum(g * x**3)),
    )
    sess = tf.Session()
    sess.run(tf.global_variables_initializer())
    xs, ys = points(p.n)
    feed, fetches = {x: xs, y: ys}, [loss, step]
    return sess, Case(lambda: sess.run(fetches, feed), lambda: sess.run([a, b, c, d]))


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


def native(fast: bool = True) -> Any:
    """The step as one fused native loop."""
    from numba import njit

    @njit(fastmath=fast)
    def step(x: Any, y: Any, w: Any, rate: Any) -> Any:
        zero = np.float32(0.0)
        loss = ga = gb = gc = gd = zero
        a, b, c, d = w[0], w[1], w[2], w[3]
        for i in range(x.size):
            v = x[i]
            v2 = v * v
            v3 = v2 * v
            e = a + b * v + c * v2 + d * v3 - y[i]
            g = e + e
            loss += e * e
            ga += g
            gb += g * v
            gc += g * v2
            gd += g * v3
        w[0] = a - rate * ga
        w[1] = b - rate * gb
        w[2] = c - rate * gc
        w[3] = d - rate * gd
        return loss

    return step


def floor(p: Params) -> Case:
    """One fused Numba loop, called from Python"""
    step, (x, y) = native(), points(p.n)
    w, rate = np.array(START, np.float32), np.float32(p.rate)
    return Case(lambda: step(x, y, w, rate), lambda: w)


def torch(p: Params) -> Case:
    import torch

    x, y = map(torch.from_numpy, points(p.n))
    w = [torch.tensor(v) for v in START]

    def step() -> float:
        a, b, c, d = w
        y_pred = a + b * x + c * x**2 + d * x**3
        loss = (y_pred - y).pow(2).sum().item()
        g = 2.0 * (y_pred - y)
        grad_a, grad_b = g.sum(), (g * x).sum()
        grad_c, grad_d = (g * x**2).sum(), (g * x**3).sum()
        a -= p.rate * grad_a
        b -= p.rate * grad_b
        c -= p.rate * grad_c
        d -= p.rate * grad_d
        return loss

    return Case(step, lambda: [v.item() for v in w])


def jax(p: Params) -> Case:
    import jax
    import jax.numpy as jnp

    x, y = map(jnp.asarray, points(p.n))

    @jax.jit
    def update(w: Any) -> Any:
        a, b, c, d = w
        y_pred = a + b * x + c * x**2 + d * x**3
        g = 2.0 * (y_pred - y)
        grads = [g.sum(), (g * x).sum(), (g * x**2).sum(), (g * x**3).sum()]
        return jnp.square(y_pred - y).sum(), [
            v - p.rate * dv for v, dv in zip(w, grads, strict=True)
        ]

    w = [jnp.float32(v) for v in START]

    def step() -> float:
        nonlocal w
        loss, w = update(w)
        return float(loss)

    return Case(step, lambda: [float(v) for v in w])


def pytensor(p: Params) -> Case:
    import pytensor
    import pytensor.tensor as pt

    x, y = pt.fvector(), pt.fvector()
    w = [pytensor.shared(np.float32(v)) for v in START]
    a, b, c, d = w
    y_pred = a + b * x + c * x**2 + d * x**3
    loss = pt.sum(pt.square(y_pred - y))
    g = np.float32(2.0) * (y_pred - y)
    grads = [pt.sum(g), pt.sum(g * x), pt.sum(g * x**2), pt.sum(g * x**3)]
    rate = np.float32(p.rate)
    f = pytensor.function(
        [x, y], loss, updates=[(v, v - rate * dv) for v, dv in zip(w, grads, strict=True)]
    )
    xs, ys = points(p.n)
    return Case(lambda: f(xs, ys), lambda: [v.get_value() for v in w])
