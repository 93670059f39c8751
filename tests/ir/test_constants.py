"""Constant arrays: where they lie, how they compare, and that there is one copy of each."""

from __future__ import annotations

import hashlib
import tracemalloc
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import staticgraph as tf
from staticgraph.ir.arrays import ALIGNMENT, address, owner
from staticgraph.ir.types import ConstantArray

KINDS = [np.bool_, np.uint8, np.float16, ml_dtypes.bfloat16, np.float32, np.complex128]
SHAPES = [(), (1,), (0, 3), (17,), (3, 7), (5, 1, 40), (300, 300)]


def _orders(a: np.ndarray) -> list[np.ndarray]:
    twice = np.repeat(a.reshape(-1), 2)[::2].reshape(a.shape) if a.size else a
    return [a, np.array(a, order="F"), twice]


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_a_copy_that_kernels_can_read(dtype: Any, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    want = np.asarray(rng.integers(0, 2, shape)).astype(dtype)
    digests = set()
    for given in _orders(want):
        c = ConstantArray(given)
        assert (c.array.dtype, c.array.shape) == (want.dtype, want.shape)
        assert c.array.flags.c_contiguous and not c.array.flags.writeable
        assert not np.shares_memory(c.array, given)
        if c.array.nbytes > ALIGNMENT:
            assert address(c.array) % ALIGNMENT == 0
        assert c.array.tobytes() == want.tobytes()
        assert c == ConstantArray(want) and hash(c) == hash(ConstantArray(want))
        digests.add(c.digest)
    text = f"{want.dtype.str}{want.shape}".encode()
    assert digests == {hashlib.blake2b(text + want.tobytes(), digest_size=16).digest()}


def test_what_differs_in_a_bit_a_shape_or_a_type_is_another() -> None:
    a = np.zeros((4, 30), np.float32)
    b = a.copy()
    b[-1, -1] = -0.0
    others = [a, b, a.reshape(30, 4), a.view(np.int32), a[:, :0], a[:0], np.zeros((), np.float32)]
    others += [np.array(["a", None], object), np.array(["a", "b"], object), np.array(["a", "b"])]
    assert len({ConstantArray(x) for x in others}) == len(others)
    assert ConstantArray(["a", "b"]) == ConstantArray(np.array(["a", "b"]))


def test_a_change_of_the_users_array_comes_too_late() -> None:
    given = np.ones(1000, np.float32)
    c = ConstantArray(given)
    given[:] = 2.0
    assert (c.array == 1.0).all()


def test_the_digest_takes_no_second_copy() -> None:
    c = ConstantArray(np.zeros((1000, 1000)))
    tracemalloc.start()
    try:
        assert len(c.digest) == 16
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("n", [17, 1000, 16_384, 20_000])
def test_graph_program_and_executable_have_one_array(n: int) -> None:
    c = tf.constant(np.arange(n, dtype=np.float32))
    x = tf.placeholder(tf.float32, [n])
    with tf.Session() as sess:
        got = sess.run(c * x, {x: np.full(n, 2.0)})
        (exe,) = sess.executables()
    (held,) = exe.constants.values()
    assert held is c.op.get_attr("value").array
    np.testing.assert_array_equal(got, 2.0 * np.arange(n, dtype=np.float32))


def test_what_kernels_cannot_read_as_it_lies_is_copied_once() -> None:
    few = tf.constant(np.arange(3, dtype=np.float32))
    x = tf.placeholder(tf.float32, [5, 3])
    last = tf.scan(lambda a, row: a * 0.5 + row * few, x, few)
    with tf.Session() as sess:
        sess.run(last, {x: np.ones((5, 3))})
        (exe,) = sess.executables()
    copies = {id(owner(a)) for b, a in exe.constants.items() if b.dims == (3,)}
    assert len(copies) == 1
    assert all(address(a) % ALIGNMENT == 0 for a in exe.constants.values())
