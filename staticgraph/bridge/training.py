"""Backward and optimizers inside a traced function: a training step as one static function.

Gradients, the state of optimizers and their learning rates are Python's, outside of every trace.  A
trace reads them as parameters and gives them back as results; what it took for granted about them
(there is no gradient yet, the momentum is 0.9) is a guard that every later call looks at first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from staticgraph.bridge.gradient import applications
from staticgraph.bridge.symbolic import SymbolicArray, known_size
from staticgraph.dynamic.apply import Taped, wrap
from staticgraph.dynamic.element_types import NUMPY
from staticgraph.dynamic.engine import check_gradient
from staticgraph.dynamic.modes import MODES, enable_grad, no_grad
from staticgraph.dynamic.tape import Node
from staticgraph.dynamic.versions import bump
from staticgraph.errors import RunError, UnimplementedError, UsageError
from staticgraph.ir import dims as D
from staticgraph.ir import loc
from staticgraph.ir.function import Value
from staticgraph.ir.op import lookup
from staticgraph.ir.types import TensorType
from staticgraph.passes.autodiff import backward

if TYPE_CHECKING:
    from staticgraph.bridge.tracer import Tracer

Guard = Callable[[], bool]
Effect = Callable[[np.ndarray], None]

_KEPT = ("params", "param_names", "lr")  # of a group's options: not compared


class _Gradient:
    """The `.grad` of a tensor of the outside."""

    def __init__(self, of: Any) -> None:
        self.of = of
        self.entry: Any = None  # what stands for the one that was there
        self.start: Value | None = None
        self.now: Any = None


class _Held:
    """Stands for a tensor of an optimizer's state; its formulas take `_array`."""

    __slots__ = ("_array",)

    def __init__(self, tensor: Any) -> None:
        self._array = tensor


