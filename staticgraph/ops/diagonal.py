"""Diagonals of matrices, and the parts of matrices on either side of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.ir import dims as D
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import ErrorSample, Infer, Op, RuleError, Sample
from staticgraph.ir.scalar import Expr, Operand, lift, s
from staticgraph.ir.types import TensorType
from staticgraph.ops.rules import ANY, floats, ints, same, zeros_like
from staticgraph.ops.shape import ZERO, show
from staticgraph.ops.slicing import all_of


def _matrix(x: TensorType) -> tuple[Dim, ...]:
    if x.rank < 2:
        raise RuleError(f"takes matrices, got a tensor of rank {x.rank}")
    return x.dims


def _eye_mask(rows: int, columns: int) -> np.ndarray:
    return np.eye(rows, columns, dtype=bool)


# ---------------------------------------------------------------- one diagonal per matrix
def _diag_shape(ctx: Infer, x: TensorType) -> tuple[Dim, ...]:
    if x.rank < 1:
        raise RuleError("takes vectors, got a scalar")
    return (*x.dims, x.dims[-1])


def _np_matrix_diag(x: np.ndarray) -> np.ndarray:
    return np.where(_eye_mask(x.shape[-1], x.shape[-1]), x[..., None], np.zeros((), x.dtype))


def _matrix_diag_lower(ix: tuple[Expr, ...], x: Operand) -> Expr:
    return s.select(ix[-2].eq(ix[-1]), x[ix[:-1]], lift(0, x.dtype))


matrix_diag: Op = Op(
    "MatrixDiag", ("diagonal",), same(ANY), _diag_shape, _np_matrix_diag,
    lambda g, y, x: (matrix_diag_part(g),), lower=_matrix_diag_lower,
    samples=lambda: (
        Sample((floats(shape=(2, 3), dtype="float64"),)),
        Sample((floats(shape=(17,)),)),
        Sample((floats(shape=(0,)),)),
        Sample((ints(shape=(3,)),), grad=False),
    ),
    error_samples=lambda: (ErrorSample((np.float32(1),), {}, "takes vectors, got a scalar"),),
    doc="Square matrices with the given diagonals, zero elsewhere.",
)  # fmt: skip


def _part_shape(ctx: Infer, x: TensorType) -> tuple[Dim, ...]:
    *batch, m, n = _matrix(x)
    return (*batch, D.minimum(m, n))


matrix_diag_part: Op = Op(
    "MatrixDiagPart", ("input",), same(ANY), _part_shape,
    lambda x: np.ascontiguousarray(np.diagonal(x, axis1=-2, axis2=-1)),
    lambda g, y, x: (matrix_set_diag(zeros_like(x), g),),
    lower=lambda ix, x: x[(*ix, ix[-1])],
    samples=lambda: (
        Sample((floats(shape=(2, 3, 3), dtype="float64"),)),
        Sample((floats(shape=(3, 5)),)),
        Sample((floats(shape=(5, 1)),)),
        Sample((floats(shape=(0, 2)),)),
        Sample((ints(),), grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(shape=(3,)),), {}, "takes matrices, got a tensor of rank"),
    ),
    doc="The diagonal of each matrix.",
)  # fmt: skip


def _set_shape(ctx: Infer, x: TensorType, diagonal: TensorType) -> tuple[Dim, ...]:
    *batch, m, n = _matrix(x)
    want = (*batch, D.minimum(m, n))
    if diagonal.shape is not None:
        text = f"the diagonals of {show(x.dims)} have shape {show(want)}, not {show(diagonal.dims)}"
        if len(diagonal.dims) != len(want):
            raise RuleError(text)
        for a, b in zip(diagonal.dims, want, strict=True):
            ctx.equal(a, b, text)
    return x.dims


def _np_set_diag(x: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    out = np.array(x)
    k = np.arange(min(x.shape[-2:]))
    out[..., k, k] = diagonal
    return out


def _set_diag_lower(ix: tuple[Expr, ...], x: Operand, diagonal: Operand) -> Expr:
    on = ix[-2].eq(ix[-1])
    return s.select(on, diagonal[(*ix[:-2], s.select(on, ix[-1], ZERO))], x[ix])


matrix_set_diag: Op = Op(
    "MatrixSetDiag", ("input", "diagonal"), same(ANY), _set_shape, _np_set_diag,
    lambda g, y, x, diagonal: (matrix_set_diag(g, zeros_like(diagonal)), matrix_diag_part(g)),
    lower=_set_diag_lower,
    samples=lambda: (
        Sample((floats(shape=(2, 3, 3), dtype="float64"), floats(shape=(2, 3), dtype="float64"))),
        Sample((floats(shape=(3, 5)), floats(shape=(3,)))),
        Sample((floats(shape=(4, 2)), floats(shape=(2,)))),
        Sample((ints(shape=(2, 2)), ints(shape=(2,))), grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(), floats(shape=(4,))), {},
                    r"diagonals of \[3, 4\] have shape \[3\], not \[4\]"),
    ),
    doc="Each matrix with another diagonal.",
)  # fmt: skip


# ---------------------------------------------------------------- bands
def _band_dtypes(x: DType, lower: DType, upper: DType) -> DType:
    for what, d in (("num_lower", lower), ("num_upper", upper)):
        if not d.is_integer:
            raise RuleError(f"{what} must be an integer, got {d.name}", kind="dtype")
    return x


def _band_shape(ctx: Infer, x: TensorType, lower: TensorType, upper: TensorType) -> tuple[Dim, ...]:
    for what, t in (("num_lower", lower), ("num_upper", upper)):
        if t.shape is not None and t.shape != ():
            raise RuleError(f"{what} must be a scalar, it has rank {t.rank}")
    return _matrix(x)


def _np_band(x: np.ndarray, lower: Any, upper: Any) -> np.ndarray:
    i, j = np.arange(x.shape[-2])[:, None], np.arange(x.shape[-1])
    inside = ((lower < 0) | (i - j <= lower)) & ((upper < 0) | (j - i <= upper))
    return np.where(inside, x, np.zeros((), x.dtype))


def _band_lower(ix: tuple[Expr, ...], x: Operand, lower: Operand, upper: Operand) -> Expr:
    low, up = s.cast(lower[()], dtypes.int64), s.cast(upper[()], dtypes.int64)
    below = (low < 0) | (ix[-2] - ix[-1] <= low)
    above = (up < 0) | (ix[-1] - ix[-2] <= up)
    return s.select(below & above, x[ix], lift(0, x.dtype))


def _band(lower: int, upper: int) -> tuple[np.generic, np.generic]:
    return np.int64(lower), np.int64(upper)


matrix_band_part: Op = Op(
    "MatrixBandPart", ("input", "num_lower", "num_upper"), _band_dtypes, _band_shape, _np_band,
    lambda g, y, x, lower, upper: (matrix_band_part(g, lower, upper), None, None),
    lower=_band_lower,
    operand_dtypes={"num_lower": None, "num_upper": None},
    samples=lambda: (
        Sample((floats(shape=(2, 4, 3), dtype="float64"), *_band(-1, 0))),
        Sample((floats(shape=(4, 4)), *_band(0, -1))),
        Sample((floats(shape=(4, 6)), *_band(1, 2))),
        Sample((ints(), *_band(0, 0)), grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(shape=(3,)), *_band(0, 0)), {}, "takes matrices"),
        ErrorSample((floats(), np.float32(1), np.int64(1)), {},
                    "num_lower must be an integer, got float32"),
    ),
    doc="Keep `num_lower` diagonals below the main one and `num_upper` above; all if negative.",
)  # fmt: skip


# ---------------------------------------------------------------- tensors of doubled rank
def _np_diag(x: np.ndarray) -> np.ndarray:
    out = np.zeros((x.size, x.size), x.dtype)
    np.fill_diagonal(out, x.ravel())
    return out.reshape(x.shape * 2)


def _diag_lower(ix: tuple[Expr, ...], x: Operand) -> Expr:
    n = len(x.shape)
    on = all_of([a.eq(b) for a, b in zip(ix[:n], ix[n:], strict=True)])
    return x[()] if on is None else s.select(on, x[ix[:n]], lift(0, x.dtype))


diag: Op = Op(
    "Diag", ("diagonal",), same(ANY), lambda ctx, x: x.dims * 2, _np_diag,
    lambda g, y, x: (diag_part(g),), lower=_diag_lower,
    samples=lambda: (
        Sample((floats(shape=(3,), dtype="float64"),)),
        Sample((floats(shape=(2, 3)),)),
        Sample((floats(shape=(0,)),)),
        Sample((ints(shape=(4,)),), grad=False),
    ),
    doc="The tensor of twice the rank that has the operand where both halves of the index agree.",
)  # fmt: skip


def _diag_part_shape(ctx: Infer, x: TensorType) -> tuple[Dim, ...]:
    if x.rank % 2:
        raise RuleError(f"takes a tensor of even rank, got {x.rank}")
    n = x.rank // 2
    text = f"the halves of {show(x.dims)} differ, {{a}} and {{b}}"
    return tuple(ctx.equal(a, b, text) for a, b in zip(x.dims[:n], x.dims[n:], strict=True))


def _np_diag_part(x: np.ndarray) -> np.ndarray:
    half = x.shape[: x.ndim // 2]
    n = int(np.prod(half))
    return np.ascontiguousarray(np.diagonal(x.reshape(n, n))).reshape(half)


diag_part: Op = Op(
    "DiagPart", ("input",), same(ANY), _diag_part_shape, _np_diag_part,
    lambda g, y, x: (diag(g),), lower=lambda ix, x: x[ix + ix],
    samples=lambda: (
        Sample((floats(shape=(3, 3), dtype="float64"),)),
        Sample((floats(shape=(2, 3, 2, 3)),)),
        Sample((floats(shape=(0, 0)),)),
        Sample((ints(shape=(2, 2)),), grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(),), {}, r"the halves of \[3, 4\] differ, 3 and 4"),
        ErrorSample((floats(shape=(3,)),), {}, "takes a tensor of even rank, got 1"),
    ),
    doc="The elements where both halves of the index agree.",
)  # fmt: skip
