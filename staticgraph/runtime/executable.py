"""`Executable`: one compiled function of a session, and how it runs.

Two ways to run a program, chosen once:

- *bound*: no host step, and every size follows from the feeds and variables.  One plan per set of
  sizes, one native call per run.
- *stepwise*: host steps (prints, data-dependent shapes) stand between native segments.  Buffers are
  allocated as sizes become known.

If a kernel cannot be compiled the function is evaluated by the numpy reference, with a warning.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticgraph.codegen.driver import driver
from staticgraph.errors import (
    CompileError,
    CompileFallbackWarning,
    OpError,
    OutOfBoundsError,
    ResourceExhaustedError,
    StaticGraphError,
    UninitializedError,
)
from staticgraph.ir import dims as D
from staticgraph.ir import philox
from staticgraph.ir.dims import Symbol
from staticgraph.ir.evaluate import check_guards, concrete_attrs, evaluate
from staticgraph.ir.function import Function, Node
from staticgraph.ir.op import RuleError
from staticgraph.ir.program import Buffer, Host, Launch, Library, Program, SizeSource, Step
from staticgraph.runtime import binding
from staticgraph.runtime.binding import Code
from staticgraph.runtime.library import COUNTER_WORDS, draws
from staticgraph.runtime.plan import Plan
from staticgraph.runtime.store import Store, address, aligned_copy, aligned_empty

MAX_PLANS = 32  # plans kept per executable, least recently used dropped


@dataclass(slots=True)
class RunCounts:
    """What an executable has done, for `explain` and for tests that count."""

    runs: int = 0
    plans: int = 0
    steps: int = 0


class Executable:
    """A closed function, compiled.

    Args:
      function: the optimised function (what the reference evaluates).
      reference: evaluate with numpy instead of compiling.
      reason: why it was compiled, for `explain`.
    """

    def __init__(
        self, function: Function, program: Program, reference: bool = False, reason: str = ""
    ) -> None:
        self.function, self.program, self.reason = function, program, reason
        self.counts = RunCounts()
        self.plans: OrderedDict[tuple[int, ...], Plan] = OrderedDict()
        self.reference = reference
        self.code: Code | None = None
        if not reference:
            try:
                self.code = Code(program)
                self.driver = driver()
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
        self.asked: dict[str, bool] = {}  # variables it was compiled to find with or without value
        self.feeds = [q for q in program.params if q.kind == "feed"]
        self.variables = [q for q in program.params if q.kind == "variable"]
        self.counters = [q for q in program.params if q.kind == "counter"]
        self.bound = self._is_bound()
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
        return _Stepwise(self, feeds, store).run()

    def _sizes(self, feeds: Sequence[np.ndarray], store: Store) -> dict[Symbol, int]:
        if not self._sources:
            return {}
        arrays: dict[Buffer, np.ndarray] = {q.buffer: a for q, a in zip(self.feeds, feeds, strict=True)}
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
            plan = Plan(self.program, self.code, env, store, self.constants)
            self.counts.plans += 1
            self.plans[key] = plan
            if len(self.plans) > MAX_PLANS:
                self.plans.popitem(last=False)
        elif len(self.plans) > 1:
            self.plans.move_to_end(key)
        return plan

    def _bound_run(self, feeds: Sequence[np.ndarray], store: Store) -> list[Any]:
        plan = self.plan_for(feeds, store)
        keep = [plan.feed(q.buffer, a) for q, a in zip(self.feeds, feeds, strict=True)]
        if plan.counters:
            plan.set_counters(store.counters)
        for first, last in plan.slices:
            status = self.driver(plan.table_address, first, last, plan.failed_address)
            if status:
                raise self._failure(plan, status)
        self.counts.steps += len(plan.rows)
        results = [self._fetch(plan, b, v, keep) for b, v in zip(self.program.results, plan.results, strict=True)]
        moved = {q.buffer for q in self.variables} if len(plan.commits) > 1 else ()
        values = [  # one variable's value at the start may be another's at the end: copy it in time
            (name, plan.views[b].copy() if b in moved else self._view(plan, b, keep))
            for name, b in plan.commits
        ]
        for name, value in values:
            store.put(name, value)
        for _, name, used in plan.counters:
            store.counters[name] = store.counters.get(name, 0) + used
        return results

    def _view(self, plan: Plan, b: Buffer, keep: list[np.ndarray]) -> np.ndarray:
        if b in plan.direct:  # a large feed is read in place
            return keep[[q.buffer for q in self.feeds].index(b)]
        return plan.views[b]

    def _fetch(self, plan: Plan, b: Buffer, view: np.ndarray, keep: list[np.ndarray]) -> Any:
        if b in plan.direct:
            view = self._view(plan, b, keep)
        return view[()] if view.ndim == 0 else view.copy()

    def _failure(self, plan: Plan, status: int) -> OpError:
        row = plan.rows[int(plan.failed[0])]
        step = self.program.steps[row.step]
        end = (int(plan.table[int(plan.failed[0])][1]) - address(plan.words)) // 8 + len(row.words)
        return step_failure(step, status, int(plan.words[end - 2]), int(plan.words[end - 1]))

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


def read_size(o: SizeSource, array: np.ndarray) -> int:
    """The value of a symbol from the array it is read of."""
    return int(np.ravel(array)[o.index]) if o.element else int(array.shape[o.index])


def step_failure(step: Step, status: int, index: int, bound: int) -> OpError:
    """The error of a native step that returned `status`.

    Args:
      index, bound: the last two words of its argument block.
    """
    origin = step.origins[0]
    operands = (f"operation {origin.name!r}",)
    if status < 0:
        return ResourceExhaustedError(
            f"{origin.op}: the sizes are too large for the BLAS", loc=origin.loc, operands=operands
        )
    if isinstance(step, Launch) and step.checks:
        origin = step.checks[min(status, len(step.checks)) - 1]
        operands = (f"operation {origin.name!r}",)
    op = "Scatter" if origin.op == "ScatterBlocks" else origin.op
    return OutOfBoundsError(
        f"{op}: index {index} is outside [0, {bound})", loc=origin.loc, operands=operands
    )


def host_rule(node: Node, inputs: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> Any:
    """Run an op's numpy rule; a refusal becomes an error with the user's line."""
    assert node.op.numpy is not None, node.op.name
    try:
        with np.errstate(all="ignore"):
            return node.op.numpy(*inputs, **attrs)
    except RuleError as e:
        raise OpError(f"{node.op.name}: {e.message}", loc=node.loc, hint=e.hint) from None
    except StaticGraphError as e:
        if e.loc is not None:
            raise
        message = e.message if node.op.name in e.message else f"{node.op.name}: {e.message}"
        raise type(e)(
            message, loc=node.loc, operands=(f"operation {node.name!r}", *e.operands), hint=e.hint
        ) from e.__cause__


def _laid_out(a: np.ndarray) -> np.ndarray:
    """An array as kernels read it: row-major, and with room where it is empty."""
    if not a.size:
        return aligned_empty(a.shape, a.dtype)
    return a if a.flags.c_contiguous else np.ascontiguousarray(a)


class _Stepwise:
    """One run with host steps: native segments are bound as sizes become known."""

    def __init__(self, exe: Executable, feeds: Sequence[np.ndarray], store: Store) -> None:
        self.exe, self.store, self.program = exe, store, exe.program
        self.arrays: dict[Buffer, np.ndarray] = dict(exe.constants)
        self.env: dict[Symbol, int] = {}
        self.sized: dict[Buffer, list[tuple[Symbol, SizeSource]]] = {}
        for s, o in self.program.sizes.items():
            self.sized.setdefault(o.buffer, []).append((s, o))
        for q, a in zip(exe.feeds, feeds, strict=True):
            self.put(q.buffer, _laid_out(a))
        for q in exe.variables:
            self.put(q.buffer, store.arrays[q.name])
        for q in exe.counters:
            self.put(q.buffer, np.array(store.counters.get(q.name, 0), np.int64))
        check_guards(self.program.guards, self.env)

    def put(self, b: Buffer, array: np.ndarray) -> None:
        self.arrays[b] = array
        for s, o in self.sized.get(b, ()):
            self.env[s] = read_size(o, array)

    def array(self, b: Buffer) -> np.ndarray:
        a = self.arrays.get(b)
        if a is None:
            shape = tuple(D.evaluate(d, self.env) for d in b.dims or ())
            a = self.arrays[b] = aligned_empty(shape, b.dtype.np)
        return a

    def run(self) -> list[Any]:
        for i, step in enumerate(self.program.steps):
            if isinstance(step, Host):
                self.host(step)
            else:
                self.native(i, step)
        results = []
        for b in self.program.results:
            a = self.arrays[b]
            results.append(a[()] if a.ndim == 0 else a.copy())
        updates = {n: np.array(self.arrays[b]) for n, b in self.program.updates.items()}
        for name, value in updates.items():
            if name.startswith("counter:"):
                self.store.counters[name[8:]] = int(value)
            else:
                self.store.put(name, value)
        return results

    def host(self, step: Host) -> None:
        node = step.node
        attrs = concrete_attrs(node.attrs, self.env)
        out = host_rule(node, [self.arrays[b] for b in step.inputs], attrs)
        outs = tuple(out) if isinstance(out, tuple | list) else (out,) if step.outputs else ()
        for b, o in zip(step.outputs, outs, strict=True):
            self.put(b, _laid_out(np.asarray(o, dtype=b.dtype.np)))
        if any(b in self.sized for b in step.outputs):
            check_guards(self.program.guards, self.env)

    def native(self, i: int, step: Launch | Library) -> None:
        exe = self.exe
        assert exe.code is not None
        made = binding.rows([step], exe.code, self.env, lambda b: address(self.array(b)))
        draw = isinstance(step, Library) and step.kind == "philox"
        for row in made:
            words = np.array(row.words, np.int64)
            if draw:
                counter = int(self.arrays[step.reads[0]])
                words[COUNTER_WORDS : COUNTER_WORDS + 2] = philox.counter_words(counter)
            table = np.array([row.function, address(words), 0, row.extent], np.int64)
            failed = np.zeros(1, np.int64)
            status = exe.driver(address(table), 0, 1, address(failed))
            if status:
                raise step_failure(step, status, int(words[-2]), int(words[-1]))
        if draw and isinstance(step, Library):
            counter = int(self.arrays[step.inputs[0]])
            self.put(step.outputs[1], np.array(counter + draws(step, self.env), np.int64))
        exe.counts.steps += len(made)
        for b in step.writes:
            if b in self.sized:
                self.put(b, self.array(b))
                check_guards(self.program.guards, self.env)
