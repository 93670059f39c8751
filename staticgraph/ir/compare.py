"""Structural equality of functions: names of values, hints and source lines do not count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from staticgraph.ir.dims import Poly
from staticgraph.ir.function import Function, Given, Node, Origin, SizeOf, Value


def same_function(f: Function, g: Function) -> bool:
    """True where two functions have the same structure."""
    return difference(f, g) is None


def difference(f: Function, g: Function) -> str | None:
    """The first difference of two functions in one line, or None."""
    a, b = _number(f), _number(g)
    return _params(f, g) or _all_nodes(f, g, a, b) or _ends(f, g, a, b)


def _params(f: Function, g: Function) -> str | None:
    if len(f.params) != len(g.params):
        return f"{len(f.params)} and {len(g.params)} parameters"
    for i, (p, q) in enumerate(zip(f.params, g.params, strict=True)):
        if p.kind != q.kind or p.value.type != q.value.type:
            return f"parameter {i}: {p.kind} {p.value.type} and {q.kind} {q.value.type}"
        if p.kind != "feed" and p.name != q.name:
            return f"parameter {i}: {p.kind} {p.name!r} and {q.name!r}"
    return None


def _all_nodes(
    f: Function, g: Function, a: Mapping[Value, int], b: Mapping[Value, int]
) -> str | None:
    if len(f.nodes) != len(g.nodes):
        return f"{len(f.nodes)} and {len(g.nodes)} nodes"
    for i, (m, n) in enumerate(zip(f.nodes, g.nodes, strict=True)):
        text = _nodes(m, n, a, b)
        if text is not None:
            return f"node {i}, {m.op.name}: {text}"
    return None


def _ends(f: Function, g: Function, a: Mapping[Value, int], b: Mapping[Value, int]) -> str | None:
    if _refer(f.results, a) != _refer(g.results, b):
        return "results differ"
    if {k: a.get(v) for k, v in f.updates.items()} != {k: b.get(v) for k, v in g.updates.items()}:
        return "updates differ"
    if _sizes(f, a) != _sizes(g, b):
        return "sizes differ"
    if [(s.guard, s.op) for s in f.guards] != [(s.guard, s.op) for s in g.guards]:
        return "guards differ"
    return None


def _number(f: Function) -> dict[Value, int]:
    numbers: dict[Value, int] = {}
    for p in f.params:
        numbers[p.value] = len(numbers)
    for n in f.nodes:
        for v in n.outputs:
            numbers[v] = len(numbers)
    return numbers


def _refer(values: Sequence[Value], numbers: Mapping[Value, int]) -> list[int | None]:
    return [numbers.get(v) for v in values]


def _sizes(f: Function, numbers: Mapping[Value, int]) -> dict[Any, Any]:
    def origin(o: Origin) -> tuple[str, int | None, int]:
        if isinstance(o, Given):
            return "given", None, o.index
        kind, k = ("size", o.axis) if isinstance(o, SizeOf) else ("element", o.element)
        return kind, numbers.get(o.value), k

    return {s: origin(o) for s, o in f.sizes.items()}


def _nodes(m: Node, n: Node, a: Mapping[Value, int], b: Mapping[Value, int]) -> str | None:
    if m.op is not n.op:
        return f"the other is {n.op.name}"
    if _refer(m.inputs, a) != _refer(n.inputs, b):
        return "inputs differ"
    if [v.type for v in m.outputs] != [v.type for v in n.outputs]:
        have, other = ([str(v.type) for v in x.outputs] for x in (m, n))
        return f"types differ, {have} and {other}"
    if set(m.attrs) != set(n.attrs):
        return f"attributes {sorted(m.attrs)} and {sorted(n.attrs)}"
    for k, v in m.attrs.items():
        if not same_attribute(v, n.attrs[k]):
            return f"{k} is {v!r} and {n.attrs[k]!r}"
    return None


def same_attribute(v: Any, w: Any) -> bool:
    """Equality that tells 1 from True and 0.0 from -0.0, takes NaN as itself, opens functions."""
    if isinstance(v, np.generic):
        v = v.item()
    if isinstance(w, np.generic):
        w = w.item()
    if isinstance(v, (tuple, list)) and type(v) is type(w):
        return len(v) == len(w) and all(map(same_attribute, v, w))
    if isinstance(v, float) and isinstance(w, float):
        return np.float64(v).tobytes() == np.float64(w).tobytes()
    if isinstance(v, Function) and isinstance(w, Function):
        return same_function(v, w)
    if isinstance(v, Poly) or isinstance(w, Poly):
        return bool(v == w)
    return type(v) is type(w) and bool(v == w)


def attribute_key(v: Any) -> object:
    """A hashable stand-in for an attribute; equal where `same_attribute` holds.

    >>> attribute_key((1, 0.0)) == attribute_key((True, -0.0))
    False
    """
    if isinstance(v, np.generic):
        v = v.item()
    if isinstance(v, (tuple, list)):
        return (type(v), *map(attribute_key, v))
    if isinstance(v, float):
        return (float, np.float64(v).tobytes())
    if isinstance(v, Function):
        return _Structure(v)
    return (type(v), v)


class _Structure:
    """A function that is equal to all of its structure."""

    __slots__ = ("function",)

    def __init__(self, function: Function) -> None:
        self.function = function

    def __hash__(self) -> int:
        return hash((len(self.function.params), *(n.op.name for n in self.function.nodes)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Structure) and same_function(self.function, other.function)


__all__ = ["attribute_key", "difference", "same_attribute", "same_function"]
