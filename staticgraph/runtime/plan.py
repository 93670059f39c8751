"""`Plan`: a program bound to concrete sizes; addresses and sizes as data, no code.

The table is walked by one native driver.  Feeds are copied into staging places, or, when large
and suitably laid out, read where they are.  Building a plan compiles nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from staticgraph.codegen.driver import bound, walk_address
from staticgraph.codegen.loop_source import BRANCH, FUEL, FULL, LOOP, REFUSED, SUSPENDED, resume
from staticgraph.errors import OpError, OutOfBoundsError, ResourceExhaustedError
from staticgraph.ir import philox
from staticgraph.ir.dims import Symbol
from staticgraph.ir.program import (
    Branch,
    Buffer,
    Launch,
    Library,
    Program,
    Repeat,
    SizeSource,
    Step,
)  # fmt: skip
from staticgraph.ops.loops import in_iteration
from staticgraph.ops.tensor_array import explained
from staticgraph.passes.control import (
    NO_ROOMS,
    Arrangement,
    Rooms,
    refusal,
    room_of,
    with_rooms,
)
from staticgraph.runtime.binding import Code
from staticgraph.runtime.footprint import DIRECT_FEED, Layout
from staticgraph.runtime.library import draws
from staticgraph.runtime.results import Results, maker, unplaced
from staticgraph.runtime.row import Row
from staticgraph.runtime.store import Store, address, aligned_empty
from staticgraph.runtime.table import Spot, Table
from staticgraph.runtime.tables import Tables

# What becomes a float without asking: no value changes its kind.
EXACT = frozenset(np.dtype(t) for t in "?bhilqBHILQefd")
SCALARS: dict[str, frozenset[type]] = {
    "float": frozenset({float, int, np.float32, np.float64, np.int32, np.int64}),
    "int": frozenset({int}), "uint": frozenset({int}), "bool": frozenset({bool}),
}  # fmt: skip
# A feed's buffer, its view, dtype and shape, whether it is read in place, and what else it takes:
# dtypes of arrays, types of plain numbers.
Place = tuple[
    Buffer, np.ndarray, np.dtype[Any], tuple[int, ...], bool, frozenset[Any], frozenset[type]
]
SLICE_WORK = 500_000_000  # bytes of traffic between looks at signals: 50 ms at the most


def fed_sizes(p: Program) -> list[tuple[Symbol, SizeSource]]:
    """The sizes that are fed as numbers of four or eight bytes, and where each comes from."""
    fed = {q.buffer for q in p.params if q.kind == "feed" and q.buffer.dims == ()}
    return [
        (s, o) for s, o in p.sizes.items()
        if isinstance(o, SizeSource) and o.element and o.buffer in fed
        and o.buffer.dtype.np in (np.int32, np.int64)
    ]  # fmt: skip


class Plan:
    """A table ready to run.

    Attributes:
      arena: where temporaries are, which may serve other plans, too: of their values none is kept
        from one run to the next.
      arena_bytes: what the plan itself needs of it.
      footprint: all memory that a run takes.
      keepers: of the results that are written straight into what is handed out: where their
        arrays come from, or None where it is numpy.
      final: the table does everything; no variable or random stream is left to advance.
      call: how native code knows it, once it does; see `runtime.quick`.
      refuses: a body in it cannot take the sizes at hand.
      tight: a loop in it may need more room than there is.
      long: it has loops, and they were once suspended.
      started: the number of the first iteration of its loop, if it is a part of one.
    """

    call: Any = None
    long = False
    started = 0

    def __init__(
        self, program: Program, code: Code, env: Mapping[Symbol, int], store: Store,
        constants: Mapping[Buffer, np.ndarray], threads: int = 1, rooms: Rooms = NO_ROOMS,
        arena: np.ndarray | None = None, least: int = 0, handing: Results | None = None,
    ) -> None:  # fmt: skip
        self.threads = threads
        env = with_rooms(program, env, rooms)
        self.program, self.env, self.generation = program, dict(env), store.generation
        self.views: dict[Buffer, np.ndarray] = {}
        wanted = handing.wanted if handing is not None else frozenset[Buffer]()
        layout = Layout.of(program, env, store, rooms, wanted)
        moving = [q.buffer for q in program.params if q.kind == "feed"]
        self.pointers: dict[Buffer, list[tuple[int, int]]] = {
            b: [] for b in (*moving, *layout.handed)
        }  # of feeds and results: words in the table's arguments, and bytes from the array's start
        self.direct: dict[Buffer, list[tuple[int, int]]] = {}
        shapes, donated, replaced = layout.shapes, layout.donated, layout.replaced
        arrangement, placement = layout.arrangement, layout.arrangement.placement
        self.arena_bytes = placement.size
        self.arena = _arena(placement.size, arena, least)
        self.views |= {b: unplaced(shapes[b], b.dtype.np) for b in layout.handed}
        self._views(program, shapes, placement.offsets, store, constants)
        for new, old in donated.items():
            self.views[new] = self.views[old]
        self.views |= {b: store.arrays[name] for b, name in replaced.items()}
        self.in_place = bool(donated or replaced)
        self.commits = self._commits(program, donated, replaced)
        self.counters: list[tuple[int, str, int]] = []
        self.before: list[tuple[str, np.ndarray]] = []  # positions that the table reads and moves,
        self.after: list[tuple[str, np.ndarray]] = []  # and where they are afterwards
        self._table(program, code, arrangement, constants)
        self.footprint = replace(
            layout.footprint(program, store), table=self.words.nbytes + self.table.nbytes
        )
        self.final = not self.counters and not self.commits and not self.before
        self.results = [self.views[b] for b in program.results]
        self.takes = [v.copy if v.ndim else partial(v.__getitem__, ()) for v in self.results]
        self.keepers = {
            b: handing.keeper(b) for b in program.results if handing and b in layout.handed
        }
        self._makers = [
            (b, *maker(k, shapes[b], b.dtype.np), self.pointers[b]) for b, k in self.keepers.items()
        ]
        self.places = [self._place(q.buffer) for q in program.params if q.kind == "feed"]
        # fed numbers that are sizes, and what they are here
        self.told = {o.buffer: env[s] for s, o in fed_sizes(program) if s in env}
        self._told = [(self.views[b], n) for b, n in self.told.items()]

    def _place(self, b: Buffer) -> Place:
        view, direct = self.views[b], b in self.direct
        convertible = frozenset() if direct or not b.dtype.is_floating else EXACT
        scalars: frozenset[type] = frozenset()
        if view.ndim == 0:
            scalars = SCALARS.get(b.dtype.kind, scalars) | {b.dtype.np.type}
        return b, view, b.dtype.np, view.shape, direct, convertible, scalars

    def _views(
        self, program: Program, shapes: Mapping[Buffer, tuple[int, ...]],
        offsets: Mapping[Buffer, int], store: Store, constants: Mapping[Buffer, np.ndarray],
    ) -> None:  # fmt: skip
        for b, at in offsets.items():
            if b not in shapes:  # what is inside a loop
                continue
            self.views[b] = np.ndarray(shapes[b], b.dtype.np, self.arena, at)
        for b in program.buffers:
            if b.role == "constant":
                self.views[b] = constants[b]
        for q in program.params:
            if q.kind == "variable":
                have = store.get(q.name)
                if have is not None:
                    self.views[q.buffer] = have
            elif q.buffer in shapes:
                self.views[q.buffer] = aligned_empty(shapes[q.buffer], q.buffer.dtype.np)
                if q.kind == "feed" and self.views[q.buffer].nbytes > DIRECT_FEED:
                    self.direct[q.buffer] = self.pointers[q.buffer]
        for b in program.buffers:
            if b not in self.views and b in shapes and b.role == "temporary":
                self.views[b] = aligned_empty(shapes[b], b.dtype.np)  # never read or written

    def _commits(
        self, program: Program, donated: Mapping[Buffer, Buffer], replaced: Mapping[Buffer, str]
    ) -> list[tuple[str, Buffer]]:
        """Updates that are copied into the variable after the table has run."""
        counters = {q.name for q in program.params if q.kind == "counter"}
        names = {q.name: q.buffer for q in program.params if q.kind == "variable"}
        out = []
        for name, b in program.updates.items():
            if name.startswith("counter:") and name[8:] in counters:
                continue
            if donated.get(b) is not None and donated[b] is names.get(name):
                continue
            if replaced.get(b) != name:
                out.append((name, b))
        self._own = {id(self.views[b]) for b in replaced}
        return out

    def _table(
        self, program: Program, code: Code, arrangement: Arrangement,
        constants: Mapping[Buffer, np.ndarray],
    ) -> None:  # fmt: skip
        streams = {q.buffer: q.name for q in program.params if q.kind == "counter"}
        moving = self._positions(program, streams)
        tables = Tables(
            code, constants, self.threads, lambda s: not moving and s.inputs[0] in streams
        )
        base, offsets = address(self.arena), arrangement.placement.offsets
        spots = {b: Spot(base + at) for b, at in offsets.items()}
        for b, v in self.views.items():
            if b not in offsets:  # and not of what is there, which costs more to ask for
                spots[b] = Spot(address(v), (), b if b in self.pointers else None)
        self.top = tables.add(program, self.env, spots, arrangement, base)
        tables.finish(self.top)
        self.refuses, self.tight = tables.refuses, tables.tight
        self.words, self.table = tables.words, tables.table
        self.rows: list[Row] = self.top.rows
        self.ends: list[int] = self.top.ends  # where each row's argument block ends in `words`
        for b, found in tables.feeds.items():
            self.pointers[b] += found
        self.counters += [
            (at, streams[s.inputs[0]], draws(s, self.env)) for at, s in tables.counters
        ]
        self.failed = np.zeros(1, np.int64)
        self.slices = self._slices(program) if self.rows else []
        self.walks = [
            bound(address(self.table), first, last, address(self.failed))
            for first, last in self.slices
        ]
        self.flag = address(self.words) + 8 * (tables.shared + FUEL.index("resume"))

    def _positions(self, program: Program, streams: Mapping[Buffer, str]) -> bool:
        """True where positions of random streams are moved by the table itself.

        They are where a loop draws, or where a position is read by anything but one draw.
        """
        by_draws = [s for s in program.steps if isinstance(s, Library) and s.kind == "philox"]
        made = {s.outputs[1] for s in by_draws} | set(streams)
        read = [b for s in program.steps for b in s.reads if b in made]
        plain = [s.inputs[0] for s in by_draws if s.inputs[0] in streams]
        moving = len(read) > len(plain) or len(set(plain)) < len(plain)
        if moving:
            self.before = [(name, self.views[b]) for b, name in streams.items()]
            self.after = [
                (name.removeprefix("counter:"), self.views[b])
                for name, b in program.updates.items()
                if name.removeprefix("counter:") in streams.values() and name.startswith("counter:")
            ]
        return moving

    def _slices(self, program: Program) -> list[tuple[int, int]]:
        """Cut the table where signals may be looked at: never after the first update in place."""
        limit = len(self.rows)
        variables = {
            id(self.views[q.buffer])
            for q in program.params
            if q.kind == "variable" and q.buffer in self.views
        } | self._own
        out, start, work = [], 0, 0
        for k, r in enumerate(self.rows):
            if any(id(self.views[b]) in variables for b in program.steps[r.step].writes):
                break
            work += r.work
            if work > SLICE_WORK:
                out.append((start, k + 1))
                start, work = k + 1, 0
        if start < limit or not out:
            out.append((start, limit))
        return out

    def walk(self) -> None:
        """Run the table.

        Raises:
          OpError: a step failed; names the operation and the user's line.
        """
        for walk, (_, last) in zip(self.walks, self.slices, strict=True):
            status = walk()
            if status:
                self.go_on(status, last)

    def go_on(self, status: int, last: int) -> None:
        """Finish a walk up to row `last` that has returned `status` at the row in `failed`.

        A loop that was suspended goes on; between two calls Python looks at signals.

        Raises:
          OpError: a step failed.
        """
        table, failed = address(self.table), address(self.failed)
        if status == SUSPENDED and not self.long:
            self.long = True
            if self.call is not None:
                self.call.retire()
        while status == SUSPENDED:
            first = int(self.failed[0])
            status = resume()(walk_address(), self.flag, table, first, last, failed, 0, 0)
        if status:
            raise self.failure(status)

    @property
    def walked(self) -> bool:
        """True where the last walk came to the end of the table."""
        return bool(self.failed[0] == len(self.rows))

    def failure(self, status: int) -> OpError:
        """The error that a status other than 0 means.

        Raises:
          RoomError: a loop needs more room.
          BrokenGuardError: a body was to run that cannot take the sizes at hand.
        """
        if status == FULL:
            raise RoomError(crowded(self.top, int(self.failed[0]), self.words))
        return failure(self.top, int(self.failed[0]), status, self.words, self.started)

    def set_counters(self, counters: Mapping[str, int]) -> None:
        """Write the random streams' positions into the argument blocks."""
        for word, name, _ in self.counters:
            self.words[word : word + 2] = philox.counter_words(counters.get(name, 0))
        for name, view in self.before:
            view[...] = counters.get(name, 0)

    def moved(self) -> list[tuple[str, int]]:
        """The positions to which the table has moved random streams."""
        return [(name, int(view)) for name, view in self.after]

    def fill(self, values: Iterable[Any]) -> dict[Buffer, np.ndarray] | None:
        """Place feeds that fit as they are: arrays of just these shapes, plain numbers.

        Returns:
          the arrays that are read where they are, to be kept alive during the run; None where a
          value has to be looked at closer.
        """
        kept: dict[Buffer, np.ndarray] = {}
        try:
            for value, (b, view, dtype, shape, direct, convertible, scalars) in zip(
                values, self.places, strict=True
            ):
                kind = type(value)
                if kind is np.ndarray:
                    if value.shape != shape:
                        return None
                    if value.dtype is not dtype and value.dtype not in convertible:
                        return None
                    if direct:
                        kept[b] = self.feed(b, value)
                    else:
                        view[()] = value
                elif kind in scalars:
                    view[()] = value
                else:
                    return None
        except OverflowError:  # a number that is too large for its type
            return None
        for view, size in self._told:
            if view[()] != size:
                return None
        return kept

    def feed(self, b: Buffer, value: np.ndarray) -> np.ndarray:
        """Place a feed; returns the array to keep alive during the run."""
        words = self.direct.get(b)
        if words is None:
            np.copyto(self.views[b], value)
            return value
        if not value.flags.c_contiguous or address(value) % 16:
            np.copyto(self.views[b], value)
            value = self.views[b]
        where = address(value)
        for w, offset in words:
            self.words[w] = where + offset
        return value

    def hand_out(self) -> dict[Buffer, np.ndarray]:
        """New arrays for the results that the next walk writes in place.

        Raises:
          MemoryError: there is none for them.
        """
        made: dict[Buffer, np.ndarray] = {}
        for b, make, at, words in self._makers:
            array = made[b] = make()
            where = at(array)
            for w, offset in words:
                self.words[w] = where + offset
        return made

    def describe(self) -> str:
        """Sizes, steps and memory in a few lines."""
        sizes = ", ".join(f"{s}={n}" for s, n in self.env.items()) or "fixed sizes"
        inner = self.top.count - len(self.rows)
        inside = f" and {inner} in loops and branches" if inner else ""
        return f"{len(self.rows)} steps{inside}, {sizes}, {self.footprint}"

    @property
    def peak_bytes(self) -> int:
        """Bytes in all that a run takes."""
        return self.footprint.total


