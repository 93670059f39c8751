"""Feeds cut the graph anywhere; fetches come back in the structure they were asked in."""

from __future__ import annotations

import collections

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.codegen import cache


def test_any_tensor_can_be_fed_and_cuts_the_graph_there() -> None:
    x = tf.placeholder(tf.float32, [])
    y = x * 2.0
    z = y + 1.0
    sess = tf.Session()
    assert sess.run(z, {y: 10.0}) == 11.0  # x is not needed
    assert sess.run(z, {x: 1.0, y: 10.0}) == 11.0
    assert sess.run(z, {x: 1.0}) == 3.0


def test_a_constant_can_be_fed() -> None:
    c = tf.constant([1.0, 2.0])
    total = tf.reduce_sum(c)
    sess = tf.Session()
    assert sess.run(total, {c: [5.0, 6.0]}) == 11.0
    assert sess.run(total) == 3.0


def test_a_fed_axis_replaces_the_constant_one() -> None:
    x = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    axis = tf.constant(0)
    total = tf.reduce_sum(x, axis)
    sess = tf.Session()
    np.testing.assert_array_equal(sess.run(total), [4, 6])


def test_the_read_of_a_variable_can_be_fed() -> None:
    v = tf.Variable([1.0, 2.0])
    y = v * 2.0
    sess = tf.Session()
    np.testing.assert_array_equal(sess.run(y, {v: [5.0, 6.0]}), [10, 12])  # needs no value
    sess.run(tf.global_variables_initializer())
    np.testing.assert_array_equal(sess.run(y), [2, 4])


def test_a_fed_tensor_can_be_fetched() -> None:
    x = tf.placeholder(tf.float32, [2])
    np.testing.assert_array_equal(tf.Session().run(x, {x: [1, 2]}), [1, 2])


def test_one_of_two_results_of_an_operation_can_be_fed() -> None:
    values, indices = tf.nn.top_k(tf.constant([1.0, 5.0, 3.0]), 2)
    got = tf.Session().run([values * 1.0, indices], {values: [0.0, 1.0]})
    np.testing.assert_array_equal(got[0], [0, 1])
    np.testing.assert_array_equal(got[1], [1, 2])


def test_fetches_nest_and_repeat() -> None:
    a, b = tf.constant(1.0, name="a"), tf.constant(2.0, name="b")
    pair = collections.namedtuple("pair", "left right")
    ordered = collections.OrderedDict([("z", a), ("y", [b])])
    got = tf.Session().run(
        {"k": (a, [b, a]), "n": pair(b, {"d": a}), "e": [], "o": ordered, "op": a.op}
    )
    assert got["k"] == (1.0, [2.0, 1.0])
    assert got["n"] == pair(2.0, {"d": 1.0}) and isinstance(got["n"], pair)
    assert got["e"] == [] and got["op"] is None
    assert isinstance(got["o"], collections.OrderedDict) and list(got["o"].items()) == [
        ("z", 1.0),
        ("y", [2.0]),
    ]


def test_a_list_a_tuple_and_a_named_tuple_of_the_same_fetches_stay_what_they_are() -> None:
    a, b = tf.constant(1.0), tf.constant(2.0)
    pair = collections.namedtuple("pair", "left right")
    sess = tf.Session()
    for fetch in ([a, b], (a, b), pair(a, b), [a, b], (a, b)):
        got = sess.run(fetch)
        assert type(got) is type(fetch) and tuple(got) == (1.0, 2.0)


def test_fetches_and_feeds_may_be_names() -> None:
    x = tf.placeholder(tf.float32, [], name="x")
    tf.add(x, 1.0, name="y")
    sess = tf.Session()
    assert sess.run("y:0", {"x:0": 2.0}) == 3.0
    assert sess.run(["y", "y:0"], {x: 2.0}) == [None, 3.0]


def test_a_scalar_comes_back_as_a_numpy_scalar_and_the_rest_as_arrays() -> None:
    sess = tf.Session()
    assert isinstance(sess.run(tf.constant(1.0)), np.float32)
    assert isinstance(sess.run(tf.constant(True)), np.bool_)
    assert isinstance(sess.run(tf.constant([1])), np.ndarray)
    assert sess.run(tf.constant(b"text")) == b"text"


def test_make_callable_takes_its_feeds_in_order() -> None:
    a, b = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.float32, [])
    step = tf.Session().make_callable({"d": a - b}, [b, a])
    np.testing.assert_array_equal(step(1.0, [5.0, 6.0])["d"], [4, 5])
    with pytest.raises(ValueError, match="takes 2 values, got 1"):
        step(1.0)


