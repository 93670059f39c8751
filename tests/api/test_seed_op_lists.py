"""Two programs of TensorFlow 1 build the operations that TensorFlow builds.

Names, types, inputs and static shapes of everything outside the scope ``gradients/`` are compared
with lists printed by TensorFlow 1.15.5; so are the texts of three tensors of each program.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import staticgraph as tf

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "tf1_op_lists.json").read_text())[
    "programs"
]


def squared_difference_net() -> tuple[Any, ...]:
    N, D_in, H, D_out = 64, 100, 1000, 10
    x = tf.placeholder(tf.float32, shape=[N, D_in])
    y = tf.placeholder(tf.float32, shape=[N, D_out])
    w1 = tf.Variable(tf.random_normal(shape=[D_in, H]))
    w2 = tf.Variable(tf.random_normal(shape=[H, D_out]))
    lr = 1e-6
    h = tf.matmul(x, w1)
    h_relu = tf.maximum(h, tf.zeros(1))
    y_pred = tf.matmul(h_relu, w2)
    loss = tf.reduce_sum(tf.squared_difference(y_pred, y))
    grad_w1, grad_w2 = tf.gradients(loss, [w1, w2])
    new_w1 = w1.assign(w1 - lr * grad_w1)
    new_w2 = w2.assign(w2 - lr * grad_w2)
    return loss, grad_w1, new_w1, new_w2


def power_net() -> tuple[Any, ...]:
    D_in, H, D_out = 1000, 100, 10
    x = tf.placeholder(tf.float32, shape=(None, D_in))
    y = tf.placeholder(tf.float32, shape=(None, D_out))
    w1 = tf.Variable(tf.random_normal((D_in, H)))
    w2 = tf.Variable(tf.random_normal((H, D_out)))
    h = tf.matmul(x, w1)
    h_relu = tf.maximum(h, tf.zeros(1))
    y_pred = tf.matmul(h_relu, w2)
    loss = tf.reduce_sum((y - y_pred) ** 2.0)
    grad_w1, grad_w2 = tf.gradients(loss, [w1, w2])
    learning_rate = 1e-6
    new_w1 = w1.assign(w1 - learning_rate * grad_w1)
    new_w2 = w2.assign(w2 - learning_rate * grad_w2)
    return loss, grad_w1, new_w1, new_w2


PROGRAMS = [squared_difference_net, power_net]


@pytest.mark.parametrize("program", PROGRAMS)
def test_operations_outside_gradients_are_those_of_tensorflow(program: Any) -> None:
    with tf.Graph().as_default() as graph:
        program()
    have = [
        [op.name, op.type, [t.name for t in op.inputs], [str(t.shape) for t in op.outputs]]
        for op in graph.get_operations()
        if not op.name.startswith("gradients/")
    ]
    assert have == GOLDEN[program.__name__]["operations"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_tensors_print_as_in_tensorflow(program: Any) -> None:
    with tf.Graph().as_default():
        loss, grad_w1, new_w1, _ = program()
    assert [str(loss), str(grad_w1), str(new_w1)] == GOLDEN[program.__name__]["repr"]
