"""`Session.explain` and `stages`: what is told of what was compiled."""

from __future__ import annotations

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import FeedError, UsageError
from staticgraph.runtime.cost import Cost


def test_executables_are_told_in_order_with_reasons() -> None:
    x = tf.placeholder(tf.float32, [None], name="x")
    y = tf.placeholder(tf.float32, [None], name="y")
    z = tf.add(x, y, name="z")
    with tf.Session() as sess:
        for n, m in ((3, 3), (5, 5), (1, 4)):
            sess.run(z, {x: np.ones(n), y: np.ones(m)})
        first, second = sess.explain().executables
    assert (first.reason, first.runs) == ("first run of these fetches", 2)
    assert second.runs == 1
    assert "broke the assumption n0 == n1" in second.reason
    assert [p.sizes for p in first.plans] == [{"n0": 3, "n1": 3}, {"n0": 5, "n1": 5}]
    assert first.fetches == ("z:0",)
    assert second.feeds == ("x:0: f32[1]", "y:0: f32[n0]")


def test_the_reason_tells_what_is_new() -> None:
    x = tf.placeholder(tf.float32, name="x")
    y = tf.reduce_sum(x, -1, name="y")
    v = tf.Variable(np.ones(2, np.float32), validate_shape=False, name="v")
    z = tf.reduce_sum(v, -1, name="z")
    with tf.Session() as sess:
        for shape in ((3,), (2, 3), (4,), (5, 3)):
            sess.run(y, {x: np.ones(shape)})
        sess.run(y, {"x:0": np.ones(3)})
        assert [(e.reason, e.runs) for e in sess.explain(y).executables] == [
            ("first run of these fetches", 2),
            ("first run with x:0 of the shape [2, 3]", 2),
            ("first run of these fetches with feeds that are given like this", 1),
        ]
        for value in (np.ones(2), np.ones((2, 2)), np.ones(3)):
            sess.run(tf.assign(v, value.astype(np.float32), validate_shape=False))
            sess.run(z)
        assert [e.reason for e in sess.explain(z).executables] == [
            "first run of these fetches",
            "first run with the variable 'v' of the rank 2",
        ]


def test_kernels_name_the_users_lines_and_show_their_source() -> None:
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    w = tf.Variable(np.ones(3, np.float32), name="w")
    cost = tf.reduce_mean(tf.square(x - w))
    train = tf.train.GradientDescentOptimizer(0.1).minimize(cost)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run([train, cost], {x: np.zeros((4, 3))})
        told = sess.explain([cost, train], sources=True)
    (one,) = told.executables
    assert set(one.fetches) == {cost.name, train.name}
    lines = [line for s in one.steps for line in s.lines()]
    assert any("Sub" in line and "Square" in line and "test_explain.py:" in line for line in lines)
    text = str(told)
    assert "def kernel(args, lo, hi):" in text
    assert "bytes planned: arena " in text
    assert "with n0=4: reads " in text
    assert "def kernel" not in str(tf.Session().explain())
    assert {s.kernel for s in one.steps if s.kernel} == {k.name for k in one.kernels}


def test_fetches_that_were_not_run_are_compiled_to_be_told_of() -> None:
    x = tf.placeholder(tf.float32, [None], name="x")
    with tf.Session() as sess:
        text = str(sess.explain(tf.exp(x, name="y")))
        assert not sess.executables()
    assert text.startswith("1 executable, 1 kernel\nexecutable 0: y:0\n  compiled: no,")


def test_host_steps_and_library_calls_are_steps_too() -> None:
    x = tf.placeholder(tf.float32, [2, 2], name="x")
    values, _ = tf.unique(tf.reshape(tf.matmul(x, x), [-1]))
    with tf.Session() as sess:
        sess.run(values, {x: np.eye(2)})
        (one,) = sess.explain().executables
    assert one.mode == "native segments between host steps"
    assert any("library matmul" in s.text for s in one.steps)
    assert any("host Unique" in s.text for s in one.steps)


