"""Exponentials, logarithms and hyperbolic functions as straight-line LLVM code.

The argument reductions are the classical ones (W. J. Cody and W. Waite, Software Manual for the
Elementary Functions, 1980; fdlibm by Sun Microsystems for log1p and log2): exp splits
x = n log 2 + r with log 2 in two parts, log splits x = 2**k (1 + f) with 1 + f in
[sqrt(1/2), sqrt(2)].
"""

from __future__ import annotations

import math

from staticgraph.codegen import vector_math_tables as tables
from staticgraph.codegen.vector_math_lanes import (
    Real,
    Whole,
    exponent_bias,
    mantissa_bits,
    power_of_two,
    quick_two_sum,
    real_bits,
    scale,
    two_product,
    two_sum,
)

LOG2_E = 1.4426950408889634
LOG_2 = 0.6931471805599453

# log 2 in two parts, the first with trailing zeros so that n * part is exact (Cody and Waite,
# Cephes for the float pair).
_LOG_2_HIGH = (0.693359375, 0.693147180369123816490)
_LOG_2_LOW = (-2.12194440054690583e-4, 1.90821492927058770002e-10)

# What is left of log2(e) and log10(e) beyond a double, and log10(2) in two parts.
_LOG2_E_REST = 2.0355273740931033e-17
_LOG10_E = 0.4342944819032518
_LOG10_E_REST = 1.098319650216765e-17
_LOG10_2_HIGH = 0.30102999566406652
_LOG10_2_LOW = -8.5323443170571066e-14

# log 2 as an unevaluated sum of two doubles.
_LOG_2_REST = 2.3190468138462996e-17


def _exp_reduce(x: Real) -> tuple[Whole, Real, Real]:
    """Split x = n log 2 + r; return n as an integer, n as a float, and r."""
    n_real, n = x.nearest(LOG2_E)
    r = n_real.fma(-x.pick(*_LOG_2_HIGH), x)
    return n, n_real, n_real.fma(-x.pick(*_LOG_2_LOW), r)


def exp_scaled(x: Real, shift: int = 0) -> Real:
    """``exp(x) * 2**shift``, also where exp(x) alone would overflow by a factor 2**-shift."""
    x = x.at_most(x.pick(90.0, 711.0)).at_least(x.pick(-105.0, -747.0))
    n, _, r = _exp_reduce(x)
    return scale(_exp_near(r), n + shift if shift else n)


def _exp_near(r: Real) -> Real:
    """exp(r) for |r| up to log(2) / 2."""
    if r.single:  # the fewest instructions; in double the last product would cost accuracy
        return r.fma(r.fma(r.polynomial(tables.EXP), 1.0), 1.0)
    return (r * r).fma(r.polynomial(tables.EXP), r) + 1.0


def exp_parts(x: Real) -> tuple[Real, Whole]:
    """exp(x) as a number near one and a power of two, for x <= 0."""
    n, _, r = _exp_reduce(x.at_least(x.pick(-105.0, -800.0)))
    return _exp_near(r), n


def exp(x: Real) -> Real:
    """exp(x)."""
    return exp_scaled(x)


def _exp_of_pair(high: Real, low: Real) -> Real:
    """exp(high + low) for |low| far below one ulp-neighbourhood of |high| <= 750."""
    high = high.at_most(710.0).at_least(-747.0)
    n, _, r = _exp_reduce(high)
    r = r + low
    return scale((r * r).fma(r.polynomial(tables.EXP), r) + 1.0, n)


def exp2(x: Real) -> Real:
    """2**x; exact for whole x."""
    x = x.at_most(x.pick(130.0, 1026.0)).at_least(x.pick(-152.0, -1078.0))
    n_real, n = x.nearest(1.0)
    r = x - n_real
    return scale(r.fma(r.polynomial(tables.EXP2), 1.0), n)


