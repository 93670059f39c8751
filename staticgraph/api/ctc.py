"""Connectionist temporal classification: labels without times for outputs with times."""

from __future__ import annotations

from typing import Any

from staticgraph.api.framework import name_scope
from staticgraph.api.reduction import either
from staticgraph.api.sparse import SparseTensor, sparse_of
from staticgraph.errors import GraphError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.build import convert
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Tensor


def _time_major(x: Tensor, time_major: bool) -> Tensor:
    return x if time_major else lookup("Transpose")(x, [1, 0, 2])


def ctc_loss(
    labels: Any, inputs: Any = None, sequence_length: Any = None,
    preprocess_collapse_repeated: bool = False, ctc_merge_repeated: bool = True,
    ignore_longer_outputs_than_inputs: bool = False, time_major: bool = True, logits: Any = None,
) -> Tensor:  # fmt: skip
    """Minus the logarithm of the probability of all paths that give the labels.

    The blank is the last class.  First and second derivatives exist.

    Args:
      labels: an int32 `SparseTensor`, ``[batch, length]``.
      inputs: logits, ``[time, batch, classes]``; `logits` is another name.
      sequence_length: integers, the steps of each row.
      preprocess_collapse_repeated: merge repeated labels first.
      ctc_merge_repeated: False takes repeated classes without a blank between them for repeated
        labels.
      ignore_longer_outputs_than_inputs: rows of more labels than steps have a loss of 0 instead
        of failing the run.
      time_major: False for logits of ``[batch, time, classes]``.

    Returns:
      The losses, ``[batch]``; infinite where no path exists because a label repeats.

    Raises:
      TypeError: `labels` is not sparse.
      ValueError: sizes differ.  Labels that are no class fail the run.

    >>> import staticgraph as tf
    >>> labels = tf.SparseTensor([[0, 0]], [1], [1, 1])
    >>> with tf.Session() as sess:  # one step: the class itself
    ...     sess.run(tf.exp(-tf.nn.ctc_loss(labels, tf.zeros([1, 1, 4]), [1])))
    array([0.25], dtype=float32)
    """
    inputs = either("inputs", inputs, "logits", logits)
    if inputs is None or sequence_length is None:
        raise UsageError("ctc_loss: give inputs and sequence_length", loc=loc.caller())
    sp = sparse_of(labels, "ctc_loss: labels")
    with name_scope(None, "CTCLoss") as scope:
        x = _time_major(convert(inputs, name="inputs"), time_major)
        out: Tensor = lookup("CTCLoss")(
            x, sp.indices, sp.values, convert(sequence_length, name="sequence_length"),
            preprocess_collapse_repeated=bool(preprocess_collapse_repeated),
            ctc_merge_repeated=bool(ctc_merge_repeated),
            ignore_longer_outputs_than_inputs=bool(ignore_longer_outputs_than_inputs),
            name=scope,
        )[0]  # fmt: skip
        return out


def ctc_loss_v2(
    labels: Any, logits: Any, label_length: Any, logit_length: Any, logits_time_major: bool = True,
    unique: Any = None, blank_index: int | None = None, name: str | None = None,
) -> Tensor:  # fmt: skip
    """`ctc_loss` with labels in a matrix, or in a `SparseTensor`.

    Args:
      labels: integers, ``[batch, length]``; or sparse, and then `label_length` is None.
      logits: ``[time, batch, classes]``.
      label_length: integers, how many labels each row has.
      logit_length: integers, the steps of each row.
      logits_time_major: False for logits of ``[batch, time, classes]``.
      unique: accepted; it makes nothing faster here.
      blank_index: class of the blank, counted from the end where negative; 0 by default for a
        matrix, and -1, the only choice, for sparse labels.

    Returns:
      The losses, ``[batch]``; infinite where there are too few steps for the labels.

    Raises:
      ValueError: sizes differ.  Labels that are no class fail the run.
    """
    del unique
    if isinstance(labels, SparseTensor):
        classes = convert(logits).shape.as_list()[-1]
        if blank_index is None:
            raise GraphError(
                "ctc_loss_v2: blank_index must be given when labels are sparse", loc=loc.caller()
            )
        if blank_index not in (-1, None if classes is None else classes - 1):
            raise GraphError(
                f"ctc_loss_v2: with sparse labels the blank is the last class, got blank_index "
                f"{blank_index}",
                loc=loc.caller(), hint="give the labels as a matrix",
            )  # fmt: skip
        return ctc_loss(labels, logits, logit_length, time_major=logits_time_major)
    if label_length is None:
        raise UsageError("ctc_loss_v2: give label_length", loc=loc.caller())
    with name_scope(name, "ctc_loss") as scope:
        x = _time_major(convert(logits, name="logits"), logits_time_major)
        out: Tensor = lookup("CTCLossDense")(
            x, convert(labels, name="labels"), convert(label_length, name="label_length"),
            convert(logit_length, name="logit_length"),
            blank=0 if blank_index is None else int(blank_index), name=scope,
        )[0]  # fmt: skip
        return out


