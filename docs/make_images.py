"""Draw the pictures of the documentation: ``python docs/make_images.py [FOLDER]``.

Without a folder the committed pictures in ``docs/images`` are written anew.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import staticgraph as tf
from staticgraph import viz
from staticgraph.runtime.compile import function_stages

FOLDER = Path(__file__).parent / "images"


def first() -> tf.Tensor:
    """The graph that the README begins with."""
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    return tf.reduce_sum(tf.tanh(x * 2.0 + 1.0), axis=1, name="y")


def draw_first(path: Path) -> None:
    """The graph as it was built."""
    first()
    viz.draw(path=path, rankdir="LR")


def draw_first_compiled(path: Path) -> None:
    """The same, beside the one kernel it becomes."""
    y = first()
    fused = partial(function_stages, stop_after="fuse")
    viz.before_after(y.graph, y, path, stages=fused)


def draw_two_layer_net(path: Path) -> None:
    """A network with its gradients and its update, by name scopes."""
    x = tf.placeholder(tf.float32, [None, 64], name="x")
    labels = tf.placeholder(tf.int32, [None], name="labels")
    with tf.name_scope("hidden"):
        w1 = tf.Variable(tf.truncated_normal([64, 32], stddev=0.1), name="w")
        h = tf.nn.relu(tf.matmul(x, w1))
    with tf.name_scope("output"):
        w2 = tf.Variable(tf.truncated_normal([32, 10], stddev=0.1), name="w")
        logits = tf.matmul(h, w2)
    with tf.name_scope("loss"):
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        loss = tf.reduce_mean(each)
    tf.train.GradientDescentOptimizer(0.1).minimize(loss)
    viz.draw(path=path)


PICTURES: dict[str, Callable[[Path], None]] = {
    "first.png": draw_first,
    "first_compiled.png": draw_first_compiled,
    "two_layer_net.png": draw_two_layer_net,
}


def main(folder: Path = FOLDER) -> None:
    """Draw every picture into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        with tf.Graph().as_default():
            draw(folder / name)
        print(folder / name)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
