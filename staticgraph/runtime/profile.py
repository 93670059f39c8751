"""`Profile`: where the time of a session's runs went, as data, as a table and as a trace.

    profile of 200 runs in 6.244 ms
       share     total  calls     mean      min   bytes   GB/s  GFLOP/s
       48.2%  3.010 ms    200  15.1 us  14.9 us  65,792   4.36    17.02  matmul   MatMul at net.py:9
       12.4%  0.774 ms    200  3.87 us  3.80 us  32,768   8.46     4.22  k0 flat  Tanh at net.py:9

A row is a step of a program (a kernel, a library call, a host step), or what is done around the
steps: ``compile``, ``plan`` (binding a program to sizes), ``feed``, ``results`` (copying them),
``commit`` (assigning variables) and ``python``, the rest of the runs' time.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from staticgraph.codegen.cpu import kernel_source
from staticgraph.errors import UsageError
from staticgraph.ir import loc
from staticgraph.ir.files import write_atomically
from staticgraph.ir.program import Origin, by_line
from staticgraph.runtime.timing import PlanSites, Run, Site, Walked

By = Literal["step", "kernel", "line"]
KEPT_SPANS = 500_000  # rows of a trace: runs after that count in the table only


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """The time of one step, of one kernel, of one line, or of what is done around the steps.

    Attributes:
      kind: kernel, library, host, reference, compile, plan, feed, results, commit, python.
      name: a kernel's name in its program and its form, or the kind of call.
      fetches: what the executable computes; empty where the row is of several.
      step: position in the program's steps, or None.
      calls: how often it ran; `total`, `mean` and `min` are seconds.
      share: part of the time of all runs.
      bytes: read and written in a call, on average; see `runtime.cost`.
      flops: operations on floats in a call, on average.
      origins: the operations it computes, with the user's lines.
    """

    kind: str
    name: str
    fetches: str
    step: int | None
    calls: int
    total: float
    min: float
    share: float
    bytes: float
    flops: float
    origins: tuple[Origin, ...]

    @property
    def mean(self) -> float:
        """Seconds of a call."""
        return self.total / self.calls if self.calls else 0.0

    @property
    def gb_per_s(self) -> float:
        """Memory traffic, in 10^9 bytes a second."""
        return self.bytes / self.mean / 1e9 if self.mean else 0.0

    @property
    def gflop_per_s(self) -> float:
        """Operations on floats, in 10^9 a second."""
        return self.flops / self.mean / 1e9 if self.mean else 0.0

    def lines(self) -> list[str]:
        """User's lines with the operations each of them made, in order."""
        return by_line(self.origins)


@dataclass(slots=True)
class _Total:
    calls: int = 0
    time: int = 0
    least: int = 0
    bytes: float = 0
    flops: float = 0

    def add(self, calls: int, time: int, least: int, size: float = 0, flops: float = 0) -> None:
        self.least = min(self.least, least) if self.calls else least
        self.calls += calls
        self.time += time
        self.bytes += size
        self.flops += flops


class _Steps:
    """Times of a plan's steps over all its walks."""

    def __init__(self, plan: PlanSites) -> None:
        n = len(plan.sites)
        self.calls = np.zeros(n, np.int64)
        self.total = np.zeros(n, np.int64)
        self.least = np.full(n, np.iinfo(np.int64).max)

    def add(self, walked: Walked) -> None:
        first = walked.plan.first
        if not first.size:
            return
        begin, end = walked.times.T
        took = np.add.reduceat(end - begin, first)
        done = np.minimum.reduceat(end, first) > 0  # a step that failed is no call of it
        self.calls += done
        self.total += took * done
        np.minimum(self.least, took, out=self.least, where=done)


