"""Transpose: the axes of a matrix exchanged, the channels of images moved to the front.

Input and output are variables, so that nothing is copied in or out; PyTorch writes to a tensor that
is there already. Whoever goes along rows of the result reads one element of each line of memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Params, Target, Traffic

VARIANTS: dict[str, dict[str, Any]] = {
    "4096x4096": {"shape": [4096, 4096], "perm": [1, 0], "quick": {"shape": [1024, 1024]}},
    "NHWC to NCHW": {
        "shape": [32, 56, 56, 64], "perm": [0, 3, 1, 2], "quick": {"shape": [4, 56, 56, 64]},
    },
}  # fmt: skip
TARGETS = (Target("faster", 1.0, "best"),)
UNIT = "run"


def traffic(p: Params) -> Traffic:
    """One array is read and one written."""
    return Traffic(bytes=8.0 * np.prod(p.shape))


def data(p: Params) -> np.ndarray:
    return np.random.RandomState(0).rand(*p.shape).astype(np.float32)


def _numbers(y: Any) -> list[float]:
    y = np.asarray(y).reshape(-1)
    return [float(v) for v in (y[0], y[1], y[len(y) // 3], y[-2])]


def graph(tf: Any, p: Params) -> tuple[Any, Case]:
    """The program for a TensorFlow 1 front."""
    start = tf.placeholder(tf.float32, p.shape)
    x = tf.Variable(start, trainable=False)
    y = tf.Variable(tf.zeros([p.shape[k] for k in p.perm]), trainable=False)
    run = y.assign(tf.transpose(x, p.perm)).op
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

    x = torch.from_numpy(data(p)).permute(p.perm)
    out = torch.empty(x.shape)
    return Case(lambda: out.copy_(x), lambda: _numbers(out))


def torch_compile(p: Params) -> Case:
    import torch

    x = torch.from_numpy(data(p))
    out = None
    f = torch.compile(lambda x: x.permute(p.perm).contiguous())

    def step() -> None:
        nonlocal out
        out = f(x)

    return Case(step, lambda: _numbers(out))


def jax(p: Params) -> Case:
    import jax
    import jax.numpy as jnp

    x = jnp.asarray(data(p))
    f = jax.jit(lambda x: jnp.transpose(x, p.perm))
    return Case(lambda: f(x).block_until_ready(), lambda: _numbers(f(x)))
