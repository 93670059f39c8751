"""The plain numpy evaluator of functions: the oracle that every later stage is compared with.

It knows nothing of kernels or plans.  Sizes are bound from the arrays as they come, guards are
checked, and each node is its op's numpy rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from staticgraph.errors import InvalidArgumentError, ShapeError
from staticgraph.ir import dims as D
from staticgraph.ir.dims import Poly, Symbol
from staticgraph.ir.function import ElementOf, Function, GuardSite, Node, SizeOf, Value

HostRule = Callable[[Node, Sequence[np.ndarray], Mapping[str, Any]], Any]


class BrokenGuardError(Exception):
    """Sizes at hand contradict what the function assumed; it must be specialised."""

    def __init__(self, sites: Sequence[GuardSite], message: str = "") -> None:
        super().__init__(", ".join(str(s.guard) for s in sites))
        self.sites = tuple(sites)
        self.message = message  # for the user, where no specialisation helps


def concrete(value: Any, env: Mapping[Symbol, int]) -> Any:
    """An attribute with its symbolic sizes replaced by ints."""
    if isinstance(value, Poly):
        return D.evaluate(value, env)
    if isinstance(value, tuple):
        return tuple(concrete(v, env) for v in value)
    return value


def concrete_attrs(attrs: Mapping[str, Any], env: Mapping[Symbol, int]) -> dict[str, Any]:
    """All attributes of a node with ints for sizes."""
    return {k: concrete(v, env) for k, v in attrs.items()}


def check_guards(sites: Sequence[GuardSite], env: Mapping[Symbol, int]) -> None:
    """Check those guards whose symbols are all known.

    Raises:
      BrokenGuardError: sizes assumed equal differ.
      InvalidArgumentError: a requirement on sizes is not met.
    """
    broken = []
    message = ""
    for site in sites:
        guard = site.guard
        try:
            a, b = D.evaluate(guard.a, env), D.evaluate(guard.b, env)
        except KeyError:
            continue
        if guard.kind == "<=":
            if a > b:
                raise InvalidArgumentError(
                    f"{site.op}: {guard.message.format(a=a, b=b)}", loc=site.loc,
                    operands=(f"operation {site.name!r}",) if site.name else (),
                )  # fmt: skip
        elif a != b:
            broken.append(site)
            message = message or f"{site.op}: {guard.message.format(a=a, b=b)}"
    if broken:
        raise BrokenGuardError(broken, message)


def bind_sizes(function: Function, value: Value, array: np.ndarray, env: dict[Symbol, int]) -> None:
    """Record the sizes that `array`, the value of `value`, determines."""
    for s, origin in function.sizes.items():
        if origin.value is value:
            if isinstance(origin, SizeOf):
                env[s] = int(array.shape[origin.axis])
            else:
                env[s] = int(np.ravel(array)[origin.element])


def evaluate(
    function: Function, args: Sequence[Any], host: HostRule | None = None
) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Run a function on arrays.

    Args:
      args: one array per parameter, in order.
      host: how to run ops that have no numpy rule of their own (random draws, prints).

    Returns:
      the results, and the value of each updated variable.

    Raises:
      BrokenGuardError: sizes assumed equal differ.
      ShapeError: an argument's shape contradicts its parameter's.
    """
    env: dict[Symbol, int] = {}
    values: dict[Value, np.ndarray] = {}
    sized = {o.value for o in function.sizes.values()}
    for param, arg in zip(function.params, args, strict=True):
        dtype = param.value.dtype
        array = np.asarray(arg, dtype=dtype.np)
        shape = param.value.type.shape
        if shape is not None and len(shape) != array.ndim:
            raise ShapeError(f"{param.name}: {array.shape} given for {param.value.type.public()}")
        values[param.value] = array
        if param.value in sized:
            bind_sizes(function, param.value, array, env)
    check_guards(function.guards, env)
    with np.errstate(all="ignore"):
        for node in function.nodes:
            attrs = concrete_attrs(node.attrs, env)
            inputs = [values[v] for v in node.inputs]
            if node.op.numpy is not None:
                out = node.op.numpy(*inputs, **attrs)
            elif host is not None:
                out = host(node, inputs, attrs)
            else:
                raise InvalidArgumentError(f"{node.op.name} cannot be evaluated here", loc=node.loc)
            outs = out if isinstance(out, (tuple, list)) and len(node.outputs) != 1 else (out,)
            if len(node.outputs) == 1 and isinstance(out, (tuple, list)):
                outs = tuple(out)
            for v, o in zip(node.outputs, outs, strict=True):
                array = np.asarray(o, dtype=v.dtype.np)
                values[v] = array
                if v in sized:
                    bind_sizes(function, v, array, env)
                    check_guards(function.guards, env)
    return (
        [values[v] for v in function.results],
        {k: values[v] for k, v in function.updates.items()},
    )


__all__ = [
    "BrokenGuardError",
    "ElementOf",
    "bind_sizes",
    "check_guards",
    "concrete",
    "concrete_attrs",
    "evaluate",
]
