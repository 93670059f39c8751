"""Convolutions over two and three axes, and the products that are their derivatives.

A convolution is bilinear in its input and its filter, so its three products (forward, with respect
to the input, with respect to the filter) are each other's derivatives, to any order.  All of them
become matrix products over the tensor of windows; see `ops.conv_products`.

The ``...Like`` records are what gradients build: they take a size from a tensor, so that they
serve where sizes are not known yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from staticgraph.ir.dims import Dim
from staticgraph.ir.op import REQUIRED, ErrorSample, Infer, Op, RuleError, Sample
from staticgraph.ir.record import record
from staticgraph.ir.types import TensorType
from staticgraph.ops import conv_products as products
from staticgraph.ops.rules import FLOATING, bools, floats, in_float32, same
from staticgraph.ops.shape import sizes
from staticgraph.ops.windows import Axis, axis_windows, checked, known_windows, only_spatial

Attrs = Mapping[str, Any]


@record(frozen=True, slots=True)
class ConvForm:
    """What distinguishes the convolutions over n axes: the number and the names of layouts."""

    rank: int
    formats: tuple[str, str]  # channels last, channels first

    def channels_first(self, data_format: str) -> bool:
        """True where channels stand before the axes that windows slide over."""
        return data_format == self.formats[1]


TWO = ConvForm(2, ("NHWC", "NCHW"))
THREE = ConvForm(3, ("NDHWC", "NCDHW"))


# ---------------------------------------------------------------- shapes
def _explicit(attrs: Attrs, at: int) -> tuple[int, int]:
    pads = attrs.get("explicit_paddings") or ()
    if attrs["padding"] != "EXPLICIT":
        return 0, 0
    return int(pads[2 * at]), int(pads[2 * at + 1])


def _check(
    form: ConvForm, x: TensorType, what: str, filters: TensorType | None, attrs: Attrs
) -> tuple[int, ...]:
    lists = {"strides": attrs["strides"], "dilations": attrs["dilations"]}
    at = checked(x, what, attrs["data_format"], form.formats, **lists)
    only_spatial(at, **lists)
    rank = form.rank + 2
    if filters is not None and filters.shape is not None and len(filters.shape) != rank:
        raise RuleError(f"filter must have rank {rank}, it has rank {len(filters.shape)}")
    pads = attrs.get("explicit_paddings") or ()
    if attrs["padding"] == "EXPLICIT":
        if len(pads) != 2 * rank or any(p < 0 for p in pads):
            raise RuleError(
                f"explicit_paddings takes {2 * rank} numbers that are not negative, "
                f"got {list(pads)}"
            )
        if any(pads[2 * i] or pads[2 * i + 1] for i in range(rank) if i not in at):
            raise RuleError(f"explicit_paddings must be 0 for batch and channels, got {list(pads)}")
    elif pads:
        raise RuleError(f"explicit_paddings needs padding 'EXPLICIT', not {attrs['padding']!r}")
    return at


def _axes(
    ctx: Infer, form: ConvForm, x: tuple[Dim, ...], kernel: tuple[Dim, ...], attrs: Attrs
) -> list[Axis]:
    at = (
        range(2, 2 + form.rank)
        if form.channels_first(attrs["data_format"])
        else range(1, 1 + form.rank)
    )
    return [
        axis_windows(ctx, x[i], k, attrs["strides"][i], attrs["dilations"][i], attrs["padding"],
                     _explicit(attrs, i), "filter")
        for i, k in zip(at, kernel, strict=True)
    ]  # fmt: skip


def known_axes(
    form: ConvForm, x: tuple[Dim, ...], kernel: tuple[Dim, ...], attrs: Attrs
) -> list[Axis]:
    """The windows of a convolution that was checked before."""
    return _axes(Infer(lambda hint: 0), form, x, kernel, attrs)


def _layout(form: ConvForm, n: Dim, inner: list[Dim], c: Dim, data_format: str) -> tuple[Dim, ...]:
    return (n, c, *inner) if form.channels_first(data_format) else (n, *inner, c)


def _channels(form: ConvForm, dims: tuple[Dim, ...], data_format: str) -> Dim:
    return dims[1] if form.channels_first(data_format) else dims[-1]


def _forward_shape(form: ConvForm) -> Any:
    def rule(ctx: Infer, x: TensorType, w: TensorType, **attrs: Any) -> tuple[Dim, ...]:
        _check(form, x, "input", w, attrs)
        xs, ws = x.dims, w.dims
        ctx.equal(
            _channels(form, xs, attrs["data_format"]),
            ws[-2],
            "the input has {a} channels and the filter takes {b}",
        )
        axes = _axes(ctx, form, xs, ws[:-2], attrs)
        return _layout(form, xs[0], [a.out for a in axes], ws[-1], attrs["data_format"])

    return rule


def _check_out(
    ctx: Infer,
    form: ConvForm,
    xs: tuple[Dim, ...],
    ws: tuple[Dim, ...],
    dy: TensorType,
    attrs: Attrs,
) -> None:
    ctx.equal(
        _channels(form, xs, attrs["data_format"]),
        ws[-2],
        "the input has {a} channels and the filter takes {b}",
    )
    axes = _axes(ctx, form, xs, ws[:-2], attrs)
    want = _layout(form, xs[0], [a.out for a in axes], ws[-1], attrs["data_format"])
    for i, (a, b) in enumerate(zip(dy.dims, want, strict=True)):
        ctx.equal(a, b, f"out_backprop has {{a}} on axis {i} where the convolution gives {{b}}")


def _input_shape(form: ConvForm, like: bool) -> Any:
    def rule(
        ctx: Infer, *types: TensorType, input_sizes: Any = None, **attrs: Any
    ) -> tuple[Dim, ...]:
        w, dy = types[-2:]
        _check(form, dy, "out_backprop", w, attrs)
        if not like and input_sizes is None:
            return tuple(ctx.fresh("d") for _ in range(form.rank + 2))
        xs = types[0].dims if like else sizes(input_sizes, "input_sizes")
        if len(xs) != form.rank + 2:
            raise RuleError(f"input_sizes takes {form.rank + 2} numbers, got {len(xs)}")
        if w.shape is not None and dy.shape is not None:
            _check_out(ctx, form, xs, w.dims, dy, attrs)
        return xs

    return rule


def _filter_shape(form: ConvForm, like: bool) -> Any:
    def rule(
        ctx: Infer, *types: TensorType, filter_sizes: Any = None, **attrs: Any
    ) -> tuple[Dim, ...]:
        x, dy = types[0], types[-1]
        _check(form, x, "input", None, attrs)
        if not like and filter_sizes is None:
            return tuple(ctx.fresh("d") for _ in range(form.rank + 2))
        ws = types[1].dims if like else sizes(filter_sizes, "filter_sizes")
        if len(ws) != form.rank + 2:
            raise RuleError(f"filter_sizes takes {form.rank + 2} numbers, got {len(ws)}")
        if x.shape is not None and dy.shape is not None:
            _check_out(ctx, form, x.dims, ws, dy, attrs)
        return ws

    return rule


def _like_dtypes(*inputs: Any, **attrs: Any) -> Any:
    return same(FLOATING)(*inputs, **attrs)


# ---------------------------------------------------------------- samples
def _attrs(form: ConvForm, stride: int = 1, padding: str = "SAME", dilation: int = 1,
           first: bool = False, pads: tuple[int, ...] = ()) -> dict[str, Any]:  # fmt: skip
    def around(v: int) -> tuple[int, ...]:
        inner = (v,) * form.rank
        return (1, 1, *inner) if first else (1, *inner, 1)

    out: dict[str, Any] = {
        "strides": around(stride),
        "padding": padding,
        "dilations": around(dilation),
        "data_format": form.formats[first],
    }
    if pads:
        out["explicit_paddings"] = (0, 0, 0, 0, *pads) if first else (0, 0, *pads, 0, 0)
    return out


def _case(
    form: ConvForm,
    n: int,
    inner: tuple[int, ...],
    c: int,
    kernel: tuple[int, ...],
    o: int,
    dtype: str = "float64",
    **how: Any,
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    xs = (n, c, *inner) if how.get("first") else (n, *inner, c)
    return (
        floats(shape=xs, dtype=dtype),
        floats(shape=(*kernel, c, o), dtype=dtype, seed=1),
        _attrs(form, **how),
    )


_CASES: dict[ConvForm, Callable[[], Any]] = {
    TWO: lambda: (
        _case(TWO, 2, (4, 3), 2, (3, 3), 2),
        _case(TWO, 1, (5, 4), 1, (2, 3), 3, stride=2),
        _case(TWO, 1, (5, 4), 2, (2, 2), 1, padding="VALID", stride=2, first=True),
        _case(TWO, 1, (5, 6), 2, (2, 2), 2, padding="VALID", dilation=2),
        _case(TWO, 2, (3, 2), 3, (1, 1), 2),
        _case(TWO, 1, (4, 4), 3, (1, 1), 2, stride=3),
        _case(TWO, 1, (3, 3), 2, (2, 2), 2, padding="EXPLICIT", pads=(1, 0, 2, 1)),
        _case(TWO, 2, (4, 17), 1, (3, 2), 2, "float32", first=True),
        _case(TWO, 0, (3, 3), 2, (2, 2), 2, "float32"),
        _case(TWO, 1, (1, 1), 1, (3, 3), 1, "float32"),
        _case(TWO, 1, (4, 4), 2, (3, 3), 2, "float16"),
    ),
    THREE: lambda: (
        _case(THREE, 1, (3, 2, 3), 2, (2, 2, 2), 1),
        _case(THREE, 1, (4, 3, 2), 1, (2, 3, 1), 2, stride=2),
        _case(THREE, 2, (2, 3, 2), 1, (1, 2, 2), 2, "float32", padding="VALID", first=True),
    ),
}


def _smooth(a: np.ndarray) -> bool:
    return a.dtype != np.float16


# ---------------------------------------------------------------- records
def _family(form: ConvForm, names: tuple[str, str, str], extra: Attrs) -> tuple[Op, Op, Op]:
    """The three products over `form.rank` axes, and two more whose sizes come from tensors."""
    forward_name, input_name, filter_name = names
    attrs = {
        "strides": REQUIRED,
        "padding": REQUIRED,
        "data_format": form.formats[0],
        "dilations": (1,) * (form.rank + 2),
        **extra,
    }
    first = form.channels_first

    def geometry(x: tuple[Dim, ...], w: tuple[Dim, ...], kw: Attrs) -> list[Axis]:
        return known_axes(form, x, w[:-2], kw)

    def np_forward(x: np.ndarray, w: np.ndarray, **kw: Any) -> np.ndarray:
        return products.np_forward(x, w, geometry(x.shape, w.shape, kw), first(kw["data_format"]))

    def np_input(w: np.ndarray, dy: np.ndarray, *, input_sizes: Any, **kw: Any) -> np.ndarray:
        axes = geometry(tuple(input_sizes), w.shape, kw)
        return products.np_input(w, dy, tuple(input_sizes), axes, first(kw["data_format"]))

    def np_filter(x: np.ndarray, dy: np.ndarray, *, filter_sizes: Any, **kw: Any) -> np.ndarray:
        axes = geometry(x.shape, tuple(filter_sizes), kw)
        return products.np_filter(x, dy, tuple(filter_sizes), axes, first(kw["data_format"]))

    def lower_forward(x: Any, w: Any, **kw: Any) -> Any:
        axes = geometry(x.type.dims, w.type.dims, kw)
        return products.forward(x, w, axes, first(kw["data_format"]))

    def lower_input(w: Any, dy: Any, *, input_sizes: Any, **kw: Any) -> Any:
        axes = geometry(input_sizes, w.type.dims, kw)
        return products.by_input(w, dy, input_sizes, axes, first(kw["data_format"]))

    def lower_filter(x: Any, dy: Any, *, filter_sizes: Any, **kw: Any) -> Any:
        axes = geometry(x.type.dims, filter_sizes, kw)
        return products.by_filter(x, dy, filter_sizes, axes, first(kw["data_format"]))

    wide = in_float32

    @cache
    def cases() -> Any:
        return _CASES[form]()

    @cache
    def grads() -> list[np.ndarray]:
        outs = (np.asarray(wide(np_forward)(x, w, **{**attrs, **kw})) for x, w, kw in cases())
        return [floats(shape=y.shape, dtype=y.dtype.name, seed=3) for y in outs]

    forward: Op = Op(
        forward_name, ("input", "filter"), same(FLOATING), _forward_shape(form), wide(np_forward),
        lambda g, y, x, w, **kw: (input_like(x, w, g, **kw), filter_like(x, w, g, **kw)),
        decompose=lower_forward, attrs=attrs, cheap=False,
        samples=lambda: tuple(Sample((x, w), kw, grad=_smooth(x)) for x, w, kw in cases()),
        error_samples=lambda: _errors(form),
        doc=f"Convolution over {form.rank} axes: filters [*kernel, in, out] slide over the input.",
    )  # fmt: skip
    by_input: Op = Op(
        input_name,
        ("@input_sizes", "filter", "out_backprop"),
        same(FLOATING),
        _input_shape(form, False),
        wide(np_input),
        lambda g, y, w, dy, *, input_sizes, **kw: (
            filter_like(g, w, dy, **kw),
            forward(g, w, **kw),
        ),
        decompose=lower_input,
        attrs=attrs,
        cheap=False,
        samples=lambda: tuple(
            Sample((w, dy), {"input_sizes": x.shape, **kw}, grad=_smooth(x))
            for (x, w, kw), dy in zip(cases(), grads(), strict=True)
        ),
        error_samples=lambda: (
            ErrorSample(
                (cases()[0][1], grads()[0]),
                {**cases()[0][2], "input_sizes": [1, 2]},
                f"input_sizes takes {form.rank + 2} numbers, got 2",
            ),
            ErrorSample(
                (cases()[0][1], grads()[0]),
                {**cases()[0][2], "input_sizes": [7, *cases()[0][0].shape[1:]]},
                "on axis 0 where the convolution gives 7",
            ),
        ),
        doc="What a convolution's output says of its input; its transpose.",
    )
    by_filter: Op = Op(
        filter_name,
        ("input", "@filter_sizes", "out_backprop"),
        same(FLOATING),
        _filter_shape(form, False),
        wide(np_filter),
        lambda g, y, x, dy, *, filter_sizes, **kw: (
            input_like(x, g, dy, **kw),
            forward(x, g, **kw),
        ),
        decompose=lower_filter,
        attrs=attrs,
        cheap=False,
        samples=lambda: tuple(
            Sample((x, dy), {"filter_sizes": w.shape, **kw}, grad=_smooth(x))
            for (x, w, kw), dy in zip(cases(), grads(), strict=True)
        ),
        error_samples=lambda: (
            ErrorSample(
                (cases()[0][0], grads()[0]),
                {**cases()[0][2], "filter_sizes": [1, 2]},
                f"filter_sizes takes {form.rank + 2} numbers, got 2",
            ),
        ),
        doc="What a convolution's output says of its filter.",
    )
    input_like: Op = Op(
        f"{input_name}Like",
        ("like", "filter", "out_backprop"),
        _like_dtypes,
        _input_shape(form, True),
        wide(lambda like, w, dy, **kw: np_input(w, dy, input_sizes=like.shape, **kw)),
        lambda g, y, like, w, dy, **kw: (None, filter_like(g, w, dy, **kw), forward(g, w, **kw)),
        decompose=lambda like, w, dy, **kw: by_input(like.type.dims, w, dy, **kw),
        attrs=attrs,
        cheap=False,
        samples=lambda: tuple(
            Sample((x, w, dy), kw) for (x, w, kw), dy in zip(cases()[:2], grads(), strict=False)
        ),
    )
    filter_like: Op = Op(
        f"{filter_name}Like",
        ("input", "like", "out_backprop"),
        _like_dtypes,
        _filter_shape(form, True),
        wide(lambda x, like, dy, **kw: np_filter(x, dy, filter_sizes=like.shape, **kw)),
        lambda g, y, x, like, dy, **kw: (input_like(x, g, dy, **kw), None, forward(x, g, **kw)),
        decompose=lambda x, like, dy, **kw: by_filter(x, like.type.dims, dy, **kw),
        attrs=attrs,
        cheap=False,
        samples=lambda: tuple(
            Sample((x, w, dy), kw) for (x, w, kw), dy in zip(cases()[:2], grads(), strict=False)
        ),
    )
    return forward, by_input, by_filter


def _errors(form: ConvForm) -> tuple[ErrorSample, ...]:
    x, w, kw = _CASES[form]()[0]
    n = form.rank + 2
    last = form.formats[0]
    tall = w.repeat(3, 0)
    return (
        ErrorSample(
            (x, np.concatenate([w, w], -2)), kw, "the input has 2 channels and the filter takes 4"
        ),
        ErrorSample((x[0], w), kw, f"input must have rank {n}, it has rank {n - 1}"),
        ErrorSample((x, w[0]), kw, f"filter must have rank {n}, it has rank {n - 1}"),
        ErrorSample(
            (x, w),
            {**kw, "strides": (1, 1)},
            f"strides takes {n} numbers, one per axis of {last}, got 2",
        ),
        ErrorSample((x, w), {**kw, "strides": (0,) * n}, "strides must be positive"),
        ErrorSample(
            (x, w), {**kw, "strides": (2,) * n}, "strides must be 1 for batch and channels"
        ),
        ErrorSample(
            (x, w), {**kw, "dilations": (2,) * n}, "dilations must be 1 for batch and channels"
        ),
        ErrorSample(
            (x, w),
            {**kw, "padding": "same"},
            "padding is 'SAME', 'VALID' or 'EXPLICIT', not 'same'",
        ),
        ErrorSample((x, w), {**kw, "data_format": "NH"}, "data_format is .*, not 'NH'"),
        ErrorSample(
            (x, tall),
            {**kw, "padding": "VALID"},
            rf"a filter of {len(tall)} does not fit {x.shape[1]}",
        ),
        ErrorSample((bools(x.shape), bools(w.shape)), kw, "does not take bool"),
    )


_GPU = {"use_cudnn_on_gpu": True, "explicit_paddings": ()}
conv2d, conv2d_backprop_input, conv2d_backprop_filter = _family(
    TWO, ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter"), _GPU
)
conv3d, conv3d_backprop_input, conv3d_backprop_filter = _family(
    THREE, ("Conv3D", "Conv3DBackpropInputV2", "Conv3DBackpropFilterV2"), {}
)

__all__ = ["THREE", "TWO", "ConvForm", "conv2d", "conv3d", "known_axes", "known_windows"]
