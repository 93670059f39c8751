"""Broadcasting of sizes that only each iteration of a loop knows; see `passes.close_spread`.

Elsewhere a size that may or may not be 1 is assumed not to be, and sizes that break this are
compiled anew.  A size that is 1 in one iteration and larger in the next leaves no such choice:
these operations look at the arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.errors import ShapeError
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import REQUIRED, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.types import TensorType
from staticgraph.ops.like import np_sum_to
from staticgraph.ops.rules import NUMERIC, bools, floats, same


def _common(ctx: Infer, *types: TensorType, N: int) -> tuple[tuple[Dim, ...], ...]:
    rank = max(len(t.dims) for t in types)
    out: list[Dim] = []
    for k in range(rank):
        there = [t.dims[k - rank + len(t.dims)] for t in types if k - rank + len(t.dims) >= 0]
        sizes = set(there) - {1}
        known = {d for d in sizes if isinstance(d, int)}
        if len(known) > 1:
            raise RuleError(f"sizes {sorted(known)} do not broadcast")
        out.append(known.pop() if known else sizes.pop() if len(sizes) == 1 else
                   ctx.fresh("b") if sizes else 1)  # fmt: skip
    return (tuple(out),) * N


def _np_spread(*arrays: np.ndarray, N: int) -> tuple[np.ndarray, ...]:
    del N
    shapes = [np.shape(a) for a in arrays]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        text = " and ".join(str(list(s)) for s in shapes)
        raise ShapeError(f"shapes {text} do not broadcast") from None
    return tuple(np.array(np.broadcast_to(a, shape)) for a in arrays)


def _spread_grad(gs: Any, ys: Any, *values: Any, N: int) -> tuple[Any, ...]:
    gs = gs if N > 1 else (gs,)
    return tuple(
        sum_to_sizes_of(g, v) if v.dtype.base.is_differentiable else None
        for g, v in zip(gs, values, strict=True)
    )


spread = Op(
    "Broadcast",
    ("*values",),
    lambda *values, N: values,
    _common,
    _np_spread,
    _spread_grad,
    host=True,
    attrs={"N": REQUIRED},
    results=lambda N, **_: N,
    operand_dtypes={"values": None},
    samples=lambda: (
        Sample(([floats(shape=(3, 1), dtype="float64"), floats(shape=(2, 1, 4), dtype="float64")],),
               {"N": 2}),
        Sample(([bools(shape=(3,)), floats(shape=(1,)), floats(shape=())],), {"N": 3}, grad=False),
    ),
    doc="Values in the one shape that they broadcast to.",
)  # fmt: skip


def _second_shape(ctx: Infer, x: TensorType, like: TensorType, **_: Any) -> tuple[Dim, ...]:
    return like.dims


def _first(x: DType, like: DType) -> DType:
    return same(NUMERIC)(x, like)


sum_to_sizes_of = Op(
    "SumToSizesOf",
    ("x", "like"),
    _first,
    _second_shape,
    np_sum_to,
    lambda g, y, x, like: (lookup("SpreadToSizesOf")(g, x), None),
    host=True,
    samples=lambda: (
        Sample((floats(shape=(2, 3, 4), dtype="float64"), floats(shape=(3, 1), dtype="float64"))),
        Sample((floats(shape=(2, 3)), floats(shape=(2, 3)))),
    ),
    doc="`SumToShapeOf` where only the arrays tell which axes were broadcast.",
)

spread_to_sizes_of = Op(
    "SpreadToSizesOf",
    ("x", "like"),
    _first,
    _second_shape,
    lambda x, like: np.array(np.broadcast_to(x, like.shape)),
    lambda g, y, x, like: (sum_to_sizes_of(g, x), None),
    host=True,
    samples=lambda: (
        Sample((floats(shape=(3, 1), dtype="float64"), floats(shape=(2, 3, 4), dtype="float64"))),
    ),
    doc="`BroadcastToShapeOf` where only the arrays tell which axes are broadcast.",
)

__all__ = ["spread", "spread_to_sizes_of", "sum_to_sizes_of"]
