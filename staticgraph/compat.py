"""`tf.compat`: text and bytes, and the package under its name as a version."""

from __future__ import annotations

import numbers
import sys
from typing import Any

import numpy as np

from staticgraph.api.static_values import dimension_at_index, dimension_value
from staticgraph.errors import UsageError


def as_text(bytes_or_text: Any, encoding: str = "utf-8") -> str:
    """Text of text or bytes."""
    if isinstance(bytes_or_text, str):
        return bytes_or_text
    if isinstance(bytes_or_text, bytes):
        return bytes_or_text.decode(encoding)
    raise UsageError(f"text or bytes are needed, got {bytes_or_text!r}")


def as_bytes(bytes_or_text: Any, encoding: str = "utf-8") -> bytes:
    """Bytes of text or bytes."""
    if isinstance(bytes_or_text, (bytes, bytearray)):
        return bytes(bytes_or_text)
    return as_text(bytes_or_text).encode(encoding)


as_str = as_text


def as_str_any(value: Any) -> str:
    """Text of anything."""
    return as_text(value) if isinstance(value, bytes) else str(value)


def path_to_str(path: Any) -> Any:
    """The text of a path object; anything else is given back."""
    return str(path) if hasattr(path, "__fspath__") else path


def forward_compatible(year: int, month: int, day: int) -> bool:
    """False: nothing depends on when a program is run."""
    del year, month, day
    return False


bytes_or_text_types = (bytes, str)
integral_types = (numbers.Integral, np.integer)
real_types = (numbers.Real, np.integer, np.floating)
complex_types = (numbers.Complex, np.number)

# `import staticgraph.compat.v1 as tf` is the package itself
v1 = sys.modules["staticgraph"]
sys.modules["staticgraph.compat.v1"] = v1

__all__ = [
    "as_bytes", "as_str", "as_str_any", "as_text", "bytes_or_text_types", "complex_types",
    "dimension_at_index", "dimension_value", "forward_compatible", "integral_types", "path_to_str",
    "real_types", "v1",
]  # fmt: skip
