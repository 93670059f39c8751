"""Runs pairs: losses, counts, memory, times of steps in alternating rounds, times of compiling."""

from __future__ import annotations

import gc
import importlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import staticgraph
from staticgraph import dynamic
from staticgraph.compare import cold, counting
from staticgraph.compare.pair import Pair, Static, Step, started
from staticgraph.compare.result import Comparison, FormResult, PairResult, relative_difference
from staticgraph.errors import RunError

Tell = Callable[[str], None]
_THREADS = ("STATICGRAPH_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
WARM = 2  # steps in which optimizers make their state


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is run.

    Attributes:
      steps: of which the losses are compared.
      times: how often all rounds are run, some seconds apart; the quietest time counts.
      rounds: of each form, in turn.
      round_s: how long a round shall last at least.
      settle_s: how long a form runs before a round of its own: threads of the one before, which
        numpy's and PyTorch's libraries let wait actively, have gone to sleep by then.
      share_s: a form that has taken so long has no more rounds than three.
      counted: steps that are counted.
      processes: in which compiling is measured, with nothing cached and with everything.
      torch: run PyTorch too, where it is installed.
    """

    steps: int = 100
    times: int = 2
    rounds: int = 7
    round_s: float = 0.015
    settle_s: float = 0.03
    share_s: float = 0.6
    counted: int = 24
    processes: int = 2
    torch: bool = True


QUICK = Settings(
    steps=8, times=1, rounds=3, round_s=0.002, settle_s=0.0, share_s=0.1, counted=6, processes=1
)


def installed_torch() -> Any:
    """PyTorch, or None where it is not installed."""
    try:
        return importlib.import_module("torch")
    except ImportError:
        return None


# ---------------------------------------------------------------- one pair
def forms_of(pair: Pair, torch: Any = None) -> dict[str, Step]:
    """Every form of a pair, started from its values."""
    values = pair.values()
    forms: dict[str, Step] = {
        "numpy": pair.by_hand(values),
        "dynamic": pair.dynamic(dynamic, values),
        "static": started(pair.static, values),
    }
    for name, build in pair.variants.items():
        forms[name] = started(build, values)
    if torch is not None:
        forms["torch"] = pair.dynamic(torch, values)
    return forms


def losses_of(pair: Pair, forms: Mapping[str, Step], steps: int) -> dict[str, list[float]]:
    """The losses of the first steps."""
    items = pair.items(steps)
    return {name: [step(item) for item in items] for name, step in forms.items()}


def measure_pair(
    pair: Pair, settings: Settings, torch: Any = None, tell: Tell = lambda _: None
) -> PairResult:
    """Run a pair in all its forms."""
    tell("losses")
    forms = forms_of(pair, torch)
    steps = min(settings.steps, pair.most_steps)
    losses = losses_of(pair, forms, steps)
    tell("times")
    every = [_rounds(pair, forms, settings)]
    tell("counts")
    counts = _counts(pair, forms, settings)
    for name, step in forms.items():
        if isinstance(step, Static):
            tell(f"compiling {name}")
            counts[name] |= _compiling(pair, name, settings.processes)
    for _ in range(1, settings.times):  # some seconds later
        tell("times again")
        every.append(_rounds(pair, forms, settings))
    times = quietest(every)
    found = []
    for name, step in forms.items():
        low, middle, high = statistics.quantiles(sorted(times[name]), n=4, method="inclusive")
        found.append(
            FormResult(
                name, isinstance(step, Static),
                relative_difference(losses[name], losses["dynamic"]),
                step_s=middle, low_s=low, high_s=high, **counts[name],
            )
        )  # fmt: skip
        if isinstance(step, Static):
            step.session.close()
    return PairResult(
        pair.name, pair.title, pair.place, pair.group, pair.example, pair.has_loop,
        steps, pair.tolerance, tuple(found),
    )  # fmt: skip


def quietest(every: Sequence[Mapping[str, Sequence[float]]]) -> Mapping[str, Sequence[float]]:
    """Of rounds at several times those that took least, for all forms together: they alternate, so
    that what else the machine does at a time slows all of them, and their ratios stay.

    >>> quietest([{"a": [2.0], "b": [4.0]}, {"a": [1.0], "b": [2.1]}, {"a": [0.9], "b": [9.0]}])
    {'a': [1.0], 'b': [2.1]}
    """
    return min(every, key=lambda times: math.prod(map(statistics.median, times.values())))


def _rounds(pair: Pair, forms: Mapping[str, Step], settings: Settings) -> dict[str, list[float]]:
    cycle = list(cold.cycle_of(pair))
    times: dict[str, list[float]] = {name: [] for name in forms}
    repeats = {name: _repeats(step, cycle, settings.round_s) for name, step in forms.items()}
    spent = dict.fromkeys(forms, 0.0)
    names = list(forms)
    with _collected():
        for number in range(settings.rounds):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                if number >= 3 and spent[name] > settings.share_s:
                    continue
                _settle(forms[name], cycle, settings.settle_s)
                elapsed, steps = _timed(forms[name], cycle * repeats[name])
                times[name].append(elapsed / steps)
                spent[name] += elapsed
    return times


@contextmanager
def _collected() -> Iterator[None]:
    """Take everything that is there out of the collector's way: it would be looked at each time."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _settle(step: Step, cycle: Sequence[Any], seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for item in cycle:
            step(item)


def _timed(step: Step, items: Sequence[Any]) -> tuple[float, int]:
    gc.collect()
    start = time.perf_counter()
    for item in items:
        step(item)
    return time.perf_counter() - start, len(items)


def _repeats(step: Step, cycle: Sequence[Any], round_s: float) -> int:
    """How often the cycle fits into a round; also warms up."""
    best = float("inf")
    for _ in range(2):
        start = time.perf_counter()
        for item in cycle:
            step(item)
        best = min(best, time.perf_counter() - start)
    return max(1, round(round_s / max(best, 1e-7)))


def _counts(pair: Pair, forms: Mapping[str, Step], settings: Settings) -> dict[str, dict[str, Any]]:
    """Counts of each form; of fresh ones, so that all count the same steps."""
    items = pair.items(WARM + (settings.counted if pair.has_loop else 2))
    first, rest = items[:WARM], items[WARM:]
    values, n = pair.values(), len(rest)
    out: dict[str, dict[str, Any]] = {}
    tally = counting.by_hand_tally(pair, items, WARM)
    hand = _after(pair.by_hand(values), first)
    out["numpy"] = _averaged(tally, n, counting.peak_bytes(hand, rest))
    step = _after(pair.dynamic(dynamic, values), first)
    with counting.dynamic_tally() as tally:
        for item in rest:
            step(item)
    out["dynamic"] = _averaged(tally, n, counting.peak_bytes(step, rest))
    for name, form in forms.items():
        if isinstance(form, Static):
            static = started(cold.builder_of(pair, name), values)
            _after(static, first)
            c = counting.static_counts(pair, static, rest)
            static.session.close()
            out[name] = {
                "ops": c.nodes, "kernels": c.kernels, "calls": c.calls, "working": c.working,
                "allocated": c.allocated, "executables": c.executables, "plans": c.plans,
            }  # fmt: skip
    if "torch" in forms:
        step = _after(pair.dynamic(importlib.import_module("torch"), values), first)
        seen = counting.TorchTally()
        with counting.torch_mode(seen):
            for item in rest:
                step(item)
        out["torch"] = _averaged(seen, n, seen.peak)
    return out


def _after(step: Step, items: Sequence[Any]) -> Step:
    for item in items:
        step(item)
    return step


def _averaged(tally: counting.Tally, n: int, working: int) -> dict[str, Any]:
    return {"ops": tally.ops / n, "allocated": tally.bytes / n, "working": working}


# ---------------------------------------------------------------- fresh processes
def _compiling(pair: Pair, form: str, times: int) -> dict[str, Any]:
    """Seconds of building and compiling in processes of their own: the least of some times."""
    program = "import sys; from staticgraph.compare import cold; cold.main(sys.argv[1:])"
    cold_runs: list[dict[str, float]] = []
    cached_runs: list[dict[str, float]] = []
    for _ in range(times):
        with tempfile.TemporaryDirectory(prefix="compare-", ignore_cleanup_errors=True) as folder:
            for runs in (cold_runs, cached_runs):
                runs.append(json.loads(_fresh(["-c", program, pair.name, form, folder])))
    return {
        "build_s": min(r["build_s"] for r in (*cold_runs, *cached_runs)),
        "compile_s": min(r["compile_s"] for r in cold_runs),
        "cached_s": min(r["compile_s"] for r in cached_runs),
    }


def _fresh(arguments: Sequence[str]) -> str:
    """What a fresh interpreter prints.

    Raises:
      RunError: it failed.
    """
    root = str(Path(staticgraph.__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, *arguments], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    if done.returncode:
        raise RunError(f"a fresh process failed:\n{done.stderr.rstrip()}")
    return done.stdout


def import_seconds() -> float:
    """Seconds that importing the package takes a fresh process."""
    program = (
        "import time; t = time.perf_counter(); import staticgraph; print(time.perf_counter() - t)"
    )
    return float(_fresh(["-c", program]))


# ---------------------------------------------------------------- the whole
def machine(torch: Any = None) -> dict[str, str]:
    """What the numbers depend on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = {
        "processor": _processor(), "cores": str(cores), "system": platform.system(),
        "python": platform.python_version(), "numpy": np.__version__,
    }  # fmt: skip
    if hasattr(os, "getloadavg"):
        found["load"] = f"{os.getloadavg()[0]:.1f}"
    found |= {name: os.environ[name] for name in _THREADS if name in os.environ}
    if torch is not None:
        found["torch"] = f"{torch.__version__} on {torch.get_num_threads()} threads"
    return found


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def measure(
    pairs: Sequence[Pair], settings: Settings, tell: Callable[[int, str], None] = lambda *_: None,
    quick: bool = False,
) -> Comparison:  # fmt: skip
    """Run pairs; an interrupt ends that, and the result tells what is left out.

    Args:
      tell: called with the number of pairs that are done and what is done now.

    Raises:
      KeyboardInterrupt: it came before the first pair was done.
    """
    torch = installed_torch() if settings.torch else None
    where, found, import_s = machine(torch), list[PairResult](), 0.0
    try:
        for number, pair in enumerate(pairs):

            def told(what: str, number: int = number, pair: Pair = pair) -> None:
                tell(number, f"{pair.name}: {what}")

            found.append(measure_pair(pair, settings, torch, told))
        tell(len(pairs), "importing in a fresh process")
        import_s = import_seconds()
    except KeyboardInterrupt:
        if not found:
            raise
    left_out = tuple(p.name for p in pairs[len(found) :])
    return Comparison(tuple(found), where, import_s, quick, left_out)


__all__ = ["QUICK", "Settings", "forms_of", "installed_torch", "losses_of", "measure",
           "measure_pair"]  # fmt: skip
