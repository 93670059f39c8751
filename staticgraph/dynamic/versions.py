"""Versions: how often the memory of a tensor was changed in place."""

from __future__ import annotations

from typing import Any, Final

from staticgraph.ir import loc

Version = list[Any]
"""``[number of changes, where the last one was made]``, shared by all views of the memory."""

FROZEN: Final[Version] = [0, None]
"""The version of an array that nobody can change: a number in an expression."""


def bump(version: Version) -> None:
    """Note that the memory has changed."""
    version[0] += 1
    version[1] = loc.mark()
