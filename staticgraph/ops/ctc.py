"""Connectionist temporal classification: the loss, its derivative and its second derivative.

Graves et al., "Connectionist temporal classification" (2006).  A path names one class or the blank
for each step; the paths of a labelling are those that give it when repeats are merged and blanks
left out.  The loss is minus the logarithm of their summed probability, by the forward-backward
recursion over the labels with blanks between them, in logarithms and float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from staticgraph.errors import InvalidArgumentError, UsageError
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.types import TensorType
from staticgraph.ops.gather import check_dtype, check_index_dtype
from staticgraph.ops.rules import floats
from staticgraph.ops.softmax import known_zeros

REAL = (dtypes.float32, dtypes.float64)
Array = np.ndarray


# ---------------------------------------------------------------- the recursion
class _Labels(NamedTuple):
    """A batch of labellings with blanks around every label, padded with blanks.

    Attributes:
      states: class of each state, [batch, states].
      ends: index of the last state of each row.
      stay: whether a state may follow itself.
      skip: whether a state may follow the one before the blank in front of it.
    """

    states: Array
    ends: Array
    stay: Array
    skip: Array


def _extended(rows: Sequence[Array], blank: int, merge: bool) -> _Labels:
    ends = np.array([2 * len(r) for r in rows], np.int64)
    width = int(ends.max(initial=0)) + 1
    states = np.full((len(rows), width), blank, np.int64)
    for b, row in enumerate(rows):
        states[b, 1 : 2 * len(row) : 2] = row
    is_label = states != blank
    before = np.full_like(states, -1)
    before[:, 2:] = states[:, :-2]
    skip = is_label & (before >= 0) & ((before != states) | (not merge))
    return _Labels(states, ends, ~is_label | merge, skip)


def _add(logs: Sequence[Array], slopes: Sequence[Array] | None) -> tuple[Array, Array | None]:
    """The logarithm of a sum of exponentials, and its tangent where tangents are given."""
    top = logs[0]
    for a in logs[1:]:
        top = np.maximum(top, a)
    top = np.where(top > -np.inf, top, 0.0)
    parts = [np.exp(a - top) for a in logs]
    total = sum(parts[1:], parts[0])
    if slopes is None:
        return np.log(total) + top, None
    weighed = [p * d for p, d in zip(parts, slopes, strict=True)]
    return np.log(total) + top, sum(weighed[1:], weighed[0]) / np.where(total > 0, total, 1.0)


def _neighbours(x: Array, forward: bool, rest: float) -> tuple[Array, Array]:
    """`x` moved along its last axis by one state and by two, `rest` where nothing moves in."""
    wide = np.full((len(x), x.shape[1] + 2), rest)
    if forward:
        wide[:, 2:] = x
        return wide[:, 1:-1], wide[:, :-2]
    wide[:, :-2] = x
    return wide[:, 1:-1], wide[:, 2:]


def _recursion(
    emitted: Array, slopes: Array | None, lengths: Array, labels: _Labels, forward: bool
) -> tuple[Array, Array | None]:
    """Logarithms of the paths' summed probabilities up to (or after) each step, and tangents.

    Forwards the step's own emission is counted, backwards it is not.  States behind a row's last
    one have no emission, so nothing comes back from them.
    """
    steps, batch, width = emitted.shape
    logs = np.full(emitted.shape, -np.inf)
    tangents = None if slopes is None else np.zeros(emitted.shape)
    place, ends = np.arange(width), labels.ends[:, None]
    first = place < 2 if forward else (place >= ends - 1) & (place <= ends)
    start = np.where(np.broadcast_to(first, (batch, width)), 0.0, -np.inf)
    stay = np.where(labels.stay, 0.0, -np.inf)
    skip = np.where(labels.skip, 0.0, -np.inf)
    if not forward:
        skip = _neighbours(skip, False, -np.inf)[1]
    begins = np.zeros(batch, np.int64) if forward else lengths - 1
    for t in range(steps) if forward else range(steps - 1, -1, -1):
        log, tangent = np.full((batch, width), -np.inf), None
        earlier = t - 1 if forward else t + 1
        if 0 <= earlier < steps:
            before = logs[earlier] if forward else logs[earlier] + emitted[earlier]
            one, two = _neighbours(before, forward, -np.inf)
            moved = None
            if tangents is not None and slopes is not None:
                d = tangents[earlier] if forward else tangents[earlier] + slopes[earlier]
                moved = (d, *_neighbours(d, forward, 0.0))
            log, tangent = _add((before + stay, one, two + skip), moved)
        fresh = (begins == t)[:, None]
        log = np.where(fresh, start, log)
        logs[t] = log + emitted[t] if forward else log
        if tangents is not None and slopes is not None:
            d = np.zeros((batch, width)) if tangent is None else np.where(fresh, 0.0, tangent)
            tangents[t] = d + slopes[t] if forward else d
    return logs, tangents


def _total(
    logs: Array, tangents: Array | None, lengths: Array, labels: _Labels
) -> tuple[Array, Array | None]:
    """The summed probability of all paths of each row."""
    rows = np.arange(len(lengths))
    empty = np.where(labels.ends == 0, 0.0, -np.inf)
    if not len(logs):
        return empty, None if tangents is None else np.zeros(len(lengths))
    last = np.maximum(lengths - 1, 0)
    at, before = (last, rows, labels.ends), (last, rows, np.maximum(labels.ends - 1, 0))
    other = np.where(labels.ends > 0, logs[before], -np.inf)
    pair = None if tangents is None else (tangents[at], tangents[before])
    total, slope = _add((logs[at], other), pair)
    return np.where(lengths == 0, empty, total), slope


def _ctc(
    logits: Array, rows: Sequence[Array], lengths: Array, blank: int, merge: bool,
    along: Array | None = None,
) -> tuple[Array, Array]:  # fmt: skip
    """The loss and its derivative; with `along` the derivative's change in that direction."""
    steps, _, classes = logits.shape
    x = logits.astype(np.float64)
    top = x.max(axis=-1, keepdims=True, initial=-np.inf)
    logp = x - top - np.log(np.sum(np.exp(x - top), axis=-1, keepdims=True)) if classes else x
    p = np.exp(logp)
    lengths = lengths.astype(np.int64)
    labels = _extended(rows, blank, merge)
    at = np.broadcast_to(labels.states, (steps, *labels.states.shape))
    behind = np.arange(labels.states.shape[1]) > labels.ends[:, None]
    emitted = np.where(behind, -np.inf, np.take_along_axis(logp, at, -1))
    dlogp = slopes = None
    if along is not None:
        dx = along.astype(np.float64)
        dlogp = dx - np.sum(p * dx, axis=-1, keepdims=True)
        slopes = np.take_along_axis(dlogp, at, -1)
    with np.errstate(all="ignore"):  # logarithms of 0
        forth, d_forth = _recursion(emitted, slopes, lengths, labels, True)
        back, d_back = _recursion(emitted, slopes, lengths, labels, False)
        total, d_total = _total(forth, d_forth, lengths, labels)
        base = np.where(total > -np.inf, total, 0.0)[:, None]
        value = np.exp(forth + back - base)  # how likely a path is there at that step
    at_class = p
    if dlogp is not None and d_forth is not None and d_back is not None and d_total is not None:
        value = value * (d_forth + d_back - d_total[:, None])
        at_class = p * dlogp
    onehot = (labels.states[..., None] == np.arange(classes)).astype(np.float64)
    seen = np.matmul(value.transpose(1, 0, 2), onehot).transpose(1, 0, 2)
    inside = (np.arange(steps)[:, None] < lengths)[..., None]
    slope = np.where(inside, at_class - seen, 0.0)
    return (-total).astype(logits.dtype), slope.astype(logits.dtype)


