"""A training step as one compiled function: what it leaves behind is what define by run leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import staticgraph as tf
import staticgraph.dynamic as torch
from staticgraph.dynamic import nn, optim
from staticgraph.dynamic.nn import functional as F
from staticgraph.dynamic.optim import lr_scheduler
from tests.dynamic.training_steps import Side, follow, network, numbers, sides, usual, with_closure

OPTIMIZERS: dict[str, tuple[Any, int]] = {  # and how often the step is compiled
    "sgd": (lambda p: optim.SGD(p, lr=0.1), 1),
    "momentum": (
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01), 2
    ),
    "nesterov": (lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), 2),
    "ascent": (lambda p: optim.SGD(p, lr=0.01, maximize=True), 1),
    "adam": (lambda p: optim.Adam(p, lr=0.01, weight_decay=0.1), 1),
    "amsgrad": (lambda p: optim.Adam(p, lr=0.01, amsgrad=True), 1),
    "adamw": (lambda p: optim.AdamW(p, lr=0.01), 1),
    "adamax": (lambda p: optim.Adamax(p, lr=0.01), 1),
    "rmsprop": (lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True), 1),
    "adagrad": (lambda p: optim.Adagrad(p, lr=0.1, lr_decay=0.1), 1),
    "adadelta": (lambda p: optim.Adadelta(p), 1),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_formula_that_can_be_traced(name: str) -> None:
    opt, count = OPTIMIZERS[name]
    step = follow(sides(usual, opt))
    assert len(step.traces) == count
    assert step.traces[-1].kernels > 0


def test_a_rate_that_changes_compiles_nothing() -> None:
    pair = sides(usual, lambda p: optim.Adam(p, lr=0.1))
    schedules = {id(s): lr_scheduler.StepLR(s.opt, 1, 0.5) for s in pair}
    step = follow(pair, 5, lambda side, _: schedules[id(side)].step())
    assert len(step.traces) == 1
    assert pair[0].opt.param_groups[0]["lr"] == 0.1 / 32


def test_other_options_are_not_frozen() -> None:
    def slower(side: Side, i: int) -> None:
        if i == 1:
            side.opt.param_groups[0]["weight_decay"] = 0.5

    assert len(follow(sides(usual, lambda p: optim.SGD(p, lr=0.1)), 4, slower).traces) == 2


def test_groups_and_a_frozen_parameter() -> None:
    def opt(ps: Any) -> Any:
        a, *rest = ps
        return optim.SGD([{"params": [a], "lr": 0.5}, {"params": rest}], lr=0.1)

    def freeze(side: Side, i: int) -> None:
        next(iter(side.net.parameters())).requires_grad_(i != 1)

    assert len(follow(sides(usual, opt), 4, freeze).traces) == 2


def test_state_that_is_loaded_is_used() -> None:
    def load(side: Side, i: int) -> None:
        if i == 1:
            side.opt.load_state_dict(side.opt.state_dict())
        if i == 2:
            side.net.load_state_dict({k: v * 0.5 for k, v in side.net.state_dict().items()})

    follow(sides(usual, lambda p: optim.Adam(p, lr=0.1)), 5, load)


def accumulating(side: Side) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        loss = F.mse_loss(side.net(x), y) / 2
        loss.backward()
        return loss

    return step


def test_gradients_add_up_over_calls_in_the_tensor_that_is_there() -> None:
    held: dict[int, Any] = {}

    def between(side: Side, i: int) -> None:
        p = next(iter(side.net.parameters()))
        if i % 2:
            assert p.grad is held[id(side)]
            side.opt.step()
            side.opt.zero_grad()
            assert p.grad is None
        else:
            held[id(side)] = p.grad

    step = follow(sides(accumulating), 6, between)
    assert len(step.traces) == 2


def at_the_end(side: Side) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        loss = F.mse_loss(side.net(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(side.net.parameters(), 0.1)
        side.opt.step()
        side.opt.zero_grad(set_to_none=False)
        return loss.detach(), loss.requires_grad

    return step


def by_hand(side: Side) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        loss = ((side.net(x) - y) ** 2).sum()
        loss.backward()
        with torch.no_grad():
            for p in side.net.parameters():
                p -= 0.01 * p.grad
                p.grad = None
        return loss

    return step


def several(side: Side) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        losses = []
        for _ in range(3):
            side.opt.zero_grad()
            loss = F.smooth_l1_loss(side.net(x), y)
            loss.backward()
            side.opt.step()
            losses.append(loss.detach())
        return losses

    return step


def penalised(side: Side) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        side.opt.zero_grad()
        mixed = (0.3 * x + 0.7 * x.flip(0)).requires_grad_()
        out = side.net(mixed)
        (g,) = torch.autograd.grad(out, mixed, torch.ones_like(out), create_graph=True)
        penalty = ((g.norm(2, dim=1) - 1) ** 2).mean()
        (F.mse_loss(side.net(x), y) + penalty).backward()
        side.opt.step()
        return penalty

    return step


def twice(side: Side) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        side.opt.zero_grad()
        out = side.net(x)
        loss = F.mse_loss(out, y)
        loss.backward(retain_graph=True)
        out.mean().backward()
        nn.utils.clip_grad_value_(side.net.parameters(), 0.05)
        side.opt.step()
        return [p.grad.sum() for p in side.net.parameters()]

    return step


class Tripled(torch.autograd.Function):
    """With three times its gradient, to be told apart."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return 6 * g * x


