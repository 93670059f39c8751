"""What ``x[key]`` and ``x[key] = value`` mean: numpy's indexing, views and all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from staticgraph.dynamic.apply import Taped, edge, wrap
from staticgraph.dynamic.elementwise import cast
from staticgraph.dynamic.modes import MODES
from staticgraph.dynamic.selection import in_range
from staticgraph.dynamic.tape import Node
from staticgraph.errors import DtypeError, OutOfBoundsError, ShapeError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.op import lookup
from staticgraph.ops.index import strided

_STRIDED = lookup("StridedSlice")


def _entry(k: Any) -> Any:
    if isinstance(k, Taped):
        a = k._array
        if a.dtype == np.bool_:
            return a
        if a.dtype.kind in "iu":
            return int(a) if a.ndim == 0 else a
        raise UsageError(
            f"a tensor cannot be indexed by a {a.dtype.name} tensor", loc=loc.caller(),
            hint="use integers or truth values: index.long()",
        )  # fmt: skip
    if isinstance(k, slice):
        return slice(
            *[int(v._array) if isinstance(v, Taped) else v for v in (k.start, k.stop, k.step)]
        )
    if isinstance(k, (list, range)):
        k = [v._array.item() if isinstance(v, Taped) and v._array.size == 1 else v for v in k]
        a = np.asarray([v._array if isinstance(v, Taped) else v for v in k])
        return a.astype(np.int64) if a.size == 0 else a
    if isinstance(k, np.ndarray) and k.ndim == 0 and k.dtype.kind in "iu":
        return int(k)
    return k


def _key(key: Any) -> tuple[tuple[Any, ...], bool]:
    """The key with arrays for tensors, and whether it is basic (a view)."""
    entries = tuple([_entry(k) for k in (key if isinstance(key, tuple) else (key,))])
    basic = True
    for e in entries:
        if isinstance(e, (np.ndarray, bool, np.bool_)):
            basic = False
        elif not (e is None or e is Ellipsis or isinstance(e, (int, np.integer, slice))):
            raise UsageError(
                f"a tensor cannot be indexed by {e!r}", loc=loc.caller(),
                hint="use integers, slices, None, ..., integer or bool tensors",
            )  # fmt: skip
    return entries, basic


def _selected(x: np.ndarray, entries: tuple[Any, ...]) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Integers beside arrays are taken first, as PyTorch does: the view, and the rest of the key.

    To numpy they would be arrays too, and decide where the arrays' axes go.
    """
    if not any(isinstance(e, np.ndarray) for e in entries) or not any(map(_is_int, entries)):
        return x, entries
    widths = [e.ndim if isinstance(e, np.ndarray) and e.dtype == np.bool_ else 1 for e in entries]
    taken = sum(
        w for e, w in zip(entries, widths, strict=True) if e is not None and e is not Ellipsis
    )
    first: list[Any] = []
    rest: list[Any] = []
    for e, w in zip(entries, widths, strict=True):
        if _is_int(e):
            first.append(e)
            continue
        rest.append(e)
        if e is Ellipsis:
            first += [slice(None)] * (x.ndim - taken)
        elif e is not None:
            first += [slice(None)] * w
    return x[tuple(first)], tuple(rest)


def _is_int(e: Any) -> bool:
    return isinstance(e, (int, np.integer)) and not isinstance(e, bool)


def _taken(x: np.ndarray, entries: tuple[Any, ...]) -> Any:
    view, rest = _selected(x, entries)
    return view[rest]


def _wrong(x: Any, e: Exception) -> OutOfBoundsError:
    return OutOfBoundsError(
        str(e),
        loc=loc.caller(),
        operands=(f"x: shape {list(x._array.shape)}",),
        hint=None if x._array.ndim else "use x.item() for the number that it holds",
    )


def getitem(x: Any, key: Any) -> Any:
    """``x[key]``: a view for integers and slices, else a copy."""
    if MODES.tracer is not None:
        return MODES.tracer.indexed(x, key)
    entries, basic = _key(key)
    try:
        found = _taken(x._array, entries)
    except (IndexError, ValueError) as e:
        raise _wrong(x, e) from None
    if not MODES.grad or edge(x) is None:
        if not basic:
            return wrap(np.asarray(found))
        return _as_view(wrap(found), x, entries)
    if basic:
        if any(isinstance(e, slice) and e.step is not None and e.step < 0 for e in entries):
            raise UsageError(
                "a slice with a negative step", loc=loc.caller(), hint="use torch.flip"
            )
        return _sliced(x, entries)
    return gathered(x, entries)


_SLICES: dict[Any, dict[str, Any]] = {}  # the attributes of a slice, by its entries
_LIMIT = 4096


def _sliced(x: Any, entries: tuple[Any, ...]) -> Any:
    """A view that integers and slices name, recorded as the operation that it is."""
    key = tuple([(e.start, e.stop, e.step) if isinstance(e, slice) else e for e in entries])
    attrs = _SLICES.get(key)
    if attrs is None:
        out = strided(x, list(entries))
        if len(_SLICES) >= _LIMIT:
            _SLICES.clear()
        if out._node is not None:
            _SLICES[key] = out._node.attrs
        return _as_view(out, x, entries)
    out = _as_view(wrap(x._array), x, entries)
    node = Node(
        _STRIDED, attrs, tuple(attrs.items()), (x._array,), (out._array,), (edge(x),),
        (x._slot,), (x._version, x._version),
    )  # fmt: skip
    out._node, out._requires = node, True
    return out


