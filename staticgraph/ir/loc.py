"""Where in the user's program something was made.

A location is metadata: it never takes part in equality, hashing of IR or cache keys.
The user's line is the first stack frame outside this package.
"""

from __future__ import annotations

import linecache
import os
import sys
import warnings
from dataclasses import dataclass
from types import CodeType, FrameType

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_INTERNAL: dict[CodeType, bool] = {}
_STDLIB = os.path.dirname(os.path.abspath(os.__file__)) + os.sep + "contextlib.py"


@dataclass(frozen=True, slots=True)
class Loc:
    """A file, a line and the function it is in."""

    file: str
    line: int
    function: str

    @property
    def source(self) -> str:
        """The text of the line, or an empty string where it cannot be read."""
        return linecache.getline(self.file, self.line).strip()

    def short(self) -> str:
        """``file:line`` with the file's last component only."""
        return f"{os.path.basename(self.file)}:{self.line}"

    def excerpt(self) -> str:
        """``file:line in function:  source``, the form that errors print."""
        where = "" if self.function == "<module>" else f" in {self.function}"
        source = self.source
        return f"{self.short()}{where}" + (f":  {source}" if source else "")


UNKNOWN = Loc("<unknown>", 0, "<module>")


def _is_internal(code: CodeType) -> bool:
    known = _INTERNAL.get(code)
    if known is None:
        if len(_INTERNAL) > 4096:  # code objects made by exec in a loop must not pile up
            _INTERNAL.clear()
        name = code.co_filename
        known = name.startswith(_PACKAGE) or name == _STDLIB
        _INTERNAL[code] = known
    return known


def is_internal(code: CodeType) -> bool:
    """Whether code belongs to this package and not to the user's program."""
    return _is_internal(code)


Mark = tuple[CodeType, int]
"""A place in the user's program, cheap to take: code and the offset of an instruction."""


def mark() -> Mark:
    """The user's place as `caller` finds it, in a form that costs little to remember.

    >>> resolve(mark()).function
    '<module>'
    """
    frame = sys._getframe(1)
    known = _INTERNAL.get
    while True:
        code = frame.f_code
        internal = known(code)
        if internal is None:
            internal = _is_internal(code)
        if not internal or frame.f_back is None:
            return code, frame.f_lasti
        frame = frame.f_back


def resolve(place: Mark | None) -> Loc:
    """The location that a mark stands for."""
    if place is None:
        return UNKNOWN
    code, instruction = place
    line = next(
        (n for start, end, n in code.co_lines() if start <= instruction < end and n is not None),
        code.co_firstlineno,
    )
    return Loc(code.co_filename, line, code.co_name)


def caller() -> Loc:
    """Return the location of the innermost stack frame outside this package.

    >>> caller().function
    '<module>'
    """
    frame = _users_frame()
    if frame is None:
        return UNKNOWN
    return Loc(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


def _users_frame() -> FrameType | None:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and _is_internal(frame.f_code):
        frame = frame.f_back
    return frame


def warn(warning: Warning) -> None:
    """Warn at the user's line, as `caller` finds it."""
    frame = _users_frame()
    if frame is None:
        warnings.warn(warning, stacklevel=2)
        return
    file, names = frame.f_code.co_filename, frame.f_globals
    seen = names.setdefault("__warningregistry__", {})
    module = names.get("__name__") or "<unknown>"
    warnings.warn_explicit(warning, None, file, frame.f_lineno, module, seen)
