"""Memory: which updates may happen in place, and where temporaries live in one arena.

Two questions, both answered before a run:

- *Donation.*  The new value of a variable may be written over the old one if nobody reads the old
  one afterwards, the step that writes it reads it only at the element it writes, and nothing that
  can fail comes later: a failed run leaves every variable as it was.  A scatter checks all its
  indices before it writes, so its own failure comes in time.
- *Liveness.*  A temporary occupies its place from the step that writes it to the last that reads
  it; places of temporaries that live at the same time never overlap.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from weakref import WeakKeyDictionary

import numpy as np

from staticgraph.ir.arrays import ALIGNMENT
from staticgraph.ir.kernel import (
    Kernel,
    Let,
    Loop,
    Statement,
    Store,
    Temp,
    expressions,
    subexpressions,
    walk,
)
from staticgraph.ir.program import (
    Branch,
    Buffer,
    Host,
    Launch,
    Library,
    Program,
    Repeat,
    SizeSource,
    Step,
)
from staticgraph.ir.record import record
from staticgraph.ir.scalar import Load
from staticgraph.passes.loop_kernel import serial

FEW = 64  # temporaries up to which plain loops are quicker than numpy's


_donations: WeakKeyDictionary[Program, dict[Buffer, Buffer]] = WeakKeyDictionary()
_overwritten: WeakKeyDictionary[Program, dict[Buffer, str]] = WeakKeyDictionary()


def donations(p: Program) -> Mapping[Buffer, Buffer]:
    """New value to old value, for updates that may happen in place."""
    if p not in _donations:  # a program has many plans
        _donations[p] = _find_donations(p)
    return _donations[p]


def overwritten(p: Program) -> Mapping[Buffer, str]:
    """New values of variables that the program does not read, which may be written in place."""
    if p not in _overwritten:
        _overwritten[p] = _find_overwritten(p)
    return _overwritten[p]


def _find_donations(p: Program) -> dict[Buffer, Buffer]:
    last_read: dict[Buffer, int] = {}
    written_by: dict[Buffer, int] = {}
    for i, s in enumerate(p.steps):
        last_read.update((b, i) for b in s.reads if b not in s.writes)
        for b in s.writes:
            written_by.setdefault(b, i)
    last_failure = max((i for i, s in enumerate(p.steps) if can_fail(s)), default=-1)
    # Read after the last step: fetched, looked at for a size, or another variable's new value.
    kept = {*p.results, *p.updates.values(), *(o.buffer for o in sources(p) if o.element)}
    variables = {q.name: q.buffer for q in p.params if q.kind == "variable"}

    def may_replace(old: Buffer, new: Buffer) -> bool:
        if old in kept or new.dims != old.dims or new.dtype is not old.dtype:
            return False
        i, read = written_by[new], last_read.get(old, -1)
        step = p.steps[i]
        in_time = i > last_failure or (i == last_failure and fails_first(step))
        return in_time and (read < i or (read == i and elementwise(step, old, new)))

    out: dict[Buffer, Buffer] = {}
    for name, new in p.updates.items():
        old = variables.get(name)
        if old is None or new in out or new.role != "temporary":
            continue
        if may_replace(old, new):
            out[new] = old
    return out


def sources(p: Program) -> list[SizeSource]:
    """The buffers that sizes are read of."""
    return [o for o in p.sizes.values() if isinstance(o, SizeSource)]


def can_fail(s: Step) -> bool:
    """True where a step may end the run."""
    match s:
        case Host() | Repeat() | Branch():
            return True
        case Library():
            return fails_first(s)
        case Launch():
            return bool(s.checks) or serial(s.kernel) is not None  # which signals may end


def fails_first(s: Step) -> bool:
    """True where a step, if it fails, does so before it has written anything."""
    return isinstance(s, Library) and s.kind in FALLIBLE and not s.attrs.get("checked", False)


FALLIBLE = frozenset({"scatter", "distinct"})  # kinds of library calls that check given indices


def _find_overwritten(p: Program) -> dict[Buffer, str]:
    read = {q.name for q in p.params if q.kind == "variable"}
    written_by = {b: i for i, s in reversed(list(enumerate(p.steps))) for b in s.writes}
    last_failure = max((i for i, s in enumerate(p.steps) if can_fail(s)), default=-1)
    out: dict[Buffer, str] = {}
    for name, new in p.updates.items():
        if name in read or name.startswith("counter:") or new.role != "temporary" or new in out:
            continue
        if written_by[new] > last_failure:
            out[new] = name
    return out


def elementwise(s: Step, old: Buffer, new: Buffer) -> bool:
    """True where a step reads `old` only at the element of `new` that it writes just then."""
    match s:
        case Library(kind, inputs, _, attrs):
            updates_first = kind == "scatter" or attrs["op"] == "GemmAdd"
            return updates_first and inputs.count(old) == 1 and inputs[0] is old
        case Launch(kernel, args, _):
            reading = {i for i, a in enumerate(args) if a is old}
            writing = {i for i, a in enumerate(args) if a is new}
            return _same_places(kernel, reading, writing)
        case _:
            return False


def _same_places(k: Kernel, reading: set[int], writing: set[int]) -> bool:
    """True where every load of the old value feeds the one store that replaces that element.

    Load and store stand in one loop body, in this order and at one index, and what is stored is
    computed from what was loaded: nothing, the compiler included, can then swap the two.
    """
    total = _loads(k.body, reading, deep=True)
    for body in _bodies(k.body):
        stores = [s for s in body if isinstance(s, Store) and s.param in writing]
        if not stores:
            continue
        store = stores[0]
        here = _loads(body, reading, deep=False)
        if len(stores) > 1 or here != total or {e.index[0] for e in here} - {store.index}:
            return False
        return _feeding(body, store, reading) == len(here)
    return False


def _bodies(body: tuple[Statement, ...]) -> list[tuple[Statement, ...]]:
    return [body, *(s.body for s in walk(body) if isinstance(s, Loop))]


def _loads(body: tuple[Statement, ...], reading: set[int], deep: bool) -> list[Load]:
    statements = walk(body) if deep else iter(body)
    return [
        x for s in statements for e in expressions(s) for x in subexpressions(e)
        if isinstance(x, Load) and x.operand in reading
    ]  # fmt: skip


def _feeding(body: tuple[Statement, ...], store: Store, reading: set[int]) -> int:
    """How many loads of the old value the stored value is computed from, in this body before it."""
    made = {s.name: s.value for s in body[: body.index(store)] if isinstance(s, Let)}
    seen: set[str] = set()
    count, stack = 0, [store.value]
    while stack:
        for x in subexpressions(stack.pop()):
            if isinstance(x, Load) and x.operand in reading:
                count += 1
            elif isinstance(x, Temp) and x.name in made and x.name not in seen:
                seen.add(x.name)
                stack.append(made[x.name])
    return count


@record(frozen=True, slots=True)
class Placement:
    """Offsets of temporaries in the arena, in bytes, and the arena's size."""

    offsets: Mapping[Buffer, int]
    size: int


