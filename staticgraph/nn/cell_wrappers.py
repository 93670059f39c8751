"""Cells made of cells: stacked, with dropout, with a residual connection, on a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from staticgraph.api import nest
from staticgraph.api.framework import device, name_scope
from staticgraph.api.math import floor
from staticgraph.api.random import dropout, random_uniform
from staticgraph.api.slicing import concat
from staticgraph.api.variable_scope import variable_scope
from staticgraph.errors import GraphError, ShapeError, UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import convert, is_tensor_like
from staticgraph.ir.tensor import Tensor
from staticgraph.nn.cell import RNNCell, shape_list
from staticgraph.nn.cells import LSTMStateTuple


def check_cell(cell: Any, what: str) -> Any:
    """`cell`, if it can be used as one.

    Raises:
      TypeError: it has no state_size or cannot be called.
    """
    sizes = isinstance(cell, RNNCell) or all(
        hasattr(cell, a) for a in ("state_size", "output_size", "zero_state")
    )
    if isinstance(cell, type) or not sizes or not callable(cell):
        hint = f"use {cell.__name__}(...)" if isinstance(cell, type) else None
        raise UsageError(f"{what} is an RNNCell, got {cell!r}", loc=loc.caller(), hint=hint)
    return cell


class MultiRNNCell(RNNCell):
    """Cells on top of each other: the output of each is the input of the next.

    Args:
      cells: the cells, the lowest first.
      state_is_tuple: the state is a tuple of the cells' states; False for one matrix with all
        states side by side.

    >>> import staticgraph as tf
    >>> cell = tf.nn.rnn_cell.MultiRNNCell([tf.nn.rnn_cell.BasicLSTMCell(n) for n in (4, 3)])
    >>> h, state = cell(tf.zeros([2, 5]), cell.zero_state(2, tf.float32))
    >>> cell.output_size, cell.weights[2].name
    (3, 'multi_rnn_cell/cell_1/basic_lstm_cell/kernel:0')
    """

    def __init__(self, cells: Sequence[Any], state_is_tuple: bool = True) -> None:
        super().__init__()
        if not nest.is_nested(cells):
            raise UsageError(f"cells is a list or tuple of cells, got {cells!r}", loc=loc.caller())
        if not cells:
            raise GraphError("MultiRNNCell needs at least one cell", loc=loc.caller())
        self._cells = [check_cell(c, f"cells[{i}]") for i, c in enumerate(cells)]
        self._state_is_tuple = bool(state_is_tuple)
        if len({id(c) for c in self._cells}) < len(self._cells):
            from staticgraph import logging  # takes a while to import, for a message

            logging.warning("two layers of MultiRNNCell are one cell and will share its variables")
        nested = [c.state_size for c in self._cells if nest.is_nested(c.state_size)]
        if nested and not state_is_tuple:
            raise GraphError(
                f"a cell whose state is {nested[0]!r} cannot stand in one matrix with others",
                loc=loc.caller(), hint="leave out state_is_tuple=False",
            )  # fmt: skip

    @property
    def cells(self) -> list[Any]:
        """The cells, the lowest first."""
        return list(self._cells)

    @property
    def state_size(self) -> Any:
        """The cells' state sizes, or their sum where the state is one matrix."""
        sizes = tuple(c.state_size for c in self._cells)
        return sizes if self._state_is_tuple else sum(sizes)

    @property
    def output_size(self) -> Any:
        """Width of the last cell's output."""
        return self._cells[-1].output_size

    @property
    def trainable_weights(self) -> list[Any]:
        """The cells' trainable variables."""
        return _distinct(v for c in self._cells for v in c.trainable_weights)

    @property
    def non_trainable_weights(self) -> list[Any]:
        """The cells' other variables."""
        return _distinct(v for c in self._cells for v in c.non_trainable_weights)

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """A state of zeros; see `RNNCell.zero_state`."""
        if not self._state_is_tuple:
            return super().zero_state(batch_size, dtype)
        values = [batch_size] if is_tensor_like(batch_size) else None
        with name_scope(None, type(self).__name__ + "ZeroState", values):
            return tuple(c.zero_state(batch_size, dtype) for c in self._cells)

    def call(self, inputs: Any, state: Any) -> Any:
        """One step of every cell."""
        parts, new = self._parts(state), []
        for i, (cell, part) in enumerate(zip(self._cells, parts, strict=True)):
            with variable_scope(f"cell_{i}"):
                inputs, after = cell(inputs, part)
            new.append(after)
        return inputs, tuple(new) if self._state_is_tuple else concat(new, 1)

    def _parts(self, state: Any) -> list[Any]:
        if self._state_is_tuple:
            if not nest.is_nested(state) or len(state) != len(self._cells):
                got = f"a tuple of {len(state)}" if nest.is_nested(state) else f"{state!r}"
                raise UsageError(
                    f"{self.name}: the state is a tuple of {len(self._cells)}, one for each cell, "
                    f"got {got}",
                    loc=loc.caller(),
                )
            return list(state)
        whole, parts, start = convert(state, name="state"), [], 0
        for cell in self._cells:
            (width,) = shape_list(cell.state_size)
            parts.append(whole[:, start : start + width])
            start += width
        return parts


