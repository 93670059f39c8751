"""`gradients`: reverse-mode differentiation of the graph, written into the graph."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from staticgraph.api.framework import (
    flatten,
    get_default_session,
    name_scope,
    registered_gradient,
)
from staticgraph.errors import DtypeError, GraphError, ShapeError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.build import constant, convert
from staticgraph.ir.collector import without_collection
from staticgraph.ir.graph import Graph, Operation, Tensor, nested
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import split_operands
from staticgraph.passes.autodiff import Application, backward


class UnconnectedGradients(enum.Enum):
    """What `gradients` gives for an x that no y depends on."""

    NONE = "none"
    ZERO = "zero"


class AggregationMethod:
    """How cotangents are summed; accepted and ignored, the compiler fuses the sum."""

    ADD_N = 0
    DEFAULT = ADD_N
    EXPERIMENTAL_TREE = 1
    EXPERIMENTAL_ACCUMULATE_N = 2


@without_collection()
def gradients(
    ys: Any, xs: Any, grad_ys: Any = None, name: str = "gradients",
    colocate_gradients_with_ops: bool = False, gate_gradients: bool = False,
    aggregation_method: int | None = None, stop_gradients: Any = None,
    unconnected_gradients: Any = UnconnectedGradients.NONE,
) -> list[Any]:  # fmt: skip
    """Derivatives of the sum of `ys` with respect to each of `xs`.

    Args:
      ys: a tensor or a list; a tensor of any shape stands for the sum of its elements.
      xs: a tensor, a variable, or a list of them.
      grad_ys: cotangents, one per y, each of the shape of its y; ones where None.
      stop_gradients: tensors to take as constants.
      unconnected_gradients: `UnconnectedGradients.ZERO` gives zeros where there is no dependence.

    Returns:
      A list with one tensor per x, None where no y depends on it.

    Raises:
      TypeError: a y is not of a floating type.
      ValueError: a cotangent of another shape than its y.

    >>> import staticgraph as tf
    >>> x = tf.constant(3.0)
    >>> tf.gradients(x * x, [x])
    [<tf.Tensor 'gradients/mul_grad/add:0' shape=() dtype=float32>]
    """
    del colocate_gradients_with_ops, gate_gradients, aggregation_method
    unconnected = UnconnectedGradients(unconnected_gradients)
    y_list, x_list = _as_list(ys), _as_list(xs)
    if grad_ys is not None and len(_as_list(grad_ys)) != len(y_list):
        raise ShapeError(
            f"gradients: {len(y_list)} ys, but {len(_as_list(grad_ys))} grad_ys", loc=loc.caller()
        )
    g_list = [None] * len(y_list) if grad_ys is None else _as_list(grad_ys)
    with name_scope(name, "gradients", flatten([y_list, x_list, g_list])):
        y_tensors = [_as_tensor(y) for y in y_list]
        x_tensors = [_source(x) for x in x_list]
        stops = {_source(x) for x in flatten(stop_gradients)}
        if not y_tensors:
            return [None] * len(x_tensors)
        graph = y_tensors[0].graph
        x_tensors = [_inside(x, graph) for x in x_tensors]
        stops = {_inside(x, graph) for x in stops}
        cotangents: dict[Tensor, Tensor] = {}
        for i, (y, g) in enumerate(zip(y_tensors, g_list, strict=True)):
            seed = _seed(y, g, i)
            cotangents[y] = seed if y not in cotangents else cotangents[y] + seed
        _propagate(graph, y_tensors, x_tensors, stops, cotangents)
        out: list[Any] = [cotangents.get(x) for x in x_tensors]
        if unconnected is UnconnectedGradients.ZERO:
            for i, x in enumerate(x_list):
                if out[i] is None:
                    out[i] = lookup("ZerosLike")(_as_tensor(x))
        return out


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _as_tensor(y: Any) -> Tensor:
    found: Any = y.as_graph_tensor() if hasattr(y, "as_graph_tensor") else y
    if not isinstance(found, Tensor):
        raise UsageError(f"gradients: {y!r} is neither a tensor nor a variable", loc=loc.caller())
    return found


def _source(x: Any) -> Tensor:
    """What cotangents are collected at: a variable's storage, so that all its reads count."""
    if hasattr(x, "as_graph_element"):
        x = x.as_graph_element()
    elif hasattr(x, "as_graph_tensor"):
        x = x.as_graph_tensor()
    if not isinstance(x, Tensor):
        raise UsageError(f"gradients: {x!r} is neither a tensor nor a variable", loc=loc.caller())
    return x


def _inside(x: Tensor, graph: Graph) -> Tensor:
    """What stands for `x` in the body of a loop or branch that the ys are in."""
    if x.graph is graph or not (graph.within(x.graph) or x.graph.within(graph)):
        return x
    return graph.adopt(x, lookup("Identity"), [x], loc.caller())


