"""Two programs written for TensorFlow 1 train as they do on TensorFlow 1.15.5.

The programs are the examples of the same names, taken as they stand up to where they open their
session; inputs and weights are then those that TensorFlow's losses were printed for.
"""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import CompileFallbackWarning

ROOT = Path(__file__).parents[2]
LOSSES = json.loads((ROOT / "tests" / "data" / "tf1_losses.json").read_text())["losses"]
PROGRAMS = ["tf_two_layer_net_002", "tf_two_layer_net_004"]


def built(program: str) -> dict[str, Any]:
    """The names of a program after it has built its graph."""
    file = ROOT / "examples" / f"{program}.py"
    source, session, _ = file.read_text().partition("with tf.Session()")
    assert session
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(source, str(file), "exec"), names)
    return names


def inputs(names: dict[str, Any]) -> list[np.ndarray]:
    """x, y, w1 and w2, drawn in this order from one stream."""
    state = np.random.RandomState(0)
    sizes = [names[k] for k in ("N", "D_in", "H", "D_out")]
    n, d_in, h, d_out = sizes
    shapes = [(n, d_in), (n, d_out), (d_in, h), (h, d_out)]
    return [state.randn(*shape).astype(np.float32) for shape in shapes]


def losses(program: str, steps: int = 500, **session: Any) -> list[float]:
    names = built(program)
    x, y, w1, w2 = inputs(names)
    feed = {names["x"]: x, names["y"]: y}
    out = []
    with tf.Session(**session) as sess, warnings.catch_warnings():
        warnings.simplefilter("error", CompileFallbackWarning)  # numpy is not what is tested
        sess.run(tf.global_variables_initializer())
        names["w1"].load(w1, sess)
        names["w2"].load(w2, sess)
        for _ in range(steps):
            loss, _, _ = sess.run([names["loss"], names["new_w1"], names["new_w2"]], feed)
            out.append(float(loss))
    return out


@pytest.mark.parametrize("program", PROGRAMS)
def test_losses_are_those_of_tensorflow(program: str) -> None:
    have, want = np.array(losses(program)), np.array(LOSSES[program])
    np.testing.assert_allclose(have[:100], want[:100], rtol=5e-3)
    assert 0.5 < have[-1] / want[-1] < 2


@pytest.mark.parametrize("program", PROGRAMS)
def test_unoptimised_code_gives_the_same_losses(program: str) -> None:
    options = tf.OptimizerOptions(opt_level=tf.OptimizerOptions.L0)
    config = tf.ConfigProto(graph_options=tf.GraphOptions(optimizer_options=options))
    np.testing.assert_allclose(losses(program, 50, config=config), LOSSES[program][:50], rtol=5e-3)


@pytest.mark.parametrize("program", PROGRAMS)
def test_two_runs_give_the_same_bits(program: str) -> None:
    first = losses(program, 20)
    with tf.Graph().as_default():
        assert losses(program, 20) == first


def test_the_weights_that_are_fetched_are_the_new_ones() -> None:
    names = built("tf_two_layer_net_004")
    x, y, w1, w2 = inputs(names)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        names["w1"].load(w1, sess)
        names["w2"].load(w2, sess)
        loss, after, grad, variable = sess.run(
            [names["loss"], names["new_w1"], names["grad_w1"], names["w1"]],
            {names["x"]: x, names["y"]: y},
        )
    assert loss == pytest.approx(LOSSES["tf_two_layer_net_004"][0], rel=1e-5)
    np.testing.assert_allclose(after, w1 - np.float32(1e-6) * grad, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(variable, after)
