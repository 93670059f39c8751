"""Functions that are called before or after a module's `forward`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from staticgraph.dynamic.apply import Taped
from staticgraph.dynamic.function import Function
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


# ---------------------------------------------------------------- gradients
class _Call:
    """A call of a module that backward hooks wait for."""

    def __init__(self, module: Any, hooks: Hooks) -> None:
        self.module, self.hooks = module, hooks
        self.of_results: tuple[Any, ...] = ()

    def seen(self, of_inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The gradients of the inputs after the hooks."""
        for hook in self.hooks.all():
            out = hook.function(self.module, of_inputs, self.of_results)
            if out is None:
                continue
            out = out if isinstance(out, tuple) else (out,)
            if len(out) != len(of_inputs):
                raise UsageError(
                    f"a backward hook of {type(self.module).__name__} returned {len(out)} "
                    f"gradients for {len(of_inputs)} inputs",
                    loc=caller(),
                )
            of_inputs = out
        return of_inputs


class _Entering(Function):
    """The inputs as they are; their gradients go through the hooks."""

    @staticmethod
    def forward(ctx: Any, call: _Call, *tensors: Any) -> Any:
        ctx.call = call
        ctx.set_materialize_grads(False)
        return tensors

    @staticmethod
    def backward(ctx: Any, *gs: Any) -> Any:
        return (None, *ctx.call.seen(gs))


class _Leaving(Function):
    """The results as they are; their gradients are noted for the hooks."""

    @staticmethod
    def forward(ctx: Any, call: _Call, inputs: int, *tensors: Any) -> Any:
        ctx.call, ctx.inputs = call, inputs
        ctx.set_materialize_grads(False)
        return tensors

    @staticmethod
    def backward(ctx: Any, *gs: Any) -> Any:
        ctx.call.of_results = gs
        if ctx.inputs:  # no input has a gradient, and so nothing comes later
            ctx.call.seen((None,) * ctx.inputs)
        return (None, None, *gs)


def with_gradients(module: Any, hooks: Hooks, args: tuple[Any, ...], kwargs: Any) -> Any:
    """Call `forward` between two places where gradients are looked at."""
    call = _Call(module, hooks)
    at = [i for i, a in enumerate(args) if isinstance(a, Taped)]
    given = list(args)
    wanted = any(args[i].requires_grad for i in at)
    if wanted:
        for i, t in zip(at, _Entering.apply(call, *[args[i] for i in at]), strict=True):
            given[i] = t
    out = module.forward(*given, **kwargs)
    if isinstance(out, Taped):
        (out,) = _Leaving.apply(call, 0 if wanted else len(at), out)
    elif isinstance(out, (tuple, list)) and any(isinstance(v, Taped) for v in out):
        where = [i for i, v in enumerate(out) if isinstance(v, Taped)]
        parts = list(out)
        found = _Leaving.apply(call, 0 if wanted else len(at), *[out[i] for i in where])
        for i, t in zip(where, found, strict=True):
            parts[i] = t
        out = type(out)(parts)
    return out


for _cls in (_Entering, _Leaving):  # what `grad_fn` of a result is called
    _cls.__name__ = "BackwardHookFunction"
