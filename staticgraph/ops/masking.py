"""Selection by data: one-hot rows, positions of true elements, distinct values, partitions."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.errors import InvalidArgumentError, OutOfBoundsError
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import REQUIRED, ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.scalar import Expr, Operand, s
from staticgraph.ir.types import TensorType
from staticgraph.ops.gather import as_index, check_index_dtype
from staticgraph.ops.rules import ALL, ANY, INTEGER, NUMERIC, bools, floats, ints, same, sum_to


# ---------------------------------------------------------------- one-hot
def _one_hot_dtypes(indices: DType, on: DType, off: DType, **_: Any) -> DType:
    if indices not in INTEGER:
        raise RuleError(f"indices must be integers, got {indices.name}", kind="dtype")
    return same(ALL)(on, off)


def _one_hot_shape(
    ctx: Infer, indices: TensorType, on: TensorType, off: TensorType, *, depth: Any, axis: int
) -> tuple[Dim, ...]:
    i = indices.dims
    if on.dims or off.dims:
        raise RuleError(
            f"on_value and off_value must be scalars, got {on.public()} and {off.public()}"
        )
    if isinstance(depth, int) and depth < 0:
        raise RuleError(f"depth must not be negative, got {depth}")
    a = ctx.axis(axis, len(i) + 1)
    return (*i[:a], depth, *i[a:])


def _np_one_hot(
    indices: np.ndarray, on: np.ndarray, off: np.ndarray, *, depth: int, axis: int
) -> np.ndarray:
    a = axis % (indices.ndim + 1)
    steps = np.arange(depth).reshape((depth,) + (1,) * (indices.ndim - a))
    return np.where(np.expand_dims(indices, a) == steps, on, off)


def _lower_one_hot(
    ix: tuple[Expr, ...], indices: Operand, on: Operand, off: Operand, *, depth: Any, axis: int
) -> Expr:
    a = axis % (len(indices.shape) + 1)
    hit = s.cast(indices[ix[:a] + ix[a + 1 :]], dtypes.int64).eq(ix[a])
    return s.select(hit, on[()], off[()])


def _one_hot_grad(g: Any, y: Any, indices: Any, on: Any, off: Any, *, depth: Any, axis: int) -> Any:
    one, zero = lookup("OnesLike")(on), lookup("ZerosLike")(on)
    hot = one_hot(indices, depth, one, zero, axis=axis)
    cold = one_hot(indices, depth, zero, one, axis=axis)
    return None, sum_to(g * hot, on), sum_to(g * cold, off)


_ONE, _NIL = np.float32(1), np.float32(0)
one_hot = Op(
    "OneHot", ("indices", "@depth", "on_value", "off_value"), _one_hot_dtypes, _one_hot_shape,
    _np_one_hot, _one_hot_grad, lower=_lower_one_hot, attrs={"axis": -1},
    operand_dtypes={"indices": None},
    samples=lambda: (
        Sample((np.array([0, 2, -1, 5]), _ONE, _NIL), {"depth": 3}),
        Sample((ints(0, 4, (2, 3)), np.float64(2), np.float64(-1)), {"depth": 4, "axis": 1}),
        Sample((np.uint8(1), _ONE, _NIL), {"depth": 17, "axis": 0}),
        Sample((np.zeros(0, np.int32), _ONE, _NIL), {"depth": 2}, grad=False),
        Sample((ints(0, 3, (2,)), np.True_, np.False_), {"depth": 3}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(), _ONE, _NIL), {"depth": 3}, "indices must be integers"),
        ErrorSample((ints(), _ONE, np.float64(0)), {"depth": 3}, "dtypes differ"),
        ErrorSample((ints(), _ONE, _NIL), {"depth": 3, "axis": 3}, "axis 3 is outside"),
    ),
    doc="`on_value` at the index, `off_value` elsewhere and for an index outside [0, depth).",
)  # fmt: skip


# ---------------------------------------------------------------- positions and distinct values
where = Op(
    "Where", ("condition",), lambda c: same(ANY)(c) and dtypes.int64,
    lambda ctx, c: (ctx.fresh("m"), c.rank),
    lambda c: np.stack(np.nonzero(c), axis=-1).astype(np.int64) if np.ndim(c)
    else np.zeros((int(bool(c)), 0), np.int64),
    None, host=True,
    samples=lambda: (
        Sample((bools(),), grad=False), Sample((ints(0, 2),), grad=False),
        Sample((np.zeros((2, 0), bool),), grad=False), Sample((np.True_,), grad=False),
    ),
    doc="The coordinates of true (or nonzero) elements, in C order.",
)  # fmt: skip


def _vector(x: TensorType, what: str = "the input") -> Dim:
    if x.rank != 1:
        raise RuleError(f"{what} must be a vector, got rank {x.rank}")
    return x.dims[0]


def _distinct(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct values in the order they first appear, where each element went, and counts."""
    values, first, inverse, counts = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True, equal_nan=False
    )
    order = np.argsort(first, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    return values[order].astype(x.dtype), place[inverse.reshape(x.shape)], counts[order]


def _np_unique(x: np.ndarray, *, out_idx: Any) -> tuple[np.ndarray, np.ndarray]:
    values, place, _ = _distinct(x)
    return values, place.astype(dtypes.as_dtype(out_idx).np)


def _np_unique_counts(x: np.ndarray, *, out_idx: Any) -> tuple[np.ndarray, ...]:
    values, place, counts = _distinct(x)
    kind = dtypes.as_dtype(out_idx).np
    return values, place.astype(kind), counts.astype(kind)


def _unique_shape(ctx: Infer, x: TensorType, **_: Any) -> tuple[Any, ...]:
    n = _vector(x)
    return (ctx.fresh("distinct"),), (n,)


def _unique_counts_shape(ctx: Infer, x: TensorType, **_: Any) -> tuple[Any, ...]:
    n, m = _vector(x), ctx.fresh("distinct")
    return (m,), (n,), (m,)


_UNIQUE = (
    Sample((np.array([3, 1, 3, 2, 1]),), grad=False), Sample((floats(shape=(5,)),), grad=False),
    Sample((np.zeros(0, np.int32),), {"out_idx": dtypes.int64}, grad=False),
)  # fmt: skip
_FLAT = (ErrorSample((floats(),), {}, "the input must be a vector, got rank 2"),)

unique = Op(
    "Unique", ("x",), lambda x, *, out_idx: (same(ANY)(x), dtypes.as_dtype(out_idx)), _unique_shape,
    _np_unique, None, host=True, results=2, attrs={"out_idx": dtypes.int32}, samples=_UNIQUE,
    error_samples=_FLAT, doc="Distinct values in the order they first appear.",
)  # fmt: skip
unique_with_counts = Op(
    "UniqueWithCounts", ("x",),
    lambda x, *, out_idx: (same(ANY)(x), dtypes.as_dtype(out_idx), dtypes.as_dtype(out_idx)),
    _unique_counts_shape, _np_unique_counts, None, host=True, results=3,
    attrs={"out_idx": dtypes.int32}, samples=_UNIQUE, error_samples=_FLAT,
    doc="Distinct values in the order they first appear, and how often each occurs.",
)  # fmt: skip


def _np_list_diff(x: np.ndarray, y: np.ndarray, *, out_idx: Any) -> tuple[np.ndarray, np.ndarray]:
    keep = np.flatnonzero(~np.isin(x, y))
    return x[keep], keep.astype(dtypes.as_dtype(out_idx).np)


def _list_diff_shape(ctx: Infer, x: TensorType, y: TensorType, **_: Any) -> tuple[Any, Any]:
    _vector(x, "x"), _vector(y, "y")
    m = ctx.fresh("kept")
    return (m,), (m,)


list_diff = Op(
    "ListDiff", ("x", "y"), lambda x, y, *, out_idx: (same(ANY)(x, y), dtypes.as_dtype(out_idx)),
    _list_diff_shape, _np_list_diff, None, host=True, results=2, attrs={"out_idx": dtypes.int32},
    samples=lambda: (Sample((np.array([1, 2, 3, 2]), np.array([2, 5])), grad=False),),
    error_samples=lambda: (
        ErrorSample((ints(), ints(shape=(2,))), {}, "x must be a vector, got rank 2"),
    ),
    doc="The elements of x that y lacks, and their positions.",
)  # fmt: skip


# ---------------------------------------------------------------- partitions
def _partition_shape(
    ctx: Infer, data: TensorType, partitions: TensorType, *, num_partitions: int
) -> Any:
    d, p = data.dims, partitions.dims
    if len(p) > len(d):
        raise RuleError(f"partitions of rank {len(p)} for data of rank {len(d)}")
    for a, b in zip(d, p, strict=False):
        ctx.equal(a, b, "data has size {a} where partitions has {b}")
    return tuple((ctx.fresh("part"), *d[len(p) :]) for _ in range(num_partitions))


def _np_partition(
    data: np.ndarray, partitions: np.ndarray, *, num_partitions: int
) -> list[np.ndarray]:
    bad = (partitions < 0) | (partitions >= num_partitions)
    if bad.any():
        raise OutOfBoundsError(
            f"DynamicPartition: index {int(partitions[bad][0])} is outside [0, {num_partitions})"
        )
    return [data[partitions == k] for k in range(num_partitions)]


def _partition_dtypes(data: DType, partitions: DType, *, num_partitions: int) -> tuple[DType, ...]:
    if partitions is not dtypes.int32:
        raise RuleError(f"partitions must be int32, got {partitions.name}", kind="dtype")
    return (same(ANY)(data),) * num_partitions


def _partition_grad(g: Any, y: Any, data: Any, partitions: Any, *, num_partitions: int) -> Any:
    parts = list(g) if isinstance(g, (tuple, list)) else [g]
    return partition_merge(partitions, parts), None


_PARTS = np.array([1, 0, 1, 3], np.int32)
dynamic_partition = Op(
    "DynamicPartition", ("data", "partitions"), _partition_dtypes, _partition_shape, _np_partition,
    _partition_grad, host=True, results=lambda *, num_partitions: num_partitions,
    attrs={"num_partitions": REQUIRED}, operand_dtypes={"partitions": None},
    samples=lambda: (
        Sample((floats(shape=(4, 3), dtype="float64"), _PARTS), {"num_partitions": 4}),
        Sample((floats(shape=(2, 3)), ints(0, 2, (2, 3))), {"num_partitions": 2}),
        Sample((floats(shape=(3,)), np.zeros(3, np.int32)), {"num_partitions": 1}),
        Sample((ints(shape=(4,)), _PARTS), {"num_partitions": 4}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(), _PARTS), {"num_partitions": 4},
               "data has size 3 where partitions has 4"),
        ErrorSample((floats(shape=(4,)), _PARTS.astype(float)), {"num_partitions": 4},
               "must be int32, got float64"),
    ),
    doc="One tensor per partition, with the slices of `data` that belong to it, in order.",
)  # fmt: skip


