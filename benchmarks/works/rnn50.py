"""Recurrent network unrolled over 50 steps, train step.

h ← tanh(x·U + h·W + b), gradient descent; the graph holds every step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Params, Target, Traffic

VARIANTS: dict[str, dict[str, Any]] = {
    "50x32x64": {"steps": 50, "n": 32, "inputs": 32, "units": 64, "rate": 1e-3}
}
TARGETS = (Target("faster", 1.0, "best"), Target("memory", 1.0, "best"))


def traffic(p: Params) -> Traffic:
    """Three products with W and two with U at each step."""
    return Traffic(flops=2.0 * p.steps * p.n * p.units * (3 * p.units + 2 * p.inputs))


def data(p: Params) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    rng = np.random.RandomState(0)
    x = rng.randn(p.steps, p.n, p.inputs).astype(np.float32)
    y = rng.randn(p.n, p.units).astype(np.float32)
    u, w = ((rng.randn(k, p.units) * k**-0.5).astype(np.float32) for k in (p.inputs, p.units))
    return x, y, [u, w, np.zeros(p.units, np.float32)]


def graph(tf: Any, p: Params) -> tuple[Any, Case]:
    """The program for a TensorFlow 1 front."""
    xs, ys, weights = data(p)
    x = tf.placeholder(tf.float32, [p.steps, None, p.inputs])
    y = tf.placeholder(tf.float32, [None, p.units])
    u, w, b = (tf.Variable(v) for v in weights)
    h = tf.zeros_like(y)
    for t in range(p.steps):
        h = tf.tanh(tf.matmul(x[t], u) + tf.matmul(h, w) + b)
    loss = tf.reduce_mean(tf.squared_difference(h, y))
    train = tf.train.GradientDescentOptimizer(p.rate).minimize(loss)
    sess = tf.Session()
    sess.run(tf.global_variables_initializer())
    feed, fetches = {x: xs, y: ys}, [loss, train]
    return sess, Case(lambda: sess.run(fetches, feed), lambda: [sess.run(loss, feed)])


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
    """The products of matrices alone, by numpy into arrays that are there"""
    x, y, (u, w, _) = data(p)
    h, du, dw = np.empty_like(y), np.empty_like(u), np.empty_like(w)

    def step() -> None:
        for t in range(p.steps):
            np.matmul(x[t], u, out=h)
            np.matmul(y, w, out=h)
            np.matmul(x[t].T, y, out=du)
            np.matmul(y.T, y, out=dw)
            np.matmul(y, w.T, out=h)

    return Case(step)


def torch(p: Params) -> Case:
    import torch

    xs, ys, weights = data(p)
    x, y = torch.from_numpy(xs), torch.from_numpy(ys)
    u, w, b = (torch.nn.Parameter(torch.from_numpy(v)) for v in weights)
    optimizer = torch.optim.SGD([u, w, b], lr=p.rate)

    def forward() -> Any:
        h = torch.zeros_like(y)
        for t in range(p.steps):
            h = torch.tanh(x[t] @ u + h @ w + b)
        return (h - y).square().mean()

    def step() -> float:
        optimizer.zero_grad()
        loss = forward()
        loss.backward()
        optimizer.step()
        return loss.item()

    def result() -> list[float]:
        with torch.no_grad():
            return [forward().item()]

    return Case(step, result)


def jax(p: Params) -> Case:
    import jax
    import jax.numpy as jnp

    xs, ys, weights = data(p)
    x, y, *w = map(jnp.asarray, (xs, ys, *weights))

    def loss(w: Any, x: Any, y: Any) -> Any:
        u, r, b = w
        h = jnp.zeros_like(y)
        for t in range(p.steps):
            h = jnp.tanh(x[t] @ u + h @ r + b)
        return jnp.square(h - y).mean()

    @jax.jit
    def update(w: Any, x: Any, y: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(w, x, y)
        return value, jax.tree.map(lambda v, g: v - p.rate * g, w, grads)

    def step() -> float:
        nonlocal w
        value, w = update(w, x, y)
        return float(value)

    return Case(step, lambda: [float(loss(w, x, y))])


def pytensor(p: Params) -> Case:
    import pytensor
    import pytensor.tensor as pt

    xs, ys, weights = data(p)
    x, y = pt.ftensor3(), pt.fmatrix()
    u, w, b = shared = [pytensor.shared(v) for v in weights]
    h = pt.zeros_like(y)
    for t in range(p.steps):
        h = pt.tanh(x[t] @ u + h @ w + b)
    loss = pt.mean(pt.square(h - y), dtype="float32")
    grads = pytensor.grad(loss, shared)
    rate = np.float32(p.rate)
    f = pytensor.function(
        [x, y], loss, updates=[(v, v - rate * g) for v, g in zip(shared, grads, strict=True)]
    )
    value = pytensor.function([x, y], loss)
    return Case(lambda: f(xs, ys), lambda: [float(value(xs, ys))])
