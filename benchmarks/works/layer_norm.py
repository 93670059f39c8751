"""Layer normalisation with its gradients.

The gradient that comes in is given; those of the input, the scale and the shift come out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Params, Target, Traffic

VARIANTS: dict[str, dict[str, Any]] = {
    "4096x768": {"rows": 4096, "columns": 768, "quick": {"rows": 512}}
}
TARGETS = (Target("faster", 2.0, "best"), Target("bandwidth", 0.6))
UNIT = "run"
EPSILON = 1e-5


def traffic(p: Params) -> Traffic:
    """Input and incoming gradient are read, output and outgoing gradient are written."""
    return Traffic(bytes=16.0 * p.rows * p.columns)


def data(p: Params) -> tuple[np.ndarray, ...]:
    rng = np.random.RandomState(0)
    x, dy = (rng.randn(p.rows, p.columns).astype(np.float32) for _ in range(2))
    scale, shift = (rng.rand(p.columns).astype(np.float32) for _ in range(2))
    return x, scale, shift, dy


def _numbers(*arrays: Any) -> list[float]:
    flat = [np.asarray(a).ravel() for a in arrays]
    return [float(v) for a in flat for v in (a[0], a[7], a[-1])]


def graph(tf: Any, p: Params) -> tuple[Any, Case]:
    """The program for a TensorFlow 1 front."""
    given = data(p)
    starts = [tf.placeholder(tf.float32, a.shape) for a in given]
    x, scale, shift, dy = (tf.Variable(s) for s in starts)
    kept = [tf.Variable(tf.zeros(given[k].shape), trainable=False) for k in (0, 0, 1, 2)]
    mean, variance = tf.nn.moments(x, [1], keep_dims=True)
    y = tf.nn.batch_normalization(x, mean, variance, shift, scale, EPSILON)
    grads = tf.gradients(y, [x, scale, shift], grad_ys=dy)
    step = tf.group(*(k.assign(v) for k, v in zip(kept, [y, *grads], strict=True)))
    sess = tf.Session()
    sess.run(tf.global_variables_initializer(), dict(zip(starts, given, strict=True)))
    return sess, Case(lambda: sess.run(step), lambda: _numbers(*sess.run(kept)))


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
    """Copies of input and incoming gradient by numpy, which move as many bytes as the work"""
    x, _, _, dy = data(p)
    y, dx = np.empty_like(x), np.empty_like(dy)

    def step() -> None:
        np.copyto(y, x)
        np.copyto(dx, dy)

    return Case(step)


def torch(p: Params, compiled: bool = False) -> Case:
    import torch
    from torch.nn.functional import layer_norm

    x, scale, shift, dy = map(torch.from_numpy, data(p))
    leaves = [v.requires_grad_() for v in (x, scale, shift)]

    def forward(x: Any, scale: Any, shift: Any) -> Any:
        return layer_norm(x, [p.columns], scale, shift, EPSILON)

    f = torch.compile(forward) if compiled else forward
    out = None

    def step() -> None:
        nonlocal out
        for v in leaves:
            v.grad = None
        out = f(x, scale, shift)
        out.backward(dy)

    return Case(step, lambda: _numbers(out.detach(), *(v.grad for v in leaves)))


def torch_compile(p: Params) -> Case:
    return torch(p, compiled=True)


def jax(p: Params) -> Case:
    import jax
    import jax.numpy as jnp

    x, scale, shift, dy = map(jnp.asarray, data(p))

    def norm(x: Any, scale: Any, shift: Any) -> Any:
        mean = x.mean(axis=1, keepdims=True)
        variance = jnp.square(x - mean).mean(axis=1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(variance + EPSILON) * scale + shift

    @jax.jit
    def both(x: Any, scale: Any, shift: Any, dy: Any) -> Any:
        y, back = jax.vjp(norm, x, scale, shift)
        return y, *back(dy)

    return Case(
        lambda: jax.block_until_ready(both(x, scale, shift, dy)),
        lambda: _numbers(*both(x, scale, shift, dy)),
    )


def pytensor(p: Params) -> Case:
    import pytensor
    import pytensor.tensor as pt

    x, scale, shift, dy = (pytensor.shared(a) for a in data(p))
    mean = pt.mean(x, axis=1, keepdims=True, dtype="float32")
    variance = pt.mean(pt.square(x - mean), axis=1, keepdims=True, dtype="float32")
    y = (x - mean) / pt.sqrt(variance + np.float32(EPSILON)) * scale + shift
    grads = pytensor.grad(None, [x, scale, shift], known_grads={y: dy})
    kept = [pytensor.shared(np.zeros_like(v.get_value())) for v in (x, x, scale, shift)]
    results = [v.astype("float32") for v in (y, *grads)]
    f = pytensor.function([], [], updates=list(zip(kept, results, strict=True)))
    return Case(f, lambda: _numbers(*(k.get_value() for k in kept)))
