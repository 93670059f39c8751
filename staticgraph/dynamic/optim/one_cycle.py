"""The one-cycle schedule of learning rate and momentum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from staticgraph.dynamic.optim.optimizer import Optimizer
from staticgraph.dynamic.optim.schedule import LRScheduler, per_group
from staticgraph.dynamic.refusals import bad_value


class OneCycleLR(LRScheduler):
    """The rate rises to `max_lr` and falls far below where it began, in one cycle.

    Momentum, or the first of the betas, goes the other way unless `cycle_momentum` is false.
    """

    def __init__(
        self, optimizer: Optimizer, max_lr: float | Sequence[float],
        total_steps: int | None = None, epochs: int | None = None,
        steps_per_epoch: int | None = None, pct_start: float = 0.3,
        anneal_strategy: str = "cos", cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95, div_factor: float = 25.0,
        final_div_factor: float = 1e4, three_phase: bool = False, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise bad_value("OneCycleLR needs total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if total_steps <= 0:
            raise bad_value(f"total_steps must be above 0, got {total_steps}")
        if not 0 <= pct_start <= 1:
            raise bad_value(f"pct_start must be in [0, 1], got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise bad_value(f"anneal_strategy is 'cos' or 'linear', not {anneal_strategy!r}")
        self.total_steps, self.anneal_strategy = total_steps, anneal_strategy
        up = float(pct_start * total_steps) - 1
        self._phases: list[tuple[float, str, str, str, str]]
        if three_phase:
            self._phases = [
                (up, "initial_lr", "max_lr", "max_momentum", "base_momentum"),
                (2 * up, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
                (total_steps - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
            ]
        else:
            self._phases = [
                (up, "initial_lr", "max_lr", "max_momentum", "base_momentum"),
                (total_steps - 1, "max_lr", "min_lr", "base_momentum", "max_momentum"),
            ]
        self.cycle_momentum = cycle_momentum
        if last_epoch == -1:
            self._prepare(optimizer, max_lr, base_momentum, max_momentum, div_factor,
                          final_div_factor)  # fmt: skip
        super().__init__(optimizer, last_epoch)

    def _prepare(
        self, optimizer: Optimizer, max_lr: Any, base_momentum: Any, max_momentum: Any,
        div_factor: float, final_div_factor: float,
    ) -> None:  # fmt: skip
        tops = per_group(optimizer, max_lr, "max_lr")
        lows = per_group(optimizer, base_momentum, "base_momentum")
        highs = per_group(optimizer, max_momentum, "max_momentum")
        for group, top, low, high in zip(optimizer.param_groups, tops, lows, highs, strict=True):
            group["initial_lr"] = top / div_factor
            group["max_lr"] = top
            group["min_lr"] = group["initial_lr"] / final_div_factor
            if self.cycle_momentum:
                if "momentum" not in group and "betas" not in group:
                    raise bad_value(
                        "cycle_momentum needs an optimizer with momentum or betas",
                        hint="pass cycle_momentum=False",
                    )
                group["base_momentum"], group["max_momentum"] = low, high
                _set_momentum(group, high)

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2.0 * (1 + math.cos(math.pi * share))

    def get_lr(self) -> Sequence[float]:
        if self.last_epoch > self.total_steps:
            raise bad_value(
                f"OneCycleLR ends after {self.total_steps} steps, this is step {self.last_epoch}"
            )
        start = 0.0
        phase = self._phases[-1]
        for candidate in self._phases[:-1]:
            if self.last_epoch <= candidate[0]:
                phase = candidate
                break
            start = candidate[0]
        end, *names = phase
        share = (self.last_epoch - start) / (end - start)
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._between(group[names[0]], group[names[1]], share))
            if self.cycle_momentum:
                _set_momentum(group, self._between(group[names[2]], group[names[3]], share))
        return rates


def _set_momentum(group: dict[str, Any], value: float) -> None:
    if "betas" in group:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value
