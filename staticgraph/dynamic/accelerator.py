"""`torch.accelerator`: there is none."""

from __future__ import annotations


def is_available() -> bool:
    """False: tensors live on the CPU."""
    return False


def current_accelerator() -> None:
    """None: there is no accelerator."""


def device_count() -> int:
    """0."""
    return 0
