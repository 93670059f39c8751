"""Look-ups at the counter of a loop become slices, and so do writes; nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.ir.function import Function, Node


@pytest.fixture(autouse=True)
def graph() -> Any:
    with tf.Graph().as_default() as g:
        yield g


def repeat(n: Any, body: Callable[..., Any], *start: Any, first: int = 0, step: int = 1) -> Any:
    return tf.while_loop(
        lambda i, *_: i < n if step > 0 else i >= 0,
        lambda i, *v: (i + step, *body(i, *v)), [tf.constant(first), *start],
    )[1:]  # fmt: skip


def loops(fetches: Any, stage: str = "slices") -> list[Node]:
    done: Function = tf.stages(fetches, stop_after=stage).function
    return [n for n in done.nodes if n.op.name in ("Scan", "While")]


def ops_of(node: Node) -> list[str]:
    return [n.op.name for n in node.attrs["body"].nodes]


def check(fetches: Any, feed: Any) -> None:
    """Optimised and not, the same."""
    with tf.Session() as sess:
        got = sess.run(fetches, feed)
    level = tf.OptimizerOptions(opt_level=tf.OptimizerOptions.L0)
    config = tf.ConfigProto(graph_options=tf.GraphOptions(optimizer_options=level))
    with tf.Session(config=config) as sess:
        for a, b in zip(got, sess.run(fetches, feed), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


LOOK_UPS = {
    "index": lambda x, i: x[i],
    "gather": lambda x, i: tf.gather(x, i),
    "array": lambda x, i: tf.TensorArray(tf.float64, tf.shape(x)[0]).unstack(x).read(i),
}


@pytest.mark.parametrize("kind", LOOK_UPS)
def test_look_ups_at_the_counter(kind: str) -> None:
    x = tf.placeholder(tf.float64, [None, 2])
    n = tf.shape(x)[0]
    (h,) = repeat(n, lambda i, h: [tf.tanh(h + LOOK_UPS[kind](x, i))], tf.zeros([2], tf.float64))
    slope = tf.gradients(tf.reduce_sum(h * h), x)[0]
    forward, backward = loops([h, slope])
    assert forward.attrs["sequences"] == 1
    assert not {"TakeIndex", "GatherV2", "TensorArrayRead"} & {*ops_of(forward), *ops_of(backward)}
    assert not {"PutIndex", "GatherGrad"} & set(ops_of(backward))
    assert backward.attrs["carries"] == 1  # the cotangent of h; that of x is stacked
    for steps in 0, 1, 4:
        check([h, slope], {x: np.linspace(-1, 1, 2 * steps).reshape(steps, 2)})


def test_an_array_that_is_written_at_the_counter_is_the_stack() -> None:
    x = tf.placeholder(tf.float64, [None])
    n = tf.shape(x)[0]
    _, made = repeat(
        n, lambda i, h, a: (h * x[i], a.write(i, h)), tf.constant(1.0, tf.float64),
        tf.TensorArray(tf.float64, size=n),
    )  # fmt: skip
    y = made.stack()
    slope = tf.gradients(tf.reduce_sum(y), x)[0]
    done = tf.stages([y, slope], stop_after="slices").function
    names = {n.op.name for n in done.nodes}
    assert not [n for n in names if n.startswith("TensorArray") or n.startswith("Gather")]
    check([y, slope], {x: [2.0, 3.0, 4.0]})


def test_counting_down() -> None:
    x = tf.constant([1.0, 2.0, 3.0])
    (h,) = repeat(3, lambda i, h: [h * 0.5 + x[i]], tf.constant(0.0), first=2, step=-1)
    (loop,) = loops(h)
    assert loop.attrs["sequences"] == 0  # the loop would have to go backwards
    check([h], {})


@pytest.mark.parametrize("start", [0, 1])
def test_other_places_are_looked_up(start: int) -> None:
    x = tf.placeholder(tf.float64, [None])
    n = tf.shape(x)[0]
    (h,) = repeat(
        n - 1, lambda i, h: [h + x[i] * x[i + 1]], tf.constant(0.0, tf.float64), first=start
    )
    slope = tf.gradients(h, x)[0]
    assert ops_of(loops(h)[0]).count("TakeIndex") == 2
    check([h, slope], {x: np.arange(5.0)})


def test_the_sum_of_look_ups_goes_into_place() -> None:
    x = tf.placeholder(tf.float64, [None, 3])
    k = tf.placeholder(tf.int32, [None])
    h = tf.foldl(lambda a, i: a * x[i], k, initializer=tf.ones([3], tf.float64))
    slope = tf.gradients(tf.reduce_sum(h), x)[0]
    backward = loops([h, slope], "fuse")[1]
    assert "ScatterBlocks" in ops_of(backward)
    assert "PutIndex" not in ops_of(backward)  # which would write all of x in each iteration
    check([h, slope], {x: np.arange(1.0, 13.0).reshape(4, 3), k: [1, -1, 1, 0]})


def test_a_bound_that_the_condition_computes() -> None:
    x = tf.placeholder(tf.float64, [None, 2])

    def row(i: Any, h: Any) -> Any:
        inner = tf.while_loop(
            lambda j, _: j < tf.size(x[i]), lambda j, b: (j + 1, b + x[i, j]), [0, h[0]]
        )[1]
        return i + 1, tf.sin(h + x[i] * inner)

    h = tf.while_loop(lambda i, _: i < tf.shape(x)[0], row, [0, tf.zeros([2], tf.float64)])
    slope = tf.gradients(tf.reduce_sum(h[1]), x)[0]
    assert {n.op.name for n in loops([*h, slope])} == {"Scan"}
    for steps in 0, 1, 3:
        check([*h, slope], {x: np.linspace(-1, 1, 2 * steps).reshape(steps, 2)})
