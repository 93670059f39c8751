"""Kernels as LLVM IR, without Numba: the quick way to the same machine code.

Numba's front end is most of what compiling a kernel costs, and importing it costs more than that.
This emits what Numba would have lowered the printed source to; `native.emit` then optimises both
alike.  The printed source stays the readable form, the identity of a kernel and the reference: the
tests compile every op both ways.  LLVM may fuse other products with sums, or split a reduction over
other lanes, so the last bit of a float can differ; how a kernel is made is therefore a setting
($STATICGRAPH_CODEGEN) and a part of its key in the cache, never a matter of what is ready.

Every array of a kernel is its own: a plan gives a step distinct arrays, or, for an update in
place, one that is read and written at the same element.  Loads and stores say so to LLVM, which
then needs no checks at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]  # llvmlite ships no stubs

from staticgraph.codegen import vector_math
from staticgraph.codegen.llvm_expressions import (
    FLAGS,
    I1,
    I64,
    Expressions,
    literal,
    storage_type,
    value_type,
)
from staticgraph.codegen.llvm_stream import (
    LINE,
    divisible,
    fence,
    move_lines,
    streamed,
    streams,
)
from staticgraph.codegen.vector_math_lanes import call_intrinsic
from staticgraph.ir.dtypes import int64
from staticgraph.ir.kept import kept_rows
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
    neutral,
    subexpressions,
)
from staticgraph.ir.scalar import PRIMITIVES, Expr, Prim, ReduceKind


def kernel_ir(kernel: Kernel) -> str:
    """The LLVM IR of a kernel: a function ``entry(args, lo, hi)``; see `codegen.cpu`."""
    return _Emitter(kernel).text()


class _Emitter:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.module = ir.Module("kernel")
        pointer = ir.PointerType()
        self.function = ir.Function(self.module, ir.FunctionType(I64, [pointer, I64, I64]), "entry")
        self.args, self.lo, self.hi = self.function.args
        self.entry = self.function.append_basic_block("entry")
        self.b = ir.IRBuilder(self.entry)
        self.x = Expressions(self.b)
        self.site = 0
        self.bad: tuple[Any, Any, Any] | None = None
        kept = kept_rows(kernel)
        self.streamed = streamed(kernel, kept)
        self.kept = {k: row for k, row in kept.items() if k in self.streamed}
        self.blocks: dict[tuple[int, int], Any] = {}

    def text(self) -> str:
        """Emit everything."""
        self._parameters()
        checked = self.kernel.checks() > 0
        if checked:
            zero = ir.Constant(I64, 0)
            self.bad = (
                self._variable(I64, zero),
                self._variable(I64, zero),
                self._variable(I64, zero),
            )
        body = self.kernel.body
        self.x.names.update(lo=self.lo, hi=self.hi)
        self._range(Loop("p", Temp("lo", int64), Temp("hi", int64), body))
        if self.blocks:
            fence(self.module, self.b)
        self._finish()
        return str(self.module)

    def _parameters(self) -> None:
        b = self.b
        pointers = [i for i, p in enumerate(self.kernel.params) if isinstance(p, Pointer)]
        scopes = Scopes(self.module, len(pointers))
        for i, p in enumerate(self.kernel.params):
            where = b.gep(self.args, [ir.Constant(I64, i)], source_etype=I64)
            word = b.load(where, typ=I64)
            if isinstance(p, Pointer):
                address = b.inttoptr(word, ir.PointerType())
                self.x.pointers[i] = (address, p.dtype, scopes.of(pointers.index(i)))
            else:
                self.x.names[f"s{i}"] = word

    def _finish(self) -> None:
        b = self.b
        if self.bad is None:
            b.ret(ir.Constant(I64, 0))
            return
        n = len(self.kernel.params)
        site, index, bound = (b.load(v, typ=I64) for v in self.bad)
        with b.if_then(b.icmp_signed("!=", site, ir.Constant(I64, 0))):
            for k, value in enumerate((index, bound)):
                where = b.gep(self.args, [ir.Constant(I64, n + k)], source_etype=I64)
                b.store(value, where)
        b.ret(site)

    def _variable(self, ty: Any, start: Any) -> Any:
        """A mutable local: on the stack, which LLVM turns into registers."""
        with self.b.goto_entry_block():
            slot = self.b.alloca(ty)
        self.b.store(start, slot)
        return slot

    # ---- statements
    def _range(self, loop: Loop) -> None:
        """A loop, which may stream what it writes, and keep rows; see `llvm_stream`."""
        x = self.x
        start, stop = x.emit(loop.start), x.emit(loop.stop)
        found = streams(loop, self.streamed)
        rows = {k: row for k, row in self.kept.items() if row.has(loop)}
        for k, row in rows.items():
            x.rows[k] = self._block(k, row.length), loop.var, start
            if loop is not row.loops[-1]:
                found.pop(k, None)
        x.staged = {k: x.rows[k] for k in rows if k not in found}
        sizes = [x.pointers[k][1].size for k in found]
        count = divisible(loop, sizes) if found else None
        if count is not None:
            firsts = {k: x.emit(first) for k, first in found.items()}
            self._lines(loop, start, stop, firsts, count)
        else:
            self._run(loop, start, stop)
        x.staged = {}
        x.rows = {}

    def _lines(
        self, loop: Loop, start: Any, stop: Any, firsts: Mapping[int, Any], count: int
    ) -> None:
        """Iterations up to a line's boundary, those that write whole lines, and the others."""
        b, x = self.b, self.x
        lane, piece, size = f"{loop.var}.lane", f"{loop.var}.lines", ir.Constant(I64, count)
        rows = x.staged
        begin = self._boundary(start, stop, firsts)
        sites = self.site
        self._run(loop, start, begin)
        many = b.sdiv(b.sub(stop, begin), size)
        places = {k: self._place_of(k, b.add(first, begin)) for k, first in firsts.items()}

        def body() -> None:
            x.names[loop.var] = b.add(b.add(begin, b.mul(x.names[piece], size)), x.names[lane])
            self._body(loop.body)

        def lines() -> None:
            zero = ir.Constant(I64, 0)
            x.staged = rows | {k: (self._block(k, count), lane, zero) for k in firsts}
            self._loop(lane, zero, size, body, _interleaved(loop.body))
            x.staged = rows
            for k, place in places.items():
                moved = count * x.pointers[k][1].size
                to = b.mul(x.names[piece], ir.Constant(I64, moved))
                to = b.gep(place, [to], source_etype=ir.IntType(8))
                move_lines(self.module, b, to, self._block(k, count), moved)

        self.site = sites  # all three have the same checks
        self._loop(piece, ir.Constant(I64, 0), many, lines, 1)
        self.site = sites
        self._run(loop, b.add(begin, b.mul(many, size)), stop)

    def _boundary(self, start: Any, stop: Any, firsts: Mapping[int, Any]) -> Any:
        """The first iteration at which all that a loop streams is at a line's boundary.

        Where that is never, there is nothing before `stop`.
        """
        b, ahead, together = self.b, None, ir.Constant(I1, 1)
        for k, first in firsts.items():
            place = b.ptrtoint(self._place_of(k, b.add(first, start)), I64)
            left = b.and_(b.sub(ir.Constant(I64, 0), place), ir.Constant(I64, LINE - 1))
            count = b.sdiv(left, ir.Constant(I64, self.x.pointers[k][1].size))
            if ahead is None:
                ahead = count
            else:
                together = b.and_(together, b.icmp_signed("==", count, ahead))
        begin = call_intrinsic(b, "llvm.smin", [b.add(start, ahead), stop])
        return b.select(together, begin, stop)

    def _place_of(self, param: int, index: Any) -> Any:
        address, dtype, _ = self.x.pointers[param]
        return self.b.gep(address, [index], inbounds=True, source_etype=storage_type(dtype))

    def _run(self, loop: Loop, start: Any, stop: Any) -> None:
        self._loop(loop.var, start, stop, lambda: self._body(loop.body), _interleaved(loop.body))

    def _block(self, param: int, count: int) -> Any:
        """Room on the stack for so many elements of an array."""
        known = self.blocks.get((param, count))
        if known is None:
            kind = storage_type(self.x.pointers[param][1])
            with self.b.goto_entry_block():
                known = self.b.alloca(kind, count)
            known.align = LINE
            self.blocks[param, count] = known
        return known

    def _loop(
        self, var: str, start: Any, stop: Any, body: Callable[[], None], interleaved: int
    ) -> None:
        b = self.b
        before = b.block
        inside, after = b.append_basic_block(f"{var}.body"), b.append_basic_block(f"{var}.end")
        b.cbranch(b.icmp_signed("<", start, stop), inside, after)
        b.position_at_end(inside)
        i = b.phi(I64, var)
        i.add_incoming(start, before)
        outer = self.x.names.get(var)
        self.x.names[var] = i
        body()
        following = b.add(i, ir.Constant(I64, 1), flags=("nsw",))
        i.add_incoming(following, b.block)
        back = b.cbranch(b.icmp_signed("<", following, stop), inside, after)
        if interleaved > 1:
            back.set_metadata("llvm.loop", _LoopId(self.module, interleaved))
        b.position_at_end(after)
        if outer is not None:
            self.x.names[var] = outer

    def _body(self, statements: tuple[Statement, ...]) -> None:
        for s in statements:
            self._statement(s)

    def _statement(self, s: Statement) -> None:
        match s:
            case Let(name, Prim("check_index", (i, bound))):
                self.x.names[name] = self._check(i, bound)
            case Let(name, value):
                self.x.names[name] = self.x.emit(value)
            case Loop():
                self._range(s)
            case Var(name, value):
                start = self.x.emit(value)
                self.x.names[name] = self._variable(start.type, start)
            case Set(name, value):
                self.b.store(self.x.emit(value), self.x.names[name])
            case Init():
                self._init(s)
            case Accumulate(name, kind, value):
                self._accumulate(name, kind, self.x.emit(value), value)
            case AccumulateArg():
                self._extreme(s)
            case Store(param, index, value):
                self.x.store(param, index, self.x.emit(value))

    def _init(self, s: Init) -> None:
        start = literal(neutral(s.kind, s.dtype), s.dtype)
        if s.kind in ("argmax", "argmin"):
            self.x.names[s.name] = self._variable(I64, ir.Constant(I64, 0))
            self.x.names[f"{s.name}_best"] = self._variable(value_type(s.dtype), start)
            self.x.names[f"{s.name}_none"] = self._variable(I1, ir.Constant(I1, 1))
        else:
            self.x.names[s.name] = self._variable(value_type(s.dtype), start)

    def _accumulate(self, name: str, kind: ReduceKind, value: Any, e: Expr) -> None:
        b, slot = self.b, self.x.names[name]
        old = b.load(slot, typ=slot.allocated_type)
        if kind in ("all", "any"):
            new = b.and_(old, value) if kind == "all" else b.or_(old, value)
        else:
            new = vector_math.emit_accumulate(b, kind, old, value, signed=not e.dtype.is_unsigned)
        b.store(new, slot)

    def _extreme(self, s: AccumulateArg) -> None:
        b, x = self.b, self.x
        value = x.emit(s.value)
        at, best, none = (x.names[f"{s.name}{end}"] for end in ("", "_best", "_none"))
        old = b.load(best, typ=best.allocated_type)
        better = x.compare(">" if s.kind == "argmax" else "<", [value, old], s.value.dtype)
        take = b.or_(b.load(none, typ=I1), better)
        if s.value.dtype.is_floating:
            first_nan = b.and_(b.fcmp_unordered("uno", value, value, flags=FLAGS),
                               b.fcmp_ordered("ord", old, old, flags=FLAGS))  # fmt: skip
            take = b.or_(take, first_nan)
        b.store(b.select(take, x.emit(s.at), b.load(at, typ=I64)), at)
        b.store(b.select(take, value, old), best)
        b.store(ir.Constant(I1, 0), none)

    def _check(self, i: Expr, bound: Expr) -> Any:
        """The index, or 0 where it is outside; the first site that fails is remembered."""
        b = self.b
        assert self.bad is not None
        self.site += 1
        index, limit = self.x.emit(i), self.x.emit(bound)
        outside = b.icmp_unsigned(">=", index, limit)
        with b.if_then(outside, likely=False):
            found = (ir.Constant(I64, self.site), index, limit)
            for slot, value in zip(self.bad, found, strict=True):
                b.store(value, slot)
        return b.select(outside, ir.Constant(I64, 0), index)


