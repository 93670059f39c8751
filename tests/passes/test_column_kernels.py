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


def test_tall_matrices_are_reduced_in_chunks_of_rows_and_keep_their_epilogue() -> None:
    n, m = 1500, 37
    x = tf.placeholder(tf.float32, [n, m])
    b = tf.placeholder(tf.float32, [m])
    y = tf.tanh(x + b)
    fetches = [y, tf.reduce_sum(y, 0) * 2.0 + b, tf.reduce_max(y, 0), tf.reduce_mean(x, 0)]
    a = np.random.default_rng(0).normal(size=(n, m)).astype("f4")
    c = np.linspace(-1, 1, m).astype("f4")
    t = np.tanh(a.astype("f8") + c)
    want = [t, t.sum(0) * 2 + c, t.max(0), a.astype("f8").mean(0)]
    with tf.Session() as sess:
        for got, w in zip(sess.run(fetches, {x: a, b: c}), want, strict=True):
            np.testing.assert_allclose(got, w, rtol=2e-5, atol=2e-5)
        program = sess.executables()[0].program
        assert [k.form for k in program.kernels()].count("column") == 2
