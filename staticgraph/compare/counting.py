"""What a step does, counted: operations, kernels, native calls, bytes.

Define-by-run operations are counted where the engine calls numpy, those of PyTorch by its
dispatcher, a hand-written program's by an array that sees every function of numpy it goes through.
Bytes are those of the arrays that operations return, in memory of their own.
"""

from __future__ import annotations

import importlib
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticgraph.compare.pair import Pair, Static, Step
from staticgraph.dynamic.modes import MODES
from staticgraph.dynamic.optim.optimizer import Optimizer
from staticgraph.dynamic.plans import watched
from staticgraph.dynamic.tensor import Tensor
from staticgraph.ir.function import Function
from staticgraph.ir.program import Branch, Program, Repeat
from staticgraph.runtime.compile import function_stages


@dataclass
class Tally:
    """Operations, and bytes of what they returned."""

    ops: int = 0
    bytes: int = 0

    def note(self, results: Any) -> None:
        """Count an operation that gave `results`."""
        self.ops += 1
        for r in results if isinstance(results, (tuple, list)) else (results,):
            if isinstance(r, (np.ndarray, np.generic)) and getattr(r, "base", None) is None:
                self.bytes += r.nbytes


# ---------------------------------------------------------------- numpy
def counted(tally: Tally) -> type[np.ndarray]:
    """An array class that notes every function of numpy that is applied to it."""

    class Counted(np.ndarray):
        """Gives results of its own class, so that what follows is counted, too."""

        def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
            out = kwargs.get("out")
            if out is not None:
                kwargs["out"] = tuple(_plain(o) for o in out)
            result = getattr(ufunc, method)(*map(_plain, inputs), **kwargs)
            tally.ops += 1
            if out is not None:
                return out[0] if len(out) == 1 else out
            tally.bytes += getattr(result, "nbytes", 0)
            return _again(result)

        def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
            plain = {k: _plain(v) for k, v in kwargs.items()}
            result = func(*[_plain(a) for a in args], **plain)
            tally.note(result)
            return _again(result)

    def _plain(value: Any) -> Any:
        if isinstance(value, Counted):
            return value.view(np.ndarray)
        return [_plain(v) for v in value] if isinstance(value, list) else value

    def _again(value: Any) -> Any:
        if isinstance(value, (np.ndarray, np.generic)) and value.dtype != bool:
            return np.asarray(value).view(Counted)
        return value

    return Counted


def by_hand_tally(pair: Pair, items: Sequence[Any], warm: int) -> Tally:
    """What the hand-written program does for all items behind the first `warm`."""
    tally = Tally()
    cls = counted(tally)
    step = pair.by_hand({k: v.copy().view(cls) for k, v in pair.values().items()})
    for k, item in enumerate(items):
        if k == warm:
            tally.ops = tally.bytes = 0
        step(_seen(item, cls))
    return tally


def _seen(item: Any, cls: type[np.ndarray]) -> Any:
    if isinstance(item, tuple):
        return tuple(_seen(x, cls) for x in item)
    return item.view(cls) if isinstance(item, np.ndarray) else item


