"""Kernels through the real CUDA compiler, its PTX through the interpreter, against NumPy.

Also the budgets that hold on a machine without a GPU: nothing in double precision, 16-byte loads,
no spills, registers under a loose cap.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="the optional extra staticgraph[cuda] is not installed")

from staticgraph.codegen import cuda_intrinsics as gpu
from staticgraph.codegen.cuda_compile import CudaCompileError, compile_source, compiler_version

from .interpreter import MisalignedError, OutOfBoundsError, RaceError, run_ptx
from .kernels import DTYPES, HEAD, THREADS, build, check_budget, normal, run

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
        run_ptx(shifted, "fused", 1, 32, [x, x.copy(), x.copy(), np.int64(48)])


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


REDUCTIONS: dict[str, Any] = {
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


def test_numpy_without_row_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(np, "row_stack", raising=False)
    compile_source(HEAD + SUM, "total", ("ptr_f32", "ptr_f32", "i64"))
    assert np.row_stack is np.vstack


def test_an_unknown_argument_type_is_refused() -> None:
    with pytest.raises(ValueError, match="'ptr_x99'"):
        compile_source(HEAD + SUM, "total", ("ptr_x99",))


def test_every_function_is_an_attribute() -> None:
    assert gpu.exp is gpu.CUDA_FUNCTIONS["exp"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gpu.nothing