def _arena(size: int, there: np.ndarray | None, least: int) -> np.ndarray:
    """Room for temporaries: an arena that is there, or a larger one of at least so many bytes."""
    if there is not None and there.nbytes >= size:
        return there
    try:
        return aligned_empty((max(size, least),), np.dtype(np.uint8))
    except MemoryError:
        raise ResourceExhaustedError(
            f"the run needs {size:,} bytes for temporaries, which cannot be had"
        ) from None


class RoomError(Exception):
    """A loop has more iterations than there is room for; nothing has been changed."""

    def __init__(self, loop: Repeat) -> None:
        super().__init__("a loop has more iterations than there is room for")
        self.loop = loop

    def grow(self, rooms: dict[Repeat, int]) -> None:
        """Make room for twice as many."""
        rooms[self.loop] = 2 * room_of(self.loop, rooms)


def crowded(table: Table, row: int, words: np.ndarray) -> Repeat:
    """The loop that has come to the end of its room, in this row or inside of it."""
    step, at = table.step(row), table.at[row]
    if isinstance(step, Branch):
        chosen = table.inside[row][int(words[at + BRANCH.index("chosen")])]
        return crowded(chosen, int(words[at + BRANCH.index("row")]), words)
    assert isinstance(step, Repeat)
    inner = int(words[at + LOOP.index("row")])
    return step if inner < 0 else crowded(table.inside[row][0], inner, words)


