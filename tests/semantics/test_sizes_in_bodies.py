"""What a branch or a loop's body asks of sizes is asked where it runs, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import staticgraph as tf

F32 = tf.float32


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def vectors(n: int) -> list[Any]:
    return [tf.placeholder(F32, [None], name=f"v{k}") for k in range(n)]


def assigned(a: Any) -> Any:
    v = tf.get_variable("held", initializer=np.zeros(4, np.float32))
    with tf.control_dependencies([tf.assign(v, a)]):
        return tf.reduce_sum(a)


# name: what a body computes of two vectors, sizes it takes, sizes it does not, the error
BODIES: dict[str, tuple[Callable[..., Any], tuple[int, int], tuple[int, int], str]] = {
    "product": (lambda a, b: tf.reduce_sum(a * b), (3, 3), (3, 5), "shapes [3] and [5]"),
    "reshape": (
        lambda a, b: tf.reduce_sum(tf.reshape(a, [2, -1])), (4, 1), (3, 1), "cannot reshape [3]"
    ),
    "element": (lambda a, b: a[5], (6, 1), (3, 1), "index 5 is outside axis 0 of size 3"),
    "slice": (
        lambda a, b: tf.reduce_sum(tf.slice(a, [1], [3])), (4, 1), (2, 1), "begin + size = 4"
    ),
    "constant": (
        lambda a, b: tf.reduce_sum(a * tf.constant(ones(4))), (4, 1), (3, 1), "[3] and [4]"
    ),
    "split": (lambda a, b: tf.reduce_sum(tf.split(a, 2)[1]), (4, 1), (3, 1), "does not divide"),
    "stack": (
        lambda a, b: tf.reduce_sum(tf.stack([a, b])), (3, 3), (3, 5), "shapes [3] and [5] differ"
    ),
    "fold": (
        lambda a, b: tf.foldl(lambda s, x: s + x[0] * x[1], (a, b), 0.0), (3, 3), (3, 5),
        "sequence 1 has 5 steps, the loop 3",
    ),
    "assigned": (lambda a, b: assigned(a), (4, 1), (3, 1), "assigned to a variable of shape [4]"),
}  # fmt: skip


def in_cond(f: Any, go: Any, a: Any, b: Any) -> Any:
    return tf.cond(go, lambda: f(a, b), lambda: tf.constant(-1.0))


def in_case(f: Any, go: Any, a: Any, b: Any) -> Any:
    sides = [lambda: tf.reduce_sum(tf.concat([a, b], 0)) * 0.0 - 1.0, lambda: f(a, b)]
    return tf.switch_case(tf.cast(go, tf.int32), sides)


def in_cond_in_cond(f: Any, go: Any, a: Any, b: Any) -> Any:
    return tf.cond(
        tf.shape(a)[0] > 0, lambda: in_cond(f, go, a, b), lambda: tf.reduce_sum(b)
    )  # fmt: skip


def in_cond_in_scan(f: Any, go: Any, a: Any, b: Any) -> Any:
    return tf.scan(lambda s, _: in_cond(f, go, a, b), tf.zeros([2]), 0.0)[1]


def in_while(f: Any, go: Any, a: Any, b: Any) -> Any:
    """By a counter that is known before the loop."""
    n = tf.cast(go, tf.int32)
    return tf.while_loop(lambda i, s: i < n, lambda i, s: (i + 1, f(a, b)), [0, -1.0])[1]


def in_while_on_data(f: Any, go: Any, a: Any, b: Any) -> Any:
    return tf.while_loop(lambda i, s: i, lambda i, s: (False, f(a, b)), [go, -1.0])[1]


def in_scan(f: Any, go: Any, a: Any, b: Any) -> Any:
    xs = tf.zeros(tf.cast(go, tf.int32)[None])
    return tf.foldl(lambda s, x: f(a, b) + x, xs, -1.0)


BRANCHES = [in_cond, in_case, in_cond_in_cond, in_cond_in_scan]
LOOPS = [in_while, in_while_on_data, in_scan]


@pytest.mark.parametrize(
    ("name", "place"),
    [(name, place) for name in BODIES for place in (*BRANCHES, *LOOPS)
     if name != "assigned" or place in BRANCHES],  # in a loop a variable is carried
)  # fmt: skip
@pytest.mark.parametrize("first", [True, False])
def test_sizes_are_checked_where_the_body_runs(name: str, place: Any, first: bool) -> None:
    f, good, bad, message = BODIES[name]
    with tf.Graph().as_default():
        go = tf.placeholder(tf.bool, [])
        a, b = vectors(2)
        y = place(f, go, a, b)
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())

            def run(chosen: bool, sizes: Sequence[int]) -> float:
                feed = {go: chosen, a: ones(sizes[0]), b: ones(sizes[1])}
                return float(sess.run(y, feed))

            want = run(True, good) if first else 0.0
            for _ in range(4):  # the later of them are native calls, where they can be
                assert run(False, bad) == -1.0
            for _ in range(2):
                kinds = (ValueError, tf.errors.OpError)
                with pytest.raises(kinds, match=re.escape(message)) as caught:
                    run(True, bad)
                assert "test_sizes_in_bodies.py" in str(caught.value)
                assert run(False, bad) == -1.0
            assert run(False, good) == -1.0
            assert run(True, good) == (want if first else run(True, good))


@pytest.mark.parametrize("place", [in_cond, in_case, in_cond_in_scan, in_while, in_while_on_data])
def test_a_one_that_broadcasts_in_a_body_is_served(place: Any) -> None:
    with tf.Graph().as_default():
        go = tf.placeholder(tf.bool, [])
        a, b = vectors(2)
        y = place(BODIES["product"][0], go, a, b)
        with tf.Session() as sess:
            for chosen, n, m, want in [
                (True, 3, 3, 3.0), (False, 3, 5, -1.0), (True, 3, 1, 3.0), (True, 1, 4, 4.0),
                (False, 1, 4, -1.0), (False, 3, 5, -1.0), (True, 2, 2, 2.0),
            ]:  # fmt: skip
                assert sess.run(y, {go: chosen, a: ones(n), b: ones(m)}) == want


def test_a_branch_that_is_not_chosen_compiles_nothing_for_its_sizes() -> None:
    with tf.Graph().as_default():
        go = tf.placeholder(tf.bool, [])
        a, b = vectors(2)
        y = in_cond(BODIES["product"][0], go, a, b)
        with tf.Session() as sess:
            for n in range(3, 9):
                assert sess.run(y, {go: False, a: ones(3), b: ones(n)}) == -1.0
            assert len(sess.executables()) == 1


def test_the_error_is_that_of_the_branch_that_was_chosen() -> None:
    """Both branches cannot take the sizes; two operations of the same line differ in their kind."""
    with tf.Graph().as_default():
        k = tf.placeholder(tf.int32, [])
        a, b = vectors(2)
        sides = [lambda: tf.reduce_sum(a * b), lambda: tf.reduce_sum(tf.stack([a, b]))]
        y = tf.switch_case(k, sides, default=lambda: tf.constant(0.0))
        with tf.Session() as sess:
            for n, message in [(0, "^Mul: .* broadcast"), (1, "^Pack: .* differ on axis 0")]:
                with pytest.raises(tf.errors.ShapeError, match=message):
                    sess.run(y, {k: n, a: ones(3), b: ones(5)})
            assert sess.run(y, {k: 2, a: ones(3), b: ones(5)}) == 0.0


def test_gradients_of_a_branch_that_is_not_chosen() -> None:
    with tf.Graph().as_default():
        go = tf.placeholder(tf.bool, [])
        a, b = vectors(2)
        y = tf.cond(go, lambda: tf.reduce_sum(a * b), lambda: tf.reduce_sum(a * a))
        grads = tf.gradients(y, [a, b])
        with tf.Session() as sess:
            da, db = sess.run(grads, {go: False, a: ones(3), b: ones(5)})
            assert da.tolist() == [2.0] * 3
            assert db.tolist() == [0.0] * 5
            da, db = sess.run(grads, {go: True, a: ones(3), b: ones(1)})
            assert (da.tolist(), db.tolist()) == ([1.0] * 3, [3.0])


def test_sizes_that_are_fixed_for_another_reason_leave_the_branch_alone() -> None:
    """Where a 1 broadcasts outside, sizes are numbers that the branch cannot take."""
    with tf.Graph().as_default():
        go = tf.placeholder(tf.bool, [])
        a, b = vectors(2)
        y = tf.cond(
            go, lambda: tf.reduce_sum(tf.reshape(b, [2, -1])), lambda: tf.reduce_sum(a + b)
        )  # fmt: skip
        z = y + tf.reduce_sum(a * b)
        with tf.Session() as sess:
            assert sess.run(z, {go: True, a: ones(2), b: ones(2)}) == 4.0
            assert sess.run(z, {go: False, a: ones(3), b: ones(1)}) == 9.0
            with pytest.raises(tf.errors.ShapeError, match=r"cannot reshape \[1\]"):
                sess.run(z, {go: True, a: ones(3), b: ones(1)})
            assert sess.run(z, {go: False, a: ones(3), b: ones(1)}) == 9.0


def test_a_loop_without_iterations_changes_no_variable_and_keeps_its_start() -> None:
    with tf.Graph().as_default():
        xs, a, b = vectors(3)
        v = tf.Variable(1.0)

        def body(s: Any, x: Any) -> Any:
            with tf.control_dependencies([tf.assign_add(v, tf.reduce_sum(a * b))]):
                return s * x

        y = tf.foldl(body, xs, 7.0)
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            for n, sizes, want in [(0, (3, 5), 1.0), (2, (3, 3), 7.0), (0, (3, 5), 7.0)]:
                feed = {xs: ones(n), a: ones(sizes[0]), b: ones(sizes[1])}
                assert sess.run([y, v], feed) == [7.0, want]
            with pytest.raises(tf.errors.ShapeError, match=r"\[3\] and \[5\] do not broadcast"):
                sess.run(y, {xs: ones(1), a: ones(3), b: ones(5)})
            assert sess.run(v) == 7.0


@pytest.mark.parametrize("delta", [3, 1, -1, -3])
def test_a_range_whose_step_is_fed_goes_up_or_down(delta: int) -> None:
    with tf.Graph().as_default():
        first, last, step = (tf.placeholder(tf.int32, []) for _ in range(3))
        r = tf.range(first, last, step)
        with tf.Session() as sess:
            for a, b in (0, 10), (10, 0), (4, 4):
                got = sess.run(r, {first: a, last: b, step: delta})
                assert got.tolist() == list(range(a, b, delta))
            with pytest.raises(tf.errors.InvalidArgumentError, match="delta must not be 0"):
                sess.run(r, {first: 0, last: 10, step: 0})


@pytest.mark.parametrize("place", [in_cond, in_case, in_cond_in_cond, in_cond_in_scan, in_while])
def test_effects_before_a_branch_happen_once(place: Any) -> None:
    """Sizes that are new to the branch make a run begin again, but not behind an effect."""
    with tf.Graph().as_default():
        go = tf.placeholder(tf.bool, [])
        a, b = vectors(2)
        calls: list[int] = []

        def noted(x: np.ndarray) -> np.ndarray:
            calls.append(len(x))
            return x

        seen = tf.py_func(noted, [a], F32)
        seen.set_shape([None])
        with tf.control_dependencies([seen]):
            y = place(BODIES["product"][0], go, a, b) + 0.0 * tf.reduce_sum(seen)
        with tf.Session() as sess:
            for chosen, n, m, want in [
                (True, 3, 3, 3.0), (False, 3, 5, -1.0), (True, 3, 1, 3.0), (True, 1, 4, 4.0),
                (False, 1, 4, -1.0), (False, 3, 5, -1.0), (True, 2, 2, 2.0),
            ]:  # fmt: skip
                calls.clear()
                assert sess.run(y, {go: chosen, a: ones(n), b: ones(m)}) == want
                assert calls == [n]
            calls.clear()
            with pytest.raises(tf.errors.ShapeError, match=r"\[3\] and \[5\] do not broadcast"):
                sess.run(y, {go: True, a: ones(3), b: ones(5)})
            assert calls in ([3], [])
