"""Backward loops read what their forward loops have computed.

A backward loop computes again what the forward loop has computed.  Where that is a product of
matrices, the forward loop stacks the result, or what is cheaply made of it, and the backward loop
reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from staticgraph.ir import dims as D
from staticgraph.ir.compare import attribute_key
from staticgraph.ir.dims import Dim, Poly, Symbol
from staticgraph.ir.function import Function, Node, Value, effect_of
from staticgraph.ir.types import TensorType
from staticgraph.passes.loop_form import LoopForm, Slice, is_loop, with_origins


def share_results(f: Function) -> Function:
    """Let backward loops read products that their forward loops have computed."""
    forms = {n: LoopForm.of(n) for n in f.nodes if is_loop(n)}
    order = list(forms)
    changed: set[Node] = set()
    for k, later in enumerate(order):
        for earlier in order[:k]:
            if _share(forms[earlier], forms[later]):
                changed |= {earlier, later}
    if not changed:
        return f
    nodes = [forms[n].build() if n in changed else n for n in f.nodes]
    return with_origins(f, nodes)


def _share(first: LoopForm, second: LoopForm) -> bool:
    env = _correspondence(first, second)
    if env is None or second.conditional or first.segments or second.segments:
        return False
    table: dict[object, Node] = {}
    for n in first.body.nodes:
        if effect_of(n) == "pure" and not n.op.control:
            table.setdefault(_key(n, n.inputs, first), n)
    same: dict[Value, Value] = dict(env)
    matched: dict[Value, Node] = {}
    for n in second.body.nodes:
        if n.op.control or effect_of(n) != "pure" or not all(v in same for v in n.inputs):
            continue
        twin = table.get(_key(n, tuple(same[v] for v in n.inputs), second))
        if twin is not None:
            same.update(zip(n.outputs, twin.outputs, strict=True))
            matched.update((v, n) for v in n.outputs)
    return _replace_products(first, second, same, matched)


def _correspondence(first: LoopForm, second: LoopForm) -> dict[Value, Value] | None:
    """Parameters of the second body and what they are in the first, None without a history."""
    stacks = {c.history: c.param for c in first.carries if c.history is not None}
    stacks |= {o.stacked: o.value for o in first.outputs}
    found = {s.param: stacks[s.sequence] for s in second.slices if s.sequence in stacks}
    if not found or first.steps() != second.length:
        return None
    if not first.conditional:
        own = {s.sequence: s.param for s in first.slices}
        found |= {s.param: own[s.sequence] for s in second.slices if s.sequence in own}
    fixed = {i.value: i.param for i in first.invariants}
    found |= {i.param: fixed[i.value] for i in second.invariants if i.value in fixed}
    return found


def _key(n: Node, inputs: Sequence[Value], form: LoopForm) -> object:
    given = form.given
    attrs = tuple((k, attribute_key(substituted(v, given))) for k, v in sorted(n.attrs.items()))
    return (n.op.name, tuple(map(id, inputs)), attrs)


def _replace_products(
    first: LoopForm, second: LoopForm, same: dict[Value, Value], matched: dict[Value, Node]
) -> bool:
    """Read from the first loop the products that the second would compute again."""
    readers: dict[Value, list[Node]] = {}
    for n in second.body.nodes:
        for v in n.inputs:
            readers.setdefault(v, []).append(n)
    given = {*(c.new for c in second.carries), *(o.value for o in second.outputs)}
    out: dict[Value, Value] = {}
    for product, n in matched.items():
        if n.op.library is None or n.op.name == "Const":
            continue
        v = _furthest(product, readers, matched)
        if v in out or v in given:
            continue
        stacked = first.stack_of(same[v])
        if stacked is not None:
            out[v] = stacked
    if not out:
        return False
    fresh = {v: Value(TensorType(v.type.dtype, v.type.shape), v.hint) for v in out}
    nodes = tuple(
        replace(n, inputs=tuple(fresh.get(v, v) for v in n.inputs)) for n in second.body.nodes
    )
    second.body = replace(second.body, nodes=nodes)
    second.slices += [Slice(stacked, fresh[v]) for v, stacked in out.items()]
    return True


def _furthest(v: Value, readers: dict[Value, list[Node]], matched: dict[Value, Node]) -> Value:
    """What is made of a product alone, and is no larger: to read that saves as much, and more."""
    while True:
        found = readers.get(v, [])
        if len(found) != 1 or len(found[0].outputs) != 1 or found[0].op.library is not None:
            return v
        step = found[0].output
        if step not in matched or step.type != v.type:
            return v
        v = step


def substituted(value: Any, given: Mapping[Symbol, Dim]) -> Any:
    """An attribute in sizes of the function around."""
    if isinstance(value, Poly):
        return D.substitute(value, given)
    if isinstance(value, tuple):
        return tuple(substituted(v, given) for v in value)
    return value


__all__ = ["share_results", "substituted"]
