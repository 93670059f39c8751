"""The text of the fused form: regions with their values, in order, and the other steps.

    fused {
      row (d0: n0) of (d1: 10) {
        %Max[d0]: f32 = max over (d1) %x[d0, d1]
        %Exp[d0, d1]: f32 = exp(sub(%x[d0, d1], %Max[d0]))  # pass 1
      }
      %y: f32[n0, 4] = MatMul %Exp, %w {transpose_a=False, transpose_b=False}
    }

An index that is known before a kernel starts is checked in front of it: ``check (d0: n0): ...``.

A region's head names the variables of its parallel axis, then those inside; a member of a later
pass says which.  Values that were inlined do not appear: their expressions stand where they were
read.  There is no parser: the form lives only between `fuse` and `lower`.
"""

from __future__ import annotations

from collections.abc import Sequence

from staticgraph.ir.dims import Dim
from staticgraph.ir.function import Node, Value
from staticgraph.ir.scalar import Expr, Load, Prim
from staticgraph.ir.text import Names, attributes_text, type_text
from staticgraph.passes.checks import Check
from staticgraph.passes.fusion import Fused, Member, Region, variables


def print_fused(fused: Fused) -> str:
    """The text of what fusion made."""
    return str(_FusedText(fused))


class _FusedText:
    def __init__(self, fused: Fused) -> None:
        self.fused = fused
        self.unique = Names()
        self.names: dict[Value, str] = {}
        self.lines = ["fused {"]
        checks = list(reversed(fused.checks))
        for place, item in enumerate(fused.items):
            while checks and checks[-1].after < place:
                self.lines.append("  " + self._check(checks.pop()))
            if isinstance(item, Region):
                self._region(item)
            else:
                self.lines.append("  " + self._node(item))
        self.lines.append("}")

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def name(self, v: Value) -> str:
        """The last part of a value's name, made unique."""
        name = self.names.get(v)
        if name is None:
            name = self.names[v] = "%" + self.unique.unique(v.hint.rsplit("/", 1)[-1], "v")
        return name

    def _region(self, r: Region) -> None:
        names = [str(x) for x in variables(r.dims)]
        first, rest = (names[: r.split], r.dims[: r.split]), (names[r.split :], r.dims[r.split :])
        if r.form == "column":
            first, rest = rest, first
        inside = f" of {_space(*rest)}" if r.form != "flat" else ""
        self.lines.append(f"  {r.form} {_space(*first)}{inside} {{")
        rows, row = ", ".join(first[0]), ", ".join(rest[0])
        self.lines += [
            f"    {self._member(m, rows if m.scope == 'across' else row)}" for m in r.members
        ]
        self.lines.append("  }")

    def _check(self, c: Check) -> str:
        names = [str(x) for x in variables(c.dims)]
        return f"check {_space(names, c.dims)}: {self._show(c.index)} in [0, {c.bound})"

    def _member(self, m: Member, reduced: str) -> str:
        over = f"{m.reduce} over ({reduced}) " if m.reduce is not None else ""
        later = f"  # pass {m.level}" if m.level else ""
        head = f"{self.name(m.value)}[{', '.join(map(str, m.axes))}]: {m.value.dtype.short}"
        return f"{head} = {over}{self._show(m.body)}{later}"

    def _show(self, e: Expr) -> str:
        if isinstance(e, Load):
            index = ", ".join(map(self._show, e.index))
            return f"{self.name(self.fused.values[e.operand])}[{index}]"
        if isinstance(e, Prim):
            suffix = f".{e.dtype.short}" if e.name == "cast" else ""
            return f"{e.name}{suffix}({', '.join(map(self._show, e.args))})"
        return str(e)

    def _node(self, n: Node) -> str:
        made = ", ".join(f"{self.name(v)}: {type_text(v.type)}" for v in n.outputs)
        taken = " " + ", ".join(map(self.name, n.inputs)) if n.inputs else ""
        attrs = attributes_text(n.op, n.attrs, "  ")
        return f"{made}{' = ' if made else ''}{n.op.name}{taken}{attrs}"


def _space(names: Sequence[str], dims: Sequence[Dim]) -> str:
    return "(" + ", ".join(f"{n}: {d}" for n, d in zip(names, dims, strict=True)) + ")"


__all__ = ["print_fused"]
