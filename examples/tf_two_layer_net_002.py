# Typical NumPy import.
import numpy as np

# Standard way to import TensorFlow.
import staticgraph as tf

# N is batch size; D_in is input dimension;
# H is hidden dimension; D_out is output dimension.
N, D_in, H, D_out = 64, 100, 1000, 10

# Create placeholders for the input and output,
# to serve as gateway for feeding inputs and outputs
# to the network during execution.
x = tf.placeholder(tf.float32, shape=[N, D_in])
y = tf.placeholder(tf.float32, shape=[N, D_out])

# Randomly initialize learnable weights. A TensorFlow
# Variable persists it's value across execution of the graph.
w1 = tf.Variable(tf.random_normal(shape=[D_in, H]))
w2 = tf.Variable(tf.random_normal(shape=[H, D_out]))

# Learning rate.
lr = 1e-6

# Forward pass: Propagate the input through the network
# by performing some operations on TensorFlow's Tensors.
# NOTE: No operation is actually being run at this point,
# we're just setting up the computational graph that'll
# be executed/run later on.
h = tf.matmul(x, w1)
h_relu = tf.maximum(h, tf.zeros(1))
y_pred = tf.matmul(h_relu, w2)

# Compute the loss: Three different ways to compute Squared error
# in TensorFlow.
loss = tf.reduce_sum(tf.squared_difference(y_pred, y))
# loss = tf.reduce_sum(tf.square(y - y_pred))
# loss = tf.reduce_sum((y - y_pred) ** 2.0)

print(loss)  # Prints the node that holds the operation on loss.

# Compute the gradient of the loss, w.r.t. w1 & w2
grad_w1, grad_w2 = tf.gradients(loss, [w1, w2])

# Update the weights using gradient descent. To actually update the weights
# we need to evaluate new_w1 and new_w2 when executing the graph. Note that
# in TensorFlow the the act of updating the value of the weights is part of
# the computational graph; in PyTorch this happens outside the computational
# graph.
new_w1 = w1.assign(w1 - lr * grad_w1)
new_w2 = w2.assign(w2 - lr * grad_w2)

# It's time to run our computational graph.
# We run graphs using the TensorFlow's Session.
with tf.Session() as sess:
    # Run the graph ones to initialize the Variables w1 & w2.
    sess.run(tf.global_variables_initializer())

    # Create a NumPy array that holds our actual data
    x_value = np.random.randn(N, D_in)
    y_value = np.random.randn(N, D_out)

    # Training iterations.
    train_iter = 500

    for t in range(train_iter):
        # Execute the graph many times. Each time it executes we want to bind
        # x_value to x and y_value to y, specified with the feed_dict argument.
        # Each time we execute the graph we want to compute the values for loss,
        # new_w1, and new_w2; the values of these Tensors are returned as numpy
        # arrays.
        _loss, _, _ = sess.run([loss, new_w1, new_w2], feed_dict={x: x_value, y: y_value})
        # Print training progress.
        print(f"\rt = {t + 1:,}\tLoss = {_loss:.2f}", end="")
