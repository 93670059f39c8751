"""Object code on disk, found by what it is made from.

An entry's name is a digest of the target and the source, so an entry is never out of date: what
changes gets another name.  Entries are object code and will be executed, so the folder has to
belong to the user and be closed to others; where it is not, the cache stays unused.  A digest in
each file finds damage.  Nothing that goes wrong here can do more than cost time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
import sys
import tempfile
import threading
import time
from pathlib import Path

from staticgraph.errors import CacheWarning
from staticgraph.ir import loc
from staticgraph.ir.record import record

MAGIC = b"SGKERNEL"
FORMAT = 1
HEADER = struct.Struct("<8sIQ32s")  # magic, format, length, digest of the code
LIMIT_BYTES = 256 << 20
_TOUCH_SECONDS = 3600  # a file is marked as used at most this often
_STALE_SECONDS = 3600  # temporary files of writers that died
_SUFFIX = ".o"


@record(frozen=True)
class CacheStats:
    """What a cache folder holds."""

    path: str | None
    entries: int
    bytes: int
    limit_bytes: int


def default_path() -> Path | None:
    """The folder that the environment asks for, or None where it switches the cache off.

    ``STATICGRAPH_CACHE`` names a folder; ``0``, ``off`` or nothing at all switch the cache off.
    Without it, the platform's folder for caches is used.
    """
    chosen = os.environ.get("STATICGRAPH_CACHE")
    if chosen is not None:
        if chosen.strip().lower() in ("", "0", "off"):
            return None
        return Path(os.path.abspath(os.path.expanduser(chosen)))
    try:
        home = Path.home()
    except RuntimeError:  # no HOME and no entry for the user
        return None
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", ""))
        if not base.is_absolute():  # to be ignored, says the standard
            base = home / ".cache"
    return base / "staticgraph"


class KernelCache:
    """Object code on disk.

    Safe for many threads and processes at once: entries are written whole or not at all, and two
    writers of one entry write the same thing.

    Args:
      path: the folder; by default the one of `default_path`.  It is made when first written to.
      limit_bytes: where the least recently used entries begin to be dropped.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, limit_bytes: int = LIMIT_BYTES
    ) -> None:
        self.path = Path(path).absolute() if path is not None else default_path()
        self.limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._checked = False
        self._usable = self._writable = self.path is not None
        self._size: int | None = None  # an estimate; other processes write too
        self._evicting: threading.Thread | None = None

    def get(self, key: str) -> bytes | None:
        """Return the code stored under a key, or None if there is none or it is damaged."""
        if not self._ready(create=False):
            return None
        file = self._file(key)
        try:
            with open(file, "rb", opener=_opened) as f:
                data = f.read()
                changed = os.fstat(f.fileno()).st_mtime
        except OSError:
            return None
        code = _unpack(data)
        if code is None:
            with contextlib.suppress(OSError):
                os.unlink(file)
        elif abs(time.time() - changed) > _TOUCH_SECONDS:
            with contextlib.suppress(OSError):
                os.utime(file)
        return code

    def put(self, key: str, code: bytes) -> None:
        """Store code under a key; after a failure, which warns, nothing more is stored."""
        if not self._writable or not self._ready(create=True):
            return
        file = self._file(key)
        data = HEADER.pack(MAGIC, FORMAT, len(code), _digest(code)) + code
        try:
            try:
                _write(file, data)
            except FileNotFoundError:  # somebody has removed the folder: it is made anew
                self._checked = False
                if not self._ready(create=True):
                    return
                _write(file, data)
        except OSError as e:
            with self._lock:
                first, self._writable = self._writable, False
            if first:
                self._warn(f"cannot be written: {e.strerror or e}")
            return
        self._grown(len(data))

    def stats(self) -> CacheStats:
        """Count the entries on disk."""
        files = self._entries() if self._ready(create=False) else []
        path = str(self.path) if self.path is not None else None
        return CacheStats(path, len(files), sum(size for _, size, _ in files), self.limit_bytes)

    def clear(self) -> None:
        """Delete every entry."""
        if self._ready(create=False):
            for _, _, file in self._entries():
                with contextlib.suppress(OSError):
                    os.unlink(file)
        self._size = None

    def renew_lock(self) -> None:
        """Replace the lock; for a process that was just forked."""
        self._lock = threading.Lock()
        self._evicting = None

    def wait(self) -> None:
        """Wait until a clean-up that runs in the background is done."""
        thread = self._evicting
        if thread is not None:
            thread.join()

    # ---- the folder

    def _file(self, key: str) -> str:
        return os.path.join(str(self.path), key + _SUFFIX)

    def _ready(self, create: bool) -> bool:
        """Whether the folder may be used; it is checked once, and made if `create` is set."""
        if self._checked or not self._usable:
            return self._usable
        with self._lock:
            if self._checked or not self._usable:
                return self._usable
            assert self.path is not None
            try:
                if create:
                    _make_private(self.path)
                elif not os.path.lexists(self.path):
                    return False
                reason = unsafe(self.path)
            except OSError as e:
                reason = f"cannot be used: {e.strerror or e}"
            if reason is not None:
                self._usable = False
            else:
                self._checked = True
        if reason is not None:
            self._warn(reason)
        return self._usable

    def _warn(self, reason: str) -> None:
        loc.warn(
            CacheWarning(
                f"kernel cache {self.path} {reason}; kernels are compiled anew in each process "
                "(STATICGRAPH_CACHE names another folder, or is 0 for none)"
            )
        )

    # ---- the limit

    def _entries(self) -> list[tuple[float, int, str]]:
        """Time of last use, size and path of each entry; abandoned temporary files are deleted."""
        found = []
        now = time.time()
        try:
            with os.scandir(str(self.path)) as files:
                for file in files:
                    try:
                        info = file.stat(follow_symlinks=False)
                    except OSError:  # deleted by another process
                        continue
                    if not stat.S_ISREG(info.st_mode):
                        continue
                    if file.name.endswith(_SUFFIX):
                        found.append((info.st_mtime, info.st_size, file.path))
                    elif file.name.endswith(".tmp") and now - info.st_mtime > _STALE_SECONDS:
                        with contextlib.suppress(OSError):
                            os.unlink(file.path)
        except OSError:
            pass
        return found

    def _grown(self, size: int) -> None:
        """Note a new entry, and start a clean-up if the folder has outgrown its limit."""
        with self._lock:
            if self._size is None:
                self._size = sum(size for _, size, _ in self._entries())
            else:
                self._size += size
            busy = self._evicting is not None and self._evicting.is_alive()
            if self._size <= self.limit_bytes or busy:
                return
            thread = threading.Thread(target=self._evict, name="staticgraph-cache", daemon=True)
            with contextlib.suppress(RuntimeError):  # the interpreter is shutting down
                thread.start()
                self._evicting = thread

    def _evict(self) -> None:
        """Drop the least recently used entries until a tenth of the limit is free."""
        entries = sorted(self._entries())
        total = sum(size for _, size, _ in entries)
        for _, size, file in entries:
            if total <= self.limit_bytes * 0.9:
                break
            with contextlib.suppress(OSError):
                os.unlink(file)
            total -= size
        with self._lock:
            self._size = total


