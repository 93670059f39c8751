"""Native calls: sessions, threads and what is left behind."""

from __future__ import annotations

import gc
import inspect
import sys
import threading
import tracemalloc
import warnings
import weakref
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.codegen import entry_blocks
from staticgraph.codegen.entry import available
from staticgraph.errors import (
    StaticGraphError,
    UsageError,
)
from staticgraph.runtime import quick
from tests.runtime.native_calls import no_python

pytestmark = pytest.mark.skipif(not available(), reason="native calls are not for this Python")


# ---------------------------------------------------------------- what is left behind
def test_ten_thousand_runs_leave_no_reference_and_no_memory() -> None:
    x, s = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.float64, [])
    i = tf.placeholder(tf.int32, [None])
    fetches = [x * 2.0, tf.cast(s, tf.float32), tf.gather(x, i), tf.no_op()]
    a, b, bad = np.ones(3, np.float32), np.zeros(1, np.int32), np.full(1, 9, np.int32)
    number = 2.5
    with tf.Session() as sess:
        call = sess.make_callable(fetches, [x, s, i])
        nested = sess.make_callable({"a": fetches}, [x, s, i])
        feed = {x: a, s: number, i: b}
        kept = [a, b, bad, number, None, np.float32, a.dtype, b.dtype, call, nested, sess, fetches]
        kept += [feed, x, s, i, sess._words, sess._lock, list, dict, "feed_dict"]

        def runs(n: int) -> None:
            for k in range(n):
                call(a, number, b)
                nested(a, 1, b)
                sess.run(fetches, feed)
                sess.run(fetches, feed_dict=feed)
                sess.run(tuple(fetches), feed)
                sess.run(fetches[0], feed)
                sess.run(fetches[1], feed)
                sess.run(fetches[3], feed)
                if k % 100 == 0:
                    for wrong in (lambda: call(a, number, bad), lambda: call(a, "a", b)):
                        with pytest.raises(StaticGraphError):
                            wrong()

        runs(300)
        gc.collect()
        before = [sys.getrefcount(o) for o in kept]
        tracemalloc.start()
        runs(10)
        start = tracemalloc.get_traced_memory()[0]
        runs(2_000)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - start
        tracemalloc.stop()
        assert [sys.getrefcount(o) for o in kept] == before
        assert grown < 20_000


def test_a_session_dies_with_its_last_reference() -> None:
    x = tf.placeholder(tf.float32, [])
    sess = tf.Session()
    call = sess.make_callable(x + 1.0, [x])
    for _ in range(3):
        call(1.0)
        sess.run(x + 1.0, {x: 1.0})
    gone = weakref.ref(sess)
    gc.collect()
    gc.disable()
    try:
        del sess
        assert gone() is not None  # the callable needs it
        del call
        assert gone() is None
    finally:
        gc.enable()


def test_a_collection_of_garbage_at_the_end_of_a_run_may_close_the_session() -> None:
    x = tf.placeholder(tf.float32, [])
    fetches = [x + 1.0, x + 2.0, x + 3.0]
    feed = {x: 1.0}
    sess = tf.Session()
    for _ in range(3):
        sess.run(fetches, feed)
    closed = []

    def collected(phase: str, _: Any) -> None:
        if phase == "stop" and not closed:
            closed.append(sess.close())

    threshold = gc.get_threshold()
    gc.callbacks.append(collected)
    gc.set_threshold(1)
    try:
        got = [sess.run(fetches, feed)]
        while not closed and len(got) < 10_000:
            got.append(sess.run(fetches, feed))  # each list is a new one
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(collected)
    assert closed
    assert got == [[2.0, 3.0, 4.0]] * len(got)
    with pytest.raises(UsageError, match="closed"):
        sess.run(fetches, feed)


