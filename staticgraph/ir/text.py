"""The text form of graphs and functions; `ir.parse` reads it back.

    function train(%x: f32[n0, 784] feed, %w: f32[784, 10] variable) {
      sizes n0 = size(%x, 0)
      %z: f32[n0, 10] = MatMul %x, %w {transpose_a=False, transpose_b=False}
      %c: f32[] = Const {value=dense<f32[]: 1.0>, dtype=f32}
      return %z, %c; state w <- %z
    }

The text is deterministic and complete but for source lines and the names of feeds.  Values are
called after their hints, made unique.  What has no text form (a Python function in an attribute)
is shown as ``<python name>`` and refused by the parser.
"""

from __future__ import annotations

import base64
import json
import math
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from staticgraph.ir import dtypes
from staticgraph.ir.body import BodyGraph
from staticgraph.ir.dims import Poly
from staticgraph.ir.dtypes import DType
from staticgraph.ir.function import (
    ElementOf,
    Function,
    Given,
    GuardSite,
    Node,
    Origin,
    Param,
    SizeOf,
    Value,
)
from staticgraph.ir.graph import Graph
from staticgraph.ir.op import Op
from staticgraph.ir.tensor import Operation, Tensor
from staticgraph.ir.tokens import NAME_CHARACTERS, WORD
from staticgraph.ir.types import ConstantArray, TensorType

LISTED = 64  # elements: larger constants are shown compressed
_FORBIDDEN = re.compile("[^" + NAME_CHARACTERS[1:])


# ---------------------------------------------------------------- small parts
def word(name: str) -> str:
    """A name, quoted where it is not one word."""
    return name if WORD.fullmatch(name) else json.dumps(name)


def dtype_text(dtype: DType) -> str:
    """``f32``; ``f32_ref`` for references."""
    return dtype.short + ("_ref" if dtype.is_ref else "")


def type_text(t: TensorType) -> str:
    """``f32[n, 3]``; ``f32[*]`` where the rank is unknown."""
    inner = "*" if t.shape is None else ", ".join(map(str, t.shape))
    return f"{dtype_text(t.dtype)}[{inner}]"


def float_text(value: float) -> str:
    """A float so that its bits come back; NaNs other than the usual one show theirs."""
    if not math.isnan(value):
        return repr(float(value))
    bits = int(np.float64(value).view(np.uint64))
    return "nan" if bits == 0x7FF8000000000000 else f"nan({bits:#x})"


def attribute_text(value: Any, pad: str = "", passed: Sequence[Tensor] = ()) -> str:
    """The value of an attribute; `passed` are the inputs of the operation that has it."""
    match value:
        case np.generic():
            return attribute_text(value.item(), pad)
        case tuple():
            inner = ", ".join(attribute_text(v, pad, passed) for v in value)
            return f"({inner},)" if len(value) == 1 else f"({inner})"
        case list():
            return "[" + ", ".join(attribute_text(v, pad) for v in value) + "]"
        case Function():
            return print_function(value, pad)
        case BodyGraph():
            return print_body(value, passed, pad)
        case ConstantArray():
            return _dense(value.array)
        case DType():
            return dtype_text(value)
        case TensorType():
            return type_text(value)
        case _:
            return _plain_text(value)


def _plain_text(value: Any) -> str:
    match value:
        case bool() | None | int() | Poly():
            return str(value)
        case float():
            return float_text(value)
        case str():
            return json.dumps(value)
        case bytes():
            return "b" + json.dumps(value.decode("latin-1"))
        case _:
            name = getattr(value, "__qualname__", None) or type(value).__qualname__
            return f"<python {name}>"


def _dense(a: np.ndarray) -> str:
    dtype = dtypes.as_dtype(a.dtype)
    head = f"dense<{dtype.short}[{', '.join(map(str, a.shape))}]: "
    if a.size > LISTED and dtype is not dtypes.string:
        data = base64.b64encode(zlib.compress(np.ascontiguousarray(a).tobytes(), 9)).decode()
        return f'{head}zlib "{data}">'
    return head + _nested(a, element_text(dtype)) + ">"


def _nested(a: np.ndarray, show: Callable[[Any], str]) -> str:
    if a.ndim == 0:
        return show(a[()])
    return (
        "[" + ", ".join(_nested(x, show) for x in np.asarray(a)[...]) + "]"
        if a.ndim > 1
        else ("[" + ", ".join(show(x) for x in a) + "]")
    )


