"""Sums, means, extremes: functions that take axes away."""

from __future__ import annotations

import builtins
from collections import namedtuple
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from staticgraph.dynamic.direct import single
from staticgraph.dynamic.element_types import FLOATS, INTEGERS, NUMPY, default_float
from staticgraph.dynamic.elementwise import cast
from staticgraph.errors import DtypeError, InvalidArgumentError, ShapeError, UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.op import lookup

if TYPE_CHECKING:
    from staticgraph.dynamic.tensor import Tensor

Dims = int | Sequence[int] | None


def _reduction(name: str) -> Any:
    """A function of a tensor, axes and `keep_dims`."""
    run = single(name)

    def function(x: Any, over: tuple[int, ...], *, keep_dims: bool = False) -> Any:
        return run(x, {"reduction_indices": over, "keep_dims": keep_dims})

    return function


_sum, _prod, _mean, _max, _min = map(_reduction, ("Sum", "Prod", "Mean", "Max", "Min"))
_all, _any = map(_reduction, ("All", "Any"))
_ALONG = {op: single(op) for op in ("Softmax", "LogSoftmax")}
_argmax, _argmin = lookup("ArgMax"), lookup("ArgMin")


_EVERY = tuple(tuple(range(n)) for n in range(65))  # numpy has at most 64 axes


def axes(input: Tensor, dim: Dims) -> tuple[int, ...]:
    """The axes that `dim` names; all of them for None (or an empty list)."""
    if dim is None or (not isinstance(dim, int) and len(dim) == 0):
        return _EVERY[input._array.ndim]
    named = (dim,) if isinstance(dim, int) else tuple(dim)
    return () if input._array.ndim == 0 and builtins.all(a in (0, -1) for a in named) else named


def _counted(input: Tensor, dtype: object) -> Tensor:
    """Integers and truth values are added up in 64 bits."""
    if dtype is not None:
        return cast(input, dtype)
    kind = input._array.dtype
    if kind.kind == "f":
        return input
    if kind == np.bool_ or (kind in INTEGERS and kind != np.int64):
        return cast(input, dtypes.int64)
    return input


def sum(  # noqa: A001 - PyTorch's name
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: object = None
) -> Tensor:
    """The sum over all axes, or over those in `dim`.

    >>> import staticgraph.dynamic as torch
    >>> torch.tensor([[1.0, 2.0], [3.0, 4.0]]).sum(dim=0)
    tensor([4., 6.])
    """
    x = _counted(input, dtype)
    return _sum(x, axes(x, dim), keep_dims=keepdim)  # type: ignore[no-any-return]


def prod(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: object = None) -> Tensor:
    """The product over all axes, or over `dim`."""
    x = _counted(input, dtype)
    return _prod(x, axes(x, dim), keep_dims=keepdim)  # type: ignore[no-any-return]


def mean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: object = None) -> Tensor:
    """The mean over all axes, or over those in `dim`; DtypeError for integers."""
    x = cast(input, dtype) if dtype is not None else input
    if x._array.dtype not in FLOATS:
        raise DtypeError(
            f"the mean of {NUMPY[x._array.dtype].name} is not defined", loc=loc.caller(),
            hint="convert first: x.float().mean()",
        )  # fmt: skip
    return _mean(x, axes(x, dim), keep_dims=keepdim)  # type: ignore[no-any-return]


