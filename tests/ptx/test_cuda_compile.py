"""Kernels through the real CUDA compiler, its PTX through the interpreter, against NumPy.

Also the budgets that hold on a machine without a GPU: nothing in double precision, 16-byte loads,
no spills, registers under a loose cap.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="the optional extra staticgraph[cuda] is not installed")

from staticgraph.codegen import cuda_intrinsics as gpu
from staticgraph.codegen.cuda_compile import (
    CudaCode,
    CudaCompileError,
    compile_source,
    compiler_version,
)

from .interpreter import MisalignedError, OutOfBoundsError, RaceError, run_ptx

HEAD = """
import math
from numba import cuda, float32
from numba.cuda.types import float16
from staticgraph.codegen import cuda_intrinsics as gpu
"""
THREADS = 256
DTYPES = {"f32": np.float32, "f64": np.float64, "i8": np.int8, "u8": np.uint8, "i32": np.int32}
DTYPES |= {"i64": np.int64}


@functools.cache
def build(source: str, *signature: str) -> CudaCode:
    """Compile the only function of a source."""
    found = re.search(r"def (\w+)", source)
    assert found
    return compile_source(HEAD + source, found[1], signature)


def run(code: CudaCode, grid: Any, block: Any, *args: Any) -> None:
    """Interpret a kernel; Python integers are int64."""
    values = [np.int64(a) if isinstance(a, int) else a for a in args]
    run_ptx(code.ptx, code.name, grid, block, values)


def check_budget(code: CudaCode, registers: int = 80) -> None:
    """What every float32 kernel must keep to."""
    assert ".f64" not in code.ptx
    assert code.spills == 0
    assert code.stack_bytes == 0
    assert code.registers <= registers
    assert code.cubin[:4] == b"\x7fELF"


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


FUSED = """
def fused(x, w, out, n):
    i = cuda.grid(1)
    step = cuda.gridsize(1)
    while i < n >> 2:
        a, b, c, d = gpu.load4_readonly(x, i)
        e, f, g, h = gpu.load4_readonly(w, i)
        gpu.store4(
            out, i,
            gpu.tanh(a) / (float32(1) + gpu.exp(-e)),
            gpu.tanh(b) / (float32(1) + gpu.exp(-f)),
            gpu.tanh(c) / (float32(1) + gpu.exp(-g)),
            gpu.tanh(d) / (float32(1) + gpu.exp(-h)),
        )
        i += step
    i = (n & -4) + cuda.grid(1)
    if i < n:
        out[i] = gpu.tanh(x[i]) / (float32(1) + gpu.exp(-w[i]))
"""


@pytest.mark.parametrize("n", [0, 1, 4, 1000, 8191])
def test_fused_elementwise(n: int) -> None:
    code = build(FUSED, "ptr_f32", "ptr_f32", "ptr_f32", "i64")
    check_budget(code)
    assert re.search(r"ld\.global\.nc\.v4\.f32", code.ptx)
    assert re.search(r"st\.global\.v4\.f32", code.ptx)
    x, w, out = normal(n), normal(n, seed=1), np.full(n, 7, np.float32)
    run(code, 4, THREADS, x, w, out, n)
    np.testing.assert_allclose(out, np.tanh(x) / (1 + np.exp(-w)), rtol=2e-6)


def test_the_interpreter_catches_a_wrong_size_and_a_wrong_alignment() -> None:
    code = build(FUSED, "ptr_f32", "ptr_f32", "ptr_f32", "i64")
    x = normal(64)
    with pytest.raises(OutOfBoundsError, match=r"argument 1 .*ld.global"):
        run(code, 1, 32, x, x[:60].copy(), x.copy(), 64)
    shifted = re.sub(r"(ld\.global\.nc\.v4\.f32.*\[%rd\d+)\]", r"\1+4]", code.ptx)
    with pytest.raises(MisalignedError, match=r"access of 16 bytes at 4 .*ld.global.nc.v4.f32"):
        run_ptx(shifted, "fused", 1, 32, [x, x.copy(), x.copy(), np.int64(64)])


SOFTMAX = """
def softmax(x, out, columns):
    base = int(cuda.blockIdx.x) * columns
    largest = float32(-math.inf)
    i = cuda.threadIdx.x
    while i < columns:
        largest = gpu.maximum(largest, x[base + i])
        i += cuda.blockDim.x
    largest = gpu.block_max(largest)
    total = float32(0)
    i = cuda.threadIdx.x
    while i < columns:
        total += gpu.exp(x[base + i] - largest)
        i += cuda.blockDim.x
    total = gpu.block_sum(total)
    i = cuda.threadIdx.x
    while i < columns:
        out[base + i] = gpu.exp(x[base + i] - largest) / total
        i += cuda.blockDim.x
