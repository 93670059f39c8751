"""Functions that share the variables they make."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from staticgraph.api.variable_scope import VariableScope, variable_scope


class Template:
    """A function whose variables are made at the first call and shared at later ones."""

    def __init__(
        self,
        name: str,
        func: Callable[..., Any],
        create_scope_now: bool,
        unique_name: str | None,
        custom_getter: Any,
        arguments: dict[str, Any],
    ) -> None:
        self._func, self._name, self._unique_name = func, name, unique_name
        self._custom_getter, self._arguments = custom_getter, arguments
        self._scope: VariableScope | None = None
        self._called = False
        if create_scope_now:
            with self._opened() as scope:
                self._scope = scope

    def _opened(self) -> AbstractContextManager[VariableScope]:
        """The scope; made where there is none yet, so that what is made first is in it."""
        if self._scope is not None:
            return variable_scope(self._scope, reuse=self._called or None)
        default = None if self._unique_name else self._name
        return variable_scope(self._unique_name, default, custom_getter=self._custom_getter)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self._opened() as scope:
            self._scope = self._scope or scope
            self._called = True
            return self._func(*args, **{**self._arguments, **kwargs})

    @property
    def name(self) -> str:
        """The name given."""
        return self._name

    @property
    def variable_scope(self) -> VariableScope | None:
        """The scope of the variables."""
        return self._scope

    @property
    def variable_scope_name(self) -> str | None:
        """Name of that scope."""
        return None if self._scope is None else self._scope.name

    @property
    def global_variables(self) -> list[Any]:
        """Global variables made by the function."""
        return self._scope.global_variables() if self._scope else []

    @property
    def trainable_variables(self) -> list[Any]:
        """Trainable variables made by the function."""
        return self._scope.trainable_variables() if self._scope else []

    variables = global_variables


def make_template(
    name_: str,
    func_: Callable[..., Any],
    create_scope_now_: bool = False,
    unique_name_: str | None = None,
    custom_getter_: Any = None,
    **kwargs: Any,
) -> Template:
    """Wrap a function so that all its calls share the variables it makes.

    >>> import staticgraph as tf
    >>> double = tf.make_template("scale", lambda x: x * tf.get_variable("k", []))
    >>> _ = double(tf.constant(1.0)), double(tf.constant(2.0))
    >>> [v.name for v in tf.global_variables()]
    ['scale/k:0']
    """
    return Template(name_, func_, create_scope_now_, unique_name_, custom_getter_, kwargs)


__all__ = ["make_template"]
