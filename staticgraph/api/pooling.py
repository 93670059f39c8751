"""Pooling and local response normalisation, in ``tf.nn``."""

from __future__ import annotations

from typing import Any

from staticgraph.api.conv import around, one_of
from staticgraph.api.framework import name_scope
from staticgraph.errors import ShapeError
from staticgraph.ir import loc
from staticgraph.ir.build import convert
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Tensor

__all__ = [
    "avg_pool", "avg_pool1d", "avg_pool2d", "avg_pool3d", "local_response_normalization", "lrn",
    "max_pool", "max_pool1d", "max_pool2d", "max_pool3d", "pool",
]  # fmt: skip


def _pool(op: str, what: str, n: int, value: Any, ksize: Any, strides: Any, padding: str,
          data_format: str, name: str | None) -> Tensor:  # fmt: skip
    return lookup(op)(  # type: ignore[no-any-return]
        value, ksize=around(ksize, n, data_format, f"{what}: ksize"), padding=padding, name=name,
        strides=around(strides, n, data_format, f"{what}: strides"), data_format=data_format,
    )  # fmt: skip


def max_pool(
    value: Any = None, ksize: Any = None, strides: Any = None, padding: Any = None,
    data_format: str = "NHWC", name: str | None = None, input: Any = None,  # noqa: A002
) -> Tensor:  # fmt: skip
    """The greatest element of each window of images.

    Its gradient goes to the first such element of the window, in row-major order.

    Args:
      ksize: the windows' size: one number, one per spatial axis, or one per axis.
      strides: likewise, the step from one window to the next.
      padding: "SAME" or "VALID".

    Raises:
      ValueError: the rank is not 4, or sizes do not fit.

    >>> import staticgraph as tf
    >>> tf.nn.max_pool(tf.ones([8, 28, 28, 32]), [1, 2, 2, 1], [1, 2, 2, 1], "SAME").shape
    TensorShape([Dimension(8), Dimension(14), Dimension(14), Dimension(32)])
    """
    value = one_of("max_pool", "value", value, "input", input)
    with name_scope(name, "MaxPool", [value]) as scope:
        value = convert(value, name="input")
        return _pool("MaxPool", "max_pool", 2, value, ksize, strides, padding, data_format, scope)


