"""The rows of a table that ids name, each once.

What is said of a look-up's gradient, or of what an optimizer keeps for each row, need not be said
of the whole table: `DistinctRows` lists the rows that ids name, `RowSums` adds up the slices that
belong to one row, `TakeRows` reads rows of tensors of the table's length and `PutRows` writes them.

No size hangs on data.  Of N ids in [0, R) at most min(N, R) are distinct; so many places the list
has, and those that are left hold -1, which gives zeros when it is read and writes nothing.  Rows
stand in the order in which ids first name them, and slices are added in the order of the ids, so
that sums are the same in every run.

Only `DistinctRows` looks whether ids are in range.  The others are given what it found and cannot
fail, so that what comes after it may write variables in place.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from staticgraph.ir import dims as D
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim, product
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import REQUIRED, ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.scalar import Expr, Operand, s
from staticgraph.ir.types import TensorType
from staticgraph.ops.gather import as_index, check_dtype, check_index_dtype, check_range, take
from staticgraph.ops.rules import ALL, NUMERIC, floats, ints, same, zeros_like
from staticgraph.ops.scatter import scatter_blocks, scatter_into


# ---------------------------------------------------------------- which rows
def _distinct_dtypes(*ids: DType, **_: Any) -> tuple[DType, ...]:
    for d in ids:
        check_index_dtype(d, "ids")
    return (dtypes.int64,) * (1 + len(ids))


def _distinct_shape(ctx: Infer, *ids: TensorType, bound: Any, **_: Any) -> Any:
    if isinstance(bound, int) and bound < 0:
        raise RuleError(f"bound must not be negative, got {bound}")
    return (D.minimum(_count(ids), bound),), *(i.dims for i in ids)


def _count(ids: tuple[TensorType, ...]) -> Dim:
    total: Dim = 0
    for i in ids:
        total = total + product(i.dims)
    return total


def _np_distinct(
    *ids: np.ndarray, bound: int, skip_negative: bool, **_: Any
) -> tuple[np.ndarray, ...]:
    flat = np.concatenate([as_index(i).ravel() for i in ids])
    check_range("DistinctRows", flat[flat >= 0] if skip_negative else flat, bound)
    number: dict[int, int] = {}
    place = [-1 if i < 0 else number.setdefault(i, len(number)) for i in flat.tolist()]
    rows = np.full(min(flat.size, bound), -1, np.int64)
    rows[: len(number)] = list(number)
    parts = np.split(np.array(place, np.int64), np.cumsum([i.size for i in ids])[:-1])
    return rows, *(p.reshape(i.shape) for p, i in zip(parts, ids, strict=True))


def _scratch(ids: tuple[Any, ...]) -> Dim:
    """A hash table of two entries for each id, of a row and its place, and how many there are."""
    return _count(tuple(i.type for i in ids)) * 4 + 1


_IDS = np.array([4, 1, 4, 0, 1])
_TWO = [np.array([[3, 7], [3, 0]], np.int32), np.array([7, 1, 0])]

distinct_rows = Op(
    "DistinctRows", ("*ids", "@bound"), _distinct_dtypes, _distinct_shape, _np_distinct, None,
    decompose=lambda *ids, bound, n, skip_negative: distinct_blocks(
        list(ids), bound, n=n, skip_negative=skip_negative, scratch=_scratch(ids)
    ),
    results=lambda *, n, **_: 1 + n, attrs={"n": REQUIRED, "skip_negative": False},
    operand_dtypes={"ids": None}, cheap=False,
    samples=lambda: (
        Sample(([_IDS],), {"bound": 9, "n": 1}, grad=False),
        Sample(([_IDS.astype(np.int32)],), {"bound": 5, "n": 1}, grad=False),
        Sample(([ints(0, 3, (40,))],), {"bound": 3, "n": 1}, grad=False),
        Sample((_TWO,), {"bound": 1 << 40, "n": 2}, grad=False),
        Sample(([ints(-3, 6, (2, 9))],), {"bound": 6, "n": 1, "skip_negative": True}, grad=False),
        Sample(([np.zeros((0, 2), np.int32)],), {"bound": 4, "n": 1}, grad=False),
        Sample(([np.zeros(0, np.int64)],), {"bound": 0, "n": 1}, grad=False),
        Sample(([np.int32(2)],), {"bound": 4, "n": 1}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample(([floats()],), {"bound": 4, "n": 1}, "ids must be int32 or int64, got float32"),
        ErrorSample(([_IDS],), {"bound": -1, "n": 1}, "must not be negative, got -1"),
    ),
    doc="""The distinct rows that ids name, and for each id where its row stands among them.

    The rows are int64 [min(N, bound)], with -1 behind the last one; the places have the shapes of
    the `n` tensors of ids.  An id outside [0, bound) is an error of the run; with `skip_negative` a
    negative one names no row, and its place is -1.
    """,
)  # fmt: skip

distinct_blocks: Op = Op(
    "DistinctBlocks", ("*ids", "@bound"), _distinct_dtypes, _distinct_shape,
    lambda *ids, bound, n, skip_negative, scratch: _np_distinct(
        *ids, bound=bound, skip_negative=skip_negative
    ),
    None, library="distinct", results=lambda *, n, **_: 1 + n,
    attrs={"n": REQUIRED, "skip_negative": False, "scratch": REQUIRED},
    operand_dtypes={"ids": None}, cheap=False,
    samples=lambda: (
        Sample(([_IDS],), {"bound": 9, "n": 1, "scratch": 21}, grad=False),
        Sample((_TWO,), {"bound": 8, "n": 2, "scratch": 29}, grad=False),
    ),
    doc="The library call: `DistinctRows` with room for a hash table.",
)  # fmt: skip


# ---------------------------------------------------------------- sums for each row
def _sums_shape(
    ctx: Infer, values: TensorType, place: TensorType, rows: TensorType, params: TensorType
) -> tuple[Dim, ...]:
    return (rows.dims[0], *params.dims[1:])


def _np_sums(
    values: np.ndarray, place: np.ndarray, rows: np.ndarray, params: np.ndarray
) -> np.ndarray:
    m, tail, n = rows.size, params.shape[1:], place.size
    base = np.zeros((1, 1, m, prod(tail)), values.dtype)
    slices = values.reshape(1, 1, n, prod(tail))
    return scatter_into("RowSums", base, place.reshape(1, n), slices, "add", True).reshape(m, *tail)


def _sums(values: Any, place: Any, rows: Any, params: Any) -> Any:
    m, tail = rows.type.dims[0], params.type.dims[1:]
    base = lookup("Fill")((m, *tail), np.zeros((), values.type.dtype.np))
    sizes = (1, 1, m, product(tail), product(place.type.dims))
    return scatter_blocks(base, place, values, sizes, kind="add", skip_negative=True, checked=True)


row_sums = Op(
    "RowSums", ("values", "place", "rows", "params"),
    lambda values, *_: check_dtype(values, NUMERIC), _sums_shape, _np_sums,
    lambda g, y, values, place, rows, params: (take_rows(g, place), None, None, None),
    decompose=_sums, operand_dtypes={"place": None, "rows": None, "params": None},
    samples=lambda: (
        Sample((floats(shape=(4, 3), dtype="float64"), np.array([0, 1, 0, -1]),
                np.array([5, 2, -1, -1]), floats(shape=(6, 3), dtype="float64"))),
        Sample((floats(shape=(2, 2)), np.array([[0, 0], [1, 0]]), np.array([3, 0]),
                floats(shape=(4,)))),
        Sample((ints(shape=(3, 2)), np.array([1, 0, 1]), np.array([1, 0]), ints(shape=(2, 2))),
               grad=False),
        Sample((floats(shape=(0, 2)), np.zeros(0, np.int64), np.zeros(0, np.int64),
                floats(shape=(5, 2))), grad=False),
    ),
    doc="""The sums of the slices that belong to one row, in the order of the slices.

    `rows` and `place` are what `DistinctRows` found; `params` is the table, for its shape.
    """,
)  # fmt: skip


# ---------------------------------------------------------------- reading and writing
def _take_shape(ctx: Infer, params: TensorType, rows: TensorType) -> tuple[Dim, ...]:
    if not params.dims:
        raise RuleError("params is a scalar, it has no rows")
    return rows.dims + params.dims[1:]


def _lower_take(ix: tuple[Expr, ...], params: Operand, rows: Operand) -> Expr:
    n = len(rows.shape)
    i = s.cast(rows[ix[:n]], dtypes.int64)
    return s.select(i < 0, s.lift(0, params.dtype), params[(s.maximum(i, 0), *ix[n:])])


def _row_dtypes(params: DType, rows: DType) -> DType:
    check_index_dtype(rows, "rows")
    return check_dtype(params, NUMERIC)


take_rows: Op = Op(
    "TakeRows", ("params", "rows"), _row_dtypes, _take_shape,
    lambda params, rows: take("TakeRows", params, rows, skip_negative=True),
    lambda g, y, params, rows: (
        lookup("GatherGrad")(g, rows, params, 0, skip_negative=True), None
    ),
    lower=_lower_take, operand_dtypes={"rows": None},
    samples=lambda: (
        Sample((floats(shape=(5, 3), dtype="float64"), np.array([3, 0, -1, -1]))),
        Sample((floats(shape=(5,)), np.array([[4, -1]]))),
        Sample((floats(shape=(3, 2)), np.zeros(0, np.int64)), grad=False),
        Sample((ints(), np.array([2])), grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((np.float32(1), np.array([0])), {}, "params is a scalar"),
        ErrorSample((floats(), floats()), {}, "rows must be int32 or int64, got float32"),
    ),
    doc="Rows that `DistinctRows` found in range; zeros for -1.",
)  # fmt: skip

PUTS = ("update", "add", "sub")


def _put_dtypes(current: DType, rows: DType, values: DType, *, kind: str) -> DType:
    if kind not in PUTS:
        raise RuleError(f"kind must be one of {', '.join(PUTS)}, got {kind!r}")
    check_index_dtype(rows, "rows")
    return same(ALL if kind == "update" else NUMERIC)(current, values)


def _put_shape(
    ctx: Infer, current: TensorType, rows: TensorType, values: TensorType, **_: Any
) -> tuple[Dim, ...]:
    if not current.dims:
        raise RuleError("the tensor is a scalar, it has no rows")
    want = rows.dims + current.dims[1:]
    if len(values.dims) != len(want):
        raise RuleError(f"values must have rank {len(want)}, got {values.rank}")
    for have, need in zip(values.dims, want, strict=True):
        ctx.equal(have, need, "values have size {a} where rows and tensor ask for {b}")
    return current.dims


def _np_put(current: np.ndarray, rows: np.ndarray, values: np.ndarray, *, kind: str) -> np.ndarray:
    r, t, m = current.shape[0], prod(current.shape[1:]), rows.size
    new = values.reshape(1, 1, m, t)
    base = current.reshape(1, 1, r, t)
    return scatter_into("PutRows", base, rows.reshape(1, m), new, kind, True).reshape(current.shape)


def _put(current: Any, rows: Any, values: Any, *, kind: str) -> Any:
    c = current.type.dims
    sizes = (1, 1, c[0], product(c[1:]), product(rows.type.dims))
    return scatter_blocks(current, rows, values, sizes, kind=kind, skip_negative=True, checked=True)


def _put_grad(g: Any, y: Any, current: Any, rows: Any, values: Any, *, kind: str) -> Any:
    taken = take_rows(g, rows)
    if kind == "update":
        return put_rows(g, rows, zeros_like(taken), kind=kind), None, taken
    return g, None, taken if kind == "add" else -taken


_TABLE, _ROWS = floats(shape=(5, 3), dtype="float64"), np.array([3, 0, -1])

put_rows: Op = Op(
    "PutRows", ("current", "rows", "values"), _put_dtypes, _put_shape, _np_put, _put_grad,
    decompose=_put, attrs={"kind": REQUIRED}, operand_dtypes={"rows": None, "values": None},
    samples=lambda: (
        *(Sample((_TABLE, _ROWS, floats(shape=(3, 3), seed=1, dtype="float64")), {"kind": k})
          for k in PUTS),
        Sample((floats(shape=(4,)), np.array([2]), floats(shape=(1,))), {"kind": "update"}),
        Sample((np.zeros((3, 1), bool), np.array([1, -1]), np.ones((2, 1), bool)),
               {"kind": "update"}, grad=False),
        Sample((ints(), np.array([1]), ints(shape=(1, 4))), {"kind": "sub"}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((_TABLE, _ROWS, _TABLE), {"kind": "add"},
                    "size 5 where rows and tensor ask for 3"),
        ErrorSample((_TABLE, _ROWS, _TABLE[:3]), {"kind": "mul"}, "kind must be one of"),
        ErrorSample((_TABLE, _ROWS, _TABLE[:3].astype(np.float32)), {"kind": "add"}, "differ"),
    ),
    doc="`current` with rows that `DistinctRows` found stored, added or subtracted; -1 is no row.",
)  # fmt: skip
