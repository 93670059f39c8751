"""Character LSTM, 50 letters of 50 strands, train step.

Rows of a table for 65 letters, a long short-term memory of 128 units, scores of the next letter,
cross-entropy, gradient descent.  PyTorch is there with a loop over `nn.LSTMCell` and with its
layer `nn.LSTM`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Params, Target, Traffic

VARIANTS: dict[str, dict[str, Any]] = {
    "50x50x128": {"steps": 50, "n": 50, "units": 128, "letters": 65, "rate": 0.1}
}
TARGETS = (
    Target("faster", 1.0, "torch_layer"),
    Target("faster", 1.6, "jax"),
    Target("fact", 1, "native_calls_a_run"),
    Target("fact", 0, "new_code_for_another_length"),
)


def traffic(p: Params) -> Traffic:
    """Three products each for gates and scores."""
    width = 2 * p.units * 4 * p.units + p.units * p.letters
    return Traffic(flops=6.0 * p.steps * p.n * width)


def data(p: Params) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Letters and those that follow, by time; table, kernel, bias, weights and bias of scores.

    The columns of the kernel are the gates: input, candidate, forget, output.
    """
    rng = np.random.RandomState(0)
    text = rng.randint(p.letters, size=(p.steps + 1, p.n)).astype(np.int32)
    shapes = ((p.letters, p.units), (2 * p.units, 4 * p.units), (p.units, p.letters))
    table, kernel, scores = ((rng.randn(*s) * s[0] ** -0.5).astype(np.float32) for s in shapes)
    bias, bias_s = (np.zeros(n, np.float32) for n in (4 * p.units, p.letters))
    return text[:-1], text[1:], [table, kernel, bias, scores, bias_s]


def graph(tf: Any, p: Params, cell_of: Any) -> tuple[Any, Case]:
    """The program for a TensorFlow 1 front; `cell_of` makes a cell with a kernel and a bias."""
    now, following, (table, kernel, bias, scores, bias_s) = data(p)
    x = tf.placeholder(tf.int32, [None, p.n])
    y = tf.placeholder(tf.int32, [None, p.n])
    e, w, b = (tf.Variable(v) for v in (table, scores, bias_s))
    cell = cell_of(kernel, bias)
    outputs, _ = tf.nn.dynamic_rnn(
        cell, tf.nn.embedding_lookup(e, x), dtype=tf.float32, time_major=True
    )
    logits = tf.matmul(tf.reshape(outputs, [-1, p.units]), w) + b
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.reshape(y, [-1]), logits=logits
    )
    loss = tf.reduce_mean(losses)
    train = tf.train.GradientDescentOptimizer(p.rate).minimize(loss)
    sess = tf.Session()
    sess.run(tf.global_variables_initializer())
    fetches, feed = [loss, train], {x: now, y: following}

    def step(times: int = 1) -> Any:
        fed = feed if times == 1 else {k: np.concatenate([v] * times) for k, v in feed.items()}
        return sess.run(fetches, fed)

    return sess, Case(step, lambda: [sess.run(loss, feed)])


def staticgraph(p: Params) -> Case:
    import staticgraph as tf
    from benchmarks import ours

    def cell_of(kernel: Any, bias: Any) -> Any:
        values = {len(v.shape): v for v in (kernel, bias)}

        def start(shape: Any, dtype: Any = None, **_: Any) -> Any:
            return tf.constant(values[len(shape)], dtype)

        return tf.nn.rnn_cell.LSTMCell(p.units, initializer=start)

    sess, case = graph(tf, p, cell_of)

    def facts() -> dict[str, Any]:
        seen = ours.facts(sess)
        return seen | {"new_code_for_another_length": ours.new_code(lambda: case.step(2))}

    case.facts = facts
    return case


def tf1(p: Params) -> Case:
    import tensorflow.compat.v1 as tf

    tf.disable_v2_behavior()

    class Cell:
        """The formulas of `BasicLSTMCell`, which TensorFlow has no more beside Keras 3."""

        state_size, output_size = (p.units, p.units), p.units

        def __init__(self, kernel: Any, bias: Any) -> None:
            self.kernel, self.bias = tf.Variable(kernel), tf.Variable(bias)

        def zero_state(self, batch: Any, dtype: Any) -> Any:
            return tf.zeros([batch, p.units], dtype), tf.zeros([batch, p.units], dtype)

        def __call__(self, x: Any, state: Any, scope: Any = None) -> Any:
            c, h = state
            gates = tf.matmul(tf.concat([x, h], 1), self.kernel) + self.bias
            i, j, f, o = tf.split(gates, 4, axis=1)
            c = c * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j)
            h = tf.tanh(c) * tf.sigmoid(o)
            return h, (c, h)

    return graph(tf, p, Cell)[1]


