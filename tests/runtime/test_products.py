"""Products of matrices: values, edges, and that no division into pieces changes a bit."""

from __future__ import annotations

import ctypes
import itertools
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.codegen.cache import ir_address
from staticgraph.codegen.product_source import WAYS, WORDS, product_address
from staticgraph.codegen.tile_source import shape
from staticgraph.ir import dtypes
from staticgraph.ir.program import Buffer
from staticgraph.runtime import products
from staticgraph.runtime.products import Operand, Product, kind_of, matrix_product, tile_texts
from staticgraph.runtime.threads import chunk
from tests.codegen.kernels import arguments, call, finish, python

NOWHERE = Operand(Buffer(0, dtypes.float32, (), "temporary", "b"), 0)
KINDS = {dtypes.float32: 1e-5, dtypes.float64: 1e-13}
SIZES = [
    (1, 1, 1), (3, 4, 5), (1, 7, 2), (5, 1, 3), (17, 33, 65), (64, 2, 1), (1, 130, 40), (24, 64, 9),
    (25, 64, 300), (70, 100, 257), (523, 3, 70),
    (301, 1, 70), (1, 301, 75), (1, 1, 100), (37, 1, 3), (1, 37, 3), (1, 1500, 21), (3, 2, 43),
    (50, 2, 71), (2, 50, 71), (9, 7, 150), (7, 9, 150), (50, 3, 17), (3, 50, 300),
]  # fmt: skip
PAIRS = list(itertools.product([False, True], repeat=2))


