"""Setting random elements to 0 while training."""

from __future__ import annotations

from staticgraph.dynamic.creation import rand
from staticgraph.dynamic.refusals import bad_value
from staticgraph.dynamic.tensor import Tensor


def _dropped(input: Tensor, p: float, training: bool, mask_shape: tuple[int, ...]) -> Tensor:
    if not 0.0 <= p <= 1.0:
        raise bad_value(f"a dropout probability is in [0, 1], got {p}")
    if not training or p == 0.0:
        return input
    if p == 1.0:
        made: Tensor = input * 0.0
        return made
    kept = (rand(mask_shape) >= p).to(input.dtype)
    made = input * (kept / (1.0 - p))
    return made


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Set elements to 0 with probability `p` and divide the others by ``1 - p``.

    Outside training the input itself comes back.
    """
    return _dropped(input, p, training, tuple(input.shape))


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Set whole channels ``[n, c, :]`` to 0."""
    return _channels(input, p, training, 1)


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Set whole channels ``[n, c, :, :]`` to 0."""
    return _channels(input, p, training, 2)


def _channels(input: Tensor, p: float, training: bool, rank: int) -> Tensor:
    if input.dim() not in (rank + 1, rank + 2):
        raise bad_value(f"dropout{rank}d takes {rank + 2} axes, got {list(input.shape)}")
    lead = tuple(input.shape[: input.dim() - rank])
    return _dropped(input, p, training, (*lead, *(1,) * rank))
