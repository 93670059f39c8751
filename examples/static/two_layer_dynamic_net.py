"""A loop inside the graph: the twin of dynamic/two_layer_dynamic_net.py.

How often the middle layer is applied is drawn in Python and fed; the loop is an operation.
"""

import argparse
import random

import staticgraph as tf
import staticgraph.dynamic as dynamic  # draws the data and starting values that the twin draws

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
dynamic.manual_seed(args.seed)
random.seed(args.seed)


def linear(start, name):
    """The variables of a layer, with the values of a dynamic one; applied to a tensor."""
    weight = tf.Variable(start.weight.detach().numpy().T, name=f"{name}/weight")
    bias = tf.Variable(start.bias.detach().numpy(), name=f"{name}/bias")
    return lambda x: tf.matmul(x, weight) + bias


# N is the batch size, D_in and D_out are the sizes of input and output, H that of the hidden layer.
N, D_in, H, D_out = 64, 1000, 100, 10

x_value = dynamic.randn(N, D_in).numpy()
y_value = dynamic.randn(N, D_out).numpy()

x = tf.placeholder(tf.float32, [N, D_in], name="x")
y = tf.placeholder(tf.float32, [N, D_out], name="y")
times = tf.placeholder(tf.int32, [], name="times")
input_linear = linear(dynamic.nn.Linear(D_in, H), "input")
middle_linear = linear(dynamic.nn.Linear(H, H), "middle")
output_linear = linear(dynamic.nn.Linear(H, D_out), "output")

_, h_relu = tf.while_loop(
    lambda i, h: i < times,
    lambda i, h: (i + 1, tf.maximum(middle_linear(h), 0.0)),
    [tf.constant(0), tf.maximum(input_linear(x), 0.0)],
)
y_pred = output_linear(h_relu)
loss = tf.reduce_sum(tf.squared_difference(y_pred, y))
step = tf.train.MomentumOptimizer(1e-4, momentum=0.9).minimize(loss)

with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for t in range(args.steps):
        feed = {x: x_value, y: y_value, times: random.randint(0, 3)}
        value, _ = sess.run([loss, step], feed)
        print(t, float(value))
