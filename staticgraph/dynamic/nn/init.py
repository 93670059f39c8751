"""Starting values: functions that fill a tensor in place, as `torch.nn.init`.

None of them is recorded for gradients, and all draw from the generator that `manual_seed` sets.
"""

from __future__ import annotations

import math

import numpy as np

from staticgraph.dynamic.creation import from_numpy
from staticgraph.dynamic.modes import no_grad
from staticgraph.dynamic.refusals import bad_value, warn
from staticgraph.dynamic.tensor import Tensor
from staticgraph.errors import ShapeError
from staticgraph.ir.loc import caller


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the size of activations the same behind a nonlinearity.

    >>> calculate_gain("relu") ** 2
    2.0000000000000004
    """
    plain = "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d sigmoid"
    if nonlinearity in plain.split():
        return 1.0
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else float(param)
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        return 3.0 / 4
    raise bad_value(f"calculate_gain knows no nonlinearity {nonlinearity!r}")


def _fans(tensor: Tensor) -> tuple[int, int]:
    """How many inputs and outputs a weight connects."""
    if tensor.dim() < 2:
        raise ShapeError(
            f"fan in and fan out need a weight of two axes or more, got {list(tensor.shape)}",
            loc=caller(),
        )
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _filled(tensor: Tensor, values: np.ndarray) -> Tensor:
    with no_grad():
        made: Tensor = tensor.copy_(from_numpy(values.astype(tensor.detach().numpy().dtype)))
        return made


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Numbers from [a, b), all equally likely."""
    with no_grad():
        made: Tensor = tensor.uniform_(a, b)
        return made


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal numbers."""
    with no_grad():
        made: Tensor = tensor.normal_(mean, std)
        return made


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Tensor:
    """Normal numbers, those outside [a, b] drawn again."""
    with no_grad():
        tensor.normal_(mean, std)
        while True:
            values = tensor.detach().numpy()
            outside = (values < a) | (values > b)
            count = int(outside.sum())
            if not count:
                return tensor
            again = np.array(values)
            again[outside] = from_numpy(np.zeros(count, values.dtype)).normal_(mean, std).numpy()
            tensor.copy_(from_numpy(again))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """One number everywhere."""
    with no_grad():
        made: Tensor = tensor.fill_(val)
        return made


def ones_(tensor: Tensor) -> Tensor:
    """Ones."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros."""
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix."""
    if tensor.dim() != 2:
        raise ShapeError(f"eye_ takes a matrix, got {list(tensor.shape)}", loc=caller())
    return _filled(tensor, np.eye(*tensor.shape))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform numbers of variance ``2 gain**2 / (fan_in + fan_out)``."""
    fan_in, fan_out = _fans(tensor)
    bound = math.sqrt(3.0) * gain * math.sqrt(2.0 / (fan_in + fan_out))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Normal numbers of variance ``2 gain**2 / (fan_in + fan_out)``."""
    fan_in, fan_out = _fans(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / (fan_in + fan_out)))


def _deviation(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise bad_value(f"mode is 'fan_in' or 'fan_out', not {mode!r}")
    fan = _fans(tensor)[mode == "fan_out"]
    if fan == 0:
        return 0.0
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Uniform numbers of variance ``gain**2 / fan``.

    >>> import staticgraph.dynamic as torch
    >>> w = kaiming_uniform_(torch.empty(50, 100), nonlinearity="relu")
    >>> bool((w.abs() <= (6 / 100) ** 0.5).all())
    True
    """
    if not tensor.numel():
        warn("a tensor without elements has no starting values")
        return tensor
    bound = math.sqrt(3.0) * _deviation(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Normal numbers of variance ``gain**2 / fan``."""
    if not tensor.numel():
        warn("a tensor without elements has no starting values")
        return tensor
    return normal_(tensor, 0.0, _deviation(tensor, a, mode, nonlinearity))


def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """A matrix with orthogonal rows or columns, the axes behind the first taken together."""
    if tensor.dim() < 2:
        raise ShapeError(
            f"orthogonal_ takes two axes or more, got {list(tensor.shape)}", loc=caller()
        )
    if not tensor.numel():
        return tensor
    rows, columns = tensor.shape[0], tensor.numel() // tensor.shape[0]
    flat = from_numpy(np.zeros((rows, columns))).normal_(0.0, 1.0).numpy()
    q, r = np.linalg.qr(flat.T if rows < columns else flat)
    q = q * np.sign(np.diag(r))
    return _filled(tensor, gain * (q.T if rows < columns else q).reshape(tuple(tensor.shape)))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01) -> Tensor:
    """Normal numbers, and in each column a share of zeros at random places."""
    if tensor.dim() != 2:
        raise ShapeError(f"sparse_ takes a matrix, got {list(tensor.shape)}", loc=caller())
    normal_(tensor, 0.0, std)
    rows, columns = tensor.shape
    order = np.argsort(from_numpy(np.zeros((rows, columns))).uniform_(0.0, 1.0).numpy(), axis=0)
    values = np.array(tensor.detach().numpy())
    np.put_along_axis(values, order[: math.ceil(sparsity * rows)], 0.0, axis=0)
    return _filled(tensor, values)


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """A convolution that gives its input back."""
    if tensor.dim() not in (3, 4, 5) or tensor.shape[0] % groups:
        raise ShapeError(
            f"dirac_ takes three to five axes and groups that divide the first, got "
            f"{list(tensor.shape)} and {groups}",
            loc=caller(),
        )
    values = np.zeros(tuple(tensor.shape))
    middle = tuple(n // 2 for n in tensor.shape[2:])
    each = tensor.shape[0] // groups
    for g in range(groups):
        for i in range(min(each, tensor.shape[1])):
            values[(g * each + i, i, *middle)] = 1.0
    return _filled(tensor, values)
