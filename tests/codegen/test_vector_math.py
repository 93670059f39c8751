"""Vector math: accuracy, special values, vectorisation, and the helpers for Numba kernels."""

from __future__ import annotations

import math
import platform
import re
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import mpmath
import numba
import numpy as np
import pytest
import scipy.special
from llvmlite import ir
from numba import types

from staticgraph.codegen import vector_math
from staticgraph.codegen.intrinsics import NUMBA_FUNCTIONS
from staticgraph.codegen.vector_math import FUNCTIONS

DTYPES = (np.float32, np.float64)
NUMBA_TYPES = {np.float32: types.float32, np.float64: types.float64}
BITS = {np.float32: np.uint32, np.float64: np.uint64}
FLAGS = frozenset({"contract", "nsz", "arcp"})

# Largest error in units in the last place: float, double.
BOUNDS = {
    "exp": (1.0, 1.0), "exp2": (1.0, 1.0), "expm1": (1.5, 2.0), "log": (1.0, 1.0),
    "log2": (0.51, 0.75), "log10": (0.51, 0.75), "log1p": (1.5, 1.5), "tanh": (2.6, 2.5),
    "sigmoid": (2.0, 2.5), "softplus": (2.0, 2.0), "sin": (0.51, 1.0), "cos": (0.51, 1.0),
    "tan": (0.51, 2.5), "asin": (0.51, 2.5), "acos": (0.51, 1.5), "atan": (0.51, 2.0),
    "atan2": (0.51, 2.0), "sinh": (0.51, 2.0), "cosh": (0.51, 2.0), "asinh": (0.51, 2.5),
    "acosh": (0.51, 2.5), "atanh": (0.51, 2.5), "pow": (0.51, 1.5), "sqrt": (0.501, 0.501),
    "rsqrt": (1.5, 1.5), "cbrt": (0.51, 1.0), "erf": (1.5, 1.5), "erfc": (0.51, 4.0),
    "erfinv": (0.51, 3.0), "lgamma": (0.51, 4.0), "digamma": (0.51, 5.0),
}  # fmt: skip
EXACT = ("floor", "ceil", "rint", "trunc", "maximum", "minimum")


def _inverse_erf(x: Any) -> Any:
    a = abs(x)
    if a < 1e-20:
        return x * mpmath.sqrt(mpmath.pi) / 2
    left = 1 - a
    near = a < 0.9
    start = scipy.special.erfinv(float(a)) if near else scipy.special.erfcinv(float(left))
    y = mpmath.mpf(float(start))
    for _ in range(3):
        step = (mpmath.erfc(y) - left) / (-2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-y * y))
        y -= step / (1 + y * step)
    return y if x > 0 else -y


REFERENCE: dict[str, Callable[..., Any]] = {
    "exp": mpmath.exp, "exp2": lambda x: mpmath.power(2, x), "expm1": mpmath.expm1,
    "log": mpmath.log, "log2": lambda x: mpmath.log(x, 2), "log10": mpmath.log10,
    "log1p": mpmath.log1p, "tanh": mpmath.tanh, "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: max(x, 0) + mpmath.log1p(mpmath.exp(-abs(x))), "sin": mpmath.sin,
    "cos": mpmath.cos, "tan": mpmath.tan, "asin": mpmath.asin, "acos": mpmath.acos,
    "atan": mpmath.atan, "atan2": mpmath.atan2, "sinh": mpmath.sinh, "cosh": mpmath.cosh,
    "asinh": mpmath.asinh, "acosh": mpmath.acosh, "atanh": mpmath.atanh,
    "pow": lambda x, y: mpmath.re(mpmath.power(x, y)), "sqrt": mpmath.sqrt,
    "rsqrt": lambda x: 1 / mpmath.sqrt(x),
    "cbrt": lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)), "erf": mpmath.erf,
    "erfc": lambda x: mpmath.erfc(x) if x < 50 else mpmath.mpf(0), "erfinv": _inverse_erf,
    "lgamma": lambda x: mpmath.re(mpmath.loggamma(x)) if x < 1e25 else x * (mpmath.log(x) - 1),
    "digamma": lambda x: mpmath.digamma(x) if x < 1e25 else mpmath.log(x),
}  # fmt: skip

