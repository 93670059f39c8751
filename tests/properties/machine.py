"""A slow machine for programs: kernels run statement by statement on numpy scalars.

It knows nothing of Numba, so that what fusion and scheduling did can be checked thousands of
times without compiling.  It is stricter than the hardware: a load must be in range and of memory
that was written, and no iteration of the parallel axis may read or write what another one wrote.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from staticgraph.ir import dims as D
from staticgraph.ir.arrays import room
from staticgraph.ir.evaluate import check_guards, concrete_attrs, emptied
from staticgraph.ir.kernel import (
    Accumulate,
    AccumulateArg,
    Init,
    Kernel,
    Let,
    Loop,
    Pointer,
    Set,
    Statement,
    Store,
    Temp,
    Var,
    neutral,
)
from staticgraph.ir.op import lookup
from staticgraph.ir.program import (
    Branch,
    Buffer,
    Host,
    Launch,
    Library,
    Program,
    Repeat,
    SizeSource,
)
from staticgraph.ir.scalar import Expr, Lit, Load, Prim
from staticgraph.passes.memory import donations, place

Numpy = Callable[..., Any]


def _div(a: Any, b: Any) -> Any:
    if isinstance(a, np.floating):
        return a / b
    return type(a)(0) if b == 0 else a // b


def _trunc_div(a: Any, b: Any) -> Any:
    if isinstance(a, np.floating):
        return np.trunc(a / b)
    return (
        type(a)(0)
        if b == 0
        else type(a)(abs(int(a)) // abs(int(b)) * (1 if (a < 0) == (b < 0) else -1))
    )


def _floor_div(a: Any, b: Any) -> Any:
    return type(a)(0) if not isinstance(a, np.floating) and b == 0 else np.floor_divide(a, b)


def _mod(a: Any, b: Any) -> Any:
    return type(a)(0) if not isinstance(a, np.floating) and b == 0 else np.remainder(a, b)


def _special(name: str) -> Numpy:
    import scipy.special

    return getattr(scipy.special, name)  # type: ignore[no-any-return]


FUNCTIONS: dict[str, Numpy] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": _div, "floordiv": _floor_div,
    "mod": _mod, "truncdiv": _trunc_div, "truncmod": np.fmod, "maximum": np.maximum,
    "minimum": np.minimum, "neg": np.negative, "abs": np.abs, "sign": np.sign, "floor": np.floor,
    "ceil": np.ceil, "rint": np.rint, "trunc": np.trunc, "lt": np.less, "le": np.less_equal,
    "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
    "and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor, "not": np.logical_not,
    "isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite, "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x), "exp": np.exp, "expm1": np.expm1, "log": np.log,
    "log1p": np.log1p, "tanh": np.tanh, "sin": np.sin, "cos": np.cos, "atan": np.arctan,
    "sigmoid": lambda x: _special("expit")(x), "erf": lambda x: _special("erf")(x),
    "softplus": lambda x: np.logaddexp(x, type(x)(0)), "pow": np.power,
    "bitand": np.bitwise_and, "bitor": np.bitwise_or, "bitxor": np.bitwise_xor,
}  # fmt: skip
_REDUCE = {
    "sum": "add", "prod": "mul", "max": "maximum", "min": "minimum", "all": "and", "any": "or",
}  # fmt: skip


class _Run:
    """One kernel over its whole parallel axis."""

    def __init__(self, kernel: Kernel, arrays: list[Any], written: list[Any]) -> None:
        self.kernel, self.arrays, self.written = kernel, arrays, written
        self.writer: dict[tuple[int, int], int] = {}
        self.local: dict[str, Any] = {}
        self.kinds: dict[str, Any] = {}
        self.p = 0

    def run(self, extent: int) -> None:
        """Iterations in reverse: any order must do."""
        sizes = {
            f"s{i}": np.int64(a)
            for i, (p, a) in enumerate(zip(self.kernel.params, self.arrays, strict=True))
            if not isinstance(p, Pointer)
        }
        for self.p in reversed(range(extent)):
            self.local = {**sizes, "p": np.int64(self.p)}
            self.body(self.kernel.body)

    def body(self, statements: tuple[Statement, ...]) -> None:
        for s in statements:
            match s:
                case Let(name, value) | Var(name, value):
                    self.local[name] = self.value(value)
                case Set(name, value):
                    assert name in self.local, f"{name} is set before it is there\n{self.kernel}"
                    self.local[name] = self.value(value)
                case Loop(var, start, stop, inner):
                    for i in range(int(self.value(start)), int(self.value(stop))):
                        self.local[var] = np.int64(i)
                        self.body(inner)
                case Init(name, kind, dtype):
                    self.kinds[name] = (kind, dtype)
                    self.local[name] = (
                        (None, np.int64(0))
                        if kind in ("argmax", "argmin")
                        else dtype.np.type(neutral(kind, dtype))
                    )
                case Accumulate(name, kind, value):
                    self.local[name] = FUNCTIONS[_REDUCE[kind]](self.local[name], self.value(value))
                case AccumulateArg(name, kind, value, at):
                    self.extreme(name, kind, self.value(value), self.value(at))
                case Store(param, index, value):
                    self.store(param, int(self.value(index)), self.value(value))

    def extreme(self, name: str, kind: str, value: Any, at: Any) -> None:
        best, _ = self.local[name]
        if best is not None and np.isnan(best):
            return
        better = (
            best is None or np.isnan(value) or (value > best if kind == "argmax" else value < best)
        )
        if better:
            self.local[name] = (value, at)

    def store(self, param: int, index: int, value: Any) -> None:
        array = self.arrays[param]
        assert 0 <= index < array.size, (
            f"a{param}[{index}] of {array.size} is stored\n{self.kernel}"
        )
        p = self.kernel.params[param]
        assert isinstance(p, Pointer) and p.written
        assert self.writer.setdefault((param, index), self.p) == self.p, (
            f"two iterations store a{param}[{index}]\n{self.kernel}"
        )
        assert np.asarray(value).dtype == array.dtype, (
            f"{value!r} stored as {array.dtype}\n{self.kernel}"
        )
        array.flat[index] = value
        self.written[param].flat[index] = True

    def load(self, param: int, index: int) -> Any:
        array = self.arrays[param]
        if array.size == 0 and 0 <= index < room(array.shape):
            return array.dtype.type(0)
        assert 0 <= index < array.size, (
            f"a{param}[{index}] of {array.size} is loaded\n{self.kernel}"
        )
        assert self.written[param].flat[index], (
            f"a{param}[{index}] is loaded before it is stored\n{self.kernel}"
        )
        assert self.writer.get((param, index), self.p) == self.p, (
            f"a{param}[{index}] was stored by another iteration\n{self.kernel}"
        )
        return array.flat[index]

    def value(self, e: Expr) -> Any:
        match e:
            case Lit(value, dtype):
                return dtype.np.type(value)
            case Temp(name):
                held = self.local[name]
                return held[1] if isinstance(held, tuple) else held
            case Load(param, (index,), _):
                return self.load(param, int(self.value(index)))
            case Prim("select", (c, a, b), _):
                return self.value(a) if self.value(c) else self.value(b)
            case Prim("cast", (x,), dtype):
                value = self.value(x)
                return dtype.np.type(bool(value)) if dtype.is_bool else dtype.np.type(value)
            case Prim("check_index", (i, bound), _):
                i, bound = self.value(i), self.value(bound)
                assert 0 <= i < bound, f"index {i} of {bound}"
                return i
            case Prim(name, args, dtype):
                return np.asarray(FUNCTIONS[name](*map(self.value, args))).astype(dtype.np)[()]
            case _:
                raise TypeError(f"{type(e).__name__} in a kernel")


class _Body:
    """The program of a loop or branch, as the rules of these ops take it: arrays in and out."""

    def __init__(self, program: Program, sizes: list[int], planned: bool) -> None:
        self.program, self.sizes, self.planned = program, sizes, planned
        self.count = len(program.results)

    def __call__(self, args: Any) -> list[np.ndarray]:
        return run_program(self.program, list(args), self.planned, self.sizes)[0]

    def nothing(self, result: int) -> np.ndarray:
        """What stacking no value of a result gives."""
        b, env = self.program.results[result], _given(self.program, self.sizes)
        known = (D.evaluate(d, env) if D.symbols_of(d) <= env.keys() else 0 for d in b.dims or ())
        return np.zeros((0, *known), b.dtype.np)


def _given(program: Program, sizes: Sequence[int]) -> dict[Any, int]:
    return {s: D.evaluate(d, {}) for s, d in program.bound(sizes).items()}


def run_program(
    program: Program, args: list[np.ndarray], planned: bool = False, sizes: Sequence[int] = ()
) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """The results and updates of a program, run on the slow machine.

    Args:
      args: one array per parameter.
      planned: use memory as a plan does, temporaries in one arena and updates in place; where
        sizes do not follow from the arguments, temporaries have places of their own.
      sizes: those that the step around gives.
    """
    arrays: dict[Buffer, np.ndarray] = {}
    written: dict[Buffer, np.ndarray] = {}
    env = _given(program, sizes)

    def bind(b: Buffer) -> None:
        for s, o in program.sizes.items():
            if isinstance(o, SizeSource) and o.buffer is b:
                env[s] = int(arrays[b].ravel()[o.index]) if o.element else arrays[b].shape[o.index]
        check_guards(program.guards, env)

    def put(b: Buffer, a: np.ndarray) -> None:
        arrays[b] = np.array(a, b.dtype.np, order="C")
        written[b] = np.ones(arrays[b].shape, bool)
        bind(b)

    def make(b: Buffer) -> None:
        if b not in arrays:
            shape = tuple(D.evaluate(d, env) for d in b.dims or ())
            arrays[b] = np.zeros(shape, b.dtype.np)
            written[b] = np.zeros(shape, bool)

    for b in program.buffers:
        if b.role == "constant":
            put(b, np.asarray(b.data))
    for q, a in zip(program.params, args, strict=True):
        put(q.buffer, a)
    if planned and _sized(program, env):
        for b, a in _planned(program, arrays, env).items():
            arrays[b], written[b] = a, np.zeros(a.shape, bool)
    with np.errstate(all="ignore"):
        for step in program.steps:
            if isinstance(step, Launch):
                _launch(step, arrays, written, env, make)
                for b in step.writes:
                    bind(b)
            else:
                outs = _outputs(step, arrays, env, planned)
                for b, a in zip(step.outputs, outs, strict=True):
                    if b in arrays:
                        arrays[b][...], written[b][...] = a, True
                    else:
                        put(b, a)
    for b in (*program.results, *program.updates.values()):
        assert written[b].all(), f"{b} is not wholly written"
    return [arrays[b] for b in program.results], {k: arrays[b] for k, b in program.updates.items()}


def _sized(program: Program, env: Mapping[Any, int]) -> bool:
    """True where every size is known before the first step."""
    return all(D.symbols_of(d) <= env.keys() for b in program.buffers for d in b.dims or ())


def _planned(
    program: Program, arrays: Mapping[Buffer, np.ndarray], env: Mapping[Any, int]
) -> dict[Buffer, np.ndarray]:
    """Temporaries where a plan has them: in the arena, or in the place of what they replace."""
    shapes = {b: tuple(D.evaluate(d, env) for d in b.dims or ()) for b in program.buffers}
    donated = donations(program)
    placement = place(program, lambda b: room(shapes[b]) * b.dtype.size, frozenset(donated))
    arena = np.full(placement.size, 0x5A, np.uint8)
    out = {new: arrays[old] for new, old in donated.items()}
    for b, at in placement.offsets.items():
        if b not in arrays:
            n = int(np.prod(shapes[b], dtype=np.int64)) * b.dtype.size
            out[b] = arena[at : at + n].view(b.dtype.np).reshape(shapes[b])
    return out


def _launch(
    step: Launch, arrays: dict[Buffer, np.ndarray], written: dict[Buffer, np.ndarray],
    env: Mapping[Any, int], make: Callable[[Buffer], None],
) -> None:  # fmt: skip
    given: list[Any] = []
    marks: list[Any] = []
    for a in step.args:
        if isinstance(a, Buffer):
            make(a)
            given.append(arrays[a])
            marks.append(written[a])
        else:
            given.append(D.evaluate(a, env))
            marks.append(None)
    _Run(step.kernel, given, marks).run(D.evaluate(step.extent, env))


def _outputs(
    step: Library | Host | Repeat | Branch, arrays: dict[Buffer, np.ndarray],
    env: Mapping[Any, int], planned: bool,
) -> tuple[Any, ...]:  # fmt: skip
    inputs = [arrays[b] for b in step.inputs]
    if isinstance(step, Host):
        op, attrs = step.node.op, concrete_attrs(step.node.attrs, env)
    else:
        attrs = concrete_attrs(step.attrs, env)
    if isinstance(step, Repeat | Branch):
        bodies = [_Body(p, list(attrs["sizes"]), planned) for p in step.programs]
        if isinstance(step, Branch):
            op, attrs["branches"] = lookup("Case"), bodies
        else:
            op = lookup("While" if step.conditional else "Scan")
            attrs |= {"body": bodies[0], "conditional": step.conditional}
    elif isinstance(step, Library):
        op = lookup(attrs.pop("op"))
    shapes = None if isinstance(step, Host) else attrs.pop("shapes", None)
    if shapes is not None:  # the first so many elements
        inputs = [
            a if s is None else a.ravel()[: math.prod(s)].reshape(s)
            for a, s in zip(inputs, shapes, strict=True)
        ]
    assert op.numpy is not None
    out = op.numpy(*inputs, **attrs)
    outs = tuple(out) if isinstance(out, tuple | list) else (out,)
    if isinstance(step, Repeat):
        outs = tuple(emptied(a, b.dims, env) for a, b in zip(outs, step.outputs, strict=True))
    return outs


__all__ = ["run_program"]