# ---------------------------------------------------------------- threads
@pytest.mark.parametrize("keep", [quick.KEEP_LOCK, -1])
def test_runs_of_several_threads_follow_one_another(
    keep: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick, "KEEP_LOCK", keep)  # -1: every run gives Python's lock up
    x = tf.placeholder(tf.float64, [None])
    v, w = tf.Variable(np.zeros(50)), tf.Variable(np.zeros(50))
    both = [v.assign_add(x), w.assign_add(x)]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        call = sess.make_callable(both, [x])
        ones, errors = np.ones(50), []
        assert len([call(ones) for _ in range(3)]) == 3

        def work(number: int) -> None:
            for k in range(400):
                value = [1.0] * 50 if k % 10 == number else ones  # a list: through Python
                got = call(value) if number % 2 else sess.run(both, {x: value})
                if not (got[0] == got[0][0]).all() or not (got[0] == got[1]).all():
                    errors.append(got)

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
        finally:
            sys.setswitchinterval(interval)
        assert not errors
        assert sess.run(v).tolist() == [1603.0] * 50
        assert sess.run(w).tolist() == [1603.0] * 50
        assert sum(e.counts.runs for e in sess.executables()) == 1603 + 3


def test_a_run_waits_for_one_that_is_going_on_in_another_thread() -> None:
    x = tf.placeholder(tf.float32, [])
    began, go = threading.Event(), threading.Event()

    def wait(a: np.ndarray) -> np.ndarray:
        began.set()
        assert go.wait(10)
        return a

    slow, fast = tf.py_func(wait, [x], tf.float32), x + 1.0
    order: list[str] = []
    with tf.Session() as sess:
        call = sess.make_callable(fast, [x])
        assert [call(1.0) for _ in range(3)] == [2.0] * 3

        def first() -> None:
            sess.run(slow, {x: 1.0})
            order.append("slow")

        def second() -> None:
            call(1.0)
            order.append("fast")

        threads = [threading.Thread(target=first), threading.Thread(target=second)]
        threads[0].start()
        assert began.wait(10)
        threads[1].start()
        threads[1].join(0.05)
        assert order == []
        go.set()
        for t in threads:
            t.join()
        assert sorted(order) == ["fast", "slow"]


def test_a_session_may_be_run_by_a_function_that_it_calls() -> None:
    x = tf.placeholder(tf.float32, [])
    sess = tf.Session()
    inner = sess.make_callable(x * 2.0, [x])
    assert [inner(1.0) for _ in range(3)] == [2.0] * 3
    outer = tf.py_func(lambda a: np.float32(inner(a) + inner(float(a))), [x + 0.0], tf.float32)
    assert [sess.run(outer, {x: 3.0}) for _ in range(3)] == [12.0] * 3
    with no_python():
        assert inner(5.0) == 10.0


# ---------------------------------------------------------------- the method
def test_many_entries_find_a_place_or_lose_it() -> None:
    x = tf.placeholder(tf.float32, [])
    ys = [x + float(k) for k in range(entry_blocks.TABLE + 16)]
    with tf.Session() as sess:
        for _ in range(4):
            assert [sess.run(y, {x: 1.0}) for y in ys] == [1.0 + k for k in range(len(ys))]
        lost = [e.written for e in sess._entries.values() if e.quick is None]
        assert lost
        assert [sess.run(lost[0], {x: k}) - k for k in range(2)] == [ys.index(lost[0])] * 2
        with no_python():
            assert sess.run(lost[0], {x: 1.0}) == 1.0 + ys.index(lost[0])


def test_a_fetch_list_that_is_changed_is_looked_at_again() -> None:
    x = tf.placeholder(tf.float32, [])
    y, z = x + 1.0, x * 5.0
    with tf.Session() as sess:
        fetches = [y]
        for _ in range(3):
            assert sess.run(fetches, {x: 1.0}) == [2.0]
        fetches[0] = z
        for _ in range(3):
            assert sess.run(fetches, {x: 1.0}) == [5.0]
        fetches.append(y)
        for _ in range(3):
            assert sess.run(fetches, {x: 1.0}) == [5.0, 2.0]