# ---------------------------------------------------------------- what labels there are
def _check(logits: Array, rows: Sequence[Array], lengths: Array, blank: int) -> None:
    steps, _, classes = logits.shape
    wrong = np.flatnonzero((lengths < 0) | (lengths > steps))
    if wrong.size:
        b = int(wrong[0])
        raise InvalidArgumentError(
            f"the sequence length of row {b} is {int(lengths[b])}, the logits have {steps} steps"
        )
    for b, row in enumerate(rows):
        bad = row[(row < 0) | (row >= classes) | (row == blank)]
        if bad.size:
            raise InvalidArgumentError(
                f"the labels of row {b} hold {int(bad[0])}, where there are {classes} classes and "
                f"{blank} is the blank"
            )


def sparse_rows(indices: Array, values: Array, batch: int) -> list[Array]:
    """The rows of a sparse matrix whose entries are in order.

    Raises:
      InvalidArgumentError: an index is out of range, or a row has a hole.
    """
    rows: list[list[int]] = [[] for _ in range(batch)]
    for (b, i), value in zip(indices.tolist(), values.tolist(), strict=True):
        if not 0 <= b < batch:
            raise InvalidArgumentError(f"the labels have a row {b}, the batch has {batch} rows")
        if i != len(rows[b]):
            raise InvalidArgumentError(
                f"row {b} of the labels has column {i} after {len(rows[b])} others; columns begin "
                "at 0 and leave nothing out"
            )
        rows[b].append(value)
    return [np.asarray(r, np.int64) for r in rows]


