"""Many kernels at once: this process compiles, and helper processes compile with it.

Helpers are plain child processes that run this module.  `multiprocessing` will not do: spawned
children import the user's main script again, and forked ones inherit the locks of threads that
are not there; and threads of one process will not do, since llvmlite lets one at a time into LLVM.
A helper is ready in some 50 ms, or after about a second if it has to import Numba, so that they pay
for a few kernels or for many; and whatever becomes of them, this process compiles what is left.
"""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO

from staticgraph.codegen import target
from staticgraph.errors import CompileError

# LLVM is imported where it is used: helpers are started before this process imports it.

Results = dict[str, bytes | CompileError]
"""Object code, or why there is none, by symbol."""

PER_HELPER = 12  # kernels for each helper that pay for its start with Numba,
IR_PER_HELPER = 3  # and without
READY_WORTH = 12  # kernels this process compiles while a helper starts, if Numba is loaded already
_SIZES = struct.Struct("<QQ")
_LARGEST = 1 << 30
_SMALL = 4000  # characters
_QUICK = "; no kernel\n"  # a comment that goes with the text to whoever compiles it
_ahead: deque[_Helper] = deque()
_strange: list[_Helper] = []  # those of the process that this one was forked from
_Compiler = Callable[[str, str], "bytes | CompileError"]
_COMMAND = """\
import sys, types
sys.path[:] = {path!r}
package = sys.modules["staticgraph"] = types.ModuleType("staticgraph")  # not all that it imports
package.__path__ = {package!r}
from staticgraph.codegen.workers import serve
serve(numba={numba})
"""


def compile_many(sources: dict[str, str]) -> Results:
    """Compile kernels, with helper processes where that is quicker.

    Args:
      sources: Numba source by symbol.
    """
    helpers = [_Helper(numba=True) for _ in range(helper_count(len(sources)))]
    return _shared(sources, helpers, _compile)


def compile_many_ir(
    emitters: Mapping[str, Callable[[], str]], quick: Sequence[str] = (),
    later: Later | None = None,
) -> Results:  # fmt: skip
    """The same for LLVM IR that defines ``@entry``.

    Args:
      emitters: by symbol, who writes the text.
      quick: symbols of what is no kernel; see `native.compile_ir`.
      later: what a helper goes on with, if there is one, when this has returned.
    """
    helpers: list[_Helper] = []
    try:
        wanted = ir_helper_count(len(emitters))
        with contextlib.suppress(IndexError):  # none is ready, or no more are
            while len(helpers) < wanted:
                helpers.append(_ahead.popleft())
        helpers += [_Helper(numba=False) for _ in range(wanted - len(helpers))]
        # written while helpers get ready
        texts = {s: _QUICK + emit() if s in quick else emit() for s, emit in emitters.items()}
    except BaseException:
        _stop(helpers)
        if later is not None:
            later.over()
        raise
    # The largest first: what is left in the end is small, so that nobody waits long.
    largest = sorted(texts.items(), key=lambda item: -len(item[1]))
    return _shared(dict(largest), helpers, _compile_ir, later)


@contextlib.contextmanager
def helper_ahead() -> Iterator[None]:
    """Let a helper get ready meanwhile, for `compile_many_ir`; it ends where nobody took it."""
    helpers = [_Helper(numba=False) for _ in range(_helpers(1))]
    _ahead.extend(helpers)
    try:
        yield
    finally:
        for helper in helpers:
            with contextlib.suppress(ValueError):  # taken
                _ahead.remove(helper)
                helper.stop()


def _shared(
    sources: dict[str, str], helpers: list[_Helper], compile_: _Compiler,
    later: Later | None = None,
) -> Results:  # fmt: skip
    batch = _Batch(sources)
    try:
        for helper in helpers:
            helper.begin(batch, later)
            later = None  # it is for the first one
        while (kernel := batch.take_or_wait()) is not None:
            batch.done(kernel, compile_(*kernel))
        helpers = [helper for helper in helpers if not helper.goes_on]
        return batch.results
    finally:
        _stop(helpers)
        if later is not None:
            later.over()


