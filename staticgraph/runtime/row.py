"""`Row`: one row of a plan's table, and what it takes to fill one in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from staticgraph.ir import dims as D
from staticgraph.ir.dims import Dim, Symbol
from staticgraph.ir.program import Buffer
from staticgraph.ir.record import record

Sizes = Mapping[Symbol, int]
AddressOf = Callable[[Buffer], int]


@record(frozen=True, slots=True)
class Row:
    """Function, argument block and extent of the parallel axis.

    A block is 64-bit words: addresses and sizes.  A function that can refuse an index has the
    index and its bound in the last two.

    Args:
      step: position in the program's steps.
      pointers: (word, buffer, bytes): words that hold the buffer's address, so many bytes on.
      work: bytes of memory traffic or a like measure of time.
      splits: the parallel axis may be shared between threads.
    """

    function: int
    words: tuple[int, ...]
    extent: int
    step: int
    pointers: tuple[tuple[int, Buffer, int], ...]
    work: int
    splits: bool = False


def whole(*places: tuple[int, Buffer]) -> tuple[tuple[int, Buffer, int], ...]:
    """Pointers to the starts of buffers, from (word, buffer) pairs."""
    return tuple((word, b, 0) for word, b in places)


def count(dims: Sequence[Dim] | None, env: Sizes) -> int:
    """Number of elements."""
    assert dims is not None
    return math.prod([d if type(d) is int else D.evaluate(d, env) for d in dims])


def nbytes(b: Buffer, env: Sizes) -> int:
    """Bytes of a buffer."""
    return count(b.dims, env) * b.dtype.size
