"""`Function`: operations with a gradient of the user's own."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from staticgraph.dynamic.apply import Taped, edge, wrap
from staticgraph.dynamic.element_types import DIFFERENTIABLE
from staticgraph.dynamic.engine import check_gradient
from staticgraph.dynamic.modes import MODES, no_grad
from staticgraph.dynamic.tape import Node
from staticgraph.errors import RunError, StaticGraphError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.op import lookup

_IDENTITY = lookup("Identity")


class Context:
    """What `forward` leaves for `backward`; further attributes may be set freely."""

    needs_input_grad: tuple[bool, ...] = ()
    materialize_grads = True
    _saved: tuple[Any, ...] = ()
    _stamps: tuple[Any, ...] = ()
    _sources: tuple[Any, ...] = ()
    _dirty: tuple[Any, ...] = ()
    _plain: tuple[Any, ...] = ()
    _freed = False

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for `backward`; a change in place of one of them is found out there."""
        for t in tensors:
            if t is not None and not isinstance(t, Taped):
                raise UsageError(
                    f"save_for_backward takes tensors, got {type(t).__name__}", loc=loc.caller(),
                    hint="other objects can be attributes: ctx.name = value",
                )  # fmt: skip
        self._saved = tensors
        self._stamps = tuple(None if t is None else t._version[0] for t in tensors)

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What was saved.

        Raises:
          RunError: a backward has freed it, or it was changed in place since.
        """
        if self._freed:
            raise RunError(
                "backward runs a second time, but the first one has freed the saved tensors",
                loc=loc.caller(), hint="call the first backward with retain_graph=True",
            )  # fmt: skip
        for t, stamp in zip(self._saved, self._stamps, strict=True):
            if t is not None and t._version[0] != stamp:
                raise RunError(
                    "a tensor saved for backward has been changed in place since: version "
                    f"{t._version[0]}, expected {stamp}",
                    loc=loc.caller(),
                    operands=(f"changed at {loc.resolve(t._version[1]).excerpt()}",),
                    hint="save a .clone(), or change one",
                )
        return tuple(t.tensor() if isinstance(t, _OwnResult) else t for t in self._saved)

    def mark_dirty(self, *tensors: Any) -> None:
        """Say which inputs `forward` has changed in place and returns."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Say which results have no gradient."""
        self._plain = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether `backward` gets zeros (the default) or None for results that nobody used."""
        self.materialize_grads = value


class _FunctionNode(Node):
    """The node of a `Function`."""

    __slots__ = ("cls", "ctx")

    cls: Any
    ctx: Any

    def name(self) -> str:
        return f"{self.cls.__name__}Backward"

    def check_alive(self) -> None:
        if self.ctx is None:
            raise RunError(
                f"{self.cls.__name__}: backward runs a second time through a graph that the first "
                "run has freed",
                loc=loc.caller(), hint="call the first backward with retain_graph=True",
            )  # fmt: skip

    def pull(self, gs: list[Any], wanted: tuple[bool, ...]) -> Any:
        with no_grad():
            ds = self.pull_recorded([None if g is None else wrap(g) for g in gs], wanted)
        return [None if d is None else d._array for d in ds]

    def pull_recorded(self, gs: list[Any], wanted: tuple[bool, ...]) -> Any:
        self.check_alive()
        return gradients_of_call(self.cls, self.ctx, gs, self.outputs, self.inputs, wanted)

    def release(self) -> None:
        super().release()
        if self.ctx is not None:
            self.ctx._saved, self.ctx._freed = (), True
        self.ctx = None


def gradients_of_call(
    cls: Any, ctx: Any, gs: list[Any], outputs: Sequence[Any], inputs: Sequence[Any],
    wanted: Sequence[bool],
) -> list[Any]:  # fmt: skip
    """The gradients of the tensors among the arguments, as `cls.backward` gives them.

    Args:
      gs: a gradient per result, or None.
      outputs, inputs: the arrays of results and tensor arguments.
      wanted: which tensor arguments need a gradient.

    Raises:
      UsageError: their number is wrong, or one is no tensor.
      ShapeError, DtypeError: one does not fit its argument.
    """
    if ctx.materialize_grads:
        zeros = lookup("ZerosLike")
        gs = [zeros(wrap(a)) if g is None else g for g, a in zip(gs, outputs, strict=True)]
    found = cls.backward(ctx, *gs)
    ds = found if isinstance(found, tuple) else (found,)
    n = len(ctx._sources)
    while len(ds) > n and ds[-1] is None:
        ds = ds[:-1]
    if len(ds) != n:
        raise UsageError(
            f"{cls.__name__}.backward returned {len(ds)} gradients for {n} arguments of forward",
            loc=_of(cls),
            hint="return None for arguments that have no gradient",
        )
    out = []
    for i, (at, d) in enumerate(zip(ctx._sources, ds, strict=True)):
        if at is None:
            continue
        if d is not None and wanted[at]:
            d = _fitted(cls, i, d, inputs[at])
        out.append(d)
    return out


def _of(cls: Any) -> loc.Loc:
    """Where a class of the user's has its backward."""
    code = getattr(cls.backward, "__code__", None)
    if code is None:
        return loc.caller()
    return loc.Loc(code.co_filename, code.co_firstlineno, code.co_name)


