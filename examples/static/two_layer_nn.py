"""The net with a mean loss and plain descent: the twin of dynamic/two_layer_nn.py."""

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

x_value = dynamic.randn(N, D_in).uniform_(-1, 1).numpy()
y_value = dynamic.randn(N, D_out).numpy()

x = tf.placeholder(tf.float32, [N, D_in], name="x")
y = tf.placeholder(tf.float32, [N, D_out], name="y")
hidden = linear(dynamic.nn.Linear(D_in, H), "hidden")
output = linear(dynamic.nn.Linear(H, D_out), "output")

y_pred = output(tf.nn.relu(hidden(x)))
loss = tf.reduce_mean(tf.squared_difference(y_pred, y))

lr = 1e-2
variables = tf.trainable_variables()
gradients = tf.gradients(loss, variables)
step = tf.group(*(tf.assign_sub(v, lr * g) for v, g in zip(variables, gradients, strict=True)))

with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for t in range(args.steps):
        value, _ = sess.run([loss, step], {x: x_value, y: y_value})
        print(f"\rt = {t + 1:,}\tloss = {value:.2f}", end="")
print()
