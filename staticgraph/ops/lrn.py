"""Local response normalisation: each channel divided by a power of its neighbours' squares."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.ir.dims import Dim
from staticgraph.ir.op import ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.scalar import Expr, Operand, Reduce, lift, size_expr
from staticgraph.ir.types import TensorType
from staticgraph.ops.rules import FLOATING, bools, first_shape, floats, in_float32, same
from staticgraph.ops.shape import ZERO
from staticgraph.ops.slicing import guarded, shifted
from staticgraph.ops.windows import combined


def _np_sums(x: np.ndarray, *, radius: int) -> np.ndarray:
    out = np.zeros_like(x)
    c = x.shape[-1]
    for k in range(-radius, radius + 1):
        if abs(k) < c:
            out[..., max(0, -k) : c - max(0, k)] += x[..., max(0, k) : c + min(0, k)]
    return out


def _sums_lower(ix: tuple[Expr, ...], x: Operand, *, radius: int) -> Expr | Reduce:
    def body(k: tuple[Expr, ...]) -> Expr:
        i = shifted(ix[-1] + k[0], -radius)
        inside = [i >= 0, i < size_expr(x.shape[-1])]
        return guarded(inside, x[(*ix[:-1], guarded(inside, i, ZERO))], lift(0, x.dtype))

    return combined("sum", (2 * radius + 1,), body, x.dtype)


neighbour_sums: Op = Op(
    "NeighbourSums", ("x",), same(FLOATING), first_shape, in_float32(_np_sums),
    lambda g, y, x, *, radius: (neighbour_sums(g, radius=radius),),
    lower=_sums_lower, attrs={"radius": 1}, cheap=False,
    samples=lambda: (
        Sample((floats(shape=(2, 3), dtype="float64"),), {"radius": 1}),
        Sample((floats(shape=(3, 5)),), {"radius": 20}),
        Sample((floats(shape=(0, 2)),), {"radius": 2}),
    ),
    doc="Sums over channels at most `radius` away.",
)  # fmt: skip


def _shape(ctx: Infer, x: TensorType, **_: Any) -> tuple[Dim, ...]:
    if len(x.dims) != 4:
        raise RuleError(f"input must have rank 4, it has rank {len(x.dims)}")
    return x.dims


@in_float32
def _numpy(
    x: np.ndarray, *, depth_radius: int, bias: float, alpha: float, beta: float
) -> np.ndarray:
    return (x * (bias + alpha * _np_sums(x * x, radius=depth_radius)) ** -beta).astype(x.dtype)


def _base(x: Any, radius: int, bias: float, alpha: float) -> Any:
    return neighbour_sums(x * x, radius=radius) * alpha + bias


def _power(x: Any, exponent: float) -> Any:
    return lookup("Exp")(lookup("Log")(x) * exponent)


def _grad(
    g: Any, y: Any, x: Any, *, depth_radius: int, bias: float, alpha: float, beta: float
) -> tuple[Any]:
    base = _base(x, depth_radius, bias, alpha)
    through = neighbour_sums(g * x * _power(base, -beta - 1), radius=depth_radius)
    return (g * _power(base, -beta) - through * x * (2 * alpha * beta),)


lrn: Op = Op(
    "LRN", ("input",), same(FLOATING), _shape, _numpy, _grad,
    decompose=lambda x, *, depth_radius, bias, alpha, beta: (
        x * _power(_base(x, depth_radius, bias, alpha), -beta)
    ),
    attrs={"depth_radius": 5, "bias": 1.0, "alpha": 1.0, "beta": 0.5}, cheap=False,
    samples=lambda: (
        Sample((floats(shape=(1, 2, 2, 5), dtype="float64"),), {"depth_radius": 1}),
        Sample((floats(shape=(2, 1, 2, 3)),), {"bias": 2.0, "alpha": 0.5, "beta": 0.75}),
    ),
    error_samples=lambda: (
        ErrorSample((floats(),), {}, "input must have rank 4, it has rank 2"),
        ErrorSample((bools((1, 1, 1, 1)),), {}, "does not take bool"),
    ),
    doc="``x / (bias + alpha * sums of squares of neighbouring channels) ** beta``.",
)  # fmt: skip
