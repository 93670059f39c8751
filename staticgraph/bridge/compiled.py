"""A traced function as machine code: calls on tensors, and its part in their gradients."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakSet

import numpy as np

from staticgraph.bridge.gradient import gradient_of, kept_for, split
from staticgraph.bridge.region import Region, Source
from staticgraph.bridge.training import Effect, SpentNode
from staticgraph.dynamic.apply import edge, wrap
from staticgraph.dynamic.engine import sources_of
from staticgraph.dynamic.modes import MODES
from staticgraph.dynamic.tape import Node, type_of
from staticgraph.dynamic.versions import FROZEN
from staticgraph.errors import RunError, UnimplementedError
from staticgraph.ir import loc
from staticgraph.ir.function import Function, Value
from staticgraph.ir.op import lookup
from staticgraph.runtime.compile import compile_function
from staticgraph.runtime.executable import Executable
from staticgraph.runtime.store import Store

_IDENTITY = lookup("Identity")


class Runner:
    """A function and its machine code, made when it is first run."""

    def __init__(self, function: Function, reason: str) -> None:
        self.function, self.reason = function, reason
        self.executable: Executable | None = None
        self._store = Store()
        self._lock = threading.Lock()
        _living.add(self)

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run on one array per parameter; BrokenGuardError where sizes are not as assumed."""
        with self._lock:
            exe = self.executable
            if exe is None:
                exe = self.executable = compile_function(self.function, reason=self.reason)
            results = exe.again(arrays, self._store)
            if results is None:
                results = exe.run(arrays, self._store)
        return [np.asarray(r) for r in results]

    def forked(self) -> None:
        """Go on in a forked child: a call that a thread of the parent makes never ends here."""
        if self._lock.locked():
            self._lock = threading.Lock()
            if self.executable is not None:
                self.executable.running = False


def _after_fork() -> None:
    for runner in list(_living):
        runner.forked()


