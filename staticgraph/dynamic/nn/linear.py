"""Layers that multiply by a weight, tables of rows, and layers that change shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from staticgraph.dynamic.creation import empty
from staticgraph.dynamic.modes import no_grad
from staticgraph.dynamic.nn import functional as F
from staticgraph.dynamic.nn import init
from staticgraph.dynamic.nn.module import Module
from staticgraph.dynamic.nn.parameter import Parameter
from staticgraph.dynamic.refusals import bad_value
from staticgraph.dynamic.tensor import Tensor
from staticgraph.errors import ShapeError, UsageError
from staticgraph.ir.loc import caller


def new_parameter(*shape: int, device: Any = None, dtype: Any = None) -> Parameter:
    """A parameter whose values are still to be set."""
    made: Parameter = Parameter(empty(shape, device=device, dtype=dtype))
    return made


class Identity(Module):
    """Gives back what it gets; arguments of the constructor are ignored."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input


class Linear(Module):
    """``x @ weight.T + bias``.

    Both start uniform in ``±1 / sqrt(in_features)``.

    Args:
      in_features: size of the last axis of the input.
      out_features: size of the last axis of the output.
      bias: add a number per output feature.

    >>> import staticgraph.dynamic as torch
    >>> layer = torch.nn.Linear(20, 30)
    >>> layer(torch.randn(128, 20)).shape
    torch.Size([128, 30])
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = new_parameter(out_features, in_features, device=device, dtype=dtype)
        new = new_parameter(out_features, device=device, dtype=dtype) if bias else None
        self.register_parameter("bias", new)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new starting values."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Bilinear(Module):
    """``sum_ij x1_i weight_kij x2_j + bias_k``."""

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if in1_features <= 0:
            raise bad_value(f"in1_features must be above 0, got {in1_features}")
        self.in1_features, self.in2_features = in1_features, in2_features
        self.out_features = out_features
        self.weight = new_parameter(
            out_features, in1_features, in2_features, device=device, dtype=dtype
        )
        new = new_parameter(out_features, device=device, dtype=dtype) if bias else None
        self.register_parameter("bias", new)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new starting values."""
        bound = 1 / math.sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


class Embedding(Module):
    """A table of rows, looked up by number.

    Args:
      num_embeddings: rows.
      embedding_dim: features of a row.
      padding_idx: a row that starts as zeros and gets no gradient.

    >>> import staticgraph.dynamic as torch
    >>> table = torch.nn.Embedding(10, 3)
    >>> table(torch.tensor([[1, 2], [4, 1]])).shape
    torch.Size([2, 2, 3])
    """

    weight: Parameter

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
        _weight: Tensor | None = None, _freeze: bool = False, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise bad_value(
                    f"padding_idx {padding_idx} is outside a table of {num_embeddings} rows"
                )
            padding_idx %= num_embeddings
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = padding_idx
        if _weight is None:
            self.weight = new_parameter(num_embeddings, embedding_dim, device=device, dtype=dtype)
            self.weight.requires_grad_(not _freeze)
            self.reset_parameters()
            return
        if tuple(_weight.shape) != (num_embeddings, embedding_dim):
            raise ShapeError(
                f"Embedding: a table of shape {list(_weight.shape)} for {num_embeddings} rows of "
                f"{embedding_dim}",
                loc=caller(),
            )
        self.weight = Parameter(_weight, requires_grad=not _freeze)

    @classmethod
    def from_pretrained(
        cls, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None
    ) -> Embedding:
        """A layer around a table that is there, not trained unless `freeze` is false."""
        if embeddings.dim() != 2:
            raise ShapeError(
                f"a table of rows has two axes, got {list(embeddings.shape)}", loc=caller()
            )
        rows, features = embeddings.shape
        return cls(rows, features, padding_idx, _weight=embeddings, _freeze=freeze)

    def reset_parameters(self) -> None:
        """Draw new starting values."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx].fill_(0)

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class Flatten(Module):
    """The axes from `start_dim` to `end_dim` as one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """One axis as several."""

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(dim, int):
            raise UsageError(f"dim is an int, got {type(dim).__name__}", loc=caller())
        self.dim, self.unflattened_size = dim, tuple(int(n) for n in unflattened_size)

    def forward(self, input: Tensor) -> Tensor:
        shape = list(input.shape)
        if not -len(shape) <= self.dim < len(shape):
            raise ShapeError(
                f"Unflatten: dim {self.dim} is outside a tensor of rank {len(shape)}", loc=caller()
            )
        at = self.dim % len(shape)
        sizes = list(self.unflattened_size)
        if sizes.count(-1) == 1:
            rest = math.prod(n for n in sizes if n != -1)
            if rest and shape[at] % rest == 0:
                sizes[sizes.index(-1)] = shape[at] // rest
        if math.prod(sizes) != shape[at] or min(sizes, default=0) < 0:
            raise ShapeError(
                f"Unflatten: axis {at} of {shape[at]} does not become "
                f"{list(self.unflattened_size)}",
                loc=caller(),
            )
        return input.reshape(*shape[:at], *sizes, *shape[at + 1 :])

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
