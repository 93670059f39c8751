"""Library kernels as LLVM IR: reads their source, which is a small part of Python, without Numba.

Kernels of the graph are records that are written as LLVM IR directly; those of the library (random
draws, scatters, cumulative operations, windows of convolutions) exist as text alone.  The text is
what Numba would compile, and what it means is what it means to Numba: integers narrower than 64
bits widen to 64 in arithmetic, and a float32 with a float64 is a float64.  A name that is given a
value of another type is another variable from there on; no text needs the two to meet.  What the
texts do not use is refused with a TypeError, which the tests would see.

Both sides of ``a if c else b`` may be evaluated, and so are those of ``and`` and ``or``: neither
has effects.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Sequence
from functools import singledispatchmethod
from typing import Any, NamedTuple, NoReturn

from llvmlite import ir  # type: ignore[import-untyped]  # llvmlite ships no stubs

from staticgraph.codegen import scalar_emit, vector_math
from staticgraph.codegen.llvm import Scopes
from staticgraph.codegen.llvm_expressions import FLAGS, I64, literal, storage_type, value_type
from staticgraph.codegen.vector_math_lanes import call_intrinsic
from staticgraph.ir import dtypes
from staticgraph.ir.dtypes import DType

_ARITHMETIC = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul"}
_BITS = {ast.BitAnd: "and_", ast.BitOr: "or_", ast.BitXor: "xor"}
_INT_DIVISION = {ast.FloorDiv: "floordiv", ast.Mod: "mod"}
_COMPARE = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
_POINTERS = {f"ptr_{d.short}": d for d in map(dtypes.as_dtype, (
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64",
))}  # fmt: skip
_CONSTANTS = {"pi": math.pi, "inf": math.inf}


def source_ir(source: str) -> str:
    """The LLVM IR of a library kernel: a function ``entry(args, lo, hi)``.

    Raises:
      TypeError: the source is not in the part of Python that is understood here.
    """
    return _Reader(source).text()


class _Value(NamedTuple):
    """An LLVM value and the type that Numba would give it."""

    value: Any
    dtype: DType


class _Array(NamedTuple):
    """The address of an array's first element, the type of its elements, and who marks accesses."""

    address: Any
    dtype: DType
    mark: Callable[[Any], None]


