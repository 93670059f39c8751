"""Variables: when a read happens, in which order writes happen, and what a failed run leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph as tf


def session() -> Any:
    """A session with every variable initialised."""
    sess = tf.Session()
    sess.run(tf.global_variables_initializer())
    return sess


def bits(sess: Any) -> dict[str, bytes]:
    """Every variable's bytes."""
    return {k: a.tobytes() for k, a in sess._store.arrays.items()}


# ---- reads
def test_a_plain_read_sees_the_value_at_the_start_of_the_run() -> None:
    v = tf.Variable(1.0)
    read = v + 0.0
    sess = session()
    assert sess.run([read, v.assign(5.0)])[0] == 1.0
    assert sess.run([v.assign(7.0), read])[1] == 5.0


def test_a_read_under_control_of_a_write_sees_the_write() -> None:
    v = tf.Variable(1.0)
    write = v.assign(5.0)
    with tf.control_dependencies([write]):
        after = v + 0.0
    assert session().run(after) == 5.0


def test_a_read_made_before_stays_old_under_a_later_dependency() -> None:
    v = tf.Variable(1.0)
    before = v.read_value()
    with tf.control_dependencies([v.assign(5.0)]):
        result = before + 0.0
    assert session().run(result) == 1.0


def test_a_read_that_depends_on_a_write_through_data_sees_it() -> None:
    v = tf.Variable(1.0)
    written = v.assign(5.0)
    with tf.control_dependencies([tf.identity(written) * 2.0]):
        after = v.read_value()
    assert session().run(after) == 5.0


def test_a_read_sees_the_latest_write_among_its_ancestors_not_a_later_one() -> None:
    v = tf.Variable(1.0)
    first = v.assign(2.0)
    with tf.control_dependencies([first]):
        between = v.read_value()
    with tf.control_dependencies([between]):
        last = v.assign(3.0)
    sess = session()
    assert sess.run([between, last, v]) == [2.0, 3.0, 3.0]


def test_a_read_under_control_of_two_writes_sees_the_second() -> None:
    v = tf.Variable(1.0)
    a, b = v.assign(2.0), v.assign_add(10.0)
    with tf.control_dependencies([b, a]):
        after = v.read_value()
    assert session().run(after) == 12.0


# ---- writes
def test_writes_without_edges_happen_in_creation_order() -> None:
    v = tf.Variable(1.0)
    first, second = v.assign(2.0), v.assign(3.0)
    sess = session()
    assert sess.run([second, first, v]) == [3.0, 2.0, 3.0]


def test_assign_add_acts_on_what_the_write_before_left() -> None:
    v = tf.Variable(1.0)
    steps = [v.assign_add(1.0), v.assign_add(10.0), v.assign_sub(100.0)]
    sess = session()
    assert sess.run([*steps, v]) == [2.0, 12.0, -88.0, -88.0]
    assert sess.run([steps[1], v]) == [-78.0, -78.0]


def test_a_write_gives_the_value_just_after_it() -> None:
    v = tf.Variable([1.0, 2.0])
    doubled = v.assign(v * 2.0) * 10.0
    sess = session()
    np.testing.assert_array_equal(sess.run(doubled), [20.0, 40.0])
    np.testing.assert_array_equal(sess.run(v), [2.0, 4.0])


def test_two_variables_can_be_swapped_in_one_run() -> None:
    a, b = tf.Variable(np.arange(3.0)), tf.Variable(np.arange(3.0) + 10)
    swap = tf.group(a.assign(b), b.assign(a))
    sess = session()
    for want in ([10, 11, 12], [0, 1, 2]):
        sess.run(swap)
        np.testing.assert_array_equal(sess.run(a), want)
    np.testing.assert_array_equal(sess.run(b), [10, 11, 12])


