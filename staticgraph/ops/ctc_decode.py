"""Reading labels off logits that were trained with CTC: greedily, or by a search over prefixes."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.errors import InvalidArgumentError
from staticgraph.ir import dtypes
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import ErrorSample, Infer, Op, RuleError, Sample
from staticgraph.ir.types import TensorType
from staticgraph.ops.ctc import REAL
from staticgraph.ops.gather import check_dtype, check_index_dtype
from staticgraph.ops.rules import floats

Sparse = tuple[np.ndarray, np.ndarray, np.ndarray]


def _as_sparse(rows: list[list[int]]) -> Sparse:
    """Indices, values and shape of ragged rows."""
    indices = [(b, i) for b, row in enumerate(rows) for i in range(len(row))]
    return (
        np.asarray(indices, np.int64).reshape(-1, 2),
        np.asarray([x for row in rows for x in row], np.int64),
        np.asarray([len(rows), max(map(len, rows), default=0)], np.int64),
    )


def _check(inputs: np.ndarray, lengths: np.ndarray) -> None:
    wrong = np.flatnonzero((lengths < 0) | (lengths > len(inputs)))
    if wrong.size:
        b = int(wrong[0])
        raise InvalidArgumentError(
            f"the sequence length of row {b} is {int(lengths[b])}, the inputs have {len(inputs)} "
            "steps"
        )


def merged(path: list[int]) -> list[int]:
    """`path` with runs of one class as that class once."""
    return [x for i, x in enumerate(path) if i == 0 or x != path[i - 1]]


# ---------------------------------------------------------------- greedy
def _np_greedy(
    inputs: np.ndarray, lengths: np.ndarray, *, merge_repeated: bool
) -> tuple[np.ndarray, ...]:
    _check(inputs, lengths)
    _, batch, classes = inputs.shape
    rows: list[list[int]] = []
    score = np.zeros((batch, 1), inputs.dtype)
    for b in range(batch):
        own = inputs[: lengths[b], b]
        path = np.argmax(own, axis=-1).tolist() if len(own) else []
        score[b, 0] = -np.sum(np.max(own, axis=-1)) if len(own) else 0
        taken = merged(path) if merge_repeated else path
        rows.append([x for x in taken if x != classes - 1])
    return (*_as_sparse(rows), score)


# ---------------------------------------------------------------- search over prefixes
Prefix = tuple[int, ...]


def _search(logp: np.ndarray, width: int) -> list[tuple[Prefix, float]]:
    """The likeliest prefixes of one sequence with their scores, the likeliest first.

    Of each prefix the logarithms of its paths' probability are kept apart for those that end in a
    blank and those that end in its last label: only the first can be followed by that label anew.
    """
    classes = logp.shape[1] - 1  # without the blank
    prefixes: list[Prefix] = [()]
    blank, label = np.zeros(1), np.full(1, -np.inf)
    for step in logp:
        total = np.logaddexp(blank, label)
        last = np.array([p[-1] if p else -1 for p in prefixes])
        rows = np.flatnonzero(last >= 0)
        longer = total[:, None] + step[:classes]
        longer[rows, last[rows]] = blank[rows] + step[last[rows]]
        blank = total + step[classes]
        label = np.where(last >= 0, label + step[last], -np.inf)
        place = {p: i for i, p in enumerate(prefixes)}
        for j in rows:  # a prefix that another one grows into is one, not two
            i = place.get(prefixes[j][:-1])
            if i is not None:
                label[j] = np.logaddexp(label[j], longer[i, last[j]])
                longer[i, last[j]] = -np.inf
        scores = np.concatenate([np.logaddexp(blank, label), longer.ravel()])
        best = np.argsort(-scores, kind="stable")[:width]
        best = best[scores[best] > -np.inf]
        old, new = best < len(prefixes), best - len(prefixes)
        parents, c = np.divmod(np.maximum(new, 0), max(classes, 1))
        kept = np.where(old, best, 0)
        prefixes = [
            prefixes[k] if stays else (*prefixes[i], int(x))
            for k, stays, i, x in zip(kept, old, parents, c, strict=True)
        ]
        blank, label = (
            np.where(old, blank[kept], -np.inf),
            np.where(old, label[kept], scores[best]),
        )
    return list(zip(prefixes, np.logaddexp(blank, label).tolist(), strict=True))


def _np_beams(
    inputs: np.ndarray, lengths: np.ndarray, *, beam_width: int, top_paths: int,
    merge_repeated: bool,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    _check(inputs, lengths)
    batch = inputs.shape[1]
    x = inputs.astype(np.float64)
    logp = x - np.logaddexp.reduce(x, axis=-1, keepdims=True) if x.shape[-1] else x
    paths: list[list[list[int]]] = [[] for _ in range(top_paths)]
    score = np.zeros((batch, top_paths), inputs.dtype)
    for b in range(batch):
        beams = _search(logp[: lengths[b], b], beam_width)
        if len(beams) < top_paths:
            raise InvalidArgumentError(
                f"top_paths is {top_paths}, row {b} has only {len(beams)} paths"
            )
        for k in range(top_paths):
            path = list(beams[k][0])
            paths[k].append(merged(path) if merge_repeated else path)
            score[b, k] = beams[k][1]
    sparse = [_as_sparse(rows) for rows in paths]
    parts = [part for kind in zip(*sparse, strict=True) for part in kind]
    return (*parts, score)


# ---------------------------------------------------------------- records
def _shape(ctx: Infer, inputs: TensorType, lengths: TensorType, top_paths: int) -> tuple[Any, ...]:
    if len(inputs.dims) != 3:
        raise RuleError(
            f"inputs have the axes time, batch and classes, got rank {len(inputs.dims)}"
        )
    if len(lengths.dims) != 1:
        raise RuleError(f"sequence_length is a vector, got rank {len(lengths.dims)}")
    batch = inputs.dims[1]
    ctx.equal(lengths.dims[0], batch, "sequence_length has {a} elements, the batch {b}")
    counts = [ctx.fresh("decoded") for _ in range(top_paths)]
    return (
        *((n, 2) for n in counts), *((n,) for n in counts), *((2,) for _ in counts),
        (batch, top_paths),
    )  # fmt: skip


def _dtypes(inputs: DType, lengths: DType, top_paths: int) -> tuple[DType, ...]:
    check_index_dtype(lengths, "sequence_length")
    return (*(dtypes.int64,) * (3 * top_paths), check_dtype(inputs, REAL))


def _beam_shape(
    ctx: Infer,
    inputs: TensorType,
    lengths: TensorType,
    *,
    beam_width: int,
    top_paths: int,
    **_: Any,
) -> tuple[Any, ...]:
    if not 1 <= top_paths <= beam_width:
        raise RuleError(
            f"top_paths is between 1 and beam_width, got top_paths {top_paths} and beam_width "
            f"{beam_width}"
        )
    return _shape(ctx, inputs, lengths, top_paths)


_INPUTS = (floats(shape=(5, 2, 4)), np.array([5, 3], np.int32))
_WRONG = (
    ErrorSample((floats(shape=(5, 4)), _INPUTS[1]), {}, "got rank 2"),
    ErrorSample((floats(shape=(5, 3, 4)), _INPUTS[1]), {},
                "sequence_length has 2 elements, the batch 3"),
)  # fmt: skip

greedy_decoder = Op(
    "CTCGreedyDecoder", ("inputs", "sequence_length"), lambda x, n, **_: _dtypes(x, n, 1),
    lambda ctx, x, n, **_: _shape(ctx, x, n, 1), _np_greedy, None, host=True, results=4,
    attrs={"merge_repeated": True}, operand_dtypes={"sequence_length": None},
    samples=lambda: (
        Sample(_INPUTS, grad=False), Sample(_INPUTS, {"merge_repeated": False}, grad=False),
    ),
    error_samples=_WRONG,
    doc="The labels of the likeliest class of each step, and minus the sum of their logits.",
)  # fmt: skip

beam_search_decoder = Op(
    "CTCBeamSearchDecoder", ("inputs", "sequence_length"),
    lambda x, n, *, top_paths, **_: _dtypes(x, n, top_paths), _beam_shape, _np_beams, None,
    host=True, results=lambda *, top_paths, **_: 3 * top_paths + 1,
    attrs={"beam_width": 100, "top_paths": 1, "merge_repeated": True},
    operand_dtypes={"sequence_length": None},
    samples=lambda: (
        Sample(_INPUTS, {"beam_width": 4}, grad=False),
        Sample(_INPUTS, {"top_paths": 3, "merge_repeated": False}, grad=False),
    ),
    error_samples=lambda: (
        *_WRONG,
        ErrorSample(_INPUTS, {"top_paths": 3, "beam_width": 2}, "top_paths 3 and beam_width 2"),
    ),
    doc="The likeliest labellings of each sequence and the logarithms of their probability.",
)  # fmt: skip
