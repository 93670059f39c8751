"""What steps are said to move and to compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.ir.program import Program
from staticgraph.runtime.cost import Cost, step_cost


def _costs(fetches: Any, *sizes: int) -> list[Cost]:
    program = tf.stages(fetches).program
    assert isinstance(program, Program)
    assert len(program.sizes) == len(sizes)
    env = dict(zip(program.sizes, sizes, strict=True))
    return [step_cost(s, env) for s in program.steps]


def _only(fetches: Any, *sizes: int) -> Cost:
    (cost,) = _costs(fetches, *sizes)
    return cost


@pytest.mark.parametrize("n", [0, 1, 5, 4096])
def test_elementwise(n: int) -> None:
    x = tf.placeholder(tf.float32, [None])
    y = tf.placeholder(tf.float64, [None])
    assert _only(tf.sqrt(x * 2.0 + 1.0), n) == Cost(4 * n, 4 * n, 3 * n)
    assert _only(tf.cast(y, tf.float32), n) == Cost(8 * n, 4 * n, 0)
    assert _only(tf.exp(x) * tf.cast(y, tf.float32), n, n).read in (12 * n, 12 * n)


def test_integers_are_no_floats() -> None:
    i = tf.placeholder(tf.int32, [None])
    assert _only(i * i + 1, 10) == Cost(40, 40, 0)


def test_broadcasting_reads_a_row_once() -> None:
    x, b = tf.placeholder(tf.float32, [None, 7]), tf.placeholder(tf.float32, [7])
    assert _only(x + b, 100) == Cost(4 * (700 + 7), 4 * 700, 700)


@pytest.mark.parametrize("n", [1, 4095, 4097, 8193, 100_000])
def test_a_row_is_read_once_however_often_a_kernel_comes_back(n: int) -> None:
    x = tf.placeholder(tf.float32, [3, None])
    cost = _only(tf.nn.softmax(x), n)
    assert cost.written == 12 * n
    assert cost.read == 24 * n  # the row, and the exponentials that were written first
    blocks = -(-n // 4096)
    # subtract, exp, add, multiply; blocks are added up, and one division serves a row
    assert cost.flops == 3 * (4 * n + blocks + 1)


@pytest.mark.parametrize("n", [1, 8191, 8192, 8193, 50_000])
def test_long_reductions(n: int) -> None:
    x = tf.placeholder(tf.float32, [None])
    first, *rest = _costs(tf.reduce_sum(x), n)
    assert first.read == 4 * n
    assert first.flops == n
    assert sum(c.read for c in rest) < n + 16


def test_columns() -> None:
    x = tf.placeholder(tf.float32, [1000, 700])
    (cost,) = _costs(tf.reduce_sum(x, 0))
    assert 4 * 700_000 <= cost.read <= 4 * 700_000 + 2 * 4 * 700
    assert 700_000 <= cost.flops <= 700_000 + 10 * 700


def test_of_a_table_only_what_is_gathered_counts() -> None:
    table, i = tf.placeholder(tf.float32, [1_000_000, 8]), tf.placeholder(tf.int32, [None])
    check, gather = _costs(tf.gather(table, i), 5)
    assert check == Cost(4 * 5, 0, 0)
    assert gather == Cost(4 * 5 + 4 * 40, 4 * 40, 0)


@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
def test_matrix_products(ta: bool, tb: bool) -> None:
    m, k, n = 3, 50, 7
    a = tf.placeholder(tf.float32, [k, m] if ta else [m, k])
    b = tf.placeholder(tf.float32, [n, k] if tb else [k, n])
    cost = _only(tf.matmul(a, b, transpose_a=ta, transpose_b=tb))
    assert cost == Cost(4 * (m * k + k * n), 4 * m * n, 2 * m * k * n)


def test_batches_of_matrix_products() -> None:
    a, b = tf.placeholder(tf.float64, [5, 2, 3]), tf.placeholder(tf.float64, [5, 3, 4])
    assert _only(tf.matmul(a, b)) == Cost(8 * 5 * (6 + 12), 8 * 5 * 8, 2 * 5 * 2 * 3 * 4)


def test_convolutions_and_their_gradients() -> None:
    x = tf.placeholder(tf.float32, [2, 8, 8, 3])
    w = tf.placeholder(tf.float32, [3, 3, 3, 5])
    y = tf.nn.conv2d(x, w, [1, 1, 1, 1], "SAME")
    dx, dw = tf.gradients(y, [x, w], [tf.placeholder(tf.float32, [2, 8, 8, 5])])
    flops = 2 * (2 * 8 * 8 * 5) * (3 * 3 * 3)
    sizes = {"x": 4 * 2 * 64 * 3, "w": 4 * 135, "y": 4 * 2 * 64 * 5}
    assert _only(y) == Cost(sizes["x"] + sizes["w"], sizes["y"], flops)
    *_, backward = _costs(dx)  # as a convolution with filters that are turned round before
    assert backward == Cost(sizes["y"] + sizes["w"], sizes["x"], 2 * (2 * 64 * 3) * (9 * 5))
    assert _only(dw) == Cost(sizes["y"] + sizes["x"], sizes["w"], flops)


def test_other_library_calls() -> None:
    x = tf.placeholder(tf.float32, [6, 10])
    assert _only(tf.cumsum(x, 1)) == Cost(240, 240, 60)
    (draw,) = _costs(tf.random_uniform([100], seed=1))[:1]
    assert (draw.read, draw.written) == (0, 400)
    i, u = tf.placeholder(tf.int32, [4]), tf.placeholder(tf.float32, [4, 10])
    v = tf.Variable(np.zeros((6, 10), np.float32))
    assert _costs(tf.scatter_add(v, i, u).op)[0] == Cost(4 * 4 + 160 + 160, 160, 40)
    assert _costs(tf.scatter_update(v, i, u).op)[0] == Cost(4 * 4 + 160, 160, 0)


def test_host_steps_tell_what_goes_in() -> None:
    x = tf.placeholder(tf.float32, [16])
    (host, *_) = _costs(tf.unique(x)[0], 3)
    assert host.read == 64
    assert str(Cost(1000, 8, 2000)) == "reads 1,000 bytes, writes 8, 2,000 flops"
    assert str(Cost(1, 1)) == "reads 1 bytes, writes 1"


def test_a_loop_computes_what_its_iterations_do() -> None:
    w = tf.placeholder(tf.float32, [32, 32])
    e = tf.placeholder(tf.float32, [None, 4, 32])
    last = tf.scan(lambda h, x: tf.tanh(tf.matmul(h, w) + x), e, initializer=tf.zeros([4, 32]))
    for n in (0, 1, 7):
        assert sum(c.flops for c in _costs(last, n)) == n * (2 * 4 * 32 * 32 + 2 * 4 * 32)
    grown = tf.scan(
        lambda h, _: tf.scan(lambda g, _: tf.tanh(tf.matmul(g, w)), tf.zeros([3]), h)[-1],
        tf.zeros([5]), tf.ones([4, 32]),
    )  # fmt: skip
    assert sum(c.flops for c in _costs(grown)) == 5 * 3 * (2 * 4 * 32 * 32 + 4 * 32)


def test_how_often_a_loop_turns_may_be_told_by_data() -> None:
    w = tf.placeholder(tf.float32, [32, 32])
    end = tf.while_loop(
        lambda h: tf.reduce_sum(h) > 1.0, lambda h: tf.matmul(h, w), [tf.ones([4, 32])]
    )
    (loop,) = [c for c in _costs(end) if c.read > 4096]
    assert loop.read >= 4 * (4 * 32 + 32 * 32)
    assert loop.flops == 0
