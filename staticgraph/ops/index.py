"""What ``x[key]`` means: numpy's indexing, on graph tensors and values alike.

Integers, slices, `None` and `Ellipsis` become one ``StridedSlice``, named and fed as in TensorFlow.
A scalar tensor whose value is known only at run time selects with ``TakeIndex``, so that the index
is data and not a size.  Lists, arrays and tensors of integers gather, truth values select; where
several are given they run together and their axes stand where numpy puts them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from staticgraph.errors import OutOfBoundsError, ShapeError, UsageError
from staticgraph.ir import dtypes, loc, operators
from staticgraph.ir.build import convert, is_tensor_like
from staticgraph.ir.dims import Poly
from staticgraph.ir.function import current_builder
from staticgraph.ir.graph import get_default_graph
from staticgraph.ir.op import lookup
from staticgraph.ir.record import record
from staticgraph.ir.tensor import Tensor
from staticgraph.ir.tensor_shape import Dimension


def _tensor(v: Any) -> Any:
    return v.as_graph_tensor() if hasattr(v, "as_graph_tensor") else v


def _is_tensor(v: Any) -> bool:
    return isinstance(v, operators.Operators) or is_tensor_like(v)


def _rank(x: Any) -> int:
    if x.type.shape is None:
        raise ShapeError(
            "indexing with arrays or run-time values needs a tensor of known rank",
            loc=loc.caller(),
            hint="say what you know of it: x.set_shape([None, ...])",
        )
    return len(x.type.shape)


@record(frozen=True, slots=True)
class _Entry:
    """One entry of a key: `kind` is basic, scalar (run-time index), array or mask."""

    kind: str
    value: Any


def _entry(v: Any) -> _Entry:
    if v is None or v is Ellipsis or isinstance(v, slice):
        return _Entry("basic", v)
    if isinstance(v, Dimension):
        v = int(v)
    if isinstance(v, (bool, np.bool_)):
        raise UsageError(f"a tensor cannot be indexed by {v!r}", loc=loc.caller())
    if isinstance(v, (list, tuple, range)) and not any(_is_tensor(i) for i in v):
        v = np.asarray(v)
        if v.size == 0:
            v = v.astype(np.int32)
    if isinstance(v, np.ndarray):
        if v.dtype == bool:
            return _Entry("mask", v)
        if v.dtype.kind in "iu":
            return _Entry("basic", int(v)) if v.ndim == 0 else _Entry("array", v)
    elif isinstance(v, (list, tuple)):
        return _Entry("array", convert(v))
    elif _is_tensor(v):
        v = _tensor(v)
        shape = v.type.shape
        if shape is None:
            raise ShapeError("a tensor of unknown rank cannot be an index", loc=loc.caller())
        if v.dtype.base.is_bool and shape:
            return _Entry("mask", v)
        if v.dtype.base.is_integer:
            if shape:
                return _Entry("array", v)
            known = getattr(v, "known", None)
            return _Entry("basic" if known is not None else "scalar", v)
        raise UsageError(
            f"a tensor cannot be indexed by a {v.dtype.base.name} tensor", loc=loc.caller()
        )
    elif hasattr(v, "__index__"):
        return _Entry("basic", v.__index__())
    raise UsageError(
        f"a tensor cannot be indexed by {v!r}",
        loc=loc.caller(),
        hint="use integers, slices, None, ..., integer or bool arrays and tensors",
    )


@contextmanager
def _scope(x: Any, name: str) -> Iterator[str | None]:
    """A name scope where `x` lives in a graph: in it, or in a body within it that is open."""
    if not isinstance(x, Tensor):
        yield None
        return
    graph = get_default_graph()
    if not graph.within(x.graph):
        graph = x.graph
    with graph.as_default(), graph.name_scope(name) as scope:
        yield scope


# ---------------------------------------------------------------- basic keys


def strided(x: Any, key: Sequence[Any], name: str = "strided_slice") -> Any:
    """Index by integers, slices, None and Ellipsis."""
    with _scope(x, name) as scope:
        begin: list[Any] = []
        end: list[Any] = []
        strides: list[Any] = []
        masks = {"begin": 0, "end": 0, "ellipsis": 0, "new_axis": 0, "shrink_axis": 0}
        for k, v in enumerate(key):
            bit = 1 << k
            b, e, st = 0, 0, 1
            if isinstance(v, slice):
                b, e = _tensor(v.start), _tensor(v.stop)
                st = 1 if v.step is None else _tensor(v.step)
                if b is None:
                    b, masks["begin"] = 0, masks["begin"] | bit
                if e is None:
                    e, masks["end"] = 0, masks["end"] | bit
            elif v is Ellipsis:
                masks["ellipsis"] |= bit
            elif v is None:
                masks["new_axis"] |= bit
            else:
                b, e = v, v + 1
                masks["shrink_axis"] |= bit
            begin.append(b)
            end.append(e)
            strides.append(st)
        if isinstance(x, Tensor):
            bounds = [_bound(part) for part in (begin, end, strides)]
        else:
            bounds = [tuple(part) for part in (begin, end, strides)]
        attrs = {f"{m}_mask": bits for m, bits in masks.items()}
        return lookup("StridedSlice")(x, *bounds, name=scope, **attrs)


def _bound(values: list[Any]) -> Any:
    values = [int(v) if hasattr(v, "__index__") and not _is_tensor(v) else v for v in values]
    if not values:
        return convert(np.zeros(0, np.int32), name="stack")
    tensors = [v for v in values if _is_tensor(v)]
    if len({t.dtype.base.name for t in tensors}) > 1:  # bounds of several dtypes meet in int64
        values = [_as_int64(v) if _is_tensor(v) else v for v in values]
    return convert(values, name="stack")


def _as_int64(v: Any) -> Any:
    return v if v.dtype.base is dtypes.int64 else lookup("Cast")(v, DstT=dtypes.int64)


# ---------------------------------------------------------------- the whole
def index(x: Any, key: Any) -> Any:
    """``x[key]``."""
    x = _tensor(x)
    key = key if isinstance(key, tuple) else (key,)
    entries = [_entry(_tensor(v)) for v in key]
    if sum(1 for e in entries if e.value is Ellipsis) > 1:
        raise UsageError("an index can hold one ... only", loc=loc.caller())
    if all(e.kind == "basic" for e in entries):
        return strided(x, [e.value for e in entries])
    advanced = any(e.kind in ("array", "mask") for e in entries)
    if advanced:  # integers beside arrays are arrays too, as numpy has it
        entries = [
            _Entry("array", e.value)
            if e.kind == "scalar" or (e.kind == "basic" and not _keeps_axis(e.value))
            else e
            for e in entries
        ]
    entries = _open_ellipsis(x, entries)
    basic: list[Any] = []
    special: list[tuple[int, int, _Entry]] = []  # (axis, position in the key, entry)
    axis = 0
    for at, e in enumerate(entries):
        if e.kind == "basic":
            basic.append(e.value)
            axis += int(_keeps_axis(e.value))
            continue
        width = _mask_rank(e) if e.kind == "mask" else 1
        basic += [slice(None)] * width
        special.append((axis, at, e))
        axis += width
    if any(b != slice(None) for b in basic):
        x = strided(x, basic)
    if not advanced:
        for a, _, e in reversed(special):
            x = lookup("TakeIndex")(x, e.value, axis=a, name="strided_slice")
        return x
    if len(special) == 1:
        a, _, e = special[0]
        if e.kind == "mask":
            return _select(x, e.value, a)
        return lookup("GatherV2")(x, _positions(x, e.value, a), a)
    return _gather_points(x, special)


def _keeps_axis(v: Any) -> bool:
    return v is None or v is Ellipsis or isinstance(v, slice)


def _mask_rank(e: _Entry) -> int:
    return e.value.ndim if isinstance(e.value, np.ndarray) else len(e.value.type.shape)


def _open_ellipsis(x: Any, entries: list[_Entry]) -> list[_Entry]:
    taken = 0
    for e in entries:
        if e.kind == "mask":
            taken += _mask_rank(e)
        elif e.value is not None and e.value is not Ellipsis:
            taken += 1
    rank = _rank(x)
    if taken > rank:
        raise ShapeError(
            f"{taken} indices for a tensor of rank {rank}", loc=loc.caller(), operands=_describe(x)
        )
    full = [_Entry("basic", slice(None))] * (rank - taken)
    at = next((k for k, e in enumerate(entries) if e.value is Ellipsis), None)
    return entries + full if at is None else entries[:at] + full + entries[at + 1 :]


def _describe(x: Any) -> tuple[str, ...]:
    return (f"{x.name}: {x.describe()}",) if isinstance(x, Tensor) else ()


def _positions(x: Any, v: Any, axis: int) -> Any:
    """Positions along an axis, negative ones counted from its end where that can be seen."""
    if _is_tensor(v):
        return v
    array = np.asarray(v)
    size = x.type.shape[axis]
    if isinstance(size, Poly):
        if not (array < 0).any():
            return _constant(array)
        n = lookup("Shape")(x)[axis]
        return lookup("Add")(lookup("Mul")(n, (array < 0).astype(np.int32)), array.astype(np.int32))
    bad = (array < -size) | (array >= size)
    if bad.any():
        raise OutOfBoundsError(
            f"index {int(array[bad].flat[0])} is outside axis {axis} of size {size}",
            loc=loc.caller(), operands=_describe(x),
        )  # fmt: skip
    return _constant(np.where(array < 0, array + size, array))


def _constant(array: np.ndarray) -> np.ndarray:
    small = array.size == 0 or int(np.abs(array).max()) < 2**31
    return array.astype(np.int32 if small else np.int64)


def _select(x: Any, mask: Any, axis: int) -> Any:
    """The slices along `axis` (and the next ones) where `mask` is true."""
    shape = x.type.shape
    own = mask.shape if isinstance(mask, np.ndarray) else mask.type.shape
    for k, m in enumerate(own):
        d = shape[axis + k]
        if isinstance(m, int) and isinstance(d, int) and m != d:
            raise ShapeError(
                f"a mask of size {m} on axis {axis + k} of size {d}", loc=loc.caller(),
                operands=_describe(x),
            )  # fmt: skip
    places = lookup("Reshape")(
        lookup("Where")(lookup("Reshape")(_as_tensor(x, mask), (-1,))), (-1,)
    )
    if len(own) > 1:
        rest = [d if isinstance(d, int) else lookup("Shape")(x)[k] for k, d in enumerate(shape)]
        x = lookup("Reshape")(x, [*rest[:axis], -1, *rest[axis + len(own) :]])
    return lookup("GatherV2")(x, places, axis)


def _as_tensor(x: Any, v: Any) -> Any:
    if _is_tensor(v):
        return v
    if isinstance(x, Tensor):
        return convert(v)
    return current_builder().constant(v)


def _gather_points(x: Any, special: list[tuple[int, int, _Entry]]) -> Any:
    """Index several axes at once, by arrays that broadcast."""
    axes: list[int] = []
    arrays: list[Any] = []
    for a, _, e in special:
        if e.kind == "array":
            axes.append(a)
            arrays.append(_positions(x, e.value, a))
        elif isinstance(e.value, np.ndarray):
            for k, column in enumerate(np.nonzero(e.value)):
                axes.append(a + k)
                arrays.append(_positions(x, column, a + k))
        else:
            rows = lookup("Where")(e.value)
            for k in range(_mask_rank(e)):
                axes.append(a + k)
                arrays.append(rows[:, k])
    points = _stack(x, arrays)
    places = [at for _, at, _ in special]
    adjacent = places == list(range(places[0], places[0] + len(places)))
    rank = _rank(x)
    rest = [k for k in range(rank) if k not in axes]
    order = (*axes, *rest)
    if order != tuple(range(rank)):
        x = lookup("Transpose")(x, order)
    out = lookup("GatherNd")(x, points)
    front = axes[0] if adjacent else 0
    wide = len(points.shape if isinstance(points, np.ndarray) else points.type.shape) - 1
    if front:
        total = wide + len(rest)
        perm = (*range(wide, wide + front), *range(wide), *range(wide + front, total))
        out = lookup("Transpose")(out, perm)
    return out


def _stack(x: Any, arrays: list[Any]) -> Any:
    """The points that arrays of positions give when they run together."""
    if not any(_is_tensor(a) for a in arrays):
        try:
            return np.stack(np.broadcast_arrays(*arrays), axis=-1)
        except ValueError:
            shapes = " and ".join(str(list(a.shape)) for a in arrays)
            raise ShapeError(
                f"index arrays of shapes {shapes} do not broadcast", loc=loc.caller()
            ) from None
    tensors = [_as_int64(a) if _is_tensor(a) else _as_tensor(x, a.astype(np.int64)) for a in arrays]
    nought = tensors[0] * 0
    for t in tensors[1:]:
        nought = nought + t * 0
    return lookup("Pack")([t + nought for t in tensors], axis=-1)


operators.set_indexing(index)
