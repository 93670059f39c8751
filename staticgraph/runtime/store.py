"""The state of a session: values of variables and counters of random operations.

An array stays at its address as long as its shape stays, because plans hold addresses.  State
changes in `commit` only, after everything that can fail has passed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from staticgraph.errors import ResourceExhaustedError
from staticgraph.ir.arrays import (
    ALIGNMENT,
    address,
    aligned_copy,
    aligned_empty,
    carved,
    owner,
    room,
    taken,
    up,
)

_MASK = 2**64 - 1
LARGE = 1 << 16  # bytes from which on it is worth to look whether a value is nothing but zeros
BLOCK = 1 << 20  # bytes of new variables that are worth a block of memory for all of them
MAPPED = 1 << 25  # bytes of an array that has pages of its own in any case
_FIRST = 1 << 12  # bytes that are looked at before all others
Kind = tuple[tuple[int, ...], np.dtype[Any]]


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

    Large variables that one run makes share a block of memory.  It stays until the last of them
    is gone: one that is given another shape gets an array of its own, and its place in the block
    is not used again.
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
        """Assign a variable: in place where shape and dtype stay.

        Raises:
          ResourceExhaustedError: there is no memory for it; nothing has changed.
        """
        self.apply([(name, value)], ())

    def apply(
        self, values: Iterable[tuple[str, np.ndarray]], counters: Iterable[tuple[str, int]],
        places: Mapping[str, np.ndarray] | None = None,
    ) -> None:  # fmt: skip
        """Assign several variables and counters; an interrupt comes before or after them all.

        A value that lies in the array of a variable is the one that is there before.

        Args:
          places: what `reserve` gave for these values.

        Raises:
          ResourceExhaustedError: there is no memory for a variable; nothing has changed.
        """
        values, counters = list(values), list(counters)
        made = {**self.reserve(values), **places} if places else self.reserve(values)
        try:
            kept = self._kept([(n, v) for n, v in values if n not in made])
        except MemoryError:
            raise _exhausted({n: (v.shape, v.dtype) for n, v in values}) from None
        for name, value in values:
            if name in made:
                _fill(made[name], value)
        try:
            self._assign(kept, made, counters)
        except KeyboardInterrupt:
            self._assign(kept, made, counters)  # to assign again does no harm
            raise

    def reserve(self, values: Iterable[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Arrays for those variables that cannot be assigned in place; they are not filled yet.

        Raises:
          ResourceExhaustedError: there is no memory for them.
        """
        new = {n: (v.shape, v.dtype) for n, v in values if not self._stays(n, v)}
        try:
            return dict(zip(new, fresh(list(new.values())), strict=True)) if new else {}
        except MemoryError:
            raise _exhausted(new) from None

    def _stays(self, name: str, value: np.ndarray) -> bool:
        have = self.arrays.get(name)
        return have is not None and have.shape == value.shape and have.dtype == value.dtype

    def _kept(self, values: list[tuple[str, np.ndarray]]) -> list[tuple[str, np.ndarray]]:
        """What is assigned in place, with copies of values that lie where others are written."""
        if not values:
            return values
        written = {id(owner(self.arrays[name])) for name, _ in values}
        return [
            (n, v.copy() if v is not self.arrays[n] and id(owner(v)) in written else v)
            for n, v in values
        ]

    def _assign(
        self, kept: Sequence[tuple[str, np.ndarray]], made: Mapping[str, np.ndarray],
        counters: Sequence[tuple[str, int]],
    ) -> None:  # fmt: skip
        for name, value in kept:
            have = self.arrays[name]
            if have is not value:
                np.copyto(have, value)
        if made:
            self.arrays.update(made)
            self.generation += 1
            self.mark[0] = self.generation
        for name, position in counters:
            self.counters[name] = position

    @property
    def nbytes(self) -> int:
        """Bytes of all variables."""
        return sum(a.nbytes for a in self.arrays.values())

    def taken(self, name: str) -> int:
        """Bytes that a variable takes, of a block what is its own; 0 before it has a value."""
        a = self.arrays.get(name)
        if a is None:
            return 0
        whole = taken(a.shape, a.dtype)
        return whole if owner(a).nbytes <= whole else up(a.nbytes)

    @property
    def held(self) -> int:
        """Bytes of the memory that they take, in which a block counts as a whole."""
        return sum({id(o): o.nbytes for o in map(owner, self.arrays.values())}.values())


def fresh(kinds: Sequence[Kind]) -> list[np.ndarray]:
    """Arrays for new variables, where kernels can read them; those of `LARGE` bytes hold zeros.

    Each array of its own would lie between what the run was fed, which then could not go back to
    the system: a block does, and zeros take no memory before somebody writes to them.  An array
    that is `MAPPED` alone needs no block for that.
    """
    sizes = [math.prod(shape) * dtype.itemsize for shape, dtype in kinds]
    together = [
        i for i, ((_, dtype), n) in enumerate(zip(kinds, sizes, strict=True))
        if LARGE <= n < MAPPED and dtype != object
    ]  # fmt: skip
    total = sum(up(sizes[i]) for i in together)
    made: dict[int, np.ndarray] = {}
    if len(together) > 1 and total >= BLOCK:
        raw = np.zeros(total + ALIGNMENT, np.uint8)
        at = -address(raw) % ALIGNMENT
        for i in together:
            made[i] = carved(raw, at, *kinds[i])  # which is not empty, so there is room
            at += up(sizes[i])
    return [
        made[i] if i in made else aligned_empty(*kind, zeros=sizes[i] >= LARGE)
        for i, kind in enumerate(kinds)
    ]


def _fill(place: np.ndarray, value: np.ndarray) -> None:
    """Write a value into an array of `fresh`: nothing, if it is there already."""
    if value.nbytes < LARGE or not is_zero(value):
        np.copyto(place, value)


def is_zero(value: np.ndarray) -> bool:
    """True where every bit is 0, which those of -0.0 are not.

    False, too, of what does not lie in one piece: it would take a copy to look at it.
    """
    if value.dtype == object or not value.flags.forc:
        return False
    data = value.reshape(-1, order="A").view(np.uint8)
    return not (data[:_FIRST].any() or data.max(initial=0))


def _exhausted(kinds: Mapping[str, Kind]) -> ResourceExhaustedError:
    names = list(kinds)
    who = f"the variable {names[0]!r} needs"
    if len(names) > 1:
        who = f"{len(names)} variables, {names[0]!r} among them, need"
    needed = sum(taken(*kind) for kind in kinds.values())
    return ResourceExhaustedError(f"{who} {needed:,} bytes, which cannot be had")


def ready(value: np.ndarray) -> bool:
    """True where kernels can read an array as it lies.

    False of short ones, wherever they lie: how much memory a program takes is not left to chance.
    """
    if not value.flags.c_contiguous or value.nbytes <= ALIGNMENT:
        return False
    return address(value) % (16 if value.nbytes > LARGE else ALIGNMENT) == 0


def aligned(value: np.ndarray) -> np.ndarray:
    """The array itself where kernels can read it as it lies, else a copy."""
    return value if ready(value) else aligned_copy(value)


__all__ = [
    "BLOCK", "LARGE", "MAPPED", "Counters", "Store", "address", "aligned", "aligned_copy",
    "aligned_empty", "fresh", "is_zero", "ready", "room",
]  # fmt: skip
