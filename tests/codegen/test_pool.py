"""The worker threads: every iteration done once, whoever does it; failures, concurrency, forks."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
import weakref

import numpy as np
import pytest

from staticgraph.codegen.cache import ir_address, kernel_address
from staticgraph.codegen.pool import (
    MOST_THREADS,
    POOL,
    Pool,
    default_threads,
    launch_address,
)
from staticgraph.errors import ThreadsWarning

COUNT = """def kernel(args, lo, hi):
    a0 = ptr_i64(args[0])
    for p in range(lo, hi):
        a0[p] = a0[p] + p
    return 0
"""
FAIL = """def kernel(args, lo, hi):
    for p in range(lo, hi):
        if p == 700:
            return 7
    return 0
"""
WORD = ctypes.c_void_p
KEPT: list[Pool] = []  # workers look at their pool's memory for as long as the process lives


def launch(pool: Pool, source: str, words: np.ndarray, lo: int, hi: int, chunk: int) -> int:
    call = ctypes.CFUNCTYPE(ctypes.c_int64, *[WORD] * 3)(launch_address())
    shared = [pool.address, kernel_address(source), words.ctypes.data, chunk, len(pool.workers)]
    block = np.array(shared, np.int64)
    return call(block.ctypes.data, lo, hi)


DEEP = """
define i64 @entry(ptr %args, i64 %lo, i64 %hi) {
start:
  %deep = alloca [32768 x i64]
  br label %next
next:
  %i = phi i64 [ 0, %start ], [ %j, %next ]
  %at = getelementptr i64, ptr %deep, i64 %i
  store volatile i64 %lo, ptr %at
  %j = add i64 %i, 1
  %more = icmp slt i64 %j, 32768
  br i1 %more, label %next, label %done
done:
  %word = getelementptr i64, ptr %args, i64 %lo
  %ignored = atomicrmw add ptr %word, i64 1 seq_cst
  ret i64 0
}
"""


def test_workers_have_room_whatever_other_threads_have() -> None:
    before = threading.stack_size(1 << 17)
    try:
        pool = Pool()
        KEPT.append(pool)
        pool.ensure(3)
        assert threading.stack_size() == 1 << 17
    finally:
        threading.stack_size(before)
    call = ctypes.CFUNCTYPE(ctypes.c_int64, *[WORD] * 3)(launch_address())
    done = np.zeros(2000, np.int64)
    words = [pool.address, ir_address(DEEP), done.ctypes.data, 1, 2]
    block = np.array(words, np.int64)
    assert call(block.ctypes.data, 0, len(done)) == 0
    assert (done == 1).all()


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000, 5000])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_every_iteration_is_done_once(chunk: int, threads: int) -> None:
    pool = Pool()
    KEPT.append(pool)
    pool.ensure(threads)
    out = np.zeros(1000, np.int64)
    words = np.array([out.ctypes.data, 0, 0], np.int64)
    for done in range(1, 21):
        assert launch(pool, COUNT, words, 0, 1000, chunk) == 0
        np.testing.assert_array_equal(out, done * np.arange(1000))


def test_workers_keep_the_state_of_a_pool_that_is_gone() -> None:
    pool = Pool()
    pool.ensure(3)
    stop, state = pool.state[45:46], weakref.ref(pool.state)
    del pool
    gc.collect()
    assert state() is not None
    stop[0] = 1


def test_an_empty_range_does_nothing() -> None:
    out = np.zeros(1, np.int64)
    assert launch(POOL, COUNT, np.array([out.ctypes.data, 0, 0], np.int64), 5, 5, 10) == 0
    assert out[0] == 0


@pytest.mark.parametrize("absent", [1, 3, 63, 200])
def test_the_shares_of_workers_that_do_not_come_are_done_too(absent: int) -> None:
    pool = Pool()
    KEPT.append(pool)
    call = ctypes.CFUNCTYPE(ctypes.c_int64, *[WORD] * 3)(launch_address())
    for lo, hi, chunk in ((0, 1000, 7), (5, 6, 1), (13, 77, 64)):
        words = np.zeros(1000, np.int64)
        args = np.array([words.ctypes.data], np.int64)
        shared = [pool.address, kernel_address(COUNT), args.ctypes.data, chunk, absent]
        block = np.array(shared, np.int64)
        assert call(block.ctypes.data, lo, hi) == 0
        want = np.arange(1000) * (np.arange(1000) >= lo) * (np.arange(1000) < hi)
        assert (words == want).all()


def test_the_status_of_a_failed_chunk_comes_back() -> None:
    POOL.ensure(2)
    words = np.zeros(2, np.int64)
    for _ in range(10):
        assert launch(POOL, FAIL, words, 0, 1000, 50) == 7
        assert launch(POOL, FAIL, words, 0, 700, 50) == 0


def test_callers_at_the_same_time_do_not_disturb_each_other() -> None:
    POOL.ensure(2)
    errors: list[Exception] = []

    def work() -> None:
        out = np.zeros(3000, np.int64)
        words = np.array([out.ctypes.data, 0, 0], np.int64)
        try:
            for done in range(1, 201):
                assert launch(POOL, COUNT, words, 0, 3000, 100) == 0
                np.testing.assert_array_equal(out, done * np.arange(3000))
        except AssertionError as e:
            errors.append(e)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_works_alone_and_can_have_workers_again() -> None:
    POOL.ensure(2)
    out = np.zeros(1000, np.int64)
    words = np.array([out.ctypes.data, 0, 0], np.int64)
    launch(POOL, COUNT, words, 0, 1000, 10)
    child = os.fork()
    if child == 0:
        good = launch(POOL, COUNT, words, 0, 1000, 10) == 0
        POOL.ensure(2)
        good = good and launch(POOL, COUNT, words, 0, 1000, 10) == 0
        os._exit(0 if good and (out == 3 * np.arange(1000)).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_number_of_threads_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATICGRAPH_NUM_THREADS", "3")
    assert default_threads() == 3
    monkeypatch.setenv("STATICGRAPH_NUM_THREADS", "1000000")
    assert default_threads() == MOST_THREADS
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(5)), raising=False)
    for nothing in ("", "0", " "):
        monkeypatch.setenv("STATICGRAPH_NUM_THREADS", nothing)
        assert default_threads() == 5


@pytest.mark.parametrize("wrong", ["zero", "-1", "1.5", "\uff12", "2 2"])
def test_what_is_no_number_of_threads_is_told_once(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATICGRAPH_NUM_THREADS", wrong)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(5)), raising=False)
    with pytest.warns(ThreadsWarning, match=f"is '{wrong}', which is no number") as told:
        assert default_threads() == 5
    assert told[0].filename == __file__
    assert default_threads() == 5  # a second warning would fail the test


def test_where_no_more_threads_can_be_started_there_are_fewer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.endswith("worker-1"):
            raise RuntimeError("can't start new thread")
        start(thread)

    pool = Pool()
    KEPT.append(pool)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.warns(ThreadsWarning, match="2 threads are used instead of 4"):
        pool.ensure(4)
    assert len(pool.workers) == 1
    out = np.zeros(1000, np.int64)
    assert launch(pool, COUNT, np.array([out.ctypes.data, 0, 0], np.int64), 0, 1000, 10) == 0
    np.testing.assert_array_equal(out, np.arange(1000))
