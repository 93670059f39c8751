"""Slices with known or run-time bounds, and the ops that put gradients back in their place."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.ir import dims as D
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim, Poly
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.record import record
from staticgraph.ir.scalar import Expr, Operand, lift, prim, s, size_expr
from staticgraph.ir.types import TensorType, UnknownRankError
from staticgraph.ops.rules import ANY, floats, ints, same
from staticgraph.ops.shape import ZERO, show, sizes


def shifted(i: Expr, by: Dim) -> Expr:
    """``i + by``, without a trace of nought."""
    return i if by == 0 else i + size_expr(by)


def all_of(conditions: list[Expr]) -> Expr | None:
    """The conjunction; None of no conditions."""
    out: Expr | None = None
    for c in conditions:
        out = c if out is None else prim("and", out, c)
    return out


def guarded(conditions: list[Expr], element: Expr, otherwise: Expr) -> Expr:
    """`element` where all `conditions` hold."""
    condition = all_of(conditions)
    return element if condition is None else s.select(condition, element, otherwise)


def _second_shape(ctx: Infer, x: TensorType, like: TensorType, **_: Any) -> tuple[Dim, ...]:
    return like.dims


# ---------------------------------------------------------------- Slice
def _slice_sizes(
    ctx: Infer, dims: tuple[Dim, ...], begin: tuple[Dim, ...], size: tuple[Dim, ...]
) -> tuple[Dim, ...]:
    if not len(dims) == len(begin) == len(size):
        raise RuleError(
            f"begin has {len(begin)} and size {len(size)} entries for a tensor of rank {len(dims)}"
        )
    out: list[Dim] = []
    for k, (d, b, n) in enumerate(zip(dims, begin, size, strict=True)):
        ctx.at_most(0, b, f"begin {{b}} on axis {k} is negative")
        if isinstance(n, int) and n == -1:
            ctx.at_most(b, d, f"begin {{a}} exceeds {{b}}, the size of axis {k}")
            out.append(d - b)
            continue
        ctx.at_most(0, n, f"size {{b}} on axis {k} is negative")
        sum_ = (
            f"begin {b} + size {n}"
            if isinstance(b, int) and isinstance(n, int)
            else "begin + size = {a}"
        )
        ctx.at_most(b + n, d, f"{sum_} exceeds {{b}}, the size of axis {k}")
        out.append(n)
    return tuple(out)


def _slice_shape(ctx: Infer, x: TensorType, *, begin: Any, size: Any) -> tuple[Dim, ...]:
    if begin is None or size is None:
        return tuple(ctx.fresh("d") for _ in x.dims)
    b, n = sizes(begin, "begin"), sizes(size, "size")
    if x.shape is None:
        return tuple(ctx.fresh("d") if k == -1 else k for k in n)
    return _slice_sizes(ctx, x.dims, b, n)


def _np_slice(x: np.ndarray, *, begin: tuple[int, ...], size: tuple[int, ...]) -> np.ndarray:
    return x[tuple(slice(b, None if n == -1 else b + n) for b, n in zip(begin, size, strict=True))]


def _slice_lower(ix: tuple[Expr, ...], x: Operand, *, begin: tuple[Dim, ...], size: Any) -> Expr:
    return x[tuple(shifted(i, b) for i, b in zip(ix, begin, strict=True))]


slice_: Op = Op(
    "Slice", ("input", "@begin", "@size"), same(ANY), _slice_shape, _np_slice,
    lambda g, y, x, *, begin, size: (pad_like(g, x, begin),),
    lower=_slice_lower, folds=True,
    samples=lambda: (
        Sample((floats(shape=(5, 4), dtype="float64"),), {"begin": (1, 0), "size": (3, 2)}),
        Sample((floats(shape=(20,)),), {"begin": (2,), "size": (17,)}),
        Sample((floats(),), {"begin": (1, 2), "size": (-1, -1)}),
        Sample((floats(),), {"begin": (3, 0), "size": (0, 4)}),
        Sample((floats(shape=()),), {"begin": (), "size": ()}),
        Sample((ints(),), {"begin": (0, 1), "size": (2, 2)}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(shape=(5,)),), {"begin": [3], "size": [4]},
                    r"begin 3 \+ size 4 exceeds 5"),
        ErrorSample((floats(shape=(5,)),), {"begin": [-1], "size": [1]},
                    "begin -1 on axis 0 is negative"),
        ErrorSample((floats(shape=(5,)),), {"begin": [1], "size": [-2]},
                    "size -2 on axis 0 is negative"),
        ErrorSample((floats(shape=(5,)),), {"begin": [6], "size": [-1]}, "begin 6 exceeds 5"),
        ErrorSample((floats(),), {"begin": [0], "size": [1]}, "for a tensor of rank 2"),
    ),
    doc="`size` elements from `begin` on, per axis; size -1 takes the rest.",
)  # fmt: skip


def _pad_like(g: Any, like: Any, *, begin: tuple[Dim, ...]) -> Any:
    from_, to = g.type.dims, like.type.dims
    paddings = tuple((b, d - b - n) for b, n, d in zip(begin, from_, to, strict=True))
    return lookup("Pad")(g, paddings)


def _np_pad_like(g: np.ndarray, like: np.ndarray, *, begin: tuple[int, ...]) -> np.ndarray:
    out = np.zeros(like.shape, g.dtype)
    out[tuple(slice(b, b + n) for b, n in zip(begin, g.shape, strict=True))] = g
    return out


def _first_dtype(x: DType, *_: DType, **__: Any) -> DType:
    return x


pad_like: Op = Op(
    "PadLike", ("g", "like", "@begin"), _first_dtype, _second_shape, _np_pad_like,
    lambda d, y, g, like, *, begin: (slice_like(d, g, begin), None),
    decompose=_pad_like, operand_dtypes={"like": None},
    samples=lambda: (
        Sample((floats(shape=(2, 3), dtype="float64"), floats(shape=(4, 3), dtype="float64")),
               {"begin": (1, 0)}),
        Sample((floats(shape=(0,)), floats(shape=(3,))), {"begin": (1,)}),
    ),
    doc="`g` placed at `begin` in zeros of the shape of `like`.",
)  # fmt: skip

slice_like: Op = Op(
    "SliceLike", ("x", "like", "@begin"), _first_dtype, _second_shape,
    lambda x, like, *, begin: _np_slice(x, begin=begin, size=like.shape),
    lambda g, y, x, like, *, begin: (pad_like(g, x, begin), None),
    decompose=lambda x, like, *, begin: slice_(x, begin, like.type.dims),
    operand_dtypes={"like": None},
    samples=lambda: (
        Sample((floats(shape=(4, 3), dtype="float64"), floats(shape=(2, 3), dtype="float64")),
               {"begin": (1, 0)}),
    ),
    doc="As much of `x`, from `begin` on, as `like` is large.",
)  # fmt: skip


# ---------------------------------------------------------------- StridedSlice
@record(frozen=True, slots=True)
class AxisSlice:
    """What a strided slice takes of one axis of its operand.

    Element k of the result is element ``begin + k * stride``.  `shrink` axes are not in the result.
    """

    begin: Dim
    stride: int
    size: Dim
    shrink: bool = False


def _sign(d: Dim) -> int:
    """-1 where `d` is surely not positive, else 1; sizes are not negative."""
    if isinstance(d, int):
        return -1 if d < 0 else 1
    return -1 if all(c <= 0 for _, c in d.terms) else 1


def _index(ctx: Infer, b: Dim, d: Dim, axis: int) -> AxisSlice:
    if _sign(b) < 0:
        ctx.at_most(-b, d, f"index {b} is outside axis {axis} of size {{b}}" if isinstance(b, int)
                    else f"index -{{a}} is outside axis {axis} of size {{b}}")  # fmt: skip
        return AxisSlice(b + d, 1, 1, True)
    ctx.at_most(0, b, f"index {{b}} on axis {axis} is negative")
    ctx.at_most(b + 1, d, f"index {b} is outside axis {axis} of size {{b}}" if isinstance(b, int)
                else f"an index on axis {axis} needs a size of {{a}}, it is {{b}}")  # fmt: skip
    return AxisSlice(b, 1, 1, True)


def _range(ctx: Infer, b: Dim | None, e: Dim | None, stride: int, d: Dim, axis: int) -> AxisSlice:
    """numpy's slicing of an axis of size `d`; run-time bounds that are not negative."""
    for what, v in (("begin", b), ("end", e)):
        if isinstance(v, Poly) and _sign(v) > 0:
            ctx.at_most(0, v, f"slice {what} {{b}} on axis {axis} is negative")
    if stride > 0:
        if b is not None and e is None and _sign(b) < 0:
            size = D.minimum(d, -b)
            begin: Dim = D.maximum(d + b, 0)
        else:
            begin = 0 if b is None else D.maximum(b + d, 0) if _sign(b) < 0 else b
            end = d if e is None else e + d if _sign(e) < 0 else D.minimum(e, d)
            size = D.maximum(end - begin, 0)
    else:
        top = d - 1
        begin = top if b is None else D.maximum(b + d, -1) if _sign(b) < 0 else D.minimum(b, top)
        end = -1 if e is None else D.maximum(e + d, -1) if _sign(e) < 0 else e
        size = D.maximum(begin - end, 0)
    step = abs(stride)
    return AxisSlice(begin, stride, D.floordiv(size + (step - 1), step))


