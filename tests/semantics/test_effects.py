"""Control edges, prints, checks and Python functions."""

from __future__ import annotations

import re
import threading
import warnings
from typing import Any

import numpy as np
import pytest

import staticgraph as tf


def noter(seen: list[Any], name: str) -> Any:
    """An operation that notes its name when it runs."""

    def note() -> np.float32:
        seen.append(name)
        return np.float32(1)

    return tf.py_func(note, [], tf.float32)


def test_control_dependencies_run_before() -> None:
    seen: list[Any] = []
    a = noter(seen, "a")
    with tf.control_dependencies([a]):
        b = noter(seen, "b")
    with tf.control_dependencies([b]):
        c = tf.constant(1.0)
    tf.Session().run(c)
    assert seen == ["a", "b"]


def test_control_dependencies_nest_and_can_be_cleared() -> None:
    seen: list[Any] = []
    a, b = noter(seen, "a"), noter(seen, "b")
    with tf.control_dependencies([a]):
        with tf.control_dependencies([b]):
            both = tf.identity(tf.constant(1.0))
        with tf.control_dependencies(None):
            none = tf.no_op()
    sess = tf.Session()
    sess.run(none)
    assert seen == []
    sess.run(both)
    assert seen == ["a", "b"]


def test_group_runs_all_and_tuple_waits_for_all() -> None:
    seen: list[Any] = []
    a, b = noter(seen, "a"), noter(seen, "b")
    assert tf.Session().run(tf.group(a, b)) is None
    assert sorted(seen) == ["a", "b"]
    seen.clear()
    first, _ = tf.tuple([a, b])
    assert tf.Session().run(first) == 1.0
    assert sorted(seen) == ["a", "b"]


def test_host_effects_happen_in_creation_order() -> None:
    seen: list[Any] = []
    ops = [noter(seen, str(i)) for i in range(5)]
    tf.Session().run(ops[::-1])
    assert seen == list("01234")


def test_print_passes_its_input_on(capfd: pytest.CaptureFixture[str]) -> None:
    x = tf.placeholder(tf.float32, [None])
    y = tf.Print(x * 2.0, [x, tf.shape(x)], "got: ") + 1.0
    np.testing.assert_array_equal(tf.Session().run(y, {x: [1, 2]}), [3, 5])
    assert capfd.readouterr().err == "got: [1 2][2]\n"


def test_print_only_the_first_times(capfd: pytest.CaptureFixture[str]) -> None:
    x = tf.Print(tf.constant(1.0), [], "once", first_n=1)
    sess = tf.Session()
    sess.run(x)
    sess.run(x)
    assert capfd.readouterr().err == "once\n"


def test_a_python_function_gets_arrays_and_may_give_several() -> None:
    x = tf.placeholder(tf.float64, [None])
    q, r = tf.py_func(lambda a: (a // 2, a % 2), [x], [tf.float64, tf.float64])
    got = tf.Session().run([q * 10.0, r], {x: [3.0, 4.0]})
    np.testing.assert_array_equal(got[0], [10, 20])
    np.testing.assert_array_equal(got[1], [1, 0])


def test_a_python_function_cannot_change_what_it_is_given() -> None:
    v = tf.Variable(np.zeros(3))

    def spoil(a: np.ndarray) -> np.ndarray:
        a[:] = 9
        return a

    out = tf.py_func(spoil, [v], tf.float64)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        np.testing.assert_array_equal(sess.run(out), [9, 9, 9])
        np.testing.assert_array_equal(sess.run(v), [0, 0, 0])


def test_an_error_in_a_python_function_comes_through() -> None:
    def bad(x: float) -> float:
        raise KeyError("mine")

    with pytest.raises((KeyError, tf.errors.OpError), match="mine"):
        tf.Session().run(tf.py_func(bad, [1.0], tf.float32))


def test_assert_passes_when_it_holds() -> None:
    x = tf.placeholder(tf.float32, [])
    with tf.control_dependencies([tf.Assert(x > 0, [x])]):
        y = x * 2.0
    sess = tf.Session()
    assert sess.run(y, {x: 1.0}) == 2.0
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[-1\]"):
        sess.run(y, {x: -1.0})


def test_threads_that_share_a_session_count_exactly() -> None:
    v = tf.Variable(np.zeros(16, np.int64))
    up = v.assign_add(np.ones(16, np.int64))
    x = tf.placeholder(tf.float32, [None])
    y = tf.reduce_sum(tf.square(x))
    sess = tf.Session()
    sess.run(tf.global_variables_initializer())
    wrong: list[Any] = []

    def work(k: int) -> None:
        try:
            for i in range(50):
                got = sess.run(up)
                if len(set(got.tolist())) != 1:
                    wrong.append(got)
                n = (i + k) % 9
                if sess.run(y, {x: np.full(n, k, np.float32)}) != n * k * k:
                    wrong.append((n, k))
        except BaseException as e:
            wrong.append(e)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    np.testing.assert_array_equal(sess.run(v), np.full(16, 200))


def test_a_graph_that_grows_between_runs_is_warned_of_once() -> None:
    x = tf.placeholder(tf.float32, [])
    sess = tf.Session()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(40):
            sess.run(x + 1.0, {x: 1.0})  # the line
    assert len(caught) == 1
    text = str(caught[0].message)
    assert "test_effects.py" in text and "# the line" in text and "Add" in text
    assert not re.search(r"/staticgraph/", text)


def test_building_between_a_few_runs_is_not_warned_of() -> None:
    x = tf.placeholder(tf.float32, [])
    sess = tf.Session()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for k in range(4):
            y = x + float(k)
            for _ in range(20):
                sess.run(y, {x: 1.0})
