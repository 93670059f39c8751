"""Variables: what they build, how they read, write and start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import staticgraph as tf


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as g:
        yield g


def listed(graph: Any) -> list[tuple[str, str]]:
    return [(op.name, op.type) for op in graph.get_operations()]


def test_a_variable_of_a_value_builds_four_operations(graph: Any) -> None:
    v = tf.Variable([1.0, 2.0], name="w")
    assert listed(graph) == [
        ("w/initial_value", "Const"),
        ("w", "VariableV2"),
        ("w/Assign", "Assign"),
        ("w/read", "Identity"),
    ]
    assert repr(v) == str(v) == "<tf.Variable 'w:0' shape=(2,) dtype=float32_ref>"
    assert (v.name, v.op.name, v.initializer.name) == ("w:0", "w", "w/Assign")
    assert v.initial_value.name == "w/initial_value:0"
    assert v.value().name == "w/read:0"
    assert v.shape == [2] and v.get_shape().as_list() == [2]
    assert v.dtype.base is tf.float32 and v.graph is graph


def test_a_function_as_initial_value_is_called_in_a_scope_of_its_own(graph: Any) -> None:
    tf.Variable(lambda: tf.constant(1, name="one"), name="w")
    assert listed(graph)[0] == ("w/Initializer/one", "Const")


def test_get_variable_builds_what_tensorflow_builds(graph: Any) -> None:
    tf.get_variable("w", [2, 3])
    tf.get_variable("b", [3], initializer=tf.zeros_initializer())
    prefix = "w/Initializer/random_uniform"
    assert listed(graph) == [
        (f"{prefix}/shape", "Const"),
        (f"{prefix}/min", "Const"),
        (f"{prefix}/max", "Const"),
        (f"{prefix}/RandomUniform", "RandomUniform"),
        (f"{prefix}/sub", "Sub"),
        (f"{prefix}/mul", "Mul"),
        (prefix, "Add"),
        ("w", "VariableV2"),
        ("w/Assign", "Assign"),
        ("w/read", "Identity"),
        ("b/Initializer/zeros", "Const"),
        ("b", "VariableV2"),
        ("b/Assign", "Assign"),
        ("b/read", "Identity"),
    ]


def test_operators_take_the_plain_read_and_name_as_tensors_do(graph: Any) -> None:
    v = tf.Variable([1.0, 2.0], name="w")
    y = v + 1.0
    assert [t.name for t in y.op.inputs] == ["w/read:0", "add/y:0"]
    assert (np.float32(2) * v).op.type == "Mul"
    assert (np.ones(2, np.float32) - v).op.type == "Sub"
    assert v[0].shape == []
    with pytest.raises(TypeError, match="cannot be iterated"):
        iter(v)


def test_under_control_dependencies_a_variable_gets_a_read_of_its_own() -> None:
    v = tf.Variable(1.0, name="w")
    write = v.assign(5.0)
    before = v * 1.0
    with tf.control_dependencies([write]):
        after = v * 1.0
    assert after.op.inputs[0].op.control_inputs == (write.op,)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        assert sess.run([before, after]) == [1.0, 5.0]


def test_writes_give_the_value_just_after_them() -> None:
    v = tf.Variable([1.0, 2.0], name="w")
    write = tf.assign(v, [3.0, 4.0])
    assert str(write) == 'Tensor("Assign:0", shape=(2,), dtype=float32_ref)'
    with tf.control_dependencies([write]):
        more = v.assign_add([1.0, 1.0])
    with tf.control_dependencies([more]):
        less = tf.assign_sub(v, [0.5, 0.5])
    with tf.Session() as sess:
        sess.run(v.initializer)
        a, b, c, plain, end = sess.run([write, more, less, v.value(), v])
    np.testing.assert_array_equal(
        [a, b, c, plain, end], [[3, 4], [4, 5], [3.5, 4.5], [1, 2], [3.5, 4.5]]
    )


@pytest.mark.parametrize("n", [3, 100_000])
def test_a_fed_value_is_assigned_whatever_its_size(n: int) -> None:
    v, x = tf.Variable(tf.zeros([n])), tf.placeholder(tf.float32, [n])
    write = v.assign(x)
    value = np.arange(n, dtype=np.float32)
    with tf.Session() as sess:
        sess.run(v.initializer)
        np.testing.assert_array_equal(sess.run(write, {x: value}), value)
        np.testing.assert_array_equal(sess.run(v), value)
        v.load(value + 1, sess)
        np.testing.assert_array_equal(sess.run(v), value + 1)


@pytest.mark.parametrize("n", [2, 100_000])
def test_variables_can_be_swapped(n: int) -> None:
    v, w = tf.Variable(tf.zeros([n])), tf.Variable(tf.ones([n]))
    swap = tf.group(v.assign(w), w.assign(v))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(swap)
        a, b = sess.run([v, w])
    assert a.min() == a.max() == 1 and b.min() == b.max() == 0


@pytest.mark.parametrize("n", [2, 100_000])
def test_a_variable_takes_the_start_value_of_one_that_changes(n: int) -> None:
    v, w = tf.Variable(tf.zeros([n])), tf.Variable(tf.ones([n]))
    both = tf.group(w.assign(v), v.assign_add(tf.fill([n], 5.0)))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(both)
        a, b = sess.run([v, w])
    assert a.min() == a.max() == 5 and b.min() == b.max() == 0


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("update", [[9, 9], [1, 1], [8, 8]]),
        ("add", [[9, 9], [1, 1], [10, 10]]),
        ("sub", [[-9, -9], [1, 1], [-6, -6]]),
        ("mul", [[0, 0], [1, 1], [16, 16]]),
        ("div", [[0, 0], [1, 1], [0.25, 0.25]]),
        ("min", [[0, 0], [1, 1], [2, 2]]),
        ("max", [[9, 9], [1, 1], [8, 8]]),
    ],
)
def test_scatters_change_rows(name: str, want: Any) -> None:
    v = tf.Variable([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    out = getattr(tf, f"scatter_{name}")(v, [0, 2], [[9.0, 9.0], [8.0, 8.0]])
    with tf.Session() as sess:
        sess.run(v.initializer)
        np.testing.assert_allclose(sess.run(out), want)
        np.testing.assert_allclose(sess.run(v), want)


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("update", [1, 9, 3, 8]),
        ("add", [1, 11, 3, 12]),
        ("sub", [1, -7, 3, -4]),
    ],
)
def test_nd_scatters_change_places(name: str, want: Any) -> None:
    v = tf.Variable([1.0, 2.0, 3.0, 4.0])
    out = getattr(tf, f"scatter_nd_{name}")(v, [[1], [3]], [9.0, 8.0])
    with tf.Session() as sess:
        sess.run(v.initializer)
        np.testing.assert_allclose(sess.run(out), want)


def test_an_initial_value_may_use_another_variable() -> None:
    v = tf.Variable(tf.random_normal([3]))
    w = tf.Variable(v * 2.0)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        a, b = sess.run([v, w])
        np.testing.assert_allclose(b, 2 * a)
        v.load([1.0, 2.0, 3.0], sess)
        sess.run(w.initializer)
        np.testing.assert_allclose(sess.run(w), [2, 4, 6])


def test_what_is_initialized_can_be_asked() -> None:
    v, w = tf.Variable(1.0, name="v"), tf.Variable(2.0, name="w")
    asked = tf.is_variable_initialized(v)
    missing = tf.report_uninitialized_variables()
    check = tf.assert_variables_initialized()
    with tf.Session() as sess:
        assert not sess.run(asked)
        assert sess.run(missing).tolist() == [b"v", b"w"]
        with pytest.raises(tf.errors.InvalidArgumentError, match="holds no value"):
            sess.run(check)
        with pytest.raises(tf.errors.FailedPreconditionError, match="before it has a value"):
            sess.run(v)
        sess.run(v.initializer)
        assert sess.run(asked)
        assert sess.run(missing).tolist() == [b"w"]
        sess.run(w.initializer)
        sess.run(check)


def test_count_up_to_fails_at_the_limit() -> None:
    v = tf.Variable(0)
    count = v.count_up_to(2)
    with tf.Session() as sess:
        sess.run(v.initializer)
        assert [sess.run(count), sess.run(count)] == [0, 1]
        with pytest.raises(tf.errors.OpError):
            sess.run(count)
        assert sess.run(v) == 2


def test_without_validation_the_shape_may_change() -> None:
    v = tf.Variable([1.0, 2.0], validate_shape=False)
    assert v.shape.ndims is None
    grow = tf.assign(v, [1.0, 2.0, 3.0], validate_shape=False)
    with tf.Session() as sess:
        sess.run(v.initializer)
        sess.run(grow)
        assert sess.run(v).tolist() == [1, 2, 3]


def test_wrong_shapes_and_dtypes_are_refused_where_they_are_written() -> None:
    v = tf.Variable(tf.zeros([2, 3]), name="w")
    with pytest.raises(
        ValueError, match=r"the variable has shape \[2, 3\], the value \[3, 2\]"
    ) as e:
        v.assign(tf.zeros([3, 2]))
    assert "test_variables.py" in str(e.value)
    with pytest.raises(TypeError, match="float32 and int32"):
        v.assign(tf.constant([[1]]))
    with pytest.raises(TypeError, match="only a variable"):
        tf.assign(tf.constant(1.0), 2.0)
    with pytest.raises(TypeError, match="initial_value must be specified"):
        tf.Variable()


def test_collections_tell_variables_apart() -> None:
    a = tf.Variable(1.0)
    b = tf.Variable(1.0, trainable=False)
    c = tf.get_local_variable("c", [])
    d = tf.Variable(1.0, collections=[tf.GraphKeys.MODEL_VARIABLES], trainable=False)
    assert tf.global_variables() == tf.all_variables() == [a, b]
    assert tf.trainable_variables() == [a]
    assert tf.local_variables() == [c]
    assert tf.model_variables() == [d]
    assert tf.global_variables_initializer().name == "init"
    assert tf.local_variables_initializer().name == "init_1"


# ---------------------------------------------------------------- initializers
def drawn(initializer: Any, shape: list[int]) -> np.ndarray:
    v = tf.get_variable("v", shape, initializer=initializer)
    with tf.Session() as sess:
        sess.run(v.initializer)
        return np.asarray(sess.run(v))


@pytest.mark.parametrize(
    ("make", "std", "bound"),
    [
        (lambda: tf.glorot_uniform_initializer(1), np.sqrt(2 / 300), np.sqrt(6 / 300)),
        (lambda: tf.glorot_normal_initializer(1), np.sqrt(2 / 300), 2 * np.sqrt(2 / 300) / 0.8796),
        (lambda: tf.initializers.he_normal(1), np.sqrt(2 / 100), 2 * np.sqrt(2 / 100) / 0.8796),
        (lambda: tf.initializers.lecun_uniform(1), np.sqrt(1 / 100), np.sqrt(3 / 100)),
        (
            lambda: tf.variance_scaling_initializer(3.0, "fan_out", seed=1),
            np.sqrt(3 / 200),
            2 * np.sqrt(3 / 200) / 0.8796,
        ),
        (lambda: tf.uniform_unit_scaling_initializer(1.0, 1), np.sqrt(1 / 100), np.sqrt(3 / 100)),
        (lambda: tf.contrib.layers.xavier_initializer(seed=1), np.sqrt(2 / 300), np.sqrt(6 / 300)),
        (lambda: tf.random_normal_initializer(0.0, 0.5, 1), 0.5, np.inf),
        (lambda: tf.truncated_normal_initializer(0.0, 0.5, 1), 0.5 * 0.8796, 1.0),
        (lambda: tf.random_uniform_initializer(-1.0, 1.0, 1), np.sqrt(1 / 3), 1.0),
    ],
)
def test_random_initializers_have_their_spread(make: Any, std: float, bound: float) -> None:
    x = drawn(make(), [100, 200])
    assert x.std() == pytest.approx(std, rel=0.03)
    assert np.abs(x).max() <= bound * (1 + 1e-4)
    assert abs(x.mean()) < 0.03 * std + 0.005


def test_constants_fill_and_values_repeat_at_the_end() -> None:
    assert drawn(tf.constant_initializer([1, 2, 3]), [2, 2]).tolist() == [[1, 2], [3, 3]]


def test_an_initializer_may_be_a_value_and_then_gives_the_shape() -> None:
    v = tf.get_variable("v", initializer=np.arange(3, dtype=np.float32))
    assert v.shape == [3]
    with pytest.raises(ValueError, match="a shape must not be given"):
        tf.get_variable("w", [3], initializer=np.arange(3))


def test_orthogonal_rows_and_the_identity() -> None:
    q = drawn(tf.orthogonal_initializer(2.0, seed=3), [3, 5])
    np.testing.assert_allclose(q @ q.T, 4 * np.eye(3), atol=1e-5)
    with tf.variable_scope("i"):
        np.testing.assert_array_equal(
            drawn(tf.initializers.identity(3.0), [2, 3]), 3 * np.eye(2, 3)
        )
