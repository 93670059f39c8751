"""Errors and warnings of a run, word for word."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph import errors
from tests.errors.marked import Cases, Program, assert_word_for_word, placed, run

CASES = Cases()


# ---------------------------------------------------------------- feeds and fetches
@CASES.fails(
    errors.FeedError,
    """
    the placeholder 'x' needs a value: nothing is fed for it
      {here}
      x: float32[?, 3]
      hint: add it to feed_dict: sess.run(..., feed_dict={x: value})
""",
)
def a_missing_feed() -> None:
    x = tf.placeholder(tf.float32, [None, 3], name="x")  # here
    run(x * 2.0)


@CASES.fails(
    errors.FeedError,
    """
    cannot feed 'y:0': 'y:0' belongs to another graph
      {here}
      y:0: float32[3]  Placeholder 'y' at {a}
""",
)
def a_feed_of_another_graph() -> None:
    x = tf.constant(1.0)
    with tf.Graph().as_default():
        y = tf.placeholder(tf.float32, [3], name="y")  # a
    tf.Session().run(x, {y: [1, 2, 3]})  # here


@CASES.fails(
    errors.FeedError,
    """
    shape [4, 2] is fed for 'x:0', which has shape [None, 3]
      {here}
      x:0: float32[?, 3]  Placeholder 'x' at {a}
""",
)
def a_feed_of_the_wrong_shape() -> None:
    x = tf.placeholder(tf.float32, [None, 3], name="x")  # a
    tf.Session().run(x * 2.0, {x: np.zeros((4, 2))})  # here


@CASES.fails(
    errors.FeedError,
    """
    float64 values are fed for 'x:0', which is int32
      {here}
      x:0: int32[?]  Placeholder 'x' at {a}
      hint: convert the array with .astype('int32') if that is meant
""",
)
def a_feed_of_the_wrong_dtype() -> None:
    x = tf.placeholder(tf.int32, [None], name="x")  # a
    tf.Session().run(x * 2, {x: [1.5]})  # here


@CASES.fails(
    errors.FeedError,
    """
    text or objects are fed for 'x:0', which is float32
      {here}
      x:0: float32[?]  Placeholder 'x' at {a}
""",
)
def a_feed_of_text() -> None:
    x = tf.placeholder(tf.float32, [None], name="x")  # a
    tf.Session().run(x, {x: ["one"]})  # here


@CASES.fails(
    errors.FeedError,
    """
    None is fed for 'x:0'
      {here}
      x:0: float32[]  Placeholder 'x' at {a}
""",
)
def a_feed_of_none() -> None:
    x = tf.placeholder(tf.float32, [], name="x")  # a
    tf.Session().run(x, {x: None})  # here


@CASES.fails(
    errors.FeedError,
    """
    cannot feed 'x': 'x' is an operation, not a tensor
      {here}
      hint: tensors are named operation:index, here 'x:0'
""",
)
def a_feed_of_an_operation() -> None:
    x = tf.placeholder(tf.float32, [], name="x")
    tf.Session().run(x, {x.op: 1.0})  # here


@CASES.fails(
    errors.FeedError,
    """
    feed_dict must be a dict from tensors to values, got an object of type Tensor
      {here}
      hint: sess.run(fetches, feed_dict={x: value})
""",
)
def fetches_and_feeds_that_changed_places() -> None:
    x = tf.placeholder(tf.float32, [], name="x")
    tf.Session().run({x: 1.0}, x + 1.0)  # here


@CASES.fails(
    errors.FeedError,
    """
    the value fed for 'x:0' cannot be turned into a float32 array: its nested lists differ in length
      {here}
      x:0: float32[?, ?]  Placeholder 'x' at {a}
""",
)
def a_feed_of_lists_of_different_lengths() -> None:
    x = tf.placeholder(tf.float32, [None, None], name="x")  # a
    tf.Session().run(x, {x: [[1, 2], [3]]})  # here


@CASES.fails(
    errors.FeedError,
    """
    'x:0' is fed twice
      {here}
""",
)
def a_tensor_fed_twice() -> None:
    x = tf.placeholder(tf.float32, [], name="x")
    tf.Session().run(x, {x: 1.0, "x:0": 2.0})  # here


@CASES.fails(
    errors.FetchError,
    """
    cannot fetch 'y:0': 'y:0' belongs to another graph
      {here}
      y:0: float32[]  Const 'y' at {a}
""",
)
def a_fetch_of_another_graph() -> None:
    with tf.Graph().as_default():
        y = tf.constant(1.0, name="y")  # a
    tf.Session().run(y)  # here


@CASES.fails(
    errors.FetchError,
    """
    None (NoneType) cannot be fetched
      {here}
      hint: leave it out; tf.gradients gives None where there is no dependence
""",
)
def a_fetch_of_nothing() -> None:
    x = tf.constant(1.0)
    tf.Session().run([x, None])  # here


@CASES.fails(
    errors.FetchError,
    """
    an object (AdamOptimizer) cannot be fetched
      {here}
      hint: fetch tensors, operations, variables, their names, or nested lists and dicts of them
""",
)
def a_fetch_of_an_optimizer() -> None:
    tf.Session().run([tf.train.AdamOptimizer()])  # here


@CASES.fails(
    errors.FetchError,
    """
    an object (ndarray) cannot be fetched
      {here}
      hint: fetch tensors, operations, variables, their names, or nested lists and dicts of them
""",
)
def a_fetch_of_an_array() -> None:
    tf.Session().run(np.zeros(3))  # here


@CASES.fails(
    errors.SessionClosedError,
    """
    the session is closed
      {here}