def _distinct(variables: Any) -> list[Any]:
    return list({id(v): v for v in variables}.values())


class RNNCellWrapper(RNNCell):
    """The base of cells around one cell: variables, sizes and names are the inner cell's."""

    def __init__(self, cell: Any) -> None:
        super().__init__()
        self._cell = check_cell(cell, "cell")

    @property
    def wrapped_cell(self) -> Any:
        """The inner cell."""
        return self._cell

    @property
    def state_size(self) -> Any:
        """The inner cell's."""
        return self._cell.state_size

    @property
    def output_size(self) -> Any:
        """The inner cell's."""
        return self._cell.output_size

    @property
    def trainable_weights(self) -> list[Any]:
        """The inner cell's."""
        return list(self._cell.trainable_weights)

    @property
    def non_trainable_weights(self) -> list[Any]:
        """The inner cell's."""
        return list(self._cell.non_trainable_weights)

    @property
    def name(self) -> str:
        """The inner cell's."""
        return str(getattr(self._cell, "name", type(self._cell).__name__))

    @property
    def scope_name(self) -> str:
        """The inner cell's."""
        return str(self._cell.scope_name)

    def build(self, input_shape: Any) -> None:
        """Build the inner cell."""
        self._cell.build(input_shape)
        self.built = True

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """A state of zeros; see `RNNCell.zero_state`."""
        values = [batch_size] if is_tensor_like(batch_size) else None
        with name_scope(None, type(self).__name__ + "ZeroState", values):
            return self._cell.zero_state(batch_size, dtype)

    def __call__(self, inputs: Any, state: Any, scope: Any = None) -> Any:
        """One step; see `RNNCell`."""
        self.built = True
        return self._around(inputs, state, scope)

    apply = __call__

    def _around(self, inputs: Any, state: Any, scope: Any) -> Any:
        return self._cell(inputs, state, scope=scope)


