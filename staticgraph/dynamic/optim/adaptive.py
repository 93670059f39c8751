"""Step sizes per element that come from squares, or from signs, of past gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from staticgraph.dynamic.creation import from_numpy
from staticgraph.dynamic.optim.optimizer import (
    WAYS,
    Group,
    Optimizer,
    State,
    advance,
    at_least_nought,
    average,
    counter,
    decayed,
    mix_square,
    rate,
    sqrt,
    zeros_like,
)
from staticgraph.dynamic.refusals import bad_value


class RMSprop(Optimizer):
    """Steps divided by the root of the mean squared gradient; `centered` takes its variance.

    >>> import staticgraph.dynamic as torch
    >>> p = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = torch.optim.RMSprop([p], lr=0.01)
    >>> p.pow(2).sum().backward()
    >>> optimizer.step()
    >>> p.detach()
    tensor([0.9000, 1.9000])
    """

    traceable = True

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
        weight_decay: float = 0, momentum: float = 0, centered: bool = False,
        capturable: bool = False, foreach: bool | None = None, maximize: bool = False,
        differentiable: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable,
        })  # fmt: skip

    def check(self, group: Group) -> None:
        super().check(group)
        at_least_nought(group, "eps")
        at_least_nought(group, "momentum")
        at_least_nought(group, "alpha")

    def initial(self, param: np.ndarray, group: Group) -> State:
        state: State = {"step": counter(), "square_avg": zeros_like(param)}
        if group["momentum"] > 0:
            state["momentum_buffer"] = zeros_like(param)
        if group["centered"]:
            state["grad_avg"] = zeros_like(param)
        return state

    def update(self, param: np.ndarray, grad: np.ndarray, state: State, group: Group) -> None:
        advance(state)
        lr, alpha = rate(group), group["alpha"]
        grad = decayed(param, grad, group)
        square = state["square_avg"]._array
        mix_square(square, grad, alpha)
        if group["centered"]:
            mean = state["grad_avg"]._array
            average(mean, grad, 1 - alpha)
            square = square - mean * mean
        root = sqrt(square) + group["eps"]
        if group["momentum"] > 0:
            buffer = state["momentum_buffer"]._array
            buffer *= group["momentum"]
            buffer += grad / root
            param -= lr * buffer
        else:
            param -= lr * (grad / root)


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients."""

    traceable = True

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, lr_decay: float = 0,
        weight_decay: float = 0, initial_accumulator_value: float = 0, eps: float = 1e-10,
        foreach: bool | None = None, *, maximize: bool = False, differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "fused": fused,
        })  # fmt: skip
        for group in self.param_groups:  # PyTorch's state is there from the start, too
            for p in group["params"]:
                self._state(p, group)

    def check(self, group: Group) -> None:
        super().check(group)
        at_least_nought(group, "lr_decay")
        at_least_nought(group, "initial_accumulator_value")
        at_least_nought(group, "eps")

    def initial(self, param: np.ndarray, group: Group) -> State:
        start = np.full_like(param, group["initial_accumulator_value"])
        return {"step": counter(), "sum": from_numpy(start)}

    def update(self, param: np.ndarray, grad: np.ndarray, state: State, group: Group) -> None:
        step = advance(state)
        grad = decayed(param, grad, group)
        scale = rate(group) / (1 + (step - 1) * group["lr_decay"])
        total = state["sum"]._array
        total += grad * grad
        param -= scale * (grad / (sqrt(total) + group["eps"]))


class Adadelta(Optimizer):
    """Steps as large as the root mean square of past steps over that of past gradients."""

    traceable = True

    def __init__(
        self, params: Iterable[Any], lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6,
        weight_decay: float = 0, foreach: bool | None = None, *, capturable: bool = False,
        maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "capturable": capturable, "foreach": foreach, "differentiable": differentiable,
        })  # fmt: skip

    def check(self, group: Group) -> None:
        super().check(group)
        at_least_nought(group, "eps")
        if not 0.0 <= group["rho"] <= 1.0:
            raise bad_value(f"rho must be in [0, 1], got {group['rho']}")

    def initial(self, param: np.ndarray, group: Group) -> State:
        return {
            "step": counter(), "square_avg": zeros_like(param), "acc_delta": zeros_like(param),
        }  # fmt: skip

    def update(self, param: np.ndarray, grad: np.ndarray, state: State, group: Group) -> None:
        advance(state)
        grad = decayed(param, grad, group)
        rho, eps = group["rho"], group["eps"]
        square, past = state["square_avg"]._array, state["acc_delta"]._array
        mix_square(square, grad, rho)
        delta = sqrt(past + eps) / sqrt(square + eps) * grad
        mix_square(past, delta, rho)
        param -= rate(group) * delta


class Rprop(Optimizer):
    """Steps that grow while the gradient keeps its sign, and shrink where it turns."""

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50), *, capturable: bool = False,
        foreach: bool | None = None, maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, **WAYS, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        })  # fmt: skip

    def check(self, group: Group) -> None:
        super().check(group)
        less, more = group["etas"]
        if not 0.0 < less < 1.0 < more:
            raise bad_value(f"etas must be in (0, 1) and above 1, got {less} and {more}")

    def initial(self, param: np.ndarray, group: Group) -> State:
        start = np.full_like(param, float(group["lr"]))
        return {"step": counter(), "prev": zeros_like(param), "step_size": from_numpy(start)}

    def update(self, param: np.ndarray, grad: np.ndarray, state: State, group: Group) -> None:
        advance(state)
        (less, more), (least, most) = group["etas"], group["step_sizes"]
        before, size = state["prev"]._array, state["step_size"]._array
        turn = grad * before
        size *= np.where(turn > 0, more, np.where(turn < 0, less, 1.0)).astype(size.dtype)
        np.clip(size, least, most, out=size)
        grad = np.where(turn < 0, np.zeros_like(grad), grad)  # no step where it turned
        param -= np.sign(grad) * size
        before[...] = grad