def max_pool2d(
    input: Any, ksize: Any, strides: Any, padding: str, data_format: str = "NHWC",  # noqa: A002
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """As `max_pool`."""
    with name_scope(name, "MaxPool2d", [input]) as scope:
        value = convert(input, name="input")
        return _pool("MaxPool", "max_pool2d", 2, value, ksize, strides, padding, data_format, scope)


def avg_pool(
    value: Any = None, ksize: Any = None, strides: Any = None, padding: Any = None,
    data_format: str = "NHWC", name: str | None = None, input: Any = None,  # noqa: A002
) -> Tensor:  # fmt: skip
    """The mean of each window of images; padding does not count.  See `max_pool`."""
    value = one_of("avg_pool", "value", value, "input", input)
    with name_scope(name, "AvgPool", [value]) as scope:
        value = convert(value, name="value")
        return _pool("AvgPool", "avg_pool", 2, value, ksize, strides, padding, data_format, scope)


avg_pool2d = avg_pool


def max_pool3d(
    input: Any, ksize: Any, strides: Any, padding: str, data_format: str = "NDHWC",  # noqa: A002
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """The greatest element of each window of volumes.  See `max_pool`."""
    with name_scope(name, "MaxPool3D", [input]) as scope:
        value = convert(input, name="input")
        return _pool(
            "MaxPool3D", "max_pool3d", 3, value, ksize, strides, padding, data_format, scope
        )


def avg_pool3d(
    input: Any, ksize: Any, strides: Any, padding: str, data_format: str = "NDHWC",  # noqa: A002
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window of volumes; padding does not count.  See `max_pool`."""
    with name_scope(name, "AvgPool3D", [input]) as scope:
        value = convert(input, name="input")
        return _pool(
            "AvgPool3D", "avg_pool3d", 3, value, ksize, strides, padding, data_format, scope
        )


def _along(op: str, what: str, value: Any, ksize: Any, strides: Any, padding: str, data_format: str,
           name: str | None) -> Tensor:  # fmt: skip
    """Pool sequences as images of one row."""
    if data_format not in ("NWC", "NCW"):
        raise ShapeError(
            f"{what}: data_format is 'NWC' or 'NCW', not {data_format!r}", loc=loc.caller()
        )
    at = 1 if data_format == "NWC" else 2
    lists = []
    for values, which in ((ksize, "ksize"), (strides, "strides")):
        v = around(values, 1, data_format, f"{what}: {which}")
        lists.append([*v[:at], 1, *v[at:]])
    with name_scope(name, what, [value]):
        image = lookup("ExpandDims")(convert(value, name="input"), at)
        out = lookup(op)(
            image, ksize=lists[0], strides=lists[1], padding=padding,
            data_format="NHWC" if at == 1 else "NCHW",
        )  # fmt: skip
        return lookup("Squeeze")(out, squeeze_dims=[at])  # type: ignore[no-any-return]


def max_pool1d(
    input: Any, ksize: Any, strides: Any, padding: str, data_format: str = "NWC",  # noqa: A002
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """The greatest element of each window of sequences [n, w, channels].  See `max_pool`."""
    return _along("MaxPool", "max_pool1d", input, ksize, strides, padding, data_format, name)


def avg_pool1d(
    input: Any, ksize: Any, strides: Any, padding: str, data_format: str = "NWC",  # noqa: A002
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window of sequences [n, w, channels].  See `avg_pool`."""
    return _along("AvgPool", "avg_pool1d", input, ksize, strides, padding, data_format, name)


def pool(
    input: Any, window_shape: Any, pooling_type: str, padding: str, dilation_rate: Any = None,  # noqa: A002
    strides: Any = None, name: str | None = None, data_format: str | None = None,
    dilations: Any = None,
) -> Tensor:  # fmt: skip
    """Pool over one, two or three axes, as many as `window_shape` has numbers.

    Args:
      pooling_type: "MAX" or "AVG".
      strides: a number per spatial axis; ones by default.

    Raises:
      ValueError: the rank does not fit, windows are dilated, or there is no such type.
    """
    rates = one_of("pool", "dilation_rate", dilation_rate, "dilations", dilations, False)
    sizes = [int(v) for v in window_shape]
    n = len(sizes)
    if pooling_type not in ("MAX", "AVG"):
        raise ShapeError(
            f"pool: pooling_type is 'MAX' or 'AVG', not {pooling_type!r}", loc=loc.caller()
        )
    if n not in (1, 2, 3):
        raise ShapeError(f"pool: window_shape takes 1, 2 or 3 numbers, got {n}", loc=loc.caller())
    if rates is not None and any(int(r) != 1 for r in rates):
        raise ShapeError(
            f"pool: dilated windows are not available, got dilation_rate {rates}", loc=loc.caller()
        )
    form = data_format or ("NWC", "NHWC", "NDHWC")[n - 1]
    steps = [1] * n if strides is None else [int(v) for v in strides]
    with name_scope(name, f"{pooling_type.lower()}_pool", [input]) as scope:
        value = convert(input, name="input")
        if n == 1:
            op = "MaxPool" if pooling_type == "MAX" else "AvgPool"
            return _along(op, "pool", value, sizes, steps, padding, form, scope)
        op = ("MaxPool" if pooling_type == "MAX" else "AvgPool") + ("" if n == 2 else "3D")
        return _pool(op, "pool", n, value, sizes, steps, padding, form, scope)


def local_response_normalization(
    input: Any, depth_radius: int = 5, bias: float = 1, alpha: float = 1, beta: float = 0.5,  # noqa: A002
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """Divide by ``(bias + alpha * s) ** beta``.

    s is the sum of squares over the channels at most `depth_radius` away.
    """
    return lookup("LRN")(  # type: ignore[no-any-return]
        input, depth_radius=int(depth_radius), bias=float(bias), alpha=float(alpha),
        beta=float(beta),
        name=name,
    )  # fmt: skip


lrn = local_response_normalization
