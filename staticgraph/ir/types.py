"""The type of a tensor, and constant arrays as values that can be compared and hashed."""

from __future__ import annotations

import hashlib
from functools import cached_property

import numpy as np

from staticgraph.ir.arrays import ALIGNMENT, aligned_copy
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.record import record


class UnknownRankError(Exception):
    """A shape rule asked for the dims of a tensor of unknown rank; the result is unknown too."""


@record(frozen=True, slots=True)
class TensorType:
    """An element type and the size of each axis; `shape` is None where the rank is unknown.

    >>> from staticgraph.ir import dtypes
    >>> str(TensorType(dtypes.float32, (2, 3)))
    'f32[2, 3]'
    """

    dtype: DType
    shape: tuple[Dim, ...] | None

    @property
    def dims(self) -> tuple[Dim, ...]:
        """The sizes; raises `UnknownRankError` where the rank is unknown."""
        if self.shape is None:
            raise UnknownRankError
        return self.shape

    @property
    def rank(self) -> int:
        """The number of axes; raises `UnknownRankError` where it is unknown."""
        return len(self.dims)

    def __str__(self) -> str:
        inner = "*" if self.shape is None else ", ".join(map(str, self.shape))
        return f"{self.dtype.short}[{inner}]"

    def public(self) -> str:
        """The form that users see: ``float32[?, 784]``."""
        if self.shape is None:
            return f"{self.dtype.base.name}<unknown>"
        dims = ", ".join(str(d) if isinstance(d, int) else "?" for d in self.shape)
        return f"{self.dtype.base.name}[{dims}]"


class ConstantArray:
    """A read-only numpy array that compares and hashes by content.

    It is a copy in row-major order, since the user's array may change later.  What is longer than
    a cache line begins at one, so that kernels read it where it lies.

    >>> ConstantArray(np.arange(3)) == ConstantArray(np.arange(3))
    True
    """

    __slots__ = ("__dict__", "array")

    array: np.ndarray

    def __init__(self, array: object) -> None:
        a = np.asarray(array)
        short = a.nbytes <= ALIGNMENT or a.dtype == object
        self.array = np.array(a, order="C") if short else aligned_copy(a)
        self.array.flags.writeable = False

    @cached_property
    def digest(self) -> bytes:
        """A content hash that tells NaN payloads and signed zeros apart."""
        a = self.array
        out = hashlib.blake2b(f"{a.dtype.str}{a.shape}".encode(), digest_size=16)
        if a.dtype == object:
            out.update(repr(a.tolist()).encode())
        elif a.nbytes:
            out.update(a.reshape(-1).view(np.uint8).data)  # of what is no buffer, too
        return out.digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ConstantArray) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"ConstantArray({self.array.tolist()!r})"
