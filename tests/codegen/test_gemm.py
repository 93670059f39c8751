"""Matrix products through BLAS."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from staticgraph.codegen import gemm
from staticgraph.codegen.cache import ir_address
from staticgraph.errors import CompileError
from tests.codegen.kernels import arguments, call

KINDS: dict[gemm.Kind, Any] = {"f32": np.float32, "f64": np.float64}


@pytest.fixture(autouse=True)
def folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATICGRAPH_CACHE", str(tmp_path / "kernels"))


def bits(x: float) -> int:
    return int(np.float64(x).view(np.int64))


def block(
    kind: gemm.Kind,
    a: Any,
    b: Any,
    c: Any,
    sizes: tuple[int, int, int],
    transposed: tuple[bool, bool] = (False, False),
    alpha: float = 1.0,
    beta: float = 0.0,
    strides: tuple[int, int, int] = (0, 0, 0),
    blas: int | None = None,
) -> Any:
    batch = c.shape[0] if c.ndim == 3 else 1
    return arguments(
        gemm.blas_address(kind) if blas is None else blas,
        a, b, c, *sizes, *transposed, bits(alpha), bits(beta), batch, *strides,
    )  # fmt: skip


def product(kind: gemm.Kind, *args: Any, lo: int = 0, hi: int = 1, **options: Any) -> int:
    return call(gemm.gemm_address(kind), block(kind, *args, **options), lo, hi)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transposed", list(itertools.product([False, True], repeat=2)))
def test_sizes_and_transposes(kind: gemm.Kind, transposed: tuple[bool, bool]) -> None:
    rng = np.random.default_rng(1)
    ta, tb = transposed
    for m, n, k in [(1, 1, 1), (3, 4, 5), (1, 7, 2), (5, 1, 3), (17, 33, 65), (64, 2, 1)]:
        a = rng.standard_normal((k, m) if ta else (m, k)).astype(KINDS[kind])
        b = rng.standard_normal((n, k) if tb else (k, n)).astype(KINDS[kind])
        c = np.full((m, n), np.nan, KINDS[kind])
        assert product(kind, a, b, c, (m, n, k), transposed) == 0
        expected = (a.T if ta else a) @ (b.T if tb else b)
        np.testing.assert_allclose(c, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_alpha_and_beta(kind: gemm.Kind) -> None:
    rng = np.random.default_rng(2)
    a, b, c = (rng.standard_normal(s).astype(KINDS[kind]) for s in ((6, 4), (6, 5), (4, 5)))
    expected = c - 0.01 * (a.T @ b)
    assert product(kind, a, b, c, (4, 5, 6), (True, False), alpha=-0.01, beta=1.0) == 0
    np.testing.assert_allclose(c, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("repeat", ["none", "a", "b"])
def test_batches(kind: gemm.Kind, repeat: str) -> None:
    rng = np.random.default_rng(3)
    a, b = (rng.standard_normal(s).astype(KINDS[kind]) for s in ((4, 2, 3), (4, 3, 5)))
    c = np.zeros((4, 2, 5), KINDS[kind])
    strides = (0 if repeat == "a" else 6, 0 if repeat == "b" else 15, 10)
    assert product(kind, a, b, c, (2, 5, 3), strides=strides, lo=1, hi=3) == 0
    expected = np.matmul(a[:1] if repeat == "a" else a, b[:1] if repeat == "b" else b)
    np.testing.assert_allclose(c[1:3], expected[1:3], rtol=1e-5, atol=1e-6)
    assert not c[[0, 3]].any()


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_sum_is_zero(kind: gemm.Kind) -> None:
    a, b = np.zeros((3, 0), KINDS[kind]), np.zeros((0, 2), KINDS[kind])
    c = np.array([[1, np.nan], [np.inf, 2], [3, 4]], KINDS[kind])
    scaled = c * KINDS[kind](0.5)
    assert product(kind, a, b, c, (3, 2, 0), alpha=5.0, beta=0.5) == 0
    np.testing.assert_array_equal(c, scaled)
    assert product(kind, a, b, c, (3, 2, 0), alpha=5.0, beta=0.0) == 0
    np.testing.assert_array_equal(c, np.zeros((3, 2)))
    batch = np.full((3, 2, 2), 7, KINDS[kind])
    assert product(kind, a, b, batch, (2, 2, 0), strides=(0, 0, 4), lo=1, hi=3) == 0
    np.testing.assert_array_equal(batch[:, 0, 0], [7, 0, 0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [(0, 3, 2), (3, 0, 2), (0, 0, 0), (0, 3, 0), (3, 0, 0)])
def test_an_empty_result_is_left_alone(kind: gemm.Kind, sizes: tuple[int, int, int]) -> None:
    # The addresses may be anything: nothing is read or written.
    args = arguments(0, 0, 0, 0, *sizes, 0, 0, bits(1.0), bits(0.0), 1, 0, 0, 0)
    assert call(gemm.gemm_address(kind), args, 0, 1) == 0


def test_an_empty_batch_is_left_alone() -> None:
    args = arguments(0, 0, 0, 0, 2, 2, 2, 0, 0, bits(1.0), bits(0.0), 0, 0, 0, 0)
    assert call(gemm.gemm_address("f32"), args, 0, 0) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_nan_and_infinity_go_through(kind: gemm.Kind) -> None:
    a = np.array([[np.nan, 1], [np.inf, 1]], KINDS[kind])
    b = np.eye(2, dtype=KINDS[kind])
    c = np.full((2, 2), np.nan, KINDS[kind])
    assert product(kind, a, b, c, (2, 2, 2)) == 0
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(c, a @ b)


@pytest.mark.parametrize("kind", KINDS)
def test_through_scipy_by_address(kind: gemm.Kind) -> None:
    from scipy.linalg import cython_blas

    blas = gemm._from_capsules(cython_blas.__pyx_capi__)
    address = ir_address(gemm.gemm_source(kind, blas.wide))
    rng = np.random.default_rng(4)
    a, b = (rng.standard_normal(s).astype(KINDS[kind]) for s in ((6, 4), (4, 5)))
    c = np.zeros((6, 5), KINDS[kind])
    routine = blas.sgemm if kind == "f32" else blas.dgemm
    assert call(address, block(kind, a, b, c, (6, 5, 4), blas=routine), 0, 1) == 0
    np.testing.assert_allclose(c, a @ b, rtol=1e-5, atol=1e-6)


def test_sizes_beyond_32_bits_are_refused_by_a_narrow_blas() -> None:
    address = ir_address(gemm.gemm_source("f32", wide=False))
    for sizes in [(1 << 31, 1, 1), (1, 1 << 31, 1), (1, 1, 1 << 31)]:
        args = arguments(0, 0, 0, 0, *sizes, 0, 0, bits(1.0), bits(0.0), 1, 0, 0, 0)
        assert call(address, args, 0, 1) == gemm.TOO_LARGE


def test_falls_back_to_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemm, "_bundled", lambda package: [])
    assert gemm.blas.__wrapped__().origin == "scipy.linalg.cython_blas"


def test_scipys_own_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in gemm._bundled("scipy"):
        found = gemm._open(path)
        assert found is not None
        assert found.sgemm != found.dgemm


def test_no_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(gemm, "_bundled", lambda package: [__file__])
    monkeypatch.setattr(gemm.importlib, "import_module", absent)
    with pytest.raises(CompileError, match="no BLAS found"):
        gemm.blas.__wrapped__()
