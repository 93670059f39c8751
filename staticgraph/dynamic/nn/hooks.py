"""Functions that are called before or after a module's `forward`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from staticgraph.errors import UsageError
from staticgraph.ir.loc import caller


@dataclass(frozen=True, slots=True, eq=False)
class Hook:
    """A function and whether it is told the keyword arguments of the call."""

    function: Callable[..., Any]
    with_kwargs: bool

    def before(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Call the function ahead of `forward`; gives the arguments `forward` is to have."""
        if not self.with_kwargs:
            result = self.function(module, args)
            if result is None:
                return args, kwargs
            return (result if isinstance(result, tuple) else (result,)), kwargs
        result = self.function(module, args, kwargs)
        if result is None:
            return args, kwargs
        if not isinstance(result, tuple) or len(result) != 2:
            raise UsageError(
                "a forward pre-hook with kwargs returns None or a pair (args, kwargs), "
                f"got {result!r}",
                loc=caller(),
            )
        return result

    def after(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
        """Call the function behind `forward`; gives the result the caller is to have."""
        if self.with_kwargs:
            changed = self.function(module, args, kwargs, result)
        else:
            changed = self.function(module, args, result)
        return result if changed is None else changed


class Hooks:
    """Hooks in the order in which they are called."""

    __slots__ = ("_hooks",)

    def __init__(self) -> None:
        self._hooks: list[Hook] = []

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def all(self) -> tuple[Hook, ...]:
        """The hooks of now: one that removes itself does not disturb the round it is in."""
        return tuple(self._hooks)

    def add(self, hook: Hook, first: bool) -> HookHandle:
        """Add a hook behind all others, or ahead of them."""
        self._hooks.insert(0 if first else len(self._hooks), hook)
        return HookHandle(self, hook)

    def remove(self, hook: Hook) -> None:
        """Take a hook out; one that is not there is none to take out."""
        if hook in self._hooks:
            self._hooks.remove(hook)


class HookHandle:
    """What removes a hook again; as a context manager, at the end of the block."""

    def __init__(self, hooks: Hooks, hook: Hook) -> None:
        self._hooks, self._hook = hooks, hook

    def remove(self) -> None:
        """Take the hook out; doing so twice is no error."""
        self._hooks.remove(self._hook)

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()
