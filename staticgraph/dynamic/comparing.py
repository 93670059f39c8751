"""Whole tensors compared: equal, or nearly so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from staticgraph.dynamic.apply import Taped, wrap

if TYPE_CHECKING:
    from staticgraph.dynamic.tensor import Tensor


def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a tensor."""
    return isinstance(obj, Taped)


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and elements."""
    a, b = input._array, other._array
    return a.shape == b.shape and bool((a == b).all())


def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08,
    equal_nan: bool = False,
) -> bool:  # fmt: skip
    """Whether all elements are near each other: ``|a - b| <= atol + rtol * |b|``.

    >>> import staticgraph.dynamic as torch
    >>> torch.allclose(torch.tensor([1.0]), torch.tensor([1.000001]))
    True
    """
    return bool(np.allclose(input._array, other._array, rtol, atol, equal_nan))


def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08,
    equal_nan: bool = False,
) -> Tensor:  # fmt: skip
    """Where elements are near each other."""
    return wrap(np.isclose(input._array, other._array, rtol, atol, equal_nan))  # type: ignore[no-any-return]
