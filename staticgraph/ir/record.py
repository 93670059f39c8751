"""`record`: dataclasses that are made quickly.

Importing the package makes a hundred dataclasses.  `dataclasses.dataclass` compiles five or six
functions for each, which takes a sixth of the time of the import.  A record is a dataclass, too,
for `dataclasses.fields` and `replace`, for `match` and for type checkers; of its methods only
``__init__`` is compiled, when there is the first instance, and all others are shared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, field
from operator import attrgetter
from reprlib import recursive_repr
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")
_set = object.__setattr__


@dataclass_transform(field_specifiers=(field,))
def record(
    *, frozen: bool = False, slots: bool = False, eq: bool = True, init: bool = True,
    weakref_slot: bool = False,
) -> Callable[[type[T]], type[T]]:  # fmt: skip
    """Make a class a dataclass; the arguments mean what they mean there.

    Keyword-only fields and ``InitVar`` are not for records.

    >>> @record(frozen=True, slots=True)
    ... class Point:
    ...     "A place."
    ...     x: int
    ...     y: int = 0
    >>> Point(1), Point(1) == Point(1, 0), dataclasses.replace(Point(1), y=2)
    (Point(x=1, y=0), True, Point(x=1, y=2))
    """

    def make(plain: type[T]) -> type[T]:
        own = set(vars(plain))
        if plain.__doc__ is None:  # else a signature is made up, which takes long
            plain.__doc__ = plain.__name__
        cls = dataclasses.dataclass(
            plain, init=False, repr=False, eq=False, slots=slots, weakref_slot=weakref_slot
        )
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        methods: dict[str, Any] = {"__repr__": _repr}
        if init:
            methods["__init__"] = _later(cls, fields, frozen)
        if eq:
            get = _getter([f.name for f in fields if f.compare])
            methods["__eq__"] = _equality(get)
            if vars(plain).get("__hash__") is None:  # Python puts None where there is an __eq__
                own.discard("__hash__")
                methods["__hash__"] = _hash(get) if frozen else None
        if frozen:
            methods |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
            if slots:
                methods |= {"__getstate__": _state, "__setstate__": _set_state}
        for name, method in methods.items():
            if name not in own:
                setattr(cls, name, method)
        return cls

    return make


def _later(cls: type, fields: tuple[dataclasses.Field[Any], ...], frozen: bool) -> Any:
    """An ``__init__`` that is compiled when there is the first instance; many classes get none."""

    def __init__(self: Any, *args: Any, **more: Any) -> None:
        made = _init(cls, fields, frozen)
        cls.__init__ = made  # type: ignore[misc]
        made(self, *args, **more)

    return __init__


def _init(cls: type, fields: tuple[dataclasses.Field[Any], ...], frozen: bool) -> Any:
    """``__init__``, with the fields as parameters."""
    known: dict[str, Any] = {"_set": _set, "_MISSING": MISSING}
    head, body = ["self"], []
    for f in fields:
        value = f.name
        if f.default is not MISSING:
            known[f"_default_{f.name}"] = f.default
            head.append(f"{f.name}=_default_{f.name}")
        elif f.default_factory is not MISSING:
            known[f"_make_{f.name}"] = f.default_factory
            head.append(f"{f.name}=_MISSING")
            value = f"_make_{f.name}() if {f.name} is _MISSING else {f.name}"
        else:
            head.append(f.name)
        body.append(f"_set(self, {f.name!r}, {value})" if frozen else f"self.{f.name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    text = f"def __init__({', '.join(head)}):\n " + "\n ".join(body or ["pass"])
    exec(text, known)
    made = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


def _getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """A function that gives the values of fields, as a tuple."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda x: tuple(getattr(x, name) for name in names)


def _equality(get: Callable[[Any], tuple[Any, ...]]) -> Any:
    def __eq__(self: Any, other: object) -> Any:
        return get(self) == get(other) if other.__class__ is self.__class__ else NotImplemented

    return __eq__


def _hash(get: Callable[[Any], tuple[Any, ...]]) -> Any:
    def __hash__(self: Any) -> int:
        return hash(get(self))

    return __hash__


@recursive_repr()
def _repr(self: Any) -> str:
    shown = (f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self) if f.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _is_fixed(x: Any, name: str) -> bool:
    """False for what a plain subclass adds."""
    return "__dataclass_fields__" in vars(type(x)) or name in type(x).__dataclass_fields__


def _refuse_to_set(self: Any, name: str, value: Any) -> None:
    if _is_fixed(self, name):
        raise FrozenInstanceError(f"cannot assign to field {name!r}")
    _set(self, name, value)


def _refuse_to_delete(self: Any, name: str) -> None:
    if _is_fixed(self, name):
        raise FrozenInstanceError(f"cannot delete field {name!r}")
    object.__delattr__(self, name)


def _state(self: Any) -> list[Any]:
    return [getattr(self, f.name) for f in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for f, value in zip(dataclasses.fields(self), state, strict=True):
        _set(self, f.name, value)


__all__ = ["record"]
