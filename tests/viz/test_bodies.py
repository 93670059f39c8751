"""Pictures of loops and branches: what is in their bodies stands in groups of its own."""

from __future__ import annotations

from typing import Any

import pytest

import staticgraph as tf
from staticgraph import viz
from staticgraph.viz.picture import Item, Picture


@pytest.fixture(autouse=True)
def graph() -> Any:
    with tf.Graph().as_default() as g:
        yield g


def loop() -> Any:
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    w = tf.Variable(tf.ones([3, 3]), name="w")

    def body(i: Any, h: Any) -> Any:
        tf.exp(h)  # nothing needs it
        return i + 1, tf.cond(h[0, 0] > 0, lambda: tf.matmul(h, w), lambda: h + x[i])

    _, h = tf.while_loop(lambda i, h: i < 5, body, [0, tf.zeros([1, 3])])
    return tf.reduce_sum(h, name="y")


def inside(p: Picture, label: str) -> list[Item]:
    """The items in the group with this label, those in groups in it not counted."""
    key = next(g.id for g in p.groups if g.label == label)
    parents = {g.id: g.parent for g in p.groups}
    bodies = {g.id for g in p.groups if g.label.startswith("body")}

    def home(group: str) -> str:
        while group not in bodies and group:
            group = parents[group]
        return group

    return [i for i in p.items if home(i.group) == key]


def ends(p: Picture, source: Item) -> set[str]:
    titles = {i.id: i.title for i in p.items}
    return {titles[e.target] for e in p.links if e.source == source.id}


def test_bodies_of_a_graph() -> None:
    p = viz.draw(fetches=loop()).picture
    labels = [g.label for g in p.groups if g.label.startswith("body")]
    assert labels == [
        "body of the loop 'while'", "body of the branch 'while/cond/true'",
        "body of the branch 'while/cond/false'",
    ]  # fmt: skip
    body, true, false = (inside(p, label) for label in labels)
    assert {"carry_1", "carry_2", "Case", "Select", "Add"} <= {i.title for i in body}
    assert "Exp" not in {i.title for i in body}
    assert {i.title for i in true} == {"carry_2", "w", "MatMul"}  # what another needs is left out
    assert {i.title for i in false} == {"carry_1", "carry_2", "x", "TakeIndex", "Add"}
    assert [i.kind for i in true if i.title == "w"] == ["variable"]
    assert "more operations in bodies" in p.note


def test_edges_lead_in_through_parameters_and_out_through_the_node() -> None:
    p = viz.draw(fetches=loop()).picture
    (outer,) = [i for i in p.items if i.title == "x" and not i.group]
    assert ends(p, outer) == {"x"}
    (product,) = [i for i in p.items if i.title == "MatMul"]
    assert ends(p, product) == {"Case"}
    (case,) = [i for i in p.items if i.title == "Case"]
    assert ends(p, case) == {"While"}
    (chosen,) = [i for i in p.items if i.title == "Select"]
    assert ends(p, chosen) == {"Case"}  # the index enters no body
    assert len({i.id for i in p.items}) == len(p.items)


def test_bodies_of_a_function() -> None:
    done = tf.stages(loop())
    p = viz.draw_function(done.function).picture
    labels = [g.label for g in p.groups]
    assert labels == ["body while", "body while/cond/true", "body while/cond/false"]
    assert {"Gemm"} <= {i.title for i in inside(p, "body while/cond/true")}
    (case,) = [i for i in p.items if i.title == "Case"]
    assert ends(p, case) == {"result 1"}
    assert done.fused is not None
    fused = viz.draw_fused(done.function, done.fused).picture
    assert {"body while"} <= {g.label for g in fused.groups}


def test_a_folded_loop_keeps_its_bodies_to_itself() -> None:
    p = viz.draw(fetches=loop(), depth=0).picture
    assert not [g for g in p.groups if g.label.startswith("body")]
