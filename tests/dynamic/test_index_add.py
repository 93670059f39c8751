"""Adding slices by index, and narrowing, as PyTorch does."""

from __future__ import annotations

import numpy as np
import pytest

import staticgraph.dynamic as torch
from staticgraph.errors import OutOfBoundsError, ShapeError


def test_index_add_by_every_axis() -> None:
    rng = np.random.RandomState(0)
    x, index = rng.randn(3, 4, 2), np.array([1, 0, 1])
    for axis in range(3):
        shape = [*x.shape]
        shape[axis] = 3
        source = rng.randn(*shape)
        want = np.moveaxis(x.copy(), axis, 0)
        np.add.at(want, index, 2.0 * np.moveaxis(source, axis, 0))
        got = torch.index_add(
            torch.from_numpy(x), axis, torch.tensor(index), torch.from_numpy(source), alpha=2
        )
        np.testing.assert_allclose(got.numpy(), np.moveaxis(want, 0, axis))


def test_index_add_in_place_has_gradients() -> None:
    base, source = torch.zeros(2, 3, requires_grad=True), torch.ones(2, 2, requires_grad=True)
    x = base * 2
    assert x.index_add_(1, torch.tensor([2, 2]), source) is x
    assert x.tolist() == [[0.0, 0.0, 2.0], [0.0, 0.0, 2.0]]
    (x * torch.arange(6.0).reshape(2, 3)).sum().backward()
    assert source.grad.tolist() == [[2.0, 2.0], [5.0, 5.0]]
    assert base.grad.tolist() == [[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]]


def test_narrow_is_a_view() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    part = x.narrow(1, -2, 2)
    part.fill_(7.0)
    assert x.tolist() == [[0.0, 7.0, 7.0], [3.0, 7.0, 7.0]]


def test_what_does_not_fit_is_refused() -> None:
    x = torch.zeros(2, 3)
    with pytest.raises(ShapeError, match=r"source of shape \[2, 3\] for 2 slices along axis 1"):
        x.index_add(1, torch.tensor([0, 1]), torch.zeros(2, 3))
    with pytest.raises(OutOfBoundsError, match="index 3 is outside an axis of size 3"):
        x.index_add_(1, torch.tensor([0, 3]), torch.zeros(2, 2))
    with pytest.raises(OutOfBoundsError, match="2 elements from 2 on of an axis of size 3"):
        x.narrow(1, 2, 2)
