"""`tf.custom_gradient`: the twin of dynamic/polynomial_custom_function.py."""

import argparse
import math

import numpy as np

import staticgraph as tf

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=2000)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()


@tf.custom_gradient
def legendre_polynomial_3(input):
    """The Legendre polynomial of degree three, with its derivative beside it."""

    def backward(grad_output):
        return grad_output * 1.5 * (5 * input**2 - 1)

    return 0.5 * (5 * input**3 - 3 * input), backward


x = tf.placeholder(tf.float32, [None], name="x")
y = tf.placeholder(tf.float32, [None], name="y")

# not too far from the solution, so that the fit converges
a = tf.Variable(0.0, name="a")
b = tf.Variable(-1.0, name="b")
c = tf.Variable(0.0, name="c")
d = tf.Variable(0.3, name="d")

y_pred = a + b * legendre_polynomial_3(c + d * x)
loss = tf.reduce_sum((y_pred - y) ** 2)

learning_rate = 5e-6
coefficients = [a, b, c, d]
gradients = tf.gradients(loss, coefficients)
step = tf.group(
    *(tf.assign_sub(v, learning_rate * g) for v, g in zip(coefficients, gradients, strict=True))
)

points = np.linspace(-math.pi, math.pi, 2000, dtype=np.float32)
feed = {x: points, y: np.sin(points)}
with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for t in range(args.steps):
        value, _ = sess.run([loss, step], feed)
        if t % 100 == 99:
            print(t, float(value))
    result = sess.run(coefficients)

print("Result: y = {} + {} * P3({} + {} x)".format(*result))
