"""Programs: text that reads back, errors of the parser, and what the verifier refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import ParseError, VerificationError
from staticgraph.ir import dtypes
from staticgraph.ir.compare_program import program_difference
from staticgraph.ir.dims import symbol
from staticgraph.ir.parse_program import parse_program
from staticgraph.ir.program import Buffer, Launch, Program, print_program
from staticgraph.ir.verify import verify
from staticgraph.runtime.compile import function_stages

TEXT = """\
program step {
  feed %x: f32[n, 4] "x:0"
  feed %i: i32[n]
  variable %w: f32[4]
  counter %draws: i64[]
  const %c = dense<f32[2]: [1.5, nan]>
  temp %z: f32[n, 4]
  temp %u: i32[d]
  temp %at: i32[n]
  temp %v: f32[4]
  temp %next: i64[]
  temp %r: f32[d]
  sizes n = size(%x, 0)
  sizes d = size(%u, 0)
  guard n <= 2*n + 1 "rows {a} and {b}" for Add
  launch k0(%x, mut %z, n) over 4*n
  %u, %at = host Unique %i {out_idx=i32}
  %r, %next = library philox %draws {shape=(d,), op="PhiloxUniform"}
  launch k1(%w, mut %v) over 4
  return %z, %c, %u, %r; state w <- %v, "counter:draws" <- %next
}

k0 = kernel flat(a0: f32*, a1: mut f32*, s2: size 1) parallel p {
  v1: f32 = add(a0[p], cast.f32(s2))
  a1[p] = v1
}

