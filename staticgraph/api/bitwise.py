"""``tf.bitwise``: logic and shifts on the bits of integers, element by element.

Operands share an integer dtype and broadcast.  `name` names the operation.
"""

from __future__ import annotations

from typing import Any

from staticgraph.ir.op import lookup

__all__ = [
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "invert",
    "left_shift",
    "right_shift",
]


def bitwise_and(x: Any, y: Any, name: str | None = None) -> Any:
    """Bits set in both.

    Args:
      x, y: integer tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.bitwise.bitwise_and(12, 10))
    np.int32(8)
    """
    return lookup("BitwiseAnd")(x, y, name=name)


def bitwise_or(x: Any, y: Any, name: str | None = None) -> Any:
    """Bits set in one or both.

    Args:
      x, y: integer tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.bitwise.bitwise_or(12, 10))
    np.int32(14)
    """
    return lookup("BitwiseOr")(x, y, name=name)


def bitwise_xor(x: Any, y: Any, name: str | None = None) -> Any:
    """Bits set in exactly one.

    Args:
      x, y: integer tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.bitwise.bitwise_xor(12, 10))
    np.int32(6)
    """
    return lookup("BitwiseXor")(x, y, name=name)


def invert(x: Any, name: str | None = None) -> Any:
    """All bits flipped.

    Args:
      x: a tensor, integer.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.bitwise.invert([0, 5]))
    array([-1, -6], dtype=int32)
    """
    return lookup("Invert")(x, name=name)


def left_shift(x: Any, y: Any, name: str | None = None) -> Any:
    """x shifted by y towards the high bits.

    Args:
      x, y: integer tensors of one dtype; counts are taken modulo the width; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.bitwise.left_shift([1, -8], 2))
    array([  4, -32], dtype=int32)
    """
    return lookup("LeftShift")(x, y, name=name)


def right_shift(x: Any, y: Any, name: str | None = None) -> Any:
    """x shifted by y towards the low bits, keeping its sign.

    Args:
      x, y: integer tensors of one dtype; counts are taken modulo the width; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.bitwise.right_shift([1, -8], 2))
    array([ 0, -2], dtype=int32)
    """
    return lookup("RightShift")(x, y, name=name)
