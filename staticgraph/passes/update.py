"""Fold updates into matrix products: ``W - lr * (A @ B)`` is one GEMM with alpha and beta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from staticgraph.ir.function import Builder, Function, Node, Value
from staticgraph.ir.op import lookup


@dataclass(frozen=True)
class FoldUpdates:
    """Rewrite ``c + s * Gemm(a, b)`` and ``c - s * Gemm(a, b)``, s a constant, to ``GemmAdd``.

    Only where nothing else reads the product; alpha multiplies inside the product, which rounds
    differently from a separate multiplication by less than one unit in the last place.
    """

    name: ClassVar[str] = "update"

    def __call__(self, f: Function) -> Function:
        uses = f.uses()
        made = f.producers()
        folded: dict[Value, tuple[Value, Node, float]] = {}
        for node in f.nodes:
            found = _match(node, made, uses)
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
                c, product, alpha = hit
                x, y = product.inputs
                b.loc, b.label = node.loc, node.name
                env[node.output] = lookup("GemmAdd")(
                    env.get(c, c), env.get(x, x), env.get(y, y), alpha=alpha, **product.attrs
                )
        return b.finish(f.results, f.updates, env)


def _match(
    node: Node, made: dict[Value, Node], uses: dict[Value, int]
) -> tuple[Value, Node, float] | None:
    if node.op.name not in ("Add", "AddV2", "Sub") or not node.output.dtype.is_floating:
        return None
    sign = -1.0 if node.op.name == "Sub" else 1.0
    pairs = [(node.inputs[0], node.inputs[1])]
    if sign > 0:
        pairs.append((node.inputs[1], node.inputs[0]))
    for c, scaled in pairs:
        alpha, product = _scaled_product(scaled, made, uses)
        if (
            product is not None
            and c.type == node.output.type == product.output.type
            and c is not scaled
        ):
            return c, product, sign * alpha
    return None


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
