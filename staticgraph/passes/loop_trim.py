"""Trim loops and branches: drop what nothing reads, take out what does not change.

- A stacked output or history that nothing reads is not made; a carry that nothing needs, but
  itself, is not carried; parameters that a body does not read are not passed.
- A carry that every iteration leaves as it is is an invariant, and its end is its start.
- A constant that a body is passed becomes a constant of the body.
- What a body computes from invariants alone is computed once, before the loop.
- A value passed twice is passed once.
- A loop that has no iterations is its start, and its stacks are empty.
- Of values that are kept in boxes the sizes are kept, where only these are read (`loop_sizes`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from staticgraph.ir import dims as D
from staticgraph.ir.dims import Dim, Poly, Symbol
from staticgraph.ir.function import Function, Given, Node, Param, Value, bodies, effect_of
from staticgraph.ir.op import lookup
from staticgraph.ir.record import record
from staticgraph.ir.types import ConstantArray
from staticgraph.passes.checks import refuses
from staticgraph.passes.cleanup import FOLD_LIMIT, Prune
from staticgraph.passes.loop_form import Invariant, LoopForm, is_loop, with_origins
from staticgraph.passes.loop_sizes import keep_sizes


@record(frozen=True)
class Trim:
    """See the module's text; loops within loops come first."""

    name: ClassVar[str] = "trim"
    simplified: bool = True  # operations are what they will be
    moves: bool = True  # without, all that happens is that what nothing reads is not made

    def __call__(self, f: Function) -> Function:
        if not any(n.op.control for n in f.nodes):
            return f
        for _ in range(8):
            new = _Trimming(f, self.simplified, self.moves).run()
            if new is f:
                break
            f = Prune()(new)
        return keep_sizes(f) if self.simplified and self.moves else f


