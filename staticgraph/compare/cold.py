"""A fresh process that measures what the first steps of a graph cost.

`main` takes the names of a pair and a form, and a folder for machine code, and prints seconds as
JSON: the first process for it compiles everything, a second one takes it from there.  What a
process pays once, importing and starting LLVM, is paid before, with a small graph.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import staticgraph as tf
from staticgraph.compare.pair import GraphBuilder, Pair, started
from staticgraph.compare.pairs import chosen

CYCLE = 24  # steps of a program whose steps differ, in which everything that it needs has come


def cycle_of(pair: Pair) -> Sequence[Any]:
    """Items that are repeated; one where all steps are the same."""
    items = pair.items(CYCLE)
    return items if any(item is not None for item in items) else items[:1]


def builder_of(pair: Pair, form: str) -> GraphBuilder:
    """The builder of a static form."""
    return pair.static if form == "static" else pair.variants[form]


def _prepare() -> None:
    """Do what a process does once, with kernels that no pair has."""
    with tf.Graph().as_default(), tf.Session() as sess:
        x = tf.placeholder(tf.float32, [None, 3])
        w = tf.Variable(np.eye(3, dtype=np.float32) * 0.123)
        _, h = tf.while_loop(
            lambda i, _: i < 2, lambda i, h: (i + 1, tf.atan(tf.matmul(h, w))), [0, x]
        )
        loss = tf.reduce_sum(tf.atan(h) * 0.321)
        step = tf.train.GradientDescentOptimizer(0.123).minimize(loss)
        sess.run(tf.global_variables_initializer())
        for _ in range(4):
            sess.run([loss, step], {x: np.ones((2, 3), np.float32)})


def measure(pair: Pair, form: str, folder: str) -> dict[str, float]:
    """Seconds of building a graph and of compiling it, with a folder for machine code."""
    _prepare()
    values, cycle = pair.values(), cycle_of(pair)
    before = os.environ.get("STATICGRAPH_CACHE")
    os.environ["STATICGRAPH_CACHE"] = folder
    try:
        t0 = time.perf_counter()
        static = started(builder_of(pair, form), values)
        t1 = time.perf_counter()
        passes = []
        for _ in range(4):  # from the third run on nothing is new any more
            start = time.perf_counter()
            for item in cycle:
                static(item)
            passes.append(time.perf_counter() - start)
    finally:
        if before is None:
            del os.environ["STATICGRAPH_CACHE"]
        else:
            os.environ["STATICGRAPH_CACHE"] = before
    spent = sum(passes[:3]) - 3 * passes[3]
    return {"build_s": t1 - t0, "compile_s": max(0.0, spent)}


def main(argv: Sequence[str]) -> None:
    """Measure what the arguments name."""
    name, form, folder = argv
    (pair,) = (p for p in chosen([name]) if p.name == name)
    print(json.dumps(measure(pair, form, folder)))
