"""What a compiled function is compiled for: the structure of arguments, types, and equal sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from staticgraph.dynamic.apply import Taped
from staticgraph.errors import UsageError
from staticgraph.ir import loc

Spec = tuple[Any, ...]


def flatten(value: Any, tensors: list[Any], place: str = "an argument") -> Spec:
    """A hashable description of a structure; its tensors are appended to `tensors`.

    Raises:
      UsageError: there is something in it that cannot be told apart by value.
    """
    if isinstance(value, Taped):
        tensors.append(value)
        return ("tensor", len(tensors) - 1)
    if isinstance(value, (list, tuple)):
        return (type(value), *[flatten(v, tensors, place) for v in value])
    if isinstance(value, dict):
        return (dict, *[(k, flatten(v, tensors, place)) for k, v in value.items()])
    if isinstance(value, np.ndarray):
        raise UsageError(
            f"{place} of a compiled function is an array", loc=loc.caller(),
            hint="pass a tensor: torch.from_numpy(array)",
        )  # fmt: skip
    try:
        hash(value)
    except TypeError:
        raise UsageError(
            f"{place} of a compiled function is a {type(value).__name__}, which cannot be hashed",
            loc=loc.caller(),
            hint="pass tensors, numbers, strings, and lists, tuples and dictionaries of them",
        ) from None
    return ("value", type(value), value, *_training(value))


def _training(value: Any) -> tuple[bool, ...]:
    """Whether a module and its parts are being trained: they do other things then."""
    modules = getattr(value, "modules", None)
    if modules is None or not hasattr(value, "training"):
        return ()
    return tuple(bool(m.training) for m in modules())


def rebuild(spec: Spec, tensor: Callable[[int], Any]) -> Any:
    """The structure again, with ``tensor(i)`` in place of the i-th tensor."""
    kind = spec[0]
    if kind == "tensor":
        return tensor(spec[1])
    if kind == "value":
        return spec[2]
    if kind is dict:
        return {k: rebuild(v, tensor) for k, v in spec[1:]}
    parts = [rebuild(v, tensor) for v in spec[1:]]
    if hasattr(kind, "_fields"):  # a named tuple
        return kind(*parts)
    return kind(parts)


LEVELS = ("every axis", "every axis but the last", "the first axis", "none")
"""Which sizes are left open, in the order in which it is tried."""


def pattern(tensors: Sequence[Any], level: int) -> tuple[Any, ...]:
    """Types and sizes: an open size is a negative number, the same for equal ones.

    Sizes of 0 and 1 are never open, for they mean other things.  Two calls of one pattern therefore
    compare their sizes with each other, and with 0 and 1, alike.
    """
    seen: dict[int, int] = {}
    out = []
    for t in tensors:
        shape = t._array.shape
        n = (len(shape), len(shape) - 1, 1, 0)[level]
        dims = [
            -1 - seen.setdefault(d, len(seen)) if i < n and d > 1 else d
            for i, d in enumerate(shape)
        ]
        out.append((t._array.dtype, tuple(dims)))
    return tuple(out)
