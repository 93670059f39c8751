"""Backward: gradients from the results of a computation to its leaves.

Nodes are visited latest first.  A node is recorded after the nodes of its inputs, so this order
has all of a node's cotangents complete when its turn comes; nothing recurses, however long the
chain.  Gradients reach `.grad` at the very end: a backward that fails changes none.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np

from staticgraph.dynamic.apply import Taped, apply, edge, wrap
from staticgraph.dynamic.modes import MODES, enable_grad, no_grad
from staticgraph.dynamic.plans import Plan
from staticgraph.dynamic.tape import Node, type_of
from staticgraph.errors import DtypeError, RunError, ShapeError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.op import lookup
from staticgraph.passes.autodiff import Application, cotangents_of

_plus = np.add


class _Run:
    """One traversal.

    Args:
      create: gradients are tensors and their computation is recorded.
      retain: keep what the nodes have saved.
      targets: ids of leaves, and (node, slot) pairs, whose gradients are asked for; None for all.
    """

    def __init__(self, create: bool, retain: bool, targets: set[Any] | None) -> None:
        self.create, self.retain, self.targets = create, retain, targets
        self.heap: list[tuple[int, Node]] = []
        self.pending: dict[int, list[Any]] = {}
        self.leaves: dict[int, list[Any]] = {}  # id -> [leaf, gradient]
        self.caught: dict[Any, Any] = {}
        self.ends = {t[0] for t in targets or () if isinstance(t, tuple)}
        self.needed: set[int] | None = None

    def deliver(self, to: Any, slot: int, g: Any) -> None:
        """Add `g` to what goes to a node or a leaf."""
        if not isinstance(to, Node):
            have = self.leaves.get(id(to))
            if have is None:
                self.leaves[id(to)] = [to, g]
            else:
                have[1] = self.sum(have[1], g)
            return
        gs = self.pending.get(to.sequence)
        if gs is None:
            to.check_alive()
            gs = self.pending[to.sequence] = [None] * to.width
            heapq.heappush(self.heap, (-to.sequence, to))
        gs[slot] = g if gs[slot] is None else self.sum(gs[slot], g)

    def sum(self, a: Any, b: Any) -> Any:
        """Two gradients of one tensor."""
        return a + b if self.create else MODES.run(_plus, a, b)

    def run(self) -> None:
        """Visit nodes until none is left."""
        while self.heap:
            node = heapq.heappop(self.heap)[1]
            gs = self.pending.pop(node.sequence)
            if node.hooks:
                self.hook(node, gs)
            edges = node.edges
            if self.needed is None:
                wanted = tuple([e is not None for e in edges])
            else:
                self.catch(node, gs)
                if node.sequence not in self.needed:
                    continue
                wanted = tuple([self.wants(e) for e in edges])
            slots = node.slots
            for i, d in enumerate(self.pull(node, gs, wanted)):
                if d is not None and wanted[i]:
                    self.deliver(edges[i], 0 if slots is None else slots[i], d)
            if not self.retain:
                node.release()

    def catch(self, node: Node, gs: list[Any]) -> None:
        """Note the gradients of results that are asked for."""
        assert self.targets is not None
        for slot, g in enumerate(gs):
            if g is not None and (node.sequence, slot) in self.targets:
                self.caught[node.sequence, slot] = g

    def wants(self, e: Any) -> bool:
        """Whether an edge leads to something that is asked for."""
        assert self.targets is not None and self.needed is not None
        if e is None:
            return False
        if isinstance(e, Node):
            return e.sequence in self.needed or e.sequence in self.ends
        return id(e) in self.targets

    def pull(self, node: Node, gs: list[Any], wanted: tuple[bool, ...]) -> Sequence[Any]:
        """The cotangents of a node's inputs."""
        if not self.create:
            ds = node.pull(gs, wanted)
            if ds is not None:
                return ds  # type: ignore[no-any-return]
            with no_grad():
                made = _by_rule(node, [None if g is None else wrap(g) for g in gs])
            return [d._array if isinstance(d, Taped) else d for d in made]
        with enable_grad():
            found = node.pull_recorded(gs, wanted)
            return _recorded(node, gs, wanted) if found is None else found

    def hook(self, node: Node, gs: list[Any]) -> None:
        """Call the hooks on a node's results."""
        for slot, function in list(node.hooks or ()):
            if gs[slot] is None:
                continue
            given = gs[slot] if self.create else wrap(gs[slot])
            out = function(given)
            if out is not None:
                check_gradient(out, node.outputs[slot], "the gradient that a hook returned")
                gs[slot] = out if self.create else out._array


