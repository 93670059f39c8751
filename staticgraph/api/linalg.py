"""Matrix products, contractions, norms and linear algebra."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.api.framework import name_scope
from staticgraph.api.reduction import either, reduce_max, reduce_sum
from staticgraph.errors import GraphError, UnimplementedError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.build import constant, convert, is_tensor_like
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Tensor


def _rank(x: Tensor) -> int | None:
    return None if x.type.shape is None else len(x.type.shape)


def matmul(
    a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False, adjoint_a: bool = False,
    adjoint_b: bool = False, a_is_sparse: bool = False, b_is_sparse: bool = False,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """The product of matrices; leading axes, where there are any, broadcast.

    Args:
      transpose_a, adjoint_a: multiply by the transposed first factor.
      transpose_b, adjoint_b: multiply by the transposed second factor.
      a_is_sparse, b_is_sparse: accepted and ignored.

    Raises:
      ValueError: the inner dimensions differ.

    >>> import staticgraph as tf
    >>> tf.matmul(tf.ones([2, 3]), tf.ones([3, 4])).shape
    TensorShape([Dimension(2), Dimension(4)])
    """
    del a_is_sparse, b_is_sparse
    for transpose, adjoint, which in ((transpose_a, adjoint_a, "a"), (transpose_b, adjoint_b, "b")):
        if transpose and adjoint:
            raise GraphError(
                f"matmul: give one of transpose_{which} and adjoint_{which}", loc=loc.caller()
            )
    ta, tb = bool(transpose_a or adjoint_a), bool(transpose_b or adjoint_b)
    with name_scope(name, "MatMul", [a, b]) as scope:
        a = convert(a, name="a")
        b = convert(b, None if is_tensor_like(b) else a.dtype.base, name="b")
        if any(_rank(t) is None or _rank(t) > 2 for t in (a, b)):  # type: ignore[operator]
            return lookup("BatchMatMulV2")(a, b, adj_x=ta, adj_y=tb, name=scope)  # type: ignore[no-any-return]
        return lookup("MatMul")(a, b, transpose_a=ta, transpose_b=tb, name=scope)  # type: ignore[no-any-return]


def xw_plus_b(x: Any, weights: Any, biases: Any, name: str | None = None) -> Tensor:
    """``matmul(x, weights) + biases``."""
    with name_scope(name, "xw_plus_b", [x, weights, biases]) as scope:
        x = convert(x, name="x")
        weights = convert(weights, name="weights")
        biases = convert(biases, name="biases")
        return lookup("BiasAdd")(matmul(x, weights), biases, name=scope)  # type: ignore[no-any-return]


def matrix_transpose(
    a: Any, name: str | None = "matrix_transpose", conjugate: bool = False
) -> Tensor:
    """Transpose the last two axes.

    Args:
      conjugate: of complex numbers; refused for those, and the same without it for others.
    """
    with name_scope(name, "matrix_transpose", [a]):
        a = convert(a, name="a")
        if conjugate and a.dtype.base.is_complex:
            raise UnimplementedError(
                f"matrix_transpose: complex numbers cannot be conjugated, {a.name!r} is "
                f"{a.dtype.base.name}",
                loc=loc.caller(), operands=(f"a: {a.describe()}",),
            )  # fmt: skip
        rank = _rank(a)
        if rank is None:
            return lookup("SwapLastAxes")(a)  # type: ignore[no-any-return]
        return lookup("Transpose")(a, [*range(rank - 2), rank - 1, rank - 2], name="transpose")  # type: ignore[no-any-return]


def adjoint(matrix: Any, name: str | None = None) -> Tensor:
    """Transpose the last two axes; the conjugate would be that of complex numbers, see there.

    >>> import staticgraph as tf
    >>> with tf.Session() as sess:
    ...     sess.run(tf.linalg.adjoint([[1.0, 2.0]]))
    array([[1.],
           [2.]], dtype=float32)
    """
    return matrix_transpose(matrix, name or "adjoint", conjugate=True)


def matvec(
    a: Any, b: Any, transpose_a: bool = False, adjoint_a: bool = False, a_is_sparse: bool = False,
    b_is_sparse: bool = False, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Products of matrices with vectors, ``[..., n, m]`` with ``[..., m]``.

    >>> import staticgraph as tf
    >>> with tf.Session() as sess:
    ...     sess.run(tf.linalg.matvec([[1.0, 2.0], [3.0, 4.0]], [1.0, -1.0]))
    array([-1., -1.], dtype=float32)
    """
    with name_scope(name, "MatVec", [a, b]) as scope:
        column = lookup("ExpandDims")(convert(b, name="b"), -1)
        product = matmul(
            a, column, transpose_a=transpose_a, adjoint_a=adjoint_a, a_is_sparse=a_is_sparse,
            b_is_sparse=b_is_sparse,
        )  # fmt: skip
        out: Tensor = lookup("Squeeze")(product, squeeze_dims=(-1,), name=scope)
        return out


