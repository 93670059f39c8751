"""Columns that are reduced while a kernel has the rows in the cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.passes.fusion import fuse
from staticgraph.runtime.compile import function_stages


def forms(fetches: Any) -> list[str]:
    """The forms of the optimised program's launches."""
    p = function_stages(tf.get_default_graph(), fetches).program
    assert p is not None
    return [s.kernel.form for s in p.steps]  # type: ignore[union-attr]


def fused(fetches: Any) -> str:
    """The text of the fused form."""
    return str(fuse(function_stages(tf.get_default_graph(), fetches).function))


def layer_norm(shape: tuple[int, ...]) -> tuple[list[Any], list[Any]]:
    width = shape[-1]
    x, dy = tf.placeholder(tf.float32, shape), tf.placeholder(tf.float32, shape)
    scale, shift = tf.placeholder(tf.float32, [width]), tf.placeholder(tf.float32, [width])
    mean, variance = tf.nn.moments(x, [-1], keep_dims=True)
    y = tf.nn.batch_normalization(x, mean, variance, shift, scale, 1e-5)
    return [y, *tf.gradients(y, [x, scale, shift], grad_ys=dy)], [x, dy, scale, shift]


def expected(x: Any, dy: Any, scale: Any, shift: Any) -> list[Any]:
    x, dy, scale, shift = (a.astype("f8") for a in (x, dy, scale, shift))
    mean = x.mean(-1, keepdims=True)
    root = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    normal = (x - mean) / root
    g = dy * scale
    dx = (g - g.mean(-1, keepdims=True) - normal * (g * normal).mean(-1, keepdims=True)) / root
    rows = tuple(range(x.ndim - 1))
    return [normal * scale + shift, dx, (dy * normal).sum(rows), dy.sum(rows)]


