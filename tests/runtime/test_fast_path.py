"""Running one thing over and over: what is made once, and what still goes the long way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import FeedError
from staticgraph.runtime import plan as plans
from staticgraph.runtime.executable import Executable


def _only(sess: tf.Session) -> Executable:
    (exe,) = sess.executables()
    return exe


def _mlp() -> tuple[Any, Any, Any]:
    x = tf.placeholder(tf.float32, [None, 4])
    w = tf.Variable(np.ones((4, 3), np.float32))
    loss = tf.reduce_mean(tf.tanh(tf.matmul(x, w)) ** 2)
    return x, loss, tf.train.GradientDescentOptimizer(0.1).minimize(loss)


def test_one_plan_and_one_native_call_for_each_run() -> None:
    x, loss, step = _mlp()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        before = set(sess.executables())
        for k in range(10):
            sess.run([loss, step], {x: np.full((5, 4), k / 10, np.float32)})
        (exe,) = set(sess.executables()) - before
        assert exe.bound
        assert (exe.counts.runs, exe.counts.plans, exe.counts.calls) == (10, 1, 10)


def test_a_run_allocates_no_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    x, loss, step = _mlp()
    a = np.ones((5, 4), np.float32)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        call = sess.make_callable([loss, step], [x])
        want = call(a)[0]

        def refuse(*args: Any) -> None:
            raise AssertionError("a buffer was allocated")

        monkeypatch.setattr(plans, "aligned_empty", refuse)
        assert call(a)[0] < want
        assert call(a.tolist())[0] < want


def test_the_quick_way_is_taken_from_the_second_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = tf.placeholder(tf.float32, []), tf.placeholder(tf.float32, [])
    y = a * b + 1.0
    with tf.Session() as sess:
        call = sess.make_callable(y, [a, b])
        for _ in range(2):
            sess.run(y, {a: 2.0, b: 3.0})
            call(2.0, 3.0)
        monkeypatch.setattr(Executable, "run", None)
        assert call(2.0, 5.0) == 11.0
        assert call(np.float32(2), np.array(6.0, np.float32)) == 13.0
        assert call(np.float64(2), 3) == 7.0
        got = sess.run(y, {a: 4.0, b: 3})
        assert got == 13.0
        assert type(got) is np.float32


def test_results_are_fresh_every_time() -> None:
    x = tf.placeholder(tf.float32, [None])
    y = x + 1.0
    with tf.Session() as sess:
        call = sess.make_callable([y, x], [x])
        a = np.zeros(3, np.float32)
        first, fed = call(a), call(a)[1]
        first[0][:] = 9
        fed[:] = 7
        assert a.tolist() == [0.0, 0.0, 0.0]
        assert call(a)[0].tolist() == [1.0, 1.0, 1.0]


def test_other_shapes_and_types_go_the_long_way_and_come_back() -> None:
    x = tf.placeholder(tf.float32, [None])
    total = tf.reduce_sum(x)
    with tf.Session() as sess:
        call = sess.make_callable(total, [x])
        for n in (3, 3, 4, 3, 0, 3, 1):
            assert call(np.ones(n, np.float32)) == n
            assert call(np.ones(n)) == n
            assert call(np.ones(n, np.int64)) == n
            assert call([1.0] * n) == n
            assert call(np.ones(2 * n, np.float32)[::2]) == n
        assert _only(sess).counts.plans == 4


def test_values_that_do_not_fit_are_refused_as_on_the_first_run() -> None:
    i = tf.placeholder(tf.int8, [])
    x = tf.placeholder(tf.float32, [2])
    y = tf.cast(i, tf.float32) + x
    with tf.Session() as sess:
        call = sess.make_callable(y, [i, x])
        good = np.ones(2, np.float32)
        for _ in range(3):
            assert call(1, good).tolist() == [2.0, 2.0]
            with pytest.raises(FeedError):
                call(300, good)
            with pytest.raises(FeedError):
                call(1.5, good)
            with pytest.raises(FeedError):
                call(1, np.ones(3, np.float32))
            with pytest.raises(FeedError):
                call(1, np.ones(2, np.complex64))


def test_large_feeds_are_read_in_place_again_and_again() -> None:
    x = tf.placeholder(tf.float32, [None])
    y, back = tf.reduce_sum(x), x * 1.0
    with tf.Session() as sess:
        call = sess.make_callable([y, back, x], [x])
        for k in range(4):
            a = np.full(40_000, k, np.float32)
            total, copy, same = call(a)
            assert total == 40_000 * k
            np.testing.assert_array_equal(copy, a)
            np.testing.assert_array_equal(same, a)
            assert not np.shares_memory(same, a)
            assert call(a.astype(np.float64))[0] == 40_000 * k
            assert call(np.repeat(a, 2)[::2])[0] == 40_000 * k


def test_large_batches_of_matrices_with_broadcasting_are_read_in_place() -> None:
    rng = np.random.default_rng(0)
    x = tf.placeholder(tf.float32, [2, 1, None, 32])
    y = tf.placeholder(tf.float32, [1, 3, 32, None])
    z = tf.matmul(x, y)
    with tf.Session() as sess:
        call = sess.make_callable(z, [x, y])
        for _ in range(3):
            a = rng.normal(size=(2, 1, 512, 32)).astype(np.float32)
            b = rng.normal(size=(1, 3, 32, 512)).astype(np.float32)
            np.testing.assert_allclose(call(a, b), a @ b, rtol=1e-4, atol=1e-4)


def test_a_variable_that_gets_a_value_or_a_new_shape_ends_the_quick_way() -> None:
    v = tf.Variable(np.zeros(2, np.float32), validate_shape=False)
    n = tf.placeholder(tf.int32, [])
    grow = tf.assign(v, tf.ones([n]), validate_shape=False)
    total = tf.reduce_sum(v)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        read = sess.make_callable(total)
        assert [read(), read()] == [0.0, 0.0]
        for k in (3, 5, 5, 2):
            sess.run(grow.op, {n: k})
            assert [read(), read()] == [k, k]


def test_random_numbers_go_on_in_quick_runs() -> None:
    tf.set_random_seed(7)
    r = tf.random_uniform([3], seed=1)
    with tf.Session() as sess, tf.Session() as other:
        call = sess.make_callable(r)
        got = np.array([call() for _ in range(5)])
        assert len(np.unique(got)) == 15
        np.testing.assert_array_equal(got, [other.run(r) for _ in range(5)])


def test_one_session_from_a_function_that_it_calls() -> None:
    x = tf.placeholder(tf.float32, [])
    sess = tf.Session()

    def below(v: np.float32) -> np.float32:
        return np.float32(sess.run(y, {x: v - 1})) if v > 0 else np.float32(0)

    y = tf.py_func(below, [x * 1.0], tf.float32) + x
    with sess:
        assert sess.run(y, {x: 4.0}) == 10.0
        assert sess.run(y, {x: 4.0}) == 10.0
