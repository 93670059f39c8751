"""Rows that a kernel writes, reads again, and writes anew: which of them need not be in memory.

A softmax puts exponentials where its result belongs, and comes back to divide them.  Between both
passes the row may as well be somewhere else: only what the last one writes has to be in memory.
`kept_rows` finds such rows.  Whoever prints a kernel may then hold them in a block of their own.
"""

from __future__ import annotations

from collections.abc import Iterator

from staticgraph.ir.kernel import (
    Accumulate,
    AccumulateArg,
    Init,
    Kernel,
    Let,
    Loop,
    Pointer,
    Set,
    Statement,
    Store,
    Temp,
    Var,
    expressions,
    subexpressions,
    walk,
)
from staticgraph.ir.record import record
from staticgraph.ir.scalar import Expr, Lit, Load, Prim

LONGEST = 16384  # bytes of a row that is kept: half of a small first-level cache


@record(frozen=True, slots=True)
class Row:
    """A part of an array, at one element after the other.

    Attributes:
      first: the index of its first element less the start of the loops.
      length: how many elements.
      loops: those that write or read it, in order; the last one writes it.
    """

    first: Expr
    length: int
    loops: tuple[Loop, ...]

    def has(self, loop: Loop) -> bool:
        """True for a loop that writes or reads it."""
        return any(loop is x for x in self.loops)


def kept_rows(kernel: Kernel) -> dict[int, Row]:
    """The parameters of which every element is written before it is read, row by row.

    Their first loop writes the whole row and the last one, too; all run over the same elements, and
    what one of them reads it has not yet written.
    """
    found: dict[int, Row] = {}
    moving = {s.name for s in walk(kernel.body) if isinstance(s, Set | Accumulate | AccumulateArg)}
    for k in read_params(kernel):
        p = kernel.params[k]
        if not isinstance(p, Pointer) or not p.written:
            continue
        row = _row(k, kernel.body)
        if row is None or not 0 < row.length * p.dtype.size <= LONGEST:
            continue
        if not any(isinstance(x, Temp) and x.name in moving for x in subexpressions(row.first)):
            found[k] = row
    return found


def read_params(kernel: Kernel) -> set[int]:
    """The parameters that a kernel loads elements of."""
    return {
        x.operand
        for s in walk(kernel.body)
        for e in expressions(s)
        for x in subexpressions(e)
        if isinstance(x, Load)
    }


def place(index: Expr, loop: Loop) -> Expr | None:
    """An index less the loop's variable, where that is a summand of it and the rest is fixed."""
    first = _less(index, loop.var)
    named = (Let, Init, Var, Set, Accumulate, AccumulateArg, Loop)
    changing = {loop.var} | {
        s.var if isinstance(s, Loop) else s.name for s in walk(loop.body) if isinstance(s, named)
    }
    if first is None or any(
        isinstance(x, Load) or (isinstance(x, Temp) and x.name in changing)
        for x in subexpressions(first)
    ):
        return None
    return first


def _row(k: int, body: tuple[Statement, ...]) -> Row | None:
    loops = [s for s in body if _touches(s, k)]
    match loops:
        case [Loop(_, _, _, inner)] if any(isinstance(s, Loop) for s in inner):
            return _row(k, inner)
    first: Expr | None = None
    bounds: tuple[int, int] | None = None
    stores = False
    for loop in loops:
        match loop:
            case Loop(_, Lit(start), Lit(stop), inner) if not any(
                isinstance(s, Loop) for s in inner
            ):
                at = _place_in(k, loop)
            case _:
                return None
        if at is None or (first is not None and (at, (start, stop)) != (first, bounds)):
            return None
        stores = any(isinstance(s, Store) and s.param == k for s in loop.body)
        if first is None and (not stores or any(list(_loads(s, k)) for s in loop.body)):
            return None
        first, bounds = at, (int(start), int(stop))
    if first is None or bounds is None or not stores:
        return None
    return Row(first, bounds[1] - bounds[0], tuple(s for s in loops if isinstance(s, Loop)))


def _place_in(k: int, loop: Loop) -> Expr | None:
    """Where a loop reads or writes an array: at one element, which it reads before it writes."""
    at: set[Expr] = set()
    written = False
    for s in loop.body:
        loads = list(_loads(s, k))
        if written and loads:
            return None
        at |= {x.index[0] for x in loads}
        if isinstance(s, Store) and s.param == k:
            if written:
                return None
            written = True
            at.add(s.index)
    return place(at.pop(), loop) if len(at) == 1 else None


def _touches(s: Statement, k: int) -> bool:
    return any((isinstance(x, Store) and x.param == k) or list(_loads(x, k)) for x in walk((s,)))


def _loads(s: Statement, k: int) -> Iterator[Load]:
    for e in expressions(s):
        for x in subexpressions(e):
            if isinstance(x, Load) and x.operand == k:
                yield x


def _less(index: Expr, var: str) -> Expr | None:
    if isinstance(index, Temp):
        return Lit(0, index.dtype) if index.name == var else None
    if isinstance(index, Prim) and index.name == "add":
        x, y = index.args
        for one, other in ((x, y), (y, x)):
            rest = _less(one, var)
            if rest is not None:
                plain = isinstance(rest, Lit) and rest.value == 0
                return other if plain else Prim("add", (rest, other), index.dtype)
    return None


__all__ = ["Row", "kept_rows", "place", "read_params"]
