"""Steps shared between threads: when, and that results do not depend on it."""

from __future__ import annotations

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.codegen.pool import MOST_THREADS
from staticgraph.errors import OutOfBoundsError, UsageError
from staticgraph.runtime.row import Row
from staticgraph.runtime.session import Session
from staticgraph.runtime.threads import SHARE_AWAKE, SHARE_FROM, chunk, chunks


def run(threads: int, n: int) -> list[np.ndarray]:
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 300])
        z = tf.tanh(x) * 2.0 + tf.exp(-tf.abs(x))
        fetches = [
            z,
            tf.reduce_sum(z),
            tf.reduce_sum(z, 0),
            tf.reduce_mean(z, 1),
            tf.nn.softmax(x),
            tf.argmax(z, 1),
            tf.cumsum(x, axis=0),
            tf.random_normal([1000, 300], seed=3),
        ]
        config = tf.ConfigProto(intra_op_parallelism_threads=threads)
        with Session(config=config) as sess:
            value = np.random.default_rng(0).normal(size=(n, 300)).astype("f4")
            out = sess.run(fetches, {x: value})
            shared = sum(
                chunk(r, threads) > 0
                for e in sess.executables()
                for p in e.plans.values()
                for r in p.rows
            )
            assert (shared > 0) == (threads > 1)
            return out


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_results_do_not_depend_on_the_number_of_threads(threads: int) -> None:
    for one, many in zip(run(1, 2000), run(threads, 2000), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(many).tobytes()


@pytest.mark.parametrize("wrong", ["x", "2", 2.7, -1, [2]])
def test_what_is_no_number_of_threads_is_refused(wrong: object) -> None:
    with pytest.raises(UsageError, match="which is no number of threads") as told:
        Session(config=tf.ConfigProto(intra_op_parallelism_threads=wrong))
    assert "test_threads.py" in str(told.value)


@pytest.mark.parametrize(("wanted", "used"), [(1, 1), (np.int64(3), 3), (100_000, MOST_THREADS)])
def test_a_number_of_threads_is_taken_as_it_is_up_to_a_limit(wanted: int, used: int) -> None:
    with Session(config=tf.ConfigProto(intra_op_parallelism_threads=wanted)) as sess:
        x = tf.placeholder(tf.float32, [])
        sess.run(tf.exp(x), {x: 0.0})
        assert [e.threads for e in sess.executables()] == [used]


def test_small_steps_are_not_shared() -> None:
    assert chunk(Row(0, (), 1000, 0, (), SHARE_FROM - 1, True), 2) == 0
    assert chunk(Row(0, (), 1000, 0, (), SHARE_FROM, True), 2) > 0
    assert chunk(Row(0, (), 1, 0, (), SHARE_FROM, True), 2) == 0
    assert chunk(Row(0, (), 1000, 0, (), SHARE_FROM, False), 2) == 0


def test_a_bad_index_found_by_a_worker_is_reported() -> None:
    with tf.Graph().as_default():
        i = tf.placeholder(tf.int32, [None])
        y = tf.gather(tf.constant(np.arange(1000, dtype="f4")), i)
        with Session(config=tf.ConfigProto(intra_op_parallelism_threads=2)) as sess:
            index = np.zeros(1_000_000, np.int32)
            sess.run(y, {i: index})
            index[-1] = 1234
            with pytest.raises(OutOfBoundsError, match=r"index 1234 is outside \[0, 1000\)"):
                sess.run(y, {i: index})


def test_smaller_rows_are_shared_while_the_worker_is_awake() -> None:
    def shared(*works: int, repeated: bool = False) -> list[bool]:
        rows = [Row(0, (), 1000, 0, (), work, True) for work in works]
        return [size > 0 for size in chunks(rows, 2, repeated)]

    small, half = SHARE_AWAKE, SHARE_FROM // 2
    assert shared(small, SHARE_FROM, small, small - 1) == [False, True, True, False]
    assert shared(SHARE_FROM, SHARE_AWAKE - 1, small) == [True, False, True]
    assert shared(SHARE_FROM, *[SHARE_AWAKE - 1] * 3, small) == [True, False, False, False, False]
    assert shared(small, small, repeated=True) == [False, False]  # nothing wakes it
    assert shared(small, SHARE_FROM, repeated=True) == [True, True]
    assert shared(half, SHARE_FROM, 10, repeated=True) == [True, True, False]
    assert shared(SHARE_FROM, *[SHARE_AWAKE - 1] * 3) == [True, False, False, False]
    rows = [Row(0, (), 1000, 0, (), SHARE_FROM, True)] * 2
    assert chunks(rows, 1, True) == [0, 0]
