"""The memory that is planned, beside what is seen to be allocated."""

from __future__ import annotations

import gc
import signal
import tracemalloc
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import FeedError
from staticgraph.ir.arrays import ALIGNMENT
from staticgraph.runtime.footprint import Footprint


class Seen:
    """Counts the bytes of arrays that were allocated since it began and are still there."""

    def __enter__(self) -> Seen:
        gc.collect()
        tracemalloc.start()
        return self

    def __exit__(self, *error: object) -> None:
        tracemalloc.stop()

    def bytes(self) -> int:
        """So far."""
        shot = tracemalloc.take_snapshot()
        arrays = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
        return sum(t.size for t in shot.filter_traces([arrays]).traces)


def _two_layers(x: tf.Tensor, y: tf.Tensor, optimizer: Any) -> list[Any]:
    w1 = tf.Variable(tf.random_normal([1000, 400], seed=1, stddev=0.03))
    w2 = tf.Variable(tf.random_normal([400, 10], seed=2, stddev=0.05))
    hidden = tf.maximum(tf.matmul(x, w1), 0.0)
    loss = tf.reduce_mean(tf.square(tf.matmul(hidden, w2) - y))
    return [loss, optimizer.minimize(loss)]


def _mlp(x: tf.Tensor, y: tf.Tensor, optimizer: Any) -> list[Any]:
    h = x
    for k, (n, m) in enumerate([(1000, 256), (256, 256), (256, 10)]):
        w = tf.Variable(tf.random_normal([n, m], seed=k, stddev=0.05))
        h = tf.tanh(tf.matmul(h, w) + tf.Variable(tf.zeros([m])))
    loss = tf.reduce_mean(tf.square(h - y))
    return [loss, h, optimizer.minimize(loss)]


def _feed(x: tf.Tensor, y: tf.Tensor, batch: int) -> dict[tf.Tensor, np.ndarray]:
    return {x: np.ones((batch, 1000), np.float32), y: np.ones((batch, 10), np.float32)}


@pytest.mark.parametrize("net", [_two_layers, _mlp])
@pytest.mark.parametrize("kind", ["descent", "adam"])
def test_a_training_step_takes_what_was_planned(net: Any, kind: str) -> None:
    x, y = tf.placeholder(tf.float32, [None, 1000]), tf.placeholder(tf.float32, [None, 10])
    make = {"descent": tf.train.GradientDescentOptimizer, "adam": tf.train.AdamOptimizer}[kind]
    fetches = net(x, y, make(0.01))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(fetches, _feed(x, y, 2))
        for batch in (16, 256):
            feed = _feed(x, y, batch)
            with Seen() as seen:
                results = sess.run(fetches, feed)
                grown = seen.bytes()
            step = sess.explain().executables[-1].plans[-1].footprint
            assert step.variables + ALIGNMENT >= sess._store.held >= step.variables
            assert step.results == sum(np.asarray(r).nbytes for r in results if r is not None)
            large = [a.nbytes for a in feed.values() if a.nbytes > 1 << 16]
            assert step.reserved == sum(n + ALIGNMENT for n in large)
            new = step.total - step.variables - step.constants + step.reserved
            assert new == pytest.approx(grown, rel=0.05)


def test_the_whole_is_told_and_before_the_run() -> None:
    x, y = tf.placeholder(tf.float32, [None, 1000]), tf.placeholder(tf.float32, [None, 10])
    fetches = _two_layers(x, y, tf.train.GradientDescentOptimizer(0.01))
    feed = _feed(x, y, 64)
    with tf.Session() as sess, Seen() as seen:
        sess.run(tf.global_variables_initializer())
        (none,) = sess.explain(fetches).executables
        assert none.plans == ()
        (early,) = sess.explain(fetches, feed_dict=feed).executables
        assert early.sizes == {"n0": 64, "n1": 64}
        assert len(sess.executables()) == 1
        results = sess.run(fetches, feed)
        told = sess.explain()
        whole = seen.bytes()
    (plan,) = early.plans
    step = told.executables[-1].plans[-1].footprint
    assert plan.footprint.total == pytest.approx(step.total, rel=0.01)
    assert told.planned + step.reserved == pytest.approx(whole, rel=0.05)
    assert results[0] > 0


def test_plans_for_different_sizes_share_an_arena() -> None:
    x = tf.placeholder(tf.float32, [None, 1000])
    y = tf.reduce_sum(tf.matmul(x, tf.ones([1000, 1000])) * tf.reduce_sum(x), axis=1)
    need = {}

    def run(sess: tf.Session, n: int) -> None:
        value = np.arange(n * 1000, dtype=np.float32).reshape(n, 1000) / (n * 1000)
        want = (1000 * value.sum(1) * value.sum()).astype("f4")
        np.testing.assert_allclose(sess.run(y, {x: value}), want, rtol=1e-4)
        need[n] = sess.executables()[0].last.arena_bytes

    with tf.Session() as sess:
        for n in (64, 7, 33, 64, 7):
            run(sess, n)
        exe = sess.executables()[0]
        assert len(exe.plans) == 3
        assert exe.arena_bytes == need[64] > 64 * 4000
        assert sess.explain().executables[0].arenas == need[64] + ALIGNMENT
        told = sess.explain()
        prints = [p.footprint for p in told.executables[0].plans]
        assert told.variables == 0 and told.constants >= told.executables[0].constants
        apart = sum(f.staging + f.table for f in prints) + max(f.results for f in prints)
        shared = told.constants + told.calls + need[64] + ALIGNMENT
        assert told.planned == apart + shared
        for n in range(65, 95):  # each a little larger than the one before
            run(sess, n)
        assert len({id(p.arena) for p in exe.plans.values()}) == 4
        assert exe.arena_bytes < 6 * need[94]


