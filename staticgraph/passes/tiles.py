"""Tiles: elementwise kernels that read an array along another order of axes than they write.

Written row by row, a transpose reads one element of each line of memory that it comes to, and has
lost the line when it comes back for the next.  So it goes from tile to tile: some rows by some
columns, of which a part of the array is copied line by line to a small block that stays in the
first-level cache, and read from there in the other order.  The copy is what counts: read in place,
the lines of a tile lie at one distance, and where that is a power of two they are all put in the
same few places of the cache.

An iteration of the parallel axis does several tiles, one after the other, with one block.  Each
element is computed by itself, so how they are divided changes no value.
"""

from __future__ import annotations

import math
from collections import Counter

from staticgraph.ir.dims import Dim, floordiv, product
from staticgraph.ir.function import Value
from staticgraph.ir.kernel import Let, Loop, Statement, Store, Temp, distinct
from staticgraph.ir.record import record
from staticgraph.ir.scalar import Expr, Index, Lit, Load, Prim, prim
from staticgraph.ir.types import TensorType
from staticgraph.passes.checks import has_checks
from staticgraph.passes.indexing import (
    I64,
    add,
    collapse,
    from_terms,
    linear_terms,
    mul,
    simplify,
)
from staticgraph.passes.kernel_writer import KernelWriter, Scheduled
from staticgraph.passes.regions import Region

SIDE = 64  # rows and columns of a tile of elements of up to four bytes; of larger ones half of it
LONGEST = 512  # rows or columns of a tile that has few of the others
STEP = 16  # sides are multiples of this, which makes whole lines of memory
PAD = 16  # elements between the rows of a block: a column of it is spread over the cache
SMALL = 1 << 14  # elements: what has fewer stays in the first caches whatever the order
SHORT = 16  # axes shorter than this are as well gone along in place
LINE = 64  # bytes of a line of memory
WAY = 4096  # bytes of addresses after which a first-level cache puts lines in the same places ...
WAYS = 8  # ... of which there are as many, at least
STAGED = 4  # arrays that have a block each; further ones are read in place
PIECES = 64  # iterations that the tiles are dealt out to, if there are many ...
TOGETHER = 64  # ... but no more tiles than this to one of them
OPEN = 16  # tiles of an iteration where their number is open
ONE = Lit(1, I64)


@record(frozen=True, slots=True)
class Axis:
    """Neighbouring axes that every access goes through as through one."""

    names: tuple[str, ...]
    dims: tuple[Dim, ...]

    @property
    def size(self) -> Dim:
        """Elements in all."""
        return product(self.dims)


@record(frozen=True, slots=True)
class Tiling:
    """How a region is tiled.

    Attributes:
      axes: the index space; elements that follow each other along the last one are written so.
      across: the number of the axis along which elements that follow each other are read.
      staged: the loads for which that is so.
      height: elements of a tile along `across`.
      width: elements of a tile along the last axis.
    """

    axes: tuple[Axis, ...]
    across: int
    staged: tuple[Load, ...]
    height: int
    width: int


def tiling(region: Region, values: tuple[Value, ...]) -> Tiling | None:
    """How to tile a region of maps, None where tiles do not pay."""
    total = product(region.dims)
    if isinstance(total, int) and total < SMALL:
        return None
    if any(has_checks(m.body) for m in region.members):
        return None  # which tell of the first index that is wrong
    loads: dict[Load, dict[Expr, Dim]] = {}
    for m in region.members:
        for e in distinct(m.body):
            if isinstance(e, Load):
                loads[e] = linear_terms(e.index, values[e.operand].dims)[0]
    axes = _axes(region, list(loads.values()))
    crosswise = _crosswise(loads, axes)
    if not crosswise or _short(axes[-1].size):
        return None
    across = Counter(crosswise.values()).most_common(1)[0][0]
    staged = tuple(e for e, k in crosswise.items() if k == across)[:STAGED]
    height, width = _sides(axes[across].size, axes[-1].size, max(e.dtype.size for e in staged))
    return Tiling(axes, across, staged, height, width)


def _crosswise(loads: dict[Load, dict[Expr, Dim]], axes: tuple[Axis, ...]) -> dict[Load, int]:
    """The loads that are better read along another axis than the last, and the number of that."""
    out: dict[Load, int] = {}
    last, count = Index(axes[-1].names[-1]), axes[-1].size
    for e, terms in loads.items():
        step = terms.get(last, 0)
        if step in (0, 1) or _stays(step, count, e.dtype.size):
            continue
        if all(isinstance(t, Index) for t in terms):
            for k, a in enumerate(axes):
                if terms.get(Index(a.names[-1])) == 1 and not _short(a.size):
                    out[e] = k
    return out


