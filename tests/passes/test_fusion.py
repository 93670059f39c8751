"""Which operations become one kernel: counts for programs whose shape is known by heart."""

from __future__ import annotations

from typing import Any

import numpy as np

import staticgraph as tf
from staticgraph.ir.kernel import Kernel, Loop, Store, walk
from staticgraph.ir.program import Host, Launch, Library, Program
from staticgraph.runtime.compile import function_stages
from tests.properties.machine import run_program


def program(fetches: Any) -> Program:
    """The optimised program of fetches of the default graph."""
    made = function_stages(tf.get_default_graph(), fetches).program
    assert made is not None
    return made


def launches(p: Program) -> list[Launch]:
    """The kernel launches; nothing else may be in the program."""
    assert all(isinstance(s, Launch) for s in p.steps), p
    return [s for s in p.steps if isinstance(s, Launch)]


def loops(k: Kernel) -> int:
    """Serial loops in a kernel."""
    return sum(isinstance(s, Loop) for s in walk(k.body))


def test_a_chain_of_maps_is_one_kernel_with_one_store() -> None:
    x = tf.placeholder(tf.float32, [None, 3])
    (step,) = launches(program(tf.nn.relu(tf.exp(x * 2.0 + 1.0) - x) * tf.tanh(x)))
    assert step.kernel.form == "flat"
    assert sum(isinstance(s, Store) for s in walk(step.kernel.body)) == 1


def test_maps_of_one_space_are_one_kernel_even_if_unrelated() -> None:
    x, y = tf.placeholder(tf.float32, [8]), tf.placeholder(tf.float32, [8])
    assert len(launches(program([tf.exp(x), tf.exp(y), x + y]))) == 1


def test_a_step_of_the_cubic_fit_is_two_kernels() -> None:
    x, y = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.float32, [None])
    a, b, c, d = (tf.Variable(0.1 * k) for k in range(4))
    loss = tf.reduce_sum(tf.square(a + b * x + c * x**2 + d * x**3 - y))
    train = tf.train.GradientDescentOptimizer(1e-6).minimize(loss)
    assert [s.kernel.form for s in launches(program([train, loss]))] == ["full", "row"]


def test_softmax_is_one_kernel_of_three_passes() -> None:
    x = tf.placeholder(tf.float32, [None, 10])
    (step,) = launches(program(tf.nn.softmax(x)))
    assert (step.kernel.form, loops(step.kernel)) == ("row", 3)


def test_softmax_cross_entropy_with_its_gradient_is_one_row_kernel() -> None:
    x, y = tf.placeholder(tf.float32, [None, 10]), tf.placeholder(tf.float32, [None, 10])
    loss = tf.nn.softmax_cross_entropy_with_logits(labels=y, logits=x)
    (step,) = launches(program([loss, tf.gradients(loss, x)[0]]))
    assert (step.kernel.form, loops(step.kernel)) == ("row", 3)


def test_layer_normalisation_is_one_row_kernel() -> None:
    x = tf.placeholder(tf.float32, [None, 32])
    mean = tf.reduce_mean(x, 1, keepdims=True)
    variance = tf.reduce_mean(tf.square(x - mean), 1, keepdims=True)
    (step,) = launches(program((x - mean) * tf.rsqrt(variance + 1e-6)))
    assert (step.kernel.form, loops(step.kernel)) == ("row", 3)


def test_the_bias_gradient_and_the_relu_mask_are_one_column_kernel() -> None:
    x, g = tf.placeholder(tf.float32, [None, 32]), tf.placeholder(tf.float32, [None, 32])
    bias = tf.Variable(tf.zeros([32]))
    (step,) = launches(program(tf.gradients(tf.nn.relu(x + bias), [bias, x], g)))
    assert step.kernel.form == "column"


def test_a_weight_less_a_scaled_product_is_one_product() -> None:
    w = tf.Variable(tf.zeros([5, 6]))
    a, b = tf.placeholder(tf.float32, [None, 5]), tf.placeholder(tf.float32, [None, 6])
    (step,) = program(w.assign(w - 0.1 * tf.matmul(a, b, transpose_a=True)).op).steps
    assert isinstance(step, Library) and step.attrs["op"] == "GemmAdd"
    assert step.attrs["transpose_a"] and np.float32(step.attrs["alpha"]) == np.float32(-0.1)


def test_adam_over_parameters_of_different_sizes_is_one_kernel_text() -> None:
    sizes = ([3], [5, 4], [7, 2, 2], [100])
    loss = tf.add_n([tf.reduce_sum(tf.square(tf.Variable(tf.ones(s)))) for s in sizes])
    steps = launches(program(tf.train.AdamOptimizer().minimize(loss)))
    assert len(steps) == 5  # one for the powers of the betas
    assert len({s.kernel for s in steps}) == 2
    assert sorted(int(s.extent) for s in steps if s.extent != 1) == [3, 20, 28, 100]


def test_a_cheap_value_for_two_kernels_is_computed_in_both_rather_than_kept() -> None:
    x, y = tf.placeholder(tf.float32, [64, 32]), tf.placeholder(tf.float32, [64, 32])
    product = x * y
    p = program([tf.reduce_sum(product, 0), tf.reduce_sum(product, 1)])
    assert len(launches(p)) == 2
    assert all(b.dims != (64, 32) for s in launches(p) for b in s.writes)
    dear = tf.exp(x) * y
    p = program([tf.reduce_sum(dear, 0), tf.reduce_sum(dear, 1)])
    assert [b.dims for s in launches(p) for b in s.writes].count((64, 32)) == 1


