"""Plans: an op's gradient rule, written out once for given types as a list of numpy rules.

The rule of a record is run on the values of a function builder, as the compiler does it; what
nobody asked for is left out, and the rest is kept as calls of the records' numpy rules.  Running
a plan therefore means the same as running the rule on tensors, without a tensor for every step.
"""

from __future__ import annotations

import functools
import math
import re
import types
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from staticgraph.dynamic.versions import FROZEN
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Poly
from staticgraph.ir.evaluate import with_bodies
from staticgraph.ir.function import Builder, Node, Value
from staticgraph.ir.op import Op, RuleError
from staticgraph.ir.scalar import Expr, Index, Load, Operand, Reduce
from staticgraph.ir.types import TensorType
from staticgraph.ops.rules import numpy_for
from staticgraph.passes.autodiff import Application, cotangents_of

if TYPE_CHECKING:
    from staticgraph.dynamic import tape

_LIMIT = 8192  # plans kept; sizes that never come back must not pile up
_WRITTEN = "<gradient>"  # where tracebacks say that a plan's code is from
_FOLDED = 4096  # elements of a constant that is worth keeping in a plan


class _Operand(Value):
    """An input of the op; it tells its value where it is a number of the program's text."""

    __slots__ = ("array", "asked")

    def __init__(self, type_: TensorType, array: np.ndarray | None) -> None:
        super().__init__(type_)
        self.array, self.asked = array, False

    def constant_value(self) -> np.ndarray | None:
        """The value; from now on the plan is good for it alone."""
        self.asked = True
        return self.array


class _Steps:
    """Nodes in order, the constants they take, and the values they lead to."""

    __slots__ = ("constants", "ends", "nodes")

    def __init__(self, nodes: Sequence[Node], ends: Sequence[Value | None]) -> None:
        self.nodes, self.constants = _folded(nodes, ends)
        self.ends = tuple(ends)


class Plan:
    """Calls of numpy rules that compute the cotangents of an op's inputs.

    Attributes:
      sources: the values that arrays are given for: cotangents, inputs, results.
      reads: which of the op's inputs and results the steps read, counted in this order.
      recorded: the steps as the rule has them, for doing them with tensors: what they decompose
        to may not be differentiable any more.
      run: the steps as a function of the arrays for `sources`.
    """

    __slots__ = ("_steps", "reads", "recorded", "run", "sources")

    run: Callable[..., list[np.ndarray | None]]

    def __init__(
        self, gs: Sequence[Value], values: Sequence[Value], steps: _Steps, recorded: _Steps
    ) -> None:
        self.sources = (*gs, *values)
        self._steps, self.recorded = steps, recorded
        used = {v for n in steps.nodes for v in _read(n)} | set(steps.ends)
        self.reads = tuple(i for i, v in enumerate(values) if v in used)
        self.run = self._written()

    def _written(self) -> Callable[..., list[np.ndarray | None]]:
        """The steps as a Python function of the arrays for `sources`."""
        names = {v: f"v{i}" for i, v in enumerate(self.sources)}
        scope: dict[str, Any] = {"ndarray": np.ndarray, "asarray": np.asarray}
        arguments = ", ".join(names.values())
        for v, array in self._steps.constants.items():
            names[v] = f"c{len(names)}"
            scope[names[v]] = array
        lines = []
        for k, n in enumerate(self._steps.nodes):
            scope[f"f{k}"] = rule = _rule(n)
            for v in n.outputs:
                names[v] = f"t{len(names)}"
            given = [names[v] for v in n.inputs]
            if n.attrs:
                scope[f"a{k}"] = with_bodies(n.attrs, None)
                given.append(f"**a{k}")
            outs = [names[v] for v in n.outputs]
            lines.append(f"{', '.join(outs)} = f{k}({', '.join(given)})")
            if isinstance(rule, np.ufunc) and n.outputs[0].type.shape:
                continue  # an array for sure
            for i, v in enumerate(n.outputs):
                scope[f"d{k}_{i}"] = v.dtype.np
                name = names[v]
                lines.append(
                    f"{name} = {name} if {name}.__class__ is ndarray else asarray({name}, d{k}_{i})"
                )
        ends = ", ".join("None" if v is None else names[v] for v in self._steps.ends)
        body = "\n    ".join([*lines, f"return [{ends}]"])
        exec(compile(f"def run({arguments}):\n    {body}\n", _WRITTEN, "exec"), scope)
        made: Callable[..., list[np.ndarray | None]] = scope["run"]
        return made


