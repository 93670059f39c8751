"""`tf.contrib.framework`: variables and the global step."""

from __future__ import annotations

from typing import Any

from staticgraph import nest
from staticgraph.api.collections import GraphKeys
from staticgraph.api.state import global_variables, local_variables, model_variables
from staticgraph.api.variable_scope import get_variable
from staticgraph.api.variables import Variable
from staticgraph.ir.graph import get_default_graph
from staticgraph.train.global_step import (
    assert_global_step,
    create_global_step,
    get_global_step,
    get_or_create_global_step,
)


def get_variables(
    scope: Any = None, suffix: str | None = None, collection: Any = GraphKeys.GLOBAL_VARIABLES
) -> list[Any]:
    """The variables of a collection in a scope, or with names that end in `suffix`."""
    name = getattr(scope, "name", scope)
    found = get_default_graph().get_collection(collection, name)
    return found if suffix is None else [v for v in found if v.op.name.endswith(suffix)]


def get_trainable_variables(scope: Any = None, suffix: str | None = None) -> list[Any]:
    """The trainable variables in a scope."""
    return get_variables(scope, suffix, GraphKeys.TRAINABLE_VARIABLES)


def model_variable(name: str, *args: Any, **kwargs: Any) -> Variable:
    """`get_variable` for a variable that belongs to the model."""
    extra = [GraphKeys.GLOBAL_VARIABLES, GraphKeys.MODEL_VARIABLES]
    kwargs["collections"] = list(dict.fromkeys([*(kwargs.get("collections") or ()), *extra]))
    return get_variable(name, *args, **kwargs)


variable = get_variable
get_model_variables = model_variables
get_local_variables = local_variables

__all__ = [
    "assert_global_step", "create_global_step", "get_global_step", "get_local_variables",
    "get_model_variables", "get_or_create_global_step", "get_trainable_variables", "get_variables",
    "global_variables", "model_variable", "nest", "variable",
]  # fmt: skip
