"""The cubic as a product of matrices: the twin of dynamic/polynomial_nn.py."""

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
start = dynamic.nn.Linear(3, 1)

x = tf.placeholder(tf.float32, [None], name="x")
y = tf.placeholder(tf.float32, [None], name="y")
weight = tf.Variable(start.weight.detach().numpy().T, name="weight")
bias = tf.Variable(start.bias.detach().numpy(), name="bias")

xx = tf.stack([x, x**2, x**3], axis=1)
y_pred = tf.reshape(tf.matmul(xx, weight) + bias, [-1])
loss = tf.reduce_sum(tf.squared_difference(y_pred, y))

step = tf.train.GradientDescentOptimizer(1e-6).minimize(loss)

points = np.linspace(-math.pi, math.pi, 2000, dtype=np.float32)
feed = {x: points, y: np.sin(points)}
with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for t in range(args.steps):
        value, _ = sess.run([loss, step], feed)
        if t % 100 == 99:
            print(t, float(value))
    (b0,), ((w1,), (w2,), (w3,)) = sess.run([bias, weight])

print(f"Result: y = {b0} + {w1} x + {w2} x^2 + {w3} x^3")
