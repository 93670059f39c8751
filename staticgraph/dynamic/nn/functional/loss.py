"""Losses, as PyTorch's functions of the same names.

`reduction` is "none", "mean" or "sum".  The older pair ``size_average, reduce`` is understood and
takes precedence where it is given.
"""

from __future__ import annotations

import math

from staticgraph.dynamic.direct import binary
from staticgraph.dynamic.modes import MODES
from staticgraph.dynamic.nn.functional.activation import log_softmax
from staticgraph.dynamic.nn.functional.linear import pairwise_distance
from staticgraph.dynamic.refusals import bad_value, warn
from staticgraph.dynamic.tensor import Tensor
from staticgraph.errors import ShapeError, UsageError
from staticgraph.ir.loc import caller
from staticgraph.ops.arithmetic import maximum, minimum
from staticgraph.ops.comparison import less
from staticgraph.ops.gather import gather_v2
from staticgraph.ops.losses import pick_last, sparse_softmax_cross_entropy
from staticgraph.ops.select import select_v2
from staticgraph.ops.transcendental import exp, log, softplus, xlogy

squared_difference = binary("SquaredDifference")
REDUCTIONS = ("none", "mean", "sum")


def chosen(
    reduction: str, size_average: bool | None, reduce: bool | None, more: tuple[str, ...] = ()
) -> str:
    """The reduction that is meant, the older arguments considered."""
    if size_average is None and reduce is None:
        if reduction not in REDUCTIONS + more:
            raise bad_value(
                f"reduction is one of {', '.join(REDUCTIONS + more)}, not {reduction!r}"
            )
        return reduction
    average = True if size_average is None else size_average
    if reduce is False:
        reduction = "none"
    else:
        reduction = "mean" if average else "sum"
    warn(
        f"size_average and reduce are deprecated, use reduction={reduction!r} instead",
        DeprecationWarning,
    )
    return reduction


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return loss.mean()
    return loss.sum() if reduction == "sum" else loss


def _paired(name: str, input: Tensor, target: Tensor) -> None:
    if tuple(input.shape) != tuple(target.shape):
        warn(
            f"{name}: target size {list(target.shape)} differs from input size "
            f"{list(input.shape)}; they are broadcast, which is probably not meant"
        )


def _same_shape(name: str, input: Tensor, target: Tensor) -> None:
    if tuple(input.shape) != tuple(target.shape):
        raise ShapeError(
            f"{name}: target has shape {list(target.shape)} and input {list(input.shape)}",
            loc=caller(),
        )


# ---------------------------------------------------------------- distances
def mse_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """``(input - target) ** 2``.

    >>> import staticgraph.dynamic as torch
    >>> x, y = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0])
    >>> torch.nn.functional.mse_loss(x, y, reduction="sum")
    tensor(4.)
    """
    how = chosen(reduction, size_average, reduce)
    _paired("mse_loss", input, target)
    loss: Tensor = squared_difference(input, target)
    return _weighted(loss, weight, how)


def _weighted(loss: Tensor, weight: Tensor | None, how: str) -> Tensor:
    if weight is None:
        return _reduced(loss, how)
    _same_shape("loss", loss, weight)
    loss = loss * weight
    return loss.sum() / weight.sum() if how == "mean" else _reduced(loss, how)


def l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """``abs(input - target)``."""
    how = chosen(reduction, size_average, reduce)
    _paired("l1_loss", input, target)
    return _reduced(abs(input - target), how)


def smooth_l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", beta: float = 1.0,
) -> Tensor:  # fmt: skip
    """Half a square over `beta` for differences less than `beta`, a straight line beyond."""
    how = chosen(reduction, size_average, reduce)
    if beta < 0:
        raise bad_value(f"smooth_l1_loss: beta must not be negative, got {beta}")
    _paired("smooth_l1_loss", input, target)
    distance = abs(input - target)
    if beta == 0:
        return _reduced(distance, how)
    square = distance * distance * (0.5 / beta)
    return _reduced(select_v2(less(distance, beta), square, distance - 0.5 * beta), how)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """Half a square for differences up to `delta`, a straight line beyond."""
    how = chosen(reduction, None, None)
    if delta <= 0:
        raise bad_value(f"huber_loss: delta must be above 0, got {delta}")
    _paired("huber_loss", input, target)
    distance = abs(input - target)
    line = delta * (distance - 0.5 * delta)
    return _reduced(select_v2(less(distance, delta), distance * distance * 0.5, line), how)


