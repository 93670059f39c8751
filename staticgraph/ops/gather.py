"""Reading elements and slices at positions that tensors hold.

An index outside its axis is an error of the run that names the op, the index and the bound.
`GatherOrZero` alone lets negative indices through: they give zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from staticgraph.errors import OutOfBoundsError
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.scalar import Expr, Operand, s
from staticgraph.ir.types import TensorType, UnknownRankError
from staticgraph.ops.rules import ANY, NUMERIC, floats, ints

INDEX = (dtypes.int32, dtypes.int64)


# ---------------------------------------------------------------- shared rules
def check_index_dtype(d: DType, what: str = "indices") -> None:
    """Refuse all but int32 and int64."""
    if d not in INDEX:
        raise RuleError(f"{what} must be int32 or int64, got {d.name}", kind="dtype")


def check_dtype(d: DType, allowed: Sequence[DType]) -> DType:
    """Refuse a dtype that is not in `allowed`."""
    if d not in allowed:
        names = ", ".join(x.name for x in allowed)
        raise RuleError(f"does not take {d.name}; it takes {names}", kind="dtype")
    return d


def check_range(op: str, indices: np.ndarray, bound: int) -> None:
    """Refuse an index outside [0, bound).

    Raises:
      OutOfBoundsError: names the first such index.
    """
    bad = (indices < 0) | (indices >= bound)
    if bad.any():
        raise OutOfBoundsError(f"{op}: index {int(indices[bad][0])} is outside [0, {bound})")


def as_index(indices: Any) -> np.ndarray:
    """An index array as int64; TypeError where it holds sizes that are not known."""
    return np.asarray(indices, dtype=np.int64)


def batch_axis(
    axis: Any, batch_dims: int, rank: int, index_rank: int, ctx: Infer
) -> tuple[int, int]:
    """The axis and the number of batch axes, both counted from the front."""
    if rank == 0:
        raise RuleError("params is a scalar, it has no axis to gather from")
    a = ctx.axis(axis, rank)
    b = ctx.constant(batch_dims, "batch_dims")
    if not -index_rank <= b <= index_rank:
        raise RuleError(f"batch_dims {b} is outside indices of rank {index_rank}")
    b = b % index_rank if b < 0 else b
    if b > a:
        raise RuleError(f"batch_dims {b} exceeds axis {a}")
    return a, b


def _plain_axis(axis: int, batch_dims: int, rank: int, index_rank: int) -> tuple[int, int]:
    return axis % rank, batch_dims + index_rank if batch_dims < 0 else batch_dims


# ---------------------------------------------------------------- along an axis
def _gather_dtypes(allowed: Sequence[DType]) -> Any:
    def rule(params: DType, indices: DType, **_: Any) -> DType:
        check_index_dtype(indices)
        return check_dtype(params, allowed)

    return rule


def _gather_shape(
    ctx: Infer, params: TensorType, indices: TensorType, *, axis: Any = 0, batch_dims: int = 0,
    **_: Any,
) -> tuple[Dim, ...]:  # fmt: skip
    p, i = params.dims, indices.dims
    a, b = batch_axis(axis, batch_dims, len(p), len(i), ctx)
    lead = tuple(
        ctx.equal(d, e, "batch sizes of params and indices differ, {a} and {b}")
        for d, e in zip(p[:b], i[:b], strict=True)
    )
    return lead + p[b:a] + i[b:] + p[a + 1 :]


def take(
    op: str, params: np.ndarray, indices: Any, axis: int = 0, batch_dims: int = 0,
    skip_negative: bool = False,
) -> np.ndarray:  # fmt: skip
    """The meaning of gathers: ``out[b, m, n, s] = params[b, m, indices[b, n], s]``."""
    idx = as_index(indices)
    a, b = _plain_axis(axis, batch_dims, params.ndim, idx.ndim)
    p, i = params.shape, idx.shape
    drop = idx < 0
    check_range(op, np.where(drop, 0, idx)[~drop] if skip_negative else idx, p[a])
    shape = p[:a] + i[b:] + p[a + 1 :]
    if skip_negative and p[a] == 0:
        return np.zeros(shape, params.dtype)
    flat = params.reshape(prod(p[:b]), prod(p[b:a]), p[a], prod(p[a + 1 :]))
    rows = np.where(drop, 0, idx).reshape(prod(i[:b]), prod(i[b:]))
    out = flat[np.arange(rows.shape[0])[:, None], :, rows].transpose(0, 2, 1, 3)
    if skip_negative:
        keep = ~drop.reshape(rows.shape)[:, None, :, None]
        out = np.where(keep, out, np.zeros((), params.dtype))
    return np.asarray(out.reshape(shape), order="C")


def _load(
    ix: tuple[Expr, ...], params: Operand, indices: Operand, axis: int, batch_dims: int, skip: bool
) -> Expr:
    n = len(indices.shape)
    a, b = _plain_axis(axis, batch_dims, len(params.shape), n)
    i = s.cast(indices[ix[:b] + ix[a : a + n - b]], dtypes.int64)
    before, after = ix[:a], ix[a + n - b :]
    if not skip:
        return params[(*before, s.check_index(i, params.shape[a]), *after)]
    value = params[(*before, s.check_index(s.maximum(i, 0), params.shape[a]), *after)]
    return s.select(i < 0, s.lift(0, params.dtype), value)


def _gather_grad(
    g: Any, y: Any, params: Any, indices: Any, *, axis: Any = 0, batch_dims: int = 0,
    skip_negative: bool = False, **_: Any,
) -> tuple[Any, None]:  # fmt: skip
    scatter = lookup("GatherGrad")
    return (
        scatter(g, indices, params, axis, batch_dims=batch_dims, skip_negative=skip_negative),
        None,
    )


_GATHERS = (
    Sample((floats(shape=(5, 3), dtype="float64"), ints(0, 5, (4,))), {"axis": 0}),
    Sample((floats(shape=(5, 3)), ints(0, 3, (2, 2), dtype="int64")), {"axis": 1}),
    Sample((floats(shape=(2, 4, 3)), ints(0, 3, (2,))), {"axis": -1}),
    Sample((floats(shape=(2, 4, 3)), ints(0, 4, (2, 5))), {"axis": 1, "batch_dims": 1}),
    Sample((floats(shape=(2, 3, 4, 2)), ints(0, 4, (2, 5))), {"axis": 2, "batch_dims": 1}),
    Sample((floats(shape=(3, 4)), ints(0, 4, (3, 2))), {"axis": -1, "batch_dims": -1}),
    Sample((floats(shape=(17,)), np.int32(16)), {"axis": 0}),
    Sample((floats(shape=(3, 0)), ints(0, 3, (2,))), {"axis": 0}),
    Sample((floats(shape=(0, 2)), ints(0, 1, (0,))), {"axis": 0}),
    Sample((ints(), ints(0, 3, (2,))), {"axis": 0}, grad=False),
    Sample((np.array([True, False]), np.array([1, 1, 0])), {"axis": 0}, grad=False),
)
_WRONG = (
    ErrorSample((floats(), floats(shape=(2,))), {"axis": 0}, "must be int32 or int64, got float32"),
    ErrorSample((floats(), ints(0, 3, (2,))), {"axis": 2}, "axis 2 is outside a tensor of rank 2"),
    ErrorSample((np.float32(1), ints(0, 3, (2,))), {"axis": 0}, "params is a scalar"),
    ErrorSample((floats(shape=(2, 3)), ints(0, 2, (3, 2))), {"axis": 1, "batch_dims": 1},
                "differ, 2 and 3"),
)  # fmt: skip

gather_v2 = Op(
    "GatherV2", ("params", "indices", "@axis"), _gather_dtypes(ANY), _gather_shape,
    lambda params, indices, *, axis, batch_dims: take(
        "GatherV2", params, indices, axis, batch_dims
    ),
    _gather_grad,
    lower=lambda ix, params, indices, *, axis, batch_dims: _load(
        ix, params, indices, axis, batch_dims, False
    ),
    attrs={"batch_dims": 0}, operand_dtypes={"indices": None}, folds=True,
    samples=_GATHERS, error_samples=_WRONG,
    doc="""Slices of `params` along `axis` at the positions in `indices`.

    With ``b = batch_dims`` the first b axes of both operands run together; negative counts from
    the last axis of `indices`.
    """,
)  # fmt: skip

gather = Op(
    "Gather", ("params", "indices"), _gather_dtypes(ANY), _gather_shape,
    lambda params, indices, **_: take("Gather", params, indices), _gather_grad,
    lower=lambda ix, params, indices, **_: _load(ix, params, indices, 0, 0, False),
    attrs={"validate_indices": True}, operand_dtypes={"indices": None}, folds=True,
    samples=lambda: (Sample((floats(shape=(5, 3)), ints(0, 5, (4,)))),),
    doc="Slices of `params` along its first axis.",
)  # fmt: skip

gather_or_zero = Op(
    "GatherOrZero", ("params", "indices", "@axis"), _gather_dtypes(NUMERIC), _gather_shape,
    lambda params, indices, *, axis, batch_dims: take(
        "GatherOrZero", params, indices, axis, batch_dims, True
    ),
    lambda g, y, params, indices, *, axis, batch_dims: _gather_grad(
        g, y, params, indices, axis=axis, batch_dims=batch_dims, skip_negative=True
    ),
    lower=lambda ix, params, indices, *, axis, batch_dims: _load(
        ix, params, indices, axis, batch_dims, True
    ),
    attrs={"batch_dims": 0}, operand_dtypes={"indices": None},
    samples=lambda: (
        Sample((floats(shape=(5, 3)), np.array([0, -1, 4, -7])), {"axis": 0}),
        Sample((floats(shape=(2, 5)), np.array([[1], [-1]])), {"axis": 1, "batch_dims": 1}),
    ),
    doc="As GatherV2, but a negative index gives zeros.",
)  # fmt: skip


# ---------------------------------------------------------------- at points
def nd_depth(
    ctx: Infer, indices: TensorType, rank: int, batch_dims: int, what: str = "params"
) -> int:
    """How many axes the rows of `indices` address; it decides the result's rank."""
    if not indices.dims:
        raise RuleError("indices must have at least one axis, got a scalar")
    depth = ctx.constant(indices.dims[-1], "the last axis of indices")
    if depth + batch_dims > rank:
        raise RuleError(f"indices address {depth + batch_dims} axes, {what} has {rank}")
    return depth


