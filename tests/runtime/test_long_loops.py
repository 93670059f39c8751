"""Native loops that take long, that fail, and that sessions run."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.codegen.pool import launch_address
from staticgraph.errors import OutOfBoundsError
from staticgraph.ir.dims import symbol
from staticgraph.ir.evaluate import BrokenGuardError
from staticgraph.ir.function import Builder, Given, Value
from staticgraph.ir.types import TensorType
from staticgraph.runtime import tables
from staticgraph.runtime.store import Store
from tests.runtime import test_loops
from tests.runtime.loop_bodies import F32, I32, executables, number, op, program, repeat_while, scan

add, sub, mul, tanh, less, exp = map(op, ("Add", "Sub", "Mul", "Tanh", "Less", "Exp"))


# ---------------------------------------------------------------- long loops
def endless(go: Value, k: Value) -> list[Value]:
    return [less(k, number(2, I32)), sub(number(1, I32), k)]


INTERRUPTED = """
import os, signal, threading, time
import numpy as np
from staticgraph.runtime.store import Store
from tests.runtime.loop_bodies import executables, program, repeat_while, scan
from tests.runtime.test_long_loops import endless

def outer(c, go):
    return [repeat_while(endless, [go, c])[1]]

def interrupt():
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)

go, zero = np.array(True), np.array(0, np.int32)
plain = program(lambda g, k: repeat_while(endless, [g, k]), go, zero)
nested = program(lambda g, k: scan(outer, [k], rest=[g], length=3), go, zero)
for f in plain, nested:
    native, _ = executables(f)
    assert native.bound
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        native.run([go, zero], Store())
    except KeyboardInterrupt:
        print("interrupted", end=", ")
    print("then", *map(int, native.run([np.array(False), zero], Store())))
