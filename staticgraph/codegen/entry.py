"""The native function that runs plans, as methods and functions of Python.

It reads Python's and numpy's objects itself and calls both through their C interfaces, so it is
there only where these are known: CPython of 64 bits with its global lock, and numpy 2.  What can
be tried is tried before anything relies on it; elsewhere `available` is false and the runtime does
without.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from staticgraph.codegen.cache import ir_address
from staticgraph.codegen.entry_blocks import API
from staticgraph.codegen.entry_source import source
from staticgraph.errors import CompileError

_NUMPY_ABI = 0x02000000
NEW_ARRAY, ARRAY_TYPE = 94, 2  # places in numpy's table
_NEW_SCALAR, _ABI_VERSION, _TABLE = 60, 0, 307  # and how many there are

_PYTHON = {
    "vectorcall": "PyObject_Vectorcall", "as_int": "PyLong_AsLongLongAndOverflow",
    "from_int": "PyLong_FromLongLong", "new_list": "PyList_New", "new_tuple": "PyTuple_New",
    "set_list": "PyList_SetItem", "set_tuple": "PyTuple_SetItem", "list_size": "PyList_Size",
    "list_item": "PyList_GetItem", "tuple_size": "PyTuple_Size", "tuple_item": "PyTuple_GetItem",
    "dict_size": "PyDict_Size", "dict_next": "PyDict_Next", "take": "Py_IncRef",
    "give": "Py_DecRef", "save": "PyEval_SaveThread", "restore": "PyEval_RestoreThread",
    "fetch_error": "PyErr_Fetch", "set_error": "PyErr_Restore",
}  # fmt: skip
_FLAGS = 0x0080 | 0x0002  # METH_FASTCALL, METH_KEYWORDS


class _MethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )  # fmt: skip


class Entry:
    """The native function, loaded.

    Args:
      slot: how many bytes into a session the array with its state is; see `slot_of`.
      python_run: the method that does in general what the native one does in a hurry.

    Raises:
      CompileError: it cannot be compiled or loaded.
    """

    def __init__(self, slot: int, python_run: Callable[..., Any]) -> None:
        self._address = ir_address(source(slot))
        self._known = np.array(_known(python_run), np.int64)
        for_good([python_run, self._known])  # a class has its methods for as long as it lives
        word = ctypes.c_void_p
        start = ctypes.CFUNCTYPE(word, word, word, ctypes.c_ssize_t, word)(self._address)
        start(None, self._known.__array_interface__["data"][0], -1, None)
        self._plain = self._definition("run", None)

    def _definition(self, name: str, doc: str | None) -> ctypes.c_void_p:
        text = doc.encode() if doc is not None else None
        made = _MethodDef(name.encode(), self._address, _FLAGS, text)
        for_good(made)
        return ctypes.cast(ctypes.byref(made), ctypes.c_void_p)

    def method(self, cls: type, name: str, doc: str) -> Any:
        """The native `run` as a method of a class; `doc` begins with its signature."""
        new = _function("PyDescr_NewMethod", ctypes.py_object, ctypes.c_void_p)
        return new(cls, self._definition(name, doc))

    def function(self, owned: tuple[Any, ...]) -> Callable[..., Any]:
        """A function that runs an entry.

        Args:
          owned: the array with the entry's block, and what has to live as long as the function.
        """
        o = ctypes.py_object
        made: Callable[..., Any] = _function("PyCFunction_NewEx", ctypes.c_void_p, o, o)(
            self._plain, owned, "staticgraph"
        )
        return made


def for_good(x: Any) -> None:
    """Let something live to the end of the process, beyond that of all modules."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(x))


def _function(name: str, *arguments: Any) -> Any:
    """A function of Python's C interface that returns an object, called with the lock held."""
    return ctypes.PYFUNCTYPE(ctypes.py_object, *arguments)(function_address(name))


def function_address(name: str) -> int:
    """The address of a function of Python's C interface."""
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0


def _known(python_run: Any) -> list[int]:
    table = numpy_table()
    assert table is not None
    known: dict[str, int] = {
        "array": table[ARRAY_TYPE], "doubles": id(np.dtype(np.float64)),
        "list": id(list), "tuple": id(tuple), "dict": id(dict), "int": id(int),
        "float": id(float), "float32": id(np.float32), "float64": id(np.float64),
        "none": id(None), "true": id(True), "false": id(False),
        "feed_dict": id(sys.intern("feed_dict")), "run": id(python_run),
        "new_array": table[NEW_ARRAY], "new_scalar": table[_NEW_SCALAR],
    }  # fmt: skip
    known |= {name: function_address(function) for name, function in _PYTHON.items()}
    return [known[name] for name in API]


def numpy_table() -> Any:
    """numpy's table of its C interface as an array of addresses, or None."""
    capsule = getattr(sys.modules.get("numpy._core._multiarray_umath"), "_ARRAY_API", None)
    if capsule is None:
        return None
    get = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        function_address("PyCapsule_GetPointer")
    )
    return (ctypes.c_void_p * _TABLE).from_address(get(capsule, None))


@cache
def available() -> bool:
    """True where native entries can be used: the objects are laid out as they expect."""
    if sys.implementation.name != "cpython" or sys.maxsize < 2**32 or sys.byteorder != "little":
        return False
    if object.__basicsize__ != 16 or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False
    table = numpy_table()
    if table is None or table[ARRAY_TYPE] != id(np.ndarray):
        return False
    version = ctypes.CFUNCTYPE(ctypes.c_uint)(table[_ABI_VERSION])
    return version() == _NUMPY_ABI and _layouts_hold()


def _layouts_hold() -> bool:
    """Look at objects with known contents through the eyes of the native code."""

    def word(o: Any, at: int) -> int:
        return ctypes.c_int64.from_address(id(o) + at).value

    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    sizes = ctypes.c_int64 * 2
    x, y, z = 2.5, np.float64(3.5), np.float32(4.5)
    return (
        word(a, 8) == id(np.ndarray)
        and word(a, 16) == a.__array_interface__["data"][0]
        and ctypes.c_int32.from_address(id(a) + 24).value == 2
        and tuple(sizes.from_address(word(a, 32))) == (2, 3)
        and word(a, 56) == id(a.dtype)
        and ctypes.c_int32.from_address(id(a) + 64).value & 0xFFFF == a.flags.num & 0xFFFF
        and ctypes.c_double.from_address(id(x) + 16).value == x
        and ctypes.c_double.from_address(id(y) + 16).value == y
        and ctypes.c_float.from_address(id(z) + 16).value == z
    )


def slot_of(cls: type, name: str) -> int:
    """How many bytes into an instance the value of a slot is.

    Raises:
      CompileError: it is not to be found.
    """
    value = object()
    probe: object = object.__new__(cls)
    setattr(probe, name, value)
    for at in range(object.__basicsize__, cls.__basicsize__, 8):
        if ctypes.c_int64.from_address(id(probe) + at).value == id(value):
            return at
    raise CompileError(f"{cls.__name__} has no slot {name}")
