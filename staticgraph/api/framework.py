"""The graph and what surrounds building: scopes, control dependencies, groups, devices."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from staticgraph.errors import GraphError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.graph import Graph, get_default_graph, reset_default_graph
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Operation, Tensor, sessions


def get_default_session() -> Any:
    """The innermost session of this thread's ``with session:`` blocks, or None."""
    stack = sessions()
    return stack[-1] if stack else None


def flatten(structure: Any) -> list[Any]:
    """The leaves of nested lists, tuples and dicts (by sorted key); None is left out."""
    if structure is None:
        return []
    if isinstance(structure, Mapping):
        return [x for k in sorted(structure) for x in flatten(structure[k])]
    if isinstance(structure, (list, builtins.tuple, set, Iterator)):
        return [x for v in structure for x in flatten(v)]
    return [structure]


def graph_of(values: Iterable[Any]) -> Graph:
    """The graph that `values` belong to, or the default graph.

    Raises:
      GraphError: two of them belong to different graphs.
    """
    found: Any = None
    for v in values:
        if not (isinstance(v, (Tensor, Operation)) or hasattr(v, "as_graph_tensor")):
            continue
        if found is None or v.graph.within(found.graph):
            found = v  # the innermost
        elif not found.graph.within(v.graph):
            raise GraphError(
                f"{found.name!r} and {v.name!r} belong to different graphs", loc=loc.caller()
            )
    graph = get_default_graph()
    return graph if found is None or graph.within(found.graph) else found.graph


class name_scope:  # noqa: N801
    """A context manager that prefixes the names of the operations built inside.

    The value it gives is the full prefix with a trailing slash; using such a prefix as `name`
    enters the scope again.

    Args:
      name: the scope's name; it is made unique.
      default_name: used where `name` is None.
      values: tensors the operations take; their graph becomes the default inside.

    Raises:
      ValueError: neither name is given, but `values` are; or `values` are of different graphs.

    >>> import staticgraph as tf
    >>> with tf.name_scope("layer") as scope:
    ...     scope
    'layer/'
    """

    def __init__(
        self, name: str | None, default_name: str | None = None, values: Sequence[Any] | None = None
    ) -> None:
        if name is not None and not isinstance(name, str):
            raise UsageError(
                f"the name of a scope must be a string, got {name!r}", loc=loc.caller()
            )
        if name is None and default_name is None and values is not None:
            raise GraphError("name_scope needs a name or a default name", loc=loc.caller())
        self._name = default_name if name is None else name
        self._values = values
        self._stack: ExitStack | None = None

    @property
    def name(self) -> str | None:
        """The name asked for."""
        return self._name

    def __enter__(self) -> str:
        stack = ExitStack()
        graph = get_default_graph()
        if self._values:
            owner = graph_of(flatten(list(self._values)))
            if owner is not graph:
                graph = owner
                stack.enter_context(graph.as_default())
        scope = stack.enter_context(graph.name_scope(self._name))
        self._stack = stack
        return scope

    def __exit__(self, *exc: Any) -> bool | None:
        assert self._stack is not None
        return self._stack.__exit__(*exc)


@contextmanager
def op_scope(
    values: Sequence[Any], name: str | None, default_name: str | None = None
) -> Iterator[str]:
    """`name_scope` with its arguments in the older order."""
    with name_scope(name, default_name, values) as scope:
        yield scope


def control_dependencies(control_inputs: Any) -> AbstractContextManager[None]:
    """Run `control_inputs` before every operation built inside; None clears what is in force."""
    return get_default_graph().control_dependencies(control_inputs)


def device(device_name_or_function: Any) -> AbstractContextManager[None]:
    """Ask for a device for the operations built inside."""
    return get_default_graph().device(device_name_or_function)


def colocate_with(op: Any, ignore_existing: bool = False) -> AbstractContextManager[None]:
    """Ask for the device of `op` for the operations built inside."""
    return get_default_graph().colocate_with(op, ignore_existing)


@contextmanager
def init_scope() -> Iterator[None]:
    """Build outside loops and branches and without control dependencies.

    What is made here, a variable say, exists once however often the surrounding body runs.
    """
    graph = get_default_graph()
    outer = graph.root
    scope = graph.get_name_scope()
    with ExitStack() as stack:
        if outer is not graph:
            stack.enter_context(outer.as_default())
            stack.enter_context(outer.name_scope(scope + "/" if scope else None))
        stack.enter_context(outer.control_dependencies(None))
        yield