def _expm1_core(x: Real) -> Real:
    """Half of exp(x) - 1, for x whose 2**n is in range; the caller doubles it."""
    n, _, r = _exp_reduce(x)
    part = (r * r).fma(r.polynomial(tables.EXPM1), r)
    # Half the scale keeps 2**n finite up to the overflow threshold of the result.
    half = power_of_two(n - 1)
    return half.fma(part, half - 0.5)


def expm1(x: Real) -> Real:
    """exp(x) - 1."""
    clipped = x.at_most(x.pick(89.0, 710.0)).at_least(-44.0)
    value = _expm1_core(clipped) * 2.0
    return x.where(x.abs() < x.pick(2.0**-26, 2.0**-55), value)


def tanh(x: Real) -> Real:
    """tanh(x) = e / (e + 2) with e = exp(2|x|) - 1."""
    magnitude = x.abs()
    if x.single:
        # exp(2|x|) = 2**n exp(2r), with constants for r that save the doubling.
        clipped = magnitude.at_most(9.5)
        n_real, n = clipped.nearest(2.0 * LOG2_E)
        r = n_real.fma(-0.5 * _LOG_2_HIGH[0], clipped)
        r = n_real.fma(-0.5 * _LOG_2_LOW[0], r)
        whole = power_of_two(n)
        e = whole.fma((r * r).fma(r.polynomial(tables.TANH), r + r), whole - 1.0)
        return (e / (e + 2.0)).copysign(x)
    e = _expm1_core(magnitude.at_most(20.0) * 2.0)
    # The core gives e/2, so the quotient is (e/2) / (e/2 + 1).  Below the threshold the cube is
    # lost, and halving a subnormal would round.
    return magnitude.where(magnitude < 2.0**-28, e / (e + 1.0)).copysign(x)


def sigmoid(x: Real) -> Real:
    """1 / (1 + exp(-x)), without overflow on either side."""
    e = exp_scaled(-x.abs())
    negative = x < 0.0
    total = e + 1.0
    value = e.where(negative, 1.0) / total
    if not x.single:
        return value
    # Take back the rounding error of the sum; the reciprocal of the sum is the value for
    # positive x and its complement for negative x.
    rest = e - (total - 1.0)
    reciprocal = (1.0 - value).where(negative, value)
    return (-value).fma(reciprocal * rest, value)


def softplus(x: Real) -> Real:
    """log(1 + exp(x))."""
    e = exp_scaled(-x.abs())
    positive = x.unless(x < 0.0, 0.0)
    return positive + _log1p_core(e)


def _split(x: Real) -> tuple[Whole, Real]:
    """Split a positive normal x = 2**k m with m in [sqrt(1/2), sqrt(2)); return k and m."""
    width = mantissa_bits(x.profile)
    root = real_bits(math.sqrt(0.5), x.profile)
    offset = real_bits(1.0, x.profile) - root
    bits = x.bits()
    k = (bits + offset).logical_right(width) - exponent_bias(x.profile)
    return k, (bits - (k << width)).as_real()


def split_normal(x: Real) -> tuple[Real, Real]:
    """The same for any positive x, subnormals included; k as a float."""
    small = x < x.pick(2.0**-126, 2.0**-1022)
    k, m = _split((x * x.pick(2.0**25, 2.0**54)).where(small, x))
    k_real = k.to_real()
    return (k_real - x.pick(25.0, 54.0)).where(small, k_real), m


def _log_of_parts(k: Real, f: Real) -> Real:
    """k log 2 + log(1 + f), for 1 + f in [sqrt(1/2), sqrt(2)]."""
    if f.single:
        square = f * f
        y = f * square * f.polynomial(tables.LOG1P)
        y = k.fma(_LOG_2_LOW[0], y)
        y = square.fma(-0.5, y)
        return k.fma(_LOG_2_HIGH[0], f + y)
    half_square = f * f * 0.5
    s = f / (f + 2.0)
    z = s * s
    rest = s * (half_square + z * z.polynomial(tables.LOG))
    low = k.fma(_LOG_2_LOW[1], rest)
    return k.fma(_LOG_2_HIGH[1], f - (half_square - low))


