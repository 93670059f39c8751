"""Sums over the first axis whose results are used in the same kernel."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import CompileFallbackWarning


@pytest.mark.parametrize("rows", [3, 300])
def test_a_scalar_may_enter_after_the_sum(rows: int, rng: np.random.Generator) -> None:
    x = tf.placeholder(tf.float32, [None, 7])
    scale = tf.placeholder(tf.float32, [])
    v = tf.Variable(tf.ones([7]))
    update = v.assign(v - scale * tf.reduce_sum(tf.nn.relu(x), 0))
    data = rng.normal(size=(rows, 7)).astype(np.float32)
    with tf.Session() as sess, warnings.catch_warnings():
        warnings.simplefilter("error", CompileFallbackWarning)
        sess.run(tf.global_variables_initializer())
        have = sess.run(update, {x: data, scale: 0.5})
    np.testing.assert_allclose(have, 1 - 0.5 * np.maximum(data, 0).sum(0), rtol=1e-5, atol=1e-5)
