"""`tf.contrib.seq2seq`: the loss of sequences of classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from staticgraph.api.framework import name_scope
from staticgraph.api.losses import sparse_softmax_cross_entropy_with_logits
from staticgraph.api.reduction import reduce_sum
from staticgraph.api.shapes import reshape
from staticgraph.api.shapes import shape as shape_of
from staticgraph.errors import ShapeError
from staticgraph.ir import loc
from staticgraph.ir.build import convert
from staticgraph.ir.tensor import Tensor

_TINY = 1e-12  # keeps the mean of nothing finite


def sequence_loss(
    logits: Any, targets: Any, weights: Any, average_across_timesteps: bool = True,
    average_across_batch: bool = True, softmax_loss_function: Callable[..., Any] | None = None,
    name: str | None = None,
) -> Tensor:  # fmt: skip
    """The weighted cross entropy of a batch of sequences.

    Args:
      logits: ``[batch, time, classes]``.
      targets: class numbers, ``[batch, time]``.
      weights: floats, ``[batch, time]``; 0 leaves a step out.
      average_across_timesteps, average_across_batch: which axes are averaged, by weight.
      softmax_loss_function: called with `labels` and `logits` instead of the cross entropy.

    Returns:
      A scalar; ``[batch]``, ``[time]`` or ``[batch, time]`` where axes are not averaged.

    Raises:
      ValueError: ranks do not fit.
    """
    x, t, w = convert(logits), convert(targets), convert(weights)
    for what, tensor, rank in (("logits", x, 3), ("targets", t, 2), ("weights", w, 2)):
        if tensor.shape.ndims not in (None, rank):
            raise ShapeError(
                f"sequence_loss: {what} have rank {rank}, got shape {tensor.shape}",
                loc=loc.caller(), operands=(f"{what}: {tensor.describe()}",),
            )  # fmt: skip
    with name_scope(name, "sequence_loss", [x, t, w]):
        classes = shape_of(x)[2] if x.shape.as_list()[2] is None else x.shape.as_list()[2]
        loss = softmax_loss_function or sparse_softmax_cross_entropy_with_logits
        flat = loss(labels=reshape(t, [-1]), logits=reshape(x, [-1, classes]))
        flat = flat * reshape(w, [-1])
        if average_across_timesteps and average_across_batch:
            mean: Tensor = reduce_sum(flat) / (reduce_sum(w) + _TINY)
            return mean
        losses: Tensor = reshape(flat, shape_of(x)[:2])
        losses.set_shape(x.shape.as_list()[:2])
        for axis, average in ((1, average_across_timesteps), (0, average_across_batch)):
            if average:
                losses = reduce_sum(losses, axis=[axis]) / (reduce_sum(w, axis=[axis]) + _TINY)
        return losses


__all__ = ["sequence_loss"]