def _as_view(out: Any, x: Any, entries: tuple[Any, ...]) -> Any:
    """`out` in the memory of `x`, even where it is a single number."""
    if Ellipsis not in entries:
        entries = (*entries, ...)
    out._array = x._array[entries]
    out._version = x._version
    out._base = x if x._base is None else x._base
    out._epoch = out._base._epoch
    return out


def gathered(x: Any, entries: tuple[Any, ...]) -> Any:
    """The elements that a key with arrays in it names, by an op that has a gradient."""
    at = _one_array(entries)
    shape = x._array.shape
    if at is not None:
        axis = _axis_of_entry(entries, at, len(shape))
        where = in_range(entries[at], shape[axis], "index")
        return lookup("GatherV2")(x, wrap(where), axis)
    places = _taken(np.arange(x._array.size).reshape(shape), entries)
    flat = lookup("Reshape")(x, (x._array.size,))
    return lookup("GatherV2")(flat, wrap(places), 0)


def _one_array(entries: tuple[Any, ...]) -> int | None:
    """The place of the only array of integers in a key that takes all of every other axis."""
    whole = slice(None)
    arrays = [i for i, e in enumerate(entries) if isinstance(e, np.ndarray)]
    rest = [e for i, e in enumerate(entries) if i not in arrays]
    if len(arrays) != 1 or entries[arrays[0]].dtype == np.bool_:
        return None
    plain = all(e is Ellipsis or (isinstance(e, slice) and e == whole) for e in rest)
    return arrays[0] if plain else None


def _axis_of_entry(entries: tuple[Any, ...], at: int, rank: int) -> int:
    dots = next((i for i, e in enumerate(entries) if e is Ellipsis), None)
    if dots is None or at < dots:
        return at
    return rank - (len(entries) - at)


# ---------------------------------------------------------------- assignment
def setitem(x: Any, key: Any, value: Any) -> None:
    """``x[key] = value``, in place.

    Raises:
      RunError: `x` is a leaf that requires a gradient, and recording is on.
      ShapeError: the value does not broadcast to the place.
      OutOfBoundsError: the place is outside.
    """
    from staticgraph.dynamic.inplace import change, check_changeable

    if MODES.tracer is not None:
        MODES.tracer.assigned(x, key, value)
        return
    entries, _ = _key(key)
    check_changeable(x)
    tracked = MODES.grad and (
        edge(x) is not None or (isinstance(value, Taped) and edge(value) is not None)
    )
    try:
        place = _taken(x._array, entries)
    except (IndexError, ValueError) as e:
        raise _wrong(x, e) from None
    given = value._array if isinstance(value, Taped) else np.asarray(value)
    _check_value(given, np.shape(place), x._array.dtype)
    if not tracked:
        view, rest = _selected(x._array, entries)
        view[rest] = given
        _bumped(x)
        return
    places = wrap(_taken(np.arange(x._array.size).reshape(x._array.shape), entries))
    new = value if isinstance(value, Taped) else wrap(given)
    change(x, lambda old: scattered(old, places, new), value)


def index_put(input: Any, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Any:
    """``input[indices] = values`` on a copy; `index_put_` on the tensor itself.

    Args:
      accumulate: add to what is there; an element that is named twice gets both values.

    >>> import staticgraph.dynamic as torch
    >>> at = (torch.tensor([1, 1]),)
    >>> torch.zeros(3).index_put(at, torch.tensor([2.0, 3.0]), accumulate=True)
    tensor([0., 5., 0.])
    """
    key = tuple(slice(None) if k is None else k for k in indices)
    if not isinstance(values, Taped):
        raise UsageError(
            f"index_put takes values as a tensor, got {type(values).__name__}", loc=loc.caller()
        )
    places = getitem(wrap(np.arange(input._array.size).reshape(input._array.shape)), key)
    op = "TensorScatterAdd" if accumulate else "TensorScatterUpdate"
    _check_value(values._array, places._array.shape, input._array.dtype)
    return scattered(input, places, values, op)


def index_put_(self: Any, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Any:
    """`index_put`, in place; returns the tensor."""
    from staticgraph.dynamic.inplace import change

    return change(self, lambda x: index_put(x, indices, values, accumulate), values)


def scattered(old: Any, places: Any, value: Any, op: str = "TensorScatterUpdate") -> Any:
    """`old` with `value`, which may broadcast, at flat positions."""
    shape = places._array.shape
    new: Any = cast(value, old._array.dtype)
    lead = new._array.ndim - len(shape)  # axes of size 1 in front that assignment ignores
    reshape = lookup("Reshape")
    if lead > 0:
        new = reshape(new, new._array.shape[lead:])
    out = lookup(op)(
        reshape(old, (-1,)),
        reshape(places, (-1, 1)),
        reshape(lookup("BroadcastTo")(new, shape), (-1,)),
    )
    return reshape(out, old._array.shape)


def _bumped(x: Any) -> None:
    from staticgraph.dynamic.versions import bump

    bump(x._version)


def _check_value(given: np.ndarray, shape: tuple[int, ...], kind: np.dtype) -> None:
    have = given.shape
    while len(have) > len(shape) and have[0] == 1:
        have = have[1:]
    try:
        fits = np.broadcast_shapes(have, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            f"a value of shape {list(given.shape)} does not broadcast to the place of shape "
            f"{list(shape)} that it is assigned to",
            loc=loc.caller(),
        )
    if given.dtype == object:
        raise DtypeError(f"{given!r} cannot be assigned to a tensor", loc=loc.caller())
    if given.dtype.kind == "c" and kind.kind != "c":
        raise DtypeError(
            f"complex numbers cannot be assigned to a {kind.name} tensor", loc=loc.caller()
        )
