"""Keep sizes where nothing else is asked of what was kept in a box.

The gradient of a concatenation needs to know how large the parts were, and not what was in them.
So a loop that goes back through one that appends would read each box for nothing but its size.
The forward loop gives the sizes instead then, a few integers for an iteration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from staticgraph.ir import dtypes
from staticgraph.ir.function import ElementOf, Function, Node, SizeOf, Value
from staticgraph.ir.op import lookup
from staticgraph.ir.types import TensorType
from staticgraph.passes.loop_form import LoopForm, is_loop


def keep_sizes(f: Function) -> Function:
    """See the module's text; of the loops of a function, not of those within them."""
    loops = [n for n in f.nodes if is_loop(n)]
    boxes = {s: v for n in loops for s, v in _boxes(n)}
    for v in [*f.results, *f.updates.values(), *_other_reads(f.nodes)]:
        boxes.pop(v, None)
    if not boxes:
        return f
    stacks = {s: _sizes_of(s, v) for s, v in boxes.items()}
    made = [_rewritten(n, boxes, stacks) if is_loop(n) else n for n in f.nodes]
    sizes = {
        k: SizeOf(stacks[o.value], o.axis) if isinstance(o, SizeOf) and o.value in stacks else o
        for k, o in f.sizes.items()
    }  # fmt: skip
    return replace(f, nodes=tuple(made), sizes=sizes)


def _boxes(n: Node) -> Iterable[tuple[Value, Value]]:
    """The stacks of boxes that a loop gives, and the value of its body that is in them."""
    form = LoopForm.of(n)
    made = form.body.producers()
    for o in form.outputs:
        node = made.get(o.value)
        if node is not None and node.op.name == "Box" and node.inputs[0].type.shape is not None:
            yield o.stacked, node.inputs[0]


def _other_reads(nodes: Iterable[Node]) -> Iterable[Value]:
    """What is read otherwise than by loops that ask each slice for its sizes alone."""
    for n in nodes:
        if not is_loop(n):
            yield from n.inputs
            continue
        form = LoopForm.of(n)
        asked = _asked(form)
        yield from (c.start for c in form.carries)
        yield from (i.value for i in form.invariants)
        yield from (s.sequence for s in form.slices if s.param not in asked)


def _asked(form: LoopForm) -> dict[Value, list[Node]]:
    """Slices of which a body reads nothing but sizes, and the nodes that open them."""
    slices = {s.param for s in form.slices}
    read = {v for n in form.body.nodes for v in n.inputs} | set(form.body.results)
    opened: dict[Value, list[Node]] = {}
    others = set(form.body.results)
    for n in form.body.nodes:
        for v in n.inputs:
            if n.op.name == "Unbox" and v in slices and n.output not in read:
                opened.setdefault(v, []).append(n)
            else:
                others.add(v)
    return {v: nodes for v, nodes in opened.items() if v not in others}


def _sizes_of(stack: Value, v: Value) -> Value:
    rank = len(v.type.dims)
    return Value(TensorType(dtypes.int64, (stack.type.dims[0], rank)), "sizes")


def _rewritten(n: Node, boxes: Mapping[Value, Value], stacks: Mapping[Value, Value]) -> Node:
    form = LoopForm.of(n)
    nodes, sizes = list(form.body.nodes), dict(form.body.sizes)
    changed = False
    for o in form.outputs:
        if o.stacked in stacks:
            stack = stacks[o.stacked]
            shape = Value(TensorType(dtypes.int64, stack.type.dims[1:]), "sizes")
            attrs = {"out_type": dtypes.int64}
            inputs = (boxes[o.stacked],)
            nodes.append(Node(lookup("Shape"), inputs, attrs, (shape,), n.loc, n.name))
            o.value, o.stacked, changed = shape, stack, True
    asked = _asked(form)
    for s in form.slices:
        if s.sequence in stacks:
            stack = stacks[s.sequence]
            param = Value(TensorType(dtypes.int64, stack.type.dims[1:]), "sizes")
            opened = {x.output: x for x in asked[s.param]}
            nodes = [x for x in nodes if not x.outputs or x.outputs[0] not in opened]
            for k, origin in sizes.items():
                if isinstance(origin, SizeOf) and origin.value in opened:
                    sizes[k] = ElementOf(param, origin.axis)
            s.sequence, s.param, changed = stack, param, True
    if not changed:
        return n
    form.body = replace(form.body, nodes=tuple(nodes), sizes=sizes)
    return form.build()


__all__ = ["keep_sizes"]