def normalize(
    tensor: Any,
    ord: Any = "euclidean",
    axis: Any = None,
    name: str | None = None,  # noqa: A002
) -> tuple[Tensor, Tensor]:
    """`tensor` divided by its `norm`, and the norm with its axes kept."""
    with name_scope(name, "normalize", [tensor]):
        x = convert(tensor, name="tensor")
        size = norm(x, ord, axis, keepdims=True)
        out: Tensor = x / size
        return out, size


def trace(x: Any, name: str | None = None) -> Tensor:
    """The sum of the diagonal of each matrix."""
    with name_scope(name, "Trace", [x]):
        x = convert(x, name="x")
        n = lookup("Shape")(x)[-1]
        eye = lookup("OneHot")(
            lookup("Range")(0, n, 1), lookup("Shape")(x)[-1],
            np.ones((), x.dtype.base.np), np.zeros((), x.dtype.base.np), axis=-1,
        )  # fmt: skip
        return reduce_sum(x * eye, [-2, -1])


def cross(a: Any, b: Any, name: str | None = None) -> Tensor:
    """The cross product of vectors of three elements in the last axis."""
    with name_scope(name, "Cross", [a, b]) as scope:
        a, b = convert(a, name="a"), convert(b, name="b")
        after, before = [1, 2, 0], [2, 0, 1]

        def turn(t: Tensor, order: list[int]) -> Any:
            return lookup("GatherV2")(t, order, -1)

        return lookup("Sub")(  # type: ignore[no-any-return]
            turn(a, after) * turn(b, before), turn(a, before) * turn(b, after), name=scope
        )


# ---------------------------------------------------------------- norms
def norm(
    tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: Any = None,  # noqa: A002
    name: str | None = None, keep_dims: Any = None,
) -> Tensor:  # fmt: skip
    """The norm of vectors (an int `axis`, or all elements) or of matrices (a pair of axes).

    Args:
      ord: "euclidean", "fro", 1, 2, another positive number, or infinity.
      axis: None for all elements.

    Raises:
      ValueError: `ord` names no norm of this kind.
    """
    keep = bool(either("keepdims", keepdims, "keep_dims", keep_dims, False))
    matrix = isinstance(axis, (tuple, list)) and len(axis) == 2
    if isinstance(axis, (tuple, list)) and len(axis) == 1:
        axis = axis[0]
    known = ("euclidean", "fro", 1, 2, np.inf) if matrix else ("euclidean", 1, 2, np.inf)
    if ord not in known and (matrix or not np.isreal(ord) or not ord > 0):
        raise GraphError(f"norm: ord is one of {known}, got {ord!r}", loc=loc.caller())
    with name_scope(name, "norm", [tensor]):
        x = convert(tensor, name="tensor")
        if matrix and ord == 2:
            perm = [i for i in range(_known_rank(x)) if i not in {a % _known_rank(x) for a in axis}]
            moved = lookup("Transpose")(x, [*perm, *(a % _known_rank(x) for a in axis)])
            values = lookup("Svd")(moved, compute_uv=False)[0]
            out = reduce_max(values, -1)
            for a in sorted(a % _known_rank(x) for a in axis) if keep else ():
                out = lookup("ExpandDims")(out, a)
            return out
        if ord in ("euclidean", "fro", 2):
            return lookup("Sqrt")(reduce_sum(x * x, axis, True if keep else None))  # type: ignore[no-any-return]
        size = lookup("Abs")(x)
        if matrix:  # 1: largest column sum; infinity: largest row sum
            first, second = (axis[0], axis[1]) if ord == 1 else (axis[1], axis[0])
            out = reduce_max(reduce_sum(size, first, True), second, True)
            return out if keep else lookup("Squeeze")(out, squeeze_dims=tuple(axis))
        if ord == np.inf:
            return reduce_max(size, axis, keep)
        if ord == 1:
            return reduce_sum(size, axis, keep)
        power = lookup("Pow")(size, float(ord))
        return lookup("Pow")(reduce_sum(power, axis, keep), 1.0 / float(ord))  # type: ignore[no-any-return]


def _known_rank(x: Tensor) -> int:
    rank = _rank(x)
    if rank is None:
        raise UsageError(f"the rank of {x.name!r} is not known", loc=loc.caller())
    return rank


def l2_normalize(
    x: Any, axis: Any = None, epsilon: float = 1e-12, name: str | None = None, dim: Any = None
) -> Tensor:
    """``x / sqrt(max(sum(x**2), epsilon))`` over `axis`."""
    axis = either("axis", axis, "dim", dim)
    with name_scope(name, "l2_normalize", [x]) as scope:
        x = convert(x, name="x")
        total = reduce_sum(lookup("Square")(x), axis, keepdims=True)
        inverse = lookup("Rsqrt")(lookup("Maximum")(total, epsilon))
        return lookup("Mul")(x, inverse, name=scope)  # type: ignore[no-any-return]


def l2_loss(t: Any, name: str | None = None) -> Tensor:
    """Half the sum of squares."""
    return lookup("L2Loss")(t, name=name)  # type: ignore[no-any-return]


# ---------------------------------------------------------------- factorisations
def cholesky(input: Any, name: str | None = None) -> Tensor:  # noqa: A002
    """The lower triangular L of ``L @ transpose(L)`` for positive definite matrices."""
    return lookup("Cholesky")(input, name=name)  # type: ignore[no-any-return]


