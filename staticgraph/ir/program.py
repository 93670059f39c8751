"""`Program`: kernels, library calls and host calls over buffers; sizes may still be symbols.

    Program = buffers, steps, params, results, updates, sizes, guards
    Step    = Launch(kernel, args, extent)          one kernel over [0, extent)
            | Library(kind, inputs, outputs, attrs) a matmul, a random draw, a scatter
            | Host(node, inputs, outputs)           a numpy rule between native segments
            | Repeat(op, body, inputs, outputs, attrs)      a loop; its body is a program
            | Branch(op, branches, inputs, outputs, attrs)  one of several programs

A buffer is a row-major array of one value.  Every buffer is written by exactly one step (or is a
parameter or a constant) before any step reads it.  The text form, read back by `ir.parse_program`:

    program run {
      feed %x: f32[n0]
      const %c = dense<f32[]: 2.0>
      temp %y: f32[n0]
      sizes n0 = size(%x, 0)
      launch k0(%x, mut %y) over n0
      return %y
    }

    k0 = kernel flat(a0: f32*, a1: mut f32*) parallel p {
      x1: f32 = a0[p]
      v2: f32 = mul(x1, 2.0:f32)
      a1[p] = v2
    }

Origins and source lines are no part of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from itertools import zip_longest
from typing import Any, Literal

import numpy as np

from staticgraph.ir.dims import Dim, Symbol
from staticgraph.ir.dtypes import DType
from staticgraph.ir.function import Given, GuardSite, Node
from staticgraph.ir.kernel import Kernel, Param, Pointer
from staticgraph.ir.loc import Loc
from staticgraph.ir.record import record
from staticgraph.ir.text import Names, attribute_text, attributes_text, guard_text, type_text, word
from staticgraph.ir.types import ConstantArray, TensorType

Role = Literal["param", "constant", "temporary"]


@record(frozen=True, slots=True, eq=False)
class Buffer:
    """An array: element type, sizes, and for constants the data."""

    number: int
    dtype: DType
    dims: tuple[Dim, ...] | None
    role: Role
    name: str = ""
    data: np.ndarray | None = None

    def __str__(self) -> str:
        inner = "*" if self.dims is None else ", ".join(map(str, self.dims))
        return f"b{self.number}: {self.dtype.short}[{inner}]"


@record(frozen=True, slots=True)
class Origin:
    """An operation that a step computes: its op, name and the user's line."""

    op: str
    name: str
    loc: Loc


def by_line(origins: Iterable[Origin]) -> list[str]:
    """User's lines with the operations each of them made, in order: ``Exp, Add at net.py:12``."""
    at: dict[str, list[str]] = {}
    for o in origins:
        at.setdefault(o.loc.short() if o.loc.line else "no known line", []).append(o.op)
    return [f"{', '.join(dict.fromkeys(ops))} at {where}" for where, ops in at.items()]


@record(frozen=True, slots=True, eq=False)
class Launch:
    """Run `kernel` over [0, extent); `args` are buffers, or sizes for size parameters.

    `cost` estimates the arithmetic of the whole launch, in additions; it is no part of the text.
    """

    kernel: Kernel
    args: tuple[Buffer | Dim, ...]
    extent: Dim
    origins: tuple[Origin, ...] = ()
    checks: tuple[Origin, ...] = ()
    cost: Dim = 0

    @property
    def reads(self) -> tuple[Buffer, ...]:
        """Buffers that are read, or read and written."""
        return tuple(a for a in self.args if isinstance(a, Buffer))

    @property
    def writes(self) -> tuple[Buffer, ...]:
        """Buffers that are written."""
        params = self.kernel.params
        return tuple(
            a for a, p in zip(self.args, params, strict=True)
            if isinstance(a, Buffer) and getattr(p, "written", False)
        )  # fmt: skip


@record(frozen=True, slots=True, eq=False)
class Library:
    """A hand-written kernel or a product of matrices; `attrs` may hold symbolic sizes.

    With an attribute `shapes` the call reads its inputs under these sizes, not their buffers'.
    """

    kind: str
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    attrs: Mapping[str, Any]
    origins: tuple[Origin, ...] = ()

    def shape(self, i: int) -> tuple[Dim, ...]:
        """The sizes under which input `i` is read."""
        shapes: Sequence[tuple[Dim, ...]] | None = self.attrs.get("shapes")
        return shapes[i] if shapes is not None else self.inputs[i].dims or ()

    @property
    def reads(self) -> tuple[Buffer, ...]:
        """Buffers that are read."""
        return self.inputs

    @property
    def writes(self) -> tuple[Buffer, ...]:
        """Buffers that are written."""
        return self.outputs


