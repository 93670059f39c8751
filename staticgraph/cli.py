"""The command ``python -m staticgraph``: one subcommand per thing to do with a program's graph.

A subcommand is a function that takes the parsed arguments and returns the exit status, with
another that adds its arguments; `COMMANDS` lists them.  Exit status: 0 done, 1 the script failed,
2 the command was misused, 130 the script was interrupted; what it did before is told all the same.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from staticgraph import viz
from staticgraph.errors import StaticGraphError
from staticgraph.ir.graph import Graph, get_default_graph


class CommandError(Exception):
    """A misuse of the command: its text is printed, the exit status is 2."""


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand."""

    name: str
    summary: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


# ---------------------------------------------------------------- running the user's script
@dataclass(frozen=True, slots=True)
class ScriptRun:
    """What is left after a script: the graph it built and how it ended, as an exit status."""

    graph: Graph
    status: int

    def nothing(self, text: str) -> int:
        """The exit status where there is nothing to tell: a script that failed has said why.

        Raises:
          CommandError: the script did not fail.
        """
        if not self.status:
            raise CommandError(text)
        return self.status


@contextmanager
def _recorded(graphs: list[Graph]) -> Iterator[None]:
    """Keep every graph made meanwhile: a script may build in one that is gone when it ends."""
    original = Graph.__init__

    def recording(self: Graph, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        graphs.append(self)

    Graph.__init__ = recording  # type: ignore[method-assign]
    try:
        yield
    finally:
        Graph.__init__ = original  # type: ignore[method-assign]


def run_script(script: str, arguments: Sequence[str] = ()) -> ScriptRun:
    """Run a script as ``__main__`` with its own arguments and return the graph it built.

    The graph is the default one, or, where that is empty, the last non-empty one that the script
    made.  A script that exits, fails or is interrupted has still built a graph.

    Raises:
      CommandError: there is no such script.
    """
    path = Path(script)
    if not path.is_file():
        raise CommandError(f"there is no script {script!r}")
    graphs: list[Graph] = []
    status = 0
    old_argv, old_path = sys.argv, list(sys.path)
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(path.resolve().parent))
    try:
        with _recorded(graphs):
            runpy.run_path(script, run_name="__main__")
    except SystemExit as e:
        status = int(e.code not in (None, 0))
        if status:
            print(f"staticgraph: {script} exited with {e.code!r}", file=sys.stderr)
    except KeyboardInterrupt:
        status = 130
        print(f"staticgraph: {script} was interrupted", file=sys.stderr)
    except Exception as e:
        status = 1
        _print_failure(e, script)
    finally:
        sys.argv, sys.path[:] = old_argv, old_path
    built = get_default_graph()
    if not built.get_operations():
        built = next((g for g in reversed(graphs) if g.get_operations()), built)
    return ScriptRun(built, status)


