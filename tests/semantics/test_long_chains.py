"""Graphs of ten thousand operations: nothing recurses, kernels stay of bounded size."""

from __future__ import annotations

import math

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.ir.evaluate import evaluate
from staticgraph.ir.program import Launch
from staticgraph.passes.close import close
from staticgraph.runtime.compile import function_stages

LONG = 10_000


def test_a_long_chain_of_maps_is_compiled_into_kernels_of_bounded_size() -> None:
    x = tf.placeholder(tf.float64, [3])
    y = x
    for _ in range(LONG):
        y = tf.sin(y)
    p = function_stages(tf.get_default_graph(), y).program
    assert p is not None
    kernels = {s.kernel for s in p.steps if isinstance(s, Launch)}
    assert len(p.steps) < LONG / 10
    assert max(len(str(k)) for k in kernels) < 20_000
    want = 0.5
    for _ in range(LONG):
        want = math.sin(want)
    with tf.Session() as sess:
        np.testing.assert_allclose(sess.run(y, {x: [0.5, 0.0, -0.5]}), [want, 0, -want], rtol=1e-9)


def test_a_long_chain_can_be_differentiated_and_evaluated() -> None:
    x = tf.placeholder(tf.float64, [2])
    y = x
    for _ in range(LONG):
        y = y * 1.0001 + x
    (g,) = tf.gradients(y, x)
    f = close(tf.get_default_graph(), [y, g], {x: x.type})
    want = sum(1.0001**k for k in range(LONG + 1))
    got, _ = evaluate(f, [np.array([1.0, 2.0])])
    np.testing.assert_allclose(got[1], [want, want], rtol=1e-9)
    np.testing.assert_allclose(got[0], [want, 2 * want], rtol=1e-9)


def test_a_long_chain_that_comes_to_nothing_is_nothing() -> None:
    x = tf.placeholder(tf.float64, [2])
    y = x
    for _ in range(LONG):
        y = tf.identity(-y)
    p = function_stages(tf.get_default_graph(), [y, tf.gradients(y, x)[0]]).program
    assert p is not None and len(p.steps) <= 1


def test_doubling_shares_the_same_tensor_without_growing_as_a_tree() -> None:
    x = tf.placeholder(tf.float64, [])
    y = x
    for k in range(1000):
        y = y + y if k % 2 else y * 0.25 + y * 0.25
    with tf.Session() as sess:
        got = sess.run([y, tf.gradients(y, x)[0]], {x: 3.0})
    assert got == [3.0, 1.0]


def test_thousands_of_control_edges_in_a_row() -> None:
    v = tf.Variable(np.int64(0))
    step = v.assign_add(np.int64(0))
    for _ in range(2000):
        with tf.control_dependencies([step]):
            step = v.assign_add(np.int64(1))
    wide = tf.group(*[v.assign_add(np.int64(1)) for _ in range(3000)])
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        assert sess.run(step) == 2000
        sess.run(wide)
        assert sess.run(v) == 5000


@pytest.mark.slow
def test_the_gradient_of_a_long_chain_is_compiled() -> None:
    x = tf.placeholder(tf.float64, [3])
    y = x
    for _ in range(3000):
        y = tf.tanh(y)
    (g,) = tf.gradients(y, x)
    with tf.Session() as sess:
        got = sess.run([y, g], {x: [0.5, 0.0, -0.5]})
    assert got[1][1] == 1.0 and 0 < got[1][0] < 1
