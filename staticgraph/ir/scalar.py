"""Scalar expressions: what one element of a tensor is.

An op's `lower` rule is an *index lambda*: given index expressions for one element of the result
it returns that element's expression over loads of the operands, or a `Reduce` of one.

    Expr = Lit(value) | Index(name) | Size(dim) | Load(operand, index) | Prim(name, args)

Types: every expression has a dtype; indices are int64.  A primitive's operands share one dtype
unless the table says otherwise; `cast` converts.

Meaning, the same on every target:
- Integers wrap around.  `floordiv` and `mod` round towards minus infinity and take the divisor's
  sign, `truncdiv` and `truncmod` round towards zero; division by zero gives 0.
- NaN, infinities and signed zeros behave as in numpy; `maximum` and `minimum` give NaN if either
  operand is.  float16 and bfloat16 are computed in float32 and rounded when stored.
- Shifts take their count modulo the width.  `cast` from float to integer truncates; values out
  of range give an unspecified integer.
- Nothing has an effect except `check_index`, which reports an index outside [0, bound) and
  continues with 0; the run then fails.  Expressions may be duplicated, moved and evaluated or not.
"""

from __future__ import annotations

import atexit
import struct
import threading
from collections.abc import Callable
from typing import Any, Final, Literal
from weakref import WeakValueDictionary

from staticgraph.ir import dtypes
from staticgraph.ir.dims import Call, Dim, Poly, Symbol
from staticgraph.ir.dtypes import DType
from staticgraph.ir.record import record
from staticgraph.ir.types import TensorType


@record(frozen=True, slots=True)
class Primitive:
    """A row of the table: `result` is "same", "bool", or "cond" (select); `cost` in additions."""

    name: str
    arity: int
    result: Literal["same", "bool", "cond", "cast"] = "same"
    cost: int = 1


def _rows() -> dict[str, Primitive]:
    table: dict[str, Primitive] = {}

    def add(names: str, arity: int, result: Any = "same", cost: int = 1) -> None:
        for n in names.split():
            table[n] = Primitive(n, arity, result, cost)

    add("add sub mul maximum minimum bitand bitor bitxor shl shr", 2)
    add("div floordiv mod truncdiv truncmod", 2, cost=8)
    add("neg abs sign bitnot floor ceil rint trunc", 1)
    add("lt le gt ge eq ne and or xor", 2, "bool")
    add("not isnan isinf isfinite", 1, "bool")
    add("select", 3, "cond")
    add("cast", 1, "cast")
    add("check_index", 2, cost=2)
    add("sqrt rsqrt cbrt", 1, cost=8)
    add("exp expm1 exp2 log log1p log2 log10 tanh sigmoid softplus sin cos tan", 1, cost=16)
    add("asin acos atan sinh cosh asinh acosh atanh erf erfc erfinv lgamma digamma", 1, cost=24)
    add("atan2 pow", 2, cost=30)
    return table


PRIMITIVES: Final = _rows()


class Expr:
    """A scalar expression; Python's operators build primitives, numbers are lifted.

    >>> from staticgraph.ir import dtypes
    >>> x = Load(0, (), dtypes.float32)
    >>> str(x * x + 1)
    'add(mul(%0[], %0[]), 1.0)'
    """

    __slots__ = ()

    dtype: DType

    def __add__(self, o: Any) -> Expr:
        return prim("add", self, o)

    def __radd__(self, o: Any) -> Expr:
        return prim("add", lift(o, self.dtype), self)

    def __sub__(self, o: Any) -> Expr:
        return prim("sub", self, o)

    def __rsub__(self, o: Any) -> Expr:
        return prim("sub", lift(o, self.dtype), self)

    def __mul__(self, o: Any) -> Expr:
        return prim("mul", self, o)

    def __rmul__(self, o: Any) -> Expr:
        return prim("mul", lift(o, self.dtype), self)

    def __truediv__(self, o: Any) -> Expr:
        return prim("div", self, o)

    def __rtruediv__(self, o: Any) -> Expr:
        return prim("div", lift(o, self.dtype), self)

    def __floordiv__(self, o: Any) -> Expr:
        return prim("floordiv", self, o)

    def __mod__(self, o: Any) -> Expr:
        return prim("mod", self, o)

    def __neg__(self) -> Expr:
        return prim("neg", self)

    def __lt__(self, o: Any) -> Expr:
        return prim("lt", self, o)

    def __le__(self, o: Any) -> Expr:
        return prim("le", self, o)

    def __gt__(self, o: Any) -> Expr:
        return prim("gt", self, o)

    def __ge__(self, o: Any) -> Expr:
        return prim("ge", self, o)

    def __and__(self, o: Any) -> Expr:
        return prim("and", self, o)

    def __or__(self, o: Any) -> Expr:
        return prim("or", self, o)

    def eq(self, o: Any) -> Expr:
        """Equality as an expression (``==`` compares the trees)."""
        return prim("eq", self, o)

    def ne(self, o: Any) -> Expr:
        """Inequality as an expression."""
        return prim("ne", self, o)