def test_eval_and_run_use_the_default_session() -> None:
    v = tf.Variable(2.0)
    x = tf.placeholder(tf.float32, [])
    with tf.Session() as sess:
        tf.global_variables_initializer().run()
        v.initializer.run()
        assert (x * v).eval({x: 3.0}) == 6.0
        assert (x * v).eval(feed_dict={x: 3.0}, session=sess) == 6.0
        assert v.eval() == 2.0
        assert tf.get_default_session() is sess
    assert tf.get_default_session() is None


def test_an_interactive_session_is_the_default_until_closed() -> None:
    sess = tf.InteractiveSession()
    try:
        assert (tf.constant(1.0) + 1.0).eval() == 2.0
    finally:
        sess.close()
    assert tf.get_default_session() is None


def test_a_closed_session_does_not_run() -> None:
    x = tf.constant(1.0)
    sess = tf.Session()
    sess.run(x)
    step = sess.make_callable(x)
    sess.close()
    for f in (lambda: sess.run(x), step):
        for kind in TypeError, RuntimeError:
            with pytest.raises(kind, match="the session is closed"):
                f()
    sess.close()


@pytest.mark.parametrize("first", [True, False])
def test_a_list_in_the_place_of_feed_dict_is_refused(first: bool) -> None:
    x = tf.placeholder(tf.float32, [])
    with tf.Session() as sess:
        if not first:
            assert sess.run(x, {x: 1.0}) == 1.0
        with pytest.raises(ValueError, match="feed_dict must be a dict"):
            sess.run(x, [x])  # type: ignore[arg-type]


def test_a_switch_is_fed_as_a_bool_or_as_0_or_1() -> None:
    b = tf.placeholder(tf.bool, [])
    with tf.Session() as sess:
        for value, want in (1, True), (0, False), (np.uint8(1), True), (np.True_, True):
            assert sess.run(tf.logical_not(b), {b: value}) != want
        for value in (2, -1, 1.0):
            with pytest.raises(ValueError, match="values are fed for"):
                sess.run(b, {b: value})


def test_objects_that_are_numbers_are_fed_as_numbers() -> None:
    table = np.array([[np.zeros(2), 1, 0.5, True], [np.ones(2), 0, 2.0, False]], dtype=object)
    i = tf.placeholder(tf.int32, [None])
    r = tf.placeholder(tf.float32, [None])
    b = tf.placeholder(tf.bool, [None])
    with tf.Session() as sess:
        out = sess.run([i * 2, r + 1.0, ~b], {i: table[:, 1], r: table[:, 2], b: table[:, 3]})
        np.testing.assert_array_equal(out[0], np.array([2, 0], np.int32))
        np.testing.assert_array_equal(out[1], np.array([1.5, 3.0], np.float32))
        np.testing.assert_array_equal(out[2], [False, True])
        assert sess.run(r, {r: table[:, 1]}).dtype == np.float32
        for t, column in (i, 2), (b, 2), (r, 0):  # fractions, fractions for bools, arrays
            with pytest.raises(ValueError, match="are fed for"):
                sess.run(t, {t: table[:, column]})
        with pytest.raises(ValueError, match="text or objects are fed"):
            sess.run(r, {r: np.array([1.0, None], dtype=object)})


def test_a_finalized_graph_takes_no_operation() -> None:
    x = tf.constant(1.0)
    tf.get_default_graph().finalize()
    with pytest.raises(ValueError, match="finalized"):
        x + 1.0
    assert tf.Session().run(x) == 1.0


def test_a_partial_last_batch_needs_nothing_special() -> None:
    x = tf.placeholder(tf.float32, [None, 3])
    w = tf.Variable(tf.ones([3, 2]))
    cost = tf.reduce_mean(tf.square(tf.matmul(x, w)))
    train = tf.train.GradientDescentOptimizer(0.01).minimize(cost)
    data = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for i in range(0, 10, 4):
            batch = data[i : i + 4]
            want = np.mean(np.square(batch @ sess.run(w)))
            np.testing.assert_allclose(sess.run([cost, train], {x: batch})[0], want, rtol=1e-5)


