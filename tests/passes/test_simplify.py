"""Every rule of `simplify`: text in, text out, and the same numbers, special values included."""

from __future__ import annotations

import pytest

from staticgraph.passes.cleanup import Prune
from staticgraph.passes.simplify import RULES, Rule, Simplify
from tests.passes.programs import assert_same_results, body_of, function

ONE = "%c: f32[] = Const {value=dense<f32[]: 1.0>, dtype=f32}"
X = "%x: f32[n, 3] feed | sizes n = size(%x, 0)\n"
XY = "%x: f32[n, 3] feed, %y: f32[n, 3] feed | sizes n = size(%x, 0)\n"
MATRICES = "%x: f32[3, 4] feed, %y: f32[3, 5] feed |"


def constant(number: str, dtype: str = "f32") -> str:
    return f"%c: {dtype}[] = Const {{value=dense<{dtype}[]: {number}>, dtype={dtype}}}\n"


# rule, before, after (nodes and return; sizes are left out)
FIRES: list[tuple[str, str, list[str]]] = [
    *(
        ("identity", X + f"%y: f32[n, 3] = {op} %x {attrs}\nreturn %y", ["return %x"])
        for op, attrs in (
            ("Identity", ""),
            ("Snapshot", ""),
            ("StopGradient", ""),
            ("PreventGradient", ""),
            ("EnsureShape", "{shape=(n, 3)}"),
            ("PlaceholderWithDefault", "{shape=(n, 3)}"),
        )
    ),
    (
        "identity",
        '%x: f32[n] feed | sizes n = size(%x, 0)\nguard n == 7 "size"\n'
        "%y: f32[7] = EnsureShape %x {shape=(7,)}\n%z: f32[7] = Neg %y\nreturn %z",
        ["%z: f32[7] = Neg %x", "return %z"],
    ),
    ("unchanged shape", X + "%y: f32[n, 3] = Reshape %x {shape=(n, 3)}\nreturn %y", ["return %x"]),
    (
        "unchanged shape",
        X + "%y: f32[n, 3] = BroadcastTo %x {shape=(n, 3)}\nreturn %y",
        ["return %x"],
    ),
    ("unchanged shape", X + "%y: f32[n, 3] = Tile %x {multiples=(1, 1)}\nreturn %y", ["return %x"]),
    (
        "unchanged shape",
        "%x: f32[2, 3] feed | %y: f32[2, 3] = Squeeze %x\nreturn %y",
        ["return %x"],
    ),
    (
        "reshape of reshape",
        "%x: f32[2, 3] feed | %y: f32[1, 6] = Reshape %x {shape=(1, 6)}\n"
        "%z: f32[6] = Squeeze %y\nreturn %z",
        ["%z: f32[6] = Reshape %x {shape=(6,)}", "return %z"],
    ),
    (
        "reshape of reshape",
        X + "%y: f32[3*n] = Reshape %x {shape=(3*n,)}\n"
        "%z: f32[3, n] = Reshape %y {shape=(3, n)}\nreturn %z",
        ["%z: f32[3, n] = Reshape %x {shape=(3, n)}", "return %z"],
    ),
    (
        "reshape of reshape",
        X + "%y: f32[1, n, 3] = ExpandDims %x {dim=0}\n"
        "%z: f32[3*n] = Reshape %y {shape=(-1,)}\nreturn %z",
        ["%z: f32[3*n] = Reshape %x {shape=(3*n,)}", "return %z"],
    ),
    (
        "transpose of transpose",
        X + "%y: f32[n, 3] = Transpose %x {perm=(0, 1)}\nreturn %y",
        ["return %x"],
    ),
    (
        "transpose of transpose",
        "%x: f32[2, 3, 4] feed | %y: f32[4, 2, 3] = Transpose %x {perm=(2, 0, 1)}\n"
        "%z: f32[3, 4, 2] = Transpose %y {perm=(2, 0, 1)}\nreturn %z",
        ["%z: f32[3, 4, 2] = Transpose %x {perm=(1, 2, 0)}", "return %z"],
    ),
    *(
        (
            "x + -0, x + -y",
            X + constant("-0.0") + f"%y: f32[n, 3] = {op} {operands}\nreturn %y",
            ["return %x"],
        )
        for op in ("Add", "AddV2")
        for operands in ("%x, %c", "%c, %x")
    ),
    (
        "x + -0, x + -y",
        "%x: i32[5] feed |" + constant("0", "i32") + "%y: i32[5] = Add %x, %c\nreturn %y",
        ["return %x"],
    ),
    (
        "x + -0, x + -y",
        XY + "%m: f32[n, 3] = Neg %y\n%z: f32[n, 3] = Add %x, %m\nreturn %z",
        ["%z: f32[n, 3] = Sub %x, %y", "return %z"],
    ),
    ("x - 0, x - -y", X + constant("0.0") + "%y: f32[n, 3] = Sub %x, %c\nreturn %y", ["return %x"]),
    (
        "x - 0, x - -y",
        "%x: u8[5] feed |" + constant("0", "u8") + "%y: u8[5] = Sub %x, %c\nreturn %y",
        ["return %x"],
    ),
    (
        "x - 0, x - -y",
        XY + "%m: f32[n, 3] = Neg %y\n%z: f32[n, 3] = Sub %x, %m\nreturn %z",
        ["%z: f32[n, 3] = Add %x, %y", "return %z"],
    ),
    ("x * 1", X + ONE + "\n%y: f32[n, 3] = Mul %x, %c\nreturn %y", ["return %x"]),
    ("x * 1", X + ONE + "\n%y: f32[n, 3] = Mul %c, %x\nreturn %y", ["return %x"]),
    (
        "x * 1",
        X + ONE + "\n%b: f32[n, 3] = Fill %c {dims=(n, 3)}\n%y: f32[n, 3] = Mul %x, %b\nreturn %y",
        ["return %x"],
    ),
    ("x / 1", X + ONE + "\n%y: f32[n, 3] = RealDiv %x, %c\nreturn %y", ["return %x"]),
    (
        "x / 1",
        "%x: i32[5] feed |" + constant("1", "i32") + "%y: i32[5] = Div %x, %c\nreturn %y",
        ["return %x"],
    ),
    ("- - x", X + "%y: f32[n, 3] = Neg %x\n%z: f32[n, 3] = Neg %y\nreturn %z", ["return %x"]),
    ("- - x", "%x: i8[5] feed | %y: i8[5] = Neg %x\n%z: i8[5] = Neg %y\nreturn %z", ["return %x"]),
    (
        "kept axes",
        X + "%y: f32[n, 1] = Sum %x {reduction_indices=(1,), keep_dims=True}\nreturn %y",
        [
            "%y: f32[n] = Sum %x {reduction_indices=(1,), keep_dims=False}",
            "%y_1: f32[n, 1] = Reshape %y {shape=(n, 1)}",
            "return %y_1",
        ],
    ),
    (
        "kept axes",
        X + "%y: f32[n, 1] = Prod %x {reduction_indices=(1,), keep_dims=True}\nreturn %y",
        [
            "%y: f32[n] = Prod %x {reduction_indices=(1,), keep_dims=False}",
            "%y_1: f32[n, 1] = Reshape %y {shape=(n, 1)}",
            "return %y_1",
        ],
    ),
    (
        "kept axes",
        X + "%y: f32[n, 1] = Max %x {reduction_indices=(1,), keep_dims=True}\nreturn %y",
        [
            "%y: f32[n] = Max %x {reduction_indices=(1,), keep_dims=False}",
            "%y_1: f32[n, 1] = Reshape %y {shape=(n, 1)}",
            "return %y_1",
        ],
    ),
    (
        "kept axes",
        X + "%y: f32[n, 1] = Min %x {reduction_indices=(1,), keep_dims=True}\nreturn %y",
        [
            "%y: f32[n] = Min %x {reduction_indices=(1,), keep_dims=False}",
            "%y_1: f32[n, 1] = Reshape %y {shape=(n, 1)}",
            "return %y_1",
        ],
    ),
    (
        "kept axes",
        "%x: bool[5, 2] feed | %y: bool[1, 2] = All %x {reduction_indices=(0,), keep_dims=True}\n"
        "return %y",
        [
            "%y: bool[2] = All %x {reduction_indices=(0,), keep_dims=False}",
            "%y_1: bool[1, 2] = Reshape %y {shape=(1, 2)}",
            "return %y_1",
        ],
    ),
    (
        "kept axes",
        "%x: bool[5, 2] feed | %y: bool[1, 2] = Any %x {reduction_indices=(0,), keep_dims=True}\n"
        "return %y",
        [
            "%y: bool[2] = Any %x {reduction_indices=(0,), keep_dims=False}",
            "%y_1: bool[1, 2] = Reshape %y {shape=(1, 2)}",
            "return %y_1",
        ],
    ),
    ("small powers", X + ONE + "\n%y: f32[n, 3] = Pow %x, %c\nreturn %y", ["return %x"]),
    (
        "small powers",
        X + constant("2.0") + "%y: f32[n, 3] = Pow %x, %c\nreturn %y",
        ["%y: f32[n, 3] = Mul %x, %x", "return %y"],
    ),
    (
        "small powers",
        X + constant("3.0") + "%y: f32[n, 3] = Pow %x, %c\nreturn %y",
        ["%y: f32[n, 3] = Mul %x, %x", "%y_1: f32[n, 3] = Mul %y, %x", "return %y_1"],
    ),
    (
        "matmul of transpose",
        MATRICES
        + "%t: f32[4, 3] = Transpose %x {perm=(1, 0)}\n%z: f32[4, 5] = MatMul %t, %y\nreturn %z",
        ["%z: f32[4, 5] = MatMul %x, %y {transpose_a=True, transpose_b=False}", "return %z"],
    ),
    (
        "matmul of transpose",
        MATRICES + "%t: f32[5, 3] = Transpose %y {perm=(1, 0)}\n"
        "%z: f32[4, 5] = MatMul %x, %t {transpose_a=True, transpose_b=True}\nreturn %z",
        ["%z: f32[4, 5] = MatMul %x, %y {transpose_a=True, transpose_b=False}", "return %z"],
    ),
    *(
        (
            "matmul of transpose",
            "%x: f64[2, 3, 4] feed, %y: f64[2, 5, 4] feed |"
            "%t: f64[2, 4, 5] = Transpose %y {perm=(0, 2, 1)}\n"
            f"%z: f64[2, 3, 5] = {op} %x, %t\nreturn %z",
            [f"%z: f64[2, 3, 5] = {op} %x, %y {{adj_x=False, adj_y=True}}", "return %z"],
        )
        for op in ("BatchMatMul", "BatchMatMulV2")
    ),
    (
        "scatter of reshapes",
        "%x: f32[3, 2] feed, %u: f32[4, 2] feed |"
        "%i: i32[4] = Const {value=dense<i32[4]: [2, 0, 1, 2]>, dtype=i32}\n"
        "%b: f32[6] = Reshape %x {shape=(6,)}\n"
        "%f: f32[8] = Reshape %u {shape=(8,)}\n"
        '%z: f32[6] = ScatterBlocks %b, %i, %f {sizes=(1, 1, 3, 2, 4), kind="add"}\nreturn %z',
        [
            "%i: i32[4] = Const {value=dense<i32[4]: [2, 0, 1, 2]>, dtype=i32}",
            "%z: f32[3, 2] = ScatterBlocks %x, %i, %u "
            '{sizes=(1, 1, 3, 2, 4), kind="add", skip_negative=False, checked=False}',
            "%z_1: f32[6] = Reshape %z {shape=(6,)}",
            "return %z_1",
        ],
    ),
    ("cast to its own type", X + "%y: f32[n, 3] = Cast %x {DstT=f32}\nreturn %y", ["return %x"]),
]

