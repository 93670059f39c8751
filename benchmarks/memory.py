"""How much memory this process holds, and the most it has held."""

from __future__ import annotations

import os
import sys
import tracemalloc
from pathlib import Path

import numpy as np

_STATUS = Path("/proc/self/status")


def current() -> int:
    """Bytes resident now; where the system does not say, the most so far."""
    return _field("VmRSS") or peak()


def peak() -> int:
    """The most bytes that were resident, since `forget` where that works."""
    high = _field("VmHWM")
    if high:
        return high
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def children() -> int:
    """The most bytes that any ended child process held."""
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def forget() -> bool:
    """Let the peak start from what is resident now; False where the system cannot."""
    try:
        fd = os.open("/proc/self/clear_refs", os.O_WRONLY)
    except OSError:
        return False
    try:
        os.write(fd, b"5")
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


class Arrays:
    """Counts the bytes of numpy arrays that are allocated while it is open and not freed again.

    Only those that `package` makes count: not what a work itself feeds.
    """

    def __init__(self, package: str) -> None:
        self.package = package

    def __enter__(self) -> Arrays:
        tracemalloc.start()
        return self

    def __exit__(self, *error: object) -> None:
        tracemalloc.stop()

    def bytes(self) -> int:
        """So far."""
        kinds = (
            tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain),
            tracemalloc.Filter(True, f"*/{self.package}/*", domain=np.lib.tracemalloc_domain),
        )
        shot = tracemalloc.take_snapshot()
        return sum(t.size for t in shot.filter_traces(kinds[:1]).filter_traces(kinds[1:]).traces)


def _field(name: str) -> int:
    """A size in ``/proc/self/status``, which belongs to this program alone.

    ``ru_maxrss`` would not do: on Linux a child starts with the peak of the process it came from.
    """
    try:
        text = _STATUS.read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return 0