def _axes(region: Region, accesses: list[dict[Expr, Dim]]) -> tuple[Axis, ...]:
    """The axes of a region, those together that all accesses run through as one."""
    apart = {  # what is used otherwise than as a term of an address
        x.name
        for terms in accesses
        for t in terms
        if not isinstance(t, Index)
        for x in distinct(t)
        if isinstance(x, Index)
    }
    for m in region.members:
        stack = [m.body]
        while stack:
            e = stack.pop()
            if isinstance(e, Index):
                apart.add(e.name)
            elif isinstance(e, Prim):
                stack += e.args
    out: list[Axis] = []
    for k, d in enumerate(region.dims):
        name = f"d{k}"
        one = bool(out) and not {name, out[-1].names[-1]} & apart
        if one:
            before, here = Index(out[-1].names[-1]), Index(name)
            one = all(terms.get(before, 0) == terms.get(here, 0) * d for terms in accesses)
        if one:
            out[-1] = Axis((*out[-1].names, name), (*out[-1].dims, d))
        else:
            out.append(Axis((name,), (d,)))
    return tuple(out)


def _short(size: Dim) -> bool:
    return isinstance(size, int) and size < SHORT


def _stays(step: Dim, count: Dim, size: int) -> bool:
    """True where lines are still in the first cache when they are come to again.

    Args:
      step: elements from one that is read to the next, of `count` along the last axis.
      size: bytes of an element.
    """
    if not isinstance(step, int):
        return False
    distance = step * size
    if distance < LINE:
        return True
    places = min(WAY // math.gcd(distance, WAY), WAY // LINE)
    return isinstance(count, int) and count < places * WAYS


def _sides(rows: Dim, columns: Dim, size: int) -> tuple[int, int]:
    """Height and width of tiles; longer ones where the other side is short.

    Args:
      size: bytes of an element.
    """
    side = SIDE if size <= 4 else SIDE // 2
    height, width = _side(rows, side), _side(columns, side)
    if height < side:
        width = _side(columns, min(LONGEST, side * side // height // STEP * STEP))
    elif width < side:
        height = _side(rows, min(LONGEST, side * side // width // STEP * STEP))
    return height, width


def _side(size: Dim, most: int) -> int:
    """The side of tiles that divide an axis evenly."""
    if not isinstance(size, int):
        return most
    if size <= most:
        return size
    even = -(-size // -(-size // most))
    return -(-even // STEP) * STEP


class TileWriter(KernelWriter):
    """The loops over tiles and within them."""

    def __init__(
        self, region: Region, values: tuple[Value, ...], stored: frozenset[Value], how: Tiling
    ) -> None:
        super().__init__(region, values, stored)
        self.how = how
        self.blocks: dict[Load, Load] = {}
        # by axis: where the tile begins, or where it is, and the position within it
        self.first: list[Expr] = [Temp(f"o{k}", I64) for k in range(len(how.axes))]
        self.within: dict[int, Temp] = {
            how.across: Temp("i", I64), len(how.axes) - 1: Temp("j", I64)
        }  # fmt: skip
        self.first[how.across], self.first[-1] = Temp("i0", I64), Temp("j0", I64)

    def tiles(self) -> list[Scheduled]:
        """The kernel."""
        how = self.how
        rows, columns = how.axes[how.across].size, how.axes[-1].size
        down, along = (
            floordiv(n + (t - 1), t) for n, t in ((rows, how.height), (columns, how.width))
        )
        others = [a.size for k, a in enumerate(how.axes) if k not in self.within]
        count = product([*others, down, along])
        together = max(1, min(TOGETHER, count // PIECES)) if isinstance(count, int) else OPEN
        pieces = floordiv(count + (together - 1), together)
        self._places(down, along)
        height = self._length("height", rows, how.height, self.first[how.across])
        width = self._length("width", columns, how.width, self.first[-1])
        start = mul(Temp("p", I64), Lit(together, I64))
        stop = prim("minimum", add(start, Lit(together, I64)), self.size(count))
        far = self._far(rows, columns)
        self._copies(pieces, height, mul(width, far))
        self._values(mul(height, far), width)
        if far != ONE:
            self.blocks = {}
            self._values(simplify(Prim("sub", (height, mul(height, far)), I64)), width)
        self.outer_list = [Loop("t", start, stop, tuple(self.outer_list))]
        return [self.kernel("tile", pieces)]

    def _far(self, rows: Dim, columns: Dim) -> Expr:
        """1 where blocks pay, 0 where the lines of a tile are still in the cache without.

        What is not known of the sizes is looked at by the kernel.
        """
        known = ((rows, SHORT), (columns, SIDE), (product(self.region.dims), SMALL))
        far: Expr = ONE
        for size, least in known:
            if not isinstance(size, int):
                parts = Prim("floordiv", (self.size(size), Lit(least, I64)), I64)
                far = mul(far, prim("minimum", parts, ONE))
        if far != ONE:
            self.outer_list.append(Let("far", far))
            return Temp("far", I64)
        return far

    def _values(self, height: Expr, width: Expr) -> None:
        """Compute and store the elements of a tile."""
        self.open_inner(["i", "j"])
        for m in self.region.members:
            assert self.inner_list is not None
            self.put(m, self.emit(m.body), self.inner_registers, self.inner_list)
        body = tuple(self.close_inner())
        self.outer_list.append(_nest(("i", height), ("j", width), body))

    def _places(self, down: Dim, along: Dim) -> None:
        """Where tile number t is: along the last axis first, then `across`, then the others."""
        how, rest = self.how, Temp("t", I64)
        sizes = {how.across: (down, how.height), len(how.axes) - 1: (along, how.width)}
        others = [k for k in range(len(how.axes)) if k not in sizes]
        order = [*others, how.across, len(how.axes) - 1]
        for k in reversed(order):
            count, step = sizes.get(k, (how.axes[k].size, 1))
            place: Expr = rest
            if k != order[0]:
                place = simplify(Prim("mod", (rest, self.size(count)), I64))
            place = mul(place, Lit(step, I64))
            if isinstance(place, Prim):
                self.outer_list.append(Let(str(self.first[k]), place))
            else:
                self.first[k] = place
            if k != order[0] and count != 1:
                following = Temp(self.name("q"), I64)
                quotient = Prim("floordiv", (rest, self.size(count)), I64)
                self.outer_list.append(Let(following.name, quotient))
                rest = following

    def _length(self, name: str, size: Dim, most: int, first: Expr) -> Expr:
        """The rows or columns of a tile: fewer at the end of an axis.

        Where there are more, not a number even if all are alike: LLVM makes faster code of loops
        that it cannot unroll.
        """
        if isinstance(size, int) and size <= most:
            return Lit(size, I64)
        left = simplify(Prim("sub", (self.size(size), first), I64))
        self.outer_list.append(Let(name, prim("minimum", left, Lit(most, I64))))
        return Temp(name, I64)

    def _copies(self, pieces: Dim, height: Expr, width: Expr) -> None:
        """Copy what is read crosswise in a tile to blocks, line by line."""
        how = self.how
        pitch = how.height + PAD
        at = add(mul(Temp("j", I64), Lit(pitch, I64)), Temp("i", I64))
        at = add(mul(Temp("p", I64), Lit(how.width * pitch, I64)), at)
        for e in how.staged:
            v = self.values[e.operand]
            block = Value(TensorType(v.dtype, (pieces, how.width, pitch)), f"{v.hint}/tile")
            self.open_inner(["i", "j"])
            line = Load(self.pointer(v), (self.address(e.index, v.dims),), e.dtype)
            self.close_inner()
            to = self.pointer(block, True)
            copy = _nest(("j", width), ("i", height), (Store(to, at, line),))
            self.outer_list.append(copy)
            self.blocks[e] = Load(to, (at,), e.dtype)

    # ---- expressions
    def emit(self, e: Expr) -> Expr:
        if isinstance(e, Load) and e in self.blocks and e not in self.inner_memo:
            return self._define("x", e, self.blocks[e])
        return super().emit(e)

    def variable(self, name: str) -> Expr:
        for k, axis in enumerate(self.how.axes):
            if axis.names == (name,):
                return add(self.first[k], self.within[k]) if k in self.within else self.first[k]
        raise KeyError(name)

    def address(self, index: tuple[Expr, ...], dims: tuple[Dim, ...]) -> Expr:
        """The flat address of an element: where the tile's first one is, and the rest."""
        terms, constant = linear_terms(index, dims)
        outer: dict[Expr, Dim] = {}
        inner: dict[Expr, Dim] = {}
        for k, axis in enumerate(self.how.axes):
            whole = Temp(f"axis{k}", I64)
            terms = collapse(terms, axis.names, axis.dims, whole) or terms
            step = terms.pop(whole, None)
            if step is not None:
                if not isinstance(self.first[k], Lit):
                    outer[self.first[k]] = step
                if k in self.within:
                    inner[self.within[k]] = step
        for e, step in terms.items():
            made = self.emit(e)
            target = inner if self._is_inner(made) else outer
            target[made] = target.get(made, 0) + step
        base = self._sized(from_terms(outer, constant))
        if isinstance(base, Prim):
            base = self.outer_memo.get(base) or self._define("b", base, base)
        return add(base, self._sized(from_terms(inner, 0)))


def _nest(outer: tuple[str, Expr], inner: tuple[str, Expr], body: tuple[Statement, ...]) -> Loop:
    zero = Lit(0, I64)
    return Loop(outer[0], zero, outer[1], (Loop(inner[0], zero, inner[1], body),))


__all__ = ["Axis", "TileWriter", "Tiling", "tiling"]
