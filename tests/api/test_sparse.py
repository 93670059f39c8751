"""Sparse tensors: made, fed, fetched, turned into dense ones, and compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticgraph as tf

FILE = Path(__file__).parents[1] / "data" / "ctc_golden.json"
DISTANCES: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["distance"]
VALUE = tf.SparseTensorValue(np.array([[0, 1], [2, 0]]), np.array([5.0, 6.0], np.float32), [3, 2])


def sparse(rows: list[list[int]]) -> tf.SparseTensor:
    places = [[b, i] for b, row in enumerate(rows) for i in range(len(row))]
    return tf.SparseTensor(
        np.reshape(places, [-1, 2]), [x for r in rows for x in r], [len(rows), max(map(len, rows))]
    )


def test_feeds_and_fetches_take_it_as_a_whole() -> None:
    t = tf.sparse_placeholder(tf.float32, name="t")
    twice = tf.SparseTensor(t.indices, t.values * 2.0, t.dense_shape)
    with tf.Session() as sess:
        out = sess.run(twice, {t: VALUE})
        nested = sess.run({"a": [twice, t.values], "b": t}, {t: tuple(VALUE)})
        again = sess.run(t, {t: out})
        assert twice.eval({t: VALUE}).values.tolist() == [10.0, 12.0]
    assert isinstance(out, tf.SparseTensorValue)
    assert out.values.tolist() == [10.0, 12.0]
    assert out.indices.tolist() == [[0, 1], [2, 0]]
    assert out.dense_shape.tolist() == [3, 2]
    assert nested["a"][0].values.tolist() == [10.0, 12.0]
    assert nested["a"][1].tolist() == [5.0, 6.0]
    assert nested["b"].values.tolist() == [5.0, 6.0]
    assert again.values.tolist() == [10.0, 12.0]
    assert [x.name for x in t.components()] == ["t/indices:0", "t/values:0", "t/shape:0"]


def test_a_known_shape_is_kept_and_compared() -> None:
    t = tf.sparse_placeholder(tf.float32, [3, 2])
    assert t.shape.as_list() == [3, 2]
    dense = tf.sparse.to_dense(t)
    assert dense.shape.as_list() == [3, 2]
    with tf.Session() as sess:
        assert sess.run(dense, {t: VALUE}).tolist() == [[0, 5], [0, 0], [6, 0]]
        with pytest.raises(ValueError, match=r"\[3, 4\] is fed for .* has shape \[3, 2\]"):
            sess.run(dense, {t: VALUE._replace(dense_shape=[3, 4])})


def test_dense_and_back() -> None:
    t = tf.sparse_placeholder(tf.float32)
    dense = tf.sparse_tensor_to_dense(t, -1.0)
    assert dense.shape.ndims is None
    back = tf.sparse.from_dense(tf.sparse_tensor_to_dense(t))
    with tf.Session() as sess:
        assert sess.run(dense, {t: VALUE}).tolist() == [[-1, 5], [-1, -1], [6, -1]]
        out = sess.run(back, {t: VALUE})
        empty = sess.run(dense, {t: tf.SparseTensorValue([], [], [1, 2])})
    assert out.indices.tolist() == [[0, 1], [2, 0]]
    assert out.values.tolist() == [5, 6]
    assert out.dense_shape.tolist() == [3, 2]
    assert empty.tolist() == [[-1, -1]]


def test_entries_are_converted_where_they_are() -> None:
    t = tf.cast(tf.sparse_placeholder(tf.float32, [3, 2]), tf.int64)
    assert isinstance(t, tf.SparseTensor)
    assert t.dtype is tf.int64
    assert t.shape.as_list() == [3, 2]
    assert tf.Session().run(t.with_values([7, 8]), {t.indices: VALUE.indices}).values.tolist() == [
        7,
        8,
    ]


def test_one_value_for_all_places_and_vectors_of_places() -> None:
    with tf.Session() as sess:
        assert sess.run(tf.sparse_to_dense([1, 3], [5], 1)).tolist() == [0, 1, 0, 1, 0]
        assert sess.run(tf.sparse_to_dense(2, [4], 7, -1)).tolist() == [-1, -1, 7, -1]
        assert sess.run(tf.sparse_to_dense([[1]], [2], [b"x"])).tolist() == [b"", b"x"]


def test_gradients_reach_the_values() -> None:
    values = tf.constant([2.0, 3.0])
    default = tf.constant(1.0)
    dense = tf.sparse_to_dense([[0, 1], [2, 0]], [3, 2], values, default)
    loss = tf.reduce_sum(dense * dense * tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    a, b = tf.Session().run(tf.gradients(loss, [values, default]))
    assert a.tolist() == [2 * 2 * 2.0, 2 * 3 * 5.0]
    assert b == 2 * (1 + 3 + 4 + 6)


@pytest.mark.parametrize("case", DISTANCES)
def test_edit_distances_are_those_of_tensorflow(case: dict[str, Any]) -> None:
    d = tf.edit_distance(
        sparse(case["hypothesis"]), sparse(case["truth"]), normalize=case["normalize"]
    )
    assert d.shape.as_list() == [len(case["truth"])]
    assert [str(x) for x in tf.Session().run(d)] == case["distance"]


def test_distances_of_what_is_fed() -> None:
    a, b = tf.sparse_placeholder(tf.int64), tf.sparse_placeholder(tf.int64, [None, None])
    one, other = tf.edit_distance(a, b), tf.edit_distance(b, b)
    assert one.shape.ndims is None
    assert other.shape.as_list() == [None]
    feed = {
        a: tf.SparseTensorValue([[0, 0], [1, 0]], [1, 2], [2, 1]),
        b: tf.SparseTensorValue([[0, 0], [1, 0], [1, 1]], [1, 3, 2], [2, 2]),
    }
    with tf.Session() as sess:
        assert sess.run([one, other], feed)[0].tolist() == [0.0, 0.5]
        assert sess.run(other, feed).tolist() == [0.0, 0.0]


def test_shapes_of_distances() -> None:
    a = tf.SparseTensor([[0, 1, 0]], ["x"], [2, 2, 3])
    b = tf.SparseTensor([[0, 0, 0]], ["x"], [1, 3, 4])
    with tf.Session() as sess:
        d = sess.run(tf.edit_distance(a, b, normalize=False))
    assert d.tolist() == [[1, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: tf.SparseTensor([[0, 1]], [1, 2], [3, 2]), "1 indices for 2 values"),
        (lambda: tf.SparseTensor([[0, 1]], [1], [3]), "indices of 2 numbers .* rank 1"),
        (lambda: tf.SparseTensor([0, 1], [1], [3, 2]), r"indices have rank 2, got shape \(2,\)"),
        (lambda: tf.sparse.to_dense([1, 2]), r"sp_input is a SparseTensor, got \[1, 2\]"),
        (lambda: tf.edit_distance(sparse([[1]]), tf.SparseTensor([[0, 0]], [1.0], [1, 1])),
         "the hypothesis is int32, the truth float32"),
        (lambda: tf.reduce_sum(sparse([[1]])), "sparse tensor 'SparseTensor/values:0' stands"),
    ],
)  # fmt: skip
def test_what_does_not_fit(build: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text) as raised:
        build()
    assert "test_sparse.py" in str(raised.value)


def test_values_that_do_not_fit_fail_the_run() -> None:
    t = tf.sparse_placeholder(tf.int32)
    dense, loose = tf.sparse.to_dense(t), tf.sparse.to_dense(t, validate_indices=False)
    with tf.Session() as sess:
        for places, text in (
            ([[0, 1], [3, 0]], r"indices\[1\] is \[3, 0\], outside the shape \[3, 2\]"),
            ([[0, 1], [0, 0]], r"indices\[1\], \[0, 0\], does not come after"),
            ([[0, 1], [0, 1]], r"indices\[1\], \[0, 1\], repeats"),
        ):
            with pytest.raises(tf.errors.InvalidArgumentError, match=text):
                sess.run(dense, {t: (places, [1, 2], [3, 2])})
        assert sess.run(loose, {t: ([[0, 1], [0, 0]], [1, 2], [1, 2])}).tolist() == [[2, 1]]
        with pytest.raises(ValueError, match="is a SparseTensorValue or a tuple"):
            sess.run(dense, {t: np.zeros((3, 2))})
