"""Linear algebra on matrices in the last two axes, run on the host.

Factorisations are numpy's and scipy's.  Signs of singular vectors, of eigenvectors and of the
columns of Q are those that LAPACK gives, as in TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from staticgraph.errors import InvalidArgumentError
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.scalar import Expr, Operand, s
from staticgraph.ir.types import TensorType
from staticgraph.ops.matmul import batch_matmul
from staticgraph.ops.rules import floats, ints, same, sum_to

REAL = (dtypes.float32, dtypes.float64)


# ---------------------------------------------------------------- shared rules
def matrix_dims(t: TensorType) -> tuple[Dim, ...]:
    """The sizes of `t`, of which there must be two."""
    if len(t.dims) < 2:
        raise RuleError(f"takes tensors of rank 2 or more, got rank {len(t.dims)}")
    return t.dims


def square_dims(ctx: Infer, t: TensorType) -> tuple[Dim, ...]:
    """The sizes of `t`, of which the last two must agree."""
    dims = matrix_dims(t)
    n = ctx.equal(dims[-2], dims[-1], "takes square matrices, got {a} rows and {b} columns")
    return (*dims[:-2], n, n)


def _square_shape(ctx: Infer, x: TensorType, **_: Any) -> tuple[Dim, ...]:
    return square_dims(ctx, x)


def _scalar_shape(ctx: Infer, x: TensorType) -> tuple[Dim, ...]:
    return square_dims(ctx, x)[:-2]


def _repeat(dtype: Callable[..., DType], n: int) -> Callable[..., tuple[DType, ...]]:
    return lambda *inputs, **_: (dtype(*inputs),) * n


def checked(function: Callable[..., Any], complaint: str) -> Callable[..., Any]:
    """`function` with numpy's error replaced by the package's."""

    def rule(*arrays: np.ndarray, **attrs: Any) -> Any:
        try:
            return function(*arrays, **attrs)
        except np.linalg.LinAlgError:
            raise InvalidArgumentError(complaint) from None

    return rule


_SINGULAR = "the matrix is not invertible"


def mm(a: Any, b: Any, ta: bool = False, tb: bool = False) -> Any:
    """``a @ b``, with either transposed."""
    return batch_matmul(a, b, adj_x=ta, adj_y=tb)


def transpose(a: Any) -> Any:
    """The transposed matrices."""
    return lookup("SwapLastAxes")(a)


def matrices(seed: int, *shape: int, dtype: str = "float64") -> np.ndarray:
    """Well-conditioned random matrices."""
    m = floats(-1, 1, shape, seed, "float64")
    eye = np.eye(shape[-2], shape[-1])
    return np.asarray(m + 2.5 * eye * np.arange(1, shape[-1] + 1)).astype(dtype)


def positive(seed: int, *shape: int, dtype: str = "float64") -> np.ndarray:
    """Random positive definite matrices."""
    m = floats(-1, 1, shape, seed, "float64")
    return np.asarray(m @ np.swapaxes(m, -1, -2) + 2 * np.eye(shape[-1])).astype(dtype)


NOT_SQUARE = ErrorSample(
    (floats(shape=(2, 3)),), {}, "takes square matrices, got 2 rows and 3 columns"
)
NOT_MATRIX = ErrorSample((floats(shape=(3,)),), {}, "rank 2 or more, got rank 1")
NOT_REAL = ErrorSample((ints(shape=(2, 2)),), {}, "does not take int32")
ERRORS = (NOT_SQUARE, NOT_MATRIX, NOT_REAL)


# ---------------------------------------------------------------- parts of matrices
swap_last_axes: Op = Op(
    "SwapLastAxes", ("x",), lambda x: x,
    lambda ctx, x: (*matrix_dims(x)[:-2], x.dims[-1], x.dims[-2]),
    lambda x: np.swapaxes(x, -1, -2), lambda g, y, x: (transpose(g),),
    lower=lambda ix, x: x[(*ix[:-2], ix[-1], ix[-2])],
    samples=lambda: (
        Sample((floats(shape=(2, 3), dtype="float64"),)), Sample((floats(shape=(2, 1, 4)),)),
    ),
    error_samples=lambda: (NOT_MATRIX,), doc="Transpose the matrices in the last two axes.",
)  # fmt: skip


def _part_lower(ix: tuple[Expr, ...], x: Operand, *, lower: bool, diagonal: float) -> Expr:
    i, j = ix[-2], ix[-1]
    inside = (j < i) if lower else (i < j)
    value = x[ix]
    return s.select(inside, value, s.select(i.eq(j), value * diagonal, 0))


def _np_part(x: np.ndarray, *, lower: bool, diagonal: float) -> np.ndarray:
    out = np.tril(x, -1) if lower else np.triu(x, 1)
    n = min(x.shape[-2:])
    k = np.arange(n)
    out[..., k, k] = x[..., k, k] * x.dtype.type(diagonal)
    return out


triangle: Op = Op(
    "TrianglePart", ("x",), same(REAL), lambda ctx, x, **_: matrix_dims(x), _np_part,
    lambda g, y, x, *, lower, diagonal: (triangle(g, lower=lower, diagonal=diagonal),),
    lower=_part_lower, attrs={"lower": True, "diagonal": 1.0},
    samples=lambda: (
        Sample((floats(shape=(3, 3), dtype="float64"),), {"diagonal": 0.5}),
        Sample((floats(shape=(2, 3, 4)),), {"lower": False}),
        Sample((floats(shape=(4, 2)),), {"diagonal": 0.0}),
    ),
    error_samples=lambda: (NOT_MATRIX,),
    doc="The part below (or above) the diagonal, and the diagonal times a number.",
)  # fmt: skip


def scale_columns(m: Any, v: Any) -> Any:
    """``m @ diag(v)``."""
    return m * lookup("ExpandDims")(v, -2)


def inverse_gaps(values: Any) -> Any:
    """``1 / (values[j] - values[i])``, and 0 on the diagonal."""
    gaps = lookup("ExpandDims")(values, -2) - lookup("ExpandDims")(values, -1)
    zero = lookup("Equal")(gaps, 0.0)
    select = lookup("Select")
    safe = select(zero, lookup("OnesLike")(gaps), gaps)
    return select(zero, lookup("ZerosLike")(gaps), lookup("Reciprocal")(safe))


# ---------------------------------------------------------------- inverse and determinant
def _np_inverse(x: np.ndarray, *, adjoint: bool) -> np.ndarray:
    return np.asarray(np.linalg.inv(np.swapaxes(x, -1, -2) if adjoint else x))


def _inverse_grad(g: Any, y: Any, adjoint: bool) -> Any:
    product = mm(mm(y, g, False, True), y) if adjoint else mm(mm(y, g, True), y, False, True)
    return lookup("Neg")(product)


matrix_inverse: Op = Op(
    "MatrixInverse", ("input",), same(REAL), _square_shape, checked(_np_inverse, _SINGULAR),
    lambda g, y, x, *, adjoint: (_inverse_grad(g, y, adjoint),),
    host=True, attrs={"adjoint": False},
    samples=lambda: (
        Sample((matrices(1, 3, 3),)), Sample((matrices(2, 2, 3, 3),), {"adjoint": True}),
        Sample((matrices(2, 1, 1, dtype="float32"),)), Sample((floats(shape=(0, 2, 2)),)),
    ),
    error_samples=ERRORS, doc="The inverses of matrices.",
)  # fmt: skip

matrix_determinant: Op = Op(
    "MatrixDeterminant", ("input",), same(REAL), _scalar_shape,
    lambda x: np.asarray(np.linalg.det(x), x.dtype),
    lambda g, y, x: (
        lookup("ExpandDims")(lookup("ExpandDims")(g * y, -1), -1) * matrix_inverse(x, adjoint=True),
    ),
    host=True,
    samples=lambda: (
        Sample((matrices(1, 3, 3),)), Sample((matrices(2, 2, 2, 2),)),
        Sample((matrices(3, 2, 2, dtype="float32"),)),
    ),
    error_samples=ERRORS, doc="The determinants of matrices.",
)  # fmt: skip


def _np_log_det(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sign, log = np.linalg.slogdet(x)
    return np.asarray(sign, x.dtype), np.asarray(log, x.dtype)


log_matrix_determinant: Op = Op(
    "LogMatrixDeterminant", ("input",), _repeat(same(REAL), 2),
    lambda ctx, x: (_scalar_shape(ctx, x),) * 2, _np_log_det,
    lambda gs, ys, x: (
        lookup("ExpandDims")(lookup("ExpandDims")(gs[1], -1), -1) * matrix_inverse(x, adjoint=True),
    ),
    host=True, results=2,
    samples=lambda: (
        Sample((matrices(1, 3, 3),)), Sample((matrices(2, 2, 2, 2, dtype="float32"),)),
    ),
    error_samples=ERRORS, doc="The sign and the logarithm of the magnitude of determinants.",
)  # fmt: skip


# ---------------------------------------------------------------- systems
def _solve_shape(ctx: Infer, matrix: TensorType, rhs: TensorType, **_: Any) -> tuple[Dim, ...]:
    m = square_dims(ctx, matrix)
    r = matrix_dims(rhs)
    ctx.equal(m[-1], r[-2], "the matrix has {a} rows and the right-hand side {b}")
    return (*ctx.broadcast(m[:-2], r[:-2]), r[-2], r[-1])


def _np_solve(matrix: np.ndarray, rhs: np.ndarray, *, adjoint: bool) -> np.ndarray:
    return np.asarray(np.linalg.solve(np.swapaxes(matrix, -1, -2) if adjoint else matrix, rhs))


def _solve_grad(g: Any, y: Any, matrix: Any, rhs: Any, *, adjoint: bool) -> tuple[Any, Any]:
    g_rhs = matrix_solve(matrix, g, adjoint=not adjoint)
    g_matrix = mm(y, g_rhs, False, True) if adjoint else mm(g_rhs, y, False, True)
    return sum_to(lookup("Neg")(g_matrix), matrix), sum_to(g_rhs, rhs)


_SOLVE_ERRORS = (
    ErrorSample(
        (floats(shape=(2, 2)), floats(shape=(3, 1))), {}, "2 rows and the right-hand side 3"
    ),
    ErrorSample((floats(shape=(2, 3)), floats(shape=(2, 1))), {}, "takes square matrices"),
)

matrix_solve: Op = Op(
    "MatrixSolve", ("matrix", "rhs"), same(REAL), _solve_shape, checked(_np_solve, _SINGULAR),
    _solve_grad, host=True, attrs={"adjoint": False},
    samples=lambda: (
        Sample((matrices(1, 3, 3), floats(shape=(3, 2), dtype="float64"))),
        Sample((matrices(1, 2, 3, 3), floats(shape=(2, 3, 1), dtype="float64")), {"adjoint": True}),
        Sample((matrices(1, 2, 2, dtype="float32"), floats(shape=(2, 2)))),
    ),
    error_samples=_SOLVE_ERRORS, doc="Solve ``matrix @ x = rhs``.",
)  # fmt: skip


def _np_triangular(
    matrix: np.ndarray, rhs: np.ndarray, *, lower: bool, adjoint: bool
) -> np.ndarray:
    lead = np.broadcast_shapes(matrix.shape[:-2], rhs.shape[:-2])
    a = np.broadcast_to(matrix, lead + matrix.shape[-2:]).reshape(-1, *matrix.shape[-2:])
    b = np.broadcast_to(rhs, lead + rhs.shape[-2:]).reshape(-1, *rhs.shape[-2:])
    import scipy.linalg  # type: ignore[import-untyped]  # here: it takes longer to import than this package

    out = np.empty_like(b)
    for i in range(len(a)):
        out[i] = scipy.linalg.solve_triangular(a[i], b[i], lower=lower, trans=1 if adjoint else 0)
    return out.reshape(lead + rhs.shape[-2:])


def _triangular_grad(
    g: Any, y: Any, matrix: Any, rhs: Any, *, lower: bool, adjoint: bool
) -> tuple[Any, Any]:
    g_rhs = triangular_solve(matrix, g, lower=lower, adjoint=not adjoint)
    g_matrix = mm(y, g_rhs, False, True) if adjoint else mm(g_rhs, y, False, True)
    part = triangle(lookup("Neg")(g_matrix), lower=lower)
    return sum_to(part, matrix), sum_to(g_rhs, rhs)


triangular_solve: Op = Op(
    "MatrixTriangularSolve", ("matrix", "rhs"), same(REAL), _solve_shape,
    checked(_np_triangular, _SINGULAR), _triangular_grad, host=True,
    attrs={"lower": True, "adjoint": False},
    samples=lambda: tuple(
        Sample((matrices(1, *lead, 3, 3), floats(shape=(*lead, 3, 2), dtype="float64")),
               {"lower": low, "adjoint": adj})
        for lead, low, adj in (
            ((), True, False), ((2,), False, False), ((), True, True), ((2,), False, True),
        )
    ),
    error_samples=_SOLVE_ERRORS,
    doc="Solve ``matrix @ x = rhs`` by substitution; the other triangle is not read.",
)  # fmt: skip
