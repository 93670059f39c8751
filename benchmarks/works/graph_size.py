"""Graphs of many operations: to build, to differentiate, to compile and run once.

Blocks of tanh(h·w + 1) one after the other, a sum, and its gradient.  The number of operations is
that of the TensorFlow graph with the gradient's part; it is about the same for others.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.case import Case, NotYet, Params

PER_BLOCK = 12  # operations that a block and its gradient add to a graph
VARIANTS: dict[str, dict[str, Any]] = {
    f"{n // 1000}k": {"ops": n, "quick": {"ops": n // 10}} for n in (1_000, 10_000, 100_000)
}
LARGEST = {"tf1": 100_000, "jax": 1_000, "pytensor": 100}
ROUNDS = 1
UNIT = "graph"
SIZE = 64
clock = time.perf_counter


def whole(work: Any) -> Case:
    """A case whose only round takes as long as all stages together."""
    seen: dict[str, Any] = {}

    def step() -> float:
        start = clock()
        seen.update(work())
        return clock() - start

    return Case(step, facts=lambda: seen, timed=True)


def limit(peer: str, p: Params) -> None:
    if p.ops > LARGEST[peer]:
        raise NotYet(f"not tried: it takes minutes beyond {LARGEST[peer]:,} operations")


def graph(tf: Any, p: Params) -> dict[str, Any]:
    """The program for a TensorFlow 1 front."""
    start = clock()
    x = tf.placeholder(tf.float32, [SIZE])
    w = tf.Variable(np.full(SIZE, 0.5, np.float32))
    h = x
    for _ in range(p.ops // PER_BLOCK):
        h = tf.tanh(h * w + 1.0)
    loss = tf.reduce_sum(h)
    built = clock()
    grads = tf.gradients(loss, [w])
    differentiated = clock()
    sess = tf.Session()
    sess.run(w.initializer)
    ready = clock()
    sess.run([loss, grads], {x: np.zeros(SIZE, np.float32)})
    first = clock()
    sess.run([loss, grads], {x: np.zeros(SIZE, np.float32)})
    again = clock() - first
    return {
        "operations": len(tf.get_default_graph().get_operations()),
        "build_s": built - start,
        "differentiate_s": differentiated - built,
        "compile_s": first - ready - again,
        "run_s": again,
    }


def staticgraph(p: Params) -> Case:
    import staticgraph as tf

    return whole(lambda: graph(tf, p))


def tf1(p: Params) -> Case:
    import tensorflow.compat.v1 as tf

    limit("tf1", p)
    tf.disable_v2_behavior()
    return whole(lambda: graph(tf, p))


def jax(p: Params) -> Case:
    import jax
    import jax.numpy as jnp

    limit("jax", p)

    def loss(w: Any, x: Any) -> Any:
        for _ in range(p.ops // PER_BLOCK):
            x = jnp.tanh(x * w + 1.0)
        return x.sum()

    def work() -> dict[str, Any]:
        w, x = jnp.full(SIZE, 0.5), jnp.zeros(SIZE)
        start = clock()
        traced = jax.jit(jax.value_and_grad(loss)).lower(w, x)
        built = clock()
        f = traced.compile()
        compiled = clock()
        jax.block_until_ready(f(w, x))
        return {
            "build_s": built - start,
            "compile_s": compiled - built,
            "run_s": clock() - compiled,
        }

    return whole(work)


def pytensor(p: Params) -> Case:
    import pytensor
    import pytensor.tensor as pt

    limit("pytensor", p)

    def work() -> dict[str, Any]:
        start = clock()
        x, w = pt.fvector(), pytensor.shared(np.full(SIZE, 0.5, np.float32))
        h = x
        for _ in range(p.ops // PER_BLOCK):
            h = pt.tanh(h * w + np.float32(1.0))
        loss = pt.sum(h)
        built = clock()
        grads = pytensor.grad(loss, [w])
        differentiated = clock()
        f = pytensor.function([x], [loss, *grads])
        f(np.zeros(SIZE, np.float32))
        return {
            "build_s": built - start, "differentiate_s": differentiated - built,
            "compile_s": clock() - differentiated,
        }  # fmt: skip

    return whole(work)
