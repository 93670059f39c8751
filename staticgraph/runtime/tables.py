"""Tables: the rows of a plan and, nested, those of its loops and branches, as words.

A row's argument block holds addresses.  Where an address changes from one iteration of a loop to
the next, the loop gets a patch for that word; see `codegen.loop_source`.  Blocks, patches and
tables are collected first and get their own addresses when all are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from staticgraph.codegen import loop_source
from staticgraph.codegen.cache import ir_address
from staticgraph.codegen.loop_source import BRANCH, FUEL, LOOP, NO_LIMIT
from staticgraph.ir import dims as D
from staticgraph.ir.dims import Dim
from staticgraph.ir.program import Branch, Buffer, Launch, Library, Program, Repeat
from staticgraph.passes.control import Arrangement, BranchLayout, LoopLayout, late, refusal
from staticgraph.passes.loop_kernel import Serial, serial
from staticgraph.runtime.binding import Code, rows
from staticgraph.runtime.library import COUNTER_WORDS, draws
from staticgraph.runtime.row import Row, Sizes, nbytes
from staticgraph.runtime.store import address
from staticgraph.runtime.table import Loop, Patch, Spot, Table
from staticgraph.runtime.threads import BLOCK_WORDS, POOL, chunks, launch_address

FUEL_AMOUNT = 200_000_000  # bytes of traffic, or what takes as long, between looks at signals
TRIP_WORK = 50  # the same measure, of an iteration of a loop in a kernel
MOST_WORK = 10_000_000  # what a loop counts as among the steps around it, at most


class Tables:
    """Builds the tables of one plan.

    Attributes:
      words, table: the argument blocks and the rows, when `finish` has been called.
      feeds: for each parameter that lies in a feed, the words with addresses in it.
      counters: of random draws whose position is given before a run: word, step.
      shared: where the words in `FUEL` begin; -1 without loops and branches.
      refuses: a body cannot take the sizes at hand, which is an error only where it is to run.
      tight: a loop has room for so many iterations, and may have more.
    """

    def __init__(
        self, code: Code, constants: Mapping[Buffer, np.ndarray], threads: int,
        given: Callable[[Library], bool],
    ) -> None:  # fmt: skip
        self.code, self.constants, self.threads, self.given = code, constants, threads, given
        self.cells: list[int] = []
        self.links: list[tuple[int, int | Patch]] = []
        self.table_links: list[tuple[int, Table]] = []
        self.loops: list[Loop] = []
        self.all: list[Table] = []
        self.found: list[tuple[Buffer, int | Patch, int]] = []
        self.counters: list[tuple[int, Library]] = []
        self.shared = -1
        self.refuses = self.tight = False

    # ---- words
    def _block(self, words: Sequence[int]) -> int:
        at = len(self.cells)
        self.cells.extend(words)
        return at

    def _point(self, cell: int, spot: Spot, offset: int = 0) -> None:
        """Let a word hold an address that may move."""
        self.cells[cell] = first = spot.address + offset
        target: int | Patch = cell
        for loop, add, flip in reversed(spot.moves):
            patch = Patch(target, first, add, flip)
            loop.patches.append(patch)
            target = patch
        if spot.feed is not None:
            self.found.append((spot.feed, target, spot.offset + offset))

    def _row(self, table: Table, row: Row, spots: Mapping[Buffer, Spot]) -> int:
        at = self._block(row.words)
        table.rows.append(row)
        table.at.append(at)
        table.ends.append(len(self.cells))
        for word, b, offset in row.pointers:
            self._point(at + word, spots[b], offset)
        return at

    def _move(self, table: Table, source: Spot, target: Spot, n: int, step: int) -> None:
        """A row that copies `n` bytes."""
        if not n or source == target:
            return
        function = ir_address(loop_source.MOVE_SOURCE)
        words = (source.address, target.address)
        at = self._row(table, Row(function, words, n, step, (), 2 * n, splits=True), {})
        self._point(at, source)
        self._point(at + 1, target)

    # ---- programs
    def add(
        self, program: Program, env: Sizes, spots: Mapping[Buffer, Spot], arrangement: Arrangement,
        base: int,
    ) -> Table:  # fmt: skip
        """The table of a program; `base` is the address of its arena."""
        table = Table(program, env)
        self.all.append(table)
        for i, s in enumerate(program.steps):
            match s:
                case Repeat():
                    layout, at = arrangement.inner[i]
                    assert isinstance(layout, LoopLayout)
                    _LoopRows(self, table, i, s, layout, spots, base + at).add()
                case Branch():
                    layout, at = arrangement.inner[i]
                    assert isinstance(layout, BranchLayout)
                    self._branch(table, i, s, layout, spots, base + at)
                case Launch() | Library():
                    self._native(table, i, s, env, spots)
                case _:
                    raise AssertionError(s)
        for t, s in late(program).items():
            self._told(table, s, D.symbol(t.name))
        return table

    def _told(self, table: Table, loop: Repeat, t: Dim) -> None:
        """Let a late loop tell how many iterations there were, wherever that is needed."""
        cells: list[int] = []
        source = -1
        for k, at in enumerate(table.at):
            match table.step(k):
                case Launch(args=args):
                    cells += [at + i for i, a in enumerate(args) if a == t]
                case Repeat(attrs=attrs) as s if k in table.inside:
                    if s is loop:
                        source = at
                    elif attrs["length"] == t:
                        cells.append(at + LOOP.index("limit"))
        if source >= 0 and cells:
            block = self._block([0] * len(cells))
            self.links += [(block + i, cell) for i, cell in enumerate(cells)]
            self.links.append((source + LOOP.index("late"), block))
            self.cells[source + LOOP.index("lates")] = len(cells)

    def inner(
        self, program: Program, env: Sizes, spots: dict[Buffer, Spot], arrangement: Arrangement,
        base: int, copies: Sequence[tuple[Buffer, Spot]],
    ) -> Table:  # fmt: skip
        """The table of a body, whose parameters and bound temporaries are in `spots`.

        Args:
          copies: what is copied at its end.
        """
        if refusal(program, env) is not None:
            self.refuses = True
            table = Table(program, env)
            self.all.append(table)
            self._row(table, Row(ir_address(loop_source.REFUSE_SOURCE), (), 1, 0, (), 0), {})
            return table
        for b in program.buffers:
            if b.role == "constant":
                spots[b] = Spot(address(self.constants[b]))
        for b, offset in arrangement.placement.offsets.items():
            spots.setdefault(b, Spot(base + offset))
        table = self.add(program, env, spots, arrangement, base)
        for b, target in copies:
            self._move(table, spots[b], target, nbytes(b, env), len(program.steps) - 1)
        return table

    def _native(
        self, table: Table, i: int, s: Launch | Library, env: Sizes, spots: Mapping[Buffer, Spot]
    ) -> None:
        draw = s if isinstance(s, Library) and s.kind == "philox" else None
        if isinstance(s, Launch) and self._in_parts(table, i, s, env, spots):
            return
        position = -1
        if draw is not None and not self.given(draw):
            source, target = spots[draw.inputs[0]], spots[draw.outputs[1]]
            function = ir_address(loop_source.POSITION_SOURCE)
            words = (source.address, target.address, 0, draws(draw, env))
            position = self._row(table, Row(function, words, 1, i, (), 0), {})
            self._point(position, source)
            self._point(position + 1, target)
        blocks = [
            self._row(table, row, spots)
            for row in rows(s, i, self.code, env, lambda b: spots[b].address)
        ]
        if position >= 0:  # nothing may be drawn
            counter = blocks[0] + COUNTER_WORDS if blocks else self._block((0, 0))
            self.links.append((position + 2, counter))
        elif draw is not None:
            self.counters += [(at + COUNTER_WORDS, draw) for at in blocks]

    def _in_parts(
        self, table: Table, i: int, s: Launch, env: Sizes, spots: Mapping[Buffer, Spot]
    ) -> bool:
        """Rows that do the long loop in a kernel in parts, between which signals are looked at.

        Returns:
          False of a kernel that is not long, or has no loop that can be cut.
        """
        parts = serial(s.kernel)
        if parts is None or s.args[parts.stop] in [D.symbol(t.name) for t in late(table.program)]:
            return False  # the latter is as long as what has been stored for it
        whole = rows(s, i, self.code, env, lambda b: spots[b].address)
        trips = whole[0].words[parts.stop] if whole else 0
        if trips <= 0:
            return False
        cost = TRIP_WORK + 4 * whole[0].work // trips
        size = max(1, FUEL_AMOUNT // cost)
        if trips <= size:
            return False
        state: dict[int, int] = {}  # where carries wait between parts, by parameter
        for k, _ in parts.carries:
            b = s.args[k]
            assert isinstance(b, Buffer)
            n = nbytes(b, env)
            state[k] = self._block([0] * -(-n // 8))
            self._carried(table, spots[b], state[k], n, i)
        inner = Table(table.program, env)
        self.all.append(inner)
        at = self._part(inner, whole[0], spots, state, parts, 0, size)
        loop = Loop([Patch(at + parts.start, 0, size, 0), Patch(at + parts.stop, size, size, 0)])
        for k, to in parts.carries:
            b = s.args[to]
            assert isinstance(b, Buffer)
            self._carried(inner, spots[b], state[k], nbytes(b, env), i)
        count = (trips - 1) // size
        words = [0] * len(LOOP)
        words[LOOP.index("rows")], words[LOOP.index("limit")] = len(inner.rows), count
        words[LOOP.index("cost")] = cost * size
        row = Row(ir_address(loop_source.LOOP_SOURCE), tuple(words), 1, i, (), MOST_WORK)
        loop.at = self.control(table, row, [inner], LOOP)
        self.table_links.append((loop.at + LOOP.index("table"), inner))
        self.loops.append(loop)
        self._part(table, whole[0], spots, state, parts, count * size, trips)
        return True

    def _part(
        self, table: Table, whole: Row, spots: Mapping[Buffer, Spot], state: Mapping[int, int],
        parts: Serial, first: int, last: int,
    ) -> int:  # fmt: skip
        """A row that does some iterations of a kernel's loop, from carries that wait in `state`."""
        pointers = tuple(p for p in whole.pointers if p[0] not in state)
        at = self._row(table, replace(whole, pointers=pointers), spots)
        self.cells[at + parts.start], self.cells[at + parts.stop] = first, last
        self.links += [(at + k, cell) for k, cell in state.items()]
        return at

    def _carried(self, table: Table, source: Spot, cell: int, n: int, step: int) -> None:
        """A row that copies a carry to where it waits."""
        words = (source.address, 0)
        row = Row(ir_address(loop_source.MOVE_SOURCE), words, n, step, (), 2 * n)
        at = self._row(table, row, {})
        self._point(at, source)
        self.links.append((at + 1, cell))

    def _branch(
        self, table: Table, i: int, s: Branch, layout: BranchLayout, spots: Mapping[Buffer, Spot],
        base: int,
    ) -> None:  # fmt: skip
        tables = []
        for k, p in enumerate(s.programs):
            inside = {q.buffer: spots[b] for q, b in zip(p.params, s.inputs[1:], strict=True)}
            inside |= {r: spots[s.outputs[n]] for r, n in layout.bound[k].items()}
            copies = [
                (r, spots[s.outputs[n]])
                for n, r in enumerate(p.results)
                if layout.bound[k].get(r) != n
            ]
            tables.append(self.inner(p, layout.env[k], inside, layout.bodies[k], base, copies))
        words = [0] * (len(BRANCH) + 2 * len(tables))
        words[BRANCH.index("count")] = len(tables)
        work = min(MOST_WORK, max(t.cost for t in tables))
        row = Row(ir_address(loop_source.BRANCH_SOURCE), tuple(words), 1, i, (), work)
        at = self.control(table, row, tables, BRANCH)
        self._point(at + BRANCH.index("index"), spots[s.inputs[0]])
        for k, t in enumerate(tables):
            self.table_links.append((at + len(BRANCH) + 2 * k, t))
            self.cells[at + len(BRANCH) + 2 * k + 1] = len(t.rows)

    def control(self, table: Table, row: Row, inside: Sequence[Table], words: Sequence[str]) -> int:
        """A row that walks tables of its own; returns where its block begins."""
        if self.shared < 0:
            self.shared = self._block([0] * len(FUEL))
            self.cells[self.shared + FUEL.index("refill")] = FUEL_AMOUNT
        at = self._row(table, row, {})
        self.links.append((at + words.index("shared"), self.shared))
        table.inside[len(table.rows) - 1] = tuple(inside)
        return at

    # ---- the end
    def finish(self, top: Table) -> None:
        """Give everything an address."""
        self._outermost(top)
        self._patches()
        tables = [top, *(t for t in self.all if t is not top)]
        count = 0
        for t in tables:
            t.first = count
            count += len(t.rows)
        sizes = {t: chunks(t.rows, self.threads, t is not top) for t in tables}
        shares = {
            (t, k): self._block([0] * BLOCK_WORDS)
            for t, found in sizes.items() for k, size in enumerate(found) if size
        }  # fmt: skip
        self.words = np.array(self.cells or [0], np.int64)
        self.table = np.zeros((max(1, count), 4), np.int64)
        base, rows_at = address(self.words), address(self.table)
        if shares:
            POOL.ensure(self.threads)
        for t in tables:
            for k, r in enumerate(t.rows):
                line = (r.function, base + 8 * t.at[k], 0, r.extent)
                at = shares.get((t, k))
                if at is not None:
                    block = (POOL.address, line[0], line[1], sizes[t][k], self.threads - 1)
                    self.words[at : at + BLOCK_WORDS] = block
                    line = (launch_address(), base + 8 * at, 0, r.extent)
                self.table[t.first + k] = line
        for cell, to in self.links:
            self.words[cell] = base + 8 * (to if isinstance(to, int) else to.cell)
        for cell, t in self.table_links:
            self.words[cell] = rows_at + 32 * t.first
        self.feeds: dict[Buffer, list[tuple[int, int]]] = {}
        for b, ref, offset in self.found:
            cell = ref if isinstance(ref, int) else ref.cell
            self.feeds.setdefault(b, []).append((cell, offset))

    def _patches(self) -> None:
        """Write the patches of every loop, one behind the other."""
        for loop in self.loops:
            for patch in loop.patches:
                patch.at = self._block((0, patch.first, patch.add, patch.flip))
                self.links.append((patch.at, patch.target))
            if loop.patches:
                self.links.append((loop.at + LOOP.index("patches"), loop.patches[0].at))
            self.cells[loop.at + LOOP.index("patched")] = len(loop.patches)

    def _outermost(self, top: Table) -> None:
        for k in top.inside:
            words = BRANCH if isinstance(top.step(k), Branch) else LOOP
            self.cells[top.at[k] + words.index("outermost")] = 1


