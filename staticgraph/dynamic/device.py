"""Devices: there is one, the CPU; the names of others are understood and refused."""

from __future__ import annotations

from typing import Any, ClassVar

from staticgraph.errors import UnimplementedError, UsageError
from staticgraph.ir import loc


class Device:
    """A place where tensors live.

    >>> Device("cpu")
    device(type='cpu')
    """

    KINDS: ClassVar = frozenset(("cpu", "cuda", "mps", "xpu", "mtia", "meta"))
    type: str
    index: int | None

    def __init__(self, name: Any = "cpu", index: int | None = None) -> None:
        kind = name.type if isinstance(name, Device) else str(name)
        kind, _, number = kind.partition(":")
        if kind not in self.KINDS:
            raise UsageError(
                f"there is no device {name!r}", loc=loc.caller(), hint="use torch.device('cpu')"
            )
        if kind != "cpu":
            raise self.unavailable(name)
        self.type, self.index = kind, int(number) if number else index

    @staticmethod
    def unavailable(name: Any) -> UnimplementedError:
        """The error for a device that is not the CPU."""
        return UnimplementedError(
            f"tensors live on the CPU; {str(name)!r} is not available", loc=loc.caller(),
            hint="use torch.device('cpu')",
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return other == str(self)
        return isinstance(other, Device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        number = "" if self.index is None else f", index={self.index}"
        return f"device(type={self.type!r}{number})"

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing changes: all tensors are made here."""


def set_default_device(device: Any) -> None:
    """Choose where tensors are made; UnimplementedError for all but the CPU."""
    Device(device)


def get_default_device() -> Device:
    """Where tensors are made."""
    return Device("cpu")
