"""Sessions that run through Python, for comparison with native calls."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import staticgraph as tf


@pytest.fixture
def python_session(monkeypatch: pytest.MonkeyPatch) -> Callable[[], tf.Session]:
    """Makes sessions that run through Python."""

    def make() -> tf.Session:
        sess = tf.Session()
        monkeypatch.setattr(sess._quick, "_ready", lambda: False)
        return sess

    return make
