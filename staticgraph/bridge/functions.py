"""`trace` and `function`: dynamic functions as compiled ones."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from staticgraph.bridge.compiled import Compiled
from staticgraph.bridge.region import Source
from staticgraph.bridge.signature import LEVELS, Spec, flatten, pattern, rebuild
from staticgraph.bridge.symbolic import SymbolicArray, TracedValueError
from staticgraph.bridge.tracer import Tracer
from staticgraph.bridge.training import Guard
from staticgraph.dynamic.apply import Taped
from staticgraph.dynamic.element_types import NUMPY, default_float
from staticgraph.dynamic.modes import MODES
from staticgraph.errors import ShapeError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.dims import Dim
from staticgraph.ir.evaluate import BrokenGuardError
from staticgraph.ir.function import Builder, Function, SizeOf, Value
from staticgraph.ir.types import TensorType


class Traced:
    """A dynamic function recorded for arguments of one kind; call it on tensors.

    Sizes that the example's axes have in common stay equal; apart from that, and from 0 and 1, they
    are open as far as the function did not look at them.

    Attributes:
      function: the recorded function; ``print`` shows it.
      open_sizes: which sizes may differ from the example's.
    """

    def __init__(
        self, compiled: Compiled, spec: Spec, made_for: tuple[Any, ...], result: Spec,
        others: Sequence[Any], level: int, guards: Sequence[Guard] = (),
    ) -> None:  # fmt: skip
        self._compiled, self._spec, self._made_for = compiled, spec, made_for
        self._result, self._others = result, tuple(others)
        self.level = level
        self.open_sizes = LEVELS[level]
        self._guards = tuple(guards)

    @property
    def function(self) -> Function:
        """The recorded function."""
        return self._compiled.function

    @property
    def kernels(self) -> int:
        """How many kernels and library calls a call runs; 0 before the first one."""
        return max((len(e.program.steps) for e in self._compiled.executables), default=0)

    def __str__(self) -> str:
        return str(self.function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run on tensors like those of the example.

        Raises:
          UsageError: the arguments are others than those it was recorded for.
          ShapeError: their types or sizes are.
        """
        tensors: list[Any] = []
        spec = flatten((args, kwargs), tensors)
        if spec != self._spec:
            raise UsageError(
                "the arguments are not those that the function was traced for", loc=loc.caller(),
                hint="trace it anew, or use @staticgraph.function, which does so by itself",
            )  # fmt: skip
        found = pattern(tensors, self.level)
        if found != self._made_for:
            raise ShapeError(
                "the types or sizes of the arguments are not those that the function was traced "
                f"for: {_shown(found)}, traced for {_shown(self._made_for)}",
                loc=loc.caller(),
                hint="trace it anew, or use @staticgraph.function, which does so by itself",
            )
        if not self.holds():
            raise UsageError(
                "gradients, or an optimizer's options or state, are not as they were when the "
                "function was traced",
                loc=loc.caller(),
                hint="trace it anew, or use @staticgraph.function, which does so by itself",
            )
        return self.run(tensors)

    def holds(self) -> bool:
        """Whether gradients and optimizers are as they were when it was recorded."""
        return all(guard() for guard in self._guards)

    def run(self, tensors: Sequence[Any]) -> Any:
        """The results on the tensors among the arguments."""
        results = self._compiled.call(tensors)
        return rebuild(self._result, lambda i: results[i] if i < len(results) else self._others[i])


def _shown(key: tuple[Any, ...]) -> str:
    return ", ".join(
        f"{NUMPY[kind].name}[{', '.join('?' if d < 0 else str(d) for d in dims)}]"
        for kind, dims in key
    )


def record(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
    skip: Callable[[int], bool] = lambda level: False,
) -> Traced:  # fmt: skip
    """Record a function for arguments of the kind of `args`; sizes are open where they can be.

    Args:
      skip: levels that need not be tried.
    """
    tensors: list[Any] = []
    spec = flatten((args, kwargs), tensors)
    last = len(LEVELS) - 1
    tried: set[Any] = set()
    for level in range(last):
        key = pattern(tensors, level)
        if skip(level) or key in tried or not any(d < 0 for _, dims in key for d in dims):
            continue
        tried.add(key)
        try:
            return _record(fn, spec, tensors, level)
        except (TracedValueError, RecursionError):
            raise
        except Exception:  # with these sizes open; the last level tells of what is wrong anyway
            continue
    return _record(fn, spec, tensors, last)


