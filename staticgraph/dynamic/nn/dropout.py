"""Dropout as modules."""

from __future__ import annotations

from staticgraph.dynamic.nn import functional as F
from staticgraph.dynamic.nn.module import Module
from staticgraph.dynamic.refusals import bad_value
from staticgraph.dynamic.tensor import Tensor


class _Dropout(Module):
    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise bad_value(f"a dropout probability is in [0, 1], got {p}")
        self.p, self.inplace = p, inplace

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """While training, set elements to 0 with probability `p` and divide the others by ``1 - p``.

    >>> import staticgraph.dynamic as torch
    >>> layer = torch.nn.Dropout(0.25).eval()
    >>> layer(torch.ones(3))
    tensor([1., 1., 1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training)


class Dropout1d(_Dropout):
    """While training, set whole channels ``[n, c, :]`` to 0."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout1d(input, self.p, self.training)


class Dropout2d(_Dropout):
    """While training, set whole channels ``[n, c, :, :]`` to 0."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout2d(input, self.p, self.training)