def test_batches_of_any_size_compile_nothing_anew() -> None:
    x = tf.placeholder(tf.float32, [None, 5])
    y = tf.placeholder(tf.int32, [None])
    w = tf.Variable(tf.ones([5, 4]))
    b = tf.Variable(tf.zeros([4]))
    logits = tf.matmul(x, w) + b
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
    cost = tf.reduce_sum(each)
    train = tf.train.AdamOptimizer().minimize(cost)
    rng = np.random.default_rng(0)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        before = None
        for n in (64, 7, 1, 0, 1000, 64, 2):
            feed = {x: rng.normal(size=(n, 5)), y: rng.integers(0, 4, n)}
            got = sess.run([cost, train], feed)[0]
            assert np.isfinite(got)
            if before is None:
                before = cache.compiled_count() + cache.loaded_count(), len(sess.executables())
            assert (
                cache.compiled_count() + cache.loaded_count(),
                len(sess.executables()),
            ) == before


def test_a_size_of_one_that_broadcasts_is_specialised_and_both_forms_stay() -> None:
    x, y = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.float32, [None])
    total = x + y
    sess = tf.Session()
    for a, b in (
        ([1, 2], [3, 4]),
        ([1], [3, 4]),
        ([1, 2], [5]),
        ([1, 2, 3], [3, 4, 5]),
        ([1], [1]),
    ):
        np.testing.assert_array_equal(sess.run(total, {x: a, y: b}), np.add(a, b))
    made = len(sess.executables())
    for a, b in (([1, 2], [3, 4]), ([1], [3, 4]), ([1, 2], [5])):
        sess.run(total, {x: a, y: b})
    assert len(sess.executables()) == made
    with pytest.raises(ValueError, match="2 and 3"):
        sess.run(total, {x: [1, 2], y: [1, 2, 3]})
    np.testing.assert_array_equal(sess.run(total, {x: [1, 2], y: [3, 4]}), [4, 6])


def test_the_gradient_of_a_broadcast_sums_what_was_broadcast_at_run_time() -> None:
    x, y = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.float32, [None])
    grads = tf.gradients(tf.reduce_sum(x * y), [x, y])
    sess = tf.Session()
    for a, b, wx, wy in (
        ([1, 2], [3, 4], [3, 4], [1, 2]), ([1], [3, 4], [7], [1, 1]), ([1, 2], [3], [3, 3], [3]),
    ):  # fmt: skip
        got = sess.run(grads, {x: a, y: b})
        np.testing.assert_array_equal(got[0], wx)
        np.testing.assert_array_equal(got[1], wy)


def test_a_placeholder_of_unknown_rank_takes_any_shape() -> None:
    x = tf.placeholder(tf.float32)
    y = tf.exp(x) * 0.0 + x + 1.0
    total, n = tf.reduce_sum(y), tf.size(x)
    grad = tf.gradients(total, x)[0]
    sess = tf.Session()
    for shape in ((), (3,), (2, 3), (0,), (2, 1, 2)):
        a = np.ones(shape, np.float32)
        got = sess.run([y, total, n, tf.shape(x), grad], {x: a})
        np.testing.assert_array_equal(got[0], a + 1)
        assert got[1] == 2 * a.size and got[2] == a.size
        assert tuple(got[3]) == shape
        np.testing.assert_array_equal(got[4], a)


def test_a_feed_is_converted_where_that_loses_nothing() -> None:
    x = tf.placeholder(tf.float32, [None])
    i = tf.placeholder(tf.int32, [])
    sess = tf.Session()
    np.testing.assert_array_equal(sess.run(x * 2.0, {x: [1, 2]}), [2, 4])
    np.testing.assert_array_equal(sess.run(x * 2.0, {x: np.arange(6)[::-2]}), [10, 6, 2])
    np.testing.assert_array_equal(sess.run(x * 2.0, {x: np.asfortranarray(np.ones(3))}), [2, 2, 2])
    assert sess.run(i + 1, {i: np.int64(3)}) == 4


def test_a_default_value_can_be_fed_over() -> None:
    x = tf.placeholder_with_default(tf.constant([1.0]), [None])
    y = x * 2.0
    sess = tf.Session()
    np.testing.assert_array_equal(sess.run(y), [2])
    np.testing.assert_array_equal(sess.run(y, {x: [3.0, 4.0]}), [6, 8])


def test_only_what_is_needed_runs() -> None:
    called: list[int] = []

    def note(x: float) -> float:
        called.append(1)
        return x

    x = tf.constant(1.0)
    tf.py_func(note, [x], tf.float32)
    v = tf.Variable(1.0)
    v.assign(5.0)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(x + 1.0)
        assert not called and sess.run(v) == 1.0
