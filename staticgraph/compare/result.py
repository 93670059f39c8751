"""What a comparison found, as data: forms, pairs, and the whole, to JSON and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from staticgraph.errors import ArgumentError

FORMAT = 1


def relative_difference(losses: Sequence[float], reference: Sequence[float]) -> float:
    """The largest difference of two lists of losses, relative to the second.

    >>> relative_difference([1.0, 2.5], [1.0, 2.0])
    0.25
    """
    worst = 0.0
    for a, b in zip(losses, reference, strict=True):
        if not (math.isfinite(a) and math.isfinite(b)):
            return math.inf
        worst = max(worst, abs(a - b) / max(abs(b), 1e-30))
    return worst


def break_even(spent: float, step: float, other: float) -> int | None:
    """The step at which `spent` seconds of compiling have paid for themselves.

    Args:
      step: seconds of a step that was compiled.
      other: seconds of one that was not.

    Returns:
      None where it never pays.

    >>> break_even(0.1, 0.001, 0.002), break_even(0.1, 0.002, 0.001)
    (100, None)
    """
    if step >= other:
        return None
    return max(1, math.ceil(spent / (other - step) - 1e-9))


@dataclass(frozen=True, slots=True)
class FormResult:
    """One form of a program; None is what was not measured or makes no sense for it.

    Attributes:
      form: "numpy", "dynamic", "torch", "static", or the name of another static form.
      difference: the largest relative difference of a loss from the dynamic form's.
      ops: operations that are dispatched a step; of a graph those that it was built of.
      kernels, calls: of machine code a step.
      allocated: bytes of arrays that a step allocates.
      working: the most bytes that a step needs at a time, beyond what lives from step to step.
      step_s: seconds of a step: the median of the rounds, with quartiles `low_s` and `high_s`.
      build_s: seconds until the graph was built and its variables were initialised.
      compile_s: seconds of compiling with an empty cache.
      cached_s: the same with the machine code on disk.
      executables: compiled functions that the steps needed.
      plans: bindings of them to sizes.
    """

    form: str
    static: bool
    difference: float
    ops: float
    step_s: float
    low_s: float
    high_s: float
    allocated: float
    working: int | None = None
    kernels: float | None = None
    calls: float | None = None
    build_s: float | None = None
    compile_s: float | None = None
    cached_s: float | None = None
    executables: int | None = None
    plans: int | None = None

    @property
    def spent(self) -> float:
        """Seconds before the first step, with an empty cache."""
        return (self.build_s or 0.0) + (self.compile_s or 0.0)

    @property
    def spent_cached(self) -> float:
        """Seconds before the first step, with machine code on disk."""
        return (self.build_s or 0.0) + (self.cached_s or 0.0)


@dataclass(frozen=True, slots=True)
class PairResult:
    """A program in its forms.

    Attributes:
      steps: of which the losses were compared.
      loop: its graph holds a loop.
    """

    name: str
    title: str
    place: str
    group: str
    example: bool
    loop: bool
    steps: int
    tolerance: float
    forms: tuple[FormResult, ...]

    def form(self, name: str) -> FormResult | None:
        """A form, or None where there is none of that name."""
        return next((f for f in self.forms if f.form == name), None)

    def of(self, name: str) -> FormResult:
        """A form that every pair has."""
        found = self.form(name)
        assert found is not None, name
        return found

    @property
    def agrees(self) -> bool:
        """All forms have the losses of the dynamic one, up to the tolerance."""
        return all(f.difference <= self.tolerance for f in self.forms)

    def break_even(
        self, form: str = "static", other: str = "dynamic", cached: bool = False
    ) -> int | None:
        """The step at which compiling has paid; None where it never does."""
        a, b = self.of(form), self.of(other)
        return break_even(a.spent_cached if cached else a.spent, a.step_s, b.step_s)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Pairs, and where they were run.

    Attributes:
      machine: what was found out about the machine and the versions, as text.
      import_s: seconds that importing the package takes in a fresh process.
      quick: measured in a hurry.
      left_out: programs that an interrupt left no time for.
    """

    pairs: tuple[PairResult, ...]
    machine: Mapping[str, str] = field(default_factory=dict)
    import_s: float = 0.0
    quick: bool = False
    left_out: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """All pairs do."""
        return all(p.agrees for p in self.pairs)

    @property
    def has_torch(self) -> bool:
        """PyTorch took part."""
        return any(p.form("torch") for p in self.pairs)

    @property
    def busy(self) -> bool:
        """The machine had other work when it began, so that times are rough."""
        load, cores = float(self.machine.get("load", 0)), float(self.machine.get("cores", 1))
        return load > 0.5 * cores

    def pair(self, name: str) -> PairResult:
        """The pair of a name.

        Raises:
          ArgumentError: there is none.
        """
        for p in self.pairs:
            if p.name == name:
                return p
        raise ArgumentError(f"the comparison has no pair {name!r}")

    def to_json(self) -> str:
        """Text that `from_json` reads."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> Comparison:
        """The comparison that a text holds.

        Raises:
          ArgumentError: the text is of another version.
        """
        data: dict[str, Any] = json.loads(text)
        if data.pop("format", None) != FORMAT:
            raise ArgumentError("the results are of another version", hint="measure again")
        pairs = tuple(
            PairResult(**{**p, "forms": tuple(FormResult(**f) for f in p["forms"])})
            for p in data.pop("pairs")
        )
        data["left_out"] = tuple(data.get("left_out", ()))
        return Comparison(pairs, **data)


__all__ = ["Comparison", "FormResult", "PairResult", "break_even", "relative_difference"]
