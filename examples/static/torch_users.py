"""The same snippets on variables and operations: the twin of dynamic/torch_users.py.

A tensor of a graph has no memory of its own to be changed; what changes is a variable, by an
assignment that is part of the graph.  What is fetched is a copy.
"""

import argparse

import numpy as np

import staticgraph as tf

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=1, help="how often the last loop goes round")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
tf.set_random_seed(args.seed)

# in place: an assignment; out of place: another tensor
a = tf.Variable(tf.random_normal([4, 6]))
with tf.control_dependencies([tf.assign(a, tf.fill([4, 6], 3.5))]):
    b = a + 4.0
    filled = a[0, 0]

# counting from zero, and slices
counted = tf.reshape(tf.range(24.0), [4, 6])
element, columns = counted[0, 3], counted[:, 3:5]

# adding columns by their number: rows of the transposed variable
x = tf.Variable(tf.ones([5, 5]))
z = tf.tile([[10.0, 100.0]], [5, 1])
added = tf.tensor_scatter_add(tf.transpose(x), [[4], [0]], tf.transpose(z))
add_columns = tf.assign(x, tf.transpose(added))

# a variable whose value is fetched, and changed later
v = tf.Variable(tf.ones([5]))
add_one = tf.assign_add(v, tf.ones([5]))

# an array that is fed
fed = tf.placeholder(tf.float64, [5])
passed_on = fed * 1

# what a loop computes, built once
out = tf.ones([2, 3]) * 2

with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    print(*sess.run([filled, b[0, 0]]))

    print(sess.run(element))
    print(sess.run(columns))

    print(sess.run(x))
    print(sess.run(z))
    print(sess.run(add_columns))

    before = sess.run(v)
    print(before)
    print(before)
    print(sess.run(add_one))
    print(sess.run(v))  # fetched anew: the array from before is a copy, and still holds ones

    array = np.ones(5)
    np.add(array, 1, out=array)
    print(array)
    print(sess.run(passed_on, {fed: array}))

    for _ in range(args.steps):
        print(sess.run(out))
