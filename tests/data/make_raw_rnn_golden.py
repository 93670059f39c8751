"""Writes raw_rnn_golden.json: what TensorFlow 2.21 computes of `tests/nn/raw_programs.py`.

Run it from the repository's root where `tensorflow-cpu==2.21.0` is installed.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
warnings.simplefilter("ignore")
import tensorflow as full  # noqa: E402
from tensorflow.python.keras.layers.legacy_rnn import rnn_cell_impl as cells  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.nn.raw_programs import PROGRAMS, results  # noqa: E402

tf = full.compat.v1
tf.disable_eager_execution()

if __name__ == "__main__":
    lines = []
    for name in PROGRAMS:
        tf.reset_default_graph()
        found = results(tf, cells, name, tf.convert_to_tensor)
        for key in ("leaves", "gradients"):
            found[key] = [np.round(a, 10).tolist() for a in found[key]]
        lines.append(json.dumps({"program": name, **found}))
    source = f"TensorFlow {full.__version__}, tests/data/make_raw_rnn_golden.py"
    path = Path(__file__).with_name("raw_rnn_golden.json")
    path.write_text(f'{{"source": "{source}", "cases": [\n' + ",\n".join(lines) + "\n]}\n")
    print(len(lines), path.stat().st_size)
