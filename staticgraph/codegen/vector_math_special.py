"""Error functions, gamma functions and the cube root as straight-line LLVM code.

The error functions share one formula from moderate arguments on, after N. Juffa: (1 + 2a)
exp(a**2) erfc(a) is a smooth function of (a-4)/(a+4). The inverse error function is, after
M. Giles (Approximating the erfinv function, 2010), x times a polynomial in w = -log(1-x**2) or
its root. The gamma functions step their argument into [1.25, 2.5] or [1, 2], or take Stirling's
series, and reflect negative arguments.
"""

from __future__ import annotations

import math

from staticgraph.codegen import vector_math_tables as tables
from staticgraph.codegen.vector_math_explog import (
    exp_parts,
    exp_scaled,
    log_positive,
    log_signed,
)
from staticgraph.codegen.vector_math_lanes import Real, scale, two_product
from staticgraph.codegen.vector_math_trig import sine_cosine_half_turns

_LOG_PI = 1.1447298858494002
# The positive zero of digamma, in two parts.
_ROOT = 1.4616321449683622
_ROOT_REST = 9.549995429965697e-17
_HALF_LOG_TURN = 0.9189385332046728


def _erfc_positive(a: Real) -> Real:
    """erfc(a) for a >= 0."""
    a = a.at_most(28.0)
    t = (a - 4.0) / (a + 4.0)
    smooth = t.polynomial(tables.ERFCX) / a.fma(2.0, 1.0)
    square, rest = two_product(a, a)
    value, n = exp_parts(-square)
    value = (-rest).fma(value, value)
    return scale(value * smooth, n)


def erfc(x: Real) -> Real:
    """1 - erf(x)."""
    value = _erfc_positive(x.abs())
    value = (2.0 - value).where(x < 0.0, value)
    near = 1.0 - x.fma((x * x).polynomial(tables.ERF), x)
    return near.where((x < 0.5) & (x > -0.89), value)


def erf(x: Real) -> Real:
    """erf(x): an odd polynomial near zero, 1 - erfc(x) beyond.

    In float, erfc is the exponential of a polynomial there, good to the digits that count."""
    a = x.abs()
    near = x.fma((x * x).polynomial(tables.ERF), x)
    if x.single:
        far = 1.0 - exp_scaled(a.at_most(4.0).polynomial(tables.ERFTAIL))
        return near.where(a < 1.0, far.copysign(x))
    far = (1.0 - _erfc_positive(a)).copysign(x)
    return near.where(a < 0.89, far)


def erfinv(x: Real) -> Real:
    """The inverse of erf on [-1, 1]."""
    w = -log_positive((-x).fma(x, 1.0))
    root = w.sqrt()
    middle = w > 6.0
    outer = w > 16.0
    t = (w - 3.0).unless(middle, root - 3.25).unless(outer, root - 5.0)
    rows: list[tuple[float, ...]] = [
        getattr(table, x.profile) for table in (tables.ERFINV0, tables.ERFINV1, tables.ERFINV2)
    ]
    length = max(len(row) for row in rows)
    first, second, third = (row + (0.0,) * (length - len(row)) for row in rows)
    total = x.constant(0.0)
    for c0, c1, c2 in zip(reversed(first), reversed(second), reversed(third), strict=True):
        coefficient = x.constant(c0).unless(middle, c1).unless(outer, c2)
        total = total.fma(t, coefficient)
    value = x * total
    a = x.abs()
    value = value.unless(a.equals(1.0), x * math.inf)
    return value.unless(a > 1.0, math.nan)


