"""Normalisation by means and variances, as PyTorch's functions of the same names."""

from __future__ import annotations

from collections.abc import Sequence

from staticgraph.dynamic.modes import no_grad
from staticgraph.dynamic.refusals import bad_value
from staticgraph.dynamic.tensor import Tensor
from staticgraph.errors import ShapeError
from staticgraph.ir.loc import caller
from staticgraph.ops.transcendental import rsqrt


def _standard(x: Tensor, axes: Sequence[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """`x` with mean 0 and variance 1 over `axes`, and what it had."""
    mean = x.mean(tuple(axes), keepdim=True)
    centred = x - mean
    variance = (centred * centred).mean(tuple(axes), keepdim=True)
    return centred * rsqrt(variance + eps), mean, variance


def _per_channel(t: Tensor, x: Tensor) -> Tensor:
    return t if x.dim() == 2 else t.reshape(1, -1, *(1,) * (x.dim() - 2))


def _scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        x = x * weight
    return x if bias is None else x + bias


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel (axis 1) over the batch, or with the running statistics.

    Training moves the running statistics by `momentum` towards those of the batch, the variance
    being the unbiased one.

    Raises:
      ShapeError: the statistics are not of one number per channel.
      ArgumentError: training on one value per channel, which has no variance.
    """
    if input.dim() < 2:
        raise ShapeError(
            f"batch_norm: the input has shape {list(input.shape)}, it needs a channel axis",
            loc=caller(),
        )
    channels = input.shape[1]
    for name, t in (
        ("running_mean", running_mean), ("running_var", running_var), ("weight", weight),
        ("bias", bias),
    ):  # fmt: skip
        if t is not None and tuple(t.shape) != (channels,):
            raise ShapeError(
                f"batch_norm: {name} has shape {list(t.shape)} for an input of {channels} channels",
                loc=caller(),
            )
    shown_weight = None if weight is None else _per_channel(weight, input)
    shown_bias = None if bias is None else _per_channel(bias, input)
    if not training:
        if running_mean is None or running_var is None:
            raise bad_value("batch_norm outside training needs running_mean and running_var")
        scale = rsqrt(_per_channel(running_var, input) + eps)
        centred = input - _per_channel(running_mean, input)
        return _scaled(centred * scale, shown_weight, shown_bias)
    axes = [a for a in range(input.dim()) if a != 1]
    count = input.numel() // max(channels, 1)
    if count <= 1:
        raise bad_value(
            f"batch_norm: training needs more than one value per channel, the input has shape "
            f"{list(input.shape)}"
        )
    out, mean, variance = _standard(input, axes, eps)
    with no_grad():
        if running_mean is not None:
            _move(running_mean, mean, momentum)
        if running_var is not None:
            _move(running_var, variance * (count / (count - 1)), momentum)
    return _scaled(out, shown_weight, shown_bias)


def _move(running: Tensor, new: Tensor, momentum: float) -> None:
    running.mul_(1.0 - momentum)
    running.add_(new.detach().reshape(-1) * momentum)


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise over the last axes, which have the sizes `normalized_shape`.

    Raises:
      ShapeError: the input does not end in these sizes.
    """
    shape = tuple(normalized_shape)
    if not shape or tuple(input.shape[-len(shape) :]) != shape:
        raise ShapeError(
            f"layer_norm: the input has shape {list(input.shape)}, it must end in {list(shape)}",
            loc=caller(),
        )
    out, _, _ = _standard(input, range(-len(shape), 0), eps)
    return _scaled(out, weight, bias)


def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Divide by the root of the mean square over the last axes."""
    shape = tuple(normalized_shape)
    if not shape or tuple(input.shape[-len(shape) :]) != shape:
        raise ShapeError(
            f"rms_norm: the input has shape {list(input.shape)}, it must end in {list(shape)}",
            loc=caller(),
        )
    if eps is None:
        eps = 2.0**-52 if input.element_size() == 8 else 2.0**-23
    square = (input * input).mean(tuple(range(-len(shape), 0)), keepdim=True)
    return _scaled(input * rsqrt(square + eps), weight, None)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise groups of channels of each example.

    Raises:
      ShapeError: the groups do not divide the channels.
    """
    if input.dim() < 2 or input.shape[1] % num_groups:
        raise ShapeError(
            f"group_norm: {num_groups} groups do not divide the channels of {list(input.shape)}",
            loc=caller(),
        )
    parts = input.reshape(input.shape[0], num_groups, -1)
    out = _standard(parts, (2,), eps)[0].reshape(input.shape)
    return _scaled(
        out,
        None if weight is None else _per_channel(weight, input),
        None if bias is None else _per_channel(bias, input),
    )
