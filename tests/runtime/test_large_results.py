"""Large results are written straight into the arrays that the user gets."""

from __future__ import annotations

import ctypes
import gc
import signal
import subprocess
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.codegen.entry import available
from staticgraph.codegen.keeper import Keeper, keeper
from staticgraph.errors import OutOfBoundsError
from staticgraph.runtime import results
from staticgraph.runtime.plan import Plan
from staticgraph.runtime.stepwise import Segment
from tests.runtime.native_calls import no_python, seen

native = pytest.mark.skipif(not available(), reason="native calls are not for this Python")
N = 40_000  # of four bytes: more than `DIRECT_RESULT`
SHAPE = (N // 100, 100)


def plan_of(sess: tf.Session) -> Plan:
    """The plan of the session's last executable."""
    plan = sess.executables()[-1].last
    assert plan is not None
    return plan


def in_place(sess: tf.Session) -> int:
    """How many results the session's last executable writes in place."""
    return len(plan_of(sess).keepers)


def address(a: np.ndarray) -> int:
    return int(a.ctypes.data)


def values(k: int) -> np.ndarray:
    """The values that are fed in turn `k`."""
    return (np.arange(N, dtype=np.float32).reshape(SHAPE) % 37) / 16 - k


def held_bytes() -> int:
    """Bytes of all arrays allocated since tracemalloc began."""
    arrays = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    return sum(t.size for t in tracemalloc.take_snapshot().filter_traces([arrays]).traces)


# ---------------------------------------------------------------- what is written in place
def _scan(x: Any) -> Any:
    return tf.scan(lambda a, row: a * 0.5 + row, x, initializer=tf.zeros([100]))


def _swapped(x: Any) -> Any:
    """Carries that change places and so cannot be written over."""
    return tf.while_loop(
        lambda i, a, b: i < 5, lambda i, a, b: (i + 1, b + 1.0, a * 2.0), [0, x, x + 1.0]
    )[1:]


def _with_history(x: Any) -> Any:
    y = tf.scan(lambda a, row: tf.tanh(a + row), x, initializer=tf.zeros([100]))
    return [y, tf.gradients(y, x)[0]]


# Fetches made of a placeholder, and how many results of them are written in place.
CASES: dict[str, tuple[Callable[[Any], Any], int]] = {
    "one": (lambda x: x * 2.0 + 1.0, 1),
    "list": (lambda x: [x * 2.0, tf.exp(x)], 2),
    "twice": (lambda x: (lambda y: [y, y, tf.identity(y)])(x * 2.0), 1),
    "read later": (lambda x: (lambda y: [tf.reduce_sum(y), y, tf.cumsum(y, axis=1)])(x + 1.0), 2),
    "reshaped": (lambda x: (lambda y: [y, tf.reshape(y, [-1]), tf.transpose(y)])(x + 1.0), 3),
    "only reshaped": (lambda x: tf.reshape(x + 1.0, [100, -1]), 1),
    "small and large": (lambda x: [tf.reduce_max(x), x[0] * 2.0, x * 2.0], 1),
    "feed": (lambda x: [x, tf.identity(x), x * 2.0], 1),
    "constant": (lambda x: [tf.constant(values(3)), x + 1.0], 1),
    "product": (lambda x: tf.matmul(x, tf.constant(values(1)), transpose_b=True), 1),
    "product with more": (lambda x: tf.nn.relu(tf.matmul(x, tf.ones([100, 100])) + 1.0), 1),
    "convolution": (
        lambda x: tf.nn.conv2d(
            tf.reshape(x, [4, 10, 10, 100]), tf.ones([3, 3, 100, 50]) * 0.1, [1, 1, 1, 1], "SAME"
        ), 1,
    ),
    "draw": (lambda x: x + tf.random_uniform(SHAPE, seed=3), 1),
    "gather": (lambda x: tf.gather(x, tf.range(SHAPE[0] - 1, -1, -1)), 1),
    "scatter": (lambda x: tf.scatter_nd(tf.range(SHAPE[0])[:, None], x + 1.0, SHAPE), 1),
    "other types": (lambda x: [tf.cast(x, t) for t in ("int64", "float64", "float16")], 3),
    "bools": (lambda x: tf.tile(x, [2, 1]) > 0.0, 1),
    "branch": (
        lambda x: tf.cond(tf.reduce_sum(x) > 0.0, lambda: x * 2.0, lambda: tf.exp(x)), 1,
    ),
    "branch without work": (lambda x: tf.cond(x[0, 0] > -3.0, lambda: x, lambda: x + 1.0), 1),
    "final in place": (
        lambda x: tf.while_loop(lambda i, a: i < 7, lambda i, a: (i + 1, a * 1.5), [0, x])[1], 1,
    ),
    "finals in turns": (_swapped, 2),
    "finals of no iteration": (
        lambda x: tf.while_loop(
            lambda i, a: i < tf.cast(x[0, 0], tf.int32), lambda i, a: (i + 1, a * 2.0), [0, x]
        )[1], 1,
    ),
    "loop in a loop": (
        lambda x: tf.while_loop(
            lambda i, a: i < 3,
            lambda i, a: (i + 1, tf.while_loop(
                lambda j, b: j < 2, lambda j, b: (j + 1, tf.matmul(b, tf.eye(100) * 0.5)), [0, a]
            )[1] + 1.0),
            [0, x],
        )[1], 1,
    ),
    "stacked": (lambda x: tf.map_fn(lambda r: tf.cumsum(r * tf.reduce_max(r)), x), 1),
    "stacked carries": (_scan, 0),
    "stacked carries and their gradient": (_with_history, 0),
    "nothing": (lambda x: [tf.zeros([0, N]) + x[0, 0], x[:0]], 0),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_values_are_the_same_and_held_results_never_change(
    case: str, monkeypatch: pytest.MonkeyPatch, python_session: Callable[[], tf.Session]
) -> None:
    build, direct = CASES[case]
    x = tf.placeholder(tf.float32, SHAPE)
    fetches = build(x)
    sessions = tf.Session(), python_session()
    calls = [s.make_callable(fetches, [x]) for s in sessions]
    with monkeypatch.context() as m:
        m.setattr(results, "DIRECT_RESULT", 1 << 60)
        copying = python_session()
        call = copying.make_callable(fetches, [x])
        want = [seen(call(values(k % 3))) for k in range(7)]
        assert in_place(copying) == 0
    for call in calls:
        held = [call(values(k % 3)) for k in range(7)]
        assert [seen(h) for h in held] == want
        arrays = _arrays(held)
        for k, a in enumerate(arrays):
            assert all(a is b or not np.shares_memory(a, b) for b in arrays[:k])
    if available():
        with no_python():
            calls[0](values(1))
    assert [in_place(sess) for sess in sessions] == [direct] * 2


def _arrays(held: Any) -> list[np.ndarray]:
    if isinstance(held, list | tuple):
        return [a for h in held for a in _arrays(h)]
    return [held] if isinstance(held, np.ndarray) and held.size else []


def test_state_is_not_what_is_handed_out(python_session: Callable[[], tf.Session]) -> None:
    x, i = tf.placeholder(tf.float32, SHAPE), tf.placeholder(tf.int32, [])
    v, w, u = (tf.Variable(tf.ones(SHAPE)) for _ in range(3))
    y = x * 3.0
    # A loop can be interrupted, so that all variables are assigned when it is over.
    row = tf.while_loop(lambda k, s: k < i, lambda k, s: (k + 1, s + y[0]), [0, tf.gather(y, i)])[1]
    fetches = [y, v.assign_add(x), w.assign(y), u.assign(x * 5.0), row, v, w]
    for sess in (tf.Session(), python_session()):
        sess.run(tf.global_variables_initializer())
        added = np.ones(SHAPE, np.float32)
        for k in range(6):
            a = values(k)
            got = sess.run(fetches, {x: a, i: k})
            added = added + a
            want = [a * 3, added, a * 3, a * 5, (a[k] + k * a[0]) * 3, added, a * 3]
            for one, other in zip(got, want, strict=True):
                np.testing.assert_array_equal(one, other)
            for one in got:
                one[:] = 7.0  # which is the user's
        assert in_place(sess) == 3
        assert len(plan_of(sess).commits) == 3
        for variable, value in ((v, added), (w, a * 3), (u, a * 5)):
            np.testing.assert_array_equal(sess.run(variable), value)


def test_open_sizes_have_arrays_of_their_own() -> None:
    x = tf.placeholder(tf.float32, [None])
    with tf.Session() as sess:
        call = sess.make_callable([x * 2.0, tf.reduce_sum(x)], [x])
        held = []
        for n in [N, N + 1, 5, N, N + 1, 5, 0, N + 2, N] * 2:
            a = np.arange(n, dtype=np.float32)
            held.append((a * 2.0, call(a)[0]))
        direct = {n: len(plan.keepers) for (n,), plan in sess.executables()[0].plans.items()}
        assert direct == {N: 1, N + 1: 1, N + 2: 1, 5: 0, 0: 0}
        for want, got in held:
            np.testing.assert_array_equal(want, got)


def test_a_result_can_be_fed_to_the_next_run() -> None:
    x = tf.placeholder(tf.float32, [N])
    with tf.Session() as sess:
        call = sess.make_callable(x + tf.reverse(x, [0]), [x])
        y = want = np.arange(N, dtype=np.float32) / N
        for _ in range(9):
            y, want = call(y), want + want[::-1]
            np.testing.assert_array_equal(y, want)


def test_steps_on_the_host_are_between() -> None:
    x = tf.placeholder(tf.float32, SHAPE)
    shown: list[np.ndarray] = []

    def twice(a: np.ndarray) -> np.ndarray:
        shown.append(a)
        return a * 2.0

    before = x + 1.0
    y = tf.py_func(twice, [before], tf.float32)
    y.set_shape(SHAPE)
    z, other = y * 3.0, x - 1.0
    fetches = [before, y, z, z, tf.reduce_sum(z), other, tf.reduce_max(other + y)]
    held = []
    with tf.Session() as sess:
        call = sess.make_callable(fetches, [x])
        for k in range(5):
            held.append(call(values(k)))
        (exe,) = sess.executables()
        assert exe.stepwise is not None
        plans = [p for s in exe.stepwise.items if isinstance(s, Segment) for p in s.plans.values()]
        made = [b for p in plans for b in p.keepers]
        assert len(made) == 2  # what a function of the user's has seen is copied
    for k, (a, b, c, d, _, e, _) in enumerate(held):
        np.testing.assert_array_equal(a, values(k) + 1)
        np.testing.assert_array_equal(b, (values(k) + 1) * 2)
        np.testing.assert_array_equal(c, (values(k) + 1) * 6)
        np.testing.assert_array_equal(e, values(k) - 1)
        assert c is d
    arrays = _arrays([(a, b, c, e) for a, b, c, _, _, e, _ in held])
    for k, one in enumerate(arrays):
        assert not any(np.shares_memory(one, a) for a in (*arrays[:k], *shown))


# ---------------------------------------------------------------- memory
@native
def test_memory_is_used_again_when_a_result_is_gone() -> None:
    x = tf.placeholder(tf.float32, [N])
    a = np.ones(N, np.float32)
    with tf.Session() as sess:
        call = sess.make_callable(x * 2.0, [x])
        for _ in range(3):
            call(a)
        (own,) = plan_of(sess).keepers.values()
        assert own is not None
        assert {address(call(a)) for _ in range(9)} == {own.kept}
        assert own.kept
        places = set()
        for _ in range(9):  # the next one comes while the last one is still there
            y = call(a)
            places.add(address(y))
        assert len(places) == 2
        assert own.kept in places - {address(y)}
        held = [call(a) for _ in range(5)]
        assert len({address(h) for h in held} | {address(y)}) == 6
        assert own.kept == 0


VIEWS: dict[str, Callable[[np.ndarray], Any]] = {
    "slice": lambda y: y[10:20],
    "slice of a slice": lambda y: y[10:][::2].reshape(-1, 1).T,
    "buffer": memoryview,
    "frombuffer": lambda y: np.frombuffer(y, np.uint8),
    "dlpack": np.from_dlpack,
    "ctypes": lambda y: np.ctypeslib.as_ctypes(y),
    "pointer": lambda y: y.ctypes,
    "iterator": lambda y: y.flat,
    "other type": lambda y: y.view(np.recarray),
    "masked": lambda y: np.ma.masked_array(y, y > 3),
}


@native
@pytest.mark.parametrize("kind", VIEWS)
def test_memory_is_not_used_again_while_anything_sees_it(kind: str) -> None:
    x = tf.placeholder(tf.float32, [N])
    with tf.Session() as sess:
        call = sess.make_callable(x * 2.0, [x])
        a = np.ones(N, np.float32)
        for _ in range(3):
            call(a)
        y = call(a)
        where = address(y)
        view = VIEWS[kind](y)
        copy = y.tobytes()
        del y
        assert where not in [address(call(a * k)) for k in range(5)]
        gc.collect()
        assert ctypes.string_at(where, len(copy)) == copy
        (own,) = plan_of(sess).keepers.values()
        assert own is not None
        other = call(a)  # which leaves room for one
        assert own.kept == 0
        del view
        gc.collect()
        assert own.kept == where
        assert address(call(a)) == where != address(other)


@native
def test_results_are_arrays_like_others() -> None:
    x = tf.placeholder(tf.float32, [N])
    a = np.ones(N, np.float32)
    with tf.Session() as sess:
        call = sess.make_callable(x * 2.0, [x])
        for _ in range(3):
            call(a)
        y = call(a)
        assert y.base is None
        assert y.flags.owndata
        assert y.flags.writeable
        assert y.flags.c_contiguous
        assert address(y) % 64 == 0
        assert type(y) is np.ndarray
        y.resize(2 * N, refcheck=False)
        assert y[:N].tolist() == [2.0] * N
        assert not y[N:].any()
        z = call(a)
        y.resize(N, refcheck=False)
        assert y.tolist() == z.tolist()
        y.shape = 4, -1
        y.dtype = np.int8
        gone = weakref.ref(y)
        del y
        assert gone() is None
        assert [call(a * k)[-1] for k in range(4)] == [0.0, 2.0, 4.0, 6.0]
        assert z.tolist() == [2.0] * N
        copied = np.array(z)
        assert np._core.multiarray.get_handler_name(copied) != "results"


@native
def test_no_more_than_one_result_is_held_and_nothing_after_the_session() -> None:
    x = tf.placeholder(tf.float32, [None])
    n = 4_000_000
    sess = tf.Session()
    call = sess.make_callable(x * 2.0, [x])
    call(np.ones(10, np.float32))
    tracemalloc.start()
    try:
        a = np.ones(n // 4, np.float32)
        y = call(a)
        for _ in range(5):
            y = call(a)
        start = 2 * n  # the feed, and staging for feeds that cannot be read where they are
        assert held_bytes() - start == pytest.approx(2 * n, rel=0.01)  # the user's, and one
        held = [y, *(call(a) for _ in range(3))]
        assert held_bytes() - start == pytest.approx(4 * n, rel=0.01)
        del held, y
        assert held_bytes() - start == pytest.approx(n, rel=0.01)
        for k in range(1, 9):  # other sizes do not add up
            b = a[k:].copy()
            call(b)
            call(b)
            del b
        last = plan_of(sess).keepers
        assert held_bytes() - start - 8 * n == pytest.approx(n, rel=0.01)
        y = call(a[100:].copy())
        del last
        sess.close()
        del sess, call
        gc.collect()
        assert held_bytes() == pytest.approx(2 * n, rel=0.01)
        assert y[-1] == 2.0
        del y
        assert held_bytes() == pytest.approx(n, rel=0.01)
    finally:
        tracemalloc.stop()


def test_what_is_planned_is_what_is_taken() -> None:
    x = tf.placeholder(tf.float32, [1000, 1000])
    y = tf.exp(x) * 2.0
    fetches = [y, tf.matmul(y, x), tf.reduce_sum(y)]
    n = 4_000_000
    feed = {x: np.zeros((1000, 1000), np.float32)}
    with tf.Session() as sess:
        (early,) = sess.explain(fetches, feed_dict=feed).executables
        tracemalloc.start()
        try:
            got = sess.run(fetches, feed)
            grown = held_bytes()
        finally:
            tracemalloc.stop()
        step = plan_of(sess).footprint
        assert step.results == 2 * n + 4
        assert step.arena < 20_000
        assert early.plans[0].footprint.arena == step.arena
        assert step.total + step.reserved == pytest.approx(grown, rel=0.01)
    assert got[0][0, 0] == 2.0


# ---------------------------------------------------------------- runs that do not end well
def test_a_failed_run_leaves_nothing_behind() -> None:
    x, i = tf.placeholder(tf.float32, [N]), tf.placeholder(tf.int32, [None])
    fetches = [x * 2.0, tf.gather(x, i) + 1.0]
    a, good = np.arange(N, dtype=np.float32), np.array([1, 2], np.int32)
    with tf.Session() as sess:
        call = sess.make_callable(fetches, [x, i])
        for _ in range(3):
            held = call(a, good)
        (own,) = plan_of(sess).keepers.values()
        tracemalloc.start()
        try:
            for k in range(5):
                with pytest.raises(OutOfBoundsError):
                    call(a * 3, good + N)
                if k == 1:
                    before = held_bytes()
            gc.collect()
            assert held_bytes() <= before + N
        finally:
            tracemalloc.stop()
        assert own is None or own.kept
        np.testing.assert_array_equal(held[0], a * 2)
        np.testing.assert_array_equal(call(a + 1, good)[0], (a + 1) * 2)
        np.testing.assert_array_equal(held[0], a * 2)


@pytest.mark.parametrize("again", [False, True])
def test_a_run_that_is_interrupted_or_has_another_within(again: bool) -> None:
    steps = 300_000
    x = tf.placeholder(tf.float32, [None, 64])
    rng = np.random.default_rng(0)
    w = tf.constant(rng.standard_normal((64, 64)).astype("f4") * 0.2)
    last = tf.while_loop(
        lambda i, v: i < steps, lambda i, v: (i + 1, tf.tanh(tf.matmul(v, w))), [0, x[:3] * 2.0]
    )[1]
    y = x * 2.0 + last[0, 0] * 0.0
    fetches = [y, last]
    inside: list[Any] = []
    a, b = (rng.standard_normal((N // 64, 64)).astype("f4") for _ in range(2))

    def handler(*_: object) -> None:
        if inside:
            return
        inside.append(None)
        if not again:
            raise KeyboardInterrupt
        inside[0] = sess.run(fetches, {x: b})

    with tf.Session() as sess:
        held = sess.run(fetches, {x: a})
        assert in_place(sess) == 1
        old = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.04)
            if again:
                np.testing.assert_array_equal(sess.run(fetches, {x: b})[0], b * 2)
                np.testing.assert_array_equal(inside[0][0], b * 2)
            else:
                with pytest.raises(KeyboardInterrupt):
                    sess.run(fetches, {x: b})
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
        assert len(inside) == 1
        np.testing.assert_array_equal(held[0], a * 2)
        np.testing.assert_array_equal(sess.run(fetches, {x: b})[0], b * 2)
        np.testing.assert_array_equal(held[0], a * 2)


def test_threads_have_results_of_their_own() -> None:
    x = tf.placeholder(tf.float32, [8 * N])
    errors: list[str] = []
    with tf.Session() as sess:
        call = sess.make_callable(x * 2.0 + 1.0, [x])
        for _ in range(3):
            call(np.zeros(8 * N, np.float32))

        def work(k: int) -> None:
            a = np.full(8 * N, k, np.float32)
            held: list[np.ndarray] = []
            for i in range(40):
                held = [*held[-2:], call(a)]
                if any((h != 2 * k + 1).any() for h in held):
                    errors.append(f"thread {k}, run {i}")

        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert not errors


def test_profiled_runs_write_in_place_too() -> None:
    x = tf.placeholder(tf.float32, [N])
    a = np.ones(N, np.float32)
    with tf.Session() as sess:
        held = [sess.run(x * 0.0 + 2.0, {x: a}) for _ in range(1)]
        y = x * 2.0
        with sess.profile() as profile:
            held += [sess.run(y, {x: a * k}) for k in range(1, 4)]
            assert in_place(sess) == 1
        (handed,) = [r for r in profile.rows if r.name == "results"]
        assert (handed.calls, handed.bytes) == (3, 0)  # nothing is copied
    assert [h[-1] for h in held] == [2.0, 2.0, 4.0, 6.0]


# ---------------------------------------------------------------- elsewhere
def test_without_keepers_arrays_are_those_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "keeper", lambda: None)
    x = tf.placeholder(tf.float32, [N])
    with tf.Session() as sess:
        call = sess.make_callable([x * 2.0, tf.reduce_sum(x)], [x])
        held = [call(np.full(N, k, np.float32))[0] for k in range(6)]
        assert list(plan_of(sess).keepers.values()) == [None]
    assert [h[-1] for h in held] == [0, 2, 4, 6, 8, 10]


@native
def test_arrays_outlive_their_keeper() -> None:
    own = keeper()
    assert isinstance(own, Keeper)
    a, b = own.array((3, 4), np.dtype(np.int64)), own.array((), np.dtype(np.float32))
    a[:], b[()] = 3, 4
    with pytest.raises(MemoryError):
        own.array((1 << 60,), np.dtype(np.float32))
    del own
    gc.collect()
    assert a.sum() + b == 40


@native
def test_arrays_may_be_there_when_the_interpreter_ends() -> None:
    script = """
import ctypes, numpy as np, staticgraph as tf
x = tf.placeholder(tf.float32, [100_000])
with tf.Session() as sess:
    call = sess.make_callable(x * 2.0, [x])
    held = [call(np.ones(100_000, np.float32)) for _ in range(5)]
one = ctypes.pythonapi.PyInterpreterState_Get
one.restype = ctypes.c_void_p
known = ctypes.pythonapi.PyInterpreterState_GetDict
known.restype, known.argtypes = ctypes.py_object, [ctypes.c_void_p]
known(one())["held"] = held
print(held[-1][-1])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "2.0\n", "")
