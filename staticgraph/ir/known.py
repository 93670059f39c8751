"""Values that are known before a run: small integer tensors that hold sizes.

Shape arithmetic (``tf.shape(x)[0] * 2``, packed into a list) is followed with arrays of sizes, so
that ops whose result's shape depends on a value see ints and symbolic sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.op import Op, fold_sizes
from staticgraph.ir.types import TensorType

MAX_ELEMENTS = 64  # shapes are short; larger integer arrays are data


def known_value(
    record: Op, type_: TensorType, data_types: Sequence[TensorType],
    data_known: Sequence[np.ndarray | None], attrs: Mapping[str, Any], index: int = 0,
) -> np.ndarray | None:  # fmt: skip
    """The value of result `index` as an object array of sizes, or None where it is not known."""
    if type_.dtype.base not in (dtypes.int32, dtypes.int64) or type_.shape is None:
        return None
    size = 1
    for d in type_.shape:
        if not isinstance(d, int):
            return None
        size *= d
    if size > MAX_ELEMENTS:
        return None
    if record.name == "Const":
        return np.asarray(attrs["value"].array, dtype=object)
    if record.name in ("Shape", "Size", "Rank"):
        return shape_value(record.name, data_types[0])
    value = fold_sizes(record, data_known, attrs)
    if value is not None and record.results != 1:
        value = np.asarray(value[index], dtype=object)
    return None if value is None or value.size != size else value


def shape_value(op: str, type_: TensorType) -> np.ndarray | None:
    """The value of ``Shape``, ``Size`` or ``Rank`` of a tensor of a known type, as sizes."""
    if type_.shape is None:
        return None
    if op == "Rank":
        return np.asarray(len(type_.shape), dtype=object)
    if op == "Size":
        total: Dim = 1
        for d in type_.shape:
            total = total * d
        return np.asarray(total, dtype=object)
    out = np.empty(len(type_.shape), dtype=object)
    out[:] = type_.shape
    return out


def nested(value: np.ndarray) -> Any:
    """An array of sizes as nested tuples of ints and polynomials, the form attributes take."""

    def plain(x: Any) -> Any:
        if isinstance(x, list):
            return tuple(plain(i) for i in x)
        return int(x) if hasattr(x, "__index__") else x

    return plain(value.tolist())
