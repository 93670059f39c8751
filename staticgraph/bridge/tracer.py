"""The tracer: while it is in force, operations on tensors become nodes of a function."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from staticgraph.bridge.region import Region, Source
from staticgraph.bridge.symbolic import SizeNeededError, SymbolicArray, known_size, valueless
from staticgraph.bridge.training import Effect, Training, overwrite
from staticgraph.dynamic.apply import VIEWS, Taped, described, wrap
from staticgraph.dynamic.element_types import DIFFERENTIABLE, NUMPY
from staticgraph.dynamic.elementwise import cast
from staticgraph.dynamic.function import Context, gradients_of_call
from staticgraph.dynamic.indexing import scattered
from staticgraph.dynamic.inplace import check_fits
from staticgraph.dynamic.modes import MODES
from staticgraph.errors import UnimplementedError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.dims import Poly
from staticgraph.ir.function import Builder, Value
from staticgraph.ir.op import Op, RuleError, lookup
from staticgraph.ir.types import TensorType
from staticgraph.ops.index import index


class Tracer:
    """Writes operations into `builder`.

    Attributes:
      sources: where each of the builder's parameters comes from.
      regions: what functions with gradients of their own have written.
      draws: random streams that the function draws from, with their position after it.
      training: gradients and optimizers that the function uses.
    """

    def __init__(self, builder: Builder, grad: bool) -> None:
        self.builder = builder
        self.grad = grad
        self.sources: list[Source] = []
        self.regions: list[Region] = []
        self.draws: dict[int, tuple[Any, Value]] = {}
        self.training = Training(self)
        self._captured: dict[int, Value] = {}
        self._changed: dict[int, tuple[Any, np.ndarray]] = {}

    # ------------------------------------------------------------ being in force
    @contextmanager
    def active(self) -> Iterator[None]:
        """Listen to the operations of this thread."""
        before = MODES.tracer, MODES.grad
        MODES.tracer, MODES.grad = self, self.grad
        try:
            with self.builder:
                yield
        except BaseException:
            self.training.undo()
            raise
        finally:
            MODES.tracer, MODES.grad = before
            for t, array in self._changed.values():
                t._array = array

    def effects(self) -> list[tuple[Value, Effect]]:
        """What the function does to the outside: a value each, and where it goes."""
        changed = [
            (t._array.value, partial(overwrite, t))
            for t, _ in self._changed.values()
            if not self.is_fresh(t) and isinstance(t._array, SymbolicArray)
        ]
        drawn = [(v, partial(_moved_on, stream)) for stream, v in self.draws.values()]
        return [*changed, *self.training.finish(), *drawn]

    # ------------------------------------------------------------ tensors and values
    def know(self, sources: Sequence[Source], values: Sequence[Value]) -> None:
        """Take over parameters that another tracer has made."""
        for source, value in zip(sources, values, strict=True):
            if source.kind == "captured":
                self._captured[id(source.of)] = value

    def parameter(self, name: str, type_: TensorType, source: Source) -> Value:
        """A parameter of the function."""
        self.sources.append(source)
        taken = {p.name for p in self.builder.params}
        unique = name
        while unique in taken:
            unique += "_"
        return self.builder.param("feed", unique, type_)

    def born(self, t: Any) -> None:
        """A tensor is made while the function is traced: its values belong to the trace."""
        t._born = self

    def is_fresh(self, t: Any) -> bool:
        """Whether a tensor was made in this trace."""
        return getattr(t, "_born", None) is self

    def value_of(self, t: Any) -> Value:
        """The value that stands for a tensor."""
        owner = t._base
        if owner is not None and owner._epoch != t._epoch:
            raise UnimplementedError(
                "a view is used after the tensor it shows was changed in place, inside a traced "
                "function",
                loc=loc.caller(), hint="take the view again after the change",
            )  # fmt: skip
        a = t._array
        if isinstance(a, SymbolicArray):
            if not self.is_fresh(t) and id(t) not in self._changed and not self._knows(a.value):
                raise UsageError(
                    "a tensor is used that was made while another function was recorded, or this "
                    "one for other arguments",
                    loc=loc.caller(),
                    hint="give it back as a result; a tensor that is kept from call to call is "
                    "changed in place, as in state.copy_(value)",
                )
            return a.value
        if self.is_fresh(t):
            return self.builder.constant(a, NUMPY[a.dtype])
        return self.captured(t)

    def _knows(self, value: Value) -> bool:
        return any(value is p.value for p in self.builder.params) or any(
            value is v for n in self.builder.nodes for v in n.outputs
        )

    def captured(self, t: Any) -> Value:
        """The parameter that stands for what a tensor of the outside holds at the start."""
        known = self._captured.get(id(t))
        if known is None:
            a = self.array_of(t)
            type_ = TensorType(NUMPY[a.dtype], a.shape)
            known = self.outside(f"captured{len(self._captured)}", type_, "captured", t)
            self._captured[id(t)] = known
        return known

    def outside(self, name: str, type_: TensorType, kind: Any, of: Any) -> Value:
        """A parameter for something that the function uses without being given it."""
        return self.parameter(name, type_, Source(kind, of=of))

    def array_of(self, t: Any) -> np.ndarray:
        """What a tensor of the outside holds at the start."""
        known = self._changed.get(id(t))
        return t._array if known is None else known[1]

    def tensor(self, value: Value) -> Any:
        """A tensor that stands for a value."""
        return wrap(SymbolicArray(value))  # type: ignore[arg-type]

    def requires(self, t: Any) -> bool:
        """Whether a tensor of the trace depends on one that wants a gradient."""
        a = t._array
        return isinstance(a, SymbolicArray) and a.value in self.training.reached()

    def asks(self, t: Any, wanted: bool) -> None:
        """``t.requires_grad_(wanted)``."""
        if self.is_fresh(t):
            if wanted:
                self.training.asked(t)
        elif t._requires != wanted:
            raise UnimplementedError(
                "requires_grad of a tensor of the outside is changed inside a traced function",
                loc=loc.caller(), hint="change it before the call",
            )  # fmt: skip

    # ------------------------------------------------------------ operations
    def apply(
        self, op: Op, attrs: Mapping[str, Any], tensors: Sequence[Taped | None],
        arrays: Sequence[Any],
    ) -> Any:  # fmt: skip
        """Write a node; `dynamic.apply` comes here with operands of the right types."""
        b = self.builder
        inputs = tuple(
            b.constant(a, NUMPY[a.dtype]) if t is None else self.value_of(t)
            for t, a in zip(tensors, arrays, strict=True)
        )
        for v in attrs.values():
            if isinstance(v, SymbolicArray):
                raise valueless(f"{op.name}, whose result's shape depends on it,")
        try:
            node = b.emit(op, inputs, attrs, where=loc.caller())
        except RuleError as e:
            raise described(op, [v.type for v in inputs], e) from None
        outputs = list(node.outputs)
        if self.grad and not MODES.grad:  # under no_grad
            stop = lookup("StopGradient")
            outputs = [
                b.emit(stop, (v,), {}, where=node.loc).output if v.dtype.is_differentiable else v
                for v in outputs
            ]
        made = [self.tensor(v) for v in outputs]
        if op.name in VIEWS and tensors[0] is not None:
            owner = tensors[0]
            made[0]._base = owner if owner._base is None else owner._base
            made[0]._epoch = made[0]._base._epoch
        return made if len(made) != 1 or callable(op.results) else made[0]

    def changed(self, x: Any, function: Callable[[Any], Any]) -> Any:
        """Give `x` the values of ``function(x)``: it stands for another value from now on."""
        if not self.is_fresh(x):
            self.training.changing(x)
        part = x.__dict__.get("_part")
        if x._base is not None and part is None:
            raise UnimplementedError(
                "a view is changed in place inside a traced function", loc=loc.caller(),
                hint="change the tensor itself, or a part of it: x[0] += 1",
            )  # fmt: skip
        new = function(x)
        value = self.value_of(new)
        kind = NUMPY[x._array.dtype]
        check_fits(x._array, SymbolicArray(value))
        if value.dtype is not kind:
            value = self.builder.emit(lookup("Cast"), (value,), {"DstT": kind}).output
        if not isinstance(x._array, SymbolicArray):
            self._changed.setdefault(id(x), (x, x._array))
        x._array = SymbolicArray(value)
        if part is None:
            x._epoch += 1
        else:  # the tensor that it is a part of changes, too
            if part[1] is None:
                self._through(part[0], self.tensor(value))
            else:
                self.assigned(part[0], part[1], self.tensor(value))
            x._epoch = x._base._epoch
        return x

    def alias(self, x: Any, t: Any) -> None:
        """`t` has the values of `x`, and no gradient flows through it."""
        if isinstance(x._array, SymbolicArray) or not self.is_fresh(x):
            value = self.value_of(x)
            if value.dtype.is_differentiable:
                value = self.builder.emit(lookup("StopGradient"), (value,), {}).output
            t._array = SymbolicArray(value)
            t._base = x if x._base is None else x._base  # a change of one is a change of both
            t._epoch = t._base._epoch
            t._part = (x, None)

    def detached(self, t: Any) -> None:
        """``t.detach_()``."""
        if not self.is_fresh(t):
            raise UnimplementedError(
                "detach_ of a tensor of the outside inside a traced function", loc=loc.caller(),
                hint="use .detach()",
            )  # fmt: skip
        if isinstance(t._array, SymbolicArray) and t._array.value.dtype.is_differentiable:
            stopped = self.builder.emit(lookup("StopGradient"), (t._array.value,), {})
            t._array = SymbolicArray(stopped.output)

    def put(self, x: Any, value: Any) -> None:
        """``x.data = value``: new values; the memory stays that of `x`."""
        if not self.is_fresh(value):
            raise UnimplementedError(
                ".data gets a tensor of the outside inside a traced function", loc=loc.caller(),
                hint="copy the values: x.copy_(value) under torch.no_grad()",
            )  # fmt: skip
        self._through(x, value)

    def _through(self, x: Any, new: Any) -> None:
        """Give `x` values that no gradient knows of."""
        if self.is_fresh(x) and self.requires(x):
            raise UnimplementedError(
                "a result that requires a gradient is changed behind its back inside a traced "
                "function, by .data or .detach()",
                loc=loc.caller(), hint="compute a new tensor",
            )  # fmt: skip
        was, MODES.grad = MODES.grad, False
        try:
            self.changed(x, lambda _: new)
        finally:
            MODES.grad = was

    def read(self, x: Any, what: str) -> None:
        """Somebody wants the values of `x`."""
        if isinstance(x._array, SymbolicArray) or not self.is_fresh(x):
            raise valueless(what)

    def sized(self, x: Any) -> None:
        """Somebody reads the sizes of `x`; a program of the user's must not see open ones."""
        if not isinstance(x._array, SymbolicArray):
            return
        if any(isinstance(d, Poly) for d in x._array.shape) and not loc.is_internal(
            sys._getframe(2).f_code
        ):
            raise SizeNeededError

    # ------------------------------------------------------------ parts
    def indexed(self, x: Any, key: Any) -> Any:
        """``x[key]``; integers beside arrays are taken first, as PyTorch does."""
        keys = key if isinstance(key, tuple) else (key,)
        symbols = [self.value_of(k) if isinstance(k, Taped) else k for k in keys]
        self.builder.loc = loc.caller()
        value = self.value_of(x)
        symbols = _from_the_front(value, symbols)
        if any(map(_is_array, symbols)) and any(map(_is_number, symbols)):
            value, symbols = self._numbers_first(value, symbols)
        found = index(value, tuple(symbols))
        if self.grad and not MODES.grad and found.dtype.is_differentiable:
            found = self.builder.emit(lookup("StopGradient"), (found,), {}).output
        out = self.tensor(found)
        if not any(map(_is_array, symbols)):
            out._base = x if x._base is None else x._base
            out._epoch = out._base._epoch
            out._part = (x, key)
        return out

    def _numbers_first(self, value: Value, keys: list[Any]) -> tuple[Value, list[Any]]:
        widths = [_width(k) for k in keys]
        full = len(value.type.dims) - sum(widths)
        first: list[Any] = []
        rest: list[Any] = []
        for k, width in zip(keys, widths, strict=True):
            if _is_number(k):
                first.append(k)
                continue
            rest.append(k)
            first += [slice(None)] * (full if k is Ellipsis else width)
        return index(value, tuple(first)), rest

    def assigned(self, x: Any, key: Any, value: Any) -> None:
        """``x[key] = value``."""
        new = value if isinstance(value, Taped) else wrap(np.asarray(value))
        mask = key._array.dtype == np.bool_ if isinstance(key, Taped) else False
        if mask and key._array.ndim == x._array.ndim and new._array.ndim == 0:
            part = cast(new, x._array.dtype)  # type: ignore[arg-type]
            self.changed(x, lambda old: lookup("SelectV2")(key, part, old))
            return
        sizes = tuple(map(known_size, x._array.shape))
        places = wrap(np.arange(int(np.prod(sizes))).reshape(sizes))
        at = self.indexed(places, key)
        self.changed(x, lambda old: scattered(old, at, new))

    # ------------------------------------------------------------ functions and random numbers
    def custom(self, cls: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Trace a `Function`: its forward now, its backward where a gradient is written."""
        ctx = Context()
        tensors = [a for a in args if isinstance(a, Taped)]
        count = iter(range(len(tensors)))
        ctx._sources = tuple(next(count) if isinstance(a, Taped) else None for a in args)
        ctx.needs_input_grad = tuple(isinstance(a, Taped) for a in args)
        inputs = tuple(self.value_of(t) for t in tensors)
        start = len(self.builder.nodes)
        out = cls._forward(ctx, args, kwargs)
        results = out if isinstance(out, tuple) else (out,)
        recorded = MODES.grad or not self.grad
        same = lookup("Identity" if recorded else "StopGradient")
        made = [
            self.tensor(self.builder.emit(same, (self.value_of(r),), {}).output)
            if isinstance(r, Taped) else r
            for r in results
        ]  # fmt: skip
        stands_for = {id(r): m for r, m in zip(results, made, strict=True)}
        ctx._saved = tuple(stands_for.get(id(t), t) for t in ctx._saved)
        outs = tuple(self.value_of(m) for m in made if isinstance(m, Taped))
        nodes = self.builder.nodes[start:]

        def rule(g: Any, y: Any, *xs: Any) -> list[Any]:
            gs = list(g) if len(outs) > 1 else [g]
            tracer = MODES.tracer
            found = gradients_of_call(
                cls, ctx, [None if v is None else tracer.tensor(v) for v in gs],
                [SymbolicArray(v) for v in outs], [SymbolicArray(v) for v in xs],
                [v.dtype.np in DIFFERENTIABLE for v in xs],
            )  # fmt: skip
            return [None if d is None else tracer.value_of(d) for d in found]

        if recorded and nodes:
            self.regions.append(
                Region(frozenset(map(id, nodes)), id(nodes[-1]), inputs, outs, rule)
            )
        return tuple(made) if isinstance(out, tuple) else made[0]

    def draw(
        self, stream: Any, pure: Op, arrays: Sequence[np.ndarray], attrs: dict[str, Any]
    ) -> Any:
        """Draw from a stream whose position is a parameter; the function gives the next one."""
        known = self.draws.get(id(stream))
        counter = (
            self.parameter(
                f"position{len(self.draws)}", TensorType(NUMPY[np.dtype(np.int64)], ()),
                Source("counter", of=stream),
            )
            if known is None else known[1]
        )  # fmt: skip
        b = self.builder
        inputs = (counter, *[b.constant(a, NUMPY[a.dtype]) for a in arrays])
        attrs = {**pure.attrs, **attrs, "seed": stream.pair[0], "seed2": stream.pair[1]}
        out, after = b.emit(pure, inputs, attrs, where=loc.caller()).outputs
        if known is None:
            pair = stream.pair
            self.training.guards.append(lambda: stream.pair == pair)
        self.draws[id(stream)] = (stream, after)
        return self.tensor(out)


def _moved_on(stream: Any, position: np.ndarray) -> None:
    stream.counter = int(position)


def _is_array(k: Any) -> bool:
    if isinstance(k, Value):
        return bool(k.type.shape)
    return isinstance(k, (list, np.ndarray))


def _is_number(k: Any) -> bool:
    if isinstance(k, Value):
        return k.type.shape == ()
    return isinstance(k, int) and not isinstance(k, bool)


def _from_the_front(value: Value, keys: list[Any]) -> list[Any]:
    """Indices in tensors, counted from the front."""
    rest = len(value.type.dims) - sum(map(_width, keys))
    out: list[Any] = []
    axis = 0
    for k in keys:
        if isinstance(k, Value) and k.dtype.is_integer and axis < len(value.type.dims):
            n = index(lookup("Shape")(value, out_type=k.dtype), (axis,))
            out.append(lookup("SelectV2")(lookup("Less")(k, 0), k + n, k))
        else:
            out.append(k)
        axis += rest if k is Ellipsis else _width(k)
    return out


def _width(k: Any) -> int:
    """How many axes an entry of a key takes."""
    if k is None or k is Ellipsis:
        return 0
    if isinstance(k, Value) and k.dtype.is_bool:
        return len(k.type.dims)
    return k.ndim if isinstance(k, np.ndarray) and k.dtype == np.bool_ else 1
