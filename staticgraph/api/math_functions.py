"""Roots, exponentials, logarithms, circular and hyperbolic functions of floating tensors.

All work element by element, keep shape and dtype, raise `DtypeError` for integers, and give NaN
or an infinity outside their domain as numpy does.  `name` names the operation.
"""

from __future__ import annotations

from typing import Any

from staticgraph.api.framework import name_scope
from staticgraph.ir.build import convert
from staticgraph.ir.op import lookup

__all__ = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cos",
    "cosh",
    "exp",
    "expm1",
    "log",
    "log1p",
    "log_sigmoid",
    "rsqrt",
    "sigmoid",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
]


def sqrt(x: Any, name: str | None = None) -> Any:
    """The square root.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.sqrt([4.0, 9.0]))
    array([2., 3.], dtype=float32)
    """
    return lookup("Sqrt")(x, name=name)


def rsqrt(x: Any, name: str | None = None) -> Any:
    """One divided by the square root.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.rsqrt([4.0, 16.0]))
    array([0.5 , 0.25], dtype=float32)
    """
    return lookup("Rsqrt")(x, name=name)


def exp(x: Any, name: str | None = None) -> Any:
    """e to the power of x.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.exp([0.0]))
    array([1.], dtype=float32)
    """
    return lookup("Exp")(x, name=name)


def expm1(x: Any, name: str | None = None) -> Any:
    """exp(x) - 1, exact near 0.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.math.expm1([0.0]))
    array([0.], dtype=float32)
    """
    return lookup("Expm1")(x, name=name)


def log(x: Any, name: str | None = None) -> Any:
    """The natural logarithm.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.log([1.0]))
    array([0.], dtype=float32)
    """
    return lookup("Log")(x, name=name)


def log1p(x: Any, name: str | None = None) -> Any:
    """log(1 + x), exact near 0.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.log1p([0.0]))
    array([0.], dtype=float32)
    """
    return lookup("Log1p")(x, name=name)


def sigmoid(x: Any, name: str | None = None) -> Any:
    """1 / (1 + exp(-x)).

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.sigmoid([0.0]))
    array([0.5], dtype=float32)
    """
    return lookup("Sigmoid")(x, name=name)


def log_sigmoid(x: Any, name: str | None = None) -> Any:
    """log(sigmoid(x)), exact where sigmoid(x) underflows.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.log_sigmoid([-1000.0]))
    array([-1000.], dtype=float32)
    """
    with name_scope(name, "LogSigmoid", [x]) as scope:
        x = convert(x, name="x")
        return lookup("Neg")(lookup("Softplus")(-x), name=scope)


def sin(x: Any, name: str | None = None) -> Any:
    """The sine.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.sin([0.0]))
    array([0.], dtype=float32)
    """
    return lookup("Sin")(x, name=name)


def cos(x: Any, name: str | None = None) -> Any:
    """The cosine.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.cos([0.0]))
    array([1.], dtype=float32)
    """
    return lookup("Cos")(x, name=name)


def tan(x: Any, name: str | None = None) -> Any:
    """The tangent.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.tan([0.0]))
    array([0.], dtype=float32)
    """
    return lookup("Tan")(x, name=name)


def asin(x: Any, name: str | None = None) -> Any:
    """The inverse sine, in [-pi/2, pi/2].

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.asin([0.0]))
    array([0.], dtype=float32)
    """
    return lookup("Asin")(x, name=name)


def acos(x: Any, name: str | None = None) -> Any:
    """The inverse cosine, in [0, pi].

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.acos([1.0]))
    array([0.], dtype=float32)
    """
    return lookup("Acos")(x, name=name)


def atan(x: Any, name: str | None = None) -> Any:
    """The inverse tangent, in (-pi/2, pi/2).

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.atan([0.0]))
    array([0.], dtype=float32)
    """
    return lookup("Atan")(x, name=name)


def atan2(y: Any, x: Any, name: str | None = None) -> Any:
    """The angle of the point (x, y), in [-pi, pi].

    Args:
      y, x: floating tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.atan2(0.0, 1.0))
    np.float32(0.0)
    """
    return lookup("Atan2")(y, x, name=name)


def sinh(x: Any, name: str | None = None) -> Any:
    """The hyperbolic sine.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.math.sinh([0.0]))
    array([0.], dtype=float32)
    """
    return lookup("Sinh")(x, name=name)


def cosh(x: Any, name: str | None = None) -> Any:
    """The hyperbolic cosine.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.math.cosh([0.0]))
    array([1.], dtype=float32)
    """
    return lookup("Cosh")(x, name=name)


def tanh(x: Any, name: str | None = None) -> Any:
    """The hyperbolic tangent.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.tanh([0.0]))
    array([0.], dtype=float32)
    """
    return lookup("Tanh")(x, name=name)


def asinh(x: Any, name: str | None = None) -> Any:
    """The inverse hyperbolic sine.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.math.asinh([0.0]))
    array([0.], dtype=float32)
    """
    return lookup("Asinh")(x, name=name)


def acosh(x: Any, name: str | None = None) -> Any:
    """The inverse hyperbolic cosine, of x >= 1.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.math.acosh([1.0]))
    array([0.], dtype=float32)
    """
    return lookup("Acosh")(x, name=name)


def atanh(x: Any, name: str | None = None) -> Any:
    """The inverse hyperbolic tangent, of -1 < x < 1.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.math.atanh([0.0]))
    array([0.], dtype=float32)
    """
    return lookup("Atanh")(x, name=name)
