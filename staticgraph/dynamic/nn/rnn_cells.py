"""One step of a recurrent network, as functions and as modules.

The order of the gates is PyTorch's: input, forget, cell, output for LSTM; reset, update, new for
GRU.  Their weights stand above one another in one matrix, so that a step has one product.
"""

from __future__ import annotations

import math
from typing import Any

from staticgraph.dynamic.composed import composed
from staticgraph.dynamic.creation import zeros
from staticgraph.dynamic.nn import functional as F
from staticgraph.dynamic.nn import init
from staticgraph.dynamic.nn.linear import new_parameter
from staticgraph.dynamic.nn.module import Module
from staticgraph.dynamic.nn.parameter import Parameter
from staticgraph.dynamic.products import matmul
from staticgraph.dynamic.refusals import bad_value
from staticgraph.dynamic.tensor import Tensor
from staticgraph.errors import ShapeError
from staticgraph.ir.loc import caller
from staticgraph.ir.op import lookup
from staticgraph.ops.join import split

_mm, _sigmoid, _tanh, _relu = lookup("MatMul"), lookup("Sigmoid"), lookup("Tanh"), lookup("Relu")


def lstm_step(
    gates_x: Tensor, h: Tensor, c: Tensor, turned: Tensor, b_hh: Tensor | None,
    w_hr: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The next hidden and cell state.

    `gates_x` is what the input gives to the gates, `turned` the transposed hidden weight.
    """
    new_h, new_c = composed(_lstm_cell, gates_x, h, c, turned, *_given(b_hh))
    return (new_h if w_hr is None else F.linear(new_h, w_hr)), new_c


def gru_step(gates_x: Tensor, h: Tensor, turned: Tensor, b_hh: Tensor | None) -> Tensor:
    """The next hidden state."""
    out: Tensor = composed(_gru_cell, gates_x, h, turned, *_given(b_hh))[0]
    return out


def rnn_step(
    gates_x: Tensor, h: Tensor, turned: Tensor, b_hh: Tensor | None, nonlinearity: str
) -> Tensor:
    """The next hidden state of an Elman network."""
    cell = _tanh_cell if nonlinearity == "tanh" else _relu_cell
    out: Tensor = composed(cell, gates_x, h, turned, *_given(b_hh))[0]
    return out


def _given(bias: Tensor | None) -> tuple[Tensor, ...]:
    return () if bias is None else (bias,)


# ---------------------------------------------------------------- what a step computes
# Written for tensors and for symbols alike, so that a step can be one node of the tape.
def _product(h: Any, turned: Any, bias: Any) -> Any:
    """What the hidden state gives to the gates."""
    out = matmul(h, turned) if isinstance(h, Tensor) else _mm(h, turned)
    return out + bias[0] if bias else out


def _lstm_cell(gates_x: Any, h: Any, c: Any, turned: Any, *bias: Any) -> tuple[Any, Any]:
    i, f, g, o = split(-1, gates_x + _product(h, turned, bias), num_split=4)
    new_c = _sigmoid(f) * c + _sigmoid(i) * _tanh(g)
    return _sigmoid(o) * _tanh(new_c), new_c


def _gru_cell(gates_x: Any, h: Any, turned: Any, *bias: Any) -> tuple[Any]:
    r_x, z_x, n_x = split(-1, gates_x, num_split=3)
    r_h, z_h, n_h = split(-1, _product(h, turned, bias), num_split=3)
    update = _sigmoid(z_x + z_h)
    new = _tanh(n_x + _sigmoid(r_x + r_h) * n_h)
    return (new + update * (h - new),)


def _tanh_cell(gates_x: Any, h: Any, turned: Any, *bias: Any) -> tuple[Any]:
    return (_tanh(gates_x + _product(h, turned, bias)),)


def _relu_cell(gates_x: Any, h: Any, turned: Any, *bias: Any) -> tuple[Any]:
    return (_relu(gates_x + _product(h, turned, bias)),)


class _Cell(Module):
    """What the cells share: weights, their starting values, checks."""

    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, gates: int, device: Any, dtype: Any
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        how = {"device": device, "dtype": dtype}
        rows = gates * hidden_size
        self.weight_ih = new_parameter(rows, input_size, **how)
        self.weight_hh = new_parameter(rows, hidden_size, **how)
        self.register_parameter("bias_ih", new_parameter(rows, **how) if bias else None)
        self.register_parameter("bias_hh", new_parameter(rows, **how) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new starting values, uniform in ``±1 / sqrt(hidden_size)``."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def _inputs(self, input: Tensor) -> Tensor:
        if input.dim() not in (1, 2) or input.shape[-1] != self.input_size:
            raise ShapeError(
                f"{self._get_name()}: the input has shape {list(input.shape)}, it must be "
                f"[{self.input_size}] or [batch, {self.input_size}]",
                loc=caller(),
            )
        return F.linear(input, self.weight_ih, self.bias_ih)

    def _state(self, input: Tensor, state: Tensor | None, what: str) -> Tensor:
        wanted = (*input.shape[:-1], self.hidden_size)
        if state is None:
            return zeros(wanted, dtype=input.dtype)
        if tuple(state.shape) != wanted:
            raise ShapeError(
                f"{self._get_name()}: {what} has shape {list(state.shape)}, it must be "
                f"{list(wanted)}",
                loc=caller(),
            )
        return state

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(_Cell):
    """``tanh(W_ih x + b_ih + W_hh h + b_hh)``, or with relu in place of tanh.

    >>> import staticgraph.dynamic as torch
    >>> cell = torch.nn.RNNCell(10, 20)
    >>> cell(torch.randn(3, 10), torch.randn(3, 20)).shape
    torch.Size([3, 20])
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if nonlinearity not in ("tanh", "relu"):
            raise bad_value(f"nonlinearity is 'tanh' or 'relu', not {nonlinearity!r}")
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        gates = self._inputs(input)
        h = self._state(input, hx, "hx")
        return rnn_step(gates, h, self.weight_hh.t(), self.bias_hh, self.nonlinearity)

    def extra_repr(self) -> str:
        kind = "" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}"
        return super().extra_repr() + kind


class LSTMCell(_Cell):
    """One step of a long short-term memory; takes and gives the pair ``(h, c)``."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        gates = self._inputs(input)
        h, c = (None, None) if hx is None else hx
        h, c = self._state(input, h, "h"), self._state(input, c, "c")
        return lstm_step(gates, h, c, self.weight_hh.t(), self.bias_hh)


class GRUCell(_Cell):
    """One step of a gated recurrent unit."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        gates = self._inputs(input)
        return gru_step(gates, self._state(input, hx, "hx"), self.weight_hh.t(), self.bias_hh)
