"""The verifier of kernels, and how verifiers show the IR around a fault."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NoReturn

from staticgraph.errors import Location, VerificationError
from staticgraph.ir import dtypes
from staticgraph.ir.dtypes import DType
from staticgraph.ir.kernel import (
    Accumulate,
    AccumulateArg,
    Init,
    Kernel,
    Let,
    Loop,
    Pointer,
    Set,
    SizeParam,
    Statement,
    Store,
    Temp,
    Var,
    print_kernel,
    show,
)
from staticgraph.ir.record import record
from staticgraph.ir.scalar import PRIMITIVES, Expr, Lit, Load, Prim

I64 = dtypes.int64
_RESERVED = re.compile(r"(lo|hi|args|[as]\d+)$")
_ARG = ("argmax", "argmin")


def fault(
    message: str, lines: Sequence[str], at: int, loc: Location | None = None, around: int = 3
) -> VerificationError:
    """The error with the lines around line `at`, which is marked."""
    shown = [
        ("> " if i == at else "  ") + lines[i]
        for i in range(max(0, at - around), min(len(lines), at + around + 1))
    ]
    return VerificationError(message, loc=loc, operands=shown)


@record(frozen=True, slots=True)
class _Name:
    dtype: DType
    init: Init | None = None
    changes: bool = False


def verify_kernel(k: Kernel) -> None:
    """Check a kernel.

    Names are defined once and before use, and loops scope them; dtypes of operands agree; loads
    and stores go to pointer parameters, stores to those that are written.

    Raises:
      VerificationError: with the text around the fault.
    """
    _KernelCheck(k).run()


class _KernelCheck:
    def __init__(self, k: Kernel) -> None:
        self.k = k
        self.line = 0
        self.names: dict[str, _Name] = {"p": _Name(I64)}
        for i, p in enumerate(k.params):
            if isinstance(p, SizeParam):
                self.names[f"s{i}"] = _Name(I64)

    def run(self) -> None:
        # one entry per open block: what is left of it, and the names it has defined
        blocks: list[tuple[list[Statement], list[str]]] = [(list(reversed(self.k.body)), [])]
        while blocks:
            self.line += 1
            rest, own = blocks[-1]
            if not rest:
                blocks.pop()
                for name in own:
                    del self.names[name]
                continue
            s = rest.pop()
            if isinstance(s, Loop):
                self._typed(s.start, I64, "the start of a loop")
                self._typed(s.stop, I64, "the stop of a loop")
                inner: list[str] = []
                self._define(s.var, _Name(I64), inner)
                blocks.append((list(reversed(s.body)), inner))
            else:
                self._statement(s, own)

    # ---- statements
    def _statement(self, s: Statement, own: list[str]) -> None:  # noqa: C901 - a case a kind
        match s:
            case Let(name, value):
                self._expr(value)
                self._define(name, _Name(value.dtype), own)
            case Var(name, value):
                self._expr(value)
                self._define(name, _Name(value.dtype, changes=True), own)
            case Set(name, value):
                known = self.names.get(name)
                if known is None or not known.changes:
                    self._fail(f"{name} is no value that may change")
                self._typed(value, known.dtype, f"the new value of {name}")
            case Init(name, kind, dtype):
                if kind in ("all", "any") and not dtype.is_bool:
                    self._fail(f"{kind} accumulates bool, not {dtype.name}")
                self._define(name, _Name(I64 if kind in _ARG else dtype, s), own)
            case Accumulate(name, kind, value):
                if kind in _ARG:
                    self._fail(f"{kind} needs a position")
                self._typed(value, self._accumulator(name, kind).dtype, f"what goes into {name}")
            case AccumulateArg(name, kind, value, at):
                if kind not in _ARG:
                    self._fail(f"{kind} has no position")
                self._typed(value, self._accumulator(name, kind).dtype, f"what goes into {name}")
                self._typed(at, I64, "a position")
            case Store(param, index, value):
                pointer = self._pointer(param)
                if not pointer.written:
                    self._fail(f"a{param} is stored to but not marked as written")
                self._typed(index, I64, "an index")
                self._typed(value, pointer.dtype, f"what goes into a{param}")

    def _define(self, name: str, what: _Name, own: list[str]) -> None:
        if name in self.names:
            self._fail(f"{name} is defined twice")
        if _RESERVED.match(name):
            self._fail(f"{name} is a reserved name")
        self.names[name] = what
        own.append(name)

    def _accumulator(self, name: str, kind: str) -> Init:
        known = self.names.get(name)
        if known is None:
            self._fail(f"{name} is not defined")
        if known.init is None or known.init.kind != kind:
            self._fail(f"{name} is no accumulator of {kind}")
        return known.init

    def _pointer(self, param: int) -> Pointer:
        if 0 <= param < len(self.k.params):
            p = self.k.params[param]
            if isinstance(p, Pointer):
                return p
        self._fail(f"a{param} is not a pointer parameter")

    # ---- expressions
    def _typed(self, e: Expr, dtype: DType, what: str) -> None:
        self._expr(e)
        if e.dtype is not dtype:
            self._fail(f"{what} must be {dtype.name}, {show(e)} is {e.dtype.name}")

    def _expr(self, e: Expr) -> None:
        seen: set[int] = set()
        stack = [e]
        while stack:
            x = stack.pop()
            if id(x) in seen:
                continue
            seen.add(id(x))
            match x:
                case Temp():
                    self._temp(x)
                case Lit(value, dtype):
                    self._literal(value, dtype)
                case Load(_, index, _):
                    self._load(x)
                    stack += index
                case Prim():
                    self._prim(x)
                    stack += x.args
                case _:
                    self._fail(f"a {type(x).__name__} cannot stand in a kernel")

    def _temp(self, x: Temp) -> None:
        known = self.names.get(x.name)
        if known is None:
            self._fail(f"{x.name} is not defined here")
        if known.dtype is not x.dtype:
            self._fail(f"{x.name} is {known.dtype.name} but is read as {x.dtype.name}")

    def _load(self, x: Load) -> None:
        pointer = self._pointer(x.operand)
        if len(x.index) != 1 or x.index[0].dtype is not I64:
            self._fail(f"{show(x)}: a load has one int64 index")
        if pointer.dtype is not x.dtype:
            holds = f"a{x.operand} holds {pointer.dtype.name}"
            self._fail(f"{show(x)}: {holds}, not {x.dtype.name}")

    def _literal(self, value: object, dtype: DType) -> None:
        if dtype.is_bool:
            fits = isinstance(value, bool)
        elif dtype.is_integer:
            fits = type(value) is int and dtype.min <= value <= dtype.max
        else:
            fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not fits:
            self._fail(f"{value!r} is no literal of {dtype.name}")

    def _prim(self, x: Prim) -> None:
        row = PRIMITIVES.get(x.name)
        if row is None:
            self._fail(f"there is no primitive {x.name!r}")
        if len(x.args) != row.arity:
            self._fail(f"{x.name} takes {row.arity} operands, not {len(x.args)}")
        if row.result == "cast":
            return
        values = x.args
        if row.result == "cond":
            values = x.args[1:]
            if not x.args[0].dtype.is_bool:
                self._fail(f"{show(x)}: the condition is {x.args[0].dtype.name}")
        if any(a.dtype is not values[0].dtype for a in values):
            self._fail(f"{show(x)}: operands of dtypes {', '.join(a.dtype.name for a in values)}")
        if x.name in ("and", "or", "xor", "not") and not values[0].dtype.is_bool:
            self._fail(f"{show(x)}: {x.name} takes bool, not {values[0].dtype.name}")
        want = dtypes.bool_ if row.result == "bool" else values[0].dtype
        if x.dtype is not want:
            self._fail(f"{show(x)} is marked {x.dtype.name}, it is {want.name}")

    def _fail(self, message: str) -> NoReturn:
        raise fault(f"kernel: {message}", print_kernel(self.k).split("\n"), self.line)


__all__ = ["fault", "verify_kernel"]
