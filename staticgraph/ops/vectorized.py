"""``Vectorized``: one op on every slice of its operands at once.

The compiler makes it when it takes work out of a loop that does not depend on what the loop
carries.  An op that lowers to an index lambda needs no rule of its own for that: element
``[t, ...]`` of the result is the lambda's element ``[...]`` with loads at ``[t, ...]`` of those
operands that have slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import REQUIRED, Infer, Op, Sample, infer, lookup
from staticgraph.ir.record import record
from staticgraph.ir.scalar import Expr, Load, Operand, Reduce, lift
from staticgraph.ir.types import TensorType
from staticgraph.ops.arithmetic import add
from staticgraph.ops.reduce import sum_

Attrs = Sequence[tuple[str, Any]]


@record(frozen=True, slots=True)
class _Slice(Operand):
    """An operand of which the lambda sees the slice at `steps`, one for each op around."""

    steps: tuple[Expr, ...]

    def __getitem__(self, index: Any) -> Load:
        index = index if isinstance(index, tuple) else (index,)
        at = tuple(lift(i, dtypes.int64) for i in index)
        return Load(self.number, (*self.steps, *at), self.dtype)

    def at(self, ix: tuple[Expr, ...]) -> Load:
        inner = Operand(self.number, self.type).at(ix)
        return Load(self.number, (*self.steps, *inner.index), self.dtype)


def _steps(x: Operand) -> tuple[Expr, ...]:
    """Where an operand is a slice itself: the op may be one that another is applied to."""
    return x.steps if isinstance(x, _Slice) else ()


def _inner(t: TensorType, sliced: bool) -> TensorType:
    return TensorType(t.dtype, t.dims[1:]) if sliced else t


def _dtypes(*types: DType, op: str, attrs: Attrs, **_: Any) -> DType:
    out: DType = lookup(op).dtypes(*types, **dict(attrs))
    return out


def _shape(
    ctx: Infer, *types: TensorType, length: Dim, op: str, attrs: Attrs, sliced: Sequence[bool]
) -> tuple[Dim, ...]:
    for t, s in zip(types, sliced, strict=True):
        if s:
            ctx.equal(t.dims[0], length, "{a} slices where there are {b}")
    inner = [_inner(t, s) for t, s in zip(types, sliced, strict=True)]
    (result,) = infer(lookup(op), inner, dict(attrs), ctx)
    return (length, *result.dims)


def _numpy(
    *arrays: np.ndarray, length: int, op: str, attrs: Attrs, sliced: Sequence[bool]
) -> np.ndarray:
    record = lookup(op)
    assert record.numpy is not None
    if length == 0:  # the shape of a result follows from slices of any content
        arrays = tuple(
            np.zeros((1, *a.shape[1:]), a.dtype) if s else a
            for a, s in zip(arrays, sliced, strict=True)
        )
    out = [
        record.numpy(*(a[t] if s else a for a, s in zip(arrays, sliced, strict=True)),
                     **dict(attrs))
        for t in range(max(length, 1))
    ]  # fmt: skip
    return np.stack([np.asarray(o) for o in out])[:length]


def _lower(
    ix: tuple[Expr, ...], *operands: Operand, length: Dim, op: str, attrs: Attrs,
    sliced: Sequence[bool],
) -> Expr | Reduce:  # fmt: skip
    del length
    record = lookup(op)
    assert record.lower is not None
    step = ix[0]
    inner = [
        _Slice(x.number, _inner(x.type, True), (*_steps(x), step)) if s else x
        for x, s in zip(operands, sliced, strict=True)
    ]
    out: Expr | Reduce = record.lower(ix[1:], *inner, **dict(attrs))
    return out


_X = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
_ROW = np.array([1, -2, 0.5], np.float32)

vectorized = Op(
    "Vectorized", ("@length", "*inputs"), _dtypes, _shape, _numpy, None, lower=_lower,
    attrs={"op": REQUIRED, "attrs": (), "sliced": REQUIRED},
    operand_dtypes={"inputs": None}, cheap=False,
    samples=lambda: (
        Sample(([_X, _ROW],), {"length": 4, "op": "Add", "sliced": (True, False)}, grad=False),
        Sample(([_X[:0], _ROW],), {"length": 0, "op": "Add", "sliced": (True, False)}, grad=False),
        Sample(([_X, _X],), {"length": 4, "op": "Mul", "sliced": (True, True)}, grad=False),
        Sample(
            ([_X],),
            {"length": 4, "op": "Sum", "sliced": (True,),
             "attrs": (("reduction_indices", (1,)), ("keep_dims", False))},
            grad=False,
        ),
        Sample(  # in a loop that is taken out of a loop
            ([_X, _X[:, :, 0]],),
            {"length": 4, "op": "Vectorized", "sliced": (True, True),
             "attrs": (("attrs", ()), ("length", 2), ("op", "Mul"), ("sliced", (True, True)))},
            grad=False,
        ),
    ),
    doc="Apply an op to each slice along the first axis.",
)  # fmt: skip

__all__ = ["add", "sum_", "vectorized"]
