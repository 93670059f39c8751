"""`Kernel`: one loop nest with a fixed signature; its printed text is its identity.

Grammar (scalar expressions are those of `ir.scalar`, with `Temp` for local names and `Load`
of a pointer parameter at one flat index):

    Kernel    = params, body; `body` runs for each p in [lo, hi), the parallel axis
    Param     = Pointer(dtype, written, streamed)
              | SizeParam                           the size of parameter k is `Temp("s<k>")`
    Statement = Let(name, expr)                     a local value, assigned once
              | Loop(var, start, stop, body)        serial, in increasing order
              | Init(name, kind, dtype)             an accumulator at the neutral element
              | Accumulate(name, kind, expr)        one reduction step; may be reassociated
              | AccumulateArg(name, kind, expr, at) argmax / argmin: first position of the extreme
              | Var(name, expr)                     a local value that may change
              | Set(name, expr)                     its new value
              | Store(param, index, expr)

Order of evaluation: statements in order; iterations of the parallel axis in any order and on any
number of threads, so no iteration may read what another writes.  An accumulator of sum or prod
may be combined in any order within its loop; the loops themselves are split at fixed places, so
results do not depend on the number of threads.  Names `p`, `lo`, `hi`, `args` are reserved.

A kernel never fails by itself: `check_index` sets the status that the caller reads.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Literal

from staticgraph.ir.dims import Poly
from staticgraph.ir.dtypes import DType
from staticgraph.ir.record import record
from staticgraph.ir.scalar import Expr, Index, Lit, Load, Prim, ReduceKind, Size


@record(frozen=True, slots=True)
class Temp(Expr):
    """A local name."""

    name: str
    dtype: DType

    def __str__(self) -> str:
        return self.name


@record(frozen=True, slots=True)
class Pointer:
    """A parameter that is the address of an array's first element.

    `streamed` says of a written array that it is too large to be found in a cache by whoever reads
    it, so that writing past the caches is no loss.  What is written does not depend on it.
    """

    dtype: DType
    written: bool
    streamed: bool = False


@record(frozen=True, slots=True)
class SizeParam:
    """A parameter that is a size known when a plan is made; `symbolic` is its number."""

    number: int


Param = Pointer | SizeParam


@record(frozen=True, slots=True)
class Let:
    """``name = value``."""

    name: str
    value: Expr


@record(frozen=True, slots=True)
class Loop:
    """``for var in [start, stop)``."""

    var: str
    start: Expr
    stop: Expr
    body: tuple[Statement, ...]


@record(frozen=True, slots=True)
class Init:
    """An accumulator at its neutral element."""

    name: str
    kind: ReduceKind
    dtype: DType


@record(frozen=True, slots=True)
class Accumulate:
    """``name = name (kind) value``."""

    name: str
    kind: ReduceKind
    value: Expr


@record(frozen=True, slots=True)
class AccumulateArg:
    """Remember `at` where `value` beats the best so far (a NaN beats all)."""

    name: str
    kind: ReduceKind
    value: Expr
    at: Expr


@record(frozen=True, slots=True)
class Var:
    """``name = value``, where `Set` may change it."""

    name: str
    value: Expr


@record(frozen=True, slots=True)
class Set:
    """The new value of a `Var`."""

    name: str
    value: Expr


@record(frozen=True, slots=True)
class Store:
    """``params[param][index] = value``."""

    param: int
    index: Expr
    value: Expr


Statement = Let | Loop | Init | Accumulate | AccumulateArg | Var | Set | Store
Form = Literal["flat", "row", "column", "full", "tile"]


@record(frozen=True, slots=True)
class Kernel:
    """See the module's text.  `form` tells a GPU schedule how the parallel axis was chosen.

    flat: one element per iteration; row: one row (with loops over its elements); column: one
    block of columns; full: one chunk of a long reduction; tile: some tiles, by a loop over `t`.
    """

    form: Form
    params: tuple[Param, ...]
    body: tuple[Statement, ...]

    def __str__(self) -> str:
        return print_kernel(self)

    def checks(self) -> int:
        """How many index checks the kernel holds."""
        return sum(
            isinstance(e, Prim) and e.name == "check_index"
            for s in walk(self.body)
            for x in expressions(s)
            for e in subexpressions(x)
        )


def neutral(kind: ReduceKind, dtype: DType) -> int | float | bool:
    """The value that a reduction of nothing gives, and that accumulators start from."""
    match kind:
        case "sum":
            return 0
        case "prod":
            return 1
        case "all" | "any":
            return kind == "all"
        case "max" | "argmax":
            return float("-inf") if dtype.is_floating else dtype.min
        case "min" | "argmin":
            return float("inf") if dtype.is_floating else dtype.max


def walk(body: tuple[Statement, ...]) -> Iterator[Statement]:
    """Every statement, loops before their bodies."""
    stack = list(reversed(body))
    while stack:
        statement = stack.pop()
        yield statement
        if isinstance(statement, Loop):
            stack += reversed(statement.body)


def expressions(statement: Statement) -> tuple[Expr, ...]:
    """The expressions a statement evaluates."""
    match statement:
        case Let(_, value) | Accumulate(_, _, value) | Var(_, value) | Set(_, value):
            return (value,)
        case AccumulateArg(_, _, value, at):
            return (value, at)
        case Store(_, index, value):
            return (index, value)
        case Loop(_, start, stop, _):
            return (start, stop)
        case Init():
            return ()


def subexpressions(e: Expr) -> Iterator[Expr]:
    """An expression and all within it."""
    stack = [e]
    while stack:
        x = stack.pop()
        yield x
        if isinstance(x, Prim):
            stack += x.args
        elif isinstance(x, Load):
            stack += x.index


def distinct(e: Expr) -> list[Expr]:
    """An expression and all within it, each once: shared parts are not gone through again."""
    seen: set[Expr] = set()
    out: list[Expr] = []
    stack = [e]
    while stack:
        x = stack.pop()
        if x in seen:
            continue
        seen.add(x)
        out.append(x)
        if type(x) is Prim:
            stack += x.args
        elif type(x) is Load:
            stack += x.index
    return out


_MODES = {(False, False): "", (True, False): "mut ", (True, True): "stream mut "}


def print_kernel(k: Kernel) -> str:
    """The text form: deterministic, and equal for equal kernels."""
    lines = []
    shown = ", ".join(
        f"a{i}: {_MODES[p.written, p.streamed]}{p.dtype.short}*"
        if isinstance(p, Pointer)
        else f"s{i}: size {p.number}"
        for i, p in enumerate(k.params)
    )
    lines.append(f"kernel {k.form}({shown}) parallel p {{")
    _print_body(k.body, "  ", lines)
    lines.append("}")
    return "\n".join(lines)


def _print_body(body: tuple[Statement, ...], pad: str, lines: list[str]) -> None:
    for s in body:
        match s:
            case Let(name, value):
                lines.append(f"{pad}{name}: {value.dtype.short} = {show(value)}")
            case Loop(var, start, stop, inner):
                lines.append(f"{pad}for {var} in {show(start)} .. {show(stop)} {{")
                _print_body(inner, pad + "  ", lines)
                lines.append(pad + "}")
            case Init(name, kind, dtype):
                lines.append(f"{pad}var {name}: {dtype.short} = {kind}()")
            case Accumulate(name, kind, value):
                lines.append(f"{pad}{name} {kind}= {show(value)}")
            case AccumulateArg(name, kind, value, at):
                lines.append(f"{pad}{name} {kind}= {show(value)} at {show(at)}")
            case Var(name, value):
                lines.append(f"{pad}state {name}: {value.dtype.short} = {show(value)}")
            case Set(name, value):
                lines.append(f"{pad}set {name} = {show(value)}")
            case Store(param, index, value):
                lines.append(f"{pad}a{param}[{show(index)}] = {show(value)}")


def show(e: Expr) -> str:
    """An expression as text; loads name parameters."""
    match e:
        case Load(operand, index, _):
            return f"a{operand}[{', '.join(map(show, index))}]"
        case Prim(name, args, dtype):
            suffix = f".{dtype.short}" if name == "cast" else ""
            return f"{name}{suffix}({', '.join(map(show, args))})"
        case Lit(value, dtype):
            return f"{_number(value)}:{dtype.short}"
        case Size(dim):
            return f"<{dim}>"
        case Temp(name) | Index(name):
            return name
        case _:
            raise TypeError(type(e).__name__)


def _number(value: float | bool) -> str:
    """A literal; a NaN other than the usual one shows its bits."""
    if not math.isnan(value):
        return repr(value)
    bits = struct.unpack("<Q", struct.pack("<d", value))[0]
    return "nan" if bits == 0x7FF8000000000000 else f"nan({bits:#x})"


__all__ = [
    "Accumulate", "AccumulateArg", "Form", "Init", "Kernel", "Let", "Loop", "Param", "Pointer",
    "Poly", "Set", "SizeParam", "Statement", "Store", "Temp", "Var", "distinct", "expressions",
    "neutral", "print_kernel", "show", "subexpressions", "walk",
]  # fmt: skip
