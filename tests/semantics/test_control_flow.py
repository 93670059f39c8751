"""What loops and branches mean: state, draws, effects, gradients, structures."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph import errors

Point = namedtuple("Point", "i x")


@pytest.fixture(autouse=True)
def graph() -> Any:
    with tf.Graph().as_default() as g:
        yield g


@pytest.fixture
def sess(graph: tf.Graph) -> Any:
    with tf.Session(graph=graph) as s:
        yield s


def repeat(n: Any, body: Callable[..., Any], *start: Any, **options: Any) -> Any:
    """The variables after `n` calls of ``body(i, *variables)``."""
    out = tf.while_loop(
        lambda i, *_: i < n, lambda i, *v: (i + 1, *body(i, *v)), [tf.constant(0), *start],
        **options,
    )  # fmt: skip
    return out[1:]


# ---------------------------------------------------------------- state
def test_a_read_in_a_loop_sees_the_start_of_the_run(sess: tf.Session) -> None:
    v = tf.Variable(2.0)
    write = tf.assign(v, 5.0)
    (total,) = repeat(3, lambda i, a: [a + v], 0.0)
    sess.run(v.initializer)
    assert sess.run([total, write]) == [6.0, 5.0]
    assert sess.run(total) == 15.0


def test_a_read_behind_a_write_sees_it(sess: tf.Session) -> None:
    v = tf.Variable(2.0)
    with tf.control_dependencies([tf.assign(v, 5.0)]):
        (total,) = repeat(3, lambda i, a: [a + v], 0.0)

    def body(i: Any, a: Any) -> Any:  # an edge from inside to a write outside
        with tf.control_dependencies([write]):
            return [a + v.read_value()]

    write = tf.assign_add(v, 1.0)
    (behind,) = repeat(3, body, 0.0)
    sess.run(v.initializer)
    assert sess.run(total) == 15.0
    assert sess.run(behind) == 18.0


def test_a_write_in_a_body_is_seen_by_the_next_iteration_and_after_the_loop(
    sess: tf.Session,
) -> None:
    v = tf.Variable(1.0)

    def body(i: Any, total: Any) -> Any:
        before = v * 1.0  # what the iteration before has left
        with tf.control_dependencies([tf.assign(v, 2.0 * v)]):
            return [total + before]

    (total,) = repeat(4, body, 0.0)
    with tf.control_dependencies([total]):
        after = v.read_value()
    sess.run(v.initializer)
    assert sess.run([total, after, v]) == [1 + 2 + 4 + 8, 16, 16]


def test_a_write_that_nothing_needs_is_not_done(sess: tf.Session) -> None:
    v = tf.Variable(1.0)

    def body(i: Any) -> Any:
        tf.assign(v, 5.0)
        return []

    out = tf.while_loop(lambda i: i < 3, lambda i: (body(i), i + 1)[1], [0])
    sess.run(v.initializer)
    assert sess.run([out, v]) == [3, 1.0]


def test_no_iteration_writes_nothing(sess: tf.Session) -> None:
    v, n = tf.Variable(1.0), tf.placeholder(tf.int32, [])

    def body(i: Any, a: Any) -> Any:
        with tf.control_dependencies([tf.assign_add(v, 1.0)]):
            return [a + v.read_value()]

    (total,) = repeat(n, body, 0.0)
    sess.run(v.initializer)
    assert sess.run([total, v], {n: 0}) == [0.0, 1.0]
    assert sess.run([total, v], {n: 2}) == [5.0, 3.0]


def test_only_the_chosen_branch_writes(sess: tf.Session) -> None:
    v, p = tf.Variable(1.0), tf.placeholder(tf.bool, [])
    out = tf.cond(p, lambda: tf.assign_add(v, 10.0), lambda: tf.identity(v))
    with tf.control_dependencies([out]):
        after = v.read_value()
    sess.run(v.initializer)
    assert sess.run([out, after, v], {p: False}) == [1, 1, 1]
    assert sess.run([out, after, v], {p: True}) == [11, 11, 11]


def test_branches_may_be_operations(sess: tf.Session) -> None:
    v, p = tf.Variable(1.0), tf.placeholder(tf.bool, [])
    either = tf.cond(p, lambda: tf.group(tf.assign_add(v, 1.0)), lambda: tf.no_op())
    assert isinstance(either, tf.Operation)
    sess.run(v.initializer)
    assert sess.run([either, v], {p: True}) == [None, 2.0]
    assert sess.run([either, v], {p: False}) == [None, 2.0]


def test_variables_made_in_a_body_exist_once(sess: tf.Session) -> None:
    def body(i: Any, x: Any) -> Any:
        w = tf.get_variable("w", [2], initializer=tf.ones_initializer())
        b = tf.Variable(lambda: tf.ones([2]) * 3.0, name="b")
        return [x * w + b]

    (x,) = repeat(3, body, tf.zeros([2]))
    assert [v.name for v in tf.global_variables()] == ["w:0", "while/b:0"]
    sess.run(tf.global_variables_initializer())
    assert sess.run(x).tolist() == [9, 9]


# ---------------------------------------------------------------- training inside the graph
@pytest.mark.parametrize(
    "make",
    [
        lambda: tf.train.GradientDescentOptimizer(0.05),
        lambda: tf.train.MomentumOptimizer(0.02, 0.9),
        lambda: tf.train.AdamOptimizer(0.1),
    ],
    ids=["descent", "momentum", "adam"],
)
def test_a_training_loop_in_the_graph_is_one_outside(make: Callable[[], Any]) -> None:
    rng = np.random.default_rng(0)
    data, goal = rng.normal(size=(6, 4, 3)), rng.normal(size=(6, 4))

    def loss(w: Any, x: Any, t: Any) -> Any:
        return tf.reduce_mean(tf.square(tf.reduce_sum(x * w, axis=1) - t))

    results = []
    for inside in (True, False):
        with tf.Graph().as_default(), tf.Session() as sess:
            w = tf.get_variable("w", [3], tf.float64, tf.zeros_initializer())
            step = tf.train.get_or_create_global_step()
            optimizer = make()
            if inside:

                def body(_: Any, e: Any, w: Any = w, step: Any = step, opt: Any = optimizer) -> Any:
                    here = loss(w, *e)
                    with tf.control_dependencies([opt.minimize(here, step)]):
                        return tf.identity(here)

                last = tf.foldl(body, (data, goal), initializer=tf.constant(0.0, tf.float64))
                sess.run(tf.global_variables_initializer())
                results.append(sess.run([last, w, step]))
                continue
            x, t = tf.placeholder(tf.float64, [4, 3]), tf.placeholder(tf.float64, [4])
            here = loss(w, x, t)
            train = optimizer.minimize(here, step)
            sess.run(tf.global_variables_initializer())
            for k in range(6):
                value, _ = sess.run([here, train], {x: data[k], t: goal[k]})
            results.append([value, *sess.run([w, step])])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert results[0][2] == 6


# ---------------------------------------------------------------- draws and effects
def test_every_iteration_draws_anew(sess: tf.Session) -> None:
    tf.set_random_seed(1)
    x = tf.map_fn(lambda e: e + tf.random_uniform([]), tf.zeros([5]))
    first, second = sess.run(x), sess.run(x)
    assert len({*first.tolist(), *second.tolist()}) == 10


def test_a_draw_is_seen_once_by_value_and_gradient(sess: tf.Session) -> None:
    w = tf.constant(2.0)
    y = tf.scan(lambda a, e: a + w * tf.random_uniform([]) * e, tf.ones([4]), initializer=0.0)[-1]
    value, slope = sess.run([y, tf.gradients(y, w)[0]])
    np.testing.assert_allclose(value, 2.0 * slope, rtol=1e-6)


def test_only_the_chosen_branch_draws(sess: tf.Session) -> None:
    tf.set_random_seed(1)
    p = tf.placeholder(tf.bool, [])
    x = tf.cond(p, lambda: tf.random_uniform([], seed=2), lambda: tf.constant(0.0))
    first = sess.run(x, {p: True})
    assert sess.run(x, {p: False}) == 0.0
    second = sess.run(x, {p: True})
    with tf.Session() as fresh:
        assert [fresh.run(x, {p: True}), fresh.run(x, {p: True})] == [first, second]


def test_prints_name_the_iteration_at_each_level(sess: tf.Session, capsys: Any) -> None:
    def inner(i: Any, j: Any) -> Any:
        with tf.control_dependencies([tf.print("at", i, j)]):
            return j + 1

    def outer(i: Any) -> Any:
        i = tf.Print(i, [i], "i is ")
        return i + 1 + 0 * tf.while_loop(lambda j: j < 2, lambda j: inner(i, j), [0])

    sess.run(tf.Print(tf.while_loop(lambda i: i < 2, outer, [0]), [], "done"))
    assert capsys.readouterr().err.splitlines() == [
        "[while iteration 0] i is [0]",
        "[while iteration 0, 0] at 0 0",
        "[while iteration 0, 1] at 0 1",
        "[while iteration 1] i is [1]",
        "[while iteration 1, 0] at 1 0",
        "[while iteration 1, 1] at 1 1",
        "done",
    ]


def test_an_assertion_speaks_only_where_it_is_chosen(sess: tf.Session) -> None:
    p = tf.placeholder(tf.bool, [])

    def wrong() -> Any:
        with tf.control_dependencies([tf.Assert(False, ["chosen"])]):
            return tf.constant(1)

    out = tf.cond(p, wrong, lambda: tf.constant(2))
    assert sess.run(out, {p: False}) == 2
    with pytest.raises(errors.AssertionFailedError, match="chosen"):
        sess.run(out, {p: True})


def test_a_python_function_that_fails_names_the_iteration(sess: tf.Session) -> None:
    def no_twos(i: Any) -> Any:
        if i == 2:
            raise ValueError("no twos")
        return i

    def body(i: Any) -> Any:
        return tf.reshape(tf.py_func(no_twos, [i], tf.int32), []) + 1

    with pytest.raises(ValueError, match="no twos") as e:
        sess.run(tf.while_loop(lambda i: i < 4, body, [0]))
    assert "in iteration 2 of a loop" in e.value.__notes__


def test_the_checks_of_a_whole_graph_go_with_loops(sess: tf.Session) -> None:
    x = tf.placeholder(tf.float32, [])
    (y,) = repeat(3, lambda i, a: [a / x], 1.0)
    checks = tf.add_check_numerics_ops()
    assert sess.run([y, checks], {x: 2.0})[0] == 0.125
    with pytest.raises(errors.NumericsError, match="CheckNumerics: while:"):
        sess.run([y, checks], {x: 0.0})


# ---------------------------------------------------------------- variables of loops
def test_structures_of_loop_variables(sess: tf.Session) -> None:
    point = tf.while_loop(lambda i, x: i < 3, lambda i, x: Point(i + 1, x * 2), Point(0, 1.0))
    assert isinstance(point, Point)
    assert sess.run(point) == Point(3, 8.0)
    inside = tf.while_loop(lambda p: p.i < 3, lambda p: [Point(p.i + 1, p.x * 2)], [Point(0, 1.0)])
    assert sess.run(inside) == [Point(3, 8.0)]
    named = tf.while_loop(lambda d: d["i"] < 3, lambda d: {"i": d["i"] + 1}, {"i": 0})
    assert sess.run(named) == {"i": 3}
    nested = tf.while_loop(
        lambda i, rest: i < 2, lambda i, rest: [i + 1, {"a": (rest["a"][0] + 1,)}], [0, {"a": (5,)}]
    )
    assert sess.run(nested) == [2, {"a": (7,)}]


def test_one_variable_comes_back_bare(sess: tf.Session) -> None:
    def loop(**options: Any) -> Any:
        return tf.while_loop(lambda i: i < 3, lambda i: [i + 1], [0], **options)

    assert sess.run(loop()) == 3
    assert sess.run(loop(return_same_structure=True)) == [3]


def test_variables_arrays_and_numbers_enter_a_loop(sess: tf.Session) -> None:
    v = tf.Variable(5.0)
    out = repeat(2, lambda i, a, b, c: (a * 2.0, b + 1, c), v, np.array([1, 2]), np.float32(3))
    sess.run(v.initializer)
    a, b, c = sess.run(out)
    assert (a, b.tolist(), c) == (20.0, [3, 4], 3.0)


def test_sizes_that_change_are_declared(sess: tf.Session) -> None:
    def body(i: Any, d: Any) -> Any:
        return [{"a": tf.concat([d["a"], d["a"]], 0), "b": tf.expand_dims(d["b"], 0)}]

    shapes = [tf.TensorShape([]), {"a": tf.TensorShape([None, 2]), "b": tf.TensorShape(None)}]
    start = {"a": tf.ones([1, 2]), "b": tf.ones([2])}
    (d,) = repeat(3, body, start, shape_invariants=shapes)
    assert d["a"].shape.as_list() == [None, 2]
    assert d["b"].shape.ndims is None
    got = sess.run(d)
    assert got["a"].shape == (8, 2)
    assert got["b"].shape == (1, 1, 1, 2)


def test_the_most_iterations(sess: tf.Session) -> None:
    n = tf.placeholder(tf.int32, [])
    out = tf.while_loop(lambda i: True, lambda i: i + 1, [0], maximum_iterations=n)
    assert [sess.run(out, {n: k}) for k in (0, 7)] == [0, 7]


def test_gradients_stop_where_back_prop_is_off() -> None:
    x = tf.constant(2.0)
    (on,) = repeat(3, lambda i, a: [a * x], x)
    (off,) = repeat(3, lambda i, a: [a * x], x, back_prop=False)
    assert tf.gradients(on, x)[0] is not None
    assert tf.gradients(off, x) == [None]


def test_a_gradient_in_a_body(sess: tf.Session) -> None:
    """Newton's method, the slope taken inside the loop; and the slope of its result."""
    a = tf.placeholder(tf.float64, [])

    def body(i: Any, x: Any) -> Any:
        f = x * x - a
        return [x - f / tf.gradients(f, x)[0]]

    (root,) = repeat(8, body, tf.constant(1.0, tf.float64))
    value, slope = sess.run([root, tf.gradients(root, a)[0]], {a: 2.0})
    np.testing.assert_allclose([value, slope], [2**0.5, 0.5 / 2**0.5], rtol=1e-12)


