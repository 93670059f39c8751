"""When a step is shared between threads, and in what pieces: the thresholds, in one place.

Read on two cores (Zen 4, AVX-512): sharing costs 1 to 2 microseconds when the worker is awake and
some 10 to 50 when it has to be woken; a core moves about 20 bytes a nanosecond, and does an
addition of a vectorised float32 kernel in some 0.02 ns.
"""

from __future__ import annotations

from staticgraph.codegen.pool import (
    BLOCK_WORDS,
    POOL,
    default_threads,
    launch_address,
    worker_address,
)
from staticgraph.runtime.row import Row

SHARE_FROM = 1_000_000  # bytes of traffic, or what takes as long: some 50 microseconds
KEEP_LOCK = 200_000  # bytes: shorter runs keep Python's lock, which takes 0.1 us to give up and get
PIECES = 8  # chunks per thread, so that a slow thread does not hold up the rest
LANES = 64  # chunks are multiples of this where the axis is long: whole vectors and cache lines
UNITS = 32  # pieces that a product of matrices is divided into, if each is then of some size:
UNIT_FLOPS = 500_000  # some 5 microseconds


def bytes_like(cost: int) -> int:
    """Bytes of traffic that take as long as `cost` additions."""
    return cost * 2 // 5


def bytes_like_flops(flops: int, size: int) -> int:
    """Bytes of traffic that take as long as so much of a product of elements of `size` bytes."""
    return flops * size // 20


def threads_of(wanted: int) -> int:
    """The number of threads to use: what was asked for, or what the environment allows."""
    return wanted if wanted > 0 else default_threads()


def chunk(row: Row, threads: int) -> int:
    """Iterations per chunk, or 0 where the row is better done by one thread."""
    if threads < 2 or not row.splits or row.extent < 2 or row.work < SHARE_FROM:
        return 0
    size = -(-row.extent // (threads * PIECES))
    return -(-size // LANES) * LANES if size > 4 * LANES else size


__all__ = [
    "BLOCK_WORDS",
    "POOL",
    "UNITS",
    "UNIT_FLOPS",
    "bytes_like",
    "bytes_like_flops",
    "chunk",
    "launch_address",
    "threads_of",
    "worker_address",
]
