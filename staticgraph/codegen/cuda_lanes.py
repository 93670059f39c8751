"""Scalar text of CUDA kernels, and loops over groups of four elements.

`LanePrinter` prints what does not depend on how threads are laid out: calls go to
``cuda_intrinsics`` as ``gpu.NAME``, and `lanes` prints the body of a loop four times over, with
one 16-byte load or store where the scalar body has one of 4 bytes.
"""

from __future__ import annotations

from staticgraph.codegen.source import HALF, Printer
from staticgraph.ir import dtypes
from staticgraph.ir.dtypes import DType
from staticgraph.ir.kernel import (
    Accumulate,
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
    expressions,
    subexpressions,
)
from staticgraph.ir.scalar import Expr, Index, Lit, Load, Prim, ReduceKind

_NAMES = {
    "floor_divide": "floordiv", "floor_mod": "mod", "trunc_mod": "truncmod",
    "int_floordiv": "floordiv", "int_mod": "mod", "int_truncdiv": "truncdiv",
    "int_truncmod": "truncmod",
}  # fmt: skip
_INTEGERS = {
    f"to_{d.short}": d.name
    for d in (
        dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64,
        dtypes.uint8, dtypes.uint16, dtypes.uint32, dtypes.uint64,
    )
}  # fmt: skip
_FUNCTIONS = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum"}


