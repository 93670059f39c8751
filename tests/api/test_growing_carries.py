"""Loop variables whose sizes change from one iteration to the next."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph as tf

Shape = tf.TensorShape


@pytest.fixture(autouse=True)
def graph() -> Any:
    with tf.Graph().as_default() as g:
        yield g


def run(fetches: Any, feed: Any = None) -> Any:
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        return sess.run(fetches, feed)


def test_sentences_that_grow_in_a_batch_of_a_fed_size() -> None:
    batch, first = tf.placeholder(tf.int32, []), tf.placeholder(tf.int32, [])
    start = tf.fill([batch, first], 3)

    def body(t: Any, ids: Any, h: Any) -> Any:
        word = tf.cast(tf.reduce_sum(h, 1), tf.int32) + t
        return t + 1, tf.concat([ids, tf.expand_dims(word, 1)], 1), h * 1.5

    _, ids, h = tf.while_loop(
        lambda t, ids, h: t < 4, body, (0, start, tf.ones(tf.stack([batch, 2]))),
        shape_invariants=(Shape([]), Shape([None, None]), Shape([None, 2])),
    )  # fmt: skip
    with tf.Session() as sess:
        for n, m in ((2, 1), (1, 1), (3, 2), (2, 0), (0, 1)):
            got, state = sess.run([ids, h], {batch: n, first: m})
            want = [[*[3] * m, 2, 4, 6, 9]] * n
            np.testing.assert_array_equal(got, np.reshape(want, [n, m + 4]))
            assert state.shape == (n, 2)


@pytest.mark.parametrize(
    ("step", "size"),
    [
        (lambda a, x: tf.concat([a, a], 0), lambda n, k: n * 2**k),
        (lambda a, x: tf.concat([a, x], 0), lambda n, k: n + 3 * k),
        (lambda a, x: tf.concat([x, a, x], 0), lambda n, k: n + 6 * k),
        (lambda a, x: a[1:], lambda n, k: max(n - k, 0)),
        (lambda a, x: a[: tf.shape(a)[0] // 2], lambda n, k: n >> k),
    ],
    ids=["doubled", "more", "both sides", "fewer", "half"],
)
def test_sizes_that_come_with_the_run(step: Any, size: Any) -> None:
    n, x = tf.placeholder(tf.int32, []), tf.placeholder(tf.float32, [None])
    k = tf.placeholder(tf.int32, [])
    _, out = tf.while_loop(
        lambda i, a: i < k, lambda i, a: (i + 1, step(a, x)), (0, tf.ones([n])),
        shape_invariants=(Shape([]), Shape([None])),
    )  # fmt: skip
    with tf.Session() as sess:
        for first in (4, 1, 0):
            for times in (0, 1, 3):
                got = sess.run(out, {n: first, x: np.ones(3), k: times})
                assert got.tolist() == [1.0] * size(first, times)


def test_rows_that_are_added_to_none() -> None:
    x = tf.placeholder(tf.float32, [None, 2])
    _, rows = tf.while_loop(
        lambda i, a: i < tf.shape(x)[0], lambda i, a: (i + 1, tf.concat([x[i : i + 1], a], 0)),
        (0, x[:0]), shape_invariants=(Shape([]), Shape([None, 2])),
    )  # fmt: skip
    value = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(run(rows, {x: value}), value[::-1])


# ---------------------------------------------------------------- gradients beside them
def test_an_array_instead_has_a_gradient() -> None:
    x = tf.placeholder(tf.float32, [None])
    _, parts = tf.while_loop(
        lambda i, a: i < tf.shape(x)[0], lambda i, a: (i + 1, a.write(i, x[i] * 2.0)),
        [0, tf.TensorArray(tf.float32, size=tf.shape(x)[0])],
    )  # fmt: skip
    slope = tf.gradients(tf.reduce_sum(parts.stack() ** 3), x)[0]
    np.testing.assert_allclose(run(slope, {x: [1.0, 0.5, 2.0]}), [24.0, 6.0, 96.0])


def test_a_variable_that_grows_beside_one_that_is_differentiated() -> None:
    v = tf.get_variable("v", [2], initializer=tf.ones_initializer())
    _, seen, s = tf.while_loop(
        lambda i, seen, s: i < 3,
        lambda i, seen, s: (i + 1, tf.concat([seen, [i * i]], 0), s * v),
        [0, tf.zeros([0], tf.int32), tf.constant([2.0, 3.0])],
        shape_invariants=[Shape([]), Shape([None]), Shape([2])],
    )
    got, slope = run([seen, tf.gradients(s, v)[0]])
    assert got.tolist() == [0, 1, 4]
    assert slope.tolist() == [6.0, 9.0]
