"""Sizes of axes: an int, or an integer polynomial of symbols.

A `Symbol` stands for a size that is known only at run time.  `Poly` is a sum of monomials with
integer coefficients, in a normal form, so that equal expressions are equal objects.  What a
polynomial cannot say (floor division, remainder, maximum, minimum) is an *atom*, treated as
opaque.  A `Poly` is never constant: constants are plain ints, and arithmetic gives back an int
as soon as it can.

    Dim   = int | Poly
    Poly  = sum of coefficient * product of Atom
    Atom  = Symbol | Call("floordiv" | "mod" | "max" | "min", Dim, Dim)

Text: ``n``, ``2*n + 1``, ``floordiv(n + 1, 2)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Symbol:
    """A size known at run time; the name identifies it within one graph or function."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Call:
    """An opaque operation on sizes: `fn` is one of floordiv, mod, max, min."""

    fn: str
    a: Dim
    b: Dim

    def __str__(self) -> str:
        return f"{self.fn}({self.a}, {self.b})"


Atom = Symbol | Call
Monomial = tuple[Atom, ...]
_FUNCTIONS: dict[str, Callable[[int, int], int]] = {
    "floordiv": lambda a, b: a // b if b else 0,  # where it matters a guard refuses 0
    "mod": lambda a, b: a % b if b else 0,
    "max": max,
    "min": min,
}


class Poly:
    """A non-constant integer polynomial; make with `symbol` and arithmetic.

    >>> n = symbol("n")
    >>> str(2 * n + n + 1), (n + 1) - n, str(n * n)
    ('3*n + 1', 1, 'n*n')
    """

    __slots__ = ("__dict__", "terms")

    terms: tuple[tuple[Monomial, int], ...]

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]) -> None:
        self.terms = terms

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Poly) and self.terms == other.terms

    @cached_property
    def _hash(self) -> int:
        return hash(self.terms)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _symbols(self) -> frozenset[Symbol]:
        found: set[Symbol] = set()
        for m, _ in self.terms:
            for a in m:
                found |= {a} if isinstance(a, Symbol) else symbols_of(a.a) | symbols_of(a.b)
        return frozenset(found)

    def __add__(self, other: Dim) -> Dim:
        return _from_terms(_merge(self.terms, _terms(other))) if _ok(other) else NotImplemented

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return _from_terms({m: -c for m, c in self.terms})

    def __sub__(self, other: Dim) -> Dim:
        return self + (-other) if _ok(other) else NotImplemented

    def __rsub__(self, other: Dim) -> Dim:
        return (-self) + other

    def __mul__(self, other: Dim) -> Dim:
        if isinstance(other, int):  # most are: the order of the terms stays as it is
            if other in (0, 1):
                return self if other else 0
            return Poly(tuple([(m, c * int(other)) for m, c in self.terms]))
        if not isinstance(other, Poly):
            return NotImplemented
        out: dict[Monomial, int] = {}
        for m, c in self.terms:
            for n, d in _terms(other):
                key = tuple(sorted(m + n, key=str))
                out[key] = out.get(key, 0) + c * d
        return _from_terms(out)

    __rmul__ = __mul__

    def __floordiv__(self, other: Dim) -> Dim:
        return floordiv(self, other)

    def __rfloordiv__(self, other: Dim) -> Dim:
        return floordiv(other, self)

    def __mod__(self, other: Dim) -> Dim:
        return mod(self, other)

    def __rmod__(self, other: Dim) -> Dim:
        return mod(other, self)

    def __repr__(self) -> str:
        return str(self)

    @cached_property
    def _text(self) -> str:
        parts = []
        for m, c in self.terms:
            body = "*".join(map(str, m))
            parts.append(str(c) if not m else body if c == 1 else f"{c}*{body}")
        return " + ".join(parts)

    def __str__(self) -> str:
        return self._text


Dim = int | Poly


def _ok(value: object) -> bool:
    return isinstance(value, (int, Poly))


def _terms(d: Dim) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(d, Poly):
        return d.terms
    return (((), int(d)),) if d else ()


def _merge(
    a: Iterable[tuple[Monomial, int]], b: Iterable[tuple[Monomial, int]]
) -> dict[Monomial, int]:
    out = dict(a)
    for m, c in b:
        out[m] = out.get(m, 0) + c
    return out


def _from_terms(terms: dict[Monomial, int]) -> Dim:
    kept = [(m, c) for m, c in terms.items() if c]
    if not kept:
        return 0
    if len(kept) == 1 and not kept[0][0]:
        return kept[0][1]
    kept.sort(key=lambda t: (-len(t[0]), tuple(map(str, t[0]))))
    return Poly(tuple(kept))


