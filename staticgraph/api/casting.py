"""Conversion of tensors between element types."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.api.framework import name_scope
from staticgraph.ir import dtypes
from staticgraph.ir.build import convert, is_tensor_like
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import lookup

__all__ = [
    "bitcast",
    "cast",
    "saturate_cast",
    "to_bfloat16",
    "to_complex128",
    "to_complex64",
    "to_double",
    "to_float",
    "to_int32",
    "to_int64",
]


def cast(x: Any, dtype: Any, name: str | None = None) -> Any:
    """Convert a tensor to another element type.

    Floats lose their fraction when they become integers; out of range, the integer is
    unspecified (see `saturate_cast`).  Anything but 0 becomes true.

    Args:
      x: a tensor of any type but string, or a sparse tensor, whose entries are converted.
      dtype: the element type to have; a tensor that has it is returned as it is.

    Raises:
      DtypeError: there is no conversion.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.cast([1.8, -2.2], tf.int32))
    array([ 1, -2], dtype=int32)
    """
    to = dtypes.as_dtype(dtype).base
    if hasattr(x, "components"):
        return x.with_values(cast(x.values, to, name))
    if is_tensor_like(x) and x.dtype.base is to:
        return convert(x)
    with name_scope(name, "Cast", [x]) as scope:
        x = convert(x, name="x")
        return x if x.dtype.base is to else lookup("Cast")(x, DstT=to, name=scope)


def saturate_cast(value: Any, dtype: Any, name: str | None = None) -> Any:
    """Convert to another element type, values out of its range to the nearest in it.

    Args:
      value: a numeric tensor.
      dtype: the element type to have.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.saturate_cast([-5, 300], tf.uint8))
    array([  0, 255], dtype=uint8)
    """
    to = dtypes.as_dtype(dtype).base
    with name_scope(name, "saturate_cast", [value]) as scope:
        value = convert(value, name="value")
        held = value.dtype.base
        if held.min < to.min:
            low = convert(_within(to.min, held, to), held, name="min")
            value = lookup("Maximum")(value, low)
        if held.max > to.max:
            high = convert(_within(to.max, held, to), held, name="max")
            value = lookup("Minimum")(value, high)
        return cast(value, to, name=scope)


def _within(limit: float, held: DType, to: DType) -> Any:
    """`limit` in `held`, rounded towards 0 where it cannot be held: 2**31 - 1 in float32."""
    if not held.is_floating or not to.is_integer:
        return limit
    bits = np.finfo(held.np).nmant + 1 if held is not dtypes.bfloat16 else 8
    excess = max(0, int(limit).bit_length() - bits)
    return float(int(limit) // (1 << excess) * (1 << excess)) if limit > 0 else float(limit)


def to_float(x: Any, name: str = "ToFloat") -> Any:
    """Convert to float32.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.to_float([1, 2]))
    array([1., 2.], dtype=float32)
    """
    return cast(x, dtypes.float32, name=name)


def to_double(x: Any, name: str = "ToDouble") -> Any:
    """Convert to float64."""
    return cast(x, dtypes.float64, name=name)


def to_int32(x: Any, name: str = "ToInt32") -> Any:
    """Convert to int32."""
    return cast(x, dtypes.int32, name=name)


def to_int64(x: Any, name: str = "ToInt64") -> Any:
    """Convert to int64."""
    return cast(x, dtypes.int64, name=name)


def to_bfloat16(x: Any, name: str = "ToBFloat16") -> Any:
    """Convert to bfloat16."""
    return cast(x, dtypes.bfloat16, name=name)


def to_complex64(x: Any, name: str = "ToComplex64") -> Any:
    """Convert to complex64."""
    return cast(x, dtypes.complex64, name=name)


def to_complex128(x: Any, name: str = "ToComplex128") -> Any:
    """Convert to complex128."""
    return cast(x, dtypes.complex128, name=name)


def bitcast(input: Any, type: Any, name: str | None = None) -> Any:  # noqa: A002
    """The bits of a tensor under another element type.

    Where the new type is smaller the shape gains a last axis; where it is larger the last axis,
    which must hold just enough elements to make one, vanishes.

    Args:
      input: a numeric tensor.
      type: the element type to view it as.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.bitcast(1.0, tf.int32))
    np.int32(1065353216)
    """
    return lookup("Bitcast")(input, type=dtypes.as_dtype(type).base, name=name)