def watched(run: Callable[..., Any], watch: Callable[..., Any]) -> Callable[..., Any] | None:
    """`Plan.run` with each of its rules called through ``watch(rule, ...)``; for counting.

    Returns:
      None where `run` is not a plan's.
    """
    code = getattr(run, "__code__", None)
    if code is None or code.co_filename != _WRITTEN:
        return None
    scope = run.__globals__
    rules = {k: functools.partial(watch, f) for k, f in scope.items() if re.match(r"f\d", k)}
    return types.FunctionType(code, {**scope, **rules})


def _rule(node: Node) -> Callable[..., Any]:
    """The numpy rule of a step, for the types that it has."""
    assert node.op.numpy is not None
    own = node.op.operand_dtypes
    kinds = {v.dtype.np for v in node.inputs}
    rule = numpy_for(node.op.numpy, kinds.pop()) if len(kinds) == 1 and not own else node.op.numpy
    if len(node.outputs) > 1 or isinstance(rule, np.ufunc):
        return rule

    def one(*arrays: Any, **attrs: Any) -> Any:
        out = rule(*arrays, **attrs)
        return out[0] if isinstance(out, (tuple, list)) else out

    return one if callable(node.op.results) else rule


class _Asked:
    """Stands where a plan depends on the values of some inputs."""

    __slots__ = ("inputs",)

    def __init__(self, inputs: tuple[int, ...]) -> None:
        self.inputs = inputs


_PLANS: dict[Any, Plan | _Asked | None] = {}
_MISSING = object()


def plan_of(node: tape.Node, given: tuple[bool, ...], wanted: tuple[bool, ...]) -> Plan | None:
    """The plan for a recorded operation; None where its rule cannot be written out.

    Args:
      given: which results have a cotangent.
      wanted: which inputs need one.
    """
    key: tuple[Any, ...] = (
        node.op, node.key, given, wanted, *[(a.dtype.num, a.shape) for a in node.inputs]
    )  # fmt: skip
    plan: Any = _PLANS.get(key, _MISSING)
    if plan.__class__ is _Asked:
        key = (key, *[_told(node, i) for i in plan.inputs])
        plan = _PLANS.get(key, _MISSING)
    if plan is not _MISSING:
        return plan  # type: ignore[no-any-return]
    return _make(node, given, wanted, key)


def _is_number(node: tape.Node, i: int) -> bool:
    return node.edges[i] is None and node.versions[i] is FROZEN


def _told(node: tape.Node, i: int) -> bytes | None:
    return node.inputs[i].tobytes() if _is_number(node, i) else None


def _make(
    node: tape.Node, given: tuple[bool, ...], wanted: tuple[bool, ...], key: tuple[Any, ...]
) -> Plan | None:
    operands = [
        _Operand(_type(a), a if _is_number(node, i) else None) for i, a in enumerate(node.inputs)
    ]
    plan = trace(node.op, node.attrs, operands, [_type(a) for a in node.outputs], given, wanted)
    if len(_PLANS) >= _LIMIT:
        _PLANS.clear()
    asked = tuple(i for i, v in enumerate(operands) if v.asked)
    if asked and len(key) > 1 and not isinstance(key[0], tuple):
        _PLANS[key] = _Asked(asked)
        key = (key, *[_told(node, i) for i in asked])
    _PLANS[key] = plan
    return plan


def _type(array: np.ndarray) -> TensorType:
    return TensorType(dtypes.as_dtype(array.dtype), array.shape)


def trace(
    op: Op, attrs: Any, operands: Sequence[Value], results: Sequence[TensorType],
    given: tuple[bool, ...], wanted: tuple[bool, ...],
) -> Plan | None:  # fmt: skip
    """Run `op`'s gradient rule on symbols and keep what leads to the wanted cotangents."""
    builder = Builder(op.name)
    outputs = [Value(t) for t in results]
    gs = [Value(t) if there else None for t, there in zip(results, given, strict=True)]
    app = Application(op, tuple(operands), attrs, tuple(outputs))
    with builder:
        found = cotangents_of(app, tuple(gs))
        ends: list[Value | None] = [
            None
            if d is None or not want or not x.dtype.is_differentiable
            else d if isinstance(d, Value) else builder.constant(d, x.dtype)
            for d, x, want in zip(found, operands, wanted, strict=True)
        ]  # fmt: skip
        recorded = _Steps(_live(builder.nodes, ends), ends)
        steps = _Steps(*_opened_up(builder.nodes, ends))
    if any(n.op.numpy is None or _open(n.attrs) for n in steps.nodes):
        return None
    return Plan([g for g in gs if g is not None], [*operands, *outputs], steps, recorded)


def plan_of_nodes(
    gs: Sequence[Value], values: Sequence[Value], nodes: Sequence[Node],
    ends: Sequence[Value | None],
) -> Plan:  # fmt: skip
    """A plan of nodes that take `gs` and `values`."""
    steps = _Steps(*_opened_up(nodes, ends))
    if any(n.op.numpy is None or _open(n.attrs) for n in steps.nodes):
        raise RuleError("it cannot be written as numpy rules in a row")
    return Plan(gs, values, steps, steps)