def multiply(product: Product, a: Any, b: Any, c: Any, pieces: int = 1) -> None:
    """Do a product on arrays, in pieces of so many units, the last first."""
    buffer = Buffer(0, product.dtype, (), "temporary", "b")
    operands = [Operand(buffer, x if isinstance(x, int) else x.ctypes.data) for x in (a, b, c)]
    row = product.row(operands, 0)
    starts = range(0, row.extent, -(-row.extent // pieces) or 1)
    for lo in reversed(starts):
        hi = min(lo + (starts.step), row.extent)
        assert call(row.function, arguments(*row.words), lo, hi) == 0


def operands(dtype: Any, sizes: tuple[int, int, int], turned: tuple[bool, bool]) -> Any:
    """Random A and B, and the product in float64."""
    m, n, k = sizes
    rng = np.random.default_rng(m + n + k)
    a = rng.standard_normal((k, m) if turned[0] else (m, k)).astype(dtype.np)
    b = rng.standard_normal((n, k) if turned[1] else (k, n)).astype(dtype.np)
    exact = (a.T if turned[0] else a).astype("f8") @ (b.T if turned[1] else b).astype("f8")
    return a, b, exact


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("turned", PAIRS)
def test_sizes_and_transposes(
    dtype: Any, turned: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    for sizes in SIZES:
        a, b, exact = operands(dtype, sizes, turned)
        found = []
        for units, packed, pieces in ((32, 36, 1), (1000, 1, 3), (1, 36, 1)):
            monkeypatch.setattr(products, "UNITS", units)
            monkeypatch.setattr(products, "PACKED_ROWS", packed)
            monkeypatch.setattr(products, "UNIT_FLOPS", 1)
            monkeypatch.setattr(products, "LINE_UNITS", units)
            monkeypatch.setattr(products, "LINE_BYTES", (64 * packed, 8192))
            c = np.full(exact.shape, np.nan, dtype.np)
            multiply(matrix_product(dtype, sizes, turned), a, b, c, pieces)
            found.append(c)
        error = np.abs(found[0] - exact).max()
        assert error <= KINDS[dtype] * np.abs(exact).max() * 4
        assert len({c.tobytes() for c in found}) == 1


WAY_OF = {
    (False, False): {
        (40, 70, 9): "tiles", (40, 2, 90): "dots", (40, 1, 90): "dots", (40, 1, 3): "short",
        (1, 5, 90): "chains", (3, 2, 90): "chains", (1, 500, 90): "line", (2, 500, 90): "tiles",
    },
    (True, True): {(1, 5, 90): "dots", (2, 70, 90): "dots", (7, 1, 90): "chains"},
}  # fmt: skip


def test_every_way_is_taken() -> None:
    found = set()
    for turned, expected in WAY_OF.items():
        for sizes, way in expected.items():
            row = matrix_product(dtypes.float32, sizes, turned).row([NOWHERE] * 3, 0)
            assert WAYS[row.words[WORDS.index("way")]] == way, sizes
            found.add(way)
    assert found == set(WAYS)


@pytest.mark.parametrize("dtype", KINDS)
def test_a_row_refers_to_the_code_that_its_sizes_need(dtype: Any) -> None:
    tiles, first = shape(kind_of(dtype)), WORDS.index("tiles_1")
    widest = tiles.tiles[0][0]
    for n in (1, 9, tiles.columns, tiles.columns + 1, 3 * tiles.columns - 1):
        product = matrix_product(dtype, (40, n, 9), (False, True))
        row = product.row([NOWHERE] * 3, 0)
        found = {i + 1 for i, word in enumerate(row.words[first:]) if word}
        expected = {-(-n // tiles.lanes)} if n <= tiles.columns else {widest, 1}
        if n == 3 * tiles.columns - 1:
            expected = {widest}
        assert found == (expected if WAYS[row.words[WORDS.index("way")]] == "tiles" else set()), n
        assert {ir_address(t) for t in product.texts()} == {
            row.function, *(word for word in row.words[first:] if word)
        }  # fmt: skip
    every = set(tile_texts(dtype, None))
    assert len(every) == 1 + len(tiles.tiles)
    assert all(set(tile_texts(dtype, n)) <= every for n in range(200))


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize(
    "sizes",
    [
        (40, 70, 600),  # the sum is made in three parts
        (1, 5, 3), (40, 2, 90), (40, 1, 3), (3, 2, 90), (1, 500, 90), (2, 3, 90), (7, 70, 9),
        (11, 9, 20),
    ],
)  # fmt: skip
def test_alpha_and_beta(dtype: Any, sizes: tuple[int, int, int]) -> None:
    for turned in PAIRS:
        a, b, exact = operands(dtype, sizes, turned)
        c = np.linspace(-1, 1, exact.size).reshape(exact.shape).astype(dtype.np)
        want = 0.5 * c.astype("f8") - 0.01 * exact
        multiply(matrix_product(dtype, sizes, turned, alpha=-0.01, beta=0.5), a, b, c)
        np.testing.assert_allclose(c, want, rtol=KINDS[dtype] * 10, atol=KINDS[dtype] * 10)


@pytest.mark.parametrize("repeat", ["none", "a", "b"])
def test_batches(repeat: str) -> None:
    rng = np.random.default_rng(3)
    a, b = (rng.standard_normal(s).astype("f4") for s in ((4, 2, 3), (4, 3, 5)))
    c = np.zeros((4, 2, 5), "f4")
    strides = (0 if repeat == "a" else 6, 0 if repeat == "b" else 15, 10)
    product = matrix_product(dtypes.float32, (2, 5, 3), (False, False), batch=4, strides=strides)
    multiply(product, a, b, c, pieces=3)
    want = np.matmul(a[:1] if repeat == "a" else a, b[:1] if repeat == "b" else b)
    np.testing.assert_allclose(c, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", KINDS)
def test_an_empty_sum_is_zero(dtype: Any) -> None:
    nothing = np.zeros(0, dtype.np)
    c = np.array([[1, np.nan], [np.inf, 2], [3, 4]], dtype.np)
    scaled = c * dtype.np.type(0.5)
    multiply(matrix_product(dtype, (3, 2, 0), (False, False), 5.0, 0.5), nothing, nothing, c)
    np.testing.assert_array_equal(c, scaled)
    multiply(matrix_product(dtype, (3, 2, 0), (False, False), 5.0, 0.0), nothing, nothing, c)
    assert c.tobytes() == np.zeros((3, 2), dtype.np).tobytes()


@pytest.mark.parametrize(
    "sizes", [(0, 3, 2), (3, 0, 2), (0, 0, 0), (0, 3, 0), (3, 0, 0), (0, 1, 9), (1, 0, 9)]
)
def test_an_empty_result_takes_nothing(sizes: tuple[int, int, int]) -> None:
    product = matrix_product(dtypes.float32, sizes, (False, True))
    assert product.row([NOWHERE] * 3, 0).extent == 0


@pytest.mark.parametrize("n", [2, 16, 64])
def test_nan_and_infinity_stay_where_they_are(n: int) -> None:
    a = np.eye(9, dtype="f4")
    a[1, 1], a[4, 4] = np.nan, np.inf
    b, c = np.ones((9, n), "f4"), np.full((9, n), np.nan, "f4")
    with np.errstate(invalid="ignore"):
        want = a @ b
    multiply(matrix_product(dtypes.float32, (9, n, 9), (False, False)), a, b, c)
    np.testing.assert_array_equal(c, want)


class Guarded:
    """Arrays that end where memory that may not be touched begins."""

    def __init__(self, nbytes: int) -> None:
        self.size = -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self.map = mmap.mmap(-1, self.size + mmap.PAGESIZE)
        self.bytes = np.frombuffer(self.map, np.uint8)
        self.end = ctypes.c_void_p(self.bytes.ctypes.data + self.size)
        assert ctypes.CDLL(None).mprotect(self.end, mmap.PAGESIZE, 0) == 0

    def place(self, x: np.ndarray) -> np.ndarray:
        """A copy of an array right before the end."""
        y = self.bytes[self.size - x.nbytes : self.size].view(x.dtype).reshape(x.shape)
        y[...] = x
        return y


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("turned", PAIRS)
def test_nothing_outside_is_touched(dtype: Any, turned: tuple[bool, bool]) -> None:
    areas = [Guarded(600_000) for _ in range(3)]
    for sizes in SIZES:
        a, b, exact = operands(dtype, sizes, turned)
        a, b = areas[0].place(a), areas[1].place(b)
        c = areas[2].place(np.zeros(exact.shape, dtype.np))
        before = areas[2].bytes[: areas[2].size - c.nbytes]
        before[...] = 77
        multiply(matrix_product(dtype, sizes, turned), a, b, c)
        assert (before == 77).all()
        np.testing.assert_allclose(c, exact, atol=KINDS[dtype] * 200)


@pytest.mark.parametrize("kernel", [(1, 2), (3, 2), (5, 5)])
def test_windows_are_read_where_they_are(kernel: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 9, 8, 2))
    (n, h, w, c), (kh, kw) = x.shape, kernel
    oh, ow = h - kh + 1, w - kw + 1
    image, line = h * w * c, w * c
    places = [(n, image), (oh, line), (ow, c)]
    inside = [(kh, line), (kw, c), (c, 1)]
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel, (1, 2)).transpose(
        0, 1, 2, 4, 5, 3
    )
    flat = windows.reshape(n * oh * ow, kh * kw * c)
    weights = rng.standard_normal((flat.shape[1], 7))
    out = np.zeros((len(flat), 7))
    multiply(Product(dtypes.float64, places, inside, 7, (7, 1)), x, weights, out, 4)
    np.testing.assert_allclose(out, flat @ weights, atol=1e-13)
    back = np.zeros_like(weights)
    multiply(Product(dtypes.float64, inside, places, 7, (7, 1)), x, out, back)
    np.testing.assert_allclose(back, flat.T @ out, atol=1e-10)


def run(threads: int) -> tuple[list[np.ndarray], int]:
    """Products through a session, and how many steps are shared between threads."""
    rng = np.random.default_rng(0)
    with tf.Graph().as_default():
        x, y, z = (
            tf.placeholder(tf.float32, s) for s in ([None, 300], [300, None], [6, None, 300])
        )
        fetches = [tf.matmul(x, y), tf.matmul(z, z, transpose_b=True)]
        fetches.append(tf.matmul(x, fetches[0], transpose_a=True) * 2.0 + tf.transpose(x)[:, :90])
        feed = {
            t: rng.standard_normal(s).astype("f4")
            for t, s in ((x, (500, 300)), (y, (300, 90)), (z, (6, 170, 300)))
        }
        with tf.Session(config=tf.ConfigProto(intra_op_parallelism_threads=threads)) as sess:
            out = sess.run(fetches, feed)
            plans = [p for e in sess.executables() for p in e.plans.values()]
            shared = sum(
                chunk(r, threads) > 0
                for p in plans
                for r in p.rows
                if r.function == product_address("f32", "tiles")
            )
            return out, shared


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    one, shared = run(1)
    assert shared == 0
    for threads in (2, 3, 8):
        many, shared = run(threads)
        assert shared == 3
        assert [x.tobytes() for x in many] == [x.tobytes() for x in one]


THREADS = """
import threading
from pathlib import Path
import numpy as np, staticgraph as tf

def threads():
    return {t.name for t in Path("/proc/self/task").iterdir()}

before = threads()  # numpy's own have been there since it was imported
x = tf.placeholder(tf.float64, [None, None])
with tf.Session(config=tf.ConfigProto(intra_op_parallelism_threads=3)) as sess:
    sess.run(tf.matmul(x, x), {x: np.ones((300, 300))})
for thread in threading.enumerate():
    if thread.name == "staticgraph-compile":  # of code that other sizes may need
        thread.join()
print(len(threads() - before))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads cannot be counted")
def test_products_have_no_threads_but_the_workers(tmp_path: Path) -> None:
    assert finish(python(THREADS, cache=tmp_path)) == "2"
