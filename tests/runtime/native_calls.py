"""What the tests of native calls share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from staticgraph.runtime.executable import Executable


@contextmanager
def no_python() -> Iterator[None]:
    """Runs that go through Python fail meanwhile."""
    kept = {name: getattr(Executable, name) for name in ("again", "run")}

    def refuse(*_: Any) -> None:
        raise AssertionError("the run went through Python")

    for name in kept:
        setattr(Executable, name, refuse)
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(Executable, name, function)


def outcome(call: Callable[..., Any], *values: Any) -> Any:
    """What a call gives, in a form that compares every bit, or how it fails."""
    try:
        return seen(call(*values))
    except Exception as e:
        return type(e), str(e).split("\n")[0]


def seen(x: Any) -> Any:
    if isinstance(x, (list, tuple)):
        return (type(x), *map(seen, x))
    if isinstance(x, dict):
        return (dict, *((k, seen(v)) for k, v in x.items()))
    if x is None:
        return None
    return type(x), x.dtype.str, x.shape, np.asarray(x).tobytes()