class Profile:
    """What `Session.profile` gives.

    >>> import staticgraph as tf
    >>> with tf.Graph().as_default(), tf.Session() as sess:
    ...     x = tf.placeholder(tf.float32, [None])
    ...     y = tf.reduce_sum(tf.exp(x))
    ...     with sess.profile() as profile:
    ...         for _ in range(10):
    ...             _ = sess.run(y, {x: [1.0, 2.0]})
    ...     kernels = [r for r in profile.rows if r.kind == "kernel"]
    ...     kernel = max(kernels, key=lambda r: r.flops)
    ...     print(profile.runs, kernel.calls, kernel.bytes, kernel.flops, kernel.lines())
    10 10 12.0 4.0 ['Exp, Sum at ...']
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._around: dict[Site, _Total] = {}
        self._walks: dict[PlanSites, _Steps] = {}
        self._runs = 0
        self._time = 0  # nanoseconds of runs that are not inside others
        self._kept: list[Run] = []
        self._spans = 0
        self.left_out = 0

    # ---- recording
    def add(self, run: Run) -> None:
        """Count a run that has ended."""
        with self._lock:
            for s in run.spans:
                self._around.setdefault(s.site, _Total()).add(1, s.own, s.own, s.bytes)
            for w in run.walks:
                if w.plan not in self._walks:
                    self._walks[w.plan] = _Steps(w.plan)
                self._walks[w.plan].add(w)
            rest = run.rest
            self._around.setdefault(run.unit.site("python"), _Total()).add(1, rest, rest)
            self._runs += 1
            if not run.inside:
                self._time += run.end - run.start
            self._keep(run)

    def _keep(self, run: Run) -> None:
        size = 1 + len(run.spans) + sum(len(w.times) for w in run.walks)
        if self._spans + size > KEPT_SPANS:
            self.left_out += 1
        else:
            self._spans += size
            self._kept.append(run)

    # ---- reading
    @property
    def runs(self) -> int:
        """How many runs were profiled, those that host steps made included."""
        return self._runs

    @property
    def seconds(self) -> float:
        """The time of all runs."""
        return self._time / 1e9

    @property
    def rows(self) -> tuple[ProfileRow, ...]:
        """One for each step and for what is done around the steps, longest first."""
        return self.rows_by("step")

    def rows_by(self, by: By) -> tuple[ProfileRow, ...]:
        """Rows by step, by kernel (equal kernels together), or by the user's line.

        The time of a kernel that computes several lines counts for the last of them.

        Raises:
          UsageError: `by` is something else.
        """
        if by not in _GROUPS:
            hint = "one of step, kernel, line"
            raise UsageError(f"rows cannot be grouped by {by!r}", loc=loc.caller(), hint=hint)
        with self._lock:
            whole = self._time
            grouped: dict[Any, tuple[list[Site], _Total]] = {}
            for site, t in self._totals():
                sites, sum_ = grouped.setdefault(_GROUPS[by](site), ([], _Total()))
                sites.append(site)
                sum_.add(t.calls, t.time, t.least, t.bytes, t.flops)
        made = [_row(sites, t, whole) for sites, t in grouped.values()]
        return tuple(sorted(made, key=lambda r: -r.total))

    def _totals(self) -> Iterator[tuple[Site, _Total]]:
        """Every site with its total."""
        totals = {s: replace(t) for s, t in self._around.items()}
        for plan, steps in self._walks.items():
            for k, (site, cost) in enumerate(zip(plan.sites, plan.costs, strict=True)):
                n = int(steps.calls[k])
                if n:
                    totals.setdefault(site, _Total()).add(
                        n, int(steps.total[k]), int(steps.least[k]), n * cost.bytes, n * cost.flops
                    )
        yield from totals.items()

    def table(self, by: By = "step", limit: int | None = 40) -> str:
        """The profile as a table.

        Args:
          by: see `rows_by`.
          limit: rows to show, the longest; all of them if None.

        Raises:
          UsageError: `by` is something else, or `limit` negative.
        """
        if limit is not None and limit < 0:
            raise UsageError(f"a table cannot have {limit} rows", loc=loc.caller())
        rows = self.rows_by(by)
        shown = rows if limit is None else rows[:limit]
        head = f"profile of {_count(self.runs, 'run')} in {_time(self.seconds)}"
        lines = [_HEAD, *map(_cells, shown)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        out = [head]
        for cells in lines:
            padded = [c.rjust(w) for c, w in zip(cells[:-2], widths, strict=False)]
            out.append("  ".join(["", *padded, cells[-2].ljust(widths[-2]), cells[-1]]).rstrip())
        if len(shown) < len(rows):
            rest = sum(r.share for r in rows[len(shown) :])
            out.append(f"  and {_count(len(rows) - len(shown), 'row')} more, {rest:.1%}")
        return "\n".join(out)

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        return f"<Profile of {_count(self.runs, 'run')}, {_time(self.seconds)}>"

    # ---- trace
    def trace(self) -> dict[str, Any]:
        """The runs as a trace in Chrome's format: see `save`."""
        with self._lock:
            runs = sorted(self._kept, key=lambda r: r.start)
            left_out = self.left_out
        pid = os.getpid()
        threads = dict.fromkeys(r.thread for r in runs)
        events: list[dict[str, Any]] = [
            {"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}}
            for tid, name in threads
        ]
        zero = runs[0].start if runs else 0
        spans = [(run, *event) for run in runs for event in _events(run)]
        # by time, what is around before what is within: runs may be within others, or beside them
        for run, site, start, end, args in sorted(spans, key=lambda s: (s[2], -s[3])):
            events.append({
                "ph": "X", "name": site.name, "cat": site.kind, "pid": pid,
                "tid": run.thread[0], "ts": (start - zero) / 1e3, "dur": (end - start) / 1e3,
                "args": {"run": run.number, **args, **_where(site.origins)},
            })  # fmt: skip
        other = {"runs": len(runs), "runs left out": left_out}
        return {"traceEvents": events, "displayTimeUnit": "ns", "otherData": other}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the runs as a trace file, which chrome://tracing and ui.perfetto.dev show.

        Every run, step and copy is an event with its begin and length; `args` tell the number of
        the run, the operations and lines a step computes, its bytes and operations on floats, and
        in how many threads it ran.  The file is written whole or not at all.

        Raises:
          OSError: the file cannot be written.
        """
        write_atomically(Path(path), json.dumps(self.trace()).encode())


_GROUPS: dict[str, Callable[[Site], Any]] = {
    "step": lambda s: s,
    "kernel": lambda s: (s.kind, kernel_source(s.kernel) if s.kernel else s.name),
    "line": lambda s: (s.kind, s.origins[-1].loc if s.origins else s.name),
}


def _row(sites: Sequence[Site], t: _Total, whole: int) -> ProfileRow:
    one = sites[0]
    fetches = {s.unit.fetches for s in sites}
    steps = {s.step for s in sites}
    origins = dict.fromkeys(o for s in sites for o in s.origins)
    return ProfileRow(
        one.kind, one.name, one.unit.fetches if len(fetches) == 1 else "",
        one.step if len(steps) == 1 else None, t.calls, t.time / 1e9, t.least / 1e9,
        t.time / whole if whole else 0.0, t.bytes / t.calls, t.flops / t.calls, tuple(origins),
    )  # fmt: skip


def _events(run: Run) -> Iterator[tuple[Site, int, int, dict[str, Any]]]:
    """Site, begin, end and arguments of all that a run consists of."""
    yield Site("run", "run", run.unit), run.start, run.end, {"fetches": run.unit.fetches}
    for s in run.spans:
        yield s.site, s.start, s.end, {"bytes": s.bytes} if s.bytes else {}
    for w in run.walks:
        yield from _rows_of(w)


def _rows_of(w: Walked) -> Iterator[tuple[Site, int, int, dict[str, Any]]]:
    plan = w.plan
    first = plan.first.tolist()
    ends = [*first[1:], len(plan.threads)][: len(first)]
    for site, cost, start, stop in zip(plan.sites, plan.costs, first, ends, strict=True):
        args: dict[str, Any] = {"step": site.step, "bytes": cost.bytes, "flops": cost.flops}
        for k in range(start, stop):
            begin, end = w.times[k].tolist()
            if end:
                part = {"part": f"{k - start + 1} of {stop - start}"} if stop - start > 1 else {}
                yield site, begin, end, {**args, **part, "threads": plan.threads[k]}


def _where(origins: Iterable[Origin]) -> dict[str, Any]:
    """Operations and lines, for the arguments of an event."""
    origins = tuple(origins)
    if not origins:
        return {}
    lines = dict.fromkeys(o.loc.excerpt() for o in origins if o.loc.line)
    return {"ops": [f"{o.name} = {o.op}" for o in origins], "lines": list(lines)}


_HEAD = ("share", "total", "calls", "mean", "min", "bytes", "GB/s", "GFLOP/s", "", "")


def _cells(r: ProfileRow) -> tuple[str, ...]:
    lines = r.lines()
    where = "; ".join(lines[-2:]) + (f"; {len(lines) - 2} more" if len(lines) > 2 else "")
    return (
        f"{r.share:.1%}", _time(r.total), f"{r.calls:,}", _time(r.mean), _time(r.min),
        f"{r.bytes:,.0f}" if r.bytes else "", f"{r.gb_per_s:.2f}" if r.bytes else "",
        f"{r.gflop_per_s:.2f}" if r.flops else "", r.name,
        where or (r.fetches and f"of {_short(r.fetches)}"),
    )  # fmt: skip


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3f} {unit}"
    return f"{seconds * 1e6:.2f} us"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


__all__ = ["By", "Profile", "ProfileRow"]
