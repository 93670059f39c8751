"""Runs a lowered program: kernels through the CUDA compiler and the PTX interpreter."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from staticgraph.codegen.cuda import CudaKernel, compile_cuda, cuda_kernel, read_status
from staticgraph.codegen.cuda_compile import CudaCode
from staticgraph.ir import dims as D
from staticgraph.ir.kernel import Kernel
from staticgraph.ir.program import Buffer, Launch, Program

from .interpreter import run_ptx

BLOCKS = 5  # at most, so that the loops over rows and elements take more than one turn


class FailedCheckError(Exception):
    """A kernel reported an index: `site`, `index`, `bound`."""


@functools.cache
def code_of(kernel: Kernel) -> tuple[CudaKernel, CudaCode]:
    """A kernel's source and machine code."""
    printed = cuda_kernel(kernel)
    return printed, compile_cuda(printed)


def run_program(
    program: Program, args: Sequence[np.ndarray], strict: bool = True, blocks: int = BLOCKS
) -> list[np.ndarray]:
    """The results of a program; what no kernel has written is NaN or -1."""
    arrays: dict[Buffer, np.ndarray] = {}
    for p, a in zip(program.params, args, strict=True):
        arrays[p.buffer] = np.array(a, dtype=p.buffer.dtype.np, order="C")
    sizes: dict[Any, int] = {}
    for s, origin in program.sizes.items():
        if origin.buffer in arrays:
            a = arrays[origin.buffer]
            sizes[s] = int(a.reshape(-1)[origin.index]) if origin.element else a.shape[origin.index]

    def array(b: Buffer) -> np.ndarray:
        if b not in arrays:
            shape = tuple(D.evaluate(d, sizes) for d in b.dims or ())
            if b.data is not None:
                arrays[b] = np.ascontiguousarray(b.data).reshape(shape)
            else:
                junk = np.nan if b.dtype.is_floating else True if b.dtype.is_bool else 77
                arrays[b] = np.full(shape, junk, b.dtype.np)
        return arrays[b]

    for step in program.steps:
        assert isinstance(step, Launch), "only kernels run here"
        values = [
            array(a) if isinstance(a, Buffer) else np.int64(D.evaluate(a, sizes)) for a in step.args
        ]
        launch(step.kernel, values, D.evaluate(step.extent, sizes), strict, blocks)
    return [array(b) for b in program.results]


def launch(kernel: Kernel, values: list[Any], extent: int, strict: bool, blocks: int) -> None:
    """Interpret one launch."""
    printed, code = code_of(kernel)
    grid = printed.launch.blocks(extent)
    if printed.launch.parts == 1:
        grid = min(grid, blocks)
    if not grid:
        return
    status = np.zeros(1 + printed.checks, np.int64)
    args = [*values, np.int64(extent), *([status] if printed.checks else [])]
    args = [plain(a) if isinstance(a, np.ndarray) else a for a in args]
    run_ptx(code.ptx, code.name, grid, printed.launch.block, args, strict=strict)
    failed = read_status(status.tolist())
    if failed is not None:
        raise FailedCheckError(*failed)


def plain(array: np.ndarray) -> np.ndarray:
    """An array as kernels see it: an empty one has 16 bytes, which guarded loads may read."""
    if not array.size:
        return np.full(16, 0xFF, np.uint8)
    if array.dtype == bool:
        return array.view(np.uint8)
    return (
        array.view(np.uint16)
        if array.dtype.kind == "V" or array.dtype.name == "bfloat16"
        else array
    )
