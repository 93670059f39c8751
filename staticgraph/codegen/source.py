"""Kernels as readable Python source; what targets share.

A printer turns statements into lines and expressions into text, with the dtype rules of
`ir.scalar`: Numba would widen ``int32 + int32`` to int64 and ``int * float32`` to float64, so every
integer result is cast back to its own width and every literal is typed.
"""

from __future__ import annotations

import math
from typing import ClassVar

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
    Statement,
    Store,
    Temp,
    Var,
    neutral,
)
from staticgraph.ir.scalar import Expr, Index, Lit, Load, Prim, ReduceKind

HALF = (dtypes.float16, dtypes.bfloat16)
_INFIX = {"add": "+", "sub": "-", "mul": "*", "bitand": "&", "bitor": "|", "bitxor": "^"}
_COMPARE = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
_LOGIC = {"and": "&", "or": "|", "xor": "^"}
_INT_DIVISION = {"floordiv", "mod", "truncdiv", "truncmod"}
ACCUMULATE: dict[ReduceKind, str] = {
    "sum": "acc_sum({a}, {v})", "prod": "acc_prod({a}, {v})", "max": "acc_max({a}, {v})",
    "min": "acc_min({a}, {v})", "all": "{a} & {v}", "any": "{a} | {v}",
}  # fmt: skip


def working(dtype: DType) -> DType:
    """The dtype that values of `dtype` are computed in."""
    return dtypes.float32 if dtype in HALF else dtype


