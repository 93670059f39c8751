"""Gradients of loops and branches, as graphs.

The cotangent of a loop is a loop the other way round.  Its body gets the carries as they were at
the start of the iteration (the loop's histories), runs the forward body again from there, and
goes back through it; carries are the cotangents of the carries, and the sums of the cotangents of
invariants.  Nothing but the histories is stored; what is worth storing instead of computing again
the compiler finds out.  Draws, and what writes and prints gave, cannot be had again and come as
outputs of the forward loop.

As the result is made of ordinary operations and loops it can be differentiated in turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from staticgraph.ir import dtypes, loc
from staticgraph.ir.body import BodyGraph
from staticgraph.ir.build import constant
from staticgraph.ir.graph import get_default_graph
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Operation, Tensor
from staticgraph.ir.types import TensorType
from staticgraph.ops.boxes import no_boxes, unboxed
from staticgraph.passes.autodiff import Application, added, backward


def control_gradient(
    kind: str, g: Any, y: Any, inputs: Sequence[Tensor], attrs: Mapping[str, Any]
) -> tuple[Tensor | None, ...]:
    """The cotangents of a loop's or branch's operands; see `ir.body.BodyGraph`."""
    gs = tuple(g) if isinstance(g, (tuple, list)) else (g,)
    ys = tuple(y) if isinstance(y, (tuple, list)) else (y,)
    if kind == "loop":
        return _loop(gs, ys, inputs, attrs)
    return _branch(gs, ys, inputs, attrs)


# ---------------------------------------------------------------- the body, backwards
def inline(
    body: BodyGraph, env: dict[Tensor, Tensor], wanted: Sequence[Tensor]
) -> list[Application]:
    """Build the operations of a body again in the default graph.

    Args:
      env: what stands for parameters and kept values; filled with what stands for the others.

    Returns:
      what was applied, in order; operations whose results are kept are not built again, but they
      are in it with the kept results.
    """
    from staticgraph.api.gradients import application, applied  # which imports this package

    graph = get_default_graph()
    needed: set[Operation] = set()
    params = set(body.params)
    stack = [t.op for t in wanted if t not in params]
    while stack:
        op = stack.pop()
        if op not in needed:
            needed.add(op)
            stack += [t.op for t in op.inputs if t not in params]
    made = []
    for op in sorted(needed, key=lambda op: op.id):
        inputs = [env[t] for t in op.inputs]
        if op.outputs and all(t in env for t in op.outputs):
            made.append(applied(op, inputs, tuple(env[t] for t in op.outputs)))
            continue
        name = op.name.rsplit("/", 1)[-1]
        new = graph.create_operation(op.record, inputs, op.attrs, name, op.loc)
        for old, t in zip(op.outputs, new.outputs, strict=True):
            env.setdefault(old, t)
        made.append(application(new))
    return made


def _differentiate(
    body: BodyGraph, env: dict[Tensor, Tensor], cotangents: Mapping[int, Tensor],
    wrt: Sequence[Tensor],
) -> list[Tensor | None]:  # fmt: skip
    """Cotangents of a body's parameters, built in the default graph.

    Args:
      env: what stands for the body's parameters and kept values.
      cotangents: of results, by their number.
      wrt: the parameters asked for.
    """
    apps = inline(body, env, [body.results[k] for k in cotangents])
    grads: dict[Tensor, Tensor] = {}
    for k, g in cotangents.items():
        t = env[body.results[k]]
        grads[t] = added(grads[t], g) if t in grads else g
    reached = {env[t] for t in wrt}
    for app in apps:
        if any(t in reached for t in app.inputs):
            reached.update(t for t in app.outputs if t.dtype.base.is_differentiable)
    graph = get_default_graph()
    backward(
        reversed(apps), grads, reached.__contains__,
        lambda app: graph.name_scope(f"{app.name.rsplit('/', 1)[-1]}_grad"),
    )  # fmt: skip
    return [grads.get(env[t]) for t in wrt]


def _float_type(t: Tensor) -> TensorType:
    return TensorType(t.dtype.base, t.type.shape)


def _leaving(body: BodyGraph, carry: int) -> Tensor:
    """A carry as it leaves an iteration, which may differ in size from what enters."""
    param, result = body.params[carry], body.results[carry]
    return param if result.type.shape is None else result


def _zeros(t: Tensor) -> Tensor:
    if t.dtype.base is dtypes.variant:
        return no_boxes()  # of a branch that is not chosen, like what was kept in it
    out: Tensor = lookup("ZerosLike")(t)
    return out


# ---------------------------------------------------------------- loops
def _loop(
    gs: Sequence[Any], ys: Sequence[Tensor], inputs: Sequence[Tensor], attrs: Mapping[str, Any]
) -> tuple[Tensor | None, ...]:
    return _LoopGradient(gs, ys, inputs, attrs).run()


class _LoopGradient:
    def __init__(
        self, gs: Sequence[Any], ys: Sequence[Tensor], inputs: Sequence[Tensor],
        attrs: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self.body: BodyGraph = attrs["body"]
        self.inputs, self.attrs = inputs, attrs
        n, m = attrs["carries"], attrs["sequences"]
        self.n, self.m = n, m
        first = n + int(attrs["conditional"])
        count = len(self.body.results)
        self.g_finals = list(gs[:n])
        self.g_outputs = list(gs[first : first + count - n])
        self.histories = dict(zip(attrs["histories"], ys[first + count - n :], strict=True))
        self.g_histories = dict(zip(attrs["histories"], gs[first + count - n :], strict=True))
        self.kept = {t: ys[first + k - n] for t, k in self.body.residuals.items()}
        self.y = ys
        if not attrs["conditional"]:
            self._ends()

    def _ends(self) -> None:
        """Let the cotangent of the last entry of a stack of carries be that of the carry's end.

        A loss that looks at the last state alone would else come as a stack of zeros.
        """
        last = 0 if self.attrs["reverse"] else -1
        for k, g in enumerate(self.g_outputs):
            value = self.body.results[self.n + k]
            carries = [c for c in range(self.n) if self.body.results[c] is value]
            taken = _taken(g, last) if g is not None and carries else None
            if taken is not None:
                have = self.g_finals[carries[0]]
                self.g_finals[carries[0]] = taken if have is None else have + taken
                self.g_outputs[k] = None

    def trips(self) -> Any:
        """The number of iterations there were."""
        if not self.attrs["conditional"]:
            return self.attrs["length"]
        stacked = [*self.histories.values(), *self.kept.values()]
        if stacked:
            return lookup("Shape")(stacked[0])[0]
        return lookup("Cast")(self.y[self.n], DstT=dtypes.int32)

    def sequence(self, k: int) -> Tensor:
        """A sequence, cut to the iterations there were."""
        x = self.inputs[k]
        if not self.attrs["conditional"]:
            return x
        return x[: self.trips()]  # type: ignore[no-any-return]

    def padded(self, k: int, d: Tensor) -> Tensor:
        """The cotangent of a sequence: zero where no iteration came to."""
        if not self.attrs["conditional"]:
            return d
        x = self.inputs[k]
        missing = lookup("Shape")(x)[0] - self.trips()
        rows = [[0, missing], *([[0, 0]] * (len(x.type.dims) - 1))]
        return lookup("Pad")(d, rows)  # type: ignore[no-any-return]

    def run(self) -> tuple[Tensor | None, ...]:
        n = self.n
        differentiable = [t.dtype.base.is_differentiable for t in self.inputs]
        active = {
            k for k in range(n)
            if differentiable[k]
            and (self.g_finals[k] is not None or self.g_histories.get(k) is not None)
        }  # fmt: skip
        graph = get_default_graph()
        self.cut = {k: self.sequence(k) for k in range(n, n + self.m)}
        scope = graph.unique_name("while") + "/"
        while True:
            traced = _Backward(self, scope, sorted(active), differentiable)
            if traced.active <= active:
                break
            active |= traced.active
        return traced.build()


class _Backward:
    """One tracing of the backward body, with the carries in `active` having cotangents."""

    def __init__(
        self, loop: _LoopGradient, scope: str, active: Sequence[int], differentiable: Sequence[bool]
    ) -> None:
        self.loop, self.scope, self.carries = loop, scope, list(active)
        what = f"the loop {scope[:-1]!r}"
        forward = loop.body
        self.body = BodyGraph(get_default_graph(), what, forward.gradient, loc.caller())
        self.sequences: list[Tensor] = []
        self.env: dict[Tensor, Tensor] = {}  # what stands for the forward body's tensors
        self.active = set(active)
        with self.body.as_default(), self.body.name_scope(scope):
            self.cots = {
                k: self.body.param(_float_type(_leaving(forward, k)), f"cotangent_{k}")
                for k in active
            }
            results = self._parameters()
            wrt = [p for p, d in zip(forward.params, differentiable, strict=True) if d]
            found = _differentiate(forward, self.env, results, wrt)
            self._collect(dict(zip(wrt, found, strict=True)))

    def _sequence(self, x: Tensor, name: str) -> Tensor:
        """A parameter that gets the slices of `x`."""
        shape = x.type.shape
        self.sequences.append(x)
        type_ = TensorType(x.dtype.base, None if shape is None else shape[1:])
        return self.body.param(type_, name)

    def _parameters(self) -> dict[int, Tensor]:
        """Make the parameters; the cotangents of the forward body's results, by their number."""
        loop, params, env = self.loop, self.loop.body.params, self.env
        n, m = loop.n, loop.m
        self.first = len(self.body.params)
        for k, x in loop.histories.items():
            env[params[k]] = self._sequence(x, f"carry_{k}")
        for k in range(n, n + m):
            env[params[k]] = self._sequence(loop.cut[k], f"slice_{k - n}")
        for t, x in loop.kept.items():
            env[t] = kept = self._sequence(x, "kept")
            if t.op.type == "Box":
                value = t.op.inputs[0]
                env[value] = unboxed(kept, value)
        results: dict[int, Tensor] = dict(self.cots)
        for k, g in enumerate(loop.g_outputs):
            if g is not None:
                results[n + k] = self._sequence(g, f"output_{k}")
        self.history = {
            k: self._sequence(g, f"history_{k}")
            for k, g in loop.g_histories.items()
            if g is not None
        }
        self.last = len(self.body.params)
        for k in range(n + m, len(loop.inputs)):
            env[params[k]] = self.body.capture(loop.inputs[k])
        if loop.attrs["conditional"]:
            env[params[0]] = constant(True)  # it held, or there was no iteration
        return results

    def _collect(self, found: Mapping[Tensor, Tensor | None]) -> None:
        """Sort cotangents: carries go on, those of slices are stacked, the others added up."""
        loop, params = self.loop, self.loop.body.params
        n, m = loop.n, loop.m
        new: dict[int, Tensor | None] = {}
        for k in range(n):
            d, direct = found.get(params[k]), self.history.get(k)
            new[k] = direct if d is None else d if direct is None else d + direct
            if new[k] is not None:
                self.active.add(k)
        self.after = [
            _zeros(self.env[params[k]]) if (d := new[k]) is None else d for k in self.carries
        ]
        self.per_slice = {
            k: d for k in range(n, n + m) if (d := found.get(params[k])) is not None
        }  # fmt: skip
        self.sums: dict[int, Tensor] = {}
        self.totals: list[Tensor] = []
        for k in range(n + m, len(loop.inputs)):
            d = found.get(params[k])
            if d is not None:
                total = self.body.param(_float_type(params[k]), f"sum_{k}")
                self.sums[k] = total
                self.totals.append(total + d)

    def build(self) -> tuple[Tensor | None, ...]:
        """Add the loop; the cotangents of the forward loop's operands."""
        from staticgraph.api.loop_body import add_operation, convert_length, kept_of_loop

        loop, body = self.loop, self.body
        body.segments = loop.body.segments
        out: list[Tensor | None] = [None] * len(loop.inputs)
        if not (self.carries or self.sums or self.per_slice):
            return tuple(out)
        start = []
        for k in self.carries:
            g = loop.g_finals[k]
            start.append(_zeros(loop.y[k]) if g is None else g)
        sums = list(self.sums)
        start += [_zeros(loop.inputs[k]) for k in sums]
        declared = [*self.cots.values(), *self.sums.values(), *body.params[self.first : self.last]]
        captured = list(body.captures)
        body.params[:] = [*declared, *(body.captures[t] for t in captured)]
        results = [*self.after, *self.totals, *self.per_slice.values()]
        with body.as_default(), body.name_scope(self.scope):
            slices = body.params[len(start) : len(declared)]
            kept, histories = kept_of_loop(body, declared[: len(start)], slices, results)
            results += kept
        body.close(results)
        n = len(start)
        attrs = {
            "body": body, "sizes": (), "carries": n, "sequences": len(self.sequences),
            "reverse": not loop.attrs["reverse"], "histories": histories,
            "conditional": False,
        }  # fmt: skip
        inputs = [convert_length(loop.trips()), *start, *self.sequences, *captured]
        op = add_operation(get_default_graph(), "Scan", inputs, attrs, self.scope, [body])
        made = op.outputs
        for i, k in enumerate(self.carries):
            out[k] = made[i]
        for i, k in enumerate(sums, len(self.carries)):
            out[k] = made[i]
        for i, k in enumerate(self.per_slice, n):
            out[k] = loop.padded(k, made[i])
        return tuple(out)