def custom(side: Side) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        side.opt.zero_grad()
        with torch.no_grad():
            scale = Tripled.apply(side.net(x)).mean()
        loss = (Tripled.apply(side.net(x)) - y).abs().mean() * scale
        loss.backward()
        side.opt.step()
        return loss

    return step


def behind_the_back(side: Side) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        side.net.zero_grad()
        hidden = side.net(x)
        kept = (hidden * 2).detach_()
        loss = ((hidden - y) ** 2).sum() + (hidden * kept).sum()
        loss.backward()
        for i, p in enumerate(side.net.parameters()):
            if i % 3 == 0:
                p.data -= 0.01 * p.grad.data
            elif i % 3 == 1:
                p.data = p.data - 0.01 * p.grad
            else:
                p.detach().sub_(0.01 * p.grad)
            p.data.clamp_(-0.5, 0.5)
        return loss, sum(p.sum() for p in side.net.parameters())

    return step


@pytest.mark.parametrize(
    "make", [behind_the_back, at_the_end, by_hand, several, penalised, with_closure, twice, custom]
)
def test_steps_as_programs_write_them(make: Any) -> None:
    follow(sides(make, lambda p: optim.RMSprop(p, lr=0.01)))


NETWORKS: dict[str, Callable[[], Any]] = {
    "dropout and statistics": lambda: network(
        nn.Linear(3, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 1)
    ),
    "weights used twice": lambda: network(*[nn.Linear(3, 3)] * 2, nn.Linear(3, 1)),
    "recurrent": lambda: network(Last(nn.LSTM(3, 4)), nn.Linear(4, 1)),
}


class Last(nn.Module):
    """The outputs of a recurrent network without its state."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Any) -> Any:
        return self.inner(x)[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str) -> None:
    follow(sides(usual, lambda p: optim.Adam(p, lr=0.05), NETWORKS[name]))


def test_two_networks_in_one_step() -> None:
    def make(side: Side) -> Callable[..., Any]:
        critic = network(nn.Linear(1, 1))
        other = optim.SGD(critic.parameters(), lr=0.1)

        def step(x: Any, y: Any) -> Any:
            made = side.net(x)
            other.zero_grad()
            judged = critic(y).mean() - critic(made.detach()).mean()
            judged.backward()
            other.step()
            side.opt.zero_grad()
            fooled = critic(made).sigmoid().mean()
            fooled.backward()
            side.opt.step()
            return judged, fooled, [p.grad for p in critic.parameters()]

        return step

    follow(sides(make, lambda p: optim.Adam(p, lr=0.05)))


def test_hooks_on_parameters() -> None:
    def make(side: Side) -> Callable[..., Any]:
        next(iter(side.net.parameters())).register_hook(lambda g: g * 3)
        return usual(side)

    follow(sides(make))


def test_one_program_for_all_batches() -> None:
    side = sides(usual, lambda p: optim.SGD(p, lr=0.1))[0]
    for n in (5, 7, 9):
        side.step(numbers(n, 3), numbers(n, 1))
    assert len(side.step.traces) == 1  # type: ignore[attr-defined]


def test_what_is_left_behind_has_memory_of_its_own() -> None:
    a, b = numbers(3).requires_grad_(), numbers(3, seed=1).requires_grad_()
    x = numbers(3, seed=2)
    values = x.tolist()

    @tf.function
    def step(x: Any) -> Any:
        a.grad = b.grad = None
        ((a + b) * x).sum().backward()
        return x

    for _ in range(3):
        y = step(x)
        assert a.grad.tolist() == b.grad.tolist() == y.tolist() == values
        a.grad.zero_()
        assert b.grad.tolist() == y.tolist() == x.tolist() == values
