"""`gradients`, custom gradients and what checks them."""

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


def run(x: Any) -> Any:
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        return sess.run(x)


def test_every_use_of_a_tensor_counts() -> None:
    x = tf.constant(3.0)
    assert run(tf.gradients([x * x, 2.0 * x], x)) == [8.0]
    assert run(tf.gradients(x * x, [x], grad_ys=[tf.constant(10.0)])) == [60.0]


def test_every_read_of_a_variable_counts() -> None:
    v = tf.Variable(3.0)
    with tf.control_dependencies([tf.no_op()]):
        late = v * 5.0
    y = v * v + late + v.read_value()
    assert run(tf.gradients(y, v)) == [12.0]
    assert tf.gradients(v * v, [v.value()])[0].op.name.startswith("gradients_1/")


def test_what_is_not_connected_has_no_gradient() -> None:
    x, z = tf.constant([1.0, 2.0]), tf.constant([3.0, 4.0])
    y = x * 2.0
    assert tf.gradients(y, [x, z])[1] is None
    zeros = tf.gradients(y, [x, z], unconnected_gradients=tf.UnconnectedGradients.ZERO)[1]
    assert run(zeros).tolist() == [0.0, 0.0]
    assert tf.gradients(tf.stop_gradient(x) * 2.0, x) == [None]
    assert tf.gradients(y, []) == []


def test_stop_gradients_take_tensors_as_constants() -> None:
    a = tf.constant(1.0)
    b = 2.0 * a
    assert run(tf.gradients(a + b, [a, b])) == [3.0, 1.0]
    assert run(tf.gradients(a + b, [a, b], stop_gradients=[a, b])) == [1.0, 1.0]


def test_any_order_and_hessians() -> None:
    x = tf.constant(2.0)
    y = x**4.0
    for want in (32.0, 48.0, 48.0, 24.0):
        (y,) = tf.gradients(y, x)
        assert run(y) == pytest.approx(want)
    v = tf.constant([1.0, 2.0])
    (h,) = tf.hessians(v[0] * v[0] * v[1], v)
    np.testing.assert_allclose(run(h), [[4, 2], [2, 0]])


def test_the_gradient_of_a_write_passes_to_its_value() -> None:
    v, x = tf.Variable(1.0), tf.constant(3.0)
    assert run(tf.gradients(v.assign(x * x) * 2.0, [x])) == [12.0]


def test_wrong_arguments_are_refused() -> None:
    x = tf.constant([1.0, 2.0])
    with pytest.raises(TypeError, match="int32, which has no gradient"):
        tf.gradients(tf.constant(1), x)
    with pytest.raises(ValueError, match=r"grad_ys\[0\] has shape \(3,\), its y \(2,\)"):
        tf.gradients(x * 2.0, x, grad_ys=[tf.zeros([3])])
    with pytest.raises(ValueError, match="1 ys, but 2 grad_ys"):
        tf.gradients(x * 2.0, x, grad_ys=[x, x])
    with pytest.raises(TypeError, match="neither a tensor nor a variable"):
        tf.gradients(x, [3.0])


def test_a_chain_of_ten_thousand_operations_is_differentiated() -> None:
    x = tf.constant(1.0)
    y = x
    for _ in range(10_000):
        y = -y
    assert tf.gradients(y, x)[0] is not None


# ---------------------------------------------------------------- the user's own rules
def test_a_custom_gradient_replaces_the_rule() -> None:
    @tf.custom_gradient
    def log1pexp(x: Any) -> Any:
        e = tf.exp(x)
        return tf.log(1.0 + e), lambda dy: dy * (1.0 - 1.0 / (1.0 + e))

    x = tf.constant([0.0, 100.0])
    y = log1pexp(x)
    assert y.shape == [2]
    np.testing.assert_allclose(run(tf.gradients(y, x)[0]), [0.5, 1.0])


def test_a_custom_gradient_of_a_function_of_variables() -> None:
    v = tf.Variable(3.0)

    @tf.custom_gradient
    def scaled(x: Any) -> Any:
        def grad(dy: Any, variables: Any = None) -> Any:
            assert variables == [v]
            return dy * 100.0, [dy * 10.0]

        return x * v, grad

    x = tf.constant(2.0)
    y = scaled(x)
    assert run([y, *tf.gradients(y, [x, v])]) == [6.0, 100.0, 10.0]


def test_variables_need_a_gradient_function_that_takes_them() -> None:
    v = tf.Variable(3.0)
    with pytest.raises(TypeError, match="must take the keyword argument 'variables'"):
        tf.custom_gradient(lambda x: (x * v, lambda dy: dy))(tf.constant(1.0))


def test_several_results_of_a_custom_gradient() -> None:
    @tf.custom_gradient
    def both(a: Any, b: Any) -> Any:
        return [a + b, a * b], lambda ds, dp: (ds * 2.0, dp * 3.0)

    a, b = tf.constant(2.0), tf.constant(5.0)
    s, p = both(a, b)
    assert run([s, p, *tf.gradients(s + p, [a, b])]) == [7.0, 10.0, 2.0, 3.0]


def test_a_registered_gradient_overrides_by_name(graph: Any) -> None:
    name = "TenTimesForTest"

    @tf.RegisterGradient(name)
    def rule(op: Any, grad: Any) -> Any:
        assert op.type == "Square"
        return 10.0 * grad

    with pytest.raises(KeyError, match="registered already"):
        tf.RegisterGradient(name)(rule)
    x = tf.constant(3.0)
    with graph.gradient_override_map({"Square": name}):
        y = tf.square(x)
    assert run(tf.gradients(y, x)) == [10.0]
    assert run(tf.gradients(tf.square(x), x)) == [6.0]
    with graph.gradient_override_map({"Square": "NoSuchRuleForTest"}):
        z = tf.square(x)
    with pytest.raises(ValueError, match="which is not registered"):
        tf.gradients(z, x)


def test_derivatives_are_checked_by_differences() -> None:
    x = tf.placeholder(tf.float64, [2, 2])
    y = tf.tanh(tf.matmul(x, x))
    with tf.Session():
        assert tf.test.compute_gradient_error(x, [2, 2], y, [2, 2], delta=1e-5) < 1e-8
        rule, differences = tf.test.compute_gradient(x, [2, 2], y, [2, 2])
    assert rule.shape == differences.shape == (4, 4)
