"""Newton's method on a batch until it has converged, a solution.

x³ + a·x = b for 1000 pairs of a and b: x ← x − f(x) / f′(x) from x = b, until no |f(x)| is above
0.001.  The data decide how many iterations there are.  The gradient is that of the sum of all x
with respect to a, through the iterations; JAX has none through such a loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.case import Case, NotYet, Params, Target

VARIANTS: dict[str, dict[str, Any]] = {
    "1000": {"n": 1000, "grad": False},
    "1000 with gradient": {"n": 1000, "grad": True},
}
TOLERANCE = 1e-3
UNIT = "solution"
TARGETS = (
    Target("faster", 5.0, "torch"),
    Target("faster", 1.0, "best"),
    Target("fact", 1, "native_calls_a_run"),
)


def data(p: Params) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.RandomState(0)
    a, b = rng.uniform(1.0, 2.0, p.n), rng.uniform(0.0, 10.0, p.n)
    return a.astype(np.float32), b.astype(np.float32)


def graph(tf: Any, p: Params) -> tuple[Any, Case]:
    """The program for a TensorFlow 1 front."""
    a = tf.placeholder(tf.float32, [None])
    b = tf.placeholder(tf.float32, [None])

    def residual(x: Any) -> Any:
        return x * x * x + a * x - b

    x = tf.while_loop(
        lambda x: tf.reduce_max(tf.abs(residual(x))) > TOLERANCE,
        lambda x: x - residual(x) / (3.0 * x * x + a), [b],
    )  # fmt: skip
    x = x[0] if isinstance(x, list) else x
    total = tf.reduce_sum(x)
    fetches = [x, *tf.gradients(total, a)] if p.grad else [x]
    sess = tf.Session()
    feed = dict(zip((a, b), data(p), strict=True))

    def step() -> Any:
        return sess.run(fetches, feed)

    return sess, Case(step, lambda: [float(v.sum()) for v in step()])


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
    """A loop in Numba; with the gradient it keeps every x and goes back over them"""
    from numba import njit

    a, b = data(p)
    one, three, tolerance = np.float32(1.0), np.float32(3.0), np.float32(TOLERANCE)
    kept = np.empty((100, p.n), np.float32)

    @njit
    def forwards(a: Any, b: Any, kept: Any) -> Any:
        k = 0
        kept[0] = b
        while True:
            worst = np.float32(0.0)
            x, new = kept[k], kept[k + 1]
            for i in range(x.size):
                f = x[i] * x[i] * x[i] + a[i] * x[i] - b[i]
                worst = max(worst, abs(f))
                new[i] = x[i] - f / (three * x[i] * x[i] + a[i])
            if worst <= tolerance:
                return k
            k += 1

    @njit
    def backwards(a: Any, b: Any, kept: Any, steps: Any) -> Any:
        g, da = np.ones_like(a), np.zeros_like(a)
        for k in range(steps - 1, -1, -1):
            x = kept[k]
            for i in range(x.size):
                f = x[i] * x[i] * x[i] + a[i] * x[i] - b[i]
                q = one / (three * x[i] * x[i] + a[i])
                da[i] += g[i] * (f * q - x[i]) * q
                g[i] = g[i] * (np.float32(6.0) * x[i] * f * q * q)
        return da

    def step() -> Any:
        steps = forwards(a, b, kept)
        x = kept[steps].copy()
        return [x, backwards(a, b, kept, steps)] if p.grad else [x]

    return Case(step, lambda: [float(v.sum()) for v in step()])


def torch(p: Params) -> Case:
    import torch

    a, b = map(torch.from_numpy, data(p))
    a.requires_grad_(p.grad)

    def step() -> list[Any]:
        x = b
        while True:
            f = x * x * x + a * x - b
            if not f.abs().max() > TOLERANCE:
                break
            x = x - f / (3.0 * x * x + a)
        return [x, *torch.autograd.grad(x.sum(), a)] if p.grad else [x]

    return Case(step, lambda: [v.sum().item() for v in step()])


def jax(p: Params) -> Case:
    import jax
    import jax.numpy as jnp

    if p.grad:
        raise NotYet("no gradient through a loop whose end the data decide")
    a, b = map(jnp.asarray, data(p))

    def residual(x: Any, a: Any, b: Any) -> Any:
        return x * x * x + a * x - b

    @jax.jit
    def solve(a: Any, b: Any) -> Any:
        return jax.lax.while_loop(
            lambda x: jnp.abs(residual(x, a, b)).max() > TOLERANCE,
            lambda x: x - residual(x, a, b) / (3.0 * x * x + a), b,
        )  # fmt: skip

    return Case(lambda: solve(a, b).block_until_ready(), lambda: [float(solve(a, b).sum())])


def pytensor(p: Params) -> Case:
    import pytensor
    import pytensor.tensor as pt
    from pytensor.scan.utils import until

    a, b = pt.fvector(), pt.fvector()
    three, tolerance = np.float32(3.0), np.float32(TOLERANCE)

    def residual(x: Any, a: Any, b: Any) -> Any:
        return x * x * x + a * x - b

    def step(x: Any, a: Any, b: Any) -> Any:
        new = x - residual(x, a, b) / (three * x * x + a)
        done = pt.max(pt.abs(residual(new, a, b))) <= tolerance
        return new, until(done)

    xs = pytensor.scan(
        step, outputs_info=b, non_sequences=[a, b], n_steps=100, return_updates=False
    )  # fmt: skip
    x = xs[-1]
    f = pytensor.function([a, b], [x, pytensor.grad(x.sum(), a)] if p.grad else [x])
    values = data(p)
    return Case(lambda: f(*values), lambda: [float(v.sum()) for v in f(*values)])
