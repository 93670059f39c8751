"""Element types.

A `DType` is an interned record: compare with ``is`` or ``==``, use as a dictionary key.
``float32_ref`` exists because TensorFlow 1 prints it for the result of an assignment; it is
equal in every other respect and `base` takes the reference away.
"""

from __future__ import annotations

from typing import Any, Final

import ml_dtypes
import numpy as np

from staticgraph.errors import DtypeError
from staticgraph.ir import loc


class DType:
    """An element type: `name` as in TensorFlow, `short` as in the text form, `np` for numpy.

    >>> as_dtype("float32").short, as_dtype(np.int64).name, float32.size
    ('f32', 'int64', 4)
    """

    __slots__ = ("_base", "is_ref", "kind", "name", "np", "short", "size")

    name: str
    short: str
    np: np.dtype
    kind: str  # one of "float", "int", "uint", "bool", "complex", "string", "variant"
    size: int
    is_ref: bool

    def __init__(self, name: str, short: str, np_type: object, kind: str, ref: bool = False):
        self.name = name + ("_ref" if ref else "")
        self.short = short
        self.np = np.dtype(np_type)  # type: ignore[call-overload]
        self.kind = kind
        self.size = self.np.itemsize
        self.is_ref = ref
        self._base: DType = self

    @property
    def base(self) -> DType:
        """This type without the reference mark."""
        return self._base

    base_dtype = base

    @property
    def as_numpy_dtype(self) -> type:
        """The numpy scalar type, as TensorFlow names it."""
        return self.np.type

    @property
    def is_floating(self) -> bool:
        """True of float16, bfloat16, float32 and float64."""
        return self.kind == "float"

    @property
    def is_integer(self) -> bool:
        """True of signed and unsigned integers, not of bool."""
        return self.kind in ("int", "uint")

    @property
    def is_complex(self) -> bool:
        """True of complex64."""
        return self.kind == "complex"

    @property
    def is_bool(self) -> bool:
        """True of bool."""
        return self.kind == "bool"

    @property
    def is_unsigned(self) -> bool:
        """True of unsigned integers."""
        return self.kind == "uint"

    @property
    def is_numeric(self) -> bool:
        """True where arithmetic is defined."""
        return self.kind in ("float", "int", "uint", "complex")

    @property
    def is_differentiable(self) -> bool:
        """True where a gradient can flow."""
        return self.kind in ("float", "complex", "variant")

    @property
    def min(self) -> float | int:
        """The lowest finite value."""
        return _limit(self, "min")

    @property
    def max(self) -> float | int:
        """The highest finite value."""
        return _limit(self, "max")

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DType):
            return self.name == other.name
        found = _found(other)
        return NotImplemented if found is None else found is self._base

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"tf.{self.name}"

    def __str__(self) -> str:
        return f"<dtype: {self.name!r}>"

    def __reduce__(self) -> tuple[object, ...]:
        return (as_dtype, (self.name,))


def _limit(dtype: DType, which: str) -> float | int:
    if dtype.is_bool:
        return int(which == "max")
    if dtype.is_integer:
        return int(getattr(np.iinfo(dtype.np), which))
    finfo: Any = ml_dtypes.finfo if dtype.short == "bf16" else np.finfo
    info = finfo(dtype.np)
    return float(getattr(info, which))


float16: Final = DType("float16", "f16", np.float16, "float")
bfloat16: Final = DType("bfloat16", "bf16", ml_dtypes.bfloat16, "float")
float32: Final = DType("float32", "f32", np.float32, "float")
float64: Final = DType("float64", "f64", np.float64, "float")
int8: Final = DType("int8", "i8", np.int8, "int")
int16: Final = DType("int16", "i16", np.int16, "int")
int32: Final = DType("int32", "i32", np.int32, "int")
int64: Final = DType("int64", "i64", np.int64, "int")
uint8: Final = DType("uint8", "u8", np.uint8, "uint")
uint16: Final = DType("uint16", "u16", np.uint16, "uint")
uint32: Final = DType("uint32", "u32", np.uint32, "uint")
uint64: Final = DType("uint64", "u64", np.uint64, "uint")
bool_: Final = DType("bool", "bool", np.bool_, "bool")
complex64: Final = DType("complex64", "c64", np.complex64, "complex")
complex128: Final = DType("complex128", "c128", np.complex128, "complex")
string: Final = DType("string", "str", object, "string")
variant: Final = DType("variant", "variant", object, "variant")  # a box; see `ops.boxes`

