"""`tf.app`: run a program's ``main`` with its options read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from staticgraph import flags


def run(main: Callable[[Any], Any] | None = None, argv: Sequence[str] | None = None) -> NoReturn:
    """Read the options, call `main` with what is left of the command line, and exit.

    Args:
      main: the function, ``main`` of the running program by default.
      argv: the command line, ``sys.argv`` by default.
    """
    function = main or getattr(sys.modules["__main__"], "main")  # noqa: B009
    rest = flags.FLAGS(list(sys.argv if argv is None else argv), known_only=True)
    sys.exit(function(rest))


__all__ = ["flags", "run"]
