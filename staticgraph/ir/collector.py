"""Python's cycle collector, paused while much is made that lasts.

A compilation makes millions of small objects that stay for its whole length.  The collector looks
through all that is there again and again as they grow in number, finds nothing, and takes a third
of the time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Pause the collector, unless somebody has done so already; also a decorator.

    >>> import gc
    >>> with without_collection():
    ...     gc.isenabled()
    False
    >>> gc.isenabled()
    True
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # else the user's own frozen objects would thaw
            gc.freeze()
            gc.unfreeze()  # what was made counts as old: the next collection leaves it alone
        gc.enable()


__all__ = ["without_collection"]