class Training:
    """What a tracer knows of gradients and optimizers.

    Attributes:
      used: whether the function differentiates.
      guards: what must hold of the outside for the trace to be right.
      afterwards: what happens to the outside after every run, besides arrays.
    """

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.used = False
        self.guards: list[Guard] = []
        self.afterwards: list[Callable[[], None]] = []
        self._gradients: dict[int, _Gradient] = {}
        self._own: dict[int, tuple[Any, list[Value]]] = {}  # leaves that the function makes
        self._before: dict[int, list[Value]] = {}  # what leaves of the outside stood for
        self._born: list[tuple[dict[str, Any], str, Any]] = []
        self._rates: dict[int, Any] = {}
        self._modules: dict[int, Any] = {}
        self._started: list[dict[str, Any]] = []
        self._entered: list[tuple[Any, Any]] = []

    def called(self, module: Any) -> None:
        """A module is called: whether it is trained, its hooks and parameters are frozen."""
        if id(module) not in self._modules:
            was = module._terms()
            self._modules[id(module)] = module
            self.guards.append(lambda: module._terms() == was)

    def replaced(self, what: str) -> None:
        """UnimplementedError: a module would be left with a tensor of the trace."""
        raise UnimplementedError(
            f"{what} gets another tensor inside a compiled function", loc=loc.caller(),
            hint="change it in place, as in buffer.copy_(value)",
        )  # fmt: skip

    # ------------------------------------------------------------ leaves
    def changing(self, x: Any) -> None:
        """A tensor of the outside is about to stand for another value."""
        if not x._requires:
            return
        if x._node is None and MODES.grad:
            raise RunError(
                f"a leaf that requires a gradient, a {_type(x._array).public()}, is changed in "
                "place while operations are recorded",
                loc=loc.caller(), hint="put the update under `with torch.no_grad():`",
            )  # fmt: skip
        self._before.setdefault(id(x), []).append(self.tracer.value_of(x))

    def asked(self, t: Any) -> None:
        """``requires_grad_()`` of a tensor that the function has made."""
        value = self.tracer.value_of(t)
        if value in self.reached():
            return
        same = self.tracer.builder.emit(lookup("Identity"), (value,), {}).output
        t._array = SymbolicArray(same)
        self._own[id(t)] = (t, [same])

    def leaves(self) -> list[tuple[Any, list[Value]]]:
        """Tensors that want a gradient, each with all values that it has stood for."""
        out = []
        for source in self.tracer.sources:
            t = source.of
            if source.kind == "captured" and t._requires:
                values = [self.tracer.captured(t), *self._before.get(id(t), ())]
                if isinstance(t._array, SymbolicArray):
                    values.append(t._array.value)
                out.append((t, list(dict.fromkeys(values))))
        return out + list(self._own.values())

    def reached(self) -> set[Value]:
        """The values that depend on a leaf."""
        found = {v for _, values in self.leaves() for v in values}
        for node in self.tracer.builder.nodes:
            if node.op.name != "StopGradient" and any(v in found for v in node.inputs):
                found.update(v for v in node.outputs if v.dtype.is_differentiable)
        return found

    # ------------------------------------------------------------ .grad
    def gradient(self, t: Any) -> Any:
        """`t.grad`."""
        if self.tracer.is_fresh(t):
            return t._grad
        known = self._gradients.get(id(t))
        if known is not None:
            return known.now
        known = self._gradients[id(t)] = _Gradient(t)
        there = t._grad
        if there is None:
            self.guards.append(lambda: t._grad is None)
            return None
        kind, shape = there._array.dtype, there._array.shape
        self.guards.append(
            lambda: (
                t._grad is not None
                and t._grad._array.dtype == kind
                and t._grad._array.shape == shape
            )
        )
        type_ = TensorType(NUMPY[kind], shape)
        known.start = self.tracer.outside(f"grad{len(self._gradients)}", type_, "gradient", t)
        known.now = known.entry = self.tracer.tensor(known.start)
        return known.now

    def set_gradient(self, t: Any, value: Any) -> None:
        """``t.grad = value``."""
        if self.tracer.is_fresh(t):
            t._grad = value
            return
        known = self._gradients.get(id(t))
        if known is None:
            known = self._gradients[id(t)] = _Gradient(t)
        known.now = value

    def accumulate(self, t: Any, g: Any, create: bool) -> None:
        """Add to `t.grad`."""
        have = self.gradient(t)
        if have is None:
            self.set_gradient(t, g)
        elif create:
            self.set_gradient(t, have + g)
        else:
            with no_grad():
                have.add_(g)

    # ------------------------------------------------------------ backward
    def _begin(self, tensors: Sequence[Any], gradients: Sequence[Any], what: str) -> dict[Any, Any]:
        """The cotangents to start from."""
        if not self.tracer.grad:
            raise RunError(
                f"{what} inside a compiled function that is called under no_grad",
                loc=loc.caller(), hint="call the function outside of torch.no_grad()",
            )  # fmt: skip
        self.used = True
        values = []
        for t in tensors:
            if not isinstance(t, Taped):
                raise UsageError(f"{what} takes tensors, got {type(t).__name__}", loc=loc.caller())
            values.append(self.tracer.value_of(t))
        reached = self.reached()
        found: dict[Any, Any] = {}
        for v, g in zip(values, gradients, strict=True):
            if v not in reached:
                raise RunError(
                    f"{what}: the {v.type.public()} does not require a gradient and no operation "
                    "is recorded that made it",
                    loc=loc.caller(),
                    hint="it must come from parameters, or from tensors with requires_grad=True, "
                    "outside torch.no_grad()",
                )
            if g is None:
                if known_size(D.product(v.type.dims)) != 1:
                    raise RunError(
                        f"{what} from a {v.type.public()} without a gradient for it: only a "
                        "single number has the obvious one",
                        loc=loc.caller(),
                        hint="reduce it first, as in loss.sum().backward(), or pass gradient=",
                    )
                start = self.tracer.builder.emit(lookup("OnesLike"), (v,), {}).output
            else:
                check_gradient(g, SymbolicArray(v), "the gradient given")  # type: ignore[arg-type]
                start = self.tracer.value_of(g)
            found[v] = found[v] + start if v in found else start
        return found

    def _run(self, cotangents: dict[Any, Any], create: bool) -> None:
        reached = self.reached()
        nodes = list(self.tracer.builder.nodes)
        was, MODES.grad = MODES.grad, create
        try:
            backward(applications(nodes, self.tracer.regions), cotangents, lambda v: v in reached)
        finally:
            MODES.grad = was

    def _found(self, t: Any, values: Sequence[Value], cotangents: Any, create: bool) -> Any:
        """The gradient of a leaf as a tensor, after its hooks; None where it has no part."""
        parts = [cotangents[v] for v in values if v in cotangents]
        if not parts:
            return None
        if t._node is not None:
            raise UnimplementedError(
                "backward inside a compiled function goes on to what was computed outside of it",
                loc=loc.caller(),
                hint="compute that inside as well, or pass it on with .detach()",
            )
        total = parts[0]
        for p in parts[1:]:
            total = total + p
        g = self._made(total, create)
        for hook in list(t._hooks or ()):
            out = hook(g)
            if out is not None:
                check_gradient(out, t._array, "the gradient that a hook returned")
                g = out
        return g

    def _made(self, value: Value, create: bool) -> Any:
        if not create:
            value = self.tracer.builder.emit(lookup("StopGradient"), (value,), {}).output
        return self.tracer.tensor(value)

    def backward(
        self, tensors: Sequence[Any], gradients: Sequence[Any], create: bool,
        inputs: Sequence[Any] | None,
    ) -> None:  # fmt: skip
        """`torch.autograd.backward`."""
        cotangents = self._begin(tensors, gradients, "backward")
        wanted = None if inputs is None else {id(x) for x in inputs}
        known = {id(t) for t, _ in self.leaves()}
        if wanted is not None and not wanted <= known:
            raise UnimplementedError(
                "backward inside a compiled function adds to .grad of leaves alone",
                loc=loc.caller(), hint="use torch.autograd.grad for other tensors",
            )  # fmt: skip
        self._run(cotangents, create)
        found = [
            (t, self._found(t, values, cotangents, create))
            for t, values in self.leaves()
            if wanted is None or id(t) in wanted
        ]
        for t, g in found:
            if g is not None:
                self.accumulate(t, g, create)

    def grad(
        self, outputs: Sequence[Any], inputs: Sequence[Any], gradients: Sequence[Any],
        create: bool, allow_unused: bool, materialize: bool,
    ) -> tuple[Any, ...]:  # fmt: skip
        """`torch.autograd.grad`."""
        cotangents = self._begin(outputs, gradients, "grad")
        leaves = {id(t): values for t, values in self.leaves()}
        reached = self.reached()
        of: list[list[Value]] = []
        for x in inputs:
            if not isinstance(x, Taped) or self.tracer.value_of(x) not in reached:
                raise RunError(
                    "grad: an input does not require a gradient", loc=loc.caller(),
                    hint="make it with requires_grad=True",
                )  # fmt: skip
            of.append(leaves.get(id(x)) or [self.tracer.value_of(x)])
        self._run(cotangents, create)
        out = []
        for i, (x, values) in enumerate(zip(inputs, of, strict=True)):
            g = self._found(x, values, cotangents, create)
            if g is None:
                if materialize:
                    g = self._made(lookup("ZerosLike")(values[-1]), False)
                elif not allow_unused:
                    raise RunError(
                        f"grad: input {i}, a {values[-1].type.public()}, has no part in the "
                        "outputs",
                        loc=loc.caller(), hint="pass allow_unused=True to get None for it",
                    )  # fmt: skip
            out.append(g)
        return tuple(out)

    # ------------------------------------------------------------ optimizers
    def step(self, optimizer: Any, closure: Any) -> Any:
        """A step of an optimizer whose formulas can be traced."""
        name = type(optimizer).__name__
        if not optimizer.traceable:
            raise UnimplementedError(
                f"{name}.step inside a compiled function: it decides by values",
                loc=loc.caller(),
                hint="compile the function up to backward, and call step outside; SGD, Adam, "
                "AdamW, Adamax, RMSprop, Adagrad and Adadelta can be inside",
            )
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        groups = [(g, {k: v for k, v in g.items() if k not in _KEPT}) for g in
                  optimizer.param_groups]  # fmt: skip
        params = [list(g["params"]) for g, _ in groups]
        self.guards.append(lambda: _same_groups(optimizer, groups, params))
        with no_grad():
            for group, _ in groups:
                self._group(optimizer, group)

        def count() -> None:
            optimizer.steps_taken += 1

        self.afterwards.append(count)
        return loss

    def _group(self, optimizer: Any, group: dict[str, Any]) -> None:
        given = {**group, "lr": self._rate(group)}
        for p in group["params"]:
            g = self.gradient(p)
            if g is None:
                continue
            if group.get("maximize"):
                g = -g
            if p not in optimizer.state:
                self._entered.append((optimizer, p))
            state = optimizer.state[p]
            kept = self._state(optimizer, p, group, state)
            names = set(kept)
            optimizer.update(p, g, kept, given)
            for name in kept.keys() - names:
                self._born.append((state, name, kept[name]._array))

    def _rate(self, group: dict[str, Any]) -> Any:
        """The learning rate: read with every call, for schedules change it."""
        if isinstance(group["lr"], Taped):
            return group["lr"]
        known = self._rates.get(id(group))
        if known is None:
            type_ = TensorType(NUMPY[np.dtype(np.float64)], ())
            value = self.tracer.outside(f"lr{len(self._rates)}", type_, "rate", group)
            known = self._rates[id(group)] = self.tracer.tensor(value)
        return known

    def _state(
        self, optimizer: Any, p: Any, group: dict[str, Any], state: dict[str, Any]
    ) -> dict[str, Any]:
        born = {k: _Held(v) for s, k, v in self._born if s is state}
        if not born:  # what is there from an earlier call
            if not state:
                MODES.tracer = None  # the state is not part of the trace
                try:
                    state.update(optimizer.initial(self.tracer.array_of(p), group))
                finally:
                    MODES.tracer = self.tracer
                self._started.append(state)
            there = dict(state)
            self.guards.append(lambda: _same(optimizer.state.get(p, {}), there))
        return {**{k: _Held(v) for k, v in state.items()}, **born}

    def undo(self) -> None:
        """The trace has failed: take back what it has begun."""
        for state in self._started:
            state.clear()
        for optimizer, p in self._entered:
            optimizer.state.pop(p, None)

    # ------------------------------------------------------------ the end
    def finish(self) -> list[tuple[Value, Effect]]:
        """The new values of what is outside, and what each does there."""
        out: list[tuple[Value, Effect]] = []
        for known in self._gradients.values():
            t, now = known.of, known.now
            if now is None:
                self.afterwards.append(lambda t=t: setattr(t, "_grad", None))  # type: ignore[misc]
                continue
            value = self.tracer.value_of(now)
            if now is not known.entry:
                out.append((value, lambda a, t=t: setattr(t, "_grad", wrap(a))))  # type: ignore[misc]
            elif value is not known.start:
                out.append((value, lambda a, t=t: overwrite(t._grad, a)))  # type: ignore[misc]
        for state, name, tensor in self._born:
            value = self.tracer.value_of(tensor)
            out.append((value, lambda a, s=state, k=name: s.__setitem__(k, wrap(a))))  # type: ignore[misc]
        for source in self.tracer.sources:
            if self.used and source.kind == "captured":
                was = _wishes(source.of)
                self.guards.append(lambda t=source.of, was=was: _wishes(t) == was)  # type: ignore[misc]
        return out

    def spent(self, results: Sequence[Value]) -> list[int]:
        """The results that a later backward would go through again."""
        if not self.used:
            return []
        reached = self.reached()
        return [i for i, v in enumerate(results) if v in reached]


