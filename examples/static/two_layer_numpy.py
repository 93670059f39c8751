"""A net of two layers, its derivatives by hand: the twin of dynamic/two_layer_numpy.py."""

import argparse

import numpy as np

import staticgraph as tf

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
np.random.seed(args.seed)

# N is the batch size, D_in and D_out are the sizes of input and output, H that of the hidden layer.
N, D_in, H, D_out = 64, 1000, 100, 10

x_value = np.random.randn(N, D_in)
y_value = np.random.randn(N, D_out)

x = tf.placeholder(tf.float64, [N, D_in], name="x")
y = tf.placeholder(tf.float64, [N, D_out], name="y")
w1 = tf.Variable(np.random.randn(D_in, H), name="w1")
w2 = tf.Variable(np.random.randn(H, D_out), name="w2")

h = tf.matmul(x, w1)
h_relu = tf.maximum(h, tf.zeros(1, tf.float64))
y_pred = tf.matmul(h_relu, w2)
loss = tf.reduce_sum(tf.square(y - y_pred))

# the derivatives of the loss, by hand
grad_y_pred = 2.0 * (y_pred - y)
grad_w2 = tf.matmul(h_relu, grad_y_pred, transpose_a=True)
grad_h_relu = tf.matmul(grad_y_pred, w2, transpose_b=True)
grad_h = tf.where(h < 0, tf.zeros_like(h), grad_h_relu)
grad_w1 = tf.matmul(x, grad_h, transpose_a=True)

lr = 1e-6
step = tf.group(tf.assign_sub(w1, lr * grad_w1), tf.assign_sub(w2, lr * grad_w2))

with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for t in range(args.steps):
        value, _ = sess.run([loss, step], {x: x_value, y: y_value})
        print(f"\rt = {t + 1:,}\tloss = {value:.4f}", end="")
print()
