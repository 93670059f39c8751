"""Functions that choose elements: by index, by mask, by order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from staticgraph.dynamic.apply import Taped, wrap
from staticgraph.dynamic.elementwise import cast, isnan, where
from staticgraph.dynamic.modes import MODES
from staticgraph.dynamic.reductions import pair
from staticgraph.dynamic.shapes import axis_of, ravel
from staticgraph.errors import OutOfBoundsError, ShapeError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.op import lookup

if TYPE_CHECKING:
    from staticgraph.dynamic.tensor import Tensor

_SORT, _TOPK, _MEDIAN = pair("sort"), pair("topk"), pair("median")


def in_range(indices: np.ndarray, size: int, what: str) -> np.ndarray:
    """Indices counted from the front; OutOfBoundsError where one is outside."""
    bad = (indices < -size) | (indices >= size)
    if bad.any():
        raise OutOfBoundsError(
            f"{what}: index {int(indices[bad].flat[0])} is outside an axis of size {size}",
            loc=loc.caller(),
        )
    return np.where(indices < 0, indices + size, indices) if (indices < 0).any() else indices


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices along `dim` that a vector of indices names."""
    a = axis_of(dim, input._array.ndim, "index_select")
    if MODES.tracer is not None:
        return input[(slice(None),) * a + (index,)]  # type: ignore[no-any-return]
    at = in_range(index._array, input._array.shape[a], "index_select")
    return lookup("GatherV2")(input, wrap(at), a)  # type: ignore[no-any-return]


def take_along_dim(input: Tensor, indices: Tensor, dim: int) -> Tensor:
    """For each place the element along `dim` that `indices` names there."""
    a = axis_of(dim, input._array.ndim, "gather")
    if MODES.tracer is not None:
        return _along_traced(input, indices, a)  # type: ignore[no-any-return]
    shape = list(input._array.shape)
    at = in_range(indices._array.astype(np.int64), shape[a], "gather")
    for k, (n, d) in enumerate(zip(at.shape, shape, strict=True)):
        if k != a and n > d:
            raise ShapeError(
                f"gather: {n} indices along axis {k} of size {d}", loc=loc.caller(),
                operands=(f"input: {shape}", f"index: {list(at.shape)}"),
            )  # fmt: skip
    strides = np.cumprod([1, *shape[:0:-1]])[::-1]
    flat = at * int(strides[a])
    for k, n in enumerate(at.shape):
        if k != a:
            own = np.arange(n).reshape([-1 if i == k else 1 for i in range(at.ndim)])
            flat = flat + own * int(strides[k])
    return lookup("GatherV2")(ravel(input), wrap(flat), 0)  # type: ignore[no-any-return]


def _along_traced(input: Any, indices: Any, axis: int) -> Any:
    """`take_along_dim` by operations on the indices, whose values are not known."""
    shape, own = input._array.shape, indices._array.shape
    at = cast(indices, dtypes.int64)
    at = lookup("SelectV2")(at < 0, at + shape[axis], at)
    flat: Any = 0
    step = 1
    for k in reversed(range(len(shape))):
        line = [-1 if i == k else 1 for i in range(len(shape))]
        flat = (at if k == axis else wrap(np.arange(own[k]).reshape(line))) * step + flat
        step *= shape[k]
    # An index that is outside of its own axis must not name an element of another row.
    flat = lookup("SelectV2")((at >= 0) & (at < shape[axis]), flat, step)
    return lookup("GatherV2")(ravel(input), flat, 0)


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """For each place the element along `dim` that `index` names there.

    >>> import staticgraph.dynamic as torch
    >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> x.gather(1, torch.tensor([[1], [0]]))
    tensor([[2.],
            [3.]])
    """
    return take_along_dim(input, index, dim)


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask is true, along one axis."""
    if MODES.tracer is not None:
        return input[mask]  # type: ignore[no-any-return]
    shape = np.broadcast_shapes(input._array.shape, mask._array.shape)
    wide = lookup("BroadcastTo")(input, shape)
    at = np.flatnonzero(np.broadcast_to(mask._array, shape))
    return lookup("GatherV2")(ravel(wide), wrap(at), 0)  # type: ignore[no-any-return]


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """With `value` where the mask is true."""
    return lookup("SelectV2")(mask, _as(value, input), input)  # type: ignore[no-any-return]


def _as(value: Any, input: Tensor) -> Any:
    if isinstance(value, Taped):
        return cast(value, input._array.dtype)  # type: ignore[arg-type]
    return wrap(np.asarray(value, input._array.dtype))


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The indices of elements that are not zero: a matrix, or a tensor per axis."""
    rows = lookup("Where")(cast(input, np.bool_))
    if not as_tuple:
        return rows
    return tuple([wrap(np.ascontiguousarray(c)) for c in rows._array.T])


def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """The elements along `dim` in order, and where each of them was."""
    del stable  # it always is
    a = axis_of(dim, max(input._array.ndim, 1), "sort")
    at = argsort(input, a, descending)
    return _SORT(take_along_dim(input, at, a) if input._array.ndim else input, at)


