"""`torch.cuda`: not available; programs that ask before they use it run on the CPU."""

from __future__ import annotations


def is_available() -> bool:
    """False: tensors live on the CPU."""
    return False


def device_count() -> int:
    """0."""
    return 0


def manual_seed_all(seed: int) -> None:
    """Nothing: there are no other generators to seed."""


manual_seed = manual_seed_all


def empty_cache() -> None:
    """Nothing: there is no cache."""


def synchronize() -> None:
    """Nothing: operations are done when they return."""
