"""`Table`: the rows of a program as they come to be, and where its values are meanwhile."""

from __future__ import annotations

from dataclasses import field, replace

from staticgraph.ir.program import Branch, Buffer, Program, Step
from staticgraph.ir.record import record
from staticgraph.runtime.row import Row, Sizes

ROW_WORK = 100  # in bytes of traffic, of a row's call and of what a loop does for it


@record(frozen=True, slots=True)
class Spot:
    """Where a buffer is while a table is walked.

    Args:
      moves: loops in which it moves, outermost first, with what is added to its address after each
        iteration and what is then flipped in it.
      feed: the parameter that it lies in, whose address may be another in each run; `offset` bytes
        from its start.
    """

    address: int
    moves: tuple[tuple[Loop, int, int], ...] = ()
    feed: Buffer | None = None
    offset: int = 0

    def shifted(self, n: int) -> Spot:
        """`n` bytes further on."""
        return replace(self, address=self.address + n, offset=self.offset + n)

    def moving(self, loop: Loop, add: int, flip: int = 0) -> Spot:
        """The same, moving in one more loop."""
        if not add and not flip:
            return self
        return replace(self, moves=(*self.moves, (loop, add, flip)))


@record(eq=False, slots=True)
class Patch:
    """A word that changes in each iteration; `at` is its own place, once it has one."""

    target: int | Patch
    first: int
    add: int
    flip: int
    at: int = -1

    @property
    def cell(self) -> int:
        """The cell of the first value."""
        return self.at + 1


@record(eq=False)
class Loop:
    """The patches of a loop, and where its block begins, if it is ever run."""

    patches: list[Patch] = field(default_factory=list)
    at: int = -1


@record(eq=False)
class Table:
    """The rows of a program; `inside` are the tables of those that are loops or branches.

    Attributes:
      at, ends: where each row's argument block begins and ends among the words.
      first: the position of the first row among all rows.
    """

    program: Program
    env: Sizes
    rows: list[Row] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    inside: dict[int, tuple[Table, ...]] = field(default_factory=dict)
    first: int = 0

    @property
    def cost(self) -> int:
        """The work of going through it once, without that of loops in it."""
        own = sum(ROW_WORK + r.work for k, r in enumerate(self.rows) if k not in self.inside)
        branches = [t for k, t in self.inside.items() if isinstance(self.step(k), Branch)]
        return own + sum(max(t.cost for t in tables) for tables in branches) + ROW_WORK

    @property
    def count(self) -> int:
        """The rows, with those inside."""
        return len(self.rows) + sum(t.count for ts in self.inside.values() for t in ts)

    def step(self, row: int) -> Step:
        """The step that a row is of."""
        return self.program.steps[self.rows[row].step]


__all__ = ["ROW_WORK", "Loop", "Patch", "Spot", "Table"]
