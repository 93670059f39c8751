"""Regions that are alike are scheduled once, and get what each would get by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.ir.program import Launch
from staticgraph.passes import repeated


def rnn(steps: int = 6) -> Any:
    """Steps of a network, and its gradients."""
    x = tf.placeholder(tf.float32, [steps, None, 3])
    u, w, b = (tf.Variable(tf.zeros(s)) for s in ([3, 4], [4, 4], [4]))
    h = tf.zeros([tf.shape(x)[1], 4])
    for t in range(steps):
        h = tf.tanh(tf.matmul(x[t], u) + tf.matmul(h, w) + b)
    return tf.gradients(tf.reduce_sum(h * h), [u, w, b])


def rows() -> Any:
    """Softmaxes of different widths: alike but for a size."""
    return [tf.nn.softmax(tf.placeholder(tf.float32, [None, n])) for n in (5, 7, 5)]


def long_sums() -> Any:
    """Sums with partial results, which are values of their own."""
    return [tf.reduce_sum(tf.exp(tf.placeholder(tf.float32, [1 << 18], name=n))) for n in "abc"]


def operands() -> Any:
    """The same arithmetic on one value and on two; on other types; on other axes."""
    x, y = (tf.placeholder(tf.float32, [4, 4]) for _ in range(2))
    z = tf.cast(tf.placeholder(tf.float64, [4, 4]), tf.float64)
    products = [x * y, tf.transpose(x) * y, y * y, z * z, x * tf.transpose(y)]
    return [tf.reduce_sum(p, k) for p in products for k in (0, 1)]


@pytest.mark.parametrize("graph", [rnn, rows, long_sums, operands])
def test_the_program_is_that_of_regions_by_themselves(
    graph: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetches = graph()
    text = str(tf.stages(fetches).program)
    of = repeated._Form.of
    monkeypatch.setattr(repeated._Form, "of", lambda *a: (of(*a), object()))
    assert str(tf.stages(fetches).program) == text


def test_more_steps_of_an_unrolled_loop_are_not_scheduled_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    schedule = repeated.schedule
    counts = []
    for steps in (6, 12):
        asked: list[int] = []
        monkeypatch.setattr(repeated, "schedule", lambda *a, to=asked: to.append(0) or schedule(*a))
        program = tf.stages(rnn(steps)).program
        assert program is not None
        assert sum(isinstance(s, Launch) for s in program.steps) > 2 * steps
        counts.append(len(asked))
    assert counts[0] == counts[1] < 12


def test_values_stay_apart() -> None:
    x = [tf.placeholder(tf.float32, [3], name=n) for n in "abc"]
    with tf.Session() as sess:
        fed = {v: np.full(3, k + 1.0, np.float32) for k, v in enumerate(x)}
        got = sess.run([tf.reduce_max(tf.exp(v) * x[0]) for v in x], fed)
    np.testing.assert_allclose(got, np.exp([1.0, 2.0, 3.0]), rtol=1e-6)
