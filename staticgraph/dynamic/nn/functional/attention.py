"""Attention: sums of values, weighted by how well queries and keys agree."""

from __future__ import annotations

import math

from staticgraph.dynamic.creation import ones
from staticgraph.dynamic.elementwise import where
from staticgraph.dynamic.nn.functional.dropout import dropout
from staticgraph.dynamic.products import matmul
from staticgraph.dynamic.reductions import softmax
from staticgraph.dynamic.refusals import bad_value
from staticgraph.dynamic.tensor import Tensor


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
) -> Tensor:  # fmt: skip
    """``softmax(scale * query @ key.T + mask) @ value`` over the last two axes.

    Args:
      query: ``[..., queries, features]``.
      key: ``[..., keys, features]``.
      value: ``[..., keys, out]``.
      attn_mask: truth values, true where a query sees a key; or numbers that are added.
      dropout_p: with what probability a weight is left out; not only while training.
      is_causal: query i sees the keys up to i.
      scale: by default one over the square root of the number of features.

    Raises:
      ArgumentError: `is_causal` together with a mask.

    >>> import staticgraph.dynamic as torch
    >>> x = torch.eye(2).unsqueeze(0)
    >>> torch.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)
    tensor([[[1.0000, 0.0000],
             [0.3302, 0.6698]]])
    """
    if is_causal:
        if attn_mask is not None:
            raise bad_value("is_causal=True stands for a mask, and attn_mask is given as well")
        attn_mask = ones(query.shape[-2], key.shape[-2]).tril() > 0
    if scale is None:
        scale = 1.0 / math.sqrt(query.shape[-1])
    weights: Tensor = matmul(query * scale, key.transpose(-2, -1))
    if attn_mask is not None:
        if attn_mask._array.dtype == bool:
            weights = where(attn_mask, weights, -math.inf)
        else:
            weights = weights + attn_mask
    weights = softmax(weights, -1)
    if dropout_p:
        weights = dropout(weights, dropout_p)
    return matmul(weights, value)
