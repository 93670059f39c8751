"""Regions that are alike: each is scheduled once.

The steps of an unrolled loop and the layers of a network make regions that differ only in which
values they read and write.  Their kernels are equal, and telling that two regions are alike takes
a fraction of the time of writing a kernel.
"""

from __future__ import annotations

from staticgraph.ir.dims import Dim
from staticgraph.ir.function import Value
from staticgraph.ir.kernel import Kernel
from staticgraph.ir.record import record
from staticgraph.ir.scalar import Expr, Load, Prim
from staticgraph.ir.types import TensorType
from staticgraph.passes.fusion import Region
from staticgraph.passes.kernel_writer import Scheduled
from staticgraph.passes.schedule import schedule


@record(frozen=True, slots=True)
class _Known:
    """The kernels of a region, with numbers in place of values.

    Attributes:
      kernels: kernel, arguments and extent; an argument is the number of a value, or None and a
        size.
      scratch: values that the kernels alone use, which follow those of the region: the number of
        the value they are named after, the rest of the name, and the type.
    """

    kernels: tuple[tuple[Kernel, tuple[tuple[int | None, Dim], ...], Dim], ...]
    scratch: tuple[tuple[int, str, TensorType], ...]


class Repeated:
    """Schedules the regions of one function.

    Args:
      values: what the load numbers of the members' bodies stand for.
      stored: values that must reach memory.
    """

    def __init__(self, values: tuple[Value, ...], stored: frozenset[Value]) -> None:
        self._values, self._stored = values, stored
        self._known: dict[tuple[object, ...], _Known] = {}

    def schedule(self, region: Region) -> list[Scheduled]:
        """The kernels of a region."""
        form = _Form(self._values, self._stored)
        key = form.of(region)
        known = self._known.get(key)
        if known is not None:
            return _again(known, list(form.numbers))
        made = schedule(region, self._values, self._stored)
        self._known[key] = _without_values(made, form.numbers)
        return made


def _without_values(made: list[Scheduled], numbers: dict[Value, int]) -> _Known:
    numbers = dict(numbers)
    hints = [(v.hint, k) for v, k in numbers.items()]
    scratch = []
    for s in made:
        for a in s.args:
            if isinstance(a, Value) and a not in numbers:
                of, k = max((h for h in hints if a.hint.startswith(h[0])), key=lambda h: len(h[0]))
                scratch.append((k, a.hint[len(of) :], a.type))
                numbers[a] = len(numbers)
    kernels = (
        (
            s.kernel,
            tuple((numbers[a], 0) if isinstance(a, Value) else (None, a) for a in s.args),
            s.extent,
        )
        for s in made
    )
    return _Known(tuple(kernels), tuple(scratch))


def _again(known: _Known, order: list[Value]) -> list[Scheduled]:
    order += [Value(t, f"{order[k].hint}{rest}") for k, rest, t in known.scratch]
    return [
        Scheduled(kernel, tuple(d if k is None else order[k] for k, d in args), extent)
        for kernel, args, extent in known.kernels
    ]


class _Form:
    """What scheduling looks at of a region, with numbers in place of values and loads."""

    def __init__(self, values: tuple[Value, ...], stored: frozenset[Value]) -> None:
        self._values, self._stored = values, stored
        self.numbers: dict[Value, int] = {}
        self._operands: dict[int, int] = {}
        self._seen: dict[Expr, int] = {}
        self._out: list[object] = []

    def of(self, region: Region) -> tuple[object, ...]:
        """Equal for two regions only if their kernels are."""
        self._out = [region.form, region.dims, region.split, region.cost, len(region.members)]
        for m in region.members:
            self._value(m.value)
            self._out += (m.reduce, m.scope, m.axes, m.level)
            self._expression(m.body)
        return tuple(self._out)

    def _value(self, v: Value) -> None:
        known = self.numbers.get(v)
        if known is None:
            self.numbers[v] = len(self.numbers)
            self._out += (v.dtype.name, v.dims, v in self._stored)
        else:
            self._out.append(known)

    def _expression(self, e: Expr) -> None:
        """Each part once, from the root on; a part that has come before is its number."""
        stack = [e]
        while stack:
            x = stack.pop()
            known = self._seen.get(x)
            if known is not None:
                self._out.append(known)
                continue
            self._seen[x] = len(self._seen)
            if isinstance(x, Prim):
                self._out += (x.name, x.dtype.name, len(x.args))
                stack += x.args
            elif isinstance(x, Load):
                self._out += ("load", x.dtype.name, len(x.index))
                self._operand(x.operand)
                stack += x.index
            else:
                self._out.append(x)

    def _operand(self, number: int) -> None:
        known = self._operands.get(number)
        if known is None:
            self._operands[number] = len(self._operands)
            self._value(self._values[number])
        else:
            self._out.append(known)


__all__ = ["Repeated"]