def _np_merge(partitions: np.ndarray, *parts: np.ndarray) -> np.ndarray:
    out = np.zeros(partitions.shape + parts[0].shape[1:], parts[0].dtype)
    for k, part in enumerate(parts):
        out[partitions == k] = part
    return out


def _merge_grad(g: Any, y: Any, partitions: Any, *parts: Any) -> Any:
    return None, *dynamic_partition(g, partitions, num_partitions=len(parts))


partition_merge = Op(
    "PartitionMerge", ("partitions", "*parts"), lambda partitions, *parts: same(NUMERIC)(*parts),
    lambda ctx, partitions, *parts: partitions.dims + parts[0].dims[1:], _np_merge, _merge_grad,
    host=True, operand_dtypes={"partitions": None},
    samples=lambda: (Sample((np.array([1, 0, 1], np.int32),
           [floats(shape=(1, 2)), floats(shape=(2, 2))])),),
    doc="Undoes DynamicPartition.",
)  # fmt: skip


def _stitch_dtypes(*inputs: DType, n: int) -> DType:
    for d in inputs[:n]:
        check_index_dtype(d)
    return same(ANY)(*inputs[n:])


def _stitch_shape(ctx: Infer, *types: TensorType, n: int) -> tuple[Dim, ...]:
    tails = []
    for i, d in zip(types[:n], types[n:], strict=True):
        if d.rank < i.rank:
            raise RuleError(f"data of rank {d.rank} for indices of rank {i.rank}")
        for a, b in zip(d.dims, i.dims, strict=False):
            ctx.equal(a, b, "data has size {a} where indices has {b}")
        tails.append(d.dims[i.rank :])
    for t in tails[1:]:
        if len(t) != len(tails[0]):
            raise RuleError(f"data have slices of ranks {len(tails[0])} and {len(t)}")
        for a, b in zip(tails[0], t, strict=True):
            ctx.equal(a, b, "slices of data have sizes {a} and {b}")
    return (ctx.fresh("stitched"), *tails[0])


