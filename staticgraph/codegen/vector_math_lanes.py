"""Small value wrappers with which the vector math functions are written.

A ``Real`` is one float or double, a ``Whole`` one integer of the same width. Both emit LLVM
instructions straight into the caller's block: no calls, no branches and no memory, so the loop
vectoriser turns a loop of them into packed code.

Every instruction is shielded against fast-math flags that a later pass may add. Numba's pass
gives its flags to float binary operations and compares *that have none*, and to every call that
returns a float. So binary operations carry one flag that means nothing for them (``arcp`` on
anything but a division, ``contract`` on a division), and calls carry a flag set that refuses
additions. Sums of rounding errors, signed zeros and NaN tests keep their meaning that way,
whatever the kernel around them asks for.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from llvmlite import ir  # type: ignore[import-untyped]  # llvmlite ships no stubs
from llvmlite.binding import llvm_version_info  # type: ignore[import-untyped]

from staticgraph.codegen.native import cpu

SINGLE = "single"
SHORT = "short"
DOUBLE = "double"

_FLOAT = ir.FloatType()
_DOUBLE = ir.DoubleType()
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)

_INERT = ("arcp",)
_INERT_DIVISION = ("contract",)


class Table(NamedTuple):
    """Polynomial coefficients, lowest power first, for each working precision.

    ``single`` serves float arithmetic, ``double`` double arithmetic, and ``short`` double
    arithmetic whose result is rounded to float, so that about 37 bits are enough.
    """

    single: tuple[float, ...]
    short: tuple[float, ...]
    double: tuple[float, ...]


class NoFlags(ir.instructions.FastMathFlags):  # type: ignore[misc]  # untyped base
    """A flag set that stays empty."""

    def add(self, name: str) -> None:
        """Ignore the flag."""


def call_intrinsic(builder: Any, name: str, args: Sequence[Any]) -> Any:
    """Call the LLVM intrinsic ``name``, overloaded on the type of the first argument."""
    kind = args[0].type
    suffix = {"float": "f32", "double": "f64"}.get(str(kind), str(kind))
    signature = ir.FunctionType(kind, [value.type for value in args])
    function = builder.module.declare_intrinsic(f"{name}.{suffix}", (), signature)
    result = builder.call(function, args)
    result.fastmath = NoFlags()
    return result


class Mask:
    """A truth value."""

    __slots__ = ("builder", "value")

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder = builder
        self.value = value

    def __and__(self, other: Mask) -> Mask:
        return Mask(self.builder, self.builder.and_(self.value, other.value))

    def __or__(self, other: Mask) -> Mask:
        return Mask(self.builder, self.builder.or_(self.value, other.value))

    def __xor__(self, other: Mask) -> Mask:
        return Mask(self.builder, self.builder.xor(self.value, other.value))

    def __invert__(self) -> Mask:
        return Mask(self.builder, self.builder.not_(self.value))


class Whole:
    """A 32- or 64-bit integer, with wrap-around arithmetic."""

    __slots__ = ("builder", "profile", "value")

    def __init__(self, builder: Any, value: Any, profile: str) -> None:
        self.builder = builder
        self.value = value
        self.profile = profile

    def _operand(self, other: Whole | int) -> Any:
        if isinstance(other, Whole):
            return other.value
        bits = self.value.type.width
        sign = 1 << (bits - 1)
        return ir.Constant(self.value.type, ((other + sign) & (2 * sign - 1)) - sign)

    def _new(self, value: Any) -> Whole:
        return Whole(self.builder, value, self.profile)

    def __add__(self, other: Whole | int) -> Whole:
        return self._new(self.builder.add(self.value, self._operand(other)))

    def __sub__(self, other: Whole | int) -> Whole:
        return self._new(self.builder.sub(self.value, self._operand(other)))

    def __mul__(self, other: Whole | int) -> Whole:
        return self._new(self.builder.mul(self.value, self._operand(other)))

    def __and__(self, other: Whole | int) -> Whole:
        return self._new(self.builder.and_(self.value, self._operand(other)))

    def __or__(self, other: Whole | int) -> Whole:
        return self._new(self.builder.or_(self.value, self._operand(other)))

    def __xor__(self, other: Whole | int) -> Whole:
        return self._new(self.builder.xor(self.value, self._operand(other)))

    def __lshift__(self, count: int) -> Whole:
        return self._new(self.builder.shl(self.value, self._operand(count)))

    def __rshift__(self, count: int) -> Whole:
        """Shift right, the sign bit moving in."""
        return self._new(self.builder.ashr(self.value, self._operand(count)))

    def logical_right(self, count: int) -> Whole:
        """Shift right, zeros moving in."""
        return self._new(self.builder.lshr(self.value, self._operand(count)))

    def compare(self, relation: str, other: Whole | int) -> Mask:
        """Compare as signed integers: ``relation`` is one of < <= > >= == !=."""
        operand = self._operand(other)
        return Mask(self.builder, self.builder.icmp_signed(relation, self.value, operand))

    def select(self, condition: Mask, other: Whole | int) -> Whole:
        """This value where ``condition`` holds, ``other`` elsewhere."""
        return self._new(self.builder.select(condition.value, self.value, self._operand(other)))

    def as_real(self) -> Real:
        """The same bits, read as a float."""
        target = _FLOAT if self.value.type.width == 32 else _DOUBLE
        return Real(self.builder, self.builder.bitcast(self.value, target), self.profile)

    def to_real(self) -> Real:
        """The float of this value, which must be small: below 2**22 (float) or 2**51 (double).

        Adding the bits of 1.5 * 2**p and subtracting that number again needs no conversion
        instruction, which for 64-bit integers not every vector unit has.
        """
        magic = magic_number(self.profile)
        return (self + real_bits(magic, self.profile)).as_real() - magic


class Real:
    """A float or double together with the precision its function works in."""

    __slots__ = ("builder", "profile", "value")

    def __init__(self, builder: Any, value: Any, profile: str) -> None:
        self.builder = builder
        self.value = value
        self.profile = profile

    @property
    def single(self) -> bool:
        """Whether the arithmetic is in float."""
        return self.profile == SINGLE

    def pick(self, single: float, double: float) -> float:
        """The constant that goes with the arithmetic."""
        return single if self.single else double

    def operand(self, other: Real | float) -> Any:
        """The LLVM value of ``other`` in the type of this value."""
        return (
            other.value if isinstance(other, Real) else ir.Constant(self.value.type, float(other))
        )

    def _new(self, value: Any) -> Real:
        return Real(self.builder, value, self.profile)

    def constant(self, number: float) -> Real:
        """A constant of the same type."""
        return self._new(ir.Constant(self.value.type, float(number)))

    def __add__(self, other: Real | float) -> Real:
        return self._new(self.builder.fadd(self.value, self.operand(other), flags=_INERT))

    __radd__ = __add__

    def __sub__(self, other: Real | float) -> Real:
        return self._new(self.builder.fsub(self.value, self.operand(other), flags=_INERT))

    def __rsub__(self, other: float) -> Real:
        return self._new(self.builder.fsub(self.operand(other), self.value, flags=_INERT))

    def __mul__(self, other: Real | float) -> Real:
        return self._new(self.builder.fmul(self.value, self.operand(other), flags=_INERT))

    __rmul__ = __mul__

    def __truediv__(self, other: Real | float) -> Real:
        return self._new(self.builder.fdiv(self.value, self.operand(other), flags=_INERT_DIVISION))

    def __rtruediv__(self, other: float) -> Real:
        return self._new(self.builder.fdiv(self.operand(other), self.value, flags=_INERT_DIVISION))

    def __neg__(self) -> Real:
        return self._new(self.builder.fneg(self.value))

    def _compare(self, relation: str, other: Real | float) -> Mask:
        method = self.builder.fcmp_unordered if relation == "!=" else self.builder.fcmp_ordered
        return Mask(self.builder, method(relation, self.value, self.operand(other), flags=_INERT))

    def __lt__(self, other: Real | float) -> Mask:
        return self._compare("<", other)

    def __le__(self, other: Real | float) -> Mask:
        return self._compare("<=", other)

    def __gt__(self, other: Real | float) -> Mask:
        return self._compare(">", other)

    def __ge__(self, other: Real | float) -> Mask:
        return self._compare(">=", other)

    def equals(self, other: Real | float) -> Mask:
        """Equal, and neither is NaN."""
        return self._compare("==", other)

    def differs(self, other: Real | float) -> Mask:
        """Not equal, or one is NaN."""
        return self._compare("!=", other)

    def is_nan(self) -> Mask:
        """Whether this value is NaN."""
        return Mask(
            self.builder, self.builder.fcmp_unordered("uno", self.value, self.value, flags=_INERT)
        )

    def where(self, condition: Mask, other: Real | float) -> Real:
        """This value where ``condition`` holds, ``other`` elsewhere."""
        return self._new(self.builder.select(condition.value, self.value, self.operand(other)))

    def unless(self, condition: Mask, other: Real | float) -> Real:
        """``other`` where ``condition`` holds, this value elsewhere."""
        return self._new(self.builder.select(condition.value, self.operand(other), self.value))

    def intrinsic(self, name: str, *others: Real | float) -> Real:
        """Call an LLVM intrinsic on this value and ``others``."""
        args = [self.value, *(self.operand(other) for other in others)]
        return self._new(call_intrinsic(self.builder, name, args))

    def fma(self, factor: Real | float, addend: Real | float) -> Real:
        """``self * factor + addend`` rounded once."""
        return self.intrinsic("llvm.fma", factor, addend)

    def abs(self) -> Real:
        """The magnitude."""
        return self.intrinsic("llvm.fabs")

    def sqrt(self) -> Real:
        """The square root, correctly rounded."""
        return self.intrinsic("llvm.sqrt")

    def rint(self) -> Real:
        """The nearest whole number, ties to even."""
        return self.intrinsic("llvm.rint")

    def floor(self) -> Real:
        """The next whole number below."""
        return self.intrinsic("llvm.floor")

    def copysign(self, sign: Real) -> Real:
        """This magnitude with the sign of ``sign``."""
        return self.intrinsic("llvm.copysign", sign)

    def bits(self) -> Whole:
        """The same bits, read as an integer."""
        target = _I32 if self.single else _I64
        return Whole(self.builder, self.builder.bitcast(self.value, target), self.profile)

    def polynomial(self, coefficients: Table | tuple[float, ...]) -> Real:
        """Evaluate a polynomial at this value by Horner's rule."""
        if isinstance(coefficients, Table):
            chosen: tuple[float, ...] = getattr(coefficients, self.profile)
        else:
            chosen = coefficients
        total = self.constant(chosen[-1])
        for coefficient in reversed(chosen[:-1]):
            total = total.fma(self, coefficient)
        return total

    def at_most(self, bound: float) -> Real:
        """Clip from above; NaN stays NaN."""
        return self.unless(self > bound, bound)

    def at_least(self, bound: float) -> Real:
        """Clip from below; NaN stays NaN."""
        return self.unless(self < bound, bound)

    def nearest(self, factor: float) -> tuple[Real, Whole]:
        """``rint(self * factor)`` as a float and as an integer, for small magnitudes.

        NaN gives an arbitrary integer, where a conversion instruction would give poison.
        """
        magic = magic_number(self.profile)
        shifted = self.fma(factor, magic)
        return shifted - magic, shifted.bits() - real_bits(magic, self.profile)

    def widen(self) -> Real:
        """A float as a double that works in short precision."""
        return Real(self.builder, self.builder.fpext(self.value, _DOUBLE), SHORT)

    def narrow(self) -> Real:
        """A double as a float."""
        return Real(self.builder, self.builder.fptrunc(self.value, _FLOAT), SINGLE)


