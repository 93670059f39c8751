"""Arrays in accumulators, and what `scan`, `map_fn`, `foldl` and `while_loop` say of wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import OutOfBoundsError, ShapeError, StaticGraphError, UsageError

Array = tf.TensorArray
X = np.array([1.0, 2.0, 4.0, 8.0, 16.0])


@pytest.fixture(autouse=True)
def graph() -> Any:
    with tf.Graph().as_default() as g:
        yield g


def run(fetches: Any, feed: Any = None) -> Any:
    with tf.Session() as sess:
        return sess.run(fetches, feed)


@pytest.mark.parametrize("checkpoint", [None, 2, "auto"])
@pytest.mark.parametrize("fold", [tf.foldl, tf.foldr])
def test_a_fold_writes_an_array(fold: Any, checkpoint: Any) -> None:
    x = tf.placeholder(tf.float64, [None])

    def step(acc: Any, e: Any) -> Any:
        (total, i), seen = acc
        return (total * 2 + e, i + 1), seen.write(i, total * e)

    n = tf.shape(x)[0]
    start = ((tf.constant(1.0, tf.float64), 0), Array(tf.float64, size=n, element_shape=[]))
    (total, count), seen = fold(step, x, start, checkpoint=checkpoint)
    y = seen.stack()
    weights = tf.cast(tf.range(n), tf.float64) + 1
    loss = total**2 + tf.reduce_sum(y * y * weights)
    slope = tf.gradients(loss, x)[0]
    second = tf.gradients(tf.reduce_sum(slope * slope), x)[0]
    with tf.Session() as sess:
        for size in (5, 3, 0):
            got = sess.run([total, count, y, slope, second], {x: X[:size]})
            order = X[:size] if fold is tf.foldl else X[:size][::-1]
            value, written = 1.0, []
            for e in order:
                written.append(value * e)
                value = value * 2 + e
            assert (got[0], got[1], got[2].tolist()) == (value, size, written)
            plain = unrolled(fold, X[:size])
            for have, want in zip(got[3:], plain, strict=True):
                np.testing.assert_allclose(have, want, rtol=1e-12)


def unrolled(fold: Any, numbers: np.ndarray) -> list[np.ndarray]:
    """First and second gradients of the same steps, written out."""
    with tf.Graph().as_default():
        parts = [tf.constant(v, tf.float64) for v in numbers]
        total, loss = tf.constant(1.0, tf.float64), 0.0
        for i, e in enumerate(parts if fold is tf.foldl else parts[::-1]):
            loss += (total * e) ** 2 * (i + 1)
            total = total * 2 + e
        if not parts:
            return [np.zeros(0), np.zeros(0)]
        first = tf.gradients(loss + total**2, parts)
        second = tf.gradients(tf.add_n([g * g for g in first]), parts)
        return [np.array(v) for v in run([first, second])]


def test_an_array_that_is_only_written_is_not_carried() -> None:
    x = tf.constant(X)
    _, seen = tf.foldl(lambda a, e: (a[0] + 1, a[1].write(a[0], e)), x, (0, Array(tf.float64, 5)))
    (loop,) = [op for op in tf.get_default_graph().get_operations() if op.type == "Scan"]
    assert loop.attrs["carries"] == 1
    np.testing.assert_array_equal(run(seen.stack()), X)


def test_an_array_that_is_read() -> None:
    start = Array(tf.int32, size=8).write(0, 1).write(1, 1)

    def step(acc: Any, i: Any) -> Any:
        return acc.write(i, acc.read(i - 1) + acc.read(i - 2))

    np.testing.assert_array_equal(
        run(tf.foldl(step, tf.range(2, 8), start).stack()), [1, 1, 2, 3, 5, 8, 13, 21]
    )


def test_back_prop_is_off_for_arrays_too() -> None:
    x = tf.constant(X)
    for checkpoint in (None, 2):
        start = (0, Array(tf.float64, 5, element_shape=[]))
        _, seen = tf.foldl(
            lambda a, e: (a[0] + 1, a[1].write(a[0], e)), x, start, back_prop=False,
            checkpoint=checkpoint,
        )  # fmt: skip
        assert tf.gradients(seen.stack(), x) == [None]


def test_arrays_in_the_nests_of_a_while_loop() -> None:
    loop_vars = {"i": 0, "out": (Array(tf.int32, 4), [Array(tf.float32, 4), tf.constant(1.0)])}

    def body(v: Any) -> Any:
        i, (a, (b, c)) = v["i"], v["out"]
        return [{"i": i + 1, "out": (a.write(i, i * i), [b.write(i, c), c * 2])}]

    out = tf.while_loop(lambda v: v["i"] < 4, body, [loop_vars])
    out = out[0] if isinstance(out, list) else out
    a, (b, c) = out["out"]
    got = run([a.stack(), b.stack(), c])
    assert [np.asarray(g).tolist() for g in got] == [[0, 1, 4, 9], [1, 2, 4, 8], 16]


def test_errors_of_arrays_in_a_fold_are_those_of_arrays() -> None:
    x = tf.constant(X)
    _, seen = tf.foldl(lambda a, e: (a[0] + 1, a[1].write(a[0], e)), x, (0, Array(tf.float64, 3)))
    with pytest.raises(OutOfBoundsError, match=r"index 4 is outside \[0, 3\)"):
        run(seen.stack())


def lost(acc: Any, e: Any) -> Any:
    return acc[0], e


WRONG: list[tuple[Callable[[], Any], type, str, str | None]] = [
    (lambda: tf.foldl(lost, X, (0, Array(tf.float64, 5))), UsageError,
     "TensorArray of float64", None),
    (lambda: tf.foldl(lost, X, (0, Array(tf.float64, 5, element_shape=[])), checkpoint=2),
     UsageError, "the accumulator holds <tf.TensorArray", None),
    (lambda: tf.foldl(lambda a, e: a.write(0, e), X, Array(tf.float64, 5), checkpoint=2),
     ShapeError, "is not known before one is written", "element_shape"),
    (lambda: tf.scan(lost, X, (0, Array(tf.float64, 5))), UsageError,
     "scan: the accumulator holds <tf.TensorArray", "tf.foldl and tf.while_loop"),
    (lambda: tf.scan(lambda a, e: Array(tf.float64, 5), X), UsageError,
     "scan: what fn gives holds <tf.TensorArray", "tf.foldl and tf.while_loop"),
    (lambda: tf.map_fn(lambda e: Array(tf.float64, 1).write(0, e), X), UsageError,
     "map_fn: what fn gives holds <tf.TensorArray", "array.stack()"),
    (lambda: tf.map_fn(lambda e: None, X), UsageError, "map_fn: fn gives None for a slice",
     "does it return what it computes?"),
    (lambda: tf.scan(lambda a, e: None, X), UsageError, "scan: fn gives None for the accumulator",
     "does it return what it computes?"),
    (lambda: tf.foldr(lambda a, e: None, X), UsageError, "foldr: fn gives None for the accumulator",
     "does it return what it computes?"),
    (lambda: tf.while_loop(lambda i: i < 3, lambda i: None, [0]), UsageError,
     "while_loop: the body gives", "does it return what it computes?"),
    (lambda: tf.scan(lambda a, e: a, tf.constant(1.0)), ShapeError,
     "scan: elems are gone through along their first axis, 'Const:0' is a scalar", None),
    (lambda: tf.foldl(lambda a, e: a, tf.constant(1.0), 0.0), ShapeError,
     "foldl: elems are gone through along their first axis, 'Const:0' is a scalar", None),
    (lambda: tf.map_fn(lambda e: e, tf.constant(1.0)), ShapeError,
     "map_fn: elems are gone through along their first axis, 'Const:0' is a scalar", None),
    (lambda: tf.scan(lambda a, e: tf.stack([a, a]), X), ShapeError,
     "the accumulator of the loop 'scan' enters with the shape () and leaves with (2,)", None),
    (lambda: tf.foldl(lambda a, e: (a[0], tf.stack([e, e])), X, (0, 0.0)), StaticGraphError,
     "the accumulator[1] of the loop 'foldl' enters", None),
    (lambda: tf.while_loop(lambda a: True, lambda a: tf.concat([a, a], 0), [X]), ShapeError,
     "loop variable 0 of the loop 'while' enters with the shape (5,)", "shape_invariants"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "kind", "text", "hint"), WRONG, ids=[w[2][:60] for w in WRONG])
def test_it_is_said_at_the_line_that_builds(
    build: Callable[[], Any], kind: type, text: str, hint: str | None
) -> None:
    with pytest.raises(kind) as found:
        build()
    message = str(found.value)
    assert text in message
    assert "test_fold_arrays.py:" in message
    shown = message.split("hint: ")[1:]
    assert (hint is None and not any("shape_invariants" in s for s in shown)) or (
        hint is not None and hint in shown[0]
    )
