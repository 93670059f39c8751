"""The one way operations run: the record's numpy rule now, a node on the tape for later.

`apply` takes any op with any arguments; `dynamic.direct` has the same way with fewer stops for the
ops that programs use most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from staticgraph.dynamic import generator
from staticgraph.dynamic.element_types import DIFFERENTIABLE, NUMPY, of_number
from staticgraph.dynamic.element_types import together as common_type
from staticgraph.dynamic.modes import MODES
from staticgraph.dynamic.tape import Node, type_of
from staticgraph.dynamic.versions import FROZEN, Version
from staticgraph.errors import (
    DtypeError,
    InvalidArgumentError,
    ShapeError,
    StaticGraphError,
    UnimplementedError,
    UsageError,
)
from staticgraph.ir import dtypes, loc
from staticgraph.ir.dims import symbol
from staticgraph.ir.evaluate import with_bodies
from staticgraph.ir.op import REQUIRED, Infer, Op, RuleError, infer, lookup
from staticgraph.ir.operators import Operators
from staticgraph.ir.tensor_shape import TensorShape
from staticgraph.ir.types import ConstantArray, TensorType

# Their results may lie in the memory of the first operand, as PyTorch's do.
VIEWS = frozenset(
    ("Reshape", "Transpose", "ExpandDims", "Squeeze", "BroadcastTo", "StridedSlice", "Slice")
)
_new = object.__new__


class Taped(Operators):
    """What a tensor is to the tape: an array, its version, and where it came from."""

    _array: np.ndarray
    _version: Version
    _requires: bool = False  # a gradient is wanted of it: a leaf that asks, or the result of a node
    _node: Any = None
    _slot: int = 0
    _base: Taped | None = None  # whose memory this is a view of
    _epoch: int = 0  # how often the memory's owner got another node

    def apply_op(
        self, op: Op, args: Sequence[Any], kwargs: Mapping[str, Any], name: str | None
    ) -> Any:
        """Run `op`; `Op.__call__` comes here."""
        return apply(op, args, kwargs)

    def _renew(self) -> None:
        """Derive the node of a view again, because the owner of the memory has another one."""
        raise NotImplementedError


_TENSOR: list[type[Taped]] = [Taped]


def tensor_slot() -> list[type[Taped]]:
    """A list whose only element is the class that results have."""
    return _TENSOR


def set_tensor_class(cls: type[Taped]) -> None:
    """Say which class results have."""
    _TENSOR[0] = cls


def wrap(array: np.ndarray) -> Any:
    """A tensor of its own around `array`."""
    t = _new(_TENSOR[0])
    t._array = array
    t._version = [0, None]
    if MODES.tracer is not None:
        MODES.tracer.born(t)
    return t


def edge(t: Taped) -> Any:
    """Where the gradient of `t` goes: a node, the leaf itself, or None."""
    base = t._base
    if base is not None and base._epoch != t._epoch:
        t._renew()
    if t._node is not None:
        return t._node
    return t if t._requires else None


# ---------------------------------------------------------------- every op
class _Form:
    """How the arguments of an op are sorted."""

    __slots__ = ("count", "defaults", "marks", "view")

    def __init__(self, op: Op) -> None:
        self.marks = [
            (o.lstrip("@*"), o[0] if o[0] in "@*" else "", o.lstrip("*") not in op.operand_dtypes)
            for o in op.operands
        ]
        self.count = len(self.marks)
        complete = not any(v is REQUIRED for v in op.attrs.values())
        self.defaults = dict(op.attrs) if complete else None
        self.view = op.name in VIEWS


_FORMS: dict[Op, _Form] = {}


def apply(op: Op, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run `op` on tensors and numbers.

    Returns:
      a tensor, or a list where the op has several results or a number of them that varies.

    Raises:
      ShapeError, DtypeError: the operands do not fit.
      InvalidArgumentError: the op met a value it cannot take.
    """
    form = _FORMS.get(op)
    if form is None:
        form = _FORMS[op] = _Form(op)
    if kwargs or len(args) != form.count or form.defaults is None:
        operands, given = op.bind(args, kwargs)
        values: Sequence[Any] = [operands[name] for name, _, _ in form.marks]
        attrs = {k: _attribute(v) for k, v in given.items()}
    else:
        values, attrs = args, dict(form.defaults)
    flat: list[Any] = []
    joined: list[bool] = []
    for (name, mark, common), v in zip(form.marks, values, strict=True):
        if mark == "@":
            attrs[name] = _static(v)
        elif mark == "*":
            flat += v
            joined += [common] * len(v)
        else:
            flat.append(v)
            joined.append(common)
    if op.effect != "pure":
        return _with_effect(op, flat, attrs, form)
    tensors, arrays = _operands(op, flat, joined)
    return _run(op, form, attrs, tensors, arrays)


