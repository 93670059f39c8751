"""An Elman network as `tf.scan` over an open length: the twin of dynamic/elman_rnn.py.

One compiled loop serves sequences of every length.
"""

import argparse
import random

import numpy as np

import staticgraph as tf
import staticgraph.dynamic as dynamic  # draws the data and starting values that the twin draws

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
if args.steps < 1:
    parser.error("--steps must be at least 1")
dynamic.manual_seed(args.seed)
random.seed(args.seed)


def linear(start, name):
    """The variables of a layer, with the values of a dynamic one; applied to rows of a tensor."""
    weight = tf.Variable(start.weight.detach().numpy().T, name=f"{name}/weight")
    bias = tf.Variable(start.bias.detach().numpy(), name=f"{name}/bias")
    return lambda x: tf.matmul(x, weight) + bias


batch, input_dim, hidden_dim = 8, 2, 16
ih = linear(dynamic.nn.Linear(input_dim, hidden_dim), "ih")
hh = linear(dynamic.nn.Linear(hidden_dim, hidden_dim), "hh")
readout = linear(dynamic.nn.Linear(hidden_dim, input_dim), "readout")

input = tf.placeholder(tf.float32, [None, batch, input_dim], name="input")
mean = tf.placeholder(tf.float32, [None, batch, input_dim], name="mean")

output = tf.scan(
    lambda hidden, input_i: tf.nn.relu(ih(input_i) + hh(hidden)),
    input,
    initializer=tf.zeros([batch, hidden_dim]),
)
hidden = output[-1]
rows = readout(tf.reshape(output, [-1, hidden_dim]))
loss = tf.reduce_mean((rows - tf.reshape(mean, [-1, input_dim])) ** 2)
step = tf.train.GradientDescentOptimizer(0.05).minimize(loss)

with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for t in range(args.steps):
        seq_len = random.randint(3, 12)
        values = dynamic.randn(seq_len, batch, input_dim).numpy()
        counts = np.arange(1, seq_len + 1, dtype=np.float32).reshape(-1, 1, 1)
        feed = {input: values, mean: np.cumsum(values, axis=0) / counts}
        value, last, _ = sess.run([loss, hidden, step], feed)
        if t % 20 == 19:
            print(t, seq_len, float(value))

print(f"Last hidden state: {list(last.shape)}, sum {float(last.sum())}")
