"""Dtypes do not mix silently; integers divide as in Python; NaN and infinities survive."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph as tf

SPECIAL = np.array([0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan], np.float32)


def run(fetch: Any, feed: Any = None) -> Any:
    """One run in a session of its own."""
    with tf.Session() as sess:
        return sess.run(fetch, feed)


# ---- dtypes
@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8"]
)
def test_python_numbers_take_the_dtype_they_meet(dtype: str) -> None:
    x = tf.placeholder(dtype, [2])
    for y in (x + 1, 2 * x, x - 1, np.array([1, 2], dtype) + x):
        assert y.dtype.name == dtype
        assert run(y, {x: np.array([1, 2], dtype)}).dtype == dtype


def test_a_fraction_does_not_become_an_integer() -> None:
    x = tf.placeholder(tf.int32, [2])
    with pytest.raises(TypeError, match=r"1\.5"):
        x + 1.5


def test_tensors_of_different_dtypes_do_not_mix() -> None:
    x, y = tf.placeholder(tf.float32, [2]), tf.placeholder(tf.float64, [2])
    for f in (tf.add, tf.matmul, tf.maximum, lambda a, b: tf.concat([a, b], 0)):
        with pytest.raises(TypeError, match="float32 and float64"):
            f(x, y)
    with pytest.raises(TypeError, match="float32 and int32"):
        x + tf.constant([1, 2])


def test_comparisons_are_bool_and_reductions_keep_their_dtype() -> None:
    x = tf.placeholder(tf.int64, [3])
    assert (x > 1).dtype == tf.bool and tf.reduce_sum(x).dtype == tf.int64
    assert tf.argmax(x, 0).dtype == tf.int64 and tf.size(x).dtype == tf.int32


# ---- integers
def test_integer_division_rounds_towards_minus_infinity_and_mod_has_the_divisors_sign() -> None:
    a, b = tf.placeholder(tf.int32, [None]), tf.placeholder(tf.int32, [None])
    feed = {a: [7, -7, 7, -7, 6], b: [2, 2, -2, -2, 3]}
    x, y = np.array(feed[a]), np.array(feed[b])
    np.testing.assert_array_equal(run(a // b, feed), x // y)
    np.testing.assert_array_equal(run(a % b, feed), x % y)
    np.testing.assert_array_equal(run(tf.div(a, b), feed), x // y)
    np.testing.assert_array_equal(run(tf.truncatediv(a, b), feed), np.trunc(x / y))
    assert (a / b).dtype == tf.float64
    np.testing.assert_array_equal(run(a / b, feed), x / y)


def test_integers_wrap_around() -> None:
    x = tf.placeholder(tf.int32, [None])
    a = np.array([2**31 - 1, -(2**31)], np.int32)
    np.testing.assert_array_equal(run([x + 1, x - 1, -x, x * 2], {x: a}), [a + 1, a - 1, -a, a * 2])
    np.testing.assert_array_equal(run(tf.cast(x, tf.int8), {x: [127, 128, 300]}), [127, -128, 44])


def test_sums_of_small_integers_wrap_in_their_own_dtype() -> None:
    x = tf.placeholder(tf.int8, [None])
    assert run(tf.reduce_sum(x), {x: np.full(3, 100, np.int8)}) == np.int8(300 - 256)


# ---- NaN, infinities, signed zeros
@pytest.mark.parametrize("name", [
    "x * 0", "0 * x", "x - x", "x / x", "x + 0", "0 + x", "x - 0", "0 - x", "x * 1",
    "x / 1", "-(-x)",
    "x + x", "x * -1", "x ** 2", "x ** 1", "x ** 0", "x ** 3", "x ** -1", "1 / x",
])  # fmt: skip
def test_special_values_go_through_simplification_as_numpys_do(name: str) -> None:
    x = tf.placeholder(tf.float32, [None])
    y = eval(name, {"x": x})
    with np.errstate(all="ignore"):
        want = np.asarray(eval(name, {"x": SPECIAL}), np.float32)
    got = run(y, {x: SPECIAL})
    np.testing.assert_array_equal(got, want)
    zeros = want == 0
    np.testing.assert_array_equal(np.signbit(got)[zeros], np.signbit(want)[zeros])


def test_maximum_and_minimum_give_nan_where_either_is() -> None:
    x, y = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.float32, [None])
    a, b = (g.ravel() for g in np.meshgrid(SPECIAL, SPECIAL))
    got = run([tf.maximum(x, y), tf.minimum(x, y), tf.nn.relu(x)], {x: a, y: b})
    np.testing.assert_array_equal(got[0], np.maximum(a, b))
    np.testing.assert_array_equal(got[1], np.minimum(a, b))
    np.testing.assert_array_equal(got[2], np.maximum(a, 0))


def test_reductions_see_nan_and_infinities() -> None:
    x = tf.placeholder(tf.float32, [None, 7])
    a = np.stack([SPECIAL, np.where(np.isnan(SPECIAL), 0, SPECIAL), np.full(7, np.nan, np.float32),
                  np.full(7, -np.inf, np.float32)])  # fmt: skip
    with np.errstate(all="ignore"):
        for f, g in ((tf.reduce_sum, np.sum), (tf.reduce_max, np.max), (tf.reduce_min, np.min),
                     (tf.reduce_prod, np.prod), (tf.reduce_mean, np.mean)):  # fmt: skip
            for axis in (0, 1, None):
                np.testing.assert_array_equal(run(f(x, axis), {x: a}), g(a, axis))


def test_where_keeps_what_it_does_not_choose_out() -> None:
    x = tf.placeholder(tf.float32, [None])
    y = tf.where(tf.is_finite(x), x, tf.zeros_like(x))
    np.testing.assert_array_equal(run(y, {x: SPECIAL}), [0, 0, 1, -1.5, 0, 0, 0])


def test_reductions_of_nothing_give_the_neutral_element() -> None:
    x = tf.placeholder(tf.float32, [0, 3])
    got = run([tf.reduce_sum(x, 0), tf.reduce_prod(x, 0), tf.reduce_max(x, 0), tf.reduce_sum(x),
               tf.reduce_sum(x, 1)],
              {x: np.zeros((0, 3))})  # fmt: skip
    for g, w in zip(got, [[0] * 3, [1] * 3, [-np.inf] * 3, 0, []], strict=True):
        np.testing.assert_array_equal(g, w)
    assert np.isnan(run(tf.reduce_mean(x), {x: np.zeros((0, 3))}))


def test_a_long_sum_of_float32_keeps_its_digits() -> None:
    x = tf.placeholder(tf.float32, [None])
    a = np.full(3_000_000, 0.1, np.float32)
    np.testing.assert_allclose(run(tf.reduce_sum(x), {x: a}), a.astype(np.float64).sum(), rtol=1e-6)
