"""Gradients through loops and branches that draw: draws are kept, whatever sizes they have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import staticgraph as tf

X = np.array([0.7, 0.4, 1.1])
F64 = tf.float64


@pytest.fixture(autouse=True)
def graph() -> Iterator[Any]:
    with tf.Graph().as_default() as g:
        yield g


def check(y: Any, x: Any, feed: dict[Any, Any], tolerance: float = 1e-6) -> None:
    """First and second gradient against central differences; every run draws the same."""
    total = tf.reduce_sum(y * y)
    (first,) = tf.gradients(total, x)
    (second,) = tf.gradients(tf.reduce_sum(first * first * x), x)

    def run(fetches: Any, at: np.ndarray) -> Any:
        with tf.Session() as sess:  # a session of its own begins its streams anew
            return sess.run(fetches, {**feed, x: at})

    shifts = np.eye(X.size) * 1e-5
    steps = [(run([total, first], X + e), run([total, first], X - e)) for e in shifts]
    want = [(up[0] - down[0]) / 2e-5 for up, down in steps]
    bent = [np.sum(up[1] ** 2 * (X + e)) - np.sum(down[1] ** 2 * (X - e))
            for (up, down), e in zip(steps, shifts, strict=True)]  # fmt: skip
    got, curved = run([first, second], X)
    assert np.abs(got).max() > 0
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(curved, np.array(bent) / 2e-5, rtol=tolerance, atol=tolerance)


def noise(shape: Any) -> Any:
    return tf.random_uniform(shape, 0.5, 1.5, seed=3, dtype=F64)


def steps(a: Any, x: Any, n: Any) -> Any:
    """So many steps, each with a draw."""
    return tf.while_loop(
        lambda i, a: i < n, lambda i, a: (i + 1, tf.tanh(a * x) + a * noise([3])), [0, a]
    )[1]


def growing(x: Any, n: Any) -> Any:
    """A draw as large as what has been collected."""
    return tf.while_loop(
        lambda i, a: i < n,
        lambda i, a: (i + 1, tf.concat([a * noise(tf.shape(a)), a[-1:] * x[:1]], 0)), [0, x],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None])],
    )[1]  # fmt: skip


@pytest.mark.parametrize("counts", [[2, 3, 1], [0, 4], [2, 2], []])
def test_a_loop_of_as_many_steps_as_data_say_in_a_scan(counts: list[int]) -> None:
    x, ns = tf.placeholder(F64, [3]), tf.placeholder(tf.int32, [None])
    y = tf.scan(lambda a, n: steps(a, x, n), ns, initializer=x)
    check(tf.concat([[x], y], 0), x, {ns: counts}, 1e-5)


def test_a_loop_that_ends_when_its_values_say_so_in_a_scan() -> None:
    x = tf.placeholder(F64, [3])

    def until(a: Any, bound: Any) -> Any:
        return tf.while_loop(
            lambda a: tf.reduce_sum(a) < bound, lambda a: a + tf.abs(x) * noise([3]), [a]
        )

    y = tf.scan(until, tf.constant([4.0, 9.0, 9.5], F64), initializer=x)
    check(y, x, {}, 1e-5)


def test_draws_as_large_as_what_grows() -> None:
    x, n = tf.placeholder(F64, [3]), tf.placeholder(tf.int32, [])
    check(growing(x, n), x, {n: 3})


def test_what_grows_and_draws_in_a_scan() -> None:
    x, ns = tf.placeholder(F64, [3]), tf.placeholder(tf.int32, [None])
    y = tf.scan(lambda s, n: s * tf.reduce_mean(growing(x * s, n)), ns, tf.constant(1.5, F64))
    check(y, x, {ns: [2, 0, 3]}, 1e-5)


def test_in_segments() -> None:
    x, ns = tf.placeholder(F64, [3]), tf.placeholder(tf.int32, [None])
    y = tf.scan(lambda a, n: steps(a, x, n), ns, initializer=x, checkpoint=2)
    check(y, x, {ns: [1, 2, 0, 1, 2]}, 1e-5)


BRANCHES: dict[str, Callable[[Any, Any], Any]] = {
    "a draw": lambda x, n: noise([3]) * x,
    "steps": lambda x, n: steps(x, x, n),
    "steps that are all kept": lambda x, n: tf.scan(
        lambda a, i: a * x * noise([3]), tf.range(n), initializer=x
    )[-1],
    "what grows": lambda x, n: growing(x, n),
    "what prints": lambda x, n: tf.Print(x * x, [n]),
}


@pytest.mark.parametrize("branch", BRANCHES.values(), ids=BRANCHES)
@pytest.mark.parametrize("chosen", [True, False])
def test_in_a_branch(branch: Any, chosen: bool) -> None:
    x, n = tf.placeholder(F64, [3]), tf.placeholder(tf.int32, [])
    p = tf.placeholder(tf.bool, [])
    check(tf.cond(p, lambda: branch(x, n), lambda: x * x * x), x, {p: chosen, n: 3}, 1e-5)


def test_in_a_branch_in_a_loop() -> None:
    x, n = tf.placeholder(F64, [3]), tf.placeholder(tf.int32, [])

    def body(i: Any, a: Any) -> Any:
        even = tf.equal(i % 2, 0)
        return i + 1, tf.cond(even, lambda: growing(a, i)[-3:] * x, lambda: a * noise([3]))

    check(tf.while_loop(lambda i, a: i < n, body, [0, x])[1], x, {n: 3}, 1e-5)
