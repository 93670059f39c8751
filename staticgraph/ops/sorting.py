"""Order: sorting, the k largest, search in sorted rows.

All orders are stable: of equal elements the one with the lower index comes first.  NaN counts as
larger than every number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.errors import OutOfBoundsError
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import REQUIRED, ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.scalar import Expr, Operand, Reduce, s
from staticgraph.ir.types import TensorType
from staticgraph.ops.gather import check_dtype, check_index_dtype
from staticgraph.ops.rules import FLOATING, NUMERIC, floats, ints, same
from staticgraph.ops.scatter import indicator


def _order(x: np.ndarray, descending: bool) -> np.ndarray:
    """Positions along the last axis in stable order."""
    if not descending:
        return np.argsort(x, axis=-1, kind="stable")
    # Descending and stable: sort the mirror image upwards and read it backwards.
    backwards = np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]
    return np.asarray(x.shape[-1] - 1 - backwards)


def _has_axis(x: TensorType) -> tuple[Dim, ...]:
    if not x.dims:
        raise RuleError("the input is a scalar, it has no axis to sort")
    return x.dims


def _pair(x: DType, *_: DType, **__: Any) -> tuple[DType, DType]:
    return check_dtype(x, NUMERIC), dtypes.int32


def _put_back(g: Any, y: Any, x: Any, **_: Any) -> Any:
    return (lookup("GatherGrad")(g[0], y[1], x, -1, batch_dims=-1),)


# ---------------------------------------------------------------- top k
def _top_shape(ctx: Infer, x: TensorType, *, k: Any, **_: Any) -> tuple[Any, Any]:
    dims = _has_axis(x)
    if isinstance(k, int) and k < 0:
        raise RuleError(f"k must not be negative, got {k}")
    ctx.at_most(k, dims[-1], "k is {a}, the last axis has {b} elements")
    out = (*dims[:-1], k)
    return out, out


def _np_top(x: np.ndarray, *, k: int, sorted: bool) -> tuple[np.ndarray, np.ndarray]:
    order = _order(x, True)[..., :k]
    return np.take_along_axis(x, order, -1), order.astype(np.int32)


top_k = Op(
    "TopKV2", ("input", "@k"), _pair, _top_shape, _np_top, _put_back, host=True, results=2,
    attrs={"sorted": True},
    samples=lambda: (
        Sample((floats(shape=(3, 5), dtype="float64"),), {"k": 2}),
        Sample((floats(shape=(17,)),), {"k": 17}),
        Sample((np.array([1, 3, 3, 2], np.int32),), {"k": 3}, grad=False),
        Sample((floats(shape=(2, 3)),), {"k": 0}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(shape=(2, 3)),), {"k": 4}, "k is 4, the last axis has 3"),
        ErrorSample((np.float32(1),), {"k": 1}, "the input is a scalar"),
        ErrorSample((np.zeros(3, bool),), {"k": 1}, "does not take bool"),
    ),
    doc="The k largest along the last axis, largest first, and their positions.",
)  # fmt: skip


# ---------------------------------------------------------------- sort
def _sort_shape(ctx: Infer, values: TensorType, *, direction: str) -> tuple[Any, Any]:
    if direction not in ("ASCENDING", "DESCENDING"):
        raise RuleError(f"direction must be ASCENDING or DESCENDING, got {direction!r}")
    dims = _has_axis(values)
    return dims, dims


def _np_sort(x: np.ndarray, *, direction: str) -> tuple[np.ndarray, np.ndarray]:
    order = _order(x, direction == "DESCENDING")
    return np.take_along_axis(x, order, -1), order.astype(np.int32)


sort = Op(
    "Sort", ("values",), _pair, _sort_shape, _np_sort, _put_back, host=True, results=2,
    attrs={"direction": "ASCENDING"},
    samples=lambda: (
        Sample((floats(shape=(3, 5), dtype="float64"),)),
        Sample((floats(shape=(17,)),), {"direction": "DESCENDING"}),
        Sample((floats(shape=(2, 0)),), grad=False),
        Sample((np.array([2, 1, 2, 1], np.int64),), {"direction": "DESCENDING"}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(),), {"direction": "up"}, "got 'up'"),
        ErrorSample((np.float32(1),), {}, "the input is a scalar"),
    ),
    doc="The elements in order along the last axis, and their positions.",
)  # fmt: skip


# ---------------------------------------------------------------- the n-th
def _nth_dtypes(x: DType, n: DType, **_: Any) -> DType:
    check_index_dtype(n, "n")
    return check_dtype(x, NUMERIC)


def _nth_shape(ctx: Infer, x: TensorType, n: TensorType, **_: Any) -> tuple[Dim, ...]:
    dims = _has_axis(x)
    if n.dims:
        raise RuleError(f"n must be a scalar, got rank {n.rank}")
    return dims[:-1]


def _np_nth(x: np.ndarray, n: np.ndarray, *, reverse: bool) -> np.ndarray:
    from_end = x.shape[-1] - 1 - int(n) if reverse else int(n)
    if not 0 <= from_end < x.shape[-1]:
        raise OutOfBoundsError(f"NthElement: n is {int(n)}, outside [0, {x.shape[-1]})")
    return np.asarray(np.sort(x, axis=-1)[..., from_end])


def _nth_grad(g: Any, y: Any, x: Any, n: Any, *, reverse: bool) -> Any:
    same = indicator(lookup("Equal")(x, lookup("SpreadLike")(y, x, (-1,))), x)
    share = lookup("RealDiv")(g, lookup("Sum")(same, (-1,)))
    return same * lookup("SpreadLike")(share, x, (-1,)), None


nth_element = Op(
    "NthElement", ("input", "n"), _nth_dtypes,
    _nth_shape, _np_nth, _nth_grad, host=True, attrs={"reverse": False},
    operand_dtypes={"n": None},
    samples=lambda: (
        Sample((floats(shape=(3, 5), dtype="float64"), np.int32(1))),
        Sample((floats(shape=(5,)), np.int32(0)), {"reverse": True}),
    ),
    error_samples=lambda: (ErrorSample((floats(), ints(shape=(2,))), {}, "n must be a scalar"),),
    doc="The n-th smallest (with `reverse` the n-th largest) along the last axis.",
)  # fmt: skip


# ---------------------------------------------------------------- in top k
def _rank_shape(
    ctx: Infer, predictions: TensorType, targets: TensorType, *_: Any
) -> tuple[Dim, ...]:
    if predictions.rank != 2 or targets.rank != 1:
        raise RuleError(
            "predictions must be a matrix and targets a vector, "
            f"got ranks {predictions.rank} and {targets.rank}"
        )
    return (
        ctx.equal(predictions.dims[0], targets.dims[0], "predictions has {a} rows for {b} targets"),
    )


_NOWHERE = 1 << 40  # more than any class count: the target cannot be ranked


def _np_rank(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    n, classes = predictions.shape
    if classes == 0:
        return np.zeros(n, np.int64)
    t = targets.astype(np.int64)
    inside = (t >= 0) & (t < classes)
    mine = predictions[np.arange(n), np.where(inside, t, 0)][:, None]
    fine = inside[:, None] & np.isfinite(predictions)
    return np.asarray(np.where(fine, predictions > mine, _NOWHERE).sum(axis=1, dtype=np.int64))


def _lower_rank(ix: tuple[Expr, ...], predictions: Operand, targets: Operand) -> Reduce:
    (i,) = ix
    classes = predictions.shape[1]
    t = s.cast(targets[i], dtypes.int64)
    inside = s.and_(t >= 0, t < s.lift(classes, dtypes.int64))
    mine = predictions[i, s.check_index(s.select(inside, t, s.lift(0, dtypes.int64)), classes)]

    def body(js: tuple[Expr, ...]) -> Expr:
        value = predictions[i, js[0]]
        fine = s.and_(inside, s.isfinite(value))
        return s.select(fine, s.cast(value > mine, dtypes.int64), s.lift(_NOWHERE, dtypes.int64))

    return Reduce("sum", (classes,), body, dtypes.int64)


_RANKED = (floats(shape=(4, 5)), np.array([0, 4, 7, -1], np.int32))


_ODD = (np.array([[1, np.nan, 2], [3, 2, np.inf], [1, 1, 1]], np.float32), np.array([2, 0, 1]))


def _rank_dtypes(p: DType, t: DType, *_: DType) -> DType:
    check_index_dtype(t, "targets")
    check_dtype(p, FLOATING)
    return dtypes.int64


target_rank = Op(
    "TargetRank", ("predictions", "targets"), _rank_dtypes, _rank_shape, _np_rank, None,
    lower=_lower_rank, cheap=False, operand_dtypes={"targets": None},
    samples=lambda: (Sample(_RANKED, grad=False), Sample(_ODD, grad=False)),
    doc="How many classes are predicted above the target; 2**40 and more where that is unknown.",
)  # fmt: skip


def _in_top_dtypes(p: DType, t: DType, *k: DType, **_: Any) -> DType:
    _rank_dtypes(p, t)
    return dtypes.bool_


def _in_top_shape(
    ctx: Infer, p: TensorType, t: TensorType, *k: TensorType, **_: Any
) -> tuple[Dim, ...]:
    if k and k[0].dims:
        raise RuleError(f"k must be a scalar, got rank {k[0].rank}")
    return _rank_shape(ctx, p, t)


_IN_TOP_WRONG = (
    ErrorSample((floats(), ints(0, 2, (2,)), np.int32(1)), {},
           "predictions has 3 rows for 2 targets"),
    ErrorSample((floats(), ints(0, 2, (3, 1)), np.int32(1)), {}, "got ranks 2 and 2"),
)  # fmt: skip

in_top_k_v2 = Op(
    "InTopKV2", ("predictions", "targets", "k"), _in_top_dtypes, _in_top_shape,
    lambda p, t, k: _np_rank(p, t) < k, None,
    decompose=lambda p, t, k: lookup("Less")(
        target_rank(p, t), lookup("Cast")(k, DstT=dtypes.int64)
    ),
    operand_dtypes={"targets": None, "k": None},
    samples=lambda: (
        Sample((*_RANKED, np.int32(2)), grad=False), Sample((*_ODD, np.int64(1)), grad=False),
        Sample((floats(shape=(0, 3)), np.zeros(0, np.int32), np.int32(1)), grad=False),
    ),
    error_samples=_IN_TOP_WRONG,
    doc="""True where fewer than k classes are predicted above the target.

    False where the target is no class or a prediction of its row is not finite.
    """,
)  # fmt: skip

in_top_k = Op(
    "InTopK", ("predictions", "targets"), _in_top_dtypes, _in_top_shape,
    lambda p, t, *, k: _np_rank(p, t) < k, None,
    decompose=lambda p, t, *, k: lookup("Less")(target_rank(p, t), np.int64(k)),
    attrs={"k": REQUIRED}, operand_dtypes={"targets": None},
    samples=lambda: (Sample(_RANKED, {"k": 2}, grad=False),),
    doc="As InTopKV2 with a fixed k.",
)  # fmt: skip


# ---------------------------------------------------------------- search
def _search_shape(
    ctx: Infer, sequence: TensorType, values: TensorType, **_: Any
) -> tuple[Dim, ...]:
    if sequence.rank != 2 or values.rank != 2:
        raise RuleError(
            f"both operands must be matrices, got ranks {sequence.rank} and {values.rank}"
        )
    ctx.equal(sequence.dims[0], values.dims[0], "{a} sorted rows for {b} rows of values")
    return values.dims


def _search(name: str, side: Any) -> Op:
    def numpy(sequence: np.ndarray, values: np.ndarray, *, out_type: Any) -> np.ndarray:
        out = np.empty(values.shape, dtypes.as_dtype(out_type).np)
        for i in range(len(values)):
            out[i] = np.searchsorted(sequence[i], values[i], side=side)
        return out

    return Op(
        name, ("sorted_inputs", "values"),
        lambda rows, values, *, out_type: same(NUMERIC, dtypes.as_dtype(out_type))(rows, values),
        _search_shape, numpy, None, host=True, attrs={"out_type": dtypes.int32},
        samples=lambda: (
            Sample((np.sort(floats(), -1), floats(shape=(3, 6), seed=1)), grad=False),
            Sample((np.array([[1, 1, 2]]), np.array([[1, 2, 3, 0]])), {"out_type": dtypes.int64},
                   grad=False),
        ),
        error_samples=lambda: (ErrorSample((floats(), floats(shape=(2, 3))), {},
               "3 sorted rows for 2 rows"),),
        doc=f"Where values would be inserted into sorted rows, on the {side} of equal ones.",
    )  # fmt: skip


lower_bound = _search("LowerBound", "left")
upper_bound = _search("UpperBound", "right")
