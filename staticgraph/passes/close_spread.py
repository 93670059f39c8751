"""Broadcasting in the bodies of loops, where a size may be 1 in some iterations only.

A body assumes, as every function does, that sizes which meet are equal or known to be 1.  Where
that is wrong of a size that is another in each iteration, no size can be fixed to compile for it.
The loop is closed again then, with operations that look at the arrays: at once where the size with
which the loop begins does not fit, else when a run has shown it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from staticgraph.ir import dims as D
from staticgraph.ir.dims import Dim, Symbol
from staticgraph.ir.function import Given, Value
from staticgraph.ir.op import Op, lookup
from staticgraph.ops.rules import broadcast_shape

if TYPE_CHECKING:
    from staticgraph.passes.close import Closing

TWINS = {"SumToShapeOf": "SumToSizesOf", "BroadcastToShapeOf": "SpreadToSizesOf"}


def spread(closing: Closing, op: Op, inputs: tuple[Value, ...]) -> tuple[Op, tuple[Value, ...]]:
    """An operation and its operands, such that sizes of iterations broadcast as they come."""
    broadcasts = op.shape is broadcast_shape
    if not closing.spreads or closing.around is None or not (broadcasts or op.name in TWINS):
        return op, inputs
    if not _meet(closing, inputs):
        return op, inputs
    if not broadcasts:
        return lookup(TWINS[op.name]), inputs
    return op, tuple(lookup("Broadcast")(list(inputs), N=len(inputs)))


def _meet(closing: Closing, inputs: Sequence[Value]) -> bool:
    """True where different sizes meet, one of them an iteration's own."""
    if any(v.type.shape is None for v in inputs):
        return False
    for column in _columns([v.type.dims for v in inputs]):
        sizes = set(column) - {1}
        if len(sizes) > 1 and any(_own(closing, d) for d in sizes):
            return True
    return False


def _columns(shapes: Sequence[tuple[Dim, ...]]) -> list[list[Dim]]:
    """The sizes on each axis, counted from the last."""
    rank = max(map(len, shapes), default=0)
    return [[s[-k] for s in shapes if k <= len(s)] for k in range(1, rank + 1)]


def _own(closing: Closing, d: Dim) -> bool:
    """True of a size that comes from the body of a loop, this one or one around it."""
    return any(_comes_from_body(closing, s) for s in D.symbols_of(d))


def _comes_from_body(closing: Closing, s: Symbol) -> bool:
    while isinstance(closing.b.sizes.get(s), Given):
        assert closing.around is not None
        closing = closing.around
    return closing.around is not None


__all__ = ["spread"]
