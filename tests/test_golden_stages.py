"""Small features from function to kernel text, kept in ``golden/`` so that a change is a review."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgraph as tf


def elementwise() -> Any:
    x = tf.placeholder(tf.float32, [None], name="x")
    return tf.tanh(x * 2.0 + 1.0, name="y")


def bias() -> Any:
    x = tf.placeholder(tf.float32, [None, 10], name="x")
    return tf.nn.relu(tf.nn.bias_add(x, tf.Variable(np.zeros(10, np.float32), name="b")), name="y")


def softmax() -> Any:
    return tf.nn.softmax(tf.placeholder(tf.float32, [None, 10], name="x"), name="y")


def column_sum() -> Any:
    x = tf.placeholder(tf.float32, [None, 10], name="x")
    return tf.reduce_sum(tf.square(x), axis=0, name="y")


def full_reduction() -> Any:
    return tf.reduce_mean(tf.placeholder(tf.float32, [None], name="x"), name="y")


def gemm_update() -> Any:
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    g = tf.placeholder(tf.float32, [None, 3], name="g")
    w = tf.Variable(np.zeros((4, 3), np.float32), name="w")
    return tf.assign_sub(w, 0.5 * tf.matmul(x, g, transpose_a=True), name="step")


def gather() -> Any:
    table = tf.placeholder(tf.float32, [None, 4], name="table")
    index = tf.placeholder(tf.int32, [None], name="index")
    return tf.multiply(tf.gather(table, index), 2.0, name="y")


def argmax() -> Any:
    return tf.argmax(tf.placeholder(tf.float32, [None, 10], name="x"), axis=1, name="y")


FEATURES = (
    elementwise, bias, softmax, column_sum, full_reduction, gemm_update, gather, argmax,
)  # fmt: skip


@pytest.mark.parametrize("feature", FEATURES, ids=lambda f: f.__name__)
def test_stages(feature: Callable[[], Any], golden: Callable[[str, str], None]) -> None:
    done = tf.stages(feature())
    parts = {
        "closed over fetches and feeds": done.closed,
        "after the passes": done.function,
        "fused": done.fused,
        "lowered": done.program,
        **{f"CPU source of {name}": text.rstrip() for name, text in done.sources().items()},
    }
    text = "\n\n".join(f"# ---- {title}\n{part}" for title, part in parts.items())
    golden(f"stages_{feature.__name__}.txt", text)


def test_the_text_does_not_depend_on_the_process() -> None:
    def text() -> str:
        with tf.Graph().as_default():
            return str(tf.stages(softmax()))

    assert text() == text()
