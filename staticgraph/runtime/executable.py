"""`Executable`: one compiled function of a session, and how it runs.

Two ways to run a program, chosen once:

- *bound*: no host step, and every size follows from the feeds and variables.  One plan per set of
  sizes, one native call per run.
- *stepwise*: host steps (prints, data-dependent shapes) stand between native segments, each of
  which has plans of its own; see `runtime.stepwise`.

If a kernel cannot be compiled the function is evaluated by the numpy reference, with a warning.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from staticgraph.errors import (
    CompileError,
    CompileFallbackWarning,
    UninitializedError,
)
from staticgraph.ir.dims import Symbol
from staticgraph.ir.evaluate import check_guards, evaluate
from staticgraph.ir.function import Function
from staticgraph.ir.program import Buffer, Host, Library, Program
from staticgraph.runtime.binding import Code
from staticgraph.runtime.plan import Plan
from staticgraph.runtime.stepwise import RunCounts, Stepwise, host_rule, read_size
from staticgraph.runtime.store import Store, aligned_copy
from staticgraph.runtime.threads import threads_of

MAX_PLANS = 32  # plans kept per executable, least recently used dropped


class Executable:
    """A closed function, compiled.

    Args:
      function: the optimised function (what the reference evaluates).
      reference: evaluate with numpy instead of compiling.
      reason: why it was compiled, for `explain`.
      threads: threads per kernel; 0 takes what the environment allows.
    """

    def __init__(
        self, function: Function, program: Program, reference: bool = False, reason: str = "",
        threads: int = 0,
    ) -> None:  # fmt: skip
        self.function, self.program, self.reason = function, program, reason
        self.threads = threads_of(threads)
        self.counts = RunCounts()
        self.plans: OrderedDict[tuple[int, ...], Plan] = OrderedDict()
        self.reference = reference
        self.code: Code | None = None
        self.stepwise: Stepwise | None = None
        if not reference:
            try:
                self.code = Code(program)
            except CompileError as e:
                lines = sorted({o.loc.short() for s in program.steps for o in s.origins})
                warnings.warn(
                    CompileFallbackWarning(
                        f"{e.message}; the run falls back to the numpy reference, which is slow. "
                        f"Operations from {', '.join(lines[:5])}"
                    ),
                    stacklevel=2,
                )
                self.reference = True
        self.asked: dict[str, int | None] = {}  # ranks of variables it was compiled for
        self.feeds = [q for q in program.params if q.kind == "feed"]
        self.variables = [q for q in program.params if q.kind == "variable"]
        self.counters = [q for q in program.params if q.kind == "counter"]
        self.bound = self._is_bound()
        # Shapes tell which plan a run takes, unless a size is read of an array's elements.
        self.repeatable = self.bound and not any(o.element for o in program.sizes.values())
        self.last: Plan | None = None
        self._sources = [(s, o) for s, o in program.sizes.items()]
        self.constants = {
            b: aligned_copy(np.asarray(b.data)) if b.dtype.np != object else np.asarray(b.data)
            for b in program.buffers
            if b.role == "constant"
        }

    def _is_bound(self) -> bool:
        params = {q.buffer for q in self.program.params}
        counters = {q.buffer for q in self.counters}
        if any(b.dims is None or b.dtype.np == object for b in self.program.buffers):
            return False
        for s in self.program.steps:
            if isinstance(s, Host):
                return False
            if isinstance(s, Library) and s.kind == "philox" and s.inputs[0] not in counters:
                return False
        return all(o.buffer in params for o in self.program.sizes.values())

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
        self.counts.runs += 1
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
        plan = self.plans.get(key)
        if plan is None or plan.generation != store.generation:
            check_guards(self.program.guards, env)
            assert self.code is not None
            plan = Plan(self.program, self.code, env, store, self.constants, self.threads)
            self.counts.plans += 1
            self.plans[key] = plan
            if len(self.plans) > MAX_PLANS:
                self.plans.popitem(last=False)
        elif len(self.plans) > 1:
            self.plans.move_to_end(key)
        self.last = plan if self.repeatable else None
        return plan

    def _bound_run(self, feeds: Sequence[np.ndarray], store: Store) -> list[Any]:
        plan = self.plan_for(feeds, store)
        kept = {}
        for q, a in zip(self.feeds, feeds, strict=True):
            array = plan.feed(q.buffer, a)
            if q.buffer in plan.direct:
                kept[q.buffer] = array
        return self._walk(plan, kept, store)

    def again(self, values: Iterable[Any], store: Store) -> list[Any] | None:
        """The quick way: run the plan of the last run again, on values as the user fed them.

        Returns:
          the results, or None where nothing was done because the values do not fit that plan.
        """
        plan = self.last
        if plan is None or plan.generation != store.generation:
            return None
        kept = plan.fill(values)
        if kept is None:
            return None
        self.counts.runs += 1
        return self._walk(plan, kept, store)

    def _walk(self, plan: Plan, kept: Mapping[Buffer, np.ndarray], store: Store) -> list[Any]:
        """Run a plan whose feeds are placed; `kept` are those that are read where they are."""
        if plan.final:  # nothing to assign afterwards, nothing that an interrupt could cut in two
            plan.walk()
            counts = self.counts
            counts.calls += len(plan.walks)
            counts.steps += len(plan.rows)
            return self._results(plan, kept)
        if plan.counters:
            plan.set_counters(store.counters)
        after = [(name, store.counters.get(name, 0) + used) for _, name, used in plan.counters]
        values: list[tuple[str, np.ndarray]] = []
        plan.failed[0] = -1
        try:
            plan.walk()
            results = self._results(plan, kept)
            values = self._values(plan, kept)
            store.apply(values, after)
        except KeyboardInterrupt:
            # What was updated in place cannot be taken back, so the rest follows.
            if plan.in_place and plan.walked:
                store.apply(values or self._values(plan, kept), after)
            raise
        counts = self.counts
        counts.calls += len(plan.walks)
        counts.steps += len(plan.rows)
        return results

    def _results(self, plan: Plan, kept: Mapping[Buffer, np.ndarray]) -> list[Any]:
        if not kept:
            return [take() for take in plan.takes]
        views = (kept.get(b, v) for b, v in zip(self.program.results, plan.results, strict=True))
        return [v.copy() if v.ndim else v[()] for v in views]

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
        if self.stepwise is None:
            assert self.code is not None
            self.stepwise = Stepwise(self.program, self.code, self.constants, self.threads)
        runner, self.stepwise = self.stepwise, None  # a host step may run this executable again
        try:
            return runner.run(feeds, store, self.counts)
        finally:
            self.stepwise = runner

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
        results, updates = evaluate(self.function, args, host_rule)
        out = [r[()] if r.ndim == 0 else np.array(r) for r in results]
        for name, value in updates.items():
            if name.startswith("counter:"):
                store.counters[name[8:]] = int(value)
            else:
                store.put(name, value)
        return out
