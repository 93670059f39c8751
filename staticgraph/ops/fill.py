"""Tensors made of little: one value repeated, arithmetic progressions, inverse permutations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from staticgraph.ir import dims as D
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim, Poly
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import REQUIRED, ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.scalar import Expr, Operand, Reduce, lift, s, size_expr
from staticgraph.ir.types import TensorType
from staticgraph.ops.rules import ANY, FLOATING, floats, same, sum_to
from staticgraph.ops.shape import sizes


# ---------------------------------------------------------------- one value
def _fill_shape(ctx: Infer, value: TensorType, *, dims: Any) -> tuple[Dim, ...]:
    if value.shape is not None and value.shape != ():
        raise RuleError(f"value must be a scalar, it has rank {value.rank}")
    out = sizes(dims, "dims")
    for d in out:
        if isinstance(d, int) and d < 0:
            raise RuleError(f"sizes are not negative, got {d}")
    return out


def _np_fill(value: np.ndarray, *, dims: tuple[int, ...]) -> np.ndarray:
    value = np.asarray(value)
    return np.full(dims, value[()], dtype=value.dtype)


fill: Op = Op(
    "Fill", ("@dims", "value"), same(ANY), _fill_shape, _np_fill,
    lambda g, y, value, *, dims: (sum_to(g, value),),
    lower=lambda ix, value, *, dims: value[()], folds=True,
    samples=lambda: (
        Sample((np.float64(2.5),), {"dims": (2, 3)}),
        Sample((np.float32(1),), {"dims": ()}),
        Sample((np.float32(1),), {"dims": (0, 17)}),
        Sample((np.int32(7),), {"dims": (4,)}, grad=False),
        Sample((np.bool_(True),), {"dims": (4,)}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(shape=(2,)),), {"dims": [3]}, "value must be a scalar, it has rank 1"),
        ErrorSample((np.float32(1),), {"dims": [-3]}, "sizes are not negative, got -3"),
    ),
    doc="One value, repeated.",
)  # fmt: skip


# ---------------------------------------------------------------- progressions
def range_length(start: Dim, limit: Dim, delta: Dim) -> Dim:
    """How many steps of `delta` lead from `start` to below (or above) `limit`."""
    if isinstance(delta, Poly):  # which may turn out to be of either sign
        return D.maximum(0, -D.floordiv(start - limit, delta))
    if delta == 0:
        raise RuleError("delta must not be 0")
    if delta < 0:
        start, limit, delta = -start, -limit, -delta
    return D.floordiv(D.maximum(limit - start, 0) + delta - 1, delta)


def _range_shape(
    ctx: Infer, *, start: Any, limit: Any, delta: Any, Tidx: object
) -> tuple[Dim, ...]:
    for what, v in (("start", start), ("limit", limit), ("delta", delta)):
        if isinstance(v, tuple):
            raise RuleError(f"{what} must be a scalar, got {list(v)}")
    if start is None or limit is None or delta is None:
        return (ctx.fresh("n"),)
    if isinstance(delta, Poly):
        ctx.at_most(1, D.maximum(delta, -delta), "delta must not be 0")
    return (range_length(start, limit, delta),)


def _np_range(*, start: int, limit: int, delta: int, Tidx: object) -> np.ndarray:
    n = range_length(start, limit, delta)
    if not isinstance(n, int):
        raise TypeError("the length is a symbol")
    values = [start + i * delta for i in range(n)]
    if all(isinstance(v, int) for v in values):
        return np.asarray(values, dtype=dtypes.as_dtype(Tidx).np)
    return np.asarray(values, dtype=object)


def _range_lower(ix: tuple[Expr, ...], *, start: Dim, limit: Dim, delta: Dim, Tidx: object) -> Expr:
    i = ix[0] if delta == 1 else ix[0] * size_expr(delta)
    return s.cast(i if start == 0 else i + size_expr(start), dtypes.as_dtype(Tidx).base)


range_: Op = Op(
    "Range", ("@start", "@limit", "@delta"), lambda *_, Tidx, **__: dtypes.as_dtype(Tidx).base,
    _range_shape, _np_range, None, lower=_range_lower, attrs={"Tidx": dtypes.int32}, folds=True,
    samples=lambda: (
        Sample((), {"start": 0, "limit": 5, "delta": 1}, grad=False),
        Sample((), {"start": 3, "limit": 18, "delta": 4, "Tidx": "int64"}, grad=False),
        Sample((), {"start": 9, "limit": 0, "delta": -2}, grad=False),
        Sample((), {"start": 5, "limit": 0, "delta": 1}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((), {"start": 0, "limit": 5, "delta": 0}, "delta must not be 0"),
        ErrorSample((), {"start": 0, "limit": [5], "delta": 1}, "limit must be a scalar"),
    ),
    doc="start, start + delta, ... below `limit` (above it for a negative delta).",
)  # fmt: skip


def float_range_length(start: float, limit: float, delta: float) -> int:
    """`range_length` of floats."""
    if delta == 0:
        raise RuleError("delta must not be 0")
    return max(0, math.ceil((limit - start) / delta))


def _np_float_range(*, start: float, limit: float, delta: float, dtype: object) -> np.ndarray:
    kind = dtypes.as_dtype(dtype).np
    n = float_range_length(start, limit, delta)
    # in the dtype itself, as the element's expression has it
    i = np.arange(n).astype(kind)
    out: np.ndarray = i * np.asarray(delta, kind) + np.asarray(start, kind)
    return out


def _float_range_lower(
    ix: tuple[Expr, ...], *, start: float, limit: float, delta: float, dtype: object
) -> Expr:
    kind = dtypes.as_dtype(dtype).base
    return s.cast(ix[0], kind) * lift(delta, kind) + lift(start, kind)


float_range: Op = Op(
    "FloatRange", (), lambda *_, dtype, **__: dtypes.as_dtype(dtype).base,
    lambda ctx, *, start, limit, delta, dtype: (float_range_length(start, limit, delta),),
    _np_float_range, None, lower=_float_range_lower,
    attrs={"start": REQUIRED, "limit": REQUIRED, "delta": REQUIRED, "dtype": dtypes.float32},
    samples=lambda: (
        Sample((), {"start": 0.0, "limit": 1.0, "delta": 0.25}, grad=False),
        Sample((), {"start": 2.0, "limit": -1.0, "delta": -0.4, "dtype": "float64"}, grad=False),
        Sample((), {"start": 2.0, "limit": 1.0, "delta": 1.0}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((), {"start": 0.0, "limit": 1.0, "delta": 0.0}, "delta must not be 0"),
    ),
    doc="`Range` of floats that are known when the graph is built.",
)  # fmt: skip


def _linspace_dtype(start: DType, stop: DType, **_: Any) -> DType:
    return same(FLOATING)(start, stop)


def _linspace_shape(
    ctx: Infer, start: TensorType, stop: TensorType, *, num: Any
) -> tuple[Dim, ...]:
    for what, t in (("start", start), ("stop", stop)):
        if t.shape is not None and t.shape != ():
            raise RuleError(f"{what} must be a scalar, it has rank {t.rank}")
    if num is None:
        return (ctx.fresh("n"),)
    if isinstance(num, tuple):
        raise RuleError(f"num must be a scalar, got {list(num)}")
    ctx.at_most(1, num, "num must be at least {a}, got {b}")
    return (num,)


def _np_linspace(start: np.ndarray, stop: np.ndarray, *, num: int) -> np.ndarray:
    start, stop = np.asarray(start), np.asarray(stop)
    kind = start.dtype
    if num == 1:
        return start.reshape(1)
    step = ((stop - start) / np.asarray(num - 1, kind)).astype(kind)
    out: np.ndarray = (start + step * np.arange(num).astype(kind)).astype(kind)
    out[-1] = stop
    return out


def _linspace_lower(ix: tuple[Expr, ...], start: Operand, stop: Operand, *, num: Dim) -> Expr:
    a, b = start[()], stop[()]
    if num == 1:
        return a
    last = size_expr(num - 1)
    step = (b - a) / s.cast(last, a.dtype)
    # the last value is `stop` exactly; one value alone is `start`
    inner = s.select(ix[0].eq(last), b, a + step * s.cast(ix[0], a.dtype))
    return inner if isinstance(num, int) else s.select(ix[0].eq(0), a, inner)


def _linspace_grad(g: Any, y: Any, start: Any, stop: Any, *, num: Any) -> tuple[Any, Any]:
    t = linspace(lookup("ZerosLike")(start), lookup("OnesLike")(stop), num)
    return sum_to(g - g * t, start), sum_to(g * t, stop)


linspace: Op = Op(
    "LinSpace", ("start", "stop", "@num"), _linspace_dtype, _linspace_shape, _np_linspace,
    _linspace_grad, lower=_linspace_lower,
    samples=lambda: (
        Sample((np.float64(-1), np.float64(2)), {"num": 7}),
        Sample((np.float32(3), np.float32(2)), {"num": 17}),
        Sample((np.float32(3), np.float32(2)), {"num": 1}),
        Sample((np.float32(3), np.float32(2)), {"num": 2}),
    ),
    error_samples=lambda: (
        ErrorSample((np.float32(0), np.float32(1)), {"num": 0}, "num must be at least 1, got 0"),
        ErrorSample((floats(), np.float32(1)), {"num": 2}, "start must be a scalar, it has rank 2"),
    ),
    doc="`num` values at equal distances from `start` to `stop`, both included.",
)  # fmt: skip


# ---------------------------------------------------------------- permutations
def _vector_shape(ctx: Infer, x: TensorType) -> tuple[Dim, ...]:
    if x.rank != 1:
        raise RuleError(f"takes a vector, got rank {x.rank}")
    return x.dims


def _np_invert(x: np.ndarray) -> np.ndarray:
    out = np.zeros_like(x)
    out[x.astype(np.int64)] = np.arange(x.size)
    return out


def _invert_lower(ix: tuple[Expr, ...], x: Operand) -> Reduce:
    def body(k: tuple[Expr, ...]) -> Expr:
        here = s.cast(k[0], x.dtype)
        return s.select(s.cast(x[k], dtypes.int64).eq(ix[0]), here, lift(0, x.dtype))

    return Reduce("sum", x.shape, body, x.dtype)


invert_permutation: Op = Op(
    "InvertPermutation", ("x",), same((dtypes.int32, dtypes.int64)), _vector_shape, _np_invert,
    None, lower=_invert_lower, cheap=False, folds=True,
    samples=lambda: (
        Sample((np.array([2, 0, 3, 1], np.int32),), grad=False),
        Sample((np.array([0], np.int64),), grad=False),
        Sample((np.array([], np.int32),), grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((np.zeros((2, 2), np.int32),), {}, "takes a vector, got rank 2"),
        ErrorSample((floats(shape=(2,)),), {}, "does not take float32"),
    ),
    doc="The permutation y with y[x[i]] = i.",
)  # fmt: skip