def parse(
    ctx: Infer, dims: tuple[Dim, ...], begin: Any, end: Any, strides: Any, *, begin_mask: int,
    end_mask: int, ellipsis_mask: int, new_axis_mask: int, shrink_axis_mask: int,
) -> tuple[list[AxisSlice], list[int | None]]:  # fmt: skip
    """Resolve the masks.

    Returns:
      one `AxisSlice` per axis of the operand, and for each axis of the result the operand's axis,
      None for a new axis.
    """
    if strides is None:
        raise UnknownRankError
    if begin is None:
        begin = tuple(ctx.fresh("b") for _ in strides)
    if end is None:
        end = tuple(ctx.fresh("e") for _ in strides)
    n = len(strides)
    if len(begin) != n or len(end) != n:
        raise RuleError(f"begin, end and strides have {len(begin)}, {len(end)} and {n} entries")
    if ellipsis_mask & (ellipsis_mask - 1):
        raise RuleError("at most one ellipsis is allowed")
    added = sum(1 for k in range(n) if new_axis_mask >> k & 1 and not ellipsis_mask >> k & 1)
    given = n - added - (1 if ellipsis_mask & ((1 << n) - 1) else 0)
    if given > len(dims):
        raise RuleError(f"{given} indices for the {len(dims)} axes of {show(dims)}")
    axes: list[AxisSlice] = []
    result: list[int | None] = []

    def whole(count: int) -> None:
        for _ in range(count):
            result.append(len(axes))
            axes.append(AxisSlice(0, 1, dims[len(axes)]))

    for k in range(n):
        bit = 1 << k
        if ellipsis_mask & bit:
            whole(len(dims) - given)
        elif new_axis_mask & bit:
            result.append(None)
        else:
            a = len(axes)
            if shrink_axis_mask & bit:
                axes.append(_index(ctx, 0 if begin_mask & bit else begin[k], dims[a], a))
                continue
            stride = ctx.constant(strides[k], "a stride")
            if stride == 0:
                raise RuleError(f"the stride on axis {a} is 0")
            b = None if begin_mask & bit else begin[k]
            e = None if end_mask & bit else end[k]
            result.append(a)
            axes.append(_range(ctx, b, e, stride, dims[a], a))
    whole(len(dims) - len(axes))
    return axes, result


