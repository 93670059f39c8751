"""The whole text of each error: both values, the user's line, the operands, a hint where one helps.

In the expected texts ``{here}`` stands for the line marked ``# here`` as errors print it, and
``{a}`` and ``{b}`` for the places of the lines marked ``# a`` and ``# b``.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph import errors


def placed(template: str, f: Callable[..., Any]) -> str:
    """The template with the marked lines of `f` filled in."""
    lines, first = inspect.getsourcelines(f)
    body = next(k for k, line in enumerate(lines) if line.startswith("def "))
    for k, line in enumerate(lines[body:], body):
        found = re.search(r"# (here|a|b)$", line)
        if found:
            short = f"test_texts.py:{first + k}"
            full = f"{short} in {f.__name__}:  {line.strip()}"
            template = template.replace("{" + found[1] + "}", full if found[1] == "here" else short)
    return template


CASES: list[Any] = []


def case(kind: type[BaseException], template: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Register a program that must fail with `kind` and this text."""

    def note(f: Callable[[], Any]) -> Callable[[], Any]:
        text = inspect.cleandoc(template)
        CASES.append(pytest.param(f, kind, text, id=f.__name__))
        return f

    return note


def run(fetch: Any, feed: Any = None) -> Any:
    """One run after initialisation; internal to this module, so the failing line is the caller's."""
    sess = tf.Session()
    sess.run(tf.global_variables_initializer())
    return sess.run(fetch, feed)


# ---------------------------------------------------------------- building
@case(errors.ShapeError, """
    MatMul: inner dimensions differ, 784 and 785
      {here}
      a: float32[?, 784]  Placeholder 'x' at {a}
      b: float32[785, 10]  variable 'w' at {b}
""")
def shapes_of_a_product() -> None:
    x = tf.placeholder(tf.float32, [None, 784], name="x")  # a
    w = tf.Variable(tf.zeros([785, 10]), name="w")  # b
    tf.matmul(x, w)  # here


@case(errors.ShapeError, """
    Add: shapes [2, 3] and [2, 4] do not broadcast, 3 and 4
      {here}
      x: float32[2, 3]  Placeholder 'x' at {a}
      y: float32[2, 4]  Placeholder 'y' at {b}
""")
def shapes_of_a_sum() -> None:
    x = tf.placeholder(tf.float32, [2, 3], name="x")  # a
    y = tf.placeholder(tf.float32, [2, 4], name="y")  # b
    x + y  # here


@case(errors.ShapeError, """
    Reshape: cannot reshape [2, 3] of 6 elements to [4, 2] of 8
      {here}
      tensor: float32[2, 3]  Placeholder 'x' at {a}
      shape: int32[2]  Const 'Reshape/shape' at {b}
""")
def shape_of_a_reshape() -> None:
    x = tf.placeholder(tf.float32, [2, 3], name="x")  # a
    shape = tf.constant([4, 2], name="Reshape/shape")  # b
    tf.reshape(x, shape)  # here


@case(errors.DtypeError, """
    MatMul: dtypes differ, float32 and float64
      {here}
      a: float32[2, 2]  Placeholder 'x' at {a}
      b: float64[2, 2]  Placeholder 'y' at {b}
      hint: convert one with tf.cast(x, tf.float32)
""")
def dtypes_of_a_product() -> None:
    x = tf.placeholder(tf.float32, [2, 2], name="x")  # a
    y = tf.placeholder(tf.float64, [2, 2], name="y")  # b
    tf.matmul(x, y)  # here


@case(errors.DtypeError, """
    ConcatV2: dtypes differ, float32 and int32
      {here}
      values[0]: float32[2]  Placeholder 'x' at {a}
      values[1]: int32[2]  Placeholder 'y' at {b}
      hint: convert one with tf.cast(x, tf.float32)
""")
def dtypes_of_a_concat() -> None:
    x = tf.placeholder(tf.float32, [2], name="x")  # a
    y = tf.placeholder(tf.int32, [2], name="y")  # b
    tf.concat([x, y], 0)  # here


@case(errors.DtypeError, """
    1.5 (float64) cannot be held by int32 without loss
      {here}
      hint: use tf.cast to convert
""")
def a_fraction_meets_an_integer() -> None:
    x = tf.placeholder(tf.int32, [2], name="x")
    x + 1.5  # here