def _from_sparse(
    logits: Array, indices: Array, values: Array, lengths: Array, along: Array | None, *,
    preprocess_collapse_repeated: bool, ctc_merge_repeated: bool,
    ignore_longer_outputs_than_inputs: bool,
) -> tuple[Array, Array]:  # fmt: skip
    classes = logits.shape[-1]
    rows = sparse_rows(indices, values, logits.shape[1])
    _check(logits, rows, lengths, classes - 1)
    if preprocess_collapse_repeated:
        rows = [r[np.insert(np.diff(r) != 0, 0, True)] if r.size else r for r in rows]
    long = np.array([len(r) > n for r, n in zip(rows, lengths, strict=True)], bool)
    if long.any() and not ignore_longer_outputs_than_inputs:
        b = int(np.flatnonzero(long)[0])
        raise InvalidArgumentError(
            f"row {b} has {len(rows[b])} labels and only {int(lengths[b])} steps; "
            "ignore_longer_outputs_than_inputs=True gives such rows a loss of 0"
        )
    kept = [np.zeros(0, np.int64) if skip else r for r, skip in zip(rows, long, strict=True)]
    loss, slope = _ctc(logits, kept, lengths, classes - 1, ctc_merge_repeated, along)
    return (
        np.where(long, np.zeros((), loss.dtype), loss),
        np.where(long[:, None], np.zeros((), slope.dtype), slope),
    )


def _from_dense(
    logits: Array, labels: Array, label_lengths: Array, lengths: Array, along: Array | None, *,
    blank: int,
) -> tuple[Array, Array]:  # fmt: skip
    classes, width = logits.shape[-1], labels.shape[1]
    at = blank + classes if blank < 0 else blank
    if not 0 <= at < classes:
        raise InvalidArgumentError(f"the blank is {blank}, there are {classes} classes")
    wrong = np.flatnonzero((label_lengths < 0) | (label_lengths > width))
    if wrong.size:
        b = int(wrong[0])
        raise InvalidArgumentError(
            f"the label length of row {b} is {int(label_lengths[b])}, "
            f"the labels have {width} columns"
        )
    rows = [row[:n].astype(np.int64) for row, n in zip(labels, label_lengths, strict=True)]
    _check(logits, rows, lengths, at)
    return _ctc(logits, rows, lengths, at, True, along)


# ---------------------------------------------------------------- records
def _logits_dims(logits: TensorType) -> tuple[Dim, ...]:
    if len(logits.dims) != 3:
        raise RuleError(
            f"logits have the axes time, batch and classes, got rank {len(logits.dims)}"
        )
    return logits.dims


def _loss_dtypes(logits: DType, *integers: DType, **_: Any) -> tuple[DType, DType]:
    for d, what in zip(integers, ("labels", "labels", "sequence_length"), strict=False):
        check_index_dtype(d, what)
    return check_dtype(logits, REAL), logits


def _vector(ctx: Infer, x: TensorType, size: Dim, what: str) -> None:
    if len(x.dims) != 1:
        raise RuleError(f"{what} is a vector, got rank {len(x.dims)}")
    ctx.equal(x.dims[0], size, what + " has {a} elements, the batch {b}")


def _sparse_shape(
    ctx: Infer, logits: TensorType, indices: TensorType, values: TensorType, lengths: TensorType,
    *_: TensorType, **__: Any,
) -> Any:  # fmt: skip
    dims = _logits_dims(logits)
    if len(indices.dims) != 2 or (indices.dims[1] not in (2,) and isinstance(indices.dims[1], int)):
        raise RuleError(f"the indices of the labels are pairs, got {indices.public()}")
    if len(values.dims) != 1:
        raise RuleError(f"the values of the labels are a vector, got rank {len(values.dims)}")
    ctx.equal(indices.dims[0], values.dims[0], "the labels have {a} indices and {b} values")
    _vector(ctx, lengths, dims[1], "sequence_length")
    return (dims[1],), dims


def _dense_shape(
    ctx: Infer, logits: TensorType, labels: TensorType, label_lengths: TensorType,
    lengths: TensorType, *_: TensorType, **__: Any,
) -> Any:  # fmt: skip
    dims = _logits_dims(logits)
    if len(labels.dims) != 2:
        raise RuleError(f"labels are a matrix, got rank {len(labels.dims)}")
    ctx.equal(labels.dims[0], dims[1], "the labels have {a} rows, the batch {b}")
    _vector(ctx, label_lengths, dims[1], "label_length")
    _vector(ctx, lengths, dims[1], "logit_length")
    return (dims[1],), dims


