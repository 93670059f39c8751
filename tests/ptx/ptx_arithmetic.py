"""What each arithmetic instruction of PTX computes, on NumPy arrays of one element per thread.

Rounding is exact where PTX says so: a float32 ``fma`` is computed in float64 rounded to odd, from
which rounding to float32 is always right, and directed modes look at the error term. Approximate
instructions (``ex2.approx``, ``rcp.approx``) are rounded correctly: better here than on a device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any  # an ndarray or a NumPy scalar: everything here works on both
Function = Callable[..., Array]

DTYPES: dict[str, Any] = {f"{k}{8 * n}": np.dtype(f"{'i' if k == 's' else 'u'}{n}") for k in "bus"
                          for n in (1, 2, 4, 8)}  # fmt: skip
DTYPES |= {f"f{8 * n}": np.dtype(f"f{n}") for n in (2, 4, 8)}
DTYPES |= {"pred": np.dtype(bool), "bf16": np.dtype("u2")}

F32, F64, U32, U64, I64 = np.float32, np.float64, np.uint32, np.uint64, np.int64
ROUNDINGS = ("rn", "rz", "rm", "rp", "rna")
TO_INTEGER = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}


def operation(op: str, mods: tuple[str, ...], kind: str) -> tuple[Function, list[str], str] | None:
    """The function of an instruction, the types of its operands and the type of its result."""
    if op in ("setp", "set"):
        return _comparison(op, mods, kind)
    if op == "cvt":
        return _conversion(mods)
    if kind in ("f16", "f32", "f64") and op in _FLOAT:
        return _float(op, mods, kind)
    dtype: Any = DTYPES.get(kind)
    if op in _SAME:
        function, arity = _SAME[op]
        return function, [kind] * arity, kind
    if op in ("mul", "mad"):
        return _product(op, mods, kind)
    if op in ("div", "rem"):
        return (lambda x, y: _divide(x, y)[op == "rem"]), [kind, kind], kind
    if op in ("shl", "shr"):
        return (lambda x, n: _shift(op, x, n, kind)), [kind, "u32"], kind
    if op == "shf":
        return (lambda low, high, n: _funnel(mods, low, high, n)), ["u32"] * 3, "b32"
    if op in ("popc", "clz", "brev", "bfind"):
        return (lambda x: _BITS[op](x, 8 * dtype.itemsize)), [kind], kind if op == "brev" else "u32"
    if op == "selp":
        return (lambda x, y, p: np.where(p, x, y)), [kind, kind, "pred"], kind
    if op == "slct":
        third = mods[-1]
        return (lambda x, y, c: np.where(c >= 0, x, y)), [kind, kind, third], kind
    if op == "bfe":
        return (lambda x, at, n: _extract(x, at, n, kind)), [kind, "u32", "u32"], kind
    if op == "bfi":
        return _insert, [kind, kind, "u32", "u32"], kind
    if op == "prmt":
        return _permute, ["u32"] * 3, "b32"
    if op == "lop3":
        return _lop3, ["u32"] * 4, "b32"
    if op == "testp":
        return _TESTS[mods[0]], [kind], "pred"
    if op == "sad":
        return (lambda x, y, z: np.where(x < y, y - x, x - y) + z), [kind] * 3, kind
    return None


_SAME: dict[str, tuple[Function, int]] = {
    "add": (lambda x, y: x + y, 2),
    "sub": (lambda x, y: x - y, 2),
    "neg": (lambda x: (~x + x.dtype.type(1)).astype(x.dtype), 1),
    "abs": (np.abs, 1),
    "min": (np.minimum, 2),
    "max": (np.maximum, 2),
    "and": (lambda x, y: x & y, 2),
    "or": (lambda x, y: x | y, 2),
    "xor": (lambda x, y: x ^ y, 2),
    "not": (lambda x: ~x, 1),
    "cnot": (lambda x: (x == 0).astype(x.dtype), 1),
    "copysign": (lambda sign, x: np.copysign(x, sign), 2),
}

# --- floating point -----------------------------------------------------------------------------


def _exact_sum(x: Array, y: Array) -> tuple[Array, Array]:
    """The rounded sum in float64 and its error."""
    s = x + y
    z = s - x
    return s, np.where(np.isfinite(s), (x - (s - z)) + (y - z), 0.0)


def _exact_product(x: Array, y: Array) -> tuple[Array, Array]:
    """The rounded product in float64 and its error (halves of 26 bits multiply exactly)."""
    p = x * y
    split = F64(134217729.0)
    xh = x * split - (x * split - x)
    yh = y * split - (y * split - y)
    xl, yl = x - xh, y - yh
    e = ((xh * yh - p) + xh * yl + xl * yh) + xl * yl
    return p, np.where(np.isfinite(e), e, 0.0)


def _to_odd(value: Array, error: Array) -> Array:
    """Make the last bit of an inexact float64 say so; a second rounding then cannot go wrong."""
    value = np.asarray(value, F64)
    bits = value.view(I64)
    move = np.where((error > 0) == (value > 0), 1, -1)
    inexact = (error != 0) & (bits & 1 == 0) & np.isfinite(value)
    return np.where(inexact, bits + move, bits).view(F64)


def round_to(value: Array, error: Array, dtype: Any, mode: str) -> Array:
    """``value + error``, float64, rounded once to ``dtype``."""
    if dtype == F64:
        result, rest = value, error
    else:
        odd = _to_odd(value, error)
        result = odd.astype(dtype)
        rest = odd - result.astype(F64)
    if mode in ("rn", "rna"):
        return result
    infinity = dtype.type(np.inf)
    down = mode == "rm" or (mode == "rz") & (result > 0)
    up = mode == "rp" or (mode == "rz") & (result < 0)
    result = np.where(down & (rest < 0), np.nextafter(result, -infinity), result)
    return np.where(up & (rest > 0), np.nextafter(result, infinity), result)


def _float_fma(x: Array, y: Array, z: Array, dtype: Any, mode: str) -> Array:
    x, y, z = (np.asarray(v, F64) for v in (x, y, z))
    if dtype != F64:  # the product of two float32 is exact
        return round_to(*_exact_sum(x * y, z), dtype, mode)
    p, low = _exact_product(x, y)
    s, error = _exact_sum(p, z)
    return round_to(*_exact_sum(s, error + low), dtype, mode) if mode != "rn" else s + (error + low)


def _plain(function: Function, dtype: Any) -> Function:
    """An operation that NumPy rounds to nearest in its own type."""
    return lambda *args: function(*args).astype(dtype)


def _wide(function: Function, dtype: Any) -> Function:
    """An operation computed in float64, then rounded."""
    return lambda *args: function(*(a.astype(F64) for a in args)).astype(dtype)


def _extremum(propagate: Function, ignore: Function, mods: tuple[str, ...]) -> Function:
    return propagate if "NaN" in mods else ignore


_FLOAT = {"add", "sub", "mul", "fma", "mad", "div", "rcp", "sqrt", "rsqrt", "neg", "abs", "min",
          "max", "ex2", "lg2", "sin", "cos", "tanh"}  # fmt: skip


def _float(op: str, mods: tuple[str, ...], kind: str) -> tuple[Function, list[str], str]:
    dtype = DTYPES[kind]
    mode = next((m for m in mods if m in ROUNDINGS), "rn")
    one, zero = dtype.type(1), dtype.type(-0.0)
    table: dict[str, tuple[Function, int]] = {
        "add": (_plain(np.add, dtype), 2),
        "sub": (_plain(np.subtract, dtype), 2),
        "mul": (_plain(np.multiply, dtype), 2),
        "div": (_plain(np.divide, dtype), 2),
        "rcp": (lambda x: one / x, 1),
        "sqrt": (np.sqrt, 1),
        "rsqrt": (_wide(lambda x: 1 / np.sqrt(x), dtype), 1),
        "neg": (np.negative, 1),
        "abs": (np.abs, 1),
        "min": (_extremum(np.minimum, np.fmin, mods), 2),
        "max": (_extremum(np.maximum, np.fmax, mods), 2),
        "ex2": (_wide(np.exp2, dtype), 1),
        "lg2": (_wide(np.log2, dtype), 1),
        "sin": (_wide(np.sin, dtype), 1),
        "cos": (_wide(np.cos, dtype), 1),
        "tanh": (_wide(np.tanh, dtype), 1),
        "fma": (lambda x, y, z: _float_fma(x, y, z, dtype, mode), 3),
    }
    function, arity = table["fma" if op == "mad" else op]
    if mode != "rn":
        directed: dict[str, Function] = {
            "add": lambda x, y: _float_fma(x, one, y, dtype, mode),
            "sub": lambda x, y: _float_fma(x, one, -y, dtype, mode),
            "mul": lambda x, y: _float_fma(x, y, zero, dtype, mode),
            "div": lambda x, y: _quotient(x, y, dtype, mode),
            "rcp": lambda x: _quotient(one, x, dtype, mode),
            "fma": function,
            "mad": function,
        }
        if op not in directed or (kind == "f64" and op in ("div", "rcp")):
            raise NotImplementedError(f"{op} rounded {mode}")
        function = directed[op]
    return _flushed(function, mods, kind), [kind] * arity, kind


def _quotient(x: Array, y: Array, dtype: Any, mode: str) -> Array:
    x, y = np.asarray(x, F64), np.asarray(y, F64)
    q = x / y
    p, low = _exact_product(q, y)
    rest = np.where(np.isfinite(q), ((x - p) - low) * np.sign(y), 0.0)
    return round_to(q, rest, dtype, mode)


def _flushed(function: Function, mods: tuple[str, ...], kind: str) -> Function:
    """Apply ``.ftz`` (float32 only) to operands and result, and ``.sat``."""
    if "ftz" in mods and kind == "f32":
        inner = function
        function = lambda *args: _flush(inner(*map(_flush, args)))  # noqa: E731
    if "sat" in mods:
        unclipped = function
        function = lambda *args: _saturate(unclipped(*args))  # noqa: E731
    return function


def _flush(x: Array) -> Array:
    if x.dtype != F32:
        return x
    return np.where(np.abs(x) < np.finfo(F32).tiny, np.copysign(F32(0), x), x)


def _saturate(x: Array) -> Array:
    return np.where(np.isnan(x), x.dtype.type(0), np.clip(x, x.dtype.type(0), x.dtype.type(1)))


_TESTS: dict[str, Function] = {
    "finite": np.isfinite,
    "infinite": np.isinf,
    "number": lambda x: ~np.isnan(x),
    "notanumber": np.isnan,
    "normal": lambda x: np.isfinite(x) & (np.abs(x) >= np.finfo(x.dtype).tiny),
    "subnormal": lambda x: (x != 0) & (np.abs(x) < np.finfo(x.dtype).tiny),
}

# --- comparison and conversion ------------------------------------------------------------------

_COMPARE: dict[str, Function] = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "lo": np.less, "ls": np.less_equal, "hi": np.greater,
    "hs": np.greater_equal, "num": lambda x, y: ~_unordered(x, y),
    "nan": lambda x, y: _unordered(x, y),
}  # fmt: skip
_COMBINE = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}


def _unordered(x: Array, y: Array) -> Array:
    return np.isnan(x) | np.isnan(y)


def _comparison(op: str, mods: tuple[str, ...], kind: str) -> tuple[Function, list[str], str]:
    """``setp`` gives the predicate and its complement; the second is usually unused."""
    name = mods[0]
    floating = kind[0] == "f"
    if floating and name.endswith("u") and name != "num":  # true also when an operand is NaN
        ordered = _COMPARE[name[:-1]]
        compare: Function = lambda x, y: ordered(x, y) | _unordered(x, y)  # noqa: E731
    elif floating and name == "ne":
        compare = lambda x, y: (x != y) & ~_unordered(x, y)  # noqa: E731
    else:
        compare = _COMPARE[name]
    if "ftz" in mods:
        unflushed = compare
        compare = lambda x, y: unflushed(_flush(x), _flush(y))  # noqa: E731
    combine = next((_COMBINE[m] for m in mods[1:] if m in _COMBINE), None)
    if op == "set":
        result = mods[-2]
        true = DTYPES[result].type(1.0 if result[0] == "f" else -1 % (1 << 32))
        return (lambda x, y: np.where(compare(x, y), true, true * 0)), [kind, kind], result
    if combine is None:
        return (lambda x, y: (c := compare(x, y), ~c)), [kind, kind], "pred"
    return (
        lambda x, y, p: (combine(c := compare(x, y), p), combine(~c, p)),
        [kind, kind, "pred"],
        "pred",
    )


def _conversion(mods: tuple[str, ...]) -> tuple[Function, list[str], str]:
    to, source = mods[-2:]
    if to not in DTYPES or source not in DTYPES or "x2" in "".join(mods):
        raise NotImplementedError("cvt." + ".".join(mods))
    target = DTYPES[to]
    mode = next((m for m in mods if m in ROUNDINGS), "rn")
    whole = next((TO_INTEGER[m] for m in mods if m in TO_INTEGER), None)

    def convert(x: Array) -> Array:
        if source == "bf16":
            x = (np.asarray(x).astype(U32) << U32(16)).view(F32)
        if "ftz" in mods:
            x = _flush(x)
        if to == "bf16":
            return _to_bfloat16(np.asarray(x, F32))
        if to[0] != "f":
            return _to_whole(whole(x) if whole else x, target, "sat" in mods)
        if source[0] in "us":
            if mode == "rn":
                return x.astype(target)
            exact = x.astype(np.longdouble)  # 64 bits of mantissa
            value = exact.astype(F64)
            return round_to(value, (exact - value).astype(F64), target, mode)
        x = whole(x) if whole else x
        if x.dtype != target:
            x = round_to(np.asarray(x, F64), F64(0), target, mode)
        return _saturate(x) if "sat" in mods else x

    return convert, [source], to


def _to_whole(x: Array, target: Any, saturate: bool) -> Array:
    limits = np.iinfo(target)
    if x.dtype.kind != "f":
        if saturate:
            low, high = (
                max(limits.min, np.iinfo(x.dtype).min),
                min(limits.max, np.iinfo(x.dtype).max),
            )
            x = np.clip(x, x.dtype.type(low), x.dtype.type(high))
        return x.astype(target)
    x = np.asarray(x, F64)
    inside = np.where((x > float(limits.min)) & (x < float(limits.max)), x, 0.0).astype(target)
    inside = np.where(x <= float(limits.min), target.type(limits.min), inside)
    inside = np.where(x >= float(limits.max), target.type(limits.max), inside)
    wide_nan = limits.min if limits.min < 0 else 1 << 63  # what devices give for 64 bits
    return np.where(np.isnan(x), target.type(wide_nan if target.itemsize == 8 else 0), inside)


def _to_bfloat16(x: Array) -> Array:
    bits = x.view(U32)
    rounded = (bits + U32(0x7FFF) + ((bits >> U32(16)) & U32(1))) >> U32(16)
    return np.where(np.isnan(x), U32(0x7FFF), rounded).astype(np.uint16)


# --- integers -----------------------------------------------------------------------------------


def _product(op: str, mods: tuple[str, ...], kind: str) -> tuple[Function, list[str], str]:
    dtype = DTYPES[kind]
    result = kind
    if "wide" in mods:
        result = f"{kind[0]}{16 * dtype.itemsize}"
        wide = DTYPES[result]
        multiply: Function = lambda x, y: x.astype(wide) * y.astype(wide)  # noqa: E731
    elif "hi" in mods:
        multiply = multiply_high
    else:
        multiply = lambda x, y: x * y  # noqa: E731
    if op == "mul":
        return multiply, [kind, kind], result
    return (lambda x, y, z: multiply(x, y) + z), [kind, kind, result], result


def multiply_high(x: Array, y: Array) -> Array:
    """The upper half of a product."""
    dtype, bits = x.dtype, 8 * x.dtype.itemsize
    if bits < 64:
        return ((x.astype(I64) * y.astype(I64)) >> bits).astype(dtype)
    a, b = np.asarray(x).view(U64), np.asarray(y).view(U64)
    low, half = U64(0xFFFFFFFF), U64(32)
    middle = (a >> half) * (b & low) + (((a & low) * (b & low)) >> half)
    other = (a & low) * (b >> half) + (middle & low)
    high = (a >> half) * (b >> half) + (middle >> half) + (other >> half)
    if dtype.kind == "i":  # two's complement: take the other operand away for each sign
        high = high - np.where(x < 0, b, U64(0)) - np.where(y < 0, a, U64(0))
    return high.view(dtype)


def _divide(x: Array, y: Array) -> tuple[Array, Array]:
    """Quotient towards zero and remainder; all ones for a division by zero, as devices give."""
    zero = y == 0
    divisor = np.where(zero, y.dtype.type(1), y)
    q = x // divisor
    r = x - q * divisor
    if x.dtype.kind == "i":
        q = np.where((r != 0) & ((x < 0) != (divisor < 0)), q + 1, q)
        r = x - q * divisor
    return np.where(zero, ~y.dtype.type(0), q), np.where(zero, x, r)


def _shift(op: str, x: Array, n: Array, kind: str) -> Array:
    bits = 8 * x.dtype.itemsize
    inside = np.minimum(n, U32(bits - 1)).astype(x.dtype)
    if op == "shr" and kind[0] == "s":
        return x >> inside
    shifted = x << inside if op == "shl" else x >> inside
    return np.where(n >= bits, x.dtype.type(0), shifted)


def _funnel(mods: tuple[str, ...], low: Array, high: Array, n: Array) -> Array:
    n = (n & U32(31) if "wrap" in mods else np.minimum(n, U32(32))).astype(U64)
    both = (high.astype(U64) << U64(32)) | low.astype(U64)
    return (both >> (U64(32) - n) if mods[0] == "l" else both >> n).astype(U32)


def _spread(x: Array, bits: int) -> Array:
    """The bits of each element along a new last axis, the lowest first."""
    x = np.asarray(x)
    return (x[..., None].view(f"u{bits // 8}") >> np.arange(bits, dtype=f"u{bits // 8}")) & 1


def _highest_bit(x: Array, bits: int) -> Array:
    spread = _spread(x, bits)
    return np.where(spread.any(-1), bits - 1 - spread[..., ::-1].argmax(-1), -1)


_BITS: dict[str, Callable[[Array, int], Array]] = {
    "popc": lambda x, bits: _spread(x, bits).sum(-1).astype(U32),
    "clz": lambda x, bits: (bits - 1 - _highest_bit(x, bits)).astype(U32),
    "bfind": lambda x, bits: _highest_bit(np.where(x < 0, ~x, x), bits).astype(U32),
    "brev": lambda x, bits: (
        _spread(x, bits)[..., ::-1] << np.arange(bits, dtype=f"u{bits // 8}")
    ).sum(-1, dtype=f"u{bits // 8}"),
}


def _extract(x: Array, at: Array, n: Array, kind: str) -> Array:
    bits = 8 * x.dtype.itemsize
    at, n = at & U32(0xFF), np.minimum(n & U32(0xFF), U32(bits))
    n = np.where(at + n > bits, np.maximum(bits, at) - at, n).astype(U32)
    field = _shift("shl", x, (bits - n - at).astype(U32), kind)
    field = _shift("shr", field, (bits - n).astype(U32), kind)
    return np.where(n == 0, x.dtype.type(0), field)


def _insert(x: Array, into: Array, at: Array, n: Array) -> Array:
    bits, kind = 8 * into.dtype.itemsize, f"u{8 * into.dtype.itemsize}"
    at, n = at & U32(0xFF), np.minimum(n & U32(0xFF), U32(bits))
    ones = ~into.dtype.type(0)
    mask = ~_shift("shl", ones, n, kind)
    mask = _shift("shl", mask, at, kind)
    return (into & ~mask) | (_shift("shl", x, at, kind) & mask)


def _permute(x: Array, y: Array, selector: Array) -> Array:
    both = (y.astype(U64) << U64(32)) | x.astype(U64)
    result: Array = U32(0)
    for i in range(4):
        pick = (selector >> U32(4 * i)) & U32(15)
        byte = ((both >> ((pick & U32(7)) * U32(8)).astype(U64)) & U64(0xFF)).astype(U32)
        sign = np.where(byte & U32(0x80), U32(0xFF), U32(0))
        result = result | (np.where(pick & U32(8), sign, byte).astype(U32) << U32(8 * i))
    return result


def _lop3(x: Array, y: Array, z: Array, table: Array) -> Array:
    result: Array = U32(0)
    for i in range(8):
        term = (x if i & 4 else ~x) & (y if i & 2 else ~y) & (z if i & 1 else ~z)
        result = result | np.where((table >> U32(i)) & U32(1), term, U32(0))
    return result
