"""Cells that `tf.contrib.rnn` has besides those of `tf.nn.rnn_cell`."""

from __future__ import annotations

from typing import Any

from staticgraph.api import nest
from staticgraph.api.activations import relu
from staticgraph.api.embedding import embedding_lookup
from staticgraph.api.initializers import Constant, RandomUniform, Zeros
from staticgraph.api.linalg import matmul
from staticgraph.api.math_functions import rsqrt, sigmoid, tanh
from staticgraph.api.normalization import bias_add, moments
from staticgraph.api.random import dropout
from staticgraph.api.shapes import reshape
from staticgraph.api.slicing import concat, split
from staticgraph.api.variable_scope import get_variable
from staticgraph.errors import UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import is_tensor_like
from staticgraph.ir.tensor import Tensor
from staticgraph.nn.cell import RNNCell, activation_of, positive
from staticgraph.nn.cell_wrappers import check_cell
from staticgraph.nn.cells import GRUCell, LSTMCell, LSTMStateTuple, MemoryCell

EPSILON = 1e-12  # added to the variance in layer normalisation


class LayerNormBasicLSTMCell(MemoryCell):
    """An LSTM cell with layer normalisation of gates and memory, and dropout of what it takes in.

    Ba et al., "Layer normalization" (2016); Semeniuta et al., "Recurrent dropout without memory
    loss" (2016).

    Args:
      num_units: width of memory and output.
      forget_bias: added to the forget gate.
      input_size: accepted, and without effect.
      activation: a function or its name.
      layer_norm: normalise; without it the gates have a bias instead.
      norm_gain, norm_shift: the first values of gamma and beta.
      dropout_keep_prob: how likely an element of the candidate is kept.
      dropout_prob_seed: seed of the mask.
      reuse: share the variables of a scope that has them already.
    """

    def __init__(
        self, num_units: Any, forget_bias: float = 1.0, input_size: Any = None,
        activation: Any = tanh, layer_norm: bool = True, norm_gain: float = 1.0,
        norm_shift: float = 0.0, dropout_keep_prob: Any = 1.0, dropout_prob_seed: int | None = None,
        reuse: Any = None, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(num_units, True, reuse=reuse, name=name)
        self._activation = activation_of(activation)
        del input_size
        self._forget_bias, self._layer_norm = forget_bias, layer_norm
        self._gain, self._shift = norm_gain, norm_shift
        self._keep_prob, self._seed = dropout_keep_prob, dropout_prob_seed

    def build(self, input_shape: Any) -> None:
        """Make the kernel, and what normalises or the bias."""
        n, depth = self._num_units, self.depth_of(input_shape)
        self._kernel = self.add_weight("kernel", [depth + n, 4 * n])
        self._norms: dict[str, tuple[Any, Any]] = {}
        if not self._layer_norm:
            self._bias = self.add_weight("bias", [4 * n])
        else:
            for part in ("input", "transform", "forget", "output", "state"):
                self._norms[part] = (
                    self.add_weight(f"{part}/gamma", [n], initializer=Constant(self._gain)),
                    self.add_weight(f"{part}/beta", [n], initializer=Constant(self._shift)),
                )
        self.built = True

    def _normalised(self, x: Tensor, part: str) -> Tensor:
        if not self._layer_norm:
            return x
        gamma, beta = self._norms[part]
        mean, variance = moments(x, [1], keep_dims=True)
        out: Tensor = (x - mean) * rsqrt(variance + EPSILON) * gamma + beta
        return out

    def call(self, inputs: Any, state: Any) -> Any:
        """The output and the new state."""
        c, h = self._parts(state)
        gates = matmul(concat([inputs, h], 1), self._kernel)
        if not self._layer_norm:
            gates = bias_add(gates, self._bias)
        names = ("input", "transform", "forget", "output")
        parts = zip(split(gates, 4, axis=1), names, strict=True)
        i, j, f, o = (self._normalised(x, part) for x, part in parts)
        g = self._activation(j)
        if is_tensor_like(self._keep_prob) or self._keep_prob < 1:
            g = dropout(g, self._keep_prob, seed=self._seed)
        new_c = c * sigmoid(f + self._forget_bias) + sigmoid(i) * g
        new_c = self._normalised(new_c, "state")
        new_h = self._activation(new_c) * sigmoid(o)
        return new_h, LSTMStateTuple(new_c, new_h)


class LSTMBlockCell(LSTMCell):
    """`LSTMCell` by the name of TensorFlow's fused one; the numbers are the same.

    Args:
      num_units: width of memory and output.
      forget_bias: added to the forget gate.
      cell_clip: bound on the size of the memory's elements.
      use_peephole: gates see the memory, too.
    """

    def __init__(
        self, num_units: Any, forget_bias: float = 1.0, cell_clip: float | None = None,
        use_peephole: bool = False, dtype: Any = None, reuse: Any = None,
        name: str | None = "lstm_cell",
    ) -> None:  # fmt: skip
        super().__init__(
            num_units, use_peepholes=use_peephole, cell_clip=cell_clip, forget_bias=forget_bias,
            dtype=dtype, reuse=reuse, name=name,
        )  # fmt: skip


class GRUBlockCellV2(GRUCell):
    """`GRUCell` by the name of TensorFlow's fused one; the numbers are the same."""

    def __init__(
        self, num_units: Any = None, cell_size: Any = None, reuse: Any = None,
        name: str | None = "gru_cell",
    ) -> None:  # fmt: skip
        if (num_units is None) == (cell_size is None):
            raise UsageError(
                "num_units and cell_size are two names of one argument; give one", loc=loc.caller()
            )
        super().__init__(cell_size if num_units is None else num_units, reuse=reuse, name=name)


class GRUBlockCell(GRUBlockCellV2):
    """`GRUCell` with the variables of TensorFlow's fused one: w_ru, b_ru, w_c and b_c."""

    def build(self, input_shape: Any) -> None:
        """Make kernels and biases of the gates and of the candidate."""
        n, depth = self._num_units, self.depth_of(input_shape)
        self._gate_kernel = self.add_weight("w_ru", [depth + n, 2 * n])
        self._gate_bias = self.add_weight("b_ru", [2 * n], initializer=Constant(1.0))
        self._candidate_kernel = self.add_weight("w_c", [depth + n, n])
        self._candidate_bias = self.add_weight("b_c", [n], initializer=Constant(0.0))
        self.built = True


class NASCell(MemoryCell):
    """The cell that neural architecture search found (Zoph and Le, 2017).

    Args:
      num_units: width of the memory.
      num_proj: width that the output is projected to.
      use_bias: add a bias to what the output is multiplied to.
      reuse: share the variables of a scope that has them already.
    """

    def __init__(
        self, num_units: Any, num_proj: int | None = None, use_bias: bool = False,
        reuse: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(num_units, True, reuse=reuse, **kwargs)
        self._num_proj = None if num_proj is None else positive(num_proj, "NASCell: num_proj")
        self._use_bias = use_bias

    @property
    def output_size(self) -> Any:
        """Width of the output: of the projection, where there is one."""
        return self._num_proj or self._num_units

    def build(self, input_shape: Any) -> None:
        """Make both kernels, and what bias and projection need."""
        n, depth = self._num_units, self.depth_of(input_shape)
        self._recurrent = self.add_weight("recurrent_kernel", [self.output_size, 8 * n])
        self._kernel = self.add_weight("kernel", [depth, 8 * n])
        if self._use_bias:
            self._bias = self.add_weight("bias", [8 * n], initializer=Zeros())
        if self._num_proj is not None:
            self._projection = self.add_weight("projection_weights", [n, self._num_proj])
        self.built = True

    def call(self, inputs: Any, state: Any) -> Any:
        """The output and the new state."""
        c, h = self._parts(state)
        from_h = matmul(h, self._recurrent)
        if self._use_bias:
            from_h = bias_add(from_h, self._bias)
        hs = split(from_h, 8, axis=1)
        xs = split(matmul(inputs, self._kernel), 8, axis=1)
        first = [
            f(x * h if k == 3 else x + h)
            for k, (f, x, h) in enumerate(
                zip((sigmoid, relu, sigmoid, relu, tanh, sigmoid, tanh, sigmoid), xs, hs,
                    strict=True)
            )
        ]  # fmt: skip
        memory = tanh(tanh(first[0] * first[1]) + c)
        new_c = memory * tanh(first[2] + first[3])
        gate = tanh(tanh(first[4] * first[5]) + sigmoid(first[6] + first[7]))
        new_h = tanh(new_c * gate)
        if self._num_proj is not None:
            new_h = matmul(new_h, self._projection)
        return new_h, LSTMStateTuple(new_c, new_h)


# ---------------------------------------------------------------- around a cell
class _Around(RNNCell):
    """A cell with variables of its own around a cell that has some, too."""

    def __init__(self, cell: Any, reuse: Any = None) -> None:
        super().__init__(reuse=reuse)
        self._cell = check_cell(cell, "cell")

    @property
    def state_size(self) -> Any:
        """The inner cell's."""
        return self._cell.state_size

    @property
    def output_size(self) -> Any:
        """The inner cell's."""
        return self._cell.output_size

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """A state of zeros; see `RNNCell.zero_state`."""
        return self._cell.zero_state(batch_size, dtype)

    def _projected(self, x: Any, width: int, activation: Any) -> Any:
        kernel = get_variable("kernel", [x.shape.as_list()[1], width], x.dtype.base)
        bias = get_variable("bias", [width], x.dtype.base, Zeros())
        out = bias_add(matmul(x, kernel), bias)
        return out if activation is None else activation(out)


class OutputProjectionWrapper(_Around):
    """A cell whose output is multiplied by a matrix; it is faster to do that once, after the loop.

    Args:
      cell: a cell.
      output_size: width of the result.
      activation: a function for the result.
    """

    def __init__(
        self, cell: Any, output_size: int, activation: Any = None, reuse: Any = None
    ) -> None:
        super().__init__(cell, reuse)
        self._width = positive(output_size, "OutputProjectionWrapper: output_size")
        self._activation = activation

    @property
    def output_size(self) -> Any:
        """Width of the projection."""
        return self._width

    def call(self, inputs: Any, state: Any) -> Any:
        """The projected output and the new state."""
        output, new = self._cell(inputs, state)
        return self._projected(output, self._width, self._activation), new


class InputProjectionWrapper(_Around):
    """A cell whose input is multiplied by a matrix first.

    Args:
      cell: a cell.
      num_proj: width that the input is projected to.
      activation: a function for what is projected.
      input_size: accepted, and without effect.
    """

    def __init__(
        self, cell: Any, num_proj: int, activation: Any = None, input_size: Any = None,
        reuse: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(cell, reuse)
        del input_size
        self._width = positive(num_proj, "InputProjectionWrapper: num_proj")
        self._activation = activation

    def call(self, inputs: Any, state: Any) -> Any:
        """The output for the projected input, and the new state."""
        return self._cell(self._projected(inputs, self._width, self._activation), state)


class EmbeddingWrapper(_Around):
    """A cell that takes the numbers of rows of a table that it learns.

    Args:
      cell: a cell.
      embedding_classes: rows of the table.
      embedding_size: width of the rows.
      initializer: of the table; evenly random between -sqrt(3) and sqrt(3) by default.
    """

    def __init__(
        self, cell: Any, embedding_classes: int, embedding_size: int, initializer: Any = None,
        reuse: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(cell, reuse)
        self._classes = positive(embedding_classes, "EmbeddingWrapper: embedding_classes")
        self._size = positive(embedding_size, "EmbeddingWrapper: embedding_size")
        self._start = initializer or RandomUniform(-(3.0**0.5), 3.0**0.5)

    def call(self, inputs: Any, state: Any) -> Any:
        """The output for the row, and the new state."""
        kind = next((t.dtype.base for t in nest.flatten(state)), dtypes.float32)
        sizes = [self._classes, self._size]
        table = get_variable("embedding", sizes, kind, initializer=self._start)
        return self._cell(embedding_lookup(table, reshape(inputs, [-1])), state)


__all__ = [
    "EmbeddingWrapper", "GRUBlockCell", "GRUBlockCellV2", "InputProjectionWrapper",
    "LSTMBlockCell", "LayerNormBasicLSTMCell", "NASCell", "OutputProjectionWrapper",
]  # fmt: skip
