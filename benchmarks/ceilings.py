"""What the machine can do at best: copies of several sizes, and a large product of matrices.

Written as a work with one implementation, so that it is measured in a process like those of works.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.case import Case, Params

# KiB of the array that is copied.  Where an array leaves the last cache the rate falls by a factor
# of three within two octaves: from 4 MiB on there are four sizes an octave, so that a work is held
# against a copy of its own size, within a tenth.
KIB = [64, 256, 1024, 2048, *(round(2 ** (k / 4)) for k in range(48, 73))]
VARIANTS: dict[str, dict[str, Any]] = {
    "all": {"kib": KIB, "gemm": 2048, "quick": {"kib": [64, 1024, 16384], "gemm": 1024}},
}
ROUNDS = 8
SHORTEST = 2e-3  # seconds that one look at a small size lasts


def floor(p: Params) -> Case:
    """The faster of numpy's copy and a parallel Numba loop; numpy's matmul."""
    from numba import njit, prange

    @njit(parallel=True)
    def copy(x: Any, y: Any) -> None:
        for i in prange(x.size):
            y[i] = x[i]

    source = np.ones(max(p.kib) * 256, np.float32)
    target = np.zeros_like(source)
    rng = np.random.RandomState(0)
    a, b = (rng.rand(p.gemm, p.gemm).astype(np.float32) for _ in range(2))
    out = np.empty_like(a)
    copies: dict[str, float] = {}
    rate = 0.0

    def step() -> float:
        nonlocal rate
        start = time.perf_counter()
        for kib in p.kib:
            x, y = source[: kib * 256], target[: kib * 256]
            best = min(
                _seconds(lambda x=x, y=y: np.copyto(y, x)), _seconds(lambda x=x, y=y: copy(x, y))
            )
            moved = 2 * x.nbytes
            copies[str(moved)] = max(copies.get(str(moved), 0.0), moved / best)
        rate = max(rate, 2.0 * p.gemm**3 / _seconds(lambda: np.matmul(a, b, out=out)))
        return time.perf_counter() - start

    copy(source, target)
    return Case(step, facts=lambda: {"copies": copies, "gemm": rate}, timed=True)


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    once = time.perf_counter() - start
    calls = max(1, int(SHORTEST / max(once, 1e-7)))
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls
