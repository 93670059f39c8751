"""Recurrent networks over lists: the steps stand in the graph one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgraph.api import nest
from staticgraph.api.array import identity, zeros_like
from staticgraph.api.comparison import less
from staticgraph.api.framework import control_dependencies
from staticgraph.api.sequence import reverse_sequence
from staticgraph.api.slicing import concat, stack, unstack
from staticgraph.api.variable_scope import variable_scope
from staticgraph.errors import GraphError, ShapeError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.build import convert
from staticgraph.ir.tensor import Tensor
from staticgraph.nn.cell import batch_of
from staticgraph.nn.cell_wrappers import check_cell
from staticgraph.nn.sequences import checked_lengths, starting_state, stepped, through


def static_rnn(
    cell: Any, inputs: Sequence[Any], initial_state: Any = None, dtype: Any = None,
    sequence_length: Any = None, scope: Any = None,
) -> tuple[list[Any], Any]:  # fmt: skip
    """Run a cell over a list of inputs, one step for each.

    Args:
      cell: an `RNNCell`.
      inputs: a list of tensors of shape ``[batch, depth]``, or of nests of such.
      initial_state: the state before the first step; zeros of `dtype` by default.
      sequence_length: integers, one for each element of the batch: from there on outputs are 0
        and the state stays.
      scope: of the variables; "rnn" by default.

    Returns:
      The list of outputs, and the last state.

    Raises:
      ValueError: no inputs, shapes that differ, neither initial_state nor dtype.

    >>> import staticgraph as tf
    >>> x = tf.unstack(tf.ones([2, 5, 3]), axis=1)
    >>> outputs, state = tf.nn.static_rnn(tf.nn.rnn_cell.GRUCell(4), x, dtype=tf.float32)
    >>> len(outputs), state.shape, [v.name for v in tf.trainable_variables()][0]
    (5, TensorShape([Dimension(2), Dimension(4)]), 'rnn/gru_cell/gates/kernel:0')
    """
    check_cell(cell, "cell")
    steps = _converted(inputs)
    with variable_scope(scope or "rnn") as entered:
        batch = batch_of(nest.flatten(steps[0])[0])
        state = starting_state(cell, initial_state, batch, dtype, "static_rnn")
        lengths = None
        if sequence_length is not None:
            lengths = checked_lengths(sequence_length, batch, len(steps))
        outputs: list[Any] = []
        for t, x in enumerate(steps):
            if t > 0:
                entered.reuse_variables()
            output, new = stepped(cell, x, state)
            if lengths is not None:
                running = less(convert(t, lengths.dtype.base), lengths)
                output = through(running, output, nest.map_structure(zeros_like, output))
                new = through(running, new, state)
            outputs.append(output)
            state = new
        return outputs, state


def _converted(inputs: Sequence[Any]) -> list[Any]:
    if not isinstance(inputs, (list, tuple)):
        raise UsageError(
            f"static_rnn takes a list of inputs, one for each step, got {inputs!r}",
            loc=loc.caller(), hint="tf.unstack(x, axis=1) makes one of [batch, time, depth]",
        )  # fmt: skip
    if not inputs:
        raise GraphError("static_rnn needs at least one input", loc=loc.caller())
    steps = [nest.map_structure(convert, x) for x in inputs]
    first = nest.flatten(steps[0])
    for i, step in enumerate(steps):
        for a, b in zip(first, nest.flatten(step), strict=True):
            if not a.shape.is_compatible_with(b.shape):
                raise ShapeError(
                    f"static_rnn: inputs[0] has shape {a.shape}, inputs[{i}] {b.shape}",
                    loc=loc.caller(),
                    operands=(f"{a.name}: {a.describe()}", f"{b.name}: {b.describe()}"),
                )
    return steps


def _backwards(steps: list[Any], lengths: Any) -> list[Any]:
    """The steps in reverse order, each sequence from its own end."""
    if lengths is None:
        return steps[::-1]
    flat = [nest.flatten(s) for s in steps]
    turned = []
    for column in zip(*flat, strict=True):
        whole: Tensor = reverse_sequence(stack(list(column)), lengths, seq_axis=0, batch_axis=1)
        turned.append(unstack(whole, len(steps)))
    return [nest.pack_sequence_as(steps[0], list(leaves)) for leaves in zip(*turned, strict=True)]


def static_bidirectional_rnn(
    cell_fw: Any, cell_bw: Any, inputs: Sequence[Any], initial_state_fw: Any = None,
    initial_state_bw: Any = None, dtype: Any = None, sequence_length: Any = None,
    scope: Any = None,
) -> tuple[list[Any], Any, Any]:  # fmt: skip
    """Run one cell forwards and another backwards over a list of inputs.

    Args:
      cell_fw, cell_bw: the cells; the other arguments are those of `static_rnn`.
      sequence_length: backwards, each sequence begins at its own end.

    Returns:
      The outputs of both side by side, and the last state of each.
    """
    check_cell(cell_fw, "cell_fw")
    check_cell(cell_bw, "cell_bw")
    with variable_scope(scope or "bidirectional_rnn"):
        with variable_scope("fw") as forwards:
            outputs_fw, state_fw = static_rnn(
                cell_fw, inputs, initial_state_fw, dtype, sequence_length, scope=forwards
            )
        with variable_scope("bw") as backwards:
            steps = _converted(inputs)
            lengths = None if sequence_length is None else convert(sequence_length)
            outputs, state_bw = static_rnn(
                cell_bw, _backwards(steps, lengths), initial_state_bw, dtype, sequence_length,
                scope=backwards,
            )  # fmt: skip
            outputs_bw = _backwards(outputs, lengths)
        both = [
            nest.map_structure(lambda a, b: concat([a, b], 1), fw, bw)
            for fw, bw in zip(outputs_fw, outputs_bw, strict=True)
        ]
        return both, state_fw, state_bw


def static_state_saving_rnn(
    cell: Any, inputs: Sequence[Any], state_saver: Any, state_name: Any,
    sequence_length: Any = None, scope: Any = None,
) -> tuple[list[Any], Any]:  # fmt: skip
    """As `static_rnn`, from a state that an object keeps between runs.

    Args:
      state_saver: an object with ``state(name)``, which gives a state, and
        ``save_state(name, value)``, which gives an operation that keeps one.
      state_name: the name of the state, nested as ``cell.state_size``.

    Returns:
      The list of outputs and the last state; the last output comes when the state is kept.

    Raises:
      ValueError: the names are not nested as the cell's state is.
    """
    check_cell(cell, "cell")
    if nest.is_nested(cell.state_size) or nest.is_nested(state_name):
        try:
            nest.assert_same_structure(cell.state_size, state_name, check_types=False)
        except (ValueError, TypeError) as e:
            raise GraphError(
                "static_state_saving_rnn: state_name is not nested as the state of the cell: "
                f"{getattr(e, 'message', e)}",
                loc=loc.caller(),
            ) from None
    start = nest.map_structure(state_saver.state, state_name)
    outputs, state = static_rnn(
        cell, inputs, initial_state=start, sequence_length=sequence_length, scope=scope
    )
    kept = [
        state_saver.save_state(n, s)
        for n, s in zip(nest.flatten(state_name), nest.flatten(state), strict=True)
    ]
    with control_dependencies(kept):
        outputs[-1] = nest.map_structure(identity, outputs[-1])
    return outputs, state


__all__ = ["static_bidirectional_rnn", "static_rnn", "static_state_saving_rnn"]
