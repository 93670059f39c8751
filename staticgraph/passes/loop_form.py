"""`LoopForm`: a loop taken apart, for the passes that change loops.

A ``Scan`` or ``While`` node has its operands, its body's parameters and results and its own
results in parallel lists.  Here everything about one carry, one sequence, one invariant or one
output stands together.  A pass changes the lists and puts the loop together again; the values
that the loop gives stay the same objects, so nothing around it has to be renamed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from staticgraph.ir import dims as D
from staticgraph.ir.dims import Dim, Poly, Symbol
from staticgraph.ir.function import Function, Given, Node, Origin, Param, SizeOf, Value
from staticgraph.ir.record import record
from staticgraph.ir.types import TensorType
from staticgraph.ops.loops import SEGMENTS
from staticgraph.passes.cleanup import Prune


@record(slots=True)
class Carry:
    """`start` outside, `param` and `new` in the body, `final` and perhaps `history` outside."""

    start: Value
    param: Value
    new: Value
    final: Value
    history: Value | None


@record(slots=True)
class Slice:
    """A sequence outside and what an iteration gets of it."""

    sequence: Value
    param: Value


@record(slots=True)
class Invariant:
    """A value outside, the same in the body."""

    value: Value
    param: Value


@record(slots=True)
class Output:
    """A value of the body, and outside all of them in a stack."""

    value: Value
    stacked: Value


@record(slots=True)
class LoopForm:
    """See the module's text."""

    node: Node
    body: Function
    carries: list[Carry]
    slices: list[Slice]
    invariants: list[Invariant]
    outputs: list[Output]
    trips: Value | None

    @classmethod
    def of(cls, node: Node) -> LoopForm:
        """Take a loop apart."""
        a = node.attrs
        body: Function = a["body"]
        n, m = a["carries"], a["sequences"]
        params = [p.value for p in body.params]
        outs = list(node.outputs)
        extra = int(a["conditional"])
        ys = outs[n + extra : n + extra + len(body.results) - n]
        kept = dict(zip(a["histories"], outs[n + extra + len(ys) :], strict=True))
        carries = [
            Carry(node.inputs[k], params[k], body.results[k], outs[k], kept.get(k))
            for k in range(n)
        ]
        slices = [Slice(node.inputs[k], params[k]) for k in range(n, n + m)]
        invariants = [Invariant(node.inputs[k], params[k]) for k in range(n + m, len(params))]
        outputs = [Output(v, y) for v, y in zip(body.results[n:], ys, strict=True)]
        return cls(node, body, carries, slices, invariants, outputs, outs[n] if extra else None)

    @property
    def conditional(self) -> bool:
        """Whether the first carry is a predicate."""
        return bool(self.node.attrs["conditional"])

    @property
    def segments(self) -> bool:
        """Whether it goes through segments of a loop: nothing is made for all of them at once."""
        return SEGMENTS in self.node.attrs

    @property
    def length(self) -> Dim:
        """The number of iterations, or the most there may be."""
        out: Dim = self.node.attrs["length"]
        return out

    @property
    def given(self) -> dict[Symbol, Dim]:
        """The sizes that the body is given."""
        return self.body.bound(self.node.attrs["sizes"])

    def steps(self) -> Dim | None:
        """The size of the first axis of what is stacked; None where nothing tells."""
        if not self.conditional:
            return self.length
        for v in [*(o.stacked for o in self.outputs), *(c.history for c in self.carries)]:
            if v is not None and v.type.shape:
                return v.type.shape[0]
        return None

    def outside(self, t: TensorType) -> TensorType | None:
        """A type of the body in sizes of the function around; None where a size is its own."""
        given = self.given
        if t.shape is None or any(not D.symbols_of(d) <= given.keys() for d in t.shape):
            return None
        return TensorType(t.dtype, tuple(D.substitute(d, given) for d in t.shape))

    def stack_of(self, v: Value) -> Value | None:
        """The stack of a value of the body: one there is, or a new one; None without a type."""
        for o in self.outputs:
            if o.value is v:
                return o.stacked
        for c in self.carries:
            if c.param is v and c.history is not None:
                return c.history
        for s in self.slices:
            if s.param is v and not self.conditional:
                return s.sequence
        inner, steps = self.outside(v.type), self.steps()
        if inner is None or steps is None:
            return None
        stacked = Value(TensorType(v.type.dtype, (steps, *inner.dims)), v.hint)
        self.outputs.append(Output(v, stacked))
        return stacked

    def made(self) -> list[Value]:
        """What the loop gives."""
        return [
            *(c.final for c in self.carries), *([self.trips] if self.trips is not None else []),
            *(o.stacked for o in self.outputs),
            *(c.history for c in self.carries if c.history is not None),
        ]  # fmt: skip

    def build(self, nodes: Sequence[Node] | None = None) -> Node:
        """Put the loop together; what its body does not need is dropped.

        Args:
          nodes: the body's nodes, where they are others.
        """
        old = {p.value: p for p in self.body.params}
        taken = {p.name for p in old.values()}

        def param(v: Value) -> Param:
            if v in old:
                return old[v]
            hint = v.hint or "x"  # results of one node share theirs
            numbered = (f"{hint}_{k}" for k in range(1, len(taken) + 2))
            name = next(n for n in (hint, *numbered) if n not in taken)
            taken.add(name)
            return Param("feed", name, v, self.node.loc)

        own = [c.param for c in self.carries] + [x.param for x in self.slices]
        params = [param(v) for v in (*own, *(i.param for i in self.invariants))]
        results = [*(c.new for c in self.carries), *(o.value for o in self.outputs)]
        f = replace(
            self.body, params=tuple(params), results=tuple(results),
            nodes=self.body.nodes if nodes is None else tuple(nodes),
        )  # fmt: skip
        f = Prune()(_reoriginated(f))
        inputs = (
            *(c.start for c in self.carries), *(s.sequence for s in self.slices),
            *(i.value for i in self.invariants),
        )  # fmt: skip
        histories = tuple(k for k, c in enumerate(self.carries) if c.history is not None)
        f, sizes = compact(f, self.node.attrs["sizes"])
        attrs = {
            **self.node.attrs, "body": f, "sizes": sizes, "carries": len(self.carries),
            "sequences": len(self.slices), "histories": histories,
        }  # fmt: skip
        return replace(self.node, inputs=inputs, attrs=attrs, outputs=tuple(self.made()))


