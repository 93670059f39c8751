"""Close: from the user's graph and one run's fetches and feeds to a `Function`.

The state rules of the language are decided here, once:

1. Only what the fetches need is taken, by data and control edges; a fed tensor cuts.
2. A plain read of a variable gives its value at the start, or the value after the latest write
   (in creation order) among the read's ancestors.
3. Writes to one variable run in creation order, which respects every edge because inputs always
   exist before the operation that takes them.  Each acts on the value the one before it left.
4. A fetched variable gives its value at the end.

Types are inferred anew from the parameters, so one graph serves any sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from staticgraph.errors import FeedError, ShapeError, StaticGraphError
from staticgraph.ir import dims as D
from staticgraph.ir import dtypes
from staticgraph.ir.body import BodyGraph, source_of
from staticgraph.ir.collector import without_collection
from staticgraph.ir.dims import Dim, Poly, symbol
from staticgraph.ir.function import (
    Builder,
    ElementOf,
    Function,
    GuardSite,
    Node,
    ParamKind,
    SizeOf,
    Value,
)
from staticgraph.ir.graph import Graph
from staticgraph.ir.known import known_value, nested
from staticgraph.ir.loc import Loc
from staticgraph.ir.op import Guard, RuleError, fold_sizes
from staticgraph.ir.tensor import Operation, Tensor, rule_error
from staticgraph.ir.types import TensorType
from staticgraph.passes.close_boxes import BOXES, close_box
from staticgraph.passes.close_spread import spread

# what puts integers together without computing any: it cannot overflow
PUT_TOGETHER = frozenset({
    "ConcatV2", "ExpandDims", "GatherV2", "Identity", "Pack", "Reshape", "Squeeze", "StridedSlice",
})  # fmt: skip
MOST_STEPS = 32  # in which integers are put together, if they are to be known as sizes


class OpenRankError(ShapeError):
    """A rank hangs on a size that is open; it may be known where sizes are fixed."""


def _inside(op: Operation, body: BodyGraph) -> FeedError:
    """Why a placeholder in the body of a loop or branch has no value."""
    if op.outputs[0] in body.params:
        return FeedError(
            f"{op.name!r} has a value only while {body.what} runs, not while it is built",
            loc=op.loc, hint="return from the body what is asked for",
        )  # fmt: skip
    return FeedError(
        f"the placeholder {op.name!r} is made in the body of {body.what}, where nothing is fed",
        loc=op.loc, hint="make it before, and use it in the body",
    )  # fmt: skip


def needed_operations(fetches: Iterable[Operation], fed: set[Tensor]) -> list[Operation]:
    """The operations a run executes, in creation order."""
    seen: set[Operation] = set()
    stack = list(fetches)
    while stack:
        op = stack.pop()
        if op in seen:
            continue
        seen.add(op)
        if op.outputs and all(t in fed for t in op.outputs) and op.record.effect == "pure":
            continue
        stack += [t.op for t in op.inputs if t not in fed]
        stack += op.control_inputs
    return sorted(seen, key=lambda op: op.id)


@without_collection()
def close(
    graph: Graph,
    fetches: Sequence[Tensor | Operation],
    feeds: Mapping[Tensor, TensorType],
    final: Sequence[Operation] = (),
    name: str = "run",
    values: Mapping[str, np.ndarray] | None = None,
    asked: MutableMapping[str, int | None] | None = None,
    lift: bool = True,
    refused: list[tuple[str, StaticGraphError]] | None = None,
) -> Function:
    """Close a graph over fetches and feeds.

    Args:
      fetches: tensors (their values become results, in order) and operations (run for effect).
      feeds: fed tensors and the types of what is fed; a symbol or int per axis, None for a size
        that the caller leaves open.
      final: variables (their ``VariableV2`` operations) whose values at the end are results too.
      values: what variables hold, by name.
      asked: takes each variable on whose rank the result depends, with that rank; None where it
        holds no value.
      lift: what bodies of loops assume of sizes is checked before the run, else where they run, and
        sizes that are another in each iteration are broadcast as they come.
      refused: takes what is wrong in branches with the sizes fed, an error where they are chosen,
        with the name of the operation.

    Raises:
      FeedError: a placeholder that is needed is not fed.
      ShapeError, DtypeError: with the sizes fed, an operation's inputs do not fit.
    """
    asked = {} if asked is None else asked
    closing = Closing(feeds, name, values or {}, asked, lift=lift)
    if refused is not None:
        closing.refused = refused
    return closing.run(fetches, final)


class Closing:
    """One closing under way; `passes.close_control` derives that of bodies from it."""

    def __init__(
        self, feeds: Mapping[Tensor, TensorType], name: str, values: Mapping[str, np.ndarray],
        asked: MutableMapping[str, int | None], level: int = 0, lift: bool = True,
    ) -> None:  # fmt: skip
        self.b = Builder(name, level=level)
        self.values, self.asked, self.lift = values, asked, lift
        # what branches raise if they are chosen, with the name of the operation
        self.refused: list[tuple[str, StaticGraphError]] = []
        self.at = ""  # the operation that is taken over
        self.around: Closing | None = None  # of the function around, where it is a body
        self.spreads = not lift  # sizes that are an iteration's own are broadcast as they come
        self.env: dict[Tensor, Value] = {}
        self.known: dict[Value, np.ndarray | None] = {}
        self.copies: dict[Value, Value] = {}  # of what a value is a copy
        self.start: dict[Operation, Value] = {}  # variable -> value at the start
        self.latest: dict[Operation, Value] = {}  # variable -> value after the last write so far
        # write, variable -> value it left
        self.written: dict[tuple[Operation, Operation], Value] = {}
        self.streams: dict[str, Value] = {}  # random op -> position of its stream by now
        self.writes_before: dict[Operation, dict[Operation, Operation]] = {}
        self.elements: dict[Value, Any] = {}
        # integers that are fed numbers and known ones side by side: how, and in how many steps
        self.put_together: dict[Value, tuple[Node, int]] = {}
        self.together: dict[Value, np.ndarray | None] = {}  # the same as sizes
        self.updates: dict[str, Value] = {}
        self.feeds = feeds
        for t, type_ in feeds.items():
            self.env[t] = self._sized("feed", t.name, type_, t.op.loc)

    def _sized(self, kind: ParamKind, name: str, type_: TensorType, where: Loc) -> Value:
        """A parameter with a symbol for every size that is open."""
        if type_.shape is None:
            return self.b.param(kind, name, TensorType(type_.dtype.base, None), where)
        dims: list[Dim] = []
        new: list[tuple[Dim, int]] = []
        for axis, d in enumerate(type_.shape):
            if not isinstance(d, int):
                d = symbol(f"n{len(self.b.sizes) + len(new)}")
                new.append((d, axis))
            dims.append(d)
        value = self.b.param(kind, name, TensorType(type_.dtype.base, tuple(dims)), where)
        for d, axis in new:
            self.b.define(d, SizeOf(value, axis))
        return value

    def run(self, fetches: Sequence[Tensor | Operation], final: Sequence[Operation]) -> Function:
        ops = [f.op if isinstance(f, Tensor) else f for f in fetches if f not in self.env]
        needed = needed_operations(ops, set(self.feeds))
        with self.b:
            self.operations(needed)
            results = [self.tensor(f, None) for f in fetches if isinstance(f, Tensor)]
            results += [self.latest.get(v) or self.variable(v) for v in final]
        return self.b.finish(results, self.updates)

    def operations(self, needed: Iterable[Operation]) -> None:
        """Take over operations, in creation order."""
        for op in needed:
            ready = op.outputs and all(t in self.env for t in op.outputs)
            if ready and op.record.effect == "pure":
                continue
            self.b.loc, self.b.label, self.at = op.loc, op.name, op.name
            self._writes(op)
            try:
                self._operation(op)
            except RuleError as e:
                raise self._error(e, op) from None

    def _error(self, e: RuleError, op: Operation) -> StaticGraphError:
        error = rule_error(e, op.record, op.name, op.inputs, op.loc)
        seen = [f"{t.name} here: {self.env[t].type.public()}" for t in op.inputs if t in self.env]
        cls = type(error)
        return cls(error.message, loc=error.loc, operands=(*error.operands, *seen), hint=error.hint)

    # ---- state
    def _writes(self, op: Operation) -> None:
        """Record, per variable, the latest write among the ancestors of `op`."""
        merged: dict[Operation, Operation] = {}
        for source in [t.op for t in op.inputs if t not in self.feeds] + list(op.control_inputs):
            before = self.writes_before.get(source)
            if before:
                if not merged:
                    merged = before
                elif before is not merged:
                    merged = dict(merged)
                    for var, write in before.items():
                        if var not in merged or merged[var].id < write.id:
                            merged[var] = write
        written = writes_of(op)
        if written:
            merged = {**merged, **dict.fromkeys(written, op)}
        if merged:
            self.writes_before[op] = merged

    def variable(self, var: Operation) -> Value:
        """The value of a variable at the start."""
        value = self.start.get(var)
        if value is None:
            type_ = var.outputs[0].type
            if type_.shape is None:
                rank = self._rank(var)
                type_ = TensorType(
                    type_.dtype, None if rank is None else tuple(symbol("n") for _ in range(rank))
                )
            value = self.start[var] = self._sized("variable", var.name, type_, var.loc)
        return value

    def _rank(self, var: Operation) -> int | None:
        """The rank of what a variable holds, None without a value; the result depends on it."""
        held = self.values.get(var.name)
        rank = self.asked[var.name] = None if held is None else held.ndim
        return rank

    def tensor(self, t: Tensor, reader: Operation | None) -> Value:
        """The value of a tensor as `reader` sees it; None stands for the end of the run."""
        value = self.env.get(t)
        if value is not None:
            return value
        var = source_of(t).op
        if var.type == "VariableV2":
            if reader is None:
                return self.latest.get(var) or self.variable(var)
            return self.read(var, reader)
        raise FeedError(f"the tensor {t.name!r} has no value in this run", loc=t.op.loc)

    def read(self, var: Operation, reader: Operation) -> Value:
        """What a plain read finds: the value after the latest write among its ancestors."""
        write = self.writes_before.get(reader, {}).get(var)
        return self.variable(var) if write is None else self.written[write, var]

    # ---- one operation
    def _operation(self, op: Operation) -> None:
        if op.type in ("VariableV2", "NoOp"):
            return
        if op.type == "Placeholder":
            if isinstance(op.graph, BodyGraph):
                raise _inside(op, op.graph)
            shape = op.outputs[0].type.public()
            raise FeedError(
                f"the placeholder {op.name!r} needs a value: nothing is fed for it",
                loc=op.loc, operands=(f"{op.name}: {shape}",),
                hint=f"add it to feed_dict: sess.run(..., feed_dict={{{op.name}: value}})",
            )  # fmt: skip
        if op.record.control:
            from staticgraph.passes.close_control import close_control  # which imports this module

            close_control(self, op)
        elif op.type not in BOXES or not close_box(self, op):
            self._plain(op)

    def _plain(self, op: Operation) -> None:
        """An operation that is neither a loop nor a branch."""
        data, static = op.split()
        attrs = {k: v for k, v in op.attrs.items() if not k.startswith("_")}
        for k, t in static.items():
            attrs[k] = self.static(op, k, t)
        self._sizes_read(op, data, static, attrs)
        if op.record.effect == "state":
            self._state(op, data, attrs)
            return
        inputs = tuple(self.tensor(t, op) for t in data)
        if op.record.effect == "random":
            self._random(op, inputs, attrs)
            return
        record, inputs = spread(self, op.record, inputs)
        node = self.b.emit(record, inputs, attrs, op.name, op.loc)
        types, knowns = [x.type for x in inputs], [self.known.get(x) for x in inputs]
        for i, (t, v) in enumerate(zip(op.outputs, node.outputs, strict=True)):
            self.bind(t, v)
            self.known[v] = known_value(op.record, v.type, types, knowns, attrs, i)
        if op.type in PUT_TOGETHER and all(map(self._is_fed, inputs)):
            depth = 1 + max((self.put_together[v][1] for v in inputs if v in self.put_together),
                            default=0)  # fmt: skip
            if depth <= MOST_STEPS:
                self.put_together[node.output] = node, depth
        if op.type == "Identity":
            self.copies[node.output] = self.copies.get(inputs[0], inputs[0])

    def _sizes_read(
        self, op: Operation, data: Sequence[Tensor], static: Mapping[str, Tensor],
        attrs: dict[str, Any],
    ) -> None:  # fmt: skip
        """What is asked of sizes that are read of a tensor's elements."""
        if op.type == "Reshape" and any(isinstance(d, Poly) for d in attrs["shape"]):
            known = self.known.get(self.tensor(static["shape"], op))
            total = self.tensor(data[0], op).type.shape
            if known is None and total is not None:
                for d in attrs["shape"]:
                    guard = Guard("<=", -1, d, "the shape holds the size {b}")
                    self.b.guards.append(GuardSite(guard, op.type, op.loc, op.name))
                attrs["shape"] = _with_rest(attrs["shape"], D.product(total))
        if op.type == "Fill" or op.record.effect == "random":
            for d in attrs.get("dims" if op.type == "Fill" else "shape") or ():
                if any(isinstance(self.b.sizes.get(s), ElementOf) for s in D.symbols_of(d)):
                    guard = Guard("<=", 0, d, "sizes are not negative, got {b}")
                    self.b.guards.append(GuardSite(guard, op.type, op.loc, op.name))

    def bind(self, t: Tensor, v: Value) -> None:
        """Say that `v` is the value of `t`, and what the graph knows of its type."""
        if t in self.env:  # fed, while another result of the operation is needed
            return
        if (
            v.type.shape is not None
            and t.type.shape is not None
            and len(v.type.shape) == len(t.type.shape)
        ):
            # what the graph knows (set_shape, host ops) but inference from here does not
            dims = tuple(
                g if isinstance(g, int) and not isinstance(d, int) else d
                for d, g in zip(v.type.shape, t.type.shape, strict=True)
            )
            if dims != v.type.shape:
                for d, g in zip(v.type.shape, dims, strict=True):
                    if d != g:
                        self._guard(t.op, d, g, "the size was declared {b} but is {a}")
                v.type = TensorType(v.type.dtype, dims)
        elif v.type.shape is None and t.type.shape is not None:
            dims = tuple(d if isinstance(d, int) else self.b.fresh("h") for d in t.type.shape)
            v.type = TensorType(v.type.dtype, dims)
            for axis, d in enumerate(dims):
                self.b.define(d, SizeOf(v, axis))
        self.env[t] = v

    def _guard(self, op: Operation, a: Dim, b: Dim, message: str) -> None:
        self.b.guards.append(GuardSite(Guard("==", a, b, message), op.type, op.loc, op.name))

    def static(self, op: Operation, key: str, t: Tensor) -> Any:
        """The value of an ``@`` operand: sizes, nested as it is."""
        value = self.tensor(t, op)
        known = self._fed(value) if self._is_fed(value) else self.known.get(value)
        if known is not None:
            return nested(known)
        if value in self.elements:
            return self.elements[value]
        shape = value.type.shape
        if shape is None or len(shape) > 1 or not all(isinstance(d, int) for d in shape):
            raise OpenRankError(
                f"{op.type}: the length of {key} is unknown, so is the rank of the result",
                loc=op.loc, operands=(f"{key}: {t.describe()}",),
            )  # fmt: skip
        out = self.elements[value] = self._elements(value)
        return out

    def size_of_value(self, value: Value) -> Dim | None:
        """The value of an integer scalar as a size, None where it is known only inside the run."""
        value = self.copies.get(value, value)
        known = self.known.get(value)
        if known is not None and known.ndim == 0:
            out: Dim = nested(known)
            return out
        if value.type.shape != () or not value.dtype.is_integer:
            return None
        if value not in self.elements and any(p.value is value for p in self.b.params):
            self.elements[value] = self._element(value, 0)
        have: Dim | None = self.elements.get(value)
        return have

    def _is_fed(self, value: Value) -> bool:
        """True of known integers, of fed numbers, and of what is put together of such."""
        if self.known.get(value) is not None or value in self.put_together:
            return True
        # of a vector all elements would be told, also those that are no sizes
        whole = value.type.shape == () and value.dtype in (dtypes.int32, dtypes.int64)
        return whole and self._given(value)

    def _given(self, value: Value) -> bool:
        """True of a parameter whose elements can be told before the run."""
        return any(p.value is value and p.kind == "feed" for p in self.b.params)

    def _fed(self, value: Value) -> np.ndarray | None:
        """Such integers as sizes: the parameters themselves are asked, and nothing is computed."""
        known = self.known.get(value)
        if known is not None:
            return known
        if value in self.put_together:
            if value not in self.together:
                node, _ = self.put_together[value]
                parts = [self._fed(v) for v in node.inputs]
                self.together[value] = fold_sizes(node.op, parts, node.attrs)
            return self.together[value]
        if value not in self.elements:
            self.elements[value] = self._element(value, 0)
        return np.asarray(self.elements[value], dtype=object)

    def _elements(self, value: Value) -> Any:
        """A symbol for each element of a scalar or vector."""
        shape = value.dims
        if not shape:
            return self._element(value, 0)
        assert isinstance(shape[0], int)
        return tuple(self._element(value, i) for i in range(shape[0]))

    def _element(self, value: Value, i: int) -> Dim:
        s = self.b.fresh("s")
        self.b.define(s, ElementOf(value, i))
        return s

    def _state(self, op: Operation, data: tuple[Tensor, ...], attrs: dict[str, Any]) -> None:
        var = _root(data[0])
        if op.type in _QUERIES:
            holds = self._rank(var) is not None
            if op.type == "IsVariableInitialized":
                self.env[op.outputs[0]] = self.b.constant(holds, dtypes.bool_)
            else:
                self.env[op.outputs[0]] = self.variable(var) if holds else self.tensor(data[1], op)
            return
        others = tuple(self.tensor(t, op) for t in data[1:])
        replaces = op.type == "Assign"  # the old value is not read, so it need not exist
        old = self.latest.get(var)
        if old is None and not replaces:
            old = self.variable(var)
        assert op.record.decompose is not None
        new = others[0] if replaces else op.record.decompose(old, *others, **attrs)
        want = var.outputs[0].type.shape
        if want is not None and attrs.get("validate_shape", True):
            self._check_assigned(op, new, want)
        self.write(var, op, new)
        self.env[op.outputs[0]] = new

    def write(self, var: Operation, op: Operation, new: Value) -> None:
        """Record that `op` leaves `new` in a variable."""
        self.latest[var] = self.written[op, var] = new
        self.updates[var.name] = new

    def _check_assigned(self, op: Operation, new: Value, want: tuple[Dim, ...]) -> None:
        have = new.type.dims
        if len(have) != len(want):
            raise RuleError(
                f"a value of rank {len(have)} is assigned to a variable of rank {len(want)}"
            )
        for h, w in zip(have, want, strict=True):
            if isinstance(w, int) and h != w:
                if isinstance(h, int):
                    raise RuleError(
                        f"a value of shape {list(have)} is assigned "
                        f"to a variable of shape {list(want)}"
                    )
                self._guard(op, h, w, "the variable has size {b}, the value assigned to it {a}")

    def _random(self, op: Operation, inputs: tuple[Value, ...], attrs: dict[str, Any]) -> None:
        assert op.record.decompose is not None
        draw, after = op.record.decompose(self.position(op.name, op.loc), *inputs, **attrs)
        self.advance(op.name, after)
        self.bind(op.outputs[0], draw)

    def position(self, stream: str, where: Loc) -> Value:
        """The position of a random op's stream by now."""
        value = self.streams.get(stream)
        if value is None:
            type_ = TensorType(dtypes.int64, ())
            value = self.streams[stream] = self.b.param("counter", stream, type_, where)
        return value

    def advance(self, stream: str, position: Value) -> None:
        """Record the new position of a stream."""
        self.streams[stream] = position
        self.updates[f"counter:{stream}"] = position


