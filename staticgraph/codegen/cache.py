"""The address of the native function for a source: compiled once, kept in memory and on disk.

What is asked for is looked up in this process, then in the folder of `disk`, and made only if it
is in neither.  Everything is found by a digest of the target and the source, so nothing is ever
out of date.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from staticgraph.codegen import target
from staticgraph.codegen.disk import CacheStats, KernelCache, default_path
from staticgraph.codegen.loader import load
from staticgraph.errors import CompileError

if TYPE_CHECKING:
    from staticgraph.codegen.workers import Later, Results

__all__ = [
    "CacheStats", "KernelCache", "compiled_count", "disk_cache", "expecting", "ir_address",
    "kernel_address", "kernel_addresses", "loaded_count", "on_compile", "symbol_of",
]  # fmt: skip

LARGE = 100  # nodes of a function whose passes take some 10 milliseconds

Build = Callable[[dict[str, str]], "Results"]

_lock = threading.Lock()
_addresses: dict[str, int] = {}
_failures: dict[str, CompileError] = {}  # not tried again: what failed once fails always
_building: dict[str, threading.Event] = {}
_caches: dict[Path | None, KernelCache] = {}
_compiled = 0
_loaded = 0
on_compile: list[Callable[[str, bytes], None]] = []
"""Called with each source that was compiled and its object code, in the thread that asked."""


def disk_cache() -> KernelCache:
    """The cache that the environment asks for now."""
    path = default_path()
    with _lock:
        if path not in _caches:
            _caches[path] = KernelCache(path)
        return _caches[path]


def compiled_count() -> int:
    """How many kernels this process has compiled."""
    return _compiled


def loaded_count() -> int:
    """How many kernels this process has taken from disk."""
    return _loaded


def kernel_address(source: str) -> int:
    """Return the address of the native function for a kernel's source; see `kernel_addresses`."""
    return kernel_addresses([source])[0]


def kernel_addresses(
    sources: Sequence[str],
    direct: Mapping[str, Callable[[], str]] | None = None,
    machinery: Sequence[str] = (),
    likely: Sequence[str] = (),
    later: Sequence[str] = (),
) -> list[int]:
    """Return the addresses of the native functions for Numba sources.

    A source is looked for in this process, then on disk, and compiled only if it is in neither.
    Threads that ask for one source at the same time compile it once.

    Args:
      direct: for sources that have it, who writes the same kernel as LLVM IR (``@entry``); it is
        then compiled without Numba.  How a kernel was made is a part of its key.
      machinery: LLVM IR that is compiled along with them, so that `ir_address` need not wait.
      likely: the same, but left alone where all of those are there already.
      later: the same, but not waited for: it is compiled on the side, or when it is asked for.

    Raises:
      CompileError: a source could not be compiled.  The others are, and asking for them by
        themselves gives their addresses.
    """
    if not direct and not machinery:
        return _addresses_of(sources, _compile_numba, counted=sources)
    direct = direct or {}
    emitters = {_DIRECT + source: emit for source, emit in direct.items()}
    quick = {text: partial(str, text) for text in (*machinery, *likely)}
    texts = [_DIRECT + source if source in direct else source for source in sources]
    build = partial(_compile_either, emitters | quick, quick, later)
    return _addresses_of([*texts, *machinery], build, texts, likely)[: len(texts)]


_DIRECT = "# written as LLVM IR\n"


def _compile_numba(texts: dict[str, str]) -> Results:
    from staticgraph.codegen.workers import compile_many

    return compile_many(texts)


def _compile_either(
    emitters: Mapping[str, Callable[[], str]], machinery: Container[str], later: Sequence[str],
    texts: dict[str, str],
) -> Results:  # fmt: skip
    out: Results = {}
    numba = {symbol: text for symbol, text in texts.items() if text not in emitters}
    if numba:
        out.update(_compile_numba(numba))
    written = {symbol: emitters[text] for symbol, text in texts.items() if text in emitters}
    if written:
        # it loads LLVM, which code from disk does without
        from staticgraph.codegen.workers import compile_many_ir

        quick = [symbol for symbol, text in texts.items() if text in machinery]
        out.update(compile_many_ir(written, quick, _later(later)))
    return out


def _later(texts: Sequence[str]) -> Later | None:
    """What is to be compiled on the side; who asks for one of these meanwhile waits for it."""
    mine, _ = _claim({symbol_of(text): text for text in texts})
    missing = _not_on_disk(mine)
    _release(mine.keys() - missing.keys())
    if not missing:
        return None
    left = set(missing)
    from staticgraph.codegen.workers import Later

    def deliver(symbol: str, code: bytes) -> None:
        if _load(symbol, code):
            disk_cache().put(symbol, code)
        left.discard(symbol)
        _release((symbol,))

    return Later(missing, deliver, lambda: _release(left))


