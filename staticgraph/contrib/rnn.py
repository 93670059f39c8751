"""`tf.contrib.rnn`: recurrent cells and networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgraph.api import nest
from staticgraph.api.slicing import concat
from staticgraph.api.variable_scope import variable_scope
from staticgraph.contrib.rnn_cells import (
    EmbeddingWrapper,
    GRUBlockCell,
    GRUBlockCellV2,
    InputProjectionWrapper,
    LayerNormBasicLSTMCell,
    LSTMBlockCell,
    NASCell,
    OutputProjectionWrapper,
)
from staticgraph.errors import GraphError
from staticgraph.ir import loc
from staticgraph.nn.cell import LayerRNNCell, RNNCell
from staticgraph.nn.cell_wrappers import (
    DeviceWrapper,
    DropoutWrapper,
    MultiRNNCell,
    ResidualWrapper,
)
from staticgraph.nn.cells import BasicLSTMCell, BasicRNNCell, GRUCell, LSTMCell, LSTMStateTuple
from staticgraph.nn.recurrence import bidirectional_dynamic_rnn
from staticgraph.nn.sequences import best_effort_input_batch_size, transpose_batch_time
from staticgraph.nn.unrolled import (
    static_bidirectional_rnn,
    static_rnn,
    static_state_saving_rnn,
)


def _checked(
    cells_fw: Sequence[Any], cells_bw: Sequence[Any], states_fw: Any, states_bw: Any
) -> None:
    for what, cells in (("cells_fw", cells_fw), ("cells_bw", cells_bw)):
        if not isinstance(cells, (list, tuple)) or not cells:
            raise GraphError(f"{what} is a list of cells, got {cells!r}", loc=loc.caller())
    if len(cells_fw) != len(cells_bw):
        raise GraphError(
            f"there are {len(cells_fw)} cells forwards and {len(cells_bw)} backwards",
            loc=loc.caller(),
        )
    for what, states in (("initial_states_fw", states_fw), ("initial_states_bw", states_bw)):
        if states is not None and (
            not isinstance(states, (list, tuple)) or len(states) != len(cells_fw)
        ):
            raise GraphError(
                f"{what} is a list of {len(cells_fw)} states, one for each layer, got {states!r}",
                loc=loc.caller(),
            )


def stack_bidirectional_rnn(
    cells_fw: Sequence[Any], cells_bw: Sequence[Any], inputs: Any, initial_states_fw: Any = None,
    initial_states_bw: Any = None, dtype: Any = None, sequence_length: Any = None,
    scope: Any = None,
) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:  # fmt: skip
    """Layers of `static_bidirectional_rnn`: each takes both outputs of the one below.

    Returns:
      The outputs of the last layer, and the last states of all layers in both directions.
    """
    _checked(cells_fw, cells_bw, initial_states_fw, initial_states_bw)
    ends_fw, ends_bw = [], []
    with variable_scope(scope or "stack_bidirectional_rnn"):
        for i, (fw, bw) in enumerate(zip(cells_fw, cells_bw, strict=True)):
            with variable_scope(f"cell_{i}") as entered:
                inputs, end_fw, end_bw = static_bidirectional_rnn(
                    fw, bw, inputs,
                    None if initial_states_fw is None else initial_states_fw[i],
                    None if initial_states_bw is None else initial_states_bw[i],
                    dtype, sequence_length, entered,
                )  # fmt: skip
            ends_fw.append(end_fw)
            ends_bw.append(end_bw)
    return inputs, tuple(ends_fw), tuple(ends_bw)


def stack_bidirectional_dynamic_rnn(
    cells_fw: Sequence[Any], cells_bw: Sequence[Any], inputs: Any, initial_states_fw: Any = None,
    initial_states_bw: Any = None, dtype: Any = None, sequence_length: Any = None,
    parallel_iterations: Any = None, time_major: bool = False, scope: Any = None,
    swap_memory: bool = False,
) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:  # fmt: skip
    """Layers of `bidirectional_dynamic_rnn`: each takes both outputs of the one below.

    Returns:
      The outputs of the last layer side by side, and the last states of all layers in both
      directions.

    >>> import staticgraph as tf
    >>> cells = [[tf.contrib.rnn.GRUCell(4), tf.contrib.rnn.GRUCell(5)] for _ in range(2)]
    >>> outputs, _, _ = tf.contrib.rnn.stack_bidirectional_dynamic_rnn(
    ...     *cells, tf.ones([2, 6, 3]), dtype=tf.float32)
    >>> outputs.shape
    TensorShape([Dimension(2), Dimension(6), Dimension(10)])
    """
    _checked(cells_fw, cells_bw, initial_states_fw, initial_states_bw)
    ends_fw, ends_bw = [], []
    with variable_scope(scope or "stack_bidirectional_rnn"):
        for i, (fw, bw) in enumerate(zip(cells_fw, cells_bw, strict=True)):
            with variable_scope(f"cell_{i}"):
                outputs, (end_fw, end_bw) = bidirectional_dynamic_rnn(
                    fw, bw, inputs, sequence_length,
                    None if initial_states_fw is None else initial_states_fw[i],
                    None if initial_states_bw is None else initial_states_bw[i],
                    dtype, parallel_iterations, swap_memory, time_major,
                )  # fmt: skip
                inputs = nest.map_structure(lambda a, b: concat([a, b], 2), *outputs)
            ends_fw.append(end_fw)
            ends_bw.append(end_bw)
    return inputs, tuple(ends_fw), tuple(ends_bw)


__all__ = [
    "BasicLSTMCell", "BasicRNNCell", "DeviceWrapper", "DropoutWrapper", "EmbeddingWrapper",
    "GRUBlockCell", "GRUBlockCellV2", "GRUCell", "InputProjectionWrapper", "LSTMBlockCell",
    "LSTMCell", "LSTMStateTuple", "LayerNormBasicLSTMCell", "LayerRNNCell", "MultiRNNCell",
    "NASCell", "OutputProjectionWrapper", "RNNCell", "ResidualWrapper",
    "best_effort_input_batch_size", "stack_bidirectional_rnn",
    "stack_bidirectional_dynamic_rnn", "static_bidirectional_rnn", "static_rnn",
    "static_state_saving_rnn", "transpose_batch_time",
]  # fmt: skip