# what looks alike and must be left alone: adding +0 changes -0, a broadcast changes the shape, ...
KEPT = [
    X + constant("0.0") + "%y: f32[n, 3] = Add %x, %c\nreturn %y",
    X + constant("-0.0") + "%y: f32[n, 3] = Sub %x, %c\nreturn %y",
    X + constant("0.0") + "%y: f32[n, 3] = Sub %c, %x\nreturn %y",
    X + constant("nan") + "%y: f32[n, 3] = Mul %x, %c\nreturn %y",
    X + ONE + "\n%y: f32[n, 3] = RealDiv %c, %x\nreturn %y",
    X + constant("0.5") + "%y: f32[n, 3] = Pow %x, %c\nreturn %y",
    "%x: f32[3] feed |"
    "%o: f32[2, 3] = Const {value=dense<f32[2, 3]: [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]>, "
    "dtype=f32}\n%y: f32[2, 3] = Mul %x, %o\nreturn %y",
    "%x: f32[] feed | %o: f32[1] = Const {value=dense<f32[1]: [1.0]>, dtype=f32}\n"
    "%y: f32[1] = Mul %x, %o\nreturn %y",
    "%x: i32[5] feed |" + constant("2", "i32") + "%y: i32[5] = Pow %x, %c\nreturn %y",
    X + "%y: f32[3, n] = Transpose %x {perm=(1, 0)}\nreturn %y",
    X + "%y: f64[n, 3] = Cast %x {DstT=f64}\n%z: f32[n, 3] = Cast %y {DstT=f32}\nreturn %z",
    "%x: f64[3] feed | %y: f32[3] = Cast %x {DstT=f32}\n%z: f64[3] = Cast %y {DstT=f64}\nreturn %z",
    X + "%y: f32[2*n, 3] = Tile %x {multiples=(2, 1)}\nreturn %y",
    "%x: f32[2, 3, 4] feed, %y: f32[4, 5] feed | %t: f32[3, 2, 4] = Transpose %x {perm=(1, 0, 2)}\n"
    "%u: f32[6, 4] = Reshape %t {shape=(6, 4)}\n%z: f32[6, 5] = MatMul %u, %y\nreturn %z",
]

