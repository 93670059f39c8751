"""Loops: a recurrent network, training inside the graph, and iterating until it is good enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import staticgraph as tf
from staticgraph.compare.cubic import coefficients
from staticgraph.compare.pair import (
    Pair,
    Step,
    Values,
    draw_linear,
    set_linear,
    tensors,
    whole,
)
from staticgraph.compare.two_layer_static import linear

BATCH, INPUTS, HIDDEN = 8, 2, 16
SHORTEST, LONGEST = 3, 12
Sequences = tuple[np.ndarray, np.ndarray]


# ---------------------------------------------------------------- the Elman network
def _elman_values() -> Values:
    draw = np.random.RandomState(0)
    return {
        **draw_linear(draw, "ih", INPUTS, HIDDEN),
        **draw_linear(draw, "hh", HIDDEN, HIDDEN),
        **draw_linear(draw, "readout", HIDDEN, INPUTS),
    }


def _sequences(n: int) -> list[Sequences]:
    """Sequences of changing length, and their running means."""
    draw = np.random.RandomState(3)  # has every length among the steps that are counted
    out = []
    for length in draw.randint(SHORTEST, LONGEST + 1, n):
        x = draw.randn(length, BATCH, INPUTS).astype(np.float32)
        counts = np.arange(1, length + 1, dtype=np.float32).reshape(-1, 1, 1)
        out.append((x, np.cumsum(x, axis=0) / counts))
    return out


def _elman_loss(readout: Callable[[Any], Any], output: Any, mean: Any) -> Any:
    rows = readout(tf.reshape(output, [-1, HIDDEN]))
    return tf.reduce_mean((rows - tf.reshape(mean, [-1, INPUTS])) ** 2)


def _cells(values: Values) -> Any:
    return (linear(values, n) for n in ("ih", "hh", "readout"))


@whole
def _elman_scan(values: Values) -> Any:
    ih, hh, readout = _cells(values)
    x = tf.placeholder(tf.float32, [None, BATCH, INPUTS], name="input")
    mean = tf.placeholder(tf.float32, [None, BATCH, INPUTS], name="mean")
    output = tf.scan(
        lambda hidden, x_i: tf.nn.relu(ih(x_i) + hh(hidden)), x,
        initializer=tf.zeros([BATCH, HIDDEN]),
    )  # fmt: skip
    loss = _elman_loss(readout, output, mean)
    update = tf.train.GradientDescentOptimizer(0.05).minimize(loss)
    return [loss, update], lambda item: {x: item[0], mean: item[1]}


def _elman_unrolled(values: Values) -> Any:
    """A graph for each length, over the same variables."""
    ih, hh, readout = _cells(values)
    built: dict[int, Any] = {}
    for length in range(SHORTEST, LONGEST + 1):
        x = tf.placeholder(tf.float32, [length, BATCH, INPUTS], name="input")
        mean = tf.placeholder(tf.float32, [length, BATCH, INPUTS], name="mean")
        hidden, output = tf.zeros([BATCH, HIDDEN]), []
        for i in range(length):
            hidden = tf.nn.relu(ih(x[i]) + hh(hidden))
            output.append(hidden)
        loss = _elman_loss(readout, tf.stack(output), mean)
        built[length] = x, mean, [loss, tf.train.GradientDescentOptimizer(0.05).minimize(loss)]

    def call(item: Sequences) -> Any:
        x, mean, fetches = built[len(item[0])]
        return fetches, {x: item[0], mean: item[1]}

    return call


def _elman_dynamic(torch: Any, values: Values) -> Step:
    class RNN(torch.nn.Module):  # type: ignore[misc]
        """h = relu(W_ih x + b_ih + W_hh h + b_hh), step by step."""

        def __init__(self, input_dim: int, hidden_dim: int) -> None:
            super().__init__()
            self.ih = torch.nn.Linear(input_dim, hidden_dim)
            self.hh = torch.nn.Linear(hidden_dim, hidden_dim)
            self.activation = torch.nn.ReLU()

        def forward(self, input: Any, hidden: Any) -> Any:
            output = []
            for input_i in input:
                hidden = self.activation(self.ih(input_i) + self.hh(hidden))
                output.append(hidden)
            return torch.stack(output), hidden

    rnn = RNN(INPUTS, HIDDEN)
    set_linear(torch, rnn.ih, values, "ih")
    set_linear(torch, rnn.hh, values, "hh")
    readout = set_linear(torch, torch.nn.Linear(HIDDEN, INPUTS), values, "readout")
    optimizer = torch.optim.SGD([*rnn.parameters(), *readout.parameters()], lr=0.05)
    start = torch.zeros(BATCH, HIDDEN)

    def step(item: Sequences) -> float:
        x, mean = torch.from_numpy(item[0]), torch.from_numpy(item[1])
        output, _ = rnn(x, start)
        loss = (readout(output) - mean).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def _elman_by_hand(values: Values) -> Step:
    p: dict[str, np.ndarray] = {k: v.copy() for k, v in values.items()}

    def layer(h: np.ndarray, name: str) -> np.ndarray:
        out: np.ndarray = h @ p[f"{name}.weight"].T + p[f"{name}.bias"]
        return out

    def step(item: Sequences) -> float:
        x, mean = item
        hidden = [np.zeros((BATCH, HIDDEN), np.float32)]
        for x_i in x:
            hidden.append(np.maximum(layer(x_i, "ih") + layer(hidden[-1], "hh"), 0))
        output = np.stack(hidden[1:])
        rest = layer(output, "readout") - mean
        grad = 2.0 / rest.size * rest
        flat = grad.reshape(-1, INPUTS)
        of = {n: np.zeros_like(v) for n, v in p.items()}
        of["readout.weight"] = flat.T @ output.reshape(-1, HIDDEN)
        of["readout.bias"] = flat.sum(axis=0)
        back = np.zeros((BATCH, HIDDEN), np.float32)
        for i in range(len(x) - 1, -1, -1):
            back = back + grad[i] @ p["readout.weight"]
            back = np.where(hidden[i + 1] > 0, back, 0)
            of["ih.weight"] += back.T @ x[i]
            of["hh.weight"] += back.T @ hidden[i]
            of["ih.bias"] += back.sum(axis=0)
            back = back @ p["hh.weight"]
        of["hh.bias"] = of["ih.bias"]
        for n, g in of.items():
            p[n] -= 0.05 * g
        return float(np.square(rest).mean())

    return step


# ---------------------------------------------------------------- training inside the graph
TRAINED = 100  # steps of gradient descent in one run


@whole
def _training_static(values: Values) -> Any:
    x = tf.placeholder(tf.float32, [None], name="x")
    y = tf.placeholder(tf.float32, [None], name="y")
    variables = [tf.Variable(values[n], name=n) for n in "abcd"]

    def body(i: Any, _: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
        loss = tf.reduce_sum((a + b * x + c * x**2 + d * x**3 - y) ** 2)
        grads = tf.gradients(loss, [a, b, c, d])
        return (i + 1, loss, *(v - 1e-6 * g for v, g in zip((a, b, c, d), grads, strict=True)))

    start = [tf.constant(0), tf.constant(0.0), *(v.read_value() for v in variables)]
    _, loss, *found = tf.while_loop(lambda i, *_: i < TRAINED, body, start)
    update = tf.group(*(tf.assign(v, new) for v, new in zip(variables, found, strict=True)))
    feed = {x: values["x"], y: values["y"]}
    return [loss, update], lambda _: feed


def _training_dynamic(torch: Any, values: Values) -> Step:
    x, y, *params = tensors(torch, values, *"xyabcd")
    for p in params:
        p.requires_grad_()
    a, b, c, d = params

    def step(_: Any) -> float:
        for _ in range(TRAINED):
            loss = (a + b * x + c * x**2 + d * x**3 - y).pow(2).sum()
            loss.backward()
            with torch.no_grad():
                for p in params:
                    p -= 1e-6 * p.grad
                    p.grad = None
        return float(loss.item())

    return step


def _training_by_hand(values: Values) -> Step:
    x, y, *params = (values[n].copy() for n in "xyabcd")

    def step(_: Any) -> float:
        for _ in range(TRAINED):
            a, b, c, d = params
            rest = a + b * x + c * x**2 + d * x**3 - y
            grad = 2.0 * rest
            sums = grad.sum(), (grad * x).sum(), (grad * x**2).sum(), (grad * x**3).sum()
            for i, g in enumerate(sums):
                params[i] = params[i] - 1e-6 * g
        return float(np.square(rest).sum())

    return step


# ---------------------------------------------------------------- until it is good enough
TOLERANCE = 1e-9


def _roots_of(n: int) -> list[np.ndarray]:
    """Numbers whose square roots take Newton's method more or less long."""
    draw = np.random.RandomState(3)
    return [10.0**scale * draw.uniform(1, 2, 256) for scale in draw.randint(0, 7, n)]


