"""Choosing between two tensors element by element, and clipping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.scalar import Expr, Operand, s
from staticgraph.ir.types import TensorType
from staticgraph.ops.arithmetic import one_shape
from staticgraph.ops.rules import (
    ANY,
    NUMERIC,
    bools,
    broadcast_shape,
    floats,
    in_float32,
    ints,
    same,
    sum_to,
    zeros_like,
)


def _select_dtypes(condition: DType, t: DType, e: DType, **_: Any) -> DType:
    if not condition.is_bool:
        raise RuleError(f"condition must be bool, got {condition.name}", kind="dtype")
    return same(ANY)(t, e)


def _select_shape(
    ctx: Infer, condition: TensorType, t: TensorType, e: TensorType, **_: Any
) -> tuple[Dim, ...]:
    """TensorFlow 1's rule: one shape, or a vector of conditions that select rows."""
    out = one_shape(ctx, t, e)
    if condition.shape is None or condition.shape == ():
        return out
    if len(condition.dims) == 1 and len(out) > 1:
        ctx.equal(condition.dims[0], out[0], "{a} conditions for {b} rows")
        return out
    return one_shape(ctx, condition, TensorType(t.dtype, out))


def _rows(condition: np.ndarray, t: np.ndarray) -> np.ndarray:
    if condition.ndim == 1 and t.ndim > 1:
        return condition.reshape(condition.shape + (1,) * (t.ndim - 1))
    return condition


def _np_select(condition: np.ndarray, t: np.ndarray, e: np.ndarray, **_: Any) -> np.ndarray:
    return np.where(_rows(condition, t), t, e)


def _select_grad(g: Any, y: Any, condition: Any, t: Any, e: Any, **_: Any) -> tuple[Any, Any, Any]:
    zeros = zeros_like(g)
    return None, select(condition, g, zeros), select(condition, zeros, g)


def _lower_select(
    ix: tuple[Expr, ...], condition: Operand, t: Operand, e: Operand, **_: Any
) -> Expr:
    if len(condition.shape) == 1 and len(t.shape) > 1:
        return s.select(condition.at(ix[:1]), t.at(ix), e.at(ix))
    return s.select(condition.at(ix), t.at(ix), e.at(ix))


def _sided(shape: tuple[int, ...], c: tuple[int, ...], dtype: str = "float32") -> Sample:
    return Sample(
        (
            bools(c),
            floats(shape=shape, seed=1, dtype=dtype),
            floats(shape=shape, seed=2, dtype=dtype),
        )
    )


select: Op = Op(
    "Select",
    ("condition", "t", "e"),
    _select_dtypes,
    _select_shape,
    _np_select,
    _select_grad,
    lower=_lower_select,
    operand_dtypes={"condition": dtypes.bool_},
    samples=lambda: (
        _sided((3, 4), (3, 4), "float64"),
        _sided((3, 4), (3,)),
        _sided((3, 2, 2), (3,)),
        _sided((17,), (17,)),
        _sided((2, 3), ()),
        _sided((), ()),
        _sided((0, 2), (0,)),
        Sample((bools(), ints(seed=1), ints(seed=2)), grad=False),
        Sample((bools(), bools(seed=1), bools(seed=2)), grad=False),
    ),
    error_samples=lambda: (
        ErrorSample(
            (np.zeros(2, bool), np.zeros((3, 2)), np.zeros((3, 2))), {}, "2 conditions for 3 rows"
        ),
        ErrorSample(
            (np.zeros(2, bool), np.zeros(2), np.zeros(3)), {}, "sizes of axis 0 differ, 2 and 3"
        ),
        ErrorSample(
            (np.zeros((1, 2), bool), np.zeros((3, 2)), np.zeros((3, 2))),
            {},
            "sizes of axis 0 differ, 1 and 3",
        ),
        ErrorSample(
            (np.zeros(2, bool), np.zeros(2), np.zeros(2, "int32")),
            {},
            "dtypes differ, float64 and int32",
        ),
    ),
    doc="Elements of t where the condition holds, else of e; a vector of conditions selects rows.",
)


