"""Close loops and branches: their bodies become functions of their own, state threaded through.

The state rules hold in a body with the iteration as the run.  A variable that a body writes is
one more carry: it enters with the value left by the writes before the loop and leaves with that
of the last iteration.  One that is only read is one more invariant.  The stream of a random op
in a body is a carry too, its position; so each iteration draws anew.

A carry whose size changes from one iteration to the next is found out here: the body is closed
with the types that enter, and again, with that size open, where other sizes leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from staticgraph.errors import ShapeError, StaticGraphError
from staticgraph.ir import dims as D
from staticgraph.ir import dtypes
from staticgraph.ir.body import BodyGraph, source_of
from staticgraph.ir.dims import Dim, Poly, Symbol
from staticgraph.ir.function import Function, Given, GuardSite, SizeOf, Value
from staticgraph.ir.known import nested
from staticgraph.ir.loc import Loc
from staticgraph.ir.op import Guard, lookup
from staticgraph.ir.record import record
from staticgraph.ir.tensor import Operation, Tensor
from staticgraph.ir.types import TensorType
from staticgraph.ops.loops import SEGMENTS
from staticgraph.passes.cleanup import Prune
from staticgraph.passes.close import Closing, bodies_of, needed_operations, writes_of
from staticgraph.passes.close_boxes import settle_branches
from staticgraph.passes.counted import counted

Open = frozenset[tuple[int, int | None]]  # parameters' axes whose size may change; None: all


def close_control(outer: Closing, op: Operation) -> None:
    """Take over a loop or a branch and what it does to variables and random streams."""
    _Control(outer, op).run()


class BodyClosing(Closing):
    """The closing of a body.

    Args:
      outer: the closing of the function around.
      op: the loop or branch.
    """

    def __init__(self, outer: Closing, op: Operation, name: str) -> None:
        super().__init__({}, name, outer.values, outer.asked, outer.b.level + 1, outer.lift)
        self.outer, self.op, self.refused = outer, op, outer.refused
        self.around, self.spreads = outer, outer.spreads
        self.given: list[Dim] = []
        self.invariant: dict[
            Value, Tensor
        ] = {}  # parameter -> the outer tensor it has the value of
        self.stream_locs: dict[str, Loc] = {}
        self.entered: dict[Operation, Value] = {}  # variable -> parameter
        self.positions: dict[str, Value] = {}  # stream -> parameter
        self.writes = frozenset(writes_of(op))

    # ---- sizes
    def give(self, d: Dim) -> Dim:
        """A size of the function around, usable in the body."""
        for s in D.symbols_of(d):
            if s not in self.b.sizes:
                if isinstance(self.outer, BodyClosing):
                    self.outer.give(D.symbol(s.name))
                self.b.sizes[s] = Given(len(self.given))
                self.given.append(D.symbol(s.name))
        return d

    def give_type(self, t: TensorType) -> TensorType:
        """A type of the function around, usable in the body."""
        for d in t.shape or ():
            self.give(d)
        return t

    def give_known(self, known: np.ndarray | None) -> np.ndarray | None:
        """Sizes known outside are known inside."""
        for d in () if known is None else known.flat:
            if isinstance(d, Poly):
                self.give(d)
        return known

    def known_size(self, value: Value) -> Dim | None:
        """The value of an integer scalar that follows from sizes of the function around."""
        known = self.known.get(value)
        if known is None or known.ndim or not value.dtype.is_integer:
            return None
        size: Dim = nested(known)
        given = {D.symbol(s.name) for s, o in self.b.sizes.items() if isinstance(o, Given)}
        return size if all(D.symbol(s.name) in given for s in D.symbols_of(size)) else None

    def _given(self, value: Value) -> bool:
        return False  # a carry is another in the next iteration

    def size_of_value(self, value: Value) -> Dim | None:
        value = self.copies.get(value, value)
        source = self.invariant.get(value)
        if source is None or self.known.get(value) is not None:
            return super().size_of_value(value) if self.known.get(value) is not None else None
        d = self.outer.size_of_value(self.outer.tensor(source, self.op))
        return None if d is None else self.give(d)

    # ---- parameters
    def open(self, d: Dim) -> Dim:
        """A symbol for a size of the function around that is known: what it breaks is a guard."""
        out = self.b.fresh("g")
        self.b.define(out, Given(len(self.given)))
        self.given.append(d)
        return out

    def open_type(self, t: TensorType, wide: TensorType) -> TensorType:
        """A type with symbols for the sizes that are known to the run, but not to the graph."""
        if t.shape is None:
            return t
        known = wide.shape or (None,) * len(t.shape)
        dims = (
            self.open(d) if isinstance(d, int) and not isinstance(g, int) else d
            for d, g in zip(t.shape, known, strict=False)
        )
        return TensorType(t.dtype, tuple(dims))

    def add(
        self, t: Tensor | None, type_: TensorType, name: str, axes: Iterable[int | None] = ()
    ) -> Value:
        """A parameter; the sizes of `axes` may differ from one iteration to the next."""
        axes = set(axes)
        shape = None if None in axes else type_.shape
        if shape is not None and axes:
            shape = tuple(self.b.fresh("m") if k in axes else d for k, d in enumerate(shape))
        dtype = type_.dtype.base
        value = self.b.param("feed", name, TensorType(dtype, shape), self.op.loc)
        for k, d in enumerate(shape or ()):
            if k in axes:
                self.b.define(d, SizeOf(value, k))
            else:
                self.give(d)
        if t is not None:
            self.env[t] = value
        return value

    def variable(self, var: Operation) -> Value:
        value = self.start.get(var)
        if value is None:
            type_ = entry(self.outer, self.op, var, self.writes).type
            value = self.start[var] = self.entered[var] = self.add(None, type_, var.name)
        return value

    def write(self, var: Operation, op: Operation, new: Value) -> None:
        want, have = var.outputs[0].type.shape, new.type.shape
        if want is not None and have is not None and len(want) == len(have):
            dims = tuple(w if isinstance(w, int) else d for w, d in zip(want, have, strict=True))
            if dims != have:  # a guard says so, which the function around does not see
                node = self.b.emit(lookup("Identity"), (new,), {}, op.name, op.loc)
                new = node.output
                new.type = TensorType(new.type.dtype, dims)
        super().write(var, op, new)

    def position(self, stream: str, where: Loc) -> Value:
        value = self.streams.get(stream)
        if value is None:
            value = self.add(None, TensorType(dtypes.int64, ()), stream)
            self.streams[stream] = self.positions[stream] = value
            self.stream_locs[stream] = where
        return value

    def static(self, op: Operation, key: str, t: Tensor) -> Any:
        value = self.tensor(t, op)
        source = self.invariant.get(value)
        if source is None or self.known.get(value) is not None:
            return super().static(op, key, t)
        sizes = self.outer.static(self.op, key, source)  # the same for all iterations
        for d in sizes if isinstance(sizes, tuple) else (sizes,):
            self.give(d)
        return sizes

    # ---- the whole
    def results(self, body: BodyGraph, params: set[Tensor]) -> list[Value]:
        """Take over the operations that the results need."""
        ops = [t.op for t in body.results if t not in params]
        with self.b:
            self.operations(needed_operations(ops, params))
            return [self.tensor(t, t.op) for t in body.results]

    def function(self, params: Sequence[Value], results: Sequence[Value]) -> Function:
        """The closed body with its parameters in the order asked for."""
        byvalue = {p.value: p for p in self.b.params}
        f = self.b.finish(results)
        f = replace(f, params=tuple(byvalue[v] for v in params))
        if self.lift and "body" in self.op.attrs:
            self._lift(f.guards)
        return Prune()(f)

    def _lift(self, guards: Iterable[GuardSite]) -> None:
        """Let the function around check what a loop assumes of its sizes.

        Work that is done before the loop may rely on it.  What a branch assumes is checked in it.
        """
        have = {(site.guard, site.op, site.name) for site in self.outer.b.guards}
        for site in guards:
            seen = D.symbols_of(site.guard.a) | D.symbols_of(site.guard.b)
            inside = any(not isinstance(self.b.sizes.get(s), Given) for s in seen)
            if not inside and (site.guard, site.op, site.name) not in have:
                self.outer.b.guards.append(replace(site, lifted=True))


def entry(outer: Closing, op: Operation, var: Operation, writes: Iterable[Operation]) -> Value:
    """The value with which a variable enters a loop or branch."""
    if var in writes:
        return outer.latest.get(var) or outer.variable(var)
    return outer.read(var, op)


@record(frozen=True, slots=True)
class _Closed:
    """A body that is closed but for the order of its parameters."""

    inner: BodyClosing
    declared: list[Value]  # parameters for the operation's operands; variables left out
    results: list[Value]


class _Control:
    def __init__(self, outer: Closing, op: Operation) -> None:
        self.outer, self.op = outer, op
        self.bodies = bodies_of(op)
        data, self.static = op.split()
        self.operands = data if "body" in op.attrs else data[1:]
        # Variables have no value as operands; they are threaded.
        self.kept = [
            k for k, t in enumerate(self.operands) if source_of(t).op.type != "VariableV2"
        ]  # fmt: skip
        self.values = {k: outer.tensor(self.operands[k], op) for k in self.kept}

    def run(self) -> None:
        if "body" in self.op.attrs:
            self._loop()
        else:
            self._branch()

    def _close_branch(self, body: BodyGraph, types: Mapping[int, TensorType]) -> _Closed:
        """Close a branch, which may hold what cannot be done with the sizes at hand.

        That is an error only where the branch is chosen.  So it is closed again with these sizes
        open, and its guards will tell.
        """
        try:
            return self._close(body, types)
        except StaticGraphError as e:
            at = self.inner.at
            try:
                closed = self._close(body, types, widen=True)
            except StaticGraphError:
                raise e from None
            self.outer.refused.append((at, e))
            return closed

    def _close(
        self, body: BodyGraph, types: Mapping[int, TensorType], opened: Open = frozenset(),
        widen: bool = False,
    ) -> _Closed:  # fmt: skip
        inner = self.inner = BodyClosing(self.outer, self.op, body.what.split("'")[1])
        carries = self.op.attrs.get("carries", 0)
        first = carries + self.op.attrs.get("sequences", 0)
        declared = []
        for k in self.kept:
            t = body.params[k]
            axes = [axis for j, axis in opened if j == k]
            type_ = inner.open_type(types[k], t.type) if widen else types[k]
            value = inner.add(t, type_, t.op.name, axes)
            declared.append(value)
            if k >= first:
                inner.known[value] = inner.give_known(self.outer.known.get(self.values[k]))
                inner.invariant[value] = self.operands[k]
        return _Closed(inner, declared, inner.results(body, set(body.params)))

    def _threaded(self, closed: Sequence[_Closed]) -> tuple[list[Operation], list[str]]:
        """Variables and streams that the bodies use; each body gets a parameter for each."""
        variables = dict.fromkeys(v for c in closed for v in c.inner.entered)
        variables |= dict.fromkeys(v for c in closed for v in c.inner.latest)
        streams = {s: w for c in closed for s, w in c.inner.stream_locs.items()}
        for c in closed:
            for v in variables:
                c.inner.variable(v)
            for s, where in streams.items():
                c.inner.position(s, where)
        for s, where in streams.items():
            self.outer.position(s, where)
        return list(variables), list(streams)

    # ---- loops
    def _loop(self) -> None:
        attrs, outer = dict(self.op.attrs), self.outer
        n, m = attrs["carries"], attrs["sequences"]
        types = {k: v.type for k, v in self.values.items()}
        for k in range(n, n + m):
            shape = types[k].shape
            types[k] = TensorType(types[k].dtype, None if shape is None else shape[1:])
        opened: Open = frozenset()
        while True:
            closed = self._close(self.bodies[0], types, opened)
            more = opened | self._changed(closed, n)
            if more == opened and (self.outer.spreads or not _begins_apart(closed, types, opened)):
                break
            self.outer.spreads |= more == opened
            opened = more
        inner = closed.inner
        variables, streams = self._threaded([closed])
        written = [v for v in variables if v in inner.latest]
        read = [v for v in variables if v not in inner.latest]
        params = [
            *closed.declared[:n], *(inner.entered[v] for v in written),
            *(inner.positions[s] for s in streams), *closed.declared[n:],
            *(inner.entered[v] for v in read),
        ]  # fmt: skip
        results = [
            *closed.results[:n], *(inner.latest[v] for v in written),
            *(inner.streams[s] for s in streams), *closed.results[n:],
        ]  # fmt: skip
        f, sizes = _compact(inner.function(params, results), inner.given)
        start = [self.values[k] for k in self.kept]
        inputs = [
            *start[:n], *(entry(outer, self.op, v, inner.writes) for v in written),
            *(outer.streams[s] for s in streams), *start[n:],
            *(entry(outer, self.op, v, ()) for v in read),
        ]  # fmt: skip
        attrs |= {
            "body": f, "sizes": sizes, "carries": n + len(written) + len(streams),
            "length": outer.static(self.op, "length", self.static["length"]),
        }  # fmt: skip
        attrs = {k: v for k, v in attrs.items() if not k.startswith("_")}
        if self.bodies[0].segments:
            attrs[SEGMENTS] = True
        made = self._emit(inputs, attrs, inner)
        self._leave(written, streams, made[n:])
        extra = len(written) + len(streams)
        for t, v in zip(self.op.outputs, [*made[:n], *made[n + extra :]], strict=True):
            outer.bind(t, v)

    def _emit(
        self, inputs: Sequence[Value], attrs: dict[str, Any], inner: BodyClosing
    ) -> list[Value]:
        """Add the loop; one that counts up to what is known by now needs no predicate."""
        outer, f, n = self.outer, attrs["body"], attrs["carries"]
        count = None
        if attrs["conditional"] and not attrs["sequences"]:
            size = outer.size_of_value
            count = counted(
                f, inputs, n, outer.b.nodes, size, inner.known_size, lambda s: _is_axis(outer, s)
            )
        if count is None:
            node = outer.b.emit(self.op.record, tuple(inputs), attrs, self.op.name, self.op.loc)
            return list(node.outputs)
        limit = attrs["length"]
        trips = count.trips if limit == -1 else D.minimum(count.trips, limit)
        attrs |= {
            "body": replace(f, params=f.params[1:], results=f.results[1:]), "length": trips,
            "carries": n - 1, "histories": tuple(k - 1 for k in attrs["histories"]),
            "conditional": False,
        }  # fmt: skip
        node = outer.b.emit(
            lookup("Scan"), tuple(inputs[1:]), attrs, self.op.name, self.op.loc
        )  # fmt: skip
        made = list(node.outputs)
        bound = count.bound
        if bound is None:
            assert count.literal is not None
            literal = replace(count.literal, outputs=(Value(count.literal.output.type, "bound"),))
            outer.b.nodes.append(literal)
            bound = literal.output
        pair = (made[count.counter - 1], bound)
        holds = outer.b.emit(count.compare, pair if count.first else pair[::-1], {}).output
        stack = outer.b.apply(lookup("Fill"), ((trips,), outer.b.constant(False)), {})
        done = outer.b.apply(lookup("Shape"), (stack,), {"out_type": dtypes.int64})
        number = outer.b.apply(lookup("Reshape"), (done, ()), {})
        return [holds, *made[: n - 1], number, *made[n - 1 :]]

    def _changed(self, closed: _Closed, n: int) -> Open:
        """Carries, and their axes, that leave the body with another size than they enter."""
        out: set[tuple[int, int | None]] = set()
        for k, (v, r) in enumerate(zip(closed.declared[:n], closed.results[:n], strict=True)):
            if v.type.shape is None:
                continue
            if r.type.shape is None or len(r.type.shape) != len(v.type.shape):
                out.add((k, None))
                continue
            for axis, (a, b) in enumerate(zip(v.type.shape, r.type.shape, strict=True)):
                if a != b and not _own(closed.inner, a) and not self._assumed(closed, k, a, b):
                    out.add((k, axis))
        return frozenset(out)

    def _assumed(self, closed: _Closed, k: int, a: Dim, b: Dim) -> bool:
        """Assume that two sizes agree where both are known before the loop, and one is open.

        Not where one is surely the larger, nor after that has turned out to be wrong.
        """
        inner = closed.inner
        if not inner.lift:
            return False
        if (isinstance(a, int) and isinstance(b, int)) or _own(inner, b) or D.apart(a, b):
            return False
        message = f"carry {k} enters with size {{a}} and leaves with size {{b}}"
        inner.b.guards.append(
            GuardSite(Guard("==", a, b, message), self.op.type, self.op.loc, self.op.name)
        )
        return True

    # ---- branches
    def _branch(self) -> None:
        outer = self.outer
        types = {k: v.type for k, v in self.values.items()}
        closed = [self._close_branch(b, types) for b in self.bodies]
        inners = [c.inner for c in closed]
        settle_branches([b.results for b in self.bodies], inners, [c.results for c in closed])
        variables, streams = self._threaded(closed)
        written = [v for v in variables if any(v in c.inner.latest for c in closed)]
        branches, given = [], list(dict.fromkeys(d for c in closed for d in c.inner.given))
        for c in closed:
            inner = c.inner
            params = [
                *c.declared, *(inner.entered[v] for v in variables),
                *(inner.positions[s] for s in streams),
            ]  # fmt: skip
            results = [
                *c.results, *(inner.latest.get(v) or inner.entered[v] for v in written),
                *(inner.streams[s] for s in streams),
            ]  # fmt: skip
            f = inner.function(params, results)
            places = {s: Given(given.index(inner.given[o.index]))
                      for s, o in f.sizes.items() if isinstance(o, Given)}  # fmt: skip
            branches.append(replace(f, sizes={**f.sizes, **places}))
        index = outer.tensor(self.op.inputs[0], self.op)
        writes = closed[0].inner.writes
        inputs = [
            index, *(self.values[k] for k in self.kept),
            *(entry(outer, self.op, v, writes) for v in variables),
            *(outer.streams[s] for s in streams),
        ]  # fmt: skip
        attrs = {"branches": tuple(branches), "sizes": tuple(given)}
        node = outer.b.emit(self.op.record, tuple(inputs), attrs, self.op.name, self.op.loc)
        n = len(self.op.outputs)
        for t, v in zip(self.op.outputs, node.outputs, strict=False):
            outer.bind(t, v)
        self._leave(written, streams, list(node.outputs[n:]))

    def _leave(
        self, written: Sequence[Operation], streams: Sequence[str], made: Sequence[Value]
    ) -> None:
        """What variables and streams are after the loop or branch."""
        for var, v in zip(written, made, strict=False):
            want = var.outputs[0].type.shape
            if want is not None and len(want) != len(v.type.shape or want):
                raise ShapeError(
                    f"the variable {var.name!r} has rank {len(want)}, the loop leaves "
                    f"{v.type.public()}", loc=self.op.loc,
                )  # fmt: skip
            self.outer.write(var, self.op, v)
        for s, v in zip(streams, made[len(written) :], strict=False):
            self.outer.advance(s, v)


def _is_axis(closing: Closing, s: Symbol) -> bool:
    """True of a symbol that is the size of an axis."""
    while isinstance(closing, BodyClosing) and isinstance(closing.b.sizes.get(s), Given):
        closing = closing.outer
    return isinstance(closing.b.sizes.get(s), SizeOf)


def _begins_apart(
    closed: _Closed, types: Mapping[int, TensorType], opened: Open
) -> bool:  # fmt: skip
    """True where a carry begins with a size that no iteration takes but by broadcasting."""
    starts = {}
    for k, axis in opened:
        shape, inner = types[k].shape, closed.declared[k].type.shape
        if axis is not None and shape is not None and inner is not None:
            starts[inner[axis]] = shape[axis]
    return any(
        isinstance(starts.get(a), int) and isinstance(b, int) and starts[a] != b
        for site in closed.inner.b.guards if site.guard.kind == "=="
        for a, b in ((site.guard.a, site.guard.b), (site.guard.b, site.guard.a))
    )  # fmt: skip


def _own(inner: BodyClosing, d: Dim) -> bool:
    """True of a size that is the body's own: it was opened."""
    return any(not isinstance(inner.b.sizes.get(s), Given) for s in D.symbols_of(d))


def _compact(f: Function, given: Sequence[Dim]) -> tuple[Function, tuple[Dim, ...]]:
    """The function and the sizes to pass it, those it does not use left out."""
    used: dict[Symbol, int] = {}
    for s, o in f.sizes.items():
        if isinstance(o, Given):
            used[s] = len(used)
    sizes = {s: Given(used[s]) if s in used else o for s, o in f.sizes.items()}
    passed = tuple(given[o.index] for o in f.sizes.values() if isinstance(o, Given))
    return replace(f, sizes=sizes), passed


__all__ = ["BodyClosing", "close_control"]
