"""Variable scopes: `get_variable` and the names, defaults and sharing it goes by."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from staticgraph.api.collections import GraphKeys
from staticgraph.api.framework import flatten, graph_of, name_scope
from staticgraph.api.variable_store import (
    AUTO_REUSE,
    Reuse,
    VariableAggregation,
    VariableSynchronization,
    get_single,
)
from staticgraph.api.variables import Variable
from staticgraph.errors import DtypeError, GraphError, UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import convert
from staticgraph.ir.dtypes import DType
from staticgraph.ir.graph import get_default_graph


class _Store:
    """One graph's shared variables and, for each thread, its current scope."""

    def __init__(self) -> None:
        self.variables: dict[str, Variable] = {}
        self._local = threading.local()

    @property
    def current(self) -> VariableScope:
        scope = getattr(self._local, "current", None)
        if scope is None:
            scope = self._local.current = VariableScope(False)
        return scope

    @current.setter
    def current(self, scope: VariableScope) -> None:
        self._local.current = scope

    @property
    def counts(self) -> dict[str, int]:
        """How often each scope name has been opened inside the current one."""
        counts = getattr(self._local, "counts", None)
        if counts is None:
            counts = self._local.counts = {}
        return counts

    @counts.setter
    def counts(self, counts: dict[str, int]) -> None:
        self._local.counts = counts

    def close_inner(self, name: str) -> None:
        for key in self.counts:
            if key.startswith(name + "/"):
                self.counts[key] = 0


def _store() -> _Store:
    graph = get_default_graph().root
    if graph.variable_store is None:
        graph.variable_store = _Store()
    return graph.variable_store  # type: ignore[no-any-return]


class VariableScope:
    """What a ``with variable_scope`` block is: a name prefix and defaults for `get_variable`."""

    def __init__(
        self,
        reuse: Reuse,
        name: str = "",
        initializer: Any = None,
        regularizer: Any = None,
        caching_device: Any = None,
        partitioner: Any = None,
        custom_getter: Any = None,
        name_scope: str = "",
        dtype: Any = dtypes.float32,
        use_resource: bool | None = None,
        constraint: Any = None,
    ) -> None:
        self._name, self._reuse, self._name_scope = name, reuse, name_scope
        self._initializer, self._regularizer = initializer, regularizer
        self._caching_device, self._partitioner = caching_device, partitioner
        self._custom_getter, self._constraint = custom_getter, constraint
        self._dtype, self._use_resource = dtypes.as_dtype(dtype), use_resource

    def _derived(self, name: str, original: str, reuse: Reuse) -> VariableScope:
        return VariableScope(
            reuse,
            name,
            self._initializer,
            self._regularizer,
            self._caching_device,
            self._partitioner,
            self._custom_getter,
            original,
            self._dtype,
            self._use_resource,
            self._constraint,
        )

    @property
    def name(self) -> str:
        """The prefix of variable names, without a trailing slash."""
        return self._name

    @property
    def original_name_scope(self) -> str:
        """The name scope opened with this scope."""
        return self._name_scope

    @property
    def reuse(self) -> Reuse:
        """Whether `get_variable` shares: False, True or AUTO_REUSE."""
        return self._reuse

    @property
    def initializer(self) -> Any:
        """The default initializer."""
        return self._initializer

    @property
    def regularizer(self) -> Any:
        """The default regularizer."""
        return self._regularizer

    @property
    def caching_device(self) -> Any:
        """Accepted and kept."""
        return self._caching_device

    @property
    def partitioner(self) -> Any:
        """Accepted and kept; variables are never split."""
        return self._partitioner

    @property
    def custom_getter(self) -> Any:
        """The function that wraps `get_variable`."""
        return self._custom_getter

    @property
    def dtype(self) -> DType:
        """The default element type."""
        return self._dtype

    @property
    def use_resource(self) -> bool | None:
        """Accepted and kept."""
        return self._use_resource

    @property
    def constraint(self) -> Any:
        """The default constraint."""
        return self._constraint

    def reuse_variables(self) -> None:
        """Share existing variables from here on."""
        self._reuse = True

    def set_initializer(self, initializer: Any) -> None:
        """Change the default initializer."""
        self._initializer = initializer

    def set_regularizer(self, regularizer: Any) -> None:
        """Change the default regularizer."""
        self._regularizer = regularizer

    def set_dtype(self, dtype: Any) -> None:
        """Change the default element type."""
        self._dtype = dtypes.as_dtype(dtype)

    def set_use_resource(self, use_resource: bool) -> None:
        """Accepted and kept."""
        self._use_resource = use_resource

    def set_caching_device(self, caching_device: Any) -> None:
        """Accepted and kept."""
        self._caching_device = caching_device

    def set_partitioner(self, partitioner: Any) -> None:
        """Accepted and kept."""
        self._partitioner = partitioner

    def set_custom_getter(self, custom_getter: Any) -> None:
        """Change the function that wraps `get_variable`."""
        self._custom_getter = custom_getter

    def get_collection(self, name: Any) -> list[Any]:
        """A collection's members inside this scope."""
        return get_default_graph().get_collection(name, self._name + "/" if self._name else "")

    def trainable_variables(self) -> list[Any]:
        """Trainable variables inside this scope."""
        return self.get_collection(GraphKeys.TRAINABLE_VARIABLES)

    def global_variables(self) -> list[Any]:
        """Global variables inside this scope."""
        return self.get_collection(GraphKeys.GLOBAL_VARIABLES)

    def local_variables(self) -> list[Any]:
        """Local variables inside this scope."""
        return self.get_collection(GraphKeys.LOCAL_VARIABLES)

    def get_variable(
        self,
        store: _Store,
        name: str,
        shape: Any = None,
        dtype: Any = None,
        initializer: Any = None,
        regularizer: Any = None,
        reuse: Reuse = None,
        custom_getter: Any = None,
        constraint: Any = None,
        **options: Any,
    ) -> Variable:
        """`get_variable` in this scope."""
        reuse = self._reuse if reuse is None else reuse
        regularizer = self._regularizer if regularizer is None else regularizer
        getter = self._custom_getter if custom_getter is None else custom_getter
        constraint = self._constraint if constraint is None else constraint
        full_name = f"{self._name}/{name}" if self._name else name
        with name_scope(None):  # the name holds the scope already
            if dtype is not None and initializer is not None and not callable(initializer):
                have = convert(initializer).dtype.base
                if have is not dtypes.as_dtype(dtype).base:
                    raise DtypeError(
                        f"the initializer of variable {full_name} is {have.name}, "
                        f"dtype is {dtypes.as_dtype(dtype).base.name}",
                        loc=loc.caller(),
                    )
            initializer = self._initializer if initializer is None else initializer
            dtype = self._dtype if dtype is None else dtypes.as_dtype(dtype)
            plain = partial(get_single, store.variables)
            arguments = {
                "name": full_name,
                "shape": shape,
                "dtype": dtype,
                "initializer": initializer,
                "regularizer": regularizer,
                "reuse": reuse,
                "constraint": constraint,
                **options,
            }
            if getter is None:
                return plain(**arguments)
            return getter(plain, **arguments)  # type: ignore[no-any-return]


