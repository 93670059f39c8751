"""Small kernels, and a way to call native functions in tests."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import staticgraph

ROOT = Path(staticgraph.__file__).parents[1]


def scale(factor: float) -> str:
    """Source of a kernel that multiplies float32 by a factor; each factor is another kernel."""
    return (
        "def kernel(args, lo, hi):\n"
        "    a0 = ptr_f32(args[0])\n"
        "    a1 = ptr_f32(args[1])\n"
        "    for p in range(lo, hi):\n"
        f"        a1[p] = a0[p] * np.float32({factor!r})\n"
        "    return 0\n"
    )


def arguments(*values: Any) -> Any:
    """An argument block: the addresses of arrays, and ints as they are."""
    words = [v.ctypes.data if isinstance(v, np.ndarray) else int(v) for v in values]
    return np.array(words, np.int64)


def call(address: int, args: Any, lo: int, hi: int) -> int:
    """Call a kernel."""
    word = ctypes.c_int64
    function = ctypes.CFUNCTYPE(word, word, word, word)(address)
    return int(function(args.ctypes.data, lo, hi))


def scales(address: int, factor: float) -> bool:
    """Whether the function at an address is `scale` of a factor."""
    x = np.linspace(-3, 3, 37, dtype=np.float32)
    y = np.zeros_like(x)
    status = call(address, arguments(x, y), 1, 36)
    expected = x * np.float32(factor)
    expected[[0, 36]] = 0
    return status == 0 and bool(np.array_equal(y, expected))


def python(code: str, *args: str, cache: Path | str, **env: str) -> subprocess.Popen[str]:
    """Start Python on a piece of code, with a kernel cache."""
    full = {**os.environ, "PYTHONPATH": str(ROOT), "STATICGRAPH_CACHE": str(cache), **env}
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        env=full,
        cwd=str(ROOT),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a process, which has to succeed, and return what it printed."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.strip()
