"""Which arrays are written past the caches."""

from __future__ import annotations

from typing import Any

import numpy as np

import staticgraph as tf
from staticgraph.ir.kernel import Pointer
from staticgraph.ir.program import Launch, Program
from staticgraph.runtime.compile import function_stages


def program(fetches: Any) -> Program:
    p = function_stages(tf.get_default_graph(), fetches).program
    assert p is not None
    return p


def streamed(p: Program) -> list[tuple[int, ...]]:
    """The shapes of what each launch writes past the caches."""
    return [
        a.dims  # type: ignore[union-attr]
        for s in p.steps
        if isinstance(s, Launch)
        for q, a in zip(s.kernel.params, s.args, strict=True)
        if isinstance(q, Pointer) and q.streamed
    ]


def test_what_is_larger_than_the_caches() -> None:
    x = tf.placeholder(tf.float32, [3000, 2000])
    assert streamed(program(x * 2.0 + 1.0)) == [(3000, 2000)]
    assert streamed(program(x[:1000] * 2.0 + 1.0)) == []  # the rest is not touched
    i = tf.placeholder(tf.int32, [500])
    assert streamed(program(tf.gather(x, i))) == []
    x = tf.placeholder(tf.float32, [1500, 2000])
    assert streamed(program(x * 2.0 + 1.0)) == []


def test_open_sizes_are_taken_for_small() -> None:
    x = tf.placeholder(tf.float32, [None, 2000])
    assert streamed(program(x * 2.0 + 1.0)) == []


def test_rows_of_no_elements() -> None:
    x = tf.placeholder(tf.float32, [None, 0])
    assert streamed(program(tf.reduce_sum(x, 1) + 1.0)) == []


def test_what_waits_for_arithmetic_is_written_as_usual() -> None:
    x = tf.placeholder(tf.float32, [6_000_000])
    assert streamed(program(tf.exp(x) / tf.tanh(x))) == [(6_000_000,)]
    assert streamed(program(tf.lgamma(x) * tf.erf(x) * tf.digamma(x))) == []


def test_what_a_later_step_reads_stays_where_it_can_be_found() -> None:
    x = tf.placeholder(tf.float32, [2500, 2000])  # 20 MB
    w = tf.placeholder(tf.float32, [2000, 8])
    y = x * 2.0
    assert streamed(program([y, tf.matmul(y, w)])) == []
    x = tf.placeholder(tf.float32, [5000, 2000])  # 40 MB are not to be found in any case
    y = x * 2.0
    assert streamed(program([y, tf.matmul(y, w)])) == [(5000, 2000)]


def test_a_variable_that_is_updated_in_place_is_in_the_cache_already() -> None:
    with tf.variable_scope("stream"):
        v = tf.get_variable("v", [3000, 2000])
        w = tf.get_variable("w", [3000, 2000])
    assert streamed(program(v.assign_sub(0.1 * w).op)) == []
    assert streamed(program(v.assign(0.1 * w).op)) == [(3000, 2000)]


def test_small_results_of_large_launches_are_left_alone() -> None:
    x = tf.placeholder(tf.float32, [8000, 2000])
    assert streamed(program(tf.reduce_sum(x, 1))) == []
    assert streamed(program([tf.reduce_sum(x, 1), tf.nn.relu(x)])) == [(8000, 2000)]
    assert streamed(program(tf.nn.softmax(x))) == [(8000, 2000)]


def test_the_values_are_the_same() -> None:
    n = 4_500_001  # not a multiple of anything
    x = tf.placeholder(tf.float32, [n])
    y = tf.nn.relu(x) * 2.0 + 1.0
    data = np.random.default_rng(0).normal(size=n).astype("f4")
    want = np.maximum(data, 0) * 2 + 1
    for threads in (1, 2, 3):
        config = tf.ConfigProto(intra_op_parallelism_threads=threads)
        with tf.Session(config=config) as sess:
            np.testing.assert_array_equal(sess.run(y, {x: data}), want)
            assert streamed(sess.executables()[0].program) == [(n,)]
