"""Command line: run works against peers, or make the report of the last run.

python -m benchmarks [WORK ...] [--peers NAMES] [--quick] [--out PATH] [--python PEER=PATH]
python -m benchmarks report [RESULTS ...]
"""

from __future__ import annotations

import argparse
import difflib
import io
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import machine, results, table
from benchmarks.case import load
from benchmarks.peers import FLOOR, PEERS, interpreters, probe
from benchmarks.remote import ROOT
from benchmarks.runner import QUICK, Row, Runner, Settings, best_ceilings, environment
from benchmarks.works import NAMES


class Stopped(Exception):
    """The run was interrupted; the text says what is kept."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Run works side by side with peers.",
        epilog="`python -m benchmarks report [RESULTS ...]` writes docs/performance.md.",
    )  # fmt: skip
    top.add_argument(
        "named", nargs="*", type=_names(NAMES, "report"), default=[], metavar="WORK",
        help=f"what to run, everything if none is named: {', '.join(NAMES)}",
    )  # fmt: skip
    top.add_argument("--works", type=_names(NAMES), help="the same, as one argument with commas")
    top.add_argument("--peers", type=_names(PEERS), default=list(PEERS), help=", ".join(PEERS))
    top.add_argument(
        "--quick", action="store_true", help="small sizes and few rounds: to see that it works"
    )
    top.add_argument(
        "--rounds", type=_positive, metavar="N",
        help=f"rounds of each implementation ({Settings().rounds})",
    )  # fmt: skip
    top.add_argument(
        "--out", type=Path, metavar="PATH",
        help="file of results (.jsonl), or a folder for it: benchmarks/results, out/benchmarks "
        "with --quick",
    )  # fmt: skip
    top.add_argument("--python", action="append", default=[], metavar="PEER=PATH",
                     help="the interpreter that has a peer, where it is not this one")  # fmt: skip
    return top


def _names(known: Iterable[str], *others: str) -> Callable[[str], list[str]]:
    names = list(known)

    def read(text: str) -> list[str]:
        given = [n for n in text.replace(",", " ").split() if n]
        if not given:
            raise argparse.ArgumentTypeError(f"there is no name in {text!r}: {', '.join(names)}")
        for n in given:
            if n not in names:
                close = difflib.get_close_matches(n, [*names, *others], 1)
                if n in PEERS:
                    close = [f"--peers {n}"]
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise argparse.ArgumentTypeError(f"{n!r} is none of {', '.join(names)}{hint}")
        return given

    return read


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; each work and each peer that is named is run once."""
    args = parser().parse_args(argv)
    named = [name for names in args.named for name in names] + (args.works or [])
    args.works = list(dict.fromkeys(named or NAMES))
    args.peers = list(dict.fromkeys(args.peers))
    return args


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
    """Run what was asked for; returns the file of results.

    Raises:
      ValueError: nothing of it can be run.
      OSError: results cannot be written.
      Stopped: it was interrupted.
    """
    tell = Progress()
    settings = QUICK if args.quick else Settings()
    if args.rounds:
        settings = replace(settings, rounds=args.rounds)
    pythons = interpreters(args.python)
    here = machine.describe()
    peers, head = _head(args, pythons, here, tell)
    if not peers:
        raise ValueError(f"nothing to run: {'; '.join(head['skipped'])}")
    path = _path(args, here, head["date"])
    results.make_room(path)
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
                if not made:
                    tell(f"  {name} is not written for {', '.join(peers)}")
                    continue
                rows += made
                print(f"\n{work.title}: {variant}, a {work.unit}")
                print(table.plain(made, top["copies"], top["gemm"]) + "\n", flush=True)
                results.write(path, [head, top, *rows])
        top = best_ceilings(top, _ceilings(runner, peers))
        head["seconds"] = round(time.monotonic() - start, 1)
        results.write(path, [head, top, *rows])
    except KeyboardInterrupt:
        tell("\r")
        kept = f"what was run is kept in {path}" if rows else "nothing was run"
        raise Stopped(f"stopped; {kept}") from None
    finally:
        runner.close()
    if top["copies"]:
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


def make_report(argv: Sequence[str]) -> None:
    """Write the report of the files that are named, or of the last whole run."""
    top = argparse.ArgumentParser(
        prog="python -m benchmarks report",
        description="Write docs/performance.md, its plot, and the README's table of speeds.",
    )
    top.add_argument(
        "sources", nargs="*", type=Path, metavar="RESULTS",
        help="files of results, the last whole run if none is named; of a work that several files "
        "have, the last one counts",
    )  # fmt: skip
    from benchmarks import report

    sources = top.parse_args(argv).sources or [results.last()]
    together = results.together([results.read(s) for s in sources])
    print(f"wrote {report.write(together, sources, ROOT)}")


def measure(argv: Sequence[str]) -> None:
    """Run works, and draw the ratios."""
    args = arguments(argv)
    with _stoppable():
        path = run(args)
    plot = path.with_suffix(".png")
    try:
        from benchmarks.plot import draw

        draw(results.read(path), plot)
        print(f"wrote {plot}")
    except ImportError:
        print("no plot: matplotlib is not installed")


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let an order to end, and the end of the terminal, do what Ctrl-C does: workers end, too."""
    asked = [s for n in ("SIGTERM", "SIGHUP") if (s := getattr(signal, n, None)) is not None]
    before = [signal.signal(s, signal.default_int_handler) for s in asked]
    try:
        yield
    finally:
        for number, handler in zip(asked, before, strict=True):
            signal.signal(number, handler)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    given = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may have no letter for micro
        sys.stdout.reconfigure(errors="replace")
    try:
        if given[:1] == ["report"]:
            make_report(given[1:])
        else:
            measure(given)
    except ValueError as e:
        sys.exit(f"error: {e}")
    except OSError as e:
        of = f": {e.filename}" if e.filename else ""
        sys.exit(f"error: {e.strerror or e}{of}")
    except Stopped as e:
        print(e, file=sys.stderr)
        sys.exit(130)
    except KeyboardInterrupt:  # before the first process was started, or while the plot is drawn
        sys.exit(130)


if __name__ == "__main__":
    main()
