"""The CUDA source of kernels, as text; needs no CUDA."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from staticgraph.codegen.cuda import CudaLaunch, cuda_kernel, read_status
from staticgraph.codegen.cuda_compile import CudaCompileError
from staticgraph.codegen.cuda_lanes import group_base, quarter
from staticgraph.ir import dtypes
from staticgraph.ir.kernel import Kernel, Let, Pointer, Store, Temp
from staticgraph.ir.parse import parse_kernel
from staticgraph.ir.scalar import Lit, Load, Prim
from tests.ptx.cases import CASES, compiled, function

I64 = dtypes.int64


@pytest.mark.parametrize("name", CASES)
def test_cuda(name: str, golden: Callable[[str, str], None]) -> None:
    kernels = compiled(function(CASES[name])).kernels()
    parts = []
    for kernel in kernels:
        k = cuda_kernel(kernel)
        source = k.source.split("as gpu\n\n\n")[1]
        launch = f"block {k.launch.block}, per block {k.launch.per_block}, parts {k.launch.parts}"
        parts.append(f"{kernel}\n\n# {', '.join(k.signature)}\n# {launch}\n{source}")
    text = "\n".join(parts)
    assert ("gpu.load4" in text) == CASES[name].lanes
    golden(f"cuda_{name}.txt", text)


def test_equal_kernels_give_equal_text() -> None:
    one, other = (compiled(function(CASES["softmax"])).kernels() for _ in range(2))
    assert one == other
    assert cuda_kernel(one[0]) == cuda_kernel(other[0])
    assert "def mine(" in cuda_kernel(one[0], "mine").source


def test_a_block_takes_tiles_one_after_the_other_and_waits_between_them() -> None:
    kernel = parse_kernel("""\
kernel tile(a0: f32*, a1: mut f32*, a2: mut f32*) parallel p {
  for t in mul(p, 4:i64) .. minimum(add(mul(p, 4:i64), 4:i64), 100:i64) {
    b: i64 = mul(t, 512:i64)
    for j in 0:i64 .. 32:i64 {
      for i in 0:i64 .. 16:i64 {
        a1[add(mul(p, 1536:i64), add(mul(j, 48:i64), i))] = a0[add(b, add(mul(j, 16:i64), i))]
      }
    }
    for i in 0:i64 .. 16:i64 {
      for j in 0:i64 .. 32:i64 {
        a2[add(b, add(mul(i, 32:i64), j))] = a1[add(mul(p, 1536:i64), add(mul(j, 48:i64), i))]
      }
    }
  }
}""")
    lines = [line.strip() for line in cuda_kernel(kernel).source.split("\n")]
    loops = [k for k, line in enumerate(lines) if line.startswith("while q <")]
    barriers = [k for k, line in enumerate(lines) if line == "cuda.syncthreads()"]
    (tiles,) = (k for k, line in enumerate(lines) if line.startswith("for t in range("))
    assert tiles < loops[0] < barriers[0] < loops[1] < barriers[1]
    assert (len(loops), len(barriers)) == (2, 2)


def test_a_block_takes_the_rows_of_a_chunk_one_after_the_other() -> None:
    kernel = parse_kernel("""\
kernel row(a0: mut f32*, a1: f32*, a2: mut f32*) parallel p {
  for j in 0:i64 .. 64:i64 {
    a0[add(mul(p, 64:i64), j)] = 0.0:f32
  }
  for row in mul(p, 32:i64) .. minimum(add(mul(p, 32:i64), 32:i64), 1000:i64) {
    var m: f32 = max()
    for r in 0:i64 .. 64:i64 {
      m max= a1[add(mul(row, 64:i64), r)]
    }
    a2[row] = m
    for r in 0:i64 .. 64:i64 {
      x: f32 = sub(a1[add(mul(row, 64:i64), r)], m)
      a0[add(mul(p, 64:i64), r)] = add(a0[add(mul(p, 64:i64), r)], x)
    }
  }
}""")
    lines = cuda_kernel(kernel).source.splitlines()
    (rows,) = (i for i, line in enumerate(lines) if line.startswith("        for row in range("))
    assert lines[rows - 1].strip() == "cuda.syncthreads()"  # the sums were cleared by others
    inside = [line for line in lines[rows + 1 :] if line.startswith(" " * 12)]
    text = "\n".join(inside)
    assert text.count("m = gpu.block_max(m)") == 1  # for each row
    assert "            if thread == 0:\n                a2[row] = m" in text
    assert text.index("block_max") < text.index("a2[row]") < text.index("a0[")


def test_the_grid_follows_from_the_extent() -> None:
    flat = CudaLaunch(256, 1024, limit=4096)
    assert [flat.blocks(n) for n in (0, 1, 1024, 1025, 10**9)] == [0, 1, 1, 2, 4096]
    assert CudaLaunch(128, parts=4).blocks(3) == 12
    assert CudaLaunch(256).blocks(2**40) == 2**31 - 1
    assert CudaLaunch(128).bounds == (128, 6)


def test_a_report_is_one_word_and_its_bound() -> None:
    assert read_status([0, 0, 0]) is None
    for index in (-1, 0, 5, -(2**40)):
        word = int(np.int64(2) + (np.int64(index) << np.int64(16)))
        assert read_status([word, 0, 9]) == (2, index, 9)


def test_groups_of_four_are_found_in_addresses() -> None:
    p, r, four, six = Temp("p", I64), Temp("r", I64), Lit(4, I64), Lit(6, I64)

    def add(*xs: object) -> Prim:
        return Prim("add", xs, I64)  # type: ignore[arg-type]

    row = Prim("mul", (p, four), I64)
    assert group_base(r, "r") == Lit(0, I64)
    assert group_base(add(row, r), "r") == Prim("mul", (p, Lit(1, I64)), I64)
    assert group_base(add(add(row, four), r), "r") is not None
    for index in (add(Prim("mul", (p, six), I64), r), add(r, six), add(r, r), add(p, r), row):
        assert group_base(index, "r") is None  # type: ignore[arg-type]
    assert quarter(Prim("mul", (Lit(8, I64), p), I64)) == Prim("mul", (p, Lit(2, I64)), I64)


def test_a_value_that_changes_is_one_for_each_element() -> None:
    kernel = parse_kernel(
        "kernel flat(a0: f32*, a1: mut f32*) parallel p {\n  state c: f32 = a0[p]\n"
        "  set c = mul(c, c)\n  a1[p] = c\n}"
    )
    source = cuda_kernel(kernel).source
    assert "load4" not in source and "c = (c * c)" in source


def test_bfloat16_is_passed_as_its_bits() -> None:
    p = Temp("p", I64)
    kernel = Kernel(
        "flat",
        (Pointer(dtypes.bfloat16, False), Pointer(dtypes.bfloat16, True)),
        (Let("x1", Load(0, (p,), dtypes.bfloat16)), Store(1, p, Temp("x1", dtypes.bfloat16))),
    )
    printed = cuda_kernel(kernel)
    assert printed.signature == ("ptr_u16", "ptr_u16", "i64")
    assert "x1 = gpu.from_bf16(a0[p])\n        a1[p] = gpu.to_bf16(x1)" in printed.source


def test_a_column_kernel_says_where_its_columns_begin() -> None:
    j = Temp("j", I64)
    body = (Let("k", Lit(0, I64)), Let("j1", Lit(8, I64)), Store(0, j, Lit(0.0, dtypes.float32)))
    with pytest.raises(CudaCompileError, match="first column"):
        cuda_kernel(Kernel("column", (Pointer(dtypes.float32, True),), body))
