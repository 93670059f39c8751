"""Scalar expressions as LLVM IR, with the meaning that `ir.scalar` gives them.

The twin of the source printer's expressions: what it writes in Python, this emits as instructions.
Floating instructions carry `contract` and nothing else, as Numba's do.
"""

from __future__ import annotations

import math
import struct
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]  # llvmlite ships no stubs

from staticgraph.codegen import scalar_emit, vector_math
from staticgraph.codegen.source import HALF, working
from staticgraph.codegen.vector_math_lanes import call_intrinsic
from staticgraph.ir import dtypes
from staticgraph.ir.dtypes import DType
from staticgraph.ir.kernel import Temp
from staticgraph.ir.scalar import Expr, Index, Lit, Load, Prim

FLAGS = ("contract",)
I1, I64 = ir.IntType(1), ir.IntType(64)
_FLOAT = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_INT = {"add": "add", "sub": "sub", "mul": "mul", "bitand": "and_", "bitor": "or_", "bitxor": "xor"}
_COMPARE = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
_LOGIC = {"and": "and_", "or": "or_", "xor": "xor"}
_INT_DIVISION = {"div": "truncdiv", "floordiv": "floordiv", "mod": "mod", "truncdiv": "truncdiv",
                 "truncmod": "truncmod"}  # fmt: skip
_FLOAT_DIVISION = {"floordiv": "floor_divide", "mod": "floor_mod", "truncmod": "trunc_mod"}


def value_type(dtype: DType) -> Any:
    """The LLVM type that values of `dtype` are computed in."""
    d = working(dtype)
    if d.is_bool:
        return I1
    if d.is_floating:
        return ir.FloatType() if d is dtypes.float32 else ir.DoubleType()
    return ir.IntType(d.size * 8)


def storage_type(dtype: DType) -> Any:
    """The LLVM type of an element in memory."""
    if dtype.is_bool:
        return ir.IntType(8)
    if dtype is dtypes.float16:
        return ir.HalfType()
    if dtype is dtypes.bfloat16:
        return ir.IntType(16)
    return value_type(dtype)


def literal(value: int | float | bool, dtype: DType) -> Any:
    """A constant; floats keep their bits (NaN, infinities, the sign of zero)."""
    ty = value_type(dtype)
    if dtype.is_bool:
        return ir.Constant(I1, int(bool(value)))
    if not dtype.is_floating:
        return ir.Constant(ty, int(value))
    x = float(value)
    if isinstance(ty, ir.FloatType):
        x = struct.unpack("<f", struct.pack("<f", x))[0] if math.isfinite(x) else x
    return ir.Constant(ty, x)