@case(errors.GraphError, """
    Add: the tensor 'x:0' belongs to another graph
      {here}
      x:0: float32[]  Placeholder 'x' at {a}
      y:0: float32[]  Placeholder 'y' at {b}
      hint: build both in one graph, with graph.as_default()
""")
def tensors_of_two_graphs() -> None:
    x = tf.placeholder(tf.float32, [], name="x")  # a
    with tf.Graph().as_default():
        y = tf.placeholder(tf.float32, [], name="y")  # b
        x + y  # here


@case(errors.UsageError, """
    the tensor 'Greater:0' has no value while the graph is built, so it is neither true nor false
      {here}
      Greater:0: bool[]  Greater 'Greater' at {a}
      hint: use tf.cond or tf.where to choose inside the graph, `is None` to test for presence
""")
def a_tensor_as_a_truth_value() -> None:
    positive = tf.placeholder(tf.float32, []) > 0  # a
    assert positive  # here


@case(errors.UsageError, """
    the tensor 'x:0' has no value while the graph is built, so it is no number
      {here}
      x:0: float32[]  Placeholder 'x' at {a}
      hint: run it in a session first: sess.run(x)
""")
def a_tensor_as_a_number() -> None:
    x = tf.placeholder(tf.float32, [], name="x")  # a
    float(x)  # here


@case(errors.UsageError, """
    the tensor 'x:0' cannot be iterated: the size of its first axis is unknown while the graph is built
      {here}
      x:0: float32[?]  Placeholder 'x' at {a}
      hint: use tf.map_fn, tf.scan or tf.unstack(x, num)
""")
def a_tensor_in_a_loop() -> None:
    x = tf.placeholder(tf.float32, [None], name="x")  # a
    list(x)  # here


@case(errors.NameNotFoundError, """
    the graph holds no operation named 'weights'
      {here}
""")
def a_name_that_does_not_exist() -> None:
    tf.get_default_graph().get_tensor_by_name("weights:0")  # here


@case(errors.GraphError, """
    'x' names an operation, not a tensor
      {here}
      hint: tensors are named operation:index, here 'x:0'
""")
def an_operations_name_for_a_tensor() -> None:
    tf.placeholder(tf.float32, [], name="x")
    tf.get_default_graph().get_tensor_by_name("x")  # here


@case(errors.GraphError, """
    Variable v already exists, disallowed. Did you mean to set reuse=True or reuse=tf.AUTO_REUSE in \
VarScope? Originally defined at: {a} in get_variable_twice:  tf.get_variable("v", [2])  # a
      {here}
""")
def get_variable_twice() -> None:
    tf.get_variable("v", [2])  # a
    tf.get_variable("v", [2])  # here


@case(errors.DtypeError, """
    gradients: 'mul:0' is int32, which has no gradient
      {here}
      ys[0]: int32[2]  Mul 'mul' at {a}
      hint: differentiate a floating tensor
""")
def the_gradient_of_an_integer() -> None:
    n = tf.placeholder(tf.int32, [2], name="n")
    y = n * 2  # a
    tf.gradients(y, n)  # here


@case(errors.GraphError, """
    the graph is finalized and cannot be changed
      {here}
""")
def an_operation_for_a_finalized_graph() -> None:
    x = tf.placeholder(tf.float32, [])
    tf.get_default_graph().finalize()
    x + x  # here


# ---------------------------------------------------------------- feeds and fetches
@case(errors.FeedError, """
    the placeholder 'x' needs a value: nothing is fed for it
      {here}
      x: float32[?, 3]
      hint: add it to feed_dict: sess.run(..., feed_dict={x: value})
""")
def a_missing_feed() -> None:
    x = tf.placeholder(tf.float32, [None, 3], name="x")  # here
    run(x * 2.0)


@case(errors.FeedError, """
    cannot feed 'y:0': 'y:0' belongs to another graph
      {here}
      y:0: float32[3]  Placeholder 'y' at {a}
""")
def a_feed_of_another_graph() -> None:
    x = tf.constant(1.0)
    with tf.Graph().as_default():
        y = tf.placeholder(tf.float32, [3], name="y")  # a
    tf.Session().run(x, {y: [1, 2, 3]})  # here


@case(errors.FeedError, """
    shape [4, 2] is fed for 'x:0', which has shape [None, 3]
      {here}
      x:0: float32[?, 3]  Placeholder 'x' at {a}
""")
def a_feed_of_the_wrong_shape() -> None:
    x = tf.placeholder(tf.float32, [None, 3], name="x")  # a
    tf.Session().run(x * 2.0, {x: np.zeros((4, 2))})  # here