def _record(fn: Callable[..., Any], spec: Spec, tensors: Sequence[Any], level: int) -> Traced:
    name = getattr(fn, "__name__", type(fn).__name__)
    builder = Builder(name)
    tracer = Tracer(builder, MODES.grad)
    key = pattern(tensors, level)
    symbols: dict[int, Dim] = {}
    stand_ins = []
    with tracer.active():
        for i, (t, (_, dims)) in enumerate(zip(tensors, key, strict=True)):
            for d in dims:
                if d < 0 and d not in symbols:
                    symbols[d] = builder.fresh("n")
            sizes = tuple(symbols.get(d, d) for d in dims)
            value = tracer.parameter(
                f"x{i}", TensorType(NUMPY[t._array.dtype], sizes), Source("argument", i)
            )
            for axis, d in enumerate(sizes):
                if not isinstance(d, int):
                    builder.define(d, SizeOf(value, axis))
            stand_ins.append(tracer.tensor(value))
        given, named = rebuild(spec, lambda i: stand_ins[i])
        out = fn(*given, **named)
        found: list[Any] = []
        result = flatten(out, found, "a result")
        values: list[Value] = []
        others: list[Any] = []
        order: dict[int, int] = {}
        for i, t in enumerate(found):
            if isinstance(t._array, SymbolicArray) or not tracer.is_fresh(t):
                order[i] = len(values)
                values.append(tracer.value_of(t))
        for i, t in enumerate(found):
            if i not in order:
                order[i] = len(values) + len(others)
                others.append(t)
        effects = tracer.effects()
        training = tracer.training
        spent = training.spent(values)
    function = builder.finish([*values, *[v for v, _ in effects]])
    compiled = Compiled(
        function, tracer.sources, tracer.regions, [e for _, e in effects], name, training.used,
        spent, training.afterwards,
    )  # fmt: skip
    renumbered = _renumbered(result, order)
    padded = [None] * len(values) + others
    return Traced(compiled, spec, key, renumbered, padded, level, training.guards)


def _renumbered(spec: Spec, order: dict[int, int]) -> Spec:
    if spec[0] == "tensor":
        return ("tensor", order[spec[1]])
    if spec[0] == "value":
        return spec
    if spec[0] is dict:
        return (dict, *[(k, _renumbered(v, order)) for k, v in spec[1:]])
    return (spec[0], *[_renumbered(v, order) for v in spec[1:]])


class Function_:  # noqa: N801 - `Function` is what it is compiled from
    """A function that is recorded and compiled when it meets arguments of a new kind."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = fn
        self._known: dict[Any, list[Traced]] = {}  # empty where a level did not do
        self._bound: weakref.WeakKeyDictionary[Any, Function_] = weakref.WeakKeyDictionary()
        functools.update_wrapper(self, fn, updated=())

    @property
    def traces(self) -> list[Traced]:
        """What it has been compiled for so far."""
        return [t for known in self._known.values() for t in known]

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        bound = self._bound.get(instance)
        if bound is None:
            back = weakref.ref(instance)
            fn = self._fn

            @functools.wraps(fn)
            def method(*args: Any, **kwargs: Any) -> Any:
                return fn(back(), *args, **kwargs)

            bound = self._bound[instance] = Function_(method)
        return bound

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run compiled; the first call with arguments of a new kind compiles."""
        if MODES.tracer is not None:  # part of a larger function
            return self._fn(*args, **kwargs)
        tensors: list[Any] = []
        spec = flatten((args, kwargs), tensors)
        context = (MODES.grad, default_float())
        state = flatten(getattr(self._fn, "__self__", self._fn), [])
        base = (spec, state, context)
        traced = self._find(base, tensors) or self._make(base, tensors, args, kwargs)
        while True:
            try:
                return traced.run(tensors)
            except BrokenGuardError:  # sizes that must be equal are not: fewer can be open
                self._known[base, traced.level, pattern(tensors, traced.level)] = []
                if traced.level == len(LEVELS) - 1:
                    raise
                traced = self._make(base, tensors, args, kwargs)

    def _find(self, base: Any, tensors: list[Any]) -> Traced | None:
        for level in range(len(LEVELS)):
            for traced in self._known.get((base, level, pattern(tensors, level)), ()):
                if traced.holds():
                    return traced
        return None

    def _make(
        self, base: Any, tensors: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Traced:
        def skip(level: int) -> bool:
            return self._known.get((base, level, pattern(tensors, level))) == []

        made = record(self._fn, args, kwargs, skip)
        for level in range(made.level):
            self._known.setdefault((base, level, pattern(tensors, level)), [])
        key = (base, made.level, pattern(tensors, made.level))
        self._known.setdefault(key, []).append(made)
        return made


def check_callable(fn: Any, what: str) -> None:
    """UsageError where `fn` cannot be called."""
    if not callable(fn) or isinstance(fn, Taped):
        raise UsageError(f"{what} takes a function, got {type(fn).__name__}", loc=loc.caller())
