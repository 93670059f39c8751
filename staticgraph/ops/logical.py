"""Logic on truth values and on the bits of integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.ir import dtypes
from staticgraph.ir.op import Op, Sample
from staticgraph.ir.scalar import s
from staticgraph.ops.rules import INTEGER, binary, ints, unary

BOOL = (dtypes.bool_,)

logical_and: Op = binary("LogicalAnd", np.logical_and, lambda a, b: a & b, None, allowed=BOOL)
logical_or: Op = binary("LogicalOr", np.logical_or, lambda a, b: a | b, None, allowed=BOOL)
logical_xor: Op = binary("LogicalXor", np.logical_xor, lambda a, b: s.xor(a, b), None, allowed=BOOL)
logical_not: Op = unary(
    "LogicalNot", np.logical_not, lambda x: s.not_(x), None, allowed=BOOL, cheap=True
)

_BYTES = (Sample((ints(0, 256, dtype="uint8"), ints(0, 256, seed=4, dtype="uint8")), grad=False),)
bitwise_and: Op = binary(
    "BitwiseAnd", np.bitwise_and, lambda a, b: s.bitand(a, b), None, allowed=INTEGER, extra=_BYTES
)
bitwise_or: Op = binary(
    "BitwiseOr", np.bitwise_or, lambda a, b: s.bitor(a, b), None, allowed=INTEGER, extra=_BYTES
)
bitwise_xor: Op = binary(
    "BitwiseXor", np.bitwise_xor, lambda a, b: s.bitxor(a, b), None, allowed=INTEGER, extra=_BYTES
)
invert: Op = unary(
    "Invert",
    np.invert,
    s.bitnot,
    None,
    allowed=INTEGER,
    cheap=True,
    samples=(
        Sample((ints(),), grad=False),
        Sample((ints(0, 256, (5,), dtype="uint8"),), grad=False),
    ),
)


def _counted(shift: Any) -> Any:
    """A shift whose count is taken modulo the width, as kernels do."""

    def rule(x: np.ndarray, y: np.ndarray) -> Any:
        return shift(x, y & y.dtype.type(8 * x.dtype.itemsize - 1))

    return rule


_COUNTS = (Sample((ints(-99, 99, (5,)), np.array([0, 1, 31, 32, -1], "int32")), grad=False),)
left_shift: Op = binary(
    "LeftShift",
    _counted(np.left_shift),
    lambda a, b: s.shl(a, b),
    None,
    allowed=INTEGER,
    extra=_COUNTS,
    doc="Shift towards the high bits; the count is taken modulo the width.",
)
right_shift: Op = binary(
    "RightShift",
    _counted(np.right_shift),
    lambda a, b: s.shr(a, b),
    None,
    allowed=INTEGER,
    extra=_COUNTS,
    doc="Shift towards the low bits, keeping the sign; the count is taken modulo the width.",
)
