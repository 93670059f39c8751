"""Which name scopes are opened and which are folded into one node."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from staticgraph.ir.graph import Operation
from staticgraph.viz.style import Kind

LIMIT = 60  # nodes that a reader can follow on one page
_NUMBER = re.compile(r"_?\d+$")
RUNS = 30  # into how many runs a level with too many members is cut


@dataclass(eq=False, slots=True)
class Atom:
    """A visible operation; `relative` is its name inside the group it is drawn in."""

    op: Operation
    name: str
    kind: Kind
    relative: str = ""


@dataclass(eq=False, slots=True)
class Scope:
    """A name scope with what is visible in it; `run` marks a cut of consecutive members."""

    path: str
    label: str
    children: list[Atom | Scope] = field(default_factory=list)
    size: int = 0
    run: bool = False

    def atoms(self) -> Iterator[Atom]:
        """Every operation inside, in order."""
        stack: list[Atom | Scope] = [self]
        while stack:
            node = stack.pop()
            if isinstance(node, Atom):
                yield node
            else:
                stack += reversed(node.children)

    def kind(self) -> Kind:
        """The kind of most operations inside, for the colour."""
        counts = Counter(
            a.kind for a in self.atoms() if a.kind in ("operation", "gradient", "update")
        )
        if not counts:
            return "operation"
        kind, n = counts.most_common(1)[0]
        return kind if n * 3 > sum(counts.values()) * 2 else "operation"


def scope_tree(atoms: Sequence[Atom]) -> Scope:
    """The tree of scopes; scopes with a single member are left out.

    An operation that bears the name of a scope stands inside it (``layer`` beside ``layer/w``).
    """
    prefixes: set[str] = set()
    for atom in atoms:
        path = atom.name
        while "/" in path:
            path = path.rsplit("/", 1)[0]
            if path in prefixes:
                break
            prefixes.add(path)
    root = Scope("", "")
    scopes = {"": root}
    for atom in atoms:
        path = atom.name if atom.name in prefixes else atom.name.rpartition("/")[0]
        _scope(scopes, path).children.append(atom)
    order: list[Scope] = [root]
    for s in order:
        order += [c for c in s.children if isinstance(c, Scope)]
    for s in reversed(order):
        s.children = [_single(c) for c in s.children]
        s.size = sum(1 if isinstance(c, Atom) else c.size for c in s.children)
    _relative_names(root)
    return root


def _scope(scopes: dict[str, Scope], path: str) -> Scope:
    missing = []
    while path not in scopes:
        missing.append(path)
        path = path.rpartition("/")[0]
    here = scopes[path]
    for p in reversed(missing):
        new = scopes[p] = Scope(p, p.rsplit("/", 1)[-1])
        here.children.append(new)
        here = new
    return here


def _single(node: Atom | Scope) -> Atom | Scope:
    if isinstance(node, Scope) and len(node.children) == 1:
        only = node.children[0]
        if isinstance(only, Scope):
            only.label = f"{node.label}/{only.label}"
        return only
    return node


def _relative_names(root: Scope) -> None:
    stack = [root]
    while stack:
        scope = stack.pop()
        prefix = f"{scope.path}/" if scope.path else ""
        for child in scope.children:
            if isinstance(child, Scope):
                stack.append(child)
            else:
                name = child.name
                child.relative = (
                    name[len(prefix) :] if name.startswith(prefix) else name.rsplit("/", 1)[-1]
                )


def open_scopes(
    root: Scope, depth: int | Literal["auto"] | None, limit: int, at_most: int
) -> tuple[set[Scope], str]:
    """The scopes to draw opened, and a note where not all that was asked for is drawn.

    The root's members may be cut into runs, in place.
    """
    if depth != "auto":
        opened, visible = _to_depth(root, depth)
        if visible <= at_most:
            return opened, ""
        limit = at_most // 2
        note = f"folded to stay legible: {visible} nodes would be too many"
    else:
        note = ""
    if len(root.children) > limit:
        note = note or "cut into runs of consecutive operations to stay legible"
        root.children = _runs(root.children, max(RUNS, limit // 2))
    return _greedy(root, limit), note


def _to_depth(root: Scope, depth: int | None) -> tuple[set[Scope], int]:
    opened: set[Scope] = set()
    visible = 0
    stack = [(c, 1) for c in root.children]
    while stack:
        node, level = stack.pop()
        if isinstance(node, Scope) and (depth is None or level <= depth):
            opened.add(node)
            stack += [(c, level + 1) for c in node.children]
        else:
            visible += 1
    return opened, visible


def _greedy(root: Scope, limit: int) -> set[Scope]:
    """Open scopes, outer ones first, as long as the page holds them.

    Siblings that differ only in a number (``block_0``, ``block_1``) are opened together or not at
    all, so that what is alike looks alike.
    """
    opened: set[Scope] = set()
    visible = len(root.children)
    heap: list[tuple[int, int, int, list[Scope]]] = []
    count = 0

    def push(parents: Sequence[Scope], level: int) -> None:
        nonlocal count
        alike: dict[str, list[Scope]] = {}
        for parent in parents:
            for c in parent.children:
                if isinstance(c, Scope) and not c.run:
                    alike.setdefault(_NUMBER.sub("", c.label), []).append(c)
        for scopes in alike.values():
            count += 1
            more = sum(len(s.children) - 1 for s in scopes)
            late = 2 * (scopes[0].kind() != "operation")
            heapq.heappush(heap, (level + late, more, count, scopes))

    push([root], 0)
    while heap:
        level, more, _, scopes = heapq.heappop(heap)
        if visible + more <= limit:
            visible += more
            opened.update(scopes)
            push(scopes, level + 1)
    return opened


def _runs(children: Sequence[Atom | Scope], n: int) -> list[Atom | Scope]:
    """Cut into about `n` runs of the same length; what is big or not forward stays by itself."""
    length = -(-len(children) // n)
    total = sum(1 if isinstance(c, Atom) else c.size for c in children)
    out: list[Atom | Scope] = []
    part: list[Atom | Scope] = []
    for c in children:
        alone = isinstance(c, Scope) and (c.size * 5 > total or c.kind() != "operation")
        if part and (alone or len(part) == length):
            out.append(_run(part))
            part = []
        if alone:
            out.append(c)
        else:
            part.append(c)
    return [*out, _run(part)] if part else out


def _run(part: list[Atom | Scope]) -> Atom | Scope:
    if len(part) == 1:
        return part[0]
    names = [c.relative if isinstance(c, Atom) else c.label for c in (part[0], part[-1])]
    size = sum(1 if isinstance(c, Atom) else c.size for c in part)
    return Scope("", f"{names[0]} … {names[1]}", part, size, run=True)