@case(errors.FeedError, """
    float64 values are fed for 'x:0', which is int32
      {here}
      x:0: int32[?]  Placeholder 'x' at {a}
      hint: convert the array with .astype('int32') if that is meant
""")
def a_feed_of_the_wrong_dtype() -> None:
    x = tf.placeholder(tf.int32, [None], name="x")  # a
    tf.Session().run(x * 2, {x: [1.5]})  # here


@case(errors.FeedError, """
    text or objects are fed for 'x:0', which is float32
      {here}
      x:0: float32[?]  Placeholder 'x' at {a}
""")
def a_feed_of_text() -> None:
    x = tf.placeholder(tf.float32, [None], name="x")  # a
    tf.Session().run(x, {x: ["one"]})  # here


@case(errors.FeedError, """
    the value fed for 'x:0' cannot be turned into a float32 array: its nested lists differ in length
      {here}
      x:0: float32[?, ?]  Placeholder 'x' at {a}
""")
def a_feed_of_lists_of_different_lengths() -> None:
    x = tf.placeholder(tf.float32, [None, None], name="x")  # a
    tf.Session().run(x, {x: [[1, 2], [3]]})  # here


@case(errors.FeedError, """
    'x:0' is fed twice
      {here}
""")
def a_tensor_fed_twice() -> None:
    x = tf.placeholder(tf.float32, [], name="x")
    tf.Session().run(x, {x: 1.0, "x:0": 2.0})  # here


@case(errors.FetchError, """
    cannot fetch 'y:0': 'y:0' belongs to another graph
      {here}
      y:0: float32[]  Const 'y' at {a}
""")
def a_fetch_of_another_graph() -> None:
    with tf.Graph().as_default():
        y = tf.constant(1.0, name="y")  # a
    tf.Session().run(y)  # here


@case(errors.FetchError, """
    None (NoneType) cannot be fetched
      {here}
      hint: fetch tensors, operations, variables, their names, or nested lists and dicts of them
""")
def a_fetch_of_nothing() -> None:
    x = tf.constant(1.0)
    tf.Session().run([x, None])  # here


@case(errors.UsageError, """
    the session is closed
      {here}
""")
def a_closed_session() -> None:
    x = tf.constant(1.0)
    with tf.Session() as sess:
        sess.run(x)
    sess.run(x)  # here


# ---------------------------------------------------------------- running
@case(errors.UninitializedError, """
    the variable 'weight' is read before it has a value
      {here}
      hint: run tf.global_variables_initializer() first, or assign to it
""")
def a_variable_without_a_value() -> None:
    v = tf.Variable(1.0, name="weight")  # here
    tf.Session().run(v + 1.0)


@case(errors.ShapeError, """
    Add: shapes [2] and [3] do not broadcast, 2 and 3
      {here}
      x: float32[?]  Placeholder 'x' at {a}
      y: float32[?]  Placeholder 'y' at {b}
      x:0 here: float32[2]
      y:0 here: float32[3]
""")
def shapes_that_only_the_run_knows() -> None:
    x = tf.placeholder(tf.float32, [None], name="x")  # a
    y = tf.placeholder(tf.float32, [None], name="y")  # b
    z = x + y  # here
    run(z, {x: [1, 2], y: [1, 2, 3]})


@case(errors.OutOfBoundsError, """
    picked: index 5 is outside [0, 3)
      {here}
""")
def an_index_outside_what_is_gathered_from() -> None:
    i = tf.placeholder(tf.int32, [None], name="i")
    picked = tf.gather(tf.constant([1.0, 2.0, 3.0]), i, name="picked")  # here
    run(picked * 2.0, {i: [0, 5]})


@case(errors.OutOfBoundsError, """
    strided_slice: index 3 is outside [0, 3)
      {here}
""")
def an_index_outside_a_fed_tensor() -> None:
    i = tf.placeholder(tf.int32, [], name="i")
    x = tf.placeholder(tf.float32, [None], name="x")
    one = x[i]  # here
    run(one, {x: [1, 2, 3], i: 3})


@case(errors.InvalidArgumentError, """
    Slice: begin + size = 4 exceeds 3, the size of axis 0
      {here}
      operation 'part'
""")
def a_slice_that_starts_too_late() -> None:
    i = tf.placeholder(tf.int32, [1], name="i")
    x = tf.placeholder(tf.float32, [None], name="x")
    part = tf.slice(x, i, [2], name="part")  # here
    run(part, {x: [1, 2, 3], i: [2]})


