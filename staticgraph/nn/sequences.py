"""What running a cell over sequences of different length takes."""

from __future__ import annotations

from typing import Any

from staticgraph.api import nest
from staticgraph.api.casting import cast
from staticgraph.api.comparison import where
from staticgraph.errors import GraphError, ShapeError, UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import convert
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Tensor
from staticgraph.nn.cell import LayerRNNCell, zeros_of
from staticgraph.nn.cell_wrappers import MultiRNNCell


def checked_lengths(sequence_length: Any, batch: Any, steps: Any) -> Tensor:
    """Lengths as integers; the run fails where one of them exceeds `steps`.

    Args:
      batch, steps: sizes of the inputs, ints or scalar tensors.

    Raises:
      ValueError: there is not one length for each element of the batch.
    """
    lengths = convert(sequence_length, name="sequence_length")
    if lengths.shape.ndims not in (None, 1):
        raise ShapeError(
            f"sequence_length is a vector with one length for each element of the batch, "
            f"got shape {lengths.shape}",
            loc=loc.caller(), operands=(f"{lengths.name}: {lengths.describe()}",),
        )  # fmt: skip
    if lengths.dtype.base not in (dtypes.int32, dtypes.int64):
        lengths = cast(lengths, dtypes.int32)
    return lookup("SequenceLengths")(lengths, batch, steps, name="CheckSeqLen")  # type: ignore[no-any-return]


def starting_state(cell: Any, initial_state: Any, batch: Any, dtype: Any, function: str) -> Any:
    """The state given, or one of zeros.

    Raises:
      ValueError: neither state nor dtype is given, or a state has another batch size.
    """
    if initial_state is None:
        if dtype is None:
            raise GraphError(
                f"{function}: give initial_state, or the dtype of a state of zeros",
                loc=loc.caller(),
            )
        return cell.zero_state(batch, dtype)
    state = nest.map_structure(convert, initial_state)
    if isinstance(cell, (LayerRNNCell, MultiRNNCell)):
        try:
            nest.assert_same_structure(cell.state_size, state, check_types=False)
        except (ValueError, TypeError) as e:
            raise UsageError(
                f"{function}: the initial state is not nested as the state of {cell.name}: "
                f"{getattr(e, 'message', e)}",
                loc=loc.caller(),
                hint="cell.zero_state(batch_size, tf.float32) gives one that is",
            ) from None
    for t in nest.flatten(state):
        have = t.shape.as_list()[0] if t.shape.ndims else None
        if isinstance(batch, int) and have not in (None, batch):
            raise ShapeError(
                f"{function}: the initial state has batch size {have}, the inputs have {batch}",
                loc=loc.caller(), operands=(f"{t.name}: {t.describe()}",),
            )  # fmt: skip
    return state


def transpose_batch_time(x: Any) -> Tensor:
    """`x` with its first two axes exchanged; one of another rank than 2 or more stays as it is."""
    t = convert(x)
    if t.shape.ndims is None or t.shape.ndims < 2:
        return t
    out: Tensor = lookup("Transpose")(t, [1, 0, *range(2, t.shape.ndims)])
    return out


def best_effort_input_batch_size(flat_input: Any) -> Any:
    """The batch size of inputs ``[time, batch, ...]``: an int where one knows it, else a scalar."""
    tensors = [convert(x) for x in flat_input]
    for t in tensors:
        if t.shape.ndims is not None and t.shape.ndims < 2:
            raise ShapeError(
                f"inputs have the axes time and batch, got shape {t.shape}", loc=loc.caller(),
                operands=(f"{t.name}: {t.describe()}",),
            )  # fmt: skip
        if t.shape.ndims and (known := t.shape.as_list()[1]) is not None:
            return known
    return lookup("Shape")(tensors[0])[1]


def stepped(cell: Any, x: Any, state: Any) -> tuple[Any, Any]:
    """The output and the next state of one step of a cell, which may be of the user's making.

    Raises:
      TypeError: the cell gives something else than two values.
      ValueError: the next state is not nested as the one before.
    """
    given, name = cell(x, state), getattr(cell, "name", type(cell).__name__)
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        got = f"{len(given)} values" if isinstance(given, (tuple, list)) else f"{given!r}"
        raise UsageError(
            f"{name}: a cell gives its output and its next state, got {got}", loc=loc.caller()
        )
    output, new = given
    try:
        nest.assert_same_structure(state, new, check_types=False)
    except (ValueError, TypeError) as e:
        raise ShapeError(
            f"{name}: the next state is not nested as the one before: {getattr(e, 'message', e)}",
            loc=loc.caller(),
        ) from None
    return output, new


def zero_output(cell: Any, batch: Any, dtype: Any) -> Any:
    """Zeros nested and shaped as the cell's output, of `dtype`."""
    return zeros_of(cell.output_size, batch, dtype)


def through(running: Any, new: Any, old: Any) -> Any:
    """`new` where a sequence is `running`, `old` where it is over.

    Args:
      running: bool, one for each element of the batch.
    """

    def one(a: Tensor, b: Tensor) -> Tensor:
        if not a.shape.ndims:  # of the whole batch, a counter say
            return a
        out: Tensor = where(running, a, b)
        return out

    return nest.map_structure(one, new, old)


__all__ = [
    "best_effort_input_batch_size", "checked_lengths", "starting_state", "stepped", "through",
    "transpose_batch_time", "zero_output",
]  # fmt: skip
