"""Comparison, logic, and choice between tensors, element by element.

Operands of comparisons share a dtype and broadcast; a tensor of another dtype raises
`DtypeError`, shapes that do not broadcast raise `ShapeError`.  `name` names the operation.
"""

from __future__ import annotations

from typing import Any

from staticgraph.api.framework import name_scope
from staticgraph.errors import UsageError
from staticgraph.ir import loc
from staticgraph.ir.build import convert
from staticgraph.ir.op import lookup

__all__ = [
    "approximate_equal",
    "equal",
    "greater",
    "greater_equal",
    "is_finite",
    "is_inf",
    "is_nan",
    "less",
    "less_equal",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "not_equal",
    "where",
    "where_v2",
]


def equal(x: Any, y: Any, name: str | None = None) -> Any:
    """Whether x and y are equal; NaN equals nothing.

    Args:
      x, y: tensors of one dtype; they broadcast.

    Returns:
      a bool tensor of the broadcast shape.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.equal([1, 2], [1, 3]))
    array([ True, False])
    """
    return lookup("Equal")(x, y, name=name)


def not_equal(x: Any, y: Any, name: str | None = None) -> Any:
    """Whether x and y differ.

    Args:
      x, y: tensors of one dtype; they broadcast.

    Returns:
      a bool tensor of the broadcast shape.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.not_equal([1, 2], [1, 3]))
    array([False,  True])
    """
    return lookup("NotEqual")(x, y, name=name)


def less(x: Any, y: Any, name: str | None = None) -> Any:
    """Whether x < y.

    Args:
      x, y: numeric tensors of one dtype; they broadcast.

    Returns:
      a bool tensor of the broadcast shape.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.less([1, 5], 3))
    array([ True, False])
    """
    return lookup("Less")(x, y, name=name)


def less_equal(x: Any, y: Any, name: str | None = None) -> Any:
    """Whether x <= y.

    Args:
      x, y: numeric tensors of one dtype; they broadcast.

    Returns:
      a bool tensor of the broadcast shape.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.less_equal([1, 5], 5))
    array([ True,  True])
    """
    return lookup("LessEqual")(x, y, name=name)


def greater(x: Any, y: Any, name: str | None = None) -> Any:
    """Whether x > y.

    Args:
      x, y: numeric tensors of one dtype; they broadcast.

    Returns:
      a bool tensor of the broadcast shape.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.greater([1, 5], 3))
    array([False,  True])
    """
    return lookup("Greater")(x, y, name=name)


def greater_equal(x: Any, y: Any, name: str | None = None) -> Any:
    """Whether x >= y.

    Args:
      x, y: numeric tensors of one dtype; they broadcast.

    Returns:
      a bool tensor of the broadcast shape.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.greater_equal([1, 5], 5))
    array([False,  True])
    """
    return lookup("GreaterEqual")(x, y, name=name)


def approximate_equal(x: Any, y: Any, tolerance: float = 1e-05, name: str | None = None) -> Any:
    """Whether x and y differ by less than `tolerance`.

    Args:
      x, y: floating tensors of one dtype and one shape; they do not broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.math.approximate_equal([1.0, 2.0], [1.0, 2.5], 0.1))
    array([ True, False])
    """
    return lookup("ApproximateEqual")(x, y, tolerance=float(tolerance), name=name)


def is_nan(x: Any, name: str | None = None) -> Any:
    """Whether x is NaN.

    Args:
      x: a tensor, floating.

    Returns:
      a bool tensor of the same shape.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.is_nan([1.0, float("nan")]))
    array([False,  True])
    """
    return lookup("IsNan")(x, name=name)


def is_inf(x: Any, name: str | None = None) -> Any:
    """Whether x is an infinity.

    Args:
      x: a tensor, floating.

    Returns:
      a bool tensor of the same shape.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.is_inf([1.0, float("inf")]))
    array([False,  True])
    """
    return lookup("IsInf")(x, name=name)


def is_finite(x: Any, name: str | None = None) -> Any:
    """Whether x is neither NaN nor infinite.

    Args:
      x: a tensor, floating.

    Returns:
      a bool tensor of the same shape.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.is_finite([1.0, float("inf")]))
    array([ True, False])
    """
    return lookup("IsFinite")(x, name=name)


# ---------------------------------------------------------------- logic and choice


def logical_and(x: Any, y: Any, name: str | None = None) -> Any:
    """Whether both hold.

    Args:
      x, y: bool tensors; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.logical_and([True, False], True))
    array([ True, False])
    """
    return lookup("LogicalAnd")(x, y, name=name)


def logical_or(x: Any, y: Any, name: str | None = None) -> Any:
    """Whether one or both hold.

    Args:
      x, y: bool tensors; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.logical_or([True, False], False))
    array([ True, False])
    """
    return lookup("LogicalOr")(x, y, name=name)


def logical_xor(x: Any, y: Any, name: str | None = "LogicalXor") -> Any:
    """Whether exactly one holds.

    Args:
      x, y: bool tensors; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.logical_xor([True, False], True))
    array([False,  True])
    """
    return lookup("LogicalXor")(x, y, name=name)


def logical_not(x: Any, name: str | None = None) -> Any:
    """Whether x does not hold.

    Args:
      x: a tensor, bool.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.logical_not([True, False]))
    array([False,  True])
    """
    return lookup("LogicalNot")(x, name=name)


def where(condition: Any, x: Any = None, y: Any = None, name: str | None = None) -> Any:
    """Elements of x where the condition holds, else of y; or where it holds at all.

    Args:
      condition: bool, of the shape of x, or a scalar, or a vector that selects rows of x and y.
      x, y: tensors of one shape and dtype; without both, the result is the int64 positions of
        the true elements of `condition`, one a row.

    Raises:
      UsageError: only one of x and y is given.
      ShapeError: shapes do not fit.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.where([True, False], [1, 2], [3, 4]))
    array([1, 4], dtype=int32)
    """
    if x is None and y is None:
        with name_scope(name, "Where", [condition]) as scope:
            condition = convert(condition, name="condition")
            return lookup("Where")(condition, name=scope)
    if x is None or y is None:
        raise UsageError("where: give both x and y, or neither", loc=loc.caller())
    return lookup("Select")(condition, x, y, name=name)


def where_v2(condition: Any, x: Any = None, y: Any = None, name: str | None = None) -> Any:
    """As `where`, but condition, x and y broadcast.

    Raises:
      UsageError: only one of x and y is given.
      ShapeError: shapes do not broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.where_v2([True, False], [[1], [2]], 0))
    array([[1, 0],
       [2, 0]], dtype=int32)
    """
    if x is None and y is None:
        return where(condition, name=name)
    if x is None or y is None:
        raise UsageError("where_v2: give both x and y, or neither", loc=loc.caller())
    return lookup("SelectV2")(condition, x, y, name=name)
