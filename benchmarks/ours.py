"""What a session of this package can say of itself."""

from __future__ import annotations

from typing import Any


def facts(session: Any) -> dict[str, Any]:
    """Counts of the executable that ran most, and what this process compiled."""
    from staticgraph.codegen.cache import compiled_count, loaded_count

    most = max(session.executables(), key=lambda e: (e.counts.runs, len(e.program.steps)))
    plans = list(most.plans.values())
    return {
        "executables": len(session.executables()),
        "steps": len(most.program.steps),
        "launches": sum(type(s).__name__ == "Launch" for s in most.program.steps),
        "library_calls": sum(type(s).__name__ == "Library" for s in most.program.steps),
        "kernel_texts": len(most.program.kernels()),
        "plans": most.counts.plans,
        "planned_bytes": max((p.peak_bytes for p in plans), default=0),
        "compiled": compiled_count(),
        "loaded": loaded_count(),
        "fallback": most.reference,
    }
