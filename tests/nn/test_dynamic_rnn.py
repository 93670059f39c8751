"""Recurrent networks whose loop is in the graph: TensorFlow's values, and those of the same steps
written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from tests.nn.rnn_golden import CASES, check, name_of, numbers

rnn = tf.nn.rnn_cell
LOOPS = [c for c in CASES if "dynamic" in c["run"]]


@pytest.mark.parametrize("case", LOOPS, ids=name_of)
def test_values_and_gradients_are_those_of_tensorflow(case: dict[str, Any]) -> None:
    known = case["run"] == "dynamic_rnn"
    check(case, *((3, 4) if known else (None, None)))


def both_ways(
    make: Any, lengths: Any, state: Any = None, orders: int = 1, steps: int = 3
) -> tuple[Any, Any]:
    """Values and gradients of a cell in a loop, and of its steps written out."""
    x = tf.constant(numbers([3, steps, 2], 4))
    outputs, last = tf.nn.dynamic_rnn(
        make(), x, sequence_length=lengths, initial_state=state, dtype=tf.float64
    )
    with tf.variable_scope("", reuse=True):
        listed, end = tf.nn.static_rnn(
            make(),
            tf.unstack(x, axis=1),
            sequence_length=lengths,
            initial_state=state,
            dtype=tf.float64,
        )
    found = []
    for values in ([outputs, last], [tf.stack(listed, 1), end]):
        flat = tf.nest.flatten(values)
        loss = tf.add_n([tf.reduce_sum(tf.sin(3 * t)) for t in flat])
        variables = tf.trainable_variables()
        found.append(flat)
        for _ in range(orders):
            slopes = tf.gradients(loss, [x, *variables])
            loss = tf.add_n([tf.reduce_sum(s * s) for s in slopes])
            found[-1] += slopes
    return found[0], found[1]


@pytest.mark.parametrize(
    ("make", "lengths", "orders"),
    [
        (lambda: rnn.GRUCell(2), None, 1),
        (lambda: rnn.BasicRNNCell(2), [3, 0, 2], 2),
        (lambda: rnn.LSTMCell(3, use_peepholes=True, num_proj=2, cell_clip=0.5), None, 0),
        (
            lambda: rnn.MultiRNNCell([rnn.BasicLSTMCell(3), rnn.ResidualWrapper(rnn.GRUCell(3))]),
            [1, 3, 2], 0,
        ),
    ],
    ids=["gru", "rnn", "lstm", "stack"],
)  # fmt: skip
def test_a_loop_is_its_steps_written_out(make: Any, lengths: Any, orders: int) -> None:
    tf.get_variable_scope().set_initializer(tf.random_normal_initializer(0.0, 0.5, seed=1))
    looped, written = both_ways(make, lengths, orders=orders)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        a, b = sess.run([looped, written])
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12)


def test_a_state_to_start_from() -> None:
    start = rnn.LSTMStateTuple(tf.constant(numbers([3, 4], 1)), tf.constant(numbers([3, 4], 2)))
    looped, written = both_ways(lambda: rnn.BasicLSTMCell(4), [1, 3, 2], start, 0)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        a, b = sess.run([looped, written])
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12)


def test_time_major_is_the_same_turned_round() -> None:
    x = tf.constant(numbers([3, 5, 2], 4))
    lengths = [5, 2, 4]
    outputs, state = tf.nn.dynamic_rnn(rnn.GRUCell(3), x, lengths, dtype=tf.float64)
    with tf.variable_scope("", reuse=True):
        turned, other = tf.nn.dynamic_rnn(
            rnn.GRUCell(3), tf.transpose(x, [1, 0, 2]), lengths, dtype=tf.float64, time_major=True
        )  # fmt: skip
    assert (outputs.shape.as_list(), turned.shape.as_list()) == ([3, 5, 3], [5, 3, 3])
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        a, b, s, t = sess.run([outputs, turned, state, other])
    np.testing.assert_array_equal(a, b.transpose(1, 0, 2))
    np.testing.assert_array_equal(s, t)


def test_one_compilation_serves_every_length_and_batch() -> None:
    x = tf.placeholder(tf.float32, [None, None, 2])
    outputs, state = tf.nn.dynamic_rnn(rnn.BasicRNNCell(3), x, dtype=tf.float32)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        shapes = [
            [a.shape for a in sess.run([outputs, state], {x: np.ones([b, t, 2])})]
            for b, t in ((2, 3), (4, 9), (2, 1), (5, 0))
        ]
        compiled = [e for e in sess.explain().executables if e.runs == 4]
    assert shapes == [[(b, t, 3), (b, 3)] for b, t in ((2, 3), (4, 9), (2, 1), (5, 0))]
    assert len(compiled) == 1


def test_inputs_and_states_may_be_nested() -> None:
    class Sum(rnn.RNNCell):
        state_size = {"total": 2, "steps": tf.TensorShape([])}  # noqa: RUF012
        output_size = (2, 3)

        def call(self, inputs: Any, state: Any) -> Any:
            total = state["total"] + inputs["a"] * tf.get_variable("w", [])
            return (total, inputs["b"]), {"total": total, "steps": state["steps"] + 1.0}

    inputs = {"b": tf.ones([4, 6, 3]), "a": tf.ones([4, 6, 2])}
    cell = Sum()
    (totals, passed), state = tf.nn.dynamic_rnn(
        cell, inputs, dtype=tf.float32, sequence_length=[6, 1, 0, 3]
    )
    with tf.Session() as sess:
        sess.run(cell.weights[0].assign(2.0))
        t, p, s = sess.run([totals, passed, state])
    assert [v.name for v in cell.weights] == ["rnn/sum/w:0"]
    assert t[:, :, 0].tolist() == [
        [2, 4, 6, 8, 10, 12], [2, 0, 0, 0, 0, 0], [0] * 6, [2, 4, 6, 0, 0, 0],
    ]  # fmt: skip
    assert p.sum(axis=(1, 2)).tolist() == [18, 3, 0, 9]
    assert s["total"][:, 1].tolist() == [12, 2, 0, 6]
    assert s["steps"].tolist() == [6, 1, 0, 3]


def test_dropout_draws_anew_at_every_step_and_training_works() -> None:
    cell = rnn.DropoutWrapper(rnn.BasicLSTMCell(8), output_keep_prob=0.5)
    outputs, state = tf.nn.dynamic_rnn(cell, tf.ones([4, 6, 2]), dtype=tf.float32)
    loss = tf.reduce_mean(tf.square(state.h - 0.5))
    train = tf.train.AdamOptimizer(0.05).minimize(loss)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        out = sess.run(outputs)
        kept = out != 0
        losses = [sess.run([loss, train])[0] for _ in range(40)]
    assert 0.3 < kept.mean() < 0.7
    assert (kept[:, 0] != kept[:, 1]).any()
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda x: tf.nn.dynamic_rnn(rnn.GRUCell(2), x), "give initial_state, or the dtype"),
        (lambda x: tf.nn.dynamic_rnn(rnn.GRUCell, x, dtype=tf.float32), r"use GRUCell\(...\)"),
        (
            lambda x: tf.nn.dynamic_rnn(rnn.GRUCell(2), x[0, 0], dtype=tf.float32),
            r"got shape \(2,\)",
        ),
        (
            lambda x: tf.nn.dynamic_rnn(rnn.GRUCell(2), x, [1, 2], dtype=tf.float32),
            "sequence_length has 2 entries, the batch 3",
        ),
        (
            lambda x: tf.nn.dynamic_rnn(rnn.GRUCell(2), x, initial_state=tf.zeros([4, 2])),
            "initial state has batch size 4, the inputs have 3",
        ),
        (
            lambda x: tf.nn.dynamic_rnn(
                rnn.MultiRNNCell([rnn.GRUCell(2)]), (x, x[:, :2]), dtype=tf.float32
            ),
            "differ in steps, 5 and 2",
        ),
    ],
)
def test_what_does_not_fit(build: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text) as raised:
        build(tf.placeholder(tf.float32, [3, 5, 2]))
    assert "test_dynamic_rnn.py" in str(raised.value)


def test_lengths_that_do_not_fit_fail_the_run() -> None:
    x, n = tf.placeholder(tf.float32, [None, None, 2]), tf.placeholder(tf.int32, [None])
    outputs, _ = tf.nn.dynamic_rnn(rnn.GRUCell(2), x, n, dtype=tf.float32)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        assert sess.run(outputs, {x: np.ones([2, 4, 2]), n: [4, 1]}).shape == (2, 4, 2)
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[0\] is 5, .* 4 steps"):
            sess.run(outputs, {x: np.ones([2, 4, 2]), n: [5, 1]})
        with pytest.raises((ValueError, tf.errors.OpError), match="3 entries, the batch 2"):
            sess.run(outputs, {x: np.ones([2, 4, 2]), n: [1, 1, 1]})
