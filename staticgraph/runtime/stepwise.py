"""`Stepwise`: programs with host steps, run as native segments with numpy rules between them.

A segment is a run of native steps whose sizes are all known before its first step; it is a small
program of its own, bound to plans as a whole program is: one native call, one arena, kept for the
sizes that come again.  A segment ends

- before a host step, and a loop or branch that is not native (see `passes.control`),
- after a step that makes a value which sizes are read of,
- before a step that reads the new position of a random stream drawn from in the segment.

The bodies of loops and branches that are not native are programs run in the same way; of loops
that are but for outputs of unknown length, `runtime.growing` makes native runs.

State is committed after the last step, so a run that fails changes nothing.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from staticgraph.errors import OpError, StaticGraphError
from staticgraph.ir import dims as D
from staticgraph.ir.dims import Poly, Symbol
from staticgraph.ir.evaluate import BrokenGuardError, check_guards, concrete_attrs, emptied
from staticgraph.ir.function import GuardSite, Node
from staticgraph.ir.op import RuleError, lookup
from staticgraph.ir.program import (
    Branch,
    Buffer,
    Host,
    Launch,
    Library,
    Program,
    ProgramParam,
    Repeat,
    SizeSource,
    Step,
)
from staticgraph.ir.record import record
from staticgraph.passes.control import is_growing, is_native, late
from staticgraph.runtime.binding import Code
from staticgraph.runtime.growing import Growing
from staticgraph.runtime.library import draws
from staticgraph.runtime.plan import Plan, RoomError
from staticgraph.runtime.results import Results
from staticgraph.runtime.store import Store

MAX_PLANS = 8  # plans kept per segment, least recently used dropped
MAX_CHECKED = 256  # combinations of sizes remembered to meet the guards


@record(slots=True)
class RunCounts:
    """What an executable has done, for `explain` and for tests that count.

    `plans` were made; `calls` of native code walked `steps` rows of tables.
    """

    runs: int = 0
    plans: int = 0
    calls: int = 0
    steps: int = 0


class Segment:
    """Native steps that run in one call.

    Args:
      program: what they are part of.
      steps: the steps.
      needed: buffers that somebody outside reads.
      wanted: those that are handed out, and that nothing else may keep.
    """

    def __init__(
        self, program: Program, steps: Sequence[Step], needed: set[Buffer],
        wanted: frozenset[Buffer] = frozenset(),
    ) -> None:  # fmt: skip
        self.draws = [s for s in steps if isinstance(s, Library) and s.kind == "philox"]
        positions = {s.outputs[1] for s in self.draws}
        streams = {s.inputs[0] for s in self.draws}
        variables = {q.buffer: q for q in program.params if q.kind == "variable"}
        written = dict.fromkeys(b for s in steps for b in s.writes)
        used = dict.fromkeys(b for s in steps for b in (*s.reads, *s.writes))
        self.inputs = [
            b for b in used
            if b not in written and b not in variables and b not in streams and b.role != "constant"
        ]  # fmt: skip
        self.outputs = [b for b in written if b in needed and b not in positions]
        loc = program.params[0].loc if program.params else steps[0].origins[0].loc
        params = (
            *(ProgramParam("feed", str(b), b, loc) for b in self.inputs),
            *(variables[b] for b in used if b in variables),
            *(ProgramParam("counter", stream(b), b, loc) for b in streams),
        )
        self.program = Program(program.name, tuple(used), tuple(steps), params, tuple(self.outputs))
        self.symbols = sorted(set(_symbols(steps, used)), key=str)
        self.plans: OrderedDict[tuple[int, ...], Plan] = OrderedDict()
        self.rooms: dict[Repeat, int] = {}
        self.handing = Results(wanted)

    def grow(self, e: RoomError) -> None:
        """Make more room in the plans to come."""
        e.grow(self.rooms)
        self.plans.clear()

    def plan(
        self, code: Code, env: Mapping[Symbol, int], store: Store,
        constants: Mapping[Buffer, np.ndarray], threads: int,
    ) -> tuple[Plan, bool]:  # fmt: skip
        """The plan for the sizes at hand, and whether it had to be made."""
        key = tuple([env[s] for s in self.symbols])
        plan = self.plans.get(key)
        if plan is not None and plan.generation == store.generation:
            self.plans.move_to_end(key)
            return plan, False
        plan = self.plans[key] = Plan(
            self.program, code, env, store, constants, threads, self.rooms, handing=self.handing
        )
        if len(self.plans) > MAX_PLANS:
            self.plans.popitem(last=False)
        return plan, True


def stream(b: Buffer) -> str:
    """The name under which a plan knows the random stream whose position is in `b`."""
    return f"b{b.number}"


def _symbols(steps: Sequence[Step], buffers: Mapping[Buffer, None]) -> Iterator[Symbol]:
    """Every symbol that binding these steps asks for."""
    stack: list[Any] = [b.dims for b in buffers]
    for s in steps:
        if isinstance(s, Launch):
            stack += [s.extent, *(a for a in s.args if not isinstance(a, Buffer))]
        elif not isinstance(s, Host):
            stack += s.attrs.values()
    while stack:
        x = stack.pop()
        if isinstance(x, tuple):
            stack += x
        elif isinstance(x, Poly):
            yield from D.symbols_of(x)


Apart = Host | Repeat | Branch  # steps that may end a segment
Native = Callable[[Step, Program], bool]


def segments(
    program: Program, native: Native = is_native, hands_out: bool = False
) -> list[Segment | Apart]:
    """Cut a program's steps into segments and others; see the module's text.

    Args:
      hands_out: what the program results in is handed out.
    """
    sized = {o.buffer for o in program.sizes.values() if isinstance(o, SizeSource)}
    runs: list[list[Step] | Apart] = []
    current: list[Step] = []
    unready: set[Buffer] = set()  # values that are there only when the current segment has ended
    for s in program.steps:
        apart = isinstance(s, Apart) and (not native(s, program) or s in late(program).values())
        if apart or not unready.isdisjoint(s.reads):
            current, unready = [], set()
        if isinstance(s, Apart) and apart:
            runs.append(s)
            continue
        if not current:
            runs.append(current)
        current.append(s)
        if isinstance(s, Library) and s.kind == "philox":
            unready.add(s.outputs[1])
        if not sized.isdisjoint(s.writes):
            current, unready = [], set()
    needed = sized | set(program.results) | set(program.updates.values())
    apart_reads = {b for run in runs if isinstance(run, Apart) for b in run.reads}
    wanted = frozenset(program.results if hands_out else ()) - apart_reads  # who may keep them
    out: list[Segment | Apart] = []
    for run in reversed(runs):
        if isinstance(run, Apart):
            out.append(run)
            needed |= set(run.reads)
        else:
            out.append(Segment(program, run, needed, wanted))
            needed = needed | {b for s in run for b in s.reads}
    return out[::-1]


class Stepwise:
    """Runs a program segment by segment."""

    def __init__(
        self, program: Program, code: Code, constants: Mapping[Buffer, np.ndarray], threads: int,
        native: Native = is_native, hands_out: bool = False,
    ) -> None:  # fmt: skip
        self.program, self.code, self.constants = program, code, constants
        self.threads = threads
        self.items = segments(program, native, hands_out)
        self._made: set[Buffer] = set()  # results of this run that are handed out as they are
        self.sized: dict[Buffer, list[tuple[Symbol, SizeSource]]] = {}
        for s, o in program.sizes.items():
            if isinstance(o, SizeSource):
                self.sized.setdefault(o.buffer, []).append((s, o))
        self._checked: set[tuple[int, ...]] = set()
        hosts = (s for s in program.every_step() if isinstance(s, Host))
        self.effects = any(s.node.op.effect != "pure" for s in hosts)
        self.inner: dict[Step, tuple[Stepwise, ...]] = {
            s: tuple(Stepwise(p, code, constants, threads, native) for p in s.programs)
            for s in self.items
            if isinstance(s, Repeat | Branch)
        }
        self.growing = {
            s: Growing(s, Segment)
            for s in self.items
            if isinstance(s, Repeat) and native is is_native and is_growing(s, program)
        }

    def segments(self) -> Iterator[Segment]:
        """Its segments, those of growing loops and of bodies that are run step by step."""
        for item in self.items:
            if isinstance(item, Segment):
                yield item
            elif item in self.growing:
                yield self.growing[item].segment
            for body in self.inner.get(item, ()) if not isinstance(item, Segment) else ():
                yield from body.segments()

    def run(
        self, feeds: Sequence[np.ndarray], store: Store, counts: RunCounts, ahead: bool = False
    ) -> list[Any]:
        """Run once; see `Executable.run`.

        Args:
          ahead: if there are effects, find out first which sizes broadcast in a branch where it
            was assumed that they do not: a run that begins again would have them twice.
        """
        arrays, env = self._constants({})
        self._made.clear()
        rest = iter(feeds)
        for q in self.program.params:
            if q.kind == "feed":
                self._put(arrays, env, q.buffer, next(rest))
            elif q.kind == "variable":
                self._put(arrays, env, q.buffer, store.arrays[q.name])
            else:
                position = np.array(store.counters.get(q.name, 0), np.int64)
                self._put(arrays, env, q.buffer, position)
        self._check(env)
        if ahead and self.effects:
            sites = list(broadcasting(self.program, env))
            if sites:
                broken = BrokenGuardError(sites)
                broken.ahead = True
                raise broken
        self._steps(arrays, env, store, counts)
        results = self._results(arrays)
        self._commit(arrays, store)
        return results

    def call(
        self, args: Sequence[np.ndarray], given: Sequence[int], store: Store, counts: RunCounts
    ) -> list[np.ndarray]:
        """Run once as the body of a loop or branch; the results are copies."""
        bound = self.program.bound(given)
        arrays, env = self._constants({s: D.evaluate(d, {}) for s, d in bound.items()})
        for q, a in zip(self.program.params, args, strict=True):
            self._put(arrays, env, q.buffer, np.asarray(a, q.buffer.dtype.np))
        self._steps(arrays, env, store, counts)
        return [np.array(arrays[b]) for b in self.program.results]

    def _constants(self, env: dict[Symbol, int]) -> tuple[dict[Buffer, Any], dict[Symbol, int]]:
        """What is there before the first step: constants, and the sizes that some of them hold."""
        arrays: dict[Buffer, Any] = dict(self.constants)
        for b in self.sized:
            if b in arrays:
                self._put(arrays, env, b, arrays[b])
        return arrays, env

    def _steps(
        self, arrays: dict[Buffer, Any], env: dict[Symbol, int], store: Store, counts: RunCounts
    ) -> None:
        self._check(env)
        for item in self.items:
            match item:
                case Host():
                    self._host(item, arrays, env)
                case Repeat() | Branch():
                    self._control(item, arrays, env, store, counts)
                case Segment():
                    self._native(item, arrays, env, store, counts)

    def _results(self, arrays: Mapping[Buffer, Any]) -> list[Any]:
        out: list[Any] = []
        for b in self.program.results:
            a = arrays[b]
            if b in self._made:
                self._made.remove(b)
                out.append(a)
            else:
                out.append(a[()] if a.ndim == 0 else a.copy())
        return out

    def _commit(self, arrays: Mapping[Buffer, Any], store: Store) -> None:
        values = {n: np.asarray(arrays[b]) for n, b in self.program.updates.items()}
        streams = [n for n in values if n.startswith("counter:")]
        after = [(n.removeprefix("counter:"), int(values.pop(n))) for n in streams]
        store.apply(values.items(), after)

    def _put(
        self, arrays: dict[Buffer, Any], env: dict[Symbol, int], b: Buffer, array: np.ndarray
    ) -> bool:
        """Record a value; true where sizes are read of it."""
        arrays[b] = array
        sources = self.sized.get(b, ())
        for s, o in sources:
            env[s] = read_size(o, array)
        return bool(sources)

    def _check(self, env: Mapping[Symbol, int]) -> None:
        """Check the guards on what is known, once for every combination of sizes."""
        key = tuple(env.values())
        if key in self._checked:
            return
        check_guards(self.program.guards, env)
        if len(self._checked) >= MAX_CHECKED:
            self._checked.clear()
        self._checked.add(key)

    def _host(self, step: Host, arrays: dict[Buffer, Any], env: dict[Symbol, int]) -> None:
        attrs = concrete_attrs(step.node.attrs, env)
        out = host_rule(step.node, [arrays[b] for b in step.inputs], attrs)
        outs = tuple(out) if isinstance(out, tuple | list) else (out,) if step.outputs else ()
        self._take(step, outs, arrays, env)

    def _control(
        self, step: Repeat | Branch, arrays: dict[Buffer, Any], env: dict[Symbol, int],
        store: Store, counts: RunCounts,
    ) -> None:  # fmt: skip
        growing = self.growing.get(step) if isinstance(step, Repeat) else None
        if growing is not None:
            inputs = [arrays[b] for b in step.inputs]
            outs = growing.run(inputs, self.code, env, store, self.constants, self.threads, counts)
            self._take(step, outs, arrays, env)
            return
        attrs = concrete_attrs(step.attrs, env)
        sizes = attrs["sizes"]
        bodies = tuple(Body(s, sizes, store, counts) for s in self.inner[step])
        if isinstance(step, Repeat):
            op = lookup("While" if step.conditional else "Scan")
            attrs |= {"body": bodies[0], "conditional": step.conditional}
        else:
            op = lookup("Case")
            attrs["branches"] = bodies
        assert op.numpy is not None
        given = [arrays[b] for b in step.inputs]
        shapes = attrs.pop("shapes", None)
        if shapes is not None:
            given = [_shaped(a, s) for a, s in zip(given, shapes, strict=True)]
        try:
            outs = op.numpy(*given, **attrs)
        except RuleError as e:
            raise OpError(e.message, loc=step.origins[0].loc, hint=e.hint) from None
        self._take(step, outs, arrays, env)

    def _take(
        self, step: Apart, outs: Sequence[Any], arrays: dict[Buffer, Any], env: dict[Symbol, int]
    ) -> None:
        """Record the results of a step."""
        found = False
        for b, o in zip(step.outputs, outs, strict=True):
            array = np.asarray(o, dtype=b.dtype.np)
            if isinstance(step, Repeat):
                array = emptied(array, b.dims, env)
            found |= self._put(arrays, env, b, array)
        if found:
            self._check(env)

    def _native(
        self, segment: Segment, arrays: dict[Buffer, Any], env: dict[Symbol, int], store: Store,
        counts: RunCounts,
    ) -> None:  # fmt: skip
        while True:
            try:
                plan, made, handed = self._walked(segment, arrays, env, store)
                break
            except RoomError as e:
                segment.grow(e)
        counts.plans += made
        counts.calls += len(plan.walks)
        counts.steps += len(plan.rows)
        found = False
        for b, view in zip(segment.outputs, plan.results, strict=True):
            found |= self._put(arrays, env, b, handed.get(b, view))
        self._made |= handed.keys()
        if found:
            self._check(env)

    def _walked(
        self, segment: Segment, arrays: dict[Buffer, Any], env: Mapping[Symbol, int], store: Store
    ) -> tuple[Plan, bool, dict[Buffer, np.ndarray]]:
        """Run a segment.

        Returns:
          the plan that holds its results, whether it was made for that, and results that it does
          not hold because they are handed out.
        """
        plan, made = segment.plan(self.code, env, store, self.constants, self.threads)
        keep = [plan.feed(b, arrays[b]) for b in segment.inputs]
        if segment.draws:
            positions = {s.inputs[0]: int(arrays[s.inputs[0]]) for s in segment.draws}
            plan.set_counters({stream(b): n for b, n in positions.items()})
            for s in segment.draws:
                moved = positions[s.inputs[0]] + draws(s, env)
                arrays[s.outputs[1]] = np.array(moved, np.int64)
        handed = plan.hand_out()
        plan.walk()
        del keep
        return plan, made, handed


def broadcasting(program: Program, env: Mapping[Symbol, int]) -> Iterator[GuardSite]:
    """Guards of bodies that sizes break of which one is 1."""
    for s in program.steps:
        if not isinstance(s, Repeat | Branch):
            continue
        for p in s.programs:
            inner = {
                k: D.evaluate(d, env)
                for k, d in p.bound(s.attrs["sizes"]).items()
                if D.symbols_of(d) <= env.keys()
            }
            for site in p.guards:
                g = site.guard
                if g.kind == "==" and D.symbols_of(g.a) | D.symbols_of(g.b) <= inner.keys():
                    pair = {D.evaluate(g.a, inner), D.evaluate(g.b, inner)}
                    if len(pair) == 2 and 1 in pair:
                        yield site
            yield from broadcasting(p, inner)


def _shaped(array: np.ndarray, shape: tuple[int, ...] | None) -> np.ndarray:
    """The first elements of an array under other sizes."""
    if shape is None or array.shape == shape:
        return array
    return np.ravel(array)[: math.prod(shape)].reshape(shape)


@record(frozen=True, slots=True)
class Body:
    """The body of a loop or branch as its numpy rule calls it; see `ir.evaluate.Bound`."""

    runner: Stepwise
    sizes: tuple[int, ...]
    store: Store
    counts: RunCounts

    def __call__(self, args: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self.runner.call(args, self.sizes, self.store, self.counts)

    @property
    def count(self) -> int:
        """How many results there are."""
        return len(self.runner.program.results)

    def nothing(self, result: int) -> np.ndarray:
        """What stacking no value of a result gives; sizes that no iteration told are 0."""
        program = self.runner.program
        b = program.results[result]
        env = {s: D.evaluate(d, {}) for s, d in program.bound(self.sizes).items()}
        known = (D.evaluate(d, env) if D.symbols_of(d) <= env.keys() else 0 for d in b.dims or ())
        return np.zeros((0, *known), b.dtype.np)


def read_size(o: SizeSource, array: np.ndarray) -> int:
    """The value of a symbol from the array it is read of."""
    return int(np.ravel(array)[o.index]) if o.element else int(array.shape[o.index])


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
    except Exception as e:
        e.add_note(f"in the operation {node.name!r}, {node.loc.excerpt()}")
        raise
