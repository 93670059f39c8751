"""Gradient descent with momentum, and averaged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from staticgraph.dynamic.optim.optimizer import (
    WAYS,
    Group,
    Optimizer,
    State,
    advance,
    at_least_nought,
    counter,
    decayed,
    like,
    rate,
    zeros_like,
)
from staticgraph.dynamic.refusals import bad_value


class SGD(Optimizer):
    """``p -= lr * g``, or with momentum ``b = momentum * b + (1 - dampening) * g; p -= lr * b``.

    With `nesterov` the step is ``g + momentum * b``.

    >>> import staticgraph.dynamic as torch
    >>> p = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = torch.optim.SGD([p], lr=0.1)
    >>> p.pow(2).sum().backward()
    >>> optimizer.step()
    >>> p.detach()
    tensor([0.8000, 1.6000])
    """

    traceable = True

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0,
        dampening: float = 0, weight_decay: float = 0, nesterov: bool = False, *,
        maximize: bool = False, foreach: bool | None = None, differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize, "foreach": foreach,
            "differentiable": differentiable, "fused": fused,
        })  # fmt: skip

    def check(self, group: Group) -> None:
        super().check(group)
        at_least_nought(group, "momentum")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise bad_value(
                "nesterov needs a momentum above 0 and dampening 0, got "
                f"{group['momentum']} and {group['dampening']}"
            )

    def initial(self, param: np.ndarray, group: Group) -> State:
        return {}

    def update(self, param: np.ndarray, grad: np.ndarray, state: State, group: Group) -> None:
        grad = decayed(param, grad, group)
        momentum = group["momentum"]
        if momentum:
            buffer = state.get("momentum_buffer")
            if buffer is None:
                state["momentum_buffer"] = buffer = like(grad)
            else:
                kept = buffer._array
                kept *= momentum
                kept += (1 - group["dampening"]) * grad
            grad = grad + momentum * buffer._array if group["nesterov"] else buffer._array
        param -= rate(group) * grad


class ASGD(Optimizer):
    """Gradient descent whose parameters are averaged over the steps, in ``state["ax"]``."""

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, lambd: float = 1e-4, alpha: float = 0.75,
        t0: float = 1e6, weight_decay: float = 0, foreach: bool | None = None,
        maximize: bool = False, differentiable: bool = False, capturable: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay,
            **WAYS, "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
            "capturable": capturable,
        })  # fmt: skip

    def initial(self, param: np.ndarray, group: Group) -> State:
        return {
            "step": counter(), "eta": counter(float(group["lr"])), "mu": counter(1.0),
            "ax": zeros_like(param),
        }  # fmt: skip

    def update(self, param: np.ndarray, grad: np.ndarray, state: State, group: Group) -> None:
        step, lr = advance(state), float(group["lr"])
        grad = decayed(param, grad, group)
        eta, mu = float(state["eta"]._array), float(state["mu"]._array)
        param *= 1 - group["lambd"] * eta
        param -= eta * grad
        mean = state["ax"]._array
        if mu == 1:
            mean[...] = param
        else:
            mean += (param - mean) * mu
        state["eta"]._array[...] = lr / (1 + group["lambd"] * lr * step) ** group["alpha"]
        state["mu"]._array[...] = 1 / max(1, step - group["t0"])
