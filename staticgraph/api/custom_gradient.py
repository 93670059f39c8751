"""`custom_gradient`: a function of tensors that brings its own derivative."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from staticgraph.api.framework import RegisterGradient, flatten, name_scope
from staticgraph.api.variables import Variable, variable_of
from staticgraph.errors import GraphError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.build import convert
from staticgraph.ir.graph import Operation, Tensor, get_default_graph
from staticgraph.ir.op import lookup

_NUMBERS = itertools.count()


def custom_gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function of tensors a gradient of its own.

    Args:
      f: ``f(*x) -> (y, grad_fn)``, where ``grad_fn(*dy)`` gives one cotangent per x.  If `f` uses
        variables, `grad_fn` takes a keyword ``variables`` as well and gives a second list, one
        cotangent per variable.

    Returns:
      A function that gives only y.

    >>> import staticgraph as tf
    >>> @tf.custom_gradient
    ... def clipped(x):
    ...     return x * 1.0, lambda dy: tf.clip_by_value(dy, -1.0, 1.0)
    >>> x = tf.constant([1.0, 2.0])
    >>> tf.gradients(clipped(x) * 5.0, x)[0].shape
    TensorShape([Dimension(2)])
    """

    @functools.wraps(f)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            raise UsageError(
                "the arguments of a function with a custom gradient are positional",
                loc=loc.caller(),
            )
        with name_scope(None, "CustomGradient"):
            return _apply(f, args)

    return decorated


def grad_pass_through(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one tensor through which gradients go as through the identity.

    >>> import staticgraph as tf
    >>> x = tf.constant([0.4, 1.6])
    >>> y = tf.grad_pass_through(tf.round)(x)
    >>> with tf.Session() as sess:
    ...     sess.run(tf.gradients(y * 3.0, x)[0])
    array([3., 3.], dtype=float32)
    """

    @functools.wraps(f)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        @custom_gradient
        def applied(*xs: Any) -> Any:
            def back(*dy: Any, variables: Any = ()) -> Any:
                passed = dy[0] if len(dy) == 1 else list(dy)
                return (passed, [None] * len(variables)) if variables else passed

            return f(*xs, **kwargs), back

        return applied(*args)

    return decorated


def recompute_grad(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f`: values are the same, and what is computed again is for the compiler to decide."""
    return f


def _apply(f: Callable[..., Any], args: Sequence[Any]) -> Any:
    graph = get_default_graph()
    xs = [lookup("Identity")(convert(a), name="input") for a in args]
    start = graph.version
    y, grad_fn = f(*xs)
    flat = [convert(t) for t in flatten(y)]
    variables = _variables_used(flat, start)
    takes_variables = _takes(grad_fn, "variables")
    if variables and not takes_variables:
        raise UsageError(
            f"the function uses {len(variables)} variables, so its grad_fn must take the keyword "
            "argument 'variables'",
            loc=loc.caller(),
        )
    reads = [v.as_graph_tensor() for v in variables]
    name = f"CustomGradient-{next(_NUMBERS)}"

    def rule(op: Operation, *dys: Any) -> list[Any]:
        given = dys[: len(flat)]
        if takes_variables and variables:
            dxs, dvs = grad_fn(*given, variables=variables)
            dvs = _one_per(dvs, len(variables), "variables")
        else:
            dxs, dvs = grad_fn(*given), []
        return [*([None] * len(flat)), *_one_per(dxs, len(xs), "arguments"), *dvs]

    RegisterGradient(name)(rule)
    tensors = [*flat, *xs, *reads]
    with graph.gradient_override_map({"IdentityN": name}):
        out = lookup("IdentityN")(tensors, N=len(tensors))
    for result, like in zip(out, flat, strict=False):
        result.set_shape(like.shape)
    return _repacked(y, iter(out))


def _repacked(structure: Any, leaves: Any) -> Any:
    if isinstance(structure, dict):
        values = {k: _repacked(structure[k], leaves) for k in sorted(structure)}
        return {k: values[k] for k in structure}
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*[_repacked(s, leaves) for s in structure])
    if isinstance(structure, (list, tuple)):
        return type(structure)(_repacked(s, leaves) for s in structure)
    return next(leaves)


def _one_per(cotangents: Any, n: int, what: str) -> list[Any]:
    out = list(cotangents) if isinstance(cotangents, (list, tuple)) else [cotangents]
    if len(out) != n:
        raise GraphError(
            f"a custom gradient gave {len(out)} cotangents for {n} {what}", loc=loc.caller()
        )
    return out


def _takes(f: Callable[..., Any], keyword: str) -> bool:
    parameters = inspect.signature(f).parameters.values()
    return any(p.name == keyword or p.kind is p.VAR_KEYWORD for p in parameters)


def _variables_used(ys: Sequence[Tensor], start: int) -> list[Variable]:
    """The variables that operations made since `start` read on the way to `ys`."""
    found: dict[Variable, None] = {}
    seen: set[Operation] = set()
    stack = [y.op for y in ys]
    while stack:
        op = stack.pop()
        if op in seen:
            continue
        seen.add(op)
        storage = op if op.type == "VariableV2" else None
        if op.type == "Identity" and op.inputs[0].op.type == "VariableV2":
            storage = op.inputs[0].op
        if storage is not None:
            v = variable_of(storage)
            if v is not None and v.trainable:
                found[v] = None
            continue
        if op.id >= start:
            stack += [t.op for t in op.inputs]
    return sorted(found, key=lambda v: v.op.id)


__all__ = ["custom_gradient", "grad_pass_through", "recompute_grad"]
