"""Recurrent networks over tensors: the loop over time is a part of the graph."""

from __future__ import annotations

from typing import Any

from staticgraph.api import nest
from staticgraph.api.array import range as range_
from staticgraph.api.array import zeros_like
from staticgraph.api.comparison import less
from staticgraph.api.framework import name_scope
from staticgraph.api.loop_body import build_loop
from staticgraph.api.shapes import expand_dims, transpose
from staticgraph.api.shapes import shape as shape_of
from staticgraph.api.variable_scope import variable_scope
from staticgraph.errors import GraphError, ShapeError
from staticgraph.ir import loc
from staticgraph.ir.build import convert
from staticgraph.ir.tensor import Tensor
from staticgraph.nn.cell_wrappers import check_cell
from staticgraph.nn.sequences import checked_lengths, starting_state, stepped, through


def dynamic_rnn(
    cell: Any, inputs: Any, sequence_length: Any = None, initial_state: Any = None,
    dtype: Any = None, parallel_iterations: Any = None, swap_memory: bool = False,
    time_major: bool = False, scope: Any = None,
) -> tuple[Any, Any]:  # fmt: skip
    """Run a cell over time.

    Args:
      cell: an `RNNCell`.
      inputs: ``[batch, time, depth]``, or a nest of such.
      sequence_length: integers, one for each element of the batch: from there on outputs are 0
        and the state stays.
      initial_state: the state before the first step; zeros of `dtype` by default.
      parallel_iterations, swap_memory: accepted, and without effect.
      time_major: inputs and outputs are ``[time, batch, depth]``, which saves two transpositions.
      scope: of the variables; "rnn" by default.

    Returns:
      The outputs, ``[batch, time, output_size]``, and the last state.

    Raises:
      ValueError: shapes do not fit, or neither initial_state nor dtype is given.  A length that
        exceeds the steps fails the run.

    >>> import staticgraph as tf
    >>> x = tf.placeholder(tf.float32, [None, None, 3])
    >>> outputs, state = tf.nn.dynamic_rnn(tf.nn.rnn_cell.GRUCell(4), x, dtype=tf.float32)
    >>> outputs.shape, state.shape, tf.trainable_variables()[0].name
    (TensorShape([Dimension(None), Dimension(None), Dimension(4)]),
     TensorShape([Dimension(None), Dimension(4)]), 'rnn/gru_cell/gates/kernel:0')
    """
    del parallel_iterations, swap_memory
    return _run(
        "dynamic_rnn", cell, inputs, sequence_length, initial_state, dtype, time_major, scope
    )


