"""Every scalar function of CUDA kernels, through the real compiler, against NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="the optional extra staticgraph[cuda] is not installed")

from .kernels import DTYPES, build, normal, run

INVERSE = {f"a{n}": getattr(np, f"arc{n}") for n in "cos cosh sin sinh tan tanh".split()}
SAME = """abs cbrt ceil cos cosh exp exp2 expm1 floor log log10 log1p log2 rint sign sin sinh sqrt
tan tanh trunc isnan isinf isfinite"""
UNARY: dict[str, Any] = {n: getattr(np, n) for n in SAME.split()} | INVERSE
UNARY |= {
    "neg": np.negative,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sigmoid": lambda x: np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-x))),
    "softplus": lambda x: np.logaddexp(0, x),
}
BINARY: dict[str, Any] = {
    "add": np.add,
    "atan2": np.arctan2,
    "copysign": np.copysign,
    "div": np.divide,
    "eq": np.equal,
    "floordiv": np.floor_divide,
    "ge": np.greater_equal,
    "hypot": np.hypot,
    "lt": np.less,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "mod": np.mod,
    "mul": np.multiply,
    "ne": np.not_equal,
    "pow": np.power,
    "sub": np.subtract,
    "truncdiv": lambda x, y: np.trunc(x / y),
    "truncmod": np.fmod,
}
INTEGER: dict[str, Any] = {
    "add": np.add,
    "bitand": np.bitwise_and,
    "bitor": np.bitwise_or,
    "bitxor": np.bitwise_xor,
    "floordiv": np.floor_divide,
    "gt": np.greater,
    "le": np.less_equal,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "mod": np.mod,
    "mul": np.multiply,
    "shl": lambda x, y: x << (y & (8 * x.dtype.itemsize - 1)),
    "shr": lambda x, y: x >> (y & (8 * x.dtype.itemsize - 1)),
    "sub": np.subtract,
    "truncdiv": lambda x, y: np.where(y == 0, 0, np.trunc(x / np.where(y == 0, 1, y))),
    "truncmod": np.fmod,
}
SPECIAL = [0.0, -0.0, 1, -1, 0.5, -2.5, 3, np.inf, -np.inf, np.nan, 1e-30, 1e6, -100, 87, -87]


def apply(name: str, kind: str, *inputs: np.ndarray, predicate: bool) -> np.ndarray:
    """One scalar function on arrays."""
    args = ", ".join(f"{a}[i]" for a in "xy"[: len(inputs)])
    names = ", ".join("xy"[: len(inputs)])
    source = f"def f({names}, out, n):\n    i = cuda.grid(1)\n    if i < n:\n        "
    source += f"out[i] = _{name}({args})\n"
    source = f"_{name} = gpu.CUDA_FUNCTIONS['{name}']\n{source}"
    result = "bool" if predicate else kind
    code = build(source, *[f"ptr_{kind}"] * len(inputs), f"ptr_{result}", "i64")
    out = np.zeros(len(inputs[0]), bool if predicate else inputs[0].dtype)
    run(code, -(-len(out) // 128), 128, *inputs, out, len(out))
    if kind == "f32" and name not in ("sin", "cos", "tan"):  # large angles need it
        assert ".f64" not in code.ptx
    assert code.spills == 0
    return out


def compare(name: str, kind: str, function: Any, *inputs: np.ndarray) -> None:
    """Check within four units in the last place of the float64 result, rounded."""
    with np.errstate(all="ignore"):
        exact = function(*(x.astype(np.float64) for x in inputs))
        expected = exact if exact.dtype == bool else exact.astype(inputs[0].dtype)
    got = apply(name, kind, *inputs, predicate=exact.dtype == bool)
    if exact.dtype == bool:
        np.testing.assert_array_equal(got, expected)
        return
    with np.errstate(all="ignore"):
        ulp = np.abs(np.where(got == expected, 0, got - exact)) / np.spacing(np.abs(expected))
    assert np.isnan(got).tolist() == np.isnan(expected).tolist()
    assert np.nanmax(ulp) <= 4, inputs[0][np.nanargmax(ulp)]


@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize("name", UNARY)
def test_function_of_one_float(name: str, kind: str) -> None:
    x = np.concatenate([SPECIAL, normal(300) * 3, normal(100, seed=1) / 8]).astype(DTYPES[kind])
    compare(name, kind, UNARY[name], x)


@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize("name", BINARY)
def test_function_of_two_floats(name: str, kind: str) -> None:
    x, y = np.array(np.meshgrid(SPECIAL, SPECIAL)).reshape(2, -1)
    x = np.concatenate([x, normal(200) * 3]).astype(DTYPES[kind])
    y = np.concatenate([y, normal(200, seed=1) * 2]).astype(DTYPES[kind])
    if kind == "f32" and name in ("floordiv", "truncdiv"):  # the rounding of x / y is part of it
        keep = (y != 0) & np.isfinite(x) & (np.abs(x) < 1e5) & (np.abs(y) > 1e-3)
        x, y = x[keep], y[keep]
    compare(name, kind, BINARY[name], x, y)


@pytest.mark.parametrize("kind", ["i32", "i64", "i8", "u8"])
@pytest.mark.parametrize("name", INTEGER)
def test_function_of_two_integers(name: str, kind: str) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (2, 400)).astype(np.int8 if kind[0] == "i" else np.uint8)
    x, y = x.astype(DTYPES[kind]), (y // 8).astype(DTYPES[kind])
    with np.errstate(all="ignore"):
        expected = np.asarray(INTEGER[name](x, y))
    got = apply(name, kind, x, y, predicate=expected.dtype == bool)
    np.testing.assert_array_equal(got, expected.astype(got.dtype))


def test_functions_without_a_numpy_twin() -> None:
    x = np.abs(normal(300)) + np.float32(0.1)
    for name, exact in (("erf", math.erf), ("erfc", math.erfc), ("lgamma", math.lgamma)):
        got = apply(name, "f32", x, predicate=False)
        expected = np.array([exact(float(v)) for v in x])
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=2e-7, err_msg=name)
    y = np.linspace(-0.99, 0.99, 64).astype(np.float32)
    there = apply("erfinv", "f32", y, predicate=False)
    np.testing.assert_allclose([math.erf(float(v)) for v in there], y, rtol=1e-6, atol=1e-7)
    points = np.array([1, 0.5, 10, -0.5, 2.5], np.float64)
    psi = [-0.5772156649015329, -1.9635100260214235, 2.251752589066721, 0.03648997397857652,
           0.7031566406452432]  # fmt: skip
    np.testing.assert_allclose(apply("digamma", "f64", points, predicate=False), psi, rtol=1e-13)
    got = apply("digamma", "f32", points.astype(np.float32), predicate=False)
    np.testing.assert_allclose(got, psi, rtol=1e-6, atol=3e-7)


def test_select_and_logic() -> None:
    source = """
def logic(p, q, x, y, out):
    i = cuda.grid(1)
    a, b = p[i] != 0, q[i] != 0
    out[i] = gpu.select(_xor(_and(a, b), _not(_or(a, b))), x[i], y[i])
"""
    names = "".join(f"_{n} = gpu.CUDA_FUNCTIONS['{n}']\n" for n in ("and", "or", "xor", "not"))
    code = build(names + source, "ptr_bool", "ptr_bool", "ptr_f32", "ptr_f32", "ptr_f32")
    p, q = np.array([0, 0, 1, 1], bool), np.array([0, 1, 0, 1], bool)
    x, y, out = normal(4), normal(4, seed=1), np.zeros(4, np.float32)
    run(code, 1, 4, p, q, x, y, out)
    np.testing.assert_array_equal(out, np.where(p == q, x, y))
