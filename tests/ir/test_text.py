"""The text form: parse(print(x)) is x, at every level; errors point at the place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import staticgraph.ops  # noqa: F401
from staticgraph.errors import ParseError
from staticgraph.ir import dtypes
from staticgraph.ir.build import convert
from staticgraph.ir.compare import difference, same_attribute, same_function
from staticgraph.ir.dims import Dim, floordiv, maximum, minimum, mod, symbol
from staticgraph.ir.function import Builder, Function, Node, SizeOf, Value
from staticgraph.ir.graph import Graph
from staticgraph.ir.kernel import (
    Accumulate,
    AccumulateArg,
    Init,
    Kernel,
    Let,
    Loop,
    Pointer,
    SizeParam,
    Store,
    Temp,
)
from staticgraph.ir.op import lookup
from staticgraph.ir.parse import parse_function, parse_graph, parse_kernel
from staticgraph.ir.parse_values import ValueReader
from staticgraph.ir.scalar import Lit, Load, Prim, prim
from staticgraph.ir.text import attribute_text, print_graph, type_text
from staticgraph.ir.types import ConstantArray, TensorType
from staticgraph.ir.verify import verify_function, verify_graph

TRAIN = """\
function train(%x: f32[n0, 784] feed "x:0", %w: f32[784, 10] variable, %y: f32[n1, 10] feed) {
  sizes n0 = size(%x, 0)
  sizes n1 = size(%y, 0)
  guard n0 == n1 "sizes {a} and {b} differ" for Sub
  %z: f32[n0, 10] = MatMul %x, %w {transpose_a=False, transpose_b=False}
  %gradients/sub-1: f32[n0, 10] = Sub %z, %y
  %c: f32[] = Const {value=dense<f32[]: 1.0>, dtype=f32}
  %w_1: f32[784, 10] = Add %w, %c
  return %gradients/sub-1, %c; state w <- %w_1
}"""


def read(text: str) -> object:
    reader = ValueReader(text)
    value = reader.attribute()
    reader.take("end", "the end of the text")
    return value


# ---------------------------------------------------------------- functions
def test_a_function_prints_as_it_was_written() -> None:
    f = parse_function(TRAIN)
    assert str(f) == TRAIN
    assert difference(f, parse_function(str(f))) is None
    verify_function(f)


def test_names_are_unique_and_made_of_the_allowed_characters() -> None:
    b = Builder("f")
    x = b.param("feed", "x", TensorType(dtypes.float32, ()))
    with b:
        a = lookup("Neg")(x, name="odd name!")
        c = lookup("Neg")(a, name="x")
        d = lookup("Neg")(c, name="x_1")
        e = lookup("Neg")(d)
    text = str(b.finish([e]))
    assert [w for w in text.split() if w.startswith("%")] == [
        "%odd_name_:", "%x", "%x_1:", "%odd_name_", "%x_1_1:", "%x_1", "%neg:", "%x_1_1", "%neg",
    ]  # fmt: skip
    assert str(parse_function(text)) == text


def test_source_lines_can_be_shown_and_are_comments() -> None:
    b = Builder("f")
    x = b.param("feed", "x", TensorType(dtypes.float32, ()))
    from staticgraph.ir.loc import Loc
    from staticgraph.ir.text import print_function

    b.loc = Loc("/somewhere/model.py", 31, "build")
    with b:
        f = b.finish([lookup("Neg")(x)])
    shown = print_function(f, locs=True)
    assert "# model.py:31" in shown
    assert same_function(f, parse_function(shown))


def test_sizes_that_host_ops_give_refer_forward() -> None:
    text = """\
