"""Verifiers: what must hold of a graph and of a function; `verify` checks IR of any level.

A `VerificationError` is a defect of the package, so its text shows the IR around the fault:

    VerificationError: Add: %y is used before it is defined
          %x1: f32[2] = Neg %x
        > %z: f32[2] = Add %x1, %y
          %y: f32[2] = Neg %x1
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, NoReturn

from staticgraph.errors import VerificationError
from staticgraph.ir.body import BodyGraph
from staticgraph.ir.dims import Dim, Poly, Symbol, symbol, symbols_of
from staticgraph.ir.equalities import Equalities, own_equalities
from staticgraph.ir.function import (
    Function,
    Given,
    GuardSite,
    Node,
    Origin,
    SizeOf,
    Value,
    bodies,
)
from staticgraph.ir.graph import Graph
from staticgraph.ir.kernel import Kernel
from staticgraph.ir.known import nested
from staticgraph.ir.loc import Loc
from staticgraph.ir.op import Guard, Infer, Op, RuleError, infer
from staticgraph.ir.program import Program
from staticgraph.ir.tensor import Operation, Tensor
from staticgraph.ir.text import FunctionText, operation_text, type_text
from staticgraph.ir.types import TensorType
from staticgraph.ir.verify_kernel import fault, verify_kernel
from staticgraph.ir.verify_program import verify_program


def verify(ir: Graph | Function | Program | Kernel) -> None:
    """Verify IR of any level; a new level gets its line here.

    Raises:
      VerificationError: with the IR around the fault.
    """
    match ir:
        case Graph():
            verify_graph(ir)
        case Function():
            verify_function(ir)
        case Program():
            verify_program(ir)
        case Kernel():
            verify_kernel(ir)
        case _:
            raise TypeError(f"no verifier for {type(ir).__name__}")


# ---------------------------------------------------------------- sizes
def sizes_in(value: Any) -> Iterator[Poly]:
    """Symbolic sizes in an attribute."""
    stack = [value]
    while stack:
        v = stack.pop()
        if isinstance(v, Poly):
            yield v
        elif isinstance(v, (tuple, list)):
            stack += v


# ---------------------------------------------------------------- functions
def verify_function(f: Function) -> None:
    """Check a function and the functions in its attributes.

    Every value is defined once and before it is read; every node has the operands and attributes
    of its op; result types are what inference gives, or say more; what inference has to assume
    of sizes is guarded; every symbol has an origin that comes before its first use.

    Raises:
      VerificationError: with the IR around the fault.
    """
    _FunctionCheck(f).run()


class _FunctionCheck:
    def __init__(self, f: Function) -> None:
        self.f = f
        self.place: dict[Value, int] = {}  # where a value is made; parameters at -1
        self.known: dict[Symbol, int] = {}  # where a symbol's value can be had
        self.equalities = Equalities([s.guard for s in f.guards])
        self.assumed = {(g.guard.kind, g.guard.a, g.guard.b) for g in f.guards}
        self.measured: dict[Value, frozenset[Dim]] = {}
        for s, o in f.sizes.items():
            if isinstance(o, SizeOf):
                self.measured[o.value] = self.measured.get(o.value, frozenset()) | {symbol(s.name)}
        self.fresh = (f"?{k}" for k in count())

    def run(self) -> None:
        for p in self.f.params:
            self._define(p.value, -1, f"parameter {p.name!r}")
        for i, n in enumerate(self.f.nodes):
            for v in n.outputs:
                self._define(v, i, n.op.name)
        for s, o in self.f.sizes.items():
            self._size(s, o)
        for site in self.f.guards:
            self._guard(site)
        end = len(self.f.nodes)
        for p in self.f.params:  # a cotangent's sizes may be those of a host op's result
            self._symbols(p.value.type.shape or (), end, f"parameter {p.name!r}")
        for i, n in enumerate(self.f.nodes):
            self._node(n, i)
        for what, v in [("a result", v) for v in self.f.results] + [
            (f"the update of {k!r}", v) for k, v in self.f.updates.items()
        ]:
            if v not in self.place:
                self._fail(f"{what} is {self._name(v)}, which nothing defines", end)
        self._updates(end)

    # ---- definitions
    def _define(self, v: Value, at: int, what: str) -> None:
        if v in self.place:
            self._fail(f"{what}: {self._name(v)} is defined twice", at)
        self.place[v] = at

    def _size(self, s: Symbol, origin: Origin) -> None:
        if isinstance(origin, Given):
            self.known[s] = -1
            return
        v = origin.value
        if v not in self.place:
            self._fail(f"the size {s} comes from {self._name(v)}, which nothing defines", -1)
        shape = v.type.shape
        if isinstance(origin, SizeOf):
            if shape is not None and not 0 <= origin.axis < len(shape):
                what = f"{self._name(v)}: {type_text(v.type)}"
                self._fail(f"the size {s} is axis {origin.axis} of {what}", -1)
        else:
            length = 1
            for d in shape or ():
                length *= d if isinstance(d, int) else origin.element + 1
            if not v.dtype.is_integer or not 0 <= origin.element < max(length, 0):
                what = f"{self._name(v)}: {type_text(v.type)}"
                self._fail(f"the size {s} is element {origin.element} of {what}", -1)
        self.known[s] = self.place[v]

    def _symbols(self, value: Any, at: int, what: str, result: bool = False) -> None:
        """Symbols must be known before node `at`, or by it for its results."""
        for d in sizes_in(tuple(value)):
            for s in symbols_of(d):
                where = self.known.get(s)
                if where is None:
                    self._fail(f"{what}: nothing says what the size {s} is", at)
                if where > at or (where == at and at >= 0 and not result):
                    self._fail(f"{what}: the size {s} is needed before it is known", at)

    def _guard(self, site: GuardSite) -> None:
        for s in symbols_of(site.guard.a) | symbols_of(site.guard.b):
            if s not in self.known:
                self._fail(f"the guard {site.guard}: nothing says what the size {s} is", -1)

    def _updates(self, end: int) -> None:
        params = {p.name: p.value for p in self.f.params if p.kind == "variable"}
        params |= {f"counter:{p.name}": p.value for p in self.f.params if p.kind == "counter"}
        for name, v in self.f.updates.items():
            old = params.get(name)
            if old is not None and old.dtype is not v.dtype:
                self._fail(f"{name!r} is {old.dtype.name} and is given a {v.dtype.name}", end)

    # ---- nodes
    def _node(self, n: Node, at: int) -> None:
        op = n.op.name
        for v in n.inputs:
            where = self.place.get(v)
            if where is None:
                self._fail(f"{op}: {self._name(v)} is used but nothing defines it", at)
            if where >= at:
                self._fail(f"{op}: {self._name(v)} is used before it is defined", at)
        _check_signature(n.op, len(n.inputs), n.attrs, lambda m: self._fail(m, at))
        self._symbols(tuple(n.attrs.values()), at, op)
        for v in n.outputs:
            self._symbols(v.type.shape or (), at, op, result=True)
        for body in bodies(n):
            verify_function(body)
            given = [o.index for o in body.sizes.values() if isinstance(o, Given)]
            if given and max(given) >= len(n.attrs.get("sizes", ())):
                self._fail(f"{op}: its body is given {max(given) + 1} sizes or more", at)
        self._inferred(n, at)

    def _inferred(self, n: Node, at: int) -> None:
        op = n.op.name
        ctx = Infer(lambda _: symbol(next(self.fresh)))
        try:
            types = infer(n.op, [v.type for v in n.inputs], n.attrs, ctx)
        except RuleError as e:
            self._fail(f"{op}: {e.message}", at)
        if len(types) != len(n.outputs):
            self._fail(f"{op} gives {len(types)} results, the node has {len(n.outputs)}", at)
        for v, t in zip(n.outputs, types, strict=True):
            if not (self._refines(v.type, t) or (n.op.control and self._agrees(n, v, t))):
                have = f"{self._name(v)} is {type_text(v.type)}"
                self._fail(f"{op}: {have}, inference gives {type_text(t)}", at)
        for g in ctx.guards:
            self._assumed(g, op, at)

    def _agrees(self, n: Node, v: Value, inferred: TensorType) -> bool:
        """True where a loop or branch gives what it should, if its bodies' guards hold.

        A size that is measured on the result may turn out to be known when bodies are changed.
        """
        sizes = n.attrs.get("sizes", ())
        own = [own_equalities(f, f.bound(sizes)) for f in bodies(n)]
        measured = self.measured.get(v, frozenset())
        return self._refines(
            v.type, inferred, lambda h, i: h in measured or any(e.equal(h, i) for e in own)
        )

    def _refines(
        self, have: TensorType, inferred: TensorType,
        or_equal: Callable[[Dim, Dim], bool] = lambda *_: False,
    ) -> bool:  # fmt: skip
        if have.dtype != inferred.dtype:
            return False
        if inferred.shape is None:
            return True
        if have.shape is None or len(have.shape) != len(inferred.shape):
            return False
        return all(
            _is_fresh(i) or self.equalities.equal(h, i) or or_equal(h, i)
            for h, i in zip(have.shape, inferred.shape, strict=True)
        )

    def _assumed(self, g: Guard, op: str, at: int) -> None:
        if _is_fresh(g.a) or _is_fresh(g.b):
            return
        normal = self.equalities.normal
        holds = (
            self.equalities.equal(g.a, g.b)
            if g.kind == "=="
            else (g.kind, g.a, g.b) in self.assumed
            or any(k == "<=" and normal(a) == normal(g.a) and normal(b) == normal(g.b)
                   for k, a, b in self.assumed)
            or _at_most(normal(g.a), normal(g.b))
        )  # fmt: skip
        if not holds:
            self._fail(f"{op}: nothing guards that {g}", at)

    # ---- errors
    def _name(self, v: Value) -> str:
        return FunctionText(self.f).names.use(v)

    def _fail(self, message: str, at: int) -> NoReturn:
        text = FunctionText(self.f)
        before = [*text.head, *text.sizes, *text.guards]
        lines = [*before, *text.nodes, *text.tail]
        loc: Loc | None = self.f.nodes[at].loc if 0 <= at < len(self.f.nodes) else None
        line = 0 if at < 0 else len(before) + at
        raise fault(f"{self.f.name}: {message}", lines, line, loc if loc and loc.line else None)


def _at_most(a: Dim, b: Dim) -> bool:
    difference = b - a
    return isinstance(difference, int) and difference >= 0


def _is_fresh(d: Dim) -> bool:
    return any(s.name.startswith("?") for s in symbols_of(d))


def _check_signature(
    op: Op, inputs: int, attrs: Mapping[str, Any], fail: Callable[[str], NoReturn],
    static: bool = True,
) -> None:  # fmt: skip
    """The number of operands and the names of attributes are the op's."""
    operands = op.data_operands if static else op.operands
    least = len(operands) - op.variadic
    if inputs < least or (inputs > least and not op.variadic):
        fail(f"{op.name} takes {len(operands)} operands, {inputs} are given")
    names = {*(op.static_operands if static else ()), *op.attrs}
    given = {k for k in attrs if not k.startswith("_")}
    if given != names:
        missing, extra = sorted(names - given), sorted(given - names)
        if missing:
            fail(f"{op.name}: the attribute {missing[0]!r} is missing")
        fail(f"{op.name}: no attribute {extra[0]!r}")