class _Reader:
    def __init__(self, source: str) -> None:
        (function,) = ast.parse(source).body
        assert isinstance(function, ast.FunctionDef)
        self.body = function.body
        self.module = ir.Module("kernel")
        signature = ir.FunctionType(I64, [ir.PointerType(), I64, I64])
        self.function = ir.Function(self.module, signature, "entry")
        args, lo, hi = self.function.args
        self.b = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.arrays = {"args": _Array(args, dtypes.int64, lambda instruction: None)}
        self.values = {"lo": _Value(lo, dtypes.int64), "hi": _Value(hi, dtypes.int64)}
        self.slots: dict[str, _Value] = {}
        self.scopes = Scopes(self.module, source.count("= ptr_"))

    def text(self) -> str:
        """Read everything."""
        self.statements(self.body)
        return str(self.module)

    def refuse(self, node: ast.AST) -> NoReturn:
        raise TypeError(f"not understood in a library kernel: {ast.unparse(node)}")

    # ---- statements
    def statements(self, body: Sequence[ast.stmt]) -> None:
        """Read statements in order; nothing follows a return."""
        for s in body:
            self.statement(s)

    @singledispatchmethod
    def statement(self, s: ast.stmt) -> None:
        """Read one statement."""
        self.refuse(s)

    @statement.register
    def _(self, s: ast.Assign) -> None:
        (target,) = s.targets
        if isinstance(target, ast.Tuple):
            assert isinstance(s.value, ast.Tuple)
            values = [self.expression(e) for e in s.value.elts]
            for t, v in zip(target.elts, values, strict=True):
                self.assign(t, v)
        elif isinstance(s.value, ast.Call) and getattr(s.value.func, "id", "") in _POINTERS:
            assert isinstance(target, ast.Name) and isinstance(s.value.func, ast.Name)
            word = self.expression(s.value.args[0]).value
            address = self.b.inttoptr(word, ir.PointerType())
            mark = self.scopes.of(len(self.arrays) - 1)
            self.arrays[target.id] = _Array(address, _POINTERS[s.value.func.id], mark)
        else:
            self.assign(target, self.expression(s.value))

    @statement.register
    def _(self, s: ast.AugAssign) -> None:
        self.assign(s.target, self.binary(ast.BinOp(s.target, s.op, s.value)))

    @statement.register
    def _(self, s: ast.Return) -> None:
        self.b.ret(self.expression(s.value or ast.Constant(0)).value)

    @statement.register
    def _(self, s: ast.If) -> None:
        condition = self.truth(s.test)
        if s.orelse:
            with self.b.if_else(condition) as (then, otherwise):
                with then:
                    self.statements(s.body)
                with otherwise:
                    self.statements(s.orelse)
        else:
            with self.b.if_then(condition):
                self.statements(s.body)

    @statement.register
    def _(self, s: ast.While) -> None:
        b = self.b
        test, inside, after = (b.append_basic_block(f"while.{n}") for n in ("test", "body", "end"))
        b.branch(test)
        b.position_at_end(test)
        b.cbranch(self.truth(s.test), inside, after)
        b.position_at_end(inside)
        self.statements(s.body)
        b.branch(test)
        b.position_at_end(after)

    @statement.register
    def _(self, s: ast.For) -> None:
        b = self.b
        assert isinstance(s.target, ast.Name) and isinstance(s.iter, ast.Call)
        bounds = [self.convert(self.expression(e), dtypes.int64) for e in s.iter.args]
        zero, one = ir.Constant(I64, 0), ir.Constant(I64, 1)
        start, stop, step = (
            (zero, bounds[0], one) if len(bounds) == 1 else (*bounds, one)[:3]
        )  # fmt: skip
        before = b.block
        inside, after = b.append_basic_block("for.body"), b.append_basic_block("for.end")
        b.cbranch(b.icmp_signed("<", start, stop), inside, after)
        b.position_at_end(inside)
        i = b.phi(I64, s.target.id)
        i.add_incoming(start, before)
        outer = self.values.get(s.target.id)
        self.values[s.target.id] = _Value(i, dtypes.int64)
        self.statements(s.body)
        following = b.add(i, step, flags=("nsw",))
        i.add_incoming(following, b.block)
        b.cbranch(b.icmp_signed("<", following, stop), inside, after)
        b.position_at_end(after)
        if outer is not None:
            self.values[s.target.id] = outer

    def assign(self, target: ast.expr, v: _Value) -> None:
        """Store into an element or a variable; a value of another type is another variable."""
        if isinstance(target, ast.Subscript):
            where, array = self.element(target)
            value = self.convert(v, array.dtype)
            array.mark(self.b.store(value, where, align=array.dtype.size))
            return
        if not isinstance(target, ast.Name):
            self.refuse(target)
        slot = self.slots.get(target.id)
        if slot is None or slot.dtype is not v.dtype:
            with self.b.goto_entry_block():
                made = self.b.alloca(value_type(v.dtype))
            slot = self.slots[target.id] = _Value(made, v.dtype)
        self.b.store(v.value, slot.value)

    def element(self, e: ast.Subscript) -> tuple[Any, _Array]:
        """The address of an element, and its array."""
        assert isinstance(e.value, ast.Name)
        array = self.arrays[e.value.id]
        at = self.convert(self.expression(e.slice), dtypes.int64)
        ty = storage_type(array.dtype)
        return self.b.gep(array.address, [at], inbounds=True, source_etype=ty), array

    # ---- expressions
    @singledispatchmethod
    def expression(self, e: ast.expr) -> _Value:
        """The value of an expression."""
        self.refuse(e)

    @expression.register
    def _(self, e: ast.Constant) -> _Value:
        dtype = dtypes.float64 if isinstance(e.value, float) else dtypes.int64
        assert isinstance(e.value, int | float)
        return _Value(literal(e.value, dtype), dtype)

    @expression.register
    def _(self, e: ast.Name) -> _Value:
        slot = self.slots.get(e.id)
        if slot is not None:
            return _Value(self.b.load(slot.value, typ=slot.value.allocated_type), slot.dtype)
        return self.values[e.id]

    @expression.register
    def _(self, e: ast.Attribute) -> _Value:
        return _Value(literal(_CONSTANTS[e.attr], dtypes.float64), dtypes.float64)

    @expression.register
    def _(self, e: ast.Subscript) -> _Value:
        where, array = self.element(e)
        x = self.b.load(where, typ=storage_type(array.dtype), align=array.dtype.size)
        array.mark(x)
        return _Value(x, array.dtype)

    @expression.register
    def _(self, e: ast.UnaryOp) -> _Value:
        if isinstance(e.op, ast.Not):
            return _Value(self.b.not_(self.truth(e.operand)), dtypes.bool_)
        x = self.expression(e.operand)
        if not isinstance(e.op, ast.USub):
            self.refuse(e)
        if x.dtype.is_floating:
            return _Value(self.b.fneg(x.value, flags=FLAGS), x.dtype)
        wide = self.convert(x, dtypes.int64)
        return _Value(self.b.sub(ir.Constant(I64, 0), wide), dtypes.int64)

    @expression.register
    def _(self, e: ast.BinOp) -> _Value:
        return self.binary(e)

    @expression.register
    def _(self, e: ast.BoolOp) -> _Value:
        join = self.b.and_ if isinstance(e.op, ast.And) else self.b.or_
        first, *rest = (self.truth(x) for x in e.values)
        for x in rest:
            first = join(first, x)
        return _Value(first, dtypes.bool_)

    @expression.register
    def _(self, e: ast.Compare) -> _Value:
        (op,), (right,) = e.ops, e.comparators
        x, y, dtype = self.common(self.expression(e.left), self.expression(right))
        relation = _COMPARE[type(op)]
        if not dtype.is_floating:
            compare = self.b.icmp_unsigned if dtype.is_unsigned else self.b.icmp_signed
            return _Value(compare(relation, x, y), dtypes.bool_)
        ordered = self.b.fcmp_unordered if relation == "!=" else self.b.fcmp_ordered
        return _Value(ordered(relation, x, y, flags=FLAGS), dtypes.bool_)

    @expression.register
    def _(self, e: ast.IfExp) -> _Value:
        condition = self.truth(e.test)
        x, y, dtype = self.common(self.expression(e.body), self.expression(e.orelse), widen=False)
        return _Value(self.b.select(condition, x, y), dtype)

    @expression.register
    def _(self, e: ast.Call) -> _Value:
        if isinstance(e.func, ast.Attribute):
            return self.method(e, e.func)
        assert isinstance(e.func, ast.Name)
        xs = [self.expression(a) for a in e.args]
        match e.func.id:
            case "abs":
                return self.absolute(xs[0])
            case "min" | "max" as name:
                x, y, dtype = self.common(xs[0], xs[1])
                both = _Value(x, dtype), _Value(y, dtype)
                relation = "<" if name == "min" else ">"
                less = self.compare(relation, both[1], both[0])
                return _Value(self.b.select(less, y, x), dtype)
            case "int_truncdiv":
                x, y, dtype = self.common(xs[0], xs[1], widen=False)
                out = scalar_emit.int_division(self.b, "truncdiv", x, y, not dtype.is_unsigned)
                return _Value(out, dtype)
            case name if name in vector_math.FUNCTIONS:
                out = vector_math.emit(name, self.b, *(x.value for x in xs))
                return _Value(out, xs[0].dtype)
        self.refuse(e)

    def method(self, e: ast.Call, function: ast.Attribute) -> _Value:
        """``np.something(...)``, or ``x.view(np.float64)``."""
        if function.attr == "view":
            (kind,) = e.args
            assert isinstance(kind, ast.Attribute)
            dtype = dtypes.as_dtype(kind.attr)
            x = self.expression(function.value)
            return _Value(self.b.bitcast(x.value, value_type(dtype)), dtype)
        xs = [self.expression(a) for a in e.args]
        if function.attr == "divide":
            x, y, dtype = self.common(xs[0], xs[1])
            return _Value(self.b.fdiv(x, y, flags=FLAGS), dtype)
        if function.attr == "sqrt":
            return _Value(call_intrinsic(self.b, "llvm.sqrt", [xs[0].value]), xs[0].dtype)
        dtype = dtypes.as_dtype(function.attr)
        return _Value(self.convert(xs[0], dtype), dtype)

    def absolute(self, x: _Value) -> _Value:
        """abs."""
        if x.dtype.is_floating:
            return _Value(call_intrinsic(self.b, "llvm.fabs", [x.value]), x.dtype)
        wide = self.convert(x, dtypes.int64)
        zero = ir.Constant(I64, 0)
        below = self.b.icmp_signed("<", wide, zero)
        return _Value(self.b.select(below, self.b.sub(zero, wide), wide), dtypes.int64)

    def binary(self, e: ast.BinOp) -> _Value:
        """Arithmetic in the type that the operands have in common."""
        b, op = self.b, type(e.op)
        if op is ast.Pow:  # of two numbers, to write one
            power = float(ast.literal_eval(e.left)) ** ast.literal_eval(e.right)
            return _Value(literal(power, dtypes.float64), dtypes.float64)
        x, y, dtype = self.common(self.expression(e.left), self.expression(e.right))
        signed = not dtype.is_unsigned
        if dtype.is_floating:
            if op is ast.Div:
                return _Value(b.fdiv(x, y, flags=FLAGS), dtype)
            if op in _ARITHMETIC:
                return _Value(getattr(b, "f" + _ARITHMETIC[op])(x, y, flags=FLAGS), dtype)
        elif op in _ARITHMETIC or op in _BITS:
            return _Value(getattr(b, {**_ARITHMETIC, **_BITS}[op])(x, y), dtype)
        elif op in _INT_DIVISION and not signed:
            return _Value(self.unsigned_division(_INT_DIVISION[op], x, y), dtype)
        elif op in _INT_DIVISION:
            out = scalar_emit.int_division(b, _INT_DIVISION[op], x, y, signed)
            return _Value(out, dtype)
        elif op is ast.LShift:
            return _Value(b.shl(x, y), dtype)
        elif op is ast.RShift:
            return _Value(b.ashr(x, y) if signed else b.lshr(x, y), dtype)
        self.refuse(e)

    def unsigned_division(self, kind: str, x: Any, y: Any) -> Any:
        """As Numba has it, with a branch: in vectors, which lack it, a division would be slower."""
        b, zero = self.b, ir.Constant(x.type, 0)
        before = b.block
        with b.if_then(b.icmp_unsigned("!=", y, zero), likely=True):
            out = b.udiv(x, y) if kind == "floordiv" else b.urem(x, y)
            divided = b.block
        result = b.phi(x.type)
        result.add_incoming(zero, before)
        result.add_incoming(out, divided)
        return result

    # ---- types
    def truth(self, e: ast.expr) -> Any:
        """A condition as a bit."""
        x = self.expression(e)
        if not x.dtype.is_bool:
            self.refuse(e)
        return x.value

    def compare(self, relation: str, x: _Value, y: _Value) -> Any:
        """A comparison of two values of one type."""
        if x.dtype.is_floating:
            return self.b.fcmp_ordered(relation, x.value, y.value, flags=FLAGS)
        if x.dtype.is_unsigned:
            return self.b.icmp_unsigned(relation, x.value, y.value)
        return self.b.icmp_signed(relation, x.value, y.value)

    def common(self, x: _Value, y: _Value, widen: bool = True) -> tuple[Any, Any, DType]:
        """Two values in the type in which Numba computes with them."""
        dtype = _common(x.dtype, y.dtype, widen)
        return self.convert(x, dtype), self.convert(y, dtype), dtype

    def convert(self, x: _Value, target: DType) -> Any:
        """A value in another type: truncated, extended by its own sign, or rounded."""
        b, value, source = self.b, x.value, x.dtype
        ty = value_type(target)
        if source is target:
            return value
        if target.is_floating:
            if source.is_floating:
                return b.fpext(value, ty) if target is dtypes.float64 else b.fptrunc(value, ty)
            unsigned = source.is_unsigned or source.is_bool
            return b.uitofp(value, ty) if unsigned else b.sitofp(value, ty)
        if source.is_floating:
            return b.fptoui(value, ty) if target.is_unsigned else b.fptosi(value, ty)
        if source.is_bool:
            return b.zext(value, ty)
        return scalar_emit.resize(b, value, target.size * 8, not source.is_unsigned)


def _common(x: DType, y: DType, widen: bool) -> DType:
    if x is y and (x.is_floating or x.is_bool or not widen):
        return x
    if x.is_floating and y.is_floating:
        return dtypes.float64
    if x.is_floating or y.is_floating:
        floating, other = (x, y) if x.is_floating else (y, x)
        if other is dtypes.int64 and floating is dtypes.float64:
            return floating
        raise TypeError(f"{x.name} with {y.name} needs a cast")
    if x.is_unsigned and y.is_unsigned:
        return dtypes.uint64
    if dtypes.uint64 in (x, y):
        raise TypeError(f"{x.name} with {y.name} would be a float")
    return dtypes.int64


__all__ = ["source_ir"]
