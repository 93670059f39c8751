"""From what the compiler makes of a graph to a `Picture`: functions, and kernels after fusion.

Nothing here imports the compiler.  What fusion gives is taken by its shape (`FusedLike`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from staticgraph.ir.function import Function, Node, Param, Value
from staticgraph.viz.bodies import Body, with_bodies
from staticgraph.viz.graphs import INLINED_ELEMENTS, kind_of_name
from staticgraph.viz.picture import (
    Group,
    Item,
    Link,
    Picture,
    array_text,
    attribute_text,
    collapsed,
    in_runs,
    in_words,
    type_bytes,
    type_text,
)
from staticgraph.viz.style import EdgeKind, Kind


class MemberLike(Protocol):
    """One value that a kernel computes."""

    @property
    def node(self) -> Node: ...
    @property
    def value(self) -> Value: ...


class RegionLike(Protocol):
    """One kernel."""

    @property
    def form(self) -> str: ...
    @property
    def dims(self) -> Sequence[Any]: ...
    @property
    def members(self) -> Sequence[MemberLike]: ...


class FusedLike(Protocol):
    """What fusion gives: kernels and other steps in order, and what was inlined."""

    @property
    def items(self) -> Sequence[Any]: ...
    @property
    def inlined(self) -> frozenset[Value]: ...


DETAILED = 120  # operations in kernels, beyond which a kernel is one node
STEPS = 100  # nodes, beyond which consecutive ones are drawn as one
RUNS = 40  # ... so that this many remain


def picture_of_function(function: Function, title: str | None = None) -> Picture:
    """Draw a function as it stands: parameters, nodes, results and state written."""
    view = _Functional(function)
    for node in function.nodes:
        view.place(node, "")
    return _cut(view.finish(title, f"{len(function.nodes)} operations"))


def picture_of_fused(function: Function, fused: FusedLike, title: str | None = None) -> Picture:
    """Draw the kernels of a function: one group each, library and host calls beside them.

    A value that is cheap to recompute has no place of its own; it is drawn, with a dashed outline,
    in every kernel that computes it.  In a big function a kernel is one node.
    """
    view = _Functional(function)
    producers = function.producers()
    kernels: dict[str, Item] = {}
    calls = total = 0
    for step in fused.items:
        if isinstance(step, Node):
            calls += step.op.name != "Const"
            view.place(step, "")
            continue
        members = {m.node for m in step.members}
        inside = _with_inlined(members, producers, fused.inlined)
        types = Counter(n.op.name for n in inside if n.op.name != "Const")
        total += sum(types.values())
        size = "×".join(str(d) if isinstance(d, int) else "?" for d in step.dims) or "scalar"
        key, name = f"k{len(kernels)}", f"kernel {len(kernels) + 1}"
        label = f"{name} · {step.form} · {size}"
        tip = f"{label}\n{sum(types.values())} operations in one pass\n" + "\n".join(
            f"{n} × {t}" for t, n in types.most_common(12)
        )
        view.groups.append(Group(key, label, "", "kernel", tip, step.form))
        most = ", ".join(f"{n} {t}" for t, n in types.most_common(3))
        kernels[key] = Item(
            key,
            "kernel",
            name,
            f"{step.form} · {size}",
            (f"{sum(types.values())} operations", most),
            tip,
            path=name,
        )
        for node in inside:
            view.place(node, key, faded=node not in members, kernel=True)
    many = "" if len(kernels) == 1 else "s"
    steps = f"{len(kernels)} kernel{many}, {calls} other step{'s' * (calls != 1)}"
    note = f"{len(function.nodes)} operations in {steps}"
    picture = view.finish(title, note)
    if total > DETAILED:
        picture = collapsed(picture, {i.id: kernels[i.group] for i in picture.items if i.group})
    return _cut(picture)


def _cut(picture: Picture) -> Picture:
    if not picture.groups and len(picture.items) > STEPS:
        picture = in_runs(picture, RUNS)
    items, links = in_words(picture.items, picture.links)
    return replace(picture, items=tuple(items), links=tuple(links))


def _with_inlined(
    members: Iterable[Node], producers: Mapping[Value, Node], inlined: frozenset[Value]
) -> list[Node]:
    """The nodes of a kernel, those inlined into it included, in an order that respects edges."""
    out: dict[Node, None] = {}
    for member in members:
        stack = [(member, False)]
        while stack:
            node, done = stack.pop()
            if done:
                out[node] = None
                continue
            if node in out:
                continue
            stack.append((node, True))
            stack += [(producers[v], False) for v in node.inputs if v in inlined and v in producers]
    return list(out)


class _Functional:
    """Collects the nodes of a function, each maybe in several groups."""

    def __init__(self, function: Function) -> None:
        self.f = function
        self.items: list[Item] = []
        self.readings: list[tuple[Value, str, str, EdgeKind | None]] = []  # value, reader, group
        self.groups: list[Group] = []
        self.origin: dict[tuple[Value, str], str] = {}  # value in a group -> node id
        self.kinds: dict[Value, Kind] = {}
        self.constants: dict[Value, str] = {}
        self.placed: list[tuple[Node, str, str]] = []  # with id and group
        read = set(function.reads())
        self.results = {id(v) for v in (*function.results, *function.updates.values())}
        for p in function.params:
            if p.value in read:
                self._param(p)

    def _add(self, item: Item) -> str:
        self.items.append(item)
        return item.id

    def _param(self, p: Param) -> None:
        kind: Kind = {"feed": "placeholder", "variable": "variable", "counter": "random"}[p.kind]  # type: ignore[assignment]
        tip = f"{p.kind} {p.name} {p.value.type.public()}\n{p.loc.file}:{p.loc.line}"
        name = f"{type_text(p.value.type)}" if p.kind != "counter" else "random counter"
        key = self._add(Item(f"p{len(self.items)}", kind, p.name.removesuffix(":0"), name, (), tip))
        self.origin[p.value, ""] = key
        self.kinds[p.value] = kind

    def place(self, node: Node, group: str, *, faded: bool = False, kernel: bool = False) -> None:
        """Add a node to a group."""
        if node.op.name == "Const":
            array = node.attrs["value"].array
            text = array_text(array)
            if array.size <= INLINED_ELEMENTS and id(node.output) not in self.results:
                self.constants[node.output] = text
                return
        details = []
        for name, v in zip(_operand_names(node), node.inputs, strict=True):
            if v in self.constants:
                details.append(f"{name} = {self.constants[v]}")
        if node.op.name == "Const":
            details.append(text)
        kind = self._kind(node, kernel)
        name = "/".join(node.name.split("/")[-2 if kind == "gradient" else -1 :])
        if name.lower() == node.op.name.lower():
            name = ""
        key = self._add(
            Item(
                f"n{len(self.items)}", kind, node.op.name, name, tuple(details[:5]),
                _tooltip(node), group, faded=faded, path=node.name,
            )
        )  # fmt: skip
        self.placed.append((node, key, group))
        for v in node.inputs:
            self.readings.append((v, key, group, None))
        for v in node.outputs:
            self.origin[v, group] = key
            if not faded:
                self.origin.setdefault((v, ""), key)
            self.kinds[v] = kind_of_name(node.name)

    def _kind(self, node: Node, kernel: bool) -> Kind:
        if node.op.name == "Const":
            return "constant"
        if not kernel and node.op.library:
            return "library"
        if not kernel and node.op.host:
            return "host"
        return kind_of_name(node.name)

    def _link(self, reading: tuple[Value, str, str, EdgeKind | None]) -> Link | None:
        v, target, group, kind = reading
        source = self.origin.get((v, group)) or self.origin.get((v, ""))
        if source is None:
            return None
        if kind is None:
            kind = "gradient" if self.kinds.get(v) in ("gradient", "update") else "data"
        tip = f"{v.hint or 'value'} {v.type.public()}"
        return Link(source, target, type_text(v.type), kind, tip, type_bytes(v.type))

    def finish(self, title: str | None, note: str) -> Picture:
        """Add results and written state, and close the picture."""
        for i, v in enumerate(self.f.results):
            label = f"result {i}" if len(self.f.results) > 1 else "result"
            tip = f"{label}: {v.type.public()}"
            key = self._add(Item(f"r{i}", "result", label, v.hint, (), tip))
            self.readings.append((v, key, "", None))
        for i, (name, v) in enumerate(self.f.updates.items()):
            shown = name.removeprefix("counter:")
            what = "next counter" if name.startswith("counter:") else "new value"
            tip = f"{what} of {shown}: {v.type.public()}"
            key = self._add(Item(f"u{i}", "update", shown, what, (), tip))
            self.readings.append((v, key, "", "update"))
        found = map(self._link, self.readings)  # only now is every value's place known
        links = tuple(dict.fromkeys(e for e in found if e is not None))
        picture = Picture(
            tuple(self.items), links, tuple(self.groups), title or "", note, len(self.f.nodes)
        )
        bodies = [
            b for node, *at in self.placed if node.op.control for b in self._bodies(node, *at)
        ]
        return with_bodies(picture, bodies, set())

    def _bodies(self, node: Node, key: str, group: str) -> Iterator[Body]:
        """The bodies of a loop or branch as pictures."""
        whole = node.attrs.get("branches") or (node.attrs["body"],)
        passed = node.inputs if "body" in node.attrs else node.inputs[1:]
        for body in whole:
            view = _Functional(body)
            for n in body.nodes:
                view.place(n, "")
            inner = view.finish(None, "")
            sources = [self.origin.get((v, group)) or self.origin.get((v, "")) for v in passed]
            enters = [
                (source, view.origin[p.value, ""], type_text(p.value.type))
                for source, p in zip(sources, body.params, strict=True)
                if source is not None and (p.value, "") in view.origin
            ]
            leaves = [(f"r{k}", type_text(v.type)) for k, v in enumerate(body.results)]
            yield Body(key, f"body {body.name}", inner, enters, leaves)


def _operand_names(node: Node) -> list[str]:
    names: list[str] = []
    data = node.op.operands
    plain = [o for o in data if not o.startswith("@")]
    extra = len(node.inputs) - len(plain)
    for operand in plain:
        key = operand.lstrip("*")
        names += [f"{key}[{i}]" for i in range(extra + 1)] if operand.startswith("*") else [key]
    return names


def _tooltip(node: Node) -> str:
    lines = [f"{node.name or node.op.name} ({node.op.name})"]
    lines += [f"gives {v.type.public()}" for v in node.outputs]
    lines += [f"{k} = {attribute_text(v)}" for k, v in node.attrs.items()]
    lines.append(f"{node.loc.file}:{node.loc.line}")
    if node.loc.source:
        lines.append(node.loc.source)
    return "\n".join(lines)


__all__ = ["FusedLike", "MemberLike", "RegionLike", "picture_of_function", "picture_of_fused"]
