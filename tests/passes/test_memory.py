"""Where temporaries live, and which variables are updated where they stand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import staticgraph as tf
from staticgraph.ir import dtypes
from staticgraph.ir.arrays import ALIGNMENT
from staticgraph.ir.program import Buffer, Program
from staticgraph.passes import memory
from staticgraph.passes.memory import donations, fit, overwritten
from staticgraph.runtime import plan as plans
from staticgraph.runtime.compile import function_stages

REQUESTS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 1000)), max_size=30
)


@given(REQUESTS)
@settings(max_examples=300, derandomize=True, deadline=None, database=None)
def test_no_two_buffers_that_live_together_overlap(raw: list[tuple[int, int, int]]) -> None:
    requests = [
        (Buffer(k, dtypes.float32, (n,), "temporary"), min(a, b), max(a, b), n)
        for k, (a, b, n) in enumerate(raw)
    ]
    placed = fit(requests)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(memory, "FEW", 0)
        assert fit(requests) == placed  # as where there are many
    for i, (b, start, stop, n) in enumerate(requests):
        at = placed.offsets[b]
        assert at % ALIGNMENT == 0 and at + n <= placed.size
        for c, first, last, m in requests[:i]:
            if first <= stop and start <= last:
                other = placed.offsets[c]
                assert at + max(n, 1) <= other or other + max(m, 1) <= at


@given(REQUESTS)
@settings(max_examples=50, derandomize=True, deadline=None, database=None)
def test_the_arena_is_no_larger_than_all_buffers_and_no_smaller_than_the_fullest_step(
    raw: list[tuple[int, int, int]],
) -> None:
    requests = [
        (Buffer(k, dtypes.float32, (n,), "temporary"), min(a, b), max(a, b), n)
        for k, (a, b, n) in enumerate(raw)
    ]

    def padded(n: int) -> int:
        return max(ALIGNMENT, -(-n // ALIGNMENT) * ALIGNMENT)

    size = fit(requests).size
    assert size <= sum(padded(n) for *_, n in requests)
    for t in range(13):
        assert size >= sum(padded(n) for _, a, b, n in requests if a <= t <= b)


def test_placement_does_not_depend_on_the_order_of_requests() -> None:
    bs = [Buffer(k, dtypes.float32, (k,), "temporary") for k in range(6)]
    requests = [(b, k % 3, k % 3 + 1, 64 * (k % 4 + 1)) for k, b in enumerate(bs)]
    assert fit(requests).offsets == fit(requests[::-1]).offsets


# ---- donations
def updates(fetches: Any) -> dict[str, str]:
    """New buffer's variable to the variable whose place it takes."""
    p = function_stages(tf.get_default_graph(), fetches).program
    assert isinstance(p, Program)
    taken = donations(p)
    names = {q.buffer: q.name for q in p.params}
    return {n: names[taken[b]] for n, b in p.updates.items() if b in taken}


def test_an_elementwise_update_happens_in_place() -> None:
    v = tf.Variable(tf.zeros([5]), name="v")
    assert updates(v.assign_add(tf.ones([5]) * 2.0).op) == {"v": "v"}


def test_a_product_is_added_in_place() -> None:
    w = tf.Variable(tf.zeros([5, 6]), name="w")
    a, b = tf.placeholder(tf.float32, [None, 5]), tf.placeholder(tf.float32, [None, 6])
    assert updates(w.assign(w - 0.1 * tf.matmul(a, b, transpose_a=True)).op) == {"w": "w"}


def test_an_old_value_that_is_fetched_is_kept() -> None:
    v = tf.Variable(tf.zeros([5]), name="v")
    assert updates([v.read_value(), v.assign_add(tf.ones([5])).op]) == {}


def test_an_update_that_moves_elements_is_not_in_place() -> None:
    v = tf.Variable(tf.zeros([4, 4]), name="v")
    assert updates(v.assign(tf.transpose(v)).op) == {}
    assert updates(v.assign(tf.reverse(v, [0])).op) == {}


