"""Learning rates that fall when a measure stops improving."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from staticgraph.dynamic.optim.optimizer import Optimizer
from staticgraph.dynamic.optim.schedule import check_outside, per_group
from staticgraph.dynamic.refusals import bad_value
from staticgraph.errors import UsageError
from staticgraph.ir.loc import caller


class ReduceLROnPlateau:
    """The rate times `factor` when a measure has not improved for `patience` epochs.

    Args:
      optimizer: whose groups get the rates.
      mode: "min" where less is better, or "max".
      factor: what the rate is multiplied by.
      patience: epochs without improvement that pass unnoticed.
      threshold: how much counts as an improvement.
      threshold_mode: "rel" to the best so far, or "abs".
      cooldown: epochs after a reduction in which none are counted.
      min_lr: the least rate, of all groups or of each.
      eps: reductions smaller than this are left out.
    """

    def __init__(
        self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10,
        threshold: float = 1e-4, threshold_mode: str = "rel", cooldown: int = 0,
        min_lr: float | Sequence[float] = 0, eps: float = 1e-8,
    ) -> None:  # fmt: skip
        if factor >= 1.0:
            raise bad_value(f"factor must be below 1, got {factor}")
        if not isinstance(optimizer, Optimizer):
            raise UsageError(
                f"a scheduler takes an optimizer, got a {type(optimizer).__name__}", loc=caller()
            )
        if mode not in ("min", "max"):
            raise bad_value(f"mode is 'min' or 'max', not {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise bad_value(f"threshold_mode is 'rel' or 'abs', not {threshold_mode!r}")
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.eps = cooldown, eps
        self.min_lrs = per_group(optimizer, min_lr, "min_lr")
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = [float(group["lr"]) for group in optimizer.param_groups]

    def get_last_lr(self) -> list[float]:
        """The rates in use."""
        return self._last_lr

    def step(self, metrics: Any, epoch: int | None = None) -> None:
        """Note the measure of an epoch."""
        check_outside(self)
        current = float(metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self.is_better(current, self.best):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [float(group["lr"]) for group in self.optimizer.param_groups]

    def _reduce(self) -> None:
        for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            old = float(group["lr"])
            new = max(old * self.factor, least)
            if old - new > self.eps:
                group["lr"] = new

    @property
    def in_cooldown(self) -> bool:
        """True for some epochs after a reduction."""
        return self.cooldown_counter > 0

    def is_better(self, a: float, best: float) -> bool:
        """Whether a measure is an improvement over the best one."""
        if self.threshold_mode == "rel":
            sign = -1.0 if self.mode == "min" else 1.0
            margin = best * (1.0 + sign * self.threshold)
        else:
            margin = best - self.threshold if self.mode == "min" else best + self.threshold
        return a < margin if self.mode == "min" else a > margin

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {k: v for k, v in self.__dict__.items() if k != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.__dict__.update(state_dict)
