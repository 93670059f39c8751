"""Factors of a loop's products: turned once, before it."""

from __future__ import annotations

import numpy as np
import pytest

import staticgraph as tf


def program(steps: int | None, rows: int | None = 6) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    xs = tf.placeholder(tf.float32, [steps, rows, 5])
    w = tf.placeholder(tf.float32, [5, 5])
    start = tf.zeros([tf.shape(xs)[1], 5])
    h = tf.foldl(lambda h, x: tf.tanh(tf.matmul(h + x, w, transpose_b=True)), xs, start)
    return xs, w, h


def turned(h: tf.Tensor) -> tuple[int, int]:
    """Transpositions outside of loops, and products with a turned factor inside."""
    f = tf.stages(h, stop_after="update").function
    (loop,) = (n for n in f.nodes if n.op.name == "Scan")
    inside = [n for n in loop.attrs["body"].nodes if n.op.name == "Gemm"]
    assert len(inside) == 1
    assert not any(n.op.name == "Transpose" for n in loop.attrs["body"].nodes)
    return sum(n.op.name == "Transpose" for n in f.nodes), sum(
        n.attrs["transpose_b"] for n in inside
    )


@pytest.mark.parametrize(
    ("steps", "rows", "expected"),
    [
        (None, None, (1, 0)),
        (9, 6, (1, 0)),
        (None, 1, (0, 1)),  # a vector times a matrix reads it as it lies
        (2, 6, (0, 1)),
    ],
)
def test_a_factor_is_turned_where_it_pays(
    steps: int | None, rows: int | None, expected: tuple[int, int]
) -> None:
    assert turned(program(steps, rows)[2]) == expected


def test_a_gradient_multiplies_by_what_was_turned_before() -> None:
    xs = tf.placeholder(tf.float32, [None, None, 5])
    w = tf.placeholder(tf.float32, [5, 5])
    h = tf.foldl(lambda h, x: tf.tanh(tf.matmul(h + x, w)), xs, tf.zeros_like(xs[0]))
    (dw,) = tf.gradients(tf.reduce_sum(h * h), [w])
    rng = np.random.default_rng(0)
    values = rng.standard_normal((7, 6, 5)), rng.standard_normal((5, 5))
    feed = dict(zip((xs, w), (v.astype(np.float32) for v in values), strict=True))
    with tf.Session() as sess:
        got = sess.run(dw, feed)
        text = str(sess.explain())
    assert text.count("transpose_b=True") == 0

    def total(w: np.ndarray) -> float:
        h = np.zeros((6, 5))
        for x in values[0]:
            h = np.tanh((h + x) @ w)
        return float((h * h).sum())

    step = 1e-6
    for i, j in ((0, 0), (1, 3), (4, 2)):
        more, less = (values[1].copy() for _ in range(2))
        more[i, j] += step
        less[i, j] -= step
        np.testing.assert_allclose(got[i, j], (total(more) - total(less)) / (2 * step), rtol=1e-3)


def test_values_are_those_of_a_loop_in_numpy() -> None:
    xs, w, h = program(None, None)
    rng = np.random.default_rng(1)
    x, m = (rng.standard_normal(s).astype(np.float32) for s in ((4, 3, 5), (5, 5)))
    wanted = np.zeros((3, 5), np.float32)
    for t in range(4):
        wanted = np.tanh((wanted + x[t]) @ m.T)
    with tf.Session() as sess:
        for steps in (4, 0):
            got = sess.run(h, {xs: x[:steps], w: m})
            expected = wanted if steps else np.zeros((3, 5))
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
