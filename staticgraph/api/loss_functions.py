"""Losses of a batch as scalars, collected in the graph (`tf.losses`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.api import losses as cross_entropies
from staticgraph.api.framework import name_scope
from staticgraph.api.reduction import either, reduce_sum, static_size
from staticgraph.errors import GraphError, ShapeError, UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import constant, convert, is_tensor_like
from staticgraph.ir.graph import get_default_graph
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Tensor

LOSSES = "losses"
REGULARIZATION_LOSSES = "regularization_losses"


class Reduction:
    """How the losses of a batch become one number."""

    NONE = "none"
    SUM = "weighted_sum"
    SUM_OVER_BATCH_SIZE = "weighted_sum_over_batch_size"
    MEAN = "weighted_mean"
    SUM_BY_NONZERO_WEIGHTS = "weighted_sum_by_nonzero_weights"
    SUM_OVER_NONZERO_WEIGHTS = SUM_BY_NONZERO_WEIGHTS

    @classmethod
    def all(cls) -> tuple[str, ...]:
        """Every kind."""
        return (
            cls.NONE, cls.SUM, cls.MEAN, cls.SUM_OVER_BATCH_SIZE, cls.SUM_OVER_NONZERO_WEIGHTS,
            cls.SUM_BY_NONZERO_WEIGHTS,
        )  # fmt: skip

    @classmethod
    def validate(cls, key: str) -> None:
        """ValueError where `key` is none of them."""
        if key not in cls.all():
            raise GraphError(f"reduction is one of {cls.all()}, got {key!r}", loc=loc.caller())


# ---------------------------------------------------------------- collected losses
def add_loss(loss: Tensor, loss_collection: str | None = LOSSES) -> None:
    """Add a loss to the graph's collection."""
    if loss_collection:
        get_default_graph().add_to_collection(loss_collection, loss)


def get_losses(scope: str | None = None, loss_collection: str = LOSSES) -> list[Tensor]:
    """The losses collected so far, filtered by a regular expression on names."""
    return get_default_graph().get_collection(loss_collection, scope)


def get_regularization_losses(scope: str | None = None) -> list[Tensor]:
    """The regularisation losses collected so far."""
    return get_default_graph().get_collection(REGULARIZATION_LOSSES, scope)


def get_regularization_loss(
    scope: str | None = None, name: str = "total_regularization_loss"
) -> Tensor:
    """The sum of the regularisation losses; 0 where there are none."""
    found = get_regularization_losses(scope)
    if not found:
        return constant(0.0)
    return lookup("AddN")(found, name=name)  # type: ignore[no-any-return]


def get_total_loss(
    add_regularization_losses: bool = True, name: str = "total_loss", scope: str | None = None
) -> Tensor:
    """The sum of the collected losses, with regularisation by default.

    Raises:
      ValueError: nothing has been collected.
    """
    found = get_losses(scope)
    if add_regularization_losses:
        found = found + get_regularization_losses(scope)
    if not found:
        raise GraphError("there are no losses in the graph to add up", loc=loc.caller())
    return lookup("AddN")(found, name=name)  # type: ignore[no-any-return]