@pytest.mark.parametrize("shape", [(1024, 64), (1500, 96), (8, 129, 70), (1025, 100)])
def test_layer_norm_with_its_gradients_reads_its_rows_once(
    shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    fetches, feeds = layer_norm(shape)
    assert forms(fetches) == ["row", "column"]
    data = [rng.normal(size=f.shape.as_list()).astype("f4") for f in feeds]
    want = expected(*data)
    results = []
    for threads in (1, 2, 5):
        config = tf.ConfigProto(intra_op_parallelism_threads=threads)
        with tf.Session(config=config) as sess:
            results.append(sess.run(fetches, dict(zip(feeds, data, strict=True))))
    for have, w in zip(results[0], want, strict=True):
        np.testing.assert_allclose(have, w, rtol=2e-4, atol=2e-4)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("shape", [(1000, 96), (2000, 16), (2000, 5000), (None, 96)])
def test_few_rows_narrow_or_long_ones_and_open_sizes(shape: tuple[int | None, int]) -> None:
    x = tf.placeholder(tf.float32, shape)
    fetches = [x - tf.reduce_max(x, 1, keepdims=True), tf.reduce_sum(x, 0)]
    text = fused(fetches)
    assert text.count("  column ") == 1 and text.count("  row ") == 1


@pytest.mark.parametrize("name", ["reduce_sum", "reduce_max", "reduce_min", "reduce_prod"])
def test_every_reduction_of_columns(name: str, rng: np.random.Generator) -> None:
    x = tf.placeholder(tf.float32, [1153, 70])
    y = tf.nn.softmax(x)
    fetches = [y, getattr(tf, name)(y + 0.99, 0), getattr(tf, name)(x, 0)]
    assert forms(fetches) == ["row", "column"]
    data = rng.normal(size=(1153, 70)).astype("f4")
    with tf.Session() as sess:
        got, of_results, of_rows = sess.run(fetches, {x: data})
    e = np.exp(data.astype("f8") - data.max(1, keepdims=True))
    soft = e / e.sum(1, keepdims=True)
    reduce = {"reduce_sum": np.sum, "reduce_max": np.max, "reduce_min": np.min}.get(name, np.prod)
    np.testing.assert_allclose(got, soft, rtol=1e-5)
    np.testing.assert_allclose(of_results, reduce(soft + 0.99, axis=0), rtol=1e-3)
    want = reduce(data.astype("f8"), axis=0)
    if name != "reduce_prod":
        np.testing.assert_allclose(of_rows, want, rtol=1e-4, atol=1e-4)


def test_what_reads_the_columns_comes_behind_them(rng: np.random.Generator) -> None:
    x = tf.placeholder(tf.float32, [1100, 64])
    centered = x - tf.reduce_max(x, 1, keepdims=True)
    total = tf.reduce_sum(centered, 0)
    fetches = [centered, total * 2.0, centered - total]
    data = rng.normal(size=(1100, 64)).astype("f4")
    with tf.Session() as sess:
        a, b, c = sess.run(fetches, {x: data})
    want = data - data.max(1, keepdims=True)
    np.testing.assert_allclose(a, want, rtol=1e-6)
    np.testing.assert_allclose(b, 2 * want.astype("f8").sum(0), rtol=1e-5)
    np.testing.assert_allclose(c, want - want.astype("f8").sum(0), rtol=1e-5)


def test_a_sum_that_the_rows_need_stays_in_front_of_them(rng: np.random.Generator) -> None:
    x = tf.placeholder(tf.float32, [1100, 64])
    y = tf.nn.softmax(x - tf.reduce_mean(x, 0))
    data = rng.normal(size=(1100, 64)).astype("f4")
    with tf.Session() as sess:
        got = sess.run(y, {x: data})
    e = np.exp(data.astype("f8") - data.astype("f8").mean(0))
    np.testing.assert_allclose(got, e / e.sum(1, keepdims=True), rtol=1e-5)


def test_other_types(rng: np.random.Generator) -> None:
    wide = tf.placeholder(tf.float64, [1100, 64])
    half = tf.placeholder(tf.float16, [1100, 64])
    whole = tf.placeholder(tf.int32, [1100, 64])
    fetches = [
        f(v) for v in (wide, half, whole)
        for f in (lambda v: v - tf.reduce_max(v, 1, keepdims=True), lambda v: tf.reduce_sum(v, 0))
    ]  # fmt: skip
    above = whole > 2
    fetches += [tf.logical_xor(above, tf.reduce_all(above, 1, True)), tf.reduce_any(above, 0)]
    data = rng.integers(-3, 4, (1100, 64))
    with tf.Session() as sess:
        out = sess.run(fetches, {wide: data, half: data, whole: data})
    np.testing.assert_array_equal(out.pop(), (data > 2).any(0))
    np.testing.assert_array_equal(out.pop(), data > 2)
    for rows, columns in zip(out[::2], out[1::2], strict=True):
        np.testing.assert_array_equal(rows, data - data.max(1, keepdims=True))
        np.testing.assert_array_equal(columns, data.sum(0))


def test_an_update_in_place_reads_the_old_rows(rng: np.random.Generator) -> None:
    data = rng.normal(size=(1100, 64)).astype("f4")
    v = tf.Variable(data)
    new = v / tf.reduce_sum(tf.abs(v), 1, keepdims=True)
    sums, update = tf.reduce_sum(v * v, 0), v.assign(new)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        total, _ = sess.run([sums, update.op])
        now = sess.run(v)
    np.testing.assert_allclose(total, (data.astype("f8") ** 2).sum(0), rtol=1e-5)
    np.testing.assert_allclose(now, data / np.abs(data).sum(1, keepdims=True), rtol=1e-5)


def test_the_fused_form_says_over_what() -> None:
    x = tf.placeholder(tf.float32, [2000, 64], name="x")
    fetches = [tf.subtract(x, tf.reduce_max(x, 1, keepdims=True)), tf.reduce_sum(x, 0, name="s")]
    text = fused(fetches)
    assert text.count("row (d0: 2000) of (d1: 64)") == 1 and "column" not in text
    assert "max over (d1)" in text and "sum over (d0)" in text
