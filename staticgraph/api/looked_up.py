"""Gradients of look-ups, said of the rows that were looked up.

The gradient of a look-up is a tensor of the table's shape, zeros but for a few rows.  What needs no
more than those rows, a norm or an optimizer's update, asks `rows_of` for them, and does not depend
on the length of the table then.  Where it is known that there are ids for half of the table
(`SHARE`), going through all of it takes less time than going back and forth between it and a list
of rows: there are no `rows_of` then, and `marks_of` tells which rows to leave alone.
"""

from __future__ import annotations

from typing import Any

from staticgraph.api.indexed_slices import IndexedSlices
from staticgraph.ir import dtypes
from staticgraph.ir.build import convert
from staticgraph.ir.graph import Tensor, get_default_graph
from staticgraph.ir.op import lookup
from staticgraph.ir.record import record

SHARE = 2
"""Tables of at most so many rows for each id are gone through whole, if both numbers are known."""


@record(frozen=True, slots=True, eq=False)
class NamedRows:
    """The rows of a table that a gradient is about, each once, and the gradient there.

    Args:
      rows: int64 vector of their numbers, -1 in places that are left over.
      grad: the gradient's slices; zeros in places that are left over.
    """

    rows: Tensor
    grad: Tensor


def rows_of(grad: Tensor) -> NamedRows | None:
    """What a gradient says of the rows that look-ups named, or None if it is about all rows.

    Sums of gradients of look-ups along the first axis, scaled by scalars (clipping by a norm does
    so), are about the rows named by any of them; everything else is about all.  None also where the
    ids are too many for a list of rows to be worth while.
    """
    ids = _ids_of(grad)
    if not ids or len(set(ids.values())) != 1 or _are_many(grad, ids):
        return None
    (skip,) = set(ids.values())
    rows, *places = lookup("DistinctRows")(list(ids), _length(grad), n=len(ids), skip_negative=skip)
    return NamedRows(rows, _sums(grad, rows, dict(zip(ids, places, strict=True))))


def rows_of_slices(slices: IndexedSlices, table: Any) -> NamedRows:
    """What slices that are given with their places say of the rows of `table`."""
    values = convert(slices.values, table.dtype.base, "values")
    rows, place = lookup("DistinctRows")([slices.indices], _length(table), n=1)
    return NamedRows(rows, lookup("RowSums")(values, place, rows, table))


def marks_of(grad: Tensor) -> Tensor | None:
    """A bool vector that marks the rows that look-ups named, or None if all rows are meant."""
    ids = _ids_of(grad)
    if not ids:
        return None
    flat = [lookup("Reshape")(i, [-1]) for i in ids]
    if len(flat) > 1:
        flat = [lookup("ConcatV2")([lookup("Cast")(i, DstT=dtypes.int64) for i in flat], 0)]
    ones = lookup("OnesLike")(lookup("Cast")(flat[0], DstT=dtypes.int32))
    return lookup("UnsortedSegmentSum")(ones, flat[0], _length(grad)) > 0  # type: ignore[no-any-return]


def slices_of(grad: Any) -> Any:
    """The slices of a gradient that may differ from zero: all that its norm needs."""
    named = rows_of(grad)
    return grad if named is None else named.grad


def _length(t: Any) -> Any:
    size = t.shape.as_list()[0] if t.shape.ndims else None
    return lookup("Shape")(t)[0] if size is None else size


def _are_many(grad: Tensor, ids: dict[Tensor, bool]) -> bool:
    size = grad.shape.as_list()[0] if grad.shape.ndims else None
    counts = [i.shape.num_elements() for i in ids]
    return size is not None and None not in counts and size <= SHARE * sum(c or 0 for c in counts)


def _ids_of(grad: Tensor) -> dict[Tensor, bool] | None:
    ids: dict[Tensor, bool] = {}
    return ids if _look_ups(grad, ids) else None


def _look_ups(grad: Tensor, ids: dict[Tensor, bool]) -> bool:
    """Collect the ids of the look-ups that `grad` is a sum of, and whether negative ones count.

    False if it is anything else.
    """
    op = grad.op
    match op.type:
        case "GatherGrad":
            axis = get_default_graph().static_value(op.inputs[3])
            if op.get_attr("batch_dims") != 0 or axis is None or int(axis) != 0:
                return False
            skip = bool(op.get_attr("skip_negative"))
            return ids.setdefault(op.inputs[1], skip) == skip
        case "Add" | "AddN":
            return all(_look_ups(t, ids) for t in op.inputs)
        case "Identity":
            return _look_ups(op.inputs[0], ids)
        case "Mul" | "RealDiv":
            scaled = _scaled(grad)
            return scaled is not None and _look_ups(scaled, ids)
        case _:
            return False


def _scaled(t: Tensor) -> Tensor | None:
    """The operand that a product or quotient scales by its other one, if that is a scalar."""
    op = t.op
    parts = [x for x in op.inputs if not _is_scalar(x)]
    if len(parts) != 1 or (op.type == "RealDiv" and parts[0] is not op.inputs[0]):
        return None
    same_rank = parts[0].shape.ndims is not None and parts[0].shape.ndims == t.shape.ndims
    return parts[0] if same_rank else None


def _is_scalar(t: Tensor) -> bool:
    return t.shape.ndims is not None and all(d == 1 for d in t.shape.as_list())


def _sums(t: Tensor, rows: Tensor, places: dict[Tensor, Tensor]) -> Tensor:
    """What `t`, in which `_look_ups` found the keys of `places`, is in the rows."""
    op = t.op
    match op.type:
        case "GatherGrad":
            values, ids, params = op.inputs[:3]
            out = lookup("RowSums")(values, places[ids], rows, params)
        case "Identity":
            return _sums(op.inputs[0], rows, places)
        case "AddN":
            out = lookup("AddN")([_sums(x, rows, places) for x in op.inputs])
        case "Add":
            out = lookup("Add")(*(_sums(x, rows, places) for x in op.inputs))
        case _:
            scaled = _scaled(t)
            out = lookup(op.type)(
                *(_sums(x, rows, places) if x is scaled else x for x in op.inputs)
            )
    return out  # type: ignore[no-any-return]


__all__ = ["NamedRows", "marks_of", "rows_of", "slices_of"]
