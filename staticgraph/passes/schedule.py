"""Schedule: a region becomes one kernel, or two where a long reduction is split into chunks.

Loop order follows memory: rows outside and elements inside, or blocks of columns outside and rows
inside for reductions over leading axes.  Where loads allow it, whole groups of axes run as one
loop over their flat index.  Sums are blocked at fixed places: a float sum adds at most `BLOCK`
terms before its partial result is added to the next level, whatever the number of threads.
"""

from __future__ import annotations

from dataclasses import replace

from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim, evaluate, floordiv, mod, product, symbols_of
from staticgraph.ir.dtypes import DType
from staticgraph.ir.function import Value
from staticgraph.ir.kernel import (
    Accumulate,
    AccumulateArg,
    Init,
    Let,
    Loop,
    Statement,
    Store,
    Temp,
    distinct,
    neutral,
)
from staticgraph.ir.scalar import Expr, Lit, Load, cast, lift, prim
from staticgraph.ir.types import TensorType
from staticgraph.passes.checks import Check
from staticgraph.passes.indexing import I64, add, mul
from staticgraph.passes.kernel_writer import KernelWriter, Scheduled
from staticgraph.passes.regions import HALF, Member, Region, as_row, variables
from staticgraph.passes.split_axes import split_axes
from staticgraph.passes.tiles import TileWriter, tiling

BLOCK = 4096  # terms of a float sum per partial result
CHUNK = 8192  # elements per chunk of a reduction to a scalar
CHUNKED = 1 << 17  # reductions to a scalar of at least this many elements are chunked
COLUMNS = 512  # columns per step of the parallel axis in a column kernel
ROWS = 128  # rows per partial result in a column kernel
MANY = 32  # chunks of rows that threads can share; with fewer they are shorter
TALL = 1024  # matrices of at least this many rows are reduced in chunks of whole rows ...
TYPICAL = 16  # what an open size is taken to be, to tell whether there are many rows
WIDE = 8192  # ... unless they have more columns than this: a chunk's partial result stays in cache
TOGETHER = 4  # rows of such a matrix that are combined before the partial result is touched ...
LIGHT = 32  # ... where that is most of the work: up to this cost per element

_COMBINE = {
    "sum": "add", "prod": "mul", "max": "maximum", "min": "minimum", "all": "and", "any": "or",
}  # fmt: skip


def schedule(
    region: Region, values: tuple[Value, ...], stored: frozenset[Value]
) -> list[Scheduled]:
    """Make the kernels of a region.

    Args:
      values: what the load numbers of the members' bodies stand for.
      stored: values that must reach memory.
    """
    region = _needed(region, values, stored)
    if not region.members:
        return []
    return _nest(region, values, stored)


def schedule_check(check: Check, values: tuple[Value, ...]) -> list[Scheduled]:
    """Make the kernel of a check: it writes nothing, and its status tells."""
    value = Value(TensorType(I64, check.dims), "check")
    body = prim("check_index", check.index, check.bound)
    region = Region(0, "flat", check.dims, len(check.dims))
    region.members.append(Member(value, check.node, body, None, "full", variables(check.dims)))
    return _nest(region, values, frozenset())


def _nest(region: Region, values: tuple[Value, ...], stored: frozenset[Value]) -> list[Scheduled]:
    writer = _Writer(region, values, stored)
    if region.form == "column":
        if writer.needs_nest(region.outer_vars(), region.outer) or _half_sums(region):
            region = as_row(region)
            return _Writer(region, values, stored).row()
        return writer.column()
    if region.form == "flat":
        dims = region.dims
        apart = split_axes(region)
        crossing = len(dims) > 1 and writer.needs_decomposition()
        tiled = tiling(apart, values) if crossing or apart is not region else None
        if tiled is not None:
            return TileWriter(apart, values, stored, tiled).tiles()
        if crossing:
            region = replace(region, form="row", split=len(dims) - 1)
            return _Writer(region, values, stored).row()
        return writer.flat()
    return writer.row()


def _needed(region: Region, values: tuple[Value, ...], stored: frozenset[Value]) -> Region:
    """The region without members that nobody reads: an op may ignore an operand."""
    live: set[Value] = set()
    for m in reversed(region.members):  # a member stands after what it reads
        if m.value in stored or m.value in live:
            live.add(m.value)
            live |= {values[e.operand] for e in distinct(m.body) if isinstance(e, Load)}
    kept = [m for m in region.members if m.value in live]
    if len(kept) == len(region.members):
        return region
    region = replace(region, members=kept)
    if region.form == "flat" or any(m.reduce is not None for m in kept):
        return region
    if any(m.scope == "outer" for m in kept):
        return as_row(region) if region.form == "column" else region
    return replace(region, form="flat", split=len(region.dims))


