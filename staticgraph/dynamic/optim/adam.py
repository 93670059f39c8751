"""Adam and its relatives: steps divided by the root of the mean squared gradient."""

from __future__ import annotations

import math
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
    average,
    check_betas,
    counter,
    decayed,
    keep_greatest,
    mix_square,
    rate,
    sqrt,
    zeros_like,
)

Betas = tuple[float, float]


class _Adaptive(Optimizer):
    """Optimizers with two decay rates and a mean of the gradients."""

    def check(self, group: Group) -> None:
        super().check(group)
        at_least_nought(group, "eps")
        check_betas(group)

    def initial(self, param: np.ndarray, group: Group) -> State:
        return {
            "step": counter(), "exp_avg": zeros_like(param), "exp_avg_sq": zeros_like(param),
        }  # fmt: skip

    def _decay(self, param: np.ndarray, grad: np.ndarray, group: Group) -> np.ndarray:
        """Weight decay: on the parameter itself, or as a part of the gradient."""
        if group["weight_decay"] and group["decoupled_weight_decay"]:
            param *= 1 - rate(group) * group["weight_decay"]
            return grad
        return decayed(param, grad, group)

    def _means(self, grad: np.ndarray, state: State, group: Group) -> tuple[Any, Any]:
        """The running means of the gradient and of its square."""
        beta1, beta2 = (float(b) for b in group["betas"])
        mean, square = state["exp_avg"]._array, state["exp_avg_sq"]._array
        average(mean, grad, 1 - beta1)
        mix_square(square, grad, beta2)
        return mean, square


class Adam(_Adaptive):
    """Adam, with AMSGrad on request.

    >>> import staticgraph.dynamic as torch
    >>> p = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = torch.optim.Adam([p], lr=0.1)
    >>> p.pow(2).sum().backward()
    >>> optimizer.step()
    >>> p.detach()
    tensor([0.9000, 1.9000])
    """

    traceable = True

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: Betas = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, amsgrad: bool = False, *,
        foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
        differentiable: bool = False, fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "amsgrad": amsgrad, "maximize": maximize, "foreach": foreach,
            "capturable": capturable, "differentiable": differentiable, "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        })  # fmt: skip

    def initial(self, param: np.ndarray, group: Group) -> State:
        state = super().initial(param, group)
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = zeros_like(param)
        return state

    def update(self, param: np.ndarray, grad: np.ndarray, state: State, group: Group) -> None:
        step, lr = advance(state), rate(group)
        grad = self._decay(param, grad, group)
        mean, square = self._means(grad, state, group)
        beta1, beta2 = (float(b) for b in group["betas"])
        if group["amsgrad"]:
            greatest = state["max_exp_avg_sq"]._array
            keep_greatest(greatest, square)
            square = greatest
        root = sqrt(square) / sqrt(1 - beta2**step) + group["eps"]
        param -= (lr / (1 - beta1**step)) * (mean / root)


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameters themselves."""

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: Betas = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 1e-2, amsgrad: bool = False, *,
        maximize: bool = False, foreach: bool | None = None, capturable: bool = False,
        differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize,
            capturable=capturable, differentiable=differentiable, fused=fused,
            decoupled_weight_decay=True,
        )  # fmt: skip


class NAdam(_Adaptive):
    """Adam with Nesterov's momentum."""

    def __init__(
        self, params: Iterable[Any], lr: float = 2e-3, betas: Betas = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False, *, foreach: bool | None = None,
        maximize: bool = False, capturable: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable,
        })  # fmt: skip

    def check(self, group: Group) -> None:
        super().check(group)
        at_least_nought(group, "momentum_decay")

    def initial(self, param: np.ndarray, group: Group) -> State:
        return {"mu_product": counter(1.0), **super().initial(param, group)}

    def update(self, param: np.ndarray, grad: np.ndarray, state: State, group: Group) -> None:
        step, lr = advance(state), float(group["lr"])
        grad = self._decay(param, grad, group)
        mean, square = self._means(grad, state, group)
        beta1, beta2 = (float(b) for b in group["betas"])
        decay = group["momentum_decay"]
        now = beta1 * (1 - 0.5 * 0.96 ** (step * decay))
        after = beta1 * (1 - 0.5 * 0.96 ** ((step + 1) * decay))
        product = state["mu_product"]._array
        product *= now
        so_far = float(product)
        root = np.sqrt(square / (1 - beta2**step)) + group["eps"]
        param -= (lr * (1 - now) / (1 - so_far)) * grad / root
        param -= (lr * after / (1 - so_far * after)) * mean / root


class RAdam(_Adaptive):
    """Adam that leaves the division out while too few squares are in their mean."""

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: Betas = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, decoupled_weight_decay: bool = False, *,
        foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
        differentiable: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay, "differentiable": differentiable,
        })  # fmt: skip

    def update(self, param: np.ndarray, grad: np.ndarray, state: State, group: Group) -> None:
        step, lr = advance(state), float(group["lr"])
        grad = self._decay(param, grad, group)
        mean, square = self._means(grad, state, group)
        beta1, beta2 = (float(b) for b in group["betas"])
        correction = 1 - beta2**step
        most = 2 / (1 - beta2) - 1
        length = most - 2 * step * beta2**step / correction
        corrected = mean / (1 - beta1**step)
        if length <= 5.0:
            param -= lr * corrected
            return
        rectified = math.sqrt(
            (length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)
        )
        root = np.sqrt(square) + group["eps"]
        param -= corrected * lr * (math.sqrt(correction) / root) * rectified


class Adamax(Optimizer):
    """Adam with the greatest gradient in the place of the mean square."""

    traceable = True

    def __init__(
        self, params: Iterable[Any], lr: float = 2e-3, betas: Betas = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, foreach: bool | None = None, *,
        maximize: bool = False, differentiable: bool = False, capturable: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, **WAYS,
            "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
            "capturable": capturable,
        })  # fmt: skip

    def check(self, group: Group) -> None:
        super().check(group)
        at_least_nought(group, "eps")
        check_betas(group)

    def initial(self, param: np.ndarray, group: Group) -> State:
        return {
            "step": counter(), "exp_avg": zeros_like(param), "exp_inf": zeros_like(param),
        }  # fmt: skip

    def update(self, param: np.ndarray, grad: np.ndarray, state: State, group: Group) -> None:
        step, lr = advance(state), rate(group)
        grad = decayed(param, grad, group)
        beta1, beta2 = (float(b) for b in group["betas"])
        mean, greatest = state["exp_avg"]._array, state["exp_inf"]._array
        average(mean, grad, 1 - beta1)
        greatest *= beta2
        keep_greatest(greatest, abs(grad) + group["eps"])
        param -= (lr / (1 - beta1**step)) * mean / greatest
