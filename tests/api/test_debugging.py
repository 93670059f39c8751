"""`tf.debugging` and its neighbours: checks, switches, what is known at build, error codes."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import ShapeError, UnimplementedError


@pytest.fixture(autouse=True)
def graph() -> Any:
    with tf.Graph().as_default() as g:
        yield g


def run(fetches: Any, feed: Any = None) -> Any:
    with tf.Session() as sess:
        return sess.run(fetches, feed)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("debugging.assert_equal", "assert_equal"),
        ("debugging.assert_all_finite", "verify_tensor_all_finite"),
        ("debugging.check_numerics", "check_numerics"),
        ("debugging.Assert", "Assert"),
        ("debugging.is_nan", "is_nan"),
        ("math.is_non_decreasing", "debugging.is_non_decreasing"),
        ("math.divide_no_nan", "div_no_nan"),
        ("math.invert_permutation", "invert_permutation"),
        ("linalg.transpose", "matrix_transpose"),
        ("tensor_scatter_nd_update", "tensor_scatter_update"),
        ("tensor_scatter_nd_add", "tensor_scatter_add"),
        ("tensor_scatter_nd_sub", "tensor_scatter_sub"),
        ("nn.space_to_depth", "space_to_depth"),
        ("nn.depth_to_space", "depth_to_space"),
        ("nn.space_to_batch", "space_to_batch"),
        ("manip.gather_nd", "gather_nd"),
        ("manip.roll", "roll"),
        ("errors.OpError", "OpError"),
        ("version.VERSION", "VERSION"),
        ("compat.dimension_value", "dimension_value"),
    ],
)
def test_two_names_of_one_thing(name: str, other: str) -> None:
    def named(path: str) -> Any:
        found: Any = tf
        for part in path.split("."):
            found = getattr(found, part)
        return found

    assert named(name) is named(other)


@pytest.mark.parametrize("module", ["debugging", "manip", "version", "compat", "math", "nn"])
def test_a_module_lists_what_it_has(module: str) -> None:
    found = importlib.import_module(f"staticgraph.{module}")
    assert module in dir(tf)
    assert len(set(found.__all__)) == len(found.__all__)
    assert all(hasattr(found, n) for n in found.__all__)


def test_the_functions_that_are_new() -> None:
    a = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    wide, size = tf.linalg.normalize(a, axis=1)
    got = run([
        tf.linalg.adjoint(a), tf.linalg.matvec(a, [1.0, 0.0, -1.0]),
        tf.linalg.matvec(a, [1.0, -1.0], transpose_a=True), wide, size,
        tf.math.reciprocal_no_nan(a[0]),
    ])  # fmt: skip
    norms = np.sqrt((a * a).sum(1, keepdims=True))
    want = [a.T, a @ [1, 0, -1], a.T @ [1, -1], a / norms, norms, [0, 1, 0.5]]
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6)
    with pytest.raises(UnimplementedError, match="complex numbers cannot be conjugated"):
        tf.linalg.adjoint(tf.constant([[1j]]))


# ---------------------------------------------------------------- order and types
@pytest.mark.parametrize(
    ("x", "weak", "strict"),
    [([1, 2, 2], True, False), ([1, 3, 2], False, False), ([[0, 1], [2, 5]], True, True),
     ([7], True, True), (np.zeros(0), True, True), ([1.0, np.nan], False, False)],
)  # fmt: skip
def test_order(x: Any, weak: bool, strict: bool) -> None:
    p = tf.placeholder(np.asarray(x).dtype)
    found = [tf.debugging.is_non_decreasing(p), tf.debugging.is_strictly_increasing(p)]
    assert run(found, {p: x}) == [weak, strict]


def test_types() -> None:
    numeric = tf.debugging.is_numeric_tensor
    given = [tf.zeros(2), tf.constant(1), tf.Variable(0.0), tf.constant(True), tf.constant("a"), 3]
    assert [numeric(t) for t in given] == [True, True, True, False, False, False]
    x, y = tf.zeros([2], tf.float64), tf.zeros([3], tf.float32)
    same = tf.debugging.assert_same_float_dtype
    assert same([x, None]) is tf.float64
    assert same() is tf.float32
    assert same([y], tf.float32) is tf.float32
    with pytest.raises(ShapeError, match=f"{y.name!r} is float32, {x.name!r} is float64"):
        same([x, y])
    with pytest.raises(ShapeError, match="is float64, dtype is float32"):
        same([x], tf.float32)
    with pytest.raises(ShapeError, match="expected floats, got int32"):
        same([tf.constant(1)])


# ---------------------------------------------------------------- shapes
def test_shapes_that_fit() -> None:
    x, y = tf.placeholder(tf.float32, [None, 2]), tf.placeholder(tf.float32)
    check = tf.debugging.assert_shapes(
        [(x, ("n", 2)), (y, ["...", "n", "."]), (tf.zeros([5]), [None]), (tf.constant(1), ())]
    )
    with tf.control_dependencies([check]):
        total = tf.reduce_sum(x)
    assert run(total, {x: np.ones([3, 2]), y: np.ones([7, 3, 4])}) == 6
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"the size, and what it must be") as e:
        run(total, {x: np.ones([3, 2]), y: np.ones([7, 5, 4])})
    assert "test_debugging.py:" in str(e.value)
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have rank at least"):
        run(total, {x: np.ones([3, 2]), y: np.ones([3])})


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        ([((2, 3), ("n", "n"))], "axis 1 of .* has the size 3, 'n', axis 0 of .*, has 2"),
        ([((2, 3), ("n", 3)), ((4,), ("n",))], "axis 0 of .* has the size 4, 'n', axis 0 of .* 2"),
        ([((2, 3), (2, 4))], "axis 1 of .* has the size 3, it must be 4"),
        ([((2, 3), (2,))], "the rank must be 1, got 2"),
        ([((2, 3), (2, 3, "...", 1))], "'...' stands at one end of a shape"),
        ([((2, 3), (..., 7, 2, 3))], "the rank must be at least 3, got 2"),
    ],
)
def test_shapes_that_are_known_not_to_fit(shapes: Any, text: str) -> None:
    with pytest.raises(ShapeError, match=f"told: {text}|{text}"):
        tf.debugging.assert_shapes([(tf.zeros(a), b) for a, b in shapes], message="told")


# ---------------------------------------------------------------- known at build
def test_what_is_known_at_build() -> None:
    x = tf.placeholder(tf.float32, [None, 3])
    know = tf.get_static_value
    np.testing.assert_array_equal(know(tf.constant([[1.5]])), [[1.5]])
    np.testing.assert_array_equal(know(tf.shape(tf.zeros([4, 5]))), [4, 5])
    assert know(tf.shape(x)) is None
    assert know(tf.shape(x), partial=True).tolist() == [None, 3]
    assert know(x) is None
    assert know("text") == "text"
    found = know(tf.constant([1, 2]))
    found[0] = 9  # its own
    np.testing.assert_array_equal(run(tf.constant([1, 2])), [1, 2])
    assert [tf.dimension_value(d) for d in x.shape] == [None, 3]
    assert tf.dimension_value(7) == 7
    assert tf.dimension_at_index(x.shape, 1) == 3
    assert tf.dimension_at_index(tf.placeholder(tf.float32).shape, 4).value is None


# ---------------------------------------------------------------- switches
def test_switches() -> None:
    for off in (tf.disable_v2_behavior, tf.disable_control_flow_v2, tf.enable_control_flow_v2,
                tf.disable_tensor_equality, tf.enable_resource_variables):  # fmt: skip
        assert off() is None  # type: ignore[func-returns-value]
    assert (tf.executing_eagerly(), tf.control_flow_v2_enabled()) == (False, True)


@pytest.mark.parametrize(
    ("switch", "hint"),
    [
        (tf.enable_eager_execution, "staticgraph.dynamic"),
        (tf.enable_v2_behavior, "staticgraph.dynamic"),
        (tf.enable_v2_tensorshape, "as_list"),
        (tf.enable_tensor_equality, "tf.equal"),
    ],
)
def test_what_cannot_be_switched_on_says_so(switch: Callable[[], None], hint: str) -> None:
    with pytest.raises(UnimplementedError) as found:
        switch()
    assert hint in str(found.value).split("hint: ")[1]
    assert "test_debugging.py:" in str(found.value)


# ---------------------------------------------------------------- errors
def test_error_codes_are_those_of_tensorflow() -> None:
    e = tf.errors
    codes = {
        e.CancelledError: 1, e.UnknownError: 2, e.InvalidArgumentError: 3,
        e.DeadlineExceededError: 4, e.NotFoundError: 5, e.AlreadyExistsError: 6,
        e.PermissionDeniedError: 7, e.ResourceExhaustedError: 8, e.FailedPreconditionError: 9,
        e.AbortedError: 10, e.OutOfRangeError: 11, e.UnimplementedError: 12, e.InternalError: 13,
        e.UnavailableError: 14, e.DataLossError: 15, e.UnauthenticatedError: 16,
    }  # fmt: skip
    assert {k: k.error_code for k in codes} == codes
    assert (e.OK, e.OUT_OF_RANGE, e.UNAUTHENTICATED) == (0, 11, 16)


def test_a_program_raises_errors_of_its_own() -> None:
    op = tf.no_op()
    error = tf.errors.OutOfRangeError(None, op, "no more rows")
    assert (error.message, error.op, error.node_def) == ("no more rows", op, None)
    other = tf.OpError(None, None, "odd", tf.errors.ABORTED)
    assert (other.error_code, tf.OpError("odd").error_code) == (10, 2)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (tf.errors.OutOfRangeError, str(error))


def test_a_failed_run_has_a_code() -> None:
    p = tf.placeholder(tf.int32, [])
    y = tf.gather([1.0, 2.0], p)
    with pytest.raises(tf.OpError) as found:
        run(y, {p: 5})
    assert found.value.error_code == tf.errors.INVALID_ARGUMENT
