"""Where a traced function's parameters come from, and its parts with gradients of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from staticgraph.ir.function import Value
from staticgraph.ir.record import record


@record(frozen=True, slots=True)
class Source:
    """Where the array of a parameter comes from with every call.

    An argument or a cotangent by its number; a tensor that the function uses without being given
    it; the position of a random stream; the `.grad` of a tensor; the learning rate of a group.
    """

    kind: Literal["argument", "captured", "counter", "cotangent", "kept", "gradient", "rate"]
    number: int = 0
    of: Any = None


@record(frozen=True, slots=True)
class Region:
    """The nodes that a `Function` with a gradient of its own has written, and that gradient."""

    nodes: frozenset[int]  # ids
    last: int
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    rule: Callable[..., Any]