BY_NAME: dict[str, Rule] = {r.name: r for r in RULES}


def nodes_and_return(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith(("sizes ", "guard "))]


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [pytest.param(*c, id=f"{c[0]}-{i}") for i, c in enumerate(FIRES)],
)
def test_rule_rewrites_and_keeps_results(name: str, before: str, after: list[str]) -> None:
    f = function(before)
    g = Prune()(Simplify((BY_NAME[name],))(f))
    assert nodes_and_return(body_of(g)) == after, f"rule {name!r}"
    # a power by multiplication and a product with other strides may round differently
    tolerance = {"small powers": 1e-6, "matmul of transpose": 1e-5}.get(name, 0.0)
    try:
        assert_same_results(f, g, tolerance)
    except AssertionError as e:
        raise AssertionError(f"rule {name!r} changes results: {e}") from e
    everything = Prune()(Simplify()(f))
    assert_same_results(f, everything, tolerance)


def test_every_rule_is_tried_on_every_op_it_names() -> None:
    tried = {(name, op) for name, before, after in FIRES
             for op in BY_NAME[name].ops if f"= {op} " in before}  # fmt: skip
    assert {name for name, _ in tried} == set(BY_NAME)
    missing = {(r.name, op) for r in RULES for op in r.ops} - tried
    assert missing == {("unchanged shape", "ExpandDims")}  # it always changes the type


