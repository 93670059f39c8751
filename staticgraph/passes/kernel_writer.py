"""Writing a kernel: parameters, addresses, and expressions in the scope they belong to.

A writer has an outer scope (once per row) and, while a loop over elements is written, an inner
one.  Every definition goes to the outermost scope that can hold it; a value of the region that was
just computed is read from its register, not from memory.
"""

from __future__ import annotations

from collections import Counter

from staticgraph.ir.dims import Dim
from staticgraph.ir.function import Value
from staticgraph.ir.kernel import (
    Form,
    Kernel,
    Let,
    Param,
    Pointer,
    SizeParam,
    Statement,
    Store,
    Temp,
    distinct,
    subexpressions,
)
from staticgraph.ir.record import record
from staticgraph.ir.scalar import Expr, Index, Lit, Load, Prim, Size, cast
from staticgraph.passes.fusion import Member, Region, measure
from staticgraph.passes.indexing import I64, collapse, from_terms, linear_terms, strides
from staticgraph.passes.loop_cut import cut

RECOMPUTE = 16  # a value needed again in a later pass is recomputed up to this cost


@record(frozen=True, slots=True)
class Scheduled:
    """A kernel with its arguments: values for pointers, sizes for size parameters."""

    kernel: Kernel
    args: tuple[Value | Dim, ...]
    extent: Dim