@record(frozen=True, slots=True, eq=False)
class Host:
    """Run the op's numpy rule on arrays; ends a native segment."""

    node: Node
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The one operation."""
        return (Origin(self.node.op.name, self.node.name, self.node.loc),)

    @property
    def reads(self) -> tuple[Buffer, ...]:
        """Buffers that are read."""
        return self.inputs

    @property
    def writes(self) -> tuple[Buffer, ...]:
        """Buffers that are written."""
        return self.outputs


@record(frozen=True, slots=True, eq=False)
class Repeat:
    """A loop: operands, results and attributes are those of the op (see `ops.loops`).

    `attrs` are ``length``, ``sizes``, ``carries``, ``sequences``, ``reverse``, ``histories``;
    `conditional` tells ``While`` from ``Scan``.  With an attribute ``shapes`` the inputs are read
    under these sizes, not their buffers': the first so many elements, in their order.
    """

    body: Program
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    attrs: Mapping[str, Any]
    conditional: bool
    origins: tuple[Origin, ...] = ()

    def shape(self, i: int) -> tuple[Dim, ...] | None:
        """The sizes of an input as the loop reads it."""
        shapes: Sequence[tuple[Dim, ...] | None] | None = self.attrs.get("shapes")
        return shapes[i] if shapes is not None else self.inputs[i].dims

    @property
    def programs(self) -> tuple[Program, ...]:
        """The body."""
        return (self.body,)

    @property
    def reads(self) -> tuple[Buffer, ...]:
        """Buffers that are read."""
        return self.inputs

    @property
    def writes(self) -> tuple[Buffer, ...]:
        """Buffers that are written."""
        return self.outputs


@record(frozen=True, slots=True, eq=False)
class Branch:
    """Run the program whose number the first input holds, the last one for any other number.

    `attrs` are ``sizes``: those that every program is given.
    """

    programs: tuple[Program, ...]
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    attrs: Mapping[str, Any]
    origins: tuple[Origin, ...] = ()

    @property
    def reads(self) -> tuple[Buffer, ...]:
        """Buffers that are read."""
        return self.inputs

    @property
    def writes(self) -> tuple[Buffer, ...]:
        """Buffers that are written."""
        return self.outputs


Step = Launch | Library | Host | Repeat | Branch


@record(frozen=True, slots=True)
class ProgramParam:
    """A parameter's kind, name and buffer."""

    kind: Literal["feed", "variable", "counter"]
    name: str
    buffer: Buffer
    loc: Loc


@record(frozen=True, slots=True)
class SizeSource:
    """Where a symbol comes from: the size of an axis of a buffer, or an element of it."""

    buffer: Buffer
    index: int
    element: bool


@record(frozen=True, eq=False)
class Program:
    """See the module's text."""

    name: str
    buffers: tuple[Buffer, ...]
    steps: tuple[Step, ...]
    params: tuple[ProgramParam, ...]
    results: tuple[Buffer, ...]
    updates: Mapping[str, Buffer] = field(default_factory=dict)
    sizes: Mapping[Symbol, SizeSource | Given] = field(default_factory=dict)
    guards: tuple[GuardSite, ...] = ()

    def bound(self, sizes: Sequence[Dim]) -> dict[Symbol, Dim]:
        """The symbols that the enclosing step gives, with what it passes for them."""
        return {s: sizes[o.index] for s, o in self.sizes.items() if isinstance(o, Given)}

    def every_step(self) -> Iterator[Step]:
        """The steps, each followed by those of the programs in it."""
        for s in self.steps:
            yield s
            if isinstance(s, Repeat | Branch):
                for p in s.programs:
                    yield from p.every_step()

    def kernels(self) -> tuple[Kernel, ...]:
        """The distinct kernels, those of loops and branches too, in order of first launch."""
        return tuple(dict.fromkeys(s.kernel for s in self.every_step() if isinstance(s, Launch)))

    def __str__(self) -> str:
        return print_program(self)


def print_program(p: Program, locs: bool = False) -> str:
    """The text of a program: buffers, sizes, guards, one line per step; then its kernels.

    Args:
      locs: add to each step, as a comment, the operations it computes and the user's lines.
    """
    return str(ProgramText(p, locs))


