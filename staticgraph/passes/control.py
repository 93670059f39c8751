"""Loops and branches that run natively: which these are, and where their values lie in memory.

A native loop is one step of a plan.  Its body is bound once; what differs from one iteration to
the next are addresses that advance or alternate.  A carry goes one of four ways:

    kept      the body returns it as it came: the place of the operand serves every iteration
    in place  the new value is written over the old one, which nothing reads any more
    rail      all values of the carry stand one behind the other, in a stacked output or history
              with one more slot than there are iterations; each reads one slot and writes the next
    turns     two places, one read and one written, change roles

The body's temporaries have an arena of their own, which is one block in that of the step around.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from staticgraph.errors import InvalidArgumentError
from staticgraph.ir import dims as D
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim, Symbol
from staticgraph.ir.evaluate import BrokenGuardError, check_guards
from staticgraph.ir.program import Branch, Buffer, Host, Program, Repeat, SizeSource, Step
from staticgraph.ir.record import record
from staticgraph.passes.memory import ALIGNMENT, Placement, elementwise, place, room, sources

Sizes = Mapping[Symbol, int]
Way = Literal["kept", "in place", "rail", "turns"]
Sink = tuple[Literal["carry", "stack"], int]  # a carry's next value, or the slot of an output


# ---------------------------------------------------------------- which
def is_native(s: Step, p: Program) -> bool:
    """True of steps of `p` that need no Python while they run.

    A loop or branch is native where all its sizes follow from those it is given, nothing in it runs
    on the host, and its own results are of sizes that are known before.
    """
    if isinstance(s, Host):
        return False
    if not isinstance(s, Repeat | Branch):
        return True
    if not all(_plain(b) for b in (*s.inputs, *s.outputs)):
        return False
    if any(not o.element and o.buffer in s.outputs for o in sources(p)):
        return False
    if isinstance(s, Branch):
        return all(map(_is_closed, s.programs))
    if s.conditional and len(s.outputs) > s.attrs["carries"] + 1:
        return False
    return _is_steady(s) and _is_closed(s.body)


def is_growing(s: Step, p: Program) -> bool:
    """True of loops of `p` that run natively but for their outputs' unknown length."""
    if not isinstance(s, Repeat) or not s.conditional or is_native(s, p):
        return False
    carries = s.attrs["carries"]
    if not (all(map(_plain, (*s.inputs, *s.outputs))) and _is_steady(s) and _is_closed(s.body)):
        return False
    late = {k for k, o in p.sizes.items() if isinstance(o, SizeSource) and o.buffer in s.outputs}
    known = [d for k, b in enumerate(s.outputs) for d in (b.dims or ())[k > carries :]]
    return all(late.isdisjoint(D.symbols_of(d)) for d in known)


def _is_closed(p: Program) -> bool:
    """True of a body that knows its sizes and has native steps only."""
    if p.updates or any(isinstance(o, SizeSource) for o in p.sizes.values()):
        return False
    return all(map(_plain, p.buffers)) and all(is_native(s, p) for s in p.steps)


def _is_steady(s: Repeat) -> bool:
    """True where carries keep their sizes and outputs have known ones."""
    attrs, carries = s.attrs, s.attrs["carries"]
    if s.conditional and attrs["reverse"]:
        return False
    if attrs["length"] is None or (not s.conditional and attrs["length"] == -1):
        return False
    return all(
        q.buffer.dims == r.dims
        for q, r in zip(s.body.params[:carries], s.body.results, strict=False)
    )


def _plain(b: Buffer) -> bool:
    return b.dims is not None and b.dtype.np != object


# ---------------------------------------------------------------- where
@record(frozen=True)
class Arrangement:
    """Places of a program's temporaries, and of what its loops and branches have inside.

    `inner` maps the number of a step to its layout and the offset of its block.
    """

    placement: Placement
    inner: Mapping[int, tuple[LoopLayout | BranchLayout, int]]