def cholesky_solve(chol: Any, rhs: Any, name: str | None = None) -> Tensor:
    """Solve ``A @ x = rhs`` where `chol` is the Cholesky factor of A."""
    with name_scope(name, "cholesky_solve", [chol, rhs]):
        y = matrix_triangular_solve(chol, rhs, lower=True)
        return matrix_triangular_solve(chol, y, lower=True, adjoint=True)


def matrix_inverse(input: Any, adjoint: bool = False, name: str | None = None) -> Tensor:  # noqa: A002
    """The inverses of matrices (of their transposes if `adjoint`)."""
    return lookup("MatrixInverse")(input, adjoint=bool(adjoint), name=name)  # type: ignore[no-any-return]


def matrix_determinant(input: Any, name: str | None = None) -> Tensor:  # noqa: A002
    """The determinants of matrices."""
    return lookup("MatrixDeterminant")(input, name=name)  # type: ignore[no-any-return]


def slogdet(input: Any, name: str | None = None) -> list[Tensor]:  # noqa: A002
    """The sign and the logarithm of the magnitude of determinants."""
    return lookup("LogMatrixDeterminant")(input, name=name)  # type: ignore[no-any-return]


def logdet(matrix: Any, name: str | None = None) -> Tensor:
    """The logarithm of the determinants of positive definite matrices."""
    with name_scope(name, "logdet", [matrix]):
        return slogdet(matrix)[1]


def matrix_solve(matrix: Any, rhs: Any, adjoint: bool = False, name: str | None = None) -> Tensor:
    """Solve ``matrix @ x = rhs`` (for the transposed matrix if `adjoint`)."""
    return lookup("MatrixSolve")(matrix, rhs, adjoint=bool(adjoint), name=name)  # type: ignore[no-any-return]


def matrix_triangular_solve(
    matrix: Any, rhs: Any, lower: bool = True, adjoint: bool = False, name: str | None = None
) -> Tensor:
    """Solve ``matrix @ x = rhs`` by substitution; the other triangle is not read."""
    return lookup("MatrixTriangularSolve")(  # type: ignore[no-any-return]
        matrix, rhs, lower=bool(lower), adjoint=bool(adjoint), name=name
    )


def matrix_solve_ls(
    matrix: Any, rhs: Any, l2_regularizer: float = 0.0, fast: bool = True, name: str | None = None
) -> Tensor:
    """The least squares solution of ``matrix @ x = rhs``, by its normal equations."""
    del fast
    with name_scope(name, "matrix_solve_ls", [matrix, rhs]):
        a = convert(matrix, name="matrix")
        b = convert(rhs, name="rhs")
        gram = matmul(a, a, transpose_a=True)
        if l2_regularizer:
            n = _known_size(a, -1)
            gram = gram + constant(l2_regularizer * np.eye(n, dtype=a.dtype.base.np))
        factor = cholesky(gram)
        return cholesky_solve(factor, matmul(a, b, transpose_a=True))


def _known_size(x: Tensor, axis: int) -> int:
    size = x.shape.as_list()[axis]
    if size is None:
        raise UsageError(f"the size of axis {axis} of {x.name!r} is not known", loc=loc.caller())
    return size


def qr(input: Any, full_matrices: bool = False, name: str | None = None) -> list[Tensor]:  # noqa: A002
    """Orthogonal q and upper triangular r with ``q @ r = input``."""
    return lookup("Qr")(input, full_matrices=bool(full_matrices), name=name)  # type: ignore[no-any-return]


def self_adjoint_eig(tensor: Any, name: str | None = None) -> list[Tensor]:
    """Ascending eigenvalues, and eigenvectors in columns, of symmetric matrices."""
    return lookup("SelfAdjointEigV2")(tensor, compute_v=True, name=name)  # type: ignore[no-any-return]


def self_adjoint_eigvals(tensor: Any, name: str | None = None) -> Tensor:
    """Ascending eigenvalues of symmetric matrices."""
    return lookup("SelfAdjointEigV2")(tensor, compute_v=False, name=name)[0]  # type: ignore[no-any-return]


def svd(
    tensor: Any, full_matrices: bool = False, compute_uv: bool = True, name: str | None = None
) -> Any:
    """Descending singular values s, and u and v with ``u @ diag(s) @ transpose(v) = tensor``."""
    s, u, v = lookup("Svd")(
        tensor, compute_uv=bool(compute_uv), full_matrices=bool(full_matrices), name=name
    )
    return (s, u, v) if compute_uv else s


__all__ = [
    "adjoint", "cholesky", "cholesky_solve", "cross", "l2_loss", "l2_normalize", "logdet", "matmul",
    "matrix_determinant", "matrix_inverse", "matrix_solve", "matrix_solve_ls", "matrix_transpose",
    "matrix_triangular_solve", "matvec", "norm", "normalize", "qr", "self_adjoint_eig",
    "self_adjoint_eigvals", "slogdet", "svd", "trace", "xw_plus_b",
]  # fmt: skip