class ProgramText:
    """The lines of a program's text, by part; the verifier shows some of them."""

    def __init__(
        self, p: Program, locs: bool = False, kernels: Mapping[Kernel, str] | None = None
    ) -> None:
        self.program, self.locs = p, locs
        names = Names()
        self.names = {b: "%" + names.unique(_hint(b), "b") for b in p.buffers}
        own = kernels is None
        numbered = {k: f"k{i}" for i, k in enumerate(p.kernels())} if own else kernels or {}
        self.kernels = dict(numbered)
        self.shown = self.kernels if own else {}
        params = {q.buffer: q for q in p.params}
        self.head = [f"program {word(p.name)} {{"]
        self.buffers = ["  " + self._buffer(b, params.get(b)) for b in p.buffers]
        self.sizes = [f"  sizes {s} = {self._source(o)}" for s, o in p.sizes.items()]
        self.guards = [f"  {guard_text(g)}" for g in p.guards]
        self.steps = [f"  {self.step(s)}" + (_origins(s) if locs else "") for s in p.steps]
        results = " " + ", ".join(map(self.use, p.results)) if p.results else ""
        state = ", ".join(f"{word(k)} <- {self.use(b)}" for k, b in p.updates.items())
        self.tail = [f"  return{results}" + (f"; state {state}" if state else ""), "}"]

    def __str__(self) -> str:
        lines = [*self.head, *self.buffers, *self.sizes, *self.guards, *self.steps, *self.tail]
        for k, name in self.shown.items():
            lines += ["", f"{name} = {k}"]
        return "\n".join(lines)

    def _source(self, o: SizeSource | Given) -> str:
        if isinstance(o, Given):
            return f"given({o.index})"
        return f"{'element' if o.element else 'size'}({self.use(o.buffer)}, {o.index})"

    def use(self, b: Buffer) -> str:
        """The name of a buffer; one that is not the program's shows as such."""
        return self.names.get(b) or f"%b{b.number}.undefined"

    def _buffer(self, b: Buffer, q: ProgramParam | None) -> str:
        name = self.use(b)
        if q is not None:
            label = "" if q.name == name[1:] else " " + json.dumps(q.name)
            return f"{q.kind} {name}: {_type(b)}{label}"
        if b.role == "constant" and b.data is not None:
            return f"const {name} = {attribute_text(ConstantArray(b.data))}"
        return f"temp {name}: {_type(b)}"

    def step(self, s: Step) -> str:
        """One step, on one line."""
        if isinstance(s, Launch):
            pairs = zip_longest(s.args, s.kernel.params)
            args = ", ".join(self._argument(a, q) for a, q in pairs if a is not None)
            return f"launch {self.kernels[s.kernel]}({args}) over {s.extent}"
        made = ", ".join(map(self.use, s.outputs))
        taken = " " + ", ".join(map(self.use, s.inputs)) if s.inputs else ""
        if isinstance(s, Repeat | Branch):
            what = self._control(s, taken)
        elif isinstance(s, Host):
            what = f"host {s.node.op.name}{taken}{attributes_text(s.node.op, s.node.attrs, '  ')}"
        else:
            extra = ", ".join(f"{k}={attribute_text(v)}" for k, v in s.attrs.items())
            what = f"library {s.kind}{taken}" + (f" {{{extra}}}" if extra else "")
        return f"{made} = {what}" if made else what

    def _control(self, s: Repeat | Branch, taken: str) -> str:
        if isinstance(s, Repeat):
            word_ = "while" if s.conditional else "scan"
        else:
            word_ = "branch"
        attrs = ", ".join(f"{k}={attribute_text(v)}" for k, v in s.attrs.items())
        inner = [str(ProgramText(p, self.locs, self.kernels)) for p in s.programs]
        shown = " ".join(t.replace("\n", "\n  ") for t in inner)
        return f"{word_}{taken} {{{attrs}}} {shown}"

    def _argument(self, a: Buffer | Dim, q: Param | None) -> str:
        if not isinstance(a, Buffer):
            return str(a)
        return ("mut " if isinstance(q, Pointer) and q.written else "") + self.use(a)


def _hint(b: Buffer) -> str:
    """Parameters keep their name; of the others the last part tells them apart well enough."""
    return b.name if b.role == "param" else b.name.rsplit("/", 1)[-1]


def _type(b: Buffer) -> str:
    return type_text(TensorType(b.dtype, b.dims))


def _origins(s: Step) -> str:
    lines: dict[str, list[str]] = {}
    for o in s.origins:
        lines.setdefault(o.loc.short() if o.loc.line else "", []).append(o.op)
    shown = "; ".join(f"{', '.join(ops)}{' at ' + at if at else ''}" for at, ops in lines.items())
    return f"  # {shown}" if shown else ""
