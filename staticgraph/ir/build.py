"""From Python values and a call of an op to operations in a graph.

Constants are made as TensorFlow makes them: ``x + 1.0`` gives ``add/y`` beside ``add``.  A Python
number or an array takes the dtype of the tensor it meets where that loses nothing; tensors of
different dtypes never mix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from staticgraph.errors import DtypeError, ShapeError, UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.dims import Poly
from staticgraph.ir.dtypes import DType
from staticgraph.ir.function import open_builder
from staticgraph.ir.graph import Graph, Operation, Tensor, get_default_graph
from staticgraph.ir.op import Op, lookup, set_default_builder
from staticgraph.ir.tensor_shape import Dimension, TensorShape
from staticgraph.ir.types import ConstantArray


def is_tensor_like(value: object) -> bool:
    """True of tensors and of what stands for one (variables)."""
    return isinstance(value, Tensor) or hasattr(value, "as_graph_tensor")


def _contains_tensor(value: object) -> bool:
    return isinstance(value, (list, tuple)) and any(
        is_tensor_like(v) or _contains_tensor(v) for v in value
    )


def default_dtype(value: object) -> DType:
    """The dtype of a constant made from `value` when nobody asks for one."""
    array = value if isinstance(value, (np.ndarray, np.generic)) else np.asarray(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return dtypes.as_dtype(array.dtype)
    kind = array.dtype.kind
    if kind == "f" and _all_python(value):
        return dtypes.float32
    if kind in "iu" and _all_python(value):
        small = array.size == 0 or (array.min() >= -(2**31) and array.max() < 2**31)
        return dtypes.int32 if small else dtypes.int64
    if kind == "O":
        return dtypes.string if _is_text(value) else dtypes.int32
    return dtypes.as_dtype(array.dtype)


def _is_text(value: object) -> bool:
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return isinstance(value, (str, bytes))


def _all_python(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_all_python(v) for v in value)
    return not isinstance(value, (np.ndarray, np.generic))


def to_array(value: object, dtype: DType | None, strict: bool) -> np.ndarray:
    """Make the array of a constant.

    Args:
      strict: refuse to turn floats with a fraction into integers.

    Raises:
      DtypeError: the value cannot be held by `dtype`.
    """
    if isinstance(value, TensorShape):
        value = value.as_list()
    if isinstance(value, (list, tuple)):
        value = [_plain(v) for v in value]
    else:
        value = _plain(value)
    target = (dtype or default_dtype(value)).base
    try:
        if target is dtypes.string:
            return dtypes.texts(value)
        array = np.asarray(value)
    except TypeError as e:
        raise DtypeError(f"constant: {e}", loc=loc.caller()) from None
    except ValueError as e:
        raise ShapeError(
            f"constant: the nested lists have different lengths ({e})", loc=loc.caller()
        ) from None
    if array.dtype.kind in "OSU":
        raise _no_tensor(value, target)
    if strict and array.size and target.kind != "complex":
        lossy = (array.dtype.kind in "fc" and target.kind in ("int", "uint", "bool")) or (
            array.dtype.kind == "b" and target.kind != "bool"
        )
        if array.dtype.kind in "iu" and target.is_integer:
            lossy = bool(array.min() < target.min or array.max() > target.max)
        if lossy or (target.kind == "bool" and array.dtype.kind != "b"):
            raise DtypeError(
                f"{_shorten(value)} ({array.dtype.name}) cannot be held by {target.name} "
                "without loss",
                loc=loc.caller(),
                hint="use tf.cast to convert",
            )
    return array.astype(target.np, copy=False)


def _no_tensor(value: object, target: DType) -> DtypeError:
    """What is wrong with a value that is no number, or lists of such."""
    odd = _no_number(value)
    if odd is None:
        text = f"constant: {value!r} cannot be held by {target.name}"
        return DtypeError(text, loc=loc.caller())
    return DtypeError(
        f"constant: {odd!r} cannot be turned into a tensor",
        loc=loc.caller(), hint=getattr(odd, "instead_of_tensor", None),
    )  # fmt: skip


def _no_number(value: object) -> object:
    """The first thing in nested lists that is neither a number nor a text; None without one."""
    if isinstance(value, (list, tuple)):
        return next((odd for v in value if (odd := _no_number(v)) is not None), None)
    plain = isinstance(value, (int, float, complex, str, bytes, np.generic, np.ndarray))
    return None if plain else value


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def _plain(value: Any) -> Any:
    if isinstance(value, Dimension):
        return int(value)
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def constant(
    value: object, dtype: object = None, shape: object = None, name: str = "Const",
    strict: bool = False,
) -> Tensor:  # fmt: skip
    """Add a ``Const`` to the default graph.

    Args:
      value: a number, nested lists, or an array.
      dtype: element type; by default int32, float32, bool or string for Python values.
      shape: sizes to fill; one value is repeated.
      name: name of the operation.
    """
    wanted = None if dtype is None else dtypes.as_dtype(dtype)
    array = to_array(value, wanted, strict)
    if shape is not None:
        sizes = TensorShape(shape).as_list()
        flat = array.ravel()
        n = int(np.prod(sizes))  # type: ignore[arg-type]
        if flat.size > max(n, 1) or (flat.size == 0 and n):
            raise ShapeError(
                f"constant: {flat.size} values do not fit the shape {tuple(sizes)} of {n}",
                loc=loc.caller(),
            )
        full = np.concatenate([flat[:n], np.repeat(flat[-1:], max(n - flat.size, 0))])
        array = full.reshape(sizes)  # type: ignore[arg-type]
    graph = get_default_graph()
    kind = (wanted or dtypes.as_dtype(array.dtype if array.dtype != object else "string")).base
    op = graph.create_operation(
        lookup("Const"), (), {"value": ConstantArray(array), "dtype": kind}, name
    )
    return op.outputs[0]


def convert(
    value: object, dtype: object = None, name: str = "Const", strict: bool = True
) -> Tensor:
    """Turn a tensor, a variable, a value, or a list with tensors in it into a tensor.

    Raises:
      DtypeError: a tensor of another dtype than asked for.
    """
    wanted = None if dtype is None else dtypes.as_dtype(dtype).base
    if hasattr(value, "as_graph_tensor"):
        value = value.as_graph_tensor()
    if isinstance(value, Tensor):
        if wanted is not None and value.dtype.base is not wanted:
            raise DtypeError(
                f"the tensor {value.name!r} is {value.dtype.base.name} "
                f"where {wanted.name} is needed",
                loc=loc.caller(),
                operands=(f"{value.name}: {value.describe()}",),
                hint=f"convert it with tf.cast(x, tf.{wanted.name})",
            )
        return value
    if isinstance(value, Operation):
        raise UsageError(
            f"the operation {value.name!r} gives no tensor to use as a value", loc=loc.caller()
        )
    if hasattr(value, "components"):
        raise UsageError(
            f"{name}: the sparse tensor {getattr(value, 'name', value)!r} stands where a dense one "
            "is needed",
            loc=loc.caller(), hint="use tf.sparse.to_dense(x), or its entries, x.values",
        )  # fmt: skip
    if _contains_tensor(value):
        items = list(value)  # type: ignore[call-overload]
        if wanted is None:
            wanted = next((_dtype_within(v) for v in items if _dtype_within(v) is not None), None)
        with get_default_graph().name_scope(name) as scope:
            parts = [convert(v, wanted, str(i), strict) for i, v in enumerate(items)]
            return lookup("Pack")(parts, axis=0, name=scope)  # type: ignore[no-any-return]
    if isinstance(value, Poly) or value is None:
        raise UsageError(f"{name}: {value!r} cannot be turned into a tensor", loc=loc.caller())
    return constant(value, wanted, name=name, strict=strict and wanted is not None)


def _dtype_within(value: object) -> DType | None:
    if is_tensor_like(value):
        return value.dtype.base  # type: ignore[attr-defined, no-any-return]
    if isinstance(value, (list, tuple)):
        return next((d for d in map(_dtype_within, value) if d is not None), None)
    return None


def _common_dtype(values: Sequence[object]) -> DType | None:
    """The dtype that operands without one of their own take."""
    for v in values:
        if is_tensor_like(v):
            return v.dtype.base  # type: ignore[attr-defined, no-any-return]
    for v in values:
        if _contains_tensor(v):
            return _dtype_within(v)
    arrays = [v for v in values if isinstance(v, (np.ndarray, np.generic))]
    if arrays:
        return dtypes.as_dtype(arrays[0].dtype)
    kinds = [default_dtype(v) for v in values]
    return next((k for k in kinds if k.is_floating), kinds[0] if kinds else None)


def build(op: Op, args: Sequence[Any], kwargs: Mapping[str, Any], name: str | None) -> Any:
    """Apply `op` in the default graph; returns a tensor, a list of tensors, or the operation."""
    operands, attrs = op.bind(args, kwargs)
    graph = get_default_graph()
    tensors = [t for v in operands.values() for t in (v if isinstance(v, (list, tuple)) else (v,))]
    inner = open_builder()
    if inner is not None and not any(is_tensor_like(t) for t in tensors):
        return inner.apply(op, args, kwargs, name)  # a rule made a tensor of sizes alone
    owner = next((t.graph for t in tensors if isinstance(t, Tensor)), graph)
    others = not graph.within(owner) and not owner.within(graph)
    if others and not any(t.graph is graph for t in tensors if isinstance(t, Tensor)):
        graph = owner  # all operands live in one graph that is not the default: build there
        with graph.as_default():
            return _build_in(graph, op, operands, attrs, name)
    return _build_in(graph, op, operands, attrs, name)


def _build_in(
    graph: Graph, op: Op, operands: dict[str, Any], attrs: dict[str, Any], name: str | None
) -> Any:
    own = op.operand_dtypes
    grouped = [
        v
        for o in op.operands
        if not o.startswith("@") and o.lstrip("*") not in own
        for v in (operands[o[1:]] if o.startswith("*") else (operands[o],))
    ]
    ready = all(
        isinstance(v, Tensor)
        for o in op.operands
        for v in (operands[o[1:]] if o.startswith("*") else (operands[o.lstrip("@")],))
    )
    common = _common_dtype(grouped) if grouped else None
    if ready:
        inputs = _inputs(op, operands, common, strict=True)
        return _result(graph.create_operation(op, inputs, _attributes(attrs), name or op.name))
    with graph.name_scope(name or op.name) as scope:
        inputs = _inputs(op, operands, common, strict=True)
        return _result(graph.create_operation(op, inputs, _attributes(attrs), scope))


def _inputs(op: Op, operands: dict[str, Any], common: DType | None, strict: bool) -> list[Tensor]:
    inputs: list[Tensor] = []
    for operand in op.operands:
        key = operand.lstrip("@*")
        value = operands[key]
        if operand.startswith("@"):
            if hasattr(value, "as_graph_tensor"):
                value = value.as_graph_tensor()
            if not isinstance(value, Tensor):
                value = _static_constant(value, key)
            if not value.dtype.is_integer:
                raise DtypeError(
                    f"{op.name}: {key} must be integers, got {value.dtype.base.name}",
                    loc=loc.caller(), operands=(f"{key}: {value.describe()}",),
                )  # fmt: skip
            inputs.append(value)
            continue
        want = op.operand_dtypes.get(key, common)
        items = value if operand.startswith("*") else (value,)
        for i, v in enumerate(items):
            label = f"{key}_{i}" if operand.startswith("*") else key
            if key in op.operand_dtypes and want is None:
                inputs.append(convert(v, None, label, strict))
            else:
                inputs.append(_convert_operand(op, v, want, label, strict, operands))
    return inputs


def _static_constant(value: Any, key: str) -> Tensor:
    if isinstance(value, TensorShape):
        value = value.as_list()
    if isinstance(value, (list, tuple)) and not value:
        return constant(np.zeros(0, np.int32), name=key)
    return convert(value, None, key)


def _convert_operand(
    op: Op, value: Any, want: DType | None, label: str, strict: bool, operands: dict[str, Any]
) -> Tensor:
    if hasattr(value, "as_graph_tensor"):
        value = value.as_graph_tensor()
    if isinstance(value, Tensor) and want is not None and value.dtype.base is not want:
        shown = []
        for k, v in operands.items():
            items = enumerate(v) if isinstance(v, (list, tuple)) else [(None, v)]
            shown += [
                f"{k if i is None else f'{k}[{i}]'}: {x.describe()}"
                for i, x in items if isinstance(x, Tensor)
            ]  # fmt: skip
        raise DtypeError(
            f"{op.name}: dtypes differ, {want.name} and {value.dtype.base.name}",
            loc=loc.caller(),
            operands=shown,
            hint=f"convert one with tf.cast(x, tf.{want.name})",
        )
    return convert(value, want, label, strict)


def _attributes(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _attribute(v) for k, v in attrs.items()}


def _attribute(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_attribute(v) for v in value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return ConstantArray(value)
    if isinstance(value, TensorShape):
        return None if value.ndims is None else tuple(value.as_list())
    return value


def _result(op: Operation) -> Any:
    if not op.outputs:
        return op
    if callable(op.record.results):
        return list(op.outputs)
    return op.outputs[0] if len(op.outputs) == 1 else list(op.outputs)


set_default_builder(build)
