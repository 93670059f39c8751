"""`repeat`, `unravel_index`, `IndexedSlices`, and functions whose gradient is let through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import DtypeError, ShapeError


@pytest.fixture(autouse=True)
def graph() -> Any:
    with tf.Graph().as_default() as g:
        yield g


def run(fetches: Any, feed: Any = None) -> Any:
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        return sess.run(fetches, feed)


@pytest.mark.parametrize("fed", [False, True])
@pytest.mark.parametrize(
    ("shape", "repeats", "axis"),
    [((4,), 3, None), ((4,), [2, 0, 1, 3], 0), ((2, 3), [1, 2, 0], 1), ((2, 3), 2, -1),
     ((2, 3), [3], 0), ((2, 3), 2, None), ((0, 3), 2, 0), ((2,), [0, 0], 0)],
)  # fmt: skip
def test_repeat_is_numpys(shape: Any, repeats: Any, axis: Any, fed: bool) -> None:
    a = np.arange(float(np.prod(shape))).reshape(shape) + 1
    x = tf.placeholder(tf.float64, [None] * len(shape) if fed else shape)
    y = tf.repeat(x, repeats, axis)
    got, slope = run([y, tf.gradients(y * y, x)[0]], {x: a})
    np.testing.assert_array_equal(got, np.repeat(a, repeats, axis))
    times = np.repeat(np.ones_like(a), repeats, axis)
    assert slope.sum() == pytest.approx((2 * got * times).sum())
    assert slope.shape == a.shape


def test_repeats_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match="there are 3 slices and 2 repeats"):
        tf.repeat([1, 2, 3], [1, 2])
    with pytest.raises(DtypeError, match="repeats are integers, got float32"):
        tf.repeat([1, 2, 3], 1.5)
    n = tf.placeholder(tf.int32, [None])
    y = tf.repeat([1, 2, 3], n)
    with pytest.raises(tf.errors.InvalidArgumentError, match="how often is at least 0"):
        run(y, {n: [1, -1, 2]})
    with pytest.raises((ShapeError, tf.errors.OpError, tf.errors.FeedError)) as found:
        run(y, {n: [1, 2]})
    assert "test_repeats.py:" in str(found.value)


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_unravel_index_is_numpys(kind: Any) -> None:
    i = tf.placeholder(kind, [None])
    dims = tf.placeholder(kind, [None])
    y = tf.unravel_index(i, dims)
    numbers, shape = np.array([0, 5, 23, 7], kind), (2, 3, 4)
    got = run(y, {i: numbers, dims: shape})
    assert got.dtype == kind
    np.testing.assert_array_equal(got, np.unravel_index(numbers, shape))
    assert run(tf.unravel_index(7, [2, 4])).tolist() == [1, 3]
    for wrong in (24, -1):
        with pytest.raises(tf.errors.InvalidArgumentError, match="an index is outside the shape"):
            run(y, {i: [wrong], dims: shape})
    with pytest.raises(ShapeError, match="a scalar or a vector"):
        tf.unravel_index([[1]], [2, 2])


def test_slices_become_a_tensor_where_one_is_needed() -> None:
    w = tf.get_variable("w", [4, 2], initializer=tf.zeros_initializer())
    g = tf.IndexedSlices(tf.ones([3, 2]), [1, 3, 1], [4, 2])
    train = tf.train.GradientDescentOptimizer(0.5).apply_gradients([(g, w)])
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(train)
        np.testing.assert_array_equal(sess.run(w)[:, 0], [0, -1, 0, -0.5])
    np.testing.assert_array_equal(run(tf.add(g, 1.0))[:, 1], [1, 3, 1, 2])
    assert tf.convert_to_tensor_or_indexed_slices(g) is g
    assert tf.convert_to_tensor_or_indexed_slices(2.0).dtype is tf.float32
    assert (g.dtype, g.values.shape, g.graph) == (tf.float32, [3, 2], tf.get_default_graph())
    (slope,) = tf.gradients(tf.gather(w, [0, 0]), w)
    assert not isinstance(slope, tf.IndexedSlices)
    with pytest.raises(ShapeError, match="the shape of the whole is not known") as found:
        tf.convert_to_tensor(tf.IndexedSlices(tf.ones([1]), [0]))
    assert "hint: give dense_shape" in str(found.value)


def test_gradients_that_are_let_through() -> None:
    x = tf.constant([0.4, 1.6])
    w = tf.get_variable("w", [2], initializer=tf.ones_initializer())
    straight = tf.grad_pass_through(lambda v: tf.round(v * w))(x)
    got = run([straight, tf.gradients(straight * [2.0, 3.0], x)[0]])
    np.testing.assert_array_equal(got, [[0, 2], [2, 3]])
    assert tf.recompute_grad(tf.exp) is tf.exp
    assert tf.no_gradient is tf.NoGradient
    assert tf.logging.get_logger().name == "staticgraph"


def test_a_search_in_nothing_and_for_nothing() -> None:
    row, values = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.float32, [None])
    y = tf.searchsorted(row, values, side="right")
    with tf.Session() as sess:
        for a, b in (([], [1.0]), ([1.0, 2.0], []), ([], []), ([1.0, 1.0], [1.0])):
            got = sess.run(y, {row: a, values: b})
            np.testing.assert_array_equal(got, np.searchsorted(a, b, "right"))
    assert run(tf.searchsorted(tf.zeros([0]), tf.zeros([0]))).shape == (0,)