def magic_number(profile: str) -> float:
    """1.5 * 2**p, whose neighbours are whole numbers."""
    return 12582912.0 if profile == SINGLE else 6755399441055744.0


def real_bits(number: float, profile: str) -> int:
    """The bits of a constant."""
    if profile == SINGLE:
        return int(struct.unpack("<i", struct.pack("<f", number))[0])
    return int(struct.unpack("<q", struct.pack("<d", number))[0])


def mantissa_bits(profile: str) -> int:
    """How many bits the mantissa field holds."""
    return 23 if profile == SINGLE else 52


def exponent_bias(profile: str) -> int:
    """What is added to an exponent in its field."""
    return 127 if profile == SINGLE else 1023


def power_of_two(exponent: Whole) -> Real:
    """2**exponent, for exponents of normal numbers."""
    shift = mantissa_bits(exponent.profile)
    return ((exponent + exponent_bias(exponent.profile)) << shift).as_real()


def scale(value: Real, exponent: Whole) -> Real:
    """``value * 2**exponent`` for |exponent| up to twice the normal range, rounded once.

    ``value`` must be near one: then the first of the two products is exact.  AVX-512 has one
    instruction for it, with the same result.
    """
    if scales_in_one():
        return _scaled(value, exponent)
    first = exponent >> 1
    return value * power_of_two(first) * power_of_two(exponent - first)


