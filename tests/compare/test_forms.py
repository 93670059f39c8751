"""Every form of every program has the losses of the others, and is counted for what it does."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import staticgraph.dynamic as dynamic
from staticgraph.compare import PAIRS, Pair, chosen, counting, forms_of, loops, losses_of
from staticgraph.compare.cold import builder_of, cycle_of
from staticgraph.compare.pair import Static, started
from staticgraph.compare.result import relative_difference
from staticgraph.errors import ArgumentError

STEPS = 4
BY_NAME = {pair.name: pair for pair in PAIRS}


@pytest.mark.parametrize("name", BY_NAME)
def test_all_forms_have_the_same_losses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "LONGEST", 4)  # two unrolled graphs show what ten show
    pair = BY_NAME[name]
    losses = losses_of(pair, forms_of(pair), STEPS)
    assert set(losses) == {"numpy", "dynamic", "static", *pair.variants}
    reference = losses["dynamic"]
    assert len(set(reference)) == STEPS  # something happens from step to step
    for form, have in losses.items():
        assert relative_difference(have, reference) <= pair.tolerance, form


@pytest.mark.parametrize("name", BY_NAME)
def test_pytorch_has_them_too(name: str) -> None:
    pytest.importorskip("torch")
    torch, pair = importlib.import_module("torch"), BY_NAME[name]
    items, values = pair.items(STEPS), pair.values()
    ours, theirs = pair.dynamic(dynamic, values), pair.dynamic(torch, values)
    difference = relative_difference([theirs(i) for i in items], [ours(i) for i in items])
    assert difference <= pair.tolerance


def test_programs_of_the_examples_are_named_after_them() -> None:
    from pathlib import Path

    folder = Path(__file__).parents[2] / "examples" / "static"
    have = {p.stem for p in folder.glob("*.py")} - {"data_loading", "torch_users"}
    assert {p.name for p in PAIRS if p.example} == have


def test_forms_do_not_share_their_numbers() -> None:
    (pair,) = chosen(["polynomial_autograd"])
    values = pair.values()
    before = {k: v.copy() for k, v in values.items()}
    for build in (
        pair.by_hand,
        lambda v: pair.dynamic(dynamic, v),
        lambda v: started(pair.static, v),
    ):
        build(values)(None)
    for k, v in values.items():
        np.testing.assert_array_equal(v, before[k])


# ---------------------------------------------------------------- counts
def counts(pair: Pair, form: str = "static") -> counting.StaticCounts:
    static = started(builder_of(pair, form), pair.values())
    items = pair.items(6)
    for item in items:
        static(item)
    return counting.static_counts(pair, static, items)


def test_a_step_of_the_cubic_fit_is_counted() -> None:
    (pair,) = chosen(["polynomial_autograd"])
    hand = counting.by_hand_tally(pair, [None] * 3, 1)
    # 9 for the prediction, 3 for the loss, 1 + 9 for the gradients, 8 for the update
    assert hand.ops == 2 * 30
    assert hand.bytes == 2 * (17 * 8000 + 13 * 4)
    step = pair.dynamic(dynamic, pair.values())
    step(None)
    with counting.dynamic_tally() as tally:
        step(None)
    assert tally.ops == 34
    step(None)
    assert tally.ops == 34  # nothing is counted outside
    have = counts(pair)
    assert (have.nodes, have.calls, have.allocated, have.executables) == (35, 1, 4, 1)
    assert 1 <= have.kernels <= 2


def test_an_optimizer_is_counted_and_left_as_it_was() -> None:
    p = dynamic.ones(3, requires_grad=True)
    optimizer = dynamic.optim.SGD([p], lr=0.5, momentum=0.9)
    for _ in range(2):
        p.grad = None
        p.sum().backward()
        with counting.dynamic_tally() as tally:
            optimizer.step()
        assert type(p._array) is type(p.grad._array) is np.ndarray
    assert tally.ops == 5  # of the second step: v *= m, 1 * g, v += that, rate * v, p -= that
    np.testing.assert_allclose(p.detach().numpy(), 1 - 0.5 - 0.5 * 1.9)
    assert type(optimizer.state[p]["momentum_buffer"]._array) is np.ndarray


def test_backward_is_counted_by_the_operations_of_its_rules() -> None:
    x = dynamic.ones(4, requires_grad=True)
    with counting.dynamic_tally() as forward:
        y = (x * x).sum()
    with counting.dynamic_tally() as backward:
        y.backward()
    assert forward.ops == 2
    assert backward.ops == 5  # two spread the gradient of a sum; two products, and their sum
    assert x.grad.tolist() == [2.0] * 4


def test_one_loop_is_compiled_once_where_unrolled_graphs_are_for_each_length() -> None:
    (pair,) = chosen(["polynomial_dynamic_net"])
    lengths = {pair.iterations(item) for item in pair.items(6)}
    assert len(lengths) > 1
    loop, unrolled = counts(pair), counts(pair, "unrolled")
    assert (loop.executables, loop.calls) == (1, 1)
    assert (unrolled.executables, unrolled.calls) == (len(lengths), 1)


def test_bodies_of_loops_count_as_often_as_they_run() -> None:
    (pair,) = chosen(["newton"])
    static = started(pair.static, pair.values())
    few, many = sorted(cycle_of(pair), key=pair.iterations)[:: len(cycle_of(pair)) - 1]
    one = counting.static_counts(pair, static, [few])
    other = counting.static_counts(pair, static, [many])
    trips = pair.iterations(many) - pair.iterations(few)
    assert trips > 0
    assert (other.nodes - one.nodes) % trips == 0 == (other.kernels - one.kernels) % trips
    assert (one.calls, other.calls) == (1, 1)


def test_what_a_step_holds_is_measured() -> None:
    def step(_: object) -> float:
        return float(np.ones(100_000).sum())

    peak = counting.peak_bytes(step, [None, None])
    assert 800_000 <= peak < 900_000


# ---------------------------------------------------------------- the list
def test_names_that_begin_so_are_chosen() -> None:
    assert {p.name for p in chosen(["two_layer_optim"])} == {
        "two_layer_optim", "two_layer_optim_subsets",
    }  # fmt: skip
    assert chosen() == PAIRS
    with pytest.raises(ArgumentError, match=r"there is no pair 'three'"):
        chosen(["three"])


def test_steps_that_differ_come_in_a_cycle() -> None:
    for pair in PAIRS:
        cycle = cycle_of(pair)
        assert len(cycle) == (1 if cycle[0] is None else 24)
        assert isinstance(pair.iterations(cycle[0]), int)
    assert isinstance(started(BY_NAME["newton"].static, {}), Static)


def test_memory_that_plans_share_is_counted_once() -> None:
    (pair,) = chosen(["elman_rnn"])
    static, items = started(pair.static, pair.values()), pair.items(24)
    for item in items:
        static(item)
    have = counting.static_counts(pair, static, items)
    (report,) = (r for r in static.session.explain().executables if len(r.plans) == have.plans)
    prints = [plan.footprint for plan in report.plans]
    assert len(prints) == len({pair.iterations(item) for item in items}) > 1
    own = sum(f.staging + f.results + f.table for f in prints)
    assert max(f.arena for f in prints) <= have.working - own < sum(f.arena for f in prints)
