"""The three products of a convolution, on arrays and as matrix products over windows.

Channels come last in here; a layout with channels first is transposed on the way in and out, and
those transposes are read through by the padding and stored by the pass that follows.

    forward   windows [N*O, K*C] @ filter [K*C, F]
    filter    windows^T @ out_backprop [N*O, F]
    input     out_backprop @ filter^T = windows, put back and added where they overlap

A window of a 1x1 filter is a row of the input, and nothing is copied.  Where a row of a window is
short, the windows are stored transposed, so that copies run along the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim, product
from staticgraph.ir.op import lookup
from staticgraph.ops.matmul import NATIVE, gemm
from staticgraph.ops.padding import pad, reverse
from staticgraph.ops.shape import reshape, transpose
from staticgraph.ops.slicing import slice_
from staticgraph.ops.windows import Axis, np_inner, np_padded, np_places, overlap, windows

SHORT = 16  # elements: shorter rows of windows are stored transposed


# ---------------------------------------------------------------- on arrays
def _np_last(x: np.ndarray, first: bool) -> np.ndarray:
    return np.moveaxis(x, 1, -1) if first else x


def _np_back(x: np.ndarray, first: bool) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if first else x


def np_forward(x: np.ndarray, w: np.ndarray, axes: Sequence[Axis], first: bool) -> np.ndarray:
    """Filters [*K, C, F] over the input."""
    x = np_padded(_np_last(x, first), axes)
    out = np.zeros((x.shape[0], *(int(a.out) for a in axes), w.shape[-1]), x.dtype)
    for k, cut in np_places(axes):
        out += x[cut] @ w[k]
    return _np_back(out, first)


def np_input(
    w: np.ndarray, dy: np.ndarray, input_sizes: tuple[int, ...], axes: Sequence[Axis], first: bool
) -> np.ndarray:
    """The transposed convolution."""
    dy = _np_last(dy, first)
    like = np.zeros((dy.shape[0], *(int(a.size) for a in axes), w.shape[-2]), dy.dtype)
    out = np_padded(like, axes)
    for k, cut in np_places(axes):
        out[cut] += dy @ w[k].T
    return _np_back(np_inner(out, axes), first)


def np_filter(
    x: np.ndarray, dy: np.ndarray, filter_sizes: tuple[int, ...], axes: Sequence[Axis], first: bool
) -> np.ndarray:
    """Products of windows and outputs, summed over all windows."""
    dy = _np_last(dy, first)
    x = np_padded(_np_last(x, first), axes)
    out = np.zeros(filter_sizes, x.dtype)
    rows = dy.reshape(-1, dy.shape[-1])
    for k, cut in np_places(axes):
        out[k] = x[cut].reshape(-1, x.shape[-1]).T @ rows
    return out


# ---------------------------------------------------------------- layouts
def to_last(x: Any, first: bool) -> Any:
    """Channels behind the other axes."""
    rank = len(x.type.dims)
    return transpose(x, (0, *range(2, rank), 1)) if first else x


def to_first(x: Any, first: bool) -> Any:
    """Channels where the caller's layout has them."""
    rank = len(x.type.dims)
    return transpose(x, (0, rank - 1, *range(1, rank - 1))) if first else x


def widened(*tensors: Any) -> tuple[Any, ...]:
    """Tensors of a type that the library multiplies."""
    return tuple(
        t if t.dtype in NATIVE else lookup("Cast")(t, DstT=dtypes.float32) for t in tensors
    )


def narrowed(x: Any, dtype: Any) -> Any:
    """`x` in the type the caller had."""
    return x if x.dtype is dtype else lookup("Cast")(x, DstT=dtype)


# ---------------------------------------------------------------- windows as a matrix
def padded(x: Any, axes: Sequence[Axis]) -> Any:
    """The input [N, *S, C] with its padding stored, so that windows are plain copies."""
    if not any(a.padded for a in axes):
        return x
    return pad(x, ((0, 0), *((a.before, a.after) for a in axes), (0, 0)))


