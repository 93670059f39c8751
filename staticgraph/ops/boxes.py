"""Values put into boxes, so that arrays of different sizes can stand in one stack.

What a loop keeps for its gradient is stacked, which takes values of one size.  A value whose size
changes from one iteration to the next is kept in a box: a scalar of the type `variant`, whatever
is in it.  Graphs hold `Box` and `Unbox` wherever the sizes of iterations are not known to agree;
when a run is closed (`passes.close_boxes`) all go where they turn out to agree, and the values
themselves are stacked.

No box is ever a result of a run.  The cotangent of a box is a box.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import REQUIRED, Infer, Op, RuleError, Sample
from staticgraph.ir.tensor import Tensor
from staticgraph.ir.types import TensorType
from staticgraph.ops.rules import floats, ints


class Boxed:
    """What an element of an array of boxes is.

    Args:
      value: an array; nobody changes it any more.
    """

    __slots__ = ("value",)

    def __init__(self, value: np.ndarray) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Boxed) and np.array_equal(self.value, other.value)

    def __hash__(self) -> int:
        return hash(self.value.shape)

    def __repr__(self) -> str:
        return f"Boxed({self.value!r})"


def _filled(values: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    out = np.empty(len(values), object)
    for k, v in enumerate(values):
        out[k] = Boxed(np.array(v))
    return out.reshape(shape)


def boxed_array(value: np.ndarray) -> np.ndarray:
    """A scalar array with a copy of `value` in a box."""
    return _filled([value], ())


def _is_box(d: DType) -> None:
    if d.np != np.dtype(object):
        raise RuleError(f"a box is needed, got {d.name}", kind="dtype")


# ---------------------------------------------------------------- one value
box = Op(
    "Box",
    ("x",),
    lambda x: dtypes.variant,
    lambda ctx, x: (),
    boxed_array,
    lambda g, y, x: (unboxed(g, x),),
    host=True,
    operand_dtypes={"x": None},
    samples=lambda: (
        Sample((floats(),), grad=False),
        Sample((ints(shape=(0, 2)),), grad=False),
        Sample((np.float64(2.5),), grad=False),
    ),
    doc="A value in a box.",
)


def _unbox_dtype(x: DType, *, dtype: DType, **_: Any) -> DType:
    _is_box(x)
    return dtype


def _unbox_shape(ctx: Infer, x: TensorType, *, shape: Any, **_: Any) -> tuple[Dim, ...]:
    if x.dims:
        raise RuleError(f"one box is opened at a time, got {x.public()}")
    return tuple(ctx.fresh("u") if d is None else d for d in shape)


def _np_unbox(x: Any, *, dtype: DType, shape: Any) -> np.ndarray:
    del dtype, shape
    value: np.ndarray = (x if isinstance(x, Boxed) else x[()]).value
    return value


unbox = Op(
    "Unbox",
    ("x",),
    _unbox_dtype,
    _unbox_shape,
    _np_unbox,
    lambda g, y, x, **_: (box(g),),
    host=True,
    operand_dtypes={"x": None},
    attrs={"dtype": REQUIRED, "shape": REQUIRED},
    samples=lambda: (
        Sample((boxed_array(floats(shape=(3, 2))),), {"dtype": dtypes.float32, "shape": (None, 2)},
               grad=False),
        Sample((boxed_array(ints(shape=(0,))),), {"dtype": dtypes.int32, "shape": (None,)},
               grad=False),
    ),
    doc="What is in a box; `shape` has None for the sizes that only the box knows.",
)  # fmt: skip


def unboxed(x: Any, like: Any) -> Any:
    """What is in the box `x`, a value of the type that `like` has."""
    dims = like.type.dims
    known = tuple(d if isinstance(d, int) else None for d in dims)
    out = unbox(x, dtype=like.dtype.base, shape=known)
    if isinstance(out, Tensor):  # in a graph, sizes of one name are those of one iteration
        out.type = TensorType(like.dtype.base, dims)
    return out


# ---------------------------------------------------------------- stacks of them
def _np_box_rows(x: np.ndarray) -> np.ndarray:
    return _filled(list(x), (len(x),))


def _rows_shape(ctx: Infer, x: TensorType) -> tuple[Dim, ...]:
    if not x.dims:
        raise RuleError("a scalar has no rows")
    return x.dims[:1]


box_rows = Op(
    "BoxRows",
    ("x",),
    lambda x: dtypes.variant,
    _rows_shape,
    _np_box_rows,
    None,
    host=True,
    operand_dtypes={"x": None},
    samples=lambda: (
        Sample((floats(shape=(3, 2)),), grad=False),
        Sample((ints(shape=(0, 2)),), grad=False),
    ),
    doc="Each row in a box of its own.",
)


def no_boxes() -> Tensor:
    """A stack of no boxes; it stands for what a branch that is not chosen would have kept."""
    out: Tensor = box_rows(np.zeros((0, 0), np.float32))
    return out


def _added(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype != object:
        out: np.ndarray = a + b
        return out
    return _np_box_sum(a, b)


def _np_box_sum(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    pairs = zip(np.ravel(x), np.ravel(y), strict=True)
    return _filled([_added(a.value, b.value) for a, b in pairs], np.shape(x))


def _sum_dtype(x: DType, y: DType) -> DType:
    _is_box(x)
    _is_box(y)
    return dtypes.variant


def _sum_shape(ctx: Infer, x: TensorType, y: TensorType) -> tuple[Dim, ...]:
    if len(x.dims) != len(y.dims):
        raise RuleError(f"boxes of {x.public()} and {y.public()} cannot be added")
    for a, b in zip(x.dims, y.dims, strict=True):
        ctx.equal(a, b, "stacks of {a} and {b} boxes")
    return x.dims


box_sum = Op(
    "BoxSum",
    ("x", "y"),
    _sum_dtype,
    _sum_shape,
    _np_box_sum,
    lambda g, y, a, b: (g, g),
    host=True,
    operand_dtypes={"x": None, "y": None},
    samples=lambda: (
        Sample((_np_box_rows(floats(shape=(3, 2))), _np_box_rows(floats(shape=(3, 2), seed=1))),
               grad=False),
    ),
    doc="The sums of what is in boxes, in boxes.",
)  # fmt: skip

__all__ = ["Boxed", "box", "box_rows", "box_sum", "boxed_array", "no_boxes", "unbox", "unboxed"]
