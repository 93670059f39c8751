"""Reshapes in front of a matrix product: the product reads the memory that is there."""

from __future__ import annotations

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.ir.compare_program import program_difference
from staticgraph.ir.parse_program import parse_program
from staticgraph.ir.program import Launch, Library, Program


def program(fetches: object) -> Program:
    """The program that computes fetches; its text reads back."""
    made = tf.stages(fetches).program
    assert made is not None
    assert program_difference(made, parse_program(str(made))) is None
    return made


def kinds(p: Program) -> list[str]:
    """What the steps are."""
    return ["launch" if isinstance(s, Launch) else getattr(s, "kind", "host") for s in p.steps]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_read_reshaped_feeds_variables_and_products_where_they_are(dtype: str) -> None:
    x = tf.placeholder(dtype, [None, 3, 4])
    w = tf.Variable(np.arange(20.0).reshape(2, 10).astype(dtype))
    v = tf.Variable(np.linspace(0, 1, 30).reshape(15, 1, 2).astype(dtype))
    y = tf.matmul(tf.reshape(x, [-1, 4]), tf.reshape(w, [4, 5]))
    z = tf.matmul(tf.reshape(y, [-1, 15]), tf.squeeze(v, 1))
    p = program(z)
    assert kinds(p) == ["matmul", "matmul"]
    a = np.random.default_rng(0).normal(size=(6, 3, 4)).astype(dtype)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for n in (6, 1, 5):
            wide = a[:n].reshape(-1, 4) @ np.arange(20.0).reshape(4, 5)
            want = wide.reshape(n, 15) @ np.linspace(0, 1, 30).reshape(15, 2)
            np.testing.assert_allclose(sess.run(z, {x: a[:n]}), want, rtol=1e-4)


def test_batches_and_transposes_keep_their_meaning() -> None:
    x, y = tf.placeholder(tf.float32, [2, 3, 20]), tf.placeholder(tf.float32, [6, 7, 5])
    left, right = tf.reshape(x, [2, 3, 4, 5]), tf.reshape(y, [2, 3, 7, 5])
    z = tf.matmul(left, right, transpose_b=True)
    assert kinds(program(z)) == ["matmul"]
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 20)), rng.normal(size=(6, 7, 5))
    want = a.reshape(2, 3, 4, 5) @ b.reshape(2, 3, 7, 5).swapaxes(-1, -2)
    with tf.Session() as sess:
        np.testing.assert_allclose(sess.run(z, {x: a, y: b}), want, rtol=1e-4, atol=1e-5)


def test_a_reshape_that_is_fetched_or_read_elsewhere_is_there_as_well() -> None:
    x, w = tf.placeholder(tf.float32, [4, 6]), tf.placeholder(tf.float32, [3, 2])
    flat = tf.reshape(x, [8, 3])
    fetches = [flat, tf.matmul(flat, w), tf.exp(flat)]
    steps = program(fetches).steps
    (call,) = [s for s in steps if isinstance(s, Library)]
    assert call.inputs[0].dims == (4, 6) and call.shape(0) == (8, 3) and call.shape(1) == (3, 2)
    a, b = np.arange(24.0).reshape(4, 6) / 24, np.ones((3, 2))
    with tf.Session() as sess:
        got = sess.run(fetches, {x: a, w: b})
    m = a.reshape(8, 3)
    for g, want in zip(got, [m, m @ b, np.exp(m)], strict=True):
        np.testing.assert_allclose(g, want, rtol=1e-5)


def test_an_update_waits_for_the_product_that_reads_a_view_of_the_old_value() -> None:
    start = np.arange(12, dtype=np.float32).reshape(3, 4)
    v = tf.Variable(start)
    seen = tf.matmul(tf.reshape(v.read_value(), [6, 2]), tf.ones([2, 2]))
    step = v.assign(v * 2.0 + tf.reduce_sum(seen) * 0.0)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        got, _ = sess.run([seen, step.op])
        np.testing.assert_array_equal(got, start.reshape(6, 2) @ np.ones((2, 2)))
        np.testing.assert_array_equal(sess.run(v), 2 * start)
