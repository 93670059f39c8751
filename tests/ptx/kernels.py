"""Compiling and interpreting the CUDA kernels of tests."""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np

from staticgraph.codegen.cuda_compile import CudaCode, compile_source

from .interpreter import run_ptx

HEAD = """
import math
from numba import cuda, float32
from numba.cuda.types import float16
from staticgraph.codegen import cuda_intrinsics as gpu
"""
THREADS = 256
DTYPES = {"f32": np.float32, "f64": np.float64, "i8": np.int8, "u8": np.uint8, "i32": np.int32}
DTYPES |= {"i64": np.int64}


@functools.cache
def build(source: str, *signature: str) -> CudaCode:
    """Compile the only function of a source."""
    found = re.search(r"def (\w+)", source)
    assert found
    return compile_source(HEAD + source, found[1], signature)


def run(code: CudaCode, grid: Any, block: Any, *args: Any) -> None:
    """Interpret a kernel; Python integers are int64."""
    values = [np.int64(a) if isinstance(a, int) else a for a in args]
    run_ptx(code.ptx, code.name, grid, block, values)


def check_budget(code: CudaCode, registers: int = 80) -> None:
    """What every float32 kernel must keep to."""
    assert ".f64" not in code.ptx
    assert code.spills == 0
    assert code.stack_bytes == 0
    assert code.registers <= registers
    assert code.cubin[:4] == b"\x7fELF"


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
