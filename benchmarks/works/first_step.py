"""From the start of a process to the end of its first training step.

Each round is a process of its own.  Cold: nothing has been compiled before, every round with
empty caches.  Warm: the same process has run once before.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import memory
from benchmarks.case import Case, NotYet, Params, Target

VARIANTS: dict[str, dict[str, Any]] = {
    f"{title}, {state}": {"work": work, "of": of, "cold": state == "cold"}
    for title, work, of in (
        ("two layers", "two_layer", "1000-100-10"),
        ("12 layers", "mlp12", "128 units"),
        ("50 steps", "rnn50", "50x32x64"),
    )
    for state in ("warm", "cold")
}
ROUNDS = 3
UNIT = "process"
TARGETS = (
    Target("seconds", 0.3, variants=("two layers, warm",)),
    Target("fact", 0, "numba", ("two layers, warm", "12 layers, warm", "50 steps, warm")),
    Target("faster", 1.0, "jax", ("two layers, cold", "12 layers, cold", "50 steps, cold")),
)
PROGRAM = """
import sys, time
from benchmarks import memory
from benchmarks.case import load
name, variant, peer = sys.argv[1:]
load(name).build(peer, variant, False).step()
print(int("numba" in sys.modules), flush=True)
import os
os._exit(0)
"""
CACHES = {
    "STATICGRAPH_CACHE": "staticgraph",
    "TORCHINDUCTOR_CACHE_DIR": "torch",
    "NUMBA_CACHE_DIR": "numba",
}


def start(p: Params, peer: str) -> Case:
    """Start processes that build one work on one implementation."""
    folder = tempfile.TemporaryDirectory(prefix="benchmarks-first-", ignore_cleanup_errors=True)
    seen: dict[str, Any] = {}
    count = 0

    def once() -> float:
        nonlocal count
        caches = Path(folder.name) / (str(count) if p.cold else "warm")
        count += 1
        env = {**os.environ, **{name: str(caches / of) for name, of in CACHES.items()}}
        env["PYTHONDONTWRITEBYTECODE"] = ""  # of what is installed there is bytecode
        env["PYTENSOR_FLAGS"] = f"base_compiledir={caches / 'pytensor'}"
        begin = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, p.work, p.of, peer],
            env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        took = time.perf_counter() - begin
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        seen["numba"] = int(done.stdout.split()[-1])
        return took

    if not p.cold:
        once()

    def facts() -> dict[str, Any]:
        folder.cleanup()
        return seen | {"process_peak_bytes": memory.children()}

    return Case(once, facts=facts, timed=True)


def staticgraph(p: Params) -> Case:
    return start(p, "staticgraph")


def torch(p: Params) -> Case:
    return start(p, "torch")


def jax(p: Params) -> Case:
    return start(p, "jax")


def tf1(p: Params) -> Case:
    return start(p, "tf1")


def pytensor(p: Params) -> Case:
    if p.work != "two_layer":  # its row in the work itself tells how long it takes to compile
        raise NotYet("left out: a process takes up to a minute")
    return start(p, "pytensor")
