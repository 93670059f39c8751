"""Convolution and pooling against scipy and explicit loops, in TensorFlow's conventions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import signal

import staticgraph as tf
from staticgraph.errors import InvalidArgumentError, ShapeError

RNG = np.random.default_rng(0)


def run(t: Any, feed: dict[Any, Any] | None = None) -> Any:
    with tf.Session() as s:
        return s.run(t, feed)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


@pytest.fixture(autouse=True)
def graph() -> Any:
    with tf.Graph().as_default():
        yield


# ---------------------------------------------------------------- convolution
@pytest.mark.parametrize("kernel", [(1, 1), (2, 3), (5, 4)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_conv2d_is_scipys_correlation(kernel: tuple[int, int], padding: str) -> None:
    x, w = normal(2, 7, 6, 3), normal(*kernel, 3, 4)
    want = np.zeros((2, 7, 6, 4))
    kh, kw = kernel
    # scipy's "same" is centred otherwise for even kernels: pad as TensorFlow does, then "valid"
    padded = np.pad(x, ((0, 0), ((kh - 1) // 2, kh // 2), ((kw - 1) // 2, kw // 2), (0, 0)))
    source = padded if padding == "SAME" else x
    want = np.stack([
        np.stack([
            sum(signal.correlate2d(source[n, :, :, c], w[:, :, c, f], "valid") for c in range(3))
            for f in range(4)
        ], -1)
        for n in range(2)
    ])  # fmt: skip
    np.testing.assert_allclose(run(tf.nn.conv2d(x, w, 1, padding)), want, atol=1e-12)


def test_conv3d_is_scipys_correlation() -> None:
    x, w = normal(1, 4, 5, 3, 2), normal(2, 3, 2, 2, 1)
    want = signal.correlate(x[0], w[..., 0], "valid")
    np.testing.assert_allclose(
        run(tf.nn.conv3d(x, w, 1, "VALID"))[0, ..., 0], want[..., 0], atol=1e-12
    )


def test_same_padding_puts_the_odd_zero_behind() -> None:
    x = np.arange(1.0, 5).reshape(1, 1, 4, 1)
    w = np.array([1.0, 10]).reshape(1, 2, 1, 1)
    assert run(tf.nn.conv2d(x, w, 1, "SAME")).ravel().tolist() == [21, 32, 43, 4]
    # stride 2, kernel 3 over 4: one zero in all, behind
    w = np.array([1.0, 10, 100]).reshape(1, 3, 1, 1)
    assert run(tf.nn.conv2d(x, w, 2, "SAME")).ravel().tolist() == [321, 43]
    # over 5: one zero on each side
    x = np.arange(1.0, 6).reshape(1, 1, 5, 1)
    assert run(tf.nn.conv2d(x, w, 2, "SAME")).ravel().tolist() == [210, 432, 54]


def test_explicit_padding_and_dilations() -> None:
    x, w = normal(1, 5, 5, 2), normal(2, 2, 2, 3)
    got = run(tf.nn.conv2d(x, w, 1, [[0, 0], [2, 0], [0, 1], [0, 0]]))
    want = run(tf.nn.conv2d(np.pad(x, ((0, 0), (2, 0), (0, 1), (0, 0))), w, 1, "VALID"))
    np.testing.assert_allclose(got, want)
    wide = np.zeros((3, 3, 2, 3))
    wide[::2, ::2] = w
    np.testing.assert_allclose(
        run(tf.nn.atrous_conv2d(x, w, 2, "VALID")), run(tf.nn.conv2d(x, wide, 1, "VALID"))
    )


def test_channels_first_is_the_same_transposed() -> None:
    x, w = normal(2, 5, 6, 3), normal(3, 2, 3, 4)
    last = run(tf.nn.conv2d(x, w, [1, 2, 1, 1], "SAME"))
    first = run(tf.nn.conv2d(x.transpose(0, 3, 1, 2), w, [1, 1, 2, 1], "SAME", data_format="NCHW"))
    np.testing.assert_allclose(first.transpose(0, 2, 3, 1), last)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_transpose_is_the_adjoint(stride: int, padding: str) -> None:
    x, w = normal(2, 7, 8, 3), normal(3, 4, 3, 2)
    y = run(tf.nn.conv2d(x, w, stride, padding))
    d = normal(*y.shape)
    back = run(tf.nn.conv2d_transpose(d, w, x.shape, stride, padding))
    assert back.shape == x.shape
    np.testing.assert_allclose((y * d).sum(), (back * x).sum())
    by_filter = run(tf.nn.conv2d_backprop_filter(x, w.shape, d, stride, padding))
    np.testing.assert_allclose((y * d).sum(), (by_filter * w).sum())


def test_conv1d_and_its_transpose() -> None:
    x, w = normal(2, 9, 3), normal(4, 3, 5)
    y = run(tf.nn.conv1d(x, w, 2, "VALID"))
    want = np.stack([np.einsum("nkc,kcf->nf", x[:, i : i + 4], w) for i in (0, 2, 4)], 1)
    np.testing.assert_allclose(y, want)
    d = normal(*y.shape)
    back = run(tf.nn.conv1d_transpose(d, w, x.shape, 2, "VALID"))
    np.testing.assert_allclose((y * d).sum(), (back * x).sum())
    first = run(tf.nn.conv1d(x.transpose(0, 2, 1), w, 2, "VALID", data_format="NCW"))
    np.testing.assert_allclose(first.transpose(0, 2, 1), y)


def test_depthwise_and_separable() -> None:
    x, w, p = normal(1, 5, 4, 2), normal(3, 2, 2, 3), normal(1, 1, 6, 4)
    y = run(tf.nn.depthwise_conv2d(x, w, [1, 1, 1, 1], "VALID"))
    for c in range(2):
        for m in range(3):
            want = signal.correlate2d(x[0, :, :, c], w[:, :, c, m], "valid")
            np.testing.assert_allclose(y[0, :, :, 3 * c + m], want, atol=1e-12)
    both = run(tf.nn.separable_conv2d(x, w, p, [1, 1, 1, 1], "VALID"))
    np.testing.assert_allclose(both, y @ p[0, 0])


def test_large_convolution_in_several_blocks() -> None:
    x, w = normal(5, 30, 33, 20).astype("float32"), normal(3, 3, 20, 7).astype("float32")
    y = run(tf.nn.conv2d(x, w, 1, "SAME"))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    want = sum(padded[:, i : i + 30, j : j + 33] @ w[i, j] for i in range(3) for j in range(3))
    np.testing.assert_allclose(y, want, atol=1e-3)
    d = normal(*y.shape).astype("float32")
    by_filter = run(tf.nn.conv2d_backprop_filter(x, w.shape, d, 1, "SAME"))
    want = np.stack([
        np.stack([np.einsum("nhwc,nhwf->cf", padded[:, i : i + 30, j : j + 33],
            d) for j in range(3)])
        for i in range(3)
    ])  # fmt: skip
    np.testing.assert_allclose(by_filter, want, atol=2e-2)


def test_sizes_known_only_at_run_time_compile_once() -> None:
    x = tf.placeholder(tf.float64, [None, None, None, 2])
    w = tf.constant(normal(3, 3, 2, 4))
    y = tf.nn.max_pool(tf.nn.relu(tf.nn.conv2d(x, w, 2, "SAME")), 2, 2, "SAME")
    dx = tf.gradients(y, x)[0]
    with tf.Session() as s:
        for n, h, v in ((1, 7, 6), (3, 8, 9), (2, 12, 5)):
            a = normal(n, h, v, 2)
            got, back = s.run([y, dx], {x: a})
            assert got.shape == (n, -(-h // 4), -(-v // 4), 4)
            assert back.shape == a.shape
            fixed = tf.nn.max_pool(tf.nn.relu(tf.nn.conv2d(a, w, 2, "SAME")), 2, 2, "SAME")
            np.testing.assert_allclose(got, run(fixed))


# ---------------------------------------------------------------- pooling
def windows(n: int, k: int, s: int, padding: str) -> list[range]:
    """Which elements the windows over an axis of n hold, by TensorFlow's definition."""
    if padding == "VALID":
        return [range(i * s, i * s + k) for i in range((n - k + s) // s)]
    out = -(-n // s)
    before = max((out - 1) * s + k - n, 0) // 2
    return [range(max(i * s - before, 0), min(i * s - before + k, n)) for i in range(out)]


@pytest.mark.parametrize(("k", "s"), [(2, 2), (3, 2), (2, 1), (2, 3)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_pooling_by_explicit_loops(k: int, s: int, padding: str) -> None:
    x = normal(2, 7, 6, 3) - 5  # zeros in the padding would win
    rows, columns = windows(7, k, s, padding), windows(6, k, s, padding)
    for fn, numpy in ((tf.nn.max_pool, np.max), (tf.nn.avg_pool, np.mean)):
        want = np.stack([
            np.stack([numpy(x[:, r][:, :, c], axis=(1, 2)) for c in columns], 1) for r in rows
        ], 1)  # fmt: skip
        got = run(fn(x, k, s, padding))
        np.testing.assert_allclose(got, want)
        first = run(fn(x.transpose(0, 3, 1, 2), k, s, padding, data_format="NCHW"))
        np.testing.assert_allclose(first.transpose(0, 2, 3, 1), want)


@pytest.mark.parametrize(("k", "s"), [(2, 2), (3, 1), (3, 2)])
def test_gradient_of_the_maximum_goes_to_the_first(k: int, s: int) -> None:
    x = np.round(normal(2, 5, 6, 2))  # many ties
    rows, columns = windows(5, k, s, "SAME"), windows(6, k, s, "SAME")
    d = normal(2, len(rows), len(columns), 2)
    want = np.zeros_like(x)
    for n, i, j, c in np.ndindex(d.shape):
        places = [(a, b) for a in rows[i] for b in columns[j]]
        a, b = max(places, key=lambda p, n=n, c=c: x[n, p[0], p[1], c])  # the first of equals
        want[n, a, b, c] += d[n, i, j, c]
    t = tf.constant(x)
    got = run(tf.gradients(tf.nn.max_pool(t, k, s, "SAME"), t, d)[0])
    np.testing.assert_allclose(got, want)


def test_gradient_of_the_mean_is_shared() -> None:
    x = tf.constant(np.ones((1, 1, 3, 1)))
    y = tf.nn.avg_pool(x, [1, 1, 2, 1], [1, 1, 2, 1], "SAME")
    assert run(tf.gradients(y, x)[0]).ravel().tolist() == [0.5, 0.5, 1.0]


def test_pools_of_one_and_three_axes() -> None:
    x = normal(2, 6, 3)
    want = x.reshape(2, 3, 2, 3)
    np.testing.assert_allclose(run(tf.nn.max_pool1d(x, 2, 2, "VALID")), want.max(2))
    np.testing.assert_allclose(run(tf.nn.avg_pool1d(x, 2, 2, "VALID")), want.mean(2))
    np.testing.assert_allclose(run(tf.nn.pool(x, [2], "AVG", "VALID", strides=[2])), want.mean(2))
    v = normal(1, 4, 2, 6, 2)
    blocks = v.reshape(1, 2, 2, 1, 2, 3, 2, 2)
    np.testing.assert_allclose(run(tf.nn.max_pool3d(v, 2, 2, "VALID")), blocks.max((2, 4, 6)))
    np.testing.assert_allclose(run(tf.nn.avg_pool3d(v, 2, 2, "VALID")), blocks.mean((2, 4, 6)))


def test_local_response_normalisation() -> None:
    x = normal(1, 2, 2, 7)
    squares = np.pad(x * x, ((0, 0), (0, 0), (0, 0), (2, 2)))
    sums = sum(squares[..., k : k + 7] for k in range(5))
    got = run(tf.nn.lrn(x, depth_radius=2, bias=1.5, alpha=0.3, beta=0.75))
    np.testing.assert_allclose(got, x / (1.5 + 0.3 * sums) ** 0.75)


# ---------------------------------------------------------------- errors
def test_errors_give_both_values() -> None:
    x = tf.ones([1, 5, 5, 3])
    with pytest.raises(ShapeError, match="the input has 3 channels and the filter takes 2"):
        tf.nn.conv2d(x, tf.ones([3, 3, 2, 4]), 1, "SAME")
    with pytest.raises(ShapeError, match="strides takes 1, 2 or 4 numbers, got 3"):
        tf.nn.conv2d(x, tf.ones([3, 3, 3, 4]), [1, 1, 1], "SAME")
    with pytest.raises(ShapeError, match="a filter of 7 does not fit 5"):
        tf.nn.conv2d(x, tf.ones([7, 3, 3, 4]), 1, "VALID")
    with pytest.raises(ShapeError, match="a window of 9 does not fit 5"):
        tf.nn.max_pool(x, 9, 1, "VALID")
    open_ = tf.placeholder(tf.float32, [None, None, 5, 3])
    y = tf.nn.max_pool(open_, 3, 1, "VALID")
    with pytest.raises(InvalidArgumentError, match="a window of 3 does not fit 1"):
        run(y, {open_: np.ones((1, 1, 5, 3), "float32")})
