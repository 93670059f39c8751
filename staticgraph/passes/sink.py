"""Streamed stores leave loops that have sums.

What goes past the caches is best written while a loop reads and computes: memory takes a line while
the next one is made.  A loop with a sum cannot be done some lines at a time, since its last bit
would tell (`codegen.llvm_stream`); its row is written in one go, and everything waits.  Layer
normalisation stores its result in the pass that adds up what its gradient needs, and comes by the
same elements once more to store that.  There, the result costs a few additions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import count

from staticgraph.ir.kernel import (
    Accumulate,
    AccumulateArg,
    Init,
    Kernel,
    Let,
    Loop,
    Set,
    Statement,
    Store,
    Temp,
    Var,
    expressions,
    subexpressions,
    walk,
)
from staticgraph.ir.scalar import PRIMITIVES, Expr, Load, Prim
from staticgraph.passes.indexing import rewrite

LIGHT = 12  # additions an element that may be done again; an exponential is more

_Sums = Init | Var | Set | Accumulate | AccumulateArg


def sink(kernel: Kernel, streamed: Collection[int]) -> Kernel:
    """Let a later loop over the same elements store what a loop with a sum computes for memory.

    Args:
      kernel: any kernel.
      streamed: its parameters that are written past the caches.

    Returns:
      the kernel itself, if there is no such loop, or the value depends on more than what the
      kernel leaves as it is, or costs more than `LIGHT`.
    """
    names = {
        s.var if isinstance(s, Loop) else s.name
        for s in walk(kernel.body)
        if isinstance(s, Loop | Let | Init | Var)
    }
    fresh = (name for name in map("w{}".format, count(1)) if name not in names)
    stored = {s.param for s in walk(kernel.body) if isinstance(s, Store)}
    changing = {
        s.name for s in walk(kernel.body) if isinstance(s, Set | Accumulate | AccumulateArg)
    }

    def of(body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        out: list[Statement] = []
        for s in body:
            nest = isinstance(s, Loop) and any(isinstance(x, Loop) for x in s.body)
            out.append(replace(s, body=of(s.body)) if isinstance(s, Loop) and nest else s)
        for i, loop in enumerate(out):
            if not isinstance(loop, Loop) or not any(isinstance(s, _Sums) for s in loop.body):
                continue
            for s in loop.body:
                if not isinstance(s, Store) or s.param not in streamed:
                    continue
                j = _later(out, i, s.param)
                made = None if j is None else _slice(loop, s, stored, changing)
                if j is not None and made is not None:
                    target, source = out[j], out[i]
                    assert isinstance(target, Loop) and isinstance(source, Loop)
                    out[j] = _with(target, loop.var, made, s, fresh)
                    out[i] = _without(source, s)
        return tuple(s for s in out if not isinstance(s, Loop) or s.body)

    body = of(kernel.body)
    return kernel if body == kernel.body else replace(kernel, body=body)


def _later(body: Sequence[Statement], i: int, param: int) -> int | None:
    """A loop without a sum behind loop `i`, over the same elements, where a store may go."""
    loop = body[i]
    assert isinstance(loop, Loop)
    for j in range(i + 1, len(body)):
        s = body[j]
        if not isinstance(s, Loop):
            continue
        if any(_touches(x, param) for x in walk((s,))):
            return None  # it comes back to the row
        leaf = not any(isinstance(x, _Sums | Loop) for x in s.body)
        if leaf and (s.start, s.stop) == (loop.start, loop.stop):
            return j
    return None


def _touches(s: Statement, param: int) -> bool:
    if isinstance(s, Store) and s.param == param:
        return True
    parts = (x for e in expressions(s) for x in subexpressions(e))
    return any(isinstance(x, Load) and x.operand == param for x in parts)


def _slice(
    loop: Loop, store: Store, stored: Collection[int], changing: Collection[str]
) -> list[Let] | None:
    """What a loop computes for a store, in order; None where that cannot be done elsewhere."""
    needed = {x.name for e in expressions(store) for x in subexpressions(e) if isinstance(x, Temp)}
    lets: list[Let] = []
    for s in reversed(loop.body[: loop.body.index(store)]):
        if isinstance(s, Let) and s.name in needed:
            lets.insert(0, s)
            needed |= {x.name for x in subexpressions(s.value) if isinstance(x, Temp)}
    values = [s.value for s in lets] + [store.value]
    parts = [x for e in (*values, store.index) for x in subexpressions(e)]
    # an index is no work: the loop computes such ones anyway
    cost = sum(PRIMITIVES[x.name].cost for e in values for x in _work(e))
    if cost > LIGHT or needed & set(changing):
        return None
    if any(isinstance(x, Load) and x.operand in stored for x in parts):
        return None
    if any(isinstance(x, Prim) and x.name == "check_index" for x in parts):
        return None
    return lets


def _work(e: Expr) -> list[Prim]:
    if isinstance(e, Prim):
        return [e, *(y for x in e.args for y in _work(x))]
    return []


def _with(loop: Loop, var: str, lets: list[Let], store: Store, fresh: Iterator[str]) -> Loop:
    """A loop with a store more, and with what that needs and the loop has not got."""
    env: dict[str, Expr] = {var: Temp(loop.var, store.index.dtype)}
    have: dict[Expr, str] = {s.value: s.name for s in loop.body if isinstance(s, Let)}
    more: list[Statement] = []

    def here(e: Expr) -> Expr:
        return rewrite(e, lambda x: env.get(x.name) if isinstance(x, Temp) else None)

    for s in lets:
        value = here(s.value)
        name = have.get(value)
        if name is None:
            name = next(fresh)
            more.append(Let(name, value))
        env[s.name] = Temp(name, value.dtype)
    more.append(Store(store.param, here(store.index), here(store.value)))
    return replace(loop, body=(*loop.body, *more))


def _without(loop: Loop, store: Store) -> Loop:
    """A loop without a store, and without what was there for it alone."""
    used: set[str] = set()
    kept: list[Statement] = []
    for s in reversed(loop.body):
        if s is store or (isinstance(s, Let) and s.name not in used and not _checks(s)):
            continue
        used |= {x.name for e in expressions(s) for x in subexpressions(e) if isinstance(x, Temp)}
        kept.insert(0, s)
    return replace(loop, body=tuple(kept))


def _checks(s: Let) -> bool:
    return any(isinstance(x, Prim) and x.name == "check_index" for x in subexpressions(s.value))


__all__ = ["LIGHT", "sink"]
