"""What was freed goes back to the system before the first large run of an executable."""

from __future__ import annotations

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.runtime import executable, trim


def test_only_before_the_first_plan_of_a_large_run(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(executable, "trim", lambda: calls.append(1))
    x = tf.placeholder(tf.float32, [None])
    y = tf.reduce_sum(tf.cumsum(x) * 2.0)
    z = tf.reduce_sum(x)
    n = trim.LARGE_RUN // 4
    with tf.Session() as sess:
        sess.run(z, {x: np.ones(10, "f4")})
        sess.run(y, {x: np.ones(n, "f4")})
        assert len(calls) == 1
        assert sess.executables()[-1].last is not None
        sess.run(y, {x: np.ones(n + 1, "f4")})  # another plan
        sess.run(z, {x: np.ones(n, "f4")})
        assert len(calls) == 1


def test_a_c_library_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    trim.trim()
    monkeypatch.setattr(trim, "_library", lambda: None)
    trim.trim()