ALL: Final = (
    float16, bfloat16, float32, float64, int8, int16, int32, int64,
    uint8, uint16, uint32, uint64, bool_, complex64, complex128, string,
)  # fmt: skip

_REFS: dict[DType, DType] = {}
for _d in ALL:
    _ref = DType(_d.name, _d.short, _d.np, _d.kind, ref=True)
    _ref._base = _d
    _REFS[_d] = _ref

_BY_NAME: dict[str, DType] = {d.name: d for d in ALL} | {d.short: d for d in ALL}
_BY_NAME |= {r.name: r for r in _REFS.values()}
_BY_NAME[variant.name] = variant
_BY_NAME |= {"half": float16, "float": float32, "double": float64}
_BY_NP: dict[object, DType] = {d.np: d for d in ALL}
# The numbers that TensorFlow's serialised graphs, and some programs, write for types.
_BY_NUMBER: dict[int, DType] = {
    1: float32, 2: float64, 3: int32, 4: uint8, 5: int16, 6: int8, 7: string, 8: complex64,
    9: int64, 10: bool_, 14: bfloat16, 17: uint16, 18: complex128, 19: float16, 22: uint32,
    23: uint64,
}  # fmt: skip
_BY_NUMBER |= {n + 100: _REFS[d] for n, d in _BY_NUMBER.items()}


def ref(dtype: DType) -> DType:
    """Return the reference form of `dtype`, which TensorFlow prints as ``float32_ref``."""
    return _REFS[dtype.base]


def as_dtype(value: object) -> DType:
    """Convert a name, a numpy type, a Python type, a number or a `DType` to a `DType`.

    Numbers are those of TensorFlow's ``DataType``.

    >>> as_dtype(float), as_dtype("half"), as_dtype(np.dtype("u1")), as_dtype(3)
    (tf.float32, tf.float16, tf.uint8, tf.int32)

    Raises:
      DtypeError: the value names no element type of this package.
    """
    found = _found(value)
    if found is None:
        raise DtypeError(
            f"{value!r} is not an element type", loc=loc.caller(),
            hint="one of " + ", ".join(d.name for d in ALL),
        )  # fmt: skip
    return found


def _found(value: object) -> DType | None:
    if isinstance(value, DType):
        return value
    if isinstance(value, str):
        if value in _BY_NAME:
            return _BY_NAME[value]
    elif type(value) is int:
        return _BY_NUMBER.get(value)
    elif value is float:
        return float32
    elif value is int:
        return int32
    elif value is str or value is bytes:
        return string
    try:
        np_type = np.dtype(value)  # type: ignore[call-overload]
    except TypeError:
        np_type = None
    if np_type is not None:
        if np_type in _BY_NP:
            return _BY_NP[np_type]
        if np_type.kind in "SU":
            return string
        if np_type.kind == "c":
            return complex128
    return None


def texts(value: object) -> np.ndarray:
    """An array of strings: of `bytes`, which is what TensorFlow's strings are; text is UTF-8.

    >>> texts(["a", b"b"])
    array([b'a', b'b'], dtype=object)

    Raises:
      TypeError: something in `value` is neither text nor bytes.
    """
    given = np.array(value, dtype=object)
    out = np.empty(given.shape, dtype=object)
    for at, x in np.ndenumerate(given):
        if not isinstance(x, (str, bytes)):
            raise TypeError(f"{x!r} is neither text nor bytes")
        out[at] = x.encode() if isinstance(x, str) else bytes(x)
    return out
