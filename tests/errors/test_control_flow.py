"""Errors of loops, branches and arrays, word for word."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph import errors
from tests.errors.marked import Cases, Program, assert_word_for_word, run

CASES = Cases()


# ---------------------------------------------------------------- carries
@CASES.fails(
    errors.ShapeError,
    """
    loop variable 1 of the loop 'while' enters with the shape (2,) and leaves with (4,)
      {here}
      enters: float32[2]
      leaves: float32[4]  ConcatV2 'while/concat' at {here_short}
      hint: say with shape_invariants which sizes may change
""",
)
def a_shape_that_changes() -> None:
    def body(i: Any, x: Any) -> Any:
        x = tf.concat([x, x], 0)  # here
        return i + 1, x

    tf.while_loop(lambda i, x: i < 3, body, [0, tf.zeros([2])])


@CASES.fails(
    errors.DtypeError,
    """
    loop variable 0 of the loop 'while' enters as int32 and leaves as float32
      {here}
      enters: int32[]
      leaves: float32[]  Cast 'while/Cast' at {here_short}
      hint: convert it with tf.cast(x, tf.int32)
""",
)
def a_dtype_that_changes() -> None:
    def body(i: Any) -> Any:
        return tf.cast(i, tf.float32)  # here

    tf.while_loop(lambda i: i < 3, body, [0])


@CASES.fails(
    errors.ShapeError,
    """
    the accumulator of the loop 'scan' enters with the shape () and leaves with (2,)
      {here}
      enters: float32[]
      leaves: float32[2]  Add 'scan/add' at {here_short}
""",
)
def a_shape_that_changes_in_a_scan() -> None:
    def f(a: Any, x: Any) -> Any:
        return a + x  # here

    tf.scan(f, tf.zeros([3, 2]), initializer=0.0)


@CASES.fails(
    errors.FeedError,
    """
    the placeholder 'while/x' is made in the body of the loop 'while', where nothing is fed
      {here}
      hint: make it before, and use it in the body
""",
)
def a_placeholder_in_a_body() -> None:
    def body(i: Any) -> Any:
        return i + tf.placeholder(tf.int32, [], name="x")  # here

    run(tf.while_loop(lambda i: i < 3, body, [0]))


@CASES.fails(
    errors.FeedError,
    """
    'while/carry_1' has a value only while the loop 'while' runs, not while it is built
      {here}
      hint: return from the body what is asked for
""",
)
def a_session_in_a_body() -> None:
    def body(i: Any) -> Any:
        return run(i)

    tf.while_loop(lambda i: i < 3, body, [0])  # here


@CASES.fails(
    errors.ShapeError,
    """
    while_loop: the body gives 1 values for 2 loop variables
      {here}
""",
)
def a_variable_too_few() -> None:
    tf.while_loop(lambda i, x: i < 3, lambda i, x: i + 1, [0, tf.zeros([2])])  # here


@CASES.fails(
    errors.ShapeError,
    """
    while_loop: the body changes the structure: the structures differ at [0]: the leaf 0 and a \
tuple of 2
      {here}
""",
)
def another_structure() -> None:
    tf.while_loop(lambda i, p: i < 3, lambda i, p: ((i, i), i + 1), [0, (1, 2)])  # here


@CASES.fails(
    errors.DtypeError,
    """
    the condition of 'while' must be a bool scalar, got bool[2]
      {here}
      while/Less:0: bool[2]  Less 'while/Less' at {here_short}
      hint: use tf.reduce_all or tf.reduce_any
""",
)
def a_condition_of_two() -> None:
    tf.while_loop(lambda x: x < 3.0, lambda x: x + 1.0, [tf.zeros([2])])  # here


@CASES.fails(
    errors.ShapeError,
    """
    while_loop: loop variable 0 starts with the shape (2,), its invariant is (3,)
      {here}
      loop variable 0: float32[2]  Const 'zeros' at {a}
""",
)
def an_invariant_that_does_not_hold() -> None:
    x = tf.zeros([2])  # a
    tf.while_loop(lambda x: True, lambda x: x, [x], shape_invariants=[tf.TensorShape([3])])  # here


# ---------------------------------------------------------------- branches
@CASES.fails(
    errors.DtypeError,
    """
    cond: value 0 is int32 in the branch true and float32 in the branch false
      {b_full}
      true: int32[]  Const 'cond/true/Const' at {a}
      false: float32[]  Const 'cond/false/Const' at {b}
