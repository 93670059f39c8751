"""`nn.utils`: bounds on gradients, and parameters as one vector."""

from __future__ import annotations

import math
from collections.abc import Iterable
from types import SimpleNamespace

import numpy as np

from staticgraph.dynamic.creation import from_numpy
from staticgraph.dynamic.elementwise import isfinite
from staticgraph.dynamic.modes import MODES, no_grad
from staticgraph.dynamic.reductions import norm
from staticgraph.dynamic.shapes import cat, stack
from staticgraph.dynamic.tensor import Tensor
from staticgraph.dynamic.versions import bump
from staticgraph.errors import RunError, ShapeError
from staticgraph.ir.loc import caller


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    tensors = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p.grad for p in tensors if p.grad is not None]


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0,
    error_if_nonfinite: bool = False, foreach: bool | None = None,
) -> Tensor:  # fmt: skip
    """Shrink all gradients together so that their norm is at most `max_norm`.

    Returns:
      the norm as it was: a scalar tensor.

    >>> import staticgraph.dynamic as torch
    >>> p = torch.tensor([0.0, 0.0], requires_grad=True)
    >>> p.grad = torch.tensor([3.0, 4.0])
    >>> torch.nn.utils.clip_grad_norm_([p], max_norm=1.0)
    tensor(5.)
    >>> p.grad
    tensor([0.6000, 0.8000])
    """
    tensors = _gradients(parameters)
    if not tensors:
        return from_numpy(np.array(0.0, np.float32))
    if MODES.tracer is not None:
        return _clipped(tensors, float(max_norm), float(norm_type), error_if_nonfinite)
    grads = [g._array for g in tensors]
    order = float(norm_type)
    norms = np.array([_norm(g, order) for g in grads], grads[0].dtype)
    total = np.asarray(_norm(norms, order), norms.dtype)
    if error_if_nonfinite and not np.isfinite(total):
        raise RunError(
            f"clip_grad_norm_: the norm of order {order:g} of the gradients is {total}",
            loc=caller(),
        )
    factor = min(float(max_norm) / (float(total) + 1e-6), 1.0)
    if math.isnan(float(total)):
        factor = math.nan
    for tensor, g in zip(tensors, grads, strict=True):
        g *= factor
        bump(tensor._version)
    return from_numpy(total)


def _clipped(tensors: list[Tensor], most: float, order: float, check: bool) -> Tensor:
    """The same by operations, for a function that is compiled."""
    with no_grad():
        total: Tensor = norm(stack([norm(g.reshape(-1), order) for g in tensors]), order)
        if check and not bool(isfinite(total)):  # the tracer says what is wrong with that
            raise RunError("clip_grad_norm_: the norm is not finite", loc=caller())
        factor: Tensor = (most / (total + 1e-6)).clamp(max=1.0)
        for g in tensors:
            g.mul_(factor)
    return total


def _norm(array: np.ndarray, order: float) -> float:
    flat = np.abs(array.reshape(-1))
    if not flat.size:
        return 0.0
    if math.isinf(order):
        return float(flat.max() if order > 0 else flat.min())
    if order == 2.0:
        return float(np.sqrt(np.sum(flat * flat)))
    return float(np.sum(flat**order) ** (1.0 / order))


def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Bring every element of the gradients into ``[-clip_value, clip_value]``."""
    for grad in _gradients(parameters):
        if MODES.tracer is not None:
            with no_grad():
                grad.clamp_(-float(clip_value), float(clip_value))
            continue
        np.clip(grad._array, -float(clip_value), float(clip_value), out=grad._array)
        bump(grad._version)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters behind one another as one vector."""
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Set the parameters from one vector.

    Raises:
      ShapeError: the vector has another number of elements; nothing has been changed.
    """
    tensors = list(parameters)
    count = sum(p.numel() for p in tensors)
    if vec.numel() != count:
        raise ShapeError(
            f"a vector of {vec.numel()} elements for parameters of {count}", loc=caller()
        )
    at = 0
    for p in tensors:
        p.data = vec[at : at + p.numel()].reshape(p.shape).detach().clone()
        at += p.numel()


utils = SimpleNamespace(
    clip_grad_norm_=clip_grad_norm_,
    clip_grad_value_=clip_grad_value_,
    parameters_to_vector=parameters_to_vector,
    vector_to_parameters=vector_to_parameters,
)
