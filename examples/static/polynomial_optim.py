"""RMSprop written out in the graph: the twin of dynamic/polynomial_optim.py.

TensorFlow's own RMSPropOptimizer starts its mean of squares at one and adds epsilon under the root;
PyTorch starts at nought and adds it to the root.  The update below is PyTorch's.
"""

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

learning_rate, alpha, epsilon = 1e-3, 0.99, 1e-8
updates = []
for v, g in zip([weight, bias], tf.gradients(loss, [weight, bias]), strict=True):
    square = tf.Variable(tf.zeros_like(v.initialized_value()), trainable=False, name="square")
    mean = tf.assign(square, alpha * square + (1 - alpha) * tf.square(g))
    updates.append(tf.assign_sub(v, learning_rate * g / (tf.sqrt(mean) + epsilon)))
step = tf.group(*updates)

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
