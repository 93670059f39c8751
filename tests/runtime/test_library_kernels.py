"""Scatters and cumulative operations as native code: order, duplicates, refusals, sizes, axes."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.codegen import library_source
from staticgraph.errors import OutOfBoundsError
from staticgraph.ir.program import Host, Library
from staticgraph.passes.memory import donations

COMBINE = {
    "update": lambda a, b: b, "add": np.add, "sub": np.subtract, "mul": np.multiply,
    "div": np.divide, "min": np.minimum, "max": np.maximum,
}  # fmt: skip
SCATTERS = {k: getattr(tf, f"scatter_{k}") for k in COMBINE}


def _program(sess: tf.Session) -> Any:
    return sess.executables()[-1].program


def _is_native(sess: tf.Session) -> bool:
    return not any(isinstance(s, Host) for s in _program(sess).steps)


# ---------------------------------------------------------------- scatter
@pytest.mark.parametrize("index_dtype", [tf.int32, tf.int64])
@pytest.mark.parametrize("kind", COMBINE)
def test_duplicates_are_combined_in_order(kind: str, index_dtype: Any) -> None:
    rng = np.random.default_rng(1)
    start = rng.uniform(1, 2, (6, 5)).astype(np.float32)
    idx = np.array([3, 0, 3, 3, 5, 0])
    new = rng.uniform(1, 2, (6, 5)).astype(np.float32)
    v = tf.Variable(start)
    i = tf.placeholder(index_dtype, [None])
    u = tf.placeholder(tf.float32, [None, 5])
    op = SCATTERS[kind](v, i, u)
    want = start.copy()
    for k, row in zip(idx, new, strict=True):
        want[k] = COMBINE[kind](want[k], row)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        got = sess.run(op, {i: idx, u: new})
        assert _is_native(sess)
        np.testing.assert_array_equal(got, want)  # to the bit: one order of operations
        np.testing.assert_array_equal(sess.run(v), want)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "int64", "float64"])
@pytest.mark.parametrize("kind", ["add", "mul", "sub", "update"])
def test_every_type_wraps_as_in_numpy(kind: str, dtype: str) -> None:
    start = np.full((3, 2), 100).astype(dtype)
    new = np.arange(1, 9).reshape(4, 2).astype(dtype) * np.array(13, dtype)
    idx = np.array([2, 0, 2, 2])
    want = start.copy()
    with np.errstate(all="ignore"):
        for k, row in zip(idx, new, strict=True):
            want[k] = COMBINE[kind](want[k], row)
    i = tf.placeholder(tf.int32, [4])
    u = tf.placeholder(dtype, [4, 2])
    v = tf.Variable(start)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        np.testing.assert_array_equal(sess.run(SCATTERS[kind](v, i, u), {i: idx, u: new}), want)


def test_a_scatter_onto_a_variable_happens_in_place() -> None:
    v = tf.Variable(np.zeros((10, 4), np.float32))
    i = tf.placeholder(tf.int32, [None])
    op = tf.scatter_add(v, i, tf.ones([1, 4]) * tf.cast(i, tf.float32)[:, None])
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(op.op, {i: [1, 1, 9]})
        program = _program(sess)
        scatter = next(s for s in program.steps if isinstance(s, Library))
        assert donations(program) == {scatter.outputs[0]: scatter.inputs[0]}
        assert sess.run(v)[[0, 1, 9], 0].tolist() == [0.0, 2.0, 9.0]


def test_an_index_out_of_range_leaves_all_variables_as_they_were() -> None:
    v, w = tf.Variable(np.zeros((4, 3), np.float32)), tf.Variable(5.0)
    i = tf.placeholder(tf.int32, [None])
    grow = w.assign_add(1.0)
    op = tf.scatter_update(v, i, tf.ones_like(tf.gather(v, i * 0)))  # the line of the error
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for bad in (4, -1, 1 << 30):
            with pytest.raises(OutOfBoundsError, match=rf"index {bad} is outside \[0, 4\)") as e:
                sess.run([op, grow], {i: [0, 1, bad]})
            assert "the line of the error" in str(e.value)
            assert not sess.run(v).any()
            assert sess.run(w) == 5.0
        sess.run([op, grow], {i: [0, 1, 3]})
        assert sess.run(v)[:, 0].tolist() == [1.0, 1.0, 0.0, 1.0]


def test_a_failure_after_a_scatter_leaves_the_variable_as_it_was() -> None:
    v = tf.Variable(np.zeros(4, np.float32))
    i, j = tf.placeholder(tf.int32, [None]), tf.placeholder(tf.int32, [])
    op = tf.scatter_add(v, i, tf.cast(i, tf.float32) + 1.0)
    with tf.control_dependencies([op]):
        taken = tf.gather(v, j)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with pytest.raises(OutOfBoundsError, match="index 4"):
            sess.run(taken, {i: [0], j: 4})
        assert not sess.run(v).any()
        assert sess.run(taken, {i: [0, 3], j: 3}) == 4.0


@pytest.mark.parametrize(("rows", "columns", "count"), [(3, 0, 2), (3, 4, 0), (0, 4, 0), (1, 1, 1)])
def test_empty_sizes(rows: int, columns: int, count: int) -> None:
    base = tf.placeholder(tf.float32, [None, None])
    i = tf.placeholder(tf.int32, [None, 1])
    u = tf.placeholder(tf.float32, [None, None])
    y = tf.tensor_scatter_add(base, i, u)
    with tf.Session() as sess:
        feeds = {
            base: np.ones((rows, columns)), i: np.zeros((count, 1), np.int32),
            u: np.ones((count, columns)),
        }  # fmt: skip
        got = sess.run(y, feeds)
        assert got.shape == (rows, columns)
        assert (got == (2.0 if count else 1.0)).all()


def test_an_index_into_nothing_is_out_of_range() -> None:
    base = tf.placeholder(tf.float32, [None])
    y = tf.tensor_scatter_update(base, [[0]], [1.0])
    with tf.Session() as sess, pytest.raises(OutOfBoundsError, match=r"outside \[0, 0\)"):
        sess.run(y, {base: np.ones(0)})


def test_wide_rows_are_done_in_blocks() -> None:
    width = 2 * library_source.COLUMNS + 3
    rng = np.random.default_rng(2)
    base, new = rng.normal(size=(3, width)), rng.normal(size=(5, width))
    idx = np.array([2, 0, 2, 2, 1])
    want = base.copy()
    np.add.at(want, idx, new)
    b, u = tf.placeholder(tf.float64, [3, None]), tf.placeholder(tf.float64, [5, None])
    y = tf.tensor_scatter_add(b, idx[:, None], u)
    with tf.Session() as sess:
        np.testing.assert_array_equal(sess.run(y, {b: base, u: new}), want)


def test_the_gradient_of_a_lookup_is_native() -> None:
    w = tf.Variable(np.ones((6, 2), np.float32))
    i = tf.placeholder(tf.int32, [None])
    loss = tf.reduce_sum(tf.nn.embedding_lookup(w, i) ** 2)
    step = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(step, {i: [1, 4, 4]})
        assert _is_native(sess)
        assert sess.run(w)[:, 0].tolist() == [1.0, 0.5, 1.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize("rate", ["constant", "fed", "one"])
def test_the_step_of_an_embedding_touches_no_other_rows(rate: str) -> None:
    start = np.random.default_rng(5).normal(size=(1000, 8)).astype(np.float32)
    start[7] = np.inf  # what is not looked up takes no part in any arithmetic
    w = tf.Variable(start)
    i = tf.placeholder(tf.int32, [None])
    lr = {"constant": tf.constant(0.25), "fed": tf.placeholder(tf.float32, []), "one": 1.0}[rate]
    loss = tf.reduce_sum(tf.nn.embedding_lookup(w, i) ** 3)
    step = tf.train.GradientDescentOptimizer(lr).minimize(loss)
    feeds = {i: [1, 4, 4, 999]} | ({lr: 0.25} if rate == "fed" else {})
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(step, feeds)
        program = _program(sess)
        (scatter,) = (s for s in program.steps if isinstance(s, Library))
        assert donations(program) == {scatter.outputs[0]: scatter.inputs[0]}
        assert sess.executables()[-1].last.arena_bytes < start.nbytes / 10
        want, scale = start.copy(), 3 * (1.0 if rate == "one" else 0.25)
        np.subtract.at(want, [1, 4, 4, 999], scale * start[[1, 4, 4, 999]] ** 2)
        np.testing.assert_allclose(sess.run(w), want, rtol=1e-5)


# ---------------------------------------------------------------- cumulative operations
@pytest.mark.parametrize(("exclusive", "reverse"), [*product([False, True], repeat=2)])
@pytest.mark.parametrize("shape", [(7,), (3, 5), (19, 6), (2, 3, 300), (4, 0, 3), (0, 2), (1, 1)])
def test_running_sums_along_every_axis(
    shape: tuple[int, ...], exclusive: bool, reverse: bool
) -> None:
    x = np.random.default_rng(3).integers(-9, 9, shape).astype(np.float32)
    for axis in range(-len(shape), len(shape)):
        flipped = np.flip(x, axis) if reverse else x
        want = np.cumsum(flipped, axis)
        want = want - flipped if exclusive else want  # whole numbers: exact
        want = np.flip(want, axis) if reverse else want
        with tf.Graph().as_default(), tf.Session() as sess:
            p = tf.placeholder(tf.float32, [None] * len(shape))
            y = tf.cumsum(p, axis, exclusive=exclusive, reverse=reverse)
            np.testing.assert_array_equal(sess.run(y, {p: x}), want)
            assert _is_native(sess)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint16", "float64"])
def test_running_products_wrap_in_their_type(dtype: str) -> None:
    x = np.array([[3, 5, 7, 11, 13], [2, 2, 2, 2, 100]]).astype(dtype)
    p = tf.placeholder(dtype, [2, None])
    y = tf.cumprod(p, 1)
    with tf.Session() as sess:
        np.testing.assert_array_equal(sess.run(y, {p: x}), np.cumprod(x, 1, dtype=dtype))
        assert _is_native(sess)


def test_running_logarithms_of_sums_at_infinities() -> None:
    inf = np.inf
    x = np.array([-inf, -inf, 0.0, 800.0, 800.0, -3.0, inf, 1.0, -inf, inf, np.nan, 1.0])
    p = tf.placeholder(tf.float64, [None])
    y = tf.math.cumulative_logsumexp(p)
    with np.errstate(invalid="ignore"):
        want = np.logaddexp.accumulate(x)
    with tf.Session() as sess:
        np.testing.assert_allclose(sess.run(y, {p: x}), want, rtol=1e-14)
        assert _is_native(sess)


def test_half_precision_is_left_to_numpy() -> None:
    p = tf.placeholder(tf.float16, [None])
    y = tf.cumsum(p)
    with tf.Session() as sess:
        np.testing.assert_array_equal(sess.run(y, {p: [1.0, 2.0, 3.0]}), [1.0, 3.0, 6.0])
        assert not _is_native(sess)