def argsort(input: Tensor, dim: int = -1, descending: bool = False) -> Tensor:
    """Where the elements along `dim` are, in order."""
    a = input._array
    if a.ndim == 0:
        return wrap(np.zeros((), np.int64))  # type: ignore[no-any-return]
    axis = axis_of(dim, a.ndim, "argsort")
    if MODES.tracer is not None:
        turn = [*range(a.ndim)]
        turn[axis], turn[-1] = turn[-1], turn[axis]
        there = lookup("Transpose")(input, tuple(turn))
        found = lookup("Sort")(there, direction="DESCENDING" if descending else "ASCENDING")[1]
        return cast(lookup("Transpose")(found, tuple(turn)), dtypes.int64)
    if descending:  # equal elements keep their order
        back = np.flip(a, axis)
        order = a.shape[axis] - 1 - np.flip(np.argsort(back, axis=axis, kind="stable"), axis)
    else:
        order = np.argsort(a, axis=axis, kind="stable")
    return wrap(np.ascontiguousarray(order))  # type: ignore[no-any-return]


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:  # noqa: A002
    """The k greatest (or least) elements along `dim`, and where they are."""
    del sorted  # they always are
    axis = axis_of(dim, max(input._array.ndim, 1), "topk")
    n = input._array.shape[axis] if input._array.ndim else 1
    if not 0 <= k <= n:
        raise ShapeError(f"topk: {k} elements of an axis of size {n}", loc=loc.caller())
    values, indices = sort(input, axis, descending=largest)
    key = (slice(None),) * axis + (slice(0, k),)
    return _TOPK(values[key], indices[key])


def unique(
    input: Tensor, sorted: bool = True, return_inverse: bool = False,  # noqa: A002
    return_counts: bool = False, dim: int | None = None,
) -> Any:  # fmt: skip
    """The different values, in order; of rows along `dim` where that is given.

    Args:
      return_inverse: give which of them each element is, too.
      return_counts: give how often each occurs, too.
    """
    del sorted  # they always are
    a = input._array
    axis = None if dim is None else axis_of(dim, a.ndim, "unique")
    values, inverse, counts = np.unique(a, return_inverse=True, return_counts=True, axis=axis)
    out = [wrap(values)]
    if return_inverse:
        out.append(wrap(inverse.reshape(a.shape if axis is None else -1)))
    if return_counts:
        out.append(wrap(counts))
    return out[0] if len(out) == 1 else tuple(out)


