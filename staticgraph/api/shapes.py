"""Shapes, and functions that give a tensor another one."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.api.array import ones, zeros
from staticgraph.api.framework import name_scope
from staticgraph.errors import ShapeError, UsageError
from staticgraph.ir import build, dtypes, loc
from staticgraph.ir.build import convert
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Tensor
from staticgraph.ir.tensor_shape import TensorShape

newaxis = None


# ---------------------------------------------------------------- what the shape is
def shape(input: Any, name: str | None = None, out_type: Any = dtypes.int32) -> Tensor:
    """The sizes of the axes of `input`, as a vector of integers.

    >>> import staticgraph as tf
    >>> x = tf.placeholder(tf.float32, [None, 3])
    >>> print(tf.reshape(x, [tf.shape(x)[0], 3, 1]).shape)
    (?, 3, 1)
    """
    kind = dtypes.as_dtype(out_type).base
    with name_scope(name, "Shape", [input]) as scope:
        x = convert(input, name="input")
        if x.shape.is_fully_defined():
            return build.constant(np.asarray(x.shape.as_list(), kind.np), kind, name=scope)
        return lookup("Shape")(x, out_type=kind, name=scope)  # type: ignore[no-any-return]


def shape_n(input: Any, out_type: Any = dtypes.int32, name: str | None = None) -> list[Tensor]:
    """The shape of each tensor of a list."""
    with name_scope(name, "ShapeN", list(input)):
        return [shape(x, out_type=out_type) for x in input]


def size(input: Any, name: str | None = None, out_type: Any = dtypes.int32) -> Tensor:
    """The number of elements of `input`."""
    kind = dtypes.as_dtype(out_type).base
    with name_scope(name, "Size", [input]) as scope:
        x = convert(input, name="input")
        if x.shape.is_fully_defined():
            return build.constant(x.shape.num_elements(), kind, name=scope)
        return lookup("Size")(x, out_type=kind, name=scope)  # type: ignore[no-any-return]


def rank(input: Any, name: str | None = None) -> Tensor:
    """The number of axes of `input`, an int32."""
    with name_scope(name, "Rank", [input]) as scope:
        x = convert(input, name="input")
        if x.shape.ndims is not None:
            return build.constant(x.shape.ndims, dtypes.int32, name=scope)
        return lookup("Rank")(x, name=scope)  # type: ignore[no-any-return]


# ---------------------------------------------------------------- another shape
def reshape(tensor: Any, shape: Any, name: str | None = None) -> Tensor:
    """The elements of `tensor`, in order, under another shape.

    Args:
      shape: sizes, of which one may be -1: as large as needed.

    Raises:
      ShapeError: the sizes do not hold as many elements as there are.

    >>> import staticgraph as tf
    >>> print(tf.reshape(tf.zeros([4, 3]), [2, -1]).shape)
    (2, 6)
    """
    return lookup("Reshape")(tensor, shape, name=name)  # type: ignore[no-any-return]


def flatten(inputs: Any, name: str | None = None) -> Tensor:
    """Join all axes but the first: [batch, a, b] becomes [batch, a * b]."""
    with name_scope(name, "Flatten", [inputs]):
        x = convert(inputs)
        if x.type.shape is None or not x.type.shape:
            raise ShapeError(
                f"flatten: takes a tensor of known rank with a batch axis, its shape is {x.shape}",
                loc=loc.caller(),
            )
        sizes = x.shape.as_list()
        inner = TensorShape(sizes[1:]).num_elements()
        if inner is not None:
            return reshape(x, [-1 if sizes[0] is None else sizes[0], inner])
        return reshape(x, [lookup("Shape")(x)[0], -1])


def expand_dims(input: Any, axis: Any = None, name: str | None = None, dim: Any = None) -> Tensor:
    """Add an axis of size 1.

    Args:
      axis: where it stands in the result; negative counts from the end.
      dim: the old name of `axis`.

    Raises:
      ShapeError: `axis` is outside the result.

    >>> import staticgraph as tf
    >>> print(tf.expand_dims(tf.zeros([2, 3]), -1).shape)
    (2, 3, 1)
    """
    axis = _either("axis", axis, "dim", dim)
    if axis is None:
        raise UsageError("expand_dims: axis is missing", loc=loc.caller())
    return lookup("ExpandDims")(input, axis, name=name)  # type: ignore[no-any-return]


def _either(new: str, value: Any, old: str, old_value: Any) -> Any:
    if value is not None and old_value is not None:
        raise UsageError(f"give {new} or {old}, not both", loc=loc.caller())
    return old_value if value is None else value


def squeeze(
    input: Any, axis: Any = None, name: str | None = None, squeeze_dims: Any = None
) -> Tensor:
    """Drop axes of size 1.

    Args:
      axis: which; by default all.
      squeeze_dims: the old name of `axis`.

    Raises:
      ShapeError: a named axis is larger than 1.
    """
    axes = _either("axis", axis, "squeeze_dims", squeeze_dims)
    axes = () if axes is None else tuple(int(a) for a in np.atleast_1d(axes))
    return lookup("Squeeze")(input, squeeze_dims=axes, name=name)  # type: ignore[no-any-return]


def transpose(a: Any, perm: Any = None, name: str = "transpose", conjugate: bool = False) -> Tensor:
    """Permute the axes of `a`.

    Args:
      perm: axis k of the result is axis ``perm[k]`` of `a`; by default they are turned around.
      conjugate: take complex conjugates too.

    Raises:
      ShapeError: `perm` is no permutation of the axes.

    >>> import staticgraph as tf
    >>> print(tf.transpose(tf.zeros([2, 3, 4]), [0, 2, 1]).shape)
    (2, 4, 3)
    """
    with name_scope(name, "transpose", [a]) as scope:
        x = convert(a, name="a")
        if conjugate and x.dtype.is_complex:
            x = lookup("Conj")(x)
        if perm is None:
            n = x.shape.ndims
            if n is None:
                perm = lookup("Range")(lookup("Rank")(x) - 1, -1, -1)
            else:
                perm = np.arange(n - 1, -1, -1, dtype=np.int32)
        return lookup("Transpose")(x, perm, name=scope)  # type: ignore[no-any-return]


# ---------------------------------------------------------------- broadcasting
def broadcast_to(input: Any, shape: Any, name: str | None = None) -> Tensor:
    """Repeat `input` to reach `shape`, by numpy's rules.

    Raises:
      ShapeError: an axis is neither 1 nor the size asked for.
    """
    return lookup("BroadcastTo")(input, shape, name=name)  # type: ignore[no-any-return]


def broadcast_static_shape(shape_x: Any, shape_y: Any) -> TensorShape:
    """The static shape that broadcasting two static shapes gives.

    Raises:
      ShapeError: they do not broadcast.

    >>> import staticgraph as tf
    >>> tf.broadcast_static_shape(tf.TensorShape([1, 3]), tf.TensorShape([5, 3]))
    TensorShape([Dimension(5), Dimension(3)])
    """
    x, y = TensorShape(shape_x), TensorShape(shape_y)
    if x.ndims is None or y.ndims is None:
        return TensorShape(None)
    n = max(x.ndims, y.ndims)
    out: list[int | None] = []
    xs = [1] * (n - x.ndims) + x.as_list()
    ys = [1] * (n - y.ndims) + y.as_list()
    for a, b in zip(xs, ys, strict=True):
        if a == 1 or b == 1:
            out.append(b if a == 1 else a)
        elif a is None or b is None:
            out.append(b if a is None else a)  # the unknown one is 1 or the same
        elif a == b:
            out.append(a)
        else:
            raise ShapeError(f"shapes {x} and {y} do not broadcast, {a} and {b}", loc=loc.caller())
    return TensorShape(out)


def broadcast_dynamic_shape(shape_x: Any, shape_y: Any) -> Tensor:
    """The shape, as a tensor, that broadcasting two shapes gives.

    Args:
      shape_x, shape_y: vectors of integers of one type.
    """
    return lookup("BroadcastArgs")(shape_x, shape_y)  # type: ignore[no-any-return]


# ---------------------------------------------------------------- blocks of pixels
def space_to_depth(
    input: Any, block_size: int, name: str | None = None, data_format: str = "NHWC"
) -> Tensor:
    """Turn blocks of ``block_size * block_size`` pixels into channels.

    Raises:
      ShapeError: height or width is no multiple of `block_size`.
    """
    return lookup("SpaceToDepth")(input, block_size=block_size, data_format=data_format, name=name)  # type: ignore[no-any-return]


def depth_to_space(
    input: Any, block_size: int, name: str | None = None, data_format: str = "NHWC"
) -> Tensor:
    """Turn channels into blocks of ``block_size * block_size`` pixels.

    Raises:
      ShapeError: the number of channels is no multiple of the square of `block_size`.
    """
    return lookup("DepthToSpace")(input, block_size=block_size, data_format=data_format, name=name)  # type: ignore[no-any-return]


def space_to_batch_nd(
    input: Any, block_shape: Any, paddings: Any, name: str | None = None
) -> Tensor:
    """Pad the axes after the first with zeros, then turn blocks of positions into batches.

    Args:
      block_shape: the size of a block along each axis.
      paddings: a pair [before, after] per axis.
    """
    return lookup("SpaceToBatchND")(input, block_shape, paddings, name=name)  # type: ignore[no-any-return]


def batch_to_space_nd(input: Any, block_shape: Any, crops: Any, name: str | None = None) -> Tensor:
    """Turn batches into blocks of positions, then crop; undoes `space_to_batch_nd`."""
    return lookup("BatchToSpaceND")(input, block_shape, crops, name=name)  # type: ignore[no-any-return]


def space_to_batch(
    input: Any,
    paddings: Any,
    block_size: Any = None,
    name: str | None = None,
    block_shape: Any = None,
) -> Tensor:
    """`space_to_batch_nd` with square blocks over two axes, or with `block_shape`."""
    block = _either("block_shape", block_shape, "block_size", block_size)
    square = [block, block] if block_shape is None else block
    return space_to_batch_nd(input, square, paddings, name)


def batch_to_space(
    input: Any, crops: Any, block_size: Any = None, name: str | None = None, block_shape: Any = None
) -> Tensor:
    """`batch_to_space_nd` with square blocks over two axes, or with `block_shape`."""
    block = _either("block_shape", block_shape, "block_size", block_size)
    square = [block, block] if block_shape is None else block
    return batch_to_space_nd(input, square, crops, name)


# ---------------------------------------------------------------- diagonals
def eye(
    num_rows: Any, num_columns: Any = None, batch_shape: Any = None, dtype: Any = dtypes.float32,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Identity matrices: ones on the diagonal, zeros elsewhere.

    Args:
      num_columns: by default as many as rows.
      batch_shape: sizes of leading axes, along which the matrix is repeated.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.eye(2))
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    with name_scope(name, "eye"):
        batch = [] if batch_shape is None else batch_shape
        if not isinstance(batch, (list, tuple)):
            batch = convert(
                TensorShape(batch).as_list() if isinstance(batch, TensorShape) else batch
            )
            batch = lookup("Unpack")(batch, num=batch.shape.as_list()[0])
        if num_columns is None or num_columns is num_rows:
            return lookup("MatrixDiag")(ones([*batch, num_rows], dtype))  # type: ignore[no-any-return]
        known = all(isinstance(n, (int, np.integer)) for n in (num_rows, num_columns))
        shorter = min(num_rows, num_columns) if known else lookup("Minimum")(num_rows, num_columns)
        matrix = zeros([*batch, num_rows, num_columns], dtype)
        return lookup("MatrixSetDiag")(matrix, ones([*batch, shorter], dtype))  # type: ignore[no-any-return]


def diag(diagonal: Any, name: str | None = None) -> Tensor:
    """The tensor of twice the rank of `diagonal` that has it on its diagonal, zeros elsewhere."""
    return lookup("Diag")(diagonal, name=name)  # type: ignore[no-any-return]


def diag_part(input: Any, name: str | None = None) -> Tensor:
    """The diagonal of a tensor of even rank whose two halves of the shape agree."""
    return lookup("DiagPart")(input, name=name)  # type: ignore[no-any-return]


def matrix_diag(diagonal: Any, name: str | None = None) -> Tensor:
    """Square matrices with the given diagonals (the last axis), zeros elsewhere."""
    return lookup("MatrixDiag")(diagonal, name=name)  # type: ignore[no-any-return]


def matrix_diag_part(input: Any, name: str | None = None) -> Tensor:
    """The diagonal of each matrix (the last two axes)."""
    return lookup("MatrixDiagPart")(input, name=name)  # type: ignore[no-any-return]


def matrix_set_diag(input: Any, diagonal: Any, name: str | None = None) -> Tensor:
    """Each matrix of `input` with another diagonal."""
    return lookup("MatrixSetDiag")(input, diagonal, name=name)  # type: ignore[no-any-return]


def matrix_band_part(input: Any, num_lower: Any, num_upper: Any, name: str | None = None) -> Tensor:
    """Keep a band around the diagonal of each matrix, zeros elsewhere.

    Args:
      num_lower, num_upper: how many diagonals to keep below and above; all where negative.
    """
    return lookup("MatrixBandPart")(input, num_lower, num_upper, name=name)  # type: ignore[no-any-return]


def invert_permutation(x: Any, name: str | None = None) -> Tensor:
    """The vector y with ``y[x[i]] = i``.

    Args:
      x: a permutation of 0, 1, ..., n - 1; int32 or int64.
    """
    return lookup("InvertPermutation")(x, name=name)  # type: ignore[no-any-return]


__all__ = [
    "batch_to_space", "batch_to_space_nd", "broadcast_dynamic_shape", "broadcast_static_shape",
    "broadcast_to", "depth_to_space", "diag", "diag_part", "expand_dims", "eye", "flatten",
    "invert_permutation", "matrix_band_part", "matrix_diag", "matrix_diag_part", "matrix_set_diag",
    "newaxis", "rank", "reshape", "shape", "shape_n", "size", "space_to_batch",
    "space_to_batch_nd", "space_to_depth", "squeeze", "transpose",
]  # fmt: skip
