"""Convolutional network for MNIST, batch 128, train step with Adam.

Two convolutions of 5×5 with 32 and 64 channels, each followed by a pooling of 2×2; 1024 units; 10.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Params, Target, Traffic

VARIANTS: dict[str, dict[str, Any]] = {"batch 128": {"n": 128, "rate": 1e-4, "quick": {"n": 16}}}
TARGETS = (Target("time", 1.0, "tf1"), Target("time", 1.0, "torch"), Target("memory", 1.0, "best"))
SHAPES = (5, 5, 1, 32), (5, 5, 32, 64), (7 * 7 * 64, 1024), (1024, 10)


def traffic(p: Params) -> Traffic:
    """The products; the first layer needs no gradient of its input."""
    first = 2.0 * 28 * 28 * 25 * 32
    second = 2.0 * 14 * 14 * 25 * 32 * 64
    dense = 2.0 * (7 * 7 * 64 * 1024 + 1024 * 10)
    return Traffic(flops=p.n * (2 * first + 3 * second + 3 * dense))


def data(p: Params) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    rng = np.random.RandomState(0)
    images = rng.rand(p.n, 28, 28, 1).astype(np.float32)
    labels = rng.randint(0, 10, p.n).astype(np.int32)
    weights = [(rng.randn(*s) * (2.0 / np.prod(s[:-1])) ** 0.5).astype(np.float32) for s in SHAPES]
    return images, labels, weights


def graph(tf: Any, p: Params) -> tuple[Any, Case]:
    """The program for a TensorFlow 1 front."""
    images, labels, weights = data(p)
    x = tf.placeholder(tf.float32, [None, 28, 28, 1])
    y = tf.placeholder(tf.int32, [None])
    w1, w2, w3, w4 = (tf.Variable(w) for w in weights)
    b1, b2, b3, b4 = (tf.Variable(tf.zeros([s[-1]])) for s in SHAPES)

    def layer(x: Any, w: Any, b: Any) -> Any:
        h = tf.nn.relu(tf.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME") + b)
        return tf.nn.max_pool(h, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME")

    h = tf.reshape(layer(layer(x, w1, b1), w2, b2), [-1, 7 * 7 * 64])
    logits = tf.matmul(tf.nn.relu(tf.matmul(h, w3) + b3), w4) + b4
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
    loss = tf.reduce_mean(losses)
    train = tf.train.AdamOptimizer(p.rate).minimize(loss)
    sess = tf.Session()
    sess.run(tf.global_variables_initializer())
    feed, fetches = {x: images, y: labels}, [loss, train]
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
    """The products of matrices alone, with patches laid out already, by numpy"""
    rng = np.random.RandomState(0)
    sizes = [
        (p.n * 28 * 28, 25, 32, 2), (p.n * 14 * 14, 25 * 32, 64, 3), (p.n, 7 * 7 * 64, 1024, 3),
        (p.n, 1024, 10, 3),
    ]  # fmt: skip
    made = []
    for m, k, n, times in sizes:
        a, w, g = rng.rand(m, k), rng.rand(k, n), rng.rand(m, n)
        a, w, g = (v.astype(np.float32) for v in (a, w, g))
        made.append((a, w, g, np.empty_like(a), np.empty_like(w), np.empty_like(g), times))

    def step() -> None:
        for a, w, g, da, dw, y, times in made:
            np.matmul(a, w, out=y)
            np.matmul(a.T, g, out=dw)
            if times == 3:
                np.matmul(g, w.T, out=da)

    return Case(step)


def torch(p: Params) -> Case:
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    images, labels, weights = data(p)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(7 * 7 * 64, 1024), nn.ReLU(), nn.Linear(1024, 10),
    )  # fmt: skip
    turned = [weights[0].transpose(3, 2, 0, 1), weights[1].transpose(3, 2, 0, 1)]
    dense = weights[2].reshape(7, 7, 64, 1024).transpose(3, 2, 0, 1).reshape(1024, -1)
    turned += [dense, weights[3].T]
    layers = [m for m in model if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for m, w in zip(layers, turned, strict=True):
            m.weight.copy_(torch.from_numpy(np.ascontiguousarray(w)))
            m.bias.zero_()
    optimizer = torch.optim.Adam(model.parameters(), lr=p.rate)
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    y = torch.from_numpy(labels.astype(np.int64))

    def step() -> float:
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    def result() -> list[float]:
        with torch.no_grad():
            return [cross_entropy(model(x), y).item()]

    return Case(step, result)


def jax(p: Params) -> Case:
    import jax
    import jax.numpy as jnp

    from benchmarks.works import mlp12

    images, labels, weights = data(p)
    x, y = jnp.asarray(images), jnp.asarray(labels)
    parameters = [(jnp.asarray(w), jnp.zeros(w.shape[-1])) for w in weights]

    def layer(x: Any, w: Any, b: Any) -> Any:
        h = jax.lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        h = jnp.maximum(h + b, 0.0)
        return jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        one, two, (w3, b3), (w4, b4) = parameters
        h = layer(layer(x, *one), *two).reshape(-1, 7 * 7 * 64)
        logits = jnp.maximum(h @ w3 + b3, 0.0) @ w4 + b4
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1).mean()

    return mlp12.jax_adam(parameters, loss, p.rate, x, y)
