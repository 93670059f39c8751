"""Memory of a gradient through 10,000 steps, a train step.

h ← tanh(h·W + b) for a batch of 8 and 256 units.  Reverse mode needs every state; with checkpoints
every hundredth is kept and those between are computed again.  The facts compare that with the same
loop that keeps all; peers do it with their own checkpoints.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.case import Case, Params, Target, Traffic

VARIANTS: dict[str, dict[str, Any]] = {
    "10,000x8x256": {
        "steps": 10_000, "n": 8, "units": 256, "segment": 100, "rate": 1e-3,
        "quick": {"steps": 400, "segment": 20},
    }
}  # fmt: skip
TARGETS = (
    Target("fact", 0.05, "part_of_planned_bytes"),
    Target("fact", 1.5, "times_the_time"),
    Target("faster", 1.0, "best"),
)


def traffic(p: Params) -> Traffic:
    """A product forwards, the same again, and two backwards at each step."""
    return Traffic(flops=8.0 * p.steps * p.n * p.units * p.units)


def data(p: Params) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.RandomState(0)
    w = (rng.randn(p.units, p.units) * p.units**-0.5).astype(np.float32)
    b = (rng.randn(p.units) * 0.1).astype(np.float32)
    return rng.randn(p.n, p.units).astype(np.float32), w, b


def train(tf: Any, p: Params, checkpoint: Any) -> tuple[Any, Case]:
    """The program, as our own API has it."""
    start, *weights = data(p)
    w, b = (tf.Variable(v) for v in weights)
    h = tf.foldl(
        lambda h, _: tf.tanh(tf.matmul(h, w) + b), tf.range(p.steps), initializer=start,
        checkpoint=checkpoint,
    )  # fmt: skip
    loss = tf.reduce_mean(tf.square(h))
    step = tf.train.GradientDescentOptimizer(p.rate).minimize(loss)
    sess = tf.Session()
    sess.run(tf.global_variables_initializer())
    return sess, Case(lambda: sess.run([loss, step]), lambda: [sess.run(loss)])


def staticgraph(p: Params) -> Case:
    import staticgraph as tf
    from benchmarks import ours

    sess, case = train(tf, p, "auto")

    def facts() -> dict[str, Any]:
        seen = ours.facts(sess)
        whole, stored = train(tf, p, None)
        stored.step()
        seconds = []
        for which in (case, stored):
            best = float("inf")
            for _ in range(3):
                start = time.perf_counter()
                which.step()
                best = min(best, time.perf_counter() - start)
            seconds.append(best)
        planned = ours.facts(whole)["planned_bytes"]
        return seen | {
            "stored_bytes": planned,
            "part_of_planned_bytes": seen["planned_bytes"] / planned,
            "times_the_time": seconds[0] / seconds[1],
        }

    case.facts = facts
    return case


def torch(p: Params) -> Case:
    import torch
    from torch.utils.checkpoint import checkpoint

    start, *weights = map(torch.from_numpy, data(p))
    w, b = (torch.nn.Parameter(v) for v in weights)
    optimizer = torch.optim.SGD([w, b], lr=p.rate)

    def segment(h: Any) -> Any:
        for _ in range(p.segment):
            h = torch.tanh(h @ w + b)
        return h

    def loss() -> Any:
        h = start
        for _ in range(p.steps // p.segment):
            h = checkpoint(segment, h, use_reentrant=False)
        return h.square().mean()

    def step() -> float:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return value.item()

    def result() -> list[float]:
        with torch.no_grad():
            return [loss().item()]

    return Case(step, result)


def jax(p: Params) -> Case:
    import jax
    import jax.numpy as jnp

    start, *w = map(jnp.asarray, data(p))

    def loss(w: Any) -> Any:
        def step(h: Any, _: Any) -> Any:
            return jnp.tanh(h @ w[0] + w[1]), None

        @jax.checkpoint
        def segment(h: Any, _: Any) -> Any:
            return jax.lax.scan(step, h, None, length=p.segment)[0], None

        h, _ = jax.lax.scan(segment, start, None, length=p.steps // p.segment)
        return jnp.square(h).mean()

    @jax.jit
    def update(w: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(w)
        return value, jax.tree.map(lambda v, g: v - p.rate * g, w, grads)

    def step() -> float:
        nonlocal w
        value, w = update(w)
        return float(value)

    return Case(step, lambda: [float(loss(w))])
