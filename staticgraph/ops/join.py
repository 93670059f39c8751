"""Joining tensors along an axis, and taking them apart again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import REQUIRED, ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.scalar import Expr, Operand, s, size_expr
from staticgraph.ir.types import TensorType, UnknownRankError
from staticgraph.ops.rules import ANY, floats, ints, same
from staticgraph.ops.shape import ZERO, show, sizes
from staticgraph.ops.slicing import slice_


def _axis(ctx: Infer, value: Any, rank: int, what: str = "axis") -> int:
    if value is None:
        raise UnknownRankError
    if isinstance(value, tuple):
        if len(value) != 1:
            raise RuleError(f"{what} must be one axis, got {list(value)}")
        value = value[0]
    if rank == 0:
        raise RuleError(f"{what} {value} is outside a tensor of rank 0")
    return ctx.axis(value, rank, what)


def _static_axis(value: Any, rank: int) -> int:
    return int(value[0] if isinstance(value, tuple) else value) % rank


def _choose(parts: Sequence[tuple[Expr, Expr]], last: Expr) -> Expr:
    """The element of the first part whose condition holds, else `last`."""
    out = last
    for condition, element in reversed(parts):
        out = s.select(condition, element, out)
    return out


# ---------------------------------------------------------------- stack
def _pack_shape(ctx: Infer, *values: TensorType, axis: int) -> tuple[Dim, ...]:
    if not values:
        raise RuleError("takes at least one tensor")
    known = [v for v in values if v.shape is not None]
    if not known:
        raise UnknownRankError
    first = known[0].dims
    out = list(first)
    for v in known[1:]:
        if len(v.dims) != len(first):
            raise RuleError(f"shapes differ, {show(first)} and {show(v.dims)}")
        for k, d in enumerate(v.dims):
            text = f"shapes {show(first)} and {show(v.dims)} differ on axis {k}, {{a}} and {{b}}"
            out[k] = ctx.equal(out[k], d, text)
    a = ctx.axis(axis, len(first) + 1)
    return (*out[:a], len(values), *out[a:])


def _pack_lower(ix: tuple[Expr, ...], *values: Operand, axis: int) -> Expr:
    a = axis % len(ix)
    rest = (*ix[:a], *ix[a + 1 :])
    loads = [v[rest] for v in values]
    return _choose([(ix[a].eq(k), x) for k, x in enumerate(loads[:-1])], loads[-1])


pack: Op = Op(
    "Pack", ("*values",), same(ANY), _pack_shape,
    lambda *values, axis: np.stack(values, axis),
    lambda g, y, *values, axis: tuple(unpack(g, num=len(values), axis=axis)),
    lower=_pack_lower, attrs={"axis": 0}, folds=True,
    samples=lambda: (
        Sample(([floats(dtype="float64"), floats(seed=1, dtype="float64")],), {"axis": 0}),
        Sample(([floats(seed=k) for k in range(3)],), {"axis": -1}),
        Sample(([floats(shape=(17,), seed=k) for k in range(2)],), {"axis": 1}),
        Sample(([np.float32(1), np.float32(2), np.float32(3)],)),
        Sample(([floats(shape=(0,)), floats(shape=(0,))],)),
        Sample(([ints(), ints(seed=1)],), {"axis": 1}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample(([floats(), floats(shape=(3, 5))],), {}, "differ on axis 1, 4 and 5"),
        ErrorSample(([floats(), floats(shape=(3,))],), {}, r"shapes differ, \[3, 4\] and \[3\]"),
        ErrorSample(([floats(), floats()],), {"axis": 3}, "axis 3 is outside"),
        ErrorSample(([floats(), ints()],), {}, "dtypes differ"),
    ),
    doc="Join tensors of one shape along a new axis.",
)  # fmt: skip


def _unpack_shape(ctx: Infer, value: TensorType, *, num: int, axis: int) -> tuple[Any, ...]:
    if value.shape is None:
        return (None,) * num
    a = _axis(ctx, axis, value.rank)
    ctx.equal(value.dims[a], num, f"axis {a} of {show(value.dims)} has size {{a}}, not {{b}}")
    return ((*value.dims[:a], *value.dims[a + 1 :]),) * num


def _unpack_types(value: DType, *, num: int, axis: int) -> tuple[DType, ...]:
    return (same(ANY)(value),) * num


def _np_unpack(value: np.ndarray, *, num: int, axis: int) -> Any:
    return [np.asarray(np.take(value, k, axis)) for k in range(num)]


def _unpack(value: Any, *, num: int, axis: int) -> list[Any]:
    dims = value.type.dims
    a = axis % len(dims)
    parts = []
    for k in range(num):
        begin = tuple(k if i == a else 0 for i in range(len(dims)))
        one = slice_(value, begin, tuple(1 if i == a else d for i, d in enumerate(dims)))
        parts.append(lookup("Squeeze")(one, squeeze_dims=(a,)))
    return parts


unpack: Op = Op(
    "Unpack", ("value",), _unpack_types, _unpack_shape, _np_unpack,
    lambda gs, ys, value, *, num, axis: (
        pack(list(gs) if num > 1 else [gs], axis=axis),
    ),
    decompose=_unpack, attrs={"num": REQUIRED, "axis": 0}, results=lambda num, **_: num, folds=True,
    samples=lambda: (
        Sample((floats(dtype="float64"),), {"num": 3}),
        Sample((floats(),), {"num": 4, "axis": -1}),
        Sample((floats(shape=(1, 2)),), {"num": 1}),
        Sample((ints(shape=(2,)),), {"num": 2}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(),), {"num": 2}, r"axis 0 of \[3, 4\] has size 3, not 2"),
        ErrorSample((np.float32(1),), {"num": 1}, "outside a tensor of rank 0"),
    ),
    doc="The slices along an axis, which they lose.",
)  # fmt: skip


# ---------------------------------------------------------------- concat
def _concat_shape(ctx: Infer, *values: TensorType, axis: Any) -> tuple[Dim, ...]:
    if not values:
        raise RuleError("takes at least one tensor")
    known = [v for v in values if v.shape is not None]
    if not known:
        raise UnknownRankError
    first = known[0].dims
    for v in known[1:]:
        if len(v.dims) != len(first):
            raise RuleError(f"ranks differ, {show(first)} and {show(v.dims)}")
    a = _axis(ctx, axis, len(first))
    out = list(first)
    total: Dim = 0 if len(known) == len(values) else ctx.fresh("d")
    for v in known:
        for k, d in enumerate(v.dims):
            if k != a:
                text = (
                    f"shapes {show(first)} and {show(v.dims)} differ on axis {k}, {{a}} and {{b}}"
                )
                out[k] = ctx.equal(out[k], d, text)
        total = total + v.dims[a]
    out[a] = total if len(known) == len(values) else ctx.fresh("d")
    return tuple(out)


def _concat_lower(ix: tuple[Expr, ...], *values: Operand, axis: Any) -> Expr:
    a = _static_axis(axis, len(ix))
    i = ix[a]
    parts: list[tuple[Expr, Expr]] = []
    kept = [v for v in values if v.shape[a] != 0] or list(values[:1])
    begin: Dim = 0
    for k, v in enumerate(kept):
        end = begin + v.shape[a]
        local = i if begin == 0 else i - size_expr(begin)
        inside = i < size_expr(end)
        if len(kept) > 1:
            # loads of the parts not taken must stay inside their tensors too
            own = inside if k == 0 else local >= 0
            if 0 < k < len(kept) - 1:
                own = (local >= 0) & inside
            local = s.select(own, local, ZERO)
        parts.append((inside, v[(*ix[:a], local, *ix[a + 1 :])]))
        begin = end
    return _choose(parts[:-1], parts[-1][1])


def _concat_grad(g: Any, y: Any, *values: Any, axis: Any) -> tuple[Any, ...]:
    if len(values) == 1:
        return (g,)
    return tuple(concat_grad(g, list(values), axis, N=len(values)))


concat: Op = Op(
    "ConcatV2", ("*values", "@axis"), same(ANY), _concat_shape,
    lambda *values, axis: np.concatenate(values, int(np.ravel(axis)[0])), _concat_grad,
    lower=_concat_lower, folds=True,
    samples=lambda: (
        Sample(([floats(dtype="float64"), floats(shape=(2, 4), dtype="float64")],), {"axis": 0}),
        Sample(([floats(), floats(shape=(3, 1)), floats(shape=(3, 17))],), {"axis": -1}),
        Sample(([floats(), floats(shape=(0, 4)), floats(shape=(2, 4))],), {"axis": 0}),
        Sample(([floats(shape=(0,)), floats(shape=(0,))],), {"axis": 0}),
        Sample(([floats()],), {"axis": 1}),
        Sample(([ints(), ints(seed=1)],), {"axis": 1}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample(([floats(), floats(shape=(3, 5))],), {"axis": 0}, "differ on axis 1, 4 and 5"),
        ErrorSample(([floats(), floats(shape=(3,))],), {"axis": 0},
                    r"ranks differ, \[3, 4\] and \[3\]"),
        ErrorSample(([floats(), floats()],), {"axis": 2}, "axis 2 is outside"),
        ErrorSample(([np.float32(1), np.float32(1)],), {"axis": 0}, "outside a tensor of rank 0"),
        ErrorSample(([floats(), ints()],), {"axis": 0}, "dtypes differ"),
    ),
    doc="Join tensors along an axis they have.",
)  # fmt: skip


def _pieces(axis: Any, values: Sequence[Any]) -> list[tuple[Any, tuple[Dim, ...]]]:
    """Each value with the position in the whole at which it begins."""
    out = []
    begin: Dim = 0
    for v in values:
        a = _static_axis(axis, len(v.shape))
        out.append((v, tuple(begin if k == a else 0 for k in range(len(v.shape)))))
        begin = begin + v.shape[a]
    return out


def _np_concat_grad(g: np.ndarray, *values: np.ndarray, axis: Any, N: int) -> Any:
    return [
        g[tuple(slice(b, b + d) for b, d in zip(begin, v.shape, strict=True))]
        for v, begin in _pieces(axis, values)
    ]


def _concat_grad_parts(g: Any, *values: Any, axis: Any, N: int) -> list[Any]:
    return [slice_(g, begin, v.dims) for v, begin in _pieces(axis, [v.type for v in values])]


concat_grad: Op = Op(
    "ConcatGrad", ("g", "*values", "@axis"), lambda g, *values, axis, N: (g,) * N,
    lambda ctx, g, *values, axis, N: tuple(v.shape for v in values), _np_concat_grad,
    lambda ds, ys, g, *values, axis, N: (
        concat(list(ds) if N > 1 else [ds], axis), *(None for _ in values)
    ),
    decompose=lambda g, *values, axis, N: _concat_grad_parts(g, *values, axis=axis, N=N),
    attrs={"N": REQUIRED}, results=lambda N, **_: N,
    samples=lambda: (
        Sample((floats(shape=(3, 5), dtype="float64"),
                [floats(shape=(3, 2), dtype="float64"), floats(shape=(3, 3), dtype="float64")]),
               {"axis": 1, "N": 2}),
        Sample((floats(shape=(4, 2)), [floats(shape=(0, 2)), floats(shape=(4, 2))]),
               {"axis": -2, "N": 2}),
    ),
    doc="The parts of `g` that stand where `values` stood in their concatenation.",
)  # fmt: skip


# ---------------------------------------------------------------- split
def _split_shape(
    ctx: Infer, value: TensorType, *, split_dim: Any, num_split: int
) -> tuple[Any, ...]:
    if value.shape is None or split_dim is None:
        return (None,) * num_split
    a = _axis(ctx, split_dim, value.rank, "split_dim")
    d = value.dims[a]
    each = d // num_split
    ctx.equal(
        d, each * num_split, f"axis {a} of {show(value.dims)} does not divide into {num_split}"
    )
    return ((*value.dims[:a], each, *value.dims[a + 1 :]),) * num_split


def _many(n: str) -> Any:
    def rule(value: DType, **attrs: Any) -> tuple[DType, ...]:
        return (same(ANY)(value),) * int(attrs[n])

    return rule


def _split_at(value: Any, a: int, lengths: Sequence[Dim]) -> list[Any]:
    dims = value.type.dims
    parts = []
    begin: Dim = 0
    for n in lengths:
        at = tuple(begin if i == a else 0 for i in range(len(dims)))
        parts.append(slice_(value, at, tuple(n if i == a else d for i, d in enumerate(dims))))
        begin = begin + n
    return parts


def _split(value: Any, *, split_dim: Any, num_split: int) -> list[Any]:
    dims = value.type.dims
    a = _static_axis(split_dim, len(dims))
    return _split_at(value, a, [dims[a] // num_split] * num_split)


split: Op = Op(
    "Split", ("@split_dim", "value"), _many("num_split"), _split_shape,
    lambda value, *, split_dim, num_split: np.split(value, num_split, int(np.ravel(split_dim)[0])),
    lambda gs, ys, value, *, split_dim, num_split: (
        concat(list(gs) if num_split > 1 else [gs], split_dim),
    ),
    decompose=_split, attrs={"num_split": REQUIRED}, results=lambda num_split, **_: num_split,
    folds=True,
    samples=lambda: (
        Sample((floats(shape=(4, 3), dtype="float64"),), {"split_dim": 0, "num_split": 2}),
        Sample((floats(),), {"split_dim": -1, "num_split": 4}),
        Sample((floats(),), {"split_dim": 1, "num_split": 1}),
        Sample((floats(shape=(0, 2)),), {"split_dim": 0, "num_split": 3}),
        Sample((ints(),), {"split_dim": 0, "num_split": 3}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(),), {"split_dim": 1, "num_split": 3}, "does not divide into 3"),
        ErrorSample((floats(),), {"split_dim": 2, "num_split": 3}, "split_dim 2 is outside"),
    ),
    doc="Equal parts along an axis.",
)  # fmt: skip


def _lengths(ctx: Infer, d: Dim, size_splits: tuple[Dim, ...], what: str) -> list[Dim]:
    out = list(size_splits)
    free = [k for k, n in enumerate(out) if isinstance(n, int) and n == -1]
    if len(free) > 1 or any(isinstance(n, int) and n < -1 for n in out):
        raise RuleError(f"sizes are not negative and at most one is -1, got {show(out)}")
    total: Dim = 0
    for k, n in enumerate(out):
        total = total if k in free else total + n
    if free:
        ctx.at_most(total, d, f"the sizes {show(size_splits)} add up to {{a}}, {what} has {{b}}")
        out[free[0]] = d - total
    else:
        ctx.equal(total, d, f"the sizes {show(size_splits)} add up to {{a}}, {what} has {{b}}")
    return out


def _split_v_shape(
    ctx: Infer, value: TensorType, *, size_splits: Any, split_dim: Any, num_split: int
) -> tuple[Any, ...]:
    if value.shape is None or split_dim is None:
        return (None,) * num_split
    a = _axis(ctx, split_dim, value.rank, "split_dim")
    if size_splits is None:
        parts: list[Dim] = [ctx.fresh("d") for _ in range(num_split)]
    else:
        given = sizes(size_splits, "size_splits")
        if len(given) != num_split:
            raise RuleError(f"{num_split} results asked for, {len(given)} sizes given")
        parts = _lengths(ctx, value.dims[a], given, f"axis {a} of {show(value.dims)}")
    return tuple((*value.dims[:a], n, *value.dims[a + 1 :]) for n in parts)


def _np_split_v(value: np.ndarray, *, size_splits: Any, split_dim: Any, num_split: int) -> Any:
    a = int(np.ravel(split_dim)[0])
    lengths: Any = _lengths(Infer(lambda hint: 0), value.shape[a], size_splits, "axis")
    return np.split(value, np.cumsum(lengths, dtype=np.int64)[:-1], a)


def _split_v(value: Any, *, size_splits: Any, split_dim: Any, num_split: int) -> list[Any]:
    a = _static_axis(split_dim, len(value.type.dims))
    lengths = _lengths(Infer(lambda hint: 0), value.type.dims[a], size_splits, "axis")
    return _split_at(value, a, lengths)


split_v: Op = Op(
    "SplitV", ("value", "@size_splits", "@split_dim"), _many("num_split"), _split_v_shape,
    _np_split_v,
    lambda gs, ys, value, *, size_splits, split_dim, num_split: (
        concat(list(gs) if num_split > 1 else [gs], split_dim),
    ),
    decompose=_split_v, attrs={"num_split": REQUIRED}, results=lambda num_split, **_: num_split,
    samples=lambda: (
        Sample((floats(shape=(4, 3), dtype="float64"),),
               {"size_splits": (1, 3), "split_dim": 0, "num_split": 2}),
        Sample((floats(),), {"size_splits": (1, -1, 0), "split_dim": -1, "num_split": 3}),
        Sample((ints(),), {"size_splits": (3,), "split_dim": 0, "num_split": 1}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(),), {"size_splits": [1, 1], "split_dim": 0, "num_split": 2},
                    r"the sizes \[1, 1\] add up to 2, axis 0 of \[3, 4\] has 3"),
        ErrorSample((floats(),), {"size_splits": [9, -1], "split_dim": 0, "num_split": 2},
                    "add up to 9"),
        ErrorSample((floats(),), {"size_splits": [3], "split_dim": 0, "num_split": 2},
                    "1 sizes given"),
    ),
    doc="Parts of given sizes along an axis; one size may be -1.",
)  # fmt: skip
