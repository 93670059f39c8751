"""Functions that rearrange elements: shapes, axes, joining and cutting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from staticgraph.dynamic.apply import Taped, not_a_tensor
from staticgraph.dynamic.direct import single
from staticgraph.dynamic.modes import MODES
from staticgraph.errors import ShapeError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.dims import Poly
from staticgraph.ir.op import lookup

if TYPE_CHECKING:
    from staticgraph.dynamic.tensor import Tensor

_run_reshape, _run_transpose = single("Reshape"), single("Transpose")


def _reshape(x: Any, shape: tuple[int, ...]) -> Any:
    if any(isinstance(d, int) and d < -1 for d in shape):
        raise ShapeError(f"sizes are not negative, got {list(shape)}", loc=loc.caller())
    return _run_reshape(x, {"shape": tuple(shape)})


def _transpose(x: Any, perm: tuple[int, ...]) -> Any:
    return _run_transpose(x, {"perm": perm})


class Size(tuple[int, ...]):
    """The sizes of a tensor's axes.

    >>> Size((2, 3)), Size((2, 3)).numel()
    (torch.Size([2, 3]), 6)
    """

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements."""
        n = 1
        for d in self:
            n *= d
        return n

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    def __getitem__(self, key: Any) -> Any:
        out = tuple.__getitem__(self, key)
        return Size(out) if isinstance(key, slice) else out

    def __add__(self, other: Any) -> Size:
        return Size(tuple.__add__(self, tuple(other)))


def sizes_of(given: Sequence[Any], what: str) -> tuple[int, ...]:
    """Sizes or axes given one by one or as one sequence."""
    if len(given) == 1 and not isinstance(given[0], SupportsIndex):
        given = given[0]
    try:
        return tuple([d if isinstance(d, Poly) else d.__index__() for d in given])  # type: ignore[misc]
    except (TypeError, AttributeError):
        raise UsageError(f"{what} takes integers, got {given!r}", loc=loc.caller()) from None


def lengths_of(given: Sequence[Any], what: str) -> tuple[int, ...]:
    """Sizes given one by one or as one sequence; ShapeError where one is negative."""
    sizes = sizes_of(given, what)
    if any(isinstance(n, int) and n < 0 for n in sizes):
        raise ShapeError(f"{what}: a negative size in {list(sizes)}", loc=loc.caller())
    return sizes


def axis_of(dim: int, rank: int, what: str) -> int:
    """`dim` counted from the front; ShapeError where the tensor has no such axis."""
    if not -rank <= dim < rank:
        raise ShapeError(f"{what}: axis {dim} is outside a tensor of rank {rank}", loc=loc.caller())
    return dim % rank


# ---------------------------------------------------------------- one tensor
def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The elements under another shape; one size may be -1.  A view where that is possible.

    >>> import staticgraph.dynamic as torch
    >>> torch.arange(6).reshape(2, -1)
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    return _reshape(input, sizes_of(shape, "reshape"))  # type: ignore[no-any-return]


def view(input: Tensor, *shape: Any) -> Tensor:
    """The elements under another shape, in the same memory; or the same bits as another type.

    Raises:
      ShapeError: the memory's order does not allow it, or the sizes do not fit.
    """
    if len(shape) == 1 and not isinstance(shape[0], (SupportsIndex, list, tuple)):
        from staticgraph.dynamic.element_types import NUMPY, as_numpy

        return lookup("Bitcast")(input, type=NUMPY[as_numpy(shape[0])])  # type: ignore[no-any-return]
    out: Tensor = _reshape(input, sizes_of(shape, "view"))
    if MODES.tracer is None and out._version is not input._version and input._array.size:
        raise ShapeError(
            f"a view of shape {list(out._array.shape)} cannot lie in the memory of a tensor of "
            f"shape {list(input._array.shape)} and strides {list(strides(input))}",
            loc=loc.caller(), hint="use reshape, which copies where it has to",
        )  # fmt: skip
    return out


