"""Maxima and means of windows, channels first, as PyTorch's of the same names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from staticgraph.dynamic.creation import from_numpy
from staticgraph.dynamic.nn.functional.conv import Sizes, numbers
from staticgraph.dynamic.nn.functional.padding import pad
from staticgraph.dynamic.refusals import bad_value
from staticgraph.dynamic.tensor import Tensor
from staticgraph.errors import ShapeError
from staticgraph.ir.loc import caller
from staticgraph.ops.arithmetic import maximum
from staticgraph.ops.matmul import batch_matmul
from staticgraph.ops.pooling import avg_pool, max_pool, max_pool_place


def _windows(
    size: int, kernel: int, stride: int, margin: int, dilation: int, ceil: bool
) -> tuple[int, int]:
    """How many windows an axis has, and how much padding they need behind it."""
    reach = dilation * (kernel - 1) + 1
    rest = size + 2 * margin - reach
    if rest < 0:
        raise ShapeError(
            f"a window that reaches over {reach} elements on an axis that has "
            f"{size + 2 * margin} with its padding",
            loc=caller(),
        )
    count = (-(-rest // stride) if ceil else rest // stride) + 1
    if ceil and (count - 1) * stride >= size + margin:  # it would start in the padding
        count -= 1
    return count, max((count - 1) * stride + reach - size - margin, 0)


class _Geometry:
    """Windows over the last axes of an input, an axis of size 1 added where there is one only."""

    def __init__(
        self, name: str, input: Tensor, rank: int, kernel: Sizes, stride: Sizes | None,
        padding: Sizes, dilation: Sizes, ceil: bool,
    ) -> None:  # fmt: skip
        if input.dim() not in (rank + 1, rank + 2):
            raise ShapeError(
                f"{name}: the input has shape {list(input.shape)}; it must have {rank + 2} axes, "
                f"or {rank + 1} without a batch",
                loc=caller(),
            )
        kernels = numbers(kernel, rank, "kernel_size")
        strides = kernels if stride is None else numbers(stride, rank, "stride")
        margins, dilations = numbers(padding, rank, "padding"), numbers(dilation, rank, "dilation")
        for k, m in zip(kernels, margins, strict=True):
            if m * 2 > k:
                raise bad_value(f"{name}: padding {m} is more than half of kernel size {k}")
        self.rank, self.batched = rank, input.dim() == rank + 2
        self.x = input if self.batched else input.unsqueeze(0)
        if rank == 1:
            self.x = self.x.unsqueeze(2)
            kernels, strides = (1, *kernels), (1, *strides)
            margins, dilations = (0, *margins), (1, *dilations)
        self.kernel, self.stride = kernels, strides
        self.before, self.dilation = margins, dilations
        lines = [
            _windows(n, k, s, m, d, ceil)
            for n, k, s, m, d in zip(
                self.x.shape[2:], kernels, strides, margins, dilations, strict=True
            )
        ]
        self.out = tuple(count for count, _ in lines)
        self.after = tuple(after for _, after in lines)

    def padded(self, value: float) -> Tensor:
        """The input with what windows need around it."""
        if not any(self.before) and not any(self.after):
            return self.x
        pairs = list(zip(self.before, self.after, strict=True))
        return pad(self.x, [n for pair in reversed(pairs) for n in pair], value=value)

    def back(self, out: Tensor) -> Tensor:
        """`out` without the axes that were added."""
        if self.rank == 1:
            out = out.squeeze(2)
        return out if self.batched else out.squeeze(0)

    @property
    def attrs(self) -> dict[str, Any]:
        """What the pooling records are told."""
        return {
            "ksize": (1, 1, *self.kernel), "strides": (1, 1, *self.stride), "padding": "VALID",
            "data_format": "NCHW",
        }  # fmt: skip


def _max_pool(
    name: str, rank: int, input: Tensor, kernel_size: Sizes, stride: Sizes | None, padding: Sizes,
    dilation: Sizes, ceil_mode: bool, return_indices: bool,
) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
    g = _Geometry(name, input, rank, kernel_size, stride, padding, dilation, ceil_mode)
    x = g.padded(-math.inf)
    if any(d != 1 for d in g.dilation):
        if return_indices:
            raise bad_value(f"{name}: return_indices goes with dilation 1 only")
        return g.back(_dilated_max(g, x))
    out: Tensor = g.back(max_pool(x, **g.attrs))
    return (out, g.back(_indices(g, x))) if return_indices else out


def _dilated_max(g: _Geometry, x: Tensor) -> Tensor:
    """One slice for each element of a window, and the maximum of all."""
    out: Tensor | None = None
    for i, j in product(*(range(k) for k in g.kernel)):
        (di, dj), (si, sj), (oi, oj) = g.dilation, g.stride, g.out
        i0, j0 = i * di, j * dj
        part = x[:, :, i0 : i0 + (oi - 1) * si + 1 : si, j0 : j0 + (oj - 1) * sj + 1 : sj]
        out = part if out is None else maximum(out, part)
    assert out is not None, "a window has at least one element"
    return out


def _indices(g: _Geometry, x: Tensor) -> Tensor:
    """For each window, where in the input's plane its maximum is."""
    place = max_pool_place(x.detach(), **g.attrs).numpy().astype(np.int64)
    row, column = np.divmod(place, g.kernel[1])
    row += (np.arange(g.out[0]) * g.stride[0] - g.before[0])[:, None]
    column += np.arange(g.out[1]) * g.stride[1] - g.before[1]
    return from_numpy(row * g.x.shape[3] + column)