"""


@pytest.mark.parametrize("threads", [32, 128, 256])
def test_softmax_of_rows(threads: int) -> None:
    code = build(SOFTMAX, "ptr_f32", "ptr_f32", "i64")
    check_budget(code)
    assert code.shared_bytes >= 2 * 128  # one array for each of the two reductions
    x = normal(6, 301) * 10
    x[3, 5] = np.nan
    out = np.zeros_like(x)
    run(code, 6, threads, x, out, 301)
    e = np.exp(x - x.max(1, keepdims=True))
    np.testing.assert_allclose(out, e / e.sum(1, keepdims=True), rtol=5e-6)
    assert np.isnan(out[3]).all()


SUM = """
def total(x, partial, n4):
    i = cuda.grid(1)
    result = float32(0)
    while i < n4:
        a, b, c, d = gpu.load4_readonly(x, i)
        result += (a + b) + (c + d)
        i += cuda.gridsize(1)
    result = gpu.block_sum(result)
    if cuda.threadIdx.x == 0:
        partial[cuda.blockIdx.x] = result
"""


def test_sum_of_everything_in_two_passes() -> None:
    code = build(SUM, "ptr_f32", "ptr_f32", "i64")
    check_budget(code)
    assert re.search(r"ld\.global\.nc\.v4\.f32", code.ptx)
    assert not re.search(r"^\s*(atom|red)\.", code.ptx, re.MULTILINE)
    x = normal(20_000)
    results = []
    for _ in range(2):
        partial, out = np.full(8, np.nan, np.float32), np.zeros(1, np.float32)
        run(code, 8, THREADS, x, partial, x.size // 4)
        run(code, 1, 32, partial, out, 2)
        results.append(out[0])
    assert results[0] == results[1]
    np.testing.assert_allclose(results[0], x.astype(np.float64).sum(), rtol=1e-5)


COLUMNS = """
def columns(x, out, rows, width):
    tile = cuda.shared.array((8, 32), float32)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    column = cuda.blockIdx.x * 32 + tx
    result = float32(0)
    if column < width:
        row = int(ty)
        while row < rows:
            result += x[row * width + column]
            row += 8
    tile[ty, tx] = result
    cuda.syncthreads()
    half = 4
    while half > 0:
        if ty < half:
            tile[ty, tx] += tile[ty + half, tx]
        cuda.syncthreads()
        half >>= 1
    if ty == 0 and column < width:
        out[column] = tile[0, tx]
"""


@pytest.mark.parametrize("shape", [(1, 1), (100, 70), (9, 64)])
def test_sum_of_columns(shape: tuple[int, int]) -> None:
    code = build(COLUMNS, "ptr_f32", "ptr_f32", "i64", "i64")
    check_budget(code)
    x, out = normal(*shape), np.zeros(shape[1], np.float32)
    run(code, -(-shape[1] // 32), (32, 8), x, out, *shape)
    np.testing.assert_allclose(out, x.sum(0), rtol=1e-5, atol=1e-5)


MATMUL = """
def matmul(a, b, c, m, n, k):
    left = cuda.shared.array((16, 16), float32)
    right = cuda.shared.array((16, 16), float32)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    row, column = cuda.blockIdx.y * 16 + ty, cuda.blockIdx.x * 16 + tx
    result = float32(0)
    for start in range(0, k, 16):
        left[ty, tx] = a[row * k + start + tx] if row < m and start + tx < k else float32(0)
        inside = start + ty < k and column < n
        right[ty, tx] = b[(start + ty) * n + column] if inside else float32(0)
        cuda.syncthreads()
        for j in range(16):
            result += left[ty, j] * right[j, tx]
        cuda.syncthreads()
    if row < m and column < n:
        c[row * n + column] = result
"""


def test_tiled_matrix_product_and_its_barriers() -> None:
    signature = ("ptr_f32",) * 3 + ("i64",) * 3
    code = build(MATMUL, *signature)
    check_budget(code)
    m, n, k = 50, 37, 45
    a, b, c = normal(m, k), normal(k, n, seed=1), np.zeros((m, n), np.float32)
    run(code, (3, 4), (16, 16), a, b, c, m, n, k)
    np.testing.assert_allclose(c, a @ b, rtol=1e-4, atol=1e-5)
    for which in (0, 1):  # the kernel without one of its barriers
        parts = MATMUL.split("        cuda.syncthreads()\n")
        parts[which : which + 2] = [parts[which] + parts[which + 1]]
        source = "        cuda.syncthreads()\n".join(parts)
        with pytest.raises(RaceError, match=r"line \d+: (ld|st)\.shared"):
            run(build(source, *signature), (3, 4), (16, 16), a, b, c, m, n, k)


REDUCTIONS = {
    "sum": np.sum,
    "max": np.max,
    "min": np.min,
    "prod": np.prod,
}


@pytest.mark.parametrize("kind", ["f32", "f64", "i32", "i64"])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_over_a_warp_and_a_block(name: str, kind: str) -> None:
    source = f"""
