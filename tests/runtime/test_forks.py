"""Processes that are forked while sessions live: what goes on in the child, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
ROOT = Path(__file__).parents[2]

START = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
import numpy as np
import staticgraph as tf

def in_child(call):
    child = os.fork()
    if child == 0:
        try:
            print(call(), flush=True)
        except BaseException as e:
            print(type(e).__name__, e, flush=True)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

x = tf.placeholder(tf.float32, [None, 256])
y = tf.reduce_sum(tf.tanh(x), 0)
value = np.ones((20000, 256), np.float32)
sess = tf.Session(config=tf.ConfigProto(intra_op_parallelism_threads=2))
want = sess.run(y, {x: value})
"""


def said(program: str) -> list[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", START + program], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_session_goes_on_in_a_child_and_in_its_parent() -> None:
    program = """
w = tf.Variable(1.0)
step = tf.assign_add(w, 1.0)
sess.run(w.initializer)
def again():
    value @ value[:64].T
    return bool((sess.run(y, {x: value}) == want).all()), sess.run(step)
in_child(again)
print(again())
"""
    assert said(program) == ["(True, np.float32(2.0))"] * 2


def test_a_session_that_runs_in_another_thread_is_of_no_use_in_a_child() -> None:
    program = """
n = tf.placeholder(tf.int32, [])
end = tf.while_loop(lambda i, _: i < n, lambda i, v: (i + 1, v * 0.5 + 1.0), [0, 1.0])[1]
sess.run(end, {n: 2})
call = sess.make_callable(y, [x])
call(value)
def work():
    try:
        sess.run(end, {n: 2_000_000_000})
    except BaseException:
        pass
thread = threading.Thread(target=work, daemon=True)
thread.start()
while sess._lock.acquire(blocking=False):  # until the thread has it
    sess._lock.release()
    time.sleep(0.01)
in_child(lambda: sess.run(y, {x: value}))
in_child(lambda: call(value))
def other():
    with tf.Session() as own:
        return bool((own.run(y, {x: value}) == want).all())
in_child(other)
os._exit(0)
"""
    first, *rest = said(program)
    start = "SessionClosedError the session was running in another thread when this process was fo"
    assert first.startswith(start)
    assert [line for line in rest if line.startswith("  hint: fork between runs")]
    assert [line for line in rest if line.startswith(start)]
    assert rest[-1] == "True"


def test_a_compiled_function_goes_on_in_a_child() -> None:
    program = """
import staticgraph.dynamic as torch
@tf.function
def double(a):
    return a * 2.0
print(double(torch.ones(2)).tolist())
from staticgraph.bridge.compiled import _living
(runner,) = [r for r in _living if r.executable is not None]
held = threading.Event()
def hold():
    with runner._lock:
        held.set()
        time.sleep(60)
threading.Thread(target=hold, daemon=True).start()
held.wait()
in_child(lambda: double(torch.ones(3)).tolist())
sys.stdout.flush()
os._exit(0)
"""
    assert said(program) == ["[2.0, 2.0]", "[2.0, 2.0, 2.0]"]
