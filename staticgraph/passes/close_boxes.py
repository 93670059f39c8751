"""Close boxes: those that hold values of one size in all iterations go.

In a graph nobody knows yet whether a size is the same in each iteration of a loop.  When the body
of the loop is closed it is known: a value all of whose sizes are given to the body is stacked as
it is.  A tensor that the graph takes for a box, or a stack of them, has a plain value then, and
whoever opens it finds the value itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from staticgraph.ir import dims as D
from staticgraph.ir import dtypes
from staticgraph.ir.function import Given, Value
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Operation, Tensor

if TYPE_CHECKING:
    from staticgraph.passes.close import Closing
    from staticgraph.passes.close_control import BodyClosing

BOXES = frozenset({"Box", "BoxSum", "Unbox"})


def close_box(closing: Closing, op: Operation) -> bool:
    """Take over an operation on boxes; False where it stays as it is."""
    inputs = [closing.tensor(t, op) for t in op.inputs]
    if op.type == "Unbox":
        if _is_box(inputs[0]):
            return False
        out = inputs[0]
    elif op.type == "Box":
        out = inputs[0]
        if not _steady(closing, out):
            out = lookup("Box")(_declared(op.inputs[0], out))
    elif any(map(_is_box, inputs)):
        out = lookup("BoxSum")(*map(_declared, op.inputs, inputs))
    else:
        out = lookup("Add")(*inputs)
    closing.env[op.outputs[0]] = out
    return True


def settle_branches(
    tensors: Sequence[Sequence[Tensor]], closings: Sequence[BodyClosing],
    results: Sequence[list[Value]],
) -> None:  # fmt: skip
    """Let the branches that keep nothing give values without boxes where the others do.

    Args:
      tensors, results: what each branch gives, in the graph and closed; `results` is changed.
    """
    for k in range(len(results[0])):
        plain = [
            (i, r[k]) for i, r in enumerate(results)
            if tensors[i][k].dtype.base is dtypes.variant and not _is_box(r[k])
        ]  # fmt: skip
        if not plain:
            continue
        owner, value = plain[0]
        given = closings[owner].b.sizes
        for closing, r in zip(closings, results, strict=True):
            if _is_box(r[k]):
                sizes = tuple(
                    closing.give(d)
                    if all(isinstance(given.get(s), Given) for s in D.symbols_of(d)) else 0
                    for d in value.type.dims
                )  # fmt: skip
                with closing.b:
                    zero = closing.b.constant(0, value.dtype)
                    r[k] = closing.b.apply(lookup("Fill"), (sizes, zero), {})


def _is_box(v: Value) -> bool:
    return v.dtype.base is dtypes.variant


def _steady(closing: Closing, v: Value) -> bool:
    """True of a value whose sizes are those of the function around, the same in all iterations."""
    return v.type.shape is not None and all(
        isinstance(closing.b.sizes.get(s), Given) for d in v.type.shape for s in D.symbols_of(d)
    )


def _declared(t: Tensor, v: Value) -> Value:
    """The value of `t`, in boxes where the graph says so: one for each iteration of a loop."""
    if t.dtype.base is not dtypes.variant or _is_box(v):
        return v
    rows: Value = lookup("BoxRows")(v)
    return rows


__all__ = ["BOXES", "close_box", "settle_branches"]