def reduce(x, out):
    i = cuda.grid(1)
    out[2 * i] = gpu.warp_{name}(x[i])
    out[2 * i + 1] = gpu.block_{name}(x[i])
"""
    code = build(source, f"ptr_{kind}", f"ptr_{kind}")
    dtype = DTYPES[kind]
    rng = np.random.default_rng(0)
    x = (rng.uniform(0.9, 1.1, 192) if kind[0] == "f" else rng.integers(1, 3, 192)).astype(dtype)
    x[100] = -x[100]
    out = np.zeros((192, 2), dtype)
    run(code, 2, 96, x, out)
    tolerance = {"f32": 1e-5, "f64": 1e-13}.get(kind, 0)
    with np.errstate(over="ignore"):
        per_warp = REDUCTIONS[name](x.reshape(-1, 32), axis=1, dtype=dtype) if name in (
            "sum", "prod") else REDUCTIONS[name](x.reshape(-1, 32), axis=1)  # fmt: skip
        per_block = REDUCTIONS[name](per_warp.reshape(2, 3), axis=1)
    np.testing.assert_allclose(out[:, 0], np.repeat(per_warp, 32), rtol=tolerance)
    np.testing.assert_allclose(out[:, 1], np.repeat(per_block, 96).astype(dtype), rtol=tolerance)


def test_shuffles() -> None:
    source = """
def shuffle(x, out):
    i = cuda.grid(1)
    out[2 * i] = gpu.warp_shuffle_down(x[i], 3)
    out[2 * i + 1] = gpu.warp_shuffle_xor(x[i], 7)
"""
    x, out = normal(32), np.zeros((32, 2), np.float32)
    run(build(source, "ptr_f32", "ptr_f32"), 1, 32, x, out)
    np.testing.assert_array_equal(out[:29, 0], x[3:])
    np.testing.assert_array_equal(out[:, 1], x[np.arange(32) ^ 7])


# --- scalar functions ---------------------------------------------------------------------------

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
    import math

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


def test_half_precision_is_loaded_four_at_a_time() -> None:
    source = """
def scale(x, out, n4):
    i = cuda.grid(1)
    if i < n4:
        a, b, c, d = gpu.load4(x, i)
        two = float32(2)
        gpu.store4(
            out, i,
            float16(float32(a) * two), float16(float32(b) * two),
            float16(float32(c) * two), float16(float32(d) * two),
        )
"""
    code = build(source, "ptr_f16", "ptr_f16", "i64")
    check_budget(code)
    assert re.search(r"ld\.global\.v4", code.ptx)
    x = normal(128).astype(np.float16)
    out = np.zeros_like(x)
    run(code, 1, 64, x, out, 32)
    np.testing.assert_array_equal(out, x * np.float16(2))


def test_read_only_loads_of_single_elements() -> None:
    source = "def copy(x, out):\n    i = cuda.grid(1)\n    out[i] = gpu.load_readonly(x, i)\n"
    code = build(source, "ptr_f32", "ptr_f32")
    assert "ld.global.nc.f32" in code.ptx
    x, out = normal(32), np.zeros(32, np.float32)
    run(code, 1, 32, x, out)
    np.testing.assert_array_equal(out, x)


# --- the compiler's own behaviour ---------------------------------------------------------------


def test_types_are_never_mixed_silently() -> None:
    source = "def mixed(x, out):\n    out[0] = gpu.maximum(x[0], 0)\n"
    with pytest.raises(CudaCompileError, match="kernel mixed"):
        build(source, "ptr_f32", "ptr_f32")


def test_the_same_source_gives_the_same_code() -> None:
    one = compile_source(HEAD + SUM, "total", ("ptr_f32", "ptr_f32", "i64"))
    other = compile_source(HEAD + SUM, "total", ("ptr_f32", "ptr_f32", "i64"))
    clean = [re.sub(r"_ZN\w+|_cudapy_smem_\d+", "", code.ptx) for code in (one, other)]
    assert clean[0] == clean[1]
    assert ".entry total(" in one.ptx
    assert "NumbaEnv" not in one.ptx


def test_architecture_and_launch_bounds_reach_the_code() -> None:
    code = compile_source(
        HEAD + SUM, "total", ("ptr_f32", "ptr_f32", "i64"), cc=(8, 0), launch_bounds=(128, 2)
    )
    assert ".target sm_80" in code.ptx
    assert re.search(r"\.maxntid 128", code.ptx)
    assert re.search(r"\.minnctapersm 2", code.ptx)
    assert "nvidia-nvvm==" in compiler_version()


def test_an_unknown_argument_type_is_refused() -> None:
    with pytest.raises(ValueError, match="'ptr_x99'"):
        compile_source(HEAD + SUM, "total", ("ptr_x99",))


def test_every_function_is_an_attribute() -> None:
    assert gpu.exp is gpu.CUDA_FUNCTIONS["exp"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gpu.nothing
