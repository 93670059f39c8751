"""What a session tells that it takes, beside the arrays that are there: whole programs."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticgraph as tf

Program = tuple[Any, dict[tf.Tensor, np.ndarray]]  # fetches, feeds
PART = 0.05
# Bytes that are no session's: a graph keeps what it knows of shapes, some bytes an operation, and
# all sessions share a block of 280 bytes by which native code knows the interpreter.
SHARED = 512


def _numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32) * 0.1


WEIGHTS = [_numbers(128, 128) for _ in range(12)]  # each of 64 KiB
LARGE = _numbers(300, 400)
ROWS = np.ones((32, 128), np.float32)


def number() -> Program:
    """A number."""
    x = tf.placeholder(tf.float32, [])
    return x * 2.0 + 1.0, {x: np.float32(3.0)}


def cubic() -> Program:
    """Four variables of one number each."""
    x, y = tf.placeholder(tf.float32, [2000]), tf.placeholder(tf.float32, [2000])
    a, b, c, d = (tf.Variable(np.float32(k)) for k in range(4))
    loss = tf.reduce_sum(tf.square(a + b * x + c * x**2 + d * x**3 - y))
    step = tf.train.GradientDescentOptimizer(1e-6).minimize(loss)
    return [loss, step], {x: np.ones(2000, np.float32), y: np.ones(2000, np.float32)}


def layers() -> Program:
    """Starting values that are given as arrays."""
    x = tf.placeholder(tf.float32, [None, 128])
    h = x
    for w in WEIGHTS:
        h = tf.nn.relu(tf.matmul(h, tf.Variable(w)) + tf.Variable(np.zeros(128, np.float32)))
    loss = tf.reduce_mean(tf.square(h))
    return [loss, tf.train.GradientDescentOptimizer(0.01).minimize(loss)], {x: ROWS}


def moments() -> Program:
    """An optimizer with two more variables for each; together they are worth a block."""
    x = tf.placeholder(tf.float32, [None, 300])
    w, v = tf.Variable(LARGE), tf.Variable(LARGE[:, ::-1])
    loss = tf.reduce_mean(tf.square(tf.matmul(x, w) - tf.matmul(x, v)))
    return [loss, tf.train.AdamOptimizer().minimize(loss)], {x: np.ones((8, 300), np.float32)}


def recurrent() -> Program:
    """A loop with its gradient."""
    x = tf.placeholder(tf.float32, [20, None, 128])
    w = tf.Variable(WEIGHTS[0])
    last = tf.scan(lambda h, row: tf.tanh(tf.matmul(h + row, w)), x, tf.zeros([32, 128]))
    loss = tf.reduce_mean(tf.square(last[-1]))
    step = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
    return [loss, step], {x: np.ones((20, 32, 128), np.float32)}


def constants() -> Program:
    """Constants of two executables, those that are folded, and those that are too short."""
    x = tf.placeholder(tf.float32, [300, 400])
    c, few = tf.constant(LARGE), tf.constant(_numbers(7))
    return [tf.exp(x) * c + tf.sqrt(c * c), tf.cumsum(few) + x[0, :7], c], {x: LARGE}


def table() -> Program:
    """Rows of a table, and draws."""
    rows = tf.placeholder(tf.int32, [None])
    t = tf.Variable(tf.random_uniform([1000, 64], seed=3))
    noise = tf.random_normal([5, 64], seed=4)
    return tf.gather(t, rows) + noise, {rows: np.arange(5, dtype=np.int32)}


def words() -> Program:
    """What is done by the host, between two native parts."""
    x = tf.placeholder(tf.float32, [200, 200])
    (y,) = tf.py_func(lambda a: [a * 2], [tf.exp(x)], [tf.float32])
    y.set_shape([200, 200])
    return tf.tanh(y) * 3.0, {x: np.ones((200, 200), np.float32)}


PROGRAMS = [number, cubic, layers, moments, recurrent, constants, table, words]


def _arrays() -> int:
    """Bytes of the package's arrays that were made since tracing began and are still there."""
    gc.collect()
    domain = np.lib.tracemalloc_domain
    ours = tracemalloc.Filter(True, f"{Path(tf.__file__).parent}/*", domain=domain)
    shot = tracemalloc.take_snapshot().filter_traces([tracemalloc.DomainFilter(True, domain)])
    return sum(t.size for t in shot.filter_traces([ours]).traces)


