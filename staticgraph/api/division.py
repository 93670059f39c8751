"""Division and remainders, element by element, with each of TensorFlow's roundings.

Operands share a dtype and broadcast.  An integer divided by 0 gives 0, with remainder 0.
`name` names the operation.
"""

from __future__ import annotations

from typing import Any

from staticgraph.api.framework import name_scope
from staticgraph.ir.build import convert, is_tensor_like
from staticgraph.ir.op import lookup
from staticgraph.ops.arithmetic import true_divide

__all__ = [
    "div",
    "div_no_nan",
    "divide",
    "floor_div",
    "floordiv",
    "floormod",
    "inv",
    "mod",
    "realdiv",
    "reciprocal",
    "truediv",
    "truncatediv",
    "truncatemod",
]


def truediv(x: Any, y: Any, name: str | None = None) -> Any:
    """x / y as in Python 3.

    Integers are converted first: those of at most 16 bits to float32, others to float64.

    Args:
      x, y: numeric tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.truediv([1, 3], 2))
    array([0.5, 1.5])
    """
    return true_divide(x, y, name)


def divide(x: Any, y: Any, name: str | None = None) -> Any:
    """x / y with the meaning of Python 3's operator, as `truediv`.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.divide([1, 3], 2))
    array([0.5, 1.5])
    """
    return true_divide(x, y, name)


def div(x: Any, y: Any, name: str | None = None) -> Any:
    """x / y as in Python 2: floats are divided, integers give the floor of the quotient.

    Args:
      x, y: numeric tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.div([-3, 3], 2))
    array([-2,  1], dtype=int32)
    """
    with name_scope(name, "div", [x, y]) as scope:
        x, y = _pair(x, y)
        kind = "RealDiv" if x.dtype.is_floating else "FloorDiv"
        return lookup(kind)(x, y, name=scope)


def _pair(x: Any, y: Any) -> tuple[Any, Any]:
    """Both as tensors; a plain value takes the other's dtype."""
    if is_tensor_like(y) and not is_tensor_like(x):
        y = convert(y, name="y")
        return convert(x, y.dtype.base, name="x"), y
    x = convert(x, name="x")
    return x, convert(y, x.dtype.base, name="y")


def floordiv(x: Any, y: Any, name: str | None = None) -> Any:
    """x // y: the quotient rounded towards minus infinity; of an integer by 0, 0.

    Args:
      x, y: numeric tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.floordiv([-3, 3], 2))
    array([-2,  1], dtype=int32)
    """
    with name_scope(name, "floordiv", [x, y]) as scope:
        x, y = _pair(x, y)
        return lookup("FloorDiv")(x, y, name=scope)


def floor_div(x: Any, y: Any, name: str | None = None) -> Any:
    """The quotient rounded towards minus infinity, as `floordiv`.

    Args:
      x, y: numeric tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.floor_div([-3, 3], 2))
    array([-2,  1], dtype=int32)
    """
    return lookup("FloorDiv")(x, y, name=name)


def floormod(x: Any, y: Any, name: str | None = None) -> Any:
    """x % y with the sign of y; of integers by 0, 0.

    Args:
      x, y: numeric tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.floormod([-3, 3], 2))
    array([1, 1], dtype=int32)
    """
    return lookup("FloorMod")(x, y, name=name)


mod = floormod


def truncatediv(x: Any, y: Any, name: str | None = None) -> Any:
    """The quotient rounded towards zero, as in C; of an integer by 0, 0.

    Args:
      x, y: numeric tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.truncatediv([-3, 3], 2))
    array([-1,  1], dtype=int32)
    """
    return lookup("TruncateDiv")(x, y, name=name)


def truncatemod(x: Any, y: Any, name: str | None = None) -> Any:
    """The remainder with the sign of x, as in C; of an integer by 0, 0.

    Args:
      x, y: numeric tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.truncatemod([-3, 3], 2))
    array([-1,  1], dtype=int32)
    """
    return lookup("TruncateMod")(x, y, name=name)


def realdiv(x: Any, y: Any, name: str | None = None) -> Any:
    """x / y of floating tensors.

    Args:
      x, y: floating tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.realdiv([1.0, 3.0], 2.0))
    array([0.5, 1.5], dtype=float32)
    """
    return lookup("RealDiv")(x, y, name=name)


def div_no_nan(x: Any, y: Any, name: str | None = None) -> Any:
    """x / y, and 0 wherever y is 0.

    Args:
      x, y: floating tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.div_no_nan([1.0, 3.0], [0.0, 2.0]))
    array([0. , 1.5], dtype=float32)
    """
    with name_scope(name, "div_no_nan", [x, y]) as scope:
        x, y = _pair(x, y)
        return lookup("DivNoNan")(x, y, name=scope)


def reciprocal(x: Any, name: str | None = None) -> Any:
    """1 / x.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.reciprocal([2.0, 4.0]))
    array([0.5 , 0.25], dtype=float32)
    """
    return lookup("Reciprocal")(x, name=name)


def reciprocal_no_nan(x: Any, name: str | None = None) -> Any:
    """1 / x, and 0 wherever x is 0.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.math.reciprocal_no_nan([2.0, 0.0]))
    array([0.5, 0. ], dtype=float32)
    """
    with name_scope(name, "reciprocal_no_nan", [x]) as scope:
        x = convert(x, name="x")
        return lookup("DivNoNan")(convert(1, x.dtype.base, "one"), x, name=scope)


def inv(x: Any, name: str | None = None) -> Any:
    """1 / x, by its old name.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.inv([2.0, 4.0]))
    array([0.5 , 0.25], dtype=float32)
    """
    return lookup("Inv")(x, name=name)
