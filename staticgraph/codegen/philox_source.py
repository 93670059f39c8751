"""Source text of the compiled kernels that fill a buffer with random numbers.

Each kernel is the text of one function ``def kernel(args, lo, hi)`` for Numba, kept to what
`codegen.llvm_source` understands. ``args`` points to int64 words (``ARGS`` names them); ``[lo,
hi)`` is a range of groups of 4 outputs, of which there are ``groups(n)``. A group depends only on
its index, so the buffer can be filled in any order and in any number of pieces. Beside ``np`` a
kernel needs one name, given by ``POINTER``: the intrinsic that turns the address of the output
into a typed pointer.

The arithmetic repeats that of `staticgraph.ir.philox` operation by operation, so the numbers are
the same to the bit where the compiler neither contracts nor reorders floating point operations
(Numba's default on the CPU; on a GPU with ``fma=False``). With contraction, normals differ by
rounding.

Numba widens the product of two uint32 to uint64 and takes int64 with uint64 to float64, hence the
casts. There are no inner functions: inlining one makes Numba remove "dead" statements, and it
counts a store through a pointer that is not read afterwards as dead.
"""

from __future__ import annotations

import textwrap

from staticgraph.ir.philox import (
    COS_TERMS,
    HALF_PI_PARTS,
    LN2_HIGH,
    LN2_LOW,
    LOG_TERMS,
    SAMPLES_PER_OUTPUT,
    SIN_TERMS,
    SQRT_HALF_WORD,
)

GROUP = 4
"""Outputs in a group, the unit of ``[lo, hi)``."""

ARGS = ("out", "n", "seed", "seed2", "counter_low", "counter_high", "minval", "range")
"""The words of ``args``; the last two are read by the integer kernels only.

``range`` is ``maxval - minval`` modulo 2**64, as a signed word.
"""


def groups(n: int) -> int:
    """The number of groups of ``n`` outputs: the extent of the parallel axis."""
    return (n + GROUP - 1) // GROUP


_SETUP = """
out = {pointer}(args[0])
n = args[1]
seed_low = np.uint32(args[2])
seed_high = np.uint32(args[2] >> 32)
low0 = np.uint64(args[4])
high0 = np.uint64(args[3]) + np.uint64(args[5])
"""

# The words x0 to x3 of block `b`, counted from the start of this run.
_BLOCK = """
low = low0 + np.uint64(b)
high = high0 + np.uint64(low < low0)
x0 = np.uint32(low)
x1 = np.uint32(low >> np.uint64(32))
x2 = np.uint32(high)
x3 = np.uint32(high >> np.uint64(32))
key0 = seed_low
key1 = seed_high
for _ in range(10):
    p = np.uint64(0xD2511F53) * np.uint64(x0)
    q = np.uint64(0xCD9E8D57) * np.uint64(x2)
    x0 = np.uint32(np.uint32(q >> np.uint64(32)) ^ x1 ^ key0)
    x1 = np.uint32(q)
    x2 = np.uint32(np.uint32(p >> np.uint64(32)) ^ x3 ^ key1)
    x3 = np.uint32(p)
    key0 = np.uint32(key0 + np.uint32(0x9E3779B9))
    key1 = np.uint32(key1 + np.uint32(0xBB67AE85))
"""

# [0, 1) from 23 bits of the word {x}.
_UNIT32 = "np.float32(np.int32({x} & np.uint32(0x7FFFFF))) * np.float32(2.0**-23)"

# {y} in [0, 1): 52 bits of the words {x0} and {x1} as the mantissa of a number in [1, 2), less 1.
_UNIT64 = """
bits = np.uint64({x0} & np.uint32(0xFFFFF)) | np.uint64(0x3FF00000)
{y} = np.uint64((bits << np.uint64(32)) | np.uint64({x1})).view(np.float64) - 1.0
"""

_a1, _a2, _a3, _a4, _a5, _a6, _a7 = LOG_TERMS
_s1, _s2, _s3, _s4, _s5, _s6 = SIN_TERMS
_c1, _c2, _c3, _c4, _c5, _c6 = COS_TERMS
_p1, _p2, _p3 = HALF_PI_PARTS