""",
)
def branches_of_two_dtypes() -> None:
    def true() -> Any:
        return tf.constant(1)  # a

    def false() -> Any:
        return tf.constant(1.0)  # b

    tf.cond(tf.placeholder(tf.bool, []), true, false)


@CASES.fails(
    errors.ShapeError,
    """
    cond: the branch true gives 2 values, the branch false 1
      {here}
""",
)
def branches_of_two_lengths() -> None:
    tf.cond(tf.placeholder(tf.bool, []), lambda: (1, 2), lambda: 1)  # here


@CASES.fails(
    errors.ShapeError,
    """
    cond: the branches differ in structure: the structures differ: keys ['a'] and ['b']
      {here}
""",
)
def branches_of_two_structures() -> None:
    tf.cond(tf.placeholder(tf.bool, []), lambda: {"a": 1}, lambda: {"b": 1})  # here


@CASES.fails(
    errors.UsageError,
    """
    cond: the predicate must be a tensor, not a Python bool
      {here}
      hint: use Python's if, or tf.constant(pred)
""",
)
def a_python_bool() -> None:
    tf.cond(True, lambda: 1, lambda: 2)  # here


@CASES.fails(
    errors.UsageError,
    """
    switch_case: the branches must be numbered 0 to 1, got [0, 2]
      {here}
""",
)
def a_number_left_out() -> None:
    tf.switch_case(tf.constant(0), {0: lambda: 1, 2: lambda: 2})  # here


# ---------------------------------------------------------------- what is inside stays inside
@CASES.fails(
    errors.FetchError,
    """
    cannot fetch 'while/mul:0': 'while/mul:0' belongs to the body of the loop 'while', outside of \
which it has no value
      {here}
      while/mul:0: float32[]  Mul 'while/mul' at {a}
      hint: make it a result of the body
""",
)
def a_fetch_of_a_body() -> None:
    kept: list[Any] = []
    tf.while_loop(lambda x: x < 3.0, lambda x: kept.append(x * 2.0) or kept[0], [1.0])  # a
    tf.Session().run(kept[0])  # here


@CASES.fails(
    errors.FeedError,
    """
    cannot feed 'while/mul:0': 'while/mul:0' belongs to the body of the loop 'while', outside of \
which it has no value
      {here}
      while/mul:0: float32[]  Mul 'while/mul' at {a}
      hint: make it a result of the body
""",
)
def a_feed_of_a_body() -> None:
    kept: list[Any] = []
    r = tf.while_loop(lambda x: x < 3.0, lambda x: kept.append(x * 2.0) or kept[0], [1.0])  # a
    tf.Session().run(r, {kept[0]: 1.0})  # here


@CASES.fails(
    errors.FetchError,
    """
    cannot fetch 'while/mul:0': 'while/mul' belongs to the body of the loop 'while', outside of \
which it has no value
      {here}
      hint: make it a result of the body
""",
)
def a_fetch_of_a_body_by_name() -> None:
    kept: list[Any] = []
    tf.while_loop(lambda x: x < 3.0, lambda x: kept.append(x * 2.0) or kept[0], [1.0])  # a
    tf.Session().run("while/mul:0")  # here


@CASES.fails(
    errors.GraphError,
    """
    Neg: the tensor 'while/mul:0' belongs to the body of the loop 'while', outside of which it \
has no value
      {here}
      while/mul:0: float32[]  Mul 'while/mul' at {a}
      hint: make it a result of the body
""",
)
def a_use_of_a_body() -> None:
    kept: list[Any] = []
    tf.while_loop(lambda x: x < 3.0, lambda x: kept.append(x * 2.0) or kept[0], [1.0])  # a
    tf.negative(kept[0])  # here


@CASES.fails(
    errors.GraphError,
    """
    a variable is made once, but its initial value is computed in the body of the loop 'while'
      {here}
      while/mul:0: float32[]  Mul 'while/mul' at {here_short}
      hint: give a function: tf.Variable(lambda: ...)
""",
)
def a_variable_that_begins_with_a_carry() -> None:
    def body(x: Any) -> Any:
        return x + tf.Variable(x * 2.0)  # here

    tf.while_loop(lambda x: x < 3.0, body, [1.0])


# ---------------------------------------------------------------- runs
@CASES.fails(
    errors.ShapeError,
    """
    scan: sequences of 3 and 4 steps
      {here}
      x:0: float32[3]  Placeholder 'x' at {a}
      y:0: float32[4]  Placeholder 'y' at {b}
