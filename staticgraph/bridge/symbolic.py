"""What a traced tensor holds in place of an array: a value of the function being written."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from staticgraph.errors import UsageError
from staticgraph.ir import dims as D
from staticgraph.ir import loc
from staticgraph.ir.dims import Dim
from staticgraph.ir.function import Value


class SizeNeededError(Exception):
    """The trace needs to know a size that is open; it is made again with the sizes at hand."""


class SymbolicArray:
    """Stands for the array of a traced tensor; it knows type and shape, and no values.

    Sizes in `shape` are numbers, or polynomials where they may differ from call to call.
    """

    __slots__ = ("value",)

    value: Value

    def __init__(self, value: Value) -> None:
        self.value = value

    @property
    def dtype(self) -> np.dtype:
        """The element type."""
        return self.value.dtype.np

    @property
    def shape(self) -> tuple[Any, ...]:
        """The sizes of the axes."""
        if self.value.type.shape is None:
            raise SizeNeededError
        return self.value.type.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> Dim:
        """The number of elements."""
        return D.product(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes in an element."""
        return self.value.dtype.size

    def copy(self) -> SymbolicArray:
        """The same: a value of a function never changes."""
        return self

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise valueless(f"this operation (it uses `{name}`)")

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise valueless("numpy")

    def __eq__(self, other: object) -> NoReturn:
        raise valueless("a comparison")

    __hash__ = object.__hash__

    def __len__(self) -> int:
        return known_size(self.shape[0])

    def __bool__(self) -> NoReturn:
        raise valueless("a condition")

    def __repr__(self) -> str:
        return f"<traced {self.value.type.public()}>"


def known_size(d: Dim) -> int:
    """A size as a number; SizeNeededError where it is open."""
    if isinstance(d, int):
        return d
    raise SizeNeededError


class TracedValueError(UsageError):
    """A traced function needs a value that only a call of the compiled function has."""


def valueless(what: str) -> TracedValueError:
    """The error for code that needs the values of a traced tensor."""
    return TracedValueError(
        f"{what} needs the value of a tensor while the function is traced, when there is none: "
        "what follows from it would be frozen into the compiled function",
        loc=loc.caller(),
        hint="choose with torch.where, move the decision out of the function, or pass the number "
        "as a Python argument",
    )
