"""Sizes, data and starting values of the net of two layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from staticgraph.compare.pair import Values, draw_linear

BATCH, INPUTS, HIDDEN, OUTPUTS = 64, 1000, 100, 10
CLIP = 3e6  # below the norm of the first steps and above that of later ones: both branches run


def weights(
    inputs: int = INPUTS, hidden: int = HIDDEN, dtype: Any = np.float32
) -> Callable[[], Values]:
    """Data and weights drawn from a normal distribution."""

    def values() -> Values:
        draw = np.random.RandomState(0)
        shapes = {
            "x": (BATCH, inputs), "y": (BATCH, OUTPUTS),
            "w1": (inputs, hidden), "w2": (hidden, OUTPUTS),
        }  # fmt: skip
        return {name: draw.randn(*shape).astype(dtype) for name, shape in shapes.items()}

    return values


def layers(*names: str, uniform: bool = False) -> Callable[[], Values]:
    """Data, and linear layers as PyTorch starts them: the first, middle ones, the last."""

    def values() -> Values:
        draw = np.random.RandomState(0)
        x = draw.uniform(-1, 1, (BATCH, INPUTS)) if uniform else draw.randn(BATCH, INPUTS)
        out = {"x": x.astype(np.float32), "y": draw.randn(BATCH, OUTPUTS).astype(np.float32)}
        sizes = [INPUTS, *[HIDDEN] * (len(names) - 1), OUTPUTS]
        for name, a, b in zip(names, sizes[:-1], sizes[1:], strict=True):
            out.update(draw_linear(draw, name, a, b))
        return out

    return values


__all__ = ["BATCH", "CLIP", "HIDDEN", "INPUTS", "OUTPUTS", "layers", "weights"]
