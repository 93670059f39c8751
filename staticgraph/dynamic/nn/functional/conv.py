"""Convolutions over one, two and three axes, channels first, as PyTorch's of the same names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgraph.dynamic.nn.functional.padding import pad
from staticgraph.dynamic.refusals import bad_value
from staticgraph.dynamic.tensor import Tensor
from staticgraph.errors import ShapeError
from staticgraph.ir.loc import caller
from staticgraph.ops.conv import conv2d as conv2d_record
from staticgraph.ops.conv import conv2d_backprop_input, conv3d_backprop_input
from staticgraph.ops.conv import conv3d as conv3d_record
from staticgraph.ops.join import concat
from staticgraph.ops.shape import transpose

Sizes = int | Sequence[int]


def numbers(value: Sizes, rank: int, what: str) -> tuple[int, ...]:
    """One number per axis, from one for all or from a sequence."""
    if isinstance(value, int):
        return (value,) * rank
    out = tuple(int(v) for v in value)
    if len(out) == 1:
        return out * rank
    if len(out) != rank:
        raise bad_value(f"{what} takes {rank} numbers, got {len(out)}: {out}")
    return out


def _margins(
    padding: Sizes | str, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> list[tuple[int, int]]:
    if not isinstance(padding, str):
        return [(p, p) for p in numbers(padding, len(kernel), "padding")]
    if padding == "valid":
        return [(0, 0)] * len(kernel)
    if padding != "same":
        raise bad_value(f"padding is a number, 'same' or 'valid', not {padding!r}")
    if any(s != 1 for s in stride):
        raise bad_value(f"padding 'same' needs stride 1, got {tuple(stride)}")
    totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    return [(t // 2, t - t // 2) for t in totals]


def _check(name: str, input: Tensor, weight: Tensor, rank: int, takes: int, groups: int) -> None:
    if weight.dim() != rank + 2:
        raise ShapeError(
            f"{name}: the weight has rank {weight.dim()}, it must be {rank + 2}", loc=caller()
        )
    if input.dim() not in (rank + 1, rank + 2):
        raise ShapeError(
            f"{name}: the input has shape {list(input.shape)}; it must have {rank + 2} axes, or "
            f"{rank + 1} without a batch",
            loc=caller(),
        )
    channels = input.shape[-1 - rank]
    if channels != takes:
        raise ShapeError(
            f"{name}: the input has {channels} channels and the weight takes {takes}",
            loc=caller(),
            operands=[f"input: {list(input.shape)}", f"weight: {list(weight.shape)}"],
        )
    outputs = weight.shape[0]
    if groups < 1 or channels % groups or outputs % groups:
        raise ShapeError(
            f"{name}: {groups} groups do not divide the weight's {outputs} and the input's "
            f"{channels} channels",
            loc=caller(),
        )


def _around(values: Sequence[int]) -> tuple[int, ...]:
    return (1, 1, *values)


def _one(
    x: Tensor, w: Tensor, stride: Sequence[int], margins: Any, dilation: Sequence[int]
) -> Tensor:
    """A convolution of one group; `w` is [out, in, *kernel]."""
    rank = len(stride)
    filters = transpose(w, (*range(2, rank + 2), 1, 0))
    how: dict[str, Any] = {"strides": _around(stride), "dilations": _around(dilation)}
    flat = [n for pair in margins for n in pair]
    if rank == 3:
        if any(flat):
            x = pad(x, [n for pair in reversed(margins) for n in pair])
        out: Tensor = conv3d_record(x, filters, padding="VALID", data_format="NCDHW", **how)
    elif any(flat):
        out = conv2d_record(
            x, filters, padding="EXPLICIT", explicit_paddings=(0, 0, 0, 0, *flat),
            data_format="NCHW", **how,
        )  # fmt: skip
    else:
        out = conv2d_record(x, filters, padding="VALID", data_format="NCHW", **how)
    return out


def _grouped(x: Tensor, w: Tensor, groups: int, one: Any) -> Tensor:
    if groups == 1:
        return one(x, w)  # type: ignore[no-any-return]
    each, outs = x.shape[1] // groups, w.shape[0] // groups
    parts = [
        one(x[:, g * each : (g + 1) * each], w[g * outs : (g + 1) * outs]) for g in range(groups)
    ]
    out: Tensor = concat(parts, 1)
    return out


def _with_bias(out: Tensor, bias: Tensor | None, rank: int) -> Tensor:
    return out if bias is None else out + bias.reshape(-1, *(1,) * rank)


def _convolve(
    name: str, rank: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sizes,
    padding: Sizes | str, dilation: Sizes, groups: int,
) -> Tensor:  # fmt: skip
    _check(name, input, weight, rank, weight.shape[1] * groups, groups)
    strides, dilations = numbers(stride, rank, "stride"), numbers(dilation, rank, "dilation")
    margins = _margins(padding, weight.shape[2:], strides, dilations)
    batched = input.dim() == rank + 2
    x, w = input if batched else input.unsqueeze(0), weight
    if rank == 1:  # an axis of size 1 ahead of the one that is slid over
        x, w = x.unsqueeze(2), w.unsqueeze(2)
        strides, dilations, margins = (1, *strides), (1, *dilations), [(0, 0), *margins]
    for size, kernel, d, (lo, hi) in zip(x.shape[2:], w.shape[2:], dilations, margins, strict=True):
        if size + lo + hi < d * (kernel - 1) + 1:
            raise ShapeError(
                f"{name}: a kernel that reaches over {d * (kernel - 1) + 1} elements on an axis "
                f"that has {size + lo + hi} with its padding",
                loc=caller(),
            )
    out = _grouped(x, w, groups, lambda a, b: _one(a, b, strides, margins, dilations))
    if rank == 1:
        out = out.squeeze(2)
    out = _with_bias(out, bias, rank)
    return out if batched else out.squeeze(0)


def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1,
    padding: Sizes | str = 0, dilation: Sizes = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Convolution: input ``[n, c, l]``, weight ``[out, c / groups, k]``."""
    return _convolve("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1,
    padding: Sizes | str = 0, dilation: Sizes = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Convolution: input ``[n, c, h, w]``, weight ``[out, c / groups, kh, kw]``.

    Raises:
      ShapeError: ranks or channels do not fit, or the kernel is greater than the input.

    >>> import staticgraph.dynamic as torch
    >>> x, w = torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2)
    >>> torch.nn.functional.conv2d(x, w, padding=1).shape
    torch.Size([1, 1, 4, 4])
    """
    return _convolve("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1,
    padding: Sizes | str = 0, dilation: Sizes = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Convolution: input ``[n, c, d, h, w]``, weight ``[out, c / groups, kd, kh, kw]``."""
    return _convolve("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


# ---------------------------------------------------------------- transposed
def _one_transposed(
    x: Tensor, w: Tensor, stride: Sequence[int], margins: Sequence[int], extra: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:  # fmt: skip
    """The transpose of a convolution with `w` [in, out, *kernel].

    What windows reach is computed whole, with elements that no window reaches behind it, and cut.
    """
    rank = len(stride)
    filters = transpose(w, (*range(2, rank + 2), 1, 0))
    reach = [
        (n - 1) * s + d * (k - 1) + 1
        for n, s, d, k in zip(x.shape[2:], stride, dilation, w.shape[2:], strict=True)
    ]
    record, layout = (
        (conv3d_backprop_input, "NCDHW") if rank == 3 else (conv2d_backprop_input, "NCHW")
    )
    out: Tensor = record(
        (x.shape[0], w.shape[1], *reach), filters, x, strides=_around(stride),
        padding="VALID", dilations=_around(dilation), data_format=layout,
    )  # fmt: skip
    cuts = [n for p, e in zip(margins, extra, strict=True) for n in (-p, e - p)]
    if any(cuts):
        pairs = [cuts[i : i + 2] for i in range(0, len(cuts), 2)]
        out = pad(out, [n for pair in reversed(pairs) for n in pair])
    return out


def _transposed(
    name: str, rank: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sizes,
    padding: Sizes, output_padding: Sizes, groups: int, dilation: Sizes,
) -> Tensor:  # fmt: skip
    _check(name, input, weight, rank, weight.shape[0], groups)
    strides, dilations = numbers(stride, rank, "stride"), numbers(dilation, rank, "dilation")
    margins = numbers(padding, rank, "padding")
    extra = numbers(output_padding, rank, "output_padding")
    for e, s, d in zip(extra, strides, dilations, strict=True):
        if e >= max(s, d):
            raise bad_value(
                f"{name}: output_padding {e} must be less than stride {s} or dilation {d}"
            )
    batched = input.dim() == rank + 2
    x, w = input if batched else input.unsqueeze(0), weight
    if rank == 1:
        x, w = x.unsqueeze(2), w.unsqueeze(2)
        strides, dilations = (1, *strides), (1, *dilations)
        margins, extra = (0, *margins), (0, *extra)
    out = _grouped(
        x, w, groups, lambda a, b: _one_transposed(a, b, strides, margins, extra, dilations)
    )
    if rank == 1:
        out = out.squeeze(2)
    out = _with_bias(out, bias, rank)
    return out if batched else out.squeeze(0)


def conv_transpose1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1,
    padding: Sizes = 0, output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1,
) -> Tensor:  # fmt: skip
    """Transposed convolution: input ``[n, c, l]``, weight ``[c, out / groups, k]``."""
    return _transposed("conv_transpose1d", 1, input, weight, bias, stride, padding,
                       output_padding, groups, dilation)  # fmt: skip


def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1,
    padding: Sizes = 0, output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1,
) -> Tensor:  # fmt: skip
    """Transposed convolution: input ``[n, c, h, w]``, weight ``[c, out / groups, kh, kw]``."""
    return _transposed("conv_transpose2d", 2, input, weight, bias, stride, padding,
                       output_padding, groups, dilation)  # fmt: skip


def conv_transpose3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1,
    padding: Sizes = 0, output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1,
) -> Tensor:  # fmt: skip
    """Transposed convolution: input ``[n, c, d, h, w]``, weight ``[c, out / groups, ...]``."""
    return _transposed("conv_transpose3d", 3, input, weight, bias, stride, padding,
                       output_padding, groups, dilation)  # fmt: skip
