"""The variable that counts training steps."""

from __future__ import annotations

from typing import Any

from staticgraph.api.collections import GraphKeys
from staticgraph.api.framework import init_scope, name_scope
from staticgraph.api.initializers import Zeros
from staticgraph.api.variable_scope import get_variable
from staticgraph.errors import DtypeError, GraphError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.graph import Graph, get_default_graph


def get_global_step(graph: Graph | None = None) -> Any:
    """The global step of a graph, or None.

    Raises:
      ValueError: there are several, or what is there is no integer scalar.
    """
    graph = graph or get_default_graph()
    found = list(dict.fromkeys(graph.get_collection(GraphKeys.GLOBAL_STEP)))
    if len(found) > 1:
        raise GraphError(f"the graph has {len(found)} global steps", loc=loc.caller())
    if found:
        step = found[0]
    else:
        named = [
            v
            for v in graph.get_collection(GraphKeys.GLOBAL_VARIABLES)
            if v.op.name == "global_step"
        ]
        if not named:
            return None
        step = named[0]
    assert_global_step(step)
    return step


def create_global_step(graph: Graph | None = None) -> Any:
    """Make the global step: an int64 scalar that starts at 0.

    Raises:
      ValueError: the graph has one.
    """
    graph = graph or get_default_graph()
    if get_global_step(graph) is not None:
        raise GraphError("the graph has a global step already", loc=loc.caller())
    with graph.as_default(), init_scope(), name_scope(None):
        return get_variable(
            GraphKeys.GLOBAL_STEP,
            shape=[],
            dtype=dtypes.int64,
            initializer=Zeros(),
            trainable=False,
            collections=[GraphKeys.GLOBAL_VARIABLES, GraphKeys.GLOBAL_STEP],
        )


def get_or_create_global_step(graph: Graph | None = None) -> Any:
    """The global step of a graph, made where there is none.

    >>> import staticgraph as tf
    >>> tf.train.get_or_create_global_step()
    <tf.Variable 'global_step:0' shape=() dtype=int64_ref>
    """
    graph = graph or get_default_graph()
    step = get_global_step(graph)
    return create_global_step(graph) if step is None else step


def assert_global_step(global_step_tensor: Any) -> None:
    """Raise unless the argument is an integer scalar."""
    dtype, shape = global_step_tensor.dtype.base, global_step_tensor.shape
    if not dtype.is_integer:
        raise DtypeError(
            f"the global step {global_step_tensor.name!r} must be an integer, it is {dtype.name}",
            loc=loc.caller(),
        )
    if shape.ndims not in (0, None):
        raise GraphError(
            f"the global step {global_step_tensor.name!r} must be a scalar, its shape is {shape}",
            loc=loc.caller(),
        )


def global_step(sess: Any, global_step_tensor: Any) -> int:
    """The number of steps done in session `sess`."""
    return int(sess.run(global_step_tensor))


__all__ = [
    "assert_global_step",
    "create_global_step",
    "get_global_step",
    "get_or_create_global_step",
    "global_step",
]