def get_variable_scope() -> VariableScope:
    """The current variable scope."""
    return _store().current


def get_variable(
    name: str,
    shape: Any = None,
    dtype: Any = None,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool | None = None,
    collections: Any = None,
    caching_device: Any = None,
    partitioner: Any = None,
    validate_shape: bool = True,
    use_resource: bool | None = None,
    custom_getter: Any = None,
    constraint: Any = None,
    synchronization: Any = VariableSynchronization.AUTO,
    aggregation: Any = VariableAggregation.NONE,
) -> Variable:
    """Make a variable in the current variable scope, or find the one that is there.

    Args:
      name: name inside the scope.
      shape: sizes; left out where `initializer` is a value.
      dtype: element type, float32 unless the scope says otherwise.
      initializer: a function of shape and dtype, or a value; Glorot's uniform by default.
      regularizer: a function whose result goes to `GraphKeys.REGULARIZATION_LOSSES`.
      trainable: whether optimizers change it by default.
      custom_getter: a function called instead, with the plain getter as its first argument.

    Raises:
      ValueError: the variable exists and the scope does not reuse, or the other way round, or
        shape or dtype differ from those of the shared variable.

    >>> import staticgraph as tf
    >>> with tf.variable_scope("layer"):
    ...     tf.get_variable("w", [2, 3])
    <tf.Variable 'layer/w:0' shape=(2, 3) dtype=float32_ref>
    """
    store = _store()
    return store.current.get_variable(
        store,
        name,
        shape,
        dtype,
        initializer,
        regularizer,
        None,
        custom_getter,
        constraint,
        trainable=trainable,
        collections=collections,
        caching_device=caching_device,
        partitioner=partitioner,
        validate_shape=validate_shape,
        use_resource=use_resource,
        synchronization=synchronization,
        aggregation=aggregation,
    )


def get_local_variable(name: str, *args: Any, **kwargs: Any) -> Variable:
    """`get_variable` for a variable that is local: not trained, not saved."""
    kwargs["trainable"] = False
    kwargs["collections"] = [*(kwargs.get("collections") or ()), GraphKeys.LOCAL_VARIABLES]
    return get_variable(name, *args, **kwargs)