_QUERIES = ("IsVariableInitialized", "InitializedValue")  # answered when the function is closed


def _with_rest(shape: tuple[Dim, ...], total: Dim) -> tuple[Dim, ...]:
    """Sizes read at run time, of which one may be -1: it stands for what is left of `total`."""
    minus = [D.maximum(0, -1 * d) for d in shape]  # 1 where the size is -1
    others = D.product(d + 2 * m for d, m in zip(shape, minus, strict=True))  # -1 counts as 1
    rest = D.floordiv(total, D.maximum(1, others))
    return tuple(d + m * (rest + 1) for d, m in zip(shape, minus, strict=True))


def _root(t: Tensor) -> Operation:
    """The variable that a reference stands for: itself, or the target of the write it came from."""
    t = source_of(t)
    while t.op.type != "VariableV2":
        t = source_of(t.op.inputs[0])
    return t.op


def bodies_of(op: Operation) -> tuple[BodyGraph, ...]:
    """The bodies that a loop or branch runs."""
    if not op.record.control:
        return ()
    return (op.attrs["body"],) if "body" in op.attrs else tuple(op.attrs["branches"])


def writes_of(op: Operation) -> list[Operation]:
    """The variables that an operation writes, those written in its bodies included."""
    if op.record.effect == "state" and op.inputs and op.type not in _QUERIES:
        return [_root(op.inputs[0])]
    found: dict[Operation, None] = {}
    for body in bodies_of(op):
        for inner in needed_operations([t.op for t in body.results], set()):
            found |= dict.fromkeys(writes_of(inner))
    return list(found)
