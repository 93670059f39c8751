"""The cubic with `tf.gradients`: the twin of dynamic/polynomial_autograd.py."""

import argparse
import math

import numpy as np

import staticgraph as tf
import staticgraph.dynamic as dynamic  # draws the starting values that the twin draws

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=2000)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
dynamic.manual_seed(args.seed)

x = tf.placeholder(tf.float32, [None], name="x")
y = tf.placeholder(tf.float32, [None], name="y")
a, b, c, d = (tf.Variable(dynamic.randn(()).numpy(), name=name) for name in "abcd")

y_pred = a + b * x + c * x**2 + d * x**3
loss = tf.reduce_sum((y_pred - y) ** 2)

learning_rate = 1e-6
coefficients = [a, b, c, d]
gradients = tf.gradients(loss, coefficients)
step = tf.group(
    *(tf.assign_sub(v, learning_rate * g) for v, g in zip(coefficients, gradients, strict=True))
)

print("Using cpu device")
points = np.linspace(-math.pi, math.pi, 2000, dtype=np.float32)
feed = {x: points, y: np.sin(points)}
with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for t in range(args.steps):
        value, _ = sess.run([loss, step], feed)
        if t % 100 == 99:
            print(t, float(value))
    result = sess.run(coefficients)

print("Result: y = {} + {} x + {} x^2 + {} x^3".format(*result))
