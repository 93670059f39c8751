"""Loops in one kernel: which loops, how many launches, and the same numbers on every path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import ParseError, VerificationError
from staticgraph.ir.compare_program import program_difference
from staticgraph.ir.evaluate import evaluate
from staticgraph.ir.kernel import Kernel, Set, Var, walk
from staticgraph.ir.parse import parse_kernel
from staticgraph.ir.parse_program import parse_program
from staticgraph.ir.program import Launch, Program
from staticgraph.ir.verify import verify_kernel
from staticgraph.runtime.compile import compile_function
from staticgraph.runtime.cost import step_cost
from staticgraph.runtime.store import Store
from tests.passes.loops import steps
from tests.properties.machine import run_program

RNG = np.random.default_rng(0)


def program(fetches: Any, feeds: Any = None) -> Program:
    """The optimised program."""
    p = tf.stages(fetches, feeds).program
    assert p is not None
    return p


def check(fetches: Any, feed: dict[Any, Any]) -> Program:
    """The program; compiled, and on the slow machine, it gives what the unoptimised one does."""
    fetches = list(fetches)
    p = program(fetches, list(feed))
    values = {t.name: np.asarray(a, t.dtype.as_numpy_dtype) for t, a in feed.items()}
    options = tf.OptimizerOptions(opt_level=tf.OptimizerOptions.L0)
    plain = tf.ConfigProto(graph_options=tf.GraphOptions(optimizer_options=options))
    with tf.Session() as one, tf.Session(config=plain) as other:
        got, want = one.run(fetches, feed), other.run(fetches, feed)
    slow, _ = run_program(p, [values[q.name] for q in p.params])
    for a, b, c in zip(got, want, slow, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(c, b, rtol=1e-6, atol=1e-7)
    return p


def one_launch(p: Program) -> Kernel:
    """The kernel of a program that is one launch of a loop."""
    assert steps(p) == {"Launch": 1}, p
    (step,) = p.steps
    assert isinstance(step, Launch)
    assert any(isinstance(s, Var) for s in walk(step.kernel.body))
    assert any(isinstance(s, Set) for s in walk(step.kernel.body))
    return step.kernel


def sequence(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


# ---------------------------------------------------------------- one kernel
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", [(), (1,), (2,), (3,), (2, 2)])
def test_a_narrow_loop_is_one_launch(shape: tuple[int, ...], reverse: bool) -> None:
    x, h = tf.placeholder(tf.float32, [None, *shape]), tf.placeholder(tf.float32, shape)
    y = tf.scan(lambda a, v: tf.tanh(a * 0.5 + v), x, h, reverse=reverse)
    for n in (0, 1, 5):
        one_launch(check([y], {x: sequence(n, *shape), h: sequence(*shape)}))


def test_a_wide_loop_stays_a_loop() -> None:
    for shape in (5,), (2, 3), (None,):
        x = tf.placeholder(tf.float32, [None, *shape])
        y = tf.foldl(lambda a, v: tf.tanh(a * 0.5 + v), x, tf.zeros_like(x[0]))
        assert steps(program(y))["Repeat"] == 1


def test_histories_and_several_outputs() -> None:
    x = tf.placeholder(tf.float32, [None, 2])
    y = tf.scan(lambda a, v: (tf.sin(a[0] + v), a[1] * 0.5 + v), x, (tf.ones([2]), tf.ones([2])))
    gradient = tf.gradients([tf.reduce_sum(t * t) for t in y], x)[0]
    for n in (0, 1, 4):
        p = check([*y, gradient], {x: sequence(n, 2)})
        assert steps(p)["Repeat"] == 0
        kernels = [s for s in p.steps if isinstance(s, Launch)]
        assert sum(any(isinstance(t, Var) for t in walk(s.kernel.body)) for s in kernels) == 2


def test_carries_that_swap_are_read_before_they_are_written() -> None:
    x = tf.placeholder(tf.float32, [None])
    start = tuple(tf.constant(k) for k in (1.0, 2.0, 3.0))
    a, b, c = tf.foldl(lambda s, v: (s[1], s[2], s[0] + v), x, start)
    for n in (0, 1, 2, 7):
        one_launch(check([a, b, c], {x: sequence(n)}))


def test_outputs_that_are_carries_slices_and_what_is_fixed() -> None:
    x, w = tf.placeholder(tf.float32, [None, 2]), tf.placeholder(tf.float32, [2])
    ends = tf.while_loop(lambda i, *_: i < 3, lambda i, a, b: (i + 1, b * w, a), [0, w, w + 1.0])[
        1:
    ]
    assert steps(check(ends, {w: sequence(2)}))["Repeat"] == 0
    ys = tf.scan(lambda s, v: (s[0] + v, s[0], v), x, (w, w, w))
    p = check(ys, {x: sequence(3, 2), w: sequence(2)})
    assert steps(p)["Repeat"] == 0


def test_slices_that_all_elements_share() -> None:
    x, scale = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [None])
    y = tf.scan(lambda a, v: a * v[1] + v[0], (x, scale), tf.zeros([3]))
    for n in (0, 1, 4):
        one_launch(check([y], {x: sequence(n, 3), scale: sequence(n)}))


def test_other_dtypes_and_constants() -> None:
    x, k = tf.placeholder(tf.float64, [None]), tf.placeholder(tf.int32, [None])
    table = tf.constant([0.25, -0.5])
    fetches = [
        tf.foldl(lambda a, v: a * 0.5 + v, x, tf.constant(1.0, tf.float64)),
        tf.foldl(lambda a, v: a * 3 - v, k, 1),
        tf.foldl(lambda a, v: tf.logical_xor(a, v > 1), k, True),
        tf.foldl(lambda a, v: a * table + tf.cast(v, tf.float32), k, tf.zeros([2])),
    ]
    p = check(fetches, {x: RNG.normal(size=4), k: [3, 1, -2, 5]})
    assert steps(p)["Repeat"] == 0


def test_a_counted_loop_over_nothing_but_numbers() -> None:
    n = tf.placeholder(tf.int32, [])
    y = tf.while_loop(
        lambda i, _: i < n, lambda i, a: (i + 1, a + 1.0 / tf.cast(i + 1, tf.float32)), [0, 0.0]
    )[1]
    for k in (0, 1, 9):
        one_launch(check([y], {n: k}))


def test_loops_of_one_kernel_within_a_loop() -> None:
    x, w = tf.placeholder(tf.float32, [None, 4]), tf.placeholder(tf.float32, [8])

    def row(a: Any, v: Any) -> Any:
        return tf.tanh(a * w) + tf.foldl(lambda t, u: t * 0.5 + u, v, 0.0)

    p = check([tf.foldl(row, x, tf.zeros([8]))], {x: sequence(3, 4), w: sequence(8)})
    assert steps(p)["Repeat"] <= 1


# ---------------------------------------------------------------- not one kernel
REFUSED: dict[str, Callable[[Any, Any, Any], Any]] = {
    "a neighbour is read": lambda a, v, t: tf.concat([a[1:], a[:1]], 0) + v,
    "reversed": lambda a, v, t: a[::-1] * v,
    "a reduction": lambda a, v, t: a - tf.reduce_sum(a) * v,
    "a product": lambda a, v, t: tf.matmul(a[None], t)[0] + v,
    "an index of data": lambda a, v, t: a + tf.gather(v, tf.cast(tf.abs(a), tf.int32) % 3),
    "a branch": lambda a, v, t: tf.cond(tf.reduce_sum(v) > 0.0, lambda: a + v, lambda: a - v),
    "a draw": lambda a, v, t: a + v * tf.random_uniform([3], seed=1),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_stays_a_loop(case: str) -> None:
    x, t = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [3, 3])
    y = tf.scan(lambda a, v: REFUSED[case](a, v, t), x, tf.ones([3]))
    p = program(y, [x, t])
    assert steps(p)["Repeat"] == 1
    if case != "a draw":
        check([y], {x: sequence(4, 3), t: sequence(3, 3) / 3})


def test_without_optimisation_every_loop_is_one() -> None:
    x = tf.placeholder(tf.float32, [None])
    p = tf.stages(tf.foldl(lambda a, v: a * 0.5 + v, x, 0.0), optimize=False).program
    assert p is not None and steps(p)["Repeat"] == 1


# ---------------------------------------------------------------- memory
def test_results_may_lie_where_operands_lay() -> None:
    x = tf.placeholder(tf.float32, [None, 2])
    v = tf.Variable([1.0, 2.0], name="v")
    new = tf.assign(v, tf.foldl(lambda a, u: a * 0.5 + u, x, v))
    a = sequence(6, 2)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        want = np.array([1, 2], np.float32)
        for _ in range(5):
            got = sess.run(new, {x: a})
            for row in a:
                want = want * np.float32(0.5) + row
            np.testing.assert_allclose(got, want, rtol=1e-6)
            np.testing.assert_allclose(sess.run(v), want, rtol=1e-6)
    y = tf.scan(lambda s, u: s * 0.5 + u, tf.exp(x), tf.exp(x[0]))  # over temporaries
    check([tf.exp(y) * 2.0], {x: a})


def test_both_ways_to_machine_code_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    x, k = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.int32, [None])
    fetches = [
        *tf.scan(lambda s, v: (tf.tanh(s[1]) + v, s[0] * 0.5), x, (tf.ones([3]), tf.zeros([3]))),
        tf.scan(lambda a, v: a * 3 - v, k, 1, reverse=True),
        tf.foldl(lambda a, v: tf.logical_xor(a, v > 1), k, True),
    ]
    closed = tf.stages(fetches, [x, k], stop_after="close").closed
    args = [sequence(5, 3), np.array([3, 1, -2, 5], np.int32)]
    ways = []
    for way in ("", "numba"):
        monkeypatch.setenv("STATICGRAPH_CODEGEN", way)
        exe = compile_function(closed)
        assert not exe.reference
        assert steps(exe.program)["Repeat"] == 0
        ways.append(exe.run(list(args), Store()))
    want, _ = evaluate(closed, args)
    for a, b, c in zip(*ways, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(a, c, rtol=1e-6, atol=1e-6)


def test_what_a_loop_in_a_kernel_costs() -> None:
    x = tf.placeholder(tf.float32, [10, 3])
    (step,) = program(tf.scan(lambda a, v: a * 0.5 + v, x, tf.ones([3])), [x]).steps
    cost = step_cost(step, {})
    assert cost.flops == 10 * 3 * 2
    assert cost.read == cost.written == 4 * 3 * 10 + 4 * 3  # slices and the start, or the end
    y = tf.placeholder(tf.float32, [None, 3])
    (step,) = program(tf.scan(lambda a, v: a * 0.5 + v, y, tf.ones([3])), [y]).steps
    (symbol,) = program(tf.scan(lambda a, v: a * 0.5 + v, y, tf.ones([3])), [y]).sizes
    assert [step_cost(step, {symbol: n}).flops for n in (0, 1, 50)] == [0, 6, 300]


# ---------------------------------------------------------------- kernels with values that change
TEXT = """\
kernel flat(a0: f32*, a1: f32*, s2: size 0, a3: mut f32*, a4: mut f32*) parallel p {
  state c: f32 = a0[p]
  for t in 0:i64 .. s2 {
    a3[add(mul(t, 3:i64), p)] = c
    n: f32 = add(mul(c, 0.5:f32), a1[t])
    set c = n
  }
  a4[p] = c
}"""


def test_values_that_change_read_back() -> None:
    k = parse_kernel(TEXT)
    verify_kernel(k)
    assert str(k) == TEXT and parse_kernel(str(k)) == k
    assert [type(s).__name__ for s in walk(k.body)] == [
        "Var", "Loop", "Store", "Let", "Set", "Store",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("set c = n", "set n = c", "n is no value that may change"),
        ("set c = n", "set t = 1:i64", "t is no value that may change"),
        ("set c = n", "set d = n", "d is no value that may change"),
        ("set c = n", "set c = t", "the new value of c must be float32, t is int64"),
        ("    set c = n\n  }\n  a4[p] = c", "  }\n  set n = c\n  a4[p] = c", "n is no value"),
    ],
)
def test_the_verifier_of_values_that_change(old: str, new: str, message: str) -> None:
    k = parse_kernel(TEXT.replace(old, new, 1))
    with pytest.raises(VerificationError, match=message):
        verify_kernel(k)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("state c: f32 = a0[p]", "state c: f64 = a0[p]", "c is float64, its value float32"),
        ("n: f32", "c: f32", "'c' is defined twice"),
        ("state c: f32 = a0[p]", "state p: f32 = a0[p]", "'p' is defined twice"),
        ("set c = n", "set c = m", "'m' is not defined"),
    ],
)
def test_the_parser_of_values_that_change(old: str, new: str, message: str) -> None:
    with pytest.raises(ParseError, match=message):
        parse_kernel(TEXT.replace(old, new, 1))


def test_a_program_of_a_loop_reads_its_operands_under_other_sizes() -> None:
    x = tf.placeholder(tf.float32, [None, 6])
    y = tf.foldl(lambda a, v: tf.tanh(a + v), tf.reshape(x, [-1, 6]), tf.zeros([6]))
    p = check([y], {x: sequence(4, 6)})
    assert program_difference(p, parse_program(str(p))) is None
