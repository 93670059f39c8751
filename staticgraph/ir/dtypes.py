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


class DType:
    """An element type: `name` as in TensorFlow, `short` as in the text form, `np` for numpy.

    >>> as_dtype("float32").short, as_dtype(np.int64).name, float32.size
    ('f32', 'int64', 4)
    """

    __slots__ = ("_base", "is_ref", "kind", "name", "np", "short", "size")

    name: str
    short: str
    np: np.dtype
    kind: str  # one of "float", "int", "uint", "bool", "complex", "string"
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
        return self.kind in ("float", "complex")

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
        try:
            return as_dtype(other) is self._base
        except (DtypeError, TypeError):
            return NotImplemented

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
_BY_NAME |= {"half": float16, "float": float32, "double": float64}
_BY_NP: dict[object, DType] = {d.np: d for d in ALL}


def ref(dtype: DType) -> DType:
    """Return the reference form of `dtype`, which TensorFlow prints as ``float32_ref``."""
    return _REFS[dtype.base]


def as_dtype(value: object) -> DType:
    """Convert a name, a numpy type, a Python type or a `DType` to a `DType`.

    >>> as_dtype(float), as_dtype("half"), as_dtype(np.dtype("u1"))
    (tf.float32, tf.float16, tf.uint8)

    Raises:
      DtypeError: the value names no element type of this package.
    """
    if isinstance(value, DType):
        return value
    if isinstance(value, str):
        if value in _BY_NAME:
            return _BY_NAME[value]
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
    raise DtypeError(
        f"{value!r} is not an element type", hint="one of " + ", ".join(d.name for d in ALL)
    )
