"""The three products of a convolution, on arrays and as matrix products over windows.

Channels come last in here; a layout with channels first is transposed on the way in and out, and
those transposes fuse with what comes before or after.

    forward   windows [N*O, K*C] @ filter [K*C, F]
    filter    windows^T @ out_backprop [N*O, F]
    input     out_backprop @ filter^T = windows, put back and added where they overlap; with strides
              of 1 the first product instead, with the filter reversed

The matrix of windows never exists: the product reads windows where they are.  Where they reach over
the ends of an axis, some images at a time are copied, with zeros around them, to a place of its own
first.  A window of a 1x1 filter is a row of the input, and the product is one of matrices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from staticgraph.ir import dims as D
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim, product
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import REQUIRED, Infer, Op, Sample, lookup
from staticgraph.ir.types import TensorType
from staticgraph.ops.matmul import NATIVE, gemm
from staticgraph.ops.padding import reverse
from staticgraph.ops.rules import floats, same
from staticgraph.ops.shape import reshape, transpose
from staticgraph.ops.windows import Axis, ints, np_inner, np_padded, np_places

BLOCK = 1 << 22  # bytes that are copied at once: they stay in a shared cache


# ---------------------------------------------------------------- on arrays
def _np_last(x: np.ndarray, first: bool) -> np.ndarray:
    return np.moveaxis(x, 1, -1) if first else x


def _np_back(x: np.ndarray, first: bool) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if first else x


def np_forward(x: np.ndarray, w: np.ndarray, axes: Sequence[Axis], first: bool) -> np.ndarray:
    """Filters [*K, C, F] over the input."""
    x = np_padded(_np_last(x, first), axes)
    out = np.zeros((x.shape[0], *ints([a.out for a in axes]), w.shape[-1]), x.dtype)
    for k, cut in np_places(axes):
        out += x[cut] @ w[k]
    return _np_back(out, first)


def np_input(
    w: np.ndarray, dy: np.ndarray, input_sizes: tuple[int, ...], axes: Sequence[Axis], first: bool
) -> np.ndarray:
    """The transposed convolution."""
    dy = _np_last(dy, first)
    like = np.zeros((dy.shape[0], *ints([a.size for a in axes]), w.shape[-2]), dy.dtype)
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


# ---------------------------------------------------------------- library calls
def _framed(axes: Sequence[Axis], n: Dim, c: Dim, size: int) -> dict[str, Dim]:
    """How many images are copied at once, of how many places on the first axis, and elements."""
    if not any(a.padded for a in axes):
        return {"block": n, "slab": axes[0].out, "scratch": 0}
    reach = [(a.kernel - 1) * a.dilation + 1 for a in axes]
    whole = [(a.out - 1) * a.stride + r for a, r in zip(axes, reach, strict=True)]
    line = D.maximum(product((*whole[1:], c)), 1)
    fit = D.floordiv(BLOCK // size, line) - reach[0]
    slab = D.maximum(D.minimum(D.floordiv(D.maximum(fit, 0), axes[0].stride) + 1, axes[0].out), 1)
    tall = (slab - 1) * axes[0].stride + reach[0]
    block = D.maximum(D.minimum(D.floordiv(BLOCK // size, D.maximum(tall * line, 1)), n), 1)
    return {"block": block, "slab": slab, "scratch": block * tall * line}


def _blocks(axes: Sequence[Axis], n: Dim, c: Dim, size: int) -> dict[str, Dim]:
    """How many lines of windows there are at once, and their elements."""
    lines = product((n, *(a.out for a in axes[:-1])))
    line = axes[-1].out * product((*(a.kernel for a in axes), c))
    fit = D.floordiv(BLOCK // size, D.maximum(line, 1))
    block = D.maximum(D.minimum(fit, lines), 1)
    return {"block": block, "slab": 1, "scratch": block * line}


def _calls(
    axes: Sequence[Axis], n: Dim, c: Dim, dtype: DType, by_input: bool = False
) -> dict[str, Any]:
    """The attributes of a library call."""
    return {
        "counts": tuple(a.out for a in axes), "before": tuple(a.before for a in axes),
        "strides": tuple(a.stride for a in axes), "dilations": tuple(a.dilation for a in axes),
        **(_blocks if by_input else _framed)(axes, n, c, dtype.size),
    }  # fmt: skip


def _laid(
    inner: Sequence[int], kernel: Sequence[int], *, counts: Any, before: Any, strides: Any,
    dilations: Any, **_: Any,
) -> list[Axis]:  # fmt: skip
    rows = zip(inner, kernel, strides, dilations, counts, before, strict=True)
    return [Axis(d, k, s, r, o, p, 0) for d, k, s, r, o, p in rows]


def _library(
    name: str, operands: tuple[str, ...], shape: Any, numpy: Any, samples: Any, doc: str
) -> Op:
    """The record of a call that the compiler alone makes; its derivatives are taken before."""
    return Op(
        name,
        operands,
        same(NATIVE),
        shape,
        numpy,
        None,
        library="conv",
        cheap=False,
        attrs=dict.fromkeys(
            ("counts", "before", "strides", "dilations", "block", "slab", "scratch"), REQUIRED
        ),
        samples=samples,
        doc=doc,
    )


def _samples() -> dict[str, list[Sample]]:
    """One sample of each product for each of a few shapes."""
    out: dict[str, list[Sample]] = {"forward": [], "filter": [], "input": []}
    cases = (
        ((2, 5, 4, 2), (3, 2), 3, (1, 1), (1, 1), (1, 0), (5, 4), "float64", 3),
        ((1, 7, 6, 1), (2, 3), 2, (2, 1), (1, 2), (0, 2), (3, 4), "float32", 2),
        ((2, 2, 3, 4, 1), (2, 2, 2), 2, (1, 2, 1), (1, 1, 1), (1, 1, 0), (2, 2, 3), "float32", 1),
        ((0, 3, 3, 2), (2, 2), 2, (1, 1), (1, 1), (0, 0), (2, 2), "float32", 4),
        ((1, 4, 5, 17), (1, 2), 1, (1, 2), (1, 2), (0, 1), (4, 2), "float64", 9),
    )
    for xs, kernel, f, strides, dilations, before, counts, dtype, block in cases:
        c = xs[-1]
        attrs = {"counts": counts, "before": before, "strides": strides, "dilations": dilations}
        line = counts[-1] * math.prod(kernel) * c
        blocks = {"block": block, "slab": 1, "scratch": block * line}
        whole = [
            (o - 1) * s + (k - 1) * r + 1
            for o, s, k, r in zip(counts, strides, kernel, dilations, strict=True)
        ]
        x = floats(shape=xs, dtype=dtype)
        w = floats(shape=(*kernel, c, f), dtype=dtype, seed=1)
        dy = floats(shape=(xs[0], *counts, f), dtype=dtype, seed=2)
        for images, slab in ((max(xs[0], 1), counts[0]), (1, 2)):
            framed = {"block": images, "slab": slab, "scratch": images * math.prod(whole) * c}
            out["forward"].append(Sample((x, w), attrs | framed, grad=False))
            out["filter"].append(Sample((x, dy), attrs | framed | {"sizes": w.shape}, grad=False))
        out["input"].append(Sample((w, dy), attrs | blocks | {"sizes": xs}, grad=False))
    return out


_SAMPLES = _samples()


def _np_conv_forward(x: np.ndarray, w: np.ndarray, **attrs: Any) -> np.ndarray:
    return np_forward(x, w, _laid(x.shape[1:-1], w.shape[:-2], **attrs), False)


def _np_conv_filter(x: np.ndarray, dy: np.ndarray, *, sizes: Any, **attrs: Any) -> np.ndarray:
    return np_filter(x, dy, sizes, _laid(x.shape[1:-1], sizes[:-2], **attrs), False)


def _np_conv_input(w: np.ndarray, dy: np.ndarray, *, sizes: Any, **attrs: Any) -> np.ndarray:
    return np_input(w, dy, sizes, _laid(sizes[1:-1], w.shape[:-2], **attrs), False)


def _forward_dims(ctx: Infer, x: TensorType, w: TensorType, *, counts: Any, **_: Any) -> Any:
    return (x.dims[0], *counts, w.dims[-1])


def _sizes(ctx: Infer, *_: TensorType, sizes: Any, **__: Any) -> Any:
    return tuple(sizes)


conv_forward = _library(
    "ConvForward", ("x", "w"), _forward_dims, _np_conv_forward, tuple(_SAMPLES["forward"]),
    "A convolution, channels last: the windows times the filter.",
)  # fmt: skip
conv_by_filter = _library(
    "ConvByFilter", ("x", "dy", "@sizes"), _sizes, _np_conv_filter, tuple(_SAMPLES["filter"]),
    "The cotangent of a filter: the windows, transposed, times the output's.",
)  # fmt: skip
conv_by_input = _library(
    "ConvByInput", ("w", "dy", "@sizes"), _sizes, _np_conv_input, tuple(_SAMPLES["input"]),
    "The cotangent of an input: windows put back and added where they overlap.",
)  # fmt: skip


# ---------------------------------------------------------------- products
def forward(x: Any, w: Any, axes: Sequence[Axis], first: bool) -> Any:
    """The convolution of `x` with `w`."""
    dtype = x.dtype
    x, w = widened(to_last(x, first), w)
    xs, ws = x.type.dims, w.type.dims
    if all(a.plain for a in axes):
        flat = gemm(reshape(x, (product(xs[:-1]), xs[-1])), reshape(w, ws[-2:]))
        out = reshape(flat, (*xs[:-1], ws[-1]))
    else:
        out = conv_forward(x, w, **_calls(axes, xs[0], xs[-1], x.dtype))
    return to_first(narrowed(out, dtype), first)


def by_filter(
    x: Any, dy: Any, filter_sizes: tuple[Dim, ...], axes: Sequence[Axis], first: bool
) -> Any:
    """The cotangent of the filter."""
    dtype = x.dtype
    x, dy = widened(to_last(x, first), to_last(dy, first))
    xs, ds = x.type.dims, dy.type.dims
    if all(a.plain for a in axes):
        left = reshape(x, (product(xs[:-1]), xs[-1]))
        flat = gemm(left, reshape(dy, (product(ds[:-1]), ds[-1])), transpose_a=True)
        return narrowed(reshape(flat, filter_sizes), dtype)
    return narrowed(
        conv_by_filter(x, dy, filter_sizes, **_calls(axes, xs[0], xs[-1], x.dtype)), dtype
    )


def by_input(
    w: Any, dy: Any, input_sizes: tuple[Dim, ...], axes: Sequence[Axis], first: bool
) -> Any:
    """The cotangent of the input."""
    dtype = dy.dtype
    w, dy = widened(w, to_last(dy, first))
    ds, ws = dy.type.dims, w.type.dims
    c, f = ws[-2:]
    n = len(axes)
    sizes = (ds[0], *(a.size for a in axes), c)
    if all(a.plain for a in axes):
        flat = gemm(reshape(dy, (product(ds[:-1]), f)), reshape(w, (c, f)), transpose_b=True)
        out = reshape(flat, sizes)
    elif all(a.stride == 1 for a in axes):
        # Each element gathers from the windows it is in: a convolution with the filter reversed.
        flipped = transpose(reverse(w, tuple(range(n))), (*range(n), n + 1, n))
        back = [_turned(a) for a in axes]
        out = conv_forward(dy, flipped, **_calls(back, ds[0], f, dy.dtype))
    else:
        out = conv_by_input(w, dy, sizes, **_calls(axes, ds[0], c, dy.dtype, by_input=True))
    return to_first(narrowed(out, dtype), first)


def _turned(a: Axis) -> Axis:
    """The windows of the output that an element of the input was in."""
    reach = (a.kernel - 1) * a.dilation
    before = reach - a.before
    return Axis(a.out, a.kernel, 1, a.dilation, a.size, before, a.size + reach - before - a.out)