@record(frozen=True, slots=True)
class Lit(Expr):
    """A literal; floats are compared by bits, so that -0.0 and NaN keep their identity."""

    value: int | float | bool
    dtype: DType

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lit) and self.dtype is other.dtype and self._key == other._key

    def __hash__(self) -> int:
        return hash((self._key, self.dtype.name))

    @property
    def _key(self) -> object:
        return struct.pack("<d", self.value) if isinstance(self.value, float) else self.value

    def __str__(self) -> str:
        return repr(self.value)


@record(frozen=True, slots=True)
class Size(Expr):
    """A size known at run time, as an int64."""

    dim: Poly
    dtype: DType = dtypes.int64

    def __str__(self) -> str:
        return f"<{self.dim}>"


ZERO: Final = Lit(0, dtypes.int64)
_lock = threading.Lock()
_loads: WeakValueDictionary[object, Load] = WeakValueDictionary()
_prims: WeakValueDictionary[object, Prim] = WeakValueDictionary()
_indices: dict[str, Index] = {}
# A value that goes while the interpreter ends would be looked up with half of this module gone.
atexit.register(_loads.clear)
atexit.register(_prims.clear)
_set = object.__setattr__

# Of one set of fields there is one expression: equal trees are one object, and are hashed and
# compared as such.  Expressions share their parts; as trees they would cost time that is
# exponential in their depth.


@record(frozen=True, slots=True, init=False, eq=False, weakref_slot=True)
class Index(Expr):
    """A loop variable."""

    name: str
    dtype: DType = dtypes.int64

    def __new__(cls, name: str) -> Index:
        found = _indices.get(name)
        if found is None:
            made = object.__new__(cls)
            _set(made, "name", name)
            _set(made, "dtype", dtypes.int64)
            found = _indices.setdefault(name, made)
        return found

    def __reduce__(self) -> tuple[object, ...]:
        return (Index, (self.name,))

    def __str__(self) -> str:
        return self.name


@record(frozen=True, slots=True, init=False, eq=False, weakref_slot=True)
class Load(Expr):
    """One element of operand number `operand`; fusion replaces it by the producer's expression."""

    operand: int
    index: tuple[Expr, ...]
    dtype: DType

    def __new__(cls, operand: int, index: tuple[Expr, ...], dtype: DType) -> Load:
        key = (operand, index, id(dtype))
        found = _loads.get(key)
        if found is not None:
            return found
        with _lock:
            found = _loads.get(key)
            if found is None:
                found = object.__new__(cls)
                _set(found, "operand", operand)
                _set(found, "index", index)
                _set(found, "dtype", dtype)
                _loads[key] = found
        return found

    def __reduce__(self) -> tuple[object, ...]:
        return (Load, (self.operand, self.index, self.dtype))

    def __str__(self) -> str:
        return f"%{self.operand}[{', '.join(map(str, self.index))}]"


@record(frozen=True, slots=True, init=False, eq=False, weakref_slot=True)
class Prim(Expr):
    """A primitive applied to expressions."""

    name: str
    args: tuple[Expr, ...]
    dtype: DType

    def __new__(cls, name: str, args: tuple[Expr, ...], dtype: DType) -> Prim:
        key = (name, args, id(dtype))
        found = _prims.get(key)
        if found is not None:
            return found
        with _lock:
            found = _prims.get(key)
            if found is None:
                found = object.__new__(cls)
                _set(found, "name", name)
                _set(found, "args", args)
                _set(found, "dtype", dtype)
                _prims[key] = found
        return found

    def __reduce__(self) -> tuple[object, ...]:
        return (Prim, (self.name, self.args, self.dtype))

    def __str__(self) -> str:
        suffix = f".{self.dtype.short}" if self.name == "cast" else ""
        return f"{self.name}{suffix}({', '.join(map(str, self.args))})"