def strides(input: Tensor) -> tuple[int, ...]:
    """How many elements lie between neighbours along each axis."""
    a = input._array
    return tuple(s // a.itemsize for s in a.strides)


def view_as(input: Tensor, other: Tensor) -> Tensor:
    """`view` with the shape of `other`."""
    return view(input, other._array.shape)


def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """`reshape` to the shape of `other`."""
    return reshape(input, other._array.shape)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes from `start_dim` to `end_dim` as one."""
    shape = input._array.shape
    n = len(shape)
    if n == 0:
        return _reshape(input, (1,))  # type: ignore[no-any-return]
    first, last = axis_of(start_dim, n, "flatten"), axis_of(end_dim, n, "flatten")
    if first > last:
        raise ShapeError(
            f"flatten: start_dim {start_dim} lies behind end_dim {end_dim}", loc=loc.caller()
        )
    middle = Size(shape[first : last + 1]).numel()
    return _reshape(input, (*shape[:first], middle, *shape[last + 1 :]))  # type: ignore[no-any-return]


def ravel(input: Tensor) -> Tensor:
    """All elements along one axis."""
    return _reshape(input, (-1,)) if input._array.size else _reshape(input, (0,))  # type: ignore[no-any-return]


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One axis as several."""
    shape = input._array.shape
    a = axis_of(dim, len(shape), "unflatten")
    return _reshape(input, (*shape[:a], *sizes, *shape[a + 1 :]))  # type: ignore[no-any-return]


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With an axis of size 1 put in at `dim`."""
    return lookup("ExpandDims")(input, dim)  # type: ignore[no-any-return]


def squeeze(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Without axes of size 1: all, or those of `dim` that have this size."""
    shape = input._array.shape
    n = max(len(shape), 1)
    named = range(len(shape)) if dim is None else ((dim,) if isinstance(dim, int) else dim)
    out = tuple(a % n for a in (axis_of(d, n, "squeeze") for d in named) if shape and shape[a] == 1)
    return lookup("Squeeze")(input, squeeze_dims=out) if out else input.view(shape)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """With two axes exchanged."""
    n = input._array.ndim
    a, b = axis_of(dim0, max(n, 1), "transpose"), axis_of(dim1, max(n, 1), "transpose")
    order = [*range(n)]
    if n:
        order[a], order[b] = order[b], order[a]
    return _transpose(input, tuple(order))  # type: ignore[no-any-return]


swapaxes = swapdims = transpose


def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; vectors and scalars stay as they are."""
    n = input._array.ndim
    if n > 2:
        raise ShapeError(
            f"t takes a tensor of at most two axes, got {n}", loc=loc.caller(),
            hint="use transpose(dim0, dim1) or permute(...)",
        )  # fmt: skip
    return _transpose(input, tuple(reversed(range(n))))  # type: ignore[no-any-return]


def permute(input: Tensor, *dims: Any) -> Tensor:
    """With the axes in the order `dims`."""
    return _transpose(input, sizes_of(dims, "permute"))  # type: ignore[no-any-return]


def movedim(input: Tensor, source: int, destination: int) -> Tensor:
    """With one axis at another place."""
    n = input._array.ndim
    a, b = axis_of(source, n, "movedim"), axis_of(destination, n, "movedim")
    order = [i for i in range(n) if i != a]
    order.insert(b, a)
    return _transpose(input, tuple(order))  # type: ignore[no-any-return]


def expand(input: Tensor, *sizes: Any) -> Tensor:
    """A view in which axes of size 1 are repeated; -1 keeps a size."""
    wanted = sizes_of(sizes, "expand")
    shape = input._array.shape
    lead = len(wanted) - len(shape)
    target = [shape[i - lead] if d == -1 and i >= lead else d for i, d in enumerate(wanted)]
    return lookup("BroadcastTo")(input, tuple(target))  # type: ignore[no-any-return]


broadcast_to = expand


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """`expand` to the shape of `other`."""
    return lookup("BroadcastTo")(input, other._array.shape)  # type: ignore[no-any-return]


def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """Copies laid out along the axes, new ones in front."""
    counts = sizes_of(repeats, "repeat")
    shape = input._array.shape
    if len(counts) < len(shape):
        raise ShapeError(
            f"repeat: {len(counts)} numbers for a tensor of rank {len(shape)}", loc=loc.caller()
        )
    wide = _reshape(input, (*(1,) * (len(counts) - len(shape)), *shape))
    return lookup("Tile")(wide, counts)  # type: ignore[no-any-return]


def tile(input: Tensor, *dims: Any) -> Tensor:
    """`repeat`, with missing counts taken as 1."""
    counts = sizes_of(dims, "tile")
    return repeat(input, (*(1,) * (input._array.ndim - len(counts)), *counts))


def flip(input: Tensor, *dims: Any) -> Tensor:
    """With the elements along `dims` in reverse order."""
    over = sizes_of(dims, "flip")
    return lookup("ReverseV2")(input, over)  # type: ignore[no-any-return]


def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """With elements moved along axes; those that leave at one end come in at the other."""
    if dims is None:
        return _reshape(lookup("Roll")(ravel(input), (shifts,), (0,)), input._array.shape)  # type: ignore[no-any-return]
    one = isinstance(shifts, int)
    return lookup("Roll")(input, (shifts,) if one else shifts, (dims,) if one else dims)  # type: ignore[no-any-return]


def contiguous(input: Tensor) -> Tensor:
    """The tensor itself, or a copy whose elements lie in order."""
    traced = MODES.tracer is not None
    return input if traced or input._array.flags.c_contiguous else lookup("Identity")(input)


# ---------------------------------------------------------------- several tensors
def _tensors(tensors: Any, what: str) -> list[Any]:
    if isinstance(tensors, Taped):
        tensors = list(tensors)  # type: ignore[call-overload]
    out = list(tensors)
    if not out:
        raise UsageError(f"{what} takes one tensor at least", loc=loc.caller())
    for x in out:
        if not isinstance(x, Taped):
            raise not_a_tensor(what, x)
    return out


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors one behind the other along `dim`.

    >>> import staticgraph.dynamic as torch
    >>> torch.cat([torch.zeros(2), torch.ones(1)])
    tensor([0., 0., 1.])
    """
    xs = _tensors(tensors, "cat")
    kept = [x for x in xs if x._array.shape != (0,)] or xs[:1]  # as PyTorch, for old programs' sake
    return lookup("ConcatV2")(kept, dim)  # type: ignore[no-any-return]


concat = concatenate = cat


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new axis."""
    return lookup("Pack")(_tensors(tensors, "stack"), axis=dim)  # type: ignore[no-any-return]


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors one above another; vectors are rows.

    >>> import staticgraph.dynamic as torch
    >>> torch.vstack([torch.tensor([1, 2]), torch.tensor([3, 4])])
    tensor([[1, 2],
            [3, 4]])
    """
    parts = _tensors(tensors, "vstack")
    return cat([_reshape(t, (1, -1)) if t._array.ndim < 2 else t for t in parts])


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors beside one another: along the second axis, vectors along their only one."""
    parts = [_reshape(t, (1,)) if not t._array.ndim else t for t in _tensors(tensors, "hstack")]
    return cat(parts, 0 if parts[0]._array.ndim == 1 else 1)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along an axis."""
    a = axis_of(dim, input._array.ndim, "unbind")
    lead = (slice(None),) * a
    return tuple([input[(*lead, i)] for i in range(input._array.shape[a])])


def split(input: Tensor, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of one size (the last may be smaller), or of given sizes; views."""
    a = axis_of(dim, input._array.ndim, "split")
    n = input._array.shape[a]
    if isinstance(split_size, int):
        if split_size <= 0:
            raise ShapeError(f"split: pieces of size {split_size}", loc=loc.caller())
        counts = [min(split_size, n - i) for i in range(0, n, split_size)] or [0]
    else:
        counts = list(split_size)
        if sum(counts) != n:
            raise ShapeError(
                f"split: sizes {counts} add up to {sum(counts)} on an axis of size {n}",
                loc=loc.caller(),
            )
    lead, out, start = (slice(None),) * a, [], 0
    for c in counts:
        out.append(input[(*lead, slice(start, start + c))])
        start += c
    return tuple(out)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of equal size, the last of which may be smaller."""
    n = input._array.shape[axis_of(dim, input._array.ndim, "chunk")]
    return split(input, max(-(-n // chunks), 1), dim)


def broadcast_tensors(*tensors: Tensor) -> list[Tensor]:
    """Views of the tensors in their common shape."""
    try:
        shape = np.broadcast_shapes(*[x._array.shape for x in tensors])
    except ValueError:
        shapes = " and ".join(str(list(x._array.shape)) for x in tensors)
        raise ShapeError(f"shapes {shapes} do not broadcast", loc=loc.caller()) from None
    return [expand(x, shape) for x in tensors]


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinates of a grid, from those along each axis."""
    xs = list(tensors[0]) if len(tensors) == 1 and not isinstance(tensors[0], Taped) else tensors
    if indexing == "xy" and len(xs) > 1:
        grid = meshgrid(xs[1], xs[0], *xs[2:])
        first, second, *rest = (x.transpose(0, 1) for x in grid)
        return (second, first, *rest)
    shape = tuple(x._array.size for x in xs)
    out = []
    for k, x in enumerate(xs):
        own = tuple(d if i == k else 1 for i, d in enumerate(shape))
        out.append(expand(reshape(x, own), shape))
    return tuple(out)