class _Trimming:
    def __init__(self, f: Function, simplified: bool, moves: bool) -> None:
        self.f, self.simplified, self.moves = f, simplified, moves
        self.constants = {n.output: n for n in f.nodes if n.op.name == "Const"}
        self.used = {v for n in f.nodes for v in n.inputs} | {*f.results, *f.updates.values()}
        self.all = set(f.uses())  # those that only sizes are measured on too
        self.rename: dict[Value, Value] = {}
        self.changed = False

    def run(self) -> Function:
        nodes: list[Node] = []
        for n in self.f.nodes:
            inputs = tuple(self.rename.get(v, v) for v in n.inputs)
            node = n if inputs == n.inputs else replace(n, inputs=inputs)
            if is_loop(n):
                nodes += self._loop(node)
            elif n.op.control:
                nodes.append(self._branch(node))
            else:
                nodes.append(node)
        if not self.changed:
            return self.f
        f = with_origins(self.f, nodes)
        get = self.rename.get
        return replace(
            f, results=tuple(get(v, v) for v in f.results),
            updates={k: get(v, v) for k, v in f.updates.items()},
        )  # fmt: skip

    # ---- loops
    def _loop(self, node: Node) -> list[Node]:
        form = LoopForm.of(node)
        if not self.moves:
            if not self._drop(form):
                return [node]
            self.changed = True
            return [form.build()]
        empty = self._empty(form)
        if empty is not None:
            self.changed = True
            return empty
        before: list[Node] = []
        changed = self._settle(form)
        changed |= self._unify(form)
        changed |= self._constants(form)
        changed |= self._hoist(form, before)
        changed |= self._drop(form)
        if not changed:
            return [node]
        self.changed = True
        return [*before, form.build()]

    def _empty(self, form: LoopForm) -> list[Node] | None:
        """What is left of a loop that has no iterations: its start, and empty stacks."""
        if form.conditional or form.length != 0:
            return None
        ends = {c.final for c in form.carries}
        stacks = [v for v in form.made() if v not in ends]
        if any(c.start.type != c.final.type for c in form.carries) or not all(
            isinstance(d, int) for v in stacks for d in v.dims
        ):
            return None
        if any(getattr(o, "value", None) in form.made() for o in self.f.sizes.values()):
            return None
        self.rename.update((c.final, c.start) for c in form.carries)
        made = []
        for v in stacks:
            shape = tuple(d for d in v.dims if isinstance(d, int))
            nothing = ConstantArray(np.zeros(shape, v.dtype.np))
            attrs = {"value": nothing, "dtype": v.dtype}
            made.append(Node(lookup("Const"), (), attrs, (v,), form.node.loc, form.node.name))
        return made

    def _settle(self, form: LoopForm) -> bool:
        """Carries that never change become invariants."""
        still = [
            c for c in form.carries
            if c.new is c.param and c.history is None and c.start.type == c.final.type
        ]  # fmt: skip
        if form.conditional and form.carries[0] in still:
            still.remove(form.carries[0])
        for c in still:
            form.carries.remove(c)
            form.invariants.append(Invariant(c.start, c.param))
            self.rename[c.final] = c.start
        return bool(still)

    def _unify(self, form: LoopForm) -> bool:
        """A value that is passed twice is passed once."""
        env: dict[Value, Value] = {}
        seen: dict[Value, Value] = {}
        for i in list(form.invariants):
            if i.value in seen:
                env[i.param] = seen[i.value]
                form.invariants.remove(i)
            else:
                seen[i.value] = i.param
        seen = {}
        for s in list(form.slices):
            if s.sequence in seen:
                env[s.param] = seen[s.sequence]
                form.slices.remove(s)
            else:
                seen[s.sequence] = s.param
        if env:
            _rename_body(form, env)
        return bool(env)

    def _constants(self, form: LoopForm) -> bool:
        """Constants that are passed become the body's own."""
        found = [
            i for i in form.invariants
            if i.value in self.constants and _small(self.constants[i.value])
        ]  # fmt: skip
        made = []
        for i in found:
            form.invariants.remove(i)
            made.append(replace(self.constants[i.value], outputs=(i.param,)))
        if found:
            gone = {i.param for i in found}
            params = tuple(p for p in form.body.params if p.value not in gone)
            form.body = replace(form.body, params=params, nodes=(*made, *form.body.nodes))
        return bool(found)

    def _hoist(self, form: LoopForm, before: list[Node]) -> bool:
        """Take what depends on invariants alone out of the loop."""
        given = form.given
        read_whole = {
            v for n in form.body.nodes if n.op.lower is None for v in n.inputs
        }  # what no kernel computes where it needs it
        steady = {i.param: i.value for i in form.invariants}
        constants = {n.output: n for n in form.body.nodes if n.op.name == "Const"}
        moved: list[Node] = []
        for n in form.body.nodes:
            if not all(v in steady or v in constants for v in n.inputs):
                continue
            if all(v in constants for v in n.inputs) or not _movable(n, given):
                continue
            if not (self._dear(n) or _shrinks(n) or read_whole.intersection(n.outputs)):
                continue
            for v in n.inputs:
                if v not in steady:
                    copy = replace(constants[v], outputs=(Value(v.type, v.hint),))
                    before.append(copy)
                    steady[v] = copy.output
            outputs = tuple(_outside(form, v) for v in n.outputs)
            attrs = {k: _substituted(a, given) for k, a in n.attrs.items()}
            before.append(replace(
                n, inputs=tuple(steady[v] for v in n.inputs), attrs=attrs, outputs=outputs
            ))  # fmt: skip
            steady.update(zip(n.outputs, outputs, strict=True))
            moved.append(n)
        if moved:
            for n in moved:
                for v in n.outputs:
                    form.invariants.append(Invariant(steady[v], v))
            form.body = replace(
                form.body, nodes=tuple(n for n in form.body.nodes if n not in set(moved))
            )
        return bool(moved)

    def _dear(self, n: Node) -> bool:
        """True of what costs more to compute than to load; before it is simplified nobody knows."""
        return self.simplified and (not n.op.cheap or n.op.library is not None)

    def _drop(self, form: LoopForm) -> bool:
        """Leave out what nothing reads."""
        count = (len(form.carries), len(form.slices), len(form.invariants), len(form.outputs))
        kept = sum(c.history is not None for c in form.carries)
        measured = self._measuring(form)
        form.outputs[:] = [
            o for o in form.outputs if o.stacked in self.used or o.stacked in measured
        ]
        for c in form.carries:
            if c.history is not None and c.history not in self.used | measured:
                c.history = None
        ends = {c.final for c in form.carries if c.final in self.all}
        need = _needed(form, self.used | ends)
        form.carries[:] = [c for c in form.carries if c.param in need]
        form.slices[:] = [s for s in form.slices if s.param in need]
        form.invariants[:] = [i for i in form.invariants if i.param in need]
        now = (len(form.carries), len(form.slices), len(form.invariants), len(form.outputs))
        return now != count or kept != sum(c.history is not None for c in form.carries)

    def _measuring(self, form: LoopForm) -> set[Value]:
        """Results that stay because a size is measured on them and on nothing else that stays."""
        keep: set[Value] = set()
        stacks = [*(o.stacked for o in form.outputs),
                  *(c.history for c in form.carries if c.history is not None)]  # fmt: skip
        for s, o in self.f.sizes.items():
            value = getattr(o, "value", None)
            if value not in stacks or any(
                v in self.used
                and any(d == D.symbol(s.name) for d in v.type.shape or ())
                and v is not value
                for v in stacks
            ):
                continue
            unread = {v for v in stacks if v not in self.used}
            if any(s in symbols for symbols in _mentioned(self.f, unread)):
                keep.add(value)
        return keep

    # ---- branches
    def _branch(self, node: Node) -> Node:
        """Leave out operands that no branch reads and results that nothing does."""
        branches: tuple[Function, ...] = node.attrs["branches"]
        keep_out = [k for k, v in enumerate(node.outputs) if v in self.all]
        new = [Prune()(replace(b, results=tuple(b.results[k] for k in keep_out))) for b in branches]
        reads = [set(b.reads()) for b in new]
        keep_in = [
            k for k in range(len(node.inputs) - 1)
            if any(b.params[k].value in r for b, r in zip(new, reads, strict=True))
            or any(_measures(b, b.params[k]) for b in new)
        ]  # fmt: skip
        if len(keep_out) == len(node.outputs) and len(keep_in) == len(node.inputs) - 1:
            return node
        self.changed = True
        new = [replace(b, params=tuple(b.params[k] for k in keep_in)) for b in new]
        return replace(
            node, inputs=(node.inputs[0], *(node.inputs[1 + k] for k in keep_in)),
            outputs=tuple(node.outputs[k] for k in keep_out),
            attrs={**node.attrs, "branches": tuple(new)},
        )  # fmt: skip