# Where a reference is asked; NaN is expected at the other finite numbers.
DOMAIN: dict[str, Callable[..., bool]] = {
    "log": lambda x: x > 0, "log2": lambda x: x > 0, "log10": lambda x: x > 0,
    "log1p": lambda x: x > -1, "asin": lambda x: abs(x) <= 1, "acos": lambda x: abs(x) <= 1,
    "acosh": lambda x: x >= 1, "atanh": lambda x: abs(x) < 1, "sqrt": lambda x: x >= 0,
    "rsqrt": lambda x: x > 0, "erfinv": lambda x: abs(x) < 1,
    "pow": lambda x, y: x > 0 or (x < 0 and y == math.floor(y)),
}  # fmt: skip

NUMPY: dict[str, Callable[..., Any]] = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log2": np.log2,
    "log10": np.log10, "log1p": np.log1p, "tanh": np.tanh, "sigmoid": scipy.special.expit,
    "softplus": lambda x: np.logaddexp(x.dtype.type(0), x), "sin": np.sin, "cos": np.cos,
    "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "atan2": np.arctan2, "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh,
    "acosh": np.arccosh, "atanh": np.arctanh, "pow": np.power, "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x), "cbrt": np.cbrt, "erf": scipy.special.erf,
    "erfc": scipy.special.erfc, "erfinv": lambda x: np.copysign(scipy.special.erfinv(x), x),
    "floor": np.floor, "ceil": np.ceil, "rint": np.rint, "trunc": np.trunc, "maximum": np.maximum,
    "minimum": np.minimum,
}  # fmt: skip


@cache
def kernel(name: str, dtype: Any, flags: frozenset[str] = FLAGS) -> Any:
    """Compile a loop of one function."""
    function = NUMBA_FUNCTIONS[name]
    array = NUMBA_TYPES[dtype][::1]
    options = {"fastmath": set(flags) if flags else False, "error_model": "numpy"}
    if FUNCTIONS[name].arity == 1:

        def unary(x: Any, out: Any) -> None:
            for i in range(x.size):
                out[i] = function(x[i])

        return numba.njit(types.void(array, array), **options)(unary)

    def binary(x: Any, y: Any, out: Any) -> None:
        for i in range(x.size):
            out[i] = function(x[i], y[i])

    return numba.njit(types.void(array, array, array), **options)(binary)


def evaluate(name: str, *operands: Any, flags: frozenset[str] = FLAGS) -> Any:
    out = np.empty_like(operands[0])
    kernel(name, operands[0].dtype.type, flags)(*operands, out)
    return out


def same(left: Any, right: Any) -> Any:
    """Equal bits, or both NaN."""
    bits = BITS[left.dtype.type]
    return (left.view(bits) == right.view(bits)) | (np.isnan(left) & np.isnan(right))


