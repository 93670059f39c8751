"""Optimizers and look-ups: rows that no index named keep their values and their slots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.api.looked_up import marks_of, rows_of

BY_ROWS: dict[str, Callable[[], Any]] = {
    "momentum": lambda: tf.train.MomentumOptimizer(0.1, 0.9),
    "nesterov": lambda: tf.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
    "rms": lambda: tf.train.RMSPropOptimizer(0.1, momentum=0.5),
    "centered": lambda: tf.train.RMSPropOptimizer(0.1, centered=True),
    "adadelta": lambda: tf.train.AdadeltaOptimizer(1.0),
    "ftrl": lambda: tf.train.FtrlOptimizer(0.1, l1_regularization_strength=0.01),
    "proximal": lambda: tf.train.ProximalGradientDescentOptimizer(0.1, 0.1, 0.1),
    "proximal_adagrad": lambda: tf.train.ProximalAdagradOptimizer(0.1, 0.1, 0.1, 0.1),
}
TABLE = np.arange(1.0, 11.0, dtype=np.float32).reshape(5, 2) / 10.0


@pytest.mark.parametrize("name", BY_ROWS)
def test_named_rows_move_as_if_they_were_alone(name: str) -> None:
    i = tf.placeholder(tf.int32, [None])
    table, few = tf.Variable(TABLE), tf.Variable(TABLE[[1, 3]])
    optimizer, reference = BY_ROWS[name](), BY_ROWS[name]()
    rows = tf.nn.embedding_lookup(table, i)
    step = optimizer.minimize(tf.reduce_sum(tf.square(rows)))
    # 3 is named twice, so its row counts twice
    alone = reference.minimize(tf.reduce_sum(tf.square(few) * [[1.0], [2.0]]))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        slots = [optimizer.get_slot(table, s) for s in optimizer.get_slot_names()]
        parts = [reference.get_slot(few, s) for s in reference.get_slot_names()]
        before = sess.run([table, *slots])
        for _ in range(3):
            sess.run(step, {i: [3, 1, 3]})
            sess.run(alone)
        after, alike = sess.run([table, *slots]), sess.run([few, *parts])
        for old, have, want in zip(before, after, alike, strict=True):
            np.testing.assert_allclose(have[[1, 3]], want, rtol=1e-5)
            np.testing.assert_array_equal(have[[0, 2, 4]], old[[0, 2, 4]])
            assert not np.array_equal(have, old)


def test_the_decay_of_adam_goes_on_for_all_rows_as_in_tensorflow() -> None:
    i = tf.placeholder(tf.int32, [None])
    table = tf.Variable(TABLE)
    step = tf.train.AdamOptimizer(0.1).minimize(tf.reduce_sum(tf.gather(table, i)))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(step, {i: [0]})
        one = sess.run(table)
        sess.run(step, {i: [1]})
        two = sess.run(table)
    assert (two[0] < one[0]).all()
    np.testing.assert_array_equal(two[2:], TABLE[2:])


def marked(make: Callable[[Any, Any], Any]) -> list[int] | None:
    """The rows that the gradient of what `make` builds of a table and indices is about.

    Its slices there, and zeros elsewhere, have to be that gradient.
    """
    table, i = tf.Variable(TABLE), tf.placeholder(tf.int32, [None])
    grad = make(table, i)
    named = rows_of(grad)
    if named is None:
        return None
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        rows, slices, whole = sess.run([named.rows, named.grad, grad], {i: [3, 1]})
    known = rows >= 0
    assert not slices[~known].any()
    expanded = np.zeros_like(whole)
    expanded[rows[known]] = slices[known]
    np.testing.assert_allclose(expanded, whole, rtol=1e-6)
    return list(rows)


def gradient(y: Any, x: Any) -> Any:
    return tf.gradients(tf.square(y), x)[0]


ROWS: dict[str, tuple[Callable[[Any, Any], Any], list[int] | None]] = {
    "look-up": (lambda t, i: gradient(tf.gather(t, i), t), [3, 1]),
    "of a matrix": (
        lambda t, i: gradient(tf.gather(t, [i, i + 1]), t), [3, 1, 4, 2],
    ),
    "of two": (
        lambda t, i: gradient(tf.gather(t, i) + tf.gather(t, tf.cast(i - 1, tf.int64)), t),
        [2, 0, 3, 1],
    ),
    "clipped together": (
        lambda t, i: tf.clip_by_global_norm([gradient(tf.gather(t, i), t)], 0.1)[0][0],
        [3, 1],
    ),
    "clipped alone": (
        lambda t, i: tf.clip_by_norm(gradient(tf.gather(t, i), t), 0.1),
        [3, 1],
    ),
    "with a penalty": (
        lambda t, i: gradient(tf.reduce_sum(tf.gather(t, i)) + tf.nn.l2_loss(t), t), None,
    ),
    "of columns": (lambda t, i: gradient(tf.gather(t, i // 2, axis=1), t), None),
    "clipped by value": (
        lambda t, i: tf.clip_by_value(gradient(tf.gather(t, i), t), -0.1, 0.1), None,
    ),
    "scaled by element": (lambda t, i: gradient(tf.gather(t, i), t) * TABLE, None),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_what_is_about_some_rows(name: str) -> None:
    make, want = ROWS[name]
    assert marked(make) == want


def test_a_penalty_makes_all_rows_move() -> None:
    table = tf.Variable(TABLE)
    loss = tf.reduce_sum(tf.gather(table, [0])) + tf.nn.l2_loss(table)
    step = tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(step)
        assert (sess.run(table) < TABLE).all()


def test_a_table_is_gone_through_whole_where_many_ids_are_known_to_come() -> None:
    table = tf.Variable(tf.zeros([6, 2]))
    for count, few in ((2, True), (3, False), (None, True)):
        ids = tf.placeholder(tf.int32, [count])
        grad = gradient(tf.gather(table, ids), table)
        assert (rows_of(grad) is not None) is few
        assert marks_of(grad) is not None
