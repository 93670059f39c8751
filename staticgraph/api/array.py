"""Making tensors: constants, placeholders, fills, progressions; and passing them on."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from staticgraph.api.framework import name_scope
from staticgraph.errors import DtypeError, ShapeError
from staticgraph.ir import build, dtypes, loc
from staticgraph.ir.build import convert, default_dtype, is_tensor_like
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Tensor
from staticgraph.ir.tensor_shape import Dimension, TensorShape
from staticgraph.ir.types import TensorType


# ---------------------------------------------------------------- from values
def constant(
    value: Any,
    dtype: Any = None,
    shape: Any = None,
    name: str = "Const",
    verify_shape: bool = False,
) -> Tensor:
    """A tensor whose value is known now.

    Args:
      value: a number, nested lists, a string, or an array.
      dtype: the element type; by default int32, float32, bool or string for Python values.
      shape: sizes to reshape to; the last element is repeated where there are too few.
      verify_shape: refuse a value whose shape is not `shape`.

    Raises:
      ShapeError: the value does not fit `shape`.
      DtypeError: the value cannot be held by `dtype`.

    >>> import staticgraph as tf
    >>> print(tf.constant([1.0, 2.0]))
    Tensor("Const:0", shape=(2,), dtype=float32)
    """
    if verify_shape and shape is not None:
        have, want = np.shape(value), tuple(TensorShape(shape).as_list())
        if have != want:
            raise ShapeError(
                f"constant: a value of shape {list(have)} was said to have shape {list(want)}",
                loc=loc.caller(),
            )
    return build.constant(value, dtype, shape, name, strict=dtype is not None)


def convert_to_tensor(
    value: Any, dtype: Any = None, name: str | None = None, preferred_dtype: Any = None,
    dtype_hint: Any = None,
) -> Tensor:  # fmt: skip
    """The tensor that `value` is or stands for.

    Args:
      value: a tensor, a variable, a number, an array, or lists of them.
      dtype: the element type it must have.
      preferred_dtype, dtype_hint: the element type to take where nothing is lost by it.

    Raises:
      DtypeError: a tensor of another type than `dtype`, or a value it cannot hold.
    """
    hint = dtype_hint if dtype_hint is not None else preferred_dtype
    if dtype is None and hint is not None and not is_tensor_like(value):
        try:
            return convert(value, hint, name or "Const")
        except (DtypeError, ShapeError):
            pass
    return convert(value, dtype, name or "Const")


def is_tensor(x: Any) -> bool:
    """True of tensors and variables.

    >>> import staticgraph as tf
    >>> tf.is_tensor(tf.constant(1)), tf.is_tensor(1)
    (True, False)
    """
    return is_tensor_like(x)


def _sizes_or_none(shape: Any) -> tuple[int | None, ...] | None:
    s = TensorShape(shape)
    return None if s.ndims is None else tuple(s.as_list())


def placeholder(dtype: Any, shape: Any = None, name: str | None = None) -> Tensor:
    """A tensor whose value is given with every run.

    Args:
      dtype: the element type.
      shape: sizes, None for those that may differ from run to run; None for any rank.

    >>> import staticgraph as tf
    >>> print(tf.placeholder(tf.float32, [None, 3]))
    Tensor("Placeholder:0", shape=(?, 3), dtype=float32)
    """
    kind = dtypes.as_dtype(dtype).base
    out: Tensor = lookup("Placeholder")(dtype=kind, shape=_sizes_or_none(shape), name=name)
    return out


def placeholder_with_default(input: Any, shape: Any, name: str | None = None) -> Tensor:
    """`input`, unless a run gives another value.

    Args:
      input: the value used when nothing is fed.
      shape: sizes that a fed value must have; None fits any size.

    Raises:
      ShapeError: `input` does not fit `shape`.
    """
    sizes = _sizes_or_none(shape)
    out: Tensor = lookup("PlaceholderWithDefault")(input, shape=sizes, name=name)
    # A feed may differ from the default wherever `shape` leaves the size open.
    fresh = out.graph.fresh
    loose = None if sizes is None else tuple(fresh("n") if d is None else d for d in sizes)
    out.type = TensorType(out.type.dtype, loose)
    out.known = None
    return out


# ---------------------------------------------------------------- passing on
def identity(input: Any, name: str | None = None) -> Tensor:
    """`input` itself, as the result of an operation of its own."""
    return lookup("Identity")(input, name=name)  # type: ignore[no-any-return]


def identity_n(input: Any, name: str | None = None) -> list[Tensor]:
    """A list of tensors, each as it is."""
    items = list(input)
    return lookup("IdentityN")(items, N=len(items), name=name)  # type: ignore[no-any-return]


def guarantee_const(input: Any, name: str | None = None) -> Tensor:
    """`input`, which never changes from run to run."""
    return lookup("GuaranteeConst")(input, name=name)  # type: ignore[no-any-return]


def stop_gradient(input: Any, name: str | None = None) -> Tensor:
    """`input`, which gradients take for a constant.

    >>> import staticgraph as tf
    >>> x = tf.constant(3.0)
    >>> print(tf.Session().run(tf.gradients(x * tf.stop_gradient(x), x)[0]))
    3.0
    """
    return lookup("StopGradient")(input, name=name)  # type: ignore[no-any-return]


def ensure_shape(x: Any, shape: Any, name: str | None = None) -> Tensor:
    """`x`, whose shape must fit `shape` when it is run; None fits any size."""
    return lookup("EnsureShape")(x, shape=_sizes_or_none(shape), name=name)  # type: ignore[no-any-return]


# ---------------------------------------------------------------- fills
def shape_operand(shape: Any, dtype: Any = None) -> Tensor:
    """A shape argument as a vector of integers, named as TensorFlow names it in fills."""
    if isinstance(shape, (int, np.integer, Dimension)):
        shape = [int(shape)]
    if is_tensor_like(shape):
        tensor = convert(shape)
    elif isinstance(shape, (list, tuple)) and any(map(is_tensor_like, shape)):
        tensor = convert(shape, dtype, "packed")
    else:
        sizes = TensorShape(shape).as_list()
        if None in sizes:
            raise ShapeError(
                f"the size of axis {sizes.index(None)} of {sizes} is unknown at this point",
                loc=loc.caller(), hint="use tf.shape(x)[axis] for a size known at run time",
            )  # fmt: skip
        tensor = build.constant(np.asarray(sizes, np.int32), name="shape_as_tensor")
    return lookup("Reshape")(tensor, [-1]) if tensor.type.shape == () else tensor


def _filled(shape: Any, dtype: Any, value: int, name: str | None, default: str) -> Tensor:
    kind = dtypes.as_dtype(dtype).base
    with name_scope(name, default, [shape]) as scope:
        element: Any = value
        if kind is dtypes.string:
            if value:
                raise DtypeError(f"{default} cannot be of strings", loc=loc.caller())
            element = ""
        elif kind.is_bool:
            element = bool(value)
        if _is_small(shape):
            return build.constant(element, kind, shape, name=scope)
        dims = shape_operand(shape)
        return lookup("Fill")(dims, build.constant(element, kind), name=scope)  # type: ignore[no-any-return]


def _is_small(shape: Any) -> bool:
    """True of known sizes of less than 1000 elements, which TensorFlow makes constants."""
    if not isinstance(shape, (list, tuple, TensorShape)) or is_tensor_like(shape):
        return False
    if isinstance(shape, TensorShape) and not shape.is_fully_defined():
        return False
    total = 1
    for d in shape:
        if not hasattr(d, "__index__") or isinstance(d, Tensor):
            return False
        total *= int(d)
    return 0 <= total < 1000


def zeros(shape: Any, dtype: Any = dtypes.float32, name: str | None = None) -> Tensor:
    """A tensor of zeros (false, empty strings).

    Args:
      shape: sizes: a list that may hold tensors, a vector of integers, or one int.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.zeros([2, 2]))
    array([[0., 0.],
           [0., 0.]], dtype=float32)
    """
    return _filled(shape, dtype, 0, name, "zeros")


def ones(shape: Any, dtype: Any = dtypes.float32, name: str | None = None) -> Tensor:
    """A tensor of ones (true); see `zeros`."""
    return _filled(shape, dtype, 1, name, "ones")


def zeros_like(
    tensor: Any, dtype: Any = None, name: str | None = None, optimize: bool = True
) -> Tensor:
    """Zeros of the shape of `tensor`, and of its type unless `dtype` is given."""
    with name_scope(name, "zeros_like", [tensor]) as scope:
        t = convert(tensor, name="tensor")
        kind = t.dtype.base if dtype is None else dtypes.as_dtype(dtype).base
        if optimize and t.shape.is_fully_defined():
            return zeros(t.shape, kind, scope)
        if kind is t.dtype.base:
            return lookup("ZerosLike")(t, name=scope)  # type: ignore[no-any-return]
        return zeros(lookup("Shape")(t), kind, scope)


def ones_like(
    tensor: Any, dtype: Any = None, name: str | None = None, optimize: bool = True
) -> Tensor:
    """Ones of the shape of `tensor`, and of its type unless `dtype` is given."""
    with name_scope(name, "ones_like", [tensor]) as scope:
        t = convert(tensor, name="tensor")
        kind = t.dtype.base if dtype is None else dtypes.as_dtype(dtype).base
        if optimize and t.shape.is_fully_defined():
            sizes = build.constant(np.asarray(t.shape.as_list(), np.int32), name="Shape")
            return ones(sizes, kind, scope)
        return ones(lookup("Shape")(t), kind, scope)


def fill(dims: Any, value: Any, name: str | None = None) -> Tensor:
    """A tensor of shape `dims` that holds one value everywhere.

    Raises:
      ShapeError: `value` is not a scalar, or a size is negative.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.fill([3], 7))
    array([7, 7, 7], dtype=int32)
    """
    return lookup("Fill")(dims, value, name=name)  # type: ignore[no-any-return]


# ---------------------------------------------------------------- progressions
_ORDER = (dtypes.int32, dtypes.int64, dtypes.float16, dtypes.float32, dtypes.float64)


def _range_dtype(values: list[Any]) -> DType:
    kinds = [v.dtype.base if is_tensor_like(v) else default_dtype(v) for v in values]
    known = [k for k in kinds if k in _ORDER]
    return max(known, key=_ORDER.index) if len(known) == len(kinds) else dtypes.int64


def _as(v: Any, kind: DType, name: str) -> Tensor:
    t = convert(v, None if is_tensor_like(v) else kind, name)
    return t if t.dtype.base is kind else lookup("Cast")(t, DstT=kind)


def range(
    start: Any, limit: Any = None, delta: Any = 1, dtype: Any = None, name: str = "range"
) -> Tensor:
    """``start, start + delta, ...`` below `limit` (above it where `delta` is negative).

    Args:
      start: the first value; alone, it is the limit of a range from 0.
      dtype: the element type; by default the widest of the arguments'.

    Raises:
      ShapeError: `delta` is 0, or an argument is no scalar.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.range(3, 12, 3))
    array([3, 6, 9], dtype=int32)
    """
    if limit is None:
        start, limit = 0, start
    values = [int(v) if isinstance(v, Dimension) else v for v in (start, limit, delta)]
    kind = dtypes.as_dtype(dtype).base if dtype is not None else _range_dtype(values)
    with name_scope(name, "Range", values) as scope:
        a, b, d = (
            _as(v, kind, n) for v, n in zip(values, ("start", "limit", "delta"), strict=True)
        )
        if not kind.is_floating:
            return lookup("Range")(a, b, d, Tidx=kind, name=scope)  # type: ignore[no-any-return]
        if not any(map(is_tensor_like, values)):
            x, y, z = (float(np.asarray(v)) for v in values)
            return lookup("FloatRange")(start=x, limit=y, delta=z, dtype=kind, name=scope)  # type: ignore[no-any-return]
        count = lookup("Cast")(lookup("Ceil")((b - a) / d), DstT=dtypes.int32)
        steps = lookup("Range")(0, count, 1)
        return lookup("Add")(lookup("Cast")(steps, DstT=kind) * d, a, name=scope)  # type: ignore[no-any-return]


def linspace(start: Any, stop: Any, num: Any, name: str | None = None) -> Tensor:
    """`num` values at equal distances from `start` to `stop`, both included.

    Args:
      start, stop: scalars of one floating type.

    Raises:
      ShapeError: `num` is less than 1, or `start` or `stop` is no scalar.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.linspace(0.0, 1.0, 3))
    array([0. , 0.5, 1. ], dtype=float32)
    """
    ends = [start, stop]
    kind = next(
        (v.dtype.base for v in ends if is_tensor_like(v) or isinstance(v, np.generic)),
        dtypes.float32,
    )
    kind = dtypes.as_dtype(kind).base
    start, stop = (
        kind.np.type(v) if isinstance(v, (int, float)) and not isinstance(v, bool) else v
        for v in ends
    )
    return lookup("LinSpace")(start, stop, num, name=name)  # type: ignore[no-any-return]


lin_space = linspace


# ---------------------------------------------------------------- grids
def meshgrid(*args: Any, **kwargs: Any) -> list[Tensor]:
    """Coordinates of the points of a grid, one tensor per axis.

    Args:
      *args: vectors of coordinates.
      indexing: "xy" (the first two axes change places, as for pictures) or "ij".

    Raises:
      ShapeError: another `indexing`.

    >>> import staticgraph as tf
    >>> [str(t.shape) for t in tf.meshgrid([1, 2, 3], [4, 5])]
    ['(2, 3)', '(2, 3)']
    """
    indexing = kwargs.pop("indexing", "xy")
    name = kwargs.pop("name", "meshgrid")
    if kwargs:
        raise TypeError(f"meshgrid has no argument {next(iter(kwargs))!r}")
    if indexing not in ("xy", "ij"):
        raise ShapeError(
            f"meshgrid: indexing must be 'xy' or 'ij', got {indexing!r}", loc=loc.caller()
        )
    with name_scope(name, "meshgrid", list(args)):
        n = len(args)
        order = list(builtins.range(n))
        if indexing == "xy" and n > 1:
            order[:2] = [1, 0]
        tensors = [lookup("Reshape")(convert(x), [-1]) for x in args]
        sizes = [lookup("Size")(tensors[k]) for k in order]
        out = []
        for k, x in enumerate(tensors):
            place = order.index(k)
            column = lookup("Reshape")(x, [-1 if i == place else 1 for i in builtins.range(n)])
            out.append(lookup("BroadcastTo")(column, sizes))
        return out


__all__ = [
    "constant", "convert_to_tensor", "ensure_shape", "fill", "guarantee_const", "identity",
    "identity_n", "is_tensor", "lin_space", "linspace", "meshgrid", "ones", "ones_like",
    "placeholder", "placeholder_with_default", "range", "stop_gradient", "zeros", "zeros_like",
]  # fmt: skip
