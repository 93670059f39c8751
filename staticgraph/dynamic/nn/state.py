"""Loading a `state_dict`: everything is compared before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from staticgraph.dynamic.creation import from_numpy
from staticgraph.dynamic.modes import no_grad
from staticgraph.dynamic.nn.parameter import Parameter
from staticgraph.dynamic.tensor import Tensor
from staticgraph.errors import StateDictError, UsageError
from staticgraph.ir.loc import caller

if TYPE_CHECKING:
    from staticgraph.dynamic.nn.module import Module


class IncompatibleKeys(NamedTuple):
    """Names that were in the module or in the state, but not in both."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return (
            f"IncompatibleKeys(missing_keys={self.missing_keys}, "
            f"unexpected_keys={self.unexpected_keys})"
        )


class _Place(NamedTuple):
    """Where a name's value lives."""

    table: dict[str, Any]
    name: str


def _places(module: Module) -> dict[str, _Place]:
    out: dict[str, _Place] = {}
    for path, owner in module.named_modules(remove_duplicate=False):
        for table in (owner._parameters, owner._buffers):
            for name, value in table.items():
                if value is not None and name not in owner._transient:
                    out[f"{path}.{name}" if path else name] = _Place(table, name)
    return out


def _as_array(name: str, value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        return value.detach().numpy()
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    raise UsageError(
        f"load_state_dict: {name!r} is a {type(value).__name__}, not a tensor", loc=caller()
    )


def _listed(names: list[str]) -> str:
    return ", ".join(repr(n) for n in names)


def _faults(
    places: Mapping[str, _Place], arrays: Mapping[str, np.ndarray], keys: IncompatibleKeys,
    strict: bool,
) -> list[str]:  # fmt: skip
    faults: list[str] = []
    if strict and keys.unexpected_keys:
        faults.append(f"Unexpected key(s) in state_dict: {_listed(keys.unexpected_keys)}.")
    if strict and keys.missing_keys:
        faults.append(f"Missing key(s) in state_dict: {_listed(keys.missing_keys)}.")
    for name, array in arrays.items():
        own = places[name].table[places[name].name]
        if tuple(own.shape) != array.shape:
            faults.append(
                f"size mismatch for {name}: copying a param with shape {list(array.shape)} from "
                f"checkpoint, the shape in current model is {list(own.shape)}."
            )
    return faults


def _assigned(own: Tensor, given: Any, array: np.ndarray) -> Tensor:
    """What stands in the place of `own` where values are not copied."""
    if not isinstance(own, Parameter):
        return from_numpy(array)
    if isinstance(given, Parameter):
        return given
    return Parameter(from_numpy(array), own.requires_grad)  # type: ignore[no-any-return]


def load_state(
    module: Module, state: Mapping[str, Any], strict: bool, assign: bool
) -> IncompatibleKeys:
    """Put the values of `state` into `module`; see `Module.load_state_dict`."""
    if not isinstance(state, Mapping):
        raise UsageError(
            f"load_state_dict takes a dict of tensors, got {type(state).__name__}", loc=caller()
        )
    places = _places(module)
    keys = IncompatibleKeys(
        [n for n in places if n not in state], [n for n in state if n not in places]
    )
    arrays = {n: _as_array(n, state[n]) for n in places if n in state}
    faults = _faults(places, arrays, keys, strict)
    if faults:
        raise StateDictError(
            f"Error(s) in loading state_dict for {type(module).__name__}:\n\t"
            + "\n\t".join(faults),
            loc=caller(),
        )
    for name, array in arrays.items():
        table, key = places[name]
        if assign:
            table[key] = _assigned(table[key], state[name], array)
        else:
            with no_grad():
                table[key].copy_(from_numpy(array))
    return keys
