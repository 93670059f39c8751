"""A loop inside the graph: the twin of dynamic/polynomial_dynamic_net.py.

How many terms there are is drawn in Python and fed; the loop that adds them is an operation.  A
step whose polynomial is of degree three leaves the fifth coefficient alone, momentum and all: there
PyTorch's optimizer sees no gradient, where a static graph has one of nought.
"""

import argparse
import math
import random

import numpy as np

import staticgraph as tf
import staticgraph.dynamic as dynamic  # draws the starting values that the twin draws

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=30000)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
dynamic.manual_seed(args.seed)
random.seed(args.seed)

x = tf.placeholder(tf.float32, [None], name="x")
y = tf.placeholder(tf.float32, [None], name="y")
end = tf.placeholder(tf.int32, [], name="end")
a, b, c, d, e = (tf.Variable(dynamic.randn(()).numpy(), name=name) for name in "abcde")

_, y_pred, _ = tf.while_loop(
    lambda exp, total, power: exp < end,
    lambda exp, total, power: (exp + 1, total + e * power, power * x),
    [tf.constant(4), a + b * x + c * x**2 + d * x**3, x**4],
)
loss = tf.reduce_sum(tf.squared_difference(y_pred, y))

learning_rate, momentum = 1e-8, 0.9
updates = []
coefficients = [a, b, c, d, e]
for v, g in zip(coefficients, tf.gradients(loss, coefficients), strict=True):
    velocity = tf.Variable(0.0, trainable=False, name="velocity")
    used = end > 4 if v is e else tf.constant(True)
    faster = tf.assign(velocity, tf.where(used, momentum * velocity + g, velocity))
    updates.append(tf.assign_sub(v, tf.where(used, learning_rate * faster, 0.0)))
step = tf.group(*updates)

points = np.linspace(-math.pi, math.pi, 2000, dtype=np.float32)
with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for t in range(args.steps):
        feed = {x: points, y: np.sin(points), end: random.randint(4, 6)}
        value, _ = sess.run([loss, step], feed)
        if t % 2000 == 1999:
            print(t, float(value))
    va, vb, vc, vd, ve = sess.run(coefficients)

print(f"Result: y = {va} + {vb} x + {vc} x^2 + {vd} x^3 + {ve} x^4 ? + {ve} x^5 ?")
