"""Optimizers that scale each element's step by the history of its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgraph.api.casting import cast
from staticgraph.api.framework import group
from staticgraph.api.variables import Variable
from staticgraph.errors import GraphError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.dtypes import DType
from staticgraph.ir.graph import Operation, Tensor
from staticgraph.ir.op import lookup
from staticgraph.train.optimizer import Optimizer
from staticgraph.train.rows import Part


def _square(x: Any) -> Any:
    return lookup("Square")(x)


def _sqrt(x: Any) -> Any:
    return lookup("Sqrt")(x)


def _rsqrt(x: Any) -> Any:
    return lookup("Rsqrt")(x)


class AdagradOptimizer(Optimizer):
    """``a += g**2``, then ``w -= learning_rate * g / sqrt(a)``."""

    _zero_stays = True

    def __init__(
        self,
        learning_rate: Any,
        initial_accumulator_value: float = 0.1,
        use_locking: bool = False,
        name: str = "Adagrad",
    ) -> None:
        if initial_accumulator_value <= 0.0:
            raise GraphError(
                f"initial_accumulator_value must be positive, got {initial_accumulator_value}",
                loc=loc.caller(),
            )
        super().__init__(use_locking, name)
        self._learning_rate, self._start = learning_rate, initial_accumulator_value

    def _create_slots(self, var_list: Sequence[Variable]) -> None:
        for v in var_list:
            self._slot(v, "accumulator", self._name, self._start)

    def _prepare(self) -> None:
        self._hyper("learning_rate", self._learning_rate)

    def _apply_part(self, part: Part, var: Variable) -> Operation:
        grad = part.grad
        a = part.add(self._slot(var, "accumulator", self._name), _square(grad))
        part.subtract(var, self._in_dtype("learning_rate", var) * grad * _rsqrt(a))
        return part.done()


class AdadeltaOptimizer(Optimizer):
    """Steps in the ratio of the decayed averages of past steps and past gradients.

    ``a = rho * a + (1 - rho) * g**2``, ``u = g * sqrt(d + epsilon) / sqrt(a + epsilon)``,
    ``d = rho * d + (1 - rho) * u**2``, ``w -= learning_rate * u``.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: Any = 0.95,
        epsilon: Any = 1e-8,
        use_locking: bool = False,
        name: str = "Adadelta",
    ) -> None:
        super().__init__(use_locking, name)
        self._learning_rate, self._rho, self._epsilon = learning_rate, rho, epsilon

    def _create_slots(self, var_list: Sequence[Variable]) -> None:
        for v in var_list:
            self._slot(v, "accum", self._name)
            self._slot(v, "accum_update", self._name)

    def _prepare(self) -> None:
        self._hyper("lr", self._learning_rate)
        self._hyper("rho", self._rho)
        self._hyper("epsilon", self._epsilon)

    def _apply_part(self, part: Part, var: Variable) -> Operation:
        grad = part.grad
        rate, rho, epsilon = (self._in_dtype(k, var) for k in ("lr", "rho", "epsilon"))
        gradients = self._slot(var, "accum", self._name)
        steps = self._slot(var, "accum_update", self._name)
        a = part.assign(gradients, rho * part.at(gradients) + (1.0 - rho) * _square(grad))
        old = part.at(steps)
        u = _sqrt(old + epsilon) * _rsqrt(a + epsilon) * grad
        part.assign(steps, rho * old + (1.0 - rho) * _square(u))
        part.subtract(var, rate * u)
        return part.done()


