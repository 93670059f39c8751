"""Scalar functions of CUDA kernels, typed by their arguments.

A float32 argument never meets a float64 constant: double precision runs at a small fraction of the
speed, and one untyped literal (``max(x, 0)``, ``1 / sqrt(x)``) is enough to bring it in. Each
function is chosen by name from CUDA's libdevice, where ``fastmath`` would swap all of them for
approximations at once.

Those written in Python are compiled by ``compile_internal``: overloads and device functions ask
the driver for the current device, which would make offline compilation impossible.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # llvmlite ships no stubs

from staticgraph.codegen.cuda_compile import load_numba_cuda

cgutils, types = load_numba_cuda("cgutils"), load_numba_cuda("types")
intrinsic = load_numba_cuda("extending").intrinsic

Build = Callable[[Any], Callable[..., Any]]  # a numba type -> the Python function to compile for it


def _function(arity: int, body: Callable[[Any], Any], result: Any = None) -> Any:
    """An intrinsic over ``arity`` arguments of one type; ``body(dtype)`` emits it, or is None.

    Arguments of different types are refused, not promoted: the printer casts, in the open.
    """

    def resolve(*args: Any) -> Any:
        dtype = args[0]
        if any(arg != dtype for arg in args) or not isinstance(dtype, types.Number | types.Boolean):
            return None
        emit = body(dtype)
        return emit and ((result or dtype)(*args), emit)

    def unary(typing: Any, x: Any) -> Any:
        return resolve(x)

    def binary(typing: Any, x: Any, y: Any) -> Any:
        return resolve(x, y)

    return intrinsic(unary if arity == 1 else binary)


def typed(build: Build, arity: int, result: Any = None) -> Any:
    """An intrinsic whose body is the Python function that ``build`` makes for its argument type."""

    def body(dtype: Any) -> Any:
        return lambda context, builder, sig, args: context.compile_internal(
            builder, build(dtype), sig, args
        )

    return _function(arity, body, result)


def bitcast(source: Any, target: Any) -> Any:
    """An intrinsic that reads the bits of a ``source`` as a ``target`` of the same size."""

    def body(dtype: Any) -> Any:
        if dtype != source:
            return None
        return lambda context, builder, sig, args: builder.bitcast(
            args[0], context.get_value_type(target)
        )

    return _function(1, body, target)


def _libdevice(name: str, arity: int = 1) -> Any:
    """An intrinsic that calls ``__nv_<name>f`` for float32 and ``__nv_<name>`` for float64."""

    def body(dtype: Any) -> Any:
        if dtype not in (types.float32, types.float64):
            return None
        symbol = f"__nv_{name}f" if dtype == types.float32 else f"__nv_{name}"

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            kind = context.get_value_type(dtype)
            prototype = ir.FunctionType(kind, [kind] * arity)
            return builder.call(
                cgutils.get_or_insert_function(builder.module, prototype, symbol), args
            )

        return emit

    return _function(arity, body)


def constant(dtype: Any, value: float) -> Any:
    """``value`` as a NumPy scalar: the only literal that keeps its type inside a kernel."""
    return np.dtype(str(dtype)).type(value)


_exp, _fabs, _floor, _log, _log1p, _trunc, _cospi, _sinpi = map(
    _libdevice, ("exp", "fabs", "floor", "log", "log1p", "trunc", "cospi", "sinpi")
)
_copysign, _fmod, _pow = (_libdevice(name, 2) for name in ("copysign", "fmod", "pow"))


def _build_sigmoid(dtype: Any) -> Callable[..., Any]:
    zero, one = constant(dtype, 0), constant(dtype, 1)

    def sigmoid(x: Any) -> Any:  # exp of a negative number only: no overflow on either side
        t = _exp(-_fabs(x))
        r = one / (one + t)
        return r if x >= zero else t * r

    return sigmoid


def _build_softplus(dtype: Any) -> Callable[..., Any]:
    zero = constant(dtype, 0)

    def softplus(x: Any) -> Any:
        return (zero if x < zero else x) + _log1p(_exp(-_fabs(x)))

    return softplus


def _build_sign(dtype: Any) -> Callable[..., Any]:
    zero, one, minus = constant(dtype, 0), constant(dtype, 1), -constant(dtype, 1)

    def sign(x: Any) -> Any:  # NaN stays NaN
        return one if x > zero else (minus if x < zero else x)

    return sign


def _build_maximum(dtype: Any) -> Callable[..., Any]:
    def maximum(x: Any, y: Any) -> Any:  # x when x is NaN; y when y is: no comparison holds
        return x if x > y or x != x else y

    return maximum


def _build_minimum(dtype: Any) -> Callable[..., Any]:
    def minimum(x: Any, y: Any) -> Any:
        return x if x < y or x != x else y

    return minimum


def _build_abs(dtype: Any) -> Callable[..., Any]:
    zero = constant(dtype, 0)
    if isinstance(dtype, types.Float):
        return lambda x: _fabs(x)
    return lambda x: dtype(x if x >= zero else -x)


def _build_mod(dtype: Any) -> Callable[..., Any]:
    zero = constant(dtype, 0)

    def of_floats(x: Any, y: Any) -> Any:
        r = _fmod(x, y)
        if r == zero:
            return _copysign(zero, y)
        return r + y if (r < zero) != (y < zero) else r

    def of_integers(x: Any, y: Any) -> Any:
        return dtype(x % y) if y != zero else zero

    return of_floats if isinstance(dtype, types.Float) else of_integers


def _build_floordiv(dtype: Any) -> Callable[..., Any]:
    zero, half, one = constant(dtype, 0), constant(dtype, 0.5), constant(dtype, 1)

    def of_floats(x: Any, y: Any) -> Any:
        """As NumPy: from the exact remainder, since ``x / y`` may have been rounded up."""
        if y == zero:
            return x / y
        r = _fmod(x, y)
        quotient = (x - r) / y
        if r != zero and (r < zero) != (y < zero):
            quotient -= one
        if quotient == zero:
            return _copysign(zero, x / y)
        whole = _floor(quotient)
        return whole + one if quotient - whole > half else whole

    def of_integers(x: Any, y: Any) -> Any:
        return dtype(x // y) if y != zero else zero

    return of_floats if isinstance(dtype, types.Float) else of_integers


def _build_truncdiv(dtype: Any) -> Callable[..., Any]:
    zero, one = constant(dtype, 0), constant(dtype, 1)

    def of_integers(x: Any, y: Any) -> Any:
        if y == zero:
            return zero
        q = x // y
        return dtype(q + one if q < 0 and q * y != x else q)

    return (lambda x, y: _trunc(x / y)) if isinstance(dtype, types.Float) else of_integers


def _build_truncmod(dtype: Any) -> Callable[..., Any]:
    zero = constant(dtype, 0)

    def of_integers(x: Any, y: Any) -> Any:
        if y == zero:
            return zero
        r = x % y
        return dtype(r - y if r != 0 and (x < zero) != (y < zero) else r)

    return (lambda x, y: _fmod(x, y)) if isinstance(dtype, types.Float) else of_integers


def _build_pow(dtype: Any) -> Callable[..., Any]:
    zero, one = constant(dtype, 0), constant(dtype, 1)

    def of_integers(x: Any, n: Any) -> Any:  # 0 for a negative exponent
        result = zero if n < zero else one
        while n > zero:
            if n & one:
                result = dtype(result * x)
            x, n = dtype(x * x), dtype(n >> one)
        return result

    return (lambda x, y: _pow(x, y)) if isinstance(dtype, types.Float) else of_integers


def _build_digamma(dtype: Any) -> Callable[..., Any]:
    zero, half, one, pi = (constant(dtype, v) for v in (0, 0.5, 1, np.pi))
    large = constant(dtype, 6 if dtype == types.float32 else 12)
    a, b, c, d, e, f = (
        constant(dtype, v) for v in (1 / 12, 1 / 120, 1 / 252, 1 / 240, 1 / 132, 691 / 32760)
    )

    def digamma(x: Any) -> Any:
        """Reflection for x <= 0, then up to where the asymptotic series holds."""
        result = zero
        if x <= zero:
            if x == zero:
                return -one / x
            if x == _floor(x):
                return x - x + zero / zero
            result = -pi * _cospi(x) / _sinpi(x)
            x = one - x
        while x < large:
            result -= one / x
            x += one
        t = one / (x * x)
        series = t * (a - t * (b - t * (c - t * (d - t * (e - t * f)))))
        return result + _log(x) - half / x - series

    return digamma


def _build_shift(operator: str) -> Build:
    """Shifts take their count modulo the width."""

    def build(dtype: Any) -> Callable[..., Any]:
        mask = constant(dtype, dtype.bitwidth - 1)
        if operator == "<<":
            return lambda x, n: dtype(x << (n & mask))
        return lambda x, n: dtype(x >> (n & mask))

    return build


def _select(typing: Any, condition: Any, x: Any, y: Any) -> Any:
    """``x`` where the condition holds, else ``y``, without a branch."""
    if condition != types.boolean or x != y:
        return None
    return x(condition, x, y), lambda context, builder, sig, args: builder.select(*args)


_UNARY = """acos acosh asin asinh atan atanh cbrt ceil cos cosh erf erfc erfinv exp exp2 expm1 floor
lgamma log log10 log1p log2 rint rsqrt sin sinh sqrt tan tanh tgamma trunc"""

# Spelled out because ``int8 + int8`` is int64 to the compiler: results go back to their type.
_OPERATORS: dict[str, tuple[Build, int]] = {
    "add": (lambda dtype: lambda x, y: dtype(x + y), 2),
    "sub": (lambda dtype: lambda x, y: dtype(x - y), 2),
    "mul": (lambda dtype: lambda x, y: dtype(x * y), 2),
    "div": (lambda dtype: lambda x, y: dtype(x / y), 2),
    "neg": (lambda dtype: lambda x: dtype(-x), 1),
    "bitand": (lambda dtype: lambda x, y: dtype(x & y), 2),
    "bitor": (lambda dtype: lambda x, y: dtype(x | y), 2),
    "bitxor": (lambda dtype: lambda x, y: dtype(x ^ y), 2),
    "bitnot": (lambda dtype: lambda x: dtype(~x), 1),
    "shl": (_build_shift("<<"), 2),
    "shr": (_build_shift(">>"), 2),
}
_PREDICATES: dict[str, tuple[Build, int]] = {
    "lt": (lambda dtype: lambda x, y: x < y, 2),
    "le": (lambda dtype: lambda x, y: x <= y, 2),
    "gt": (lambda dtype: lambda x, y: x > y, 2),
    "ge": (lambda dtype: lambda x, y: x >= y, 2),
    "eq": (lambda dtype: lambda x, y: x == y, 2),
    "ne": (lambda dtype: lambda x, y: x != y, 2),
    "and": (lambda dtype: lambda x, y: x and y, 2),
    "or": (lambda dtype: lambda x, y: x or y, 2),
    "xor": (lambda dtype: lambda x, y: x != y, 2),
    "not": (lambda dtype: lambda x: not x, 1),
    "isnan": (lambda dtype: lambda x: x != x, 1),
    "isinf": (lambda dtype: lambda x: x == x and x - x != x - x, 1),
    "isfinite": (lambda dtype: lambda x: x - x == x - x, 1),
}

CUDA_FUNCTIONS: dict[str, Any] = {
    **{name: _libdevice(name) for name in _UNARY.split()},
    **{name: _libdevice(name, 2) for name in ("atan2", "copysign", "fmod", "hypot")},
    **{name: typed(build, arity) for name, (build, arity) in _OPERATORS.items()},
    **{name: typed(build, arity, types.boolean) for name, (build, arity) in _PREDICATES.items()},
    "abs": typed(_build_abs, 1),
    "digamma": typed(_build_digamma, 1),
    "floordiv": typed(_build_floordiv, 2),
    "maximum": typed(_build_maximum, 2),
    "minimum": typed(_build_minimum, 2),
    "mod": typed(_build_mod, 2),
    "pow": typed(_build_pow, 2),
    "select": intrinsic(_select),
    "sigmoid": typed(_build_sigmoid, 1),
    "sign": typed(_build_sign, 1),
    "softplus": typed(_build_softplus, 1),
    "truncdiv": typed(_build_truncdiv, 2),
    "truncmod": typed(_build_truncmod, 2),
}
"""Every scalar primitive by its name, except ``cast`` and ``check_index``, and some more.

Arithmetic is for all types, functions are for float32 and float64. Their accuracy is libdevice's,
one or two units in the last place for most; NaN and infinities go through as in NumPy; a division
of integers by zero is 0. They are attributes of ``cuda_intrinsics`` too: ``gpu.exp``.
"""
