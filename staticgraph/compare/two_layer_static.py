"""The net of two layers as a static graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import staticgraph as tf
from staticgraph.compare.pair import Values, whole
from staticgraph.compare.two_layer_values import BATCH, CLIP, OUTPUTS


def _fed(values: Values, rows: int | None = BATCH) -> tuple[Any, Any, dict[Any, np.ndarray]]:
    kind = tf.as_dtype(values["x"].dtype)
    x = tf.placeholder(kind, [rows, values["x"].shape[1]], name="x")
    y = tf.placeholder(kind, [rows, OUTPUTS], name="y")
    return x, y, {x: values["x"], y: values["y"]}


def _descend(variables: Sequence[Any], gradients: Sequence[Any], rate: float) -> Any:
    return tf.group(
        *(tf.assign_sub(v, rate * g) for v, g in zip(variables, gradients, strict=True))
    )


def linear(values: Values, name: str) -> Callable[[Any], Any]:
    """The variables of a layer; applied to a tensor."""
    weight = tf.Variable(values[f"{name}.weight"].T, name=f"{name}/weight")
    bias = tf.Variable(values[f"{name}.bias"], name=f"{name}/bias")
    return lambda x: tf.matmul(x, weight) + bias


@whole
def by_hand(values: Values) -> Any:
    """Gradients written out."""
    x, y, feed = _fed(values)
    w1, w2 = (tf.Variable(values[n], name=n) for n in ("w1", "w2"))
    h = tf.matmul(x, w1)
    h_relu = tf.maximum(h, 0.0)
    rest = tf.matmul(h_relu, w2) - y
    loss = tf.reduce_sum(rest**2)
    grad = 2.0 * rest
    grad_h = tf.matmul(grad, w2, transpose_b=True)
    grad_h = tf.where(h < 0, tf.zeros_like(h), grad_h)
    grads = tf.matmul(x, grad_h, transpose_a=True), tf.matmul(h_relu, grad, transpose_a=True)
    return [loss, _descend([w1, w2], grads, 1e-6)], lambda _: feed


@tf.custom_gradient
def my_relu(input: Any) -> Any:
    """max(0, x) with its derivative beside it."""

    def backward(grad_output: Any) -> Any:
        return tf.where(input < 0, tf.zeros_like(input), grad_output)

    return tf.maximum(input, 0.0), backward


def net(relu: Callable[[Any], Any]) -> Any:
    """The net with a relu of choice, differentiated."""

    @whole
    def build(values: Values) -> Any:
        x, y, feed = _fed(values)
        w1, w2 = (tf.Variable(values[n], name=n) for n in ("w1", "w2"))
        loss = tf.reduce_sum((tf.matmul(relu(tf.matmul(x, w1)), w2) - y) ** 2)
        return [loss, _descend([w1, w2], tf.gradients(loss, [w1, w2]), 1e-6)], lambda _: feed

    return build


def tensorflow(rows: int | None, squared: Callable[[Any, Any], Any]) -> Any:
    """As the documents have it for TensorFlow: assignments of new values, fetched."""

    @whole
    def build(values: Values) -> Any:
        x, y, feed = _fed(values, rows)
        w1, w2 = (tf.Variable(values[n]) for n in ("w1", "w2"))
        h_relu = tf.maximum(tf.matmul(x, w1), tf.zeros(1))
        loss = tf.reduce_sum(squared(tf.matmul(h_relu, w2), y))
        grad_w1, grad_w2 = tf.gradients(loss, [w1, w2])
        new_w1 = w1.assign(w1 - 1e-6 * grad_w1)
        new_w2 = w2.assign(w2 - 1e-6 * grad_w2)
        return [loss, new_w1, new_w2], lambda _: feed

    return build


def mean_of(y_pred: Any, y: Any) -> Any:
    """The mean of squares."""
    return tf.reduce_mean(tf.squared_difference(y_pred, y))


def sum_of(y_pred: Any, y: Any) -> Any:
    """The sum of squares."""
    return tf.reduce_sum(tf.squared_difference(y_pred, y))


def layers(loss_of: Callable[[Any, Any], Any], minimize: Callable[[Any], Any]) -> Any:
    """Two linear layers; `minimize` makes the update."""

    @whole
    def build(values: Values) -> Any:
        x, y, feed = _fed(values)
        hidden, output = linear(values, "linear1"), linear(values, "linear2")
        loss = loss_of(output(tf.nn.relu(hidden(x))), y)
        return [loss, minimize(loss)], lambda _: feed

    return build


def all_descend(loss: Any, rate: float) -> Any:
    """Gradient descent written out."""
    variables = tf.trainable_variables()
    return _descend(variables, tf.gradients(loss, variables), rate)


def by_descent(loss: Any) -> Any:
    """Gradient descent as an optimizer has it."""
    return tf.train.GradientDescentOptimizer(1e-2).minimize(loss)


def by_adam(loss: Any) -> Any:
    """Adam."""
    return tf.train.AdamOptimizer(1e-4).minimize(loss)


def _scope(name: str) -> Any:
    return tf.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES, name)


def subsets(loss: Any) -> Any:
    """Adam for the first layer, momentum for the second."""
    return tf.group(
        tf.train.AdamOptimizer(1e-4).minimize(loss, var_list=_scope("linear1")),
        tf.train.MomentumOptimizer(1e-5, momentum=0.9).minimize(loss, var_list=_scope("linear2")),
    )


@whole
def clipped(values: Values) -> Any:
    """A gradient that is shortened where it is too long."""
    x, y, feed = _fed(values)
    variables = w1, w2 = [tf.Variable(values[n], name=n) for n in ("w1", "w2")]
    loss = tf.reduce_sum((tf.matmul(tf.maximum(tf.matmul(x, w1), 0.0), w2) - y) ** 2)
    grads = tf.gradients(loss, variables)
    norm = tf.sqrt(tf.reduce_sum(grads[0] ** 2) + tf.reduce_sum(grads[1] ** 2))
    grads = tf.cond(norm > CLIP, lambda: [g * (CLIP / norm) for g in grads], lambda: grads)
    return [loss, _descend(variables, grads, 1e-6)], lambda _: feed


def _middle(values: Values) -> Any:
    x, y, feed = _fed(values)
    return (x, y, feed, *(linear(values, n) for n in ("input", "middle", "output")))


@whole
def dynamic_net(values: Values) -> Any:
    """The middle layer in a loop of the graph."""
    x, y, feed, first, middle, last = _middle(values)
    times = tf.placeholder(tf.int32, [], name="times")
    _, h_relu = tf.while_loop(
        lambda i, _: i < times,
        lambda i, h: (i + 1, tf.maximum(middle(h), 0.0)),
        [tf.constant(0), tf.maximum(first(x), 0.0)],
    )
    loss = sum_of(last(h_relu), y)
    update = tf.train.MomentumOptimizer(1e-4, momentum=0.9).minimize(loss)
    return [loss, update], lambda item: {**feed, times: item}


def unrolled(values: Values) -> Any:
    """A graph for each depth, over the same variables."""
    x, y, feed, first, middle, last = _middle(values)
    optimizer = tf.train.MomentumOptimizer(1e-4, momentum=0.9)
    fetches = []
    for times in range(4):
        h = tf.maximum(first(x), 0.0)
        for _ in range(times):
            h = tf.maximum(middle(h), 0.0)
        loss = sum_of(last(h), y)
        # a layer that is left out has a gradient of nought, and goes on by its momentum
        gradients = [
            (g if g is not None else tf.zeros_like(v), v)
            for g, v in optimizer.compute_gradients(loss)
        ]
        fetches.append([loss, optimizer.apply_gradients(gradients)])
    return lambda item: (fetches[item], feed)