class Printer:
    """Prints the parts of a kernel that do not depend on how its parallel axis is bound."""

    functions: ClassVar[frozenset[str]] = frozenset(
        "sqrt rsqrt cbrt exp expm1 exp2 log log1p log2 log10 tanh sigmoid softplus sin cos tan "
        "asin acos atan sinh cosh asinh acosh atanh erf erfc erfinv lgamma digamma atan2 pow "
        "floor ceil rint trunc".split()
    )

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.site = 0
        self.lines: list[str] = []

    # ---- statements
    def body(self, statements: tuple[Statement, ...], pad: str) -> None:
        """Print statements at an indentation."""
        for s in statements:
            self.statement(s, pad)

    def statement(self, s: Statement, pad: str) -> None:
        """Print one statement."""
        match s:
            case Let(name, Prim("check_index", (i, bound))):
                self.check(name, i, bound, pad)
            case Let(name, value):
                self.lines.append(f"{pad}{name} = {self.expr(value)}")
            case Loop(var, start, stop, inner):
                self.lines.append(
                    f"{pad}for {var} in range({self.expr(start)}, {self.expr(stop)}):"
                )
                self.body(inner, pad + "    ")
            case Init(name, kind, dtype):
                from_neutral = self.literal(neutral(kind, dtype), dtype)
                if kind in ("argmax", "argmin"):
                    self.lines += [
                        f"{pad}{name} = np.int64(0)",
                        f"{pad}{name}_best = {from_neutral}",
                    ]
                    self.lines.append(f"{pad}{name}_none = True")
                else:
                    self.lines.append(f"{pad}{name} = {from_neutral}")
            case Accumulate(name, kind, value):
                self.lines.append(f"{pad}{name} = {self.step(name, kind, value)}")
            case AccumulateArg(name, kind, value, at):
                self.extreme(name, kind, value, at, pad)
            case Var(name, value) | Set(name, value):
                self.lines.append(f"{pad}{name} = {self.expr(value)}")
            case Store(param, index, value):
                self.store(param, index, value, pad)

    def step(self, name: str, kind: ReduceKind, value: Expr) -> str:
        """Print what an accumulator becomes in one step of a reduction."""
        return ACCUMULATE[kind].format(a=name, v=self.expr(value))

    def check(self, name: str, i: Expr, bound: Expr, pad: str) -> None:
        """Print a bounds check: the first violation is remembered, the index becomes 0."""
        self.site += 1
        index, limit = self.expr(i), self.expr(bound)
        self.lines += [
            f"{pad}{name} = {index}",
            f"{pad}if {name} < 0 or {name} >= {limit}:",
            f"{pad}    bad, bad_index, bad_bound = {self.site}, {name}, {limit}",
            f"{pad}    {name} = 0",
        ]

    def extreme(self, name: str, kind: ReduceKind, value: Expr, at: Expr, pad: str) -> None:
        """Print one step of argmax or argmin; a NaN counts as extreme and the first one wins."""
        text, sign = self.expr(value), ">" if kind == "argmax" else "<"
        self.lines += [
            f"{pad}{name}_v = {text}",
            f"{pad}if {name}_none or {name}_v {sign} {name}_best or "
            f"({name}_v != {name}_v and {name}_best == {name}_best):",
            f"{pad}    {name}, {name}_best, {name}_none = {self.expr(at)}, {name}_v, False",
        ]

    def store(self, param: int, index: Expr, value: Expr, pad: str) -> None:
        """Print a store with the conversion that the memory type needs."""
        p = self.kernel.params[param]
        assert isinstance(p, Pointer)
        at, text = self.expr(index), self.expr(value)
        if p.dtype in HALF:
            self.lines.append(f"{pad}store_{p.dtype.short}(a{param}, {at}, {text})")
        elif p.dtype.is_bool:
            self.lines.append(f"{pad}a{param}[{at}] = np.uint8({text})")
        else:
            self.lines.append(f"{pad}a{param}[{at}] = {text}")

    # ---- expressions
    def expr(self, e: Expr) -> str:
        """Print an expression; the result is parenthesised where it needs to be."""
        match e:
            case Temp(name) | Index(name):
                return name
            case Lit(value, dtype):
                return self.literal(value, dtype)
            case Load(operand, (index,), _):
                return self.load(operand, index)
            case Prim():
                return self.primitive(e)
            case _:
                raise TypeError(f"{type(e).__name__} in a kernel")

    def load(self, param: int, index: Expr) -> str:
        """Print a load."""
        p = self.kernel.params[param]
        at = self.expr(index)
        if p.dtype in HALF:  # type: ignore[union-attr]
            return f"load_{p.dtype.short}(a{param}, {at})"  # type: ignore[union-attr]
        if p.dtype.is_bool:  # type: ignore[union-attr]
            return f"(a{param}[{at}] != 0)"
        return f"a{param}[{at}]"

    def literal(self, value: int | float | bool, dtype: DType) -> str:
        """Print a typed literal."""
        d = working(dtype)
        if d.is_bool:
            return str(bool(value))
        if d is dtypes.int64:
            return str(int(value)) if -(2**63) < value < 2**63 else f"np.int64({int(value)})"
        if d.is_integer:
            return f"np.{d.name}({int(value)})"
        x = float(value)
        if math.isnan(x):
            return f"np.{d.name}(np.nan)"
        if math.isinf(x):
            return f"np.{d.name}({'-' if x < 0 else ''}np.inf)"
        return f"np.{d.name}({x!r})"

    def primitive(self, e: Prim) -> str:
        """Print a primitive."""
        name, d = e.name, working(e.dtype)
        xs = [self.expr(a) for a in e.args]
        kind = working(e.args[0].dtype)
        if name in _COMPARE:
            return f"({xs[0]} {_COMPARE[name]} {xs[1]})"
        if name in _LOGIC:
            return f"({xs[0]} {_LOGIC[name]} {xs[1]})"
        if name == "not":
            return f"(not {xs[0]})"
        if name == "select":
            return f"({xs[1]} if {xs[0]} else {xs[2]})"
        if name == "cast":
            return self.cast(xs[0], e.args[0].dtype, e.dtype)
        if name in ("isnan", "isinf", "isfinite"):
            return self.classify(name, xs[0], kind)
        if name in _INFIX:
            return self.narrow(f"{xs[0]} {_INFIX[name]} {xs[1]}", d)
        if d.is_floating:
            return self.floating(name, xs, d)
        return self.integer(name, xs, d)

    def call(self, name: str, xs: list[str]) -> str:
        """Print a call of one of the target's functions."""
        return f"{name}({', '.join(xs)})"

    def narrow(self, text: str, d: DType) -> str:
        """Keep an integer result at its own width."""
        return f"({text})" if d.is_floating or d is dtypes.int64 else f"np.{d.name}({text})"

    def classify(self, name: str, x: str, kind: DType) -> str:
        """Print isnan, isinf, isfinite."""
        if not kind.is_floating:
            return str(name == "isfinite")
        if name == "isnan":
            return f"({x} != {x})"
        infinity = self.literal(float("inf"), kind)
        return f"(abs({x}) {'==' if name == 'isinf' else '<'} {infinity})"

    def floating(self, name: str, xs: list[str], d: DType) -> str:
        """Print a primitive on floats."""
        zero, one = self.literal(0.0, d), self.literal(1.0, d)
        match name:
            case "div":
                return f"({xs[0]} / {xs[1]})"
            case "neg":
                return f"(-{xs[0]})"
            case "abs":
                return f"abs({xs[0]})"
            case "sign":
                x = xs[0]
                rest = f"({zero} if {x} == {zero} else {x})"
                return f"({one} if {x} > {zero} else (-{one} if {x} < {zero} else {rest}))"
            case "floordiv":
                return self.call("floor_divide", xs)
            case "mod":
                return self.call("floor_mod", xs)
            case "truncdiv":
                return self.call("trunc", [f"{xs[0]} / {xs[1]}"])
            case "truncmod":
                return self.call("trunc_mod", xs)
            case "maximum" | "minimum":
                return self.call(name, xs)
        if name in self.functions:
            return self.call(name, xs)
        raise TypeError(f"{name} on {d.name}")

    def integer(self, name: str, xs: list[str], d: DType) -> str:
        """Print a primitive on integers (and bool, for maximum and minimum)."""
        if name in _INT_DIVISION or name == "div":
            return self.call(f"int_{'truncdiv' if name == 'div' else name}", xs)
        x = xs[0]
        match name:
            case "pow":
                return f"int_pow({x}, {xs[1]})"
            case "neg":
                return self.narrow(f"-{x}", d)
            case "abs":
                return x if d.is_unsigned else self.narrow(f"-{x} if {x} < 0 else {x}", d)
            case "sign":
                zero, one = self.literal(0, d), self.literal(1, d)
                if d.is_unsigned:
                    return f"({one} if {x} > {zero} else {zero})"
                minus = self.literal(-1, d)
                return f"({one} if {x} > {zero} else ({minus} if {x} < {zero} else {zero}))"
            case "maximum" | "minimum":
                return f"({x} if {x} {'>' if name == 'maximum' else '<'} {xs[1]} else {xs[1]})"
            case "bitnot":
                return self.narrow(f"~{x}", d)
            case "shl" | "shr":
                count = self.narrow(f"{xs[1]} & {self.literal(d.size * 8 - 1, d)}", d)
                return self.narrow(f"{x} {'<<' if name == 'shl' else '>>'} {count}", d)
            case "floor" | "ceil" | "rint" | "trunc":
                return x
        raise TypeError(f"{name} on {d.name}")

    def cast(self, x: str, source: DType, target: DType) -> str:
        """Print a conversion."""
        if target in HALF:
            inner = (
                self.cast(x, source, dtypes.float32) if working(source) is not dtypes.float32 else x
            )
            return self.call(f"round_{target.short}", [inner]) if source is not target else x
        if working(source) is target:
            return x
        if target.is_bool:
            return f"({x} != {self.literal(0, source)})"
        if source.is_bool and target.is_floating:
            return f"({self.literal(1, target)} if {x} else {self.literal(0, target)})"
        if target is dtypes.uint64 or (working(source).is_floating and target.is_integer):
            return self.call(f"to_{target.short}", [x])
        return f"np.{target.name}({x})"