def place(
    p: Program, bytes_of: Callable[[Buffer], int], skip: frozenset[Buffer],
    joined: Mapping[Buffer, tuple[Buffer, int]] | None = None,
    blocks: Mapping[int, Buffer] | None = None,
) -> Placement:  # fmt: skip
    """Give every temporary a place for its lifetime, first fit by falling size.

    Args:
      skip: temporaries that live elsewhere (donated).
      joined: temporaries that lie in one place: which, and how many bytes from its start.
      blocks: for the number of a step, what it needs while it runs.
    """
    joined, blocks = joined or {}, blocks or {}
    first: dict[Buffer, int] = {}
    last: dict[Buffer, int] = {}
    for i, s in enumerate(p.steps):
        for b in (*s.reads, *s.writes):
            if b.role == "temporary" and b not in skip:
                first.setdefault(b, i)
                last[b] = i
    end = len(p.steps)
    for b in (*p.results, *p.updates.values(), *(o.buffer for o in sources(p))):
        if b in last:
            last[b] = end
    for b, (whole, _) in joined.items():
        first[whole] = min(first.pop(b), first.get(whole, end))
        last[whole] = max(last.pop(b), last.get(whole, -1))
    for i, b in blocks.items():
        first[b] = last[b] = i
    found = fit([(b, first[b], last[b], bytes_of(b)) for b in first])
    if not joined:
        return found
    parts = {b: found.offsets[whole] + at for b, (whole, at) in joined.items()}
    return Placement({**found.offsets, **parts}, found.size)


def fit(requests: Sequence[tuple[Buffer, int, int, int]]) -> Placement:
    """Place (buffer, first step, last step, bytes): larger ones first, each as low as it can be."""
    order = sorted(requests, key=lambda r: (-r[3], r[1], r[0].number))
    return _fit_few(order) if len(order) <= FEW else _fit_many(order)


def _fit_few(order: Sequence[tuple[Buffer, int, int, int]]) -> Placement:
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last; sorted
    offsets: dict[Buffer, int] = {}
    for b, start, stop, size in order:
        size = max(ALIGNMENT, -(-size // ALIGNMENT) * ALIGNMENT)
        at = 0
        for low, high, first, last in placed:
            if first <= stop and last >= start:  # alive together
                if low - at >= size:
                    break
                at = max(at, high)
        offsets[b] = at
        insort(placed, (at, at + size, start, stop))
    return Placement(offsets, max((end for _, end, _, _ in placed), default=0))


def _fit_many(order: Sequence[tuple[Buffer, int, int, int]]) -> Placement:
    """The same with the inner loops in numpy."""
    placed = np.zeros((4, len(order)), np.int64)  # offset, end, first, last; sorted by offset
    offsets: dict[Buffer, int] = {}
    total = 0
    for k, (b, start, stop, size) in enumerate(order):
        size = max(ALIGNMENT, -(-size // ALIGNMENT) * ALIGNMENT)
        known = placed[:, :k]
        low, high = known[:2, (known[2] <= stop) & (known[3] >= start)]  # alive together
        reach = np.maximum.accumulate(high)  # where everything up to this one has ended
        before = np.concatenate(([0], reach))
        gaps = np.flatnonzero(low - before[:-1] >= size)
        at = int(before[gaps[0]] if gaps.size else before[-1])
        offsets[b] = at
        total = max(total, at + size)
        place_ = int(np.searchsorted(known[0], at, side="right"))
        placed[:, place_ + 1 : k + 1] = placed[:, place_:k].copy()
        placed[:, place_] = at, at + size, start, stop
    return Placement(offsets, total)
