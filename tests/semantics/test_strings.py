"""Strings are bytes, wherever they come from."""

from __future__ import annotations

import numpy as np
import pytest

import staticgraph as tf


def test_text_is_bytes_whether_it_is_a_constant_a_feed_or_a_state() -> None:
    c = tf.constant(["a", b"b"])
    p = tf.placeholder(tf.string, [None])
    v = tf.Variable("x")
    with tf.Session() as sess:
        sess.run(v.initializer)
        assert sess.run(tf.constant("hé")) == "hé".encode()
        assert sess.run(c).tolist() == [b"a", b"b"]
        for fed in ["a", "z"], [b"a", b"z"], np.array(["a", "z"]), np.array(["a", b"z"], object):
            assert sess.run(p, {p: fed}).tolist() == [b"a", b"z"]
            assert sess.run(tf.equal(p, c), {p: fed}).tolist() == [True, False]
        assert sess.run([v, v.assign("y")]) == [b"y", b"y"]
        assert sess.run(tf.zeros([1], tf.string)).tolist() == [b""]


def test_what_pads_strings_is_empty() -> None:
    with tf.Session() as sess:
        assert sess.run(tf.pad(tf.constant(["a"]), [[1, 1]])).tolist() == [b"", b"a", b""]
        other = tf.pad(tf.constant(["a"]), [[0, 1]], constant_values="end")
        assert sess.run(other).tolist() == [b"a", b"end"]


def test_bytes_that_end_in_zeros_stay_whole() -> None:
    p = tf.placeholder(tf.string, [None])
    with tf.Session() as sess:
        assert sess.run(p, {p: [b"a\0", b""]}).tolist() == [b"a\0", b""]
        assert sess.run(tf.constant([b"a\0\0"])).tolist() == [b"a\0\0"]


def test_functions_give_and_take_bytes() -> None:
    seen: list[object] = []

    def marked(a: np.ndarray) -> str:
        seen.extend(a.tolist())
        return a[0].decode() + "!"

    out = tf.py_func(marked, [tf.constant(["a"])], tf.string)
    with tf.Session() as sess:
        assert sess.run(out) == b"a!"
    assert seen == [b"a"]


def test_a_vector_of_strings_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with tf.Session() as sess:
        sess.run(tf.print("names", tf.constant(["a", "b", "c", "d"]), summarize=1))
    assert capsys.readouterr().err == 'names ["a" ... "d"]\n'


def test_numbers_are_no_strings() -> None:
    p = tf.placeholder(tf.string, [None], name="p")
    with tf.Session() as sess, pytest.raises(ValueError, match="1 is neither text nor bytes"):
        sess.run(p, {p: [1]})
    with pytest.raises(TypeError, match="constant: 1 is neither text nor bytes"):
        tf.constant(["a", 1], tf.string)
    wrong = tf.py_func(lambda: np.array([1], object), [], tf.string)
    with tf.Session() as sess, pytest.raises(tf.errors.InvalidArgumentError, match="neither text"):
        sess.run(wrong)
