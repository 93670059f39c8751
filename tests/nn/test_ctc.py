"""CTC: losses and their derivatives, decoders, and what they refuse."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticgraph as tf

FILE = Path(__file__).parents[1] / "data" / "ctc_golden.json"
GOLDEN: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
CLASSES = 5


def numbers(shape: Any, seed: int) -> np.ndarray:
    """The numbers that the golden file was made from."""
    n = int(np.prod(shape))
    return (2.0 * np.sin(1.7 * np.arange(n) + 0.3 * seed + 0.1)).reshape(shape)


def sparse(rows: list[list[int]], kind: Any = np.int32) -> tf.SparseTensorValue:
    places = [(b, i) for b, row in enumerate(rows) for i in range(len(row))]
    values = np.asarray([x for row in rows for x in row], kind)
    return tf.SparseTensorValue(
        np.asarray(places, np.int64).reshape(-1, 2), values, [len(rows), max(map(len, rows))]
    )


def dense(rows: list[list[int]]) -> np.ndarray:
    out = np.zeros((len(rows), max(map(len, rows))), np.int32)
    for b, row in enumerate(rows):
        out[b, : len(row)] = row
    return out


# ---------------------------------------------------------------- losses
@pytest.mark.parametrize("case", GOLDEN["sparse"], ids=lambda c: f"{c['lengths']}{c['options']}")
@pytest.mark.parametrize("time_major", [True, False])
def test_the_loss_is_that_of_tensorflow(case: dict[str, Any], time_major: bool) -> None:
    labels = tf.sparse_placeholder(tf.int32)
    x = tf.placeholder(tf.float64, [None, None, CLASSES])
    loss = tf.nn.ctc_loss(labels, x, case["lengths"], time_major=time_major, **case["options"])
    assert loss.shape.ndims == 1
    logits = numbers((case["steps"], len(case["rows"]), CLASSES), 1)
    fed = logits if time_major else logits.transpose(1, 0, 2)
    with tf.Session() as sess:
        values, slope = sess.run(
            [loss, tf.gradients(loss, x)[0]], {labels: sparse(case["rows"]), x: fed}
        )
    # TensorFlow adds probabilities in single precision, whatever the type of the logits
    np.testing.assert_allclose(values, case["loss"], rtol=1e-6)
    slope = slope if time_major else slope.transpose(1, 0, 2)
    np.testing.assert_allclose(slope, case["gradient"], rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize("case", GOLDEN["dense"], ids=lambda c: f"blank {c['blank']}")
def test_the_loss_of_dense_labels_is_that_of_torch(case: dict[str, Any]) -> None:
    rows = case["rows"]
    x = tf.constant(numbers((case["steps"], len(rows), CLASSES), 2))
    loss = tf.nn.ctc_loss_v2(
        dense(rows), x, [len(r) for r in rows], case["lengths"], blank_index=case["blank"]
    )
    with tf.Session() as sess:
        values, slope = sess.run([loss, tf.gradients(loss, x)[0]])
    np.testing.assert_allclose(values, case["loss"], rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(slope, case["gradient"], rtol=1e-7, atol=2e-8)


def test_the_loss_is_what_counting_all_paths_gives() -> None:
    steps, row = 4, [1, 1]
    logits = numbers((steps, 1, 3), 5)
    p = np.exp(logits[:, 0]) / np.exp(logits[:, 0]).sum(-1, keepdims=True)
    total = 0.0
    for path in itertools.product(range(3), repeat=steps):
        merged = [c for c, _ in itertools.groupby(path)]
        if [c for c in merged if c != 2] == row:
            total += float(np.prod([p[t, c] for t, c in enumerate(path)]))
    loss = tf.nn.ctc_loss(sparse([row]), tf.constant(logits), [steps])
    np.testing.assert_allclose(tf.Session().run(loss), [-np.log(total)], rtol=1e-12)


@pytest.mark.parametrize("merge", [True, False])
def test_first_and_second_derivatives_agree_with_differences(merge: bool) -> None:
    rng = np.random.default_rng(3)
    rows, lengths = [[1, 1, 2], [0], []], [6, 3, 2]
    x = tf.placeholder(tf.float64, [6, 3, 4])
    weights, along = rng.normal(size=3), rng.normal(size=(6, 3, 4))
    loss = tf.nn.ctc_loss(sparse(rows), x, lengths, ctc_merge_repeated=merge)
    (slope,) = tf.gradients(loss * weights, x)
    (bend,) = tf.gradients(slope * along, x)
    at, h = rng.normal(size=(6, 3, 4)), 1e-5
    with tf.Session() as sess:
        both = [sess.run([loss, slope], {x: at + s * h * along}) for s in (1, -1)]
        first, second = sess.run([slope, bend], {x: at})
    (up, up_slope), (down, down_slope) = both
    change = np.sum(weights * (up - down)) / (2 * h)
    np.testing.assert_allclose(np.sum(first * along), change, rtol=1e-7)
    # the second derivative is symmetric, so the gradient of a slope is the slope's change
    np.testing.assert_allclose(second, (up_slope - down_slope) / (2 * h), rtol=1e-5, atol=1e-8)
    with pytest.raises(TypeError, match="no third"):
        tf.gradients(bend, x)


def test_a_repeat_needs_a_blank_between() -> None:
    x = tf.constant(numbers((2, 1, 3), 1))
    loss = tf.nn.ctc_loss(sparse([[1, 1]]), x, [2])
    other = tf.nn.ctc_loss_v2([[1, 1, 1]], x, [3], [2], blank_index=-1)
    value, slope, second = tf.Session().run([loss, tf.gradients(loss, x)[0], other])
    assert value.tolist() == second.tolist() == [np.inf]
    assert np.isfinite(slope).all()


def test_a_net_learns_with_it() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(8, 2, 3)).astype(np.float32)
    w = tf.get_variable("w", [3, 4])
    logits = tf.reshape(tf.matmul(tf.reshape(tf.constant(data), [-1, 3]), w), [8, 2, 4])
    loss = tf.reduce_mean(tf.nn.ctc_loss(sparse([[0, 1], [2]]), logits, [8, 6]))
    step = tf.train.AdamOptimizer(0.1).minimize(loss)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        losses = [sess.run([loss, step])[0] for _ in range(60)]
    assert losses[-1] < 0.6 * losses[0]


# ---------------------------------------------------------------- decoders
@pytest.mark.parametrize("case", GOLDEN["decoded"], ids=lambda c: f"{c['function']}{c['options']}")
def test_decoders_are_those_of_tensorflow(case: dict[str, Any]) -> None:
    x = tf.constant(numbers((case["steps"], len(case["lengths"]), CLASSES), case["seed"]))
    paths, score = getattr(tf.nn, case["function"])(x, case["lengths"], **case["options"])
    assert all(p.dtype is tf.int64 for p in paths)
    with tf.Session() as sess:
        found, value = sess.run([paths, score])
    np.testing.assert_allclose(value, case["score"], rtol=1e-7, atol=1e-8)
    for have, want in zip(found, case["paths"], strict=True):
        assert {k: v.tolist() for k, v in have._asdict().items()} == want


def test_a_decoding_is_scored_by_the_loss() -> None:
    x = tf.constant(numbers((6, 1, CLASSES), 7))
    (path,), score = tf.nn.ctc_beam_search_decoder(x, [6], beam_width=5000, merge_repeated=False)
    labels = tf.SparseTensor(path.indices, tf.cast(path.values, tf.int32), path.dense_shape)
    loss = tf.nn.ctc_loss(labels, x, [6])
    a, b = tf.Session().run([score, loss])
    np.testing.assert_allclose(a[:, 0], -b, rtol=1e-9)


# ---------------------------------------------------------------- what is refused
X = np.zeros((3, 2, 4))


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: tf.nn.ctc_loss([[1]], X, [3, 3]), "labels is a SparseTensor"),
        (lambda: tf.nn.ctc_loss(sparse([[1], [1]]), X), "give inputs and sequence_length"),
        (lambda: tf.nn.ctc_loss(sparse([[1], [1]]), X[0], [3, 3]), "got rank 2"),
        (lambda: tf.nn.ctc_loss(sparse([[1], [1]]), X, [3, 3, 3]), "has 3 elements, the batch 2"),
        (lambda: tf.nn.ctc_loss_v2([[1], [1]], X, None, [3, 3]), "give label_length"),
        (lambda: tf.nn.ctc_loss_v2([[1]], X, [1], [3, 3]), "have 1 rows, the batch 2"),
        (
            lambda: tf.nn.ctc_loss_v2(
                tf.SparseTensor.from_value(sparse([[1], [1]])), X, None, [3, 3], blank_index=0
            ),
            "the blank is the last class, got blank_index 0",
        ),
        (
            lambda: tf.nn.ctc_beam_search_decoder(X, [3, 3], beam_width=2, top_paths=3),
            "top_paths 3 and beam_width 2",
        ),
    ],
)
def test_arguments_that_do_not_fit(build: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text) as raised:
        build()
    assert "test_ctc.py" in str(raised.value)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: tf.nn.ctc_loss(sparse([[1], [3]]), X, [3, 3]), "row 1 hold 3, .* 4 classes and 3"),
        (lambda: tf.nn.ctc_loss(sparse([[1], [-1]]), X, [3, 3]), "row 1 hold -1"),
        (lambda: tf.nn.ctc_loss(sparse([[1], [1]]), X, [3, 4]), "row 1 is 4, .* 3 steps"),
        (lambda: tf.nn.ctc_loss(sparse([[1, 2], [1]]), X, [1, 3]), "row 0 has 2 labels and only 1"),
        (lambda: tf.nn.ctc_loss(sparse([[1], [1], [1]]), X, [1, 3]), "a row 2, the batch has 2"),
        (lambda: tf.nn.ctc_loss_v2([[1], [0]], X, [1, 1], [3, 3]), "row 1 hold 0"),
        (lambda: tf.nn.ctc_loss_v2([[1], [2]], X, [1, 2], [3, 3]), "row 1 is 2, .* 1 columns"),
        (
            lambda: tf.nn.ctc_loss_v2([[1], [2]], X, [1, 1], [3, 3], blank_index=7),
            "blank is 7, there are 4",
        ),
        (lambda: tf.nn.ctc_greedy_decoder(X, [3, 5])[1], "row 1 is 5, the inputs have 3"),
        (lambda: tf.nn.ctc_beam_search_decoder(X, [0, 3], top_paths=2)[1], "row 0 has only 1 path"),
        (
            lambda: tf.nn.ctc_loss(tf.SparseTensor([[0, 1], [1, 0]], [1, 1], [2, 2]), X, [3, 3]),
            "row 0 of the labels has column 1 after 0 others",
        ),
    ],
)
def test_values_that_do_not_fit_fail_the_run(build: Any, text: str) -> None:
    tensor = build()
    with pytest.raises(tf.errors.InvalidArgumentError, match=text) as raised:
        tf.Session().run(tensor)
    assert "test_ctc.py" in str(raised.value)
