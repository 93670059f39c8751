"""The verifier of programs: buffers, what steps read and write, sizes, kernels' signatures."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim, Symbol, symbols_of
from staticgraph.ir.function import Given
from staticgraph.ir.kernel import Pointer, SizeParam
from staticgraph.ir.program import (
    Branch,
    Buffer,
    Host,
    Launch,
    Library,
    Program,
    ProgramText,
    Repeat,
    Step,
)
from staticgraph.ir.verify_control import control_fault
from staticgraph.ir.verify_kernel import fault, verify_kernel

_START, _NEVER = -1, 1 << 62


def verify_program(p: Program) -> None:
    """Check a program and its kernels.

    Buffers are numbered by their places and parameters come in order; a buffer is a parameter, a
    constant with its data, or written by exactly one step; nothing is read before it is written;
    kernels get pointers of their element types and write temporaries only; every symbol comes
    from something that exists before it is needed.

    Raises:
      VerificationError: with the lines around the fault.
    """
    _ProgramCheck(p).run()


class _ProgramCheck:
    def __init__(self, p: Program) -> None:
        self.p = p
        self.written: dict[Buffer, int] = {}  # the step that fills a buffer; -1 before the first
        self.known: dict[Symbol, int] = {}  # the step after which a symbol's value can be had

    def run(self) -> None:
        self._buffers()
        for i, s in enumerate(self.p.steps):
            if isinstance(s, Launch) and len(s.args) != len(s.kernel.params):
                takes = f"the kernel takes {len(s.kernel.params)} arguments"
                self._fail(f"{takes}, {len(s.args)} are given", i)
            for b in s.writes:
                self._own(b, i)
                if b.role != "temporary":
                    self._fail(f"{self._name(b)} is a {b.role} and is written", i)
                if b in self.written:
                    self._fail(f"{self._name(b)} is written by two steps", i)
                self.written[b] = i
        self._sizes()
        for b in self.p.buffers:  # a parameter's sizes may be those of a host op's result
            self._symbols(b.dims or (), len(self.p.steps), f"the buffer {self._name(b)}")
        for i, s in enumerate(self.p.steps):
            self._step(s, i)
        for k in self.p.kernels():
            verify_kernel(k)
        self._ends()

    @cached_property
    def _text(self) -> ProgramText:
        return ProgramText(self.p)

    def _name(self, b: Buffer) -> str:
        return self._text.use(b)

    # ---- buffers and sizes
    def _buffers(self) -> None:
        for i, b in enumerate(self.p.buffers):
            if b.number != i:
                self._fail(f"buffer {b.number} stands at place {i}", None)
            if b.role == "constant":
                self._constant(b)
            if b.role != "temporary":
                self.written[b] = _START
        params = [q.buffer for q in self.p.params]
        if params != [b for b in self.p.buffers if b.role == "param"]:
            self._fail("the parameters' buffers are not in the order of the parameters", None)
        seen: set[tuple[str, str]] = set()
        for q in self.p.params:
            if (q.kind, q.name) in seen:
                self._fail(f"two parameters are the {q.kind} {q.name!r}", None)
            seen.add((q.kind, q.name))

    def _constant(self, b: Buffer) -> None:
        data = b.data
        if data is None or b.dims != np.shape(data) or dtypes.as_dtype(data.dtype) != b.dtype:
            have = "nothing" if data is None else f"{data.dtype}{list(data.shape)}"
            self._fail(f"the constant {self._name(b)} is {b}, its data are {have}", None)

    def _own(self, b: Buffer, at: int) -> None:
        if not (0 <= b.number < len(self.p.buffers) and self.p.buffers[b.number] is b):
            self._fail(f"{b} is no buffer of the program", at)

    def _sizes(self) -> None:
        for s, o in self.p.sizes.items():
            if isinstance(o, Given):
                self.known[s] = _START
                continue
            b, rank = o.buffer, None if o.buffer.dims is None else len(o.buffer.dims)
            self._own(b, _START)
            if not o.element and rank is not None and not 0 <= o.index < rank:
                self._fail(f"the size {s} is axis {o.index} of {b}", None)
            if o.element and not (b.dtype.is_integer and o.index >= 0):
                self._fail(f"the size {s} is element {o.index} of {b}", None)
            if o.element and b not in self.written:
                self._fail(f"the size {s} is read of {self._name(b)}, which nothing writes", None)
            self.known[s] = self.written.get(b, _NEVER)
        for g in self.p.guards:
            for s in symbols_of(g.guard.a) | symbols_of(g.guard.b):
                if s not in self.known:
                    self._fail(f"the guard {g.guard}: nothing says what the size {s} is", None)

    def _symbols(self, sizes: Iterable[Any], at: int, what: str, own: bool = False) -> None:
        """Symbols must be known before step `at`, or by it (`own`: what a host step writes)."""
        stack = list(sizes)
        while stack:
            d = stack.pop()
            if isinstance(d, (tuple, list)):
                stack += d
            elif isinstance(d, Dim) and not isinstance(d, int):
                for s in symbols_of(d):
                    where = self.known.get(s)
                    if where is None:
                        self._fail(f"{what}: nothing says what the size {s} is", at)
                    if at < len(self.p.steps) and (where > at or (where == at and not own)):
                        self._fail(f"{what}: the size {s} is needed before it is known", at)

    # ---- steps
    def _step(self, s: Step, at: int) -> None:  # noqa: C901 - one case per kind of step
        for b in s.reads:
            self._own(b, at)
            if b in s.writes and isinstance(s, Launch):
                continue  # a kernel may read what it has written itself
            where = self.written.get(b)
            if where is None:
                self._fail(f"{self._name(b)} is read but nothing writes it", at)
            if where >= at:
                self._fail(f"{self._name(b)} is read before it is written", at)
        for b in (*s.reads, *s.writes):
            own = isinstance(s, Host | Repeat | Branch) and b in s.writes
            self._symbols(b.dims or (), at, f"the buffer {self._name(b)}", own)
        match s:
            case Launch():
                self._launch(s, at)
            case Library(_, _, _, attrs):
                self._symbols(attrs.values(), at, s.kind)
                if any(b.dims is None for b in (*s.inputs, *s.outputs)):
                    self._fail(f"{s.kind}: a buffer of unknown rank", at)
            case Host():
                self._host(s, at)
            case Repeat() | Branch():
                self._symbols(s.attrs.values(), at, "a loop or branch")
                wrong = control_fault(s)
                if wrong:
                    self._fail(wrong, at)
                for p in s.programs:
                    verify_program(p)

    def _launch(self, s: Launch, at: int) -> None:
        params = s.kernel.params
        sizes = [q.number for q in params if isinstance(q, SizeParam)]
        if len(set(sizes)) != len(sizes):
            self._fail("two size parameters have one number", at)
        for i, (a, q) in enumerate(zip(s.args, params, strict=True)):
            if isinstance(q, Pointer) != isinstance(a, Buffer):
                want = "a buffer" if isinstance(q, Pointer) else "a size"
                self._fail(f"argument {i} must be {want}", at)
            if isinstance(q, Pointer) and isinstance(a, Buffer):
                if a.dtype is not q.dtype:
                    what = f"{a.dtype.name}, the kernel takes {q.dtype.name}"
                    self._fail(f"argument {i} is {what}", at)
                if q.written and s.args.count(a) > 1:
                    self._fail(f"{self._name(a)} is written and given twice", at)
        self._symbols([a for a in s.args if not isinstance(a, Buffer)], at, "an argument")
        self._symbols([s.extent], at, "the extent")
        if not s.checks and s.kernel.checks():
            self._fail("the kernel checks an index but no operation is named for it", at)

    def _host(self, s: Host, at: int) -> None:
        node = s.node
        self._symbols(node.attrs.values(), at, node.op.name)
        for buffers, values, what in (
            (s.inputs, node.inputs, "inputs"), (s.outputs, node.outputs, "results"),
        ):  # fmt: skip
            if len(buffers) != len(values):
                self._fail(f"{node.op.name} has {len(values)} {what}, the step {len(buffers)}", at)
            for b, v in zip(buffers, values, strict=True):
                if b.dtype is not v.dtype or b.dims != v.type.shape:
                    self._fail(f"{node.op.name}: {self._name(b)} is {b}, the node has {v.type}", at)

    # ---- ends
    def _ends(self) -> None:
        end = len(self.p.steps)
        for what, b in [("a result", b) for b in self.p.results] + [
            (f"the update of {k!r}", b) for k, b in self.p.updates.items()
        ]:
            self._own(b, end)
            if b not in self.written:
                self._fail(f"{what} is {self._name(b)}, which nothing writes", end)
        params = {q.name: q.buffer for q in self.p.params if q.kind == "variable"}
        params |= {f"counter:{q.name}": q.buffer for q in self.p.params if q.kind == "counter"}
        for name, b in self.p.updates.items():
            old = params.get(name)
            if old is not None and old.dtype is not b.dtype:
                self._fail(f"{name!r} is {old.dtype.name} and is given a {b.dtype.name}", end)

    def _fail(self, message: str, at: int | None) -> NoReturn:
        """Raise with the text around step `at`; None is the head of the program."""
        text = ProgramText(self.p)
        before = [*text.head, *text.buffers, *text.sizes, *text.guards]
        lines = [*before, *text.steps, *text.tail]
        loc = None
        if at is not None and 0 <= at < len(self.p.steps) and self.p.steps[at].origins:
            loc = self.p.steps[at].origins[0].loc
        line = 0 if at is None or at < 0 else len(before) + at
        raise fault(f"{self.p.name}: {message}", lines, line, loc if loc and loc.line else None)


__all__ = ["verify_program"]
