"""Sessions that are used, closed and left alone while threads run them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import SessionClosedError

ROOT = Path(__file__).parents[2]


def _loop() -> tuple[Any, Any]:
    n = tf.placeholder(tf.int32, [])
    end = tf.while_loop(lambda i, _: i < n, lambda i, v: (i + 1, v * 0.5 + 1.0), [0, 1.0])[1]
    return n, end


def test_a_session_that_is_closed_finishes_what_another_thread_runs() -> None:
    n, end = _loop()
    sess = tf.Session()
    assert sess.run(end, {n: 1}) == 1.5
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(sess.run(end, {n: 50_000_000})))
    thread.start()
    while thread.is_alive() and sess._lock.acquire(blocking=False):  # until the run has begun
        sess._lock.release()
    sess.close()
    thread.join()
    assert found == [2.0]
    with pytest.raises(SessionClosedError, match="the session is closed"):
        sess.run(end, {n: 1})


def test_sessions_that_are_closed_under_threads_refuse_and_nothing_else() -> None:
    x = tf.placeholder(tf.float32, [None])
    y = tf.reduce_sum(x * 2.0)
    sess = tf.Session()
    call, value = sess.make_callable(y, [x]), np.ones(5, np.float32)
    ended: list[str] = []
    begun = threading.Barrier(5)

    def work() -> None:
        begun.wait()
        try:
            while True:
                assert call(value) == sess.run(y, {x: value}) == 10.0
        except BaseException as e:
            ended.append(type(e).__name__)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    begun.wait()
    sess.close()
    for t in threads:
        t.join()
    assert ended == ["SessionClosedError"] * 4


def test_graphs_and_sessions_of_several_threads_are_apart() -> None:
    found: dict[int, float] = {}

    def work(k: int) -> None:
        with tf.Graph().as_default(), tf.Session() as sess:
            x = tf.placeholder(tf.float32, [None])
            w = tf.Variable(float(k))
            step = tf.assign_add(w, tf.reduce_sum(x))
            sess.run(tf.global_variables_initializer())
            for n in range(50):
                sess.run(step, {x: [1.0] * (n % 7)})
            found[k] = float(sess.run(w))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == {k: k + float(sum(n % 7 for n in range(50))) for k in range(6)}


@pytest.mark.parametrize("end", ["sys.exit(5)", "raise ValueError('the end')"])
def test_a_process_ends_though_a_thread_runs(end: str) -> None:
    program = f"""
import sys, threading, time
import staticgraph as tf
n = tf.placeholder(tf.int32, [])
r = tf.while_loop(lambda i, _: i < n, lambda i, v: (i + 1, v * 0.5 + 1.0), [0, 1.0])[1]
sess = tf.Session()
sess.run(r, {{n: 3}})
threading.Thread(target=sess.run, args=(r, {{n: 2_000_000_000}}), daemon=True).start()
while sess._lock.acquire(blocking=False):
    sess._lock.release()
time.sleep(0.1)
print("over", flush=True)
{end}
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == "over\n"
    assert done.returncode == (5 if "exit" in end else 1)
    assert done.stderr.strip().splitlines()[-1:] == (
        [] if "exit" in end else ["ValueError: the end"]
    )
