"""Memory that was freed goes back to the system before a run takes much of it.

What a program has freed, say the arrays that it fed as starting values, the C library keeps for
itself: it cannot know that what comes next needs other places.  A first run of many megabytes
would then stand beside memory that nobody uses.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

LARGE_RUN = 32 << 20  # bytes that a run needs for it to be worth some milliseconds, once


@cache
def _library() -> Any:
    """The C library's function, or None where there is none: it is glibc's."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None


def trim() -> None:
    """Give back what is free."""
    function = _library()
    if function is not None:
        function(ctypes.c_size_t(0))


__all__ = ["LARGE_RUN", "trim"]
