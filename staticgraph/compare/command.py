"""``python -m staticgraph compare``: progress, and what is printed; `cli` has the arguments."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from staticgraph.compare import report, table
from staticgraph.compare.measure import QUICK, Settings, measure
from staticgraph.compare.pairs import GROUPS, PAIRS, chosen
from staticgraph.compare.plots import pyplot


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

    def __call__(self, done: int, what: str) -> None:
        """Show what is done now."""
        if self.shown:
            elapsed = time.perf_counter() - self.start
            line = f"[{done}/{self.total}] {elapsed:4.0f} s  {what}"
            print(f"\r{line[:78]:78}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Clear the line."""
        if self.shown:
            print(f"\r{'':78}\r", end="", file=sys.stderr, flush=True)


def run(args: argparse.Namespace) -> int:
    """Compare; returns 1 where losses differ.

    Raises:
      ArgumentError: no program has a name that was asked for.
      UnimplementedError: plots are asked for and matplotlib is not installed.
    """
    if args.list:
        print(listing())
        return 0
    pairs = chosen(args.only)
    if args.out:
        pyplot()  # fails now rather than after minutes
    settings = QUICK if args.quick else Settings()
    settings = replace(settings, torch=not args.no_torch, steps=args.steps or settings.steps)
    progress = Progress(len(pairs))
    try:
        found = measure(pairs, settings, progress, args.quick)
    finally:
        progress.end()
    print(table.text(found))
    if args.out:
        for path in report.write(found, Path(args.out)):
            print(path)
    return 0 if found.agrees else 1


__all__ = ["Progress", "listing", "run"]
