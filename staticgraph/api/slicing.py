"""Joining, cutting, padding and turning tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from staticgraph.api.framework import name_scope
from staticgraph.errors import ShapeError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.build import convert, is_tensor_like
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Tensor
from staticgraph.ir.tensor_shape import Dimension


# ---------------------------------------------------------------- joining
def concat(values: Any, axis: Any, name: str = "concat") -> Tensor:
    """Join tensors along an axis they have.

    Args:
      values: a list of tensors that differ in size along `axis` only.
      axis: which; negative counts from the end.  The order ``concat(axis, values)`` is taken too.

    Raises:
      ShapeError: ranks or other sizes differ.

    >>> import staticgraph as tf
    >>> print(tf.concat([tf.zeros([2, 3]), tf.zeros([1, 3])], 0).shape)
    (3, 3)
    """
    if isinstance(values, (int, np.integer)) and isinstance(axis, (list, tuple)):
        values, axis = axis, values
    if not isinstance(values, (list, tuple)):
        values = [values]
    if len(values) == 1:
        with name_scope(name, "concat", list(values)) as scope:
            convert(axis, name="concat_dim")
            return lookup("Identity")(values[0], name=scope)  # type: ignore[no-any-return]
    return lookup("ConcatV2")(list(values), axis, name=name)  # type: ignore[no-any-return]


def stack(values: Any, axis: int = 0, name: str = "stack") -> Tensor:
    """Join tensors of one shape along a new axis.

    Args:
      axis: where the new axis stands in the result.

    Raises:
      ShapeError: shapes differ.

    >>> import staticgraph as tf
    >>> print(tf.stack([tf.zeros([2]), tf.ones([2])], axis=1).shape)
    (2, 2)
    """
    if isinstance(values, (list, tuple)) and not values:
        raise ShapeError("stack: takes at least one tensor", loc=loc.caller())
    if axis == 0:
        return convert(list(values) if isinstance(values, tuple) else values, name=name)
    items = list(values) if isinstance(values, (list, tuple)) else unstack(values)
    return lookup("Pack")(items, axis=axis, name=name)  # type: ignore[no-any-return]


def parallel_stack(values: Any, name: str = "parallel_stack") -> Tensor:
    """`stack` along a new first axis."""
    return lookup("Pack")(list(values), axis=0, name=name)  # type: ignore[no-any-return]


def pack(values: Any, axis: int = 0, name: str = "pack") -> Tensor:
    """The old name of `stack`."""
    return stack(values, axis, name)


# ---------------------------------------------------------------- taking apart
def unstack(
    value: Any, num: int | None = None, axis: int = 0, name: str = "unstack"
) -> list[Tensor]:
    """The slices of `value` along an axis, which they lose.

    Args:
      num: how many; needed only where the size of the axis is unknown.

    Raises:
      ShapeError: `num` is not the size of the axis, or the size is unknown.

    >>> import staticgraph as tf
    >>> len(tf.unstack(tf.zeros([3, 2])))
    3
    """
    x = convert(value, name="value")
    if num is None:
        sizes = x.shape.as_list() if x.shape.ndims is not None else []
        if x.shape.ndims is not None and not -len(sizes) <= axis < len(sizes):
            raise ShapeError(
                f"unstack: axis {axis} is outside a tensor of rank {len(sizes)}", loc=loc.caller()
            )
        num = sizes[axis] if sizes else None
        if num is None:
            raise ShapeError(
                f"unstack: the size of axis {axis} is unknown while the graph is built",
                loc=loc.caller(), operands=(f"{x.name}: {x.describe()}",), hint="pass num=",
            )  # fmt: skip
    return lookup("Unpack")(x, num=num, axis=axis, name=name)  # type: ignore[no-any-return]


def unpack(value: Any, num: int | None = None, axis: int = 0, name: str = "unpack") -> list[Tensor]:
    """The old name of `unstack`."""
    return unstack(value, num, axis, name)


def split(
    value: Any, num_or_size_splits: Any, axis: Any = 0, num: int | None = None, name: str = "split"
) -> list[Tensor]:
    """Cut a tensor along an axis.

    Args:
      num_or_size_splits: the number of equal parts, or the size of each part (one may be -1).
      axis: which.  The order ``split(axis, number, value)`` is taken too.
      num: the number of parts, where sizes are a tensor of unknown length.

    Raises:
      ShapeError: the parts do not make up the axis.

    >>> import staticgraph as tf
    >>> [str(t.shape) for t in tf.split(tf.zeros([5, 2]), [4, 1])]
    ['(4, 2)', '(1, 2)']
    """
    if isinstance(value, (int, np.integer)) and not isinstance(axis, (int, np.integer)):
        value, axis = axis, value
    size_splits = convert(num_or_size_splits)
    if isinstance(num_or_size_splits, (int, np.integer, Dimension)):
        n = int(num_or_size_splits)
        if n < 1:
            raise ShapeError(f"split: takes at least one part, got {n}", loc=loc.caller())
        return lookup("Split")(axis, value, num_split=n, name=name)  # type: ignore[no-any-return]
    if size_splits.type.shape == ():
        raise UsageError(
            "split: the number of parts must be a Python int, not a tensor", loc=loc.caller()
        )
    if num is None:
        sizes = size_splits.shape.as_list() if size_splits.shape.ndims is not None else [None]
        num = sizes[0]
        if num is None:
            raise ShapeError(
                "split: the number of parts is unknown", loc=loc.caller(), hint="pass num="
            )
    return lookup("SplitV")(value, size_splits, axis, num_split=num, name=name)  # type: ignore[no-any-return]


def slice(input_: Any, begin: Any, size: Any, name: str | None = None) -> Tensor:
    """The box of `size` elements that starts at `begin`.

    Args:
      size: elements per axis; -1 takes all that are left.

    Raises:
      ShapeError: the box is not inside the tensor; at the run, where bounds are known only then.

    >>> import staticgraph as tf
    >>> print(tf.slice(tf.zeros([4, 5]), [1, 0], [2, -1]).shape)
    (2, 5)
    """
    return lookup("Slice")(input_, begin, size, name=name)  # type: ignore[no-any-return]


def strided_slice(
    input_: Any, begin: Any, end: Any, strides: Any = None, begin_mask: int = 0, end_mask: int = 0,
    ellipsis_mask: int = 0, new_axis_mask: int = 0, shrink_axis_mask: int = 0, var: Any = None,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """What ``input_[begin:end:strides]`` takes; bit k of a mask is about entry k.

    Args:
      begin_mask, end_mask: ignore that bound.
      ellipsis_mask: the entry stands for all axes not mentioned.
      new_axis_mask: the entry adds an axis of size 1.
      shrink_axis_mask: take the one element at `begin`; the axis goes.
    """
    if var is not None:
        raise UsageError("strided_slice: assignment through var is not supported", loc=loc.caller())
    if strides is None:
        strides = lookup("OnesLike")(begin) if is_tensor_like(begin) else [1] * len(begin)
    return lookup("StridedSlice")(  # type: ignore[no-any-return]
        input_, begin, end, strides, begin_mask=begin_mask, end_mask=end_mask,
        ellipsis_mask=ellipsis_mask, new_axis_mask=new_axis_mask,
        shrink_axis_mask=shrink_axis_mask, name=name,
    )  # fmt: skip


# ---------------------------------------------------------------- around and along
def pad(
    tensor: Any,
    paddings: Any,
    mode: str = "CONSTANT",
    name: str | None = None,
    constant_values: Any = 0,
) -> Tensor:
    """Add elements before and after along each axis.

    Args:
      paddings: a pair [before, after] per axis.
      mode: "CONSTANT", or the tensor's mirror image: "REFLECT" leaves out its edge,
        "SYMMETRIC" does not.
      constant_values: the value to add.

    Raises:
      ShapeError: `paddings` does not fit the rank, is negative, or larger than the mirror image.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.pad([1, 2, 3], [[2, 0]], "REFLECT"))
    array([3, 2, 1, 2, 3], dtype=int32)
    """
    mode = mode.upper()
    if mode == "CONSTANT":
        if (
            not is_tensor_like(constant_values)
            and np.ndim(constant_values) == 0
            and constant_values == 0
        ):
            return lookup("Pad")(tensor, paddings, name=name)  # type: ignore[no-any-return]
        return lookup("PadV2")(tensor, paddings, constant_values, name=name)  # type: ignore[no-any-return]
    if mode not in ("REFLECT", "SYMMETRIC"):
        raise ShapeError(
            f"pad: mode must be CONSTANT, REFLECT or SYMMETRIC, got {mode!r}", loc=loc.caller()
        )
    return lookup("MirrorPad")(tensor, paddings, mode=mode, name=name)  # type: ignore[no-any-return]


def tile(input: Any, multiples: Any, name: str | None = None) -> Tensor:
    """Repeat the whole of `input`, ``multiples[k]`` times along axis k.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.tile([1, 2], [2]))
    array([1, 2, 1, 2], dtype=int32)
    """
    return lookup("Tile")(input, multiples, name=name)  # type: ignore[no-any-return]


def reverse(tensor: Any, axis: Any, name: str | None = None) -> Tensor:
    """Turn axes around.

    Args:
      axis: a list of axes.

    Raises:
      ShapeError: an axis is outside the tensor, or named twice.
    """
    axes: Any = axis if is_tensor_like(axis) or isinstance(axis, (Sequence, np.ndarray)) else [axis]
    return lookup("ReverseV2")(tensor, axes, name=name)  # type: ignore[no-any-return]


reverse_v2 = reverse


def roll(input: Any, shift: Any, axis: Any, name: str | None = None) -> Tensor:
    """Move elements along axes; what leaves at one end enters at the other.

    Args:
      shift: how far: an integer, or one per axis.
      axis: which axis, or axes.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.roll([1, 2, 3], 1, 0))
    array([3, 1, 2], dtype=int32)
    """
    return lookup("Roll")(input, shift, axis, name=name)  # type: ignore[no-any-return]


__all__ = [
    "concat", "pack", "pad", "parallel_stack", "reverse", "reverse_v2", "roll", "slice", "split",
    "stack", "strided_slice", "tile", "unpack", "unstack",
]  # fmt: skip
