"""Timing the runs of a session, from outside: nothing here exists for a run that is not profiled.

A run that is not profiled goes through code in which no instruction asks whether it is.  While a
session is profiled, it and what it has compiled are of the classes below, which do the same with
a clock: plans are walked by `codegen.driver.timed`, and what stands around the walk (placing
feeds, host steps, copying results, assigning variables) is timed from Python.  When the last
profile ends, everything gets its own class back.

A `Recorder` collects the times of one run in a `Run` and hands it, when the run has ended, to the
profiles that listen.  Everything happens under the session's lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import numpy as np

from staticgraph.codegen import driver
from staticgraph.codegen.loop_source import SUSPENDED, resume
from staticgraph.errors import CompileError, CompileFallbackWarning
from staticgraph.ir import loc
from staticgraph.ir.evaluate import evaluate
from staticgraph.ir.function import Function, Node
from staticgraph.ir.kernel import Kernel
from staticgraph.ir.op import Op
from staticgraph.ir.program import Buffer, Host, Launch, Library, Origin, Program, Step
from staticgraph.runtime.cost import Cost, step_cost
from staticgraph.runtime.executable import Executable
from staticgraph.runtime.plan import Plan
from staticgraph.runtime.quick import ASIDE
from staticgraph.runtime.session import BaseSession
from staticgraph.runtime.stepwise import Segment, Stepwise, host_rule
from staticgraph.runtime.store import Store, address
from staticgraph.runtime.threads import chunks

T = TypeVar("T")


def now() -> int:
    """Nanoseconds of the clock that timed walks read."""
    return time.clock_gettime_ns(driver.CLOCK)


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """Something that is timed: a step of a program, or what is done around the steps.

    Attributes:
      kind: kernel, library, host, reference (a node evaluated by numpy); compile, plan, feed,
        results, commit.
      name: a kernel's name in the program's text and its form, or the kind of call.
      unit: the executable it belongs to.
      step: position among the program's steps, those of loops and branches included.
    """

    kind: str
    name: str
    unit: Unit
    origins: tuple[Origin, ...] = ()
    step: int | None = None
    kernel: Kernel | None = None


@dataclass(slots=True, eq=False)
class Unit:
    """An executable, as profiles know it: by what was fetched when it first ran."""

    fetches: str
    sites: dict[Any, Site] = field(default_factory=dict)
    kernels: dict[Kernel, str] = field(default_factory=dict)
    steps: dict[Step, int] = field(default_factory=dict)

    def site(self, kind: str) -> Site:
        """The place of what is done around the steps."""
        return self.sites.setdefault(kind, Site(kind, kind, self))

    def of_step(self, step: Step) -> Site:
        """The place of a step."""
        if step not in self.sites:
            self.sites[step] = self._step(step)
        return self.sites[step]

    def _step(self, step: Step) -> Site:
        index = self.steps.get(step)
        if isinstance(step, Launch):
            kernel = step.kernel
            name = f"{self.kernels.get(kernel, 'kernel')} {kernel.form}"
            return Site("kernel", name, self, step.origins, index, kernel)
        if isinstance(step, Host):
            return Site("host", f"host {step.node.op.name}", self, step.origins, index)
        if isinstance(step, Library):
            return Site("library", step.kind, self, step.origins, index)
        kind = type(step).__name__.lower()  # a step that is made of others
        return Site(kind, kind, self, step.origins, index)

    def of_node(self, node: Node) -> Site:
        """The place of a node that the reference evaluates."""
        if node not in self.sites:
            origin = Origin(node.op.name, node.name, node.loc)
            self.sites[node] = Site("reference", node.op.name, self, (origin,))
        return self.sites[node]


class PlanSites:
    """What the rows of a plan's table are.

    Attributes:
      steps, sites: of each step that has rows; those of one step stand together.
      first: position of the first row of each step.
      threads: in how many threads each row may run.
    """

    def __init__(self, plan: Plan, unit: Unit) -> None:
        order = [r.step for r in plan.rows]
        first = [k for k, step in enumerate(order) if not k or order[k - 1] != step]
        self.steps = tuple(plan.program.steps[order[k]] for k in first)
        self.sites = tuple(unit.of_step(s) for s in self.steps)
        self.first = np.array(first, np.int64)
        shared = chunks(plan.rows, plan.threads, repeated=False)
        self.threads = tuple(plan.threads if size else 1 for size in shared)
        self._env = plan.env

    @cached_property
    def costs(self) -> tuple[Cost, ...]:
        """What each step moves and computes."""
        return tuple(step_cost(s, self._env) for s in self.steps)


@dataclass(slots=True)
class Span:
    """A stretch of time at a site; `bytes` were copied, `inside` is the time of spans within."""

    site: Site
    start: int
    end: int
    bytes: int = 0
    inside: int = 0

    @property
    def own(self) -> int:
        """The time that is not that of something within."""
        return self.end - self.start - self.inside


@dataclass(slots=True)
class Walked:
    """A walk over a table: begin and end of each row, zeros for rows that were not reached."""

    plan: PlanSites
    times: np.ndarray


@dataclass(slots=True)
class Run:
    """One run of a session: `inside` another one if a host step made it."""

    number: int
    unit: Unit
    thread: tuple[int, str]
    start: int
    inside: bool
    end: int = 0
    spans: list[Span] = field(default_factory=list)
    walks: list[Walked] = field(default_factory=list)
    open: set[str] = field(default_factory=set)

    def known(self, spans: int = 0, walks: int = 0) -> int:
        """The time of what was noted after so many spans and walks."""
        inner = sum(int((w.times[:, 1] - w.times[:, 0]).sum()) for w in self.walks[walks:])
        return inner + sum(s.own for s in self.spans[spans:])

    @property
    def rest(self) -> int:
        """The time that nothing else has: that of the interpreter between the steps."""
        return max(0, self.end - self.start - self.known())


class Listener(Protocol):
    """Who is told of runs."""

    def add(self, run: Run) -> None:
        """Take note of a run that has ended."""
        ...


class Recorder:
    """Times the runs of a session for those who listen.  There is one for a session at most."""

    def __init__(self, session: BaseSession) -> None:
        self.session = session
        self.listeners: list[Listener] = []
        self.runs: list[Run] = []  # those that are going on, outermost first
        self.count = 0
        self.clock = True  # whether steps can be timed one by one
        self.units: WeakKeyDictionary[Executable, Unit] = WeakKeyDictionary()
        self.plans: WeakKeyDictionary[Plan, PlanSites] = WeakKeyDictionary()
        self.functions: WeakKeyDictionary[Executable, Function] = WeakKeyDictionary()
        self.outside = Unit("")
        self.unit = self.outside
        self._adopted: WeakSet[Any] = WeakSet()

    # ---- changing classes
    def begin(self) -> None:
        """Let the session and all that it has compiled be timed."""
        try:
            driver.timed()  # compiled now, not in the first run
        except CompileError as e:
            text = f"{e.message}; what kernels take is told as the time of python"
            loc.warn(CompileFallbackWarning(text))
            self.clock = False
        self.session._words[ASIDE] += 1  # native runs have no clock
        kind = type(self.session)
        names = {"__slots__": (), "__module__": kind.__module__, "__qualname__": kind.__qualname__}
        timed_kind = type(kind.__name__, (TimedSession, kind), names)
        self._adopt(self.session, timed_kind)
        self._adopt(self.session._store, TimedStore)
        for exe in self.session.executables():
            self.adopt(exe)

    def end(self) -> None:
        """Give everything its own class back."""
        self.session._words[ASIDE] -= 1
        for x in list(self._adopted):
            x.__class__ = x.untimed
            del x.untimed, x.recorder
        self._adopted.clear()

    def _adopt(self, x: Any, kind: type) -> None:
        if x not in self._adopted:
            x.untimed, x.recorder = type(x), self
            x.__class__ = kind
            self._adopted.add(x)

    def adopt(self, exe: Executable) -> None:
        """Time an executable and its plans."""
        self._adopt(exe, TimedExecutable)
        for plan in exe.plans.values():
            self._adopt(plan, TimedPlan)
        if exe.stepwise is not None:
            self.adopt_stepwise(exe.stepwise)

    def adopt_plan(self, plan: Plan) -> None:
        """Time a plan."""
        self._adopt(plan, TimedPlan)

    def adopt_stepwise(self, runner: Stepwise) -> None:
        """Time a program that runs segment by segment."""
        self._adopt(runner, TimedStepwise)
        for item in runner.items:
            if isinstance(item, Segment):
                self._adopt(item, TimedSegment)
                for plan in item.plans.values():
                    self._adopt(plan, TimedPlan)
        for bodies in runner.inner.values():
            for body in bodies:
                self.adopt_stepwise(body)

    # ---- recording
    @contextmanager
    def run(self, fetches: str) -> Any:
        """Record a run, and tell the listeners when it has ended."""
        self.count += 1
        here = threading.current_thread()
        thread = (threading.get_native_id(), here.name)
        run = Run(self.count, Unit(fetches), thread, now(), bool(self.runs))
        outer, self.unit = self.unit, run.unit
        self.runs.append(run)
        try:
            yield
        finally:
            run.end = now()
            self.runs.pop()
            self.unit = outer
            for listener in list(self.listeners):
                listener.add(run)

    def enter(self, exe: Executable) -> Unit:
        """Note which executable runs."""
        unit = self.units.get(exe)
        if unit is None:
            unit = self.units[exe] = _unit(exe.program, self.runs[-1].unit.fetches)
        self.unit = self.runs[-1].unit = unit
        return unit

    def timed(self, what: str | Site, call: Callable[..., T], *args: Any, size: int = 0) -> T:
        """Call and note the time; of what calls itself only the outermost call is noted."""
        run = self.runs[-1] if self.runs else None
        key = what if isinstance(what, str) else ""
        if run is None or key in run.open:
            return call(*args)
        if key:
            run.open.add(key)
        before = len(run.spans), len(run.walks)
        start = now()
        try:
            return call(*args)
        finally:
            end = now()
            run.open.discard(key)
            site = what if isinstance(what, Site) else self.unit.site(what)
            run.spans.append(Span(site, start, end, size, run.known(*before)))

    def note(self, kind: str, start: int) -> None:
        """Note that something has taken from `start` until now."""
        if self.runs:
            self.runs[-1].spans.append(Span(self.unit.site(kind), start, now()))

    def walked(self, plan: Plan, times: np.ndarray) -> None:
        """Note a walk over a plan's table."""
        if not self.runs:
            return
        sites = self.plans.get(plan)
        if sites is None:
            sites = self.plans[plan] = PlanSites(plan, self.unit)
        self.runs[-1].walks.append(Walked(sites, times))


