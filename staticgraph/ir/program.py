"""`Program`: kernels, library calls and host calls over buffers; sizes may still be symbols.

    Program = buffers, steps, params, results, updates, sizes, guards
    Step    = Launch(kernel, args, extent)          one kernel over [0, extent)
            | Library(kind, inputs, outputs, attrs) a matmul, a random draw, a scatter
            | Host(node, inputs, outputs)           a numpy rule between native segments

A buffer is a row-major array of one value.  Every buffer is written by exactly one step (or is a
parameter or a constant) before any step reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from staticgraph.ir.dims import Dim, Symbol
from staticgraph.ir.dtypes import DType
from staticgraph.ir.function import GuardSite, Node
from staticgraph.ir.kernel import Kernel
from staticgraph.ir.loc import Loc

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
    """Run `kernel` over [0, extent); `args` are buffers, or sizes for size parameters."""

    kernel: Kernel
    args: tuple[Buffer | Dim, ...]
    extent: Dim
    origins: tuple[Origin, ...] = ()
    checks: tuple[Origin, ...] = ()

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


def print_program(p: Program) -> str:
    """The text form: parameters, one line per step, results; kernels follow once each."""
    names = {k: f"k{i}" for i, k in enumerate(p.kernels())}
    lines = [f"program {p.name} {{"]
    lines += [f"  param {q.kind} {q.buffer} {q.name!r}" for q in p.params]
    lines += [
        f"  size {s} = {'element' if o.element else 'size'}(b{o.buffer.number}, {o.index})"
        for s, o in p.sizes.items()
    ]
    lines += [f"  guard {g.guard}" for g in p.guards]
    lines += [f"  const {b}" for b in p.buffers if b.role == "constant"]
    lines += [f"  temp {b}" for b in p.buffers if b.role == "temporary"]
    for s in p.steps:
        match s:
            case Launch(kernel, args, extent):
                shown = ", ".join(f"b{a.number}" if isinstance(a, Buffer) else str(a) for a in args)
                lines.append(f"  launch {names[kernel]}({shown}) over {extent}")
            case Library(kind, inputs, outputs, attrs):
                lines.append(_call(f"library {kind}", inputs, outputs, attrs))
            case Host(node, inputs, outputs):
                lines.append(_call(f"host {node.op.name}", inputs, outputs, {}))
    lines.append("  return " + ", ".join(f"b{b.number}" for b in p.results))
    lines += [f"  state {name!r} <- b{b.number}" for name, b in p.updates.items()]
    lines.append("}")
    for k, name in names.items():
        lines += ["", f"{name} = {k}"]
    return "\n".join(lines)


def _call(
    what: str, inputs: tuple[Buffer, ...], outputs: tuple[Buffer, ...], attrs: Mapping[str, Any]
) -> str:
    shown = ", ".join(f"b{b.number}" for b in inputs)
    made = ", ".join(f"b{b.number}" for b in outputs)
    extra = ", ".join(f"{k}={v}" for k, v in sorted(attrs.items()))
    return f"  {made} = {what}({shown})" + (f" {{{extra}}}" if extra else "")
