"""Stores that go past the caches: how a kernel writes an array that is `Pointer.streamed`.

A processor that writes a line of memory first fetches it, unless the whole line is written at once
by stores that say they are not temporal.  Such stores need a line's boundary, and LLVM vectorises
none whose place it does not know.  So a loop is done some lines at a time, from the first boundary
on: into a block that is so small that LLVM keeps it in registers, and from there to memory, which
is written to while the loop goes on.  What does not fill the lines is stored as usual.

Which loops are: those with nothing but straight code in them, for stores at one element after the
other.  Not those with a sum, whose last bit would tell in which order it was added up; to write a
whole row of such a loop at once takes longer than to write it as usual.  Everywhere else a store is
a store.  No value depends on it.

A row that a kernel comes back to before it is done with it (`ir.kept`) is in a block on the stack
until the last loop writes it.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Sequence
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]  # llvmlite ships no stubs

from staticgraph.codegen.llvm_expressions import I64
from staticgraph.ir.kept import place, read_params
from staticgraph.ir.kernel import (
    Accumulate,
    AccumulateArg,
    Init,
    Kernel,
    Loop,
    Pointer,
    Set,
    Store,
    Var,
)
from staticgraph.ir.scalar import Expr, Lit

PIECE = 256  # bytes of an array for which a long loop runs at a time: as many as are registers
SHORT = 512  # bytes of a loop for which it is not worth the trouble
LINE = 64  # bytes that are moved at a time: a line of the caches
_X86 = frozenset({"x86_64", "amd64", "i386", "i686"})


def streamed(kernel: Kernel, kept: Collection[int]) -> frozenset[int]:
    """The parameters that are marked, and that nothing in the kernel reads from memory.

    Args:
      kept: those that it reads from a row of its own; see `ir.kept`.
    """
    marked = {
        i
        for i, p in enumerate(kernel.params)
        if isinstance(p, Pointer) and p.written and p.streamed
    }
    if not marked:
        return frozenset()
    return frozenset(marked - (read_params(kernel) - set(kept)))


def streams(loop: Loop, params: Collection[int]) -> dict[int, Expr]:
    """The parameters that a loop's body stores to once, at one element after the other.

    Returns:
      For each the index less the loop's variable, which nothing inside the loop changes.
    """
    if not params or any(isinstance(s, Loop) for s in loop.body):
        return {}
    found: dict[int, Expr] = {}
    seen: set[int] = set()
    for s in loop.body:
        if not isinstance(s, Store) or s.param not in params:
            continue
        first = place(s.index, loop)
        if s.param in seen or first is None:
            found.pop(s.param, None)
        else:
            found[s.param] = first
        seen.add(s.param)
    return found


def divisible(loop: Loop, sizes: Sequence[int]) -> int | None:
    """How many iterations of a loop make lines of all that it streams.

    A sum is not divided: its last bit would tell.
    """
    if any(isinstance(s, Init | Var | Set | Accumulate | AccumulateArg) for s in loop.body):
        return None
    match loop:
        case Loop(_, Lit(first), Lit(last)) if (last - first) * max(sizes) < SHORT:
            return None
    count = PIECE // max(sizes)
    return count if all(count * size % LINE == 0 for size in sizes) else None


def move_lines(module: Any, b: Any, to: Any, source: Any, size: int) -> None:
    """Emit the moves of whole lines to the boundary of a line."""
    for at in range(0, size, LINE):
        offset = [ir.Constant(I64, at)]
        _move(module, b, *(b.gep(p, offset, source_etype=ir.IntType(8)) for p in (to, source)))


def _move(module: Any, b: Any, to: Any, source: Any) -> None:
    line = b.load(source, typ=ir.VectorType(ir.IntType(32), LINE // 4), align=1)
    mark = module.add_metadata([ir.Constant(ir.IntType(32), 1)])  # the same one every time
    b.store(line, to, align=LINE).set_metadata("nontemporal", mark)


def fence(module: Any, b: Any) -> None:
    """Put what was streamed before all that follows: on x86 such stores keep no order."""
    if platform.machine().lower() not in _X86:
        b.fence("release")
        return
    name = "llvm.x86.sse.sfence"
    known = module.globals.get(name)
    b.call(known or ir.Function(module, ir.FunctionType(ir.VoidType(), []), name), [])


__all__ = ["LINE", "divisible", "fence", "move_lines", "streamed", "streams"]
