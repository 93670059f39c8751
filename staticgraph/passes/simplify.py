"""Algebraic simplification: rules as data, each with a name, applied until none fits.

A rule gets the node and a way to see the node that made a value; it returns a value to use
instead, or None.  Every rule keeps NaN, infinities and signed zeros, and all but two keep every
bit: small powers become products, and a product of a transposed matrix may add in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np

from staticgraph.ir.dims import Poly
from staticgraph.ir.function import Builder, Function, Node, Value
from staticgraph.ir.op import lookup
from staticgraph.ir.record import record

Made = Callable[[Value], Node | None]
RuleFn = Callable[[Node, Made], Value | None]


@record(frozen=True, slots=True)
class Rule:
    """One rewriting: `ops` it looks at, and what to put instead."""

    name: str
    ops: tuple[str, ...]
    apply: RuleFn


def _scalar(v: Value, made: Made) -> float | int | bool | None:
    """The value of a constant all of whose elements are the same bits, else None."""
    node = made(v)
    while node is not None and node.op.name in ("BroadcastTo", "Reshape", "Fill"):
        v = node.inputs[-1] if node.op.name == "Fill" else node.inputs[0]
        node = made(v)
    if node is None or node.op.name != "Const":
        return None
    a = node.attrs["value"].array
    if a.size == 0 or a.dtype.kind not in "fiub":
        return None
    return a.flat[0].item() if a.size == 1 else None


def _is(v: Value, made: Made, number: float) -> bool:
    c = _scalar(v, made)
    return c is not None and c == number and (c != 0 or np.signbit(c) == np.signbit(number))


def _same_type(node: Node, v: Value) -> Value | None:
    same = v.type == node.output.type and v.type.shape is not None  # of unknown ranks none is known
    return v if same else None


def _identity(node: Node, made: Made) -> Value | None:
    return node.inputs[0]


def _unchanged_shape(node: Node, made: Made) -> Value | None:
    return _same_type(node, node.inputs[0])


def _reshape_of_reshape(node: Node, made: Made) -> Value | None:
    inner = made(node.inputs[0])
    if inner is None or inner.op.name not in ("Reshape", "ExpandDims", "Squeeze"):
        return None
    return lookup("Reshape")(inner.inputs[0], node.output.type.dims)  # type: ignore[no-any-return]


def _transpose_of_transpose(node: Node, made: Made) -> Value | None:
    perm = node.attrs["perm"]
    if tuple(perm) == tuple(range(len(perm))):
        return node.inputs[0]
    inner = made(node.inputs[0])
    if inner is None or inner.op.name != "Transpose":
        return None
    both = tuple(inner.attrs["perm"][p] for p in perm)
    return lookup("Transpose")(inner.inputs[0], both)  # type: ignore[no-any-return]


def _add(node: Node, made: Made) -> Value | None:
    x, y = node.inputs
    zero = -0.0 if node.output.dtype.is_floating else 0
    if _is(y, made, zero):
        return _same_type(node, x)
    if _is(x, made, zero):
        return _same_type(node, y)
    negated = made(y)
    if negated is not None and negated.op.name == "Neg":
        return lookup("Sub")(x, negated.inputs[0])  # type: ignore[no-any-return]
    return None


def _sub(node: Node, made: Made) -> Value | None:
    x, y = node.inputs
    if _is(y, made, 0):
        return _same_type(node, x)
    negated = made(y)
    if negated is not None and negated.op.name == "Neg":
        return lookup("Add")(x, negated.inputs[0])  # type: ignore[no-any-return]
    return None


def _mul(node: Node, made: Made) -> Value | None:
    x, y = node.inputs
    if _is(y, made, 1):
        return _same_type(node, x)
    if _is(x, made, 1):
        return _same_type(node, y)
    return None


def _div(node: Node, made: Made) -> Value | None:
    return _same_type(node, node.inputs[0]) if _is(node.inputs[1], made, 1) else None


def _neg(node: Node, made: Made) -> Value | None:
    inner = made(node.inputs[0])
    return inner.inputs[0] if inner is not None and inner.op.name == "Neg" else None


def _pow(node: Node, made: Made) -> Value | None:
    x = node.inputs[0]
    if not node.output.dtype.is_floating or x.type != node.output.type:
        return None
    match _scalar(node.inputs[1], made):
        case 1.0:
            return x
        case 2.0:
            return lookup("Mul")(x, x)  # type: ignore[no-any-return]
        case 3.0:
            return lookup("Mul")(lookup("Mul")(x, x), x)  # type: ignore[no-any-return]
    return None


def _matmul_of_transpose(node: Node, made: Made) -> Value | None:
    names = ("transpose_a", "transpose_b") if "transpose_a" in node.attrs else ("adj_x", "adj_y")
    inputs, attrs = list(node.inputs), dict(node.attrs)
    changed = False
    for i in (0, 1):
        inner = made(inputs[i])
        if inner is None or inner.op.name != "Transpose":
            continue
        perm = tuple(inner.attrs["perm"])
        r = len(perm)
        if r >= 2 and perm == (*range(r - 2), r - 1, r - 2):
            inputs[i] = inner.inputs[0]
            attrs[names[i]] = not attrs[names[i]]
            changed = True
    return node.op(*inputs, **attrs) if changed else None


def _scatter_of_reshapes(node: Node, made: Made) -> Value | None:
    inputs = [_reshaped(v, made) for v in node.inputs]
    if inputs == list(node.inputs):
        return None
    out = node.op(*inputs, **node.attrs)
    return lookup("Reshape")(out, node.output.type.dims)  # type: ignore[no-any-return]


def _reshaped(v: Value, made: Made) -> Value:
    """The value of which `v` is a reshaping, or `v` itself."""
    node = made(v)
    while node is not None and node.op.name in ("Reshape", "ExpandDims", "Squeeze"):
        if node.inputs[0].type.shape is None:
            break
        v = node.inputs[0]
        node = made(v)
    return v


def _kept_axes(node: Node, made: Made) -> Value | None:
    """A reduction that keeps its axes is one that drops them, reshaped: the two can be shared."""
    if not node.attrs["keep_dims"]:
        return None
    axes = node.attrs["reduction_indices"]
    if isinstance(axes, Poly) or (
        isinstance(axes, tuple) and not all(isinstance(a, int) for a in axes)
    ):
        return None
    out = node.op(node.inputs[0], axes, keep_dims=False)
    return lookup("Reshape")(out, node.output.type.dims)  # type: ignore[no-any-return]


def _cast(node: Node, made: Made) -> Value | None:
    return node.inputs[0] if node.inputs[0].dtype is node.output.dtype else None


RULES: tuple[Rule, ...] = (
    Rule(
        "identity",
        (
            "Identity",
            "Snapshot",
            "StopGradient",
            "PreventGradient",
            "EnsureShape",
            "PlaceholderWithDefault",
        ),
        _identity,
    ),
    Rule(
        "unchanged shape",
        ("Reshape", "BroadcastTo", "ExpandDims", "Squeeze", "Tile"),
        _unchanged_shape,
    ),
    Rule("reshape of reshape", ("Reshape", "ExpandDims", "Squeeze"), _reshape_of_reshape),
    Rule("transpose of transpose", ("Transpose",), _transpose_of_transpose),
    Rule("x + -0, x + -y", ("Add", "AddV2"), _add),
    Rule("x - 0, x - -y", ("Sub",), _sub),
    Rule("x * 1", ("Mul",), _mul),
    Rule("x / 1", ("RealDiv", "Div"), _div),
    Rule("- - x", ("Neg",), _neg),
    Rule("kept axes", ("Sum", "Prod", "Max", "Min", "All", "Any"), _kept_axes),
    Rule("small powers", ("Pow",), _pow),
    Rule("matmul of transpose", ("MatMul", "BatchMatMul", "BatchMatMulV2"), _matmul_of_transpose),
    Rule("scatter of reshapes", ("ScatterBlocks",), _scatter_of_reshapes),
    Rule("cast to its own type", ("Cast",), _cast),
)


@record(frozen=True)
class Simplify:
    """Apply `rules` to every node once, in order; later nodes see the results."""

    name: ClassVar[str] = "simplify"
    rules: tuple[Rule, ...] = RULES

    def __call__(self, f: Function) -> Function:
        by_op: dict[str, list[Rule]] = {}
        for rule in self.rules:
            for op in rule.ops:
                by_op.setdefault(op, []).append(rule)
        b = Builder(like=f)
        env: dict[Value, Value] = {}
        made: dict[Value, Node] = {}
        with b:
            for node in f.nodes:
                new = _renamed(node, env)
                before = len(b.nodes)
                b.loc, b.label = node.loc, node.name
                value: Value | None = None
                for rule in by_op.get(node.op.name, ()):
                    value = rule.apply(new, made.get)
                    if value is not None:
                        break
                if value is None:
                    b.nodes.append(new)
                    env.update(zip(node.outputs, new.outputs, strict=True))
                else:
                    env[node.output] = value
                for n in b.nodes[before:]:
                    made.update((v, n) for v in n.outputs)
        return b.finish(f.results, f.updates, env)


def _renamed(node: Node, env: Mapping[Value, Value]) -> Node:
    inputs = tuple([env.get(v, v) for v in node.inputs])
    if inputs == node.inputs:
        return node
    return Node(
        node.op, inputs, node.attrs, tuple([Value(v.type, v.hint) for v in node.outputs]), node.loc,
        node.name,
    )  # fmt: skip
