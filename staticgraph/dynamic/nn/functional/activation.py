"""Activation functions, as PyTorch's of the same names.

`inplace` is accepted for programs that pass it; results are always new tensors, since what a
gradient needs may not change.
"""

from __future__ import annotations

import math

from staticgraph.dynamic import elementwise as E
from staticgraph.dynamic.refusals import bad_value, warn
from staticgraph.dynamic.tensor import Tensor
from staticgraph.errors import ShapeError
from staticgraph.ir.loc import caller
from staticgraph.ops import activation as records
from staticgraph.ops.arithmetic import maximum, minimum
from staticgraph.ops.comparison import greater, less_equal
from staticgraph.ops.join import split
from staticgraph.ops.select import select_v2
from staticgraph.ops.shape import transpose
from staticgraph.ops.softmax import log_softmax as log_softmax_record
from staticgraph.ops.softmax import softmax as softmax_record
from staticgraph.ops.transcendental import softplus as softplus_record


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``max(0, x)``.

    >>> import staticgraph.dynamic as torch
    >>> torch.nn.functional.relu(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    out: Tensor = E.relu(input)
    return out


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """``min(max(0, x), 6)``."""
    out: Tensor = records.relu6(input)
    return out


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``x`` where it is positive, else ``alpha * (exp(x) - 1)``."""
    if alpha == 1.0:
        out: Tensor = records.elu(input)
        return out
    out = E.relu(input) + alpha * E.expm1(minimum(input, 0.0))
    return out


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """The scaled exponential unit."""
    out: Tensor = records.selu(input)
    return out


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``max(0, x) + min(0, alpha * (exp(x / alpha) - 1))``."""
    out: Tensor = E.relu(input) + alpha * E.expm1(minimum(input, 0.0) / alpha)
    return out


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``x`` where it is positive, else ``negative_slope * x``."""
    if 0.0 <= negative_slope <= 1.0:
        out: Tensor = records.leaky_relu(input, alpha=float(negative_slope))
        return out
    out = select_v2(greater(input, 0.0), input, negative_slope * input)
    return out


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """As `leaky_relu`, with a slope that is learned: one for all, or one per channel (axis 1)."""
    if weight.numel() != 1:
        channels = input.shape[1] if input.dim() > 1 else 1
        if weight.numel() != channels:
            raise ShapeError(
                f"prelu: {weight.numel()} slopes for an input of {channels} channels", loc=caller()
            )
        if input.dim() > 1:
            weight = weight.reshape(-1, *(1,) * (input.dim() - 2))
    out: Tensor = select_v2(greater(input, 0.0), input, weight * input)
    return out


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """``x`` times the probability that a normal number is less than it."""
    if approximate == "none":
        made: Tensor = input * 0.5 * (1.0 + E.erf(input * math.sqrt(0.5)))
        return made
    if approximate == "tanh":
        inner = math.sqrt(2.0 / math.pi) * (input + 0.044715 * input * input * input)
        made = input * 0.5 * (1.0 + E.tanh(inner))
        return made
    raise bad_value(f"gelu: approximate is 'none' or 'tanh', not {approximate!r}")


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """``x * sigmoid(x)``."""
    made: Tensor = input * E.sigmoid(input)
    return made


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """``x * tanh(softplus(x))``."""
    made: Tensor = input * E.tanh(softplus_record(input))
    return made


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    out: Tensor = E.tanh(input)
    return out


def sigmoid(input: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))``."""
    out: Tensor = E.sigmoid(input)
    return out


def logsigmoid(input: Tensor) -> Tensor:
    """``log(sigmoid(x))``, exact where the sigmoid is nearly 0."""
    out: Tensor = -softplus_record(-input)
    return out


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + exp(beta * x)) / beta``; ``x`` itself where ``beta * x`` is above `threshold`."""
    scaled = input if beta == 1.0 else input * beta
    soft = softplus_record(scaled)
    if beta != 1.0:
        soft = soft / beta
    out: Tensor = select_v2(greater(scaled, threshold), input, soft)
    return out


def softsign(input: Tensor) -> Tensor:
    """``x / (1 + abs(x))``."""
    out: Tensor = records.softsign(input)
    return out


def tanhshrink(input: Tensor) -> Tensor:
    """``x - tanh(x)``."""
    made: Tensor = input - E.tanh(input)
    return made


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """`x` clipped; no gradient at the bounds."""
    if min_val > max_val:
        raise bad_value(f"hardtanh: min_val {min_val} is above max_val {max_val}")
    out: Tensor = minimum(max_val, maximum(min_val, input))
    return out


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """``relu6(x + 3) / 6``."""
    out: Tensor = records.relu6(input + 3.0) / 6.0
    return out


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """``x * relu6(x + 3) / 6``."""
    made: Tensor = input * hardsigmoid(input)
    return made


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """`x` where it is above `threshold`, else `value`."""
    out: Tensor = select_v2(greater(input, threshold), input, value)
    return out


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """`x`, and 0 where it is within `lambd` of 0."""
    out: Tensor = select_v2(less_equal(abs(input), lambd), 0.0, input)
    return out


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """`x` moved towards 0 by `lambd`, and 0 where it is that near."""
    if lambd < 0:
        raise bad_value(f"softshrink: lambd must not be negative, got {lambd}")
    return E.relu(input - lambd) - E.relu(-input - lambd)  # type: ignore[no-any-return]


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half of an axis times the sigmoid of the second."""
    n = input.shape[dim]
    if n % 2:
        raise ShapeError(f"glu: axis {dim} has {n} elements, not an even number", loc=caller())
    a, b = split(dim, input, num_split=2)
    out: Tensor = a * E.sigmoid(b)
    return out


# ---------------------------------------------------------------- along an axis
def _axis(name: str, input: Tensor, dim: int | None) -> int:
    rank = input.dim()
    if dim is None:
        dim = 0 if rank in (0, 1, 3) else 1
        warn(f"{name} chose axis {dim}: pass dim= to say which one is meant")
    if not -max(rank, 1) <= dim < max(rank, 1):
        raise ShapeError(f"{name}: dim {dim} is outside a tensor of rank {rank}", loc=caller())
    return dim % max(rank, 1)


def _along(record: object, name: str, input: Tensor, dim: int | None) -> Tensor:
    axis, rank = _axis(name, input, dim), input.dim()
    if rank == 0:
        return record(input.reshape(1)).reshape(())  # type: ignore[operator, no-any-return]
    if axis == rank - 1:
        return record(input)  # type: ignore[operator, no-any-return]
    order = [*range(rank)]
    order[axis], order[-1] = order[-1], order[axis]
    out: Tensor = transpose(record(transpose(input, order)), order)  # type: ignore[operator]
    return out


def softmax(input: Tensor, dim: int | None = None, dtype: object = None) -> Tensor:
    """``exp(x) / sum(exp(x))`` along `dim`.

    >>> import staticgraph.dynamic as torch
    >>> torch.nn.functional.softmax(torch.zeros(2, 4), dim=1)[0]
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    return _along(softmax_record, "softmax", _converted(input, dtype), dim)


def log_softmax(input: Tensor, dim: int | None = None, dtype: object = None) -> Tensor:
    """The logarithm of `softmax`, exact where that is nearly 0."""
    return _along(log_softmax_record, "log_softmax", _converted(input, dtype), dim)


def softmin(input: Tensor, dim: int | None = None, dtype: object = None) -> Tensor:
    """`softmax` of ``-x``."""
    return _along(softmax_record, "softmin", _converted(-input, dtype), dim)


def _converted(input: Tensor, dtype: object) -> Tensor:
    return input if dtype is None else input.to(dtype)
