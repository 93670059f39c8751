"""Logistic map, a loop over one number, an iteration.

x ← r·x·(1 − x) for 10 million iterations, and its gradient with respect to r over one million, at
an r where x settles on two values.  PyTorch and TensorFlow make fewer iterations, since they take
as long for each of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, Params, Target

VARIANTS: dict[str, dict[str, Any]] = {
    "10M": {"steps": 10_000_000, "grad": False, "quick": {"steps": 100_000}},
    "1M with gradient": {"steps": 1_000_000, "grad": True, "quick": {"steps": 100_000}},
}
UNIT = "iteration"
RATE, START = 3.2, 0.5
FEWER = 10_000  # iterations of those that take microseconds for one
TARGETS = (
    Target("time", 1.2, "floor"),
    Target("fact", 1, "steps", ("10M",)),
    Target("fact", 2, "steps", ("1M with gradient",)),
)


def graph(tf: Any, p: Params) -> tuple[Any, Case]:
    """The program for a TensorFlow 1 front."""
    r = tf.placeholder(tf.float32, [])
    n = tf.placeholder(tf.int32, [])
    _, x = tf.while_loop(
        lambda i, x: i < n, lambda i, x: (i + 1, r * x * (1.0 - x)), [0, tf.constant(START)]
    )
    fetches = [x, *tf.gradients(x, r)] if p.grad else [x]
    sess = tf.Session()
    feed = {r: np.float32(RATE), n: np.int32(p.steps)}

    def step() -> Any:
        return sess.run(fetches, feed)

    return sess, Case(step, step, units=p.steps)


def fewer(p: Params) -> Params:
    return Params(**(vars(p) | {"steps": min(p.steps, FEWER)}))


def staticgraph(p: Params) -> Case:
    import staticgraph as tf
    from benchmarks import ours

    sess, case = graph(tf, p)
    case.facts = lambda: ours.facts(sess)
    return case


def tf1(p: Params) -> Case:
    import tensorflow.compat.v1 as tf

    tf.disable_v2_behavior()
    return graph(tf, fewer(p))[1]


def floor(p: Params) -> Case:
    """A loop in Numba; with the gradient one forwards, which keeps every x, and one backwards"""
    from numba import njit

    one = np.float32(1.0)

    @njit
    def forwards(r: Any, x: Any, n: Any) -> Any:
        for _ in range(n):
            x = r * x * (one - x)
        return x

    @njit
    def both(r: Any, x: Any, n: Any) -> Any:
        kept = np.empty(n, np.float32)
        for k in range(n):
            kept[k] = x
            x = r * x * (one - x)
        g, dr = one, np.float32(0.0)
        for k in range(n - 1, -1, -1):
            y = kept[k]
            dr += g * y * (one - y)
            g = g * r * (one - y - y)
        return x, dr

    r, start = np.float32(RATE), np.float32(START)

    def step() -> Any:
        return both(r, start, p.steps) if p.grad else [forwards(r, start, p.steps)]

    return Case(step, step, units=p.steps)


def torch(p: Params) -> Case:
    import torch

    steps = fewer(p).steps

    def step() -> list[float]:
        r = torch.tensor(RATE, requires_grad=p.grad)
        x = torch.tensor(START)
        for _ in range(steps):
            x = r * x * (1.0 - x)
        if not p.grad:
            return [x.item()]
        x.backward()
        return [x.item(), r.grad.item()]

    return Case(step, step, units=steps)


def jax(p: Params) -> Case:
    import jax
    import jax.numpy as jnp

    def last(r: Any) -> Any:
        return jax.lax.fori_loop(0, p.steps, lambda i, x: r * x * (1.0 - x), jnp.float32(START))

    f = jax.jit(jax.value_and_grad(last) if p.grad else last)

    def step() -> list[float]:
        out = f(jnp.float32(RATE))
        return [float(v) for v in out] if p.grad else [float(out)]

    return Case(step, step, units=p.steps)


def pytensor(p: Params) -> Case:
    import pytensor
    import pytensor.tensor as pt

    r = pt.fscalar()
    xs = pytensor.scan(
        lambda x, r: r * x * (np.float32(1.0) - x), outputs_info=pt.constant(np.float32(START)),
        non_sequences=r, n_steps=p.steps, return_updates=False,
    )  # fmt: skip
    f = pytensor.function([r], [xs[-1], pytensor.grad(xs[-1], r)] if p.grad else [xs[-1]])

    def step() -> Any:
        return f(np.float32(RATE))

    return Case(step, step, units=p.steps)
