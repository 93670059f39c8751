"""The one place that composes passes and code generation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal

import numpy as np

from staticgraph.codegen import driver
from staticgraph.codegen.cache import expecting
from staticgraph.codegen.cpu import kernel_source
from staticgraph.errors import UsageError
from staticgraph.ir import dims as D
from staticgraph.ir import loc
from staticgraph.ir.collector import without_collection
from staticgraph.ir.dims import Symbol
from staticgraph.ir.evaluate import BrokenGuardError
from staticgraph.ir.function import Function, SizeOf
from staticgraph.ir.graph import Graph, get_default_graph
from staticgraph.ir.kernel import Kernel
from staticgraph.ir.record import record
from staticgraph.ir.tensor import Operation, Tensor
from staticgraph.ir.types import TensorType
from staticgraph.passes.close import close
from staticgraph.passes.pipeline import STAGES, Compilation, Observer, run_pipeline
from staticgraph.runtime.executable import Executable
from staticgraph.runtime.fetches import FetchPlan, feed_tensors


@without_collection()
def compile_function(
    closed: Function, optimize: bool = True, reference: bool = False, reason: str = "",
    threads: int = 0,
) -> Executable:  # fmt: skip
    """Compile a closed function."""
    with expecting(len(closed.nodes), driver.SOURCE):
        done = run_pipeline(closed, optimize)
        assert done.program is not None
        return Executable(done.function, done.program, reference, reason, threads)


@record(slots=True)
class Stages(Compilation):
    """What the compiler makes of fetches; every part prints as text.

    Attributes:
      closed: the function as it was closed over fetches and feeds.
      function: the function after the passes that ran.
      fused: what is computed together, from the stage ``fuse`` on.
      program: buffers, steps and kernels, from the stage ``lower`` on.
      seconds: the time of each stage.
    """

    def sources(self, target: Literal["cpu", "cuda"] = "cpu") -> dict[str, str]:
        """Name of each kernel in the program's text, and its source for a target.

        Raises:
          UsageError: the compilation was stopped before there was a program.
        """
        if self.program is None:
            raise UsageError("there are no kernels before the stage 'lower'", loc=loc.caller())
        printer = kernel_source if target == "cpu" else _cuda_source
        return {f"k{i}": printer(k) for i, k in enumerate(self.program.kernels())}


def _cuda_source(kernel: Kernel) -> str:
    from staticgraph.codegen.cuda import cuda_kernel  # which the start-up path does without

    return cuda_kernel(kernel).source


def stages(
    fetches: Any, feeds: Iterable[Any] | None = None, stop_after: str | None = None,
    optimize: bool = True, observe: Observer | None = None, graph: Graph | None = None,
) -> Stages:  # fmt: skip
    """Compile fetches as far as a stage, to look at what comes out; nothing is run.

    Args:
      fetches: as for `Session.run`.
      feeds: the tensors (or their names) that a run would feed; by default the placeholders that
        the fetches need.
      stop_after: one of close, prune, unify, trim, decompose, simplify, fold, share, update, fuse,
        lower; lower, the last, by default.
      optimize: with False, leave out all passes but the necessary ones; each op gets a kernel.
      observe: called with name, IR and seconds after every pass.
      graph: the default graph if None.

    >>> import staticgraph as tf
    >>> x = tf.placeholder(tf.float32, [None], name="x")
    >>> print(tf.stages(tf.sqrt(x * 2.0), stop_after="update"))
    function run(%x: f32[n0] feed "x:0") {
      sizes n0 = size(%x, 0)
      %mul/y: f32[] = Const {value=dense<f32[]: 2.0>, dtype=f32}
      %mul: f32[n0] = Mul %x, %mul/y
      %Sqrt: f32[n0] = Sqrt %mul
      return %Sqrt
    }
    >>> print(tf.stages(tf.sqrt(x * 2.0)).sources()["k0"])
    def kernel(args, lo, hi):
        a0 = ptr_f32(args[0])
        a1 = ptr_f32(args[1])
        for p in range(lo, hi):
            x1 = a0[p]
            v2 = sqrt((x1 * np.float32(2.0)))
            a1[p] = v2
        return 0
    <BLANKLINE>

    Raises:
      UsageError: there is no such stage.
      FetchError, FeedError: as for `Session.run`.
    """
    if stop_after is not None and stop_after not in STAGES:
        hint = f"one of {', '.join(STAGES)}"
        raise UsageError(f"there is no stage {stop_after!r}", loc=loc.caller(), hint=hint)
    graph = graph or get_default_graph()
    tensors = None if feeds is None else list(feed_tensors(graph, dict.fromkeys(feeds, 0)))
    return function_stages(graph, fetches, tensors, stop_after, optimize, observe)


def function_stages(
    graph: Graph, fetches: Any, feeds: Sequence[Tensor] | None = None,
    stop_after: str | None = None, optimize: bool = True, observe: Observer | None = None,
) -> Stages:  # fmt: skip
    """As `stages`, of a given graph and with tensors for feeds."""
    plan = FetchPlan(graph, fetches)
    if feeds is None:
        feeds = [op.outputs[0] for op in graph.get_operations() if op.type == "Placeholder"]
        feeds = _reachable(plan.fetches, feeds)
    types = {t: t.type for t in feeds}
    closed = close(graph, plan.fetches, types, tuple(plan.final))
    done = run_pipeline(closed, optimize, stop_after, observe)
    return Stages(**{f.name: getattr(done, f.name) for f in fields(done)})


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
