"""What checkpoints are asked for: a gradient whose memory does not grow with all steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph as tf

STEPS, BATCH, UNITS = 1024, 4, 32


def train(checkpoint: Any, steps: int | None, reverse: bool) -> tuple[Any, list[Any]]:
    """A recurrent layer whose input is multiplied by weights: for all steps at once, unless asked
    not to."""
    xs = tf.placeholder(tf.float32, [steps, BATCH, UNITS])
    rng = np.random.default_rng(0)
    w, u = (
        tf.Variable((rng.normal(size=(UNITS, UNITS)) * 0.1).astype(np.float32)) for _ in range(2)
    )

    def step(h: Any, x: Any) -> Any:
        return tf.tanh(tf.matmul(x, w) + tf.matmul(h, u))

    fold = tf.foldr if reverse else tf.foldl
    h = fold(step, xs, tf.zeros([BATCH, UNITS]), checkpoint=checkpoint)
    loss = tf.reduce_sum(h * h)
    return xs, [loss, *tf.gradients(loss, [w, u])]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [STEPS, None])
@pytest.mark.parametrize("checkpoint", [32, "auto"])
def test_memory_is_that_of_a_segment(checkpoint: Any, steps: int | None, reverse: bool) -> None:
    value = np.random.default_rng(1).normal(size=(STEPS, BATCH, UNITS)).astype(np.float32)
    planned, results = [], []
    for asked in None, checkpoint:
        xs, fetches = train(asked, steps, reverse)
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            results.append(sess.run(fetches, {xs: value}))
            (exe,) = (e for e in sess.executables() if e.feeds)
            if exe.bound:
                plans = list(exe.plans.values())
            else:  # the root of a length that is fed is read in the run
                assert exe.stepwise is not None
                plans = [p for s in exe.stepwise.items for p in getattr(s, "plans", {}).values()]
            planned.append(sum(p.footprint.arena for p in plans))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    stored = STEPS * BATCH * UNITS * 4
    assert planned[0] >= 2 * stored
    assert planned[1] < stored // 4
