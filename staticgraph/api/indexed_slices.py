"""`IndexedSlices`: some slices of a tensor, and which they are."""

from __future__ import annotations

from typing import Any

from staticgraph.api.framework import name_scope
from staticgraph.errors import ShapeError
from staticgraph.ir import loc
from staticgraph.ir.build import convert
from staticgraph.ir.dtypes import DType
from staticgraph.ir.graph import Graph
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Operation, Tensor


class IndexedSlices:
    """A tensor of which only some slices along the first axis are given; the others are zeros.

    The gradients of this package are dense.  This is for programs that make such a value, or ask
    whether they have one; where a tensor is needed it becomes one, and slices with equal indices
    are added.  Optimizers, but for Adam, take it as a gradient that is about the named rows alone.

    Args:
      values: the slices.
      indices: their places, integers.
      dense_shape: the shape of the whole.

    >>> import staticgraph as tf
    >>> g = tf.IndexedSlices(tf.ones([3, 2]), tf.constant([0, 2, 0]), tf.constant([3, 2]))
    >>> with tf.Session() as sess:
    ...     sess.run(tf.convert_to_tensor(g))
    array([[2., 2.],
           [0., 0.],
           [1., 1.]], dtype=float32)
    """

    def __init__(self, values: Any, indices: Any, dense_shape: Any = None) -> None:
        self._values, self._indices = convert(values), convert(indices)
        self._dense_shape = None if dense_shape is None else convert(dense_shape)

    @property
    def values(self) -> Tensor:
        """The slices."""
        return self._values

    @property
    def indices(self) -> Tensor:
        """Their places."""
        return self._indices

    @property
    def dense_shape(self) -> Tensor | None:
        """The shape of the whole, if it was given."""
        return self._dense_shape

    @property
    def name(self) -> str:
        """The name of the slices."""
        return self._values.name

    @property
    def op(self) -> Operation:
        """The operation that made the slices."""
        return self._values.op

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self._values.dtype

    @property
    def graph(self) -> Graph:
        """The graph of the slices."""
        return self._values.graph

    def as_graph_tensor(self) -> Tensor:
        """The whole as a tensor.

        Raises:
          ValueError: its shape was not given.
        """
        if self._dense_shape is None:
            raise ShapeError(
                f"IndexedSlices {self.name!r}: the shape of the whole is not known",
                loc=loc.caller(), hint="give dense_shape",
            )  # fmt: skip
        with name_scope(None, "IndexedSlices"):
            places = lookup("ExpandDims")(self._indices, -1)
            out: Tensor = lookup("ScatterNd")(places, self._values, self._dense_shape)
            return out

    def __repr__(self) -> str:
        return f"<tf.IndexedSlices {self.name!r} dtype={self.dtype.name}>"


def convert_to_tensor_or_indexed_slices(
    value: Any, dtype: Any = None, name: str | None = None
) -> Any:
    """`value` as a tensor, or as it is if it is an `IndexedSlices`."""
    if isinstance(value, IndexedSlices):
        return value
    return convert(value, dtype, name or "Const")


__all__ = ["IndexedSlices", "convert_to_tensor_or_indexed_slices"]
