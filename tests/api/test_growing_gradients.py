"""Gradients through loop variables whose sizes change."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from tests.api.growing_programs import PROGRAMS, X, looped, unrolled

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "growing_golden.json").read_text())
CASES = [
    pytest.param(c["program"], c["count"], c["values"], id=f"{c['program']}, {c['count']}")
    for c in GOLDEN["cases"]
]


@pytest.fixture(autouse=True)
def graph() -> Iterator[Any]:
    with tf.Graph().as_default() as g:
        yield g


def differences(f: Callable[[np.ndarray], Any], at: np.ndarray) -> np.ndarray:
    """The gradient of a scalar function by central differences."""
    out = np.zeros_like(at)
    for k in range(at.size):
        e = np.zeros_like(at)
        e[k] = 1e-5
        out[k] = (f(at + e) - f(at - e)) / 2e-5
    return out


def slopes(y: Any, x: Any) -> list[Any]:
    """The sum of squares, its gradient, and the gradient of what that is summed to."""
    total = tf.reduce_sum(y * y)
    (first,) = tf.gradients(total, x)
    (second,) = tf.gradients(tf.reduce_sum(first * first * x), x)
    return [total, first, second]


def test_there_is_a_recorded_case_for_every_program() -> None:
    have = {(c["program"], c["count"]) for c in GOLDEN["cases"]}
    assert have == {(name, n) for name, p in PROGRAMS.items() for n in p.counts}


@pytest.mark.parametrize(("name", "count", "values"), CASES)
def test_values_and_gradients_are_those_of_tensorflow(
    name: str, count: int, values: list[float]
) -> None:
    x, n = tf.placeholder(tf.float64, [None]), tf.placeholder(tf.int32, [])
    total, first, _ = slopes(looped(tf, name, x, n), x)
    with tf.Session() as sess:
        for _ in range(2):  # the second run uses the plans of the first
            got = sess.run([total, first], {x: X, n: count})
            np.testing.assert_allclose([got[0], *got[1]], values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("level", ["L0", "L1"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_loop_is_its_iterations_written_out(name: str, level: str) -> None:
    x, n = tf.placeholder(tf.float64, [None]), tf.placeholder(tf.int32, [])
    counts = [c for c in PROGRAMS[name].counts if c < 4]
    found = slopes(looped(tf, name, x, n), x)
    wanted = {c: slopes(unrolled(tf, name, x, c), x) for c in counts}
    options = tf.OptimizerOptions(opt_level=getattr(tf.OptimizerOptions, level))
    config = tf.ConfigProto(graph_options=tf.GraphOptions(optimizer_options=options))
    with tf.Session(config=config) as sess:
        for c in counts:
            for got, want in zip(
                sess.run(found, {x: X, n: c}), sess.run(wanted[c], {x: X}), strict=True
            ):
                np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["made of all before", "shrinks", "attention"])
def test_third_gradients(name: str) -> None:
    x = tf.placeholder(tf.float64, [3])
    _, _, second = slopes(looped(tf, name, x, 2), x)
    (third,) = tf.gradients(tf.reduce_sum(second**2), x)
    with tf.Session() as sess:
        want = differences(lambda v: np.sum(sess.run(second, {x: v}) ** 2), X)
        np.testing.assert_allclose(sess.run(third, {x: X}), want, rtol=1e-6, atol=1e-6)


def test_a_fixed_count_and_a_variable_of_the_graph() -> None:
    w = tf.get_variable("w", initializer=tf.constant([2.0, 3.0]))

    def body(i: Any, rows: Any) -> Any:
        return i + 1, tf.concat([rows, rows[-1:] * w], 0)

    rows = tf.while_loop(
        lambda i, rows: i < 3, body, [0, tf.ones([1, 2])],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, 2])],
    )[1]  # fmt: skip
    slope = tf.gradients(rows, w)[0]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        got, d = sess.run([rows, slope])
    np.testing.assert_allclose(got, [[1, 1], [2, 3], [4, 9], [8, 27]])
    np.testing.assert_allclose(d, [1 + 2 * 2 + 3 * 4, 1 + 2 * 3 + 3 * 9])


def test_growth_that_needs_no_invariant_because_the_size_is_open_anyway() -> None:
    x = tf.placeholder(tf.float64, [None])
    y = tf.while_loop(
        lambda i, a: i < 3, lambda i, a: (i + 1, tf.concat([a, a[-1:] * x[:1]], 0)), [0, x]
    )[1]
    slope = tf.gradients(y, x)[0]
    with tf.Session() as sess:
        want = differences(lambda v: np.sum(sess.run(y, {x: v})), X)
        np.testing.assert_allclose(sess.run(slope, {x: X}), want, rtol=1e-6)


def test_growth_without_an_invariant_is_refused_at_its_line() -> None:
    with pytest.raises(ValueError, match="loop variable 1 of the loop 'while'") as found:
        tf.while_loop(
            lambda i, a: i < 3,
            lambda i, a: (i + 1, tf.concat([a, a], 0)),  # here
            [0, tf.ones([2])],
        )
    message = str(found.value)
    assert "enters with the shape (2,) and leaves with (4,)" in message
    assert "hint: say with shape_invariants which sizes may change" in message
    assert "# here" in message


def test_a_gradient_asks_for_the_rank_of_what_grows() -> None:
    x = tf.placeholder(tf.float64, [None])
    y = tf.while_loop(  # here
        lambda i, a: i < 3, lambda i, a: (i + 1, tf.concat([a, a[-1:] * x[:1]], 0)), [0, x],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape(None)],
    )[1]  # fmt: skip
    slope = tf.gradients(y, x)[0]
    with tf.Session() as sess:
        assert sess.run(y, {x: X}).shape == (6,)
        with pytest.raises(tf.errors.OpError) as found:
            sess.run(slope, {x: X})
    message = str(found.value)
    assert "values of shapes [3] and [4] cannot be stacked" in message
    assert "# here" in message
    assert "hint: say with shape_invariants which rank the loop variable has" in message


def test_weights_are_trained_through_a_memory_that_grows() -> None:
    w = tf.get_variable("w", initializer=tf.constant([0.5, 0.3]))

    def body(i: Any, memory: Any) -> Any:
        mean = tf.reduce_mean(memory, 0, keepdims=True)
        return i + 1, tf.concat([memory, tf.tanh(memory[-1:] * w + mean)], 0)

    memory = tf.while_loop(
        lambda i, memory: i < 4, body, [0, tf.ones([1, 2])],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, 2])],
    )[1]  # fmt: skip
    loss = tf.reduce_sum((memory - 1.0) ** 2)
    train = tf.train.AdamOptimizer(0.05).minimize(loss)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        before = sess.run(loss)
        for _ in range(50):
            sess.run(train)
        assert sess.run(loss) < 0.1 * before


@pytest.mark.parametrize("checkpoint", [None, 2, "auto"])
def test_a_fold_that_grows(checkpoint: Any) -> None:
    x, e = tf.placeholder(tf.float64, [None]), tf.placeholder(tf.float64, [None])
    y = tf.foldl(lambda a, v: tf.concat([a, a[-1:] * v], 0), e, x, checkpoint=checkpoint)
    slopes_ = tf.gradients(y, [x, e])
    with tf.Session() as sess:
        by_x, by_e = sess.run(slopes_, {x: X, e: [2.0, 3.0, 4.0]})
    np.testing.assert_allclose(by_x, [1, 1, 1 + 2 + 6 + 24])
    np.testing.assert_allclose(by_e, [1.1 * (1 + 3 + 12), 1.1 * 2 * (1 + 4), 1.1 * 6])


def test_variables_are_written_beside() -> None:
    x, v = tf.placeholder(tf.float64, [None]), tf.get_variable("v", initializer=tf.constant(0.0))

    def body(i: Any, a: Any) -> Any:
        with tf.control_dependencies([tf.assign_add(v, 1.0)]):
            return i + 1, tf.concat([a, tf.sin(a[-1:]) * x[:1]], 0)

    y = tf.while_loop(lambda i, a: i < 3, body, [0, x])[1]
    slope = tf.gradients(y, x)[0]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        got, count = sess.run([slope, v], {x: X})
        assert count == 3.0  # going back writes nothing again
        want = differences(lambda at: np.sum(sess.run(y, {x: at})), X)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_an_error_in_the_backward_loop_names_the_iteration() -> None:
    x, at = tf.placeholder(tf.float64, [3]), tf.placeholder(tf.int32, [])
    y = tf.while_loop(
        lambda i, a: i < 3, lambda i, a: (i + 1, tf.concat([a, x[at + i] * a[-1:]], 0)), [0, x],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None])],
    )[1]  # fmt: skip
    slope = tf.gradients(y, x)[0]
    with tf.Session() as sess:
        assert sess.run(slope, {x: X, at: 0}).shape == (3,)
        with pytest.raises(IndexError, match="iteration 1 of a loop") as found:
            sess.run(slope, {x: X, at: 2})
    assert "test_growing_gradients.py" in str(found.value)


# ---------------------------------------------------------------- sizes that stay after all
def calls(sess: Any, fetches: Any, feed: Any) -> int:
    """How many native calls a run takes."""
    sess.run(fetches, feed)
    return int(sess.executables()[-1].counts.calls)


SAME: dict[str, Callable[[Any, Any], Any]] = {
    "an invariant that leaves the size open": lambda x, z: tf.while_loop(
        lambda i, a: i < 3, lambda i, a: (i + 1, tf.tanh(a * x)), [0, z],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None])],
    )[1],
    "sizes that are assumed to agree": lambda x, z: tf.scan(
        lambda a, i: tf.tanh(x * i + 0.0 * tf.reduce_sum(a)), tf.ones([4], tf.float64),
        initializer=z,
    )[-1],
}  # fmt: skip


@pytest.mark.parametrize("program", SAME.values(), ids=SAME)
def test_what_keeps_its_size_is_stacked_in_one_native_call(program: Any) -> None:
    x, z = tf.placeholder(tf.float64, [None]), tf.placeholder(tf.float64, [None])
    y = program(x, z)
    slope = tf.gradients(tf.reduce_sum(y), x)[0]
    with tf.Session() as sess:
        feed = {x: X, z: X / 3}
        assert calls(sess, slope, feed) == 1
        want = differences(lambda v: np.sum(sess.run(y, {**feed, x: v})), X)
        np.testing.assert_allclose(sess.run(slope, feed), want, rtol=1e-6)
