"""Changes in place: the methods with a trailing underscore, and assignment to a part.

The new values are those of the operation without the underscore; they are copied into the
memory.  Where gradients are recorded the tensor then stands for the result, and the owner of the
memory, if it is a view, for its old self with the new part put in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from staticgraph.dynamic import elementwise, generator
from staticgraph.dynamic.apply import Taped, edge, wrap
from staticgraph.dynamic.element_types import FLOATS, NUMPY
from staticgraph.dynamic.modes import MODES
from staticgraph.dynamic.tape import type_of
from staticgraph.dynamic.versions import bump
from staticgraph.errors import DtypeError, RunError, ShapeError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.op import lookup
from staticgraph.ops.random import philox_normal, philox_uniform


def check_changeable(x: Any) -> None:
    """RunError where `x` must not be changed now.

    A leaf that requires a gradient, or a view of one, can change only while nothing is recorded.
    """
    if MODES.grad:
        leaf = x if x._requires and x._node is None else x._base
        if leaf is not None and leaf._requires and leaf._node is None:
            kind = "a leaf" if leaf is x else "a view of a leaf"
            raise RunError(
                f"{kind} that requires a gradient, a {type_of(x._array).public()}, is changed in "
                "place while operations are recorded",
                loc=loc.caller(),
                hint="put the update under `with torch.no_grad():`",
            )
    if not x._array.flags.writeable:
        raise RunError(
            "the tensor's memory cannot be written: it is an expanded view or a read-only array",
            loc=loc.caller(), hint="change a .clone()",
        )  # fmt: skip


def check_fits(a: Any, new: Any) -> None:
    """ShapeError or DtypeError where a result cannot be put into the memory of `a`."""
    if new.shape != a.shape:
        raise ShapeError(
            f"the result has shape {list(new.shape)} and cannot be put into a tensor of shape "
            f"{list(a.shape)}",
            loc=loc.caller(),
        )
    if new.dtype != a.dtype:
        wide = {"bool": 0, "int": 1, "uint": 1, "float": 2, "complex": 3}
        if wide[NUMPY[new.dtype].kind] > wide[NUMPY[a.dtype].kind]:
            raise DtypeError(
                f"a result of type {NUMPY[new.dtype].name} cannot be put into a tensor of type "
                f"{NUMPY[a.dtype].name}",
                loc=loc.caller(), hint="use the operation without the trailing underscore",
            )  # fmt: skip


def _put(x: Any, new: np.ndarray) -> None:
    """Copy values into the memory of `x`."""
    a = x._array
    check_fits(a, new)
    if new.dtype != a.dtype:
        with np.errstate(all="ignore"):
            new = new.astype(a.dtype)
    a[...] = new
    bump(x._version)


def change(x: Any, function: Callable[[Any], Any], *others: Any) -> Any:
    """Give `x` the values of ``function(x)``, in its memory; returns `x`.

    Args:
      others: what else `function` uses; decides whether the change is recorded.
    """
    if MODES.tracer is not None:
        return MODES.tracer.changed(x, function)
    check_changeable(x)
    if not MODES.grad or not any(
        isinstance(t, Taped) and edge(t) is not None for t in (x, *others)
    ):
        new = function(x)
        _put(x, new._array if isinstance(new, Taped) else np.asarray(new))
        if x._node is None and isinstance(new, Taped) and new._requires and MODES.grad:
            _adopt(x, new)
        return x
    old = wrap(x._array.copy())
    to = edge(x)
    if to is not None:
        old._node, old._slot, old._requires = to, x._slot, True
    new = function(old)
    if new._array.dtype != x._array.dtype:
        if new._array.dtype in FLOATS and x._array.dtype in FLOATS:
            new = elementwise.cast(new, x._array.dtype)
        else:
            _put(x, new._array)
            return x
    owner = x._base
    before = None if owner is None else _before(owner)
    _put(x, new._array)
    if owner is None:
        _adopt(x, new)
    else:
        _adopt_part(owner, before, x, new)
    return x


def _adopt(x: Any, new: Any) -> None:
    """`x` stands for `new` from now on; its views find out by the epoch."""
    x._node, x._slot, x._requires = new._node, new._slot, new._requires
    x._epoch += 1


def _before(owner: Any) -> Any:
    """The owner of a view's memory as it was before the change, in memory of its own."""
    t = wrap(owner._array.copy())
    to = edge(owner)
    if to is not None:
        t._node, t._slot, t._requires = to, owner._slot, True
    return t


