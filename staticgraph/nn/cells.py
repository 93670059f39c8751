"""The recurrent cells: simple, gated, and with long short-term memory."""

from __future__ import annotations

from typing import Any, NamedTuple

from staticgraph.api import nest
from staticgraph.api.clip import clip_by_value
from staticgraph.api.initializers import Ones, Zeros
from staticgraph.api.linalg import matmul
from staticgraph.api.math_functions import sigmoid
from staticgraph.api.normalization import bias_add
from staticgraph.api.slicing import concat, split
from staticgraph.errors import UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.tensor import Tensor
from staticgraph.nn.cell import LayerRNNCell, activation_of, positive


class LSTMStateTuple(NamedTuple):
    """The state of an LSTM cell: its memory `c` and its output `h`."""

    c: Any
    h: Any

    @property
    def dtype(self) -> dtypes.DType:
        """Element type of both.

        Raises:
          TypeError: they differ.
        """
        if self.c.dtype != self.h.dtype:
            raise UsageError(
                f"the parts of the state differ in dtype: {self.c.dtype.name} and "
                f"{self.h.dtype.name}",
                loc=loc.caller(),
            )
        return self.c.dtype  # type: ignore[no-any-return]


def linear(x: Any, h: Any, kernel: Any, bias: Any) -> Tensor:
    """``[x, h] @ kernel + bias``."""
    return bias_add(matmul(concat([x, h], 1), kernel), bias)


