"""Loops whose number of iterations only the run tells, differentiated: one native call a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import OutOfBoundsError
from staticgraph.ir.evaluate import evaluate
from staticgraph.passes import control
from staticgraph.runtime.compile import function_stages

F64 = tf.float64
Program = tuple[list[Any], list[Any]]  # fetches and placeholders


def repeated(start: Any, n: Any, f: Callable[[Any], Any]) -> Any:
    """f(f(...f(start))), n times, by a counter that is data to the compiler."""
    zero = tf.constant(0.0, F64)
    return tf.while_loop(lambda k, y: k < n, lambda k, y: (k + 1.0, f(y)), [zero, start])[1]


def twice_differentiated(y: Any, xs: Sequence[Any]) -> list[Any]:
    first = tf.gradients(tf.reduce_sum(tf.sin(y)), xs)
    total = tf.add_n([tf.reduce_sum(tf.sin(g)) for g in first])
    return [y, *first, *tf.gradients(total, xs)]


def alone() -> Program:
    n, x = tf.placeholder(F64, []), tf.placeholder(F64, [3])
    y = repeated(x, n, lambda y: tf.sin(y) * 1.1 + 0.1 * y)
    return twice_differentiated(y, [x]), [n, x]


def in_scan() -> Program:
    ns, x = tf.placeholder(F64, [None]), tf.placeholder(F64, [3])
    w = tf.placeholder(F64, [3, 3])

    def f(y: Any) -> Any:
        return tf.tanh(tf.matmul(y[None], w))[0] * 0.9 + 0.1 * y

    ys = tf.scan(lambda s, n: repeated(s, n, f), ns, x)
    return twice_differentiated(ys, [x, w]), [ns, x, w]


def scalars_in_scan() -> Program:
    """The loop that goes back is one kernel, which is told its length."""
    ns, x = tf.placeholder(F64, [None]), tf.placeholder(F64, [])
    ys = tf.scan(lambda s, n: repeated(s, n, lambda y: tf.sin(y) + 0.5 * s), ns, x)
    return [ys, *tf.gradients(tf.reduce_sum(ys * ys), [x])], [ns, x]


def in_while() -> Program:
    ns, x = tf.placeholder(F64, [2]), tf.placeholder(F64, [2])

    def outer(y: Any) -> Any:
        inner = ns[1] + tf.floor(tf.abs(y[0]))
        return repeated(y, inner, lambda z: tf.sin(z) + 0.3 * z * y)

    y = repeated(x, ns[0], outer)
    return twice_differentiated(y, [x]), [ns, x]


def in_branch_in_scan() -> Program:
    ns, x = tf.placeholder(F64, [None]), tf.placeholder(F64, [2])

    def step(s: Any, n: Any) -> Any:
        return tf.cond(
            n > 2.0, lambda: repeated(s, n, lambda y: tf.sin(y) + 0.5 * s), lambda: s * 0.5
        )  # fmt: skip

    ys = tf.scan(step, ns, x, reverse=True, checkpoint=2)
    return [ys, *tf.gradients(tf.reduce_sum(ys * ys), [x])], [ns, x]


def with_a_limit() -> Program:
    ns, x = tf.placeholder(F64, [None]), tf.placeholder(F64, [2])

    def step(s: Any, n: Any) -> Any:
        zero = tf.constant(0.0, F64)
        return tf.while_loop(
            lambda k, y: k < n, lambda k, y: (k + 1.0, tf.sin(y) * 1.1), [zero, s],
            maximum_iterations=7,
        )[1]  # fmt: skip

    ys = tf.scan(step, ns, x)
    return [ys, *tf.gradients(tf.reduce_sum(ys * ys), [x])], [ns, x]


@pytest.mark.parametrize("room", [1, 4, 64])
@pytest.mark.parametrize(
    ("build", "lengths"),
    [
        (alone, [0.0, 1.0, 4.0, 5.0, 63.0, 65.0, 2.0]),
        (in_scan, [[1, 2, 3], [], [0], [0, 5, 0], [9, 2, 17], [3]]),
        (scalars_in_scan, [[1, 2, 3], [], [0], [0, 5, 0], [9, 2, 17], [66]]),
        (in_while, [[2, 3], [0, 3], [3, 0], [9, 2], [2, 9], [6, 6]]),
        (in_branch_in_scan, [[1, 2, 3], [], [0, 5, 0], [9, 2, 17], [65, 1]]),
        (with_a_limit, [[1, 2, 3], [8, 6], [7], [0, 70]]),
    ],
)
def test_it_is_one_call_and_right(
    build: Callable[[], Program], lengths: Sequence[Any], room: int, monkeypatch: Any
) -> None:
    monkeypatch.setattr(control, "FIRST_ROOM", room)
    fetches, feeds = build()
    reference = function_stages(tf.get_default_graph(), fetches, feeds, "close").function
    rng = np.random.default_rng(0)
    with tf.Session() as sess:
        for n in lengths:
            shapes = [t.shape.as_list() for t in feeds[1:]]
            args = [np.array(n, np.float64), *(rng.normal(size=s) for s in shapes)]
            want, _ = evaluate(reference, args)
            for _ in range(3):
                got = sess.run(fetches, dict(zip(feeds, args, strict=True)))
                for a, b in zip(got, want, strict=True):
                    np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
        for exe in sess.executables():
            assert exe.bound
            assert exe.counts.calls == exe.counts.runs


def test_a_run_that_needs_more_room_leaves_no_trace(monkeypatch: Any) -> None:
    """Variables and random streams are those of one run, however often it was begun."""
    n, x = tf.placeholder(F64, []), tf.placeholder(F64, [2])
    v = tf.Variable(1.0, dtype=F64)
    noise = tf.random_uniform([2], dtype=F64, seed=3)
    y = repeated(x + noise, n, lambda y: tf.sin(y) * 1.1)
    grad = tf.gradients(tf.reduce_sum(y), x)[0]
    add = v.assign_add(tf.reduce_sum(grad))
    seen = []
    for room in 64, 1:
        monkeypatch.setattr(control, "FIRST_ROOM", room)
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            feeds = [{n: float(k), x: [0.3, 0.4]} for k in (3, 20, 5, 40)]
            seen.append([sess.run([noise, grad, add], f) for f in feeds])
            (exe,) = (e for e in sess.executables() if e.feeds)
            assert max(exe.rooms.values(), default=64) == 64
            assert exe.counts.runs == 4
    for a, b in zip(*seen, strict=True):
        for p, q in zip(a, b, strict=True):
            np.testing.assert_array_equal(p, q)


def test_an_index_out_of_range_names_the_iterations_of_both_loops() -> None:
    ns, table = tf.placeholder(F64, [None]), tf.placeholder(F64, [4])

    def step(s: Any, n: Any) -> Any:
        zero = tf.constant(0.0, F64)
        return tf.while_loop(
            lambda k, y: k < n, lambda k, y: (k + 1.0, y * table[tf.cast(k, tf.int32)]), [zero, s]
        )[1]  # fmt: skip

    ys = tf.scan(step, ns, tf.constant(1.0, F64))
    grad = tf.gradients(ys, table)[0]
    with tf.Session() as sess:
        feed = {ns: [2, 4, 1], table: [1.0, 2.0, 3.0, 4.0]}
        np.testing.assert_allclose(sess.run(grad, feed), [242.0, 97.0, 32.0, 24.0])
        with pytest.raises(OutOfBoundsError, match="index 4 is outside") as caught:
            sess.run(grad, {ns: [2, 5, 1], table: np.ones(4)})
    assert "in iteration 4 of a loop" in str(caught.value)
    assert "in iteration 1 of a loop" in str(caught.value)
    assert "test_late_loops.py" in str(caught.value)


def test_what_a_loop_stacks_may_be_a_result() -> None:
    """Then its length is asked for outside of the run, which goes on in a second call."""
    n = tf.placeholder(F64, [])
    zero = tf.constant(0.0, F64)
    array = tf.TensorArray(F64, size=0, dynamic_size=True)
    _, out = tf.while_loop(
        lambda k, a: k < n, lambda k, a: (k + 1.0, a.write(tf.cast(k, tf.int32), k * k)),
        [zero, array],
    )  # fmt: skip
    with tf.Session() as sess:
        for k in 3, 0, 70:
            np.testing.assert_array_equal(sess.run(out.stack(), {n: k}), np.arange(k) ** 2.0)


def test_unread_values_of_different_sizes_are_not_stacked() -> None:
    """A draw in a loop in a loop is kept for gradients that nobody asks for."""
    ns = tf.placeholder(F64, [None])

    def f(y: Any) -> Any:
        return y + tf.random_uniform([2], dtype=F64, seed=3)

    ys = tf.scan(lambda s, n: repeated(s, n, f), ns, tf.zeros([2], F64))
    tf.set_random_seed(1)
    level = tf.OptimizerOptions(opt_level=tf.OptimizerOptions.L0)
    config = tf.ConfigProto(graph_options=tf.GraphOptions(optimizer_options=level))
    with tf.Session() as sess, tf.Session(config=config) as plain:
        for counts in [1, 2, 3], [0, 5]:
            got, want = (s.run(ys, {ns: counts}) for s in (sess, plain))
            np.testing.assert_allclose(got, want)
