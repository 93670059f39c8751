"""Recurrent networks of several layers, in one direction or both."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

from staticgraph.dynamic.creation import zeros
from staticgraph.dynamic.nn import functional as F
from staticgraph.dynamic.nn import init
from staticgraph.dynamic.nn.linear import new_parameter
from staticgraph.dynamic.nn.module import Module
from staticgraph.dynamic.nn.parameter import Parameter
from staticgraph.dynamic.nn.rnn_cells import gru_step, lstm_step, rnn_step
from staticgraph.dynamic.refusals import bad_value, warn
from staticgraph.dynamic.shapes import cat, stack
from staticgraph.dynamic.tensor import Tensor
from staticgraph.errors import ShapeError
from staticgraph.ir.loc import caller
from staticgraph.ops.join import unpack

State = tuple[Tensor, ...]
Step = Callable[[Tensor, State], State]


class _Recurrent(Module):
    """Layers over ``[length, batch, features]``; parameters are called as PyTorch's.

    ``weight_ih_l0`` is the first layer's matrix for the input, ``weight_hh_l0`` that for the
    hidden state; layers of the second direction end in ``_reverse``.
    """

    gates: ClassVar[int]

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int, bias: bool, batch_first: bool,
        dropout: float, bidirectional: bool, proj_size: int, device: Any, dtype: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        if not 0 <= dropout <= 1:
            raise bad_value(f"a dropout probability is in [0, 1], got {dropout}")
        if hidden_size <= 0:
            raise bad_value(f"hidden_size must be above 0, got {hidden_size}")
        if num_layers <= 0:
            raise bad_value(f"num_layers must be above 0, got {num_layers}")
        if not 0 <= proj_size < hidden_size:
            raise bad_value(f"proj_size must be in [0, {hidden_size}), got {proj_size}")
        if dropout > 0 and num_layers == 1:
            warn(
                "dropout stands between layers, so that it needs more than one layer: "
                f"dropout={dropout} and num_layers=1"
            )
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        out = proj_size or hidden_size
        rows = self.gates * hidden_size
        for suffix, layer in self._places():
            features = input_size if layer == 0 else out * self._directions
            shapes: list[tuple[str, tuple[int, ...]]] = [
                ("weight_ih", (rows, features)),
                ("weight_hh", (rows, out)),
            ]
            if bias:
                shapes += [("bias_ih", (rows,)), ("bias_hh", (rows,))]
            if proj_size:
                shapes.append(("weight_hr", (proj_size, hidden_size)))
            for name, shape in shapes:
                self.register_parameter(
                    name + suffix, new_parameter(*shape, device=device, dtype=dtype)
                )
        self.reset_parameters()

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _places(self) -> list[tuple[str, int]]:
        """The suffix of each layer and direction, and the layer's number."""
        ends = ("", "_reverse")[: self._directions]
        return [(f"_l{k}{end}", k) for k in range(self.num_layers) for end in ends]

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [
            [p for n, p in self._parameters.items() if p is not None and _ends(n, suffix)]
            for suffix, _ in self._places()
        ]

    def flatten_parameters(self) -> None:
        """Nothing: parameters need no particular place in memory."""

    def reset_parameters(self) -> None:
        """Draw new starting values, uniform in ``±1 / sqrt(hidden_size)``."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    # ---------------------------------------------------------------- running
    def _step(self, suffix: str) -> Step:
        raise NotImplementedError

    def _weight(self, name: str) -> Tensor | None:
        return self._parameters.get(name)

    def _turned(self, suffix: str) -> Tensor:
        """The transposed hidden weight: made once for all steps."""
        out: Tensor = self.__dict__["_parameters"]["weight_hh" + suffix].t()
        return out

    def _run(self, input: Tensor, state: State) -> tuple[Tensor, State]:
        """All layers; `state` has one row per layer and direction."""
        rows = [tuple(part[i] for part in state) for i in range(len(self._places()))]
        last: list[State] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(self._directions):
                at = layer * self._directions + direction
                suffix = self._places()[at][0]
                out, final = self._sweep(input, rows[at], suffix, direction == 1)
                outputs.append(out)
                last.append(final)
            input = outputs[0] if len(outputs) == 1 else cat(outputs, -1)
            if self.dropout and layer + 1 < self.num_layers:
                input = F.dropout(input, self.dropout, self.training)
        return input, tuple(stack(list(part)) for part in zip(*last, strict=True))

    def _sweep(
        self, input: Tensor, state: State, suffix: str, backwards: bool
    ) -> tuple[Tensor, State]:
        """One layer in one direction; the input's products are made for all steps at once."""
        w_ih, b_ih = self._weight("weight_ih" + suffix), self._weight("bias_ih" + suffix)
        assert w_ih is not None
        gates = unpack(F.linear(input, w_ih, b_ih), num=input.shape[0])
        step = self._step(suffix)
        outputs = []
        for each in reversed(gates) if backwards else gates:
            state = step(each, state)
            outputs.append(state[0])
        return stack(outputs[::-1] if backwards else outputs), state

    def _prepared(self, input: Tensor) -> tuple[Tensor, bool]:
        """The input as [length, batch, features], and whether it had a batch."""
        if input.dim() not in (2, 3):
            raise ShapeError(
                f"{self._get_name()}: the input has shape {list(input.shape)}, it must have two "
                "axes or, with a batch, three",
                loc=caller(),
            )
        if input.shape[-1] != self.input_size:
            raise ShapeError(
                f"{self._get_name()}: the input has {input.shape[-1]} features and the network "
                f"takes {self.input_size}",
                loc=caller(),
            )
        batched = input.dim() == 3
        if not batched:
            input = input.unsqueeze(1)
        elif self.batch_first:
            input = input.transpose(0, 1)
        if not input.shape[0]:
            raise ShapeError(
                f"{self._get_name()}: the input has no steps, its shape is {list(input.shape)}",
                loc=caller(),
            )
        return input, batched

    def _initial(self, state: Tensor | None, input: Tensor, batched: bool, size: int) -> Tensor:
        wanted = (len(self._places()), input.shape[1], size)
        if state is None:
            return zeros(wanted, dtype=input.dtype)
        if not batched and state.dim() == 2:
            state = state.unsqueeze(1)
        if tuple(state.shape) != wanted:
            raise ShapeError(
                f"{self._get_name()}: the initial state has shape {list(state.shape)}, it must be "
                f"{list(wanted)}",
                loc=caller(),
            )
        return state

    def _forward(self, input: Tensor, state: tuple[Tensor | None, ...]) -> tuple[Tensor, State]:
        x, batched = self._prepared(input)
        sizes = (self.proj_size or self.hidden_size, self.hidden_size)
        start = tuple(self._initial(s, x, batched, n) for s, n in zip(state, sizes, strict=False))
        out, last = self._run(x, start)
        if not batched:
            return out.squeeze(1), tuple(s.squeeze(1) for s in last)
        return (out.transpose(0, 1) if self.batch_first else out), last

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        for name, plain in (
            ("proj_size", 0), ("num_layers", 1), ("bias", True), ("batch_first", False),
            ("dropout", 0), ("bidirectional", False),
        ):  # fmt: skip
            if getattr(self, name) != plain:
                parts.append(f"{name}={getattr(self, name)}")
        return ", ".join(parts)


