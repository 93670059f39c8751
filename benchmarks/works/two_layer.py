"""Network of two layers, batch 64, gradient descent, one run a step.

The two shapes are those of the programs in `examples/`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Params, Target, Traffic

VARIANTS: dict[str, dict[str, Any]] = {
    "1000-100-10": {"n": 64, "d_in": 1000, "h": 100, "d_out": 10, "rate": 1e-6},
    "100-1000-10": {"n": 64, "d_in": 100, "h": 1000, "d_out": 10, "rate": 1e-6},
}
TARGETS = (
    Target("time", 1.1, "floor"),
    Target("faster", 1.6, "torch"),
    Target("faster", 1.9, "jax"),
    Target("faster", 1.3, "pytensor"),
    Target("faster", 3.0, "tf1"),
    Target("memory", 1.0, "best"),
)


def traffic(p: Params) -> Traffic:
    """Two products with each weight matrix, and one more with the second."""
    return Traffic(flops=2.0 * p.n * p.h * (2 * p.d_in + 3 * p.d_out))


def data(p: Params) -> tuple[np.ndarray, ...]:
    rng = np.random.RandomState(0)
    sizes = (p.n, p.d_in), (p.n, p.d_out), (p.d_in, p.h), (p.h, p.d_out)
    x, y, w1, w2 = (rng.randn(*size).astype(np.float32) for size in sizes)
    return x, y, w1, w2


def graph(tf: Any, p: Params, open_batch: bool = True) -> tuple[Any, Case]:
    """The program for a TensorFlow 1 front."""
    xs, ys, w1s, w2s = data(p)
    batch = None if open_batch else p.n
    x = tf.placeholder(tf.float32, [batch, p.d_in])
    y = tf.placeholder(tf.float32, [batch, p.d_out])
    w1, w2 = tf.Variable(w1s), tf.Variable(w2s)
    h_relu = tf.maximum(tf.matmul(x, w1), tf.zeros(1))
    y_pred = tf.matmul(h_relu, w2)
    loss = tf.reduce_sum(tf.squared_difference(y_pred, y))
    g1, g2 = tf.gradients(loss, [w1, w2])
    step = tf.group(w1.assign(w1 - p.rate * g1), w2.assign(w2 - p.rate * g2))
    sess = tf.Session()
    sess.run(tf.global_variables_initializer())
    feed, fetches = {x: xs, y: ys}, [loss, step]
    numbers = [w1[0, 0], w1[1, 1], w2[0, 0], tf.reduce_sum(tf.square(w2))]
    return sess, Case(lambda: sess.run(fetches, feed), lambda: sess.run(numbers))


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
    """The five products of matrices alone, by numpy into arrays that are there"""
    x, _, w1, w2 = data(p)
    h, out = np.empty((p.n, p.h), np.float32), np.empty((p.n, p.d_out), np.float32)
    dh, d1, d2 = np.empty_like(h), np.empty_like(w1), np.empty_like(w2)

    def step() -> None:
        np.matmul(x, w1, out=h)
        np.matmul(h, w2, out=out)
        np.matmul(h.T, out, out=d2)
        np.matmul(out, w2.T, out=dh)
        np.matmul(x.T, dh, out=d1)

    return Case(step)


def _numbers(w1: Any, w2: Any) -> list[float]:
    w1, w2 = np.asarray(w1), np.asarray(w2)
    return [w1[0, 0], w1[1, 1], w2[0, 0], np.square(w2).sum()]


def torch(p: Params) -> Case:
    import torch

    x, y, w1, w2 = map(torch.from_numpy, data(p))
    w1.requires_grad_()
    w2.requires_grad_()

    def step() -> float:
        loss = (x.mm(w1).clamp(min=0).mm(w2) - y).pow(2).sum()
        loss.backward()
        with torch.no_grad():
            w1.sub_(w1.grad, alpha=p.rate)
            w2.sub_(w2.grad, alpha=p.rate)
            w1.grad = None
            w2.grad = None
        return loss.item()

    return Case(step, lambda: _numbers(w1.detach(), w2.detach()))


def jax(p: Params) -> Case:
    import jax
    import jax.numpy as jnp

    x, y, *w = map(jnp.asarray, data(p))

    def loss(w: Any, x: Any, y: Any) -> Any:
        return jnp.square(jnp.maximum(x @ w[0], 0.0) @ w[1] - y).sum()

    @jax.jit
    def update(w: Any, x: Any, y: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(w, x, y)
        return value, jax.tree.map(lambda v, g: v - p.rate * g, w, grads)

    def step() -> float:
        nonlocal w
        value, w = update(w, x, y)
        return float(value)

    return Case(step, lambda: _numbers(*w))


def pytensor(p: Params) -> Case:
    import pytensor
    import pytensor.tensor as pt

    xs, ys, *ws = data(p)
    x, y = pt.fmatrix(), pt.fmatrix()
    w = [pytensor.shared(v) for v in ws]
    loss = pt.sum(pt.square(pt.maximum(x @ w[0], np.float32(0.0)) @ w[1] - y))
    grads = pytensor.grad(loss, w)
    rate = np.float32(p.rate)
    f = pytensor.function(
        [x, y], loss, updates=[(v, v - rate * g) for v, g in zip(w, grads, strict=True)]
    )
    return Case(lambda: f(xs, ys), lambda: _numbers(*(v.get_value() for v in w)))
