"""Checks of indices, apart from what is computed with them.

A kernel that may refuse an index can fail after it has written, so what it writes must not be a
variable's own memory.  Most indices are known before the kernel starts: they are fed, stored, or
come from an earlier kernel.  Their checks move to launches of their own, right after the step that
makes the last of what they read, and the kernels that use the indices cannot fail any more.  A
check of an index that is computed in the same kernel stays where it is.  No check passes a host
step: an assertion that comes before the use of an index also speaks before the check of it.

A scatter checks all its indices before it writes, but what was written in place before it would be
lost.  So of a scatter that comes after a new value of a variable the check moves too
(`of_scatters`): two tables are then both written in place.

Until this pass has run, a check carries the number of the node it belongs to as a third operand,
so that the user's line is known wherever its expression has been inlined.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from staticgraph.ir.dims import Dim, symbols_of
from staticgraph.ir.function import ElementOf, Function, Node, SizeOf, Value
from staticgraph.ir.kernel import distinct, subexpressions
from staticgraph.ir.record import record
from staticgraph.ir.scalar import (
    ZERO,
    Expr,
    Index,
    Lit,
    Load,
    Operand,
    Prim,
    Reduce,
    Size,
    cast,
    prim,
    size_expr,
)
from staticgraph.passes.indexing import I64, rewrite, substitute


@record(frozen=True, slots=True)
class Check:
    """That `index`, for every element of a space, is in [0, bound).

    Args:
      after: the place of the item that it has to follow; -1 where it needs none.
      dims: the space; `index` is over its variables d0, d1, ...
      node: what the index belongs to.
    """

    after: int
    dims: tuple[Dim, ...]
    index: Expr
    bound: Expr
    node: Node


def numbered(body: Expr, number: int) -> Expr:
    """The expression with every check marked as that of node `number`."""
    memo: dict[Expr, Expr] = {}

    def leaf(e: Expr) -> Expr | None:
        if isinstance(e, Prim) and e.name == "check_index":
            index, bound = e.args
            return Prim("check_index", (rewrite(index, leaf, memo), bound, Lit(number, I64)), I64)
        return None

    return rewrite(body, leaf, memo)


def has_checks(body: Expr) -> bool:
    """True where an expression checks an index."""
    return any(isinstance(e, Prim) and e.name == "check_index" for e in distinct(body))


def refuses(node: Node) -> bool:
    """True of an op that ends a run where an index is out of range, and must not run too early."""
    op = node.op
    if op.decompose is not None:
        return True  # what it is made of will tell
    if op.library is not None or op.lower is None:
        return op.library == "distinct" or (op.library == "scatter" and not node.attrs["checked"])
    if any(v.type.shape is None for v in (*node.inputs, node.output)):
        return True  # nobody knows
    operands = [Operand(k, v.type) for k, v in enumerate(node.inputs)]
    ix = tuple(Index(f"i{k}") for k in range(len(node.output.dims)))
    out = op.lower(ix, *operands, **node.attrs)
    if isinstance(out, Reduce):
        out = out.body(tuple(Index(f"r{k}") for k in range(len(out.extents))))
    return has_checks(out)


def of_scatters(
    f: Function, items: Sequence[object], values: list[Value], known: Sequence[Check],
    native: Callable[[Node], bool],
) -> tuple[dict[Node, Node], tuple[Check, ...]]:  # fmt: skip
    """Take the checks of indices out of scatters that come after a new value of a variable.

    Args:
      items: what was fused: nodes, and regions with members.
      values: what load numbers stand for; indices that are not among them are appended.
      known: the checks that are made anyway.
      native: tells which nodes become library calls.

    Returns:
      scatters, with what takes their place, and the checks that there are to make now.
    """
    new = set(f.updates.values())
    made: dict[Value, int] = {}
    checks = {(c.dims, c.index, c.bound): c for c in known}
    checked: dict[Node, Node] = {}
    written, host = False, -1
    for place, item in enumerate(items):
        node = item if isinstance(item, Node) else None
        outputs = node.outputs if node is not None else [m.value for m in item.members]  # type: ignore[attr-defined]
        if node is not None and node.op.library == "scatter" and native(node):
            if written and not node.attrs["checked"]:
                check = _of_scatter(node, values, max(made.get(node.inputs[1], -1), host))
                key = (check.dims, check.index, check.bound)
                if key not in checks or checks[key].after >= place:
                    checks[key] = check
                checked[node] = replace(node, attrs={**node.attrs, "checked": True})
        elif node is not None and node.op.library is None and node.op.name != "Const":
            host = place
        if node is None or node.op.name != "Const":
            made.update((v, place) for v in outputs)
        written = written or not new.isdisjoint(outputs)
    return checked, tuple(sorted(checks.values(), key=lambda c: c.after))


def _of_scatter(node: Node, values: list[Value], after: int) -> Check:
    """The check that a scatter would make, after the step that makes its indices."""
    indices = node.inputs[1]
    if indices not in values:
        values.append(indices)
    at = tuple(ZERO if d == 1 else Index(f"d{k}") for k, d in enumerate(indices.dims))
    index = cast(Load(values.index(indices), at, indices.dtype), I64)
    if node.attrs["skip_negative"]:
        index = prim("maximum", index, Lit(0, I64))
    return Check(after, indices.dims, index, size_expr(node.attrs["sizes"][2]), node)


class Apart:
    """Takes the checks out of the bodies of regions, one body after the other.

    Args:
      f: what was fused; the numbers in checks stand for its nodes.
      values: what load numbers stand for.
      made: the place of the item that makes a value; those that are there from the start are not
        in it.
      hosts: the places of host steps, in order.
    """

    def __init__(
        self, f: Function, values: Sequence[Value], made: Mapping[Value, int], hosts: Sequence[int]
    ) -> None:
        self.hosts = hosts
        self.nodes, self.values, self.made = f.nodes, values, made
        self.known = {  # the place after which a size is known
            s: made.get(o.value, -1)
            for s, o in f.sizes.items()
            if isinstance(o, SizeOf | ElementOf)
        }
        self.found: dict[tuple[tuple[Dim, ...], Expr, Expr], Check] = {}

    def body(self, body: Expr, place: int, dims: Sequence[Dim]) -> Expr:
        """A body of the region at `place`, over the variables of `dims`, without its checks."""
        memo: dict[Expr, Expr] = {}

        def leaf(e: Expr) -> Expr | None:
            if not isinstance(e, Prim) or e.name != "check_index":
                return None
            index, bound, number = rewrite(e.args[0], leaf, memo), e.args[1], e.args[2]
            assert isinstance(number, Lit)
            after = self._after(index, bound, dims)
            if after >= place:
                return Prim("check_index", (index, bound), I64)
            before = bisect_left(self.hosts, place)
            after = max(after, self.hosts[before - 1] if before else -1)
            self._add(index, bound, dims, after, self.nodes[int(number.value)])
            return index

        return rewrite(body, leaf, memo)

    def checks(self) -> tuple[Check, ...]:
        """All that were found, in the order in which they can be made."""
        return tuple(sorted(self.found.values(), key=lambda c: c.after))

    def _after(self, index: Expr, bound: Expr, dims: Sequence[Dim]) -> int:
        """The place of the last item that makes something the check needs."""
        places = [-1]
        sizes: list[Dim] = []
        for e in (*subexpressions(index), bound):
            if isinstance(e, Load):
                value = self.values[e.operand]
                places.append(self.made.get(value, -1))
                sizes += value.dims
            elif isinstance(e, Size):
                sizes.append(e.dim)
            elif isinstance(e, Index):
                sizes.append(dims[int(e.name[1:])])
        symbols = {s for d in sizes for s in symbols_of(d)}
        return max(places + [self.known.get(s, -1) for s in symbols])

    def _add(self, index: Expr, bound: Expr, dims: Sequence[Dim], after: int, node: Node) -> None:
        names = {e.name for e in subexpressions(index) if isinstance(e, Index)}
        used = [k for k in range(len(dims)) if f"d{k}" in names]
        index = substitute(index, {f"d{k}": Index(f"d{i}") for i, k in enumerate(used)})
        space = tuple(dims[k] for k in used)
        self.found.setdefault((space, index, bound), Check(after, space, index, bound, node))


__all__ = ["Apart", "Check", "has_checks", "numbered", "of_scatters", "refuses"]