def check_gradient(g: Any, array: np.ndarray, what: str) -> None:
    """UsageError, ShapeError or DtypeError where `g` cannot be the gradient of `array`."""
    if not isinstance(g, Taped):
        raise UsageError(
            f"{what} must be a tensor or None, got {type(g).__name__}", loc=loc.caller()
        )
    if g._array.shape != array.shape:
        raise ShapeError(
            f"{what} has shape {list(g._array.shape)}, the tensor it belongs to "
            f"{list(array.shape)}",
            loc=loc.caller(),
        )
    if g._array.dtype != array.dtype:
        raise DtypeError(
            f"{what} is {type_of(g._array).public()}, the tensor it belongs to "
            f"{type_of(array).public()}",
            loc=loc.caller(), hint="convert it with g.to(x.dtype)",
        )  # fmt: skip


# ---------------------------------------------------------------- gradients as tensors
def sources_of(node: Node) -> tuple[list[Any], list[Any]]:
    """A node's inputs and results as tensors that know where they come from."""
    node.check_alive()
    inputs = []
    slots = node.slots or (0,) * len(node.edges)
    for array, e, slot, version in zip(node.inputs, node.edges, slots, node.versions, strict=False):
        if e is not None and not isinstance(e, Node) and e._array is array:
            inputs.append(e)
            continue
        t = wrap(array)
        t._version = version
        if isinstance(e, Node):
            t._node, t._slot, t._requires = e, slot, True
        elif e is not None:
            t = _alias_of_leaf(e, t)
        inputs.append(t)
    outputs = []
    for slot, array in enumerate(node.outputs):
        t = wrap(array)
        t._version = node.versions[len(inputs) + slot]
        t._node, t._slot, t._requires = node, slot, True
        outputs.append(t)
    return inputs, outputs


def _alias_of_leaf(leaf: Any, t: Any) -> Any:
    """The leaf under the array that it had: `.data` may have given it another one."""
    with enable_grad():
        out = lookup("Identity")(leaf)
    out._array, out._version = t._array, t._version
    return out


def _by_rule(node: Node, gs: list[Any]) -> tuple[Any, ...]:
    inputs, outputs = sources_of(node)
    app = Application(node.op, tuple(inputs), node.attrs, tuple(outputs))
    return cotangents_of(app, tuple(gs))


def _recorded(node: Node, gs: list[Any], wanted: tuple[bool, ...]) -> Sequence[Any]:
    """The cotangents as tensors, through operations that are recorded in their turn."""
    plan = node.plan(gs, wanted)
    if plan is None:
        found = _by_rule(node, gs)
        return [d if w else None for d, w in zip(found, wanted, strict=True)]
    inputs, outputs = sources_of(node)
    return replay(plan, [g for g in gs if g is not None], [*inputs, *outputs])


def replay(plan: Plan, gs: list[Any], values: list[Any]) -> list[Any]:
    """Apply the ops of a plan to tensors."""
    env: dict[Any, Any] = dict(zip(plan.sources, [*gs, *values], strict=True))
    steps = plan.recorded
    for v, array in steps.constants.items():
        env[v] = wrap(array)
    for n in steps.nodes:
        data = iter(n.inputs)
        kwargs: dict[str, Any] = dict(n.attrs)
        extra = len(n.inputs) - len(n.op.data_operands)
        for o in n.op.operands:
            if o.startswith("*"):
                kwargs[o[1:]] = [env[next(data)] for _ in range(extra + 1)]
            elif not o.startswith("@"):
                kwargs[o] = env[next(data)]
        out = apply(n.op, (), kwargs)
        env.update(zip(n.outputs, out if isinstance(out, list) else [out], strict=True))
    return [None if v is None else env[v] for v in steps.ends]


# ---------------------------------------------------------------- entries
def _roots(tensors: Sequence[Any], gradients: Sequence[Any], what: str) -> list[tuple[Any, Any]]:
    out = []
    for t, g in zip(tensors, gradients, strict=True):
        if not isinstance(t, Taped):
            raise UsageError(f"{what} takes tensors, got {type(t).__name__}", loc=loc.caller())
        if edge(t) is None:
            raise RunError(
                f"{what}: the {type_of(t._array).public()} does not require a gradient and no "
                "operation is recorded that made it",
                loc=loc.caller(),
                hint="make a leaf with requires_grad=True, and compute outside torch.no_grad()",
            )
        if g is None:
            if t._array.size != 1:
                raise RunError(
                    f"{what} from a {type_of(t._array).public()} without a gradient for it: only "
                    "a single number has the obvious one",
                    loc=loc.caller(),
                    hint="reduce it first, as in loss.sum().backward(), or pass gradient=",
                )
            g = wrap(np.ones_like(t._array))
        else:
            check_gradient(g, t._array, "the gradient given")
        out.append((t, g))
    return out