def _parse(
    dims: tuple[Dim, ...], attrs: dict[str, Any]
) -> tuple[list[AxisSlice], list[int | None]]:
    return parse(Infer(lambda hint: 0), dims, attrs.pop("begin"), attrs.pop("end"),
                 attrs.pop("strides"), **attrs)  # fmt: skip


def _strided_shape(
    ctx: Infer, x: TensorType, *, begin: Any, end: Any, strides: Any, **masks: int
) -> tuple[Dim, ...]:
    axes, result = parse(ctx, x.dims, begin, end, strides, **masks)
    return tuple(1 if a is None else axes[a].size for a in result)


def _strided_lower(ix: tuple[Expr, ...], x: Operand, **attrs: Any) -> Expr:
    axes, result = _parse(x.shape, attrs)
    at = {a: i for a, i in zip(result, ix, strict=True) if a is not None}
    index = [
        size_expr(p.begin) if p.shrink
        else shifted(at[a] if p.stride == 1 else at[a] * p.stride, p.begin)
        for a, p in enumerate(axes)
    ]  # fmt: skip
    return x[tuple(index)]


def _key(
    *, begin: Any, end: Any, strides: Any, begin_mask: int, end_mask: int, ellipsis_mask: int,
    new_axis_mask: int, shrink_axis_mask: int,
) -> tuple[Any, ...]:  # fmt: skip
    key: list[Any] = []
    for k, (b, e, st) in enumerate(zip(begin, end, strides, strict=True)):
        bit = 1 << k
        if ellipsis_mask & bit:
            key.append(Ellipsis)
        elif new_axis_mask & bit:
            key.append(None)
        elif shrink_axis_mask & bit:
            key.append(0 if begin_mask & bit else b)
        else:
            key.append(slice(None if begin_mask & bit else b, None if end_mask & bit else e, st))
    return tuple(key)


