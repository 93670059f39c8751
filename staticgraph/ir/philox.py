"""Philox4x32-10 randomness with the draws of TensorFlow 1.15 on CPU.

The generator is counter based (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as
1, 2, 3", SC 2011): block ``i`` of a stream is a pure function of the key and of ``i``, so the
draws do not depend on how the work is split.

A stream belongs to one operation and is named by its pair of attributes ``(seed, seed2)``: the
key is ``seed``, and ``seed2`` is the upper half of the 128-bit counter. What TensorFlow keeps as
hidden state is explicit here: every draw takes the ``counter`` (the number of 128-bit blocks used
so far, 0 at first) and returns the array with the counter of the next run, advanced by what
TensorFlow reserves (`reserve`), which is usually more than what was used.

Uniforms and integers are TensorFlow's to the bit. Normals are made with the few elementary
functions below, written out in double precision with additions, multiplications and one division:
a compiled kernel that repeats the same sequence gives the same bits on any machine, and the
result is within float rounding of TensorFlow's.

Sources followed: ``core/lib/random/philox_random.h``, ``random_distributions.h``,
``core/util/guarded_philox_random.h`` and ``core/kernels/random_op.cc`` of TensorFlow 1.15, and
``e_log.c``, ``k_sin.c``, ``k_cos.c`` of FreeBSD's msun for the polynomials.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]
Draw = tuple[Array, int]

DEFAULT_GRAPH_SEED = 87654321
MAX_INT32 = 2**31 - 1
SAMPLES_PER_OUTPUT = 256
"""Blocks that TensorFlow reserves for each element it makes."""

_MASK64 = 2**64 - 1
_MASK128 = 2**128 - 1
_CHUNK = 1 << 14  # blocks made at a time: the temporaries stay in the cache

_ROUNDS = 10
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85


# Seeds and counters


def seed_pair(
    graph_seed: int | None, op_seed: int | None, last_op_id: int
) -> tuple[int, int] | None:
    """The ``(seed, seed2)`` attributes of an operation, by TensorFlow's ``get_seed``.

    ``last_op_id`` is the number of operations that the graph holds when the operation is made; it
    stands in for an unset ``op_seed`` when the graph has a seed. None: neither seed is set and
    the stream is to be different in every session (`fresh_pair`).
    """
    if graph_seed is None:
        if op_seed is None:
            return None
        pair = DEFAULT_GRAPH_SEED, op_seed % MAX_INT32
    else:
        pair = graph_seed % MAX_INT32, (last_op_id if op_seed is None else op_seed) % MAX_INT32
    # TensorFlow's kernels take (0, 0) for "not seeded".
    return (0, MAX_INT32) if pair == (0, 0) else pair


def fresh_pair() -> tuple[int, int]:
    """A pair from the system's entropy, for an operation without any seed."""
    return secrets.randbits(63) | 1, secrets.randbits(63)


