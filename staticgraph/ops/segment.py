"""Reductions over segments of the first axes, and counting.

The unsorted kinds scatter into a result whose length is given; negative ids are left out.  The
sorted kinds take their length from the last id, so they run on the host.  A segment nobody
belongs to is 1 for products; for sums, means and the sorted minimum and maximum 0; for the
unsorted minimum and maximum the largest and the lowest value of the dtype.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from staticgraph.errors import InvalidArgumentError
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim, product
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.scalar import Expr, Operand, s
from staticgraph.ir.types import TensorType
from staticgraph.ops.gather import as_index, check_dtype, check_index_dtype
from staticgraph.ops.rules import FLOATING, INTEGER, NUMERIC, first_shape, floats, ints, zeros_like
from staticgraph.ops.scatter import indicator, scatter, scatter_into


def _dtypes_of(allowed: tuple[DType, ...]) -> Any:
    def rule(data: DType, segment_ids: DType, **_: Any) -> DType:
        check_index_dtype(segment_ids, "segment_ids")
        return check_dtype(data, allowed)

    return rule


def _start(kind: str, dtype: DType, unsorted: bool) -> Any:
    if kind == "mul":
        return 1
    if kind in ("min", "max") and unsorted:
        low, high = dtype.min, dtype.max
        if dtype.is_floating:
            return high if kind == "min" else low
        return int(high) if kind == "min" else int(low)
    return 0


# ---------------------------------------------------------------- gradients
def _gather(t: Any, ids: Any, unsorted: bool) -> Any:
    return lookup("GatherOrZero" if unsorted else "GatherV2")(t, ids, 0)


def _cotangent(kind: str, g: Any, y: Any, data: Any, ids: Any, total: Any, unsorted: bool) -> Any:
    """The cotangent of `data`; `total` sums over the segments, as the op itself would."""
    divide, select = lookup("RealDiv"), lookup("Select")
    if kind == "add":
        return _gather(g, ids, unsorted)
    if kind == "mean":
        members = lookup("Maximum")(total(lookup("OnesLike")(data)), lookup("OnesLike")(y))
        return _gather(divide(g, members), ids, unsorted)
    if kind == "mul":
        # Leave the element itself out of the product, also where it is the only zero.
        zeros = lookup("Equal")(data, zeros_like(data))
        count = total(indicator(zeros, data))
        g = select(lookup("Greater")(count, lookup("OnesLike")(count)), zeros_like(g), g)
        safe = select(zeros, lookup("OnesLike")(data), data)
        others = _gather(lookup_product(unsorted)(safe, ids, y), ids, unsorted)
        rest = select(zeros, others, divide(_gather(y, ids, unsorted), safe))
        return _gather(g, ids, unsorted) * rest
    chosen = indicator(lookup("Equal")(data, _gather(y, ids, unsorted)), data)
    ties = lookup("Maximum")(total(chosen), lookup("OnesLike")(y))
    return _gather(divide(g, ties), ids, unsorted) * chosen


def lookup_product(unsorted: bool) -> Any:
    """The product over segments, given data, ids and the result of the op it is needed for."""
    if unsorted:
        return lambda data, ids, y: lookup("SegmentLike")(data, ids, y, kind="mul")
    return lambda data, ids, y: lookup("SegmentProd")(data, ids)


# ---------------------------------------------------------------- unsorted
def _unsorted_shape(
    ctx: Infer, data: TensorType, segment_ids: TensorType, *, num_segments: Any
) -> tuple[Dim, ...]:
    d, i = data.dims, segment_ids.dims
    if len(i) > len(d):
        raise RuleError(f"segment_ids of rank {len(i)} for data of rank {len(d)}")
    for a, b in zip(d, i, strict=False):
        ctx.equal(a, b, "data has size {a} where segment_ids has {b}")
    return (num_segments, *d[len(i) :])


def _np_unsorted(
    op: str, data: np.ndarray, ids: np.ndarray, n: int, kind: str, start: Any
) -> np.ndarray:
    tail = data.shape[ids.ndim :]
    t = prod(tail)
    base = np.full((1, 1, n, t), start, data.dtype)
    rows = data.reshape(1, 1, ids.size, t)
    return scatter_into(op, base, ids.reshape(1, -1), rows, kind, True).reshape((n, *tail))


def _unsorted_nodes(data: Any, ids: Any, n: Dim, kind: str, start: Any) -> Any:
    reshape = lookup("Reshape")
    i, tail = ids.type.dims, data.type.dims[len(ids.type.dims) :]
    t, count = product(tail), product(i)
    base = lookup("Fill")((1, 1, n, t), np.asarray(start, data.type.dtype.np))
    out = scatter(
        base,
        reshape(ids, (1, count)),
        reshape(data, (1, 1, count, t)),
        kind=kind,
        skip_negative=True,
    )
    return reshape(out, (n, *tail))


def _unsorted(name: str, kind: str) -> Op:
    def numpy(data: np.ndarray, ids: np.ndarray, *, num_segments: int) -> np.ndarray:
        start = _start(kind, dtypes.as_dtype(data.dtype), True)
        return _np_unsorted(name, data, ids, num_segments, kind, start)

    def decompose(data: Any, ids: Any, *, num_segments: Dim) -> Any:
        return _unsorted_nodes(
            data, ids, num_segments, kind, _start(kind, data.type.dtype.base, True)
        )

    def grad(g: Any, y: Any, data: Any, ids: Any, *, num_segments: Any) -> Any:
        total = lambda x: unsorted_segment_sum(x, ids, num_segments)  # noqa: E731
        return _cotangent(kind, g, y, data, ids, total, True), None

    return Op(
        name, ("data", "segment_ids", "@num_segments"), _dtypes_of(NUMERIC), _unsorted_shape,
        numpy, grad, decompose=decompose, operand_dtypes={"segment_ids": None},
        samples=lambda: (
            Sample((floats(shape=(5, 3), dtype="float64"), np.array([0, 2, 0, -1, 3])),
                   {"num_segments": 4}),
            Sample((floats(shape=(2, 3, 2)), np.array([[0, 2, 0], [1, 1, 5]], np.int32)),
                   {"num_segments": 6}),
            Sample((floats(shape=(0, 2)), np.zeros(0, np.int32)), {"num_segments": 2}, grad=False),
            Sample((ints(shape=(17,)), ints(0, 4, (17,), 3)), {"num_segments": 4}, grad=False),
            Sample((np.float32(2), np.int32(1)), {"num_segments": 2}),
        ),
        error_samples=lambda: (
            ErrorSample((floats(shape=(5, 3)), np.zeros(4, np.int32)), {"num_segments": 2},
                        "data has size 5 where segment_ids has 4"),
            ErrorSample((floats(shape=(5, 3)), np.zeros(5, np.float32)), {"num_segments": 2},
                        "segment_ids must be int32 or int64"),
            ErrorSample((floats(shape=(5,)), np.zeros((5, 1), np.int32)), {"num_segments": 2},
                   "of rank 2 for data of rank 1"),
        ),
        doc=f"Combines ({kind}) what shares an id; negative ids are left out.",
    )  # fmt: skip


unsorted_segment_sum = _unsorted("UnsortedSegmentSum", "add")
unsorted_segment_prod = _unsorted("UnsortedSegmentProd", "mul")
unsorted_segment_min = _unsorted("UnsortedSegmentMin", "min")
unsorted_segment_max = _unsorted("UnsortedSegmentMax", "max")


def _like_grad(g: Any, y: Any, data: Any, ids: Any, like: Any, *, kind: str) -> Any:
    total = lambda x: segment_like(x, ids, like, kind="add")  # noqa: E731
    return _cotangent(kind, g, y, data, ids, total, True), None, None


segment_like = Op(
    "SegmentLike", ("data", "segment_ids", "like"), lambda data, *_, **__: data,
    lambda ctx, data, segment_ids, like, **_: like.dims,
    lambda data, ids, like, *, kind: _np_unsorted(
        "SegmentLike", data, ids, like.shape[0], kind,
        _start(kind, dtypes.as_dtype(data.dtype), True),
    ),
    _like_grad,
    decompose=lambda data, ids, like, *, kind: _unsorted_nodes(
        data, ids, like.type.dims[0], kind, _start(kind, data.type.dtype.base, True)
    ),
    attrs={"kind": "add"}, operand_dtypes={"segment_ids": None, "like": None},
    samples=lambda: (
        Sample((floats(shape=(4, 2)), np.array([0, -1, 2, 0]), floats(shape=(3, 2))),
               {"kind": "add"}),
        Sample((floats(1, 2, (4, 2)), np.array([0, -1, 2, 0]), floats(shape=(3, 2))),
               {"kind": "mul"}),
    ),
    doc="An unsorted segment reduction with as many segments as `like` has rows.",
)  # fmt: skip


# ---------------------------------------------------------------- sorted
def _sorted_shape(ctx: Infer, data: TensorType, segment_ids: TensorType) -> tuple[Dim, ...]:
    d, i = data.dims, segment_ids.dims
    if len(i) != 1:
        raise RuleError(f"segment_ids must be a vector, got rank {len(i)}")
    if not d:
        raise RuleError("data is a scalar, it has no rows")
    ctx.equal(d[0], i[0], "data has size {a} where segment_ids has {b}")
    return (ctx.fresh("segments"), *d[1:])


def _np_sorted(op: str, data: np.ndarray, ids: np.ndarray, kind: str) -> np.ndarray:
    idx = as_index(ids)
    if idx.size and (idx[0] < 0 or (np.diff(idx) < 0).any()):
        raise InvalidArgumentError(
            f"{op}: segment_ids must be sorted and not negative, got {idx.tolist()}"
        )
    n = int(idx[-1]) + 1 if idx.size else 0
    used = np.bincount(idx, minlength=n)
    col = (n,) + (1,) * (data.ndim - 1)
    if kind == "mean":
        total = _np_unsorted(op, data, idx, n, "add", 0)
        return (total / np.maximum(used, 1).reshape(col)).astype(data.dtype)
    out = _np_unsorted(op, data, idx, n, kind, _start(kind, dtypes.as_dtype(data.dtype), True))
    return np.where(
        used.reshape(col) > 0,
        out,
        np.asarray(_start(kind, dtypes.as_dtype(data.dtype), False), data.dtype),
    )


def _sorted(name: str, kind: str) -> Op:
    def grad(g: Any, y: Any, data: Any, ids: Any) -> Any:
        return _cotangent(kind, g, y, data, ids, lambda x: segment_sum(x, ids), False), None

    return Op(
        name, ("data", "segment_ids"), _dtypes_of(FLOATING if kind == "mean" else NUMERIC),
        _sorted_shape, lambda data, ids: _np_sorted(name, data, ids, kind), grad, host=True,
        operand_dtypes={"segment_ids": None},
        samples=lambda: (
            Sample((floats(shape=(5, 3), dtype="float64"), np.array([0, 0, 1, 3, 3]))),
            Sample((floats(shape=(17,)), np.arange(17, dtype=np.int32) // 4)),
            Sample((floats(shape=(0, 2)), np.zeros(0, np.int32)), grad=False),
        ),
        error_samples=lambda: (
            ErrorSample((floats(shape=(5, 3)), np.zeros(4, np.int32)), {},
                   "data has size 5 where segment_ids has 4"),
            ErrorSample((floats(shape=(5, 3)), np.zeros((5, 1), np.int32)), {},
                   "must be a vector, got rank 2"),
        ),
        doc=f"Combines ({kind}) rows that share an id; ids ascend.",
    )  # fmt: skip


segment_sum = _sorted("SegmentSum", "add")
segment_mean = _sorted("SegmentMean", "mean")
segment_prod = _sorted("SegmentProd", "mul")
segment_min = _sorted("SegmentMin", "min")
segment_max = _sorted("SegmentMax", "max")


# ---------------------------------------------------------------- counting
def _np_bincount(arr: np.ndarray, weights: np.ndarray, *, size: int) -> np.ndarray:
    flat = arr.ravel()
    if (flat < 0).any():
        raise InvalidArgumentError(f"Bincount: values must not be negative, got {int(flat.min())}")
    keep = flat < size
    out = np.zeros(size, weights.dtype)
    np.add.at(out, flat[keep], weights.ravel()[keep] if weights.size else weights.dtype.type(1))
    return out


bincount = Op(
    "Bincount", ("arr", "weights", "@size"),
    lambda arr, weights, **_: check_dtype(weights, NUMERIC), lambda ctx, *_, size: (size,),
    _np_bincount, None, host=True, operand_dtypes={"arr": None},
    samples=lambda: (
        Sample((ints(0, 6), np.zeros(0, np.int32)), {"size": 5}, grad=False),
        Sample((ints(0, 6), floats()), {"size": 6}, grad=False),
    ),
    doc="How often, or with what weight, each of 0, 1, ..., size - 1 occurs.",
)  # fmt: skip


def _np_histogram(
    values: np.ndarray, value_range: np.ndarray, *, nbins: int, dtype: Any
) -> np.ndarray:
    low, high = value_range
    if not low < high:
        raise InvalidArgumentError(
            f"HistogramFixedWidth: the range must ascend, got [{low}, {high}]"
        )
    step = (np.float64(high) - np.float64(low)) / nbins
    bins = np.clip(np.floor((values.ravel().astype(np.float64) - low) / step), 0, nbins - 1)
    return np.bincount(bins.astype(np.int64), minlength=nbins).astype(dtypes.as_dtype(dtype).np)


histogram_fixed_width = Op(
    "HistogramFixedWidth", ("values", "value_range", "@nbins"),
    lambda values, _r, *, dtype, **_: check_dtype(values, NUMERIC) and dtypes.as_dtype(dtype),
    lambda ctx, values, value_range, *, nbins, **_: (nbins,), _np_histogram, None, host=True,
    attrs={"dtype": dtypes.int32},
    samples=lambda: (Sample((floats(), np.array([-1, 1], np.float32)), {"nbins": 5}, grad=False),),
    doc="Counts in bins of equal width; what lies outside falls into the outermost.",
)  # fmt: skip


def _lower_bucketize(ix: tuple[Expr, ...], x: Operand, *, boundaries: Any) -> Expr:
    value = s.cast(x.at(ix), dtypes.float64)
    total: Expr = s.lift(0, dtypes.int32)
    for edge in boundaries:
        total = total + s.cast(value >= s.lift(float(edge), dtypes.float64), dtypes.int32)
    return total


bucketize = Op(
    "Bucketize", ("input",), lambda x, **_: check_dtype(x, FLOATING + INTEGER) and dtypes.int32,
    first_shape,
    lambda x, *, boundaries: np.searchsorted(
        np.asarray(boundaries, np.float64), x.astype(np.float64), side="right"
    ).astype(np.int32),
    None, lower=_lower_bucketize, attrs={"boundaries": ()},
    samples=lambda: (
        Sample((floats(),), {"boundaries": (-1.0, 0.0, 1.0)}, grad=False),
        Sample((ints(),), {"boundaries": (0.0,)}, grad=False), Sample((floats(),), grad=False),
    ),
    doc="The number of ascending boundaries that each element reaches.",
)  # fmt: skip
