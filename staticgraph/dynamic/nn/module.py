"""`Module`: a callable that owns parameters, buffers and other modules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Self

from staticgraph.dynamic.modes import MODES
from staticgraph.dynamic.nn.hooks import Hook, HookHandle, Hooks, with_gradients
from staticgraph.dynamic.nn.parameter import Parameter
from staticgraph.dynamic.nn.state import IncompatibleKeys, load_state
from staticgraph.dynamic.refusals import bad_value
from staticgraph.dynamic.tensor import Tensor
from staticgraph.errors import UsageError
from staticgraph.ir.loc import caller

_TABLES = ("_parameters", "_buffers", "_modules")


def indented(text: str, by: int = 2) -> str:
    """`text` with every line but the first moved to the right."""
    first, *rest = text.split("\n")
    return "\n".join([first, *(" " * by + line for line in rest)])


class Module:
    """The base of everything that has parameters.

    A parameter or a module that is assigned to an attribute becomes a part of this module: it is
    found by `parameters`, moved by `double`, saved by `state_dict`.

    >>> import staticgraph.dynamic as torch
    >>> class Line(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.slope = torch.nn.Parameter(torch.tensor(2.0))
    ...     def forward(self, x):
    ...         return self.slope * x
    >>> line = Line()
    >>> line(torch.tensor(3.0)).item()
    6.0
    >>> [name for name, _ in line.named_parameters()]
    ['slope']
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _transient: set[str]
    _pre_hooks: Hooks
    _hooks: Hooks
    _gradient_hooks: Hooks

    def __init__(self) -> None:
        own = self.__dict__
        own["training"] = True
        own["_parameters"] = {}
        own["_buffers"] = {}
        own["_modules"] = {}
        own["_transient"] = set()
        own["_pre_hooks"] = Hooks()
        own["_hooks"] = Hooks()
        own["_gradient_hooks"] = Hooks()

    # ---------------------------------------------------------------- calling
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What a call computes; every module defines its own."""
        raise NotImplementedError(
            f"module {type(self).__name__} does not define the method 'forward'"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        own = self.__dict__
        if MODES.tracer is not None:
            MODES.tracer.training.called(self)
        if not own["_pre_hooks"] and not own["_hooks"] and not own["_gradient_hooks"]:
            return self.forward(*args, **kwargs)
        for hook in own["_pre_hooks"].all():
            args, kwargs = hook.before(self, args, kwargs)
        if own["_gradient_hooks"]:
            result = with_gradients(self, own["_gradient_hooks"], args, kwargs)
        else:
            result = self.forward(*args, **kwargs)
        for hook in own["_hooks"].all():
            result = hook.after(self, args, kwargs, result)
        return result

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> HookHandle:
        """Have ``hook(module, args)`` called before `forward`; what it returns replaces `args`."""
        return self._pre_hooks.add(Hook(hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> HookHandle:
        """Have ``hook(module, args, output)`` called after `forward`.

        What it returns, unless that is None, replaces the output.
        """
        return self._hooks.add(Hook(hook, with_kwargs), prepend)

    def register_full_backward_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> HookHandle:
        """Have ``hook(module, grad_input, grad_output)`` called in every backward.

        The gradients are tuples, with one entry per tensor among the arguments of `forward` and
        one per result; what the hook returns, unless that is None, replaces `grad_input`.
        """
        return self._gradient_hooks.add(Hook(hook, False), prepend)

    def _terms(self) -> tuple[Any, ...]:
        """What a call goes by besides the values of tensors; equal as long as it is the same."""
        own = self.__dict__
        return (
            own["training"],
            *[h for hooks in ("_pre_hooks", "_hooks", "_gradient_hooks") for h in own[hooks].all()],
            *[id(t) for table in _TABLES for t in own[table].values()],
        )

    # ---------------------------------------------------------------- attributes
    def __getattr__(self, name: str) -> Any:
        for table in _TABLES:
            found = self.__dict__.get(table)
            if found is not None and name in found:
                return found[name]
        if "_modules" not in self.__dict__ and not name.startswith("__"):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}: "
                "Module.__init__() has not been called"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if isinstance(value, Parameter):
            self._ready("parameters")
            self._forget(name)
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._ready("modules")
            if name not in own["_modules"]:
                self._forget(name)
            own["_modules"][name] = value
        elif name in own.get("_parameters", ()):
            if value is not None:
                raise self._refused(value, f"parameter {name!r}", "a Parameter or None")
            own["_parameters"][name] = None
        elif name in own.get("_modules", ()):
            if value is not None:
                raise self._refused(value, f"module {name!r}", "a Module or None")
            own["_modules"][name] = None
        elif name in own.get("_buffers", ()):
            self._check_buffer(name, value)
            own["_buffers"][name] = value
        else:
            object.__setattr__(self, name, value)

    def _check_buffer(self, name: str, value: Any) -> None:
        if value is not None and not isinstance(value, Tensor):
            raise self._refused(value, f"buffer {name!r}", "a Tensor or None")
        if MODES.tracer is not None:
            MODES.tracer.training.replaced(f"buffer {name!r} of {self._get_name()}")

    def __delattr__(self, name: str) -> None:
        for table in _TABLES:
            if name in self.__dict__.get(table, ()):
                del self.__dict__[table][name]
                self._transient.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        own = chain(*(self.__dict__.get(table, ()) for table in _TABLES))
        return sorted({*object.__dir__(self), *(n for n in own if n.isidentifier())})

    def _ready(self, what: str) -> None:
        if "_modules" not in self.__dict__:
            raise AttributeError(f"cannot assign {what} before Module.__init__() call")

    def _forget(self, name: str) -> None:
        self.__dict__.pop(name, None)
        for table in _TABLES:
            self.__dict__[table].pop(name, None)
        self._transient.discard(name)

    def _refused(self, value: Any, what: str, wanted: str) -> UsageError:
        return UsageError(
            f"cannot assign a {type(value).__name__} as {what} of {type(self).__name__}, "
            f"which takes {wanted}",
            loc=caller(),
        )

    def _new_name(self, name: str, table: str, what: str) -> None:
        self._ready(f"a {what}")
        if not isinstance(name, str) or not name or "." in name:
            raise KeyError(f"the name of a {what} is a string without dots, got {name!r}")
        if hasattr(self, name) and name not in self.__dict__[table]:
            raise KeyError(f"attribute {name!r} already exists in {type(self).__name__}")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; None stands for one that is not there."""
        self._new_name(name, "_parameters", "parameter")
        if param is not None and not isinstance(param, Parameter):
            raise self._refused(param, f"parameter {name!r}", "a Parameter or None")
        if param is not None and not param.is_leaf:
            raise bad_value(
                f"cannot register {name!r}: it was computed from other tensors; "
                "make a Parameter of its value and compute in forward()"
            )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is part of the state and is not trained.

        One that is not `persistent` is left out of `state_dict`.
        """
        self._new_name(name, "_buffers", "buffer")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise self._refused(tensor, f"buffer {name!r}", "a Tensor or None")
        self._buffers[name] = tensor
        if persistent:
            self._transient.discard(name)
        else:
            self._transient.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a module under a name."""
        self._new_name(name, "_modules", "module")
        if module is not None and not isinstance(module, Module):
            raise self._refused(module, f"module {name!r}", "a Module or None")
        self._modules[name] = module

    register_module = add_module

    # ---------------------------------------------------------------- walking
    def children(self) -> Iterator[Module]:
        """The modules directly inside this one, each once."""
        for _, module in self.named_children():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly inside this one and their names."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def modules(self) -> Iterator[Module]:
        """This module and all modules inside it, each once."""
        for _, module in self.named_modules():
            yield module

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all modules inside it with their dotted names."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, path, remove_duplicate)

    def _named(
        self, table: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        if recurse:
            owners = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
        else:
            owners = iter([(prefix, self)])
        for path, module in owners:
            for name, value in module.__dict__[table].items():
                if value is None or id(value) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(value))
                yield (f"{path}.{name}" if path else name), value

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once: what an optimizer is given."""
        for _, param in self.named_parameters(recurse=recurse):
            yield param

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their dotted names."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their dotted names."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted path; AttributeError where there is none."""
        module: Module = self
        for name in target.split(".") if target else ():
            inner = getattr(module, name)
            if not isinstance(inner, Module):
                raise AttributeError(f"{name!r} of {type(module).__name__} is not a Module")
            module = inner
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path; AttributeError where there is none."""
        path, _, name = target.rpartition(".")
        param = self.get_submodule(path)._parameters.get(name)
        if param is None:
            raise AttributeError(f"{type(self).__name__} has no parameter {target!r}")
        return param

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path; AttributeError where there is none."""
        path, _, name = target.rpartition(".")
        buffer = self.get_submodule(path)._buffers.get(name)
        if buffer is None:
            raise AttributeError(f"{type(self).__name__} has no buffer {target!r}")
        return buffer

    # ---------------------------------------------------------------- changing all of it
    def apply(self, fn: Callable[[Module], None]) -> Self:
        """Call `fn` on every module inside this one, then on this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor]) -> Self:
        """Put ``fn(tensor)`` in the place of the value of every parameter and buffer."""
        for param in self.parameters():
            param.data = fn(param.data)
            if param.grad is not None:
                param.grad = fn(param.grad)
        for module in self.modules():
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = fn(buffer)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Convert floating parameters and buffers: ``to(dtype)``, ``to("cpu")``, ``to(tensor)``."""

        def convert(t: Tensor) -> Tensor:
            moved: Tensor = t.to(*args, **kwargs)
            if t.is_floating_point():
                return moved
            return t if moved.dtype != t.dtype else moved

        return self._apply(convert)

    def _floating(self, name: str) -> Self:
        return self._apply(lambda t: getattr(t, name)() if t.is_floating_point() else t)

    def float(self) -> Self:
        """Convert floating parameters and buffers to 32 bits."""
        return self._floating("float")

    def double(self) -> Self:
        """Convert floating parameters and buffers to 64 bits."""
        return self._floating("double")

    def half(self) -> Self:
        """Convert floating parameters and buffers to 16 bits."""
        return self._floating("half")

    def cpu(self) -> Self:
        """This module: everything is on the CPU."""
        return self

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation: dropout and batch normalisation differ."""
        if not isinstance(mode, bool):
            raise bad_value(f"train takes True or False, got {mode!r}")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """The same as ``train(False)``."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Say of every parameter whether gradients are computed for it."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        clear_gradients(self.parameters(), set_to_none)

    # ---------------------------------------------------------------- state
    def state_dict(
        self,
        destination: dict[str, Any] | None = None,
        prefix: str = "",
        keep_vars: bool = False,
    ) -> dict[str, Any]:
        """The parameters and persistent buffers by their dotted names.

        Values share memory with the module; with `keep_vars` they are the parameters themselves.
        """
        out = {} if destination is None else destination
        for name, value in chain(self._parameters.items(), self._buffers.items()):
            if value is not None and name not in self._transient:
                out[prefix + name] = value if keep_vars else value.detach()
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(out, f"{prefix}{name}.", keep_vars)
        return out

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy values into the parameters and persistent buffers of the same names.

        Args:
          state_dict: what `state_dict` gave; values may be numpy arrays.
          strict: names that are missing or not known are an error.
          assign: put the tensors themselves in the places, with their dtypes.

        Raises:
          StateDictError: names or shapes differ; nothing has been changed.
        """
        return load_state(self, state_dict, strict, assign)

    # ---------------------------------------------------------------- text
    def extra_repr(self) -> str:
        """What stands between the parentheses of the module's text."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        inner = [f"({name}): {indented(repr(m))}" for name, m in self._modules.items()]
        if not inner and len(lines) <= 1:
            return f"{self._get_name()}({extra})"
        return f"{self._get_name()}(\n  " + "\n  ".join(lines + inner) + "\n)"


def clear_gradients(params: Iterable[Tensor], set_to_none: bool) -> None:
    """Set the gradients to None, or fill those that are there with zeros."""
    for param in params:
        if set_to_none:
            param.grad = None
        elif param.grad is not None:
            if not param.grad.is_leaf:
                param.grad = param.grad.detach()
            param.grad.requires_grad_(False)
            param.grad.zero_()


__all__ = ["Module", "clear_gradients", "indented"]
