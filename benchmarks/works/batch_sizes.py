"""Network of two layers at a batch size that was not compiled for.

Every implementation first runs at batch 32; `new_size_s` is what the first run at the other size
takes beyond a later one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.case import Case, Params, Target

VARIANTS: dict[str, dict[str, Any]] = {f"batch {n}": {"n": n} for n in (1, 7, 64, 1000)}
TARGETS = (Target("fact", 0, "compiled_for_size"), Target("fact", 1e-3, "plan_s"))
FIRST, INPUTS, UNITS, OUTPUTS = 32, 1000, 100, 10


def data(n: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    rng = np.random.RandomState(0)
    w = [rng.randn(*s).astype(np.float32) * 0.05 for s in ((INPUTS, UNITS), (UNITS, OUTPUTS))]
    return rng.randn(n, INPUTS).astype(np.float32), rng.randn(n, OUTPUTS).astype(np.float32), w


def settle(
    run: Callable[[int], Callable[[], Any]], n: int
) -> tuple[Callable[[], Any], dict[str, float]]:
    """Run at the first size, then for the first time at another."""
    first = run(FIRST)
    first()
    first()
    step = run(n)
    start = time.perf_counter()
    step()
    once = time.perf_counter() - start
    later = []
    for _ in range(5):
        start = time.perf_counter()
        step()
        later.append(time.perf_counter() - start)
    return step, {"new_size_s": max(0.0, once - min(later))}


def graph(tf: Any, p: Params) -> tuple[Any, Any]:
    """The program for a TensorFlow 1 front: a session, and the run of one size."""
    x = tf.placeholder(tf.float32, [None, INPUTS])
    y = tf.placeholder(tf.float32, [None, OUTPUTS])
    w1, w2 = (tf.Variable(w) for w in data(1)[2])
    loss = tf.reduce_mean(tf.squared_difference(tf.matmul(tf.nn.relu(tf.matmul(x, w1)), w2), y))
    train = tf.train.GradientDescentOptimizer(1e-3).minimize(loss)
    sess = tf.Session()
    sess.run(tf.global_variables_initializer())

    def run(n: int) -> Callable[[], Any]:
        xs, ys, _ = data(n)
        feed, fetches = {x: xs, y: ys}, [loss, train]
        return lambda: sess.run(fetches, feed)

    return sess, run


def staticgraph(p: Params) -> Case:
    import staticgraph as tf
    from benchmarks import ours
    from staticgraph.codegen.cache import compiled_count, loaded_count
    from staticgraph.runtime.plan import Plan

    sess, run = graph(tf, p)
    before: list[int] = []
    spent: list[float] = []
    made = Plan.__init__

    def timed(self: Any, *args: Any) -> None:
        start = time.perf_counter()
        made(self, *args)
        spent.append(time.perf_counter() - start)

    def watched(n: int) -> Callable[[], Any]:
        before.append(compiled_count() + loaded_count())
        return run(n)

    Plan.__init__ = timed  # type: ignore[method-assign]
    step, seen = settle(watched, p.n)
    Plan.__init__ = made  # type: ignore[method-assign]
    seen["compiled_for_size"] = compiled_count() + loaded_count() - before[-1]
    seen["plan_s"] = spent[-1]
    return Case(step, facts=lambda: ours.facts(sess) | seen)


def tf1(p: Params) -> Case:
    import tensorflow.compat.v1 as tf

    tf.disable_v2_behavior()
    step, seen = settle(graph(tf, p)[1], p.n)
    return Case(step, facts=lambda: seen)


def torch(p: Params) -> Case:
    import torch

    w1, w2 = (torch.nn.Parameter(torch.from_numpy(w)) for w in data(1)[2])
    optimizer = torch.optim.SGD([w1, w2], lr=1e-3)

    def run(n: int) -> Callable[[], Any]:
        x, y = map(torch.from_numpy, data(n)[:2])

        def step() -> float:
            optimizer.zero_grad()
            loss = (torch.relu(x @ w1) @ w2 - y).square().mean()
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    step, seen = settle(run, p.n)
    return Case(step, facts=lambda: seen)


def jax(p: Params) -> Case:
    import jax
    import jax.numpy as jnp

    w = [jnp.asarray(v) for v in data(1)[2]]

    def loss(w: Any, x: Any, y: Any) -> Any:
        return jnp.square(jnp.maximum(x @ w[0], 0.0) @ w[1] - y).mean()

    @jax.jit
    def update(w: Any, x: Any, y: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(w, x, y)
        return value, jax.tree.map(lambda v, g: v - 1e-3 * g, w, grads)

    def run(n: int) -> Callable[[], Any]:
        x, y = map(jnp.asarray, data(n)[:2])

        def step() -> float:
            nonlocal w
            value, w = update(w, x, y)
            return float(value)

        return step

    step, seen = settle(run, p.n)
    return Case(step, facts=lambda: seen)


def pytensor(p: Params) -> Case:
    import pytensor
    import pytensor.tensor as pt

    x, y = pt.fmatrix(), pt.fmatrix()
    w = [pytensor.shared(v) for v in data(1)[2]]
    h = pt.maximum(x @ w[0], np.float32(0.0))
    loss = pt.mean(pt.square(h @ w[1] - y), dtype="float32")
    rate = np.float32(1e-3)
    pairs = zip(w, pytensor.grad(loss, w), strict=True)
    f = pytensor.function([x, y], loss, updates=[(v, v - rate * g) for v, g in pairs])

    def run(n: int) -> Callable[[], Any]:
        xs, ys, _ = data(n)
        return lambda: f(xs, ys)

    step, seen = settle(run, p.n)
    return Case(step, facts=lambda: seen)
