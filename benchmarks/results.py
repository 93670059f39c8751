"""Result files: JSON lines, the first of which tells of the run and its machine."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]
FOLDER = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Results:
    """What a file holds."""

    run: Row
    ceilings: Row
    rows: list[Row]

    def variants(self) -> dict[tuple[str, str], list[Row]]:
        """The rows of each work and variant, in the order in which they were run."""
        out: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            out.setdefault((row["work"], row["variant"]), []).append(row)
        return out


def write(path: Path, lines: Iterable[Row]) -> None:
    """Write a file as a whole: whoever reads it never sees a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            for line in lines:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def read(path: Path) -> Results:
    """Read a file.

    Raises:
      ValueError: it does not tell of a run.
    """
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    run = next((line for line in lines if line["kind"] == "run"), None)
    if run is None:
        raise ValueError(f"{path} does not tell of a run")
    none = {"kind": "ceilings", "copies": {}, "copy": 0.0, "gemm": 0.0}
    ceilings = next((line for line in lines if line["kind"] == "ceilings"), none)
    return Results(run, ceilings, [line for line in lines if line["kind"] == "row"])


def together(parts: Sequence[Results]) -> Results:
    """Several runs on one machine as one: a work that was run again counts as in its last run."""
    first = parts[0]
    if len(parts) == 1:
        return first
    works: dict[str, list[Row]] = {}
    for part in parts:
        for name in {row["work"]: None for row in part.rows}:
            works[name] = [row for row in part.rows if row["work"] == name]
    run = {**first.run, "works": list(works)}
    return Results(run, _best(parts), [row for rows in works.values() for row in rows])


def _best(parts: Sequence[Results]) -> Row:
    """The highest ceilings that any of the runs reached: no fraction looks better than it is."""
    sizes = dict.fromkeys(k for p in parts for k in p.ceilings["copies"])
    copies = {k: max(p.ceilings["copies"].get(k, 0.0) for p in parts) for k in sizes}
    best = {k: max(p.ceilings[k] for p in parts) for k in ("copy", "gemm")}
    return {"kind": "ceilings", "copies": copies, **best}


def last(folder: Path = FOLDER) -> Path:
    """The newest file of a whole run, by the date in its name.

    Raises:
      FileNotFoundError: there is none.
    """
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise FileNotFoundError(f"no results in {folder}; `python -m benchmarks` makes them")
    return files[-1]
