"""`Function`: what the compiler sees, and the builder that passes and decompositions write with.

A function is closed over one run's fetches and feeds: parameters in, results out, state
explicit.  Its nodes stand in a topological order.  Shapes may mention symbols; `sizes` says for
each symbol where its value comes from at run time:

    SizeOf(value, axis)      the size of an axis of a parameter or of a host op's result
    ElementOf(value, i)      element i of an integer tensor, read before the sizes are needed
    Given(k)                 size argument k of the node whose body the function is

The body of a loop or branch is a function too, an attribute of its node.  It is closed: it knows
of the outer function only what the node passes, values as operands and sizes in `sizes`.

Names and source lines ride along and never take part in equality.  Passes make new functions
with a `Builder`; nothing is ever changed in place.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, Literal

import numpy as np

from staticgraph.errors import VerificationError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.dims import Dim, Symbol, symbol
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import Effect, Guard, Infer, Op, infer, lookup
from staticgraph.ir.operators import Operators
from staticgraph.ir.record import record
from staticgraph.ir.types import ConstantArray, TensorType


class Value(Operators):
    """A tensor inside a function; identity is what counts, `hint` only names it in text."""

    __slots__ = ("hint", "type")

    def __init__(self, type_: TensorType, hint: str = "") -> None:
        self.type, self.hint = type_, hint

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self.type.dtype.base

    @property
    def dims(self) -> tuple[Dim, ...]:
        """The sizes."""
        return self.type.dims

    def apply_op(
        self, op: Op, args: Sequence[Any], kwargs: Mapping[str, Any], name: str | None
    ) -> Any:
        """Append a node to the builder in force."""
        return current_builder().apply(op, args, kwargs, name)

    def __repr__(self) -> str:
        return f"<Value {self.hint or '?'}: {self.type}>"


@record(frozen=True, eq=False, slots=True)
class Node:
    """One op applied to values; `attrs` holds ``@`` operands as ints and symbolic sizes."""

    op: Op
    inputs: tuple[Value, ...]
    attrs: Mapping[str, Any]
    outputs: tuple[Value, ...]
    loc: loc.Loc = loc.UNKNOWN
    name: str = ""

    @property
    def output(self) -> Value:
        """The only result."""
        (out,) = self.outputs
        return out


ParamKind = Literal["feed", "variable", "counter"]


@record(frozen=True, eq=False, slots=True)
class Param:
    """A parameter: a fed tensor, the value of a variable, or a random op's counter."""

    kind: ParamKind
    name: str
    value: Value
    loc: loc.Loc = loc.UNKNOWN


@record(frozen=True, slots=True)
class SizeOf:
    """A symbol's value is the size of `axis` of `value`."""

    value: Value
    axis: int


@record(frozen=True, slots=True)
class ElementOf:
    """A symbol's value is element `element` (in C order) of the integer tensor `value`."""

    value: Value
    element: int


@record(frozen=True, slots=True)
class Given:
    """A symbol's value is size `index` of those that the enclosing node passes to its body."""

    index: int


Origin = SizeOf | ElementOf | Given


@record(frozen=True, slots=True)
class GuardSite:
    """A guard and the node that needs it, for the error text.

    Attributes:
      lifted: it is needed in the body of a loop, where that runs, and is checked before the loop.
    """

    guard: Guard
    op: str
    loc: loc.Loc
    name: str = ""
    lifted: bool = False