# The division is np.divide because the operator would test for zero, which keeps the loop scalar.
_LOG = f"""
# logarithm = log(u): u = 2**k * (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2)
word = np.float64(u).view(np.int64) + np.int64({(0x3FF00000 - SQRT_HALF_WORD) << 32})
k = np.float64(np.int32((word >> 52) - 1023))
word = (word & np.int64({0x000FFFFFFFFFFFFF})) + np.int64({SQRT_HALF_WORD << 32})
f = np.int64(word).view(np.float64) - 1.0
s = np.divide(f, 2.0 + f)
z = s * s
w = z * z
even = w * ({_a2!r} + w * ({_a4!r} + w * {_a6!r}))
r = even + z * ({_a1!r} + w * ({_a3!r} + w * ({_a5!r} + w * {_a7!r})))
half = 0.5 * f * f
logarithm = s * (half + r) + k * {LN2_LOW!r} - half + f + k * {LN2_HIGH!r}
"""

_SIN_COS = f"""
# sine and cosine of angle; y is what is left of it beside a multiple of pi / 2
quadrant = np.int32(angle * (2.0 / np.pi) + 0.5)
turn = np.float64(quadrant)
y = ((angle - turn * {_p1!r}) - turn * {_p2!r}) - turn * {_p3!r}
z = y * y
w = z * z
r = {_s2!r} + z * ({_s3!r} + z * {_s4!r}) + z * w * ({_s5!r} + z * {_s6!r})
s = y + z * y * ({_s1!r} + z * r)
r = z * ({_c1!r} + z * ({_c2!r} + z * {_c3!r}))
r = r + w * w * ({_c4!r} + z * ({_c5!r} + z * {_c6!r}))
half = 0.5 * z
t = 1.0 - half
c = t + (((1.0 - t) - half) + z * r)
odd = (quadrant & 1) == 1
sine = (c if odd else s) * np.float64(np.int32(1 - (quadrant & 2)))
cosine = (s if odd else c) * np.float64(np.int32(1 - ((quadrant + 1) & 2)))
"""


def _pair32(x0: str, x1: str, first: str, second: str) -> str:
    """Box and Muller in single precision; the angle is rounded to it, as in TensorFlow."""
    return (
        f"\nu = np.float64(max({_UNIT32.format(x=x0)}, np.float32(1.0e-7)))"
        + _LOG
        + f"\nturns = {_UNIT32.format(x=x1)}\n"
        + "angle = np.float64(np.float32((2.0 * np.pi) * np.float64(turns)))"
        + _SIN_COS
        + "radius = np.sqrt(np.float32(-2.0) * np.float32(logarithm))\n"
        + f"{first} = np.float32(sine) * radius\n{second} = np.float32(cosine) * radius\n"
    )


_PAIRS32 = _pair32("x0", "x1", "y0", "y1") + _pair32("x2", "x3", "y2", "y3")

_PAIR64 = (
    _UNIT64.format(x0="x0", x1="x1", y="u")
    + "u = max(u, 1.0e-7)"
    + _LOG
    + _UNIT64.format(x0="x2", x1="x3", y="turns")
    + "angle = (2.0 * np.pi) * turns"
    + _SIN_COS
    + "radius = np.sqrt(-2.0 * logarithm)\n"
    + "{first} = sine * radius\n{second} = cosine * radius\n"
)

# {y} = base + {x} % span in 32 bits, by a quotient that may be off by one where the compiler
# multiplies by a reciprocal. (The operator % would be a scalar division with a test for zero.)
_REMAINDER32 = """
q = np.int64(np.divide(np.float64({x}), np.float64(span)))
left = np.int64({x}) - q * np.int64(span)
left = left + np.int64(span) if left < 0 else left
left = left - np.int64(span) if left >= np.int64(span) else left
{y} = np.int32(np.uint32(base + np.uint32(left)))
"""

_REMAINDER64 = """
word = np.uint64({x0}) | (np.uint64({x1}) << np.uint64(32))
{y} = np.int64(base + word % span)
"""

_NAMES = ("y0", "y1", "y2", "y3")


def _one_block(convert: str) -> str:
    """A group from the block of the same index."""
    return "b = g\n" + _BLOCK + convert


