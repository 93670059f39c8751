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
from llvmlite import ir

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


_exp, _log1p, _fabs, _floor = map(_libdevice, ("exp", "log1p", "fabs", "floor"))
_fmod = _libdevice("fmod", 2)


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


def _build_floor_mod(dtype: Any) -> Callable[..., Any]:
    zero = constant(dtype, 0)

    def of_floats(x: Any, y: Any) -> Any:
        r = _fmod(x, y)
        return r + y if r != zero and (r < zero) != (y < zero) else r

    def of_integers(x: Any, y: Any) -> Any:  # as NumPy: 0 where the divisor is 0
        return dtype(x % y) if y != zero else zero

    return of_floats if isinstance(dtype, types.Float) else of_integers


def _build_floor_div(dtype: Any) -> Callable[..., Any]:
    zero = constant(dtype, 0)

    def of_integers(x: Any, y: Any) -> Any:
        return dtype(x // y) if y != zero else zero

    return (lambda x, y: _floor(x / y)) if isinstance(dtype, types.Float) else of_integers


_UNARY = """acos acosh asin asinh atan atanh cbrt ceil cos cosh erf erfc erfinv exp exp2 expm1 floor
lgamma log log10 log1p log2 rint rsqrt sin sinh sqrt tan tanh tgamma trunc"""

CUDA_FUNCTIONS: dict[str, Any] = {
    **{name: _libdevice(name) for name in _UNARY.split()},
    **{name: _libdevice(name, 2) for name in ("atan2", "copysign", "fmod", "hypot", "pow")},
    "abs": typed(_build_abs, 1),
    "floor_div": typed(_build_floor_div, 2),
    "floor_mod": typed(_build_floor_mod, 2),
    "isfinite": typed(lambda dtype: lambda x: x - x == x - x, 1, types.boolean),
    "isinf": typed(lambda dtype: lambda x: x == x and x - x != x - x, 1, types.boolean),
    "isnan": typed(lambda dtype: lambda x: x != x, 1, types.boolean),
    "maximum": typed(_build_maximum, 2),
    "minimum": typed(_build_minimum, 2),
    "sigmoid": typed(_build_sigmoid, 1),
    "sign": typed(_build_sign, 1),
    "softplus": typed(_build_softplus, 1),
}
"""Scalar functions by name, for float32 and float64 (some also for integers). Each is as accurate
as CUDA's libdevice makes it, one or two units in the last place for most; NaN and infinities go
through as in NumPy. They are attributes of this module too: ``gpu.exp``."""
