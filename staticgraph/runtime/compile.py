"""The one place that composes passes and code generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from staticgraph.ir import dims as D
from staticgraph.ir.dims import Symbol
from staticgraph.ir.evaluate import BrokenGuardError
from staticgraph.ir.function import Function, SizeOf
from staticgraph.ir.graph import Graph
from staticgraph.ir.tensor import Operation, Tensor
from staticgraph.ir.types import TensorType
from staticgraph.passes.close import close
from staticgraph.passes.pipeline import Compilation, Observer, run_pipeline
from staticgraph.runtime.executable import Executable
from staticgraph.runtime.fetches import FetchPlan


def compile_function(
    closed: Function, optimize: bool = True, reference: bool = False, reason: str = ""
) -> Executable:
    """Compile a closed function."""
    done = run_pipeline(closed, optimize)
    assert done.program is not None
    return Executable(done.function, done.program, reference, reason)


def function_stages(
    graph: Graph, fetches: Any, feeds: Sequence[Tensor] | None = None,
    stop_after: str | None = None, optimize: bool = True, observe: Observer | None = None,
) -> Compilation:  # fmt: skip
    """Compile fetches of a graph as far as a stage, for looking at.

    Args:
      fetches: as for `Session.run`.
      feeds: fed tensors; all placeholders by default.
      stop_after: a name out of `passes.pipeline.STAGES`.
    """
    plan = FetchPlan(graph, fetches)
    if feeds is None:
        feeds = [op.outputs[0] for op in graph.get_operations() if op.type == "Placeholder"]
        feeds = _reachable(plan.fetches, feeds)
    types = {t: t.type for t in feeds}
    closed = close(graph, plan.fetches, types, tuple(plan.final))
    return run_pipeline(closed, optimize, stop_after, observe)


def _reachable(fetches: Sequence[Tensor | Operation], feeds: Sequence[Tensor]) -> list[Tensor]:
    seen: set[Operation] = set()
    stack = [f.op if isinstance(f, Tensor) else f for f in fetches]
    while stack:
        op = stack.pop()
        if op not in seen:
            seen.add(op)
            stack += [t.op for t in op.inputs]
            stack += op.control_inputs
    return [t for t in feeds if t.op in seen]


def specialised_types(
    function: Function, tensors: Sequence[Tensor], types: Mapping[Tensor, TensorType],
    arrays: Sequence[np.ndarray], broken: BrokenGuardError,
) -> dict[Tensor, TensorType]:  # fmt: skip
    """Fed types in which the sizes that broke a guard are fixed.

    A size of 1 that was assumed to equal another is fixed alone, so that the other stays open;
    where none of the two is 1 both are fixed, and inference reports the real mismatch.
    """
    env: dict[Symbol, int] = {}
    where: dict[Symbol, tuple[Tensor, int]] = {}
    feeds = [p for p in function.params if p.kind == "feed"]
    by_value = {p.value: (t, a) for p, t, a in zip(feeds, tensors, arrays, strict=True)}
    for s, o in function.sizes.items():
        if isinstance(o, SizeOf) and o.value in by_value:
            t, a = by_value[o.value]
            env[s] = a.shape[o.axis]
            where[s] = (t, o.axis)
    fixed: set[Symbol] = set()
    for site in broken.sites:
        symbols = D.symbols_of(site.guard.a) | D.symbols_of(site.guard.b)
        ones = {s for s in symbols if env.get(s) == 1}
        fixed |= ones or symbols
    out = dict(types)
    for s in fixed & where.keys():
        t, axis = where[s]
        dims = list(out[t].dims)
        dims[axis] = env[s]
        out[t] = TensorType(out[t].dtype, tuple(dims))
    return out
