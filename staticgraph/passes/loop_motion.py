"""Motion: work of a loop that need not wait for the iteration before is done for all at once.

- *Before the loop.*  A matrix product whose factors do not depend on what is carried becomes one
  large product over all iterations; a loop that carries nothing goes away altogether.
- *Behind the loop.*  A carry to which each iteration adds ``a^T b`` becomes one product of the
  stacked ``a`` and ``b``: this is how gradients of weights are added up.
- *Not twice.*  A backward loop computes again what the forward loop has computed.  Where that is
  a matrix product, the forward loop stacks the result, or what is cheaply made of it, and the
  backward loop reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from staticgraph.ir import dims as D
from staticgraph.ir.dims import Dim, Poly
from staticgraph.ir.function import Builder, Function, Node, SizeOf, Value, effect_of
from staticgraph.ir.op import lookup
from staticgraph.ir.record import record
from staticgraph.passes.checks import refuses
from staticgraph.passes.loop_form import Invariant, LoopForm, Slice, is_loop, with_origins
from staticgraph.passes.loop_products import take_apart
from staticgraph.passes.loop_share import share_results, substituted

PRODUCTS = ("Gemm", "BatchGemm")


@record(frozen=True)
class Motion:
    """See the module's text."""

    name: ClassVar[str] = "motion"
    nested: bool = False

    @property
    def inside(self) -> Motion:
        """The pass for bodies.

        There a loop stays whole that is as long as a ``while`` before it has been: one product over
        a length that only the run tells would make the loop around it run step by step.
        """
        return Motion(nested=True)

    def __call__(self, f: Function) -> Function:
        if not any(map(is_loop, f.nodes)):
            return f
        f = share_results(f)
        loops = {n for n in f.nodes if is_loop(n)}
        told = _told(f, loops) if self.nested else ()
        b = Builder(like=f)
        with b:
            for n in f.nodes:
                b.loc, b.label = n.loc, n.name
                stays = n in loops and (n.attrs["conditional"] or n.attrs["length"] in told)
                if n in loops and not stays:
                    _Loop(b, LoopForm.of(n)).run()
                else:
                    b.nodes.append(n)
        g = with_origins(f, b.nodes)
        lifted = (replace(site, lifted=True) for site in b.guards[len(f.guards) :])
        guards = (*f.guards, *lifted)  # of bodies
        return replace(g, sizes={**b.sizes, **g.sizes}, guards=guards)


def _told(f: Function, loops: Iterable[Node]) -> list[Dim]:
    """The sizes that conditional loops of `f` give."""
    made = {v for n in loops if n.attrs["conditional"] for v in n.outputs}
    return [
        D.symbol(s.name) for s, o in f.sizes.items() if isinstance(o, SizeOf) and o.value in made
    ]