def _matrix(x: Any, axes: Sequence[Axis]) -> tuple[Any, bool]:
    """The windows [N*O, K*C] as a matrix, and whether it is stored transposed."""
    dims = x.type.dims
    c = dims[-1]
    rows = product((dims[0], *(a.out for a in axes)))
    columns = product((*(a.kernel for a in axes), c))
    if all(a.plain for a in axes):
        return reshape(x, (rows, columns)), False
    x = padded(x, axes)
    dims = x.type.dims
    counts = [a.out for a in axes]
    kernel = [a.kernel for a in axes]
    strides: list[Dim] = [a.stride for a in axes]
    dilations: list[Dim] = [a.dilation for a in axes]
    last = axes[-1]
    if last.dilation == 1:  # neighbours in a row and their channels are one run of memory
        x = reshape(x, (*dims[:-2], dims[-2] * c))
        kernel[-1], strides[-1] = last.kernel * c, last.stride * c
    else:
        counts, kernel = [*counts, 1], [*kernel, c]
        strides, dilations = [*strides, 1], [*dilations, 1]
    run = kernel[-1]
    turned = last.dilation == 1 and strides[-1] == 1 and isinstance(run, int) and run < SHORT
    out = windows(x, tuple(counts), tuple(kernel), tuple(strides), tuple(dilations), kernel_first=turned)
    return reshape(out, (columns, rows) if turned else (rows, columns)), turned


def forward(x: Any, w: Any, axes: Sequence[Axis], first: bool) -> Any:
    """The convolution of `x` with `w`."""
    dtype = x.dtype
    x, w = widened(to_last(x, first), w)
    n, f = x.type.dims[0], w.type.dims[-1]
    a, turned = _matrix(x, axes)
    b = reshape(w, (product(w.type.dims[:-1]), f))
    out = reshape(gemm(a, b, transpose_a=turned), (n, *(s.out for s in axes), f))
    return to_first(narrowed(out, dtype), first)


def by_filter(x: Any, dy: Any, filter_sizes: tuple[Dim, ...], axes: Sequence[Axis], first: bool) -> Any:
    """The cotangent of the filter."""
    dtype = x.dtype
    x, dy = widened(to_last(x, first), to_last(dy, first))
    a, turned = _matrix(x, axes)
    ds = dy.type.dims
    out = gemm(a, reshape(dy, (product(ds[:-1]), ds[-1])), transpose_a=not turned)
    return narrowed(reshape(out, filter_sizes), dtype)


def by_input(
    w: Any, dy: Any, input_sizes: tuple[Dim, ...], axes: Sequence[Axis], first: bool
) -> Any:
    """The cotangent of the input."""
    dtype = dy.dtype
    w, dy = widened(w, to_last(dy, first))
    ds, ws = dy.type.dims, w.type.dims
    c, f = ws[-2:]
    n = len(axes)
    if _as_convolution(axes, c, f):
        flipped = transpose(reverse(w, tuple(range(n))), (*range(n), n + 1, n))
        back = [_turned(a) for a in axes]
        return to_first(narrowed(forward(dy, flipped, back, False), dtype), first)
    rows, columns = product(ds[:-1]), product(ws[:-1])
    p = gemm(reshape(dy, (rows, f)), reshape(w, (columns, f)), transpose_b=True)
    sizes = (ds[0], *(a.size for a in axes), c)
    if all(a.plain for a in axes):
        return to_first(narrowed(reshape(p, sizes), dtype), first)
    reached = tuple(
        a.before + a.size + a.after for a in axes
    )
    p = reshape(p, (ds[0], *ds[1:-1], 1, *ws[:-1]))
    out = overlap(
        p, (ds[0], *reached, c), (*(a.out for a in axes), 1), (*(a.kernel for a in axes), c),
        (*(a.stride for a in axes), 1), (*(a.dilation for a in axes), 1),
    )  # fmt: skip
    if any(a.padded for a in axes):
        out = slice_(out, (0, *(a.before for a in axes), 0), sizes)
    return to_first(narrowed(out, dtype), first)


def _as_convolution(axes: Sequence[Axis], c: Dim, f: Dim) -> bool:
    """True where convolving with the reversed filter costs less than adding overlaps."""
    if any(a.stride != 1 or not isinstance(a.kernel, int) or not isinstance(a.before, int) for a in axes):
        return False
    if all(a.plain for a in axes):
        return False
    reach = [(a.kernel - 1) * a.dilation for a in axes]
    return all(isinstance(a.before, int) and a.before <= r for a, r in zip(axes, reach, strict=True))


def _turned(a: Axis) -> Axis:
    """The windows of the output that an element of the input was in."""
    reach = (a.kernel - 1) * a.dilation
    before = reach - a.before
    return Axis(a.out, a.kernel, 1, a.dilation, a.size, before, a.size + reach - before - a.out)
