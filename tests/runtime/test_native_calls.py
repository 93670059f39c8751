"""Native calls: the same as through Python."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.codegen import entry_blocks
from staticgraph.codegen.entry import available
from staticgraph.errors import (
    GraphGrowthWarning,
    OutOfBoundsError,
    StaticGraphError,
    UsageError,
)
from staticgraph.runtime import quick
from staticgraph.runtime.executable import MAX_PLANS
from tests.runtime.native_calls import no_python, outcome, seen

pytestmark = pytest.mark.skipif(not available(), reason="native calls are not for this Python")


# ---------------------------------------------------------------- taken, and equal
def test_from_the_third_run_on_nothing_of_a_run_is_python() -> None:
    x = tf.placeholder(tf.float32, [None])
    v = tf.Variable(np.zeros(3, np.float32))
    y, step = tf.reduce_sum(x * v), v.assign_add(x)
    a = np.arange(3, dtype=np.float32)
    with tf.Session() as sess:
        sess.run(v.initializer)
        call = sess.make_callable([y, step.op], [x])
        feed = {x: a}
        for _ in range(2):
            call(a)
            sess.run([y, step.op], feed)
        with no_python():
            assert call(a) == [20.0, None]
            assert sess.run([y, step.op], feed) == [25.0, None]
            assert sess.run([y, step.op], {x: a + 1}) == [30.0 + 18.0, None]
        assert sess.run(v).tolist() == [1.0, 8.0, 15.0]


def test_sizes_that_come_again_need_no_python(python_session: Callable[[], tf.Session]) -> None:
    x = tf.placeholder(tf.float32, [None, None])
    s = tf.placeholder(tf.float32, [])
    v = tf.Variable(np.float32(0.0))
    fetches = [tf.reduce_sum(x, axis=1) * s, v.assign_add(tf.reduce_sum(x))]
    draw = np.random.RandomState(0)
    shapes = [(1, 2), (2, 1), (2, 2), (0, 2), (3, 1)]
    native, python = tf.Session(), python_session()
    for sess in (native, python):
        sess.run(v.initializer)
    calls = [sess.make_callable(fetches, [x, s]) for sess in (native, python)]
    for turn in range(60):
        a = draw.randn(*shapes[draw.randint(len(shapes))]).astype(np.float32)
        feed = {x: a, s: float(turn)}
        want = seen(python.run(fetches, feed)), seen(calls[1](a, 2.0))
        with no_python() if turn >= 40 else nullcontext():
            assert (seen(native.run(fetches, feed)), seen(calls[0](a, 2.0))) == want
    assert [e.counts for e in native.executables()] == [e.counts for e in python.executables()]


def test_more_sizes_than_plans_are_kept() -> None:
    x = tf.placeholder(tf.float32, [None])
    total = tf.reduce_sum(x)
    with tf.Session() as sess:
        for n in (1, 1):
            sess.run(total, {x: np.ones(n, np.float32)})
        (exe,) = sess.executables()
        (gone,) = map(weakref.ref, exe.plans.values())
        for n in range(1, MAX_PLANS + 9):
            assert sess.run(total, {x: np.ones(n, np.float32)}) == n
        gc.collect()
        assert gone() is None
        assert len(exe.plans) == MAX_PLANS
        with no_python():
            for n in range(9, MAX_PLANS + 9):
                assert sess.run(total, {x: np.ones(n, np.float32)}) == n


def test_sizes_come_again_when_a_variable_has_another_shape() -> None:
    v = tf.Variable(np.zeros(2, np.float32), validate_shape=False)
    n, x = tf.placeholder(tf.int32, []), tf.placeholder(tf.float32, [None])
    grow = tf.assign(v, tf.ones([n]), validate_shape=False).op
    total = tf.reduce_sum(v) + tf.reduce_sum(x)
    with tf.Session() as sess:
        sess.run(v.initializer)
        for k in (3, 5, 3, 2):
            sess.run(grow, {n: k})
            for size in (1, 4, 1, 4, 1, 4):
                assert sess.run(total, {x: np.ones(size, np.float32)}) == k + size


SCALARS: list[Any] = [
    0, 1, -1, 2, 300, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**40, True, False,
    0.0, -0.0, 1.5, 0.1, 1e39, 1e-46, 3.4028235677973366e38, float("inf"), float("nan"), 1e308,
    1 + 2j, None, "1", b"1", [1.0], (2,), [], np.array([1.0]),
    *(t(1) for t in (np.float16, np.float32, np.float64, np.int8, np.int32, np.int64, np.uint8,
                     np.uint64, np.bool_, np.complex64, np.complex128, np.longdouble)),
    *(np.array(1, t) for t in "efdbhilBQ?FD"), np.array(1.5, ">f4"), np.float64(1e300),
    np.float64(0.1), np.float32(0.1), np.float32("nan"),
]  # fmt: skip


@pytest.mark.parametrize(
    "dtype",
    ["float16", "float32", "float64", "bfloat16", "int8", "int32", "int64", "uint8", "uint64",
     "bool", "complex64"],
)  # fmt: skip
def test_numbers_are_taken_as_through_python(
    dtype: str, python_session: Callable[[], tf.Session]
) -> None:
    x = tf.placeholder(dtype, [])
    fetches = [tf.identity(x), tf.stack([x, x])]
    good = np.ones((), x.dtype.as_numpy_dtype)
    native = tf.Session().make_callable(fetches, [x])
    python = python_session().make_callable(fetches, [x])
    for call in (native, python):
        call(good)
        call(good)
    for value in SCALARS:
        assert outcome(native, value) == outcome(python, value), value
        with no_python() if dtype != "complex64" else nullcontext():  # which numpy computes
            assert seen(native(good)) == seen([good[()], np.stack([good, good])])


def arrays() -> list[Any]:
    """Arrays of every kind that a float32 [?, 3] placeholder takes or refuses."""
    a = np.arange(12, dtype=np.float32).reshape(4, 3)
    raw = np.zeros(4 * 12 + 1, np.uint8)
    apart = raw[1:].view(np.float32)[:12].reshape(4, 3)
    apart[:] = a
    shifted = np.zeros(13, np.float32)[1:].reshape(4, 3)
    shifted[:] = a
    fixed = a.copy()
    fixed.flags.writeable = False

    class Own(np.ndarray):
        pass

    return [
        a, a + 1, a.T, a.T.copy().T, np.asfortranarray(a), a[::2], a[:, ::-1], apart, shifted,
        fixed, a.astype(">f4"), a.astype(np.float64), a.astype(np.int64), a.astype(np.float16),
        a.astype(np.complex64), a > 3, a.astype(object), a.astype(str), a.view(Own),
        np.ma.masked_array(a, a > 3), memoryview(a), a[:0], np.zeros((0, 3), np.float32),
        np.zeros((5, 3), np.float32)[5:], a[0], a[:, :2], a[None], np.float32(1), 1.0, 2,
        a.tolist(), [list(map(float, row)) for row in a], [[1.0, 2.0, 3.0], [1.0]], np.dtype,
        np.broadcast_to(np.float32(2), (4, 3)),
        np.frombuffer(a.tobytes(), np.float32).reshape(4, 3),
        a.astype(np.float64) * 1e300, np.full((4, 3), np.nan, np.float32),
    ]  # fmt: skip


@pytest.mark.parametrize("rows", [4, 40_000])
def test_arrays_are_taken_as_through_python(
    rows: int, python_session: Callable[[], tf.Session]
) -> None:
    x = tf.placeholder(tf.float32, [None, 3])
    fetches = [x * 2.0, tf.reduce_sum(x), tf.identity(x), tf.matmul(x, tf.ones([3, 2]))]
    native = tf.Session().make_callable(fetches, [x])
    python = python_session().make_callable(fetches, [x])
    values = [
        np.tile(v, (rows // 4, 1)) if type(v) is np.ndarray and v.shape == (4, 3) else v
        for v in arrays()
    ] if rows > 4 else arrays()  # fmt: skip
    good = np.ones((rows, 3), np.float32)
    for call in (native, python):
        call(good)
        call(good)
    for value in values:
        for _ in range(3):
            assert outcome(native, value) == outcome(python, value), value
        assert seen(native(good)) == seen(python(good))


def test_doubles_are_rounded_without_python() -> None:
    x, s = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.float32, [])
    a = np.array([0.1, -1e-46, 3e38, np.inf, np.nan, 1 / 3])
    with tf.Session() as sess:
        call = sess.make_callable([x, s], [x, s])
        for _ in range(2):
            call(a.astype(np.float32), 1.0)
        with no_python():
            got = call(a, a[0])
            assert got[0].tobytes() == a.astype(np.float32).tobytes()
            assert got[1] == np.float32(0.1) == call(a, a[:1].reshape(()))[1]
        for _ in range(2):
            with pytest.warns(RuntimeWarning, match="overflow"):
                assert call(np.array([1.0, 1e39]), 1.0)[0].tolist() == [1.0, np.inf]
            with pytest.warns(RuntimeWarning, match="overflow"):
                assert call(a, 1e39)[1] == np.inf


def test_more_feeds_than_native_calls_take() -> None:
    xs = [tf.placeholder(tf.float32, [1]) for _ in range(entry_blocks.MOST_FEEDS + 1)]
    values = [np.full(1, k, np.float32) for k in range(len(xs))]
    for n in (len(xs) - 1, len(xs)):
        total = tf.add_n(xs[:n])
        feed = dict(zip(xs[:n], values[:n], strict=True))
        with tf.Session() as sess:
            call = sess.make_callable(total, xs[:n])
            for _ in range(4):
                assert sess.run(total, feed) == call(*values[:n]) == n * (n - 1) / 2
            with no_python() if n < len(xs) else pytest.raises(AssertionError), no_python():
                sess.run(total, feed)
            with no_python() if n < len(xs) else pytest.raises(AssertionError), no_python():
                call(*values[:n])


def test_results_are_fresh_and_feeds_are_left_alone() -> None:
    x = tf.placeholder(tf.float32, [None])
    with tf.Session() as sess:
        call = sess.make_callable([x, x + 1.0, x], [x])
        a = np.arange(4, dtype=np.float32)
        for _ in range(3):
            same, more, again = call(a)
        assert same is again
        assert not np.shares_memory(same, a)
        assert same.flags.owndata
        more[:] = 9
        same[:] = 9
        assert a.tolist() == [0, 1, 2, 3]
        assert call(a)[1].tolist() == [1, 2, 3, 4]


def test_between_runs_no_address_of_a_feed_is_kept() -> None:
    x = tf.placeholder(tf.float32, [None])
    with tf.Session() as sess:
        call = sess.make_callable([tf.reduce_sum(x), x], [x])
        call(np.ones(5, np.float32))
        (exe,) = sess.executables()
        (plan,) = exe.plans.values()
        words = plan.words.copy()
        for _ in range(3):
            call(np.ones(5, np.float32))
        np.testing.assert_array_equal(plan.words, words)


def test_a_large_feed_is_read_where_it_is_now_whatever_python_has_read_before() -> None:
    x = tf.placeholder(tf.float32, [40_000])
    with tf.Session() as sess:
        call = sess.make_callable(tf.reduce_sum(x), [x])
        a, apart = np.full(40_000, 5, np.float32), np.full(40_001, 3, np.float32)[1:]
        assert apart.ctypes.data % 16  # and so copied to a place of the plan
        for _ in range(2):
            assert call(a) == 200_000.0
        with no_python():
            assert [call(apart), call(a), call(apart)] == [120_000.0, 200_000.0, 120_000.0]


STRUCTURES: list[Callable[..., Any]] = [
    lambda y, op, v: y, lambda y, op, v: op, lambda y, op, v: v, lambda y, op, v: [y],
    lambda y, op, v: (y,), lambda y, op, v: [y, op, v, y], lambda y, op, v: (op, v, y),
    lambda y, op, v: {"a": y, "b": [op, v]}, lambda y, op, v: [[y], (op, v)],
    lambda y, op, v: [y.name, op.name], lambda y, op, v: [],
]  # fmt: skip


@pytest.mark.parametrize("structure", STRUCTURES)
def test_every_form_of_fetches(
    structure: Callable[..., Any], python_session: Callable[[], tf.Session]
) -> None:
    x = tf.placeholder(tf.float32, [2])
    v = tf.Variable(np.float32(1.0))
    fetches = structure(x * 2.0, v.assign_add(tf.reduce_sum(x)).op, v)
    native, python = tf.Session(), python_session()
    a = np.array([1, 2], np.float32)
    for sess in (native, python):
        sess.run(v.initializer)
    calls = [s.make_callable(fetches, [x]) for s in (native, python)]
    for _ in range(4):
        feed = {x: a}
        assert seen(native.run(fetches, feed)) == seen(python.run(fetches, feed))
        assert seen(native.run(fetches, feed_dict=feed)) == seen(python.run(fetches, feed))
        assert seen(calls[0](a)) == seen(calls[1](a))


def test_what_python_would_refuse_is_refused() -> None:
    x = tf.placeholder(tf.float32, [])
    y = x + 1.0
    with tf.Session() as sess:
        call = sess.make_callable(y, [x])
        for _ in range(4):
            assert [sess.run(y, {x: 1.0}), call(1.0)] == [2.0, 2.0]
            for wrong in (
                lambda: sess.run(), lambda: sess.run(y, {x: 1.0}, None, None, None),
                lambda: sess.run(y, feeds={x: 1.0}), lambda: sess.run(y, {x: 1.0}, feed_dict={}),
            ):  # fmt: skip
                with pytest.raises(TypeError):
                    wrong()
            for wrong in (
                lambda: sess.run(y), lambda: sess.run(y, {}), lambda: sess.run(y, {y: 1.0, x: "a"}),
                lambda: call(), lambda: call(1.0, 2.0), lambda: sess.run(3), lambda: sess.run(None),
            ):  # fmt: skip
                with pytest.raises(StaticGraphError):
                    wrong()


# ---------------------------------------------------------------- state
def test_state_moves_as_through_python(python_session: Callable[[], tf.Session]) -> None:
    tf.set_random_seed(3)
    v = tf.Variable(np.arange(3, dtype=np.float32))
    w = tf.Variable(np.ones(3, np.float32))
    x = tf.placeholder(tf.float32, [3])
    noise = tf.random_normal([3])
    before = v * 1.0
    with tf.control_dependencies([before]):
        swap = tf.group(v.assign(w), w.assign(v))
    steps = [
        [before, swap], [v.assign(x).op, tf.reduce_sum(w)], [w.assign_add(noise * x).op, noise, w],
        [v.assign(v * w + noise), w.assign_sub(v), before],
    ]  # fmt: skip
    native, python = tf.Session(), python_session()
    for sess in (native, python):
        sess.run(tf.global_variables_initializer())
    for k in range(5):
        feed = {x: np.full(3, k, np.float32)}
        for step in steps:
            assert seen(native.run(step, feed)) == seen(python.run(step, feed))
        assert seen(native.run([v, w])) == seen(python.run([v, w]))
    assert native._store.counters == python._store.counters
    assert [e.counts for e in native.executables()] == [e.counts for e in python.executables()]
    with no_python():
        native.run([v, w])


def test_a_stream_goes_on_beyond_64_bits(python_session: Callable[[], tf.Session]) -> None:
    noise = tf.random_uniform([7], seed=5)
    native, python = tf.Session(), python_session()
    for sess in (native, python):
        sess.run(noise)
        sess.run(noise)
        (name,) = sess._store.counters
        sess._store.counters[name] = 2**64 - 2
    for _ in range(3):
        assert seen(native.run(noise)) == seen(python.run(noise))
    assert native._store.counters[name] == python._store.counters[name] > 2**64


@pytest.mark.parametrize("keep", [quick.KEEP_LOCK, -1])
def test_a_failure_names_its_line_and_changes_nothing(
    keep: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick, "KEEP_LOCK", keep)  # -1: every run gives Python's lock up
    i = tf.placeholder(tf.int32, [None])
    v = tf.Variable(np.arange(4, dtype=np.float32))
    picked = tf.gather(v, i, name="picked")
    step = v.assign_add(tf.ones([4]) * tf.reduce_sum(picked))
    good, bad = np.array([0, 1], np.int32), np.array([0, 7], np.int32)
    with tf.Session() as sess:
        sess.run(v.initializer)
        for _ in range(3):
            sess.run(step, {i: good})
        left = sess.run(v).tolist()
        with no_python(), pytest.raises(OutOfBoundsError, match=r"index 7 is outside") as e:
            sess.run(step, {i: bad})
        assert e.value.loc is not None
        assert e.value.loc.file.endswith("test_native_calls.py")
        assert "picked" in str(e.value)
        assert sess.run(v).tolist() == left
        with no_python():
            assert sess.run(step, {i: good})[0] == left[0] + left[0] + left[1]


def test_a_variable_of_another_shape_and_a_grown_graph_are_noticed() -> None:
    v = tf.Variable(np.zeros(2, np.float32), validate_shape=False)
    n = tf.placeholder(tf.int32, [])
    grow = tf.assign(v, tf.ones([n]), validate_shape=False).op
    total = tf.reduce_sum(v)
    with tf.Session() as sess:
        sess.run(v.initializer)
        read = sess.make_callable(total)
        for k in (3, 3, 5, 5, 5, 2):
            sess.run(grow, {n: k})
            assert [read(), read(), read(), sess.run(total)] == [k] * 4
        with pytest.warns(GraphGrowthWarning):
            for _ in range(20):
                tf.constant(1.0)
                sess.run(total)


def test_a_closed_session_does_not_run_and_keeps_no_plan() -> None:
    x = tf.placeholder(tf.float32, [])
    y = x + 1.0
    sess = tf.Session()
    call = sess.make_callable(y, [x])
    for _ in range(3):
        call(1.0)
        sess.run(y, {x: 1.0})
    (_, plan) = [p for e in sess.executables() for p in e.plans.values()]
    gone = weakref.ref(plan)
    sess.close()
    del plan, _
    gc.collect()
    assert gone() is None
    for _ in range(2):
        with pytest.raises(UsageError, match="closed"):
            call(1.0)
        with pytest.raises(UsageError, match="closed"):
            sess.run(y, {x: 1.0})


NUMBERS = {
    "int": int, "int32": np.int32, "array": lambda n: np.array(n, np.int32), "int64": np.int64,
    "wide": lambda n: np.array(n), "bool": bool,
}  # fmt: skip


@pytest.mark.parametrize("form", NUMBERS)
def test_numbers_that_are_sizes_choose_the_plan(
    form: str, python_session: Callable[[], tf.Session]
) -> None:
    n, x = tf.placeholder(tf.int32, []), tf.placeholder(tf.float32, [None])
    v = tf.Variable(np.float32(0.0))
    powers = tf.scan(lambda a, k: a * x, tf.range(n), initializer=tf.ones_like(x))
    fetches = [powers, tf.zeros([n]), v.assign_add(tf.cast(n, tf.float32))]
    native, python = tf.Session(), python_session()
    for sess in (native, python):
        sess.run(v.initializer)
    calls = [sess.make_callable(fetches, [n, x]) for sess in (native, python)]
    draw = np.random.RandomState(0)
    for turn in range(80):
        a = draw.randn(1 + draw.randint(2)).astype(np.float32)
        k = NUMBERS[form](int(draw.randint(4)))
        want = outcome(python.run, fetches, {n: k, x: a}), outcome(calls[1], k, a)
        quick = turn >= 60 and form in ("int", "int32", "array")
        with no_python() if quick else nullcontext():
            assert (outcome(native.run, fetches, {n: k, x: a}), outcome(calls[0], k, a)) == want
    for bad in (2**40, -(2**40), 1.5, "two", -1, np.int64(1)):
        want = outcome(python.run, fetches, {n: bad, x: a}), outcome(calls[1], bad, a)
        assert (outcome(native.run, fetches, {n: bad, x: a}), outcome(calls[0], bad, a)) == want
    assert native.run(v) == python.run(v)


def test_a_length_that_never_comes_twice_in_a_row() -> None:
    n = tf.placeholder(tf.int64, [])
    total = tf.while_loop(lambda k, s: k < n, lambda k, s: (k + 1, s + k), [np.int64(0)] * 2)[1]
    ones = tf.reduce_sum(tf.ones([n]))
    with tf.Session() as sess:
        for k in [3, 4, 5] * 3:
            assert sess.run([total, ones], {n: k}) == [k * (k - 1) // 2, k]
        with no_python():
            for k in [5, 3, 4]:
                assert sess.run([total, ones], {n: k}) == [k * (k - 1) // 2, k]