"""


def test_an_endless_loop_is_interrupted() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60
    )
    want = ["interrupted, then 0 0 0", "interrupted, then 0"]
    assert done.stdout.splitlines() == want, done.stderr


def test_a_loop_that_stops_for_signals_goes_on_where_it_was(monkeypatch: Any) -> None:
    for amount in 1, 1000, 3000:
        monkeypatch.setattr(tables, "FUEL_AMOUNT", amount)
        test_loops.test_scan_in_while_in_scan()
        test_loops.test_a_matrix_by_nested_scans_over_slices_of_slices()
        test_loops.test_branches_in_a_scan_and_scans_in_a_branch()
        test_loops.test_while_counts_its_iterations()
        test_loops.test_an_index_out_of_range_names_the_iteration()
        test_loops.test_every_iteration_draws_anew()


def test_many_iterations() -> None:
    def body(go: Value, k: Value, total: Value) -> list[Value]:
        after = add(k, number(1, I32))
        return [less(after, number(300_000, I32)), after, add(total, k)]

    args = np.array(True), np.array(0, np.int32), np.array(0, np.int32)
    native, _ = executables(program(lambda *v: repeat_while(body, v), *args))
    _, last, total, trips = native.run(list(args), Store())
    assert (last, trips) == (300_000, 300_000)
    assert total == np.arange(300_000).sum(dtype=np.int32)
    assert native.counts.steps == len(next(iter(native.plans.values())).rows)


# ---------------------------------------------------------------- in sessions
def test_a_loop_whose_gradient_nobody_asks_for_keeps_nothing() -> None:
    x = tf.placeholder(tf.float32, [None])
    y = tf.while_loop(lambda y: tf.reduce_sum(y) < 100.0, lambda y: y * y + x, [x])
    g = tf.gradients(y, x)[0]
    a = np.array([1.5, 2.0], np.float32)
    with tf.Session() as sess:
        alone = sess.run(y, {x: a})
        both = sess.run([y, g], {x: a})
        np.testing.assert_array_equal(alone, both[0])
        without, with_ = sess.executables()
        assert (without.bound, with_.bound) == (True, True)
        assert (without.counts.calls, with_.counts.calls) == (1, 1)
        (short,), (long,) = (e.plans.values() for e in (without, with_))
        assert (short.tight, long.tight) == (False, True)


@pytest.mark.parametrize("calls", ["native", "python"])
def test_runs_that_take_long_give_the_same_however_they_are_called(
    calls: str, monkeypatch: Any
) -> None:
    if calls == "python":
        monkeypatch.setenv("STATICGRAPH_CALLS", "python")
    monkeypatch.setattr(tables, "FUEL_AMOUNT", 50_000)
    n = tf.placeholder(tf.float32, [])
    v = tf.Variable(0.0)
    i, total = tf.while_loop(
        lambda i, s: i < n, lambda i, s: (i + 1.0, s + tf.reduce_max(i)), [0.0, v.read_value()]
    )
    step = tf.group(v.assign(total), i)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        call = sess.make_callable([i, step], [n])
        want = 0.0
        for k in 10, 10, 10, 1000, 1000, 10, 500:
            assert call(np.float32(k))[0] == k
            want += k * (k - 1) / 2
            assert sess.run(v) == want
        plans = [p for e in sess.executables() for p in e.plans.values()]
        assert [p.long for p in plans if p.top.inside] == [True]


def test_a_loop_that_fails_changes_no_variable() -> None:
    v = tf.Variable([1.0, 2.0])
    indices = tf.placeholder(tf.int32, [None])
    grown = v.assign_add([1.0, 1.0])
    with tf.control_dependencies([grown]):
        sums = tf.scan(lambda s, i: s + tf.gather(v.read_value(), i), indices, 0.0)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with pytest.raises(OutOfBoundsError, match="index 7") as e:
            sess.run(sums, {indices: [0, 1, 7]})
        assert "in iteration 2 of a loop" in e.value.operands
        np.testing.assert_array_equal(sess.run(v), [1.0, 2.0])
        np.testing.assert_array_equal(sess.run(sums, {indices: [0, 1]}), [2.0, 5.0])


def test_steps_in_a_loop_are_shared_between_threads() -> None:
    def body(c: Value, x: Value) -> list[Value]:
        after = tanh(add(mul(c, number(0.5)), x))
        return [after, exp(after)]

    c, xs = test_loops.normal(200_000), test_loops.normal(3, 200_000)
    f = program(lambda c, xs: scan(body, [c], [xs]), c, xs)
    one, _ = executables(f)
    two, _ = executables(f, threads=2)
    for a, b in zip(one.run([c, xs], Store()), two.run([c, xs], Store()), strict=True):
        np.testing.assert_array_equal(a, b)
    plan = next(iter(two.plans.values()))
    (inner,) = plan.top.inside[next(iter(plan.top.inside))]
    functions = plan.table[inner.first : inner.first + len(inner.rows), 0]
    assert launch_address() in functions


def test_sizes_that_a_branch_cannot_take_matter_only_where_it_runs() -> None:
    def branch(name: str, make: Any) -> Any:
        b = Builder(name)
        sizes = [symbol("a"), symbol("b")]
        x, y = (b.param("feed", f"x{k}", TensorType(F32, (d,))) for k, d in enumerate(sizes))
        for k, d in enumerate(sizes):
            b.define(d, Given(k))
        with b:
            return b.finish([op("Sum")(make(x, y), [0])])

    both, first = branch("both", mul), branch("first", lambda x, y: op("Neg")(x))
    n, m = symbol("n"), symbol("m")

    def make(k: Value, x: Value, y: Value) -> list[Value]:
        return op("Case")(k, [x, y], branches=(both, first), sizes=(n, m))

    x3, x4 = np.ones(3, np.float32), np.full(4, 2, np.float32)
    zero, one = np.array(0, np.int32), np.array(1, np.int32)
    f = program(make, zero, x3, x4, open_={1: n, 2: m})
    native, stepwise = executables(f)
    assert native.bound
    assert len(both.guards) == 1
    for exe in native, stepwise:
        assert exe.run([one, x3, x4], Store()) == [-3]
        assert exe.run([zero, x3, x3], Store()) == [3]
        with pytest.raises(BrokenGuardError, match="a == b"):
            exe.run([zero, x3, x4], Store())
        assert exe.run([one, x3, x4], Store()) == [-3]
    assert sorted(p.refuses for p in native.plans.values()) == [False, True]


def test_bodies_divide_and_index_what_is_outside() -> None:
    x = tf.placeholder(tf.float32, [None])

    def body(i: Any, y: Any) -> Any:
        return i + 1, y + x[i] + tf.reduce_sum(x[:i]) + x[-1] + tf.reduce_max(x / (y + 1.0))

    _, y = tf.while_loop(lambda i, y: i < 3, body, [0, 0.0])
    a = np.array([1.0, 2.0, 4.0], np.float32)
    want = 0.0
    for i in range(3):
        want += a[i] + a[:i].sum() + a[-1] + (a / (want + 1)).max()
    with tf.Session() as sess:
        assert sess.run(y, {x: a}) == pytest.approx(want)


# ---------------------------------------------------------------- loops in kernels
LONG_KERNEL = """
import os, signal, threading, time
import staticgraph as tf