def lgamma(x: Real) -> Real:
    """log |gamma(x)|; infinite at the poles.

    Near the zeros on the negative axis only the absolute error is small.
    """
    a = x.abs()
    # Up to 8.5: step into [1.25, 2.5] and take the logarithm of the product of the steps.
    large = a > 8.5
    one = x.constant(1.0)
    z = a
    steps = one
    for _ in range(6):
        down = z > 2.5
        lower = z - 1.0
        steps = (steps * lower).where(down, steps)
        z = lower.where(down, z)
    # From 5/4 on the polynomial serves directly: lgamma(a+1) - log(a) would cancel at the minimum.
    below = a < 1.25
    twice = a < 0.5
    z = (a + 1.0).where(below, z).unless(twice, a + 2.0)
    steps = a.where(below, steps).unless(twice, a * (a + 1.0))
    logarithm = log_positive(a.where(large, steps))
    # a - 2 and a - 1 are exact near the zeros; a + 1 - 2 would not be.
    d = (z - 2.0).unless(below, a - 1.0).unless(twice, a)
    core = d * d.polynomial(tables.LGAM)
    signed = (-logarithm).where(below, logarithm)
    near = core + signed
    # Stirling's series, arranged so that neither infinity nor cancellation enters.
    inverse = 1.0 / a
    series = inverse * (inverse * inverse).polynomial(tables.STIRLING)
    far = (a - 0.5).fma(logarithm - 1.0, series + (_HALF_LOG_TURN - 0.5))
    value = far.where(large & (a < math.inf), near).unless(a.equals(math.inf), math.inf)
    # Reflection: gamma(x) gamma(-x) = -pi / (x sin(pi x)).
    sine, _ = sine_cosine_half_turns(a)
    reflected = _LOG_PI - log_signed(a * sine.abs()) - value
    tiny = a < 2.0**-60
    negative = (x < 0.0) & ~tiny
    value = reflected.where(negative, value)
    pole = (x <= 0.0) & a.equals(a.floor())
    value = value.unless(pole, math.inf)
    return value.unless(x.is_nan(), math.nan)


def digamma(x: Real) -> Real:
    """The logarithmic derivative of gamma; NaN at the negative poles, -inf at zero.

    At minus zero it is +inf. Near the zeros on the negative axis only the absolute error is
    small.
    """
    negative = x < 0.0
    # digamma(x) = digamma(-x) - 1/x - pi / tan(pi x).
    a = x.abs()
    large = a > 10.0
    # The steps into [1, 2] add a sum of reciprocals, kept as one fraction.
    z = a
    top = x.constant(0.0)
    bottom = x.constant(1.0)
    for _ in range(8):
        down = z > 2.0
        lower = z - 1.0
        top = top.fma(lower, bottom).where(down, top)
        bottom = (bottom * lower).where(down, bottom)
        z = lower.where(down, z)
    below = a < 1.0
    top = x.constant(-1.0).where(below, top)
    bottom = a.where(below, bottom)
    z = (a + 1.0).where(below, z)
    # For arguments below one the root is shifted instead of the argument, which is then exact.
    d = (z - _ROOT - _ROOT_REST).unless(below, (a - (_ROOT - 1.0)) - _ROOT_REST)
    core = d * d.polynomial(tables.DIGAM)
    near = core + top / bottom
    inverse = 1.0 / a
    square = inverse * inverse
    far = log_positive(a.where(large, 1.0)) - inverse.fma(
        0.5, square * square.polynomial(tables.DIGAS)
    )
    value = far.where(large, near).unless(a.equals(math.inf), math.inf)
    sine, cosine = sine_cosine_half_turns(a)
    reflected = value + inverse + math.pi * cosine / sine
    value = reflected.where(negative, value)
    pole = negative & a.equals(a.floor())
    value = value.unless(pole, math.nan)
    # Where the other terms vanish beside it (and an infinity would meet its opposite).
    value = (-inverse.copysign(x)).where(a < 2.0**-60, value)
    return value.unless(x.is_nan(), math.nan)


def cbrt(x: Real) -> Real:
    """The cube root: FreeBSD's estimate (five bits from the exponent, then a polynomial, then
    a Newton step)."""
    a = x.abs()
    small = a < 2.0**-1022
    scaled = (a * 2.0**54).where(small, a)
    high = scaled.bits().logical_right(32)
    # A third of the high word by a multiplication, exact enough for an estimate.
    third = (high * 0x55555556).logical_right(32)
    t = ((third + 715094163) << 32).as_real()
    t = (t * 2.0**-18).where(small, t)
    r = (t * t) * (t / a)
    correction = (r * r * r).fma(
        r.fma(0.145996192886612446982, -0.758397934778766047437),
        r.polynomial((1.87595182427177009643, -1.88497979543377169875, 1.621429720105354466140)),
    )
    t = t * correction
    # To 23 bits, so that the square is exact.
    t = ((t.bits() + 0x80000000) & -0x40000000).as_real()
    quotient = a / (t * t)
    t = t.fma((quotient - t) / (t * 2.0 + quotient), t)
    t = t.where((a > 0.0) & (a < math.inf), a)
    return t.copysign(x)
