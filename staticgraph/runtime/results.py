"""Large results: kernels write them straight into the arrays that the user gets.

Such a result has no place in the arena.  Each run makes a new array for it and writes its address
into the argument blocks, as with large feeds.  When the user has let go of an array, the next run
takes its memory again, so that pages are not cleared anew; see `codegen.keeper`.  What an
executable holds meanwhile is one array's memory for each of its results at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from staticgraph.codegen.keeper import Keeper, data, keeper
from staticgraph.ir.arrays import address
from staticgraph.ir.program import Buffer, Program, Repeat

DIRECT_RESULT = 1 << 14  # bytes: larger results are written in place


def direct_results(
    program: Program, shapes: Mapping[Buffer, tuple[int, ...]], wanted: frozenset[Buffer]
) -> frozenset[Buffer]:
    """Those of the wanted results of a program that can be written where the user gets them.

    Not what is fed, constant or a variable's value at the start; and not what a loop keeps on a
    rail, as the values of one of its carries one behind the other: the first or the last of them
    lies outside of the result.
    """
    large = [
        b for b in program.results
        if b in wanted and b.role == "temporary" and b.dtype.np != object and b in shapes
        and math.prod(shapes[b]) * b.dtype.size > DIRECT_RESULT
    ]  # fmt: skip
    if not large:
        return frozenset()
    rails = {b for s in program.steps if isinstance(s, Repeat) for b in _on_rails(s)}
    return frozenset(large) - rails


def _on_rails(s: Repeat) -> list[Buffer]:
    """Outputs of a loop that may be on a rail; see `passes.control`."""
    attrs, carries = s.attrs, s.attrs["carries"]
    params = [q.buffer for q in s.body.params]
    held = {*params[:carries], *s.body.results[:carries]}
    stacked = [*s.body.results[carries:], *(params[k] for k in attrs["histories"])]
    outputs = s.outputs[carries + s.conditional :]
    return [b for b, value in zip(outputs, stacked, strict=True) if value in held]


class Results:
    """Where the large results of an executable's or a segment's plans come from.

    Attributes:
      wanted: results that are handed out, and that nothing else may keep.
    """

    def __init__(self, wanted: Iterable[Buffer]) -> None:
        self.wanted = frozenset(wanted)
        self._keepers: dict[Buffer, Keeper | None] = {}

    def keeper(self, b: Buffer) -> Keeper | None:
        """What makes the arrays of a result; None where numpy does."""
        if b not in self._keepers:
            self._keepers[b] = keeper()
        return self._keepers[b]


def maker(
    own: Keeper | None, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[Callable[[], np.ndarray], Callable[[np.ndarray], int]]:
    """What makes the arrays of a result, and what tells the address of each."""
    if own is None:
        return partial(np.empty, shape, dtype), address
    return own.maker(shape, dtype), data


def unplaced(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Stands for an array that each run makes anew: of its shape and dtype, without its memory."""
    return np.broadcast_to(np.empty((), dtype), shape)


__all__ = ["DIRECT_RESULT", "Results", "direct_results", "maker", "unplaced"]