def _print_failure(error: Exception, script: str) -> None:
    """Print a traceback that starts in the script; it has no frame where it cannot be read."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != script:
        frames = frames.tb_next
    traceback.print_exception(type(error), error, frames)
    print(f"staticgraph: {script} failed", file=sys.stderr)


# ---------------------------------------------------------------- draw
def _depth(text: str) -> int | Literal["auto"] | None:
    if text in ("auto", "all"):
        return "auto" if text == "auto" else None
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number, 'auto' nor 'all'")
    return int(text)


def _draw_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("script", help="Python program that builds the graph")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help=f"where to put the picture: {', '.join('.' + f for f in viz.FORMATS)}",
    )
    parser.add_argument(
        "--depth",
        type=_depth,
        default="auto",
        metavar="N",
        help="fold name scopes nested deeper than N; 'auto' (default), 'all'",
    )
    parser.add_argument("--scope", metavar="NAME", help="draw only this scope and what it takes")
    parser.add_argument(
        "--fetch",
        action="append",
        metavar="NAME",
        help="draw only what this tensor or operation needs; may be repeated",
    )
    parser.add_argument(
        "--after", action="store_true", help="draw the fused kernels beside the graph"
    )
    parser.add_argument("--no-shapes", action="store_true", help="no dtypes and sizes on edges")
    parser.add_argument(
        "--initializers", action="store_true", help="draw the first assignments of variables too"
    )
    parser.add_argument(
        "--rankdir",
        choices=("TB", "LR", "BT", "RL"),
        default="TB",
        help="direction in which the data flows",
    )
    parser.add_argument("--title", help="heading (default: the script's name)")


def _draw(args: argparse.Namespace) -> int:
    output = Path(args.output)
    viz.format_of(output)
    if not output.resolve().parent.is_dir():
        raise CommandError(f"there is no directory {str(output.parent)!r} to put the picture in")
    run = run_script(args.script, args.arguments)
    count = len(run.graph.get_operations())
    if not count:
        return run.nothing(f"{args.script} built no graph: there is nothing to draw")
    title = os.path.basename(args.script) if args.title is None else args.title
    if args.after:
        drawing = viz.before_after(
            run.graph, _fetches(run.graph, args.fetch), output, stages=_stages(), title=title,
            shapes=not args.no_shapes, rankdir=args.rankdir,
        )  # fmt: skip
    else:
        drawing = viz.draw(
            run.graph, output, fetches=args.fetch, scope=args.scope, depth=args.depth,
            shapes=not args.no_shapes, rankdir=args.rankdir, title=title,
            initializers=args.initializers,
        )  # fmt: skip
    nodes = len(drawing.picture.items)
    print(f"{args.output}: {count} operations, drawn as {nodes} nodes")
    return run.status


def _fetches(graph: Graph, names: Sequence[str] | None) -> list[Any]:
    """What was asked for, or everything that nothing else takes and that is not initialisation."""
    if names:
        return [graph.as_graph_element(n) for n in names]
    return [op if viz.writes(op) or not op.outputs else op.outputs[0] for op in viz.ends(graph)]


def _stages() -> viz.Stages:
    # the compiler pulls in Numba, which a picture of the graph alone can do without
    try:
        from staticgraph.runtime.compile import function_stages
    except ImportError as e:
        raise CommandError(f"--after needs the compiler, which cannot be imported: {e}") from None
    return partial(function_stages, stop_after="fuse")


# ---------------------------------------------------------------- explain
def _explain_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("script", help="Python program that builds the graph and runs it")
    parser.add_argument(
        "--fetch", action="append", metavar="NAME",
        help="tell of this tensor or operation, run or not; may be repeated",
    )  # fmt: skip
    parser.add_argument("--sources", action="store_true", help="show the kernels' sources")
    parser.add_argument(
        "--stage", metavar="NAME",
        help="show what the compiler has after this stage: close, ..., fuse, lower",
    )  # fmt: skip


def _explain(args: argparse.Namespace) -> int:
    from staticgraph.runtime.compile import stages  # which pulls in Numba
    from staticgraph.runtime.session import BaseSession

    with _explained(args.sources) as told:
        run = run_script(args.script, args.arguments)
    if args.stage or args.fetch:
        named = _fetches(run.graph, args.fetch)  # the name of an operation asks for what it gives
        fetches = [getattr(f, "outputs", ()) or f for f in named]
        if args.stage:
            print(stages(fetches, stop_after=args.stage, graph=run.graph))
        else:
            print(BaseSession(graph=run.graph).explain(fetches, args.sources))
    elif not told:
        return run.nothing(f"{args.script} ran nothing; --fetch tells of what it did not run")
    else:
        print("\n\n".join(map(str, told)))
    return run.status


@contextmanager
def _explained(sources: bool) -> Iterator[list[Any]]:
    """Collect what every session tells of itself before it is closed, or at the end.

    In the order in which they were opened, and behind them what compiled functions tell.
    """
    from staticgraph.bridge.compiled import Runner
    from staticgraph.runtime.explain import explanation, report
    from staticgraph.runtime.session import BaseSession

    opened: list[Any] = []
    closed: dict[int, Any] = {}
    functions: list[Runner] = []
    told: list[Any] = []

    def opening(self: Any, *_: Any) -> None:
        opened.append(self)

    def closing(self: Any) -> None:
        if self.executables():
            closed[id(self)] = self.explain(sources=sources)

    with (
        _around(BaseSession, "__init__", after=opening),
        _around(BaseSession, "close", before=closing),
        _around(Runner, "__init__", after=lambda self, *_: functions.append(self)),
    ):
        yield told
    for s in opened:
        seen = s.explain(sources=sources) if s.executables() else closed.get(id(s))
        told += [seen] if seen is not None else []
    compiled = [(r.function.name, r.executable) for r in functions if r.executable is not None]
    if compiled:
        told.append(explanation([report([name], exe) for name, exe in compiled], sources))


@contextmanager
def _around(
    kind: Any, name: str, before: Callable[..., None] | None = None,
    after: Callable[..., None] | None = None,
) -> Iterator[None]:  # fmt: skip
    """Let every call of a method be preceded or followed by a call of a function."""
    method = getattr(kind, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        if before is not None:
            before(*args)
        result = method(*args, **kwargs)
        if after is not None:
            after(*args)
        return result

    setattr(kind, name, call)
    try:
        yield
    finally:
        setattr(kind, name, method)


# ---------------------------------------------------------------- profile
def _profile_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("script", help="Python program that runs sessions")
    parser.add_argument("--trace", metavar="FILE", help="write a Chrome trace of the runs as well")
    parser.add_argument(
        "--by", choices=("step", "kernel", "line"), default="step",
        help="one row for each step (default), for equal kernels, for each line of the program",
    )  # fmt: skip
    parser.add_argument(
        "--rows", type=_rows, default=40, metavar="N", help="rows to show; 'all' (default: 40)"
    )


def _rows(text: str) -> int | None:
    if text != "all" and not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor 'all'")
    return None if text == "all" else int(text)


def _profile(args: argparse.Namespace) -> int:
    from staticgraph.runtime.profile import Profile
    from staticgraph.runtime.profiling import every_session

    if args.trace and not Path(args.trace).resolve().parent.is_dir():
        folder = str(Path(args.trace).parent)
        raise CommandError(f"there is no directory {folder!r} to put the trace in")
    profile = Profile()
    with every_session(profile):
        run = run_script(args.script, args.arguments)
    if not profile.runs:
        return run.nothing(f"{args.script} ran no session: there is nothing to tell")
    print(profile.table(args.by, args.rows))
    if args.trace:
        profile.save(args.trace)
    return run.status


# ---------------------------------------------------------------- compare
def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME",
        help="run this program, or those whose names begin so; may be repeated",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="list the programs and do nothing else")
    parser.add_argument("--quick", action="store_true", help="few steps and rounds: rough times")
    parser.add_argument(
        "--steps", type=_positive, metavar="N", help="steps of which losses are compared"
    )
    parser.add_argument("--no-torch", action="store_true", help="leave PyTorch out")
    parser.add_argument(
        "--out", metavar="DIR", help="write report.md, report.html, results.json and plots there"
    )


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)


def _compare(args: argparse.Namespace) -> int:
    from staticgraph.compare import command  # which pulls in the dynamic engine and all programs

    return command.run(args)


COMMANDS = (
    Command("draw", "draw the graph that a script builds", _draw_arguments, _draw),
    Command("explain", "tell what a script's runs compile to", _explain_arguments, _explain),
    Command("profile", "tell where the time of a script's runs goes", _profile_arguments, _profile),
    Command("compare", "compare static and dynamic programs", _compare_arguments, _compare),
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m staticgraph", description="Look into the graphs that programs build.",
        epilog="Arguments after -- go to the script.",
    )  # fmt: skip
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        sub = subparsers.add_parser(command.name, help=command.summary, description=command.summary)
        command.arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    cut = given.index("--") if "--" in given else len(given)
    parser = _parser()
    args, unknown = parser.parse_known_args(given[:cut])
    if unknown:
        hint = "; arguments of the script stand after --" if hasattr(args, "script") else ""
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    args.arguments = given[cut + 1 :]
    try:
        return int(args.run(args))
    except StaticGraphError as e:  # its place would be one in here
        error = "\n  hint: ".join(filter(None, [e.message, e.hint]))
    except BrokenPipeError:  # who read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (CommandError, OSError) as e:
        error = str(e)
    print(f"staticgraph {args.command}: error: {error}", file=sys.stderr)
    return 2


__all__ = ["COMMANDS", "Command", "CommandError", "ScriptRun", "main", "run_script"]