def floor(p: Params) -> Case:
    """The products of matrices alone, by numpy; those that need not wait for each other at once"""
    _, _, (_, kernel, _, scores, _) = data(p)
    rng = np.random.RandomState(1)
    h, x = (rng.randn(p.steps, p.n, p.units).astype(np.float32) for _ in range(2))
    g = rng.randn(p.steps, p.n, 4 * p.units).astype(np.float32)
    d = rng.randn(p.steps * p.n, p.letters).astype(np.float32)
    flat, gates = (v.reshape(p.steps * p.n, -1) for v in (h, g))
    w_x, w_h = kernel[: p.units], kernel[p.units :]

    def step() -> None:
        np.matmul(x.reshape(-1, p.units), w_x)
        for t in range(p.steps):
            np.matmul(h[t], w_h)
        np.matmul(flat, scores), np.matmul(flat.T, d), np.matmul(d, scores.T)
        for t in range(p.steps):
            np.matmul(g[t], w_h.T)
        np.matmul(gates, w_x.T)
        np.matmul(x.reshape(-1, p.units).T, gates), np.matmul(flat.T, gates)

    return Case(step)


def _gates(v: np.ndarray) -> np.ndarray:
    """The gates in PyTorch's order, as rows: input, forget, candidate, output."""
    i, j, f, o = np.split(v, 4, axis=-1)
    return np.ascontiguousarray(np.concatenate([i, f, j, o], -1).T)


def _torch(p: Params, layer: bool) -> Case:
    import torch

    now, following, (table, kernel, bias, scores, bias_s) = data(p)
    x, y = (torch.from_numpy(v).long() for v in (now, following))
    embedding = torch.nn.Embedding.from_pretrained(torch.from_numpy(table), freeze=False)
    rnn = (torch.nn.LSTM if layer else torch.nn.LSTMCell)(p.units, p.units)
    linear = torch.nn.Linear(p.units, p.letters)
    forget = np.zeros_like(bias)
    forget[p.units : 2 * p.units] = 1.0
    values = (_gates(kernel[: p.units]), _gates(kernel[p.units :]), _gates(bias), forget)
    with torch.no_grad():
        for parameter, value in zip(rnn.parameters(), values, strict=True):
            parameter.copy_(torch.from_numpy(value))
        linear.weight.copy_(torch.from_numpy(scores.T))
        linear.bias.copy_(torch.from_numpy(bias_s))
    parameters = [*embedding.parameters(), *rnn.parameters(), *linear.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=p.rate)

    def loss() -> Any:
        e = embedding(x)
        if layer:
            h, _ = rnn(e)
        else:
            outputs, state = [], None
            for e_t in e:
                state = rnn(e_t, state)
                outputs.append(state[0])
            h = torch.stack(outputs)
        return torch.nn.functional.cross_entropy(linear(h).flatten(0, 1), y.flatten())

    def step() -> float:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return value.item()

    def result() -> list[float]:
        with torch.no_grad():
            return [loss().item()]

    return Case(step, result)


def torch(p: Params) -> Case:
    return _torch(p, layer=False)


def torch_layer(p: Params) -> Case:
    return _torch(p, layer=True)


def jax(p: Params) -> Case:
    import jax
    import jax.numpy as jnp

    now, following, weights = data(p)
    x, y, *w = map(jnp.asarray, (now, following, *weights))

    def loss(w: Any, x: Any, y: Any) -> Any:
        table, kernel, bias, scores, bias_s = w

        def step(state: Any, x_t: Any) -> Any:
            c, h = state
            gates = jnp.concatenate([x_t, h], 1) @ kernel + bias
            i, j, f, o = jnp.split(gates, 4, axis=1)
            c = c * jax.nn.sigmoid(f + 1.0) + jax.nn.sigmoid(i) * jnp.tanh(j)
            h = jnp.tanh(c) * jax.nn.sigmoid(o)
            return (c, h), h

        zero = jnp.zeros((p.n, p.units))
        _, h = jax.lax.scan(step, (zero, zero), table[x])
        logs = jax.nn.log_softmax(h @ scores + bias_s)
        return -jnp.take_along_axis(logs, y[..., None], axis=-1).mean()

    @jax.jit
    def update(w: Any, x: Any, y: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(w, x, y)
        return value, jax.tree.map(lambda v, g: v - p.rate * g, w, grads)

    def step() -> float:
        nonlocal w
        value, w = update(w, x, y)
        return float(value)

    return Case(step, lambda: [float(loss(w, x, y))])