class KernelWriter:
    """Collects the parameters and statements of one kernel of a region."""

    def __init__(self, region: Region, values: tuple[Value, ...], stored: frozenset[Value]) -> None:
        self.region, self.values = region, values
        self.stored = set(stored)
        self.members = {m.value: m for m in region.members}
        self.params: list[Param] = []
        self.args: list[Value | Dim] = []
        self.pointers: dict[Value, int] = {}
        self.size_params: dict[Dim, int] = {}
        self.names = 0
        self.outer_list: list[Statement] = []
        self.inner_list: list[Statement] | None = None
        self.outer_memo: dict[Expr, Expr] = {}
        self.inner_memo: dict[Expr, Expr] = {}
        self.registers: dict[Value, Expr] = {}
        self.inner_registers: dict[Value, Expr] = {}
        self.inner_names: frozenset[str] = frozenset()
        self.outer_flat: Expr = Temp("p", I64)
        self.inner_flat: Expr = Temp("r", I64)
        self.outer_axes: tuple[list[str], tuple[Dim, ...]] = ([], ())
        self.inner_axes: tuple[list[str], tuple[Dim, ...]] = ([], ())
        self.nested = False
        self.uses = Counter[Expr]()
        for m in region.members:
            seen: set[Expr] = set()
            stack = [m.body]
            while stack:
                e = stack.pop()
                self.uses[e] += 1
                if e not in seen:
                    seen.add(e)
                    stack += (
                        e.args if isinstance(e, Prim) else e.index if isinstance(e, Load) else ()
                    )
        self._spill()

    def _spill(self) -> None:
        """Values needed in a later pass that are dear to recompute go to memory.

        Where a result of a later pass has the same shape they go to its place: it is written over
        them element by element.
        """
        last: dict[Value, tuple[int, int]] = {}  # level and position of the last reader
        spilled: list[Member] = []
        for k, m in reversed(list(enumerate(self.region.members))):
            at = (m.level, k)
            read = last.get(m.value, at)
            if m.scope == "full" and m.reduce is None and m.value not in self.stored:
                if read[0] > m.level and measure(m.body)[1] > RECOMPUTE:
                    spilled.append(m)
                else:
                    at = max(at, read)  # where it is computed again, what it loads is read again
            for e in distinct(m.body):
                if isinstance(e, Load):
                    v = self.values[e.operand]
                    last[v] = max(last.get(v, at), at)
        taken: set[Value] = set()
        for m in reversed(spilled):
            place = self._later_result(m, last[m.value], taken)
            if place is not None:
                taken.add(place)
                self.pointers[m.value] = self.pointer(place, True)
            self.stored.add(m.value)

    def _later_result(self, m: Member, read: tuple[int, int], taken: set[Value]) -> Value | None:
        """A stored value of the same shape that is computed where `m` is read last, or later."""
        for k, w in enumerate(self.region.members):
            if w.value in taken or w.value not in self.stored or w.reduce is not None:
                continue
            if w.scope != "full" or (w.level, k) < read or w.axes != m.axes:
                continue
            if w.value.dims == m.value.dims and w.value.dtype is m.value.dtype:
                return w.value
        return None

    # ---- parameters and names
    def pointer(self, v: Value, written: bool = False) -> int:
        k = self.pointers.get(v)
        if k is None:
            k = self.pointers[v] = len(self.params)
            self.params.append(Pointer(v.dtype, written))
            self.args.append(v)
        elif written:
            self.params[k] = Pointer(v.dtype, True)
        return k

    def size(self, d: Dim) -> Expr:
        if isinstance(d, int):
            return Lit(d, I64)
        k = self.size_params.get(d)
        if k is None:
            k = self.size_params[d] = len(self.params)
            self.params.append(SizeParam(len(self.size_params)))
            self.args.append(d)
        return Temp(f"s{k}", I64)

    def name(self, letter: str) -> str:
        self.names += 1
        return f"{letter}{self.names}"

    # ---- what the loads allow
    def _accesses(self) -> list[tuple[tuple[Expr, ...], tuple[Dim, ...]]]:
        out = []
        for m in self.region.members:
            for e in distinct(m.body):
                if isinstance(e, Load):
                    out.append((e.index, self.values[e.operand].dims))
        return out

    def collapses(self, names: list[str], dims: tuple[Dim, ...]) -> bool:
        if len(names) < 2:
            return True
        wanted = {Index(n) for n in names}
        for index, shape in self._accesses():
            terms, _ = linear_terms(index, shape)
            plain = collapse(terms, names, dims, self.inner_flat)
            if plain is None:
                return False
            if any(
                x in wanted for e in plain if not isinstance(e, Index) for x in subexpressions(e)
            ):
                return False
        return not any(x in wanted for m in self.region.members for x in _outside_loads(m.body))

    def needs_decomposition(self) -> bool:
        """True where some load is not at the flat index of the whole space."""
        dims = self.region.dims
        return not self.collapses([f"d{k}" for k in range(len(dims))], dims)

    def needs_nest(self, names: tuple[Expr, ...], dims: tuple[Dim, ...]) -> bool:
        """True where some load does not collapse over these variables."""
        return not self.collapses([n.name for n in names if isinstance(n, Index)], dims)

    # ---- expressions
    def emit(self, e: Expr) -> Expr:
        """Translate an expression; definitions go to the outermost scope that can hold them."""
        found = self.inner_memo.get(e) or self.outer_memo.get(e)
        if found is not None:
            return found
        out: Expr
        match e:
            case Lit():
                return e
            case Size(dim):
                return self.size(dim)
            case Index(name):
                return self.variable(name)
            case Temp():
                return e
            case Load(operand, index, dtype):
                v = self.values[operand]
                held = self.inner_registers.get(v) or self.registers.get(v)
                if held is not None:
                    return held
                made = self.members.get(v)
                if made is not None and v not in self.stored and v not in self.pointers:
                    return self.emit(
                        made.body
                    )  # an earlier pass computed it; recomputing is cheaper
                address = self.address(index, v.dims)
                out = Load(self.pointer(v), (address,), dtype)
                return self._define("x", e, out)
            case Prim(name, args, dtype):
                out = Prim(name, tuple(self.emit(a) for a in args), dtype)
                if self.uses[e] > 1 or name == "check_index" or _depth(out) > 5:
                    return self._define("t", e, out)
                return out
            case _:
                raise TypeError(type(e).__name__)

    def _define(self, letter: str, e: Expr, out: Expr) -> Expr:
        temp = Temp(self.name(letter), out.dtype)
        if self.inner_list is not None and self._is_inner(out):
            self.inner_list.append(Let(temp.name, out))
            self.inner_memo[e] = temp
            self.inner_names |= {temp.name}
        else:
            self.outer_list.append(Let(temp.name, out))
            self.outer_memo[e] = temp
        return temp

    def _is_inner(self, e: Expr) -> bool:
        return any(
            (isinstance(x, Temp) and x.name in self.inner_names)
            or (isinstance(x, Load) and self._written_here(x.operand))
            for x in subexpressions(e)
        )

    def _written_here(self, param: int) -> bool:
        p = self.params[param]
        return isinstance(p, Pointer) and p.written

    def variable(self, name: str) -> Expr:
        """A loop variable of the domain: itself, or split out of a flat index."""
        for (names, dims), flat, inner in (
            (self.outer_axes, self.outer_flat, False), (self.inner_axes, self.inner_flat, True),
        ):  # fmt: skip
            if name not in names:
                continue
            if len(names) == 1:
                return flat
            if inner and self.nested:
                return Temp(name, I64)
            k = names.index(name)
            e: Expr = flat
            step = strides(dims)[k]
            if step != 1:
                e = Prim("floordiv", (e, self.size(step)), I64)
            if k > 0:
                e = Prim("mod", (e, self.size(dims[k])), I64)
            return self._define("i", Index(name), e)
        raise KeyError(name)

    def address(self, index: tuple[Expr, ...], dims: tuple[Dim, ...]) -> Expr:
        """The flat address of an element, with groups of axes collapsed where strides allow."""
        terms, constant = linear_terms(index, dims)
        for (names, sizes), flat, skip in (
            (self.outer_axes, self.outer_flat, False),
            (self.inner_axes, self.inner_flat, self.nested),
        ):
            if names and not skip:
                terms = collapse(terms, names, sizes, flat) or terms
        out: dict[Expr, Dim] = {}
        for e, c in terms.items():
            k = self.emit(e)
            out[k] = out.get(k, 0) + c
        return self._sized(from_terms(out, constant))

    def _sized(self, e: Expr) -> Expr:
        if isinstance(e, Size):
            return self.size(e.dim)
        if isinstance(e, Prim):
            return Prim(e.name, tuple(self._sized(a) for a in e.args), e.dtype)
        return e

    # ---- members
    def put(
        self, m: Member, value: Expr, registers: dict[Value, Expr], target: list[Statement]
    ) -> None:
        """Keep a member's value in a register and store it where somebody needs it."""
        value = cast(value, m.value.dtype)
        if not isinstance(value, Temp | Lit):
            temp = Temp(self.name("v"), value.dtype)
            target.append(Let(temp.name, value))
            if target is self.inner_list:
                self.inner_names |= {temp.name}
            value = temp
        registers[m.value] = value
        if m.value in self.stored:
            target.append(self._store(m, value))

    def _store(self, m: Member, value: Expr) -> Store:
        dims = m.value.dims
        names = iter(m.axes)
        index = tuple(Lit(0, I64) if d == 1 else next(names) for d in dims)
        return Store(self.pointer(m.value, True), self.address(index, dims), value)

    def kernel(self, form: Form, extent: Dim) -> Scheduled:
        return Scheduled(
            Kernel(form, tuple(self.params), cut(self.outer_list)), tuple(self.args), extent
        )

    def open_inner(self, names: list[str]) -> None:
        self.inner_list, self.inner_memo, self.inner_registers = [], {}, {}
        self.inner_names = frozenset(names)

    def close_inner(self) -> list[Statement]:
        assert self.inner_list is not None
        body, self.inner_list = self.inner_list, None
        self.inner_memo, self.inner_registers, self.inner_names = {}, {}, frozenset()
        return body


def _outside_loads(e: Expr) -> list[Expr]:
    """Subexpressions that are not part of a load's index."""
    out, stack = [], [e]
    while stack:
        x = stack.pop()
        out.append(x)
        if isinstance(x, Prim):
            stack += x.args
    return out


def _depth(e: Expr) -> int:
    return 1 + max((_depth(a) for a in e.args), default=0) if isinstance(e, Prim) else 0
