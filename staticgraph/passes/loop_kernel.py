"""One kernel for a whole loop: the loop inside, the carries in registers.

Where the body of a ``Scan`` comes to one launch over a few elements, and each element of the new
carries depends on no other element of the old ones, calling that kernel once an iteration would
cost more than what it computes.  The kernel of the body becomes

    for p in the parallel axis:
        c = start[p]
        for t in 0 .. steps:
            history[t, p] = c
            the body's statements, with c for the carry and t-th slices
            c = new
        final[p] = c

A kernel looks at no signals.  So one whose length is not known to be small is told from where to
where its iterations go, as sizes, and a plan may cut them into parts; see `serial`.

Wide bodies stay as they are: their elements side by side fill the vector unit, which the
iterations of a loop, one after the other, do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from functools import lru_cache
from typing import Any

from staticgraph.ir import dims as D
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.kernel import (
    Kernel,
    Let,
    Loop,
    Param,
    Pointer,
    Set,
    SizeParam,
    Statement,
    Store,
    Temp,
    Var,
)
from staticgraph.ir.program import Buffer, Launch, Origin, Program, SizeSource
from staticgraph.ir.record import record
from staticgraph.ir.scalar import Expr, Lit, Load, Prim
from staticgraph.passes.indexing import rewrite

WIDEST = 4  # elements; from about a vector on, a launch an iteration is faster
LONGEST = 1 << 16  # iterations that need no cutting, whatever they do
I64 = dtypes.int64


def loop_kernel(
    body: Program, inputs: tuple[Buffer, ...], outputs: tuple[Buffer, ...],
    attrs: Mapping[str, Any], origins: tuple[Origin, ...],
    constant: Callable[[Buffer], Buffer],
) -> Launch | None:  # fmt: skip
    """The launch that a counted loop comes to, or None where it stays a loop.

    Args:
      constant: the buffer outside for a constant of the body.
    """
    if any(isinstance(o, SizeSource) for o in body.sizes.values()):  # another in each iteration
        return None
    if len(body.steps) != 1 or not isinstance(body.steps[0], Launch):
        return None
    launch = body.steps[0]
    extent = launch.extent
    if not isinstance(extent, int) or extent > WIDEST or launch.kernel.form != "flat":
        return None
    if launch.checks or any(isinstance(s, Loop) for s in launch.kernel.body):
        return None
    return _Writer(body, launch, extent, inputs, outputs, attrs, origins, constant).run()


class _Unfit(Exception):
    """The loop is not of the form that one kernel can take."""


@record()
class _Writer:
    body: Program
    launch: Launch
    extent: int
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    attrs: Mapping[str, Any]
    origins: tuple[Origin, ...]
    constant: Callable[[Buffer], Buffer]
    params: list[Param] = field(default_factory=list)
    args: list[Buffer | Dim] = field(default_factory=list)

    def run(self) -> Launch | None:
        try:
            return self._launch()
        except _Unfit:
            return None

    def _launch(self) -> Launch:
        n, m = self.attrs["carries"], self.attrs["sequences"]
        formal = [q.buffer for q in self.body.params]
        self.carries, self.slices = formal[:n], formal[n : n + m]
        self.outer = dict(zip(formal[n + m :], self.inputs[n + m :], strict=True))
        given = self.body.bound(self.attrs["sizes"])
        length = D.substitute(self.attrs["length"], {})
        if any(b.dims is None or D.product(b.dims) != self.extent for b in self.carries):
            raise _Unfit
        if any(b.dims is None or D.product(b.dims) not in (1, self.extent) for b in self.slices):
            raise _Unfit
        results = self.body.results
        if any(b.dims is None or D.product(b.dims) != self.extent for b in results):
            raise _Unfit
        self.state = {b: Temp(f"c{k}", b.dtype) for k, b in enumerate(self.carries)}
        self.place: Expr = Lit(0, I64) if self.extent == 1 else Temp("p", I64)
        self.at = Temp("t", I64)
        step: Expr = self.at
        if self.attrs["reverse"]:
            steps = self._size(length)
            step = Prim("sub", (Prim("sub", (steps, Lit(1, I64)), I64), self.at), I64)
        self.step: Expr = Temp("u", I64)
        self.slice_of = dict(zip(self.slices, self.inputs[n : n + m], strict=True))
        self.given = given
        first, last = self._ends(length)
        start = [
            Var(self.state[b].name, Load(self._start(outer), (self.place,), b.dtype))
            for b, outer in zip(self.carries, self.inputs[:n], strict=True)
        ]
        finals = self.outputs[:n]
        ys = self.outputs[n : n + len(results) - n]
        kept = self.outputs[n + len(ys) :]
        inner: list[Statement] = [Let("u", step)]
        for k, outer in zip(self.attrs["histories"], kept, strict=True):
            b = self.carries[k]
            inner.append(Store(self._pointer(outer, True), self._stacked(b), self.state[b]))
        values = self._statements(inner)
        for b, outer in zip(results[n:], ys, strict=True):
            inner.append(Store(self._pointer(outer, True), self._stacked(b), values(b)))
        new = []
        for k, (c, b) in enumerate(zip(self.carries, results[:n], strict=True)):
            value = values(b)
            if value != self.state[c]:
                inner.append(Let(f"n{k}", value))
                new.append(Set(self.state[c].name, Temp(f"n{k}", c.dtype)))
        loop = Loop("t", first, last, (*inner, *new))
        ends = [
            Store(self._pointer(outer, True), self.place, self.state[b])
            for b, outer in zip(self.carries, finals, strict=True)
        ]
        kernel = Kernel("flat", tuple(self.params), (*start, loop, *ends))
        cost = D.product((self.launch.cost, length)) if self.launch.cost else length
        return Launch(
            kernel, tuple(self.args), self.extent, (*self.origins, *self.launch.origins), (), cost
        )  # fmt: skip

    # ---- parameters
    def _ends(self, length: Dim) -> tuple[Expr, Expr]:
        """The first iteration and the one behind the last."""
        self.short = isinstance(length, int) and length <= LONGEST
        if self.short:
            return Lit(0, I64), self._size(length)
        ends = []
        for d in (0, length):
            self.args.append(d)
            self.params.append(SizeParam(sum(isinstance(q, SizeParam) for q in self.params)))
            ends.append(Temp(f"s{len(self.args) - 1}", I64))
        return ends[0], ends[1]

    def _start(self, b: Buffer) -> int:
        """The pointer to where a carry begins; a part of the loop may be given another place."""
        if self.short:
            return self._pointer(b, False)
        self.args.append(b)
        self.params.append(Pointer(b.dtype, False))
        return len(self.args) - 1

    def _pointer(self, b: Buffer, written: bool) -> int:
        for k, (a, q) in enumerate(zip(self.args, self.params, strict=True)):
            if a is b and isinstance(q, Pointer) and q.written == written:
                return k
        self.args.append(b)
        self.params.append(Pointer(b.dtype, written))
        return len(self.args) - 1

    def _size(self, d: Dim) -> Expr:
        if isinstance(d, int):
            return Lit(d, I64)
        for k, (a, q) in enumerate(zip(self.args, self.params, strict=True)):
            if isinstance(q, SizeParam) and a == d:
                return Temp(f"s{k}", I64)
        number = sum(isinstance(q, SizeParam) for q in self.params)
        self.args.append(d)
        self.params.append(SizeParam(number))
        return Temp(f"s{len(self.args) - 1}", I64)

    def _stacked(self, b: Buffer) -> Expr:
        """Where the value of this iteration stands in the stack."""
        del b
        if self.extent == 1:
            return self.step
        base = Prim("mul", (self.step, Lit(self.extent, I64)), I64)
        return Prim("add", (base, self.place), I64)

    # ---- the body
    def _statements(self, inner: list[Statement]) -> Callable[[Buffer], Expr]:
        """Write the body's statements; what comes back tells the value of a body's buffer."""
        stored: dict[Buffer, Expr] = {}
        args = self.launch.args
        for s in self.launch.kernel.body:
            match s:
                case Let(name, e):
                    inner.append(Let(name, self._expr(e)))
                case Store(param, index, e):
                    target = args[param]
                    if not isinstance(target, Buffer) or not self._own_place(index):
                        raise _Unfit
                    stored[target] = self._expr(e)
                case _:
                    raise _Unfit

        def value(b: Buffer) -> Expr:
            if b in stored:
                return stored[b]
            if b in self.state:
                return self.state[b]
            return self._load(b, (self.place,), b.dtype)

        return value

    def _own_place(self, index: Expr) -> bool:
        return index == self.place or (self.extent == 1 and index == Temp("p", I64))

    def _expr(self, e: Expr) -> Expr:
        args = self.launch.args
        params = self.launch.kernel.params

        def leaf(x: Expr) -> Expr | None:
            if isinstance(x, Load):
                b = args[x.operand]
                assert isinstance(b, Buffer)
                (index,) = x.index
                return self._load(b, (self._expr(index),), x.dtype)
            if isinstance(x, Temp) and x.name.startswith("s") and x.name[1:].isdigit():
                k = int(x.name[1:])
                if isinstance(params[k], SizeParam):
                    d = args[k]
                    assert not isinstance(d, Buffer)
                    return self._size(D.substitute(d, self.given))
            return None

        return rewrite(e, leaf, {})

    def _load(self, b: Buffer, index: tuple[Expr, ...], dtype: Any) -> Expr:
        if b in self.state:
            if not self._own_place(index[0]):
                raise _Unfit  # an element of the new carry depends on others of the old
            return self.state[b]
        if b in self.slice_of:
            size = D.product(b.dims or ())
            at: Expr = self.step
            if size != 1:
                at = Prim("mul", (self.step, self._size(size)), I64)
                at = Prim("add", (at, index[0]), I64)
            return Load(self._pointer(self.slice_of[b], False), (at,), dtype)
        if b.role == "constant":
            return Load(self._pointer(self.constant(b), False), index, dtype)
        if b in self.outer:
            return Load(self._pointer(self.outer[b], False), index, dtype)
        raise _Unfit  # what the launch itself wrote


@record(frozen=True, slots=True)
class Serial:
    """Parameters of a kernel with a loop inside whose iterations can be done in parts.

    Attributes:
      start, stop: the sizes that tell the first iteration and the one behind the last.
      carries: where each carry is read at the start, and where it is left in the end.
    """

    start: int
    stop: int
    carries: tuple[tuple[int, int], ...]


@lru_cache(maxsize=256)
def serial(kernel: Kernel) -> Serial | None:
    """What it takes to run the loop in a kernel in parts, None of other kernels."""
    at = next((k for k, s in enumerate(kernel.body) if isinstance(s, Loop)), None)
    if at is None:
        return None
    loop = kernel.body[at]
    assert isinstance(loop, Loop)
    start, stop = _size_number(kernel, loop.start), _size_number(kernel, loop.stop)
    if start is None or stop is None:
        return None
    read = {
        s.name: s.value.operand
        for s in kernel.body[:at]
        if isinstance(s, Var) and isinstance(s.value, Load)
    }
    left = {
        s.value.name: s.param
        for s in kernel.body[at + 1 :]
        if isinstance(s, Store) and isinstance(s.value, Temp)
    }
    return Serial(start, stop, tuple((read[name], left[name]) for name in read))


def _size_number(kernel: Kernel, e: Expr) -> int | None:
    """The number of the parameter that an expression is, if it is a size."""
    if isinstance(e, Temp) and e.name[:1] == "s" and e.name[1:].isdigit():
        k = int(e.name[1:])
        return k if isinstance(kernel.params[k], SizeParam) else None
    return None


__all__ = ["Serial", "loop_kernel", "serial"]
