"""Selecting and writing by index: gathers, scatters, one-hot, masks, partitions, segments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgraph.api.framework import name_scope
from staticgraph.errors import ShapeError, UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import convert
from staticgraph.ir.graph import Tensor
from staticgraph.ir.op import lookup


# ---------------------------------------------------------------- gathers
def gather(
    params: Any, indices: Any, validate_indices: bool | None = None, name: str | None = None,
    axis: Any = None, batch_dims: int = 0,
) -> Tensor:  # fmt: skip
    """Slices of `params` along `axis` at the positions in `indices`.

    Args:
      params: a tensor of any dtype.
      indices: int32 or int64, of any shape.
      axis: the axis to gather from; `batch_dims` by default, that is 0.
      batch_dims: how many leading axes of both run together.

    Returns:
      A tensor of shape
      ``params.shape[:axis] + indices.shape[batch_dims:] + params.shape[axis + 1:]``.

    Raises:
      ValueError: the axis does not exist.  An index out of range fails the run.

    >>> import staticgraph as tf
    >>> tf.gather([10, 20, 30], [2, 0])
    <tf.Tensor 'GatherV2:0' shape=(2,) dtype=int32>
    """
    del validate_indices
    axis = batch_dims if axis is None else axis
    return lookup("GatherV2")(params, indices, axis, batch_dims=batch_dims, name=name)  # type: ignore[no-any-return]


def batch_gather(params: Any, indices: Any, name: str | None = None) -> Tensor:
    """Gather along the last axis of `indices`, whose other axes run with those of `params`.

    Raises:
      ValueError: `indices` has no axis, or batch sizes differ.
    """
    with name_scope(name, "BatchGather", [params, indices]) as scope:
        p, i = convert(params, name="params"), convert(indices, name="indices")
        if i.type.shape is None:
            raise ShapeError("batch_gather: the rank of indices must be known", loc=loc.caller())
        axis = len(i.type.shape) - 1
        if axis < 0:
            raise ShapeError("batch_gather: indices must not be a scalar", loc=loc.caller())
        return lookup("GatherV2")(p, i, axis, batch_dims=axis, name=scope)  # type: ignore[no-any-return]


def gather_nd(params: Any, indices: Any, name: str | None = None, batch_dims: int = 0) -> Tensor:
    """Slices of `params` at the points in the rows of `indices`.

    Args:
      params: a tensor.
      indices: int32 or int64; the last axis holds coordinates of leading axes of `params`.
      batch_dims: how many leading axes of both run together.

    >>> import staticgraph as tf
    >>> tf.gather_nd([[1, 2], [3, 4]], [[0, 1], [1, 0]])
    <tf.Tensor 'GatherNd:0' shape=(2,) dtype=int32>
    """
    return lookup("GatherNd")(params, indices, batch_dims=batch_dims, name=name)  # type: ignore[no-any-return]


# ---------------------------------------------------------------- scatters
def scatter_nd(indices: Any, updates: Any, shape: Any, name: str | None = None) -> Tensor:
    """Zeros of `shape` with `updates` added at the points in the rows of `indices`.

    >>> import staticgraph as tf
    >>> tf.scatter_nd([[1], [3]], [5.0, 6.0], [4])
    <tf.Tensor 'ScatterNd:0' shape=(4,) dtype=float32>
    """
    return lookup("ScatterNd")(indices, updates, shape, name=name)  # type: ignore[no-any-return]


def tensor_scatter_update(
    tensor: Any, indices: Any, updates: Any, name: str | None = None
) -> Tensor:
    """A copy of `tensor` with `updates` stored at points; the last writer wins."""
    return lookup("TensorScatterUpdate")(tensor, indices, updates, name=name)  # type: ignore[no-any-return]


def tensor_scatter_add(tensor: Any, indices: Any, updates: Any, name: str | None = None) -> Tensor:
    """A copy of `tensor` with `updates` added at points."""
    return lookup("TensorScatterAdd")(tensor, indices, updates, name=name)  # type: ignore[no-any-return]


def tensor_scatter_sub(tensor: Any, indices: Any, updates: Any, name: str | None = None) -> Tensor:
    """A copy of `tensor` with `updates` subtracted at points."""
    return lookup("TensorScatterSub")(tensor, indices, updates, name=name)  # type: ignore[no-any-return]


def tensor_scatter_min(tensor: Any, indices: Any, updates: Any, name: str | None = None) -> Tensor:
    """A copy of `tensor` with the smaller of it and `updates` at points."""
    return lookup("TensorScatterMin")(tensor, indices, updates, name=name)  # type: ignore[no-any-return]


def tensor_scatter_max(tensor: Any, indices: Any, updates: Any, name: str | None = None) -> Tensor:
    """A copy of `tensor` with the larger of it and `updates` at points."""
    return lookup("TensorScatterMax")(tensor, indices, updates, name=name)  # type: ignore[no-any-return]


tensor_scatter_nd_update = tensor_scatter_update
tensor_scatter_nd_add = tensor_scatter_add
tensor_scatter_nd_sub = tensor_scatter_sub
tensor_scatter_nd_min = tensor_scatter_min
tensor_scatter_nd_max = tensor_scatter_max


# ---------------------------------------------------------------- one-hot and masks
def one_hot(
    indices: Any, depth: Any, on_value: Any = None, off_value: Any = None, axis: int | None = None,
    dtype: object = None, name: str | None = None,
) -> Tensor:  # fmt: skip
    """`on_value` at each index along a new axis of size `depth`, `off_value` elsewhere.

    Args:
      indices: integers; one outside [0, depth) is off everywhere.
      depth: size of the new axis.
      on_value: 1 by default.
      off_value: 0 by default.
      axis: where the new axis goes; last by default.
      dtype: that of the values, float32 without them.

    Raises:
      TypeError: dtypes of the values and `dtype` differ.

    >>> import staticgraph as tf
    >>> tf.one_hot([0, 2], 3)
    <tf.Tensor 'one_hot:0' shape=(2, 3) dtype=float32>
    """
    values = [v for v in (on_value, off_value) if v is not None]
    with name_scope(
        name, "one_hot", [indices, *(v for v in values if isinstance(v, Tensor))]
    ) as scope:
        kind = None if dtype is None else dtypes.as_dtype(dtype).base
        if kind is None:
            kind = next((v.dtype.base for v in values if isinstance(v, Tensor)), None)
        if kind is None:
            kind = convert(values[0]).dtype.base if values else dtypes.float32
        on = convert(kind.np.type(1) if on_value is None else on_value, kind, "on_value")
        off = convert(kind.np.type(0) if off_value is None else off_value, kind, "off_value")
        where = -1 if axis is None else axis
        return lookup("OneHot")(indices, depth, on, off, axis=where, name=scope)  # type: ignore[no-any-return]


def sequence_mask(
    lengths: Any, maxlen: Any = None, dtype: object = dtypes.bool_, name: str | None = None
) -> Tensor:
    """True (or 1) in the first ``lengths[i]`` of `maxlen` places along a new last axis.

    Args:
      lengths: integers.
      maxlen: the longest of `lengths` by default.
      dtype: of the result.

    Raises:
      ValueError: `maxlen` is not a scalar.
    """
    with name_scope(name, "SequenceMask", [lengths]):
        lengths = convert(lengths, name="lengths")
        if maxlen is None:
            maxlen = lookup("Maximum")(_max(lengths), lengths.dtype.np.type(0))
        else:
            maxlen = convert(maxlen, name="maxlen")
        if maxlen.type.shape not in ((), None):
            raise ShapeError(
                f"sequence_mask: maxlen must be a scalar, got {maxlen.type.public()}",
                loc=loc.caller(),
            )
        bound = (
            maxlen
            if maxlen.dtype.base is lengths.dtype.base
            else lookup("Cast")(maxlen, DstT=lengths.dtype.base)
        )
        row = lookup("Range")(0, bound, 1, Tidx=lengths.dtype.base)
        mask = lookup("Less")(row, lookup("ExpandDims")(lengths, -1))
        wanted = dtypes.as_dtype(dtype).base
        return mask if wanted is dtypes.bool_ else lookup("Cast")(mask, DstT=wanted)  # type: ignore[no-any-return]


def _max(x: Tensor) -> Tensor:
    if x.type.shape is None:
        x = lookup("Reshape")(x, [-1])
        return lookup("Max")(x, [0])  # type: ignore[no-any-return]
    return lookup("Max")(x, list(range(len(x.type.shape))))  # type: ignore[no-any-return]


def boolean_mask(
    tensor: Any, mask: Any, name: str = "boolean_mask", axis: int | None = None
) -> Tensor:
    """The slices of `tensor` at which `mask` is true, along the axes from `axis` on.

    Args:
      tensor: a tensor.
      mask: bool, of known rank; its shape agrees with that of `tensor` from `axis` on.

    Raises:
      ValueError: the mask is a scalar, of unknown rank, or does not fit.

    >>> import staticgraph as tf
    >>> tf.boolean_mask([1, 2, 3], [True, False, True])
    <tf.Tensor 'boolean_mask/GatherV2:0' shape=(?,) dtype=int32>
    """
    with name_scope(name, "boolean_mask", [tensor, mask]):
        tensor, mask = convert(tensor, name="tensor"), convert(mask, name="mask")
        m, t = mask.type.shape, tensor.type.shape
        a = 0 if axis is None else int(axis)
        if m is None:
            raise ShapeError("boolean_mask: the rank of the mask must be known", loc=loc.caller())
        if not m:
            raise ShapeError("boolean_mask: the mask must not be a scalar", loc=loc.caller())
        if t is not None:
            a = a + len(t) if a < 0 else a
            for d, e in zip(t[a:], m, strict=False):
                if isinstance(d, int) and isinstance(e, int) and d != e:
                    raise ShapeError(
                        f"boolean_mask: the tensor has size {d} where the mask has {e}",
                        loc=loc.caller(),
                        operands=(f"tensor: {tensor.describe()}", f"mask: {mask.describe()}"),
                    )  # fmt: skip
            if a + len(m) > len(t):
                raise ShapeError(
                    f"boolean_mask: a mask of rank {len(m)} for a tensor of rank {len(t)}",
                    loc=loc.caller(),
                )
        if len(m) > 1:
            tensor, mask = _flatten_axes(tensor, a, len(m)), lookup("Reshape")(mask, [-1])
        places = lookup("Squeeze")(lookup("Where")(mask), squeeze_dims=(1,))
        return lookup("GatherV2")(tensor, places, a)  # type: ignore[no-any-return]


def _flatten_axes(x: Tensor, a: int, n: int) -> Tensor:
    if x.type.shape is None:
        raise ShapeError("boolean_mask: the rank of the tensor must be known", loc=loc.caller())
    sizes = lookup("Shape")(x)
    parts = [lookup("GatherV2")(sizes, list(range(a)), 0)] if a else []
    parts.append(convert([-1], dtypes.int32))
    rest = list(range(a + n, len(x.type.shape)))
    parts += [lookup("GatherV2")(sizes, rest, 0)] if rest else []
    new = parts[0] if len(parts) == 1 else lookup("ConcatV2")(parts, 0)
    return lookup("Reshape")(x, new)  # type: ignore[no-any-return]


# ---------------------------------------------------------------- distinct values
def unique(
    x: Any, out_idx: object = dtypes.int32, name: str | None = None
) -> tuple[Tensor, Tensor]:
    """Distinct elements of a vector in the order they first appear, and where each went.

    Raises:
      ValueError: `x` is not a vector.
    """
    y, idx = lookup("Unique")(x, out_idx=dtypes.as_dtype(out_idx), name=name)
    return y, idx


def unique_with_counts(
    x: Any, out_idx: object = dtypes.int32, name: str | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """As `unique`, and how often each distinct element occurs."""
    y, idx, count = lookup("UniqueWithCounts")(x, out_idx=dtypes.as_dtype(out_idx), name=name)
    return y, idx, count


def setdiff1d(
    x: Any, y: Any, index_dtype: object = dtypes.int32, name: str | None = None
) -> tuple[Tensor, Tensor]:
    """The elements of a vector that another lacks, and their positions."""
    out, idx = lookup("ListDiff")(x, y, out_idx=dtypes.as_dtype(index_dtype), name=name)
    return out, idx


# ---------------------------------------------------------------- partitions
def dynamic_partition(
    data: Any, partitions: Any, num_partitions: int, name: str | None = None
) -> list[Tensor]:
    """Split `data` into `num_partitions` tensors by the int32 numbers in `partitions`.

    Raises:
      ValueError: shapes do not fit or there are no partitions.
    """
    if num_partitions < 1:
        raise ShapeError(
            f"dynamic_partition: num_partitions must be positive, got {num_partitions}",
            loc=loc.caller(),
        )
    return lookup("DynamicPartition")(data, partitions, num_partitions=num_partitions, name=name)  # type: ignore[no-any-return]


def dynamic_stitch(indices: Sequence[Any], data: Sequence[Any], name: str | None = None) -> Tensor:
    """Put the rows of the tensors in `data` at the places in `indices`; the last writer wins.

    Raises:
      ValueError: the lists differ in length or shapes do not fit.
    """
    if len(indices) != len(data) or not data:
        raise UsageError(
            f"dynamic_stitch: {len(indices)} indices for {len(data)} data", loc=loc.caller()
        )
    with name_scope(name, "DynamicStitch", [*indices, *data]) as scope:
        places = [convert(i, dtypes.int32, f"indices_{k}") for k, i in enumerate(indices)]
        first = next((d.dtype.base for d in data if isinstance(d, Tensor)), None)
        rows = [convert(d, first, f"data_{k}") for k, d in enumerate(data)]
        return lookup("DynamicStitch")([*places, *rows], n=len(places), name=scope)  # type: ignore[no-any-return]


# ---------------------------------------------------------------- segments
def _segments(op: str) -> Any:
    def call(data: Any, segment_ids: Any, name: str | None = None) -> Tensor:
        return lookup(op)(data, segment_ids, name=name)  # type: ignore[no-any-return]

    call.__name__ = call.__qualname__ = "segment_" + op[7:].lower()
    call.__doc__ = f"""The {op[7:].lower()} of rows that share an id in a sorted vector.

    Raises:
      ValueError: shapes do not fit.  Ids that are not sorted fail the run.
    """
    return call


segment_sum = _segments("SegmentSum")
segment_mean = _segments("SegmentMean")
segment_prod = _segments("SegmentProd")
segment_min = _segments("SegmentMin")
segment_max = _segments("SegmentMax")


def _unsorted(op: str) -> Any:
    def call(data: Any, segment_ids: Any, num_segments: Any, name: str | None = None) -> Tensor:
        return lookup(op)(data, segment_ids, num_segments, name=name)  # type: ignore[no-any-return]

    call.__name__ = call.__qualname__ = "unsorted_segment_" + op[15:].lower()
    call.__doc__ = f"""The {op[15:].lower()} of slices that share an id in [0, num_segments).

    The shape of `segment_ids` is a prefix of that of `data`; negative ids are left out.
    """
    return call


unsorted_segment_sum = _unsorted("UnsortedSegmentSum")
unsorted_segment_prod = _unsorted("UnsortedSegmentProd")
unsorted_segment_min = _unsorted("UnsortedSegmentMin")
unsorted_segment_max = _unsorted("UnsortedSegmentMax")


def _members(data: Tensor, segment_ids: Tensor, num_segments: Any) -> Tensor:
    """How many slices each segment has, at least 1, in a shape that divides the sum."""
    ones = lookup("OnesLike")(data)
    total = lookup("UnsortedSegmentSum")(ones, segment_ids, num_segments)
    return lookup("Maximum")(total, lookup("OnesLike")(total))  # type: ignore[no-any-return]


def unsorted_segment_mean(
    data: Any, segment_ids: Any, num_segments: Any, name: str | None = None
) -> Tensor:
    """The mean of slices that share an id; 0 where nobody does."""
    with name_scope(name, "UnsortedSegmentMean", [data, segment_ids]):
        data, ids = convert(data, name="data"), convert(segment_ids, name="segment_ids")
        total = lookup("UnsortedSegmentSum")(data, ids, num_segments)
        return lookup("RealDiv")(total, _members(data, ids, num_segments))  # type: ignore[no-any-return]


def unsorted_segment_sqrt_n(
    data: Any, segment_ids: Any, num_segments: Any, name: str | None = None
) -> Tensor:
    """The sum of slices that share an id over the root of their number."""
    with name_scope(name, "UnsortedSegmentSqrtN", [data, segment_ids]):
        data, ids = convert(data, name="data"), convert(segment_ids, name="segment_ids")
        total = lookup("UnsortedSegmentSum")(data, ids, num_segments)
        return lookup("RealDiv")(total, lookup("Sqrt")(_members(data, ids, num_segments)))  # type: ignore[no-any-return]


__all__ = [
    "batch_gather", "boolean_mask", "dynamic_partition", "dynamic_stitch", "gather", "gather_nd",
    "one_hot", "scatter_nd", "segment_max", "segment_mean", "segment_min", "segment_prod",
    "segment_sum", "sequence_mask", "setdiff1d", "tensor_scatter_add", "tensor_scatter_max",
    "tensor_scatter_min", "tensor_scatter_nd_add", "tensor_scatter_nd_max",
    "tensor_scatter_nd_min", "tensor_scatter_nd_sub", "tensor_scatter_nd_update",
    "tensor_scatter_sub", "tensor_scatter_update", "unique",
    "unique_with_counts", "unsorted_segment_max", "unsorted_segment_mean", "unsorted_segment_min",
    "unsorted_segment_prod", "unsorted_segment_sqrt_n", "unsorted_segment_sum",
]  # fmt: skip
