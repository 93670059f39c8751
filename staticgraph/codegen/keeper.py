"""`Keeper`: makes arrays that own memory which is used again when nobody has them any more.

It relies on numpy's memory handlers (NEP 49) and on what `codegen.entry` relies on; elsewhere
`keeper` gives none, and arrays are numpy's own.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from staticgraph.codegen.cache import ir_address
from staticgraph.codegen.entry import (
    ARRAY_TYPE,
    NEW_ARRAY,
    available,
    for_good,
    function_address,
    numpy_table,
)
from staticgraph.codegen.result_source import API, DATA, KEEPER, MEM_HANDLER, OWN, WORDS, source
from staticgraph.errors import CompileError, CompileFallbackWarning
from staticgraph.ir import loc

_GET_HANDLER, _DEFAULT_HANDLER = 305, 306  # places in numpy's table
_NAME = ctypes.create_string_buffer(b"mem_handler")  # of all capsules, which keep its address
_WORD = ctypes.c_void_p


class Keeper:
    """A memory handler of numpy that holds one block for the next array of as many bytes.

    Attributes:
      capsule: in which numpy knows it; arrays that it has made keep it alive.
      address: of its words; see `codegen.result_source`.
      make: the address of the native function that makes arrays.

    Raises:
      CompileError: there is no native code for it.
    """

    def __init__(self) -> None:
        start, known = _started()
        self.address: int = start(known.ctypes.data) or _no_memory()
        words = (ctypes.c_int64 * WORDS).from_address(self.address)
        new = ctypes.PYFUNCTYPE(ctypes.py_object, _WORD, _WORD, _WORD)
        self.capsule: Any = new(function_address("PyCapsule_New"))(
            self.address, ctypes.addressof(_NAME), words[OWN["destroy"]]
        )
        self.make = int(words[OWN["make"]])
        o, n = ctypes.py_object, ctypes.c_int64
        self._make = ctypes.PYFUNCTYPE(o, _WORD, o, o, n, _WORD, n)(self.make)

    def array(self, shape: Sequence[int], dtype: np.dtype[Any]) -> np.ndarray:
        """A new row-major array at a boundary of 64 bytes; it is not initialised.

        Raises:
          MemoryError: there is none for it.
        """
        return self.maker(shape, dtype)()

    def maker(self, shape: Sequence[int], dtype: np.dtype[Any]) -> Callable[[], np.ndarray]:
        """A function that gives such an array each time."""
        sizes = (ctypes.c_int64 * len(shape))(*shape)
        nbytes = math.prod(shape) * dtype.itemsize
        return partial(
            self._make, self.address, self.capsule, dtype, len(shape), sizes, nbytes
        )  # fmt: skip

    @property
    def kept(self) -> int:
        """The address of the block that it holds, or 0."""
        return int(ctypes.c_int64.from_address(self.address + 8 * OWN["kept"]).value)


def data(a: np.ndarray) -> int:
    """The address of an array's first element, where there are keepers."""
    return _WORD.from_address(id(a) + DATA).value or 0


def keeper() -> Keeper | None:
    """A keeper, or None where there can be none."""
    return Keeper() if _usable() else None


@cache
def _usable() -> bool:
    """True where there can be keepers; a reason that nobody expects is told once."""
    if not _handlers_hold():
        return False
    try:
        _started()
    except CompileError as e:
        loc.warn(
            CompileFallbackWarning(
                f"{e.message}; large results are in memory that is new for each, which takes longer"
            )
        )
        return False
    return True


def _no_memory() -> int:
    raise MemoryError


@cache
def _started() -> tuple[Any, np.ndarray]:
    """The native function that makes keepers, and what it knows, both for good."""
    table = numpy_table()
    assert table is not None
    python = {
        "pointer": "PyCapsule_GetPointer", "track": "PyTraceMalloc_Track",
        "untrack": "PyTraceMalloc_Untrack", "take": "Py_IncRef", "no_memory": "PyErr_NoMemory",
    }  # fmt: skip
    known: dict[str, int] = {
        "handler": _default_handler(table), "name": ctypes.addressof(_NAME),
        "new_array": table[NEW_ARRAY], "array": table[ARRAY_TYPE],
    }  # fmt: skip
    known |= {name: function_address(function) for name, function in python.items()}
    start = ctypes.PYFUNCTYPE(_WORD, _WORD)(ir_address(source()))
    words = np.array([known[name] for name in API], np.int64)
    for_good([_NAME, words])
    return start, words


def _default_handler(table: Any) -> int:
    """The address of the handler that numpy has by itself; 0 if it is of another version."""
    capsule = ctypes.c_void_p.from_address(table[_DEFAULT_HANDLER]).value
    get = ctypes.PYFUNCTYPE(_WORD, _WORD, ctypes.c_char_p)(function_address("PyCapsule_GetPointer"))
    at = get(capsule, b"mem_handler") or 0
    version = ctypes.c_uint8.from_address(at + 8 * KEEPER["context"] - 1).value
    return at if version == 1 else 0


@cache
def _handlers_hold() -> bool:
    """True where an array has its handler where native code expects it."""
    table = numpy_table() if available() else None
    if table is None or not _default_handler(table):
        return False
    handler = ctypes.PYFUNCTYPE(ctypes.py_object)(table[_GET_HANDLER])()
    a = np.empty(3, np.float32)  # the rest of it has been looked at
    return ctypes.c_int64.from_address(id(a) + MEM_HANDLER).value == id(handler)
