"""Sums over the first axis whose results are used in the same kernel."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import CompileFallbackWarning
from staticgraph.ir.kernel import Loop, Store, walk


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


def test_so_are_those_that_are_tall_for_every_usual_batch(rng: np.random.Generator) -> None:
    x = tf.placeholder(tf.float32, [None, 11, 13, 5])
    y = tf.nn.relu(x)
    fetches = [tf.reduce_sum(y, [0, 1, 2]), tf.reduce_max(x, [0, 1, 2]), y]
    with tf.Session() as sess:
        for n in (1, 3, 40):
            a = rng.normal(size=(n, 11, 13, 5)).astype("f4")
            total, most, got = sess.run(fetches, {x: a})
            np.testing.assert_allclose(total, np.maximum(a, 0).sum((0, 1, 2)), rtol=1e-5)
            np.testing.assert_array_equal(most, a.max((0, 1, 2)))
            np.testing.assert_array_equal(got, np.maximum(a, 0))
        assert sess.run(fetches[0], {x: np.zeros((0, 11, 13, 5), "f4")}).tolist() == [0] * 5
        (program,) = {e.program for e in sess.executables() if len(e.program.results) == 3}
    assert [k.form for k in program.kernels()] == ["column", "column"]


@pytest.mark.parametrize(("n", "together"), [(1024, 4), (1540, 4), (1027, 1)])
def test_rows_of_tall_matrices_are_combined_before_the_partial_result_is_touched(
    n: int, together: int
) -> None:
    m = 33
    x, y = (tf.placeholder(tf.float32, [n, m]) for _ in "xy")
    s = tf.placeholder(tf.float32, [n, 1])
    product = x * y
    fetches = [tf.reduce_sum(product * s, 0), tf.reduce_max(x, 0), tf.reduce_sum(y, 0), product]
    rng = np.random.default_rng(0)
    a, b, c = (rng.normal(size=k).astype("f4") for k in ((n, m), (n, m), (n, 1)))
    wide = a.astype("f8") * b
    want = [(wide * c).sum(0), a.max(0), b.astype("f8").sum(0), wide]
    with tf.Session() as sess:
        for got, w in zip(sess.run(fetches, {x: a, y: b, s: c}), want, strict=True):
            np.testing.assert_allclose(got, w, rtol=2e-5, atol=2e-4)
        kernel = sess.executables()[0].program.kernels()[0]
    inner = [s for s in walk(kernel.body) if isinstance(s, Loop) and s.var == "j"][-1]
    stores = [s for s in inner.body if isinstance(s, Store)]
    assert len(stores) == 3 + together  # one for each sum, one for each row of the product
