"""`contrib.legacy_seq2seq`: encoders and decoders over lists, against their formulas in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import GraphError, ShapeError, UsageError
from tests.nn.rnn_golden import numbers

legacy = tf.contrib.legacy_seq2seq
rnn = tf.nn.rnn_cell
UNITS, SIZE, HERE, THERE = 3, 2, 6, 5  # of the cell, the tables, and the symbols of both sides
ASKED = [np.array([1, 4]), np.array([0, 5]), np.array([2, 2])]
GIVEN = [np.array([1, 0]), np.array([3, 4])]


@pytest.fixture(autouse=True)
def graph() -> Any:
    with tf.Graph().as_default() as g:
        yield g


def constants(lists: Any) -> list[Any]:
    return [tf.constant(a) for a in lists]


def run(fetches: Any, feed: Any = None) -> tuple[Any, dict[str, np.ndarray]]:
    """The fetches' values, with numbers in all variables, and those by their names."""
    with tf.Session() as sess:
        for k, v in enumerate(sorted(tf.global_variables(), key=lambda v: v.op.name)):
            v.load(numbers(v.shape, k), sess)
        names = {v.op.name: v for v in tf.global_variables()}
        return sess.run(fetches, feed), sess.run(names)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def linear(w: dict[str, np.ndarray], scope: str, *parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, 1) @ w[f"{scope}/kernel"] + w[f"{scope}/bias"]


def gru(w: dict[str, np.ndarray], scope: str, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    r, u = np.split(sigmoid(linear(w, f"{scope}/gates", x, h)), 2, axis=1)
    return u * h + (1 - u) * np.tanh(linear(w, f"{scope}/candidate", x, r * h))


def encoded(w: dict[str, np.ndarray], scope: str) -> list[np.ndarray]:
    states = [np.zeros([2, UNITS])]
    for row in ASKED:
        x = w[f"{scope}/embedding"][row]
        states.append(gru(w, f"{scope}/gru_cell", x, states[-1]))
    return states[1:]


@pytest.mark.parametrize("own", [False, True])
def test_symbols_to_symbols(own: bool) -> None:
    outputs, state = legacy.embedding_rnn_seq2seq(
        constants(ASKED), constants(GIVEN), rnn.GRUCell(UNITS), HERE, THERE, SIZE,
        feed_previous=own,
    )  # fmt: skip
    (out, last), w = run([outputs, state])
    top = "embedding_rnn_seq2seq"
    inner = f"{top}/embedding_rnn_decoder"
    cell = f"{inner}/rnn_decoder/output_projection_wrapper"
    h = encoded(w, f"{top}/rnn/embedding_wrapper")[-1]
    row = GIVEN[0]
    for k, have in enumerate(out):
        h = gru(w, f"{cell}/gru_cell", w[f"{inner}/embedding"][row], h)
        want = linear(w, cell, h)
        np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-6)
        row = want.argmax(1) if own else GIVEN[min(k + 1, 1)]
    np.testing.assert_allclose(last, h, rtol=1e-5, atol=1e-6)
    assert len(w) == 12


