"""Nested structures: lists, tuples, named tuples and dicts with values at their leaves.

Everything but these containers is a leaf, None, arrays, strings and tensors included.  Dicts are
walked in the order of their sorted keys, so that two that hold the same keys agree.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from staticgraph.errors import GraphError, UsageError
from staticgraph.ir import loc


def is_nested(structure: Any) -> bool:
    """True of lists, tuples, named tuples and mappings."""
    return isinstance(structure, (list, tuple, Mapping))


is_sequence = is_nested


def _children(structure: Any) -> list[Any]:
    if isinstance(structure, Mapping):
        return [structure[k] for k in sorted(structure)]
    return list(structure)


def _rebuilt(structure: Any, children: Sequence[Any]) -> Any:
    """A container like `structure` with other children, in the order of `_children`."""
    if isinstance(structure, Mapping):
        found = dict(zip(sorted(structure), children, strict=True))
        if not isinstance(structure, MutableMapping):
            return {k: found[k] for k in structure}
        like = copy.copy(structure)  # keeps the order of the keys, and what the type has besides
        like.update(found)
        return like
    if hasattr(structure, "_fields"):
        return type(structure)(*children)
    if isinstance(structure, tuple):
        return tuple(children)
    return list(children)


def flatten(structure: Any) -> list[Any]:
    """The leaves in order.

    >>> flatten({"b": [1, (2, None)], "a": 0})
    [0, 1, 2, None]
    """
    if not is_nested(structure):
        return [structure]
    return [leaf for child in _children(structure) for leaf in flatten(child)]


def pack_sequence_as(structure: Any, flat_sequence: Sequence[Any]) -> Any:
    """A structure like `structure` with the leaves `flat_sequence`.

    Raises:
      ValueError: there are more or fewer leaves than places.

    >>> pack_sequence_as({"b": (0, 0), "a": 0}, [1, 2, 3])
    {'b': (2, 3), 'a': 1}
    """
    leaves = list(flat_sequence)
    places = len(flatten(structure))
    if places != len(leaves):
        raise GraphError(
            f"the structure has {places} leaves, {len(leaves)} are given", loc=loc.caller()
        )
    return _filled(structure, iter(leaves))


def _filled(structure: Any, leaves: Iterator[Any]) -> Any:
    if not is_nested(structure):
        return next(leaves)
    return _rebuilt(structure, [_filled(child, leaves) for child in _children(structure)])


def assert_same_structure(nest1: Any, nest2: Any, check_types: bool = True) -> None:
    """Raise unless two structures have the same containers, whatever their leaves.

    Args:
      check_types: a list is not a tuple; without it only the shape of the nesting counts.

    Raises:
      ValueError: the nesting differs, or the keys of two dicts do.
      TypeError: the types of two containers differ.
    """
    _compare(nest1, nest2, check_types, "")


def _compare(a: Any, b: Any, check_types: bool, where: str) -> None:
    at = f" at {where}" if where else ""
    if is_nested(a) != is_nested(b):
        raise GraphError(
            f"the structures differ{at}: {_named(a)} and {_named(b)}", loc=loc.caller()
        )
    if not is_nested(a):
        return
    if isinstance(a, Mapping) != isinstance(b, Mapping) or (check_types and type(a) is not type(b)):
        raise UsageError(
            f"the structures differ{at}: {_named(a)} and {_named(b)}", loc=loc.caller()
        )
    if isinstance(a, Mapping) and set(a) != set(b):
        raise GraphError(
            f"the structures differ{at}: keys {sorted(a)} and {sorted(b)}", loc=loc.caller()
        )
    if len(a) != len(b):
        raise GraphError(
            f"the structures differ{at}: {len(a)} and {len(b)} elements", loc=loc.caller()
        )
    keys = sorted(a) if isinstance(a, Mapping) else getattr(a, "_fields", range(len(a)))
    for key, x, y in zip(keys, _children(a), _children(b), strict=True):
        _compare(x, y, check_types, f"{where}[{key!r}]")


def _named(x: Any) -> str:
    return f"a {type(x).__name__} of {len(x)}" if is_nested(x) else f"the leaf {x!r}"


def map_structure(func: Callable[..., Any], *structures: Any, check_types: bool = True) -> Any:
    """`func` applied to corresponding leaves; the result is nested as the first structure.

    >>> map_structure(lambda a, b: a + b, (1, [2]), (10, [20]))
    (11, [22])
    """
    if not structures:
        raise GraphError("map_structure needs at least one structure", loc=loc.caller())
    first = structures[0]
    for other in structures[1:]:
        assert_same_structure(first, other, check_types)
    flat = [flatten(s) for s in structures]
    return pack_sequence_as(first, [func(*leaves) for leaves in zip(*flat, strict=True)])


def flatten_up_to(shallow_tree: Any, input_tree: Any) -> list[Any]:
    """The parts of `input_tree` at the leaves of `shallow_tree`.

    Raises:
      ValueError: `input_tree` is not nested as `shallow_tree` down to its leaves.

    >>> flatten_up_to((0, 0), ([1, 2], 3))
    [[1, 2], 3]
    """
    if not is_nested(shallow_tree):
        return [input_tree]
    if not is_nested(input_tree) or len(shallow_tree) != len(input_tree):
        raise GraphError(
            f"the structures differ: {_named(shallow_tree)} and {_named(input_tree)}",
            loc=loc.caller(),
        )
    pairs = zip(_children(shallow_tree), _children(input_tree), strict=True)
    return [part for shallow, deep in pairs for part in flatten_up_to(shallow, deep)]


def map_structure_up_to(shallow_tree: Any, func: Callable[..., Any], *inputs: Any) -> Any:
    """`func` applied to the parts of `inputs` at the leaves of `shallow_tree`."""
    parts = [flatten_up_to(shallow_tree, tree) for tree in inputs]
    results = [func(*args) for args in zip(*parts, strict=True)]
    return pack_sequence_as(shallow_tree, results)


__all__ = [
    "assert_same_structure", "flatten", "flatten_up_to", "is_nested", "is_sequence",
    "map_structure", "map_structure_up_to", "pack_sequence_as",
]  # fmt: skip
