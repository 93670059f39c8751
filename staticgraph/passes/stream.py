"""Streaming: which arrays a launch writes past the caches.

A store to memory fetches the line first that it changes, and puts out of the cache what somebody
may want.  Where a launch touches more than the caches hold, neither is of use: what it writes is
gone from them before it is read again.  The kernel is marked (`ir.kernel.Pointer.streamed`), and
`codegen.llvm_stream` does the rest.

Open sizes are taken for small: a kernel has one text for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from staticgraph.ir import dims as D
from staticgraph.ir.kept import kept_rows, read_params
from staticgraph.ir.kernel import (
    Loop,
    Pointer,
    Statement,
    Store,
    expressions,
    subexpressions,
)
from staticgraph.ir.program import Buffer, Launch, Program, Step
from staticgraph.ir.scalar import Lit, Load
from staticgraph.passes.memory import donations
from staticgraph.passes.sink import sink

CACHE = 3 << 23  # bytes that a launch must touch: most of a last-level cache of 32 MiB
ARRAY = 1 << 20  # bytes of an array for which it is worth the trouble
LIGHT = 64  # additions an element up to which memory can be what a flat launch waits for


def stream(p: Program) -> Program:
    """Mark what is written past the caches.

    Not what is read again while it may still be there, in the kernel or by a later step, and not
    what a variable's old value is read from, which the plan puts in the same place.
    """
    last_read = {b: i for i, s in enumerate(p.steps) for b in s.reads if b not in s.writes}
    steps: list[Step] = []
    for i, s in enumerate(p.steps):
        marked = set[int]()
        if isinstance(s, Launch) and _sizes(s) > CACHE and _touched(s) > CACHE:
            for k, b in _written(s):
                size = _bytes(b)
                later = last_read.get(b, -1) > i and size <= CACHE
                if size >= ARRAY and not later and b not in donations(p) and _waits(s, b):
                    marked.add(k)
        steps.append(_marked(s, marked) if isinstance(s, Launch) and marked else s)
    return replace(p, steps=tuple(steps)) if steps != list(p.steps) else p


def _bytes(b: Buffer) -> int:
    """The size of an array, 0 where it is open."""
    n = D.product(b.dims) if b.dims is not None else 0
    return n * b.dtype.size if isinstance(n, int) else 0


def _sizes(s: Launch) -> int:
    """Bytes of all arrays that a launch may touch, which is quicker to tell than what it does."""
    return sum(map(_bytes, {b for b in s.args if isinstance(b, Buffer)}))


def _touched(s: Launch) -> int:
    """Bytes that a launch reads or writes: of each array no more than loads and stores can."""
    trips = float(s.extent) if isinstance(s.extent, int) else float("inf")
    most: dict[Buffer, float] = {}
    for k, n in _accesses(s.kernel.body, trips):
        b = s.args[k]
        if isinstance(b, Buffer):
            most[b] = most.get(b, 0.0) + n * b.dtype.size
    return int(sum(min(n, _bytes(b)) for b, n in most.items()))


def _accesses(body: tuple[Statement, ...], trips: float) -> Iterator[tuple[int, float]]:
    """The loads and stores in statements that run so often: a parameter, and how often."""
    for s in body:
        if isinstance(s, Store):
            yield s.param, trips
        for e in expressions(s):
            yield from ((x.operand, trips) for x in subexpressions(e) if isinstance(x, Load))
        match s:
            case Loop(_, Lit(start), Lit(stop), inner):
                if stop > start:
                    yield from _accesses(inner, trips * (stop - start))
            case Loop(_, _, _, inner):
                yield from _accesses(inner, float("inf"))


def _written(s: Launch) -> list[tuple[int, Buffer]]:
    """The arrays that are written and not read before, each with the number of its parameter."""
    read = read_params(s.kernel) - kept_rows(s.kernel).keys()
    return [
        (k, b)
        for k, (q, b) in enumerate(zip(s.kernel.params, s.args, strict=True))
        if isinstance(q, Pointer) and q.written and k not in read and isinstance(b, Buffer)
        and sum(a is b for a in s.args) == 1
    ]  # fmt: skip


def _waits(s: Launch, b: Buffer) -> bool:
    """True where a launch waits for memory: flat with little arithmetic, or rows."""
    if any(isinstance(x, Loop) for x in s.kernel.body):
        return True  # a pass after another over a row: memory waits while they compute
    return isinstance(s.cost, int) and s.cost <= LIGHT * D.product(b.dims or ())  # type: ignore[operator]


def _marked(s: Launch, params: set[int]) -> Launch:
    kernel = replace(
        s.kernel,
        params=tuple(
            replace(q, streamed=True) if k in params and isinstance(q, Pointer) else q
            for k, q in enumerate(s.kernel.params)
        ),
    )
    return replace(s, kernel=sink(kernel, params))


__all__ = ["stream"]
