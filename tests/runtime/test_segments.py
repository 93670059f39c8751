"""Programs with host steps: native segments between them, bound once for each set of sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import OutOfBoundsError
from staticgraph.ir.program import Host
from staticgraph.runtime.executable import Executable
from staticgraph.runtime.stepwise import Segment


def _chain(h: Any, length: int) -> Any:
    for _ in range(length):
        h = h * tf.rsqrt(tf.reduce_sum(h * h) + 1.0)
    return h


def _doubled(h: Any) -> Any:
    z = tf.py_func(lambda a: a * 2, [h], tf.float32)
    z.set_shape(h.shape)
    return z


def _only(sess: tf.Session) -> Executable:
    (exe,) = sess.executables()
    return exe


def test_native_steps_between_host_steps_are_one_call() -> None:
    x = tf.placeholder(tf.float32, [None, 8])
    y = _chain(_doubled(_chain(x, 4)), 4)
    with tf.Session() as sess:
        rng = np.random.default_rng(0)
        for rows in (3, 5, 3, 5):
            a = rng.normal(size=(rows, 8)).astype(np.float32)
            want = a.astype(np.float64)
            for k in range(8):
                want = 2 * want if k == 4 else want
                want = want / np.sqrt((want * want).sum() + 1)
            np.testing.assert_allclose(sess.run(y, {x: a}), want, rtol=1e-5)
        exe = _only(sess)
        assert sum(isinstance(s, Host) for s in exe.program.steps) == 1
        assert exe.counts.runs == 4
        assert exe.counts.plans == 4  # two segments, two sizes
        assert exe.counts.calls == 8


def test_results_do_not_change_when_the_segment_runs_again() -> None:
    x = tf.placeholder(tf.float32, [4])
    before = x + 1.0
    after = _doubled(before) * 3.0
    with tf.Session() as sess:
        first = sess.run([before, after], {x: np.zeros(4)})
        sess.run([before, after], {x: np.ones(4)})
        np.testing.assert_array_equal(first[0], np.ones(4))
        np.testing.assert_array_equal(first[1], np.full(4, 6.0))


def test_sizes_found_by_a_host_step_serve_the_segments_after_it() -> None:
    x = tf.placeholder(tf.float32, [None])
    kept = tf.boolean_mask(x, x > 0.0)
    y = tf.reduce_sum(tf.exp(kept)) + tf.cast(tf.size(kept), tf.float32)
    with tf.Session() as sess:
        for a in ([-1.0, 0.0, 1.0], [1.0, 2.0, 3.0, -4.0], [-1.0, -1.0]):
            v = np.array(a, np.float32)
            want = np.exp(v[v > 0]).sum() + (v > 0).sum()
            np.testing.assert_allclose(sess.run(y, {x: v}), want, rtol=1e-6)


def test_a_host_step_that_fails_changes_no_variable() -> None:
    v = tf.Variable([1.0, 2.0])
    fail = tf.placeholder(tf.bool, [])

    def check(flag: np.ndarray) -> np.float32:
        if flag:
            raise ValueError("asked to fail")
        return np.float32(1)

    grown = v.assign_add([1.0, 1.0])
    with tf.control_dependencies([grown]):
        checked = tf.py_func(check, [fail], tf.float32)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with pytest.raises(Exception, match="asked to fail"):
            sess.run([grown, checked], {fail: True})
        np.testing.assert_array_equal(sess.run(v), [1.0, 2.0])
        sess.run([grown, checked], {fail: False})
        np.testing.assert_array_equal(sess.run(v), [2.0, 3.0])


def test_a_segment_that_fails_after_a_host_step_changes_no_variable() -> None:
    v = tf.Variable([1.0, 2.0])
    i = tf.placeholder(tf.int32, [None])
    moved = tf.py_func(lambda a: a, [i], tf.int32)
    moved.set_shape([None])
    grown = v.assign_add([1.0, 1.0])
    with tf.control_dependencies([grown]):
        taken = tf.gather(v, moved)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with pytest.raises(OutOfBoundsError, match="index 7"):
            sess.run(taken, {i: [0, 7]})
        np.testing.assert_array_equal(sess.run(v), [1.0, 2.0])


def test_values_that_swap_between_variables_are_copied_in_time() -> None:
    a, b = tf.Variable([1.0, 1.0]), tf.Variable([2.0, 2.0])
    old_a = tf.identity(_doubled(a.read_value()))
    swap = tf.group(a.assign(b.read_value()), b.assign(old_a))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(swap)
        np.testing.assert_array_equal(sess.run([a, b]), [[2.0, 2.0], [2.0, 2.0]])
        sess.run(swap)
        np.testing.assert_array_equal(sess.run([a, b]), [[2.0, 2.0], [4.0, 4.0]])


def test_random_streams_go_on_in_segments_as_without_them() -> None:
    def draws(host: bool) -> list[np.ndarray]:
        with tf.Graph().as_default(), tf.Session() as sess:
            tf.set_random_seed(3)
            r = tf.random_uniform([5], seed=1)
            y = tf.py_func(lambda a: a, [r], tf.float32) if host else r
            return [sess.run(y) for _ in range(3)]

    np.testing.assert_array_equal(draws(True), draws(False))


def test_a_function_may_keep_and_change_its_arguments() -> None:
    kept: list[np.ndarray] = []

    def keep(a: np.ndarray) -> np.ndarray:
        kept.append(a)
        a += 1
        return a

    x = tf.placeholder(tf.float32, [2])
    h = x * 2.0
    z = tf.py_func(keep, [h], tf.float32)
    with tf.Session() as sess:
        np.testing.assert_array_equal(sess.run([h, z], {x: [1.0, 2.0]}), [[2.0, 4.0], [3.0, 5.0]])
        sess.run(z, {x: [5.0, 6.0]})
        np.testing.assert_array_equal(kept[0], [3.0, 5.0])


def test_segments_keep_few_plans() -> None:
    x = tf.placeholder(tf.float32, [None])
    y = _doubled(x * 3.0) + 1.0
    with tf.Session() as sess:
        for n in range(1, 20):
            np.testing.assert_array_equal(sess.run(y, {x: np.ones(n)}), np.full(n, 7.0))
        stepwise = _only(sess).stepwise
        assert stepwise is not None
        made = [s for s in stepwise.items if isinstance(s, Segment)]
        assert made
        assert all(len(s.plans) <= 8 for s in made)


def test_large_values_cross_host_steps_unstaged() -> None:
    x = tf.placeholder(tf.float32, [None, 3])
    y = tf.reduce_sum(_doubled(x + 1.0), 0)
    with tf.Session() as sess:
        a = np.arange(90_000, dtype=np.float32).reshape(-1, 3) % 7
        np.testing.assert_array_equal(sess.run(y, {x: a}), (2 * (a + 1)).sum(0))
        np.testing.assert_array_equal(sess.run(y, {x: a[::2]}), (2 * (a[::2] + 1)).sum(0))


def test_a_size_that_turns_out_to_be_a_constant() -> None:
    x = tf.placeholder(tf.float32, [None])
    zeros = tf.fill([tf.shape(x)[0]], 0)
    n = tf.reduce_sum(tf.constant([2, 0, 1, 3]) + zeros)  # 6, folded, where x has four
    inside = tf.while_loop(
        lambda i, t: i < 3, lambda i, t: (i + 1, t + tf.reduce_sum(tf.range(n + 0 * i))), (0, 0)
    )[1]
    with tf.Session() as sess:
        got, total = sess.run([tf.range(n), inside], {x: np.ones(4)})
        np.testing.assert_array_equal(got, np.arange(6))
        assert total == 3 * 15
        np.testing.assert_array_equal(sess.run(tf.range(n), {x: np.ones(1)}), np.arange(6))
