"""The list of pairs."""

from __future__ import annotations

from collections.abc import Iterable

from staticgraph.compare.cubic import CUBIC
from staticgraph.compare.loops import LOOPS
from staticgraph.compare.pair import Group, Pair
from staticgraph.compare.two_layer import TWO_LAYER
from staticgraph.errors import ArgumentError

GROUPS: tuple[Group, ...] = ("cubic fit", "two layers", "control flow")
PAIRS: tuple[Pair, ...] = tuple(
    sorted((*CUBIC, *TWO_LAYER, *LOOPS), key=lambda pair: GROUPS.index(pair.group))
)


def chosen(names: Iterable[str] = ()) -> tuple[Pair, ...]:
    """The pairs of these names, or of names that begin so; all of them for no name.

    Raises:
      ArgumentError: nothing has one of the names.

    >>> [pair.name for pair in chosen(["elman"])]
    ['elman_rnn']
    """
    wanted = tuple(names)
    for name in wanted:
        if not any(pair.name.startswith(name) for pair in PAIRS):
            known = ", ".join(pair.name for pair in PAIRS)
            raise ArgumentError(f"there is no pair {name!r}", hint=f"there are {known}")
    if not wanted:
        return PAIRS
    return tuple(pair for pair in PAIRS if pair.name.startswith(wanted))


__all__ = ["GROUPS", "PAIRS", "chosen"]
