"""Reverse-mode differentiation over any sequence of applied ops.

`backward` walks applications from last to first, asks each op's rule for the cotangents of its
inputs, and sums where a tensor is used more than once.  It does not know whether it writes into a
user's graph, into a function or at once: the rules are written with ops and follow their operands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from staticgraph.errors import GraphError
from staticgraph.ir import dtypes
from staticgraph.ir.function import Builder, Function, Value
from staticgraph.ir.op import Op, lookup
from staticgraph.ir.record import record


@record(frozen=True, slots=True)
class Application:
    """One op applied: what `backward` needs to know of a graph operation or a function's node.

    `rule` overrides the record's gradient (custom gradients).
    """

    op: Op
    inputs: tuple[Any, ...]
    attrs: Mapping[str, Any]
    outputs: tuple[Any, ...]
    name: str = ""
    rule: Callable[..., Any] | None = None


def cotangents_of(app: Application, gs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Apply the op's gradient rule; missing cotangents of multi-result ops become zeros."""
    rule = app.rule or app.op.grad
    if rule is None:
        return (None,) * len(app.inputs)
    if app.op.control:
        out = rule(gs, app.outputs, *app.inputs, **app.attrs)
    elif len(app.outputs) == 1:
        out = rule(gs[0], app.outputs[0], *app.inputs, **app.attrs)
    else:
        full = tuple(
            lookup("ZerosLike")(y) if g is None and y.dtype.is_differentiable else g
            for g, y in zip(gs, app.outputs, strict=True)
        )
        out = rule(full, app.outputs, *app.inputs, **app.attrs)
    out = tuple(out) if isinstance(out, (tuple, list)) else (out,)
    if len(out) != len(app.inputs):
        raise GraphError(
            f"the gradient of {app.op.name} gave {len(out)} cotangents for {len(app.inputs)} inputs"
        )
    return out


def added(a: Any, b: Any) -> Any:
    """The sum of two cotangents."""
    return lookup("BoxSum")(a, b) if a.dtype.base is dtypes.variant else a + b


def backward(
    applications: Iterable[Application],
    cotangents: MutableMapping[Any, Any],
    wanted: Callable[[Any], bool],
    scope: Callable[[Application], AbstractContextManager[Any]] | None = None,
) -> None:
    """Propagate cotangents through `applications`, given last first.

    Args:
      cotangents: tensor to cotangent; filled in place.
      wanted: whether a tensor's cotangent is needed at all (does it depend on what is asked for?).
      scope: opens a context (a name scope) around each rule.
    """
    opened = scope or (lambda _: nullcontext())
    for app in applications:
        gs = tuple(cotangents.get(y) for y in app.outputs)
        if all(g is None for g in gs) or not any(wanted(x) for x in app.inputs):
            continue
        with opened(app):
            for x, d in zip(app.inputs, cotangents_of(app, gs), strict=True):
                if d is None or not wanted(x) or not x.dtype.base.is_differentiable:
                    continue
                have = cotangents.get(x)
                cotangents[x] = d if have is None else added(have, d)


def vjp(function: Function, wrt: Iterable[Value] | None = None) -> Function:
    """The function that also takes a cotangent per result and returns those of parameters.

    Results of the new function: one cotangent per floating parameter in `wrt` (all by default);
    zeros where a parameter has no influence.

    >>> from staticgraph import ops
    >>> from staticgraph.ir import dtypes
    >>> from staticgraph.ir.types import TensorType
    >>> b = Builder("f")
    >>> x = b.param("feed", "x", TensorType(dtypes.float32, ()))
    >>> with b:
    ...     y = x * x
    >>> [str(v.type) for v in vjp(b.finish([y])).results]
    ['f32[]']
    """
    builder = Builder(like=function)
    builder.nodes = list(function.nodes)
    wrt = (
        [p.value for p in function.params if p.value.dtype.is_differentiable]
        if wrt is None
        else list(wrt)
    )
    reached: set[Value] = set(wrt)
    for node in function.nodes:
        if any(v in reached for v in node.inputs):
            reached.update(node.outputs)
    cotangents: dict[Value, Value] = {}
    with builder:
        for i, y in enumerate(function.results):
            if y.dtype.is_differentiable:
                g = builder.param("feed", f"g{i}", y.type)
                cotangents[y] = g if y not in cotangents else cotangents[y] + g
        apps = (
            Application(n.op, n.inputs, n.attrs, n.outputs, n.name)
            for n in reversed(function.nodes)
        )
        backward(apps, cotangents, lambda v: v in reached)
        results = [cotangents[v] if v in cotangents else lookup("ZerosLike")(v) for v in wrt]
    return builder.finish(results)
