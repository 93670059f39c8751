"""Recurrent networks put together the ways TensorFlow 1 programs put them together."""

from __future__ import annotations

from typing import Any

import numpy as np

import staticgraph as tf

rnn = tf.contrib.rnn


def language_model(training: bool, batch: int, steps: int) -> dict[str, Any]:
    """Cells called in a Python loop over time, one graph for training and one for evaluation."""

    def lstm_cell() -> Any:
        return rnn.BasicLSTMCell(6, forget_bias=0.0, reuse=tf.get_variable_scope().reuse)

    def attn_cell() -> Any:
        return rnn.DropoutWrapper(lstm_cell(), output_keep_prob=0.5) if training else lstm_cell()

    words = tf.placeholder(tf.int32, [batch, steps])
    cell = rnn.MultiRNNCell([attn_cell() for _ in range(2)], state_is_tuple=True)
    initial = cell.zero_state(batch, tf.float32)
    inputs = tf.nn.embedding_lookup(tf.get_variable("embedding", [7, 6]), words)
    outputs, state = [], initial
    with tf.variable_scope("RNN"):
        for t in range(steps):
            if t > 0:
                tf.get_variable_scope().reuse_variables()
            output, state = cell(inputs[:, t, :], state)
            outputs.append(output)
    output = tf.reshape(tf.concat(outputs, 1), [-1, 6])
    logits = tf.matmul(output, tf.get_variable("softmax_w", [6, 7]))
    loss = tf.contrib.legacy_seq2seq.sequence_loss_by_example(
        [logits], [tf.reshape(words, [-1])], [tf.ones([batch * steps])]
    )
    return {"words": words, "initial": initial, "final": state, "loss": tf.reduce_sum(loss)}


def test_two_models_share_variables_and_states_are_carried_over() -> None:
    tf.set_random_seed(5)  # the dropout's
    start = tf.random_uniform_initializer(-0.1, 0.1, seed=3)
    with tf.name_scope("Train"), tf.variable_scope("Model", initializer=start):
        train = language_model(True, 4, 3)
    count = len(tf.global_variables())
    with tf.name_scope("Valid"), tf.variable_scope("Model", reuse=True, initializer=start):
        valid = language_model(False, 1, 1)
    assert len(tf.global_variables()) == count == 6
    assert [v.op.name for v in tf.trainable_variables()][1:3] == [
        "Model/RNN/multi_rnn_cell/cell_0/basic_lstm_cell/kernel",
        "Model/RNN/multi_rnn_cell/cell_0/basic_lstm_cell/bias",
    ]
    step = tf.train.GradientDescentOptimizer(1.0).minimize(train["loss"])
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        words = np.arange(12).reshape(4, 3) % 7
        losses = []
        for _ in range(30):
            state = sess.run(train["initial"])
            feed = {train["words"]: words}
            for part, value in zip(train["initial"], state, strict=True):
                feed[part.c], feed[part.h] = value.c, value.h
            losses.append(sess.run([train["loss"], step], feed)[0])
        state = sess.run(valid["initial"])
        for word in (1, 2, 3):  # a state fed as a whole
            fetches = [valid["final"], valid["loss"]]
            state, value = sess.run(fetches, {valid["words"]: [[word]], valid["initial"]: state})
    assert losses[-1] < losses[0] - 0.5
    assert state[1].h.shape == (1, 6)
    assert np.isfinite(value)


def test_one_cell_in_both_directions_and_a_probability_of_open_shape() -> None:
    keep = tf.placeholder(tf.float32, name="keep_prob")
    cell = rnn.DropoutWrapper(rnn.BasicLSTMCell(5), input_keep_prob=keep)
    x = tf.placeholder(tf.float32, [None, 4, 5])
    stack = rnn.MultiRNNCell([cell] * 2)
    outputs, _ = tf.nn.bidirectional_dynamic_rnn(stack, stack, x, [4, 2], dtype=tf.float32)
    assert len(tf.trainable_variables()) == 2
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        ones = np.ones([2, 4, 5])
        a, b = sess.run(outputs, {x: ones, keep: 1.0})
        c, _ = sess.run(outputs, {x: ones, keep: 0.3})
    np.testing.assert_allclose(a[0, ::-1], b[0], rtol=1e-6)  # the inputs are all alike
    assert not a[1, 2:].any() and not b[1, 2:].any()
    assert (a != c).any()


def test_an_encoder_hands_its_state_to_a_decoder() -> None:
    source = tf.placeholder(tf.float32, [None, None, 3])
    target = tf.placeholder(tf.float32, [None, None, 3])
    lengths = tf.placeholder(tf.int32, [None])

    def cells() -> Any:
        return rnn.MultiRNNCell([rnn.GRUCell(8) for _ in range(2)])

    with tf.variable_scope("encoder"):
        _, state = tf.nn.dynamic_rnn(cells(), source, lengths, dtype=tf.float32)
    with tf.variable_scope("decoder"):
        outputs, _ = tf.nn.dynamic_rnn(cells(), target, initial_state=state)
    out = tf.tensordot(outputs, tf.get_variable("w", [8, 3]), 1)
    loss = tf.reduce_mean(tf.square(out - tf.reverse(target, [1])))
    train = tf.train.AdamOptimizer(0.01).minimize(loss)
    gradients = tf.gradients(loss, tf.trainable_variables("encoder"))
    assert all(g is not None for g in gradients)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        feed = {
            source: np.ones([2, 5, 3]), target: np.linspace(-1, 1, 18).reshape(2, 3, 3),
            lengths: [5, 3],
        }  # fmt: skip
        losses = [sess.run([loss, train], feed)[0] for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]


def test_states_side_by_side_through_a_loop() -> None:
    cells = [
        rnn.DropoutWrapper(rnn.GRUCell(4), output_keep_prob=tf.placeholder_with_default(1.0, []))
        for _ in range(2)
    ]
    stack = rnn.MultiRNNCell(cells, state_is_tuple=False)
    start = tf.placeholder(tf.float32, [None, stack.state_size])
    outputs, state = tf.nn.dynamic_rnn(stack, tf.ones([3, 4, 2]), initial_state=start)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        out, last = sess.run([outputs, state], {start: np.zeros([3, 8])})
        again = sess.run(outputs, {start: last})
    np.testing.assert_array_equal(out[:, -1], last[:, 4:])
    assert np.abs(again[:, 0] - out[:, -1]).max() < np.abs(out[:, 0] - out[:, -1]).max()
