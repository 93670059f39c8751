"""Loops and branches made by hand, and the three ways to run them that have to agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from staticgraph import ops
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.evaluate import evaluate
from staticgraph.ir.function import Builder, Function, SizeOf, Value
from staticgraph.ir.op import lookup
from staticgraph.ir.program import Branch, Host, Program, Repeat, Step
from staticgraph.ir.types import TensorType
from staticgraph.ir.verify import verify_program
from staticgraph.passes.cleanup import Decompose, Share
from staticgraph.passes.lower import Lower
from staticgraph.passes.pipeline import within
from staticgraph.passes.simplify import Simplify
from staticgraph.runtime.executable import Executable
from staticgraph.runtime.store import Store

F32, I32, I64, BOOL = dtypes.float32, dtypes.int32, dtypes.int64, dtypes.bool_
Make = Callable[..., Sequence[Value]]


def op(name: str) -> Any:
    """A registered op as a function of values."""
    record = lookup(name)
    return lambda *args, **kwargs: current().apply(record, args, kwargs, name.lower())


def current() -> Builder:
    """The builder in force."""
    from staticgraph.ir.function import current_builder

    return current_builder()


def number(value: Any, dtype: Any = F32) -> Value:
    """A constant."""
    return current().constant(value, dtype)


def function(make: Make, *types: TensorType | Value, name: str = "body") -> Function:
    """A function of values of these types."""
    b = Builder(name)
    values = [
        b.param("feed", f"{name}_{k}", t.type if isinstance(t, Value) else t)
        for k, t in enumerate(types)
    ]
    with b:
        return b.finish(list(make(*values)))


def body_of(operands: Sequence[Value], carries: int, sequences: int, make: Make) -> Function:
    """A body whose parameters are of the operands' types; sizes must be numbers."""
    types = [
        TensorType(v.dtype, v.dims[1:] if carries <= k < carries + sequences else v.dims)
        for k, v in enumerate(operands)
    ]
    return function(make, *types)


def scan(
    make: Make, carries: Sequence[Value], sequences: Sequence[Value] = (),
    rest: Sequence[Value] = (), length: Dim | None = None, **attrs: Any,
) -> list[Value]:  # fmt: skip
    """A ``Scan`` of a body in the builder in force."""
    operands = [*carries, *sequences, *rest]
    body = body_of(operands, len(carries), len(sequences), make)
    length = sequences[0].dims[0] if length is None else length
    return list(
        op("Scan")(length, operands, body=body, carries=len(carries), sequences=len(sequences),
                   **attrs)
    )  # fmt: skip


def repeat_while(
    make: Make, carries: Sequence[Value], sequences: Sequence[Value] = (),
    rest: Sequence[Value] = (), length: int = -1, **attrs: Any,
) -> list[Value]:  # fmt: skip
    """A ``While`` of a body in the builder in force."""
    operands = [*carries, *sequences, *rest]
    body = body_of(operands, len(carries), len(sequences), make)
    return list(
        op("While")(length, operands, body=body, carries=len(carries), sequences=len(sequences),
                    **attrs)
    )  # fmt: skip


def case(index: Value, operands: Sequence[Value], *makes: Make) -> list[Value]:
    """A ``Case`` in the builder in force."""
    branches = tuple(function(m, *operands, name=f"branch{k}") for k, m in enumerate(makes))
    return list(op("Case")(index, list(operands), branches=branches))


def program(make: Make, *args: np.ndarray, open_: Mapping[int, Dim] | None = None) -> Function:
    """A function of parameters with the shapes of `args`; first axes in `open_` are symbols."""
    b = Builder("run")
    values = []
    for k, a in enumerate(args):
        shape: tuple[Dim, ...] = a.shape
        if k in (open_ or {}):
            assert open_ is not None
            shape = (open_[k], *shape[1:])
        values.append(b.param("feed", f"x{k}", TensorType(dtypes.as_dtype(a.dtype), shape)))
        if k in (open_ or {}):
            assert open_ is not None
            b.define(open_[k], SizeOf(values[-1], 0))
    with b:
        return b.finish(list(make(*values)))


def by_steps(s: Step, p: Program) -> bool:
    """No loop and no branch is native."""
    return not isinstance(s, Host | Repeat | Branch)


def executables(
    f: Function, optimize: bool = True, threads: int = 1
) -> tuple[Executable, Executable]:
    """The function with native loops and with loops run from Python."""
    for p in (Decompose(), Simplify(), Share()) if optimize else (Decompose(),):
        f = within(p, f)  # loops stay as they are written here
    lowered = Lower(optimize)(f)
    verify_program(lowered)
    return (
        Executable(f, lowered, threads=threads),
        Executable(f, lowered, threads=threads, native=by_steps),
    )


def agree(f: Function, *args: np.ndarray, optimize: bool = True, bound: bool = True) -> list[Any]:
    """Run natively, twice, step by step and with numpy; all must agree.  Returns the results."""
    native, stepwise = executables(f, optimize)
    assert native.bound == bound
    loops = any(isinstance(s, Repeat | Branch) for s in native.program.steps)
    assert stepwise.bound != loops
    want = evaluate(f, args)[0]
    for exe in native, native, stepwise:
        got = exe.run(list(args), Store())
        for k, (g, w) in enumerate(zip(got, want, strict=True)):
            assert np.shape(g) == np.shape(w), f"result {k}: {np.shape(g)}, not {np.shape(w)}"
            np.testing.assert_allclose(g, w, rtol=2e-6, atol=1e-6, err_msg=f"result {k}")
    if bound:
        assert native.counts.calls in (0, 2)  # none where there is nothing to do
        assert native.counts.plans == 1
    return [np.asarray(w) for w in want]


__all__ = [
    "BOOL", "F32", "I32", "I64", "agree", "by_steps", "case", "executables", "function", "number",
    "op", "ops", "program", "repeat_while", "scan",
]  # fmt: skip
