"""The process of one implementation of one work: builds it, then runs a round whenever asked.

It reads one JSON object a line and answers with one; the standard output of what it runs goes to
the standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import IO, Any

from benchmarks import memory
from benchmarks.case import Case, NotYet, load
from benchmarks.peers import OURS, PEERS

clock = time.perf_counter


class Worker:
    """Answers requests; `case` is there after ``build``."""

    def __init__(self) -> None:
        self.case: Case | None = None
        self.calls = 1
        self.base = 0

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked; what goes wrong is part of the answer."""
        do: Callable[..., dict[str, Any]] = getattr(self, f"do_{request.pop('do')}")
        try:
            return do(**request)
        except NotYet as e:
            return {"not_yet": str(e)}
        except Exception as e:
            traceback.print_exc()
            return {"error": f"{type(e).__name__}: {str(e).strip()}".splitlines()[0][:300]}

    def do_build(
        self, work: str, variant: str, peer: str, quick: bool, package: str
    ) -> dict[str, Any]:
        """Import, build, and make the first step, which compiles."""
        start = clock()
        for module in PEERS[peer].modules if peer in PEERS else ():
            importlib.import_module(module)
        imported = clock()
        made = load(work, package)
        memory.forget()
        self.base = memory.current()
        built = clock()
        self.case = made.build(peer, variant, quick)
        first = clock()
        if self.case.timed:
            return {"import_s": imported - start, "build_s": first - built}
        self.case.step()
        end = clock()
        result = [float(x) for x in self.case.result()] if self.case.result else []
        return {
            "import_s": imported - start, "build_s": first - built, "first_s": end - first,
            "result": result,
        }  # fmt: skip

    def do_warm(self, seconds: float, warm: float) -> dict[str, Any]:
        """Run for a while, and find how many calls make a round of so many seconds."""
        assert self.case is not None
        if self.case.timed:
            return {"calls": 1}
        step, end, calls = self.case.step, clock() + warm, 0
        best = float("inf")
        while clock() < end or calls < 3:
            start = clock()
            step()
            best = min(best, clock() - start)
            calls += 1
        self.calls = max(1, min(1_000_000, round(seconds / max(best, 1e-8))))
        return {"calls": self.calls}

    def do_round(self) -> dict[str, Any]:
        """One round: seconds per unit."""
        assert self.case is not None
        step = self.case.step
        if self.case.timed:
            return {"seconds": float(step()) / self.case.units}
        calls = range(self.calls)
        start = clock()
        for _ in calls:
            step()
        return {"seconds": (clock() - start) / self.calls / self.case.units}

    def do_end(self) -> dict[str, Any]:
        """Memory and facts."""
        assert self.case is not None
        peak = memory.peak()
        facts = self.case.facts() if self.case.facts else {}
        grown = facts.get("process_peak_bytes", max(0, peak - self.base))  # a process of its own
        return {"peak_bytes": peak, "grown_bytes": grown, "facts": facts}

    def do_plan(self, work: str, variant: str, quick: bool, package: str) -> dict[str, Any]:
        """Build and step once more, and compare what is planned with what is allocated.

        For this package's own sessions alone, and after all rounds: looking costs time.
        """
        import staticgraph as tf

        self.case = None
        tf.reset_default_graph()
        made = load(work, package)
        with memory.Arrays("staticgraph") as seen:
            case = made.build(OURS, variant, quick)
            if case.timed or case.facts is None:
                return {}
            held = case.step()  # results count while somebody has them
            found = seen.bytes()
            del held
        planned = case.facts().get("planned_bytes")
        return {} if planned is None else {"planned_bytes": planned, "seen_bytes": found}


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Answer until the requests end."""
    worker = Worker()
    for line in requests:
        answers.write(json.dumps(worker.answer(json.loads(line))) + "\n")
        answers.flush()


def main() -> None:
    """Keep standard output for answers alone."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, answers)
    answers.close()
    sys.stderr.flush()
    os._exit(0)  # threads of some peers take seconds to end


if __name__ == "__main__":
    main()