@pytest.mark.parametrize(("own", "first"), [(False, False), (True, False), (False, True)])
def test_symbols_to_symbols_with_attention(own: bool, first: bool) -> None:
    outputs, state = legacy.embedding_attention_seq2seq(
        constants(ASKED), constants(GIVEN), rnn.GRUCell(UNITS), HERE, THERE, SIZE, num_heads=2,
        feed_previous=own, initial_state_attention=first,
    )  # fmt: skip
    (out, last), w = run([outputs, state])
    top = "embedding_attention_seq2seq"
    inner = f"{top}/embedding_attention_decoder"
    scope = f"{inner}/attention_decoder"
    cell = f"{scope}/output_projection_wrapper"
    states = np.stack(encoded(w, f"{top}/rnn/embedding_wrapper"), 1)

    def look(h: np.ndarray) -> list[np.ndarray]:
        seen = []
        for a in range(2):
            y = linear(w, f"{scope}/Attention_{a}", h)
            at = np.tanh(states @ w[f"{scope}/AttnW_{a}"][0, 0] + y[:, None])
            weights = np.exp(at @ w[f"{scope}/AttnV_{a}"])
            weights /= weights.sum(1, keepdims=True)
            seen.append((weights[:, :, None] * states).sum(1))
        return seen

    h, row = states[:, -1], GIVEN[0]
    seen = look(h) if first else [np.zeros([2, UNITS])] * 2
    for k, have in enumerate(out):
        x = linear(w, scope, w[f"{inner}/embedding"][row], *seen)
        h = gru(w, f"{cell}/gru_cell", x, h)
        seen = look(h)
        want = linear(w, f"{scope}/AttnOutputProjection", linear(w, cell, h), *seen)
        np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-6)
        row = want.argmax(1) if own else GIVEN[min(k + 1, 1)]
    np.testing.assert_allclose(last, h, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("attention", [False, True])
def test_a_tensor_says_what_the_decoder_reads(attention: bool) -> None:
    build = legacy.embedding_attention_seq2seq if attention else legacy.embedding_rnn_seq2seq
    p = tf.placeholder(tf.bool, [])
    made = []
    for feed in (p, True, False):
        with tf.variable_scope("", reuse=True if made else None):
            cell = rnn.MultiRNNCell([rnn.LSTMCell(UNITS), rnn.DropoutWrapper(rnn.GRUCell(UNITS))])
            given = (constants(ASKED), constants(GIVEN), cell, HERE, THERE, SIZE)
            made.append(build(*given, feed_previous=feed))
    tables = [v for v in tf.trainable_variables() if v.op.name.endswith("decoder/embedding")]
    assert len(tables) == 1
    for value, other in ((True, 1), (False, 2)):
        (have, want), _ = run([made[0], made[other]], {p: value})
        for a, b in zip(tf.nest.flatten(have), tf.nest.flatten(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_vectors_to_vectors_is_two_networks_one_behind_the_other() -> None:
    x, y = tf.constant(numbers([3, 2, 4], 1)), tf.constant(numbers([2, 2, 5], 2))
    outputs, state = legacy.basic_rnn_seq2seq(
        tf.unstack(x), tf.unstack(y), rnn.BasicLSTMCell(UNITS), scope="both"
    )
    with tf.variable_scope("both", reuse=True):
        _, middle = tf.nn.static_rnn(rnn.BasicLSTMCell(UNITS), tf.unstack(x), dtype=tf.float64)
        with tf.variable_scope("rnn_decoder") as inner:
            want, end = tf.nn.static_rnn(
                rnn.BasicLSTMCell(UNITS), tf.unstack(y), middle, scope=inner
            )
    (have, good), _ = run([[outputs, state], [want, end]])
    for a, b in zip(tf.nest.flatten(have), tf.nest.flatten(good), strict=True):
        np.testing.assert_array_equal(a, b)


def test_buckets_share_their_variables() -> None:
    weights = [tf.ones([2])] * 2

    def network(asked: Any, given: Any) -> Any:
        return legacy.embedding_attention_seq2seq(
            asked, given, rnn.GRUCell(UNITS), HERE, THERE, SIZE
        )

    targets = [tf.constant([3, 4]), tf.constant([0, 1])]
    lists = constants(ASKED), constants(GIVEN), targets, weights
    outputs, losses = legacy.model_with_buckets(*lists, [(2, 1), (3, 2)], network)
    assert [len(o) for o in outputs] == [1, 2]
    assert len(tf.trainable_variables()) == 20
    alone = legacy.sequence_loss(outputs[1], targets, weights)
    (got, want), _ = run([losses[1], alone])
    assert got == want
    with pytest.raises(GraphError, match="there are 2 targets, a bucket has 3"):
        legacy.model_with_buckets(lists[0], constants(ASKED), *lists[2:], [(2, 3)], network)


def test_what_does_not_fit() -> None:
    cell, x = rnn.GRUCell(UNITS), tf.zeros([2, 4])
    states = tf.zeros([2, 5, 3])
    with pytest.raises(GraphError, match="attention_decoder needs at least one input"):
        legacy.attention_decoder([], tf.zeros([2, UNITS]), states, cell)
    with pytest.raises(GraphError, match="num_heads must be at least 1, got 0"):
        legacy.attention_decoder([x], tf.zeros([2, UNITS]), states, cell, num_heads=0)
    with pytest.raises(ShapeError, match=r"the axes batch, steps and size.* got shape \(2, 4\)"):
        legacy.attention_decoder([x], tf.zeros([2, UNITS]), x, cell)
    unknown = tf.placeholder(tf.float32, [2, None])
    with pytest.raises(ShapeError, match=r"the depth of input 0 must be known.* \(2, \?\)"):
        legacy.attention_decoder([unknown], tf.zeros([2, UNITS]), states, cell)
    cell(x, cell.zero_state(2, tf.float32))
    with pytest.raises(UsageError, match="the cell has been called before") as found:
        legacy.basic_rnn_seq2seq([x], [x], cell)
    assert "hint: make a cell for each call" in str(found.value)


def test_the_names_that_came_along() -> None:
    x = tf.placeholder(tf.float32, [None, None, 3])
    rnn_names = tf.contrib.rnn
    assert rnn_names.best_effort_input_batch_size([x, tf.zeros([4, 7])]) == 7
    size = rnn_names.best_effort_input_batch_size([x])
    (turned, n), _ = run([rnn_names.transpose_batch_time(x), size], {x: np.ones([2, 5, 3])})
    assert turned.shape == (5, 2, 3)
    assert n == 5
    vector = tf.zeros([3])
    assert rnn_names.transpose_batch_time(vector) is vector
    with pytest.raises(ShapeError, match="inputs have the axes time and batch"):
        rnn_names.best_effort_input_batch_size([vector])
    assert tf.contrib.framework.nest is tf.nest
    assert tf.contrib.util.constant_value(tf.constant(3)) == 3
