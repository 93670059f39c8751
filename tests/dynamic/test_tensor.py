"""Tensors as containers: memory, conversion, random numbers, files, old names."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
import staticgraph.dynamic as torch
from staticgraph.errors import (
    DataLossError,
    DtypeError,
    OutOfBoundsError,
    ShapeError,
    UnimplementedError,
    UsageError,
)


def test_arrays_and_tensors_share_memory() -> None:
    a = np.zeros(3)
    x = torch.from_numpy(a)
    a[0] = 1
    x[1] = 2
    x.numpy()[2] = 3
    assert a.tolist() == x.tolist() == [1.0, 2.0, 3.0]
    assert torch.tensor(a).numpy() is not a
    assert np.asarray(x) is a


def test_views_share_memory_and_copies_do_not() -> None:
    x = torch.zeros(2, 3)
    for view in (
        x[0],
        x.t(),
        x.view(6),
        x.reshape(3, 2),
        x[:, 1:],
        x.unsqueeze(0),
        x.T,
        x.detach(),
    ):
        view.add_(1)
    assert x.sum().item() == sum((3, 6, 6, 6, 4, 6, 6, 6))
    before = x.clone()
    for other in (
        x.clone(),
        x[[0, 1]],
        x[x > 0],
        x.t().reshape(6),
        x + 0,
        torch.tensor(x),
        x.float() + 0,
    ):
        other.add_(1)
    assert torch.equal(x, before)
    assert x.float() is x


def test_memory_that_cannot_be_viewed() -> None:
    with pytest.raises(ShapeError, match="cannot lie in the memory"):
        torch.zeros(2, 3).t().view(6)


def test_numpy_keeps_reporting_to_the_user() -> None:
    with np.errstate(divide="raise"):
        assert torch.tensor(1.0).div(0.0).item() == np.inf
        with pytest.raises(FloatingPointError):
            np.float64(1.0) / np.zeros(1)


def test_reflected_operators_and_numpy_scalars() -> None:
    x = torch.tensor([1.0, 2.0])
    assert (np.float64(2.0) * x).dtype is torch.float32
    assert (2 / x).tolist() == [2.0, 1.0]
    assert (1 - x).tolist() == [0.0, -1.0]
    assert (x == None) is False  # noqa: E711
    with pytest.raises(TypeError):
        x + "a"  # type: ignore[operator]


def test_in_place_operators_keep_the_tensor() -> None:
    x = y = torch.tensor([1.0, 2.0])
    x += 1
    x *= 2
    x /= 4
    x -= 0.5
    x **= 2
    assert x is y
    assert y.tolist() == [0.25, 1.0]


def test_numbers_out_of_tensors() -> None:
    x = torch.tensor([2])
    assert (int(x), float(x), bool(x), [10, 20, 30][x], x.item()) == (2, 2.0, True, 30, 2)
    assert f"{torch.tensor(1.23456):.2f}" == "1.23"
    with pytest.raises(ShapeError, match="has 2 elements"):
        torch.ones(2).item()


def test_sizes() -> None:
    x = torch.zeros(2, 3)
    assert (x.shape, x.size(), x.size(-1), x.dim(), x.numel(), len(x)) == (
        (2, 3),
        (2, 3),
        3,
        2,
        6,
        2,
    )
    assert isinstance(x.shape[:1], torch.Size)
    assert x.stride() == (3, 1)
    assert [r.tolist() for r in x] == [[0.0] * 3] * 2


def test_old_names() -> None:
    dtype = torch.cuda.FloatTensor if torch.cuda.is_available() else torch.FloatTensor
    x = torch.zeros(2, dtype=torch.double).type(dtype)
    assert x.type() == "torch.FloatTensor"
    assert isinstance(x, torch.FloatTensor)
    assert not isinstance(x, torch.LongTensor)
    assert torch.LongTensor([1, 2]).dtype is torch.int64
    assert torch.Tensor([1, 2]).dtype is torch.float32
    assert torch.Tensor(2, 3).shape == (2, 3)
    v = torch.autograd.Variable(x, requires_grad=True)
    assert isinstance(v, torch.autograd.Variable)
    assert v.data.dtype is torch.float32


def test_default_type() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.tensor(1.0).dtype is torch.zeros(1).dtype is torch.float64
        assert (torch.tensor([1]) * 0.5).dtype is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    with pytest.raises(DtypeError, match="not int64"):
        torch.set_default_dtype(torch.int64)


def test_random_numbers_follow_the_seed() -> None:
    torch.manual_seed(3)
    first = [torch.rand(3), torch.randn(2, 2), torch.randint(0, 10, (5,)), torch.randperm(6)]
    torch.manual_seed(3)
    again = [torch.rand(3), torch.randn(2, 2), torch.randint(0, 10, (5,)), torch.randperm(6)]
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)
    assert sorted(first[3].tolist()) == list(range(6))
    own = torch.Generator().manual_seed(3)
    assert torch.equal(torch.rand(3, generator=own), first[0])
    assert not torch.equal(torch.rand(3, generator=own), first[0])


def test_the_first_draw_is_the_graphs() -> None:
    with tf.Graph().as_default(), tf.Session() as sess:
        uniform = sess.run(tf.random_uniform([5], seed=7))
        normal = sess.run(tf.random_normal([5], seed=7))
    torch.manual_seed(7)
    np.testing.assert_array_equal(torch.rand(5).numpy(), uniform)
    torch.manual_seed(7)
    np.testing.assert_allclose(torch.randn(5).numpy(), normal, rtol=1e-6)


def test_random_records_draw_from_the_stream() -> None:
    from staticgraph.ir.op import lookup

    x = torch.arange(8)
    torch.manual_seed(1)
    a = lookup("RandomShuffle")(x)
    torch.manual_seed(1)
    assert torch.equal(a, x[torch.randperm(8)])


def test_distributions() -> None:
    torch.manual_seed(0)
    x = torch.empty(20_000).uniform_(-1, 3)
    assert -1 <= x.min().item() < x.max().item() < 3
    assert abs(x.mean().item() - 1) < 0.05
    x = torch.empty(20_000).normal_(2, 3)
    assert abs(x.mean().item() - 2) < 0.1
    assert abs(x.std().item() - 3) < 0.1
    b = torch.bernoulli(torch.full((20_000,), 0.25))
    assert abs(b.mean().item() - 0.25) < 0.02
    counts = torch.multinomial(torch.tensor([1.0, 0.0, 3.0]), 20_000, replacement=True)
    shares = torch.bincount(counts).double() / 20_000
    assert torch.allclose(shares, torch.tensor([0.25, 0, 0.75], dtype=torch.double), atol=0.02)
    drawn = torch.multinomial(torch.tensor([1.0, 0.0, 3.0]), 2)
    assert sorted(drawn.tolist()) == [0, 2]


def test_files(tmp_path: Path) -> None:
    state = {
        "w": torch.randn(2, 3), "b": torch.ones(2, dtype=torch.bfloat16), "step": 3,
        "nested": [1.5, ("a", None, True)], "leaf": torch.ones(1, requires_grad=True),
    }  # fmt: skip
    for place in (tmp_path / "state.pt", io.BytesIO()):
        torch.save(state, place)
        if isinstance(place, io.BytesIO):
            place.seek(0)
        found = torch.load(place)
        assert list(found) == list(state)
        assert torch.equal(found["w"], state["w"])
        assert found["b"].dtype is torch.bfloat16
        assert (found["step"], found["nested"]) == (3, [1.5, ("a", None, True)])
        assert found["leaf"].requires_grad
    (tmp_path / "bad").write_bytes(b"no archive")
    with pytest.raises(DataLossError, match="not a file of tensors"):
        torch.load(tmp_path / "bad")
    with pytest.raises(UsageError, match="cannot be saved"):
        torch.save(object(), io.BytesIO())


def test_copies() -> None:
    x = torch.ones(2, requires_grad=True)
    for y in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert torch.equal(x, y)
        assert y.requires_grad
        assert y is not x


def index_too_large() -> None:
    torch.zeros(3)[5]


def index_in_a_tensor() -> None:
    torch.zeros(3, requires_grad=True)[torch.tensor([0, 7])]


def sizes() -> None:
    torch.zeros(2, 3).reshape(4)


def ragged() -> None:
    torch.tensor([[1, 2], [3]])


def text() -> None:
    torch.tensor("a")


def pieces() -> None:
    torch.cat([torch.ones(2, 3), torch.ones(2, 4)])


def device() -> None:
    torch.zeros(2, device="cuda")


def row() -> None:
    torch.zeros(3, 3)[0] = torch.ones(4)


def fractions() -> None:
    torch.arange(3).mean()


def place() -> None:
    torch.ones(3)[0.5]


@pytest.mark.parametrize(
    ("function", "kind", "match"),
    [
        (index_too_large, OutOfBoundsError, "index 5 is out of bounds"),
        (index_in_a_tensor, OutOfBoundsError, "index 7 is out"),
        (sizes, ShapeError, r"cannot reshape \[2, 3\] of 6 elements to \[4\] of 4"),
        (ragged, ShapeError, "different lengths"),
        (text, DtypeError, "no number"),
        (pieces, ShapeError, "differ on axis 1, 3 and 4"),
        (device, UnimplementedError, "live on the CPU; 'cuda'"),
        (row, ShapeError, r"shape \[4\] does not broadcast to the place of shape \[3\]"),
        (fractions, DtypeError, "the mean of int64"),
        (place, UsageError, "cannot be indexed by 0.5"),
    ],
)
def test_errors_name_the_line(function: Any, kind: Any, match: str) -> None:
    with pytest.raises(kind, match=match) as e:
        function()
    assert f"test_tensor.py:{function.__code__.co_firstlineno + 1} in {function.__name__}:" in str(
        e.value
    )


@pytest.mark.parametrize(
    ("name", "where"), [("utils", "staticgraph.data"), ("compile", "staticgraph.function")]
)
def test_what_is_elsewhere(name: str, where: str) -> None:
    with pytest.raises(AttributeError, match=where):
        getattr(torch, name)
    assert not hasattr(torch, "distributions")
