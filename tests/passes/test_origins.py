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


def test_of_two_kernels_of_a_region_only_the_checking_one_can_fail() -> None:
    x, i = tf.placeholder(tf.float32, [9]), tf.placeholder(tf.int32, [None])
    program = tf.stages(tf.reduce_sum(tf.gather(x, i))).program
    assert program is not None
    launches = [s for s in program.steps if isinstance(s, Launch)]
    assert [bool(s.checks) for s in launches] == [True, False]
    assert [s.kernel.checks() > 0 for s in launches] == [True, False]
