"""How regions become loops: blocking at fixed places, flat indices where memory allows them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.ir.kernel import Loop, walk
from staticgraph.ir.program import Launch
from staticgraph.passes import schedule
from staticgraph.runtime.compile import function_stages


def kernels(fetches: Any) -> list[Any]:
    """The kernels of the optimised program."""
    p = function_stages(tf.get_default_graph(), fetches).program
    assert p is not None
    return [s.kernel for s in p.steps if isinstance(s, Launch)]


def test_elements_of_a_flat_kernel_are_at_the_flat_index() -> None:
    x = tf.placeholder(tf.float32, [None, 7, 3])
    (k,) = kernels(tf.exp(x) + 1.0)
    assert "floordiv" not in str(k) and "mod" not in str(k)


def test_rows_of_several_axes_are_one_loop() -> None:
    x = tf.placeholder(tf.float32, [None, 7, 3])
    (k,) = kernels(tf.reduce_max(x, [1, 2]))
    assert sum(isinstance(s, Loop) for s in walk(k.body)) == 1
    assert "floordiv" not in str(k)


def test_a_bias_is_read_without_division() -> None:
    x, b = tf.placeholder(tf.float32, [None, 7]), tf.placeholder(tf.float32, [7])
    (k,) = kernels(tf.nn.relu(x + b))
    assert k.form == "row" and "floordiv" not in str(k) and "mod" not in str(k)


def test_long_sums_are_blocked_at_fixed_places() -> None:
    x = tf.placeholder(tf.float32, [4, None])
    (k,) = kernels(tf.reduce_sum(x, 1))
    assert str(schedule.BLOCK) in str(k)
    y = tf.placeholder(tf.float32, [None])
    assert [k.form for k in kernels(tf.reduce_sum(y))] == ["full", "row"]
    z = tf.placeholder(tf.float32, [100])
    assert [k.form for k in kernels(tf.reduce_sum(z))] == ["row"]


def test_a_maximum_needs_no_blocks() -> None:
    x = tf.placeholder(tf.float32, [4, None])
    (k,) = kernels(tf.reduce_max(x, 1))
    assert str(schedule.BLOCK) not in str(k)


@pytest.mark.parametrize("n", [0, 1, 127, 128, 129, 4095, 4096, 4097, 8192, 8193, 131073])
def test_sums_are_right_at_every_edge_of_a_block(n: int) -> None:
    x = tf.placeholder(tf.float64, [None])
    rows = tf.placeholder(tf.float64, [3, None])
    columns = tf.placeholder(tf.float64, [None, 3])
    a = np.arange(n, dtype=np.float64) % 7
    with tf.Session() as sess:
        sums = [tf.reduce_sum(x), tf.reduce_sum(rows, 1), tf.reduce_sum(columns, 0)]
        three = np.stack([a, a + 1, -a])
        got = sess.run(sums, {x: a, rows: three, columns: three.T})
    assert got[0] == a.sum()
    for g in got[1:]:
        np.testing.assert_array_equal(g, [a.sum(), a.sum() + n, -a.sum()])


@pytest.mark.parametrize("columns", [1, 511, 512, 513, 1025])
def test_column_sums_are_right_at_every_edge_of_a_block(columns: int) -> None:
    x = tf.placeholder(tf.float64, [None, None])
    with tf.Session() as sess:
        total = tf.reduce_sum(x, 0)
        for n in (0, 1, 128, 129):
            a = np.arange(n * columns, dtype=np.float64).reshape(n, columns) % 11
            np.testing.assert_array_equal(sess.run(total, {x: a}), a.sum(0))


def test_a_transposed_copy_is_read_in_rows() -> None:
    x = tf.placeholder(tf.float32, [None, 5])
    (k,) = kernels(tf.transpose(x))
    assert k.form == "row" and "mod" not in str(k)


def test_a_reduction_that_leaves_nothing_to_wait_for_shares_its_pass() -> None:
    x = tf.placeholder(tf.float32, [None, 10])
    (k,) = kernels([tf.reduce_sum(x, 1), tf.reduce_max(x, 1), tf.reduce_sum(x * x, 1)])
    assert sum(isinstance(s, Loop) for s in walk(k.body)) == 1


def test_values_that_nobody_reads_are_not_computed() -> None:
    x = tf.placeholder(tf.float32, [None, 7])
    stages = function_stages(tf.get_default_graph(), [tf.exp(x) + 1.0, tf.reduce_sum(x, 1)])
    assert stages.fused is not None
    (region,) = stages.fused.items
    total = next(m.value for m in region.members if m.reduce is not None)
    assert schedule.schedule(region, stages.fused.values, frozenset()) == []
    (made,) = schedule.schedule(region, stages.fused.values, frozenset({total}))
    assert "exp" not in str(made.kernel)


def test_softmax_cross_entropy_uses_its_gradients_place_between_passes() -> None:
    x, t = tf.placeholder(tf.float32, [None, 50]), tf.placeholder(tf.int32, [None])
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=t, logits=x)
    p = function_stages(tf.get_default_graph(), [loss, tf.gradients(loss, x)[0]]).program
    assert p is not None
    large = [b for b in p.buffers if b.role == "temporary" and len(b.dims or ()) == 2]
    assert len(large) == 1  # the gradient alone