def _reoriginated(f: Function) -> Function:
    """Sizes that were read of a parameter that is gone are read of another with that size."""
    there = {p.value for p in f.params} | {v for n in f.nodes for v in n.outputs}
    lost = [
        s for s, o in f.sizes.items() if not isinstance(o, Given) and o.value not in there
    ]  # fmt: skip
    if not lost:
        return f
    sizes: dict[Symbol, Origin] = dict(f.sizes)
    for s in lost:
        for p in f.params:
            at = [k for k, d in enumerate(p.value.type.shape or ()) if d == D.symbol(s.name)]
            if at:
                sizes[s] = SizeOf(p.value, at[0])
                break
        else:
            del sizes[s]
    return replace(f, sizes=sizes)


def compact(f: Function, passed: Sequence[Dim]) -> tuple[Function, tuple[Dim, ...]]:
    """A body and the sizes to pass it, without those it does not use."""
    used = {s: k for k, s in enumerate(s for s, o in f.sizes.items() if isinstance(o, Given))}
    sizes = tuple(passed[o.index] for o in f.sizes.values() if isinstance(o, Given))
    origins = {s: Given(used[s]) if s in used else o for s, o in f.sizes.items()}
    return replace(f, sizes=origins), sizes


def with_origins(f: Function, nodes: Sequence[Node]) -> Function:
    """`f` with other nodes; sizes measured on results that are gone are measured on others."""
    there = {p.value for p in f.params} | {v for n in nodes for v in n.outputs}
    sizes: dict[Symbol, Origin] = {}
    for s, o in f.sizes.items():
        if isinstance(o, Given) or o.value in there:
            sizes[s] = o
            continue
        found = _measured(nodes, s)
        if found is not None:
            sizes[s] = found
    return replace(f, nodes=tuple(nodes), sizes=sizes)


def _measured(nodes: Sequence[Node], s: Symbol) -> SizeOf | None:
    for n in nodes:
        if n.op.control or n.op.host:
            for v in n.outputs:
                for k, d in enumerate(v.type.shape or ()):
                    if isinstance(d, Poly) and d == D.symbol(s.name):
                        return SizeOf(v, k)
    return None


def is_loop(node: Node) -> bool:
    """True of ``Scan`` and ``While``."""
    return node.op.library == "loop"


__all__ = [
    "Carry", "Invariant", "LoopForm", "Output", "Slice", "compact", "is_loop", "with_origins",
]  # fmt: skip
