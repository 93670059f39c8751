"""The same by-hand derivatives in 32 bits: the twin of dynamic/two_layer_tensors.py."""

import argparse

import staticgraph as tf
import staticgraph.dynamic as dynamic  # draws the data and starting values that the twin draws

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
dynamic.manual_seed(args.seed)

# N is the batch size, D_in and D_out are the sizes of input and output, H that of the hidden layer.
N, D_in, H, D_out = 64, 1000, 100, 10

x_value = dynamic.randn(N, D_in).numpy()
y_value = dynamic.randn(N, D_out).numpy()

x = tf.placeholder(tf.float32, [N, D_in], name="x")
y = tf.placeholder(tf.float32, [N, D_out], name="y")
w1 = tf.Variable(dynamic.randn(D_in, H).numpy(), name="w1")
w2 = tf.Variable(dynamic.randn(H, D_out).numpy(), name="w2")

h = tf.matmul(x, w1)
h_relu = tf.maximum(h, 0.0)
y_pred = tf.matmul(h_relu, w2)
loss = tf.reduce_sum((y_pred - y) ** 2)

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
        print(f"\rt = {t + 1:,}\tloss = {value:.2f}", end="")
print()
