"""Random tensors and seeds.

The stream of an operation follows from the graph's seed (`set_random_seed`) and from its own
`seed`, as in TensorFlow: with either set, every process draws the same numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.api.framework import name_scope
from staticgraph.api.reduction import either, shape_of
from staticgraph.errors import DtypeError, GraphError, UsageError
from staticgraph.ir import dtypes, loc, philox
from staticgraph.ir.build import convert, is_tensor_like
from staticgraph.ir.dtypes import DType
from staticgraph.ir.graph import get_default_graph
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Tensor
from staticgraph.ir.tensor_shape import TensorShape


def set_random_seed(seed: int) -> None:
    """Set the seed of the default graph, for the random operations made from now on.

    >>> import staticgraph as tf
    >>> tf.set_random_seed(1)
    >>> tf.get_seed(None)[0]
    1
    """
    get_default_graph().seed = int(seed)


def get_seed(op_seed: int | None) -> tuple[int | None, int | None]:
    """The pair of seeds that a random operation made now would get.

    Args:
      op_seed: the operation's own seed.

    Returns:
      ``(graph seed, op seed)``; with a graph seed alone, the second is the number of operations
      made so far.  ``(None, None)`` where neither is set.
    """
    graph = get_default_graph()
    own = None if op_seed is None else int(op_seed)
    return philox.seed_pair(graph.seed, own, graph.last_id) or (None, None)


def seeds(op_seed: int | None) -> dict[str, Any]:
    """The attributes that name the stream of a random operation made now."""
    seed, seed2 = get_seed(op_seed)
    if seed is None:
        first, second = philox.fresh_pair()
        return {"seed": first, "seed2": second, "nondeterministic": True}
    return {"seed": seed, "seed2": seed2}


def shape_tensor(shape: Any) -> Tensor:
    """A shape, given as a list, a `TensorShape` or a tensor, as a tensor."""
    if isinstance(shape, (int, np.integer)):
        raise UsageError(
            f"a shape is a list of sizes, got {shape}", loc=loc.caller(), hint=f"use [{shape}]"
        )
    if not is_tensor_like(shape):
        sizes = shape.as_list() if isinstance(shape, TensorShape) else shape
        if not isinstance(sizes, np.ndarray):
            sizes = [getattr(d, "value", d) if not is_tensor_like(d) else d for d in sizes or ()]
            if any(d is None for d in sizes):
                raise UsageError(f"the shape {shape} is not fully known", loc=loc.caller())
        if not any(is_tensor_like(d) for d in sizes):
            wide = np.asarray(sizes)
            if wide.dtype != np.int64 or not wide.size or wide.max() < 2**31:
                return convert(wide.astype(np.int32), name="shape")
        shape = sizes
    return convert(shape, name="shape")


def _float_type(dtype: Any, what: str) -> DType:
    kind = dtypes.as_dtype(dtype).base
    if not kind.is_floating:
        raise DtypeError(f"{what}: makes floats, not {kind.name}", loc=loc.caller())
    return kind


def _normal(
    op: str,
    default: str,
    shape: Any,
    mean: Any,
    stddev: Any,
    dtype: Any,
    seed: int | None,
    name: str | None,
) -> Tensor:
    kind = _float_type(dtype, default)
    with name_scope(name, default, [shape, mean, stddev]) as scope:
        sizes = shape_tensor(shape)
        mean = convert(mean, kind, "mean")
        stddev = convert(stddev, kind, "stddev")
        draw = lookup(op)(sizes, dtype=kind, **seeds(seed))
        return lookup("Add")(draw * stddev, mean, name=scope)  # type: ignore[no-any-return]


def random_normal(
    shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = dtypes.float32,
    seed: int | None = None, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Normal numbers.

    Args:
      shape: the sizes of the result.
      mean, stddev: numbers or tensors that broadcast to `shape`.

    >>> import staticgraph as tf
    >>> tf.random_normal([2, 3])
    <tf.Tensor 'random_normal:0' shape=(2, 3) dtype=float32>
    """
    return _normal("RandomStandardNormal", "random_normal", shape, mean, stddev, dtype, seed, name)


