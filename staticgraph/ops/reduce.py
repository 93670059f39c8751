"""Reductions: sums, means, extremes and their kin over a list of axes.

An empty list of axes reduces nothing.  A reduction of no elements gives its neutral element, as
in TensorFlow: the lowest number for ``Max``, NaN for a ``Mean`` of floats.  float16 and bfloat16
are summed in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim, product
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.scalar import Expr, Operand, Reduce, ReduceKind, cast, s, size_expr
from staticgraph.ir.types import TensorType, UnknownRankError
from staticgraph.ops.rules import FLOATING, NUMERIC, bools, floats, ints, on_kind, same

Axes = Any  # an int, a tuple of ints, or None where the value is not known yet


# ---------------------------------------------------------------- axes
def axes_of(value: Axes, rank: int) -> tuple[int, ...]:
    """The axes in ascending order, each in [0, rank); `value` has passed the shape rule."""
    values = value if isinstance(value, (tuple, list)) else (value,)
    return tuple(sorted({int(a) % rank for a in values})) if rank else ()


def reduced_shape(
    ctx: Infer, x: TensorType, *_: TensorType, reduction_indices: Axes, keep_dims: bool, **__: Any
) -> tuple[Dim, ...]:
    """The shape of `x` without the reduced axes, or with 1 in their place."""
    dims = x.dims
    if reduction_indices is None:
        raise UnknownRankError
    many = reduction_indices if isinstance(reduction_indices, tuple) else (reduction_indices,)
    if not dims and many:
        raise RuleError(f"axis {many[0]} is outside a tensor of rank 0")
    axes = [ctx.axis(a, len(dims)) for a in many]
    twice = next((a for i, a in enumerate(axes) if a in axes[:i]), None)
    if twice is not None:
        raise RuleError(f"axis {twice} is given twice, in {many}")
    if keep_dims:
        return tuple(1 if i in axes else d for i, d in enumerate(dims))
    return tuple(d for i, d in enumerate(dims) if i not in axes)


def reduced_size(x: TensorType, axes: tuple[int, ...]) -> Dim:
    """How many elements of `x` go into one of the result."""
    return product(x.dims[a] for a in axes)


def _reduce_lower(kind: ReduceKind) -> Callable[..., Expr | Reduce]:
    def lower(
        ix: tuple[Expr, ...], x: Operand, *, reduction_indices: Axes, keep_dims: bool
    ) -> Expr | Reduce:
        rank = len(x.shape)
        axes = axes_of(reduction_indices, rank)
        if not axes:
            return x[ix]
        kept = [a for a in range(rank) if a not in axes]
        outer = {a: ix[a] if keep_dims else ix[i] for i, a in enumerate(kept)}

        def body(inner: tuple[Expr, ...]) -> Expr:
            place = {**outer, **dict(zip(axes, inner, strict=True))}
            return x[tuple(place[a] for a in range(rank))]

        return Reduce(kind, tuple(x.shape[a] for a in axes), body, x.dtype)

    return lower


# ---------------------------------------------------------------- numpy
def _wide(x: np.ndarray) -> np.ndarray:
    """float16 and bfloat16 as float32; the rest as it is."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 and _is_float(x) else x


def _is_float(x: np.ndarray) -> bool:
    return x.dtype != object and dtypes.as_dtype(x.dtype).is_floating


def _np_reduce(function: Callable[..., Any], initial: str | None = None) -> Callable[..., Any]:
    def rule(x: np.ndarray, *, reduction_indices: Axes, keep_dims: bool) -> Any:
        axes = axes_of(reduction_indices, x.ndim)
        if x.dtype == object:  # sizes
            return function(x, axis=axes, keepdims=keep_dims)
        kwargs: dict[str, Any] = {}
        if initial is not None:
            low = initial == "lowest"
            kind = dtypes.as_dtype(x.dtype)
            kwargs["initial"] = (
                (-np.inf if low else np.inf)
                if kind.is_floating
                else (kind.min if low else kind.max)
            )
        elif x.dtype != bool:
            kwargs["dtype"] = _wide(x).dtype
        wide = _wide(x)
        return np.asarray(function(wide, axis=axes, keepdims=keep_dims, **kwargs)).astype(x.dtype)

    return on_kind(rule, lambda kind: _reduce_of_kind(function, kind))


