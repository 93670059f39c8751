"""Padding, repeating, reversing and rotating along axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.ir import dims as D
from staticgraph.ir.dims import Dim
from staticgraph.ir.op import REQUIRED, ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.scalar import Expr, Operand, lift, prim, s, size_expr
from staticgraph.ir.types import TensorType, UnknownRankError
from staticgraph.ops.rules import ANY, floats, ints, same, sum_to
from staticgraph.ops.shape import ZERO, sizes
from staticgraph.ops.slicing import guarded, shifted, slice_, slice_like

Paddings = tuple[tuple[Dim, Dim], ...]


# ---------------------------------------------------------------- constants around
def _paddings(paddings: Any, rank: int) -> Paddings:
    rows = sizes(paddings, "paddings")
    if any(not isinstance(r, tuple) or len(r) != 2 for r in rows):
        raise RuleError("paddings must be a list of pairs [before, after]")
    if len(rows) != rank:
        raise RuleError(f"paddings has {len(rows)} rows for a tensor of rank {rank}")
    return rows  # type: ignore[return-value]


def _pad_shape(
    ctx: Infer, x: TensorType, *rest: TensorType, paddings: Any, **_: Any
) -> tuple[Dim, ...]:
    if rest and rest[0].shape is not None and rest[0].shape != ():
        raise RuleError(f"constant_values must be a scalar, it has rank {rest[0].rank}")
    if paddings is None:
        return tuple(ctx.fresh("d") for _ in x.dims)
    out = []
    for k, (d, (lo, hi)) in enumerate(zip(x.dims, _paddings(paddings, x.rank), strict=True)):
        for p in (lo, hi):
            ctx.at_most(0, p, f"padding {{b}} on axis {k} is negative")
        out.append(d + lo + hi)
    return tuple(out)


def _padded(ix: tuple[Expr, ...], x: Operand, paddings: Paddings, otherwise: Expr) -> Expr:
    conditions: list[Expr] = []
    index: list[Expr] = []
    if any(d == 0 for d in x.shape):
        return otherwise
    for i, d, (lo, hi) in zip(ix, x.shape, paddings, strict=True):
        t = shifted(i, -lo)
        own = [] if lo == 0 else [t >= 0]
        if hi != 0:
            own.append(t < size_expr(d))
        conditions += own
        index.append(guarded(own, t, ZERO))
    return guarded(conditions, x[tuple(index)], otherwise)


def _np_pad(x: np.ndarray, value: Any = None, *, paddings: Any) -> np.ndarray:
    if value is None:
        value = b"" if x.dtype == object else 0
    out = np.full([d + a + b for d, (a, b) in zip(x.shape, paddings, strict=True)], value, x.dtype)
    out[tuple(slice(a, a + d) for d, (a, _) in zip(x.shape, paddings, strict=True))] = x
    return out


def _before(paddings: Any) -> Any:
    """How much is in front of each axis, from constants or from a tensor."""
    if isinstance(paddings, (tuple, list)):
        return tuple(p[0] for p in paddings)
    return paddings[:, 0]


_PADS = (
    ((3, 4), ((1, 2), (0, 3))), ((5,), ((0, 0),)), ((17,), ((2, 0),)), ((0, 2), ((1, 1), (0, 1))),
    ((), ()),
)  # fmt: skip
_PAD_ERRORS = (
    ErrorSample((floats(),), {"paddings": [[1, 1]]}, "paddings has 1 rows for a tensor of rank 2"),
    ErrorSample((floats(shape=(2,)),), {"paddings": [[-1, 1]]}, "padding -1 on axis 0 is negative"),
    ErrorSample((floats(shape=(2,)),), {"paddings": [[1]]}, r"a list of pairs \[before, after\]"),
)
pad: Op = Op(
    "Pad", ("input", "@paddings"), same(ANY), _pad_shape,
    lambda x, *, paddings: _np_pad(x, paddings=paddings),
    lambda g, y, x, *, paddings: (slice_like(g, x, _before(paddings)),),
    lower=lambda ix, x, *, paddings: _padded(ix, x, paddings, lift(0, x.dtype)),
    samples=lambda: (
        *(Sample((floats(shape=d),), {"paddings": p}) for d, p in _PADS),
        Sample((floats(dtype="float64"),), {"paddings": ((1, 0), (2, 2))}),
        Sample((ints(),), {"paddings": ((1, 0), (2, 2))}, grad=False),
    ),
    error_samples=_PAD_ERRORS, doc="Zeros around a tensor: a pair [before, after] per axis.",
)  # fmt: skip


def _pad_v2_grad(g: Any, y: Any, x: Any, value: Any, *, paddings: Any) -> tuple[Any, Any]:
    inner = slice_like(g, x, _before(paddings))
    return inner, sum_to(g, value) - sum_to(inner, value)


pad_v2: Op = Op(
    "PadV2", ("input", "@paddings", "constant_values"), same(ANY), _pad_shape,
    lambda x, value, *, paddings: _np_pad(x, value, paddings=paddings), _pad_v2_grad,
    lower=lambda ix, x, value, *, paddings: _padded(ix, x, paddings, value[()]),
    samples=lambda: (
        *(Sample((floats(shape=d), np.float32(1.5)), {"paddings": p}) for d, p in _PADS),
        Sample((ints(), np.int32(-1)), {"paddings": ((1, 0), (2, 2))}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(), floats(shape=(2,))), {"paddings": [[0, 0], [0, 0]]},
                    "constant_values must be a scalar, it has rank 1"),
    ),
    doc="One value around a tensor.",
)  # fmt: skip


# ---------------------------------------------------------------- mirrored
def _mirror_shape(ctx: Infer, x: TensorType, *, paddings: Any, mode: str) -> tuple[Dim, ...]:
    if mode not in ("REFLECT", "SYMMETRIC"):
        raise RuleError(f"mode must be REFLECT or SYMMETRIC, got {mode!r}")
    out = _pad_shape(ctx, x, paddings=paddings)
    if paddings is not None:
        for k, (d, pair) in enumerate(zip(x.dims, paddings, strict=True)):
            for p in pair:
                if p != 0:
                    most = d - 1 if mode == "REFLECT" else d
                    ctx.at_most(
                        p, most, f"padding {{a}} on axis {k} exceeds {{b}}, all that {mode} has"
                    )
    return out


def _mirrored(i: Expr, d: Dim, lo: Dim, hi: Dim, mode: str) -> Expr:
    t = shifted(i, -lo)
    edge = 0 if mode == "REFLECT" else 1
    if lo != 0:
        t = s.select(t < 0, -t - edge, t)
    if hi != 0:
        t = s.select(t >= size_expr(d), size_expr(2 * d - 2 + edge) - t, t)
    return t


def _mirror_lower(ix: tuple[Expr, ...], x: Operand, *, paddings: Paddings, mode: str) -> Expr:
    return x[tuple(
        _mirrored(i, d, lo, hi, mode) for i, d, (lo, hi) in zip(ix, x.shape, paddings, strict=True)
    )]  # fmt: skip


def _np_mirror(x: np.ndarray, *, paddings: Any, mode: str) -> np.ndarray:
    if x.ndim == 0:
        return x
    return np.pad(x, paddings, mode="reflect" if mode == "REFLECT" else "symmetric")


_MIRRORS = (
    ((3, 4), ((1, 2), (0, 3)), "REFLECT"), ((3, 4), ((3, 2), (0, 4)), "SYMMETRIC"),
    ((17,), ((2, 0),), "REFLECT"), ((1, 2), ((0, 0), (1, 1)), "REFLECT"),
    ((1,), ((1, 1),), "SYMMETRIC"),
)  # fmt: skip
mirror_pad: Op = Op(
    "MirrorPad", ("input", "@paddings"), same(ANY), _mirror_shape, _np_mirror,
    lambda g, y, x, *, paddings, mode: (mirror_pad_grad(g, x, paddings, mode=mode),),
    lower=_mirror_lower, attrs={"mode": REQUIRED},
    samples=lambda: (
        *(Sample((floats(shape=d),), {"paddings": p, "mode": m}) for d, p, m in _MIRRORS),
        Sample((ints(),), {"paddings": ((1, 0), (2, 2)), "mode": "REFLECT"}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(shape=(3,)),), {"paddings": [[3, 0]], "mode": "REFLECT"},
                    "padding 3 on axis 0 exceeds 2"),
        ErrorSample((floats(shape=(3,)),), {"paddings": [[0, 4]], "mode": "SYMMETRIC"},
                    "exceeds 3"),
    ),
    doc="Pad with the tensor's own mirror image; REFLECT leaves the edge out of it.",
)  # fmt: skip


def _np_mirror_grad(g: np.ndarray, like: np.ndarray, *, paddings: Any, mode: str) -> np.ndarray:
    places = _np_mirror(np.arange(like.size).reshape(like.shape), paddings=paddings, mode=mode)
    out = np.zeros(like.size, g.dtype)
    np.add.at(out, places.ravel(), g.ravel())
    return out.reshape(like.shape)


def _mirror_grad(g: Any, like: Any, *, paddings: Paddings, mode: str) -> Any:
    """Fold the margins of one axis after the other onto the middle."""
    edge = 1 if mode == "REFLECT" else 0
    for k, (d, (lo, hi)) in enumerate(zip(like.type.dims, paddings, strict=True)):
        dims = g.type.dims

        def part(begin: Dim, n: Dim, g: Any = g, dims: Any = dims, k: int = k) -> Any:
            at = tuple(begin if a == k else 0 for a in range(len(dims)))
            return slice_(g, at, tuple(n if a == k else m for a, m in enumerate(dims)))

        def placed(x: Any, begin: Dim, end: Dim, n: int = len(dims), k: int = k) -> Any:
            pairs = tuple((begin, end) if a == k else (0, 0) for a in range(n))
            return pad(reverse(x, (k,)), pairs)

        if lo == 0 and hi == 0:
            continue
        middle = part(lo, d)
        if lo != 0:
            middle = middle + placed(part(0, lo), edge, d - edge - lo)
        if hi != 0:
            middle = middle + placed(part(lo + d, hi), d - edge - hi, edge)
        g = middle
    return lookup("Identity")(g)


mirror_pad_grad: Op = Op(
    "MirrorPadGrad", ("g", "like", "@paddings"), lambda g, like, **_: g,
    lambda ctx, g, like, **_: like.dims, _np_mirror_grad,
    lambda d, y, g, like, *, paddings, mode: (mirror_pad(d, paddings, mode=mode), None),
    decompose=_mirror_grad, attrs={"mode": REQUIRED},
    operand_dtypes={"like": None},
    samples=lambda: tuple(
        Sample((_np_mirror(floats(shape=d), paddings=p, mode=m), floats(shape=d, seed=1)),
               {"paddings": p, "mode": m})
        for d, p, m in _MIRRORS
    ),
    doc="Sum what `MirrorPad` copied.",
)  # fmt: skip


# ---------------------------------------------------------------- tile
def _tile_shape(ctx: Infer, x: TensorType, *, multiples: Any) -> tuple[Dim, ...]:
    if multiples is None:
        return tuple(ctx.fresh("d") for _ in x.dims)
    m = sizes(multiples, "multiples")
    if len(m) != x.rank:
        raise RuleError(f"multiples has {len(m)} entries for a tensor of rank {x.rank}")
    for k, n in enumerate(m):
        ctx.at_most(0, n, f"multiple {{b}} on axis {k} is negative")
    return tuple(d * n for d, n in zip(x.dims, m, strict=True))


def _tile_lower(ix: tuple[Expr, ...], x: Operand, *, multiples: tuple[Dim, ...]) -> Expr:
    return x[tuple(
        ZERO if d == 1 else i if m == 1 else prim("mod", i, size_expr(d))
        for i, d, m in zip(ix, x.shape, multiples, strict=True)
    )]  # fmt: skip


_TILES = (((2, 3), (2, 1)), ((1, 3), (17, 2)), ((3,), (0,)), ((), ()), ((0, 2), (2, 2)))
tile: Op = Op(
    "Tile", ("input", "@multiples"), same(ANY), _tile_shape,
    lambda x, *, multiples: np.tile(x, multiples),
    lambda g, y, x, *, multiples: (tile_grad(g, x, multiples),),
    lower=_tile_lower, folds=True,
    samples=lambda: (
        *(Sample((floats(shape=d),), {"multiples": m}) for d, m in _TILES),
        Sample((ints(),), {"multiples": (1, 2)}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(),), {"multiples": [2]},
                    "multiples has 1 entries for a tensor of rank 2"),
        ErrorSample((floats(shape=(2,)),), {"multiples": [-1]},
                    "multiple -1 on axis 0 is negative"),
    ),
    doc="Repeat the whole tensor along each axis.",
)  # fmt: skip


def _pairs(dims: Any, multiples: Any) -> tuple[Any, ...]:
    return tuple(n for m, d in zip(multiples, dims, strict=True) for n in (m, d))


def _np_tile_grad(g: np.ndarray, like: np.ndarray, *, multiples: Any) -> np.ndarray:
    axes = tuple(range(0, 2 * like.ndim, 2))
    return np.asarray(np.sum(np.reshape(g, _pairs(like.shape, multiples)), axis=axes), g.dtype)


def _tile_grad(g: Any, like: Any, *, multiples: Any) -> Any:
    dims = like.type.dims
    if all(m == 1 for m in multiples):
        return lookup("Identity")(g)
    wide = lookup("Reshape")(g, _pairs(dims, multiples))
    return lookup("Sum")(wide, tuple(range(0, 2 * len(dims), 2)))


tile_grad: Op = Op(
    "TileGrad", ("g", "like", "@multiples"), lambda g, like, **_: g,
    lambda ctx, g, like, **_: like.dims, _np_tile_grad,
    lambda d, y, g, like, *, multiples: (tile(d, multiples), None), decompose=_tile_grad,
    operand_dtypes={"like": None},
    samples=lambda: tuple(
        Sample((np.tile(floats(shape=d), m), floats(shape=d, seed=1)), {"multiples": m})
        for d, m in _TILES
    ),
    doc="Sum over the copies that `Tile` made.",
)  # fmt: skip


# ---------------------------------------------------------------- reverse and roll
def _axes(ctx: Infer, axis: Any, rank: int) -> tuple[int, ...]:
    if axis is None:
        raise UnknownRankError
    given = axis if isinstance(axis, tuple) else (axis,)
    if rank == 0 and given:
        raise RuleError(f"axis {given[0]} is outside a tensor of rank 0")
    return tuple(ctx.axis(a, rank) for a in given)


def _reverse_shape(ctx: Infer, x: TensorType, *, axis: Any) -> tuple[Dim, ...]:
    if axis is not None:
        axes = _axes(ctx, axis, x.rank)
        if len(set(axes)) != len(axes):
            raise RuleError(f"axis {list(axes)} names an axis twice")
    return x.dims


def _reverse_lower(ix: tuple[Expr, ...], x: Operand, *, axis: tuple[int, ...]) -> Expr:
    axes = _axes(Infer(lambda hint: 0), axis, len(ix))
    return x[tuple(
        size_expr(d - 1) - i if k in axes else i
        for k, (i, d) in enumerate(zip(ix, x.shape, strict=True))
    )]  # fmt: skip


reverse: Op = Op(
    "ReverseV2", ("tensor", "@axis"), same(ANY), _reverse_shape,
    lambda x, *, axis: np.flip(x, axis), lambda g, y, x, *, axis: (reverse(g, axis),),
    lower=_reverse_lower, folds=True,
    samples=lambda: (
        Sample((floats(dtype="float64"),), {"axis": (0,)}),
        Sample((floats(),), {"axis": (-1, 0)}),
        Sample((floats(shape=(17,)),), {"axis": (0,)}),
        Sample((floats(shape=(0, 1)),), {"axis": (0, 1)}),
        Sample((floats(),), {"axis": ()}),
        Sample((ints(),), {"axis": (1,)}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(),), {"axis": [2]}, "axis 2 is outside"),
        ErrorSample((floats(),), {"axis": [1, -1]}, "names an axis twice"),
    ),
    doc="Turn axes around.",
)  # fmt: skip


def _shifts(shift: Any, axis: Any) -> list[tuple[Dim, int]]:
    ss = shift if isinstance(shift, tuple) else (shift,)
    aa = axis if isinstance(axis, tuple) else (axis,)
    if len(ss) != len(aa):
        raise RuleError(f"shift and axis differ in length, {len(ss)} and {len(aa)}")
    return list(zip(ss, aa, strict=True))


def _roll_shape(ctx: Infer, x: TensorType, *, shift: Any, axis: Any) -> tuple[Dim, ...]:
    if axis is not None:
        _axes(ctx, axis, x.rank)
        if shift is not None:
            _shifts(shift, axis)
    return x.dims


def _roll_lower(ix: tuple[Expr, ...], x: Operand, *, shift: Any, axis: Any) -> Expr:
    total: dict[int, Dim] = {}
    for by, a in _shifts(shift, axis):
        a %= len(ix)
        total[a] = total.get(a, 0) + by
    index = list(ix)
    for a, by in total.items():
        d = x.shape[a]
        back = D.mod(-by, D.maximum(d, 1))
        if back != 0:
            i = shifted(ix[a], back)
            index[a] = s.select(i >= size_expr(d), i - size_expr(d), i)
    return x[tuple(index)]


def _roll_grad(g: Any, y: Any, x: Any, *, shift: Any, axis: Any) -> tuple[Any]:
    if isinstance(shift, (tuple, list)):
        return (roll(g, tuple(-n for n in shift), axis),)
    return (roll(g, -shift, axis),)


roll: Op = Op(
    "Roll", ("input", "@shift", "@axis"), same(ANY), _roll_shape,
    lambda x, *, shift, axis: np.roll(x, shift, axis), _roll_grad, lower=_roll_lower, folds=True,
    samples=lambda: (
        Sample((floats(dtype="float64"),), {"shift": 1, "axis": 0}),
        Sample((floats(),), {"shift": (-1, 6), "axis": (0, 1)}),
        Sample((floats(shape=(17,)),), {"shift": (2, 3), "axis": (0, 0)}),
        Sample((floats(shape=(0, 2)),), {"shift": 1, "axis": 0}),
        Sample((ints(),), {"shift": -5, "axis": -1}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(),), {"shift": [1, 2], "axis": [0]}, "differ in length, 2 and 1"),
        ErrorSample((floats(),), {"shift": 1, "axis": 2}, "axis 2 is outside"),
    ),
    doc="Move elements along axes; what leaves at one end enters at the other.",
)  # fmt: skip
