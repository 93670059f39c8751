"""What schedulers of learning rates have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgraph.dynamic.modes import MODES
from staticgraph.dynamic.optim.optimizer import Optimizer
from staticgraph.dynamic.refusals import bad_value, warn
from staticgraph.errors import UsageError
from staticgraph.ir.loc import caller


class LRScheduler:
    """The base of schedulers: `get_lr` gives the rates of the epoch ``last_epoch``.

    Args:
      optimizer: whose groups get the rates.
      last_epoch: the epoch to go on from; -1 for a new run.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise UsageError(
                f"a scheduler takes an optimizer, got a {type(optimizer).__name__}", loc=caller()
            )
        self.optimizer = optimizer
        groups = optimizer.param_groups
        for i, group in enumerate(groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", float(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming "
                    "scheduler"
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in groups]
        self.last_epoch = last_epoch
        self._step_count = 0
        self._last_lr: list[float] = []
        self._first_steps = optimizer.steps_taken
        self._advance(self.last_epoch + 1)

    def get_lr(self) -> Sequence[float]:
        """The rates of the epoch ``last_epoch``, from those of the epoch before."""
        raise NotImplementedError

    def get_last_lr(self) -> list[float]:
        """The rates in use."""
        return self._last_lr

    def _current(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def _closed_form(self) -> Sequence[float] | None:
        """The rates of the epoch without those before it, where there is such a formula."""
        return None

    def _advance(self, epoch: int, jumped: bool = False) -> None:
        self._step_count += 1
        self.last_epoch = epoch
        rates = self._closed_form() if jumped else None
        self._set(list(self.get_lr() if rates is None else rates))

    def _set(self, rates: list[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            if hasattr(group["lr"], "fill_"):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        self._last_lr = rates

    def step(self, epoch: int | None = None) -> None:
        """Go to the next epoch, or to the one that is given."""
        check_outside(self)
        if self._step_count == 1 and self.optimizer.steps_taken == self._first_steps:
            warn(
                "lr_scheduler.step() was called before optimizer.step(): the first learning rate "
                "of the schedule is skipped"
            )
        if epoch is None:
            self._advance(self.last_epoch + 1)
        else:
            self._advance(epoch, jumped=True)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and functions."""
        return {
            k: v for k, v in self.__dict__.items()
            if k not in ("optimizer", "_first_steps") and not callable(v)
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.__dict__.update(state_dict)


def check_outside(scheduler: Any) -> None:
    """UsageError inside a compiled function, which would take the step once and not again."""
    if MODES.tracer is not None:
        raise UsageError(
            f"{type(scheduler).__name__}.step inside a compiled function, which would run it only "
            "while it is recorded",
            loc=caller(), hint="call it after the compiled function: learning rates are read anew",
        )  # fmt: skip


def per_group(optimizer: Optimizer, value: Any, what: str) -> list[Any]:
    count = len(optimizer.param_groups)
    if not isinstance(value, list | tuple):
        return [value] * count
    if len(value) != count:
        raise bad_value(f"{what} takes one value or {count}, one for each group; got {len(value)}")
    return list(value)
