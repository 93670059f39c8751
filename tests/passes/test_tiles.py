"""Kernels that read along another order of axes than they write go from tile to tile."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.ir.kernel import Kernel
from staticgraph.ir.parse import parse_kernel
from staticgraph.ir.program import Launch, Program
from staticgraph.ir.verify import verify
from staticgraph.passes import tiles
from staticgraph.runtime.compile import function_stages
from staticgraph.runtime.cost import step_cost


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of a few elements, and no array too small for them."""
    for name, value in {"SIDE": 8, "STEP": 4, "SMALL": 1, "SHORT": 2, "WAYS": 0, "LINE": 1}.items():
        monkeypatch.setattr(tiles, name, value)


def lowered(fetches: Any) -> Program:
    fetches = fetches if isinstance(fetches, list) else [fetches]
    program = function_stages(tf.get_default_graph(), fetches).program
    assert program is not None
    verify(program)
    return program


def forms(fetches: Any) -> list[str]:
    return [k.form for k in lowered(fetches).kernels()]


def only_kernel(fetches: Any) -> Kernel:
    """The kernel of the one launch that something takes."""
    (step,) = lowered(fetches).steps
    assert isinstance(step, Launch)
    return step.kernel


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("is_open", [False, True], ids=["known", "open"])
@pytest.mark.parametrize("shape", [(19, 21), (11, 3, 13), (3, 9, 2, 10), (2, 9, 3, 4, 11)])
def test_every_order_of_axes(shape: tuple[int, ...], is_open: bool) -> None:
    perms = list(itertools.permutations(range(len(shape))))
    x = tf.placeholder(tf.float32, [None] * len(shape) if is_open else shape)
    fetches = [tf.transpose(x, p) for p in perms if p != tuple(range(len(shape)))]
    assert "tile" in forms(fetches)
    a = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    with tf.Session() as sess:
        for p, got in zip(perms[1:], sess.run(fetches, {x: a}), strict=True):
            np.testing.assert_array_equal(got, a.transpose(p), err_msg=str(p))


SIZES = (0, 1, 15, 16, 17, 63, 64, 65, 127, 131)


