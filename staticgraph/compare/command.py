"""``python -m staticgraph compare``: progress, and what is printed; `cli` has the arguments."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from staticgraph.compare import report, table
from staticgraph.compare.measure import QUICK, Settings, measure
from staticgraph.compare.pairs import GROUPS, PAIRS, chosen
from staticgraph.compare.plots import pyplot

INTERRUPTED = 130  # what a shell says of a program that an interrupt has ended


def listing() -> str:
    """The programs by group."""
    width = max(len(p.name) for p in PAIRS)
    lines = []
    for group in GROUPS:
        lines.append(group.upper())
        lines += [f"  {p.name:{width}}  {p.title}" for p in PAIRS if p.group == group]
    return "\n".join(lines)


class Progress:
    """One line on the terminal that tells what is being done; silent where there is none."""

    def __init__(self, total: int) -> None:
        self.total, self.start = total, time.perf_counter()
        self.shown = sys.stderr.isatty()
        self.width = 0  # of what stands there now

    def __call__(self, done: int, what: str) -> None:
        """Show what is done now."""
        if self.shown:
            elapsed = time.perf_counter() - self.start
            line = f"[{done}/{self.total}] {elapsed:4.0f} s  {what}"
            line = line[: shutil.get_terminal_size().columns - 1]  # one more would be a second line
            print(f"\r{line:{self.width}}", end="", file=sys.stderr, flush=True)
            self.width = len(line)

    def end(self) -> None:
        """Clear the line."""
        if self.shown:
            print(f"\r{'':{self.width}}\r", end="", file=sys.stderr, flush=True)


def show(content: str) -> None:
    """Print, with what an old terminal cannot print spelt otherwise."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        content.encode(encoding)
    except UnicodeEncodeError:
        content = content.replace("µ", "u").encode(encoding, "replace").decode(encoding)
    print(content)


def run(args: argparse.Namespace) -> int:
    """Compare; returns 1 where losses differ, 130 after an interrupt.

    An interrupt ends the measuring; what is known by then is shown and written.

    Raises:
      ArgumentError: no program has a name that was asked for.
      OSError: nothing can be written where the report is to be.
      UnimplementedError: plots are asked for and matplotlib is not installed.
    """
    if args.list:
        print(listing())
        return 0
    pairs = chosen(args.only)
    if args.out:  # what can fail fails now rather than after minutes
        pyplot()
        Path(args.out).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=args.out).close()
    settings = QUICK if args.quick else Settings()
    settings = replace(settings, torch=not args.no_torch, steps=args.steps or settings.steps)
    progress = Progress(len(pairs))
    try:
        found = measure(pairs, settings, progress, args.quick)
    except KeyboardInterrupt:
        progress.end()
        print("interrupted before the first program was done", file=sys.stderr)
        return INTERRUPTED
    progress.end()
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    show(table.text(found, width))
    if args.out:
        for path in report.write(found, Path(args.out)):
            print(path)
    if found.left_out:
        return INTERRUPTED
    return 0 if found.agrees else 1


__all__ = ["Progress", "listing", "run"]
