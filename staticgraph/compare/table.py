"""The numbers as text: a table for the terminal, and the cells of the report's."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from staticgraph.compare.pairs import GROUPS
from staticgraph.compare.result import Comparison, FormResult, PairResult

NONE, INDENT = "-", "  "
FIRST_TO_GO = ("calls", "cached", "working", "loss diff", "compile", "allocated")


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading, and what stands below it."""

    title: str
    meaning: str
    left: bool = False


COLUMNS = (
    Column("form", "how the program is written", left=True),
    Column(
        "loss diff", "largest difference of a loss from the define-by-run form's, relative to it"
    ),
    Column("ops", "operations dispatched a step; of a graph, those that it was built of"),
    Column("kernels", "kernels and library calls of machine code a step, those in loops included"),
    Column("calls", "calls from Python into machine code a step"),
    Column("allocated", "bytes of the arrays that a step allocates"),
    Column("working", "most bytes that a step needs at a time; of a graph, planned once"),
    Column("step", "time of a step, median"),
    Column("compile", "building and compiling, before the first step, with nothing cached"),
    Column("cached", "the same with the machine code on disk"),
    Column("pays", "step from which the graph is ahead of the form, compiling included"),
)


def seconds(value: float | None) -> str:
    """A time with a unit.

    >>> seconds(1.5e-6), seconds(0.0125), seconds(12.0), seconds(None)
    ('1.50 µs', '12.5 ms', '12.0 s', '-')
    """
    if value is None:
        return NONE
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= scale or unit == "µs":
            return f"{_three(value / scale)} {unit}"
    raise AssertionError(value)


def size(value: float | None) -> str:
    """Bytes with a unit.

    >>> size(4), size(136052.0), size(2.5e6), size(None)
    ('4 B', '136 kB', '2.50 MB', '-')
    """
    if value is None:
        return NONE
    if value < 1000:
        return f"{value:.0f} B"
    return f"{_three(value / 1e3)} kB" if value < 1e6 else f"{_three(value / 1e6)} MB"


def count(value: float | None) -> str:
    """A count; an average with one digit.

    >>> count(34.0), count(5.5), count(3309.0), count(None)
    ('34', '5.5', '3,309', '-')
    """
    if value is None:
        return NONE
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.1f}"


def step_number(value: int | None) -> str:
    """The step at which something pays.

    >>> step_number(1200), step_number(None)
    ('1,200', 'never')
    """
    return "never" if value is None else f"{value:,}"


