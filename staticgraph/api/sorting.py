"""Order and counting: sort, top_k, search, histograms."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from staticgraph.api.framework import name_scope
from staticgraph.errors import ShapeError, UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import convert
from staticgraph.ir.graph import Tensor
from staticgraph.ir.op import lookup


class TopKV2(NamedTuple):
    """What `top_k` gives."""

    values: Tensor
    indices: Tensor


def top_k(input: Any, k: Any = 1, sorted: bool = True, name: str | None = None) -> TopKV2:  # noqa: A002
    """The `k` largest elements along the last axis, largest first, and their positions.

    Of equal elements the one with the lower index comes first.

    Raises:
      ValueError: `input` is a scalar or `k` exceeds its last axis.

    >>> import staticgraph as tf
    >>> tf.nn.top_k([1.0, 3.0, 2.0], 2).values
    <tf.Tensor 'TopKV2:0' shape=(2,) dtype=float32>
    """
    return TopKV2(*lookup("TopKV2")(input, k, sorted=sorted, name=name))


def nth_element(input: Any, n: Any, reverse: bool = False, name: str | None = None) -> Tensor:  # noqa: A002
    """The `n`-th smallest element along the last axis, counted from 0; the largest if `reverse`."""
    return lookup("NthElement")(input, n, reverse=reverse, name=name)  # type: ignore[no-any-return]


def _sorted(
    values: Any, axis: Any, direction: str, name: str | None, which: int, default: str
) -> Tensor:
    if direction not in ("ASCENDING", "DESCENDING"):
        raise UsageError(
            f"{default}: direction must be 'ASCENDING' or 'DESCENDING', got {direction!r}",
            loc=loc.caller(),
        )
    with name_scope(name, default, [values]):
        values = convert(values, name="values")
        shape, a = values.type.shape, int(axis)
        if a == -1 or (shape is not None and a == len(shape) - 1):
            return lookup("Sort")(values, direction=direction)[which]  # type: ignore[no-any-return]
        if shape is None:
            raise ShapeError(
                f"{default}: the rank must be known to sort along axis {a}", loc=loc.caller()
            )
        n = len(shape)
        if not -n <= a < n:
            raise ShapeError(
                f"{default}: axis {a} is outside a tensor of rank {n}", loc=loc.caller()
            )
        perm = list(range(n))
        perm[a % n], perm[-1] = n - 1, a % n
        turned = lookup("Transpose")(values, perm)
        return lookup("Transpose")(lookup("Sort")(turned, direction=direction)[which], perm)  # type: ignore[no-any-return]


def sort(
    values: Any, axis: int = -1, direction: str = "ASCENDING", name: str | None = None
) -> Tensor:
    """The elements in order along `axis`.

    Args:
      direction: "ASCENDING" or "DESCENDING".

    Raises:
      ValueError: the axis does not exist.
    """
    return _sorted(values, axis, direction, name, 0, "sort")


def argsort(
    values: Any,
    axis: int = -1,
    direction: str = "ASCENDING",
    stable: bool = False,
    name: str | None = None,
) -> Tensor:
    """The int32 positions that put elements in order along `axis`; always stable."""
    del stable
    return _sorted(values, axis, direction, name, 1, "argsort")


def in_top_k(predictions: Any, targets: Any, k: Any, name: str | None = None) -> Tensor:
    """Whether fewer than `k` classes are predicted above the target, for each row.

    Args:
      predictions: [batch, classes].
      targets: [batch], the class of each row.
    """
    with name_scope(name, "in_top_k", [predictions, targets]):
        targets = convert(targets, name="targets")
        k = k if isinstance(k, Tensor) else convert(k, targets.dtype.base, "k")
        return lookup("InTopKV2")(predictions, targets, k, name="InTopKV2")  # type: ignore[no-any-return]


def searchsorted(
    sorted_sequence: Any, values: Any, side: str = "left", out_type: object = dtypes.int32,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Where each value would be inserted into its sorted row.

    Args:
      sorted_sequence: rows in ascending order, [..., n].
      values: [..., m], the same leading axes.
      side: "left" or "right" of equal elements.

    Raises:
      ValueError: `side` is neither.
    """
    if side not in ("left", "right"):
        raise ShapeError(
            f"searchsorted: side must be 'left' or 'right', got {side!r}", loc=loc.caller()
        )
    with name_scope(name, "searchsorted", [sorted_sequence, values]):
        rows, vals = convert(sorted_sequence, name="sorted_sequence"), None
        vals = convert(values, rows.dtype.base, "values")
        matrix, wanted = _matrix(rows), _matrix(vals)
        op = "LowerBound" if side == "left" else "UpperBound"
        found = lookup(op)(matrix, wanted, out_type=dtypes.as_dtype(out_type))
        return found if wanted is vals else lookup("ReshapeLike")(found, vals)  # type: ignore[no-any-return]


