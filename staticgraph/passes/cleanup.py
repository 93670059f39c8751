"""Passes that make a function smaller without changing what it computes.

`Decompose` replaces composite ops, `Fold` evaluates what depends on constants alone, `Share`
merges equal computations (CSE), `Prune` drops what nothing needs (DCE).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np

from staticgraph.errors import StaticGraphError, VerificationError
from staticgraph.ir import dtypes
from staticgraph.ir.compare import attribute_key
from staticgraph.ir.dims import Dim, Poly, Symbol, substitute, symbols_of
from staticgraph.ir.function import (
    Builder,
    Function,
    Given,
    GuardSite,
    Node,
    SizeOf,
    Value,
    effect_of,
)
from staticgraph.ir.op import Guard, RuleError, lookup
from staticgraph.ir.record import record
from staticgraph.ir.types import ConstantArray
from staticgraph.passes.unify import attribute_with, type_with


@record(frozen=True)
class Decompose:
    """Replace ops that decompose until only lowered, library and host ops are left."""

    name: ClassVar[str] = "decompose"

    def __call__(self, f: Function) -> Function:
        for _ in range(64):
            if not any(map(decomposable, f.nodes)):
                return f
            f = self._once(f)
        left = sorted({n.op.name for n in f.nodes if decomposable(n)})
        raise VerificationError(f"decompositions do not end: {', '.join(left)}")

    def _once(self, f: Function) -> Function:
        b = Builder(like=f)
        env: dict[Value, Value] = {}
        with b:
            for node in f.nodes:
                if not decomposable(node):
                    new = b.copy(node, env)
                    env.update(zip(node.outputs, new.outputs, strict=True))
                    continue
                b.loc, b.label = node.loc, node.name
                assert node.op.decompose is not None
                try:
                    out = node.op.decompose(*(env.get(v, v) for v in node.inputs), **node.attrs)
                except RuleError as e:
                    raise VerificationError(f"{node.op.name}: {e.message}", loc=node.loc) from e
                outs = out if isinstance(out, (tuple, list)) else (out,)
                for old, new_value in zip(node.outputs, outs, strict=True):
                    if not new_value.hint:
                        new_value.hint = old.hint
                    env[old] = new_value
        return b.finish(f.results, f.updates, env)


def decomposable(node: Node) -> bool:
    """True of composite ops on tensors of known rank; others are run by their numpy rules."""
    return node.op.decompose is not None and all(
        v.type.shape is not None for v in (*node.inputs, *node.outputs)
    )


FOLD_LIMIT = 1024  # elements: larger constants cost more to keep than to compute


@record(frozen=True)
class Fold:
    """Evaluate pure nodes whose inputs are constants, where the result is small."""

    name: ClassVar[str] = "fold"

    def __call__(self, f: Function) -> Function:
        b = Builder(like=f)
        env: dict[Value, Value] = {}
        constants: dict[Value, np.ndarray] = {}
        for node in f.nodes:
            folded = self._fold(node, constants, env)
            if folded is None:
                new = b.copy(node, env)
                if node.op.name == "Const":
                    constants[new.output] = node.attrs["value"].array
            else:
                with b:
                    b.loc = node.loc
                    new = b.emit(
                        lookup("Const"), (),
                        {"value": ConstantArray(folded), "dtype": node.output.dtype}, node.name,
                    )  # fmt: skip
                constants[new.output] = new.attrs["value"].array  # `folded` can go
            env.update(zip(node.outputs, new.outputs, strict=True))
        return b.finish(f.results, f.updates, env)

    def _fold(
        self, node: Node, constants: dict[Value, np.ndarray], env: dict[Value, Value]
    ) -> np.ndarray | None:
        op = node.op
        if op.control or op.name == "Const" or op.effect != "pure" or op.numpy is None:
            return None
        if len(node.outputs) != 1 or node.output.dtype is dtypes.variant:  # no text holds a box
            return None
        for v in node.inputs:
            if env.get(v, v) not in constants:
                return None
        shape = node.output.type.shape
        if shape is None or any(isinstance(d, Poly) for d in shape) or _mentions_sizes(node):
            return None
        if math.prod(d for d in shape if isinstance(d, int)) > FOLD_LIMIT:
            return None
        arrays = [constants[env.get(v, v)] for v in node.inputs]
        try:
            with np.errstate(all="ignore"):
                return np.asarray(op.numpy(*arrays, **node.attrs), dtype=node.output.dtype.np)
        except (StaticGraphError, RuleError):
            return None  # what is wrong with these values the run will say, with the user's line


def _mentions_sizes(node: Node) -> bool:
    stack = list(node.attrs.values())
    while stack:
        v = stack.pop()
        if isinstance(v, Poly):
            return True
        if isinstance(v, tuple):
            stack += v
    return False


@record(frozen=True)
class Share:
    """Merge pure nodes with the same op, inputs and attributes (CSE)."""

    name: ClassVar[str] = "share"

    def __call__(self, f: Function) -> Function:
        b = Builder(like=f)
        env: dict[Value, Value] = {}
        seen: dict[object, Node] = {}
        merged: dict[Symbol, Dim] = {}  # sizes that data gives are one where the data are
        for original in f.nodes:
            node = _with_sizes(original, merged) if merged else original
            inputs = tuple([env.get(v, v) for v in node.inputs])
            attrs = tuple([(k, attribute_key(v)) for k, v in sorted(node.attrs.items())])
            key = (node.op.name, inputs, attrs)
            pure = effect_of(node) == "pure"
            same = seen.get(key) if pure else None
            if same is None:
                same = b.copy(node, env)
                if pure:
                    seen[key] = same
            else:
                merged |= _same_sizes(f, node, same)
            env.update(zip(original.outputs, same.outputs, strict=True))
        if merged:
            b.sizes = {s: o for s, o in b.sizes.items() if s not in merged}
            b.guards = [g for g in (_guard_with(g, merged) for g in b.guards)
                        if g.guard.a != g.guard.b]  # fmt: skip
        return b.finish(f.results, f.updates, env)


def _same_sizes(f: Function, node: Node, same: Node) -> dict[Symbol, Dim]:
    """What the sizes that `node` would have told are called where `same` takes its place."""
    found: dict[Symbol, Dim] = {}
    for old, new in zip(node.outputs, same.outputs, strict=True):
        if old.type == new.type or old.type.shape is None or new.type.shape is None:
            continue
        for d, e in zip(old.type.shape, new.type.shape, strict=True):
            for s in symbols_of(d) if d != e else ():
                if isinstance(f.sizes.get(s), SizeOf) and substitute(d, {s: e}) == e:
                    found[s] = e
    return found


def _with_sizes(node: Node, env: Mapping[Symbol, Dim]) -> Node:
    types = [type_with(v.type, env) for v in node.outputs]
    outputs = tuple(
        v if v.type == t else Value(t, v.hint) for v, t in zip(node.outputs, types, strict=True)
    )
    attrs = {k: attribute_with(a, env) for k, a in node.attrs.items()}
    return Node(node.op, node.inputs, attrs, outputs, node.loc, node.name)


def _guard_with(site: GuardSite, env: Mapping[Symbol, Dim]) -> GuardSite:
    g = site.guard
    guard = Guard(g.kind, substitute(g.a, env), substitute(g.b, env), g.message)
    return replace(site, guard=guard)


@record(frozen=True)
class Prune:
    """Drop nodes that nothing needs, and sizes and guards that no type mentions (DCE)."""

    name: ClassVar[str] = "prune"

    def __call__(self, f: Function) -> Function:
        producer = f.producers()
        live: set[int] = set()
        used: set[Symbol] = set()
        stack: list[Value] = [*f.results, *f.updates.values(), *(p.value for p in f.params)]

        def keep(node: Node) -> None:
            if id(node) in live:
                return
            live.add(id(node))
            stack.extend(node.inputs)
            for v in node.outputs:
                note(v)
            for d in _sizes_in(node):
                need(d)

        def note(v: Value) -> None:
            for d in v.type.shape or ():
                if isinstance(d, Poly):
                    need(d)

        def need(d: Poly) -> None:
            for s in symbols_of(d):
                if s not in used:
                    used.add(s)
                    origin = f.sizes.get(s)
                    if origin is not None and not isinstance(origin, Given):
                        stack.append(origin.value)

        for node in f.nodes:
            if effect_of(node) != "pure":
                keep(node)
        while stack:
            v = stack.pop()
            note(v)
            if v in producer:
                keep(producer[v])
        nodes = tuple(n for n in f.nodes if id(n) in live)
        there = {p.value for p in f.params} | {v for n in nodes for v in n.outputs}
        known = {s for s, o in f.sizes.items() if isinstance(o, Given) or o.value in there}
        guards = tuple(dict.fromkeys(g for g in f.guards if _guard_symbols(g) <= known))
        used |= {s for g in guards for s in _guard_symbols(g)}
        sizes = {s: o for s, o in f.sizes.items() if s in used}
        return Function(f.name, f.params, nodes, f.results, f.updates, sizes, guards)


def _guard_symbols(g: GuardSite) -> frozenset[Symbol]:
    return symbols_of(g.guard.a) | symbols_of(g.guard.b)


def _sizes_in(node: Node) -> list[Poly]:
    found, stack = [], list(node.attrs.values())
    while stack:
        v = stack.pop()
        if isinstance(v, Poly):
            found.append(v)
        elif isinstance(v, tuple):
            stack += v
    return found
