"""The tape: one node per recorded operation, and the edges that gradients run along.

A node holds arrays and edges, never the tensors that came out of it, so that nothing refers to
itself and memory goes back the moment the last tensor does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from staticgraph.dynamic.modes import MODES
from staticgraph.dynamic.plans import Plan, plan_of
from staticgraph.dynamic.versions import Version
from staticgraph.errors import RunError, StaticGraphError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.op import Op
from staticgraph.ir.types import TensorType

_COUNT = itertools.count()
_NUMPY: Mapping[Any, dtypes.DType] = {d.np: d for d in dtypes.ALL}
_TITLES = {
    "RealDiv": "Div", "MatMul": "Mm", "BatchMatMulV2": "Bmm", "SelectV2": "Where",
    "ClipByValue": "Clamp", "ConcatV2": "Cat", "Pack": "Stack", "ExpandDims": "Unsqueeze",
    "BroadcastTo": "Expand", "Transpose": "Permute", "StridedSlice": "Slice", "Reshape": "View",
    "GatherV2": "IndexSelect", "GatherNd": "Index", "Cast": "ToCopy", "Identity": "Clone",
    "TensorScatterUpdate": "CopySlices",
}  # fmt: skip


def dtype_of(array: np.ndarray) -> dtypes.DType:
    """The element type of an array that a tensor holds."""
    return _NUMPY[array.dtype]


def type_of(array: np.ndarray) -> TensorType:
    """The tensor type of an array."""
    return TensorType(_NUMPY[array.dtype], array.shape)


class Node:
    """One recorded operation.

    Args:
      inputs, outputs: the arrays that went in and came out.
      edges: where the gradient of each input goes: a node, a leaf tensor, or None.
      slots: which result of the edge's node the input is.
      versions: those of inputs and outputs, in this order.
    """

    __slots__ = (
        "__weakref__", "attrs", "edges", "hooks", "inputs", "key", "mark", "op", "outputs",
        "sequence", "slots", "stamps", "versions",
    )  # fmt: skip

    op: Op
    attrs: Mapping[str, Any]
    edges: tuple[Any, ...]
    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    hooks: list[tuple[int, Callable[[Any], Any]]] | None

    def __init__(
        self, op: Op, attrs: Mapping[str, Any], key: tuple[Any, ...],
        inputs: tuple[np.ndarray, ...], outputs: tuple[np.ndarray, ...],
        edges: tuple[Any, ...], slots: tuple[int, ...] | None, versions: tuple[Version, ...],
    ) -> None:  # fmt: skip
        self.op, self.attrs, self.key = op, attrs, key
        self.inputs, self.outputs = inputs, outputs
        self.edges, self.slots = edges, slots
        self.versions = versions
        self.stamps = [v[0] for v in versions]
        self.sequence = next(_COUNT)
        self.hooks = None
        self.mark = loc.mark()

    # ------------------------------------------------------------ what users see
    def name(self) -> str:
        """PyTorch's name of the node: ``MulBackward0``."""
        if self.attrs.get("shrink_axis_mask"):
            return "SelectBackward0"
        return f"{_TITLES.get(self.op.name, self.op.name)}Backward0"

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The nodes that the gradients go on to, each with the number of its result."""
        slots = self.slots or (0,) * len(self.edges)
        return tuple(
            (e if isinstance(e, Node) or e is None else AccumulateGrad(e), s)
            for e, s in zip(self.edges, slots, strict=True)
        )

    # ------------------------------------------------------------ gradients
    @property
    def width(self) -> int:
        """How many results the operation has."""
        return len(self.outputs)

    def title(self) -> str:
        """What errors call it."""
        return self.op.name

    def check_alive(self) -> None:
        """RunError where the arrays were freed by an earlier backward."""
        if self.inputs is None:
            raise RunError(
                f"{self.title()}: backward runs a second time through a graph whose saved tensors "
                "the first run has freed",
                loc=loc.caller(),
                operands=(f"recorded at {loc.resolve(self.mark).excerpt()}",),
                hint="call the first backward with retain_graph=True, or compute the forward anew",
            )

    def plan(self, gs: list[Any], wanted: tuple[bool, ...]) -> Plan | None:
        """How the gradient is computed; None where the rule has to be asked each time."""
        self.check_alive()
        plan = plan_of(self, tuple([g is not None for g in gs]), wanted)
        if plan is not None:
            versions, stamps = self.versions, self.stamps
            for i in plan.reads:
                if versions[i][0] != stamps[i]:
                    raise self.changed(i)
        return plan

    def pull(self, gs: list[Any], wanted: tuple[bool, ...]) -> Any:
        """The cotangents of the inputs, from those of the results; arrays in, arrays out."""
        plan = self.plan(gs, wanted)
        if plan is None:
            return None
        given = gs if len(gs) == 1 else [g for g in gs if g is not None]
        return MODES.run(plan.run, *given, *self.inputs, *self.outputs)

    def pull_recorded(self, gs: list[Any], wanted: tuple[bool, ...]) -> Any:
        """The same on tensors, where the node has a way of its own; else None."""
        del gs, wanted

    def changed(self, i: int) -> StaticGraphError:
        """The error for a saved array that was changed in place."""
        n = len(self.inputs)
        what = (
            f"input {i}" if i < n else ("result" if len(self.outputs) == 1 else f"result {i - n}")
        )
        array = (*self.inputs, *self.outputs)[i]
        version = self.versions[i]
        return RunError(
            f"{self.title()}: its gradient needs its {what}, a {type_of(array).public()} that has "
            f"been changed in place since: version {version[0]}, expected {self.stamps[i]}",
            loc=loc.caller(),
            operands=(
                f"recorded at {loc.resolve(self.mark).excerpt()}",
                f"changed at {loc.resolve(version[1]).excerpt()}",
            ),
            hint="use the operation without the trailing underscore, or change a .clone()",
        )

    def release(self) -> None:
        """Free the arrays and the way to the nodes before."""
        self.inputs = self.outputs = None  # type: ignore[assignment]
        self.edges = ()
        self.slots = None
        self.versions = ()


class AccumulateGrad:
    """Stands for a leaf tensor at the end of a chain of nodes."""

    def __init__(self, variable: Any) -> None:
        self.variable = variable

    next_functions: tuple[Any, ...] = ()

    def name(self) -> str:
        """PyTorch's name."""
        return "AccumulateGrad"

    def __repr__(self) -> str:
        return f"<AccumulateGrad object at {id(self):#x}>"