@dataclass
class LoopLayout:
    """A loop with known sizes.

    Attributes:
      env: the sizes in the body.
      trips: the number of iterations, or None where a predicate decides; `limit` is the most.
      ways: of each carry.
      rails: of carries on a rail: an output on it and in which slot that begins.
      bound: temporaries of the body that are written where they are wanted.
      copies: what is copied after each iteration, and where to.
      turning: places of carries that take turns, by carry and side, as offsets in the block.
      body: the arrangement of the body, at the start of the block.
      size: bytes of the block.
      dead: finals that nothing reads.
    """

    step: Repeat
    env: Sizes
    trips: int | None
    limit: int
    ways: list[Way] = field(default_factory=list)
    rails: dict[int, tuple[Buffer, int]] = field(default_factory=dict)
    bound: dict[Buffer, Sink] = field(default_factory=dict)
    copies: list[tuple[Buffer, Sink]] = field(default_factory=list)
    turning: dict[tuple[int, int], int] = field(default_factory=dict)
    joined: dict[Buffer, tuple[Buffer, int]] = field(default_factory=dict)
    body: Arrangement = field(default_factory=lambda: Arrangement(Placement({}, 0), {}))
    size: int = 0
    dead: frozenset[Buffer] = frozenset()

    @property
    def params(self) -> list[Buffer]:
        """The body's parameters."""
        return [q.buffer for q in self.step.body.params]

    def stacked(self) -> list[tuple[Buffer, Buffer]]:
        """Each stacked output, histories among them, and what is stacked in it."""
        s, carries = self.step, self.step.attrs["carries"]
        values = [*s.body.results[carries:], *(self.params[k] for k in s.attrs["histories"])]
        return list(zip(s.outputs[carries + s.conditional :], values, strict=True))

    def nbytes(self, b: Buffer) -> int:
        """Bytes of a buffer of the body."""
        return D.evaluate(D.product(b.dims or ()), self.env) * b.dtype.size

    def room(self, b: Buffer) -> int:
        """Bytes to have room for."""
        return _aligned(room(_shape(b.dims, self.env)) * b.dtype.size)


@dataclass
class BranchLayout:
    """A branch with known sizes: for each program its sizes, arrangement and what is bound."""

    step: Branch
    env: list[Sizes] = field(default_factory=list)
    bound: list[dict[Buffer, int]] = field(default_factory=list)
    bodies: list[Arrangement] = field(default_factory=list)
    size: int = 0


def arrange(p: Program, env: Sizes, skip: frozenset[Buffer]) -> Arrangement:
    """Give every temporary a place, and every native loop or branch a block for what is in it.

    Args:
      skip: temporaries that live elsewhere.
    """
    joined: dict[Buffer, tuple[Buffer, int]] = {}
    blocks: dict[int, Buffer] = {}
    layouts: dict[int, LoopLayout | BranchLayout] = {}
    for i, s in enumerate(p.steps):
        if isinstance(s, Repeat):
            loop = _loop(s, p, env, lambda b: b.role == "temporary" and b not in skip)
            joined |= loop.joined
            layouts[i] = loop
        elif isinstance(s, Branch):
            layouts[i] = _branch(s, env)
    for i, layout in layouts.items():
        if layout.size:
            blocks[i] = Buffer(-1, dtypes.uint8, (layout.size,), "temporary", "loop")
    found = place(p, lambda b: room(_shape(b.dims, env)) * b.dtype.size, skip, joined, blocks)
    at = {i: found.offsets[blocks[i]] if i in blocks else 0 for i in layouts}
    return Arrangement(found, {i: (layout, at[i]) for i, layout in layouts.items()})


def refusal(p: Program, env: Sizes) -> BrokenGuardError | InvalidArgumentError | None:
    """What a body raises that cannot take these sizes; None of one that can."""
    try:
        check_guards(p.guards, env)
    except (BrokenGuardError, InvalidArgumentError) as e:
        return e
    return None


def _shape(dims: Sequence[Dim] | None, env: Sizes) -> tuple[int, ...]:
    return tuple(D.evaluate(d, env) for d in dims or ())


