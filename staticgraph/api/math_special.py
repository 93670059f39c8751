"""Error functions, the gamma family and products with a logarithm, of floating tensors.

All work element by element; operands of one function share a dtype and broadcast.  Functions of
several parameters are differentiated with respect to their last one.  `name` names the operation.
"""

from __future__ import annotations

from typing import Any

from staticgraph.api.framework import name_scope
from staticgraph.ir.build import convert
from staticgraph.ir.op import lookup

__all__ = [
    "betainc",
    "digamma",
    "erf",
    "erfc",
    "erfinv",
    "igamma",
    "igammac",
    "lbeta",
    "lgamma",
    "ndtri",
    "polygamma",
    "xdivy",
    "xlogy",
    "zeta",
]


def erf(x: Any, name: str | None = None) -> Any:
    """The error function.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.erf([0.0]))
    array([0.], dtype=float32)
    """
    return lookup("Erf")(x, name=name)


def erfc(x: Any, name: str | None = None) -> Any:
    """1 - erf(x), exact for large x.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.erfc([0.0]))
    array([1.], dtype=float32)
    """
    return lookup("Erfc")(x, name=name)


def erfinv(x: Any, name: str | None = None) -> Any:
    """The inverse of the error function, of -1 < x < 1.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.math.erfinv([0.0]))
    array([0.], dtype=float32)
    """
    return lookup("Erfinv")(x, name=name)


def ndtri(x: Any, name: str | None = None) -> Any:
    """The quantile function of the normal distribution, of 0 < x < 1.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.math.ndtri([0.5]))
    array([0.], dtype=float32)
    """
    return lookup("Ndtri")(x, name=name)


def lgamma(x: Any, name: str | None = None) -> Any:
    """The logarithm of the magnitude of the gamma function.

    Args:
      x: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.lgamma([1.0]))
    array([0.], dtype=float32)
    """
    return lookup("Lgamma")(x, name=name)


def digamma(x: Any, name: str | None = None) -> Any:
    """The derivative of `lgamma`.

    Args:
      x: a tensor, floating.
    """
    return lookup("Digamma")(x, name=name)


def polygamma(a: Any, x: Any, name: str | None = None) -> Any:
    """The a-th derivative of digamma at x; NaN unless a is a whole number.

    Args:
      a, x: floating tensors of one dtype; they broadcast.
    """
    return lookup("Polygamma")(a, x, name=name)


def zeta(x: Any, q: Any, name: str | None = None) -> Any:
    """The Hurwitz zeta function: the sum of (q + k) ** -x over k = 0, 1, ...

    Args:
      x, q: floating tensors of one dtype; they broadcast.
    """
    return lookup("Zeta")(x, q, name=name)


def igamma(a: Any, x: Any, name: str | None = None) -> Any:
    """The lower regularised incomplete gamma function P(a, x).

    Args:
      a, x: floating tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.igamma(1.0, 0.0))
    np.float32(0.0)
    """
    return lookup("Igamma")(a, x, name=name)


def igammac(a: Any, x: Any, name: str | None = None) -> Any:
    """The upper regularised incomplete gamma function, 1 - P(a, x).

    Args:
      a, x: floating tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.igammac(1.0, 0.0))
    np.float32(1.0)
    """
    return lookup("Igammac")(a, x, name=name)


def betainc(a: Any, b: Any, x: Any, name: str | None = None) -> Any:
    """The regularised incomplete beta function I_x(a, b).

    Args:
      a, b, x: floating tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.betainc(1.0, 1.0, 0.5))
    np.float32(0.5)
    """
    return lookup("Betainc")(a, b, x, name=name)


def lbeta(x: Any, name: str | None = None) -> Any:
    """The logarithm of the magnitude of the beta function along the last axis.

    Args:
      x: a tensor of rank 1 or more, floating.

    Returns:
      a tensor without the last axis: sum(lgamma(x)) - lgamma(sum(x)).

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.lbeta([1.0, 1.0]))
    np.float32(0.0)
    """
    with name_scope(name, "lbeta", [x]):
        x = convert(x, name="x")
        products = lookup("Sum")(lookup("Lgamma")(x), (-1,))
        return products - lookup("Lgamma")(lookup("Sum")(x, (-1,)))


def xlogy(x: Any, y: Any, name: str | None = None) -> Any:
    """x * log(y), and 0 wherever x is 0.

    Args:
      x, y: floating tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.math.xlogy([0.0, 2.0], [0.0, 1.0]))
    array([0., 0.], dtype=float32)
    """
    return lookup("Xlogy")(x, y, name=name)


def xdivy(x: Any, y: Any, name: str | None = None) -> Any:
    """x / y, and 0 wherever x is 0.

    Args:
      x, y: floating tensors of one dtype; they broadcast.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.math.xdivy([0.0, 2.0], [0.0, 4.0]))
    array([0. , 0.5], dtype=float32)
    """
    return lookup("Xdivy")(x, y, name=name)