def _gather_nd_shape(
    ctx: Infer, params: TensorType, indices: TensorType, *, batch_dims: int
) -> tuple[Dim, ...]:
    p, i, b = params.dims, indices.dims, batch_dims
    depth = nd_depth(ctx, indices, len(p), b)
    if not 0 <= b < len(i):
        raise RuleError(f"batch_dims {b} is outside indices of rank {len(i)}")
    lead = tuple(
        ctx.equal(d, e, "batch sizes of params and indices differ, {a} and {b}")
        for d, e in zip(p[:b], i[:b], strict=True)
    )
    return lead + i[b:-1] + p[b + depth :]


def flat_rows(op: str, indices: Any, sizes: Sequence[int]) -> np.ndarray:
    """Positions in the flattened axes that rows of `indices` address."""
    idx = as_index(indices)
    out = np.zeros(idx.shape[:-1], np.int64)
    for k, size in enumerate(sizes):
        check_range(op, idx[..., k], size)
        out = out * size + idx[..., k]
    return out


def _gather_nd(params: np.ndarray, indices: Any, *, batch_dims: int) -> np.ndarray:
    b, depth = batch_dims, np.asarray(indices).shape[-1]
    p = params.shape
    rows = flat_rows("GatherNd", indices, p[b : b + depth])
    flat = params.reshape((*p[:b], prod(p[b : b + depth]), *p[b + depth :]))
    return take("GatherNd", flat, rows, b, b)


