"""Windows that slide over axes: their sizes, their padding, on arrays and in index lambdas.

Convolution and pooling share one geometry: an axis of `size` elements is read by `out` windows;
window o holds the elements ``o * stride + k * dilation - before`` for k in ``[0, kernel)``, of
which those outside the axis count as padding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import product as pairs
from typing import Any

import numpy as np

from staticgraph.ir import dims as D
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import Infer, RuleError
from staticgraph.ir.record import record
from staticgraph.ir.scalar import Expr, Reduce, ReduceKind, cast, lift, prim, size_expr
from staticgraph.ir.types import TensorType
from staticgraph.ops.shape import ZERO
from staticgraph.ops.slicing import guarded, shifted

UNROLL = (
    32  # windows of at most this many known elements are written out, so that channels vectorise
)


@record(frozen=True, slots=True)
class Axis:
    """How windows lie on one axis; see the module's text."""

    size: Dim
    kernel: Dim
    stride: int
    dilation: int
    out: Dim
    before: Dim
    after: Dim

    @property
    def plain(self) -> bool:
        """True where every window is one element, and every element a window."""
        return self.kernel == 1 and self.stride == 1 and not self.padded

    @property
    def padded(self) -> bool:
        """True where windows may reach over the ends."""
        return self.before != 0 or self.after != 0

    def at(self, o: Expr, k: Expr) -> Expr:
        """The element at place k of window o."""
        o = o if self.stride == 1 else o * self.stride
        k = k if self.dilation == 1 else k * self.dilation
        return shifted(k if o == ZERO else o + k, -self.before)

    def inside(self, i: Expr) -> list[Expr]:
        """What must hold of an element's place to be on the axis."""
        below = [] if self.before == 0 else [i >= 0]
        return below if self.after == 0 else [*below, i < size_expr(self.size)]


def spatial_axes(data_format: str) -> tuple[int, ...]:
    """Positions of the axes between batch and channels.

    >>> spatial_axes("NHWC"), spatial_axes("NCDHW")
    ((1, 2), (2, 3, 4))
    """
    n = len(data_format) - 2
    return tuple(range(1, n + 1) if data_format.endswith("C") else range(2, n + 2))


def checked(
    x: TensorType, what: str, data_format: str, allowed: tuple[str, ...], **lists: Sequence[int]
) -> tuple[int, ...]:
    """Check a data format, a rank, and lists with one number per axis; returns the spatial axes."""
    if data_format not in allowed:
        raise RuleError(f"data_format is {' or '.join(map(repr, allowed))}, not {data_format!r}")
    rank = len(data_format)
    for name, values in lists.items():
        if len(values) != rank:
            raise RuleError(
                f"{name} takes {rank} numbers, one per axis of {data_format}, got {len(values)}"
            )
        if any(v < 1 for v in values):
            raise RuleError(f"{name} must be positive, got {list(values)}")
    if x.shape is not None and len(x.shape) != rank:
        raise RuleError(f"{what} must have rank {rank}, it has rank {len(x.shape)}")
    return spatial_axes(data_format)


def only_spatial(axes: tuple[int, ...], **lists: Sequence[int]) -> None:
    """Refuse numbers other than 1 for batch and channels."""
    for name, values in lists.items():
        if any(v != 1 for i, v in enumerate(values) if i not in axes):
            raise RuleError(f"{name} must be 1 for batch and channels, got {list(values)}")


def axis_windows(
    ctx: Infer, size: Dim, kernel: Dim, stride: int, dilation: int,
    padding: str, explicit: tuple[int, int] = (0, 0), what: str = "window",
) -> Axis:  # fmt: skip
    """Lay windows on an axis: VALID without padding, SAME with as many windows as strides.

    SAME pads the end by one more than the beginning where the sum is odd.
    """
    reach = (kernel - 1) * dilation + 1
    before: Dim
    after: Dim
    match padding:
        case "SAME":
            out = D.floordiv(size + (stride - 1), stride)
            total = D.maximum((out - 1) * stride + reach - size, 0)
            before = D.floordiv(total, 2)
            after = total - before
        case "VALID" | "EXPLICIT":
            before, after = explicit if padding == "EXPLICIT" else (0, 0)
            padded = size + before + after
            subject = f"a {what} of {reach}" if isinstance(reach, int) else f"the {what}"
            ctx.at_most(reach - stride, padded, subject + " does not fit {b}")
            out = D.floordiv(padded - reach, stride) + 1
        case _:
            raise RuleError(f"padding is 'SAME', 'VALID' or 'EXPLICIT', not {padding!r}")
    return Axis(size, kernel, stride, dilation, out, before, after)