def _select_v2_grad(
    g: Any, y: Any, condition: Any, t: Any, e: Any, **_: Any
) -> tuple[Any, Any, Any]:
    return None, sum_to(select_v2(condition, g, 0), t), sum_to(select_v2(condition, 0, g), e)


select_v2: Op = Op(
    "SelectV2",
    ("condition", "t", "e"),
    _select_dtypes,
    broadcast_shape,
    lambda condition, t, e, **_: np.where(condition, t, e),
    _select_v2_grad,
    lower=lambda ix, c, t, e, **_: s.select(c.at(ix), t.at(ix), e.at(ix)),
    operand_dtypes={"condition": dtypes.bool_},
    samples=lambda: (
        _sided((3, 4), (3, 4), "float64"),
        _sided((3, 4), (4,)),
        _sided((3, 4), (3, 1)),
        Sample(
            (bools((2, 1)), floats(shape=(3,), dtype="float64"), floats(shape=(), dtype="float64"))
        ),
        _sided((17,), ()),
        _sided((), (5,)),
        _sided((0, 2), (2,)),
        Sample((bools(), ints(seed=1), ints(seed=2)), grad=False),
        Sample((bools(), bools(seed=1), bools(seed=2)), grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((np.zeros(2, bool), np.zeros(3), np.zeros(3)), {}, "do not broadcast, 2 and 3"),
        ErrorSample(
            (np.zeros(2, bool), np.zeros(2), np.zeros(2, "int32")),
            {},
            "dtypes differ, float64 and int32",
        ),
    ),
    doc="Elements of t where the condition holds, else of e; all three broadcast.",
)


# ---------------------------------------------------------------- clipping
def _clip_shape(ctx: Infer, t: TensorType, *bounds: TensorType, **_: Any) -> tuple[Dim, ...]:
    out = broadcast_shape(ctx, t, *bounds)
    if len(out) != t.rank:
        raise RuleError(f"bounds of rank {len(out)} for a tensor of rank {t.rank}")
    return tuple(
        ctx.equal(a, b, f"a bound has size {{b}} along axis {i} of size {{a}}")
        for i, (a, b) in enumerate(zip(t.dims, out, strict=True))
    )


def _clip_grad(g: Any, y: Any, t: Any, lo: Any, hi: Any, **_: Any) -> tuple[Any, Any, Any]:
    below, above = lookup("Less")(t, lo), lookup("Greater")(t, hi)
    outside = lookup("LogicalOr")(below, above)
    return (
        select_v2(outside, 0, g),
        sum_to(select_v2(below, g, 0), lo),
        sum_to(select_v2(above, g, 0), hi),
    )


def _clip(scale: float, dtype: str) -> Callable[[tuple[int, ...], tuple[int, ...]], Sample]:
    def sample(t: tuple[int, ...], bound: tuple[int, ...]) -> Sample:
        lo, hi = floats(-1, -0.5, bound, 1, dtype), floats(0.5, 1, bound, 2, dtype)
        return Sample((floats(-2, 2, t, dtype=dtype) * np.dtype(dtype).type(scale), lo, hi))

    return sample


clip_by_value: Op = Op(
    "ClipByValue",
    ("t", "clip_value_min", "clip_value_max"),
    same(NUMERIC),
    _clip_shape,
    in_float32(lambda t, lo, hi, **_: np.maximum(np.minimum(t, hi), lo)),
    _clip_grad,
    lower=lambda ix, t, lo, hi, **_: s.maximum(s.minimum(t.at(ix), hi.at(ix)), lo.at(ix)),
    samples=lambda: (
        _clip(1, "float64")((3, 4), ()),
        _clip(1, "float32")((3, 4), (4,)),
        _clip(1, "float32")((17,), (17,)),
        _clip(2, "float32")((0, 3), ()),
        Sample((ints(), np.int32(-3), np.int32(4)), grad=False),
    ),
    error_samples=lambda: (
        ErrorSample(
            (np.zeros(2), np.zeros((2, 2)), np.zeros(())),
            {},
            "bounds of rank 2 for a tensor of rank 1",
        ),
        ErrorSample(
            (np.zeros((1, 2)), np.zeros((3, 2)), np.zeros(())), {}, "size 3 along axis 0 of size 1"
        ),
    ),
    doc="The nearest value between two bounds.",
)