def _run(
    op: Op, form: _Form, attrs: dict[str, Any], tensors: list[Taped | None],
    arrays: tuple[np.ndarray, ...],
) -> Any:  # fmt: skip
    if MODES.tracer is not None:
        return MODES.tracer.apply(op, attrs, tensors, arrays)
    key = tuple(attrs.items()) if attrs else ()
    kinds = _types(op, arrays, attrs, key)
    assert op.numpy is not None
    calls_back = "func" in attrs  # Python of the user's: it may come back here
    given = with_bodies(attrs, None) if "sizes" in op.attrs else attrs
    try:
        out = op.numpy(*arrays, **given) if calls_back else MODES.run(op.numpy, *arrays, **given)
    except Exception as e:
        raise refused(op, arrays, attrs, e) from cause(e)
    several = len(kinds) != 1
    if several:
        outs = [np.asarray(o, k.np) for o, k in zip(out, kinds, strict=True)]
    else:
        if isinstance(out, (tuple, list)):
            (out,) = out
        outs = [np.asarray(out)]
    made = []
    for i, o in enumerate(outs):
        owner = owner_of(o, tensors, arrays)
        if owner is not None and not form.view:
            owner, o = None, o.copy()
            outs[i] = o
        t = wrap(o)
        if owner is not None:
            t._version = owner._version
            t._base = owner if owner._base is None else owner._base
            t._epoch = t._base._epoch
        made.append(t)
    if MODES.grad and op.grad is not None:
        _record(op, attrs, key, tensors, arrays, made)
    return made if several or callable(op.results) else made[0]


def _record(
    op: Op, attrs: dict[str, Any], key: tuple[Any, ...], tensors: Sequence[Taped | None],
    arrays: tuple[np.ndarray, ...], made: Sequence[Taped],
) -> None:  # fmt: skip
    edges = tuple([None if t is None else edge(t) for t in tensors])
    smooth = [t for t in made if t._array.dtype in DIFFERENTIABLE]
    if not smooth or all(e is None for e in edges):
        return
    node = Node(
        op, attrs, key, arrays, tuple([t._array for t in made]), edges,
        tuple([0 if t is None else t._slot for t in tensors]),
        (*[FROZEN if t is None else t._version for t in tensors], *[t._version for t in made]),
    )  # fmt: skip
    for slot, t in enumerate(made):
        if t._array.dtype in DIFFERENTIABLE:
            t._node, t._slot, t._requires = node, slot, True


def owner_of(out: np.ndarray, tensors: Sequence[Taped | None], arrays: Sequence[Any]) -> Any:
    """The operand in whose memory a result lies."""
    base = out.base
    for t, a in zip(tensors, arrays, strict=True):
        if out is a or (base is not None and (base is a or base is a.base)):
            return t
    return None


def _types(
    op: Op, arrays: Sequence[np.ndarray], attrs: Mapping[str, Any], key: tuple[Any, ...]
) -> tuple[dtypes.DType, ...]:
    """The results' element types; ShapeError or DtypeError where the operands do not fit.

    Numpy is more generous than the records: what it would let pass is refused here.
    """
    full = (op, key, *[(a.dtype, a.shape) for a in arrays])
    kinds = _KINDS.get(full)
    if kinds is None:
        try:
            found = infer(op, [type_of(a) for a in arrays], attrs, Infer(_unknown))
        except RuleError as e:
            raise _error(op, arrays, e) from None
        if len(_KINDS) >= _LIMIT:
            _KINDS.clear()
        kinds = _KINDS[full] = tuple(t.dtype for t in found)
    return kinds


_KINDS: dict[tuple[Any, ...], tuple[dtypes.DType, ...]] = {}
_LIMIT = 8192  # sizes that never come back must not pile up


def _unknown(hint: str) -> Any:
    return symbol(hint)


# ---------------------------------------------------------------- arguments
def _static(value: Any) -> Any:
    if isinstance(value, Taped):
        if MODES.tracer is not None:
            MODES.tracer.read(value, "a tensor that decides a shape")
        value = value._array
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return tuple([_static(v) for v in value])
    return value.item() if isinstance(value, np.generic) else value


def _attribute(value: Any) -> Any:
    if isinstance(value, list):
        return tuple([_attribute(v) for v in value])
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return ConstantArray(value)
    if isinstance(value, TensorShape):
        return None if value.ndims is None else tuple(value.as_list())
    return value


