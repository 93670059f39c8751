"""Scatters at points: the last axis of the indices holds coordinates of leading axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.ir.dims import Dim, product
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import REQUIRED, ErrorSample, Infer, Op, Sample, lookup
from staticgraph.ir.types import TensorType
from staticgraph.ops.gather import check_dtype, check_index_dtype, flat_rows, nd_depth, sizes_of
from staticgraph.ops.rules import NUMERIC, floats, ints
from staticgraph.ops.scatter import (
    KINDS,
    check_dtypes,
    cotangents,
    into_dtypes,
    same_sizes,
    scatter,
    scatter_into,
)


def _nd_shape(
    ctx: Infer, tensor: TensorType, indices: TensorType, updates: TensorType, *,
    batch_dims: int = 0, **_: Any,
) -> tuple[Dim, ...]:  # fmt: skip
    depth = nd_depth(ctx, indices, tensor.rank, batch_dims, "the tensor")
    for d, e in zip(tensor.dims[:batch_dims], indices.dims, strict=False):
        ctx.equal(d, e, "batch sizes of tensor and indices differ, {a} and {b}")
    same_sizes(ctx, updates.dims, indices.dims[:-1] + tensor.dims[batch_dims + depth :])
    return tensor.dims


def _nd_blocks(p: Any, i: Any, b: int) -> tuple[Any, Any, Any, Any]:
    depth = i[-1]
    return product(p[:b]), product(p[b : b + depth]), product(p[b + depth :]), product(i[b:-1])


def np_points(
    op: str, tensor: np.ndarray, indices: np.ndarray, updates: np.ndarray, kind: str, b: int = 0
) -> np.ndarray:
    """The meaning of scatters at points."""
    rows = flat_rows(op, indices, tensor.shape[b : b + indices.shape[-1]])
    nb, r, t, n = _nd_blocks(tensor.shape, indices.shape, b)
    out = scatter_into(
        op, tensor.reshape(nb, 1, r, t), rows.reshape(nb, n), updates.reshape(nb, 1, n, t), kind
    )
    return out.reshape(tensor.shape)


def _points(tensor: Any, indices: Any, updates: Any, kind: str, b: int = 0) -> Any:
    reshape = lookup("Reshape")
    p, i = tensor.type.dims, indices.type.dims
    nb, r, t, n = _nd_blocks(p, i, b)
    rows = reshape(lookup("NdRows")(indices, p[b : b + i[-1]]), (nb, n))
    out = scatter(reshape(tensor, (nb, 1, r, t)), rows, reshape(updates, (nb, 1, n, t)), kind=kind)
    return reshape(out, p)


def _points_grad(g: Any, y: Any, tensor: Any, indices: Any, updates: Any, kind: str, b: int) -> Any:
    return cotangents(
        kind, g, y, tensor, updates,
        lambda t: lookup("GatherNd")(t, indices, batch_dims=b),
        lambda t, u, k: scatter_nd_rows(t, indices, u, kind=k, batch_dims=b),
    )  # fmt: skip


_POINTS = (
    floats(1, 2, (3, 4), dtype="float64"),
    np.array([[0, 1], [2, 3], [0, 1]]),
    floats(1, 2, (3,), 1, "float64"),
)
_SLICES = (floats(1, 2, (4, 3)), np.array([[0], [2], [2]], np.int32), floats(1, 2, (3, 3), 1))
_BATCH = (
    floats(shape=(2, 4, 3)),
    np.array([[[0], [1]], [[2], [2]]]),
    floats(shape=(2, 2, 3), seed=1),
)
_ND_WRONG = (
    (_SLICES[0], _SLICES[1], floats(shape=(2, 3)), "size 2 where indices and tensor ask for 3"),
    (_SLICES[0], np.zeros((3, 3), np.int32), _SLICES[2], "address 3 axes, the tensor has 2"),
    (_SLICES[0], floats(shape=(3, 1)), _SLICES[2], "must be int32 or int64"),
)

scatter_nd_rows = Op(
    "ScatterNdRows", ("current", "indices", "updates"), into_dtypes, _nd_shape,
    lambda current, indices, updates, *, kind, batch_dims: np_points(
        "ScatterNdRows", current, indices, updates, kind, batch_dims
    ),
    lambda g, y, c, i, u, *, kind, batch_dims: _points_grad(g, y, c, i, u, kind, batch_dims),
    decompose=lambda current, indices, updates, *, kind, batch_dims: _points(
        current, indices, updates, kind, batch_dims
    ),
    attrs={"kind": REQUIRED, "batch_dims": 0}, operand_dtypes={"indices": None},
    samples=lambda: (
        *(Sample(_POINTS, {"kind": k}) for k in KINDS), Sample(_SLICES, {"kind": "update"}),
        Sample(_BATCH, {"kind": "add", "batch_dims": 1}),
    ),
    error_samples=lambda: tuple(ErrorSample(e[:3], {"kind": "add"}, e[3]) for e in _ND_WRONG),
    doc="`current` combined with `updates` at points; what variables' scatter_nd_* are.",
)  # fmt: skip


def _tensor_scatter(name: str, kind: str) -> Op:
    def numpy(
        tensor: np.ndarray, indices: np.ndarray, updates: np.ndarray, *, batch_dims: int
    ) -> np.ndarray:
        return np_points(name, tensor, indices, updates, kind, batch_dims)

    def dtypes_of(tensor: DType, indices: DType, updates: DType, **_: Any) -> DType:
        return check_dtypes(kind, tensor, updates, indices)

    return Op(
        name, ("tensor", "indices", "updates"), dtypes_of, _nd_shape, numpy,
        lambda g, y, t, i, u, *, batch_dims: _points_grad(g, y, t, i, u, kind, batch_dims),
        decompose=lambda tensor, indices, updates, *, batch_dims: _points(
            tensor, indices, updates, kind, batch_dims
        ),
        attrs={"batch_dims": 0}, operand_dtypes={"indices": None},
        samples=lambda: (
            Sample(_POINTS), Sample(_SLICES), Sample(_BATCH, {"batch_dims": 1}),
            Sample((ints(shape=(3,)), np.array([[2]]), ints(shape=(1,), seed=2)), grad=False),
            Sample((floats(shape=(3, 2)), np.zeros((0, 1), np.int32), floats(shape=(0, 2))),
                   grad=False),
        ),
        error_samples=lambda: tuple(ErrorSample(e[:3], {}, e[3]) for e in _ND_WRONG),
        doc=f"A copy of `tensor` with `updates` at points ({kind}).",
    )  # fmt: skip


tensor_scatter_update = _tensor_scatter("TensorScatterUpdate", "update")
tensor_scatter_add = _tensor_scatter("TensorScatterAdd", "add")
tensor_scatter_sub = _tensor_scatter("TensorScatterSub", "sub")
tensor_scatter_min = _tensor_scatter("TensorScatterMin", "min")
tensor_scatter_max = _tensor_scatter("TensorScatterMax", "max")


def _scatter_nd_dtypes(indices: DType, updates: DType, **_: Any) -> DType:
    check_index_dtype(indices)
    return check_dtype(updates, NUMERIC)


def _scatter_nd_shape(
    ctx: Infer, indices: TensorType, updates: TensorType, *, shape: Any
) -> tuple[Dim, ...]:
    sizes = sizes_of(shape)
    return _nd_shape(ctx, TensorType(updates.dtype, sizes), indices, updates)


scatter_nd = Op(
    "ScatterNd", ("indices", "updates", "@shape"), _scatter_nd_dtypes, _scatter_nd_shape,
    lambda indices, updates, *, shape: np_points(
        "ScatterNd", np.zeros(shape, updates.dtype), indices, updates, "add"
    ),
    lambda g, y, indices, updates, *, shape: (None, lookup("GatherNd")(g, indices)),
    decompose=lambda indices, updates, *, shape: _points(
        lookup("Fill")(shape, np.zeros((), updates.type.dtype.np)), indices, updates, "add"
    ),
    operand_dtypes={"indices": None},
    samples=lambda: (
        Sample(_POINTS[1:], {"shape": (3, 4)}), Sample(_SLICES[1:], {"shape": (4, 3)}),
        Sample((np.array([[1]]), ints(shape=(1,))), {"shape": (3,)}, grad=False),
    ),
    error_samples=lambda: tuple(ErrorSample(e[1:3], {"shape": (4, 3)}, e[3]) for e in _ND_WRONG),
    doc="Zeros of shape `shape` with `updates` added at points.",
)  # fmt: skip