_living: WeakSet[Runner] = WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Compiled:
    """A function of tensors.

    Args:
      function: parameters as `sources` says; results first, then a value for each of `effects`.
      effects: what is done to the outside with the other values.
      afterwards: what else is done to it.
      trains: the function differentiates; results in `spent` can take no part in a gradient.
    """

    def __init__(
        self, function: Function, sources: Sequence[Source], regions: Sequence[Region],
        effects: Sequence[Effect] = (), name: str = "function", trains: bool = False,
        spent: Sequence[int] = (), afterwards: Sequence[Callable[[], None]] = (),
    ) -> None:  # fmt: skip
        self.function, self.sources, self.regions = function, tuple(sources), tuple(regions)
        self.effects, self.name = tuple(effects), name
        self.trains, self.spent, self.afterwards = trains, tuple(spent), tuple(afterwards)
        self.count = len(function.results) - len(self.effects)
        self.runner = Runner(function, "first call")
        self._gradients: dict[Any, Compiled] = {}
        self._splits: dict[Any, _Split] = {}

    @property
    def executables(self) -> list[Executable]:
        """The machine code of the forward function: without a gradient, and with."""
        runners = [self.runner, *[s.forward for s in self._splits.values()]]
        return [r.executable for r in runners if r.executable is not None]

    def call(self, arguments: Sequence[Any], cotangents: Sequence[Any] = ()) -> list[Any]:
        """The results as tensors; recorded where a gradient is wanted."""
        return self._call([self._tensor(s, arguments, cotangents) for s in self.sources])

    def again(self, first: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
        """The same with tensors for the first parameters, whatever their sources are."""
        tensors = list(first)
        for s in self.sources[len(first) :]:
            tensors.append(self._tensor(s, (), cotangents))
        return self._call(tensors)

    def _call(self, tensors: list[Any]) -> list[Any]:
        arrays = [
            _number(s) if t is None else t._array
            for s, t in zip(self.sources, tensors, strict=True)
        ]
        if self.trains:
            return self._trained(tensors, arrays)
        if MODES.grad:
            edges = [None if t is None else edge(t) for t in tensors]
            wanted = tuple(
                i for i, e in enumerate(edges)
                if e is not None and self.function.params[i].value.dtype.is_differentiable
            )  # fmt: skip
            given = tuple(
                i for i, v in enumerate(self.function.results[: self.count])
                if v.dtype.is_differentiable
            )  # fmt: skip
            if wanted and given:
                return self._recorded(tensors, arrays, edges, wanted, given)
        results = self.runner(arrays)
        self._effects(results)
        return [wrap(r) for r in results[: self.count]]

    @staticmethod
    def _tensor(source: Source, arguments: Sequence[Any], cotangents: Sequence[Any]) -> Any:
        match source.kind:
            case "argument":
                return arguments[source.number]
            case "cotangent":
                return cotangents[source.number]
            case "captured":
                return source.of
            case "gradient":
                return source.of._grad
            case _:
                return None

    def _effects(self, results: Sequence[np.ndarray]) -> None:
        if not self.effects and not self.afterwards:
            return
        given = {id(r) for r in results[: self.count]}
        for effect, array in zip(self.effects, results[self.count :], strict=False):
            effect(array.copy() if id(array) in given else array)
            given.add(id(array))
        for then in self.afterwards:
            then()

    def _trained(self, tensors: list[Any], arrays: list[np.ndarray]) -> list[Any]:
        """A call of a function that has backward inside."""
        for source, t in zip(self.sources, tensors, strict=True):
            if source.kind == "argument" and edge(t) is not None:
                raise UnimplementedError(
                    f"argument tensor {source.number} of {self.name}, which has backward inside, "
                    f"requires a gradient: it is a {type_of(t._array).public()}",
                    loc=loc.caller(),
                    hint="pass x.detach(), or let the function use the tensor without being "
                    "given it",
                )
        results = self.runner(arrays)
        self._effects(results)
        made = [wrap(r) for r in results[: self.count]]
        if self.spent:
            node = SpentNode(
                _IDENTITY, {}, (), (), tuple(m._array for m in made), (), (), ()
            )  # fmt: skip
            node.called = self.name
            for i in self.spent:
                made[i]._node, made[i]._slot, made[i]._requires = node, i, True
        return made

    # ------------------------------------------------------------ gradients
    def gradient(self, wanted: tuple[int, ...], given: tuple[int, ...]) -> Compiled:
        """The cotangents of parameters, as a function of the same and of those of results."""
        known = self._gradients.get((wanted, given))
        if known is None:
            function, sources = gradient_of(
                self.function, self.sources, self.regions, wanted, given
            )
            known = Compiled(function, sources, self.regions, name=f"{self.name}Backward")
            self._gradients[wanted, given] = known
        return known

    def _recorded(
        self, tensors: list[Any], arrays: list[np.ndarray], edges: list[Any],
        wanted: tuple[int, ...], given: tuple[int, ...],
    ) -> list[Any]:  # fmt: skip
        parts = self._splits.get((wanted, given))
        if parts is None:
            parts = self._splits[wanted, given] = _Split(self, wanted, given)
        results = parts.forward(arrays)
        n = len(self.function.results)
        self._effects(results[:n])
        made = [wrap(r) for r in results[: self.count]]
        node = _CompiledNode(
            _IDENTITY, {}, (), tuple(arrays), tuple(m._array for m in made),
            tuple(e if i in wanted else None for i, e in enumerate(edges)),
            tuple(0 if t is None else t._slot for t in tensors),
            (*[FROZEN if t is None else t._version for t in tensors],
             *[m._version for m in made]),
        )  # fmt: skip
        node.parts, node.kept = parts, results[n:]
        for i in given:
            made[i]._node, made[i]._slot, made[i]._requires = node, i, True
        return made


def _number(source: Source) -> np.ndarray:
    """A number of the outside that a call reads."""
    if source.kind == "counter":
        return np.array(source.of.counter, np.int64)
    return np.array(float(source.of["lr"]), np.float64)


class _Split:
    """The forward function that keeps what its gradient needs, and that gradient."""

    def __init__(self, owner: Compiled, wanted: tuple[int, ...], given: tuple[int, ...]) -> None:
        self.owner, self.wanted, self.given = owner, wanted, given
        joint = owner.gradient(wanted, given)
        kept = kept_for(owner.function, joint.function)
        first, second, self.sources = split(owner.function, joint.function, joint.sources, kept)
        self.forward = Runner(first, "first call with a gradient")
        self.backward = Runner(second, "first gradient")
        read: set[Value] = {v for n in second.nodes for v in n.inputs} | set(second.results)
        self.reads = [i for i, p in enumerate(owner.function.params) if p.value in read]


class _CompiledNode(Node):
    """The node of a call of a compiled function."""

    __slots__ = ("kept", "parts")

    parts: Any
    kept: Any

    def name(self) -> str:
        return f"{self.parts.owner.name}Backward"

    def check_alive(self) -> None:
        if self.inputs is None:
            raise RunError(
                "backward runs a second time through a call of a compiled function whose saved "
                "tensors the first run has freed",
                loc=loc.caller(),
                operands=(f"called at {loc.resolve(self.mark).excerpt()}",),
                hint="call the first backward with retain_graph=True",
            )

    def changed(self, i: int) -> Any:
        return RunError(
            f"the gradient of {self.parts.owner.name} needs a tensor that has been changed in "
            f"place since: version {self.versions[i][0]}, expected {self.stamps[i]}",
            loc=loc.caller(),
            operands=(
                f"called at {loc.resolve(self.mark).excerpt()}",
                f"changed at {loc.resolve(self.versions[i][1]).excerpt()}",
            ),
            hint="change a .clone(), or change it after backward",
        )

    def _check(self) -> None:
        self.check_alive()
        for i in self.parts.reads:
            if self.versions[i][0] != self.stamps[i]:
                raise self.changed(i)

    def pull(self, gs: list[Any], wanted: tuple[bool, ...]) -> Any:
        self._check()
        full = [np.zeros_like(a) if g is None else g for g, a in zip(gs, self.outputs, strict=True)]
        arrays = list(self.inputs)
        for s in self.parts.sources[len(arrays) :]:
            match s.kind:
                case "cotangent":
                    arrays.append(full[s.number])
                case "kept":
                    arrays.append(self.kept[s.number])
                case _:  # a tensor that only the gradient uses
                    arrays.append(s.of._array)
        return self._spread(self.parts.backward(arrays), wanted)

    def _spread(self, found: Sequence[Any], wanted: tuple[bool, ...]) -> list[Any]:
        out: list[Any] = [None] * len(self.edges)
        for i, d in zip(self.parts.wanted, found, strict=True):
            if wanted[i]:
                out[i] = d
        return out

    def pull_recorded(self, gs: list[Any], wanted: tuple[bool, ...]) -> Any:
        self._check()
        parts = self.parts
        joint = parts.owner.gradient(parts.wanted, parts.given)
        inputs, _ = sources_of(self)
        full = [
            wrap(np.zeros_like(a)) if g is None else g
            for g, a in zip(gs, self.outputs, strict=True)
        ]
        return self._spread(joint.again(inputs, full), wanted)

    def release(self) -> None:
        super().release()
        self.kept = ()
