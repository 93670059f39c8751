"""``Case``: run one of several bodies, the one whose number the first operand holds.

Any other number chooses the last.  Only what is chosen runs.  All bodies take the same operands;
where their results differ in a size, that size is known only at run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.function import Builder, Function
from staticgraph.ir.op import REQUIRED, ErrorSample, Infer, Op, RuleError, Sample
from staticgraph.ir.types import TensorType
from staticgraph.ops.arithmetic import add, mul, sub
from staticgraph.ops.loops import check_passed, outside


def _dtypes(index: DType, *types: DType, branches: Sequence[Any], **_: Any) -> tuple[DType, ...]:
    if index is not dtypes.int32:
        raise RuleError(f"the index must be int32, got {index.name}", kind="dtype")
    first = branches[0].result_types
    for k, b in enumerate(branches[1:], 1):
        if len(b.result_types) != len(first):
            raise RuleError(
                f"branch 0 has {len(first)} results, branch {k} has {len(b.result_types)}"
            )
        for i, (t, u) in enumerate(zip(first, b.result_types, strict=True)):
            if t.dtype.base is not u.dtype.base:
                raise RuleError(
                    f"result {i} is {t.dtype.base.name} in branch 0, "
                    f"{u.dtype.base.name} in branch {k}",
                    kind="dtype",
                )
    return tuple(t.dtype.base for t in first)


def _shape(
    ctx: Infer, index: TensorType, *types: TensorType, branches: Sequence[Any],
    sizes: Sequence[Dim],
) -> tuple[Any, ...]:  # fmt: skip
    if index.shape not in ((), None):
        raise RuleError(f"the index must be a scalar, got {index.public()}")
    for b in branches:
        check_passed(ctx, types, b.param_types, b, sizes)
    out: list[Any] = []
    for same in zip(*(b.result_types for b in branches), strict=True):
        seen = [outside(ctx, t, b, sizes) for t, b in zip(same, branches, strict=True)]
        ranks = {None if t.shape is None else len(t.shape) for t in seen}
        if len(ranks) > 1 or None in ranks:
            out.append(None)
            continue
        dims: list[Dim] = []
        for axis in zip(*(t.dims for t in seen), strict=True):
            dims.append(axis[0] if all(d == axis[0] for d in axis) else ctx.fresh("m"))
        out.append(tuple(dims))
    return tuple(out)


def _run(index: np.ndarray, *arrays: np.ndarray, branches: Any, sizes: Any) -> tuple[Any, ...]:
    del sizes
    k = int(index)
    return tuple(branches[k if 0 <= k < len(branches) else -1](arrays))


def _gradient(g: Any, y: Any, *inputs: Any, **attrs: Any) -> Any:
    body = attrs["branches"][0]
    if isinstance(body, Function):
        raise RuleError("a branch is differentiated in the graph, before a run is closed")
    return body.gradient("branch", g, y, inputs, attrs)


def _sample_branches() -> tuple[Function, ...]:
    out = []
    for name, rule in (("sum", add), ("product", mul), ("difference", sub)):
        b = Builder(name)
        x = b.param("feed", "x", TensorType(dtypes.float32, (2,)))
        with b:
            y = rule(x, x)
        out.append(b.finish([y, x]))
    return tuple(out)


_BRANCHES = _sample_branches()
_X = np.array([1.5, -3], np.float32)

case = Op(
    "Case",
    ("index", "*inputs"),
    _dtypes,
    _shape,
    _run,
    _gradient,
    library="branch",
    attrs={"branches": REQUIRED, "sizes": ()},
    operand_dtypes={"index": dtypes.int32, "inputs": None},
    results=lambda branches, **_: len(branches[0].result_types),
    control=True,
    samples=lambda: tuple(
        Sample((np.array(k, np.int32), [_X]), {"branches": _BRANCHES}, grad=False)
        for k in (0, 1, 2, 7, -1)
    ),
    error_samples=lambda: (
        ErrorSample((np.array([0], np.int32), [_X]), {"branches": _BRANCHES}, "must be a scalar"),
        ErrorSample(
            (np.array(0, np.int32), []), {"branches": _BRANCHES}, "the body takes 1 values, 0"
        ),
    ),
    doc="Run one of several bodies.",
)
