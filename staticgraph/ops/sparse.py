"""Sparse tensors: entries at indices, to and from dense ones, and distances between rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.errors import InvalidArgumentError
from staticgraph.ir import dims as D
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.types import TensorType
from staticgraph.ops.gather import check_index_dtype
from staticgraph.ops.rules import ANY, floats
from staticgraph.ops.shape import sizes


# ---------------------------------------------------------------- dense
def _dense_dtypes(indices: DType, values: DType, default: DType, **_: Any) -> DType:
    check_index_dtype(indices, "the indices")
    if values is not default:
        raise RuleError(f"the values are {values.name}, the default {default.name}", kind="dtype")
    if values not in ANY:
        raise RuleError(f"does not take {values.name}", kind="dtype")
    return values


def _dense_shape(
    ctx: Infer, indices: TensorType, values: TensorType, default: TensorType, *,
    output_shape: Any, **_: Any,
) -> tuple[Dim, ...]:  # fmt: skip
    shape = sizes(output_shape, "output_shape")
    if default.dims:
        raise RuleError(f"the default value is a scalar, got rank {len(default.dims)}")
    if len(indices.dims) != 2:
        raise RuleError(f"the indices are a matrix, got rank {len(indices.dims)}")
    if len(values.dims) == 1:
        ctx.equal(indices.dims[0], values.dims[0], "{a} indices for {b} values")
    elif values.dims:
        raise RuleError(f"the values are a vector, got rank {len(values.dims)}")
    ctx.equal(indices.dims[1], len(shape), "indices of {a} numbers into a tensor of rank {b}")
    return shape


def check_places(indices: np.ndarray, shape: tuple[int, ...], ordered: bool) -> None:
    """Raise unless every index is inside `shape` and, if asked for, each comes after the last."""
    outside = (indices < 0) | (indices >= np.asarray(shape, np.int64).reshape(1, -1))
    wrong = np.flatnonzero(outside.any(axis=1))
    if len(wrong):
        i = int(wrong[0])
        raise InvalidArgumentError(
            f"indices[{i}] is {indices[i].tolist()}, outside the shape {list(shape)}"
        )
    if ordered and len(indices) > 1 and shape:
        flat = np.ravel_multi_index(tuple(indices.T), shape)
        back = np.flatnonzero(np.diff(flat) <= 0)
        if len(back):
            i = int(back[0]) + 1
            how = "repeats" if (indices[i] == indices[i - 1]).all() else "does not come after"
            raise InvalidArgumentError(
                f"indices[{i}], {indices[i].tolist()}, {how} the one before, "
                f"{indices[i - 1].tolist()}; validate_indices=False allows any order"
            )


def _np_dense(
    indices: np.ndarray, values: np.ndarray, default: np.ndarray, *, output_shape: Any,
    validate_indices: bool,
) -> np.ndarray:  # fmt: skip
    shape = tuple(int(d) for d in np.atleast_1d(output_shape))
    indices = indices.astype(np.int64)
    check_places(indices, shape, validate_indices)
    out = np.full(shape, default, values.dtype)
    if len(indices):
        out[tuple(indices.T)] = values
    return out


def _dense_grad(
    g: Any, y: Any, indices: Any, values: Any, default: Any, *, output_shape: Any, **_: Any
) -> tuple[Any, Any, Any]:
    if not values.dtype.is_differentiable:
        return None, None, None
    at = sparse_values(g, indices)
    own = at if values.type.dims else lookup("Sum")(at, (0,))
    everything = lookup("Sum")(g, tuple(range(len(y.type.dims))))
    return None, own, everything - lookup("Sum")(at, (0,))


def _np_values(dense: np.ndarray, indices: np.ndarray) -> np.ndarray:
    check_places(indices, dense.shape, False)
    return dense[tuple(indices.T)] if len(indices) else np.zeros(0, dense.dtype)


def _values_dtypes(dense: DType, indices: DType) -> DType:
    check_index_dtype(indices, "the indices")
    return dense


def _values_shape(ctx: Infer, dense: TensorType, indices: TensorType) -> tuple[Dim, ...]:
    if len(indices.dims) != 2:
        raise RuleError(f"the indices are a matrix, got rank {len(indices.dims)}")
    rank = len(dense.dims)
    ctx.equal(indices.dims[1], rank, "indices of {a} numbers into a tensor of rank {b}")
    return (indices.dims[0],)


def _values_grad(g: Any, y: Any, dense: Any, indices: Any) -> tuple[Any, Any]:
    zero = lookup("ZerosLike")(lookup("Sum")(g, (0,)))
    placed = sparse_to_dense(indices, g, zero, output_shape=dense.type.dims, validate_indices=False)
    return placed, None


_PLACES = np.array([[0, 1], [2, 0]])

sparse_to_dense: Op = Op(
    "SparseToDense", ("sparse_indices", "sparse_values", "default_value", "@output_shape"),
    _dense_dtypes, _dense_shape, _np_dense, _dense_grad, host=True,
    attrs={"validate_indices": True}, operand_dtypes={"sparse_indices": None},
    samples=lambda: (
        Sample((_PLACES, floats(shape=(2,), dtype="float64"), np.float64(3.0)),
               {"output_shape": (3, 2)}),
        Sample((_PLACES.astype(np.int32), np.float32(2.0), np.float32(0.0)),
               {"output_shape": (3, 2)}),
        Sample((np.zeros((0, 1), np.int64), np.zeros(0, np.int32), np.int32(7)),
               {"output_shape": (2,)}, grad=False),
        Sample((_PLACES[::-1], floats(shape=(2,)), np.float32(0)),
               {"output_shape": (3, 2), "validate_indices": False}),
    ),
    error_samples=lambda: (
        ErrorSample((_PLACES, floats(shape=(3,)), np.float32(0)), {"output_shape": (3, 2)},
                    "2 indices for 3 values"),
        ErrorSample((_PLACES, floats(shape=(2,)), np.float32(0)), {"output_shape": (3, 2, 1)},
                    "indices of 2 numbers into a tensor of rank 3"),
        ErrorSample((_PLACES, floats(shape=(2,)), np.zeros(2, np.float32)),
                    {"output_shape": (3, 2)}, "the default value is a scalar"),
    ),
    doc="A dense tensor of a default value, with values at indices.",
)  # fmt: skip


sparse_values: Op = Op(
    "SparseValues", ("dense", "indices"), _values_dtypes, _values_shape, _np_values, _values_grad,
    host=True, operand_dtypes={"indices": None},
    samples=lambda: (
        Sample((floats(shape=(3, 2), dtype="float64"), _PLACES)),
        Sample((floats(shape=(3, 2)), np.zeros((0, 2), np.int64)), grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(shape=(3,)), _PLACES), {},
                    "indices of 2 numbers into a tensor of rank 1"),
        ErrorSample((floats(shape=(3,)), _PLACES[0]), {}, "the indices are a matrix"),
    ),
    doc="The elements of a tensor at distinct indices, each as long as the tensor has axes.",
)  # fmt: skip


# ---------------------------------------------------------------- edit distance
def levenshtein(a: list[Any], b: list[Any]) -> int:
    """How many insertions, deletions and substitutions turn `a` into `b`."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (x != y))
    return row[-1]