def _stop(helpers: list[_Helper]) -> None:
    for helper in helpers:
        helper.stop()


def helper_count(kernels: int) -> int:
    """How many helpers are worth starting for a number of kernels."""
    if "numba" in sys.modules:
        kernels -= READY_WORTH
    return _helpers(kernels // PER_HELPER)


def ir_helper_count(kernels: int) -> int:
    """The same for kernels that are written as LLVM IR."""
    return _helpers(kernels // IR_PER_HELPER)


def _helpers(wanted: int) -> int:
    if wanted < 1 or not sys.executable or getattr(sys, "frozen", False):  # nothing to start
        return 0
    return max(0, min(_idle_processors(), wanted))


def _idle_processors() -> int:
    """How many processors have nothing to do, this process aside.

    Starting a helper is work: on a busy machine that makes everything slower.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    idle = (count or 1) - 1
    with contextlib.suppress(AttributeError, OSError):  # not on Windows
        idle = min(idle, round((os.cpu_count() or 1) - os.getloadavg()[0]))
    return idle


def _compile(symbol: str, source: str) -> bytes | CompileError:
    from staticgraph.codegen import native

    try:
        return native.compile_kernel(source, symbol)
    except CompileError as e:
        return e


def _compile_ir(symbol: str, text: str) -> bytes | CompileError:
    from staticgraph.codegen import native

    try:
        return native.compile_ir(text, symbol, kernel=not text.startswith(_QUICK))
    except CompileError as e:
        return e


class Later:
    """LLVM IR that is compiled while the program runs: no kernels, and nobody waits for it yet.

    Args:
      texts: by symbol.
      deliver: is given symbol and object code, in another thread.
      over: is called when nothing more comes.
    """

    def __init__(
        self, texts: Mapping[str, str], deliver: Callable[[str, bytes], None],
        over: Callable[[], None],
    ) -> None:  # fmt: skip
        self.texts, self.deliver, self.over = texts, deliver, over


class _Batch:
    """Kernels to compile, which several threads take one at a time."""

    def __init__(self, sources: dict[str, str]) -> None:
        self.results: Results = {}
        self._todo = deque(sources.items())
        self._taken = 0
        self._change = threading.Condition()

    def take(self, largest: int = _LARGEST) -> tuple[str, str] | None:
        """Return a symbol and its source, or None if there are none or the next is too large."""
        with self._change:
            if not self._todo or len(self._todo[0][1]) > largest:
                return None
            self._taken += 1
            return self._todo.popleft()

    def take_or_wait(self) -> tuple[str, str] | None:
        """Return a symbol and its source, or None when all are done.

        Where others have taken the last ones, wait: they may come back.
        """
        with self._change:
            while not self._todo and self._taken:
                self._change.wait()
            if not self._todo:
                return None
            self._taken += 1
            return self._todo.popleft()

    def done(self, kernel: tuple[str, str], result: bytes | CompileError) -> None:
        """Hand in the result for a kernel that was taken."""
        with self._change:
            self.results[kernel[0]] = result
            self._taken -= 1
            self._change.notify_all()

    def put_back(self, kernel: tuple[str, str]) -> None:
        """Return a kernel that was taken for others to take."""
        with self._change:
            self._todo.append(kernel)
            self._taken -= 1
            self._change.notify_all()


class _Helper:
    """A child process, and the thread that hands it one kernel at a time."""

    def __init__(self, numba: bool) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self.goes_on = False  # with what is for later; it then ends by itself
        package = list(sys.modules["staticgraph"].__path__)
        with contextlib.suppress(OSError, RuntimeError):  # no memory, processes or threads left
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-S",  # where modules are is told by the command
                    "-c",
                    _COMMAND.format(path=sys.path, package=package, numba=numba),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )

    def begin(self, batch: _Batch, later: Later | None = None) -> None:
        """Take kernels of a batch from now on, and then what is for later."""
        run, arguments = (self._feed, (batch,)) if later is None else (self._last, (batch, later))
        try:
            if self._process is not None:
                thread = threading.Thread(
                    target=run, args=arguments, name="staticgraph-compile", daemon=True
                )
                thread.start()
                self._thread, self.goes_on = thread, later is not None
        except RuntimeError:  # no threads left
            pass
        if later is not None and not self.goes_on:
            later.over()

    def _last(self, batch: _Batch, later: Later) -> None:
        try:
            if self._feed(batch):
                for symbol, text in later.texts.items():
                    later.deliver(symbol, self._ask(symbol, _QUICK + text))
        except (OSError, EOFError, ValueError, CompileError):  # made when it is asked for
            pass
        finally:
            self._thread = None
            self.stop()
            later.over()

    def _ask(self, symbol: str, text: str) -> bytes:
        assert self._process is not None
        to, back = self._process.stdin, self._process.stdout
        assert to is not None and back is not None
        _write(to, symbol.encode(), text.encode())
        code, failed = _read(back)
        if failed:
            raise CompileError(f"function {symbol} could not be compiled")
        return code

    def _feed(self, batch: _Batch) -> bool:
        """Hand out kernels until there are none; False if the helper is of no use."""
        assert self._process is not None
        to, back = self._process.stdin, self._process.stdout
        assert to is not None and back is not None
        sent: deque[tuple[str, str]] = deque()
        try:
            if _read(back)[0] != _compiler():  # would make other code
                return False
            while True:
                # A second kernel waits in the pipe, so that the helper need not wait.  It has to be
                # small: if both ends wrote more than a pipe holds, each would wait for the other.
                while len(sent) < 2:
                    kernel = batch.take(largest=_SMALL if sent else _LARGEST)
                    if kernel is None:
                        break
                    sent.append(kernel)
                    _write(to, kernel[0].encode(), kernel[1].encode())
                if not sent:
                    return True
                code, failed = _read(back)
                if failed:  # compiled again by this process, which then has the cause
                    return False
                batch.done(sent.popleft(), code)
        except (OSError, EOFError, ValueError):  # the helper died, or was stopped
            return False
        finally:
            for kernel in sent:
                batch.put_back(kernel)

    def stop(self) -> None:
        """End the process, in whatever state it is."""
        if self._process is None:
            return
        thread = self._thread  # which may just be ending by itself
        self._process.kill()
        if thread is not None:
            thread.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.wait()


def _compiler() -> bytes:
    """What tells whether two processes make the same code; found without numpy, unlike the key."""
    from staticgraph.codegen import native

    return "\n".join([target.compiler(), *native.cpu()]).encode()


def _write(to: IO[bytes], first: bytes, second: bytes) -> None:
    to.write(_SIZES.pack(len(first), len(second)) + first + second)
    to.flush()


def _read(source: IO[bytes]) -> tuple[bytes, bytes]:
    header = source.read(_SIZES.size)
    if len(header) < _SIZES.size:
        raise EOFError
    sizes = _SIZES.unpack(header)
    if max(sizes) > _LARGEST:  # something else writes to the pipe
        raise EOFError
    parts = [source.read(size) for size in sizes]
    if any(len(part) < size for part, size in zip(parts, sizes, strict=True)):
        raise EOFError
    return parts[0], parts[1]


def serve(numba: bool) -> None:
    """Run a helper: read kernels from standard input until it ends, answer with their code.

    Args:
      numba: they are Numba source; else LLVM IR.
    """
    import gc

    from staticgraph.codegen import native

    gc.disable()  # a helper does not live long
    back = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else may get into the stream of results
    if numba:
        native.compile_kernel("def kernel(args, lo, hi):\n    return 0\n", "warm_up")
    else:
        native.target_machine()
    compile_ = _compile if numba else _compile_ir
    _write(back, _compiler(), b"")
    while True:
        try:
            symbol, source = _read(sys.stdin.buffer)
        except EOFError:
            return
        result = compile_(symbol.decode(), source.decode())
        if isinstance(result, CompileError):
            _write(back, b"", str(result).encode())
        else:
            _write(back, result, b"")


def _leave_to_parent() -> None:
    _strange.extend(_ahead)
    _ahead.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