def _seed(y: Tensor, g: Any, i: int) -> Tensor:
    """The cotangent of `y`: ones, or what the user gave."""
    if not y.dtype.base.is_differentiable:
        raise DtypeError(
            f"gradients: {y.name!r} is {y.dtype.base.name}, which has no gradient",
            loc=loc.caller(), operands=[f"ys[{i}]: {y.describe()}"],
            hint="differentiate a floating tensor",
        )  # fmt: skip
    if g is None:
        shape = y.type.shape
        if shape is not None and all(isinstance(d, int) for d in shape):
            dims = constant(np.array(shape, np.int32), name="Shape")
        else:
            dims = lookup("Shape")(y)
        one = constant(1.0, y.dtype.base, name=f"grad_ys_{i}")
        return lookup("Fill")(dims, one)  # type: ignore[no-any-return]
    given = convert(g, y.dtype.base, f"grad_ys_{i}")
    if not given.shape.is_compatible_with(y.shape):
        raise ShapeError(
            f"gradients: grad_ys[{i}] has shape {given.shape}, its y {y.shape}",
            loc=loc.caller(),
            operands=[f"ys[{i}]: {y.describe()}", f"grad_ys[{i}]: {given.describe()}"],
        )
    return given


def _propagate(
    graph: Graph, ys: Sequence[Tensor], xs: Sequence[Tensor], stops: set[Tensor],
    cotangents: dict[Tensor, Tensor],
) -> None:  # fmt: skip
    """Fill `cotangents`; looks only at operations between the xs and the ys."""
    if not xs:
        return
    first = min(x.op.id for x in xs)
    between: set[Operation] = set()
    stack = [y.op for y in ys]
    while stack:
        op = stack.pop()
        if op in between or op.id < first:
            continue
        between.add(op)
        stack += [t.op for t in op.inputs]
    order = sorted(between, key=lambda op: op.id)
    reached = set(xs)
    for op in order:
        if any(t in reached and _flows(op, t) for t in op.inputs):
            reached.update(t for t in op.outputs if t not in stops)
    opened = _scopes(graph)
    apps = (
        application(op)
        for op in reversed(order)
        if op.inputs and not (stops and any(t in stops for t in op.outputs))
    )
    backward(apps, cotangents, reached.__contains__, opened)


def _flows(op: Operation, t: Tensor) -> bool:
    return t.dtype.base.is_differentiable and any(
        y.dtype.base.is_differentiable for y in op.outputs
    )


def _scopes(graph: Graph) -> Callable[[Application], AbstractContextManager[Any]]:
    def opened(app: Application) -> AbstractContextManager[Any]:
        return graph.name_scope(f"{app.name}_grad")

    return opened


def application(op: Operation) -> Application:
    """`op` as `backward` sees it: data inputs, and constants of ``@`` operands as attributes."""
    return applied(op, op.inputs, op.outputs)


def applied(op: Operation, inputs: Sequence[Tensor], outputs: tuple[Tensor, ...]) -> Application:
    """`op` as `backward` sees it, with other inputs and outputs."""
    data, static = split_operands(op.record, inputs)
    attrs: dict[str, Any] = {k: v for k, v in op.attrs.items() if not k.startswith("_")}
    for key, t in static.items():
        attrs[key] = _constant_value(t)
    return Application(op.record, data, attrs, outputs, op.name, _override(op))


def _constant_value(t: Tensor) -> Any:
    """Plain ints where the value is a constant, else the tensor itself."""
    if t.known is None or any(not hasattr(v, "__index__") for v in t.known.flat):
        return t
    return nested(t.known)


def _override(op: Operation) -> Callable[..., Any] | None:
    """The rule for an operation whose gradient the user registered."""
    wanted = op.attrs.get("_gradient_op_type")
    if wanted is None and op.record.grad is not None:
        return None
    try:
        function = registered_gradient(wanted or op.type)
    except LookupError:
        if wanted is None:
            return None
        target = lookup(wanted) if _is_op(wanted) else None
        if target is not None and target.grad is not None:
            return target.grad
        raise GraphError(
            f"{op.name!r} asks for the gradient {wanted!r}, which is not registered",
            loc=op.loc, hint=f"define it with @tf.RegisterGradient({wanted!r})",
        ) from None  # fmt: skip
    if function is None:
        return lambda g, y, *inputs, **_: (None,) * len(inputs)

    def rule(g: Any, y: Any, *inputs: Any, **_: Any) -> tuple[Any, ...]:
        gs = g if isinstance(g, tuple) else (g,)
        out = function(op, *gs)
        out = tuple(out) if isinstance(out, (list, tuple)) else (out,)
        if len(out) != len(op.inputs):
            raise GraphError(
                f"the gradient function of {op.name!r} gave {len(out)} gradients for "
                f"{len(op.inputs)} inputs",
                loc=op.loc,
            )
        places, _ = split_operands(op.record, range(len(out)))
        return tuple(_cotangent(out[i], x) for i, x in zip(places, inputs, strict=True))

    return rule


def _cotangent(d: Any, x: Tensor) -> Any:
    return None if d is None else convert(d, x.dtype.base, "grad")


def _is_op(name: str) -> bool:
    try:
        lookup(name)
    except KeyError:
        return False
    return True


