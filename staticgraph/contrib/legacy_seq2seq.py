"""`tf.contrib.legacy_seq2seq`: encoders, decoders and losses over lists of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from staticgraph.api.casting import cast
from staticgraph.api.framework import name_scope
from staticgraph.api.losses import sparse_softmax_cross_entropy_with_logits
from staticgraph.api.math import add_n
from staticgraph.api.reduction import reduce_sum
from staticgraph.api.shapes import shape as shape_of
from staticgraph.api.variable_scope import get_variable_scope, variable_scope
from staticgraph.contrib.legacy_decoders import (
    attention_decoder,
    basic_rnn_seq2seq,
    embedding_attention_decoder,
    embedding_attention_seq2seq,
    embedding_rnn_decoder,
    embedding_rnn_seq2seq,
    rnn_decoder,
)
from staticgraph.errors import GraphError, ShapeError
from staticgraph.ir import loc
from staticgraph.ir.build import convert
from staticgraph.ir.tensor import Tensor

_TINY = 1e-12  # keeps the mean of nothing finite


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


def model_with_buckets(
    encoder_inputs: Sequence[Any], decoder_inputs: Sequence[Any], targets: Sequence[Any],
    weights: Sequence[Any], buckets: Sequence[tuple[int, int]], seq2seq: Callable[..., Any],
    softmax_loss_function: Callable[..., Any] | None = None, per_example_loss: bool = False,
    name: str | None = None,
) -> tuple[list[list[Any]], list[Any]]:  # fmt: skip
    """One network for several lengths, all with the same variables.

    Args:
      encoder_inputs, decoder_inputs, targets, weights: lists of tensors, one for each step.
      buckets: pairs of lengths, of the encoder and of the decoder.
      seq2seq: from the encoder's and the decoder's inputs to outputs and a state.
      softmax_loss_function, per_example_loss: the loss is `sequence_loss`, or with
        `per_example_loss` that by example, with this function.

    Returns:
      For each bucket the list of outputs, and for each the loss.

    Raises:
      ValueError: a list is shorter than a bucket.
    """
    lists = (("encoder_inputs", encoder_inputs, 0), ("decoder_inputs", decoder_inputs, 1),
             ("targets", targets, 1), ("weights", weights, 1))  # fmt: skip
    for what, given, side in lists:
        longest = max(b[side] for b in buckets)
        if len(given) < longest:
            raise GraphError(
                f"model_with_buckets: there are {len(given)} {what}, a bucket has {longest}",
                loc=loc.caller(),
            )
    loss: Callable[..., Any] = sequence_loss_by_example if per_example_loss else sequence_loss
    outputs, losses = [], []
    with name_scope(name, "model_with_buckets"):
        for k, (long, short) in enumerate(buckets):
            with variable_scope(get_variable_scope(), reuse=True if k > 0 else None):
                found, _ = seq2seq(encoder_inputs[:long], decoder_inputs[:short])
                outputs.append(found)
                losses.append(loss(
                    found, targets[:short], weights[:short],
                    softmax_loss_function=softmax_loss_function,
                ))  # fmt: skip
    return outputs, losses


__all__ = [
    "attention_decoder", "basic_rnn_seq2seq", "embedding_attention_decoder",
    "embedding_attention_seq2seq", "embedding_rnn_decoder", "embedding_rnn_seq2seq",
    "model_with_buckets", "rnn_decoder", "sequence_loss", "sequence_loss_by_example",
]  # fmt: skip