def _ends(name: str, suffix: str) -> bool:
    return name.partition("_l")[2] == suffix[2:]


class RNN(_Recurrent):
    """An Elman network: ``h = tanh(W_ih x + b_ih + W_hh h + b_hh)`` or with relu.

    Takes ``input, h_0`` and gives ``output, h_n``.

    >>> import staticgraph.dynamic as torch
    >>> rnn = torch.nn.RNN(10, 20, 2)
    >>> output, hn = rnn(torch.randn(5, 3, 10))
    >>> output.shape, hn.shape
    (torch.Size([5, 3, 20]), torch.Size([2, 3, 20]))
    """

    gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh",
        bias: bool = True, batch_first: bool = False, dropout: float = 0.0,
        bidirectional: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if nonlinearity not in ("tanh", "relu"):
            raise bad_value(f"nonlinearity is 'tanh' or 'relu', not {nonlinearity!r}")
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, 0, device, dtype)  # fmt: skip
        self.nonlinearity = nonlinearity

    def _step(self, suffix: str) -> Step:
        w, b = self._turned(suffix), self._weight("bias_hh" + suffix)
        return lambda gates, state: (rnn_step(gates, state[0], w, b, self.nonlinearity),)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        out, last = self._forward(input, (hx,))
        return out, last[0]


class LSTM(_Recurrent):
    """A long short-term memory: takes ``input, (h_0, c_0)``, gives ``output, (h_n, c_n)``."""

    gates = 4

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
        proj_size: int = 0, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, proj_size, device, dtype)  # fmt: skip

    def _step(self, suffix: str) -> Step:
        w, b = self._turned(suffix), self._weight("bias_hh" + suffix)
        r = self._weight("weight_hr" + suffix)
        return lambda gates, state: lstm_step(gates, state[0], state[1], w, b, r)

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        out, last = self._forward(input, (None, None) if hx is None else tuple(hx))
        return out, (last[0], last[1])


class GRU(_Recurrent):
    """A network of gated recurrent units: takes ``input, h_0``, gives ``output, h_n``."""

    gates = 3

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, 0, device, dtype)  # fmt: skip

    def _step(self, suffix: str) -> Step:
        w, b = self._turned(suffix), self._weight("bias_hh" + suffix)
        return lambda gates, state: (gru_step(gates, state[0], w, b),)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        out, last = self._forward(input, (hx,))
        return out, last[0]