ReduceKind = Literal["sum", "prod", "max", "min", "all", "any", "argmax", "argmin"]


@record(frozen=True, slots=True)
class Reduce:
    """A reduction over `extents`; `body` is given one index expression per extent.

    argmax and argmin reduce over one extent and give the first position of the extreme value
    (a NaN counts as extreme), with dtype `dtype`.
    """

    kind: ReduceKind
    extents: tuple[Dim, ...]
    body: Callable[[tuple[Expr, ...]], Expr]
    dtype: DType


@record(frozen=True, slots=True)
class Operand:
    """What a lowering rule sees of an operand: its type, and loads from it."""

    number: int
    type: TensorType

    @property
    def shape(self) -> tuple[Dim, ...]:
        """The sizes."""
        return self.type.dims

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self.type.dtype.base

    def __getitem__(self, index: Any) -> Load:
        index = index if isinstance(index, tuple) else (index,)
        if len(index) != len(self.shape):
            raise TypeError(f"{len(index)} indices for {self.type}")
        return Load(self.number, tuple(lift(i, dtypes.int64) for i in index), self.dtype)

    def at(self, ix: tuple[Expr, ...]) -> Load:
        """Load with numpy's broadcasting: axes are aligned at the end, size 1 reads element 0."""
        shape = self.type.dims
        tail = ix[len(ix) - len(shape) :] if shape else ()
        index = [ZERO if type(d) is int and d == 1 else i for d, i in zip(shape, tail, strict=True)]
        return Load(self.number, tuple(index), self.dtype)


def lift(value: Any, dtype: DType) -> Expr:
    """Turn a number or a size into an expression of `dtype`."""
    if isinstance(value, Expr):
        return value
    if isinstance(value, Poly):
        return size_expr(value)
    if dtype.is_bool:
        return Lit(bool(value), dtype)
    return Lit(float(value) if dtype.is_floating else int(value), dtype)


def size_expr(d: Dim) -> Expr:
    """A size as an int64 expression."""
    return Lit(d, dtypes.int64) if isinstance(d, int) else Size(d)


def prim(name: str, *args: Any) -> Expr:
    """Apply the primitive `name`; numbers take the dtype of the first expression among `args`.

    Raises:
      TypeError: dtypes differ or the arity is wrong; a defect of a lowering rule.
    """
    row = PRIMITIVES[name]
    like = next((a.dtype for a in args[::-1] if isinstance(a, Expr)), dtypes.float32)
    xs = tuple([a if isinstance(a, Expr) else lift(a, like) for a in args])
    if len(xs) != row.arity or row.result == "cast":
        raise TypeError(f"{name} takes {row.arity} operands")
    values = xs[1:] if row.result == "cond" else xs
    own = values[0].dtype
    for v in values:
        if v.dtype is not own:
            raise TypeError(f"{name}: operands of dtypes {[v.dtype.name for v in values]}")
    return Prim(name, xs, dtypes.bool_ if row.result == "bool" else own)


def cast(x: Expr, dtype: DType) -> Expr:
    """Convert to `dtype`."""
    return x if x.dtype is dtype.base else Prim("cast", (x,), dtype.base)


def select(condition: Expr, a: Any, b: Any) -> Expr:
    """`a` where `condition` holds, else `b`; neither side has effects, both may be evaluated."""
    like = a.dtype if isinstance(a, Expr) else b.dtype
    return prim("select", condition, lift(a, like), lift(b, like))


def check_index(i: Expr, bound: Dim) -> Expr:
    """`i` as an int64, reported as out of bounds unless 0 <= i < bound."""
    return prim("check_index", cast(i, dtypes.int64), size_expr(bound))


class _Functions:
    """Primitives as methods: ``s.tanh(x)``."""

    select = staticmethod(select)
    cast = staticmethod(cast)
    check_index = staticmethod(check_index)
    lift = staticmethod(lift)

    def __getattr__(self, name: str) -> Callable[..., Expr]:
        name = name.rstrip("_")
        if name not in PRIMITIVES:
            raise AttributeError(f"no scalar primitive {name!r}")
        return lambda *args: prim(name, *args)


s: Final = _Functions()

__all__ = [
    "PRIMITIVES", "Call", "Dim", "Expr", "Index", "Lit", "Load", "Operand", "Poly", "Prim",
    "Reduce", "Size", "Symbol", "cast", "check_index", "lift", "prim", "s", "select", "size_expr",
]  # fmt: skip
