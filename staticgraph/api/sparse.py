"""Sparse tensors: where the entries are, what they are, and the sizes of the whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from staticgraph.api.array import placeholder
from staticgraph.api.framework import name_scope
from staticgraph.errors import DtypeError, FeedError, GraphError, ShapeError, UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import constant, convert
from staticgraph.ir.dtypes import DType
from staticgraph.ir.graph import Graph, Operation
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Tensor, sessions
from staticgraph.ir.tensor_shape import TensorShape


class SparseTensorValue(NamedTuple):
    """The value of a sparse tensor: what a run gives for one, and what is fed for one."""

    indices: Any
    values: Any
    dense_shape: Any


class SparseTensor:
    """A tensor of which only some entries are stored.

    A session runs and feeds it as a whole, with `SparseTensorValue` for its value.

    Args:
      indices: int64, ``[entries, rank]``; rows in ascending order.
      values: one value for each row.
      dense_shape: int64, ``[rank]``.

    Raises:
      ValueError: the three do not fit together.

    >>> import staticgraph as tf
    >>> t = tf.SparseTensor([[0, 1], [2, 0]], [5, 6], [3, 2])
    >>> with tf.Session() as sess:
    ...     sess.run(tf.sparse.to_dense(t))
    array([[0, 5],
           [0, 0],
           [6, 0]], dtype=int32)
    """

    def __init__(self, indices: Any, values: Any, dense_shape: Any) -> None:
        given = [t for t in (indices, values, dense_shape) if isinstance(t, Tensor)]
        with name_scope(None, "SparseTensor", given):
            places = np.asarray(indices) if not isinstance(indices, Tensor) else indices
            if isinstance(places, np.ndarray) and not places.size and places.ndim < 2:
                rank = len(dense_shape) if hasattr(dense_shape, "__len__") else 0
                places = np.zeros((0, rank), np.int64)  # an empty list has no columns of its own
            self._indices = convert(places, dtypes.int64, "indices")
            self._values = convert(values, name="values")
            self._dense_shape = convert(dense_shape, dtypes.int64, "dense_shape")
        self._check()

    def _check(self) -> None:
        parts = {"indices": (self._indices, 2), "values": (self._values, 1),
                 "dense_shape": (self._dense_shape, 1)}  # fmt: skip
        for what, (t, rank) in parts.items():
            if t.shape.ndims not in (None, rank):
                raise ShapeError(
                    f"SparseTensor: {what} have rank {rank}, got shape {t.shape}",
                    loc=loc.caller(), operands=(f"{what}: {t.describe()}",),
                )  # fmt: skip
        rows, columns = _sizes(self._indices, 2)
        (entries,), (axes,) = _sizes(self._values, 1), _sizes(self._dense_shape, 1)
        for have, want, text in (
            (rows, entries, "{} indices for {} values"),
            (columns, axes, "indices of {} numbers into a tensor of rank {}"),
        ):
            if None not in (have, want) and have != want:
                raise ShapeError(f"SparseTensor: {text.format(have, want)}", loc=loc.caller())

    @classmethod
    def from_value(cls, sparse_tensor_value: Any) -> SparseTensor:
        """A constant from a `SparseTensorValue`; a sparse tensor as it is."""
        if isinstance(sparse_tensor_value, SparseTensor):
            return sparse_tensor_value
        return cls(*_parts(sparse_tensor_value, "from_value"))

    @property
    def indices(self) -> Tensor:
        """Where the entries are, ``[entries, rank]``."""
        return self._indices

    @property
    def values(self) -> Tensor:
        """The entries."""
        return self._values

    @property
    def dense_shape(self) -> Tensor:
        """Sizes of the tensor that this one stands for."""
        return self._dense_shape

    @property
    def dtype(self) -> DType:
        """Element type of the entries."""
        return self._values.dtype

    @property
    def op(self) -> Operation:
        """The operation that makes the entries."""
        return self._values.op

    @property
    def graph(self) -> Graph:
        """The graph the tensors belong to."""
        return self._values.graph

    @property
    def name(self) -> str:
        """Name of the entries."""
        return self._values.name

    @property
    def shape(self) -> TensorShape:
        """The static shape, as far as `dense_shape` is known."""
        value = self._dense_shape
        if value.op.type == "Const":
            return TensorShape([int(d) for d in value.op.get_attr("value").array])
        if value.known is not None:
            sizes = value.known.ravel()
            return TensorShape([int(d) if isinstance(d, int) else None for d in sizes])
        (rank,) = _sizes(value, 1)
        return TensorShape(None if rank is None else [None] * rank)

    def get_shape(self) -> TensorShape:
        """The static shape."""
        return self.shape

    def components(self) -> SparseTensorValue:
        """The three tensors; a session fetches and feeds them in the place of this one."""
        return SparseTensorValue(self._indices, self._values, self._dense_shape)

    def with_values(self, new_values: Any) -> SparseTensor:
        """A sparse tensor with entries at the same places."""
        return SparseTensor(self._indices, new_values, self._dense_shape)

    def split_value(self, value: Any) -> SparseTensorValue:
        """The parts of a value that is fed."""
        parts = _parts(value, f"the value fed for {self.name!r}")
        if self._dense_shape.op.type == "Const":
            own, fed = self.shape.as_list(), np.asarray(parts.dense_shape).tolist()
            if own != fed:
                raise FeedError(
                    f"dense_shape {fed} is fed for {self.name!r}, which has shape {own}",
                    loc=loc.caller(),
                )
        return parts

    def eval(self, feed_dict: Mapping[Any, Any] | None = None, session: Any = None) -> Any:
        """The value in the default session, or in `session`."""
        stack = sessions()
        if session is None and not stack:
            raise GraphError("eval needs a session: none is the default", loc=loc.caller())
        return (session or stack[-1]).run(self, feed_dict)

    def __repr__(self) -> str:
        return (
            f"SparseTensor(indices={self._indices}, values={self._values}, "
            f"dense_shape={self._dense_shape})"
        )


def _sizes(t: Tensor, rank: int) -> list[int | None]:
    return t.shape.as_list() if t.shape.ndims is not None else [None] * rank


def _parts(value: Any, what: str) -> SparseTensorValue:
    if not isinstance(value, (tuple, list)) or len(value) != 3:
        raise FeedError(
            f"{what} is a SparseTensorValue or a tuple (indices, values, dense_shape), got "
            f"{type(value).__name__}",
            loc=loc.caller(),
        )
    indices, values, shape = value
    if not np.size(indices):
        indices = np.zeros((0, np.size(shape)), np.int64)
    return SparseTensorValue(indices, values, shape)


def sparse_of(value: Any, what: str) -> SparseTensor:
    """A sparse tensor from one or from its value.

    Raises:
      TypeError: `value` is neither.
    """
    if isinstance(value, SparseTensor):
        return value
    if isinstance(value, SparseTensorValue):
        return SparseTensor.from_value(value)
    raise UsageError(
        f"{what} is a SparseTensor, got {value!r}", loc=loc.caller(),
        hint="tf.sparse.from_dense makes one of a dense tensor",
    )  # fmt: skip


def sparse_placeholder(dtype: Any, shape: Any = None, name: str | None = None) -> SparseTensor:
    """A sparse tensor whose value is given with every run.

    Args:
      dtype: of the entries.
      shape: sizes, if they are all known: only entries are fed then; or None.

    >>> import staticgraph as tf
    >>> t = tf.sparse_placeholder(tf.float32)
    >>> with tf.Session() as sess:
    ...     sess.run(tf.reduce_sum(t.values), {t: tf.SparseTensorValue([[1]], [2.0], [4])})
    np.float32(2.0)
    """
    with name_scope(name, "sparse_placeholder"):
        sizes = TensorShape(shape)
        rank = sizes.ndims
        where = placeholder(dtypes.int64, [None, rank], "indices")
        values = placeholder(dtype, [None], "values")
        if sizes.is_fully_defined():
            known: Tensor = constant(np.asarray(sizes.as_list(), np.int64), name="shape")
        else:
            known = placeholder(dtypes.int64, [rank], "shape")
        return SparseTensor(where, values, known)


def sparse_to_dense(
    sparse_indices: Any, output_shape: Any, sparse_values: Any, default_value: Any = 0,
    validate_indices: bool = True, name: str | None = None,
) -> Tensor:  # fmt: skip
    """A tensor of `default_value` with values at indices.

    Args:
      sparse_indices: ``[entries, rank]``; a vector is taken for entries of a tensor of rank 1.
      output_shape: sizes of the result.
      sparse_values: a vector, or one value for all places.
      validate_indices: the run fails unless indices ascend.

    Raises:
      ValueError: the arguments do not fit.  An index out of range fails the run.
    """
    with name_scope(name, "SparseToDense", None) as scope:
        values = convert(sparse_values, name="sparse_values")
        kind = values.dtype.base
        default = convert("" if kind is dtypes.string and default_value == 0 else default_value,
                          kind, "default_value")  # fmt: skip
        where = convert(sparse_indices, name="sparse_indices")
        if where.shape.ndims == 0:
            where = lookup("Reshape")(where, [1, 1])
        elif where.shape.ndims == 1:
            where = lookup("ExpandDims")(where, -1)
        return lookup("SparseToDense")(  # type: ignore[no-any-return]
            where, values, default, output_shape, validate_indices=bool(validate_indices),
            name=scope,
        )  # fmt: skip


def sparse_tensor_to_dense(
    sp_input: Any, default_value: Any = None, validate_indices: bool = True,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """The dense tensor that a sparse one stands for.

    Args:
      default_value: where there is no entry; 0 (or an empty string) by default.
      validate_indices: the run fails unless indices ascend.
    """
    sp = sparse_of(sp_input, "sp_input")
    return sparse_to_dense(
        sp.indices, sp.dense_shape, sp.values, 0 if default_value is None else default_value,
        validate_indices, name,
    )  # fmt: skip


def from_dense(tensor: Any, name: str | None = None) -> SparseTensor:
    """A sparse tensor with the elements that are not 0.

    >>> import staticgraph as tf
    >>> with tf.Session() as sess:
    ...     sess.run(tf.sparse.from_dense([[0, 3], [4, 0]])).values
    array([3, 4], dtype=int32)
    """
    with name_scope(name, "dense_to_sparse", None):
        x = convert(tensor, name="tensor")
        if x.dtype.base is dtypes.string:
            raise DtypeError("from_dense takes numbers, got string", loc=loc.caller())
        where = lookup("Where")(lookup("NotEqual")(x, lookup("ZerosLike")(x)))
        shape = lookup("Shape")(x, out_type=dtypes.int64)
        return SparseTensor(where, lookup("SparseValues")(x, where), shape)


def edit_distance(
    hypothesis: Any, truth: Any, normalize: bool = True, name: str = "edit_distance"
) -> Tensor:
    """The Levenshtein distance between the rows of two sparse tensors.

    Args:
      hypothesis, truth: sparse tensors of one rank and type, whose last axis holds sequences.
      normalize: divide by the length of the truth; the distance from an empty one is then
        infinite.

    Returns:
      float32, of the shape of both without their last axis; where they differ, the larger.

    >>> import staticgraph as tf
    >>> guess = tf.SparseTensor([[0, 0], [0, 1]], [1, 2], [1, 2])
    >>> truth = tf.SparseTensor([[0, 0], [0, 1], [0, 2], [0, 3]], [1, 3, 2, 4], [1, 4])
    >>> with tf.Session() as sess:
    ...     sess.run(tf.edit_distance(guess, truth))
    array([0.5], dtype=float32)
    """
    h, t = sparse_of(hypothesis, "hypothesis"), sparse_of(truth, "truth")
    return lookup("EditDistance")(  # type: ignore[no-any-return]
        h.indices, h.values, t.indices, t.values, h.dense_shape, t.dense_shape,
        normalize=bool(normalize), name=name,
    )  # fmt: skip


__all__ = [
    "SparseTensor", "SparseTensorValue", "edit_distance", "sparse_placeholder",
    "sparse_tensor_to_dense", "sparse_to_dense",
]  # fmt: skip
