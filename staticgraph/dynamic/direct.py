"""Short ways for the ops that programs use most: one or two operands, one result.

They do what `apply` does, in the same order, without sorting arguments: the operands' types are
looked up among those that the record takes, and the numpy rule is the one for the type at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from staticgraph.dynamic.apply import (
    VIEWS,
    Taped,
    apply,
    cause,
    edge,
    not_a_tensor,
    owner_of,
    refused,
    tensor_slot,
)
from staticgraph.dynamic.element_types import DIFFERENTIABLE, FLOATS, INTEGERS, NUMPY, of_number
from staticgraph.dynamic.modes import MODES
from staticgraph.dynamic.tape import Node
from staticgraph.dynamic.versions import FROZEN
from staticgraph.ir import dtypes
from staticgraph.ir.op import Op, RuleError, lookup
from staticgraph.ops.rules import numpy_for

_TENSOR = tensor_slot()
_new = object.__new__
_OF_INTEGERS = frozenset(("Floor", "Ceil"))  # they leave integers as they are


def binary(name: str, reflected: bool = False, of_bools: str = "") -> Callable[[Any, Any], Any]:
    """A function of a tensor and another one or a number.

    Args:
      reflected: the number is the first operand.
      of_bools: the op for two operands of truth values.
    """
    op = lookup(name)
    assert op.numpy is not None
    logic = lookup(of_bools) if of_bools else None
    accepted = _accepted(op, 2)
    rules = {kind: numpy_for(op.numpy, kind) for kind in accepted}
    smooth = op.grad is not None

    def other_types(x: Any, other: Any) -> Any:
        kind = other._array.dtype if isinstance(other, Taped) else type(other)
        both = logic is not None and x._array.dtype == np.bool_ and kind in (bool, np.bool_)
        return apply(logic if both and logic else op, (other, x) if reflected else (x, other), {})

    def method(x: Any, other: Any) -> Any:
        modes = MODES
        if modes.tracer is not None:
            return other_types(x, other) if _operand(other) else NotImplemented
        a = x._array
        kind = a.dtype
        if isinstance(other, Taped):
            b, version = other._array, other._version
            if b.dtype is not kind or kind not in accepted:
                return other_types(x, other)
        elif kind in accepted and (
            (other.__class__ is float and kind in FLOATS)
            or (other.__class__ is int and (kind in FLOATS or kind in INTEGERS))
        ):
            try:
                b = np.array(other, kind)
            except OverflowError:
                return other_types(x, other)
            version = FROZEN
        elif not _operand(other):
            return NotImplemented
        else:
            return other_types(x, other)
        arrays = (b, a) if reflected else (a, b)
        try:
            out = modes.run(rules[kind], *arrays)
        except Exception as e:
            raise refused(op, arrays, {}, e) from cause(e)
        if out.__class__ is not np.ndarray:
            out = np.asarray(out)
        t = _new(_TENSOR[0])
        t._array = out
        t._version = own = [0, None]
        if smooth and modes.grad:
            to_x = edge(x)
            to_other = None if version is FROZEN else edge(other)
            if (to_x is not None or to_other is not None) and kind in DIFFERENTIABLE:
                slots = (x._slot, 0 if to_other is None else other._slot)
                edges: tuple[Any, ...] = (to_x, to_other)
                versions = (x._version, version)
                if reflected:
                    edges, slots, versions = edges[::-1], slots[::-1], versions[::-1]
                t._node = Node(op, {}, (), arrays, (out,), edges, slots, (*versions, own))
                t._requires = True
        return t

    return method


def unary(name: str) -> Callable[[Any], Any]:
    """A function of one tensor; integers become floats where the op takes floats alone."""
    op = lookup(name)
    assert op.numpy is not None
    accepted = _accepted(op, 1)
    rules = {kind: numpy_for(op.numpy, kind) for kind in accepted}
    smooth = op.grad is not None

    def function(x: Any) -> Any:
        if not isinstance(x, Taped):
            raise not_a_tensor(op.name, x)
        a = x._array
        if a.dtype not in accepted:
            if name in _OF_INTEGERS and a.dtype in INTEGERS:
                return apply(lookup("Identity"), (x,), {})
            if a.dtype in INTEGERS or a.dtype == np.bool_:
                x = lookup("Cast")(x, DstT=NUMPY[of_number(0.0)])
            return apply(op, (x,), {})
        modes = MODES
        if modes.tracer is not None:
            return apply(op, (x,), {})
        try:
            out = modes.run(rules[a.dtype], a)
        except Exception as e:
            raise refused(op, (a,), {}, e) from cause(e)
        if out.__class__ is not np.ndarray:
            out = np.asarray(out)
        elif out is a:
            out = a.copy()
        t = _new(_TENSOR[0])
        t._array = out
        t._version = own = [0, None]
        if smooth and modes.grad:
            to = edge(x)
            if to is not None and out.dtype in DIFFERENTIABLE:
                t._node = Node(op, {}, (), (a,), (out,), (to,), (x._slot,), (x._version, own))
                t._requires = True
        return t

    return function


def _accepted(op: Op, count: int, **attrs: Any) -> frozenset[Any]:
    out = []
    for d in dtypes.ALL:
        try:
            op.dtypes(*[d] * count, **{**op.attrs, **attrs})
        except RuleError:
            continue
        out.append(d.np)
    return frozenset(out)


def _operand(value: Any) -> bool:
    return isinstance(value, (Taped, int, float, complex, np.generic, np.ndarray))


def product(name: str) -> Callable[..., Any]:
    """A function of two matrices and of attributes that the types do not hang on."""
    op = lookup(name)
    usual = dict(op.attrs)
    accepted = _accepted(op, 2)
    assert op.numpy is not None
    rule = op.numpy

    def function(x: Any, y: Any, **given: Any) -> Any:
        modes = MODES
        a, b = x._array, y._array
        usual_case = a.dtype is b.dtype and a.dtype in accepted and a.ndim == b.ndim == 2
        if not usual_case or modes.tracer is not None:
            return apply(op, (x, y), given)
        attrs = {**usual, **given} if given else usual
        try:
            out = modes.run(rule, a, b, **attrs)
        except Exception as e:
            raise refused(op, (a, b), attrs, e) from cause(e)
        t = _new(_TENSOR[0])
        t._array = out
        t._version = own = [0, None]
        if modes.grad and out.dtype in DIFFERENTIABLE:
            to_x, to_y = edge(x), edge(y)
            if to_x is not None or to_y is not None:
                t._node = Node(
                    op, attrs, tuple(attrs.items()), (a, b), (out,), (to_x, to_y),
                    (x._slot, y._slot), (x._version, y._version, own),
                )  # fmt: skip
                t._requires = True
        return t

    return function


def single(name: str, **usual: Any) -> Callable[[Any, dict[str, Any]], Any]:
    """A function of one tensor and of attributes, complete and in their final form.

    `usual` are attributes without which the record cannot say which types it takes.
    """
    op = lookup(name)
    accepted = _accepted(op, 1, **usual)
    assert op.numpy is not None
    rules = {kind: numpy_for(op.numpy, kind) for kind in accepted}
    view = name in VIEWS

    def function(x: Any, attrs: dict[str, Any]) -> Any:
        if not isinstance(x, Taped):
            raise not_a_tensor(op.name, x)
        a = x._array
        rule = rules.get(a.dtype)
        modes = MODES
        if rule is None or modes.tracer is not None:
            return apply(op, (x,), attrs)
        try:
            out = modes.run(rule, a, **attrs)
        except Exception as e:
            raise refused(op, (a,), attrs, e) from cause(e)
        if out.__class__ is not np.ndarray:
            out = np.asarray(out)
        t = _new(_TENSOR[0])
        version = [0, None]
        if out is a or out.base is not None:
            owner = owner_of(out, (x,), (a,))
            if owner is not None and not view:
                out = out.copy()
            elif owner is not None:
                version = x._version
                t._base = base = x if x._base is None else x._base
                t._epoch = base._epoch
        t._array = out
        t._version = version
        if modes.grad and op.grad is not None:
            to = edge(x)
            if to is not None and out.dtype in DIFFERENTIABLE:
                key = tuple(attrs.items())
                t._node = Node(
                    op, attrs, key, (a,), (out,), (to,), (x._slot,), (x._version, version)
                )
                t._requires = True
        return t

    return function
