"""Shapes as tensors, and ops that rearrange elements without computing any."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from staticgraph.ir import dims as D
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.scalar import Expr, Lit, Operand, lift, prim, s, size_expr
from staticgraph.ir.types import TensorType, UnknownRankError
from staticgraph.ops.rules import ANY, floats, ints, same, sum_to

ZERO = Lit(0, dtypes.int64)


def show(shape: Sequence[Dim]) -> str:
    """A shape in an error text; sizes known only at run time are question marks."""
    return "[" + ", ".join(str(d) if isinstance(d, int) else "?" for d in shape) + "]"


def sizes(value: Any, what: str) -> tuple[Dim, ...]:
    """An ``@`` operand as a vector of sizes; the rank is unknown where its length is."""
    if value is None:
        raise UnknownRankError
    if not isinstance(value, tuple):
        raise RuleError(f"{what} must be a vector, got the scalar {value}")
    return value


# ---------------------------------------------------------------- shapes as tensors
def _out_type(*_: DType, out_type: object) -> DType:
    return dtypes.as_dtype(out_type).base


def _shape_shape(ctx: Infer, x: TensorType, **_: Any) -> tuple[Dim, ...]:
    return (ctx.fresh("rank") if x.shape is None else len(x.shape),)


def _shape_lower(ix: tuple[Expr, ...], x: Operand, *, out_type: object) -> Expr:
    kind = dtypes.as_dtype(out_type).base
    parts = [s.cast(size_expr(d), kind) for d in x.shape]
    if not parts:
        return lift(0, kind)
    out = parts[-1]
    for k in range(len(parts) - 2, -1, -1):
        out = s.select(ix[0].eq(k), parts[k], out)
    return out


def _scalar_shape(ctx: Infer, *_: TensorType, **__: Any) -> tuple[Dim, ...]:
    return ()


def _np_type(out_type: object) -> Any:
    return dtypes.as_dtype(out_type).np


_OF_SHAPES = tuple(
    Sample((floats(shape=d),), {"out_type": t}, grad=False)
    for d, t in (((2, 3), "int32"), ((4, 0, 17), "int64"), ((), "int32"))
)
shape: Op = Op(
    "Shape", ("input",), _out_type, _shape_shape,
    lambda x, *, out_type: np.asarray(x.shape, _np_type(out_type)), None,
    lower=_shape_lower, attrs={"out_type": dtypes.int32}, samples=_OF_SHAPES,
    doc="The sizes of the operand's axes.",
)  # fmt: skip
size: Op = Op(
    "Size", ("input",), _out_type, _scalar_shape,
    lambda x, *, out_type: np.asarray(x.size, _np_type(out_type)), None,
    lower=lambda ix, x, *, out_type: s.cast(
        size_expr(D.product(x.shape)), dtypes.as_dtype(out_type).base
    ),
    attrs={"out_type": dtypes.int32}, samples=_OF_SHAPES, doc="The number of elements.",
)  # fmt: skip
rank: Op = Op(
    "Rank", ("input",), lambda *_: dtypes.int32, _scalar_shape,
    lambda x: np.asarray(np.ndim(x), np.int32), None,
    lower=lambda ix, x: lift(len(x.shape), dtypes.int32),
    samples=lambda: tuple(Sample(x.args, grad=False) for x in _OF_SHAPES),
    doc="The number of axes.",
)  # fmt: skip


# ---------------------------------------------------------------- reshape
def reshaped(ctx: Infer, dims: tuple[Dim, ...], target: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """The shape that reshaping to `target` gives, where one entry may be -1."""
    total = D.product(dims)
    free = [i for i, d in enumerate(target) if isinstance(d, int) and d == -1]
    if len(free) > 1:
        raise RuleError(f"at most one size may be -1, got {show(target)}")
    for d in target:
        if isinstance(d, int) and d < -1:
            raise RuleError(f"sizes are not negative, got {d} in {show(target)}")
    rest = D.product(d for i, d in enumerate(target) if i not in free)
    out = list(target)
    if free:
        if rest == 0:
            if total != 0:
                raise RuleError(f"cannot reshape {show(dims)} to {show(target)}")
            raise RuleError(f"the size -1 in {show(target)} is ambiguous, as {show(dims)} is empty")
        out[free[0]] = D.floordiv(total, rest)
    ctx.equal(
        total, D.product(out),
        f"cannot reshape {show(dims)} of {{a}} elements to {show(target)}"
        + (f", {show(out)} of {{b}}" if free else " of {b}"),
    )  # fmt: skip
    return tuple(out)


def _reshape_shape(ctx: Infer, x: TensorType, *, shape: Any) -> tuple[Dim, ...]:
    target = sizes(shape, "shape")
    if x.shape is None:
        return tuple(ctx.fresh("d") if d == -1 else d for d in target)
    return reshaped(ctx, x.dims, target)


def _prefixes(dims: Sequence[Dim]) -> list[Dim]:
    out: list[Dim] = [1]
    for d in dims:
        out.append(out[-1] * d)
    return out


def _cuts(src: tuple[Dim, ...], dst: tuple[Dim, ...]) -> list[tuple[int, int]]:
    """Positions at which both shapes have as many elements before (or behind) them.

    Between two cuts the axes of `src` and `dst` hold the same elements in the same order, so that
    only indices of that stretch depend on each other.
    """
    a, b = _prefixes(src), _prefixes(dst)
    cuts = [(0, 0)]
    for i in range(1, len(a)):
        j = next((j for j in range(cuts[-1][1], len(b)) if b[j] == a[i]), None)
        if j is not None and a[i] != 0:
            cuts.append((i, j))
    a, b = _prefixes(src[::-1])[::-1], _prefixes(dst[::-1])[::-1]
    for i in range(cuts[-1][0] + 1, len(a)):
        j = next((j for j in range(cuts[-1][1], len(b)) if b[j] == a[i] != 0), None)
        if j is not None:
            cuts.append((i, j))
    if cuts[-1] != (len(src), len(dst)):
        cuts.append((len(src), len(dst)))
    return cuts


def _flat(ix: Sequence[Expr], dims: Sequence[Dim]) -> Expr:
    out: Expr | None = None
    for i, d in zip(ix, dims, strict=True):
        if d != 1:
            out = i if out is None else out * size_expr(d) + i
    return ZERO if out is None else out


def _unflat(flat: Expr, dims: Sequence[Dim]) -> list[Expr]:
    """Split a position into indices."""
    out: list[Expr] = [ZERO] * len(dims)
    wide = [k for k, d in enumerate(dims) if d != 1]
    for k in reversed(wide):
        if k == wide[0]:
            out[k] = flat
        else:
            out[k] = prim("mod", flat, size_expr(dims[k]))
            flat = prim("floordiv", flat, size_expr(dims[k]))
    return out


def _reshape_lower(ix: tuple[Expr, ...], x: Operand, *, shape: tuple[Dim, ...]) -> Expr:
    out = reshaped(Infer(lambda hint: 0), x.shape, shape)
    index: list[Expr] = []
    cuts = _cuts(x.shape, out)
    for (i0, j0), (i1, j1) in pairwise(cuts):
        index += _unflat(_flat(ix[j0:j1], out[j0:j1]), x.shape[i0:i1])
    return x[tuple(index)]


def _np_reshape(x: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    return np.reshape(x, shape)


def _reshape_samples() -> tuple[Sample, ...]:
    cases: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
        ((2, 3, 4), (2, 12)), ((2, 12), (2, 3, 4)), ((6, 4), (-1,)), ((4, 6), (3, 8)),
        ((2, 1, 5), (2, 5, 1)), ((0, 3), (3, 0)), ((0, 3), (-1, 3)), ((), (1, 1)), ((1,), ()),
        ((17, 2), (2, 17)), ((3, 2, 2, 3), (3, 4, 3)),
    )  # fmt: skip
    return (
        *tuple(Sample((floats(shape=a),), {"shape": b}) for a, b in cases),
        Sample((floats(shape=(2, 3), dtype="float64"),), {"shape": (3, 2)}),
        Sample((ints(),), {"shape": (2, -1)}, grad=False),
    )


reshape: Op = Op(
    "Reshape", ("tensor", "@shape"), same(ANY), _reshape_shape, _np_reshape,
    lambda g, y, x, *, shape: (lookup("ReshapeLike")(g, x),),
    lower=_reshape_lower, folds=True, samples=lambda: _reshape_samples(),
    error_samples=lambda: (
        ErrorSample((floats(),), {"shape": [5, 2]},
                    r"cannot reshape \[3, 4\] of 12 elements to \[5, 2\] of 10"),
        ErrorSample((floats(),), {"shape": [5, -1]}, "cannot reshape"),
        ErrorSample((floats(),), {"shape": [-1, -1]}, "at most one size may be -1"),
        ErrorSample((floats(),), {"shape": [-2, 6]}, "sizes are not negative, got -2"),
        ErrorSample((floats(shape=(0, 2)),), {"shape": [0, -1]}, "ambiguous"),
    ),
    doc="The same elements in the same order under another shape; one size may be -1.",
)  # fmt: skip


# ---------------------------------------------------------------- axes: permute, add, remove
def _permutation(ctx: Infer, perm: Any, n: int) -> tuple[int, ...]:
    axes = [ctx.constant(p, "perm") for p in sizes(perm, "perm")]
    p = tuple(a + n if a < 0 else a for a in axes)
    if sorted(p) != list(range(n)):
        raise RuleError(f"perm {list(axes)} is not a permutation of the {n} axes of the tensor")
    return p


def _transpose_shape(ctx: Infer, x: TensorType, *, perm: Any) -> tuple[Dim, ...]:
    return tuple(x.dims[p] for p in _permutation(ctx, perm, x.rank))


def _transpose_lower(ix: tuple[Expr, ...], x: Operand, *, perm: tuple[int, ...]) -> Expr:
    index: list[Expr] = [ZERO] * len(ix)
    for i, p in zip(ix, perm, strict=True):
        index[p] = i
    return x[tuple(index)]


def _transpose_grad(g: Any, y: Any, x: Any, *, perm: Any) -> tuple[Any]:
    if isinstance(perm, (tuple, list)):
        n = len(perm)
        inverse = [0] * n
        for i, p in enumerate(perm):
            inverse[int(p) % n] = i
        return (transpose(g, tuple(inverse)),)
    return (transpose(g, lookup("InvertPermutation")(perm)),)


transpose: Op = Op(
    "Transpose", ("x", "@perm"), same(ANY), _transpose_shape,
    lambda x, *, perm: np.transpose(x, perm), _transpose_grad,
    lower=_transpose_lower, folds=True,
    samples=lambda: (
        Sample((floats(shape=(2, 3, 4), dtype="float64"),), {"perm": (2, 0, 1)}),
        Sample((floats(shape=(17, 3)),), {"perm": (1, 0)}),
        Sample((floats(shape=(0, 3)),), {"perm": (1, 0)}),
        Sample((floats(shape=()),), {"perm": ()}),
        Sample((ints(),), {"perm": (0, 1)}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(),), {"perm": [0, 0]},
                    r"perm \[0, 0\] is not a permutation of the 2 axes"),
        ErrorSample((floats(),), {"perm": [0, 1, 2]}, "is not a permutation"),
    ),
    doc="Axis k of the result is axis perm[k] of the operand.",
)  # fmt: skip


def _scalar_axis(ctx: Infer, value: Any, n: int, what: str = "axis") -> int:
    if value is None:
        raise UnknownRankError
    if isinstance(value, tuple):
        if len(value) != 1:
            raise RuleError(f"{what} must be one axis, got {list(value)}")
        value = value[0]
    return ctx.axis(value, n, what)


def _expand_shape(ctx: Infer, x: TensorType, *, dim: Any) -> tuple[Dim, ...]:
    a = _scalar_axis(ctx, dim, x.rank + 1)
    return (*x.dims[:a], 1, *x.dims[a:])


def _expand_lower(ix: tuple[Expr, ...], x: Operand, *, dim: Any) -> Expr:
    a = (dim[0] if isinstance(dim, tuple) else dim) % len(ix)
    return x[(*ix[:a], *ix[a + 1 :])]


expand_dims: Op = Op(
    "ExpandDims", ("input", "@dim"), same(ANY), _expand_shape,
    lambda x, *, dim: np.expand_dims(x, dim),
    lambda g, y, x, *, dim: (lookup("ReshapeLike")(g, x),),
    lower=_expand_lower, folds=True,
    samples=lambda: (
        Sample((floats(dtype="float64"),), {"dim": 1}),
        Sample((floats(),), {"dim": -1}),
        Sample((floats(shape=()),), {"dim": 0}),
        Sample((floats(shape=(0,)),), {"dim": -2}),
        Sample((ints(),), {"dim": 0}, grad=False),
    ),
    error_samples=lambda: (ErrorSample((floats(),), {"dim": 3}, "axis 3 is outside"),),
    doc="Add an axis of size 1 before axis `dim` of the operand (of the result if negative).",
)  # fmt: skip


def _squeezed(ctx: Infer, x: TensorType, squeeze_dims: tuple[int, ...]) -> tuple[int, ...]:
    if squeeze_dims:
        axes = tuple(sorted({ctx.axis(a, x.rank) for a in squeeze_dims}))
        for a in axes:
            ctx.equal(x.dims[a], 1, f"axis {a} of {show(x.dims)} has size {{a}}, not {{b}}")
        return axes
    if any(not isinstance(d, int) for d in x.dims):
        raise UnknownRankError  # which axes go is known only with the sizes
    return tuple(i for i, d in enumerate(x.dims) if d == 1)


def _squeeze_shape(ctx: Infer, x: TensorType, *, squeeze_dims: tuple[int, ...]) -> tuple[Dim, ...]:
    axes = _squeezed(ctx, x, squeeze_dims)
    return tuple(d for i, d in enumerate(x.dims) if i not in axes)


def _squeeze_lower(ix: tuple[Expr, ...], x: Operand, *, squeeze_dims: tuple[int, ...]) -> Expr:
    axes = _squeezed(Infer(lambda hint: 0), x.type, squeeze_dims)
    rest = iter(ix)
    return x[tuple(ZERO if i in axes else next(rest) for i in range(len(x.shape)))]


squeeze: Op = Op(
    "Squeeze", ("input",), same(ANY), _squeeze_shape,
    lambda x, *, squeeze_dims: np.squeeze(x, tuple(squeeze_dims) or None),
    lambda g, y, x, *, squeeze_dims: (lookup("ReshapeLike")(g, x),),
    lower=_squeeze_lower, attrs={"squeeze_dims": ()}, folds=True,
    samples=lambda: (
        Sample((floats(shape=(1, 3, 1), dtype="float64"),), {"squeeze_dims": (-1,)}),
        Sample((floats(shape=(1, 3, 1)),), {"squeeze_dims": (0, 2)}),
        Sample((floats(shape=(1, 1)),)),
        Sample((floats(shape=(1, 0)),), {"squeeze_dims": (0,)}),
        Sample((ints(shape=(1, 5)),), grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(),), {"squeeze_dims": (1,)}, r"axis 1 of \[3, 4\] has size 4, not 1"),
        ErrorSample((floats(),), {"squeeze_dims": (2,)}, "axis 2 is outside"),
    ),
    doc="Drop axes of size 1: those named, or all of them.",
)  # fmt: skip


# ---------------------------------------------------------------- broadcasting
def _broadcast_shape(ctx: Infer, x: TensorType, *, shape: Any) -> tuple[Dim, ...]:
    target = sizes(shape, "shape")
    if x.shape is None:
        return target
    lead = len(target) - x.rank
    if lead < 0:
        raise RuleError(f"cannot broadcast {show(x.dims)} to {show(target)}, which has fewer axes")
    for d, t in zip(x.dims, target[lead:], strict=True):
        if d != 1:
            ctx.equal(d, t, f"cannot broadcast {show(x.dims)} to {show(target)}, {{a}} and {{b}}")
    return target


broadcast_to: Op = Op(
    "BroadcastTo", ("input", "@shape"), same(ANY), _broadcast_shape,
    lambda x, *, shape: np.broadcast_to(x, shape),
    lambda g, y, x, *, shape: (sum_to(g, x),),
    lower=lambda ix, x, *, shape: x.at(ix), folds=True,
    samples=lambda: (
        Sample((floats(shape=(3, 1), dtype="float64"),), {"shape": (2, 3, 4)}),
        Sample((floats(shape=()),), {"shape": (17,)}),
        Sample((floats(shape=(1,)),), {"shape": (0,)}),
        Sample((floats(shape=()),), {"shape": ()}),
        Sample((ints(shape=(4,)),), {"shape": (3, 4)}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(),), {"shape": [3, 5]},
                    r"cannot broadcast \[3, 4\] to \[3, 5\], 4 and 5"),
        ErrorSample((floats(),), {"shape": [4]}, "which has fewer axes"),
    ),
    doc="Repeat axes of size 1, and add axes in front, to reach `shape`.",
)  # fmt: skip


def _vector(x: TensorType, what: str) -> Dim:
    if x.rank != 1:
        raise RuleError(f"{what} must be a vector, it has rank {x.rank}")
    return x.dims[0]


def _args_shape(ctx: Infer, s0: TensorType, s1: TensorType) -> tuple[Dim, ...]:
    return (D.maximum(_vector(s0, "s0"), _vector(s1, "s1")),)


def _np_args(s0: np.ndarray, s1: np.ndarray) -> np.ndarray:
    ctx = Infer(lambda hint: 0)
    out = ctx.broadcast(tuple(s0.tolist()), tuple(s1.tolist()))
    if ctx.guards:
        raise TypeError("two sizes that are not known")
    return np.asarray(out, dtype=s0.dtype)


def _args_lower(ix: tuple[Expr, ...], s0: Operand, s1: Operand) -> Expr:
    total = D.maximum(s0.shape[0], s1.shape[0])
    sides = []
    for x in (s0, s1):
        i = ix[0] - size_expr(total - x.shape[0])
        inside = i >= 0
        sides.append(s.select(inside, x[s.select(inside, i, ZERO)], lift(1, x.dtype)))
    return s.select(sides[0].eq(1), sides[1], sides[0])


broadcast_args: Op = Op(
    "BroadcastArgs", ("s0", "s1"), same((dtypes.int32, dtypes.int64)), _args_shape, _np_args, None,
    lower=_args_lower, folds=True,
    samples=lambda: (
        Sample((np.array([3, 1], np.int32), np.array([2, 1, 4], np.int32)), grad=False),
        Sample((np.array([5], np.int64), np.array([5], np.int64)), grad=False),
        Sample((np.array([1, 7], np.int32), np.array([7], np.int32)), grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((np.zeros((2, 2), np.int32), np.zeros(2, np.int32)), {},
                    "s0 must be a vector, it has rank 2"),
    ),
    doc="The shape, as a vector, that broadcasting two shapes gives.",
)  # fmt: skip
