"""Kernels for the CPU: Numba source, and Numba's compiler behind one function.

A kernel is ``def kernel(args, lo, hi)``: `args` points at 64-bit words holding addresses and
sizes; ``[lo, hi)`` is the share of the parallel axis.  It returns 0, or the number of the index
check that failed, with index and bound in the two words after the arguments.
"""

from __future__ import annotations

from staticgraph.codegen.source import Printer
from staticgraph.ir.kernel import Kernel, Pointer

SIGNATURE_WORDS = 2  # words after the arguments: the offending index and its bound


def kernel_source(kernel: Kernel) -> str:
    """The Numba source of a kernel; equal kernels give equal text.

    Returns:
      Python text that defines ``kernel(args, lo, hi)``.
    """
    printer = Printer(kernel)
    pad = "    "
    lines = printer.lines
    lines.append("def kernel(args, lo, hi):")
    for i, p in enumerate(kernel.params):
        if isinstance(p, Pointer):
            note = "  # streamed" if p.streamed else ""
            lines.append(f"{pad}a{i} = ptr_{_storage(p.dtype.short)}(args[{i}]){note}")
        else:
            lines.append(f"{pad}s{i} = args[{i}]")
    checked = kernel.checks() > 0
    if checked:
        lines.append(f"{pad}bad, bad_index, bad_bound = 0, 0, 0")
    lines.append(f"{pad}for p in range(lo, hi):")
    printer.body(kernel.body, pad * 2)
    if checked:
        n = len(kernel.params)
        lines += [
            f"{pad}if bad != 0:",
            f"{pad * 2}args[{n}] = bad_index",
            f"{pad * 2}args[{n + 1}] = bad_bound",
            f"{pad}return bad",
        ]
    else:
        lines.append(f"{pad}return 0")
    return "\n".join(lines) + "\n"


def _storage(short: str) -> str:
    """bfloat16 has no pointer of its own: its bits are loaded as uint16."""
    return {"bf16": "u16"}.get(short, short)
