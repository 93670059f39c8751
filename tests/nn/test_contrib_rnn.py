"""What `tf.contrib` has of recurrent networks: its own cells, stacks of both directions, losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from tests.nn.rnn_golden import numbers

rnn = tf.contrib.rnn


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def step(cell: Any, depth: int = 3, batch: int = 2) -> tuple[Any, dict[str, np.ndarray], Any]:
    """One step of a cell: what it gives, its variables by name, and what it was given."""
    x = numbers([batch, depth], 20)
    sizes = tf.nest.flatten(cell.state_size)
    state = [numbers([batch, n], 30 + i) for i, n in enumerate(sizes)]
    packed = tf.nest.pack_sequence_as(cell.state_size, [tf.constant(s) for s in state])
    out = cell(tf.constant(x), packed)
    with tf.Session() as sess:
        for i, v in enumerate(cell.weights):
            v.load(numbers(v.shape, i), sess)
        values = {v.op.name.partition("/")[2]: sess.run(v) for v in cell.weights}
        return sess.run(out), values, (x, *state)


@pytest.mark.parametrize("keep", [1.0, 0.5])
def test_layer_normalisation_is_its_formula(keep: float) -> None:
    cell = rnn.LayerNormBasicLSTMCell(
        4, forget_bias=0.5, norm_gain=2.0, dropout_keep_prob=keep, dropout_prob_seed=1
    )
    (out, new), w, (x, c, h) = step(cell)
    assert list(w) == [
        "kernel", "input/gamma", "input/beta", "transform/gamma", "transform/beta", "forget/gamma",
        "forget/beta", "output/gamma", "output/beta", "state/gamma", "state/beta",
    ]  # fmt: skip

    def norm(a: np.ndarray, part: str) -> np.ndarray:
        mean, spread = a.mean(1, keepdims=True), a.std(1, keepdims=True)
        return (a - mean) / spread * w[f"{part}/gamma"] + w[f"{part}/beta"]

    gates = np.split(np.concatenate([x, h], 1) @ w["kernel"], 4, axis=1)
    names = ("input", "transform", "forget", "output")
    i, j, f, o = (norm(a, n) for a, n in zip(gates, names, strict=True))
    given = sigmoid(i) * np.tanh(j)
    if keep == 1.0:
        want = norm(c * sigmoid(f + 0.5) + given, "state")
        np.testing.assert_allclose(new.c, want, rtol=1e-9)
    np.testing.assert_allclose(out, np.tanh(new.c) * sigmoid(o), rtol=1e-9)
    np.testing.assert_array_equal(out, new.h)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        assert sess.run(cell.weights[1]).tolist() == [2.0] * 4


def test_without_normalisation_it_has_a_bias() -> None:
    cell = rnn.LayerNormBasicLSTMCell(4, layer_norm=False)
    (out, _), w, (x, c, h) = step(cell)
    assert list(w) == ["kernel", "bias"]
    i, j, f, o = np.split(np.concatenate([x, h], 1) @ w["kernel"] + w["bias"], 4, axis=1)
    memory = c * sigmoid(f + 1) + sigmoid(i) * np.tanh(j)
    np.testing.assert_allclose(out, np.tanh(memory) * sigmoid(o), rtol=1e-9)


@pytest.mark.parametrize("projected", [None, 2])
def test_the_cell_of_the_search_is_its_formula(projected: int | None) -> None:
    cell = rnn.NASCell(3, num_proj=projected, use_bias=True)
    (out, new), w, (x, c, h) = step(cell)
    a = np.split(x @ w["kernel"], 8, axis=1)
    b = np.split(h @ w["recurrent_kernel"] + w["bias"], 8, axis=1)

    def relu(v: np.ndarray) -> np.ndarray:
        return np.maximum(v, 0)

    s = [p + q for p, q in zip(a, b, strict=True)]
    left = np.tanh(np.tanh(sigmoid(s[0]) * relu(s[1])) + c)
    memory = left * np.tanh(sigmoid(s[2]) + relu(a[3] * b[3]))
    gate = np.tanh(np.tanh(np.tanh(s[4]) * sigmoid(s[5])) + sigmoid(np.tanh(s[6]) + sigmoid(s[7])))
    want = np.tanh(memory * gate)
    np.testing.assert_allclose(new.c, memory, rtol=1e-9)
    np.testing.assert_allclose(
        out, want @ w["projection_weights"] if projected else want, rtol=1e-9
    )


def test_block_cells_have_the_numbers_of_the_others_under_their_names() -> None:
    (a, _), w, _ = step(rnn.LSTMBlockCell(4, use_peephole=True, cell_clip=0.3))
    (b, _), _, _ = step(rnn.LSTMCell(4, use_peepholes=True, cell_clip=0.3, name="other"))
    np.testing.assert_array_equal(a, b)
    assert list(w) == ["kernel", "bias", "w_f_diag", "w_i_diag", "w_o_diag"]
    (c, _), v, _ = step(rnn.GRUBlockCell(4))
    (d, _), _, _ = step(rnn.GRUCell(4, name="third"))
    np.testing.assert_array_equal(c, d)
    assert list(v) == ["w_ru", "b_ru", "w_c", "b_c"]
    assert [v.name for v in tf.global_variables()][:1] == ["lstm_cell/kernel:0"]
    with pytest.raises(TypeError, match="two names of one argument"):
        rnn.GRUBlockCell(4, cell_size=4)


def test_projections_and_embeddings_around_a_cell() -> None:
    x = tf.constant(numbers([2, 3], 1))
    inner = rnn.BasicRNNCell(4)
    out_cell = rnn.OutputProjectionWrapper(rnn.InputProjectionWrapper(inner, 6), 5)
    out, _ = out_cell(x, out_cell.zero_state(2, tf.float64))
    words = rnn.EmbeddingWrapper(rnn.GRUCell(2), 7, 3)
    embedded, _ = words(tf.constant([3, 0]), words.zero_state(2, tf.float64))
    names = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
    assert names == {
        "output_projection_wrapper/input_projection_wrapper/kernel": [3, 6],
        "output_projection_wrapper/input_projection_wrapper/bias": [6],
        "output_projection_wrapper/input_projection_wrapper/basic_rnn_cell/kernel": [10, 4],
        "output_projection_wrapper/input_projection_wrapper/basic_rnn_cell/bias": [4],
        "output_projection_wrapper/kernel": [4, 5],
        "output_projection_wrapper/bias": [5],
        "embedding_wrapper/embedding": [7, 3],
        "embedding_wrapper/gru_cell/gates/kernel": [5, 4],
        "embedding_wrapper/gru_cell/gates/bias": [4],
        "embedding_wrapper/gru_cell/candidate/kernel": [5, 2],
        "embedding_wrapper/gru_cell/candidate/bias": [2],
    }
    assert out_cell.output_size == 5
    assert (out.shape.as_list(), embedded.shape.as_list()) == ([2, 5], [2, 2])
    with tf.Session() as sess:
        for i, v in enumerate(tf.global_variables()):
            v.load(numbers(v.shape, i), sess)
        w = [sess.run(v) for v in tf.global_variables()[:6]]
        value = sess.run(out)
    hidden = np.tanh(np.pad(numbers([2, 3], 1) @ w[0] + w[1], [(0, 0), (0, 4)]) @ w[2] + w[3])
    np.testing.assert_allclose(value, hidden @ w[4] + w[5], rtol=1e-9)


def test_layers_in_both_directions_in_a_loop_and_written_out() -> None:
    x = tf.constant(numbers([3, 4, 2], 1))
    lengths = [4, 1, 3]

    def cells() -> list[list[Any]]:
        return [[rnn.GRUCell(3), rnn.BasicRNNCell(2)], [rnn.GRUCell(3), rnn.BasicRNNCell(2)]]

    outputs, fw, bw = rnn.stack_bidirectional_dynamic_rnn(
        *cells(), x, dtype=tf.float64, sequence_length=lengths
    )
    looped = tf.global_variables()
    listed, fw2, bw2 = rnn.stack_bidirectional_rnn(
        *cells(), tf.unstack(x, axis=1), dtype=tf.float64, sequence_length=lengths, scope="listed"
    )
    written = tf.global_variables()[len(looped) :]
    # as in TensorFlow, only one of the two adds a scope for both directions
    assert looped[0].op.name == (
        "stack_bidirectional_rnn/cell_0/bidirectional_rnn/fw/gru_cell/gates/kernel"
    )
    assert written[0].op.name == "listed/cell_0/fw/gru_cell/gates/kernel"
    with tf.Session() as sess:
        for i, pair in enumerate(zip(looped, written, strict=True)):
            for v in pair:
                v.load(numbers(v.shape, i), sess)
        a, b = sess.run([[outputs, fw, bw], [tf.stack(listed, 1), fw2, bw2]])
    for p, q in zip(tf.nest.flatten(a), tf.nest.flatten(b), strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-9)


# ---------------------------------------------------------------- losses and decoders
LOGITS, WEIGHTS = numbers([2, 3, 4], 3), np.array([[1.0, 1.0, 0.5], [1.0, 0.0, 0.0]])
TARGETS = np.array([[1, 0, 3], [2, 2, 2]])


def losses() -> np.ndarray:
    logp = LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True))
    return -np.take_along_axis(logp, TARGETS[..., None], -1)[..., 0] * WEIGHTS


@pytest.mark.parametrize(("time", "batch"), [(True, True), (True, False), (False, True)])
def test_the_loss_of_sequences(time: bool, batch: bool) -> None:
    loss = tf.contrib.seq2seq.sequence_loss(LOGITS, TARGETS, WEIGHTS, time, batch)
    axis = None if time and batch else 1 if time else 0
    with np.errstate(invalid="ignore"):
        want = losses().sum(axis) / (WEIGHTS.sum(axis) + 1e-12)
    np.testing.assert_allclose(tf.Session().run(loss), want, rtol=1e-9)


def test_the_loss_of_sequences_with_nothing_averaged_or_of_its_own() -> None:
    sums = tf.contrib.seq2seq.sequence_loss(LOGITS, TARGETS, WEIGHTS, False, False)
    own = tf.contrib.seq2seq.sequence_loss(
        LOGITS, TARGETS, WEIGHTS,
        softmax_loss_function=lambda labels, logits: tf.reduce_max(logits, 1),
    )  # fmt: skip
    a, b = tf.Session().run([sums, own])
    np.testing.assert_allclose(a, losses(), rtol=1e-9)
    np.testing.assert_allclose(b, (LOGITS.max(-1) * WEIGHTS).sum() / WEIGHTS.sum(), rtol=1e-9)
    with pytest.raises(ValueError, match=r"targets have rank 2, got shape \(2, 3, 1\)"):
        tf.contrib.seq2seq.sequence_loss(LOGITS, TARGETS[..., None], WEIGHTS)


def test_the_losses_of_lists_of_steps() -> None:
    legacy = tf.contrib.legacy_seq2seq
    lists = [[np.ascontiguousarray(x[:, t]) for t in range(3)] for x in (LOGITS, TARGETS, WEIGHTS)]
    each, total, mean = tf.Session().run(
        [
            legacy.sequence_loss_by_example(*lists),
            legacy.sequence_loss(*lists, average_across_batch=False),
            legacy.sequence_loss(*lists),
        ]
    )
    np.testing.assert_allclose(each, losses().sum(1) / WEIGHTS.sum(1), rtol=1e-9)
    np.testing.assert_allclose([total, mean], [each.sum(), each.mean()], rtol=1e-9)
    with pytest.raises(ValueError, match="3 logits, 2 targets and 3 weights"):
        legacy.sequence_loss_by_example(lists[0], lists[1][:2], lists[2])


def test_a_decoder_may_go_on_with_what_it_gave() -> None:
    cell = rnn.BasicRNNCell(2)
    steps = [tf.ones([1, 2])] * 3
    outputs, state = tf.contrib.legacy_seq2seq.rnn_decoder(
        steps, tf.zeros([1, 2]), cell, loop_function=lambda previous, i: previous * float(i)
    )
    assert [v.name for v in cell.weights] == [
        "rnn_decoder/basic_rnn_cell/kernel:0", "rnn_decoder/basic_rnn_cell/bias:0",
    ]  # fmt: skip
    with tf.Session() as sess:
        w = numbers([4, 2], 0)
        cell.weights[0].load(w, sess)
        cell.weights[1].load(np.zeros(2), sess)
        found = sess.run(outputs)
    x, h = np.ones([1, 2]), np.zeros([1, 2])
    for i, out in enumerate(found):
        h = np.tanh(np.concatenate([x if i == 0 else h * i, h], 1) @ w)
        np.testing.assert_allclose(out, h, rtol=1e-5)
    assert state is outputs[-1]


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda c: rnn.stack_bidirectional_dynamic_rnn([c], [c, c], X), "1 cells forwards and 2"),
        (lambda c: rnn.stack_bidirectional_dynamic_rnn(c, [c], X), "cells_fw is a list of cells"),
        (
            lambda c: rnn.stack_bidirectional_dynamic_rnn([c], [c], X, [1, 2]),
            "initial_states_fw is a list of 1 states",
        ),
    ],
)
def test_what_does_not_fit(build: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text) as raised:
        build(rnn.GRUCell(2))
    assert "test_contrib_rnn.py" in str(raised.value)


X = np.zeros([2, 3, 2])
