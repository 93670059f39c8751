"""Circular functions and their inverses as straight-line LLVM code.

sin, cos and tan reduce any finite argument with one path for all magnitudes (M. Payne and
R. Hanek, Radian reduction for trigonometric functions, 1983): the argument is multiplied by
1/(2 pi), of which only the digits that matter for its magnitude are taken, and whole turns are
dropped before they cost precision. For float arguments, reduced in double, the digits are two
doubles picked from five pairs by selects. For double arguments they are four doubles from a
table of thirty-one rows of a kilobyte together, read by gathers.

The polynomials for sine and cosine, and the way the low part of the reduced argument enters,
follow fdlibm (Sun Microsystems).
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]  # llvmlite ships no stubs

from staticgraph.codegen import vector_math_tables as tables
from staticgraph.codegen.vector_math_lanes import (
    DOUBLE,
    Mask,
    Real,
    Whole,
    two_product,
    two_sum,
)

# floor(2**1344 / (2 pi)).
_INVERSE_TURN = int(
    "28be60db9391054a7f09d5f47d4d377036d8a5664f10e4107f9458eaf7aef1586dc91b8e909374b8"
    "01924bba827464873f877ac72c4a69cfba208d7d4baed1213a671c09ad17df904e64758e60d4ce7d"
    "272117e2ef7e4a0ec7fe25fff7816603fbcbc462d6829b47db4d9fb3c9f2c26dd3d18fd9a797fa8b"
    "5d49eeb1faf97c5ecf41ce7de294a4ba9afed7ec47e357421580cc11bf1edaeafc33ef0826bd0d87"
    "6a78e45857b986c2",
    16,
)
_INVERSE_TURN_BITS = 1344

_TURN = 6.283185307179586
_TURN_REST = 2.4492935982947064e-16
_HALF_PI = 1.5707963267948966
_HALF_PI_REST = 6.123233995736766e-17

# Steps of the exponent from one row of digits to the next, and where the second row begins.
_SINGLE_STEP, _SINGLE_ROWS = 24, 5
_DOUBLE_STEP, _DOUBLE_ROWS, _DOUBLE_WORDS = 32, 31, 4


def _digits(shift: int, count: int) -> list[float]:
    """The fraction of 2**shift / (2 pi) as a sum of ``count`` doubles."""
    left = Fraction(_INVERSE_TURN << shift, 1 << _INVERSE_TURN_BITS) % 1
    words = []
    for _ in range(count):
        word = float(left)
        words.append(word)
        left -= Fraction(word)
    return words


def _table(builder: Any) -> Any:
    """The rows of digits for double arguments, as a constant of the module."""
    name = "staticgraph_inverse_turn"
    module = builder.module
    if name in module.globals:
        return module.globals[name]
    words = [
        word for row in range(_DOUBLE_ROWS) for word in _digits(row * _DOUBLE_STEP, _DOUBLE_WORDS)
    ]
    kind = ir.ArrayType(ir.DoubleType(), len(words))
    table = ir.GlobalVariable(module, kind, name)
    table.initializer = ir.Constant(kind, words)
    table.global_constant = True
    table.linkage = "internal"
    return table


def _reduce_short(magnitude: Real) -> tuple[Whole, Real]:
    """Quadrant and rest of a float argument held in a double."""
    high, low = (magnitude.constant(word) for word in _digits(0, 2))
    for row in range(1, _SINGLE_ROWS):
        shift = row * _SINGLE_STEP
        beyond = magnitude < 2.0 ** (shift + _SINGLE_STEP - 1)
        # From this magnitude on, the argument is a multiple of 2**shift: the dropped digits
        # make whole turns.
        word, next_word = (math.ldexp(digit, -shift) for digit in _digits(shift, 2))
        high = high.where(beyond, word)
        low = low.where(beyond, next_word)
    product, rest = two_product(magnitude, high)
    rest = magnitude.fma(low, rest)
    fraction = product - product.rint()
    quarters, quadrant = fraction.nearest(4.0)
    return quadrant, (fraction - quarters * 0.25 + rest) * _TURN


def _reduce_double(magnitude: Real) -> tuple[Whole, Real, Real]:
    """Quadrant, rest and what is lost of the rest, of a double argument."""
    builder = magnitude.builder
    bits = magnitude.bits()
    # Row k serves exponents from 52 + 32k on, where the argument is a multiple of 2**(32k).
    row = bits.logical_right(52) - (1023 + 52)
    row = row.select(row.compare(">", 0), 0).logical_right(5)
    argument = (bits - (row << (52 + 5))).as_real()
    words = []
    table = _table(builder)
    for word in range(_DOUBLE_WORDS):
        index = row * _DOUBLE_WORDS + word
        address = builder.gep(table, [ir.Constant(ir.IntType(64), 0), index.value], inbounds=True)
        words.append(Real(builder, builder.load(address), DOUBLE))
    high, high_rest = two_product(argument, words[0])
    middle, middle_rest = two_product(argument, words[1])
    low, low_rest = two_product(argument, words[2])
    # Three parts may hold whole turns; each is dropped exactly.
    turn, lost = two_sum(high - high.rint(), high_rest - high_rest.rint())
    turn, lost_again = two_sum(turn, middle - middle.rint())
    quarters, quadrant = turn.nearest(4.0)
    turn = turn - quarters * 0.25
    lost, lost_third = two_sum(lost, lost_again)
    small, small_rest = two_sum(middle_rest, low)
    turn, lost = two_sum(turn, lost)
    turn, rest = two_sum(turn, small)
    rest = rest + lost + (argument.fma(words[3], low_rest) + small_rest + lost_third)
    turn, rest = two_sum(turn, rest)
    radians, radians_rest = two_product(turn, _TURN)
    radians_rest = rest.fma(_TURN, turn.fma(_TURN_REST, radians_rest))
    # The scaling of the argument made infinities and NaN finite; both end as NaN.
    radians = radians + (magnitude - magnitude)
    # Already reduced arguments stay as they are: exact, and right for subnormals.
    inside = magnitude < 0.75
    return (
        quadrant,
        magnitude.where(inside, radians),
        radians_rest.unless(inside, 0.0),
    )


def sine_cosine_half_turns(magnitude: Real) -> tuple[Real, Real]:
    """sin(pi x) and cos(pi x) of a magnitude; exact zeros at whole numbers."""
    whole = magnitude.rint()
    offset = magnitude - whole
    # Fold the offset of at most one half into a quarter: sin(pi t) = cos(pi (1/2 - t)).
    size = offset.abs()
    folded = size > 0.25
    r = (0.5 - size).where(folded, size) * math.pi
    z = r * r
    sine = (z * r).fma(z.polynomial(tables.SIN), r)
    cosine = (z * z).fma(z.polynomial(tables.COS), z.fma(-0.5, 1.0))
    odd = (whole * 0.5).differs((whole * 0.5).rint())
    first = cosine.where(folded, sine).copysign(offset)
    second = sine.where(folded, cosine)
    return (-first).where(odd, first), (-second).where(odd, second)


def _sine_cosine(magnitude: Real) -> tuple[Whole, Real, Real]:
    """Quadrant of |x|, and sine and cosine of what is left within it."""
    if magnitude.profile == DOUBLE:
        quadrant, r, rest = _reduce_double(magnitude)
        z = r * r
        half = z * 0.5
        sine = r + (z * r).fma(z.polynomial(tables.SIN), rest * (1.0 - half))
        head = 1.0 - half
        tail = ((1.0 - head) - half) + (z * z).fma(z.polynomial(tables.COS), -(r * rest))
        return quadrant, sine, head + tail
    quadrant, r = _reduce_short(magnitude)
    z = r * r
    sine = (z * r).fma(z.polynomial(tables.SIN), r)
    cosine = (z * z).fma(z.polynomial(tables.COS), z.fma(-0.5, 1.0))
    return quadrant, sine, cosine


def _odd(quadrant: Whole) -> Mask:
    return (quadrant & 1).compare("!=", 0)


def _flip(value: Real, quadrant: Whole) -> Real:
    """Negate in the third and fourth quadrant."""
    return (value.bits() ^ ((quadrant & 2) << 62)).as_real()


def sin(x: Real) -> Real:
    """sin(x)."""
    quadrant, sine, cosine = _sine_cosine(x.abs())
    value = _flip(cosine.where(_odd(quadrant), sine), quadrant)
    return (-value).where(x.bits().compare("<", 0), value)


def cos(x: Real) -> Real:
    """cos(x)."""
    quadrant, sine, cosine = _sine_cosine(x.abs())
    return _flip(sine.where(_odd(quadrant), cosine), quadrant + 1)


def tan(x: Real) -> Real:
    """tan(x)."""
    quadrant, sine, cosine = _sine_cosine(x.abs())
    odd = _odd(quadrant)
    value = (-cosine).where(odd, sine) / sine.where(odd, cosine)
    return (-value).where(x.bits().compare("<", 0), value)


def asin(x: Real) -> Real:
    """asin(x); beyond one half, pi/2 - 2 asin(sqrt((1-|x|)/2))."""
    magnitude = x.abs()
    inner = magnitude < 0.5
    z = (x * x).where(inner, magnitude.fma(-0.5, 0.5))
    s = magnitude.where(inner, z.sqrt())
    value = (s * z).fma(z.polynomial(tables.ASIN), s)
    value = value.where(inner, _HALF_PI - (value * 2.0 - _HALF_PI_REST))
    return value.copysign(x)


def acos(x: Real) -> Real:
    """acos(x), by the same reduction."""
    magnitude = x.abs()
    inner = magnitude < 0.5
    z = (x * x).where(inner, magnitude.fma(-0.5, 0.5))
    s = x.where(inner, z.sqrt())
    value = (s * z).fma(z.polynomial(tables.ASIN), s)
    middle = _HALF_PI - (value - _HALF_PI_REST)
    doubled = value * 2.0
    outer = doubled.where(x > 0.0, 2.0 * _HALF_PI - (doubled - 2.0 * _HALF_PI_REST))
    return middle.where(inner, outer)


def _angle(opposite: Real, adjacent: Real) -> Real:
    """atan(opposite / adjacent) of two magnitudes, not both zero and not both infinite.

    The quotient is brought into [-tan(pi/8), tan(pi/8)] by turning by pi/4 or pi/2.
    """
    steep = opposite > adjacent * 2.414213562373095
    flat = opposite < adjacent * 0.41421356237309503
    numerator = opposite.where(flat, opposite - adjacent).unless(steep, -adjacent)
    denominator = adjacent.where(flat, opposite + adjacent).unless(steep, opposite)
    zero = opposite.constant(0.0)
    base = zero.where(flat, _HALF_PI / 2).unless(steep, _HALF_PI)
    base_rest = zero.where(flat, _HALF_PI_REST / 2).unless(steep, _HALF_PI_REST)
    s = numerator / denominator
    z = s * s
    return base + (s + (z * s).fma(z.polynomial(tables.ATAN), base_rest))


def atan(x: Real) -> Real:
    """atan(x)."""
    return _angle(x.abs(), x.constant(1.0)).copysign(x)


def atan2(y: Real, x: Real) -> Real:
    """The angle of the point (x, y), with the special cases of C99."""
    opposite, adjacent = y.abs(), x.abs()
    # Two zeros are as (0, 1), two infinities as (1, 1); huge values are scaled so that their
    # sum is finite, tiny ones so that their products are not subnormal.
    zeros = opposite.equals(0.0) & adjacent.equals(0.0)
    infinite = opposite.equals(math.inf) & adjacent.equals(math.inf)
    if x.profile == DOUBLE:
        huge = (opposite > 2.0**1000) | (adjacent > 2.0**1000)
        tiny = (opposite < 2.0**-900) & (adjacent < 2.0**-900)
        factor = x.constant(2.0**-30).where(huge, x.constant(2.0**100).where(tiny, 1.0))
        opposite, adjacent = opposite * factor, adjacent * factor
    opposite = opposite.unless(infinite, 1.0)
    adjacent = adjacent.unless(zeros | infinite, 1.0)
    angle = _angle(opposite, adjacent)
    behind = x.bits().compare("<", 0)
    angle = (2.0 * _HALF_PI - (angle - 2.0 * _HALF_PI_REST)).where(behind, angle)
    angle = (x + y).where(x.is_nan() | y.is_nan(), angle)
    return angle.copysign(y)