@pytest.mark.parametrize("n", [1, 4, 1000])
def test_two_variables_can_be_computed_from_each_others_old_value(n: int) -> None:
    a, b = tf.Variable(np.zeros(n)), tf.Variable(np.ones(n))
    step = tf.group(a.assign(b + 1.0), b.assign(a * 2.0 + 1.0))
    sess = session()
    x, y = np.zeros(n), np.ones(n)
    for _ in range(3):
        sess.run(step)
        x, y = y + 1, x * 2 + 1
        np.testing.assert_array_equal(sess.run(a), x)
        np.testing.assert_array_equal(sess.run(b), y)


def test_three_variables_can_be_rotated_in_one_run() -> None:
    vs = [tf.Variable(np.full(40, float(i))) for i in range(3)]
    turn = tf.group(*[v.assign(vs[(i + 1) % 3]) for i, v in enumerate(vs)])
    sess = session()
    sess.run(turn)
    assert [x[0] for x in sess.run(vs)] == [1.0, 2.0, 0.0]


def test_one_tensor_assigned_to_two_variables_leaves_them_apart() -> None:
    a, b = tf.Variable(np.zeros(3)), tf.Variable(np.zeros(3))
    x = tf.constant([1.0, 2.0, 3.0], tf.float64) * 2.0
    sess = session()
    sess.run([a.assign(x), b.assign(x)])
    sess.run(a.assign_add(np.ones(3)))
    np.testing.assert_array_equal(sess.run(a), [3, 5, 7])
    np.testing.assert_array_equal(sess.run(b), [2, 4, 6])


def test_a_variable_keeps_its_value_when_the_fed_array_is_changed_afterwards() -> None:
    for n in (3, 40000):  # a large feed is read in place
        p = tf.placeholder(tf.float64, [n])
        v = tf.Variable(np.zeros(n))
        w = tf.Variable(np.zeros(n))
        assign = tf.group(v.assign(p), w.assign(p))
        sess = session()
        array = np.arange(float(n))
        sess.run(assign, {p: array})
        array[:] = -1
        np.testing.assert_array_equal(sess.run(v), np.arange(float(n)))
        np.testing.assert_array_equal(sess.run(w), np.arange(float(n)))


def test_a_fetched_array_is_the_callers_own() -> None:
    v = tf.Variable(np.zeros(3))
    y = v + 1.0
    sess = session()
    for fetch in (v, v.read_value(), y, v.assign(v)):
        got = sess.run(fetch)
        got[:] = 99
    np.testing.assert_array_equal(sess.run(v), np.zeros(3))
    first = sess.run(y)
    sess.run(v.assign_add(np.ones(3)))
    sess.run(y)
    np.testing.assert_array_equal(first, np.ones(3))


def test_scatter_updates_act_in_order_and_repeated_indices_add() -> None:
    v = tf.Variable(np.zeros(4))
    a = tf.scatter_add(v, [1, 1, 3], tf.constant([1.0, 2.0, 5.0], tf.float64))
    b = tf.scatter_update(v, [3], tf.constant([7.0], tf.float64))
    c = tf.scatter_sub(v, [3, 0], tf.constant([1.0, 1.0], tf.float64))
    got = session().run([a, b, c, v])
    np.testing.assert_array_equal(got[0], [0, 3, 0, 5])
    np.testing.assert_array_equal(got[1], [0, 3, 0, 7])
    np.testing.assert_array_equal(got[2], [-1, 3, 0, 6])
    np.testing.assert_array_equal(got[3], got[2])


# ---- fetched variables
def test_a_fetched_variable_gives_its_value_at_the_end() -> None:
    v = tf.Variable(1.0)
    assert session().run([v, v.assign(2.0), v + 0.0]) == [2.0, 2.0, 1.0]


def test_train_cost_and_weight_give_the_cost_before_and_the_weight_after_the_step() -> None:
    w = tf.Variable(3.0)
    cost = tf.square(w)
    train = tf.train.GradientDescentOptimizer(0.25).minimize(cost)
    sess = session()
    for before in (3.0, 1.5, 0.75):
        assert sess.run([train, cost, w]) == [None, before**2, before / 2]


