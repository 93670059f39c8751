"""What fusion makes: values that are computed together, and what bounds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Literal

from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.function import Node, Value
from staticgraph.ir.record import record
from staticgraph.ir.scalar import Expr, Index, ReduceKind
from staticgraph.passes.checks import Check
from staticgraph.passes.indexing import substitute

HALF = (dtypes.float16, dtypes.bfloat16)


@record(frozen=True, slots=True)
class FusionLimits:
    """The cost rule, in one place.  Costs are in additions; see `ir.scalar.PRIMITIVES`."""

    inline_size: int = 48  # expressions larger than this are computed once
    shared_cost: int = 4  # a value with several readers is recomputed up to this cost
    expand_cost: int = 4  # ... and one read many times per element (broadcast) up to this
    region_cost: int = 400  # a kernel does not grow past this
    region_members: int = 48
    region_pointers: int = 40
    size_cost: int = 32  # a number made of sizes alone is recomputed up to this cost
    unrelated_size: int = 1024  # larger values that have nothing in common stay apart
    across_rows: int = 1024  # rows from which on they are worth the partial sums of columns ...
    across_columns: range = range(64, 4097)  # ... that stay in the first caches


Scope = Literal["full", "outer", "across"]


@record(slots=True)
class Member:
    """One value of a region: `body` over the domain's variables d0, d1, ...

    `scope` says what it is computed for: every element, every row (column regions: every kept
    element), or, across the rows of a row region, every column.  `axes` are the variables that
    index the value, axes of size 1 left out.  `level` is the pass it belongs to.
    """

    value: Value
    node: Node
    body: Expr
    reduce: ReduceKind | None
    scope: Scope
    axes: tuple[Expr, ...]
    level: int = 0


@record(slots=True, eq=False)
class Region:
    """Values computed together; `dims[:split]` is the outer (row) space, the rest is inner.

    In a column region it is the other way round: `dims[:split]` is reduced.
    """

    order: int
    form: Literal["flat", "row", "column"]
    dims: tuple[Dim, ...]
    split: int
    members: list[Member] = field(default_factory=list)
    cost: int = 0
    pointers: set[int] = field(default_factory=set)  # numbers of the values that members load

    @property
    def outer(self) -> tuple[Dim, ...]:
        """The axes of values per row (per kept element in a column region)."""
        return self.dims[self.split :] if self.form == "column" else self.dims[: self.split]

    def outer_vars(self) -> tuple[Expr, ...]:
        """The variables of `outer`."""
        names = variables(self.dims)
        return names[self.split :] if self.form == "column" else names[: self.split]


def variables(dims: Sequence[Dim]) -> tuple[Expr, ...]:
    """The loop variables of a domain."""
    return tuple(Index(f"d{k}") for k in range(len(dims)))


@record(frozen=True, slots=True)
class Fused:
    """What fusion gives: steps in order, and what a load's number stands for."""

    items: tuple[Region | Node, ...]
    values: tuple[Value, ...]
    inlined: frozenset[Value]
    checking: frozenset[Value] = frozenset()  # values whose own expression checks an index
    checks: tuple[Check, ...] = ()  # of indices, apart from the regions that use them

    def __str__(self) -> str:
        from staticgraph.passes.fused_text import print_fused  # which imports this module

        return print_fused(self)


def as_row(region: Region) -> Region:
    """The same members with the kept axes first."""
    n, k = len(region.dims), region.split
    order = [*range(k, n), *range(k)]
    env = {f"d{old}": Index(f"d{new}") for new, old in enumerate(order)}
    members = [
        Member(
            m.value,
            m.node,
            substitute(m.body, env),
            m.reduce,
            m.scope,
            tuple(substitute(x, env) for x in m.axes),
            m.level,
        )
        for m in region.members
    ]
    return Region(
        region.order, "row", tuple(region.dims[i] for i in order), n - k, members, region.cost
    )


__all__ = ["HALF", "Fused", "FusionLimits", "Member", "Region", "Scope", "as_row", "variables"]