def _lower_gather_nd(
    ix: tuple[Expr, ...], params: Operand, indices: Operand, *, batch_dims: int
) -> Expr:
    n, b = len(indices.shape) - 1, batch_dims
    depth = indices.shape[-1]
    assert isinstance(depth, int)
    points = [s.check_index(indices[(*ix[:n], k)], params.shape[b + k]) for k in range(depth)]
    return params[(*ix[:b], *points, *ix[n:])]


gather_nd = Op(
    "GatherNd", ("params", "indices"), _gather_dtypes(ANY), _gather_nd_shape, _gather_nd,
    lambda g, y, params, indices, *, batch_dims: (
        lookup("TensorScatterAdd")(
            lookup("ZerosLike")(params), indices, g, batch_dims=batch_dims
        ), None,
    ),
    lower=_lower_gather_nd, attrs={"batch_dims": 0}, operand_dtypes={"indices": None},
    samples=lambda: (
        Sample((floats(shape=(3, 4), dtype="float64"), np.array([[0, 1], [2, 3], [0, 1]]))),
        Sample((floats(shape=(3, 4)), np.array([[[0], [2]]], np.int32))),
        Sample((floats(shape=(3, 4)), np.array([2, 1], np.int32))),
        Sample((floats(shape=(2, 3, 4)), np.array([[[0, 1]], [[2, 3]]])), {"batch_dims": 1}),
        Sample((floats(shape=(3, 4)), np.zeros((0, 2), np.int32))),
        Sample((floats(shape=(17,)), np.zeros((2, 0), np.int32))),
        Sample((ints(), np.array([[1, 1]])), grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(shape=(3,)), np.zeros((2, 2), np.int32)), {},
               "address 2 axes, params has 1"),
        ErrorSample((floats(shape=(3,)), np.zeros((2, 2), np.float32)), {}, "got float32"),
        ErrorSample((floats(shape=(3,)), np.int32(0)), {}, "got a scalar"),
    ),
    doc="""Slices at points: the last axis of `indices` holds coordinates of leading axes.""",
)  # fmt: skip


def sizes_of(shape: Any) -> tuple[Dim, ...]:
    """The value of a shape operand; the rank is unknown where there is none."""
    if shape is None:
        raise UnknownRankError
    return tuple(shape) if isinstance(shape, tuple) else (shape,)


def _lower_rows(ix: tuple[Expr, ...], indices: Operand, *, sizes: Any) -> Expr:
    total: Expr = s.lift(0, dtypes.int64)
    for k, size in enumerate(sizes):
        point = s.check_index(indices[(*ix, k)], size)
        total = point if k == 0 else total * s.lift(size, dtypes.int64) + point
    return total


nd_rows = Op(
    "NdRows", ("indices", "@sizes"),
    lambda indices, **_: check_index_dtype(indices) or dtypes.int64,  # type: ignore[func-returns-value]
    lambda ctx, indices, **_: indices.dims[:-1],
    lambda indices, *, sizes: flat_rows("NdRows", indices, sizes), None, lower=_lower_rows,
    samples=lambda: (
        Sample((np.array([[0, 1], [2, 3]], np.int32),), {"sizes": (3, 4)}, grad=False),
        Sample((np.zeros((2, 0), np.int32),), {"sizes": ()}, grad=False),
    ),
    doc="The position of each point among the flattened axes of sizes `sizes`.",
)  # fmt: skip
