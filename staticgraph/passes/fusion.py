"""Fusion: which values are computed together in one pass over memory.

Every lowerable node becomes an index lambda.  A cheap one is *inlined*: its expression replaces
the loads of its consumers.  The others are *roots*, and roots over one index space are gathered
into `Region`s, each of which becomes one kernel:

    flat     maps over one space, one element per step of the parallel axis
    row      reductions over the trailing axes, maps over the whole space and over the rows; as
             many passes over a row as reductions depend on each other (softmax: three); and
             reductions *across* many rows that read what the rows are made of
    column   reductions over the leading axes, in row-major order of memory, plus maps over the
             whole space and over what is kept

A value read only inside its region, at the element just computed, lives in a register.

The invariant that keeps the order acyclic: every region and every other step has a place in one
list, and a node joins a region only if all it reads from outside stands before that place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Literal, cast

import numpy as np

from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim, Poly, product, symbols_of
from staticgraph.ir.function import Function, Given, Node, Value
from staticgraph.ir.kernel import distinct
from staticgraph.ir.record import record
from staticgraph.ir.scalar import (
    ZERO,
    Expr,
    Index,
    Lit,
    Load,
    Operand,
    Reduce,
    ReduceKind,
    Size,
)
from staticgraph.passes.checks import Apart, Check, has_checks, numbered
from staticgraph.passes.indexing import clamps, rewrite, substitute, unsafe_when_empty
from staticgraph.passes.measure import measure, memory_order, wide_loads
from staticgraph.passes.regions import (
    HALF,
    Fused,
    FusionLimits,
    Member,
    Region,
    Scope,
    variables,
)
from staticgraph.passes.views import read_inputs

KERNEL_DTYPES = frozenset(
    d.name
    for d in (
        dtypes.bool_, dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64, dtypes.uint8,
        dtypes.uint16, dtypes.uint32, dtypes.uint64, dtypes.float16, dtypes.bfloat16,
        dtypes.float32, dtypes.float64,
    )
)  # fmt: skip


@record(slots=True)
class _Lowered:
    dims: tuple[Dim, ...]
    body: Expr
    reduce: ReduceKind | None
    form: Literal["flat", "row", "column"]
    split: int
    axes: tuple[Expr, ...]


def fuse(f: Function, limits: FusionLimits | None = None, enabled: bool = True) -> Fused:
    """Gather the nodes of a function into regions.

    Args:
      enabled: with False every node is a region of its own (the unoptimised form).
    """
    return _Fusion(f, limits or FusionLimits(), enabled).run()


class _Fusion:
    def __init__(self, f: Function, limits: FusionLimits, enabled: bool) -> None:
        self.f, self.limits, self.enabled = f, limits, enabled
        self.number: dict[Value, int] = {}
        self.values: list[Value] = []
        self.bodies: dict[int, Expr] = {}  # inlined values: body over i0, i1, ...
        self.items: list[Region | Node] = []
        self.home: dict[int, int] = {}  # value number -> place in items
        self.by_dims: dict[tuple[Dim, ...], Region] = {}
        self.readers: dict[int, deque[Region]] = {}  # value number -> the last regions that read it
        self.region_of: dict[int, tuple[Region, Member]] = {}
        self.consumers: dict[Value, list[Node]] = {}
        self.checking: set[Value] = set()
        self.places = {n.outputs[0]: i for i, n in enumerate(f.nodes) if n.outputs}
        self.external: set[Value] = set(f.outputs())
        self.origins = {
            s: o.value for s, o in f.sizes.items() if not isinstance(o, Given)
        }  # fmt: skip
        made = f.producers()
        for n in f.nodes:
            for v in n.inputs:
                self.consumers.setdefault(v, []).append(n)
            if not lowerable(n):
                self.external.update(read_inputs(n, made))

    def id(self, v: Value) -> int:
        k = self.number.get(v)
        if k is None:
            k = self.number[v] = len(self.values)
            self.values.append(v)
        return k

    def run(self) -> Fused:
        inlined: set[Value] = set()
        for node in self.f.nodes:
            if not lowerable(node):
                literal = self._literal(node)
                if literal is not None:
                    self.bodies[self.id(node.output)] = literal
                    if node.output not in self.external:
                        inlined.add(node.output)
                        continue
                for v in node.outputs:
                    self.home[self.id(v)] = len(self.items)
                self.items.append(node)
                continue
            raw = self._lower(node)
            if isinstance(raw, Expr) and self._inline(node, raw):
                self.bodies[self.id(node.output)] = raw
                inlined.add(node.output)
                continue
            self._place(node, self._domain(node, raw))
        self._adopt()
        return Fused(
            tuple(self.items), tuple(self.values), frozenset(inlined), frozenset(self.checking),
            self._checks() if self.checking else (),
        )  # fmt: skip

    def _checks(self) -> tuple[Check, ...]:
        """Take the checks of indices out of the regions, where that can be."""
        made: dict[Value, int] = {}
        hosts: list[int] = []
        for place, item in enumerate(self.items):
            if isinstance(item, Region):
                made.update((m.value, place) for m in item.members)
            elif item.op.name != "Const":
                made.update((v, place) for v in item.outputs)
                if item.op.library is None:
                    hosts.append(place)
        apart = Apart(self.f, self.values, made, hosts)
        for place, item in enumerate(self.items):
            if isinstance(item, Region):
                for m in item.members:
                    m.body = apart.body(m.body, place, item.dims)
        return apart.checks()

    def _literal(self, node: Node) -> Expr | None:
        if node.op.name != "Const" or node.output.dtype.name not in KERNEL_DTYPES:
            return None
        a = node.attrs["value"].array
        if a.size != 1:
            return None
        return Lit(
            a.reshape(()).astype(np.float64 if a.dtype.kind == "V" else a.dtype).item(),
            node.output.dtype,
        )

    # ---- lowering of one node, inlined producers substituted
    def _lower(self, node: Node) -> Expr | tuple[Reduce, Expr]:
        reduce, body = self._lambda(node)
        expanded = self._expand(self._numbered(node, body))
        return expanded if reduce is None else (reduce, expanded)

    def _lambda(self, node: Node) -> tuple[Reduce | None, Expr]:
        operands = [Operand(self.id(v), v.type) for v in node.inputs]
        ix = tuple([ZERO if d == 1 else Index(f"i{k}") for k, d in enumerate(node.output.dims)])
        assert node.op.lower is not None
        out = node.op.lower(ix, *operands, **node.attrs)
        if isinstance(out, Reduce):
            rix = tuple([ZERO if d == 1 else Index(f"r{k}") for k, d in enumerate(out.extents)])
            return out, out.body(rix)
        return None, out

    def _numbered(self, node: Node, body: Expr) -> Expr:
        if not has_checks(body):
            return body
        self.checking.add(node.output)
        return numbered(body, self.places[node.output])

    def _expand(self, e: Expr) -> Expr:
        memo: dict[Expr, Expr] = {}

        def leaf(x: Expr) -> Expr | None:
            if isinstance(x, Load) and x.operand in self.bodies:
                index = tuple(rewrite(i, leaf, memo) for i in x.index)
                return substitute(self.bodies[x.operand], {f"i{k}": e for k, e in enumerate(index)})
            return None

        return rewrite(e, leaf, memo)

    def _inline(self, node: Node, body: Expr) -> bool:
        v = node.output
        if not self.enabled or v in self.external:
            return False
        size, cost, loads = measure(body)
        users = self.consumers.get(v, [])
        if size > self.limits.inline_size or not users:
            return False
        if product(v.dims) == 1 and not _reads(body):
            return cost <= self.limits.size_cost  # such as 1/n: it does not change in any loop
        expands = any(_expands(u, v) for u in users)
        if expands and cost > self.limits.expand_cost:
            return False
        if unsafe_when_empty(body, v.dims) and any(
            u.op.lower and clamps(self._lambda(u)[1], self.id(v)) for u in users
        ):
            return False
        if len(users) == 1:
            return True
        if cost > self.limits.shared_cost:
            return False
        # To keep a value is to write it, which fetches its place first, and to read it for every
        # reader: three passes over memory for one, four for two.
        return loads <= 1 or wide_loads(node, body) <= (2 if len(users) <= 2 else 1)

    # ---- the space a root is computed over
    def _domain(self, node: Node, raw: Expr | tuple[Reduce, Expr]) -> _Lowered:
        sizes = {f"i{k}": d for k, d in enumerate(node.output.dims) if d != 1}
        if isinstance(raw, Expr):
            names = list(sizes)
            dims = tuple(sizes.values())
            env = {n: Index(f"d{k}") for k, n in enumerate(names)}
            return _Lowered(dims, substitute(raw, env), None, "flat", len(dims), variables(dims))
        reduce, body = raw
        kept = list(sizes)
        gone = [f"r{k}" for k, d in enumerate(reduce.extents) if d != 1]
        sizes |= {f"r{k}": d for k, d in enumerate(reduce.extents) if d != 1}
        order = memory_order(body, kept + gone)
        flags = [n in gone for n in order]
        first, last = (
            flags.index(True) if gone else 0,
            len(flags) - 1 - flags[::-1].index(True) if gone else -1,
        )
        arg = reduce.kind in ("argmax", "argmin")
        form: Literal["row", "column"] = "row"
        in_order = [n for n in order if n in kept] == kept  # columns are stored as they are read
        if (
            gone
            and kept
            and in_order
            and not arg
            and first == 0
            and not any(flags[last + 1 :])
            and all(flags[: last + 1])
        ):
            form, split = "column", last + 1
        else:
            order, split = (
                [n for n in order if n not in gone] + [n for n in order if n in gone],
                len(kept),
            )
        env = {n: Index(f"d{k}") for k, n in enumerate(order)}
        axes = tuple(env[n] for n in kept)
        dims = tuple(sizes[n] for n in order)
        return _Lowered(dims, substitute(body, env), reduce.kind, form, split, axes)

    # ---- joining
    def _place(self, node: Node, low: _Lowered) -> None:
        value = node.output
        loads = {e.operand for e in distinct(low.body) if type(e) is Load}
        cost = measure(low.body)[1]
        latest = max((self.home.get(n, -1) for n in loads), default=-1)
        told = max((self.home.get(n, -1) for n in self._origins(low.body)), default=-1)
        for region in self._candidates(loads, low, max(latest, told + 1)):
            member = self._fit(region, node, low, loads, latest, cost)
            if member is not None:
                self._join(region, member, low, cost, loads)
                return
        region = Region(len(self.items), low.form, low.dims, low.split)
        self.items.append(region)
        member = Member(value, node, low.body, low.reduce, "full", low.axes)
        self._join(region, member, low, cost, loads)
        self.by_dims[low.dims] = region

    def _origins(self, body: Expr) -> set[int]:
        """The values on which sizes that an expression reads as numbers are measured."""
        symbols = {s for e in distinct(body) if type(e) is Size for s in symbols_of(e.dim)}
        measured = {self.origins[s] for s in symbols if s in self.origins}
        return {self.number[v] for v in measured if v in self.number}

    def _candidates(self, loads: set[int], low: _Lowered, latest: int) -> Iterator[Region]:
        if not self.enabled:
            return
        found = [self.region_of[n][0] for n in loads if n in self.region_of]
        found += [r for n in loads for r in self.readers.get(n, ())]
        size = product(low.dims)
        if not isinstance(size, int) or size <= self.limits.unrelated_size:
            found += [r for r in (self.by_dims.get(low.dims),) if r is not None]
        for region in dict.fromkeys(r.order for r in found if r.order >= latest):
            yield cast("Region", self.items[region])

    def _fit(
        self, region: Region, node: Node, low: _Lowered, loads: set[int], latest: int, cost: int
    ) -> Member | None:
        lim = self.limits
        if region.cost + cost > lim.region_cost or len(region.members) >= lim.region_members:
            return None
        if any(
            self.home.get(n, -1) >= region.order and self.home.get(n) != region.order for n in loads
        ):
            return None
        scope: Scope
        body, form, split, axes = low.body, region.form, region.split, low.axes
        if low.dims == region.dims and (
            low.reduce is None
            or region.form == "flat"
            or (low.form, low.split) == (region.form, region.split)
        ):
            scope = "full"
            if low.reduce is not None and region.form == "flat":
                form, split = low.form, low.split
        elif low.reduce is None and region.form != "flat" and low.dims == region.outer:
            scope = "outer"
            shift = region.split if region.form == "column" else 0
            body = substitute(body, {f"d{k}": Index(f"d{k + shift}") for k in range(len(low.dims))})
            axes = region.outer_vars()
        elif low.form == "column" and region.form == "row" and self._across(region, low, loads):
            scope = "across"
        else:
            return None
        if len(region.pointers | loads) + len(region.members) > lim.region_pointers:
            return None
        level = self._level(region, body, scope, form, split)
        if level is None:
            return None
        return Member(node.output, node, body, low.reduce, scope, axes, level)

    def _adopt(self) -> None:
        """Reduce columns across rows of which only later nodes read the same values."""
        columns = [
            r for r in self.items
            if isinstance(r, Region) and r.form == "column" and self._tall(r)
            and all(m.reduce is not None for m in r.members)
        ]  # fmt: skip
        if not columns or not self.enabled:
            return
        read = self._first_reads()
        for c in columns:
            mine = {self.id(m.value) for m in c.members}
            until = min((read[n] for n in mine if n in read), default=len(self.items))
            for rows in dict.fromkeys(r for n in c.pointers for r in self.readers.get(n, ())):
                if rows.form == "row" and rows.order < until and self._move(c, rows):
                    break
        self.items = [r for r in self.items if not isinstance(r, Region) or r.members]

    def _first_reads(self) -> dict[int, int]:
        """The first item that reads a value."""
        made, out = self.f.producers(), dict[int, int]()
        for place, item in enumerate(self.items):
            inputs = read_inputs(item, made) if isinstance(item, Node) else ()
            numbers = item.pointers if isinstance(item, Region) else map(self.id, inputs)
            for n in numbers:
                out.setdefault(n, place)
        return out

    def _move(self, columns: Region, rows: Region) -> bool:
        """Let a row region reduce the columns of another region, if it can."""
        if rows.cost + columns.cost > self.limits.region_cost:
            return False
        found = []
        for m in columns.members:
            low = _Lowered(columns.dims, m.body, m.reduce, "column", columns.split, m.axes)
            loads = {e.operand for e in distinct(m.body) if type(e) is Load}
            found.append((self._fit(rows, m.node, low, loads, -1, 0), low, loads))
        if any(member is None for member, _, _ in found):
            return False
        for member, low, loads in found:
            assert member is not None
            self._join(rows, member, low, measure(low.body)[1], loads)
        columns.members.clear()
        return True

    def _tall(self, region: Region) -> bool:
        """True of a region of columns with as many rows as is worth partial sums of them."""
        rows = product(region.dims[: region.split])
        return isinstance(rows, int) and rows >= self.limits.across_rows

    def _across(self, region: Region, low: _Lowered, loads: set[int]) -> bool:
        """True where columns are better reduced while the rows of a region are in the cache."""
        lim, (width, *more) = self.limits, region.dims[region.split :]
        if low.dims != region.dims or low.split != region.split or more:
            return False
        if not self._tall(region) or width not in lim.across_columns or low.body.dtype in HALF:
            return False
        here = region.pointers | {self.id(m.value) for m in region.members}
        return any(product(self.values[n].dims) == product(region.dims) for n in loads & here)

    def _level(self, region: Region, body: Expr, scope: Scope, form: str, split: int) -> int | None:
        """The pass in which a member can be computed, or None where it cannot be in this region."""
        level = 0
        for e in distinct(body):
            if type(e) is not Load:
                continue
            home, m = self.region_of.get(e.operand, (None, None))
            if home is not region or m is None:
                continue
            if m.scope == "across":
                return None  # which is known behind the last row
            index = tuple(i for i, d in zip(e.index, m.value.dims, strict=True) if d != 1)
            per_row = m.scope == "outer" or m.reduce is not None
            if per_row:
                if index != m.axes:
                    return None
                if scope == "full" and form == "column":
                    return None
                level = max(
                    level,
                    m.level + (1 if scope != "outer" and m.reduce is not None else 0),
                    m.level + (1 if scope != "outer" else 0),
                )
            else:
                if scope == "outer" or index != m.axes:
                    return None
                level = max(level, m.level)
        if scope == "full" and level > 0 and split == 0:
            return None  # a long reduction to a scalar is chunked; nobody waits for it inside
        return level

    def _join(
        self, region: Region, member: Member, low: _Lowered, cost: int, loads: set[int]
    ) -> None:
        if member.reduce is not None and region.form == "flat":
            region.form, region.split = low.form, low.split
        region.members.append(member)
        region.cost += cost
        region.pointers |= loads
        k = self.id(member.value)
        self.home[k] = region.order
        self.region_of[k] = (region, member)
        for n in loads:
            if product(self.values[n].dims) != 1:
                readers = self.readers.setdefault(n, deque(maxlen=4))
                if region not in readers:
                    readers.appendleft(region)


def lowerable(n: Node) -> bool:
    """True where a node can be part of a kernel."""
    if n.op.lower is None:
        return False
    for v in (*n.inputs, *n.outputs):
        if v.type.shape is None or v.dtype.name not in KERNEL_DTYPES:
            return False
    return True


def _reads(e: Expr) -> bool:
    """True where an expression depends on more than sizes."""
    return any(isinstance(x, Load) for x in distinct(e))


def _expands(user: Node, v: Value) -> bool:
    """True where `user` reads an element of `v` more than once."""
    if user.op.lower is None:
        return False
    if user.op.name in ("Sum", "Prod", "Max", "Min", "All", "Any", "ArgMax", "ArgMin"):
        return False
    have, want = product(v.dims), product(user.output.dims)
    if have == want:
        return user.op.name == "PlainMatMul"
    return not (isinstance(have, int) and isinstance(want, int) and want < have)


__all__ = [
    "Fused",
    "FusionLimits",
    "Mapping",
    "Member",
    "Poly",
    "Region",
    "fuse",
    "lowerable",
    "measure",
    "variables",
]
