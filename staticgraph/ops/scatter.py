"""Writing elements and slices at positions that tensors hold.

All of them come down to ``Scatter``, and that to one library call:

    base     [B, M, R, S]      the result starts as a copy of it (in place where it dies)
    indices  [B, N]            int32 or int64
    updates  [B, M, N, S]
    for b, m:  for n in order:  for s:
        base[b, m, indices[b, n], s]  op=  updates[b, m, n, s]

`kind` is the update: ``update`` stores, so that the last of several writers wins; ``add sub mul
div min max`` combine in the order of n, so that a sum is the same in every run.  Integer ``div``
rounds towards zero and gives 0 for a divisor of 0; ``min`` and ``max`` give NaN if either operand
is.  float16 and bfloat16 are combined in float32 and rounded at each store.  An index outside
[0, R) is an error of the run, unless `skip_negative` is set: then rows with a negative index are
passed over.  (b, m, s) may run in parallel, n may not.  Who knows that all indices are in range
says so with `checked`; such a scatter cannot fail.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim, product
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import REQUIRED, ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.scalar import Expr, Operand, s
from staticgraph.ir.types import TensorType
from staticgraph.ops.gather import (
    as_index,
    batch_axis,
    check_dtype,
    check_index_dtype,
    check_range,
)
from staticgraph.ops.rules import ALL, NUMERIC, first_shape, floats, ints, sum_to, zeros_like

KINDS = ("update", "add", "sub", "mul", "div", "min", "max")


# ---------------------------------------------------------------- the meaning
def _truncated(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    safe = np.where(b == 0, 1, b)
    return np.where(b == 0, 0, (a - np.fmod(a, safe)) // safe).astype(a.dtype)


_COMBINE: dict[str, Any] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide,
    "min": np.minimum, "max": np.maximum,
}  # fmt: skip


def scatter_into(
    op: str, base: np.ndarray, indices: np.ndarray, updates: np.ndarray, kind: str,
    skip_negative: bool = False,
) -> np.ndarray:  # fmt: skip
    """`Scatter` on arrays of its canonical ranks; see the module's text."""
    idx = as_index(indices)
    keep = idx >= 0 if skip_negative else np.ones(idx.shape, bool)
    check_range(op, idx[keep], base.shape[2])
    out = base.transpose(0, 2, 1, 3).copy()
    new = updates.transpose(0, 2, 1, 3)[keep]
    lead = np.broadcast_to(np.arange(idx.shape[0])[:, None], idx.shape)[keep]
    where = (lead, idx[keep])
    if kind == "update":
        for b, r, u in zip(*where, new, strict=True):
            out[b, r] = u
    elif kind == "div" and base.dtype.kind in "iu":
        for b, r, u in zip(*where, new, strict=True):
            out[b, r] = _truncated(out[b, r], u)
    else:
        _COMBINE[kind].at(out, where, new)
    return np.asarray(out.transpose(0, 2, 1, 3), order="C")


def check_dtypes(kind: str, current: DType, updates: DType, indices: DType) -> DType:
    """The result's dtype; refuses kinds and dtypes that no scatter takes."""
    if kind not in KINDS:
        raise RuleError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    check_index_dtype(indices)
    if current is not updates:
        raise RuleError(f"dtypes differ, {current.name} and {updates.name}", kind="dtype")
    return check_dtype(current, ALL if kind == "update" else NUMERIC)


def into_dtypes(current: DType, indices: DType, updates: DType, *, kind: str, **_: Any) -> DType:
    """The dtype rule of a scatter with an attribute `kind`."""
    return check_dtypes(kind, current, updates, indices)


# ---------------------------------------------------------------- gradients
def cotangents(
    kind: str, g: Any, y: Any, base: Any, updates: Any,
    take: Callable[[Any], Any], put: Callable[[Any, Any, str], Any],
) -> tuple[Any, None, Any]:  # fmt: skip
    """Cotangents of (base, indices, updates) of any scatter.

    Args:
      take: gathers from a tensor of the base's shape at the indices.
      put: ``(base, updates, kind)`` scatters at the same indices.
    """
    if kind == "add":
        return g, None, sum_to(take(g), updates)
    if kind == "sub":
        return g, None, sum_to(-take(g), updates)
    select, equal = lookup("Select"), lookup("Equal")
    taken = take(g)
    full = updates
    if kind == "update":
        # An element of `updates` counts only if nobody wrote over it: number all of them, write
        # the numbers, and see whose is still there.
        numbers = lookup("NumbersLike")(taken)
        wrote = equal(take(put(lookup("NumbersLike")(base), numbers, kind)), numbers)
        kept = select(wrote, taken, zeros_like(taken))
        return put(g, zeros_like(taken), kind), None, sum_to(kept, updates)
    divide = lookup("RealDiv")
    if kind == "mul":
        return put(g, full, kind), None, sum_to(divide(take(g * y), full), updates)
    if kind == "div":
        return put(g, full, kind), None, sum_to(-divide(take(g * y), full), updates)
    # min, max: the cotangent is shared evenly by all that equal the result.
    same_base = indicator(equal(base, y), base)
    same_update = indicator(equal(full, take(y)), taken)
    share = divide(g, put(same_base, same_update, "add"))
    return share * same_base, None, sum_to(take(share) * same_update, updates)