""",
)
def sequences_that_disagree() -> None:
    x = tf.placeholder(tf.float32, [3], name="x")  # a
    y = tf.placeholder(tf.float32, [4], name="y")  # b
    tf.scan(lambda a, e: a + e[0] * e[1], (x, y), initializer=0.0)  # here


@CASES.fails(
    errors.AssertionFailedError,
    """
    Assert: assertion failed: [i is] [2]
      {here}
      operation 'while/Assert/Assert'
      in iteration 2 of a loop
""",
)
def an_assertion_in_a_loop() -> None:
    def body(i: Any) -> Any:
        with tf.control_dependencies([tf.Assert(i < 2, ["i is", i])]):  # here
            return i + 1

    run(tf.while_loop(lambda i: i < 5, body, [0]))


@CASES.fails(
    errors.NumericsError,
    """
    CheckNumerics: inner : the tensor holds 1 Inf of 1 values
      {here}
      operation 'map/while/CheckNumerics'
      in iteration 1 of a loop
      in iteration 0 of a loop
""",
)
def numbers_in_a_loop_in_a_loop() -> None:
    def inner(i: Any, x: Any) -> Any:
        x = tf.check_numerics(x / tf.cast(i - 1, tf.float32), "inner")  # here
        return i + 1, x

    def f(x: Any) -> Any:
        return tf.while_loop(lambda i, x: i < 3, inner, [0, x])[1]

    run(tf.map_fn(f, tf.constant([1.0, -1.0, 2.0])))


# ---------------------------------------------------------------- arrays
@CASES.fails(
    errors.OutOfBoundsError,
    """
    while/states/write: index 3 is outside [0, 3)
      {here}
""",
)
def an_array_that_is_too_short() -> None:
    states = tf.TensorArray(tf.int32, size=3, name="states")

    def body(i: Any, states: Any) -> Any:
        return i + 1, states.write(i, i)  # here

    run(tf.while_loop(lambda i, _: i < 4, body, [0, states])[1].stack())


@CASES.fails(
    errors.OutOfBoundsError,
    """
    while/states/write: index 1 is written twice (the array has 3 elements)
      {here}
""",
)
def an_element_that_is_written_twice() -> None:
    states = tf.TensorArray(tf.int32, size=3, name="states")

    def body(i: Any, states: Any) -> Any:
        return i + 1, states.write(tf.minimum(i, 1), i)  # here

    run(tf.while_loop(lambda i, _: i < 3, body, [0, states])[1].stack())


@CASES.fails(
    errors.OutOfBoundsError,
    """
    states/write_1: index 1 has been written before; an element is written once (the array has 3 \
elements)
      {here}
""",
)
def an_element_that_was_written_before() -> None:
    states = tf.TensorArray(tf.int32, size=3, name="states").write(1, 5)
    run(states.write(tf.placeholder_with_default(1, []), 6).read(0))  # here


@CASES.fails(
    errors.OutOfBoundsError,
    """
    states/read: index 2 is read, but has not been written (the array has 3 elements)
      {here}
""",
)
def an_element_that_is_read_before_it_is_written() -> None:
    states = tf.TensorArray(tf.int32, size=3, name="states").write(1, 5)
    run(states.read(2))  # here


@CASES.fails(
    errors.OutOfBoundsError,
    """
    states/stack: index 2 is read, but has not been written (the array has 3 elements)
      {here}
""",
)
def an_array_that_is_not_full() -> None:
    states = tf.TensorArray(tf.int32, size=3, name="states").write(1, 5).write(0, 4)
    run(states.stack())  # here


@CASES.fails(
    errors.OutOfBoundsError,
    """
    states: index 3 is outside [0, 3)
      {here}
""",
)
def an_index_that_is_known_to_be_wrong() -> None:
    states = tf.TensorArray(tf.int32, size=3, name="states")
    states.write(3, 5)  # here


@CASES.fails(
    errors.GraphError,
    """
    states is read, but nothing has been written to it
      {here}
      hint: write, unstack and scatter give a new TensorArray; read that one
""",
)
def an_array_that_is_empty() -> None:
    states = tf.TensorArray(tf.int32, size=3, name="states")
    states.write(0, 1)
    states.read(0)  # here


@CASES.fails(
    errors.ShapeError,
    """
    states: the elements have the shape (2,), the value has (3,)
      {here}
      value: float32[3]  Const 'zeros_2' at {here_short}