def _pair(name: str, operands: tuple[str, str], shape: Any, rule: Any, attrs: dict[str, Any],
          samples: tuple[Sample, ...], error_samples: tuple[ErrorSample, ...]) -> Op:  # fmt: skip
    """A loss with its derivative as second result, and the record of the second derivative."""
    own: dict[str, Any] = {o: None for o in (*operands, "sequence_length")}

    def grad(gs: Any, ys: Any, logits: Any, a: Any, b: Any, lengths: Any, **options: Any) -> Any:
        (g, g_slope), out = gs, None
        if not known_zeros(g):
            out = lookup("ExpandDims")(lookup("ExpandDims")(g, 0), -1) * ys[1]
        if not known_zeros(g_slope):
            # the second derivative is symmetric: what goes back is the change along g_slope
            more = tangent(logits, a, b, lengths, g_slope, **options)
            out = more if out is None else out + more
        return out, None, None, None

    def no_third(*_: Any, **__: Any) -> Any:
        raise UsageError(f"{name} has first and second derivatives, but no third")

    def along(x: Any, a: Any, b: Any, n: Any, direction: Any, **options: Any) -> Any:
        return rule(x, a, b, n, direction, **options)[1]

    first = samples[0]
    tangent = Op(
        f"{name}Tangent", ("logits", *operands, "sequence_length", "along"),
        lambda x, *rest, **_: _loss_dtypes(x, *rest[:-1])[0],
        lambda ctx, *types, **options: shape(ctx, *types, **options)[1],
        along, no_third, host=True, attrs=attrs, operand_dtypes=own,
        samples=lambda: (
            Sample((*first.args, floats(shape=first.args[0].shape, seed=5, dtype="float64")),
                   first.attrs, grad=False),
        ),
        doc=f"How the derivative of {name} changes in a direction.",
    )  # fmt: skip
    return Op(
        name, ("logits", *operands, "sequence_length"), _loss_dtypes, shape,
        lambda x, a, b, n, **options: rule(x, a, b, n, None, **options), grad,
        host=True, results=2, attrs=attrs, operand_dtypes=own, samples=samples,
        error_samples=error_samples,
        doc="The loss of connectionist temporal classification and its derivative.",
    )  # fmt: skip


_INDICES = np.array([[0, 0], [0, 1], [0, 2], [1, 0]])
_VALUES = np.array([1, 1, 2, 0], np.int32)
_STEPS = np.array([5, 3], np.int32)

# Derivatives are checked by tests of their own: the registry's tests would ask for a third one,
# because the first is also a result.
ctc_loss = _pair(
    "CTCLoss", ("labels_indices", "labels_values"), _sparse_shape, _from_sparse,
    {
        "preprocess_collapse_repeated": False, "ctc_merge_repeated": True,
        "ignore_longer_outputs_than_inputs": False,
    },
    (
        Sample((floats(shape=(5, 2, 4), dtype="float64"), _INDICES, _VALUES, _STEPS),
               grad=False),
        Sample((floats(shape=(5, 2, 4), dtype="float64"), _INDICES, _VALUES, _STEPS),
               {"ctc_merge_repeated": False}, grad=False),
        Sample((floats(shape=(5, 2, 4)), _INDICES, _VALUES, np.array([2, 0])),
               {"preprocess_collapse_repeated": True, "ignore_longer_outputs_than_inputs": True},
               grad=False),
        Sample((floats(shape=(3, 0, 4)), np.zeros((0, 2), np.int64), np.zeros(0, np.int32),
                np.zeros(0, np.int32)), grad=False),
    ),
    (
        ErrorSample((floats(shape=(5, 4)), _INDICES, _VALUES, _STEPS), {}, "got rank 2"),
        ErrorSample((floats(shape=(5, 3, 4)), _INDICES, _VALUES, _STEPS), {},
                    "sequence_length has 2 elements, the batch 3"),
        ErrorSample((floats(shape=(5, 2, 4)), _INDICES[:3], _VALUES, _STEPS), {},
                    "3 indices and 4 values"),
    ),
)  # fmt: skip

ctc_loss_dense = _pair(
    "CTCLossDense", ("labels", "label_length"), _dense_shape, _from_dense, {"blank": 0},
    (
        Sample((floats(shape=(5, 2, 4), dtype="float64"),
                np.array([[1, 1, 2], [3, 0, 0]], np.int32), np.array([3, 1]), _STEPS),
               grad=False),
        Sample((floats(shape=(5, 2, 4)), np.array([[1, 1, 2], [0, 0, 0]]),
                np.array([3, 0], np.int32), _STEPS), {"blank": -1}, grad=False),
    ),
    (
        ErrorSample((floats(shape=(5, 2, 4)), np.zeros((3, 2), np.int32), _STEPS, _STEPS), {},
                    "the labels have 3 rows, the batch 2"),
        ErrorSample((floats(shape=(5, 2, 4)), np.zeros(3, np.int32), _STEPS, _STEPS), {},
                    "labels are a matrix"),
    ),
)  # fmt: skip