def _operands(
    op: Op, flat: list[Any], joined: list[bool]
) -> tuple[list[Taped | None], tuple[np.ndarray, ...]]:
    """Tensors and arrays of one element type, but for operands that have their own."""
    kinds = {v._array.dtype if isinstance(v, Taped) else None
             for v, j in zip(flat, joined, strict=True) if j}  # fmt: skip
    if len(kinds) > 1 or None in kinds:
        common = _common(op, [v for v, j in zip(flat, joined, strict=True) if j])
    else:
        common = next(iter(kinds), None)
    tensors: list[Taped | None] = []
    arrays: list[np.ndarray] = []
    for v, j in zip(flat, joined, strict=True):
        if isinstance(v, Taped):
            if j and v._array.dtype != common and common is not None:
                v = lookup("Cast")(v, DstT=NUMPY[common])
            tensors.append(v)
            arrays.append(v._array)
        else:
            tensors.append(None)
            arrays.append(_constant(op, v, common if j else None))
    return tensors, tuple(arrays)


def _constant(op: Op, value: Any, kind: np.dtype | None) -> np.ndarray:
    if isinstance(value, (list, tuple)) and any(isinstance(v, Taped) for v in value):
        value = [v._array if isinstance(v, Taped) else v for v in value]
    try:
        if kind is None and not isinstance(value, (np.ndarray, np.generic)):
            kind = of_number(value) if np.ndim(value) == 0 else None
        return np.asarray(value, kind)
    except (TypeError, ValueError, OverflowError) as e:
        raise DtypeError(
            f"{op.name}: {value!r} cannot be an operand"
            + ("" if kind is None else f" of {NUMPY[kind].name}"), loc=loc.caller(),
        ) from e  # fmt: skip


def _common(op: Op, values: Sequence[Any]) -> np.dtype | None:
    axes: list[np.dtype] = []
    scalars: list[np.dtype] = []
    numbers: list[np.dtype] = []
    for v in values:
        if isinstance(v, Taped):
            (axes if v._array.ndim else scalars).append(v._array.dtype)
        elif isinstance(v, np.ndarray) and v.ndim:
            axes.append(v.dtype)
        elif isinstance(v, (list, tuple)):
            axes.append(of_number(np.asarray(v).flat[0].item() if np.size(v) else 0.0))
        else:
            numbers.append(of_number(v.item() if isinstance(v, np.ndarray) else v))
    return common_type(axes, scalars, numbers)


# ---------------------------------------------------------------- effects
def _with_effect(op: Op, flat: list[Any], attrs: dict[str, Any], form: _Form) -> Any:
    if op.effect == "random":
        return generator.draw(op, flat, attrs, wrap)
    if op.effect == "io" and op.numpy is not None:
        tensors, arrays = _operands(op, flat, [False] * len(flat))
        return _run(op, form, attrs, tensors, arrays)
    raise UnimplementedError(
        f"{op.name} acts on the state of a session; tensors hold their values themselves",
        loc=loc.caller(), hint="change the tensor in place, as in x.add_(1)",
    )  # fmt: skip


# ---------------------------------------------------------------- errors
def cause(e: Exception) -> Exception | None:
    return None if isinstance(e, (StaticGraphError, RuleError)) else e


def _error(op: Op, arrays: Sequence[np.ndarray], e: RuleError) -> StaticGraphError:
    return described(op, [type_of(a) for a in arrays], e)


def described(op: Op, types: Sequence[TensorType], e: RuleError) -> StaticGraphError:
    """A rule's refusal with the operands and the user's line."""
    cls = DtypeError if e.kind == "dtype" else ShapeError
    hint = "convert one with x.to(dtype)" if e.hint and "tf.cast" in e.hint else e.hint
    return cls(f"{op.name}: {e.message}", loc=loc.caller(), operands=_shown(op, types), hint=hint)


def _shown(op: Op, types: Sequence[TensorType]) -> list[str]:
    names = list(op.data_operands)
    if op.variadic:
        at = next(i for i, n in enumerate(o for o in op.operands if o[0] != "@") if n[0] == "*")
        many = len(types) - len(names) + 1
        names[at : at + 1] = [f"{names[at]}[{i}]" for i in range(many)]
    return [f"{n}: {t.public()}" for n, t in zip(names, types, strict=True)]


def refused(
    op: Op, arrays: Sequence[np.ndarray], attrs: Mapping[str, Any], e: Exception
) -> BaseException:
    """What to raise where an op's numpy rule failed: inference says it best."""
    if isinstance(e, MemoryError):
        return e
    try:
        infer(op, [type_of(a) for a in arrays], attrs, Infer(_unknown))
    except RuleError as rule:
        return _error(op, arrays, rule)
    where, shown = loc.caller(), _shown(op, [type_of(a) for a in arrays])
    if isinstance(e, StaticGraphError):
        if e.loc is not None:
            return e
        return type(e)(e.message, loc=where, operands=shown, hint=e.hint)
    return InvalidArgumentError(f"{op.name}: {e}", loc=where, operands=shown)


def not_a_tensor(what: str, value: Any) -> UsageError:
    """The error for an argument that should have been a tensor."""
    return UsageError(
        f"{what} takes a tensor, got {type(value).__name__} {value!r}"[:200],
        loc=loc.caller(), hint="make one with torch.tensor(...)",
    )  # fmt: skip
