"""What a step moves and computes: bytes of memory and operations on floats, for given sizes.

Bytes are what cannot be avoided: every buffer that is read counts once, and once more where it is
written, however often a kernel comes back to it; of a buffer from which only a few elements are
gathered, those count.  An operation on floats is an addition, a product, a square root, a tangent:
each counts as one, comparisons and conversions as none.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable

from staticgraph.ir import dims as D
from staticgraph.ir.kernel import (
    Accumulate,
    Kernel,
    Let,
    Loop,
    SizeParam,
    Statement,
    Store,
    Temp,
    expressions,
    subexpressions,
)
from staticgraph.ir.program import Buffer, Launch, Library, Repeat, Step
from staticgraph.ir.record import record
from staticgraph.ir.scalar import Expr, Lit, Load, Prim
from staticgraph.runtime.row import Sizes, nbytes


@record(frozen=True, slots=True)
class Cost:
    """Bytes read and written, and operations on floats."""

    read: int = 0
    written: int = 0
    flops: int = 0

    @property
    def bytes(self) -> int:
        """Bytes in all."""
        return self.read + self.written

    def __str__(self) -> str:
        flops = f", {self.flops:,} flops" if self.flops else ""
        return f"reads {self.read:,} bytes, writes {self.written:,}{flops}"


def step_cost(step: Step, env: Sizes) -> Cost:
    """The cost of a step whose sizes are known.

    Of a host step, and of one that is made of others, it tells what goes in and what comes out; of
    a loop whose length is known also the operations of all iterations.
    """
    match step:
        case Launch():
            return _launch(step, env)
        case Library():
            return _library(step, env)
        case Repeat():
            flops = _iterations(step, env)
            return Cost(_total(step.reads, env), _total(step.writes, env), flops)
        case _:
            return Cost(_total(step.reads, env), _total(step.writes, env))


def _iterations(step: Repeat, env: Sizes) -> int:
    """Operations of all iterations; 0 where data tell how many there are, or what sizes."""
    if step.conditional:
        return 0
    given = step.body.bound(step.attrs["sizes"])
    length = step.attrs["length"]
    if given.keys() != step.body.sizes.keys() or not _known((*given.values(), length), env):
        return 0
    inside = {s: D.evaluate(d, env) for s, d in given.items()}
    once = sum(step_cost(s, inside).flops for s in step.body.steps)
    return int(D.evaluate(length, env)) * once


def _known(sizes: Iterable[D.Dim], env: Sizes) -> bool:
    return all(D.symbols_of(d) <= env.keys() for d in sizes)


def _total(buffers: Iterable[Buffer], env: Sizes) -> int:
    """Bytes of distinct buffers; one whose sizes are not known counts nothing."""
    return sum(
        nbytes(b, env) for b in dict.fromkeys(buffers) if b.dims is not None and _known(b.dims, env)
    )


def _library(step: Library, env: Sizes) -> Cost:
    real = [b for b in step.outputs if "scratch" not in step.attrs or b is step.outputs[0]]
    read, written = _total(step.inputs, env), _total(real, env)
    out = step.outputs[0]
    elements = math.prod(D.evaluate(d, env) for d in out.dims or ())
    match step.kind:
        case "matmul":
            transposed = step.attrs.get("transpose_a", step.attrs.get("adj_x"))
            inner = step.shape(len(step.inputs) - 2)[-2 if transposed else -1]
            return Cost(read, written, 2 * elements * D.evaluate(inner, env))
        case "conv":
            return Cost(read, written, _convolution(step, env))
        case "philox":
            return Cost(0, _total((out,), env))
        case "scatter":  # in place; what is combined is read and written once
            moved = _total(step.inputs[2:], env)
            sums = step.attrs["kind"] != "update" and out.dtype.is_floating
            old = moved if step.attrs["kind"] != "update" else 0
            flops = moved // out.dtype.size * sums
            return Cost(_total(step.inputs[1:], env) + old, moved, flops)
        case _:
            return Cost(read, written, elements * out.dtype.is_floating)


def _convolution(step: Library, env: Sizes) -> int:
    """Two operations for each element of a filter, in each place of it."""
    first, second = step.inputs
    out = step.outputs[0]
    match step.attrs["op"]:
        case "ConvForward":
            places, filters = out, second
        case "ConvByFilter":
            places, filters = second, out
        case _:
            places, filters = second, first
    windows = math.prod(D.evaluate(d, env) for d in (places.dims or ())[:-1])
    return 2 * windows * math.prod(D.evaluate(d, env) for d in filters.dims or ())


# ---------------------------------------------------------------- kernels
def _launch(step: Launch, env: Sizes) -> Cost:
    extent = D.evaluate(step.extent, env)
    sizes = {
        f"s{i}": D.evaluate(a, env)
        for i, (a, q) in enumerate(zip(step.args, step.kernel.params, strict=True))
        if isinstance(q, SizeParam) and not isinstance(a, Buffer)
    }
    counts = _Counts(len(step.args))
    if extent > 0:
        _count(step.kernel, sizes, extent, counts)
    read: dict[Buffer, int] = {}
    written: dict[Buffer, int] = {}
    for a, loads, stores in zip(step.args, counts.loads, counts.stores, strict=True):
        if isinstance(a, Buffer):
            read[a] = max(read.get(a, 0), min(nbytes(a, env), loads * a.dtype.size))
            written[a] = max(written.get(a, 0), min(nbytes(a, env), stores * a.dtype.size))
    flops = counts.flops
    if step.kernel.form == "tile":  # more than one loop is cut short: the last turn is no measure
        for a, loads, stores in zip(step.args, counts.loads, counts.stores, strict=True):
            if isinstance(a, Buffer) and stores and not loads:
                flops = counts.flops * (nbytes(a, env) // a.dtype.size) // stores
    return Cost(sum(read.values()), sum(written.values()), flops)


class _Counts:
    """Loads and stores by parameter, and operations on floats."""

    def __init__(self, params: int) -> None:
        self.loads = [0] * params
        self.stores = [0] * params
        self.flops = 0


def _count(kernel: Kernel, sizes: dict[str, int], extent: int, counts: _Counts) -> None:
    """Count what iterations of the parallel axis do: all but the last do as the first does."""
    for p, times in _ends(0, extent):
        _body(kernel.body, sizes | {"p": p}, times, counts)


def _ends(start: int, stop: int) -> list[tuple[int, int]]:
    """The first iteration of a loop for all but the last, and the last, each with its number.

    Loops over blocks are cut short in their last one; counting both ends makes that exact.
    """
    n = stop - start
    return [(start, n - 1), (stop - 1, 1)] if n > 1 else [(start, n)] if n == 1 else []


def _body(body: tuple[Statement, ...], names: dict[str, int], times: int, counts: _Counts) -> None:
    for s in body:
        _evaluated(s, times, counts)
        match s:
            case Let(name, value):
                known = _integer(value, names)
                if known is not None:
                    names[name] = known
            case Loop(var, start, stop, inner):
                lo, hi = _integer(start, names), _integer(stop, names)
                ends = [(0, 1)] if lo is None or hi is None else _ends(lo, hi)
                for at, n in ends:
                    _body(inner, names | {var: at}, times * n, counts)
            case _:
                pass


def _evaluated(s: Statement, times: int, counts: _Counts) -> None:
    """Count a statement itself, without the body of a loop."""
    for e in {x for own in expressions(s) for x in subexpressions(own)}:
        if isinstance(e, Load):
            counts.loads[e.operand] += times
        elif isinstance(e, Prim) and e.dtype.is_floating and e.name not in _FREE:
            counts.flops += times
    if isinstance(s, Store):
        counts.stores[s.param] += times
    elif isinstance(s, Accumulate) and s.kind in ("sum", "prod") and s.value.dtype.is_floating:
        counts.flops += times


_FREE = frozenset({"cast", "select", "check_index"})
_INTEGERS: dict[str, Callable[..., int]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "minimum": min, "maximum": max,
    "floordiv": lambda a, b: a // b if b else 0, "mod": lambda a, b: a % b if b else 0,
    "neg": operator.neg, "cast": int,
}  # fmt: skip


def _integer(e: Expr, names: dict[str, int]) -> int | None:
    """The value of an expression over sizes and loop variables; None where data decide."""
    match e:
        case Lit(value, dtype):
            return int(value) if dtype.is_integer else None
        case Temp(name):
            return names.get(name)
        case Prim(name, args, dtype) if name in _INTEGERS and dtype.is_integer:
            values = [_integer(a, names) for a in args]
            return None if None in values else _INTEGERS[name](*values)
        case _:
            return None


__all__ = ["Cost", "step_cost"]