@pytest.mark.parametrize("before", KEPT)
def test_what_only_looks_alike_is_kept(before: str) -> None:
    f = function(before)
    g = Simplify()(f)
    assert body_of(g) == body_of(f)
    assert_same_results(f, g)


def test_later_nodes_see_what_earlier_rules_gave() -> None:
    f = function(
        X
        + ONE
        + """
      %a: f32[n, 3] = Mul %x, %c
      %b: f32[n, 3] = Neg %a
      %d: f32[n, 3] = Identity %b
      %e: f32[n, 3] = Neg %d
      %g: f32[n, 3] = RealDiv %e, %c
      return %g"""
    )
    g = Prune()(Simplify()(f))
    assert body_of(g)[1:] == ["return %x"]
    assert_same_results(f, g)


def test_updates_and_sizes_are_renamed_too() -> None:
    f = function("""%x: f32[n] feed, %w: f32[n] variable | sizes n = size(%x, 0)
      %m: bool[n] = IsFinite %x
      sizes k = size(%p, 0)
      %i: bool[n] = Identity %m
      %p: i64[k, 1] = Where %i
      %y: f32[n] = Identity %x
      return %p; state w <- %y""")
    g = Prune()(Simplify()(f))
    assert nodes_and_return(body_of(g)) == [
        "%m: bool[n] = IsFinite %x", "%p: i64[k, 1] = Where %m", "return %p; state w <- %x",
    ]  # fmt: skip
    assert_same_results(f, g)