def _run(
    function: str, cell: Any, inputs: Any, sequence_length: Any, initial_state: Any, dtype: Any,
    time_major: bool, scope: Any, reverse: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """A loop forwards, or backwards: each sequence then begins at its own end."""
    check_cell(cell, "cell")
    with variable_scope(scope or "rnn") as entered:
        whole = [_converted(x, function) for x in nest.flatten(inputs)]
        steps, batch = _sizes(whole, time_major, function)
        sequences = whole if time_major else [_swapped(x) for x in whole]
        state = starting_state(cell, initial_state, batch, dtype, function)
        if sequence_length is not None:
            lengths = checked_lengths(sequence_length, batch, steps)
            time = range_(steps, dtype=lengths.dtype.base)
            sequences = [less(expand_dims(time, 1), expand_dims(lengths, 0)), *sequences]
        shapes: list[Any] = []

        def step(carries: list[Tensor], slices: list[Tensor]) -> tuple[list[Any], list[Any]]:
            old = nest.pack_sequence_as(state, carries)
            running = None
            if sequence_length is not None:
                running, *slices = slices
            output, new = stepped(cell, nest.pack_sequence_as(inputs, slices), old)
            output = nest.map_structure(convert, output)
            if running is not None:
                output = through(running, output, nest.map_structure(zeros_like, output))
                new = through(running, new, old)
            shapes.append(output)
            return nest.flatten(new), nest.flatten(output)

        start = nest.flatten(state)
        with name_scope(None, "while") as loop:
            looped = build_loop(
                loop, start, sequences, step, length=steps, reverse=reverse,
                names=_names(cell, len(start)),
            )  # fmt: skip
        del entered
        outputs = looped.outputs[: len(nest.flatten(shapes[0]))]
        if not time_major:
            outputs = [_swapped(y) for y in outputs]
        return (
            nest.pack_sequence_as(shapes[0], outputs),
            nest.pack_sequence_as(state, looped.finals),
        )


def _names(cell: Any, count: int) -> list[str]:
    name = getattr(cell, "name", type(cell).__name__)
    return [f"the state of {name}" + (f"[{k}]" if count > 1 else "") for k in range(count)]


def _converted(x: Any, function: str) -> Tensor:
    t = convert(x, name="inputs")
    if t.shape.ndims is None or t.shape.ndims < 2:
        raise ShapeError(
            f"{function}: inputs have the axes batch and time, and mostly depth, got shape "
            f"{t.shape}",
            loc=loc.caller(), operands=(f"{t.name}: {t.describe()}",),
        )  # fmt: skip
    return t


def _sizes(whole: list[Tensor], time_major: bool, function: str) -> tuple[Any, Any]:
    """Steps and batch: ints where any of the inputs knows them, else scalar tensors."""
    if not whole:
        raise GraphError(f"{function}: there are no inputs", loc=loc.caller())
    found = []
    for axis, what in ((0, "steps"), (1, "batch size")) if time_major else (
        (1, "steps"), (0, "batch size"),
    ):  # fmt: skip
        known = [t for t in whole if t.shape.as_list()[axis] is not None]
        for t in known:
            a, b = known[0].shape.as_list()[axis], t.shape.as_list()[axis]
            if a != b:
                raise ShapeError(
                    f"{function}: two inputs differ in {what}, {a} and {b}", loc=loc.caller(),
                    operands=tuple(f"{x.name}: {x.describe()}" for x in (known[0], t)),
                )  # fmt: skip
        found.append(known[0].shape.as_list()[axis] if known else shape_of(whole[0])[axis])
    return found[0], found[1]


def _swapped(x: Tensor) -> Tensor:
    """`x` with its first two axes exchanged."""
    return transpose(x, [1, 0, *range(2, len(x.shape))])


def bidirectional_dynamic_rnn(
    cell_fw: Any, cell_bw: Any, inputs: Any, sequence_length: Any = None,
    initial_state_fw: Any = None, initial_state_bw: Any = None, dtype: Any = None,
    parallel_iterations: Any = None, swap_memory: bool = False, time_major: bool = False,
    scope: Any = None,
) -> tuple[tuple[Any, Any], tuple[Any, Any]]:  # fmt: skip
    """Run one cell forwards and another backwards over time.

    Args:
      cell_fw, cell_bw: the cells; the other arguments are those of `dynamic_rnn`.
      sequence_length: backwards, each sequence begins at its own end.

    Returns:
      The outputs of both, and the last states of both.  Outputs stand where their inputs stand.
    """
    del parallel_iterations, swap_memory
    check_cell(cell_fw, "cell_fw")
    check_cell(cell_bw, "cell_bw")
    function = "bidirectional_dynamic_rnn"
    with variable_scope(scope or "bidirectional_rnn"):
        with variable_scope("fw") as forwards:
            output_fw, state_fw = _run(
                function, cell_fw, inputs, sequence_length, initial_state_fw, dtype, time_major,
                forwards,
            )  # fmt: skip
        with variable_scope("bw") as backwards:
            output_bw, state_bw = _run(
                function, cell_bw, inputs, sequence_length, initial_state_bw, dtype, time_major,
                backwards, reverse=True,
            )  # fmt: skip
        return (output_fw, output_bw), (state_fw, state_bw)


__all__ = ["bidirectional_dynamic_rnn", "dynamic_rnn"]
