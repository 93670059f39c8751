"""Matrix products.

What a user builds (``MatMul``, ``BatchMatMulV2``) decomposes by element type: ``Gemm`` and
``BatchGemm`` are library calls for float32 and float64, ``PlainMatMul`` is an index lambda for
integers, and float16 and bfloat16 are multiplied in float32.  Transposes stay attributes: no
gradient materialises one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim, product
from staticgraph.ir.op import ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.scalar import Expr, Operand, Reduce, lift
from staticgraph.ir.types import TensorType
from staticgraph.ops.rules import INTEGER, NUMERIC, bools, floats, ints, same, sum_to

NATIVE = (dtypes.float32, dtypes.float64)


# ---------------------------------------------------------------- shared rules
def _matrix(t: TensorType, transpose: bool) -> tuple[Dim, Dim]:
    rows, columns = t.dims[-2:]
    return (columns, rows) if transpose else (rows, columns)


def _rank2_shape(
    ctx: Infer, a: TensorType, b: TensorType, *, transpose_a: bool, transpose_b: bool
) -> tuple[Dim, ...]:
    for t in (a, b):
        if t.shape is not None and len(t.shape) != 2:
            raise RuleError(f"takes matrices, got ranks {_rank(a)} and {_rank(b)}")
    if a.shape is None and b.shape is None:
        return (ctx.fresh("n"), ctx.fresh("n"))
    m = _matrix(a, transpose_a)[0] if a.shape is not None else ctx.fresh("n")
    n = _matrix(b, transpose_b)[1] if b.shape is not None else ctx.fresh("n")
    if a.shape is not None and b.shape is not None:
        ctx.equal(
            _matrix(a, transpose_a)[1], _matrix(b, transpose_b)[0],
            "inner dimensions differ, {a} and {b}",
        )  # fmt: skip
    return (m, n)


def _rank(t: TensorType) -> str:
    return "?" if t.shape is None else str(len(t.shape))


def _batch_shape(
    ctx: Infer, x: TensorType, y: TensorType, *, adj_x: bool, adj_y: bool
) -> tuple[Dim, ...]:
    for t in (x, y):
        if t.shape is not None and len(t.shape) < 2:
            raise RuleError(f"takes tensors of rank 2 or more, got ranks {_rank(x)} and {_rank(y)}")
    (m, k), (k2, n) = _matrix(x, adj_x), _matrix(y, adj_y)
    ctx.equal(k, k2, "inner dimensions differ, {a} and {b}")
    return (*ctx.broadcast(x.dims[:-2], y.dims[:-2]), m, n)


def _np_matmul(a: np.ndarray, b: np.ndarray, ta: bool, tb: bool) -> np.ndarray:
    kind = a.dtype
    if kind.itemsize == 2 and kind.kind not in "iu":
        a, b = a.astype(np.float32), b.astype(np.float32)
    a = np.swapaxes(a, -1, -2) if ta else a
    b = np.swapaxes(b, -1, -2) if tb else b
    return np.asarray(np.matmul(a, b)).astype(kind, copy=False)


def products(
    op: Any, names: tuple[str, str], g: Any, a: Any, b: Any, ta: bool, tb: bool
) -> tuple[Any, Any]:
    """The cotangents of the factors of ``a @ b``, with transposes as attributes.

    Args:
      names: the attributes of `op` that transpose its first and its second operand.
    """

    def times(p: Any, q: Any, tp: bool, tq: bool) -> Any:
        return op(p, q, **dict(zip(names, (tp, tq), strict=True)))

    ga = times(b, g, tb, True) if ta else times(g, b, False, not tb)
    gb = times(g, a, True, ta) if tb else times(a, g, not ta, False)
    return ga, gb


# ---------------------------------------------------------------- rank 2
def _matmul_grad(
    g: Any, y: Any, a: Any, b: Any, *, transpose_a: bool, transpose_b: bool
) -> tuple[Any, Any]:
    return products(matmul, ("transpose_a", "transpose_b"), g, a, b, transpose_a, transpose_b)


def _matmul(a: Any, b: Any, **transposes: Any) -> Any:
    if a.dtype in NATIVE:
        return gemm(a, b, **transposes)
    if a.dtype.is_integer:
        return plain_matmul(a, b, adj_x=transposes["transpose_a"], adj_y=transposes["transpose_b"])
    wide = [lookup("Cast")(t, DstT=dtypes.float32) for t in (a, b)]
    return lookup("Cast")(gemm(*wide, **transposes), DstT=a.dtype)


def _samples(second_order: bool = True) -> tuple[Sample, ...]:
    def sample(m: int, k: int, n: int, ta: bool, tb: bool, dtype: str) -> Sample:
        a = floats(shape=(k, m) if ta else (m, k), seed=1, dtype=dtype)
        b = floats(shape=(n, k) if tb else (k, n), seed=2, dtype=dtype)
        return Sample((a, b), {"transpose_a": ta, "transpose_b": tb}, grad=second_order)

    return (
        sample(3, 4, 5, False, False, "float64"), sample(3, 4, 5, False, True, "float64"),
        sample(3, 4, 5, True, False, "float32"), sample(3, 4, 5, True, True, "float32"),
        sample(1, 17, 1, False, False, "float32"), sample(2, 0, 3, False, False, "float32"),
        sample(0, 2, 3, False, True, "float32"),
    )  # fmt: skip


_ERRORS = (
    ErrorSample(
        (floats(shape=(2, 3)), floats(shape=(4, 5))), {}, "inner dimensions differ, 3 and 4"
    ),
    ErrorSample(
        (floats(shape=(2, 3)), floats(shape=(3,))), {}, "takes matrices, got ranks 2 and 1"
    ),
    ErrorSample((bools(), bools()), {}, "does not take bool"),
)
_TRANSPOSES = {"transpose_a": False, "transpose_b": False}
_ADJOINTS = {"adj_x": False, "adj_y": False}

matmul: Op = Op(
    "MatMul", ("a", "b"), same(NUMERIC), _rank2_shape,
    lambda a, b, *, transpose_a, transpose_b: _np_matmul(a, b, transpose_a, transpose_b),
    _matmul_grad, decompose=_matmul, attrs=_TRANSPOSES, cheap=False,
    samples=lambda: (
        *_samples(),
        Sample((ints(shape=(2, 3)), ints(shape=(3, 4))), {}, grad=False),
        Sample((ints(shape=(3, 2), dtype="int64"), ints(shape=(4, 3), dtype="int64")),
               {"transpose_a": True, "transpose_b": True}, grad=False),
        Sample((floats(shape=(2, 3), dtype="float16"), floats(shape=(3, 2), dtype="float16")),
               grad=False),
    ),
    error_samples=_ERRORS,
    doc="The product of two matrices.",
)  # fmt: skip

gemm: Op = Op(
    "Gemm", ("a", "b"), same(NATIVE), _rank2_shape,
    lambda a, b, *, transpose_a, transpose_b: _np_matmul(a, b, transpose_a, transpose_b),
    lambda g, y, a, b, *, transpose_a, transpose_b: products(
        gemm, ("transpose_a", "transpose_b"), g, a, b, transpose_a, transpose_b
    ),
    library="matmul", attrs=_TRANSPOSES, cheap=False, samples=lambda: _samples(),
    error_samples=_ERRORS[:2],
    doc="The product of two matrices of a type that the library multiplies.",
)  # fmt: skip


def _gemm_add_shape(
    ctx: Infer, c: TensorType, a: TensorType, b: TensorType, **attrs: Any
) -> tuple[Dim, ...]:
    attrs = {k: v for k, v in attrs.items() if k != "alpha"}
    shape = _rank2_shape(ctx, a, b, **attrs)
    if len(c.dims) != 2:
        raise RuleError(f"takes matrices, got rank {_rank(c)} to add to")
    for have, want in zip(c.dims, shape, strict=True):
        ctx.equal(have, want, "the sum's sizes differ, {a} and {b}")
    return c.dims


def _gemm_add_grad(
    g: Any, y: Any, c: Any, a: Any, b: Any, *, alpha: float, transpose_a: bool, transpose_b: bool
) -> tuple[Any, Any, Any]:
    ga, gb = products(
        gemm, ("transpose_a", "transpose_b"), g * alpha, a, b, transpose_a, transpose_b
    )
    return g, ga, gb


gemm_add: Op = Op(
    "GemmAdd", ("c", "a", "b"), same(NATIVE), _gemm_add_shape,
    lambda c, a, b, *, alpha, transpose_a, transpose_b: (
        c + c.dtype.type(alpha) * _np_matmul(a, b, transpose_a, transpose_b)
    ),
    _gemm_add_grad, library="matmul", attrs={**_TRANSPOSES, "alpha": 1.0}, cheap=False,
    samples=lambda: tuple(
        Sample((floats(shape=(3, 5), seed=4, dtype=d), floats(shape=(4, 3), dtype=d),
                floats(shape=(4, 5), seed=2, dtype=d)), {"transpose_a": True, "alpha": -0.5})
        for d in ("float64", "float32")
    ),
    error_samples=lambda: (
        ErrorSample((floats(shape=(2, 2)), floats(shape=(3, 4)), floats(shape=(4, 5))), {},
                    "the sum's sizes differ, 2 and 3"),
    ),
    doc="``c + alpha * a @ b`` in one library call: what a weight update becomes.",
)  # fmt: skip


# ---------------------------------------------------------------- batches
def _batch_grad(g: Any, y: Any, x: Any, z: Any, *, adj_x: bool, adj_y: bool) -> tuple[Any, Any]:
    gx, gy = products(batch_matmul, ("adj_x", "adj_y"), g, x, z, adj_x, adj_y)
    return sum_to(gx, x), sum_to(gy, z)


def _batch_matmul(x: Any, y: Any, *, adj_x: bool, adj_y: bool) -> Any:
    kind = x.dtype
    if kind.is_integer:
        return plain_matmul(x, y, adj_x=adj_x, adj_y=adj_y)
    if kind not in NATIVE:
        x, y = (lookup("Cast")(t, DstT=dtypes.float32) for t in (x, y))
        return lookup("Cast")(_batch_matmul(x, y, adj_x=adj_x, adj_y=adj_y), DstT=kind)
    xs, ys = x.type.dims, y.type.dims
    if len(xs) == 2 and len(ys) == 2:
        return gemm(x, y, transpose_a=adj_x, transpose_b=adj_y)
    if len(ys) == 2 and not adj_x:  # all batches share the right factor: one tall product
        flat = gemm(
            lookup("Reshape")(x, (product(xs[:-1]), xs[-1])),
            y,
            transpose_a=False,
            transpose_b=adj_y,
        )
        return lookup("Reshape")(flat, (*xs[:-1], _matrix(y.type, adj_y)[1]))
    return batch_gemm(x, y, adj_x=adj_x, adj_y=adj_y)


def _batch_samples() -> tuple[Sample, ...]:
    def sample(xs: tuple[int, ...], ys: tuple[int, ...], ax: bool, ay: bool, dtype: str) -> Sample:
        arrays = (floats(shape=xs, seed=1, dtype=dtype), floats(shape=ys, seed=2, dtype=dtype))
        return Sample(arrays, {"adj_x": ax, "adj_y": ay})

    return (
        sample((2, 3, 4), (2, 4, 5), False, False, "float64"),
        sample((2, 4, 3), (1, 5, 4), True, True, "float64"),
        sample((2, 1, 3, 4), (3, 5, 4), False, True, "float32"),
        sample((3, 2), (2, 3, 4), True, False, "float32"),
        sample((2, 2, 3), (3, 4), False, False, "float32"),
        sample((0, 2, 3), (3, 4), False, False, "float32"),
        sample((3, 2), (2, 4), False, False, "float32"),
    )


_BATCH_ERRORS = (
    ErrorSample(
        (floats(shape=(2, 2, 3)), floats(shape=(2, 4, 5))), {}, "inner dimensions differ, 3 and 4"
    ),
    ErrorSample(
        (floats(shape=(2, 2, 3)), floats(shape=(3, 3, 5))), {}, "do not broadcast, 2 and 3"
    ),
    ErrorSample(
        (floats(shape=(3,)), floats(shape=(3, 2))), {}, "rank 2 or more, got ranks 1 and 2"
    ),
)

batch_matmul: Op = Op(
    "BatchMatMulV2", ("x", "y"), same(NUMERIC), _batch_shape,
    lambda x, y, *, adj_x, adj_y: _np_matmul(x, y, adj_x, adj_y), _batch_grad,
    decompose=_batch_matmul, attrs=_ADJOINTS, cheap=False,
    samples=lambda: (
        *_batch_samples(),
        Sample((ints(shape=(2, 2, 3)), ints(shape=(1, 4, 3))), {"adj_y": True}, grad=False),
    ),
    error_samples=lambda: (
        *_BATCH_ERRORS, ErrorSample((bools(), bools()), {}, "does not take bool"),
    ),
    doc="Matrix products over leading axes that broadcast.",
)  # fmt: skip

batch_matmul_v1: Op = Op(
    "BatchMatMul", ("x", "y"), same(NUMERIC), _batch_shape,
    lambda x, y, *, adj_x, adj_y: _np_matmul(x, y, adj_x, adj_y), _batch_grad,
    decompose=lambda x, y, *, adj_x, adj_y: batch_matmul(x, y, adj_x=adj_x, adj_y=adj_y),
    attrs=_ADJOINTS, cheap=False, samples=_batch_samples()[:1], error_samples=_BATCH_ERRORS[:1],
)  # fmt: skip

batch_gemm: Op = Op(
    "BatchGemm", ("x", "y"), same(NATIVE), _batch_shape,
    lambda x, y, *, adj_x, adj_y: _np_matmul(x, y, adj_x, adj_y), _batch_grad,
    library="matmul", attrs=_ADJOINTS, cheap=False, samples=lambda: _batch_samples(),
    error_samples=_BATCH_ERRORS,
    doc="Matrix products over leading axes, of a type that the library multiplies.",
)  # fmt: skip


def _plain_lower(
    ix: tuple[Expr, ...], x: Operand, y: Operand, *, adj_x: bool, adj_y: bool
) -> Reduce:
    *batch, i, j = ix
    extent = _matrix(x.type, adj_x)[1]

    def load(t: Operand, row: Expr, column: Expr, adjoint: bool) -> Expr:
        lead = batch[len(batch) - (len(t.shape) - 2) :]
        at = [lift(0, dtypes.int64) if d == 1 else b for d, b in zip(t.shape, lead, strict=False)]
        return t[(*at, column, row) if adjoint else (*at, row, column)]

    return Reduce(
        "sum", (extent,), lambda k: load(x, i, k[0], adj_x) * load(y, k[0], j, adj_y), x.dtype
    )


plain_matmul: Op = Op(
    "PlainMatMul", ("x", "y"), same(INTEGER), _batch_shape,
    lambda x, y, *, adj_x, adj_y: _np_matmul(x, y, adj_x, adj_y), None,
    lower=_plain_lower, attrs=_ADJOINTS, cheap=False,
    samples=lambda: (
        Sample((ints(shape=(2, 3)), ints(shape=(4, 3))), {"adj_y": True}, grad=False),
        Sample((ints(shape=(2, 2, 3)), ints(shape=(1, 3, 4))), {}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((ints(shape=(2, 3)), ints(shape=(4, 5))), {}, "dimensions differ, 3 and 4"),
    ),
    doc="Matrix products of integers.",
)  # fmt: skip
