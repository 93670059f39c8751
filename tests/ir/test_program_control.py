"""Programs within programs: text that reads back, and what the verifier refuses of a loop."""

from __future__ import annotations

import pytest

from staticgraph.errors import ParseError, VerificationError
from staticgraph.ir.compare_program import program_difference
from staticgraph.ir.parse_program import parse_program
from staticgraph.ir.verify import verify

TEXT = """\
program run {
  feed %c: f32[n]
  feed %xs: f32[t, n]
  feed %k: i32[]
  temp %last: f32[n]
  temp %ys: f32[t, n]
  temp %z: f32[n]
  sizes n = size(%c, 0)
  sizes t = size(%xs, 0)
  %last, %ys = scan %c, %xs {length=t, sizes=(n,), carries=1, sequences=1, reverse=True, \
histories=()} program body {
    feed %c: f32[m]
    feed %x: f32[m]
    temp %go: bool[]
    temp %go_1: bool[]
    temp %after: f32[m]
    temp %trips: i64[]
    temp %y: f32[m]
    sizes m = given(0)
    launch k0(mut %go) over 1
    %go_1, %after, %trips = while %go, %c {length=-1, sizes=(m,), carries=2, sequences=0, \
reverse=False, histories=()} program inner {
      feed %go: bool[]
      feed %c: f32[l]
      temp %stop: bool[]
      temp %d: f32[l]
      sizes l = given(0)
      launch k1(mut %stop) over 1
      launch k2(%c, mut %d) over l
      return %stop, %d
    }
    launch k2(%x, mut %y) over m
    return %after, %y
  }
  %z = branch %k, %last {sizes=(n,)} program first {
    feed %x: f32[a]
    temp %y: f32[a]
    sizes a = given(0)
    launch k2(%x, mut %y) over a
    return %y
  } program second {
    feed %x: f32[b]
    sizes b = given(0)
    return %x
  }
  return %z, %ys
}

k0 = kernel flat(a0: mut bool*) parallel p {
  a0[p] = True:bool
}

k1 = kernel flat(a0: mut bool*) parallel p {
  a0[p] = False:bool
}

k2 = kernel flat(a0: f32*, a1: mut f32*) parallel p {
  a1[p] = neg(a0[p])
}"""


def test_nested_programs_read_back_and_their_kernels_stand_once_at_the_end() -> None:
    p = parse_program(TEXT)
    assert str(p) == TEXT
    assert program_difference(p, parse_program(TEXT)) is None
    verify(p)
    assert len(p.kernels()) == 3
    other = parse_program(TEXT.replace("mut %y) over a", "mut %y) over 1"))
    assert program_difference(p, other) == "step 1 differs"


def test_a_loop_may_read_its_operands_under_other_sizes() -> None:
    text = TEXT.replace("=()} program body", "=(), shapes=((n,), (t, n))} program body")
    p = parse_program(text)
    assert str(p) == text
    assert program_difference(p, parse_program(TEXT)) == "step 0 differs"
    verify(p)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("carries=1, sequences=1,", "carries=1,", "scan has the attributes length, sizes, carries"),
        ("{sizes=(n,)}", "", "branch has the attributes sizes"),
        ("{sizes=(n,)}", "{sizes=(n,), shapes=()}", "branch has the attributes sizes"),
        ("program first", "first", "expected 'program'"),
        ("launch k2(%x, mut %y) over a", "launch k9(%x, mut %y) over a", "no kernel 'k9'"),
        ("launch k2(%x, mut %y) over a", "launch k2(%last, mut %y) over a", "%last is not defined"),
    ],
)
def test_errors_of_the_parser(old: str, new: str, match: str) -> None:
    assert old in TEXT
    with pytest.raises(ParseError, match=match):
        parse_program(TEXT.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("scan %c, %xs", "scan %c, %xs, %k", "body takes 2 values, 3 are given"),
        ("scan %c, %xs", "scan %c, %k", "input 1 is a scalar, it has no steps"),
        ("feed %xs: f32[t, n]", "feed %xs: f32[t, n, 2]", "input 1 has 2 axes, the body has 1"),
        ("histories=()} program body", "histories=(1,)} program body", r"histories \[1\] of 1"),
        ("histories=()} program body", "histories=(0,)} program body", "has 3 results, the step 2"),
        ("carries=1, sequences=1", "carries=3, sequences=0", "3 carries, its body 2 results"),
        ("return %after, %y", "return %go, %y", "carry 0 is bool, the body has float32"),
        ("temp %ys: f32[t, n]", "temp %ys: f64[t, n]", "result 1 is float64, the body has float32"),
        ("temp %trips: i64[]", "temp %trips: i32[]", "the number of iterations is"),
        ("while %go, %c", "while %c, %go", "input 0 is float32, the body has bool"),
        ("feed %k: i32[]", "feed %k: i64[]", "index of a branch is no int32 scalar"),
        ("branch %k, %last", "branch %k", "first takes 1 values, 0 are given"),
        ("    return %x\n  }\n", "    return %x, %x\n  }\n", "second has 2 results, the step 1"),
        ("b = given(0)", "b = given(1)", "second: b is size 1 of 1"),
        ("sizes=(n,)}", "sizes=(q,)}", "nothing says what the size q is"),
        ("launch k2(%x, mut %y) over a", "launch k2(%y, mut %y) over a", "given twice"),
    ],
)  # fmt: skip
def test_the_verifier(old: str, new: str, match: str) -> None:
    assert old in TEXT
    with pytest.raises(VerificationError, match=match):
        verify(parse_program(TEXT.replace(old, new, 1)))


def test_sizes_that_contradict_the_body_are_refused() -> None:
    fixed = TEXT.replace("f32[n]", "f32[3]").replace("temp %last: f32[3]", "temp %last: f32[4]")
    fixed = fixed.replace("sizes n = size(%c, 0)", "sizes n = size(%xs, 1)")
    fixed = fixed.replace("f32[m]", "f32[3]").replace("sizes m = given(0)\n", "")
    fixed = fixed.replace("sizes=(m,)", "sizes=(3,)").replace("over m", "over 3")
    with pytest.raises(VerificationError, match=r"result 0 has the size 4 in axis 0, .* has 3"):
        verify(parse_program(fixed))
