"""Two optimizers for parts of the variables: the twin of dynamic/two_layer_optim_subsets.py.

Both gradients are taken before either optimizer changes anything: they are of one run's start.
"""

import argparse

import staticgraph as tf
import staticgraph.dynamic as dynamic  # draws the data and starting values that the twin draws

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=500)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
dynamic.manual_seed(args.seed)


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
linear1 = linear(dynamic.nn.Linear(D_in, H), "linear1")
linear2 = linear(dynamic.nn.Linear(H, D_out), "linear2")

y_pred = linear2(tf.nn.relu(linear1(x)))
loss = tf.reduce_sum(tf.squared_difference(y_pred, y))
step = tf.group(
    tf.train.AdamOptimizer(1e-4).minimize(
        loss, var_list=tf.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES, "linear1")
    ),
    tf.train.MomentumOptimizer(1e-5, momentum=0.9).minimize(
        loss, var_list=tf.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES, "linear2")
    ),
)

with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for t in range(args.steps):
        value, _ = sess.run([loss, step], {x: x_value, y: y_value})
        print(t, float(value))
