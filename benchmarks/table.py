"""Rows as a table of text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from benchmarks.peers import FLOOR, OURS, PEERS
from benchmarks.results import Row
from benchmarks.verdict import copy_part, gemm_part, ratio

HEAD = (
    "", "time", "quartiles", "ratio", "GB/s", "of copy", "GFLOP/s", "of GEMM", "first", "memory",
)  # fmt: skip


def duration(seconds: float) -> str:
    """A time with three digits.

    >>> [duration(s) for s in (1.65e-9, 1.234e-6, 0.0456, 7.0)]
    ['1.65 ns', '1.23 µs', '45.6 ms', '7.00 s']
    """
    units = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}
    unit = next((u for u, part in units.items() if seconds >= part), "ns")
    value = seconds / units[unit]
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} {unit}"


def size(count: float) -> str:
    """A number of bytes.

    >>> [size(n) for n in (120, 45_600_000, 7_000_000_000)]
    ['0.0 MB', '45.6 MB', '7,000 MB']
    """
    return f"{count / 1e6:.1f} MB" if count < 1e8 else f"{count / 1e6:,.0f} MB"


def first(row: Row) -> float | None:
    """Seconds to build, compile and make a first step; with empty caches where there are any."""
    if "cold_s" in row:
        return float(row["cold_s"])
    return row["build_s"] + row["first_s"] if "first_s" in row else None


def name(row: Row) -> str:
    """What an implementation is called in tables."""
    peer = row["peer"]
    return PEERS[peer].label if peer in PEERS else peer


def cells(row: Row, rows: Sequence[Row], copies: Mapping[str, float], gemm: float) -> list[str]:
    """The columns of one row."""
    if "median_s" not in row:
        return [name(row), row.get("not_yet") or f"failed: {row.get('error', 'no rounds')}"]
    median = row["median_s"]
    times = ratio(rows, row["peer"])
    parts = copy_part(row, copies), gemm_part(row, gemm)
    label = name(row) if row.get("agrees", True) else f"{name(row)} (other result)"
    return [
        label,
        duration(median),
        f"{100 * (row['q1_s'] / median - 1):+.0f} {100 * (row['q3_s'] / median - 1):+.0f} %",
        _show(times if row["peer"] != OURS else 1.0, lambda x: f"{x:.3g}×"),
        _show(row.get("bytes_per_s"), lambda x: f"{x / 1e9:.1f}"),
        _show(parts[0], lambda x: f"{100 * x:.0f} %"),
        _show(row.get("flops_per_s"), lambda x: f"{x / 1e9:.1f}"),
        _show(parts[1], lambda x: f"{100 * x:.0f} %"),
        _show(first(row), duration),
        _show(row.get("grown_bytes") or None, size) + _arrays(row),
    ]


def _arrays(row: Row) -> str:
    """What was planned for arrays, beside what was seen to be allocated for them."""
    if not row.get("seen_bytes"):
        return ""
    return f" (arrays {size(row['seen_bytes'])}, planned {size(row['planned_bytes'])})"


def _show(value: float | None, text: Callable[[float], str]) -> str:
    return "" if value is None else text(value)


def ordered(rows: Iterable[Row]) -> list[Row]:
    """Ours, the peers from fast to slow, what did not run, the floor."""
    place = {OURS: 0, FLOOR: 3}
    return sorted(
        rows,
        key=lambda r: (place.get(r["peer"], 1 if "median_s" in r else 2), r.get("median_s", 0.0)),
    )


def plain(rows: Sequence[Row], copies: Mapping[str, float], gemm: float) -> str:
    """A table for the terminal."""
    body = [cells(r, rows, copies, gemm) for r in ordered(rows)]
    full = [HEAD, *(c for c in body if len(c) == len(HEAD))]
    widths = [max(len(c[k]) for c in full) for k in range(len(HEAD))]
    widths[0] = max(widths[0], *(len(c[0]) for c in body), 0)
    lines = []
    for c in [list(HEAD), *body]:
        kept = c if len(c) == len(HEAD) else [c[0]]
        text = "  ".join(
            v.ljust(w) if k == 0 else v.rjust(w)
            for k, (v, w) in enumerate(zip(kept, widths, strict=False))
        )
        lines.append(text.rstrip() if len(c) == len(HEAD) else f"{text}  {c[1]}")
    return "\n".join(lines)


def markdown(rows: Sequence[Row], copies: Mapping[str, float], gemm: float) -> str:
    """A table for a document; columns that say nothing are left out."""
    body = [cells(r, rows, copies, gemm) for r in ordered(rows)]
    full = [c for c in body if len(c) == len(HEAD)]
    kept = [k for k in range(len(HEAD)) if k < 2 or any(c[k] for c in full)]
    lines = [_line([HEAD[k] for k in kept]), _line(["---", *["---:"] * (len(kept) - 1)])]
    for c in body:
        short = len(c) != len(HEAD)
        lines.append(_line([*c, *[""] * (len(kept) - 2)] if short else [c[k] for k in kept]))
    return "\n".join(lines)


def _line(values: Sequence[str]) -> str:
    return "| " + " | ".join(v.replace("|", "/") for v in values) + " |"
