"""`tf.compat`: text and bytes, and the package under its name as a version."""

from __future__ import annotations

import sys
from typing import Any

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


# `import staticgraph.compat.v1 as tf` is the package itself
v1 = sys.modules["staticgraph"]
sys.modules["staticgraph.compat.v1"] = v1

__all__ = ["as_bytes", "as_str", "as_str_any", "as_text", "v1"]