def _interleaved(body: tuple[Statement, ...]) -> int:
    """How many vectors of a loop's iterations to work on at a time; 1 leaves it to LLVM.

    The chain of operations behind a function like exp is longer than what the processor looks
    ahead, so iterations side by side run faster.  LLVM does that by itself for reductions only.
    """
    if any(isinstance(s, Loop | Init | Accumulate | AccumulateArg | Var | Set) for s in body):
        return 1
    primitives = (e for s in body for x in expressions(s) for e in subexpressions(x))
    cost = sum(PRIMITIVES[e.name].cost for e in primitives if isinstance(e, Prim))
    return 1 if cost < 16 else 2 if cost < 24 else 4


class _LoopId(ir.values.MDValue):  # type: ignore[misc]  # untyped base
    """The metadata of a loop: a node that names itself, and the hint to interleave."""

    def __init__(self, module: Any, count: int) -> None:
        text = ir.MetaDataString(module, "llvm.loop.interleave.count")
        hint = module.add_metadata([text, ir.Constant(ir.IntType(32), count)])
        super().__init__(module, [hint], str(len(module.metadata)))

    def descr(self, buf: list[str]) -> None:
        """Append the definition."""
        buf += (f"distinct !{{ {self.get_reference()}, {self.operands[0].get_reference()} }}", "\n")


class Scopes:
    """Alias metadata: what is accessed through one parameter is accessed through no other."""

    def __init__(self, module: Any, count: int) -> None:
        self.module, self.count = module, count
        domain = module.add_metadata([ir.MetaDataString(module, "kernel")])
        self.scopes = [
            module.add_metadata([ir.MetaDataString(module, f"a{i}"), domain]) for i in range(count)
        ]
        self.sets = [module.add_metadata([s]) for s in self.scopes]

    def of(self, i: int) -> Callable[[Any], None]:
        """A function that marks an instruction as an access through parameter number `i`."""
        if self.count < 2:
            return lambda instruction: None
        own = self.sets[i]
        others = self.module.add_metadata([s for k, s in enumerate(self.scopes) if k != i])

        def mark(instruction: Any) -> None:
            instruction.set_metadata("alias.scope", own)
            instruction.set_metadata("noalias", others)

        return mark