# ---------------------------------------------------------------- classes
def _classes_last(name: str, input: Tensor, target: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """The input with its class axis last, and the shape the loss has."""
    if not input.dim():
        raise ShapeError(f"{name}: the input is a scalar, it needs a class axis", loc=caller())
    axis = 1 if input.dim() > 1 else 0
    lead = tuple(n for i, n in enumerate(input.shape) if i != axis)
    if tuple(target.shape) != lead:
        raise ShapeError(
            f"{name}: class numbers of shape {list(target.shape)} for an input of shape "
            f"{list(input.shape)}; their shape must be {list(lead)}",
            loc=caller(),
        )
    if input.dim() > 2:
        input = input.permute(0, *range(2, input.dim()), 1)
    return input, lead


def _class_numbers(name: str, target: Tensor) -> Tensor:
    if not target.dtype.is_integer:
        raise UsageError(
            f"{name} takes class numbers, got {target.dtype.name}", loc=caller(),
            hint="convert them with .long()",
        )  # fmt: skip
    return target


def _picked(
    name: str, loss: Tensor, target: Tensor, kept: Tensor | None, weight: Tensor | None, how: str
) -> Tensor:
    """Reduce one loss per example, each with the weight of its class and ignored ones without."""
    if weight is None and kept is None:
        return _reduced(loss, how)
    if weight is None:
        assert kept is not None
        w = kept
    else:
        w = gather_v2(weight, target, 0)
        w = w if kept is None else w * kept
    loss = loss * w
    return loss.sum() / w.sum() if how == "mean" else _reduced(loss, how)


def _ignored(target: Tensor, ignore_index: int, like: Tensor) -> tuple[Tensor, Tensor | None]:
    """Class numbers with 0 in place of those ignored, and 1 for each that is not."""
    places = target == ignore_index
    if MODES.tracer is None and not bool(places.any()):  # a compiled function cannot know
        return target, None
    return target.masked_fill(places, 0), (~places).to(like.dtype)


def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The negative of each example's logarithmic probability of its class.

    Args:
      input: logarithms of probabilities, ``[n, classes, ...]`` or ``[classes]``.
      target: class numbers, ``[n, ...]`` or a scalar.
      weight: one number per class; the mean is then the weighted one.
      ignore_index: a class number whose examples do not count.

    Raises:
      ShapeError: shapes do not fit.
      InvalidArgumentError: a class number is out of range.
    """
    how = chosen(reduction, size_average, reduce)
    last, _ = _classes_last("nll_loss", input, _class_numbers("nll_loss", target))
    target, kept = _ignored(target, ignore_index, input)
    return _picked("nll_loss", -pick_last(last, target), target, kept, weight, how)


def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """The cross entropy of logits against class numbers or against probabilities.

    Args:
      input: logits, ``[n, classes, ...]`` or ``[classes]``.
      target: class numbers ``[n, ...]``, or probabilities of the input's shape.
      weight: one number per class.
      ignore_index: a class number whose examples do not count.
      label_smoothing: how much of the probability is spread evenly over the classes.

    Raises:
      ShapeError: shapes do not fit.
      InvalidArgumentError: a class number is out of range.

    >>> import staticgraph.dynamic as torch
    >>> logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 3.0]])
    >>> round(torch.nn.functional.cross_entropy(logits, torch.tensor([0, 2])).item(), 4)
    0.1672
    """
    how = chosen(reduction, size_average, reduce)
    if not 0.0 <= label_smoothing <= 1.0:
        raise bad_value(f"label_smoothing must be in [0, 1], got {label_smoothing}")
    if target.is_floating_point():
        return _soft_cross_entropy(input, target, weight, how, label_smoothing)
    last, _ = _classes_last("cross_entropy", input, _class_numbers("cross_entropy", target))
    target, kept = _ignored(target, ignore_index, input)
    if not label_smoothing:
        loss = sparse_softmax_cross_entropy(last, target)[0]
        return _picked("cross_entropy", loss, target, kept, weight, how)
    logs = log_softmax(last, -1)
    spread = -(logs if weight is None else logs * weight).sum(-1)
    spread = spread if kept is None else spread * kept
    exact = _picked("cross_entropy", -pick_last(logs, target), target, kept, weight, how)
    share = label_smoothing / last.shape[-1]
    if how != "mean":
        made: Tensor = (1.0 - label_smoothing) * exact + share * _reduced(spread, how)
        return made
    if weight is not None:
        w = gather_v2(weight, target, 0)
        total = (w if kept is None else w * kept).sum()
        even = spread.sum() / total
    else:
        even = spread.mean() if kept is None else spread.sum() / kept.sum()
    made = (1.0 - label_smoothing) * exact + share * even
    return made


def _soft_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None, how: str, smoothing: float
) -> Tensor:
    if tuple(input.shape) != tuple(target.shape):
        raise ShapeError(
            f"cross_entropy: probabilities of shape {list(target.shape)} for an input of shape "
            f"{list(input.shape)}",
            loc=caller(),
            hint="class numbers are integers: convert them with .long()",
        )
    axis = 1 if input.dim() > 1 else 0
    classes = input.shape[axis]
    if smoothing:
        target = target * (1.0 - smoothing) + smoothing / classes
    logs = log_softmax(input, axis) * target
    if weight is not None:
        logs = logs * weight.reshape(-1, *(1,) * (input.dim() - 1 - axis))
    loss = -logs.sum(axis)
    if how == "mean":
        made: Tensor = loss.sum() / max(input.numel() // classes, 1)
        return made
    return _reduced(loss, how)


# ---------------------------------------------------------------- probabilities
def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The cross entropy of probabilities against targets in [0, 1]; logarithms end at -100.

    In a compiled function, which cannot look at the values, an input outside [0, 1] gives NaN.

    Raises:
      ShapeError: shapes differ.
      ArgumentError: the input is not in [0, 1].
    """
    how = chosen(reduction, size_average, reduce)
    _same_shape("binary_cross_entropy", input, target)
    if MODES.tracer is not None:
        input = select_v2((input >= 0) & (input <= 1), input, math.nan)
    else:
        values = input.detach().numpy()
        if values.size and not (values.min() >= 0 and values.max() <= 1):
            raise bad_value(
                f"binary_cross_entropy: the input must be in [0, 1], it has values from "
                f"{values.min()} to {values.max()}"
            )
    least = math.exp(-100.0)
    yes, no = log(maximum(least, input)), log(maximum(least, 1.0 - input))
    loss = -(target * yes + (1.0 - target) * no)
    return _reduced(loss if weight is None else loss * weight, how)


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean", pos_weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`binary_cross_entropy` of ``sigmoid(input)``, exact for large logits.

    `pos_weight` is the weight of positive examples, one number per class.
    """
    how = chosen(reduction, size_average, reduce)
    _same_shape("binary_cross_entropy_with_logits", input, target)
    against = softplus(-input)
    if pos_weight is not None:
        against = ((pos_weight - 1.0) * target + 1.0) * against
    loss = (1.0 - target) * input + against
    return _reduced(loss if weight is None else loss * weight, how)


def kl_div(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", log_target: bool = False,
) -> Tensor:  # fmt: skip
    """``target * (log(target) - input)``, where `input` is a logarithm of probabilities.

    `reduction` may also be "batchmean", the sum over the size of the first axis.
    """
    how = chosen(reduction, size_average, reduce, ("batchmean",))
    if log_target:
        loss = exp(target) * (target - input)
    else:
        loss = xlogy(target, target) - target * input
    if how == "batchmean":
        return loss.sum() / input.shape[0]  # type: ignore[no-any-return]
    return _reduced(loss, how)


def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The negative logarithm of a Poisson probability, up to a constant unless `full`."""
    how = chosen(reduction, None, None)
    if log_input:
        loss = exp(input) - target * input
    else:
        loss = input - target * log(input + eps)
    if full:
        stirling = xlogy(target, target) - target + 0.5 * log(2.0 * math.pi * target)
        loss = loss + select_v2(less(1.0, target), stirling, 0.0)
    return _reduced(loss, how)


# ---------------------------------------------------------------- margins
def soft_margin_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """``log(1 + exp(-target * input))`` for targets 1 and -1."""
    how = chosen(reduction, None, None)
    return _reduced(softplus(-(target * input)), how)


def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """`input` where the target is 1, ``max(0, margin - input)`` where it is -1."""
    how = chosen(reduction, None, None)
    return _reduced(select_v2(target == 1, input, maximum(margin - input, 0.0)), how)


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """``max(0, -target * (input1 - input2) + margin)``."""
    how = chosen(reduction, None, None)
    return _reduced(maximum(margin - target * (input1 - input2), 0.0), how)


def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2.0,
    eps: float = 1e-6, swap: bool = False, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """``max(0, d(anchor, positive) - d(anchor, negative) + margin)``."""
    how = chosen(reduction, None, None)
    near = pairwise_distance(anchor, positive, p, eps)
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = minimum(far, pairwise_distance(positive, negative, p, eps))
    return _reduced(maximum(near - far + margin, 0.0), how)
