"""Network of twelve layers with Adam, batch 64, one run a step.

Its graph has some hundreds of operations and few distinct kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.case import Case, Params, Target, Traffic

VARIANTS: dict[str, dict[str, Any]] = {
    "128 units": {"n": 64, "units": 128, "layers": 12, "rate": 1e-3}
}
TARGETS = (Target("faster", 1.0, "best"), Target("memory", 1.0, "best"))


def traffic(p: Params) -> Traffic:
    """Three products a layer, but for the gradient of the input."""
    return Traffic(flops=2.0 * p.n * p.units**2 * (3 * p.layers - 1))


def data(p: Params) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    rng = np.random.RandomState(0)
    x, y = (rng.randn(p.n, p.units).astype(np.float32) for _ in range(2))
    scale = (1.0 / p.units) ** 0.5
    weights = [(rng.randn(p.units, p.units) * scale).astype(np.float32) for _ in range(p.layers)]
    return x, y, weights


def graph(tf: Any, p: Params) -> tuple[Any, Case]:
    """The program for a TensorFlow 1 front."""
    xs, ys, weights = data(p)
    x = tf.placeholder(tf.float32, [None, p.units])
    y = tf.placeholder(tf.float32, [None, p.units])
    h = x
    for w in weights:
        h = tf.tanh(tf.matmul(h, tf.Variable(w)) + tf.Variable(tf.zeros([p.units])))
    loss = tf.reduce_mean(tf.squared_difference(h, y))
    train = tf.train.AdamOptimizer(p.rate).minimize(loss)
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
    x, y, weights = data(p)
    w, out, grad = weights[0], np.empty_like(x), np.empty_like(weights[0])

    def step() -> None:
        for k in range(p.layers):
            np.matmul(x, w, out=out)
            np.matmul(x.T, y, out=grad)
            if k:
                np.matmul(y, w.T, out=out)

    return Case(step)


def torch(p: Params) -> Case:
    import torch
    from torch import nn

    x, y, weights = data(p)
    parts: list[nn.Module] = []
    for w in weights:
        layer = nn.Linear(p.units, p.units)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(w.T.copy()))
            layer.bias.zero_()
        parts += [layer, nn.Tanh()]
    model = nn.Sequential(*parts)
    optimizer = torch.optim.Adam(model.parameters(), lr=p.rate)
    given, wanted = torch.from_numpy(x), torch.from_numpy(y)
    distance = nn.MSELoss()

    def step() -> float:
        optimizer.zero_grad()
        loss = distance(model(given), wanted)
        loss.backward()
        optimizer.step()
        return loss.item()

    def result() -> list[float]:
        with torch.no_grad():
            return [distance(model(given), wanted).item()]

    return Case(step, result)


def jax_adam(parameters: Any, loss: Callable[..., Any], rate: float, *data: Any) -> Case:
    """A jitted training step with Adam."""
    import jax
    import jax.numpy as jnp

    zeros = jax.tree.map(jnp.zeros_like, parameters)
    state = parameters, zeros, jax.tree.map(jnp.zeros_like, parameters), jnp.float32(0.0)

    @jax.jit
    def update(state: Any, *data: Any) -> Any:
        w, m, v, t = state
        value, g = jax.value_and_grad(loss)(w, *data)
        t = t + 1.0
        scaled = rate * jnp.sqrt(1.0 - 0.999**t) / (1.0 - 0.9**t)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        w = jax.tree.map(lambda w, m, v: w - scaled * m / (jnp.sqrt(v) + 1e-8), w, m, v)
        return value, (w, m, v, t)

    def step() -> float:
        nonlocal state
        value, state = update(state, *data)
        return float(value)

    return Case(step, lambda: [float(loss(state[0], *data))])


def jax(p: Params) -> Case:
    import jax.numpy as jnp

    x, y, weights = data(p)
    parameters = [(jnp.asarray(w), jnp.zeros(p.units)) for w in weights]

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        for w, b in parameters:
            x = jnp.tanh(x @ w + b)
        return jnp.square(x - y).mean()

    return jax_adam(parameters, loss, p.rate, jnp.asarray(x), jnp.asarray(y))


def pytensor_adam(loss: Any, w: list[Any], rate: float) -> list[Any]:
    """The updates of Adam."""
    import pytensor
    import pytensor.tensor as pt

    one, t = np.float32(1.0), pytensor.shared(np.float32(0.0))
    now = t + one
    scaled = (
        np.float32(rate) * pt.sqrt(one - np.float32(0.999) ** now) / (one - np.float32(0.9) ** now)
    )
    updates: list[Any] = [(t, now)]
    for v, g in zip(w, pytensor.grad(loss, w), strict=True):
        first, second = (pytensor.shared(np.zeros_like(v.get_value())) for _ in range(2))
        new_first = np.float32(0.9) * first + np.float32(0.1) * g
        new_second = np.float32(0.999) * second + np.float32(0.001) * g * g
        new = v - scaled * new_first / (pt.sqrt(new_second) + np.float32(1e-8))
        updates += [(first, new_first), (second, new_second), (v, new)]
    return updates


def pytensor(p: Params) -> Case:
    import pytensor
    import pytensor.tensor as pt

    xs, ys, weights = data(p)
    x, y = pt.fmatrix(), pt.fmatrix()
    shared: list[Any] = []
    h = x
    for w in weights:
        shared += [pytensor.shared(w), pytensor.shared(np.zeros(p.units, np.float32))]
        h = pt.tanh(h @ shared[-2] + shared[-1])
    loss = pt.mean(pt.square(h - y), dtype="float32")
    f = pytensor.function([x, y], loss, updates=pytensor_adam(loss, shared, p.rate))
    value = pytensor.function([x, y], loss)
    return Case(lambda: f(xs, ys), lambda: [float(value(xs, ys))])
