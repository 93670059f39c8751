"""`motion`: what is done before, behind and instead of a loop, counted; and the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.ir.function import Function
from staticgraph.ir.program import Library, Program
from staticgraph.passes.loop_motion import Motion
from tests.passes.loops import body, loops, ops, ops_within, staged, steps

RNG = np.random.default_rng(0)
T, B, D, H = 5, 2, 3, 4


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape) * 0.5


def products(f: Function) -> tuple[int, int]:
    """Products of matrices outside of loops, and in them."""
    return tuple(c["Gemm"] + c["BatchGemm"] for c in (ops(f), ops_within(f)))  # type: ignore[return-value]


def calls(fetches: Any) -> list[Library]:
    """The products that a program computes outside of loops."""
    p = tf.stages(fetches).program
    assert isinstance(p, Program)
    return [s for s in p.steps if isinstance(s, Library) and s.kind == "matmul"]


class Elman:
    """A cell over T steps, its parameters fed."""

    def __init__(self, steps: int | None = T, checkpoint: int | None = None) -> None:
        f64 = tf.float64
        self.x = tf.placeholder(f64, [steps, B, D], name="x")
        self.h = tf.placeholder(f64, [B, H], name="h")
        self.w, self.u = (tf.placeholder(f64, [n, H], name=k) for n, k in ((D, "w"), (H, "u")))
        self.b = tf.placeholder(f64, [H], name="b")
        self.hs = tf.scan(
            lambda h, x: tf.tanh(tf.matmul(x, self.w) + tf.matmul(h, self.u) + self.b),
            self.x, self.h, checkpoint=checkpoint,
        )  # fmt: skip
        self.wrt = [self.w, self.u, self.b, self.h, self.x]

    def gradients(self) -> list[Any]:
        return list(tf.gradients(tf.reduce_sum(tf.square(self.hs)), self.wrt))

    def feed(self, n: int = T) -> dict[Any, np.ndarray]:
        return {self.x: normal(n, B, D), self.h: normal(B, H), self.w: normal(D, H),
                self.u: normal(H, H), self.b: normal(H)}  # fmt: skip


# ---------------------------------------------------------------- before the loop
def test_a_product_of_slices_is_one_product_over_all_steps() -> None:
    e = Elman(None)
    f = staged(e.hs, e.feed())
    assert products(f) == (1, 1)  # x @ w before, h @ u inside
    (before,) = calls(e.hs)
    assert before.attrs["op"] in ("Gemm", "BatchGemm")
    for n in (0, 1, 3):
        staged(e.hs, e.feed(n))


CASES = {
    "shared second": lambda h, x, y, w: tf.matmul(x, w),
    "shared second, transposed": lambda h, x, y, w: tf.matmul(x, w, transpose_b=True),
    "shared first": lambda h, x, y, w: tf.matmul(w, x, transpose_b=True),
    "both sliced": lambda h, x, y, w: tf.matmul(x, y),
    "both sliced, transposed": lambda h, x, y, w: tf.matmul(x, y, True, True),
    "batches of both": lambda h, x, y, w: tf.matmul(tf.stack([x, y]), tf.stack([y, x]))[0],
    "batches of one": lambda h, x, y, w: tf.matmul(tf.stack([x, x * 2.0]), w[None] * 1.0)[1],
    "of what is made of slices": lambda h, x, y, w: tf.matmul(tf.tanh(x) * y, w),
    "twice": lambda h, x, y, w: tf.matmul(tf.matmul(x, w), y),
}


@pytest.mark.parametrize("case", CASES)
def test_factors_that_wait_for_no_carry(case: str) -> None:
    x, y = (tf.placeholder(tf.float64, [None, 3, 3]) for _ in range(2))
    w, h = (tf.placeholder(tf.float64, [3, 3]) for _ in range(2))
    hs = tf.scan(lambda a, v: tf.tanh(a + CASES[case](a, *v, w)), (x, y), h)
    for n in (0, 1, 4):
        feed = {x: normal(n, 3, 3), y: normal(n, 3, 3), w: normal(3, 3), h: normal(3, 3)}
        f = staged(hs, feed)
        assert products(f) == (2 if case == "twice" else 1, 0)
    with tf.Session() as sess:
        assert np.isfinite(sess.run(hs, feed)).all()


def test_a_product_of_a_carry_stays_inside() -> None:
    x, w = tf.placeholder(tf.float64, [None, 3, 3]), tf.placeholder(tf.float64, [3, 3])
    hs = tf.scan(lambda a, v: tf.tanh(tf.matmul(a, w) * v), x, tf.eye(3, dtype=tf.float64))
    f = staged(hs, {x: normal(4, 3, 3), w: normal(3, 3)})
    assert products(f) == (0, 1)


# ---------------------------------------------------------------- no loop at all
MAPS = {
    "elementwise": lambda v, w: tf.sin(v) * 2.0 + w,
    "a reduction": lambda v, w: tf.reduce_sum(v * w, axis=0),
    "a product": lambda v, w: tf.matmul(v, w),
    "softmax": lambda v, w: tf.nn.softmax(v),
    "the slice": lambda v, w: v,
    "what is fixed": lambda v, w: w,
    "slices of slices": lambda v, w: v[1:, :2],
    "a concatenation": lambda v, w: tf.concat([v, w], 1),
    "a look-up": lambda v, w: tf.gather(v, [2, 0]),
}


@pytest.mark.parametrize("case", MAPS)
def test_a_map_is_no_loop(case: str) -> None:
    x, w = tf.placeholder(tf.float64, [None, 3, 3]), tf.placeholder(tf.float64, [3, 3])
    y = tf.map_fn(lambda v: MAPS[case](v, w), x)
    for n in (0, 1, 4):
        assert not loops(staged(y, {x: normal(n, 3, 3), w: normal(3, 3)}))
    assert "Repeat" not in steps(tf.stages(y).program)  # type: ignore[arg-type]
    feed = {x: normal(2, 3, 3), w: normal(3, 3)}
    with tf.Session() as sess:
        one = tf.stack([MAPS[case](x[k], w) for k in range(2)])
        got, want = sess.run([y, one], feed)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_a_map_in_a_map_is_none() -> None:
    x, w = tf.placeholder(tf.float64, [None, None, 3]), tf.placeholder(tf.float64, [3])
    y = tf.map_fn(lambda rows: tf.map_fn(lambda v: tf.tanh(v) * w, rows), x)
    for a, b in (2, 4), (0, 3), (3, 0):
        assert not loops(staged(y, {x: normal(a, b, 3), w: normal(3)}))
    p = tf.stages(y).program
    assert p is not None and steps(p) == {"Launch": 1}
    with tf.Session() as sess:
        a = normal(2, 4, 3)
        np.testing.assert_allclose(sess.run(y, {x: a, w: np.ones(3)}), np.tanh(a), rtol=1e-12)


def test_a_map_that_cannot_be_one_step_stays_a_loop() -> None:
    x = tf.placeholder(tf.float64, [None, 4])
    counts = tf.placeholder(tf.int32, [None])
    maps = [
        tf.map_fn(lambda v: tf.cond(tf.reduce_sum(v) > 0.0, lambda: v, lambda: -v), x),
        tf.map_fn(lambda v: tf.cumsum(v), x),
        tf.map_fn(lambda v: tf.py_func(np.sort, [v], tf.float64), x, dtype=tf.float64),
        tf.map_fn(lambda k: tf.reduce_sum(tf.range(k)), counts),
    ]
    a = normal(3, 4)
    with tf.Session() as sess:
        got = sess.run(maps, {x: a, counts: [0, 3, 5]})
    want = [np.where(a.sum(1, keepdims=True) > 0, a, -a), np.cumsum(a, 1), np.sort(a, 1)]
    for g, w in zip(got, want, strict=False):
        np.testing.assert_allclose(g, w, rtol=1e-12)
    assert got[3].tolist() == [0, 3, 10]
    f = tf.stages(maps, stop_after="update").function
    assert len(loops(f)) == 4


def test_what_a_map_prints_is_printed_though_its_result_needs_no_loop(capfd: Any) -> None:
    x = tf.placeholder(tf.float64, [None])

    def twice(v: Any) -> Any:
        with tf.control_dependencies([tf.Print(v, [v], "seen ")]):
            return v * 2.0

    y = tf.map_fn(twice, x)
    with tf.Session() as sess:
        assert sess.run(y, {x: [1.0, 2.0]}).tolist() == [2.0, 4.0]
    assert capfd.readouterr().err.count("seen ") == 2


# ---------------------------------------------------------------- behind the loop
def summed(term: Any, start: Any, read: bool = False) -> Any:
    """The sum of a term over a scan whose other carry it hangs on."""
    x = tf.placeholder(tf.float64, [None, B, H], name="x")

    def step(carries: Any, v: Any) -> Any:
        h, total = carries
        after = tf.tanh(h * 0.5 + v)
        grown = total + term(after, v)
        return after, (grown * 1.5 if read else grown)

    out = tf.foldl(step, x, (tf.ones([B, H], tf.float64), start))
    return x, out


@pytest.mark.parametrize("zero", [True, False])
def test_a_sum_of_products_is_one_product_behind_the_loop(zero: bool) -> None:
    shape = [H, H]
    start = tf.zeros(shape, tf.float64) if zero else tf.placeholder(tf.float64, shape, name="s")
    x, (h, total) = summed(lambda a, v: tf.matmul(a, v, transpose_a=True), start)
    for n in (0, 1, 4):
        feed = {x: normal(n, B, H)} | ({} if zero else {start: normal(H, H)})
        f = staged([h, total], feed)
        assert (products(f)[0] + ops(f)["GemmAdd"], products(f)[1]) == (1, 0)
        assert loops(f)[0].attrs["carries"] == 1
        assert ops(f)["Add"] + ops(f)["GemmAdd"] == (0 if zero else 1)


@pytest.mark.parametrize("axis", [0, None])
def test_a_sum_that_is_read_otherwise_stays_inside(axis: int | None) -> None:
    del axis
    x, (_, total) = summed(
        lambda a, v: tf.matmul(a, v, transpose_a=True), tf.ones([H, H], tf.float64), read=True
    )
    f = staged(total, {x: normal(4, B, H)})
    assert products(f) == (0, 1) and loops(f)[0].attrs["carries"] == 2


def test_sums_of_biases_are_one_sum_of_what_is_stacked() -> None:
    e = Elman()
    f = staged(e.gradients(), e.feed())
    backward = loops(f)[1]
    assert backward.attrs["carries"] == 1  # the cotangent of h, and no sum
    assert "Sum" not in ops(body(backward))


def test_a_sum_with_a_history_stays_a_carry() -> None:
    x = tf.placeholder(tf.float64, [None, B, H])
    sums = tf.scan(
        lambda total, v: total + tf.matmul(v, v, transpose_a=True), x, tf.zeros([H, H], tf.float64)
    )
    f = staged(sums, {x: normal(4, B, H)})
    assert loops(f)[0].attrs["carries"] == 1


def test_sums_of_integers_are_exact() -> None:
    x = tf.placeholder(tf.int32, [None, 3])
    total = tf.foldl(lambda a, v: a + v * v, x, tf.constant([1, 2, 3]))
    f = staged(total, {x: np.arange(12).reshape(4, 3)})
    with tf.Session() as sess:
        got = sess.run(total, {x: np.full((3, 3), 2**30)})
    with np.errstate(over="ignore"):
        assert got.tolist() == [1, 2, 3]  # it wraps around
    assert isinstance(f, Function)


# ---------------------------------------------------------------- not twice
def test_the_backward_loop_reads_the_products_of_the_forward_loop() -> None:
    e = Elman()
    f = staged(e.gradients(), e.feed())
    forward, backward = loops(f)
    assert [ops(body(n))["Gemm"] for n in (forward, backward)] == [1, 1]
    assert ops(body(backward))["Tanh"] == 0
    for n in (1, 2):
        few = Elman(n)
        staged([few.hs, *few.gradients()], few.feed(n))


def test_values_and_gradients_of_one_run_share_the_forward_loop() -> None:
    e = Elman()
    both = [e.hs, *e.gradients(), *e.gradients()]
    f = staged(both, e.feed())
    assert len(loops(f)) == 2  # one there, one back: the second call made the same
    assert [ops(body(n))["Gemm"] for n in loops(f)] == [1, 1]


@pytest.mark.parametrize("checkpoint", [None, 4])
def test_with_checkpoints_one_segment_at_a_time_is_computed_again(checkpoint: int | None) -> None:
    e, n = Elman(None), 16

    def step(h: Any, x: Any) -> Any:
        return tf.tanh(tf.matmul(x, e.w) + tf.matmul(h, e.u) + e.b)

    last = tf.foldl(step, e.x, e.h, checkpoint=checkpoint)
    fetches = [last, *tf.gradients(tf.reduce_sum(tf.square(last)), e.wrt)]
    f = staged(fetches, e.feed(n))
    steps_kept = [  # values of the carry, or products with it, for every step
        v for m in loops(f) for v in m.outputs if len(v.dims) > 2 and v.dims[-1] == H
    ]  # fmt: skip
    if checkpoint is None:
        assert len(steps_kept) == 3  # the carries, what the product came to, its cotangents
        return
    whole, rest, rest_back, back = (
        sorted(loops(f), key=lambda m: (bool(loops(body(m))), m.attrs["reverse"]))[k]
        for k in (2, 0, 1, 3)
    )
    assert [len(v.dims) for v in whole.outputs] == [2, 3]  # ends of segments
    assert [len(v.dims) for v in back.outputs if v.dims[-1] == H] == [2, 2, 2, 1]  # h, w, u, b
    again, backward = loops(body(back))
    assert [ops(body(m))["Gemm"] for m in (again, backward)] == [1, 1]
    assert again.attrs["length"] == backward.attrs["length"] == 4
    assert [ops(body(m))["Gemm"] for m in (rest, rest_back)] == [1, 1]


def test_second_derivatives() -> None:
    e = Elman(3)
    first = e.gradients()
    second = tf.gradients(tf.reduce_sum(tf.sin(first[1])), [e.u, e.h])
    f = staged([e.hs, *first, *second], e.feed(3))
    assert len(loops(f)) == 4
    with tf.Session() as sess:
        assert all(np.isfinite(v).all() for v in sess.run(second, e.feed(3)))


def test_gradients_through_a_loop_that_ends_on_data() -> None:
    w, h = tf.placeholder(tf.float64, [H, H]), tf.placeholder(tf.float64, [B, H])
    y = tf.while_loop(
        lambda left, v: left > 0.5, lambda left, v: (left - 1.0, tf.tanh(tf.matmul(v, w))),
        [tf.constant(3.0), h],
    )[1]  # fmt: skip
    fetches = [y, *tf.gradients(y, [w, h])]
    f = staged(fetches, {w: normal(H, H), h: normal(B, H)})
    forward, backward = loops(f)
    assert (forward.op.name, backward.op.name) == ("While", "Scan")
    assert [ops(body(n))["Gemm"] for n in (forward, backward)] == [1, 1]


def test_nested_loops_and_their_gradients() -> None:
    x, w = tf.placeholder(tf.float64, [None, 3, B, H]), tf.placeholder(tf.float64, [H, H])

    def outer(h: Any, rows: Any) -> Any:
        return tf.foldl(lambda a, v: tf.tanh(tf.matmul(a, w) + tf.matmul(v, w)), rows, h)

    y = tf.foldl(outer, x, tf.ones([B, H], tf.float64))
    for n in (0, 1, 2):
        staged([y, *tf.gradients(y, [w, x])], {x: normal(n, 3, B, H), w: normal(H, H)})


# ---------------------------------------------------------------- the pass itself
def test_twice_is_once() -> None:
    e = Elman()
    _, (h, total) = summed(
        lambda a, v: tf.matmul(a, v, transpose_a=True), tf.zeros([H, H], tf.float64)
    )
    f = tf.stages([*e.gradients(), h, total], stop_after="motion").function
    again = Motion()(f)
    assert ops(again) == ops(f) and ops_within(again) == ops_within(f)
    assert [n.attrs["carries"] for n in loops(again)] == [n.attrs["carries"] for n in loops(f)]
