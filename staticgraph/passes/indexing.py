"""Index arithmetic: inlining of index lambdas, and flat addresses from multi-axis loads.

A flat address is a sum of (index expression x stride).  When the index expressions are the loop
variables of a domain in order, whole groups of axes collapse to one variable: ``x[i, j]`` over a
domain of rows ``p`` and columns ``r`` is ``p*m + r`` without any division.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim, Poly, floordiv
from staticgraph.ir.kernel import distinct
from staticgraph.ir.scalar import ZERO, Expr, Index, Lit, Load, Prim, Size, size_expr

I64 = dtypes.int64


def add(a: Expr, b: Expr) -> Expr:
    """a + b on int64, folding constants."""
    if isinstance(a, Lit) and isinstance(b, Lit):
        return Lit(int(a.value) + int(b.value), I64)
    if isinstance(a, Lit) and a.value == 0:
        return b
    if isinstance(b, Lit) and b.value == 0:
        return a
    if isinstance(a, Size | Lit) and isinstance(b, Size | Lit):
        return size_expr(_dim(a) + _dim(b))
    return Prim("add", (a, b), I64)


def mul(a: Expr, b: Expr) -> Expr:
    """a * b on int64, folding constants."""
    if isinstance(a, Size | Lit) and isinstance(b, Size | Lit):
        return size_expr(_dim(a) * _dim(b))
    for x, y in ((a, b), (b, a)):
        if isinstance(x, Lit):
            if x.value == 0:
                return x
            if x.value == 1:
                return y
    return Prim("mul", (a, b), I64)


def _dim(e: Expr) -> Dim:
    return e.dim if isinstance(e, Size) else int(e.value)  # type: ignore[attr-defined]


def simplify(e: Expr) -> Expr:
    """Fold the arithmetic of one int64 node whose operands are already simple."""
    if not isinstance(e, Prim) or e.dtype is not I64 or len(e.args) != 2:
        return e
    a, b = e.args
    match e.name:
        case "add":
            return add(a, b)
        case "mul":
            return mul(a, b)
        case "sub":
            if isinstance(b, Lit):
                return add(a, Lit(-int(b.value), I64))
            if isinstance(a, Size | Lit) and isinstance(b, Size | Lit):
                return size_expr(_dim(a) - _dim(b))
            if a == b:
                return Lit(0, I64)
        case "floordiv" | "mod":
            if isinstance(b, Lit) and b.value == 1:
                return a if e.name == "floordiv" else Lit(0, I64)
            if isinstance(a, Lit) and a.value == 0:
                return a
            if isinstance(a, Size | Lit) and isinstance(b, Size | Lit):
                q = floordiv(_dim(a), _dim(b))
                if isinstance(q, int) or "floordiv" not in str(q):
                    return size_expr(q if e.name == "floordiv" else _dim(a) - q * _dim(b))
    return e


def rewrite(
    e: Expr, leaf: Callable[[Expr], Expr | None], memo: dict[Expr, Expr] | None = None
) -> Expr:
    """Rebuild an expression bottom-up; `leaf` may replace any node before its children are seen.

    Depth is bounded by the fusion limits, so recursion is safe here.
    """
    done: dict[Expr, Expr] = {} if memo is None else memo

    def of(x: Expr) -> Expr:
        out = done.get(x)
        if out is not None:
            return out
        out = leaf(x)
        if out is None:
            if type(x) is Prim:
                args = tuple([of(a) for a in x.args])
                if x.dtype is I64:
                    out = simplify(Prim(x.name, args, I64))
                else:
                    out = x if args == x.args else Prim(x.name, args, x.dtype)
            elif type(x) is Load:
                index = tuple([of(i) for i in x.index])
                out = x if index == x.index else Load(x.operand, index, x.dtype)
            else:
                out = x
        done[x] = out
        return out

    return of(e)


def substitute(e: Expr, env: Mapping[str, Expr]) -> Expr:
    """Replace loop variables by expressions."""
    if all(type(x) is Index and x.name == name for name, x in env.items()):
        return e
    return rewrite(e, lambda x: env.get(x.name, x) if type(x) is Index else None)


def clamps(body: Expr, operand: int) -> bool:
    """True where an operand is loaded at element 0 instead of outside of it.

    Of an empty operand there is no element 0.  A buffer has room for one; a part of another buffer
    may end where that ends.
    """
    index = [
        i for x in distinct(body) if isinstance(x, Load) and x.operand == operand for i in x.index
    ]
    return any(
        isinstance(x, Prim) and x.name == "select" and x.args[2] == ZERO
        for i in index
        for x in distinct(i)
    )


def unsafe_when_empty(body: Expr, dims: Sequence[Dim]) -> bool:
    """True where a value may be empty, and to compute its element 0 then reads beyond a buffer."""
    loose = {f"i{k}" for k, d in enumerate(dims) if not isinstance(d, int)}
    if not loose:
        return False
    first = {f"i{k}": ZERO for k in range(len(dims))}
    return any(
        substitute(i, first) != ZERO
        for x in distinct(body)
        if isinstance(x, Load)
        for i in x.index
        if any(isinstance(e, Index) and e.name in loose for e in distinct(i))
    )


def strides(dims: Sequence[Dim]) -> tuple[Dim, ...]:
    """Row-major strides in elements."""
    out: list[Dim] = []
    n: Dim = 1
    for d in reversed(dims):
        out.append(n)
        n = n * d
    return tuple(reversed(out))


def linear_terms(index: Sequence[Expr], dims: Sequence[Dim]) -> tuple[dict[Expr, Dim], Dim]:
    """A flat address as {expression: stride} and a constant."""
    terms: dict[Expr, Dim] = {}
    constant: Dim = 0
    todo: list[tuple[Expr, Dim]] = list(zip(index, strides(dims), strict=True))
    while todo:
        e, c = todo.pop()
        match e:
            case Lit(value):
                constant = constant + c * int(value)
            case Size(dim):
                constant = constant + c * dim
            case Prim("add", (a, b)):
                todo += [(a, c), (b, c)]
            case Prim("sub", (a, b)):
                todo += [(a, c), (b, -c if isinstance(c, int) else -1 * c)]
            case Prim("mul", (a, b)) if isinstance(b, Lit | Size):
                todo.append((a, c * _dim(b)))
            case Prim("mul", (a, b)) if isinstance(a, Lit | Size):
                todo.append((b, c * _dim(a)))
            case _:
                total = terms.get(e, 0) + c
                if total == 0:
                    terms.pop(e, None)
                else:
                    terms[e] = total
    return terms, constant


def collapse(
    terms: dict[Expr, Dim], names: Sequence[str], dims: Sequence[Dim], flat: Expr
) -> dict[Expr, Dim] | None:
    """Replace the variables `names` (of sizes `dims`) by their flat index, where strides allow.

    Returns None where the variables occur but do not collapse.
    """
    have = [Index(n) for n in names]
    if not any(v in terms for v in have):
        return terms
    steps = strides(dims)
    last = terms.get(have[-1])
    if last is None or any(terms.get(v) != last * s for v, s in zip(have, steps, strict=True)):
        return None
    out = {e: c for e, c in terms.items() if e not in have}
    out[flat] = out.get(flat, 0) + last
    return out


def from_terms(terms: Mapping[Expr, Dim], constant: Dim) -> Expr:
    """The address as an expression; terms in a fixed order, unit strides last."""
    total: Expr | None = None
    for e, c in sorted(terms.items(), key=lambda t: (t[1] == 1, str(t[0]))):
        term = mul(e, size_expr(c))
        total = term if total is None else add(total, term)
    if constant != 0 or total is None:
        offset = size_expr(constant)
        total = offset if total is None else add(total, offset)
    return total


__all__ = [
    "I64", "Poly", "add", "collapse", "from_terms", "linear_terms", "mul", "rewrite", "simplify",
    "strides", "substitute",
]  # fmt: skip
