"""Element types in PyTorch's terms: the default ones, and what operands of two kinds become.

A tensor decides before a number does, and among tensors one with axes before a scalar one; the
lesser only matters where it is of a higher category (bool < integer < float < complex).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import ml_dtypes
import numpy as np

from staticgraph.errors import DtypeError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.dtypes import DType

NUMPY: Final[dict[np.dtype, DType]] = {d.np: d for d in dtypes.ALL}
FLOATS: Final = frozenset(d.np for d in dtypes.ALL if d.is_floating)
INTEGERS: Final = frozenset(d.np for d in dtypes.ALL if d.is_integer)
DIFFERENTIABLE: Final = frozenset(d.np for d in dtypes.ALL if d.is_differentiable)
_RANK = {"bool": 0, "int": 1, "uint": 1, "float": 2, "complex": 3}
_INT64, _BOOL = np.dtype(np.int64), np.dtype(np.bool_)
_DEFAULT = [np.dtype(np.float32)]

# The names of PyTorch's old tensor classes, which the older programs give to `type`.
LEGACY: Final = {
    "FloatTensor": dtypes.float32, "DoubleTensor": dtypes.float64, "HalfTensor": dtypes.float16,
    "BFloat16Tensor": dtypes.bfloat16, "ByteTensor": dtypes.uint8, "CharTensor": dtypes.int8,
    "ShortTensor": dtypes.int16, "IntTensor": dtypes.int32, "LongTensor": dtypes.int64,
    "BoolTensor": dtypes.bool_,
}  # fmt: skip


def default_float() -> np.dtype:
    """The type of Python floats."""
    return _DEFAULT[0]


def get_default_dtype() -> DType:
    """The type that Python floats get.

    >>> get_default_dtype().name
    'float32'
    """
    return NUMPY[_DEFAULT[0]]


def set_default_dtype(dtype: object) -> None:
    """Choose the type that Python floats get; DtypeError where it is not a float."""
    wanted = as_numpy(dtype)
    if wanted not in FLOATS:
        raise DtypeError(
            f"the default element type is a float, not {NUMPY[wanted].name}", loc=loc.caller()
        )
    _DEFAULT[0] = wanted


def as_numpy(dtype: object) -> np.dtype:
    """The numpy type of a dtype, a name, a Python type, or a legacy tensor class.

    Raises:
      DtypeError: it names no element type.
    """
    if isinstance(dtype, DType):
        return dtype.base.np
    if dtype is float:
        return _DEFAULT[0]
    if dtype is int:
        return _INT64
    if dtype is bool:
        return _BOOL
    legacy = getattr(dtype, "legacy_dtype", None)
    if isinstance(legacy, DType):
        return legacy.np
    if isinstance(dtype, str):
        name = dtype.rsplit(".", 1)[-1]
        if name in LEGACY:
            return LEGACY[name].np
        dtype = name
    try:
        return dtypes.as_dtype(dtype).base.np
    except DtypeError as e:
        raise DtypeError(e.message, loc=loc.caller(), hint=e.hint) from None


def of_number(value: Any) -> np.dtype:
    """The type of a Python number.

    Raises:
      DtypeError: `value` is no number.
    """
    if isinstance(value, (bool, np.bool_)):
        return _BOOL
    if isinstance(value, (int, np.integer)):
        return _INT64
    if isinstance(value, (float, np.floating)):
        return _DEFAULT[0]
    if isinstance(value, (complex, np.complexfloating)):
        return np.dtype(np.complex64 if _DEFAULT[0].itemsize < 8 else np.complex128)
    raise DtypeError(f"{value!r} is no number and no tensor", loc=loc.caller())


def _rank(kind: np.dtype) -> int:
    return _RANK.get(NUMPY[kind].kind, 4)


def promote(a: np.dtype, b: np.dtype) -> np.dtype:
    """What two types become together.

    >>> promote(np.dtype("int64"), np.dtype("float32"))
    dtype('float32')
    """
    if a == b:
        return a
    ra, rb = _rank(a), _rank(b)
    if ra != rb:
        return a if ra > rb else b
    if {a.itemsize, b.itemsize} == {2} and ra == 2:  # float16 and bfloat16
        return np.dtype(np.float32)
    return np.promote_types(a, b)


def together(axes: Sequence[np.dtype], scalars: Sequence[np.dtype], numbers: Sequence[np.dtype],
             ) -> np.dtype | None:  # fmt: skip
    """The common type of tensors with axes, scalar tensors, and Python numbers."""
    out: np.dtype | None = None
    for group in (axes, scalars, numbers):
        mine: np.dtype | None = None
        for kind in group:
            mine = kind if mine is None else promote(mine, kind)
        if mine is not None and (out is None or _rank(mine) > _rank(out)):
            out = mine
    return out


class finfo:  # noqa: N801 - PyTorch's name
    """The limits of an element type of floats.

    >>> finfo(dtypes.float32).eps
    1.1920928955078125e-07
    """

    def __init__(self, type: object = None) -> None:
        kind = default_float() if type is None else as_numpy(type)
        if kind not in FLOATS:
            raise DtypeError(
                f"finfo is of floats, got {NUMPY[kind].name}", loc=loc.caller(), hint="use iinfo"
            )
        limits = NUMPY[kind]
        self.dtype, self.bits = limits.name, kind.itemsize * 8
        self.min, self.max = float(limits.min), float(limits.max)
        about: Any = (np.finfo if kind.kind == "f" else ml_dtypes.finfo)(kind)
        self.eps, self.tiny = float(about.eps), float(about.smallest_normal)
        self.smallest_normal, self.resolution = self.tiny, 10.0**-about.precision


class iinfo:  # noqa: N801 - PyTorch's name
    """The limits of an element type of integers.

    >>> iinfo(dtypes.int8).max
    127
    """

    def __init__(self, type: object) -> None:
        kind = as_numpy(type)
        if kind not in INTEGERS:
            raise DtypeError(
                f"iinfo is of integers, got {NUMPY[kind].name}", loc=loc.caller(), hint="use finfo"
            )
        about = np.iinfo(kind)
        self.dtype, self.bits = NUMPY[kind].name, about.bits
        self.min, self.max = int(about.min), int(about.max)
