"""Scalar operations as LLVM IR: those that plain instructions would get wrong or make unsafe.

Integer division must not trap (by zero, or the lowest number by -1), half precision has to be
rounded, and conversions must keep the unsigned meaning.  Everything here is free of branches, so
loops with it still vectorise.  Both ways to machine code (Numba's and the direct one) use it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]  # llvmlite ships no stubs


def int_division(b: Any, kind: str, x: Any, y: Any, signed: bool) -> Any:
    """floordiv, mod, truncdiv, truncmod; 0 for a divisor of 0, the lowest number by -1 wraps."""
    ty = x.type
    zero, one = ir.Constant(ty, 0), ir.Constant(ty, 1)
    by_zero = b.icmp_unsigned("==", y, zero)
    if not signed:
        safe = b.select(by_zero, one, y)
        out = b.udiv(x, safe) if kind in ("floordiv", "truncdiv") else b.urem(x, safe)
        return b.select(by_zero, zero, out)
    by_minus = b.icmp_signed("==", y, ir.Constant(ty, -1))
    safe = b.select(b.or_(by_zero, by_minus), one, y)
    quotient, rest = b.sdiv(x, safe), b.srem(x, safe)
    if kind in ("floordiv", "mod"):
        differs = b.icmp_signed("<", b.xor(rest, safe), zero)
        wrong = b.and_(b.icmp_signed("!=", rest, zero), differs)
        quotient = b.select(wrong, b.sub(quotient, one), quotient)
        rest = b.select(wrong, b.add(rest, safe), rest)
    if kind in ("floordiv", "truncdiv"):
        out = b.select(by_minus, b.sub(zero, x), quotient)
    else:
        out = b.select(by_minus, zero, rest)
    return b.select(by_zero, zero, out)


def float_division(b: Any, kind: str, x: Any, y: Any) -> Any:
    """numpy's floor_divide, remainder (floor_mod) and fmod (trunc_mod), from LLVM's frem."""
    rest = b.frem(x, y)
    if kind == "trunc_mod":
        return rest
    zero = ir.Constant(x.type, 0.0)
    nonzero = b.fcmp_unordered("!=", rest, zero)
    differs = b.xor(b.fcmp_ordered("<", y, zero), b.fcmp_ordered("<", rest, zero))
    wrong = b.and_(nonzero, differs)
    if kind == "floor_mod":
        two = ir.FunctionType(x.type, [x.type, x.type])
        copysign = b.module.declare_intrinsic("llvm.copysign", [x.type], two)
        fixed = b.select(wrong, b.fadd(rest, y), rest)
        return b.select(nonzero, fixed, b.call(copysign, [zero, y]))
    rint = b.module.declare_intrinsic("llvm.rint", [x.type])
    quotient = b.fdiv(b.fsub(x, rest), y)
    quotient = b.select(wrong, b.fsub(quotient, ir.Constant(x.type, 1.0)), quotient)
    by_zero = b.fcmp_ordered("==", y, zero)
    return b.select(by_zero, b.fdiv(x, y), b.call(rint, [quotient]))


def int_pow(b: Any, base: Any, exponent: Any, signed: bool) -> Any:
    """Power by squaring, one step per bit of the exponent; a negative exponent gives 0."""
    ty = base.type
    one, zero = ir.Constant(ty, 1), ir.Constant(ty, 0)
    out = one
    for bit in range(ty.width):
        used = b.trunc(b.lshr(exponent, ir.Constant(ty, bit)), ir.IntType(1))
        out = b.select(used, b.mul(out, base), out)
        base = b.mul(base, base)
    return b.select(b.icmp_signed("<", exponent, zero), zero, out) if signed else out


def float_to_int(b: Any, x: Any, width: int, signed: bool) -> Any:
    """Truncate; values out of range become the nearest number, NaN becomes 0."""
    ty = ir.IntType(width)
    suffix = f".i{width}." + ("f32" if isinstance(x.type, ir.FloatType) else "f64")
    name = ("llvm.fptosi.sat" if signed else "llvm.fptoui.sat") + suffix
    function = b.module.globals.get(name)
    if function is None:
        function = ir.Function(b.module, ir.FunctionType(ty, [x.type]), name)
    return b.call(function, [x])


def resize(b: Any, x: Any, width: int, signed: bool) -> Any:
    """Convert between integer widths; `signed` is the source's."""
    ty = ir.IntType(width)
    if x.type.width < width:
        return b.sext(x, ty) if signed else b.zext(x, ty)
    return b.trunc(x, ty) if x.type.width > width else x


def round_f16(b: Any, x: Any) -> Any:
    """A float32 rounded to half precision."""
    return b.fpext(b.fptrunc(x, ir.HalfType()), ir.FloatType())


def bf16_bits(b: Any, x: Any) -> Any:
    """Round a float32 to bfloat16, to nearest even; the result is in the low 16 bits of an i32."""
    i32 = ir.IntType(32)
    bits = b.bitcast(x, i32)
    odd = b.and_(b.lshr(bits, ir.Constant(i32, 16)), ir.Constant(i32, 1))
    rounded = b.lshr(b.add(bits, b.add(odd, ir.Constant(i32, 0x7FFF))), ir.Constant(i32, 16))
    is_nan = b.fcmp_unordered("uno", x, x)
    quiet = b.or_(b.lshr(bits, ir.Constant(i32, 16)), ir.Constant(i32, 0x40))
    return b.select(is_nan, quiet, rounded)


def from_bf16_bits(b: Any, bits: Any) -> Any:
    """The float32 whose upper half is the low 16 bits of an i32."""
    return b.bitcast(b.shl(bits, ir.Constant(ir.IntType(32), 16)), ir.FloatType())


def round_bf16(b: Any, x: Any) -> Any:
    """A float32 rounded to bfloat16."""
    return from_bf16_bits(b, bf16_bits(b, x))
