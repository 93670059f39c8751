"""Shapes that only the run knows: of masks, of fed sizes, of ranges and slices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph as tf


def run(fetch: Any, feed: Any = None) -> Any:
    """One run in a session of its own."""
    with tf.Session() as sess:
        return sess.run(fetch, feed)


def test_boolean_mask_keeps_what_the_mask_selects() -> None:
    x = tf.placeholder(tf.float32, [None])
    kept = tf.boolean_mask(x, x > 0)
    doubled = kept * 2.0
    total = tf.reduce_sum(doubled)
    sess = tf.Session()
    for a in ([1, -1, 2], [-1], [], [3.0]):
        a = np.array(a, np.float32)
        got = sess.run([doubled, total, tf.shape(kept)], {x: a})
        np.testing.assert_array_equal(got[0], 2 * a[a > 0])
        assert got[1] == 2 * a[a > 0].sum() and got[2] == (a > 0).sum()


def test_the_gradient_through_a_mask_is_zero_where_nothing_was_kept() -> None:
    x = tf.placeholder(tf.float32, [None])
    grad = tf.gradients(tf.reduce_sum(tf.square(tf.boolean_mask(x, x > 0))), x)[0]
    np.testing.assert_array_equal(run(grad, {x: [1, -1, 3]}), [2, 0, 6])


def test_where_gives_the_positions() -> None:
    x = tf.placeholder(tf.bool, [None, None])
    at = tf.where(x)
    a = np.array([[True, False, True], [False, False, True]])
    np.testing.assert_array_equal(run(at, {x: a}), np.argwhere(a))
    assert run(tf.size(at), {x: np.zeros((2, 2), bool)}) == 0


def test_unique_gives_values_in_order_of_first_appearance() -> None:
    x = tf.placeholder(tf.int32, [None])
    values, index = tf.unique(x)
    got = run([values, index, values * 10], {x: [4, 2, 4, 7]})
    np.testing.assert_array_equal(got[0], [4, 2, 7])
    np.testing.assert_array_equal(got[1], [0, 1, 0, 2])
    np.testing.assert_array_equal(got[2], [40, 20, 70])


def test_range_of_a_fed_number() -> None:
    n = tf.placeholder(tf.int32, [])
    r = tf.range(n)
    sess = tf.Session()
    for k in (5, 0, 1, 9):
        got = sess.run([r, tf.reduce_sum(r * r), tf.shape(r)], {n: k})
        np.testing.assert_array_equal(got[0], np.arange(k))
        assert got[1] == (np.arange(k) ** 2).sum() and got[2] == k


def test_reshape_to_a_fed_shape() -> None:
    x = tf.placeholder(tf.float32, [None])
    shape = tf.placeholder(tf.int32, [2])
    y = tf.reshape(x, shape)
    rows = tf.reduce_sum(y, 1)
    sess = tf.Session()
    a = np.arange(6, dtype=np.float32)
    for s in ([2, 3], [3, 2], [6, 1], [-1, 2], [3, -1], [-1, 1]):
        got = sess.run([y, rows], {x: a, shape: s})
        np.testing.assert_array_equal(got[0], a.reshape(s))
        np.testing.assert_array_equal(got[1], a.reshape(s).sum(1))
    for s in ([4, 2], [-1, 4], [-1, -1]):
        with pytest.raises(ValueError, match="6"):
            sess.run(y, {x: a, shape: s})
    with pytest.raises(tf.errors.InvalidArgumentError, match="the shape holds the size -2"):
        sess.run(y, {x: a, shape: [-2, -3]})


def test_reshape_to_a_shape_of_fed_length() -> None:
    x = tf.placeholder(tf.float32, [6])
    shape = tf.placeholder(tf.int32, [None])
    y = tf.reshape(x, shape) * 2.0
    sess = tf.Session()
    a = np.arange(6, dtype=np.float32)
    for s in ([2, 3], [6], [1, 2, 3]):
        np.testing.assert_array_equal(sess.run(y, {x: a, shape: s}), 2 * a.reshape(s))


def test_slices_with_a_fed_begin() -> None:
    x = tf.placeholder(tf.float32, [None, 3])
    i = tf.placeholder(tf.int32, [])
    part = tf.slice(x, [i, 0], [2, 3]) + 1.0
    from_, one, ranged = x[i:], x[i], x[i : i + 2]
    a = np.arange(12, dtype=np.float32).reshape(4, 3)
    sess = tf.Session()
    for k in (0, 1, 2):
        got = sess.run([part, from_, one, ranged], {x: a, i: k})
        for g, w in zip(got, [a[k : k + 2] + 1, a[k:], a[k], a[k : k + 2]], strict=True):
            np.testing.assert_array_equal(g, w)


def test_arithmetic_on_the_shape_of_a_tensor() -> None:
    x = tf.placeholder(tf.float32, [None, None])
    rows, columns = tf.unstack(tf.shape(x))
    flat = tf.reshape(x, [rows * columns])
    half = tf.reshape(x, tf.stack([rows * 2, columns // 2]))
    filled = tf.fill([rows, columns + 1], 7.0)
    padded = tf.concat([x, tf.zeros(tf.stack([rows, 1]))], 1)
    mean = tf.reduce_sum(x) / tf.cast(tf.size(x), tf.float32)
    sess = tf.Session()
    for shape in ((2, 4), (3, 2), (1, 6)):
        a = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        got = sess.run([flat, half, filled, padded, mean], {x: a})
        np.testing.assert_array_equal(got[0], a.ravel())
        np.testing.assert_array_equal(got[1], a.reshape(shape[0] * 2, shape[1] // 2))
        np.testing.assert_array_equal(got[2], np.full((shape[0], shape[1] + 1), 7))
        np.testing.assert_array_equal(got[3], np.pad(a, [(0, 0), (0, 1)]))
        np.testing.assert_allclose(got[4], a.mean(), rtol=1e-5)


def test_the_shape_of_what_is_known_is_a_constant() -> None:
    x = tf.placeholder(tf.float32, [2, 3])
    assert tf.zeros(tf.shape(x)).shape.as_list() == [2, 3]
    y = tf.placeholder(tf.float32, [None, 3])
    assert tf.reshape(y, [-1, tf.shape(y)[1]]).shape.as_list() == [None, 3]


def test_top_k_of_a_fed_k() -> None:
    k = tf.placeholder(tf.int32, [])
    values, _ = tf.nn.top_k(tf.constant([1.0, 5.0, 3.0]), k)
    sess = tf.Session()
    for n in (1, 3):
        np.testing.assert_array_equal(sess.run(values, {k: n}), [5, 3, 1][:n])


def test_one_hot_and_tile_of_fed_sizes() -> None:
    n = tf.placeholder(tf.int32, [])
    sess = tf.Session()
    hot, tiled = tf.one_hot([0, 2], n), tf.tile(tf.constant([1, 2]), tf.reshape(n, [1]))
    for k in (3, 4):
        got = sess.run([hot, tiled], {n: k})
        np.testing.assert_array_equal(got[0], np.eye(k)[[0, 2]])
        np.testing.assert_array_equal(got[1], np.tile([1, 2], k))


def test_static_shapes_are_kept_as_far_as_they_are_known() -> None:
    x = tf.placeholder(tf.float32, [None, 3])
    assert tf.boolean_mask(x, tf.placeholder(tf.bool, [None])).shape.as_list() == [None, 3]
    assert tf.concat([x, x], 1).shape.as_list() == [None, 6]
    assert tf.matmul(x, tf.ones([3, 4])).shape.as_list() == [None, 4]


def test_the_same_mask_made_twice() -> None:
    x = tf.placeholder(tf.float32, [None, 3])
    given = np.array([[1, 2, 3], [-1, 0, 4], [2, -2, 5]], np.float32)
    first = tf.boolean_mask(x, x[:, 0] > 0) ** 2
    second = tf.boolean_mask(x, x[:, 0] > 0) * 3.0
    slope = tf.gradients(second**2, x)[0]
    with tf.Session() as sess:
        a, b, g = sess.run([first, second, slope], {x: given})
    kept = given[[0, 2]]
    np.testing.assert_array_equal(a, kept**2)
    np.testing.assert_array_equal(b, kept * 3)
    np.testing.assert_array_equal(g[[0, 2]], 18 * kept)
    np.testing.assert_array_equal(g[1], 0)


@pytest.mark.parametrize(
    ("make", "want"),
    [
        (lambda n, m, x: tf.zeros([n, 3]) + x[0], lambda n, m, x: np.zeros((n, 3)) + x[0]),
        (lambda n, m, x: tf.fill([n, m], 2.0) * x[0], lambda n, m, x: np.full((n, m), 2.0) * x[0]),
        (lambda n, m, x: tf.reshape(x, [n, -1]), lambda n, m, x: x.reshape(n, -1)),
        (lambda n, m, x: tf.reshape(x, tf.stack([n, m])), lambda n, m, x: x.reshape(n, m)),
        (lambda n, m, x: tf.tile(x, [n]), lambda n, m, x: np.tile(x, n)),
        (
            lambda n, m, x: tf.ones(tf.concat([[n], tf.shape(x)], 0)) * x,
            lambda n, m, x: np.ones((n, *x.shape)) * x,
        ),
        (
            lambda n, m, x: tf.nn.rnn_cell.GRUCell(3).zero_state(n, tf.float32) + x[1],
            lambda n, m, x: np.zeros((n, 3)) + x[1],
        ),
    ],
    ids=["zeros", "fill", "reshape", "stack", "tile", "concat", "state"],
)
def test_sizes_that_are_put_together_of_fed_numbers_run_natively(make: Any, want: Any) -> None:
    n, m = tf.placeholder(tf.int32, []), tf.placeholder(tf.int32, [])
    x = tf.placeholder(tf.float32, [None])
    y, data = make(n, m, x), np.arange(12, dtype=np.float32)
    with tf.Session() as sess:
        for k in (2, 3, 6, 2):
            got = sess.run(y, {n: k, m: 12 // k, x: data})
            np.testing.assert_array_equal(got, want(k, 12 // k, data))
        (exe,) = sess.executables()
        assert exe.bound
        assert exe.counts.calls == exe.counts.runs == 4


@pytest.mark.parametrize("make", [tf.zeros, tf.random_uniform])
def test_fed_sizes_that_are_negative(make: Any) -> None:
    n, k = tf.placeholder(tf.int32, []), tf.placeholder(tf.int64, [2])
    with tf.Session() as sess:
        for y, feed in ((make([2, n]), {n: -3}), (make(k), {k: [-3, 1]}), (make([n - 2]), {n: -1})):
            with pytest.raises(tf.errors.InvalidArgumentError, match="not negative, got -3"):
                sess.run(y, feed)


def test_an_element_of_a_long_vector_is_the_only_one_that_matters() -> None:
    lengths = tf.placeholder(tf.int32, [4096])
    y = tf.zeros([lengths[0], 2]) + 1.0
    with tf.Session() as sess:
        for k in range(4):
            sizes = np.full(4096, k, np.int32)
            sizes[0] = 3
            assert sess.run(y, {lengths: sizes}).shape == (3, 2)
        (exe,) = sess.executables()
        assert len(exe.function.sizes) < 8


def test_integers_that_are_put_together_again_and_again() -> None:
    n = tf.placeholder(tf.int32, [])
    chained = n
    for _ in range(2000):
        chained = tf.identity(chained)
    doubled = tf.stack([n])
    for _ in range(12):
        doubled = tf.concat([doubled[:1], doubled[:1]], 0)
    with tf.Session() as sess:
        assert sess.run(tf.zeros([chained, 1]), {n: 3}).shape == (3, 1)
        assert sess.run(tf.zeros(doubled), {n: 3}).shape == (3, 3)
