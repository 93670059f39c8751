"""`TensorShape` and `Dimension`: static shapes as TensorFlow 1 programs see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from staticgraph.errors import ShapeError
from staticgraph.ir import loc
from staticgraph.ir.dims import Dim


class Dimension:
    """One axis of a static shape; `value` is None where it is unknown."""

    __slots__ = ("value",)

    value: int | None

    def __init__(self, value: object = None) -> None:
        self.value = value.value if isinstance(value, Dimension) else _as_size(value)

    def __int__(self) -> int:
        if self.value is None:
            raise ShapeError(
                "the size of this axis is unknown while the graph is built",
                hint="use tf.shape(x)[axis] for its value at run time",
            )
        return self.value

    __index__ = __int__

    def __eq__(self, other: object) -> bool:
        other_value = other.value if isinstance(other, Dimension) else other
        return self.value == other_value

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return f"Dimension({self.value})"

    def __str__(self) -> str:
        return "?" if self.value is None else str(self.value)

    def _with(self, other: object, fn: str, swap: bool = False) -> Dimension:
        value = other.value if isinstance(other, Dimension) else other
        if self.value is None or value is None:
            return Dimension(None)
        a, b = (int(value), self.value) if swap else (self.value, int(value))  # type: ignore[call-overload]
        return Dimension(getattr(int, fn)(a, b))

    def __add__(self, other: object) -> Dimension:
        return self._with(other, "__add__")

    __radd__ = __add__

    def __sub__(self, other: object) -> Dimension:
        return self._with(other, "__sub__")

    def __rsub__(self, other: object) -> Dimension:
        return self._with(other, "__sub__", swap=True)

    def __mul__(self, other: object) -> Dimension:
        return self._with(other, "__mul__")

    __rmul__ = __mul__

    def __floordiv__(self, other: object) -> Dimension:
        return self._with(other, "__floordiv__")

    __div__ = __floordiv__

    def __mod__(self, other: object) -> Dimension:
        return self._with(other, "__mod__")

    def __lt__(self, other: object) -> bool:
        return int(self) < int(other)  # type: ignore[call-overload, no-any-return]

    def __gt__(self, other: object) -> bool:
        return int(self) > int(other)  # type: ignore[call-overload, no-any-return]

    def __le__(self, other: object) -> bool:
        return int(self) <= int(other)  # type: ignore[call-overload, no-any-return]

    def __ge__(self, other: object) -> bool:
        return int(self) >= int(other)  # type: ignore[call-overload, no-any-return]


def _as_size(value: object) -> int | None:
    if value is None:
        return None
    try:
        size = value.__index__()  # type: ignore[attr-defined]
    except AttributeError:
        raise ShapeError(f"{value!r} is not the size of an axis") from None
    if size < 0:
        raise ShapeError(f"the size of an axis cannot be negative, got {size}")
    return int(size)


class TensorShape:
    """A static shape: a sequence of `Dimension`, or of unknown rank.

    >>> TensorShape([None, 784])
    TensorShape([Dimension(None), Dimension(784)])
    >>> str(TensorShape([None, 784])), TensorShape([2, 3]).num_elements()
    ('(?, 784)', 6)
    """

    __slots__ = ("_dims",)

    _dims: tuple[Dimension, ...] | None

    def __init__(self, dims: object = None) -> None:
        if isinstance(dims, TensorShape):
            self._dims = dims._dims
        elif dims is None:
            self._dims = None
        elif isinstance(dims, (str, bytes)):
            raise ShapeError(f"{dims!r} is not a shape", loc=loc.caller())
        elif hasattr(dims, "__iter__"):
            self._dims = tuple(Dimension(d) for d in dims)
        else:
            self._dims = (Dimension(dims),)

    @property
    def dims(self) -> list[Dimension] | None:
        """The axes, or None."""
        return None if self._dims is None else list(self._dims)

    @property
    def ndims(self) -> int | None:
        """The number of axes, or None."""
        return None if self._dims is None else len(self._dims)

    rank = ndims

    def as_list(self) -> list[int | None]:
        """The sizes, None where unknown; raises ValueError where the rank is unknown."""
        if self._dims is None:
            raise ShapeError("as_list() is not defined on a shape of unknown rank")
        return [d.value for d in self._dims]

    def is_fully_defined(self) -> bool:
        """True where every size is known."""
        return self._dims is not None and all(d.value is not None for d in self._dims)

    def assert_is_fully_defined(self) -> None:
        """Raise ValueError unless every size is known."""
        if not self.is_fully_defined():
            raise ShapeError(f"shape {self} is not fully defined")

    def num_elements(self) -> int | None:
        """The product of the sizes, or None."""
        if not self.is_fully_defined():
            return None
        n = 1
        for d in self._dims or ():
            n *= int(d)
        return n

    def is_compatible_with(self, other: object) -> bool:
        """True where some concrete shape fits both."""
        o = TensorShape(other)._dims
        if self._dims is None or o is None:
            return True
        return len(o) == len(self._dims) and all(
            a.value is None or b.value is None or a.value == b.value
            for a, b in zip(self._dims, o, strict=True)
        )

    def assert_is_compatible_with(self, other: object) -> None:
        """Raise ValueError unless `is_compatible_with`."""
        if not self.is_compatible_with(other):
            raise ShapeError(f"shapes {self} and {TensorShape(other)} are incompatible")

    def merge_with(self, other: object) -> TensorShape:
        """The shape with what both know."""
        o = TensorShape(other)
        self.assert_is_compatible_with(o)
        if self._dims is None:
            return o
        if o._dims is None:
            return self
        return TensorShape(
            [
                a.value if a.value is not None else b.value
                for a, b in zip(self._dims, o._dims, strict=True)
            ]
        )

    def concatenate(self, other: object) -> TensorShape:
        """This shape followed by another."""
        o = TensorShape(other)
        if self._dims is None or o._dims is None:
            return TensorShape(None)
        return TensorShape([*self._dims, *o._dims])

    def with_rank(self, rank: int) -> TensorShape:
        """This shape, known to have `rank` axes."""
        return self.merge_with([None] * rank)

    def with_rank_at_least(self, rank: int) -> TensorShape:
        """This shape; ValueError where it has fewer axes."""
        if self._dims is not None and len(self._dims) < rank:
            raise ShapeError(f"shape {self} must have rank at least {rank}")
        return self

    def __len__(self) -> int:
        if self._dims is None:
            raise ShapeError("the length of a shape of unknown rank is unknown")
        return len(self._dims)

    def __bool__(self) -> bool:
        return self._dims is not None

    def __iter__(self) -> Iterator[Dimension]:
        if self._dims is None:
            raise ShapeError("a shape of unknown rank cannot be iterated")
        return iter(self._dims)

    def __getitem__(self, key: int | slice) -> Dimension | TensorShape:
        if self._dims is None:
            return TensorShape(None) if isinstance(key, slice) else Dimension(None)
        return TensorShape(self._dims[key]) if isinstance(key, slice) else self._dims[key]

    def __eq__(self, other: object) -> bool:
        if other is None or isinstance(other, (TensorShape, Sequence)):
            return self._dims == TensorShape(other)._dims
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._dims)

    def __repr__(self) -> str:
        return f"TensorShape({self.dims})"

    def __str__(self) -> str:
        if self._dims is None:
            return "<unknown>"
        if len(self._dims) == 1:
            return f"({self._dims[0]},)"
        return "(" + ", ".join(map(str, self._dims)) + ")"


def from_dims(dims: tuple[Dim, ...] | None) -> TensorShape:
    """What users see of inferred sizes: symbols become None."""
    return TensorShape(None if dims is None else [d if isinstance(d, int) else None for d in dims])
