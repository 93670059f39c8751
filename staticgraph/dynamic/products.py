"""Products of vectors and matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from staticgraph.dynamic.apply import Taped, not_a_tensor
from staticgraph.dynamic.direct import product
from staticgraph.dynamic.shapes import _reshape
from staticgraph.errors import ShapeError
from staticgraph.ir import loc
from staticgraph.ir.op import lookup

if TYPE_CHECKING:
    from staticgraph.dynamic.tensor import Tensor

_mm, _bmm, _sum = product("MatMul"), lookup("BatchMatMulV2"), lookup("Sum")


def _ranks(what: str, wanted: tuple[int, ...], *tensors: Any) -> None:
    for x in tensors:
        if not isinstance(x, Taped):
            raise not_a_tensor(what, x)
    have = tuple(x._array.ndim for x in tensors)
    if have != wanted:
        raise ShapeError(
            f"{what} takes tensors of rank {' and '.join(map(str, wanted))}, "
            f"got {' and '.join(map(str, have))}",
            loc=loc.caller(),
            operands=[f"{k}: {list(x._array.shape)}" for k, x in zip("ab", tensors, strict=False)],
            hint="matmul (@) takes all ranks",
        )


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices.

    >>> import staticgraph.dynamic as torch
    >>> torch.eye(2).mm(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[1., 2.],
            [3., 4.]])
    """
    _ranks("mm", (2, 2), input, mat2)
    return _mm(input, mat2)  # type: ignore[no-any-return]


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of two batches of matrices."""
    _ranks("bmm", (3, 3), input, mat2)
    if input._array.shape[0] != mat2._array.shape[0]:
        raise ShapeError(
            f"bmm: batches of {input._array.shape[0]} and {mat2._array.shape[0]} matrices",
            loc=loc.caller(),
        )
    return _bmm(input, mat2)  # type: ignore[no-any-return]


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """A matrix times a vector."""
    _ranks("mv", (2, 1), input, vec)
    return matmul(input, vec)


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of products of two vectors."""
    _ranks("dot", (1, 1), input, tensor)
    return matmul(input, tensor)


inner = vdot = dot


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of two vectors' elements."""
    _ranks("outer", (1, 1), input, vec2)
    return _reshape(input, (-1, 1)) * _reshape(vec2, (1, -1))  # type: ignore[no-any-return]


ger = outer


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The product as ``@`` has it: vectors are rows or columns, leading axes broadcast.

    Raises:
      ShapeError: an operand is a scalar, or the inner sizes differ.
    """
    for x in (input, other):
        if not isinstance(x, Taped):
            raise not_a_tensor("matmul", x)
    m, n = input._array.ndim, other._array.ndim
    if m == 2 and n == 2:
        return _mm(input, other)  # type: ignore[no-any-return]
    if m == 0 or n == 0:
        raise ShapeError(
            f"matmul takes no scalars, got ranks {m} and {n}", loc=loc.caller(),
            hint="use * for a scalar",
        )  # fmt: skip
    a = _reshape(input, (1, -1)) if m == 1 else input
    b = _reshape(other, (-1, 1)) if n == 1 else other
    both = m <= 2 and n <= 2
    out = _mm(a, b) if both else _bmm(a, b)
    shape = out._array.shape
    if m == 1:
        shape = (*shape[:-2], shape[-1])
    if n == 1:
        shape = shape[:-1]
    return _reshape(out, shape) if m == 1 or n == 1 else out  # type: ignore[no-any-return]


def addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """``beta * input + alpha * mat1 @ mat2``."""
    out = mm(mat1, mat2)
    out = out if alpha == 1 else out * alpha
    return (input if beta == 1 else input * beta) + out  # type: ignore[no-any-return]


def baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """``beta * input + alpha * batch1 @ batch2``."""
    out = bmm(batch1, batch2)
    out = out if alpha == 1 else out * alpha
    return (input if beta == 1 else input * beta) + out  # type: ignore[no-any-return]


def trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal."""
    _ranks("trace", (2,), input)
    return _sum(lookup("MatrixDiagPart")(input), (0,))  # type: ignore[no-any-return]
