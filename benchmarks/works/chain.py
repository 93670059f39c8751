"""Elementwise chain with tanh, exp and a division: tanh(x)·exp(-x²) / (1 + x²).

Input and output are variables, so that nothing is copied in or out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Params, Target, Traffic

VARIANTS: dict[str, dict[str, Any]] = {"10M": {"n": 10_000_000, "quick": {"n": 1_000_000}}}
TARGETS = (
    Target("bandwidth", 0.8),
    Target("faster", 5.0, "jax"),
    Target("faster", 35.0, "torch"),
    Target("fact", 1, "kernel_texts"),
)
UNIT = "run"


def traffic(p: Params) -> Traffic:
    """One array is read and one written."""
    return Traffic(bytes=8.0 * p.n)


def data(p: Params) -> np.ndarray:
    return np.linspace(-3.0, 3.0, p.n, dtype=np.float32)


def _numbers(y: Any) -> list[float]:
    y = np.asarray(y)
    return [y[0], y[len(y) // 3], y[len(y) // 2 + 17], y[-1]]


def graph(tf: Any, p: Params) -> tuple[Any, Case]:
    """The program for a TensorFlow 1 front."""
    start = tf.placeholder(tf.float32, [p.n])
    x = tf.Variable(start, trainable=False)
    y = tf.Variable(tf.zeros([p.n]), trainable=False)
    run = y.assign(tf.tanh(x) * tf.exp(-x * x) / (1.0 + x * x)).op
    sess = tf.Session()
    sess.run(tf.global_variables_initializer(), {start: data(p)})
    return sess, Case(lambda: sess.run(run), lambda: _numbers(sess.run(y)))


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
    """A copy of the array by numpy, which is not the work but moves as many bytes"""
    x = data(p)
    y = np.empty_like(x)
    return Case(lambda: np.copyto(y, x))


def torch(p: Params) -> Case:
    import torch

    x = torch.from_numpy(data(p))
    out = None

    def step() -> None:
        nonlocal out
        out = torch.tanh(x) * torch.exp(-x * x) / (1.0 + x * x)

    return Case(step, lambda: _numbers(out))


def torch_compile(p: Params) -> Case:
    import torch

    x = torch.from_numpy(data(p))
    f = torch.compile(lambda x: torch.tanh(x) * torch.exp(-x * x) / (1.0 + x * x))
    return Case(lambda: f(x), lambda: _numbers(f(x)))


def jax(p: Params) -> Case:
    import jax
    import jax.numpy as jnp

    x = jnp.asarray(data(p))
    f = jax.jit(lambda x: jnp.tanh(x) * jnp.exp(-x * x) / (1.0 + x * x))
    return Case(lambda: f(x).block_until_ready(), lambda: _numbers(f(x)))


def pytensor(p: Params) -> Case:
    import pytensor
    import pytensor.tensor as pt

    x = pytensor.shared(data(p))
    y = pytensor.shared(np.zeros(p.n, np.float32))
    one = np.float32(1.0)
    f = pytensor.function([], [], updates=[(y, pt.tanh(x) * pt.exp(-x * x) / (one + x * x))])
    return Case(f, lambda: _numbers(y.get_value()))