def _half_sums(region: Region) -> bool:
    return any(m.reduce is not None and m.body.dtype in HALF for m in region.members)


class _Writer(KernelWriter):
    """The loop nests of the forms."""

    columns: dict[Value, int]  # where reductions across rows put their partial results

    def flat(self) -> list[Scheduled]:
        """One element per step of the parallel axis."""
        dims = self.region.dims
        self.outer_axes = ([f"d{k}" for k in range(len(dims))], dims)
        for m in self.region.members:
            self.put(m, self.emit(m.body), self.registers, self.outer_list)
        return [self.kernel("flat", product(dims))]

    def _axes(self) -> None:
        region = self.region
        names = [f"d{k}" for k in range(len(region.dims))]
        self.outer_axes = (names[: region.split], region.dims[: region.split])
        self.inner_axes = (names[region.split :], region.dims[region.split :])
        self.nested = not self.collapses(*self.inner_axes)

    def row(self) -> list[Scheduled]:
        """Passes over the elements of a row."""
        self._axes()
        names, dims = self.inner_axes
        length = product(dims)
        reductions = [m for m in self.region.members if m.reduce is not None]
        if (
            not self.region.split
            and reductions
            and not self.nested
            and not any(m.reduce in ("argmax", "argmin") for m in reductions)
            and not (isinstance(length, int) and length < CHUNKED)
        ):
            return self._chunked(length, reductions)
        rows, across = product(self.region.outer), self._across()
        if across:
            assert isinstance(length, int)
            return self._rows(rows, length, across)
        self._passes(names, dims, length)
        return [self.kernel("row", rows)]

    def _across(self) -> list[Member]:
        return [m for m in self.region.members if m.scope == "across"]

    def _passes(self, names: list[str], dims: tuple[Dim, ...], length: Dim) -> None:
        """The passes over one row."""
        for level in range(max(m.level for m in self.region.members) + 1):
            now = [m for m in self.region.members if m.level == level]
            full = [m for m in now if m.scope != "outer"]
            if full:
                self._pass(full, names, dims, length)
            for m in now:
                if m.scope == "outer":
                    self.put(m, self.emit(m.body), self.registers, self.outer_list)

    def _rows(self, n: Dim, width: int, across: list[Member]) -> list[Scheduled]:
        """Chunks of whole rows, with partial results of columns; then these are combined."""
        size = ROWS if evaluate(n, {}) >= MANY * ROWS else ROWS // 4
        chunks = floordiv(n + (size - 1), size)
        zero, end, j, p = Lit(0, I64), Lit(width, I64), Temp("j", I64), Temp("p", I64)
        partials = _partials(across, chunks, width)
        self.columns = {v: self.pointer(partial, True) for v, partial in partials.items()}
        self.outer_flat = Temp("row", I64)
        at = add(mul(p, end), j)
        clear = [self._clear(self.columns[m.value], m, at) for m in across]
        self._passes(*self.inner_axes, width)
        start = mul(p, Lit(size, I64))
        stop = prim("minimum", add(start, Lit(size, I64)), self.size(n))
        self.outer_list = [
            Loop("j", zero, end, tuple(clear)), Loop("row", start, stop, tuple(self.outer_list)),
        ]  # fmt: skip
        first = self.kernel("row", chunks)
        region = replace(self.region, form="column", members=across)
        second = _Writer(region, self.values, frozenset(self.stored))
        second.outer_flat, second.inner_flat = Temp("r", I64), j
        second.outer_axes, second.inner_axes = self.outer_axes, self.inner_axes
        return [first, second.combine_columns(chunks, width, across, partials)]

    def _add_across(self, m: Member) -> None:
        """One step of a reduction across rows, into the partial result of the column."""
        assert m.reduce is not None and self.inner_list is not None
        param, width = self.columns[m.value], product(self.inner_axes[1])
        at = add(mul(Temp("p", I64), self.size(width)), self.inner_flat)
        value = cast(self.emit(m.body), m.value.dtype)
        known = _at(param, at, m.value.dtype)
        self.inner_list.append(Store(param, at, prim(_COMBINE[m.reduce], known, value)))

    def _pass(
        self, full: list[Member], names: list[str], dims: tuple[Dim, ...], length: Dim
    ) -> None:
        reductions = [m for m in full if m.reduce is not None and m.scope == "full"]
        accumulators = {m.value: self._accumulator(m) for m in reductions}
        sums = [m for m in reductions if m.reduce == "sum" and m.body.dtype.is_floating]
        blocked = (
            bool(sums) and not self.nested and not (isinstance(length, int) and length <= BLOCK)
        )
        partial = (
            {m.value: Temp(self.name("b"), accumulators[m.value].dtype) for m in sums}
            if blocked
            else {}
        )
        self.open_inner([*names, "r"])
        for m in full:
            if m.scope == "across":
                self._add_across(m)
            elif m.reduce is None:
                assert self.inner_list is not None
                self.put(m, self.emit(m.body), self.inner_registers, self.inner_list)
            else:
                self._step(m, partial.get(m.value, accumulators[m.value]), names)
        body = self.close_inner()
        if not names:
            self.outer_list += body
        elif self.nested:
            for n, d in reversed(list(zip(names, dims, strict=True))):
                body = [Loop(n, Lit(0, I64), self.size(d), tuple(body))]
            self.outer_list += body
        elif blocked:
            start = mul(Temp("b", I64), Lit(BLOCK, I64))
            stop = prim("minimum", add(start, Lit(BLOCK, I64)), self.size(length))
            inner: list[Statement] = [Init(t.name, "sum", t.dtype) for t in partial.values()]
            inner.append(Loop("r", start, stop, tuple(body)))
            inner += [Accumulate(accumulators[v].name, "sum", t) for v, t in partial.items()]
            blocks = floordiv(length + (BLOCK - 1), BLOCK)
            self.outer_list.append(Loop("b", Lit(0, I64), self.size(blocks), tuple(inner)))
        else:
            self.outer_list.append(Loop("r", Lit(0, I64), self.size(length), tuple(body)))
        for m in reductions:
            self.put(m, accumulators[m.value], self.registers, self.outer_list)

    def _accumulator(self, m: Member) -> Temp:
        assert m.reduce is not None
        arg = m.reduce in ("argmax", "argmin")
        dtype = dtypes.int64 if arg else m.body.dtype
        dtype = dtypes.float32 if dtype in HALF else dtype
        temp = Temp(self.name("acc"), dtype)
        self.outer_list.append(Init(temp.name, m.reduce, m.body.dtype if arg else dtype))
        return temp

    def _step(self, m: Member, acc: Temp, names: list[str]) -> None:
        assert self.inner_list is not None and m.reduce is not None
        value = self.emit(m.body)
        if m.reduce in ("argmax", "argmin"):
            at = self.variable(names[-1]) if names else Lit(0, I64)
            self.inner_list.append(AccumulateArg(acc.name, m.reduce, value, at))
        else:
            self.inner_list.append(Accumulate(acc.name, m.reduce, cast(value, acc.dtype)))

    def _chunked(self, length: Dim, reductions: list[Member]) -> list[Scheduled]:
        """A long reduction to a scalar: one partial result per chunk, then their combination."""
        chunks = floordiv(length + (CHUNK - 1), CHUNK)
        start = mul(Temp("p", I64), Lit(CHUNK, I64))
        stop = prim("minimum", add(start, Lit(CHUNK, I64)), self.size(length))
        accumulators = {m.value: self._accumulator(m) for m in reductions}
        partials = {
            m.value: Value(
                TensorType(accumulators[m.value].dtype, (chunks,)), f"{m.value.hint}/partial"
            )
            for m in reductions
        }
        self.outer_axes = ([], ())
        self.open_inner([*self.inner_axes[0], "r"])
        for m in self.region.members:
            if m.scope == "outer":
                continue
            assert self.inner_list is not None
            if m.reduce is None:
                self.put(m, self.emit(m.body), self.inner_registers, self.inner_list)
            else:
                self._step(m, accumulators[m.value], self.inner_axes[0])
        self.outer_list.append(Loop("r", start, stop, tuple(self.close_inner())))
        for m in reductions:
            where = self.pointer(partials[m.value], True)
            self.outer_list.append(Store(where, Temp("p", I64), accumulators[m.value]))
        first = self.kernel("full", chunks)
        return [first, self._combine(chunks, reductions, partials)]

    def _combine(
        self, chunks: Dim, reductions: list[Member], partials: dict[Value, Value]
    ) -> Scheduled:
        second = _Writer(self.region, self.values, frozenset(self.stored))
        accumulators = {m.value: second._accumulator(m) for m in reductions}
        body: list[Statement] = []
        for m in reductions:
            assert m.reduce is not None
            acc = accumulators[m.value]
            where = second.pointer(partials[m.value])
            load = Load(where, (Temp("r", I64),), acc.dtype)
            body.append(Accumulate(acc.name, m.reduce, load))
        second.outer_list.append(Loop("r", Lit(0, I64), second.size(chunks), tuple(body)))
        for m in reductions:
            second.put(m, accumulators[m.value], second.registers, second.outer_list)
        for m in self.region.members:
            if m.scope == "outer":
                second.put(m, second.emit(m.body), second.registers, second.outer_list)
        return second.kernel("row", 1)

    def column(self) -> list[Scheduled]:
        """Blocks of columns; rows outside, the columns of the block inside."""
        region = self.region
        names = [f"d{k}" for k in range(len(region.dims))]
        rows, columns = region.dims[: region.split], region.dims[region.split :]
        n, m_ = product(rows), product(columns)
        j, j0, j1 = Temp("j", I64), Temp("j0", I64), Temp("j1", I64)
        self.outer_flat, self.inner_flat = Temp("r", I64), j
        self.outer_axes, self.inner_axes = (
            (names[: region.split], rows),
            (names[region.split :], columns),
        )
        reductions = [m for m in region.members if m.reduce is not None]
        if isinstance(m_, int) and 0 < m_ <= WIDE and _typical(n) >= TALL:
            return self._tall(n, m_, reductions, j)
        start = mul(Temp("p", I64), Lit(COLUMNS, I64))
        head: list[Statement] = [
            Let("j0", start),
            Let("j1", prim("minimum", add(start, Lit(COLUMNS, I64)), self.size(m_))),
        ]
        blocked = not (isinstance(n, int) and n <= ROWS)
        targets: dict[Value, int] = {}
        for m in reductions:
            own = self.pointer(m.value, True)
            targets[m.value] = own
            if blocked and m.reduce == "sum" and m.body.dtype.is_floating:
                scratch = Value(TensorType(m.value.dtype, (m_,)), f"{m.value.hint}/block")
                targets[m.value] = self.pointer(scratch, True)
        row_body = self._row_of_columns(region, targets, j, j, j0, j1)
        clear_all = [self._clear(self.pointer(m.value), m, j) for m in reductions]
        split = [m for m in reductions if targets[m.value] != self.pointer(m.value)]
        clear_block = [self._clear(targets[m.value], m, j) for m in split]
        flush = [
            Store(
                self.pointer(m.value),
                j,
                prim(
                    "add",
                    _at(self.pointer(m.value), j, m.value.dtype),
                    _at(targets[m.value], j, m.value.dtype),
                ),
            )
            for m in split
        ]
        body = [*head, Loop("j", j0, j1, tuple(clear_all))]
        if split:
            first = mul(Temp("b", I64), Lit(ROWS, I64))
            last = prim("minimum", add(first, Lit(ROWS, I64)), self.size(n))
            blocks = floordiv(n + (ROWS - 1), ROWS)
            body.append(Loop("b", Lit(0, I64), self.size(blocks), (
                Loop("j", j0, j1, tuple(clear_block)),
                Loop("r", first, last, row_body),
                Loop("j", j0, j1, tuple(flush)),
            )))  # fmt: skip
        else:
            body.append(Loop("r", Lit(0, I64), self.size(n), row_body))
        self._epilogue(body, j0, j1)
        return [self.kernel("column", floordiv(m_ + (COLUMNS - 1), COLUMNS))]

    def _epilogue(self, body: list[Statement], j0: Expr, j1: Expr) -> None:
        """Members per column, in a last loop over the columns of the block."""
        outer = [m for m in self.region.members if m.scope == "outer"]
        self.outer_list = body  # what the last loop does not change is defined before it
        if outer:
            self.outer_memo = {}
            self.open_inner([*self.inner_axes[0], "j"])
            assert self.inner_list is not None
            for m in outer:
                self.put(m, self.emit(m.body), self.inner_registers, self.inner_list)
            body.append(Loop("j", j0, j1, tuple(self.close_inner())))

    def _tall(self, n: Dim, width: int, reductions: list[Member], j: Temp) -> list[Scheduled]:
        """Chunks of whole rows, which memory likes best; then the partial results are combined."""
        chunks = floordiv(n + (ROWS - 1), ROWS)
        zero, end, p = Lit(0, I64), Lit(width, I64), Temp("p", I64)
        at = add(mul(p, end), j)
        partials = _partials(reductions, chunks, width)
        targets = {v: self.pointer(partial, True) for v, partial in partials.items()}
        together = 1 if mod(n, TOGETHER) != 0 or self.region.cost > LIGHT else TOGETHER
        rows = self._row_of_columns(self.region, targets, at, j, zero, end, together)
        steps = ROWS // together
        start = mul(p, Lit(steps, I64))
        stop = prim("minimum", add(start, Lit(steps, I64)), self.size(floordiv(n, together)))
        clear = [self._clear(targets[m.value], m, at) for m in reductions]
        self.outer_list = [Loop("j", zero, end, tuple(clear)), Loop("r", start, stop, rows)]
        first = self.kernel("column", chunks)
        second = _Writer(self.region, self.values, frozenset(self.stored))
        second.outer_flat, second.inner_flat = self.outer_flat, self.inner_flat
        second.outer_axes, second.inner_axes = self.outer_axes, self.inner_axes
        return [first, second.combine_columns(chunks, width, reductions, partials)]

    def combine_columns(
        self, chunks: Dim, width: int, reductions: list[Member], partials: dict[Value, Value]
    ) -> Scheduled:
        """Blocks of columns of the partial results, then the members per column."""
        j, j0, j1 = Temp("j", I64), Temp("j0", I64), Temp("j1", I64)
        start = mul(Temp("p", I64), Lit(COLUMNS, I64))
        stop = prim("minimum", add(start, Lit(COLUMNS, I64)), Lit(width, I64))
        clear: list[Statement] = []
        steps: list[Statement] = []
        for m in reductions:
            assert m.reduce is not None
            own, partial = self.pointer(m.value, True), self.pointer(partials[m.value])
            clear.append(self._clear(own, m, j))
            here = add(mul(Temp("r", I64), Lit(width, I64)), j)
            dtype = m.value.dtype
            value = prim(_COMBINE[m.reduce], _at(own, j, dtype), _at(partial, here, dtype))
            steps.append(Store(own, j, value))
        body: list[Statement] = [Let("j0", start), Let("j1", stop), Loop("j", j0, j1, tuple(clear))]
        inner = Loop("j", j0, j1, tuple(steps))
        body.append(Loop("r", Lit(0, I64), self.size(chunks), (inner,)))
        self._epilogue(body, j0, j1)
        return self.kernel("column", floordiv(width + (COLUMNS - 1), COLUMNS))

    def _row_of_columns(
        self, region: Region, targets: dict[Value, int], at: Expr, j: Temp, j0: Expr, j1: Expr,
        together: int = 1,
    ) -> tuple[Statement, ...]:  # fmt: skip
        """One step over rows: a loop along the columns of one row, or of some together."""
        self.outer_list = []
        self.open_inner([*self.inner_axes[0], "j"])
        assert self.inner_list is not None
        known, step = dict(self.outer_memo), self.outer_flat
        found: dict[Value, list[Expr]] = {}
        for k in range(together):
            if together > 1:
                self.outer_flat = add(mul(step, Lit(together, I64)), Lit(k, I64))
                self.outer_memo, self.inner_memo, self.inner_registers = dict(known), {}, {}
            for m in region.members:
                if m.scope == "outer":
                    continue
                if m.reduce is None:
                    self.put(m, self.emit(m.body), self.inner_registers, self.inner_list)
                else:
                    value = cast(self.emit(m.body), m.value.dtype)
                    found.setdefault(m.value, []).append(value)
        self.outer_flat = step
        for m in region.members:
            if m.reduce is not None:
                where, combine = targets[m.value], _COMBINE[m.reduce]
                values = [_at(where, at, m.value.dtype), *found[m.value]]
                if together > 1:
                    values[1:] = [_in_pairs(combine, values[1:])]
                self.inner_list.append(Store(where, at, prim(combine, *values)))
        inner = Loop("j", j0, j1, tuple(self.close_inner()))
        row = (*self.outer_list, inner)
        self.outer_list = []
        return row

    def _clear(self, param: int, m: Member, at: Expr) -> Store:
        assert m.reduce is not None
        return Store(param, at, lift(neutral(m.reduce, m.value.dtype), m.value.dtype))


def _typical(n: Dim) -> int:
    """A size, where open sizes are neither large nor small."""
    return evaluate(n, dict.fromkeys(symbols_of(n), TYPICAL))


def _partials(reductions: list[Member], chunks: Dim, width: int) -> dict[Value, Value]:
    """The arrays for the partial results of columns, a row of them for each chunk."""
    return {
        m.value: Value(TensorType(m.value.dtype, (chunks, width)), f"{m.value.hint}/partial")
        for m in reductions
    }


def _in_pairs(combine: str, values: list[Expr]) -> Expr:
    """Values combined two by two."""
    while len(values) > 1:
        values = [prim(combine, *values[i : i + 2]) for i in range(0, len(values), 2)]
    return values[0]


def _at(param: int, index: Expr, dtype: DType) -> Load:
    return Load(param, (index,), dtype)


__all__ = ["schedule", "schedule_check"]
