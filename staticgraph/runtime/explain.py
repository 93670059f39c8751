"""What a session has compiled, why, and what each kernel computes: `Session.explain`.

1 executable, 2 kernels, 13,408 bytes planned, 608 of them for calls
executable 0: cost:0, train
  compiled: first run of these fetches; 20 runs, each one native call
  feeds x:0: f32[n0, 784]
  steps
    launch k0(%MatMul, mut %cost) over n0
      Add, Square at train.py:12
      Mean at train.py:14
      with n0=64: reads 4,096 bytes, writes 4, 2,048 flops
  plans
    n0=64: 3 steps, 12,800 bytes planned: arena 4,160, staging 4,224, variables 4,224, table 192
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace

import numpy as np

from staticgraph.codegen.cpu import kernel_source
from staticgraph.ir import dims as D
from staticgraph.ir.dims import Symbol
from staticgraph.ir.graph import Graph
from staticgraph.ir.program import (
    Branch,
    Buffer,
    Launch,
    Origin,
    Program,
    ProgramText,
    Repeat,
    Step,
    by_line,
)
from staticgraph.ir.record import record
from staticgraph.ir.text import type_text
from staticgraph.ir.types import TensorType
from staticgraph.runtime.constants import graph_memory, memory_of, program_memory
from staticgraph.runtime.cost import Cost, step_cost
from staticgraph.runtime.entries import RunEntry
from staticgraph.runtime.executable import Executable
from staticgraph.runtime.fetches import FetchPlan
from staticgraph.runtime.footprint import Footprint
from staticgraph.runtime.forecast import footprint, sizes_of
from staticgraph.runtime.plan import Plan
from staticgraph.runtime.store import Store


@record(frozen=True, slots=True)
class StepReport:
    """A step of a program, as its text has it, and the operations it computes.

    `cost` is what it moves and computes with the sizes of the last plan; `inside` are the
    operations that the bodies of a loop or branch compute.
    """

    text: str
    kernel: str | None
    origins: tuple[Origin, ...]
    cost: Cost | None = None
    inside: tuple[Origin, ...] = ()

    def lines(self) -> list[str]:
        """User's lines with the operations each of them made, in order."""
        return by_line(self.origins) + [f"in it {line}" for line in by_line(self.inside)]


@record(frozen=True, slots=True)
class KernelReport:
    """A kernel: its name in the steps, its form, and its source."""

    name: str
    form: str
    source: str


@record(frozen=True, slots=True)
class PlanReport:
    """A program, or a segment of it, bound to sizes: symbols' values, table rows, and bytes."""

    sizes: dict[str, int]
    rows: int
    footprint: Footprint

    @property
    def temporaries(self) -> int:
        """Bytes of the arena."""
        return self.footprint.arena

    @property
    def planned(self) -> int:
        """Bytes in all."""
        return self.footprint.total

    def __str__(self) -> str:
        return f"{_sizes(self.sizes)}: {_count(self.rows, 'step')}, {self.footprint}"


