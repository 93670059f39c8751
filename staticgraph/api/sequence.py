"""Sequences of different length in one tensor."""

from __future__ import annotations

from typing import Any

from staticgraph.api.framework import name_scope
from staticgraph.api.reduction import either
from staticgraph.errors import UsageError
from staticgraph.ir import loc
from staticgraph.ir.build import convert
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Tensor


def reverse_sequence(
    input: Any, seq_lengths: Any, seq_axis: Any = None, batch_axis: Any = None,
    name: str | None = None, seq_dim: Any = None, batch_dim: Any = None,
) -> Tensor:  # fmt: skip
    """The first ``seq_lengths[b]`` elements of each sequence in reverse order, the rest as is.

    Args:
      seq_lengths: int32 or int64, one for each element of the batch.
      seq_axis: the axis of time; `seq_dim` is its older name.
      batch_axis: the axis of the batch, 0 by default; `batch_dim` is its older name.

    Raises:
      ShapeError: the number of lengths is not the size of the batch.  A length that exceeds the
        axis fails the run.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.reverse_sequence([[1, 2, 3], [4, 5, 6]], [3, 2], 1))
    array([[3, 2, 1],
           [5, 4, 6]], dtype=int32)
    """
    seq = either("seq_axis", seq_axis, "seq_dim", seq_dim)
    batch = either("batch_axis", batch_axis, "batch_dim", batch_dim, 0)
    if seq is None:
        raise UsageError("reverse_sequence: give seq_axis", loc=loc.caller())
    with name_scope(name, "ReverseSequence", [input, seq_lengths]) as scope:
        return lookup("ReverseSequence")(  # type: ignore[no-any-return]
            convert(input, name="input"), convert(seq_lengths, name="seq_lengths"),
            seq_dim=int(seq), batch_dim=int(batch), name=scope,
        )  # fmt: skip


__all__ = ["reverse_sequence"]
