"""Pictures: what is in the DOT text, what is rendered, what the command does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

import staticgraph as tf
from staticgraph import viz
from staticgraph.errors import GraphError, NameNotFoundError
from staticgraph.runtime.compile import function_stages
from staticgraph.viz import layout
from staticgraph.viz.picture import Item, Link, array_text, in_words
from staticgraph.viz.style import EDGES, NODES

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def graph():
    with tf.Graph().as_default() as g:
        yield g


def two_layers():
    """The two-layer network of many introductions, updates written by hand."""
    x = tf.placeholder(tf.float32, (None, 20), name="x")
    y = tf.placeholder(tf.float32, (None, 3), name="y")
    w1 = tf.Variable(tf.random_normal((20, 8)), name="w1")
    w2 = tf.Variable(tf.random_normal((8, 3)), name="w2")
    with tf.name_scope("hidden"):
        h = tf.maximum(tf.matmul(x, w1), 0.0)
    loss = tf.reduce_sum((y - tf.matmul(h, w2)) ** 2.0, name="loss")
    g1, g2 = tf.gradients(loss, [w1, w2])
    n1, n2 = w1.assign(w1 - 0.01 * g1), w2.assign(w2 - 0.01 * g2)
    init = tf.global_variables_initializer()
    return loss, n1, n2, init


def items(drawing, title):
    return [i for i in drawing.picture.items if i.title == title]


def ends_of(drawing, kind):
    by_id = {i.id: i for i in drawing.picture.items}
    return {
        (by_id[e.source].title, by_id[e.target].title)
        for e in drawing.picture.links
        if e.kind == kind
    }


# ---------------------------------------------------------------- what is shown
def test_a_variable_is_one_node_without_its_read_and_first_assignment(graph):
    two_layers()
    drawing = viz.draw()
    (w1,) = items(drawing, "w1")
    assert w1.kind == "variable" and w1.name == "f32 20×8"
    assert (
        not items(drawing, "Identity")
        and not items(drawing, "NoOp")
        and not items(drawing, "RandomStandardNormal")
    )
    assert "starts as" in w1.tooltip
    assert items(viz.draw(initializers=True), "RandomStandardNormal")


def test_constants_are_lines_in_the_nodes_that_take_them(graph):
    x = tf.placeholder(tf.float32, (3,), name="x")
    rate = tf.constant(0.5, name="rate")
    tf.multiply(x, rate)
    tf.add(x, 1.0)
    tf.matmul(
        tf.reshape(x, [1, 3]), tf.constant([[float(i)] * 100 for i in range(3)], name="table")
    )
    drawing = viz.draw()
    assert items(drawing, "Mul")[0].details == ("rate = 0.5",)
    assert items(drawing, "Add")[0].details == ("y = 1.0",)
    assert items(drawing, "table")[0].kind == "constant"  # too big for a line
    assert not items(drawing, "rate")


def test_scopes_are_clusters(graph):
    x = tf.placeholder(tf.float32, (3,), name="x")
    with tf.name_scope("outer"), tf.name_scope("inner"):
        tf.exp(tf.tanh(x))
    with tf.name_scope("alone"):
        tf.sin(x)
    groups = viz.draw().picture.groups
    assert [g.label for g in groups] == ["outer/inner"]  # a scope of one member is no cluster
    assert "subgraph cluster_g0" in viz.to_dot()


def test_gradients_updates_and_edges_have_their_colours(graph):
    two_layers()
    drawing = viz.draw()
    gradient = [i for i in drawing.picture.items if i.kind == "gradient"]
    assert gradient and all("gradients/" in i.path for i in gradient)
    assert {i.title for i in drawing.picture.items if i.kind == "update"} == {
        "Assign",
        "Sub",
        "Mul",
    }
    assert ends_of(drawing, "update") == {("w1", "Assign"), ("w2", "Assign")}
    for kind in ("placeholder", "variable", "operation", "gradient", "update"):
        assert NODES[kind].fill in drawing.dot and NODES[kind].word in drawing.dot
    assert EDGES["update"][0] in drawing.dot


def test_edges_tell_dtype_and_sizes_unless_asked_not_to(graph):
    two_layers()
    assert "f32 ?×20" in re.sub(r"label=<.*", "", viz.to_dot())
    labels = [
        line for line in viz.to_dot(shapes=False).splitlines() if "->" in line and " label=" in line
    ]
    assert not labels


def test_control_edges_are_dashed(graph):
    a = tf.tanh(tf.placeholder(tf.float32, (), name="x"))
    with tf.control_dependencies([a]):
        tf.no_op(name="after")
    drawing = viz.draw()
    assert ends_of(drawing, "control") == {("Tanh", "NoOp")}
    assert "style=dashed" in drawing.dot


def test_fetches_restrict_to_what_they_need(graph):
    loss, *_ = two_layers()
    for fetch in (loss, "loss:0", [loss], {"a": loss.op}):
        drawing = viz.draw(fetches=fetch)
        assert not items(drawing, "Assign") and items(drawing, "Sum")


def test_a_scope_is_drawn_with_what_it_takes(graph):
    two_layers()
    titles = {i.title for i in viz.draw(scope="hidden").picture.items}
    assert titles == {"x", "w1", "MatMul", "Maximum"}
    with pytest.raises(NameNotFoundError, match="no operations in a scope named 'nowhere'"):
        viz.draw(scope="nowhere")


def test_tooltips_name_type_attributes_and_line(graph):
    two_layers()
    (loss,) = items(viz.draw(), "Sum")
    assert "loss (Sum)" in loss.tooltip and "float32[]" in loss.tooltip
    assert "test_viz.py:" in loss.tooltip and "tf.reduce_sum" in loss.tooltip


def test_texts_are_escaped(graph):
    tf.identity(tf.constant('<b>"&\\N'), name="text")
    drawing = viz.draw(title="a < b & c")
    assert "a &lt; b &amp; c" in drawing.dot
    assert "<svg" in drawing.svg()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (1e-6, "1e-6"),
        ([1, 2], "[1, 2]"),
        (True, "True"),
        ([[0.0] * 20] * 30, "30×20 × 0.0"),
    ],
)
def test_constants_are_shortened(value, text):
    import numpy as np

    assert array_text(np.asarray(value)) == text


# ---------------------------------------------------------------- big graphs
def test_depth_folds_scopes(graph):
    x = tf.placeholder(tf.float32, (3,), name="x")
    for i in range(3):
        with tf.name_scope(f"layer_{i}"), tf.name_scope("norm"):
            x = tf.exp(tf.tanh(x))
    folded = viz.draw(depth=0)
    assert [i.title for i in folded.picture.items] == [
        "x",
        "layer_0/norm",
        "layer_1/norm",
        "layer_2/norm",
    ]
    assert folded.picture.items[1].name == "2 operations" and "shape=folder" in folded.dot
    assert len(viz.draw(depth=None).picture.items) == 7


def test_alike_scopes_are_opened_together(graph):
    x = tf.placeholder(tf.float32, (3,), name="x")
    for i in range(15):
        with tf.name_scope(f"layer_{i}"):
            for _ in range(5):
                x = tf.tanh(x)
    assert {i.title for i in viz.draw().picture.items if i.folded} == {
        f"layer_{i}" for i in range(15)
    }


def test_ten_thousand_operations_are_drawn_in_seconds(graph):
    x = tf.placeholder(tf.float32, (3,), name="x")
    for _ in range(10000):
        x = tf.tanh(x)
    start = time.perf_counter()
    for depth in ("auto", None):
        drawing = viz.draw(depth=depth)
        assert sum(max(i.folded, 1) for i in drawing.picture.items) == 10001  # nothing is lost
        assert len(drawing.picture.items) <= 210
        assert "to stay legible" in drawing.dot
        assert drawing.png().startswith(PNG)
    assert time.perf_counter() - start < 20


def test_edges_of_hubs_are_told_in_words():
    spokes = [Item(f"n{k}", "operation", f"op{k}") for k in range(20)]
    hub = Item("hub", "gradient", "gradients", path="gradients")
    out, links = in_words([*spokes, hub], [Link(s.id, "hub") for s in spokes])
    assert [(e.source, e.target) for e in links] == [("n19", "hub")]
    assert out[0].stubs == (("→ gradients", "gradient"),) and not out[19].stubs


# ---------------------------------------------------------------- after compilation
def test_kernels_are_groups_beside_the_graph(graph):
    loss, n1, n2, _ = two_layers()
    stages = partial(function_stages, stop_after="fuse")
    drawing = viz.before_after(graph, [loss, n1.op, n2.op], stages=stages)
    labels = [g.label for g in drawing.picture.groups]
    assert labels[0].startswith("before: ") and any(x.startswith("after: ") for x in labels)
    assert any(re.match(r"kernel 1 · (flat|row|column) · ", x) for x in labels)
    after = [i for i in drawing.picture.items if i.id.startswith("after.")]
    assert {"library", "variable", "update", "result"} <= {i.kind for i in after}
    ids = {i.id for i in drawing.picture.items}
    assert all(e.source in ids and e.target in ids for e in drawing.picture.links)


def test_a_function_can_be_drawn(graph):
    loss, *_ = two_layers()
    compiled = function_stages(graph, loss, stop_after="fuse")
    titles = [i.title for i in viz.draw_function(compiled.closed).picture.items]
    assert {"x", "y", "w1", "w2", "MatMul", "Sum", "result"} <= set(titles)
    assert "kernel 1" in viz.draw_fused(compiled.function, compiled.fused).dot


def test_big_functions_show_a_kernel_as_one_node(graph):
    x = tf.placeholder(tf.float32, (3, 3), name="x")
    for _ in range(60):
        x = tf.matmul(tf.exp(tf.tanh(x)) + 1.0, x)
    compiled = function_stages(graph, x, stop_after="fuse")
    drawing = viz.draw_fused(compiled.function, compiled.fused)
    assert len(drawing.picture.items) <= 100 and not drawing.picture.groups
    assert drawing.png().startswith(PNG)


# ---------------------------------------------------------------- files
def test_formats(graph, tmp_path):
    two_layers()
    drawing = viz.draw(path=tmp_path / "g.png")
    data = (tmp_path / "g.png").read_bytes()
    assert data.startswith(PNG) and 10_000 < len(data) < 5_000_000
    assert drawing.save(tmp_path / "g.svg").read_text().startswith("<svg")
    assert drawing.save(tmp_path / "g.dot").read_text() == drawing.dot
    assert drawing.save(tmp_path / "picture", format="svg").exists()
    assert drawing._repr_png_() == drawing.png() and drawing._repr_svg_() == drawing.svg()
    assert (
        repr(drawing)
        == f"<Drawing of {len(graph.get_operations())} operations: " + repr(drawing).split(": ")[1]
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["g.dot", "g.png", "g.svg", "picture"]


def test_svg_tells_on_hovering(graph):
    two_layers()
    svg = viz.draw().svg()
    assert re.search(r"<title>loss \(Sum\)&#10;gives float32\[\]&#10;", svg)
    assert "<title>n0</title>" not in svg


def test_a_page_opens_folded_scopes_on_a_click(graph, tmp_path):
    x = tf.placeholder(tf.float32, (3,), name="x")
    for i in range(2):
        with tf.name_scope(f"layer_{i}"), tf.name_scope("norm"):
            x = tf.exp(tf.tanh(x))
        with tf.name_scope(f"layer_{i}/"):
            x = tf.sin(x)
    viz.draw(path=tmp_path / "g.html", depth=0)
    text = (tmp_path / "g.html").read_text()
    assert re.findall('<section id="([^"]*)"', text) == ["top", "layer_0", "layer_1"]
    assert text.count('class="node opens"') == 2 and "<script src" not in text


def test_a_big_scope_is_drawn_opened(graph):
    x = tf.placeholder(tf.float32, (3,), name="x")
    with tf.name_scope("big"):
        for _ in range(500):
            x = tf.tanh(x)
    titles = [i.title for i in viz.draw(scope="big").picture.items]
    assert titles[0].startswith("x") and 20 < len(titles) <= 60


def test_bad_arguments_are_refused_before_any_work(graph, tmp_path):
    with pytest.raises(GraphError, match=r"the suffix of 'g.bmp' is none of png, svg, dot, html"):
        viz.draw(path=tmp_path / "g.bmp")
    with pytest.raises(GraphError, match="rankdir must be one of TB, LR, BT, RL, got 'UP'"):
        viz.draw(rankdir="UP")
    with pytest.raises(NameNotFoundError, match="no operation named 'nothing'"):
        viz.draw(fetches="nothing")


def test_an_empty_graph_gives_an_empty_picture(graph):
    assert viz.draw().png().startswith(PNG)


def test_a_layout_without_end_is_stopped(graph, monkeypatch):
    monkeypatch.setattr(layout, "SECONDS", 0.01)
    tf.placeholder(tf.float32, name="x")
    with pytest.raises(tf.errors.RunError, match="could not be laid out within"):
        viz.draw().png()


# ---------------------------------------------------------------- the command
SCRIPT = """
import sys
import staticgraph as tf
assert __name__ == "__main__"
with tf.Graph().as_default():
    x = tf.placeholder(tf.float32, (None, 4), name="x")
    w = tf.Variable(tf.zeros((4, int(sys.argv[1]) if len(sys.argv) > 1 else 2)), name="w")
    y = tf.reduce_sum(tf.tanh(tf.matmul(x, w)), name="y")
    z = tf.exp(y, name="z")
