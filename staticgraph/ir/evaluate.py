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
from staticgraph.ir.dims import Dim, Poly, Symbol
from staticgraph.ir.function import ElementOf, Function, Given, GuardSite, Node, SizeOf, Value

HostRule = Callable[[Node, Sequence[np.ndarray], Mapping[str, Any]], Any]


class BrokenGuardError(Exception):
    """Sizes at hand contradict what the function assumed; it must be specialised."""

    def __init__(
        self, sites: Sequence[GuardSite], message: str = "",
        error: InvalidArgumentError | None = None,
    ) -> None:  # fmt: skip
        super().__init__(", ".join(str(s.guard) for s in sites))
        self.sites = tuple(sites)
        self.message = message  # for the user, where no specialisation helps
        self.error = error  # what the body of a loop raises for these sizes, if it ever runs
        self.ahead = False  # nobody knows yet whether what needs the sizes will run


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
      BrokenGuardError: sizes assumed equal differ, or a loop's body has a requirement on sizes
        that is not met.
      InvalidArgumentError: a requirement on sizes is not met.
    """
    broken = []
    message = ""
    error: InvalidArgumentError | None = None
    for site in sites:
        guard = site.guard
        try:
            a, b = D.evaluate(guard.a, env), D.evaluate(guard.b, env)
        except KeyError:
            continue
        if guard.kind == "<=":
            if a > b:
                unmet = InvalidArgumentError(
                    f"{site.op}: {guard.message.format(a=a, b=b)}", loc=site.loc,
                    operands=(f"operation {site.name!r}",) if site.name else (),
                )  # fmt: skip
                if not site.lifted:
                    raise unmet
                broken.append(site)
                error = error or unmet
        elif a != b:
            broken.append(site)
            message = message or f"{site.op}: {guard.message.format(a=a, b=b)}"
    if broken:
        raise BrokenGuardError(broken, message, error)


def bind_sizes(function: Function, value: Value, array: np.ndarray, env: dict[Symbol, int]) -> None:
    """Record the sizes that `array`, the value of `value`, determines."""
    for s, origin in function.sizes.items():
        match origin:
            case SizeOf(of, axis) if of is value:
                env[s] = int(array.shape[axis])
            case ElementOf(of, element) if of is value:
                env[s] = int(np.ravel(array)[element])


class Bound:
    """The body of a loop or branch with the sizes it is given: arrays in, arrays out."""

    def __init__(self, function: Function, sizes: Sequence[int], host: HostRule | None) -> None:
        self.function, self.sizes, self.host = function, tuple(sizes), host

    def __call__(self, args: Sequence[Any]) -> list[np.ndarray]:
        """The results on `args`."""
        return evaluate(self.function, args, self.host, self.sizes)[0]

    @property
    def count(self) -> int:
        """How many results there are."""
        return len(self.function.results)

    def nothing(self, result: int) -> np.ndarray:
        """What stacking no value of a result gives; sizes that no iteration told are 0."""
        type_ = self.function.results[result].type
        env = given_sizes(self.function, self.sizes)
        dims = (
            D.evaluate(d, env) if D.symbols_of(d) <= env.keys() else 0 for d in type_.shape or ()
        )
        return np.zeros((0, *dims), type_.dtype.base.np)


def emptied(array: np.ndarray, dims: Sequence[Dim] | None, env: Mapping[Symbol, int]) -> np.ndarray:
    """A stack that no iteration of a loop has added to, in the sizes that it is said to have."""
    if array.size or dims is None or not array.ndim or array.shape[0]:
        return array
    known = [
        D.evaluate(d, env) if D.symbols_of(d) <= env.keys() else n
        for d, n in zip(dims, array.shape, strict=True)
    ]
    return array.reshape(0, *known[1:])


def given_sizes(function: Function, sizes: Sequence[int]) -> dict[Symbol, int]:
    """The symbols whose values the enclosing node gives."""
    return {s: D.evaluate(d, {}) for s, d in function.bound(sizes).items()}


def with_bodies(attrs: Mapping[str, Any], host: HostRule | None) -> dict[str, Any]:
    """The attributes of a loop or branch with functions as callables."""

    def bound(value: Any) -> Any:
        if isinstance(value, Function):
            return Bound(value, attrs["sizes"], host)
        if isinstance(value, tuple) and value and isinstance(value[0], Function):
            return tuple(map(bound, value))
        return value

    return {k: bound(v) for k, v in attrs.items()}


def evaluate(
    function: Function, args: Sequence[Any], host: HostRule | None = None,
    given: Sequence[int] = (),
) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:  # fmt: skip
    """Run a function on arrays.

    Args:
      args: one array per parameter, in order.
      host: how to run ops that have no numpy rule of their own (random draws, prints).
      given: the sizes that the enclosing node passes.

    Returns:
      the results, and the value of each updated variable.

    Raises:
      BrokenGuardError: sizes assumed equal differ.
      ShapeError: an argument's shape contradicts its parameter's.
    """
    env = given_sizes(function, given)
    values: dict[Value, np.ndarray] = {}
    sized = {o.value for o in function.sizes.values() if not isinstance(o, Given)}
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
            outs = _apply(node, [values[v] for v in node.inputs], env, host)
            for v, o in zip(node.outputs, outs, strict=True):
                array = np.asarray(o, dtype=v.dtype.np)
                if node.op.library == "loop":
                    array = emptied(array, v.type.shape, env)
                values[v] = array
                if v in sized:
                    bind_sizes(function, v, array, env)
                    check_guards(function.guards, env)
    return (
        [values[v] for v in function.results],
        {k: values[v] for k, v in function.updates.items()},
    )


def _apply(
    node: Node, inputs: Sequence[np.ndarray], env: Mapping[Symbol, int], host: HostRule | None
) -> Sequence[Any]:
    attrs = concrete_attrs(node.attrs, env)
    if node.op.control:
        attrs = with_bodies(attrs, host)
    if node.op.numpy is not None:
        out = node.op.numpy(*inputs, **attrs)
    elif host is not None:
        out = host(node, inputs, attrs)
    else:
        raise InvalidArgumentError(f"{node.op.name} cannot be evaluated here", loc=node.loc)
    return out if isinstance(out, (tuple, list)) else (out,)


__all__ = [
    "Bound",
    "BrokenGuardError",
    "ElementOf",
    "bind_sizes",
    "check_guards",
    "concrete",
    "concrete_attrs",
    "emptied",
    "evaluate",
    "with_bodies",
]
