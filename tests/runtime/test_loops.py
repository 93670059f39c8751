"""Native loops and branches: the same as running them step by step, in one native call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from staticgraph.errors import OutOfBoundsError
from staticgraph.ir.dims import symbol
from staticgraph.ir.function import Builder, Value
from staticgraph.ir.op import Op, Sample, lookup
from staticgraph.ir.types import TensorType
from staticgraph.runtime import growing
from staticgraph.runtime.store import Store
from tests.ops.harness import flat_args, sample_function
from tests.runtime.loop_bodies import (
    BOOL,
    F32,
    I32,
    I64,
    agree,
    case,
    executables,
    number,
    op,
    program,
    repeat_while,
    scan,
)

add, sub, mul, tanh, less = map(op, ("Add", "Sub", "Mul", "Tanh", "Less"))
matmul, gather, exp, identity = map(op, ("MatMul", "GatherV2", "Exp", "Identity"))

RNG = np.random.default_rng(0)
CASES = [
    pytest.param(lookup(name), s, symbolic, id=f"{name}-{i}-{'open' if symbolic else 'fixed'}")
    for name in ("Scan", "While", "Case")
    for i, s in enumerate(lookup(name).samples)
    for symbolic in (False, True)
]


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize(("record", "sample", "symbolic"), CASES)
def test_samples_of_the_records(record: Op, sample: Sample, symbolic: bool, optimize: bool) -> None:
    f = sample_function(record, sample, symbolic)
    stacks = record.name == "While"  # outputs of unknown length
    agree(f, *flat_args(record, sample), optimize=optimize, bound=not stacks)


# ---------------------------------------------------------------- carries and outputs
def elman(h: Value, x: Value, w: Value) -> list[Value]:
    after = tanh(add(matmul(h, w), x))
    return [after, after]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("histories", [(), (0,)])
@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_a_carry_that_is_an_output_too(steps: int, histories: Any, reverse: bool) -> None:
    # a small matrix: steps make differences of rounding smaller, not larger
    h, xs, w = normal(2, 3), normal(steps, 2, 3), normal(3, 3) / 4
    f = program(
        lambda h, xs, w: scan(elman, [h], [xs], [w], histories=histories, reverse=reverse),
        h, xs, w,
    )  # fmt: skip
    agree(f, h, xs, w)


@pytest.mark.parametrize("steps", [0, 1, 2, 7])
def test_carries_that_swap(steps: int) -> None:
    def fibonacci(a: Value, b: Value) -> list[Value]:
        return [b, add(a, b), a]

    a, b = np.array(0, np.int32), np.array(1, np.int32)
    f = program(lambda a, b: scan(fibonacci, [a, b], length=steps), a, b)
    want = agree(f, a, b)
    assert want[2].tolist() == [0, 1, 1, 2, 3, 5, 8][:steps]
    g = program(lambda a, b: scan(lambda a, b: [b, a], [a, b], length=steps), a, b)
    assert [int(v) for v in agree(g, a, b)] == [steps % 2, 1 - steps % 2]


@pytest.mark.parametrize("histories", [(), (0,), (1, 0)])
def test_what_a_body_may_return(histories: Any) -> None:
    def body(kept: Value, moved: Value, x: Value, w: Value) -> list[Value]:
        constant = number([7, 8, 9])
        moved_on = add(moved, x)
        # a carry as it came, a new one; outputs: slice, invariant, constant, both carries, twice
        return [kept, moved_on, x, w, constant, kept, moved, moved_on, moved_on, exp(x)]

    kept, moved, xs, w = normal(3), normal(3), normal(4, 3), normal(3)
    f = program(
        lambda k, m, xs, w: scan(body, [k, m], [xs], [w], histories=histories), kept, moved, xs, w
    )
    agree(f, kept, moved, xs, w)


def test_carries_that_become_something_else() -> None:
    def body(a: Value, b: Value, c: Value, x: Value, w: Value) -> list[Value]:
        return [x, w, number([1, 2]), a]

    v = normal(2)
    xs = normal(3, 2)
    f = program(lambda v, xs, w: scan(body, [v, v, v], [xs], [w]), v, xs, v + 1)
    agree(f, v, xs, v + 1)


def test_one_value_is_two_carries_and_an_invariant() -> None:
    def body(a: Value, b: Value, x: Value, w: Value) -> list[Value]:
        return [add(a, x), mul(b, w), a]

    v, xs = normal(3), normal(4, 3)
    f = program(lambda v, xs: [*scan(body, [v, v], [xs], [v]), v], v, xs)
    agree(f, v, xs)


def test_one_new_value_for_two_carries() -> None:
    def body(a: Value, b: Value, x: Value) -> list[Value]:
        after = add(mul(a, b), x)
        return [after, after, after, after]

    v, xs = normal(3), normal(5, 3)
    f = program(lambda v, xs: scan(body, [v, v], [xs], histories=(1, 0)), v, xs)
    agree(f, v, xs)


def test_empty_values_and_bodies() -> None:
    empty, xs = normal(0), normal(4, 0)
    f = program(lambda e, xs: scan(lambda c, x: [add(c, x), c], [e], [xs]), empty, xs)
    agree(f, empty, xs)
    v = normal(2)
    g = program(lambda v: scan(lambda c: [c], [v], length=3), v)
    agree(g, v)


def test_other_dtypes() -> None:
    def body(a: Value, b: Value, c: Value) -> list[Value]:
        return [b, a, op("LogicalNot")(c), a, c]

    a, b, c = np.array([1], np.uint8), np.array([2], np.uint8), np.array([True, False])
    f = program(lambda *v: scan(body, v, length=5, histories=(0, 2)), a, b, c)
    agree(f, a, b, c)


def test_what_comes_in_is_not_written() -> None:
    v = normal(3)
    before = v.copy()
    xs = normal(40_000, 3)  # large enough to be read where it is
    f = program(
        lambda v, xs: [*scan(lambda c, x: [add(c, x), mul(c, x)], [v], [xs], reverse=True), v],
        v, xs,
    )  # fmt: skip
    native, _ = executables(f)
    for data in xs, xs + 1, xs:  # at another address each time
        last, products, kept = native.run([v, data], Store())
        want = v.copy()
        for x in data[::-1]:
            want = want + x
        np.testing.assert_allclose(last, want, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(products[-1], v * data[-1], rtol=1e-6)
        np.testing.assert_array_equal(kept, before)
    assert native.counts.plans == 1


def test_another_number_of_steps_compiles_nothing() -> None:
    t, v = symbol("t"), normal(3)
    f = program(lambda v, xs: scan(elman_row, [v], [xs], length=t), v, normal(2, 3), open_={1: t})
    native, stepwise = executables(f)
    code = native.code
    for steps in 1, 6, 0, 6:
        xs = normal(steps, 3)
        for got, want in zip(
            native.run([v, xs], Store()), stepwise.run([v, xs], Store()), strict=True
        ):
            np.testing.assert_allclose(got, want, rtol=1e-6)
    assert native.code is code
    assert (native.counts.plans, native.counts.calls) == (3, 4)


def elman_row(h: Value, x: Value) -> list[Value]:
    after = tanh(add(h, x))
    return [after, after]


# ---------------------------------------------------------------- while
def test_while_counts_its_iterations() -> None:
    def body(go: Value, k: Value, c: Value, w: Value) -> list[Value]:
        after = add(k, number(1, I32))
        return [less(after, number(5, I32)), after, mul(c, w)]

    k, c, w = np.array(0, np.int32), normal(3), normal(3)
    for go in True, False:
        start = np.array(go)
        f = program(lambda *v: repeat_while(body, v[:3], rest=v[3:]), start, k, c, w)
        assert int(agree(f, start, k, c, w)[3]) == (5 if go else 0)
        g = program(lambda *v: repeat_while(body, v[:3], rest=v[3:], length=2), start, k, c, w)
        assert int(agree(g, start, k, c, w)[3]) == (2 if go else 0)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_while_ends_with_its_shortest_sequence(steps: int) -> None:
    def body(go: Value, a: Value, b: Value, x: Value, y: Value) -> list[Value]:
        return [less(a, number(1e9)), b, add(a, mul(x, y))]

    go, a, xs, ys = np.array(True), np.float32(1.5), normal(steps), normal(5)
    f = program(lambda *v: repeat_while(body, [v[0], v[1], v[1]], v[2:]), go, a, xs, ys)
    assert int(agree(f, go, np.asarray(a), xs, ys)[3]) == steps


def collatz(go: Value, n: Value, total: Value, w: Value) -> list[Value]:
    half = op("FloorDiv")(n, number(2, I32))
    odd = op("Equal")(op("FloorMod")(n, number(2, I32)), number(1, I32))
    after = op("SelectV2")(odd, add(mul(n, number(3, I32)), number(1, I32)), half)
    grown = add(mul(total, w), w)
    return [less(number(1, I32), after), after, grown, n, grown, mul(total, total)]


@pytest.mark.parametrize("first", [1, 4, 64])
def test_outputs_of_unknown_length_are_made_in_chunks(first: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(growing, "FIRST", first)
    w = normal(2) / 4
    args = np.array(True), np.array(27, np.int32), normal(2), w
    f = program(lambda *v: repeat_while(collatz, v[:3], rest=v[3:], histories=(2, 1)), *args)
    agree(f, *args, bound=False)
    native, stepwise = executables(f)
    for start, trips in (27, 111), (27, 111), (1, 1), (3, 7), (27, 111):
        args = np.array(start > 1), np.array(start, np.int32), *args[2:]
        if start == 1:
            trips = 0
        got, want = (e.run(list(args), Store()) for e in (native, stepwise))
        for g, h in zip(got, want, strict=True):
            np.testing.assert_allclose(g, h, rtol=1e-6)
        assert got[3] == trips
    chunks = {1: (7, 1, 0, 1, 4), 4: (5, 1, 0, 1, 4), 64: (2, 1, 0, 1, 2)}  # 8 + 16 + 32 + 64 > 111
    assert native.counts.calls == sum(chunks[first])


def test_outputs_of_unknown_length_with_sequences_and_a_limit(monkeypatch: Any) -> None:
    def body(go: Value, c: Value, x: Value, limit: Value) -> list[Value]:
        after = add(c, x)
        return [less(after, limit), after, after, mul(c, x)]

    monkeypatch.setattr(growing, "FIRST", 2)
    xs = np.ones(7, np.float32)
    for most, want in (100, 7), (4.5, 5), (0, 1):
        for length in -1, 6, 3:
            args = np.array(True), np.asarray(np.float32(0)), xs, np.asarray(np.float32(most))
            f = program(
                lambda *v, n=length: repeat_while(
                    body, v[:2], v[2:3], v[3:], length=n, histories=(1,)
                ),
                *args,
            )
            trips = agree(f, *args, bound=False)[2]
            assert trips == (min(want, length) if length >= 0 else want)


def test_an_error_in_a_later_chunk_names_its_iteration(monkeypatch: Any) -> None:
    def body(go: Value, k: Value, table: Value) -> list[Value]:
        return [go, add(k, number(1, I32)), gather(table, k, axis=0)]

    monkeypatch.setattr(growing, "FIRST", 4)
    args = np.array(True), np.array(0, np.int32), normal(9)
    native, _ = executables(program(lambda *v: repeat_while(body, v[:2], rest=v[2:]), *args))
    with pytest.raises(OutOfBoundsError, match=r"index 9 is outside \[0, 9\)") as e:
        native.run(list(args), Store())
    assert "in iteration 9 of a loop" in e.value.operands


# ---------------------------------------------------------------- nesting
def test_scan_in_while_in_scan() -> None:
    def inner(c: Value, x: Value) -> list[Value]:
        after = add(mul(c, number(0.5)), x)
        return [after, after]

    def middle(go: Value, k: Value, c: Value, row: Value) -> list[Value]:
        c_after, ys = scan(inner, [c], [row])
        after = add(k, number(1, I32))
        del ys
        return [less(after, number(3, I32)), after, c_after]

    def outer(c: Value, row: Value) -> list[Value]:
        go, k = number(True, BOOL), number(0, I32)
        _, _, after, trips = repeat_while(middle, [go, k, c], rest=[row])
        inner_last, ys = scan(inner, [after], [row], reverse=True)
        return [after, ys, inner_last, trips]

    c, xs = np.asarray(np.float32(0.25)), normal(4, 3)
    f = program(lambda c, xs: scan(outer, [c], [xs], histories=(0,)), c, xs)
    agree(f, c, xs)
    g = program(lambda c, xs: scan(outer, [c], [xs], reverse=True), c, xs)
    agree(g, c, xs, optimize=False)


def test_a_matrix_by_nested_scans_over_slices_of_slices() -> None:
    def cell(total: Value, x: Value, y: Value) -> list[Value]:
        after = add(total, mul(x, y))
        return [after, after, total]

    def row(total: Value, xs: Value, ys: Value) -> list[Value]:
        last, *stacks = scan(cell, [total], [xs, ys], histories=(0,))
        return [last, *stacks, last]

    total, xs, ys = np.asarray(np.float32(1)), normal(4, 6), normal(4, 6)
    for reverse in False, True:
        f = program(lambda *v, r=reverse: scan(row, v[:1], v[1:], reverse=r), total, xs, ys)
        agree(f, total, xs, ys)


def test_branches_in_a_scan_and_scans_in_a_branch() -> None:
    def twice(c: Value, x: Value) -> list[Value]:
        return [add(c, c), x]

    def summed(c: Value, x: Value) -> list[Value]:
        last, ys = scan(lambda a, b: [add(a, b), mul(a, b)], [c], [x])
        return [last, ys]

    def nothing(c: Value, x: Value) -> list[Value]:
        return [c, number([0, 0])]

    def body(c: Value, k: Value, x: Value) -> list[Value]:
        after, y = case(k, [c, x], twice, summed, nothing)
        return [after, y, after]

    c, ks = np.asarray(np.float32(0.5)), np.array([0, 1, 2, 1, -4, 9, 0], np.int32)
    xs = normal(7, 2)
    f = program(lambda c, ks, xs: scan(body, [c], [ks, xs], histories=(0,)), c, ks, xs)
    agree(f, c, ks, xs)


# ---------------------------------------------------------------- errors
def test_an_index_out_of_range_names_the_iteration() -> None:
    def inner(total: Value, i: Value, table: Value) -> list[Value]:
        return [add(total, gather(table, i, axis=0))]

    def outer(total: Value, row: Value, table: Value) -> list[Value]:
        return scan(inner, [total], [row], [table])

    total, table = np.asarray(np.float32(0)), normal(5)
    good = np.array([[0, 1, 2], [4, 3, 2]], np.int32)
    f = program(lambda *v: scan(outer, v[:1], v[1:2], v[2:]), total, good, table)
    native, stepwise = executables(f)
    for bad, at in ((7, (1, 2)), (-1, (0, 1))):
        rows = good.copy()
        rows[at] = bad
        for exe in native, stepwise:
            with pytest.raises(OutOfBoundsError, match=rf"index {bad} is outside \[0, 5\)") as e:
                exe.run([total, rows, table], Store())
            found = [o for o in e.value.operands if "iteration" in o]
            assert found == [f"in iteration {k} of a loop" for k in reversed(at)]
        want = np.float32(0)
        for i in good.ravel():
            want = want + table[i]
        np.testing.assert_allclose(native.run([total, good, table], Store())[0], want, rtol=1e-5)


def test_an_error_in_a_branch_in_a_loop() -> None:
    def taken(i: Value, table: Value) -> list[Value]:
        return [gather(table, i, axis=0)]

    def body(c: Value, i: Value, table: Value) -> list[Value]:
        (y,) = case(i, [i, table], taken, taken)
        return [add(c, y)]

    c, table = np.asarray(np.float32(0)), normal(3)
    f = program(lambda *v: scan(body, v[:1], v[1:2], v[2:]), c, np.zeros(3, np.int32), table)
    native, _ = executables(f)
    with pytest.raises(OutOfBoundsError, match=r"index 5 is outside \[0, 3\)") as e:
        native.run([c, np.array([0, 5, 1], np.int32), table], Store())
    assert "in iteration 1 of a loop" in e.value.operands


# ---------------------------------------------------------------- random draws
def drawn(position: Value, shape: tuple[int, ...]) -> list[Value]:
    return op("PhiloxUniform")(position, shape=shape, seed=3, seed2=5)


def test_every_iteration_draws_anew() -> None:
    def body(position: Value, total: Value) -> list[Value]:
        x, after = drawn(position, (3,))
        y, after = drawn(after, (2, 3))
        nothing, after = drawn(after, (0, 3))
        return [after, add(total, x), y, nothing]

    start, total = np.array(11, np.int64), normal(3)
    f = program(lambda s, t: scan(body, [s, t], length=4, histories=(0,)), start, total)
    after, _, ys, *_ = agree(f, start, total)
    assert len(np.unique(ys)) == ys.size
    assert int(after) > 11


def test_a_session_s_stream_goes_through_a_loop() -> None:
    def body(position: Value, total: Value) -> list[Value]:
        x, after = drawn(position, (2,))
        return [after, add(total, x)]

    b = Builder("run")
    start = b.param("counter", "stream", TensorType(I64, ()))
    total = b.param("feed", "total", TensorType(F32, (2,)))
    with b:
        x, between = drawn(start, (5,))
        after, out = scan(body, [between, total], length=3)
        f = b.finish([x, out], {"counter:stream": after})
    zeros = np.zeros(2, np.float32)
    native, stepwise = executables(f)
    assert native.bound
    stores = Store(), Store()
    for _ in range(3):
        runs = [e.run([zeros], s) for e, s in zip((native, stepwise), stores, strict=True)]
        for got, want in zip(*runs, strict=True):
            np.testing.assert_array_equal(got, want)
    assert stores[0].counters["stream"] == stores[1].counters["stream"] > 0
    assert native.counts.calls == 3
