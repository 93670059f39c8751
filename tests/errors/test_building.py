"""Errors while a graph is built, word for word."""

from __future__ import annotations

import pytest

import staticgraph as tf
from staticgraph import errors
from tests.errors.marked import Cases, Program, assert_word_for_word

CASES = Cases()


# ---------------------------------------------------------------- building
@CASES.fails(
    errors.ShapeError,
    """
    MatMul: inner dimensions differ, 784 and 785
      {here}
      a: float32[?, 784]  Placeholder 'x' at {a}
      b: float32[785, 10]  variable 'w' at {b}
""",
)
def shapes_of_a_product() -> None:
    x = tf.placeholder(tf.float32, [None, 784], name="x")  # a
    w = tf.Variable(tf.zeros([785, 10]), name="w")  # b
    tf.matmul(x, w)  # here


@CASES.fails(
    errors.ShapeError,
    """
    Add: shapes [2, 3] and [2, 4] do not broadcast, 3 and 4
      {here}
      x: float32[2, 3]  Placeholder 'x' at {a}
      y: float32[2, 4]  Placeholder 'y' at {b}
""",
)
def shapes_of_a_sum() -> None:
    x = tf.placeholder(tf.float32, [2, 3], name="x")  # a
    y = tf.placeholder(tf.float32, [2, 4], name="y")  # b
    x + y  # here


@CASES.fails(
    errors.ShapeError,
    """
    Reshape: cannot reshape [2, 3] of 6 elements to [4, 2] of 8
      {here}
      tensor: float32[2, 3]  Placeholder 'x' at {a}
      shape: int32[2]  Const 'Reshape/shape' at {b}
""",
)
def shape_of_a_reshape() -> None:
    x = tf.placeholder(tf.float32, [2, 3], name="x")  # a
    shape = tf.constant([4, 2], name="Reshape/shape")  # b
    tf.reshape(x, shape)  # here


@CASES.fails(
    errors.DtypeError,
    """
    MatMul: dtypes differ, float32 and float64
      {here}
      a: float32[2, 2]  Placeholder 'x' at {a}
      b: float64[2, 2]  Placeholder 'y' at {b}
      hint: convert one with tf.cast(x, tf.float32)
""",
)
def dtypes_of_a_product() -> None:
    x = tf.placeholder(tf.float32, [2, 2], name="x")  # a
    y = tf.placeholder(tf.float64, [2, 2], name="y")  # b
    tf.matmul(x, y)  # here


@CASES.fails(
    errors.DtypeError,
    """
    ConcatV2: dtypes differ, float32 and int32
      {here}
      values[0]: float32[2]  Placeholder 'x' at {a}
      values[1]: int32[2]  Placeholder 'y' at {b}
      hint: convert one with tf.cast(x, tf.float32)
""",
)
def dtypes_of_a_concat() -> None:
    x = tf.placeholder(tf.float32, [2], name="x")  # a
    y = tf.placeholder(tf.int32, [2], name="y")  # b
    tf.concat([x, y], 0)  # here


@CASES.fails(
    errors.DtypeError,
    """
    1.5 (float64) cannot be held by int32 without loss
      {here}
      hint: use tf.cast to convert
""",
)
def a_fraction_meets_an_integer() -> None:
    x = tf.placeholder(tf.int32, [2], name="x")
    x + 1.5  # here


@CASES.fails(
    errors.GraphError,
    """
    Add: the tensor 'x:0' belongs to another graph
      {here}
      x:0: float32[]  Placeholder 'x' at {a}
      y:0: float32[]  Placeholder 'y' at {b}
      hint: build both in one graph, with graph.as_default()
""",
)
def tensors_of_two_graphs() -> None:
    x = tf.placeholder(tf.float32, [], name="x")  # a
    with tf.Graph().as_default():
        y = tf.placeholder(tf.float32, [], name="y")  # b
        x + y  # here


@CASES.fails(
    errors.UsageError,
    """
    the tensor 'Greater:0' has no value while the graph is built, so it is neither true nor false
      {here}
      Greater:0: bool[]  Greater 'Greater' at {a}
      hint: use tf.cond or tf.where to choose inside the graph, `is None` to test for presence
""",
)
def a_tensor_as_a_truth_value() -> None:
    positive = tf.placeholder(tf.float32, []) > 0  # a
    assert positive  # here