def _np_strided(x: np.ndarray, **attrs: Any) -> Any:
    return x[_key(**attrs)]


MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")


def _cut(b: Any, e: Any, st: Any, **masks: int) -> dict[str, Any]:
    return {"begin": b, "end": e, "strides": st, **masks}


_STRIDED = (
    ((5, 4), _cut((1, 0), (4, 3), (1, 1))),
    ((20,), _cut((19,), (0,), (-3,))),
    ((7,), _cut((0,), (0,), (-1,), begin_mask=1, end_mask=1)),
    ((7,), _cut((-3,), (0,), (1,), end_mask=1)),
    ((7,), _cut((-30,), (-1,), (2,))),
    ((7,), _cut((5,), (2,), (1,))),
    ((3, 4), _cut((-1, 0), (0, 0), (1, 1), shrink_axis_mask=1, begin_mask=2, end_mask=2)),
    ((3, 4), _cut((0, 1), (0, 2), (1, 1), ellipsis_mask=1, shrink_axis_mask=2)),
    ((3, 4), _cut((0, 0, 1), (0, 0, 3), (1, 1, 1), new_axis_mask=2, begin_mask=1, end_mask=1)),
    ((17,), _cut((1,), (0,), (4,), end_mask=1)),
    ((0, 3), _cut((0, 1), (0, 3), (1, 1), begin_mask=1, end_mask=1)),
)
strided_slice: Op = Op(
    "StridedSlice", ("input", "@begin", "@end", "@strides"), same(ANY), _strided_shape, _np_strided,
    lambda g, y, x, **attrs: (strided_slice_grad(g, x, **attrs),),
    lower=_strided_lower, attrs=dict.fromkeys(MASKS, 0), folds=True,
    samples=lambda: (
        *(Sample((floats(shape=d),), a) for d, a in _STRIDED),
        Sample((floats(shape=(5,), dtype="float64"),), _cut((1,), (-1,), (1,))),
        Sample((ints(),), _cut((0,), (2,), (1,)), grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(),), _cut([3], [4], [1], shrink_axis_mask=1),
                    "index 3 is outside axis 0 of size 3"),
        ErrorSample((floats(),), _cut([-4], [0], [1], shrink_axis_mask=1),
                    "index -4 is outside axis 0 of size 3"),
        ErrorSample((floats(),), _cut([0], [1], [0]), "the stride on axis 0 is 0"),
        ErrorSample((floats(shape=(2,)),), _cut([0, 0], [1, 1], [1, 1]),
                    r"2 indices for the 1 axes of \[2\]"),
    ),
    doc="numpy's basic indexing; the masks say which entries stand for what is left out.",
)  # fmt: skip


def _np_strided_grad(dy: np.ndarray, like: np.ndarray, **attrs: Any) -> np.ndarray:
    out = np.zeros(like.shape, dy.dtype)
    out[_key(**attrs)] = dy
    return out


def _strided_grad_lower(ix: tuple[Expr, ...], dy: Operand, like: Operand, **attrs: Any) -> Expr:
    axes, result = _parse(like.shape, attrs)
    if any(p.size == 0 for p in axes):
        return lift(0, dy.dtype)
    conditions: list[Expr] = []
    local: list[Expr] = []
    for i, p, d in zip(ix, axes, like.shape, strict=True):
        if p == AxisSlice(0, 1, d):
            local.append(i)
            continue
        if p.shrink:
            conditions.append(i.eq(size_expr(p.begin)))
            local.append(ZERO)
            continue
        t = shifted(i, -p.begin) if p.stride > 0 else size_expr(p.begin) - i
        step = abs(p.stride)
        own = [] if p.begin == 0 and p.stride > 0 else [t >= 0]
        if step > 1:
            own.append(prim("mod", t, step).eq(0))
            t = prim("floordiv", t, step)
        own.append(t < size_expr(p.size))
        conditions += own
        local.append(guarded(own, t, ZERO))
    index = tuple(ZERO if a is None else local[a] for a in result)
    return guarded(conditions, dy[index], lift(0, dy.dtype))


def _taken(x: np.ndarray, attrs: dict[str, Any]) -> np.ndarray:
    return np.asarray(_np_strided(x, **(dict.fromkeys(MASKS, 0) | attrs)))


