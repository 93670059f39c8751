"""Loops and branches that run natively: which these are, and where their values lie in memory.

A native loop is one step of a plan.  Its body is bound once; what differs from one iteration to
the next are addresses that advance or alternate.  A carry goes one of four ways:

    kept      the body returns it as it came: the place of the operand serves every iteration
    in place  the new value is written over the old one, which nothing reads any more
    rail      all values of the carry stand one behind the other, in a stacked output or history
              with one more slot than there are iterations; each reads one slot and writes the next
    turns     two places, one read and one written, change roles

The body's temporaries have an arena of their own, which is one block in that of the step around.

How often a ``while`` runs is known when it has run.  What it stacks gets room for so many
iterations, and it is *late* if all that hangs on their number, the lengths of other loops and
arguments of kernels, can be told while the run goes on; see `late`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import lru_cache
from typing import Any, Literal

from staticgraph.errors import InvalidArgumentError
from staticgraph.ir import dims as D
from staticgraph.ir import dtypes
from staticgraph.ir.arrays import ALIGNMENT, room
from staticgraph.ir.dims import Dim, Poly, Symbol
from staticgraph.ir.evaluate import BrokenGuardError, check_guards
from staticgraph.ir.program import (
    Branch,
    Buffer,
    Host,
    Launch,
    Program,
    Repeat,
    SizeSource,
    Step,
)
from staticgraph.ir.record import record
from staticgraph.passes.memory import Placement, elementwise, place, sources

Sizes = Mapping[Symbol, int]
Rooms = Mapping[Repeat, int]  # for how many iterations of a late loop there is room
NO_ROOMS: Rooms = {}
FIRST_ROOM = 64  # iterations that there is room for at first
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
    if not isinstance(s, Repeat | Branch) or s in late(p).values():
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
    if not isinstance(s, Repeat) or not s.conditional:
        return False
    if is_native(s, p) and s not in late(p).values():
        return False
    carries = s.attrs["carries"]
    if not (all(map(_plain, (*s.inputs, *s.outputs))) and _is_steady(s) and _is_closed(s.body)):
        return False
    told = {k for k, o in p.sizes.items() if isinstance(o, SizeSource) and o.buffer in s.outputs}
    known = [d for k, b in enumerate(s.outputs) for d in (b.dims or ())[k > carries :]]
    return all(told.isdisjoint(D.symbols_of(d)) for d in known)


def _is_closed(p: Program) -> bool:
    """True of a body that knows its sizes and has native steps only."""
    if p.updates or any(isinstance(o, SizeSource) and k not in late(p) for k, o in p.sizes.items()):
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


@lru_cache(maxsize=256)
def late(p: Program) -> Mapping[Symbol, Repeat]:
    """Sizes that a loop of `p` tells while a native run goes on, and that loop."""
    out: dict[Symbol, Repeat] = {}
    for s in p.steps:
        if not isinstance(s, Repeat) or not s.conditional or not _is_steady(s):
            continue
        if not all(map(_plain, (*s.inputs, *s.outputs))) or not _is_closed(s.body):
            continue
        stacked = set(s.outputs[s.attrs["carries"] + 1 :])
        told = [
            k for k, o in p.sizes.items()
            if isinstance(o, SizeSource) and not o.element and o.buffer in s.outputs
        ]  # fmt: skip
        if len(told) != 1 or not stacked:
            continue
        users = _Late(p, s, D.symbol(told[0].name))
        if users.fit() and stacked == users.stacks.intersection(s.outputs):
            out[told[0]] = s
    return out


class _Late:
    """Everything in a program that hangs on one size `t`, the length of what `loop` stacks."""

    def __init__(self, p: Program, loop: Repeat, t: Dim) -> None:
        self.p, self.loop, self.t = p, loop, t
        self.stacks = {b for b in p.buffers if b.dims and b.dims[0] == t and self.free(b.dims[1:])}

    def free(self, value: Any) -> bool:
        """True of a size, or a tuple of such, that `t` is no part of."""
        if isinstance(value, tuple):
            return all(map(self.free, value))
        return not isinstance(value, Poly) or D.symbols_of(self.t).isdisjoint(D.symbols_of(value))

    def fit(self) -> bool:
        p = self.p
        if not all(self.free(b.dims) or b in self.stacks for b in p.buffers):
            return False
        if not self.stacks.isdisjoint((*p.results, *p.updates.values())):
            return False
        if not all(self.free((g.guard.a, g.guard.b)) for g in p.guards):
            return False
        return all(map(self._fits, p.steps))

    def _fits(self, s: Step) -> bool:
        if isinstance(s, Launch):
            sizes = [a for a in s.args if not isinstance(a, Buffer)]
            return self.free(s.extent) and all(a == self.t or self.free(a) for a in sizes)
        if not isinstance(s, Repeat):
            touched = not self.stacks.isdisjoint((*s.reads, *s.writes))
            return not touched and (isinstance(s, Host) or self.free(tuple(s.attrs.values())))
        if s is self.loop:
            return self.stacks.isdisjoint(s.inputs) and self.free(tuple(s.attrs.values()))
        if s.conditional or s.attrs["length"] != self.t:
            touched = not self.stacks.isdisjoint((*s.reads, *s.writes))
            return not touched and self.free(tuple(s.attrs.values()))
        n, m = s.attrs["carries"], s.attrs["sequences"]
        others = (*s.inputs[:n], *s.inputs[n + m :], *s.outputs[:n])
        rest = (v for k, v in s.attrs.items() if k != "length")
        return self.stacks.isdisjoint(others) and all(map(self.free, rest))


def with_rooms(p: Program, env: Sizes, rooms: Rooms) -> Sizes:
    """Sizes, and for late ones what there is room for."""
    found = late(p)
    return {**env, **{t: room_of(s, rooms) for t, s in found.items()}} if found else env


def room_of(s: Repeat, rooms: Rooms) -> int:
    """For how many iterations of a late loop there is room."""
    return rooms.get(s, FIRST_ROOM)


# ---------------------------------------------------------------- where
@record(frozen=True)
class Arrangement:
    """Places of a program's temporaries, and of what its loops and branches have inside.

    `inner` maps the number of a step to its layout and the offset of its block.
    """

    placement: Placement
    inner: Mapping[int, tuple[LoopLayout | BranchLayout, int]]


@record()
class LoopLayout:
    """A loop with known sizes.

    Attributes:
      env: the sizes in the body.
      trips: the number of iterations, or None where a predicate decides; `limit` is the most.
      follows: there are as many iterations as another loop has had.
      tight: the limit is for how many iterations there is room.
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
    follows: bool = False
    tight: bool = False
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