def element_text(dtype: DType) -> Callable[[Any], str]:
    """How one element of an array of `dtype` is written."""
    if dtype.is_floating:
        return lambda x: _float_element(x, dtype)
    if dtype.is_complex:
        part = dtypes.float32 if dtype is dtypes.complex64 else dtypes.float64
        return lambda x: f"({_float_element(x.real, part)}, {_float_element(x.imag, part)})"
    if dtype.is_bool:
        return lambda x: str(bool(x))
    if dtype.is_integer:
        return lambda x: str(int(x))
    return attribute_text


def _float_element(x: Any, dtype: DType) -> str:
    """The shortest decimal that gives the element's bits back."""
    bits_of = np.dtype(f"u{dtype.size}")
    value = np.asarray(x, dtype=dtype.np)
    bits = int(value.view(bits_of))
    exact = float(value)
    if math.isnan(exact):
        usual = int(np.asarray(np.nan, dtype=dtype.np).view(bits_of))
        return "nan" if bits == usual else f"nan({bits:#x})"
    short = str(value)
    if not re.fullmatch(r"-?\d+\.\d+(e[+-]?\d+)?|-?\d+e[+-]?\d+", short):
        return repr(exact)
    back = np.asarray(np.float64(short)).astype(dtype.np)
    return short if int(back.view(bits_of)) == bits else repr(exact)


def attributes_text(
    op: Op, attrs: Mapping[str, Any], pad: str = "", passed: Sequence[Tensor] = ()
) -> str:
    """`` {a=1, b=2}`` in the order in which the op declares them; nothing of none."""
    declared = [*op.static_operands, *op.attrs]
    keys = [k for k in declared if k in attrs] + sorted(k for k in attrs if k not in declared)
    if not keys:
        return ""
    return " {" + ", ".join(f"{k}={attribute_text(attrs[k], pad, passed)}" for k in keys) + "}"


# ---------------------------------------------------------------- names
class Names:
    """Unique names of values, given out in the order in which they are asked for."""

    def __init__(self) -> None:
        self._of: dict[Value, str] = {}
        self._next: dict[str, int] = {}

    def define(self, v: Value, fallback: str) -> str:
        """The name of `v`, made from its hint when first asked for."""
        name = self._of.get(v)
        if name is None:
            name = self._of[v] = self.unique(v.hint, fallback)
        return "%" + name

    def unique(self, hint: str, fallback: str) -> str:
        """A name made from `hint` that was not given out before."""
        base = _FORBIDDEN.sub("_", hint.removesuffix(":0").replace(":", ".")) or fallback
        name, k = base, self._next.get(base, 0)
        while name in self._next:
            k += 1
            name = f"{base}_{k}"
        self._next[base] = k
        self._next.setdefault(name, 0)
        return name

    def use(self, v: Value) -> str:
        """The name of a value that is read; one that nothing defines shows as such."""
        if v in self._of:
            return self.define(v, "v")
        return f"%{_FORBIDDEN.sub('_', v.hint) or 'v'}.undefined"


# ---------------------------------------------------------------- functions
class FunctionText:
    """The lines of a function's text, by part; the verifier shows some of them."""

    def __init__(self, f: Function, pad: str = "", locs: bool = False) -> None:
        names = self.names = Names()
        inner = pad + "  "
        params = ", ".join(_param(p, names) for p in f.params)
        self.head = [f"function {word(f.name)}({params}) {{"]
        for n in f.nodes:  # sizes may come from values that are made further down
            for v in n.outputs:
                names.define(v, n.op.name.lower())
        self.sizes = [f"{inner}sizes {s} = {_origin(o, names)}" for s, o in f.sizes.items()]
        self.guards = [inner + guard_text(g) for g in f.guards]
        self.nodes = [inner + _node(n, names, inner) + (_loc(n) if locs else "") for n in f.nodes]
        results = " " + ", ".join(names.use(v) for v in f.results) if f.results else ""
        state = ", ".join(f"{word(k)} <- {names.use(v)}" for k, v in f.updates.items())
        self.tail = [f"{inner}return{results}" + (f"; state {state}" if state else ""), pad + "}"]

    def __str__(self) -> str:
        return "\n".join([*self.head, *self.sizes, *self.guards, *self.nodes, *self.tail])


def print_function(f: Function, pad: str = "", locs: bool = False) -> str:
    """The text of a function.

    Args:
      pad: what to put before every line but the first.
      locs: add the user's line to each node, as a comment.
    """
    return str(FunctionText(f, pad, locs))