@pytest.mark.parametrize("runs", [1, 6])  # through Python; and natively, where that can be
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_a_program_takes_what_is_told(program: Callable[[], Program], runs: int) -> None:
    gc.collect()
    tracemalloc.start()
    try:
        fetches, feed = program()
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            for _ in range(runs):
                results = sess.run(fetches, feed)
            if runs > 1:
                results = None  # which native code makes in no file of ours
            seen = _arrays()
            told = sess.explain()
    finally:
        tracemalloc.stop()
    prints = [p.footprint for e in told.executables for p in e.plans]
    planned = told.planned + sum(f.reserved for f in prints)
    planned -= sum(e.results for e in told.executables) if results is None else 0
    assert abs(planned - seen) <= max(PART * seen, SHARED), (planned, seen, str(told))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_it_is_told_before_the_run(program: Callable[[], Program]) -> None:
    fetches, feed = program()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        (early,) = sess.explain(fetches, feed_dict=feed).executables
        sess.run(fetches, feed)
        (late,) = sess.explain(fetches).executables
    (before,) = (p.footprint for p in early.plans)
    if program is words:  # two parts, and what goes from one to the other
        assert before.total > sum(p.footprint.total for p in late.plans)
        return
    (after,) = (p.footprint for p in late.plans)
    for what in ("arena", "staging", "constants", "variables", "results", "reserved"):
        assert getattr(before, what) == getattr(after, what), what
    assert abs(before.total - after.total) <= PART * after.total + SHARED


def test_what_no_plan_holds_is_not_counted() -> None:
    x = tf.placeholder(tf.float32, [None, 300])
    c = tf.constant(LARGE)
    y, z = tf.matmul(x, c), tf.matmul(x * 2.0, c)
    n = LARGE.nbytes
    with tf.Session() as sess:
        assert sess.explain().constants - n in range(128)
        for rows in (5, 6):
            sess.run(y, {x: np.ones((rows, 300))})
            sess.run(z, {x: np.ones((rows, 300))})
        told = sess.explain()
        assert [e.constants - n in range(128) for e in told.executables] == [True] * 2
        assert told.constants - n in range(256)  # both read what the graph holds
        results = [p.footprint.results for e in told.executables for p in e.plans]
        assert sorted(results) == [5 * 1600, 5 * 1600, 6 * 1600, 6 * 1600]
        arenas = sum(e.arenas for e in told.executables)
        rest = [p.footprint.staging + p.footprint.table for e in told.executables for p in e.plans]
        assert told.planned == told.constants + told.calls + arenas + sum(rest) + 2 * 6 * 1600


def test_a_block_counts_as_long_as_one_of_its_variables_is_there() -> None:
    variables = [tf.Variable(LARGE, validate_shape=False) for _ in range(4)]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        block = 4 * LARGE.nbytes + 64
        assert sess.explain().variables == block
        sess.run(tf.assign(variables[0], LARGE[:5], validate_shape=False))
        assert sess.explain().variables == block + LARGE[:5].nbytes + 64


def test_step_by_step_only_variables_that_change_places_are_copied() -> None:
    a, b, c = (tf.Variable(np.full((400, 300), k, np.float32)) for k in range(3))
    with tf.control_dependencies([a.read_value(), b.read_value()]):
        (told,) = tf.py_func(lambda: [np.float32(1.0)], [], [tf.float32])
    told.set_shape([])
    swap = [tf.assign(a, b.read_value()).op, tf.assign(b, a.read_value()).op]
    swap.append(tf.assign(c, c * 2.0 + told).op)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for k in range(3):
            sess.run(swap)
            want = [1.0, 0.0] if k % 2 == 0 else [0.0, 1.0]
            assert [float(v[-1, -1]) for v in sess.run([a, b])] == want
            assert (sess.run(a) == want[0]).all() and (sess.run(b) == want[1]).all()
            assert (sess.run(c) == 2.0 ** (k + 1) * 3 - 1).all()
        (exe,) = [e for e in sess.executables() if e.stepwise is not None]
        gc.collect()
        tracemalloc.start()
        try:
            sess.run(swap)
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        n = 4 * 400 * 300
        assert 2 * n <= most < 3 * n  # the values that change places, and none that is new
        assert exe.counts.runs == 4