class RMSPropOptimizer(Optimizer):
    """Gradients divided by the root of their decayed mean square.

    ``s += (1 - decay) * (g**2 - s)``, ``m = momentum * m + learning_rate * g / sqrt(s + epsilon)``,
    ``w -= m``; ``s`` starts at 1.

    Args:
      centered: divide by the decayed variance instead of the decayed mean square.
    """

    def __init__(
        self,
        learning_rate: Any,
        decay: Any = 0.9,
        momentum: Any = 0.0,
        epsilon: Any = 1e-10,
        use_locking: bool = False,
        centered: bool = False,
        name: str = "RMSProp",
    ) -> None:
        super().__init__(use_locking, name)
        self._learning_rate, self._decay, self._momentum = learning_rate, decay, momentum
        self._epsilon, self._centered = epsilon, centered

    def _create_slots(self, var_list: Sequence[Variable]) -> None:
        for v in var_list:
            self._slot(v, "rms", self._name, 1.0)
            if self._centered:
                self._slot(v, "mg", self._name)
            self._slot(v, "momentum", self._name)

    def _prepare(self) -> None:
        self._hyper("learning_rate", self._learning_rate)
        self._hyper("decay", self._decay)
        self._hyper("momentum", self._momentum)
        self._hyper("epsilon", self._epsilon)

    def _apply_part(self, part: Part, var: Variable) -> Operation:
        grad = part.grad
        rate, decay = self._in_dtype("learning_rate", var), self._in_dtype("decay", var)
        momentum, epsilon = self._in_dtype("momentum", var), self._in_dtype("epsilon", var)
        rms, slot = self._slot(var, "rms", self._name), self._slot(var, "momentum", self._name)
        s = part.add(rms, (_square(grad) - part.at(rms)) * (1.0 - decay))
        spread = s
        if self._centered:
            mean = self._slot(var, "mg", self._name)
            spread = s - _square(part.add(mean, (grad - part.at(mean)) * (1.0 - decay)))
        m = part.assign(slot, part.at(slot) * momentum + rate * grad * _rsqrt(spread + epsilon))
        part.subtract(var, m)
        return part.done()


