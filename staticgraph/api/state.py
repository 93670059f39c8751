"""Functions on variables: writes, lists of variables, and their initialisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgraph.api.collections import GraphKeys
from staticgraph.api.effects import Assert
from staticgraph.api.framework import group, name_scope, no_op
from staticgraph.api.gather import boolean_mask
from staticgraph.errors import UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.graph import Operation, Tensor, get_default_graph
from staticgraph.ir.op import lookup
from staticgraph.ir.types import ConstantArray


def _reference(ref: Any) -> Tensor:
    if hasattr(ref, "as_graph_element"):
        ref = ref.as_graph_element()
    if not isinstance(ref, Tensor) or not ref.dtype.is_ref:
        raise UsageError(
            f"only a variable can be written to, {getattr(ref, 'name', ref)!r} is not one",
            loc=loc.caller(),
        )
    return ref


# ---------------------------------------------------------------- writes
def assign(
    ref: Any,
    value: Any,
    validate_shape: bool | None = None,
    use_locking: bool | None = None,
    name: str | None = None,
) -> Tensor:
    """Write `value` into a variable.

    Args:
      ref: a variable.
      value: a tensor of its dtype and shape.
      validate_shape: False allows another shape.

    Returns:
      The value just after the write.

    Raises:
      ValueError, TypeError: shape or dtype differ.

    >>> import staticgraph as tf
    >>> tf.assign(tf.Variable([1.0, 2.0]), [3.0, 4.0])
    <tf.Tensor 'Assign:0' shape=(2,) dtype=float32_ref>
    """
    target = _reference(ref)
    check = target.type.shape is not None if validate_shape is None else validate_shape
    return lookup("Assign")(  # type: ignore[no-any-return]
        target,
        value,
        validate_shape=check,
        use_locking=True if use_locking is None else use_locking,
        name=name,
    )


def assign_add(
    ref: Any, value: Any, use_locking: bool | None = None, name: str | None = None
) -> Tensor:
    """Add `value` to a variable; the result is the value just after."""
    return lookup("AssignAdd")(_reference(ref), value, use_locking=bool(use_locking), name=name)  # type: ignore[no-any-return]


def assign_sub(
    ref: Any, value: Any, use_locking: bool | None = None, name: str | None = None
) -> Tensor:
    """Subtract `value` from a variable; the result is the value just after."""
    return lookup("AssignSub")(_reference(ref), value, use_locking=bool(use_locking), name=name)  # type: ignore[no-any-return]


def _scatter(
    op: str, ref: Any, indices: Any, updates: Any, use_locking: bool, name: str | None
) -> Tensor:
    return lookup(op)(_reference(ref), indices, updates, use_locking=use_locking, name=name)  # type: ignore[no-any-return]


def scatter_update(
    ref: Any, indices: Any, updates: Any, use_locking: bool = True, name: str | None = None
) -> Tensor:
    """Put `updates` into the rows `indices` of a variable.

    Args:
      indices: int32 or int64, of any shape; each must be in [0, number of rows).
      updates: shape of `indices` followed by the shape of a row, or a scalar.

    Returns:
      The whole value just after.
    """
    return _scatter("ScatterUpdate", ref, indices, updates, use_locking, name)


def scatter_add(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Tensor:
    """Add `updates` to the rows `indices` of a variable; repeated rows add up."""
    return _scatter("ScatterAdd", ref, indices, updates, use_locking, name)


def scatter_sub(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Tensor:
    """Subtract `updates` from the rows `indices` of a variable."""
    return _scatter("ScatterSub", ref, indices, updates, use_locking, name)


def scatter_mul(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Tensor:
    """Multiply the rows `indices` of a variable by `updates`."""
    return _scatter("ScatterMul", ref, indices, updates, use_locking, name)


def scatter_div(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Tensor:
    """Divide the rows `indices` of a variable by `updates`."""
    return _scatter("ScatterDiv", ref, indices, updates, use_locking, name)


def scatter_min(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Tensor:
    """Take the minimum of the rows `indices` of a variable and `updates`."""
    return _scatter("ScatterMin", ref, indices, updates, use_locking, name)


def scatter_max(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Tensor:
    """Take the maximum of the rows `indices` of a variable and `updates`."""
    return _scatter("ScatterMax", ref, indices, updates, use_locking, name)


def scatter_nd_update(
    ref: Any, indices: Any, updates: Any, use_locking: bool = True, name: str | None = None
) -> Tensor:
    """Put `updates` into the places of a variable whose coordinates are in `indices`."""
    return _scatter("ScatterNdUpdate", ref, indices, updates, use_locking, name)


def scatter_nd_add(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Tensor:
    """Add `updates` to the places of a variable whose coordinates are in `indices`."""
    return _scatter("ScatterNdAdd", ref, indices, updates, use_locking, name)


def scatter_nd_sub(
    ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None
) -> Tensor:
    """Subtract `updates` from the places of a variable whose coordinates are in `indices`."""
    return _scatter("ScatterNdSub", ref, indices, updates, use_locking, name)


# ---------------------------------------------------------------- lists
def global_variables(scope: str | None = None) -> list[Any]:
    """The variables of the default graph that are saved and shared."""
    return get_default_graph().get_collection(GraphKeys.GLOBAL_VARIABLES, scope)


all_variables = global_variables


def trainable_variables(scope: str | None = None) -> list[Any]:
    """The variables that optimizers change by default."""
    return get_default_graph().get_collection(GraphKeys.TRAINABLE_VARIABLES, scope)


def local_variables(scope: str | None = None) -> list[Any]:
    """The variables that are neither saved nor shared: counters of metrics and the like."""
    return get_default_graph().get_collection(GraphKeys.LOCAL_VARIABLES, scope)


def model_variables(scope: str | None = None) -> list[Any]:
    """The variables that belong to a model."""
    return get_default_graph().get_collection(GraphKeys.MODEL_VARIABLES, scope)


def moving_average_variables(scope: str | None = None) -> list[Any]:
    """The variables that have a moving average."""
    return get_default_graph().get_collection(GraphKeys.MOVING_AVERAGE_VARIABLES, scope)


# ---------------------------------------------------------------- initialisation
def variables_initializer(var_list: Sequence[Any] | None, name: str = "init") -> Operation:
    """An operation that gives each variable of `var_list` its initial value."""
    if var_list:
        return group(*[v.initializer for v in var_list], name=name)
    return group(name=name)


def global_variables_initializer() -> Operation:
    """An operation that initializes the global variables.

    >>> import staticgraph as tf
    >>> v = tf.Variable(3.0)
    >>> with tf.Session() as sess:
    ...     sess.run(tf.global_variables_initializer())
    ...     print(sess.run(v))
    3.0
    """
    return variables_initializer(global_variables())


def local_variables_initializer() -> Operation:
    """An operation that initializes the local variables."""
    return variables_initializer(local_variables())


def initialize_variables(var_list: Sequence[Any], name: str = "init") -> Operation:
    """The older name of `variables_initializer`."""
    return variables_initializer(var_list, name)


def tables_initializer(name: str = "init_all_tables") -> Operation:
    """An operation that initializes lookup tables, of which there are none."""
    return no_op(name=name)


initialize_all_variables = global_variables_initializer
initialize_local_variables = local_variables_initializer


def is_variable_initialized(ref: Any, name: str | None = None) -> Tensor:
    """True where the variable held a value when the run started."""
    return lookup("IsVariableInitialized")(_reference(ref), name=name)  # type: ignore[no-any-return]


def report_uninitialized_variables(
    var_list: Sequence[Any] | None = None, name: str = "report_uninitialized_variables"
) -> Tensor:
    """The names of the variables that held no value when the run started, as strings."""
    variables = [*global_variables(), *local_variables()] if var_list is None else list(var_list)
    with name_scope(name):
        if not variables:
            return lookup("Const")(  # type: ignore[no-any-return]
                value=_texts([]), dtype=dtypes.string, name="Const"
            )
        held = lookup("Pack")([is_variable_initialized(v) for v in variables], axis=0)
        names = lookup("Const")(value=_texts([v.op.name for v in variables]), dtype=dtypes.string)
        return boolean_mask(names, lookup("LogicalNot")(held))


def _texts(names: list[str]) -> Any:
    return ConstantArray(dtypes.texts(names))


def assert_variables_initialized(var_list: Sequence[Any] | None = None) -> Operation | None:
    """An operation that fails unless all variables hold a value."""
    variables = [*global_variables(), *local_variables()] if var_list is None else list(var_list)
    if not variables:
        return None
    with name_scope("assert_variables_initialized"):
        return group(
            *[
                Assert(is_variable_initialized(v), [f"{v.op.name} holds no value"])
                for v in variables
            ]
        )


__all__ = [
    "all_variables",
    "assert_variables_initialized",
    "assign",
    "assign_add",
    "assign_sub",
    "global_variables",
    "global_variables_initializer",
    "initialize_all_variables",
    "initialize_local_variables",
    "initialize_variables",
    "is_variable_initialized",
    "local_variables",
    "local_variables_initializer",
    "model_variables",
    "moving_average_variables",
    "report_uninitialized_variables",
    "scatter_add",
    "scatter_div",
    "scatter_max",
    "scatter_min",
    "scatter_mul",
    "scatter_nd_add",
    "scatter_nd_sub",
    "scatter_nd_update",
    "scatter_sub",
    "scatter_update",
    "tables_initializer",
    "trainable_variables",
    "variables_initializer",
]
