"""Where a program's arrays go and what memory that takes, known before anything is allocated.

A `Layout` decides where every value lives: in the arena, in place of a variable's old value, in the
variable itself, or in an array that is handed out.  A `Footprint` counts the bytes of all arrays
that a run needs at its end, when it needs most: plan and constants, the variables, and what it
hands out, whose memory later runs use again when the user has let go of it.  Not among them are the
arrays that are fed, machine code, the interpreter, and the stacks of threads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields

import numpy as np

from staticgraph.ir import dims as D
from staticgraph.ir.arrays import taken
from staticgraph.ir.dims import Symbol
from staticgraph.ir.program import Buffer, Launch, Program
from staticgraph.ir.record import record
from staticgraph.passes.control import NO_ROOMS, Arrangement, Rooms, arrange, with_rooms
from staticgraph.passes.memory import donations, overwritten
from staticgraph.runtime.constants import program_memory
from staticgraph.runtime.results import direct_results
from staticgraph.runtime.store import Store

DIRECT_FEED = 1 << 16  # bytes: larger feeds are read in place
_CALL_WORDS = 16  # about what the block of a library call takes


@record(frozen=True, slots=True)
class Layout:
    """Where values live.

    Attributes:
      shapes: of every buffer whose rank is known.
      donated: new values of variables that take the place of the old one, and that.
      replaced: new values that are written straight into a variable, and its name.
      handed: results that are written straight into arrays that are handed out.
      arrangement: places of temporaries in the arena, those of loops and branches included.
    """

    shapes: Mapping[Buffer, tuple[int, ...]]
    donated: Mapping[Buffer, Buffer]
    replaced: Mapping[Buffer, str]
    handed: frozenset[Buffer]
    arrangement: Arrangement

    @classmethod
    def of(
        cls, program: Program, env: Mapping[Symbol, int], store: Store, rooms: Rooms = NO_ROOMS,
        wanted: frozenset[Buffer] = frozenset(),
    ) -> Layout:  # fmt: skip
        """Lay out a program whose sizes are known, for the variables that there are.

        Args:
          wanted: results that are handed out, and that nothing else may keep.
        """
        env = with_rooms(program, env, rooms)
        shapes = {
            b: tuple(D.evaluate(d, env) for d in b.dims)
            for b in program.buffers
            if b.dims is not None
        }
        names = {q.buffer: q.name for q in program.params if q.kind == "variable"}
        donated = {
            new: old for new, old in donations(program).items() if store.get(names[old]) is not None
        }
        replaced = {
            b: name
            for b, name in overwritten(program).items()
            if _holds(store.get(name), shapes[b], b)
        }
        skip = frozenset(donated) | frozenset(replaced) | {q.buffer for q in program.params}
        handed = direct_results(program, shapes, wanted) - skip
        arrangement = arrange(program, env, skip | handed, rooms)
        return cls(shapes, donated, replaced, handed, arrangement)

    def footprint(self, program: Program, store: Store) -> Footprint:
        """The memory that a run of the program takes."""
        places = [q.buffer for q in program.params if q.kind != "variable"]
        direct = {
            q.buffer for q in program.params
            if q.kind == "feed" and self.bytes_of(q.buffer) > DIRECT_FEED
        }  # fmt: skip
        variables, copies = self._variables(program, store)
        launches = (
            len(s.args) + 2 if isinstance(s, Launch) else _CALL_WORDS for s in program.steps
        )
        return Footprint(
            arena=taken((self.arrangement.placement.size,), np.dtype(np.uint8)),
            staging=sum(self._taken(b) for b in places if b not in direct),
            constants=sum(program_memory(program).values()),
            variables=variables,
            results=copies + sum(map(self.bytes_of, program.results)),
            table=8 * (sum(launches) + 4 * len(program.steps)),
            reserved=sum(map(self._taken, direct)),
        )

    def bytes_of(self, b: Buffer) -> int:
        """Bytes of a buffer's elements."""
        return math.prod(self.shapes[b]) * b.dtype.size if b in self.shapes else 0

    def _taken(self, b: Buffer) -> int:
        """Bytes of an array of its own, which begins at a boundary."""
        return taken(self.shapes[b], b.dtype.np) if b in self.shapes else 0

    def _variables(self, program: Program, store: Store) -> tuple[int, int]:
        """Bytes of the variables when the run ends, and of copies made to assign them."""
        names = {q.buffer: q.name for q in program.params if q.kind == "variable"}
        held: dict[str, int] = {}
        for name in (*names.values(), *program.updates):
            held[name] = store.taken(name)
        copied = []
        for name, b in program.updates.items():
            old = self.donated.get(b)
            if name.startswith("counter:") or self.replaced.get(b) == name:
                continue
            if old is not None and names[old] == name:
                continue
            have = store.get(name)
            if have is None or have.shape != self.shapes.get(b) or have.dtype != b.dtype.np:
                held[name] += self._taken(b)  # the old value goes when the new one is there
            copied.append(b)
        moved = [b for b in copied if b in names] if len(copied) > 1 else []
        return sum(held.values()), sum(map(self.bytes_of, moved))


@record(frozen=True, slots=True)
class Footprint:
    """Bytes that a run needs, by what for, those before an array's boundary among them.

    Attributes:
      arena: temporaries and scratch.
      staging: copies of feeds.
      constants: of the program, with copies of those that kernels cannot read as they lie.
      variables: that it reads or assigns.
      results: arrays that it hands out, and copies made to assign variables.
      table: what native code walks.
      reserved: for large feeds; memory that is touched only where a feed cannot be read in place.
    """

    arena: int = 0
    staging: int = 0
    constants: int = 0
    variables: int = 0
    results: int = 0
    table: int = 0
    reserved: int = 0

    @property
    def total(self) -> int:
        """Bytes in all, without those that are only reserved."""
        return int(sum(getattr(self, f.name) for f in fields(self))) - self.reserved

    def __add__(self, other: Footprint) -> Footprint:
        pairs = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        return Footprint(**pairs)

    def __str__(self) -> str:
        parts = ((f.name, getattr(self, f.name)) for f in fields(self) if f.name != "reserved")
        shown = ", ".join(f"{name} {n:,}" for name, n in parts if n)
        more = f"; {self.reserved:,} reserved for feeds" if self.reserved else ""
        return f"{self.total:,} bytes planned" + (f": {shown}" if shown else "") + more


def _holds(array: np.ndarray | None, shape: tuple[int, ...], b: Buffer) -> bool:
    """True where a variable's array is of the shape and dtype of `b`."""
    return array is not None and array.shape == shape and array.dtype == b.dtype.np


__all__ = ["DIRECT_FEED", "Footprint", "Layout"]
