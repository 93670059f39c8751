"""Gradient descent, momentum, and their proximal forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgraph.api.variables import Variable
from staticgraph.ir.graph import Operation, Tensor
from staticgraph.ir.op import lookup
from staticgraph.train.optimizer import Optimizer
from staticgraph.train.rows import Part


class GradientDescentOptimizer(Optimizer):
    """``w -= learning_rate * g``.

    >>> import staticgraph as tf
    >>> w = tf.Variable(3.0)
    >>> step = tf.train.GradientDescentOptimizer(0.1).minimize(w * w)
    >>> step.name
    'GradientDescent'
    """

    def __init__(
        self, learning_rate: Any, use_locking: bool = False, name: str = "GradientDescent"
    ) -> None:
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate

    _zero_stays = True

    def _prepare(self) -> None:
        self._hyper("learning_rate", self._learning_rate)

    def _apply_part(self, part: Part, var: Variable) -> Operation:
        part.subtract(var, self._in_dtype("learning_rate", var) * part.grad)
        return part.done()

    def _goes_by_rows(self, grad: Tensor) -> bool:
        # The slices of one look-up are subtracted as they come, duplicates one after the other.
        return grad.op.type != "GatherGrad" and super()._goes_by_rows(grad)


class MomentumOptimizer(Optimizer):
    """``a = momentum * a + g``, then ``w -= learning_rate * a``.

    Args:
      use_nesterov: ``w -= learning_rate * (g + momentum * a)`` with the new ``a``.
    """

    def __init__(
        self, learning_rate: Any, momentum: Any, use_locking: bool = False, name: str = "Momentum",
        use_nesterov: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(use_locking, name)
        self._learning_rate, self._momentum, self._use_nesterov = (
            learning_rate,
            momentum,
            use_nesterov,
        )

    def _create_slots(self, var_list: Sequence[Variable]) -> None:
        for v in var_list:
            self._slot(v, "momentum", self._name)

    def _prepare(self) -> None:
        self._hyper("learning_rate", self._learning_rate)
        self._hyper("momentum", self._momentum)

    def _apply_part(self, part: Part, var: Variable) -> Operation:
        grad = part.grad
        rate, momentum = self._in_dtype("learning_rate", var), self._in_dtype("momentum", var)
        slot = self._slot(var, "momentum", self._name)
        a = part.assign(slot, part.at(slot) * momentum + grad)
        part.subtract(var, grad * rate + a * momentum * rate if self._use_nesterov else a * rate)
        return part.done()


def shrink(x: Any, by: Any) -> Any:
    """Move `x` towards zero by `by`, not across it."""
    return lookup("Sign")(x) * lookup("Maximum")(lookup("Abs")(x) - by, 0.0)


class ProximalGradientDescentOptimizer(Optimizer):
    """Gradient descent with L1 and L2 regularisation taken into the step.

    ``p = w - learning_rate * g``, then
    ``w = sign(p) * max(|p| - learning_rate * l1, 0) / (1 + learning_rate * l2)``.
    """

    def __init__(
        self, learning_rate: Any, l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0, use_locking: bool = False,
        name: str = "ProximalGradientDescent",
    ) -> None:  # fmt: skip
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._l1, self._l2 = l1_regularization_strength, l2_regularization_strength

    def _prepare(self) -> None:
        self._hyper("learning_rate", self._learning_rate)
        self._hyper("l1_regularization_strength", self._l1)
        self._hyper("l2_regularization_strength", self._l2)

    def _apply_part(self, part: Part, var: Variable) -> Operation:
        grad, here = part.grad, part.at(var)
        rate = self._in_dtype("learning_rate", var)
        l1 = self._in_dtype("l1_regularization_strength", var)
        l2 = self._in_dtype("l2_regularization_strength", var)
        part.assign(var, shrink(here - rate * grad, rate * l1) / (1.0 + rate * l2))
        return part.done()


class ProximalAdagradOptimizer(Optimizer):
    """Adagrad with L1 and L2 regularisation taken into the step."""

    def __init__(
        self, learning_rate: Any, initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0, l2_regularization_strength: float = 0.0,
        use_locking: bool = False, name: str = "ProximalAdagrad",
    ) -> None:  # fmt: skip
        super().__init__(use_locking, name)
        self._learning_rate, self._start = learning_rate, initial_accumulator_value
        self._l1, self._l2 = l1_regularization_strength, l2_regularization_strength

    def _create_slots(self, var_list: Sequence[Variable]) -> None:
        for v in var_list:
            self._slot(v, "accumulator", self._name, self._start)

    def _prepare(self) -> None:
        self._hyper("learning_rate", self._learning_rate)
        self._hyper("l1_regularization_strength", self._l1)
        self._hyper("l2_regularization_strength", self._l2)

    def _apply_part(self, part: Part, var: Variable) -> Operation:
        grad, here = part.grad, part.at(var)
        l1 = self._in_dtype("l1_regularization_strength", var)
        l2 = self._in_dtype("l2_regularization_strength", var)
        slot = self._slot(var, "accumulator", self._name)
        accumulator = part.add(slot, lookup("Square")(grad))
        rate = self._in_dtype("learning_rate", var) * lookup("Rsqrt")(accumulator)
        part.assign(var, shrink(here - rate * grad, rate * l1) / (1.0 + rate * l2))
        return part.done()


__all__ = [
    "GradientDescentOptimizer", "MomentumOptimizer", "ProximalAdagradOptimizer",
    "ProximalGradientDescentOptimizer",
]  # fmt: skip