def ir_address(text: str) -> int:
    """Return the address of the function ``@entry`` that LLVM IR text defines.

    The package's own machinery is made this way.  It is kept as kernels are, but not counted.

    Raises:
      CompileError: the text could not be compiled.
    """
    return _addresses_of([text], _compile_ir, counted=())[0]


def _compile_ir(texts: dict[str, str]) -> Results:
    from staticgraph.codegen import native

    return {symbol: native.compile_ir(text, symbol, kernel=False) for symbol, text in texts.items()}


def expecting(nodes: int, first: str) -> AbstractContextManager[None]:
    """Be prepared for a function of so many nodes: its passes take as long as a helper's start.

    Only where nothing has been compiled yet: not even `first`, LLVM IR that everything needs.
    """
    if nodes < LARGE or os.environ.get("STATICGRAPH_CODEGEN") == "numba":
        return nullcontext()
    symbol = symbol_of(first)
    if symbol in _addresses or _load(symbol, disk_cache().get(symbol)):
        return nullcontext()
    from staticgraph.codegen.workers import helper_ahead

    return helper_ahead()


def symbol_of(source: str) -> str:
    """The name that the function of a source has in object code; it is also its key on disk."""
    digest = hashlib.blake2b(target.target_key().encode(), digest_size=20)
    digest.update(b"\0" + source.encode())
    return "sg_" + digest.hexdigest()


def _addresses_of(
    sources: Sequence[str], build: Build, counted: Sequence[str], likely: Sequence[str] = ()
) -> list[int]:
    symbols = [symbol_of(source) for source in sources]
    wanted = dict(zip(symbols, sources, strict=True))
    while True:
        mine, others = _claim(wanted)
        if mine:
            more: dict[str, str] = {}
            try:
                missing = _not_on_disk(mine)
                if missing and likely:
                    more, _ = _claim({symbol_of(text): text for text in likely})
                _obtain(mine, missing | _not_on_disk(more), build, counted)
            finally:
                _release(mine | more)
        for event in others:
            event.wait()
        for symbol in wanted:
            if symbol in _failures:
                error = _failures[symbol]
                raise CompileError(error.message) from (error.__cause__ or error)
        if all(symbol in _addresses for symbol in wanted):
            return [_addresses[symbol] for symbol in symbols]
        # Another thread was interrupted while it built one: go round again.


def _claim(wanted: dict[str, str]) -> tuple[dict[str, str], list[threading.Event]]:
    """Split symbols that have no address into those this thread builds and those others do."""
    mine, others = {}, []
    with _lock:
        for symbol, source in wanted.items():
            if symbol in _addresses or symbol in _failures:
                continue
            if symbol in _building:
                others.append(_building[symbol])
            else:
                _building[symbol] = threading.Event()
                mine[symbol] = source
    return mine, others


def _release(mine: Iterable[str]) -> None:
    with _lock:
        for symbol in mine:
            _building.pop(symbol).set()


def _not_on_disk(mine: dict[str, str]) -> dict[str, str]:
    """Load from disk what is there, and return the rest."""
    disk = disk_cache()
    return {s: source for s, source in mine.items() if not _load(s, disk.get(s))}


def _obtain(
    mine: dict[str, str], missing: dict[str, str], build: Build, counted: Sequence[str]
) -> None:
    """Build, load and store what is missing, and count."""
    global _compiled, _loaded
    disk = disk_cache()
    built = []
    for symbol, result in (build(missing) if missing else {}).items():
        if _load(symbol, result, _failures):
            assert isinstance(result, bytes)
            built.append((symbol, result))
            disk.put(symbol, result)
    kernels = {symbol for symbol, source in mine.items() if source in counted}
    built = [(symbol, code) for symbol, code in built if symbol in kernels]
    with _lock:
        _loaded += len(kernels.difference(missing))
        _compiled += len(built)
    for symbol, code in built:
        for observe in list(on_compile):
            observe(missing[symbol], code)


def _load(
    symbol: str,
    code: bytes | CompileError | None,
    failures: dict[str, CompileError] | None = None,
) -> bool:
    """Load code and remember its address; what cannot be loaded may be noted in `failures`."""
    if code is None:
        return False
    try:
        if isinstance(code, CompileError):
            raise code
        _addresses[symbol] = load(code, symbol)
    except CompileError as e:  # from disk: made by a process that had other libraries
        if failures is not None:
            failures[symbol] = e
        return False
    return True


def _renew_locks() -> None:
    """Give a forked child locks of its own: the parent's may be held by threads it lacks."""
    global _lock
    _lock = threading.Lock()
    _building.clear()
    for disk in _caches.values():
        disk.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
