"""Ops whose result takes its shape from another tensor.

Gradients are written with them because the shapes that decide (was this axis broadcast?) may be
known only when the graph is compiled for the sizes at hand.  They decompose as soon as types are
known, and the tensor that only gave its shape falls away.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.ir.dims import Dim
from staticgraph.ir.function import current_builder
from staticgraph.ir.op import REQUIRED, Infer, Op, Sample, lookup
from staticgraph.ir.types import TensorType
from staticgraph.ops.rules import ANY, NUMERIC, floats, same


def _second_shape(ctx: Infer, x: TensorType, like: TensorType, **_: Any) -> tuple[Dim, ...]:
    return like.dims


def _first_dtype(*inputs: Any, **_: Any) -> Any:
    return inputs[0]


def np_sum_to(x: np.ndarray, like: np.ndarray) -> np.ndarray:
    lead = x.ndim - like.ndim
    axes = tuple(range(lead)) + tuple(
        lead + i for i, d in enumerate(like.shape) if d == 1 and x.shape[lead + i] != 1
    )
    return np.sum(x, axis=axes, keepdims=True).reshape(like.shape).astype(x.dtype) if axes else x


def _sum_to(x: Any, like: Any) -> Any:
    xs, ys = x.type.dims, like.type.dims
    lead = len(xs) - len(ys)
    axes = tuple(range(lead)) + tuple(
        lead + i for i, d in enumerate(ys) if d == 1 and xs[lead + i] != 1
    )
    if not axes:
        return lookup("Identity")(x)
    out = lookup("Sum")(x, axes, keep_dims=True)
    return lookup("Reshape")(out, ys) if lead else out


def _sum_to_shape(ctx: Infer, x: TensorType, like: TensorType) -> tuple[Dim, ...]:
    """The shape of `like`, whose axes are those of `x` where they are not 1."""
    for a, b in zip(x.dims[len(x.dims) - len(like.dims) :], like.dims, strict=True):
        if b != 1:
            ctx.equal(a, b, "a cotangent has size {a} where its tensor has {b}")
    return like.dims


sum_to_shape_of = Op(
    "SumToShapeOf", ("x", "like"), same(NUMERIC), _sum_to_shape, np_sum_to,
    lambda g, y, x, like: (lookup("BroadcastToShapeOf")(g, x), None),
    decompose=_sum_to,
    samples=lambda: (
        Sample((floats(shape=(2, 3, 4), dtype="float64"), floats(shape=(3, 1), dtype="float64"))),
        Sample((floats(shape=(2, 3)), floats(shape=()))),
        Sample((floats(shape=(2, 3)), floats(shape=(2, 3)))),
    ),
    doc="Sum over the axes along which `like` was broadcast to the shape of `x`.",
)  # fmt: skip


def _np_broadcast_to(x: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.broadcast_to(x, like.shape)


broadcast_to_shape_of = Op(
    "BroadcastToShapeOf", ("x", "like"), same(NUMERIC), _second_shape, _np_broadcast_to,
    lambda g, y, x, like: (lookup("SumToShapeOf")(g, x), None),
    decompose=lambda x, like: lookup("BroadcastTo")(x, like.type.dims),
    samples=lambda: (
        Sample((floats(shape=(3, 1), dtype="float64"), floats(shape=(2, 3, 4), dtype="float64"))),
    ),
)  # fmt: skip

reshape_like = Op(
    "ReshapeLike", ("x", "like"), _first_dtype, _second_shape,
    lambda x, like: x.reshape(like.shape),
    lambda g, y, x, like: (lookup("ReshapeLike")(g, x), None),
    decompose=lambda x, like: lookup("Reshape")(x, like.type.dims),
    operand_dtypes={"like": None},  # any dtype
    samples=lambda: (Sample((floats(shape=(6,)), floats(shape=(2, 3)))),),
)  # fmt: skip


def _np_spread(g: np.ndarray, like: np.ndarray, *, axis: Any, keep_dims: bool) -> np.ndarray:
    axes = tuple(a % max(like.ndim, 1) for a in np.atleast_1d(axis).tolist())
    return np.broadcast_to(g if keep_dims else np.expand_dims(g, axes), like.shape)


def _spread(g: Any, like: Any, *, axis: Any, keep_dims: bool) -> Any:
    dims = like.type.dims
    axes = {a % max(len(dims), 1) for a in (axis if isinstance(axis, tuple) else (axis,))}
    if not keep_dims:
        g = lookup("Reshape")(g, tuple(1 if i in axes else d for i, d in enumerate(dims)))
    return lookup("BroadcastTo")(g, dims)


spread_like = Op(
    "SpreadLike", ("g", "like", "@axis"), _first_dtype, _second_shape, _np_spread,
    lambda d, y, g, like, *, axis, keep_dims: (
        lookup("Sum")(d, axis, keep_dims=keep_dims), None
    ),
    decompose=_spread, attrs={"keep_dims": False}, operand_dtypes={"like": None},
    samples=lambda: (
        Sample((floats(shape=(2, 4), dtype="float64"), floats(shape=(2, 3, 4), dtype="float64")),
               {"axis": (1,)}),
    ),
    doc="Repeat along the axes that a reduction of `like` removed.",
)  # fmt: skip


def _full(x: Any, value: int) -> Any:
    return lookup("Fill")(x.type.dims, current_builder().constant(value, x.dtype))


zeros_like = Op(
    "ZerosLike", ("x",), same(ANY), lambda ctx, x: x.dims, np.zeros_like,
    lambda g, y, x: (None,), decompose=lambda x: _full(x, 0),
    samples=lambda: (Sample((floats(),), grad=False),),
)  # fmt: skip
ones_like = Op(
    "OnesLike", ("x",), same(ANY), lambda ctx, x: x.dims, np.ones_like,
    lambda g, y, x: (None,), decompose=lambda x: _full(x, 1),
    samples=lambda: (Sample((floats(),), grad=False),),
)  # fmt: skip
_ = REQUIRED
