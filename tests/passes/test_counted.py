"""Loops that count: which of them need no predicate, and how often they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.ir.function import Function
from tests.passes.loops import body, loops, ops, staged

Compare = Callable[[Any, Any], Any]
MEANING: dict[str, Callable[[int, int], bool]] = {
    "less": lambda i, n: i < n, "less_equal": lambda i, n: i <= n,
    "greater": lambda i, n: i > n, "greater_equal": lambda i, n: i >= n,
}  # fmt: skip


def count(compare: str, start: int, bound: int, step: int, most: int | None = None) -> int:
    """How often the loop runs, counted one by one."""
    k = 0
    while MEANING[compare](start, bound) and (most is None or k < most):
        start, k = start + step, k + 1
    return k


def closed(fetches: Any, feed: Any) -> Function:
    """The closed function; it computes what its optimised form does."""
    staged(fetches, feed)
    return tf.stages(fetches, list(feed), stop_after="close").closed


def kinds(f: Function) -> list[str]:
    """Which loops there are."""
    return [n.op.name for n in loops(f)]


def counting(
    compare: str, start: Any, bound: Any, step: int, swap: bool = False, most: Any = None,
) -> list[Any]:  # fmt: skip
    """The counter at the end, and a value that doubles in each iteration."""

    def more(i: Any, _: Any) -> Any:
        a, b = (bound, i) if swap else (i, bound)
        other = {"less": "greater", "less_equal": "greater_equal",
                 "greater": "less", "greater_equal": "less_equal"}  # fmt: skip
        return getattr(tf, other[compare] if swap else compare)(a, b)

    def step_by(i: Any, x: Any) -> Any:
        return (i + step if step > 0 else i - -step), x * 2.0

    out = tf.while_loop(more, step_by, [start, tf.constant(1.0)], maximum_iterations=most)
    return list(out)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("step", [1, 3, -1, -2])
@pytest.mark.parametrize("inclusive", [False, True])
def test_every_comparison_in_both_orders(inclusive: bool, step: int, swap: bool) -> None:
    compare = ("less" if step > 0 else "greater") + "_equal" * inclusive
    for start, bound in (0, 7), (7, 0), (3, 3), (-4, 5), (5, -4):
        fetches = counting(compare, tf.constant(start), bound, step, swap)
        f = closed(fetches, {})
        assert kinds(f) == ["Scan"]
        trips = count(compare, start, bound, step)
        assert loops(f)[0].attrs["length"] == trips
        with tf.Session() as sess:
            assert sess.run(fetches) == [start + trips * step, 2.0**trips]


@pytest.mark.parametrize("compare", MEANING)
def test_a_bound_that_is_fed_or_a_size(compare: str) -> None:
    step = 2 if "less" in compare else -2
    n, x = tf.placeholder(tf.int32, []), tf.placeholder(tf.float32, [None])
    low = tf.placeholder(tf.int32, [])
    start, bound = (low, n) if step > 0 else (n, low)
    fed = counting(compare, start, bound, step)
    sized = counting(compare, *((0, tf.shape(x)[0]) if step > 0 else (tf.shape(x)[0], 0)), step)
    f = closed([fed, sized], {n: 5, low: 0, x: np.ones(3)})
    assert kinds(f) == ["Scan", "Scan"]
    assert all(not isinstance(loop.attrs["length"], int) for loop in loops(f))
    with tf.Session() as sess:
        for top, size in (5, 3), (0, 0), (-3, 4), (6, 1):
            a, b = (0, top) if step > 0 else (top, 0)
            c, d = (0, size) if step > 0 else (size, 0)
            got = sess.run([fed, sized], {n: top, low: 0, x: np.ones(size)})
            trips = [count(compare, a, b, step), count(compare, c, d, step)]
            assert got == [[v + k * step, 2.0**k] for v, k in zip((a, c), trips, strict=True)]


@pytest.mark.parametrize("most", [0, 1, 3, 4, 9])
def test_a_limit_on_the_iterations(most: int) -> None:
    limit = tf.placeholder(tf.int32, [])
    known = counting("less", tf.constant(0), 4, 1, most=most)
    fed = counting("less", tf.constant(0), 4, 1, most=limit)
    f = closed([known, fed], {limit: most})
    assert kinds(f) == ["Scan", "Scan"]
    assert loops(f)[0].attrs["length"] == min(4, most)
    with tf.Session() as sess:
        want = [min(4, most), 2.0 ** min(4, most)]
        assert sess.run([known, fed], {limit: most}) == [want, want]


def test_the_predicate_and_the_number_of_iterations_are_what_they_would_be() -> None:
    n = tf.placeholder(tf.int32, [])
    trips = tf.while_loop(lambda i, _: i < n, lambda i, x: (i + 2, x * 2.0), [0, 1.0])
    gradient = tf.gradients(trips[1], tf.constant(1.0), unconnected_gradients="zero")
    f = closed([trips, gradient], {n: 5})
    assert kinds(f) == ["Scan"]


def test_gradients_of_a_counted_loop_need_no_growing_stacks() -> None:
    n, x = tf.placeholder(tf.int32, []), tf.placeholder(tf.float32, [3])
    y = tf.while_loop(lambda i, _: i < n, lambda i, h: (i + 1, tf.tanh(h * x)), [0, x])[1]
    fetches = [y, tf.gradients(y, x)[0]]
    f = closed(fetches, {n: 4, x: np.array([0.5, 1, -2])})
    assert kinds(f) == ["Scan", "Scan"]
    with tf.Session() as sess:
        assert np.isfinite(sess.run(fetches, {n: 0, x: np.ones(3)})[1]).all()
        np.testing.assert_array_equal(sess.run(fetches, {n: 0, x: np.ones(3)})[1], np.ones(3))


def test_loops_within_loops_count_too() -> None:
    n = tf.placeholder(tf.int32, [])

    def row(i: Any, total: Any) -> Any:
        inner = tf.while_loop(
            lambda j, _: j < n, lambda j, a: (j + 1, a + tf.cast(i * j, tf.float32)), [0, total]
        )
        return i + 1, inner[1]

    total = tf.while_loop(lambda i, _: i < 3, row, [0, 0.0])[1]
    f = closed(total, {n: 4})
    assert kinds(f) == ["Scan"] and kinds(body(loops(f)[0])) == ["Scan"]
    with tf.Session() as sess:
        assert sess.run(total, {n: 4}) == 18.0


def test_a_fixed_bound_may_be_carried_along() -> None:
    n = tf.placeholder(tf.int32, [])
    out = tf.while_loop(lambda i, m, _: i < m, lambda i, m, x: (i + 1, m, x * 2.0), [0, n, 1.0])
    assert kinds(closed(out, {n: 3})) == ["Scan"]


# ---------------------------------------------------------------- what does not count
def not_counted() -> dict[str, Callable[[Any], Any]]:
    """Loops whose number of iterations is found out by running them."""
    half = tf.int32

    def moved(i: Any, n: Any) -> Any:
        return i + 1, n - 1

    return {
        "the bound moves": lambda n: tf.while_loop(lambda i, m: i < m, moved, [0, n]),
        "the first predicate is another": lambda n: tf.while_loop(
            lambda i: i < (n if i.op.type == "Const" else n - 1), lambda i: i + 1, [0]
        ),
        "a float counts": lambda n: tf.while_loop(
            lambda i: i < tf.cast(n, tf.float32), lambda i: i + 1.0, [0.0]
        ),
        "the step is fed": lambda n: tf.while_loop(lambda i: i < 9, lambda i: i + n, [0]),
        "the step doubles": lambda n: tf.while_loop(lambda i: i < n, lambda i: i + i, [1]),
        "it counts away from the bound": lambda n: tf.while_loop(
            lambda i: i > n, lambda i: i + 1, [0]
        ),
        "the bound shrinks in place": lambda n: tf.while_loop(
            lambda i, m: i < m, lambda i, m: (i + 1, tf.identity(m) // 2), [0, n]
        ),
        "the bound is data of the loop": lambda n: tf.while_loop(
            lambda i, x: i < tf.cast(tf.reduce_sum(x), half),
            lambda i, x: (i + 1, x * 0.5),
            [0, tf.fill([4], tf.cast(n, tf.float32))],
        ),
        "two conditions": lambda n: tf.while_loop(
            lambda i, x: tf.logical_and(i < n, x < 4.0), lambda i, x: (i + 1, x * 2.0), [0, 1.0]
        ),
        "unlike": lambda n: tf.while_loop(
            lambda i: tf.not_equal(i, n), lambda i: i + 1, [0]
        ),
        "counts from 4, and starts at 0": lambda n: tf.while_loop(
            lambda i: i + n > 4, lambda i: i - 1, [0]
        ),
    }  # fmt: skip


@pytest.mark.parametrize("case", not_counted())
def test_what_is_no_count(case: str) -> None:
    n = tf.placeholder(tf.int32, [])
    out = not_counted()[case](n)
    f = closed(out, {n: 5})
    assert kinds(f) == ["While"]
    assert "Fill" not in ops(f) or case == "the bound is data of the loop"


@pytest.mark.parametrize(("dtype", "start", "bound"), [(tf.int8, 100, 127), (tf.uint8, 250, 254)])
def test_a_small_counter_may_wrap_around_and_does_not_count(
    dtype: tf.DType, start: int, bound: int
) -> None:
    first, last = tf.placeholder(dtype, []), tf.placeholder(dtype, [])
    three = tf.constant(3, dtype)
    x = tf.while_loop(lambda i: i <= last, lambda i: i + three, [first], maximum_iterations=99)
    feed = {first: start, last: bound}
    assert kinds(closed(x, feed)) == ["While"]
    want, k = np.array(start, dtype.as_numpy_dtype), 0
    with np.errstate(over="ignore"):
        while want <= bound and k < 99:
            want, k = want + np.array(3, want.dtype), k + 1
    assert k > 10  # it has wrapped around
    with tf.Session() as sess:
        assert sess.run(x, feed) == want