def test_a_loop_is_told_with_what_is_in_it() -> None:
    x = tf.placeholder(tf.float32, [None, 2], name="x")

    def step(h: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
        return tf.tanh(tf.matmul(h, [[1.0, 2.0], [3.0, 4.0]]) + row)

    y = tf.foldl(step, x, initializer=tf.zeros([1, 2]))
    sess = tf.Session()
    sess.run(y, {x: np.ones((3, 2))})
    (one,) = sess.explain(y).executables
    (loop,) = [s for s in one.steps if s.origins[0].op == "Scan"]
    first, inside = loop.lines()
    assert first.startswith("Scan at test_explain.py:")
    assert inside.startswith("in it ")
    assert {"Gemm", "Tanh"} <= {o.op for o in loop.inside}
    assert f"      {inside}" in str(sess.explain(y)).splitlines()


def test_stages_stop_where_they_are_told_to() -> None:
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    y = tf.nn.softmax(x)
    assert "Softmax" in str(tf.stages(y, stop_after="close"))
    assert str(tf.stages(y, stop_after="fuse")).startswith("fused {")
    done = tf.stages(y)
    assert str(done).startswith("program run {")
    assert "def kernel(args, lo, hi):" in done.sources()["k0"]
    assert "@cuda.jit" not in done.sources("cuda")["k0"]
    assert "def row_kernel(" in done.sources("cuda")["k0"]
    assert len(tf.stages(y, optimize=False).sources()) > 1


def test_stages_take_feeds_by_name_and_cut_there() -> None:
    x = tf.placeholder(tf.float32, [None], name="x")
    y = tf.exp(tf.negative(x, name="minus"))
    assert "Neg" not in str(tf.stages(y, ["minus:0"], stop_after="close"))
    with pytest.raises(ValueError, match="the placeholder 'x' needs a value"):
        tf.stages(y, [])


def test_misuse_of_stages_is_refused() -> None:
    y = tf.exp(tf.placeholder(tf.float32, [2]))
    with pytest.raises(TypeError, match="there is no stage 'fusion'"):
        tf.stages(y, stop_after="fusion")
    with pytest.raises(TypeError, match="no kernels before the stage 'lower'"):
        tf.stages(y, stop_after="fuse").sources()
    with pytest.raises(ValueError, match="cannot feed"):
        tf.stages(y, ["nothing:0"])


def test_a_step_before_a_host_step_has_a_cost_where_its_own_sizes_are_known() -> None:
    x = tf.placeholder(tf.float32, [None], name="x")
    values, _ = tf.unique(tf.exp(x))
    fixed = tf.reduce_sum(tf.ones([5]) * tf.placeholder(tf.float32, [5]))
    with tf.Session() as sess:
        sess.run(values, {x: [1.0, 2.0, 1.0]})
        (one,) = sess.explain(values).executables
        ahead = sess.explain([values, fixed]).executables[0]
    costs = {s.origins[0].op: s.cost for s in one.steps}
    assert costs["Exp"] == Cost(12, 12, 3)
    assert costs["Unique"] is None  # how many there are, the last run has told nobody
    costs = {s.origins[-1].op: s.cost for s in ahead.steps}
    assert costs["Exp"] is None
    assert costs["Sum"] == Cost(40, 4, 10)


def test_a_run_ahead_is_told_whatever_was_run_before() -> None:
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    y = tf.exp(x, name="y")
    with tf.Session() as sess:
        for reason in ("no, these fetches were not run", "no, this tells of a run ahead"):
            (told,) = sess.explain(y, feed_dict={x: np.zeros((9, 3))}).executables
            assert (told.reason, told.runs) == (reason, 0)
            assert [p.sizes for p in told.plans] == [{"n0": 9}]
            sess.run(y, {x: np.zeros((4, 3))})
        (ran,) = sess.explain(y).executables
        assert (ran.runs, [p.sizes for p in ran.plans]) == (2, [{"n0": 4}])
        with pytest.raises(UsageError, match="without fetches"):
            sess.explain(feed_dict={x: np.zeros((9, 3))})
        with pytest.raises(FeedError, match="feed_dict must be a dict"):
            sess.explain(y, feed_dict=[x])
        with pytest.raises(FeedError, match=r"shape \[9, 4\] is fed for 'x:0'"):
            sess.explain(y, feed_dict={x: np.zeros((9, 4))})