def max_pool1d(
    input: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
    dilation: Sizes = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
    """The greatest element of each window of ``[n, c, l]``."""
    return _max_pool("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode,
                     return_indices)  # fmt: skip


def max_pool2d(
    input: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
    dilation: Sizes = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
    """The greatest element of each window of ``[n, c, h, w]``; padding is less than all.

    With `return_indices` also where it is in the plane of ``h * w`` elements.

    >>> import staticgraph.dynamic as torch
    >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
    >>> torch.nn.functional.max_pool2d(x, 2)
    tensor([[[[ 5.,  7.],
              [13., 15.]]]])
    """
    return _max_pool("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode,
                     return_indices)  # fmt: skip


# ---------------------------------------------------------------- means
def _counts(g: _Geometry, include: bool) -> np.ndarray:
    """How many elements each window's sum is divided by."""
    lines = []
    for axis in range(2):
        size, margin = g.x.shape[2 + axis], g.before[axis]
        start = np.arange(g.out[axis]) * g.stride[axis] - margin
        end = np.minimum(start + g.kernel[axis], size + margin)
        if not include:
            start, end = np.maximum(start, 0), np.minimum(end, size)
        lines.append(end - start)
    return np.outer(lines[0], lines[1])


def _avg_pool(
    name: str, rank: int, input: Tensor, kernel_size: Sizes, stride: Sizes | None, padding: Sizes,
    ceil_mode: bool, count_include_pad: bool, divisor: int | None,
) -> Tensor:  # fmt: skip
    g = _Geometry(name, input, rank, kernel_size, stride, padding, 1, ceil_mode)
    out: Tensor = avg_pool(g.padded(0.0), **g.attrs)
    whole = g.kernel[0] * g.kernel[1]
    if divisor is not None:
        if divisor == 0:
            raise bad_value(f"{name}: divisor_override must not be 0")
        out = out * (whole / divisor)
    else:
        counts = _counts(g, count_include_pad)
        if (counts != whole).any():
            out = out * from_numpy(whole / counts).to(out.dtype)
    return g.back(out)


def avg_pool1d(
    input: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
    ceil_mode: bool = False, count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """The mean of each window of ``[n, c, l]``."""
    return _avg_pool("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode,
                     count_include_pad, None)  # fmt: skip


def avg_pool2d(
    input: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The mean of each window of ``[n, c, h, w]``.

    Padding counts as zeros unless `count_include_pad` is false.
    """
    return _avg_pool("avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode,
                     count_include_pad, divisor_override)  # fmt: skip


def _averaging(size: int, parts: int, dtype: np.dtype) -> np.ndarray:
    """The matrix whose rows are the means of `parts` nearly equal pieces of an axis."""
    out = np.zeros((parts, size), dtype)
    for i in range(parts):
        start, end = i * size // parts, -(-(i + 1) * size // parts)
        out[i, start:end] = 1.0 / (end - start)
    return out


def _adaptive(name: str, rank: int, input: Tensor, output_size: Sequence[int | None]) -> Tensor:
    if input.dim() not in (rank + 1, rank + 2):
        raise ShapeError(
            f"{name}: the input has shape {list(input.shape)}; it must have {rank + 2} axes, or "
            f"{rank + 1} without a batch",
            loc=caller(),
        )
    sizes = [
        n if want is None else int(want)
        for n, want in zip(input.shape[-rank:], output_size, strict=True)
    ]
    if all(n == 1 for n in sizes):
        return input.mean(tuple(range(-rank, 0)), keepdim=True)
    kind = input._array.dtype
    matrices = [
        from_numpy(_averaging(n, k, kind)) for n, k in zip(input.shape[-rank:], sizes, strict=True)
    ]
    out: Tensor = batch_matmul(input, matrices[-1].t())
    if rank == 2:
        out = batch_matmul(matrices[0], out)
    return out


def adaptive_avg_pool1d(input: Tensor, output_size: int | Sequence[int]) -> Tensor:
    """Means of as many nearly equal pieces of ``[n, c, l]`` as are asked for."""
    return _adaptive("adaptive_avg_pool1d", 1, input, numbers(output_size, 1, "output_size"))


def adaptive_avg_pool2d(input: Tensor, output_size: int | Sequence[int | None] | None) -> Tensor:
    """Means of nearly equal pieces of ``[n, c, h, w]``; None keeps an axis as it is."""
    if output_size is None or isinstance(output_size, int):
        output_size = (output_size, output_size)
    if len(output_size) != 2:
        raise bad_value(f"output_size takes 2 numbers, got {len(output_size)}")
    return _adaptive("adaptive_avg_pool2d", 2, input, output_size)