function f(%x: bool[n0] feed) {
  sizes n0 = size(%x, 0)
  sizes m0 = size(%w, 0)
  %w: i64[m0, 1] = Where %x
  return %w
}"""
    f = parse_function(text)
    assert str(f) == text
    verify_function(f)


def test_functions_nest_in_attributes() -> None:
    b = Builder("outer")
    x = b.param("feed", "x", TensorType(dtypes.float32, ()))
    inner = parse_function("function inner(%x: i32[] feed) { %y: i32[] = Neg %x return %y }")
    node = Node(lookup("Neg"), (x,), {"_body": (inner, inner), "_k": 1}, (Value(x.type, "y"),))
    b.nodes.append(node)
    f = b.finish([node.output])
    again = parse_function(str(f))
    assert str(again) == str(f)
    assert same_function(f, again)
    assert str(f).split("\n")[1:4] == [
        "  %y: f32[] = Neg %x {_body=(function inner(%x: i32[] feed) {",
        "    %y: i32[] = Neg %x",
        "    return %y",
    ]
    other = parse_function(str(f).replace("i32[] = Neg", "i32[] = Abs"))
    assert "_body" in str(difference(f, other))


def test_a_python_object_is_shown_and_refused() -> None:
    assert attribute_text(len) == "<python len>"
    with pytest.raises(ParseError, match="Python object has no text form"):
        read("<python len>")


def test_a_long_function_is_printed_and_parsed_without_recursion() -> None:
    b = Builder("chain")
    v = b.param("feed", "x", TensorType(dtypes.float32, (2,)))
    with b:
        for _ in range(5000):
            v = lookup("Neg")(v)
    f = b.finish([v])
    assert same_function(f, parse_function(str(f)))


# ---------------------------------------------------------------- equality
def test_equality_ignores_names_and_sees_everything_else() -> None:
    f = parse_function(TRAIN)
    renamed = TRAIN.replace("%z", "%other").replace('"x:0"', '"fed"').replace("train", "g")
    assert same_function(f, parse_function(renamed))
    for old, new, what in (
        ("transpose_b=False", "transpose_b=True", "transpose_b"),
        ("Sub %z", "Add %z", "Add"),
        ("Sub %z, %y", "Sub %y, %z", "inputs"),
        ("state w <- %w_1", "state w <- %w", "updates"),
        ("return %gradients/sub-1, %c", "return %c, %gradients/sub-1", "results"),
        ("n1 = size(%y, 0)", "n1 = size(%y, 1)", "sizes"),
        ("guard n0 == n1", "guard n1 == n0", "guards"),
        (": 1.0>", ": 2.0>", "value"),
        ("%z: f32[n0, 10]", "%z: f32[n1, 10]", "types"),
        ("%y: f32[n1, 10] feed", "%y: f32[n1, 10] variable", "parameter 2"),
    ):
        assert old in TRAIN
        assert what in str(difference(f, parse_function(TRAIN.replace(old, new)))), old


def test_equal_attributes_have_the_same_type_and_bits() -> None:
    assert same_attribute((1, -0.0, float("nan")), (1, -0.0, float("nan")))
    assert not same_attribute(0.0, -0.0)
    assert not same_attribute(1, True)
    assert not same_attribute((1,), [1])


# ---------------------------------------------------------------- attributes
N = symbol("n")
ATTRIBUTES = [
    0, -3, 2**70, True, False, None, 1.0, -0.0, 1e-300, 0.1, float("inf"), float("-inf"),
    float("nan"), "", 'a "quoted"\n\u00e9 # no comment', b"\x00\xff", (), (1,), (1, (2, "x"), None),
    [1, 2], dtypes.float32, dtypes.bool_, dtypes.ref(dtypes.float64),
    TensorType(dtypes.int32, (2, N)),
    TensorType(dtypes.string, None), N, 2 * N + 1, N * N - 3,
    floordiv(N + 1, 2), mod(N, 3) * symbol("a.1"),
    maximum(N, symbol("m")), minimum(N - 1, 4), (N, -1 * N),
]  # fmt: skip


@pytest.mark.parametrize("value", ATTRIBUTES, ids=str)
def test_attributes_round_trip(value: object) -> None:
    assert same_attribute(read(attribute_text(value)), value)


def numbers(dtype: dtypes.DType) -> np.ndarray:
    """Every kind of bit pattern: special values and random ones."""
    rng = np.random.default_rng(0)
    if dtype is dtypes.string:
        return np.array(["a", "\u00e9\n", b"\xff", ""], dtype=object)
    if dtype.is_bool:
        return np.array([True, False])
    raw = rng.integers(0, 256, 40 * dtype.size, dtype=np.uint8).view(dtype.np)
    if dtype.is_floating:
        tiny = [0.1, -0.0, 0.0, np.inf, -np.inf, np.nan, 1e-7, 65504, 3]
        raw = np.concatenate([raw, np.array(tiny, np.float64).astype(dtype.np)])
    return raw


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("count", [0, 1, 9, 200])
def test_constants_round_trip_to_the_bit(dtype: dtypes.DType, count: int) -> None:
    have = numbers(dtype)
    a = ConstantArray(np.resize(have[-9:], count) if count != 9 else np.resize(have, (3, 3)))
    for array in (a, ConstantArray(np.resize(have, 60)), ConstantArray(np.resize(have, (2, 3, 2)))):
        back = read(attribute_text(array))
        assert isinstance(back, ConstantArray)
        assert back == array, attribute_text(array)
    scalar = ConstantArray(np.resize(have, 1).reshape(()))
    assert read(attribute_text(scalar)) == scalar
    empty = ConstantArray(np.zeros((2, 0, 3), dtype.np))
    assert read(attribute_text(empty)) == empty


def test_constants_read_well() -> None:
    assert attribute_text(ConstantArray(np.float32([[0.1, 1], [2, -3]]))) == (
        "dense<f32[2, 2]: [[0.1, 1.0], [2.0, -3.0]]>"
    )
    large = attribute_text(ConstantArray(np.zeros((100, 10), np.float32)))
    assert large.startswith('dense<f32[100, 10]: zlib "')
    assert len(large) < 80


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dense<f32[2]: [1.0]>", "1 elements for a constant of 2"),
        ("dense<f32[2]: 1.0, 2.0>", "inside 0 brackets of a constant of rank 1"),
        ("dense<u8[]: 256>", "256 does not fit uint8"),
        ("dense<f32[n]: []>", "sizes of a constant are numbers"),
        ('dense<f32[2]: zlib "AAAA">', "do not make"),
        ("power(n, 2)", "no function of sizes"),
        ("floordiv(3, 0)", "division by zero"),
        ("(1, 2", r"expected '\)'"),
        ('"open', "no token starts with"),
        ("f33[2]", "expected the end of the text"),
        ("{", "expected the value of an attribute"),
    ],
)
def test_wrong_attributes_are_refused(text: str, message: str) -> None:
    with pytest.raises(ParseError, match=message):
        read(text)


SYMBOLS = [symbol(n) for n in ("n0", "m", "d.1")]


def dims() -> st.SearchStrategy[Dim]:
    leaf = st.one_of(st.integers(-9, 9), st.sampled_from(SYMBOLS))
    pair = lambda t: st.tuples(t, t)  # noqa: E731
    return st.recursive(
        leaf,
        lambda t: st.one_of(
            pair(t).map(lambda p: p[0] + p[1]), pair(t).map(lambda p: p[0] * p[1]),
            pair(t).map(lambda p: maximum(*p)), pair(t).map(lambda p: minimum(*p)),
            st.tuples(t, st.integers(1, 9)).map(lambda p: floordiv(*p)),
            st.tuples(t, st.integers(1, 9)).map(lambda p: mod(*p)),
        ),
        max_leaves=6,
    )  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(dims())
def test_sizes_round_trip(d: Dim) -> None:
    assert ValueReader(str(d)).dim() == d


def test_sizes_may_be_written_as_people_do() -> None:
    n = SYMBOLS[0]
    for text, value in (
        ("n0 - 1", n - 1),
        ("n0 -1", n - 1),
        ("2*(n0 + 1)", 2 * n + 2),
        ("-n0", -n),
    ):
        assert ValueReader(text).dim() == value


def test_types_print_with_reference_marks() -> None:
    assert type_text(TensorType(dtypes.ref(dtypes.float32), (N, 2))) == "f32_ref[n, 2]"
    assert ValueReader("f32[*]").type() == TensorType(dtypes.float32, None)


# ---------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("old", "new", "message", "marked"),
    [
        ("%z: f32", "%z: f33", "line 5, column 7: 'f33' is not an element type", "f33"),
        ("Sub %z", "Sub %q", "line 6, column 39: %q is not defined", "%q"),
        ("Sub %z", "Sbu %z", "line 6, column 35: there is no op 'Sbu'", "Sbu"),
        ("%w_1: f32", "%z: f32", "line 8, column 3: %z is defined twice", "%z"),
        ("Sub %z, %y", "Sub %z", "Sub takes 2 operands, 1 are given", "Sub"),
        ("transpose_a=", "transpose_c=", "MatMul has no attribute 'transpose_c'", "transpose_c"),
        ("value=dense<f32[]: 1.0>, ", "", "Const: the attribute 'value' is missing", "Const"),
        ("size(%y", "size(%q", "line 3, column 19: %q is not defined", "%q"),
        (
            "variable,",
            "constant,",
            "expected feed, variable or counter, found 'constant'",
            "constant",
        ),
        ("return", "retrun", "there is no op 'retrun'", "retrun"),
    ],
)
def test_errors_name_line_and_column_and_mark_the_place(
    old: str, new: str, message: str, marked: str
) -> None:
    with pytest.raises(ParseError) as e:
        parse_function(TRAIN.replace(old, new, 1))
    assert message in str(e.value)
    shown, caret = str(e.value).split("\n")[1:3]
    assert shown[caret.index("^") :].startswith(marked)


def test_an_error_at_the_end_says_so() -> None:
    with pytest.raises(ParseError, match="found the end of the text"):
        parse_function("function f(")
    with pytest.raises(ParseError, match="expected the end of the text, found 'more'"):
        parse_function("function f() { return } more")


def test_missing_attributes_take_their_defaults() -> None:
    f = parse_function("""function f(%x: f32[2, 3] feed, %y: f32[3, 2] feed) {
      %z: f32[2, 2] = MatMul %x, %y
      return %z
    }""")
    assert f.nodes[0].attrs == {"transpose_a": False, "transpose_b": False}


# ---------------------------------------------------------------- graphs
def sample_graph() -> Graph:
    g = Graph()
    g.seed = 7
    with g.as_default():
        x = lookup("Placeholder")(dtype=dtypes.float32, shape=(None, 4), name="x")
        w = lookup("VariableV2")(dtype=dtypes.float32, shape=(4, 2), name="w")
        r = lookup("Identity")(w, name="w/read")
        y = lookup("MatMul")(x, r)
        with g.name_scope("sub"), g.control_dependencies([y]), g.device("/gpu:0"):
            lookup("Assign")(w, r * 0.5)
            rows = lookup("Unpack")(r, num=4, axis=0)
            lookup("Reshape")(rows[2] + rows[3] + 1.0, convert([-1], dtypes.int32))
        unknown = lookup("Placeholder")(dtype=dtypes.float32, shape=None)
        unknown.set_shape([None, 3])
        lookup("Neg")(unknown)
    return g


def test_graphs_round_trip() -> None:
    g = sample_graph()
    verify_graph(g)
    text = print_graph(g)
    h = parse_graph(text)
    verify_graph(h)
    assert print_graph(h) == text
    assert h.seed == 7
    assert [o.name for o in h.get_operations()] == [o.name for o in g.get_operations()]
    assert h.get_operation_by_name("sub/add").device == "/gpu:0"
    assert "^MatMul" in text
    assert "%sub/Unpack:2" in text
    with h.as_default():  # the graph goes on growing without clashes of names or sizes
        fresh = lookup("Placeholder")(dtype=dtypes.float32, shape=(None,), name="x")
    assert fresh.op.name == "x_1"
    assert str(fresh.type.dims[0]) not in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("graph {\n  %a = Nope\n}", "line 2, column 8: there is no op 'Nope'"),
        ("graph {\n  %a: f32[] = Neg %b\n}", "there is no operation 'b' before this one"),
        (
            "graph {\n  %a: f32[] = Const {value=dense<f32[]: 1.0>, dtype=f32}\n"
            "  %a: f32[] = Neg %a\n}",
            "the name 'a' is taken",
        ),
        (
            "graph {\n  %a: f32[2] = Const {value=dense<f32[]: 1.0>, dtype=f32}\n}",
            r"Const gives f32\[\], the text has f32\[2\]",
        ),
        (
            "graph {\n  %a: f32[] = Const {value=dense<f32[]: 1.0>, dtype=f32}\n"
            "  %b: f32[] = Neg %a:1\n}",
            "'a' has 1 results",
        ),
        (
            "graph {\n  %a: bool[] = Const {value=dense<bool[]: True>, dtype=bool}\n"
            "  %b: bool[] = Neg %a\n}",
            "line 3, column 16: Neg: does not take bool",
        ),
    ],
)
def test_wrong_graphs_are_refused(text: str, message: str) -> None:
    with pytest.raises(ParseError, match=message):
        parse_graph(text)


# ---------------------------------------------------------------- kernels
def kernel() -> Kernel:
    f32, i64 = dtypes.float32, dtypes.int64
    p, r, n = Temp("p", i64), Temp("r", i64), Temp("s2", i64)
    at = prim("add", prim("mul", p, n), r)
    x = Load(0, (at,), f32)
    special = [Lit(v, f32) for v in (-0.0, float("nan"), float("inf"), float("-inf"), 1e-7)]
    odd_nan = Lit(float(np.uint64(0xFFF8000000000000).view(np.float64)), f32)
    total = special[0]
    for e in (*special, odd_nan):
        total = prim("add", total, e)
    return Kernel(
        "row",
        (Pointer(f32, False), Pointer(f32, True), SizeParam(1), Pointer(i64, True)),
        (
            Init("acc", "sum", f32),
            Init("best", "argmax", f32),
            Let("keep", prim("lt", p, n)),
            Loop("r", Lit(0, i64), n, (
                Let("t", prim("select", Temp("keep", dtypes.bool_), x, total)),
                Accumulate("acc", "sum", Temp("t", f32)),
                AccumulateArg("best", "argmax", x, r),
            )),
            Store(1, p, Temp("acc", f32)),
            Store(3, p, Temp("best", i64)),
            Let("c", Prim("cast", (Temp("best", i64),), f32)),
            Let("i", prim("check_index", p, n)),
        ),
    )  # fmt: skip


def test_kernels_round_trip() -> None:
    k = kernel()
    text = str(k)
    assert parse_kernel(text) == k
    assert str(parse_kernel(text)) == text
    assert "-0.0:f32" in text
    assert "nan(0xfff8000000000000):f32" in text


def test_deep_expressions_are_parsed_without_recursion() -> None:
    deep = "neg(" * 20000 + "1.0:f32" + ")" * 20000
    text = f"kernel flat(a0: mut f32*) parallel p {{\n  a0[p] = {deep}\n}}"
    body = parse_kernel(text).body
    assert isinstance(body[0], Store)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("row(", "diagonal(", "expected one of flat, row, column, full"),
        ("a1: mut", "a7: mut", "expected 'a1'"),
        ("lt(", "less(", "there is no primitive 'less'"),
        ("lt(p, s2)", "lt(p)", "lt takes 2 operands, 1 are given"),
        ("  t: f32", "  t: i64", "t is int64, its value float32"),
        ("for r in", "for p in", "'p' is defined twice"),
        ("a3[p]", "a2[p]", "'a2' is not a pointer parameter"),
        ("acc sum= t", "acc sum= u", "'u' is not defined"),
        ("cast.f32(", "cast(", "a cast names the element type"),
    ],
)
def test_wrong_kernels_are_refused(old: str, new: str, message: str) -> None:
    text = str(kernel())
    assert old in text
    with pytest.raises(ParseError, match=message):
        parse_kernel(text.replace(old, new, 1))


def test_function_str_is_its_text() -> None:
    b = Builder("f")
    n = symbol("n")
    x = b.param("feed", "x", TensorType(dtypes.float32, (n,)))
    b.define(n, SizeOf(x, 0))
    f: Function = b.finish([x])
    assert str(f) == "function f(%x: f32[n] feed) {\n  sizes n = size(%x, 0)\n  return %x\n}"