def _matrix(x: Tensor) -> Tensor:
    shape = x.type.shape
    if shape is not None and len(shape) == 2:
        return x
    if shape == ():
        raise ShapeError("searchsorted: the operands must not be scalars", loc=loc.caller())
    last = shape[-1] if shape is not None else None
    if shape is not None and len(shape) == 1:
        return lookup("ExpandDims")(x, 0)  # type: ignore[no-any-return]
    if isinstance(last, int):
        # -1 cannot be inferred beside 0; no elements, no rows
        return lookup("Reshape")(x, [-1, last])  # type: ignore[no-any-return]
    sizes = lookup("Shape")(x)
    rank = convert([0 if shape is None else len(shape) - 1], dtypes.int32)
    if shape is None:
        raise ShapeError("searchsorted: the ranks must be known", loc=loc.caller())
    tail = lookup("GatherV2")(sizes, rank, 0)
    return lookup("Reshape")(x, lookup("ConcatV2")([convert([-1], dtypes.int32), tail], 0))  # type: ignore[no-any-return]


# ---------------------------------------------------------------- counting
def bincount(
    arr: Any, weights: Any = None, minlength: Any = None, maxlength: Any = None,
    dtype: object = dtypes.int32, name: str | None = None,
) -> Tensor:  # fmt: skip
    """How often each of 0, 1, ..., max(arr) occurs, or the sum of its weights.

    Args:
      arr: int32 values, not negative.
      weights: of the shape of `arr`; the result has their dtype.
      minlength, maxlength: bounds on the length of the result.
      dtype: of the result without weights.
    """
    with name_scope(name, "bincount", [arr]):
        arr = convert(arr, dtypes.int32, "arr")
        flat = lookup("Reshape")(arr, [-1])
        # One more than the largest value; 0 of nothing, whose maximum is the lowest integer.
        size = lookup("Maximum")(lookup("Max")(flat, [0]), np.int32(-1)) + 1
        if minlength is not None:
            size = lookup("Maximum")(convert(minlength, dtypes.int32, "minlength"), size)
        if maxlength is not None:
            size = lookup("Minimum")(convert(maxlength, dtypes.int32, "maxlength"), size)
        if weights is None:
            weights = convert(np.zeros(0, dtypes.as_dtype(dtype).np))
        return lookup("Bincount")(arr, weights, size)  # type: ignore[no-any-return]


