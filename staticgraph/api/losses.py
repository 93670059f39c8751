"""Softmax and cross entropies of logits."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.api.framework import name_scope
from staticgraph.api.reduction import either, shape_of
from staticgraph.errors import ShapeError, UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import convert
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Tensor


# ---------------------------------------------------------------- softmax
def _along(op: str, logits: Any, axis: Any, name: str | None) -> Tensor:
    x = convert(logits, name="logits")
    if not isinstance(axis, (int, np.integer)):
        raise UsageError(f"the axis of {op} is an int, got {axis!r}", loc=loc.caller())
    rank = None if x.type.shape is None else len(x.type.shape)
    if axis == -1 or (rank is not None and axis == rank - 1):
        return lookup(op)(x, name=name)  # type: ignore[no-any-return]
    if rank is None:
        raise UsageError(
            f"{op}: the rank of {x.name!r} is not known; use axis=-1", loc=loc.caller()
        )
    if not -rank <= axis < rank:
        raise ShapeError(f"{op}: axis {axis} is outside a tensor of rank {rank}", loc=loc.caller())
    swap = list(range(rank))
    swap[axis], swap[-1] = swap[-1], swap[axis]
    with name_scope(name, op, [x]) as scope:
        moved = lookup(op)(lookup("Transpose")(x, swap, name="transpose"))
        return lookup("Transpose")(moved, swap, name=scope)  # type: ignore[no-any-return]


def softmax(logits: Any, axis: Any = None, name: str | None = None, dim: Any = None) -> Tensor:
    """``exp(x) / sum(exp(x))`` along `axis`, the last by default; `dim` is its older name.

    >>> import staticgraph as tf
    >>> tf.nn.softmax(tf.ones([2, 3]))
    <tf.Tensor 'Softmax:0' shape=(2, 3) dtype=float32>
    """
    return _along("Softmax", logits, either("axis", axis, "dim", dim, -1), name)


def log_softmax(logits: Any, axis: Any = None, name: str | None = None, dim: Any = None) -> Tensor:
    """``x - log(sum(exp(x)))`` along `axis`, the last by default; `dim` is its older name."""
    return _along("LogSoftmax", logits, either("axis", axis, "dim", dim, -1), name)


# ---------------------------------------------------------------- cross entropies
def _named(function: str, sentinel: Any, labels: Any, logits: Any) -> None:
    if sentinel is not None or labels is None or logits is None:
        raise UsageError(
            f"{function}: give the labels and the logits by name", loc=loc.caller(),
            hint=f"{function}(labels=..., logits=...)",
        )  # fmt: skip


def _cross_entropy(labels: Any, logits: Any, axis: int, name: str | None) -> Tensor:
    with name_scope(name, "softmax_cross_entropy_with_logits", [logits, labels]) as scope:
        logits = convert(logits, name="logits")
        labels = convert(labels, logits.dtype.base, name="labels")
        kind = logits.dtype.base
        if kind is dtypes.float16:  # summed in single precision
            logits, labels = (lookup("Cast")(t, DstT=dtypes.float32) for t in (logits, labels))
        rank = None if logits.type.shape is None else len(logits.type.shape)
        if rank == 2 and axis in (-1, 1):
            loss = lookup("SoftmaxCrossEntropyWithLogits")(logits, labels, name=scope)[0]
        else:
            loss = _flattened(labels, logits, axis, rank)
        return lookup("Cast")(loss, DstT=kind) if kind is dtypes.float16 else loss  # type: ignore[no-any-return]


def _flattened(labels: Tensor, logits: Tensor, axis: int, rank: int | None) -> Any:
    if rank is not None and not -rank <= axis < rank:
        raise ShapeError(f"axis {axis} is outside logits of rank {rank}", loc=loc.caller())
    if axis != -1 and rank is None:
        raise UsageError(f"the rank of {logits.name!r} is not known; use axis=-1", loc=loc.caller())
    if rank is not None and axis % rank != rank - 1:
        order = [i for i in range(rank) if i != axis % rank] + [axis % rank]
        logits, labels = (lookup("Transpose")(t, order) for t in (logits, labels))
    shape = shape_of(logits)
    width = shape[-1]
    rows = lookup("Pack")([-1, width], axis=0)
    if rank is not None and logits.shape.as_list()[-1] is not None:
        rows = [-1, logits.shape.as_list()[-1]]
    flat = [lookup("Reshape")(t, rows) for t in (logits, labels)]
    loss = lookup("SoftmaxCrossEntropyWithLogits")(*flat)[0]
    out = lookup("Reshape")(loss, shape[:-1])
    if rank is not None:
        out.set_shape(logits.shape[:-1])
    return out


def softmax_cross_entropy_with_logits_v2(
    labels: Any, logits: Any, axis: Any = None, name: str | None = None, dim: Any = None
) -> Tensor:
    """Cross entropy of softmax(logits) against rows of probabilities; gradients reach the labels.

    Args:
      labels: rows that sum to 1 (where they do not, the gradient is not that of the loss).
      logits: of the shape of `labels`.
      axis: the axis of classes, the last by default; `dim` is its older name.

    Returns:
      one loss for each row.
    """
    return _cross_entropy(labels, logits, int(either("axis", axis, "dim", dim, -1)), name)


def softmax_cross_entropy_with_logits(
    _sentinel: Any = None, labels: Any = None, logits: Any = None, dim: Any = -1,
    name: str | None = None, axis: Any = None,
) -> Tensor:  # fmt: skip
    """As `softmax_cross_entropy_with_logits_v2`, with gradients stopped at the labels.

    Raises:
      TypeError: labels or logits are not given by name.
    """
    _named("softmax_cross_entropy_with_logits", _sentinel, labels, logits)
    at = dim if axis is None else axis
    with name_scope(name, "softmax_cross_entropy_with_logits_sg", [logits, labels]) as scope:
        labels = lookup("StopGradient")(labels, name="labels_stop_gradient")
    return _cross_entropy(labels, logits, int(at), scope)


def sparse_softmax_cross_entropy_with_logits(
    _sentinel: Any = None, labels: Any = None, logits: Any = None, name: str | None = None
) -> Tensor:
    """Cross entropy of softmax(logits) against class numbers.

    Args:
      labels: int32 or int64, with one axis less than the logits.
      logits: the classes are the last axis.

    Raises:
      ValueError: the shapes do not fit.
      InvalidArgumentError: at run time, a label is not in [0, number of classes).
    """
    _named("sparse_softmax_cross_entropy_with_logits", _sentinel, labels, logits)
    scope_name = "SparseSoftmaxCrossEntropyWithLogits"
    with name_scope(name, scope_name, [labels, logits]):
        labels = convert(labels, name="labels")
        logits = convert(logits, name="logits")
        kind = logits.dtype.base
        wide = lookup("Cast")(logits, DstT=dtypes.float32) if kind is dtypes.float16 else logits
        loss = lookup(scope_name)(wide, labels, name=scope_name)[0]
        return lookup("Cast")(loss, DstT=kind) if kind is dtypes.float16 else loss  # type: ignore[no-any-return]


def _same_shape(function: str, logits: Tensor, other: Tensor, what: str) -> None:
    if not logits.shape.is_compatible_with(other.shape):
        raise ShapeError(
            f"{function}: logits and {what} have one shape, got {logits.shape} and {other.shape}",
            loc=loc.caller(),
        )


def sigmoid_cross_entropy_with_logits(
    _sentinel: Any = None, labels: Any = None, logits: Any = None, name: str | None = None
) -> Tensor:
    """Cross entropy of sigmoid(logits) against probabilities, element by element.

    It is ``max(x, 0) - x * z + log(1 + exp(-abs(x)))`` for logits x and labels z.
    """
    _named("sigmoid_cross_entropy_with_logits", _sentinel, labels, logits)
    with name_scope(name, "logistic_loss", [logits, labels]) as scope:
        logits = convert(logits, name="logits")
        labels = convert(labels, logits.dtype.base, name="labels")
        _same_shape("sigmoid_cross_entropy_with_logits", logits, labels, "labels")
        select = lookup("Select")
        zeros = lookup("ZerosLike")(logits, name="zeros_like")
        positive = logits >= zeros
        relu = select(positive, logits, zeros)
        negative_abs = select(positive, -logits, logits)
        return lookup("Add")(  # type: ignore[no-any-return]
            relu - logits * labels, lookup("Log1p")(lookup("Exp")(negative_abs)), name=scope
        )


def weighted_cross_entropy_with_logits(
    labels: Any = None, logits: Any = None, pos_weight: Any = None, name: str | None = None,
    targets: Any = None,
) -> Tensor:  # fmt: skip
    """`sigmoid_cross_entropy_with_logits` with the positive term times `pos_weight`."""
    labels = either("labels", labels, "targets", targets)
    with name_scope(name, "logistic_loss", [logits, labels]) as scope:
        logits = convert(logits, name="logits")
        labels = convert(labels, logits.dtype.base, name="targets")
        _same_shape("weighted_cross_entropy_with_logits", logits, labels, "labels")
        if pos_weight is None:
            raise UsageError(
                "weighted_cross_entropy_with_logits: give pos_weight", loc=loc.caller()
            )
        weight = 1 + (pos_weight - 1) * labels
        tail = lookup("Log1p")(lookup("Exp")(-lookup("Abs")(logits))) + lookup("Relu")(-logits)
        return lookup("Add")((1 - labels) * logits, weight * tail, name=scope)  # type: ignore[no-any-return]


def log_poisson_loss(
    targets: Any, log_input: Any, compute_full_loss: bool = False, name: str | None = None
) -> Tensor:
    """``exp(log_input) - log_input * targets``, with Stirling's term if asked for."""
    with name_scope(name, "log_poisson_loss", [log_input, targets]):
        log_input = convert(log_input, name="log_input")
        targets = convert(targets, log_input.dtype.base, name="targets")
        _same_shape("log_poisson_loss", log_input, targets, "targets")
        result = lookup("Exp")(log_input) - log_input * targets
        if compute_full_loss:
            ones = lookup("OnesLike")(targets)
            safe = lookup("Select")(targets > 1, targets, ones)
            stirling = safe * lookup("Log")(safe) - safe + 0.5 * lookup("Log")(2.0 * np.pi * safe)
            result = result + lookup("Select")(targets > 1, stirling, lookup("ZerosLike")(targets))
        return result  # type: ignore[no-any-return]


__all__ = [
    "log_poisson_loss", "log_softmax", "sigmoid_cross_entropy_with_logits", "softmax",
    "softmax_cross_entropy_with_logits", "softmax_cross_entropy_with_logits_v2",
    "sparse_softmax_cross_entropy_with_logits", "weighted_cross_entropy_with_logits",
]  # fmt: skip