# ---------------------------------------------------------------- branches
def test_structures_of_branches(sess: tf.Session) -> None:
    p = tf.placeholder(tf.bool, [])
    out = tf.cond(p, lambda: ({"a": 1, "b": None}, [2.0]), lambda: ({"a": 3, "b": None}, [4.0]))
    assert out[0]["b"] is None
    assert sess.run([out[0]["a"], out[1]], {p: False}) == [3, [4.0]]
    assert tf.cond(p, lambda: None, lambda: None) is None
    assert tf.cond(p, list, list) == []
    one, kept = tf.cond(p, lambda: [1], lambda: [2]), tf.cond(p, lambda: [1], lambda: [2], True)
    assert sess.run([one, kept], {p: True}) == [1, [1]]


def test_an_operation_among_results_is_a_tensor_that_is_there_when_it_has_run(
    sess: tf.Session,
) -> None:
    v, p = tf.Variable(1.0), tf.placeholder(tf.bool, [])
    x, done = tf.cond(p, lambda: [5, tf.assign_add(v, 1.0).op], lambda: [6, tf.no_op()])
    sess.run(v.initializer)
    assert sess.run(done, {p: True})
    assert sess.run([x, v], {p: False}) == [6, 2.0]


def test_sizes_of_branches_may_differ(sess: tf.Session) -> None:
    p = tf.placeholder(tf.bool, [])
    out = tf.cond(p, lambda: tf.zeros([2]), lambda: tf.ones([3]))
    assert out.shape.as_list() == [None]
    assert sess.run(tf.reduce_sum(out), {p: False}) == 3.0
    assert sess.run(out, {p: True}).shape == (2,)


# ---------------------------------------------------------------- maps
def test_vectorized_map_is_map_fn(sess: tf.Session) -> None:
    x = tf.placeholder(tf.float32, [None, 3])
    w = tf.constant(np.arange(9.0, dtype=np.float32).reshape(3, 3))

    def f(row: Any) -> Any:
        y = tf.matmul(row[None], w)
        return {"soft": tf.nn.softmax(y), "slope": tf.gradients(tf.reduce_sum(tf.sin(y)), row)[0]}

    feed = {x: np.linspace(-1, 1, 12).reshape(4, 3)}
    dtype = {"soft": tf.float32, "slope": tf.float32}
    a, b = sess.run([tf.vectorized_map(f, x), tf.map_fn(f, x, dtype)], feed)
    for key in dtype:
        np.testing.assert_allclose(a[key], b[key], rtol=1e-6)
    done = tf.stages(tf.vectorized_map(f, x)["soft"], stop_after="motion")
    assert not any(n.op.control for n in done.function.nodes)  # nothing is left of the loop
