"""`tf.gfile`: files of the local file system under TensorFlow's names."""

from __future__ import annotations

import glob as _glob
import os
import shutil
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from staticgraph.errors import NotFoundError, UsageError


class GFile:
    """A file that is opened at the first use.

    Args:
      name: path.
      mode: as for `open`.
    """

    def __init__(self, name: Any, mode: str = "r") -> None:
        self._name, self._mode = os.fspath(name), mode
        self._file: Any = None

    @property
    def name(self) -> str:
        """The path."""
        return str(self._name)

    @property
    def mode(self) -> str:
        """The mode."""
        return self._mode

    def _open(self) -> Any:
        if self._file is None:
            text = "b" not in self._mode
            try:
                self._file = open(self._name, self._mode, encoding="utf-8" if text else None)  # noqa: SIM115
            except FileNotFoundError as e:
                raise NotFoundError(f"{self._name}: there is no such file") from e
        return self._file

    def read(self, n: int = -1) -> Any:
        """Read `n` characters or bytes, by default all that is left."""
        return self._open().read(n)

    def readline(self) -> Any:
        """Read one line."""
        return self._open().readline()

    def readlines(self) -> list[Any]:
        """Read all lines."""
        return self._open().readlines()  # type: ignore[no-any-return]

    def write(self, file_content: Any) -> None:
        """Write text or bytes."""
        self._open().write(file_content)

    def seek(self, offset: int, whence: int = 0) -> None:
        """Go to a position."""
        self._open().seek(offset, whence)

    def tell(self) -> int:
        """The position."""
        return int(self._open().tell())

    def size(self) -> int:
        """The number of bytes."""
        return os.path.getsize(self._name)

    def flush(self) -> None:
        """Write out what is held back."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __iter__(self) -> Iterator[Any]:
        return iter(self._open())

    def __enter__(self) -> GFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


FastGFile = GFile
Open = GFile


def Exists(filename: Any) -> bool:  # noqa: N802
    """True where there is a file or directory."""
    return os.path.exists(filename)


def IsDirectory(dirname: Any) -> bool:  # noqa: N802
    """True where there is a directory."""
    return os.path.isdir(dirname)


def MakeDirs(dirname: Any) -> None:  # noqa: N802
    """Make a directory and those above it; one that is there is left."""
    os.makedirs(dirname, exist_ok=True)


def MkDir(dirname: Any) -> None:  # noqa: N802
    """Make a directory."""
    os.mkdir(dirname)


def Glob(filename: Any) -> list[str]:  # noqa: N802
    """The paths that match a pattern, or one of several."""
    patterns = filename if isinstance(filename, (list, tuple)) else [filename]
    return [p for pattern in patterns for p in sorted(_glob.glob(os.fspath(pattern)))]


def ListDirectory(dirname: Any) -> list[str]:  # noqa: N802
    """The names in a directory."""
    if not os.path.isdir(dirname):
        raise NotFoundError(f"{dirname}: there is no such directory")
    return sorted(os.listdir(dirname))


def Remove(filename: Any) -> None:  # noqa: N802
    """Delete a file."""
    if not os.path.exists(filename):
        raise NotFoundError(f"{filename}: there is no such file")
    os.remove(filename)


def DeleteRecursively(dirname: Any) -> None:  # noqa: N802
    """Delete a directory and what is in it."""
    if not os.path.isdir(dirname):
        raise NotFoundError(f"{dirname}: there is no such directory")
    shutil.rmtree(dirname)


def Copy(oldpath: Any, newpath: Any, overwrite: bool = False) -> None:  # noqa: N802
    """Copy a file."""
    if os.path.exists(newpath) and not overwrite:
        raise UsageError(f"{newpath} exists; pass overwrite=True to replace it")
    shutil.copyfile(oldpath, newpath)


def Rename(oldname: Any, newname: Any, overwrite: bool = False) -> None:  # noqa: N802
    """Move a file."""
    if os.path.exists(newname) and not overwrite:
        raise UsageError(f"{newname} exists; pass overwrite=True to replace it")
    os.replace(oldname, newname)


def Stat(filename: Any) -> os.stat_result:  # noqa: N802
    """What the file system knows of a file."""
    return os.stat(filename)


def Walk(top: Any, in_order: bool = True) -> Iterator[tuple[str, list[str], list[str]]]:  # noqa: N802
    """Directories, their directories and their files, from `top` down."""
    return os.walk(top, topdown=in_order)


__all__ = [
    "Copy", "DeleteRecursively", "Exists", "FastGFile", "GFile", "Glob", "IsDirectory",
    "ListDirectory", "MakeDirs", "MkDir", "Open", "Remove", "Rename", "Stat", "Walk",
]  # fmt: skip
