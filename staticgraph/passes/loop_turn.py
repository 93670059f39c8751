"""Factors that lie the wrong way round are turned once, before the loop that multiplies by them.

Of ``d @ W^T`` a product of matrices reads W across its rows.  With the few rows that a step of a
recurrent network has, turning costs as much as multiplying, and it is done again in each
iteration; ``d @ V`` with ``V = W^T`` from before the loop takes down to half the time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from staticgraph.ir.function import Builder, Function, Node, Value
from staticgraph.ir.op import lookup
from staticgraph.ir.record import record
from staticgraph.passes.loop_form import Invariant, LoopForm, is_loop, with_origins

FEW = 4  # iterations, or rows of the other factor: below, turning costs more than it saves


@record(frozen=True)
class Turn:
    """See the module's text."""

    name: ClassVar[str] = "motion"

    def __call__(self, f: Function) -> Function:
        if not any(is_loop(n) and _turnable(n.attrs["body"]) for n in f.nodes):
            return f
        b = Builder(like=f)
        with b:
            for n in f.nodes:
                b.loc, b.label = n.loc, n.name
                b.nodes.append(_turned(b, LoopForm.of(n)) if is_loop(n) else n)
        g = with_origins(f, b.nodes)
        return replace(g, sizes={**b.sizes, **g.sizes}, guards=tuple(b.guards))


def _turned(b: Builder, form: LoopForm) -> Node:
    """The loop of `form`, with what it needs turned written into `b`."""
    length = form.node.attrs["length"]
    if isinstance(length, int) and 0 <= length < FEW:
        return form.node
    outside = {i.param: i.value for i in form.invariants}
    found: dict[Value, Value] = {}
    nodes: list[Node] = []
    for n in form.body.nodes:
        if _is_turnable(n) and n.inputs[1] in outside:
            x, w = n.inputs
            if w not in found:
                made: Value = lookup("Transpose")(outside[w], perm=(1, 0))
                found[w] = Value(replace(w.type, shape=w.dims[::-1]), f"{w.hint}/turned")
                form.invariants.append(Invariant(made, found[w]))
            n = replace(n, inputs=(x, found[w]), attrs={**n.attrs, "transpose_b": False})
        nodes.append(n)
    return form.build(nodes) if found else form.node


def _turnable(body: Function) -> bool:
    return any(map(_is_turnable, body.nodes))


def _is_turnable(n: Node) -> bool:
    """True of a product of more than a few rows with a turned factor."""
    if n.op.name != "Gemm" or not n.attrs["transpose_b"]:
        return False
    rows = n.output.dims[0]
    return not (isinstance(rows, int) and rows < FEW)


__all__ = ["Turn"]