def reserve(op: str, n: int, batch: int = 1) -> int:
    """By how many 128-bit blocks one run of ``op`` advances its counter.

    ``op`` is the operation's type. ``n`` is the number of elements of the output; for
    RandomShuffle the number of rows, for Multinomial the number of samples of each of ``batch``
    rows.
    """
    if op == "RandomShuffle":
        return (n + 2) // 4 if n > 1 else 0
    if op == "Multinomial":  # two words a sample, rounded up to whole blocks
        return batch * ((n + 3) // 4 * 4) * 2 * SAMPLES_PER_OUTPUT
    if op in _PER_ELEMENT:
        return n * SAMPLES_PER_OUTPUT
    raise ValueError(f"no random operation {op!r}")


_PER_ELEMENT = frozenset(
    (
        "RandomUniform",
        "RandomUniformInt",
        "RandomStandardNormal",
        "TruncatedNormal",
        "RandomGamma",
        "RandomPoisson",
    )
)


def advance(counter: int, steps: int) -> int:
    """The counter ``steps`` blocks later (128 bits, wrapping)."""
    return (counter + steps) & _MASK128


def counter_words(counter: int) -> tuple[int, int]:
    """The low and high 64 bits of a counter, as signed integers for int64 kernel arguments."""
    return signed_word(counter), signed_word(counter >> 64)


def signed_word(value: int) -> int:
    """The low 64 bits of ``value``, read as a signed integer."""
    low = value & _MASK64
    return low - 2**64 if low >= 2**63 else low


# The generator


def philox(key0: int, key1: int, counter: U32) -> U32:
    """The Philox4x32-10 blocks of an array of counters, ``uint32[..., 4]`` to the same shape."""
    c0, c1, c2, c3 = (counter[..., i].astype(np.uint64) for i in range(4))
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    for i in range(_ROUNDS):
        k0 = np.uint64((key0 + i * _W0) & 0xFFFFFFFF)
        k1 = np.uint64((key1 + i * _W1) & 0xFFFFFFFF)
        p, q = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (q >> shift) ^ c1 ^ k0, q & low, (p >> shift) ^ c3 ^ k1, p & low
    return np.stack((c0, c1, c2, c3), axis=-1).astype(np.uint32)


def blocks(seed: int, seed2: int, counter: int, index: U64) -> U32:
    """Blocks ``counter + index`` of the stream ``(seed, seed2)``, as ``uint32[..., 4]``."""
    start = np.uint64(counter & _MASK64)
    low = index + start
    high = np.uint64((seed2 + (counter >> 64)) & _MASK64) + (low < start).astype(np.uint64)
    shift = np.uint64(32)
    words = np.stack((low, low >> shift, high, high >> shift), axis=-1)
    return philox(seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF, words.astype(np.uint32))


# From random words to numbers


def unit_float16(x: U32) -> NDArray[np.float16]:
    """[0, 1) in half precision: the low 10 bits as the mantissa of a number in [1, 2), less 1."""
    return (x & np.uint32(0x3FF)).astype(np.float16) * np.float16(2.0**-10)


def unit_float32(x: U32) -> NDArray[np.float32]:
    """[0, 1) in single precision, from the low 23 bits."""
    return (x & np.uint32(0x7FFFFF)).astype(np.float32) * np.float32(2.0**-23)


def unit_float64(x0: U32, x1: U32) -> F64:
    """[0, 1) in double precision: the low 20 bits of ``x0`` above the 32 of ``x1``."""
    high = (x0 & np.uint32(0xFFFFF)).astype(np.float64) * 2.0**-20
    return high + x1.astype(np.float64) * 2.0**-52


def join64(x0: U32, x1: U32) -> U64:
    """64-bit integers from pairs of words, the low one first."""
    return x0.astype(np.uint64) | (x1.astype(np.uint64) << np.uint64(32))


LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
LOG_TERMS = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
    1.818357216161805012e-01,
    1.531383769920937332e-01,
    1.479819860511658591e-01,
)
SQRT_HALF_WORD = 0x3FE6A09E  # the upper word of sqrt(1/2)
HALF_PI_PARTS = (1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624879595063154e-21)
"""pi/2 in three parts; small multiples of the first two are exact."""
SIN_TERMS = (
    -1.66666666666666324348e-01,
    8.33333333332248946124e-03,
    -1.98412698298579493134e-04,
    2.75573137070700676789e-06,
    -2.50507602534068634195e-08,
    1.58969099521155010221e-10,
)
COS_TERMS = (
    4.16666666666666019037e-02,
    -1.38888888888741095749e-03,
    2.48015872894767294178e-05,
    -2.75573143513906633035e-07,
    2.08757232129817482790e-09,
    -1.13596475577881948265e-11,
)


def log(x: F64) -> F64:
    """Natural logarithm of positive normal numbers, within one unit in the last place."""
    a1, a2, a3, a4, a5, a6, a7 = LOG_TERMS
    root = SQRT_HALF_WORD << 32
    # x = 2**k * (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2)
    bits = x.view(np.int64) + ((0x3FF00000 << 32) - root)
    k = ((bits >> 52) - 1023).astype(np.float64)
    f = ((bits & 0x000FFFFFFFFFFFFF) + root).view(np.float64) - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    r = w * (a2 + w * (a4 + w * a6)) + z * (a1 + w * (a3 + w * (a5 + w * a7)))
    half = 0.5 * f * f
    result: F64 = s * (half + r) + k * LN2_LOW - half + f + k * LN2_HIGH
    return result