strided_slice_grad: Op = Op(
    "StridedSliceGrad", ("dy", "like", "@begin", "@end", "@strides"), _first_dtype, _second_shape,
    _np_strided_grad,
    lambda d, y, dy, like, **attrs: (strided_slice(d, **attrs), None),
    lower=_strided_grad_lower, attrs=dict.fromkeys(MASKS, 0),
    operand_dtypes={"like": None},
    samples=lambda: tuple(
        Sample((_taken(floats(shape=d), a), floats(shape=d, seed=1)), a)
        for d, a in _STRIDED
    ),
    doc="`dy` where the slice took it from a tensor like `like`, zeros elsewhere.",
)  # fmt: skip


# ---------------------------------------------------------------- one index known at run time
def _take_shape(ctx: Infer, x: TensorType, index: TensorType, *, axis: int) -> tuple[Dim, ...]:
    if index.shape is not None and index.shape != ():
        raise RuleError(f"index must be a scalar, it has rank {index.rank}")
    if x.rank == 0:
        raise RuleError("a scalar cannot be indexed")
    a = ctx.axis(axis, x.rank)
    return (*x.dims[:a], *x.dims[a + 1 :])


def _indexed(x: DType, *rest: DType, axis: int) -> DType:
    if not rest[-1].is_integer:
        raise RuleError(f"index must be an integer, got {rest[-1].name}", kind="dtype")
    return x


def _position(index: Operand, d: Dim) -> Expr:
    return s.check_index(_wrapped(s.cast(index[()], dtypes.int64), d), d)


def _take_lower(ix: tuple[Expr, ...], x: Operand, index: Operand, *, axis: int) -> Expr:
    a = axis % len(x.shape)
    return x[(*ix[:a], _position(index, x.shape[a]), *ix[a:])]


take_index: Op = Op(
    "TakeIndex", ("input", "index"), _indexed, _take_shape,
    lambda x, index, *, axis: np.take(x, np.asarray(index, np.int64), axis),
    lambda g, y, x, index, *, axis: (put_index(g, x, index, axis=axis), None),
    lower=_take_lower, attrs={"axis": 0}, operand_dtypes={"index": None},
    folds=True,
    samples=lambda: (
        Sample((floats(dtype="float64"), np.int32(1)), {"axis": 0}),
        Sample((floats(), np.int64(-1)), {"axis": 1}),
        Sample((floats(shape=(17,)), np.int32(3)), {"axis": -1}),
        Sample((ints(), np.int32(0)), {"axis": 1}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(), np.float32(1)), {}, "index must be an integer, got float32"),
        ErrorSample((np.float32(1), np.int32(1)), {}, "a scalar cannot be indexed"),
    ),
    doc="One slice along an axis, at an index known at run time; negative ones count from the end.",
)  # fmt: skip


def _np_put(g: np.ndarray, like: np.ndarray, index: np.ndarray, *, axis: int) -> np.ndarray:
    out = np.zeros(like.shape, g.dtype)
    np.moveaxis(out, axis, 0)[int(index)] = g
    return out


def _put_lower(
    ix: tuple[Expr, ...], g: Operand, like: Operand, index: Operand, *, axis: int
) -> Expr:
    a = axis % len(ix)
    here = ix[a].eq(_position(index, like.shape[a]))
    return s.select(here, g[(*ix[:a], *ix[a + 1 :])], lift(0, g.dtype))


put_index: Op = Op(
    "PutIndex", ("g", "like", "index"), _indexed,
    lambda ctx, g, like, index, *, axis: like.dims, _np_put,
    lambda d, y, g, like, index, *, axis: (take_index(d, index, axis=axis), None, None),
    lower=_put_lower, attrs={"axis": 0},
    operand_dtypes={"like": None, "index": None},
    samples=lambda: (
        Sample((floats(shape=(4,), dtype="float64"), floats(dtype="float64"), np.int32(-1)),
               {"axis": 0}),
        Sample((floats(shape=(3,)), floats(), np.int32(2)), {"axis": 1}),
    ),
    doc="`g` as one slice of zeros of the shape of `like`.",
)  # fmt: skip

wrap_index = Op(
    "WrapIndex", ("index", "@size"), lambda index, **_: dtypes.int64,
    lambda ctx, index, **_: index.dims,
    lambda index, *, size: np.where(index < 0, np.int64(size) + index, index).astype(np.int64),
    None,
    lower=lambda ix, index, *, size: _wrapped(s.cast(index[ix], dtypes.int64), size),
    samples=lambda: (Sample((np.array([0, -1, 2], np.int32),), {"size": 3}, grad=False),),
    doc="An index that counts from the front: `size` is added to negative ones.",
)  # fmt: skip


def _wrapped(i: Expr, size: Dim) -> Expr:
    return s.select(i < 0, i + size_expr(size), i)