class DropoutWrapper(RNNCellWrapper):
    """Dropout on what goes into a cell, on its state and on what comes out.

    Args:
      cell: a cell.
      input_keep_prob, output_keep_prob, state_keep_prob: how likely an element is kept: a number
        in (0, 1] or a scalar tensor.  The state is dropped on its way to the next step; the
        memory of an LSTM cell is not.
      variational_recurrent: draw one mask for the whole run instead of one for each step, the
        same for every element of the batch; needs `dtype`.
      input_size: shape of the inputs without the batch axis, where their mask is drawn so.
      dtype: of the cell, for masks drawn so.
      seed: makes the masks the same in every process.
      dropout_state_filter_visitor: a function from the state, or from a part of it, to True,
        False, or a structure of them: which parts may be dropped.

    Raises:
      ValueError: a probability is outside (0, 1], or `input_size` or `dtype` is missing.
    """

    def __init__(
        self, cell: Any, input_keep_prob: Any = 1.0, output_keep_prob: Any = 1.0,
        state_keep_prob: Any = 1.0, variational_recurrent: bool = False, input_size: Any = None,
        dtype: Any = None, seed: Any = None,
        dropout_state_filter_visitor: Callable[[Any], Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(cell)
        if dropout_state_filter_visitor is not None and not callable(dropout_state_filter_visitor):
            raise UsageError("dropout_state_filter_visitor must be callable", loc=loc.caller())
        self._filter = dropout_state_filter_visitor or _all_but_memory
        self._seed, self._variational = seed, bool(variational_recurrent)
        self._keep = {
            "input": _probability("input_keep_prob", input_keep_prob),
            "state": _probability("state_keep_prob", state_keep_prob),
            "output": _probability("output_keep_prob", output_keep_prob),
        }
        self._noise: dict[str, Any] = {}
        if self._variational:
            self._draw_masks(input_size, dtype)

    def _draw_masks(self, input_size: Any, dtype: Any) -> None:
        if dtype is None:
            raise GraphError(
                "DropoutWrapper: variational_recurrent=True needs dtype", loc=loc.caller()
            )
        kind = dtypes.as_dtype(dtype).base
        if self._drops("input") and input_size is None:
            raise GraphError(
                "DropoutWrapper: variational_recurrent=True needs input_size where inputs are "
                f"dropped, input_keep_prob is {self._keep['input']!r}",
                loc=loc.caller(),
            )
        sizes = {"input": input_size, "state": self.state_size, "output": self.output_size}
        for what, size in sizes.items():
            if self._drops(what):
                self._noise[what] = _enumerated(
                    lambda i, s, what=what: random_uniform(
                        [1, *shape_list(s)], seed=self._salted(what, i), dtype=kind
                    ),
                    size,
                )

    def _drops(self, what: str) -> bool:
        keep = self._keep[what]
        return is_tensor_like(keep) or keep < 1

    def _salted(self, salt: str, index: int) -> int | None:
        """A seed for each mask, so that no two of them are the same."""
        if self._seed is None:
            return None
        import hashlib

        text = f"{self._seed}{salt}_{index}".encode()
        return int(hashlib.md5(text, usedforsecurity=False).hexdigest()[:8], 16) & 0x7FFFFFFF

    def _dropped(self, what: str, values: Any, chosen: Any) -> Any:
        keep = self._keep[what]

        def one(i: int, take: Any, value: Any, *noise: Any) -> Any:
            if take is False:
                return value
            if not noise:
                return dropout(value, rate=1.0 - keep, seed=self._salted(what, i))
            return _masked(value, noise[0], keep)

        trees = (values, self._noise[what]) if self._variational else (values,)
        return _enumerated(one, chosen, chosen, *trees)

    def _around(self, inputs: Any, state: Any, scope: Any) -> Any:
        if self._drops("input"):
            inputs = self._dropped("input", inputs, nest.map_structure(lambda _: True, inputs))
        output, new = self._cell(inputs, state, scope=scope)
        if self._drops("state"):
            new = self._dropped("state", new, _chosen(self._filter, new))
        if self._drops("output"):
            output = self._dropped("output", output, nest.map_structure(lambda _: True, output))
        return output, new


def _probability(name: str, value: Any) -> Any:
    if is_tensor_like(value):
        return convert(value)
    if not 0.0 < float(value) <= 1.0:
        raise GraphError(f"{name} is in (0, 1], got {value!r}", loc=loc.caller())
    return float(value)


def _all_but_memory(part: Any) -> Any:
    return LSTMStateTuple(c=False, h=True) if isinstance(part, LSTMStateTuple) else True


def _chosen(visitor: Callable[[Any], Any], state: Any) -> Any:
    """Which leaves of a state are dropped, nested as the state down to where one answer does."""
    answer = visitor(state)
    if nest.is_nested(answer):
        return nest.map_structure_up_to(answer, lambda a, part: _spread(a, part), answer, state)
    if not nest.is_nested(state) or answer is False:
        return _spread(bool(answer), state)
    if isinstance(state, dict):
        return {k: _chosen(visitor, v) for k, v in state.items()}
    parts = [_chosen(visitor, part) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def _spread(answer: bool, part: Any) -> Any:
    return nest.map_structure(lambda _: answer, part)


def _enumerated(fn: Callable[..., Any], shape: Any, *trees: Any) -> Any:
    """`fn` of a running number and of corresponding parts, at the leaves of `shape`."""
    trees = trees or (shape,)
    flat = [nest.flatten_up_to(shape, t) for t in trees]
    results = [fn(i, *parts) for i, parts in enumerate(zip(*flat, strict=True))]
    return nest.pack_sequence_as(shape, results)


def _masked(value: Tensor, noise: Tensor, keep: Any) -> Tensor:
    """`value` where ``noise >= 1 - keep``, scaled; 0 elsewhere."""
    keep = convert(keep, value.dtype.base, "keep_prob")
    out = value / keep * floor(keep + noise)
    out.set_shape(value.shape)
    return out  # type: ignore[no-any-return]


class ResidualWrapper(RNNCellWrapper):
    """A cell whose inputs are added to its outputs.

    Args:
      cell: a cell.
      residual_fn: a function of inputs and outputs that gives the output, instead of a sum.

    Raises:
      ValueError: inputs and outputs differ in shape (without `residual_fn`).
    """

    def __init__(self, cell: Any, residual_fn: Callable[[Any, Any], Any] | None = None) -> None:
        super().__init__(cell)
        self._residual_fn = residual_fn

    def _around(self, inputs: Any, state: Any, scope: Any) -> Any:
        inputs = nest.map_structure(convert, inputs)
        outputs, new = self._cell(inputs, state, scope=scope)
        if self._residual_fn is not None:
            result = self._residual_fn(inputs, outputs)
            nest.assert_same_structure(outputs, result)
            return result, new
        nest.assert_same_structure(inputs, outputs)
        return nest.map_structure(_added, inputs, outputs), new


def _added(x: Tensor, y: Tensor) -> Tensor:
    if not x.shape.is_compatible_with(y.shape):
        raise ShapeError(
            f"ResidualWrapper: inputs of shape {x.shape} cannot be added to outputs of {y.shape}",
            loc=loc.caller(), operands=(f"{x.name}: {x.describe()}", f"{y.name}: {y.describe()}"),
            hint="a cell of as many units as the inputs are deep, or a residual_fn",
        )  # fmt: skip
    return x + y  # type: ignore[no-any-return]


class DeviceWrapper(RNNCellWrapper):
    """A cell whose operations ask for a device.

    Args:
      cell: a cell.
      device: name of a device, or a function that chooses one.
    """

    def __init__(self, cell: Any, device: Any) -> None:
        super().__init__(cell)
        self._device = device

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """A state of zeros; see `RNNCell.zero_state`."""
        with device(self._device):
            return super().zero_state(batch_size, dtype)

    def _around(self, inputs: Any, state: Any, scope: Any) -> Any:
        with device(self._device):
            return self._cell(inputs, state, scope=scope)


__all__ = [
    "DeviceWrapper", "DropoutWrapper", "MultiRNNCell", "RNNCellWrapper", "ResidualWrapper",
    "check_cell",
]  # fmt: skip