def _open(attrs: Any) -> bool:
    return any(_holds_symbol(v) for v in attrs.values())


def _holds_symbol(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(_holds_symbol(v) for v in value)
    return isinstance(value, Poly)


def _live(nodes: Sequence[Node], ends: Sequence[Value | None]) -> list[Node]:
    """The nodes that `ends` hang on."""
    needed = set(ends)
    kept: list[Node] = []
    for node in reversed(nodes):
        if any(v in needed for v in node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    return kept[::-1]


def _opened_up(
    nodes: Sequence[Node], ends: Sequence[Value | None]
) -> tuple[list[Node], list[Value | None]]:
    """The same; nodes that take only a shape from an input are decomposed, which frees them of it.

    Returns:
      the nodes, and the values that stand for `ends` now.
    """
    needed = {v for v in ends if v is not None}
    same: dict[Value, Value] = {}
    kept: list[Node] = []
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if not any(v in needed for v in node.outputs):
            continue
        opened = _opened(node)
        if opened is None:
            kept.append(node)
            needed.update(node.inputs)
            continue
        inner, inner_ends = opened
        stack += inner
        same.update(zip(node.outputs, inner_ends, strict=True))
        needed.update(inner_ends)

    def final(v: Value) -> Value:
        while v in same:
            v = same[v]
        return v

    kept.reverse()
    renamed = [
        Node(n.op, tuple(final(v) for v in n.inputs), n.attrs, n.outputs, n.loc, n.name)
        for n in kept
    ]
    return renamed, [None if v is None else final(v) for v in ends]


def _opened(node: Node) -> tuple[list[Node], list[Value]] | None:
    """The decomposition of a node, where it reads less than the node does."""
    if node.op.decompose is None or not node.inputs:
        return None
    builder = Builder(node.op.name)
    with builder:
        out = node.op.decompose(*node.inputs, **node.attrs)
    ends = list(out) if isinstance(out, (tuple, list)) else [out]
    read = {v for inner in _live(builder.nodes, ends) for v in inner.inputs} | set(ends)
    return None if all(v in read for v in node.inputs) else (builder.nodes, ends)


class _Watched(Operand):
    """An operand that notes whether an element of it is loaded."""

    __slots__ = ("seen",)

    seen: set[int]

    def __getitem__(self, index: Any) -> Load:
        self.seen.add(self.number)
        return Operand.__getitem__(self, index)

    def at(self, ix: tuple[Expr, ...]) -> Load:
        self.seen.add(self.number)
        return Operand.at(self, ix)


def _read(node: Node) -> Sequence[Value]:
    """The inputs of which a node reads elements, and not the shape alone."""
    if node.op.lower is None or len(node.inputs) < 2:
        return node.inputs
    seen: set[int] = set()
    operands = []
    for i, v in enumerate(node.inputs):
        operands.append(_Watched(i, v.type))
        object.__setattr__(operands[-1], "seen", seen)
    rank = len(node.outputs[0].type.shape or ())
    ix = tuple(Index(f"i{k}") for k in range(rank))
    out = node.op.lower(ix, *operands, **node.attrs)
    for part in out if isinstance(out, (tuple, list)) else (out,):
        if isinstance(part, Reduce):
            part.body(tuple(Index(f"j{k}") for k in range(len(part.extents))))
    return [v for i, v in enumerate(node.inputs) if i in seen]


def _folded(
    nodes: Sequence[Node], ends: Sequence[Value | None]
) -> tuple[list[Node], dict[Value, np.ndarray]]:
    """Take out what does not depend on any array."""
    constants: dict[Value, np.ndarray] = {}
    kept: list[Node] = []
    for node in nodes:
        if node.op.name == "Const":
            constants[node.outputs[0]] = node.attrs["value"].array
        elif _foldable(node) and all(v in constants for v in node.inputs):
            assert node.op.numpy is not None
            with np.errstate(all="ignore"):
                out = node.op.numpy(*[constants[v] for v in node.inputs], **node.attrs)
            constants[node.outputs[0]] = np.asarray(out, node.outputs[0].dtype.np)
        else:
            kept.append(node)
    used = {v for n in kept for v in n.inputs} | {v for v in ends if v is not None}
    return kept, {v: a for v, a in constants.items() if v in used}


def _foldable(node: Node) -> bool:
    if node.op.numpy is None or node.op.effect != "pure" or len(node.outputs) != 1:
        return False
    sizes = node.outputs[0].type.shape
    known = sizes is not None and all(isinstance(d, int) for d in sizes)
    return known and math.prod(sizes) <= _FOLDED and not _open(node.attrs)  # type: ignore[arg-type]
