"""Loop variables that start with the size 1 and are broadcast in the body."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import staticgraph as tf

F64 = tf.float64
XS = [np.array([0.7, 0.4, 1.1]), np.array([0.6]), np.arange(10.0) / 10, np.zeros(0)]


@pytest.fixture(autouse=True)
def graph() -> Iterator[Any]:
    with tf.Graph().as_default() as g:
        yield g


class Program:
    """What the variables start with, one iteration, and their shapes."""

    def __init__(
        self, start: Callable[[Any, Any], Sequence[Any]],
        step: Callable[..., Sequence[Any]], *shapes: Sequence[int | None],
    ) -> None:  # fmt: skip
        self.start, self.step, self.shapes = start, step, shapes

    def looped(self, x: Any, w: Any, n: Any) -> Any:
        out = tf.while_loop(
            lambda i, *v: i < n, lambda i, *v: (i + 1, *self.step(x, w, *v)),
            [0, *self.start(x, w)],
            shape_invariants=[tf.TensorShape(s) for s in ([], *self.shapes)],
        )[1:]  # fmt: skip
        return tf.add_n([tf.reduce_sum(v * v) for v in out])

    def unrolled(self, x: Any, w: Any, n: int) -> Any:
        values = list(self.start(x, w))
        for _ in range(n):
            values = list(self.step(x, w, *values))
        return tf.add_n([tf.reduce_sum(v * v) for v in values])


def one(x: Any, w: Any) -> list[Any]:
    return [tf.ones([1], F64) * w]


PROGRAMS = {
    "sum": Program(one, lambda x, w, a: [a * w + x], [None]),
    "product": Program(one, lambda x, w, a: [tf.tanh(a * x) + a], [None]),
    "both axes": Program(
        lambda x, w: [tf.ones([1, 1], F64) * w],
        lambda x, w, a: [a + tf.reshape(x, [1, -1]) * tf.reshape(x, [-1, 1])], [None, None],
    ),
    "one after the other": Program(
        lambda x, w: one(x, w) * 2, lambda x, w, a, b: [a * x, b * a], [None], [None]
    ),
    "a part of what grows": Program(
        lambda x, w: [x * w], lambda x, w, a: [tf.concat([a, x * a[:1]], 0)], [None]
    ),
    "in a branch": Program(
        one,
        lambda x, w, a: [tf.cond(tf.reduce_sum(a) < 1.0, lambda: a * x + w, lambda: a * w)],
        [None],
    ),
}  # fmt: skip
# The loss and its gradients with respect to x and w, as TensorFlow 2.21 computes them with the
# control flow of version 1 for the first of XS, w = 0.8 and so many iterations.
RECORDED = {
    ("sum", 1): [5.9048, 2.68, 2.08, 3.48, 13.184],
    ("sum", 3): [15.97447808, 10.333888, 6.761728, 15.096768, 55.3059968],
    ("product", 1): [5.211109742, 1.552744854, 1.605155556, 1.207477622, 11.6693186],
    ("product", 3): [24.56885853, 11.93270487, 14.4203286, 4.958830034, 35.63934778],
    ("both axes", 1): [16.9636, 12.248, 10.016, 15.224, 24.08],
    ("both axes", 3): [60.1284, 67.992, 47.904, 94.776, 43.44],
    ("one after the other", 1): [1.6, 0.896, 0.512, 1.408, 5.024],
    ("one after the other", 3): [
        1.529359877,
        0.8145736016,
        0.04962952151,
        7.805550848,
        6.205729972,
    ],
    ("a part of what grows", 1): [1.773696, 3.0016, 0.76288, 2.09792, 4.43424],
    ("a part of what grows", 3): [2.940288, 7.2128, 1.26464, 3.47776, 7.35072],
    ("in a branch", 1): [5.9264, 2.176, 1.792, 2.688, 14.816],
    ("in a branch", 3): [2.42745344, 0.8912896, 0.7340032, 1.1010048, 18.2059008],
}


@pytest.mark.parametrize(("name", "count"), RECORDED)
def test_values_and_gradients_are_those_of_tensorflow(name: str, count: int) -> None:
    x, w = tf.placeholder(F64, [None]), tf.placeholder(F64, [])
    loss = PROGRAMS[name].looped(x, w, tf.constant(count))
    with tf.Session() as sess:
        value, (by_x, by_w) = sess.run([loss, tf.gradients(loss, [x, w])], {x: XS[0], w: 0.8})
    np.testing.assert_allclose([value, *by_x, by_w], RECORDED[name, count], rtol=1e-8)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_loop_is_its_iterations_written_out(name: str) -> None:
    x, w = tf.placeholder(F64, [None]), tf.placeholder(F64, [])
    n = tf.placeholder(tf.int32, [])

    def slopes(loss: Any) -> list[Any]:
        first = [tf.zeros_like(v) if g is None else g
                 for v, g in zip((x, w), tf.gradients(loss, [x, w]), strict=True)]  # fmt: skip
        total = tf.reduce_sum(first[0] ** 2 * x) + first[1] ** 2
        return [loss, *first, tf.gradients(total, w)[0]]

    found = slopes(PROGRAMS[name].looped(x, w, n))
    wanted = [slopes(PROGRAMS[name].unrolled(x, w, k)) for k in range(4)]
    with tf.Session() as sess:
        for value in XS:
            for k in (2, 0, 1, 3):
                got = sess.run(found, {x: value, w: 0.8, n: k})
                want = sess.run(wanted[k], {x: value, w: 0.8})
                for a, b in zip(got, want, strict=True):
                    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_what_needs_no_broadcasting_is_native_as_before() -> None:
    x, w = tf.placeholder(F64, [None]), tf.placeholder(F64, [])
    loss = PROGRAMS["sum"].looped(x, w, 3)
    with tf.Session() as sess:
        sess.run(loss, {x: XS[1], w: 0.8})
        (first,) = sess.executables()
        assert first.counts.calls == 1
        sess.run(loss, {x: XS[0], w: 0.8})
        sess.run(loss, {x: XS[1], w: 0.8})
        assert (first.counts.runs, first.counts.calls) == (2, 2)


def test_a_small_loop_is_no_kernel_where_a_size_is_another_in_each_iteration() -> None:
    x = tf.placeholder(tf.float32, [None])
    y = tf.while_loop(
        lambda i, a: i < 3, lambda i, a: (i + 1, a + x), [0, tf.ones([1])],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None])],
    )[1]  # fmt: skip
    with tf.Session() as sess:
        for n in (3, 1, 4):
            assert sess.run(y, {x: np.arange(n)}).tolist() == [1.0 + 3 * k for k in range(n)]


def test_sizes_that_do_not_fit_name_both_and_the_iteration() -> None:
    x, z = tf.placeholder(F64, [None]), tf.placeholder(F64, [None])
    y = tf.while_loop(
        lambda i, a: i < 3,
        lambda i, a: (i + 1, tf.concat([a, a], 0) + x),  # here
        [0, z], shape_invariants=[tf.TensorShape([]), tf.TensorShape([None])],
    )[1]  # fmt: skip
    with tf.Session() as sess:
        assert sess.run(y, {x: [1.0], z: [1.0]}).shape == (8,)
        with pytest.raises(ValueError, match=r"shapes \[4\] and \[2\] do not broadcast") as found:
            sess.run(y, {x: np.ones(2), z: [1.0]})
    assert "# here" in str(found.value)
    assert "in iteration 1 of a loop" in str(found.value)


def test_sizes_that_fit_are_not_slower_after_some_that_do_not() -> None:
    x, z = tf.placeholder(F64, [None]), tf.placeholder(F64, [None])
    p = tf.placeholder(tf.bool, [])
    y = tf.while_loop(
        lambda i, a: i < 3, lambda i, a: (i + 1, tf.cond(p, lambda: a + x, lambda: a)), [0, z]
    )[1]
    with tf.Session() as sess:
        good, bad = {x: [1.0, 2.0], z: [3.0, 4.0], p: True}, {x: np.ones(3), z: np.ones(2), p: True}
        sess.run(y, good)
        (first,) = sess.executables()
        with pytest.raises(ValueError, match="do not broadcast"):
            sess.run(y, bad)
        runs = first.counts.runs
        assert sess.run(y, good).tolist() == [6.0, 10.0]
        assert first.counts.runs == runs + 1


def printing(step: Callable[[Any, Any], Any], x: Any, start: Any) -> Any:
    return tf.while_loop(
        lambda i, a: i < 3, lambda i, a: (i + 1, step(tf.Print(a, [i], "seen "), x)), [0, start],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None])],
    )[1]  # fmt: skip


def test_iterations_print_once(capfd: pytest.CaptureFixture[str]) -> None:
    x = tf.placeholder(F64, [None])
    y = printing(lambda a, x: a * x, x, tf.ones([1], F64))
    with tf.Session() as sess:
        for value in ([2.0], [2.0, 3.0]):
            assert sess.run(y, {x: value}).tolist() == [v**3 for v in value]
            assert capfd.readouterr().err.count("seen") == 3


def test_a_run_that_prints_is_not_begun_again(capfd: pytest.CaptureFixture[str]) -> None:
    x = tf.placeholder(F64, [3])
    y = printing(lambda a, x: tf.concat([a, x * a[:1]], 0), x, x)  # here
    with tf.Session() as sess, pytest.raises(ValueError, match="do not broadcast") as found:
        sess.run(y, {x: np.ones(3)})
    assert "# here" in str(found.value)
    assert capfd.readouterr().err.count("seen") <= 1
