"""`raw_rnn`: TensorFlow's values and gradients, `dynamic_rnn` made of it, and its errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import DtypeError, GraphError, ShapeError, UsageError
from tests.nn.raw_programs import results

rnn = tf.nn.rnn_cell
FILE = Path(__file__).parents[1] / "data" / "raw_rnn_golden.json"
CASES: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["cases"]


@pytest.fixture(autouse=True)
def graph() -> Any:
    with tf.Graph().as_default() as g:
        yield g


def run(fetches: Any, feed: Any = None) -> Any:
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        return sess.run(fetches, feed)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["program"])
def test_values_and_gradients_are_those_of_tensorflow(case: dict[str, Any]) -> None:
    found = results(tf, rnn, case["program"], tf.convert_to_tensor)
    assert found["variables"] == case["variables"]
    for key in ("leaves", "gradients"):
        assert len(found[key]) == len(case[key])
        for have, want in zip(found[key], case[key], strict=True):
            np.testing.assert_allclose(have, want, rtol=1e-7, atol=1e-9, err_msg=key)


def of_inputs(cell: Any, x: Any, lengths: Any) -> Callable[..., Any]:
    """The function with which `raw_rnn` is `dynamic_rnn`; inputs are [time, batch, depth]."""
    steps = tf.TensorArray(x.dtype, size=tf.shape(x)[0]).unstack(x)

    def loop_fn(time: Any, output: Any, state: Any, loop_state: Any) -> Any:
        del loop_state
        over = time >= lengths
        if output is None:
            state = cell.zero_state(tf.shape(x)[1], x.dtype)
        end = tf.reduce_all(over)
        after = tf.cond(end, lambda: tf.zeros_like(x[0]), lambda: steps.read(time))
        return over, after, state, output, None

    return loop_fn


def test_it_is_a_dynamic_rnn_to_the_second_derivative_for_any_size() -> None:
    x = tf.placeholder(tf.float64, [None, None, 2])
    lengths = tf.placeholder(tf.int32, [None])
    first, second = rnn.GRUCell(3), rnn.GRUCell(3)
    outputs, state, _ = tf.nn.raw_rnn(first, of_inputs(first, x, lengths))
    with tf.variable_scope("", reuse=True):
        want, end = tf.nn.dynamic_rnn(second, x, lengths, dtype=tf.float64, time_major=True)
    pairs = []
    for values in ((outputs.stack(), state), (want, end)):
        loss = tf.add_n([tf.reduce_sum(tf.sin(3 * t)) for t in values])
        slope = tf.gradients(loss, x)[0]
        pairs.append([*values, slope, tf.gradients(tf.reduce_sum(slope**2), x)[0]])
    assert outputs.element_shape.as_list() == [None, 3]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for lens in ([4, 2], [1, 3, 3], [0, 2]):
            steps = max(lens)  # dynamic_rnn goes through all steps there are
            feed = {x: np.cos(np.arange(steps * len(lens) * 2)).reshape(steps, -1, 2)}
            a, b = sess.run(pairs, {**feed, lengths: lens})
            for have, good in zip(a, b, strict=True):
                np.testing.assert_allclose(have, good, rtol=1e-9, atol=1e-12)


def test_no_step_where_all_are_over_from_the_start() -> None:
    cell = rnn.LSTMCell(3)
    outputs, state, _ = tf.nn.raw_rnn(cell, of_inputs(cell, tf.ones([4, 2, 2]), [0, 0]))
    out, n, (c, h) = run([outputs.stack(), outputs.size(), state])
    assert out.shape == (0, 2, 3)
    assert n == 0
    assert not c.any()
    assert not h.any()


def test_the_loop_ends_when_the_last_one_is_over() -> None:
    cell, calls = rnn.BasicRNNCell(3), tf.Variable(0, trainable=False)
    inner = of_inputs(cell, tf.ones([9, 2, 2]), [3, 5])

    def loop_fn(time: Any, output: Any, state: Any, loop_state: Any) -> Any:
        given = inner(time, output, state, loop_state)
        if output is None:
            return given
        with tf.control_dependencies([tf.assign_add(calls, 1)]):
            return (*given[:3], tf.identity(output), None)

    outputs, _, _ = tf.nn.raw_rnn(cell, loop_fn)
    out, n = run([outputs.stack(), calls])
    assert out.shape == (5, 2, 3)
    assert n == 5
    assert out[2, 0].all()
    assert not out[3:, 0].any()


def test_an_array_may_be_a_part_of_the_state() -> None:
    class Recorder(tf.nn.rnn_cell.RNNCell):
        """A cell that writes down its inputs."""

        state_size = (1, 0)
        output_size = 1

        def call(self, inputs: Any, state: Any) -> Any:
            n, seen = state
            return n, (n + 1.0, seen.write(tf.cast(n[0, 0], tf.int32), inputs))

    def loop_fn(time: Any, output: Any, state: Any, loop_state: Any) -> Any:
        del loop_state
        x = tf.fill([2, 1], 10.0 * tf.cast(time, tf.float32))
        if output is None:
            state = (tf.zeros([2, 1]), tf.TensorArray(tf.float32, size=3, element_shape=[2, 1]))
        return tf.fill([2], time >= 3), x, state, output, None

    _, (n, seen), _ = tf.nn.raw_rnn(Recorder(), loop_fn)
    count, rows = run([n, seen.stack()])
    np.testing.assert_array_equal(count, [[3], [3]])
    np.testing.assert_array_equal(rows[:, :, 0], [[0, 0], [10, 10], [20, 20]])


# ---------------------------------------------------------------- errors
def raw(first: Any = None, then: Any = None) -> Any:
    """A network of 3 units on inputs [2, 4], with parts of what `loop_fn` gives replaced."""
    cell = rnn.GRUCell(3)

    def loop_fn(time: Any, output: Any, state: Any, loop_state: Any) -> Any:
        given = [tf.fill([2], time >= 3), tf.zeros([2, 4]), state, output, loop_state]
        if output is None:
            given[2] = cell.zero_state(2, tf.float32)
        for k, v in (first if output is None else then or {}).items():
            given[k] = v(output) if callable(v) else v
        return given

    return tf.nn.raw_rnn(cell, loop_fn)


WRONG: list[tuple[type, dict[int, Any], dict[int, Any], str]] = [
    (DtypeError, {0: lambda _: tf.zeros([2])}, {}, "one bool for each element of the batch"),
    (ShapeError, {0: lambda _: tf.zeros([5], tf.bool)}, {}, "has batch size 5, the first input ha"),
    (ShapeError, {2: lambda _: tf.zeros([5, 3])}, {}, "has batch size 5, the first input has 2"),
    (GraphError, {2: None}, {}, "the first call of loop_fn gives None for next_cell_state"),
    (ShapeError, {2: lambda _: (tf.zeros([2, 3]),) * 2}, {}, "not nested as cell.state_size"),
    (GraphError, {1: ()}, {}, "loop_fn gives no input"),
    (DtypeError, {}, {0: lambda o: o[0, 0] > 1}, "one bool for each element of the batch, got bo"),
    (ShapeError, {}, {1: lambda o: o}, "enters with the shape (2, 4) and leaves with (2, 3)"),
    (ShapeError, {}, {1: lambda o: (o, o)}, "next_input is not nested as the first input"),
    (ShapeError, {}, {2: lambda o: (o, o)}, "next_cell_state is not nested as the first state"),
    (ShapeError, {}, {2: lambda _: tf.zeros([2, 5])}, "shape (2, 5), the state before (2, 3)"),
    (ShapeError, {}, {3: lambda o: o[:, :2]}, "shape (2, 2), what was said first is (2, 3)"),
    (DtypeError, {}, {3: lambda o: tf.argmax(o, 1)}, "is int64, what was said first is float32"),
    (ShapeError, {}, {3: lambda o: [o]}, "emit_output is not nested as what was said first"),
    (GraphError, {}, {3: None}, "None for emit_output after the first call"),
    (GraphError, {}, {4: lambda o: o}, "gives a next_loop_state, the first call gave None"),
    (ShapeError, {4: 0}, {4: lambda o: (o, o)}, "next_loop_state is not nested as"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "first", "then", "text"), WRONG, ids=[w[3] for w in WRONG])
def test_what_loop_fn_may_not_give(kind: type, first: Any, then: Any, text: str) -> None:
    with pytest.raises(kind) as found:
        raw(first, then)
    assert text in str(found.value)
    assert "test_raw_rnn.py:" in str(found.value)


def test_the_function_and_its_five_values() -> None:
    with pytest.raises(UsageError, match="loop_fn must be callable, got None"):
        tf.nn.raw_rnn(rnn.GRUCell(2), None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"a tuple of five, elements_finished, .* got 4 values"):
        tf.nn.raw_rnn(rnn.GRUCell(2), lambda *_: (1, 2, 3, 4))
    with pytest.raises(UsageError, match=r"hint: use GRUCell\(...\)"):
        tf.nn.raw_rnn(rnn.GRUCell, lambda *_: None)


# ---------------------------------------------------------------- states between runs
class Kept:
    """States in variables."""

    def __init__(self, names: list[str]) -> None:
        self.states = {n: tf.Variable(tf.zeros([2, 3]), name=n, trainable=False) for n in names}

    def state(self, name: str) -> Any:
        return self.states[name].read_value()

    def save_state(self, name: str, value: Any) -> Any:
        return tf.assign(self.states[name], value)


def test_a_state_that_is_kept_between_runs() -> None:
    x = tf.placeholder(tf.float32, [2, 4, 2])
    kept = Kept(["c", "h"])
    outputs, state = tf.nn.static_state_saving_rnn(
        rnn.BasicLSTMCell(3), tf.unstack(x, axis=1), kept, rnn.LSTMStateTuple("c", "h")
    )
    with tf.variable_scope("", reuse=True):
        long, _ = tf.nn.dynamic_rnn(rnn.BasicLSTMCell(3), tf.concat([x, x], 1), dtype=tf.float32)
    feed = {x: np.sin(np.arange(16.0)).reshape(2, 4, 2)}
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        want = sess.run(long, feed)
        for part in (want[:, :4], want[:, 4:]):
            out, (c, h) = sess.run([outputs, state], feed)
            np.testing.assert_allclose(np.stack(out, 1), part, rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(sess.run(kept.states["c"]), c)
            np.testing.assert_array_equal(out[-1], h)
    with pytest.raises(GraphError, match="state_name is not nested as the state of the cell"):
        tf.nn.static_state_saving_rnn(rnn.BasicLSTMCell(3), [x[:, 0]], kept, "c")
