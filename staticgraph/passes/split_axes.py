"""Axes that addresses take apart become several axes.

What a reshape reads of ``x[i, j]`` at element p is ``x[p // m, p % m]``.  Over the axes i and j of
which p is made this is an address with strides, and whoever chooses an order of loops can see in
which order memory is read.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from staticgraph.ir.dims import Dim, floordiv, mod
from staticgraph.ir.kernel import distinct
from staticgraph.ir.record import record
from staticgraph.ir.scalar import Expr, Index, Lit, Prim
from staticgraph.passes.indexing import I64, add, mul, rewrite
from staticgraph.passes.regions import Member, Region


@record(frozen=True, slots=True)
class _Digits:
    """What is left of an axis without the `below` and above `above`: ``axis % above // below``."""

    name: str
    below: int
    above: int | None


@record(frozen=True, slots=True)
class _Parts:
    """An axis as the variables it is made of, each with its step."""

    size: Dim
    parts: tuple[tuple[str, int], ...]

    def ends_at(self, end: int) -> bool:
        """True where no variable reaches over a multiple of `end`."""
        beyond = isinstance(self.size, int) and end >= self.size
        return beyond or any(step == end for _, step in self.parts)


def split_axes(region: Region) -> Region:
    """The region over axes that its addresses do not take apart, where there are such.

    Returns:
      The same values over a domain of as many elements in the same order, or the region itself.
    """
    ends: dict[str, set[int]] = {}
    for m in region.members:
        for e in distinct(m.body):
            found = _digits(e)
            if found is not None:
                ends.setdefault(found.name, set()).update((found.below, found.above or 1))
    dims: list[Dim] = []
    parts: dict[str, _Parts] = {}
    for k, d in enumerate(region.dims):
        steps = _steps(d, ends.get(f"d{k}", set()))
        sizes = [b // a for a, b in itertools.pairwise(steps)]
        names = [f"d{len(dims) + i}" for i in range(len(steps))]
        dims += [floordiv(d, steps[-1]), *reversed(sizes)]
        parts[f"d{k}"] = _Parts(d, tuple(zip(names, reversed(steps), strict=True)))
    if len(dims) == len(region.dims):
        return region
    leaf = _replacement(parts)
    members = [
        Member(
            m.value, m.node, rewrite(m.body, leaf), m.reduce, m.scope,
            tuple(rewrite(a, leaf) for a in m.axes), m.level,
        )
        for m in region.members
    ]  # fmt: skip
    return Region(region.order, "flat", tuple(dims), len(dims), members, region.cost)


def _digits(e: Expr) -> _Digits | None:
    """What an expression is of an axis; None where it is something else."""
    match e:
        case Index(name):
            return _Digits(name, 1, None)
        case Prim("floordiv" | "mod", (x, Lit(by))) if e.dtype is I64 and by > 0:
            of = _digits(x)
            if of is None:
                return None
            end = of.below * int(by)
            if of.above is not None and of.above % end:
                return None
            if e.name == "mod":
                return _Digits(of.name, of.below, end)
            return _Digits(of.name, end, of.above)
        case _:
            return None


def _steps(size: Dim, ends: set[int]) -> list[int]:
    """From 1 on, the steps of the axes that one is divided into; each divides the next."""
    steps = [1]
    for end in sorted(ends - {1}):
        if isinstance(size, int) and end >= size:
            break
        if end % steps[-1] or mod(size, end) != 0:
            return [1]
        steps.append(end)
    return steps


def _replacement(axes: dict[str, _Parts]) -> Callable[[Expr], Expr | None]:
    """What stands for an axis, and for what is taken of it, over the new variables."""

    def leaf(e: Expr) -> Expr | None:
        found = _digits(e)
        if found is None:
            return None
        axis = axes[found.name]
        if not axis.ends_at(found.below) or not axis.ends_at(found.above or 1):
            return None
        total: Expr = Lit(0, I64)
        for name, step in axis.parts:
            if step >= found.below and (found.above is None or step < found.above):
                total = add(total, mul(Index(name), Lit(step // found.below, I64)))
        return total

    return leaf


__all__ = ["split_axes"]
