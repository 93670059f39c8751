"""`tf.linalg`: matrices."""

from staticgraph.api.clip import global_norm
from staticgraph.api.contraction import einsum, tensordot
from staticgraph.api.linalg import (
    adjoint,
    cholesky,
    cholesky_solve,
    cross,
    l2_normalize,
    logdet,
    matmul,
    matrix_determinant,
    matrix_inverse,
    matrix_solve,
    matrix_solve_ls,
    matrix_transpose,
    matrix_triangular_solve,
    matvec,
    norm,
    normalize,
    qr,
    self_adjoint_eig,
    self_adjoint_eigvals,
    slogdet,
    svd,
    trace,
)
from staticgraph.api.shapes import (
    diag,
    diag_part,
    eye,
    matrix_band_part,
    matrix_diag,
    matrix_diag_part,
    matrix_set_diag,
)

band_part = matrix_band_part
det = matrix_determinant
eigh = self_adjoint_eig
eigvalsh = self_adjoint_eigvals
inv = matrix_inverse
lstsq = matrix_solve_ls
set_diag = matrix_set_diag
solve = matrix_solve
tensor_diag = diag
tensor_diag_part = diag_part
transpose = matrix_transpose
triangular_solve = matrix_triangular_solve
diag = matrix_diag
diag_part = matrix_diag_part

__all__ = [
    "adjoint", "band_part", "cholesky", "cholesky_solve", "cross", "det", "diag", "diag_part",
    "eigh", "eigvalsh", "einsum", "eye", "global_norm", "inv", "l2_normalize", "logdet", "lstsq",
    "matmul", "matrix_transpose", "matvec", "norm", "normalize", "qr", "set_diag", "slogdet",
    "solve", "svd", "tensor_diag", "tensor_diag_part", "tensordot", "trace", "transpose",
    "triangular_solve",
]  # fmt: skip
