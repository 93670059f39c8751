"""Running sums and products along one axis."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from staticgraph.ir.dims import Dim
from staticgraph.ir.op import ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.types import TensorType, UnknownRankError
from staticgraph.ops.rules import FLOATING, NUMERIC, bools, floats, ints, same


def _shape(ctx: Infer, x: TensorType, *, axis: Any, **_: Any) -> tuple[Dim, ...]:
    dims = x.dims
    if axis is None or (not isinstance(axis, int) and dims):
        return dims
    if not dims:
        raise RuleError(f"axis {axis} is outside a tensor of rank 0")
    with suppress(UnknownRankError):  # the axis is known only at run time, the shape already now
        ctx.axis(axis, len(dims))
    return dims


def _numpy(accumulate: Callable[..., Any], neutral: float) -> Callable[..., Any]:
    def rule(x: np.ndarray, *, axis: int, exclusive: bool, reverse: bool) -> np.ndarray:
        wide = x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x
        at = axis % x.ndim
        wide = np.flip(wide, at) if reverse else wide
        out = np.asarray(accumulate(wide, axis=at, dtype=wide.dtype))
        if exclusive and out.shape[at]:
            first = np.full_like(np.take(out, [0], axis=at), neutral)
            out = np.concatenate([first, np.delete(out, -1, axis=at)], axis=at)
        return (np.flip(out, at) if reverse else out).astype(x.dtype)

    return rule


def _samples() -> tuple[Sample, ...]:
    out = [
        Sample(
            (floats(0.5, 2, (3, 4), dtype="float64"),), {"axis": a, "exclusive": e, "reverse": r}
        )
        for a, e, r in ((0, False, False), (-1, True, False), (1, False, True), (-2, True, True))
    ]
    return (
        *out,
        Sample((floats(0.5, 1.5, (17,)),), {"axis": 0}),
        Sample((floats(shape=(2, 0)),), {"axis": 1, "exclusive": True}),
        Sample((floats(shape=(1, 3, 1)),), {"axis": 2, "exclusive": True}),
        Sample((ints(1, 4, (2, 3, 2)),), {"axis": 1}, grad=False),
        Sample((floats(0.5, 1.5, (5,), dtype="float16"),), {"axis": 0}, grad=False),
    )


_ERRORS = (
    ErrorSample((floats(),), {"axis": 2}, "axis 2 is outside a tensor of rank 2"),
    ErrorSample((floats(shape=()),), {"axis": 0}, "axis 0 is outside a tensor of rank 0"),
    ErrorSample((bools(),), {"axis": 0}, "does not take bool"),
)


cumsum: Op = Op(
    "Cumsum", ("x", "@axis"), same(NUMERIC), _shape, _numpy(np.cumsum, 0),
    lambda g, y, x, *, axis, exclusive, reverse: (
        cumsum(g, axis, exclusive=exclusive, reverse=not reverse),
    ),
    library="cumulative", attrs={"exclusive": False, "reverse": False}, cheap=False,
    samples=lambda: _samples(), error_samples=_ERRORS,
    doc="Running sums along an axis; exclusive ones leave out the element itself.",
)  # fmt: skip


def _cumprod_grad(
    g: Any, y: Any, x: Any, *, axis: Any, exclusive: bool, reverse: bool
) -> tuple[Any]:
    # As in TensorFlow, not defined where a factor is zero.
    total = cumsum(y * g, axis, exclusive=exclusive, reverse=not reverse)
    return (lookup("RealDiv")(total, x),)


cumprod: Op = Op(
    "Cumprod", ("x", "@axis"), same(NUMERIC), _shape, _numpy(np.cumprod, 1), _cumprod_grad,
    library="cumulative", attrs={"exclusive": False, "reverse": False}, cheap=False,
    samples=lambda: _samples(), error_samples=_ERRORS,
    doc="Running products along an axis; exclusive ones leave out the element itself.",
)  # fmt: skip


def _np_logsumexp(x: np.ndarray, *, axis: int, exclusive: bool, reverse: bool) -> np.ndarray:
    rule = _numpy(
        lambda a, axis, dtype: np.logaddexp.accumulate(a, axis=axis, dtype=dtype), -np.inf
    )
    return np.asarray(rule(x, axis=axis, exclusive=exclusive, reverse=reverse))


def _logsumexp_grad(
    g: Any, y: Any, x: Any, *, axis: Any, exclusive: bool, reverse: bool
) -> tuple[Any]:
    # d y_j / d x_i = exp(x_i - y_j); positive and negative cotangents are summed apart in logs.
    log, exp, maximum = lookup("Log"), lookup("Exp"), lookup("Maximum")

    def half(part: Any) -> Any:
        return exp(
            cumulative_logsumexp(log(part) - y, axis, exclusive=exclusive, reverse=not reverse) + x
        )

    return (half(maximum(g, 0.0)) - half(maximum(-g, 0.0)),)


cumulative_logsumexp: Op = Op(
    "CumulativeLogsumexp", ("x", "@axis"), same(FLOATING), _shape, _np_logsumexp, _logsumexp_grad,
    library="cumulative", attrs={"exclusive": False, "reverse": False}, cheap=False,
    samples=lambda: tuple(
        Sample((floats(dtype="float64"),), {"axis": a, "exclusive": e, "reverse": r}, grad=False)
        for a, e, r in ((0, False, False), (-1, True, False), (1, False, True))
    ),
    error_samples=lambda: (_ERRORS[0], ErrorSample((ints(),), {"axis": 0}, "does not take int32")),
    doc="Running logarithms of sums of exponentials along an axis.",
)  # fmt: skip
