"""Unify: sizes that guards assume equal become one symbol.

After ``x[n0, 4] + y[n1, 4]`` everything that follows may rely on ``n0 == n1``; with one name for
both, index spaces match and fuse.  The guard itself keeps both names and is checked for every new
set of sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from staticgraph.ir import dims as D
from staticgraph.ir.dims import Dim, Poly, Symbol
from staticgraph.ir.function import Builder, Function, Node, Param, Value, renamed
from staticgraph.ir.op import RuleError
from staticgraph.ir.record import record
from staticgraph.ir.types import TensorType


@record(frozen=True)
class Unify:
    """Replace symbols by what guards say they equal."""

    name: ClassVar[str] = "unify"

    def __call__(self, f: Function) -> Function:
        env = substitution(f)
        if not env:
            return f
        new: dict[Value, Value] = {}

        def value(v: Value) -> Value:
            out = new.get(v)
            if out is None:
                out = new[v] = Value(type_with(v.type, env), v.hint)
            return out

        params = tuple(Param(p.kind, p.name, value(p.value), p.loc) for p in f.params)
        nodes = tuple(
            Node(
                n.op,
                tuple(value(v) for v in n.inputs),
                {k: attribute_with(a, env) for k, a in n.attrs.items()},
                tuple(value(v) for v in n.outputs),
                n.loc,
                n.name,
            )
            for n in f.nodes
        )
        sizes = {s: renamed(o, new) for s, o in f.sizes.items()}
        return _ranked(Function(
            f.name, params, nodes, tuple(value(v) for v in f.results),
            {k: value(v) for k, v in f.updates.items()}, sizes, f.guards,
        ))  # fmt: skip


def _ranked(f: Function) -> Function:
    """Infer again what hung on a size that is now known, as the rank of a squeezed tensor does."""
    if not any(v.type.shape is None for n in f.nodes for v in n.outputs):
        return f
    b, env = Builder(like=f), dict[Value, Value]()
    for n in f.nodes:
        inputs = tuple(env.get(v, v) for v in n.inputs)
        learned = any(a.type != v.type for a, v in zip(inputs, n.inputs, strict=True))
        if not learned and all(v.type.shape is not None for v in n.outputs):
            node = b.copy(n, env)
        else:
            try:
                node = b.emit(n.op, inputs, n.attrs, n.name, n.loc)
            except RuleError:  # sizes that do not fit are told by the run
                node = b.copy(n, env)
        for old, new in zip(n.outputs, node.outputs, strict=True):
            known = new.type if old.type.shape is None else old.type
            env[old] = Value(known, old.hint) if old is not new else old
        outputs = tuple(env[v] for v in n.outputs)
        b.nodes[-1] = Node(n.op, inputs, n.attrs, outputs, n.loc, n.name)
    return b.finish(f.results, f.updates, env)


def substitution(f: Function) -> dict[Symbol, Dim]:
    """Symbol to the size that stands for it: an int if one is known, else the earliest symbol."""
    order = {s: i for i, s in enumerate(f.sizes)}
    env: dict[Symbol, Dim] = {}
    for site in f.guards:
        if site.guard.kind != "==":
            continue
        a, b = D.substitute(site.guard.a, env), D.substitute(site.guard.b, env)
        x, y = _symbol(a), _symbol(b)
        if a == b:
            continue
        if x is not None and (y is None or order.get(x, -1) > order.get(y, -1)):
            found, put = x, b
        elif y is not None:
            found, put = y, a
        else:
            continue
        if found not in f.sizes or found in D.symbols_of(put):
            continue
        step = {found: put}
        env = {s: D.substitute(d, step) for s, d in env.items()}
        env[found] = put
    return env


def _symbol(d: Dim) -> Symbol | None:
    if isinstance(d, Poly) and len(d.terms) == 1:
        ((monomial, coefficient),) = d.terms
        if coefficient == 1 and len(monomial) == 1 and isinstance(monomial[0], Symbol):
            return monomial[0]
    return None


def type_with(t: TensorType, env: Mapping[Symbol, Dim]) -> TensorType:
    """A type with sizes in the place of symbols."""
    if t.shape is None or not any(isinstance(d, Poly) for d in t.shape):
        return t
    return TensorType(t.dtype, tuple(D.substitute(d, env) for d in t.shape))


def attribute_with(value: Any, env: Mapping[Symbol, Dim]) -> Any:
    """An attribute with sizes in the place of symbols."""
    if isinstance(value, Poly):
        return D.substitute(value, env)
    if isinstance(value, tuple):
        return tuple(attribute_with(v, env) for v in value)
    return value