def _unit(program: Program, fetches: str) -> Unit:
    kernels = {k: f"k{i}" for i, k in enumerate(program.kernels())}
    return Unit(fetches, {}, kernels, {s: i for i, s in enumerate(program.every_step())})


# ---------------------------------------------------------------- the classes with a clock
class TimedSession(BaseSession):
    """A session whose runs are recorded."""

    __slots__ = ()
    recorder: Recorder

    def _run(self, entry: Any, values: Any) -> Any:
        plan = entry.plan
        with self.recorder.run(", ".join(f.name for f in (*plan.fetches, *plan.final))):
            return super()._run(entry, values)

    def _compile(self, *args: Any) -> Executable:
        start = now()
        exe = super()._compile(*args)
        self.recorder.adopt(exe)
        self.recorder.enter(exe)
        self.recorder.note("compile", start)
        return exe


class TimedExecutable(Executable):
    """An executable that times what it does around the walk."""

    recorder: Recorder

    def again(self, values: Iterable[Any], store: Store) -> list[Any] | None:
        self.recorder.enter(self)
        return super().again(values, store)

    def run(self, feeds: Sequence[np.ndarray], store: Store) -> list[Any]:
        self.recorder.enter(self)
        return super().run(feeds, store)

    def plan_for(self, feeds: Sequence[np.ndarray], store: Store) -> Plan:
        start, plans = now(), self.counts.plans
        plan = super().plan_for(feeds, store)
        self.recorder.adopt_plan(plan)
        if self.counts.plans != plans:
            self.recorder.note("plan", start)
        return plan

    def _results(self, plan: Plan, kept: Mapping[Buffer, np.ndarray]) -> list[Any]:
        found = zip(plan.program.results, plan.results, strict=True)
        size = 2 * sum(v.nbytes for b, v in found if b not in plan.keepers)
        return self.recorder.timed("results", super()._results, plan, kept, size=size)

    def _values(
        self, plan: Plan, kept: Mapping[Buffer, np.ndarray]
    ) -> list[tuple[str, np.ndarray]]:
        return self.recorder.timed("commit", super()._values, plan, kept)

    def _new_stepwise(self) -> Stepwise:
        runner = super()._new_stepwise()
        self.recorder.adopt_stepwise(runner)
        return runner

    def _evaluate(self, args: Sequence[Any]) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
        function = self.recorder.functions.get(self)
        if function is None:
            function = self.recorder.functions[self] = _timed_nodes(self.function, self.recorder)

        def host(node: Node, inputs: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> Any:
            site = self.recorder.unit.of_node(node)
            return self.recorder.timed(site, host_rule, node, inputs, attrs)

        return evaluate(function, args, host)


class TimedPlan(Plan):
    """A plan that is walked with a clock."""

    recorder: Recorder

    def fill(self, values: Iterable[Any]) -> dict[Buffer, np.ndarray] | None:
        size = 2 * sum(view.nbytes for _, view, _, _, direct, *_ in self.places if not direct)
        return self.recorder.timed("feed", super().fill, values, size=size)

    def feed(self, b: Buffer, value: np.ndarray) -> np.ndarray:
        size = 0 if b in self.direct else 2 * self.views[b].nbytes
        return self.recorder.timed("feed", super().feed, b, value, size=size)

    def walk(self) -> None:
        if not self.recorder.clock:
            return super().walk()
        times = np.zeros((max(1, len(self.rows)), 2), np.int64)
        walk, failed = driver.timed(), address(self.failed)
        at = begin = 0
        try:
            for first, last in self.slices:
                status = walk(address(self.table), first, last, failed, address(times))
                while status == SUSPENDED:
                    at, begin = int(self.failed[0]), int(times[self.failed[0], 0])
                    status = resume()(
                        driver.timed_address(), self.flag, driver.clock_address(),
                        address(self.table), at, last, failed, address(times),
                    )  # fmt: skip
                    times[at, 0] = begin
                if status:
                    raise self.failure(status)
        except KeyboardInterrupt:
            cut = int(self.failed[0])
            if begin and not times[cut + 1 :].any():  # a loop that was stopped has run until now
                times[cut] = begin if cut == at else times[cut, 0], now()
            done = int(times[:, 1].nonzero()[0].max(initial=-1))
            for k in range(done + 1, len(self.rows)):  # and has no further parts
                if self.rows[k].step == self.rows[done].step:
                    times[k] = times[done, 1]
            raise
        finally:
            self.recorder.walked(self, times)


class TimedStepwise(Stepwise):
    """A program run segment by segment, with a clock around host steps and copies."""

    recorder: Recorder

    def _host(self, step: Host, arrays: dict[Buffer, Any], env: Any) -> None:
        site = self.recorder.unit.of_step(step)
        self.recorder.timed(site, super()._host, step, arrays, env)

    def _control(self, step: Any, *args: Any) -> None:
        site = self.recorder.unit.of_step(step)
        self.recorder.timed(site, super()._control, step, *args)

    def _results(self, arrays: Mapping[Buffer, Any]) -> list[Any]:
        return self.recorder.timed("results", super()._results, arrays)

    def _commit(self, arrays: Mapping[Buffer, Any], store: Store) -> None:
        self.recorder.timed("commit", super()._commit, arrays, store)


class TimedSegment(Segment):
    """A segment whose plans are timed."""

    recorder: Recorder

    def plan(self, *args: Any) -> tuple[Plan, bool]:
        start = now()
        plan, made = super().plan(*args)
        self.recorder.adopt_plan(plan)
        if made:
            self.recorder.note("plan", start)
        return plan, made


class TimedStore(Store):
    """State whose changes are timed."""

    recorder: Recorder

    def apply(
        self, values: Iterable[tuple[str, np.ndarray]], counters: Iterable[tuple[str, int]],
        places: Mapping[str, np.ndarray] | None = None,
    ) -> None:  # fmt: skip
        self.recorder.timed("commit", super().apply, values, counters, places)


def _timed_nodes(function: Function, recorder: Recorder) -> Function:
    """A function whose nodes note the time of their numpy rule."""
    return replace(function, nodes=tuple(_timed_node(n, recorder) for n in function.nodes))


def _timed_node(node: Node, recorder: Recorder) -> Node:
    rule = node.op.numpy
    if rule is None:
        return node

    def numpy(*inputs: Any, **attrs: Any) -> Any:
        site = recorder.unit.of_node(node)
        return recorder.timed(site, lambda: rule(*inputs, **attrs))

    timed_op = object.__new__(Op)  # a record that is not entered in the registry
    for f in fields(Op):
        object.__setattr__(timed_op, f.name, getattr(node.op, f.name))
    object.__setattr__(timed_op, "numpy", numpy)
    return replace(node, op=timed_op)


__all__ = ["Listener", "PlanSites", "Recorder", "Run", "Site", "Span", "Unit", "Walked", "now"]
