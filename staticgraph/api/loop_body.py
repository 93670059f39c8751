"""Trace Python functions into the bodies of loops and branches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from staticgraph.api.array import zeros
from staticgraph.api.loop_arrays import Late, size_in
from staticgraph.api.loop_gradient import control_gradient
from staticgraph.errors import DtypeError, ShapeError
from staticgraph.ir import dims, dtypes, loc
from staticgraph.ir.body import BodyGraph, set_body_gradient
from staticgraph.ir.build import convert
from staticgraph.ir.graph import Graph, get_default_graph
from staticgraph.ir.op import lookup
from staticgraph.ir.record import record
from staticgraph.ir.tensor import Operation, Tensor
from staticgraph.ir.types import TensorType
from staticgraph.ops.boxes import no_boxes

set_body_gradient(control_gradient)

Step = Callable[[list[Tensor], list[Tensor]], tuple[Sequence[Any], Sequence[Any]]]


@record(frozen=True, slots=True)
class Looped:
    """The results of a loop: carries at the end, stacked outputs, number of iterations."""

    finals: list[Tensor]
    outputs: list[Tensor]
    trips: Tensor | None


def new_body(what: str, scope: str) -> BodyGraph:
    """An empty body in the default graph."""
    return BodyGraph(
        get_default_graph(), f"{what} {scope.rstrip('/')!r}", control_gradient, loc.caller()
    )


def build_loop(
    scope: str, start: Sequence[Tensor], sequences: Sequence[Tensor], step: Step, *,
    length: Any = None, reverse: bool = False, conditional: bool = False,
    types: Sequence[TensorType] | None = None, names: Sequence[str] | None = None,
    more: Callable[[], tuple[Sequence[Late], Sequence[Tensor]]] | None = None,
    hint: str | None = None, segments: bool = False,
) -> Looped:  # fmt: skip
    """Trace `step` once and add the loop to the default graph.

    Args:
      scope: the loop's name with a trailing slash.
      start: carries at the start; with `conditional` the predicate is the first.
      sequences: arrays of which each iteration gets a slice.
      step: from carries and slices to new carries and outputs.
      length: number of iterations, a tensor or an int; by default that of the sequences.
      types: the types carries have throughout, where they are wider than those at the start.
      names: names of the carries, for error texts.
      more: called in the body when it is traced; further carries and outputs, which come behind
        the others.
      hint: what to do about a carry whose shape changes.
      segments: it goes through segments of a loop, to need less memory; see `ir.body`.

    Raises:
      ShapeError, DtypeError: a carry leaves the body with another type than it enters.
    """
    outer = get_default_graph()
    body = new_body("the loop", scope)
    body.segments = segments
    names = list(names or [f"carry {k}" for k in range(len(start))])
    with body.as_default(), body.name_scope(scope):
        carries = [
            body.param(TensorType(t.dtype.base, t.shape), f"carry_{k}")
            for k, t in enumerate(types or [t.type for t in start])
        ]
        slices = [body.param(_slice_type(x), f"slice_{k}") for k, x in enumerate(sequences)]
        after, outputs = step(list(carries), list(slices))
        results = [
            _carry(_inside(convert_like(r, c, n)), c, n, body, hint)
            for r, c, n in zip(after, carries, names, strict=True)
        ]
        if more is not None:
            late, further = more()
            outputs = [*outputs, *further]
            start = [*start, *(x.start for x in late)]
            carries += [x.param for x in late]
            results += [_carry(_inside(x.result), x.param, "an array", body) for x in late]
        steady = {
            k: _captured(body, start[k], c)
            for k, (c, r) in enumerate(zip(carries, results, strict=True))
            if r is c and (k or not conditional)
        }
        carries, results, start = (
            [t for k, t in enumerate(ts) if k not in steady] for ts in (carries, results, start)
        )
        body.names = tuple(n for k, n in enumerate(names) if k not in steady)
        results += [_inside(convert(y)) for y in outputs]
        first = 1 if conditional else 0
        more_results, histories = kept_of_loop(body, carries, slices, results, first)
        results += more_results
    body.params[:] = [*carries, *slices, *body.captures.values()]
    body.close(results)
    if length is None:
        length = -1 if conditional else leading(sequences[0])
    n, count = len(start), len(outputs)
    attrs = {
        "body": body, "sizes": (), "carries": n, "sequences": len(sequences), "reverse": reverse,
        "histories": histories, "conditional": conditional,
    }  # fmt: skip
    inputs = [convert_length(length), *start, *sequences, *body.captures]
    op = add_operation(outer, "While" if conditional else "Scan", inputs, attrs, scope, [body])
    made = list(op.outputs)
    trips = made[n] if conditional else None
    first = n + (1 if conditional else 0)
    moving = iter(made[:n])
    finals = [steady[k] if k in steady else next(moving) for k in range(n + len(steady))]
    return Looped(finals, made[first : first + count], trips)


def _captured(body: BodyGraph, start: Tensor, param: Tensor) -> Tensor:
    """Let a carry that no iteration changes be a capture: it has one value, which is given back."""
    assert body.outer_graph is not None
    with body.outer_graph.as_default():
        source: Tensor = lookup("Identity")(start)  # its own, as `start` may be captured besides
    body.captures[source] = param
    body.sources[param] = source
    param.known = start.known
    return source


def build_branches(
    scope: str, index: Tensor, branches: Sequence[Callable[[], Sequence[Any]]],
    labels: Sequence[str], check: Callable[[Sequence[BodyGraph]], None],
) -> list[Tensor]:  # fmt: skip
    """Trace each branch and add the choice between them to the default graph.

    Args:
      check: called with the traced bodies; raises where their results differ.
    """
    outer = get_default_graph()
    bodies = []
    for label, branch in zip(labels, branches, strict=True):
        body = new_body("the branch", scope + label)
        with body.as_default(), body.name_scope(f"{scope}{label}/"):
            body.results = tuple(_inside(convert(y)) for y in branch())
        bodies.append(body)
    check(bodies)
    count = len(bodies[0].results)
    keep_in_branches(bodies)
    captured = share_captures(bodies)
    attrs = {"branches": tuple(bodies), "sizes": ()}
    op = add_operation(outer, "Case", [index, *captured], attrs, scope, bodies)
    return list(op.outputs[:count])


def share_captures(bodies: Sequence[BodyGraph]) -> list[Tensor]:
    """Make all branches take the same values, in one order, and close them."""
    captured = list(dict.fromkeys(t for b in bodies for t in b.captures))
    for body in bodies:
        with body.as_default(), body.name_scope(None):
            for t in captured:
                body.capture(t)
            body.params[:] = [body.captures[t] for t in captured]
        body.close(body.results)
    return captured


def add_operation(
    graph: Graph, kind: str, inputs: Sequence[Tensor], attrs: dict[str, Any], name: str,
    bodies: Sequence[BodyGraph],
) -> Operation:  # fmt: skip
    """Add a loop or branch to a graph."""
    after = list(dict.fromkeys(op for b in bodies for op in b.after))
    with graph.control_dependencies(after):
        return graph.create_operation(lookup(kind), inputs, attrs, name, bodies[0].loc)


def kept_of_loop(
    body: BodyGraph, carries: Sequence[Tensor], slices: Sequence[Tensor],
    results: Sequence[Tensor], first: int = 0,
) -> tuple[list[Tensor], tuple[int, ...]]:  # fmt: skip
    """What a loop gives for its gradient: further results of its body, and carries to stack.

    A carry whose sizes are not known to stay does not stack; it is kept in a box, and so is every
    other value that has sizes of its own in each iteration.  In the default graph.

    Args:
      first: the first carry that may be needed.
    """
    moving = [
        k for k in range(first, len(carries)) if _differs(carries[k].type, results[k].type)
    ]  # fmt: skip
    steady = [c for k, c in enumerate(carries) if k not in moving]
    sizes = {s for t in (*steady, *slices, *body.captures) for s in _symbols(t.type)}
    values = _not_had_again(body, results)
    values = [
        t if t.type.shape is None or _symbols(t.type) <= sizes else lookup("Box")(t)
        for t in values
    ]  # fmt: skip
    values += [lookup("Box")(carries[k]) for k in moving]
    _note_kept(body, results, values)
    return values, tuple(k for k in range(first, len(carries)) if k not in moving)


def _differs(enters: TensorType, leaves: TensorType) -> bool:
    """True of types of one rank whose sizes are not surely equal."""
    a, b = enters.shape, leaves.shape
    return a is not None and b is not None and a != b


def _symbols(t: TensorType) -> set[dims.Symbol]:
    return {s for d in t.shape or () for s in dims.symbols_of(d)}


def _note_kept(body: BodyGraph, results: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    body.residuals.update({t: len(results) + i for i, t in enumerate(values)})


def kept_for_gradients(body: BodyGraph, results: Sequence[Tensor]) -> list[Tensor]:
    """Results of a branch that its gradient needs; see `_not_had_again`."""
    values = _not_had_again(body, results)
    _note_kept(body, results, values)
    return values


def _not_had_again(body: BodyGraph, results: Sequence[Tensor]) -> list[Tensor]:
    """Values that a gradient cannot compute again: draws, and what prints and writes give.

    Nor can it read elements of an array that is carried, but from a copy for each iteration.

    They become outputs of the body, which the compiler drops where nothing reads them.
    """
    seen: set[Operation] = set()
    stack = [t.op for t in results if t.graph is body]
    while stack:
        op = stack.pop()
        if op not in seen:
            seen.add(op)
            stack += [t.op for t in op.inputs]
    params = {t.op for t in body.params}
    ordered = sorted(seen - params, key=lambda op: op.id)
    writes = any(op.record.effect == "state" for op in body.get_operations())
    out = []
    for op in ordered:
        read = writes and op.type == "Identity" and op.inputs[0].type.dtype.is_ref
        element = op.type == "TensorArrayRead" and op.inputs[0] not in body.sources
        if read or element or is_effectful(op):
            out += [t for t in op.outputs if t.dtype.base is not dtypes.string]
    return out


def keep_in_branches(bodies: Sequence[BodyGraph]) -> None:
    """Give every branch a result for each value that some branch keeps for its gradient."""
    count = len(bodies[0].results)
    kept = [kept_for_gradients(b, b.results) for b in bodies]
    place = count
    for owner, values in zip(bodies, kept, strict=True):
        for t in values:
            owner.residuals[t] = place
            place += 1
            for b in bodies:
                with b.as_default(), b.name_scope(None):
                    own = t if b is owner else _nothing(t, b)
                    b.results = (*b.results, own)


def _nothing(t: Tensor, body: BodyGraph) -> Tensor:
    """Zeros of the dtype and shape of `t`, a size that `body` cannot know being 0."""
    if t.dtype.base is dtypes.variant:
        return no_boxes()
    sizes = [size_in(d, body) for d in t.type.shape or ()]
    zero: Tensor = lookup("Fill")([0 if n is None else n for n in sizes], zeros([], t.dtype.base))
    return zero


def is_effectful(op: Operation) -> bool:
    """True where running an operation a second time would not be the same."""
    if op.record.effect != "pure":
        return op.type != "Placeholder"
    if not op.record.control:
        return False
    bodies = (op.attrs["body"],) if "body" in op.attrs else op.attrs["branches"]
    return any(is_effectful(inner) for b in bodies for inner in b.get_operations())


# ---------------------------------------------------------------- carries
def _slice_type(x: Tensor) -> TensorType:
    shape = x.type.shape
    if shape == ():
        raise ShapeError(
            f"{x.name!r} is a scalar, it has no slices to go through", loc=loc.caller(),
            operands=(f"{x.name}: {x.describe()}",),
        )  # fmt: skip
    return TensorType(x.dtype.base, None if shape is None else shape[1:])


def leading(x: Tensor) -> Any:
    """The size of the first axis: an int where it is known, else a tensor."""
    first = x.shape.as_list()[0] if x.shape.ndims else None
    return first if first is not None else lookup("Shape")(x)[0]


def convert_length(length: Any) -> Tensor:
    tensor = convert(length, None, "length")
    if tensor.dtype.base not in (dtypes.int32, dtypes.int64) or tensor.shape.ndims not in (0, None):
        raise DtypeError(
            f"the number of iterations must be an integer scalar, got {tensor.type.public()}",
            loc=loc.caller(),
        )
    return tensor


def _inside(t: Tensor) -> Tensor:
    """A result as a tensor of the body that is traced: one from outside is captured."""
    return get_default_graph().adopt(t, lookup("Identity"), [t], loc.caller())


def convert_like(value: Any, carry: Tensor, name: str) -> Tensor:
    """A new carry as a tensor; Python numbers take the carry's dtype."""
    if hasattr(value, "as_graph_tensor"):
        value = value.as_graph_tensor()
    if isinstance(value, Tensor):
        return value
    return convert(value, carry.dtype.base, name)


def _carry(new: Tensor, old: Tensor, name: str, body: BodyGraph, hint: str | None = None) -> Tensor:
    """Check that a carry leaves as it enters."""
    operands = (f"enters: {old.type.public()}", f"leaves: {new.describe()}")
    if new.dtype.base is not old.dtype.base:
        raise DtypeError(
            f"{name} of {body.what} enters as {old.dtype.base.name} and leaves as "
            f"{new.dtype.base.name}",
            loc=new.op.loc, operands=operands,
            hint=f"convert it with tf.cast(x, tf.{old.dtype.base.name})",
        )  # fmt: skip
    a, b = old.type.shape, new.type.shape
    same = a is None or b is None or (
        len(a) == len(b)
        and all(
            x == y or not (isinstance(x, int) and isinstance(y, int))
            for x, y in zip(a, b, strict=True)
        )
    )  # fmt: skip
    if not same:
        raise ShapeError(
            f"{name} of {body.what} enters with the shape {old.shape} and leaves with {new.shape}",
            loc=new.op.loc, operands=operands,
            hint=hint,
        )  # fmt: skip
    return new


__all__ = ["Looped", "build_branches", "build_loop", "kept_of_loop", "leading", "new_body"]
