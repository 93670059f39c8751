"""The verifiers: each broken invariant is found, and the text shows the place."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import staticgraph.ops  # noqa: F401
from staticgraph.errors import VerificationError
from staticgraph.ir import dtypes
from staticgraph.ir.build import constant
from staticgraph.ir.dims import Symbol, floordiv, symbol
from staticgraph.ir.function import Function, Node, Value
from staticgraph.ir.graph import Graph
from staticgraph.ir.kernel import Kernel, Let, Pointer, Store, Temp
from staticgraph.ir.op import Guard, lookup
from staticgraph.ir.parse import parse_function, parse_kernel
from staticgraph.ir.scalar import Index, Lit, Prim, Size
from staticgraph.ir.types import TensorType
from staticgraph.ir.verify import Equalities, verify, verify_function, verify_graph, verify_kernel

F32, I64 = dtypes.float32, dtypes.int64

GOOD = """\
function f(%x: f32[n0, 3] feed, %w: f32[3] variable, %y: f32[n1, 3] feed) {
  sizes n0 = size(%x, 0)
  sizes n1 = size(%y, 0)
  guard n0 == n1 "sizes differ"
  %a: f32[n0, 3] = Add %x, %w
  %b: f32[n0, 3] = Mul %a, %y
  %s: f32[3] = Sum %b {reduction_indices=(0,), keep_dims=False}
  %r: f32[3*n0] = Reshape %b {shape=(3*n0,)}
  return %r; state w <- %s
}"""


def test_a_good_function_passes() -> None:
    verify(parse_function(GOOD))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "%a: f32[n0, 3]",
            "%a: f32[n0, 4]",
            r"Add: %a is f32\[n0, 4\], inference gives f32\[n0, 3\]",
        ),
        ("%a: f32[n0, 3]", "%a: f64[n0, 3]", r"Add: %a is f64\[n0, 3\], inference gives f32"),
        ("%s: f32[3]", "%s: f32[*]", r"Sum: %s is f32\[\*\]"),
        ("%x: f32[n0, 3]", "%x: f32[n0, 4]", "Add: shapes .* do not broadcast"),
        ('  guard n0 == n1 "sizes differ"\n', "", "Mul: nothing guards that n0 == n1"),
        ("  sizes n1 = size(%y, 0)\n", "", "nothing says what the size n1 is"),
        ("size(%y, 0)", "size(%y, 2)", "the size n1 is axis 2 of %y"),
        ("size(%y, 0)", "element(%y, 0)", "the size n1 is element 0 of %y"),
        ("size(%x, 0)", "size(%r, 0)", "Add: the size n0 is needed before it is known"),
        ("%y: f32[n1, 3] feed", "%y: i32[n1, 3] feed", "Mul: dtypes differ"),
        ("state w <- %s", "state w <- %i", "'w' is float32 and is given a int64"),
        ("guard n0 == n1", "guard n0 == n7", "nothing says what the size n7 is"),
    ],
)
def test_broken_functions_are_refused(old: str, new: str, message: str) -> None:
    text = GOOD.replace(
        "  return", "  %i: i64[] = Const {value=dense<i64[]: 1>, dtype=i64}\n  return"
    )
    assert old in text
    f = parse_function(text.replace(old, new, 1))
    with pytest.raises(VerificationError, match=message):
        verify_function(f)


def test_the_error_shows_the_lines_around_the_fault() -> None:
    f = parse_function(GOOD.replace("%b: f32[n0, 3]", "%b: f32[n0, 4]"))
    with pytest.raises(VerificationError) as e:
        verify_function(f)
    lines = str(e.value).split("\n")
    assert lines[0].startswith("f: Mul: %b is f32[n0, 4]")
    assert "  >   %b: f32[n0, 4] = Mul %a, %y" in lines
    assert "      %a: f32[n0, 3] = Add %x, %w" in lines


def changed(f: Function, at: int, **fields: object) -> Function:
    nodes = list(f.nodes)
    nodes[at] = dataclasses.replace(nodes[at], **fields)  # type: ignore[arg-type]
    return dataclasses.replace(f, nodes=tuple(nodes))


def test_values_are_defined_once_and_before_use() -> None:
    f = parse_function(GOOD)
    a, b, s, r = f.nodes
    swapped = dataclasses.replace(f, nodes=(b, a, s, r))
    with pytest.raises(VerificationError, match="%a is used before it is defined"):
        verify_function(swapped)
    with pytest.raises(VerificationError, match=r"%lost.undefined is used but nothing defines it"):
        verify_function(changed(f, 1, inputs=(a.output, Value(a.output.type, "lost"))))
    with pytest.raises(VerificationError, match="%a is defined twice"):
        verify_function(dataclasses.replace(f, nodes=(a, a, b, s, r)))
    with pytest.raises(
        VerificationError, match=r"a result is %lost.undefined, which nothing defines"
    ):
        verify_function(dataclasses.replace(f, results=(Value(a.output.type, "lost"),)))
    with pytest.raises(VerificationError, match="the update of 'w' is"):
        verify_function(dataclasses.replace(f, updates={"w": Value(s.output.type, "lost")}))


def test_operands_and_attributes_are_the_ops() -> None:
    f = parse_function(GOOD)
    with pytest.raises(VerificationError, match="Add takes 2 operands, 1 are given"):
        verify_function(changed(f, 0, inputs=f.nodes[0].inputs[:1]))
    with pytest.raises(VerificationError, match="Sum: the attribute 'keep_dims' is missing"):
        verify_function(changed(f, 2, attrs={"reduction_indices": (0,)}))
    with pytest.raises(VerificationError, match="Add: no attribute 'odd'"):
        verify_function(changed(f, 0, attrs={"odd": 1}))
    with pytest.raises(VerificationError, match=r"the size q is needed|what the size q is"):
        verify_function(changed(f, 3, attrs={"shape": (symbol("q"),)}))


def test_functions_in_attributes_are_verified() -> None:
    f = parse_function(GOOD)
    bad = parse_function("function g(%x: f32[2] feed) { %y: f32[3] = Neg %x return %y }")
    with pytest.raises(VerificationError, match="g: Neg: %y"):
        verify_function(changed(f, 0, attrs={"_body": bad}))


def test_equalities_follow_chains_of_guards() -> None:
    a, b, c, d = map(symbol, "abcd")
    e = Equalities([Guard("==", x, y, "") for x, y in ((a, b), (c, b), (c, 7), (2 * d, a + 1))])
    assert e.equal(a, 7)
    assert e.equal(2 * a + b, 21)
    assert e.equal(2 * d, 8)
    assert not e.equal(a, 8)
    assert not e.equal(a, d)
    assert not Equalities([Guard("<=", a, b, "")]).equal(a, b)
    assert Equalities([Guard("==", a, floordiv(a + 1, 2), "")]).equal(a, floordiv(a + 1, 2))
    assert Symbol("a") == Symbol("a")


def test_a_long_function_is_verified_without_recursion() -> None:
    x = Value(TensorType(F32, (2,)), "x")
    f = parse_function("function f(%x: f32[2] feed) { return %x }")
    v, nodes = f.params[0].value, []
    for _ in range(5000):
        nodes.append(Node(lookup("Neg"), (v,), {}, (Value(x.type),)))
        v = nodes[-1].output
    verify_function(dataclasses.replace(f, nodes=tuple(nodes), results=(v,)))


# ---------------------------------------------------------------- graphs
def small_graph() -> Graph:
    g = Graph()
    with g.as_default():
        x = constant([1.0, 2.0])
        lookup("Mul")(x, 2.0)
    return g


def test_a_good_graph_passes_also_after_set_shape() -> None:
    g = small_graph()
    with g.as_default():
        p = lookup("Placeholder")(dtype=F32, shape=None)
        lookup("Neg")(p)
        p.set_shape([3])
    verify(g)


def test_broken_graphs_are_refused() -> None:
    g = small_graph()
    g.get_operations()[2].outputs[0].type = TensorType(F32, (3,))
    with pytest.raises(
        VerificationError, match=r"Mul: Mul:0 is f32\[3\], inference gives f32\[2\]"
    ) as e:
        verify_graph(g)
    assert "> %Mul: f32[3] = Mul %Const, %Mul/y" in str(e.value)

    g = small_graph()
    g._ops[1], g._ops[2] = g._ops[2], g._ops[1]
    with pytest.raises(VerificationError, match="not at its place"):
        verify_graph(g)
    for i, op in enumerate(g._ops):
        op.id = i
    with pytest.raises(VerificationError, match="'Mul/y' is needed before it exists"):
        verify_graph(g)

    g = small_graph()
    g._ops[1].name = "Const"
    with pytest.raises(VerificationError, match="the name is taken"):
        verify_graph(g)

    g = small_graph()
    g._ops[0].attrs["odd"] = 1
    with pytest.raises(VerificationError, match="Const: no attribute 'odd'"):
        verify_graph(g)


# ---------------------------------------------------------------- kernels
KERNEL = """\
kernel row(a0: f32*, a1: mut f32*, s2: size 1) parallel p {
  var acc: f32 = sum()
  for r in 0:i64 .. s2 {
    t: f32 = a0[add(mul(p, s2), r)]
    acc sum= t
  }
  var best: f32 = argmin()
  for r in 0:i64 .. s2 {
    best argmin= a0[r] at r
  }
  flag: bool = lt(best, s2)
  a1[p] = select(flag, acc, 0.0:f32)
}"""


def test_a_good_kernel_passes() -> None:
    verify(parse_kernel(KERNEL))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("a1: mut f32*", "a1: f32*", "a1 is stored to but not marked as written"),
        ("acc sum= t", "acc max= t", "acc is no accumulator of max"),
        ("acc sum= t", "best sum= t", "best is not defined"),
        (
            "flag: bool = lt(best, s2)",
            "flag: bool = lt(acc, acc)\n  acc: f32 = acc",
            "'acc' is defined twice",
        ),
        (
            "var acc: f32 = sum()",
            "var lo: f32 = sum()\n  var acc: f32 = sum()",
            "lo is a reserved name",
        ),
        (
            "var acc: f32 = sum()",
            "var all1: f32 = all()\n  var acc: f32 = sum()",
            "all accumulates bool",
        ),
        ("best argmin= a0[r] at r", "best argmin= a0[r] at 0.0:f32", "a position must be int64"),
        ("best argmin= a0[r] at r", "best argmin= a0[r]", "argmin needs a position"),
        ("acc sum= t", "acc sum= t at r", "sum has no position"),
        ("a0[r]", "a0[r, r]", "a load has one int64 index"),
        ("for r in 0:i64", "for r in 0:i32", "the start of a loop must be int64"),
        ("select(flag, acc", "select(best, acc", "the condition is int64"),
        ("0.0:f32)", "0.0:f64)", "operands of dtypes float32, float64"),
        ("0.0:f32)", "True:f32)", "True is no literal of float32"),
        ("lt(best, s2)", "lt(best, 1:i32)", "operands of dtypes int64, int32"),
        ("lt(best, s2)", "and(best, s2)", "and takes bool, not int64"),
        ("a1[p] = select(flag, acc, 0.0:f32)", "a1[p] = best", "what goes into a1 must be float32"),
    ],
)
def test_broken_kernels_are_refused(old: str, new: str, message: str) -> None:
    assert old in KERNEL
    from staticgraph.errors import ParseError

    with pytest.raises((VerificationError, ParseError), match=message):
        verify_kernel(parse_kernel(KERNEL.replace(old, new, 1)))


def test_the_error_shows_the_statement() -> None:
    k = parse_kernel(KERNEL.replace("acc sum= t", "acc max= t"))
    with pytest.raises(VerificationError) as e:
        verify_kernel(k)
    assert "\n  >     acc max= t\n" in str(e.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ((Let("t", Temp("q", F32)),), "q is not defined here"),
        ((Let("t", Temp("p", F32)),), "p is int64 but is read as float32"),
        ((Let("t", Index("p")),), "a Index cannot stand in a kernel"),
        ((Let("t", Size(symbol("n"))),), "a Size cannot stand in a kernel"),
        ((Store(1, Temp("p", I64), Lit(0.0, F32)),), "a1 is not a pointer parameter"),
        ((Let("t", Prim("neg", (Lit(1.0, F32),), I64)),), "is marked int64, it is float32"),
        ((Let("t", Prim("nope", (), I64)),), "there is no primitive 'nope'"),
        ((Let("t", Lit(1, F32)), Let("t", Lit(1, F32))), "t is defined twice"),
        ((Let("t", Lit(300, dtypes.uint8)),), "300 is no literal of uint8"),
    ],
)
def test_kernels_built_by_hand_are_checked(body: tuple[object, ...], message: str) -> None:
    k = Kernel("flat", (Pointer(F32, True),), body)  # type: ignore[arg-type]
    with pytest.raises(VerificationError, match=message):
        verify_kernel(k)


def test_only_ir_is_verified() -> None:
    with pytest.raises(TypeError, match="no verifier for ndarray"):
        verify(np.zeros(1))  # type: ignore[arg-type]