# ---------------------------------------------------------------- weights
def _check_weights(weights: Tensor, values: Tensor) -> None:
    """Weights are one number, or have the rank of the losses and size 1 or theirs on each axis."""
    w, v = weights.type.shape, values.type.shape
    if w is None or v is None or not w:
        return
    fits = len(w) == len(v) and all(
        a == 1 or a == b or not isinstance(a, int) or not isinstance(b, int)
        for a, b in zip(w, v, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"the weights {weights.shape} do not broadcast to the losses {values.shape}",
            loc=loc.caller(),
        )


def _safe_mean(total: Tensor, count: Any) -> Tensor:
    """``total / count``, and 0 where the count is 0."""
    return lookup("DivNoNan")(total, count, name="value")  # type: ignore[no-any-return]


def _num_present(values: Tensor, weights: Tensor) -> Tensor:
    """How many losses have a weight that is not zero."""
    with name_scope(None, "num_present"):
        one, zero = lookup("OnesLike")(weights), lookup("ZerosLike")(weights)
        present = lookup("Select")(lookup("Equal")(weights, 0.0), zero, one)
        return reduce_sum(present * lookup("OnesLike")(values))


def compute_weighted_loss(
    losses: Any, weights: Any = 1.0, scope: str | None = None, loss_collection: str | None = LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:  # fmt: skip
    """Weigh losses, reduce them to one number, and collect it.

    Args:
      losses: one number for each element of a batch.
      weights: one number, or numbers that broadcast to `losses` and have their rank.
      loss_collection: where to add the result; None for nowhere.
      reduction: a kind of `Reduction`; by default the sum over the number of non-zero weights.

    Raises:
      ValueError: the weights do not fit, or `reduction` is not known.
    """
    Reduction.validate(reduction)
    with name_scope(scope, "weighted_loss", [losses, weights]):
        losses = convert(losses, name="losses")
        kind = losses.dtype.base
        wide = (
            lookup("Cast")(losses, DstT=dtypes.float32)
            if kind is not dtypes.float64 and kind is not dtypes.float32
            else losses
        )
        weights = (
            convert(weights, name="weights")
            if is_tensor_like(weights)
            else convert(weights, wide.dtype.base, "weights")
        )
        if weights.dtype.base is not wide.dtype.base:
            weights = lookup("Cast")(weights, DstT=wide.dtype.base)
        _check_weights(weights, wide)
        loss = lookup("Mul")(wide, weights)
        if reduction != Reduction.NONE:
            loss = _reduced(loss, wide, weights, reduction)
        if loss.dtype.base is not kind:
            loss = lookup("Cast")(loss, DstT=kind)
        add_loss(loss, loss_collection)
        return loss  # type: ignore[no-any-return]


def _reduced(loss: Tensor, losses: Tensor, weights: Tensor, reduction: str) -> Tensor:
    total = reduce_sum(loss)
    if reduction == Reduction.MEAN:
        return _safe_mean(total, reduce_sum(lookup("OnesLike")(losses) * weights))
    if reduction == Reduction.SUM_BY_NONZERO_WEIGHTS:
        return _safe_mean(total, _num_present(losses, weights))
    if reduction == Reduction.SUM_OVER_BATCH_SIZE:
        n = static_size(losses)
        count = lookup("Size")(losses) if n is None else constant(np.int32(n))
        return _safe_mean(total, lookup("Cast")(count, DstT=total.dtype.base))
    return total


def _pair(function: str, labels: Any, predictions: Any) -> tuple[Tensor, Tensor]:
    """Labels and predictions as floats of one shape."""
    if labels is None or predictions is None:
        raise GraphError(f"{function}: give labels and predictions", loc=loc.caller())
    predictions, labels = convert(predictions, name="predictions"), convert(labels, name="labels")
    predictions, labels = (
        t if t.dtype.is_floating else lookup("Cast")(t, DstT=dtypes.float32)
        for t in (predictions, labels)
    )
    if labels.dtype.base is not predictions.dtype.base:
        labels = lookup("Cast")(labels, DstT=predictions.dtype.base)
    if not predictions.shape.is_compatible_with(labels.shape):
        raise ShapeError(
            f"{function}: predictions and labels have one shape, got {predictions.shape} "
            f"and {labels.shape}",
            loc=loc.caller(),
        )
    return labels, predictions


# ---------------------------------------------------------------- losses
_DEFAULT = Reduction.SUM_BY_NONZERO_WEIGHTS


def absolute_difference(
    labels: Any, predictions: Any, weights: Any = 1.0, scope: str | None = None,
    loss_collection: str | None = LOSSES, reduction: str = _DEFAULT,
) -> Tensor:  # fmt: skip
    """``abs(predictions - labels)``, weighted and reduced by `compute_weighted_loss`."""
    with name_scope(scope, "absolute_difference", [predictions, labels, weights]) as inner:
        labels, predictions = _pair("absolute_difference", labels, predictions)
        values = lookup("Abs")(lookup("Sub")(predictions, labels))
        return compute_weighted_loss(values, weights, inner, loss_collection, reduction)


def mean_squared_error(
    labels: Any, predictions: Any, weights: Any = 1.0, scope: str | None = None,
    loss_collection: str | None = LOSSES, reduction: str = _DEFAULT,
) -> Tensor:  # fmt: skip
    """``(predictions - labels)**2``, weighted and reduced by `compute_weighted_loss`.

    >>> import staticgraph as tf
    >>> tf.losses.mean_squared_error(tf.ones([3]), tf.zeros([3])).shape
    TensorShape([])
    """
    with name_scope(scope, "mean_squared_error", [predictions, labels, weights]) as inner:
        labels, predictions = _pair("mean_squared_error", labels, predictions)
        values = lookup("SquaredDifference")(predictions, labels)
        return compute_weighted_loss(values, weights, inner, loss_collection, reduction)


def huber_loss(
    labels: Any, predictions: Any, weights: Any = 1.0, delta: float = 1.0, scope: str | None = None,
    loss_collection: str | None = LOSSES, reduction: str = _DEFAULT,
) -> Tensor:  # fmt: skip
    """Half the squared error up to `delta`, and from there on linear."""
    with name_scope(scope, "huber_loss", [predictions, labels, weights]) as inner:
        labels, predictions = _pair("huber_loss", labels, predictions)
        error = lookup("Abs")(lookup("Sub")(predictions, labels))
        quadratic = lookup("Minimum")(error, delta)
        linear = error - quadratic
        values = 0.5 * (quadratic * quadratic) + delta * linear
        return compute_weighted_loss(values, weights, inner, loss_collection, reduction)


def log_loss(
    labels: Any, predictions: Any, weights: Any = 1.0, epsilon: float = 1e-7,
    scope: str | None = None, loss_collection: str | None = LOSSES, reduction: str = _DEFAULT,
) -> Tensor:  # fmt: skip
    """The cross entropy of probabilities; `epsilon` keeps the logarithms finite."""
    with name_scope(scope, "log_loss", [predictions, labels, weights]) as inner:
        labels, predictions = _pair("log_loss", labels, predictions)
        log = lookup("Log")
        values = -(labels * log(predictions + epsilon)) - (1 - labels) * log(
            1 - predictions + epsilon
        )
        return compute_weighted_loss(values, weights, inner, loss_collection, reduction)


def hinge_loss(
    labels: Any, logits: Any, weights: Any = 1.0, scope: str | None = None,
    loss_collection: str | None = LOSSES, reduction: str = _DEFAULT,
) -> Tensor:  # fmt: skip
    """``max(0, 1 - logits * z)`` with z = -1 or 1 for labels 0 or 1."""
    with name_scope(scope, "hinge_loss", [logits, labels, weights]) as inner:
        labels, logits = _pair("hinge_loss", labels, logits)
        signs = 2.0 * labels - lookup("OnesLike")(labels)
        values = lookup("Relu")(1.0 - signs * logits)
        return compute_weighted_loss(values, weights, inner, loss_collection, reduction)


def cosine_distance(
    labels: Any, predictions: Any, axis: Any = None, weights: Any = 1.0, scope: str | None = None,
    loss_collection: str | None = LOSSES, reduction: str = _DEFAULT, dim: Any = None,
) -> Tensor:  # fmt: skip
    """``1 - sum(labels * predictions)`` over `axis`, for vectors of length 1."""
    axis = either("axis", axis, "dim", dim)
    if axis is None:
        raise GraphError("cosine_distance: give the axis", loc=loc.caller())
    with name_scope(scope, "cosine_distance_loss", [predictions, labels, weights]) as inner:
        labels, predictions = _pair("cosine_distance", labels, predictions)
        values = 1 - reduce_sum(predictions * labels, axis=(axis,), keepdims=True)
        return compute_weighted_loss(values, weights, inner, loss_collection, reduction)


def sigmoid_cross_entropy(
    multi_class_labels: Any, logits: Any, weights: Any = 1.0, label_smoothing: float = 0,
    scope: str | None = None, loss_collection: str | None = LOSSES, reduction: str = _DEFAULT,
) -> Tensor:  # fmt: skip
    """`tf.nn.sigmoid_cross_entropy_with_logits`, weighted and reduced.

    Args:
      label_smoothing: how far to move labels towards 1/2.
    """
    with name_scope(
        scope, "sigmoid_cross_entropy_loss", [logits, multi_class_labels, weights]
    ) as inner:
        labels, logits = _pair("sigmoid_cross_entropy", multi_class_labels, logits)
        if label_smoothing > 0:
            labels = labels * (1 - label_smoothing) + 0.5 * label_smoothing
        values = cross_entropies.sigmoid_cross_entropy_with_logits(
            labels=labels, logits=logits, name="xentropy"
        )
        return compute_weighted_loss(values, weights, inner, loss_collection, reduction)


def softmax_cross_entropy(
    onehot_labels: Any, logits: Any, weights: Any = 1.0, label_smoothing: float = 0,
    scope: str | None = None, loss_collection: str | None = LOSSES, reduction: str = _DEFAULT,
) -> Tensor:  # fmt: skip
    """`tf.nn.softmax_cross_entropy_with_logits`, weighted and reduced.

    Args:
      label_smoothing: how much of each label to spread over all classes.
    """
    with name_scope(scope, "softmax_cross_entropy_loss", [logits, onehot_labels, weights]) as inner:
        labels, logits = _pair("softmax_cross_entropy", onehot_labels, logits)
        if label_smoothing > 0:
            classes = labels.shape.as_list()[1]
            if classes is None:
                raise UsageError("label_smoothing needs the number of classes", loc=loc.caller())
            labels = labels * (1.0 - label_smoothing) + label_smoothing / classes
        labels = lookup("StopGradient")(labels, name="labels_stop_gradient")
        values = cross_entropies.softmax_cross_entropy_with_logits_v2(
            labels, logits, name="xentropy"
        )
        return compute_weighted_loss(values, weights, inner, loss_collection, reduction)


def sparse_softmax_cross_entropy(
    labels: Any, logits: Any, weights: Any = 1.0, scope: str | None = None,
    loss_collection: str | None = LOSSES, reduction: str = _DEFAULT,
) -> Tensor:  # fmt: skip
    """`tf.nn.sparse_softmax_cross_entropy_with_logits`, weighted and reduced.

    A last axis of size 1 that the labels or the weights have beside the losses is dropped.
    """
    with name_scope(scope, "sparse_softmax_cross_entropy_loss", [logits, labels, weights]) as inner:
        labels, logits = convert(labels, name="labels"), convert(logits, name="logits")
        if labels.type.shape is not None and logits.type.shape is not None:
            labels = _without_last(labels, len(logits.type.shape) - 1)
            if is_tensor_like(weights):
                weights = _without_last(convert(weights), len(logits.type.shape) - 1)
        values = cross_entropies.sparse_softmax_cross_entropy_with_logits(
            labels=labels, logits=logits, name="xentropy"
        )
        return compute_weighted_loss(values, weights, inner, loss_collection, reduction)


def _without_last(x: Tensor, rank: int) -> Tensor:
    shape = x.type.shape
    if shape is None or len(shape) != rank + 1 or shape[-1] != 1:
        return x
    return lookup("Squeeze")(x, squeeze_dims=(rank,))  # type: ignore[no-any-return]


__all__ = [
    "Reduction", "absolute_difference", "add_loss", "compute_weighted_loss", "cosine_distance",
    "get_losses", "get_regularization_loss", "get_regularization_losses", "get_total_loss",
    "hinge_loss", "huber_loss", "log_loss", "mean_squared_error", "sigmoid_cross_entropy",
    "softmax_cross_entropy", "sparse_softmax_cross_entropy",
]  # fmt: skip
