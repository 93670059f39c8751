"""What one update is about: a whole variable, or the rows of it that look-ups named.

Optimizers whose slots decay, or that pull weights towards zero, must not do so to rows that no
index named: a word that does not occur would move with every batch.  And a step must not take
longer because a table has more rows.  So an update is written once, in terms of a `Part` of the
variable, and built for all of it or for the named rows.
"""

from __future__ import annotations

from typing import Any

from staticgraph.api.framework import group
from staticgraph.api.looked_up import NamedRows, marks_of, rows_of
from staticgraph.api.variables import Variable
from staticgraph.ir.graph import Operation, Tensor
from staticgraph.ir.op import lookup


class Part:
    """A variable, as an update sees it, with what it keeps for each element.

    `grad` has the shape of what `at` gives.  Writes are collected; `done` is the operation that
    does all of them.
    """

    def __init__(self, grad: Tensor) -> None:
        self.grad = grad
        self.writes: list[Operation] = []

    def at(self, v: Variable) -> Any:
        """The value of a variable of this shape."""
        return v

    def assign(self, v: Variable, new: Any) -> Any:
        """Write, and give what is written."""
        return self._wrote(v.assign(new))

    def add(self, v: Variable, step: Any) -> Any:
        """Add, and give the sum."""
        return self._wrote(v.assign_add(step))

    def subtract(self, v: Variable, step: Any) -> None:
        """Take `step` away."""
        self._wrote(v.assign_sub(step))

    def done(self) -> Operation:
        """All writes."""
        return self.writes[0] if len(self.writes) == 1 else group(*self.writes)

    def _wrote(self, value: Any) -> Any:
        self.writes.append(value.op)
        return value


class MarkedPart(Part):
    """The marked rows of a variable, gone through as a whole: the other rows keep their values."""

    def __init__(self, grad: Tensor, marks: Tensor) -> None:
        super().__init__(grad)
        self._marks = marks

    def assign(self, v: Variable, new: Any) -> Any:
        """Write in the marked rows, and give what stands in all of them then."""
        return super().assign(v, self._select(new, v))

    def add(self, v: Variable, step: Any) -> Any:
        """Add in the marked rows, and give what stands in all of them then."""
        return super().add(v, self._select(step, lookup("ZerosLike")(step)))

    def subtract(self, v: Variable, step: Any) -> None:
        """Take `step` away in the marked rows."""
        super().subtract(v, self._select(step, lookup("ZerosLike")(step)))

    def _select(self, new: Any, old: Any) -> Any:
        return lookup("Select")(self._marks, new, old)


class NamedPart(Part):
    """The rows of a variable that look-ups named."""

    def __init__(self, named: NamedRows) -> None:
        super().__init__(named.grad)
        self._rows = named.rows

    def at(self, v: Variable) -> Any:
        """The rows of a variable; zeros for places that are left over."""
        return lookup("TakeRows")(v, self._rows)

    def assign(self, v: Variable, new: Any) -> Any:
        """Write the rows, and give what is written."""
        self._put(v, new, "update")
        return new

    def add(self, v: Variable, step: Any) -> Any:
        """Add to the rows, and give the sums."""
        return self.assign(v, self.at(v) + step)

    def subtract(self, v: Variable, step: Any) -> None:
        """Take `step` away from the rows."""
        self._put(v, step, "sub")

    def _put(self, v: Variable, values: Any, kind: str) -> None:
        self._wrote(v.assign(lookup("PutRows")(v, self._rows, values, kind=kind)))


def part_of(grad: Tensor, zero_stays: bool) -> Part:
    """The part of a variable that a gradient is about.

    Args:
      zero_stays: True where a gradient of zero changes nothing.
    """
    named = rows_of(grad)
    if named is not None:
        return NamedPart(named)
    marks = None if zero_stays else marks_of(grad)
    return Part(grad) if marks is None else MarkedPart(grad, marks)


__all__ = ["MarkedPart", "NamedPart", "Part", "part_of"]
