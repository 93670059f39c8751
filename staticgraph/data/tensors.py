"""Tensors of `staticgraph.dynamic` among the items and batches.

That package is only imported by who makes tensors: without it there are none to be found.
"""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from typing import Any

import numpy as np


def is_tensor(value: Any) -> bool:
    """Whether it is a tensor of `staticgraph.dynamic`."""
    dynamic = sys.modules.get("staticgraph.dynamic")
    return dynamic is not None and isinstance(value, dynamic.Tensor)


def entropy(generator: Any) -> list[int] | None:
    """Numbers that a `Generator` of `staticgraph.dynamic` draws, or for None the one that
    `manual_seed` starts; None where there is no such thing."""
    dynamic = sys.modules.get("staticgraph.dynamic")
    if dynamic is None or not isinstance(generator, dynamic.Generator | None):
        return None
    drawn: list[int] = dynamic.randint(0, 2**31 - 1, (4,), generator=generator).tolist()
    return drawn


def tensor_of(array: np.ndarray) -> Any:
    """A tensor in the memory of an array."""
    from staticgraph.dynamic.creation import from_numpy

    return from_numpy(array)


def as_tensors(batch: Any) -> Any:
    """A batch with a tensor in place of each array."""
    if isinstance(batch, np.ndarray):
        return tensor_of(batch)
    if isinstance(batch, MutableMapping):
        for key in batch:  # in place: `default_collate` has just made it
            batch[key] = as_tensors(batch[key])
        return batch
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(as_tensors, batch))
    if isinstance(batch, tuple | list):
        return type(batch)(map(as_tensors, batch))
    return batch
