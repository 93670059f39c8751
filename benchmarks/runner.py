"""Runs works: one process per implementation, asked for rounds in turn."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.case import Traffic, Work, load
from benchmarks.peers import OURS, PEERS
from benchmarks.remote import ROOT, Remote, WorkerError

Row = dict[str, Any]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is run.

    Attributes:
      rounds: of each implementation, in turn.
      round_s: how long a round of one implementation shall last, if one call is not longer.
      warm_s: how long each runs before the first round.
      share_s: once an implementation has used this much, it has no more rounds than `least`.
      answer_s: how long an answer may take before a worker is given up.
    """

    quick: bool = False
    rounds: int = 15
    round_s: float = 0.05
    warm_s: float = 0.2
    share_s: float = 5.0
    least: int = 3
    answer_s: float = 90.0


QUICK = Settings(
    quick=True, rounds=3, round_s=0.01, warm_s=0.02, share_s=1.0, least=1, answer_s=60.0
)


@dataclass
class Entrant:
    """An implementation of the variant that is being run."""

    peer: str
    remote: Remote
    row: Row
    seconds: list[float] = field(default_factory=list)
    spent: float = 0.0


def environment(caches: Path) -> dict[str, str]:
    """The environment of workers: this package, no GPU, caches that begin empty."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {
        **os.environ,
        "PYTHONPATH": path,
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "STATICGRAPH_CACHE": str(caches / "staticgraph"),
        "TORCHINDUCTOR_CACHE_DIR": str(caches / "torch"),
        "PYTENSOR_FLAGS": f"base_compiledir={caches / 'pytensor'}",
        "NUMBA_CACHE_DIR": str(caches / "numba"),
    }


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median, quartiles and extremes.

    >>> spread([4.0, 1.0, 2.0, 3.0, 100.0])["median_s"]
    3.0
    """
    if len(seconds) < 2:
        low = high = seconds[0]
    else:
        low, _, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return {
        "median_s": statistics.median(seconds), "q1_s": low, "q3_s": high,
        "min_s": min(seconds), "rounds": len(seconds),
    }  # fmt: skip


