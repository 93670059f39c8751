"""Arithmetic on tensors, element by element.

Operands broadcast as in numpy.  Their dtypes must agree: a tensor of another dtype raises
`DtypeError`; numbers, lists and arrays take the dtype of the tensor they meet where that loses
nothing.  Shapes that do not broadcast raise `ShapeError`.  `name` names the operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgraph.api.framework import name_scope
from staticgraph.errors import ShapeError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.build import convert
from staticgraph.ir.op import lookup

__all__ = [
    "abs",
    "accumulate_n",
    "add",
    "add_n",
    "ceil",
    "floor",
    "maximum",
    "minimum",
    "mul",
    "multiply",
    "multiply_no_nan",
    "neg",
    "negative",
    "pow",
    "rint",
    "round",
    "scalar_mul",
    "sign",
    "square",
    "squared_difference",
    "sub",
    "subtract",
]

# ---------------------------------------------------------------- sums and products


def add(x: Any, y: Any, name: str | None = None) -> Any:
    """x + y.

    Args:
      x, y: numeric tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.add([1, 2], 3))
    array([4, 5], dtype=int32)
    """
    return lookup("Add")(x, y, name=name)


def subtract(x: Any, y: Any, name: str | None = None) -> Any:
    """x - y.

    Args:
      x, y: numeric tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.subtract([1, 2], 3))
    array([-2, -1], dtype=int32)
    """
    return lookup("Sub")(x, y, name=name)


def multiply(x: Any, y: Any, name: str | None = None) -> Any:
    """x * y.

    Args:
      x, y: numeric tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.multiply([1, 2], 3))
    array([3, 6], dtype=int32)
    """
    return lookup("Mul")(x, y, name=name)


def scalar_mul(scalar: Any, x: Any, name: str | None = None) -> Any:
    """A tensor multiplied by one number.

    Args:
      scalar: a number or a tensor of rank 0.
      x: a numeric tensor, whose dtype `scalar` takes.

    Raises:
      ShapeError: `scalar` is not a scalar.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.scalar_mul(2, [1, 2]))
    array([2, 4], dtype=int32)
    """
    x = convert(x, name="x")
    scalar = convert(scalar, x.dtype.base, name="scalar")
    if scalar.shape.ndims not in (0, None):
        raise ShapeError(
            f"scalar_mul: the scalar has shape {scalar.shape}",
            loc=loc.caller(),
            operands=[f"scalar: {scalar.describe()}"],
            hint="tf.multiply broadcasts",
        )
    return lookup("Mul")(scalar, x, name=name)


def squared_difference(x: Any, y: Any, name: str | None = None) -> Any:
    """(x - y) * (x - y).

    Args:
      x, y: numeric tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.squared_difference([1, 5], 3))
    array([4, 4], dtype=int32)
    """
    return lookup("SquaredDifference")(x, y, name=name)


def square(x: Any, name: str | None = None) -> Any:
    """x * x.

    Args:
      x: a tensor, numeric.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.square([-3, 2]))
    array([9, 4], dtype=int32)
    """
    return lookup("Square")(x, name=name)


def multiply_no_nan(x: Any, y: Any, name: str | None = None) -> Any:
    """x * y, and 0 wherever y is 0 even if x is infinite or NaN.

    Args:
      x, y: floating tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.math.multiply_no_nan([float("inf"), 2.0], [0.0, 3.0]))
    array([0., 6.], dtype=float32)
    """
    with name_scope(name, "multiply_no_nan", [x, y]) as scope:
        x = convert(x, name="x")
        y = convert(y, x.dtype.base, name="y")
        return lookup("MulNoNan")(x, y, name=scope)


def add_n(inputs: Sequence[Any], name: str | None = None) -> Any:
    """The sum of tensors of one shape and dtype, which do not broadcast.

    Args:
      inputs: a list of tensors.

    Raises:
      UsageError: `inputs` is not a list or is empty.
      ShapeError: shapes differ.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.add_n([[1, 2], [3, 4], [5, 6]]))
    array([ 9, 12], dtype=int32)
    """
    if not isinstance(inputs, (list, tuple)) or not inputs:
        raise UsageError(
            f"add_n: inputs must be a list of at least one tensor, got {inputs!r}", loc=loc.caller()
        )
    if len(inputs) == 1:
        only = convert(inputs[0])
        return lookup("Identity")(only, name=name) if name else only
    return lookup("AddN")(list(inputs), name=name)


def accumulate_n(
    inputs: Sequence[Any], shape: Any = None, tensor_dtype: Any = None, name: str | None = None
) -> Any:
    """The sum of tensors of one shape and dtype, as `add_n`.

    Args:
      inputs: a list of tensors.
      shape: the shape of all of them, where they do not tell it.
      tensor_dtype: their dtype, checked.

    Raises:
      UsageError: `inputs` is not a list or is empty.
      DtypeError: the inputs do not have `tensor_dtype`.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.accumulate_n([[1, 2], [3, 4]]))
    array([4, 6], dtype=int32)
    """
    if not isinstance(inputs, (list, tuple)) or not inputs:
        raise UsageError(
            f"accumulate_n: inputs must be a list of at least one tensor, got {inputs!r}",
            loc=loc.caller(),
        )
    tensors = [convert(x, tensor_dtype) for x in inputs]
    if len(tensors) == 1 and name is None:
        return tensors[0]
    total = lookup("AddN")(tensors, name=name or "AccumulateNV2")
    if shape is not None:
        total.set_shape(shape)
    return total


# ---------------------------------------------------------------- sign, extremes, rounding


def negative(x: Any, name: str | None = None) -> Any:
    """-x.

    Args:
      x: a tensor, numeric.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.negative([1, -2]))
    array([-1,  2], dtype=int32)
    """
    return lookup("Neg")(x, name=name)


def abs(x: Any, name: str | None = None) -> Any:
    """The magnitude of x; its gradient at 0 is 0.

    Args:
      x: a tensor, floating or signed.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.abs([1, -2]))
    array([1, 2], dtype=int32)
    """
    return lookup("Abs")(x, name=name)


def sign(x: Any, name: str | None = None) -> Any:
    """-1, 0 or 1 as x is negative, zero or positive; NaN of NaN.

    Args:
      x: a tensor, floating or signed.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.sign([3.0, 0.0, -2.0]))
    array([ 1.,  0., -1.], dtype=float32)
    """
    return lookup("Sign")(x, name=name)


def maximum(x: Any, y: Any, name: str | None = None) -> Any:
    """The larger of x and y; NaN if either is. Of a tie, x gets the gradient.

    Args:
      x, y: numeric tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.maximum([1, 5], 3))
    array([3, 5], dtype=int32)
    """
    return lookup("Maximum")(x, y, name=name)


def minimum(x: Any, y: Any, name: str | None = None) -> Any:
    """The smaller of x and y; NaN if either is. Of a tie, x gets the gradient.

    Args:
      x, y: numeric tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.minimum([1, 5], 3))
    array([1, 3], dtype=int32)
    """
    return lookup("Minimum")(x, y, name=name)


def floor(x: Any, name: str | None = None) -> Any:
    """The largest integer not above x.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.floor([1.5, -1.5]))
    array([ 1., -2.], dtype=float32)
    """
    return lookup("Floor")(x, name=name)


def ceil(x: Any, name: str | None = None) -> Any:
    """The smallest integer not below x.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.math.ceil([1.5, -1.5]))
    array([ 2., -1.], dtype=float32)
    """
    return lookup("Ceil")(x, name=name)


def rint(x: Any, name: str | None = None) -> Any:
    """The nearest integer, of two the even one.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.rint([0.5, 1.5]))
    array([0., 2.], dtype=float32)
    """
    return lookup("Rint")(x, name=name)


def round(x: Any, name: str | None = None) -> Any:  # noqa: A001
    """The nearest integer, of two the even one, in the dtype of x.

    Args:
      x: a numeric tensor; integers are returned as they are.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.round([0.5, 1.5, -2.2]))
    array([ 0.,  2., -2.], dtype=float32)
    """
    x = convert(x, name="x")
    return x if x.dtype.is_integer else lookup("Round")(x, name=name)


def pow(x: Any, y: Any, name: str | None = None) -> Any:  # noqa: A001
    """x to the power of y; an integer to a negative power gives 0.

    Args:
      x, y: numeric tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.pow([2, 3], [3, 2]))
    array([8, 9], dtype=int32)
    """
    return lookup("Pow")(x, y, name=name)


# ---------------------------------------------------------------- old names


sub = subtract
mul = multiply
neg = negative
