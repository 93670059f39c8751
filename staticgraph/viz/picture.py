"""`Picture`: what is to be drawn, before anybody decides how: nodes, edges, nested groups."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from staticgraph.ir.types import ConstantArray, TensorType
from staticgraph.viz.style import EdgeKind, Kind


@dataclass(frozen=True, slots=True)
class Item:
    """A node.

    Args:
      title: the first line, set in bold.
      name: the second line, smaller; empty where it would repeat the title.
      details: further small lines (inlined constants).
      group: the group it stands in; empty at the top.
      folded: how many operations it stands for; 0 where it is one operation.
      faded: it is computed again elsewhere (inlined into several kernels).
      stubs: edges told in words, with the kind of the node at the other end.
      path: the full name, by which stubs elsewhere call it.
      opens: the scope folded in it, which has a picture of its own.
    """

    id: str
    kind: Kind
    title: str
    name: str = ""
    details: tuple[str, ...] = ()
    tooltip: str = ""
    group: str = ""
    folded: int = 0
    faded: bool = False
    stubs: tuple[tuple[str, Kind], ...] = ()
    path: str = ""
    opens: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """An edge; `size` is the number of bytes it carries where that is known."""

    source: str
    target: str
    label: str = ""
    kind: EdgeKind = "data"
    tooltip: str = ""
    size: int = 0
    writes: bool = False  # the arrow points at the source: the target writes into it


@dataclass(frozen=True, slots=True)
class Group:
    """A box around nodes and other groups."""

    id: str
    label: str
    parent: str = ""
    kind: Kind = "operation"
    tooltip: str = ""
    form: str = ""


@dataclass(frozen=True)
class Picture:
    """Nodes in an order that dot keeps, edges, groups, and a note about what was left out."""

    items: tuple[Item, ...]
    links: tuple[Link, ...]
    groups: tuple[Group, ...] = ()
    title: str = ""
    note: str = ""
    operations: int = 0

    def prefixed(self, prefix: str, label: str) -> Picture:
        """The same picture inside one more group, its ids made unique by `prefix`."""
        outer = Group(prefix, label, form="half")

        def of(group: str) -> str:
            return f"{prefix}.{group}" if group else prefix

        return replace(
            self,
            items=tuple(replace(i, id=f"{prefix}.{i.id}", group=of(i.group)) for i in self.items),
            links=tuple(
                replace(e, source=f"{prefix}.{e.source}", target=f"{prefix}.{e.target}")
                for e in self.links
            ),
            groups=(
                outer,
                *(replace(g, id=of(g.id), parent=of(g.parent)) for g in self.groups),
            ),
        )


def beside(left: Picture, right: Picture, labels: tuple[str, str], title: str = "") -> Picture:
    """Two pictures in one, each in a group of its own."""
    a, b = left.prefixed("before", labels[0]), right.prefixed("after", labels[1])
    return Picture(
        a.items + b.items, a.links + b.links, a.groups + b.groups, title, "", a.operations
    )


def collapsed(picture: Picture, into: Mapping[str, Item]) -> Picture:
    """The picture with items replaced: those mapped to one item become that item.

    Groups that lose all members disappear; edges between the same ends become one.
    """
    items = tuple(dict.fromkeys(into.get(i.id, i) for i in picture.items))
    merged: dict[tuple[str, str, EdgeKind], list[Link]] = {}
    for e in picture.links:
        a = into[e.source].id if e.source in into else e.source
        b = into[e.target].id if e.target in into else e.target
        if a != b:
            merged.setdefault((a, b, e.kind), []).append(e)
    links = tuple(
        replace(
            es[0], source=a, target=b, size=sum(e.size for e in es),
            label=es[0].label if len(es) == 1 else f"{len(es)} tensors",
            tooltip="\n".join(e.tooltip for e in es[:12]),
        )
        for (a, b, _), es in merged.items()
    )  # fmt: skip
    used = {i.group for i in items}
    parents = {g.id: g.parent for g in picture.groups}
    for key in list(used):
        while key in parents:
            key = parents[key]
            used.add(key)
    return replace(
        picture, items=items, links=links, groups=tuple(g for g in picture.groups if g.id in used)
    )


def in_runs(picture: Picture, at_most: int) -> Picture:
    """Cut a picture without groups into runs of consecutive items; at most so many remain."""
    if len(picture.items) <= at_most:
        return picture
    length = -(-len(picture.items) // at_most)
    into: dict[str, Item] = {}
    for k in range(0, len(picture.items), length):
        part = picture.items[k : k + length]
        if len(part) > 1:
            size = sum(max(i.folded, 1) for i in part)
            label = f"{part[0].path or part[0].title} … {part[-1].path or part[-1].title}"
            run = Item(f"run{k}", "operation", label, f"{size} operations", (), label, folded=size)
            into.update((i.id, run) for i in part)
    out = collapsed(picture, into)
    note = f"{out.note}\ncut into runs of consecutive operations to stay legible"
    return replace(out, note=note)


HUB = 9  # edges of one kind at a node, beyond which they are told in words
BUSY = 110  # edges in a picture, beyond which long ones into gradients are told in words too
LONG = 20  # nodes between the ends of a long edge


def in_words(items: Sequence[Item], links: Sequence[Link]) -> tuple[list[Item], list[Link]]:
    """Tell in words, at the nodes, the edges that would only make a tangle.

    These are the edges of nodes that everything is connected to (folded gradients, optimizers),
    and in busy pictures those by which far operations pass values to gradients and writes.
    """
    where = {item.id: k for k, item in enumerate(items)}
    told = _hub_edges(where, links)
    if len(links) - len(told) > BUSY:
        for e in links:
            source, target = items[where[e.source]], items[where[e.target]]
            back = target.kind in _BACKWARD and source.kind not in _BACKWARD
            far = where[e.target] - where[e.source] > LONG
            if e not in told and back and far and (e.kind == "data" or e.writes):
                told[e] = ((e.target, "writes" if e.writes else "←"),)
                if e.writes:
                    told[e] += ((e.source, "⇠"),)
    stubs: dict[str, dict[tuple[str, Kind], None]] = {}
    for e, marks in told.items():
        for at, mark in marks:
            other = items[where[e.source if at == e.target else e.target]]
            stubs.setdefault(at, {})[f"{mark} {other.path or other.title}", other.kind] = None
    out = [replace(i, stubs=_at_most(list(stubs[i.id]))) if i.id in stubs else i for i in items]
    return out, [e for e in links if e not in told]


_BACKWARD = ("gradient", "update")


def _hub_edges(
    where: Mapping[str, int], links: Sequence[Link]
) -> dict[Link, tuple[tuple[str, str], ...]]:
    """The edges of hubs, each with the node it is told at and the sign that goes before the words.

    The last node that feeds a hub keeps its edge, so that the hub stands next to it.
    """
    at: dict[tuple[str, bool, EdgeKind], list[Link]] = {}
    for e in links:
        at.setdefault((e.target, True, e.kind), []).append(e)
        at.setdefault((e.source, False, e.kind), []).append(e)
    told: dict[Link, tuple[tuple[str, str], ...]] = {}
    for (_, incoming, kind), edges in sorted(at.items(), key=lambda kv: -len(kv[1])):
        left = [e for e in edges if e not in told]
        if len(left) <= HUB:
            continue
        left.sort(key=lambda e: where[e.source if incoming else e.target])
        if kind != "update":
            left.pop(-1 if incoming else 0)
        for e in left:
            sign = "⇠" if e.writes else "→"
            told[e] = ((e.source, sign),) if incoming else ((e.target, "←"),)
    return told


def _at_most(stubs: list[tuple[str, Kind]], n: int = 4) -> tuple[tuple[str, Kind], ...]:
    if len(stubs) <= n:
        return tuple(stubs)
    return (*stubs[: n - 1], (f"… {len(stubs) - n + 1} more", stubs[-1][1]))


# ---------------------------------------------------------------- texts
def type_text(type_: TensorType) -> str:
    """Dtype and sizes as edges show them: ``f32 ?×784``, ``i64`` for a scalar."""
    if type_.shape is None:
        return f"{type_.dtype.short} …"
    sizes = "×".join(_size(d) for d in type_.shape)
    if not type_.shape:
        return type_.dtype.short
    if len(type_.shape) == 1:
        sizes = f"[{sizes}]"
    return f"{type_.dtype.short} {sizes}"


def _size(d: Any) -> str:
    return str(d) if isinstance(d, int) else "?"


def type_bytes(type_: TensorType) -> int:
    """Bytes of a tensor, unknown sizes counted as 1."""
    n = 1
    for d in type_.shape or ():
        n *= d if isinstance(d, int) else 1
    return n * np.dtype(type_.dtype.np).itemsize


def array_text(array: np.ndarray, limit: int = 26) -> str:
    """A short text for a constant: its value where that is short, else its type.

    >>> array_text(np.float32(0.1)), array_text(np.arange(3)), array_text(np.zeros((20, 30)))
    ('0.1', '[0, 1, 2]', '20×30 × 0.0')
    """
    if array.size <= 12:
        text = _nested_text(array)
        if len(text) <= limit:
            return text
    shape = "×".join(map(str, array.shape)) or "scalar"
    first = array.ravel()[:1]
    if array.size > 1 and array.dtype != object and bool((array == first[0]).all()):
        return f"{shape} × {_number(first[0])}"
    return f"{shape} {'string' if array.dtype == object else array.dtype.name}"


def _nested_text(array: np.ndarray) -> str:
    if array.ndim == 0:
        return _number(array[()])
    return "[" + ", ".join(_nested_text(np.asarray(a)) for a in array) + "]"


def _number(value: Any) -> str:
    if isinstance(value, (bytes, str)):
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        return repr(text if len(text) <= 20 else text[:19] + "…")
    if isinstance(value, (np.bool_, bool)):
        return str(bool(value))
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        if value == 0 or 1e-4 <= abs(float(value)) < 1e6:
            return np.format_float_positional(value, trim="0")
        return np.format_float_scientific(value, trim="-", exp_digits=1)
    return str(value)


_SHORT = reprlib.Repr()
_SHORT.maxother = _SHORT.maxstring = 60


def attribute_text(value: Any) -> str:
    """An attribute's value on one short line."""
    if isinstance(value, ConstantArray):
        return array_text(value.array, 40)
    if isinstance(value, tuple) and any(isinstance(v, ConstantArray) for v in value):
        return "(" + ", ".join(attribute_text(v) for v in value[:4]) + ")"
    if hasattr(value, "nodes") and hasattr(value, "params"):
        return f"function of {len(value.nodes)} operations"
    if hasattr(value, "short") and hasattr(value, "is_ref"):
        return str(value.name)
    return _SHORT.repr(value)
