"""A class that builds a part of a graph: the twin of dynamic/polynomial_module.py."""

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


class Polynomial3:
    """A polynomial of degree three: its variables, and the operations on a tensor."""

    def __init__(self):
        self.coefficients = [tf.Variable(dynamic.randn(()).numpy(), name=n) for n in "abcd"]

    def __call__(self, x):
        a, b, c, d = self.coefficients
        return a + b * x + c * x**2 + d * x**3

    def string(self, sess):
        """The polynomial as text, with the values of a session."""
        return "y = {} + {} x + {} x^2 + {} x^3".format(*sess.run(self.coefficients))


x = tf.placeholder(tf.float32, [None], name="x")
y = tf.placeholder(tf.float32, [None], name="y")
model = Polynomial3()
loss = tf.reduce_sum(tf.squared_difference(model(x), y))
step = tf.train.GradientDescentOptimizer(1e-6).minimize(loss)

points = np.linspace(-math.pi, math.pi, 2000, dtype=np.float32)
feed = {x: points, y: np.sin(points)}
with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for t in range(args.steps):
        value, _ = sess.run([loss, step], feed)
        if t % 100 == 99:
            print(t, float(value))
    print(f"Result: {model.string(sess)}")
