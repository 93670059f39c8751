"""Result files: JSON lines, the first of which tells of the run and its machine."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.works import NAMES

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


def make_room(path: Path) -> None:
    """Make the folder of a file that is to be written, and see that it can be.

    Raises:
      OSError: it cannot; the error names the file.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as e:
        raise OSError(e.errno, f"cannot write {path}: {e.strerror}") from None


def put(path: Path, data: bytes) -> None:
    """Write a file as a whole: whoever reads it never sees a part.

    Raises:
      OSError: it cannot be written, and is as it was; the error names it.
    """
    make_room(path)
    name = ""
    try:
        fd, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException as e:
        with contextlib.suppress(OSError):
            os.unlink(name)
        if isinstance(e, OSError):
            raise OSError(e.errno, f"cannot write {path}: {e.strerror}") from None
        raise


def write(path: Path, lines: Iterable[Row]) -> None:
    """Write results, as `put` does."""
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    put(path, text.encode())


def read(path: Path) -> Results:
    """Read a file.

    Raises:
      ValueError: it does not tell of a run, or is damaged.
      OSError: it cannot be read.
    """
    lines = []
    for number, text in enumerate(path.read_bytes().split(b"\n"), 1):
        if text.strip():
            try:
                lines.append(json.loads(text))
                lines[-1]["kind"]
            except (ValueError, TypeError, KeyError):
                raise ValueError(f"{path} is damaged: line {number} is no result") from None
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


def last(folder: Path = FOLDER, works: Iterable[str] = NAMES) -> Path:
    """The newest file of a whole run, by the date in its name: one that has all works.

    Raises:
      FileNotFoundError: there is none.
      ValueError: a newer file is damaged.
    """
    for path in sorted(folder.glob("*.jsonl"), reverse=True):
        found = read(path)
        if not found.run.get("quick") and {r["work"] for r in found.rows} >= set(works):
            return path
    raise FileNotFoundError(f"no whole run in {folder}; `python -m benchmarks` makes one")
