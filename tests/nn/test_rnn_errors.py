"""What cells and loops over them say of inputs, states and cells that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import staticgraph as tf
from staticgraph.errors import DtypeError, FetchError, ShapeError, UnimplementedError, UsageError

rnn = tf.nn.rnn_cell


@pytest.fixture(autouse=True)
def graph() -> Any:
    with tf.Graph().as_default() as g:
        yield g


def dynamic(cell: Any, x: Any = None, **kwargs: Any) -> Any:
    x = tf.zeros([2, 3, 4]) if x is None else x
    return tf.nn.dynamic_rnn(cell, x, **(kwargs or {"dtype": tf.float32}))


def own(step: Callable[[Any], Any]) -> Any:
    """A cell that gives what `step` makes of its state."""

    class Own(tf.nn.rnn_cell.RNNCell):
        state_size = output_size = 3

        def call(self, inputs: Any, state: Any) -> Any:
            del inputs
            return step(state)

    return Own()


def zeros(*sizes: int) -> Any:
    return tf.zeros(sizes)


WRONG: list[tuple[Callable[[], Any], type, str, str | None]] = [
    (lambda: dynamic(rnn.GRUCell(3), tf.zeros([2, 3, 4], tf.int32)), DtypeError,
     "gru_cell: a cell computes with floats, the inputs are int32", "embedding_lookup"),
    (lambda: dynamic(rnn.GRUCell(3), [zeros(2, 4), zeros(2, 4)]), UsageError,
     "gru_cell: a cell takes one tensor [batch, depth], got a list of 2", "static_rnn takes"),
    (lambda: dynamic(rnn.GRUCell(3), dtype=tf.float64), DtypeError,
     "gru_cell: the state is float64, inputs and variables are float32", "dtype=tf.float32"),
    (lambda: dynamic(rnn.LSTMCell(3), initial_state=zeros(2, 3)), UsageError,
     "the initial state is not nested as the state of lstm_cell: the structures differ: a "
     "LSTMStateTuple of 2 and the leaf", "cell.zero_state"),
    (lambda: dynamic(
        rnn.MultiRNNCell([rnn.LSTMCell(3), rnn.LSTMCell(3)]),
        initial_state=rnn.LSTMStateTuple(zeros(2, 3), zeros(2, 3))), UsageError,
     "not nested as the state of multi_rnn_cell: the structures differ at [0]", "cell.zero_state"),
    (lambda: dynamic(own(lambda s: s)), UsageError,
     "own: a cell gives its output and its next state, got <tf.Tensor", None),
    (lambda: dynamic(own(lambda s: (s, s, s))), UsageError, "next state, got 3 values", None),
    (lambda: dynamic(own(lambda s: (s, (s, s)))), ShapeError,
     "own: the next state is not nested as the one before", None),
    (lambda: tf.nn.static_rnn(own(lambda s: (s, [s])), [zeros(2, 4)], dtype=tf.float32),
     ShapeError, "own: the next state is not nested as the one before", None),
    (lambda: dynamic(tf.nn.rnn_cell.RNNCell()), UnimplementedError,
     "RNNCell does not say its state_size", "a property state_size"),
    (lambda: tf.nn.rnn_cell.RNNCell()(zeros(2, 4), zeros(2, 3)), UnimplementedError,
     "RNNCell does not define call(inputs, state)", None),
]  # fmt: skip


@pytest.mark.parametrize(("build", "kind", "text", "hint"), WRONG, ids=[w[2][:50] for w in WRONG])
def test_it_is_said_at_the_line_that_builds(
    build: Callable[[], Any], kind: type, text: str, hint: str | None
) -> None:
    with pytest.raises(kind) as found:
        build()
    message = str(found.value)
    assert text in message
    assert "test_rnn_errors.py:" in message
    assert ("hint: " in message) == (hint is not None)
    assert hint is None or hint in message.split("hint: ")[1]


def test_a_list_of_numbers_is_a_matrix() -> None:
    h, _ = rnn.GRUCell(3)([[1.0, 2.0]], zeros(1, 3))
    assert h.shape == [1, 3]


def test_an_array_is_not_a_tensor() -> None:
    array = tf.TensorArray(tf.float32, 2).unstack([1.0, 2.0])
    for build in (
        lambda: tf.stack([array]),
        lambda: tf.exp(array),
        lambda: tf.constant(1.0) + array,
    ):
        with pytest.raises(DtypeError, match="cannot be turned into a tensor") as found:
            build()
        assert "hint: array.stack()" in str(found.value)
    with tf.Session() as sess, pytest.raises(FetchError, match=r"hint: array.stack\(\)"):
        sess.run(array)