@case(errors.OutOfBoundsError, """
    embedding_lookup: index 4 is outside [0, 4)
      {here}
""")
def an_embedding_that_does_not_exist() -> None:
    ids = tf.placeholder(tf.int32, [None], name="ids")
    table = tf.Variable(tf.zeros([4, 2]), name="table")
    rows = tf.nn.embedding_lookup(table, ids)  # here
    run(rows, {ids: [0, 4]})


@case(errors.OutOfBoundsError, """
    loss/SparseSoftmaxCrossEntropyWithLogits: index 3 is outside [0, 3)
      {here}
""")
def a_label_without_a_class() -> None:
    labels = tf.placeholder(tf.int32, [None], name="labels")
    x = tf.zeros([2, 3])
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=x, name="loss")  # here
    run(loss, {labels: [0, 3]})


@case(errors.OutOfBoundsError, """
    ScatterAdd: index 7 is outside [0, 3)
      {here}
""")
def a_scatter_outside_the_variable() -> None:
    i = tf.placeholder(tf.int32, [None], name="i")
    v = tf.Variable(tf.zeros([3]))
    write = tf.scatter_add(v, i, tf.ones_like(i, tf.float32))  # here
    run(write, {i: [1, 7]})


@case(errors.AssertionFailedError, """
    Assert: assertion failed: [x must be positive] [-1]
      {here}
      operation 'Assert/Assert'
""")
def an_assertion() -> None:
    x = tf.placeholder(tf.float32, [], name="x")
    check = tf.Assert(x > 0, ["x must be positive", x])  # here
    run(check, {x: -1.0})


@case(errors.NumericsError, """
    CheckNumerics: log of x : the tensor holds 1 NaN and 1 Inf of 3 values
      {here}
      operation 'CheckNumerics'
""")
def a_nan_that_is_looked_for() -> None:
    x = tf.placeholder(tf.float32, [None], name="x")
    y = tf.check_numerics(tf.log(x), "log of x")  # here
    run(y, {x: [-1, 1, 0]})


@case(errors.InvalidArgumentError, """
    PyFunc: result 0 of double is float64, but Tout says float32
      {here}
      operation 'PyFunc'
      hint: return an array with .astype('float32')
""")
def a_python_function_of_another_dtype() -> None:
    def double(x: Any) -> Any:
        return np.float64(x)

    y = tf.py_func(double, [1.0], tf.float32)  # here
    run(y)


@pytest.mark.parametrize(("program", "kind", "template"), CASES)
def test_the_text_is_word_for_word(program: Callable[[], Any], kind: type[BaseException], template: str) -> None:
    with pytest.raises(kind) as caught:
        program()
    text = str(caught.value)
    assert text == placed(template, program)
    assert type(caught.value) is kind
    for internal in ("numba", "staticgraph/", "/work", "%0[", "array(", "s0", "n0"):
        assert internal not in text.lower()


@pytest.mark.parametrize(("program", "kind", "template"), CASES)
def test_an_error_survives_pickling(program: Callable[[], Any], kind: type[BaseException], template: str) -> None:
    import pickle

    with pytest.raises(kind) as caught:
        program()
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is kind and str(again) == str(caught.value)


def test_an_operation_in_the_training_loop_is_warned_of() -> None:
    x = tf.placeholder(tf.float32, [], name="x")
    sess = tf.Session()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(12):
            sess.run(x * 2.0, {x: 1.0})  # here
    (warning,) = caught
    assert warning.category is errors.GraphGrowthWarning
    want = placed("""\
operations are added to the graph between runs: Mul 'mul_8' is made again and again at
  {here}
  hint: build the graph once, before the loop; graph.finalize() finds such lines""",
                  test_an_operation_in_the_training_loop_is_warned_of)  # fmt: skip
    assert str(warning.message) == want


def test_an_exception_of_a_python_function_comes_through_with_the_place_of_the_operation() -> None:
    def refuse(x: Any) -> Any:
        raise KeyError("mine")

    y = tf.py_func(refuse, [1.0], tf.float32, name="call")  # here
    with pytest.raises(KeyError, match="mine") as caught:
        tf.Session().run(y)
    (note,) = caught.value.__notes__
    want = placed("in the operation 'call', {here}", test_an_exception_of_a_python_function_comes_through_with_the_place_of_the_operation)
    assert note == want
