"""Making and finding the variables that `get_variable` shares."""

from __future__ import annotations

import enum
from functools import partial
from typing import Any

from staticgraph.api import initializers
from staticgraph.api.collections import GraphKeys
from staticgraph.api.framework import init_scope, name_scope
from staticgraph.api.variables import Variable
from staticgraph.errors import DtypeError, GraphError, ShapeError, UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.dtypes import DType
from staticgraph.ir.graph import get_default_graph
from staticgraph.ir.tensor_shape import TensorShape


class _ReuseMode(enum.Enum):
    """The third answer to "reuse?": take the variable if it is there, make it if not."""

    AUTO_REUSE = 1

    def __repr__(self) -> str:
        return "tf.AUTO_REUSE"


AUTO_REUSE = _ReuseMode.AUTO_REUSE
Reuse = bool | _ReuseMode | None


class VariableAggregation(enum.Enum):
    """How replicas' updates combine; accepted and kept."""

    NONE = 0
    SUM = 1
    MEAN = 2
    ONLY_FIRST_REPLICA = 3


class VariableSynchronization(enum.Enum):
    """When replicas' values are made equal; accepted and kept."""

    AUTO = 0
    NONE = 1
    ON_WRITE = 2
    ON_READ = 3


def get_single(
    variables: dict[str, Variable],
    name: str,
    shape: Any = None,
    dtype: Any = dtypes.float32,
    initializer: Any = None,
    regularizer: Any = None,
    reuse: Reuse = None,
    trainable: bool | None = None,
    collections: Any = None,
    validate_shape: bool = True,
    constraint: Any = None,
    **_: Any,
) -> Variable:
    """Make the variable `name` or find it; what a custom getter's ``getter`` is."""
    from_value = initializer is not None and not callable(initializer)
    if shape is not None and from_value:
        raise ShapeError(
            f"get_variable: the initializer of {name!r} is a value, so a shape must not be given",
            loc=loc.caller(),
        )
    sizes = TensorShape(shape)
    dtype = dtypes.as_dtype(dtype).base
    key = name.rstrip("/")
    found = variables.get(key)
    if found is not None:
        return _shared(found, key, sizes, dtype, reuse)
    if reuse is True:
        raise GraphError(
            f"Variable {key} does not exist, or was not created with tf.get_variable(). Did you "
            "mean to set reuse=tf.AUTO_REUSE in VarScope?",
            loc=loc.caller(),
        )
    v = Variable(
        initializer if from_value else _starter(initializer, key, sizes, dtype),
        trainable=trainable,
        collections=collections,
        validate_shape=validate_shape,
        name=name,
        dtype=None if from_value else dtype,
        constraint=constraint,
    )
    variables[key] = v
    if regularizer is not None:
        with init_scope(), name_scope(f"{key}/Regularizer/"):
            penalty = regularizer(v)
        if penalty is not None:
            get_default_graph().add_to_collection(GraphKeys.REGULARIZATION_LOSSES, penalty)
    return v


def _shared(found: Variable, key: str, sizes: TensorShape, dtype: DType, reuse: Reuse) -> Variable:
    """`found`, unless sharing is not allowed or it is not what is asked for."""
    if not reuse:
        raise GraphError(
            f"Variable {key} already exists, disallowed. Did you mean to set reuse=True or "
            f"reuse=tf.AUTO_REUSE in VarScope? Originally defined at: {found.loc.excerpt()}",
            loc=loc.caller(),
        )
    if not sizes.is_compatible_with(found.shape):
        raise ShapeError(
            f"Trying to share variable {key}, but specified shape {sizes} and found shape "
            f"{found.shape}.",
            loc=loc.caller(),
            operands=[f"{key}: {found.describe()}"],
        )
    if dtype is not found.dtype.base:
        raise DtypeError(
            f"Trying to share variable {key}, but specified dtype {dtype.name} and found dtype "
            f"{found.dtype.base.name}.",
            loc=loc.caller(),
            operands=[f"{key}: {found.describe()}"],
        )
    return found


def _starter(initializer: Any, key: str, sizes: TensorShape, dtype: DType) -> Any:
    """A function without arguments that builds the first value."""
    if initializer is None:
        initializer = _default_initializer(key, dtype)
    elif isinstance(initializer, type):
        initializer = initializer()
    if _takes_no_arguments(initializer):
        return initializer
    if not sizes.is_fully_defined():
        raise ShapeError(
            f"Shape of a new variable ({key}) must be fully defined, but instead was {sizes}.",
            loc=loc.caller(),
        )
    return partial(_initialize, initializer, [int(d) for d in sizes], dtype)


def _takes_no_arguments(initializer: Any) -> bool:
    code = getattr(initializer, "__code__", None)
    return code is not None and code.co_argcount == 0 and not code.co_flags & 0x0C


def _initialize(initializer: Any, shape: list[int], dtype: DType) -> Any:
    try:
        return initializer(shape, dtype=dtype, partition_info=None)
    except TypeError as e:
        if "partition_info" not in str(e):
            raise
    return initializer(shape, dtype=dtype)


def _default_initializer(name: str, dtype: DType) -> Any:
    if dtype.is_floating:
        return initializers.GlorotUniform()
    if dtype.is_integer or dtype.is_bool or dtype is dtypes.string:
        return initializers.Zeros()
    raise UsageError(
        f"an initializer for variable {name} of {dtype.name} is required", loc=loc.caller()
    )