def test_variables_that_swap_are_not_updated_in_place() -> None:
    a, b = tf.Variable(tf.zeros([4]), name="a"), tf.Variable(tf.ones([4]), name="b")
    # b is replaced by what is computed from a: nothing would keep b's load before that store
    assert updates(tf.group(a.assign(b + 1.0), b.assign(a + 1.0))) == {}
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(tf.group(a.assign(b + 1.0), b.assign(a + 1.0)))
        np.testing.assert_array_equal(sess.run(a), [2] * 4)
        np.testing.assert_array_equal(sess.run(b), [1] * 4)


def test_nothing_is_in_place_before_a_step_that_can_fail() -> None:
    v = tf.Variable(tf.zeros([4]), name="v")
    step = v.assign_add(tf.ones([4]))
    i = tf.placeholder(tf.int32, [])
    with tf.control_dependencies([step]):
        read = tf.gather(tf.constant([1.0, 2.0]), i)
    p = function_stages(tf.get_default_graph(), [step.op, read]).program
    assert p is not None
    taken = donations(p)
    if taken:
        failing = max(k for k, s in enumerate(p.steps) if getattr(s, "checks", ()))
        writing = max(k for k, s in enumerate(p.steps) if set(taken) & set(s.writes))
        assert writing > failing


def test_updates_that_look_something_up_are_in_place_behind_the_check() -> None:
    logits, kept = tf.Variable(tf.ones([6, 5]), name="x"), tf.Variable(tf.zeros([6, 5]), name="y")
    labels = tf.placeholder(tf.int32, [6])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    loss = tf.reduce_mean(losses)
    (g,) = tf.gradients(loss, [logits])
    step = [loss, tf.group(logits.assign_sub(0.5 * g), kept.assign(g))]
    p = function_stages(tf.get_default_graph(), step).program
    assert p is not None
    placed = {b.name for b in (*donations(p), *overwritten(p))}
    assert {b.name for b in p.updates.values()} == placed
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        before = sess.run([logits, kept])
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"5 is outside \[0, 5\)"):
            sess.run(step, {labels: [0, 1, 2, 3, 4, 5]})
        for a, b in zip(before, sess.run([logits, kept]), strict=True):
            np.testing.assert_array_equal(a, b)
        sess.run(step, {labels: [0, 1, 2, 3, 4, 4]})
        assert abs(sess.run(kept)).sum() > 0


# ---- a bound run
def test_a_bound_run_allocates_no_arena(monkeypatch: Any) -> None:
    x = tf.placeholder(tf.float32, [None, 8])
    w = tf.Variable(tf.ones([8, 4]))
    cost = tf.reduce_mean(tf.square(tf.nn.softmax(tf.matmul(x, w))))
    train = tf.train.AdamOptimizer().minimize(cost)
    data = np.ones((16, 8), np.float32)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run([train, cost], {x: data})

        def refuse(*args: Any) -> Any:
            raise AssertionError("a run allocated")

        monkeypatch.setattr(plans, "aligned_empty", refuse)
        for _ in range(3):
            sess.run([train, cost], {x: data})
        (exe,) = [e for e in sess.executables() if e.feeds]
        assert exe.counts.plans == 1


def test_scalars_of_a_reduction_are_updated_in_place() -> None:
    x = tf.placeholder(tf.float32, [100])
    w = tf.Variable(0.0, name="w")
    assert updates(w.assign_sub(0.1 * tf.reduce_sum(x * w))) == {"w": "w"}


def test_a_variable_that_is_not_read_is_overwritten() -> None:
    x = tf.placeholder(tf.float32, [100])
    v = tf.Variable(tf.zeros([100]), name="v")
    p = function_stages(tf.get_default_graph(), v.assign(x * 2.0).op).program
    assert p is not None
    assert list(overwritten(p).values()) == ["v"]
