"""Recurrent cells: values, names and shapes of variables, wrappers, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import StaticGraphError
from tests.nn.rnn_golden import CASES, check, name_of, numbers

rnn = tf.nn.rnn_cell
# With lengths the steps before the end are checked as well as those behind it.
UNROLLED = [
    c
    for c in CASES
    if c["run"].startswith("static")
    and (c["lengths"] or c["cell"]["cell"] in ("GRUCell", "LSTMCell"))
]


@pytest.mark.parametrize("case", UNROLLED, ids=name_of)
def test_values_and_gradients_are_those_of_tensorflow(case: dict[str, Any]) -> None:
    check(case)


def test_an_open_batch_gives_the_same() -> None:
    check(next(c for c in UNROLLED if "layers" in c["cell"] and c["lengths"]), batch=None)


# ---------------------------------------------------------------- variables
def shapes(variables: Any) -> dict[str, tuple[int, ...]]:
    return {v.op.name: tuple(v.shape.as_list()) for v in variables}


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (
            lambda: rnn.BasicRNNCell(5),
            {"basic_rnn_cell/kernel": (7, 5), "basic_rnn_cell/bias": (5,)},
        ),
        (lambda: rnn.BasicLSTMCell(5, name="me"), {"me/kernel": (7, 20), "me/bias": (20,)}),
        (
            lambda: rnn.GRUCell(5),
            {"gru_cell/gates/kernel": (7, 10), "gru_cell/gates/bias": (10,),
             "gru_cell/candidate/kernel": (7, 5), "gru_cell/candidate/bias": (5,)},
        ),
        (
            lambda: rnn.LSTMCell(5, use_peepholes=True, num_proj=3),
            {"lstm_cell/kernel": (5, 20), "lstm_cell/bias": (20,), "lstm_cell/w_f_diag": (5,),
             "lstm_cell/w_i_diag": (5,), "lstm_cell/w_o_diag": (5,),
             "lstm_cell/projection/kernel": (5, 3)},
        ),
        (
            lambda: rnn.MultiRNNCell(
                [rnn.BasicRNNCell(4), rnn.DropoutWrapper(rnn.BasicRNNCell(3))]
            ),
            {"multi_rnn_cell/cell_0/basic_rnn_cell/kernel": (6, 4),
             "multi_rnn_cell/cell_0/basic_rnn_cell/bias": (4,),
             "multi_rnn_cell/cell_1/basic_rnn_cell/kernel": (7, 3),
             "multi_rnn_cell/cell_1/basic_rnn_cell/bias": (3,)},
        ),
    ],
)  # fmt: skip
def test_variables_have_the_names_of_checkpoints(cell: Any, expected: dict[str, Any]) -> None:
    cell = cell()
    inputs = tf.unstack(tf.ones([2, 3, 2]), axis=1)
    tf.nn.static_rnn(cell, inputs, dtype=tf.float32)
    assert shapes(tf.global_variables()) == {f"rnn/{k}": v for k, v in expected.items()}
    assert shapes(cell.variables) == shapes(tf.global_variables())
    assert cell.trainable_variables == tf.trainable_variables()
    assert cell.non_trainable_variables == []


def test_biases_start_as_tensorflow_starts_them() -> None:
    gru, lstm = rnn.GRUCell(2), rnn.BasicLSTMCell(2)
    for cell in (gru, lstm):
        cell(tf.ones([1, 3]), cell.zero_state(1, tf.float32))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        values = {
            v.op.name: sess.run(v).tolist() for v in tf.global_variables() if "bias" in v.name
        }
    assert values == {
        "gru_cell/gates/bias": [1.0] * 4,
        "gru_cell/candidate/bias": [0.0] * 2,
        "basic_lstm_cell/bias": [0.0] * 8,
    }


def test_a_second_cell_gets_a_scope_of_its_own_and_reuse_shares() -> None:
    x = tf.ones([1, 3])
    one, other = rnn.BasicRNNCell(2), rnn.BasicRNNCell(2)
    one(x, one.zero_state(1, tf.float32))
    other(x, other.zero_state(1, tf.float32))
    assert other.weights[0].name == "basic_rnn_cell_1/kernel:0"
    third = rnn.BasicRNNCell(2, reuse=True, name="basic_rnn_cell")
    third(x, third.zero_state(1, tf.float32))
    assert third.weights[0] is one.weights[0]
    with tf.variable_scope("", reuse=tf.AUTO_REUSE):
        fourth = rnn.BasicRNNCell(2)
        fourth(x, fourth.zero_state(1, tf.float32), scope="basic_rnn_cell_1")
    assert fourth.weights == other.weights


def test_build_makes_the_variables_before_the_first_call() -> None:
    cell = rnn.LSTMCell(4, dtype=tf.float64, initializer=tf.zeros_initializer())
    cell.build([None, 3])
    assert shapes(cell.weights) == {"lstm_cell/kernel": (7, 16), "lstm_cell/bias": (16,)}
    assert cell.dtype is tf.float64
    assert cell.count_params() == 7 * 16 + 16
    cell(tf.ones([2, 3], tf.float64), cell.zero_state(2, tf.float64))
    assert len(tf.global_variables()) == 2


def test_a_cell_of_the_user_takes_part() -> None:
    class Decay(rnn.RNNCell):
        def __init__(self, units: int) -> None:
            super().__init__()
            self._units = units

        @property
        def state_size(self) -> Any:
            return {"sum": self._units, "steps": tf.TensorShape([])}

        output_size = property(lambda self: self._units)

        def call(self, inputs: Any, state: Any) -> Any:
            rate = tf.get_variable("rate", [], initializer=tf.constant_initializer(0.5))
            total = state["sum"] * rate + inputs
            return total, {"sum": total, "steps": state["steps"] + 1.0}

    cell = Decay(2)
    steps = [tf.constant([[1.0, 2.0]]), tf.constant([[4.0, 8.0]]), tf.constant([[0.0, 0.0]])]
    outputs, state = tf.nn.static_rnn(cell, steps, dtype=tf.float32, sequence_length=[2])
    assert [v.name for v in cell.trainable_weights] == ["rnn/decay/rate:0"]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        out, last = sess.run([outputs, state])
    assert [o.tolist() for o in out] == [[[1.0, 2.0]], [[4.5, 9.0]], [[0.0, 0.0]]]
    assert last["sum"].tolist() == [[4.5, 9.0]]
    assert last["steps"].tolist() == [2.0]


def test_a_cell_of_the_user_that_is_all_its_own() -> None:
    class Old(rnn.RNNCell):
        state_size = output_size = 2

        def __call__(self, inputs: Any, state: Any, scope: Any = None) -> Any:
            with tf.variable_scope(scope or type(self).__name__):
                w = tf.get_variable("w", [3, 2], initializer=tf.ones_initializer())
                out = state + tf.matmul(inputs, w)
            return out, out

    outputs, _ = tf.nn.static_rnn(Old(), [tf.ones([1, 3])] * 2, dtype=tf.float32)
    assert [v.name for v in tf.global_variables()] == ["rnn/Old/w:0"]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        assert sess.run(outputs[1]).tolist() == [[6.0, 6.0]]


# ---------------------------------------------------------------- states
def test_states_of_zeros() -> None:
    cell = rnn.MultiRNNCell([rnn.BasicLSTMCell(2), rnn.GRUCell(3)])
    n = tf.placeholder(tf.int32, [])
    state = cell.zero_state(n, tf.float16)
    assert isinstance(state[0], rnn.LSTMStateTuple)
    assert [t.shape.as_list() for t in tf.nest.flatten(state)] == [[None, 2], [None, 2], [None, 3]]
    assert state[0].dtype is tf.float16
    with tf.Session() as sess:
        assert [v.shape for v in tf.nest.flatten(sess.run(state, {n: 4}))] == [
            (4, 2),
            (4, 2),
            (4, 3),
        ]
    like = cell.get_initial_state(inputs=tf.ones([5, 7], tf.float64))
    assert like[1].shape.as_list() == [5, 3]
    assert like[1].dtype is tf.float64
    flat = rnn.MultiRNNCell(
        [rnn.BasicLSTMCell(2, state_is_tuple=False), rnn.GRUCell(3)], state_is_tuple=False
    )
    assert flat.state_size == 7
    assert flat.zero_state(2, tf.float32).shape.as_list() == [2, 7]


def test_one_matrix_holds_what_the_tuple_holds() -> None:
    x, start = tf.constant(numbers([2, 3], 1)), numbers([2, 7], 2)

    def built(tuples: bool) -> Any:
        cells = [rnn.BasicLSTMCell(2, state_is_tuple=tuples), rnn.GRUCell(3)]
        return rnn.MultiRNNCell(cells, state_is_tuple=tuples)

    with tf.variable_scope("s", reuse=tf.AUTO_REUSE):
        out, new = built(False)(x, tf.constant(start))
        c, h, g = np.split(start, [2, 4], axis=1)
        nested = (rnn.LSTMStateTuple(tf.constant(c), tf.constant(h)), tf.constant(g))
        other, parts = built(True)(x, nested, scope="multi_rnn_cell")
    assert len(tf.global_variables()) == 6
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        a, b, s, p = sess.run([out, other, new, tf.concat(tf.nest.flatten(parts), 1)])
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(s, p)


# ---------------------------------------------------------------- wrappers
def run_wrapped(x: np.ndarray, **options: Any) -> tuple[np.ndarray, Any]:
    """A step from a state of ones, of a cell that passes on what it gets."""

    class Pass(rnn.RNNCell):
        state_size = rnn.LSTMStateTuple(x.shape[1], x.shape[1])
        output_size = x.shape[1]

        def call(self, inputs: Any, state: Any) -> Any:
            return inputs, state

    cell = rnn.DropoutWrapper(Pass(), seed=3, **options)
    ones = tf.ones(x.shape)
    out = cell(tf.constant(x), rnn.LSTMStateTuple(ones, ones))
    with tf.Session() as sess:
        return sess.run(out)


def test_dropout_scales_what_it_keeps_and_spares_the_memory() -> None:
    x = np.ones((40, 50), np.float32)
    out, state = run_wrapped(x, input_keep_prob=0.5, state_keep_prob=0.25)
    assert set(np.unique(out)) == {0.0, 2.0}
    assert 0.45 < (out > 0).mean() < 0.55
    assert (state.c == 1.0).all()
    assert set(np.unique(state.h)) == {0.0, 4.0}
    assert 0.2 < (state.h > 0).mean() < 0.3
    out, state = run_wrapped(x, output_keep_prob=tf.constant(0.5))
    assert set(np.unique(out)) == {0.0, 2.0}
    assert (state.h == 1.0).all()


def test_the_filter_says_what_of_the_state_is_dropped() -> None:
    x = np.ones((10, 10), np.float32)
    _, state = run_wrapped(
        x,
        state_keep_prob=0.5,
        dropout_state_filter_visitor=lambda s: rnn.LSTMStateTuple(True, False),
    )
    assert set(np.unique(state.c)) == {0.0, 2.0}
    assert (state.h == 1.0).all()
    _, state = run_wrapped(x, state_keep_prob=0.5, dropout_state_filter_visitor=lambda s: False)
    assert (state.c == 1.0).all() and (state.h == 1.0).all()


def test_a_variational_mask_is_one_for_all_steps_and_the_whole_batch() -> None:
    class Pass(rnn.RNNCell):
        state_size = output_size = 30

        def call(self, inputs: Any, state: Any) -> Any:
            return inputs, state

    cell = rnn.DropoutWrapper(
        Pass(), input_keep_prob=0.5, variational_recurrent=True, input_size=30, dtype=tf.float32
    )
    outputs, _ = tf.nn.static_rnn(cell, [tf.ones([4, 30])] * 3, dtype=tf.float32)
    with tf.Session() as sess:
        out = np.stack(sess.run(outputs))
    assert set(np.unique(out)) == {0.0, 2.0}
    assert (out == out[0, 0]).all()


def test_dropout_of_steps_differs() -> None:
    cell = rnn.DropoutWrapper(rnn.BasicRNNCell(50), output_keep_prob=0.5)
    outputs, _ = tf.nn.static_rnn(cell, [tf.ones([4, 2])] * 2, dtype=tf.float32)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        a, b = sess.run(outputs)
    assert ((a == 0) != (b == 0)).any()
    assert cell.wrapped_cell.weights == cell.weights


def test_residuals_and_devices() -> None:
    cell = rnn.ResidualWrapper(rnn.BasicRNNCell(2), residual_fn=lambda i, o: o - i)
    placed = rnn.DeviceWrapper(rnn.GRUCell(2), "/cpu:0")
    x = tf.ones([1, 2])
    out, state = cell(x, cell.zero_state(1, tf.float32))
    other, _ = placed(x, placed.zero_state(1, tf.float32))
    assert other.op.device == "/cpu:0"
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        a, b = sess.run([out, state])
    np.testing.assert_array_equal(a, b - 1)


# ---------------------------------------------------------------- what is refused
def call(cell: Any, x: Any, state: Any = None) -> Any:
    return cell(x, cell.zero_state(2, tf.float32) if state is None else state)


@pytest.mark.parametrize(
    ("wrong", "kind", "text"),
    [
        (lambda: rnn.BasicRNNCell(0), TypeError, "num_units is a positive int, got 0"),
        (lambda: rnn.GRUCell(2.5), TypeError, "got 2.5"),
        (lambda: rnn.LSTMCell(2, num_proj=-1), TypeError, "num_proj is a positive int, got -1"),
        (lambda: rnn.GRUCell(2, activation="tanhh"), ValueError, "no activation named 'tanhh'"),
        (lambda: rnn.GRUCell(2, unit=3), TypeError, "no argument 'unit'"),
        (lambda: rnn.MultiRNNCell([]), ValueError, "at least one cell"),
        (lambda: rnn.MultiRNNCell([rnn.GRUCell]), TypeError, r"use GRUCell\(...\)"),
        (lambda: rnn.MultiRNNCell(rnn.GRUCell(2)), TypeError, "list or tuple of cells"),
        (
            lambda: rnn.MultiRNNCell([rnn.BasicLSTMCell(2)], state_is_tuple=False),
            ValueError, r"LSTMStateTuple\(c=2, h=2\) cannot stand",
        ),
        (lambda: rnn.DropoutWrapper("cell"), TypeError, "cell is an RNNCell, got 'cell'"),
        (lambda: rnn.DropoutWrapper(rnn.GRUCell(2), 1.5), ValueError, r"in \(0, 1\], got 1.5"),
        (lambda: rnn.DropoutWrapper(rnn.GRUCell(2), 0.0), ValueError, r"in \(0, 1\], got 0.0"),
        (
            lambda: rnn.DropoutWrapper(rnn.GRUCell(2), 0.5, variational_recurrent=True),
            ValueError, "needs dtype",
        ),
        (
            lambda: rnn.DropoutWrapper(
                rnn.GRUCell(2), 0.5, variational_recurrent=True, dtype=tf.float32
            ),
            ValueError, "needs input_size .* input_keep_prob is 0.5",
        ),
        (lambda: call(rnn.GRUCell(2), tf.ones([2, 3, 4])), ValueError, r"got \(2, 3, 4\)"),
        (
            lambda: call(rnn.GRUCell(2), tf.ones([2, 3]), tf.ones([2, 4])),
            ValueError, r"state has shape \(2, 4\), the cell's is \(\?, 2\)",
        ),
        (
            lambda: call(rnn.BasicLSTMCell(2), tf.ones([2, 3]), tf.ones([2, 4])),
            TypeError, r"pair \(c, h\)",
        ),
        (
            lambda: call(rnn.BasicRNNCell(2), tf.ones([2, 3]), (tf.ones([2, 2]),) * 2),
            TypeError, "one tensor of width 2, got a tuple of 2",
        ),
        (
            lambda: call(rnn.MultiRNNCell([rnn.GRUCell(2)] ), tf.ones([2, 3]), tf.ones([2, 2])),
            TypeError, "a tuple of 1, one for each cell",
        ),
        (lambda: call(rnn.GRUCell(2), tf.placeholder(tf.float32, [2, None])), ValueError,
         "depth of the inputs must be known"),
        (lambda: call(rnn.ResidualWrapper(rnn.GRUCell(2)), tf.ones([2, 3])), ValueError,
         r"shape \(2, 3\) cannot be added to outputs of \(2, 2\)"),
        (lambda: rnn.GRUCell(2).get_initial_state(tf.ones([3, 2]), 4), ValueError,
         "batch size 3, batch_size is 4"),
        (lambda: rnn.GRUCell(2).get_initial_state(batch_size=4), ValueError, "dtype=None"),
        (lambda: rnn.GRUCell(2).count_params(), ValueError, "no variables before"),
        (lambda: tf.nn.static_rnn(rnn.GRUCell(2), tf.ones([2, 3])), TypeError, "list of inputs"),
        (lambda: tf.nn.static_rnn(rnn.GRUCell(2), []), ValueError, "at least one input"),
        (lambda: tf.nn.static_rnn(rnn.GRUCell(2), [tf.ones([2, 3])]), ValueError,
         "give initial_state, or the dtype"),
        (
            lambda: tf.nn.static_rnn(rnn.GRUCell(2), [tf.ones([2, 3]), tf.ones([4, 3])],
                                     dtype=tf.float32),
            ValueError, r"inputs\[0\] has shape \(2, 3\), inputs\[1\] \(4, 3\)",
        ),
        (
            lambda: tf.nn.static_rnn(rnn.GRUCell(2), [tf.ones([2, 3])], dtype=tf.float32,
                                     sequence_length=[1, 1, 1]),
            ValueError, "sequence_length has 3 entries, the batch 2",
        ),
        (
            lambda: tf.nn.static_rnn(rnn.GRUCell(2), [tf.ones([2, 3])], dtype=tf.float32,
                                     sequence_length=1),
            ValueError, "one length for each element",
        ),
        (
            lambda: tf.nn.static_rnn(rnn.GRUCell(2), [tf.ones([2, 3])], tf.zeros([3, 2])),
            ValueError, "initial state has batch size 3, the inputs have 2",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_an_error_with_both_values(wrong: Any, kind: Any, text: str) -> None:
    with pytest.raises(kind, match=text) as raised:
        wrong()
    assert isinstance(raised.value, StaticGraphError)
    assert "test_rnn_cells.py" in str(raised.value)


def test_a_cell_stays_with_its_graph_and_its_depth() -> None:
    cell = rnn.GRUCell(2)
    call(cell, tf.ones([2, 3]))
    with pytest.raises(ValueError, match="inputs of depth 3, got 4"):
        call(cell, tf.ones([2, 4]))
    with tf.Graph().as_default(), pytest.raises(ValueError, match="another graph"):
        call(cell, tf.ones([2, 3]))


def test_lengths_beyond_the_steps_fail_the_run() -> None:
    lengths = tf.placeholder(tf.int32, [None])
    x = [tf.ones([2, 3])] * 4
    outputs, _ = tf.nn.static_rnn(rnn.GRUCell(2), x, dtype=tf.float32, sequence_length=lengths)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(outputs, {lengths: [4, 0]})
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[1\] is 5, .* 4 steps"):
            sess.run(outputs, {lengths: [4, 5]})
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[0\] is -1"):
            sess.run(outputs, {lengths: [-1, 5]})
        with pytest.raises((ValueError, tf.errors.OpError), match="3 entries, the batch 2"):
            sess.run(outputs, {lengths: [1, 1, 1]})
