"""`tf.contrib.legacy_seq2seq`: decoders and losses over lists of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from staticgraph.api.casting import cast
from staticgraph.api.framework import name_scope
from staticgraph.api.losses import sparse_softmax_cross_entropy_with_logits
from staticgraph.api.math import add_n
from staticgraph.api.reduction import reduce_sum
from staticgraph.api.shapes import shape as shape_of
from staticgraph.api.variable_scope import variable_scope
from staticgraph.errors import ShapeError
from staticgraph.ir import loc
from staticgraph.ir.build import convert
from staticgraph.ir.tensor import Tensor

_TINY = 1e-12  # keeps the mean of nothing finite


def rnn_decoder(
    decoder_inputs: Sequence[Any], initial_state: Any, cell: Any,
    loop_function: Callable[[Any, int], Any] | None = None, scope: Any = None,
) -> tuple[list[Any], Any]:  # fmt: skip
    """Run a cell over a list of inputs, or over what becomes of its own outputs.

    Args:
      decoder_inputs: a list of tensors ``[batch, depth]``.
      initial_state: the state before the first step.
      loop_function: from the last output and the number of a step to its input; the first step
        takes ``decoder_inputs[0]``.
      scope: of the variables; "rnn_decoder" by default.

    Returns:
      The list of outputs, and the last state.
    """
    with variable_scope(scope or "rnn_decoder") as entered:
        state, previous = initial_state, None
        outputs: list[Any] = []
        for i, x in enumerate(decoder_inputs):
            if loop_function is not None and previous is not None:
                with variable_scope("loop_function", reuse=True):
                    x = loop_function(previous, i)
            if i > 0:
                entered.reuse_variables()
            output, state = cell(x, state)
            outputs.append(output)
            if loop_function is not None:
                previous = output
    return outputs, state


def sequence_loss_by_example(
    logits: Sequence[Any], targets: Sequence[Any], weights: Sequence[Any],
    average_across_timesteps: bool = True,
    softmax_loss_function: Callable[..., Any] | None = None, name: str | None = None,
) -> Tensor:  # fmt: skip
    """The weighted cross entropy of each sequence of a batch.

    Args:
      logits: one tensor ``[batch, classes]`` for each step.
      targets: class numbers, one tensor ``[batch]`` for each step.
      weights: floats, one tensor ``[batch]`` for each step.
      average_across_timesteps: divide by the sum of the weights.
      softmax_loss_function: called with `labels` and `logits` instead of the cross entropy.

    Raises:
      ValueError: the lists differ in length.
    """
    if not len(logits) == len(targets) == len(weights):
        raise ShapeError(
            f"there are {len(logits)} logits, {len(targets)} targets and {len(weights)} weights",
            loc=loc.caller(),
        )
    loss = softmax_loss_function or sparse_softmax_cross_entropy_with_logits
    with name_scope(name, "sequence_loss_by_example"):
        some = [convert(w) for w in weights]
        losses = [
            loss(labels=t, logits=x) * w for x, t, w in zip(logits, targets, some, strict=True)
        ]
        total: Tensor = add_n(losses)
        return total / (add_n(some) + _TINY) if average_across_timesteps else total


def sequence_loss(
    logits: Sequence[Any], targets: Sequence[Any], weights: Sequence[Any],
    average_across_timesteps: bool = True, average_across_batch: bool = True,
    softmax_loss_function: Callable[..., Any] | None = None, name: str | None = None,
) -> Tensor:  # fmt: skip
    """The sum of `sequence_loss_by_example` over the batch, or its mean.

    Args:
      average_across_batch: divide by the size of the batch.
    """
    with name_scope(name, "sequence_loss"):
        losses = sequence_loss_by_example(
            logits, targets, weights, average_across_timesteps, softmax_loss_function
        )
        total = reduce_sum(losses)
        if not average_across_batch:
            return total
        mean: Tensor = total / cast(shape_of(convert(targets[0]))[0], total.dtype.base)
        return mean


__all__ = ["rnn_decoder", "sequence_loss", "sequence_loss_by_example"]
