"""Fold updates into what they add.

- ``W - lr * (A @ B)`` is one GEMM with alpha and beta, where W is a parameter and the sum what
  the function leaves: it can then happen in place.  Elsewhere a sum is best added by the kernel
  that reads it.
- ``total + slice among zeros`` writes that slice only, not all of the total.
- ``W - lr * scatter(zeros, i, u)``, the step of an embedding, is a scatter onto W: the rows that
  were looked up are touched, and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np

from staticgraph.ir import dims as D
from staticgraph.ir.function import Builder, Function, Node, Value
from staticgraph.ir.op import lookup
from staticgraph.ir.record import record


@record(frozen=True)
class FoldUpdates:
    """Rewrite ``c + s * p`` and ``c - s * p`` where p is a product or a scatter onto zeros.

    For a product s is a constant, for a scatter any scalar.  Only where nothing else reads p, but
    for a scatter onto a variable: two tables may have been looked up by the same ids.
    Rounding changes by units in the last place: alpha multiplies inside the product, and an index
    that comes twice is added twice to c, as TensorFlow does it, instead of the sum once.
    """

    name: ClassVar[str] = "update"

    def __call__(self, f: Function) -> Function:
        uses = f.uses()
        made = f.producers()
        params = {p.value for p in f.params}
        left = {*f.updates.values(), *f.results}
        folded: dict[Value, Rewrite] = {}
        written = set(f.updates.values())

        def stepped(node: Node) -> bool:
            return not written.isdisjoint(node.outputs) and not params.isdisjoint(node.inputs)

        for node in f.nodes:
            found = None
            if not left.isdisjoint(node.outputs):
                found = _match(node, made, uses, params)
            found = found or _match_scatter(node, made, None if stepped(node) else uses)
            found = found or _match_put(node, made, uses)
            if found is not None:
                folded[node.output] = found
        if not folded:
            return f
        b = Builder(like=f)
        env: dict[Value, Value] = {}
        with b:
            for node in f.nodes:
                hit = folded.get(node.outputs[0]) if len(node.outputs) == 1 else None
                if hit is None:
                    new = b.copy(node, env)
                    env.update(zip(node.outputs, new.outputs, strict=True))
                    continue
                b.loc, b.label = node.loc, node.name
                env[node.output] = hit(lambda v: env.get(v, v))
        return b.finish(f.results, f.updates, env)


Rewrite = Callable[[Callable[[Value], Value]], Value]  # given what values have become


def _terms(node: Node) -> Iterator[tuple[Value, Value, str]]:
    """(c, x, sign) of every way to read a node as ``c + x`` or ``c - x``."""
    if node.op.name in ("Add", "AddV2", "Sub"):
        x, y = node.inputs
        yield x, y, "sub" if node.op.name == "Sub" else "add"
        if node.op.name != "Sub":
            yield y, x, "add"


def _match(
    node: Node, made: dict[Value, Node], uses: dict[Value, int], params: set[Value]
) -> Rewrite | None:
    for c, scaled, sign in _terms(node):
        if c not in params:
            continue
        scale, product = _scaled_product(scaled, made, uses)
        if product is None or c is scaled or not node.output.dtype.is_floating:
            continue
        if c.type == node.output.type == product.output.type:
            return _gemm_add(c, product, scale if sign == "add" else -scale)
    return None


def _gemm_add(c: Value, product: Node, alpha: float) -> Rewrite:
    def rewrite(now: Callable[[Value], Value]) -> Value:
        x, y = product.inputs
        out: Value = lookup("GemmAdd")(now(c), now(x), now(y), alpha=alpha, **product.attrs)
        return out

    return rewrite


def _scaled_product(
    v: Value, made: dict[Value, Node], uses: dict[Value, int]
) -> tuple[float, Node | None]:
    node = made.get(v)
    if node is None or uses.get(v, 0) != 1:
        return 1.0, None
    if node.op.name == "Gemm":
        return 1.0, node
    if node.op.name != "Mul":
        return 1.0, None
    for s, x in (node.inputs, node.inputs[::-1]):
        constant, product = made.get(s), made.get(x)
        if (
            constant is not None
            and constant.op.name == "Const"
            and s.type.shape == ()
            and product is not None
            and product.op.name == "Gemm"
            and uses.get(x, 0) == 1
        ):
            return float(constant.attrs["value"].array), product
    return 1.0, None


def _match_scatter(
    node: Node, made: dict[Value, Node], uses: dict[Value, int] | None
) -> Rewrite | None:
    """A scatter onto zeros as a term; with `uses`, one that nothing else reads."""

    def alone(v: Value) -> Node | None:
        return made.get(v) if uses is None or uses.get(v, 0) == 1 else None

    def reshaped(v: Value) -> Value:
        while (n := alone(v)) is not None and n.op.name in ("Reshape", "ExpandDims", "Squeeze"):
            v = n.inputs[0]
        return v

    for c, x, sign in _terms(node):
        if c.type != node.output.type or x.type != node.output.type:
            continue
        v, scale = reshaped(x), None
        n = alone(v)
        if n is not None and n.op.name == "Mul":
            scale, v = n.inputs if n.inputs[0].type.shape == () else n.inputs[::-1]
            if scale.type.shape != () or v.type != n.output.type:
                continue
            n = alone(reshaped(v))
        if n is None or n.op.name != "ScatterBlocks" or n.attrs["kind"] != "add":
            continue
        if _is_zero(n.inputs[0], made):
            return _scatter_onto(c, n, scale, sign)
    return None


def _scatter_onto(c: Value, scatter: Node, scale: Value | None, kind: str) -> Rewrite:
    def rewrite(now: Callable[[Value], Value]) -> Value:
        _, indices, updates = (now(v) for v in scatter.inputs)
        if scale is not None:
            updates = lookup("Mul")(now(scale), updates)
        out: Value = scatter.op(now(c), indices, updates, **{**scatter.attrs, "kind": kind})
        return out

    return rewrite


FEW = 64  # elements: fewer are as well written in one pass


def _match_put(node: Node, made: dict[Value, Node], uses: dict[Value, int]) -> Rewrite | None:
    """One slice among zeros, added to something: how the gradient of ``x[i]`` is added up."""
    for c, x, sign in _terms(node):
        put = made.get(x)
        if put is None or put.op.name != "PutIndex" or uses.get(x, 0) != 1:
            continue
        if not c.type == x.type == node.output.type or x.dtype.name not in ("float32", "float64"):
            continue
        total = D.product(x.dims)
        if not isinstance(total, int) or total > FEW:
            return _put_onto(c, put, sign)
    return None


def _put_onto(c: Value, put: Node, kind: str) -> Rewrite:
    def rewrite(now: Callable[[Value], Value]) -> Value:
        g, like, index = put.inputs
        dims = like.dims
        axis = put.attrs["axis"] % len(dims)
        place = lookup("WrapIndex")(now(index), dims[axis])
        sizes = (1, D.product(dims[:axis]), dims[axis], D.product(dims[axis + 1 :]), 1)
        out: Value = lookup("ScatterBlocks")(now(c), place, now(g), sizes, kind=kind)
        return out

    return rewrite


def _is_zero(v: Value, made: dict[Value, Node]) -> bool:
    node = made.get(v)
    while node is not None and node.op.name in ("Reshape", "Fill", "BroadcastTo"):
        node = made.get(node.inputs[-1 if node.op.name == "Fill" else 0])
    return (
        node is not None and node.op.name == "Const"
        and node.output.dtype.is_numeric and not np.any(node.attrs["value"].array)
    )  # fmt: skip
