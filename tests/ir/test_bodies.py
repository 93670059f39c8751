"""The bodies of loops and branches in a graph: their text reads back, and is verified."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import ParseError, VerificationError
from staticgraph.ir.parse import parse_graph
from staticgraph.ir.text import print_graph
from staticgraph.ir.verify import verify

SIMPLE = """\
graph {
  %x: f32[2] = Placeholder {dtype=f32, shape=(2,)}
  %length: i32[] = Const {value=dense<i32[]: 3>, dtype=i32}
  %loop: f32[2], f32[3, 2], f32[3, 2] = Scan %length, %x, %x \
{body=graph "the loop 'loop'" (%c: f32[2]) captures (%w: f32[2] = %x) {
    %mul: f32[2] = Mul %c, %w
    return %mul, %c
  }, sizes=(), carries=1, sequences=0, reverse=False, histories=(0,), conditional=False}
}"""


def build() -> None:
    """A loop with a branch, a draw, an inner loop, an array, and its gradient."""
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    chosen = tf.placeholder(tf.bool, [], name="chosen")
    v = tf.Variable(0.5, name="v")
    array = tf.TensorArray(tf.float32, size=tf.shape(x)[0])

    def body(i: Any, h: Any, a: Any) -> Any:
        h = tf.cond(
            chosen, lambda: tf.tanh(h * v + tf.random_normal([3])), lambda: tf.sin(h + x[i])
        )
        h = tf.map_fn(lambda e: e * x[i, 0], h)
        return i + 1, h, a.write(i, h)

    start = [0, tf.zeros([3]), array]
    _, _, done = tf.while_loop(lambda i, *_: i < tf.shape(x)[0], body, start)
    y = tf.reduce_sum(done.stack() ** 2, name="y")
    tf.identity(tf.gradients(y, x)[0], name="g")


def run(graph: tf.Graph, chosen: bool) -> list[Any]:
    with tf.Session(graph=graph) as sess:
        sess.run([op for op in graph.get_operations() if op.type == "Assign"])
        feed = {"x:0": np.arange(12.0).reshape(4, 3) * 0.1, "chosen:0": chosen}
        values: list[Any] = sess.run(["y:0", "g:0"], feed)
        return values


@pytest.fixture
def graph() -> tf.Graph:
    g = tf.Graph()
    with g.as_default():
        tf.set_random_seed(3)
        build()
    return g


def test_the_text_of_a_graph_with_bodies_reads_back(graph: tf.Graph) -> None:
    verify(graph)
    text = print_graph(graph)
    again = parse_graph(text)
    verify(again)
    assert print_graph(again) == text
    for chosen in (True, False):
        for a, b in zip(run(graph, chosen), run(again, chosen), strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_was_read_can_be_differentiated() -> None:
    graph = parse_graph(SIMPLE)
    assert print_graph(graph) == SIMPLE
    with graph.as_default():
        loop = graph.get_operation_by_name("loop")
        (d,) = tf.gradients(loop.outputs[0], graph.get_tensor_by_name("x:0"))
        np.testing.assert_allclose(tf.Session().run(d, {"x:0": [1, 2]}), [4, 32])  # of x ** 4


def test_one_line_an_operation(graph: tf.Graph) -> None:
    lines = graph.as_graph_def().splitlines()
    assert len(lines) == len(graph.get_operations())
    assert any("body=<body of the loop 'while'" in line for line in lines)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("%w: f32[2] = %x", "%w: f32[2] = %z", "there is no operation 'z'"),
        ("%mul: f32[2] = Mul %c, %w", "%mul: f32[2] = Mul %c, %x", "there is no operation 'x'"),
        ("return %mul, %c", "return %mul, %c; keeps 2", "there is no result 2"),
        ("(%c: f32[2])", "(%c: i32[2])", "dtypes differ|value 0 is float32"),
    ],
)
def test_faults_in_the_text_are_told(old: str, new: str, message: str) -> None:
    assert old in SIMPLE
    with pytest.raises(ParseError, match=message):
        parse_graph(SIMPLE.replace(old, new))


def test_the_verifier_looks_into_bodies() -> None:
    graph = parse_graph(SIMPLE)
    verify(graph)
    body = graph.get_operation_by_name("loop").attrs["body"]
    body.get_operation_by_name("mul").outputs[0].type = tf.zeros([3]).type
    with pytest.raises(VerificationError, match=r"mul: mul:0 is f32\[3\]|carry 0"):
        verify(graph)
    body.params.reverse()
    with pytest.raises(VerificationError, match="the captures of its body are not its last"):
        verify(graph)
