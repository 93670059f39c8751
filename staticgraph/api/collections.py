"""Collections: lists of things by name that belong to a graph."""

from __future__ import annotations

from typing import Any, Final

from staticgraph.ir.graph import get_default_graph


class GraphKeys:
    """Names of the collections that the library itself reads or fills."""

    GLOBAL_VARIABLES: Final = "variables"
    VARIABLES: Final = "variables"
    LOCAL_VARIABLES: Final = "local_variables"
    METRIC_VARIABLES: Final = "metric_variables"
    MODEL_VARIABLES: Final = "model_variables"
    TRAINABLE_VARIABLES: Final = "trainable_variables"
    TRAINABLE_RESOURCE_VARIABLES: Final = "trainable_resource_variables"
    MOVING_AVERAGE_VARIABLES: Final = "moving_average_variables"
    SUMMARIES: Final = "summaries"
    _SUMMARY_COLLECTION: Final = "_SUMMARY_V2"
    QUEUE_RUNNERS: Final = "queue_runners"
    TABLE_INITIALIZERS: Final = "table_initializer"
    ASSET_FILEPATHS: Final = "asset_filepaths"
    REGULARIZATION_LOSSES: Final = "regularization_losses"
    LOSSES: Final = "losses"
    ACTIVATIONS: Final = "activations"
    CONCATENATED_VARIABLES: Final = "concatenated_variables"
    SAVERS: Final = "savers"
    SAVEABLE_OBJECTS: Final = "saveable_objects"
    WEIGHTS: Final = "weights"
    BIASES: Final = "biases"
    UPDATE_OPS: Final = "update_ops"
    INIT_OP: Final = "init_op"
    LOCAL_INIT_OP: Final = "local_init_op"
    READY_OP: Final = "ready_op"
    READY_FOR_LOCAL_INIT_OP: Final = "ready_for_local_init_op"
    SUMMARY_OP: Final = "summary_op"
    GLOBAL_STEP: Final = "global_step"
    GLOBAL_STEP_READ_KEY: Final = "global_step_read_op_cache"
    EVAL_STEP: Final = "eval_step"
    TRAIN_OP: Final = "train_op"
    COND_CONTEXT: Final = "cond_context"
    WHILE_CONTEXT: Final = "while_context"
    RESOURCES: Final = "resources"
    LOCAL_RESOURCES: Final = "local_resources"


def add_to_collection(name: Any, value: Any) -> None:
    """Append `value` to a collection of the default graph.

    >>> import staticgraph as tf
    >>> tf.add_to_collection("mine", 3)
    >>> tf.get_collection("mine")
    [3]
    """
    get_default_graph().add_to_collection(name, value)


def add_to_collections(names: Any, value: Any) -> None:
    """Append `value` to each of the collections `names` of the default graph, once each."""
    get_default_graph().add_to_collections(names, value)


def get_collection(key: Any, scope: str | None = None) -> list[Any]:
    """A copy of a collection of the default graph.

    Args:
      scope: a regular expression that names have to match at their beginning.
    """
    return get_default_graph().get_collection(key, scope)


def get_collection_ref(key: Any) -> list[Any]:
    """The collection itself: changes to the list are kept."""
    return get_default_graph().get_collection_ref(key)


__all__ = [
    "GraphKeys",
    "add_to_collection",
    "add_to_collections",
    "get_collection",
    "get_collection_ref",
]
