"""The stream that random tensors are drawn from: Philox, as on the static side.

After ``manual_seed(s)`` the first draw is what a graph's operation with ``seed=s`` draws first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from staticgraph.dynamic.modes import MODES
from staticgraph.errors import UnimplementedError, UsageError
from staticgraph.ir import loc, philox
from staticgraph.ir.op import Op


class Generator:
    """A stream of random numbers with a position.

    >>> g = Generator().manual_seed(3)
    >>> g.initial_seed()
    3
    """

    def __init__(self, device: object = None) -> None:
        del device
        self.pair = philox.fresh_pair()
        self.counter = 0
        self._seed = self.pair[0]

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream that belongs to `seed`."""
        try:
            self._seed = int(seed)
        except (TypeError, ValueError):
            raise UsageError(f"a seed is an integer, got {seed!r}", loc=loc.caller()) from None
        found = philox.seed_pair(None, self._seed, 0)
        assert found is not None
        self.pair, self.counter = found, 0
        return self

    def seed(self) -> int:
        """Start a stream taken from the system's entropy and return its seed."""
        self.__init__()  # type: ignore[misc]
        return self._seed

    def initial_seed(self) -> int:
        """The seed of the stream."""
        return self._seed

    def tensor(
        self,
        pure: Op,
        arrays: tuple[np.ndarray, ...],
        attrs: dict[str, Any],
        wrap: Callable[[np.ndarray], Any],
    ) -> Any:
        """`take` as a tensor; in a traced function the position is taken with every call."""
        if MODES.tracer is not None:
            return MODES.tracer.draw(self, pure, arrays, attrs)
        return wrap(self.take(pure, arrays, attrs))

    def get_state(self) -> tuple[int, int, int]:
        """What `set_state` takes to come back to this position."""
        return (*self.pair, self.counter)

    def set_state(self, state: tuple[int, int, int]) -> Generator:
        """Go to a position that `get_state` gave."""
        a, b, self.counter = (int(v) for v in state)
        self.pair = a, b
        return self

    def take(self, pure: Op, arrays: tuple[np.ndarray, ...], attrs: dict[str, Any]) -> np.ndarray:
        """Draw by a record that takes the position first, and move on."""
        if MODES.tracer is not None:
            raise UnimplementedError(
                "a tensor is filled with random numbers in place inside a traced function",
                loc=loc.caller(),
                hint="make a new one with torch.rand, torch.randn or torch.bernoulli",
            )
        assert pure.numpy is not None
        out, after = pure.numpy(
            np.array(self.counter, np.int64), *arrays, seed=self.pair[0], seed2=self.pair[1],
            **attrs,
        )  # fmt: skip
        self.counter = int(after)
        return np.asarray(out)


DEFAULT = Generator()


def manual_seed(seed: int) -> Generator:
    """Start the stream of `seed` for all draws that name no generator.

    >>> import staticgraph.dynamic as torch
    >>> _ = torch.manual_seed(1)
    >>> a = torch.rand(3)
    >>> _ = torch.manual_seed(1)
    >>> torch.equal(a, torch.rand(3))
    True
    """
    return DEFAULT.manual_seed(seed)


def seed() -> int:
    """Start a stream taken from the system's entropy."""
    return DEFAULT.seed()


def initial_seed() -> int:
    """The seed of the stream in use."""
    return DEFAULT.initial_seed()


def draw(op: Op, flat: list[Any], attrs: dict[str, Any], wrap: Callable[[np.ndarray], Any]) -> Any:
    """Run an op with the effect "random" by the pure record that it stands for."""
    assert op.decompose is not None
    if not (attrs["seed"] or attrs["seed2"]):
        attrs["seed"], attrs["seed2"] = DEFAULT.pair
        out, after = op.decompose(wrap(np.array(DEFAULT.counter, np.int64)), *flat, **attrs)
        DEFAULT.counter = int(after)
        return out
    return op.decompose(wrap(np.array(0, np.int64)), *flat, **attrs)[0]
