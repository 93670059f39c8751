"""Moments, batch normalisation and biases."""

from __future__ import annotations

from typing import Any

from staticgraph.api.framework import name_scope
from staticgraph.api.reduction import either, reduce_mean, reduce_sum
from staticgraph.errors import GraphError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import convert
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Tensor


def moments(
    x: Any, axes: Any, shift: Any = None, name: str | None = None, keep_dims: Any = None,
    keepdims: Any = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The mean and the variance over axes.

    Args:
      axes: the axes to reduce.
      shift: accepted and ignored, as in TensorFlow.
      keepdims: keep the reduced axes, with size 1.

    >>> import staticgraph as tf
    >>> mean, variance = tf.nn.moments(tf.ones([4, 3]), [0])
    >>> mean.shape
    TensorShape([Dimension(3)])
    """
    del shift
    keep = bool(either("keepdims", keepdims, "keep_dims", keep_dims, False))
    with name_scope(name, "moments", [x, axes]):
        x = convert(x, name="x")
        narrow = x.dtype.base is dtypes.float16
        y = lookup("Cast")(x, DstT=dtypes.float32) if narrow else x
        mean = reduce_mean(y, axes, keepdims=True, name="mean")
        # TensorFlow stops the gradient here, which leaves the first derivative of the variance as
        # it is and spoils the second.
        fixed = lookup("Identity")(mean, name="StopGradient")
        distance = lookup("SquaredDifference")(y, fixed, name="SquaredDifference")
        variance = reduce_mean(distance, axes, keepdims=True, name="variance")
        if not keep:
            mean, variance = _squeeze(mean, axes), _squeeze(variance, axes)
        if narrow:
            mean, variance = (lookup("Cast")(t, DstT=dtypes.float16) for t in (mean, variance))
        return mean, variance


def _squeeze(x: Tensor, axes: Any) -> Tensor:
    if isinstance(axes, int):
        axes = (axes,)
    return lookup("Squeeze")(x, squeeze_dims=tuple(int(a) for a in axes))  # type: ignore[no-any-return]


def weighted_moments(
    x: Any, axes: Any, frequency_weights: Any, name: str | None = None, keep_dims: Any = None,
    keepdims: Any = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The mean and the variance over axes, where each element counts by its weight.

    Args:
      frequency_weights: numbers that broadcast to `x`.
    """
    keep = bool(either("keepdims", keepdims, "keep_dims", keep_dims, False))
    with name_scope(name, "weighted_moments", [x, frequency_weights, axes]):
        x = convert(x, name="x")
        weights = convert(frequency_weights, x.dtype.base, name="frequency_weights")
        full = weights + lookup("ZerosLike")(x)
        total = reduce_sum(full, axes, keepdims=True, name="sum_of_weights")
        divide = lookup("RealDiv")
        mean = divide(reduce_sum(full * x, axes, keepdims=True), total)
        distance = lookup("SquaredDifference")(x, mean)
        variance = divide(reduce_sum(full * distance, axes, keepdims=True), total)
        if not keep:
            mean, variance = _squeeze(mean, axes), _squeeze(variance, axes)
        return mean, variance


def sufficient_statistics(
    x: Any, axes: Any, shift: Any = None, keep_dims: Any = None, name: str | None = None,
    keepdims: Any = None,
) -> tuple[Tensor, Tensor, Tensor, Any]:  # fmt: skip
    """The count, the sum, the sum of squares over axes (of ``x - shift``), and the shift."""
    keep = bool(either("keepdims", keepdims, "keep_dims", keep_dims, False))
    axes = [axes] if isinstance(axes, int) else list(axes)
    with name_scope(name, "sufficient_statistics", [x, shift]):
        x = convert(x, name="x")
        ones = lookup("OnesLike")(x)
        count = lookup("Size")(x)
        rest = lookup("Size")(reduce_sum(ones, axes))
        number = lookup("RealDiv")(
            lookup("Cast")(count, DstT=x.dtype.base),
            lookup("Cast")(rest, DstT=x.dtype.base),
            name="count",
        )
        if shift is not None:
            shift = convert(shift, x.dtype.base, name="shift")
        moved = x if shift is None else x - shift
        squares = lookup("Square")(moved)
        total = reduce_sum(moved, axes, keepdims=keep, name="mean_ss")
        return number, total, reduce_sum(squares, axes, keepdims=keep, name="var_ss"), shift


def normalize_moments(
    counts: Any, mean_ss: Any, variance_ss: Any, shift: Any, name: str | None = None
) -> tuple[Tensor, Tensor]:
    """The mean and the variance from the results of `sufficient_statistics`."""
    with name_scope(name, "normalize", [counts, mean_ss, variance_ss, shift]):
        divisor = lookup("Reciprocal")(counts, name="divisor")
        shifted = lookup("Mul")(mean_ss, divisor, name="shifted_mean")
        mean = shifted if shift is None else lookup("Add")(shifted, shift, name="mean")
        square = lookup("Mul")(variance_ss, divisor)
        return mean, lookup("Sub")(square, lookup("Square")(shifted), name="variance")


def batch_normalization(
    x: Any, mean: Any, variance: Any, offset: Any, scale: Any, variance_epsilon: Any,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """``(x - mean) / sqrt(variance + variance_epsilon) * scale + offset``.

    Args:
      mean, variance, offset, scale: tensors that broadcast to `x`; the last two may be None.
    """
    with name_scope(name, "batchnorm", [x, mean, variance, scale, offset]):
        x = convert(x, name="x")
        inverse = lookup("Rsqrt")(lookup("Add")(variance, variance_epsilon, name="add"))
        if scale is not None:
            inverse = inverse * scale
        shift = -mean * inverse if offset is None else offset - mean * inverse
        return lookup("Add")(x * inverse, shift, name="add_1")  # type: ignore[no-any-return]


def batch_norm_with_global_normalization(
    t: Any = None, m: Any = None, v: Any = None, beta: Any = None, gamma: Any = None,
    variance_epsilon: Any = None, scale_after_normalization: Any = None, name: str | None = None,
    input: Any = None, mean: Any = None, variance: Any = None,  # noqa: A002
) -> Tensor:  # fmt: skip
    """`batch_normalization` with its older arguments; scaled only if asked for."""
    x = either("input", input, "t", t)
    mean, variance = either("mean", mean, "m", m), either("variance", variance, "v", v)
    scale = gamma if scale_after_normalization else None
    return batch_normalization(x, mean, variance, beta, scale, variance_epsilon, name)


def fused_batch_norm(
    x: Any, scale: Any, offset: Any, mean: Any = None, variance: Any = None,
    epsilon: float = 0.001, data_format: str = "NHWC", is_training: bool = True,
    name: str | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Batch normalisation over all axes but that of the channels.

    Args:
      scale, offset: one number for each channel.
      mean, variance: what to normalise with, where `is_training` is false.
      data_format: "NHWC" or "NCHW".

    Returns:
      the result, and the mean and the variance used; those of a training batch are meant for
      running averages, and the variance is the unbiased one.
    """
    with name_scope(name, "FusedBatchNorm", [x, scale, offset]) as scope:
        x = convert(x, name="x")
        if x.type.shape is None or data_format not in ("NHWC", "NCHW"):
            raise GraphError(
                "fused_batch_norm: the rank of x is known and data_format is 'NHWC' or 'NCHW', "
                f"got {x.shape} and {data_format!r}",
                loc=loc.caller(),
            )
        rank = len(x.type.shape)
        channel = rank - 1 if data_format == "NHWC" else 1
        axes = [i for i in range(rank) if i != channel]
        wide = x if x.dtype.base is not dtypes.float16 else lookup("Cast")(x, DstT=dtypes.float32)
        if is_training:
            mean, variance = moments(wide, axes)
            used, factor = variance, _bessel(wide, variance)
            variance = variance * factor
        elif mean is None or variance is None:
            raise GraphError("fused_batch_norm: give mean and variance", loc=loc.caller())
        else:
            mean, variance = convert(mean, name="mean"), convert(variance, name="variance")
            used = variance

        def channels(t: Any) -> Any:
            t = convert(t, wide.dtype.base)
            if data_format == "NHWC":
                return t
            return lookup("Reshape")(t, [-1, *(1,) * (rank - 2)])

        inverse = lookup("Rsqrt")(used + epsilon) * scale
        out = (wide - channels(mean)) * channels(inverse)
        out = lookup("Add")(out, channels(offset), name=None if wide is not x else scope)
        if wide is not x:
            out = lookup("Cast")(out, DstT=dtypes.float16, name=scope)
        return out, mean, variance


def _bessel(x: Tensor, like: Tensor) -> Any:
    """``n / (n - 1)`` for the n elements of each channel."""
    kind = x.dtype.base
    n = lookup("RealDiv")(
        lookup("Cast")(lookup("Size")(x), DstT=kind),
        lookup("Cast")(lookup("Size")(like), DstT=kind),
    )
    return lookup("RealDiv")(n, lookup("Maximum")(n - 1, 1.0))


def bias_add(
    value: Any, bias: Any, data_format: str | None = None, name: str | None = None
) -> Tensor:
    """Add a vector along the axis of channels.

    Args:
      value: numbers of rank 2 or more.
      bias: one number for each channel.
      data_format: where the channels are: last ("N...C", "NHWC", the default) or second
        ("NC...", "NCHW").

    Raises:
      ValueError: the sizes differ, or `data_format` is none of these.
    """
    if data_format is None or (data_format.startswith("N") and data_format.endswith("C")):
        layout = "NHWC"
    elif data_format.startswith("NC"):
        layout = "NCHW"
    else:
        raise GraphError(
            f"bias_add: data_format starts with 'NC' or ends with 'C', got {data_format!r}",
            loc=loc.caller(),
        )
    with name_scope(name, "BiasAdd", [value, bias]) as scope:
        value = convert(value, name="input")
        bias = convert(bias, value.dtype.base, name="bias")
        return lookup("BiasAdd")(value, bias, data_format=layout, name=scope)  # type: ignore[no-any-return]


__all__ = [
    "batch_norm_with_global_normalization", "batch_normalization", "bias_add", "fused_batch_norm",
    "moments", "normalize_moments", "sufficient_statistics", "weighted_moments",
]  # fmt: skip
