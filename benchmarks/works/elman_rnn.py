"""Elman network over 100 steps, train step.

h ← tanh(x·U + h·W + b) for each step of a batch, a loss of the last state, gradient descent.  The
loop is a part of the graph: `scan`, or `dynamic_rnn` with a cell.  PyTorch is there with a loop in
Python and with its layer `nn.RNN`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Params, Target, Traffic

_SIZES = {"steps": 100, "n": 32, "inputs": 32, "units": 64, "rate": 1e-3}
VARIANTS: dict[str, dict[str, Any]] = {
    "100x32x64": {**_SIZES, "form": "scan"},
    "100x32x64, dynamic_rnn": {**_SIZES, "form": "dynamic_rnn"},
}
TARGETS = (
    Target("faster", 2.0, "jax"),
    Target("faster", 4.5, "torch"),
    Target("faster", 4.5, "torch_layer"),
    Target("faster", 4.0, "tf1"),
    Target("fact", 1, "native_calls_a_run"),
    Target("fact", 0, "new_code_for_another_length"),
)


def traffic(p: Params) -> Traffic:
    """Two products with U and three with W at each step."""
    return Traffic(flops=2.0 * p.steps * p.n * p.units * (2 * p.inputs + 3 * p.units))


def data(p: Params) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    rng = np.random.RandomState(0)
    x = rng.randn(p.steps, p.n, p.inputs).astype(np.float32)
    y = rng.randn(p.n, p.units).astype(np.float32)
    u, w = ((rng.randn(k, p.units) * k**-0.5).astype(np.float32) for k in (p.inputs, p.units))
    return x, y, [u, w, np.zeros(p.units, np.float32)]


def graph(tf: Any, p: Params) -> tuple[Any, Case]:
    """The program for a TensorFlow 1 front; its step takes the sequence, too."""
    xs, ys, weights = data(p)
    x = tf.placeholder(tf.float32, [None, None, p.inputs])
    y = tf.placeholder(tf.float32, [None, p.units])
    u, w, b = (tf.Variable(v) for v in weights)

    class Cell:
        state_size = output_size = p.units

        def zero_state(self, batch: Any, dtype: Any) -> Any:
            return tf.zeros([batch, p.units], dtype)

        def __call__(self, x_t: Any, h: Any, scope: Any = None) -> tuple[Any, Any]:
            h = tf.tanh(tf.matmul(x_t, u) + tf.matmul(h, w) + b)
            return h, h

    cell, start = Cell(), tf.zeros_like(y)
    if p.form == "scan":
        h = tf.scan(lambda h, x_t: cell(x_t, h)[1], x, initializer=start)[-1]
    else:
        _, h = tf.nn.dynamic_rnn(cell, x, initial_state=start, time_major=True)
    loss = tf.reduce_mean(tf.squared_difference(h, y))
    train = tf.train.GradientDescentOptimizer(p.rate).minimize(loss)
    sess = tf.Session()
    sess.run(tf.global_variables_initializer())
    fetches, feed = [loss, train], {x: xs, y: ys}

    def step(x_fed: Any = xs) -> Any:
        return sess.run(fetches, feed if x_fed is xs else {x: x_fed, y: ys})

    return sess, Case(step, lambda: [sess.run(loss, feed)])


def staticgraph(p: Params) -> Case:
    import staticgraph as tf
    from benchmarks import ours

    sess, case = graph(tf, p)
    longer = np.concatenate([data(p)[0]] * 2)

    def facts() -> dict[str, Any]:
        seen = ours.facts(sess)
        return seen | {"new_code_for_another_length": ours.new_code(lambda: case.step(longer))}

    case.facts = facts
    return case


def tf1(p: Params) -> Case:
    import tensorflow.compat.v1 as tf

    tf.disable_v2_behavior()
    return graph(tf, p)[1]


def floor(p: Params) -> Case:
    """The products of matrices that depend on each other and tanh, by numpy; all others at once"""
    x, y, (u, w, _) = data(p)
    flat = x.reshape(-1, p.inputs)
    h = np.zeros((p.steps + 1, *y.shape), np.float32)
    z, d = np.empty_like(h[1:]), np.empty_like(h[1:])
    du, dw = np.empty_like(u), np.empty_like(w)

    def step() -> None:
        np.matmul(flat, u, out=z.reshape(-1, p.units))
        for t in range(p.steps):
            np.matmul(h[t], w, out=h[t + 1])
            np.add(h[t + 1], z[t], out=h[t + 1])
            np.tanh(h[t + 1], out=h[t + 1])
        np.subtract(h[-1], y, out=d[-1])
        for t in range(p.steps - 1, 0, -1):
            np.matmul(d[t], w.T, out=d[t - 1])
        np.matmul(flat.T, d.reshape(-1, p.units), out=du)
        np.matmul(h[:-1].reshape(-1, p.units).T, d.reshape(-1, p.units), out=dw)

    return Case(step)


def torch(p: Params) -> Case:
    import torch

    xs, ys, weights = data(p)
    x, y = torch.from_numpy(xs), torch.from_numpy(ys)
    u, w, b = (torch.nn.Parameter(torch.from_numpy(v)) for v in weights)

    def last(x: Any) -> Any:
        h = torch.zeros_like(y)
        for x_t in x:
            h = torch.tanh(x_t @ u + h @ w + b)
        return h

    return trained(last, x, y, [u, w, b], p)


def torch_layer(p: Params) -> Case:
    import torch

    xs, ys, (u, w, b) = data(p)
    x, y = torch.from_numpy(xs), torch.from_numpy(ys)
    layer = torch.nn.RNN(p.inputs, p.units)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.from_numpy(u.T))
        layer.weight_hh_l0.copy_(torch.from_numpy(w.T))
        layer.bias_ih_l0.copy_(torch.from_numpy(b))
        layer.bias_hh_l0.zero_()
    return trained(lambda x: layer(x)[1][0], x, y, list(layer.parameters()), p)


def trained(last: Any, x: Any, y: Any, parameters: list[Any], p: Params) -> Case:
    """A step of PyTorch's gradient descent; `last` gives the last state."""
    import torch

    optimizer = torch.optim.SGD(parameters, lr=p.rate)

    def step(x: Any = x) -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(last(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    def result() -> list[float]:
        with torch.no_grad():
            return [torch.nn.functional.mse_loss(last(x), y).item()]

    return Case(step, result)


def jax(p: Params) -> Case:
    import jax
    import jax.numpy as jnp

    xs, ys, weights = data(p)
    x, y, *w = map(jnp.asarray, (xs, ys, *weights))

    def loss(w: Any, x: Any, y: Any) -> Any:
        u, r, b = w

        def step(h: Any, x_t: Any) -> Any:
            return jnp.tanh(x_t @ u + h @ r + b), None

        h, _ = jax.lax.scan(step, jnp.zeros_like(y), x)
        return jnp.square(h - y).mean()

    @jax.jit
    def update(w: Any, x: Any, y: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(w, x, y)
        return value, jax.tree.map(lambda v, g: v - p.rate * g, w, grads)

    def step(x: Any = x) -> float:
        nonlocal w
        value, w = update(w, x, y)
        return float(value)

    return Case(step, lambda: [float(loss(w, x, y))])


def pytensor(p: Params) -> Case:
    import pytensor
    import pytensor.tensor as pt

    xs, ys, weights = data(p)
    x, y = pt.ftensor3(), pt.fmatrix()
    shared = [pytensor.shared(v) for v in weights]
    hs = pytensor.scan(
        lambda x_t, h, u, w, b: pt.tanh(x_t @ u + h @ w + b), sequences=x,
        outputs_info=pt.zeros_like(y), non_sequences=shared, return_updates=False,
    )  # fmt: skip
    loss = pt.mean(pt.square(hs[-1] - y), dtype="float32")
    grads = pytensor.grad(loss, shared)
    rate = np.float32(p.rate)
    f = pytensor.function(
        [x, y], loss, updates=[(v, v - rate * g) for v, g in zip(shared, grads, strict=True)]
    )
    value = pytensor.function([x, y], loss)
    return Case(lambda: f(xs, ys), lambda: [float(value(xs, ys))])
