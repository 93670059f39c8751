"""Writes loop_golden.json: what TensorFlow 2.21 computes of `tests/nn/loop_programs.py`.

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
from tests.nn.loop_programs import PROGRAMS, results  # noqa: E402

tf = full.compat.v1
tf.disable_v2_behavior()


def plain(a: np.ndarray) -> list[object] | object:
    """An array as JSON has it."""
    return np.round(a, 10).tolist() if a.dtype.kind == "f" else a.tolist()


if __name__ == "__main__":
    lines = []
    for name in PROGRAMS:
        tf.reset_default_graph()
        values = [plain(a) for a in results(tf, cells, name)]
        lines.append(json.dumps({"program": name, "values": values}))
    source = f"TensorFlow {full.__version__}, tests/data/make_loop_golden.py"
    path = Path(__file__).with_name("loop_golden.json")
    path.write_text(f'{{"source": "{source}", "cases": [\n' + ",\n".join(lines) + "\n]}\n")
    print(len(lines), path.stat().st_size)
