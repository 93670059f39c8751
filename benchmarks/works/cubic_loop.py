"""Cubic fit of 2000 points with the loop inside the graph, a step.

One call makes `steps` steps of gradient descent.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Params, Target, Traffic
from benchmarks.works import cubic_fit

VARIANTS: dict[str, dict[str, Any]] = {
    "2000": {"n": 2000, "rate": 1e-6, "steps": 1000, "quick": {"steps": 100}}
}
TARGETS = (Target("faster", 10.0, "jax"), Target("time", 1.3, "floor"))


def traffic(p: Params) -> Traffic:
    return cubic_fit.traffic(p)


def graph(tf: Any, p: Params) -> tuple[Any, Case]:
    """The program for a TensorFlow 1 front."""
    x = tf.placeholder(tf.float32, [p.n])
    y = tf.placeholder(tf.float32, [p.n])
    start = [tf.placeholder(tf.float32, []) for _ in range(4)]

    def body(i: Any, loss: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
        y_pred = a + b * x + c * x**2 + d * x**3
        g = 2.0 * (y_pred - y)
        return (
            i + 1,
            tf.reduce_sum(tf.square(y_pred - y)),
            a - p.rate * tf.reduce_sum(g),
            b - p.rate * tf.reduce_sum(g * x),
            c - p.rate * tf.reduce_sum(g * x**2),
            d - p.rate * tf.reduce_sum(g * x**3),
        )

    zero = tf.constant(0.0)
    out = tf.while_loop(lambda i, *_: i < p.steps, body, [tf.constant(0), zero, *start])
    sess = tf.Session()
    xs, ys = cubic_fit.points(p.n)
    feed = {x: xs, y: ys, **{t: np.float32(v) for t, v in zip(start, cubic_fit.START, strict=True)}}
    fetches = out[1:]
    return sess, Case(
        lambda: sess.run(fetches, feed), lambda: sess.run(fetches, feed)[1:], units=p.steps
    )


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
    """The fused Numba step, looped in native code"""
    from numba import njit

    step, (x, y) = cubic_fit.native(), cubic_fit.points(p.n)
    start, rate, steps = np.array(cubic_fit.START, np.float32), np.float32(p.rate), p.steps

    @njit
    def loop(x: Any, y: Any, w: Any, rate: Any, steps: Any) -> Any:
        loss = np.float32(0.0)
        for _ in range(steps):
            loss = step(x, y, w, rate)
        return loss

    def run() -> Any:
        w = start.copy()
        loop(x, y, w, rate, steps)
        return w

    return Case(run, run, units=p.steps)


def jax(p: Params) -> Case:
    import jax
    import jax.numpy as jnp

    x, y = map(jnp.asarray, cubic_fit.points(p.n))

    def body(w: Any, _: Any) -> Any:
        a, b, c, d = w
        y_pred = a + b * x + c * x**2 + d * x**3
        g = 2.0 * (y_pred - y)
        grads = [g.sum(), (g * x).sum(), (g * x**2).sum(), (g * x**3).sum()]
        new = tuple(v - p.rate * dv for v, dv in zip(w, grads, strict=True))
        return new, jnp.square(y_pred - y).sum()

    loop = jax.jit(lambda w: jax.lax.scan(body, w, None, length=p.steps))
    start = tuple(jnp.float32(v) for v in cubic_fit.START)

    def run() -> Any:
        w, losses = loop(start)
        losses.block_until_ready()
        return w

    return Case(run, lambda: [float(v) for v in run()], units=p.steps)