def scales_in_one() -> bool:
    """Whether ``llvm.ldexp`` is an instruction of the target, in vectors too."""
    return llvm_version_info >= (22,) and "+avx512f" in cpu()[2].split(",")


def _scaled(value: Real, exponent: Whole) -> Real:
    builder, kind = value.builder, value.value.type
    n = exponent.value if value.single else builder.trunc(exponent.value, _I32)
    name = f"llvm.ldexp.{'f32' if value.single else 'f64'}.i32"
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(kind, [kind, _I32]), name)
    result = builder.call(function, [value.value, n])
    result.fastmath = NoFlags()
    return Real(builder, result, value.profile)


def two_sum(left: Real, right: Real | float) -> tuple[Real, Real]:
    """``left + right`` and its rounding error (Knuth)."""
    addend = right if isinstance(right, Real) else left.constant(right)
    total = left + addend
    part = total - left
    return total, (left - (total - part)) + (addend - part)


def quick_two_sum(left: Real, right: Real) -> tuple[Real, Real]:
    """The same where |left| >= |right| (Dekker)."""
    total = left + right
    return total, right - (total - left)


def two_product(left: Real, right: Real | float) -> tuple[Real, Real]:
    """``left * right`` and its rounding error."""
    product = left * right
    return product, left.fma(right, -product)


def wrap(builder: Any, value: Any) -> Real:
    """Wrap an LLVM float or double."""
    if value.type == _FLOAT:
        return Real(builder, value, SINGLE)
    if value.type == _DOUBLE:
        return Real(builder, value, DOUBLE)
    raise TypeError(f"vector math is for float and double, not {value.type}")
