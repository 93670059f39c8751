"""`TensorArray`: values, gradients, sizes, and how a loop takes an array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import OutOfBoundsError

Array = tf.TensorArray


@pytest.fixture(autouse=True)
def graph() -> Any:
    with tf.Graph().as_default() as g:
        yield g


def run(fetches: Any, feed: Any = None) -> Any:
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        return sess.run(fetches, feed)


def counted(n: Any, body: Callable[..., Any], *variables: Any) -> Any:
    """The variables after `n` calls of ``body(i, *variables)``."""
    out = tf.while_loop(
        lambda i, *_: i < n, lambda i, *v: (i + 1, *body(i, *v)), [tf.constant(0), *variables]
    )
    return out[1:]


# ---------------------------------------------------------------- outside of loops
def test_what_is_written_is_read() -> None:
    empty = Array(tf.float32, size=3, name="a")
    a = empty.write(2, [1.0, 2.0]).write(0, [3.0, 4.0])
    full = a.write(1, [5.0, 6.0])
    got = run([a.read(2), full.stack(), full.concat(), full.gather([1, 1, 0]), full.size()])
    np.testing.assert_array_equal(got[0], [1, 2])
    np.testing.assert_array_equal(got[1], [[3, 4], [5, 6], [1, 2]])
    np.testing.assert_array_equal(got[2], [3, 4, 5, 6, 1, 2])
    np.testing.assert_array_equal(got[3], [[5, 6], [5, 6], [3, 4]])
    assert got[4] == 3
    assert a.element_shape == [2]
    assert empty.element_shape.ndims is None
    assert (a.dtype, a.handle, repr(a)) == (tf.float32, a, "<tf.TensorArray 'a' dtype=float32>")


def test_an_array_is_a_value() -> None:
    a = Array(tf.int32, size=2).write(0, 1)
    one, two = a.write(1, 10), a.write(1, 20)  # neither sees the other
    np.testing.assert_array_equal(run([one.stack(), two.stack()]), [[1, 10], [1, 20]])


def test_unstack_scatter_split() -> None:
    x = np.arange(6.0).reshape(3, 2)
    whole = Array(tf.float64, 3).unstack(x)
    placed = Array(tf.float64, 4).scatter([3, 0, 2], x).write(1, [9.0, 9.0])
    parts = Array(tf.float64, 3).split(np.arange(6.0), [2, 2, 2])
    got = run([whole.stack(), placed.stack(), parts.stack(), whole.identity().read(1)])
    np.testing.assert_array_equal(got[0], x)
    np.testing.assert_array_equal(got[1], [x[1], [9, 9], x[2], x[0]])
    np.testing.assert_array_equal(got[2], x)
    np.testing.assert_array_equal(got[3], x[1])


def test_sizes_may_come_with_the_run() -> None:
    x = tf.placeholder(tf.float32, [None, 2])
    a = Array(tf.float32, size=tf.shape(x)[0]).unstack(x)
    n = tf.placeholder(tf.int32, [])
    b = Array(tf.float32, size=n, element_shape=[]).scatter(tf.range(n), tf.zeros([n]))
    got = run([a.stack(), a.size(), b.stack()], {x: [[1, 2]], n: 3})
    np.testing.assert_array_equal(got[0], [[1, 2]])
    assert got[1] == 1
    assert got[2].shape == (3,)


def test_arrays_of_other_dtypes() -> None:
    text = Array(tf.string, size=2).write(0, "a").write(1, "b")
    turned = Array(tf.complex64, size=1).write(0, 1j)
    flags = Array(tf.bool, size=2).unstack([True, False])
    none = Array(tf.int64, size=0, element_shape=[3])
    got = run([text.stack(), flags.stack(), none.stack(), turned.stack()])
    assert got[0].astype("U").tolist() == ["a", "b"]
    assert got[1].tolist() == [True, False]
    assert got[2].shape == (0, 3)
    assert got[3].tolist() == [1j]


def test_old_forms() -> None:
    a = Array(dtype=tf.float32, size=2, tensor_array_name="old", clear_after_read=False)
    a = a.write(0, 1.0)
    again = Array(dtype=tf.float32, handle=a.handle, flow=a.flow)
    with tf.control_dependencies([again.flow, a.close()]):
        np.testing.assert_array_equal(run(again.write(1, 2.0).stack()), [1, 2])
    assert float(run(Array(tf.float32, size=2).flow)) == 0.0


# ---------------------------------------------------------------- in loops
def test_a_loop_that_writes_records(graph: tf.Graph) -> None:
    x = tf.placeholder(tf.float32, [None, 2])
    (a,) = counted(
        4, lambda i, a: [a.write(3 - i, x * tf.cast(i, tf.float32))], Array(tf.float32, 4)
    )
    got = run([a.stack(), a.size()], {x: [[1, 2]]})
    np.testing.assert_array_equal(got[0], [[[3 * 1 - i, 6 - 2 * i]] for i in range(4)])
    (loop,) = [op for op in graph.get_operations() if op.type == "While"]
    assert loop.attrs["carries"] == 2  # the predicate and the counter: nothing of the array
    assert not [op for op in loop.attrs["body"].get_operations() if "TensorArray" in op.type]


def test_two_writes_an_iteration_and_none() -> None:
    def body(i: Any, a: Any, b: Any) -> Any:
        return a.write(2 * i, i).write(2 * i + 1, -i), b

    a, b = counted(3, body, Array(tf.int32, 6), Array(tf.int32, 1).write(0, 7))
    assert [v.tolist() for v in run([a.stack(), b.stack()])] == [[0, 0, 1, -1, 2, -2], [7]]


def test_a_loop_that_reads_what_it_writes() -> None:
    fib = Array(tf.int32, size=10).write(0, 1).write(1, 1)
    (fib,) = counted(8, lambda i, a: [a.write(i + 2, a.read(i) + a.read(i + 1))], fib)
    assert run(fib.stack()).tolist() == [1, 1, 2, 3, 5, 8, 13, 21, 34, 55]


def test_a_read_before_the_shape_is_known() -> None:
    x = tf.placeholder(tf.float32, [None, 2])

    def body(i: Any, a: Any, total: Any) -> Any:
        a = a.write(i, x + tf.cast(i, tf.float32))
        return a, total + tf.reduce_sum(a.read(i))

    a, total = counted(3, body, Array(tf.float32, 3), 0.0)
    got = run([a.stack(), total], {x: [[1, 2]]})
    assert got[0].shape == (3, 1, 2)
    assert got[1] == 3 * 3 + 2 * 3


def test_writes_in_a_branch() -> None:
    def body(i: Any, a: Any) -> Any:
        return [tf.cond(tf.equal(i % 2, 0), lambda: a.write(i, 1.0), lambda: a.write(i, -1.0))]

    (a,) = counted(5, body, Array(tf.float32, 5, element_shape=[]))
    assert run(a.stack()).tolist() == [1, -1, 1, -1, 1]


def test_loops_in_loops() -> None:
    def body(i: Any, a: Any) -> Any:
        return counted(i + 1, lambda j, a: [a.write(i * (i + 1) // 2 + j, 10 * i + j)], a)

    (a,) = counted(3, body, Array(tf.int32, 6))
    assert run(a.stack()).tolist() == [0, 10, 11, 20, 21, 22]


def test_no_iteration() -> None:
    n = tf.placeholder(tf.int32, [])
    (a,) = counted(n, lambda i, a: [a.write(i, [1.0, 2.0])], Array(tf.float32, size=n))
    for size in 0, 2:
        np.testing.assert_array_equal(run(a.stack(), {n: size}), np.tile([[1.0, 2.0]], (size, 1)))


def test_arrays_grow() -> None:
    n = tf.placeholder(tf.int32, [])
    (a,) = counted(n, lambda i, a: [a.write(i, [i, -i])], Array(tf.int32, 0, dynamic_size=True))
    b = Array(tf.int32, 0, dynamic_size=True).write(0, 1)
    (b,) = counted(n, lambda i, b: [b.write(i + 1, b.read(i) * 2)], b)
    for size in 1, 4:
        got = run([a.stack(), a.size(), b.stack(), b.size()], {n: size})
        assert got[0].tolist() == [[i, -i] for i in range(size)]
        assert got[2].tolist() == [2**i for i in range(size + 1)]
        assert (got[1], got[3]) == (size, size + 1)


def test_an_array_that_is_there_when_the_loop_begins() -> None:
    a = Array(tf.float32, size=4).write(3, 1.0)
    (a,) = counted(3, lambda i, a: [a.write(i, 2.0)], a)
    assert run(a.stack()).tolist() == [2, 2, 2, 1]
    (b,) = counted(4, lambda i, b: [b.write(i, 2.0)], Array(tf.float32, size=4).write(3, 1.0))
    with pytest.raises(OutOfBoundsError, match="index 3 has been written before"):
        run(b.stack())


# ---------------------------------------------------------------- gradients
def states(read: bool, x: Any, w: Any) -> Any:
    """A small recurrent network, with arrays for what comes in and goes out."""
    n = tf.shape(x)[0]
    given = Array(tf.float64, size=n).unstack(x)
    made = Array(tf.float64, size=n, element_shape=[1, 2])

    def body(i: Any, h: Any, given: Any, made: Any) -> Any:
        h = tf.tanh(tf.matmul(h, w) + given.read(i)[None])
        made = made.write(i, h)
        return (made.read(i) if read else h), given, made

    return counted(n, body, tf.zeros([1, 2], tf.float64), given, made)[2].stack()


@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_gradients_are_those_of_the_unrolled_loop(read: bool, steps: int) -> None:
    rng = np.random.default_rng(0)
    x = tf.placeholder(tf.float64, [None, 2])
    w = tf.constant(rng.normal(size=(2, 2)))

    def unrolled() -> Any:
        h, out = tf.zeros([1, 2], tf.float64), []
        for i in range(steps):
            h = tf.tanh(tf.matmul(h, w) + x[i][None])
            out.append(h)
        return tf.stack(out) if out else tf.zeros([0, 1, 2], tf.float64) * tf.reduce_sum(w)

    results = []
    for y in (states(read, x, w), unrolled()):
        first = tf.gradients(tf.reduce_sum(tf.sin(y)), [x, w], unconnected_gradients="zero")
        total = tf.reduce_sum(tf.sin(first[0])) + tf.reduce_sum(tf.sin(first[1]))
        results.append([y, *first, *tf.gradients(total, [x, w], unconnected_gradients="zero")])
    feed = {x: rng.normal(size=(steps, 2))}
    for a, b in zip(run(results[0], feed), run(results[1], feed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_gradients_of_scattered_and_gathered_elements() -> None:
    x = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    a = Array(tf.float32, 3).scatter([2, 0], x).write(1, x[0] * x[1])
    y = tf.reduce_sum(a.gather([0, 1, 1, 2]) * [[1.0], [2.0], [3.0], [4.0]])
    np.testing.assert_array_equal(run(tf.gradients(y, x)[0]), [[19, 24], [6, 11]])


def test_going_back_keeps_the_elements_that_were_read_and_no_copies_of_the_array() -> None:
    n = tf.placeholder(tf.int32, [])
    start = tf.placeholder(tf.float64, [])
    a = Array(tf.float64, size=n + 1).write(0, start)
    (a,) = counted(n, lambda i, a: [a.write(i + 1, tf.sin(a.read(i)))], a)
    y = a.read(n)
    slope = tf.gradients(y, start)[0]
    feed = {n: 5, start: 0.7}
    value, want = 0.7, 1.0
    for _ in range(5):
        value, want = np.sin(value), want * np.cos(value)
    np.testing.assert_allclose(run([y, slope], feed), [value, want], rtol=1e-12)
    for loop in tf.stages([y, slope], stop_after="fuse").function.nodes:
        if loop.op.name == "Scan":
            stacked = loop.outputs[loop.attrs["carries"] :]
            assert all(len(v.dims) == 1 for v in stacked)
