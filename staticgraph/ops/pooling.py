"""Maxima and means of windows, over two and three axes.

The gradient of a maximum goes to the first element of the window, in row-major order, that has it.
`MaxPoolPlace` finds these elements; the two gradients move values along them, and are each
other's derivatives.  Means of padded windows count only elements of the input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import REQUIRED, ErrorSample, Infer, Op, RuleError, Sample
from staticgraph.ir.scalar import Expr, Operand, Reduce, cast, lift, prim, s, size_expr
from staticgraph.ir.types import TensorType
from staticgraph.ops.conv import THREE, TWO, ConvForm
from staticgraph.ops.pool_arrays import (
    Attrs,
    known_axes,
    np_max,
    np_mean,
    np_mean_grad,
    np_pick,
    np_place,
    np_spread,
    pooled_dims,
)
from staticgraph.ops.rules import FLOATING, NUMERIC, bools, floats, in_float32, ints, same
from staticgraph.ops.shape import ZERO, sizes
from staticgraph.ops.slicing import guarded, shifted
from staticgraph.ops.windows import (
    UNROLL,
    Axis,
    combined,
    covering,
    windows_over,
)


def _pool_shape(form: ConvForm) -> Any:
    return lambda ctx, x, **attrs: pooled_dims(ctx, form, x.dims, attrs)


def _check_pooled(
    ctx: Infer, form: ConvForm, x: tuple[Dim, ...], dy: TensorType, attrs: Attrs
) -> None:
    want = pooled_dims(ctx, form, x, attrs)
    if len(dy.dims) != len(want):
        raise RuleError(f"grad must have rank {len(want)}, it has rank {len(dy.dims)}")
    for i, (a, b) in enumerate(zip(dy.dims, want, strict=True)):
        ctx.equal(a, b, f"grad has {{a}} on axis {i} where pooling gives {{b}}")


def _lowest(dtype: DType) -> Expr:
    return lift(-math.inf if dtype.is_floating else dtype.min, dtype)


def _element(
    ix: tuple[Expr, ...], x: Operand, at: tuple[int, ...], axes: list[Axis], k: tuple[Expr, ...],
    otherwise: Expr,
) -> Expr:  # fmt: skip
    """The element at place k of window ix, `otherwise` where that is padding."""
    index, conditions = list(ix), []
    for p, a, j in zip(at, axes, k, strict=True):
        i = a.at(ix[p], j)
        own = a.inside(i)
        conditions += own
        index[p] = guarded(own, i, ZERO)
    return guarded(conditions, x[tuple(index)], otherwise)


def _extents(axes: list[Axis]) -> tuple[Dim, ...]:
    return tuple(a.kernel for a in axes)


def _place(k: tuple[Expr, ...], axes: list[Axis]) -> Expr:
    """The number of a place in a window, in row-major order."""
    out: Expr = ZERO
    for j, a in zip(k, axes, strict=True):
        out = out * size_expr(a.kernel) + j
    return out


# ---------------------------------------------------------------- index lambdas
def _lower_max(form: ConvForm) -> Callable[..., Expr | Reduce]:
    def rule(ix: tuple[Expr, ...], x: Operand, **attrs: Any) -> Expr | Reduce:
        at, axes = known_axes(form, x.shape, attrs)
        low = _lowest(x.dtype)
        return combined("max", _extents(axes), lambda k: _element(ix, x, at, axes, k, low), x.dtype)

    return rule


def _lower_place(form: ConvForm) -> Callable[..., Expr | Reduce]:
    def rule(ix: tuple[Expr, ...], x: Operand, **attrs: Any) -> Expr | Reduce:
        at, axes = known_axes(form, x.shape, attrs)
        low = _lowest(x.dtype)
        kernel = [int(a.kernel) for a in axes]  # type: ignore[arg-type]
        n = math.prod(kernel)

        def element(j: Expr) -> Expr:
            k: list[Expr] = []
            for size in reversed(kernel):
                k.append(prim("mod", j, size))
                j = prim("floordiv", j, size)
            return _element(ix, x, at, axes, tuple(reversed(k)), low)

        if n > UNROLL:
            return Reduce("argmax", (n,), lambda r: element(r[0]), dtypes.int32)
        best: Expr | None = None
        place: Expr = lift(0, dtypes.int32)
        for j, k in enumerate(np.ndindex(*kernel)):
            here = _element(ix, x, at, axes, tuple(lift(i, dtypes.int64) for i in k), low)
            if best is not None:
                place = s.select(here > best, lift(j, dtypes.int32), place)
            best = here if best is None else s.maximum(best, here)
        return place

    return rule


def _over(
    ix: tuple[Expr, ...], at: tuple[int, ...], axes: list[Axis],
    value: Callable[[tuple[Expr, ...], tuple[Expr, ...]], tuple[list[Expr], Expr]], dtype: DType,
) -> Expr | Reduce:  # fmt: skip
    """The sum over all windows that hold element ix of ``value(window, place)``."""

    def body(j: tuple[Expr, ...]) -> Expr:
        index, places, conditions = list(ix), [], []
        for p, a, n in zip(at, axes, j, strict=True):
            own, index[p], k = covering(ix[p], a, n)
            conditions += own
            places.append(k)
        more, term = value(tuple(index), tuple(places))
        return guarded([*conditions, *more], term, lift(0, dtype))

    return combined("sum", tuple(windows_over(a) for a in axes), body, dtype)


def _lower_spread(form: ConvForm) -> Callable[..., Expr | Reduce]:
    def rule(
        ix: tuple[Expr, ...], dy: Operand, place: Operand, *, orig_input_shape: Any, **attrs: Any
    ) -> Any:
        at, axes = known_axes(form, orig_input_shape, attrs)
        if any(d == 0 for d in dy.shape):
            return lift(0, dy.dtype)

        def value(o: tuple[Expr, ...], k: tuple[Expr, ...]) -> tuple[list[Expr], Expr]:
            return [place[o].eq(cast(_place(k, axes), dtypes.int32))], dy[o]

        return _over(ix, at, axes, value, dy.dtype)

    return rule


def _lower_pick(form: ConvForm) -> Callable[..., Expr | Reduce]:
    def rule(ix: tuple[Expr, ...], x: Operand, place: Operand, **attrs: Any) -> Expr | Reduce:
        at, axes = known_axes(form, x.shape, attrs)
        zero = lift(0, x.dtype)

        def body(k: tuple[Expr, ...]) -> Expr:
            chosen = place[ix].eq(cast(_place(k, axes), dtypes.int32))
            return s.select(chosen, _element(ix, x, at, axes, k, zero), zero)

        return combined("sum", _extents(axes), body, x.dtype)

    return rule


def _count(o: Expr, a: Axis) -> Expr:
    """How many elements of a window are not padding."""
    if not a.padded:
        return size_expr(a.kernel)
    start = shifted(o if a.stride == 1 else o * a.stride, -a.before)
    end = s.minimum(start + size_expr(a.kernel), size_expr(a.size))
    return end - s.maximum(start, lift(0, dtypes.int64))


def _share(o: tuple[Expr, ...], at: tuple[int, ...], axes: list[Axis], dtype: DType) -> Expr:
    total: Expr = lift(1, dtypes.int64)
    for p, a in zip(at, axes, strict=True):
        total = total * _count(o[p], a)
    return cast(total, dtype)


def _lower_total(form: ConvForm) -> Callable[..., Expr | Reduce]:
    def rule(ix: tuple[Expr, ...], x: Operand, **attrs: Any) -> Expr | Reduce:
        at, axes = known_axes(form, x.shape, attrs)
        share, zero = _share(ix, at, axes, x.dtype), lift(0, x.dtype)
        return combined(
            "sum", _extents(axes), lambda k: _element(ix, x, at, axes, k, zero) / share, x.dtype
        )

    return rule


def _lower_mean(form: ConvForm) -> Callable[..., Expr | Reduce]:
    general = _lower_total(form)

    def rule(ix: tuple[Expr, ...], x: Operand, **attrs: Any) -> Expr | Reduce:
        at, axes = known_axes(form, x.shape, attrs)
        zero = lift(0, x.dtype)
        total = combined(
            "sum", _extents(axes), lambda k: _element(ix, x, at, axes, k, zero), x.dtype
        )
        if isinstance(total, Reduce):
            return general(ix, x, **attrs)  # a reduction has no last step: divide every term
        return total / _share(ix, at, axes, x.dtype)

    return rule


def _lower_mean_grad(form: ConvForm) -> Callable[..., Expr | Reduce]:
    def rule(ix: tuple[Expr, ...], dy: Operand, *, orig_input_shape: Any, **attrs: Any) -> Any:
        at, axes = known_axes(form, orig_input_shape, attrs)
        if any(d == 0 for d in dy.shape):
            return lift(0, dy.dtype)
        return _over(
            ix, at, axes, lambda o, k: ([], dy[o] / _share(o, at, axes, dy.dtype)), dy.dtype
        )

    return rule


# ---------------------------------------------------------------- samples
def _attrs(
    form: ConvForm, ksize: int, stride: int, padding: str, first: bool = False
) -> dict[str, Any]:
    def around(v: int) -> tuple[int, ...]:
        inner = (v,) * form.rank
        return (1, 1, *inner) if first else (1, *inner, 1)

    return {"ksize": around(ksize), "strides": around(stride), "padding": padding,
            "data_format": form.formats[first]}  # fmt: skip


_CASES = {
    TWO: (
        ((2, 4, 6, 3), _attrs(TWO, 2, 2, "SAME")), ((1, 5, 4, 2), _attrs(TWO, 3, 2, "SAME")),
        ((1, 5, 5, 2), _attrs(TWO, 2, 1, "VALID")), ((2, 2, 5, 4), _attrs(TWO, 3, 2, "SAME", True)),
        ((1, 7, 4, 1), _attrs(TWO, 2, 3, "VALID")), ((1, 7, 7, 2), _attrs(TWO, 6, 2, "SAME")),
        ((0, 4, 4, 2), _attrs(TWO, 2, 2, "VALID")), ((1, 2, 34, 17), _attrs(TWO, 2, 2, "VALID")),
        ((1, 1, 1, 1), _attrs(TWO, 3, 1, "SAME")),
    ),
    THREE: (
        ((1, 3, 4, 3, 2), _attrs(THREE, 2, 2, "SAME")),
        ((1, 2, 3, 4, 3), _attrs(THREE, 2, 1, "VALID", True)),
        ((1, 3, 5, 4, 1), _attrs(THREE, 3, 2, "SAME")),
    ),
}  # fmt: skip


def _distinct(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """No two elements alike, so that maxima are smooth around here."""
    order = np.argsort(floats(shape=(math.prod(shape),), seed=7))
    return (order.reshape(shape) * 0.25 - 3).astype(dtype)


def _wrong(form: ConvForm) -> tuple[ErrorSample, ...]:
    shape, kw = _CASES[form][0]
    x, n = floats(shape=shape), form.rank + 2
    last = form.formats[0]
    return (
        ErrorSample((x[0],), kw, f"the input must have rank {n}, it has rank {n - 1}"),
        ErrorSample((x,), {**kw, "ksize": (2, 2)},
            f"ksize takes {n} numbers, one per axis of {last}, got 2"),
        ErrorSample((x,), {**kw, "ksize": (2,) * n}, "ksize must be 1 for batch and channels"),
        ErrorSample((x,), {**kw, "strides": (0,) * n}, "strides must be positive"),
        ErrorSample((x,), {**kw, "padding": "EXPLICIT"},
            "padding is 'SAME' or 'VALID', not 'EXPLICIT'"),
        ErrorSample((x,), {**_attrs(form, 9, 1, "VALID")},
            rf"a window of 9 does not fit {shape[1]}"),
        ErrorSample((bools(shape),), kw, "does not take bool"),
    )  # fmt: skip


# ---------------------------------------------------------------- records
def _arrays(
    drawn: Callable[[tuple[int, ...], str], np.ndarray], cases: Sequence[tuple[Any, Any]]
) -> list[tuple[np.ndarray, Any]]:
    kinds = ("float64", "float32")
    return [(drawn(shape, kinds[i % 2]), kw) for i, (shape, kw) in enumerate(cases)]


def _like(y: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return floats(shape=y.shape, dtype=dtype.name, seed=5)


def _max_family(form: ConvForm, name: str) -> tuple[Op, Op]:
    attrs = {
        "ksize": REQUIRED,
        "strides": REQUIRED,
        "padding": REQUIRED,
        "data_format": form.formats[0],
    }
    cases = _CASES[form]
    of_max, of_place = np_max(form), np_place(form)
    of_spread, of_pick = np_spread(form), np_pick(form)

    @cache
    def tensors() -> list[tuple[np.ndarray, Any]]:
        return _arrays(_distinct, cases)

    @cache
    def triples() -> list[tuple[np.ndarray, np.ndarray, np.ndarray, Any]]:
        found = [(x, of_max(x, **kw), kw) for x, kw in tensors()]
        return [(x, y, _like(y, y.dtype), kw) for x, y, kw in found]

    def picked_shape(ctx: Infer, x: TensorType, place: TensorType, **kw: Any) -> tuple[Dim, ...]:
        return place.dims

    def spread_shape(
        ctx: Infer, dy: TensorType, place: TensorType, *, orig_input_shape: Any, **kw: Any
    ) -> Any:
        return tuple(orig_input_shape)

    def grad_shape(ctx: Infer, x: TensorType, y: TensorType, dy: TensorType, **kw: Any) -> Any:
        _check_pooled(ctx, form, x.dims, dy, kw)
        return x.dims

    def grad_grad_shape(ctx: Infer, x: TensorType, y: TensorType, d: TensorType, **kw: Any) -> Any:
        for i, (a, b) in enumerate(zip(x.dims, d.dims, strict=True)):
            ctx.equal(a, b, f"orig_input and grad differ on axis {i}, {{a}} and {{b}}")
        return pooled_dims(ctx, form, x.dims, kw)

    forward: Op = Op(
        name, ("input",), same(NUMERIC), _pool_shape(form), of_max,
        lambda g, y, x, **kw: (gradient(x, y, g, **kw),),
        lower=_lower_max(form), attrs=attrs, cheap=False,
        samples=lambda: (
            *(Sample((x,), kw) for x, kw in tensors()),
            Sample((ints(shape=cases[0][0]),), cases[0][1], grad=False),
            Sample((floats(shape=cases[1][0], dtype="float16"),), cases[1][1], grad=False),
        ),
        error_samples=lambda: _wrong(form),
        doc="The greatest element of each window; padding is less than all.",
    )  # fmt: skip
    place: Op = Op(
        f"{name}Place", ("input",), lambda x, **_: dtypes.int32, _pool_shape(form), of_place, None,
        lower=_lower_place(form), attrs=attrs, cheap=False,
        samples=lambda: tuple(Sample((x,), kw, grad=False) for x, kw in tensors()),
        doc="Which place of each window holds its first maximum, in row-major order.",
    )  # fmt: skip
    spread: Op = Op(
        f"{name}Spread", ("grad", "place", "@orig_input_shape"), lambda d, *_, **__: d,
        spread_shape,
        of_spread, None, lower=_lower_spread(form), attrs=attrs, cheap=False,
        operand_dtypes={"place": dtypes.int32},
        samples=lambda: tuple(
            Sample((dy, of_place(x, **kw)), {"orig_input_shape": x.shape, **kw}, grad=False)
            for x, _, dy, kw in triples()
        ),
        doc="Each window's number at one place of it, summed over windows.",
    )  # fmt: skip
    pick: Op = Op(
        f"{name}Pick", ("input", "place"), lambda d, *_, **__: d, picked_shape, of_pick, None,
        lower=_lower_pick(form), attrs=attrs, cheap=False, operand_dtypes={"place": dtypes.int32},
        samples=lambda: tuple(
            Sample((x, of_place(x, **kw)), kw, grad=False) for x, _, _, kw in triples()
        ),
        doc="The element at one place of each window.",
    )  # fmt: skip
    gradient: Op = Op(
        f"{name}Grad", ("orig_input", "orig_output", "grad"), same(NUMERIC), grad_shape,
        lambda x, y, dy, **kw: of_spread(dy, of_place(x, **kw), orig_input_shape=x.shape, **kw),
        lambda d, out, x, y, dy, **kw: (None, None, gradient_grad(x, y, d, **kw)),
        decompose=lambda x, y, dy, **kw: spread(dy, place(x, **kw), x.type.dims, **kw),
        attrs=attrs, cheap=False,
        samples=lambda: tuple(Sample((x, y, dy), kw) for x, y, dy, kw in triples()),
        error_samples=lambda: (
            ErrorSample((*triples()[0][:2], triples()[0][2].repeat(2, 0)), cases[0][1],
                        "on axis 0 where pooling gives"),
        ),
        doc="What the output says of the input: it goes to the first maximum of each window.",
    )  # fmt: skip
    gradient_grad: Op = Op(
        f"{name}GradGrad", ("orig_input", "orig_output", "grad"), same(NUMERIC), grad_grad_shape,
        lambda x, y, d, **kw: of_pick(d, of_place(x, **kw), **kw),
        lambda g, out, x, y, d, **kw: (None, None, gradient(x, y, g, **kw)),
        decompose=lambda x, y, d, **kw: pick(d, place(x, **kw), **kw), attrs=attrs, cheap=False,
        samples=lambda: tuple(
            Sample((x, y, floats(shape=x.shape, dtype=x.dtype.name, seed=6)), kw)
            for x, y, _, kw in triples()
        ),
        doc="The elements of `grad` where `orig_input` is greatest.",
    )  # fmt: skip
    return forward, place


def _mean_family(form: ConvForm, name: str) -> Op:
    attrs = {
        "ksize": REQUIRED,
        "strides": REQUIRED,
        "padding": REQUIRED,
        "data_format": form.formats[0],
    }
    cases = _CASES[form]
    of_mean, of_grad = in_float32(np_mean(form)), in_float32(np_mean_grad(form))

    @cache
    def tensors() -> list[tuple[np.ndarray, Any]]:
        return _arrays(lambda shape, dtype: floats(shape=shape, dtype=dtype), cases)

    @cache
    def grads() -> list[tuple[np.ndarray, np.ndarray, Any]]:
        return [(x, _like(of_mean(x, **kw), x.dtype), kw) for x, kw in tensors()]

    def grad_shape(ctx: Infer, dy: TensorType, *, orig_input_shape: Any, **kw: Any) -> Any:
        if orig_input_shape is None:
            return tuple(ctx.fresh("d") for _ in range(form.rank + 2))
        dims = sizes(orig_input_shape, "orig_input_shape")
        _check_pooled(ctx, form, dims, dy, kw)
        return dims

    def like_shape(ctx: Infer, like: TensorType, dy: TensorType, **kw: Any) -> Any:
        _check_pooled(ctx, form, like.dims, dy, kw)
        return like.dims

    forward: Op = Op(
        name, ("value" if form is TWO else "input",), same(FLOATING), _pool_shape(form), of_mean,
        lambda g, y, x, **kw: (gradient_like(x, g, **kw),),
        lower=_lower_mean(form), attrs=attrs, cheap=False,
        samples=lambda: (
            *(Sample((x,), kw) for x, kw in tensors()),
            Sample((floats(shape=cases[1][0], dtype="float16"),), cases[1][1], grad=False),
        ),
        error_samples=lambda: _wrong(form),
        doc="The mean of each window's elements; padding does not count.",
    )  # fmt: skip
    gradient: Op = Op(
        f"{name}Grad", ("@orig_input_shape", "grad"), same(FLOATING), grad_shape, of_grad,
        lambda d, y, dy, *, orig_input_shape, **kw: (forward(d, **kw),),
        lower=_lower_mean_grad(form), attrs=attrs, cheap=False,
        samples=lambda: tuple(
            Sample((dy,), {"orig_input_shape": x.shape, **kw}) for x, dy, kw in grads()
        ),
        error_samples=lambda: (
            ErrorSample((grads()[0][1],), {"orig_input_shape": [9, *grads()[0][0].shape[1:]],
                **cases[0][1]},
                        "on axis 0 where pooling gives 9"),
        ),
        doc="Each window's number shared evenly among its elements.",
    )  # fmt: skip
    gradient_like: Op = Op(
        f"{name}GradLike", ("like", "grad"), same(FLOATING), like_shape,
        lambda like, dy, **kw: of_grad(dy, orig_input_shape=like.shape, **kw),
        lambda d, y, like, dy, **kw: (None, forward(d, **kw)),
        decompose=lambda like, dy, **kw: gradient(like.type.dims, dy, **kw), attrs=attrs,
        cheap=False,
        samples=lambda: tuple(Sample((x, dy), kw) for x, dy, kw in grads()[:2]),
    )  # fmt: skip
    return forward


max_pool, max_pool_place = _max_family(TWO, "MaxPool")
max_pool_3d, _max_pool_3d_place = _max_family(THREE, "MaxPool3D")
avg_pool = _mean_family(TWO, "AvgPool")
avg_pool_3d = _mean_family(THREE, "AvgPool3D")