n = tf.placeholder(tf.int64, [])
v = tf.Variable(0.5)
start = [tf.constant(0, tf.int64), v.read_value()]
_, x = tf.while_loop(lambda i, x: i < n, lambda i, x: (i + 1, x * 3.7 * (1.0 - x)), start)
step = v.assign(x)

def interrupt():
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)

with tf.Session() as sess:
    sess.run(v.initializer)
    for _ in range(3):
        sess.run(step, {n: 2})
    before = sess.run(v)
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        sess.run(step, {n: 1 << 50})
    except KeyboardInterrupt:
        print("interrupted", sess.run(v) == before)
    (exe,) = (e for e in sess.executables() if e.feeds)
    print(*(type(s).__name__ for s in exe.program.steps))
"""


def test_a_long_loop_that_is_one_kernel_is_interrupted() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LONG_KERNEL], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["interrupted", "True", "Launch"], done.stderr


def scalar_loop(n: Any, a: Any, xs: Any) -> list[Any]:
    """Two carries, a slice, a stacked output; its gradient goes back over histories."""

    def body(carry: Any, x: Any) -> Any:
        y, z = carry
        return tf.sin(y) + 0.5 * z * x, 0.9 * z + a * y

    start = tf.ones([2], tf.float64) * a, tf.ones([2], tf.float64)
    ys, zs = tf.scan(body, tf.cast(xs, tf.float64) / tf.cast(n, tf.float64), start)
    total = tf.reduce_sum(ys * ys) + tf.reduce_sum(zs)
    return [ys, zs[-1:], *tf.gradients(total, [a, xs])]


@pytest.mark.parametrize("fuel", [1, 400, 1_700])
def test_a_loop_in_a_kernel_is_done_in_parts(fuel: int, monkeypatch: Any) -> None:
    """Parts of one, some and most of the iterations, the last of them shorter or as long."""
    n, a = tf.placeholder(tf.int32, []), tf.placeholder(tf.float64, [])
    xs = tf.placeholder(tf.float64, [None])
    fetches = scalar_loop(n, a, xs)
    with tf.Session() as whole, tf.Session() as parts:
        for length in 0, 1, 7, 8, 12:
            feed = {n: length + 1, a: 0.3, xs: np.linspace(-1, 1, length)}
            want = whole.run(fetches, feed)
            with monkeypatch.context() as m:
                m.setattr(tables, "FUEL_AMOUNT", fuel)
                got = parts.run(fetches, feed)
            for p, q in zip(got, want, strict=True):
                np.testing.assert_array_equal(p, q)
        (one,), (cut,) = (s.executables() for s in (whole, parts))
        rows = [list(e.plans.values())[-1].top.count for e in (one, cut)]
        assert rows[0] < rows[1]


def test_a_loop_in_a_kernel_inside_a_loop_is_done_in_parts(monkeypatch: Any) -> None:
    n, m = tf.placeholder(tf.int32, []), tf.placeholder(tf.int32, [])

    def inner(x: Any) -> Any:
        return tf.while_loop(
            lambda i, x: i < n, lambda i, x: (i + 1, x * 3.7 * (1.0 - x)), [0, x]
        )[1]  # fmt: skip

    def outer(i: Any, x: Any, s: Any) -> Any:
        x = inner(x)
        return i + 1, x, s + tf.reduce_sum(tf.sin(x * tf.ones([40])))

    _, x, s = tf.while_loop(lambda i, *_: i < m, outer, [0, tf.constant(0.4), 0.0])
    with tf.Session() as whole, tf.Session() as parts:
        for counts in (3, 2), (20, 5), (0, 3), (5, 0):
            feed = dict(zip((n, m), counts, strict=True))
            want = whole.run([x, s], feed)
            with monkeypatch.context() as patch:
                patch.setattr(tables, "FUEL_AMOUNT", 300)
                assert parts.run([x, s], feed) == want