def _two_blocks(convert: str) -> str:
    """A group from two blocks; ``convert`` makes ``first`` and ``second`` of each."""
    return "".join(
        f"b = 2 * g + {i}\n"
        + _BLOCK
        + convert.format(first=_NAMES[2 * i], second=_NAMES[2 * i + 1])
        for i in range(2)
    )


def _kernel(pointer: str, group: str, setup: str = "") -> str:
    """A kernel whose ``group`` makes outputs ``y0`` to ``y3`` of group ``g``."""
    whole = "".join(f"out[4 * g + {i}] = {name}\n" for i, name in enumerate(_NAMES))
    part = "out[4 * g] = y0\n" + "".join(
        f"if rest > {i}:\n    out[4 * g + {i}] = {_NAMES[i]}\n" for i in (1, 2)
    )
    return _function(
        _SETUP.format(pointer=pointer)
        + setup
        + "\n# the groups that are whole\nfor g in range(lo, min(hi, n // 4)):\n"
        + textwrap.indent(group + whole, "    ")
        + "\n# the last group, where it is cut short\ng = n // 4\nrest = n - 4 * g\n"
        + "if rest > 0 and lo <= g and g < hi:\n"
        + textwrap.indent(group + part, "    ")
    )


def _truncated(pointer: str) -> str:
    """Each group reads blocks of its own until 4 normals are inside (-2, 2)."""
    keep = "".join(
        f"if abs({name}) < np.float32(2.0) and at < end:\n    out[at] = {name}\n    at += 1\n"
        for name in _NAMES
    )
    loop = (
        f"at = 4 * g\nend = min(at + 4, n)\nb = g * {SAMPLES_PER_OUTPUT}\nwhile at < end:\n"
        + textwrap.indent(_BLOCK + _PAIRS32 + keep + "b += 1\n", "    ")
    )
    return _function(
        _SETUP.format(pointer=pointer)
        + "\nfor g in range(lo, hi):\n"
        + textwrap.indent(loop, "    ")
    )


def _function(body: str) -> str:
    return (
        "def kernel(args, lo, hi):"
        + textwrap.indent(body, "    ").rstrip("\n")
        + "\n    return 0\n"
    )


def _each(convert: str) -> str:
    """``convert`` from each word to the output of the same place."""
    return "".join(convert.format(x=f"x{i}", y=name) for i, name in enumerate(_NAMES))


UNIFORM_F32 = _kernel("ptr_f32", _one_block(_each("{y} = " + _UNIT32 + "\n")))

UNIFORM_F64 = _kernel(
    "ptr_f64",
    _two_blocks(
        _UNIT64.format(x0="x0", x1="x1", y="{first}")
        + _UNIT64.format(x0="x2", x1="x3", y="{second}")
    ),
)

NORMAL_F32 = _kernel("ptr_f32", _one_block(_PAIRS32))

NORMAL_F64 = _kernel("ptr_f64", _two_blocks(_PAIR64))

TRUNCATED_NORMAL_F32 = _truncated("ptr_f32")

UNIFORM_I32 = _kernel(
    "ptr_i32",
    _one_block(_each(_REMAINDER32)),
    "base = np.uint32(args[6])\nspan = np.uint32(args[7])\n",
)

UNIFORM_I64 = _kernel(
    "ptr_i64",
    _two_blocks(
        _REMAINDER64.format(x0="x0", x1="x1", y="{first}")
        + _REMAINDER64.format(x0="x2", x1="x3", y="{second}")
    ),
    "base = np.uint64(args[6])\nspan = np.uint64(args[7])\n",
)

SOURCES: dict[tuple[str, str], str] = {
    ("RandomUniform", "float32"): UNIFORM_F32,
    ("RandomUniform", "float64"): UNIFORM_F64,
    ("RandomStandardNormal", "float32"): NORMAL_F32,
    ("RandomStandardNormal", "float64"): NORMAL_F64,
    ("TruncatedNormal", "float32"): TRUNCATED_NORMAL_F32,
    ("RandomUniformInt", "int32"): UNIFORM_I32,
    ("RandomUniformInt", "int64"): UNIFORM_I64,
}
"""The kernels, by type of operation and type of output."""

POINTER: dict[str, str] = {
    "float32": "ptr_f32",
    "float64": "ptr_f64",
    "int32": "ptr_i32",
    "int64": "ptr_i64",
}
"""The intrinsic that a kernel uses, by type of output."""