def _measures(f: Function, p: Param) -> bool:
    return any(getattr(o, "value", None) is p.value for o in f.sizes.values())


def _mentioned(f: Function, unread: set[Value]) -> Iterable[Iterable[Any]]:
    """The symbols in types and attributes, but for the types of results that nothing reads."""
    for n in f.nodes:
        for v in n.outputs:
            if v not in unread:
                yield _symbols(v.type.shape or ())
        yield _symbols(tuple(n.attrs.values()))


def _needed(form: LoopForm, used: set[Value]) -> set[Value]:
    """Parameters that what is read of the loop depends on."""
    body = form.body
    need: set[Value] = set()
    stack: list[Value] = [o.value for o in form.outputs]
    for n in body.nodes:
        if effect_of(n) != "pure":
            stack += n.inputs
    live = [c for c in form.carries if c.final in used or c.history is not None]
    if form.conditional and form.carries[0] not in live:
        live.append(form.carries[0])
    need.update(c.param for c in live)
    stack += [c.new for c in live]
    after = {c.param: c.new for c in form.carries}
    reads = _Reads(body)
    seen: set[Value] = set()
    while stack:
        v = stack.pop()
        if v in seen:
            continue
        seen.add(v)
        if v not in reads.producer:
            need.add(v)
        if v in after:
            stack.append(after[v])
        stack += reads.of(v)
    return need


class _Reads:
    """What each value of a body is computed from, sizes included."""

    def __init__(self, body: Function) -> None:
        self.producer = body.producers()
        self.measured = {
            s: o.value for s, o in body.sizes.items() if not isinstance(o, Given)
        }  # fmt: skip

    def of(self, v: Value) -> list[Value]:
        symbols = list(_symbols(v.type.shape or ()))
        out: list[Value] = []
        node = self.producer.get(v)
        if node is not None:
            out += node.inputs
            symbols += _symbols(tuple(node.attrs.values()))
        return out + [self.measured[s] for s in symbols if s in self.measured]


def _symbols(value: Any) -> Iterable[Any]:
    if isinstance(value, Poly):
        yield from D.symbols_of(value)
    elif isinstance(value, tuple):
        for v in value:
            yield from _symbols(v)


def _rename_body(form: LoopForm, env: dict[Value, Value]) -> None:
    """Rename values in a body."""
    nodes = tuple(
        replace(n, inputs=tuple(env.get(v, v) for v in n.inputs)) for n in form.body.nodes
    )
    for c in form.carries:
        c.new = env.get(c.new, c.new)
    for o in form.outputs:
        o.value = env.get(o.value, o.value)
    form.body = replace(form.body, nodes=nodes)


def _small(n: Node) -> bool:
    return bool(n.attrs["value"].array.size <= FOLD_LIMIT)


def _movable(n: Node, given: Mapping[Symbol, Dim]) -> bool:
    """True of what may be computed where it would not have been, for no iteration."""
    if effect_of(n) != "pure" or n.op.host or n.op.control or list(bodies(n)):
        return False
    sizes = [d for v in n.outputs for d in v.type.shape or ()]
    if any(v.type.shape is None for v in n.outputs):
        return False
    symbols = {s for d in sizes for s in D.symbols_of(d)}
    symbols |= {s for a in n.attrs.values() for s in _symbols(a)}
    return symbols <= given.keys() and not refuses(n)


def _shrinks(n: Node) -> bool:
    """True where a result is smaller than what it is computed from: storing it costs little."""

    def size(v: Value) -> int:
        return math.prod(d if isinstance(d, int) else 64 for d in v.type.shape or ())

    made = max(map(size, n.outputs))
    return made == 1 or made < max(map(size, n.inputs))


def _outside(form: LoopForm, v: Value) -> Value:
    type_ = form.outside(v.type)
    assert type_ is not None
    return Value(type_, v.hint)


def _substituted(value: Any, given: Any) -> Any:
    if isinstance(value, Poly):
        return D.substitute(value, given)
    if isinstance(value, tuple):
        return tuple(_substituted(v, given) for v in value)
    return value


__all__ = ["Trim"]