def _taken(g: Tensor, at: int) -> Tensor | None:
    """The cotangent of ``x[at]`` where `g`, the cotangent of x, is made of nothing else."""
    op = g.op
    if op.type != "StridedSliceGrad":
        return None
    data, static = op.split()
    known = [static[k].known for k in ("begin", "strides")]
    marks = {k: v for k, v in op.attrs.items() if k.endswith("_mask") and v}
    if marks != {"shrink_axis_mask": 1} or any(v is None or v.shape != (1,) for v in known):
        return None
    begin, stride = (int(v[0]) for v in known if v is not None)
    return data[0] if begin == at and stride == 1 else None


# ---------------------------------------------------------------- branches
def _branch(
    gs: Sequence[Any], ys: Sequence[Tensor], inputs: Sequence[Tensor], attrs: Mapping[str, Any]
) -> tuple[Tensor | None, ...]:
    """A choice between the branches' backward passes; each runs its forward body again."""
    from staticgraph.api.loop_body import add_operation, keep_in_branches, share_captures

    outer = get_default_graph()
    index, operands = inputs[0], inputs[1:]
    scope = outer.unique_name("cond") + "/"
    wanted = [t.dtype.base.is_differentiable for t in operands]
    cotangents = {k: g for k, g in enumerate(gs) if g is not None}
    bodies, found = [], []
    for i, forward in enumerate(attrs["branches"]):
        what = f"the branch '{scope}{i}'"
        body = BodyGraph(outer, what, forward.gradient, loc.caller())
        with body.as_default(), body.name_scope(f"{scope}branch_{i}/"):
            env = {
                p: body.adopt(t, lookup("Identity"), [t], body.loc)
                for p, t in zip(forward.params, operands, strict=True)
            }
            env |= {t: body.capture(ys[k]) for t, k in forward.residuals.items()}
            wrt = [p for p, d in zip(forward.params, wanted, strict=True) if d]
            own = {k: body.capture(g) for k, g in cotangents.items()}
            made = dict(zip(wrt, _differentiate(forward, env, own, wrt), strict=True))
        bodies.append(body)
        found.append([made.get(p) for p in forward.params])
    asked = [k for k in range(len(operands)) if any(f[k] is not None for f in found)]
    if not asked:
        return (None,) * len(inputs)
    for body, f in zip(bodies, found, strict=True):
        with body.as_default(), body.name_scope(None):
            results = []
            for k in asked:
                d = f[k]
                results.append(_zeros(body.capture(operands[k])) if d is None else d)
            body.results = tuple(results)
    keep_in_branches(bodies)
    captured = share_captures(bodies)
    new = {"branches": tuple(bodies), "sizes": ()}
    op = add_operation(outer, "Case", [index, *captured], new, scope, bodies)
    out: list[Tensor | None] = [None] * len(inputs)
    for k, d in zip(asked, op.outputs, strict=False):
        out[1 + k] = d
    return tuple(out)
