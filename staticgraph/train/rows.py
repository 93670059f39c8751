"""Which rows of a variable a gradient is about.

The gradient of a look-up is a tensor like any other here, mostly zeros.  Optimizers whose slots
decay, or that pull weights towards zero, must not do so to rows that no index named: a word that
does not occur would move with every batch.
"""

from __future__ import annotations

from typing import Any

from staticgraph.ir import dtypes
from staticgraph.ir.graph import Tensor, get_default_graph
from staticgraph.ir.op import lookup


def touched_rows(grad: Tensor) -> Tensor | None:
    """A bool vector that marks the rows that look-ups named, or None if all rows are meant.

    Sums of gradients of look-ups along the first axis, scaled by scalars (clipping by a norm does
    so), are about the rows named by any of them; everything else is about all.
    """
    indices = _indices(grad)
    if indices is None:
        return None
    rows = grad.shape.as_list()[0] if grad.shape.ndims else None
    flat = [lookup("Reshape")(i, [-1]) for i in indices]
    if len(flat) > 1:
        flat = [lookup("ConcatV2")([lookup("Cast")(i, DstT=dtypes.int64) for i in flat], 0)]
    count = lookup("Shape")(grad)[0] if rows is None else rows
    ones = lookup("OnesLike")(lookup("Cast")(flat[0], DstT=dtypes.int32))
    return lookup("UnsortedSegmentSum")(ones, flat[0], count) > 0  # type: ignore[no-any-return]


def only(rows: Tensor | None, new: Any, old: Any = None) -> Any:
    """`new` in the marked rows (None marks all) and `old`, by default 0, in the others."""
    if rows is None:
        return new
    return lookup("Select")(rows, new, lookup("ZerosLike")(new) if old is None else old)


def _indices(grad: Tensor) -> list[Tensor] | None:
    """The indices of the look-ups that `grad` is a sum of."""
    op = grad.op
    match op.type:
        case "GatherGrad":
            axis = get_default_graph().static_value(op.inputs[3])
            if op.get_attr("batch_dims") != 0 or axis is None or int(axis) != 0:
                return None
            return [op.inputs[1]]
        case "Add" | "AddN":
            found: list[Tensor] = []
            for part in op.inputs:
                indices = _indices(part)
                if indices is None:
                    return None
                found += [i for i in indices if i not in found]
            return found
        case "Identity":
            return _indices(op.inputs[0])
        case "Mul" | "RealDiv":
            parts = [t for t in op.inputs if not _is_scalar(t)]
            if len(parts) != 1 or (op.type == "RealDiv" and parts[0] is not op.inputs[0]):
                return None
            return _indices(parts[0])
        case _:
            return None


def _is_scalar(t: Tensor) -> bool:
    return t.shape.ndims is not None and all(d == 1 for d in t.shape.as_list())


__all__ = ["only", "touched_rows"]
