"""Comparisons and tests of floating-point classes; all give bool and none has a gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.ir import dtypes
from staticgraph.ir.op import ErrorSample, Op, Sample
from staticgraph.ir.scalar import Expr, Operand, s
from staticgraph.ops.arithmetic import one_shape
from staticgraph.ops.rules import (
    ANY,
    FLOATING,
    binary,
    floats,
    in_float32,
    ints,
    on_kind,
    same,
    unary,
)

_TIES = (
    Sample((ints(0, 3), ints(0, 3, seed=5)), grad=False),
    Sample(
        (
            np.array([0, np.nan, 1, np.inf], "float32"),
            np.array([-0.0, np.nan, 2, np.inf], "float32"),
        ),
        grad=False,
    ),
)


def _truth(fn: Any) -> Any:
    # numpy compares strings, which are arrays of objects, into an array of objects
    return on_kind(
        lambda a, b: np.asarray(fn(a, b)).astype(bool), lambda kind: None if kind == object else fn
    )


equal: Op = binary(
    "Equal",
    _truth(np.equal),
    lambda a, b: a.eq(b),
    None,
    allowed=ANY,
    result=dtypes.bool_,
    extra=_TIES,
)
not_equal: Op = binary(
    "NotEqual",
    _truth(np.not_equal),
    lambda a, b: a.ne(b),
    None,
    allowed=ANY,
    result=dtypes.bool_,
    extra=_TIES,
)
less: Op = binary("Less", np.less, lambda a, b: a < b, None, result=dtypes.bool_, extra=_TIES)
less_equal: Op = binary(
    "LessEqual", np.less_equal, lambda a, b: a <= b, None, result=dtypes.bool_, extra=_TIES
)
greater: Op = binary(
    "Greater", np.greater, lambda a, b: a > b, None, result=dtypes.bool_, extra=_TIES
)
greater_equal: Op = binary(
    "GreaterEqual", np.greater_equal, lambda a, b: a >= b, None, result=dtypes.bool_, extra=_TIES
)


def _np_near(x: np.ndarray, y: np.ndarray, *, tolerance: float, **_: Any) -> Any:
    return np.abs(x - y) < tolerance


def _lower_near(
    ix: tuple[Expr, ...], x: Operand, y: Operand, *, tolerance: float, **_: Any
) -> Expr:
    return s.abs(x.at(ix) - y.at(ix)) < tolerance


approximate_equal: Op = Op(
    "ApproximateEqual",
    ("x", "y"),
    same(FLOATING, dtypes.bool_),
    one_shape,
    in_float32(_np_near),
    None,
    lower=_lower_near,
    attrs={"tolerance": 1e-5},
    samples=lambda: (
        Sample((floats(), floats() + np.float32(1e-6)), grad=False),
        Sample(
            (floats(shape=(5,), dtype="float64"), floats(shape=(5,), seed=1, dtype="float64")),
            {"tolerance": 0.5},
            grad=False,
        ),
    ),
    error_samples=lambda: (
        ErrorSample((np.zeros(2), np.zeros(3)), {}, "sizes of axis 0 differ, 2 and 3"),
        ErrorSample((np.zeros(2, "int32"), np.zeros(2, "int32")), {}, "does not take int32"),
    ),
    doc="Whether |x - y| < tolerance.",
)

_CLASSES = (
    Sample((np.array([0, 1, -np.inf, np.inf, np.nan, -3e38], "float32"),), grad=False),
    Sample((np.array([[1, np.nan, np.inf]], "float64"),), grad=False),
    Sample((np.zeros((0,), "float32"),), grad=False),
)
is_nan: Op = unary(
    "IsNan", np.isnan, s.isnan, None, result=dtypes.bool_, samples=_CLASSES, cheap=True
)
is_inf: Op = unary(
    "IsInf", np.isinf, s.isinf, None, result=dtypes.bool_, samples=_CLASSES, cheap=True
)
is_finite: Op = unary(
    "IsFinite", np.isfinite, s.isfinite, None, result=dtypes.bool_, samples=_CLASSES, cheap=True
)