def test_gradients_of_several_weights_all_see_the_values_at_the_start() -> None:
    w1, w2 = tf.Variable(2.0), tf.Variable(3.0)
    loss = w1 * w2
    g1, g2 = tf.gradients(loss, [w1, w2])
    step = [w2.assign(w2 - g2), w1.assign(w1 - g1)]
    sess = session()
    sess.run(step)
    assert sess.run([w1, w2]) == [-1.0, 1.0]


# ---- a run that fails
def failing(kind: str, x: Any) -> Any:
    """An operation that fails when `x` is negative."""
    match kind:
        case "gather":
            return tf.gather(tf.constant([1.0, 2.0]), tf.cast(x, tf.int32))
        case "Assert":
            return tf.Assert(x >= 0, [x])
        case "check_numerics":
            return tf.check_numerics(tf.log(x + 0.5), "log")
        case "py_func":
            return tf.py_func(_refuse_negative, [x], tf.float32)
    raise KeyError(kind)


def _refuse_negative(x: float) -> np.float32:
    if x < 0:
        raise ValueError("negative")
    return np.float32(x)


@pytest.mark.parametrize("kind", ["gather", "Assert", "check_numerics", "py_func"])
@pytest.mark.parametrize("order", ["before", "after"])
def test_a_failed_run_leaves_every_variable_to_the_bit(kind: str, order: str) -> None:
    x = tf.placeholder(tf.float32, [])
    n = 50
    w = tf.Variable(np.linspace(0, 1, n).astype(np.float32))
    m = tf.Variable(np.zeros((n, n), np.float32))
    count = tf.Variable(0, dtype=tf.int64)
    rnd = tf.random_uniform([n], seed=3)
    row = tf.reshape(w, [1, n])

    def updates() -> list[Any]:
        return [w.assign_add(w * x), m.assign(m - 0.1 * tf.matmul(row, row, transpose_a=True)),
                count.assign_add(1), w.assign_add(rnd)]  # fmt: skip

    if order == "before":
        check = failing(kind, x)
        with tf.control_dependencies([check]):
            step = updates()
    else:
        step = updates()
        with tf.control_dependencies(step):
            check = failing(kind, tf.identity(x))
    sess = session()
    sess.run([step, check], {x: 1.0})
    left = bits(sess)
    draws = dict(sess._store.counters)
    with pytest.raises((tf.errors.OpError, ValueError)):
        sess.run([step, check], {x: -1.0})
    assert bits(sess) == left
    assert sess._store.counters == draws
    sess.run([step, check], {x: 1.0})
    assert sess.run(count) == 2


def test_a_scatter_with_a_bad_index_leaves_the_variable() -> None:
    v = tf.Variable(np.arange(4.0))
    w = tf.Variable(np.arange(4.0))
    i = tf.placeholder(tf.int32, [None])
    step = [w.assign_add(np.ones(4)), tf.scatter_add(v, i, tf.ones_like(i, tf.float64))]
    sess = session()
    sess.run(step, {i: [0, 3]})
    left = bits(sess)
    with pytest.raises(tf.errors.InvalidArgumentError):
        sess.run(step, {i: [0, 4]})
    assert bits(sess) == left


def test_an_interrupted_run_leaves_every_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    from staticgraph.runtime import plan

    monkeypatch.setattr(plan, "SLICE_WORK", 1)
    monkeypatch.setenv("STATICGRAPH_CALLS", "python")
    v, w = tf.Variable(np.ones((30, 30))), tf.Variable(np.ones((30, 30)))
    step = tf.group(v.assign(tf.matmul(v, w) * 0.5), w.assign(tf.matmul(w, v) - 1.0))
    sess = session()
    sess.run(step)
    left = bits(sess)
    (exe,) = [e for e in sess.executables() if e.program.updates and e.variables]
    (made,) = exe.plans.values()
    assert len(made.walks) > 1
    walks = made.walks

    def interrupted() -> int:
        raise KeyboardInterrupt

    for at in range(len(walks)):
        made.walks = [interrupted if i == at else w for i, w in enumerate(walks)]
        with pytest.raises(KeyboardInterrupt):
            sess.run(step)
        assert bits(sess) == left
    made.walks = walks
    sess.run(step)
    assert bits(sess) != left


