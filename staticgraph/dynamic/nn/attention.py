"""Attention of several heads."""

from __future__ import annotations

import math
from typing import Any

from staticgraph.dynamic.elementwise import where
from staticgraph.dynamic.nn import functional as F
from staticgraph.dynamic.nn import init
from staticgraph.dynamic.nn.linear import Linear, new_parameter
from staticgraph.dynamic.nn.module import Module
from staticgraph.dynamic.products import matmul
from staticgraph.dynamic.reductions import softmax
from staticgraph.dynamic.refusals import bad_value
from staticgraph.dynamic.tensor import Tensor
from staticgraph.errors import ShapeError
from staticgraph.ir.loc import caller


class MultiheadAttention(Module):
    """Attention in `num_heads` parts of the features, each with projections of its own.

    Args:
      embed_dim: features of queries and results; `num_heads` divides it.
      dropout: with what probability a weight is left out while training.
      bias: whether the projections add one.
      kdim, vdim: features of keys and values, where they have others.
      batch_first: tensors are ``[batch, length, features]``, else ``[length, batch, features]``.

    Raises:
      ArgumentError: `num_heads` does not divide `embed_dim`.

    >>> import staticgraph.dynamic as torch
    >>> attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    >>> x = torch.randn(4, 5, 8)
    >>> out, weights = attention(x, x, x)
    >>> out.shape, weights.shape
    (torch.Size([4, 5, 8]), torch.Size([4, 5, 5]))
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
        add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
        vdim: int | None = None, batch_first: bool = False, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0 or embed_dim % num_heads:
            raise bad_value(
                f"num_heads must divide embed_dim, got {num_heads} heads for {embed_dim} features"
            )
        if add_bias_kv or add_zero_attn:
            raise bad_value("add_bias_kv and add_zero_attn are not available")
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        how = {"device": device, "dtype": dtype}
        own = self.kdim == embed_dim and self.vdim == embed_dim
        if own:
            self.in_proj_weight = new_parameter(3 * embed_dim, embed_dim, **how)
            for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
                self.register_parameter(name, None)
        else:
            self.q_proj_weight = new_parameter(embed_dim, embed_dim, **how)
            self.k_proj_weight = new_parameter(embed_dim, self.kdim, **how)
            self.v_proj_weight = new_parameter(embed_dim, self.vdim, **how)
            self.register_parameter("in_proj_weight", None)
        self.register_parameter(
            "in_proj_bias", new_parameter(3 * embed_dim, **how) if bias else None
        )
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, **how)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new starting values: Xavier's for the projections, zeros for what they add."""
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            weight = self._parameters[name]
            if weight is not None:
                init.xavier_uniform_(weight)
        for bias in (self._parameters["in_proj_bias"], self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)

    # ---------------------------------------------------------------- running
    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None,
        need_weights: bool = True, attn_mask: Tensor | None = None,
        average_attn_weights: bool = True, is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """The results, and the weights (the mean over heads, or those of each) or None.

        Args:
          key_padding_mask: ``[batch, keys]``, true where a key is left out, or numbers to add.
          attn_mask: ``[queries, keys]`` or ``[batch * heads, queries, keys]``, likewise.
          is_causal: says that `attn_mask` is the causal one, which has to be given, too.
        """
        if is_causal and attn_mask is None:
            raise bad_value("is_causal=True says what attn_mask is, and it is not given")
        ranks = {query.dim(), key.dim(), value.dim()}
        if ranks not in ({2}, {3}):
            raise ShapeError(
                f"MultiheadAttention: query, key and value have {query.dim()}, {key.dim()} and "
                f"{value.dim()} axes; all have three or, without a batch, two",
                loc=caller(),
            )
        batched = ranks == {3}
        q, k, v = (self._batch_first(t, batched) for t in (query, key, value))
        q, k, v = (self._heads(t) for t in self._projected(q, k, v))
        scores: Tensor = matmul(q * (1.0 / math.sqrt(self.head_dim)), k.transpose(-2, -1))
        if attn_mask is not None:
            if attn_mask.dim() == 3:
                attn_mask = attn_mask.reshape(-1, self.num_heads, *attn_mask.shape[-2:])
            scores = _masked(scores, attn_mask)
        if key_padding_mask is not None:
            if not batched:
                key_padding_mask = key_padding_mask.unsqueeze(0)
            scores = _masked(scores, key_padding_mask.unsqueeze(1).unsqueeze(2))
        weights = F.dropout(softmax(scores, -1), self.dropout, self.training)
        mixed = matmul(weights, v).transpose(1, 2)
        out = self.out_proj(mixed.reshape(*mixed.shape[:2], self.embed_dim))
        if not batched:
            out = out.squeeze(0)
        elif not self.batch_first:
            out = out.transpose(0, 1)
        if not need_weights:
            return out, None
        shown = weights.mean(1) if average_attn_weights else weights
        return out, (shown if batched else shown.squeeze(0))

    def _batch_first(self, t: Tensor, batched: bool) -> Tensor:
        if not batched:
            return t.unsqueeze(0)
        return t if self.batch_first else t.transpose(0, 1)

    def _projected(self, q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
        if self.in_proj_weight is not None:
            weights = self.in_proj_weight.chunk(3)
        else:
            weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        bias = self.in_proj_bias
        parts = (None,) * 3 if bias is None else bias.chunk(3)
        return [F.linear(t, w, b) for t, w, b in zip((q, k, v), weights, parts, strict=True)]

    def _heads(self, t: Tensor) -> Tensor:
        return t.reshape(*t.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    """Without the places where `mask` is true, or with its numbers added."""
    out: Tensor = where(mask, -math.inf, scores) if mask._array.dtype == bool else scores + mask
    return out
