"""Scalar operations for kernels that Numba's own operators would get wrong or make unsafe.

Integer division must not trap (by zero, or the lowest number by -1), half precision has to be
rounded, and casts must keep the unsigned meaning.  Everything here is branch-free LLVM IR, so
loops with it still vectorise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]  # llvmlite ships no stubs
from numba import types
from numba.extending import intrinsic


def _safe_division(kind: str) -> Callable[..., Any]:
    """Division that gives 0 for a divisor of 0 and wraps for the lowest number by -1."""

    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        x, y = args
        ty = x.type
        zero, one = ir.Constant(ty, 0), ir.Constant(ty, 1)
        by_zero = b.icmp_unsigned("==", y, zero)
        if not signature.args[0].signed:
            safe = b.select(by_zero, one, y)
            out = b.udiv(x, safe) if kind in ("floordiv", "truncdiv") else b.urem(x, safe)
            return b.select(by_zero, zero, out)
        minus = ir.Constant(ty, -1)
        by_minus = b.icmp_signed("==", y, minus)
        safe = b.select(b.or_(by_zero, by_minus), one, y)
        quotient, rest = b.sdiv(x, safe), b.srem(x, safe)
        if kind in ("floordiv", "mod"):
            wrong = b.and_(
                b.icmp_signed("!=", rest, zero),
                b.icmp_signed("<", b.xor(rest, safe), zero),
            )
            quotient = b.select(wrong, b.sub(quotient, one), quotient)
            rest = b.select(wrong, b.add(rest, safe), rest)
        if kind in ("floordiv", "truncdiv"):
            out = b.select(by_minus, b.sub(zero, x), quotient)
        else:
            out = b.select(by_minus, zero, rest)
        return b.select(by_zero, zero, out)

    def typer(typing_context: Any, x: Any, y: Any) -> Any:
        if isinstance(x, types.Integer) and x == y:
            return x(x, y), generate
        return None

    typer.__name__ = typer.__qualname__ = f"int_{kind}"
    return intrinsic(typer)


def _float_division(kind: str) -> Callable[..., Any]:
    """numpy's floor_divide, remainder and fmod, from LLVM's frem."""

    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        x, y = args
        rest = b.frem(x, y)
        if kind == "trunc_mod":
            return rest
        zero = ir.Constant(x.type, 0.0)
        nonzero = b.fcmp_unordered("!=", rest, zero)
        differs = b.xor(b.fcmp_ordered("<", y, zero), b.fcmp_ordered("<", rest, zero))
        wrong = b.and_(nonzero, differs)
        module = b.module
        if kind == "floor_mod":
            two = ir.FunctionType(x.type, [x.type, x.type])
            copysign = module.declare_intrinsic("llvm.copysign", [x.type], two)
            fixed = b.select(wrong, b.fadd(rest, y), rest)
            return b.select(nonzero, fixed, b.call(copysign, [zero, y]))
        rint = module.declare_intrinsic("llvm.rint", [x.type])
        quotient = b.fdiv(b.fsub(x, rest), y)
        quotient = b.select(wrong, b.fsub(quotient, ir.Constant(x.type, 1.0)), quotient)
        whole = b.call(rint, [quotient])
        by_zero = b.fcmp_ordered("==", y, zero)
        return b.select(by_zero, b.fdiv(x, y), whole)

    def typer(typing_context: Any, x: Any, y: Any) -> Any:
        if isinstance(x, types.Float) and x == y:
            return x(x, y), generate
        return None

    typer.__name__ = typer.__qualname__ = kind
    return intrinsic(typer)


def _int_pow(typing_context: Any, x: Any, y: Any) -> Any:
    """Power by squaring, one step per bit of the exponent; a negative exponent gives 0."""

    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        base, exponent = args
        ty = base.type
        one, zero = ir.Constant(ty, 1), ir.Constant(ty, 0)
        out = one
        for bit in range(ty.width):
            used = b.trunc(b.lshr(exponent, ir.Constant(ty, bit)), ir.IntType(1))
            out = b.select(used, b.mul(out, base), out)
            base = b.mul(base, base)
        if signature.args[0].signed:
            return b.select(b.icmp_signed("<", exponent, zero), zero, out)
        return out

    return (x(x, y), generate) if isinstance(x, types.Integer) and x == y else None


def _to_integer(name: str, target: Any) -> Callable[..., Any]:
    """Conversion to an integer type; floats saturate instead of being undefined."""

    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        (x,) = args
        source = signature.args[0]
        ty = ir.IntType(target.bitwidth)
        if isinstance(source, types.Float):
            which = "llvm.fptosi.sat" if target.signed else "llvm.fptoui.sat"
            fnty = ir.FunctionType(ty, [x.type])
            suffix = f".i{target.bitwidth}." + ("f32" if source.bitwidth == 32 else "f64")
            fn = b.module.globals.get(which + suffix) or ir.Function(b.module, fnty, which + suffix)
            return b.call(fn, [x])
        if isinstance(source, types.Boolean):
            return context.cast(b, x, source, target)
        if source.bitwidth < target.bitwidth:
            return b.sext(x, ty) if source.signed else b.zext(x, ty)
        return b.trunc(x, ty) if source.bitwidth > target.bitwidth else x

    def typer(typing_context: Any, x: Any) -> Any:
        if isinstance(x, types.Float | types.Integer | types.Boolean):
            return target(x), generate
        return None

    typer.__name__ = typer.__qualname__ = name
    return intrinsic(typer)


def _round_half(typing_context: Any, x: Any) -> Any:
    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return b.fpext(b.fptrunc(args[0], ir.HalfType()), ir.FloatType())

    return (types.float32(types.float32), generate) if x == types.float32 else None


def _bf16_bits(b: Any, x: Any) -> Any:
    """Round a float32 to bfloat16, to nearest even; the result is in the low 16 bits of an i32."""
    i32 = ir.IntType(32)
    bits = b.bitcast(x, i32)
    odd = b.and_(b.lshr(bits, ir.Constant(i32, 16)), ir.Constant(i32, 1))
    rounded = b.lshr(b.add(bits, b.add(odd, ir.Constant(i32, 0x7FFF))), ir.Constant(i32, 16))
    is_nan = b.fcmp_unordered("uno", x, x)
    quiet = b.or_(b.lshr(bits, ir.Constant(i32, 16)), ir.Constant(i32, 0x40))
    return b.select(is_nan, quiet, rounded)


def _round_bf16(typing_context: Any, x: Any) -> Any:
    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        bits = b.shl(_bf16_bits(b, args[0]), ir.Constant(ir.IntType(32), 16))
        return b.bitcast(bits, ir.FloatType())

    return (types.float32(types.float32), generate) if x == types.float32 else None


def _load_bf16(typing_context: Any, pointer: Any, index: Any) -> Any:
    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        value = b.load(b.gep(args[0], [args[1]], source_etype=ir.IntType(16)), typ=ir.IntType(16))
        bits = b.shl(b.zext(value, ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
        return b.bitcast(bits, ir.FloatType())

    return types.float32(pointer, types.int64), generate


def _store_bf16(typing_context: Any, pointer: Any, index: Any, value: Any) -> Any:
    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        bits = b.trunc(_bf16_bits(b, args[2]), ir.IntType(16))
        b.store(bits, b.gep(args[0], [args[1]], source_etype=ir.IntType(16)))
        return context.get_dummy_value()

    return types.void(pointer, types.int64, types.float32), generate


def _named(name: str, function: Callable[..., Any]) -> Any:
    function.__name__ = function.__qualname__ = name
    return intrinsic(function)


SCALAR_FUNCTIONS: dict[str, Any] = {
    **{f"int_{k}": _safe_division(k) for k in ("floordiv", "mod", "truncdiv", "truncmod")},
    **{k: _float_division(k) for k in ("floor_divide", "floor_mod", "trunc_mod")},
    **{
        f"to_{short}": _to_integer(f"to_{short}", target)
        for short, target in {
            "i8": types.int8, "i16": types.int16, "i32": types.int32, "i64": types.int64,
            "u8": types.uint8, "u16": types.uint16, "u32": types.uint32, "u64": types.uint64,
        }.items()
    },
    "int_pow": _named("int_pow", _int_pow),
    "round_f16": _named("round_f16", _round_half),
    "round_bf16": _named("round_bf16", _round_bf16),
    "load_bf16": _named("load_bf16", _load_bf16),
    "store_bf16": _named("store_bf16", _store_bf16),
}  # fmt: skip
