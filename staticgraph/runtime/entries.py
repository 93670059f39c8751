"""`RunEntry`: what a session keeps for one combination of fetches and feeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from staticgraph.ir.record import record
from staticgraph.ir.tensor import Tensor
from staticgraph.ir.types import TensorType
from staticgraph.runtime.executable import Executable
from staticgraph.runtime.fetches import FetchPlan
from staticgraph.runtime.plan import Plan

if TYPE_CHECKING:
    from staticgraph.runtime.quick import QuickEntry


@record(slots=True, eq=False)
class RunEntry:
    """What one combination of fetches and feeds compiles to; several where sizes are special.

    Attributes:
      plain: feeds are keyed one by one, in the order of `tensors`.
      last: what ran last.
      written, keys: the fetches and the keys of the feeds, as the user wrote them.
      quick: how native code knows it.
      shown: the plan that native code was shown last.
    """

    plan: FetchPlan
    tensors: tuple[Tensor, ...]
    executables: list[tuple[tuple[TensorType, ...], Executable]]
    plain: bool = True
    last: Executable | None = None
    written: Any = None
    keys: tuple[Any, ...] = ()
    quick: QuickEntry | None = None
    shown: Plan | None = None


__all__ = ["RunEntry"]
