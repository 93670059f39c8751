"""Encoders and decoders over lists of steps, with attention and without."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from staticgraph.api import nest
from staticgraph.api.array import stop_gradient, zeros
from staticgraph.api.control_flow import cond
from staticgraph.api.embedding import embedding_lookup
from staticgraph.api.initializers import Zeros
from staticgraph.api.linalg import matmul, xw_plus_b
from staticgraph.api.losses import softmax
from staticgraph.api.math_functions import tanh
from staticgraph.api.normalization import bias_add
from staticgraph.api.reduction import argmax, reduce_sum
from staticgraph.api.shapes import expand_dims, reshape
from staticgraph.api.shapes import shape as shape_of
from staticgraph.api.slicing import concat, stack
from staticgraph.api.variable_scope import get_variable, get_variable_scope, variable_scope
from staticgraph.contrib.rnn_cells import EmbeddingWrapper, OutputProjectionWrapper
from staticgraph.errors import GraphError, ShapeError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.build import convert
from staticgraph.ir.tensor import Tensor
from staticgraph.nn.cell import RNNCell, batch_of
from staticgraph.nn.cell_wrappers import check_cell
from staticgraph.nn.unrolled import static_rnn


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


def attention_decoder(
    decoder_inputs: Sequence[Any], initial_state: Any, attention_states: Any, cell: Any,
    output_size: int | None = None, num_heads: int = 1,
    loop_function: Callable[[Any, int], Any] | None = None, dtype: Any = None, scope: Any = None,
    initial_state_attention: bool = False,
) -> tuple[list[Any], Any]:  # fmt: skip
    """`rnn_decoder` with a look at an encoder's outputs before each step.

    The weights of a look are a softmax of ``v . tanh(W s + U q)``, with s the encoder's outputs and
    q the state (Vinyals et al., "Grammar as a foreign language", 2014).

    Args:
      decoder_inputs: a list of tensors ``[batch, depth]``.
      initial_state: the state before the first step.
      attention_states: what is looked at, ``[batch, steps, size]``.
      output_size: width of the outputs; that of the cell by default.
      num_heads: looks at each step.
      loop_function: see `rnn_decoder`.
      dtype: accepted; it is that of `attention_states`.
      scope: of the variables; "attention_decoder" by default.
      initial_state_attention: look before the first step, too, with the initial state.

    Returns:
      The list of outputs, ``[batch, output_size]``, and the last state.

    Raises:
      ValueError: there are no inputs, less than one head, or sizes that are not known.
    """
    del dtype
    if not decoder_inputs:
        raise GraphError("attention_decoder needs at least one input", loc=loc.caller())
    if num_heads < 1:
        raise GraphError(f"num_heads must be at least 1, got {num_heads}", loc=loc.caller())
    states = convert(attention_states)
    with variable_scope(scope or "attention_decoder") as entered:
        look = _Attention(states, num_heads)
        width = check_cell(cell, "cell").output_size if output_size is None else output_size
        state, previous = initial_state, None
        seen = look.of(state) if initial_state_attention else look.nothing()
        outputs: list[Any] = []
        for i, given in enumerate(decoder_inputs):
            if i > 0:
                entered.reuse_variables()
            if loop_function is not None and previous is not None:
                with variable_scope("loop_function", reuse=True):
                    given = loop_function(previous, i)
            given = convert(given)
            depth = given.shape.as_list()[1] if given.shape.ndims == 2 else None
            if depth is None:
                raise ShapeError(
                    f"attention_decoder: the depth of input {i} must be known, its shape is "
                    f"{given.shape}",
                    loc=loc.caller(), operands=(f"{given.name}: {given.describe()}",),
                )  # fmt: skip
            cell_output, state = cell(_linear([given, *seen], depth), state)
            with variable_scope(
                entered, reuse=True if i == 0 and initial_state_attention else None
            ):
                seen = look.of(state)
            with variable_scope("AttnOutputProjection"):
                output = _linear([cell_output, *seen], width)
            previous = output if loop_function is not None else None
            outputs.append(output)
    return outputs, state


class _Attention:
    """Looks at states ``[batch, steps, size]``; the variables are made in the scope in force."""

    def __init__(self, states: Tensor, heads: int) -> None:
        self.size = states.shape.as_list()[2] if states.shape.ndims == 3 else None
        if self.size is None:
            raise ShapeError(
                "attention_states have the axes batch, steps and size, and the size is known; got "
                f"shape {states.shape}",
                loc=loc.caller(), operands=(f"attention_states: {states.describe()}",),
            )  # fmt: skip
        self.states, self.batch = states, batch_of(states)
        steps = states.shape.as_list()[1]
        self.steps = shape_of(states)[1] if steps is None else steps
        self.features, self.v = [], []
        flat = reshape(states, [-1, self.size])
        for a in range(heads):
            sizes = [1, 1, self.size, self.size]  # a filter of one point in TensorFlow
            w = get_variable(f"AttnW_{a}", sizes, states.dtype.base)
            turned = matmul(flat, reshape(w, [self.size, self.size]))
            self.features.append(reshape(turned, [-1, self.steps, self.size]))
            self.v.append(get_variable(f"AttnV_{a}", [self.size], states.dtype.base))

    def nothing(self) -> list[Any]:
        """What is seen before the first look."""
        found = [zeros([self.batch, self.size], self.states.dtype.base) for _ in self.v]
        for t in found:
            t.set_shape([None, self.size])
        return found

    def of(self, query: Any) -> list[Any]:
        """What each head sees from a state."""
        q = concat(nest.flatten(query), 1) if nest.is_nested(query) else query
        seen = []
        for a, (features, v) in enumerate(zip(self.features, self.v, strict=True)):
            with variable_scope(f"Attention_{a}"):
                y = expand_dims(_linear([q], self.size), 1)
                weights = softmax(reduce_sum(v * tanh(features + y), 2))
                seen.append(reduce_sum(expand_dims(weights, 2) * self.states, 1))
        return seen


def _linear(parts: Sequence[Any], width: Any) -> Tensor:
    """Tensors side by side, multiplied by a matrix, and a bias."""
    x = parts[0] if len(parts) == 1 else concat(list(parts), 1)
    kernel = get_variable("kernel", [x.shape.as_list()[1], width], x.dtype.base)
    return bias_add(matmul(x, kernel), get_variable("bias", [width], x.dtype.base, Zeros()))


# ---------------------------------------------------------------- symbols
def _own_embedding(embedding: Any, projection: Any, update: bool) -> Callable[[Any, int], Any]:
    """The row of the symbol that an output says, for the next step."""

    def loop_function(previous: Any, _: int) -> Any:
        if projection is not None:
            previous = xw_plus_b(previous, projection[0], projection[1])
        row = embedding_lookup(embedding, argmax(previous, 1))
        return row if update else stop_gradient(row)

    return loop_function


def embedding_rnn_decoder(
    decoder_inputs: Sequence[Any], initial_state: Any, cell: Any, num_symbols: int,
    embedding_size: int, output_projection: Any = None, feed_previous: bool = False,
    update_embedding_for_previous: bool = True, scope: Any = None,
) -> tuple[list[Any], Any]:  # fmt: skip
    """`rnn_decoder` of symbols, which are looked up in a table that is learnt.

    Args:
      decoder_inputs: a list of integer tensors ``[batch]``.
      initial_state: the state before the first step.
      num_symbols, embedding_size: sizes of the table.
      output_projection: weights and biases that make logits of the outputs.
      feed_previous: take only the first input, and then the symbol that the last output says.
      update_embedding_for_previous: let gradients through such symbols change the table.
      scope: of the variables; "embedding_rnn_decoder" by default.

    Returns:
      The list of outputs, and the last state.
    """
    with variable_scope(scope or "embedding_rnn_decoder"):
        table = get_variable("embedding", [num_symbols, embedding_size])
        own = _own_embedding(table, output_projection, update_embedding_for_previous)
        rows = [embedding_lookup(table, i) for i in decoder_inputs]
        return rnn_decoder(rows, initial_state, cell, own if feed_previous else None)


def embedding_attention_decoder(
    decoder_inputs: Sequence[Any], initial_state: Any, attention_states: Any, cell: Any,
    num_symbols: int, embedding_size: int, num_heads: int = 1, output_size: int | None = None,
    output_projection: Any = None, feed_previous: bool = False,
    update_embedding_for_previous: bool = True, dtype: Any = None, scope: Any = None,
    initial_state_attention: bool = False,
) -> tuple[list[Any], Any]:  # fmt: skip
    """`attention_decoder` of symbols; see `embedding_rnn_decoder`.

    Returns:
      The list of outputs, and the last state.
    """
    with variable_scope(scope or "embedding_attention_decoder"):
        table = get_variable("embedding", [num_symbols, embedding_size], dtype)
        own = _own_embedding(table, output_projection, update_embedding_for_previous)
        rows = [embedding_lookup(table, i) for i in decoder_inputs]
        return attention_decoder(
            rows, initial_state, attention_states, cell, output_size, num_heads,
            own if feed_previous else None, initial_state_attention=initial_state_attention,
        )  # fmt: skip


def basic_rnn_seq2seq(
    encoder_inputs: Sequence[Any], decoder_inputs: Sequence[Any], cell: Any, dtype: Any = None,
    scope: Any = None,
) -> tuple[list[Any], Any]:  # fmt: skip
    """A cell over the encoder's inputs, and one like it, from there, over the decoder's.

    Args:
      encoder_inputs, decoder_inputs: lists of tensors ``[batch, depth]``.
      cell: the decoder's cell, which has not been called; the encoder gets a copy.
      dtype: of the state; that of the first input by default.
    """
    with variable_scope(scope or "basic_rnn_seq2seq"):
        kind = convert(encoder_inputs[0]).dtype.base if dtype is None else dtype
        _, state = static_rnn(_unbuilt(cell), encoder_inputs, dtype=kind)
        return rnn_decoder(decoder_inputs, state, cell)


def embedding_rnn_seq2seq(
    encoder_inputs: Sequence[Any], decoder_inputs: Sequence[Any], cell: Any,
    num_encoder_symbols: int, num_decoder_symbols: int, embedding_size: int,
    output_projection: Any = None, feed_previous: Any = False, dtype: Any = None,
    scope: Any = None,
) -> tuple[list[Any], Any]:  # fmt: skip
    """`basic_rnn_seq2seq` of symbols.

    Args:
      encoder_inputs, decoder_inputs: lists of integer tensors ``[batch]``.
      cell: the decoder's cell, which has not been called; the encoder gets a copy.
      num_encoder_symbols, num_decoder_symbols, embedding_size: sizes of the two tables.
      output_projection: weights and biases that make logits of the outputs; without it the
        outputs are logits.
      feed_previous: a bool, or a bool scalar: see `embedding_rnn_decoder`.
      dtype: of the state; float32 by default.

    Returns:
      The list of outputs, and the last state.
    """
    with variable_scope(scope or "embedding_rnn_seq2seq"):
        encoder = EmbeddingWrapper(_unbuilt(cell), num_encoder_symbols, embedding_size)
        _, state = static_rnn(encoder, encoder_inputs, dtype=dtype or "float32")
        if output_projection is None:
            cell = OutputProjectionWrapper(cell, num_decoder_symbols)

        def decode(feed: bool, update: bool = True) -> tuple[list[Any], Any]:
            return embedding_rnn_decoder(
                decoder_inputs, state, cell, num_decoder_symbols, embedding_size,
                output_projection, feed, update,
            )  # fmt: skip

        return _either(feed_previous, decode)


def embedding_attention_seq2seq(
    encoder_inputs: Sequence[Any], decoder_inputs: Sequence[Any], cell: Any,
    num_encoder_symbols: int, num_decoder_symbols: int, embedding_size: int, num_heads: int = 1,
    output_projection: Any = None, feed_previous: Any = False, dtype: Any = None,
    scope: Any = None, initial_state_attention: bool = False,
) -> tuple[list[Any], Any]:  # fmt: skip
    """`embedding_rnn_seq2seq` whose decoder looks at the encoder's outputs.

    Args:
      num_heads, initial_state_attention: see `attention_decoder`; the other arguments are those
        of `embedding_rnn_seq2seq`.

    Returns:
      The list of outputs, and the last state.
    """
    with variable_scope(scope or "embedding_attention_seq2seq"):
        encoder = EmbeddingWrapper(_unbuilt(cell), num_encoder_symbols, embedding_size)
        outputs, state = static_rnn(encoder, encoder_inputs, dtype=dtype or "float32")
        width, states = None, stack(outputs, 1)
        if output_projection is None:
            cell, width = OutputProjectionWrapper(cell, num_decoder_symbols), num_decoder_symbols

        def decode(feed: bool, update: bool = True) -> tuple[list[Any], Any]:
            return embedding_attention_decoder(
                decoder_inputs, state, states, cell, num_decoder_symbols, embedding_size,
                num_heads, width, output_projection, feed, update, dtype,
                initial_state_attention=initial_state_attention,
            )  # fmt: skip

        return _either(feed_previous, decode)


def _either(
    feed_previous: Any, decode: Callable[..., tuple[list[Any], Any]]
) -> tuple[list[Any], Any]:
    """The decoder with its own symbols or with those given, which a tensor may decide."""
    if isinstance(feed_previous, bool):
        return decode(feed_previous)

    def decoded(feed: bool) -> Callable[[], Any]:
        def branch() -> Any:
            with variable_scope(get_variable_scope(), reuse=None if feed else True):
                return decode(feed, False)

        return branch

    outputs, state = cond(feed_previous, decoded(True), decoded(False))
    return list(outputs), state


def _unbuilt(cell: Any) -> Any:
    """A copy of a cell, for variables of its own.

    Raises:
      TypeError: the cell has variables already.
    """
    if not isinstance(cell, RNNCell):
        return copy.deepcopy(cell)
    if cell.__dict__.get("_variables") or cell.__dict__.get("_scope") is not None:
        raise UsageError(
            f"{cell.name}: the cell has been called before; the encoder and the decoder take one "
            "that has no variables yet",
            loc=loc.caller(), hint="make a cell for each call",
        )  # fmt: skip
    new = copy.copy(cell)
    for name, value in cell.__dict__.items():
        if isinstance(value, RNNCell):
            new.__dict__[name] = _unbuilt(value)
        elif isinstance(value, list) and any(isinstance(c, RNNCell) for c in value):
            new.__dict__[name] = [_unbuilt(c) for c in value]
    return new


__all__ = [
    "attention_decoder", "basic_rnn_seq2seq", "embedding_attention_decoder",
    "embedding_attention_seq2seq", "embedding_rnn_decoder", "embedding_rnn_seq2seq",
    "rnn_decoder",
]  # fmt: skip
