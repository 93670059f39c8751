"""Errors and warnings about arguments, with the user's line."""

from __future__ import annotations

import os
import sys
import warnings

from staticgraph.errors import ArgumentError
from staticgraph.ir.loc import caller

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def bad_value(message: str, hint: str | None = None) -> ArgumentError:
    """An error to raise, made where the user's line can be found."""
    return ArgumentError(message, loc=caller(), hint=hint)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the innermost line outside this package."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