def known_windows(*args: Any, **kwargs: Any) -> Axis:
    """`axis_windows` of arguments that were checked before."""
    return axis_windows(Infer(lambda hint: 0), *args, **kwargs)


def combined(
    kind: ReduceKind,
    extents: tuple[Dim, ...],
    body: Callable[[tuple[Expr, ...]], Expr],
    dtype: DType,
) -> Expr | Reduce:
    """A reduction over a window, written out where it is small and its size is known."""
    n = D.product(extents)
    if not isinstance(n, int) or not 1 <= n <= UNROLL:
        return Reduce(kind, extents, body, dtype)
    name = {"sum": "add", "max": "maximum"}[kind]
    places = pairs(*(range(int(d)) for d in extents))  # type: ignore[arg-type]
    wide = dtypes.float32 if dtype.size == 2 and dtype.is_floating else dtype
    terms = [cast(body(tuple(lift(k, dtypes.int64) for k in p)), wide) for p in places]
    return cast(reduce(lambda a, b: prim(name, a, b), terms), dtype)


# ---------------------------------------------------------------- on arrays
def ints(values: Sequence[Dim]) -> tuple[int, ...]:
    """Sizes that are known."""
    return tuple(v if isinstance(v, int) else D.evaluate(v, {}) for v in values)


def np_padded(x: np.ndarray, axes: Sequence[Axis], value: Any = 0) -> np.ndarray:
    """The array [N, *S, C] with its padding, and so much more that every window is whole."""
    shape, to, of = [x.shape[0]], [slice(None)], [slice(None)]
    for a in axes:
        size, kernel, out, before, after = ints((a.size, a.kernel, a.out, a.before, a.after))
        reach = (out - 1) * a.stride + (kernel - 1) * a.dilation + 1
        shape.append(max(before + size + after, reach))
        to.append(slice(max(before, 0), before + size))
        of.append(slice(max(-before, 0), None))
    padded = np.full((*shape, x.shape[-1]), value, x.dtype)
    padded[tuple(to)] = x[tuple(of)]
    return padded


def np_places(axes: Sequence[Axis]) -> list[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Each place k of a window, and the slices of the padded array that all windows have there."""
    places = []
    counts = ints([a.out for a in axes])
    for k in np.ndindex(*ints([a.kernel for a in axes])):
        cut = tuple(
            slice(i * a.dilation, i * a.dilation + a.stride * n, a.stride)
            for i, a, n in zip(k, axes, counts, strict=True)
        )
        places.append((k, (slice(None), *cut)))
    return places


def np_inner(padded: np.ndarray, axes: Sequence[Axis]) -> np.ndarray:
    """The array without its padding."""
    inner = [slice(None)]
    for a in axes:
        before, size = ints((a.before, a.size))
        inner.append(slice(before, before + size))
    return padded[tuple(inner)]


# ---------------------------------------------------------------- elements and windows
def covering(i: Expr, axis: Axis, j: Expr) -> tuple[list[Expr], Expr, Expr]:
    """The j-th window from the last that holds element i, and the element's place in it.

    For windows without dilation; `windows_over` says how many there may be.

    Returns:
      conditions under which there is one, its number, and the place; both are 0 elsewhere.
    """
    stride = axis.stride
    t = shifted(i, axis.before)
    o = t if stride == 1 else prim("floordiv", t, stride)
    k = _minus(t, o if stride == 1 else o * stride)
    conditions = []
    if j != ZERO:
        o, k = o - j, k + (j if stride == 1 else j * stride)
        conditions.append(o >= 0)
    kernel = axis.kernel
    if not isinstance(kernel, int) or kernel % stride:
        conditions.append(k < size_expr(kernel))
    conditions.append(o < size_expr(axis.out))
    return conditions, guarded(conditions, o, ZERO), k


def _minus(a: Expr, b: Expr) -> Expr:
    return ZERO if a == b else a - b


def windows_over(axis: Axis) -> int:
    """How many windows may hold one element; for kernels of a known size."""
    assert isinstance(axis.kernel, int)
    return -(-axis.kernel // axis.stride)