def var(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *,
    correction: int | None = None,
) -> Tensor:  # fmt: skip
    """The variance, with n - 1 in the denominator unless `unbiased` is false."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    less = int(unbiased) if correction is None else correction
    over = axes(input, dim)
    n = 1
    for a in over:
        n *= input._array.shape[a]
    away = input - mean(input, over or None, keepdim=True)
    return _sum(away * away, over, keep_dims=keepdim) / float(max_of_zero(n - less))  # type: ignore[no-any-return]


def max_of_zero(n: int) -> int:
    """`n`, or 0 where it is negative."""
    return n if n > 0 else 0


def std(
    input: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *,
    correction: int | None = None,
) -> Tensor:  # fmt: skip
    """The standard deviation; see `var`."""
    return lookup("Sqrt")(var(input, dim, unbiased, keepdim, correction=correction))  # type: ignore[no-any-return]


def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:  # noqa: A001
    """Whether every element is true."""
    return _all(cast(input, np.bool_), axes(input, dim), keep_dims=keepdim)  # type: ignore[no-any-return]


def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:  # noqa: A001
    """Whether some element is true."""
    return _any(cast(input, np.bool_), axes(input, dim), keep_dims=keepdim)  # type: ignore[no-any-return]


# ---------------------------------------------------------------- extremes
class _Pair:
    """Prints as PyTorch's pairs of values and indices do."""

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"torch.return_types.{name}(\nvalues={self.values!r},\nindices={self.indices!r})"  # type: ignore[attr-defined]


def pair(name: str) -> Any:
    """A named tuple of values and indices."""
    return type(name, (_Pair, namedtuple(name, "values indices")), {})


_MAX, _MIN = pair("max"), pair("min")


def _not_empty(input: Tensor, what: str) -> None:
    if input._array.size == 0:
        raise InvalidArgumentError(
            f"{what} of a tensor of shape {list(input._array.shape)}, which has no elements",
            loc=loc.caller(), hint="give the axis to reduce with dim",
        )  # fmt: skip


def _at(input: Tensor, indices: Tensor, dim: int) -> Tensor:
    """The elements along `dim` that `indices` name, one for each place of the other axes."""
    from staticgraph.dynamic.selection import take_along_dim

    kept = lookup("ExpandDims")(indices, dim)
    return lookup("Squeeze")(take_along_dim(input, kept, dim), squeeze_dims=(dim,))  # type: ignore[no-any-return]


def _extreme(input: Tensor, dim: Any, keepdim: bool, full: Any, arg: Any, made: Any) -> Any:
    if dim is None:
        _not_empty(input, made.__name__)
        return full(input, axes(input, None), keep_dims=False)
    if input._array.ndim == 0:
        return made(input, lookup("ZerosLike")(cast(input.detach(), dtypes.int64)))
    dim = dim + input._array.ndim if dim < 0 else dim
    indices = arg(input, dim)
    values = _at(input, indices, dim)
    if keepdim:
        expand = lookup("ExpandDims")
        return made(expand(values, dim), expand(indices, dim))
    return made(values, indices)


def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:  # noqa: A001
    """The greatest element; with `dim` a pair of values and indices; of two tensors, elementwise.

    >>> import staticgraph.dynamic as torch
    >>> torch.tensor([[1.0, 5.0], [7.0, 2.0]]).max(dim=1).indices
    tensor([1, 0])
    """
    if dim is not None and not isinstance(dim, int):
        return lookup("Maximum")(input, dim)
    return _extreme(input, dim, keepdim, _max, _argmax, _MAX)


def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:  # noqa: A001
    """The least element; with `dim` a pair of values and indices; of two tensors, elementwise."""
    if dim is not None and not isinstance(dim, int):
        return lookup("Minimum")(input, dim)
    return _extreme(input, dim, keepdim, _min, _argmin, _MIN)


