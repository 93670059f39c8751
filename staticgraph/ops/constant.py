"""Constants and placeholders."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import REQUIRED, Infer, Op, Sample
from staticgraph.ir.types import ConstantArray
from staticgraph.ops.rules import by_attr


def _const_shape(ctx: Infer, *, value: ConstantArray, dtype: DType) -> tuple[Dim, ...]:
    return tuple(value.array.shape)


const = Op(
    "Const", (), by_attr(), _const_shape, lambda *, value, dtype: value.array, None,
    library="constant", attrs={"value": REQUIRED, "dtype": REQUIRED},
    samples=lambda: (
        Sample((), {"value": ConstantArray(np.float32(1)), "dtype": "float32"}, grad=False),
    ),
    doc="A value known when the graph is built.",
)  # fmt: skip


def _placeholder_shape(ctx: Infer, **attrs: Any) -> tuple[Dim, ...] | None:
    shape = attrs["shape"]
    return None if shape is None else tuple(ctx.fresh("n") if d is None else d for d in shape)


placeholder = Op(
    "Placeholder", (), by_attr(), _placeholder_shape, None, None, host=True, effect="io",
    attrs={"dtype": REQUIRED, "shape": None},
    doc="A tensor whose value is given with every run.",
)  # fmt: skip
