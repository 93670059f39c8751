"""Moving blocks of pixels to channels or to the batch, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.ir.dims import Dim, product
from staticgraph.ir.op import REQUIRED, ErrorSample, Infer, Op, RuleError, Sample
from staticgraph.ir.types import TensorType
from staticgraph.ops.padding import pad
from staticgraph.ops.rules import ANY, floats, ints, same
from staticgraph.ops.shape import reshape, sizes, transpose
from staticgraph.ops.slicing import slice_


class _Arrays:
    """The same three steps on arrays."""

    reshape = staticmethod(lambda x, shape: np.reshape(x, shape))
    transpose = staticmethod(lambda x, perm: np.transpose(x, perm))


class _Ops:
    reshape = staticmethod(reshape)
    transpose = staticmethod(transpose)


# ---------------------------------------------------------------- space and depth
def _nhwc(dims: tuple[Dim, ...], data_format: str) -> tuple[Dim, Dim, Dim, Dim]:
    if data_format not in ("NHWC", "NCHW"):
        raise RuleError(f"data_format must be NHWC or NCHW, got {data_format!r}")
    if len(dims) != 4:
        raise RuleError(f"takes a tensor of rank 4, got {len(dims)}")
    n, a, b, c = dims
    return (n, a, b, c) if data_format == "NHWC" else (n, b, c, a)


def _layout(n: Dim, h: Dim, w: Dim, c: Dim, data_format: str) -> tuple[Dim, ...]:
    return (n, h, w, c) if data_format == "NHWC" else (n, c, h, w)


def _to_depth_shape(
    ctx: Infer, x: TensorType, *, block_size: int, data_format: str
) -> tuple[Dim, ...]:
    n, h, w, c = _nhwc(x.dims, data_format)
    if block_size < 1:
        raise RuleError(f"block_size must be positive, got {block_size}")
    for what, d in (("height", h), ("width", w)):
        ctx.equal(
            d,
            d // block_size * block_size,
            f"{what} {{a}} is not a multiple of block_size {block_size}",
        )
    return _layout(n, h // block_size, w // block_size, c * block_size**2, data_format)


def _to_depth(on: Any, x: Any, dims: tuple[Dim, ...], b: int, data_format: str) -> Any:
    n, h, w, c = _nhwc(dims, data_format)
    if data_format == "NHWC":
        x = on.reshape(x, (n, h // b, b, w // b, b, c))
        x = on.transpose(x, (0, 1, 3, 2, 4, 5))
    else:
        x = on.reshape(x, (n, c, h // b, b, w // b, b))
        x = on.transpose(x, (0, 3, 5, 1, 2, 4))
    return on.reshape(x, _layout(n, h // b, w // b, c * b * b, data_format))


def _to_space_shape(
    ctx: Infer, x: TensorType, *, block_size: int, data_format: str
) -> tuple[Dim, ...]:
    n, h, w, c = _nhwc(x.dims, data_format)
    if block_size < 1:
        raise RuleError(f"block_size must be positive, got {block_size}")
    square = block_size**2
    ctx.equal(
        c, c // square * square, f"depth {{a}} is not a multiple of {square}, block_size squared"
    )
    return _layout(n, h * block_size, w * block_size, c // square, data_format)


def _to_space(on: Any, x: Any, dims: tuple[Dim, ...], b: int, data_format: str) -> Any:
    n, h, w, c = _nhwc(dims, data_format)
    c = c // (b * b)
    if data_format == "NHWC":
        x = on.reshape(x, (n, h, w, b, b, c))
        x = on.transpose(x, (0, 1, 3, 2, 4, 5))
    else:
        x = on.reshape(x, (n, b, b, c, h, w))
        x = on.transpose(x, (0, 3, 4, 1, 5, 2))
    return on.reshape(x, _layout(n, h * b, w * b, c, data_format))


_BLOCK = {"block_size": REQUIRED, "data_format": "NHWC"}
_RANK_4 = ErrorSample((floats(),), {"block_size": 2}, "takes a tensor of rank 4, got 2")
space_to_depth: Op = Op(
    "SpaceToDepth", ("input",), same(ANY), _to_depth_shape,
    lambda x, *, block_size, data_format: _to_depth(_Arrays, x, x.shape, block_size, data_format),
    lambda g, y, x, **attrs: (depth_to_space(g, **attrs),),
    decompose=lambda x, *, block_size, data_format: _to_depth(
        _Ops, x, x.type.dims, block_size, data_format
    ),
    attrs=_BLOCK,
    samples=lambda: (
        Sample((floats(shape=(2, 4, 2, 3), dtype="float64"),), {"block_size": 2}),
        Sample((floats(shape=(1, 2, 6, 3)),), {"block_size": 3, "data_format": "NCHW"}),
        Sample((ints(shape=(1, 2, 2, 1)),), {"block_size": 2}, grad=False),
    ),
    error_samples=lambda: (
        _RANK_4,
        ErrorSample((floats(shape=(1, 3, 2, 1)),), {"block_size": 2},
                    "height 3 is not a multiple of block_size 2"),
    ),
    doc="Blocks of pixels become channels.",
)  # fmt: skip
depth_to_space: Op = Op(
    "DepthToSpace", ("input",), same(ANY), _to_space_shape,
    lambda x, *, block_size, data_format: _to_space(_Arrays, x, x.shape, block_size, data_format),
    lambda g, y, x, **attrs: (space_to_depth(g, **attrs),),
    decompose=lambda x, *, block_size, data_format: _to_space(
        _Ops, x, x.type.dims, block_size, data_format
    ),
    attrs=_BLOCK,
    samples=lambda: (
        Sample((floats(shape=(2, 2, 1, 8), dtype="float64"),), {"block_size": 2}),
        Sample((floats(shape=(1, 9, 2, 1)),), {"block_size": 3, "data_format": "NCHW"}),
        Sample((ints(shape=(1, 1, 1, 4)),), {"block_size": 2}, grad=False),
    ),
    error_samples=lambda: (
        _RANK_4,
        ErrorSample((floats(shape=(1, 3, 2, 3)),), {"block_size": 2},
                    "depth 3 is not a multiple of 4"),
    ),
    doc="Channels become blocks of pixels.",
)  # fmt: skip


# ---------------------------------------------------------------- space and batch
def _blocks(x: TensorType, block_shape: Any, pairs: Any, what: str) -> tuple[tuple[Dim, ...], Any]:
    blocks = sizes(block_shape, "block_shape")
    rows = sizes(pairs, what)
    if len(rows) != len(blocks):
        raise RuleError(f"block_shape has {len(blocks)} entries, {what} has {len(rows)} rows")
    if x.rank < 1 + len(blocks):
        raise RuleError(f"{len(blocks)} block sizes for a tensor of rank {x.rank}")
    return blocks, rows


def _to_batch_shape(
    ctx: Infer, x: TensorType, *, block_shape: Any, paddings: Any
) -> tuple[Dim, ...]:
    blocks, rows = _blocks(x, block_shape, paddings, "paddings")
    m = len(blocks)
    out: list[Dim] = [x.dims[0] * product(blocks)]
    for k, (d, b, (lo, hi)) in enumerate(zip(x.dims[1:], blocks, rows, strict=False), 1):
        for p in (lo, hi):
            ctx.at_most(0, p, f"padding {{b}} on axis {k} is negative")
        whole = d + lo + hi
        ctx.equal(
            whole,
            whole // b * b,
            f"the padded size {{a}} of axis {k} is not a multiple of block {b}",
        )
        out.append(whole // b)
    return (*out, *x.dims[1 + m :])


def _to_batch(on: Any, x: Any, dims: tuple[Dim, ...], blocks: Any) -> Any:
    m = len(blocks)
    wide: list[Dim] = [dims[0]]
    for d, b in zip(dims[1 : 1 + m], blocks, strict=True):
        wide += [d // b, b]
    x = on.reshape(x, (*wide, *dims[1 + m :]))
    rest = range(1 + 2 * m, len(dims) + m)
    x = on.transpose(x, (*range(2, 2 + 2 * m, 2), 0, *range(1, 1 + 2 * m, 2), *rest))
    small = [d // b for d, b in zip(dims[1 : 1 + m], blocks, strict=True)]
    return on.reshape(x, (dims[0] * product(blocks), *small, *dims[1 + m :]))


def _around(rank: int, rows: Any) -> tuple[tuple[Any, Any], ...]:
    return ((0, 0), *(tuple(r) for r in rows), *((0, 0),) * (rank - 1 - len(rows)))


def _np_to_batch(x: np.ndarray, *, block_shape: Any, paddings: Any) -> np.ndarray:
    x = np.pad(x, _around(x.ndim, paddings))
    return np.asarray(_to_batch(_Arrays, x, x.shape, block_shape))


def _ops_to_batch(x: Any, *, block_shape: Any, paddings: Any) -> Any:
    x = pad(x, _around(len(x.type.dims), paddings))
    return _to_batch(_Ops, x, x.type.dims, block_shape)


def _from_batch_shape(
    ctx: Infer, x: TensorType, *, block_shape: Any, crops: Any
) -> tuple[Dim, ...]:
    blocks, rows = _blocks(x, block_shape, crops, "crops")
    m = len(blocks)
    total = product(blocks)
    n = x.dims[0] // total
    ctx.equal(
        x.dims[0],
        n * total,
        f"the batch of {{a}} is not a multiple of {total}, the size of a block",
    )
    out: list[Dim] = [n]
    for k, (d, b, (lo, hi)) in enumerate(zip(x.dims[1:], blocks, rows, strict=False), 1):
        for p in (lo, hi):
            ctx.at_most(0, p, f"crop {{b}} on axis {k} is negative")
        ctx.at_most(lo + hi, d * b, f"crops of {{a}} on axis {k} exceed its size {{b}}")
        out.append(d * b - lo - hi)
    return (*out, *x.dims[1 + m :])


def _from_batch(on: Any, x: Any, dims: tuple[Dim, ...], blocks: Any) -> Any:
    m = len(blocks)
    n = dims[0] // product(blocks)
    x = on.reshape(x, (*blocks, n, *dims[1:]))
    pairs = [a for k in range(m) for a in (m + 1 + k, k)]
    x = on.transpose(x, (m, *pairs, *range(2 * m + 1, len(dims) + m)))
    large = [d * b for d, b in zip(dims[1 : 1 + m], blocks, strict=True)]
    return on.reshape(x, (n, *large, *dims[1 + m :]))


def _np_from_batch(x: np.ndarray, *, block_shape: Any, crops: Any) -> np.ndarray:
    x = np.asarray(_from_batch(_Arrays, x, x.shape, block_shape))
    around = _around(x.ndim, crops)
    return x[tuple(slice(lo, d - hi) for d, (lo, hi) in zip(x.shape, around, strict=True))]


def _ops_from_batch(x: Any, *, block_shape: Any, crops: Any) -> Any:
    x = _from_batch(_Ops, x, x.type.dims, block_shape)
    around = _around(len(x.type.dims), crops)
    kept = tuple(d - lo - hi for d, (lo, hi) in zip(x.type.dims, around, strict=True))
    return slice_(x, tuple(lo for lo, _ in around), kept)


space_to_batch: Op = Op(
    "SpaceToBatchND", ("input", "@block_shape", "@paddings"), same(ANY), _to_batch_shape,
    _np_to_batch,
    lambda g, y, x, *, block_shape, paddings: (batch_to_space(g, block_shape, paddings),),
    decompose=_ops_to_batch,
    samples=lambda: (
        Sample((floats(shape=(2, 3, 4, 1), dtype="float64"),),
               {"block_shape": (2, 2), "paddings": ((1, 0), (0, 0))}),
        Sample((floats(shape=(1, 5)),), {"block_shape": (3,), "paddings": ((0, 1),)}),
        Sample((ints(shape=(1, 4, 2)),), {"block_shape": (2,), "paddings": ((0, 0),)}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(),), {"block_shape": [3], "paddings": [[0, 0]]},
                    "the padded size 4 of axis 1 is not a multiple of block 3"),
        ErrorSample((floats(),), {"block_shape": [2, 2], "paddings": [[0, 0]]},
                    "paddings has 1 rows"),
    ),
    doc="Pad, then blocks of positions become batches.",
)  # fmt: skip
batch_to_space: Op = Op(
    "BatchToSpaceND", ("input", "@block_shape", "@crops"), same(ANY), _from_batch_shape,
    _np_from_batch,
    lambda g, y, x, *, block_shape, crops: (space_to_batch(g, block_shape, crops),),
    decompose=_ops_from_batch,
    samples=lambda: (
        Sample((floats(shape=(8, 2, 2, 1), dtype="float64"),),
               {"block_shape": (2, 2), "crops": ((1, 0), (0, 0))}),
        Sample((floats(shape=(3, 2)),), {"block_shape": (3,), "crops": ((0, 1),)}),
        Sample((ints(shape=(2, 2, 2)),), {"block_shape": (2,), "crops": ((0, 0),)}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(),), {"block_shape": [2], "crops": [[0, 0]]},
                    "the batch of 3 is not a multiple of 2"),
        ErrorSample((floats(shape=(2, 1)),), {"block_shape": [2], "crops": [[2, 1]]},
                    "crops of 3 on axis 1 exceed"),
    ),
    doc="Batches become blocks of positions, then crop.",
)  # fmt: skip