def _nothing() -> Values:
    return {}


@whole
def _newton_static(_: Values) -> Any:
    a = tf.placeholder(tf.float64, [None], name="a")
    root = tf.while_loop(
        lambda r: tf.reduce_max(tf.abs(r * r / a - 1.0)) > TOLERANCE,
        lambda r: 0.5 * (r + a / r),
        [tf.ones_like(a)],
    )
    return [tf.reduce_sum(root)], lambda item: {a: item}


def _newton_dynamic(torch: Any, _: Values) -> Step:
    def step(item: np.ndarray) -> float:
        a = torch.from_numpy(item)
        r = torch.ones_like(a)
        while (r * r / a - 1.0).abs().max().item() > TOLERANCE:
            r = 0.5 * (r + a / r)
        return float(r.sum().item())

    return step


def _newton_by_hand(_: Values) -> Step:
    def step(a: np.ndarray) -> float:
        r = np.ones_like(a)
        while np.abs(r * r / a - 1.0).max() > TOLERANCE:
            r = 0.5 * (r + a / r)
        return float(r.sum())

    return step


def _newton_iterations(a: np.ndarray) -> int:
    r, count = np.ones_like(a), 0
    while np.abs(r * r / a - 1.0).max() > TOLERANCE:
        r, count = 0.5 * (r + a / r), count + 1
    return count


_README = "pytorch-examples"
_VARIANTS: Mapping[str, Any] = {"unrolled": _elman_unrolled}


def _length(item: Sequence[Any]) -> int:
    return len(item[0])


LOOPS = (
    Pair(
        "elman_rnn", "Elman network, sequences of changing length", f"{_README}, RNNs",
        "control flow", _elman_values, _elman_scan, _elman_dynamic, _elman_by_hand,
        items=_sequences, iterations=_length, variants=_VARIANTS,
    ),
    Pair(
        "training_loop", f"{TRAINED} steps of the cubic fit inside one run",
        "a loop around the step; not in the documents", "control flow", coefficients(),
        _training_static, _training_dynamic, _training_by_hand,
        iterations=lambda _: TRAINED, most_steps=20, example=False,
    ),
    Pair(
        "newton", "square roots by Newton's method, until they are good enough",
        "a loop that ends by what it computes; not in the documents", "control flow", _nothing,
        _newton_static, _newton_dynamic, _newton_by_hand,
        items=_roots_of, iterations=_newton_iterations, example=False,
    ),
)  # fmt: skip

__all__ = ["LOOPS"]
