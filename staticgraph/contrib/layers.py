"""`tf.contrib.layers`: initializers and regularizers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from staticgraph.api.framework import name_scope
from staticgraph.api.initializers import fans
from staticgraph.api.random import random_uniform, truncated_normal
from staticgraph.api.shapes import reshape
from staticgraph.errors import DtypeError, GraphError, ShapeError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import convert
from staticgraph.ir.op import lookup


def variance_scaling_initializer(
    factor: float = 2.0, mode: str = "FAN_IN", uniform: bool = False, seed: int | None = None,
    dtype: Any = dtypes.float32,
) -> Callable[..., Any]:  # fmt: skip
    """An initializer whose variance is ``factor / n``.

    Args:
      mode: "FAN_IN", "FAN_OUT" or "FAN_AVG": what n counts.
      uniform: draw evenly instead of from a truncated normal distribution.
    """
    kind = dtypes.as_dtype(dtype)
    if not kind.is_floating:
        raise DtypeError(
            f"an initializer needs a floating dtype, got {kind.name}", loc=loc.caller()
        )
    if mode not in ("FAN_IN", "FAN_OUT", "FAN_AVG"):
        raise GraphError(f"mode must be FAN_IN, FAN_OUT or FAN_AVG, got {mode!r}", loc=loc.caller())

    def initializer(shape: Any, dtype: Any = kind, partition_info: Any = None) -> Any:
        fan_in, fan_out = fans([int(d) for d in shape])
        n = {"FAN_IN": fan_in, "FAN_OUT": fan_out, "FAN_AVG": (fan_in + fan_out) / 2.0}[mode]
        if uniform:
            limit = math.sqrt(3.0 * factor / n)
            return random_uniform(shape, -limit, limit, dtype, seed=seed)
        # 1.3 makes up for the variance that cutting the tails off takes away
        return truncated_normal(shape, 0.0, math.sqrt(1.3 * factor / n), dtype, seed=seed)

    return initializer


def xavier_initializer(
    uniform: bool = True, seed: int | None = None, dtype: Any = dtypes.float32
) -> Callable[..., Any]:
    """Glorot's initializer: variance ``2 / (inputs + outputs)``."""
    return variance_scaling_initializer(1.0, "FAN_AVG", uniform, seed, dtype)


xavier_initializer_conv2d = xavier_initializer


def flatten(inputs: Any, outputs_collections: Any = None, scope: str | None = None) -> Any:
    """All axes but the first as one."""
    del outputs_collections
    with name_scope(scope, "Flatten", [inputs]) as name:
        x = convert(inputs)
        ndims = x.shape.ndims
        if ndims is not None and ndims < 2:
            raise ShapeError(
                f"flatten needs at least two axes, got shape {x.shape}", loc=loc.caller()
            )
        sizes = x.shape.as_list() if ndims is not None else []
        if sizes and all(d is not None for d in sizes[1:]):
            return reshape(x, [-1, math.prod(d for d in sizes[1:] if d is not None)], name=name)
        return reshape(x, [lookup("Shape")(x)[0], -1], name=name)


def l1_regularizer(scale: float, scope: str | None = None) -> Callable[[Any], Any]:
    """A penalty of ``scale * sum(|w|)``; None where `scale` is 0."""

    def penalty(weights: Any) -> Any:
        if scale == 0.0:
            return None
        with name_scope(scope, "l1_regularizer", [weights]) as name:
            w = convert(weights)
            total = lookup("Sum")(lookup("Abs")(w), tuple(range(w.shape.ndims or 0)))
            return lookup("Mul")(convert(scale, w.dtype.base, "scale"), total, name=name)

    return penalty


def l2_regularizer(scale: float, scope: str | None = None) -> Callable[[Any], Any]:
    """A penalty of ``scale * sum(w ** 2) / 2``; None where `scale` is 0."""

    def penalty(weights: Any) -> Any:
        if scale == 0.0:
            return None
        with name_scope(scope, "l2_regularizer", [weights]) as name:
            w = convert(weights)
            return lookup("Mul")(
                convert(scale, w.dtype.base, "scale"), lookup("L2Loss")(w), name=name
            )

    return penalty


def l1_l2_regularizer(
    scale_l1: float = 1.0, scale_l2: float = 1.0, scope: str | None = None
) -> Callable[[Any], Any]:
    """The sum of both penalties."""
    return sum_regularizer([l1_regularizer(scale_l1), l2_regularizer(scale_l2)], scope)


def sum_regularizer(regularizers: Sequence[Any], scope: str | None = None) -> Callable[[Any], Any]:
    """The sum of several penalties."""

    def penalty(weights: Any) -> Any:
        with name_scope(scope, "sum_regularizer", [weights]):
            parts = [
                p for p in (r(weights) for r in regularizers if r is not None) if p is not None
            ]
            return lookup("AddN")(parts) if parts else None

    return penalty


def apply_regularization(
    regularizer: Callable[[Any], Any], weights_list: Sequence[Any] | None = None
) -> Any:
    """The sum of the penalties of several weights."""
    parts = [p for p in map(regularizer, weights_list or ()) if p is not None]
    return lookup("AddN")(parts) if parts else convert(0.0)


__all__ = [
    "apply_regularization", "flatten", "l1_l2_regularizer", "l1_regularizer", "l2_regularizer",
    "sum_regularizer", "variance_scaling_initializer", "xavier_initializer",
    "xavier_initializer_conv2d",
]  # fmt: skip
