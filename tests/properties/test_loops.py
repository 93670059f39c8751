"""A loop in the graph gives what the same loop in Python gives, and so do its gradients.

Bodies are made of elementwise functions, matrix products, reductions, branches and inner loops;
the numbers of steps include none and one; loops run forwards and backwards, with and without
checkpoints, as scans, counted loops, loops that end on data; optimised and not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import staticgraph as tf

Body = Callable[[Any, Any], Any]
WIDTH = 3


@dataclass(frozen=True)
class Case:
    """A body as a list of choices, and how to loop over it."""

    steps: int
    choices: tuple[int, ...]
    reverse: bool
    form: str
    checkpoint: int | None
    optimize: bool
    batch: int


CASES = st.builds(
    Case,
    steps=st.sampled_from([0, 1, 2, 5]),
    choices=st.lists(st.integers(0, 9), min_size=1, max_size=4).map(tuple),
    reverse=st.booleans(),
    form=st.sampled_from(["scan", "while", "until", "foldl"]),
    checkpoint=st.sampled_from([None, 1, 2]),
    optimize=st.booleans(),
    batch=st.sampled_from([1, 2]),
)


def apply(choice: int, h: Any, x: Any, w: Any, inside: bool) -> Any:
    """One step of a body."""
    match choice:
        case 0:
            return tf.tanh(h + x)
        case 1:
            return tf.matmul(h, w) + x
        case 2:
            return tf.sin(h) * tf.cos(x)
        case 3:
            return h - 0.1 * tf.reduce_sum(h * x, axis=1, keepdims=True)
        case 4:
            return tf.sigmoid(tf.matmul(x, w)) * h
        case 5:  # a loop within the loop
            if not inside:
                return tf.tanh(tf.tanh(h + w[0]) + w[0])
            return tf.while_loop(
                lambda k, a: k < 2, lambda k, a: (k + 1, tf.tanh(a + w[0])), [0, h]
            )[1]  # fmt: skip
        case 6:  # a branch that hangs on data
            return tf.cond(
                tf.reduce_sum(x) > 0.0, lambda: h * 0.5 + x, lambda: tf.sin(h - x)
            )  # fmt: skip
        case 7:
            return tf.concat([h[:, 1:], x[:, :1]], axis=1)
        case 8:
            return tf.nn.softmax(h) * tf.exp(-x * x)
        case _:
            return h * tf.reduce_mean(w) + tf.stop_gradient(x)


def body(case: Case, w: Any, inside: bool) -> Body:
    """The body that a case's choices make."""

    def f(h: Any, x: Any) -> Any:
        for c in case.choices:
            h = apply(c, h, x, w, inside)
        return h

    return f


def in_graph(case: Case, f: Body, h: Any, xs: Any) -> Any:
    """The last carry of a loop in the graph."""
    n = tf.shape(xs)[0]
    match case.form:
        case "scan":
            hs = tf.scan(f, xs, h, reverse=case.reverse, checkpoint=case.checkpoint)
            ends = tf.concat([hs, h[None]] if case.reverse else [h[None], hs], axis=0)
            return ends[0] if case.reverse else ends[-1]
        case "foldl":
            fold = tf.foldr if case.reverse else tf.foldl
            return fold(f, xs, h, checkpoint=case.checkpoint)
        case "while":
            start = n - 1 if case.reverse else tf.constant(0)
            step = -1 if case.reverse else 1
            more = (lambda k, _: k >= 0) if case.reverse else (lambda k, _: k < n)
            return tf.while_loop(more, lambda k, a: (k + step, f(a, xs[k])), [start, h])[1]
        case _:  # the predicate is data: it counts in a carry that only the run knows
            left = tf.while_loop(
                lambda left, k, _: left > 0.5,
                lambda left, k, a: (left - 1.0, k + 1, f(a, xs[k])),
                [tf.cast(n, tf.float64), 0, h],
            )
            return left[2]


def unrolled(case: Case, f: Body, h: Any, xs: Any) -> Any:
    """The same, by a loop in Python."""
    order = range(case.steps)
    for k in reversed(order) if case.reverse and case.form != "until" else order:
        h = f(h, xs[k])
    return h


def gradients(y: Any, wrt: Sequence[Any]) -> list[Any]:
    """First derivatives of a nonlinear function of `y`, and second ones of theirs."""
    first = tf.gradients(tf.reduce_sum(tf.sin(y)), wrt, unconnected_gradients="zero")
    total = tf.add_n([tf.reduce_sum(tf.sin(g)) for g in first])
    return [*first, *tf.gradients(total, wrt, unconnected_gradients="zero")]


def compare(case: Case) -> None:
    """Build both, run both, compare."""
    rng = np.random.default_rng(abs(hash(case)) % 2**32)
    graph = tf.Graph()
    with graph.as_default():
        h = tf.placeholder(tf.float64, [None, WIDTH])
        xs = tf.placeholder(tf.float64, [None, None, WIDTH])
        w = tf.Variable(rng.normal(size=(WIDTH, WIDTH)) * 0.5)
        wrt = [h, xs, w]
        results = []
        for loop, inside in ((in_graph, True), (unrolled, False)):
            y = loop(case, body(case, w, inside), h, xs)
            results.append([y, *gradients(y, wrt)])
        level = tf.OptimizerOptions.L1 if case.optimize else tf.OptimizerOptions.L0
        options = tf.GraphOptions(optimizer_options=tf.OptimizerOptions(opt_level=level))
        config = tf.ConfigProto(graph_options=options)
        with tf.Session(config=config) as sess:
            sess.run(tf.global_variables_initializer())
            feed = {
                h: rng.normal(size=(case.batch, WIDTH)),
                xs: rng.normal(size=(case.steps, case.batch, WIDTH)),
            }
            a, b = sess.run(results[0], feed), sess.run(results[1], feed)
    names = ["value", "dh", "dx", "dw", "ddh", "ddx", "ddw"]
    for name, p, q in zip(names, a, b, strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-9, atol=1e-11, err_msg=f"{name} of {case}")


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(CASES)
def test_a_loop_in_the_graph_is_the_unrolled_loop(case: Case) -> None:
    compare(case)


@pytest.mark.parametrize("form", ["scan", "while", "until", "foldl"])
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_every_form_with_every_kind_of_step(form: str, steps: int) -> None:
    compare(Case(steps, (0, 1, 5, 6), False, form, 2, True, 2))
    compare(Case(steps, (4, 3, 7, 8, 9), form != "until", form, None, True, 1))