def symbol(name: str) -> Poly:
    """Return the size named `name`.

    >>> symbol("n") + 1
    n + 1
    """
    return Poly((((Symbol(name),), 1),))


def _atom(fn: str, a: Dim, b: Dim) -> Dim:
    return Poly((((Call(fn, a, b),), 1),))


def floordiv(a: Dim, b: Dim) -> Dim:
    """Floor division; exact where every coefficient divides.

    >>> n = symbol("n")
    >>> floordiv(4 * n + 8, 4), floordiv(n * 3, n), floordiv(n + 1, 2)
    (n + 2, 3, floordiv(n + 1, 2))
    """
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    if b == 1:
        return a
    if a == b:
        return 1
    if a == 0:
        return 0
    if isinstance(b, int):
        if all(c % b == 0 for _, c in _terms(a)):
            return _from_terms({m: c // b for m, c in _terms(a)})
    elif len(b.terms) == 1:
        (mb, cb), out = b.terms[0], {}
        for m, c in _terms(a):
            rest = list(m)
            for factor in mb:
                if factor not in rest:
                    break
                rest.remove(factor)
            else:
                if c % cb == 0:
                    out[tuple(rest)] = c // cb
                    continue
            break
        else:
            return _from_terms(out)
    return _atom("floordiv", a, b)


def mod(a: Dim, b: Dim) -> Dim:
    """Remainder with the divisor's sign."""
    if isinstance(a, int) and isinstance(b, int):
        return a % b
    quotient = floordiv(a, b)
    return 0 if quotient * b == a else _atom("mod", a, b)


def maximum(a: Dim, b: Dim) -> Dim:
    """The larger of two sizes."""
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    if a == b:
        return a
    difference = a - b
    if isinstance(difference, int):
        return a if difference > 0 else b
    if b == 0 and _non_negative(a):
        return a
    return _atom("max", a, b)


def minimum(a: Dim, b: Dim) -> Dim:
    """The smaller of two sizes."""
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    difference = a - b
    if isinstance(difference, int):
        return b if difference > 0 else a
    return _atom("min", a, b)


def apart(a: Dim, b: Dim) -> bool:
    """True of sizes one of which is the other and more, as where rows are appended.

    >>> n, m = symbol("n"), symbol("m")
    >>> apart(n, n + 1), apart(n + m, n), apart(n, n), apart(n, m)
    (True, True, False, False)
    """
    difference = a - b
    if isinstance(difference, int):
        return difference != 0
    return _non_negative(difference) or _non_negative(-difference)


def _non_negative(d: Dim) -> bool:
    """True where every term is surely a non-negative multiple of sizes (symbols are sizes)."""
    return all(c >= 0 and all(map(_non_negative_atom, m)) for m, c in _terms(d))


def _non_negative_atom(a: Atom) -> bool:
    if isinstance(a, Symbol):
        return True
    match a.fn:
        case "max":
            return _non_negative(a.a) or _non_negative(a.b)
        case "mod":  # it has the divisor's sign
            return _non_negative(a.b)
        case _:
            return _non_negative(a.a) and _non_negative(a.b)


def product(dims: Iterable[Dim]) -> Dim:
    """The product of sizes; 1 of none.

    >>> product([2, symbol("n"), 3])
    6*n
    """
    total: Dim = 1
    for d in dims:
        total = total * d
    return total


def symbols_of(d: Dim) -> frozenset[Symbol]:
    """Every symbol that `d` mentions."""
    return d._symbols if isinstance(d, Poly) else frozenset()


def substitute(d: Dim, env: Mapping[Symbol, Dim]) -> Dim:
    """Replace symbols by sizes; those not in `env` stay."""
    if isinstance(d, int) or not env:
        return d
    total: Dim = 0
    for m, c in d.terms:
        value: Dim = c
        for a in m:
            if isinstance(a, Symbol):
                value = value * env.get(a, Poly((((a,), 1),)))
            else:
                x, y = substitute(a.a, env), substitute(a.b, env)
                match a.fn:
                    case "floordiv":
                        value = value * floordiv(x, y)
                    case "mod":
                        value = value * mod(x, y)
                    case "max":
                        value = value * maximum(x, y)
                    case _:
                        value = value * minimum(x, y)
        total = total + value
    return total


def evaluate(d: Dim, env: Mapping[Symbol, int]) -> int:
    """The value of `d` under `env`.

    >>> evaluate(2 * symbol("n") + 1, {Symbol("n"): 4})
    9

    Raises:
      KeyError: a symbol of `d` is not in `env`.
    """
    if isinstance(d, int):
        return d
    total = 0
    for m, c in d.terms:
        for a in m:
            if isinstance(a, Symbol):
                c *= env[a]
            else:
                c *= _FUNCTIONS[a.fn](evaluate(a.a, env), evaluate(a.b, env))
        total += c
    return total
