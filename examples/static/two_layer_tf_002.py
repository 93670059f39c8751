"""A TensorFlow program, with seeds ("TensorFlow: Static Graphs", 100 inputs).

As it was written, without seeds, it is ../tf_two_layer_net_002.py.
"""

import argparse

import numpy as np

import staticgraph as tf

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
np.random.seed(args.seed)

# N is the batch size, D_in and D_out are the sizes of input and output, H that of the hidden layer.
N, D_in, H, D_out = 64, 100, 1000, 10

x = tf.placeholder(tf.float32, shape=[N, D_in])
y = tf.placeholder(tf.float32, shape=[N, D_out])

w1 = tf.Variable(tf.random_normal(shape=[D_in, H], seed=args.seed + 1))
w2 = tf.Variable(tf.random_normal(shape=[H, D_out], seed=args.seed + 2))

lr = 1e-6

h = tf.matmul(x, w1)
h_relu = tf.maximum(h, tf.zeros(1))
y_pred = tf.matmul(h_relu, w2)

loss = tf.reduce_sum(tf.squared_difference(y_pred, y))
print(loss)

grad_w1, grad_w2 = tf.gradients(loss, [w1, w2])

new_w1 = w1.assign(w1 - lr * grad_w1)
new_w2 = w2.assign(w2 - lr * grad_w2)

with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())

    x_value = np.random.randn(N, D_in)
    y_value = np.random.randn(N, D_out)

    for t in range(args.steps):
        _loss, _, _ = sess.run([loss, new_w1, new_w2], feed_dict={x: x_value, y: y_value})
        print(f"\rt = {t + 1:,}\tLoss = {_loss:.2f}", end="")
print()