def overwrite(t: Any, array: np.ndarray) -> None:
    """Put new values into the memory of a tensor."""
    np.copyto(t._array, array)
    bump(t._version)


def _same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(a[k] is b[k] for k in b)


def _wishes(t: Any) -> tuple[Any, ...]:
    """Whether a gradient is wanted of a tensor, and who looks at it."""
    return t._requires, *(t._hooks or ())


def _same_groups(optimizer: Any, groups: list[Any], params: list[list[Any]]) -> bool:
    now = optimizer.param_groups
    return len(now) == len(groups) and all(
        g is was
        and {k: v for k, v in g.items() if k not in _KEPT} == options
        and len(g["params"]) == len(ps)
        and all(a is b for a, b in zip(g["params"], ps, strict=True))
        for g, (was, options), ps in zip(now, groups, params, strict=True)
    )


def _type(array: Any) -> TensorType:
    return TensorType(NUMPY[array.dtype], array.shape)


class SpentNode(Node):
    """The node of a result whose backward has been run inside the compiled function."""

    __slots__ = ("called",)

    called: str

    def name(self) -> str:
        return f"{self.called}Backward"

    def check_alive(self) -> None:
        raise RunError(
            f"backward through a result of {self.called}, which has run its backward inside: what "
            "that needed is not kept",
            loc=loc.caller(),
            operands=(f"called at {loc.resolve(self.mark).excerpt()}",),
            hint="call backward on all that needs it inside the compiled function, or use "
            "result.detach()",
        )
