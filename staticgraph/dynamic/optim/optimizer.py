"""`Optimizer`: parameters in groups with their options, and a state per parameter.

Updates are computed on the parameters' own memory, without recording.
"""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from staticgraph.dynamic.creation import from_numpy
from staticgraph.dynamic.modes import MODES, enable_grad
from staticgraph.dynamic.nn.module import clear_gradients
from staticgraph.dynamic.refusals import bad_value, warn
from staticgraph.dynamic.tensor import Tensor
from staticgraph.dynamic.versions import bump
from staticgraph.errors import UnimplementedError, UsageError
from staticgraph.ir.loc import caller

Closure = Callable[[], Any]
Group = dict[str, Any]
State = dict[str, Any]

COUNTERS = ("step", "mu_product", "eta", "mu")  # numbers of the state that keep their type
# Named by PyTorch for its own ways to run an update; there is one way here.
WAYS = {"foreach": None, "fused": None, "capturable": False, "differentiable": False}


class Optimizer:
    """The base of all optimizers.

    Args:
      params: tensors, or pairs of a name and a tensor, or dicts with a key ``"params"`` and
        options of their own.
      defaults: the options that hold where a group says nothing.
    """

    traceable: ClassVar[bool] = False
    """Whether `update` takes tensors for arrays: it decides nothing by their values."""

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.state: defaultdict[Tensor, State] = defaultdict(dict)
        self.param_groups: list[Group] = []
        self.steps_taken = 0
        if isinstance(params, Tensor):
            raise UsageError(
                "an optimizer takes an iterable of tensors or dicts, got a tensor", loc=caller(),
                hint="pass [tensor]",
            )  # fmt: skip
        groups = list(params)
        if not groups:
            raise bad_value("an optimizer needs parameters, the list is empty")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    # ---------------------------------------------------------------- groups
    def add_param_group(self, param_group: Group) -> None:
        """Add parameters with options of their own.

        Raises:
          UsageError: something that is not a tensor.
          ArgumentError: a tensor that was computed from others, or is in a group already.
        """
        if not isinstance(param_group, dict):
            raise UsageError(
                f"a parameter group is a dict, got {type(param_group).__name__}", loc=caller()
            )
        group = dict(param_group)
        params, names = _checked_params(group["params"])
        for name, default in self.defaults.items():
            group.setdefault(name, default)
        if len({id(p) for p in params}) != len(params):
            warn("a parameter stands in its group more than once and will be updated as often")
        known = {id(p) for g in self.param_groups for p in g["params"]}
        if known & {id(p) for p in params}:
            raise bad_value("some parameters appear in more than one parameter group")
        group["params"] = params
        if names:
            group["param_names"] = names
        self.check(group)
        self.param_groups.append(group)

    def check(self, group: Group) -> None:
        """ArgumentError where an option of a group has a value that makes no sense."""
        at_least_nought(group, "lr")
        if "weight_decay" in group:
            at_least_nought(group, "weight_decay")
        for way in ("capturable", "differentiable"):
            if group.get(way):
                raise UnimplementedError(f"{type(self).__name__}: {way}=True is not available")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        for group in self.param_groups:
            clear_gradients(group["params"], set_to_none)

    # ---------------------------------------------------------------- steps
    def step(self, closure: Closure | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
          closure: computes the loss and the gradients anew; called first.

        Returns:
          what `closure` gave.
        """
        if MODES.tracer is not None:
            return MODES.tracer.training.step(self, closure)
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        MODES.run(self._update_all)
        self.steps_taken += 1
        return loss

    def _update_all(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                grad = p.grad._array
                if group.get("maximize"):
                    grad = -grad
                self.update(p._array, grad, self._state(p, group), group)
                bump(p._version)

    def _state(self, p: Tensor, group: Group) -> State:
        state = self.state[p]
        if not state:
            state.update(self.initial(p._array, group))
        return state

    def initial(self, param: np.ndarray, group: Group) -> State:
        """What is kept of a parameter ahead of its first update."""
        return {}

    def update(self, param: np.ndarray, grad: np.ndarray, state: State, group: Group) -> None:
        """Change `param` in place."""
        raise NotImplementedError

    # ---------------------------------------------------------------- state
    def state_dict(self) -> dict[str, Any]:
        """State and options, parameters by their number: what `load_state_dict` takes."""
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                numbers.setdefault(id(p), len(numbers))
            packed = {k: v for k, v in group.items() if k != "params"}
            groups.append({**packed, "params": [numbers[id(p)] for p in group["params"]]})
        state = {numbers.get(id(p), p): s for p, s in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave, of an optimizer with the same parameters.

        Raises:
          ArgumentError: groups or their sizes differ; nothing has been changed.
        """
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise bad_value(
                f"the loaded state has {len(saved)} parameter groups, this optimizer has "
                f"{len(self.param_groups)}"
            )
        for i, (old, new) in enumerate(zip(saved, self.param_groups, strict=True)):
            if len(old["params"]) != len(new["params"]):
                raise bad_value(
                    f"parameter group {i} of the loaded state has {len(old['params'])} "
                    f"parameters, this optimizer's has {len(new['params'])}"
                )
        own = {
            number: p
            for old, new in zip(saved, self.param_groups, strict=True)
            for number, p in zip(old["params"], new["params"], strict=True)
        }
        state: defaultdict[Tensor, State] = defaultdict(dict)
        for number, kept in state_dict["state"].items():
            p = own.get(number)
            if p is not None:
                state[p] = {k: _taken(k, v, p) for k, v in kept.items()}
        groups = [
            {**copy.deepcopy({k: v for k, v in old.items() if k != "params"}), **_fixed(new)}
            for old, new in zip(saved, self.param_groups, strict=True)
        ]
        for old, new in zip(groups, self.param_groups, strict=True):
            for name, value in new.items():
                old.setdefault(name, value)
        self.state, self.param_groups = state, groups

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {group[k]}" for k in sorted(group) if k != "params"]
        return "\n".join([*lines, ")"])


def _checked_params(given: Any) -> tuple[list[Tensor], list[str]]:
    """The tensors of a group, and their names where they have some."""
    if isinstance(given, set):
        raise UsageError(
            "parameters must stand in an order, a set has none", loc=caller(), hint="pass a list"
        )
    given = [given] if isinstance(given, Tensor) else list(given)
    names = [p[0] for p in given if isinstance(p, tuple)]
    params = [p[1] if isinstance(p, tuple) else p for p in given]
    if names and len(names) != len(params):
        raise bad_value("all parameters of a group have names, or none")
    for p in params:
        if not isinstance(p, Tensor):
            raise UsageError(f"an optimizer takes tensors, got a {type(p).__name__}", loc=caller())
        if not p.is_leaf:
            raise bad_value("an optimizer takes leaves, and the tensor was computed from others")
    return params, names


def _fixed(group: Group) -> Group:
    """What a group keeps when options are loaded."""
    return {k: group[k] for k in ("params", "param_names") if k in group}


def _taken(name: str, value: Any, p: Tensor) -> Any:
    """A copy of a loaded value; what belongs to the elements has the parameter's type."""
    if not isinstance(value, Tensor):
        return copy.deepcopy(value)
    array = np.array(value.detach().numpy())
    if name not in COUNTERS and value.is_floating_point() and p.is_floating_point():
        array = array.astype(p._array.dtype)
    return from_numpy(array)


# ---------------------------------------------------------------- for the formulas
def at_least_nought(group: Group, name: str) -> None:
    """ArgumentError where an option is negative."""
    value = group.get(name)
    if value is not None and not float(value) >= 0.0:
        raise bad_value(f"{name} must not be negative, got {value}")


def check_betas(group: Group) -> None:
    """ArgumentError where the decay rates are not in [0, 1)."""
    for i, beta in enumerate(group["betas"]):
        if not 0.0 <= float(beta) < 1.0:
            raise bad_value(f"betas[{i}] must be in [0, 1), got {beta}")


def counter(value: float = 0.0) -> Tensor:
    """A number of the state, a scalar tensor as in PyTorch."""
    return from_numpy(np.array(value, np.float32))


def zeros_like(param: np.ndarray) -> Tensor:
    """Zeros for each element of a parameter."""
    return from_numpy(np.zeros_like(param))


# The formulas below, and those of traceable optimizers, take tensors in place of arrays as well:
# in a function that is compiled there are no arrays.
def advance(state: State) -> Any:
    """Count a step and return its number."""
    count = state["step"]._array
    count += 1
    return count.double() if isinstance(count, Tensor) else float(count)


def rate(group: Group) -> Any:
    """The learning rate."""
    lr = group["lr"]
    return lr.double() if isinstance(lr, Tensor) and MODES.tracer is not None else float(lr)


def sqrt(x: Any) -> Any:
    """The square root of an array, a number, or a tensor."""
    if isinstance(x, Tensor):
        return x.sqrt()
    return math.sqrt(x) if isinstance(x, float) else np.sqrt(x)


def keep_greatest(kept: Any, value: Any) -> None:
    """``kept = maximum(kept, value)``."""
    if isinstance(kept, Tensor):
        kept.copy_(kept.maximum(value))
    else:
        np.maximum(kept, value, out=kept)


def like(value: Any) -> Any:
    """A tensor of the state with a copy of `value`."""
    if not isinstance(value, Tensor):
        return from_numpy(np.array(value))
    return SimpleNamespace(_array=value.clone())


def decayed(param: np.ndarray, grad: np.ndarray, group: Group) -> np.ndarray:
    """The gradient with the derivative of the weights' squares added."""
    decay = group["weight_decay"]
    return grad + decay * param if decay else grad


def average(kept: np.ndarray, value: np.ndarray, weight: float) -> None:
    """Move `kept` by `weight` towards `value`."""
    kept += weight * (value - kept)


def mix_square(kept: np.ndarray, value: np.ndarray, keep: float) -> None:
    """``kept = keep * kept + (1 - keep) * value ** 2``."""
    kept *= keep
    kept += (1 - keep) * value * value