class Runner:
    """Runs variants of works.

    Args:
      pythons: the interpreter of each implementation.
      tell: shows a line of progress.
      package: where works are looked for.
    """

    def __init__(
        self, pythons: Mapping[str, str], settings: Settings, tell: Tell,
        package: str = "benchmarks.works", worker: str = "benchmarks.worker",
    ) -> None:  # fmt: skip
        self.pythons, self.settings, self.tell = pythons, settings, tell
        self.package, self.worker = package, worker
        self._folder = tempfile.TemporaryDirectory(prefix="benchmarks-", ignore_cleanup_errors=True)
        self.env = environment(Path(self._folder.name))
        self.env["BENCHMARKS_CACHES"] = self._folder.name
        self._remotes: list[Remote] = []

    def close(self) -> None:
        """End what is still running, as after an interrupt, and remove the caches."""
        for remote in self._remotes:
            remote.end()
        self._folder.cleanup()

    # ---- one variant
    def run(self, work: Work, variant: str, peers: Iterable[str]) -> list[Row]:
        """Run a variant on all implementations it has; one row for each."""
        rows: list[Row] = []
        entrants: list[Entrant] = []
        try:
            for peer in peers:
                if work.implements(peer):
                    row, entrant = self._enter(work, variant, peer)
                    rows.append(row)
                    entrants += [entrant] if entrant else []
            self._rounds(entrants, work.rounds)
            for e in entrants:
                self._finish(e, work.traffic(variant, self.settings.quick))
        finally:
            for e in entrants:
                e.remote.end()
        compare(rows)
        return rows

    def _enter(self, work: Work, variant: str, peer: str) -> tuple[Row, Entrant | None]:
        row: Row = {
            "kind": "row",
            "work": work.name,
            "variant": variant,
            "peer": peer,
            "unit": work.unit,
        }
        if peer in PEERS and PEERS[peer].cached and not work.rounds:
            cold = self._built(work, variant, peer, row)  # compiles; a second process is measured
            if cold is None:
                return row, None
            self._ask(cold, do="warm", seconds=0.0, warm=0.0)  # what later steps need, too
            cold.remote.end()
            row.pop("calls", None)
            row["cold_s"] = row.pop("build_s") + row.pop("first_s", 0.0)
            row.pop("result", None)
        entrant = self._built(work, variant, peer, row)
        if entrant is None:
            return row, None
        self._ask(entrant, do="warm", seconds=self.settings.round_s, warm=self.settings.warm_s)
        if "error" in row:
            entrant.remote.end()
            return row, None
        return row, entrant

    def _built(self, work: Work, variant: str, peer: str, row: Row) -> Entrant | None:
        entrant = Entrant(peer, Remote(self.pythons[peer], self.env, self.worker), row)
        self._remotes.append(entrant.remote)
        self._ask(entrant, do="build", work=work.name, variant=variant, peer=peer,
                  quick=self.settings.quick, package=self.package)  # fmt: skip
        if "error" in row or "not_yet" in row:
            self.tell(f"  {peer}: {row.get('not_yet') or row['error']}")
            entrant.remote.end()
            return None
        self.tell(f"  {peer}: built and run in {row['build_s'] + row.get('first_s', 0.0):.2f} s")
        return entrant

    def _ask(self, e: Entrant, **request: Any) -> dict[str, Any]:
        try:
            answer = e.remote.ask(self.settings.answer_s, **request)
        except WorkerError as error:
            answer = {"error": str(error)}
        e.row.update(answer)
        return answer

    def _rounds(self, entrants: Sequence[Entrant], wanted: int | None) -> None:
        rounds = self.settings.rounds if wanted is None else min(wanted, self.settings.rounds)
        least = self.settings.least if wanted is None else 1
        for number in range(rounds):
            self.tell(f"\r  round {number + 1} of {rounds}")
            for k in range(len(entrants)):
                e = entrants[(k + number) % len(entrants)]  # nobody always runs after the same one
                if "error" in e.row or (
                    e.spent > self.settings.share_s and len(e.seconds) >= least
                ):
                    continue
                start = time.perf_counter()
                answer = self._ask(e, do="round")
                e.spent += time.perf_counter() - start
                if "error" not in answer:
                    e.seconds.append(e.row.pop("seconds"))
        self.tell("\r")

    def _finish(self, e: Entrant, traffic: Traffic) -> None:
        if not e.seconds:
            return
        self._ask(e, do="end")
        if e.peer == OURS:
            self._ask(e, do="plan", work=e.row["work"], variant=e.row["variant"],
                      quick=self.settings.quick, package=self.package)  # fmt: skip
        e.row.update(spread(e.seconds))
        if traffic.bytes:
            e.row["bytes"] = traffic.bytes
            e.row["bytes_per_s"] = traffic.bytes / e.row["median_s"]
        if traffic.flops:
            e.row["flops"] = traffic.flops
            e.row["flops_per_s"] = traffic.flops / e.row["median_s"]

    # ---- the machine
    def ceilings(self, peer: str = "floor") -> Row:
        """Measure what the machine can do: bytes a second by size, operations a second."""
        here = Runner(self.pythons, self.settings, self.tell, package="benchmarks")
        try:
            (row,) = here.run(load("ceilings", "benchmarks"), "all", [peer])
        finally:
            here.close()
        seen = row.get("facts", {"copies": {}, "gemm": 0.0})
        return {
            "kind": "ceilings",
            "copies": seen["copies"],
            "gemm": seen["gemm"],
            "copy": _large(seen["copies"]),
        }


def _large(copies: Mapping[str, float]) -> float:
    """The rate of the largest copy: that of main memory."""
    return copies[max(copies, key=int)] if copies else 0.0


def best_ceilings(a: Row, b: Row) -> Row:
    """The higher of two measurements, made before and after a run."""
    copies = {
        k: max(a["copies"].get(k, 0.0), b["copies"].get(k, 0.0)) for k in a["copies"] | b["copies"]
    }
    return {
        "kind": "ceilings",
        "copies": copies,
        "copy": _large(copies),
        "gemm": max(a["gemm"], b["gemm"]),
    }


def compare(rows: Sequence[Row], tolerance: float = 1e-3) -> None:
    """Note in each row whether its first step gave our numbers, or else the first row's."""
    given = [r for r in rows if r.get("result")]
    reference = next((r for r in given if r["peer"] == OURS), given[0] if given else None)
    for r in given:
        assert reference is not None
        pairs = list(zip(r["result"], reference["result"], strict=False))
        r["agrees"] = len(r["result"]) == len(reference["result"]) and all(
            abs(x - y) <= tolerance * max(1.0, abs(x), abs(y)) for x, y in pairs
        )
