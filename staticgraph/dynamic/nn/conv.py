"""Convolutions as modules."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from staticgraph.dynamic.nn import functional as F
from staticgraph.dynamic.nn import init
from staticgraph.dynamic.nn.functional.conv import Sizes, numbers
from staticgraph.dynamic.nn.linear import new_parameter
from staticgraph.dynamic.nn.module import Module
from staticgraph.dynamic.nn.parameter import Parameter
from staticgraph.dynamic.refusals import bad_value
from staticgraph.dynamic.tensor import Tensor

MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate",
         "circular": "circular"}  # fmt: skip


class _Convolution(Module):
    """What convolutions and their transposes share: sizes, weights and their starting values."""

    rank: ClassVar[int]
    transposed: ClassVar[bool] = False
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes,
        padding: Sizes | str, output_padding: Sizes, dilation: Sizes, groups: int, bias: bool,
        padding_mode: str, device: Any, dtype: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        if groups <= 0:
            raise bad_value(f"groups must be above 0, got {groups}")
        if in_channels % groups:
            raise bad_value(f"{groups} groups do not divide {in_channels} input channels")
        if out_channels % groups:
            raise bad_value(f"{groups} groups do not divide {out_channels} output channels")
        if padding_mode not in MODES or (self.transposed and padding_mode != "zeros"):
            raise bad_value(f"padding_mode {padding_mode!r} is not one of {', '.join(MODES)}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = numbers(kernel_size, self.rank, "kernel_size")
        self.stride = numbers(stride, self.rank, "stride")
        self.dilation = numbers(dilation, self.rank, "dilation")
        self.output_padding = numbers(output_padding, self.rank, "output_padding")
        self.padding: Any = (
            padding if isinstance(padding, str) else numbers(padding, self.rank, "padding")
        )
        self.padding_mode = padding_mode
        if padding == "same" and any(s != 1 for s in self.stride):
            raise bad_value(f"padding 'same' needs stride 1, got {self.stride}")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise bad_value(f"padding is a number, 'same' or 'valid', not {padding!r}")
        ends = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = new_parameter(
            ends[0], ends[1] // groups, *self.kernel_size, device=device, dtype=dtype
        )
        new = new_parameter(out_channels, device=device, dtype=dtype) if bias else None
        self.register_parameter("bias", new)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new starting values."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in = math.prod(self.weight.shape[1:])
            if fan_in:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        ]
        for name, plain in (
            ("padding", (0,) * self.rank), ("dilation", (1,) * self.rank),
            ("output_padding", (0,) * self.rank), ("groups", 1),
        ):  # fmt: skip
            if getattr(self, name) != plain:
                parts.append(f"{name}={getattr(self, name)}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)


class _Conv(_Convolution):
    """A convolution: weight ``[out_channels, in_channels / groups, *kernel_size]``."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes = 1,
        padding: Sizes | str = 0, dilation: Sizes = 1, groups: int = 1, bias: bool = True,
        padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, 0, dilation,
                         groups, bias, padding_mode, device, dtype)  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._around(), MODES[self.padding_mode])
            padding = 0
        function = (F.conv1d, F.conv2d, F.conv3d)[self.rank - 1]
        return function(input, self.weight, self.bias, self.stride, padding, self.dilation,
                        self.groups)  # fmt: skip

    def _around(self) -> list[int]:
        """What `pad` takes: pairs, the last axis first."""
        if self.padding == "valid":
            return [0] * 2 * self.rank
        if self.padding == "same":
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            return [n for t in reversed(totals) for n in (t // 2, t - t // 2)]
        return [n for p in reversed(self.padding) for n in (p, p)]


class Conv1d(_Conv):
    """Convolution over ``[n, c, l]``."""

    rank = 1


class Conv2d(_Conv):
    """Convolution over ``[n, c, h, w]``.

    >>> import staticgraph.dynamic as torch
    >>> layer = torch.nn.Conv2d(16, 33, (3, 5), stride=(2, 1), padding=(4, 2))
    >>> layer(torch.randn(2, 16, 50, 20)).shape
    torch.Size([2, 33, 28, 20])
    """

    rank = 2


class Conv3d(_Conv):
    """Convolution over ``[n, c, d, h, w]``."""

    rank = 3


class _ConvTranspose(_Convolution):
    """A transposed convolution: weight ``[in_channels, out_channels / groups, *kernel_size]``."""

    transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes = 1,
        padding: Sizes = 0, output_padding: Sizes = 0, groups: int = 1, bias: bool = True,
        dilation: Sizes = 1, padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, output_padding,
                         dilation, groups, bias, padding_mode, device, dtype)  # fmt: skip

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        extra = self.output_padding if output_size is None else self._extra(input, output_size)
        function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self.rank - 1]
        return function(input, self.weight, self.bias, self.stride, self.padding, extra,
                        self.groups, self.dilation)  # fmt: skip

    def _extra(self, input: Tensor, output_size: Any) -> tuple[int, ...]:
        wanted = [int(n) for n in output_size][-self.rank :]
        out = []
        for n, want, k, s, p, d in zip(
            input.shape[-self.rank :], wanted, self.kernel_size, self.stride, self.padding,
            self.dilation, strict=True,
        ):  # fmt: skip
            least = (n - 1) * s - 2 * p + d * (k - 1) + 1
            if not least <= want <= least + s - 1:
                raise bad_value(f"output_size must be from {least} to {least + s - 1}, got {want}")
            out.append(want - least)
        return tuple(out)


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution over ``[n, c, l]``."""

    rank = 1


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution over ``[n, c, h, w]``."""

    rank = 2


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution over ``[n, c, d, h, w]``."""

    rank = 3