# ---------------------------------------------------------------- graphs
def verify_graph(graph: Graph) -> None:
    """Check a graph: order, names, and that types do not contradict inference.

    Raises:
      VerificationError: with the IR around the fault.
    """
    names: set[str] = set()
    seen: set[Operation] = set()
    for i, op in enumerate(graph.get_operations()):
        _verify_operation(graph, op, i, seen, names)
        seen.add(op)
        names.add(op.name)


def _verify_operation(
    graph: Graph, op: Operation, at: int, seen: set[Operation], names: set[str]
) -> None:
    def fail(message: str) -> NoReturn:
        lines = [operation_text(o) for o in graph.get_operations()]
        raise fault(f"{op.name}: {message}", lines, at, op.loc)

    if op.graph is not graph or op.id != at:
        fail("the operation is not the graph's own, or not at its place")
    if op.name in names:
        fail("the name is taken by an earlier operation")
    for source in [t.op for t in op.inputs] + list(op.control_inputs):
        if source not in seen:
            fail(f"{source.name!r} is needed before it exists")
    _check_signature(op.record, len(op.inputs), op.attrs, fail, static=False)
    fresh = (f"?{k}" for k in count())
    ctx = Infer(lambda _: symbol(next(fresh)))
    data, static = op.split()
    values = {k: _static(t, ctx) for k, t in static.items()}
    try:
        types = infer(op.record, [t.type for t in data], {**op.attrs, **values}, ctx)
    except RuleError as e:
        fail(f"{op.type}: {e.message}")
    _verify_bodies(op, fail)
    if len(types) != len(op.outputs):
        fail(f"{op.type} gives {len(types)} results, the operation has {len(op.outputs)}")
    for t, inferred in zip(op.outputs, types, strict=True):
        if not _agree(t.type, inferred):
            fail(f"{t.name} is {type_text(t.type)}, inference gives {type_text(inferred)}")


