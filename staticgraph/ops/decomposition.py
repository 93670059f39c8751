"""Factorisations of matrices in the last two axes, run on the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.errors import UsageError
from staticgraph.ir import dims as D
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import Infer, Op, Sample, lookup
from staticgraph.ir.types import TensorType
from staticgraph.ops.linalg import (
    ERRORS,
    REAL,
    checked,
    inverse_gaps,
    matrices,
    matrix_dims,
    mm,
    positive,
    scale_columns,
    square_dims,
    transpose,
    triangle,
    triangular_solve,
)
from staticgraph.ops.rules import floats, same


def _symmetric(m: Any) -> Any:
    """Half of ``m + transpose(m)``."""
    return (m + transpose(m)) * 0.5


# ---------------------------------------------------------------- Cholesky
def _cholesky_grad(g: Any, y: Any, x: Any) -> tuple[Any]:
    # Murray, "Differentiation of the Cholesky decomposition" (2016), the blocked form's kernel.
    inner = triangle(mm(y, g, True), diagonal=0.5)
    left = triangular_solve(y, inner, lower=True, adjoint=True)
    both = transpose(triangular_solve(y, transpose(left), lower=True, adjoint=True))
    return (_symmetric(both),)


cholesky: Op = Op(
    "Cholesky", ("input",), same(REAL), lambda ctx, x: square_dims(ctx, x),
    checked(np.linalg.cholesky, "the matrix is not positive definite"),
    _cholesky_grad, host=True,
    # TensorFlow's derivative is that of a symmetric matrix, which differences do not see.
    samples=lambda: (
        Sample((positive(1, 3, 3),), grad=False), Sample((positive(2, 2, 4, 4),), grad=False),
        Sample((positive(1, 1, 1, dtype="float32"),)),
        Sample((floats(shape=(0, 2, 2)),), grad=False),
    ),
    error_samples=ERRORS, doc="The lower triangular L of ``L @ transpose(L) = x``.",
)  # fmt: skip


# ---------------------------------------------------------------- QR
def _qr_shape(ctx: Infer, x: TensorType, *, full_matrices: bool) -> tuple[Any, ...]:
    *lead, m, n = matrix_dims(x)
    p = D.minimum(m, n)
    return ((*lead, m, m), (*lead, m, n)) if full_matrices else ((*lead, m, p), (*lead, p, n))


def _np_qr(x: np.ndarray, *, full_matrices: bool) -> tuple[np.ndarray, np.ndarray]:
    q, r = np.linalg.qr(x, mode="complete" if full_matrices else "reduced")
    return q, r


def _qr_grad(gs: Any, ys: Any, x: Any, *, full_matrices: bool) -> tuple[Any]:
    (gq, gr), (q, r) = gs, ys
    m, n = x.type.dims[-2:]
    tall = not (isinstance(m, int) and isinstance(n, int)) or m >= n
    if not tall or (full_matrices and m != n):
        raise UsageError(
            "the gradient of Qr needs at least as many rows as columns and reduced factors"
        )

    def solve_r(b: Any) -> Any:  # b @ inverse(transpose(r))
        return transpose(triangular_solve(r, transpose(b), lower=False, adjoint=False))

    def outside(a: Any) -> Any:
        return triangle(a - transpose(a), lower=True, diagonal=0.0)

    left = mm(r, gr, False, True)
    mid = outside(left) + outside(mm(q, gq, True))
    g = mm(q, gr + solve_r(mid)) + solve_r(gq - mm(q, mm(q, gq, True)))
    return (g,)


qr: Op = Op(
    "Qr", ("input",), lambda x, **_: (same(REAL)(x),) * 2, _qr_shape, _np_qr, _qr_grad,
    host=True, results=2, attrs={"full_matrices": False},
    samples=lambda: (
        Sample((matrices(1, 3, 3),)), Sample((matrices(2, 2, 4, 3),)),
        Sample((matrices(1, 2, 3, dtype="float32"),), grad=False),
        Sample((matrices(1, 4, 2, dtype="float32"),), {"full_matrices": True}, grad=False),
    ),
    error_samples=ERRORS[1:], doc="Orthogonal q and upper triangular r with ``q @ r = x``.",
)  # fmt: skip


# ---------------------------------------------------------------- symmetric eigenvalues
def _eig_dtypes(x: DType, **_: Any) -> tuple[DType, DType]:
    return same(REAL)(x), x


def _eig_shape(ctx: Infer, x: TensorType, *, compute_v: bool) -> tuple[Any, ...]:
    dims: tuple[Dim, ...] = square_dims(ctx, x)
    return dims[:-1], dims if compute_v else (0,)


def _np_eig(x: np.ndarray, *, compute_v: bool) -> tuple[np.ndarray, np.ndarray]:
    if compute_v:
        e, v = np.linalg.eigh(x)
        return e, v
    return np.linalg.eigvalsh(x), np.zeros((0,), x.dtype)


def _eig_grad(gs: Any, ys: Any, x: Any, *, compute_v: bool) -> tuple[Any]:
    ge, gv = gs
    if compute_v:
        e, v = ys
        inner = inverse_gaps(e) * mm(v, gv, True)
    else:
        e, v = self_adjoint_eig(x, compute_v=True)
        inner = None
    g = mm(scale_columns(v, ge), v, False, True)
    if inner is not None:
        g = g + mm(v, mm(inner, v, False, True))
    # Only the lower triangle is read; the derivative falls on it.
    return (triangle(g + transpose(g), diagonal=0.5),)


self_adjoint_eig: Op = Op(
    "SelfAdjointEigV2", ("input",), _eig_dtypes, _eig_shape, checked(_np_eig, "no convergence"),
    _eig_grad, host=True, results=2, attrs={"compute_v": True},
    samples=lambda: (
        Sample((positive(1, 3, 3),)), Sample((positive(2, 2, 3, 3),), {"compute_v": False}),
        Sample((positive(1, 2, 2, dtype="float32"),), grad=False),
    ),
    error_samples=ERRORS, doc="Ascending eigenvalues and eigenvectors of symmetric matrices.",
)  # fmt: skip


# ---------------------------------------------------------------- singular values
def _svd_shape(
    ctx: Infer, x: TensorType, *, compute_uv: bool, full_matrices: bool
) -> tuple[Any, ...]:
    *lead, m, n = matrix_dims(x)
    p = D.minimum(m, n)
    if not compute_uv:
        return (*lead, p), (0,), (0,)
    u = (*lead, m, m if full_matrices else p)
    return (*lead, p), u, (*lead, n, n if full_matrices else p)


def _np_svd(x: np.ndarray, *, compute_uv: bool, full_matrices: bool) -> Any:
    if not compute_uv:
        none = np.zeros((0,), x.dtype)
        return np.linalg.svd(x, compute_uv=False), none, none
    u, s, vt = np.linalg.svd(x, full_matrices=full_matrices)
    return s, u, np.swapaxes(vt, -1, -2)


def _svd_grad(gs: Any, ys: Any, x: Any, *, compute_uv: bool, full_matrices: bool) -> tuple[Any]:
    # Giles, "Collected matrix derivative results" (2008), section 3.2, on thin factors.
    g_s, g_u, g_v = gs
    if not compute_uv:
        _, u, v = svd(x, compute_uv=True, full_matrices=False)
        return (mm(scale_columns(u, g_s), v, False, True),)
    m, n = x.type.dims[-2:]
    if full_matrices and m != n:
        raise UsageError("the gradient of Svd with full_matrices needs square matrices")
    s, u, v = ys
    f = inverse_gaps(s * s)

    def rotate(w: Any, g_w: Any) -> Any:
        k = mm(w, g_w, True)
        return f * (k - transpose(k))

    middle = lookup("ExpandDims")(s, -1)
    inner = scale_columns(rotate(u, g_u), s) + middle * rotate(v, g_v)
    g = mm(scale_columns(u, g_s) + mm(u, inner), v, False, True)
    inverse = lookup("Reciprocal")(s)
    # What of the cotangents lies outside the spaces that u and v span (nought in square ones).
    rest_u = scale_columns(g_u - mm(u, mm(u, g_u, True)), inverse)
    rest_v = scale_columns(g_v - mm(v, mm(v, g_v, True)), inverse)
    return (g + mm(rest_u, v, False, True) + mm(u, rest_v, False, True),)


svd: Op = Op(
    "Svd", ("input",), lambda x, **_: (same(REAL)(x),) * 3, _svd_shape,
    checked(_np_svd, "no convergence"), _svd_grad,
    host=True, results=3, attrs={"compute_uv": True, "full_matrices": False},
    samples=lambda: (
        Sample((matrices(1, 3, 3),)), Sample((matrices(2, 2, 4, 3),)), Sample((matrices(3, 2, 4),)),
        Sample((matrices(4, 3, 2),), {"compute_uv": False}),
        Sample((matrices(1, 3, 2, dtype="float32"),), {"full_matrices": True}, grad=False),
    ),
    error_samples=ERRORS[1:],
    doc="Descending singular values, u and v with ``u @ diag(s) @ v^T = x``.",
)  # fmt: skip