def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element in order, the lower one of two; NaN where there is one.

    With `dim` the pair of the elements along it and where they are.

    >>> import staticgraph.dynamic as torch
    >>> torch.median(torch.tensor([3.0, 1.0, 4.0, 2.0]))
    tensor(2.)
    """
    if dim is None:
        flat = ravel(input)
        return median(flat, 0)[0] if flat._array.size else wrap(np.full((), np.nan))
    axis = axis_of(dim, max(input._array.ndim, 1), "median")
    if not input._array.ndim:
        return _MEDIAN(input, wrap(np.zeros((), np.int64)))
    order = argsort(input, axis)
    middle = (input._array.shape[axis] - 1) // 2
    at = narrow(order, axis, middle, 1)
    if MODES.tracer is None and input._array.dtype.kind == "f":
        bad = np.isnan(input._array)
        first = np.expand_dims(bad.argmax(axis), axis)
        at = wrap(np.where(bad.any(axis, keepdims=True), first, at._array))
    values = take_along_dim(input, at, axis)
    if MODES.tracer is not None and input._array.dtype.kind == "f":
        values = where(isnan(input).any(axis, keepdim=True), math.nan, values)
    if keepdim:
        return _MEDIAN(values, at)
    squeeze = lookup("Squeeze")
    return _MEDIAN(squeeze(values, squeeze_dims=(axis,)), squeeze(at, squeeze_dims=(axis,)))


def repeat_interleave(input: Tensor, repeats: Any, dim: int | None = None) -> Tensor:
    """Every slice along `dim` as often as `repeats` says, one number or one for each.

    >>> import staticgraph.dynamic as torch
    >>> torch.repeat_interleave(torch.tensor([1, 2]), torch.tensor([1, 2]))
    tensor([1, 2, 2])
    """
    x = ravel(input) if dim is None else input
    axis = axis_of(dim or 0, x._array.ndim, "repeat_interleave")
    n = x._array.shape[axis]
    if isinstance(repeats, Taped):
        if MODES.tracer is not None:
            MODES.tracer.read(repeats, "a tensor that decides a shape")
        repeats = repeats._array
    counts = np.asarray(repeats)
    if counts.size not in (1, n) or (counts < 0).any():
        raise ShapeError(
            f"repeat_interleave: repeats {counts.tolist()} for an axis of size {n}",
            loc=loc.caller(), hint="give one number, or one for each, and none below 0",
        )  # fmt: skip
    at = np.repeat(np.arange(n), counts.ravel() if counts.size == n else int(counts.flat[0]))
    return lookup("GatherV2")(x, wrap(at), axis)  # type: ignore[no-any-return]


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle of each matrix, zeros elsewhere.

    Args:
      diagonal: the last diagonal that is kept; 0 is the main one, and positive ones lie above it.

    >>> import staticgraph.dynamic as torch
    >>> torch.tril(torch.ones(2, 3))
    tensor([[1., 0., 0.],
            [1., 1., 0.]])
    """
    return _triangle("tril", np.tril, input, diagonal)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle of each matrix, zeros elsewhere.

    Args:
      diagonal: the first diagonal that is kept.
    """
    return _triangle("triu", np.triu, input, diagonal)


def _triangle(name: str, part: Callable[..., Any], input: Tensor, diagonal: int) -> Tensor:
    a = input._array
    if a.ndim < 2:
        raise ShapeError(
            f"{name} takes matrices, got a tensor of shape {list(a.shape)}", loc=loc.caller()
        )
    keep = part(np.ones(a.shape[-2:], bool), diagonal)
    return lookup("SelectV2")(wrap(keep), input, wrap(np.zeros((), a.dtype)))  # type: ignore[no-any-return]


def diagonal(input: Tensor) -> Tensor:
    """The diagonal of a matrix."""
    return lookup("MatrixDiagPart")(input)  # type: ignore[no-any-return]


def diag(input: Tensor) -> Tensor:
    """The diagonal of a matrix, or the matrix with a vector as its diagonal."""
    return lookup("MatrixDiag" if input._array.ndim == 1 else "MatrixDiagPart")(input)  # type: ignore[no-any-return]


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """`length` elements of an axis from `start` on, in the same memory."""
    a = axis_of(dim, input._array.ndim, "narrow")
    n = input._array.shape[a]
    at = start + n if start < 0 else start
    if not (0 <= at <= n and 0 <= length <= n - at):
        raise OutOfBoundsError(
            f"narrow: {length} elements from {start} on of an axis of size {n}", loc=loc.caller()
        )
    return input[(slice(None),) * a + (slice(at, at + length),)]  # type: ignore[no-any-return]


def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """With the slices of `source` added to those along `dim` that `index` names.

    >>> import staticgraph.dynamic as torch
    >>> x = torch.zeros(2, 3)
    >>> torch.index_add(x, 1, torch.tensor([2, 0]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[2., 0., 1.],
            [4., 0., 3.]])
    """
    shape = input._array.shape
    a = axis_of(dim, len(shape), "index_add")
    wanted = (*shape[:a], index._array.size, *shape[a + 1 :])
    if source._array.shape != wanted:
        raise ShapeError(
            f"index_add: source of shape {list(source._array.shape)} for {index._array.size} "
            f"slices along axis {a} of a tensor of shape {list(shape)}; it must be {list(wanted)}",
            loc=loc.caller(),
        )
    at = in_range(index._array, shape[a], "index_add").reshape(-1, 1)
    order = (a, *(i for i in range(len(shape)) if i != a))
    turned = lookup("Transpose")(cast(source, input._array.dtype), order)
    turned = turned if alpha == 1 else turned * alpha
    out = lookup("TensorScatterAdd")(lookup("Transpose")(input, order), wrap(at), turned)
    back = tuple(np.argsort(order).tolist())
    return lookup("Transpose")(out, back)  # type: ignore[no-any-return]


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """With the elements of `src` added at the places along `dim` that `index` names."""
    return _scatter("TensorScatterAdd", input, dim, index, src)


def scatter(input: Tensor, dim: int, index: Tensor, src: Any) -> Tensor:
    """With the elements of `src` put at the places along `dim` that `index` names."""
    return _scatter("TensorScatterUpdate", input, dim, index, src)


def _scatter(op: str, input: Tensor, dim: int, index: Tensor, src: Any) -> Tensor:
    shape = input._array.shape
    flat = np.arange(input._array.size).reshape(shape)
    places = take_along_dim(wrap(flat), index, dim)
    sizes = places._array.shape
    part = tuple(slice(0, n) for n in sizes)
    values = src[part] if isinstance(src, Taped) else wrap(np.full(sizes, src))
    out = lookup(op)(
        ravel(input), lookup("Reshape")(places, (-1, 1)), ravel(cast(values, input._array.dtype))
    )
    return lookup("Reshape")(out, shape)  # type: ignore[no-any-return]


def bincount(input: Tensor, minlength: int = 0) -> Tensor:
    """How often each number from 0 on occurs."""
    return wrap(np.bincount(ravel(input)._array, minlength=minlength))  # type: ignore[no-any-return]


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Rows of zeros with a 1 at the place of each class."""
    a = tensor._array
    n = num_classes if num_classes >= 0 else (int(a.max()) + 1 if a.size else 0)
    in_range(a, n, "one_hot")
    return cast(lookup("OneHot")(tensor, n, 1.0, 0.0), dtypes.int64)


def isin(elements: Tensor, test_elements: Sequence[Any] | Tensor) -> Tensor:
    """Where an element is among others."""
    other = test_elements._array if isinstance(test_elements, Taped) else np.asarray(test_elements)
    return wrap(np.isin(elements._array, other))  # type: ignore[no-any-return]