@record(frozen=True, slots=True)
class ExecutableReport:
    """One compiled function of a session.

    Attributes:
      fetches: names of what was fetched.
      feeds: name and type of each fed tensor.
      reason: why it was compiled.
      mode: how it runs.
      plans: one per combination of sizes seen lately, oldest first; of each segment where host
        steps stand between them.
      constants: bytes of the program's constants, which all plans share.
      sizes: those that the costs of the steps are told for.
      arenas: bytes of all plans' arenas; plans for different sizes share one.
      results: bytes that one run hands out, or copies to assign variables, at the most.
    """

    fetches: tuple[str, ...]
    feeds: tuple[str, ...]
    reason: str
    mode: str
    runs: int
    steps: tuple[StepReport, ...]
    kernels: tuple[KernelReport, ...]
    plans: tuple[PlanReport, ...]
    program: Program = field(repr=False)
    constants: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    arenas: int = 0
    results: int = 0

    def text(self, number: int, sources: bool) -> str:
        """The lines of the report."""
        out = [f"executable {number}: {', '.join(self.fetches)}"]
        how = f"; {_count(self.runs, 'run')}, {self.mode}" if self.mode else ""
        out.append(f"  compiled: {self.reason}{how}")
        if self.feeds:
            out.append(f"  feeds {', '.join(self.feeds)}")
        out.append("  steps" if self.steps else "  no steps")
        for s in self.steps:
            shown = s.text.replace("\n", "\n  ")  # of a loop: its body stands below it
            out.append(f"    {shown}")
            out += [f"      {line}" for line in s.lines()]
            if s.cost is not None:
                told = f"with {_sizes(self.sizes)}: " if self.sizes else ""
                out.append(f"      {told}{s.cost}")
        if self.plans:
            out.append("  plans")
            out += [f"    {p}" for p in self.plans]
        if sources:
            for k in self.kernels:
                out.append(f"  {k.name}, {k.form}")
                out += [f"    {line}" for line in k.source.splitlines()]
        return "\n".join(out)


@record(frozen=True, slots=True)
class Explanation:
    """What `Session.explain` gives; `str` of it is the text, with kernels' sources if asked for.

    Attributes:
      variables: bytes that the session's variables take now.
      constants: bytes of constants, each of which counts once: of the programs and, where the
        whole session is explained, of the graph.
      calls: bytes by which the session knows runs that come again.
    """

    executables: tuple[ExecutableReport, ...]
    sources: bool = False
    variables: int = 0
    constants: int = 0
    calls: int = 0

    @property
    def planned(self) -> int:
        """Bytes of all plans together; variables and constants count once.

        Of an executable, whose plans share an arena, the results of one run count.
        """
        variables, rest = self.variables, self.constants + self.calls
        for e in self.executables:
            prints = [p.footprint for p in e.plans]
            variables = max([variables, *(f.variables for f in prints)])
            rest += e.arenas + e.results
            rest += sum(f.staging + f.table for f in prints)
        return variables + rest

    def __str__(self) -> str:
        kernels = {k.source for e in self.executables for k in e.kernels}
        head = f"{_count(len(self.executables), 'executable')}, {_count(len(kernels), 'kernel')}"
        if any(e.plans for e in self.executables):
            head += f", {self.planned:,} bytes planned"
            head += f", {self.calls:,} of them for calls" if self.calls else ""
        return "\n".join([head, *(e.text(i, self.sources) for i, e in enumerate(self.executables))])


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def names_of(plan: FetchPlan) -> tuple[str, ...]:
    """The names of what is fetched."""
    return tuple(f.name for f in (*plan.fetches, *plan.final))


def report(names: Sequence[str], exe: Executable) -> ExecutableReport:
    """The report of a compiled executable; `names` are those of what it computes."""
    if exe.reference:
        mode = "evaluated by the numpy reference"
    elif exe.bound:
        mode = "each one native call"
    else:
        mode = "native segments between host steps"
    apart = [list(exe.plans.values())]
    if exe.stepwise is not None:
        apart = [list(s.plans.values()) for s in exe.stepwise.segments()]
    plans = [p for found in apart for p in found]
    # Between segments results go as they are, and only the last of them are copied.
    out = frozenset(exe.program.results)
    results = sum(max((_handed(p, out) for p in found), default=0) for found in apart)
    env: dict[Symbol, int] = {}
    for p in plans:
        env |= p.env
    reports = tuple(PlanReport(_named(p.env), len(p.rows), p.footprint) for p in plans)
    arenas = sum(memory_of(p.arena for p in plans).values())
    runs = exe.counts.runs
    made = program_report(names, exe.program, exe.reason, mode, runs, reports, env)
    return replace(made, arenas=arenas, results=results)