def places_in(owner: Any, view: Any) -> np.ndarray:
    """For each element of a view its position in the owner, counted in C order."""
    a, b = owner._array, view._array
    order = np.arange(a.size, dtype=np.int64).reshape(a.shape)
    memory = np.empty_like(a, dtype=np.int64)  # laid out as the owner is
    memory[...] = order
    if memory.strides != tuple(s // a.itemsize * 8 for s in a.strides):
        raise RunError(
            "a view of memory that is not contiguous is changed in place where gradients are "
            "recorded",
            loc=loc.caller(), hint="change a .clone()",
        )  # fmt: skip
    start = (b.__array_interface__["data"][0] - a.__array_interface__["data"][0]) // a.itemsize
    flat = memory.ravel(order="K")
    out: np.ndarray = np.lib.stride_tricks.as_strided(
        flat[start:], b.shape, tuple(s // b.itemsize * 8 for s in b.strides)
    )
    return out


def _adopt_part(owner: Any, before: Any, view: Any, new: Any) -> None:
    """The owner stands for its old self with `new` in the view's place."""
    at = places_in(owner, view)
    flat = lookup("Reshape")(before, (-1,))
    put = lookup("TensorScatterUpdate")(
        flat, wrap(at.reshape(-1, 1).copy()), lookup("Reshape")(new, (at.size,))
    )
    _adopt(owner, lookup("Reshape")(put, owner._array.shape))
    renew(view)


def renew(view: Any) -> None:
    """Derive a view's node from the owner's present one."""
    owner = view._base
    view._epoch = owner._epoch
    if owner._node is None and not owner._requires:
        return
    was, MODES.grad = MODES.grad, True
    try:
        flat = lookup("Reshape")(owner, (-1,))
        part = lookup("GatherV2")(flat, wrap(places_in(owner, view).copy()), 0)
    finally:
        MODES.grad = was
    view._node, view._slot, view._requires = part._node, part._slot, True


# ---------------------------------------------------------------- the methods
def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return change(self, lambda x: function(x, *args, **kwargs), *args, *kwargs.values())

    name = function.__name__
    method.__name__ = method.__qualname__ = f"{name}_"
    method.__doc__ = f"`{name}`, in place; returns the tensor."
    return method


add_, sub_ = _method(elementwise.add), _method(elementwise.sub)
mul_, div_ = _method(elementwise.mul), _method(elementwise.div)
pow_, clamp_ = _method(elementwise.pow), _method(elementwise.clamp)
floor_divide_, remainder_ = _method(elementwise.floor_divide), _method(elementwise.remainder)
lerp_ = _method(elementwise.lerp)
addcmul_, addcdiv_ = _method(elementwise.addcmul), _method(elementwise.addcdiv)


def _named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    function_named = lambda x: function(x)  # noqa: E731
    function_named.__name__ = name
    return _method(function_named)


exp_, log_, sqrt_, rsqrt_, abs_, neg_ = (
    _named(getattr(elementwise, n), n) for n in ("exp", "log", "sqrt", "rsqrt", "abs", "neg")
)
relu_, sigmoid_, tanh_, sin_, cos_ = (
    _named(getattr(elementwise, n), n) for n in ("relu", "sigmoid", "tanh", "sin", "cos")
)
square_, reciprocal_, floor_, ceil_, round_, trunc_, sign_ = (
    _named(getattr(elementwise, n), n)
    for n in ("square", "reciprocal", "floor", "ceil", "round", "trunc", "sign")
)


def copy_(self: Any, src: Any, non_blocking: bool = False) -> Any:
    """Take the values of `src`, which may broadcast; returns the tensor."""
    del non_blocking
    if not isinstance(src, Taped):
        raise UsageError(f"copy_ takes a tensor, got {type(src).__name__}", loc=loc.caller())

    def values(x: Any) -> Any:
        new = elementwise.cast(src, x._array.dtype)  # type: ignore[arg-type]
        return (
            new
            if new._array.shape == x._array.shape
            else lookup("BroadcastTo")(new, x._array.shape)
        )

    return change(self, values, src)


def fill_(self: Any, value: Any) -> Any:
    """Make all elements `value`; returns the tensor."""
    if isinstance(value, Taped):
        return copy_(self, value)
    if MODES.tracer is not None:
        return change(self, lambda x: elementwise.cast(lookup("OnesLike")(x) * value, x.dtype))
    return change(self, lambda x: wrap(np.full_like(x._array, value)))


def zero_(self: Any) -> Any:
    """Make all elements zero; returns the tensor."""
    return change(self, lambda x: lookup("ZerosLike")(x.detach()))


def masked_fill_(self: Any, mask: Any, value: Any) -> Any:
    """Put `value` where the mask is true; returns the tensor."""
    from staticgraph.dynamic.selection import masked_fill

    return change(self, lambda x: masked_fill(x, mask, value), value)


def index_add_(self: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
    """Add the slices of `source` to those along `dim` that `index` names; returns the tensor."""
    from staticgraph.dynamic.selection import index_add

    return change(self, lambda x: index_add(x, dim, index, source, alpha=alpha), source)


def scatter_(self: Any, dim: int, index: Any, src: Any) -> Any:
    """Put `src` at the places along `dim` that `index` names; returns the tensor."""
    from staticgraph.dynamic.selection import scatter

    return change(self, lambda x: scatter(x, dim, index, src), src)


def scatter_add_(self: Any, dim: int, index: Any, src: Any) -> Any:
    """Add `src` at the places along `dim` that `index` names; returns the tensor."""
    from staticgraph.dynamic.selection import scatter_add

    return change(self, lambda x: scatter_add(x, dim, index, src), src)


def _drawn(self: Any, draw: Callable[[np.ndarray], np.ndarray]) -> Any:
    return change(self, lambda x: wrap(draw(x._array)))


def _floats(a: np.ndarray, record: Any, source: generator.Generator | None) -> np.ndarray:
    if a.dtype not in FLOATS:
        raise DtypeError(f"random numbers for a {NUMPY[a.dtype].name} tensor", loc=loc.caller())
    kind = a.dtype if a.dtype.itemsize != 2 or a.dtype.kind == "f" else np.dtype(np.float32)
    out = (source or generator.DEFAULT).take(record, (), {"shape": a.shape, "dtype": NUMPY[kind]})
    return out.astype(a.dtype)


def uniform_(self: Any, a: float = 0.0, b: float = 1.0, *, generator: Any = None) -> Any:
    """Draw evenly from [a, b); returns the tensor."""
    return _drawn(
        self, lambda x: (_floats(x, philox_uniform, generator) * (b - a) + a).astype(x.dtype)
    )


def normal_(self: Any, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Any:
    """Draw from the normal distribution; returns the tensor."""
    return _drawn(
        self, lambda x: (_floats(x, philox_normal, generator) * std + mean).astype(x.dtype)
    )


def bernoulli_(self: Any, p: float = 0.5, *, generator: Any = None) -> Any:
    """Draw 1 with probability `p`, else 0; returns the tensor."""

    def draw(x: np.ndarray) -> np.ndarray:
        like = x if x.dtype in FLOATS else x.astype(np.float32)
        return (_floats(like, philox_uniform, generator) < p).astype(x.dtype)

    return _drawn(self, draw)
