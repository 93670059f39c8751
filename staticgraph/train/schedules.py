"""Learning rates that depend on the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from staticgraph.api.casting import cast
from staticgraph.api.framework import name_scope
from staticgraph.errors import DtypeError, GraphError
from staticgraph.ir import loc
from staticgraph.ir.build import convert
from staticgraph.ir.op import lookup


def _start(learning_rate: Any, global_step: Any, *others: Any) -> tuple[Any, ...]:
    """The rate as a tensor, and the other arguments in its dtype."""
    if global_step is None:
        raise GraphError("a decaying learning rate needs global_step", loc=loc.caller())
    rate = convert(learning_rate, None, "learning_rate")
    dtype = rate.dtype.base
    return (
        rate,
        cast(convert(global_step), dtype),
        *(cast(convert(x, None if hasattr(x, "dtype") else dtype), dtype) for x in others),
    )


def _progress(step: Any, steps: Any, staircase: bool) -> Any:
    p = step / steps
    return lookup("Floor")(p) if staircase else p


def exponential_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    decay_rate: Any,
    staircase: bool = False,
    name: str | None = None,
) -> Any:
    """``learning_rate * decay_rate ** (global_step / decay_steps)``.

    Args:
      staircase: round the exponent down.

    >>> import staticgraph as tf
    >>> tf.train.exponential_decay(0.1, tf.constant(5), 10, 0.5).shape
    TensorShape([])
    """
    with name_scope(name, "ExponentialDecay", [global_step]) as scope:
        rate, step, steps, base = _start(learning_rate, global_step, decay_steps, decay_rate)
        return lookup("Mul")(
            rate, lookup("Pow")(base, _progress(step, steps, staircase)), name=scope
        )


def natural_exp_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    decay_rate: Any,
    staircase: bool = False,
    name: str | None = None,
) -> Any:
    """``learning_rate * exp(-decay_rate * global_step / decay_steps)``."""
    with name_scope(name, "NaturalExpDecay", [global_step]) as scope:
        rate, step, steps, factor = _start(learning_rate, global_step, decay_steps, decay_rate)
        exponent = -(factor * _progress(step, steps, staircase))
        return lookup("Mul")(rate, lookup("Exp")(exponent), name=scope)


def inverse_time_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    decay_rate: Any,
    staircase: bool = False,
    name: str | None = None,
) -> Any:
    """``learning_rate / (1 + decay_rate * global_step / decay_steps)``."""
    with name_scope(name, "InverseTimeDecay", [global_step]) as scope:
        rate, step, steps, factor = _start(learning_rate, global_step, decay_steps, decay_rate)
        return lookup("RealDiv")(rate, 1.0 + factor * _progress(step, steps, staircase), name=scope)


def polynomial_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    end_learning_rate: Any = 0.0001,
    power: Any = 1.0,
    cycle: bool = False,
    name: str | None = None,
) -> Any:
    """From `learning_rate` to `end_learning_rate` in `decay_steps` along a power of the way left.

    Args:
      cycle: start again, over twice, three times, ... `decay_steps`, instead of staying at the end.
    """
    with name_scope(name, "PolynomialDecay", [global_step]) as scope:
        rate, step, steps, end, exponent = _start(
            learning_rate, global_step, decay_steps, end_learning_rate, power
        )
        if cycle:
            steps = steps * lookup("Maximum")(lookup("Ceil")(step / steps), 1.0)
        else:
            step = lookup("Minimum")(step, steps)
        left = lookup("Pow")(1.0 - step / steps, exponent)
        return lookup("Add")((rate - end) * left, end, name=scope)


def piecewise_constant(
    x: Any, boundaries: Sequence[Any], values: Sequence[Any], name: str | None = None
) -> Any:
    """``values[0]`` up to ``x == boundaries[0]``, ``values[1]`` up to the next, and so on.

    Raises:
      ValueError: there is not one value more than boundaries.
    """
    if len(boundaries) != len(values) - 1:
        raise GraphError(
            f"piecewise_constant: {len(boundaries)} boundaries need {len(boundaries) + 1} values, "
            f"got {len(values)}",
            loc=loc.caller(),
        )
    with name_scope(name, "PiecewiseConstant", [x]):
        at = convert(x)
        rates = [convert(v) for v in values]
        for v in rates:
            if v.dtype.base is not rates[0].dtype.base:
                raise DtypeError(
                    f"piecewise_constant: values are {rates[0].dtype.base.name} and "
                    f"{v.dtype.base.name}",
                    loc=loc.caller(),
                )
        out = rates[-1]
        for b, v in zip(reversed(boundaries), reversed(rates[:-1]), strict=True):
            bound = cast(b, at.dtype.base) if hasattr(b, "dtype") else convert(b, at.dtype.base)
            out = lookup("Select")(at <= bound, v, out)
        return out


piecewise_constant_decay = piecewise_constant


def cosine_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    alpha: Any = 0.0,
    name: str | None = None,
) -> Any:
    """Half a cosine from `learning_rate` down to ``alpha * learning_rate`` in `decay_steps`."""
    with name_scope(name, "CosineDecay", [global_step]):
        rate, step, steps, floor = _start(learning_rate, global_step, decay_steps, alpha)
        way = lookup("Minimum")(step, steps) / steps
        return rate * ((1.0 - floor) * _half_cosine(way) + floor)


def _half_cosine(way: Any) -> Any:
    return 0.5 * (1.0 + lookup("Cos")(way * math.pi))


def cosine_decay_restarts(
    learning_rate: Any,
    global_step: Any,
    first_decay_steps: Any,
    t_mul: float = 2.0,
    m_mul: float = 1.0,
    alpha: float = 0.0,
    name: str | None = None,
) -> Any:
    """`cosine_decay` again and again, each time `t_mul` times as long and `m_mul` times as high."""
    with name_scope(name, "SGDRDecay", [global_step]):
        rate, step, steps, floor = _start(learning_rate, global_step, first_decay_steps, alpha)
        done = step / steps
        if t_mul == 1.0:
            restarts = lookup("Floor")(done)
            way = done - restarts
        else:
            restarts = lookup("Floor")(lookup("Log")(1.0 - done * (1.0 - t_mul)) / math.log(t_mul))
            scale = lookup("Pow")(convert(t_mul, rate.dtype.base), restarts)
            way = (done - (1.0 - scale) / (1.0 - t_mul)) / scale
        height = lookup("Pow")(convert(m_mul, rate.dtype.base), restarts)
        return rate * ((1.0 - floor) * height * _half_cosine(way) + floor)


def linear_cosine_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    num_periods: float = 0.5,
    alpha: float = 0.0,
    beta: float = 0.001,
    name: str | None = None,
) -> Any:
    """A line down to nought times a cosine of `num_periods` periods."""
    with name_scope(name, "LinearCosineDecay", [global_step]):
        rate, step, steps = _start(learning_rate, global_step, decay_steps)
        way = lookup("Minimum")(step, steps) / steps
        return rate * ((alpha + (1.0 - way)) * _half_cosine(way * (2.0 * num_periods)) + beta)


__all__ = [
    "cosine_decay",
    "cosine_decay_restarts",
    "exponential_decay",
    "inverse_time_decay",
    "linear_cosine_decay",
    "natural_exp_decay",
    "piecewise_constant",
    "piecewise_constant_decay",
    "polynomial_decay",
]
