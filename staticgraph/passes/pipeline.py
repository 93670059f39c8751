"""The whole compiler on one screen.

    close -> prune -> unify -> trim -> slices -> decompose -> simplify -> fold -> share -> motion
      -> update -> fuse -> lower

Each stage is a pass from `Function` to `Function` until `lower` makes a `Program`.  Any stage can
be the last one asked for; every stage is timed, and verified where `STATICGRAPH_VERIFY` is set.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import field, replace
from itertools import takewhile
from typing import Any, Protocol

from staticgraph.errors import VerificationError
from staticgraph.ir.function import Function
from staticgraph.ir.program import Program
from staticgraph.ir.record import record
from staticgraph.ir.verify import verify as verify_ir
from staticgraph.passes.cleanup import Decompose, Fold, Prune, Share
from staticgraph.passes.fusion import Fused, fuse
from staticgraph.passes.loop_motion import Motion
from staticgraph.passes.loop_slices import Slices
from staticgraph.passes.loop_trim import Trim
from staticgraph.passes.loop_turn import Turn
from staticgraph.passes.lower import lower
from staticgraph.passes.simplify import Simplify
from staticgraph.passes.stream import stream
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
    Prune(), Unify(), Trim(simplified=False), Slices(), Decompose(), Simplify(), Fold(), Share(),
    Simplify(), Share(), Prune(), Trim(), Motion(), Trim(), Motion(), Trim(), Simplify(), Turn(),
    Share(), Prune(), FoldUpdates(), Prune(),
)  # fmt: skip
UNOPTIMIZED: tuple[Pass, ...] = (Prune(), Trim(moves=False), Decompose(), Prune())
STAGES = (
    "close", "prune", "unify", "trim", "slices", "decompose", "simplify", "fold", "share", "motion",
    "update", "fuse", "lower",
)  # fmt: skip

VERIFY_VARIABLE = "STATICGRAPH_VERIFY"
"""Environment variable: anything but nothing or 0 verifies the IR after every stage."""

Observer = Callable[[str, Function | Fused | Program, float], None]


@record(slots=True)
class Compilation:
    """What the pipeline gave: the function before and after, the fused form and the program.

    `str` of it, and of each part, is text.  `seconds` holds the time of each stage.
    """

    closed: Function
    function: Function
    fused: Fused | None = None
    program: Program | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    stage: str = "close"

    @property
    def ir(self) -> Function | Fused | Program:
        """What the last stage gave."""
        return self.program or self.fused or self.function

    def __str__(self) -> str:
        return str(self.ir)


def run_pipeline(
    closed: Function,
    optimize: bool = True,
    stop_after: str | None = None,
    observe: Observer | None = None,
    verify: bool | None = None,
) -> Compilation:
    """Run the passes.

    Args:
      stop_after: a name out of `STAGES`; the result then holds what exists after that stage's
        first pass.  A stage that is left out without `optimize` changes nothing.
      observe: called with name, IR and seconds after every pass, `close` included.
      verify: check every function and the program; as the environment says if None.

    Raises:
      VerificationError: a pass broke an invariant; its text names the pass.
    """
    if stop_after is not None and stop_after not in STAGES:
        raise ValueError(f"no stage {stop_after!r}; one of {', '.join(STAGES)}")
    if verify is None:
        verify = os.environ.get(VERIFY_VARIABLE, "0") not in ("", "0")
    out = Compilation(closed, closed)

    def done(name: str, ir: Function | Fused | Program, start: float) -> None:
        seconds = time.perf_counter() - start
        out.stage = name
        out.seconds[name] = out.seconds.get(name, 0.0) + seconds
        if verify:
            _verify(name, ir)
        if observe is not None:
            observe(name, ir, seconds)

    done("close", closed, time.perf_counter())
    for p in _passes(optimize, stop_after):
        start = time.perf_counter()
        out.function = within(p, out.function)
        done(p.name, out.function, start)
    if stop_after is not None and STAGES.index(stop_after) < STAGES.index("fuse"):
        return out
    start = time.perf_counter()
    out.fused = fuse(out.function, enabled=optimize)
    done("fuse", out.fused, start)
    if stop_after == "fuse":
        return out
    start = time.perf_counter()
    out.program = lower(out.function, out.fused, optimize)
    if optimize:
        out.program = stream(out.program)
    done("lower", out.program, start)
    return out


def within(p: Pass, f: Function) -> Function:
    """Apply a pass to a function and first to the bodies of its loops and branches."""

    def inner(value: Any) -> Any:
        if isinstance(value, Function):
            return within(p.inside if isinstance(p, Motion) else p, value)
        if isinstance(value, tuple) and value and isinstance(value[0], Function):
            return tuple(map(inner, value))
        return value

    if any(n.op.control for n in f.nodes):
        nodes = tuple(
            replace(n, attrs={k: inner(v) for k, v in n.attrs.items()}) if n.op.control else n
            for n in f.nodes
        )
        f = replace(f, nodes=nodes)
    return p(f)


def _passes(optimize: bool, stop_after: str | None) -> Sequence[Pass]:
    """The passes up to the first one that is the stage, or that comes before it in the order."""
    passes = OPTIMIZED if optimize else UNOPTIMIZED
    if stop_after is None or stop_after == "close":
        return passes if stop_after is None else ()
    names = [p.name for p in passes]
    if stop_after in names:
        return passes[: names.index(stop_after) + 1]
    last = STAGES.index(stop_after)
    return tuple(takewhile(lambda p: STAGES.index(p.name) < last, passes))


def _verify(name: str, ir: Function | Fused | Program) -> None:
    if isinstance(ir, Fused):
        return  # the program is made of it at once, and has a verifier
    try:
        verify_ir(ir)
    except VerificationError as e:
        raise VerificationError(
            f"after {name!r}: {e.message}", loc=e.loc, operands=e.operands
        ) from None