class variable_scope:  # noqa: N801
    """A context manager that gives `get_variable` a name prefix and defaults.

    Args:
      name_or_scope: a name, or a scope to enter again.
      default_name: used where `name_or_scope` is None, and then made unique.
      values: tensors whose graph becomes the default inside.
      initializer, regularizer, custom_getter, dtype, constraint: defaults for `get_variable`.
      reuse: True, False or AUTO_REUSE; inherited where None.
      auxiliary_name_scope: False keeps the name scope as it is.

    >>> import staticgraph as tf
    >>> with tf.variable_scope("a", reuse=tf.AUTO_REUSE) as scope:
    ...     scope.name, scope.original_name_scope
    ('a', 'a/')
    """

    def __init__(
        self,
        name_or_scope: Any,
        default_name: str | None = None,
        values: Sequence[Any] | None = None,
        initializer: Any = None,
        regularizer: Any = None,
        caching_device: Any = None,
        partitioner: Any = None,
        custom_getter: Any = None,
        reuse: Reuse = None,
        dtype: Any = None,
        use_resource: bool | None = None,
        constraint: Any = None,
        auxiliary_name_scope: bool = True,
    ) -> None:
        if name_or_scope is None and default_name is None:
            raise UsageError("variable_scope needs a name or a default name", loc=loc.caller())
        if name_or_scope is not None and not isinstance(name_or_scope, (VariableScope, str)):
            raise UsageError(
                f"name_or_scope must be a string or a VariableScope, got {name_or_scope!r}",
                loc=loc.caller(),
            )
        if name_or_scope is None and reuse is True:
            raise GraphError("reuse=True cannot be used without a name_or_scope", loc=loc.caller())
        self._where, self._default_name, self._values = name_or_scope, default_name, values
        self._reuse: Reuse = None if reuse is False else reuse  # reusing scopes pass it on
        self._auxiliary = auxiliary_name_scope
        self._custom_getter = custom_getter
        self._changes = {
            "_initializer": initializer,
            "_regularizer": regularizer,
            "_caching_device": caching_device,
            "_partitioner": partitioner,
            "_dtype": None if dtype is None else dtypes.as_dtype(dtype),
            "_use_resource": use_resource,
            "_constraint": constraint,
        }
        self._stacks: list[ExitStack] = []

    def __enter__(self) -> VariableScope:
        with ExitStack() as stack:
            owner = graph_of(flatten(list(self._values or ())))
            if owner is not get_default_graph():
                stack.enter_context(owner.as_default())
            store = _store()
            original = self._enter_names(stack)
            scope = stack.enter_context(self._enter_scope(store, original))
            self._stacks.append(stack.pop_all())
            return scope

    def __exit__(self, *exc: Any) -> bool | None:
        return self._stacks.pop().__exit__(*exc)

    def _enter_names(self, stack: ExitStack) -> str:
        graph = get_default_graph()
        if not self._auxiliary:
            current = graph.get_name_scope()
            return current + "/" if current else ""
        where = self._where
        if where is None:
            return stack.enter_context(graph.name_scope(self._default_name))
        name = where if isinstance(where, str) else where.name.rsplit("/", 1)[-1]
        if not name:
            return ""
        return stack.enter_context(graph.name_scope(name))

    @contextmanager
    def _enter_scope(self, store: _Store, original: str) -> Iterator[VariableScope]:
        old, where = store.current, self._where
        counts = None
        if isinstance(where, VariableScope):
            scope = where._derived(
                where.name, where.original_name_scope, self._reuse or where.reuse
            )
            counts = dict(store.counts)
        else:
            name = where if where is not None else _unique_scope(store, self._default_name or "")
            full = f"{old.name}/{name}" if old.name else name
            scope = old._derived(full, original, self._reuse or old.reuse)
        for key, value in self._changes.items():
            if value is not None:
                setattr(scope, key, value)
        if self._custom_getter is not None:
            scope._custom_getter = _composed(self._custom_getter, scope._custom_getter)
        store.counts[scope.name] = store.counts.get(scope.name, 0) + 1
        if counts is not None:
            counts[scope.name] = store.counts[scope.name]
        store.current = scope
        try:
            yield scope
        finally:
            store.close_inner(scope.name)
            if counts is not None:
                store.counts = counts
            store.current = old


def _unique_scope(store: _Store, prefix: str) -> str:
    outer = store.current.name
    full = f"{outer}/{prefix}" if outer else prefix
    if not store.counts.get(full):
        return prefix
    i = 1
    while store.counts.get(f"{full}_{i}"):
        i += 1
    return f"{prefix}_{i}"


def _composed(inner: Callable[..., Any], outer: Callable[..., Any] | None) -> Callable[..., Any]:
    """`inner` called with a getter that calls `outer`."""
    if outer is None:
        return inner

    def wrapped(getter: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return inner(partial(outer, getter), *args, **kwargs)

    return wrapped


@contextmanager
def variable_op_scope(
    values: Sequence[Any],
    name_or_scope: Any,
    default_name: str | None = None,
    *args: Any,
    **kwargs: Any,
) -> Iterator[VariableScope]:
    """`variable_scope` with its arguments in the older order."""
    with variable_scope(name_or_scope, default_name, values, *args, **kwargs) as scope:
        yield scope


def no_regularizer(_: Any) -> None:
    """A regularizer that adds nothing: it undoes the scope's default."""


__all__ = [
    "AUTO_REUSE",
    "VariableAggregation",
    "VariableScope",
    "VariableSynchronization",
    "get_local_variable",
    "get_variable",
    "get_variable_scope",
    "no_regularizer",
    "variable_op_scope",
    "variable_scope",
]