# ---------------------------------------------------------------- the dynamic engine
@contextmanager
def dynamic_tally() -> Iterator[Tally]:
    """Count what the dynamic engine of this thread does inside."""
    tally = Tally()
    cls = counted(tally)
    original = MODES.run

    def rule(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        out = function(*args, **kwargs)
        tally.note(out)
        return out

    def run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        plan = watched(function, rule)
        if plan is not None:
            return original(plan, *args, **kwargs)
        owner = getattr(function, "__self__", None)
        if isinstance(owner, Optimizer):
            with _seen_by(owner, cls):
                return original(function, *args, **kwargs)
        return original(rule, function, *args, **kwargs)

    MODES.run = run
    try:
        yield tally
    finally:
        MODES.run = original


@contextmanager
def _seen_by(optimizer: Optimizer, cls: type[np.ndarray]) -> Iterator[None]:
    """Let an optimizer work on counted views of its arrays, which share their memory."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    held = [t for p in params for t in (p, p.grad) if t is not None]
    held += [t for s in optimizer.state.values() for t in s.values() if isinstance(t, Tensor)]
    arrays = [t._array for t in held]
    for t, a in zip(held, arrays, strict=True):
        t._array = a.view(cls)
    try:
        yield
    finally:
        for t, a in zip(held, arrays, strict=True):
            t._array = a
        for s in optimizer.state.values():
            for t in s.values():
                if isinstance(t, Tensor):
                    t._array = t._array.view(np.ndarray)


# ---------------------------------------------------------------- PyTorch
@dataclass
class TorchTally(Tally):
    """Also the most bytes that were held at a time by what the step made."""

    peak: int = 0


def torch_mode(tally: TorchTally) -> Any:
    """A context in which PyTorch's dispatcher tells of every operation."""
    base: Any = importlib.import_module("torch.utils._python_dispatch").TorchDispatchMode
    weak: Any = importlib.import_module("torch.multiprocessing.reductions").StorageWeakRef

    live: list[tuple[Any, int]] = []

    class Mode(base):  # type: ignore[misc]
        """Counts operations of the library itself, not the profiler's marks."""

        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = function(*args, **(kwargs or {}))
            if function.namespace != "aten":
                return out
            tally.ops += 1
            known = {s for a in _tensors(args) for s in (a.untyped_storage().data_ptr(),)}
            for t in _tensors(out):
                storage = t.untyped_storage()
                if storage.data_ptr() not in known:
                    known.add(storage.data_ptr())
                    tally.bytes += storage.nbytes()
                    live.append((weak(storage), storage.nbytes()))
            live[:] = [(ref, n) for ref, n in live if not ref.expired()]
            tally.peak = max(tally.peak, sum(n for _, n in live))
            return out

    return Mode()


def _tensors(values: Any) -> list[Any]:
    if isinstance(values, (tuple, list)):
        return [t for v in values for t in _tensors(v)]
    return [values] if hasattr(values, "untyped_storage") else []


# ---------------------------------------------------------------- the static graph
@dataclass(frozen=True, slots=True)
class StaticCounts:
    """Of one step, on average.

    Attributes:
      nodes: operations of the graph that the step needs, as they were built; those of a loop's
        body as often as it runs.
      kernels: kernels and library calls that run, those of loops likewise.
      calls: of native code.
      allocated: bytes of the arrays that are handed out.
      working: bytes of temporaries, copies of feeds and tables, of all plans; allocated once.
      executables: compiled functions for steps.
      plans: bindings of them to sizes.
    """

    nodes: float
    kernels: float
    calls: float
    allocated: float
    working: int
    executables: int
    plans: int


def static_counts(pair: Pair, static: Static, items: Sequence[Any]) -> StaticCounts:
    """Run a step for each item and count."""
    nodes = kernels = calls = allocated = 0.0
    seen: dict[Any, Function] = {}
    ran: dict[int, Any] = {}
    for item in items:
        fetches, feeds = static.call(item)
        before = {id(e): e.counts.runs for e in static.session.executables()}
        called = {id(e): e.counts.calls for e in static.session.executables()}
        values = static.session.run(list(fetches), feeds)
        trips = pair.iterations(item)
        key = tuple(map(id, fetches))
        if key not in seen:
            seen[key] = function_stages(
                static.graph, list(fetches), list(feeds), stop_after="close"
            ).function
        nodes += function_size(seen[key], trips)
        for e in static.session.executables():
            if e.counts.runs > before.get(id(e), 0):
                ran[id(e)] = e
                kernels += program_size(e.program, trips)
                calls += e.counts.calls - called.get(id(e), 0)
        allocated += sum(v.nbytes for v in values if v is not None)
    plans, working = 0, 0
    for report in static.session.explain().executables:
        if any(e.program is report.program for e in ran.values()):
            plans += len(report.plans)
            working += report.arenas  # which plans share
            for plan in report.plans:
                f = plan.footprint
                working += f.staging + f.results + f.table
    n = len(items)
    return StaticCounts(nodes / n, kernels / n, calls / n, allocated / n, working, len(ran), plans)


def function_size(function: Function, trips: int) -> int:
    """Operations, without constants; those of bodies for so many iterations."""
    total = 0
    for node in function.nodes:
        body, branches = node.attrs.get("body"), node.attrs.get("branches")
        if isinstance(body, Function):
            total += trips * function_size(body, trips)
        elif branches and isinstance(branches[0], Function):
            total += max(function_size(b, trips) for b in branches)
        else:
            total += node.op.name != "Const"
    return total


def program_size(program: Program, trips: int) -> int:
    """Kernels, library calls and host steps; those of bodies for so many iterations."""
    total = 0
    for step in program.steps:
        if isinstance(step, Repeat):
            total += trips * program_size(step.body, trips)
        elif isinstance(step, Branch):
            total += max(program_size(p, trips) for p in step.programs)
        else:
            total += 1
    return total


# ---------------------------------------------------------------- memory
def peak_bytes(step: Step, items: Sequence[Any]) -> int:
    """The most memory that a step takes beyond what was there before, as tracemalloc sees it."""
    running = tracemalloc.is_tracing()
    if not running:
        tracemalloc.start()
    try:
        worst = 0
        for item in items:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            step(item)
            worst = max(worst, tracemalloc.get_traced_memory()[1] - before)
        return worst
    finally:
        if not running:
            tracemalloc.stop()


__all__ = [
    "StaticCounts", "Tally", "TorchTally", "by_hand_tally", "counted", "dynamic_tally",
    "function_size", "peak_bytes", "program_size", "static_counts",
    "torch_mode",
]  # fmt: skip
