"""Rows of tables, whole or split over several tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.api.framework import name_scope
from staticgraph.errors import ShapeError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import convert
from staticgraph.ir.graph import Tensor
from staticgraph.ir.op import lookup


def embedding_lookup(
    params: Any, ids: Any, partition_strategy: str = "mod", name: str | None = None,
    validate_indices: bool = True, max_norm: float | None = None,
) -> Tensor:  # fmt: skip
    """The rows of a table at `ids`.

    Args:
      params: the table, or a list of tensors that hold its rows between them.
      ids: int32 or int64, of any shape.
      partition_strategy: how a list shares the rows: "mod" gives row i to tensor ``i % n``,
        "div" gives each a contiguous run, the first ones one row more.
      max_norm: rows with a larger Euclidean norm are scaled down to it.

    Returns:
      A tensor of shape ``ids.shape + params.shape[1:]``.

    Raises:
      ValueError: `params` is empty or the strategy unknown.  An id out of range fails the run.
    """
    del validate_indices
    tables = list(params) if isinstance(params, (list, tuple)) else [params]
    if hasattr(params, "__iter__") and type(params).__name__ == "PartitionedVariable":
        tables = list(params)
    if not tables:
        raise ShapeError("embedding_lookup: params must not be empty", loc=loc.caller())
    if partition_strategy not in ("mod", "div"):
        raise ShapeError(
            "embedding_lookup: partition_strategy must be 'mod' or 'div', "
            f"got {partition_strategy!r}",
            loc=loc.caller(),
        )
    with name_scope(name, "embedding_lookup", [*tables, ids]) as scope:
        ids = convert(ids, name="ids")
        if len(tables) == 1:
            table = convert(tables[0], name="params")
            rows = _clip(lookup("GatherV2")(table, ids, 0, name=scope), ids, max_norm)
            return lookup("Identity")(rows)  # type: ignore[no-any-return]
        return _from_parts([convert(t, name=f"params_{i}") for i, t in enumerate(tables)], ids,
                           partition_strategy, max_norm)  # fmt: skip


def _from_parts(tables: list[Tensor], ids: Tensor, strategy: str, max_norm: float | None) -> Tensor:
    n = len(tables)
    kind = ids.dtype.base
    flat = lookup("Reshape")(ids, [-1])
    count = convert(kind.np.type(n))
    if strategy == "mod":
        part, row = lookup("FloorMod")(flat, count), lookup("FloorDiv")(flat, count)
    else:
        total = _rows(tables, kind)
        each, more = lookup("FloorDiv")(total, count), lookup("FloorMod")(total, count)
        one = kind.np.type(1)
        part = lookup("Maximum")(
            lookup("FloorDiv")(flat, each + one), lookup("FloorDiv")(flat - more, each)
        )
        early = lookup("Less")(part, more)
        row = lookup("Select")(
            early, lookup("FloorMod")(flat, each + one), lookup("FloorMod")(flat - more, each)
        )
    part32 = part if kind is dtypes.int32 else lookup("Cast")(part, DstT=dtypes.int32)
    rows = lookup("DynamicPartition")(row, part32, num_partitions=n)
    places = lookup("NumbersLike")(flat)
    where = lookup("DynamicPartition")(places, part32, num_partitions=n)
    found = [
        _clip(lookup("GatherV2")(t, r, 0), r, max_norm) for t, r in zip(tables, rows, strict=True)
    ]
    out = lookup("DynamicStitch")([*where, *found], n=n)
    return _shaped(out, ids, tables[0])


def _rows(tables: list[Tensor], kind: dtypes.DType) -> Tensor:
    sizes = [t.type.shape[0] if t.type.shape else None for t in tables]
    if all(isinstance(s, int) for s in sizes):
        return convert(kind.np.type(sum(s for s in sizes if isinstance(s, int))))
    total: Any = None
    for t in tables:
        first = lookup("GatherV2")(lookup("Shape")(t, out_type=kind), 0, 0)
        total = first if total is None else total + first
    return total  # type: ignore[no-any-return]


def _shaped(out: Tensor, ids: Tensor, table: Tensor) -> Tensor:
    lead = lookup("Shape")(ids)
    if table.type.shape is not None and all(isinstance(d, int) for d in table.type.shape[1:]):
        tail = convert(np.asarray(table.type.shape[1:], np.int32))
    else:
        rank = len(table.type.shape or ())
        tail = lookup("GatherV2")(lookup("Shape")(table), list(range(1, rank)), 0)
    return lookup("Reshape")(out, lookup("ConcatV2")([lead, tail], 0))  # type: ignore[no-any-return]


def _clip(rows: Tensor, ids: Tensor, max_norm: float | None) -> Tensor:
    """Scale rows whose norm exceeds `max_norm`; the norm is over all axes but those of `ids`."""
    if max_norm is None:
        return rows
    if rows.type.shape is None or ids.type.shape is None:
        raise ShapeError("embedding_lookup: max_norm needs tensors of known rank", loc=loc.caller())
    limit = convert(max_norm, rows.dtype.base, "max_norm")
    axes = list(range(len(ids.type.shape), len(rows.type.shape)))
    square = lookup("Sum")(rows * rows, axes, keep_dims=True)
    # A zero row has no direction to differentiate along: keep its root away from 0.
    positive = lookup("Greater")(square, lookup("ZerosLike")(square))
    safe = lookup("Select")(positive, square, lookup("OnesLike")(square))
    norm = lookup("Select")(positive, lookup("Sqrt")(safe), square)
    return lookup("RealDiv")(rows * limit, lookup("Maximum")(norm, limit))  # type: ignore[no-any-return]


__all__ = ["embedding_lookup"]
