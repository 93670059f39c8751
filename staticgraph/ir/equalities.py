"""Which sizes are equal where guards hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from staticgraph.ir.dims import Dim, Poly, Symbol, substitute, symbols_of
from staticgraph.ir.op import Guard

if TYPE_CHECKING:
    from staticgraph.ir.function import Function
    from staticgraph.ir.program import Program


class Equalities:
    """What ``==`` guards say of sizes: which of them are equal."""

    def __init__(self, guards: Sequence[Guard]) -> None:
        self._env: dict[Symbol, Dim] = {}
        self._zero: set[Dim] = set()  # differences known to be nought
        for a, b in dict.fromkeys((g.a, g.b) for g in guards if g.kind == "=="):
            self._add(a, b)

    def _add(self, a: Dim, b: Dim) -> None:
        a, b = self.normal(a), self.normal(b)
        if a == b:
            return
        for x, y in ((a, b), (b, a)):
            s = _bare(x)
            if s is not None and s not in symbols_of(y):
                self._env[s] = y
                return
        self._zero |= {a - b, b - a}

    def normal(self, d: Dim) -> Dim:
        """A size with symbols replaced by what they equal, as far as that goes."""
        while not isinstance(d, int) and any(s in self._env for s in symbols_of(d)):
            d = substitute(d, self._env)
        return d

    def equal(self, a: Dim, b: Dim) -> bool:
        """True where the guards make `a` and `b` equal."""
        if a == b:
            return True
        a, b = self.normal(a), self.normal(b)
        return a == b or a - b in {self.normal(z) for z in self._zero}


def _bare(d: Dim) -> Symbol | None:
    """The symbol that a size is, if it is just that."""
    if isinstance(d, Poly) and len(d.terms) == 1:
        ((monomial, coefficient),) = d.terms
        if coefficient == 1 and len(monomial) == 1 and isinstance(monomial[0], Symbol):
            return monomial[0]
    return None


def own_equalities(body: Function | Program, known: Mapping[Symbol, Dim]) -> Equalities:
    """What the guards of a body say of sizes of the function around.

    Args:
      known: the sizes that the body is given.
    """
    found = []
    for g in (site.guard for site in body.guards):
        if symbols_of(g.a) | symbols_of(g.b) <= known.keys():
            found.append(replace(g, a=substitute(g.a, known), b=substitute(g.b, known)))
    return Equalities(found)


__all__ = ["Equalities", "own_equalities"]
