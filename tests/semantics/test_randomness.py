"""Random draws: what repeats, what advances and what differs."""

from __future__ import annotations

import numpy as np
import pytest

import staticgraph as tf


def test_each_run_draws_anew() -> None:
    x = tf.random_normal([4], seed=1)
    sess = tf.Session()
    assert not np.array_equal(sess.run(x), sess.run(x))


def test_two_sessions_draw_the_same_from_a_seed() -> None:
    x = tf.random_normal([4], seed=1)
    a, b = tf.Session(), tf.Session()
    for _ in range(3):
        np.testing.assert_array_equal(a.run(x), b.run(x))


def test_a_graph_seed_makes_every_draw_repeat() -> None:
    def draws() -> list[np.ndarray]:
        with tf.Graph().as_default(), tf.Session() as sess:
            tf.set_random_seed(7)
            ops = [tf.random_uniform([3]), tf.random_normal([3]), tf.truncated_normal([3])]
            return [*sess.run(ops), *sess.run(ops)]

    first, second = draws(), draws()
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len({a.tobytes() for a in first}) == 6


@pytest.mark.parametrize("make", [
    lambda: tf.random_uniform([8]), lambda: tf.random_normal([8]), lambda: tf.truncated_normal([8]),
    lambda: tf.random_uniform([8], maxval=10**9, dtype=tf.int64),
    lambda: tf.random_shuffle(tf.range(50)), lambda: tf.multinomial(tf.zeros([1, 100]), 30),
])  # fmt: skip
def test_without_a_seed_two_sessions_differ(make: object) -> None:
    x = make()  # type: ignore[operator]
    a, b = tf.Session(), tf.Session()
    assert not np.array_equal(a.run(x), b.run(x))


def test_without_a_seed_two_graphs_differ() -> None:
    def draw() -> np.ndarray:
        with tf.Graph().as_default(), tf.Session() as sess:
            return sess.run(tf.random_normal([8]))  # type: ignore[no-any-return]

    assert not np.array_equal(draw(), draw())


def test_two_operations_without_a_seed_differ_in_one_run() -> None:
    a, b = tf.Session().run([tf.random_normal([8]), tf.random_normal([8])])
    assert not np.array_equal(a, b)


def test_all_readers_of_a_draw_see_the_same_one() -> None:
    x = tf.random_normal([5])
    a, b, c = tf.Session().run([x, x + 0.0, x * 2.0])
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(2 * a, c)


def test_a_gradient_sees_the_draw_of_the_forward_pass() -> None:
    x = tf.placeholder(tf.float32, [100])
    y = tf.nn.dropout(x, 0.5)
    grad = tf.gradients(y, x)[0]
    sess = tf.Session()
    for _ in range(3):
        out, g = sess.run([y, grad], {x: np.ones(100, np.float32)})
        np.testing.assert_array_equal(out, g)


def test_a_draw_that_is_not_needed_does_not_advance() -> None:
    x, y = tf.random_normal([4], seed=1), tf.random_normal([4], seed=2)
    a, b = tf.Session(), tf.Session()
    a.run(y)
    np.testing.assert_array_equal(a.run(x), b.run(x))


def test_draws_do_not_depend_on_what_else_is_fetched() -> None:
    x = tf.random_normal([3, 2], seed=4)
    mean = tf.reduce_mean(tf.exp(x))
    a, b = tf.Session(), tf.Session()
    first = a.run(x)
    np.testing.assert_allclose(b.run(mean), np.exp(first).mean(), rtol=1e-6)
    np.testing.assert_array_equal(a.run(x), b.run(x))


def test_a_draw_of_fed_size_advances_with_what_it_used() -> None:
    n = tf.placeholder(tf.int32, [])
    x = tf.random_uniform([n], seed=3)
    sess = tf.Session()
    for k in (3, 0, 7, 3):
        got = sess.run(x, {n: k})
        assert got.shape == (k,) and ((got >= 0) & (got < 1)).all()


def test_an_initializer_with_a_seed_gives_the_same_in_each_session() -> None:
    v = tf.get_variable("v", [3], initializer=tf.random_normal_initializer(seed=5))
    a, b = tf.Session(), tf.Session()
    for s in (a, b):
        s.run(v.initializer)
    np.testing.assert_array_equal(a.run(v), b.run(v))
