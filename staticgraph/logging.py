"""`tf.logging`: messages to standard error, in TensorFlow's form."""

from __future__ import annotations

import logging as _logging
import sys
from collections import Counter
from typing import Any

DEBUG = _logging.DEBUG
INFO = _logging.INFO
WARN = _logging.WARNING
ERROR = _logging.ERROR
FATAL = _logging.CRITICAL

_LOGGER: list[_logging.Logger] = []
_COUNTS: Counter[str] = Counter()


def _logger() -> _logging.Logger:
    if not _LOGGER:
        logger = _logging.getLogger("staticgraph")
        if not logger.handlers and not _logging.getLogger().handlers:
            handler = _logging.StreamHandler(sys.stderr)
            handler.setFormatter(_logging.Formatter(_logging.BASIC_FORMAT))
            logger.addHandler(handler)
        if logger.level == _logging.NOTSET:
            logger.setLevel(WARN)
        _LOGGER.append(logger)
    return _LOGGER[0]


def get_logger() -> _logging.Logger:
    """The logger that messages go to."""
    return _logger()


def log(level: int, msg: str, *args: Any, **kwargs: Any) -> None:
    """Write a message of a given level."""
    _logger().log(level, msg, *args, **kwargs)


def debug(msg: str, *args: Any, **kwargs: Any) -> None:
    """Write a message of level DEBUG."""
    _logger().debug(msg, *args, **kwargs)


def info(msg: str, *args: Any, **kwargs: Any) -> None:
    """Write a message of level INFO."""
    _logger().info(msg, *args, **kwargs)


def warning(msg: str, *args: Any, **kwargs: Any) -> None:
    """Write a message of level WARN."""
    _logger().warning(msg, *args, **kwargs)


warn = warning


def error(msg: str, *args: Any, **kwargs: Any) -> None:
    """Write a message of level ERROR."""
    _logger().error(msg, *args, **kwargs)


def fatal(msg: str, *args: Any, **kwargs: Any) -> None:
    """Write a message of level FATAL."""
    _logger().critical(msg, *args, **kwargs)


def vlog(level: int, msg: str, *args: Any, **kwargs: Any) -> None:
    """Write a message of a given level."""
    _logger().log(level, msg, *args, **kwargs)


def log_every_n(level: int, msg: str, n: int, *args: Any) -> None:
    """Write the first of every `n` messages of one text."""
    _COUNTS[msg] += 1
    if (_COUNTS[msg] - 1) % n == 0:
        log(level, msg, *args)


def log_first_n(level: int, msg: str, n: int, *args: Any) -> None:
    """Write the first `n` messages of one text."""
    _COUNTS[msg] += 1
    if _COUNTS[msg] <= n:
        log(level, msg, *args)


def log_if(level: int, msg: str, condition: bool, *args: Any) -> None:
    """Write a message where `condition` holds."""
    if condition:
        log(level, msg, *args)


def get_verbosity() -> int:
    """The level from which on messages are written."""
    return _logger().getEffectiveLevel()


def set_verbosity(v: int | str) -> None:
    """Write messages from level `v` on."""
    _logger().setLevel(v)


def flush() -> None:
    """Write out what is held back."""
    for handler in _logger().handlers:
        handler.flush()


__all__ = [
    "DEBUG", "ERROR", "FATAL", "INFO", "WARN", "debug", "error", "fatal", "flush",
    "get_verbosity", "info", "log", "log_every_n", "log_first_n", "log_if", "set_verbosity",
    "vlog", "warn", "warning",
]  # fmt: skip
