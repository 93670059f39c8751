"""When a step is shared between threads, and in what pieces: the thresholds, in one place.

Read on two cores (Zen 4, AVX-512): sharing costs 1 to 2 microseconds when the worker is awake and
some 10 to 50 when it has to be woken; a core moves about 20 bytes a nanosecond, and does an
addition of a vectorised float32 kernel in some 0.02 ns.
"""

from __future__ import annotations

from collections.abc import Sequence

from staticgraph.codegen.pool import (
    BLOCK_WORDS,
    MOST_THREADS,
    POOL,
    default_threads,
    launch_address,
    worker_address,
)
from staticgraph.runtime.row import Row

SHARE_FROM = 1_000_000  # bytes of traffic, or what takes as long: some 50 microseconds
SHARE_AWAKE = 200_000  # the same where the worker is awake: some 10 microseconds
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
    return min(wanted, MOST_THREADS) if wanted > 0 else default_threads()


def chunk(row: Row, threads: int, least: int = SHARE_FROM) -> int:
    """Iterations per chunk, or 0 where the row is better done by one thread."""
    if threads < 2 or not row.splits or row.extent < 2 or row.work < least:
        return 0
    size = -(-row.extent // (threads * PIECES))
    return -(-size // LANES) * LANES if size > 4 * LANES else size


def chunks(rows: Sequence[Row], threads: int, repeated: bool) -> list[int]:
    """The same for rows that run one after the other, and `repeated` over and over.

    Whoever has just shared a row finds the worker awake: it looks for work for as long as
    `SHARE_FROM` before it goes to sleep.
    """
    out = [chunk(r, threads) for r in rows]
    if not any(out):
        return out
    alone = SHARE_FROM  # what has been done by one thread since
    if repeated:
        last = max(k for k, size in enumerate(out) if size)
        alone = sum(r.work for r in rows[last + 1 :])
    for k, r in enumerate(rows):
        if not out[k] and alone < SHARE_FROM // 2:
            out[k] = chunk(r, threads, SHARE_AWAKE)
        alone = 0 if out[k] else alone + r.work
    return out


__all__ = [
    "BLOCK_WORDS",
    "POOL",
    "UNITS",
    "UNIT_FLOPS",
    "bytes_like",
    "bytes_like_flops",
    "chunk",
    "chunks",
    "launch_address",
    "threads_of",
    "worker_address",
]
