"""What a run was made on."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """The processor, its cores, the memory, the system."""
    return {
        "cpu": _cpu(),
        "cores": _cores(),
        "memory_bytes": _memory(),
        "system": f"{platform.system()} {platform.release()}",
        "vectors": [f for f in ("avx2", "avx512f", "avx512_bf16", "asimd", "sve") if f in _flags()],
    }


def slug(machine: dict[str, Any]) -> str:
    """A name for files.

    >>> slug({"cpu": "AMD EPYC (tm) 9R14", "cores": 2})
    'amd-epyc-9r14-2'
    """
    name = re.sub(r"\((r|tm)\)|cpu|processor|@.*", " ", machine["cpu"].lower())
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-")[:40] + f"-{machine['cores']}"


def load() -> float | None:
    """Processes that wanted to run in the last minute, where the system says."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _info(field: str) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    found = re.search(rf"^{field}\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def _cpu() -> str:
    return _info("model name") or platform.processor() or platform.machine() or "unknown"


def _flags() -> list[str]:
    return (_info("flags") or _info("Features")).split()


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
