"""The same by-hand derivatives in 32 bits: the twin of dynamic/polynomial_tensors.py."""

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

# the derivatives of the loss, by hand
grad_y_pred = 2.0 * (y_pred - y)
grad_a = tf.reduce_sum(grad_y_pred)
grad_b = tf.reduce_sum(grad_y_pred * x)
grad_c = tf.reduce_sum(grad_y_pred * x**2)
grad_d = tf.reduce_sum(grad_y_pred * x**3)

learning_rate = 1e-6
step = tf.group(
    tf.assign_sub(a, learning_rate * grad_a),
    tf.assign_sub(b, learning_rate * grad_b),
    tf.assign_sub(c, learning_rate * grad_c),
    tf.assign_sub(d, learning_rate * grad_d),
)

points = np.linspace(-math.pi, math.pi, 2000, dtype=np.float32)
feed = {x: points, y: np.sin(points)}
with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for t in range(args.steps):
        value, _ = sess.run([loss, step], feed)
        if t % 100 == 99:
            print(t, float(value))
    result = sess.run([a, b, c, d])

print("Result: y = {} + {} x + {} x^2 + {} x^3".format(*result))
