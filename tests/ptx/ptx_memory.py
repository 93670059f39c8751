"""The memory of a launch: one bounded region per array, and who touched what since which barrier.

Every array argument is a region of its own, far from the others, so that an address outside it can
never land in a neighbour. Shared memory is one region per block and starts as NaN bytes, so that
reading what nobody wrote shows in the results.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .ptx_arithmetic import DTYPES
from .ptx_parser import PtxError

Array = Any

REGION_BITS = (
    40  # one terabyte a region; arrays start in its middle, so negative offsets are caught
)
HALF = 1 << (REGION_BITS - 1)
SHARED_WINDOW, LOCAL_WINDOW = 1 << 32, 2 << 32  # where generic addresses show the other spaces
NOBODY, SEVERAL = -1, -2


class OutOfBoundsError(PtxError):
    """An access outside the array, shared or local memory that it starts from."""


class MisalignedError(PtxError):
    """An address that is not a multiple of the size of the access."""


class RaceError(PtxError):
    """Two threads touch the same memory, one of them writing, with nothing to order them."""


class ReadOnlyError(PtxError):
    """A store to an array that is read-only, or that the kernel reads through ``ld.global.nc``."""


@dataclass
class Threads:
    """Where each thread of the launch sits, and how many barriers lie behind it."""

    block: Array
    warp: Array
    barriers: Array  # per block
    warp_barriers: Array  # per warp

    def name(self, thread: int) -> str:
        """How errors call a thread."""
        first = int(np.argmax(self.block == self.block[thread]))
        return f"thread {thread - first} of block {int(self.block[thread])}"


class Accesses:
    """Last writer and readers of every granule of a memory, for finding races.

    Two accesses are ordered when their threads are of one block with a barrier of the block
    between them, or of one warp with a barrier of the warp between them.
    """

    def __init__(self, size: int, threads: Threads) -> None:
        self.threads = threads
        count = size + 1
        self.writer = np.full(count, NOBODY)
        self.write_atomic = np.zeros(count, bool)
        self.reader = np.full(count, NOBODY)  # a thread, or SEVERAL
        self.read_warp = np.full(count, NOBODY)
        self.read_block = np.full(count, NOBODY)
        self.write_epoch = np.zeros((2, count), np.int64)  # barriers of the block, of the warp
        self.read_epoch = np.zeros((2, count), np.int64)

    def _epochs(self, who: Array) -> Array:
        t = self.threads
        return np.stack([t.barriers[t.block[who]], t.warp_barriers[t.warp[who]]])

    def _check_writer(self, at: Array, who: Array, now: Array, atomic: bool, kind: str) -> None:
        last = self.writer[at]
        open_ = (last != NOBODY) & (last != who)
        if atomic:
            open_ &= ~self.write_atomic[at]
        if not open_.any():
            return
        t = self.threads
        same_block = t.block[last] == t.block[who]
        same_warp = t.warp[last] == t.warp[who]
        epoch = self.write_epoch[:, at]
        ordered = same_block & (epoch[0] < now[0]) | same_warp & (epoch[1] < now[1])
        self._raise(open_ & ~ordered, last, who, f"written, then {kind},", at)

    def _raise(self, bad: Array, first: Array, second: Array, what: str, at: Array) -> None:
        if bad.any():
            i = int(np.argmax(bad))
            t, one = self.threads, int(first[i])
            other = "several threads" if one == SEVERAL else t.name(one)
            raise RaceError(
                f"race: offset {int(at[i])}: {what} without a barrier between: "
                f"{other}, then {t.name(int(second[i]))}"
            )

    def read(self, at: Array, who: Array) -> None:
        """Threads ``who`` read the granules ``at``."""
        now = self._epochs(who)
        self._check_writer(at, who, now, False, "read")
        t = self.threads
        block, warp = t.block[who], t.warp[who]
        old = self.reader[at]
        stale = (self.read_block[at] == block) & (self.read_epoch[0, at] < now[0])
        keep = (old != NOBODY) & ~stale
        for table, mine in (
            (self.reader, who),
            (self.read_warp, warp),
            (self.read_block, block),
        ):
            before = table[at]
            table[at] = mine
            mixed = (table[at] != mine) | (keep & (before != mine))
            table[at[mixed]] = SEVERAL
        self.read_epoch[:, at] = now

    def write(self, at: Array, who: Array, atomic: bool = False) -> None:
        """Threads ``who`` write the granules ``at``."""
        now = self._epochs(who)
        self._check_writer(at, who, now, atomic, "written")
        last = self.reader[at]
        open_ = (last != NOBODY) & (last != who)
        if open_.any():
            t = self.threads
            epoch = self.read_epoch[:, at]
            ordered = (self.read_block[at] == t.block[who]) & (epoch[0] < now[0])
            ordered |= (self.read_warp[at] == t.warp[who]) & (epoch[1] < now[1])
            self._raise(open_ & ~ordered, last, who, "read, then written,", at)
        self.writer[at] = who
        if not atomic:
            self._raise(self.writer[at] != who, self.writer[at], who, "written twice at once,", at)
        self.write_atomic[at] = atomic
        self.write_epoch[:, at] = now


class Region:
    """Some bytes with bounds; ``copies`` of them when each block or thread has its own."""

    def __init__(self, name: str, data: Array, size: int, stride: int = 0) -> None:
        self.name = name
        self.data = data  # uint8, a view of the argument
        self.size = size
        self.stride = stride
        self.accesses: Accesses | None = None
        self.granule = 1
        self.read_through_cache = False
        self.written = False
        self.read_only = False

    def watch(self, threads: Threads, granule: int) -> None:
        """Look for races from now on, in units of ``granule`` bytes."""
        self.granule = granule
        self.accesses = Accesses(len(self.data) // granule + 1, threads)

    def locate(
        self, offset: Array, owner: Array, width: int, who: Array, threads: Threads
    ) -> Array:
        """Check one access of ``width`` bytes per thread; the byte positions in ``data``."""
        bad = (offset < 0) | (offset + width > self.size)
        if bad.any():
            i = int(np.argmax(bad))
            raise OutOfBoundsError(
                f"out of bounds: {self.name} has {self.size} bytes, access of {width} at "
                f"{int(offset[i])} by {threads.name(int(who[i]))}"
            )
        bad = offset % width != 0
        if bad.any():
            i = int(np.argmax(bad))
            raise MisalignedError(
                f"misaligned: {self.name}, access of {width} bytes at {int(offset[i])} by "
                f"{threads.name(int(who[i]))}"
            )
        return offset + owner * self.stride if self.stride else offset

    def typed(self, dtype: Any) -> Array:
        """The bytes as elements of a type; positions are then divided by its size."""
        return self.data[: len(self.data) // dtype.itemsize * dtype.itemsize].view(dtype)

    def record(self, at: Array, who: Array, width: int, how: str, cached: bool = False) -> None:
        """Note an access: ``how`` is read, write or atomic."""
        if how == "read":
            self.read_through_cache |= cached
        else:
            self.written = True
            if self.read_only:
                raise ReadOnlyError(f"{self.name} is read-only")
        if self.written and self.read_through_cache:
            raise ReadOnlyError(f"{self.name} is read with ld.global.nc and written in one launch")
        if self.accesses is None:
            return
        spans = max(1, width // self.granule)
        granules = at // self.granule
        if spans > 1:
            granules = (granules[:, None] + np.arange(spans)).reshape(-1)
            who = np.repeat(who, spans)
        if how == "read":
            self.accesses.read(granules, who)
        else:
            self.accesses.write(granules, who, how == "atomic")


class Memory:
    """All state spaces of one launch."""

    def __init__(self, threads: Threads) -> None:
        self.threads = threads
        self.regions: list[Region] = []
        self.shared: Region | None = None
        self.local: Region | None = None

    def add_array(self, array: Array, name: str) -> int:
        """Give an array an address; kernels then work on the array itself."""
        if not array.flags.c_contiguous:
            raise ValueError(f"{name} is not contiguous")
        region = Region(name, array.reshape(-1).view(np.uint8), array.nbytes)
        region.read_only = not array.flags.writeable
        self.regions.append(region)
        return (len(self.regions) << REGION_BITS) + HALF

    def add_private(self, space: str, size: int, copies: int) -> None:
        """Make the shared memory of each block or the local memory of each thread."""
        stride = (size + 15) // 16 * 16
        region = Region(f"{space} memory", np.full(copies * stride, 0xFF, np.uint8), size, stride)
        setattr(self, space, region)

    def find(
        self, space: str, address: Array, who: Array
    ) -> list[tuple[Region, Array, Array, Array]]:
        """Split an access by region: region, offsets, owners, positions among ``who``."""
        if space == "generic":
            kinds = np.where(address >= 1 << REGION_BITS, 0, address >> 32)
            names = {0: "global", 1: "shared", 2: "local"}
            parts = []
            for kind in np.unique(kinds):
                here = np.flatnonzero(kinds == kind)
                base = int(kind) << 32
                for region, offset, owner, at in self.find(
                    names.get(int(kind), "global"), address[here] - base, who[here]
                ):
                    parts.append((region, offset, owner, here[at]))
            return parts
        everyone = np.arange(len(who))
        if space in ("shared", "local"):
            private = self.shared if space == "shared" else self.local
            owner = self.threads.block[who] if space == "shared" else who
            if private is None:
                raise OutOfBoundsError(f"out of bounds: this kernel has no {space} memory")
            return [(private, address, owner, everyone)]
        index = (address >> REGION_BITS) - 1
        offset = (address & ((1 << REGION_BITS) - 1)) - HALF
        first = int(index[0])
        if (index == first).all():
            return [(self._region(first, address), offset, everyone, everyone)]
        found = []
        for i in np.unique(index):
            here = np.flatnonzero(index == i)
            found.append((self._region(int(i), address[here]), offset[here], here, here))
        return found

    def _region(self, index: int, address: Array) -> Region:
        if not 0 <= index < len(self.regions):
            raise OutOfBoundsError(f"out of bounds: no array at address {int(address[0]):#x}")
        return self.regions[index]

    def load(
        self, space: str, address: Array, who: Array, kind: str, vector: int, cached: bool
    ) -> list[Array]:
        """``vector`` elements for each thread of ``who``."""
        dtype = DTYPES[kind]
        width = dtype.itemsize * vector
        values = [np.empty(len(who), dtype) for _ in range(vector)]
        for region, offset, owner, at in self.find(space, address, who):
            where = region.locate(offset, owner, width, who[at], self.threads)
            region.record(where, who[at], width, "read", cached)
            elements, first = region.typed(dtype), where // dtype.itemsize
            for k, value in enumerate(values):
                value[at] = elements[first + k]
        return values

    def store(self, space: str, address: Array, who: Array, kind: str, values: list[Array]) -> None:
        """Store the elements ``values`` of each thread of ``who``, one behind the other."""
        dtype = DTYPES[kind]
        width = dtype.itemsize * len(values)
        for region, offset, owner, at in self.find(space, address, who):
            where = region.locate(offset, owner, width, who[at], self.threads)
            region.record(where, who[at], width, "write")
            elements, first = region.typed(dtype), where // dtype.itemsize
            for k, value in enumerate(values):
                elements[first + k] = np.broadcast_to(value, who.shape)[at]

    def element(self, space: str, address: Array, who: Array, kind: str) -> tuple[Array, int]:
        """The array and index of the one element that a thread's atomic works on."""
        dtype = DTYPES[kind]
        ((region, offset, owner, _),) = self.find(space, address, who)
        where = region.locate(offset, owner, dtype.itemsize, who, self.threads)
        region.record(where, who, dtype.itemsize, "atomic")
        return region.typed(dtype), int(where[0]) // dtype.itemsize