def failure(table: Table, row: int, status: int, words: np.ndarray, started: int = 0) -> OpError:
    """The error of a row that returned `status`; of a loop, that of the row inside it.

    Args:
      started: the number of the loop's first iteration.

    Raises:
      BrokenGuardError: a body was to run that cannot take the sizes at hand.
    """
    inside = table.inside.get(row)
    if status == REFUSED and inside is None:
        why = refusal(table.program, table.env)
        if isinstance(why, OpError):
            return why
        assert why is not None
        raise why
    if inside is None:
        end = table.ends[row]
        return step_failure(table.step(row), status, int(words[end - 2]), int(words[end - 1]))
    at = table.at[row]
    if isinstance(table.step(row), Branch):
        chosen = inside[int(words[at + BRANCH.index("chosen")])]
        return failure(chosen, int(words[at + BRANCH.index("row")]), status, words)
    e = failure(inside[0], int(words[at + LOOP.index("row")]), status, words)
    found = in_iteration(e, started + int(words[at + LOOP.index("iteration")]))
    assert isinstance(found, OpError)
    return found


def step_failure(step: Step, status: int, index: int, bound: int) -> OpError:
    """The error of a native step that returned `status`.

    Args:
      index, bound: the last two words of its argument block.
    """
    origin = step.origins[0]
    if isinstance(step, Launch) and step.checks:
        origin = step.checks[min(status, len(step.checks)) - 1]
    # the operation's own name: what computes it may be called otherwise inside
    return OutOfBoundsError(
        f"{origin.name or origin.op}: {explained(index, bound)}", loc=origin.loc
    )
