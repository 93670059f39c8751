"""Which iteration is running: for what is printed inside loops.

Only operations of the host look at it, and a loop that holds one is run from Python, one body
after the other, so a list for each thread is enough.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Levels(threading.local):
    """The number of the iteration at each level of loops, the outermost first."""

    def __init__(self) -> None:
        self.numbers: list[int] = []


_LEVELS = _Levels()


@contextmanager
def counted() -> Iterator[list[int]]:
    """A further loop; the last number of the list is to be set to that of the iteration."""
    numbers = _LEVELS.numbers
    numbers.append(0)
    try:
        yield numbers
    finally:
        numbers.pop()


def prefix() -> str:
    """``[while iteration 3] ``, with a number for each level; nothing outside of loops."""
    numbers = ", ".join(map(str, _LEVELS.numbers))
    return f"[while iteration {numbers}] " if numbers else ""


__all__ = ["counted", "prefix"]
