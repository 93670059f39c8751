"""Elementary functions as LLVM code that the loop vectoriser turns into packed instructions.

``FUNCTIONS`` maps a name to its arity and to a function that emits the code for it into a
block, for float or double operands. The code is straight-line, calls nothing outside the
processor's own instructions, and is the same for a vector body and its scalar remainder.
Functions marked wide below compute float results in double arithmetic and round once.

A target without fused multiply-add (before AVX2 on x86-64) would turn ``llvm.fma`` into library
calls: correct, but slow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir  # type: ignore[import-untyped]  # llvmlite ships no stubs

from staticgraph.codegen import vector_math_explog as explog
from staticgraph.codegen import vector_math_special as special
from staticgraph.codegen import vector_math_trig as trig
from staticgraph.codegen.vector_math_lanes import NoFlags, Real, call_intrinsic, wrap


class VectorFunction(NamedTuple):
    """An emitter, called with the IR builder and ``arity`` values of one type."""

    arity: int
    emit: Callable[..., Any]


def _native(function: Callable[..., Real]) -> Callable[..., Any]:
    """Compute in the type of the operands."""

    def emit(builder: Any, *operands: Any) -> Any:
        return function(*(wrap(builder, operand) for operand in operands)).value

    return emit


def _wide(function: Callable[..., Real]) -> Callable[..., Any]:
    """Compute float results in double."""

    def emit(builder: Any, *operands: Any) -> Any:
        reals = [wrap(builder, operand) for operand in operands]
        if reals[0].single:
            return function(*(real.widen() for real in reals)).narrow().value
        return function(*reals).value

    return emit


def _intrinsic(name: str) -> Callable[..., Any]:
    def emit(builder: Any, *operands: Any) -> Any:
        return call_intrinsic(builder, name, operands)

    return emit


def _rsqrt(x: Real) -> Real:
    return 1.0 / x.sqrt()


def _maximum(x: Real, y: Real) -> Real:
    # One max instruction and a blend: y > x is false for a NaN in x, which then stays.
    return y.where((y > x) | y.is_nan(), x)


def _minimum(x: Real, y: Real) -> Real:
    return y.where((y < x) | y.is_nan(), x)


FUNCTIONS: dict[str, VectorFunction] = {
    "exp": VectorFunction(1, _native(explog.exp)),
    "exp2": VectorFunction(1, _native(explog.exp2)),
    "expm1": VectorFunction(1, _native(explog.expm1)),
    "log": VectorFunction(1, _native(explog.log)),
    "log1p": VectorFunction(1, _native(explog.log1p)),
    "tanh": VectorFunction(1, _native(explog.tanh)),
    "sigmoid": VectorFunction(1, _native(explog.sigmoid)),
    "softplus": VectorFunction(1, _native(explog.softplus)),
    "rsqrt": VectorFunction(1, _native(_rsqrt)),
    "maximum": VectorFunction(2, _native(_maximum)),
    "minimum": VectorFunction(2, _native(_minimum)),
    "sqrt": VectorFunction(1, _intrinsic("llvm.sqrt")),
    "floor": VectorFunction(1, _intrinsic("llvm.floor")),
    "ceil": VectorFunction(1, _intrinsic("llvm.ceil")),
    "rint": VectorFunction(1, _intrinsic("llvm.rint")),
    "trunc": VectorFunction(1, _intrinsic("llvm.trunc")),
    "log2": VectorFunction(1, _wide(explog.log2)),
    "log10": VectorFunction(1, _wide(explog.log10)),
    "sinh": VectorFunction(1, _wide(explog.sinh)),
    "cosh": VectorFunction(1, _wide(explog.cosh)),
    "asinh": VectorFunction(1, _wide(explog.asinh)),
    "acosh": VectorFunction(1, _wide(explog.acosh)),
    "atanh": VectorFunction(1, _wide(explog.atanh)),
    "pow": VectorFunction(2, _wide(explog.pow_)),
    "sin": VectorFunction(1, _wide(trig.sin)),
    "cos": VectorFunction(1, _wide(trig.cos)),
    "tan": VectorFunction(1, _wide(trig.tan)),
    "asin": VectorFunction(1, _wide(trig.asin)),
    "acos": VectorFunction(1, _wide(trig.acos)),
    "atan": VectorFunction(1, _wide(trig.atan)),
    "atan2": VectorFunction(2, _wide(trig.atan2)),
    "cbrt": VectorFunction(1, _wide(special.cbrt)),
    "erf": VectorFunction(1, _native(special.erf)),
    "erfc": VectorFunction(1, _wide(special.erfc)),
    "erfinv": VectorFunction(1, _wide(special.erfinv)),
    "lgamma": VectorFunction(1, _wide(special.lgamma)),
    "digamma": VectorFunction(1, _wide(special.digamma)),
}


def emit(name: str, builder: Any, *operands: Any) -> Any:
    """Emit the code of the function ``name`` and return its result."""
    function = FUNCTIONS[name]
    if len(operands) != function.arity:
        raise TypeError(f"{name} takes {function.arity} operands, not {len(operands)}")
    return function.emit(builder, *operands)


# One addition or product may be reordered (and fused with a product that allows it), which is
# what lets a loop of them be split over vector lanes; nothing else in the kernel may.
_REORDERED = ("reassoc", "contract")


class _EitherZero(NoFlags):
    """The flag ``nsz`` alone: of zeros that differ in sign either is the largest, which saves half
    the instructions.
    """

    def __init__(self) -> None:
        super().__init__()
        set.add(self, "nsz")


def emit_accumulate(
    builder: Any, operation: str, accumulator: Any, value: Any, *, signed: bool = True
) -> Any:
    """Emit one step of a reduction whose loop may be vectorised.

    ``operation`` is sum, prod, max or min. Floating sums and products may be reordered; max and
    min return NaN once they met one. Integers wrap around; ``signed`` is their reading in max
    and min.
    """
    floating = isinstance(value.type, (ir.FloatType, ir.DoubleType))
    if operation == "sum":
        if floating:
            return builder.fadd(accumulator, value, flags=_REORDERED)
        return builder.add(accumulator, value)
    if operation == "prod":
        if floating:
            return builder.fmul(accumulator, value, flags=_REORDERED)
        return builder.mul(accumulator, value)
    if operation not in ("max", "min"):
        raise ValueError(f"no such reduction: {operation}")
    if floating:
        result = call_intrinsic(builder, f"llvm.{operation}imum", (accumulator, value))
        result.fastmath = _EitherZero()
        return result
    relation = ">" if operation == "max" else "<"
    compare = builder.icmp_signed if signed else builder.icmp_unsigned
    return builder.select(compare(relation, accumulator, value), accumulator, value)
