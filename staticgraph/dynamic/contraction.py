"""Contractions over named or numbered axes: `einsum` and `tensordot`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from staticgraph.dynamic.apply import Taped, not_a_tensor
from staticgraph.dynamic.products import matmul
from staticgraph.dynamic.selection import diagonal
from staticgraph.dynamic.shapes import axis_of, permute, reshape
from staticgraph.errors import ShapeError
from staticgraph.ir import loc
from staticgraph.ir.op import lookup

if TYPE_CHECKING:
    from staticgraph.dynamic.tensor import Tensor

_EQUATION = re.compile(r"(\.\.\.|[A-Za-z])*(,(\.\.\.|[A-Za-z])*)*(->(\.\.\.|[A-Za-z])*)?")
_sum = lookup("Sum")


def einsum(equation: str, *operands: Any) -> Tensor:
    """Einstein's summation: ``einsum("bij,jk->bik", x, y)``.

    Args:
      equation: a group of letters per operand, one per axis, and after ``->`` those of the result;
        without the arrow the result has the letters that occur once, in alphabetical order.  An
        ellipsis stands for any number of axes, which broadcast.
      operands: tensors, or one list of them.

    Raises:
      ShapeError: the equation does not fit the operands.

    >>> import staticgraph.dynamic as torch
    >>> a = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> torch.einsum("ij,kj->ik", a, a)
    tensor([[ 5., 11.],
            [11., 25.]])
    >>> torch.einsum("ii", a)
    tensor(5.)
    """
    tensors = operands[0] if len(operands) == 1 and not isinstance(operands[0], Taped) else operands
    for x in tensors:
        if not isinstance(x, Taped):
            raise not_a_tensor("einsum", x)
    terms, out, dots = _parsed(equation, [x._array.ndim for x in tensors])
    sizes: dict[str, Any] = {}
    for term, x in zip(terms, tensors, strict=True):
        for c, n in zip(term, x._array.shape, strict=True):
            known = sizes.setdefault(c, n)
            if known != n and c in dots and (known == 1 or n == 1):
                sizes[c] = n if known == 1 else known
            elif known != n:
                raise ShapeError(
                    f"einsum: {equation!r} gives {c!r} the sizes {known} and {n}"
                    if c not in dots
                    else f"einsum: sizes {known} and {n} under the ellipsis do not broadcast",
                    loc=loc.caller(),
                    operands=[f"operand {i}: {list(t._array.shape)}"
                              for i, t in enumerate(tensors)],
                )  # fmt: skip
    pairs = [_simple(t, x, dots, sizes) for t, x in zip(terms, tensors, strict=True)]
    term, x = pairs[0]
    for i, (other, y) in enumerate(pairs[1:], 2):
        later = set(out).union(*(t for t, _ in pairs[i:]))
        term, x = _contracted(term, x, other, y, later)
    x, term = _summed(x, term, set(out))
    return x if term == out else permute(x, [term.index(c) for c in out])


def _parsed(equation: Any, ranks: Sequence[int]) -> tuple[list[str], str, str]:
    """Letters of each operand, of the result, and those that stand for the ellipsis."""

    def wrong(why: str) -> ShapeError:
        return ShapeError(f"einsum: {equation!r} {why}", loc=loc.caller())

    text = equation.replace(" ", "") if isinstance(equation, str) else ""
    if not isinstance(equation, str) or not _EQUATION.fullmatch(text):
        raise wrong("is not an equation")
    before, arrow, out = text.partition("->")
    terms = before.split(",")
    if len(terms) != len(ranks):
        raise wrong(f"takes {len(terms)} operands, got {len(ranks)}")
    if any(t.count("...") > 1 for t in (*terms, out)):
        raise wrong("has two ellipses for one tensor")
    wide = 0
    for i, (t, rank) in enumerate(zip(terms, ranks, strict=True)):
        named = len(t.replace("...", ""))
        if named > rank or (named < rank and "..." not in t):
            raise wrong(f"names {named} axes of operand {i}, which has {rank}")
        wide = max(wide, rank - named)
    dots = "".join(chr(0x100 + k) for k in range(wide))
    terms = [
        t.replace("...", dots[wide - (rank - len(t.replace("...", ""))) :])
        if "..." in t else t
        for t, rank in zip(terms, ranks, strict=True)
    ]  # fmt: skip
    every = "".join(terms)
    if not arrow:
        out = dots + "".join(sorted(c for c in set(every) - set(dots) if every.count(c) == 1))
    out = out.replace("...", dots)
    if len(set(out)) != len(out) or set(out) - set(every):
        raise wrong("has a result that is not made of the operands' letters, each once")
    return terms, out, dots


def _simple(term: str, x: Any, dots: str, sizes: dict[str, Any]) -> tuple[str, Any]:
    """Every letter once, and axes of size 1 that broadcast left out."""
    while len(set(term)) != len(term):
        c = next(c for c in term if term.count(c) > 1)
        i = term.index(c)
        j = term.index(c, i + 1)
        rest = [k for k in range(len(term)) if k not in (i, j)]
        x = diagonal(permute(x, [*rest, i, j]))
        term = "".join(term[k] for k in rest) + c
    flat = [k for k, c in enumerate(term) if c in dots and x._array.shape[k] != sizes[c]]
    if flat:
        x = reshape(x, [n for k, n in enumerate(x._array.shape) if k not in flat])
        term = "".join(c for k, c in enumerate(term) if k not in flat)
    return term, x


def _summed(x: Any, term: str, needed: set[str]) -> tuple[Any, str]:
    """Without the letters that nothing needs."""
    gone = tuple(i for i, c in enumerate(term) if c not in needed)
    return (_sum(x, gone), "".join(c for c in term if c in needed)) if gone else (x, term)


def _contracted(ta: str, a: Any, tb: str, b: Any, later: set[str]) -> tuple[str, Any]:
    """The product of two operands, summed over the letters that nothing needs later."""
    a, ta = _summed(a, ta, later | set(tb))
    b, tb = _summed(b, tb, later | set(ta))
    batch = [c for c in ta if c in tb and c in later]
    inner = [c for c in ta if c in tb and c not in later]
    left = [c for c in ta if c not in tb]
    right = [c for c in tb if c not in ta]
    sizes = dict(zip(ta + tb, (*a._array.shape, *b._array.shape), strict=True))

    def many(letters: list[str]) -> list[Any]:
        return [sizes[c] for c in letters]

    def one(letters: list[str]) -> Any:
        return math.prod(many(letters))

    x = permute(a, [ta.index(c) for c in batch + left + inner])
    y = permute(b, [tb.index(c) for c in batch + inner + right])
    x = reshape(x, [*many(batch), one(left), one(inner)])
    y = reshape(y, [*many(batch), one(inner), one(right)])
    made = matmul(x, y) if inner else x * y
    return "".join(batch + left + right), reshape(made, many(batch + left + right))


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Products summed over pairs of axes.

    Args:
      dims: a number of axes, the last of `a` and the first of `b`; or a pair of lists of axes.

    Raises:
      ShapeError: there are not as many axes, or a pair of them differs in size.

    >>> import staticgraph.dynamic as torch
    >>> torch.tensordot(torch.ones(2, 3), torch.ones(3, 4), dims=1).shape
    torch.Size([2, 4])
    """
    for x in (a, b):
        if not isinstance(x, Taped):
            raise not_a_tensor("tensordot", x)
    m, n = a._array.ndim, b._array.ndim
    if isinstance(dims, int):
        if not 0 <= dims <= min(m, n):
            raise ShapeError(f"tensordot: {dims} axes of ranks {m} and {n}", loc=loc.caller())
        dims = list(range(m - dims, m)), list(range(dims))
    first = [axis_of(d, m, "tensordot") for d in dims[0]]
    second = [axis_of(d, n, "tensordot") for d in dims[1]]
    sizes = [a._array.shape[d] for d in first], [b._array.shape[d] for d in second]
    if sizes[0] != sizes[1]:
        raise ShapeError(
            f"tensordot: axes of sizes {sizes[0]} against {sizes[1]}", loc=loc.caller(),
            operands=(f"a: {list(a._array.shape)}", f"b: {list(b._array.shape)}"),
        )  # fmt: skip
    letters = [chr(ord("a") + k) for k in range(m)]
    others = [chr(ord("A") + k) for k in range(n)]
    for i, j in zip(first, second, strict=True):
        others[j] = letters[i]
    shared = {letters[i] for i in first}
    kept = "".join(c for c in letters + others if c not in shared)
    return einsum(f"{''.join(letters)},{''.join(others)}->{kept}", a, b)
