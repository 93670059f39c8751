"""Conversion between element types, by value and by bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import REQUIRED, ErrorSample, Infer, Op, RuleError, Sample
from staticgraph.ir.scalar import Expr, Operand, s
from staticgraph.ir.types import TensorType
from staticgraph.ops.rules import bools, first_shape, floats, ints


def _cast_dtypes(x: DType, *, DstT: object, **_: Any) -> DType:
    to = dtypes.as_dtype(DstT).base
    for d in (x, to):
        if d is dtypes.string:
            raise RuleError(f"cannot convert {x.name} to {to.name}", kind="dtype")
    return to


def _np_cast(x: np.ndarray, *, DstT: object, **_: Any) -> np.ndarray:
    to = dtypes.as_dtype(DstT).base
    if x.dtype == object:  # sizes: exact integers stay what they are
        if not to.is_integer:
            raise TypeError("sizes are integers")
        return x
    if x.dtype.kind == "c" and not to.is_complex:
        x = x != 0 if to.is_bool else x.real
    return x.astype(to.np)


def _lower_cast(ix: tuple[Expr, ...], x: Operand, *, DstT: object, **_: Any) -> Expr:
    to = dtypes.as_dtype(DstT).base
    return x.at(ix).ne(0) if to.is_bool and not x.dtype.is_bool else s.cast(x.at(ix), to)


def _cast_grad(g: Any, y: Any, x: Any, **_: Any) -> tuple[Any]:
    smooth = x.dtype.base.is_differentiable and y.dtype.base.is_differentiable
    return (cast(g, DstT=x.dtype.base) if smooth else None,)


cast: Op = Op(
    "Cast",
    ("x",),
    _cast_dtypes,
    first_shape,
    _np_cast,
    _cast_grad,
    lower=_lower_cast,
    attrs={"DstT": REQUIRED},
    folds=True,
    samples=lambda: (
        Sample((floats(shape=(3, 5), dtype="float64"),), {"DstT": "float64"}),
        Sample((floats(shape=(17,)),), {"DstT": "float32"}, grad=False),
        Sample((floats(shape=(17,)),), {"DstT": "float64"}),
        Sample((floats(-9, 9, (4, 3)),), {"DstT": "int32"}, grad=False),
        Sample((floats(-9, 9, (4, 3)),), {"DstT": "float16"}, grad=False),
        Sample((floats(-9, 9, (4, 3)),), {"DstT": "bfloat16"}, grad=False),
        Sample((floats(-9, 9, (3,)).astype("float16"),), {"DstT": "float32"}, grad=False),
        Sample((np.array([0, -0.0, 0.5, np.nan], "float32"),), {"DstT": "bool"}, grad=False),
        Sample((bools(),), {"DstT": "float32"}, grad=False),
        Sample((bools((0,)),), {"DstT": "int64"}, grad=False),
        Sample((ints(-300, 300),), {"DstT": "uint8"}, grad=False),
        Sample((ints(dtype="int64"),), {"DstT": "float64"}, grad=False),
        Sample((ints(-2, 2),), {"DstT": "bool"}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample(
            (np.array([b"1"], object),), {"DstT": "float32"}, "cannot convert string to float32"
        ),
        ErrorSample((np.zeros(2),), {"DstT": "string"}, "cannot convert float64 to string"),
    ),
    doc="Convert values; floats lose their fraction, and out of range give an unspecified integer.",
)


def _bitcast_dtypes(x: DType, *, type: object, **_: Any) -> DType:
    to = dtypes.as_dtype(type).base
    for d in (x, to):
        if d in (dtypes.string, dtypes.bool_):
            raise RuleError(f"cannot view {x.name} as {to.name}", kind="dtype")
    return to


def _bitcast_shape(ctx: Infer, x: TensorType, *, type: object, **_: Any) -> tuple[Dim, ...]:
    old, new = x.dtype.base.size, dtypes.as_dtype(type).base.size
    if old >= new:
        return x.dims if old == new else (*x.dims, old // new)
    if not x.dims:
        raise RuleError(f"a scalar of {old} bytes cannot be viewed as {new} bytes")
    ctx.equal(x.dims[-1], new // old, "the last axis has size {a} where {b} elements make one")
    return x.dims[:-1]


def _np_bitcast(x: np.ndarray, *, type: object, **_: Any) -> np.ndarray:
    to = dtypes.as_dtype(type).base.np
    flat = np.ascontiguousarray(x)
    if to.itemsize < x.dtype.itemsize:
        return flat.reshape((*x.shape, 1)).view(to)
    return flat.view(to).reshape(x.shape if to.itemsize == x.dtype.itemsize else x.shape[:-1])


bitcast: Op = Op(
    "Bitcast",
    ("input",),
    _bitcast_dtypes,
    _bitcast_shape,
    _np_bitcast,
    None,
    host=True,
    attrs={"type": REQUIRED},
    samples=lambda: (
        Sample((floats(),), {"type": "int32"}, grad=False),
        Sample((floats(shape=()),), {"type": "uint32"}, grad=False),
        Sample((ints(dtype="int64"),), {"type": "float32"}, grad=False),
        Sample((ints(0, 99, (3, 4), dtype="uint8"),), {"type": "int32"}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((np.zeros((2, 3), "uint8"),), {"type": "int32"}, "size 3 where 4 elements"),
        ErrorSample((np.zeros(2, bool),), {"type": "uint8"}, "cannot view bool as uint8"),
    ),
    doc="The same bits under another type; a last axis appears or vanishes where sizes differ.",
)
