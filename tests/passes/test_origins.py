"""What steps say of the operations they compute: names and lines, those of inlined ones too."""

from __future__ import annotations

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.ir.program import Launch


def test_a_failed_check_names_its_own_operation_wherever_it_was_inlined() -> None:
    table, i, j = tf.placeholder(tf.float32, [5]), *(tf.placeholder(tf.int32, [None]) for _ in "ij")
    first = tf.gather(table, i, name="first") * 2.0
    second = tf.gather(table, j, name="second")
    y = tf.tanh(first + second)
    with tf.Session() as sess:
        feed = {table: np.ones(5), i: [1, 2], j: [0, 4]}
        assert sess.run(y, feed).shape == (2,)
        for t, name in ((i, "first"), (j, "second")):
            with pytest.raises(tf.errors.InvalidArgumentError) as e:
                sess.run(y, feed | {t: [1, 7]})
            assert "index 7 is outside [0, 5)" in str(e.value)
            assert f'name="{name}"' in str(e.value)


def test_a_kernel_lists_every_operation_in_order() -> None:
    x = tf.placeholder(tf.float32, [None], name="x")
    program = tf.stages(tf.sqrt(tf.abs(x) * 2.0 + 1.0)).program
    assert program is not None
    (step,) = program.steps
    assert [o.op for o in step.origins] == ["Abs", "Mul", "Add", "Sqrt"]
    assert all("test_origins.py" in o.loc.short() for o in step.origins)


def checking(fetches: object) -> list[bool]:
    """Whether the steps of the program that computes `fetches` may refuse an index."""
    program = tf.stages(fetches).program
    assert program is not None
    launches = [s for s in program.steps if isinstance(s, Launch)]
    assert [bool(s.checks) for s in launches] == [s.kernel.checks() > 0 for s in launches]
    assert all(not s.writes for s in launches if len(s.checks) == 1 and "flat" in str(s.kernel))
    return [bool(s.checks) for s in launches]


def test_indices_that_are_known_are_checked_before_the_kernels_that_use_them() -> None:
    x, i = tf.placeholder(tf.float32, [9]), tf.placeholder(tf.int32, [None])
    assert checking(tf.reduce_sum(tf.gather(x, i))) == [True, False, False]


def test_one_check_serves_all_who_use_an_index() -> None:
    x, i = tf.placeholder(tf.float32, [9]), tf.placeholder(tf.int32, [7])
    y = tf.tanh(tf.gather(x, i))
    assert checking([y, tf.reduce_sum(tf.gather(tf.exp(x), i))]).count(True) == 1


def test_an_index_of_an_index_is_checked_after_it() -> None:
    x, i = tf.placeholder(tf.float32, [9]), tf.placeholder(tf.int32, [3])
    j = tf.placeholder(tf.int32, [None], name="j")
    y = tf.gather(x, tf.gather(i, j, name="inner"), name="outer") + 1.0
    assert checking(y) == [True, True, False]
    with tf.Session() as sess:
        feed = {x: np.arange(9.0), i: [8, 0, 9], j: [1, 0]}
        np.testing.assert_array_equal(sess.run(y, feed), [1, 9])
        for bad, name, text in (([3], "inner", "3 is outside [0, 3)"),
                                ([2], "outer", "9 is outside [0, 9)")):  # fmt: skip
            with pytest.raises(tf.errors.InvalidArgumentError) as e:
                sess.run(y, feed | {j: bad})
            assert text in str(e.value) and f'name="{name}"' in str(e.value)


def test_an_index_from_an_earlier_kernel_is_checked_after_that_kernel() -> None:
    x, table = tf.placeholder(tf.float32, [4, 6]), tf.placeholder(tf.float32, [5, 2])
    y = tf.gather(table, tf.argmax(x, axis=1))
    assert checking(y) == [False, True, False]
    with tf.Session() as sess:
        values = np.eye(4, 6)
        feed = {x: values, table: np.arange(10.0).reshape(5, 2)}
        np.testing.assert_array_equal(sess.run(y, feed), np.arange(8.0).reshape(4, 2))
        values[2, 5] = 2.0
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"5 is outside \[0, 5\)"):
            sess.run(y, feed)


def test_an_assertion_speaks_before_the_check_that_it_guards() -> None:
    x, i = tf.placeholder(tf.float32, [9, 3]), tf.placeholder(tf.int32, [2])
    with tf.control_dependencies([tf.assert_less(i, 9, message="too far")]):
        y = tf.gather(x, i) * 2.0
    with tf.Session() as sess:
        with pytest.raises(tf.errors.InvalidArgumentError, match="too far"):
            sess.run(y, {x: np.ones((9, 3)), i: [0, 9]})
        with pytest.raises(tf.errors.InvalidArgumentError, match="-1 is outside"):
            sess.run(y, {x: np.ones((9, 3)), i: [0, -1]})
