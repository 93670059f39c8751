"""Fit a cubic polynomial to sin(x), as a static graph.

The four coefficients are variables, the points are fed, and one run makes one step of gradient
descent: forward pass, gradients and updates are one compiled program.

    python examples/cubic_fit.py [--steps 2000] [--seed 0] [--show]
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np

import staticgraph as tf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000, help="steps of gradient descent")
    parser.add_argument("--seed", type=int, default=0, help="seed of the coefficients")
    parser.add_argument("--show", action="store_true", help="print the kernels that are run")
    args = parser.parse_args()

    tf.set_random_seed(args.seed)
    x = tf.placeholder(tf.float32, [None], name="x")
    y = tf.placeholder(tf.float32, [None], name="y")

    a, b, c, d = (tf.Variable(tf.random_normal([]), name=name) for name in "abcd")
    y_pred = a + b * x + c * x**2 + d * x**3
    loss = tf.reduce_sum((y_pred - y) ** 2)

    learning_rate = 1e-6
    gradients = tf.gradients(loss, [a, b, c, d])
    step = tf.group(
        *(v.assign(v - learning_rate * g) for v, g in zip([a, b, c, d], gradients, strict=True))
    )

    points = np.linspace(-math.pi, math.pi, 2000, dtype=np.float32)
    feed = {x: points, y: np.sin(points)}
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run([loss, step], feed)
        start = time.perf_counter()
        for t in range(1, args.steps):
            value, _ = sess.run([loss, step], feed)
            if t % 100 == 99:
                print(f"{t:5d}  {value:.6f}")
        seconds = time.perf_counter() - start

        if args.show:
            for executable in sess.executables():
                for kernel in executable.program.kernels():
                    print(kernel)
        va, vb, vc, vd = sess.run([a, b, c, d])
    print(f"Result: y = {va:.6f} + {vb:.6f} x + {vc:.6f} x^2 + {vd:.6f} x^3")
    print(f"{seconds / max(args.steps - 1, 1) * 1e6:.1f} µs a step")


if __name__ == "__main__":
    main()
