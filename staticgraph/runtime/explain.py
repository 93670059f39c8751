"""What a session has compiled, why, and what each kernel computes: `Session.explain`.

1 executable, 2 kernels
executable 0: cost:0, train
  compiled: first run of these fetches; 20 runs, each one native call
  feeds x:0: f32[n0, 784]
  steps
    launch k0(%MatMul, mut %cost) over n0
      Add, Square at train.py:12; Mean at train.py:14
  plans
    n0=64: 3 steps, 4,096 bytes of temporaries, 8,192 planned in all
"""

from __future__ import annotations

from dataclasses import dataclass, field

from staticgraph.codegen.cpu import kernel_source
from staticgraph.ir.program import Launch, Origin, Program, ProgramText, Step
from staticgraph.ir.text import type_text
from staticgraph.ir.types import TensorType
from staticgraph.runtime.executable import Executable
from staticgraph.runtime.fetches import FetchPlan


@dataclass(frozen=True, slots=True)
class StepReport:
    """A step of a program, as its text has it, and the operations it computes."""

    text: str
    kernel: str | None
    origins: tuple[Origin, ...]

    def lines(self) -> list[str]:
        """User's lines with the operations each of them made, in order."""
        at: dict[str, list[str]] = {}
        for o in self.origins:
            at.setdefault(o.loc.short() if o.loc.line else "no known line", []).append(o.op)
        return [f"{', '.join(dict.fromkeys(ops))} at {where}" for where, ops in at.items()]


@dataclass(frozen=True, slots=True)
class KernelReport:
    """A kernel: its name in the steps, its form, and its source."""

    name: str
    form: str
    source: str


@dataclass(frozen=True, slots=True)
class PlanReport:
    """A program bound to sizes: symbols' values, table rows, and bytes."""

    sizes: dict[str, int]
    rows: int
    temporaries: int
    planned: int

    def __str__(self) -> str:
        sizes = ", ".join(f"{s}={n}" for s, n in self.sizes.items()) or "fixed sizes"
        return (
            f"{sizes}: {_count(self.rows, 'step')}, {self.temporaries:,} bytes of temporaries, "
            f"{self.planned:,} planned in all"
        )


@dataclass(frozen=True, slots=True)
class ExecutableReport:
    """One compiled function of a session.

    Attributes:
      fetches: names of what was fetched.
      feeds: name and type of each fed tensor.
      reason: why it was compiled.
      mode: how it runs.
      plans: one per combination of sizes seen lately, oldest first.
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

    def text(self, number: int, sources: bool) -> str:
        """The lines of the report."""
        out = [f"executable {number}: {', '.join(self.fetches)}"]
        how = f"; {_count(self.runs, 'run')}, {self.mode}" if self.mode else ""
        out.append(f"  compiled: {self.reason}{how}")
        if self.feeds:
            out.append(f"  feeds {', '.join(self.feeds)}")
        out.append("  steps" if self.steps else "  no steps")
        for s in self.steps:
            out.append(f"    {s.text}")
            out += [f"      {line}" for line in s.lines()]
        if self.plans:
            out.append("  plans")
            out += [f"    {p}" for p in self.plans]
        if sources:
            for k in self.kernels:
                out.append(f"  {k.name}, {k.form}")
                out += [f"    {line}" for line in k.source.splitlines()]
        return "\n".join(out)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `Session.explain` gives; `str` of it is the text, with kernels' sources if asked for."""

    executables: tuple[ExecutableReport, ...]
    sources: bool = False

    def __str__(self) -> str:
        kernels = {k.source for e in self.executables for k in e.kernels}
        head = f"{_count(len(self.executables), 'executable')}, {_count(len(kernels), 'kernel')}"
        return "\n".join([head, *(e.text(i, self.sources) for i, e in enumerate(self.executables))])


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def report(plan: FetchPlan, exe: Executable) -> ExecutableReport:
    """The report of a compiled executable."""
    if exe.reference:
        mode = "evaluated by the numpy reference"
    elif exe.bound:
        mode = "each one native call"
    else:
        mode = "native segments between host steps"
    plans = tuple(
        PlanReport({str(s): n for s, n in p.env.items()}, len(p.rows), p.arena_bytes, p.peak_bytes)
        for p in exe.plans.values()
    )
    return program_report(plan, exe.program, exe.reason, mode, exe.counts.runs, plans)


def program_report(
    plan: FetchPlan, program: Program, reason: str, mode: str, runs: int = 0,
    plans: tuple[PlanReport, ...] = (),
) -> ExecutableReport:  # fmt: skip
    """The report of a program, compiled to machine code or not."""
    text = ProgramText(program)

    def step(s: Step) -> StepReport:
        kernel = text.kernels[s.kernel] if isinstance(s, Launch) else None
        return StepReport(text.step(s), kernel, s.origins)

    return ExecutableReport(
        tuple(f.name for f in (*plan.fetches, *plan.final)),
        tuple(
            f"{q.name}: {type_text(TensorType(q.buffer.dtype, q.buffer.dims))}"
            for q in program.params if q.kind == "feed"
        ),
        reason, mode, runs, tuple(map(step, program.steps)),
        tuple(KernelReport(n, k.form, kernel_source(k)) for k, n in text.kernels.items()),
        plans, program,
    )  # fmt: skip


__all__ = [
    "ExecutableReport", "Explanation", "KernelReport", "PlanReport", "StepReport",
    "program_report", "report",
]  # fmt: skip
