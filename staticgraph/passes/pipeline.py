"""The whole compiler on one screen.

    close -> prune -> unify -> decompose -> simplify -> fold -> share -> update -> fuse -> lower

Each stage is a pass from `Function` to `Function` until `lower` makes a `Program`.  Any stage can
be the last one asked for, and every stage can be timed and verified.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from staticgraph.ir.function import Function
from staticgraph.ir.program import Program
from staticgraph.passes.cleanup import Decompose, Fold, Prune, Share
from staticgraph.passes.fusion import Fused, fuse
from staticgraph.passes.lower import lower
from staticgraph.passes.simplify import Simplify
from staticgraph.passes.unify import Unify
from staticgraph.passes.update import FoldUpdates


class Pass(Protocol):
    """A named step from function to function."""

    @property
    def name(self) -> str:
        """The stage's name, as `stop_after` takes it."""
        ...

    def __call__(self, f: Function) -> Function: ...


OPTIMIZED: tuple[Pass, ...] = (
    Prune(), Unify(), Decompose(), Simplify(), Fold(), Share(), Simplify(), Share(), Prune(), FoldUpdates(),
    Prune(),
)  # fmt: skip
UNOPTIMIZED: tuple[Pass, ...] = (Prune(), Decompose(), Prune())
STAGES = ("close", "prune", "unify", "decompose", "simplify", "fold", "share", "update", "fuse", "lower")

Observer = Callable[[str, Function | Fused | Program, float], None]


@dataclass(slots=True)
class Compilation:
    """What the pipeline gave: the function before and after, the fused form and the program."""

    closed: Function
    function: Function
    fused: Fused | None = None
    program: Program | None = None
    seconds: dict[str, float] = field(default_factory=dict)


def run_pipeline(
    closed: Function,
    optimize: bool = True,
    stop_after: str | None = None,
    observe: Observer | None = None,
    verify: Callable[[Function], None] | None = None,
) -> Compilation:
    """Run the passes.

    Args:
      stop_after: a name out of `STAGES`; the result then holds what exists after it.
      observe: called with name, IR and seconds after every stage.
      verify: called on every function; raises where an invariant is broken.
    """
    if stop_after is not None and stop_after not in STAGES:
        raise ValueError(f"no stage {stop_after!r}; one of {', '.join(STAGES)}")
    out = Compilation(closed, closed)

    def done(name: str, ir: Function | Fused | Program, start: float) -> None:
        seconds = time.perf_counter() - start
        out.seconds[name] = out.seconds.get(name, 0.0) + seconds
        if verify is not None and isinstance(ir, Function):
            verify(ir)
        if observe is not None:
            observe(name, ir, seconds)

    if stop_after == "close":
        return out
    passes: Sequence[Pass] = OPTIMIZED if optimize else UNOPTIMIZED
    last = max((i for i, p in enumerate(passes) if p.name == stop_after), default=len(passes) - 1)
    for p in passes[: last + 1]:
        start = time.perf_counter()
        out.function = p(out.function)
        done(p.name, out.function, start)
    if stop_after in {p.name for p in passes}:
        return out
    start = time.perf_counter()
    out.fused = fuse(out.function, enabled=optimize)
    done("fuse", out.fused, start)
    if stop_after == "fuse":
        return out
    start = time.perf_counter()
    out.program = lower(out.function, out.fused)
    done("lower", out.program, start)
    return out