def sample(name: str, dtype: Any, count: int) -> list[Any]:
    """Operands over the whole range and where the functions are interesting."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    info = np.finfo(dtype)
    edges = [info.tiny, info.smallest_subnormal, 3 * info.smallest_subnormal, info.max, 0.5, 1.0,
             2.0, 1 - info.epsneg, 1 + info.eps]  # fmt: skip

    def one() -> Any:
        bits = rng.integers(0, 2 ** (8 * np.dtype(dtype).itemsize), count, dtype=BITS[dtype])
        near_one = 1 + rng.standard_normal(count) * 2.0 ** -rng.uniform(0, 50, count)
        with np.errstate(over="ignore"):
            parts = [
                np.array(edges, dtype), -np.array(edges, dtype), bits.view(dtype),
                (rng.standard_normal(count) * np.exp(rng.uniform(-12, 7, count))).astype(dtype),
                rng.uniform(-3, 3, count).astype(dtype), near_one.astype(dtype),
                rng.uniform(-720, 720, count).astype(dtype),
                rng.uniform(-100, 100, count).astype(dtype),
                10.0 ** rng.uniform(info.minexp * 0.32, info.maxexp * 0.3, count).astype(dtype),
            ]  # fmt: skip
        return np.concatenate(parts).astype(dtype)

    operands = [one() for _ in range(FUNCTIONS[name].arity)]
    if len(operands) == 2:
        operands[1] = rng.permutation(operands[1])
    if name == "pow":
        exponent = rng.uniform(-700, 700, 4 * count) / (1 if dtype == np.float64 else 8)
        base = np.exp(rng.uniform(-80, 80, 4 * count))
        operands[0] = np.concatenate([operands[0], base.astype(dtype)])
        operands[1] = np.concatenate([operands[1], (exponent / np.log(base)).astype(dtype)])
    keep = np.all([np.isfinite(x) & (x != 0) for x in operands], axis=0)
    return [x[keep] for x in operands]


def error_scale(name: str, x: float, reference: Any) -> Any:
    """Magnitude relative to which the error counts.

    It is the result's own, but for the gamma functions of negative arguments, which are
    differences: there it is the largest term's.
    """
    if x < 0 and name == "lgamma":
        return max(abs(reference), 2)
    if x < 0 and name == "digamma":
        return max(abs(reference), math.log(abs(x) + 1) + 4)
    return abs(reference)


def ulps(name: str, dtype: Any, operands: tuple[float, ...], got: float, reference: Any) -> float:
    """Error of ``got``, overflow counting as the next power of two."""
    info = np.finfo(dtype)
    limit = mpmath.ldexp(1, info.maxexp)
    reference = max(-limit, min(limit, reference))
    value = mpmath.mpf(got) if math.isfinite(got) else limit * math.copysign(1, got)
    scale = error_scale(name, operands[0], reference)
    exponent = mpmath.frexp(scale)[1] - 1 if scale else info.minexp
    exponent = min(max(exponent, info.minexp), info.maxexp - 1)
    return float(abs(value - reference) / mpmath.ldexp(1, int(exponent) - info.nmant))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_accuracy(name: str, dtype: Any) -> None:
    operands = sample(name, dtype, 30 if name in ("lgamma", "digamma", "erfinv") else 70)
    got = evaluate(name, *operands)
    inside = DOMAIN.get(name, lambda *_: True)
    bound = BOUNDS[name][dtype == np.float64]
    worst, at = 0.0, None
    with mpmath.workprec(140):
        for *row, value in zip(*(x.tolist() for x in operands), got.tolist(), strict=True):
            if not inside(*row):
                continue
            if name in ("lgamma", "digamma") and row[0] < 0 and row[0] == math.floor(row[0]):
                continue
            assert not math.isnan(value), (row, value)
            exact = REFERENCE[name](*(mpmath.mpf(number) for number in row))
            error = ulps(name, dtype, tuple(row), value, exact)
            if error > worst:
                worst, at = error, row
    print(f"{name} {dtype.__name__}: {worst:.3f} ulp at {at}")
    assert worst <= bound, at
    outside = np.array([not inside(*row) for row in zip(*operands, strict=True)])
    allowed = (np.abs(operands[0]) == 1) | (operands[0] == -1)
    assert np.isnan(got[outside & ~allowed]).all()


SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0]
# Odd and even whole numbers and halves matter to pow.
PAIRED = [*SPECIAL, 2.0, -2.0, 3.0, -3.0, 0.5, -0.5, 1e30, -1e30, 2.0**24 - 1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(NUMPY))
def test_special_values(name: str, dtype: Any) -> None:
    info = np.finfo(dtype)
    if FUNCTIONS[name].arity == 1:
        tiny = [info.smallest_subnormal, -info.smallest_subnormal] if name not in BOUNDS else []
        operands = [np.array([*SPECIAL, *tiny], dtype)]
    else:
        grid = np.meshgrid(np.array(PAIRED, dtype), np.array(PAIRED, dtype))
        operands = [np.ascontiguousarray(x.ravel()) for x in grid]
    got = evaluate(name, *operands)
    with np.errstate(all="ignore"):
        want = NUMPY[name](*operands).astype(dtype)
    if name in BOUNDS:
        # Values that are neither zero, one, infinite nor NaN are the accuracy test's matter.
        plain = np.isfinite(want) & (want != 0) & (np.abs(want) != 1)
        np.testing.assert_allclose(got[plain], want[plain], rtol=8 * info.eps)
        got, want = got[~plain], want[~plain]
    if name in ("maximum", "minimum"):
        # Which of two zeros is the larger is open.
        assert np.array_equal(got, want, equal_nan=True)
    else:
        assert same(got, want).all(), list(zip(got, want, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_gamma_functions_at_special_values(dtype: Any) -> None:
    inf, nan = math.inf, math.nan
    x = np.array([0.0, -0.0, inf, -inf, nan, 1, 2, -1, -2, -100], dtype)
    expected = np.array([inf, inf, inf, inf, nan, 0, 0, inf, inf, inf], dtype)
    assert np.array_equal(evaluate("lgamma", x), expected, equal_nan=True)
    x = np.array([0.0, -0.0, inf, -inf, nan, -1, -2, -100], dtype)
    expected = np.array([-inf, inf, inf, nan, nan, nan, nan, nan], dtype)
    assert np.array_equal(evaluate("digamma", x), expected, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["expm1", "log1p", "tanh", "sin", "tan", "asin", "atan", "sinh",
                                  "asinh", "atanh"])  # fmt: skip
def test_odd_functions_keep_subnormals(name: str, dtype: Any) -> None:
    smallest = np.finfo(dtype).smallest_subnormal
    x = np.array([1, -1, 3, -3, 1000, -1000], dtype) * smallest
    assert same(evaluate(name, x), x).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["floor", "ceil", "rint", "trunc", "maximum", "minimum"])
def test_exact_functions(name: str, dtype: Any) -> None:
    operands = sample(name, dtype, 500)
    assert np.array_equal(evaluate(name, *operands), NUMPY[name](*operands))


DENSE: dict[str, Callable[..., Any]] = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "tanh": np.tanh,
    "erf": scipy.special.erf, "exp2": np.exp2, "rsqrt": lambda x: 1 / np.sqrt(x),
    "sigmoid": lambda x: np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x))),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), "sin": np.sin,
    "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh, "acosh": np.arccosh,
    "atanh": np.arctanh, "log2": np.log2, "log10": np.log10, "cbrt": np.cbrt,
    "erfc": scipy.special.erfc, "erfinv": scipy.special.erfinv,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(DENSE))
def test_float_functions_densely(name: str) -> None:
    """Every 4099th float, against double precision."""
    x = np.arange(0, 2**32, 4099, dtype=np.uint64).astype(np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        got = evaluate(name, x).astype(np.float64)
        want = DENSE[name](x.astype(np.float64))
        assert np.array_equal(np.isnan(got), np.isnan(want))
        clipped = np.clip(want, -(2.0**128), 2.0**128)
        exponent = np.clip(np.frexp(clipped)[1] - 1, -126, 127)
        error = np.abs(np.clip(got, -(2.0**128), 2.0**128) - clipped) / 2.0 ** (exponent - 23)
    assert np.nanmax(error) <= BOUNDS[name][0], x[np.nanargmax(error)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_remainder_equals_vector_body(name: str, dtype: Any) -> None:
    operands = [np.ascontiguousarray(np.resize(x, 200)) for x in sample(name, dtype, 30)]
    whole = evaluate(name, *operands)
    for count in range(1, 34):
        start = count % 7
        part = evaluate(name, *(x[start : start + count] for x in operands))
        assert same(part, whole[start : start + count]).all(), count


@pytest.mark.parametrize("flags", [frozenset(), frozenset({"contract"}), frozenset({"fast"})])
@pytest.mark.parametrize("name", ["exp", "expm1", "log1p", "sin", "pow", "lgamma"])
def test_fastmath_flags_change_nothing(name: str, flags: frozenset[str]) -> None:
    operands = sample(name, np.float64, 100)
    special = [np.array(SPECIAL)] * len(operands)
    operands = [np.concatenate(pair) for pair in zip(operands, special, strict=True)]
    assert same(evaluate(name, *operands, flags=flags), evaluate(name, *operands)).all()


def _host_machine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    features = llvm.get_host_cpu_features().flatten()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=3, reloc="pic"
    )


X86 = platform.machine() in ("x86_64", "AMD64")
FUSED = X86 and bool(llvm.get_host_cpu_features().get("fma"))


@pytest.mark.skipif(not FUSED, reason="needs an x86-64 machine with fused multiply-add")
@pytest.mark.parametrize("kind", [ir.FloatType(), ir.DoubleType()], ids=str)
def test_code_calls_nothing(kind: Any) -> None:
    """No library is needed to load the object code."""
    module = ir.Module()
    for name, function in FUNCTIONS.items():
        signature = ir.FunctionType(kind, [kind] * function.arity)
        body = ir.Function(module, signature, f"f_{name}")
        builder = ir.IRBuilder(body.append_basic_block())
        builder.ret(vector_math.emit(name, builder, *body.args))
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    assembly = _host_machine().emit_assembly(parsed)
    # Jumps to local labels are selects that the code generator made into branches.
    assert re.findall(r"^\s+(?:call\w*|jmp)\s+(?!\.L).*$", assembly, re.MULTILINE) == []


def packed_instructions(assembly: str) -> int:
    """Count the float instructions, other than moves, on registers of 256 or 512 bits."""
    return len(re.findall(r"\bv(?!mov)\w+p[sd]\s.*[yz]mm", assembly))


@pytest.mark.skipif(not FUSED, reason="counts instructions of x86-64 with AVX2")
@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("dtype", DTYPES)
def test_loop_vectorises(name: str, dtype: Any) -> None:
    (assembly,) = kernel(name, dtype).inspect_asm().values()
    assert packed_instructions(assembly) >= 1
    assert not re.search(r"\bcall\w*\s+\S*(?:exp|log|pow|sin|cos|tan|erf|gamma)f?\b", assembly)


REDUCTIONS = [(kind, name) for kind in ("float32", "float64", "int32", "int64", "uint8")
              for name in ("sum", "prod", "max", "min")]  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), REDUCTIONS)
def test_reductions(kind: str, name: str) -> None:
    dtype = np.dtype(kind)
    item = getattr(types, kind)
    step = NUMBA_FUNCTIONS[f"acc_{name}"]

    @numba.njit(item(item, item[::1]))
    def reduce(start: Any, x: Any) -> Any:
        total = start
        for i in range(x.size):
            total = step(total, x[i])
        return total

    rng = np.random.default_rng(5)
    x = rng.integers(1, 100, 1001).astype(dtype)
    if name == "prod":
        x = rng.integers(1, 2, 1001).astype(dtype)
        x[[3, 500, 1000]] = 5
    want = getattr(x, name)(**({"dtype": dtype} if name in ("sum", "prod") else {}))
    start = {"sum": 0, "prod": 1}.get(name, x[0])
    assert reduce(dtype.type(start), x) == want
    if dtype.kind == "f":
        for place in (0, 5, 517, 1000):
            y = x.copy()
            y[place] = np.nan
            assert math.isnan(reduce(dtype.type(start), y))
    if FUSED:
        (assembly,) = reduce.inspect_asm().values()
        assert re.search(r"\bv(?:p?add|p?mul|p?max|p?min|pcmp)\w+\s.*[yz]mm", assembly)


def test_unsigned_order_in_reductions() -> None:
    step = NUMBA_FUNCTIONS["acc_max"]

    @numba.njit(types.uint32(types.uint32, types.uint32))
    def larger(x: Any, y: Any) -> Any:
        return step(x, y)

    assert larger(np.uint32(1), np.uint32(2**32 - 1)) == 2**32 - 1


def _call_on_addresses(function: Any, count: int) -> Any:
    return numba.cfunc(types.void(*[types.int64] * count))(function).ctypes


def test_half_precision_round_trip() -> None:
    pointer, load = NUMBA_FUNCTIONS["ptr_f16"], NUMBA_FUNCTIONS["load_f16"]
    store, floats = NUMBA_FUNCTIONS["store_f16"], NUMBA_FUNCTIONS["ptr_f32"]

    def widen(source: Any, target: Any, count: Any) -> None:
        x, y = pointer(source), floats(target)
        for i in range(count):
            y[i] = load(x, i)

    def narrow(source: Any, target: Any, count: Any) -> None:
        x, y = floats(source), pointer(target)
        for i in range(count):
            store(y, i, x[i])

    halves = np.arange(65536, dtype=np.uint16)
    single = np.empty(65536, np.float32)
    _call_on_addresses(widen, 3)(halves.ctypes.data, single.ctypes.data, single.size)
    assert np.array_equal(single, halves.view(np.float16).astype(np.float32), equal_nan=True)
    # Ties, neighbours of ties, overflow and all else.
    middle = np.nextafter(single, np.float32(1))
    bits = np.arange(0, 2**32, 65521, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = np.concatenate([single, middle, single * np.float32(1 + 2.0**-11), bits])
    got = np.empty(x.size, np.uint16)
    _call_on_addresses(narrow, 3)(x.ctypes.data, got.ctypes.data, x.size)
    with np.errstate(over="ignore"):
        assert np.array_equal(got.view(np.float16), x.astype(np.float16), equal_nan=True)


POINTERS = {"f32": "float32", "f64": "float64", "i8": "int8", "i16": "int16", "i32": "int32",
            "i64": "int64", "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64",
            "bool": "uint8"}  # fmt: skip


@pytest.mark.parametrize("name", sorted(POINTERS))
def test_pointers(name: str) -> None:
    pointer = NUMBA_FUNCTIONS[f"ptr_{name}"]

    def copy(source: Any, target: Any, count: Any) -> None:
        x, y = pointer(source), pointer(target)
        for i in range(count):
            y[i] = x[i]

    x = np.random.default_rng(0).integers(0, 100, 50).astype(POINTERS[name])
    y = np.zeros_like(x)
    _call_on_addresses(copy, 3)(x.ctypes.data, y.ctypes.data, 49)
    assert np.array_equal(y[:49], x[:49])
    assert y[49] == 0


def test_bits_and_unsigned_arithmetic() -> None:
    names = ("add_u32", "mul_u32", "mulhi_u32", "xor_u32", "shr_u32")
    add, mul, high, xor, shift = (NUMBA_FUNCTIONS[name] for name in names)
    bits32, back32 = NUMBA_FUNCTIONS["bits_f32"], NUMBA_FUNCTIONS["from_bits_f32"]
    bits64, back64 = NUMBA_FUNCTIONS["bits_f64"], NUMBA_FUNCTIONS["from_bits_f64"]

    @numba.njit
    def all_of(x: Any, y: Any) -> Any:
        return add(x, y), mul(x, y), high(x, y), xor(x, y), shift(x, np.uint32(7))

    x, y = 0xD2511F53, 0xCD9E8D57
    want = ((x + y) % 2**32, x * y % 2**32, x * y >> 32, x ^ y, x >> 7)
    assert all_of(np.uint32(x), np.uint32(y)) == want

    @numba.njit
    def there_and_back(x: Any, y: Any) -> Any:
        return bits32(x), back32(bits32(x)), bits64(y), back64(bits64(y))

    got = there_and_back(np.float32(-1.5), 3.25)
    assert got == (np.float32(-1.5).view(np.int32), -1.5, np.float64(3.25).view(np.int64), 3.25)


def test_wrong_uses_are_refused() -> None:
    with pytest.raises(TypeError, match="takes 2 operands"):
        vector_math.emit("pow", None, None)
    with pytest.raises(ValueError, match="no such reduction"):
        constant = ir.Constant(ir.IntType(32), 1)
        vector_math.emit_accumulate(None, "mean", constant, constant)