def _log_edges(x: Real, value: Real) -> Real:
    """Put in the values of a logarithm at zero, infinity, NaN and negative numbers."""
    value = value.where(x < math.inf, x)
    value = value.unless(x.equals(0.0), -math.inf)
    return value.unless(x < 0.0, math.nan)


def log_positive(x: Real) -> Real:
    """log(x) for finite positive x, without the tests for other arguments."""
    k, m = split_normal(x)
    return _log_of_parts(k, m - 1.0)


def log(x: Real) -> Real:
    """log(x)."""
    return _log_edges(x, log_positive(x))


def log_signed(x: Real) -> Real:
    """log(x) for finite x >= 0; minus infinity at zero."""
    return log_positive(x).unless(x.equals(0.0), -math.inf)


def _log1p_core(x: Real) -> Real:
    """log(1 + x) for finite x > -1, wrong only in the sign of zero."""
    k, m = _split(x + 1.0)
    # 2**-k (1 + x) - 1 in one rounding keeps the bits of x that 1 + x lost. Where 1 + x is x
    # to all digits (and 2**-k may be subnormal) the mantissa will do.
    unscale = power_of_two(k * -1)
    f = x.fma(unscale, unscale - 1.0)
    return _log_of_parts(k.to_real(), (m - 1.0).where(x > 2.0**60, f))


def log1p(x: Real) -> Real:
    """log(1 + x)."""
    value = x.where((x.abs() < x.pick(2.0**-26, 2.0**-55)) | ~(x < math.inf), _log1p_core(x))
    value = value.unless(x.equals(-1.0), -math.inf)
    return value.unless(x < -1.0, math.nan)


def _log_scaled(x: Real, factor: float, factor_rest: float, unit: tuple[float, float]) -> Real:
    """log(x) * factor, where log(2) * factor is ``unit`` (two parts)."""
    k, m = split_normal(x)
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    half_square = f * f * 0.5
    rest = s * (half_square + z * z.polynomial(tables.LOG))
    # log(1+f) as high + low, then times the factor, each product with its error.
    high = f.fma(f * -0.5, f)
    low = f.fma(f * -0.5, f - high) + rest
    product, error = two_product(high, factor)
    error = error + high.fma(factor_rest, low * factor)
    error = k.fma(unit[1], error) if unit[1] else error
    total, lost = two_sum(k * unit[0], product)
    return _log_edges(x, total + (lost + error))


def log2(x: Real) -> Real:
    """log2(x); exact for powers of two."""
    return _log_scaled(x, LOG2_E, _LOG2_E_REST, (1.0, 0.0))


def log10(x: Real) -> Real:
    """log10(x)."""
    return _log_scaled(x, _LOG10_E, _LOG10_E_REST, (_LOG10_2_HIGH, _LOG10_2_LOW))


def sinh(x: Real) -> Real:
    """sinh(x): a polynomial up to one, exponentials above."""
    magnitude = x.abs()
    z = x * x
    near = (z * x).fma(z.polynomial(tables.SINH), x)
    half = exp_scaled(magnitude, -1)
    far = half - 0.25 / half
    return near.where(magnitude < 1.0, far.copysign(x))


def cosh(x: Real) -> Real:
    """cosh(x)."""
    half = exp_scaled(x.abs(), -1)
    return half + 0.25 / half


def _log1p_or_log(magnitude: Real, argument: Real) -> Real:
    """log1p(argument), or log(2 magnitude) where the magnitude's square would lose everything."""
    big = magnitude > 2.0**60
    value = _log1p_core(magnitude.where(big, argument))
    return value + value.constant(LOG_2).where(big, 0.0)


def asinh(x: Real) -> Real:
    """asinh(x) = log1p(a + a**2 / (1 + sqrt(1 + a**2))), a = |x|."""
    a = x.abs()
    square = a * a
    value = _log1p_or_log(a, a + square / ((square + 1.0).sqrt() + 1.0))
    value = a.where((a < 2.0**-28) | ~(a < math.inf), value)
    return value.copysign(x)


