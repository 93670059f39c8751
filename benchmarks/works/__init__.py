"""The works, one module each; see `benchmarks.case` for what a module holds.

The functions ``tf1`` and ``staticgraph`` share their program: it is the same text for both.
"""

NAMES = (
    "scalar",
    "cubic_fit",
    "cubic_loop",
    "two_layer",
    "chain",
    "softmax_xent",
    "layer_norm",
    "column_sums",
    "transpose",
    "adam",
    "convnet",
    "mlp12",
    "rnn50",
    "elman_rnn",
    "char_lstm",
    "logistic",
    "newton",
    "scan_memory",
    "scan_lengths",
    "batch_sizes",
    "first_step",
    "rnn_compile",
    "graph_size",
)
