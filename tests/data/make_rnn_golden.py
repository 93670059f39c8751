"""Writes rnn_golden.json: what TensorFlow 2.21's cells and loops of version 1 compute.

The cells are those that were `tf.nn.rnn_cell` and stand under `tensorflow.python.keras` since;
run it where `tensorflow-cpu==2.21.0` is installed.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
warnings.simplefilter("ignore")
import tensorflow as full  # noqa: E402
from tensorflow.python.keras.layers.legacy_rnn import rnn_cell_impl as cells  # noqa: E402

tf = full.compat.v1
tf.disable_eager_execution()

BATCH, TIME, DEPTH = 3, 4, 2
CELLS: list[dict[str, Any]] = [
    {"cell": "BasicRNNCell", "kwargs": {"num_units": 3}},
    {"cell": "BasicRNNCell", "kwargs": {"num_units": 3, "activation": "relu"}},
    {"cell": "GRUCell", "kwargs": {"num_units": 3}},
    {"cell": "BasicLSTMCell", "kwargs": {"num_units": 3}},
    {"cell": "BasicLSTMCell", "kwargs": {"num_units": 3, "state_is_tuple": False}},
    {"cell": "BasicLSTMCell", "kwargs": {"num_units": 3, "forget_bias": 0.0}},
    {"cell": "LSTMCell", "kwargs": {"num_units": 3}},
    {"cell": "LSTMCell", "kwargs": {"num_units": 3, "use_peepholes": True, "cell_clip": 0.4}},
    {"cell": "LSTMCell", "kwargs": {"num_units": 3, "num_proj": 2, "proj_clip": 0.1}},
    {"cell": "LSTMCell", "kwargs": {"num_units": 3, "num_proj": 2, "use_peepholes": True,
                                    "state_is_tuple": False, "activation": "sigmoid"}},
    {"cell": "ResidualWrapper", "inner": {"cell": "GRUCell", "kwargs": {"num_units": 2}}},
    {"cell": "MultiRNNCell", "layers": [
        {"cell": "BasicLSTMCell", "kwargs": {"num_units": 3}},
        {"cell": "GRUCell", "kwargs": {"num_units": 2}},
    ]},
]  # fmt: skip
RUNS: list[dict[str, Any]] = [
    {"run": "static_rnn", "lengths": None},
    {"run": "static_rnn", "lengths": [2, 4, 0]},
    {"run": "dynamic_rnn", "lengths": [2, 4, 0]},
    {"run": "static_bidirectional_rnn", "lengths": [2, 4, 0]},
    {"run": "bidirectional_dynamic_rnn", "lengths": [2, 4, 0]},
]


def numbers(shape: Any, seed: int) -> np.ndarray:
    """Numbers between -0.9 and 0.9 without a pattern that would hide a mistake in an order."""
    n = int(np.prod(shape))
    return (0.9 * np.sin(1.7 * np.arange(n) + 0.3 * seed + 0.1)).reshape(shape)


def made(spec: dict[str, Any]) -> Any:
    if "inner" in spec:
        return cells.ResidualWrapper(made(spec["inner"]))
    if "layers" in spec:
        return cells.MultiRNNCell([made(s) for s in spec["layers"]])
    return getattr(cells, spec["cell"])(**spec["kwargs"])


def case(spec: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    tf.reset_default_graph()
    x = tf.constant(numbers([BATCH, TIME, DEPTH], 50))
    lengths = run["lengths"]
    function, static = getattr(tf.nn, run["run"]), run["run"].startswith("static")
    inputs = tf.unstack(x, axis=1) if static else x
    some = [made(spec)] + ([made(spec)] if "bidirectional" in run["run"] else [])
    out = function(*some, inputs, sequence_length=lengths, dtype=tf.float64)
    outputs = tf.stack(out[0], axis=1) if static else out[0]
    leaves = [*full.nest.flatten(outputs), *full.nest.flatten(out[1:])]
    # weights that make every element count differently
    loss = tf.add_n([tf.reduce_sum(t * numbers(t.shape, 7 + i)) for i, t in enumerate(leaves)])
    variables = tf.trainable_variables()
    slopes = tf.gradients(loss, [x, *variables])
    slopes = [tf.convert_to_tensor(s) for s in slopes]
    with tf.Session() as sess:
        for i, v in enumerate(variables):
            v.load(numbers(v.shape, i), sess)
        values = sess.run({"leaves": leaves, "gradients": slopes})
    return {
        "cell": spec, **run,
        "variables": [v.op.name.rsplit("_cell/", 1)[-1] for v in variables],
        **{k: [np.round(a, 10).tolist() for a in arrays] for k, arrays in values.items()},
    }  # fmt: skip


if __name__ == "__main__":
    golden = {
        "source": f"TensorFlow {full.__version__}, tests/data/make_rnn_golden.py",
        "cases": [case(c, r) for c in CELLS for r in RUNS[:2]]
        + [case(c, r) for c in (CELLS[3], CELLS[-1]) for r in RUNS[2:]],
    }
    path = Path(__file__).with_name("rnn_golden.json")
    lines = ",\n".join(json.dumps(c) for c in golden["cases"])
    path.write_text(f'{{"source": "{golden["source"]}", "cases": [\n{lines}\n]}}\n')
    print(len(golden["cases"]), path.stat().st_size)
