"""Sums, means, extremes and other reductions over axes; running sums and products.

All take `axis` (one axis, a list, or None for all), `keepdims`, and the older spellings
`reduction_indices` and `keep_dims`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from staticgraph.api.framework import name_scope
from staticgraph.errors import DtypeError, GraphError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import constant, convert, is_tensor_like
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Tensor


def either(new: str, value: Any, old: str, deprecated: Any, default: Any = None) -> Any:
    """The value of an argument with two spellings; ValueError where both are given."""
    if deprecated is None:
        return default if value is None else value
    if value is not None:
        raise GraphError(
            f"{new} and {old} are two names of one argument; give one", loc=loc.caller()
        )
    return deprecated


def shape_of(x: Tensor) -> Tensor:
    """The shape as a tensor, a constant where it is known."""
    sizes = x.shape
    if sizes.is_fully_defined():
        return constant(np.asarray(sizes.as_list(), np.int32), name="Shape")
    return lookup("Shape")(x)  # type: ignore[no-any-return]


def all_axes(x: Tensor) -> Tensor:
    """The list of all axes of `x`."""
    if x.type.shape is not None:
        return constant(np.arange(len(x.type.shape), dtype=np.int32))
    return lookup("Range")(0, lookup("Rank")(x), 1, name="range")  # type: ignore[no-any-return]


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_holds_tensors, value))
    return is_tensor_like(value)


def _reduce(
    op: str, input_tensor: Any, axis: Any, keepdims: Any, name: str | None,
    reduction_indices: Any, keep_dims: Any,
) -> Tensor:  # fmt: skip
    axis = either("axis", axis, "reduction_indices", reduction_indices)
    keep = either("keepdims", keepdims, "keep_dims", keep_dims, False)
    if axis is None:
        if isinstance(input_tensor, (list, tuple, np.ndarray, float)) and not _holds_tensors(
            input_tensor
        ):
            axis = constant(np.arange(np.ndim(input_tensor), dtype=np.int32))
        else:
            input_tensor = convert(input_tensor, name="input")
            axis = all_axes(input_tensor)
    elif isinstance(axis, (tuple, np.ndarray)):
        axis = np.asarray(axis, np.int32).tolist()
    return lookup(op)(input_tensor, axis, keep_dims=bool(keep), name=name)  # type: ignore[no-any-return]


def reduce_sum(
    input_tensor: Any, axis: Any = None, keepdims: Any = None, name: str | None = None,
    reduction_indices: Any = None, keep_dims: Any = None,
) -> Tensor:  # fmt: skip
    """Sum over axes.

    Args:
      input_tensor: numbers of any type.
      axis: an axis, a list of axes, or None for all; negative ones count from the end.
      keepdims: keep the reduced axes, with size 1.

    Raises:
      ValueError: an axis is outside the tensor or given twice.

    >>> import staticgraph as tf
    >>> tf.reduce_sum(tf.ones([2, 3]), axis=1).shape
    TensorShape([Dimension(2)])
    """
    return _reduce("Sum", input_tensor, axis, keepdims, name, reduction_indices, keep_dims)


def reduce_mean(
    input_tensor: Any, axis: Any = None, keepdims: Any = None, name: str | None = None,
    reduction_indices: Any = None, keep_dims: Any = None,
) -> Tensor:  # fmt: skip
    """The mean over axes; of integers, rounded towards zero.  Arguments as of `reduce_sum`."""
    return _reduce("Mean", input_tensor, axis, keepdims, name, reduction_indices, keep_dims)


def reduce_prod(
    input_tensor: Any, axis: Any = None, keepdims: Any = None, name: str | None = None,
    reduction_indices: Any = None, keep_dims: Any = None,
) -> Tensor:  # fmt: skip
    """The product over axes.  Arguments as of `reduce_sum`."""
    return _reduce("Prod", input_tensor, axis, keepdims, name, reduction_indices, keep_dims)


def reduce_max(
    input_tensor: Any, axis: Any = None, keepdims: Any = None, name: str | None = None,
    reduction_indices: Any = None, keep_dims: Any = None,
) -> Tensor:  # fmt: skip
    """The largest element over axes.  Arguments as of `reduce_sum`.

    The gradient is shared evenly by the elements that are equal to the result.
    """
    return _reduce("Max", input_tensor, axis, keepdims, name, reduction_indices, keep_dims)


def reduce_min(
    input_tensor: Any, axis: Any = None, keepdims: Any = None, name: str | None = None,
    reduction_indices: Any = None, keep_dims: Any = None,
) -> Tensor:  # fmt: skip
    """The smallest element over axes.  Arguments as of `reduce_sum`."""
    return _reduce("Min", input_tensor, axis, keepdims, name, reduction_indices, keep_dims)


def reduce_all(
    input_tensor: Any, axis: Any = None, keepdims: Any = None, name: str | None = None,
    reduction_indices: Any = None, keep_dims: Any = None,
) -> Tensor:  # fmt: skip
    """Whether all truth values over axes hold.  Arguments as of `reduce_sum`."""
    return _reduce("All", input_tensor, axis, keepdims, name, reduction_indices, keep_dims)


def reduce_any(
    input_tensor: Any, axis: Any = None, keepdims: Any = None, name: str | None = None,
    reduction_indices: Any = None, keep_dims: Any = None,
) -> Tensor:  # fmt: skip
    """Whether any truth value over axes holds.  Arguments as of `reduce_sum`."""
    return _reduce("Any", input_tensor, axis, keepdims, name, reduction_indices, keep_dims)


def reduce_logsumexp(
    input_tensor: Any, axis: Any = None, keepdims: Any = None, name: str | None = None,
    reduction_indices: Any = None, keep_dims: Any = None,
) -> Tensor:  # fmt: skip
    """``log(sum(exp(x)))`` over axes without overflow.  Arguments as of `reduce_sum`."""
    axis = either("axis", axis, "reduction_indices", reduction_indices)
    keep = either("keepdims", keepdims, "keep_dims", keep_dims, False)
    with name_scope(name, "ReduceLogSumExp", [input_tensor]):
        x = convert(input_tensor, name="input_tensor")
        raw = reduce_max(x, axis, True)
        finite = lookup("Select")(lookup("IsFinite")(raw), raw, lookup("ZerosLike")(raw))
        top = lookup("StopGradient")(finite)
        out = lookup("Log")(reduce_sum(lookup("Exp")(x - top), axis, keep))
        if not keep:
            top = lookup("Reshape")(top, shape_of(out))
        return lookup("Add")(out, top)  # type: ignore[no-any-return]


def reduce_euclidean_norm(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None
) -> Tensor:
    """The square root of the sum of squares over axes.  Arguments as of `reduce_sum`."""
    return _reduce("EuclideanNorm", input_tensor, axis, keepdims, name, None, None)


def reduce_variance(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None
) -> Tensor:
    """The mean squared distance from the mean, over axes.  Arguments as of `reduce_sum`."""
    with name_scope(name, "reduce_variance", [input_tensor]):
        x = convert(input_tensor, name="input_tensor")
        if not x.dtype.is_floating:
            raise DtypeError(f"reduce_variance: takes floats, got {x.dtype.name}", loc=loc.caller())
        return reduce_mean(lookup("Square")(x - reduce_mean(x, axis, True)), axis, keepdims)


def reduce_std(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None
) -> Tensor:
    """The standard deviation over axes.  Arguments as of `reduce_sum`."""
    with name_scope(name, "reduce_std", [input_tensor]):
        variance = reduce_variance(input_tensor, axis, keepdims)
        return lookup("Sqrt")(variance)  # type: ignore[no-any-return]


def count_nonzero(
    input_tensor: Any = None, axis: Any = None, keepdims: Any = None, dtype: Any = dtypes.int64,
    name: str | None = None, reduction_indices: Any = None, keep_dims: Any = None,
    input: Any = None,  # noqa: A002
) -> Tensor:  # fmt: skip
    """How many elements over axes are not zero, as `dtype`.  Other arguments as of `reduce_sum`."""
    value = either("input", input, "input_tensor", input_tensor)
    axis = either("axis", axis, "reduction_indices", reduction_indices)
    keep = either("keepdims", keepdims, "keep_dims", keep_dims, False)
    with name_scope(name, "count_nonzero", [value]):
        x = convert(value, name="input")
        zero = constant(np.zeros((), x.dtype.base.np), name="zeros")
        hit = lookup("Cast")(lookup("NotEqual")(x, zero), DstT=dtypes.int64, name="ToInt64")
        total = reduce_sum(hit, axis, keep)
        return lookup("Cast")(total, DstT=dtypes.as_dtype(dtype))  # type: ignore[no-any-return]


def _arg(op: str, x: Any, axis: Any, dimension: Any, output_type: Any, name: str | None) -> Tensor:
    at = either("axis", axis, "dimension", dimension, 0)
    return lookup(op)(x, at, output_type=dtypes.as_dtype(output_type), name=name)  # type: ignore[no-any-return]


def argmax(
    input: Any, axis: Any = None, name: str | None = None, dimension: Any = None,  # noqa: A002
    output_type: Any = dtypes.int64,
) -> Tensor:  # fmt: skip
    """The first position of the largest element along one axis (0 by default).

    >>> import staticgraph as tf
    >>> tf.argmax(tf.ones([2, 3]), 1)
    <tf.Tensor 'ArgMax:0' shape=(2,) dtype=int64>
    """
    return _arg("ArgMax", input, axis, dimension, output_type, name)


def argmin(
    input: Any, axis: Any = None, name: str | None = None, dimension: Any = None,  # noqa: A002
    output_type: Any = dtypes.int64,
) -> Tensor:  # fmt: skip
    """The first position of the smallest element along one axis (0 by default)."""
    return _arg("ArgMin", input, axis, dimension, output_type, name)


def arg_max(
    input: Any,  # noqa: A002
    dimension: Any,
    output_type: Any = dtypes.int64,
    name: str | None = None,
) -> Tensor:
    """The older spelling of `argmax`."""
    return _arg("ArgMax", input, None, dimension, output_type, name)


def arg_min(
    input: Any,  # noqa: A002
    dimension: Any,
    output_type: Any = dtypes.int64,
    name: str | None = None,
) -> Tensor:
    """The older spelling of `argmin`."""
    return _arg("ArgMin", input, None, dimension, output_type, name)


def _cumulative(
    op: str, x: Any, axis: Any, exclusive: bool, reverse: bool, name: str | None
) -> Tensor:
    with name_scope(name, op, [x]) as scope:
        x = convert(x, name="x")
        return lookup(op)(x, axis, exclusive=bool(exclusive), reverse=bool(reverse), name=scope)  # type: ignore[no-any-return]


def cumsum(
    x: Any, axis: Any = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None
) -> Tensor:
    """Running sums along `axis`.

    Args:
      exclusive: leave out the element itself, so that the first sum is 0.
      reverse: sum from the end.
    """
    return _cumulative("Cumsum", x, axis, exclusive, reverse, name)


def cumprod(
    x: Any, axis: Any = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None
) -> Tensor:
    """Running products along `axis`.  Arguments as of `cumsum`."""
    return _cumulative("Cumprod", x, axis, exclusive, reverse, name)


def cumulative_logsumexp(
    x: Any, axis: Any = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None
) -> Tensor:
    """Running ``log(sum(exp(x)))`` along `axis`.  Arguments as of `cumsum`."""
    return _cumulative("CumulativeLogsumexp", x, axis, exclusive, reverse, name)


def zero_fraction(value: Any, name: str | None = None) -> Tensor:
    """The share of elements that are zero, as a float32."""
    with name_scope(name, "zero_fraction", [value]):
        x = convert(value, name="value")
        zero = constant(np.zeros((), x.dtype.base.np), name="zeros")
        hit = lookup("Cast")(lookup("Equal")(x, zero), DstT=dtypes.float32)
        return reduce_mean(hit, name="fraction")


def static_size(x: Tensor) -> int | None:
    """The number of elements, where it is known."""
    sizes = x.shape
    if not sizes.is_fully_defined():
        return None
    return math.prod(int(d) for d in sizes.as_list() if d is not None)


__all__ = [
    "arg_max", "arg_min", "argmax", "argmin", "count_nonzero", "cumprod", "cumsum",
    "cumulative_logsumexp", "reduce_all", "reduce_any", "reduce_euclidean_norm",
    "reduce_logsumexp", "reduce_max", "reduce_mean", "reduce_min", "reduce_prod", "reduce_std",
    "reduce_sum", "reduce_variance", "zero_fraction",
]  # fmt: skip