def _np_stitch(*arrays: np.ndarray, n: int) -> np.ndarray:
    indices, data = [as_index(a) for a in arrays[:n]], arrays[n:]
    if any((i < 0).any() for i in indices):
        raise InvalidArgumentError("DynamicStitch: indices must not be negative")
    rows = max((int(i.max()) + 1 for i in indices if i.size), default=0)
    tail = data[0].shape[indices[0].ndim :]
    out = np.zeros((rows, *tail), data[0].dtype)
    for i, d in zip(indices, data, strict=True):
        for row, value in zip(i.ravel(), d.reshape((i.size, *tail)), strict=True):
            out[row] = value
    return out


def _stitch_grad(g: Any, y: Any, *inputs: Any, n: int) -> Any:
    back = unstitch(g, list(inputs[:n]), n=n)
    return (None,) * n + tuple(back)


dynamic_stitch = Op(
    "DynamicStitch", ("*inputs",), _stitch_dtypes, _stitch_shape, _np_stitch, _stitch_grad,
    host=True, attrs={"n": REQUIRED}, operand_dtypes={"inputs": None},
    samples=lambda: (
        Sample(([np.int32(2), np.array([0, 2]), floats(shape=(3,)), floats(shape=(2, 3))],),
               {"n": 2}),
        Sample(([np.array([[1, 0]]), floats(shape=(1, 2))],), {"n": 1}),
    ),
    error_samples=lambda: (
        ErrorSample(([np.array([0, 1]), floats(shape=(3,))],), {"n": 1},
               "data has size 3 where indices has 2"),
    ),
    doc="""Rows put together at given positions: the first n operands are indices, the others data.

    The last of several writers wins; rows nobody writes are zero.
    """,
)  # fmt: skip


