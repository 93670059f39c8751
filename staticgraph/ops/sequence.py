"""Rows of different length in one tensor: their lengths, and reading them backwards."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.errors import InvalidArgumentError, OutOfBoundsError
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import REQUIRED, ErrorSample, Infer, Op, RuleError, Sample
from staticgraph.ir.scalar import Expr, Operand, s
from staticgraph.ir.types import TensorType
from staticgraph.ops.gather import check_dtype, check_index_dtype
from staticgraph.ops.rules import ALL, floats, ints


# ---------------------------------------------------------------- backwards
def _reverse_dtypes(x: DType, lengths: DType, **_: Any) -> DType:
    check_index_dtype(lengths, "seq_lengths")
    return check_dtype(x, ALL)


def _axes(rank: int, seq_dim: int, batch_dim: int) -> tuple[int, int]:
    return seq_dim % rank, batch_dim % rank


def _reverse_shape(
    ctx: Infer, x: TensorType, lengths: TensorType, *, seq_dim: Any, batch_dim: Any
) -> tuple[Dim, ...]:
    dims = x.dims
    seq = ctx.axis(seq_dim, len(dims), "seq_dim")
    batch = ctx.axis(batch_dim, len(dims), "batch_dim")
    if seq == batch:
        raise RuleError(f"seq_dim and batch_dim are both {seq}")
    if len(lengths.dims) != 1:
        raise RuleError(f"seq_lengths must be a vector, got rank {len(lengths.dims)}")
    ctx.equal(lengths.dims[0], dims[batch], "{a} seq_lengths for a batch of {b}")
    return dims


def _np_reverse(x: np.ndarray, lengths: np.ndarray, *, seq_dim: int, batch_dim: int) -> Any:
    seq, batch = _axes(x.ndim, seq_dim, batch_dim)
    steps = x.shape[seq]
    wrong = lengths[(lengths < 0) | (lengths > steps)]
    if wrong.size:
        raise OutOfBoundsError(
            f"ReverseSequence: index {int(wrong[0])} is outside [0, {steps + 1})"
        )
    moved = np.moveaxis(x, (batch, seq), (0, 1))
    time = np.arange(steps)
    n = lengths.astype(np.int64)[:, None]
    from_ = np.where(time < n, n - 1 - time, time)
    out = moved[np.arange(len(moved))[:, None], from_]
    return np.ascontiguousarray(np.moveaxis(out, (0, 1), (batch, seq)))


def _lower_reverse(
    ix: tuple[Expr, ...], x: Operand, lengths: Operand, *, seq_dim: int, batch_dim: int
) -> Expr:
    seq, batch = _axes(len(ix), seq_dim, batch_dim)
    n = s.check_index(s.cast(lengths[ix[batch]], dtypes.int64), x.shape[seq] + 1)
    t = ix[seq]
    return x[(*ix[:seq], s.select(t < n, n - 1 - t, t), *ix[seq + 1 :])]


reverse_sequence: Op = Op(
    "ReverseSequence", ("input", "seq_lengths"), _reverse_dtypes, _reverse_shape, _np_reverse,
    lambda g, y, x, lengths, **axes: (reverse_sequence(g, lengths, **axes), None),
    lower=_lower_reverse, attrs={"seq_dim": REQUIRED, "batch_dim": 0},
    operand_dtypes={"seq_lengths": None},
    samples=lambda: (
        Sample((floats(shape=(3, 4), dtype="float64"), np.array([4, 0, 2])), {"seq_dim": 1}),
        Sample((floats(shape=(5, 2, 3)), np.array([5, 3, 1], np.int32)),
               {"seq_dim": 0, "batch_dim": 2}),
        Sample((floats(shape=(2, 2, 3)), np.array([1, 2], np.int32)),
               {"seq_dim": -2, "batch_dim": -3}),
        Sample((ints(shape=(2, 0)), np.zeros(2, np.int32)), {"seq_dim": 1}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(), ints(0, 1, (2,))), {"seq_dim": 1},
                    "2 seq_lengths for a batch of 3"),
        ErrorSample((floats(), ints(0, 1, (3,))), {"seq_dim": 0}, "are both 0"),
        ErrorSample((floats(), ints(0, 1, (3, 1))), {"seq_dim": 1}, "got rank 2"),
        ErrorSample((floats(), floats(shape=(3,))), {"seq_dim": 1},
                    "seq_lengths must be int32 or int64"),
    ),
    doc="The first `seq_lengths` elements along an axis in reverse order, the rest as they are.",
)  # fmt: skip


# ---------------------------------------------------------------- lengths
def _lengths_shape(ctx: Infer, lengths: TensorType, *, batch: Any, steps: Any) -> tuple[Dim, ...]:
    if len(lengths.dims) != 1:
        raise RuleError(f"sequence_length must be a vector, got rank {len(lengths.dims)}")
    return (ctx.equal(lengths.dims[0], batch, "sequence_length has {a} entries, the batch {b}"),)


def _np_lengths(lengths: np.ndarray, *, batch: int, steps: int) -> np.ndarray:
    wrong = np.flatnonzero((lengths < 0) | (lengths > steps))
    if wrong.size:
        i = int(wrong[0])
        raise InvalidArgumentError(
            f"sequence_length[{i}] is {int(lengths[i])}, the inputs have {steps} steps"
        )
    return lengths.copy()


def _lengths_dtypes(lengths: DType, **_: Any) -> DType:
    check_index_dtype(lengths, "sequence_length")
    return lengths


sequence_lengths = Op(
    "SequenceLengths", ("lengths", "@batch", "@steps"), _lengths_dtypes, _lengths_shape,
    _np_lengths, None, host=True,
    samples=lambda: (
        Sample((np.array([3, 0, 2], np.int32),), {"batch": 3, "steps": 3}, grad=False),
        Sample((np.array([1]),), {"batch": 1, "steps": 5}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((np.array([1, 2]),), {"batch": 3, "steps": 2},
                    "sequence_length has 2 entries, the batch 3"),
        ErrorSample((np.ones((1, 1), np.int32),), {"batch": 1, "steps": 2}, "got rank 2"),
    ),
    doc="The lengths of a batch's sequences; the run fails where one exceeds the steps there are.",
)  # fmt: skip
