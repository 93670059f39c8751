"""Adding one number per channel."""

from __future__ import annotations

from typing import Any

from staticgraph.ir.dims import Dim
from staticgraph.ir.op import ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.scalar import Expr, Operand
from staticgraph.ir.types import TensorType
from staticgraph.ops.reduce import sum_
from staticgraph.ops.rules import NUMERIC, bools, floats, ints, same, sum_to


def _shape(ctx: Infer, value: TensorType, bias: TensorType, *, data_format: str) -> tuple[Dim, ...]:
    if data_format not in ("NHWC", "NCHW"):
        raise RuleError(f"data_format is 'NHWC' or 'NCHW', not {data_format!r}")
    if bias.shape is not None and len(bias.shape) != 1:
        raise RuleError(f"bias has rank 1, got rank {len(bias.shape)}")
    dims = value.dims
    if len(dims) < 2:
        raise RuleError(f"value has rank 2 or more, got rank {len(dims)}")
    if bias.shape is not None:
        channels = dims[1] if data_format == "NCHW" else dims[-1]
        ctx.equal(channels, bias.shape[0], "value has {a} channels and bias {b}")
    return dims


def _numpy(value: Any, bias: Any, *, data_format: str) -> Any:
    if data_format == "NCHW":
        bias = bias.reshape(-1, *(1,) * (value.ndim - 2))
    return value + bias


def _lower(ix: tuple[Expr, ...], value: Operand, bias: Operand, *, data_format: str) -> Expr:
    return value[ix] + bias[ix[1] if data_format == "NCHW" else ix[-1]]


def _grad(g: Any, y: Any, value: Any, bias: Any, *, data_format: str) -> tuple[Any, Any]:
    if data_format == "NHWC":
        return g, sum_to(g, bias)
    return g, bias_add_grad(g)


bias_add: Op = Op(
    "BiasAdd", ("value", "bias"), same(NUMERIC), _shape, _numpy, _grad, lower=_lower,
    attrs={"data_format": "NHWC"},
    samples=lambda: (
        Sample((floats(shape=(3, 4), dtype="float64"), floats(shape=(4,), dtype="float64"))),
        Sample((floats(shape=(2, 3, 2, 2)), floats(shape=(3,))), {"data_format": "NCHW"}),
        Sample((floats(shape=(2, 3, 1)), floats(shape=(1,)))),
        Sample((floats(shape=(0, 3)), floats(shape=(3,)))),
        Sample((ints(), ints(shape=(4,))), grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(), floats(shape=(3,))), {}, "value has 4 channels and bias 3"),
        ErrorSample((floats(), floats(shape=(3, 1))), {}, "bias has rank 1, got rank 2"),
        ErrorSample((floats(shape=(4,)), floats(shape=(4,))), {}, "rank 2 or more, got rank 1"),
        ErrorSample((bools(), bools((4,))), {}, "does not take bool"),
    ),
    doc="Add `bias` along the axis of channels.",
)  # fmt: skip


def _channel_sums(g: Any) -> Any:
    rank = len(g.type.dims)
    return sum_(g, (0, *range(2, rank)), keep_dims=False)


def _np_channel_sums(g: Any) -> Any:
    return g.sum(axis=(0, *range(2, g.ndim)), dtype=g.dtype)


def _spread_channels(g: Any, like: Any) -> Any:
    zeros = lookup("ZerosLike")(like)
    return bias_add(zeros, g, data_format="NCHW")


bias_add_grad: Op = Op(
    "ChannelSums", ("g",), same(NUMERIC), lambda ctx, g: (g.dims[1],), _np_channel_sums,
    lambda d, y, g: (_spread_channels(d, g),),
    decompose=_channel_sums, cheap=False,
    samples=lambda: (
        Sample((floats(shape=(2, 3, 2), dtype="float64"),)), Sample((floats(shape=(2, 3)),)),
    ),
    doc="Sums over all axes but the second.",
)  # fmt: skip
