"""A training loop that is a part of the graph, beside one in Python.

With `Session.run` a step the program comes back to Python after every step.  Here `tf.foldl` goes
over the numbers of the steps, its body computes the loss and applies the gradients, and one run of
the session does them all.  Both ways leave the same parameters.

    python examples/train_in_graph.py [--steps 2000] [--points 2000]
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np

import staticgraph as tf

RATE = 1e-6


Model = tuple[list[tf.Variable], Callable[[], tf.Tensor]]


def model(x: tf.Tensor, y: tf.Tensor, names: str) -> Model:
    """The coefficients of a cubic polynomial, and a function that builds the loss."""
    coefficients = [
        tf.get_variable(f"{names}_{k}", [], initializer=tf.constant_initializer(value))
        for k, value in enumerate([0.3, -0.2, 0.1, 0.4])
    ]

    def loss() -> tf.Tensor:
        a, b, c, d = coefficients
        return tf.reduce_sum(tf.square(a + b * x + c * x**2 + d * x**3 - y))

    return coefficients, loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000, help="steps of gradient descent")
    parser.add_argument("--points", type=int, default=2000, help="points of the sine")
    args = parser.parse_args()
    if min(args.steps, args.points) < 1:
        parser.error("--steps and --points must be at least 1")

    points = np.linspace(-math.pi, math.pi, args.points, dtype=np.float32)
    x = tf.placeholder(tf.float32, [None], name="x")
    y = tf.placeholder(tf.float32, [None], name="y")
    steps = tf.placeholder(tf.int32, [], name="steps")
    feed = {x: points, y: np.sin(points)}

    outside, loss_outside = model(x, y, "outside")
    value = loss_outside()
    train = tf.train.GradientDescentOptimizer(RATE).minimize(value)

    inside, loss_inside = model(x, y, "inside")

    def step(_: tf.Tensor, __: tf.Tensor) -> tf.Tensor:
        """One step of training; gives the loss."""
        loss = loss_inside()
        optimizer = tf.train.GradientDescentOptimizer(RATE)
        with tf.control_dependencies([optimizer.minimize(loss, var_list=inside)]):
            return tf.identity(loss)

    trained = tf.foldl(step, tf.range(steps), tf.constant(0.0))

    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run([value, train], feed)  # compiles
        sess.run(trained, {**feed, steps: 1})
        sess.run(tf.global_variables_initializer())

        began = time.perf_counter()
        for _ in range(args.steps):
            last, _ = sess.run([value, train], feed)
        a_run = (time.perf_counter() - began) / args.steps

        began = time.perf_counter()
        last_inside = sess.run(trained, {**feed, steps: args.steps})
        a_loop = (time.perf_counter() - began) / args.steps
        ours, theirs = sess.run([inside, outside])

    print(f"a run of the session a step: {a_run * 1e6:7.2f} µs a step, loss {last:.6f}")
    print(f"the loop in the graph:       {a_loop * 1e6:7.2f} µs a step, loss {last_inside:.6f}")
    print(f"ratio {a_run / a_loop:.1f}")
    difference = max(abs(p - q) for p, q in zip(ours, theirs, strict=True))
    print(f"coefficients differ by at most {difference:.1e}")


if __name__ == "__main__":
    main()
