"""Loops whose number of iterations is known before they run.

``while_loop(lambda i, x: i < n, ...)`` with a body that makes ``i + 1`` of ``i`` is how a count
is written.  Where `n` and the start of `i` are known when the loop is entered, as constants,
sizes or fed numbers, the loop is a ``Scan``: what it stacks has a known size, and no predicate is
looked at between iterations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from staticgraph.ir import dims as D
from staticgraph.ir.dims import Dim, Symbol
from staticgraph.ir.function import Function, Node, Value
from staticgraph.ir.op import Op
from staticgraph.ir.record import record

SizeOfValue = Callable[[Value], Dim | None]
# op, and whether the counter is its first operand -> does it go up, and is the bound reached
_ORDER = {
    ("Less", True): (True, False), ("LessEqual", True): (True, True),
    ("Greater", True): (False, False), ("GreaterEqual", True): (False, True),
    ("Less", False): (False, False), ("LessEqual", False): (False, True),
    ("Greater", False): (True, False), ("GreaterEqual", False): (True, True),
}  # fmt: skip


@record(frozen=True, slots=True)
class Count:
    """What the predicate of a counted loop compares.

    Attributes:
      compare: the comparison.
      counter: number of the carry that counts.
      bound: value outside that it is compared with, or None where it is a constant of the body.
      literal: the node of that constant.
      first: the counter is the first operand.
      trips: the number of iterations.
    """

    compare: Op
    counter: int
    bound: Value | None
    literal: Node | None
    first: bool
    trips: Dim


def counted(
    body: Function, inputs: Sequence[Value], carries: int, nodes: Sequence[Node],
    size: SizeOfValue, known: SizeOfValue, is_size: Callable[[Symbol], bool],
) -> Count | None:  # fmt: skip
    """How often a loop runs, where its predicate compares a counter with what does not change.

    Args:
      body: the closed body; its first carry is the predicate.
      inputs: the loop's operands.
      nodes: the nodes before the loop, among them the one that made the first predicate.
      size: the value of an integer scalar as a size, None where it is not known.
      known: the same for values of the body.
      is_size: true of symbols that are sizes of axes, which are never negative.
    """
    producer = body.producers()
    compare = producer.get(body.results[0])
    if compare is None or len(compare.inputs) != 2:
        return None
    for first in (True, False):
        order = _ORDER.get((compare.op.name, first))
        a, b = compare.inputs if first else reversed(compare.inputs)
        if order is None or a not in body.results[:carries]:
            continue
        k = body.results.index(a)
        step = _step(body, producer, k)
        if step is None or (step > 0) != order[0]:
            continue
        bound, literal = _steady(body, producer, b, inputs, carries)
        limit = _constant(literal) if literal else size(bound) if bound else known(b)
        start = size(inputs[k])
        if limit is None or start is None:
            continue
        before = _entered(nodes, inputs[0], compare.op, first, start, limit, size)
        if before is None:
            continue
        if literal is None and bound is None:
            bound = before
        distance = limit - start if step > 0 else start - limit
        trips = D.floordiv(distance + (abs(step) if order[1] else abs(step) - 1), abs(step))
        if not _at_least_none(trips, is_size):
            trips = D.maximum(0, trips)
        return Count(compare.op, k, bound, literal, first, trips)
    return None


def _at_least_none(d: Dim, is_size: Callable[[Symbol], bool]) -> bool:
    """True of what is a sum of sizes: it cannot be negative."""
    if isinstance(d, int):
        return d >= 0
    return all(
        c >= 0 and all(isinstance(atom, Symbol) and is_size(atom) for atom in monomial)
        for monomial, c in d.terms
    )


def _step(body: Function, producer: dict[Value, Node], k: int) -> int | None:
    """What each iteration adds to carry `k`, where that is a constant."""
    made = producer.get(body.results[k])
    if made is None or made.op.name not in ("Add", "AddV2", "Sub") or not k:
        return None
    param = body.params[k].value
    if param.dtype.name not in ("int32", "int64") or param.type.shape != ():
        return None  # a narrow counter may wrap around before it gets there
    a, b = made.inputs
    if a is not param and b is param and made.op.name != "Sub":
        a, b = b, a
    other = producer.get(b)
    if a is not param or other is None or other.op.name != "Const":
        return None
    step = _constant(other)
    if not step:
        return None
    return -step if made.op.name == "Sub" else step


def _constant(node: Node) -> int | None:
    array = node.attrs["value"].array
    return int(array) if array.ndim == 0 and array.dtype.kind in "iu" else None


def _steady(
    body: Function, producer: dict[Value, Node], v: Value, inputs: Sequence[Value], carries: int
) -> tuple[Value | None, Node | None]:
    """The value outside, or the constant, that `v` is in every iteration."""
    made = producer.get(v)
    if made is not None:
        return (None, made) if made.op.name == "Const" else (None, None)
    for k, p in enumerate(body.params):
        if p.value is v and (k >= carries or body.results[k] is v):
            return inputs[k], None
    return None, None


def _entered(
    nodes: Sequence[Node], predicate: Value, compare: Op, first: bool, start: Dim, limit: Dim,
    size: SizeOfValue,
) -> Value | None:  # fmt: skip
    """What the counter is compared with before the loop, where the comparison is the same."""
    made = next((n for n in reversed(nodes) if predicate in n.outputs), None)
    if made is None or made.op is not compare:
        return None
    a, b = made.inputs if first else reversed(made.inputs)
    return b if size(a) == start and size(b) == limit else None


__all__ = ["Count", "counted"]
