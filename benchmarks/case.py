"""What a work is made of: its variants, its implementations, its targets.

A module of `benchmarks.works` defines

- a docstring, whose first line is the work's title;
- ``VARIANTS: dict[str, dict]``, the parameters of each variant, with those of ``--quick`` under
  the key ``"quick"``;
- one function per implementation, called as in `benchmarks.peers`, that takes the parameters and
  returns a `Case`; the floor's docstring says what it is;
- optionally ``traffic(p)``, ``TARGETS``, ``ROUNDS``, ``UNIT``, ``PARAMETERS``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

Params = SimpleNamespace
"""The parameters of one variant, as attributes."""


class NotYet(Exception):
    """An implementation that cannot do a work; the text says what it lacks."""


@dataclass(slots=True)
class Case:
    """An implementation of a work, built and ready to run.

    Attributes:
      step: what is timed.
      result: a few numbers from the first step, on which all implementations must agree.
      facts: counts and sizes worth keeping, asked for at the end.
      units: steps that one call makes; times are given per unit.
      timed: `step` returns the seconds it took, instead of being timed from outside.
    """

    step: Callable[[], Any]
    result: Callable[[], Sequence[float]] | None = None
    facts: Callable[[], dict[str, Any]] | None = None
    units: int = 1
    timed: bool = False


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a work cannot avoid: bytes of main memory, operations on floats."""

    bytes: float = 0.0
    flops: float = 0.0


@dataclass(frozen=True, slots=True)
class Target:
    """What is aimed at.

    Attributes:
      measure: ``faster`` (times faster than `against`), ``time`` (at most so many times the time
        of `against`), ``bandwidth`` (at least this part of the copy), ``memory`` (at most so many
        times the memory of `against`), ``fact`` (at most this value of the fact `against`),
        ``seconds`` (at most).  `against` may be ``best``, the best peer that was run.
      variants: where it holds; everywhere if empty.
    """

    measure: str
    value: float
    against: str = ""
    variants: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """A module of `benchmarks.works`, looked up by name."""

    name: str
    module: ModuleType
    variants: Mapping[str, dict[str, Any]]
    targets: tuple[Target, ...] = field(default=())

    @property
    def title(self) -> str:
        """The first line of the module's docstring, without its full stop."""
        return (self.module.__doc__ or self.name).strip().splitlines()[0].rstrip(".")

    def implements(self, implementation: str) -> bool:
        """Whether there is a function for an implementation."""
        return callable(getattr(self.module, implementation, None))

    def params(self, variant: str, quick: bool) -> Params:
        """The parameters of a variant."""
        given = dict(self.variants[variant])
        small = given.pop("quick", {})
        return Params(**(given | small if quick else given))

    def build(self, implementation: str, variant: str, quick: bool) -> Case:
        """Build what is to be run, in this process."""
        made = getattr(self.module, implementation)(self.params(variant, quick))
        assert isinstance(made, Case)
        return made

    def traffic(self, variant: str, quick: bool) -> Traffic:
        """What has to be moved and computed in one unit."""
        rule = getattr(self.module, "traffic", None)
        return rule(self.params(variant, quick)) if rule else Traffic()

    @property
    def rounds(self) -> int | None:
        """How many rounds are run, where the work asks for a number of its own."""
        return getattr(self.module, "ROUNDS", None)

    @property
    def unit(self) -> str:
        """What a time is the time of."""
        return getattr(self.module, "UNIT", "step")

    @property
    def floor(self) -> str:
        """What the floor is, in words."""
        doc = getattr(getattr(self.module, "floor", None), "__doc__", None) or ""
        return doc.strip().rstrip(".")


def load(name: str, package: str = "benchmarks.works") -> Work:
    """Return the work of a name."""
    module = importlib.import_module(f"{package}.{name}")
    return Work(name, module, module.VARIANTS, tuple(getattr(module, "TARGETS", ())))