def indicator(condition: Any, like: Any) -> Any:
    """1 where `condition` holds, else 0, in the dtype of `like`."""
    return lookup("Select")(condition, lookup("OnesLike")(like), zeros_like(like))


# ---------------------------------------------------------------- the library call
def _scatter_shape(
    ctx: Infer, base: TensorType, indices: TensorType, updates: TensorType, **_: Any
) -> tuple[Dim, ...]:
    if (base.rank, indices.rank, updates.rank) != (4, 2, 4):
        raise RuleError(
            f"ranks must be 4, 2 and 4, got {base.rank}, {indices.rank} and {updates.rank}"
        )
    b, m, _r, t = base.dims
    for have, want in zip(updates.dims, (b, m, indices.dims[1], t), strict=True):
        ctx.equal(have, want, "sizes of updates and of base and indices differ, {a} and {b}")
    ctx.equal(indices.dims[0], b, "batch sizes of indices and base differ, {a} and {b}")
    return base.dims


def _scatter_grad(
    g: Any, y: Any, base: Any, indices: Any, updates: Any, *, kind: str, skip_negative: bool
) -> Any:
    gather = lookup("GatherOrZero" if skip_negative else "GatherV2")
    return cotangents(
        kind, g, y, base, updates,
        lambda t: gather(t, indices, 2, batch_dims=1),
        lambda b, u, k: scatter(b, indices, u, kind=k, skip_negative=skip_negative),
    )  # fmt: skip


def _case(kind: str, dtype: str = "float64", grad: bool = True, skip: bool = False) -> Sample:
    low = -1 if skip else 0
    idx = ints(low, 4, (2, 5), 1)
    if kind == "mul" or kind == "div":
        return Sample((floats(1, 2, (2, 2, 4, 3), 1, dtype), idx,
               floats(1, 2, (2, 2, 5, 3), 2, dtype)),
                      {"kind": kind, "skip_negative": skip}, grad=grad)  # fmt: skip
    return Sample((floats(shape=(2, 2, 4, 3), seed=1, dtype=dtype), idx,
           floats(shape=(2, 2, 5, 3), seed=2, dtype=dtype)),
                  {"kind": kind, "skip_negative": skip}, grad=grad)  # fmt: skip


scatter = Op(
    "Scatter", ("base", "indices", "updates"), into_dtypes, _scatter_shape,
    lambda base, indices, updates, *, kind, skip_negative: scatter_into(
        "Scatter", base, indices, updates, kind, skip_negative
    ),
    _scatter_grad, decompose=lambda base, indices, updates, *, kind, skip_negative: scatter_blocks(
        base, indices, updates, (*base.type.dims, indices.type.dims[1]),
        kind=kind, skip_negative=skip_negative,
    ),
    attrs={"kind": REQUIRED, "skip_negative": False},
    operand_dtypes={"indices": None}, cheap=False,
    samples=lambda: (
        *(_case(k) for k in KINDS), _case("add", "float32", skip=True), _case("update", skip=True),
        _case("add", "float16", False),
        Sample((ints(-9, 9, (1, 1, 3, 2)), ints(0, 3, (1, 4)), ints(-3, 3, (1, 1, 4, 2))),
               {"kind": "div"}, grad=False),
        Sample((floats(shape=(1, 1, 3, 2)), ints(0, 3, (1, 0)), floats(shape=(1, 1, 0, 2))),
               {"kind": "add"}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(), ints(0, 3, (2,)), floats()), {"kind": "add"}, "ranks must be"),
        ErrorSample((floats(shape=(1, 1, 3, 2)), ints(0, 3, (1, 4)), floats(shape=(1, 1, 5, 2))),
                    {"kind": "add"}, "differ, 5 and 4"),
    ),
    doc="What every scatter becomes; the module's text is its definition.",
)  # fmt: skip


def _np_blocks(
    base: np.ndarray, indices: np.ndarray, updates: np.ndarray, *, sizes: Any, kind: str,
    skip_negative: bool, checked: bool,
) -> np.ndarray:  # fmt: skip
    b, m, r, t, n = sizes
    out = scatter_into(
        "Scatter", base.reshape(b, m, r, t), indices.reshape(b, n), updates.reshape(b, m, n, t),
        kind, skip_negative,
    )  # fmt: skip
    return out.reshape(base.shape)


