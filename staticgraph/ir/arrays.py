"""Arrays where kernels can read them: row-major, at the boundary of a cache line, with `room`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

ALIGNMENT = 64  # bytes: a cache line, and the widest vector


def room(shape: Sequence[int]) -> int:
    """Elements to have room for: kernels clamp indices to 0 and load, even from empty arrays."""
    return math.prod(max(d, 1) for d in shape)


def up(n: int) -> int:
    """The next multiple of `ALIGNMENT`."""
    return -(-n // ALIGNMENT) * ALIGNMENT


def taken(shape: Sequence[int], dtype: np.dtype) -> int:
    """Bytes that an array of `aligned_empty` takes."""
    return room(shape) * dtype.itemsize + (0 if dtype == object else ALIGNMENT)


def aligned_empty(
    shape: tuple[int, ...], dtype: np.dtype, zeros: bool = False
) -> np.ndarray:  # fmt: skip
    """A row-major array at a 64-byte boundary, with `room` for its shape.

    Args:
      zeros: every bit is 0, in memory that need not be there before somebody writes to it;
        otherwise there are no values yet.

    >>> a = aligned_empty((2, 3), np.dtype("float32"), zeros=True)
    >>> a.tolist(), address(a) % 64
    ([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], 0)
    """
    if dtype == object:
        return np.empty(shape, dtype)
    raw = (np.zeros if zeros else np.empty)(taken(shape, dtype), np.uint8)
    return carved(raw, -address(raw) % ALIGNMENT, shape, dtype)


def carved(raw: np.ndarray, at: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The array that begins so many bytes behind the start of `raw`, which it keeps alive."""
    return np.ndarray(shape, dtype, raw, at)


def aligned_copy(value: np.ndarray) -> np.ndarray:
    """A row-major copy at a 64-byte boundary."""
    out = aligned_empty(value.shape, value.dtype)
    np.copyto(out, value)
    return out


def address(a: np.ndarray) -> int:
    """The address of an array's first element."""
    return int(a.__array_interface__["data"][0])


def owner(a: np.ndarray) -> np.ndarray:
    """The array whose memory it is that `a` lies in."""
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a


__all__ = [
    "ALIGNMENT", "address", "aligned_copy", "aligned_empty", "carved", "owner", "room", "taken",
    "up",
]  # fmt: skip