def _rows(indices: np.ndarray, values: np.ndarray) -> dict[tuple[int, ...], list[Any]]:
    rows: dict[tuple[int, ...], list[Any]] = {}
    for place, value in zip(indices.tolist(), values.tolist(), strict=True):
        rows.setdefault(tuple(place[:-1]), []).append(value)
    return rows


def _np_distance(
    h_indices: np.ndarray, h_values: np.ndarray, t_indices: np.ndarray, t_values: np.ndarray, *,
    hypothesis_shape: Any, truth_shape: Any, normalize: bool,
) -> np.ndarray:  # fmt: skip
    check_places(h_indices, tuple(hypothesis_shape), False)
    check_places(t_indices, tuple(truth_shape), False)
    pairs = zip(hypothesis_shape[:-1], truth_shape[:-1], strict=True)
    out = np.zeros(tuple(max(a, b) for a, b in pairs), np.float32)
    hypotheses, truths = _rows(h_indices, h_values), _rows(t_indices, t_values)
    for place in hypotheses.keys() | truths.keys():
        h, t = hypotheses.get(place, []), truths.get(place, [])
        d = levenshtein(h, t)
        if normalize:
            out[place] = d / len(t) if t else np.inf
        else:
            out[place] = d
    return out


def _distance_dtypes(h_i: DType, h: DType, t_i: DType, t: DType, **_: Any) -> DType:
    check_index_dtype(h_i, "the indices")
    check_index_dtype(t_i, "the indices")
    if h is not t:
        raise RuleError(f"the hypothesis is {h.name}, the truth {t.name}", kind="dtype")
    return dtypes.float32


def _distance_shape(
    ctx: Infer, *types: TensorType, hypothesis_shape: Any, truth_shape: Any, **_: Any
) -> tuple[Dim, ...]:
    h, t = sizes(hypothesis_shape, "hypothesis_shape"), sizes(truth_shape, "truth_shape")
    if len(h) != len(t) or len(h) < 2:
        raise RuleError(f"hypothesis and truth have one rank of at least 2, got {len(h)}, {len(t)}")
    return tuple(D.maximum(a, b) for a, b in zip(h[:-1], t[:-1], strict=True))


edit_distance = Op(
    "EditDistance",
    ("hypothesis_indices", "hypothesis_values", "truth_indices", "truth_values",
     "@hypothesis_shape", "@truth_shape"),
    _distance_dtypes, _distance_shape, _np_distance, None, host=True, attrs={"normalize": True},
    operand_dtypes={k: None for k in (
        "hypothesis_indices", "hypothesis_values", "truth_indices", "truth_values"
    )},
    samples=lambda: (
        Sample((_PLACES, np.array([3, 4]), np.array([[0, 0], [0, 1], [1, 0]]), np.array([3, 3, 5])),
               {"hypothesis_shape": (3, 2), "truth_shape": (2, 2)}, grad=False),
        Sample((_PLACES, np.array([3, 4]), _PLACES, np.array([3, 5])),
               {"hypothesis_shape": (3, 2), "truth_shape": (3, 2), "normalize": False}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((_PLACES, np.array([3, 4]), _PLACES, np.array([3, 5])),
                    {"hypothesis_shape": (3, 2), "truth_shape": (3, 2, 1)},
                    "of at least 2, got 2, 3"),
    ),
    doc="The Levenshtein distance of each row of one sparse tensor from that of another.",
)  # fmt: skip
