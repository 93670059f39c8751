"""Activation functions of neural networks that are single ops.

Gradients are written so that neither side of a choice overflows: ``exp`` is only taken of
``minimum(x, 0)``, and derivatives of any order stay finite.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.ir.op import ErrorSample, Op, Sample, lookup
from staticgraph.ir.scalar import Expr, Operand, s
from staticgraph.ops.arithmetic import abs_, choose, minimum, real_div
from staticgraph.ops.rules import FLOATING, NUMERIC, first_shape, floats, in_float32, same, unary

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def _positive(x: Any) -> Any:
    return lookup("Greater")(x, 0)


relu: Op = unary(
    "Relu",
    lambda x: np.maximum(x, 0),
    lambda x: s.maximum(x, 0),
    lambda g, y, x: choose(_positive(y), g, 0),
    allowed=NUMERIC,
    cheap=True,
    operand="features",
)
relu6: Op = unary(
    "Relu6",
    lambda x: np.minimum(np.maximum(x, 0), 6),
    lambda x: s.minimum(s.maximum(x, 0), 6),
    lambda g, y, x: choose(lookup("LogicalAnd")(_positive(y), lookup("Less")(y, 6)), g, 0),
    allowed=NUMERIC,
    domain=(-4, 10),
    cheap=True,
    operand="features",
)
elu: Op = unary(
    "Elu",
    lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    lambda x: s.select(x > 0, x, s.expm1(x)),
    lambda g, y, x: g * lookup("Exp")(minimum(x, 0)),
    operand="features",
)


def _np_selu(x: np.ndarray) -> Any:
    scale, alpha = x.dtype.type(SELU_SCALE), x.dtype.type(SELU_SCALE * SELU_ALPHA)
    return np.where(x > 0, scale * x, alpha * np.expm1(np.minimum(x, 0)))


def _selu_grad(g: Any, y: Any, x: Any) -> Any:
    left = lookup("Exp")(minimum(x, 0)) * (SELU_SCALE * SELU_ALPHA)
    return g * choose(lookup("Less")(x, 0), left, SELU_SCALE)


selu: Op = unary(
    "Selu",
    _np_selu,
    lambda x: s.select(x > 0, x * SELU_SCALE, s.expm1(x) * (SELU_SCALE * SELU_ALPHA)),
    _selu_grad,
    operand="features",
)
softsign: Op = unary(
    "Softsign",
    lambda x: x / (np.abs(x) + 1),
    lambda x: x / (s.abs(x) + 1),
    lambda g, y, x: real_div(g, lookup("Square")(abs_(x) + 1)),
    operand="features",
)


def _lower_leaky(ix: tuple[Expr, ...], x: Operand, *, alpha: float, **_: Any) -> Expr:
    e = x.at(ix)
    return s.select(e > 0, e, e * alpha)


leaky_relu: Op = Op(
    "LeakyRelu",
    ("features",),
    same(FLOATING),
    first_shape,
    in_float32(lambda x, *, alpha, **_: np.where(x > 0, x, x * x.dtype.type(alpha))),
    lambda g, y, x, *, alpha, **_: (choose(_positive(x), g, g * alpha),),
    lower=_lower_leaky,
    attrs={"alpha": 0.2},
    samples=lambda: (
        Sample((floats(shape=(3, 5), dtype="float64"),)),
        Sample((floats(shape=(17,)),), {"alpha": 0.01}),
        Sample((floats(shape=(0, 2)),)),
        Sample((floats(shape=()),), {"alpha": 1.5}),
    ),
    error_samples=lambda: (ErrorSample((np.zeros(2, "int32"),), {}, "does not take int32"),),
    doc="x where it is positive, else alpha * x.",
)
