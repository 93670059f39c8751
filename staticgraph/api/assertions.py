"""`assert_*` and `is_*`: checks at build where values are known, else at run time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from staticgraph.api.effects import Assert
from staticgraph.api.framework import name_scope, no_op
from staticgraph.errors import AssertionFailedError, DtypeError, ShapeError, UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import convert
from staticgraph.ir.graph import Operation, Tensor, get_default_graph
from staticgraph.ir.op import lookup


def _value(x: Tensor) -> np.ndarray | None:
    """The value of a constant, None of anything else."""
    if x.op.type == "Const":
        array: np.ndarray = x.op.get_attr("value").array
        return array
    if x.known is not None and all(isinstance(v, int) for v in x.known.ravel()):
        return x.known.astype(x.dtype.np)
    return None


def _all(condition: Tensor) -> Tensor:
    if condition.type.shape is None:
        condition = lookup("Reshape")(condition, [-1])
        return lookup("All")(condition, [0])  # type: ignore[no-any-return]
    return lookup("All")(condition, list(range(len(condition.type.shape))))  # type: ignore[no-any-return]


def _pair(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    if hasattr(y, "dtype") and not hasattr(x, "dtype"):
        y = convert(y, name="y")
        return convert(x, y.dtype.base, "x"), y
    x = convert(x, name="x")
    return x, convert(y, x.dtype.base, "y")


def _check(
    name: str, sign: str, condition: Tensor, known: Callable[..., Any],
    tensors: Sequence[tuple[str, Tensor]],
    data: Sequence[Any] | None, summarize: int | None, message: str | None,
) -> Operation:  # fmt: skip
    values = [_value(t) for _, t in tensors]
    lead = message or ""
    names = [f"{n} ({t.name}) = " for n, t in tensors]
    text = f"Condition {sign} did not hold element-wise:"
    if all(v is not None for v in values):
        if np.all(known(*values)):
            return no_op("static_checks_determined_all_ok")
        shown = "\n".join(f"{n}{v}" for n, v in zip(names, values, strict=True))
        raise AssertionFailedError(
            f"{name}: {lead + '. ' if lead else ''}{text[0].lower()}{text[1:]}\n{shown}",
            loc=loc.caller(),
        )
    if data is None:
        data = [lead, text]
        for n, (_, t) in zip(names, tensors, strict=True):
            data += [n, t]
    return Assert(_all(condition), data, summarize=summarize)


def _binary(name: str, sign: str, op: str, known: Callable[..., Any]) -> Any:
    def check(
        x: Any, y: Any, data: Sequence[Any] | None = None, summarize: int | None = None,
        message: str | None = None, name: str | None = None,
    ) -> Operation:  # fmt: skip
        with name_scope(name, check.__name__, [x, y]):
            a, b = _pair(x, y)
            return _check(
                check.__name__, f"x {sign} y", lookup(op)(a, b), known, [("x", a), ("y", b)],
                data, summarize, message,
            )  # fmt: skip

    check.__name__ = check.__qualname__ = name
    check.__doc__ = f"""Checks ``x {sign} y`` for all elements, which broadcast.

    Args:
      data: what a failure prints, in place of the operands.
      summarize: how many elements of each; 3 by default.
      message: text before that.

    Returns:
      The operation that checks; run it, or put it into `control_dependencies`.

    Raises:
      tf.errors.InvalidArgumentError: the condition is known to fail when the graph is built.
    """
    return check


assert_equal = _binary("assert_equal", "==", "Equal", np.equal)
assert_none_equal = _binary("assert_none_equal", "!=", "NotEqual", np.not_equal)
assert_less = _binary("assert_less", "<", "Less", np.less)
assert_less_equal = _binary("assert_less_equal", "<=", "LessEqual", np.less_equal)
assert_greater = _binary("assert_greater", ">", "Greater", np.greater)
assert_greater_equal = _binary("assert_greater_equal", ">=", "GreaterEqual", np.greater_equal)


def _sign(name: str, sign: str, op: str, known: Callable[..., Any]) -> Any:
    def check(
        x: Any, data: Sequence[Any] | None = None, summarize: int | None = None,
        message: str | None = None, name: str | None = None,
    ) -> Operation:  # fmt: skip
        with name_scope(name, check.__name__, [x]):
            a = convert(x, name="x")
            zero = convert(a.dtype.np.type(0))
            return _check(
                check.__name__, f"x {sign} 0", lookup(op)(a, zero), lambda v: known(v, 0),
                [("x", a)],                 data, summarize, message,
            )  # fmt: skip

    check.__name__ = check.__qualname__ = name
    check.__doc__ = f"""Checks ``x {sign} 0`` for all elements; arguments as in `assert_equal`.

    Raises:
      tf.errors.InvalidArgumentError: the condition is known to fail when the graph is built.
    """
    return check


assert_positive = _sign("assert_positive", ">", "Greater", np.greater)
assert_negative = _sign("assert_negative", "<", "Less", np.less)
assert_non_negative = _sign("assert_non_negative", ">=", "GreaterEqual", np.greater_equal)
assert_non_positive = _sign("assert_non_positive", "<=", "LessEqual", np.less_equal)


def assert_near(
    x: Any, y: Any, rtol: Any = None, atol: Any = None, data: Sequence[Any] | None = None,
    summarize: int | None = None, message: str | None = None, name: str | None = None,
) -> Operation:  # fmt: skip
    """Checks ``|x - y| <= atol + rtol * |y|``; both tolerances are 10 roundings by default.

    Raises:
      tf.errors.InvalidArgumentError: the condition is known to fail when the graph is built.
    """
    with name_scope(name, "assert_near", [x, y]):
        a, b = _pair(x, y)
        eps = 10 * float(ml_dtypes.finfo(a.dtype.np).eps)  # type: ignore[no-untyped-call]
        relative = convert(eps if rtol is None else rtol, a.dtype.base, "rtol")
        absolute = convert(eps if atol is None else atol, a.dtype.base, "atol")
        bound = absolute + relative * abs(b)
        tolerances = [_value(relative), _value(absolute)]

        def known(v: np.ndarray, w: np.ndarray) -> Any:
            return np.abs(v - w) <= tolerances[1] + tolerances[0] * np.abs(w)

        operands = [("x", a), ("y", b)]
        if any(t is None for t in tolerances):
            return Assert(
                _all(lookup("LessEqual")(abs(a - b), bound)),
                data or [message or "", a, b],
                summarize,
            )
        return _check(
            "assert_near", "|x - y| <= atol + rtol * |y|", lookup("LessEqual")(abs(a - b), bound),
            known, operands, data, summarize, message,
        )  # fmt: skip


# ---------------------------------------------------------------- ranks and types
def _rank_check(
    name: str, x: Any, rank: Any, op: str, sign: str, known: Callable[[int, int], bool],
    data: Sequence[Any] | None, summarize: int | None, message: str | None, scope: str | None,
) -> Operation:  # fmt: skip
    with name_scope(scope, name, [x]):
        x = convert(x, name="x")
        rank = convert(rank, dtypes.int32, "rank")
        if rank.type.shape not in ((), None):
            raise ShapeError(
                f"{name}: the rank must be a scalar, got {rank.type.public()}", loc=loc.caller()
            )
        want = _value(rank)
        lead = f"{message}. " if message else ""
        if want is not None and x.type.shape is not None:
            have = len(x.type.shape)
            if known(have, int(want)):
                return no_op("static_checks_determined_all_ok")
            raise ShapeError(
                f"{name}: {lead}the rank must be {sign}{int(want)}, got {have}", loc=loc.caller(),
                operands=(f"x: {x.describe()}",),
            )  # fmt: skip
        condition = lookup(op)(lookup("Rank")(x), rank)
        return Assert(
            condition,
            data
            or [
                f"{lead}Tensor {x.name} must have rank {sign}",
                rank,
                "Received shape: ",
                lookup("Shape")(x),
            ],
            summarize,
        )


def assert_rank(
    x: Any, rank: Any, data: Sequence[Any] | None = None, summarize: int | None = None,
    message: str | None = None, name: str | None = None,
) -> Operation:  # fmt: skip
    """Checks the rank of `x`.

    Raises:
      ValueError: it is known to be another.
    """
    return _rank_check(
        "assert_rank", x, rank, "Equal", "", lambda a, b: a == b, data, summarize, message, name
    )


def assert_rank_at_least(
    x: Any, rank: Any, data: Sequence[Any] | None = None, summarize: int | None = None,
    message: str | None = None, name: str | None = None,
) -> Operation:  # fmt: skip
    """Checks that `x` has at least `rank` axes.

    Raises:
      ValueError: it is known to have fewer.
    """
    return _rank_check(
        "assert_rank_at_least", x, rank, "GreaterEqual", "at least ", lambda a, b: a >= b, data,
        summarize, message, name,
    )  # fmt: skip


def assert_rank_in(
    x: Any, ranks: Sequence[Any], data: Sequence[Any] | None = None, summarize: int | None = None,
    message: str | None = None, name: str | None = None,
) -> Operation:  # fmt: skip
    """Checks that the rank of `x` is one of `ranks`.

    Raises:
      ValueError: it is known to be none of them.
    """
    with name_scope(name, "assert_rank_in", [x]):
        x = convert(x, name="x")
        wanted = [convert(r, dtypes.int32, "rank") for r in ranks]
        values = [_value(r) for r in wanted]
        if x.type.shape is not None and all(v is not None for v in values):
            lead = f"{message}. " if message else ""
            have, allowed = len(x.type.shape), [int(v) for v in values if v is not None]
            if have in allowed:
                return no_op("static_checks_determined_all_ok")
            raise ShapeError(
                f"assert_rank_in: {lead}the rank must be one of {allowed}, got {have}",
                loc=loc.caller(), operands=(f"x: {x.describe()}",),
            )  # fmt: skip
        rank = lookup("Rank")(x)
        hit: Any = None
        for r in wanted:
            same = lookup("Equal")(rank, r)
            hit = same if hit is None else lookup("LogicalOr")(hit, same)
        return Assert(
            hit, data or [message or "", "Received shape: ", lookup("Shape")(x)], summarize
        )


def assert_scalar(tensor: Any, name: str | None = None, message: str | None = None) -> Tensor:
    """Returns `tensor`, which must be known to be a scalar.

    Raises:
      ValueError: it is not.
    """
    with name_scope(name, "assert_scalar", [tensor]):
        t = convert(tensor)
        if t.type.shape != ():
            lead = f"{message}. " if message else ""
            raise ShapeError(
                f"assert_scalar: {lead}{t.name!r} must be a scalar, got {t.type.public()}",
                loc=loc.caller(),
            )
        return t


def assert_type(
    tensor: Any, tf_type: Any, message: str | None = None, name: str | None = None
) -> Operation:
    """Checks the dtype of `tensor` at once.

    Raises:
      TypeError: it is another.
    """
    wanted = dtypes.as_dtype(tf_type)
    with name_scope(name, "assert_type", [tensor]):
        t = convert(tensor, name="tensor")
        if t.dtype.base is not wanted.base:
            lead = f"{message}. " if message else ""
            raise DtypeError(
                f"assert_type: {lead}{t.name!r} must be {wanted.name}, got {t.dtype.base.name}",
                loc=loc.caller(),
            )
        return no_op("statically_determined_correct_type")


def assert_integer(x: Any, message: str | None = None, name: str | None = None) -> Operation:
    """Checks that `x` holds integers, at once.

    Raises:
      TypeError: it does not.
    """
    with name_scope(name, "assert_integer", [x]):
        t = convert(x, name="x")
        if not t.dtype.base.is_integer:
            lead = f"{message}. " if message else ""
            raise DtypeError(
                f"assert_integer: {lead}{t.name!r} must hold integers, got {t.dtype.base.name}",
                loc=loc.caller(),
            )
        return no_op("statically_determined_was_integer")


def assert_proper_iterable(values: Any) -> None:
    """Checks that `values` is a sequence of tensors, not one tensor, array or string.

    Raises:
      TypeError: it is not.
    """
    if isinstance(values, (Tensor, np.ndarray, bytes, str)) or not hasattr(values, "__iter__"):
        raise UsageError(
            f"expected a list of tensors, got {type(values).__name__}", loc=loc.caller()
        )


def assert_same_float_dtype(tensors: Any = None, dtype: Any = None) -> dtypes.DType:
    """The floating type that all `tensors` have, float32 where there are none.

    Args:
      dtype: the type they must have, where it is given.

    Raises:
      ValueError: they differ, or hold no floats.
    """
    want = None if dtype is None else dtypes.as_dtype(dtype).base
    first: Tensor | None = None
    for t in (convert(t) for t in tensors or () if t is not None):
        if want is not None and t.dtype.base is not want:
            of = "dtype" if first is None else repr(first.name)
            raise ShapeError(
                f"assert_same_float_dtype: {t.name!r} is {t.dtype.base.name}, {of} is {want.name}",
                loc=loc.caller(), operands=(f"{t.name}: {t.describe()}",),
            )  # fmt: skip
        first, want = first or t, t.dtype.base
    want = want or dtypes.float32
    if not want.is_floating:
        raise ShapeError(
            f"assert_same_float_dtype: expected floats, got {want.name}", loc=loc.caller()
        )
    return want


def assert_shapes(
    shapes: Any, data: Sequence[Any] | None = None, summarize: int | None = None,
    message: str | None = None, name: str | None = None,
) -> Operation:  # fmt: skip
    """Checks the sizes of several tensors, and that sizes of one name are equal.

    Args:
      shapes: pairs of a tensor and a shape, or a dict.  A shape lists, for each axis, a number, a
        name, or None or "." for any size; before or behind those "..." stands for further axes.

    Raises:
      ValueError: a shape is known not to fit.

    >>> import staticgraph as tf
    >>> x, y = tf.zeros([3, 2]), tf.placeholder(tf.float32, [None])
    >>> check = tf.debugging.assert_shapes([(x, ("batch", 2)), (y, ("batch",))])
    >>> with tf.Session() as sess:
    ...     sess.run(check, {y: [1.0, 2.0, 3.0]})
    """
    pairs = list(shapes.items() if isinstance(shapes, dict) else shapes)
    lead = f"{message}. " if message else ""
    checks: list[Operation] = []
    named: dict[str, tuple[Tensor, int]] = {}
    with name_scope(name, "assert_shapes", [t for t, _ in pairs]):
        for x, shape in pairs:
            t, wanted = convert(x), _axes(shape)
            checks.append(_enough_axes(t, wanted, lead, data, summarize))
            for axis, size in _named_axes(wanted):
                if isinstance(size, str):
                    first, k = named.setdefault(size, (t, axis))
                    if first is t and k == axis:
                        continue
                    want, known = _size_at(first, k, len(wanted)), _size(first, k)
                    of = f"{size!r}, axis {k} of {first.name!r}, has {{}}"
                else:
                    want, known, of = convert(size), size, "it must be {}"
                have = _size(t, axis)
                if have is not None and known is not None:
                    if have != known:
                        raise ShapeError(
                            f"assert_shapes: {lead}axis {axis} of {t.name!r} has the size {have}, "
                            f"{of.format(known)}",
                            loc=loc.caller(), operands=(f"{t.name}: {t.describe()}",),
                        )  # fmt: skip
                    continue
                found = _size_at(t, axis, len(wanted))
                told = [f"{lead}axis {axis} of {t.name!r}: the size, and what it must be", found]
                checks.append(
                    Assert(lookup("Equal")(found, want), data or [*told, want], summarize)
                )
        with get_default_graph().control_dependencies(checks):
            return no_op("shapes_checked")


def _axes(shape: Any) -> list[Any]:
    """What a shape says of each axis: an int, a name, None, or ``...`` at one end."""
    if isinstance(shape, (int, str)):
        shape = [shape]
    out = [None if d == "." else "..." if d is Ellipsis else d for d in shape]
    if "..." in out[1:-1] or out.count("...") > 1:
        raise ShapeError(
            f"assert_shapes: '...' stands at one end of a shape, got {tuple(out)}",
            loc=loc.caller(),
        )
    return [int(d) if not isinstance(d, str) and d is not None else d for d in out]


def _named_axes(wanted: Sequence[Any]) -> list[tuple[int, Any]]:
    """The axes of which something is said, counted from the end behind ``...``."""
    if wanted and wanted[0] == "...":
        found = [(k - len(wanted), d) for k, d in enumerate(wanted)]
    else:
        found = list(enumerate(wanted))
    return [(k, d) for k, d in found if d is not None and d != "..."]


def _enough_axes(
    t: Tensor, wanted: Sequence[Any], lead: str, data: Any, summarize: int | None
) -> Operation:
    """A check of the number of axes."""
    open_, count = "..." in wanted, len([d for d in wanted if d != "..."])
    kind = ("GreaterEqual", "at least ") if open_ else ("Equal", "")
    return _rank_check(
        "assert_shapes", t, count, *kind, lambda a, b: a >= b if open_ else a == b, data,
        summarize, lead.removesuffix(". ") or None, None,
    )  # fmt: skip


def _size_at(t: Tensor, axis: int, count: int) -> Tensor:
    """The size of an axis, -1 where there is none: the check of the rank says so."""
    sizes = lookup("Shape")(t)
    if t.shape.ndims is None:
        absent = [-1] * count
        sizes = lookup("ConcatV2")([absent, sizes, absent], axis=0)
        axis += count if axis >= 0 else -count
    return sizes[axis]  # type: ignore[no-any-return]


def _size(t: Tensor, axis: int) -> int | None:
    """A size that is known when the graph is built."""
    return None if t.shape.ndims is None else t.shape.as_list()[axis]


# ---------------------------------------------------------------- is
def is_numeric_tensor(tensor: Any) -> bool:
    """True of a tensor of numbers; False of a tensor of bools or texts, and of anything else."""
    if hasattr(tensor, "as_graph_tensor"):
        tensor = tensor.as_graph_tensor()
    if not isinstance(tensor, Tensor):
        return False
    kind = tensor.dtype.base
    return kind.is_integer or kind.is_floating or kind.is_complex


def is_non_decreasing(x: Any, name: str | None = None) -> Tensor:
    """Whether no element, row by row, is less than the one before; a bool scalar.

    >>> import staticgraph as tf
    >>> with tf.Session() as sess:
    ...     sess.run(tf.stack([tf.is_non_decreasing([1, 1]), tf.is_strictly_increasing([1, 1])]))
    array([ True, False])
    """
    return _ordered("is_non_decreasing", x, "LessEqual", name)


def is_strictly_increasing(x: Any, name: str | None = None) -> Tensor:
    """Whether every element, row by row, is greater than the one before; a bool scalar."""
    return _ordered("is_strictly_increasing", x, "Less", name)


def _ordered(function: str, x: Any, op: str, name: str | None) -> Tensor:
    with name_scope(name, function, [x]):
        flat = lookup("Reshape")(convert(x, name="x"), [-1])
        return _all(lookup(op)(flat[:-1], flat[1:]))


__all__ = [
    "assert_equal", "assert_greater", "assert_greater_equal", "assert_integer", "assert_less",
    "assert_less_equal", "assert_near", "assert_negative", "assert_non_negative",
    "assert_non_positive", "assert_none_equal", "assert_positive", "assert_proper_iterable",
    "assert_rank", "assert_rank_at_least", "assert_rank_in", "assert_same_float_dtype",
    "assert_scalar", "assert_type", "is_non_decreasing", "is_numeric_tensor",
    "is_strictly_increasing",
]  # fmt: skip
