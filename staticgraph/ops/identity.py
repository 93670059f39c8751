"""Ops that pass their operand on: identities, and marks for differentiation and feeding."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.errors import GraphError
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import REQUIRED, ErrorSample, Infer, Op, RuleError, Sample
from staticgraph.ir.scalar import Expr, Operand
from staticgraph.ir.types import TensorType
from staticgraph.ops.rules import ANY, first_shape, floats, ints, same


def _load(ix: tuple[Expr, ...], x: Operand, **_: Any) -> Expr:
    return x[ix]


def _same_value(x: np.ndarray, **_: Any) -> np.ndarray:
    return x


_SAMPLES = (
    Sample((floats(dtype="float64"),)),
    Sample((floats(shape=()),)),
    Sample((floats(shape=(0, 2)),)),
    Sample((ints(),), grad=False),
)
_STOPPED = tuple(Sample(x.args, grad=False) for x in _SAMPLES)

identity: Op = Op(
    "Identity", ("input",), same(ANY), first_shape, _same_value, lambda g, y, x: (g,),
    lower=_load, folds=True, samples=_SAMPLES, doc="The operand itself.",
)  # fmt: skip
snapshot: Op = Op(
    "Snapshot", ("input",), same(ANY), first_shape, _same_value, lambda g, y, x: (g,),
    lower=_load, folds=True, samples=_SAMPLES, doc="The operand's value at this point.",
)  # fmt: skip
guarantee_const: Op = Op(
    "GuaranteeConst", ("input",), same(ANY), first_shape, _same_value, lambda g, y, x: (g,),
    lower=_load, folds=True, samples=_SAMPLES,
    doc="The operand, which the user says never changes.",
)  # fmt: skip
stop_gradient: Op = Op(
    "StopGradient", ("input",), same(ANY), first_shape, _same_value, None,
    lower=_load, folds=True, samples=_STOPPED, doc="The operand, taken as constant by gradients.",
)  # fmt: skip


def _no_gradient(g: Any, y: Any, x: Any, *, message: str) -> Any:
    raise GraphError(f"PreventGradient: this tensor must not be differentiated, {message}")


prevent_gradient: Op = Op(
    "PreventGradient", ("input",), same(ANY), first_shape, _same_value, _no_gradient,
    lower=_load, attrs={"message": ""}, samples=_STOPPED,
    doc="The operand; asking for a gradient through it is an error.",
)  # fmt: skip


def _each_dtype(*inputs: DType, N: int) -> tuple[DType, ...]:
    return inputs


def _each_shape(ctx: Infer, *inputs: TensorType, N: int) -> tuple[Any, ...]:
    return tuple(x.shape for x in inputs)


identity_n: Op = Op(
    "IdentityN", ("*input",), _each_dtype, _each_shape, lambda *xs, N: tuple(xs),
    lambda gs, ys, *xs, N: tuple(gs) if N > 1 else (gs,),
    decompose=lambda *xs, N: [identity(x) for x in xs], attrs={"N": REQUIRED},
    operand_dtypes={"input": None},
    results=lambda N: N,
    samples=lambda: (
        Sample(([floats(dtype="float64"), floats(shape=(2,), dtype="float64")],), {"N": 2}),
        Sample(([floats(), ints()],), {"N": 2}, grad=False),
    ),
    doc="Several operands, each as it is; they may differ in dtype and shape.",
)  # fmt: skip


def _declared(
    ctx: Infer, x: TensorType, *, shape: tuple[Dim | None, ...] | None
) -> tuple[Dim, ...]:
    if shape is None:
        return x.dims
    if x.shape is None:
        return tuple(ctx.fresh("d") if d is None else d for d in shape)
    if len(shape) != len(x.dims):
        raise RuleError(f"the tensor has rank {len(x.dims)}, the shape asked for has {len(shape)}")
    return tuple(
        a if d is None else ctx.equal(a, d, f"axis {k} has size {{a}}, the shape asked for {{b}}")
        for k, (a, d) in enumerate(zip(x.dims, shape, strict=True))
    )


ensure_shape: Op = Op(
    "EnsureShape", ("input",), same(ANY), _declared, _same_value, lambda g, y, x, *, shape: (g,),
    lower=_load, attrs={"shape": REQUIRED},
    samples=lambda: (
        Sample((floats(dtype="float64"),), {"shape": (3, None)}),
        Sample((floats(),), {"shape": None}),
        Sample((ints(),), {"shape": (3, 4)}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(),), {"shape": (3, 5)}, "axis 1 has size 4, the shape asked for 5"),
        ErrorSample((floats(),), {"shape": (3,)}, "the tensor has rank 2"),
    ),
    doc="The operand; its shape must fit `shape`, where None fits everything.",
)  # fmt: skip

# The result takes the operand's sizes: a feed of another size replaces the tensor altogether.
placeholder_with_default: Op = Op(
    "PlaceholderWithDefault", ("input",), same(ANY), _declared, _same_value,
    lambda g, y, x, *, shape: (g,), lower=_load, attrs={"shape": None},
    samples=lambda: (
        Sample((floats(dtype="float64"),), {"shape": (None, 4)}),
        Sample((floats(shape=()),), {"shape": None}),
    ),
    error_samples=lambda: (ErrorSample((floats(),), {"shape": (3, 5)}, "axis 1 has size 4"),),
    doc="The operand, unless a value is given with the run.",
)  # fmt: skip
