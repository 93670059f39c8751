"""The state of a session: values of variables and counters of random operations.

An array stays at its address as long as its shape stays, because plans hold addresses.  State
changes in `commit` only, after everything that can fail has passed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from staticgraph.passes.memory import room

_MASK = 2**64 - 1
LARGE = 1 << 16  # bytes: smaller arrays are copied to the boundary of a cache line


class Counters(Mapping[str, int]):
    """Positions of random streams, numbers of 128 bits, in words that keep their addresses."""

    def __init__(self) -> None:
        self._words: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> int:
        low, high = self._words[name].tolist()
        return int(low | high << 64)

    def __setitem__(self, name: str, position: int) -> None:
        self.words(name)[:] = position & _MASK, position >> 64 & _MASK

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __len__(self) -> int:
        return len(self._words)

    def words(self, name: str) -> np.ndarray:
        """The low and the high word of a position, which is 0 if it was not known."""
        return self._words.setdefault(name, np.zeros(2, np.uint64))


class Store:
    """Values by variable name.

    `generation` grows when an address changes, so that plans know they are stale; `mark` is an
    array that holds it, for native code.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.counters = Counters()
        self.generation = 0
        self.mark = np.zeros(1, np.int64)

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def get(self, name: str) -> np.ndarray | None:
        """The array of a variable, or None before its first assignment."""
        return self.arrays.get(name)

    def rank(self, name: str) -> int | None:
        """The rank of what a variable holds, or None before its first assignment."""
        held = self.arrays.get(name)
        return None if held is None else held.ndim

    def put(self, name: str, value: np.ndarray) -> None:
        """Assign a variable: in place where shape and dtype stay."""
        have = self.arrays.get(name)
        if have is not None and have.shape == value.shape and have.dtype == value.dtype:
            if have is not value:
                np.copyto(have, value)
            return
        self.arrays[name] = aligned_copy(value)
        self.generation += 1
        self.mark[0] = self.generation

    def apply(
        self, values: Iterable[tuple[str, np.ndarray]], counters: Iterable[tuple[str, int]]
    ) -> None:
        """Assign several variables and counters; an interrupt comes before or after them all."""
        try:
            self._apply(values, counters)
        except KeyboardInterrupt:
            self._apply(values, counters)  # to assign again does no harm
            raise

    def _apply(
        self, values: Iterable[tuple[str, np.ndarray]], counters: Iterable[tuple[str, int]]
    ) -> None:
        for name, value in values:
            self.put(name, value)
        for name, position in counters:
            self.counters[name] = position

    @property
    def nbytes(self) -> int:
        """Bytes of all variables."""
        return sum(a.nbytes for a in self.arrays.values())


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised row-major array at a 64-byte boundary, with `room` for its shape."""
    if dtype == object:
        return np.empty(shape, dtype)
    n = math.prod(shape) * dtype.itemsize
    raw = np.empty(room(shape) * dtype.itemsize + 64, np.uint8)
    start = -raw.__array_interface__["data"][0] % 64
    return raw[start : start + n].view(dtype).reshape(shape)


def aligned_copy(value: np.ndarray) -> np.ndarray:
    """A row-major copy at a 64-byte boundary."""
    out = aligned_empty(value.shape, value.dtype)
    np.copyto(out, value)
    return out


def aligned(value: np.ndarray) -> np.ndarray:
    """The array itself where kernels can read it as it lies, else a copy."""
    if value.nbytes > LARGE and value.flags.c_contiguous and address(value) % 16 == 0:
        return value
    return aligned_copy(value)


def address(a: np.ndarray) -> int:
    """The address of an array's first element."""
    return int(a.__array_interface__["data"][0])
