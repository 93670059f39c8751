"""Cross entropies of logits, with TensorFlow's two results: the loss and its derivative."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.errors import InvalidArgumentError
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.scalar import Expr, Operand, cast, s
from staticgraph.ir.types import TensorType
from staticgraph.ops.reduce import sum_
from staticgraph.ops.rules import FLOATING, floats, ints, same, sum_to
from staticgraph.ops.softmax import (
    known_zeros,
    log_softmax,
    np_shifted,
    shifted,
    softmax,
    sum_last,
    through_softmax,
)


# ---------------------------------------------------------------- one element of the last axis
def _labels_dtype(x: DType, labels: DType, *rest: DType, **_: Any) -> DType:
    if labels not in (dtypes.int32, dtypes.int64):
        raise RuleError(f"labels are int32 or int64, got {labels.name}", kind="dtype")
    return same(FLOATING)(x, *rest)


def _labels_shape(ctx: Infer, x: TensorType, labels: TensorType) -> tuple[Dim, ...]:
    """The common shape of `labels` and of `x` without its last axis."""
    if x.shape is None:
        return labels.dims
    if not x.shape:
        raise RuleError("takes logits of rank 1 or more, got a scalar")
    lead = x.shape[:-1]
    if labels.shape is None:
        return lead
    if len(labels.shape) != len(lead):
        raise RuleError(
            f"labels have rank {len(labels.shape)} and logits rank {len(x.shape)}",
            hint="labels are class numbers and have one axis less than the logits; for one-hot "
            "rows use tf.nn.softmax_cross_entropy_with_logits",
        )
    return tuple(
        ctx.equal(a, b, "logits have {a} rows and labels {b}")
        for a, b in zip(lead, labels.shape, strict=True)
    )


def _checked(labels: np.ndarray, classes: int) -> np.ndarray:
    wrong = labels[(labels < 0) | (labels >= classes)]
    if wrong.size:
        raise InvalidArgumentError(f"label {int(wrong.flat[0])} is outside [0, {classes})")
    return labels


def _np_pick(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    at = _checked(labels, x.shape[-1])[..., None]
    return np.take_along_axis(x, at.astype(np.int64), axis=-1)[..., 0]


pick_last: Op = Op(
    "PickLast", ("x", "labels"), _labels_dtype, _labels_shape, _np_pick,
    lambda g, y, x, labels: (place_last(g, labels, x), None),
    lower=lambda ix, x, labels: x[(*ix, s.check_index(labels[ix], x.shape[-1]))],
    operand_dtypes={"labels": None},
    samples=lambda: (
        Sample((floats(shape=(3, 4), dtype="float64"), ints(0, 4, (3,)))),
        Sample((floats(shape=(2, 1, 5)), ints(0, 5, (2, 1), dtype="int64"))),
        Sample((floats(shape=(5,)), ints(0, 5, ()))),
    ),
    error_samples=lambda: (
        ErrorSample((floats(shape=(3, 4)), ints(0, 4, (2,))), {}, "3 rows and labels 2"),
        ErrorSample((floats(shape=(3, 4)), floats(shape=(3,))), {}, "labels are int32 or int64"),
    ),
    doc="The element of the last axis that `labels` names.",
)  # fmt: skip


def _np_place(values: np.ndarray, labels: np.ndarray, like: np.ndarray) -> np.ndarray:
    at = _checked(labels, like.shape[-1])[..., None]
    hit = np.arange(like.shape[-1]) == at
    return np.where(hit, values[..., None], np.zeros((), values.dtype))


def _place_lower(ix: tuple[Expr, ...], values: Operand, labels: Operand, like: Operand) -> Expr:
    lead = ix[:-1]
    hit = cast(labels[lead], dtypes.int64).eq(ix[-1])
    return s.select(hit, values[lead], 0)


place_last: Op = Op(
    "PlaceLast", ("values", "labels", "like"), _labels_dtype,
    lambda ctx, values, labels, like: like.dims, _np_place,
    lambda g, y, values, labels, like: (pick_last(g, labels), None, None),
    lower=_place_lower, operand_dtypes={"labels": None},
    samples=lambda: (
        Sample((floats(shape=(3,), dtype="float64"), ints(0, 4, (3,)),
                floats(shape=(3, 4), dtype="float64"))),
        Sample((floats(shape=()), ints(0, 5, (), dtype="int64"), floats(shape=(5,)))),
    ),
    doc="Zeros shaped as `like`, with a value at the place of each label along the last axis.",
)  # fmt: skip


# ---------------------------------------------------------------- labels as distributions
def _dense_dtypes(features: DType, labels: DType) -> tuple[DType, DType]:
    d = same(FLOATING)(features, labels)
    return d, d


def _dense_shape(ctx: Infer, features: TensorType, labels: TensorType) -> tuple[Any, ...]:
    for t in (features, labels):
        if t.shape is not None and len(t.shape) != 2:
            raise RuleError(f"takes logits and labels of rank 2, got rank {len(t.shape)}")
    full = ctx.broadcast(features.dims, labels.dims)
    return full[:1], full


def _np_dense(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kind = features.dtype
    features, labels = np.broadcast_arrays(features, labels)
    z = np_shifted(features)
    e = np.exp(z)
    total = np.sum(e, axis=-1, keepdims=True)
    wide = labels.astype(z.dtype)
    loss = np.sum(wide * (np.log(total) - z), axis=-1)
    return loss.astype(kind), np.asarray(e / total - wide).astype(kind)


def _full(x: Any, like: Any) -> Any:
    """`x` with the axes of size 1 repeated to the sizes of `like`."""
    dims = tuple(b if a == 1 else a for a, b in zip(x.type.dims, like.type.dims, strict=True))
    return x if dims == x.type.dims else lookup("BroadcastTo")(x, dims)


def _dense(features: Any, labels: Any) -> tuple[Any, Any]:
    features, labels = _full(features, labels), _full(labels, features)
    z = shifted(features)
    e = lookup("Exp")(z)
    total = sum_last(e)
    loss = sum_(labels * (lookup("Log")(total) - z), (-1,), keep_dims=False)
    return loss, e * lookup("Reciprocal")(total) - labels


def _dense_grad(gs: Any, ys: Any, features: Any, labels: Any) -> tuple[Any, Any]:
    # The derivative of the loss is its second result, which holds where labels sum to 1; so does
    # TensorFlow's.
    (g, g_backprop), (_, backprop) = gs, ys
    g_features = g_labels = None
    if not known_zeros(g):
        column = lookup("ExpandDims")(g, -1)
        g_features = column * backprop
        g_labels = -(column * log_softmax(features))
    if not known_zeros(g_backprop):
        more = through_softmax(g_backprop, softmax(features))
        g_features = more if g_features is None else g_features + more
        g_labels = -g_backprop if g_labels is None else g_labels - g_backprop
    return (
        None if g_features is None else sum_to(g_features, features),
        None if g_labels is None else sum_to(g_labels, labels),
    )


def _rows(shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    """Rows of positive numbers that sum to 1."""
    p = floats(0.1, 1, shape, 3, "float64")
    return np.asarray(p / p.sum(-1, keepdims=True)).astype(dtype)


softmax_cross_entropy: Op = Op(
    "SoftmaxCrossEntropyWithLogits", ("features", "labels"), _dense_dtypes, _dense_shape,
    _np_dense, _dense_grad, decompose=_dense, results=2, cheap=False,
    samples=lambda: (
        Sample((floats(shape=(3, 4), dtype="float64"), _rows((3, 4), "float64"))),
        Sample((floats(-60, 60, (2, 17)), _rows((2, 17))), grad=False),
        Sample((floats(shape=(3, 1)), _rows((3, 1)))),
        Sample((floats(shape=(1, 4)), _rows((3, 4)))),
        Sample((floats(shape=(3, 4)), _rows((1, 4)))),
        Sample((floats(shape=(0, 4)), _rows((0, 4)))),
        Sample((floats(shape=(2, 3), dtype="float16"), _rows((2, 3), "float16")), grad=False,
               rtol=1e-2),
    ),
    error_samples=lambda: (
        ErrorSample((floats(shape=(3, 4)), floats(shape=(3, 5))), {}, "do not broadcast, 4 and 5"),
        ErrorSample((floats(shape=(3,)), floats(shape=(3,))), {}, "of rank 2, got rank 1"),
        ErrorSample((ints(), ints()), {}, "does not take int32"),
    ),
    doc="Cross entropy of each row of logits against a row of probabilities, and its derivative.",
)  # fmt: skip


# ---------------------------------------------------------------- labels as class numbers
def _sparse_dtypes(features: DType, labels: DType) -> tuple[DType, DType]:
    d = _labels_dtype(features, labels)
    return d, d


def _sparse_shape(ctx: Infer, features: TensorType, labels: TensorType) -> tuple[Any, ...]:
    lead = _labels_shape(ctx, features, labels)
    last = features.shape[-1] if features.shape is not None else ctx.fresh("n")
    return lead, (*lead, last)


def _np_sparse(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z = np_shifted(features)
    e = np.exp(z)
    total = np.sum(e, axis=-1, keepdims=True)
    loss = np.log(total)[..., 0] - _np_pick(z, labels)
    ones = np.ones(labels.shape, z.dtype)
    backprop = e / total - _np_place(ones, labels, z)
    return np.asarray(loss).astype(features.dtype), np.asarray(backprop).astype(features.dtype)


def _sparse(features: Any, labels: Any) -> tuple[Any, Any]:
    z = shifted(features)
    e = lookup("Exp")(z)
    total = sum_last(e)
    loss = lookup("Log")(sum_(e, (-1,), keep_dims=False)) - pick_last(z, labels)
    ones = lookup("OnesLike")(loss)
    return loss, e * lookup("Reciprocal")(total) - place_last(ones, labels, features)


def _sparse_grad(gs: Any, ys: Any, features: Any, labels: Any) -> tuple[Any, None]:
    (g, g_backprop), (_, backprop) = gs, ys
    out = None
    if not known_zeros(g):
        out = lookup("ExpandDims")(g, -1) * backprop
    if not known_zeros(g_backprop):
        more = through_softmax(g_backprop, softmax(features))
        out = more if out is None else out + more
    return out, None


sparse_softmax_cross_entropy: Op = Op(
    "SparseSoftmaxCrossEntropyWithLogits", ("features", "labels"), _sparse_dtypes, _sparse_shape,
    _np_sparse, _sparse_grad, decompose=_sparse, results=2, cheap=False,
    operand_dtypes={"labels": None},
    samples=lambda: (
        Sample((floats(shape=(3, 4), dtype="float64"), ints(0, 4, (3,)))),
        Sample((floats(-60, 60, (2, 17)), ints(0, 17, (2,), dtype="int64")), grad=False),
        Sample((floats(shape=(2, 3, 4)), ints(0, 4, (2, 3)))),
        Sample((floats(shape=(4,)), ints(0, 4, ()))),
        Sample((floats(shape=(0, 4)), ints(0, 4, (0,)))),
    ),
    error_samples=lambda: (
        ErrorSample((floats(shape=(3, 4)), ints(0, 4, (2,))), {}, "have 3 rows and labels 2"),
        ErrorSample((floats(shape=(3, 4)), ints(0, 4, (3, 4))), {}, "rank 2 and logits rank 2"),
        ErrorSample((floats(shape=(3, 4)), floats(shape=(3,))), {}, "labels are int32 or int64"),
    ),
    doc="Cross entropy of each row of logits against a class number, and its derivative.",
)  # fmt: skip
