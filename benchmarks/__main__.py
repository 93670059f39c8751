"""Command line: run works against peers, or make the report of the last run.

python -m benchmarks [--works NAMES] [--peers NAMES] [--quick] [--out PATH] [--python PEER=PATH]
python -m benchmarks report [RESULTS ...]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, results, table
from benchmarks.case import load
from benchmarks.peers import FLOOR, PEERS, interpreters, probe
from benchmarks.remote import ROOT
from benchmarks.runner import QUICK, Row, Runner, Settings, best_ceilings, environment
from benchmarks.works import NAMES


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Run works side by side with peers.",
        epilog="`python -m benchmarks report [RESULTS ...]` writes docs/performance.md.",
    )  # fmt: skip
    top.add_argument("--works", type=_names(NAMES), default=list(NAMES), help=", ".join(NAMES))
    top.add_argument("--peers", type=_names(PEERS), default=list(PEERS), help=", ".join(PEERS))
    top.add_argument(
        "--quick", action="store_true", help="small sizes and few rounds: to see that it works"
    )
    top.add_argument(
        "--rounds", type=int, help=f"rounds of each implementation ({Settings.rounds})"
    )
    top.add_argument("--out", type=Path, help="file of results, or a folder for it")
    top.add_argument("--python", action="append", default=[], metavar="PEER=PATH",
                     help="the interpreter that has a peer, where it is not this one")  # fmt: skip
    return top


def _names(known: Sequence[str] | dict[str, Any]) -> Any:
    def read(text: str) -> list[str]:
        names = [n for n in text.replace(",", " ").split() if n]
        wrong = [n for n in names if n not in known]
        if wrong:
            raise argparse.ArgumentTypeError(f"{wrong[0]!r} is none of {', '.join(known)}")
        return names

    return read


class Progress:
    """Lines on standard error; a line that starts with a carriage return replaces itself."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()

    def __call__(self, line: str) -> None:
        if line.startswith("\r"):
            if self.live:
                sys.stderr.write("\r\x1b[K" + line[1:])
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()


def run(args: argparse.Namespace) -> Path:
    """Run what was asked for; returns the file of results."""
    tell = Progress()
    settings = QUICK if args.quick else Settings()
    if args.rounds:
        settings = Settings(
            **{f: getattr(settings, f) for f in Settings.__slots__} | {"rounds": args.rounds}
        )
    pythons = interpreters(args.python)
    here = machine.describe()
    peers, head = _head(args, pythons, here, tell)
    path = _path(args, here, head["date"])
    runner = Runner(pythons, settings, tell)
    rows: list[Row] = []
    start = time.monotonic()
    try:
        tell("measuring a copy and a product of matrices")
        top = _ceilings(runner, peers)
        for number, name in enumerate(args.works, 1):
            work = load(name)
            for variant in work.variants:
                at = f"[{number}/{len(args.works)}, {time.monotonic() - start:.0f} s]"
                tell(f"{at} {work.title}: {variant}")
                made = runner.run(work, variant, peers)
                rows += made
                print(f"\n{work.title}: {variant}, a {work.unit}")
                print(table.plain(made, top["copies"], top["gemm"]) + "\n", flush=True)
                results.write(path, [head, top, *rows])
        top = best_ceilings(top, _ceilings(runner, peers))
        head["seconds"] = round(time.monotonic() - start, 1)
        results.write(path, [head, top, *rows])
    finally:
        runner.close()
    print(f"copy {top['copy'] / 1e9:.1f} GB/s, GEMM {top['gemm'] / 1e9:.0f} GFLOP/s")
    print(f"wrote {path}")
    return path


def _ceilings(runner: Runner, peers: Sequence[str]) -> Row:
    if FLOOR in peers:
        return runner.ceilings()
    return {"kind": "ceilings", "copies": {}, "copy": 0.0, "gemm": 0.0}


def _head(
    args: argparse.Namespace, pythons: dict[str, str], here: dict[str, Any], tell: Progress
) -> tuple[list[str], Row]:
    """The peers that are installed, and the line that tells of the run."""
    versions, skipped, peers = {}, [], []
    env = environment(Path())
    for name in args.peers:
        found = probe(PEERS[name], pythons[name], env)
        if found.missing:
            skipped.append(f"{PEERS[name].label}, which needs {', '.join(found.missing)}")
            tell(f"skipped: {skipped[-1]}")
        else:
            peers.append(name)
            versions[name] = dict(found.versions)
    load_before = machine.load()
    if load_before is not None and load_before > 0.5 and not args.quick:
        tell(f"the machine is busy (load {load_before:.1f}): these times will not be worth quoting")
    head = {
        "kind": "run", "date": time.strftime("%Y-%m-%dT%H%M%S"), "machine": here,
        "load": load_before, "quick": args.quick, "versions": versions, "skipped": skipped,
        "works": args.works,
    }  # fmt: skip
    return peers, head


def _path(args: argparse.Namespace, here: dict[str, Any], date: str) -> Path:
    out: Path = args.out or (ROOT / "out" / "benchmarks" if args.quick else results.FOLDER)
    return out if out.suffix == ".jsonl" else out / f"{date}-{machine.slug(here)}.jsonl"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["report"]:
        from benchmarks import report

        sources = [Path(a) for a in arguments[1:]] or [results.last()]
        together = results.together([results.read(s) for s in sources])
        print(f"wrote {report.write(together, sources, ROOT)}")
        return
    args = parser().parse_args(arguments)
    try:
        path = run(args)
    except ValueError as e:
        sys.exit(f"error: {e}")
    except KeyboardInterrupt:
        sys.exit("stopped; what was run is kept")
    plot = path.with_suffix(".png")
    try:
        from benchmarks.plot import draw

        draw(results.read(path), plot)
        print(f"wrote {plot}")
    except ImportError:
        print("no plot: matplotlib is not installed")


if __name__ == "__main__":
    main()