def _digest(code: bytes) -> bytes:
    return hashlib.blake2b(code, digest_size=32).digest()


def _unpack(data: bytes) -> bytes | None:
    """The code in an entry, or None if the entry is not exactly as it was written."""
    if len(data) < HEADER.size:
        return None
    magic, version, length, digest = HEADER.unpack_from(data)
    code = data[HEADER.size :]
    if magic != MAGIC or version != FORMAT or length != len(code) or digest != _digest(code):
        return None
    return code


def _opened(file: str, flags: int) -> int:
    """Open without waiting: what is no file, a pipe say, is no reason to hang."""
    return os.open(file, flags | getattr(os, "O_NONBLOCK", 0))


def _write(file: str, data: bytes) -> None:
    """Write a file that only the user can read; others see it whole or not at all."""
    handle, temporary = tempfile.mkstemp(suffix=".tmp", dir=os.path.dirname(file))  # mode 0600
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(data)
        os.replace(temporary, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _make_private(path: Path) -> None:
    """Make a folder and its missing parents, closed to others."""
    missing = []
    while not os.path.lexists(path):
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.mkdir(folder, 0o700)


def unsafe(path: Path) -> str | None:
    """Why code from a folder must not be trusted, or None if nobody else can change it.

    The folder has to be the user's and closed to writing by others.  So has each folder on the
    way to it, except those of the system administrator, and shared ones where only owners can
    rename (``/tmp``).  Symbolic links are followed, and judged like the folders they pass.
    """
    if not hasattr(os, "getuid"):  # no such permissions on this platform
        return None if path.is_dir() else "is not a folder"
    at, owner, links = os.path.sep, 0, 0
    rest = str(path.absolute()).split(os.path.sep)[::-1]
    while rest:
        step = os.path.normpath(os.path.join(at, rest.pop()))  # `at` holds no links
        info = os.lstat(step)
        if stat.S_ISLNK(info.st_mode) and info.st_uid in (os.getuid(), 0):
            links += 1
            if links > 40:
                return "is not safe: too many symbolic links lead to it"
            rest += os.readlink(step).split(os.path.sep)[::-1]
            at = os.path.sep if rest[-1] == "" else at
            continue
        reason = _fault(step, info)
        if reason is not None:
            return reason
        at, owner = step, info.st_uid
    if owner != os.getuid():
        return f"is not safe: {at} belongs to another user"
    if os.stat(at).st_mode & 0o022:
        return f"is not safe: others can write to {at}"
    return None


def _fault(step: str, info: os.stat_result) -> str | None:
    """Why a folder on the way must not be passed, or None."""
    if info.st_uid not in (os.getuid(), 0):
        return f"is not safe: {step} belongs to another user"
    if not stat.S_ISDIR(info.st_mode):
        return f"cannot be used: {step} is not a folder"
    if info.st_mode & 0o022 and not info.st_mode & stat.S_ISVTX:
        return f"is not safe: others can write to {step}"
    return None