class BasicRNNCell(LayerRNNCell):
    """``h' = activation([x, h] @ kernel + bias)``, which is also the output.

    Args:
      num_units: width of the state.
      activation: a function or its name; tanh by default.
      reuse: share the variables of a scope that has them already.
      name: of the variable scope.
      dtype: of the variables; that of the first input by default.

    >>> import staticgraph as tf
    >>> cell = tf.nn.rnn_cell.BasicRNNCell(5)
    >>> h, state = cell(tf.zeros([2, 3]), cell.zero_state(2, tf.float32))
    >>> h is state, cell.weights
    (True, [<tf.Variable 'basic_rnn_cell/kernel:0' shape=(8, 5) dtype=float32_ref>,
            <tf.Variable 'basic_rnn_cell/bias:0' shape=(5,) dtype=float32_ref>])
    """

    def __init__(
        self, num_units: Any, activation: Any = None, reuse: Any = None, name: str | None = None,
        dtype: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(num_units, reuse=reuse, name=name, dtype=dtype, **kwargs)
        self._activation = activation_of(activation)

    @property
    def state_size(self) -> Any:
        """Width of the state."""
        return self._num_units

    def build(self, input_shape: Any) -> None:
        """Make the kernel and the bias."""
        n, depth = self._num_units, self.depth_of(input_shape)
        self._kernel = self.add_weight("kernel", [depth + n, n])
        self._bias = self.add_weight("bias", [n], initializer=Zeros())
        self.built = True

    def call(self, inputs: Any, state: Any) -> Any:
        """The new state, twice."""
        state = self.state_tensor(state, self._num_units)
        output = self._activation(linear(inputs, state, self._kernel, self._bias))
        return output, output


class GRUCell(LayerRNNCell):
    """A gated recurrent unit (Cho et al., 2014), in which the reset comes before the product.

    ``r, u = sigmoid([x, h] @ gates)``, ``c = activation([x, r * h] @ candidate)``,
    ``h' = u * h + (1 - u) * c``, which is also the output.

    Args:
      num_units: width of the state.
      activation: a function or its name; tanh by default.
      reuse: share the variables of a scope that has them already.
      kernel_initializer: of both kernels.
      bias_initializer: of both biases; by default ones for the gates and zeros for the candidate.
      name: of the variable scope.
      dtype: of the variables; that of the first input by default.
    """

    def __init__(
        self, num_units: Any, activation: Any = None, reuse: Any = None,
        kernel_initializer: Any = None, bias_initializer: Any = None, name: str | None = None,
        dtype: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(num_units, reuse=reuse, name=name, dtype=dtype, **kwargs)
        self._activation = activation_of(activation)
        self._kernel_initializer, self._bias_initializer = kernel_initializer, bias_initializer

    @property
    def state_size(self) -> Any:
        """Width of the state."""
        return self._num_units

    def build(self, input_shape: Any) -> None:
        """Make kernels and biases of the gates and of the candidate."""
        n, depth = self._num_units, self.depth_of(input_shape)
        kernel, bias = self._kernel_initializer, self._bias_initializer
        self._gate_kernel = self.add_weight("gates/kernel", [depth + n, 2 * n], initializer=kernel)
        self._gate_bias = self.add_weight("gates/bias", [2 * n], initializer=bias or Ones())
        self._candidate_kernel = self.add_weight(
            "candidate/kernel", [depth + n, n], initializer=kernel
        )
        self._candidate_bias = self.add_weight("candidate/bias", [n], initializer=bias or Zeros())
        self.built = True

    def call(self, inputs: Any, state: Any) -> Any:
        """The new state, twice."""
        state = self.state_tensor(state, self._num_units)
        gates = sigmoid(linear(inputs, state, self._gate_kernel, self._gate_bias))
        r, u = split(gates, 2, axis=1)
        candidate = self._activation(
            linear(inputs, r * state, self._candidate_kernel, self._candidate_bias)
        )
        new = u * state + (1 - u) * candidate
        return new, new


class MemoryCell(LayerRNNCell):
    """What LSTM cells share: a state of two parts, as a tuple or side by side in one matrix."""

    def __init__(self, num_units: Any, state_is_tuple: bool, **kwargs: Any) -> None:
        super().__init__(num_units, **kwargs)
        self._state_is_tuple = bool(state_is_tuple)

    @property
    def state_size(self) -> Any:
        """Widths of memory and output, or their sum where the state is one matrix."""
        pair = LSTMStateTuple(self._num_units, self.output_size)
        return pair if self._state_is_tuple else sum(pair)

    def _parts(self, state: Any) -> tuple[Tensor, Tensor]:
        c_width, h_width = self._num_units, self.output_size
        if not self._state_is_tuple:
            whole = self.state_tensor(state, c_width + h_width)
            c, h = split(whole, [c_width, h_width], axis=1)
            return c, h
        if not nest.is_nested(state) or len(state) != 2:
            got = f"a tuple of {len(state)}" if nest.is_nested(state) else f"{state!r}"
            raise UsageError(
                f"{self.name}: the state is a pair (c, h), got {got}", loc=loc.caller(),
                hint="cell.zero_state gives one; state_is_tuple=False takes both side by side "
                "in one matrix",
            )  # fmt: skip
        c, h = state
        return self.state_tensor(c, c_width, "c"), self.state_tensor(h, h_width, "h")

    def _joined(self, c: Any, h: Any) -> Any:
        return LSTMStateTuple(c, h) if self._state_is_tuple else concat([c, h], 1)


class BasicLSTMCell(MemoryCell):
    """An LSTM cell without projection, peepholes and clipping (Zaremba et al., 2014).

    With ``i, j, f, o = split([x, h] @ kernel + bias)``:
    ``c' = c * sigmoid(f + forget_bias) + sigmoid(i) * activation(j)`` and the output
    ``h' = activation(c') * sigmoid(o)``.

    Args:
      num_units: width of memory and output.
      forget_bias: added to the forget gate; 0 for weights that were trained with a bias of 1.
      state_is_tuple: states are `LSTMStateTuple`; False for ``[c, h]`` in one matrix.
      activation: a function or its name; tanh by default.
      reuse: share the variables of a scope that has them already.
      name: of the variable scope.
      dtype: of the variables; that of the first input by default.

    >>> import staticgraph as tf
    >>> cell = tf.nn.rnn_cell.BasicLSTMCell(4)
    >>> h, state = cell(tf.zeros([2, 3]), cell.zero_state(2, tf.float32))
    >>> cell.state_size, cell.weights[0]
    (LSTMStateTuple(c=4, h=4),
     <tf.Variable 'basic_lstm_cell/kernel:0' shape=(7, 16) dtype=float32_ref>)
    """

    def __init__(
        self, num_units: Any, forget_bias: float = 1.0, state_is_tuple: bool = True,
        activation: Any = None, reuse: Any = None, name: str | None = None, dtype: Any = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(num_units, state_is_tuple, reuse=reuse, name=name, dtype=dtype, **kwargs)
        self._forget_bias, self._activation = forget_bias, activation_of(activation)

    def build(self, input_shape: Any) -> None:
        """Make the kernel and the bias."""
        n, depth = self._num_units, self.depth_of(input_shape)
        self._kernel = self.add_weight("kernel", [depth + n, 4 * n])
        self._bias = self.add_weight("bias", [4 * n], initializer=Zeros())
        self.built = True

    def call(self, inputs: Any, state: Any) -> Any:
        """The output and the new state."""
        c, h = self._parts(state)
        i, j, f, o = split(linear(inputs, h, self._kernel, self._bias), 4, axis=1)
        kept = c * sigmoid(f + self._forget_bias)
        new_c = kept + sigmoid(i) * self._activation(j)
        new_h = self._activation(new_c) * sigmoid(o)
        return new_h, self._joined(new_c, new_h)


class LSTMCell(MemoryCell):
    """An LSTM cell with optional peepholes, clipping and a projection of its output.

    The gates see the memory through diagonal matrices with `use_peepholes` (Sak et al., 2014);
    see `BasicLSTMCell` for the formulas without all that.

    Args:
      num_units: width of the memory.
      use_peepholes: gates see the memory, too.
      cell_clip: bound on the size of the memory's elements.
      initializer: of kernels and peepholes.
      num_proj: width that the output is projected to, and that the state keeps.
      proj_clip: bound on the size of the projected elements.
      num_unit_shards, num_proj_shards: accepted; variables are never split.
      forget_bias: added to the forget gate.
      state_is_tuple: states are `LSTMStateTuple`; False for ``[c, h]`` in one matrix.
      activation: a function or its name; tanh by default.
      reuse: share the variables of a scope that has them already.
      name: of the variable scope.
      dtype: of the variables; that of the first input by default.
    """

    def __init__(
        self, num_units: Any, use_peepholes: bool = False, cell_clip: float | None = None,
        initializer: Any = None, num_proj: int | None = None, proj_clip: float | None = None,
        num_unit_shards: Any = None, num_proj_shards: Any = None, forget_bias: float = 1.0,
        state_is_tuple: bool = True, activation: Any = None, reuse: Any = None,
        name: str | None = None, dtype: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(num_units, state_is_tuple, reuse=reuse, name=name, dtype=dtype, **kwargs)
        del num_unit_shards, num_proj_shards
        self._use_peepholes, self._cell_clip = use_peepholes, cell_clip
        self._initializer, self._proj_clip = initializer, proj_clip
        self._num_proj = None if num_proj is None else positive(num_proj, "LSTMCell: num_proj")
        self._forget_bias, self._activation = forget_bias, activation_of(activation)

    @property
    def output_size(self) -> Any:
        """Width of the output: of the projection, where there is one."""
        return self._num_proj or self._num_units

    def build(self, input_shape: Any) -> None:
        """Make the kernel, the bias, and what peepholes and projection need."""
        n, depth, start = self._num_units, self.depth_of(input_shape), self._initializer
        self._kernel = self.add_weight(
            "kernel", [depth + self.output_size, 4 * n], initializer=start
        )
        self._bias = self.add_weight("bias", [4 * n], initializer=Zeros())
        if self._use_peepholes:
            self._w_f, self._w_i, self._w_o = (
                self.add_weight(f"w_{gate}_diag", [n], initializer=start) for gate in "fio"
            )
        if self._num_proj:
            self._projection = self.add_weight(
                "projection/kernel", [n, self._num_proj], initializer=start
            )
        self.built = True

    def call(self, inputs: Any, state: Any) -> Any:
        """The output and the new state."""
        c, h = self._parts(state)
        i, j, f, o = split(linear(inputs, h, self._kernel, self._bias), 4, axis=1)
        f = f + self._forget_bias
        if self._use_peepholes:
            f, i = f + self._w_f * c, i + self._w_i * c
        new_c = sigmoid(f) * c + sigmoid(i) * self._activation(j)
        if self._cell_clip is not None:
            new_c = clip_by_value(new_c, -self._cell_clip, self._cell_clip)
        if self._use_peepholes:
            o = o + self._w_o * new_c
        new_h = sigmoid(o) * self._activation(new_c)
        if self._num_proj:
            new_h = matmul(new_h, self._projection)
            if self._proj_clip is not None:
                new_h = clip_by_value(new_h, -self._proj_clip, self._proj_clip)
        return new_h, self._joined(new_c, new_h)


__all__ = [
    "BasicLSTMCell", "BasicRNNCell", "GRUCell", "LSTMCell", "LSTMStateTuple", "MemoryCell",
    "linear",
]  # fmt: skip
