"""Decompose, fold, share and prune: text in, text out, and the same numbers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from staticgraph.errors import VerificationError
from staticgraph.ir.evaluate import evaluate
from staticgraph.ir.op import Op, Sample, lookup, registered
from staticgraph.ir.verify import verify_function
from staticgraph.passes.cleanup import FOLD_LIMIT, Decompose, Fold, Prune, Share
from staticgraph.passes.simplify import Simplify
from tests.ops.harness import flat_args, sample_function
from tests.passes.programs import assert_same_results, body_of, function

PASSES = (Decompose(), Fold(), Simplify(), Share(), Prune())


def test_decompose_replaces_composite_ops_by_lowered_ones() -> None:
    f = function("""%x: f32[n, 3] feed, %w: f32[3] feed | sizes n = size(%x, 0)
      %s: f32[3] = SumToShapeOf %x, %w
      return %s""")
    g = Decompose()(f)
    assert all(n.op.decompose is None for n in g.nodes)
    assert [n.op.name for n in g.nodes] == ["Sum", "Reshape"]
    assert_same_results(f, g, 1e-6)


def test_decompose_names_what_does_not_end() -> None:
    f = function("%x: f32[2] feed | %y: f32[2] = ZerosLike %x\nreturn %y")
    forever = object.__new__(Op)  # a record outside the registry
    forever.__dict__.update(lookup("ZerosLike").__dict__)
    forever.__dict__.update(name="Forever", decompose=lambda x: forever(x))
    f = dataclasses.replace(f, nodes=(dataclasses.replace(f.nodes[0], op=forever),))
    with pytest.raises(VerificationError, match="decompositions do not end: Forever"):
        Decompose()(f)


def test_fold_evaluates_what_depends_on_constants_alone() -> None:
    f = function("""%x: f32[2] feed |
      %a: f32[2] = Const {value=dense<f32[2]: [1.5, -0.0]>, dtype=f32}
      %b: f32[2] = Const {value=dense<f32[2]: [2.0, 3.0]>, dtype=f32}
      %c: f32[2] = Mul %a, %b
      %d: f32[2] = Neg %c
      %e: f32[2] = Add %x, %d
      return %e""")
    g = Prune()(Fold()(f))
    assert body_of(g) == [
        "%d: f32[2] = Const {value=dense<f32[2]: [-3.0, 0.0]>, dtype=f32}",
        "%e: f32[2] = Add %x, %d",
        "return %e",
    ]
    assert_same_results(f, g)


def test_fold_leaves_large_results_and_sizes_alone() -> None:
    n = FOLD_LIMIT + 1
    for text in (
        f"| %c: f32[] = Const {{value=dense<f32[]: 1.0>, dtype=f32}}\n"
        f"%y: f32[{n}] = Fill %c {{dims=({n},)}}\nreturn %y",
        "%x: f32[n] feed | sizes n = size(%x, 0)\n"
        "%c: f32[] = Const {value=dense<f32[]: 1.0>, dtype=f32}\n"
        "%y: f32[n] = Fill %c {dims=(n,)}\nreturn %y",
    ):
        f = function(text)
        assert body_of(Fold()(f)) == body_of(f)


def test_fold_keeps_division_by_zero_as_it_is() -> None:
    f = function("""|
      %a: f32[3] = Const {value=dense<f32[3]: [1.0, -1.0, 0.0]>, dtype=f32}
      %b: f32[3] = Const {value=dense<f32[3]: [0.0, 0.0, 0.0]>, dtype=f32}
      %c: f32[3] = RealDiv %a, %b
      return %c""")
    g = Prune()(Fold()(f))
    assert "inf, -inf, nan" in str(g)
    assert_same_results(f, g)


def test_share_merges_equal_computations_and_only_those() -> None:
    f = function("""%x: f32[n, n] feed | sizes n = size(%x, 0)
      %a: f32[n, n] = MatMul %x, %x {transpose_a=True, transpose_b=False}
      %b: f32[n, n] = MatMul %x, %x {transpose_a=True, transpose_b=False}
      %c: f32[n, n] = MatMul %x, %x {transpose_a=False, transpose_b=True}
      %d: f32[n, n] = Neg %a
      %e: f32[n, n] = Neg %b
      return %d, %e, %c""")
    assert body_of(Share()(f))[1:] == [
        "%a: f32[n, n] = MatMul %x, %x {transpose_a=True, transpose_b=False}",
        "%c: f32[n, n] = MatMul %x, %x {transpose_a=False, transpose_b=True}",
        "%d: f32[n, n] = Neg %a",
        "return %d, %d, %c",
    ]
    assert_same_results(f, Share()(f))


def test_share_tells_signed_zeros_and_types_apart() -> None:
    f = function("""|
      %a: f32[] = Const {value=dense<f32[]: 0.0>, dtype=f32}
      %b: f32[] = Const {value=dense<f32[]: -0.0>, dtype=f32}
      %c: f32[] = Const {value=dense<f32[]: 0.0>, dtype=f32}
      %d: f64[] = Const {value=dense<f64[]: 0.0>, dtype=f64}
      return %a, %b, %c, %d""")
    assert body_of(Share()(f))[-1] == "return %a, %b, %a, %d"
    assert len(Share()(f).nodes) == 3


def test_share_keeps_float_attributes_with_different_bits_apart() -> None:
    f = function("""%x: f32[3] feed |
      %a: f32[3] = LeakyRelu %x {alpha=0.0}
      %b: f32[3] = LeakyRelu %x {alpha=-0.0}
      return %a, %b""")
    assert_same_results(f, Share()(f))


def test_prune_drops_what_nothing_needs() -> None:
    f = function("""%x: f32[n] feed, %y: f32[m] feed | sizes n = size(%x, 0)
      sizes m = size(%y, 0)
      guard n == m "sizes {a} and {b} differ" for Add
      %a: f32[n] = Add %x, %y
      %b: f32[n] = Neg %x
      return %b""")
    g = Prune()(f)
    assert [n.op.name for n in g.nodes] == ["Neg"]
    assert_same_results(f, g)


def test_prune_keeps_effects_and_what_sizes_are_read_of() -> None:
    f = function("""%x: f32[n] feed, %k: i32[2] feed | sizes n = size(%x, 0)
      sizes s = element(%t, 0)
      %t: i32[2] = Neg %k
      %z: f32[] = Const {value=dense<f32[]: 1.0>, dtype=f32}
      %y: f32[s] = Fill %z {dims=(s,)}
      return %y""")
    g = Prune()(f)
    assert [n.op.name for n in g.nodes] == ["Neg", "Const", "Fill"]
    assert "sizes s = element(%t, 0)" in body_of(g)


CASES = [
    pytest.param(op, s, id=f"{op.name}-{i}")
    for op in registered()
    for i, s in enumerate(op.samples)
    if op.numpy is not None
]


@pytest.mark.parametrize(("op", "sample"), CASES)
def test_passes_keep_what_every_op_computes(op: Op, sample: Sample) -> None:
    f = sample_function(op, sample)
    args = flat_args(op, sample)
    want, _ = evaluate(f, args)
    for p in PASSES:
        f = p(f)
        verify_function(f)
        if any(n.op.numpy is None for n in f.nodes):
            return
        have, _ = evaluate(f, args)
        for a, b in zip(want, have, strict=True):
            assert (a.dtype, a.shape) == (b.dtype, b.shape), p.name
            if a.dtype.kind in "fc":
                scale = max(1.0, float(np.max(np.abs(a[np.isfinite(a)]), initial=0)))
                tolerance = 1e-5 if a.dtype.itemsize != 2 else 1e-2
                np.testing.assert_allclose(
                    b, a, rtol=tolerance, atol=tolerance * scale, err_msg=p.name
                )
            else:
                np.testing.assert_array_equal(b, a, err_msg=p.name)


def test_share_gives_one_name_to_the_sizes_of_one_value() -> None:
    f = function("""%x: f32[n, 3] feed, %m: bool[n] feed, %y: f32[k] feed
        | sizes n = size(%x, 0), k = size(%y, 0), a = size(%i, 0), b = size(%j, 0)
      guard b == k "{a} and {b}" for Add
      %i: i64[a, 1] = Where %m
      %j: i64[b, 1] = Where %m
      %p: f32[a, 3] = GatherNd %x, %i {batch_dims=0}
      %q: f32[b, 3] = GatherNd %x, %j {batch_dims=0}
      %s: f32[b] = Sum %q {reduction_indices=1, keep_dims=False}
      %t: f32[k] = Add %s, %y
      %u: f32[b, 3] = Neg %q
      return %p, %u, %t""")
    g = Share()(f)
    verify_function(g)
    assert [n.op.name for n in g.nodes] == ["Where", "GatherNd", "Sum", "Add", "Neg"]
    assert [str(s.guard) for s in g.guards] == ["a == k"]
    assert "b" not in {s.name for s in g.sizes}
