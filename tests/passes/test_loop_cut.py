"""Loops over what was joined: cut at the ends of the parts, with the same results."""

from __future__ import annotations

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.ir.kernel import Kernel, Loop, Statement
from staticgraph.ir.parse_kernel import parse_kernel
from staticgraph.passes.loop_cut import MOST, cut

JOINED = """\
kernel row(a0: f32*, a1: f32*, a2: mut f32*) parallel p {
  for r in 0:i64 .. 256:i64 {
    t1: bool = lt(r, 128:i64)
    x2: f32 = a0[add(mul(p, 128:i64), select(t1, r, 0:i64))]
    t3: i64 = add(r, -128:i64)
    x4: f32 = a1[add(mul(p, 128:i64), select(ge(t3, 0:i64), t3, 0:i64))]
    a2[add(mul(p, 256:i64), r)] = select(t1, x2, x4)
  }
}"""


def pieces(text: str) -> tuple[Kernel, tuple[Statement, ...]]:
    kernel = parse_kernel(text)
    return kernel, cut(kernel.body)


def ranges(body: tuple[Statement, ...]) -> list[str]:
    return [f"{s.start}..{s.stop}" for s in body if isinstance(s, Loop)]


def test_each_piece_reads_one_part() -> None:
    kernel, body = pieces(JOINED)
    made = Kernel(kernel.form, kernel.params, body)
    assert (
        str(made)
        == """\
kernel row(a0: f32*, a1: f32*, a2: mut f32*) parallel p {
  for r in 0:i64 .. 128:i64 {
    x2: f32 = a0[add(mul(p, 128:i64), r)]
    a2[add(mul(p, 256:i64), r)] = x2
  }
  for r in 128:i64 .. 256:i64 {
    t3: i64 = add(r, -128:i64)
    x4: f32 = a1[add(mul(p, 128:i64), t3)]
    a2[add(mul(p, 256:i64), r)] = x4
  }
}"""
    )
    assert cut(body) == body
    assert str(parse_kernel(str(made))) == str(made)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("lt(r, 10:i64)", ["0..10", "10..256"]),
        ("le(r, 10:i64)", ["0..11", "11..256"]),
        ("gt(r, 10:i64)", ["0..11", "11..256"]),
        ("ge(r, 10:i64)", ["0..10", "10..256"]),
        ("and(ge(r, 1:i64), lt(r, 255:i64))", ["0..1", "1..255", "255..256"]),
        ("or(lt(r, 1:i64), lt(p, 3:i64))", ["0..1", "1..256"]),
        ("lt(add(r, p), 10:i64)", ["0..256"]),
        ("lt(r, 256:i64)", ["0..256"]),
        ("lt(p, 10:i64)", ["0..256"]),
    ],
)
def test_where_it_is_cut(condition: str, expected: list[str]) -> None:
    _, body = pieces(
        f"""\
kernel row(a0: f32*, a1: mut f32*) parallel p {{
  for r in 0:i64 .. 256:i64 {{
    x1: f32 = a0[r]
    a1[r] = select({condition}, x1, 2.0:f32)
  }}
}}"""
    )
    assert ranges(body) == expected


def test_what_is_decided_is_decided_on_the_right_side() -> None:
    _, body = pieces(
        """\
kernel row(a0: f32*, a1: mut f32*) parallel p {
  for r in 0:i64 .. 8:i64 {
    a1[r] = select(or(gt(r, 5:i64), lt(r, 2:i64)), 1.0:f32, 2.0:f32)
  }
}"""
    )
    shown = [str(s.body[0]) for s in body if isinstance(s, Loop)]
    assert ["1.0" in s for s in shown] == [True, False, True]
    assert ranges(body) == ["0..2", "2..6", "6..8"]


@pytest.mark.parametrize(
    "inside",
    [
        "s sum= select(lt(r, 4:i64), 1.0:f32, 2.0:f32)",
        "a1[r] = a0[select(lt(r, 4:i64), check_index(r, 3:i64), 0:i64)]",
        "\n".join(f"a1[r] = select(lt(r, {k}:i64), 1.0:f32, 2.0:f32)" for k in range(1, MOST + 1)),
    ],
    ids=["a sum", "a checked index", "too many ends"],
)
def test_what_is_left_whole(inside: str) -> None:
    kernel, body = pieces(
        f"""\
kernel row(a0: f32*, a1: mut f32*) parallel p {{
  var s: f32 = sum()
  for r in 0:i64 .. 64:i64 {{
    {inside}
  }}
  a1[p] = s
}}"""
    )
    assert body == kernel.body


def test_joined_and_padded_values_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((6, n)).astype(np.float32) for n in (40, 3, 70)]
    xs = [tf.placeholder(tf.float32, [None, p.shape[1]]) for p in parts]
    whole = tf.concat([tf.exp(xs[0]), xs[1] * 2.0, xs[2]], 1)
    padded = tf.pad(xs[2] + 1.0, [[0, 0], [2, 5]])
    grads = tf.gradients(tf.reduce_sum(whole * whole), xs)
    with tf.Session() as sess:
        got = sess.run([whole, padded, *grads], dict(zip(xs, parts, strict=True)))
        sources = str(sess.explain(sources=True))
    assert "range(43, 113)" in sources
    assert "range(2, 72)" in sources
    a, b, c = parts
    expected = [
        np.concatenate([np.exp(a), b * 2, c], 1), np.pad(c + 1, [(0, 0), (2, 5)]),
        2 * np.exp(a) ** 2, 8 * b, 2 * c,
    ]  # fmt: skip
    for value, wanted in zip(got, expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-6)
