"""Contractions over named or numbered axes: `tensordot` and `einsum`."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from staticgraph.api.framework import name_scope
from staticgraph.api.linalg import matmul
from staticgraph.api.reduction import reduce_sum
from staticgraph.errors import ShapeError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.build import convert
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Tensor


def _sizes(x: Tensor, what: str) -> list[int | None]:
    if x.type.shape is None:
        raise UsageError(f"{what}: the rank of {x.name!r} is not known", loc=loc.caller())
    return x.shape.as_list()


def _transpose(x: Tensor, perm: list[int]) -> Tensor:
    if perm == list(range(len(perm))):
        return x
    return lookup("Transpose")(x, perm, name="transpose")  # type: ignore[no-any-return]


def _size_list(x: Tensor, axes: list[int]) -> list[Any]:
    """The sizes of `axes`: ints where they are known, else scalar tensors."""
    known = x.shape.as_list()
    if all(known[a] is not None for a in axes):
        return [known[a] for a in axes]
    shape = lookup("Shape")(x)
    return [known[a] if known[a] is not None else shape[a] for a in axes]


def _product(sizes: list[Any]) -> Any:
    out: Any = 1
    for d in sizes:
        out = d if isinstance(out, int) and out == 1 else out * d
    return out


def _reshape(x: Tensor, sizes: list[Any]) -> Tensor:
    return lookup("Reshape")(x, sizes)  # type: ignore[no-any-return]


def tensordot(a: Any, b: Any, axes: Any, name: str | None = None) -> Tensor:
    """Sum products over pairs of axes.

    Args:
      axes: a number n (the last n axes of `a` with the first n of `b`), or two lists of axes.

    Raises:
      ValueError: the lists differ in length.

    >>> import staticgraph as tf
    >>> tf.tensordot(tf.ones([2, 3, 4]), tf.ones([4, 3, 5]), [[1, 2], [1, 0]]).shape
    TensorShape([Dimension(2), Dimension(5)])
    """
    with name_scope(name, "Tensordot", [a, b, axes]) as scope:
        a = convert(a, name="a")
        b = convert(b, name="b")
        ra, rb = len(_sizes(a, "tensordot")), len(_sizes(b, "tensordot"))
        if isinstance(axes, (int, np.integer)):
            pair: list[list[int]] = [list(range(ra - int(axes), ra)), list(range(int(axes)))]
        else:
            pair = [[int(i) for i in np.atleast_1d(np.asarray(x))] for x in axes]
        if len(pair) != 2 or len(pair[0]) != len(pair[1]):
            raise ShapeError(
                f"tensordot: axes are two lists of one length, got {axes}", loc=loc.caller()
            )
        for axis, rank in [(i, ra) for i in pair[0]] + [(i, rb) for i in pair[1]]:
            if not -rank <= axis < rank:
                raise ShapeError(
                    f"tensordot: axis {axis} is outside a tensor of rank {rank}", loc=loc.caller()
                )
        ca, cb = [i % ra for i in pair[0]], [i % rb for i in pair[1]]
        fa, fb = [i for i in range(ra) if i not in ca], [i for i in range(rb) if i not in cb]
        free = _size_list(a, fa) + _size_list(b, fb)
        left = _reshape(
            _transpose(a, fa + ca), [_product(_size_list(a, fa)), _product(_size_list(a, ca))]
        )
        right = _reshape(
            _transpose(b, cb + fb), [_product(_size_list(b, cb)), _product(_size_list(b, fb))]
        )
        return lookup("Reshape")(matmul(left, right), free, name=scope)  # type: ignore[no-any-return]


def einsum(equation: str, *inputs: Any, name: str | None = None, **_: Any) -> Tensor:
    """Einstein's summation: ``einsum("bij,jk->bik", x, y)``.

    Args:
      equation: one group of letters for each input and, after ``->``, one for the result; without
        the arrow the result has the letters that occur once, in alphabetical order.

    Raises:
      ValueError: the equation does not fit the inputs.

    >>> import staticgraph as tf
    >>> tf.einsum("ij,jk->ik", tf.ones([2, 3]), tf.ones([3, 4])).shape
    TensorShape([Dimension(2), Dimension(4)])
    """
    text = equation.replace(" ", "")
    if not re.fullmatch(r"[A-Za-z]*(,[A-Za-z]*)*(->[A-Za-z]*)?", text):
        raise ShapeError(f"einsum: {equation!r} is not an equation", loc=loc.caller())
    before, arrow, out = text.partition("->")
    terms = before.split(",")
    if not arrow:
        out = "".join(sorted(c for c in set(before) - {","} if before.count(c) == 1))
    if len(terms) != len(inputs):
        raise ShapeError(
            f"einsum: {equation!r} takes {len(terms)} inputs, got {len(inputs)}", loc=loc.caller()
        )
    if set(out) - set(before) or len(set(out)) != len(out):
        raise ShapeError(
            f"einsum: the result {out!r} is not made of letters of {before!r}", loc=loc.caller()
        )
    with name_scope(name, "einsum", list(inputs)):
        tensors = [convert(x, name=f"input_{i}") for i, x in enumerate(inputs)]
        for term, x in zip(terms, tensors, strict=True):
            if len(_sizes(x, "einsum")) != len(term):
                raise ShapeError(
                    f"einsum: {term!r} names {len(term)} axes, {x.name!r} is {x.type.public()}",
                    loc=loc.caller(),
                )
        pairs = [_diagonal(t, x) for t, x in zip(terms, tensors, strict=True)]
        term, x = pairs[0]
        for i, (other, y) in enumerate(pairs[1:], 2):
            later = set(out).union(*(t for t, _ in pairs[i:]))
            term, x = _contract(term, x, other, y, later)
        gone = [i for i, c in enumerate(term) if c not in out]
        if gone:
            x = reduce_sum(x, gone)
            term = "".join(c for c in term if c in out)
        return _transpose(x, [term.index(c) for c in out])


def _diagonal(term: str, x: Tensor) -> tuple[str, Tensor]:
    """Make every letter unique: a repeated one selects a diagonal."""
    while len(set(term)) != len(term):
        c = next(c for c in term if term.count(c) > 1)
        i, j = (k for k, d in enumerate(term) if d == c)
        x = _transpose(x, [k for k in range(len(term)) if k not in (i, j)] + [i, j])
        term = term.replace(c, "") + c * (term.count(c))
        n = _size_list(x, [len(term) - 1])[0]
        order = lookup("Range")(0, n, 1)
        mask = lookup("OneHot")(
            order, n, np.ones((), x.dtype.base.np), np.zeros((), x.dtype.base.np), axis=-1
        )
        x, term = reduce_sum(x * mask, -1), term[:-1]
    return term, x


def _contract(ta: str, a: Tensor, tb: str, b: Tensor, later: set[str]) -> tuple[str, Tensor]:
    """The product of two terms, summed over the letters that nothing needs later."""
    for_a = [i for i, c in enumerate(ta) if c not in tb and c not in later]
    for_b = [i for i, c in enumerate(tb) if c not in ta and c not in later]
    if for_a:
        a, ta = reduce_sum(a, for_a), "".join(c for i, c in enumerate(ta) if i not in for_a)
    if for_b:
        b, tb = reduce_sum(b, for_b), "".join(c for i, c in enumerate(tb) if i not in for_b)
    batch = [c for c in ta if c in tb and c in later]
    summed = [c for c in ta if c in tb and c not in later]
    left = [c for c in ta if c not in tb]
    right = [c for c in tb if c not in ta]

    def sizes(letters: list[str]) -> list[Any]:
        out: list[Any] = []
        for c in letters:
            t, x = (ta, a) if c in ta else (tb, b)
            out += _size_list(x, [t.index(c)])
        return out

    x = _transpose(a, [ta.index(c) for c in [*batch, *left, *summed]])
    y = _transpose(b, [tb.index(c) for c in [*batch, *summed, *right]])
    if len(left) != 1 or len(summed) != 1:
        x = _reshape(x, [*sizes(batch), _product(sizes(left)), _product(sizes(summed))])
    if len(right) != 1 or len(summed) != 1:
        y = _reshape(y, [*sizes(batch), _product(sizes(summed)), _product(sizes(right))])
    z = matmul(x, y)
    if len(left) != 1 or len(right) != 1:
        z = _reshape(z, [*sizes(batch), *sizes(left), *sizes(right)])
    return "".join([*batch, *left, *right]), z


__all__ = ["einsum", "tensordot"]
