"""Slices: what a loop reads at its own counter comes to it as a sequence.

``x[i]`` in a loop that counts ``i`` from 0 to the length of ``x`` is the slice that a sequence
gives: no index is looked at, and the passes that follow know that iteration k needs slice k only.
The same holds for what is stacked: where the indices of a scatter or gather are the counter of a
loop, one behind the other, and there are as many as places, nothing has to be moved.

- In a loop over L iterations a look-up at the counter, in an invariant of L slices, becomes a
  sequence; so it does in the backward loop, where the counter is a sequence itself.
- A carry to which each iteration adds one slice, at the counter, becomes a stacked output.
- An array of L elements that is written at the counter of a loop is what the loop has stacked, and
  all of it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.function import Function, Node, Value
from staticgraph.ir.op import lookup
from staticgraph.ir.record import record
from staticgraph.ir.types import ConstantArray, TensorType
from staticgraph.passes.loop_form import Carry, LoopForm, Output, Slice, is_loop, with_origins


@record(frozen=True)
class Slices:
    """See the module's text."""

    name: ClassVar[str] = "slices"

    def __call__(self, f: Function) -> Function:
        if not any(map(is_loop, f.nodes)):
            return f
        return _Rewriting(f).run()


class _Rewriting:
    """One function under way.

    Attributes:
      counting: values that are 0, 1, 2, ... and how many there are.
      full, empty: marks of arrays of which all, and none, is written.
    """

    def __init__(self, f: Function) -> None:
        self.f = f
        self.nodes: list[Node] = []
        self.made: dict[Value, Node] = {}
        self.counting: dict[Value, Dim] = {}
        self.full: set[Value] = set()
        self.changed = False

    def run(self) -> Function:
        for n in self.f.nodes:
            if is_loop(n) and not n.attrs["conditional"]:
                self._loop(n)
            else:
                self._add(self._whole(n))
        return with_origins(self.f, self.nodes) if self.changed else self.f

    def _add(self, n: Node) -> None:
        self.nodes.append(n)
        self.made.update((v, n) for v in n.outputs)

    # ---- loops
    def _loop(self, node: Node) -> None:
        form = LoopForm.of(node)
        places = self._places(form)
        if not places:
            self._add(node)
            return
        behind: list[Node] = []
        changed = self._sums(form, places, behind)
        changed |= self._reads(form, places)
        for c in form.carries:
            if c.param in places and c.history is not None:
                self.counting[c.history] = form.length
        for o in form.outputs:
            if o.value in places:
                self.counting[o.stacked] = form.length
        self._add(form.build() if changed else node)
        for n in behind:
            self._add(n)
        self.changed |= changed

    def _places(self, form: LoopForm) -> set[Value]:
        """Values of the body that tell which slice of its sequences an iteration gets."""
        producer = form.body.producers()
        out = {s.param for s in form.slices if self.counting.get(s.sequence) == form.length}
        reverse = form.node.attrs["reverse"]
        for c in form.carries:
            if c.param.dtype not in (dtypes.int32, dtypes.int64):
                continue  # a narrow counter may begin anew before the loop ends
            start = _integer(self.made.get(c.start))
            step = _step(c, producer)
            first = form.length - 1 if reverse else 0
            if start is not None and start == first and step == (-1 if reverse else 1):
                out.add(c.param)
        return out

    def _reads(self, form: LoopForm, places: set[Value]) -> bool:
        """Look-ups in invariants at the place become slices."""
        outer = {i.param: i.value for i in form.invariants}
        gone = []
        for n in form.body.nodes:
            place = _place(n)
            source = outer.get(n.inputs[0]) if place in places else None
            if source is None or not self._is_length(source, form.length):
                continue
            if n.op.name == "TensorArrayRead" and not self._all(n.inputs[1], outer):
                continue
            form.slices.append(Slice(source, n.output))
            gone.append(n)
        if gone:
            left = tuple(n for n in form.body.nodes if n not in set(gone))
            form.body = replace(form.body, nodes=left)
        return bool(gone)

    def _all(self, marks: Value, outer: dict[Value, Value]) -> bool:
        """True where marks tell that all of an array is written."""
        return not marks.type.dims or outer.get(marks) in self.full

    def _sums(self, form: LoopForm, places: set[Value], behind: list[Node]) -> bool:
        """Carries that get one slice from each iteration, at its place, become outputs."""
        producer = form.body.producers()
        uses: dict[Value, int] = {}
        for v in form.body.reads():
            uses[v] = uses.get(v, 0) + 1
        changed = False
        for c in list(form.carries):
            term = _term(c, producer)
            if term is None or c.history is not None or uses.get(c.param) != 1 or uses[c.new] != 1:
                continue
            put = producer.get(term)
            if put is None or uses[term] != 1 or _put(put) not in places:
                continue
            if not self._is_length(c.start, form.length) or term.type != c.param.type:
                continue
            stacked = _stacked(form, put.inputs[0])
            if stacked is None or stacked.type != c.final.type:
                continue
            form.carries.remove(c)
            behind.append(
                Node(
                    lookup("Add"), (c.start, stacked), {}, (c.final,), form.node.loc, form.node.name
                )
            )
            changed = True
        return changed

    def _is_length(self, v: Value, length: Dim) -> bool:
        return bool(v.type.shape) and v.type.dims[0] == length

    # ---- arrays outside of loops
    def _whole(self, n: Node) -> Node:
        """A node that moves nothing becomes one that says so."""
        rule = _WHOLE.get(n.op.name)
        new = None if rule is None else rule(self, n)
        if new is not None:
            self.changed = True
        return new or n

    def _counted(self, index: Value, data: Value) -> bool:
        """True of indices 0, 1, 2, ... for all of an array."""
        count = self.counting.get(index)
        return count is not None and self._is_length(data, count)

    def _empty(self, marks: Value) -> bool:
        n = self.made.get(marks)
        if n is not None and n.op.name == "Fill":
            n = self.made.get(n.inputs[0])
        return n is not None and n.op.name == "Const" and not n.attrs["value"].array.any()

    def _gather(self, n: Node) -> Node | None:
        x, index = n.inputs[0], n.inputs[1]
        return _same(n, x) if _axis(n) == 0 and self._counted(index, x) else None

    def _write(self, n: Node) -> Node | None:
        data, marks, index, value = n.inputs
        return _same(n, value) if self._counted(index, data) and self._empty(marks) else None

    def _mark(self, n: Node) -> Node | None:
        marks, index = n.inputs
        if not (self._counted(index, marks) and self._empty(marks)):
            return None
        self.full.add(n.output)
        return replace(n, op=lookup("LogicalNot"), inputs=(marks,), attrs={})

    def _stack(self, n: Node) -> Node | None:
        data, marks = n.inputs
        return _same(n, data) if not marks.type.dims or marks in self.full else None

    def _read(self, n: Node) -> Node | None:
        data, marks, index = n.inputs
        if marks not in self.full:
            return None
        true = Value(TensorType(marks.dtype, ()), "all")
        attrs = {"value": ConstantArray(np.array(True)), "dtype": marks.dtype}
        self._add(Node(lookup("Const"), (), attrs, (true,), n.loc, n.name))
        return replace(n, inputs=(data, true, index))


