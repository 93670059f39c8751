"""The values of TensorFlow's recurrent cells, and the same programs built here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import staticgraph as tf

FILE = Path(__file__).parents[1] / "data" / "rnn_golden.json"
CASES: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["cases"]
BATCH, TIME, DEPTH = 3, 4, 2


def numbers(shape: Any, seed: int) -> np.ndarray:
    """The numbers that the golden file was made from."""
    sizes = [int(d) for d in shape]
    n = int(np.prod(sizes))
    return (0.9 * np.sin(1.7 * np.arange(n) + 0.3 * seed + 0.1)).reshape(sizes)


def made(spec: dict[str, Any]) -> Any:
    """The cell that a case describes."""
    if "inner" in spec:
        return tf.nn.rnn_cell.ResidualWrapper(made(spec["inner"]))
    if "layers" in spec:
        return tf.nn.rnn_cell.MultiRNNCell([made(s) for s in spec["layers"]])
    return getattr(tf.nn.rnn_cell, spec["cell"])(**spec["kwargs"])


def name_of(case: dict[str, Any]) -> str:
    """A short name of a case."""
    cell = case["cell"]
    extra = "-".join(f"{k}={v}" for k, v in cell.get("kwargs", {}).items() if k != "num_units")
    return "-".join(filter(None, [cell["cell"], extra, case["run"], str(bool(case["lengths"]))]))


def check(case: dict[str, Any], batch: int | None = BATCH, time: int | None = TIME) -> None:
    """Build the case with placeholders of the given sizes, and compare every value.

    Values are float64 and the golden ones have ten digits.
    """
    x = tf.placeholder(tf.float64, [batch, time, DEPTH])
    static = case["run"].startswith("static")
    inputs = tf.unstack(x, axis=1) if static else x
    some = [made(case["cell"])] + ([made(case["cell"])] if "bidirectional" in case["run"] else [])
    run = getattr(tf.nn, case["run"])
    out = run(*some, inputs, sequence_length=case["lengths"], dtype=tf.float64)
    outputs = tf.stack(out[0], axis=1) if static else out[0]
    leaves = [*tf.nest.flatten(outputs), *tf.nest.flatten(out[1:])]
    weights = [numbers(np.shape(a), 7 + i) for i, a in enumerate(case["leaves"])]
    loss = tf.add_n([tf.reduce_sum(t * w) for t, w in zip(leaves, weights, strict=True)])
    variables = tf.trainable_variables()
    suffixes = [v.op.name.rpartition("_cell/")[2] for v in variables]
    assert suffixes == case["variables"]
    slopes = [tf.convert_to_tensor(g) for g in tf.gradients(loss, [x, *variables])]
    with tf.Session() as sess:
        for i, v in enumerate(variables):
            v.load(numbers(v.shape, i), sess)
        feed = {x: numbers([BATCH, TIME, DEPTH], 50)}
        values = sess.run({"leaves": leaves, "gradients": slopes}, feed)
    for key, found in values.items():
        for have, want in zip(found, case[key], strict=True):
            np.testing.assert_allclose(have, want, rtol=1e-7, atol=1e-9, err_msg=key)
