"""Elements by number: `repeat` and `unravel_index`."""

from __future__ import annotations

from typing import Any

from staticgraph.api.array import range as range_
from staticgraph.api.effects import Assert
from staticgraph.api.framework import control_dependencies, name_scope
from staticgraph.api.reduction import cumprod, cumsum, reduce_all, reduce_prod, reduce_sum
from staticgraph.api.sorting import searchsorted
from staticgraph.errors import DtypeError, ShapeError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import convert
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Tensor


def repeat(
    input: Any,
    repeats: Any,
    axis: int | None = None,
    name: str | None = None,  # noqa: A002
) -> Tensor:
    """Each slice of `input` along an axis several times, one behind the other.

    Args:
      repeats: how often: one integer, or one for each slice.
      axis: None for the elements in one row.

    Raises:
      ValueError: there are other numbers of slices and of repeats, known at build; if it turns
        out later, the run fails.

    >>> import staticgraph as tf
    >>> with tf.Session() as sess:
    ...     sess.run(tf.repeat([1, 2, 3], [2, 0, 1]))
    array([1, 1, 3], dtype=int32)
    """
    with name_scope(name, "Repeat", [input]):
        x = convert(input, name="input")
        n = convert(repeats, None, "repeats")
        if not n.dtype.base.is_integer:
            raise DtypeError(
                f"repeat: repeats are integers, got {n.dtype.base.name}", loc=loc.caller()
            )
        if axis is None:
            x, axis = lookup("Reshape")(x, [-1]), 0
        count = lookup("Shape")(x)[axis]
        n = lookup("Reshape")(lookup("Cast")(n, DstT=dtypes.int32), [-1])
        have, want = n.shape.as_list()[0], x.shape.as_list()[axis] if x.shape.ndims else None
        if None not in (have, want) and have not in (1, want):
            raise ShapeError(
                f"repeat: there are {want} slices and {have} repeats", loc=loc.caller(),
                operands=(f"input: {x.describe()}", f"repeats: {n.describe()}"),
            )  # fmt: skip
        told = ["repeat: how often is at least 0", n]
        with control_dependencies([Assert(reduce_all(n >= 0), told)]):
            each = n + lookup("Fill")([count], convert(0))
        places = searchsorted(cumsum(each), range_(reduce_sum(each)), side="right")
        return lookup("GatherV2")(x, places, axis)  # type: ignore[no-any-return]


def unravel_index(indices: Any, dims: Any, name: str | None = None) -> Tensor:
    """The indices along each axis of elements that are numbered row by row.

    Args:
      indices: numbers of elements, a scalar or a vector.
      dims: the shape.

    Returns:
      ``[axes]`` for a scalar, ``[axes, n]`` for n numbers.

    >>> import staticgraph as tf
    >>> with tf.Session() as sess:
    ...     sess.run(tf.unravel_index([5, 0], [2, 3]))
    array([[1, 0],
           [2, 0]], dtype=int32)
    """
    with name_scope(name, "UnravelIndex", [indices, dims]):
        i = convert(indices, None, "indices")
        sizes = convert(dims, i.dtype.base, "dims")
        strides = cumprod(sizes, exclusive=True, reverse=True)
        if i.shape.ndims == 1:
            strides, sizes = lookup("ExpandDims")(strides, 1), lookup("ExpandDims")(sizes, 1)
        elif i.shape.ndims != 0:
            raise ShapeError(
                f"unravel_index: indices are a scalar or a vector, got shape {i.shape}",
                loc=loc.caller(), operands=(f"indices: {i.describe()}",),
            )  # fmt: skip
        good = reduce_all(lookup("LogicalAnd")(i >= 0, i < reduce_prod(sizes)))
        told = ["unravel_index: an index is outside the shape", i, sizes]
        with control_dependencies([Assert(good, told)]):
            i = lookup("Identity")(i)
        return (i // strides) % sizes  # type: ignore[no-any-return]


__all__ = ["repeat", "unravel_index"]
