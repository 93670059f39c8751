"""Closing over loops and branches: what they are passed, the state they carry, sizes that open."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.ir.function import ElementOf, Function, Given, Node, SizeOf
from tests.passes.loops import body, loops, ops


def closed(fetches: Any, feeds: Any = None) -> Function:
    """The function before any pass."""
    return tf.stages(fetches, feeds, stop_after="close").closed


def only(f: Function) -> Node:
    """The one loop or branch."""
    (n,) = (n for n in f.nodes if n.op.control)
    return n


def names(n: Node) -> list[str]:
    """The parameters of a body."""
    return [p.name for p in body(n).params]


# ---------------------------------------------------------------- what is passed
def test_operands_are_carries_slices_and_what_the_body_uses() -> None:
    x, w = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [3], name="w")
    n = only(closed(tf.scan(lambda a, v: a * w + v, x, tf.zeros([3]))))
    assert (n.attrs["carries"], n.attrs["sequences"], len(n.inputs)) == (1, 1, 3)
    assert names(n) == ["scan/carry_0", "scan/slice_0", "w"]
    assert (n.attrs["length"] == x.op and False) or str(n.attrs["length"]) == "n0"


def test_sizes_of_the_function_around_are_given() -> None:
    x = tf.placeholder(tf.float32, [None, None])
    f = closed(tf.scan(lambda a, v: a + v, x, tf.zeros_like(x[0])))
    n = only(f)
    assert [str(d) for d in n.attrs["sizes"]] == ["n1"]
    (symbol,) = body(n).sizes
    assert body(n).sizes[symbol] == Given(0)
    assert all(isinstance(o, SizeOf) for o in f.sizes.values())


def test_sizes_go_through_two_bodies() -> None:
    x, table = tf.placeholder(tf.float32, [None, 2]), tf.placeholder(tf.float32, [None])

    def row(total: Any, v: Any) -> Any:
        return total + tf.foldl(lambda a, u: a + u * tf.reduce_sum(table), v, 0.0)

    n = only(closed(tf.foldl(row, x, 0.0)))
    inner = only(body(n))
    assert len(n.attrs["sizes"]) == len(inner.attrs["sizes"]) == 1
    assert list(body(n).sizes.values()) == list(body(inner).sizes.values()) == [Given(0)]


def test_known_values_are_known_inside() -> None:
    x = tf.placeholder(tf.float32, [None, 4])
    rows = tf.shape(x)[0]
    y = tf.map_fn(lambda v: tf.fill([rows], tf.reduce_sum(v)), x)
    f = closed(y)
    (result,) = f.results
    assert [str(d) for d in result.dims] == ["n0", "n0"]
    assert not any(isinstance(o, ElementOf) for o in f.sizes.values())


def test_what_is_assumed_of_sizes_inside_is_checked_outside() -> None:
    x, b = tf.placeholder(tf.float32, [None, None]), tf.placeholder(tf.float32, [None])
    y = tf.map_fn(lambda v: v + b, x)
    f = closed(y)
    assert [f"{g.guard.a} == {g.guard.b}" for g in f.guards if g.guard.kind == "=="] == ["n1 == n2"]
    with tf.Session() as sess:
        for k in (3, 1):  # one that fits, and one that spreads
            got = sess.run(y, {x: np.ones((2, 3)), b: np.arange(k)})
            np.testing.assert_array_equal(got, np.ones((2, 3)) + np.arange(k))
        with pytest.raises(ValueError, match=r"shapes \[3\] and \[2\] do not broadcast"):
            sess.run(y, {x: np.ones((2, 3)), b: np.arange(2)})


# ---------------------------------------------------------------- sizes that change
def grown(times: Any) -> Any:
    return tf.while_loop(
        lambda i, v: i < times, lambda i, v: (i + 1, tf.concat([v, v[-1:] * 2.0], 0)),
        [0, tf.ones([1])], shape_invariants=[tf.TensorShape([]), tf.TensorShape([None])],
    )[1]  # fmt: skip


def test_a_carry_that_grows_has_a_size_of_its_own() -> None:
    n = only(closed(grown(3)))
    inner = body(n)
    origins = [o for o in inner.sizes.values() if isinstance(o, SizeOf)]
    assert len(origins) == 1 and origins[0].value in [p.value for p in inner.params]
    with tf.Session() as sess:
        times = tf.placeholder(tf.int32, [])
        y = grown(times)
        for k in (0, 1, 4):
            np.testing.assert_array_equal(sess.run(y, {times: k}), 2.0 ** np.arange(k + 1))


def test_a_size_that_only_may_differ_is_assumed_not_to() -> None:
    a, b = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.float32, [None])
    y = tf.while_loop(
        lambda i, v: i < 2, lambda i, v: (i + 1, b * 1.0), [0, a],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None])],
    )[1]  # fmt: skip
    f = closed(y)
    assert [str(g.guard.a) + str(g.guard.b) for g in f.guards] == ["n0n1"]
    with tf.Session() as sess:
        for m, k in (3, 3), (3, 5):  # the guard holds; it does not, and the size opens
            np.testing.assert_array_equal(sess.run(y, {a: np.zeros(m), b: np.ones(k)}), np.ones(k))


# ---------------------------------------------------------------- state and streams
def test_a_variable_that_is_written_is_carried_one_that_is_read_is_not() -> None:
    v, w = tf.Variable(1.0, name="v"), tf.Variable(2.0, name="w")
    x = tf.placeholder(tf.float32, [None])

    def step(total: Any, u: Any) -> Any:
        with tf.control_dependencies([tf.assign_add(v, u * w)]):
            return total + u

    total = tf.foldl(step, x, 0.0)
    f = closed(total)
    n = only(f)
    assert n.attrs["carries"] == 2
    assert names(n)[1] == "v" and names(n)[-1] == "w"
    assert list(f.updates) == ["v"] and f.updates["v"] is n.outputs[1]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        assert sess.run(total, {x: [1.0, 2.0]}) == 3.0
        assert sess.run([v, w]) == [7.0, 2.0]


def test_a_body_reads_what_was_written_before_it_in_the_iteration() -> None:
    v = tf.Variable(1.0, name="v")
    x = tf.placeholder(tf.float32, [None])

    def step(u: Any) -> Any:
        with tf.control_dependencies([tf.assign(v, v.read_value() * 2.0 + u)]):
            return v.read_value()

    seen = tf.map_fn(step, x)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        np.testing.assert_array_equal(sess.run(seen, {x: [0.0, 1.0, 0.0]}), [2, 5, 10])
        assert sess.run(v) == 10.0
        np.testing.assert_array_equal(sess.run(seen, {x: []}), [])
        assert sess.run(v) == 10.0


def test_random_streams_are_positions_that_are_carried() -> None:
    x = tf.placeholder(tf.float32, [None])
    y = tf.map_fn(lambda v: v + tf.random_uniform([], seed=3), x)
    f = closed(y)
    n = only(f)
    assert n.attrs["carries"] == 1 and n.inputs[0].dtype is tf.int64
    assert len(f.updates) == 1  # the position after the last iteration
    with tf.Session() as sess:
        a, b = (sess.run(y, {x: np.zeros(4)}) for _ in range(2))
    assert len(np.unique([*a, *b])) == 8


def test_a_branch_threads_what_any_side_writes_or_draws() -> None:
    v = tf.Variable(1.0, name="v")
    go = tf.placeholder(tf.bool, [])
    y = tf.cond(
        go, lambda: tf.assign_add(v, 2.0) * 1.0, lambda: tf.random_uniform([], seed=1) + v
    )  # fmt: skip
    f = tf.stages(y, stop_after="trim").function
    n = only(f)
    assert len(n.outputs) == 3 and {len(b.params) for b in n.attrs["branches"]} == {2}
    assert "v" in f.updates and len(f.updates) == 2  # the other one is a position
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        first = [sess.run(y, {go: False}) for _ in range(2)]
        assert len(set(first)) == 2 and sess.run(v) == 1.0
        assert sess.run(y, {go: True}) == 3.0 == sess.run(v)


def test_a_failed_iteration_changes_no_variable() -> None:
    v = tf.Variable(tf.zeros([2]), name="v")
    table, index = tf.placeholder(tf.float32, [3]), tf.placeholder(tf.int32, [None])

    def step(i: Any) -> Any:
        with tf.control_dependencies([tf.assign_add(v, [1.0, 1.0])]):
            return tf.gather(table, i)

    y = tf.map_fn(step, index, dtype=tf.float32)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with pytest.raises(tf.errors.InvalidArgumentError, match="index 9"):
            sess.run(y, {table: np.ones(3), index: [0, 1, 9]})
        np.testing.assert_array_equal(sess.run(v), [0, 0])
        sess.run(y, {table: np.ones(3), index: [0, 1]})
        np.testing.assert_array_equal(sess.run(v), [2, 2])


def test_histories_are_kept_only_where_a_gradient_asks_for_them() -> None:
    x, h = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [3])
    y = tf.foldl(lambda a, v: tf.tanh(a + v), x, h)
    f = tf.stages(y, stop_after="trim").function
    assert only(f).attrs["histories"] == () and len(only(f).outputs) == 1
    g = tf.stages(tf.gradients(y, h), stop_after="trim").function
    assert [n.attrs["histories"] for n in loops(g)] == [(0,), ()]
    assert "Tanh" in ops(body(loops(g)[0]))
