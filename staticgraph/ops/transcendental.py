"""Roots, exponentials, logarithms, circular and hyperbolic functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.ir.op import Op, Sample, lookup
from staticgraph.ir.scalar import s
from staticgraph.ops.arithmetic import neg, real_div, reciprocal
from staticgraph.ops.rules import FLOATING, binary, unary

POSITIVE = (0.25, 3.0)
INSIDE = (-0.8, 0.8)

# ---------------------------------------------------------------- roots
sqrt: Op = unary("Sqrt", np.sqrt, s.sqrt, lambda g, y, x: real_div(g * 0.5, y), domain=POSITIVE)
rsqrt: Op = unary(
    "Rsqrt", lambda x: np.reciprocal(np.sqrt(x)), s.rsqrt,
    lambda g, y, x: g * (y * y * y * -0.5), domain=POSITIVE,
)  # fmt: skip

# ---------------------------------------------------------------- exponentials and logarithms
exp: Op = unary("Exp", np.exp, s.exp, lambda g, y, x: g * y)
expm1: Op = unary("Expm1", np.expm1, s.expm1, lambda g, y, x: g * exp(x))
log: Op = unary("Log", np.log, s.log, lambda g, y, x: real_div(g, x), domain=POSITIVE)
log1p: Op = unary("Log1p", np.log1p, s.log1p, lambda g, y, x: real_div(g, x + 1), domain=INSIDE)
sigmoid: Op = unary(
    "Sigmoid", lambda x: np.exp(-np.logaddexp(0, -x)), s.sigmoid, lambda g, y, x: g * (y * (1 - y))
)
softplus: Op = unary(
    "Softplus", lambda x: np.logaddexp(x, 0), s.softplus, lambda g, y, x: g * sigmoid(x),
    operand="features",
)  # fmt: skip


def _xlogy_grad(g: Any, y: Any, a: Any, b: Any) -> tuple[Any, Any]:
    there = lookup("Cast")(lookup("NotEqual")(a, 0), DstT=a.dtype.base)
    return g * xlogy(there, b), g * xdivy(a, b)


def _xdivy_grad(g: Any, y: Any, a: Any, b: Any) -> tuple[Any, Any]:
    there = lookup("Cast")(lookup("NotEqual")(a, 0), DstT=a.dtype.base)
    return g * xdivy(there, b), g * xdivy(neg(a), b * b)


_ZEROS = (Sample((np.zeros(3, "float32"), np.array([0, -1, 2], "float32")), grad=False),)
xlogy: Op = binary(
    "Xlogy", lambda a, b: np.where(a == 0, a * 0, a * np.log(b)).astype(a.dtype),
    lambda a, b: s.select(a.eq(0), 0, a * s.log(b)), _xlogy_grad,
    allowed=FLOATING, domain=POSITIVE, cheap=False, extra=_ZEROS, doc="x log(y), 0 where x is 0.",
)  # fmt: skip
xdivy: Op = binary(
    "Xdivy", lambda a, b: np.where(a == 0, a * 0, a / b).astype(a.dtype),
    lambda a, b: s.select(a.eq(0), 0, a / b), _xdivy_grad,
    allowed=FLOATING, domain=POSITIVE, cheap=False, extra=_ZEROS, doc="x / y, 0 where x is 0.",
)  # fmt: skip

# ---------------------------------------------------------------- circular functions
sin: Op = unary("Sin", np.sin, s.sin, lambda g, y, x: g * cos(x))
cos: Op = unary("Cos", np.cos, s.cos, lambda g, y, x: neg(g * sin(x)))
tan: Op = unary("Tan", np.tan, s.tan, lambda g, y, x: g * (y * y + 1), domain=(-1.2, 1.2))
asin: Op = unary("Asin", np.arcsin, s.asin, lambda g, y, x: g * rsqrt(1 - x * x), domain=INSIDE)
acos: Op = unary(
    "Acos", np.arccos, s.acos, lambda g, y, x: neg(g * rsqrt(1 - x * x)), domain=INSIDE
)
atan: Op = unary("Atan", np.arctan, s.atan, lambda g, y, x: real_div(g, x * x + 1))


def _atan2_grad(g: Any, out: Any, y: Any, x: Any) -> tuple[Any, Any]:
    scaled = real_div(g, x * x + y * y)
    return scaled * x, neg(scaled * y)


atan2: Op = binary(
    "Atan2",
    np.arctan2,
    lambda y, x: s.atan2(y, x),
    _atan2_grad,
    allowed=FLOATING,
    domain=(0.5, 2.0),
    cheap=False,
    operands=("y", "x"),
    extra=(
        Sample(
            (np.array([0, -0.0, 0, 1, -1], "float32"), np.array([-1, -1, 1, 0, -2], "float32")),
            grad=False,
        ),
    ),
)

# ---------------------------------------------------------------- hyperbolic functions
sinh: Op = unary("Sinh", np.sinh, s.sinh, lambda g, y, x: g * cosh(x))
cosh: Op = unary("Cosh", np.cosh, s.cosh, lambda g, y, x: g * sinh(x))
tanh: Op = unary("Tanh", np.tanh, s.tanh, lambda g, y, x: g * (1 - y * y))
asinh: Op = unary("Asinh", np.arcsinh, s.asinh, lambda g, y, x: real_div(g, cosh(y)))
acosh: Op = unary(
    "Acosh", np.arccosh, s.acosh, lambda g, y, x: real_div(g, sinh(y)), domain=(1.5, 4.0)
)
atanh: Op = unary(
    "Atanh", np.arctanh, s.atanh, lambda g, y, x: g * reciprocal(1 - x * x), domain=INSIDE
)
