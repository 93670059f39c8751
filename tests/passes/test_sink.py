"""Streamed stores that leave loops with sums."""

from __future__ import annotations

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.codegen import native
from staticgraph.codegen.llvm import kernel_ir
from staticgraph.ir.kept import kept_rows
from staticgraph.ir.kernel import Kernel, Pointer
from staticgraph.ir.parse_kernel import parse_kernel
from staticgraph.ir.program import Launch
from staticgraph.ir.verify_kernel import verify_kernel
from staticgraph.passes.sink import sink
from staticgraph.runtime.compile import function_stages
from tests.codegen.kernels import arguments, call

NORM = """\
kernel row(a0: stream mut f32*, a1: f32*, a2: stream mut f32*, a3: f32*) parallel p {
  m: f32 = a3[p]
  var s: f32 = sum()
  for r in 0:i64 .. 300:i64 {
    x: f32 = a1[add(mul(p, 300:i64), r)]
    y: f32 = mul(x, m)
    z: f32 = mul(x, x)
    a0[add(mul(p, 300:i64), r)] = add(y, 1.0:f32)
    s sum= z
  }
  t: f32 = div(s, 300.0:f32)
  for c in 0:i64 .. 300:i64 {
    u: f32 = a1[add(mul(p, 300:i64), c)]
    a2[add(mul(p, 300:i64), c)] = sub(u, t)
  }
}"""


def run(k: Kernel) -> list[np.ndarray]:
    native_code = native.compile_ir(kernel_ir(k), symbol := f"sink_test_{abs(hash(str(k)))}")
    x = np.random.default_rng(0).normal(size=(4, 300)).astype("f4")
    out = [np.zeros((4, 300), "f4"), x, np.zeros((4, 300), "f4"), np.arange(4, dtype="f4")]
    assert call(native.load_object(native_code, symbol), arguments(*out), 0, 4) == 0
    return out


def test_a_store_moves_with_what_it_needs() -> None:
    k = parse_kernel(NORM)
    moved = sink(k, {0, 2})
    verify_kernel(moved)
    first, second = str(moved).split("t: f32")
    assert "a0[" not in first and "y: f32" not in first and "z: f32" in first
    assert "a0[add(mul(p, 300:i64), c)] = add(w1, 1.0:f32)" in second
    assert second.count("= a1[") == 1  # the loop has the element already
    for a, b in zip(run(k), run(moved), strict=True):
        np.testing.assert_array_equal(a, b)
    assert sink(moved, {0, 2}) is moved


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("y: f32 = mul(x, m)", "y: f32 = exp(x)"),  # dear
        ("y: f32 = mul(x, m)", "y: f32 = mul(x, s)"),  # what has been added up so far
        ("y: f32 = mul(x, m)", "y: f32 = a2[r]"),  # which the kernel writes
        ("for c in 0:i64 .. 300:i64", "for c in 1:i64 .. 300:i64"),
        ("    u: f32", "    s sum= 1.0:f32\n    u: f32"),
        ("    u: f32", "    a0[c] = 1.0:f32\n    u: f32"),  # which would come first
        ("y: f32 = mul(x, m)", "i: i64 = check_index(r, 300:i64)\ny: f32 = a3[i]"),
    ],
)
def test_a_store_stays(before: str, after: str) -> None:
    assert NORM.count(before) == 1
    k = parse_kernel(NORM.replace(before, after))
    verify_kernel(k)
    assert sink(k, {0, 2}) is k


def test_a_store_stays_in_front_of_what_reads_it() -> None:
    text = NORM.replace("= sub(u, t)", "= a0[add(mul(p, 300:i64), c)]")
    text = (
        text[:-1]
        + """\
  for d in 0:i64 .. 300:i64 {
    a0[add(mul(p, 300:i64), d)] = 2.0:f32
  }
}"""
    )
    k = parse_kernel(text)
    verify_kernel(k)
    assert 0 in kept_rows(k) and sink(k, {0, 2}) is k


def test_only_what_is_streamed_moves() -> None:
    k = parse_kernel(NORM)
    assert sink(k, {2}) is k


def test_layer_normalisation_stores_both_results_in_its_last_pass() -> None:
    x, dy = (tf.placeholder(tf.float32, [4096, 768]) for _ in range(2))
    scale, shift = (tf.placeholder(tf.float32, [768]) for _ in range(2))
    mean, variance = tf.nn.moments(x, [1], keep_dims=True)
    y = tf.nn.batch_normalization(x, mean, variance, shift, scale, 1e-5)
    fetches = [y, *tf.gradients(y, [x, scale, shift], grad_ys=dy)]
    program = function_stages(tf.get_default_graph(), fetches).program
    assert program is not None
    kernel = next(s.kernel for s in program.steps if isinstance(s, Launch))
    marked = [k for k, p in enumerate(kernel.params) if isinstance(p, Pointer) and p.streamed]
    assert len(marked) == 2
    text = str(kernel)
    last = text[text.rindex("for r in") :]
    assert all(f"a{k}[" in last and f"a{k}[" not in text[: -len(last)] for k in marked)
    assert "sum=" not in last