def _fitted(cls: Any, i: int, d: Any, array: np.ndarray) -> Any:
    what = f"gradient {i} that {cls.__name__}.backward returned"
    if isinstance(d, Taped) and d._array.shape != array.shape:
        try:
            expandable = np.broadcast_shapes(d._array.shape, array.shape) == array.shape
            reducible = np.broadcast_shapes(d._array.shape, array.shape) == d._array.shape
        except ValueError:
            expandable = reducible = False
        if reducible and not expandable:  # of an operand that was broadcast
            return lookup("SumToShapeOf")(d, wrap(array))
    try:
        check_gradient(d, array, what)
    except StaticGraphError as e:
        raise type(e)(e.message, loc=_of(cls), hint=e.hint) from None
    return d


class Function:
    """An operation whose gradient you write yourself.

    Subclass it with the static methods `forward` and `backward`, and call ``apply``.  `backward`
    gets a gradient per result and returns one per argument of `forward`, None where there is none.
    If `forward` takes no context, define ``setup_context(ctx, inputs, output)``, too.

    >>> import staticgraph.dynamic as torch
    >>> class Cube(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x**3
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return g * 3 * x**2
    >>> x = torch.tensor(2.0, requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad
    tensor(12.)
    """

    setup_context: Any = None

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the results; the first argument is the context."""
        raise NotImplementedError("define forward(ctx, *args) as a static method")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Compute the gradients of the arguments."""
        raise NotImplementedError("define backward(ctx, *grad_outputs) as a static method")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """An error: PyTorch's oldest programs called an instance."""
        name = type(self).__name__
        raise UsageError(
            f"{name}: an instance of a Function cannot be called", loc=loc.caller(),
            hint="make forward(ctx, ...) and backward(ctx, ...) static methods, and call "
            f"{name}.apply(...)",
        )  # fmt: skip

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run `forward` and record `backward`."""
        if MODES.tracer is not None:
            return MODES.tracer.custom(cls, args, kwargs)
        ctx = Context()
        tensors = [a for a in args if isinstance(a, Taped)]
        edges = tuple(edge(t) for t in tensors)
        ctx.needs_input_grad = tuple(isinstance(a, Taped) and edge(a) is not None for a in args)
        track = MODES.grad and any(e is not None for e in edges)
        slots = tuple(t._slot for t in tensors)
        with no_grad():
            out = cls._forward(ctx, args, kwargs)
        results = out if isinstance(out, tuple) else (out,)
        if not track:
            return out
        return cls._recorded(ctx, args, tensors, edges, slots, results, isinstance(out, tuple))

    @classmethod
    def _forward(cls, ctx: Context, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if cls.setup_context is None:
            return cls.forward(ctx, *args, **kwargs)
        out = cls.forward(*args, **kwargs)
        cls.setup_context(ctx, args, out)
        return out

    @classmethod
    def _recorded(
        cls, ctx: Context, args: Sequence[Any], tensors: list[Any], edges: tuple[Any, ...],
        slots: tuple[int, ...], results: tuple[Any, ...], several: bool,
    ) -> Any:  # fmt: skip
        count = iter(range(len(tensors)))
        ctx._sources = tuple(next(count) if isinstance(a, Taped) else None for a in args)
        made = []
        for r in results:
            if not isinstance(r, Taped):
                made.append(r)
                continue
            if any(r is t for t in tensors) and not any(r is t for t in ctx._dirty):
                fresh = wrap(r._array)  # an input handed through is another tensor outside
                fresh._version = r._version
                made.append(fresh)
            else:
                made.append(r)
        outs = [m for m in made if isinstance(m, Taped)]
        node = _FunctionNode(
            _IDENTITY, {}, (), tuple(t._array for t in tensors), tuple(o._array for o in outs),
            edges, slots, (),
        )  # fmt: skip
        node.cls, node.ctx = cls, ctx
        for slot, o in enumerate(outs):
            if o._array.dtype in DIFFERENTIABLE and not any(o is p for p in ctx._plain):
                o._node, o._slot, o._requires = node, slot, True
                if any(o is t for t in ctx._dirty):
                    o._epoch += 1
        ctx._saved = tuple(
            _OwnResult(t) if t is not None and t._node is node else t for t in ctx._saved
        )
        return tuple(made) if several else made[0]


class _OwnResult:
    """A saved tensor that is a result: kept without its node, which holds the context."""

    __slots__ = ("_array", "_node", "_slot", "_version")

    def __init__(self, t: Any) -> None:
        self._array, self._version, self._slot = t._array, t._version, t._slot
        self._node = weakref.ref(t._node)

    def tensor(self) -> Any:
        """The result again."""
        t = wrap(self._array)
        t._version, t._node, t._slot, t._requires = self._version, self._node(), self._slot, True
        return t


def once_differentiable(function: Any) -> Any:
    """A decorator for `backward` methods whose own gradient is not to be recorded."""

    @functools.wraps(function)
    def inside(*args: Any) -> Any:
        with no_grad():
            return function(*args)

    return inside