class _Loop:
    """One loop, written into a builder with what goes before and behind it."""

    def __init__(self, b: Builder, form: LoopForm) -> None:
        self.b, self.form = b, form
        self.behind: list[Callable[[], None]] = []

    def run(self) -> None:
        form = self.form
        take_apart(form)
        if not form.segments:
            self._behind()  # first: what it stacks may depend on no carry
            self._products_behind()
            self._before()
        self._passed_through()
        if form.carries or form.outputs or effect_of(form.node) != "pure":
            self.b.nodes.append(form.build())
        for write in self.behind:
            write()

    # ---- before
    def _before(self) -> None:
        """Take out what depends on no carry."""
        form = self.form
        wanted = self._wanted(self._free())
        if not wanted:
            return
        moved = _Moved(self.b, form)
        for n in form.body.nodes:
            if n in wanted:
                moved.take(n)
        gone = {n for n in wanted if n.op.name != "Const"}
        form.body = replace(
            form.body, nodes=tuple(n for n in form.body.nodes if n not in gone)
        )  # fmt: skip
        for o in list(form.outputs):
            stack = moved.stacks.get(o.value)
            if stack is not None:
                form.outputs.remove(o)
                self._become(o.stacked, stack)
        for v, stack in moved.stacks.items():
            form.slices.append(Slice(stack, v))
        for v, outer in moved.steady.items():
            form.invariants.append(Invariant(outer, v))

    def _passed_through(self) -> None:
        """Stacks of slices are the sequences, stacks of what does not change repeat it."""
        form, b = self.form, self.b
        sequences = {s.param: s.sequence for s in form.slices}
        fixed = {i.param: i.value for i in form.invariants}
        for o in list(form.outputs):
            whole, same = sequences.get(o.value), fixed.get(o.value)
            if whole is not None and whole.type == o.stacked.type:
                self._become(o.stacked, whole)
            elif same is not None and o.stacked.type.shape is not None:
                inputs, attrs = (same,), {"shape": o.stacked.dims}
                b.nodes.append(
                    Node(lookup("BroadcastTo"), inputs, attrs, (o.stacked,), b.loc, b.label)
                )
            else:
                continue
            form.outputs.remove(o)

    def _become(self, old: Value, new: Value) -> None:
        """Let `old`, a result of the loop, be `new`."""
        identity = Node(lookup("Identity"), (new,), {}, (old,), self.b.loc, self.b.label)
        self.b.nodes.append(identity)

    def _free(self) -> set[Node]:
        """Nodes that depend on slices and invariants alone, and can be done for all at once."""
        form = self.form
        given = form.given
        sliced = {s.param for s in form.slices}
        known = sliced | {i.param for i in form.invariants}
        out: set[Node] = set()
        for n in form.body.nodes:
            if not all(v in known for v in n.inputs) or effect_of(n) != "pure":
                continue
            if n.op.name != "Const" and not _batchable(n):
                continue
            if any(form.outside(v.type) is None for v in n.outputs):
                continue
            if any(not s <= given.keys() for s in _attr_symbols(n)):
                continue
            if not sliced.isdisjoint(n.inputs):
                sliced.update(n.outputs)
            elif refuses(n) and not (isinstance(form.length, int) and form.length > 0):
                continue  # where the loop does not run, its index may be out of range
            out.add(n)
            known.update(n.outputs)
        return out

    def _wanted(self, free: set[Node]) -> set[Node]:
        """Of the free nodes those worth moving: products, and what they need; or all."""
        form = self.form
        real = [n for n in form.body.nodes if n.op.name != "Const"]
        if not form.carries and real and all(n in free for n in real):
            return free
        producer = form.body.producers()
        stack = [n for n in real if n in free and n.op.name in PRODUCTS and self._sliced(n)]
        stacked = {o.value for o in form.outputs}
        stack += [n for n in real if n in free and not stacked.isdisjoint(n.outputs)]
        wanted: set[Node] = set()
        while stack:
            n = stack.pop()
            if n not in wanted:
                wanted.add(n)
                stack += [producer[v] for v in n.inputs if v in producer]
        return wanted

    def _sliced(self, n: Node) -> bool:
        """True where a node depends on a slice."""
        params = {s.param for s in self.form.slices}
        producer = self.form.body.producers()
        stack, seen = list(n.inputs), set()
        while stack:
            v = stack.pop()
            if v in params:
                return True
            if v in producer and v not in seen:
                seen.add(v)
                stack += producer[v].inputs
        return False

    # ---- behind
    def _products_behind(self) -> None:
        """Multiply behind the loop what is only multiplied to be stacked."""
        form = self.form
        producer = form.body.producers()
        uses = _body_uses(form)
        fixed = {i.param: i.value for i in form.invariants}
        for o in list(form.outputs):
            made = producer.get(o.value)
            if made is None or made.op.name != "Gemm" or uses[o.value] != 1:
                continue
            x, y = made.inputs
            if made.attrs["transpose_a"] or y not in fixed:
                continue
            stack = form.stack_of(x)
            if stack is not None:
                form.outputs.remove(o)
                self.behind.append(
                    _projected(self.b, stack, fixed[y], made.attrs["transpose_b"], o.stacked)
                )

    def _behind(self) -> None:
        """Add up behind the loop what a carry is only there to add up."""
        form = self.form
        producer = form.body.producers()
        uses = _body_uses(form)
        for late in (False, True):  # sums of what products have stacked come second
            for c in list(form.carries):
                if c.history is not None or uses.get(c.param, 0) != 1:
                    continue
                made = producer.get(c.new)
                if made is None or made.op.name not in ("Add", "AddV2") or uses[c.new] != 1:
                    continue
                a, b = made.inputs
                if c.param not in (a, b) or a is b:
                    continue
                term = b if a is c.param else a
                if term.type != c.param.type:
                    continue
                total = self._sum(term, producer, late)
                if total is not None:
                    form.carries.remove(c)
                    self.behind.append(_added(self.b, c.start, total, c.final))

    def _sum(
        self, term: Value, producer: dict[Value, Node], late: bool
    ) -> Callable[[], Value] | None:
        """The sum of `term` over all iterations, as something to write behind the loop."""
        form, b = self.form, self.b
        made = producer.get(term)
        if not late:
            if made is None or made.op.name != "Gemm":
                return None
            if not made.attrs["transpose_a"] or made.attrs["transpose_b"]:
                return None
            pair = [form.stack_of(v) for v in made.inputs]
            if pair[0] is None or pair[1] is None:
                return None
            x, y = pair[0], pair[1]

            def product() -> Value:
                out: Value = lookup("Gemm")(_flat(x), _flat(y), transpose_a=True, transpose_b=False)
                return out

            return product
        axes: tuple[int, ...] = (0,)
        source = term
        if made is not None and made.op.name == "Sum" and not made.attrs["keep_dims"]:
            inner = made.attrs["reduction_indices"]
            if isinstance(inner, tuple) and all(isinstance(k, int) and k >= 0 for k in inner):
                source, axes = made.inputs[0], (0, *(k + 1 for k in inner))
        stack = self._stacked_already(source)
        if stack is None:
            return None
        found = stack

        def reduced() -> Value:
            out: Value = lookup("Sum")(found, reduction_indices=axes, keep_dims=False)
            return out

        del b
        return reduced

    def _stacked_already(self, v: Value) -> Value | None:
        form = self.form
        for o in form.outputs:
            if o.value is v:
                return o.stacked
        for s in form.slices:
            if s.param is v:
                return s.sequence
        return None


