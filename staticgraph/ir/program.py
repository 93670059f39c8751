"""`Program`: kernels, library calls and host calls over buffers; sizes may still be symbols.

    Program = buffers, steps, params, results, updates, sizes, guards
    Step    = Launch(kernel, args, extent)          one kernel over [0, extent)
            | Library(kind, inputs, outputs, attrs) a matmul, a random draw, a scatter
            | Host(node, inputs, outputs)           a numpy rule between native segments

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
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Literal

import numpy as np

from staticgraph.ir.dims import Dim, Symbol
from staticgraph.ir.dtypes import DType
from staticgraph.ir.function import GuardSite, Node
from staticgraph.ir.kernel import Kernel, Param, Pointer
from staticgraph.ir.loc import Loc
from staticgraph.ir.text import Names, attribute_text, attributes_text, guard_text, type_text, word
from staticgraph.ir.types import ConstantArray, TensorType

Role = Literal["param", "constant", "temporary"]


@dataclass(frozen=True, slots=True, eq=False)
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


@dataclass(frozen=True, slots=True)
class Origin:
    """An operation that a step computes: its op, name and the user's line."""

    op: str
    name: str
    loc: Loc


@dataclass(frozen=True, slots=True, eq=False)
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


@dataclass(frozen=True, slots=True, eq=False)
class Library:
    """A hand-written kernel or a BLAS call; `attrs` may hold symbolic sizes."""

    kind: str
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


@dataclass(frozen=True, slots=True, eq=False)
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


Step = Launch | Library | Host


@dataclass(frozen=True, slots=True)
class ProgramParam:
    """A parameter's kind, name and buffer."""

    kind: Literal["feed", "variable", "counter"]
    name: str
    buffer: Buffer
    loc: Loc


@dataclass(frozen=True, slots=True)
class SizeSource:
    """Where a symbol comes from: the size of an axis of a buffer, or an element of it."""

    buffer: Buffer
    index: int
    element: bool


@dataclass(frozen=True, eq=False)
class Program:
    """See the module's text."""

    name: str
    buffers: tuple[Buffer, ...]
    steps: tuple[Step, ...]
    params: tuple[ProgramParam, ...]
    results: tuple[Buffer, ...]
    updates: Mapping[str, Buffer] = field(default_factory=dict)
    sizes: Mapping[Symbol, SizeSource] = field(default_factory=dict)
    guards: tuple[GuardSite, ...] = ()

    def kernels(self) -> tuple[Kernel, ...]:
        """The distinct kernels, in order of first launch."""
        return tuple(dict.fromkeys(s.kernel for s in self.steps if isinstance(s, Launch)))

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

    def __init__(self, p: Program, locs: bool = False) -> None:
        self.program = p
        names = Names()
        self.names = {b: "%" + names.unique(_hint(b), "b") for b in p.buffers}
        self.kernels = {k: f"k{i}" for i, k in enumerate(p.kernels())}
        params = {q.buffer: q for q in p.params}
        self.head = [f"program {word(p.name)} {{"]
        self.buffers = ["  " + self._buffer(b, params.get(b)) for b in p.buffers]
        self.sizes = [
            f"  sizes {s} = {'element' if o.element else 'size'}({self.use(o.buffer)}, {o.index})"
            for s, o in p.sizes.items()
        ]
        self.guards = [f"  {guard_text(g)}" for g in p.guards]
        self.steps = [f"  {self.step(s)}" + (_origins(s) if locs else "") for s in p.steps]
        results = " " + ", ".join(map(self.use, p.results)) if p.results else ""
        state = ", ".join(f"{word(k)} <- {self.use(b)}" for k, b in p.updates.items())
        self.tail = [f"  return{results}" + (f"; state {state}" if state else ""), "}"]

    def __str__(self) -> str:
        lines = [*self.head, *self.buffers, *self.sizes, *self.guards, *self.steps, *self.tail]
        for k, name in self.kernels.items():
            lines += ["", f"{name} = {k}"]
        return "\n".join(lines)

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
        if isinstance(s, Host):
            what = f"host {s.node.op.name}{taken}{attributes_text(s.node.op, s.node.attrs, '  ')}"
        else:
            extra = ", ".join(f"{k}={attribute_text(v)}" for k, v in s.attrs.items())
            what = f"library {s.kind}{taken}" + (f" {{{extra}}}" if extra else "")
        return f"{made} = {what}" if made else what

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
