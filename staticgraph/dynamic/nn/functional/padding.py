"""`pad`: constants, reflections, copies of the border, and wrapping around."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from staticgraph.dynamic.creation import from_numpy
from staticgraph.dynamic.refusals import bad_value
from staticgraph.dynamic.tensor import Tensor
from staticgraph.errors import ShapeError
from staticgraph.ir.loc import caller
from staticgraph.ops.gather import gather_v2
from staticgraph.ops.padding import pad as pad_record
from staticgraph.ops.padding import pad_v2

MODES = ("constant", "reflect", "replicate", "circular")


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """`input` with more elements at the ends of its last axes.

    Args:
      input: any shape.
      pad: ``(before, after)`` of the last axis, then of the one ahead of it, ...; numbers below
        nought take elements away.
      mode: "constant", "reflect" (the border is not repeated), "replicate" or "circular".
      value: the constant; 0 by default.

    >>> import staticgraph.dynamic as torch
    >>> torch.nn.functional.pad(torch.tensor([1.0, 2.0, 3.0]), (2, 1), mode="reflect")
    tensor([3., 2., 1., 2., 3., 2.])
    """
    amounts = [int(n) for n in pad]
    if len(amounts) % 2 or len(amounts) > 2 * input.dim():
        raise ShapeError(
            f"pad takes pairs for at most {input.dim()} axes, got {len(amounts)} numbers",
            loc=caller(),
        )
    if mode not in MODES:
        raise bad_value(f"pad: mode is one of {', '.join(MODES)}, not {mode!r}")
    if mode == "constant":
        return _constant(input, amounts, 0.0 if value is None else value)
    if value is not None:
        raise bad_value(f"pad: mode {mode!r} takes no value, got {value}")
    for i in range(0, len(amounts), 2):
        axis = input.dim() - 1 - i // 2
        if amounts[i] or amounts[i + 1]:
            places = _places(mode, input.shape[axis], amounts[i], amounts[i + 1])
            input = gather_v2(input, from_numpy(places), axis)
    return input


def _constant(input: Tensor, amounts: list[int], value: float) -> Tensor:
    pairs = [(0, 0)] * input.dim()
    for i in range(0, len(amounts), 2):
        pairs[input.dim() - 1 - i // 2] = (amounts[i], amounts[i + 1])
    if min(amounts, default=0) < 0:
        for axis, (lo, hi) in enumerate(pairs):
            first, size = max(-lo, 0), input.shape[axis] + min(lo, 0) + min(hi, 0)
            if size < 0:
                raise ShapeError(
                    f"pad: {-min(lo, 0) - min(hi, 0)} elements to take from axis {axis} of "
                    f"{input.shape[axis]}",
                    loc=caller(),
                )
            input = input[(slice(None),) * axis + (slice(first, first + size),)]
        pairs = [(max(lo, 0), max(hi, 0)) for lo, hi in pairs]
    if not any(lo or hi for lo, hi in pairs):
        return input
    if value == 0:
        out: Tensor = pad_record(input, pairs)
        return out
    out = pad_v2(input, pairs, value)
    return out


def _places(mode: str, size: int, before: int, after: int) -> np.ndarray:
    """For each element of the result, which element of the axis it is."""
    at = np.arange(-before, size + after, dtype=np.int64)
    most = {"reflect": size - 1, "circular": size, "replicate": max(before, after)}[mode]
    if max(before, after) > most or size < 1:
        raise ShapeError(
            f"pad: {max(before, after)} elements of mode {mode!r} on an axis of {size}",
            loc=caller(),
        )
    if mode == "replicate":
        return np.clip(at, 0, size - 1)
    if mode == "circular":
        return at % size
    return size - 1 - abs(size - 1 - abs(at))
