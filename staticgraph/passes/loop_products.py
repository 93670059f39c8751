"""Products in a loop's body, taken apart where a part of them need not wait.

- A cell multiplies what it reads and what it remembers at once, ``concat(x, h) @ W``.  What it
  reads is known for all iterations: ``x @ W[:k] + h @ W[k:]`` leaves one product in the loop, and
  the other is a large one before it.
- Of ``d @ W^T``, the cotangent of what was put together, a loop often needs some columns only:
  ``(d @ W^T)[:, k:]`` is ``d @ W[k:]^T``.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from staticgraph.ir.dims import Dim
from staticgraph.ir.function import Builder, Node, Value
from staticgraph.ir.op import lookup
from staticgraph.passes.loop_form import LoopForm


def take_apart(form: LoopForm) -> None:
    """Rewrite the products of a loop's body; what no longer depends on carries can leave it."""
    body = form.body
    bound = _bound_to_carries(form)
    fixed = {i.param for i in form.invariants}
    producer = body.producers()
    sliced = _only_sliced(form)
    b = Builder(like=body)
    env: dict[Value, Value] = {}
    changed = False
    with b:
        for n in body.nodes:
            b.loc, b.label = n.loc, n.name
            new = _split(n, producer, bound, fixed, env) or _narrowed(
                n, producer, fixed, sliced, env
            )
            if new is None:
                copied = b.copy(n, env)
                env.update(zip(n.outputs, copied.outputs, strict=True))
            else:
                env[n.output] = new
                changed = True
    if not changed:
        return
    form.body = replace(body, nodes=tuple(b.nodes))
    for c in form.carries:
        c.new = env.get(c.new, c.new)
    for o in form.outputs:
        o.value = env.get(o.value, o.value)


def _split(
    n: Node, producer: dict[Value, Node], bound: set[Value], fixed: set[Value],
    env: dict[Value, Value],
) -> Value | None:  # fmt: skip
    """``concat(x, h) @ W`` as a sum of products, where some parts depend on carries, some not."""
    if n.op.name != "Gemm" or n.attrs["transpose_a"] or n.inputs[1] not in fixed:
        return None
    joined = producer.get(n.inputs[0])
    if joined is None or joined.op.name != "ConcatV2" or joined.attrs["axis"] not in (1, -1):
        return None
    parts = joined.inputs
    waits = [p in bound for p in parts]
    if all(waits) or not any(waits):
        return None
    weights, flipped = env.get(n.inputs[1], n.inputs[1]), n.attrs["transpose_b"]
    total: Value | None = None
    at: Dim = 0
    for p in parts:
        k = p.dims[1]
        part = _rows(weights, at, k, 1 if flipped else 0)
        at = at + k
        product = lookup("Gemm")(env.get(p, p), part, transpose_a=False, transpose_b=flipped)
        total = product if total is None else lookup("Add")(total, product)
    return total


def _narrowed(
    n: Node, producer: dict[Value, Node], fixed: set[Value], sliced: set[Value],
    env: dict[Value, Value],
) -> Value | None:  # fmt: skip
    """Some columns of a product, as a product with some columns of the second factor."""
    if n.op.name != "Slice" or n.inputs[0] not in sliced:
        return None
    made = producer.get(n.inputs[0])
    if made is None or made.op.name != "Gemm" or made.inputs[1] not in fixed:
        return None
    (row, column), (rows, columns) = n.attrs["begin"], n.attrs["size"]
    if row != 0 or rows not in (-1, made.output.dims[0]) or columns == -1:
        return None
    flipped = made.attrs["transpose_b"]
    x, weights = (env.get(v, v) for v in made.inputs)
    part = _rows(weights, column, columns, 0 if flipped else 1)
    out: Value = lookup("Gemm")(x, part, transpose_a=made.attrs["transpose_a"], transpose_b=flipped)
    return out


def _rows(w: Value, at: Dim, count: Dim, axis: int) -> Value:
    """A part of a matrix along an axis."""
    begin: list[Dim] = [0, 0]
    size = list(w.dims)
    begin[axis], size[axis] = at, count
    out: Value = lookup("Slice")(w, begin=tuple(begin), size=tuple(size))
    return out


def _bound_to_carries(form: LoopForm) -> set[Value]:
    """Values of a body that depend on carries."""
    out = {c.param for c in form.carries}
    for n in form.body.nodes:
        if any(v in out for v in n.inputs):
            out.update(n.outputs)
    return out


def _only_sliced(form: LoopForm) -> set[Value]:
    """Matrices that a body reads by columns alone, and none of them twice."""
    columns: dict[Value, list[tuple[Dim, Dim]]] = {}
    other = {c.new for c in form.carries} | {o.value for o in form.outputs}
    for n in form.body.nodes:
        for v in n.inputs:
            if n.op.name == "Slice" and len(n.attrs["begin"]) == 2:
                columns.setdefault(v, []).append((n.attrs["begin"][1], n.attrs["size"][1]))
            else:
                other.add(v)
    return {v for v, parts in columns.items() if v not in other and _apart(parts)}


def _apart(parts: list[tuple[Dim, Dim]]) -> bool:
    """True where ranges of columns do not overlap."""
    if any(not isinstance(d, int) for part in parts for d in part):
        return len(parts) == 1
    known = sorted((int(str(a)), int(str(n))) for a, n in parts)
    return all(a + n <= b for (a, n), (b, _) in pairwise(known))


__all__ = ["take_apart"]
