"""Turn a sample of an op into functions and arguments; used by the registry-driven tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.ir import dtypes
from staticgraph.ir.dims import symbol
from staticgraph.ir.function import Builder, Function, SizeOf
from staticgraph.ir.op import Op, Sample
from staticgraph.ir.types import TensorType


def flat_args(op: Op, sample: Sample) -> list[np.ndarray]:
    """The sample's arrays, lists of ``*`` operands opened."""
    out: list[np.ndarray] = []
    for a in sample.args:
        out += [np.asarray(x) for x in a] if isinstance(a, (list, tuple)) else [np.asarray(a)]
    return out


def sample_function(
    op: Op, sample: Sample, symbolic: bool = False, cast_to: str | None = None
) -> Function:
    """A function of one node: `op` applied to parameters of the sample's types.

    `symbolic` makes every axis longer than 1 a symbol (equal sizes share one).
    """
    b = Builder(op.name)
    named: dict[int, Any] = {}
    values: list[Any] = []
    count = 0

    def param(array: np.ndarray) -> Any:
        nonlocal count
        shape: list[Any] = []
        fresh: list[tuple[Any, int]] = []
        for axis, d in enumerate(array.shape):
            if symbolic and d != 1:
                if d not in named:
                    named[d] = symbol(f"n{d}")
                    fresh.append((named[d], axis))
                shape.append(named[d])
            else:
                shape.append(d)
        dtype = dtypes.as_dtype(array.dtype)
        if cast_to and dtype.is_floating:
            dtype = dtypes.as_dtype(cast_to)
        v = b.param("feed", f"x{count}", TensorType(dtype, tuple(shape)))
        count += 1
        for s, axis in fresh:
            b.define(s, SizeOf(v, axis))
        return v

    for a in sample.args:
        if isinstance(a, (list, tuple)):
            values.append([param(np.asarray(x)) for x in a])
        else:
            values.append(param(np.asarray(a)))
    operands = [o for o in op.operands]
    kwargs = dict(sample.attrs)
    data = iter(values)
    for o in operands:
        if not o.startswith("@"):
            kwargs[o.lstrip("*")] = next(data)
    with b:
        out = b.apply(op, (), kwargs)
    results = out if isinstance(out, list) else [out]
    if symbolic and any(v.type.shape is None for v in results):
        return sample_function(op, sample, False, cast_to)  # the rank hangs on a size
    return b.finish(results)