def _origin(o: Origin, names: Names) -> str:
    match o:
        case SizeOf(value, axis):
            return f"size({names.use(value)}, {axis})"
        case ElementOf(value, element):
            return f"element({names.use(value)}, {element})"
        case Given(index):
            return f"given({index})"


def _param(p: Param, names: Names) -> str:
    name = names.define(p.value, "x")
    label = "" if name[1:] == p.name else " " + json.dumps(p.name)
    return f"{name}: {type_text(p.value.type)} {p.kind}{label}"


def guard_text(site: GuardSite) -> str:
    """``guard n <= m "message" for Op``."""
    by = f" for {site.op}" if site.op else ""
    return f"guard {site.guard} {json.dumps(site.guard.message)}{by}"


def _node(n: Node, names: Names, pad: str) -> str:
    made = ", ".join(f"{names.define(v, 'v')}: {type_text(v.type)}" for v in n.outputs)
    taken = " " + ", ".join(names.use(v) for v in n.inputs) if n.inputs else ""
    return f"{made}{' = ' if made else ''}{n.op.name}{taken}{attributes_text(n.op, n.attrs, pad)}"


def _loc(n: Node) -> str:
    return f"  # {n.loc.short()}" if n.loc.line else ""


# ---------------------------------------------------------------- graphs
def print_graph(graph: Graph) -> str:
    """One line per operation: results' types, op, inputs, ``^`` control inputs, attributes.

    >>> from staticgraph import ops
    >>> from staticgraph.ir.build import constant
    >>> g = Graph()
    >>> with g.as_default():
    ...     x = constant(1.5) + 2.0
    >>> print(print_graph(g))
    graph {
      %Const: f32[] = Const {value=dense<f32[]: 1.5>, dtype=f32}
      %add/y: f32[] = Const {value=dense<f32[]: 2.0>, dtype=f32}
      %add: f32[] = Add %Const, %add/y
    }
    """
    seed = "" if graph.seed is None else f" seed {graph.seed}"
    lines = [f"  {operation_text(op, '  ')}" for op in graph.get_operations()]
    return "\n".join([f"graph{seed} {{", *lines, "}"])


def print_body(body: BodyGraph, passed: Sequence[Tensor] = (), pad: str = "") -> str:
    """The text of the body of a loop or branch, without `pad` before its first line.

    Captures name the tensor of the graph around whose value they have; ``keeps`` are the numbers
    of the results that are there for gradients.

    Args:
      passed: the inputs of the operation that runs the body; the last are what is captured.
    """
    inner = pad + "  "
    seed = "" if body.seed is None else f" seed {body.seed}"
    own = [p for p in body.params if p not in body.sources]
    taken = [p for p in body.params if p in body.sources]
    params = ", ".join(f"%{p.op.name}: {type_text(p.type)}" for p in own)
    sources = passed[len(passed) - len(taken) :] or [body.sources[p] for p in taken]
    captures = ", ".join(
        f"%{p.op.name}: {type_text(p.type)} = {_tensor(t)}"
        for p, t in zip(taken, sources, strict=True)
    )
    head = f"graph {json.dumps(body.what)}{seed} ({params})"
    if captures:
        head += f" captures ({captures})"
    placed = {p.op for p in body.params}
    lines = [inner + operation_text(op, inner) for op in body.get_operations() if op not in placed]
    results = " " + ", ".join(map(_tensor, body.results)) if body.results else ""
    kept = "; keeps " + ", ".join(map(str, body.residuals.values())) if body.residuals else ""
    return "\n".join([f"{head} {{", *lines, f"{inner}return{results}{kept}", pad + "}"])


def operation_text(op: Operation, pad: str = "") -> str:
    """One operation of a graph as text."""
    types = ", ".join(type_text(t.type) for t in op.outputs)
    inputs: Iterable[str] = (
        *(_tensor(t) for t in op.inputs), *(f"^{c.name}" for c in op.control_inputs)
    )  # fmt: skip
    taken = ", ".join(inputs)
    return (
        f"%{op.name}{': ' + types if types else ''} = {op.type}{' ' + taken if taken else ''}"
        f"{attributes_text(op.record, op.attrs, pad, op.inputs)}"
        + (f" @ {json.dumps(op.device)}" if op.device else "")
    )


def _tensor(t: Tensor) -> str:
    return f"%{t.op.name}" + (f":{t.value_index}" if t.value_index else "")


__all__ = [
    "FunctionText", "Names", "attribute_text", "attributes_text", "dtype_text",
    "element_text", "float_text", "guard_text", "operation_text", "print_body", "print_function",
    "print_graph", "type_text", "word",
]  # fmt: skip
