"""What an expression costs, what it reads, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

from staticgraph.ir import dtypes
from staticgraph.ir.function import Node
from staticgraph.ir.kernel import distinct, subexpressions
from staticgraph.ir.scalar import PRIMITIVES, Expr, Index, Lit, Load, Prim


def measure(e: Expr) -> tuple[int, int, int]:
    """Distinct subexpressions, their cost, and how many of them load more than a scalar."""
    cost = loads = 0
    found = distinct(e)
    for x in found:
        if type(x) is Prim:
            if x.dtype is not dtypes.int64:
                cost += PRIMITIVES[x.name].cost
        elif type(x) is Load:
            loads += any(type(i) is not Lit for i in x.index)
    return len(found), cost, loads


def wide_loads(node: Node, body: Expr) -> int:
    """Loads of as many elements as the value has; rows and columns that broadcast do not count."""
    axes = sum(d != 1 for d in node.output.dims)
    return sum(
        isinstance(e, Load)
        and len({i for x in e.index for i in subexpressions(x) if isinstance(i, Index)}) >= axes
        for e in distinct(body)
    )


def memory_order(body: Expr, names: Sequence[str]) -> list[str]:
    """The variables in the order in which the widest plain load has them; others first."""
    best: list[str] = []
    for e in distinct(body):
        if isinstance(e, Load):
            plain = [i.name for i in e.index if isinstance(i, Index)]
            others = [i for i in e.index if not isinstance(i, Index | Lit)]
            if not others and len(set(plain)) == len(plain) and len(plain) > len(best):
                best = plain
    return [n for n in names if n not in best] + best


__all__ = ["measure", "memory_order", "wide_loads"]
