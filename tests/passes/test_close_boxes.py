"""What is kept of values whose sizes may change: in boxes only where sizes do change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.ir.function import Function, bodies
from staticgraph.ir.parse import parse_function, parse_graph
from staticgraph.ir.text import print_graph
from staticgraph.ir.verify import verify
from tests.passes.loops import loops, ops, staged

BOXES = ("Box", "BoxRows", "BoxSum", "Unbox")


def inside(f: Function) -> list[str]:
    """The operations on boxes in a function and all that is in it."""
    found = [op for op in ops(f) for _ in range(ops(f)[op]) if op in BOXES]
    for n in f.nodes:
        for b in bodies(n):
            found += inside(b)
    return sorted(found)


def loop(step: Any, x: Any, n: Any = 3) -> Any:
    return tf.while_loop(
        lambda i, a: i < n, lambda i, a: (i + 1, step(a)), [0, x],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None])],
    )[1]  # fmt: skip


def gradient(step: Any) -> tuple[Any, Any]:
    x = tf.placeholder(tf.float64, [None], name="x")
    return tf.gradients(loop(lambda a: step(a, x), x), x)[0], x


X = np.array([0.5, 2.0])


def test_sizes_that_stay_need_no_box() -> None:
    slope, x = gradient(lambda a, x: tf.tanh(a * x))
    f = staged(slope, {x: X}, "close")
    assert inside(f) == []
    (stack,) = [v for v in loops(f)[0].outputs if len(v.dims) == 2]
    assert [str(d) for d in stack.dims] == ["3", "n0"]


def test_what_grows_is_kept_in_boxes_and_only_that() -> None:
    slope, x = gradient(lambda a, x: tf.concat([a, a[-1:] * x[:1]], 0))
    f = staged(slope, {x: X})
    assert inside(f) == ["Box", "Unbox"]
    forward, backward = loops(f)
    assert [v.dtype.name for v in forward.outputs] == ["float64", "variant"]
    assert len(backward.outputs) == 2  # the cotangent of the variable, and of x


def test_without_a_gradient_nothing_is_kept() -> None:
    x = tf.placeholder(tf.float64, [None])
    y = loop(lambda a: tf.concat([a, a], 0), x)
    assert inside(staged(y, {x: X}, "close")) == ["Box"]
    assert inside(staged(y, {x: X})) == []


def test_sizes_that_only_the_run_knows() -> None:
    n = tf.placeholder(tf.int32, [])
    w = tf.placeholder(tf.float64, [])
    start = tf.fill([n], w)
    y = loop(lambda a: a * w, start)
    assert inside(staged(tf.gradients(y, w), {n: np.int32(3), w: np.float64(2.0)}, "close")) == []


@pytest.mark.parametrize("stage", ["close", "simplify", None])
def test_their_text_reads_back(stage: str | None) -> None:
    slope, x = gradient(lambda a, x: tf.concat([a, a[-1:] * x[:1]], 0))
    f = staged(slope, {x: X}, stage)
    again = parse_function(str(f))
    verify(again)
    assert str(again) == str(f)


def test_a_graph_that_was_read_from_its_text_is_differentiated_again() -> None:
    with tf.Graph().as_default() as g:
        slope, x = gradient(lambda a, x: tf.concat([a, tf.sin(a) * x[0]], 0))
        want = tf.gradients(slope, x)[0]
        with tf.Session() as sess:
            wanted = sess.run([slope, want], {x: X})
    again = parse_graph(print_graph(g))
    with again.as_default(), tf.Session() as sess:
        a, at = again.get_tensor_by_name(slope.name), again.get_tensor_by_name(x.name)
        got = sess.run([a, tf.gradients(a, at)[0]], {at: X})
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


# ---------------------------------------------------------------- in branches
def branch(grows: bool) -> tuple[Any, Any, Any]:
    x, p = tf.placeholder(tf.float64, [None]), tf.placeholder(tf.bool, [])

    def step(a: Any) -> Any:
        a = a * tf.random_uniform(tf.shape(a), seed=2, dtype=tf.float64)
        return tf.concat([a, a], 0) if grows else a

    y = tf.cond(p, lambda: loop(step, x), lambda: x)
    return tf.gradients(y, x)[0], x, p


@pytest.mark.parametrize(("grows", "kept"), [(True, {"Box", "BoxRows", "Unbox"}), (False, set())])
def test_branches_that_keep_nothing_give_what_the_others_give(grows: bool, kept: set[str]) -> None:
    slope, x, p = branch(grows)
    f = tf.stages(slope, stop_after="close").closed
    assert set(inside(f)) == kept
    with tf.Session() as sess:
        assert sess.run(slope, {x: X, p: False}).tolist() == [1.0, 1.0]
        assert (sess.run(slope, {x: X, p: True}) > 0).all()


# ---------------------------------------------------------------- sizes alone
def test_of_what_is_appended_to_the_sizes_are_kept() -> None:
    x = tf.placeholder(tf.float64, [None])
    y = loop(lambda a: tf.concat([a, tf.sin(x)], 0), x)
    f = staged(tf.gradients(y * y, x), {x: X})
    assert inside(f) == []
    forward, backward = loops(f)
    (sizes,) = [v for v in forward.outputs if v.dtype.is_integer]
    assert sizes.dims == (3, 1)
    assert sizes in backward.inputs


def test_two_axes_and_a_loop_in_a_loop() -> None:
    x = tf.placeholder(tf.float64, [None])

    def rows(s: Any) -> Any:
        start = tf.reshape(x, [1, -1]) * s
        return tf.while_loop(
            lambda i, a: i < 2, lambda i, a: (i + 1, tf.concat([a, start * start], 0)), [0, start],
            shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, None])],
        )[1]  # fmt: skip

    y = tf.scan(lambda s, _: s * tf.reduce_mean(rows(s)), tf.range(3), tf.constant(1.5, tf.float64))
    slope = tf.gradients(y, x)[0]
    assert inside(staged(slope, {x: X})) == []
    with tf.Session() as sess:
        at = [sess.run(tf.reduce_sum(y), {x: X + np.array([0.0, e])}) for e in (1e-6, -1e-6)]
        np.testing.assert_allclose(sess.run(slope, {x: X})[1], (at[0] - at[1]) / 2e-6, rtol=1e-6)


def test_values_that_another_gradient_asks_for_stay_in_their_boxes() -> None:
    slope, x = gradient(lambda a, x: tf.concat([a, tf.tanh(a)], 0))
    second = tf.gradients(slope, x)[0]
    f = staged([slope, second], {x: X})
    assert {"Box", "Unbox"} <= set(inside(f))