@record()
class BranchLayout:
    """A branch with known sizes: for each program its sizes, arrangement and what is bound."""

    step: Branch
    env: list[Sizes] = field(default_factory=list)
    bound: list[dict[Buffer, int]] = field(default_factory=list)
    bodies: list[Arrangement] = field(default_factory=list)
    size: int = 0


def arrange(
    p: Program, env: Sizes, skip: frozenset[Buffer], rooms: Rooms = NO_ROOMS
) -> Arrangement:  # fmt: skip
    """Give every temporary a place, and every native loop or branch a block for what is in it.

    Args:
      env: the sizes; of late ones what there is room for.
      skip: temporaries that live elsewhere.
      rooms: for how many iterations of each late loop there is room.
    """
    joined: dict[Buffer, tuple[Buffer, int]] = {}
    blocks: dict[int, Buffer] = {}
    layouts: dict[int, LoopLayout | BranchLayout] = {}
    for i, s in enumerate(p.steps):
        if isinstance(s, Repeat):
            loop = _loop(s, p, env, lambda b: b.role == "temporary" and b not in skip, rooms)
            joined |= loop.joined
            layouts[i] = loop
        elif isinstance(s, Branch):
            layouts[i] = _branch(s, env, rooms)
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


def _sizes(s: Repeat | Branch, body: Program, env: Sizes, rooms: Rooms) -> Sizes:
    given = {k: D.evaluate(d, env) for k, d in body.bound(s.attrs["sizes"]).items()}
    return with_rooms(body, given, rooms)


def _loop(
    s: Repeat, p: Program, env: Sizes, free: Callable[[Buffer], bool], rooms: Rooms
) -> LoopLayout:
    """Lay out a loop of `p`; `free` tells outputs that have places in the arena around it."""
    length = D.evaluate(s.attrs["length"], env)
    trips: int | None = length
    if s.conditional:
        carries = s.attrs["carries"]
        xs = s.inputs[carries : carries + s.attrs["sequences"]]
        most = [_shape(x.dims, env)[0] for x in xs] + [length] * (length >= 0)
        trips, length = None, min(most, default=-1)
    found = late(p)
    follows = s.attrs["length"] in [D.symbol(t.name) for t in found]
    tight = s in found.values() and (length < 0 or length > room_of(s, rooms))
    if follows:
        trips = None
    elif tight:
        length = room_of(s, rooms)
    read = {b for t in p.steps for b in t.reads} | {*p.results, *p.updates.values()}
    read |= {o.buffer for o in sources(p) if o.element}
    dead = frozenset(set(s.outputs) - read)
    inside = _sizes(s, s.body, env, rooms)
    out = LoopLayout(s, inside, trips, length, follows, tight, dead=dead)
    _carries(out, free)
    stacked = out.stacked()
    for k, (to, b) in enumerate(stacked):
        if to not in out.joined:
            _write(out, b, ("stack", k))
    if refusal(s.body, out.env) is None:
        out.body = arrange(s.body, out.env, frozenset(out.bound), rooms)
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
    if reverse and loop.follows:  # nobody knows yet where it begins
        return False
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


def _branch(s: Branch, env: Sizes, rooms: Rooms) -> BranchLayout:
    out = BranchLayout(s)
    for p in s.programs:
        bound: dict[Buffer, int] = {}
        for k, r in enumerate(p.results):
            if r.role == "temporary":
                bound.setdefault(r, k)
        out.env.append(_sizes(s, p, env, rooms))
        out.bound.append(bound)
        if refusal(p, out.env[-1]) is None:
            out.bodies.append(arrange(p, out.env[-1], frozenset(bound), rooms))
        else:
            out.bodies.append(Arrangement(Placement({}, 0), {}))
        out.size = max(out.size, out.bodies[-1].placement.size)
    return out


__all__ = ["Arrangement", "BranchLayout", "LoopLayout", "arrange", "is_native", "refusal"]