def amax(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The greatest element; elements that share it share the gradient."""
    return _max(input, axes(input, dim), keep_dims=keepdim)  # type: ignore[no-any-return]


def amin(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The least element; elements that share it share the gradient."""
    return _min(input, axes(input, dim), keep_dims=keepdim)  # type: ignore[no-any-return]


def _arg(input: Tensor, dim: int | None, keepdim: bool, op: Any) -> Tensor:
    _not_empty(input, op.name.lower())
    if dim is not None and not isinstance(dim, int):
        raise UsageError(f"{op.name.lower()} takes one axis, got {dim!r}", loc=loc.caller())
    if dim is None:
        out = op(lookup("Reshape")(input, (-1,)), 0)
        return lookup("Reshape")(out, (1,) * input._array.ndim) if keepdim else out  # type: ignore[no-any-return]
    if input._array.ndim == 0:
        return op(lookup("Reshape")(input, (1,)), 0)  # type: ignore[no-any-return]
    out = op(input, dim)
    return lookup("ExpandDims")(out, dim) if keepdim else out  # type: ignore[no-any-return]


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The first place of the greatest element, counted flat or along `dim`."""
    return _arg(input, dim, keepdim, _argmax)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The first place of the least element, counted flat or along `dim`."""
    return _arg(input, dim, keepdim, _argmin)


# ---------------------------------------------------------------- norms and exponentials
def norm(input: Tensor, p: float | str = 2, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """The p-norm of the elements ("fro" is 2; inf and -inf are the extremes of magnitudes)."""
    over = axes(input, dim)
    if p in ("fro", 2):
        return lookup("EuclideanNorm")(input, over, keep_dims=keepdim)  # type: ignore[no-any-return]
    size = lookup("Abs")(input)
    if p == float("inf"):
        return _max(size, over, keep_dims=keepdim)  # type: ignore[no-any-return]
    if p == float("-inf"):
        return _min(size, over, keep_dims=keepdim)  # type: ignore[no-any-return]
    if isinstance(p, str):
        raise ShapeError(f"norm knows p='fro' and numbers, not {p!r}", loc=loc.caller())
    if p == 0:
        return sum(cast(input != 0, input._array.dtype), over or None, keepdim)
    return _sum(size**p, over, keep_dims=keepdim) ** (1.0 / p)  # type: ignore[no-any-return]


def logsumexp(input: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    """The logarithm of the sum of exponentials, without overflow."""
    over = axes(input, dim)
    top = _max(input.detach(), over, keep_dims=True)
    top = lookup("SelectV2")(lookup("IsFinite")(top), top, 0)
    out = lookup("Log")(_sum(lookup("Exp")(input - top), over, keep_dims=True)) + top
    if keepdim:
        return out  # type: ignore[no-any-return]
    return lookup("Squeeze")(out, squeeze_dims=over) if over else out  # type: ignore[no-any-return]


def _last(op: str, input: Tensor, dim: int | None, dtype: object) -> Tensor:
    x = cast(input, dtype) if dtype is not None else input
    x = x if x._array.dtype in FLOATS else cast(x, default_float())
    n = x._array.ndim
    if n == 0:
        return lookup("Reshape")(lookup(op)(lookup("Reshape")(x, (1,))), ())  # type: ignore[no-any-return]
    if dim is None:
        dim = 0 if n in (0, 1, 3) else 1
    if not -n <= dim < n:
        raise ShapeError(f"{op}: axis {dim} is outside a tensor of rank {n}", loc=loc.caller())
    if dim in (-1, n - 1):
        return _ALONG[op](x, {})  # type: ignore[no-any-return]
    order = [*range(n)]
    order[dim], order[-1] = order[-1], order[dim]
    swap = lookup("Transpose")
    return swap(lookup(op)(swap(x, tuple(order))), tuple(order))  # type: ignore[no-any-return]


def softmax(input: Tensor, dim: int | None = None, *, dtype: object = None) -> Tensor:
    """Exponentials along `dim`, divided by their sum."""
    return _last("Softmax", input, dim, dtype)


def log_softmax(input: Tensor, dim: int | None = None, *, dtype: object = None) -> Tensor:
    """The logarithm of `softmax`."""
    return _last("LogSoftmax", input, dim, dtype)


def cumsum(input: Tensor, dim: int, *, dtype: object = None) -> Tensor:
    """Running sums along `dim`."""
    return lookup("Cumsum")(_counted(input, dtype), dim)  # type: ignore[no-any-return]


def cumprod(input: Tensor, dim: int, *, dtype: object = None) -> Tensor:
    """Running products along `dim`."""
    return lookup("Cumprod")(_counted(input, dtype), dim)  # type: ignore[no-any-return]


def count_nonzero(input: Tensor, dim: Dims = None) -> Tensor:
    """How many elements are not zero."""
    return sum(cast(input != 0, dtypes.int64), dim)


def numel(input: Tensor) -> int:
    """The number of elements."""
    return builtins.int(input._array.size)
