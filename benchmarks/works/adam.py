"""Adam over 100 parameter tensors.

The gradients are there already: what is timed is the update alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, NotYet, Params, Target, Traffic

VARIANTS: dict[str, dict[str, Any]] = {
    "10M": {"tensors": 100, "size": 100_000, "rate": 1e-3, "quick": {"size": 10_000}}
}
TARGETS = (
    Target("fact", 1, "kernel_texts"),
    Target("bandwidth", 0.8),
    Target("faster", 2.0, "best"),
    Target("memory", 1.0, "best"),
)


def traffic(p: Params) -> Traffic:
    """Parameter, gradient and two moments are read, all but the gradient written."""
    return Traffic(bytes=28.0 * p.tensors * p.size)


def data(p: Params) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.RandomState(0)
    parameters = [rng.rand(p.size).astype(np.float32) for _ in range(p.tensors)]
    return parameters, [rng.rand(p.size).astype(np.float32) + 0.5 for _ in range(p.tensors)]


def _numbers(first: Any, last: Any) -> list[float]:
    return [float(first[0]), float(first[-1]), float(last[0]), float(last[-1])]


def graph(tf: Any, p: Params) -> tuple[Any, Case]:
    """The program for a TensorFlow 1 front."""
    values, gradients = data(p)
    starts = [tf.placeholder(tf.float32, [p.size]) for _ in range(2 * p.tensors)]
    variables = [tf.Variable(s) for s in starts[: p.tensors]]
    given = [tf.Variable(s, trainable=False) for s in starts[p.tensors :]]
    optimizer = tf.train.AdamOptimizer(p.rate)
    step = optimizer.apply_gradients(
        [(g.read_value(), v) for g, v in zip(given, variables, strict=True)]
    )
    sess = tf.Session()
    sess.run(tf.global_variables_initializer(), dict(zip(starts, values + gradients, strict=True)))
    ends = [variables[0], variables[-1]]
    return sess, Case(lambda: sess.run(step), lambda: _numbers(*sess.run(ends)))


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
    """One parallel Numba loop over all of them laid end to end"""
    from numba import njit, prange

    @njit(parallel=True, fastmath={"contract", "arcp", "nsz"})
    def update(w: Any, g: Any, m: Any, v: Any, rate: Any) -> None:
        b1, b2, eps, one = np.float32(0.9), np.float32(0.999), np.float32(1e-8), np.float32(1.0)
        for i in prange(w.size):
            m[i] = b1 * m[i] + (one - b1) * g[i]
            v[i] = b2 * v[i] + (one - b2) * g[i] * g[i]
            w[i] -= rate * m[i] / (np.sqrt(v[i]) + eps)

    values, gradients = data(p)
    w, g = np.concatenate(values), np.concatenate(gradients)
    m, v = np.zeros_like(w), np.zeros_like(w)
    t = 0

    def step() -> None:
        nonlocal t
        t += 1
        update(w, g, m, v, np.float32(p.rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)))

    return Case(step, lambda: _numbers(w[: p.size], w[-p.size :]))


def torch(p: Params) -> Case:
    import torch

    values, gradients = data(p)
    parameters = [torch.nn.Parameter(torch.from_numpy(v)) for v in values]
    for w, g in zip(parameters, gradients, strict=True):
        w.grad = torch.from_numpy(g)
    optimizer = torch.optim.Adam(parameters, lr=p.rate, fused=True)
    ends = parameters[0], parameters[-1]
    return Case(optimizer.step, lambda: _numbers(*(w.detach() for w in ends)))


def jax(p: Params) -> Case:
    import functools

    import jax
    import jax.numpy as jnp

    values, gradients = data(p)
    w, g = [jnp.asarray(v) for v in values], [jnp.asarray(v) for v in gradients]
    state = w, jax.tree.map(jnp.zeros_like, w), jax.tree.map(jnp.zeros_like, w), jnp.float32(0.0)

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state: Any, g: Any) -> Any:
        w, m, v, t = state
        t = t + 1.0
        rate = p.rate * jnp.sqrt(1.0 - 0.999**t) / (1.0 - 0.9**t)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        w = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-8), w, m, v)
        return w, m, v, t

    def step() -> None:
        nonlocal state
        state = update(state, g)
        jax.block_until_ready(state)

    return Case(step, lambda: _numbers(state[0][0], state[0][-1]))


def pytensor(p: Params) -> Case:
    """Left out"""
    raise NotYet("left out: it takes minutes to compile")