""",
)
def a_closed_session() -> None:
    x = tf.constant(1.0)
    with tf.Session() as sess:
        sess.run(x)
    sess.run(x)  # here


# ---------------------------------------------------------------- running
@CASES.fails(
    errors.UninitializedError,
    """
    the variable 'weight' is read before it has a value
      {here}
      hint: run tf.global_variables_initializer() first, or assign to it
""",
)
def a_variable_without_a_value() -> None:
    v = tf.Variable(1.0, name="weight")  # here
    tf.Session().run(v + 1.0)


@CASES.fails(
    errors.ShapeError,
    """
    Add: shapes [2] and [3] do not broadcast, 2 and 3
      {here}
      x: float32[?]  Placeholder 'x' at {a}
      y: float32[?]  Placeholder 'y' at {b}
      x:0 here: float32[2]
      y:0 here: float32[3]
""",
)
def shapes_that_only_the_run_knows() -> None:
    x = tf.placeholder(tf.float32, [None], name="x")  # a
    y = tf.placeholder(tf.float32, [None], name="y")  # b
    z = x + y  # here
    run(z, {x: [1, 2], y: [1, 2, 3]})


@CASES.fails(
    errors.OutOfBoundsError,
    """
    picked: index 5 is outside [0, 3)
      {here}
""",
)
def an_index_outside_what_is_gathered_from() -> None:
    i = tf.placeholder(tf.int32, [None], name="i")
    picked = tf.gather(tf.constant([1.0, 2.0, 3.0]), i, name="picked")  # here
    run(picked * 2.0, {i: [0, 5]})


@CASES.fails(
    errors.OutOfBoundsError,
    """
    strided_slice: index 3 is outside [0, 3)
      {here}
""",
)
def an_index_outside_a_fed_tensor() -> None:
    i = tf.placeholder(tf.int32, [], name="i")
    x = tf.placeholder(tf.float32, [None], name="x")
    one = x[i]  # here
    run(one, {x: [1, 2, 3], i: 3})


@CASES.fails(
    errors.InvalidArgumentError,
    """
    Slice: begin + size = 4 exceeds 3, the size of axis 0
      {here}
      operation 'part'
""",
)
def a_slice_that_starts_too_late() -> None:
    i = tf.placeholder(tf.int32, [1], name="i")
    x = tf.placeholder(tf.float32, [None], name="x")
    part = tf.slice(x, i, [2], name="part")  # here
    run(part, {x: [1, 2, 3], i: [2]})


@CASES.fails(
    errors.OutOfBoundsError,
    """
    embedding_lookup: index 4 is outside [0, 4)
      {here}
""",
)
def an_embedding_that_does_not_exist() -> None:
    ids = tf.placeholder(tf.int32, [None], name="ids")
    table = tf.Variable(tf.zeros([4, 2]), name="table")
    rows = tf.nn.embedding_lookup(table, ids)  # here
    run(rows, {ids: [0, 4]})


@CASES.fails(
    errors.OutOfBoundsError,
    """
    loss/SparseSoftmaxCrossEntropyWithLogits: index 3 is outside [0, 3)
      {here}
""",
)
def a_label_without_a_class() -> None:
    labels = tf.placeholder(tf.int32, [None], name="labels")
    x = tf.zeros([2, 3])
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits
    loss = entropy(labels=labels, logits=x, name="loss")  # here
    run(loss, {labels: [0, 3]})


@CASES.fails(
    errors.OutOfBoundsError,
    """
    ScatterAdd: index 7 is outside [0, 3)
      {here}
""",
)
def a_scatter_outside_the_variable() -> None:
    i = tf.placeholder(tf.int32, [None], name="i")
    v = tf.Variable(tf.zeros([3]))
    write = tf.scatter_add(v, i, tf.ones_like(i, tf.float32))  # here
    run(write, {i: [1, 7]})


@CASES.fails(
    errors.AssertionFailedError,
    """
    Assert: assertion failed: [x must be positive] [-1]
      {here}
      operation 'Assert/Assert'
""",
)
def an_assertion() -> None:
    x = tf.placeholder(tf.float32, [], name="x")
    check = tf.Assert(x > 0, ["x must be positive", x])  # here
    run(check, {x: -1.0})


@CASES.fails(
    errors.NumericsError,
    """
    CheckNumerics: log of x : the tensor holds 1 NaN and 1 Inf of 3 values
      {here}
      operation 'CheckNumerics'
""",
)
def a_nan_that_is_looked_for() -> None:
    x = tf.placeholder(tf.float32, [None], name="x")
    y = tf.check_numerics(tf.log(x), "log of x")  # here
    run(y, {x: [-1, 1, 0]})


@CASES.fails(
    errors.InvalidArgumentError,
    """
    PyFunc: result 0 of double is float64, but Tout says float32
      {here}
      operation 'PyFunc'
      hint: return an array with .astype('float32')
""",
)
def a_python_function_of_another_dtype() -> None:
    def double(x: Any) -> Any:
        return np.float64(x)

    y = tf.py_func(double, [1.0], tf.float32)  # here
    run(y)


@pytest.mark.parametrize(("program", "kind", "template"), CASES)
def test_the_text_is_word_for_word(
    program: Program, kind: type[BaseException], template: str
) -> None:
    assert_word_for_word(program, kind, template)


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
    want = placed(
        "in the operation 'call', {here}",
        test_an_exception_of_a_python_function_comes_through_with_the_place_of_the_operation,
    )
    assert note == want