def test_adam_over_many_large_parameters_is_one_kernel_text_beside_that_of_the_powers() -> None:
    variables = [tf.Variable(tf.zeros([2000]), name=f"v{k}") for k in range(30)]
    given = [tf.placeholder(tf.float32, [2000]) for _ in variables]
    step = tf.train.AdamOptimizer().apply_gradients(zip(given, variables, strict=True))
    steps = launches(program(step))
    assert len(steps) == 31
    assert len({s.kernel for s in steps}) == 2
    assert sum(s.extent == 1 for s in steps) == 1


def test_large_values_join_those_that_read_the_same() -> None:
    x, y, z = (tf.placeholder(tf.float32, [4000]) for _ in range(3))
    made = [tf.exp(x), tf.exp(y), tf.exp(z), tf.log(x) * y, tf.tanh(z)]
    assert len(launches(program(made))) == 3
    small = [tf.placeholder(tf.float32, [40]) for _ in range(3)]
    assert len(launches(program([tf.exp(x) for x in small]))) == 1


def test_a_number_made_of_sizes_has_no_kernel_of_its_own() -> None:
    x, w = tf.placeholder(tf.float32, [None, 8]), tf.Variable(tf.ones([8, 4]))
    loss = tf.reduce_mean(tf.square(tf.matmul(x, w)))
    p = program(tf.gradients(loss, w))
    assert [type(s) for s in p.steps] == [Library, Launch, Library]


def test_unoptimised_every_operation_has_its_own_kernel() -> None:
    x = tf.placeholder(tf.float32, [None])
    y = tf.exp(x) * 2.0 + x
    p = function_stages(tf.get_default_graph(), y, optimize=False).program
    assert p is not None and sum(isinstance(s, Launch) for s in p.steps) == 3


def test_a_host_step_stands_between_kernels_in_order() -> None:
    x = tf.placeholder(tf.float32, [3])
    y = tf.py_func(np.sort, [x * 2.0], tf.float32)
    y.set_shape([3])
    kinds = [type(s) for s in program(y + 1.0).steps]
    assert kinds == [Launch, Host, Launch]


# ---- what random programs found
def test_the_gradient_of_a_broadcast_of_open_sizes_is_summed_in_the_program() -> None:
    x, y = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.float32, [None])
    assert tf.gradients(x * y, x)[0].op.type == "SumToShapeOf"
    assert (x + y).shape.as_list() == [None]


def test_padding_an_empty_array_reads_nothing_that_is_not_there() -> None:
    x = tf.placeholder(tf.float64, [None, 300_000])
    with tf.Session() as sess:
        got = sess.run(tf.pad(x, [[1, 0], [0, 0]]), {x: np.zeros((0, 300_000))})
    assert got.shape == (1, 300_000) and not got.any()


def test_zeros_like_an_empty_tensor() -> None:
    x = tf.placeholder(tf.float32, [0, 3])
    with tf.Session() as sess:
        assert sess.run(x > tf.zeros_like(x), {x: np.zeros((0, 3))}).shape == (0, 3)


def test_a_value_in_a_later_results_place_is_not_read_once_that_is_written() -> None:
    """An intermediate that another, computed again in a later pass, is made of."""
    h = tf.placeholder(tf.float64, [None, 3])
    xs = tf.placeholder(tf.float64, [None, None, 3])
    y = h
    for k in range(2):
        y = y - 0.1 * tf.reduce_sum(y * xs[k], axis=1, keepdims=True)
    first = tf.gradients(tf.reduce_sum(tf.sin(y)), [h, xs])
    total = tf.add_n([tf.reduce_sum(tf.sin(g)) for g in first])
    second = tf.gradients(total, [h, xs])
    rng = np.random.default_rng(0)
    feed = {h: rng.normal(size=(1, 3)), xs: rng.normal(size=(2, 1, 3))}
    with tf.Session() as sess:
        together = sess.run(second, feed)
        apart = [sess.run(t, feed) for t in second]
    for a, b in zip(together, apart, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_a_part_that_may_be_empty_is_not_read_beyond_its_end() -> None:
    x, y = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None, 3])
    whole, empty = np.ones((4, 3), np.float32), np.ones((2, 3), np.float32)
    for fetch, count, args, want in (
        (tf.concat([y, tf.negative(x[2:])], 0), 2, [empty, whole], whole),  # there is no x[2]
        (tf.pad(tf.negative(x[2:]), [[1, 1], [0, 0]]), 2, [empty], np.zeros((2, 3))),
        (tf.concat([y, tf.negative(x[:-2])], 0), 1, [empty, whole], whole),
        (tf.concat([y[:, :2], tf.negative(x[:, 1:])], 0), 1, [whole[:0], whole], whole[:, :2]),
        (tf.negative(x[2:]) + y, 1, [empty, whole[:0]], whole[:0]),
    ):
        p = program(fetch)
        assert len(launches(p)) == count, p
        (got,), _ = run_program(p, args)
        np.testing.assert_array_equal(got, want)


def test_what_reads_a_size_as_a_number_stands_behind_what_tells_it() -> None:
    x, b = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.float32, [])
    early = tf.tanh(b)
    positive = tf.boolean_mask(x, x > 0)
    (slope,) = tf.gradients(tf.reduce_mean(positive), positive, grad_ys=b)
    with tf.Session() as sess:
        first, share = sess.run([early, slope], {x: [1.0, -1.0, 2.0], b: 3.0})
    np.testing.assert_allclose(first, np.tanh(3.0), rtol=1e-6)
    assert share.tolist() == [1.5, 1.5]