def no_op(name: str | None = None) -> Operation:
    """An operation that does nothing; control inputs give it a use."""
    return lookup("NoOp")(name=name)  # type: ignore[no-any-return]


def group(*inputs: Any, name: str | None = None, **kwargs: Any) -> Operation:
    """An operation that is done when all `inputs` are done.

    Args:
      *inputs: tensors, operations or variables, nested at will.
      name: name of the operation.

    Raises:
      TypeError: an input is something else.
    """
    if kwargs:
        raise UsageError(f"group has no argument {sorted(kwargs)[0]!r}", loc=loc.caller())
    flat = flatten(list(inputs))
    for x in flat:
        if not (isinstance(x, (Tensor, Operation)) or hasattr(x, "as_graph_element")):
            raise UsageError(
                f"group takes tensors, operations and variables, not {x!r}", loc=loc.caller()
            )
    with (
        name_scope(name, "group_deps", flat) as scope,
        get_default_graph().control_dependencies(flat),
    ):
        return no_op(name=scope)


def with_dependencies(dependencies: Sequence[Any], output: Any, name: str | None = None) -> Tensor:
    """The tensor `output`, available when `dependencies` are done."""
    with (
        name_scope(name, "control_dependency", [output, *dependencies]) as scope,
        get_default_graph().control_dependencies(dependencies),
    ):
        return lookup("Identity")(output, name=scope)  # type: ignore[no-any-return]


class RegisterGradient:
    """A decorator that names a gradient function ``fn(op, *grads)``.

    The name is used by `Graph.gradient_override_map`, or it is the type of an op that has no
    gradient of its own.

    Raises:
      KeyError: the name is taken.
    """

    def __init__(self, op_type: str) -> None:
        if not isinstance(op_type, str):
            raise UsageError("op_type must be a string", loc=loc.caller())
        self._op_type = op_type

    def __call__(self, f: Callable[..., Any]) -> Callable[..., Any]:
        if self._op_type in _GRADIENTS:
            raise KeyError(f"a gradient named {self._op_type!r} is registered already")
        _GRADIENTS[self._op_type] = f
        return f


_GRADIENTS: dict[str, Callable[..., Any] | None] = {}
_ABSENT = object()


def registered_gradient(name: str) -> Callable[..., Any] | None:
    """The function registered under `name`; None where it says "not differentiable".

    Raises:
      LookupError: nothing is registered.
    """
    found = _GRADIENTS.get(name, _ABSENT)
    if found is _ABSENT:
        raise LookupError(name)
    return found  # type: ignore[return-value]


def NotDifferentiable(op_type: str) -> None:  # noqa: N802
    """Say that gradients stop at ops of type `op_type`."""
    if not isinstance(op_type, str):
        raise UsageError("op_type must be a string", loc=loc.caller())
    _GRADIENTS[op_type] = None


NoGradient = NotDifferentiable
no_gradient = NotDifferentiable


def tuple(  # noqa: A001
    tensors: Sequence[Any], name: str | None = None, control_inputs: Sequence[Any] | None = None
) -> list[Any]:
    """Tensors with the values of `tensors`, none of which is available before all of them are.

    Args:
      tensors: tensors, variables or None, which stays None.
      control_inputs: more operations to wait for.

    Raises:
      ValueError: `tensors` holds no tensor.
    """
    with name_scope(name, "tuple", [t for t in tensors if t is not None]) as scope:
        values = [t.as_graph_tensor() if hasattr(t, "as_graph_tensor") else t for t in tensors]
        gating = [t.op if isinstance(t, Tensor) else t for t in values if t is not None]
        if not gating:
            raise GraphError(f"tuple needs at least one tensor, got {tensors!r}", loc=loc.caller())
        gate = group(*dict.fromkeys(gating), *(control_inputs or ()))
        del scope
        return [
            with_dependencies([gate], t) if isinstance(t, Tensor) else None if t is None else gate
            for t in values
        ]


__all__ = [
    "Graph", "NoGradient", "NotDifferentiable", "Operation", "RegisterGradient", "Tensor",
    "colocate_with", "control_dependencies", "device", "get_default_graph", "get_default_session",
    "group", "init_scope", "name_scope", "no_gradient", "no_op", "op_scope",
    "reset_default_graph", "tuple",
]  # fmt: skip
