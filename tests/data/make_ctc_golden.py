"""Writes ctc_golden.json: losses, decodings and distances of TensorFlow 2.21 and PyTorch 2.13.

Run it where ``tensorflow-cpu==2.21.0`` and ``torch==2.13.0`` are installed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as full
import torch

tf = full.compat.v1
tf.disable_eager_execution()

CLASSES = 5  # the last is the blank


def numbers(shape: Any, seed: int) -> np.ndarray:
    n = int(np.prod(shape))
    return (2.0 * np.sin(1.7 * np.arange(n) + 0.3 * seed + 0.1)).reshape(shape)


def sparse(rows: list[list[int]], kind: Any = np.int32) -> Any:
    places = [(b, i) for b, row in enumerate(rows) for i in range(len(row))]
    values = [x for row in rows for x in row]
    shape = [len(rows), max(map(len, rows))]
    return tf.SparseTensor(np.asarray(places, np.int64), np.asarray(values, kind), shape)


def rounded(value: Any) -> Any:
    return np.round(np.asarray(value, np.float64), 8).tolist()


def sparse_loss(rows: list[list[int]], steps: int, lengths: list[int], **options: Any) -> Any:
    with tf.Graph().as_default(), tf.Session() as sess:
        x = tf.constant(numbers((steps, len(rows), CLASSES), 1))
        loss = tf.nn.ctc_loss(sparse(rows), x, lengths, **options)
        values, slope = sess.run([loss, tf.gradients(loss, x)[0]])
    return {"rows": rows, "steps": steps, "lengths": lengths, "options": options,
            "loss": rounded(values), "gradient": rounded(slope)}  # fmt: skip


def dense_loss(rows: list[list[int]], steps: int, lengths: list[int], blank: int) -> Any:
    x = torch.tensor(numbers((steps, len(rows), CLASSES), 2), requires_grad=True)
    loss = torch.nn.functional.ctc_loss(
        torch.log_softmax(x, -1), torch.tensor([r for row in rows for r in row]),
        torch.tensor(lengths), torch.tensor([len(r) for r in rows]), blank=blank, reduction="none",
    )  # fmt: skip
    loss.sum().backward()
    return {"rows": rows, "steps": steps, "lengths": lengths, "blank": blank,
            "loss": rounded(loss.detach()), "gradient": rounded(x.grad)}  # fmt: skip


def decoded(function: str, steps: int, lengths: list[int], seed: int, **options: Any) -> Any:
    with tf.Graph().as_default(), tf.Session() as sess:
        x = tf.constant(numbers((steps, len(lengths), CLASSES), seed), tf.float64)
        paths, score = sess.run(getattr(tf.nn, function)(x, lengths, **options))
    plain = [{k: np.asarray(v).tolist() for k, v in p._asdict().items()} for p in paths]
    return {"function": function, "steps": steps, "lengths": lengths, "seed": seed,
            "options": options, "score": rounded(score), "paths": plain}  # fmt: skip


def distance(a: list[list[int]], b: list[list[int]], normalize: bool) -> Any:
    with tf.Graph().as_default(), tf.Session() as sess:
        value = sess.run(tf.edit_distance(sparse(a), sparse(b), normalize=normalize))
    return {"hypothesis": a, "truth": b, "normalize": normalize,
            "distance": [str(x) for x in value]}  # fmt: skip


if __name__ == "__main__":
    rows = [[1, 1, 2], [0], [3, 2, 3, 2]]
    other = [[1, 2, 2, 0], [3], [2, 3]]
    golden = {
        "source": f"TensorFlow {full.__version__} and PyTorch {torch.__version__}, "
        "tests/data/make_ctc_golden.py",
        "sparse": [
            sparse_loss(rows, 7, [7, 2, 5]),
            sparse_loss(rows, 7, [5, 7, 4]),
            sparse_loss(rows, 7, [7, 2, 5], ctc_merge_repeated=False),
            sparse_loss(rows, 7, [7, 2, 5], preprocess_collapse_repeated=True),
            sparse_loss(rows, 7, [2, 2, 5], ignore_longer_outputs_than_inputs=True),
        ],
        "dense": [
            dense_loss(rows, 7, [7, 2, 5], 4),
            dense_loss([[2, 2, 3], [1], [4, 3, 4, 3]], 7, [7, 2, 5], 0),
            dense_loss([[0, 0, 1], [], [4, 1, 4]], 6, [6, 3, 4], 2),
        ],
        "decoded": [
            decoded("ctc_greedy_decoder", 9, [9, 4, 0], 1),
            decoded("ctc_greedy_decoder", 9, [9, 4, 1], 2, merge_repeated=False),
            decoded("ctc_beam_search_decoder", 9, [9, 4, 1], 1, top_paths=3),
            decoded("ctc_beam_search_decoder", 6, [6, 4, 2], 3, merge_repeated=False, top_paths=4),
            decoded("ctc_beam_search_decoder", 9, [9, 4, 1], 4, beam_width=5, merge_repeated=False),
        ],
        "distance": [
            distance(rows, other, True), distance(rows, other, False),
            distance([[], [1]], [[2], []], True), distance([[], [1, 2, 3]], [[], [3]], False),
        ],
    }  # fmt: skip
    path = Path(__file__).with_name("ctc_golden.json")
    path.write_text(json.dumps(golden, indent=None) + "\n")
    print(path.stat().st_size)
