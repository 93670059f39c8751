"""Unify: what hung on a size that a guard makes known is inferred again."""

from __future__ import annotations

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.ir.verify import verify_function
from staticgraph.passes.unify import Unify
from tests.passes.programs import body_of, function


def test_a_rank_that_hung_on_a_size_is_known_with_it() -> None:
    f = function("""%x: f32[n, 4] feed, %y: f32[3, 4] feed, %z: f32[m] feed
        | sizes n = size(%x, 0), m = size(%z, 0)
      guard n == 3 "{a} and {b}" for Add
      %a: f32[3, 4] = Add %x, %y
      %s: f32[*] = Squeeze %x {squeeze_dims=()}
      %e: f32[*] = Exp %s
      %t: f32[*] = Add %e, %z
      return %a, %t""")
    g = Unify()(f)
    verify_function(g)
    lines = body_of(g)
    assert "%s: f32[3, 4] = Squeeze %x {squeeze_dims=()}" in lines
    assert "%e: f32[3, 4] = Exp %s" in lines
    assert "%t: f32[3, 4] = Add %e, %z" in lines
    assert [str(s.guard) for s in g.guards] == [str(s.guard) for s in f.guards] + ["4 == m"]


def test_a_rank_that_stays_open_stays_so() -> None:
    f = function("""%x: f32[n] feed, %y: f32[m] feed | sizes n = size(%x, 0), m = size(%y, 0)
      guard n == m "{a} and {b}" for Add
      %a: f32[n] = Add %x, %y
      %s: f32[*] = Squeeze %y {squeeze_dims=()}
      return %a, %s""")
    g = Unify()(f)
    verify_function(g)
    assert "%s: f32[*] = Squeeze %y {squeeze_dims=()}" in body_of(g)


@pytest.mark.parametrize("rows", [3, 1])
def test_a_squeezed_tensor_beside_an_assumption(rows: int) -> None:
    x = tf.placeholder(tf.float32, [None, 4])
    given = np.arange(4.0 * rows, dtype=np.float32).reshape(rows, 4)
    with tf.Session() as sess:
        squeezed, total = sess.run(
            [tf.squeeze(x) * 2.0, x + np.ones((3, 4), np.float32)], {x: given}
        )
    np.testing.assert_array_equal(squeezed, np.squeeze(given) * 2)
    np.testing.assert_array_equal(total, given + np.ones((3, 4), np.float32))
