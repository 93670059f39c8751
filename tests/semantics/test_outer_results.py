"""A body may give back a tensor from outside as it is; values and gradients follow it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgraph as tf

FORMS: dict[str, tuple[Callable[[Any], Any], float, float]] = {
    "cond": (lambda x: tf.cond(tf.reduce_sum(x) > 3.0, lambda: x * 2.0, lambda: x), 1.0, 1.0),
    "computed": (
        lambda x: (lambda y: tf.cond(tf.reduce_sum(x) > 3.0, lambda: x, lambda: y))(x * 3.0),
        3.0, 3.0,
    ),
    "case": (lambda x: tf.case([(tf.reduce_sum(x) < 3.0, lambda: x)], lambda: x * 7.0), 1.0, 1.0),
    "while_loop": (
        lambda x: tf.while_loop(lambda i, _: i < 3, lambda i, _: (i + 1, x), [0, x * 5.0])[1],
        1.0, 1.0,
    ),
    "scan": (lambda x: tf.scan(lambda _, s: x, tf.stack([x, x, x]))[-1], 1.0, 1.0),
    "map_fn": (lambda x: tf.map_fn(lambda _: x, tf.stack([x, x])), 1.0, 2.0),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_tensor_from_outside_is_a_result(form: str) -> None:
    build, value, slope = FORMS[form]
    with tf.Graph().as_default(), tf.Session() as sess:
        x = tf.placeholder(tf.float64, [2])
        y = build(x)
        got, gradient = sess.run([y, tf.gradients(y, x)[0]], {x: [0.5, 0.25]})
    np.testing.assert_array_equal(got, np.broadcast_to(value * np.array([0.5, 0.25]), got.shape))
    np.testing.assert_array_equal(gradient, [slope, slope])