class Expressions:
    """Emits expressions with a builder; `names` are the local values."""

    def __init__(self, builder: Any) -> None:
        self.b = builder
        self.names: dict[str, Any] = {}
        self.pointers: dict[int, tuple[Any, DType, Any]] = {}
        # block, loop variable, its first value: what is written there, and read from there
        self.staged: dict[int, tuple[Any, str, Any]] = {}
        self.rows: dict[int, tuple[Any, str, Any]] = {}

    def emit(self, e: Expr) -> Any:
        """The LLVM value of an expression."""
        match e:
            case Lit(value, dtype):
                return literal(value, dtype)
            case Load(operand, (index,), _):
                return self.load(operand, index)
            case Prim():
                return self.primitive(e)
            case Temp(name) | Index(name):
                return self.name(name)
            case _:
                raise TypeError(f"{type(e).__name__} in a kernel")

    def name(self, name: str) -> Any:
        """A local value, or the current content of an accumulator."""
        v = self.names[name]
        if isinstance(v, ir.AllocaInstr):
            return self.b.load(v, typ=v.allocated_type)
        return v

    # ---- memory
    def _address(self, param: int, index: Expr) -> tuple[Any, DType, Any]:
        pointer, dtype, scopes = self.pointers[param]
        at, ty = self.emit(index), storage_type(dtype)
        where = self.b.gep(pointer, [at], inbounds=True, source_etype=ty)
        return where, dtype, scopes

    def load(self, param: int, index: Expr) -> Any:
        """An element as a value."""
        where, dtype, scopes = self._place(self.rows, param, index)
        x = self.b.load(where, typ=storage_type(dtype), align=max(1, dtype.size))
        scopes(x)
        if dtype is dtypes.float16:
            return self.b.fpext(x, ir.FloatType())
        if dtype is dtypes.bfloat16:
            return scalar_emit.from_bf16_bits(self.b, self.b.zext(x, ir.IntType(32)))
        if dtype.is_bool:
            return self.b.icmp_unsigned("!=", x, ir.Constant(x.type, 0))
        return x

    def _place(
        self, blocks: dict[int, tuple[Any, str, Any]], param: int, index: Expr
    ) -> tuple[Any, DType, Any]:
        """Where an element is: in a block, if its array is in one, else in memory."""
        if param not in blocks:
            return self._address(param, index)
        _, dtype, _ = self.pointers[param]
        block, var, first = blocks[param]
        at = self.b.sub(self.names[var], first)
        where = self.b.gep(block, [at], inbounds=True, source_etype=storage_type(dtype))
        return where, dtype, lambda instruction: None

    def store(self, param: int, index: Expr, value: Any) -> None:
        """Write an element."""
        where, dtype, scopes = self._place(self.staged, param, index)
        if dtype is dtypes.float16:
            value = self.b.fptrunc(value, ir.HalfType())
        elif dtype is dtypes.bfloat16:
            value = self.b.trunc(scalar_emit.bf16_bits(self.b, value), ir.IntType(16))
        elif dtype.is_bool:
            value = self.b.zext(value, ir.IntType(8))
        scopes(self.b.store(value, where, align=max(1, dtype.size)))

    # ---- primitives
    def primitive(self, e: Prim) -> Any:
        """A primitive applied to its operands."""
        name, b = e.name, self.b
        if name == "cast":
            return self.cast(self.emit(e.args[0]), e.args[0].dtype, e.dtype)
        xs = [self.emit(a) for a in e.args]
        kind = working(e.args[0].dtype)
        if name in _COMPARE:
            return self.compare(_COMPARE[name], xs, kind)
        if name in _LOGIC and e.dtype.is_bool:
            return getattr(b, _LOGIC[name])(*xs)
        if name == "not":
            return b.not_(xs[0])
        if name == "select":
            return b.select(*xs)
        if name in ("isnan", "isinf", "isfinite"):
            return self.classify(name, xs[0], kind)
        d = working(e.dtype)
        return self.floating(name, xs) if d.is_floating else self.integer(name, xs, d)

    def compare(self, op: str, xs: list[Any], kind: DType) -> Any:
        """A comparison; of floats, only ``!=`` holds where one side is NaN."""
        if kind.is_floating:
            if op == "!=":
                return self.b.fcmp_unordered(op, *xs, flags=FLAGS)
            return self.b.fcmp_ordered(op, *xs, flags=FLAGS)
        if kind.is_unsigned or kind.is_bool:
            return self.b.icmp_unsigned(op, *xs)
        return self.b.icmp_signed(op, *xs)

    def classify(self, name: str, x: Any, kind: DType) -> Any:
        """isnan, isinf, isfinite."""
        if not kind.is_floating:
            return ir.Constant(I1, int(name == "isfinite"))
        if name == "isnan":
            return self.b.fcmp_unordered("!=", x, x)
        size = call_intrinsic(self.b, "llvm.fabs", [x])
        infinity = ir.Constant(x.type, math.inf)
        return self.b.fcmp_ordered("==" if name == "isinf" else "<", size, infinity)

    def floating(self, name: str, xs: list[Any]) -> Any:
        """A primitive on floats."""
        b = self.b
        if name in _FLOAT:
            return getattr(b, _FLOAT[name])(*xs, flags=FLAGS)
        if name in _FLOAT_DIVISION:
            return scalar_emit.float_division(b, _FLOAT_DIVISION[name], *xs)
        match name:
            case "neg":
                return b.fneg(xs[0], flags=FLAGS)
            case "abs":
                return call_intrinsic(b, "llvm.fabs", xs)
            case "sign":
                return self.sign(xs[0])
            case "truncdiv":
                return vector_math.emit("trunc", b, b.fdiv(*xs, flags=FLAGS))
        return vector_math.emit(name, b, *xs)

    def sign(self, x: Any) -> Any:
        """-1, 0 or 1; NaN stays, and both zeros give 0."""
        b, ty = self.b, x.type
        zero = ir.Constant(ty, 0.0)
        at_zero = b.select(b.fcmp_ordered("==", x, zero), zero, x)
        below = b.select(b.fcmp_ordered("<", x, zero), ir.Constant(ty, -1.0), at_zero)
        return b.select(b.fcmp_ordered(">", x, zero), ir.Constant(ty, 1.0), below)

    def integer(self, name: str, xs: list[Any], d: DType) -> Any:
        """A primitive on integers (and bool, for maximum and minimum)."""
        b, x, signed = self.b, xs[0], not (d.is_unsigned or d.is_bool)
        if name in _INT:
            return getattr(b, _INT[name])(*xs)
        if name in _INT_DIVISION:
            return scalar_emit.int_division(b, _INT_DIVISION[name], xs[0], xs[1], signed)
        if name in ("neg", "abs", "sign"):
            return self.signed(name, x, d, signed)
        match name:
            case "pow":
                return scalar_emit.int_pow(b, xs[0], xs[1], signed)
            case "maximum" | "minimum":
                return b.select(self.compare(">" if name == "maximum" else "<", xs, d), x, xs[1])
            case "bitnot":
                return b.not_(x)
            case "shl" | "shr":
                count = b.and_(xs[1], ir.Constant(x.type, d.size * 8 - 1))
                if name == "shl":
                    return b.shl(x, count)
                return b.ashr(x, count) if signed else b.lshr(x, count)
            case "floor" | "ceil" | "rint" | "trunc":
                return x
        raise TypeError(f"{name} on {d.name}")

    def signed(self, name: str, x: Any, d: DType, signed: bool) -> Any:
        """neg, abs and sign of an integer."""
        b, zero = self.b, ir.Constant(x.type, 0)
        if name == "neg":
            return b.sub(zero, x)
        below = b.icmp_signed("<", x, zero) if signed else ir.Constant(I1, 0)
        if name == "abs":
            return b.select(below, b.sub(zero, x), x)
        one, minus = ir.Constant(x.type, 1), ir.Constant(x.type, -1)
        return b.select(self.compare(">", [x, zero], d), one, b.select(below, minus, zero))

    # ---- conversions
    def cast(self, x: Any, source: DType, target: DType) -> Any:
        """Convert between dtypes."""
        if source is target:
            return x
        if target in HALF:
            wide = self.cast(x, working(source), dtypes.float32)
            emit = scalar_emit.round_f16 if target is dtypes.float16 else scalar_emit.round_bf16
            return emit(self.b, wide)
        source = working(source)
        if source is target:
            return x
        if target.is_bool:
            return self.compare("!=", [x, literal(0, source)], source)
        if target.is_floating:
            return self.to_float(x, source, target)
        if source.is_floating:
            return scalar_emit.float_to_int(self.b, x, target.size * 8, not target.is_unsigned)
        if source.is_bool:
            return self.b.zext(x, value_type(target))
        return scalar_emit.resize(self.b, x, target.size * 8, not source.is_unsigned)

    def to_float(self, x: Any, source: DType, target: DType) -> Any:
        """Convert to float32 or float64."""
        b, ty = self.b, value_type(target)
        if source.is_floating:
            return b.fpext(x, ty) if target is dtypes.float64 else b.fptrunc(x, ty)
        if source.is_unsigned or source.is_bool:
            return b.uitofp(x, ty)
        return b.sitofp(x, ty)
