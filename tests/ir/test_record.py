"""Records do what dataclasses do."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import weakref
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, replace
from typing import Any, ClassVar

import pytest

from staticgraph.ir.record import record

KINDS = [
    {},
    {"frozen": True},
    {"slots": True},
    {"frozen": True, "slots": True},
    {"frozen": True, "slots": True, "eq": False},
    {"frozen": True, "slots": True, "weakref_slot": True},
]


def classes(make: Callable[..., Any], kind: dict[str, Any]) -> tuple[Any, Any, Any]:
    """A class, a subclass and one without fields."""

    @make(**kind)
    class Base:
        """Fields of all kinds."""

        limit: ClassVar[int] = 5
        a: int
        b: Any = None
        c: list[int] = field(default_factory=list)
        d: int = field(default=7, compare=False, repr=False)

        def twice(self) -> int:
            return 2 * self.a

    @make(**kind)
    class Derived(Base):
        e: str = "e"

    @make(**kind)
    class Empty:
        pass

    return Base, Derived, Empty


def outcome(f: Callable[[], Any]) -> Any:
    """What a function gives or how it fails."""
    try:
        return f()
    except Exception as e:
        return type(e), str(e)


def seen(make: Callable[..., Any], kind: dict[str, Any]) -> list[Any]:
    """What can be seen of the classes and of what they make."""
    base, derived, empty = classes(make, kind)
    x, y, z = base(1, (2,), [3]), base(1, (2,), [3], d=9), derived(1, (2,), [3], 7, "f")
    frozen = base(1, 2, (3,))
    both = len({"frozen", "slots"} & kind.keys()) == 2  # a dataclass fails with a TypeError here
    mark = "__" if kind.get("eq", True) else "identity"  # then hashes are those of addresses
    return [
        repr(x), repr(z), repr(empty()), x == y, x == z, x == 1, x != y, empty() == empty(),
        base.__hash__ is None, outcome(lambda: hash(x) and None),
        outcome(lambda: hash(frozen) == hash(base(1, 2, (3,), 8))) if mark == "__" else mark,
        [(f.name, f.type, f.compare) for f in dataclasses.fields(derived)],
        base.__match_args__, derived.__match_args__, repr(replace(x, a=4)), x.twice(), base.limit,
        base(0).c is base(0).c, outcome(lambda: base()), outcome(lambda: base(1, f=2)),
        outcome(lambda: base(1, 2, 3, 4, 5)), outcome(lambda: setattr(x, "a", 2)),
        both or outcome(lambda: setattr(x, "new", 2)), outcome(lambda: delattr(z, "e")),
        outcome(lambda: weakref.ref(x)() is x), hasattr(x, "__dict__"), base.__doc__,
        base.__qualname__, base.__init__.__qualname__, base.__module__,
    ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_record_is_a_dataclass(kind: dict[str, Any]) -> None:
    for have, want in zip(seen(record, kind), seen(dataclass, kind), strict=True):
        assert have == want


@record(frozen=True, slots=True)
class Kept:
    """For pickle, which looks for it here."""

    a: int
    b: tuple[Kept, ...] = ()


def test_a_frozen_record_is_copied_by_pickle() -> None:
    x = Kept(1, (Kept(2),))
    assert pickle.loads(pickle.dumps(x)) == x


def test_methods_of_the_class_are_kept() -> None:
    @record(frozen=True)
    class Own:
        a: float

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Own) and round(self.a) == round(other.a)

        def __hash__(self) -> int:
            return round(self.a)

        def __repr__(self) -> str:
            return "own"

        def __post_init__(self) -> None:
            if self.a < 0:
                raise ValueError("negative")

    assert (Own(1.1) == Own(0.9), hash(Own(2.1)), str(Own(0.0))) == (True, 2, "own")
    with pytest.raises(ValueError, match="negative"):
        Own(-1.0)

    @record(frozen=True)
    class Compared:
        a: int

        def __eq__(self, other: object) -> bool:
            return True

    assert Compared(1) == Compared(2)
    assert hash(Compared(1)) == hash(Compared(1))


def test_what_a_plain_subclass_adds_is_its_own() -> None:
    class Wider(Kept):
        pass

    x = Wider(1)
    x.more = 2  # type: ignore[attr-defined]
    del x.more  # type: ignore[attr-defined]
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'a'"):
        x.a = 2  # type: ignore[misc]


def test_a_record_that_holds_itself_has_a_text() -> None:
    @record()
    class Node:
        next: Any = None

    n = Node()
    n.next = n
    assert repr(n).endswith("Node(next=...)")


def test_init_is_compiled_with_the_first_instance() -> None:
    @record(frozen=True)
    class Base:
        x: int
        y: list[int] = field(default_factory=list)

    class More(Base):
        pass

    later = Base.__init__  # type: ignore[misc]
    with pytest.raises(TypeError, match=r"Base.__init__\(\) missing 1 required .* 'x'"):
        Base()  # type: ignore[call-arg]
    assert Base.__init__ is not later  # type: ignore[misc]
    assert list(inspect.signature(Base).parameters) == ["x", "y"]
    assert (More(1).x, Base(2, [3]).y, More(x=4).y) == (1, [3], [])
    assert Base(1).y is not Base(1).y
    assert "__init__" not in vars(More)
