"""What a compiled training step does not freeze, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import staticgraph as tf
import staticgraph.dynamic as torch
from staticgraph.dynamic import nn, optim
from staticgraph.dynamic.optim import lr_scheduler
from staticgraph.errors import RunError, ShapeError, UnimplementedError, UsageError
from tests.dynamic.training_steps import (
    Side,
    follow,
    network,
    numbers,
    same,
    sides,
    usual,
    with_closure,
)


# ---------------------------------------------------------------- what is not frozen
def test_training_and_evaluation_of_a_module_that_is_no_argument() -> None:
    model = network(nn.Linear(3, 6), nn.Dropout(0.5))
    predict = tf.function(lambda x: model(x))
    x = numbers(4, 3)
    for training in (True, False, True):
        model.train(training)
        found = []
        for f in (predict, model):
            torch.manual_seed(1)
            found.append(f(x))
        same(*found)
    assert len(predict.traces) == 2


def test_a_parameter_that_is_another_one() -> None:
    model = network(nn.Linear(3, 2))
    predict = tf.function(lambda x: model(x))
    x = numbers(4, 3)
    same(predict(x), model(x))
    model[0].weight = nn.Parameter(numbers(2, 3, seed=9))
    same(predict(x), model(x))


def test_hooks_that_come_later() -> None:
    def look(side: Side, i: int) -> None:
        if i == 1:
            next(iter(side.net.parameters())).register_hook(lambda g: g * 3)
        if i == 2:
            side.net[1].register_forward_hook(lambda m, a, out: out * 2)

    assert len(follow(sides(usual, lambda p: optim.SGD(p, lr=0.1)), 4, look).traces) == 3


# ---------------------------------------------------------------- what is refused
def test_a_result_takes_part_in_no_other_backward() -> None:
    side = sides(usual)[0]
    loss = side.step(numbers(5, 3), numbers(5, 1))
    assert loss.requires_grad
    with pytest.raises(RunError, match="has run its backward inside") as e:
        (loss * 2).backward()
    assert "training_step" in str(e.value)
    assert loss.detach().item() == loss.item()


def test_nothing_is_half_done_where_a_call_fails() -> None:
    compiled, plain = sides(usual, lambda p: optim.Adam(p, lr=0.1))
    with pytest.raises(ShapeError):
        compiled.step(numbers(5, 4), numbers(5, 1))
    same(compiled.left(), plain.left())
    assert compiled.opt.state_dict()["state"] == {}
    follow((compiled, plain))


def refused(make: Any, error: Any, match: str, opt: Any = None) -> None:
    compiled, plain = sides(make, opt)
    before = plain.left()
    with pytest.raises(error, match=match) as e:
        compiled.step(numbers(5, 3), numbers(5, 1))
    assert "training_step" in str(e.value)
    same(compiled.left(), before)


def test_an_optimizer_that_decides_by_values() -> None:
    refused(usual, UnimplementedError, "RAdam.step inside", lambda p: optim.RAdam(p, lr=0.1))
    refused(with_closure, UsageError, "needs the value", lambda p: optim.LBFGS(p, lr=0.1))


def test_an_argument_that_requires_a_gradient() -> None:
    side = sides(usual)[0]
    with pytest.raises(UnimplementedError, match="argument tensor 0 of step") as e:
        side.step(numbers(5, 3).requires_grad_(), numbers(5, 1))
    assert "x.detach()" in str(e.value)


def test_under_no_grad() -> None:
    side = sides(usual)[0]
    with torch.no_grad(), pytest.raises(RunError, match="called under no_grad"):
        side.step(numbers(5, 3), numbers(5, 1))


def test_a_scheduler_inside() -> None:
    def make(side: Side) -> Callable[..., Any]:
        schedule = lr_scheduler.StepLR(side.opt, 1)

        def step(x: Any, y: Any) -> Any:
            usual(side)(x, y)
            schedule.step()

        return step

    refused(make, UsageError, "StepLR.step inside")


def test_backward_that_leads_outside() -> None:
    def make(side: Side) -> Callable[..., Any]:
        hidden = next(iter(side.net.parameters())) * 2

        def step(x: Any, y: Any) -> Any:
            (x @ hidden.t()).sum().backward()

        return step

    refused(make, UnimplementedError, "computed outside of it")


def test_a_leaf_changed_while_recording_and_a_loss_without_history() -> None:
    def changed(side: Side) -> Callable[..., Any]:
        def step(x: Any, y: Any) -> Any:
            for p in side.net.parameters():
                p -= 1.0

        return step

    def without(side: Side) -> Callable[..., Any]:
        def step(x: Any, y: Any) -> Any:
            (x * y).sum().backward()

        return step

    def many(side: Side) -> Callable[..., Any]:
        def step(x: Any, y: Any) -> Any:
            side.net(x).backward()

        return step

    refused(changed, RunError, "a leaf that requires a gradient")
    refused(without, RunError, "does not require a gradient")
    refused(many, RunError, "without a gradient for it")


def test_what_is_changed_behind_the_back_of_a_gradient() -> None:
    def result(side: Side) -> Callable[..., Any]:
        def step(x: Any, y: Any) -> Any:
            out = side.net(x)
            out.data.zero_()
            return out

        return step

    def outside(side: Side) -> Callable[..., Any]:
        other = torch.zeros(4, 3).double()

        def step(x: Any, y: Any) -> Any:
            side.net[0].weight.data = other

        return step

    def stale(side: Side) -> Callable[..., Any]:
        def step(x: Any, y: Any) -> Any:
            old = side.net[0].weight.detach()
            with torch.no_grad():
                side.net[0].weight.add_(1)
            return old * 2

        return step

    refused(result, UnimplementedError, "behind its back")
    refused(outside, UnimplementedError, "gets a tensor of the outside")
    refused(stale, UnimplementedError, "used after the tensor it shows was changed")


def test_a_hook_on_a_result() -> None:
    def hooked(side: Side) -> Callable[..., Any]:
        def step(x: Any, y: Any) -> Any:
            side.net(x).register_hook(lambda g: g)

        return step

    refused(hooked, RunError, "a hook on a result inside a compiled function")


def test_tensors_of_a_trace_do_not_get_out() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: Any) -> Any:
            self.count = self.count + 1
            return x * self.count

    counting = Counting()
    with pytest.raises(UnimplementedError, match="buffer 'count' of Counting") as e:
        tf.function(lambda x: counting(x))(torch.ones(1))
    assert "self.count = self.count + 1" in str(e.value)
    assert counting.count.item() == 0.0

    kept: list[Any] = [torch.zeros(1)]

    @tf.function
    def leaking(x: Any, n: int) -> Any:
        kept[0] = kept[0] + x
        return kept[0]

    leaking(torch.ones(1), 1)
    with pytest.raises(UsageError, match="while another function was recorded"):
        leaking(torch.ones(1), 2)


def test_a_trace_says_when_it_holds_no_longer() -> None:
    side = sides(usual, lambda p: optim.SGD(p, lr=0.1))[1]
    traced = tf.trace(side.step)(numbers(5, 3), numbers(5, 1))
    traced(numbers(5, 3), numbers(5, 1))
    side.opt.param_groups[0]["weight_decay"] = 0.1
    with pytest.raises(UsageError, match="not as they were when the function was traced"):
        traced(numbers(5, 3), numbers(5, 1))
