"""Draws on the host whose use of the stream depends on the data.

Shuffles, samples of categories, gamma and Poisson numbers, each with the streams, the order of
use and the reservations of TensorFlow 1.15's CPU kernels (``random_shuffle_op.cc``,
``multinomial_op.cc``, ``random_op.cc`` and ``random_poisson_op.cc`` under ``core/kernels``).
Arguments and results are as in `staticgraph.ir.philox`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from staticgraph.ir.philox import (
    F64,
    SAMPLES_PER_OUTPUT,
    U32,
    Draw,
    advance,
    blocks,
    box_muller64,
    element_count,
    random_uniform,
    reserve,
    unit_float64,
)

I64 = NDArray[np.int64]
_LANES = 1 << 16  # outputs of one gamma or Poisson draw that are worked on together


def random_shuffle(seed: int, seed2: int, counter: int, n: int) -> Draw:
    """A permutation of ``range(n)``: row ``i`` of the result is row ``permutation[i]``.

    Fisher and Yates from the front, one 32-bit word for each of the first ``n - 1`` places,
    reduced by remainder.
    """
    order = list(range(n))
    if n > 1:
        words = blocks(seed, seed2, counter, np.arange((n + 2) // 4, dtype=np.uint64))
        left = np.arange(n, 1, -1, dtype=np.uint32)
        steps: list[int] = (words.reshape(-1)[: n - 1] % left).tolist()
        for i, step in enumerate(steps):
            j = i + step
            order[i], order[j] = order[j], order[i]
    return np.array(order, dtype=np.int64), advance(counter, reserve("RandomShuffle", n))


def multinomial(
    seed: int,
    seed2: int,
    counter: int,
    logits: ArrayLike,
    num_samples: int,
    dtype: DTypeLike = np.int64,
) -> Draw:
    """Classes drawn from each row of unnormalised log-probabilities, ``[batch, num_samples]``.

    The inverse of the running sum of ``exp(logits - max)`` in double precision, at one double
    precision uniform a sample, rows in order. Logits that are not finite have probability 0; a
    row without any finite one gives the number of classes, as in TensorFlow. (TensorFlow splits
    large batches between threads, and where it does, its streams depend on the number of threads;
    here they are those of one thread.)
    """
    kind = np.dtype(dtype)
    if kind not in (np.int32, np.int64):
        raise TypeError(f"Multinomial makes int32 or int64, not {kind}")
    table = np.asarray(logits)
    if table.ndim != 2 or table.shape[1] == 0:
        raise ValueError(f"logits should be [batch, classes > 0], got shape {table.shape}")
    if num_samples < 0:
        raise ValueError(f"num_samples should be non-negative, got {num_samples}")
    batch = table.shape[0]
    finite = np.isfinite(table)
    values = np.where(finite, table, -np.inf).astype(np.float64)
    top = np.max(values, axis=1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    sums = np.cumsum(np.where(finite, np.exp(values - top), 0.0), axis=1)
    uniform, _ = random_uniform(seed, seed2, counter, (batch, num_samples), np.float64)
    out = _upper_bound(sums, uniform * sums[:, -1:])
    used = reserve("Multinomial", num_samples, batch)
    return out.astype(kind), advance(counter, used)


def _upper_bound(rows: F64, wanted: F64) -> I64:
    """For each entry of ``wanted``, how many entries of the same ascending row are not above."""
    low = np.zeros(wanted.shape, np.int64)
    high = np.full(wanted.shape, rows.shape[1], np.int64)
    for _ in range(rows.shape[1].bit_length()):
        open_ = low < high
        middle = (low + high) // 2
        probe = np.take_along_axis(rows, np.minimum(middle, rows.shape[1] - 1), axis=1)
        below = probe <= wanted
        low = np.where(open_ & below, middle + 1, low)
        high = np.where(open_ & ~below, middle, high)
    return low


class _Streams:
    """One stream for each output, 256 blocks apart, read at its own pace.

    Uniforms and normals are double precision, two from a block, the second taken first.
    """

    def __init__(self, seed: int, seed2: int, counter: int, outputs: I64) -> None:
        self._place = seed, seed2, counter
        self._next = outputs.astype(np.uint64) * np.uint64(SAMPLES_PER_OUTPUT)
        self._kept: dict[str, F64] = {}
        self._full: dict[str, NDArray[np.bool_]] = {}

    def _blocks(self, lanes: I64) -> U32:
        words = blocks(*self._place, self._next[lanes])
        self._next[lanes] += np.uint64(1)
        return words

    def _take(self, what: str, lanes: I64) -> F64:
        """The next number of each lane: a kept one, or the second of a new pair."""
        kept = self._kept.setdefault(what, np.zeros(self._next.size))
        full = self._full.setdefault(what, np.zeros(self._next.size, np.bool_))
        result = kept[lanes]
        ready = full[lanes]
        if not ready.all():
            empty = lanes[~ready]
            words = self._blocks(empty)
            if what == "normal":
                pair = box_muller64(words)
            else:
                pair = unit_float64(words[..., 0::2], words[..., 1::2])
            kept[empty] = pair[:, 0]
            result[~ready] = pair[:, 1]
        full[lanes] = ~ready
        return result

    def uniform(self, lanes: I64) -> F64:
        return self._take("uniform", lanes)

    def normal(self, lanes: I64) -> F64:
        return self._take("normal", lanes)


def random_gamma(
    seed: int,
    seed2: int,
    counter: int,
    shape: Sequence[int],
    alpha: ArrayLike,
    dtype: DTypeLike | None = None,
) -> Draw:
    """Gamma numbers of scale 1, of shape ``shape + alpha.shape``.

    Marsaglia and Tsang (ACM TOMS 26, 2000) in double precision; for ``alpha < 1`` a number of
    ``alpha + 1`` times ``uniform ** (1 / alpha)``; for ``alpha == 1`` an exponential.
    """
    alphas, kind = _parameter("alpha", alpha, dtype)
    flat = alphas.reshape(-1)
    count = element_count(shape)
    out = np.empty((flat.size, count), np.float64)
    for begin in range(0, out.size, _LANES):
        index = np.arange(begin, min(begin + _LANES, out.size))
        streams = _Streams(seed, seed2, counter, index)
        out.reshape(-1)[index] = _gamma(streams, flat[index // max(count, 1)])
    used = reserve("RandomGamma", out.size)
    return _arrange(out, shape, alphas.shape, kind), advance(counter, used)


def _gamma(streams: _Streams, alpha: F64) -> F64:
    out = np.empty(alpha.size)
    small = alpha < 1.0
    simple = np.flatnonzero(alpha == 1.0)
    out[simple] = -np.log1p(-streams.uniform(simple))
    d_all = alpha + np.where(small, 2.0 / 3.0, -1.0 / 3.0)
    lanes = np.flatnonzero(alpha != 1.0)
    while lanes.size:
        d = d_all[lanes]
        x = streams.normal(lanes)
        v = 1.0 + (1.0 / 3.0 / np.sqrt(d)) * x
        inside = v > 0.0
        trial, x, v, d = lanes[inside], x[inside], v[inside], d[inside]
        v = v * v * v
        u = streams.uniform(trial)
        with np.errstate(divide="ignore"):
            good = (u < 1.0 - 0.0331 * (x * x) * (x * x)) | (
                np.log(u) < 0.5 * x * x + d * (1.0 - v + np.log(v))
            )
        taken = trial[good]
        result = (d * v)[good]
        few = small[taken]
        with np.errstate(divide="ignore"):
            power = 1.0 / alpha[taken[few]]
        result[few] *= streams.uniform(taken[few]) ** power
        out[taken] = result
        lanes = np.setdiff1d(lanes, taken, assume_unique=True)
    return out


def random_poisson(
    seed: int,
    seed2: int,
    counter: int,
    shape: Sequence[int],
    rate: ArrayLike,
    dtype: DTypeLike | None = None,
) -> Draw:
    """Poisson numbers, of shape ``shape + rate.shape``.

    In double precision: below a rate of 10, products of uniforms (Knuth, volume 2); from there,
    transformed rejection (Hörmann, Insurance: Mathematics and Economics 12, 1993).
    """
    rates, kind = _parameter("rate", rate, dtype)
    flat = rates.reshape(-1)
    count = element_count(shape)
    out = np.empty((flat.size, count), np.float64)
    top = float(np.iinfo(kind).max if kind.kind == "i" else np.finfo(kind).max)
    for begin in range(0, out.size, _LANES):
        index = np.arange(begin, min(begin + _LANES, out.size))
        streams = _Streams(seed, seed2, counter, index)
        rate_of = flat[index // max(count, 1)]
        values = np.empty(index.size)
        few, many = np.flatnonzero(rate_of < 10.0), np.flatnonzero(rate_of >= 10.0)
        values[few] = _poisson_few(streams, few, rate_of[few])
        values[many] = _poisson_many(streams, many, rate_of[many], top)
        out.reshape(-1)[index] = values
    used = reserve("RandomPoisson", out.size)
    return _arrange(out, shape, rates.shape, kind), advance(counter, used)


def _poisson_few(streams: _Streams, lanes: I64, rate: F64) -> F64:
    out = np.zeros(lanes.size)
    limit = np.exp(-rate)
    product = np.ones(lanes.size)
    active = np.arange(lanes.size)
    while active.size:
        product[active] *= streams.uniform(lanes[active])
        active = active[product[active] > limit[active]]
        out[active] += 1.0
    return out


def _poisson_many(streams: _Streams, lanes: I64, rate: F64, top: float) -> F64:
    out = np.empty(lanes.size)
    active = np.arange(lanes.size)
    while active.size:
        mean = rate[active]
        b = 0.931 + 2.53 * np.sqrt(mean)
        a = -0.059 + 0.02483 * b
        u = streams.uniform(lanes[active]) - 0.5
        v = streams.uniform(lanes[active])
        near = 0.5 - np.abs(u)
        with np.errstate(divide="ignore", invalid="ignore"):
            k = np.floor((2.0 * a / near + b) * u + mean + 0.43)
            good = (near >= 0.07) & (v <= 0.9277 - 3.6224 / (b - 2.0))
            maybe = ~good & (k >= 0.0) & ((near >= 0.013) | (v <= near))
            s = np.log(v * (1.1239 + 1.1328 / (b - 3.4)) / (a / (near * near) + b))
        test = np.flatnonzero(maybe & (k <= top))
        log_factorial = np.array([math.lgamma(value + 1.0) for value in k[test].tolist()])
        weight = -mean[test] + k[test] * np.log(mean[test]) - log_factorial
        good[test] = s[test] <= weight
        good &= k <= top
        out[active[good]] = k[good]
        active = active[~good]
    return out


def _parameter(name: str, value: ArrayLike, dtype: DTypeLike | None) -> tuple[F64, np.dtype[Any]]:
    """The parameter in double precision, and the type of the result."""
    given = np.asarray(value)
    wide = given.astype(np.float64)
    if not (np.isfinite(wide) & (wide >= 0.0)).all():
        # TensorFlow does not return from some of these.
        raise ValueError(f"{name} should be finite and not negative")
    return wide, given.dtype if dtype is None else np.dtype(dtype)


def _arrange(
    by_parameter: F64, shape: Sequence[int], inner: tuple[int, ...], kind: np.dtype[Any]
) -> NDArray[Any]:
    return by_parameter.T.astype(kind).reshape(tuple(int(d) for d in shape) + inner)
