"""Products with weights: linear maps, bilinear maps, rows of a table."""

from __future__ import annotations

from staticgraph.dynamic.creation import eye
from staticgraph.dynamic.direct import product
from staticgraph.dynamic.modes import MODES
from staticgraph.dynamic.refusals import bad_value
from staticgraph.dynamic.tensor import Tensor
from staticgraph.errors import ShapeError, UsageError
from staticgraph.ir import dtypes
from staticgraph.ir.loc import caller
from staticgraph.ops.gather import gather_v2
from staticgraph.ops.masking import one_hot as one_hot_record

matmul = product("MatMul")


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input @ weight.T + bias``.

    Args:
      input: ``[*, in_features]``.
      weight: ``[out_features, in_features]``, or ``[in_features]`` for one feature without axis.
      bias: ``[out_features]``.

    Returns:
      ``[*, out_features]``.

    Raises:
      ShapeError: the last axes differ.

    >>> import staticgraph.dynamic as torch
    >>> x, w = torch.ones(2, 3), torch.tensor([[1.0, 2.0, 3.0]])
    >>> torch.nn.functional.linear(x, w, torch.tensor([0.5]))
    tensor([[6.5000],
            [6.5000]])
    """
    if not input.dim():
        raise ShapeError("linear: the input is a scalar", loc=caller())
    features = weight.shape[-1]
    if input.shape[-1] != features:
        raise ShapeError(
            f"linear: the input has {input.shape[-1]} features and the weight takes {features}",
            loc=caller(),
            operands=[f"input: {list(input.shape)}", f"weight: {list(weight.shape)}"],
        )
    if weight.dim() == 1:
        out: Tensor = matmul(input.reshape(-1, features), weight.reshape(-1, 1))
        out = out.reshape(input.shape[:-1])
    elif input.dim() == 2:
        out = matmul(input, weight, transpose_b=True)
    else:
        out = matmul(input.reshape(-1, features), weight, transpose_b=True)
        out = out.reshape(*input.shape[:-1], weight.shape[0])
    return out if bias is None else out + bias


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``sum_ij input1_i weight_kij input2_j + bias_k``.

    Args:
      input1: ``[*, n]``.
      input2: ``[*, m]``.
      weight: ``[out_features, n, m]``.
      bias: ``[out_features]``.
    """
    k, n, m = weight.shape
    if input1.shape[-1] != n or input2.shape[-1] != m:
        raise ShapeError(
            f"bilinear: inputs of {input1.shape[-1]} and {input2.shape[-1]} features for a weight "
            f"that takes {n} and {m}",
            loc=caller(),
        )
    lead = input1.shape[:-1]
    if tuple(lead) != tuple(input2.shape[:-1]):
        raise ShapeError(
            f"bilinear: inputs of shapes {list(input1.shape)} and {list(input2.shape)} differ "
            "ahead of their last axes",
            loc=caller(),
        )
    left, right = input1.reshape(-1, n), input2.reshape(-1, 1, m)
    between = matmul(left, weight.permute(1, 0, 2).reshape(n, k * m)).reshape(-1, k, m)
    out: Tensor = (between * right).sum(-1).reshape(*lead, k)
    return out if bias is None else out + bias


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Rows of a table.

    Args:
      input: row numbers, any shape, int32 or int64.
      weight: ``[rows, features]``.
      padding_idx: a row that gets no gradient.

    Raises:
      OutOfBoundsError: a row number is not in the table.
    """
    if input.is_floating_point():
        raise UsageError(
            f"embedding takes row numbers, got {input.dtype.name}", loc=caller(),
            hint="convert them with .long()",
        )  # fmt: skip
    if padding_idx is not None:
        rows = weight.shape[0]
        if not -rows <= padding_idx < rows:
            raise bad_value(f"padding_idx {padding_idx} is outside a table of {rows} rows")
        out: Tensor = gather_v2(weight, input, 0)
        there = (input != padding_idx % rows).to(weight.dtype).unsqueeze(-1)
        # The value of a padding row is kept; only what flows back to it is dropped.
        made: Tensor = out * there + out.detach() * (1 - there)
        return made
    out = gather_v2(weight, input, 0)
    return out


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Rows of zeros with a 1 at the place of each class number; int64."""
    if num_classes == -1:
        if not tensor.numel():
            raise bad_value("one_hot: num_classes is needed where there are no class numbers")
        num_classes = int(tensor.max().item()) + 1
    if MODES.tracer is not None:  # the numbers are checked when they are there
        made: Tensor = gather_v2(eye(num_classes, dtype=dtypes.int64), tensor, 0)
        return made
    if tensor.numel():
        low, high = int(tensor.min().item()), int(tensor.max().item())
        if low < 0 or high >= num_classes:
            raise bad_value(
                f"one_hot: class {low if low < 0 else high} is outside [0, {num_classes})"
            )
    out: Tensor = one_hot_record(tensor, num_classes, 1, 0)
    return out.long()


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """`input` divided by its p-norm along `dim`, or by `eps` where that is less."""
    if p == 2.0:
        norm = (input * input).sum(dim, keepdim=True).sqrt()
    else:
        norm = abs(input).pow(p).sum(dim, keepdim=True).pow(1.0 / p)
    made: Tensor = input / norm.clamp(min=eps)
    return made


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along `dim`."""
    length1 = (x1 * x1).sum(dim).sqrt().clamp(min=eps)
    length2 = (x2 * x2).sum(dim).sqrt().clamp(min=eps)
    made: Tensor = (x1 * x2).sum(dim) / (length1 * length2)
    return made


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of ``x1 - x2 + eps`` along the last axis."""
    difference = x1 - x2 + eps
    if p == 2.0:
        made: Tensor = (difference * difference).sum(-1, keepdim=keepdim).sqrt()
        return made
    made = abs(difference).pow(p).sum(-1, keepdim=keepdim).pow(1.0 / p)
    return made