scatter_blocks: Op = Op(
    "ScatterBlocks", ("base", "indices", "updates", "@sizes"), into_dtypes,
    lambda ctx, base, indices, updates, **_: base.dims, _np_blocks, None, library="scatter",
    attrs={"kind": REQUIRED, "skip_negative": False, "checked": False},
    operand_dtypes={"indices": None}, cheap=False,
    samples=lambda: (
        *(Sample((ints(1, 9, (2, 3), dtype=d), ints(0, 2, (2, 2)), ints(-3, 3, (4, 3), 1, d)),
                 {"kind": k, "sizes": (1, 1, 2, 3, 4)}, grad=False)
          for k in KINDS for d in ("int32", "uint8")),
        Sample((np.zeros((3, 2), bool), ints(-1, 3, (4,)), np.ones((4, 2), bool)),
               {"kind": "update", "sizes": (1, 1, 3, 2, 4), "skip_negative": True}, grad=False),
        Sample((floats(shape=(5, 3)), ints(0, 3, (4,)), floats(shape=(20,))),
               {"kind": "add", "sizes": (1, 5, 3, 1, 4)}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(), ints(), ints()), {"kind": "add", "sizes": (1, 1, 1, 1, 1)},
                    "dtypes differ"),
    ),
    doc="""The library call: `Scatter` on arrays of any shapes with the elements of `sizes`.

    `sizes` are B, M, R, S, N, and the result has the shape of `base`, so that no reshaping stands
    between a variable and its new value.
    """,
)  # fmt: skip

numbers_like = Op(
    "NumbersLike", ("x",), lambda x: dtypes.int64, first_shape,
    lambda x: np.arange(x.size, dtype=np.int64).reshape(x.shape), None,
    lower=lambda ix, x: _number(ix, x),
    samples=lambda: (Sample((floats(),), grad=False), Sample((floats(shape=()),), grad=False)),
    doc="Each element's position in C order.",
)  # fmt: skip


def _number(ix: tuple[Expr, ...], x: Operand) -> Expr:
    total: Expr = s.lift(0, dtypes.int64)
    for k, i in enumerate(ix):
        total = i if k == 0 else total * s.lift(x.shape[k], dtypes.int64) + i
    return total


# ---------------------------------------------------------------- the adjoint of a gather
def _blocks(p: Any, i: Any, a: int, b: int) -> tuple[Any, Any, Any, Any, Any]:
    return product(p[:b]), product(p[b:a]), p[a], product(p[a + 1 :]), product(i[b:])


def _gather_grad_shape(
    ctx: Infer, g: TensorType, indices: TensorType, params: TensorType, *, axis: Any,
    batch_dims: int, **_: Any,
) -> tuple[Dim, ...]:  # fmt: skip
    batch_axis(axis, batch_dims, params.rank, indices.rank, ctx)
    return params.dims


def _np_gather_grad(
    g: np.ndarray, indices: np.ndarray, params: np.ndarray, *, axis: int, batch_dims: int,
    skip_negative: bool,
) -> np.ndarray:  # fmt: skip
    a, b = batch_axis(axis, batch_dims, params.ndim, indices.ndim, Infer(lambda _: 0))
    nb, m, r, t, n = _blocks(params.shape, indices.shape, a, b)
    base = np.zeros((nb, m, r, t), g.dtype)
    out = scatter_into(
        "GatherGrad", base, indices.reshape(nb, n), g.reshape(nb, m, n, t), "add", skip_negative
    )
    return out.reshape(params.shape)


def _gather_grad(
    g: Any, indices: Any, params: Any, *, axis: int, batch_dims: int, skip_negative: bool
) -> Any:
    p, i = params.type.dims, indices.type.dims
    a, b = batch_axis(axis, batch_dims, len(p), len(i), Infer(lambda _: 0))
    nb, m, r, t, n = _blocks(p, i, a, b)
    reshape = lookup("Reshape")
    zeros = lookup("Fill")((nb, m, r, t), np.zeros((), g.type.dtype.np))
    out = scatter(zeros, reshape(indices, (nb, n)), reshape(g, (nb, m, n, t)),
                  kind="add", skip_negative=skip_negative)  # fmt: skip
    return reshape(out, p)


def _gather_grad_grad(
    d: Any, y: Any, g: Any, indices: Any, params: Any, *, axis: Any, batch_dims: int,
    skip_negative: bool,
) -> Any:  # fmt: skip
    gather = lookup("GatherOrZero" if skip_negative else "GatherV2")
    return gather(d, indices, axis, batch_dims=batch_dims), None, None