class _LoopRows:
    """The rows of one loop: what goes before it, the loop, and what comes after it."""

    def __init__(
        self, tables: Tables, table: Table, index: int, step: Repeat, layout: LoopLayout,
        spots: Mapping[Buffer, Spot], base: int,
    ) -> None:  # fmt: skip
        self.tables, self.table, self.index, self.step = tables, table, index, step
        self.layout, self.outer, self.base = layout, spots, base
        self.loop = Loop()
        self.body = step.body
        self.before: dict[int, Spot] = {}  # of each carry: where an iteration finds it,
        self.after: dict[int, Spot] = {}  # and where it leaves it

    def add(self) -> None:
        """Write all rows."""
        layout, carries = self.layout, self.step.attrs["carries"]
        starts = [self._carry(j) for j in range(carries)]
        for j, (start, _) in enumerate(starts):
            if layout.ways[j] != "kept":
                self._copy(self.outer[self.step.inputs[j]], start, j)
        if layout.trips != 0:
            self._iterations()
        for j, (_, end) in enumerate(starts):
            out = self.step.outputs[j]
            if out not in layout.dead:
                self._copy(end, self.outer[out], j)

    def _copy(self, source: Spot, target: Spot, carry: int) -> None:
        n = self.layout.nbytes(self.layout.params[carry])
        self.tables._move(self.table, source, target, n, self.index)

    def _carry(self, j: int) -> tuple[Spot, Spot]:
        """Where the carry's first value goes, and where the last one is; its spots in the body."""
        layout, out = self.layout, self.outer[self.step.outputs[j]]
        match layout.ways[j]:
            case "kept":
                start = self.before[j] = self.outer[self.step.inputs[j]]
                return start, start
            case "in place":
                self.before[j] = self.after[j] = out
                return out, out
            case "rail":
                return self._rail(j)
            case "turns":
                return self._turns(j, out)

    def _rail(self, j: int) -> tuple[Spot, Spot]:
        trips = self.layout.trips
        size = self.layout.nbytes(self.layout.params[j])
        joined, slot = self.layout.rails[j]
        rail = self.outer[joined].shifted(-slot * size)
        start, add = rail, size
        if self.step.attrs["reverse"]:
            assert trips is not None
            start, add = rail.shifted(trips * size), -size
        self.before[j] = start.moving(self.loop, add)
        self.after[j] = start.shifted(add).moving(self.loop, add)
        if trips is None:  # a pointer that moves with the loop
            return start, self.before[j]
        return start, start.shifted(trips * add)

    def _turns(self, j: int, out: Spot) -> tuple[Spot, Spot]:
        layout = self.layout
        one = Spot(self.base + layout.turning[j, 0])
        if (j, 1) in layout.turning:
            other = Spot(self.base + layout.turning[j, 1])
        else:  # the last value shall be in the output
            assert not out.moves and layout.trips is not None
            one, other = (out, one) if layout.trips % 2 == 0 else (one, out)
        flip = one.address ^ other.address
        self.before[j], self.after[j] = (s.moving(self.loop, 0, flip) for s in (one, other))
        if layout.trips is not None:
            return one, one if layout.trips % 2 == 0 else other
        return one, self.before[j]  # a pointer that turns with the loop

    def _iterations(self) -> None:
        step, layout, attrs = self.step, self.layout, self.step.attrs
        carries, sequences = attrs["carries"], attrs["sequences"]
        spots: dict[Buffer, Spot] = {}
        for k, (p, b) in enumerate(zip(layout.params, step.inputs, strict=True)):
            if k < carries:
                spots[p] = self.before[k]
            elif k < carries + sequences:
                spots[p] = self._slot(self.outer[b], layout.nbytes(p))
            else:
                spots[p] = self.outer[b]
        stacked = layout.stacked()
        sinks = {("carry", j): s for j, s in self.after.items()}
        for k, (to, b) in enumerate(stacked):
            sinks["stack", k] = self._slot(self.outer[to], layout.nbytes(b))
        spots |= {b: sinks[sink] for b, sink in layout.bound.items()}
        copies = [(b, sinks[sink]) for b, sink in layout.copies]
        made = self.tables.inner(self.body, layout.env, spots, layout.body, self.base, copies)
        if made.rows or step.conditional:
            self._loop(made)

    def _slot(self, spot: Spot, size: int) -> Spot:
        """The slice of the first iteration, moving on to the next ones."""
        trips = self.layout.trips
        if self.step.attrs["reverse"]:
            if trips is None:  # the loop itself finds out where it begins
                assert self.layout.follows
                return spot.moving(self.loop, -size)
            return spot.shifted((trips - 1) * size).moving(self.loop, -size)
        return spot.moving(self.loop, size)

    def _loop(self, made: Table) -> None:
        step, layout, tables = self.step, self.layout, self.tables
        cost = made.cost
        trips = layout.trips
        work = MOST_WORK if trips is None else min(MOST_WORK, trips * cost)
        words = [0] * len(LOOP)
        words[LOOP.index("rows")] = len(made.rows)
        words[LOOP.index("limit")] = layout.limit if layout.limit >= 0 else NO_LIMIT
        words[LOOP.index("cost")] = cost
        words[LOOP.index("back")] = layout.follows and step.attrs["reverse"]
        words[LOOP.index("full")] = layout.tight
        tables.tight |= layout.tight
        row = Row(ir_address(loop_source.LOOP_SOURCE), tuple(words), 1, self.index, (), work)
        at = tables.control(self.table, row, [made], LOOP)
        tables.table_links.append((at + LOOP.index("table"), made))
        if step.conditional:
            tables._point(at + LOOP.index("predicate"), self.before[0])
            trips_at = self.outer[step.outputs[step.attrs["carries"]]]
            tables._point(at + LOOP.index("trips"), trips_at)
        self.loop.at = at
        tables.loops.append(self.loop)


__all__ = ["Spot", "Table", "Tables"]
