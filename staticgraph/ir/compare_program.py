"""Structural equality of programs: names of buffers, origins and source lines do not count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

from staticgraph.ir.compare import same_attribute
from staticgraph.ir.function import Given
from staticgraph.ir.program import Branch, Buffer, Host, Launch, Library, Program, Repeat, Step
from staticgraph.ir.types import ConstantArray


def program_difference(p: Program, q: Program) -> str | None:
    """The first difference of two programs in one line, or None."""
    for b, c in zip_longest(p.buffers, q.buffers):
        if b is None or c is None or not _same_buffer(b, c):
            return f"buffers {b} and {c}"
    if _params(p) != _params(q):
        return "parameters differ"
    for i, (s, t) in enumerate(zip_longest(p.steps, q.steps)):
        if s is None or t is None or _step(s) != _step(t) or not _same_attributes(s, t):
            return f"step {i} differs"
    if _numbers(p.results) != _numbers(q.results):
        return "results differ"
    if {k: b.number for k, b in p.updates.items()} != {k: b.number for k, b in q.updates.items()}:
        return "updates differ"
    if _sizes(p) != _sizes(q):
        return "sizes differ"
    if [(g.guard, g.op) for g in p.guards] != [(g.guard, g.op) for g in q.guards]:
        return "guards differ"
    return None


def _same_buffer(b: Buffer, c: Buffer) -> bool:
    if (b.number, b.dtype, b.dims, b.role) != (c.number, c.dtype, c.dims, c.role):
        return False
    if b.data is None or c.data is None:
        return b.data is c.data
    return ConstantArray(b.data) == ConstantArray(c.data)


def _params(p: Program) -> list[tuple[str, str, int]]:
    return [(q.kind, q.name, q.buffer.number) for q in p.params]


def _numbers(buffers: Sequence[Buffer]) -> list[int]:
    return [b.number for b in buffers]


def _sizes(p: Program) -> dict[Any, Any]:
    return {
        s: o if isinstance(o, Given) else (o.buffer.number, o.index, o.element)
        for s, o in p.sizes.items()
    }


def _step(s: Step) -> tuple[Any, ...]:
    match s:
        case Launch(kernel, args, extent):
            shown = [("buffer", a.number) if isinstance(a, Buffer) else a for a in args]
            return ("launch", kernel, shown, extent)
        case Library(kind, inputs, outputs, _):
            return ("library", kind, _numbers(inputs), _numbers(outputs))
        case Host(node, inputs, outputs):
            return ("host", node.op, _numbers(inputs), _numbers(outputs))
        case Repeat(_, inputs, outputs, _, conditional):
            return ("repeat", conditional, _numbers(inputs), _numbers(outputs))
        case Branch(programs, inputs, outputs, _):
            return ("branch", len(programs), _numbers(inputs), _numbers(outputs))


def _same_attributes(s: Step, t: Step) -> bool:
    if isinstance(s, Launch) or isinstance(t, Launch):
        return True
    pairs: Iterable[tuple[Program, Program]] = ()
    if isinstance(s, Repeat | Branch) and isinstance(t, Repeat | Branch):
        pairs = zip(s.programs, t.programs, strict=True)
    if any(program_difference(p, q) for p, q in pairs):
        return False
    a = s.node.attrs if isinstance(s, Host) else s.attrs
    b = t.node.attrs if isinstance(t, Host) else t.attrs
    return set(a) == set(b) and all(same_attribute(v, b[k]) for k, v in a.items())


__all__ = ["program_difference"]
