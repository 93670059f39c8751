"""Several operations as one node of the tape: a step of a recurrent network, for example.

The function is written with records, run once on symbols for the types at hand, and kept as two
plans: its numpy rules in a row, and those of its gradient, which autodiff derives from the records'
own rules.  What an operation costs beside its arithmetic is then paid once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from staticgraph.dynamic import engine
from staticgraph.dynamic.apply import edge, wrap
from staticgraph.dynamic.element_types import DIFFERENTIABLE
from staticgraph.dynamic.modes import MODES, enable_grad
from staticgraph.dynamic.plans import Plan, plan_of_nodes
from staticgraph.dynamic.tape import Node, type_of
from staticgraph.errors import StaticGraphError
from staticgraph.ir.function import Builder, Value
from staticgraph.ir.function import Node as Step
from staticgraph.ir.op import RuleError, lookup
from staticgraph.passes.autodiff import Application, backward

Composed = Callable[..., tuple[Any, ...]]

_IDENTITY = lookup("Identity")
_LIMIT = 1024  # compositions kept; sizes that never come back must not pile up
_KNOWN: dict[Any, _Composition | None] = {}


class _Composition:
    """A function for given types, as plans.

    Attributes:
      forward: gives the results and then what the gradient reads besides.
      count: how many results there are.
    """

    def __init__(self, function: Composed, arrays: Sequence[np.ndarray]) -> None:
        self.function = function
        self._builder = Builder(function.__name__)
        self._inputs = [Value(type_of(a)) for a in arrays]
        with self._builder:
            self._outputs = list(function(*self._inputs))
        self.count = len(self._outputs)
        self._steps = list(self._builder.nodes)
        made = {v for n in self._steps if n.op.name != "Const" for v in n.outputs}
        known = {*self._inputs, *self._outputs}
        whole = self._gradient((True,) * self.count, (True,) * len(arrays))
        self._kept = [v for v in dict.fromkeys(whole.takes) if v in made and v not in known]
        self.forward = plan_of_nodes([], self._inputs, self._steps, [*self._outputs, *self._kept])
        self._backward: dict[Any, Plan] = {}

    def _gradient(self, given: tuple[bool, ...], wanted: tuple[bool, ...]) -> _Gradient:
        builder = Builder(self._builder.name)
        cotangents: dict[Value, Value] = {}
        gs = []
        reached = {x for x, w in zip(self._inputs, wanted, strict=True) if w}
        for n in self._steps:
            if any(v in reached for v in n.inputs):
                reached.update(n.outputs)
        with builder:
            for y, there in zip(self._outputs, given, strict=True):
                if there:
                    gs.append(Value(y.type))
                    have = cotangents.get(y)
                    cotangents[y] = gs[-1] if have is None else have + gs[-1]
            apps = [Application(n.op, n.inputs, n.attrs, n.outputs) for n in self._steps]
            backward(reversed(apps), cotangents, lambda v: v in reached)
            ends = [
                cotangents.get(x) if w else None for x, w in zip(self._inputs, wanted, strict=True)
            ]
        constants = [n for n in self._steps if n.op.name == "Const"]
        return _Gradient(gs, [*constants, *builder.nodes], ends)

    def backward(self, given: tuple[bool, ...], wanted: tuple[bool, ...]) -> Plan:
        """The cotangents of inputs, from those of results, inputs, results, and what was kept."""
        plan = self._backward.get((given, wanted))
        if plan is None:
            g = self._gradient(given, wanted)
            values = [*self._inputs, *self._outputs, *self._kept]
            plan = self._backward[given, wanted] = plan_of_nodes(g.gs, values, g.nodes, g.ends)
        return plan


class _Gradient:
    """Nodes from the cotangents of results to those of inputs."""

    def __init__(self, gs: list[Value], nodes: list[Step], ends: list[Value | None]) -> None:
        self.gs, self.nodes, self.ends = gs, nodes, ends

    @property
    def takes(self) -> list[Value]:
        """What the nodes read, whoever makes it."""
        return [v for n in self.nodes for v in n.inputs] + [v for v in self.ends if v is not None]


def _composition(function: Composed, arrays: Sequence[np.ndarray]) -> _Composition | None:
    """The plans for arrays like these; None where the function does not take them."""
    key = (function, *[(a.dtype.num, a.shape) for a in arrays])
    if key not in _KNOWN:
        if len(_KNOWN) >= _LIMIT:
            _KNOWN.clear()
        made = None
        first = arrays[0].dtype
        if first in DIFFERENTIABLE and all(a.dtype == first for a in arrays):
            try:
                made = _Composition(function, arrays)
            except (RuleError, StaticGraphError):
                made = None  # on tensors it says what is wrong, at the user's line
        _KNOWN[key] = made
    return _KNOWN[key]


def composed(function: Composed, *tensors: Any) -> tuple[Any, ...]:
    """``function(*tensors)`` as one node.

    Args:
      function: takes tensors, or symbols, and gives a tuple of new ones, made by records alone; the
        same object for the same work.
    """
    if MODES.tracer is not None:
        return function(*tensors)
    arrays = tuple([t._array for t in tensors])
    made = _composition(function, arrays)
    if made is None:
        return function(*tensors)
    found: list[Any] = MODES.run(made.forward.run, *arrays)
    n = made.count
    outs = tuple([wrap(a) for a in found[:n]])
    if MODES.grad:
        edges = tuple([edge(t) for t in tensors])
        if any(e is not None for e in edges):
            node = _ComposedNode(
                _IDENTITY, {}, (), arrays, tuple(found[:n]), edges,
                tuple([t._slot for t in tensors]),
                (*[t._version for t in tensors], *[t._version for t in outs]),
            )  # fmt: skip
            node.made, node.kept = made, found[n:]
            for slot, t in enumerate(outs):
                t._node, t._slot, t._requires = node, slot, True
    return outs


class _ComposedNode(Node):
    """The node of a composed function."""

    __slots__ = ("kept", "made")

    made: Any
    kept: Any

    def title(self) -> str:
        name: str = self.made.function.__name__
        return name.strip("_").title().replace("_", "")

    def name(self) -> str:
        return f"{self.title()}Backward0"

    def plan(self, gs: list[Any], wanted: tuple[bool, ...]) -> Plan:
        self.check_alive()
        plan: Plan = self.made.backward(tuple([g is not None for g in gs]), wanted)
        versions, stamps = self.versions, self.stamps
        for i in plan.reads:
            if i < len(stamps) and versions[i][0] != stamps[i]:
                raise self.changed(i)
        return plan

    def pull(self, gs: list[Any], wanted: tuple[bool, ...]) -> Any:
        plan = self.plan(gs, wanted)
        given = [g for g in gs if g is not None]
        return MODES.run(plan.run, *given, *self.inputs, *self.outputs, *self.kept)

    def pull_recorded(self, gs: list[Any], wanted: tuple[bool, ...]) -> Any:
        """The function again, operation by operation, and the gradient of that."""
        self.plan(gs, wanted)  # looks at the versions
        inputs, _ = engine.sources_of(self)
        with enable_grad():
            # each one a node of its own: one input may be made from another
            leaves = [_IDENTITY(t) for t in inputs]
            outs = self.made.function(*leaves)
        pairs = [(y, g) for y, g in zip(outs, gs, strict=True) if g is not None]
        asked = [i for i, w in enumerate(wanted) if w]
        found = engine.gradients_of(
            [y for y, _ in pairs], [leaves[i] for i in asked], [g for _, g in pairs], True, True,
            True, False,
        )  # fmt: skip
        ds: list[Any] = [None] * len(inputs)
        for i, d in zip(asked, found, strict=True):
            ds[i] = d
        return ds

    def release(self) -> None:
        super().release()
        self.kept = ()
