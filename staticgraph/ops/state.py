"""Variables: their storage and the writes to it.

``VariableV2`` stands for the storage; its result is a reference.  The compiler threads state, so
that these records say only what a write means:

- an op with effect "state" and a ``ref`` operand is a *write* where it has a `decompose` rule:
  ``decompose(current, *others, **attrs)`` gives the new value from the value left by the write
  before it, and the op's result is that new value;
- where it is `host` it is a *question* about the storage as the run finds it, which the session
  answers when it closes over the run: ``IsVariableInitialized`` and ``InitializedValue``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import REQUIRED, ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.types import TensorType
from staticgraph.ops.rules import ANY, NUMERIC, floats, same


def _shown(shape: tuple[Dim, ...]) -> str:
    return "[" + ", ".join(str(d) if isinstance(d, int) else "?" for d in shape) + "]"


def _ref_of(*_: DType, dtype: Any, **__: Any) -> DType:
    return dtypes.ref(dtypes.as_dtype(dtype))


def _variable_shape(ctx: Infer, *, shape: Any, **_: Any) -> tuple[Dim, ...] | None:
    return None if shape is None else tuple(ctx.fresh("v") if d is None else d for d in shape)


variable = Op(
    "VariableV2",
    (),
    _ref_of,
    _variable_shape,
    None,
    None,
    host=True,
    effect="state",
    attrs={"dtype": REQUIRED, "shape": None, "container": "", "shared_name": ""},
    doc="The storage of a variable; its result is a reference to it.",
)


# ---------------------------------------------------------------- whole values
def _written(*inputs: DType, **_: Any) -> DType:
    """The dtype of a write: operands agree, the result is a reference."""
    return dtypes.ref(same(ANY)(*inputs))


def _written_number(*inputs: DType, **_: Any) -> DType:
    return dtypes.ref(same(NUMERIC)(*inputs))


def _assign_shape(
    ctx: Infer, ref: TensorType, value: TensorType, *, validate_shape: bool = True, **_: Any
) -> tuple[Dim, ...] | None:
    if not validate_shape or ref.shape is None:
        return value.shape
    if value.shape is None:
        return ref.shape
    text = f"the variable has shape {_shown(ref.shape)}, the value {_shown(value.shape)}"
    if len(ref.shape) != len(value.shape):
        raise RuleError(text)
    return tuple(
        ctx.equal(a, b, text + ": {a} and {b}") for a, b in zip(ref.shape, value.shape, strict=True)
    )


_VECTOR = np.zeros(3, np.float32)
_BAD_SHAPE = (ErrorSample((np.zeros((2, 2), np.float32), _VECTOR), {}, "the variable has shape"),)


def _assigned(current: Any, value: Any, *, validate_shape: bool, use_locking: bool) -> Any:
    return lookup("Identity")(value)


assign = Op(
    "Assign",
    ("ref", "value"),
    _written,
    _assign_shape,
    lambda ref, value, **_: value,
    lambda g, y, ref, value, **_: (None, g),
    decompose=_assigned,
    effect="state",
    attrs={"validate_shape": True, "use_locking": True},
    samples=lambda: (Sample((floats(dtype="float64"), floats(seed=1, dtype="float64"))),),
    error_samples=_BAD_SHAPE,
    doc="Put `value` into the variable.",
)


def _update(name: str, numpy: Callable[..., Any], op: str, sign: int) -> Op:
    def grad(g: Any, y: Any, ref: Any, value: Any, **_: Any) -> tuple[Any, Any]:
        return g, g if sign > 0 else -g

    return Op(
        name,
        ("ref", "value"),
        _written_number,
        _assign_shape,
        lambda ref, value, **_: numpy(ref, value),
        grad,
        decompose=lambda current, value, *, use_locking: lookup(op)(current, value),
        effect="state",
        attrs={"use_locking": False},
        samples=lambda: (
            Sample((floats(dtype="float64"), floats(seed=1, dtype="float64"))),
            Sample((np.int64(3), np.int64(4)), grad=False),
        ),
        error_samples=_BAD_SHAPE,
    )


assign_add = _update("AssignAdd", np.add, "Add", 1)
assign_sub = _update("AssignSub", np.subtract, "Sub", -1)


# ---------------------------------------------------------------- rows
def _scattered(ref: DType, indices: DType, updates: DType, **_: Any) -> DType:
    if indices not in (dtypes.int32, dtypes.int64):
        raise RuleError(f"indices must be int32 or int64, got {indices.name}", kind="dtype")
    return dtypes.ref(same(ANY)(ref, updates))


def _scatter_shape(
    ctx: Infer, ref: TensorType, indices: TensorType, updates: TensorType, **_: Any
) -> tuple[Dim, ...]:
    if not ref.dims:
        raise RuleError("the variable is a scalar and has no rows")
    if indices.shape is None or updates.shape is None or updates.shape == ():
        return ref.dims
    want = (*indices.shape, *ref.dims[1:])
    text = f"the updates have shape {_shown(updates.shape)}, the rows take {_shown(want)}"
    if len(want) != len(updates.shape):
        raise RuleError(text)
    for a, b in zip(want, updates.shape, strict=True):
        ctx.equal(a, b, text + ": {a} and {b}")
    return ref.dims


_AT: dict[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.true_divide,
    "min": np.minimum,
    "max": np.maximum,
}


def _np_scatter(kind: str) -> Callable[..., Any]:
    def numpy(ref: np.ndarray, indices: np.ndarray, updates: np.ndarray, **_: Any) -> np.ndarray:
        out = np.array(ref)
        if indices.size and (indices.min() < 0 or indices.max() >= ref.shape[0]):
            raise IndexError(f"an index is outside [0, {ref.shape[0]})")
        if kind == "update":
            out[indices] = updates
        elif kind == "div" and out.dtype.kind in "iu":
            np.floor_divide.at(out, indices, updates)
        else:
            _AT[kind].at(out, indices, updates)
        return out

    return numpy


def _scatter(name: str, kind: str) -> Op:
    def decompose(current: Any, indices: Any, updates: Any, *, use_locking: bool = False) -> Any:
        if updates.type.shape == ():
            rows = (*indices.type.dims, *current.type.dims[1:])
            updates = lookup("BroadcastTo")(updates, rows)
        return lookup("ScatterRows")(current, indices, updates, kind=kind)

    rows = floats(shape=(5, 2), dtype="float64")
    return Op(
        name,
        ("ref", "indices", "updates"),
        _scattered,
        _scatter_shape,
        _np_scatter(kind),
        None,
        decompose=decompose,
        effect="state",
        attrs={"use_locking": False},
        operand_dtypes={"indices": None},
        samples=lambda: (
            Sample(
                (rows, np.array([3, 0]), floats(shape=(2, 2), seed=1, dtype="float64")), grad=False
            ),
            Sample((rows, np.array([1, 4]), np.float64(2)), grad=False),
        ),
        error_samples=lambda: (
            ErrorSample(
                (np.zeros((4, 2), np.float32), np.array([1]), np.zeros((1, 3), np.float32)),
                {},
                "the rows take",
            ),
        ),
        doc=f"Rows `indices` of the variable: {kind} `updates`.",
    )


scatter_update = _scatter("ScatterUpdate", "update")
scatter_add = _scatter("ScatterAdd", "add")
scatter_sub = _scatter("ScatterSub", "sub")
scatter_mul = _scatter("ScatterMul", "mul")
scatter_div = _scatter("ScatterDiv", "div")
scatter_min = _scatter("ScatterMin", "min")
scatter_max = _scatter("ScatterMax", "max")


# ---------------------------------------------------------------- elements by coordinates
def _scatter_nd_shape(
    ctx: Infer, ref: TensorType, indices: TensorType, updates: TensorType, **_: Any
) -> tuple[Dim, ...]:
    if indices.shape is None or updates.shape is None:
        return ref.dims
    if not indices.shape:
        raise RuleError("indices must have at least one axis")
    depth = ctx.constant(indices.shape[-1], "the last axis of indices")
    if depth > len(ref.dims):
        raise RuleError(f"indices hold {depth} coordinates, the variable has rank {len(ref.dims)}")
    want = (*indices.shape[:-1], *ref.dims[depth:])
    text = f"the updates have shape {_shown(updates.shape)}, the places take {_shown(want)}"
    if len(want) != len(updates.shape):
        raise RuleError(text)
    for a, b in zip(want, updates.shape, strict=True):
        ctx.equal(a, b, text + ": {a} and {b}")
    return ref.dims


def _np_scatter_nd(kind: str) -> Callable[..., Any]:
    def numpy(ref: np.ndarray, indices: np.ndarray, updates: np.ndarray, **_: Any) -> np.ndarray:
        out = np.array(ref)
        place = tuple(np.moveaxis(indices, -1, 0))
        for axis, i in enumerate(place):
            if i.size and (i.min() < 0 or i.max() >= ref.shape[axis]):
                raise IndexError(f"an index is outside [0, {ref.shape[axis]})")
        if kind == "update":
            out[place] = updates
        else:
            _AT[kind].at(out, place, updates)
        return out

    return numpy


def _scatter_nd(name: str, kind: str, functional: str) -> Op:
    def decompose(current: Any, indices: Any, updates: Any, *, use_locking: bool = False) -> Any:
        return lookup(functional)(current, indices, updates)

    return Op(
        name,
        ("ref", "indices", "updates"),
        _scattered,
        _scatter_nd_shape,
        _np_scatter_nd(kind),
        None,
        decompose=decompose,
        effect="state",
        attrs={"use_locking": True},
        operand_dtypes={"indices": None},
        samples=lambda: (
            Sample(
                (
                    floats(shape=(4, 3), dtype="float64"),
                    np.array([[3, 0], [1, 2]]),
                    floats(shape=(2,), seed=1, dtype="float64"),
                ),
                grad=False,
            ),
        ),
        error_samples=lambda: (
            ErrorSample(
                (np.zeros((4,), np.float32), np.array([[1]]), np.zeros((2,), np.float32)),
                {},
                "the places take",
            ),
        ),
        doc=f"Places `indices` of the variable: {kind} `updates`.",
    )


scatter_nd_update = _scatter_nd("ScatterNdUpdate", "update", "TensorScatterUpdate")
scatter_nd_add = _scatter_nd("ScatterNdAdd", "add", "TensorScatterAdd")
scatter_nd_sub = _scatter_nd("ScatterNdSub", "sub", "TensorScatterSub")


# ---------------------------------------------------------------- questions
is_variable_initialized = Op(
    "IsVariableInitialized",
    ("ref",),
    lambda ref, **_: dtypes.bool_,
    lambda ctx, ref, **_: (),
    None,
    None,
    host=True,
    effect="state",
    doc="True where the variable held a value when the run started.",
)


def _value_shape(
    ctx: Infer, ref: TensorType, value: TensorType, **_: Any
) -> tuple[Dim, ...] | None:
    return value.shape if ref.shape is None else ref.shape


initialized_value = Op(
    "InitializedValue",
    ("ref", "value"),
    lambda ref, value, **_: same(ANY)(ref, value),
    _value_shape,
    None,
    lambda g, y, ref, value, **_: (g, None),
    host=True,
    effect="state",
    doc="The value the variable held when the run started, or `value` where it held none.",
)
