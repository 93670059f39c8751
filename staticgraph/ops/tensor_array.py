"""Arrays of tensors: elements that are written once each, and read.

An array is two tensors: `data` ``[size, *element]`` and `marks`, bool ``[size]``, which tells what
has been written.  `marks` may be a scalar instead: then nothing is known of what was written, and
nothing but the range of an index is checked.  An index is a scalar or a list of them.

An index that is out of range, that is written twice, or read before it is written, ends the run.
Kernels report one number for an index; what is wrong with it besides its range is told by how far
it is beyond it (`explained`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.errors import OutOfBoundsError
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import REQUIRED, ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.scalar import Expr, Operand, s
from staticgraph.ir.types import TensorType
from staticgraph.ops.gather import as_index, check_index_dtype
from staticgraph.ops.rules import ALL, floats, ints, zeros_like

FAULTS = {"written": 1 << 40, "twice": 2 << 40, "unwritten": 3 << 40}
_TEXTS = {
    "written": "index {i} has been written before; an element is written once",
    "twice": "index {i} is written twice",
    "unwritten": "index {i} is read, but has not been written",
}


def explained(index: int, bound: int) -> str:
    """What is wrong with an index that a kernel reports."""
    fault = next((f for f, code in reversed(FAULTS.items()) if index >= code), None)
    if fault is None:
        return f"index {index} is outside [0, {bound})"
    return f"{_TEXTS[fault].format(i=index - FAULTS[fault])} (the array has {bound} elements)"


# ---------------------------------------------------------------- the index
def _slot(index: np.ndarray, ok: np.ndarray, *, size: int, fault: str) -> np.ndarray:
    at = as_index(index)
    outside = (at < 0) | (at >= size)
    for wrong, code in ((outside, 0), (~np.broadcast_to(ok, at.shape), FAULTS[fault])):
        if wrong.any():
            raise OutOfBoundsError(explained(int(at[wrong][0]) + code, size))
    return at


def _slot_shape(ctx: Infer, index: TensorType, ok: TensorType, **_: Any) -> tuple[Dim, ...]:
    if len(index.dims) > 1:
        raise RuleError(f"an index is a scalar or a list, got {index.public()}")
    if ok.dims:
        for a, b in zip(ok.dims, index.dims, strict=True):
            ctx.equal(a, b, "{a} marks for {b} indices")
    return index.dims


def _slot_dtypes(index: DType, ok: DType, *, fault: str, **_: Any) -> DType:
    if fault not in FAULTS:
        raise RuleError(f"fault must be one of {', '.join(FAULTS)}, got {fault!r}")
    check_index_dtype(index)
    return dtypes.int64


def _slot_lower(
    ix: tuple[Expr, ...], index: Operand, ok: Operand, *, size: Dim, fault: str
) -> Expr:
    i = s.cast(index[ix], dtypes.int64)
    beyond = i + s.lift(FAULTS[fault], dtypes.int64)
    return s.check_index(s.select(ok.at(ix), i, beyond), size)


slot = Op(
    "TensorArraySlot", ("index", "ok", "@size"), _slot_dtypes, _slot_shape, _slot, None,
    lower=_slot_lower, attrs={"fault": REQUIRED},
    operand_dtypes={"index": None, "ok": dtypes.bool_},
    samples=lambda: (
        Sample((np.int32(2), np.array(True)), {"size": 3, "fault": "written"}, grad=False),
        Sample((ints(0, 5, (4,)), np.ones(4, bool)), {"size": 5, "fault": "twice"}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((np.zeros((2, 2), np.int32), np.array(True)), {"size": 3, "fault": "twice"},
                    "an index is a scalar or a list"),
        ErrorSample((np.int32(0), np.array(True)), {"size": 3, "fault": "none"}, "must be one of"),
    ),
    doc="`index` as int64; fails where it is outside [0, size), or `ok` does not hold.",
)  # fmt: skip


def _checked(index: Any, marks: Any, size: Dim, want: bool) -> Any:
    """An index that is in range, and has (or has not yet) been written."""
    gather = lookup("GatherV2")
    i = slot(index, np.ones((), bool), size, fault="written")
    if not marks.type.dims:
        return i
    held = gather(marks, i, 0)
    if want:
        return slot(i, held, size, fault="unwritten")
    i = slot(i, lookup("LogicalNot")(held), size, fault="written")
    if not index.type.dims:
        return i
    numbers = lookup("NumbersLike")(i)
    nothing = lookup("Fill")((size,), np.zeros((), np.int64))
    last = gather(lookup("ScatterRows")(nothing, i, numbers, kind="update"), i, 0)
    return slot(i, lookup("Equal")(last, numbers), size, fault="twice")


def _check_array(ctx: Infer, data: TensorType, marks: TensorType, index: TensorType) -> None:
    if not data.dims:
        raise RuleError("an array has at least one axis, got a scalar")
    if len(index.dims) > 1:
        raise RuleError(f"an index is a scalar or a list, got {index.public()}")
    _check_marks(ctx, data, marks)


def _check_marks(ctx: Infer, data: TensorType, marks: TensorType) -> None:
    if len(marks.dims) > 1:
        raise RuleError(f"marks must be a list or a scalar, got {marks.public()}")
    if marks.dims:
        ctx.equal(marks.dims[0], data.dims[0], "{a} marks for {b} elements")


# ---------------------------------------------------------------- reading
def _np_read(data: np.ndarray, marks: np.ndarray, index: np.ndarray) -> np.ndarray:
    held = marks if marks.ndim else np.ones(len(data), bool)
    at = _slot(index, np.array(True), size=len(data), fault="unwritten")
    return np.asarray(data[_slot(at, held[at], size=len(data), fault="unwritten")])


def _read_shape(
    ctx: Infer, data: TensorType, marks: TensorType, index: TensorType
) -> tuple[Dim, ...]:
    _check_array(ctx, data, marks, index)
    return (*index.dims, *data.dims[1:])


def _data_dtype(data: DType, marks: DType, *rest: DType, **_: Any) -> DType:
    if rest:
        check_index_dtype(rest[0], "the index")
    if len(rest) > 1 and rest[1] is not data:
        raise RuleError(f"the array holds {data.name}, the value is {rest[1].name}", kind="dtype")
    return data


_MARKS = np.array([True, False, True, True, False])
_OWN = {"marks": dtypes.bool_, "index": None}

read = Op(
    "TensorArrayRead", ("data", "marks", "index"), _data_dtype, _read_shape, _np_read,
    lambda g, y, data, marks, index: (lookup("GatherGrad")(g, index, data, 0), None, None),
    decompose=lambda data, marks, index: lookup("GatherV2")(
        data, _checked(index, marks, data.type.dims[0], True), 0
    ),
    operand_dtypes=_OWN,
    samples=lambda: (
        Sample((floats(shape=(5, 3), dtype="float64"), _MARKS, np.int32(2))),
        Sample((floats(shape=(5, 3)), _MARKS, np.array([3, 0, 3]))),
        Sample((floats(shape=(5,)), np.array(True), np.int64(4))),
        Sample((ints(0, 9, (5, 2)), _MARKS, np.zeros(0, np.int32)), grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((np.float32(1), np.array(True), np.int32(0)), {}, "got a scalar"),
        ErrorSample((floats(shape=(4, 2)), _MARKS, np.int32(0)), {}, "5 marks for 4 elements"),
        ErrorSample((floats(), np.array(True), np.float32(0)), {}, "must be int32 or int64"),
    ),
    doc="Elements of an array; an error of the run where one has not been written.",
)  # fmt: skip


def _np_stack(data: np.ndarray, marks: np.ndarray) -> np.ndarray:
    if marks.ndim and not marks.all():
        raise OutOfBoundsError(explained(int(np.argmin(marks)) + FAULTS["unwritten"], len(data)))
    return data


def _stack_shape(ctx: Infer, data: TensorType, marks: TensorType) -> tuple[Dim, ...]:
    if not data.dims:
        raise RuleError("an array has at least one axis, got a scalar")
    _check_marks(ctx, data, marks)
    return data.dims


def _stack_lower(ix: tuple[Expr, ...], data: Operand, marks: Operand) -> Expr:
    if not marks.shape:
        return data[ix]
    beyond = ix[0] + s.lift(FAULTS["unwritten"], dtypes.int64)
    return data[(s.check_index(s.select(marks[(ix[0],)], ix[0], beyond), data.shape[0]), *ix[1:])]


stack = Op(
    "TensorArrayStack", ("data", "marks"), _data_dtype, _stack_shape, _np_stack,
    lambda g, y, data, marks: (g, None), lower=_stack_lower, operand_dtypes=_OWN,
    samples=lambda: (
        Sample((floats(shape=(4, 2), dtype="float64"), np.ones(4, bool))),
        Sample((floats(shape=(4,)), np.array(True))),
        Sample((ints(shape=(0, 2)), np.ones(0, bool)), grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((np.float32(1), np.array(True)), {}, "got a scalar"),
        ErrorSample((floats(shape=(4,)), np.ones(3, bool)), {}, "3 marks for 4 elements"),
    ),
    doc="All elements of an array; an error of the run where one has not been written.",
)  # fmt: skip


# ---------------------------------------------------------------- writing
def _free(marks: np.ndarray, index: np.ndarray, size: int) -> np.ndarray:
    at = _slot(index, np.array(True), size=size, fault="written")
    if not marks.ndim:
        return at
    at = _slot(at, ~marks[at], size=size, fault="written")
    last = np.zeros(size, np.int64)
    last[at] = np.arange(at.size).reshape(at.shape)
    return _slot(at, last[at] == np.arange(at.size).reshape(at.shape), size=size, fault="twice")


def _np_write(
    data: np.ndarray, marks: np.ndarray, index: np.ndarray, value: np.ndarray
) -> np.ndarray:
    out = data.copy()
    # an array without axes that holds an object is not the object
    out[_free(marks, index, len(data))] = value[()] if value.ndim == 0 else value
    return out


def _write_shape(
    ctx: Infer, data: TensorType, marks: TensorType, index: TensorType, value: TensorType
) -> tuple[Dim, ...]:
    _check_array(ctx, data, marks, index)
    want = (*index.dims, *data.dims[1:])
    if len(want) != len(value.dims):
        raise RuleError(
            f"the array's elements have rank {len(data.dims) - 1}, "
            f"the value has rank {len(value.dims) - len(index.dims)}"
        )
    for a, b in zip(want, value.dims, strict=True):
        ctx.equal(a, b, "the array's elements have size {a} where the value has {b}")
    return data.dims


def _write(data: Any, marks: Any, index: Any, value: Any) -> Any:
    if data.dtype not in ALL:
        return lookup("TensorArrayPut")(data, marks, index, value)
    free = _checked(index, marks, data.type.dims[0], False)
    return lookup("ScatterRows")(data, free, value, kind="update")


put = Op(
    "TensorArrayPut", ("data", "marks", "index", "value"), _data_dtype, _write_shape, _np_write,
    None, host=True, operand_dtypes=_OWN,
    samples=lambda: (
        Sample((np.array(["a", "b"], object), np.array([True, False]), np.int32(1),
                np.array("c", object)), grad=False),
    ),
    doc="`TensorArrayWrite` of elements that no kernel moves: strings and complex numbers.",
)  # fmt: skip

write: Op = Op(
    "TensorArrayWrite", ("data", "marks", "index", "value"), _data_dtype, _write_shape, _np_write,
    lambda g, y, data, marks, index, value: (
        write(g, np.array(True), index, zeros_like(value)), None, None,
        lookup("GatherV2")(g, index, 0),
    ),
    decompose=_write,
    operand_dtypes=_OWN,
    samples=lambda: (
        Sample((floats(shape=(5, 3), dtype="float64"), _MARKS, np.int32(1), floats(shape=(3,),
                dtype="float64", seed=1))),
        Sample((floats(shape=(5, 3)), _MARKS, np.array([4, 1]), floats(shape=(2, 3), seed=1))),
        Sample((floats(shape=(5,)), np.array(True), np.int64(4), np.float32(2))),
        Sample((ints(shape=(5, 2)), _MARKS, np.zeros(0, np.int32), ints(shape=(0, 2))), grad=False),
    ),
    error_samples=lambda: (
        ErrorSample((floats(shape=(5, 3)), _MARKS, np.int32(1), floats(shape=(2,))), {},
                    "have size 3 where the value has 2"),
        ErrorSample((floats(shape=(5, 3)), _MARKS, np.int32(1), np.float32(1)), {},
                    "have rank 1, the value has rank 0"),
        ErrorSample((floats(shape=(5,)), _MARKS, np.int32(1), np.int32(1)), {},
                    "dtypes differ, float32 and int32"),
    ),
    doc="An array with elements written; an error of the run where one has been written before.",
)  # fmt: skip


def _np_mark(marks: np.ndarray, index: np.ndarray) -> np.ndarray:
    out = marks.copy()
    out[_free(marks, index, len(marks))] = True
    return out


def _mark_shape(ctx: Infer, marks: TensorType, index: TensorType) -> tuple[Dim, ...]:
    _check_array(ctx, marks, marks, index)
    return marks.dims


mark = Op(
    "TensorArrayMark", ("marks", "index"),
    lambda marks, index: check_index_dtype(index, "the index") or dtypes.bool_,  # type: ignore[func-returns-value]
    _mark_shape, _np_mark, None,
    decompose=lambda marks, index: lookup("ScatterRows")(
        marks, _checked(index, marks, marks.type.dims[0], False), np.ones((), bool), kind="update"
    ),
    operand_dtypes=_OWN,
    samples=lambda: (
        Sample((_MARKS, np.int32(1)), grad=False),
        Sample((_MARKS, np.array([4, 1])), grad=False),
    ),
    error_samples=lambda: (ErrorSample((np.array(True), np.int32(0)), {}, "got a scalar"),),
    doc="What has been written after a `TensorArrayWrite`.",
)  # fmt: skip
