"""Programs with `raw_rnn`, for any library that has it: ours, and the one the numbers are from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

STEPS, BATCH, DEPTH, UNITS = 5, 3, 2, 4
LENGTHS = [5, 2, 3]


def numbers(shape: Any, seed: int) -> np.ndarray:
    """Numbers between -0.9 and 0.9 without a pattern that would hide a mistake in an order."""
    sizes = [int(d) for d in shape]
    n = int(np.prod(sizes))
    return (0.9 * np.sin(1.7 * np.arange(n) + 0.3 * seed + 0.1)).reshape(sizes)


def reading(tf: Any, cells: Any, x: Any) -> tuple[Any, ...]:
    """What `dynamic_rnn` does: inputs from an array, sequences of different length."""
    cell = cells.LSTMCell(UNITS, use_peepholes=True)
    steps = tf.TensorArray(x.dtype, size=tf.shape(x)[0]).unstack(x)
    batch = tf.shape(x)[1]

    def loop_fn(time: Any, output: Any, state: Any, loop_state: Any) -> Any:
        over = time >= tf.constant(LENGTHS)
        if output is None:
            state = cell.zero_state(batch, x.dtype)
        after = tf.cond(
            tf.reduce_all(over), lambda: tf.zeros([batch, DEPTH], x.dtype), lambda: steps.read(time)
        )
        return over, after, state, output, None

    outputs, state, nothing = tf.nn.raw_rnn(cell, loop_fn)
    assert nothing is None
    return outputs.stack(), *state


def decoding(tf: Any, cells: Any, x: Any) -> tuple[Any, ...]:
    """A decoder that reads its own outputs, and puts out a pair that is not the cell's output."""
    cell = cells.GRUCell(UNITS)
    w = tf.get_variable("w", [UNITS, DEPTH], x.dtype)

    def loop_fn(time: Any, output: Any, state: Any, loop_state: Any) -> Any:
        if output is None:
            said = (tf.zeros([DEPTH], x.dtype), {"most": tf.zeros([], tf.int64)})
            total = tf.zeros([BATCH], x.dtype)
            return tf.zeros([BATCH], tf.bool), x[0], cell.zero_state(BATCH, x.dtype), said, total
        y = tf.matmul(output, w)
        over = tf.logical_or(time >= 4, tf.reduce_sum(y, 1) > 0.9)
        total = loop_state + tf.reduce_sum(y * y, 1) * tf.cast(time, x.dtype)
        return over, tf.tanh(y) + x[1], state * 0.9, (y, {"most": tf.argmax(y, 1)}), total

    (y, most), state, total = tf.nn.raw_rnn(cell, loop_fn, scope="decoder")
    return y.stack(), tf.cast(most["most"].stack(), x.dtype), state, total


def watching(tf: Any, cells: Any, x: Any) -> tuple[Any, ...]:
    """A stack of cells whose state holds a counter, and an array as the state of the loop."""
    cell = cells.MultiRNNCell([cells.BasicRNNCell(UNITS), cells.GRUCell(DEPTH)])

    def loop_fn(time: Any, output: Any, state: Any, loop_state: Any) -> Any:
        if output is None:
            norms = tf.TensorArray(x.dtype, size=0, dynamic_size=True)
            start = cell.zero_state(BATCH, x.dtype)
            return tf.zeros([BATCH], tf.bool), x[0], start, None, (norms, 0)
        norms, count = loop_state
        norms = norms.write(count, tf.reduce_sum(output * output))
        over = tf.fill([BATCH], time >= 3)
        return over, output + x[2], state, output, (norms, count + 1)

    outputs, state, (norms, count) = tf.nn.raw_rnn(cell, loop_fn)
    return outputs.stack(), *state, norms.stack(), tf.cast(count, x.dtype)


PROGRAMS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "reading": reading,
    "decoding": decoding,
    "watching": watching,
}


def results(tf: Any, cells: Any, name: str, array_of: Callable[[Any], Any]) -> dict[str, Any]:
    """Values, and gradients of a sum in which every element counts differently.

    Args:
      array_of: a dense tensor of a gradient.
    """
    x = tf.placeholder(tf.float64, [None, BATCH, DEPTH])
    leaves = PROGRAMS[name](tf, cells, x)
    sizes = {"reading": (5, 3), "decoding": (4, 3), "watching": (3, 3)}[name]
    loss = 0.0
    for i, t in enumerate(leaves):
        shape = t.shape.as_list()
        known = [*sizes[: len(shape)], *shape[2:]] if None in shape else shape
        loss += tf.reduce_sum(t * numbers(known, 7 + i))
    variables = sorted(tf.trainable_variables(), key=lambda v: v.op.name)
    slopes = [array_of(g) for g in tf.gradients(loss, [x, *variables])]
    with tf.Session() as sess:
        for i, v in enumerate(variables):
            v.load(numbers(v.shape, i), sess)
        feed = {x: numbers([STEPS, BATCH, DEPTH], 50)}
        values = sess.run({"leaves": list(leaves), "gradients": slopes}, feed)
    found: dict[str, Any] = {"variables": [v.op.name for v in variables]}
    return {**found, **values}