def sin_cos(x: F64) -> tuple[F64, F64]:
    """Sine and cosine of angles in [0, 2 pi]."""
    s1, s2, s3, s4, s5, s6 = SIN_TERMS
    c1, c2, c3, c4, c5, c6 = COS_TERMS
    p1, p2, p3 = HALF_PI_PARTS
    quadrant = (x * (2.0 / math.pi) + 0.5).astype(np.int32)
    q = quadrant.astype(np.float64)
    y = ((x - q * p1) - q * p2) - q * p3  # in [-pi/4, pi/4]
    z = y * y
    w = z * z
    sine = y + z * y * (s1 + z * (s2 + z * (s3 + z * s4) + z * w * (s5 + z * s6)))
    r = z * (c1 + z * (c2 + z * c3)) + w * w * (c4 + z * (c5 + z * c6))
    half = 0.5 * z
    t = 1.0 - half
    cosine = t + (((1.0 - t) - half) + z * r)
    odd = (quadrant & 1) == 1
    sin_sign = (1 - (quadrant & 2)).astype(np.float64)
    cos_sign = (1 - ((quadrant + 1) & 2)).astype(np.float64)
    return sin_sign * np.where(odd, cosine, sine), cos_sign * np.where(odd, sine, cosine)


def box_muller32(x: U32) -> NDArray[np.float32]:
    """Four single precision normals from each block, ``[..., 4]`` to ``[..., 4]``."""
    u = np.maximum(unit_float32(x[..., 0::2]), np.float32(1.0e-7))
    angle = (2.0 * math.pi) * unit_float32(x[..., 1::2]).astype(np.float64)
    # TensorFlow rounds the angle to single precision, which shows near the zeros of the sine.
    sine, cosine = sin_cos(angle.astype(np.float32).astype(np.float64))
    radius = np.sqrt(np.float32(-2.0) * log(u.astype(np.float64)).astype(np.float32))
    out = np.empty(x.shape, np.float32)
    out[..., 0::2] = sine.astype(np.float32) * radius
    out[..., 1::2] = cosine.astype(np.float32) * radius
    return out


def box_muller64(x: U32) -> F64:
    """Two double precision normals from each block, ``[..., 4]`` to ``[..., 2]``."""
    u = np.maximum(unit_float64(x[..., 0], x[..., 1]), 1.0e-7)
    sine, cosine = sin_cos((2.0 * math.pi) * unit_float64(x[..., 2], x[..., 3]))
    radius = np.sqrt(-2.0 * log(u))
    return np.stack((sine * radius, cosine * radius), axis=-1)


# Draws


def element_count(shape: Sequence[int]) -> int:
    """The number of elements of ``shape``."""
    return math.prod(int(d) for d in shape)


