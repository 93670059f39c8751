"""What is known of tensors and shapes when the graph is built."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.ir.build import is_tensor_like
from staticgraph.ir.tensor import Tensor
from staticgraph.ir.tensor_shape import Dimension, TensorShape


def get_static_value(tensor: Any, partial: bool = False) -> Any:
    """The value of a tensor, if it is known when the graph is built, else None.

    Args:
      tensor: a tensor; anything else is given back.
      partial: of a vector of which some elements are known, such as a shape, give an array of
        those, with None for the others.

    >>> import staticgraph as tf
    >>> x = tf.placeholder(tf.float32, [None, 3])
    >>> tf.get_static_value(tf.constant([1, 2])), tf.get_static_value(tf.shape(x))
    (array([1, 2], dtype=int32), None)
    >>> tf.get_static_value(tf.shape(x), partial=True)
    array([None, 3], dtype=object)
    """
    if not is_tensor_like(tensor):
        return tensor
    t: Tensor = tensor if isinstance(tensor, Tensor) else tensor.as_graph_tensor()
    if t.op.type == "Const":
        return np.array(t.op.get_attr("value").array)
    known = t.known
    if known is None:
        return None
    values = [v if isinstance(v, (int, np.integer)) else None for v in known.ravel()]
    if None not in values:
        return np.array(values, t.dtype.base.np).reshape(known.shape)
    return np.array(values, object).reshape(known.shape) if partial else None


def dimension_value(dimension: Any) -> Any:
    """The int of a `Dimension`, None of an open one; anything else is given back.

    >>> import staticgraph as tf
    >>> tf.dimension_value(tf.zeros([3]).shape[0])
    3
    """
    return dimension.value if isinstance(dimension, Dimension) else dimension


def dimension_at_index(shape: Any, index: int) -> Dimension:
    """The size of an axis as a `Dimension`, an open one where the rank is not known."""
    s = TensorShape(shape)
    return Dimension(None) if s.ndims is None else s.dims[index]  # type: ignore[index]


__all__ = ["dimension_at_index", "dimension_value", "get_static_value"]