_WHOLE: dict[str, Callable[[_Rewriting, Node], Node | None]] = {
    "Gather": _Rewriting._gather, "GatherV2": _Rewriting._gather,
    "TensorArrayWrite": _Rewriting._write, "TensorArrayMark": _Rewriting._mark,
    "TensorArrayStack": _Rewriting._stack, "TensorArrayRead": _Rewriting._read,
}  # fmt: skip


def _same(n: Node, v: Value) -> Node | None:
    """The node as one that passes `v` on; None where the type is another."""
    if v.type != n.output.type:
        return None
    return replace(n, op=lookup("Identity"), inputs=(v,), attrs={})


def _axis(n: Node) -> int | None:
    """The axis of a gather without batches."""
    axis: Any = n.attrs.get("axis", 0)
    if not isinstance(axis, int) or n.attrs.get("batch_dims", 0) != 0:
        return None
    rank = len(n.inputs[0].type.shape or ())
    return axis % rank if rank else None


def _place(n: Node) -> Value | None:
    """The index of a look-up of one slice along the first axis."""
    if n.op.name == "TensorArrayRead":
        index = n.inputs[2]
    elif n.op.name in ("TakeIndex", "Gather", "GatherV2") and _axis(n) == 0:
        index = n.inputs[1]
    else:
        return None
    return index if index.type.shape == () else None


def _put(n: Node) -> Value | None:
    """The index of what is one slice along the first axis, among zeros."""
    if n.op.name == "PutIndex" and n.inputs[1].type.shape:
        return n.inputs[2] if n.attrs["axis"] % len(n.inputs[1].type.dims) == 0 else None
    if n.op.name == "GatherGrad" and n.inputs[2].type.shape and not n.attrs["skip_negative"]:
        first = n.attrs["axis"] % len(n.inputs[2].type.dims) == 0
        return n.inputs[1] if first and n.inputs[1].type.shape == () else None
    return None


def _term(c: Carry, producer: dict[Value, Node]) -> Value | None:
    """What each iteration adds to a carry."""
    made = producer.get(c.new)
    if made is None or made.op.name not in ("Add", "AddV2") or c.param not in made.inputs:
        return None
    a, b = made.inputs
    return b if a is c.param else a


def _step(c: Carry, producer: dict[Value, Node]) -> int | None:
    """What each iteration adds to a counter, where that is a constant."""
    made = producer.get(c.new)
    if made is None or c.param.type.shape != ():
        return None
    if made.op.name == "Sub" and made.inputs[0] is c.param:
        step = _integer(producer.get(made.inputs[1]))
        return None if step is None else -step
    term = _term(c, producer)
    return None if term is None else _integer(producer.get(term))


def _integer(n: Node | None) -> int | None:
    if n is None or n.op.name != "Const":
        return None
    array = n.attrs["value"].array
    return int(array) if array.ndim == 0 and array.dtype.kind in "iu" else None


def _stacked(form: LoopForm, v: Value) -> Value | None:
    """The stack of a value that the body makes, which may be one of its slices."""
    have = next((o.stacked for o in form.outputs if o.value is v), None)
    if have is not None:
        return have
    inner = form.outside(v.type)
    if inner is None:
        return None
    stacked = Value(TensorType(v.type.dtype, (form.length, *inner.dims)), v.hint)
    form.outputs.append(Output(v, stacked))
    return stacked


__all__ = ["Slices"]