def hessians(
    ys: Any, xs: Any, name: str = "hessians", colocate_gradients_with_ops: bool = False,
    gate_gradients: bool = False, aggregation_method: int | None = None,
) -> list[Any]:  # fmt: skip
    """Second derivatives of the sum of `ys`: for an x of shape s, a tensor of shape s + s.

    Raises:
      ValueError: the shape of an x is not known when the graph is built.
    """
    del colocate_gradients_with_ops, gate_gradients, aggregation_method
    out: list[Any] = []
    x_list = _as_list(xs)
    with name_scope(name, "hessians", flatten([ys, x_list])):
        for g, x in zip(gradients(ys, x_list), x_list, strict=True):
            shape = x.shape
            if not shape.is_fully_defined():
                raise ShapeError(
                    f"hessians: the shape of {x.name!r} must be known, got {shape}",
                    loc=loc.caller(),
                )
            sizes = tuple(int(d) for d in shape)
            if g is None:
                out.append(None)
                continue
            flat = lookup("Reshape")(g, (-1,))
            n = int(np.prod(sizes))
            rows = [
                gradients(flat[i], x, unconnected_gradients=UnconnectedGradients.ZERO)[0]
                for i in range(n)
            ]
            out.append(lookup("Reshape")(lookup("Pack")(rows, axis=0), sizes + sizes))
    return out


# ---------------------------------------------------------------- checking by differences
def compute_gradient(
    x: Any, x_shape: Any, y: Any, y_shape: Any, x_init_value: Any = None, delta: float = 1e-3,
    init_targets: Any = None, extra_feed_dict: Any = None,
) -> Any:  # fmt: skip
    """The Jacobian of `y` by `x`, by `gradients` and by central differences.

    Runs in the default session.

    Args:
      x: a tensor or a list; then `x_shape` and `x_init_value` are lists too.
      x_shape: its shape at run time.
      y, y_shape: the tensor to differentiate, and its shape.
      x_init_value: where to differentiate; random by default.
      delta: half the step of the differences.
      init_targets: operations to run first.

    Returns:
      Two arrays of shape (size of x, size of y); a list of such pairs for a list of xs.
    """
    session = get_default_session()
    if session is None:
        raise UsageError(
            "compute_gradient needs a default session",
            loc=loc.caller(),
            hint="use `with tf.Session():`",
        )
    for target in flatten(init_targets):
        session.run(target)
    many = isinstance(x, list)
    x_list = x if many else [x]
    shapes = x_shape if many else [x_shape]
    starts = x_init_value if many and x_init_value is not None else [x_init_value] * len(x_list)
    rng = np.random.default_rng(0)
    values = [
        np.array(rng.random(tuple(s)) if v is None else v, dtype=t.dtype.base.np)
        for t, s, v in zip(x_list, shapes, starts, strict=True)
    ]
    cotangent = constant(np.zeros(tuple(y_shape)), y.dtype.base, name="cotangent")
    gs = gradients(y, x_list, cotangent, unconnected_gradients=UnconnectedGradients.ZERO)
    feeds = {**dict(extra_feed_dict or {}), **dict(zip(x_list, values, strict=True))}
    pairs = [
        (_by_rule(session, g, cotangent, feeds, v), _by_difference(session, t, y, feeds, v, delta))
        for g, t, v in zip(gs, x_list, values, strict=True)
    ]
    return pairs if many else pairs[0]


def _by_rule(
    session: Any, g: Any, cotangent: Tensor, feeds: dict[Any, Any], x: np.ndarray
) -> np.ndarray:
    shape = tuple(int(d) for d in cotangent.shape)
    n = int(np.prod(shape))
    jacobian = np.zeros((x.size, n), x.dtype)
    for j in range(n):
        basis = np.zeros(n, cotangent.dtype.np)
        basis[j] = 1
        jacobian[:, j] = session.run(g, {**feeds, cotangent: basis.reshape(shape)}).ravel()
    return jacobian


def _by_difference(
    session: Any, x: Any, y: Tensor, feeds: dict[Any, Any], at: np.ndarray, delta: float
) -> np.ndarray:
    rows = []
    for i in range(at.size):
        ends = []
        for sign in (1, -1):
            moved = at.copy()
            moved.ravel()[i] += sign * delta
            ends.append(np.asarray(session.run(y, {**feeds, x: moved}), dtype=np.float64).ravel())
        rows.append((ends[0] - ends[1]) / (2 * delta))
    return np.array(rows, dtype=at.dtype).reshape(at.size, -1)


def compute_gradient_error(
    x: Any, x_shape: Any, y: Any, y_shape: Any, x_init_value: Any = None, delta: float = 1e-3,
    init_targets: Any = None, extra_feed_dict: Any = None,
) -> float:  # fmt: skip
    """The largest difference between the two Jacobians of `compute_gradient`."""
    pairs = compute_gradient(
        x, x_shape, y, y_shape, x_init_value, delta, init_targets, extra_feed_dict
    )
    pairs = pairs if isinstance(pairs, list) else [pairs]
    return max((float(np.max(np.abs(a - b))) for a, b in pairs if a.size), default=0.0)


__all__ = ["AggregationMethod", "UnconnectedGradients", "gradients", "hessians"]