sys.exit(0)
"""


def draw_command(tmp_path, *arguments, script=SCRIPT):
    (tmp_path / "program.py").write_text(script)
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-m", "staticgraph", "draw", "program.py", *arguments],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True,
    )  # fmt: skip


def test_the_command_draws_the_graph_of_a_script(tmp_path):
    done = draw_command(tmp_path, "-o", "graph.png", "--", "7")
    assert done.returncode == 0, done.stderr
    assert re.match(r"graph.png: \d+ operations, drawn as \d+ nodes", done.stdout)
    assert (tmp_path / "graph.png").read_bytes().startswith(PNG)


def test_the_command_takes_options(tmp_path):
    done = draw_command(
        tmp_path, "-o", "g.dot", "--fetch", "y", "--no-shapes", "--rankdir", "LR", "--depth", "1"
    )
    assert done.returncode == 0, done.stderr
    dot = (tmp_path / "g.dot").read_text()
    assert "rankdir=LR" in dot and "<B>Sum</B>" in dot and "<B>Exp</B>" not in dot
    assert draw_command(tmp_path, "-o", "after.dot", "--after").returncode == 0
    assert "kernel 1" in (tmp_path / "after.dot").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "g.bmp"), "the suffix of 'g.bmp' is none of png, svg, dot, html"),
        (("-o", "nowhere/g.png"), "there is no directory 'nowhere'"),
        (("-o", "g.png", "--fetch", "q"), "no operation named 'q'"),
        (("-o", "g.png", "--scope", "q"), "no operations in a scope named 'q'"),
        (("-o", "g.png", "--depth", "deep"), "'deep' is neither a number"),
    ],
)
def test_the_command_refuses_misuse(tmp_path, arguments, message):
    done = draw_command(tmp_path, *arguments)
    assert done.returncode == 2 and message in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.glob("g.*"))


def test_the_command_refuses_a_missing_script_and_an_empty_graph(tmp_path, capsys):
    from staticgraph.cli import main

    assert main(["draw", str(tmp_path / "none.py"), "-o", str(tmp_path / "g.png")]) == 2
    assert "there is no script" in capsys.readouterr().err
    done = draw_command(tmp_path, "-o", "g.png", script="x = 1\n")
    assert done.returncode == 2 and "built no graph" in done.stderr


def test_a_script_that_fails_is_drawn_as_far_as_it_got(tmp_path):
    done = draw_command(tmp_path, "-o", "g.dot", script=SCRIPT.replace("sys.exit(0)", "1 / 0"))
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr
    assert 'File "program.py", line ' in done.stderr and "runpy" not in done.stderr
    assert "<B>Exp</B>" in (tmp_path / "g.dot").read_text()