def confusion_matrix(
    labels: Any, predictions: Any, num_classes: Any = None, dtype: object = dtypes.int32,
    name: str | None = None, weights: Any = None,
) -> Tensor:  # fmt: skip
    """How often each label (row) is predicted as each class (column).

    Args:
      labels, predictions: vectors of class numbers.
      num_classes: one more than the largest by default.
      weights: of the shape of `predictions`.

    Raises:
      ValueError: shapes do not fit.  A class outside [0, num_classes) fails the run.
    """
    with name_scope(name, "confusion_matrix", [predictions, labels, num_classes, weights]):
        labels, predictions = _classes(labels, "labels"), _classes(predictions, "predictions")
        if num_classes is None:
            most = lookup("Maximum")(lookup("Max")(labels, [0]), lookup("Max")(predictions, [0]))
            num_classes = most + 1
        else:
            num_classes = convert(num_classes, name="num_classes")
            if num_classes.dtype.base is not dtypes.int64:
                num_classes = lookup("Cast")(num_classes, DstT=dtypes.int64)
        shape = lookup("Pack")([num_classes, num_classes], axis=0)
        kind = dtypes.as_dtype(dtype)
        points = lookup("Pack")([labels, predictions], axis=1)
        if weights is None:
            values = lookup("Cast")(lookup("OnesLike")(predictions), DstT=kind)
        else:
            values = convert(weights, name="weights")
            values = values if values.dtype.base is kind.base else lookup("Cast")(values, DstT=kind)
        return lookup("ScatterNd")(points, values, shape)  # type: ignore[no-any-return]


def _classes(x: Any, name: str) -> Tensor:
    x = convert(x, name=name)
    if x.type.shape is not None and len(x.type.shape) > 1 and x.type.shape[-1] == 1:
        x = lookup("Squeeze")(x, squeeze_dims=(-1,))
    return x if x.dtype.base is dtypes.int64 else lookup("Cast")(x, DstT=dtypes.int64)  # type: ignore[no-any-return]


def histogram_fixed_width(
    values: Any,
    value_range: Any,
    nbins: Any = 100,
    dtype: object = dtypes.int32,
    name: str | None = None,
) -> Tensor:
    """Counts of `values` in `nbins` bins of equal width over `value_range`.

    Values outside the range are counted in the first and the last bin.
    """
    with name_scope(name, "histogram_fixed_width", [values, value_range, nbins]) as scope:
        values = convert(values, name="values")
        return lookup("HistogramFixedWidth")(  # type: ignore[no-any-return]
            values, convert(value_range, values.dtype.base, "value_range"), nbins,
            dtype=dtypes.as_dtype(dtype), name=scope,
        )  # fmt: skip


def histogram_fixed_width_bins(
    values: Any,
    value_range: Any,
    nbins: Any = 100,
    dtype: object = dtypes.int32,
    name: str | None = None,
) -> Tensor:
    """The number of the bin that each of `values` falls into."""
    with name_scope(name, "histogram_fixed_width_bins", [values, value_range, nbins]):
        values = convert(values, name="values")
        kind = values.dtype.base
        edges = lookup("Cast")(convert(value_range, kind, "value_range"), DstT=dtypes.float64)
        low, high = lookup("GatherV2")(edges, 0, 0), lookup("GatherV2")(edges, 1, 0)
        x = lookup("Cast")(values, DstT=dtypes.float64)
        count = lookup("Cast")(convert(nbins, dtypes.int32, "nbins"), DstT=dtypes.float64)
        scaled = lookup("Floor")(lookup("RealDiv")(x - low, high - low) * count)
        inside = lookup("Minimum")(lookup("Maximum")(scaled, np.float64(0)), count - 1.0)
        return lookup("Cast")(inside, DstT=dtypes.as_dtype(dtype))  # type: ignore[no-any-return]


def bucketize(input: Any, boundaries: Any, name: str | None = None) -> Tensor:  # noqa: A002
    """The int32 number of ascending `boundaries` that each element reaches."""
    edges = tuple(float(b) for b in boundaries)
    if list(edges) != list(np.sort(edges)):
        raise ShapeError(f"bucketize: boundaries must ascend, got {list(edges)}", loc=loc.caller())
    return lookup("Bucketize")(input, boundaries=edges, name=name)  # type: ignore[no-any-return]


__all__ = [
    "TopKV2", "argsort", "bincount", "bucketize", "confusion_matrix", "histogram_fixed_width",
    "histogram_fixed_width_bins", "in_top_k", "nth_element", "searchsorted", "sort", "top_k",
]  # fmt: skip