def acosh(x: Real) -> Real:
    """acosh(x) = log1p(t + sqrt(2t + t**2)), t = x - 1."""
    t = x - 1.0
    value = _log1p_or_log(x, t + t.fma(t, t * 2.0).sqrt())
    value = value.where(x < math.inf, x)
    return value.unless(x < 1.0, math.nan)


def atanh(x: Real) -> Real:
    """atanh(x) = log1p(2a / (1 - a)) / 2, a = |x|."""
    a = x.abs()
    value = _log1p_core(a * 2.0 / (1.0 - a)) * 0.5
    value = a.where(a < 2.0**-28, value)
    value = value.unless(a.equals(1.0), math.inf)
    return value.unless(a > 1.0, math.nan).copysign(x)


def _log_pair(x: Real) -> tuple[Real, Real]:
    """log(x) of a finite positive x as the sum of two doubles, good to about 2**-65."""
    k, m = split_normal(x)
    numerator = m - 1.0
    denominator, denominator_rest = two_sum(m, 1.0)
    s = numerator / denominator
    s_rest = ((-s).fma(denominator, numerator) - s * denominator_rest) / denominator
    z, z_rest = two_product(s, s)
    z_rest = (s * 2.0).fma(s_rest, z_rest)
    # 2 atanh(s) = 2s + s z (2/3 + z Q(z)), the bracket as a pair too.
    tail = z * z.polynomial(tables.LOGDD.double)
    bracket, bracket_rest = quick_two_sum(tail.constant(2.0 / 3.0), tail)
    bracket_rest = bracket_rest + 3.700743415417188e-17
    cube, cube_rest = two_product(s, z)
    cube_rest = s.fma(z_rest, s_rest.fma(z, cube_rest))
    term, term_rest = two_product(cube, bracket)
    term_rest = cube.fma(bracket_rest, cube_rest.fma(bracket, term_rest))
    base, base_rest = two_product(k, LOG_2)
    base_rest = k.fma(_LOG_2_REST, base_rest)
    total, rest = two_sum(base, s * 2.0)
    total, lost = two_sum(total, term)
    rest = rest + lost + (base_rest + s_rest * 2.0 + term_rest)
    return quick_two_sum(total, rest)


def pow_(x: Real, y: Real) -> Real:
    """x**y with the special cases of C99 (and so of numpy)."""
    magnitude = x.abs()
    if x.profile == "short":
        value = exp_scaled(y * log_positive(magnitude))
    else:
        high, low = _log_pair(magnitude)
        product, rest = two_product(y, high)
        rest = y.fma(low, rest)
        # An infinite product has a NaN for its error.
        inside = product.abs() < 800.0
        value = _exp_of_pair(product, rest.where(inside, 0.0))
    # Parity of y: whole where it equals its floor, odd where half of it does not. Every number
    # from 2**53 on is even, and so is infinity.
    y_whole = y.equals(y.floor())
    half_y = y * 0.5
    odd = y_whole & half_y.differs(half_y.floor())
    negative = x.bits().compare("<", 0)
    # Magnitudes 0 and infinity, and y infinite: zero or infinity, by the direction of growth.
    extreme = magnitude.equals(0.0) | magnitude.equals(math.inf) | y.abs().equals(math.inf)
    grows = (y > 0.0) ^ (magnitude < 1.0)
    value = x.constant(math.inf).where(grows, 0.0).where(extreme, value)
    value = value.unless(magnitude.equals(1.0), 1.0)
    value = (-value).where(negative & odd, value)
    invalid = negative & ~y_whole & (magnitude > 0.0) & (magnitude < math.inf)
    value = value.unless(invalid, math.nan)
    value = (x + y).where(x.is_nan() | y.is_nan(), value)
    return value.unless(x.equals(1.0) | y.equals(0.0), 1.0)