_REDUCE: dict[Callable[..., Any], Callable[..., Any]] = {
    np.sum: np.add.reduce, np.prod: np.multiply.reduce,
}  # fmt: skip


def _reduce_of_kind(function: Callable[..., Any], kind: np.dtype) -> Callable[..., Any] | None:
    reduce = _REDUCE.get(function)
    if reduce is None or kind.itemsize < 4 or kind.kind not in "fiu":
        return None

    def rule(x: np.ndarray, *, reduction_indices: Axes, keep_dims: bool) -> Any:
        return reduce(x, reduction_indices if x.ndim else (), kind, None, keep_dims)

    return rule


def _np_mean(x: np.ndarray, *, reduction_indices: Axes, keep_dims: bool) -> Any:
    axes = axes_of(reduction_indices, x.ndim)
    n = int(np.prod([x.shape[a] for a in axes], dtype=np.int64))
    wide = _wide(x)
    total = np.asarray(np.sum(wide, axis=axes, keepdims=keep_dims, dtype=wide.dtype))
    return _np_divide_by_size(total, size=n).astype(x.dtype)


def _np_divide_by_size(x: np.ndarray, *, size: int) -> np.ndarray:
    if _is_float(x):
        return np.asarray(x / np.asarray(size, x.dtype)).astype(x.dtype)
    if size == 0:
        return np.zeros_like(x)
    wide = x.astype(object)
    return np.asarray(np.sign(wide) * (abs(wide) // size)).astype(x.dtype).reshape(x.shape)


# ---------------------------------------------------------------- gradients
def spread(g: Any, x: Any, axes: Axes, keep_dims: bool) -> Any:
    """Repeat a reduction's cotangent over the elements of `x` that went into it."""
    return lookup("SpreadLike")(g, x, axes, keep_dims=keep_dims)


def _extreme_grad(
    g: Any, y: Any, x: Any, *, reduction_indices: Axes, keep_dims: bool
) -> tuple[Any, ...]:
    # Elements that share the extreme value share the cotangent, as in TensorFlow.
    chosen = lookup("Equal")(spread(y, x, reduction_indices, keep_dims), x)
    ones = lookup("Cast")(chosen, DstT=x.dtype.base)
    count = sum_(ones, reduction_indices, keep_dims=keep_dims)
    share = lookup("RealDiv")(g, count)
    return (ones * spread(share, x, reduction_indices, keep_dims),)


def _prod_grad(
    g: Any, y: Any, x: Any, *, reduction_indices: Axes, keep_dims: bool
) -> tuple[Any, ...]:
    rank = None if x.type.shape is None else len(x.type.shape)
    if rank is None or not isinstance(reduction_indices, (int, tuple)):
        # The axes are not known before the run.  Exact unless a factor is zero.
        return (spread(lookup("Mul")(g, y), x, reduction_indices, keep_dims) / x,)
    # One axis at a time: the derivative for a factor is the product of those before and after it.
    axes = axes_of(reduction_indices, rank)
    partial = [x]
    for a in axes[:-1]:
        partial.append(prod(partial[-1], (a,), keep_dims=True))
    if axes and not keep_dims:
        g = lookup("ReshapeLike")(g, prod(partial[-1], (axes[-1],), keep_dims=True))
    cumprod = lookup("Cumprod")
    for a, p in zip(reversed(axes), reversed(partial), strict=False):
        others = cumprod(p, a, exclusive=True) * cumprod(p, a, exclusive=True, reverse=True)
        g = spread(g, p, (a,), True) * others
    return (g,)


# ---------------------------------------------------------------- records
def _samples(allowed: Sequence[DType], smooth: bool) -> tuple[Sample, ...]:
    def sample(array: np.ndarray, axes: Any, keep: bool = False) -> Sample:
        grad = smooth and array.dtype.kind == "f"
        return Sample((array,), {"reduction_indices": axes, "keep_dims": keep}, grad=grad)

    if dtypes.bool_ in allowed:
        return (
            sample(bools(), (0,)), sample(bools(), (0, 1), True), sample(bools((17,)), -1),
            sample(bools((0, 3)), (0,)), sample(bools(()), ()),
        )  # fmt: skip
    f = [
        sample(floats(shape=(3, 5), dtype="float64"), (1,)),
        sample(floats(shape=(2, 3, 4), dtype="float64"), (0, -1), True),
        sample(floats(shape=(2, 3, 4), dtype="float64"), (2, 0)),
        sample(floats(shape=(17,)), 0),
        sample(floats(shape=(3, 4)), ()),
        Sample((floats(shape=(0, 3)),), {"reduction_indices": (0,)}, grad=False),
        sample(floats(shape=(2, 0)), (0,)),
        sample(floats(shape=()), ()),
        sample(floats(shape=(5, 3), dtype="float16"), (0,)),
        sample(ints(), (0, 1)),
        sample(ints(1, 4, (2, 3), dtype="int64"), (-2,), True),
        sample(ints(0, 9, (4,), dtype="uint8"), (0,)),
    ]
    return tuple(f)


def _reduction(
    name: str, kind: ReduceKind, numpy: Callable[..., Any], grad: Callable[..., Any] | None, *,
    allowed: Sequence[DType] = NUMERIC, folds: bool = False, smooth: bool = True, doc: str = "",
) -> Op:  # fmt: skip
    bad = ErrorSample((bools((2,)),), {"reduction_indices": (0,)}, "does not take bool")
    if dtypes.bool_ in allowed:
        bad = ErrorSample((floats(),), {"reduction_indices": (0,)}, "does not take float32")
    array = bools((3, 4)) if dtypes.bool_ in allowed else floats()
    return Op(
        name, ("input", "@reduction_indices"), same(allowed), reduced_shape, numpy, grad,
        lower=_reduce_lower(kind), attrs={"keep_dims": False}, cheap=False, folds=folds,
        samples=lambda: _samples(allowed, smooth), doc=doc,
        error_samples=lambda: (
            bad,
            ErrorSample((array,), {"reduction_indices": (2,)}, "axis 2 is outside a tensor"),
            ErrorSample((array,), {"reduction_indices": (0, -2)}, "axis 0 is given twice"),
        ),
    )  # fmt: skip


sum_: Op = _reduction(
    "Sum", "sum", _np_reduce(np.sum),
    lambda g, y, x, *, reduction_indices, keep_dims: (
        spread(g, x, reduction_indices, keep_dims),
    ),
    folds=True,
)  # fmt: skip
prod = _reduction("Prod", "prod", _np_reduce(np.prod), _prod_grad, folds=True)
max_ = _reduction("Max", "max", _np_reduce(np.max, "lowest"), _extreme_grad, folds=True)
min_ = _reduction("Min", "min", _np_reduce(np.min, "highest"), _extreme_grad, folds=True)
all_ = _reduction("All", "all", _np_reduce(np.all), None, allowed=(dtypes.bool_,))
any_ = _reduction("Any", "any", _np_reduce(np.any), None, allowed=(dtypes.bool_,))


# ---------------------------------------------------------------- means
def _divide_lower(ix: tuple[Expr, ...], x: Operand, *, size: Dim) -> Expr:
    n = cast(size_expr(size), x.dtype)
    value = x[ix]
    if x.dtype.is_floating:
        return value / n
    return s.truncdiv(value, n)


divide_by_size: Op = Op(
    "DivideBySize", ("x", "@size"), same(NUMERIC), lambda ctx, x, *, size: x.dims,
    _np_divide_by_size,
    lambda g, y, x, *, size: (divide_by_size(g, size),),
    lower=_divide_lower, cheap=True,
    samples=lambda: (
        Sample((floats(dtype="float64"),), {"size": 7}),
        Sample((ints(-20, 20),), {"size": 3}, grad=False),
    ),
    doc="Divide by a size; integers are rounded towards zero.",
)  # fmt: skip


def _mean(x: Any, *, reduction_indices: Axes, keep_dims: bool) -> Any:
    axes = axes_of(reduction_indices, len(x.type.dims))
    kind = x.dtype
    narrow = kind in (dtypes.float16, dtypes.bfloat16)
    wide = lookup("Cast")(x, DstT=dtypes.float32) if narrow else x
    total = sum_(wide, reduction_indices, keep_dims=keep_dims)
    out = divide_by_size(total, reduced_size(x.type, axes))
    return lookup("Cast")(out, DstT=kind) if narrow else out


mean: Op = Op(
    "Mean", ("input", "@reduction_indices"), same(NUMERIC), reduced_shape, _np_mean,
    lambda g, y, x, *, reduction_indices, keep_dims: (
        spread_mean_like(g, x, reduction_indices, keep_dims=keep_dims),
    ),
    decompose=_mean, attrs={"keep_dims": False}, cheap=False,
    samples=lambda: _samples(NUMERIC, True),
    error_samples=lambda: (
        ErrorSample((bools(),), {"reduction_indices": (0,)}, "does not take bool"),
        ErrorSample((floats(),), {"reduction_indices": -3}, "axis -3 is outside a tensor"),
    ),
    doc="The mean over axes; of integers, rounded towards zero.",
)  # fmt: skip


def _np_spread_mean(g: np.ndarray, like: np.ndarray, *, axis: Axes, keep_dims: bool) -> np.ndarray:
    axes = axes_of(axis, like.ndim)
    n = int(np.prod([like.shape[a] for a in axes], dtype=np.int64))
    share = _np_divide_by_size(g, size=n)
    return np.broadcast_to(share if keep_dims else np.expand_dims(share, axes), like.shape)


def _spread_mean(g: Any, like: Any, *, axis: Axes, keep_dims: bool) -> Any:
    n = reduced_size(like.type, axes_of(axis, len(like.type.dims)))
    return spread(divide_by_size(g, n), like, axis, keep_dims)


spread_mean_like: Op = Op(
    "SpreadMeanLike", ("g", "like", "@axis"), lambda g, like, **_: g,
    lambda ctx, g, like, **_: like.dims, _np_spread_mean,
    lambda d, y, g, like, *, axis, keep_dims: (mean(d, axis, keep_dims=keep_dims), None),
    decompose=_spread_mean, attrs={"keep_dims": False},
    samples=lambda: (
        Sample((floats(shape=(2, 4), dtype="float64"), floats(shape=(2, 3, 4), dtype="float64")),
               {"axis": (1,)}),
        Sample((floats(shape=(1, 4)), floats(shape=(3, 4))), {"axis": 0, "keep_dims": True}),
    ),
    doc="The cotangent of a mean over `axis` of a tensor shaped as `like`.",
)  # fmt: skip


# ---------------------------------------------------------------- norms
def _np_euclidean(x: np.ndarray, *, reduction_indices: Axes, keep_dims: bool) -> np.ndarray:
    wide = _wide(x)
    axes = axes_of(reduction_indices, x.ndim)
    total = np.sum(wide * wide, axis=axes, keepdims=keep_dims)
    return np.asarray(np.sqrt(total)).astype(x.dtype)


euclidean_norm: Op = Op(
    "EuclideanNorm", ("input", "@reduction_indices"), same(FLOATING), reduced_shape, _np_euclidean,
    lambda g, y, x, *, reduction_indices, keep_dims: (
        x * spread(lookup("RealDiv")(g, y), x, reduction_indices, keep_dims),
    ),
    decompose=lambda x, *, reduction_indices, keep_dims: lookup("Sqrt")(
        sum_(x * x, reduction_indices, keep_dims=keep_dims)
    ),
    attrs={"keep_dims": False}, cheap=False,
    samples=lambda: (
        Sample((floats(shape=(3, 5), dtype="float64"),), {"reduction_indices": (1,)}),
        Sample((floats(shape=(3, 5)),), {"reduction_indices": (0, 1), "keep_dims": True}),
    ),
    error_samples=lambda: (
        ErrorSample((ints(),), {"reduction_indices": (0,)}, "does not take int32"),
    ),
)  # fmt: skip


l2_loss: Op = Op(
    "L2Loss", ("t",), same(FLOATING), lambda ctx, t: (),
    lambda t: np.asarray(np.sum(_wide(t) * _wide(t)) / np.float32(2)).astype(t.dtype),
    lambda g, y, t: (t * g,),
    decompose=lambda t: sum_(t * t, tuple(range(len(t.type.dims)))) * 0.5,
    cheap=False,
    samples=lambda: (
        Sample((floats(dtype="float64"),)), Sample((floats(shape=(17,)),)),
        Sample((floats(shape=()),)), Sample((floats(shape=(0, 2)),)),
    ),
    error_samples=lambda: (ErrorSample((ints(),), {}, "does not take int32"),),
    doc="Half the sum of squares.",
)  # fmt: skip


# ---------------------------------------------------------------- positions of extremes
def _arg_dtype(x: DType, *, output_type: Any, **_: Any) -> DType:
    if x not in NUMERIC:
        names = ", ".join(d.name for d in NUMERIC)
        raise RuleError(f"does not take {x.name}; it takes {names}", kind="dtype")
    out = dtypes.as_dtype(output_type)
    if out not in (dtypes.int32, dtypes.int64):
        raise RuleError(f"output_type is int32 or int64, not {out.name}", kind="dtype")
    return out


def _arg_shape(ctx: Infer, x: TensorType, *, dimension: Any, output_type: Any) -> tuple[Dim, ...]:
    dims = x.dims
    if isinstance(dimension, tuple) and len(dimension) == 1:
        (dimension,) = dimension
    if dimension is None:
        raise UnknownRankError
    if not dims:
        raise RuleError(f"axis {dimension} is outside a tensor of rank 0")
    a = ctx.axis(dimension, len(dims))
    ctx.at_most(1, dims[a], "axis " + str(a) + " holds {b} elements, of which none is extreme")
    return dims[:a] + dims[a + 1 :]


def _axis(dimension: Any, rank: int) -> int:
    return int(dimension[0] if isinstance(dimension, tuple) else dimension) % rank


def _arg_extreme(name: str, kind: Literal["argmax", "argmin"]) -> Op:
    function = np.argmax if kind == "argmax" else np.argmin

    def numpy(x: np.ndarray, *, dimension: Any, output_type: Any) -> np.ndarray:
        out = function(_wide(x), axis=_axis(dimension, x.ndim))
        return np.asarray(out, dtypes.as_dtype(output_type).np)

    def lower(ix: tuple[Expr, ...], x: Operand, *, dimension: Any, output_type: Any) -> Reduce:
        a = _axis(dimension, len(x.shape))
        return Reduce(
            kind, (x.shape[a],), lambda k: x[(*ix[:a], k[0], *ix[a:])],
            dtypes.as_dtype(output_type),
        )  # fmt: skip

    nan = np.array([[1, np.nan, 3], [2, 2, 0]], np.float32)
    return Op(
        name, ("input", "@dimension"), _arg_dtype, _arg_shape, numpy, None, lower=lower,
        attrs={"output_type": dtypes.int64}, cheap=False,
        samples=lambda: (
            Sample((floats(shape=(3, 5)),), {"dimension": 1}, grad=False),
            Sample((floats(shape=(2, 3, 4), dtype="float64"),), {"dimension": -3}, grad=False),
            Sample((ints(0, 3, (4, 17)),), {"dimension": -1, "output_type": dtypes.int32},
                   grad=False),
            Sample((floats(shape=(1,)),), {"dimension": 0}, grad=False),
            Sample((floats(shape=(0, 2)),), {"dimension": 1}, grad=False),
            Sample((nan,), {"dimension": 1}, grad=False),
        ),
        error_samples=lambda: (
            ErrorSample((floats(),), {"dimension": 2}, "axis 2 is outside a tensor of rank 2"),
            ErrorSample((floats(shape=(0, 2)),), {"dimension": 0}, "axis 0 holds 0 elements"),
            ErrorSample((bools(),), {"dimension": 0}, "does not take bool"),
        ),
        doc="The first position of the extreme value along an axis; NaN counts as extreme.",
    )  # fmt: skip


arg_max = _arg_extreme("ArgMax", "argmax")
arg_min = _arg_extreme("ArgMin", "argmin")
