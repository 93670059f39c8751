"""Small PTX programs for the tests of the interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np

from .interpreter import run_ptx

HEADER = ".version 9.0\n.target sm_90\n.address_size 64\n"
REGISTERS = ".reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<20>; .reg .b64 %d<20>;\n"
REGISTERS += ".reg .f32 %f<20>; .reg .f64 %g<20>;\n"


def program(body: str, params: str = "u64", module: str = "") -> str:
    """A kernel ``k``: %d0, %d1, ... are its parameters, %r0 the thread's number in the grid."""
    kinds = params.split()
    declared = ", ".join(f".param .{kind} k_{i}" for i, kind in enumerate(kinds))
    loads = "".join(
        f"ld.param.{kind} {'%f' if kind[0] == 'f' else '%d'}{i}, [k_{i}];\n"
        for i, kind in enumerate(kinds)
    )
    index = "mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r0, %tid.x;\n"
    index += "mad.lo.s32 %r0, %r1, %r2, %r0;\n"
    entry = f".visible .entry k({declared})\n.maxntid 256, 1, 1\n{{\n"
    return f"{HEADER}{module}\n{entry}{REGISTERS}{loads}{index}{body}\nret;\n}}\n"


def run(body: str, *args: Any, grid: Any = 1, block: Any = 32, **options: Any) -> None:
    """Run a body on arrays."""
    module = options.pop("module", "")
    params = " ".join("f32" if isinstance(a, np.float32) else "u64" for a in args)
    run_ptx(program(body, params, module), "k", grid, block, list(args), **options)


def element(number: int, size: int = 4, index: str = "%r0") -> str:
    """%d9 becomes the address of this thread's element of a parameter."""
    return f"mul.wide.u32 %d8, {index}, {size}; add.s64 %d9, %d{number}, %d8;\n"


def store(value: str, kind: str = "u32", number: int = 0) -> str:
    """Store a register in this thread's element of a parameter."""
    size = int(kind[1:]) // 8
    return element(number, size) + f"st.global.{kind} [%d9], {value};\n"


SHARED = ".shared .align 16 .b8 tile[256];"
TO_TILE = "mov.u32 %r5, %tid.x; mul.wide.u32 %d5, %r5, 4; mov.u64 %d6, tile;\n"
TO_TILE += "add.s64 %d6, %d6, %d5;\n"
REVERSE = (
    TO_TILE
    + """
    st.shared.u32 [%d6], %r0;
    bar.sync 0;
    mov.u32 %r6, 63; sub.u32 %r6, %r6, %r5; mul.wide.u32 %d5, %r6, 4; mov.u64 %d7, tile;
    add.s64 %d7, %d7, %d5;
    ld.shared.u32 %r7, [%d7];
"""
)
