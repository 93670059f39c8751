"""`trim`: each rule with a function that shows it, before and after, and the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.ir.function import Function
from staticgraph.passes.loop_trim import Trim
from tests.passes.loops import body, loops, ops, ops_within, staged
from tests.passes.programs import assert_same_results, function


def scan(
    params: str, results: str, operands: str, inner: str, lines: str, returns: str,
    counts: tuple[int, int], histories: str = "", length: int | str = 4, then: str = "",
    conditional: bool = False, sizes: str = "()",
) -> Function:  # fmt: skip
    """A function of one loop: what it takes, what the loop gives and takes, the body, the rest."""
    carries, sequences = counts
    return function(
        f"{params} |{then.partition('---')[0]}\n"
        f"{results} = {'While' if conditional else 'Scan'} {operands} {{length={length}, "
        f"body=function body({inner}) {{\n{lines}\n}}, sizes={sizes}, carries={carries}, "
        f"sequences={sequences}, reverse=False, histories=({histories}), "
        f"conditional={conditional}}}\n{then.partition('---')[2]}return {returns}"
    )


def trimmed(f: Function) -> Function:
    """The function after the pass, which finds nothing more to do and changed no number."""
    g = Trim()(f)
    assert g is not f
    assert_same_results(f, g)
    assert Trim()(g) is g
    return g


X = "%a: f32[] feed, %xs: f32[4] feed"
CARRY = "%c: f32[] feed, %x: f32[] feed"
STEP = "%d: f32[] = Add %c, %x\n%p: f32[] = Mul %c, %x\n"


# ---------------------------------------------------------------- what nothing reads
def test_a_stack_that_nothing_reads_is_not_made() -> None:
    f = scan(X, "%e: f32[], %y: f32[4], %z: f32[4]", "%a, %xs", CARRY, STEP + "return %d, %p, %x",
             "%e, %z", (1, 1))  # fmt: skip
    (n,) = loops(trimmed(f))
    assert [v.hint for v in n.outputs] == ["e", "z"]
    assert ops(body(n)) == {"Add": 1}  # what only the other one needed is gone


def test_a_history_that_nothing_reads_is_not_kept() -> None:
    f = scan(X, "%e: f32[], %h: f32[4]", "%a, %xs", CARRY, STEP + "return %d", "%e", (1, 1), "0,")
    (n,) = loops(trimmed(f))
    assert n.attrs["histories"] == () and len(n.outputs) == 1
    f = scan(X, "%e: f32[], %h: f32[4]", "%a, %xs", CARRY, STEP + "return %d", "%h", (1, 1), "0,")
    assert Trim()(f) is f


def test_a_carry_that_only_itself_needs_is_not_carried() -> None:
    f = scan(
        "%a: f32[] feed, %b: f32[] feed, %xs: f32[4] feed", "%e: f32[], %u: f32[], %v: f32[]",
        "%a, %b, %b, %xs", "%c: f32[] feed, %l: f32[] feed, %m: f32[] feed, %x: f32[] feed",
        "%d: f32[] = Add %c, %x\n%k: f32[] = Mul %l, %m\nreturn %d, %m, %k", "%e", (3, 1),
    )  # fmt: skip
    g = trimmed(f)  # %l and %m feed each other
    (n,) = loops(g)
    assert [v.hint for v in n.inputs] == ["a", "xs"]
    assert ops(body(n)) == {"Add": 1}


def test_a_carry_that_a_carry_needs_stays_without_its_stacks() -> None:
    f = scan(
        "%a: f32[] feed, %b: f32[] feed", "%e: f32[], %u: f32[], %h: f32[4]", "%a, %b",
        "%c: f32[] feed, %l: f32[] feed", "%d: f32[] = Add %c, %l\n%k: f32[] = Neg %l\n"
        "return %d, %k", "%e", (2, 0), "1,",
    )  # fmt: skip
    (n,) = loops(trimmed(f))
    assert n.attrs["carries"] == 2 and n.attrs["histories"] == ()


def test_operands_that_the_body_does_not_read_are_not_passed() -> None:
    f = scan(
        "%a: f32[] feed, %xs: f32[4] feed, %ys: f32[4] feed, %w: f32[3] feed", "%e: f32[]",
        "%a, %xs, %ys, %w", f"{CARRY}, %y: f32[] feed, %w: f32[3] feed", STEP + "return %d", "%e",
        (1, 2),
    )  # fmt: skip
    (n,) = loops(trimmed(f))
    assert [v.hint for v in n.inputs] == ["a", "xs"] and n.attrs["sequences"] == 1


def test_a_loop_that_nothing_reads_goes_but_not_one_that_prints() -> None:
    x = tf.placeholder(tf.float32, [3])

    def step(total: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([tf.Print(v, [v])]):
            return total + v

    quiet = tf.foldl(lambda a, v: a + v, x, 0.0)
    loud = tf.foldl(step, x, 0.0)
    with tf.control_dependencies([quiet, loud]):
        y = x * 2.0
    f = tf.stages(y, stop_after="trim").function
    assert ops_within(f)["Print"] == 1
    (n,) = loops(f)
    assert n.attrs["carries"] == 0 and not n.outputs
    assert [v.hint for v in n.inputs] == ["Placeholder:0"]


# ---------------------------------------------------------------- what does not change
def test_a_carry_that_every_iteration_leaves_is_an_invariant() -> None:
    f = scan(
        "%a: f32[] feed, %s: f32[] feed, %xs: f32[4] feed", "%e: f32[], %t: f32[]", "%a, %s, %xs",
        "%c: f32[] feed, %k: f32[] feed, %x: f32[] feed",
        "%d: f32[] = Add %c, %x\n%p: f32[] = Mul %d, %k\nreturn %p, %k", "%e, %t", (2, 1),
    )  # fmt: skip
    g = trimmed(f)
    (n,) = loops(g)
    assert (n.attrs["carries"], [v.hint for v in n.inputs]) == (1, ["a", "xs", "s"])
    assert g.results[1] is g.params[1].value  # its end is its start


def test_a_settled_carry_with_a_history_stays_one() -> None:
    f = scan("%s: f32[] feed", "%t: f32[], %h: f32[4]", "%s", "%k: f32[] feed", "return %k",
             "%h", (1, 0), "0,")  # fmt: skip
    assert Trim()(f) is f


def test_the_predicate_of_a_loop_stays_where_it_is() -> None:
    f = scan(
        "%go: bool[] feed, %a: f32[] feed, %s: f32[] feed", "%m: bool[], %e: f32[], %t: f32[], "
        "%k: i64[]", "%go, %a, %s", "%g: bool[] feed, %c: f32[] feed, %l: f32[] feed",
        "%d: f32[] = Mul %c, %l\nreturn %g, %d, %l", "%e, %t, %k", (3, 0), length=3,
        conditional=True,
    )  # fmt: skip
    (n,) = loops(trimmed(f))
    assert n.attrs["carries"] == 2 and [v.hint for v in n.inputs] == ["go", "a", "s"]


def test_a_constant_that_is_passed_becomes_one_of_the_body() -> None:
    f = scan(
        X, "%e: f32[]", "%a, %xs, %k", f"{CARRY}, %l: f32[] feed",
        "%d: f32[] = Mul %c, %l\n%f: f32[] = Add %d, %x\nreturn %f", "%e", (1, 1),
        then="%k: f32[] = Const {value=dense<f32[]: 2.5>, dtype=f32}---",
    )  # fmt: skip
    g = trimmed(f)
    (n,) = loops(g)
    assert len(n.inputs) == 2
    assert ops(g) == {"Scan": 1} and ops(body(n)) == {"Const": 1, "Mul": 1, "Add": 1}


def test_a_large_constant_stays_outside() -> None:
    large = tf.constant(np.arange(2000, dtype=np.float32))
    x = tf.placeholder(tf.float32, [3])
    y = tf.scan(lambda a, v: a * v + large, x, tf.zeros([2000]))
    f = staged(y, {x: np.ones(3)})
    (n,) = loops(f)
    assert "Const" in ops(f) and "Const" not in ops(body(n))


def test_what_is_passed_twice_is_passed_once() -> None:
    f = scan(
        "%a: f32[] feed, %xs: f32[4] feed, %w: f32[] feed", "%e: f32[], %y: f32[4]",
        "%a, %xs, %xs, %w, %w", f"{CARRY}, %y: f32[] feed, %v: f32[] feed, %w: f32[] feed",
        "%d: f32[] = Mul %x, %y\n%k: f32[] = Sub %d, %w\n%f: f32[] = Add %k, %v\n"
        "%h: f32[] = Add %c, %f\nreturn %h, %y", "%e, %y", (1, 2),
    )  # fmt: skip
    (n,) = loops(trimmed(f))
    assert [v.hint for v in n.inputs] == ["a", "xs", "w"]
    mul, less, more, _ = body(n).nodes
    assert mul.inputs[0] is mul.inputs[1] and less.inputs[1] is more.inputs[1]


def test_a_loop_without_iterations_is_its_start_and_empty_stacks() -> None:
    f = scan("%a: f32[] feed, %xs: f32[0] feed", "%e: f32[], %y: f32[0], %h: f32[0]", "%a, %xs",
             CARRY, STEP + "return %d, %p", "%e, %y, %h", (1, 1), "0,", length=0)  # fmt: skip
    g = trimmed(f)
    assert ops(g) == {"Const": 2} and g.results[0] is g.params[0].value
    x = tf.placeholder(tf.float32, [8, 2])
    y = tf.foldl(lambda a, v: tf.tanh(a + v), x, tf.zeros([2]), checkpoint=4)
    h = staged([y, tf.gradients(y, x)[0]], {x: np.ones((8, 2))})
    assert len(loops(h)) == 2  # there is no rest after two segments of four


# ---------------------------------------------------------------- work that is done once
HOISTED = {
    "a product": (
        "%y: f32[3, 3] = Gemm %w, %w {transpose_a=False, transpose_b=False}", "f32[3, 3]",
    ),
    "a sum": ("%y: f32[3] = Sum %w {reduction_indices=(0,), keep_dims=False}", "f32[3]"),
    "two": (
        "%t: f32[3] = Sum %w {reduction_indices=(0,), keep_dims=False}\n"
        "%y: f32[] = Sum %t {reduction_indices=(0,), keep_dims=False}", "f32[]",
    ),
    "with a constant": (
        "%k: f32[] = Const {value=dense<f32[]: 2.0>, dtype=f32}\n"
        "%u: f32[] = Sum %w {reduction_indices=(0, 1), keep_dims=False}\n"
        "%y: f32[] = Mul %u, %k", "f32[]",
    ),
}  # fmt: skip


def with_work(lines: str, made: str, others: str = "", given: str = "") -> Function:
    """A loop that adds `%y`, made of the invariant `%w`, to its carry."""
    return scan(
        f"%a: {made} feed, %w: f32[3, 3] feed{others}", f"%e: {made}", f"%a, %w{given}",
        f"%c: {made} feed, %w: f32[3, 3] feed{others}", f"{lines}\n%d: {made} = Add %c, %y\n"
        "return %d", "%e", (1, 0),
    )  # fmt: skip


@pytest.mark.parametrize("case", HOISTED)
def test_work_on_invariants_is_done_before_the_loop(case: str) -> None:
    g = trimmed(with_work(*HOISTED[case]))
    (n,) = loops(g)
    assert ops(body(n)) == {"Add": 1}
    assert len(n.inputs) == 2 and ops(g).total() == HOISTED[case][0].count(" = ") + 1


STAYS = {
    "a gather": ("%y: f32[3] = GatherV2 %w, %i {axis=0, batch_dims=0}", "f32[3]"),
    "points": ("%j: i32[1] = Reshape %i {shape=(1,)}\n%y: f32[3] = GatherNd %w, %j", "f32[3]"),
    "an expansion": ("%y: f32[5, 3, 3] = BroadcastTo %w {shape=(5, 3, 3)}", "f32[5, 3, 3]"),
}


@pytest.mark.parametrize("case", STAYS)
def test_what_may_fail_and_what_only_spreads_stays_inside(case: str) -> None:
    f = with_work(*STAYS[case], others=", %i: i32[] feed", given=", %i")
    (n,) = loops(Trim()(f))
    assert body(n).nodes[-2].op.name == STAYS[case][0].split(" = ")[-1].split()[0]


def test_an_index_out_of_range_is_none_where_no_iteration_reads_it() -> None:
    table, i = tf.placeholder(tf.float32, [None, 2]), tf.placeholder(tf.int32, [])
    xs = tf.placeholder(tf.float32, [None, 2])
    labels = tf.placeholder(tf.int32, [2])
    fetches = [
        tf.scan(lambda a, x: a + x * tf.gather(table, i), xs, tf.zeros([2])),
        tf.map_fn(lambda x: x * tf.gather(table, i), xs),
        tf.map_fn(lambda x: x * table[i], xs),
        tf.scan(
            lambda a, x: a + x
            * tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=table[:2]),
            xs, tf.zeros([2]),
        ),
        tf.map_fn(lambda x: x * tf.reduce_sum(tf.scatter_nd([[i]], [1.0], [3])), xs),
    ]  # fmt: skip
    bad = {table: np.ones((3, 2)), i: 7, labels: [9, 9]}
    with tf.Session() as sess:
        for fetch in fetches:
            assert sess.run(fetch, {**bad, xs: np.ones((0, 2))}).shape == (0, 2)
            with pytest.raises(tf.errors.InvalidArgumentError, match="outside"):
                sess.run(fetch, {**bad, xs: np.ones((1, 2))})
            good = {table: np.ones((3, 2)), i: 2, labels: [0, 1], xs: np.ones((4, 2))}
            assert sess.run(fetch, good).shape == (4, 2)


def test_draws_and_prints_of_invariants_stay_inside() -> None:
    w, xs = tf.placeholder(tf.float32, [3, 3]), tf.placeholder(tf.float32, [4])
    noise = tf.foldl(lambda a, x: a + tf.random_uniform([3], seed=1), xs, tf.zeros([3]))
    total = tf.foldl(lambda a, x: a + x * tf.Print(tf.reduce_sum(w), [w]), xs, 0.0)
    called = tf.foldl(lambda a, x: a + x * tf.py_func(np.sum, [w], tf.float32), xs, 0.0)
    f = tf.stages([noise, total, called], stop_after="update").function
    first, second, third = (ops(body(n)) for n in loops(f))
    assert any(name.startswith("Philox") for name in first)
    assert second["Print"] == 1 and "Sum" not in second  # the sum itself may be done before
    assert third["PyFunc"] == 1


# ---------------------------------------------------------------- sizes
COUNTED = (
    "%m: bool[], %e: f32[], %k: i64[], %y: f32[t], %z: f32[t]",
    "%go, %a",
    "%g: bool[] feed, %c: f32[] feed",
    "%one: f32[] = Const {value=dense<f32[]: 1.0>, dtype=f32}\n"
    "%d: f32[] = Add %c, %one\n%s: f32[] = Mul %c, %c\n"
    "%l: f32[] = Const {value=dense<f32[]: 3.0>, dtype=f32}\n%q: bool[] = Less %d, %l\n"
    "return %q, %d, %d, %s",
)


@pytest.mark.parametrize(("kept", "at"), [("%y", 0), ("%z", 1)])
def test_a_size_is_measured_on_what_stays(kept: str, at: int) -> None:
    results, operands, inner, lines = COUNTED
    for measured in "%y", "%z":
        f = function(
            f"%go: bool[] feed, %a: f32[] feed | sizes t = size({measured}, 0)\n{results} = While "
            f"{operands} {{length=-1, body=function body({inner}) {{\n{lines}\n}}, sizes=(), "
            "carries=2, sequences=0, reverse=False, histories=(), conditional=True}\n"
            f"%r: f32[t] = Neg {kept}\nreturn %r"
        )
        g = Trim()(f)
        (n,) = loops(g)
        assert len(n.outputs) == 4, g
        (origin,) = g.sizes.values()
        assert origin.value is n.outputs[-1]  # type: ignore[union-attr]
        for a, go in (0.0, True), (0.5, True), (2.5, True), (9.0, False):
            args = [np.array(go), np.array(a, np.float32)]
            want, got = (evaluate_one(h, args) for h in (f, g))
            np.testing.assert_array_equal(got, want)


def evaluate_one(f: Function, args: list[np.ndarray]) -> np.ndarray:
    from staticgraph.ir.evaluate import evaluate

    return evaluate(f, args)[0][0]


def test_sizes_that_a_body_no_longer_uses_are_not_given() -> None:
    x, w = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.float32, [None, None])
    y = tf.scan(lambda a, v: a + v * tf.reduce_sum(w), x, 0.0)
    g = staged(y, {x: np.ones(3), w: np.ones((2, 5))})
    (n,) = loops(g)
    assert n.attrs["sizes"] == () and not body(n).sizes
    assert ops(g)["Sum"] == 1


# ---------------------------------------------------------------- branches, nesting
def test_a_branch_takes_what_a_side_reads_and_gives_what_is_read() -> None:
    side = (
        "function {}(%x: f32[2] feed, %y: f32[2] feed, %z: f32[2] feed) {{\n"
        "%p: f32[2] = {} %x, %y\n%q: f32[2] = Neg %z\nreturn %p, %q\n}}"
    )
    f = function(
        "%i: i32[] feed, %x: f32[2] feed, %y: f32[2] feed, %z: f32[2] feed | "
        f"%a: f32[2], %b: f32[2] = Case %i, %x, %y, %z {{branches=({side.format('one', 'Add')}, "
        f"{side.format('two', 'Mul')}), sizes=()}}\nreturn %a"
    )
    g = trimmed(f)
    (n,) = g.nodes
    assert [v.hint for v in n.inputs] == ["i", "x", "y"] and len(n.outputs) == 1
    assert [ops(b) for b in n.attrs["branches"]] == [{"Add": 1}, {"Mul": 1}]


def test_loops_within_loops_are_trimmed_and_what_they_pass_on() -> None:
    xs, w = tf.placeholder(tf.float32, [4, 3]), tf.placeholder(tf.float32, [3, 3])

    def outer(a: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
        inner = tf.scan(lambda b, v: b * 0.5 + v * tf.reduce_sum(tf.matmul(w, w)), row, a)
        return inner[-1]

    g = staged(tf.scan(outer, xs, 1.0), {xs: np.ones((4, 3)), w: np.ones((3, 3)) / 9})
    assert ops(g)["Gemm"] == 1 and ops(g)["Sum"] == 1  # through both loops
    assert "Gemm" not in ops_within(g) and "Sum" not in ops_within(g)
    (n,) = loops(body(loops(g)[0]))
    assert len(n.outputs) == 1 or n.attrs["carries"] == 1