def _added(
    b: Builder, start: Value, total: Callable[[], Value], final: Value
) -> Callable[[], None]:
    def write() -> None:
        if _is_zero(start, {n.output: n for n in b.nodes if len(n.outputs) == 1}):
            b.nodes.append(Node(lookup("Identity"), (total(),), {}, (final,), b.loc, b.label))
            return
        inputs = (start, total())
        b.nodes.append(Node(lookup("Add"), inputs, {}, (final,), b.loc, b.label))

    return write


def _projected(b: Builder, stack: Value, w: Value, flipped: bool, out: Value) -> Callable[[], None]:
    def write() -> None:
        attrs = {"adj_x": False, "adj_y": flipped}
        b.nodes.append(Node(lookup("BatchGemm"), (stack, w), attrs, (out,), b.loc, b.label))

    return write


def _is_zero(v: Value, made: Mapping[Value, Node]) -> bool:
    """True of what is 0.0 everywhere: a constant, or one that is spread."""
    n = made.get(v)
    if n is None:
        return False
    if n.op.name == "Const":
        array = n.attrs["value"].array
        return array.dtype.kind == "f" and not array.any() and not np.signbit(array).any()
    if n.op.name in ("Fill", "BroadcastTo", "Reshape"):
        return _is_zero(n.inputs[0], made)
    return n.op.name == "ZerosLike"


def _flat(x: Value) -> Value:
    """The first two axes as one."""
    t, k, *rest = x.dims
    out: Value = lookup("Reshape")(x, shape=(t * k, *rest))
    return out


def _batchable(n: Node) -> bool:
    if len(n.outputs) != 1 or n.output.type.shape is None:
        return False
    return n.op.name in PRODUCTS or n.op.lower is not None


def _attr_symbols(n: Node) -> Iterable[frozenset[Any]]:
    stack = list(n.attrs.values())
    while stack:
        v = stack.pop()
        if isinstance(v, Poly):
            yield D.symbols_of(v)
        elif isinstance(v, tuple):
            stack += v


class _Moved:
    """Nodes of a body written before the loop, for all iterations."""

    def __init__(self, b: Builder, form: LoopForm) -> None:
        self.b, self.form, self.given = b, form, form.given
        self.length: Dim = form.length
        self.sliced = {s.param: s.sequence for s in form.slices}
        self.same = {i.param: i.value for i in form.invariants}
        self.stacks: dict[Value, Value] = {}  # of what has been moved
        self.steady: dict[Value, Value] = {}

    def take(self, n: Node) -> None:
        """Write one node."""
        self.b.loc, self.b.label = n.loc, n.name
        attrs = {k: substituted(v, self.given) for k, v in n.attrs.items()}
        if n.op.name == "Const":
            self.same[n.output] = self.b.emit(n.op, (), attrs, n.name, n.loc).output
            return
        if all(v in self.same for v in n.inputs):
            inputs = tuple(self.same[v] for v in n.inputs)
            made = self.b.emit(n.op, inputs, attrs, n.name, n.loc).output
            self.same[n.output] = self.steady[n.output] = made
            return
        if n.op.name in PRODUCTS:
            out = self._product(n, attrs)
        else:
            marks = tuple(v in self.sliced for v in n.inputs)
            inputs = tuple(self.sliced.get(v) or self.same[v] for v in n.inputs)
            out = self.b.emit(
                lookup("Vectorized"), inputs,
                {"length": self.length, "op": n.op.name, "sliced": marks,
                 "attrs": tuple(sorted(attrs.items()))},
                n.name, n.loc,
            ).output  # fmt: skip
        self.sliced[n.output] = self.stacks[n.output] = out

    def _product(self, n: Node, attrs: dict[str, Any]) -> Value:
        x, y = n.inputs
        names = ("transpose_a", "transpose_b") if n.op.name == "Gemm" else ("adj_x", "adj_y")
        ta, tb = (attrs[k] for k in names)
        a, b = (self.sliced.get(v) or self.same[v] for v in (x, y))
        inner = len(n.output.dims) - 2
        a, b = (_with_axes(v, inner, v_in in self.sliced)
                for v, v_in in ((a, x), (b, y)))  # fmt: skip
        batch: Value = lookup("BatchGemm")(a, b, adj_x=ta, adj_y=tb)
        return batch


def _with_axes(v: Value, inner: int, sliced: bool) -> Value:
    """Axes of size 1 between the iterations and the matrices, so that batches line up."""
    own = len(v.dims) - 2 - int(sliced)
    if not sliced or own == inner:
        return v
    t, *rest = v.dims
    out: Value = lookup("Reshape")(v, shape=(t, *([1] * (inner - own)), *rest))
    return out


def _body_uses(form: LoopForm) -> dict[Value, int]:
    """How often a body reads each value, results included."""
    count: dict[Value, int] = {}
    reads = [v for n in form.body.nodes for v in n.inputs]
    reads += [c.new for c in form.carries] + [o.value for o in form.outputs]
    for v in reads:
        count[v] = count.get(v, 0) + 1
    return count


__all__ = ["Motion"]