k1 = kernel flat(a0: f32*, a1: mut f32*) parallel p {
  a1[p] = neg(a0[p])
}"""
PROGRAM = parse_program(TEXT)


def test_the_text_reads_back() -> None:
    assert str(PROGRAM) == TEXT
    assert program_difference(PROGRAM, parse_program(TEXT)) is None
    verify(PROGRAM)
    assert [q.name for q in PROGRAM.params] == ["x:0", "i", "w", "draws"]
    assert [k.form for k in PROGRAM.kernels()] == ["flat", "flat"]


def test_names_of_buffers_are_made_unique_and_do_not_count() -> None:
    other = parse_program(TEXT.replace("%z", "%w_1").replace("%at", "%x_1"))
    assert program_difference(PROGRAM, other) is None
    twins = [replace(b, name="a:b", role="temporary") for b in PROGRAM.buffers[:2]]
    text = str(Program("twins", tuple(twins), (), (), ()))
    assert "temp %a.b: f32[n, 4]" in text and "temp %a.b_1: i32[n]" in text


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("launch k1", "launch k7", r"line 19, column 10: there is no kernel 'k7'"),
        ("mut %v", "%v", "mut stands where the kernel has it"),
        ("k0(%x, mut %z, n)", "k0(%x, mut %z)", "k0 takes 3 arguments, not 2"),
        ("temp %z:", "temp %x:", "%x is defined twice"),
        ("host Unique", "host Uniqe", "there is no op 'Uniqe'"),
        ("library philox", "libary philox", "expected a step or return, found 'libary'"),
        ("sizes d", "sizes n", "the size 'n' is defined twice"),
        ("return %z", "return %q", "%q is not defined"),
        ("k1 = kernel", "k0 = kernel", "k0 is defined twice"),
        ("{out_idx=i32}", "{out=i32}", "Unique has no attribute 'out'"),
        ("neg(a0[p])", "neg(a2[p])", "'a2' is not a pointer parameter"),
    ],
)
def test_errors_of_the_parser(old: str, new: str, match: str) -> None:
    assert old in TEXT
    with pytest.raises(ParseError, match=match):
        parse_program(TEXT.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("launch k0(%x, mut %z, n)", "launch k0(%v, mut %z, n)", "%v is read before it is written"),
        ("return %z,", "return %at, %z,", None),
        ("mut %v) over 4", "mut %z) over 4", "%z is written by two steps"),
        ("k1(%w, mut %v)", "k1(%w, mut %w)", "%w is a param and is written"),
        ("k1(%w,", "k1(%next,", r"argument 0 is int64, the kernel takes float32"),
        ("k1(%w,", "k1(4,", "argument 0 must be a buffer"),
        ("%z, n) over", "%z, %x) over", "argument 2 must be a size"),
        ("over 4*n", "over 4*m", "the extent: nothing says what the size m is"),
        ("over 4*n", "over 4*d", "the extent: the size d is needed before it is known"),
        ("temp %z: f32[n, 4]", "temp %z: f32[d, 4]", "the size d is needed before it is known"),
        ("size(%x, 0)", "size(%x, 2)", "the size n is axis 2 of"),
        ("size(%x, 0)", "element(%x, 0)", "the size n is element 0 of"),
        ("size(%u, 0)", "element(%u, 0)", None),
        ("guard n <=", "guard m <=", "the guard m <= .* nothing says what the size m is"),
        ("w <- %v", "w <- %u", "'w' is float32 and is given a int32"),
        ('"counter:draws" <- %next', "w2 <- %next", None),
        ("feed %i", 'feed %i: i32[n] "x:0"\n  feed %j', "two parameters are the feed 'x:0'"),
        ("neg(a0[p])", "neg(a1[p])", None),
    ],
)
def test_the_verifier(old: str, new: str, match: str | None) -> None:
    p = parse_program(TEXT.replace(old, new, 1))
    if match is None:
        verify(p)
        return
    with pytest.raises(VerificationError, match=match):
        verify(p)


def refused(change: Callable[[Program], Program], match: str) -> None:
    with pytest.raises(VerificationError, match=match):
        verify(change(PROGRAM))


def test_what_the_text_cannot_say_is_verified_too() -> None:
    stranger = Buffer(0, dtypes.float32, (symbol("n"),), "temporary", "s")
    refused(lambda p: replace(p, results=(stranger,)), "is no buffer of the program")
    refused(lambda p: replace(p, steps=p.steps[1:]), "which nothing writes")
    refused(lambda p: replace(p, buffers=p.buffers[1:]), "buffer 1 stands at place 0")
    refused(lambda p: replace(p, params=p.params[::-1]), "not in the order")
    refused(_bad_constant, "its data are nothing")
    first = PROGRAM.steps[0]
    assert isinstance(first, Launch)
    short = replace(first, args=first.args[:2])
    refused(lambda p: replace(p, steps=(short, *p.steps[1:])), "takes 3 arguments, 2 are given")


def _bad_constant(p: Program) -> Program:
    at = next(i for i, b in enumerate(p.buffers) if b.role == "constant")
    empty = replace(p.buffers[at], data=None)
    return replace(p, buffers=(*p.buffers[:at], empty, *p.buffers[at + 1 :]))


def test_the_error_shows_the_steps_around_the_fault() -> None:
    with pytest.raises(VerificationError) as e:
        verify(parse_program(TEXT.replace("over 4*n", "over 4*m")))
    assert "> " in str(e.value) and "launch k0(%x, mut %z, n) over 4*m" in str(e.value)


def test_constants_keep_their_bits() -> None:
    odd: np.ndarray = np.array([0x7FC00001, 0x80000000], np.uint32).view(np.float32)
    big: np.ndarray = np.arange(100, dtype=np.int64).reshape(4, 25)
    words: np.ndarray = np.array([b"a", b"\xff"], dtype=object)
    buffers = tuple(
        Buffer(i, dtypes.as_dtype(a.dtype), a.shape, "constant", f"c{i}", a)
        for i, a in enumerate((odd, big, words))
    )
    p = Program("constants", buffers, (), (), buffers)
    verify(p)
    assert program_difference(p, parse_program(str(p))) is None


def test_origins_are_shown_on_request() -> None:
    y = tf.placeholder(tf.float32, [None]) * 2.0
    program = function_stages(y.graph, y).program
    assert program is not None
    assert "# Mul at test_program.py:" in print_program(program, locs=True)
    assert "test_program" not in str(program)