@pytest.mark.parametrize("far", [False, True])
def test_any_size_fits_a_kernel_for_open_sizes(far: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if far:  # with copies of the tiles wherever the sides allow it
        monkeypatch.setattr(tiles, "SMALL", 1)
    x, y = (tf.placeholder(tf.float32, [None, None]) for _ in range(2))
    fetches = [tf.transpose(x), tf.transpose(x) * 2.0 + y]
    rng = np.random.default_rng(0)
    with tf.Session() as sess:
        for rows, columns in itertools.product(SIZES, SIZES):
            a, b = rng.normal(size=(rows, columns)), rng.normal(size=(columns, rows))
            a, b = a.astype(np.float32), b.astype(np.float32)
            plain, sums = sess.run(fetches, {x: a, y: b})
            np.testing.assert_array_equal(plain, a.T)
            np.testing.assert_allclose(sums, a.T * 2 + b, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("columns", [2, 7, 8, 9, 31, 33])
@pytest.mark.parametrize("rows", [2, 7, 8, 9, 16, 65])
def test_any_known_size_does(rows: int, columns: int) -> None:
    x = tf.placeholder(tf.int32, [rows, columns])
    y = tf.transpose(x) * 3
    assert forms(y) == ["tile"]
    a = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    with tf.Session() as sess:
        np.testing.assert_array_equal(sess.run(y, {x: a}), a.T * 3)


DTYPES = [
    tf.bool, tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64,
    tf.float16, tf.bfloat16, tf.float32, tf.float64,
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_every_dtype(dtype: tf.DType) -> None:
    x = tf.placeholder(dtype, [600, 2, 257])
    y = tf.transpose(x, [2, 1, 0])
    assert forms(y) == ["tile"]
    a = np.random.default_rng(0).integers(0, 256, (600, 2, 257)).astype(dtype.as_numpy_dtype)
    with tf.Session() as sess:
        got = sess.run(y, {x: a})
    assert got.dtype == a.dtype
    assert got.tobytes() == np.ascontiguousarray(a.transpose(2, 1, 0)).tobytes()


def test_what_is_fused_with_a_transpose_shares_its_launch() -> None:
    n, m = 600, 170
    x, y = tf.placeholder(tf.float32, [n, m]), tf.placeholder(tf.float32, [m, n])
    b, c = tf.placeholder(tf.float32, [n]), tf.placeholder(tf.float32, [m, 1])
    z = tf.tanh(tf.transpose(x) * 2.0 + y + b) * c
    assert only_kernel(z).form == "tile"
    rng = np.random.default_rng(0)
    feeds = {t: rng.normal(size=t.shape.as_list()).astype(np.float32) for t in (x, y, b, c)}
    with tf.Session() as sess:
        want = np.tanh(feeds[x].T * 2 + feeds[y] + feeds[b]) * feeds[c]
        np.testing.assert_allclose(sess.run(z, feeds), want, rtol=1e-5, atol=1e-5)


def test_several_arrays_are_read_across() -> None:
    x, y, z = (tf.placeholder(tf.float32, [256, 256]) for _ in range(3))
    w = tf.transpose(x) * tf.transpose(y) - tf.transpose(z) + x
    kernel = only_kernel(w)
    assert kernel.form == "tile"
    a, b, c = np.random.default_rng(0).normal(size=(3, 256, 256)).astype(np.float32)
    with tf.Session() as sess:
        got = sess.run(w, {x: a, y: b, z: c})
    np.testing.assert_allclose(got, a.T * b.T - c.T + a, rtol=1e-5, atol=1e-5)


def test_two_orders_at_once() -> None:
    x, y = (tf.placeholder(tf.float32, [64, 64, 64]) for _ in range(2))
    z = tf.transpose(x, [2, 0, 1]) + tf.transpose(y, [2, 1, 0])
    assert only_kernel(z).form == "tile"
    a, b = np.random.default_rng(0).normal(size=(2, 64, 64, 64)).astype(np.float32)
    with tf.Session() as sess:
        got = sess.run(z, {x: a, y: b})
    np.testing.assert_array_equal(got, a.transpose(2, 0, 1) + b.transpose(2, 1, 0))


def test_images_and_back() -> None:
    x = tf.placeholder(tf.float32, [None, 24, 24, 64])
    channels = tf.transpose(x, [0, 3, 1, 2])
    back = tf.transpose(channels * 2.0, [0, 2, 3, 1])
    assert forms(channels) == ["tile"]
    assert forms(back) == ["flat"]  # two of them undo each other
    with tf.Session() as sess:
        for n in (1, 5, 0):
            a = np.random.default_rng(n).normal(size=(n, 24, 24, 64)).astype(np.float32)
            one, other = sess.run([channels, back], {x: a})
            np.testing.assert_array_equal(one, a.transpose(0, 3, 1, 2))
            np.testing.assert_array_equal(other, a * 2)


def test_gradients() -> None:
    x, w = tf.placeholder(tf.float64, [600, 200]), tf.placeholder(tf.float64, [200, 600])
    y = tf.reduce_sum(tf.sin(tf.transpose(x)) * w)
    a, b = np.random.default_rng(0).normal(size=(2, 600, 200))
    with tf.Session() as sess:
        dx, dw = sess.run(tf.gradients(y, [x, w]), {x: a, w: b.T.copy()})
    np.testing.assert_allclose(dx, np.cos(a) * b, rtol=1e-12)
    np.testing.assert_allclose(dw, np.sin(a).T, rtol=1e-12)


def test_threads_change_no_bit() -> None:
    a = np.random.default_rng(0).normal(size=(1000, 777)).astype(np.float32)
    found = []
    for threads in (1, 2, 3):
        with tf.Graph().as_default():
            x = tf.placeholder(tf.float32, [1000, 777])
            y = tf.exp(tf.transpose(x)) / 3.0
            config = tf.ConfigProto(intra_op_parallelism_threads=threads)
            with tf.Session(config=config) as sess:
                found.append(sess.run(y, {x: a}).tobytes())
    assert found[0] == found[1] == found[2]


def test_a_variable_and_its_transpose() -> None:
    a = np.random.default_rng(0).normal(size=(300, 300)).astype(np.float32)
    v = tf.Variable(a)
    step = v.assign(v + tf.transpose(v))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(step)  # not in place: an element is read after it would be written
        np.testing.assert_array_equal(sess.run(v), a + a.T)


@pytest.mark.parametrize("is_open", [False, True], ids=["known", "open"])
def test_both_ways_to_code_move_the_same_bits(
    is_open: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = np.random.default_rng(0).normal(size=(230, 3, 200)).astype(np.float32)
    found = []
    for way in ("", "numba"):
        monkeypatch.setenv("STATICGRAPH_CODEGEN", way)
        with tf.Graph().as_default(), tf.Session() as sess:
            x = tf.placeholder(tf.float32, [None] * 3 if is_open else a.shape)
            y = tf.transpose(x, [2, 0, 1]) * 0.5
            assert forms(y) == ["tile"]
            found.append(sess.run(y, {x: a}))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], a.transpose(2, 0, 1) / 2)


@pytest.mark.parametrize(
    ("shape", "perm", "form"),
    [
        ((4096, 4096), (1, 0), "tile"),
        ((256, 256), (1, 0), "tile"),
        ((32, 56, 56, 64), (0, 3, 1, 2), "tile"),
        ((512, 100, 512), (2, 0, 1), "tile"),
        ((64, 64), (1, 0), "row"),  # in the first cache
        ((1000, 32, 32), (0, 2, 1), "row"),  # each matrix is
        ((400, 400), (1, 0), "row"),  # the lines of a column are, side by side
        ((1024, 1024, 3), (2, 0, 1), "row"),  # neighbours of neighbours are read
        ((3, 1024, 1024), (1, 2, 0), "row"),  # a few rows at a time
        ((64, 100, 512), (1, 0, 2), "row"),  # whole rows move
    ],
)
def test_where_tiles_pay(shape: tuple[int, ...], perm: tuple[int, ...], form: str) -> None:
    x = tf.placeholder(tf.float32, shape)
    assert forms(tf.transpose(x, perm)) == [form]


def test_indices_that_are_checked_are_looked_at_in_order() -> None:
    x, i = tf.placeholder(tf.float32, [300, 520]), tf.placeholder(tf.int32, [300])
    y = tf.gather(tf.transpose(x), i)
    a = np.random.default_rng(0).normal(size=(300, 520)).astype(np.float32)
    at = np.arange(300, dtype=np.int32) % 7
    with tf.Session() as sess:
        np.testing.assert_array_equal(sess.run(y, {x: a, i: at}), a.T[at])
        at[5] = 520
        with pytest.raises(tf.errors.InvalidArgumentError, match="520"):
            sess.run(y, {x: a, i: at})


def test_its_text_is_read_back_and_its_cost_is_that_of_the_elements() -> None:
    x = tf.placeholder(tf.float32, [1100, 130])
    (step,) = lowered(tf.transpose(x) * 2.0 + 1.0).steps
    assert isinstance(step, Launch)
    assert step.kernel.form == "tile"
    assert parse_kernel(str(step.kernel)) == step.kernel
    assert step_cost(step, {}).flops == 2 * 1100 * 130


@pytest.mark.parametrize("is_open", [False, True], ids=["known", "open"])
def test_a_reshape_behind_a_transpose_hides_no_order(is_open: bool) -> None:
    shape = (9, 24, 24, 64)
    x = tf.placeholder(tf.float32, [None, *shape[1:]] if is_open else shape)
    y = tf.reshape(tf.transpose(x, [0, 3, 1, 2]) * 2.0, [-1, 64 * 24 * 24])
    flat = tf.reshape(tf.transpose(x, [0, 3, 1, 2]), [-1])
    assert forms(y) == forms(flat) == ["tile"]
    a = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    with tf.Session() as sess:
        two, one = sess.run([y, flat], {x: a})
    moved = a.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(two, moved.reshape(9, -1) * 2)
    np.testing.assert_array_equal(one, moved.ravel())


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("shape", [(-1,), (9, 400), (40, 3, 30)], ids=str)
def test_reshapes_on_both_sides_of_every_order(shape: tuple[int, ...]) -> None:
    x = tf.placeholder(tf.int32, [3600])
    a = np.arange(3600, dtype=np.int32)
    perms = list(itertools.permutations(range(4)))
    apart = tf.reshape(x, [6, 15, 4, 10])
    fetches = [tf.reshape(tf.transpose(apart, p), shape) for p in perms]
    with tf.Session() as sess:
        for p, y in zip(perms, fetches, strict=True):  # each alone: together they stay in one piece
            want = a.reshape(6, 15, 4, 10).transpose(p).reshape(shape)
            np.testing.assert_array_equal(sess.run(y, {x: a}), want, err_msg=str(p))
    if shape == (-1,):  # which every order divides evenly
        assert [forms(y) for y in fetches].count(["tile"]) >= 6
