"""Loops with variables that grow or shrink, written for any `tf`, as loops and written out.

A program is what its variables start with, one iteration, and their shapes.  `x` is a vector of
three numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

X = np.array([0.7, 0.4, 1.1])
COUNTS = (0, 1, 2, 4)


class Growing(NamedTuple):
    """See the module's text; `goes_on` decides from the variables, else a count does."""

    start: Callable[[Any, Any], Sequence[Any]]
    step: Callable[..., Sequence[Any]]  # tf, x, number of the iteration, variables
    shapes: Sequence[Sequence[int | None]]
    goes_on: Callable[..., Any] | None = None
    counts: Sequence[int] = COUNTS


def _row(tf: Any, x: Any) -> Any:
    return tf.reshape(x, [1, 3])


def _attention(tf: Any, x: Any, i: Any, memory: Any, h: Any) -> Sequence[Any]:
    weights = tf.nn.softmax(tf.matmul(h, memory, transpose_b=True))
    h = tf.tanh(tf.matmul(weights, memory) + _row(tf, x))
    return tf.concat([memory, h], 0), h


def _inner(tf: Any, x: Any, i: Any, s: Any) -> Sequence[Any]:
    def step(j: Any, a: Any) -> Any:
        return j + 1, tf.concat([a, a[-1:] * s], 0)

    shapes = [tf.TensorShape([]), tf.TensorShape([None])]
    _, a = tf.while_loop(lambda j, a: j < i, step, [0, x], shape_invariants=shapes)
    return (s + tf.reduce_mean(a),)


VECTOR = ([None],)
PROGRAMS: dict[str, Growing] = {
    "parts from outside": Growing(
        lambda tf, x: [x],
        lambda tf, x, i, a: [tf.concat([a, x * (tf.cast(i, x.dtype) + 1.0)], 0)], VECTOR,
    ),
    "from none": Growing(
        lambda tf, x: [x[:0]],
        lambda tf, x, i, a: [tf.concat([a, x[:2] * x[1:] + tf.reduce_sum(a)], 0)], VECTOR,
    ),
    "in front": Growing(
        lambda tf, x: [x], lambda tf, x, i, a: [tf.concat([x[:1] * a[-1:], a], 0)], VECTOR,
    ),
    "columns": Growing(
        lambda tf, x: [tf.reshape(x, [-1, 1])],
        lambda tf, x, i, a: [tf.concat([a, tf.tanh(a[:, -1:]) * tf.reshape(x, [-1, 1])], 1)],
        ([None, None],),
    ),
    "made of all before": Growing(
        lambda tf, x: [x],
        lambda tf, x, i, a: [tf.concat([a, tf.reshape(tf.reduce_mean(a * a), [1])], 0)], VECTOR,
    ),
    "made of the last two": Growing(
        lambda tf, x: [x], lambda tf, x, i, a: [tf.concat([a, a[-1:] * a[-2:-1]], 0)], VECTOR,
    ),
    "all changes": Growing(
        lambda tf, x: [x], lambda tf, x, i, a: [tf.concat([a * 1.5, x], 0)], VECTOR,
    ),
    "doubled": Growing(
        lambda tf, x: [x], lambda tf, x, i, a: [tf.concat([a, tf.sin(a)], 0)], VECTOR,
    ),
    "shrinks": Growing(
        lambda tf, x: [x], lambda tf, x, i, a: [a[1:] * a[:-1]], VECTOR, counts=(0, 1, 2),
    ),
    "as many as are large": Growing(
        lambda tf, x: [x], lambda tf, x, i, a: [tf.boolean_mask(a * a, a > 0.2)], VECTOR,
    ),
    "until it is enough": Growing(
        lambda tf, x: [x], lambda tf, x, i, a: [tf.concat([a, a[-1:] * 1.5 + x[:1]], 0)], VECTOR,
        lambda tf, a: tf.reduce_sum(a) < 10.0, (3,),
    ),
    "two": Growing(
        lambda tf, x: [x, x],
        lambda tf, x, i, a, b: [tf.concat([a, x * tf.reduce_sum(b)], 0), tf.concat([b, a], 0)],
        ([None], [None]),
    ),
    "in a branch": Growing(
        lambda tf, x: [x],
        lambda tf, x, i, a: [
            tf.cond(tf.equal(i % 2, 0), lambda: tf.concat([a, x * a[0]], 0), lambda: a * 2.0)
        ],
        VECTOR,
    ),
    "integers beside": Growing(
        lambda tf, x: [tf.constant([1]), tf.reduce_sum(x)],
        lambda tf, x, i, n, s: [
            tf.concat([n, [i + 1]], 0), s * tf.cast(tf.reduce_sum(n), x.dtype) + tf.reduce_sum(x),
        ],
        ([None], []),
    ),
    "attention": Growing(
        lambda tf, x: [_row(tf, x), _row(tf, x)], _attention, ([None, 3], [1, 3])
    ),
    "a loop in a loop": Growing(lambda tf, x: [tf.reduce_sum(x)], _inner, ([],)),
}  # fmt: skip


def looped(tf: Any, name: str, x: Any, count: Any) -> Any:
    """The floats that the loop ends with, one behind the other."""
    p = PROGRAMS[name]

    def goes_on(i: Any, *variables: Any) -> Any:
        return i < count if p.goes_on is None else p.goes_on(tf, *variables)

    out = tf.while_loop(
        goes_on, lambda i, *v: (i + 1, *p.step(tf, x, i, *v)), [0, *p.start(tf, x)],
        shape_invariants=[tf.TensorShape(s) for s in ([], *p.shapes)],
    )  # fmt: skip
    return _floats(tf, out[1:])


def unrolled(tf: Any, name: str, x: Any, count: int) -> Any:
    """The same with each iteration written out."""
    p = PROGRAMS[name]
    values = list(p.start(tf, x))
    for i in range(count):
        values = list(p.step(tf, x, i, *values))
    return _floats(tf, values)


def _floats(tf: Any, values: Sequence[Any]) -> Any:
    return tf.concat([tf.reshape(v, [-1]) for v in values if v.dtype.is_floating], 0)
