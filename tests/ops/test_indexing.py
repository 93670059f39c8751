"""``x[key]`` means what it means in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph.ops  # noqa: F401
from staticgraph.errors import InvalidArgumentError, OutOfBoundsError, ShapeError, UsageError
from staticgraph.ir import dtypes
from staticgraph.ir.evaluate import evaluate
from staticgraph.ir.graph import Graph
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Tensor
from staticgraph.ir.types import TensorType
from staticgraph.passes.close import close

A = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
KEYS: list[Any] = [
    0, -1, (1, 2), np.s_[1:], np.s_[:-1], np.s_[-2:], np.s_[::-1], np.s_[::2, 1:3], np.s_[..., 0],
    np.s_[:, None, 1], np.s_[...], (), np.s_[2:0:-1], np.s_[0:0], np.s_[5:], np.s_[-9:-1:2],
    [0, 2], [], ([0, 2], [1, 1]), (0, [1, 2]), (0, slice(None), [1, 2]),
    (slice(None), [0, 1], [2, 3]), ([0, 1], slice(None), [2, 3]), (..., [-1, 0]), (None, [0, 1]),
    np.array([[0, 1], [2, 0]]), A[:, 0, 0] > 10, A > 30, (slice(None), A[0] > 7),
    (A[:, 0, 0] > 10, 0), (slice(1, None), [True, False, True, True]), ([[0], [1]], [1, 2]),
]  # fmt: skip


def run(y: Tensor, feeds: dict[Tensor, Any]) -> np.ndarray:
    types = {
        t: TensorType(t.dtype, tuple(d if isinstance(d, int) else None for d in t.type.dims))
        for t in feeds
    }
    return evaluate(close(y.graph, [y], types), list(feeds.values()))[0][0]


def placeholder(shape: tuple[int | None, ...], dtype: Any = dtypes.float32) -> Tensor:
    return lookup("Placeholder")(dtype=dtype, shape=shape)


@pytest.mark.parametrize("key", KEYS, ids=str)
@pytest.mark.parametrize("shape", [(3, 4, 5), (None, None, None)], ids=["known", "unknown"])
def test_a_key_selects_what_it_selects_in_numpy(key: Any, shape: tuple[int | None, ...]) -> None:
    with Graph().as_default():
        x = placeholder(shape)
        y = x[key]
        assert y.shape.is_compatible_with(A[key].shape)
        np.testing.assert_array_equal(run(y, {x: A}), A[key])


DYNAMIC = [
    lambda x, t, m: x[t], lambda x, t, m: x[-t], lambda x, t, m: x[t, 1], lambda x, t, m: x[:, t],
    lambda x, t, m: x[t:], lambda x, t, m: x[:t, 0], lambda x, t, m: x[t : t + 2],
    lambda x, t, m: x[..., t], lambda x, t, m: x[[0, 1], t], lambda x, t, m: x[m],
    lambda x, t, m: x[m, t], lambda x, t, m: x[1:][t - 1],
]  # fmt: skip


@pytest.mark.parametrize("index", DYNAMIC)
@pytest.mark.parametrize("t", [1, 2])
def test_keys_known_at_run_time_select_what_they_select_in_numpy(index: Any, t: int) -> None:
    mask = np.array([True, False, True])
    with Graph().as_default():
        x = placeholder((None, 4, 5))
        i, m = placeholder((), dtypes.int32), placeholder((None,), dtypes.bool_)
        y = index(x, i, m)
        np.testing.assert_array_equal(run(y, {x: A, i: np.int32(t), m: mask}), index(A, t, mask))


def test_the_operations_are_named_as_in_tensorflow() -> None:
    with Graph().as_default() as g:
        x = lookup("Placeholder")(dtype=dtypes.float32, shape=(3, 4), name="x")
        _ = x[1, :2]
        assert [op.name for op in g.get_operations()] == [
            "x", "strided_slice/stack", "strided_slice/stack_1", "strided_slice/stack_2",
            "strided_slice",
        ]  # fmt: skip


def test_a_wrong_key_is_refused_when_it_is_written() -> None:
    with Graph().as_default():
        x = placeholder((3, 4))
        with pytest.raises(ShapeError, match="index 3 is outside axis 0 of size 3"):
            _ = x[3]
        with pytest.raises(ShapeError, match="3 indices for the 2 axes"):
            _ = x[0, 1, 2]
        with pytest.raises(OutOfBoundsError, match="index 7 is outside axis 1 of size 4"):
            _ = x[:, [7]]
        with pytest.raises(ShapeError, match="a mask of size 2 on axis 0 of size 3"):
            _ = x[[True, False]]
        for key in (1.5, True, "a"):
            with pytest.raises(UsageError, match="cannot be indexed by"):
                _ = x[key]


def test_a_slice_outside_the_tensor_is_an_error_of_the_run() -> None:
    with Graph().as_default():
        x, n = placeholder((None,)), placeholder((1,), dtypes.int32)
        y = lookup("Slice")(x, [3], n)
        with pytest.raises(InvalidArgumentError, match=r"begin \+ size = 7 exceeds 5"):
            run(y, {x: np.zeros(5), n: np.array([4])})


def test_sizes_are_followed_through_slices_of_shapes() -> None:
    with Graph().as_default():
        x = placeholder((None, 4, 5))
        shape = lookup("Shape")(x)
        a, b, c = lookup("Unpack")(shape, num=3)
        y = lookup("Reshape")(x, [a, b * c])
        assert y.shape.as_list() == [None, 20]
        z = lookup("Reshape")(y, lookup("ConcatV2")([shape[:1], shape[1:]], 0))
        assert z.type.shape == x.type.shape
