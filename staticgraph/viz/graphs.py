"""From the user's graph to a `Picture`.

What a reader wants to see is less than what the graph holds, so that

- a variable is one node: its storage, its plain reads and its first assignment;
- a constant is a line in the node that takes it, unless it is big;
- a name scope is a group, or, folded, one node that says how many operations it holds;
- a level with too many members is cut into runs of consecutive operations.

Folding never drops anything: every operation counted stands for itself or in something folded.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from staticgraph.errors import NameNotFoundError
from staticgraph.ir.body import BodyGraph, source_of
from staticgraph.ir.graph import Graph, Operation, Tensor
from staticgraph.viz.bodies import Body, with_bodies
from staticgraph.viz.folding import LIMIT, Atom, Scope, open_scopes, scope_tree
from staticgraph.viz.picture import (
    Group,
    Item,
    Link,
    Picture,
    array_text,
    attribute_text,
    in_words,
    type_bytes,
    type_text,
)
from staticgraph.viz.style import EdgeKind, Kind

INLINED_ELEMENTS = 64  # constants up to this size are a line in the node that takes them
DRAWN_AT_MOST = 400  # nodes, whatever depth is asked for: beyond, layout takes minutes

_GRADIENTS = re.compile(r"(^|/)gradients?(_\d+)?(/|$)")
_OPTIMIZERS = re.compile(
    r"(^|/)(GradientDescent|ProximalGradientDescent|Momentum|Adam|Adamax|AdamW|NAdam|RMSProp|Adagrad|"
    r"AdagradDA|ProximalAdagrad|Adadelta|Ftrl)(_\d+)?(/|$)"
)
_AUTOMATIC = re.compile(r"^(Const|zeros|ones)(_\d+)?$")


def picture_of_graph(
    graph: Graph, *, fetches: Any = None, scope: str | None = None,
    depth: int | Literal["auto"] | None = "auto", initializers: bool = False,
    title: str | None = None, limit: int = LIMIT,
) -> Picture:  # fmt: skip
    """Decide what of a graph is drawn.

    Args:
      fetches: tensors, operations or names: only what they need is drawn.
      scope: only operations of this name scope; what they take from outside stays visible.
      depth: scopes nested deeper are folded; "auto" folds until at most `limit` nodes remain;
        None folds nothing (up to `DRAWN_AT_MOST` nodes).
      initializers: draw the variables' first assignments too.

    Raises:
      NameNotFoundError: a fetch or scope that the graph does not hold.
    """
    wanted = _operations(graph, fetches)
    ops = graph.get_operations() if fetches is None else _needed(wanted)
    view = _View(ops, set(wanted) if fetches is not None else set(), initializers)
    atoms = view.atoms()
    scope = scope.strip("/") if scope else None
    root = _inside(graph, atoms, view, scope, limit) if scope else scope_tree(atoms)
    return _draw(root, view, depth, limit, title, scope, len(ops))[0]


def _operations(graph: Graph, fetches: Any) -> list[Operation]:
    out: list[Operation] = []
    stack = [fetches]
    while stack:
        f = stack.pop()
        if f is None:
            continue
        if isinstance(f, (list, tuple, set)):
            stack += list(f)
        elif isinstance(f, dict):
            stack += list(f.values())
        else:
            element = graph.as_graph_element(f)
            out.append(element.op if isinstance(element, Tensor) else element)
    return out


def _needed(fetches: Iterable[Operation]) -> list[Operation]:
    seen: set[Operation] = set()
    stack = list(fetches)
    while stack:
        op = stack.pop()
        if op not in seen:
            seen.add(op)
            stack += [t.op for t in op.inputs]
            stack += op.control_inputs
    return sorted(seen, key=lambda op: op.id)


def ends(graph: Graph) -> list[Operation]:
    """The operations whose results nothing takes: losses and writes, not leftovers.

    Initialisation, plain reads and gradients that nobody took are left out.
    """
    ops = graph.get_operations()
    view = _View(ops, set(), initializers=False)
    return [
        op for op in ops
        if not view.users[op] and op not in view.hidden and op not in view.reads
        and view.kinds[op] in ("operation", "update", "random")
    ]  # fmt: skip


def writes(op: Operation) -> bool:
    """True where the operation writes a variable."""
    return op.record.effect == "state" and op.record.decompose is not None and bool(op.inputs)


def _is_first_assignment(op: Operation) -> bool:
    if op.type != "Assign":
        return False
    variable = op.inputs[0].op
    return variable.type == "VariableV2" and op.name == f"{variable.name}/Assign"


class _View:
    """What of a list of operations is visible, and as what."""

    def __init__(
        self, ops: Sequence[Operation], fetched: set[Operation], initializers: bool
    ) -> None:
        self.ops, self.fetched = ops, fetched
        self.users: dict[Operation, list[Operation]] = {op: [] for op in ops}
        for op in ops:
            for source in [*(t.op for t in op.inputs), *op.control_inputs]:
                if source in self.users:
                    self.users[source].append(op)
        self.reads = self._plain_reads()
        fold = not initializers and not fetched
        self.hidden = self._initialisation() if fold else set()
        self.inlined = {
            op for op in ops
            if op.type == "Const" and op not in fetched and self.users[op] and not op.control_inputs
            and op.attrs["value"].array.size <= INLINED_ELEMENTS
        }  # fmt: skip
        self.kinds = self._kinds()

    def _plain_reads(self) -> dict[Operation, Operation]:
        out = {}
        for op in self.ops:
            if op.type == "Identity" and not op.control_inputs and op not in self.fetched:
                variable = source_of(op.inputs[0]).op  # in a body, of what is passed to it
                if variable.type == "VariableV2" and op.name.startswith(f"{variable.name}/read"):
                    out[op] = op.inputs[0].op
        return out

    def _initialisation(self) -> set[Operation]:
        hidden = {op for op in self.ops if _is_first_assignment(op)}
        for op in self.ops:
            controls = op.control_inputs
            if op.type == "NoOp" and controls and all(c in hidden for c in controls):
                hidden.add(op)
        for op in reversed(self.ops):
            users = self.users[op]
            keep = op.type in ("VariableV2", "Placeholder") or not users
            if not keep and all(u in hidden for u in users):
                hidden.add(op)
        return hidden

    def _kinds(self) -> dict[Operation, Kind]:
        kinds: dict[Operation, Kind] = {}
        follows: set[Operation] = set()  # operations downstream of a gradient
        for op in self.ops:
            kind = kinds[op] = _kind(op)
            if kind == "gradient" or any(t.op in follows for t in op.inputs):
                follows.add(op)
        for op in reversed(self.ops):  # what scales a gradient on its way to a write is part of it
            users = self.users[op] if op in follows and kinds[op] == "operation" else ()
            if users and all(kinds[u] == "update" for u in users):
                kinds[op] = "update"
        return kinds

    def shown(self, op: Operation) -> Operation | None:
        """The operation whose node stands for `op`; None where nothing does."""
        op = self.reads.get(op, op)
        return None if op in self.hidden or op in self.inlined or op not in self.users else op

    def atoms(self) -> list[Atom]:
        return [
            Atom(op, op.name, self.kinds[op])
            for op in self.ops
            if op not in self.hidden and op not in self.inlined and op not in self.reads
        ]

    def details(self, op: Operation) -> tuple[str, ...]:
        """One line for each constant that the node swallows."""
        lines = []
        if op.type == "Const":
            lines.append(array_text(op.attrs["value"].array))
        for name, t in zip(operand_names(op), op.inputs, strict=True):
            if t.op in self.inlined:
                base = t.op.name.rsplit("/", 1)[-1]
                own = t.op.name.startswith(f"{op.name}/") or _AUTOMATIC.match(base)
                lines.append(f"{name if own else base} = {array_text(t.op.attrs['value'].array)}")
        if len(lines) > 5:
            lines = [*lines[:4], f"… {len(lines) - 4} more constants"]
        return tuple(lines)


def _kind(op: Operation) -> Kind:
    if op.type == "VariableV2":
        return "variable"
    if op.type.startswith("Placeholder"):
        passed = op.outputs and source_of(op.outputs[0]).op.type == "VariableV2"
        return "variable" if passed else "placeholder"
    if op.type == "Const":
        return "constant"
    if writes(op):
        return "update"
    kind = kind_of_name(op.name)
    return "random" if op.record.effect == "random" and kind == "operation" else kind


def kind_of_name(name: str) -> Kind:
    """What the scopes in a name say: made by an optimizer, by `gradients`, or by the user."""
    if _OPTIMIZERS.search(name):
        return "update"
    return "gradient" if _GRADIENTS.search(name) else "operation"


def operand_names(op: Operation) -> list[str]:
    """A name for each input, lists opened."""
    names: list[str] = []
    extra = len(op.inputs) - len(op.record.operands)
    for operand in op.record.operands:
        key = operand.lstrip("@*")
        names += [f"{key}[{i}]" for i in range(extra + 1)] if operand.startswith("*") else [key]
    return names


def _inside(graph: Graph, atoms: list[Atom], view: _View, scope: str, limit: int) -> Scope:
    """The scope as a tree of its own, preceded by what it takes from outside."""
    inner = [a for a in atoms if a.name == scope or a.name.startswith(f"{scope}/")]
    if not inner:
        tops = dict.fromkeys(
            op.name.split("/", 1)[0] for op in graph.get_operations() if "/" in op.name
        )
        raise NameNotFoundError(
            f"the graph holds no operations in a scope named {scope!r}",
            hint="there are " + ", ".join(map(repr, list(tops)[:8])) if tops else None,
        )
    near = {view.shown(t.op) for a in inner for t in a.op.inputs} - {a.op for a in inner}
    outside = [a for a in atoms if a.op in near]
    root = scope_tree(inner)
    while len(root.children) == 1 and isinstance(root.children[0], Scope):
        root = root.children[0]
    around = scope_tree(outside).children
    if len(outside) <= limit // 3:
        around = list(outside)
        for atom in outside:
            atom.relative = atom.name
    return Scope(root.path, scope, [*around, *root.children], len(inner) + len(outside))


# ---------------------------------------------------------------- drawing
def _draw(
    root: Scope, view: _View, depth: int | Literal["auto"] | None, limit: int,
    title: str | None, scope: str | None, total: int,
) -> tuple[Picture, dict[Operation, str]]:  # fmt: skip
    """The picture, and which node stands for which operation."""
    shown_ops = root.size
    opened, note = open_scopes(root, depth, limit, DRAWN_AT_MOST)
    stands: dict[Operation, str] = {}
    items: list[Item] = []
    groups: list[Group] = []
    stack: list[tuple[Atom | Scope, str]] = [(c, "") for c in reversed(root.children)]
    while stack:
        node, group = stack.pop()
        if isinstance(node, Atom):
            item = _item(node, view, group, len(items))
            items.append(item)
            stands[node.op] = item.id
        elif node in opened:
            key = f"g{len(groups)}"
            groups.append(
                Group(key, node.label, group, node.kind(), f"{node.path}: {node.size} operations")
            )
            stack += [(c, key) for c in reversed(node.children)]
        else:
            item = _folded(node, group, len(items))
            items.append(item)
            stands.update((a.op, item.id) for a in node.atoms())
    items, links = in_words(items, _links(view, stands))
    hidden = total - shown_ops
    what = (
        f"{total} operations"
        if scope is None
        else f"{shown_ops} operations in and next to {scope!r}"
    )
    shown = f"{what}, {len(items)} nodes"
    folded = sum(1 for i in items if i.folded)
    if folded:
        shown += f" ({folded} folded)"
    if hidden and scope is None:
        shown += f"; {hidden} constants, reads and initialisers are part of other nodes"
    bodies, kept, inside = _bodies(items, stands, view, depth, limit)
    if bodies:
        shown += f"; {inside} more operations in bodies"
    picture = Picture(
        tuple(items),
        tuple(links),
        tuple(groups),
        title or "",
        "\n".join(filter(None, (shown, note))),
        total,
    )
    return with_bodies(picture, bodies, kept), stands


def _bodies(
    items: Sequence[Item], stands: dict[Operation, str], view: _View,
    depth: int | Literal["auto"] | None, limit: int,
) -> tuple[list[Body], set[tuple[str, str]], int]:  # fmt: skip
    """The bodies of the loops and branches that have a node of their own.

    Returns:
      The bodies, the edges that stay beside them, and how many operations the bodies hold.
    """
    single = {i.id for i in items if not i.folded}
    out: list[Body] = []
    kept: set[tuple[str, str]] = set()
    count = 0
    for op in view.ops:
        node = stands.get(op)
        if node not in single or not op.record.control:
            continue
        passed = op.inputs[1:]  # the first is the length of a loop, the index of a branch
        first = stands.get(view.shown(op.inputs[0].op) or op)
        kept.add((first or "", node))
        for body in bodies_in(op):
            inner, at, where = _body(body, depth, limit)
            count += inner.operations
            pairs = list(zip(passed, body.params, strict=True))
            enters = [
                (source, at[p.op], type_text(p.type))
                for t, p in pairs
                if (source := stands.get(view.shown(t.op) or t.op)) and p.op in at
            ]
            leaves = [(at[o], type_text(t.type)) for t in body.results if (o := where(t)) in at]
            out.append(Body(node, f"body of {body.what}", inner, enters, leaves))
    return out, kept, count


def bodies_in(op: Operation) -> list[BodyGraph]:
    """The bodies that an operation runs."""
    found = [x for v in op.attrs.values() for x in (v if isinstance(v, tuple) else (v,))]
    return [x for x in found if isinstance(x, BodyGraph)]


def _body(
    body: BodyGraph, depth: int | Literal["auto"] | None, limit: int
) -> tuple[Picture, dict[Operation, str], Callable[[Tensor], Operation]]:
    """The picture of a body, what stands for its operations, and for the one of a tensor."""
    results = {t.op for t in body.results}
    view = _View(_needed(results), results, initializers=False)
    root = scope_tree(view.atoms())
    while len(root.children) == 1 and isinstance(root.children[0], Scope):
        root = root.children[0]
    picture, at = _draw(root, view, depth, limit, None, None, len(view.ops))
    return picture, at, lambda t: view.shown(t.op) or t.op


def _item(atom: Atom, view: _View, group: str, k: int) -> Item:
    op = atom.op
    base = atom.relative
    title = op.type
    if op.type in ("VariableV2", "Placeholder"):
        title, base = base, type_text(op.outputs[0].type)
    elif op.type == "Const":
        title = base
        base = ""
    elif base.lower() == op.type.lower():
        base = ""
    return Item(
        f"n{k}", atom.kind, title, base, view.details(op), _tooltip(op, view), group, path=op.name
    )


def _tooltip(op: Operation, view: _View) -> str:
    lines = [f"{op.name} ({op.type})"]
    lines += [f"gives {t.type.public()}" for t in op.outputs]
    lines += [f"{k} = {attribute_text(v)}" for k, v in op.attrs.items() if not k.startswith("_")]
    if op.device:
        lines.append(f"device {op.device}")
    if op.type == "VariableV2":
        for u in view.users[op]:
            if _is_first_assignment(u):
                lines.append(f"starts as {u.inputs[1].op.type} {u.inputs[1].op.name}")
    lines.append(f"{op.loc.file}:{op.loc.line}")
    if op.loc.source:
        lines.append(op.loc.source)
    return "\n".join(lines)


def _folded(node: Scope, group: str, k: int) -> Item:
    counts = Counter(a.op.type for a in node.atoms())
    variables = counts.get("VariableV2", 0)
    details = []
    if variables:
        details.append(f"{variables} variable{'s' * (variables > 1)}")
    if node.run:
        details.append(", ".join(f"{n} {t}" for t, n in counts.most_common(3)))
    tooltip = f"{node.path or node.label}: {node.size} operations\n" + "\n".join(
        f"{n} × {t}" for t, n in counts.most_common(12)
    )
    return Item(
        f"n{k}",
        node.kind(),
        node.label,
        f"{node.size} operations",
        tuple(details),
        tooltip,
        group,
        node.size,
        path=node.path or node.label,
        opens=node.path,
    )


def _links(view: _View, stands: dict[Operation, str]) -> list[Link]:
    carried: dict[tuple[str, str, EdgeKind], dict[Tensor, None]] = {}
    controls: dict[tuple[str, str], None] = {}
    for op in view.ops:
        target = stands.get(view.reads.get(op, op))
        if target is None:
            continue
        for i, t in enumerate(op.inputs):
            origin = view.shown(t.op)
            source = None if origin is None else stands.get(origin)
            if source is None or source == target:
                continue
            kind = _edge_kind(view, t.op, written=i == 0 and writes(op))
            carried.setdefault((source, target, kind), {})[t] = None
        for c in op.control_inputs:
            origin = view.shown(c)
            source = None if origin is None else stands.get(origin)
            if source is not None and source != target:
                controls[source, target] = None
    links = [_link(*ends, list(tensors)) for ends, tensors in carried.items()]
    joined = {(e.source, e.target) for e in links}
    links += [Link(a, b, "", "control", "runs before") for a, b in controls if (a, b) not in joined]
    return links


def _edge_kind(view: _View, source: Operation, written: bool) -> EdgeKind:
    if written:
        return "update"
    return "gradient" if view.kinds[source] in ("gradient", "update") else "data"


def _link(source: str, target: str, kind: EdgeKind, tensors: Sequence[Tensor]) -> Link:
    label = type_text(tensors[0].type) if len(tensors) == 1 else f"{len(tensors)} tensors"
    lines = [f"{t.name} {t.type.public()}" for t in tensors[:12]]
    if len(tensors) > 12:
        lines.append(f"… {len(tensors) - 12} more")
    size = sum(type_bytes(t.type) for t in tensors)
    return Link(source, target, label, kind, "\n".join(lines), size, kind == "update")