def _np_unstitch(g: np.ndarray, *arrays: np.ndarray, **_: Any) -> list[np.ndarray]:
    last: dict[int, tuple[int, int]] = {}
    for k, i in enumerate(arrays):
        for j, row in enumerate(i.ravel().tolist()):
            last[row] = (k, j)
    out = []
    for k, i in enumerate(arrays):
        kept = [last[row] == (k, j) for j, row in enumerate(i.ravel().tolist())]
        mask = np.array(kept, bool).reshape(i.shape + (1,) * (g.ndim - 1))
        out.append(np.where(mask, g[as_index(i)], np.zeros((), g.dtype)))
    return out


def _unstitch_grad(d: Any, y: Any, g: Any, *indices: Any, n: int) -> Any:
    rows = list(d) if isinstance(d, (tuple, list)) else [d]
    return dynamic_stitch([*indices, *rows], n=n), *(None for _ in indices)


unstitch = Op(
    "DynamicUnstitch", ("g", "*indices"), lambda g, *i, n: (g,) * n,
    lambda ctx, g, *indices, n: tuple(i.dims + g.dims[1:] for i in indices), _np_unstitch,
    _unstitch_grad, host=True, results=lambda *, n: n, attrs={"n": REQUIRED},
    operand_dtypes={"indices": None},
    samples=lambda: (
        Sample((floats(shape=(3, 2)), [np.array([0, 2]), np.array([2, 1])]), {"n": 2}),
    ),
    doc="Undoes DynamicStitch: the rows of `g` at indices, zeros where a later writer won.",
)  # fmt: skip