@CASES.fails(
    errors.UsageError,
    """
    the tensor 'x:0' has no value while the graph is built, so it is no number
      {here}
      x:0: float32[]  Placeholder 'x' at {a}
      hint: run it in a session first: sess.run(x)
""",
)
def a_tensor_as_a_number() -> None:
    x = tf.placeholder(tf.float32, [], name="x")  # a
    float(x)  # here


@CASES.fails(
    errors.UsageError,
    """
    the tensor 'x:0' cannot be iterated: the size of its first axis is unknown while the graph is \
built
      {here}
      x:0: float32[?]  Placeholder 'x' at {a}
      hint: use tf.map_fn, tf.scan or tf.unstack(x, num)
""",
)
def a_tensor_in_a_loop() -> None:
    x = tf.placeholder(tf.float32, [None], name="x")  # a
    list(x)  # here


@CASES.fails(
    errors.NameNotFoundError,
    """
    the graph holds no operation named 'weights'
      {here}
""",
)
def a_name_that_does_not_exist() -> None:
    tf.get_default_graph().get_tensor_by_name("weights:0")  # here


@CASES.fails(
    errors.GraphError,
    """
    'x' names an operation, not a tensor
      {here}
      hint: tensors are named operation:index, here 'x:0'
""",
)
def an_operations_name_for_a_tensor() -> None:
    tf.placeholder(tf.float32, [], name="x")
    tf.get_default_graph().get_tensor_by_name("x")  # here


@CASES.fails(
    errors.GraphError,
    """
    Variable v already exists, disallowed. Did you mean to set reuse=True or \
reuse=tf.AUTO_REUSE in VarScope? \
Originally defined at: {a} in get_variable_twice:  tf.get_variable("v", [2])  # a
      {here}
""",
)
def get_variable_twice() -> None:
    tf.get_variable("v", [2])  # a
    tf.get_variable("v", [2])  # here


@CASES.fails(
    errors.DtypeError,
    """
    gradients: 'mul:0' is int32, which has no gradient
      {here}
      ys[0]: int32[2]  Mul 'mul' at {a}
      hint: differentiate a floating tensor
""",
)
def the_gradient_of_an_integer() -> None:
    n = tf.placeholder(tf.int32, [2], name="n")
    y = n * 2  # a
    tf.gradients(y, n)  # here


@CASES.fails(
    errors.GraphError,
    """
    the graph is finalized and cannot be changed
      {here}
""",
)
def an_operation_for_a_finalized_graph() -> None:
    x = tf.placeholder(tf.float32, [])
    tf.get_default_graph().finalize()
    x + x  # here


@CASES.fails(
    errors.GraphError,
    """
    'a b' is not a valid name of an operation
      {here}
      hint: names hold letters, digits, . _ - /, and begin with a letter, a digit or a dot
""",
)
def a_name_with_a_space() -> None:
    tf.placeholder(tf.float32, [], name="a b")  # here


@CASES.fails(
    errors.DtypeError,
    """
    [None, 3] is not an element type
      {here}
      hint: one of float16, bfloat16, float32, float64, int8, int16, int32, int64, uint8, """
    "uint16, uint32, uint64, bool, complex64, complex128, string\n",
)
def a_placeholder_with_its_arguments_changed() -> None:
    tf.placeholder([None, 3], tf.float32)  # here


@CASES.fails(
    errors.ShapeError,
    """
    'abc' is not a shape
      {here}
""",
)
def a_shape_of_text() -> None:
    tf.placeholder(tf.float32, "abc")  # here


@CASES.fails(
    errors.UsageError,
    """
    cond: true_fn must be callable, got <tf.Tensor 'Const:0' shape=() dtype=float32>
      {here}
""",
)
def a_branch_that_is_a_tensor() -> None:
    p = tf.placeholder(tf.bool, [])
    tf.cond(p, tf.constant(1.0), tf.constant(2.0))  # type: ignore[arg-type]  # here


@CASES.fails(
    errors.DtypeError,
    """
    the condition of 'cond' must be a bool scalar, got float32[]
      {here}
      x:0: float32[]  Placeholder 'x' at {a}
""",
)
def a_condition_that_is_a_number() -> None:
    x = tf.placeholder(tf.float32, [], name="x")  # a
    tf.cond(x, lambda: 1.0, lambda: 2.0)  # here


@pytest.mark.parametrize(("program", "kind", "template"), CASES)
def test_the_text_is_word_for_word(
    program: Program, kind: type[BaseException], template: str
) -> None:
    assert_word_for_word(program, kind, template)
