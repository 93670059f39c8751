"""Softmax cross-entropy with its gradient.

Logits are a variable, and so is what the gradient is put into.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Params, Target, Traffic

VARIANTS: dict[str, dict[str, Any]] = {
    "4096x1000": {"rows": 4096, "columns": 1000, "quick": {"rows": 512}}
}
TARGETS = (Target("faster", 2.0, "best"), Target("bandwidth", 0.6))
UNIT = "run"


def traffic(p: Params) -> Traffic:
    """Logits are read, the gradient is written."""
    return Traffic(bytes=8.0 * p.rows * p.columns)


def data(p: Params) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.RandomState(0)
    logits = rng.randn(p.rows, p.columns).astype(np.float32)
    return logits, rng.randint(0, p.columns, p.rows).astype(np.int32)


def _numbers(g: Any) -> list[float]:
    g = 1000.0 * np.asarray(g)
    return [g[0, 0], g[1, 2], g[-1, -1], np.abs(g).sum()]


def graph(tf: Any, p: Params) -> tuple[Any, Case]:
    """The program for a TensorFlow 1 front."""
    logits, labels = data(p)
    start = tf.placeholder(tf.float32, logits.shape)
    x = tf.Variable(start)
    kept = tf.Variable(tf.zeros(logits.shape), trainable=False)
    target = tf.placeholder(tf.int32, [p.rows])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=target, logits=x)
    loss = tf.reduce_mean(losses)
    (g,) = tf.gradients(loss, [x])
    fetches = [loss, kept.assign(g).op]
    sess = tf.Session()
    sess.run(tf.global_variables_initializer(), {start: logits})
    return sess, Case(lambda: sess.run(fetches, {target: labels}), lambda: _numbers(sess.run(kept)))


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
    """A copy of the logits by numpy, which is not the work but moves as many bytes"""
    x, _ = data(p)
    y = np.empty_like(x)
    return Case(lambda: np.copyto(y, x))


def torch(p: Params, compiled: bool = False) -> Case:
    import torch
    from torch.nn.functional import cross_entropy

    logits, labels = data(p)
    x, target = torch.from_numpy(logits).requires_grad_(), torch.from_numpy(labels.astype(np.int64))
    f = torch.compile(cross_entropy) if compiled else cross_entropy

    def step() -> float:
        x.grad = None
        loss = f(x, target)
        loss.backward()
        return loss.item()

    return Case(step, lambda: _numbers(x.grad))


def torch_compile(p: Params) -> Case:
    return torch(p, compiled=True)


def jax(p: Params) -> Case:
    import jax
    import jax.numpy as jnp

    x, target = map(jnp.asarray, data(p))

    @jax.jit
    def both(x: Any, target: Any) -> Any:
        def loss(x: Any) -> Any:
            chosen = jnp.take_along_axis(jax.nn.log_softmax(x), target[:, None], axis=1)
            return -chosen.mean()

        return jax.value_and_grad(loss)(x)

    return Case(
        lambda: jax.block_until_ready(both(x, target)), lambda: _numbers(both(x, target)[1])
    )


def pytensor(p: Params) -> Case:
    import pytensor
    import pytensor.tensor as pt

    logits, labels = data(p)
    x = pytensor.shared(logits)
    kept = pytensor.shared(np.zeros_like(logits))
    target = pt.ivector()
    loss = -pt.mean(pt.special.log_softmax(x, axis=1)[pt.arange(p.rows), target])
    g = pytensor.grad(loss, x)
    f = pytensor.function([target], loss, updates=[(kept, g.astype("float32"))])
    return Case(lambda: f(labels), lambda: _numbers(kept.get_value()))
