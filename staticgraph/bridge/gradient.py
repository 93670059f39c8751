"""The gradient of a traced function, as a function, and what the forward run keeps for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from staticgraph.bridge.region import Region, Source
from staticgraph.ir.function import Builder, Function, Node, Param, Value
from staticgraph.ir.op import lookup
from staticgraph.passes.autodiff import Application, backward


def applications(nodes: Sequence[Node], regions: Sequence[Region]) -> Iterator[Application]:
    """Nodes from last to first; a region with a gradient of its own is one application."""
    ends = {r.last: r for r in regions}
    inside: set[int] = set()
    for node in reversed(nodes):
        region = ends.get(id(node))
        if id(node) in inside:
            continue
        if region is not None:
            inside |= region.nodes
            yield Application(
                lookup("Identity"), region.inputs, {}, region.outputs, "", region.rule
            )
        else:
            yield Application(node.op, node.inputs, node.attrs, node.outputs, node.name)


def gradient_of(
    function: Function, sources: Sequence[Source], regions: Sequence[Region],
    wanted: Sequence[int], given: Sequence[int],
) -> tuple[Function, list[Source]]:  # fmt: skip
    """The function of the same parameters and of a cotangent for each result in `given`.

    Args:
      wanted: numbers of the parameters whose cotangents are the results.
      given: numbers of the results that have a cotangent.

    Returns:
      the function, and where its parameters come from.
    """
    from staticgraph.bridge.tracer import Tracer

    builder = Builder(like=function)
    builder.nodes = list(function.nodes)
    tracer = Tracer(builder, grad=True)
    tracer.sources = list(sources)
    tracer.know(sources, [p.value for p in function.params])
    wrt = [function.params[i].value for i in wanted]
    reached: set[Value] = set(wrt)
    for node in function.nodes:
        if any(v in reached for v in node.inputs):
            reached.update(node.outputs)
    with tracer.active():
        cotangents: dict[Value, Value] = {}
        for i in given:
            y = function.results[i]
            g = tracer.parameter(f"g{i}", y.type, Source("cotangent", i))
            cotangents[y] = cotangents[y] + g if y in cotangents else g
        backward(applications(function.nodes, regions), cotangents, lambda v: v in reached)
        zeros = lookup("ZerosLike")
        results = [cotangents[v] if v in cotangents else zeros(v) for v in wrt]
    return builder.finish(results), tracer.sources


def kept_for(forward: Function, joint: Function) -> list[Value]:
    """The values of the forward function that its gradient starts from.

    What is cheap to compute is computed again; a product or a sum is kept.  Empty where the
    gradient has to run the forward function anew.
    """
    if any(n.op.host or n.op.effect != "pure" for n in joint.nodes):
        return []
    made = {v: n for n in forward.nodes for v in n.outputs}
    kept: dict[Value, None] = {}
    seen: set[Value] = set()
    stack = [v for n in joint.nodes[len(forward.nodes) :] for v in _read(n) if v in made] + [
        v for v in joint.results if v in made
    ]
    while stack:
        v = stack.pop()
        if v in seen:
            continue
        seen.add(v)
        node = made[v]
        if node.op.cheap or node.op.name == "Const":
            stack += [x for x in node.inputs if x in made]
        else:
            kept[v] = None
    return list(kept)


def _read(node: Node) -> Sequence[Value]:
    """The inputs of a node but for those that only lend their shape."""
    names = [o for o in node.op.operands if not o.startswith("@")]
    if len(names) != len(node.inputs):
        return node.inputs
    return [v for n, v in zip(names, node.inputs, strict=True) if n != "like"]


def split(
    forward: Function, joint: Function, sources: Sequence[Source], kept: Sequence[Value]
) -> tuple[Function, Function, list[Source]]:
    """The forward function that gives `kept` as well, and the gradient that takes them."""
    first = Function(
        forward.name, forward.params, forward.nodes, (*forward.results, *kept), {},
        forward.sizes, forward.guards,
    )  # fmt: skip
    given = set(kept)
    nodes = [n for n in joint.nodes if not any(v in given for v in n.outputs)]
    extra = tuple(Param("feed", f"kept{i}", v) for i, v in enumerate(kept))
    second = Function(
        joint.name, (*joint.params, *extra), tuple(_needed(nodes, joint.results)), joint.results,
        {}, joint.sizes, joint.guards,
    )  # fmt: skip
    return first, second, [*sources, *[Source("kept", i) for i in range(len(kept))]]


def _needed(nodes: Sequence[Node], ends: Sequence[Value]) -> list[Node]:
    wanted = set(ends)
    out = []
    for node in reversed(nodes):
        if any(v in wanted for v in node.outputs):
            out.append(node)
            wanted.update(node.inputs)
    return out[::-1]
