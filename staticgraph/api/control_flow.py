"""Loops and branches inside the graph: `while_loop`, `cond`, `case`, `switch_case`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from staticgraph.api import nest
from staticgraph.api.framework import name_scope
from staticgraph.api.loop_arrays import LoopArrays
from staticgraph.api.loop_body import build_branches, build_loop
from staticgraph.api.tensor_array import TensorArray
from staticgraph.errors import DtypeError, ShapeError, UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.body import BodyGraph
from staticgraph.ir.build import convert
from staticgraph.ir.dims import Dim
from staticgraph.ir.graph import get_default_graph
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Operation, Tensor
from staticgraph.ir.tensor_shape import TensorShape
from staticgraph.ir.types import TensorType


# ---------------------------------------------------------------- while
def while_loop(
    cond: Callable[..., Any], body: Callable[..., Any], loop_vars: Any,
    shape_invariants: Any = None, parallel_iterations: int = 10, back_prop: bool = True,
    swap_memory: bool = False, name: str | None = None, maximum_iterations: Any = None,
    return_same_structure: bool = False,
) -> Any:  # fmt: skip
    """Repeat `body` while `cond` holds.

    Both are called with the loop variables; `cond` gives a bool scalar, `body` the new variables.
    What they use of the surrounding graph they may simply use.  The number of iterations may
    depend on data, and the result can be differentiated, to any order.

    Args:
      loop_vars: tensors, or lists, tuples and dicts of them, nested at will.
      shape_invariants: for variables whose shape changes: a shape for each, None where it does.
      parallel_iterations, swap_memory: accepted, and without effect.
      back_prop: with False, gradients stop at the results.
      maximum_iterations: the most iterations there may be.
      return_same_structure: with False, a single variable comes back as a tensor, not in a list.

    Returns:
      the variables after the last iteration, in the structure of `loop_vars`.

    Raises:
      ValueError: a variable leaves `body` with another shape than it enters, or a structure
        differs.
      TypeError: a dtype changes, or `cond` gives something else than a bool scalar.

    >>> import staticgraph as tf
    >>> i = tf.while_loop(lambda i: i * i < 50, lambda i: i + 1, [tf.constant(0)])
    >>> int(tf.Session().run(i))
    8
    """
    del parallel_iterations, swap_memory
    for what, f in (("cond", cond), ("body", body)):
        if not callable(f):
            raise UsageError(f"while_loop: {what} must be callable, got {f!r}", loc=loc.caller())
    flat = nest.flatten(loop_vars)
    if not flat:
        raise UsageError("while_loop: there are no loop variables", loc=loc.caller())
    with name_scope(name, "while", flat) as scope:
        arrays = LoopArrays(flat)
        places = [k for k in range(len(flat)) if k not in arrays.arrays]
        start = [convert(flat[k], None, f"var_{k}") for k in places]
        types = _invariants(start, flat, places, shape_invariants)

        def pack(values: Sequence[Any]) -> Any:
            return nest.pack_sequence_as(loop_vars, list(values))

        def go_on(values: Sequence[Any]) -> Tensor:
            return _predicate(cond(*_arguments(pack(values))), scope)

        def step(carries: list[Tensor], _: list[Tensor]) -> tuple[list[Any], list[Any]]:
            arrays.enter()
            new = _like(body(*_arguments(pack(arrays.inside(carries[1:])))), loop_vars)
            tensors = zip(arrays.take(new), carries[1:], strict=True)
            after = [_new(v, c) for v, c in tensors]
            return [go_on(arrays.left(after)), *after], []

        first = go_on(arrays.outside(start))
        bool_ = TensorType(dtypes.bool_, ())
        looped = build_loop(
            scope, [first, *start], [], step, conditional=True, length=maximum_iterations,
            types=[bool_, *types],
            names=["the predicate", *(f"loop variable {k}" for k in places)], more=arrays.finish,
            hint="say with shape_invariants which sizes may change",
        )  # fmt: skip
        n = len(start) + 1
        finals, late, outputs = looped.finals[1:n], looped.finals[n:], looped.outputs
        for t, type_ in zip(finals, types, strict=True):
            t.set_shape(TensorShape([d if isinstance(d, int) else None for d in type_.shape])
                        if type_.shape is not None else None)  # fmt: skip
        if not back_prop:
            finals, late, outputs = (
                [lookup("StopGradient")(t) for t in ts] for ts in (finals, late, outputs)
            )
        out = arrays.leave(finals, late, outputs)
    if len(out) == 1 and not return_same_structure and not isinstance(loop_vars, Mapping):
        return out[0]
    return pack(out)


def _arguments(packed: Any) -> Sequence[Any]:
    return packed if isinstance(packed, (list, tuple)) else [packed]


def _like(given: Any, loop_vars: Any) -> list[Any]:
    """What a body gave, flat; one variable may come back bare."""
    count = len(nest.flatten(loop_vars))
    single = isinstance(loop_vars, (list, tuple)) and len(loop_vars) == 1
    if single and not (isinstance(given, (list, tuple)) and len(given) == 1):
        given = [given]
    flat = nest.flatten(given)
    if any(v is None for v in flat):
        raise UsageError(
            f"while_loop: the body gives {given!r} for the loop variables", loc=loc.caller(),
            hint="does it return what it computes?",
        )  # fmt: skip
    if len(flat) != count:
        raise ShapeError(
            f"while_loop: the body gives {len(flat)} values for {count} loop variables",
            loc=loc.caller(),
        )
    try:
        nest.assert_same_structure(loop_vars, given, check_types=False)
    except (ValueError, TypeError) as e:
        why = getattr(e, "message", e)
        raise ShapeError(
            f"while_loop: the body changes the structure: {why}", loc=loc.caller()
        ) from None
    return flat


def _new(value: Any, carry: Tensor) -> Tensor:
    if hasattr(value, "as_graph_tensor"):
        value = value.as_graph_tensor()
    return value if isinstance(value, Tensor) else convert(value, carry.dtype.base, "value")


def _predicate(value: Any, scope: str) -> Tensor:
    t = convert(value, None, "predicate")
    if t.dtype.base is not dtypes.bool_ or t.shape.ndims not in (0, None):
        raise DtypeError(
            f"the condition of {scope.rstrip('/')!r} must be a bool scalar, "
            f"got {t.type.public()}",
            loc=loc.caller(), operands=(f"{t.name}: {t.describe()}",),
            hint="use tf.reduce_all or tf.reduce_any" if t.dtype.base is dtypes.bool_ else None,
        )  # fmt: skip
    return t


def _invariants(
    start: Sequence[Tensor], flat: Sequence[Any], places: Sequence[int], shapes: Any
) -> list[TensorType]:
    """The types that loop variables have throughout; those at `places` are tensors."""
    if shapes is None:
        return [TensorType(t.dtype.base, t.type.shape) for t in start]
    given = _shapes(shapes)
    if len(given) != len(flat):
        raise ShapeError(
            f"while_loop: {len(given)} shape invariants for {len(flat)} loop variables",
            loc=loc.caller(),
        )
    out = []
    for k, t in zip(places, start, strict=True):
        shape = TensorShape(given[k])
        if not shape.is_compatible_with(t.shape):
            raise ShapeError(
                f"while_loop: loop variable {k} starts with the shape {t.shape}, "
                f"its invariant is {shape}",
                loc=loc.caller(), operands=(f"loop variable {k}: {t.describe()}",),
            )  # fmt: skip
        if shape.ndims is None:
            out.append(TensorType(t.dtype.base, None))
            continue
        graph = get_default_graph()
        dims: list[Dim] = [graph.fresh("d") if d is None else d for d in shape.as_list()]
        out.append(TensorType(t.dtype.base, tuple(dims)))
    return out


def _shapes(shapes: Any) -> list[Any]:
    """Shape invariants, flat: a list of sizes is one shape, and so is a `TensorShape`."""
    if isinstance(shapes, TensorShape) or shapes is None:
        return [shapes]
    if isinstance(shapes, Mapping):
        return [s for k in sorted(shapes) for s in _shapes(shapes[k])]
    if isinstance(shapes, (list, tuple)):
        if all(d is None or isinstance(d, int) for d in shapes):
            return [TensorShape(list(shapes))]
        return [s for x in shapes for s in _shapes(x)]
    return [shapes]


# ---------------------------------------------------------------- branches
def cond(
    pred: Any, true_fn: Callable[[], Any] | None = None,
    false_fn: Callable[[], Any] | None = None, strict: bool = False, name: str | None = None,
    fn1: Callable[[], Any] | None = None, fn2: Callable[[], Any] | None = None,
) -> Any:  # fmt: skip
    """The results of `true_fn` where `pred` holds, else those of `false_fn`.

    Only what is chosen runs, updates of variables included; operations made outside of the
    functions run in any case.

    Args:
      pred: a bool scalar.
      strict: with True, a list of one result stays a list.
      fn1, fn2: older names of `true_fn` and `false_fn`.

    Raises:
      ValueError: the branches' results differ in structure.
      TypeError: they differ in dtype, or `pred` is no bool scalar.

    >>> import staticgraph as tf
    >>> x = tf.constant(3.0)
    >>> y = tf.cond(x > 2.0, lambda: x * 10.0, lambda: -x)
    >>> float(tf.Session().run(y))
    30.0
    """
    true_fn = fn1 if true_fn is None else true_fn
    false_fn = fn2 if false_fn is None else false_fn
    for what, f in (("true_fn", true_fn), ("false_fn", false_fn)):
        if not callable(f):
            raise UsageError(f"cond: {what} must be callable, got {f!r}", loc=loc.caller())
    assert true_fn is not None and false_fn is not None
    if isinstance(pred, bool):
        raise UsageError(
            "cond: the predicate must be a tensor, not a Python bool", loc=loc.caller(),
            hint="use Python's if, or tf.constant(pred)",
        )  # fmt: skip
    with name_scope(name, "cond", [pred] if isinstance(pred, Tensor) else None) as scope:
        p = _predicate(pred, scope)
        index = lookup("Select")(p, convert(0), convert(1))
        return _branches(scope, index, [true_fn, false_fn], ["true", "false"], strict)


def _branches(
    scope: str, index: Tensor, fns: Sequence[Callable[[], Any]], labels: Sequence[str],
    strict: bool = True,
) -> Any:  # fmt: skip
    """The choice, with the structure of what the functions give."""
    structures: list[Any] = []

    def flat(f: Callable[[], Any]) -> Callable[[], list[Any]]:
        def branch() -> list[Any]:
            given = f()
            structures.append(_EFFECT if isinstance(given, Operation) else given)
            return [t for x in nest.flatten(given) for t in _results(x)]

        return branch

    def check(bodies: Sequence[BodyGraph]) -> None:
        _check_branches(scope, bodies, labels, structures)

    out = build_branches(scope, index, [flat(f) for f in fns], labels, check)
    first = structures[0]
    if first is _EFFECT:
        return out[0].op
    values = iter(out)
    filled = [_value(x, values) for x in nest.flatten(first)]
    if not strict and isinstance(first, (list, tuple)) and len(first) == 1:
        return filled[0]
    return nest.pack_sequence_as(first, filled)


def _results(x: Any) -> Sequence[Any]:
    """The tensors of what a branch gives; of an operation one that is there when it has run."""
    if x is None:
        return ()
    if isinstance(x, TensorArray):
        return x.full_marks()
    if isinstance(x, Operation):
        with get_default_graph().control_dependencies([x]):
            return (lookup("Identity")(convert(True), name="done"),)
    return (x,)


def _value(x: Any, results: Iterator[Tensor]) -> Any:
    """What the choice gives where the first branch gives `x`."""
    if x is None:
        return None
    return x.holding(next(results), next(results)) if isinstance(x, TensorArray) else next(results)


class _Effect:
    """Stands for a branch that gives an operation."""


_EFFECT = _Effect()


def _check_branches(
    scope: str, bodies: Sequence[BodyGraph], labels: Sequence[str], structures: Sequence[Any]
) -> None:
    what = scope.rstrip("/")
    first, label = bodies[0], labels[0]
    for body, other, structure in zip(bodies[1:], labels[1:], structures[1:], strict=True):
        if len(body.results) != len(first.results):
            raise ShapeError(
                f"{what}: the branch {label} gives {len(first.results)} values, "
                f"the branch {other} {len(body.results)}",
                loc=loc.caller(),
            )
        if structures[0] is not _EFFECT and structure is not _EFFECT:
            try:
                nest.assert_same_structure(structures[0], structure, check_types=False)
                _same_kinds(structures[0], structure)
            except (ValueError, TypeError) as e:
                why = getattr(e, "message", e)
                raise ShapeError(f"{what}: the branches differ in structure: {why}",
                                 loc=loc.caller()) from None  # fmt: skip
        for k, (a, b) in enumerate(zip(first.results, body.results, strict=True)):
            operands = (f"{label}: {a.describe()}", f"{other}: {b.describe()}")
            if a.dtype.base is not b.dtype.base:
                raise DtypeError(
                    f"{what}: value {k} is {a.dtype.base.name} in the branch {label} and "
                    f"{b.dtype.base.name} in the branch {other}",
                    loc=b.op.loc, operands=operands,
                )  # fmt: skip


def _same_kinds(a: Any, b: Any) -> None:
    for k, (x, y) in enumerate(zip(nest.flatten(a), nest.flatten(b), strict=True)):
        for kind in (type(None), TensorArray):
            if isinstance(x, kind) != isinstance(y, kind):
                raise ValueError(f"value {k} is {x!r} in one of them, {y!r} in the other")


def switch_case(
    branch_index: Any, branch_fns: Any, default: Callable[[], Any] | None = None,
    name: str | None = None,
) -> Any:  # fmt: skip
    """The results of the function whose number `branch_index` holds.

    Args:
      branch_index: an int32 scalar.
      branch_fns: a list of functions, of (number, function) pairs, or a dict.
      default: for every other number; the last function if None.

    >>> import staticgraph as tf
    >>> k = tf.constant(1)
    >>> y = tf.switch_case(k, [lambda: tf.constant(10), lambda: tf.constant(20)])
    >>> int(tf.Session().run(y))
    20
    """
    pairs = _numbered(branch_fns)
    numbers = sorted(pairs)
    if numbers != list(range(len(numbers))):
        raise UsageError(
            f"switch_case: the branches must be numbered 0 to {len(numbers) - 1}, got {numbers}",
            loc=loc.caller(),
        )
    fns = [pairs[k] for k in numbers]
    labels = [f"branch_{k}" for k in numbers]
    if default is not None:
        fns.append(default)
        labels.append("default")
    with name_scope(name, "switch_case") as scope:
        index = convert(branch_index, dtypes.int32, "branch_index")
        return _branches(scope, index, fns, labels)


def _numbered(branch_fns: Any) -> dict[int, Callable[[], Any]]:
    if isinstance(branch_fns, Mapping) or (branch_fns and isinstance(branch_fns[0], (list, tuple))):
        pairs = dict(branch_fns)
    else:
        pairs = dict(enumerate(branch_fns or ()))
    if not pairs or not all(callable(f) for f in pairs.values()):
        raise UsageError("switch_case: give one or more functions", loc=loc.caller())
    return pairs


def case(
    pred_fn_pairs: Any, default: Callable[[], Any] | None = None, exclusive: bool = False,
    strict: bool = False, name: str = "case",
) -> Any:  # fmt: skip
    """The results of the function of the first predicate that holds, else of `default`.

    Args:
      pred_fn_pairs: pairs of a bool scalar and a function, or a dict.
      default: where none holds; without it that is an error of the run.
      exclusive: with True, two predicates that hold are an error of the run.

    >>> import staticgraph as tf
    >>> x = tf.constant(5)
    >>> y = tf.case([(x < 3, lambda: tf.constant("small"))], default=lambda: tf.constant("big"))
    >>> tf.Session().run(y)
    b'big'
    """
    pairs = list(pred_fn_pairs.items() if isinstance(pred_fn_pairs, Mapping) else pred_fn_pairs)
    if not pairs or not all(len(p) == 2 and callable(p[1]) for p in pairs):
        raise UsageError("case: give pairs of a predicate and a function", loc=loc.caller())
    with name_scope(name, "case", [p for p, _ in pairs if isinstance(p, Tensor)]) as scope:
        preds = lookup("Pack")([_predicate(p, scope) for p, _ in pairs], axis=0)
        checks = []
        ones = lookup("Cast")(preds, DstT=dtypes.int32)
        count = lookup("Sum")(ones, 0, keep_dims=False)
        if exclusive:
            text = f"more than one condition of {scope.rstrip('/')!r} holds"
            checks.append(lookup("Assert")(count <= 1, [convert(text), preds]))
        if default is None:
            text = f"none of the conditions of {scope.rstrip('/')!r} holds, and it has no default"
            checks.append(lookup("Assert")(count >= 1, [convert(text), preds]))
        with get_default_graph().control_dependencies(checks):
            first = lookup("Cast")(lookup("ArgMax")(ones, 0), DstT=dtypes.int32)
            none = convert(len(pairs))
            index = lookup("Select")(lookup("Any")(preds, 0, keep_dims=False), first, none)
        fns = [f for _, f in pairs]
        labels = [f"branch_{k}" for k in range(len(fns))]
        if default is not None:
            fns.append(default)
            labels.append("default")
        return _branches(scope, index, fns, labels, strict)


__all__ = ["case", "cond", "switch_case", "while_loop"]