class AdamOptimizer(Optimizer):
    """Steps from decayed means of the gradient and its square, corrected for their start at 0.

    With t counting steps from 1: ``r = learning_rate * sqrt(1 - beta2**t) / (1 - beta1**t)``,
    ``m += (1 - beta1) * (g - m)``, ``v += (1 - beta2) * (g**2 - v)``,
    ``w -= r * m / (sqrt(v) + epsilon)``.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta1: Any = 0.9,
        beta2: Any = 0.999,
        epsilon: Any = 1e-8,
        use_locking: bool = False,
        name: str = "Adam",
    ) -> None:
        super().__init__(use_locking, name)
        self._lr, self._beta1, self._beta2, self._epsilon = learning_rate, beta1, beta2, epsilon

    def _powers(self) -> tuple[Variable, Variable]:
        def start(beta: Any) -> Any:
            return beta() if callable(beta) and not hasattr(beta, "dtype") else beta

        return (
            self._scalar_state("beta1_power", start(self._beta1), dtypes.float32),
            self._scalar_state("beta2_power", start(self._beta2), dtypes.float32),
        )

    def _create_slots(self, var_list: Sequence[Variable]) -> None:
        self._powers()
        for v in var_list:
            self._slot(v, "m", self._name)
            self._slot(v, "v", self._name)

    def _prepare(self) -> None:
        self._hyper("learning_rate", self._lr)
        self._hyper("beta1", self._beta1)
        self._hyper("beta2", self._beta2)
        self._hyper("epsilon", self._epsilon)
        self._tensors.pop("rate_float64", None)
        self._set_rate("rate", dtypes.float32)

    def _set_rate(self, name: str, dtype: DType) -> None:
        """Keep the size of a step under `name`, computed in `dtype`."""
        power1, power2 = (cast(p, dtype) for p in self._powers())
        rate = self._as("learning_rate", dtype)
        self._hyper(name, rate * _sqrt(1.0 - power2) / (1.0 - power1))

    def _apply_dense(self, grad: Tensor, var: Variable) -> Operation:
        beta1, beta2 = self._in_dtype("beta1", var), self._in_dtype("beta2", var)
        name = "rate_float64" if var.dtype.base is dtypes.float64 else "rate"
        if name not in self._tensors:
            self._set_rate(name, dtypes.float64)
        rate, epsilon = self._in_dtype(name, var), self._in_dtype("epsilon", var)
        mean, square = self._slot(var, "m", self._name), self._slot(var, "v", self._name)
        m = mean.assign_add((grad - mean) * (1.0 - beta1))
        v = square.assign_add((_square(grad) - square) * (1.0 - beta2))
        return var.assign_sub(rate * m / (_sqrt(v) + epsilon)).op  # type: ignore[no-any-return]

    def _finish(self, update_ops: Sequence[Operation], name_scope: str) -> Operation:
        power1, power2 = self._powers()
        return group(
            *update_ops,
            power1.assign(power1 * self._as("beta1", dtypes.float32)),
            power2.assign(power2 * self._as("beta2", dtypes.float32)),
            name=name_scope,
        )


class FtrlOptimizer(Optimizer):
    """Follow the regularized leader, proximally.

    With ``n`` the sum of squared gradients before and ``n'`` after the step, and ``p`` the negated
    `learning_rate_power`: ``z += g + 2 * l2_shrinkage * w - (n'**p - n**p) / learning_rate * w``,
    then ``w = (sign(z) * l1 - z) / (n'**p / learning_rate + 2 * l2)`` where ``|z| > l1``, else 0.
    """

    def __init__(
        self,
        learning_rate: Any,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        use_locking: bool = False,
        name: str = "Ftrl",
        accum_name: str | None = None,
        linear_name: str | None = None,
        l2_shrinkage_regularization_strength: float = 0.0,
    ) -> None:
        super().__init__(use_locking, name)
        for label, value, ok in (
            (
                "initial_accumulator_value must not be negative",
                initial_accumulator_value,
                initial_accumulator_value >= 0,
            ),
            (
                "learning_rate_power must not be positive",
                learning_rate_power,
                learning_rate_power <= 0,
            ),
            (
                "l1_regularization_strength must not be negative",
                l1_regularization_strength,
                l1_regularization_strength >= 0,
            ),
            (
                "l2_regularization_strength must not be negative",
                l2_regularization_strength,
                l2_regularization_strength >= 0,
            ),
        ):
            if not ok:
                raise GraphError(f"{label}, got {value}", loc=loc.caller())
        self._learning_rate, self._power = learning_rate, -learning_rate_power
        self._start = initial_accumulator_value
        self._l1, self._l2 = l1_regularization_strength, l2_regularization_strength
        self._shrinkage = l2_shrinkage_regularization_strength
        self._accum_name, self._linear_name = accum_name or name, linear_name or name

    def _create_slots(self, var_list: Sequence[Variable]) -> None:
        for v in var_list:
            self._slot(v, "accum", self._accum_name, float(self._start))
            self._slot(v, "linear", self._linear_name)

    def _prepare(self) -> None:
        self._hyper("learning_rate", self._learning_rate)
        self._hyper("l1_regularization_strength", self._l1)
        self._hyper("l2_regularization_strength", self._l2)

    def _raised(self, x: Any) -> Any:
        return _sqrt(x) if self._power == 0.5 else lookup("Pow")(x, self._power)

    def _apply_part(self, part: Part, var: Variable) -> Operation:
        grad = part.grad
        rate = self._in_dtype("learning_rate", var)
        l1 = self._in_dtype("l1_regularization_strength", var)
        l2 = self._in_dtype("l2_regularization_strength", var)
        squares = self._slot(var, "accum", self._accum_name)
        linear = self._slot(var, "linear", self._linear_name)
        weight, old = part.at(var), part.at(squares)
        total = old + _square(grad)
        push = grad + 2.0 * self._shrinkage * weight if self._shrinkage else grad
        z = part.add(linear, push - (self._raised(total) - self._raised(old)) / rate * weight)
        moved = (lookup("Sign")(z) * l1 - z) / (self._raised(total) / rate + 2.0 * l2)
        part.assign(squares, total)
        kept = lookup("Abs")(z) > l1
        part.assign(var, lookup("Select")(kept, moved, lookup("ZerosLike")(moved)))
        return part.done()


__all__ = [
    "AdadeltaOptimizer",
    "AdagradOptimizer",
    "AdamOptimizer",
    "FtrlOptimizer",
    "RMSPropOptimizer",
]