def _handed(p: Plan, results: frozenset[Buffer]) -> int:
    """What a plan's run takes to hand out those of its results."""
    inner = sum(
        v.nbytes for b, v in zip(p.program.results, p.results, strict=True) if b not in results
    )
    return p.footprint.results - inner


def call_bytes(words: np.ndarray, store: Store, entries: Iterable[RunEntry]) -> int:
    """What a session takes to know runs that come again.

    Args:
      words: by which native code knows the session.
    """
    kept = [words, store.mark, *(store.counters.words(name) for name in store.counters)]
    there = list(store.arrays.values())
    for entry in entries:
        kept += [] if entry.quick is None else entry.quick.arrays
        for _, exe in entry.executables:
            kept.append(exe.quick)
            for p in exe.plans.values():
                there += p.views.values()
                kept += [p.failed, *([] if p.call is None else p.call.arrays)]
    counted = memory_of(there)
    return sum(n for place, n in memory_of(kept).items() if place not in counted)


def explanation(
    reports: Sequence[ExecutableReport], sources: bool, variables: int = 0,
    graph: Graph | None = None, calls: int = 0,
) -> Explanation:  # fmt: skip
    """What is told of executables, and of their session; see `Explanation`."""
    constants = {} if graph is None else dict(graph_memory(graph))
    for r in reports:
        constants |= program_memory(r.program)
    return Explanation(tuple(reports), sources, variables, sum(constants.values()), calls)


def forecast(
    plan: FetchPlan, program: Program, feeds: Mapping[str, np.ndarray], store: Store, reason: str
) -> ExecutableReport:  # fmt: skip
    """The report of a program that was not run, with its memory where the sizes are known."""
    env = sizes_of(program, feeds, store)
    needed = footprint(program, env, store)
    plans = () if needed is None else (PlanReport(_named(env), len(program.steps), needed),)
    return program_report(names_of(plan), program, reason, "", 0, plans, env)


def program_report(
    names: Sequence[str], program: Program, reason: str, mode: str, runs: int = 0,
    plans: tuple[PlanReport, ...] = (), env: Mapping[Symbol, int] | None = None,
) -> ExecutableReport:  # fmt: skip
    """The report of a program, compiled to machine code or not."""
    text = ProgramText(program)
    sizes = env or {}
    constants = sum(program_memory(program).values())

    def step(s: Step) -> StepReport:
        kernel = text.kernels[s.kernel] if isinstance(s, Launch) else None
        cost = step_cost(s, sizes) if _symbols(s) <= sizes.keys() else None
        bodies = s.programs if isinstance(s, Repeat | Branch) else ()
        inside = tuple(o for p in bodies for t in p.every_step() for o in t.origins)
        return StepReport(text.step(s), kernel, s.origins, cost, inside)

    return ExecutableReport(
        tuple(names),
        tuple(
            f"{q.name}: {type_text(TensorType(q.buffer.dtype, q.buffer.dims))}"
            for q in program.params if q.kind == "feed"
        ),
        reason, mode, runs, tuple(map(step, program.steps)),
        tuple(KernelReport(n, k.form, kernel_source(k)) for k, n in text.kernels.items()),
        plans, program, constants, _named(sizes),
        sum(p.footprint.arena for p in plans), sum(p.footprint.results for p in plans),
    )  # fmt: skip


def _symbols(step: Step) -> set[Symbol]:
    """The symbols that the cost of a step depends on."""
    dims = [d for b in (*step.reads, *step.writes) for d in b.dims or ()]
    if isinstance(step, Launch):
        dims += [step.extent, *(a for a in step.args if not isinstance(a, Buffer))]
    return {s for d in dims for s in D.symbols_of(d)}


def _named(env: Mapping[Symbol, int]) -> dict[str, int]:
    return {str(s): n for s, n in env.items()}


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{s}={n}" for s, n in sizes.items()) or "fixed sizes"


__all__ = [
    "ExecutableReport", "Explanation", "KernelReport", "PlanReport", "StepReport",
    "forecast", "names_of", "report",
]  # fmt: skip