@record(frozen=True, eq=False)
class Function:
    """A closed, frozen piece of a program; see the module's text.

    Args:
      updates: variable (or counter) name to the value it has after the run.
      reads: names of variables whose value at the start is needed.
    """

    name: str
    params: tuple[Param, ...]
    nodes: tuple[Node, ...]
    results: tuple[Value, ...]
    updates: Mapping[str, Value] = field(default_factory=dict)
    sizes: Mapping[Symbol, Origin] = field(default_factory=dict)
    guards: tuple[GuardSite, ...] = ()

    @property
    def param_types(self) -> tuple[TensorType, ...]:
        """The types of the parameters."""
        return tuple(p.value.type for p in self.params)

    @property
    def result_types(self) -> tuple[TensorType, ...]:
        """The types of the results."""
        return tuple(v.type for v in self.results)

    def bound(self, sizes: Sequence[Dim]) -> dict[Symbol, Dim]:
        """The symbols that the enclosing node gives, with what it passes for them."""
        return {s: sizes[o.index] for s, o in self.sizes.items() if isinstance(o, Given)}

    def producers(self) -> dict[Value, Node]:
        """The node that makes each value; parameters are not in it."""
        return {v: n for n in self.nodes for v in n.outputs}

    def uses(self) -> dict[Value, int]:
        """How often each value is read: by nodes, results, updates and sizes."""
        count: dict[Value, int] = {}
        for v in self.reads():
            count[v] = count.get(v, 0) + 1
        return count

    def reads(self) -> Iterator[Value]:
        """Every reading of a value."""
        for n in self.nodes:
            yield from n.inputs
        yield from self.outputs()

    def outputs(self) -> Iterator[Value]:
        """What must exist after the last node: results, updates, tensors that sizes are read of."""
        yield from self.results
        yield from self.updates.values()
        for origin in self.sizes.values():
            if not isinstance(origin, Given):
                yield origin.value

    def __str__(self) -> str:
        from staticgraph.ir.text import print_function  # text imports this module

        return print_function(self)


class Builder:
    """Collects nodes; a context manager that makes itself the place where ops on values go.

    >>> from staticgraph import ops
    >>> b = Builder("f")
    >>> x = b.param("feed", "x", TensorType(dtypes.float32, (2,)))
    >>> with b:
    ...     y = x + x
    >>> y.type
    TensorType(dtype=tf.float32, shape=(2,))
    """

    def __init__(self, name: str = "f", like: Function | None = None, level: int = 0) -> None:
        self.name, self.level = name, level  # how many functions stand around this one
        self.params: list[Param] = list(like.params) if like else []
        self.nodes: list[Node] = []
        self.guards: list[GuardSite] = list(like.guards) if like else []
        self.sizes: dict[Symbol, Origin] = dict(like.sizes) if like else {}
        self.loc: loc.Loc = loc.UNKNOWN
        self.label = ""
        self._fresh = 0
        if like:
            self.name = like.name

    def __enter__(self) -> Builder:
        _stack().append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _stack().pop()

    def fresh(self, hint: str) -> Dim:
        """A symbol that nothing else in the function uses."""
        while True:
            name = f"{hint}{'_' * self.level}{self._fresh}"
            self._fresh += 1
            if Symbol(name) not in self.sizes:
                return symbol(name)

    def param(
        self, kind: ParamKind, name: str, type_: TensorType, where: loc.Loc = loc.UNKNOWN
    ) -> Value:
        """Add a parameter."""
        value = Value(type_, name)
        self.params.append(Param(kind, name, value, where))
        return value

    def constant(self, value: Any, dtype: DType | None = None) -> Value:
        """Add a ``Const`` node."""
        array = np.asarray(value, dtype=None if dtype is None else dtype.np)
        kind = dtype or dtypes.as_dtype(array.dtype)
        out = self.apply(lookup("Const"), (), {"value": ConstantArray(array), "dtype": kind}, None)
        assert isinstance(out, Value)
        return out

    def apply(
        self, op: Op, args: Sequence[Any], kwargs: Mapping[str, Any], name: str | None = None
    ) -> Any:
        """Apply `op` to values; numbers and arrays become constants of the common dtype."""
        operands, attrs = op.bind(args, kwargs)
        flat: list[Any] = []
        keys: list[str] = []
        for operand in op.operands:
            key = operand.lstrip("@*")
            if operand.startswith("@"):
                attrs[key] = _plain(operands[key])
                continue
            for v in operands[key] if operand.startswith("*") else (operands[key],):
                flat.append(v)
                keys.append(key)
        common = next(
            (
                v.dtype
                for v, k in zip(flat, keys, strict=True)
                if isinstance(v, Value) and k not in op.operand_dtypes
            ),
            None,
        )
        inputs = tuple(
            v if isinstance(v, Value) else self.constant(v, op.operand_dtypes.get(k, common))
            for v, k in zip(flat, keys, strict=True)
        )
        outputs = self.emit(op, inputs, attrs, name or self.label).outputs
        if callable(op.results):
            return list(outputs)
        return outputs[0] if len(outputs) == 1 else list(outputs)

    def emit(
        self, op: Op, inputs: tuple[Value, ...], attrs: Mapping[str, Any], name: str = "",
        where: loc.Loc | None = None,
    ) -> Node:  # fmt: skip
        """Infer the results' types and append a node; `RuleError` where the inputs do not fit."""
        ctx = Infer(self.fresh)
        types = infer(op, [v.type for v in inputs], attrs, ctx)
        node = Node(
            op, inputs, attrs, tuple(Value(t, name) for t in types), where or self.loc, name
        )
        self.guards += [GuardSite(g, op.name, node.loc, name) for g in ctx.guards]
        self.nodes.append(node)
        if op.host or op.control:
            for v in node.outputs:
                for axis, d in enumerate(v.type.shape or ()):
                    if not isinstance(d, int):
                        self._define(d, SizeOf(v, axis))
        return node

    def _define(self, d: Dim, origin: Origin) -> None:
        terms: Any = getattr(d, "terms", ())
        if len(terms) == 1 and terms[0][1] == 1 and len(terms[0][0]) == 1:
            atom = terms[0][0][0]
            if isinstance(atom, Symbol) and atom not in self.sizes:
                self.sizes[atom] = origin

    def define(self, s: Dim, origin: Origin) -> None:
        """Say where the symbol `s` comes from."""
        self._define(s, origin)

    def copy(self, node: Node, env: Mapping[Value, Value]) -> Node:
        """Append `node` with its inputs renamed; results keep their inferred types."""
        inputs = tuple([env.get(v, v) for v in node.inputs])
        if inputs == node.inputs:
            self.nodes.append(node)
            return node
        outputs = tuple([Value(v.type, v.hint) for v in node.outputs])
        new = Node(node.op, inputs, node.attrs, outputs, node.loc, node.name)
        self.nodes.append(new)
        return new

    def finish(
        self, results: Iterable[Value], updates: Mapping[str, Value] | None = None,
        env: Mapping[Value, Value] | None = None,
    ) -> Function:  # fmt: skip
        """Close the function; `env` renames values in what was taken over from another."""
        env = env or {}
        sizes = {s: renamed(o, env) for s, o in self.sizes.items()}
        return Function(
            self.name, tuple(self.params), tuple(self.nodes),
            tuple(env.get(v, v) for v in results),
            {k: env.get(v, v) for k, v in (updates or {}).items()},
            sizes, tuple(self.guards),
        )  # fmt: skip