def backward(
    tensors: Sequence[Any], gradients: Sequence[Any], retain_graph: bool, create_graph: bool,
    inputs: Sequence[Any] | None = None,
) -> None:  # fmt: skip
    """Add the gradients of `tensors` to the `.grad` of the leaves (or of `inputs`)."""
    if MODES.tracer is not None:
        MODES.tracer.training.backward(tensors, gradients, create_graph, inputs)
        return
    roots = _roots(tensors, gradients, "backward")
    run = _traverse(roots, retain_graph, create_graph, inputs)
    commits = []
    for leaf, g in run.leaves.values():
        if run.targets is not None and id(leaf) not in run.targets:
            continue
        commits.append((leaf, _hooked(leaf, g, create_graph)))
    if inputs is not None:
        for t in inputs:
            if (
                t._node is not None
                and (g := run.caught.get((t._node.sequence, t._slot))) is not None
            ):
                commits.append((t, g))
    for leaf, g in commits:
        leaf._accumulate(g)


def _hooked(leaf: Any, g: Any, create: bool) -> Any:
    for function in list(leaf._hooks or ()):
        given = g if create else wrap(g)
        out = function(given)
        if out is not None:
            check_gradient(out, leaf._array, "the gradient that a hook returned")
            g = out if create else out._array
    return g


def gradients_of(
    outputs: Sequence[Any], inputs: Sequence[Any], grad_outputs: Sequence[Any],
    retain_graph: bool, create_graph: bool, allow_unused: bool, materialize: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """The gradients of the sum of `outputs` for each input."""
    if MODES.tracer is not None:
        return MODES.tracer.training.grad(  # type: ignore[no-any-return]
            outputs, inputs, grad_outputs, create_graph, allow_unused, materialize
        )
    roots = _roots(outputs, grad_outputs, "grad")
    for x in inputs:
        if not isinstance(x, Taped) or edge(x) is None:
            raise RunError(
                "grad: an input does not require a gradient", loc=loc.caller(),
                hint="make it with requires_grad=True",
            )  # fmt: skip
    run = _traverse(roots, retain_graph, create_graph, inputs)
    out = []
    for i, x in enumerate(inputs):
        if x._node is None:
            found = run.leaves.get(id(x))
            g = None if found is None else _hooked(x, found[1], create_graph)
        else:
            g = run.caught.get((x._node.sequence, x._slot))
        if g is None:
            if materialize:
                g = np.zeros_like(x._array)
            elif not allow_unused:
                raise RunError(
                    f"grad: input {i}, a {type_of(x._array).public()}, has no part in the outputs",
                    loc=loc.caller(), hint="pass allow_unused=True to get None for it",
                )  # fmt: skip
        out.append(g if g is None or isinstance(g, Taped) else wrap(np.array(g)))
    return tuple(out)


def _traverse(
    roots: list[tuple[Any, Any]], retain: bool, create: bool, inputs: Sequence[Any] | None
) -> _Run:
    targets: set[Any] | None = None
    if inputs is not None:
        targets = {id(x) if edge(x) is x else (x._node.sequence, x._slot) for x in inputs}
    run = _Run(create, retain, targets)
    if targets is not None:
        run.needed = _needed([edge(t) for t, _ in roots], targets)
    for t, g in roots:
        run.deliver(edge(t), t._slot, g if create else g._array)
    run.run()
    return run


def _needed(starts: list[Any], targets: set[Any]) -> set[int]:
    """The nodes from which a target is reached."""
    seen: dict[int, Node] = {}
    stack = [e for e in starts if isinstance(e, Node)]
    while stack:
        node = stack.pop()
        if node.sequence in seen:
            continue
        node.check_alive()
        seen[node.sequence] = node
        stack += [e for e in node.edges if isinstance(e, Node)]
    needed: set[int] = set()
    for sequence in sorted(seen):
        node = seen[sequence]
        slots = node.slots or (0,) * len(node.edges)
        for e, slot in zip(node.edges, slots, strict=True):
            if isinstance(e, Node):
                hit = e.sequence in needed or (e.sequence, slot) in targets
            else:
                hit = e is not None and id(e) in targets
            if hit:
                needed.add(sequence)
                break
    return needed
