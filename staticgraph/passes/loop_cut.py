"""Loops over what was joined are cut where one part ends and the next begins.

An element of a concatenation is chosen by comparing its position with the ends of the parts, and
each part is read at a position that is kept within it: as one loop these are gathers and
selections, for every element from every part.  Between two ends the comparisons have one outcome;
a loop that stays between them reads one part, one element after the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from staticgraph.ir import dtypes
from staticgraph.ir.kernel import Let, Loop, Statement, Store, Temp, distinct, expressions
from staticgraph.ir.scalar import Expr, Lit, Load, Prim

MOST = 8  # pieces of a loop; each is code of its own


def cut(body: Sequence[Statement]) -> tuple[Statement, ...]:
    """Statements with their innermost loops cut.

    Only loops with known bounds that compute and store, and nothing else: what adds up keeps its
    order, and what checks an index goes on checking it.
    """
    out: list[Statement] = []
    for s in body:
        if not isinstance(s, Loop):
            out.append(s)
        elif any(isinstance(x, Loop) for x in s.body):
            out.append(Loop(s.var, s.start, s.stop, cut(s.body)))
        else:
            out += _pieces(s)
    return tuple(out)


def _pieces(loop: Loop) -> list[Loop]:
    if not (isinstance(loop.start, Lit) and isinstance(loop.stop, Lit)):
        return [loop]
    if not all(isinstance(s, Let | Store) for s in loop.body):
        return [loop]
    start, stop = int(loop.start.value), int(loop.stop.value)
    offsets = {loop.var: 0}
    ends: set[int] = set()
    for s in loop.body:
        for e in expressions(s):
            for x in distinct(e):
                if isinstance(x, Prim) and x.name == "check_index":
                    return [loop]
                end = _end(x, offsets)
                if end is not None and start < end < stop:
                    ends.add(end)
        _remember(s, offsets)
    if not ends or len(ends) >= MOST:
        return [loop]
    edges = [start, *sorted(ends), stop]
    return [_Piece(loop, a, b).loop() for a, b in itertools.pairwise(edges)]


def _remember(s: Statement, offsets: dict[str, int]) -> None:
    """Note that a name is the loop's variable and a number."""
    if isinstance(s, Let):
        offset = _offset(s.value, offsets)
        if offset is not None:
            offsets[s.name] = offset


def _offset(e: Expr, offsets: dict[str, int]) -> int | None:
    """The number in "the loop's variable and a number"; None of everything else."""
    match e:
        case Temp(name):
            return offsets.get(name)
        case Prim("add", (x, Lit(value))):
            inner = _offset(x, offsets)
            return None if inner is None else inner + int(value)
        case _:
            return None


def _end(e: Expr, offsets: dict[str, int]) -> int | None:
    """The first value of the loop's variable with another outcome of a comparison."""
    if isinstance(e, Prim) and e.name in ("lt", "ge", "le", "gt"):
        x, bound = e.args
        offset = _offset(x, offsets)
        if offset is not None and isinstance(bound, Lit):
            return int(bound.value) - offset + (e.name in ("le", "gt"))
    return None


class _Piece:
    """The part of a loop from `start` to `stop`, where every comparison has one outcome."""

    def __init__(self, loop: Loop, start: int, stop: int) -> None:
        self.whole, self.start, self.stop = loop, start, stop
        self.offsets = {loop.var: 0}
        self.names: dict[str, Expr] = {}
        self.memo: dict[Expr, Expr] = {}

    def loop(self) -> Loop:
        made: list[Statement] = []
        for s in self.whole.body:
            _remember(s, self.offsets)
            match s:
                case Let(name, value):
                    new = self.simple(value)
                    if isinstance(new, Lit | Temp):
                        self.names[name] = new
                    else:
                        made.append(Let(name, new))
                case Store(param, index, value):
                    made.append(Store(param, self.simple(index), self.simple(value)))
                case _:
                    raise TypeError(type(s).__name__)
        start, stop = (Lit(n, dtypes.int64) for n in (self.start, self.stop))
        return Loop(self.whole.var, start, stop, _used(made))

    def simple(self, e: Expr) -> Expr:
        """An expression, without what is decided."""
        found = self.memo.get(e)
        if found is None:
            found = self.memo[e] = self._simple(e)
        return found

    def _simple(self, e: Expr) -> Expr:
        end = _end(e, self.offsets)
        if end is not None and isinstance(e, Prim):
            below = self.start < end  # the edges are ends: all of the piece is on one side
            return Lit(below == (e.name in ("lt", "le")), dtypes.bool_)
        match e:
            case Temp(name):
                return self.names.get(name, e)
            case Load(operand, index, dtype):
                return Load(operand, tuple(map(self.simple, index)), dtype)
            case Prim("select", (condition, a, b)):
                chosen = self.simple(condition)
                if isinstance(chosen, Lit):
                    return self.simple(a if chosen.value else b)
                return Prim("select", (chosen, self.simple(a), self.simple(b)), e.dtype)
            case Prim("and" | "or" as name, args):
                x, y = map(self.simple, args)
                for one, other in ((x, y), (y, x)):
                    if isinstance(one, Lit):
                        return one if bool(one.value) == (name == "or") else other
                return Prim(name, (x, y), e.dtype)
            case Prim(name, args):
                return Prim(name, tuple(map(self.simple, args)), e.dtype)
            case _:
                return e


def _used(statements: Sequence[Statement]) -> tuple[Statement, ...]:
    """Statements without definitions that nothing reads."""
    read: set[str] = set()
    out: list[Statement] = []
    for s in reversed(statements):
        if isinstance(s, Let) and s.name not in read:
            continue
        out.append(s)
        for e in expressions(s):
            read |= {x.name for x in distinct(e) if isinstance(x, Temp)}
    return tuple(reversed(out))


__all__ = ["cut"]
