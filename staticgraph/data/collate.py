"""Batches from items: the same structure, with an array of all items in each place.

What it gives can be fed to placeholders as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from copy import copy
from typing import Any, Protocol, runtime_checkable

import numpy as np

from staticgraph.data.tensors import as_tensors, is_tensor, tensor_of
from staticgraph.errors import BatchError
from staticgraph.ir.loc import caller

_NUMBER = bool | int | float | complex | np.generic


@runtime_checkable
class SupportsArray(Protocol):
    """Something that numpy can read as an array."""

    def __array__(self) -> np.ndarray: ...


def default_collate(items: Sequence[Any], indices: Sequence[int] | None = None) -> Any:
    """Make a batch of items.

    - Arrays of one shape are stacked along a new first axis, with the dtype they have.
    - Numbers become a vector: Python's `float` as float32, which is what placeholders hold most
      often, `int` as int64, `bool` as bool, `complex` as complex64.  Scalars of numpy keep their
      dtype.
    - Strings and bytes become a list.
    - Tuples, named tuples, lists and dicts become one of the same kind, with a batch in each
      place.
    - Tensors of `staticgraph.dynamic` become a tensor, and so do numbers where an item holds
      tensors, too; what else numpy can read as an array becomes an array.

    Args:
      items: what the dataset gave, at least one.
      indices: where in the dataset the items are; only errors tell of it.

    Raises:
      BatchError: items of different shapes, lengths, keys or kinds, or of a kind that cannot be
        batched.

    >>> import numpy as np
    >>> from staticgraph.data import default_collate
    >>> batch = default_collate([(np.zeros(2), 1, 0.5), (np.ones(2), 2, 1.5)])
    >>> [a.tolist() for a in batch], [str(a.dtype) for a in batch]
    ([[[0.0, 0.0], [1.0, 1.0]], [1, 2], [0.5, 1.5]], ['float64', 'int64', 'float32'])
    >>> default_collate([{"name": "a", "size": 3}, {"name": "b", "size": 4}])
    {'name': ['a', 'b'], 'size': array([3, 4])}
    """
    if not len(items):
        raise BatchError("default_collate: there are no items to make a batch of", loc=caller())
    batch = _collate(items, "", indices)
    return _numbers_as_tensors(batch, items[0]) if _holds_tensor(items[0]) else batch


def to_tensors(items: Sequence[Any], indices: Sequence[int] | None = None) -> Any:
    """Make a batch of items as `default_collate` does, with tensors in place of arrays.

    A `DataLoader` with `collate_fn=to_tensors` feeds programs that are written with
    `staticgraph.dynamic`.

    Args:
      items: what the dataset gave, at least one.
      indices: where in the dataset the items are; only errors tell of it.

    Raises:
      BatchError: as `default_collate`.
      DtypeError: an array of a dtype that tensors do not have, such as text.

    >>> from staticgraph.data import DataLoader, TensorDataset, to_tensors
    >>> for batch in DataLoader(TensorDataset([1.0, 2.0], [3, 4]), 2, collate_fn=to_tensors):
    ...     print(*batch)
    tensor([1., 2.], dtype=torch.float64) tensor([3, 4])
    """
    return as_tensors(default_collate(items, indices))


def _collate(items: Sequence[Any], path: str, indices: Sequence[int] | None) -> Any:
    """A batch of what stands in one place of all items; `path` says which, as one would index."""
    first = items[0]
    if isinstance(first, np.ndarray | np.generic):
        return _stack(items, path, indices)
    if isinstance(first, bool | int | float | complex):
        return _numbers(items, path, indices)
    if isinstance(first, str | bytes):
        _same_kind(items, path, indices, str | bytes)
        return list(items)
    if isinstance(first, Mapping):
        return _mapping(items, path, indices)
    if isinstance(first, tuple | list):
        return _sequence(items, path, indices)
    if is_tensor(first):
        return tensor_of(_stack(items, path, indices))
    if isinstance(first, SupportsArray):
        return _stack(items, path, indices)
    raise BatchError(
        f"default_collate: cannot make a batch of {type(first).__name__} objects"
        f"{_place(path)}, {_item(0, indices)}",
        loc=caller(),
        hint="give the DataLoader a collate_fn that takes a list of items",
    )


def _numbers(items: Sequence[Any], path: str, indices: Sequence[int] | None) -> np.ndarray:
    _same_kind(items, path, indices, _NUMBER)
    kinds = set(map(type, items))
    if kinds == {bool}:
        return np.array(items, np.bool_)
    if kinds <= {bool, int}:
        try:
            return np.array(items, np.int64)
        except OverflowError as e:
            at = next(i for i, x in enumerate(items) if not -(2**63) <= x < 2**63)
            raise BatchError(
                f"default_collate: {items[at]}{_place(path)} does not fit into int64, "
                f"{_item(at, indices)}",
                loc=caller(),
            ) from e
    if kinds <= {bool, int, float}:
        return np.array(items, np.float32)
    if kinds <= {bool, int, float, complex}:
        return np.array(items, np.complex64)
    return np.array(items)


def _holds_tensor(item: Any) -> bool:
    if isinstance(item, Mapping):
        return any(map(_holds_tensor, item.values()))
    if isinstance(item, tuple | list):
        return any(map(_holds_tensor, item))
    return is_tensor(item)


def _numbers_as_tensors(batch: Any, item: Any) -> Any:
    """The batch with tensors where the item has plain numbers: a label beside a tensor."""
    if isinstance(item, bool | int | float | complex):
        return as_tensors(batch)
    if isinstance(item, Mapping):
        for key in item:  # in place: it has just been made
            batch[key] = _numbers_as_tensors(batch[key], item[key])
        return batch
    if isinstance(item, tuple | list):
        parts = map(_numbers_as_tensors, batch, item)
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch


def _stack(items: Sequence[Any], path: str, indices: Sequence[int] | None) -> np.ndarray:
    _same_kind(items, path, indices, _NUMBER | np.ndarray | SupportsArray)
    for i, item in enumerate(items):
        if isinstance(item, np.ma.MaskedArray):
            raise BatchError(
                f"default_collate: a masked array{_place(path)} would lose its mask, "
                f"{_item(i, indices)}",
                loc=caller(),
                hint="fill it in the dataset, as by .filled(0), and let the mask be an array too",
            )
    arrays = [np.asarray(x) for x in items]
    shape = arrays[0].shape
    for i, array in enumerate(arrays):
        if array.shape != shape:
            raise BatchError(
                f"default_collate: arrays of different shapes{_place(path)}, {list(shape)} and "
                f"{list(array.shape)}",
                loc=caller(),
                operands=[
                    f"{_item(j, indices)}: {arrays[j].dtype}{list(arrays[j].shape)}" for j in (0, i)
                ],
                hint="bring the items to one shape in the dataset, or give the DataLoader a "
                "collate_fn",
            )
    return np.stack(arrays)


def _mapping(items: Sequence[Any], path: str, indices: Sequence[int] | None) -> Any:
    first = items[0]
    _same_kind(items, path, indices, Mapping)
    for i, item in enumerate(items):
        if item.keys() != first.keys():
            raise BatchError(
                f"default_collate: dicts of different keys{_place(path)}, {sorted(map(str, first))}"
                f" and {sorted(map(str, item))}",
                loc=caller(),
                operands=[_item(0, indices), _item(i, indices)],
            )
    batch = {k: _collate([x[k] for x in items], f"{path}[{k!r}]", indices) for k in first}
    if type(first) is dict or not isinstance(first, MutableMapping):
        return batch
    same = copy(first)  # not made by its type, whose arguments nobody knows
    for key, value in batch.items():
        same[key] = value
    return same


def _sequence(items: Sequence[Any], path: str, indices: Sequence[int] | None) -> Any:
    first = items[0]
    _same_kind(items, path, indices, tuple | list)
    for i, item in enumerate(items):
        if len(item) != len(first):
            raise BatchError(
                f"default_collate: {type(first).__name__}s of different lengths{_place(path)}, "
                f"{len(first)} and {len(item)}",
                loc=caller(),
                operands=[_item(0, indices), _item(i, indices)],
            )
    columns = [
        _collate(column, f"{path}[{i}]", indices)
        for i, column in enumerate(zip(*items, strict=True))
    ]
    if hasattr(first, "_fields"):
        return type(first)(*columns)
    return columns if isinstance(first, list) else tuple(columns)


def _same_kind(items: Sequence[Any], path: str, indices: Sequence[int] | None, kind: Any) -> None:
    for i, item in enumerate(items):
        if not isinstance(item, kind):
            raise BatchError(
                f"default_collate: items of different kinds{_place(path)}, "
                f"{type(items[0]).__name__} and {type(item).__name__}",
                loc=caller(),
                operands=[_item(0, indices), _item(i, indices)],
            )


def _place(path: str) -> str:
    return f" at {path}" if path else ""


def _item(position: int, indices: Sequence[int] | None) -> str:
    where = f"item {position} of the batch"
    return where if indices is None else f"{where} (index {indices[position]} of the dataset)"
