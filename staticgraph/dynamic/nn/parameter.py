"""`Parameter`: a tensor that a module trains."""

from __future__ import annotations

from typing import Any

from staticgraph.dynamic.apply import Taped
from staticgraph.dynamic.creation import empty
from staticgraph.dynamic.tensor import Tensor
from staticgraph.errors import UsageError
from staticgraph.ir.loc import caller


class Parameter(Tensor):
    """A leaf in the memory of `data` that modules find by themselves.

    Args:
      data: a tensor; an empty one by default.
      requires_grad: whether gradients are computed for it.

    Raises:
      UsageError: `data` is not a tensor.

    >>> import staticgraph.dynamic as torch
    >>> torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    Parameter containing:
    tensor([1., 2.], requires_grad=True)
    """

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Any:
        if data is None:
            data = empty(0)
        if not isinstance(data, Taped):
            raise UsageError(
                f"a Parameter is made of a tensor, got a {type(data).__name__}", loc=caller(),
                hint="use torch.tensor(...)",
            )  # fmt: skip
        made = object.__new__(cls)
        made._array = data._array
        made._version = data._version
        if requires_grad:
            made.requires_grad_()
        return made

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()
