"""What holds for one thread: whether the tape records, and how numpy rules are run.

Rules run in a context of their own in which numpy reports no floating-point conditions: dividing
by zero gives an infinity, silently, and the user's own numpy settings stay untouched.
"""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])


class Modes(threading.local):
    """The modes of this thread.

    Attributes:
      grad: operations on tensors that require a gradient are recorded.
      tracer: who listens to every operation (see `staticgraph.bridge`), or None.
      run: calls a function with numpy's floating-point conditions off.
    """

    grad: bool
    tracer: Any
    run: Callable[..., Any]

    def __init__(self) -> None:
        self.grad = True
        self.tracer = None
        context = contextvars.Context()
        context.run(np.seterr, all="ignore")
        self.run = context.run


MODES = Modes()


class _GradMode:
    """Sets the grad mode inside a ``with`` block or a decorated function."""

    mode: bool

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(MODES.grad)
        MODES.grad = self.mode

    def __exit__(self, *_: object) -> None:
        MODES.grad = self._before.pop()

    def __call__(self, function: F) -> F:
        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return cast(F, inside)

    def _again(self) -> _GradMode:
        return type(self)()


def _decorated(cls: type[_GradMode], function: Any) -> Any:
    made = _GradMode.__new__(cls)
    _GradMode.__init__(made)
    return made(function) if callable(function) else made


class no_grad(_GradMode):  # noqa: N801 - PyTorch's name
    """Switch recording off, as a ``with`` block or as a decorator.

    >>> import staticgraph.dynamic as torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    mode = False

    def __new__(cls, function: Any = None) -> Any:  # `@no_grad` without parentheses, too
        return _decorated(cls, function) if function is not None else super().__new__(cls)


class enable_grad(_GradMode):  # noqa: N801 - PyTorch's name
    """Switch recording on, inside `no_grad` for example."""

    mode = True

    def __new__(cls, function: Any = None) -> Any:
        return _decorated(cls, function) if function is not None else super().__new__(cls)


class set_grad_enabled(_GradMode):  # noqa: N801 - PyTorch's name
    """Switch recording on or off: from here on, or inside the ``with`` block."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.mode = bool(mode)
        self._first: bool | None = MODES.grad
        MODES.grad = self.mode

    def __enter__(self) -> None:
        before, self._first = self._first, None
        self._before.append(MODES.grad if before is None else before)
        MODES.grad = self.mode

    def __call__(self, function: F) -> F:
        if self._first is not None:
            MODES.grad, self._first = self._first, None
        return super().__call__(function)

    def _again(self) -> _GradMode:
        return self


inference_mode = no_grad


def is_grad_enabled() -> bool:
    """Whether operations are recorded now."""
    return MODES.grad