def _decoded(parts: list[Tensor], paths: int) -> tuple[list[SparseTensor], Tensor]:
    *sparse, score = parts
    rows = zip(sparse[:paths], sparse[paths : 2 * paths], sparse[2 * paths :], strict=True)
    return [SparseTensor(*row) for row in rows], score


def ctc_greedy_decoder(
    inputs: Any, sequence_length: Any, merge_repeated: bool = True
) -> tuple[list[SparseTensor], Tensor]:
    """The likeliest class of each step, with repeats merged and blanks left out.

    Args:
      inputs: logits, ``[time, batch, classes]``; the last class is the blank.
      sequence_length: integers, the steps of each row.
      merge_repeated: take a class that repeats without a blank between for one label.

    Returns:
      A list of one `SparseTensor` of int64 labels, and minus the sum of the logits taken,
      ``[batch, 1]``.
    """
    with name_scope(None, "CTCGreedyDecoder") as scope:
        parts = lookup("CTCGreedyDecoder")(
            convert(inputs, name="inputs"), convert(sequence_length, name="sequence_length"),
            merge_repeated=bool(merge_repeated), name=scope,
        )  # fmt: skip
        return _decoded(parts, 1)


def ctc_beam_search_decoder(
    inputs: Any, sequence_length: Any, beam_width: int = 100, top_paths: int = 1,
    merge_repeated: bool = True,
) -> tuple[list[SparseTensor], Tensor]:  # fmt: skip
    """The likeliest labellings, by a search that keeps the best prefixes.

    Args:
      inputs: logits, ``[time, batch, classes]``; the last class is the blank.
      sequence_length: integers, the steps of each row.
      beam_width: how many prefixes are kept after each step.
      top_paths: how many labellings are returned.
      merge_repeated: merge repeated labels of the result, those with a blank between them
        included, as TensorFlow does; False keeps them.

    Returns:
      A list of `top_paths` sparse tensors of int64 labels, the likeliest first, and the
      logarithms of their probabilities, ``[batch, top_paths]``.
    """
    with name_scope(None, "CTCBeamSearchDecoder") as scope:
        parts = lookup("CTCBeamSearchDecoder")(
            convert(inputs, name="inputs"), convert(sequence_length, name="sequence_length"),
            beam_width=int(beam_width), top_paths=int(top_paths),
            merge_repeated=bool(merge_repeated), name=scope,
        )  # fmt: skip
        return _decoded(parts, int(top_paths))


def ctc_beam_search_decoder_v2(
    inputs: Any, sequence_length: Any, beam_width: int = 100, top_paths: int = 1
) -> tuple[list[SparseTensor], Tensor]:
    """`ctc_beam_search_decoder` with ``merge_repeated=False``."""
    return ctc_beam_search_decoder(inputs, sequence_length, beam_width, top_paths, False)


__all__ = [
    "ctc_beam_search_decoder", "ctc_beam_search_decoder_v2", "ctc_greedy_decoder", "ctc_loss",
    "ctc_loss_v2",
]  # fmt: skip