def _three(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def row(pair: PairResult, form: FormResult) -> list[str]:
    """The cells of a form."""
    wrong = "" if form.difference <= pair.tolerance else " !"
    pays = NONE if form.form == "static" else step_number(pair.break_even("static", form.form))
    if form.static and form.form != "static":
        pays = NONE
    return [
        form.form, f"{form.difference:.0e}{wrong}" if form.difference else "0", count(form.ops),
        count(form.kernels), count(form.calls), size(form.allocated), size(form.working),
        seconds(form.step_s), seconds(form.spent) if form.static else NONE,
        seconds(form.spent_cached) if form.static else NONE, pays,
    ]  # fmt: skip


def loops(pair: PairResult) -> list[tuple[str, str]]:
    """Static forms of a program with a loop: name, and what was compiled for it."""
    return [
        (f.form, f"{_plural(f.executables, 'compilation')}, {_plural(f.plans, 'binding')} to sizes")
        for f in pair.forms
        if f.static and pair.loop
    ]


def _plural(n: int | None, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def aligned(rows: Sequence[Sequence[str]], columns: Sequence[Column]) -> list[str]:
    """Rows below the columns' titles, in columns as wide as they need."""
    cells = [[c.title for c in columns], *rows]
    widths = [max(len(r[i]) for r in cells) for i in range(len(columns))]
    lines = []
    for r in cells:
        parts = (
            c.ljust(w) if column.left else c.rjust(w)
            for c, w, column in zip(r, widths, columns, strict=True)
        )
        lines.append("  ".join(parts).rstrip())
    return lines


def narrowed(rows: Sequence[Sequence[str]], width: int | None) -> tuple[list[str], list[Column]]:
    """Aligned rows, without the columns that they have to do without to fit into a width."""
    kept, gone = list(range(len(COLUMNS))), list(FIRST_TO_GO)
    while True:
        lines = aligned([[r[i] for i in kept] for r in rows], [COLUMNS[i] for i in kept])
        if width is None or not gone or max(map(len, lines)) + len(INDENT) <= width:
            return lines, [COLUMNS[i] for i in kept]
        kept = [i for i in kept if COLUMNS[i].title != gone[0]]
        del gone[0]


def text(comparison: Comparison, width: int | None = None) -> str:
    """All of it, for a terminal.

    Args:
      width: of the terminal; some columns are left out where it is narrow.
    """
    lines, columns = narrowed([row(p, f) for p in comparison.pairs for f in p.forms], width)
    heading, body = lines[0], iter(lines[1:])
    out = []
    for group in GROUPS:
        pairs = [p for p in comparison.pairs if p.group == group]
        if not pairs:
            continue
        out += [group.upper(), INDENT + heading]
        for p in pairs:
            out.append(f"{p.name}: {p.title}")
            out += [INDENT + next(body) for _ in p.forms]
            out += [f"{INDENT}{form}: {what}" for form, what in loops(p)]
        out.append("")
    below = [f"{c.title}: {c.meaning}" for c in columns[1:]]
    missing = [c.title for c in COLUMNS if c not in columns]
    if missing:
        below.append(f"left out, as the terminal is narrow: {', '.join(missing)}")
    below += ["", *summary(comparison)]
    return "\n".join([*out, *(textwrap.fill(line, width or 10_000) for line in below)])


def verdict(comparison: Comparison) -> str:
    """One sentence on whether the losses agree."""
    wrong = [
        f"{p.name} ({f.form}: {f.difference:.1e}, at most {p.tolerance:.0e})"
        for p in comparison.pairs
        for f in p.forms
        if not f.difference <= p.tolerance
    ]
    if wrong:
        return "losses DIFFER: " + ", ".join(wrong)
    steps = sorted({p.steps for p in comparison.pairs})
    many = " or ".join(map(str, steps))
    return f"all losses agree, over {many} steps of {_plural(len(comparison.pairs), 'program')}"


def summary(comparison: Comparison) -> list[str]:
    """The findings, a sentence each."""
    out = [verdict(comparison)[0].upper() + verdict(comparison)[1:] + "."]
    pairs = comparison.pairs
    faster = sorted(p.of("dynamic").step_s / p.of("static").step_s for p in pairs)
    ahead = sum(f > 1 for f in faster)
    out.append(
        f"The static form has the shorter step in {ahead} of {_plural(len(pairs), 'program')}: "
        f"{_spread([_factor(f) for f in faster])} times as fast as define-by-run."
    )
    even = sorted(p.break_even() or math.inf for p in pairs)
    paid = [step_number(None if e == math.inf else int(e)) for e in even]
    out.append(f"Step from which compiling has paid, with nothing cached: {_spread(paid)}.")
    if comparison.has_torch:
        with_torch = [p for p in pairs if p.form("torch")]
        won = sum(p.of("torch").step_s > p.of("static").step_s for p in with_torch)
        out.append(
            f"PyTorch's step is longer than the static one in {won} of {len(with_torch)} programs."
        )
    if comparison.left_out:
        out.append(f"Interrupted: {_plural(len(comparison.left_out), 'program')} left out.")
    if comparison.busy:
        m = comparison.machine
        out.append(
            f"The machine had other work to do (load {m['load']} on {m['cores']} cores): the times "
            "are rough."
        )
    return out


def _factor(factor: float) -> str:
    return f"{factor:.1f}" if factor < 9.95 else f"{factor:,.0f}"


def _spread(ordered: Sequence[str]) -> str:
    """The first, the middle and the last of what is in order."""
    if len(ordered) == 1:
        return ordered[0]
    return f"{ordered[0]} to {ordered[-1]} (median: {ordered[len(ordered) // 2]})"


__all__ = [
    "COLUMNS", "Column", "aligned", "count", "loops", "row", "seconds", "size", "step_number",
    "summary", "text", "verdict",
]  # fmt: skip
