"""Activation functions, in ``tf.nn``.

All work element by element and keep the shape.  `name` names the operation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from staticgraph.api.framework import name_scope
from staticgraph.api.math_functions import log_sigmoid, sigmoid, tanh
from staticgraph.ir import dtypes
from staticgraph.ir.build import convert, is_tensor_like
from staticgraph.ir.op import lookup

__all__ = [
    "crelu",
    "elu",
    "gelu",
    "leaky_relu",
    "log_sigmoid",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softplus",
    "softsign",
    "swish",
    "tanh",
]


def relu(features: Any, name: str | None = None) -> Any:
    """max(x, 0); its gradient at 0 is 0.

    Args:
      features: a tensor, numeric.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.nn.relu([-1.0, 2.0]))
    array([0., 2.], dtype=float32)
    """
    return lookup("Relu")(features, name=name)


def relu6(features: Any, name: str | None = None) -> Any:
    """min(max(x, 0), 6).

    Args:
      features: a tensor, numeric.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.nn.relu6([-1.0, 2.0, 9.0]))
    array([0., 2., 6.], dtype=float32)
    """
    return lookup("Relu6")(features, name=name)


def crelu(features: Any, name: str | None = None, axis: int = -1) -> Any:
    """relu(x) and relu(-x), joined along an axis, which doubles in size.

    Args:
      features: a tensor, numeric.
      axis: the axis to join along.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.nn.crelu([-1.0, 2.0]))
    array([0., 2., 1., 0.], dtype=float32)
    """
    with name_scope(name, "CRelu", [features]) as scope:
        features = convert(features, name="features")
        both = lookup("ConcatV2")([features, -features], axis, name=scope)
        return lookup("Relu")(both)


def elu(features: Any, name: str | None = None) -> Any:
    """x where it is positive, else exp(x) - 1.

    Args:
      features: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.nn.elu([0.0, 2.0]))
    array([0., 2.], dtype=float32)
    """
    return lookup("Elu")(features, name=name)


def selu(features: Any, name: str | None = None) -> Any:
    """scale * elu(x) with a steeper left branch, which keeps mean 0 and variance 1.

    Args:
      features: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.nn.selu([0.0]))
    array([0.], dtype=float32)
    """
    return lookup("Selu")(features, name=name)


def leaky_relu(features: Any, alpha: Any = 0.2, name: str | None = None) -> Any:
    """x where it is positive, else alpha * x.

    Args:
      features: a tensor, numeric; integers become float32.
      alpha: the slope on the left, a number or a scalar tensor.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.nn.leaky_relu([-1.0, 2.0], alpha=0.5))
    array([-0.5,  2. ], dtype=float32)
    """
    with name_scope(name, "LeakyRelu", [features, alpha]) as scope:
        features = convert(features, name="features")
        if features.dtype.is_integer:
            features = lookup("Cast")(features, DstT=dtypes.float32)
        if is_tensor_like(alpha):
            return lookup("Maximum")(alpha * features, features, name=scope)
        return lookup("LeakyRelu")(features, alpha=float(np.asarray(alpha)), name=scope)


def softplus(features: Any, name: str | None = None) -> Any:
    """log(1 + exp(x)), without overflow.

    Args:
      features: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.nn.softplus([1000.0]))
    array([1000.], dtype=float32)
    """
    return lookup("Softplus")(features, name=name)


def softsign(features: Any, name: str | None = None) -> Any:
    """x / (1 + |x|).

    Args:
      features: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.nn.softsign([-1.0, 3.0]))
    array([-0.5 ,  0.75], dtype=float32)
    """
    return lookup("Softsign")(features, name=name)


def swish(features: Any, name: str | None = None) -> Any:
    """x * sigmoid(x), also called SiLU.

    Args:
      features: a tensor, floating.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.nn.swish([0.0]))
    array([0.], dtype=float32)
    """
    with name_scope(name, "swish", [features]) as scope:
        features = convert(features, name="features")
        return lookup("Mul")(features, lookup("Sigmoid")(features), name=scope)


silu = swish


def gelu(features: Any, approximate: bool = False, name: str | None = None) -> Any:
    """x times the normal distribution function of x.

    Args:
      features: a tensor, floating.
      approximate: use the approximation by tanh.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.nn.gelu([0.0]))
    array([0.], dtype=float32)
    """
    with name_scope(name, "Gelu", [features]) as scope:
        x = convert(features, name="features")
        if approximate:
            inner = math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))
            left = lookup("Tanh")(inner)
        else:
            left = lookup("Erf")(x * math.sqrt(0.5))
        return lookup("Mul")(0.5 * x, 1.0 + left, name=scope)
