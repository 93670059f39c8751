"""What a session of this package can say of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def facts(session: Any) -> dict[str, Any]:
    """Counts of the executable that ran most, and what this process compiled."""
    from staticgraph.codegen.cache import compiled_count, loaded_count

    most = max(session.executables(), key=lambda e: (e.counts.runs, len(e.program.steps)))
    told = session.explain()
    prints = [plan.footprint for one in told.executables for plan in one.plans]
    return {
        "executables": len(session.executables()),
        "steps": len(most.program.steps),
        "launches": sum(type(s).__name__ == "Launch" for s in most.program.steps),
        "library_calls": sum(type(s).__name__ == "Library" for s in most.program.steps),
        "kernel_texts": len(most.program.kernels()),
        "native_calls_a_run": most.counts.calls / max(most.counts.runs, 1),
        "plans": most.counts.plans,
        "planned_bytes": told.planned + sum(f.reserved for f in prints),
        "compiled": compiled_count(),
        "loaded": loaded_count(),
        "fallback": most.reference,
    }


def new_code(call: Callable[[], Any]) -> int:
    """How many kernels a call compiles, or takes from the cache."""
    from staticgraph.codegen.cache import compiled_count, loaded_count

    before = compiled_count() + loaded_count()
    call()
    return compiled_count() + loaded_count() - before
