"""Views: values that are another value's memory under other sizes.

A matrix product reads its operands row by row from where they lie, so a reshape in front of it
needs no copy: the call is given the sizes instead.  A loop reads its sequences slice by slice, so
they may be reshaped, or the first rows of something longer.
"""

from __future__ import annotations

from collections.abc import Mapping

from staticgraph.ir.function import Node, Value

RESHAPES = frozenset({"Reshape", "ExpandDims", "Squeeze"})  # keep the order of elements


def base_of(v: Value, made: Mapping[Value, Node]) -> Value:
    """The value whose elements `v` has, in their order: what it was reshaped from."""
    while (node := made.get(v)) is not None and node.op.name in RESHAPES:
        v = node.inputs[0]
    return v


def start_of(v: Value, made: Mapping[Value, Node]) -> Value:
    """The value whose first elements those of `v` are, in their order."""
    while (node := made.get(v)) is not None and (node.op.name in RESHAPES or _is_prefix(node)):
        v = node.inputs[0]
    return v


def _is_prefix(node: Node) -> bool:
    """True of a slice that is the first rows of its operand."""
    a, x = node.attrs, node.inputs[0].type.shape if node.inputs else None
    if x is None:
        return False
    if node.op.name == "Slice":
        begin, size = a["begin"], a["size"]
        return all(k == 0 for k in begin) and tuple(size[1:]) == x[1:]
    if node.op.name != "StridedSlice" or len(a["begin"]) != 1 or a["strides"] != (1,):
        return False
    if a["ellipsis_mask"] or a["new_axis_mask"] or a["shrink_axis_mask"]:
        return False
    return bool(a["begin_mask"]) or a["begin"] == (0,)


def read_inputs(node: Node, made: Mapping[Value, Node]) -> tuple[Value, ...]:
    """What a node that is no part of a kernel reads: its inputs, or what they are views of."""
    if node.op.library == "loop":
        return _read_by_loop(node, made)
    if node.op.library != "matmul" or node.output.dtype.name not in ("float32", "float64"):
        return node.inputs
    if any(v.type.shape is None for v in (*node.inputs, *node.outputs)):
        return node.inputs
    bases = [base_of(v, made) for v in node.inputs[-2:]]
    known = [
        b if b.type.shape is not None else v for b, v in zip(bases, node.inputs[-2:], strict=True)
    ]
    return (*node.inputs[:-2], *known)


def _read_by_loop(node: Node, made: Mapping[Value, Node]) -> tuple[Value, ...]:
    if node.attrs["conditional"]:  # how many slices it reads is not known
        return node.inputs
    n, m = node.attrs["carries"], node.attrs["sequences"]
    out = list(node.inputs)
    for k in range(n, n + m):
        base = start_of(out[k], made)
        if base.type.shape is not None and out[k].type.shape is not None:
            out[k] = base
    return tuple(out)


__all__ = ["base_of", "read_inputs", "start_of"]