def test_entries_that_begin_alike_are_told_apart() -> None:
    a, b, c = (tf.placeholder_with_default(v, []) for v in (1.0, 2.0, 3.0))
    y, z = a + 10.0 * b + 100.0 * c, a - b
    with tf.Session() as sess:
        for _ in range(4):
            assert sess.run(y, {a: 4.0, b: 5.0}) == 354.0
            assert sess.run(y, {a: 4.0, c: 5.0}) == 524.0
            assert sess.run(y, {a: 4.0}) == 324.0
            assert sess.run(y) == 321.0
            assert sess.run([y, z], {a: 4.0}) == [324.0, 2.0]
            assert sess.run([y, y], {a: 4.0}) == [324.0, 324.0]
            assert sess.run([y], {a: 4.0}) == [324.0]
            assert sess.run((y, z), {a: 4.0}) == (324.0, 2.0)


def test_order_of_feeds_and_other_mappings() -> None:
    a, b = tf.placeholder(tf.float32, []), tf.placeholder(tf.float32, [])
    y = a - b

    class Feeds(dict[Any, Any]):
        pass

    with tf.Session() as sess:
        for _ in range(3):
            assert sess.run(y, {a: 3.0, b: 1.0}) == 2.0
            assert sess.run(y, {b: 1.0, a: 3.0}) == 2.0
            assert sess.run(y, Feeds({b: 1.0, a: 3.0})) == 2.0
            assert sess.run(y, {a.name: 3.0, b: 1.0}) == 2.0
            assert sess.run(y, {(a, b): (3.0, 1.0)}) == 2.0


def test_a_subclass_may_have_a_run_of_its_own() -> None:
    class Counting(tf.Session):
        runs = 0

        def run(self, *args: Any, **kwargs: Any) -> Any:
            self.runs += 1
            return super().run(*args, **kwargs)

    x = tf.placeholder(tf.float32, [])
    with Counting() as sess:
        assert [sess.run(x + 1.0, {x: 1.0}) for _ in range(1)] == [2.0]
        y = x + 1.0
        assert [sess.run(y, feed_dict={x: 1.0}) for _ in range(5)] == [2.0] * 5
        assert sess.runs == 6


def test_the_method_has_a_signature_and_a_text() -> None:
    x = tf.placeholder(tf.float32, [])
    with tf.Session() as sess:
        tf.Session.run(sess, x, {x: 1.0})
        for _ in range(3):
            sess.run(x, {x: 1.0})
    names = list(inspect.signature(tf.Session.run).parameters)
    assert names == ["self", "fetches", "feed_dict", "options", "run_metadata"]
    assert inspect.ismethoddescriptor(tf.Session.run)
    assert "Run what `fetches` needs" in inspect.getdoc(tf.Session.run)


def test_the_environment_leaves_calls_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATICGRAPH_CALLS", "python")
    x = tf.placeholder(tf.float32, [])
    y = x + 1.0
    with tf.Session() as sess:
        call = sess.make_callable(y, [x])
        assert inspect.isfunction(call)
        assert [call(1.0) for _ in range(3)] + [sess.run(y, {x: 1.0}) for _ in range(3)] == [
            2.0
        ] * 6
        with no_python(), pytest.raises(AssertionError, match="through Python"):
            call(1.0)
        with no_python(), pytest.raises(AssertionError, match="through Python"):
            sess.run(y, {x: 1.0})


def test_without_the_function_runs_are_slower_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    from staticgraph.errors import CompileError, CompileFallbackWarning

    def broken(*_: Any) -> None:
        raise CompileError("the function cannot be compiled")

    quick.native_entry.cache_clear()
    monkeypatch.setattr(quick, "Entry", broken)
    x = tf.placeholder(tf.float32, [])
    try:
        with tf.Session() as sess, pytest.warns(CompileFallbackWarning, match="through Python"):
            call = sess.make_callable(x + 1.0, [x])
        with tf.Session() as sess, warnings.catch_warnings():
            warnings.simplefilter("error")  # told once
            assert [sess.make_callable(x + 1.0, [x])(1.0) for _ in range(2)] == [2.0, 2.0]
        assert inspect.isfunction(call)
    finally:
        quick.native_entry.cache_clear()
