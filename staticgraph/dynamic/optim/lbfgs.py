"""L-BFGS: directions from the last steps and the changes of the gradient along them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from staticgraph.dynamic.modes import MODES, enable_grad
from staticgraph.dynamic.optim.line_search import Point, StrongWolfe
from staticgraph.dynamic.optim.optimizer import Closure, Group, Optimizer, State
from staticgraph.dynamic.refusals import bad_value
from staticgraph.dynamic.versions import bump
from staticgraph.errors import UsageError
from staticgraph.ir.loc import caller


class LBFGS(Optimizer):
    """L-BFGS over all parameters at once; `step` needs a closure.

    Args:
      params: one group of parameters.
      lr: the first step length.
      max_iter: iterations per step.
      max_eval: evaluations of the closure per step; ``max_iter * 5 // 4`` by default.
      tolerance_grad, tolerance_change: when an iteration counts as the last.
      history_size: how many steps are remembered.
      line_search_fn: None for fixed lengths, or "strong_wolfe".

    >>> import staticgraph.dynamic as torch
    >>> p = torch.tensor([3.0, -1.0], requires_grad=True)
    >>> optimizer = torch.optim.LBFGS([p], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (p * p).sum()
    ...     loss.backward()
    ...     return loss
    >>> optimizer.step(closure).item()
    10.0
    >>> bool((p.abs() < 1e-6).all())
    True
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1, max_iter: int = 20,
        max_eval: int | None = None, tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9, history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:  # fmt: skip
        if line_search_fn not in (None, "strong_wolfe"):
            raise bad_value(f"line_search_fn is None or 'strong_wolfe', not {line_search_fn!r}")
        super().__init__(params, {
            "lr": lr, "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change,
            "history_size": history_size, "line_search_fn": line_search_fn,
        })  # fmt: skip
        if len(self.param_groups) != 1:
            raise bad_value(f"LBFGS takes one parameter group, got {len(self.param_groups)}")
        self._params = self.param_groups[0]["params"]

    # ---------------------------------------------------------------- all parameters as a vector
    def _gradient(self) -> np.ndarray:
        parts = [
            np.zeros(p.numel(), p._array.dtype) if p.grad is None else p.grad._array.reshape(-1)
            for p in self._params
        ]
        return np.concatenate(parts)

    def _move(self, by: np.ndarray) -> None:
        at = 0
        for p in self._params:
            n = p.numel()
            p._array[...] += by[at : at + n].reshape(p._array.shape)
            bump(p._version)
            at += n

    def _put(self, arrays: list[np.ndarray]) -> None:
        for p, a in zip(self._params, arrays, strict=True):
            p._array[...] = a
            bump(p._version)

    def _evaluated(self, closure: Closure, back: list[np.ndarray], step: np.ndarray) -> Any:
        """The loss and gradient a step away; the parameters stay where they were."""
        self._move(step)
        try:
            loss = float(closure())
            return loss, self._gradient()
        finally:
            self._put(back)

    # ---------------------------------------------------------------- steps
    def step(self, closure: Closure | None = None) -> Any:
        """Run up to `max_iter` iterations and return the loss at the start."""
        if closure is None:
            raise UsageError(
                "LBFGS.step needs a closure that computes the loss and the gradients",
                loc=caller(),
            )

        def evaluated() -> Any:
            with enable_grad():
                return closure()

        first = evaluated()
        self._iterate(evaluated, float(first))
        self.steps_taken += 1
        return first

    def _iterate(self, closure: Closure, loss: float) -> None:
        group = self.param_groups[0]
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        evaluations = 1
        state["func_evals"] += 1
        grad = self._gradient()
        if np.abs(grad).max(initial=0) <= group["tolerance_grad"]:
            return
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            direction = MODES.run(self._direction, state, grad, group)
            state["prev_flat_grad"], state["prev_loss"] = grad, loss
            lr = float(group["lr"])
            t = min(1.0, 1.0 / float(np.abs(grad).sum())) * lr if state["n_iter"] == 1 else lr
            slope = float(grad.dot(direction))
            if slope > -group["tolerance_change"]:
                state["t"] = t
                return
            last = iteration == group["max_iter"]
            before = loss
            if group["line_search_fn"] is None:
                self._move(t * direction)
                calls = 0
                if not last:
                    loss, grad = float(closure()), self._gradient()
                    calls = 1
            else:
                most = group["max_eval"] - evaluations
                here = Point(0.0, loss, grad, slope)
                t, loss, grad, calls = self._searched(closure, direction, t, here, most)
            state["t"] = t
            evaluations += calls
            state["func_evals"] += calls
            if last or self._finished(group, grad, direction * t, loss - before, evaluations):
                return

    def _searched(
        self, closure: Closure, direction: np.ndarray, t: float, here: Point, most: int
    ) -> tuple[float, float, np.ndarray, int]:
        start = [np.array(p._array) for p in self._params]
        search = StrongWolfe(
            lambda length: self._evaluated(closure, start, length * direction), direction, here,
            most=most,
        )  # fmt: skip
        best, calls = search.search(t)
        self._move(best.t * direction)
        return best.t, best.loss, best.grad, calls

    @staticmethod
    def _finished(
        group: Group, grad: np.ndarray, moved: np.ndarray, gained: float, evaluations: int
    ) -> bool:
        return (
            evaluations >= group["max_eval"]
            or bool(np.abs(grad).max(initial=0) <= group["tolerance_grad"])
            or bool(np.abs(moved).max(initial=0) <= group["tolerance_change"])
            or abs(gained) < group["tolerance_change"]
        )

    @staticmethod
    def _direction(state: State, grad: np.ndarray, group: Group) -> np.ndarray:
        """The way down: the gradient, bent by what the last steps said of the curvature."""
        if state["n_iter"] == 1:
            state["d"], state["H_diag"] = -grad, 1.0
            state["old_dirs"], state["old_stps"], state["ro"] = [], [], []
            return state["d"]  # type: ignore[no-any-return]
        changes, steps, ro = state["old_dirs"], state["old_stps"], state["ro"]
        change, step = grad - state["prev_flat_grad"], state["d"] * state["t"]
        curvature = float(change.dot(step))
        if curvature > 1e-10:
            if len(changes) == group["history_size"]:
                for kept in (changes, steps, ro):
                    kept.pop(0)
            changes.append(change)
            steps.append(step)
            ro.append(1.0 / curvature)
            state["H_diag"] = curvature / float(change.dot(change))
        weights = [0.0] * len(changes)
        q = -grad
        for i in range(len(changes) - 1, -1, -1):
            weights[i] = float(steps[i].dot(q)) * ro[i]
            q = q - weights[i] * changes[i]
        r: np.ndarray = q * state["H_diag"]
        for i in range(len(changes)):
            r = r + steps[i] * (weights[i] - float(changes[i].dot(r)) * ro[i])
        state["d"] = r
        return r