def _verify_bodies(op: Operation, fail: Any) -> None:
    """Captures are the last parameters of a body, and its results are its own."""
    for value in op.attrs.values():
        for body in value if isinstance(value, tuple) else (value,):
            if not isinstance(body, BodyGraph):
                continue
            captured = [p for p in body.params if p in body.sources]
            if body.params[len(body.params) - len(captured) :] != captured:
                fail("the captures of its body are not its last parameters")
            for t in body.results:
                if t.graph is not body:
                    fail(f"the result {t.name!r} is not of its body")
            verify_graph(body)


def _static(t: Tensor, ctx: Infer) -> Any:
    """The value of an ``@`` operand as at build time, unknown sizes as fresh symbols."""
    if t.known is not None:
        return nested(t.known)
    shape = t.type.shape
    if shape == ():
        return ctx.fresh("s")
    if shape is not None and len(shape) == 1 and isinstance(shape[0], int):
        return tuple(ctx.fresh("s") for _ in range(shape[0]))
    return None


def _agree(a: TensorType, b: TensorType) -> bool:
    """Types that do not contradict each other; `set_shape` may have told either of them more."""
    if a.dtype != b.dtype:
        return False
    if a.shape is None or b.shape is None:
        return True
    return len(a.shape) == len(b.shape) and all(
        x == y or not (isinstance(x, int) and isinstance(y, int))
        for x, y in zip(a.shape, b.shape, strict=True)
    )


__all__ = [
    "Equalities", "VerificationError", "verify", "verify_function", "verify_graph", "verify_kernel",
    "verify_program",
]  # fmt: skip