def renamed(origin: Origin, env: Mapping[Value, Value]) -> Origin:
    """Where a symbol comes from, with values renamed."""
    match origin:
        case SizeOf(value, axis):
            return SizeOf(env.get(value, value), axis)
        case ElementOf(value, element):
            return ElementOf(env.get(value, value), element)
        case Given():
            return origin


def bodies(node: Node) -> Iterator[Function]:
    """The functions among a node's attributes."""
    for a in node.attrs.values():
        if isinstance(a, Function):
            yield a
        elif isinstance(a, tuple):
            yield from (f for f in a if isinstance(f, Function))


def effect_of(node: Node) -> Effect:
    """The effect of a node: that of its op, or of what the functions in its attributes do."""
    if node.op.effect == "pure" and node.op.control:
        for f in bodies(node):
            for inner in f.nodes:
                effect = effect_of(inner)
                if effect != "pure":
                    return effect
    return node.op.effect


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_plain(v) for v in value)
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return value.item()
    return value


_THREAD = threading.local()


def _stack() -> list[Builder]:
    stack = getattr(_THREAD, "builders", None)
    if stack is None:
        stack = _THREAD.builders = []
    return stack


def open_builder() -> Builder | None:
    """The innermost builder that is open in this thread, if there is one."""
    stack = _stack()
    return stack[-1] if stack else None


def current_builder() -> Builder:
    """The innermost builder that is open in this thread."""
    stack = _stack()
    if not stack:
        raise VerificationError("an op was applied to a function's value outside a builder")
    return stack[-1]
