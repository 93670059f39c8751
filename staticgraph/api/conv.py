"""Convolutions, in ``tf.nn``.

Filters are [*kernel, in, out].  ``padding="SAME"`` gives as many outputs as there are strides, with
zeros around the input, one more behind it than in front where their number is odd;
``padding="VALID"`` uses no padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgraph.api.framework import name_scope
from staticgraph.errors import GraphError, ShapeError
from staticgraph.ir import loc
from staticgraph.ir.build import convert
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Tensor

__all__ = [
    "atrous_conv2d", "atrous_conv2d_transpose", "conv1d", "conv1d_transpose", "conv2d",
    "conv2d_backprop_filter", "conv2d_backprop_input", "conv2d_transpose", "conv3d",
    "conv3d_backprop_filter", "conv3d_backprop_filter_v2", "conv3d_transpose", "convolution",
    "depthwise_conv2d", "depthwise_conv2d_native", "depthwise_conv2d_native_backprop_filter",
    "depthwise_conv2d_native_backprop_input", "separable_conv2d",
]  # fmt: skip


def one_of(what: str, first: str, a: Any, second: str, b: Any, needed: bool = True) -> Any:
    """The one of two spellings of an argument that is given."""
    if a is not None and b is not None:
        raise GraphError(f"{what}: give one of {first} and {second}", loc=loc.caller())
    value = b if a is None else a
    if value is None and needed:
        raise GraphError(f"{what}: {first} is missing", loc=loc.caller())
    return value


def around(value: Any, n: int, data_format: str, what: str) -> list[int]:
    """A number, one per spatial axis, or one per axis, as one per axis of the data format."""
    if value is None:
        value = 1
    values = (
        [int(v) for v in value]
        if isinstance(value, Sequence) or hasattr(value, "__len__")
        else [int(value)]
    )
    if len(values) == n + 2:
        return values
    if len(values) not in (1, n):
        raise ShapeError(
            f"{what} takes 1, {n} or {n + 2} numbers, got {len(values)}", loc=loc.caller()
        )
    inner = values * n if len(values) == 1 else values
    return [1, 1, *inner] if data_format.startswith("NC") else [1, *inner, 1]


def _padding(padding: Any, what: str) -> dict[str, Any]:
    if isinstance(padding, str):
        return {"padding": padding}
    if padding is None:
        raise GraphError(f"{what}: padding is missing", loc=loc.caller())
    pairs = [tuple(int(v) for v in p) for p in padding]
    if any(len(p) != 2 for p in pairs):
        raise ShapeError(f"{what}: padding is a pair per axis, got {padding}", loc=loc.caller())
    return {"padding": "EXPLICIT", "explicit_paddings": [v for p in pairs for v in p]}


# ---------------------------------------------------------------- two axes
def conv2d(
    input: Any, filter: Any = None, strides: Any = None, padding: Any = None,  # noqa: A002
    use_cudnn_on_gpu: bool = True, data_format: str = "NHWC", dilations: Any = (1, 1, 1, 1),
    name: str | None = None, filters: Any = None,
) -> Tensor:  # fmt: skip
    """Slide filters [h, w, in, out] over images.

    Args:
      input: images, [n, h, w, in] or with data_format "NCHW" [n, in, h, w].
      strides, dilations: one number, one per spatial axis, or one per axis of `data_format`.
      padding: "SAME", "VALID", or a pair [before, after] per axis.
      use_cudnn_on_gpu: accepted and ignored.

    Raises:
      ValueError: ranks, channels or sizes do not fit.

    >>> import staticgraph as tf
    >>> tf.nn.conv2d(tf.ones([8, 28, 28, 1]), tf.ones([5, 5, 1, 32]), [1, 1, 1, 1], "SAME").shape
    TensorShape([Dimension(8), Dimension(28), Dimension(28), Dimension(32)])
    """
    filters = one_of("conv2d", "filter", filter, "filters", filters)
    data_format = data_format or "NHWC"
    return lookup("Conv2D")(  # type: ignore[no-any-return]
        input, filters, strides=around(strides, 2, data_format, "conv2d: strides"),
        use_cudnn_on_gpu=bool(use_cudnn_on_gpu), data_format=data_format,
        dilations=around(dilations, 2, data_format, "conv2d: dilations"), name=name,
        **_padding(padding, "conv2d"),
    )  # fmt: skip


def conv2d_backprop_input(
    input_sizes: Any, filter: Any = None, out_backprop: Any = None, strides: Any = None,  # noqa: A002
    padding: Any = None, use_cudnn_on_gpu: bool = True, data_format: str = "NHWC",
    dilations: Any = (1, 1, 1, 1), name: str | None = None, filters: Any = None,
) -> Tensor:  # fmt: skip
    """The gradient of `conv2d` with respect to its input, of size `input_sizes`."""
    filters = one_of("conv2d_backprop_input", "filter", filter, "filters", filters)
    return lookup("Conv2DBackpropInput")(  # type: ignore[no-any-return]
        input_sizes, filters, out_backprop,
        strides=around(strides, 2, data_format, "conv2d_backprop_input: strides"),
        use_cudnn_on_gpu=bool(use_cudnn_on_gpu), data_format=data_format,
        dilations=around(dilations, 2, data_format, "conv2d_backprop_input: dilations"), name=name,
        **_padding(padding, "conv2d_backprop_input"),
    )  # fmt: skip


def conv2d_backprop_filter(
    input: Any, filter_sizes: Any, out_backprop: Any, strides: Any = None, padding: Any = None,  # noqa: A002
    use_cudnn_on_gpu: bool = True, data_format: str = "NHWC", dilations: Any = (1, 1, 1, 1),
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """The gradient of `conv2d` with respect to its filter, of size `filter_sizes`."""
    return lookup("Conv2DBackpropFilter")(  # type: ignore[no-any-return]
        input, filter_sizes, out_backprop,
        strides=around(strides, 2, data_format, "conv2d_backprop_filter: strides"),
        use_cudnn_on_gpu=bool(use_cudnn_on_gpu), data_format=data_format,
        dilations=around(dilations, 2, data_format, "conv2d_backprop_filter: dilations"), name=name,
        **_padding(padding, "conv2d_backprop_filter"),
    )  # fmt: skip


def conv2d_transpose(
    value: Any = None, filter: Any = None, output_shape: Any = None, strides: Any = None,  # noqa: A002
    padding: Any = "SAME", data_format: str = "NHWC", name: str | None = None, input: Any = None,  # noqa: A002
    filters: Any = None, dilations: Any = None,
) -> Tensor:  # fmt: skip
    """The transpose (gradient) of `conv2d`, sometimes called a deconvolution.

    Args:
      filter: [h, w, out, in].
      output_shape: the result's shape; a convolution of it gives the shape of `value`.

    >>> import staticgraph as tf
    >>> tf.nn.conv2d_transpose(tf.ones([1, 4, 4, 2]), tf.ones([3, 3, 5, 2]), [1, 8, 8, 5], 2).shape
    TensorShape([Dimension(1), Dimension(8), Dimension(8), Dimension(5)])
    """
    value = one_of("conv2d_transpose", "value", value, "input", input)
    filters = one_of("conv2d_transpose", "filter", filter, "filters", filters)
    with name_scope(name, "conv2d_transpose", [value, filters, output_shape]) as scope:
        return lookup("Conv2DBackpropInput")(  # type: ignore[no-any-return]
            output_shape, filters, value, name=scope, data_format=data_format or "NHWC",
            strides=around(strides, 2, data_format, "conv2d_transpose: strides"),
            dilations=around(dilations, 2, data_format, "conv2d_transpose: dilations"),
            **_padding(padding, "conv2d_transpose"),
        )  # fmt: skip


def atrous_conv2d(
    value: Any, filters: Any, rate: int, padding: str, name: str | None = None
) -> Tensor:
    """`conv2d` with `rate` - 1 elements skipped between those a filter reads."""
    return convolution(value, filters, padding, dilation_rate=[rate, rate], name=name)


def atrous_conv2d_transpose(
    value: Any, filters: Any, output_shape: Any, rate: int, padding: str, name: str | None = None
) -> Tensor:
    """The transpose of `atrous_conv2d`; filters are [h, w, out, in]."""
    with name_scope(name, "atrous_conv2d_transpose", [value, filters, output_shape]) as scope:
        return lookup("Conv2DBackpropInput")(  # type: ignore[no-any-return]
            output_shape, filters, value, strides=[1, 1, 1, 1], padding=padding,
            dilations=[1, rate, rate, 1], name=scope,
        )  # fmt: skip


# ---------------------------------------------------------------- one axis
def _wide(data_format: str | None, what: str) -> tuple[str, int]:
    """The layout of the same data as an image of one row, and the place of the added axis."""
    match data_format or "NWC":
        case "NWC" | "NHWC":
            return "NHWC", 1
        case "NCW" | "NCHW":
            return "NCHW", 2
    raise ShapeError(
        f"{what}: data_format is 'NWC' or 'NCW', not {data_format!r}", loc=loc.caller()
    )


def _row(values: list[int], at: int) -> list[int]:
    return [*values[:at], 1, *values[at:]]


def conv1d(
    value: Any = None, filters: Any = None, stride: Any = None, padding: Any = None,
    use_cudnn_on_gpu: bool | None = None, data_format: str | None = None, name: str | None = None,
    input: Any = None, dilations: Any = None,  # noqa: A002
) -> Tensor:  # fmt: skip
    """Slide filters [w, in, out] along sequences.

    Args:
      value: [n, w, in], or with data_format "NCW" [n, in, w].
      stride: one number, or one per axis.

    >>> import staticgraph as tf
    >>> tf.nn.conv1d(tf.ones([2, 9, 3]), tf.ones([4, 3, 5]), 2, "VALID").shape
    TensorShape([Dimension(2), Dimension(3), Dimension(5)])
    """
    value = one_of("conv1d", "value", value, "input", input)
    wide, at = _wide(data_format, "conv1d")
    form = "NCW" if at == 2 else "NWC"
    with name_scope(name, "conv1d", [value, filters]):
        value = lookup("ExpandDims")(value, at)
        filters = lookup("ExpandDims")(filters, 0)
        out = lookup("Conv2D")(
            value, filters, strides=_row(around(stride, 1, form, "conv1d: stride"), at),
            dilations=_row(around(dilations, 1, form, "conv1d: dilations"), at),
            use_cudnn_on_gpu=use_cudnn_on_gpu is not False, data_format=wide,
            **_padding(padding, "conv1d"),
        )  # fmt: skip
        return lookup("Squeeze")(out, squeeze_dims=[at])  # type: ignore[no-any-return]


def conv1d_transpose(
    input: Any, filters: Any, output_shape: Any, strides: Any, padding: str = "SAME",  # noqa: A002
    data_format: str = "NWC", dilations: Any = None, name: str | None = None,
) -> Tensor:  # fmt: skip
    """The transpose (gradient) of `conv1d`; filters are [w, out, in]."""
    wide, at = _wide(data_format, "conv1d_transpose")
    form = "NCW" if at == 2 else "NWC"
    with name_scope(name, "conv1d_transpose", [input, filters, output_shape]):
        if isinstance(output_shape, (list, tuple)):
            output_shape = _row(list(output_shape), at)
        else:
            shape = convert(output_shape, name="output_shape")
            output_shape = lookup("ConcatV2")(
                [shape[:at], convert([1], shape.dtype), shape[at:]], 0
            )
        out = lookup("Conv2DBackpropInput")(
            output_shape, lookup("ExpandDims")(filters, 0), lookup("ExpandDims")(input, at),
            strides=_row(around(strides, 1, form, "conv1d_transpose: strides"), at),
            dilations=_row(around(dilations, 1, form, "conv1d_transpose: dilations"), at),
            data_format=wide, **_padding(padding, "conv1d_transpose"),
        )  # fmt: skip
        return lookup("Squeeze")(out, squeeze_dims=[at])  # type: ignore[no-any-return]


# ---------------------------------------------------------------- three axes
def conv3d(
    input: Any, filter: Any = None, strides: Any = None, padding: Any = None,  # noqa: A002
    data_format: str = "NDHWC", dilations: Any = (1, 1, 1, 1, 1), name: str | None = None,
    filters: Any = None,
) -> Tensor:  # fmt: skip
    """Slide filters [d, h, w, in, out] over volumes [n, d, h, w, in]; see `conv2d`."""
    filters = one_of("conv3d", "filter", filter, "filters", filters)
    return lookup("Conv3D")(  # type: ignore[no-any-return]
        input, filters, strides=around(strides, 3, data_format, "conv3d: strides"), padding=padding,
        data_format=data_format, dilations=around(dilations, 3, data_format, "conv3d: dilations"),
        name=name,
    )  # fmt: skip


def conv3d_backprop_filter(
    input: Any, filter_sizes: Any, out_backprop: Any, strides: Any, padding: str,  # noqa: A002
    data_format: str = "NDHWC", dilations: Any = (1, 1, 1, 1, 1), name: str | None = None,
) -> Tensor:  # fmt: skip
    """The gradient of `conv3d` with respect to its filter, of size `filter_sizes`."""
    return lookup("Conv3DBackpropFilterV2")(  # type: ignore[no-any-return]
        input, filter_sizes, out_backprop, padding=padding, data_format=data_format, name=name,
        strides=around(strides, 3, data_format, "conv3d_backprop_filter: strides"),
        dilations=around(dilations, 3, data_format, "conv3d_backprop_filter: dilations"),
    )  # fmt: skip


conv3d_backprop_filter_v2 = conv3d_backprop_filter


def conv3d_transpose(
    value: Any = None, filter: Any = None, output_shape: Any = None, strides: Any = None,  # noqa: A002
    padding: str = "SAME", data_format: str = "NDHWC", name: str | None = None, input: Any = None,  # noqa: A002
    filters: Any = None, dilations: Any = None,
) -> Tensor:  # fmt: skip
    """The transpose (gradient) of `conv3d`; filters are [d, h, w, out, in]."""
    value = one_of("conv3d_transpose", "value", value, "input", input)
    filters = one_of("conv3d_transpose", "filter", filter, "filters", filters)
    with name_scope(name, "conv3d_transpose", [value, filters, output_shape]) as scope:
        return lookup("Conv3DBackpropInputV2")(  # type: ignore[no-any-return]
            output_shape, filters, value, padding=padding, data_format=data_format, name=scope,
            strides=around(strides, 3, data_format, "conv3d_transpose: strides"),
            dilations=around(dilations, 3, data_format, "conv3d_transpose: dilations"),
        )  # fmt: skip


# ---------------------------------------------------------------- any number of axes
def convolution(
    input: Any, filter: Any = None, padding: Any = None, strides: Any = None,  # noqa: A002
    dilation_rate: Any = None, name: str | None = None, data_format: str | None = None,
    filters: Any = None, dilations: Any = None,
) -> Tensor:  # fmt: skip
    """A convolution over one, two or three axes, as the rank of `input` says.

    Args:
      strides, dilation_rate: a number per spatial axis; ones by default.

    Raises:
      ValueError: the rank is unknown or not 3, 4 or 5, or strides and dilations both exceed 1.
    """
    filters = one_of("convolution", "filter", filter, "filters", filters)
    rates = one_of("convolution", "dilation_rate", dilation_rate, "dilations", dilations, False)
    with name_scope(name, "convolution", [input, filters]) as scope:
        input = convert(input, name="input")  # noqa: A001
        rank = None if input.type.shape is None else len(input.type.shape)
        if rank not in (3, 4, 5):
            raise ShapeError(
                f"convolution: the input must have rank 3, 4 or 5, it has rank {rank or '?'}",
                loc=loc.caller(),
            )
        n = rank - 2
        form = data_format or ("NWC", "NHWC", "NDHWC")[n - 1]
        steps = around(strides, n, form, "convolution: strides")
        rates = around(rates, n, form, "convolution: dilation_rate")
        if max(steps) > 1 and max(rates) > 1:
            raise ShapeError(
                "convolution: strides and dilation_rate cannot both exceed 1", loc=loc.caller()
            )
        if n == 1:
            return conv1d(
                input, filters, steps, padding, data_format=form, dilations=rates, name=scope
            )
        op = conv2d if n == 2 else conv3d
        return op(
            input,
            filters,
            strides=steps,
            padding=padding,
            data_format=form,
            dilations=rates,
            name=scope,
        )


# ---------------------------------------------------------------- channel by channel
def depthwise_conv2d_native(
    input: Any, filter: Any, strides: Any, padding: str, data_format: str = "NHWC",  # noqa: A002
    dilations: Any = (1, 1, 1, 1), name: str | None = None,
) -> Tensor:  # fmt: skip
    """Filters [h, w, in, multiplier], each over one channel of the input; see `conv2d`."""
    return lookup("DepthwiseConv2dNative")(  # type: ignore[no-any-return]
        input, filter, padding=padding, data_format=data_format, name=name,
        strides=around(strides, 2, data_format, "depthwise_conv2d_native: strides"),
        dilations=around(dilations, 2, data_format, "depthwise_conv2d_native: dilations"),
    )  # fmt: skip


def depthwise_conv2d_native_backprop_input(
    input_sizes: Any, filter: Any, out_backprop: Any, strides: Any, padding: str,  # noqa: A002
    data_format: str = "NHWC", dilations: Any = (1, 1, 1, 1), name: str | None = None,
) -> Tensor:  # fmt: skip
    """The gradient of `depthwise_conv2d_native` with respect to its input."""
    return lookup("DepthwiseConv2dNativeBackpropInput")(  # type: ignore[no-any-return]
        input_sizes, filter, out_backprop, padding=padding, data_format=data_format, name=name,
        strides=around(strides, 2, data_format, "depthwise_conv2d_native_backprop_input: strides"),
        dilations=around(dilations, 2, data_format,
            "depthwise_conv2d_native_backprop_input: dilations"),
    )  # fmt: skip


def depthwise_conv2d_native_backprop_filter(
    input: Any, filter_sizes: Any, out_backprop: Any, strides: Any, padding: str,  # noqa: A002
    data_format: str = "NHWC", dilations: Any = (1, 1, 1, 1), name: str | None = None,
) -> Tensor:  # fmt: skip
    """The gradient of `depthwise_conv2d_native` with respect to its filter."""
    return lookup("DepthwiseConv2dNativeBackpropFilter")(  # type: ignore[no-any-return]
        input, filter_sizes, out_backprop, padding=padding, data_format=data_format, name=name,
        strides=around(strides, 2, data_format, "depthwise_conv2d_native_backprop_filter: strides"),
        dilations=around(dilations, 2, data_format,
            "depthwise_conv2d_native_backprop_filter: dilations"),
    )  # fmt: skip


def depthwise_conv2d(
    input: Any, filter: Any, strides: Any, padding: str, rate: Any = None, name: str | None = None,  # noqa: A002
    data_format: str | None = None, dilations: Any = None,
) -> Tensor:  # fmt: skip
    """`depthwise_conv2d_native` with `rate` for dilations.

    >>> import staticgraph as tf
    >>> x, filters = tf.ones([1, 5, 5, 3]), tf.ones([3, 3, 3, 2])
    >>> tf.nn.depthwise_conv2d(x, filters, [1, 1, 1, 1], "SAME").shape
    TensorShape([Dimension(1), Dimension(5), Dimension(5), Dimension(6)])
    """
    rate = one_of("depthwise_conv2d", "rate", rate, "dilations", dilations, False)
    with name_scope(name, "depthwise", [input, filter]) as scope:
        return depthwise_conv2d_native(
            input, filter, strides, padding, data_format or "NHWC", rate, name=scope
        )


def separable_conv2d(
    input: Any, depthwise_filter: Any, pointwise_filter: Any, strides: Any, padding: str,  # noqa: A002
    rate: Any = None, name: str | None = None, data_format: str | None = None,
    dilations: Any = None,
) -> Tensor:  # fmt: skip
    """`depthwise_conv2d`, then a 1x1 `conv2d` that mixes the channels.

    Args:
      pointwise_filter: [1, 1, in * multiplier, out].

    Raises:
      ValueError: the pointwise filter is not 1x1 or does not take the channels there are.
    """
    rate = one_of("separable_conv2d", "rate", rate, "dilations", dilations, False)
    form = data_format or "NHWC"
    with name_scope(name, "separable_conv2d", [input, depthwise_filter, pointwise_filter]) as scope:
        point = convert(pointwise_filter, name="pointwise_filter")
        sizes = None if point.type.shape is None else point.shape.as_list()
        if sizes is not None and (
            len(sizes) != 4 or sizes[0] not in (1, None) or sizes[1] not in (1, None)
        ):
            raise ShapeError(
                "separable_conv2d: the pointwise filter must be [1, 1, in, out], "
                f"it is {point.type.public()}",
                loc=loc.caller(),
            )
        deep = lookup("DepthwiseConv2dNative")(
            input, depthwise_filter, padding=padding, data_format=form, name="depthwise",
            strides=around(strides, 2, form, "separable_conv2d: strides"),
            dilations=around(rate, 2, form, "separable_conv2d: rate"),
        )  # fmt: skip
        return conv2d(deep, point, [1, 1, 1, 1], "VALID", data_format=form, name=scope)