@pytest.mark.parametrize("when", ["walked", "committing"])
def test_an_interrupt_at_the_end_of_a_run_does_not_leave_it_half_done(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATICGRAPH_CALLS", "python")  # native runs are not interrupted
    v, w = tf.Variable(np.zeros(5)), tf.Variable(np.ones((5, 5)))
    rnd = tf.random_uniform([5], seed=1, dtype=tf.float64)
    step = tf.group(v.assign_add(rnd), w.assign(tf.transpose(w) * 2.0))
    sess, twin = session(), session()
    for s in (sess, twin):
        s.run(step)
    (exe,) = [e for e in sess.executables() if e.counters]
    (made,) = exe.plans.values()
    assert made.in_place and made.commits and made.counters
    if when == "walked":  # as when a signal arrives during the last native call
        (walk,) = made.walks

        def interrupted() -> int:
            walk()
            raise KeyboardInterrupt

        made.walks = [interrupted]
    else:
        assign, calls = sess._store._assign, iter(range(9))

        def once(*changes: Any) -> None:
            if next(calls) == 0:
                raise KeyboardInterrupt
            assign(*changes)

        monkeypatch.setattr(sess._store, "_assign", once)
    with pytest.raises(KeyboardInterrupt):
        sess.run(step)
    twin.run(step)
    assert bits(sess) == bits(twin)
    assert sess._store.counters == twin._store.counters


# ---- initialisation
def test_reading_a_variable_without_a_value_names_it() -> None:
    v = tf.Variable(1.0, name="weight")
    with pytest.raises(tf.errors.FailedPreconditionError, match="'weight'"):
        tf.Session().run(v + 1.0)


def test_a_run_that_only_assigns_needs_no_earlier_value() -> None:
    v = tf.Variable(1.0)
    sess = tf.Session()
    assert sess.run(v.assign(4.0)) == 4.0
    assert sess.run(v) == 4.0


def test_an_initializer_that_needs_another_variable_uses_its_initialized_value() -> None:
    a = tf.Variable(tf.random_normal([4], seed=1))
    b = tf.Variable(a.initialized_value() * 2.0)
    sess = session()
    np.testing.assert_array_equal(sess.run(b), sess.run(a) * 2)
    sess.run(a.assign(np.ones(4, np.float32)))
    sess.run(b.initializer)
    np.testing.assert_array_equal(sess.run(b), np.full(4, 2.0))


def test_initializing_again_gives_constant_initializers_again() -> None:
    v = tf.Variable(1.0)
    init = tf.global_variables_initializer()
    sess = tf.Session()
    sess.run(init)
    sess.run(v.assign(5.0))
    sess.run(init)
    assert sess.run(v) == 1.0


def test_is_variable_initialized_answers_for_the_start_of_each_run() -> None:
    v = tf.Variable(1.0)
    question = tf.is_variable_initialized(v)
    sess = tf.Session()
    assert not sess.run(question)
    sess.run(v.initializer)
    assert sess.run(question)
    assert list(sess.run(tf.report_uninitialized_variables())) == []


def test_sessions_keep_their_variables_apart() -> None:
    v = tf.Variable(1.0)
    a, b = session(), session()
    a.run(v.assign(5.0))
    assert (a.run(v), b.run(v)) == (5.0, 1.0)


def test_a_variable_may_change_its_shape_when_asked_to() -> None:
    v = tf.Variable(np.zeros(3), validate_shape=False)
    p = tf.placeholder(tf.float64, [None])
    write = tf.assign(v, p, validate_shape=False)
    total = tf.reduce_sum(v)
    sess = session()
    for n in (2, 5, 2):
        sess.run(write, {p: np.ones(n)})
        assert sess.run(total) == n
        assert sess.run(v).shape == (n,)
