"""`Op`: one operation of the language as a frozen record of its rules, and the registry.

A record is complete or its constructor raises; nothing is added to it later or elsewhere.

Rules take the *data* operands in order and everything else by keyword:

- `dtypes(*input_dtypes, **attrs) -> DType | tuple` checks element types and gives the results'.
- `shape(ctx, *input_types, **attrs) -> dims | tuple of dims` gives the results' sizes.  `ctx`
  (`Infer`) compares sizes that may be symbols and records what it had to assume.
- `numpy(*arrays, **attrs) -> array | tuple` is the meaning: oracle, constant folder and the
  dynamic engine's forward.
- `grad(g, y, *inputs, **attrs) -> tuple` gives one cotangent (or None) per data operand; `g` and
  `y` are tuples where the op has several results.  It is written with ops, so that it serves
  graphs and the dynamic engine alike.  `grad=None` says: not differentiable, gradients stop.
- exactly one of `lower` (an index lambda, see `ir.scalar`), `decompose` (other ops), `library`
  (a named library call) or `host` (run the numpy rule between native segments).

Operands are named; ``@name`` is an operand whose *value* the shape depends on (a list of sizes,
an axis): a tensor in the user's graph, an attribute with ints or symbolic sizes inside the
compiler.  ``*name`` takes a list of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, Final, Generic, Literal, Protocol, TypeVar

import numpy as np

from staticgraph.ir import dims as D
from staticgraph.ir.dims import Dim, Poly
from staticgraph.ir.dtypes import DType
from staticgraph.ir.record import record
from staticgraph.ir.types import TensorType, UnknownRankError

Effect = Literal["pure", "random", "state", "io"]
Rule = Callable[..., Any]
T = TypeVar("T")


class RuleError(Exception):
    """A rule's refusal: the caller adds the op, the operands and the user's line.

    `kind` chooses the public error type: "shape" or "dtype".
    """

    def __init__(self, message: str, hint: str | None = None, kind: str = "shape") -> None:
        super().__init__(message)
        self.message, self.hint, self.kind = message, hint, kind


@record(frozen=True, slots=True)
class Guard:
    """What inference assumed of two sizes: ``a == b`` or ``a <= b``.

    A broken ``==`` gets a specialised executable; a broken ``<=`` is the user's error, and
    `message` is its text with ``{a}`` and ``{b}``.
    """

    kind: Literal["==", "<="]
    a: Dim
    b: Dim
    message: str

    def __str__(self) -> str:
        return f"{self.a} {self.kind} {self.b}"


@record()
class Infer:
    """The context of one inference: records guards, makes fresh symbols.

    `fresh(hint)` gives a size that is known only at run time.  With `assume` False nothing is
    assumed of open sizes that meet in a broadcast: either may be 1, the result's size is fresh.
    """

    fresh: Callable[[str], Dim]
    guards: list[Guard] = field(default_factory=list)
    assume: bool = True

    def equal(self, a: Dim, b: Dim, message: str) -> Dim:
        """Assume that two sizes agree and return the better known one.

        `message` may use ``{a}`` and ``{b}``.
        """
        if a == b:
            return a
        if isinstance(a, int) and isinstance(b, int):
            raise RuleError(message.format(a=a, b=b))
        self.guards.append(Guard("==", a, b, message))
        return b if isinstance(b, int) else a

    def at_most(self, a: Dim, b: Dim, message: str) -> None:
        """Require ``a <= b``, now or when sizes are known."""
        difference = b - a
        if isinstance(difference, int):
            if difference < 0:
                raise RuleError(message.format(a=a, b=b))
            return
        self.guards.append(Guard("<=", a, b, message))

    def broadcast(self, *shapes: tuple[Dim, ...]) -> tuple[Dim, ...]:
        """The shape that numpy's broadcasting gives."""
        rank = max((len(s) for s in shapes), default=0)
        out: list[Dim] = []
        for k in range(rank):
            size: Dim = 1
            for s in shapes:
                i = k - rank + len(s)
                if i < 0 or s[i] == 1 or s[i] == size:
                    continue
                if size == 1:
                    size = s[i]
                    continue
                if not self.assume and isinstance(size, Poly) and isinstance(s[i], Poly):
                    size = self.fresh("b")
                    continue
                text = " and ".join(_show(s) for s in shapes)
                size = self.equal(size, s[i], f"shapes {text} do not broadcast, {{a}} and {{b}}")
            out.append(size)
        return tuple(out)

    def constant(self, value: object, what: str) -> int:
        """Return `value` as a Python int; the result's rank hangs on it."""
        if isinstance(value, Poly):
            raise UnknownRankError
        try:
            return int(value)  # type: ignore[call-overload, no-any-return]
        except (TypeError, ValueError):
            raise RuleError(f"{what} must be an integer, got {value!r}") from None

    def axis(self, value: object, rank: int, what: str = "axis") -> int:
        """Return an axis in [0, rank)."""
        a = self.constant(value, what)
        if not -rank <= a < max(rank, 1):
            raise RuleError(f"{what} {a} is outside a tensor of rank {rank}")
        return a % rank if rank else 0


