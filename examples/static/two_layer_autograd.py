"""The net with `tf.gradients`: the twin of dynamic/two_layer_autograd.py."""

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

y_pred = tf.matmul(tf.maximum(tf.matmul(x, w1), 0.0), w2)
loss = tf.reduce_sum((y_pred - y) ** 2)

lr = 1e-6
grad_w1, grad_w2 = tf.gradients(loss, [w1, w2])
step = tf.group(tf.assign_sub(w1, lr * grad_w1), tf.assign_sub(w2, lr * grad_w2))

with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for t in range(args.steps):
        value, _ = sess.run([loss, step], {x: x_value, y: y_value})
        print(f"\rt = {t + 1:,}\tloss = {value:.2f}", end="")
print()