""",
)
def elements_of_two_shapes() -> None:
    states = tf.TensorArray(tf.float32, size=3, name="states").write(0, tf.zeros([2]))
    states.write(1, tf.zeros([3]))  # here


@CASES.fails(
    errors.ShapeError,
    """
    states is read in the loop 'while', and the shape of its elements is not known before one is \
written
      {here}
      hint: say it with element_shape
""",
)
def an_array_of_unknown_shape() -> None:
    x = tf.placeholder(tf.float32)
    states = tf.TensorArray(tf.float32, size=3, name="states")

    def body(i: Any, states: Any) -> Any:
        states = states.write(i, x)
        return i + tf.cast(tf.reduce_sum(states.read(i)), tf.int32), states

    tf.while_loop(lambda i, _: i < 3, body, [0, states])  # here


@CASES.fails(
    errors.UsageError,
    """
    loop variable 1 of the loop 'while' is a TensorArray of float32, the body gives <tf.Tensor \
'while/add:0' shape=() dtype=int32>
      {here}
""",
)
def an_array_that_is_lost() -> None:
    states = tf.TensorArray(tf.float32, size=3)
    tf.while_loop(lambda i, _: i < 3, lambda i, a: (i, i + 1), [0, states])  # here


@pytest.mark.parametrize(("program", "kind", "template"), CASES)
def test_the_text_is_word_for_word(
    program: Program, kind: type[BaseException], template: str
) -> None:
    with tf.Graph().as_default():
        assert_word_for_word(program, kind, template)


# ---------------------------------------------------------------- what only a run shows
def test_sequences_that_turn_out_to_disagree() -> None:
    with tf.Graph().as_default():
        x, y = (tf.placeholder(tf.float32, [None]) for _ in range(2))
        total = tf.scan(lambda a, e: a + e[0] * e[1], (x, y), initializer=0.0)
        sess = tf.Session()
        assert sess.run(total, {x: [1, 2], y: [3, 4]}).tolist() == [3, 11]
        with pytest.raises(errors.ShapeError, match="sequence 1 has 3 steps, the loop 2"):
            sess.run(total, {x: [1, 2], y: [1, 2, 3]})
        assert sess.run(total, {x: [1], y: [3]}).tolist() == [3]


def test_the_gradient_of_loops_of_varying_length_is_right() -> None:
    """An inner loop runs another number of times in each iteration of the outer one."""
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float64, [])

        def body(i: Any, a: Any) -> Any:
            return i + 1, tf.while_loop(
                lambda j, a: j <= i, lambda j, a: (j + 1, tf.sin(a) * x), [0, a]
            )[1]  # fmt: skip

        looped = tf.while_loop(lambda i, a: i < 4, body, [0, x])[1]
        unrolled = x
        for _ in range(1 + 2 + 3 + 4):
            unrolled = tf.sin(unrolled) * x
        values = []
        for y in looped, unrolled:
            first = tf.gradients(y, x)[0]
            values.append([y, first, tf.gradients(first, x)[0]])
        got, want = tf.Session().run(values, {x: 1.3})
        np.testing.assert_allclose(got, want, rtol=1e-10)


def test_a_failed_loop_changes_nothing() -> None:
    with tf.Graph().as_default(), tf.Session() as sess:
        v = tf.Variable(1.0)
        before = tf.assign_add(v, 1.0)

        def body(i: Any) -> Any:
            with tf.control_dependencies([tf.assign_add(v, 10.0), tf.Assert(i < 3, [i])]):
                return i + 1

        loop = tf.while_loop(lambda i: i < 5, body, [0])
        sess.run(v.initializer)
        with pytest.raises(errors.AssertionFailedError, match="assertion failed"):
            sess.run([before, loop])
        assert sess.run(v) == 1.0


ENDLESS = """
import os, signal, threading
import staticgraph as tf
v = tf.Variable(5.0)
x = tf.while_loop(lambda i, x: x > -1.0, lambda i, x: (i + 1, x * 0.5), [tf.constant(0), v])
step = tf.assign(v, x[1])
printed = tf.while_loop(lambda i: i >= 0, lambda i: tf.Print(i, [i], first_n=0) * 0, [0])
with tf.Session() as sess:
    sess.run(v.initializer)
    for endless in (step, printed):
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            sess.run(endless)
        except KeyboardInterrupt:
            print("interrupted", sess.run(v))
"""


def test_a_loop_that_never_ends_is_interrupted() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDLESS], capture_output=True, encoding="utf-8", timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(tf.__file__).parents[1])}, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["interrupted 5.0"] * 2, done.stderr