def quarter(e: Expr) -> Expr | None:
    """A quarter of an index that is surely a multiple of 4, else None."""
    match e:
        case Lit(value):
            return Lit(int(value) // 4, e.dtype) if int(value) % 4 == 0 else None
        case Prim("mul", (a, Lit() as b)) | Prim("mul", (Lit() as b, a)):
            part = quarter(b)
            return None if part is None else Prim("mul", (a, part), e.dtype)
        case Prim("add", (a, b)):
            x, y = quarter(a), quarter(b)
            return None if x is None or y is None else Prim("add", (x, y), e.dtype)
        case _:
            return None


def group_base(index: Expr, var: str) -> Expr | None:
    """A quarter of `index` - `var`, if that is surely a multiple of 4."""
    base: Expr | None = None
    found, stack = 0, [index]
    while stack:
        match stack.pop():
            case Prim("add", (a, b)):
                stack += (b, a)
            case Temp(name) | Index(name) if name == var:
                found += 1
            case e:
                part = quarter(e)
                if part is None:
                    return None
                base = part if base is None else Prim("add", (base, part), e.dtype)
    return (base or Lit(0, dtypes.int64)) if found == 1 else None


def can_use_lanes(kernel: Kernel, var: str, start: Expr, body: tuple[Statement, ...]) -> bool:
    """True where all that `body` touches for `var` = 4k .. 4k+3 are groups of 16 bytes."""
    if quarter(start) is None or any(isinstance(s, Loop | Init | Var | Set) for s in body):
        return False
    inside = [x for s in body for e in expressions(s) for x in subexpressions(e)]
    if any(isinstance(x, Prim) and x.name == "check_index" for x in inside):
        return False
    varying = {var}
    for s in body:
        if isinstance(s, Let) and depends(s.value, varying):
            varying.add(s.name)
    read = [(x.operand, x.index[0]) for x in inside if isinstance(x, Load)]
    written = [(s.param, s.index) for s in body if isinstance(s, Store)]
    if {k for k, _ in read} & {k for k, _ in written}:
        return False
    groups = [a for a in read if depends(a[1], varying)] + written
    return bool(groups) and all(
        kernel.params[k].dtype.size == 4 and group_base(index, var) is not None  # type: ignore[union-attr]
        for k, index in groups
    )


def depends(e: Expr, names: set[str]) -> bool:
    """True where an expression mentions one of these names."""
    return any(isinstance(x, Temp | Index) and x.name in names for x in subexpressions(e))


class LanePrinter(Printer):
    """The scalar language in ``numba.cuda``, for one element or for four."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.lane: int | None = None
        self.varying: set[str] = set()
        self.groups: dict[Expr, str] = {}
        self.group_names = 0

    # ---- groups of four
    def lanes(self, body: tuple[Statement, ...], var: str, pad: str) -> None:
        """Print `body` for the elements ``4 * q`` to ``4 * q + 3``."""
        self.varying, self.groups, self.group_names = {var}, {}, 0
        used = [e for s in body for e in ((s.value,) if isinstance(s, Store) else expressions(s))]
        if any(_mentions_value(e, var) for e in used):
            self.lines += [f"{pad}{var}_{k} = 4 * q + {k}" for k in range(4)]
        for s in body:
            self._load_groups(s, var, pad)
            match s:
                case Let(name, value) if self.groups.get(value) == name:
                    self.varying.add(name)
                case Let(name, value) if depends(value, self.varying):
                    texts = enumerate(self._each(value))
                    self.lines += [f"{pad}{name}_{k} = {text}" for k, text in texts]
                    self.varying.add(name)
                case Accumulate(name, "sum", value) if value.dtype.is_floating:
                    a, b, c, d = self._each(value)
                    self.lines.append(f"{pad}{name} = {name} + (({a} + {b}) + ({c} + {d}))")
                case Store(param, index, value):
                    at, values = self._group(index, var), ", ".join(self._each(value))
                    self.lines.append(f"{pad}gpu.store4(a{param}, {at}, {values})")
                case Let():
                    self.statement(s, pad)
                case _:
                    for k in range(4):
                        self.lane = k
                        self.statement(s, pad)
                    self.lane = None
        self.varying, self.groups = set(), {}

    def _load_groups(self, s: Statement, var: str, pad: str) -> None:
        for e in expressions(s):
            for x in subexpressions(e):
                if not isinstance(x, Load) or x in self.groups or not depends(x, self.varying):
                    continue
                if isinstance(s, Let) and s.value == x:
                    name = s.name
                else:
                    self.group_names += 1
                    name = f"g{self.group_names}"
                names = ", ".join(f"{name}_{k}" for k in range(4))
                at = self._group(x.index[0], var)
                self.lines.append(f"{pad}{names} = gpu.load4(a{x.operand}, {at})")
                self.groups[x] = name

    def _group(self, index: Expr, var: str) -> str:
        base = group_base(index, var)
        assert base is not None
        return "q" if base == Lit(0, dtypes.int64) else f"{self.expr(base)} + q"

    def _each(self, e: Expr) -> list[str]:
        texts = []
        for k in range(4):
            self.lane = k
            texts.append(self.expr(e))
        self.lane = None
        return texts

    # ---- expressions
    def expr(self, e: Expr) -> str:
        if self.lane is not None:
            if isinstance(e, Temp | Index) and e.name in self.varying:
                return f"{e.name}_{self.lane}"
            if e in self.groups:
                return f"{self.groups[e]}_{self.lane}"
        return super().expr(e)

    def step(self, name: str, kind: ReduceKind, value: Expr) -> str:
        if kind in _FUNCTIONS:
            return f"gpu.{_FUNCTIONS[kind]}({name}, {self.expr(value)})"
        return super().step(name, kind, value)

    def call(self, name: str, xs: list[str]) -> str:
        args = ", ".join(xs)
        if name in _INTEGERS:
            return f"np.{_INTEGERS[name]}({args})"
        if name == "round_f16":
            return f"np.float32(float16({args}))"
        if name == "round_bf16":
            return f"gpu.from_bf16(gpu.to_bf16({args}))"
        return f"gpu.{_NAMES.get(name, name)}({args})"

    def primitive(self, e: Prim) -> str:
        if e.name == "select":
            return f"gpu.select({', '.join(self.expr(a) for a in e.args)})"
        if e.name == "abs" and e.dtype.is_floating:
            return f"gpu.abs({self.expr(e.args[0])})"
        return super().primitive(e)

    def classify(self, name: str, x: str, kind: DType) -> str:
        return f"gpu.{name}({x})" if kind.is_floating else super().classify(name, x, kind)

    def integer(self, name: str, xs: list[str], d: DType) -> str:
        return self.call(name, xs) if name == "pow" else super().integer(name, xs, d)

    # ---- half precision in memory
    def load(self, param: int, index: Expr) -> str:
        kind = self._half(param)
        if kind is None:
            return super().load(param, index)
        convert = "np.float32" if kind == "f16" else "gpu.from_bf16"
        return f"{convert}(a{param}[{self.expr(index)}])"

    def store(self, param: int, index: Expr, value: Expr, pad: str) -> None:
        kind = self._half(param)
        if kind is None:
            super().store(param, index, value, pad)
            return
        convert = "float16" if kind == "f16" else "gpu.to_bf16"
        self.lines.append(f"{pad}a{param}[{self.expr(index)}] = {convert}({self.expr(value)})")

    def _half(self, param: int) -> str | None:
        p = self.kernel.params[param]
        return p.dtype.short if isinstance(p, Pointer) and p.dtype in HALF else None


def _mentions_value(e: Expr, var: str) -> bool:
    """True where `var` is used for more than addresses."""
    stack = [e]
    while stack:
        x = stack.pop()
        if isinstance(x, Temp | Index) and x.name == var:
            return True
        if isinstance(x, Prim):
            stack += x.args
    return False


__all__ = ["LanePrinter", "can_use_lanes", "depends", "group_base", "quarter"]
