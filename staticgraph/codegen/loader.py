"""Object code to an address, without LLVM where the code is simple.

What the compiler makes for x86-64 refers to everything by absolute addresses, so loading it is to
copy its sections into memory, to fill in these addresses, and to make the memory executable.
Whatever is not exactly that, another format, processor or kind of reference, or a symbol that the
process does not show, is left to LLVM's loader (`native.load_object`).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import sys
import threading
from functools import cache
from typing import NamedTuple

_ELF = b"\x7fELF\x02\x01"  # 64 bits, little-endian
_RELOCATABLE, _X86_64 = 1, 62
_PROGBITS, _SYMTAB, _RELA, _ZEROS, _REL = 1, 2, 4, 8, 9  # kinds of section
_WRITTEN, _LOADED, _OF_THREAD = 1, 2, 1024  # flags of a section
_ABSOLUTE = 1  # R_X86_64_64: an address of 64 bits
_PROTECTION = mmap.PROT_READ | mmap.PROT_EXEC if hasattr(mmap, "PROT_EXEC") else 0

_lock = threading.Lock()
_addresses: dict[str, int] = {}
_memory: list[mmap.mmap] = []  # plans hold bare addresses, so code stays to the end


def load(code: bytes, symbol: str) -> int:
    """Load object code into this process and return the address of `symbol`.

    Loading a symbol again returns the first address: one name stands for one content.

    Raises:
      CompileError: the code does not load or does not hold the symbol.
    """
    with _lock:
        if symbol in _addresses:
            return _addresses[symbol]
        address = _load_plain(code, symbol)
        if address is not None:
            _addresses[symbol] = address
            return address
    from staticgraph.codegen import native  # it loads LLVM

    return native.load_object(code, symbol)


class _Section(NamedTuple):
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry: int


class _Symbol(NamedTuple):
    name: int
    info: int
    other: int
    section: int
    value: int
    size: int


_SECTION, _SYMBOL = struct.Struct("<IIQQQQIIQQ"), struct.Struct("<IBBHQQ")
_REFERENCE = struct.Struct("<QQq")  # where, symbol and kind, and what is added


def _load_plain(code: bytes, symbol: str) -> int | None:
    """The address of `symbol`, or None where the code is left to LLVM."""
    if not sys.platform.startswith("linux") or code[:6] != _ELF:
        return None
    try:
        return _place(code, symbol)
    except (struct.error, ValueError, IndexError, KeyError, OSError):
        return None  # damaged, or there is no memory for code: LLVM's loader says so


def _place(code: bytes, symbol: str) -> int | None:
    if struct.unpack_from("<HH", code, 16) != (_RELOCATABLE, _X86_64):
        return None
    (table,) = struct.unpack_from("<Q", code, 0x28)
    size, count, names = struct.unpack_from("<HHH", code, 0x3A)
    sections = [_Section(*_SECTION.unpack_from(code, table + i * size)) for i in range(count)]
    at = _layout(code, sections, sections[names])
    if not at:
        return None
    entry = _entry(code, sections, at, symbol)
    if entry is None:
        return None
    end = max(at[i] + sections[i].size for i in at)
    fixed = max(at[i] + sections[i].size for i in at if not sections[i].flags & _WRITTEN)
    memory = mmap.mmap(-1, end, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for i, offset in at.items():
        s = sections[i]
        if s.kind == _PROGBITS:
            memory[offset : offset + s.size] = code[s.offset : s.offset + s.size]
    for s in sections:
        if s.kind in (_RELA, _REL) and s.info in at and not _refer(code, sections, s, at, memory):
            return None
    if _c().mprotect(ctypes.c_void_p(base), ctypes.c_size_t(fixed), _PROTECTION):
        return None
    _memory.append(memory)
    if sys.implementation.name == "cpython":  # arrays give memory back when modules are gone
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))
    return base + entry


def _layout(code: bytes, sections: list[_Section], names: _Section) -> dict[int, int] | None:
    """Where in memory each section goes that is loaded; None where one is not plain.

    Those that are written come last, on pages of their own.
    """
    at: dict[int, int] = {}
    end = 0
    for i, s in sorted(enumerate(sections), key=lambda x: x[1].flags & _WRITTEN):
        if not s.flags & _LOADED or not s.size or _text(code, names, s.name) == b".eh_frame":
            continue  # code never raises through its caller, so nothing unwinds it
        if s.kind not in (_PROGBITS, _ZEROS) or s.flags & _OF_THREAD:
            return None
        if s.alignment > mmap.PAGESIZE or (s.kind == _PROGBITS and s.offset + s.size > len(code)):
            return None
        first = s.flags & _WRITTEN and not any(sections[k].flags & _WRITTEN for k in at)
        step = mmap.PAGESIZE if first else max(s.alignment, 1)
        at[i] = -(-end // step) * step
        end = at[i] + s.size
    return at


def _entry(
    code: bytes, sections: list[_Section], at: dict[int, int], symbol: str
) -> int | None:  # fmt: skip
    """Where in memory the symbol is; None where it is not there."""
    for s in sections:
        for t in _symbols(code, s) if s.kind == _SYMTAB else ():
            if t.section in at and _text(code, sections[s.link], t.name) == symbol.encode():
                return at[t.section] + t.value
    return None


def _refer(
    code: bytes, sections: list[_Section], references: _Section, at: dict[int, int],
    memory: mmap.mmap,
) -> bool:  # fmt: skip
    """Fill in the addresses that one section holds; False if one of them is not known."""
    if references.kind == _REL:  # what is added would stand in the code
        return False
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    table = sections[references.link]
    symbols = _symbols(code, table)
    into, inside = at[references.info], sections[references.info].size
    for i in range(references.size // _REFERENCE.size):
        where, what, more = _REFERENCE.unpack_from(code, references.offset + i * _REFERENCE.size)
        to = symbols[what >> 32]
        if what & 0xFFFFFFFF != _ABSOLUTE or not 0 <= where <= inside - 8:
            return False
        if to.section in at:
            address = base + at[to.section] + to.value
        elif to.section == 0:
            address = _outside(_text(code, sections[table.link], to.name).decode())
            if not address:
                return False
        else:
            return False
        struct.pack_into("<Q", memory, into + where, (address + more) % 2**64)
    return True


def _symbols(code: bytes, table: _Section) -> list[_Symbol]:
    data = code[table.offset : table.offset + table.size]
    return [_Symbol(*t) for t in _SYMBOL.iter_unpack(data)]


def _text(code: bytes, strings: _Section, at: int) -> bytes:
    start = strings.offset + at
    return code[start : code.index(b"\0", start)]


@cache
def _c() -> ctypes.CDLL:
    return ctypes.CDLL(None)


@cache
def _outside(name: str) -> int:
    """The address of a function of the process, or 0 if it shows none of that name."""
    try:
        return ctypes.cast(getattr(_c(), name), ctypes.c_void_p).value or 0
    except AttributeError:
        return 0


def _renew_lock() -> None:
    """Give a forked child a lock of its own: the parent's may be held by a thread it lacks."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