def _fill(
    seed: int,
    seed2: int,
    counter: int,
    shape: Sequence[int],
    dtype: np.dtype[Any],
    per_block: int,
    convert: Callable[[U32], Array],
) -> Array:
    """``shape`` numbers, ``per_block`` of them made by ``convert`` from each successive block."""
    n = element_count(shape)
    total = -(-n // per_block)
    out = np.empty(total * per_block, dtype)
    for begin in range(0, total, _CHUNK):
        end = min(begin + _CHUNK, total)
        words = blocks(seed, seed2, counter, np.arange(begin, end, dtype=np.uint64))
        out[begin * per_block : end * per_block] = convert(words).reshape(-1)
    return out[:n].reshape(tuple(shape))


def _float_type(op: str, dtype: DTypeLike) -> np.dtype[Any]:
    kind = np.dtype(dtype)
    if kind not in (np.float16, np.float32, np.float64):
        raise TypeError(f"{op} makes float16, float32 or float64, not {kind}")
    return kind


def random_uniform(
    seed: int, seed2: int, counter: int, shape: Sequence[int], dtype: DTypeLike = np.float32
) -> Draw:
    """Uniform numbers in [0, 1)."""
    kind = _float_type("RandomUniform", dtype)
    if kind == np.float64:
        make = _fill(seed, seed2, counter, shape, kind, 2, _unit_pairs)
    else:
        unit = unit_float32 if kind == np.float32 else unit_float16
        make = _fill(seed, seed2, counter, shape, kind, 4, unit)
    return make, advance(counter, reserve("RandomUniform", make.size))


def _unit_pairs(x: U32) -> F64:
    return unit_float64(x[..., 0::2], x[..., 1::2])


def random_uniform_int(
    seed: int,
    seed2: int,
    counter: int,
    shape: Sequence[int],
    lo: int,
    hi: int,
    dtype: DTypeLike = np.int32,
) -> Draw:
    """Integers in [lo, hi), by remainder (with TensorFlow's slight bias of large ranges)."""
    kind = np.dtype(dtype)
    if kind not in (np.int32, np.int64):
        raise TypeError(f"RandomUniformInt makes int32 or int64, not {kind}")
    info = np.iinfo(kind)
    if not info.min <= lo < hi <= info.max:
        raise ValueError(f"need {info.min} <= minval < maxval <= {info.max}, got {lo} and {hi}")
    span = hi - lo
    base = np.uint64(lo & _MASK64)

    def convert(x: U32) -> Array:
        if kind == np.int32:
            wide = (x % np.uint32(span)).astype(np.uint64)
        else:
            wide = join64(x[..., 0::2], x[..., 1::2]) % np.uint64(span)
        return (wide + base).view(np.int64).astype(kind)

    out = _fill(seed, seed2, counter, shape, kind, 4 if kind == np.int32 else 2, convert)
    return out, advance(counter, reserve("RandomUniformInt", out.size))


def random_standard_normal(
    seed: int, seed2: int, counter: int, shape: Sequence[int], dtype: DTypeLike = np.float32
) -> Draw:
    """Normal numbers of mean 0 and deviation 1, by Box and Muller."""
    kind = _float_type("RandomStandardNormal", dtype)
    if kind == np.float64:
        out = _fill(seed, seed2, counter, shape, kind, 2, box_muller64)
    else:  # half precision is single precision, rounded
        out = _fill(seed, seed2, counter, shape, kind, 4, box_muller32)
    return out, advance(counter, reserve("RandomStandardNormal", out.size))


def truncated_normal(
    seed: int, seed2: int, counter: int, shape: Sequence[int], dtype: DTypeLike = np.float32
) -> Draw:
    """Normal numbers, those of magnitude 2 or more drawn again.

    Each group of outputs (4, or 2 in double precision) has blocks of its own, 64 for each
    element, and takes the accepted normals of these in order.
    """
    kind = _float_type("TruncatedNormal", dtype)
    group = 2 if kind == np.float64 else 4
    normals: Callable[[U32], Array] = box_muller64 if group == 2 else box_muller32
    stride = np.uint64(group * SAMPLES_PER_OUTPUT // 4)
    n = element_count(shape)
    total = -(-n // group)
    out = np.empty((total, group), kind)
    for begin in range(0, total, _CHUNK):
        lanes = np.arange(begin, min(begin + _CHUNK, total))
        made = np.zeros(lanes.size, np.int64)
        step = 0
        while lanes.size:
            index = lanes.astype(np.uint64) * stride + np.uint64(step)
            values = normals(blocks(seed, seed2, counter, index))
            good = np.abs(values) < 2.0
            place = made[:, None] + np.cumsum(good, axis=1) - 1
            row, column = np.nonzero(good & (place < group))
            out[lanes[row], place[row, column]] = values[row, column]
            made += good.sum(axis=1)
            lanes, made = lanes[made < group], made[made < group]
            step += 1
    result = out.reshape(-1)[:n].reshape(tuple(shape))
    return result, advance(counter, reserve("TruncatedNormal", n))
