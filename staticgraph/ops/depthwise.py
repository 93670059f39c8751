"""Convolutions in which every channel has filters of its own.

Nothing is shared between channels that a matrix product could use, so these are index lambdas:
sums over the filter's places, and for the filter's gradient over all windows.  Channels come last
in here, split into [channel, multiplier].
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from staticgraph.ir.dims import Dim
from staticgraph.ir.op import REQUIRED, ErrorSample, Infer, Op, RuleError, Sample
from staticgraph.ir.scalar import Expr, Operand, Reduce, lift, prim, size_expr
from staticgraph.ir.types import TensorType
from staticgraph.ops.conv import TWO
from staticgraph.ops.conv_products import to_first, to_last
from staticgraph.ops.rules import FLOATING, floats, in_float32, same
from staticgraph.ops.shape import ZERO, reshape, sizes
from staticgraph.ops.slicing import guarded
from staticgraph.ops.windows import (
    Axis,
    axis_windows,
    checked,
    combined,
    np_inner,
    np_padded,
    np_places,
    only_spatial,
)

Attrs = Mapping[str, Any]


# ---------------------------------------------------------------- geometry
def _check(x: TensorType, what: str, w: TensorType | None, attrs: Attrs) -> None:
    lists = {"strides": attrs["strides"], "dilations": attrs["dilations"]}
    only_spatial(checked(x, what, attrs["data_format"], TWO.formats, **lists), **lists)
    if w is not None and w.shape is not None and len(w.shape) != 4:
        raise RuleError(f"filter must have rank 4, it has rank {len(w.shape)}")
    if attrs["padding"] not in ("SAME", "VALID"):
        raise RuleError(f"padding is 'SAME' or 'VALID', not {attrs['padding']!r}")


def _axes(ctx: Infer, x: tuple[Dim, ...], w: tuple[Dim, ...], attrs: Attrs) -> list[Axis]:
    at = (2, 3) if TWO.channels_first(attrs["data_format"]) else (1, 2)
    return [
        axis_windows(ctx, x[i], k, attrs["strides"][i], attrs["dilations"][i], attrs["padding"],
            what="filter")
        for i, k in zip(at, w[:2], strict=True)
    ]  # fmt: skip


def _known(x: tuple[Dim, ...], w: tuple[Dim, ...], attrs: Attrs) -> list[Axis]:
    return _axes(Infer(lambda hint: 0), x, w, attrs)


def _first(attrs: Attrs) -> bool:
    return TWO.channels_first(attrs["data_format"])


def _result(ctx: Infer, x: tuple[Dim, ...], w: tuple[Dim, ...], attrs: Attrs) -> tuple[Dim, ...]:
    channels = x[1] if _first(attrs) else x[3]
    ctx.equal(channels, w[2], "the input has {a} channels and the filter takes {b}")
    h, v = (a.out for a in _axes(ctx, x, w, attrs))
    c = w[2] * w[3]
    return (x[0], c, h, v) if _first(attrs) else (x[0], h, v, c)


def _forward_shape(ctx: Infer, x: TensorType, w: TensorType, **attrs: Any) -> tuple[Dim, ...]:
    _check(x, "input", w, attrs)
    return _result(ctx, x.dims, w.dims, attrs)


def _check_out(
    ctx: Infer, x: tuple[Dim, ...], w: tuple[Dim, ...], dy: TensorType, attrs: Attrs
) -> None:
    for i, (a, b) in enumerate(zip(dy.dims, _result(ctx, x, w, attrs), strict=True)):
        ctx.equal(a, b, f"out_backprop has {{a}} on axis {i} where the convolution gives {{b}}")


def _sizes(values: Any, what: str) -> tuple[Dim, ...]:
    out = sizes(values, what)
    if len(out) != 4:
        raise RuleError(f"{what} takes 4 numbers, got {len(out)}")
    return out


def _input_shape(
    ctx: Infer, w: TensorType, dy: TensorType, *, input_sizes: Any, **attrs: Any
) -> Any:
    _check(dy, "out_backprop", w, attrs)
    if input_sizes is None:
        return tuple(ctx.fresh("d") for _ in range(4))
    dims = _sizes(input_sizes, "input_sizes")
    _check_out(ctx, dims, w.dims, dy, attrs)
    return dims


def _filter_shape(
    ctx: Infer, x: TensorType, dy: TensorType, *, filter_sizes: Any, **attrs: Any
) -> Any:
    _check(x, "input", None, attrs)
    if filter_sizes is None:
        return tuple(ctx.fresh("d") for _ in range(4))
    dims = _sizes(filter_sizes, "filter_sizes")
    _check_out(ctx, x.dims, dims, dy, attrs)
    return dims


# ---------------------------------------------------------------- on arrays
def _np_last(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    return np.moveaxis(x, 1, -1) if _first(attrs) else x


def _np_back(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if _first(attrs) else x


@in_float32
def _np_forward(x: np.ndarray, w: np.ndarray, **attrs: Any) -> np.ndarray:
    axes = _known(x.shape, w.shape, attrs)
    padded = np_padded(_np_last(x, attrs), axes)
    out: Any = 0
    for k, cut in np_places(axes):
        out = out + padded[cut][..., None] * w[k]
    return _np_back(out.reshape(*out.shape[:3], -1 if out.size else w.shape[2] * w.shape[3]), attrs)


@in_float32
def _np_input(w: np.ndarray, dy: np.ndarray, *, input_sizes: Any, **attrs: Any) -> np.ndarray:
    axes = _known(tuple(input_sizes), w.shape, attrs)
    out = np_padded(_np_last(np.zeros(input_sizes, dy.dtype), attrs), axes)
    dy = _np_last(dy, attrs)
    dy = dy.reshape(*dy.shape[:3], *w.shape[2:])
    for k, cut in np_places(axes):
        out[cut] += (dy * w[k]).sum(-1)
    return _np_back(np_inner(out, axes), attrs)


@in_float32
def _np_filter(x: np.ndarray, dy: np.ndarray, *, filter_sizes: Any, **attrs: Any) -> np.ndarray:
    axes = _known(x.shape, tuple(filter_sizes), attrs)
    padded, dy = np_padded(_np_last(x, attrs), axes), _np_last(dy, attrs)
    dy = dy.reshape(*dy.shape[:3], *filter_sizes[2:])
    out = np.zeros(filter_sizes, x.dtype)
    for k, cut in np_places(axes):
        out[k] = (padded[cut][..., None] * dy).sum((0, 1, 2))
    return out


# ---------------------------------------------------------------- index lambdas
def _around(
    x: Operand, n: Expr, axes: list[Axis], o: tuple[Expr, ...], k: tuple[Expr, ...], c: Expr
) -> Expr:
    """The element at place k of window o, 0 where that is padding."""
    at, conditions = [], []
    for a, i, j in zip(axes, o, k, strict=True):
        t = a.at(i, j)
        own = a.inside(t)
        conditions += own
        at.append(guarded(own, t, ZERO))
    return guarded(conditions, x[(n, *at, c)], lift(0, x.dtype))


def _lower_forward(ix: tuple[Expr, ...], x: Operand, w: Operand, **attrs: Any) -> Expr | Reduce:
    axes = _known(x.shape, w.shape, attrs)
    n, i, j, c, m = ix
    extents = tuple(a.kernel for a in axes)
    return combined(
        "sum", extents, lambda k: _around(x, n, axes, (i, j), k, c) * w[(*k, c, m)], x.dtype
    )


def _lower_filter(
    ix: tuple[Expr, ...], x: Operand, dy: Operand, *, filter_sizes: Any, **attrs: Any
) -> Reduce:
    axes = _known(x.shape, filter_sizes, attrs)
    a, b, c, m = ix
    extents = (x.shape[0], *(s.out for s in axes))
    return Reduce(
        "sum", extents,
        lambda r: _around(x, r[0], axes, r[1:], (a, b), c) * dy[(*r, c, m)], x.dtype,
    )  # fmt: skip


def _lower_input(
    ix: tuple[Expr, ...], w: Operand, dy: Operand, *, input_sizes: Any, **attrs: Any
) -> Expr | Reduce:
    axes = _known(input_sizes, w.shape, attrs)
    n, *inner, c = ix
    zero = lift(0, dy.dtype)
    if any(d == 0 for d in dy.shape):
        return zero

    def body(k: tuple[Expr, ...]) -> Expr:
        at: list[Expr] = []
        conditions: list[Expr] = []
        for axis, i, j in zip(axes, inner, k[:2], strict=True):
            reach = j if axis.dilation == 1 else j * axis.dilation
            t = i + size_expr(axis.before) - reach
            own = [t >= 0]
            if axis.stride != 1:
                own.append(prim("mod", t, axis.stride).eq(0))
                t = prim("floordiv", t, axis.stride)
            own.append(t < size_expr(axis.out))
            conditions += own
            at.append(guarded(own, t, ZERO))
        m = ZERO if w.shape[3] == 1 else k[2]
        return guarded(conditions, dy[(n, *at, c, m)] * w[(*k[:2], c, m)], zero)

    extents = (*(a.kernel for a in axes), *(() if w.shape[3] == 1 else (w.shape[3],)))
    return combined("sum", extents, body, dy.dtype)


# ---------------------------------------------------------------- samples
def _around_all(v: int, first: bool) -> tuple[int, ...]:
    return (1, 1, v, v) if first else (1, v, v, 1)


def _case(n: int, inner: tuple[int, int], c: int, kernel: tuple[int, int], m: int, stride: int = 1,
          padding: str = "SAME", dilation: int = 1, first: bool = False,
          dtype: str = "float64") -> Any:  # fmt: skip
    shape = (n, c, *inner) if first else (n, *inner, c)
    kw = {"strides": _around_all(stride, first), "padding": padding,
          "dilations": _around_all(dilation, first), "data_format": TWO.formats[first]}  # fmt: skip
    return floats(shape=shape, dtype=dtype), floats(shape=(*kernel, c, m), dtype=dtype, seed=1), kw


_CASES = (
    _case(2, (4, 3), 2, (3, 3), 1), _case(1, (5, 4), 2, (2, 3), 2, stride=2),
    _case(1, (4, 5), 3, (2, 2), 2, padding="VALID", first=True),
    _case(1, (5, 5), 2, (2, 2), 1, padding="VALID", dilation=2),
    _case(1, (2, 3), 17, (1, 2), 1, dtype="float32"),
    _case(0, (3, 3), 2, (2, 2), 1, dtype="float32"),
    _case(1, (3, 3), 2, (2, 2), 2, dtype="float16"),
)  # fmt: skip
_ATTRS = {
    "strides": REQUIRED,
    "padding": REQUIRED,
    "data_format": "NHWC",
    "dilations": (1, 1, 1, 1),
}


@cache
def _grads() -> list[np.ndarray]:
    outs = (_np_forward(x, w, **kw) for x, w, kw in _CASES)
    return [floats(shape=y.shape, dtype=y.dtype.name, seed=3) for y in outs]


def _smooth(x: np.ndarray) -> bool:
    return x.dtype != np.float16


def _last(attrs: Attrs) -> dict[str, Any]:
    """The attributes of the same convolution with channels last."""
    out = dict(attrs)
    if _first(attrs):
        for key in ("strides", "dilations"):
            n, c, h, w = attrs[key]
            out[key] = (n, h, w, c)
    out["data_format"] = "NHWC"
    return out


# ---------------------------------------------------------------- records, channels last and split
def _split_shape(ctx: Infer, x: TensorType, w: TensorType, **attrs: Any) -> tuple[Dim, ...]:
    n, h, v, _ = _result(ctx, x.dims, w.dims, attrs)
    return (n, h, v, *w.dims[2:])


def _np_split(x: np.ndarray, w: np.ndarray, **attrs: Any) -> np.ndarray:
    y: np.ndarray = _np_forward(x, w, **attrs)
    return y.reshape(*y.shape[:3], *w.shape[2:])


def _flat(dy: np.ndarray) -> np.ndarray:
    return dy.reshape(*dy.shape[:3], dy.shape[3] * dy.shape[4])


_PLAIN = [i for i, (_, _, kw) in enumerate(_CASES) if not _first(kw)]

_forward: Op = Op(
    "DepthwiseProduct", ("x", "w"), same(FLOATING), _split_shape, _np_split, None,
    lower=_lower_forward, attrs=_ATTRS, cheap=False,
    samples=lambda: tuple(Sample(_CASES[i][:2], _CASES[i][2], grad=False) for i in _PLAIN),
    doc="`DepthwiseConv2dNative` with channels last and split.",
)  # fmt: skip
_by_input: Op = Op(
    "DepthwiseByInput", ("w", "dy", "@input_sizes"), same(FLOATING),
    lambda ctx, w, dy, *, input_sizes, **_: tuple(input_sizes),
    lambda w, dy, *, input_sizes, **kw: _np_input(w, _flat(dy), input_sizes=input_sizes, **kw),
    None,
    lower=_lower_input, attrs=_ATTRS, cheap=False,
    samples=lambda: tuple(
        Sample((_CASES[i][1], _grads()[i].reshape(*_grads()[i].shape[:3], *_CASES[i][1].shape[2:])),
               {"input_sizes": _CASES[i][0].shape, **_CASES[i][2]}, grad=False)
        for i in _PLAIN
    ),
)  # fmt: skip
_by_filter: Op = Op(
    "DepthwiseByFilter", ("x", "dy", "@filter_sizes"), same(FLOATING),
    lambda ctx, x, dy, *, filter_sizes, **_: tuple(filter_sizes),
    lambda x, dy, *, filter_sizes, **kw: _np_filter(x, _flat(dy), filter_sizes=filter_sizes,
        **kw), None,
    lower=_lower_filter, attrs=_ATTRS, cheap=False,
    samples=lambda: tuple(
        Sample((_CASES[i][0], _grads()[i].reshape(*_grads()[i].shape[:3], *_CASES[i][1].shape[2:])),
               {"filter_sizes": _CASES[i][1].shape, **_CASES[i][2]}, grad=False)
        for i in _PLAIN
    ),
)  # fmt: skip


def _split(dy: Any, w: tuple[Dim, ...]) -> Any:
    return reshape(dy, (*dy.type.dims[:3], *w[2:]))


def _decompose(x: Any, w: Any, **attrs: Any) -> Any:
    first = _first(attrs)
    y = _forward(to_last(x, first), w, **_last(attrs))
    n, h, v, c, m = y.type.dims
    return to_first(reshape(y, (n, h, v, c * m)), first)


def _decompose_input(w: Any, dy: Any, *, input_sizes: Any, **attrs: Any) -> Any:
    first = _first(attrs)
    if first:
        n, c, h, v = input_sizes
        input_sizes = (n, h, v, c)
    dx = _by_input(w, _split(to_last(dy, first), w.type.dims), input_sizes, **_last(attrs))
    return to_first(dx, first)


def _decompose_filter(x: Any, dy: Any, *, filter_sizes: Any, **attrs: Any) -> Any:
    first = _first(attrs)
    dy = _split(to_last(dy, first), filter_sizes)
    return _by_filter(to_last(x, first), dy, filter_sizes, **_last(attrs))


# ---------------------------------------------------------------- records
_X, _W, _KW = _CASES[0]
depthwise: Op = Op(
    "DepthwiseConv2dNative", ("input", "filter"), same(FLOATING), _forward_shape, _np_forward,
    lambda g, y, x, w, **kw: (_input_like(x, w, g, **kw), _filter_like(x, w, g, **kw)),
    decompose=_decompose, attrs=_ATTRS, cheap=False,
    samples=lambda: tuple(Sample((x, w), kw, grad=_smooth(x)) for x, w, kw in _CASES),
    error_samples=lambda: (
        ErrorSample((_X, _W.repeat(2, 2)), _KW, "the input has 2 channels and the filter takes 4"),
        ErrorSample((_X[0], _W), _KW, "input must have rank 4, it has rank 3"),
        ErrorSample((_X, _W[0]), _KW, "filter must have rank 4, it has rank 3"),
        ErrorSample((_X, _W), {**_KW, "padding": "EXPLICIT"}, "padding is 'SAME' or 'VALID'"),
        ErrorSample((_X, _W), {**_KW, "strides": (1, 0, 1, 1)}, "strides must be positive"),
    ),
    doc="Filters [h, w, channel, multiplier]: channel c gives outputs c*multiplier and on.",
)  # fmt: skip
depthwise_backprop_input: Op = Op(
    "DepthwiseConv2dNativeBackpropInput", ("@input_sizes", "filter", "out_backprop"),
    same(FLOATING),
    _input_shape, _np_input,
    lambda g, y, w, dy, *, input_sizes, **kw: (_filter_like(g, w, dy, **kw), depthwise(g, w, **kw)),
    decompose=_decompose_input, attrs=_ATTRS, cheap=False,
    samples=lambda: tuple(
        Sample((w, dy), {"input_sizes": x.shape, **kw}, grad=_smooth(x))
        for (x, w, kw), dy in zip(_CASES, _grads(), strict=True)
    ),
    error_samples=lambda: (
        ErrorSample((_W, _grads()[0]), {"input_sizes": [1, 2], **_KW},
            "input_sizes takes 4 numbers, got 2"),
    ),
)  # fmt: skip
depthwise_backprop_filter: Op = Op(
    "DepthwiseConv2dNativeBackpropFilter", ("input", "@filter_sizes", "out_backprop"),
    same(FLOATING),
    _filter_shape, _np_filter,
    lambda g, y, x, dy, *, filter_sizes, **kw: (_input_like(x, g, dy, **kw), depthwise(x, g, **kw)),
    decompose=_decompose_filter, attrs=_ATTRS, cheap=False,
    samples=lambda: tuple(
        Sample((x, dy), {"filter_sizes": w.shape, **kw}, grad=_smooth(x))
        for (x, w, kw), dy in zip(_CASES, _grads(), strict=True)
    ),
    error_samples=lambda: (
        ErrorSample((_X, _grads()[0]), {"filter_sizes": [1, 2], **_KW},
            "filter_sizes takes 4 numbers, got 2"),
    ),
)  # fmt: skip
_input_like: Op = Op(
    "DepthwiseConv2dNativeBackpropInputLike", ("like", "filter", "out_backprop"), same(FLOATING),
    lambda ctx, like, w, dy, **kw: _input_shape(ctx, w, dy, input_sizes=like.dims, **kw),
    lambda like, w, dy, **kw: _np_input(w, dy, input_sizes=like.shape, **kw),
    lambda g, y, like, w, dy, **kw: (None, _filter_like(g, w, dy, **kw), depthwise(g, w, **kw)),
    decompose=lambda like, w, dy, **kw: depthwise_backprop_input(like.type.dims, w, dy, **kw),
    attrs=_ATTRS, cheap=False,
    samples=lambda: tuple(Sample((x, w, dy), kw) for (x, w, kw),
        dy in zip(_CASES[:2], _grads(), strict=False)),
)  # fmt: skip
_filter_like: Op = Op(
    "DepthwiseConv2dNativeBackpropFilterLike", ("input", "like", "out_backprop"), same(FLOATING),
    lambda ctx, x, like, dy, **kw: _filter_shape(ctx, x, dy, filter_sizes=like.dims, **kw),
    lambda x, like, dy, **kw: _np_filter(x, dy, filter_sizes=like.shape, **kw),
    lambda g, y, x, like, dy, **kw: (_input_like(x, g, dy, **kw), None, depthwise(x, g, **kw)),
    decompose=lambda x, like, dy, **kw: depthwise_backprop_filter(x, like.type.dims, dy, **kw),
    attrs=_ATTRS, cheap=False,
    samples=lambda: tuple(Sample((x, w, dy), kw) for (x, w, kw),
        dy in zip(_CASES[:2], _grads(), strict=False)),
)  # fmt: skip
