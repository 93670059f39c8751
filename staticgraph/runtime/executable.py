"""`Executable`: one compiled function of a session, and how it runs.

Two ways to run a program, chosen once:

- *bound*: no host step, and every size follows from the feeds and variables.  One plan per set of
  sizes, one native call per run.
- *stepwise*: host steps (prints, data-dependent shapes) stand between native segments, each of
  which has plans of its own; see `runtime.stepwise`.

If a kernel cannot be compiled the function is evaluated by the numpy reference, with a warning.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from staticgraph.errors import (
    CompileError,
    CompileFallbackWarning,
    StaticGraphError,
    UninitializedError,
)
from staticgraph.ir import loc
from staticgraph.ir.dims import Symbol
from staticgraph.ir.evaluate import check_guards, evaluate
from staticgraph.ir.function import Function
from staticgraph.ir.program import (
    Buffer,
    Program,
    Repeat,
    SizeSource,
)
from staticgraph.passes.control import is_native, late
from staticgraph.runtime.binding import Code
from staticgraph.runtime.constants import constants_of
from staticgraph.runtime.plan import Plan, RoomError, fed_sizes
from staticgraph.runtime.results import Results
from staticgraph.runtime.stepwise import (
    Native,
    RunCounts,
    Stepwise,
    host_rule,
    read_size,
)
from staticgraph.runtime.store import Store
from staticgraph.runtime.threads import launch_address, threads_of, worker_address
from staticgraph.runtime.trim import LARGE_RUN, trim

MAX_PLANS = 32  # plans kept per executable, least recently used dropped
EXACT_ARENAS = 3  # that are no larger than they have to be


class Executable:
    """A closed function, compiled.

    Args:
      function: the optimised function (what the reference evaluates).
      reference: evaluate with numpy instead of compiling.
      reason: why it was compiled, for `explain`.
      threads: threads per kernel; 0 takes what the environment allows.
      native: which steps of a program need no Python; all others run step by step.
    """

    def __init__(
        self, function: Function, program: Program, reference: bool = False, reason: str = "",
        threads: int = 0, native: Native = is_native,
    ) -> None:  # fmt: skip
        self.native = native
        self.function, self.program, self.reason = function, program, reason
        self.threads = threads_of(threads)
        self._counts = RunCounts()
        self.rooms: dict[Repeat, int] = {}  # for how many iterations of its loops there is room
        self.quick = np.zeros(3, np.int64)  # runs, steps and calls not yet in the counts
        self.plans: OrderedDict[tuple[int, ...], Plan] = OrderedDict()
        self.reference = reference
        self.code: Code | None = None
        self.stepwise: Stepwise | None = None
        if not reference:
            try:
                self.code = Code(program)
            except CompileError as e:
                lines = "".join(f"\n  {line}" for line in e.operands)
                loc.warn(
                    CompileFallbackWarning(
                        f"{e.message}; the run falls back to the numpy reference, which is slow"
                        + (f"; it is code for{lines}" if lines else "")
                    )
                )
                self.reference = True
        self.asked: dict[str, int | None] = {}  # ranks of variables it was compiled for
        # what branches raise if they are chosen, with the name of the operation
        self.refused: list[tuple[str, StaticGraphError]] = []
        self.looks_ahead = True  # whether branches can take the sizes, before there are effects
        self.careful = False  # the bodies of loops check themselves what they assume of sizes
        self.feeds = [q for q in program.params if q.kind == "feed"]
        self.variables = [q for q in program.params if q.kind == "variable"]
        self.counters = [q for q in program.params if q.kind == "counter"]
        self.bound = self._is_bound()
        if self.threads > 1 and program.sizes and self.code is not None:
            worker_address()  # loaded now: a plan for other sizes may want them, and has less time
            launch_address()
        # Shapes and fed numbers tell which plan a run takes, unless a size is an element of others.
        told = late(program) if self.bound else {}
        sources = [
            (s, o) for s, o in program.sizes.items() if isinstance(o, SizeSource) and s not in told
        ]
        fed = fed_sizes(program) if self.bound else []
        self.repeatable = self.bound and all(not o.element or (s, o) in fed for s, o in sources)
        self.last: Plan | None = None
        self._handing = Results(program.results)
        self.known = False  # sizes have come that were there before
        self.running = False  # a run of a plan is under way, by this thread: its arena is in use
        self._sources = sources
        self.constants = constants_of(program)

    @property
    def counts(self) -> RunCounts:
        """What has been done so far."""
        more = self.quick.copy()
        self.quick -= more
        self._counts.runs += int(more[0])
        self._counts.calls += int(more[2])
        self._counts.steps += int(more[1])
        return self._counts

    def _is_bound(self) -> bool:
        params = {q.buffer for q in self.program.params}
        if any(b.dims is None or b.dtype.np == object for b in self.program.buffers):
            return False
        if not all(self.native(s, self.program) for s in self.program.steps):
            return False
        told = late(self.program)
        return all(
            s in told or (isinstance(o, SizeSource) and o.buffer in params)
            for s, o in self.program.sizes.items()
        )

    # ---- running
    def run(self, feeds: Sequence[np.ndarray], store: Store) -> list[Any]:
        """Run once.

        Args:
          feeds: one array per feed parameter, of its dtype and rank.

        Returns:
          one fresh array (or numpy scalar) per result.

        Raises:
          BrokenGuardError: the sizes contradict what was assumed; the caller specialises.
          OpError: an operation failed; no variable has changed.
        """
        self._counts.runs += 1
        for q in self.variables:
            if q.name not in store:
                raise UninitializedError(
                    f"the variable {q.name!r} is read before it has a value", loc=q.loc,
                    hint="run tf.global_variables_initializer() first, or assign to it",
                )  # fmt: skip
        if self.reference:
            return self._reference(feeds, store)
        if self.bound:
            return self._bound_run(feeds, store)
        return self._stepwise_run(feeds, store)

    def _sizes(self, feeds: Sequence[np.ndarray], store: Store) -> dict[Symbol, int]:
        if not self._sources:
            return {}
        arrays: dict[Buffer, np.ndarray] = {
            q.buffer: a for q, a in zip(self.feeds, feeds, strict=True)
        }
        for q in self.variables:
            arrays[q.buffer] = store.arrays[q.name]
        return {s: read_size(o, arrays[o.buffer]) for s, o in self._sources}

    def plan_for(self, feeds: Sequence[np.ndarray], store: Store) -> Plan:
        """The plan for the sizes at hand, made where there is none yet."""
        env = self._sizes(feeds, store)
        key = tuple(env.values())
        plan = None if self.running else self.plans.get(key)
        if plan is None or plan.generation != store.generation:
            check_guards(self.program.guards, env)
            assert self.code is not None
            arena, least = (None, 0) if self.running else self._shared()
            plan = Plan(
                self.program, self.code, env, store, self.constants, self.threads, self.rooms,
                arena, least, self._handing,
            )  # fmt: skip
            self._counts.plans += 1
            if self.running:  # from a signal's handler, say: on the side, and then forgotten
                return plan
            if self._counts.plans == 1 and plan.footprint.total >= LARGE_RUN:
                trim()
            self.plans[key] = plan
            if len(self.plans) > MAX_PLANS:
                self.plans.popitem(last=False)
        else:
            self.known = True
            if len(self.plans) > 1:
                self.plans.move_to_end(key)
        self.last = plan if self.repeatable else None
        return plan

    def _shared(self) -> tuple[np.ndarray | None, int]:
        """The largest arena, which all plans that fit into it share, and bytes of a larger one.

        Where sizes go on rising it grows by half at least, so that there are few in the end; what
        is not touched of it takes no memory.
        """
        arenas = list({id(p.arena): p.arena for p in self.plans.values()}.values())
        largest = max(arenas, key=_nbytes, default=None)
        grows = largest is not None and len(arenas) >= EXACT_ARENAS
        return largest, largest.nbytes * 3 // 2 if largest is not None and grows else 0

    @property
    def arena_bytes(self) -> int:
        """Bytes of the arenas of all plans."""
        return sum({id(p.arena): p.arena.nbytes for p in self.plans.values()}.values())

    def _bound_run(self, feeds: Sequence[np.ndarray], store: Store) -> list[Any]:
        while True:
            try:
                return self._planned_run(feeds, store)
            except RoomError as e:
                self._grow(e)

    def _grow(self, e: RoomError) -> None:
        """Make more room in the plans to come."""
        e.grow(self.rooms)
        self.plans.clear()
        self.last = None

    def _planned_run(self, feeds: Sequence[np.ndarray], store: Store) -> list[Any]:
        plan = self.plan_for(feeds, store)
        before, self.running = self.running, True
        try:
            kept = {}
            for q, a in zip(self.feeds, feeds, strict=True):
                array = plan.feed(q.buffer, a)
                if q.buffer in plan.direct:
                    kept[q.buffer] = array
            return self._walk(plan, kept, store)
        finally:
            self.running = before

    def again(self, values: Iterable[Any], store: Store) -> list[Any] | None:
        """The quick way: run the plan of the last run again, on values as the user fed them.

        Returns:
          the results, or None where nothing was done because the values do not fit that plan.
        """
        plan = self.last
        if plan is None or plan.generation != store.generation or self.running:
            return None
        self.running = True
        try:
            kept = plan.fill(values)
            if kept is None:
                return None
            results = self._walk(plan, kept, store)
        except RoomError as e:
            self._grow(e)
            return None
        finally:
            self.running = False
        self._counts.runs += 1
        return results

    def _walk(self, plan: Plan, kept: Mapping[Buffer, np.ndarray], store: Store) -> list[Any]:
        """Run a plan whose feeds are placed; `kept` are those that are read where they are."""
        if plan.keepers:
            kept = {**kept, **plan.hand_out()}
        if plan.final:  # nothing to assign afterwards, nothing that an interrupt could cut in two
            plan.walk()
            counts = self._counts
            counts.calls += len(plan.walks)
            counts.steps += len(plan.rows)
            return self._results(plan, kept)
        if plan.counters or plan.before:
            plan.set_counters(store.counters)
        after = [(name, store.counters.get(name, 0) + used) for _, name, used in plan.counters]
        values: list[tuple[str, np.ndarray]] = []
        # What is updated in place cannot be taken back, so memory for the rest comes first.
        places = store.reserve((n, plan.views[b]) for n, b in plan.commits if plan.in_place)
        plan.failed[0] = -1
        try:
            plan.walk()
            results = self._results(plan, kept)
            values = self._values(plan, kept)
            store.apply(values, [*after, *plan.moved()], places)
        except KeyboardInterrupt:
            # What was updated in place cannot be taken back, so the rest follows.
            if plan.in_place and plan.walked:
                store.apply(values or self._values(plan, kept), [*after, *plan.moved()], places)
            raise
        if plan.generation != store.generation:  # it knows variables that have moved since
            self._forget(plan)
        counts = self._counts
        counts.calls += len(plan.walks)
        counts.steps += len(plan.rows)
        return results

    def _forget(self, plan: Plan) -> None:
        """Let go of a plan that cannot run again, and of its memory."""
        for key, other in list(self.plans.items()):
            if other is plan:
                del self.plans[key]
        self.last = None if self.last is plan else self.last

    def _results(self, plan: Plan, kept: Mapping[Buffer, np.ndarray]) -> list[Any]:
        if not kept:
            return [take() for take in plan.takes]
        made = set(plan.keepers)  # for this run, and so handed out as they are, but each once
        out: list[Any] = []
        for b, v in zip(self.program.results, plan.results, strict=True):
            found = kept.get(b, v)
            if b in made:
                made.remove(b)
                out.append(found)
            else:
                out.append(found.copy() if v.ndim else found[()])
        return out

    def _values(
        self, plan: Plan, kept: Mapping[Buffer, np.ndarray]
    ) -> list[tuple[str, np.ndarray]]:
        """What the run leaves in the variables that are not updated in place."""
        moved = {q.buffer for q in self.variables} if len(plan.commits) > 1 else ()
        return [  # one variable's value at the start may be another's at the end: copy it in time
            (name, plan.views[b].copy() if b in moved else kept.get(b, plan.views[b]))
            for name, b in plan.commits
        ]

    def _stepwise_run(self, feeds: Sequence[np.ndarray], store: Store) -> list[Any]:
        runner = self.stepwise or self._new_stepwise()
        self.stepwise = None  # a host step may run this executable again
        try:
            return runner.run(feeds, store, self._counts, self.looks_ahead)
        finally:
            self.stepwise = runner

    def _new_stepwise(self) -> Stepwise:
        assert self.code is not None
        return Stepwise(
            self.program, self.code, self.constants, self.threads, self.native, hands_out=True
        )

    def _reference(self, feeds: Sequence[np.ndarray], store: Store) -> list[Any]:
        values = iter(feeds)
        args: list[Any] = []
        for p in self.function.params:
            if p.kind == "feed":
                args.append(next(values))
            elif p.kind == "variable":
                args.append(store.arrays[p.name])
            else:
                args.append(np.int64(store.counters.get(p.name, 0)))
        results, updates = self._evaluate(args)
        out = [r[()] if r.ndim == 0 else np.array(r) for r in results]
        streams = [n for n in updates if n.startswith("counter:")]
        after = [(n[8:], int(updates.pop(n))) for n in streams]
        store.apply(updates.items(), after)
        return out

    def _evaluate(self, args: Sequence[Any]) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
        return evaluate(self.function, args, host_rule)


def _nbytes(array: np.ndarray) -> int:
    return array.nbytes