def _aligned(n: int) -> int:
    return -(-n // ALIGNMENT) * ALIGNMENT


def _sizes(s: Repeat | Branch, body: Program, env: Sizes) -> dict[Symbol, int]:
    return {k: D.evaluate(d, env) for k, d in body.bound(s.attrs["sizes"]).items()}


def _loop(s: Repeat, p: Program, env: Sizes, free: Callable[[Buffer], bool]) -> LoopLayout:
    """Lay out a loop of `p`; `free` tells outputs that have places in the arena around it."""
    length = D.evaluate(s.attrs["length"], env)
    trips: int | None = length
    if s.conditional:
        carries = s.attrs["carries"]
        xs = s.inputs[carries : carries + s.attrs["sequences"]]
        most = [_shape(x.dims, env)[0] for x in xs] + [length] * (length >= 0)
        trips, length = None, min(most, default=-1)
    read = {b for t in p.steps for b in t.reads} | {*p.results, *p.updates.values()}
    read |= {o.buffer for o in sources(p) if o.element}
    dead = frozenset(set(s.outputs) - read)
    out = LoopLayout(s, _sizes(s, s.body, env), trips, length, dead=dead)
    _carries(out, free)
    stacked = out.stacked()
    for k, (to, b) in enumerate(stacked):
        if to not in out.joined:
            _write(out, b, ("stack", k))
    if refusal(s.body, out.env) is None:
        out.body = arrange(s.body, out.env, frozenset(out.bound))
    out.size = _aligned(out.body.placement.size)
    for j, way in enumerate(out.ways):
        if way == "turns":
            own = 1 if trips is not None and free(s.outputs[j]) else 2
            for side in range(own):
                out.turning[j, side] = out.size
                out.size += out.room(out.params[j])
    return out


def _write(loop: LoopLayout, b: Buffer, sink: Sink) -> None:
    """Let the body write a value where it is wanted, or copy it there."""
    if b.role == "temporary" and b not in loop.bound:
        loop.bound[b] = sink
    else:
        loop.copies.append((b, sink))


def _carries(loop: LoopLayout, free: Callable[[Buffer], bool]) -> None:
    stacked = loop.stacked()
    for j in range(loop.step.attrs["carries"]):
        p, r = loop.params[j], loop.step.body.results[j]
        if r is p:
            loop.ways.append("kept")
            continue
        rail = _rail(loop, j, stacked, free)
        direct = r.role == "temporary" and r not in loop.bound
        if rail:
            loop.ways.append("rail")
        elif direct and _replaces(loop, j):
            loop.ways.append("in place")
        else:
            loop.ways.append("turns")
        _write(loop, r, ("carry", j))


def _rail(
    loop: LoopLayout, j: int, stacked: Sequence[tuple[Buffer, Buffer]],
    free: Callable[[Buffer], bool],
) -> bool:  # fmt: skip
    """Join the outputs that hold the values of carry `j`, those before or after each iteration."""
    if loop.limit < 0:
        return False
    reverse = loop.step.attrs["reverse"]
    p, r = loop.params[j], loop.step.body.results[j]
    rail: Buffer | None = None
    for value, slot in (p, int(reverse)), (r, int(not reverse)):
        to = next((o for o, b in stacked if b is value and free(o) and o not in loop.joined), None)
        if to is None:
            continue
        if rail is None:
            dims = (loop.limit + 1, *_shape(p.dims, loop.env))
            rail = Buffer(to.number, p.dtype, dims, "temporary", to.name)
            loop.rails[j] = to, slot
        loop.joined[to] = rail, slot * loop.nbytes(p)
    return rail is not None


def _replaces(loop: LoopLayout, j: int) -> bool:
    """True where a carry's new value may be written over the old one."""
    body, p, r = loop.step.body, loop.params[j], loop.step.body.results[j]
    if p in body.results or j in loop.step.attrs["histories"]:
        return False
    writer = next(i for i, t in enumerate(body.steps) if r in t.writes)
    last = max((i for i, t in enumerate(body.steps) if p in t.reads), default=-1)
    return last < writer or (last == writer and elementwise(body.steps[writer], p, r))


def _branch(s: Branch, env: Sizes) -> BranchLayout:
    out = BranchLayout(s)
    for p in s.programs:
        bound: dict[Buffer, int] = {}
        for k, r in enumerate(p.results):
            if r.role == "temporary":
                bound.setdefault(r, k)
        out.env.append(_sizes(s, p, env))
        out.bound.append(bound)
        if refusal(p, out.env[-1]) is None:
            out.bodies.append(arrange(p, out.env[-1], frozenset(bound)))
        else:
            out.bodies.append(Arrangement(Placement({}, 0), {}))
        out.size = max(out.size, out.bodies[-1].placement.size)
    return out


__all__ = ["Arrangement", "BranchLayout", "LoopLayout", "arrange", "is_native", "refusal"]