gather_grad = Op(
    "GatherGrad", ("g", "indices", "params", "@axis"),
    lambda g, indices, params, **_: check_dtype(g, NUMERIC), _gather_grad_shape, _np_gather_grad,
    _gather_grad_grad, decompose=_gather_grad, attrs={"batch_dims": 0, "skip_negative": False},
    operand_dtypes={"indices": None, "params": None},
    samples=lambda: (
        Sample((floats(shape=(4, 3)), ints(0, 5, (4,)), floats(shape=(5, 3))), {"axis": 0}),
        Sample((floats(shape=(2, 3, 5, 2)), ints(-1, 4, (2, 5)), floats(shape=(2, 3, 4, 2))),
               {"axis": 2, "batch_dims": 1, "skip_negative": True}),
    ),
    doc="Adds slices of `g` where a gather from `params` along `axis` read them.",
)  # fmt: skip


# ---------------------------------------------------------------- rows
def same_sizes(ctx: Infer, updates: tuple[Dim, ...], want: tuple[Dim, ...]) -> None:
    """Require the shape that updates must have."""
    if len(updates) != len(want):
        raise RuleError(f"updates must have rank {len(want)}, got {len(updates)}")
    for have, need in zip(updates, want, strict=True):
        ctx.equal(have, need, "updates have size {a} where indices and tensor ask for {b}")


def _rows_shape(
    ctx: Infer, current: TensorType, indices: TensorType, updates: TensorType, **_: Any
) -> tuple[Dim, ...]:
    if not current.dims:
        raise RuleError("the tensor is a scalar, it has no rows")
    if updates.dims:
        same_sizes(ctx, updates.dims, indices.dims + current.dims[1:])
    return current.dims


def _np_rows(
    current: np.ndarray, indices: np.ndarray, updates: np.ndarray, *, kind: str
) -> np.ndarray:
    r, t, n = current.shape[0], prod(current.shape[1:]), indices.size
    full = np.broadcast_to(updates, indices.shape + current.shape[1:])
    out = scatter_into(
        "ScatterRows",
        current.reshape(1, 1, r, t),
        indices.reshape(1, n),
        full.reshape(1, 1, n, t),
        kind,
    )
    return out.reshape(current.shape)


def _rows(current: Any, indices: Any, updates: Any, *, kind: str) -> Any:
    reshape = lookup("Reshape")
    c, i = current.type.dims, indices.type.dims
    if not updates.type.dims and i + c[1:]:
        updates = lookup("BroadcastTo")(updates, i + c[1:])
    r, t, n = c[0], product(c[1:]), product(i)
    out = scatter(
        reshape(current, (1, 1, r, t)),
        reshape(indices, (1, n)),
        reshape(updates, (1, 1, n, t)),
        kind=kind,
    )
    return reshape(out, c)


def _rows_grad(g: Any, y: Any, current: Any, indices: Any, updates: Any, *, kind: str) -> Any:
    def take(t: Any) -> Any:
        return lookup("GatherV2")(t, indices, 0)

    return cotangents(
        kind, g, y, current, updates, take, lambda b, u, k: scatter_rows(b, indices, u, kind=k)
    )


scatter_rows = Op(
    "ScatterRows", ("current", "indices", "updates"), into_dtypes, _rows_shape, _np_rows,
    _rows_grad, decompose=_rows, attrs={"kind": REQUIRED}, operand_dtypes={"indices": None},
    samples=lambda: (
        *(
            Sample((floats(1, 2, (5, 3), dtype="float64"), np.array([[0, 2], [2, 4]]),
                   floats(1, 2, (2, 2, 3), 1, "float64")),
                   {"kind": k}) for k in KINDS
        ),
        Sample((floats(shape=(5,)), np.int32(3), np.float32(2)), {"kind": "update"}),
        Sample((floats(shape=(5, 3)), np.array([1, 1, 0]), np.float32(2)), {"kind": "update"}),
        Sample((floats(shape=(5, 3)), np.array([1, 1, 0]), np.float32(2)), {"kind": "add"}),
        Sample((ints(), np.array([1]), ints(1, 3, (1, 4))), {"kind": "sub"}, grad=False),
        Sample((np.zeros(3, bool), np.array([1]), np.array([True])), {"kind": "update"},
               grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(shape=(5, 3)), np.array([1, 2]), floats(shape=(3, 3))), {"kind": "add"},
                    "size 3 where indices and tensor ask for 2"),
        ErrorSample((floats(shape=(5, 3)), np.array([1, 2]), ints(shape=(2, 3))), {"kind": "add"},
               "dtypes differ"),
        ErrorSample((floats(shape=(5, 3)), np.array([1, 2]), floats(shape=(2, 3))),
               {"kind": "pow"}, "kind must be one of"),
    ),
    doc="""`current` with rows combined with `updates`; what variables' scatters are.

    `updates` is a scalar or has the shape of `indices` followed by that of a row.
    """,
)  # fmt: skip