def test_a_run_within_a_run_has_an_arena_of_its_own() -> None:
    steps = 1_000_000
    x = tf.placeholder(tf.float32, [None, 64])
    rng = np.random.default_rng(0)
    w = tf.constant(rng.standard_normal((64, 64)).astype("f4") * 0.2)
    last = tf.while_loop(
        lambda i, v: i < steps, lambda i, v: (i + 1, tf.tanh(tf.matmul(v, w))), [0, x * 2.0]
    )[1]
    within: list[Any] = []
    values = {n: rng.standard_normal((n, 64)).astype("f4") for n in (5, 3)}

    def handler(*_: object) -> None:
        if not within:
            within.append(None)  # once
            within[0] = sess.run(last, {x: values[5]})

    with tf.Session() as sess:
        alone = {n: sess.run(last, {x: v}) for n, v in values.items()}
        plans = list(sess.executables()[0].plans)
        old = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.04)
            around = sess.run(last, {x: values[3]})
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
        assert list(sess.executables()[0].plans) in (plans, plans[::-1])
    assert len(within) == 1
    np.testing.assert_array_equal(around, alone[3])
    np.testing.assert_array_equal(within[0], alone[5])


def test_host_steps_cut_the_arena_in_pieces() -> None:
    x = tf.placeholder(tf.float32, [300, 300])
    (y,) = tf.py_func(lambda a: [a * 2], [tf.exp(x)], [tf.float32])
    y.set_shape([300, 300])
    fetch = tf.tanh(y) + 1.0
    feed = {x: np.ones((300, 300), np.float32)}
    n = 4 * 300 * 300
    with tf.Session() as sess, Seen() as seen:
        (early,) = sess.explain(fetch, feed_dict=feed).executables
        (plan,) = early.plans
        before = seen.bytes()
        result = sess.run(fetch, feed)
        step = plan.footprint
        # what the host step reads and hands out; the result is written where the user gets it
        assert 2 * n <= step.arena < 2 * n + 1000
        held = step.total + step.reserved - n  # which is not kept when the run has ended
        assert held == pytest.approx(seen.bytes() - before, rel=0.05)
        assert [p.footprint.arena for p in sess.explain().executables[0].plans] == [
            n + ALIGNMENT, 1 + ALIGNMENT
        ]  # fmt: skip
    assert result.nbytes == n


def test_plans_that_cannot_run_again_are_let_go() -> None:
    v = tf.Variable(tf.ones([1000, 1000]))
    n = 4_000_000
    with tf.Session() as sess, Seen() as seen:
        sess.run(v.initializer)
        assert not sess.executables()[0].plans
        assert seen.bytes() < n + 100_000
        sess.run(v.initializer)  # is now written where it stays
        assert len(sess.executables()[0].plans) == 1
        assert seen.bytes() < n + 100_000
        assert sess.run(v)[-1, -1] == 1.0


def test_what_counts() -> None:
    c = tf.constant(np.arange(5000, dtype=np.float32))
    x = tf.placeholder(tf.float32, [5000])
    a = tf.Variable(np.zeros(5000, np.float32))
    b = tf.Variable(np.ones(5000, np.float32))
    swap = tf.group(tf.assign(a, b.read_value()), tf.assign(b, a.read_value()))
    n = 20_000
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run([c * tf.exp(x), swap], {x: np.zeros(5000)})
        step = sess.explain().executables[-1].plans[-1].footprint
    own = n + ALIGNMENT  # of an array that begins where a line of the cache does
    assert (step.constants, step.staging, step.variables) == (own, own, 2 * own)
    assert step.results == n + 2 * n  # what is handed out, and the values on their way
    assert step.reserved == 0
    assert step.total == step.arena + 4 * own + 3 * n + step.table
    both = step + step
    assert (both.total, both.table) == (2 * step.total, 2 * step.table)


def test_its_text() -> None:
    some = Footprint(arena=4096, variables=1000, table=64, reserved=70_000)
    assert str(some) == (
        "5,160 bytes planned: arena 4,096, variables 1,000, table 64; 70,000 reserved for feeds"
    )
    assert str(Footprint()) == "0 bytes planned"


def test_feeds_that_do_not_fit_are_refused() -> None:
    x = tf.placeholder(tf.float32, [None, 3])
    with tf.Session() as sess, pytest.raises(FeedError, match="shape"):
        sess.explain(tf.exp(x), feed_dict={x: np.zeros((2, 4))})
