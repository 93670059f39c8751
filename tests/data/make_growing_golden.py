"""Writes growing_golden.json: what TensorFlow 2.21 computes of `tests/api/growing_programs.py`.

Run it from the repository's root where `tensorflow-cpu==2.21.0` is installed.  Both forms of
control flow of TensorFlow are asked, and have to agree.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as full

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.api.growing_programs import PROGRAMS, X, looped

tf = full.compat.v1
tf.disable_eager_execution()


def computed(name: str, count: int) -> list[Any]:
    """The sum of the squares of what the loop ends with, and its gradient."""
    with tf.Graph().as_default(), tf.Session() as sess:
        x, n = tf.placeholder(tf.float64, [None]), tf.placeholder(tf.int32, [])
        y = looped(tf, name, x, n)
        loss = tf.reduce_sum(y * y)
        total, slope = sess.run([loss, tf.gradients(loss, x)[0]], {x: X, n: count})
    return [float(total), *np.asarray(slope).tolist()]


if __name__ == "__main__":
    cases = []
    for name, program in PROGRAMS.items():
        for count in program.counts:
            tf.disable_control_flow_v2()
            first = computed(name, count)
            tf.enable_control_flow_v2()
            np.testing.assert_allclose(first, computed(name, count), rtol=1e-12)
            values = [float(f"{v:.12g}") for v in first]
            cases.append(json.dumps({"program": name, "count": count, "values": values}))
    source = f"TensorFlow {full.__version__}, tests/data/make_growing_golden.py"
    path = Path(__file__).with_name("growing_golden.json")
    path.write_text(f'{{"source": "{source}", "cases": [\n' + ",\n".join(cases) + "\n]}\n")
    print(len(cases), path.stat().st_size)
