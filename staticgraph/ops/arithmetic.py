"""Addition, multiplication and their kin."""

from __future__ import annotations

import numpy as np

from staticgraph.ir.scalar import s
from staticgraph.ops.rules import FLOATING, NUMERIC, binary, unary

add = binary("Add", np.add, lambda a, b: a + b, lambda g, y, a, b: (g, g), folds=True)
sub = binary("Sub", np.subtract, lambda a, b: a - b, lambda g, y, a, b: (g, neg(g)), folds=True)
mul = binary("Mul", np.multiply, lambda a, b: a * b, lambda g, y, a, b: (g * b, g * a), folds=True)
real_div = binary(
    "RealDiv", np.true_divide, lambda a, b: a / b,
    lambda g, y, a, b: (real_div(g, b), neg(real_div(g * y, b))),
    allowed=FLOATING, domain=(0.5, 2.0), cheap=False,
)  # fmt: skip
neg = unary("Neg", np.negative, lambda x: -x, lambda g, y, x: neg(g), allowed=NUMERIC, cheap=True)
square = unary(
    "Square", np.square, lambda x: x * x, lambda g, y, x: g * (x * 2), allowed=NUMERIC, cheap=True
)
squared_difference = binary(
    "SquaredDifference", lambda a, b: np.square(a - b), lambda a, b: (a - b) * (a - b),
    lambda g, y, a, b: (2 * (g * (a - b)), neg(2 * (g * (a - b)))),
)  # fmt: skip
tanh = unary("Tanh", np.tanh, s.tanh, lambda g, y, x: g * (1 - y * y))