def truncated_normal(
    shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = dtypes.float32,
    seed: int | None = None, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Normal numbers, those more than two deviations from the mean drawn again."""
    return _normal("TruncatedNormal", "truncated_normal", shape, mean, stddev, dtype, seed, name)


def random_uniform(
    shape: Any, minval: Any = 0, maxval: Any = None, dtype: Any = dtypes.float32,
    seed: int | None = None, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Uniform numbers in [minval, maxval); integers if `dtype` is int32 or int64.

    Args:
      maxval: 1 by default; for integers it must be given.

    >>> import staticgraph as tf
    >>> tf.random_uniform([4], 0, 10, dtype=tf.int32).dtype
    tf.int32
    """
    kind = dtypes.as_dtype(dtype).base
    if maxval is None:
        if kind.is_integer:
            raise UsageError("random_uniform: give maxval for integers", loc=loc.caller())
        maxval = 1
    with name_scope(name, "random_uniform", [shape, minval, maxval]) as scope:
        sizes = shape_tensor(shape)
        low = convert(minval, kind, "min")
        high = convert(maxval, kind, "max")
        attrs = seeds(seed)
        if kind.is_integer:
            return lookup("RandomUniformInt")(sizes, low, high, name=scope, **attrs)  # type: ignore[no-any-return]
        draw = lookup("RandomUniform")(sizes, dtype=kind, **attrs)
        return lookup("Add")(draw * (high - low), low, name=scope)  # type: ignore[no-any-return]


def random_shuffle(value: Any, seed: int | None = None, name: str | None = None) -> Tensor:
    """The rows of `value` in random order."""
    return lookup("RandomShuffle")(value, name=name, **seeds(seed))  # type: ignore[no-any-return]


def random_crop(value: Any, size: Any, seed: int | None = None, name: str | None = None) -> Tensor:
    """A slice of `size` at a random place.

    Args:
      size: the sizes of the slice, one for each axis of `value`.
    """
    with name_scope(name, "random_crop", [value, size]) as scope:
        value = convert(value, name="value")
        size = convert(size, dtypes.int32, "size")
        shape = shape_of(value)
        limit = shape - size + 1
        offset = random_uniform(
            shape_of(shape), maxval=dtypes.int32.max, dtype=dtypes.int32, seed=seed
        )
        return lookup("Slice")(value, offset % limit, size, name=scope)  # type: ignore[no-any-return]


def multinomial(
    logits: Any, num_samples: Any, seed: int | None = None, name: str | None = None,
    output_dtype: Any = None,
) -> Tensor:  # fmt: skip
    """Classes drawn from each row of unnormalised log-probabilities.

    Args:
      logits: ``[batch, classes]``.
      num_samples: how many to draw for each row.
      output_dtype: int64 (the default) or int32.
    """
    return _classes("multinomial", logits, num_samples, output_dtype, seed, name)


def categorical(
    logits: Any,
    num_samples: Any,
    dtype: Any = None,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """`multinomial` with its arguments in the newer order."""
    return _classes("categorical", logits, num_samples, dtype, seed, name)


def _classes(
    default: str, logits: Any, num_samples: Any, dtype: Any, seed: int | None, name: str | None
) -> Tensor:
    with name_scope(name, default, [logits]):
        logits = convert(logits, name="logits")
        kind = dtypes.as_dtype(dtype or dtypes.int64)
        return lookup("Multinomial")(logits, num_samples, output_dtype=kind, **seeds(seed))  # type: ignore[no-any-return]


def random_gamma(
    shape: Any, alpha: Any, beta: Any = None, dtype: Any = dtypes.float32,
    seed: int | None = None, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Gamma numbers of shape ``shape + broadcast(alpha, beta).shape``.

    Args:
      alpha: the shape parameters.
      beta: the inverse scales, 1 by default.
    """
    kind = _float_type(dtype, "random_gamma")
    with name_scope(name, "random_gamma", [shape, alpha, beta]):
        sizes = shape_tensor(shape)
        alpha = convert(alpha, kind, "alpha")
        scale = convert(1 if beta is None else beta, kind, "beta")
        spread = alpha + lookup("ZerosLike")(scale)
        draw = lookup("RandomGamma")(sizes, spread, **seeds(seed))
        return lookup("Maximum")(float(np.finfo(kind.np).tiny), lookup("RealDiv")(draw, scale))  # type: ignore[no-any-return]


def random_poisson(
    lam: Any,
    shape: Any,
    dtype: Any = dtypes.float32,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """Poisson numbers of shape ``shape + lam.shape``."""
    with name_scope(name, "random_poisson", [lam, shape]):
        sizes = shape_tensor(shape)
        rate = (
            convert(lam, name="lam") if is_tensor_like(lam) else convert(lam, dtypes.float32, "lam")
        )
        return lookup("RandomPoissonV2")(sizes, rate, dtype=dtypes.as_dtype(dtype), **seeds(seed))  # type: ignore[no-any-return]


def random_poisson_v2(
    shape: Any,
    lam: Any,
    dtype: Any = dtypes.float32,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """`random_poisson` with its arguments in the newer order."""
    return random_poisson(lam, shape, dtype, seed, name)


def dropout(
    x: Any, keep_prob: Any = None, noise_shape: Any = None, seed: int | None = None,
    name: str | None = None, rate: Any = None,
) -> Tensor:  # fmt: skip
    """Set elements to 0 with probability `rate` and scale the rest by ``1 / (1 - rate)``.

    Args:
      keep_prob: ``1 - rate``, the older argument.
      noise_shape: sizes of the random mask, 1 (or None, for the size of `x`) where it is shared.

    Raises:
      ValueError: the rate is not in [0, 1).
    """
    if keep_prob is not None:
        if rate is not None:
            either("rate", rate, "keep_prob", keep_prob)
        rate = 1.0 - keep_prob
    if rate is None:
        raise UsageError("dropout: give rate or keep_prob", loc=loc.caller())
    with name_scope(name, "dropout", [x]):
        x = convert(x, name="x")
        if not x.dtype.is_floating:
            raise DtypeError(f"dropout: takes floats, got {x.dtype.base.name}", loc=loc.caller())
        if not is_tensor_like(rate):
            if not 0 <= rate < 1:
                raise GraphError(f"dropout: the rate is in [0, 1), got {rate}", loc=loc.caller())
            if rate == 0:
                return x  # type: ignore[no-any-return]
        rate = convert(rate, x.dtype.base, "rate")
        sizes = shape_of(x) if noise_shape is None else _noise_shape(x, noise_shape)
        noise = random_uniform(sizes, seed=seed, dtype=x.dtype.base)
        keep = 1 - rate
        scale = lookup("RealDiv")(1.0, keep, name="truediv")
        kept = noise >= rate
        out: Tensor = x * scale * lookup("Cast")(kept, DstT=x.dtype.base)
        out.set_shape(x.shape)
        return out


def _noise_shape(x: Tensor, noise_shape: Any) -> Any:
    if is_tensor_like(noise_shape):
        return noise_shape
    sizes = TensorShape(noise_shape).as_list()
    own = x.shape.as_list() if x.shape.ndims == len(sizes) else [None] * len(sizes)
    return [d if n is None else n for n, d in zip(sizes, own, strict=True)]


__all__ = [
    "categorical", "dropout", "get_seed", "multinomial", "random_crop", "random_gamma",
    "random_normal", "random_poisson", "random_poisson_v2", "random_shuffle", "random_uniform",
    "set_random_seed", "truncated_normal",
]  # fmt: skip
