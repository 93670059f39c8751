"""Ratios between rows of one run, and whether they reach the targets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.case import Target
from benchmarks.peers import FLOOR, OURS, PEERS
from benchmarks.results import Row


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target, what was seen, and whether that reaches it; None where nothing can be said."""

    text: str
    seen: str
    met: bool | None


def row_of(rows: Sequence[Row], peer: str) -> Row | None:
    """The row of an implementation, if it ran."""
    return next((r for r in rows if r["peer"] == peer and "median_s" in r), None)


def best(rows: Sequence[Row], field: str) -> Row | None:
    """The peer with the smallest value of a field; the floor is no peer."""
    ran = [r for r in rows if r["peer"] not in (OURS, FLOOR) and r.get(field) and "median_s" in r]
    return min(ran, key=lambda r: r[field], default=None)


def ratio(rows: Sequence[Row], peer: str) -> float | None:
    """How many times longer than ours an implementation takes."""
    ours, other = row_of(rows, OURS), row_of(rows, peer)
    return other["median_s"] / ours["median_s"] if ours and other else None


def copy_part(row: Row, copies: Mapping[str, float]) -> float | None:
    """The part that a row reaches of the bandwidth of a copy that moves about as many bytes.

    A copy of main memory would be too low a ceiling for what fits into a cache.
    """
    if not copies or "bytes_per_s" not in row:
        return None
    nearest = min(copies, key=lambda moved: abs(math.log(int(moved) / row["bytes"])))
    return row["bytes_per_s"] / copies[nearest]


def gemm_part(row: Row, gemm: float) -> float | None:
    """The part of the large product's rate that a row reaches."""
    return row["flops_per_s"] / gemm if gemm and "flops_per_s" in row else None


def judge(target: Target, rows: Sequence[Row], copies: Mapping[str, float]) -> Verdict:
    """Compare what was seen with a target."""
    against = "the best peer" if target.against == "best" else _label(target.against)
    field = "grown_bytes" if target.measure == "memory" else "median_s"
    ours = row_of(rows, OURS)
    other = best(rows, field) if target.against == "best" else row_of(rows, target.against)
    named = (
        f"{against} ({_label(other['peer'])})" if other and target.against == "best" else against
    )
    v = target.value
    match target.measure:
        case "faster":
            seen = other["median_s"] / ours["median_s"] if ours and other else None
            return _verdict(f"≥ {v:g}× as fast as {named}", seen, "×", lambda s: s >= v)
        case "time":
            seen = ours["median_s"] / other["median_s"] if ours and other else None
            return _verdict(f"≤ {v:g}× the time of {named}", seen, "×", lambda s: s <= v)
        case "memory":
            known = ours and other and other.get("grown_bytes")
            seen = ours["grown_bytes"] / other["grown_bytes"] if known and ours and other else None
            return _verdict(f"≤ {v:g}× the memory of {named}", seen, "×", lambda s: s <= v)
        case "bandwidth":
            seen = copy_part(ours, copies) if ours else None
            part = 100 * seen if seen is not None else None
            return _verdict(
                f"≥ {100 * v:.0f} % of copy bandwidth", part, " %", lambda s: s >= 100 * v
            )
        case "seconds":
            return _verdict(
                f"≤ {v:g} s", ours["median_s"] if ours else None, " s", lambda s: s <= v
            )
        case "fact":
            seen = ours.get("facts", {}).get(target.against) if ours else None
            return _verdict(f"{target.against} ≤ {v:g}", seen, "", lambda s: s <= v)
    raise ValueError(f"no measure {target.measure!r}")


def _label(peer: str) -> str:
    return "the floor" if peer == FLOOR else PEERS[peer].label if peer in PEERS else peer


def _verdict(text: str, seen: float | None, unit: str, reached: object) -> Verdict:
    assert callable(reached)
    if seen is None:
        return Verdict(text, "not run", None)
    return Verdict(text, f"{seen:.3g}{unit}", bool(reached(seen)))