def _show(shape: tuple[Dim, ...]) -> str:
    return "[" + ", ".join(str(d) if isinstance(d, int) else "?" for d in shape) + "]"


@record(frozen=True, slots=True)
class Sample:
    """One set of arguments that exercises an op; the registry's tests run all of them.

    Args:
      args: arrays for the data operands (numpy), in operand order; a list for ``*name``.
      attrs: the other arguments, ``@`` operands included.
      grad: check first and second derivatives here (false at kinks and for integers); a tuple
        names the data operands that have one, where mathematics gives none to the others.
      rtol: relative tolerance of compiled against oracle, where the op needs its own.
    """

    args: tuple[Any, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    grad: bool | tuple[int, ...] = True
    rtol: float | None = None


@record(frozen=True, slots=True)
class ErrorSample:
    """Arguments that must be refused, and a part of the message."""

    args: tuple[Any, ...]
    attrs: Mapping[str, Any]
    match: str


class Made(Generic[T]):
    """A field that is given a tuple, or a function that makes it when it is first read.

    Samples are arrays by the hundred, and only tests look at them.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, op: object, owner: type) -> tuple[T, ...]:
        if op is None:  # asked for the default
            return ()
        value: tuple[T, ...] | Callable[[], tuple[T, ...]] = vars(op)[self._name]
        if not isinstance(value, tuple):
            value = vars(op)[self._name] = value()
        return value

    def __set__(self, op: object, value: tuple[T, ...] | Callable[[], tuple[T, ...]]) -> None:
        vars(op)[self._name] = value


@record(frozen=True, eq=False)
class Op:
    """The record of one operation; see the module's text.

    Args:
      name: the type name, TensorFlow's where there is one.
      operands: operand names, with ``@`` and ``*`` marks.
      attrs: attribute names and their defaults (`REQUIRED` where there is none).
      operand_dtypes: element types of operands that do not share the common one.
      folds: the numpy rule also works on sizes, so shape arithmetic goes through it.
      cheap: recomputing an element costs less than storing and loading it.
      control: a loop or a branch.  Attributes hold functions (`ir.function.Function`), or graphs
        before a run is closed, and `sizes`, the sizes they are given; the numpy rule gets them as
        callables (`ir.evaluate.Bound`); open sizes of results are found out at run time; the
        gradient rule gets None for a cotangent that is zero.
      signature: names TensorFlow gives operands, for the names of converted constants.
    """

    name: str
    operands: tuple[str, ...]
    dtypes: Rule
    shape: Rule
    numpy: Rule | None
    grad: Rule | None
    lower: Rule | None = None
    decompose: Rule | None = None
    library: str | None = None
    host: bool = False
    attrs: Mapping[str, Any] = field(default_factory=dict)
    operand_dtypes: Mapping[str, DType | None] = field(default_factory=dict)
    results: int | Callable[..., int] = 1
    effect: Effect = "pure"
    folds: bool = False
    cheap: bool = True
    control: bool = False
    samples: Made[Sample] = Made[Sample]()
    error_samples: Made[ErrorSample] = Made[ErrorSample]()
    doc: str = ""

    def __post_init__(self) -> None:
        ways = [self.lower, self.decompose, self.library, self.host or None]
        if sum(w is not None for w in ways) != 1:
            raise TypeError(f"{self.name}: give exactly one of lower, decompose, library, host")
        if self.name in _REGISTRY:
            raise TypeError(f"{self.name}: two records of one name")
        if self.numpy is None and self.effect == "pure":
            raise TypeError(f"{self.name}: a pure op needs a numpy rule")
        if not vars(self)["samples"] and self.effect == "pure":
            raise TypeError(f"{self.name}: give samples")
        if sum(o.startswith("*") for o in self.operands) > 1:
            raise TypeError(f"{self.name}: at most one variadic operand")
        _REGISTRY[self.name] = self

    def __repr__(self) -> str:
        return f"Op({self.name})"

    def __reduce__(self) -> tuple[object, ...]:
        return (lookup, (self.name,))

    @property
    def data_operands(self) -> tuple[str, ...]:
        """The operands that carry data, marks removed."""
        return tuple(o.lstrip("*") for o in self.operands if not o.startswith("@"))

    @property
    def static_operands(self) -> tuple[str, ...]:
        """The operands whose values shapes depend on, marks removed."""
        return tuple(o[1:] for o in self.operands if o.startswith("@"))

    @property
    def variadic(self) -> bool:
        """True where one operand takes a list."""
        return any(o.startswith("*") for o in self.operands)

    def n_results(self, **attrs: Any) -> int:
        """How many tensors one application gives."""
        return self.results if isinstance(self.results, int) else int(self.results(**attrs))

    def bind(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Sort a call's arguments into operands and attributes; TypeError as Python's own."""
        names = [o.lstrip("@*") for o in self.operands]
        if len(args) > len(names):
            raise TypeError(f"{self.name} takes {len(names)} operands, got {len(args)}")
        operands = dict(zip(names, args, strict=False))
        attrs: dict[str, Any] = {}
        for key, value in kwargs.items():
            if key in names:
                if key in operands:
                    raise TypeError(f"{self.name}: operand {key!r} given twice")
                operands[key] = value
            elif key in self.attrs:
                attrs[key] = value
            else:
                raise TypeError(f"{self.name} has no argument {key!r}")
        for name in names:
            if name not in operands:
                raise TypeError(f"{self.name}: operand {name!r} is missing")
        for key, default in self.attrs.items():
            if key not in attrs:
                if default is REQUIRED:
                    raise TypeError(f"{self.name}: attribute {key!r} is missing")
                attrs[key] = default
        return operands, attrs

    def __call__(self, *args: Any, name: str | None = None, **kwargs: Any) -> Any:
        """Apply the op: to graph tensors, dynamic tensors, or in the default graph."""
        for a in args:
            for x in a if isinstance(a, (list, tuple)) else (a,):
                if isinstance(x, Applicable):
                    return x.apply_op(self, args, kwargs, name)
        for a in kwargs.values():
            for x in a if isinstance(a, (list, tuple)) else (a,):
                if isinstance(x, Applicable):
                    return x.apply_op(self, args, kwargs, name)
        return _DEFAULT_BUILDER[0](self, args, kwargs, name)


class Applicable:
    """What an op can be applied to: graph tensors and dynamic tensors."""

    __slots__ = ()

    def apply_op(
        self, op: Op, args: Sequence[Any], kwargs: Mapping[str, Any], name: str | None
    ) -> Any:
        """Apply `op`, of whose arguments this object is one."""
        raise NotImplementedError


class _Builder(Protocol):
    def __call__(
        self, op: Op, args: Sequence[Any], kwargs: Mapping[str, Any], name: str | None
    ) -> Any: ...


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = _Required()
_REGISTRY: dict[str, Op] = {}
_DEFAULT_BUILDER: list[_Builder] = []


def set_default_builder(builder: _Builder) -> None:
    """Say who builds an op none of whose arguments is a tensor (the default graph)."""
    _DEFAULT_BUILDER[:] = [builder]


def default_builder() -> _Builder:
    """Who builds ops in the default graph."""
    return _DEFAULT_BUILDER[0]


def lookup(name: str) -> Op:
    """The record named `name`; KeyError where there is none."""
    return _REGISTRY[name]


def registered() -> Iterator[Op]:
    """All records, in the order of their definition."""
    return iter(tuple(_REGISTRY.values()))


def infer(
    op: Op, types: Sequence[TensorType], attrs: Mapping[str, Any], ctx: Infer
) -> tuple[TensorType, ...]:
    """Apply the dtype and shape rules.

    Raises:
      RuleError: the arguments do not fit; the caller adds names and lines.
    """
    dtypes = op.dtypes(*(t.dtype.base for t in types), **attrs)
    if isinstance(dtypes, DType):
        dtypes = (dtypes,)
    try:
        shapes = op.shape(ctx, *types, **attrs)
    except UnknownRankError:
        return tuple(TensorType(d, None) for d in dtypes)
    if not dtypes:  # an op for its effect alone
        return ()
    if shapes is None or not shapes or not isinstance(shapes[0], (tuple, type(None))):
        shapes = (shapes,)
    return tuple(TensorType(d, s) for d, s in zip(dtypes, shapes, strict=True))


def fold_sizes(op: Op, values: Sequence[np.ndarray | None], attrs: Mapping[str, Any]) -> Any:
    """Apply the numpy rule to arrays of sizes; None where that cannot be done."""
    if not op.folds or op.numpy is None or any(v is None for v in values):
        return None
    try:
        out = op.numpy(*values, **attrs)
    except (TypeError, ValueError, ArithmeticError, LookupError):
        # Sizes do not compare, nought divides, nothing has no maximum, an index is out of range:
        # the run will say so where it matters.
        return None
    return np.asarray(out, dtype=object)


__all__ = [
    "REQUIRED",
    "Applicable",
    "Dim",
    "D",
    "ErrorSample",
    "Guard",
    "Infer",
    "Op",
    "RuleError",
    "Sample",
    "default_builder",
    "fold_sizes",
    "infer",
    "lookup",
    "registered",
    "set_default_builder",
]
